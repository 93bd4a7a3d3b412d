//! Who calls, and what he may do: the operator with the master key, an administrator's session, or the holder of a virtual key.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;

use super::State;
use super::refusal::Refusal;
use crate::config::network::Network;
use crate::store::Scope;
use crate::store::key::{Allowance, Key, Team, allows};

/// Who was let in.
#[derive(Clone, Default)]
pub(super) enum Caller {
    /// Whoever holds the master key, or where none is needed.
    #[default]
    Operator,
    /// An administrator who has logged in, by the fingerprint of his key.
    Session(String),
    /// The holder of a virtual key.
    Key(Arc<Principal>),
}

impl Caller {
    /// The virtual key, if it is one.
    pub(super) fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Key(principal) => Some(principal),
            Self::Operator | Self::Session(_) => None,
        }
    }

    /// Whether it may use a model that goes by any of these names.
    pub(super) fn may_use(&self, names: &[&str]) -> bool {
        self.principal().is_none_or(|principal| principal.may_use(names))
    }
}

/// A virtual key with its team, read once for many requests.
pub(super) struct Principal {
    /// The key.
    pub(super) key: Arc<Key>,
    /// Its team.
    pub(super) team: Option<Team>,
    networks: Vec<Network>,
    /// Where its requests count: the key's and the team's scope, as far as they have limits.
    pub(super) scopes: Vec<Scope>,
}

impl Principal {
    /// Reads a key.
    pub(super) fn new(key: Key, team: Option<Team>) -> Self {
        // A soft budget binds nobody, but it has to be counted.
        let counts = |scope: &Scope, allowance: &Allowance| !scope.limits.none() || allowance.soft_budget.is_some();
        let of_key = Some(key.scope()).filter(|scope| counts(scope, &key.allowance));
        let of_team = team.as_ref().map(Team::scope).zip(team.as_ref());
        let of_team = of_team.filter(|(scope, team)| counts(scope, &team.allowance)).map(|(scope, _)| scope);
        Self {
            networks: key.ips.iter().filter_map(|range| Network::parse(range)).collect(),
            scopes: of_key.into_iter().chain(of_team).collect(),
            key: Arc::new(key),
            team,
        }
    }

    /// Lets the key in, or says why it is not good here and now. `path` is that of a call of a
    /// model, `now` is in Unix milliseconds.
    pub(super) fn enter(&self, path: Option<&str>, address: Option<IpAddr>, now: u64) -> Result<(), Refusal> {
        let key = &self.key;
        let refused = |status, code, message: &str| Err(Refusal::new(status, "unauthenticated", message).code(code));
        if key.blocked {
            return refused(StatusCode::UNAUTHORIZED, "key_blocked", "this API key is switched off");
        }
        if self.team.as_ref().is_some_and(|team| team.blocked) {
            return refused(StatusCode::UNAUTHORIZED, "team_blocked", "the team of this API key is switched off");
        }
        if key.expires.is_some_and(|expires| expires <= now) {
            return refused(StatusCode::UNAUTHORIZED, "expired_key", "this API key has expired");
        }
        // A list of which nothing can be read lets nobody in.
        let known = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        if !key.ips.is_empty() && !address.is_some_and(known) {
            let message = "this API key may not be used from this address";
            return refused(StatusCode::FORBIDDEN, "address_not_allowed", message);
        }
        let listed = |path: &str| key.endpoints.iter().any(|allowed| is_below(path, allowed));
        if let Some(path) = path.filter(|path| !key.endpoints.is_empty() && !listed(path)) {
            let message = format!("this API key may not call `{}`", path.chars().take(200).collect::<String>());
            return refused(StatusCode::FORBIDDEN, "endpoint_not_allowed", &message);
        }
        Ok(())
    }

    /// Whether the key and its team may both use a model that goes by any of these names.
    fn may_use(&self, names: &[&str]) -> bool {
        allows(&self.key.models, names) && self.team.as_ref().is_none_or(|team| allows(&team.models, names))
    }
}

/// Whether a path is the allowed one, or below it where that ends with a `*`. `/v1` is overlooked, as it is by the routes.
pub(super) fn is_below(path: &str, allowed: &str) -> bool {
    let plain = |path: &str| path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path).to_owned();
    let (path, allowed) = (plain(path), plain(allowed));
    match allowed.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path.trim_end_matches('/') == allowed.trim_end_matches('/'),
    }
}

