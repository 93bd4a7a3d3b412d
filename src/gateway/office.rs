//! The way to administration: who may, what it is told of the configuration, and what is forgotten when it has changed something.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::caller::{Caller, is_below};
use super::refusal::Refusal;
use super::routes::{self, Endpoint};
use super::{Body, Gateway, State, pages};
use crate::admin::{self, Access, Actor, Catalog, DeploymentInfo, GroupInfo, Request};
use crate::observe::clock;
use crate::route::table::fits;

/// A list ends before all of it was told.
const TRUNCATED: HeaderName = HeaderName::from_static("x-feathergate-truncated");

/// Whether a caller may take a route, and as whom.
pub(super) fn actor(access: Access, caller: &Caller, guarded: bool) -> Result<Actor, Refusal> {
    let denied = |code, message: &str| Err(Refusal::new(StatusCode::FORBIDDEN, "unauthenticated", message).code(code));
    match (access, caller) {
        (Access::Public, _) => Ok(Actor::Nobody),
        (Access::Caller, Caller::Key(principal)) => Ok(Actor::Key { record: principal.key.clone() }),
        (_, Caller::Key(_)) => Err(not_an_administrator()),
        (Access::Master, Caller::Session(_)) => denied("not_the_master_key", "this takes the master key itself"),
        (_, Caller::Session(fingerprint)) => Ok(Actor::Session { fingerprint: fingerprint.clone() }),
        (_, Caller::Operator) if guarded => Ok(Actor::Master),
        (_, Caller::Operator) => {
            denied("no_master_key", "administration needs a master key; set `general_settings.master_key`")
        }
    }
}

/// What the holder of a virtual key hears where that is not enough.
pub(super) fn not_an_administrator() -> Refusal {
    let message = "this takes the master key or an administrator's session";
    Refusal::new(StatusCode::FORBIDDEN, "unauthenticated", message).code("not_an_administrator")
}

/// What an administrator hears who calls a model with his session.
pub(super) fn no_models() -> Refusal {
    let message = "a session is for administration; call models with a virtual key";
    Refusal::new(StatusCode::FORBIDDEN, "unauthenticated", message).code("session_calls_no_models")
}

/// Answers a request to administration.
pub(super) async fn administer(
    gateway: &Gateway,
    state: &State,
    (method, uri): (&Method, &http::Uri),
    (body, actor, address): (&Bytes, &Actor, Option<IpAddr>),
) -> Result<Response<Body>, Refusal> {
    let Some(keeper) = gateway.keeper() else {
        return Err(Refusal::setup(
            "this gateway has no store, so there is nothing to administer; see `feathergate.store`",
        ));
    };
    // Strangers do not wake a store that nobody uses.
    let admin = if matches!(actor, Actor::Nobody) && !keeper.active() {
        if method == Method::POST {
            let message = "this gateway has no administrators yet; the holder of the master key can register one";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message).code("no_administrators"));
        }
        keeper.desk()
    } else {
        keeper.admin().await.map_err(|error| {
            // Where the store is, and what it says, is for the log.
            tracing::error!(%error, "the store cannot be opened");
            let message = "the store cannot be used now; the log says why";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "store", message).code("store_unavailable")
        })?
    };
    let now = clock::unix_millis();
    let (path, query) = (uri.path(), uri.query());
    let request = Request { method, path, query, body, actor, address, now, catalog: &Models(state) };
    let reply = admin.handle(request).await;
    if reply.changed {
        keeper.forget();
    }
    let mut response = Response::new(Body::full(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if reply.cut {
        response.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    if let Some(admin::Route::WrongMethod { allow }) = admin::route(method, uri.path()) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    Ok(response)
}

/// The class of administration's own error for the log and the metrics; `None` where the answer is not worth a line: what is
/// wrong with a field concerns only who asked.
pub(super) fn class(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        ..401 => return None,
        401 | 403 => "unauthenticated",
        404 | 405 => "not_found",
        429 => "rate_limited",
        500.. => "store",
        _ => "conflict",
    })
}

