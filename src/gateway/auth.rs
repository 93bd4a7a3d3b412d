//! Who may call. Decided before a body is read.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, StatusCode};

use super::refusal::Refusal;
use super::{Call, Exposure, Gateway, State};
use crate::config::resolve::weak_key;
use crate::config::secret::{Secret, Text, describe};

/// The headers that clients put their key into, in the order of trust: `OpenAI`, Anthropic, Azure, Gemini, litellm.
const KEY_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-litellm-api-key"),
];

/// Lets a caller in or says why not.
pub(super) async fn check(gateway: &Gateway, state: &State, headers: &HeaderMap, call: &Call) -> Result<(), Refusal> {
    let settings = &state.settings;
    let Some(master) = &settings.master_key else {
        let open = settings.allow_unauthenticated || call.signed || call.exposure == Exposure::Loopback;
        return if open { Ok(()) } else { Err(unguarded()) };
    };
    let master = master_key(gateway, state, master).await?;
    match presented(headers, settings.key_header.as_ref()) {
        Some(key) if master.equals(key) => Ok(()),
        Some(_) => Err(denied("the API key is not valid here")),
        None => Err(denied(&no_key(settings.key_header.as_ref()))),
    }
}

async fn master_key(gateway: &Gateway, state: &State, master: &Text) -> Result<Secret, Refusal> {
    let key = match master {
        Text::Known(key) => return Ok(key.clone()),
        Text::Parameter(name) => gateway
            .secrets
            .get(name, &state.parameters, state.settings.secret_ttl)
            .await
            .map_err(|error| Refusal::setup(format!("this gateway's master key, {}, {error}", describe(master))))?,
        Text::Unset(_) => {
            return Err(Refusal::setup(format!("this gateway's master key, {}, is not set", describe(master))));
        }
    };
    // A key in the file is checked when the file is loaded; this one is seen here first.
    match weak_key(key.expose()) {
        Some(why) => {
            Err(Refusal::setup(format!("this gateway's master key, {}, cannot be used: {why}", describe(master))))
        }
        None => Ok(key),
    }
}

/// The key that a request brings.
fn presented<'a>(headers: &'a HeaderMap, only: Option<&HeaderName>) -> Option<&'a str> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim).filter(|key| !key.is_empty());
    if let Some(name) = only {
        return text(name).map(|key| bearer(key).unwrap_or(key));
    }
    // With AWS_IAM the Authorization header is a signature, so only a bearer token counts.
    text(&AUTHORIZATION).and_then(bearer).or_else(|| KEY_HEADERS.iter().find_map(text))
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
    fn keys_are_found_where_clients_put_them() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a HeaderName>, Option<&'a str>);
        let own = HeaderName::from_static("x-own");
        let cases: [Case<'_>; 9] = [
            (&[("authorization", "Bearer k")], None, Some("k")),
            (&[("authorization", "bearer  k ")], None, Some("k")),
            (&[("authorization", "AWS4-HMAC-SHA256 Credential=x"), ("x-api-key", "k")], None, Some("k")),
            (&[("authorization", "Basic abc")], None, None),
            (&[("api-key", "k")], None, Some("k")),
            (&[("x-goog-api-key", "k")], None, Some("k")),
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