/// Whether a caller may use a model by this name, or by that of its group. A deployment is its group's: that its id looks like
/// something allowed says nothing.
pub(super) fn may_use(state: &State, caller: &Caller, name: &str) -> bool {
    if caller.principal().is_none() {
        return true;
    }
    let Some(found) = state.table.resolve(name) else { return caller.may_use(&[name]) };
    let group = state.settings.groups.get(found.group).map_or("", |group| group.name.as_str());
    caller.may_use(&[group]) || (found.deployment.is_none() && caller.may_use(&[name]))
}

/// Lets a caller ask for a model, and for the `fallbacks` that he names himself: with those he could get at any model else. A model
/// that nobody knows is no secret, and its 404 names the nearest that he may use.
pub(super) fn permitted(
    state: &State,
    caller: &Caller,
    asked: &str,
    fallbacks: Option<&[String]>,
) -> Result<(), Box<Refusal>> {
    let known = state.table.resolve(asked).is_some();
    let names = fallbacks.into_iter().flatten().map(String::as_str).chain(known.then_some(asked));
    match names.into_iter().find(|name| !may_use(state, caller, name)) {
        Some(name) => Err(Box::new(no_model(name))),
        None => Ok(()),
    }
}

/// What a key may not use, in words that name nothing but what it asked for.
fn no_model(model: &str) -> Refusal {
    let shown: String = model.chars().take(200).collect();
    let message = format!("this API key may not use the model `{shown}`; `GET /v1/models` lists those that it may");
    Refusal::new(StatusCode::FORBIDDEN, "model_access", message).code("key_model_access_denied").param("model")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_222_800_000;

    fn principal(key: Key, team: Option<Team>) -> Principal {
        Principal::new(key, team)
    }

    fn refused(key: Key, path: &str, address: &str) -> Option<(u16, String)> {
        let entered = principal(key, None).enter(Some(path), address.parse().ok(), NOW);
        entered.err().map(|refusal| (refusal.status.as_u16(), refusal.message))
    }

    #[test]
    fn a_key_is_good_where_and_as_long_as_its_maker_said() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let chat = "/v1/chat/completions";
        let cases = [
            (Key::default(), chat, "", None),
            (Key { blocked: true, ..Key::default() }, chat, "", Some(401)),
            (Key { expires: Some(NOW), ..Key::default() }, chat, "", Some(401)),
            (Key { expires: Some(NOW + 1), ..Key::default() }, chat, "", None),
            (Key { ips: texts(&["10.0.0.0/8"]), ..Key::default() }, chat, "10.1.1.1", None),
            (Key { ips: texts(&["10.0.0.0/8"]), ..Key::default() }, chat, "11.1.1.1", Some(403)),
            (Key { ips: texts(&["10.0.0.0/8"]), ..Key::default() }, chat, "nowhere", Some(403)),
            (Key { ips: texts(&["nonsense"]), ..Key::default() }, chat, "10.1.1.1", Some(403)),
            (Key { endpoints: texts(&["/chat/completions"]), ..Key::default() }, "/v1/chat/completions/", "", None),
            (Key { endpoints: texts(&["/v1/chat/*"]), ..Key::default() }, "/chat/completions", "", None),
            (Key { endpoints: texts(&["/v1/messages"]), ..Key::default() }, "/v1/messages/count_tokens", "", Some(403)),
            (Key { endpoints: texts(&["/v1/messages"]), ..Key::default() }, chat, "", Some(403)),
        ];
        for (key, path, address, want) in cases {
            let shown = format!("{key:?} {path} {address}");
            assert_eq!(refused(key, path, address).map(|(status, _)| status), want, "{shown}");
        }
        let team = Team { blocked: true, ..Team::default() };
        assert!(principal(Key::default(), Some(team)).enter(Some(chat), None, NOW).is_err());
    }

    #[test]
    fn models_are_those_that_key_and_team_both_allow() {
        let list = |models: &[&str]| models.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (key, team, names, may) in [
            (&[][..], &[][..], &["a"][..], true),
            (&["gpt-*"], &[], &["gpt-4o"], true),
            (&["gpt-*"], &[], &["alias", "gpt-4o"], true),
            (&["gpt-*"], &[], &["claude"], false),
            (&["gpt-*"], &["gpt-4o"], &["gpt-5"], false),
            (&["all-team-models"], &["gpt-4o"], &["gpt-4o"], true),
            (&["all-team-models"], &["gpt-4o"], &["claude"], false),
            (&["all-proxy-models"], &[], &["claude"], true),
        ] {
            let key = Key { models: list(key), ..Key::default() };
            let team = Team { models: list(team), ..Team::default() };
            assert_eq!(principal(key, Some(team)).may_use(names), may, "{names:?}");
        }
    }
}
