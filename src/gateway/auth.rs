//! Who may call. Decided before a body is read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::timeout_at;

use super::caller::{Caller, Principal};
use super::refusal::Refusal;
use super::{Call, Exposure, Gateway, State};
use crate::config::resolve::weak_key;
use crate::config::secret::{Secret, Text, describe};
use crate::observe::clock::{self, Instant};
use crate::store::StoreError;
use crate::store::token::{KEY_PREFIX, SESSION_PREFIX, hash, well_formed};

/// How long a session may take to be looked up.
const SESSION_TIME: Duration = Duration::from_secs(5);

/// The headers that clients put their key into, in the order of trust: `OpenAI`, Anthropic, Azure, Gemini, litellm.
const KEY_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-litellm-api-key"),
];

/// Lets a caller in or says why not: `path` is the request's, `address` the caller's. What cannot be a virtual key never reaches
/// the store.
pub(super) async fn check(
    gateway: &Gateway,
    state: &State,
    headers: &HeaderMap,
    (call, (path, address)): (&Call, (Option<&str>, Option<IpAddr>)),
) -> Result<Caller, Refusal> {
    let settings = &state.settings;
    let deadline = call.bound(clock::now() + settings.timeout);
    let presented = presented(headers, settings.key_header.as_ref());
    let keeper = gateway.keeper();
    if let (Some(keeper), Some(key)) = (keeper, presented) {
        let (virtual_key, session) = (well_formed(KEY_PREFIX, key), well_formed(SESSION_PREFIX, key));
        if (virtual_key || session) && !keeper.active() {
            // Nobody has made a key yet, and a stranger does not make the store.
            return Err(denied(UNKNOWN));
        }
        if virtual_key {
            let hash = hash(key);
            let found = keeper.principal(&hash, settings.store.fail_open);
            return holder(found, (path, address)).await?.ok_or_else(|| denied(UNKNOWN));
        }
        if session {
            let found = async { keeper.admin().await?.session(key, clock::unix_millis()).await };
            let found = timeout_at(deadline.min(clock::now() + SESSION_TIME), found).await;
            let found = found.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())));
            return found.map_err(|error| silent(&error))?.map(Caller::Session).ok_or_else(|| denied(NO_SESSION));
        }
        if key.starts_with(KEY_PREFIX) {
            return Err(denied("this virtual key is mistyped or cut short: its checksum does not fit"));
        }
    }
    let master = match &settings.master_key {
        Some(master) => Some(master_key(gateway, state, master, deadline).await?),
        None => None,
    };
    if let (Some(master), Some(key)) = (&master, presented)
        && master.equals(key)
    {
        return Ok(Caller::Operator);
    }
    // Who signs needs no key in hand, and his own is in force whatever he sends with it.
    if let (Some(keeper), Some(signer)) = (keeper.filter(|keeper| keeper.active()), &call.signer) {
        let found = keeper.signed(signer, settings.store.fail_open);
        if let Some(caller) = holder(found, (path, address)).await? {
            return Ok(caller);
        }
    }
    match (master, presented) {
        (Some(_), Some(_)) => Err(denied(UNKNOWN)),
        (Some(_), None) => Err(denied(&no_key(settings.key_header.as_ref()))),
        (None, _) if settings.allow_unauthenticated || call.signed => Ok(Caller::Operator),
        (None, _) if call.exposure == Exposure::Loopback => {
            local(headers, &settings.cors_origins).map(|()| Caller::Operator)
        }
        (None, _) => Err(unguarded()),
    }
}

const UNKNOWN: &str = "the API key is not valid here";
const NO_SESSION: &str = "this session is over; log in again";

/// The holder of a virtual key, if there is one.
async fn holder(
    found: impl Future<Output = Result<Option<Arc<Principal>>, StoreError>>,
    (path, address): (Option<&str>, Option<IpAddr>),
) -> Result<Option<Caller>, Refusal> {
    let Some(principal) = found.await.map_err(|error| silent(&error))? else { return Ok(None) };
    principal.enter(path, address, clock::unix_millis())?;
    Ok(Some(Caller::Key(principal)))
}

/// The store does not say whose a credential is.
fn silent(error: &StoreError) -> Refusal {
    tracing::debug!(%error, "a credential cannot be looked up");
    let message = "this API key cannot be looked up now; try again soon";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "store", message).code("store_unavailable").retry_after(1000)
}