/// The models of a configuration, as administration tells of them.
struct Models<'a>(&'a State);

impl Catalog for Models<'_> {
    fn groups(&self) -> Vec<GroupInfo> {
        let state = self.0;
        let groups = state.settings.groups.iter().filter(|group| !group.direct);
        groups
            .map(|group| {
                let (input, output) = pages::limits(group);
                GroupInfo {
                    name: group.name.clone(),
                    mode: group.info.mode.clone().unwrap_or_else(|| "chat".to_owned()),
                    max_input_tokens: input,
                    max_output_tokens: output,
                    supports: pages::capabilities(group),
                    deployments: group
                        .deployments
                        .iter()
                        .map(|deployment| DeploymentInfo {
                            id: deployment.id.clone(),
                            upstream: deployment.vendor.name.to_owned(),
                            model: deployment.model.clone(),
                            price: (*deployment.price).clone(),
                            rpm: deployment.rpm,
                            tpm: deployment.tpm,
                        })
                        .collect(),
                }
            })
            .collect()
    }

    fn knows(&self, model: &str) -> bool {
        self.0.table.find(model).is_some()
    }

    fn takes(&self, pattern: &str) -> bool {
        let settings = &self.0.settings;
        let aliases = settings.aliases.iter().map(|alias| alias.name.as_str());
        settings.groups.iter().map(|group| group.name.as_str()).chain(aliases).any(|name| meet(pattern, name))
    }

    fn prices(&self, name: &str) -> bool {
        self.0.settings.groups.iter().flat_map(|group| &group.deployments).any(|deployment| {
            let Some(model) = &deployment.pricing.base_model else {
                let model = &deployment.model;
                return meet(name, model) || meet(name, &format!("{}/{model}", deployment.vendor.name));
            };
            // It may name another vendor, or none.
            let bare = model.split_once('/').map_or(model.as_str(), |(_, model)| model);
            let names = ["openai", "anthropic", deployment.vendor.name].map(|vendor| format!("{vendor}/{model}"));
            meet(name, model) || meet(name, bare) || names.iter().any(|whole| meet(name, whole))
        })
    }

    fn serves(&self, endpoint: &str) -> bool {
        serves(endpoint)
    }
}

/// Whether an endpoint that a key may call is here. Those of administration are not meant: no list of a key narrows them.
fn serves(endpoint: &str) -> bool {
    let one_model = matches!(routes::find(&Method::GET, endpoint), Ok(Endpoint::ModelInfo(_)));
    one_model || routes::paths().any(|path| is_below(&path, endpoint))
}

/// Whether some name fits both, each of which may hold `*`.
fn meet(one: &str, other: &str) -> bool {
    let starts = one.split_once('*').zip(other.split_once('*'));
    let both = starts.is_some_and(|((one, _), (other, _))| one.starts_with(other) || other.starts_with(one));
    fits(one, other) || fits(other, one) || both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_keys_are_those_that_are_here() {
        for (endpoint, want) in [
            ("/v1/messages", true),
            ("/chat/completions", true),
            ("/v1/*", true),
            ("/*", true),
            ("/v1/models", true),
            ("/v1/models/fast", true),
            ("/v1/message", false),
            ("/v2/*", false),
            ("/key/info", false),
        ] {
            assert_eq!(serves(endpoint), want, "{endpoint}");
        }
    }

    #[test]
    fn patterns_meet_where_a_name_fits_both() {
        for (one, other, want) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-*", "gpt-4o", true),
            ("openai/gpt-4o", "openai/*", true),
            ("openai/gpt-*", "openai/*", true),
            ("openai/*", "openai/gpt-*-mini", true),
            ("gpt-4", "gpt-4o", false),
            ("claude-*", "gpt-4o", false),
            ("anthropic/*", "openai/*", false),
        ] {
            assert_eq!((meet(one, other), meet(other, one)), (want, want), "{one} {other}");
        }
    }
}