/// Without a key the programs of this machine are trusted, and a web page that is open in its browser is none of them: it must
/// come from this machine as well, or be listed by name. The host is looked at because a page's own name may point here.
fn local(headers: &HeaderMap, origins: &[String]) -> Result<(), Refusal> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let here = |host: &str| {
        let name = host.strip_prefix('[').map_or_else(
            || host.split(':').next().unwrap_or_default(),
            |rest| rest.split(']').next().unwrap_or_default(),
        );
        name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
    };
    let page = text(ORIGIN).filter(|origin| !origins.iter().any(|listed| listed == origin));
    let foreign_page = page.is_some_and(|origin| !origin.split_once("://").is_some_and(|(_, host)| here(host)));
    if foreign_page || text(HOST).is_some_and(|host| !here(host)) {
        let message = "this gateway has no master key, so it serves the programs of its own machine and no web page from \
                       elsewhere; set `general_settings.master_key`, or list the page's origin in \
                       `feathergate: {cors_origins: [...]}`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "unauthenticated", message).code("no_master_key"));
    }
    Ok(())
}

async fn master_key(gateway: &Gateway, state: &State, master: &Text, deadline: Instant) -> Result<Secret, Refusal> {
    let why = match master {
        Text::Known(key) => return Ok(key.clone()),
        Text::Unset(_) => "is not set".to_owned(),
        Text::Parameter(name) => {
            let wait = gateway.secrets.get(name, &state.parameters, state.settings.secret_ttl);
            match timeout_at(deadline, wait).await {
                Ok(Ok(key)) => {
                    // A key in the file is checked when the file is loaded; this one is seen here first.
                    let Some(why) = weak_key(key.expose()) else { return Ok(key) };
                    format!("cannot be used: {why}")
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "could not be fetched in time".to_owned(),
            }
        }
    };
    Err(Refusal::setup(format!("this gateway's master key, {}, {why}", describe(master))))
}

/// The key that a request brings.
fn presented<'a>(headers: &'a HeaderMap, only: Option<&HeaderName>) -> Option<&'a str> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim).filter(|key| !key.is_empty());
    if let Some(name) = only {
        return text(name).map(|key| bearer(key).unwrap_or(key));
    }
    // With AWS_IAM the Authorization header is a signature, so only a bearer token counts.
    let plain = |name: &HeaderName| text(name).map(|key| bearer(key).unwrap_or(key));
    text(&AUTHORIZATION).and_then(bearer).or_else(|| KEY_HEADERS.iter().find_map(plain))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()).filter(|key| !key.is_empty())
}

fn no_key(only: Option<&HeaderName>) -> String {
    match only {
        Some(name) => format!("no API key came with the request; send it in the header `{name}`"),
        None => "no API key came with the request; send it as `Authorization: Bearer …` or in the header `x-api-key`"
            .to_owned(),
    }
}

fn denied(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message).code("invalid_api_key")
}

fn unguarded() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "unauthenticated",
        "this gateway has no master key, and anybody can reach it, so it answers nobody; set `general_settings.master_key` \
         in its configuration (for example `ssm:/feathergate/master-key`), or, to serve everybody all the same, \
         `feathergate: {allow_unauthenticated: true}`",
    )
    .code("no_master_key")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn without_a_key_only_this_machine_is_served() {
        let listed = ["*".to_owned(), "https://mine.example".to_owned()];
        let cases = [
            (&[("host", "127.0.0.1:8080")][..], true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:3000")], true),
            (&[("host", "[::1]:8080"), ("origin", "http://[::1]:3000")], true),
            (&[("host", "127.0.0.1"), ("origin", "https://mine.example")], true),
            (&[], true),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "127.0.0.1"), ("origin", "https://evil.example")], false),
            (&[("host", "127.0.0.1"), ("origin", "https://localhost.evil.example")], false),
            (&[("host", "127.0.0.1"), ("origin", "null")], false),
        ];
        for (headers, allowed) in cases {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(local(&map, &listed).is_ok(), allowed, "{headers:?}");
        }
    }

    #[test]
    fn keys_are_found_where_clients_put_them() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a HeaderName>, Option<&'a str>);
        let own = HeaderName::from_static("x-own");
        let cases: [Case<'_>; 10] = [
            (&[("authorization", "Bearer k")], None, Some("k")),
            (&[("authorization", "bearer  k ")], None, Some("k")),
            (&[("authorization", "AWS4-HMAC-SHA256 Credential=x"), ("x-api-key", "k")], None, Some("k")),
            (&[("authorization", "Basic abc")], None, None),
            (&[("api-key", "k")], None, Some("k")),
            (&[("x-goog-api-key", "k")], None, Some("k")),
            (&[("x-litellm-api-key", "Bearer k")], None, Some("k")),
            (&[("authorization", "Bearer other"), ("x-own", "k")], Some(&own), Some("k")),
            (&[("authorization", "Bearer k")], Some(&own), None),
            (&[("authorization", "Bearer ")], None, None),
        ];
        for (headers, only, want) in cases {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
                .collect();
            assert_eq!(presented(&map, only), want, "{headers:?}");
        }
    }
}
