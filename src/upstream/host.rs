//! The head of an upstream request: URL, credential and the few headers of the client's that go on.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::config::secret::Secret;
use crate::wire::{Operation, Wire};

/// Client headers that reach the upstream, on every wire. All others stay here: above all every credential.
const FORWARDED: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
/// Those that only Anthropic gets.
const ANTHROPIC_FORWARDED: [HeaderName; 2] =
    [HeaderName::from_static("anthropic-version"), HeaderName::from_static("anthropic-beta")];
/// What Anthropic's API demands, when the client did not say (Anthropic API reference, "versioning", 2026-08).
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The parts of a deployment after all look-ups.
#[derive(Default)]
pub struct Resolved {
    /// The base URL.
    pub base: String,
    /// The key, where the vendor needs one.
    pub key: Option<Secret>,
    /// The API version.
    pub version: Option<String>,
    /// The `OpenAI` organization.
    pub organization: Option<String>,
    /// `extra_headers`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Makes the head.
///
/// # Errors
/// A sentence for the operator where the base URL or a value cannot stand in a request. It shows no secret.
pub fn head(
    wire: Wire,
    operation: Operation,
    stream: bool,
    to: &Resolved,
    client: &HeaderMap,
) -> Result<Request<()>, String> {
    let (mut request, ()) = Request::new(()).into_parts();
    request.method = Method::POST;
    request.uri = url(wire, operation, to)?;
    let headers = &mut request.headers;
    copy(&FORWARDED, client, headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What comes back is looked at and passed on as it is, so it must not be compressed.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let accept = if stream { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    match wire {
        Wire::OpenAiChat => {
            if let Some(key) = &to.key {
                headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", key.expose()), "api_key")?);
            }
            if let Some(organization) = &to.organization {
                headers.insert("openai-organization", secret(organization, "organization")?);
            }
        }
        Wire::AnthropicMessages => {
            let version = to.version.as_deref().map(|version| secret(version, "api_version")).transpose()?;
            headers.insert("anthropic-version", version.unwrap_or(ANTHROPIC_VERSION));
            copy(&ANTHROPIC_FORWARDED, client, headers);
            if let Some(key) = &to.key {
                // OAuth tokens of a Claude subscription go where bearer tokens go.
                if key.expose().starts_with("sk-ant-oat") {
                    headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", key.expose()), "api_key")?);
                } else {
                    headers.insert("x-api-key", secret(key.expose(), "api_key")?);
                }
            }
        }
    }
    for (name, value) in &to.headers {
        headers.insert(name, value.clone());
    }
    Ok(Request::from_parts(request, ()))
}

fn url(wire: Wire, operation: Operation, to: &Resolved) -> Result<Uri, String> {
    let base = to.base.trim_end_matches('/');
    let mut url = match (wire, operation) {
        (Wire::OpenAiChat, _) => format!("{base}/chat/completions"),
        (Wire::AnthropicMessages, Operation::Generate) => format!("{base}/v1/messages"),
        (Wire::AnthropicMessages, Operation::CountTokens) => format!("{base}/v1/messages/count_tokens"),
    };
    if let (Wire::OpenAiChat, Some(version)) = (wire, &to.version) {
        url.push_str("?api-version=");
        url.push_str(version);
    }
    let uri: Uri = url.parse().map_err(|_| "its `api_base` or `api_version` makes no valid URL".to_owned())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err("its `api_base` must be a URL that begins with `https://` or `http://`".to_owned()),
    }
}

fn copy(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        let mut values = from.get_all(name).iter();
        if let Some(first) = values.next() {
            to.insert(name, first.clone());
            for value in values {
                to.append(name, value.clone());
            }
        }
    }
}

fn secret(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("its `{what}` holds a character that cannot stand in an HTTP header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(base: &str) -> Resolved {
        Resolved { base: base.to_owned(), key: Some(Secret::new("sk-up")), ..Resolved::default() }
    }

    #[test]
    fn urls() {
        let cases = [
            (
                Wire::OpenAiChat,
                Operation::Generate,
                "https://api.openai.com/v1",
                "https://api.openai.com/v1/chat/completions",
            ),
            (Wire::AnthropicMessages, Operation::Generate, "http://h:1/x/", "http://h:1/x/v1/messages"),
            (Wire::AnthropicMessages, Operation::CountTokens, "http://h", "http://h/v1/messages/count_tokens"),
        ];
        for (wire, operation, base, want) in cases {
            assert_eq!(url(wire, operation, &to(base)).unwrap().to_string(), want);
        }
        for bad in ["", "ftp://h", "h/v1", "http://a b/"] {
            assert!(url(Wire::OpenAiChat, Operation::Generate, &to(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn client_credentials_stay_and_the_named_headers_go() {
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("api-key", "client"),
            ("cookie", "client"),
            ("openai-organization", "client"),
            ("user-agent", "client"),
            ("traceparent", "00-1-2-01"),
            ("anthropic-beta", "a,b"),
        ] {
            client.append(name, HeaderValue::from_static(value));
        }
        let openai = head(Wire::OpenAiChat, Operation::Generate, true, &to("http://h/v1"), &client).unwrap();
        assert_eq!(openai.headers()["authorization"], "Bearer sk-up");
        assert_eq!(openai.headers()["traceparent"], "00-1-2-01");
        assert!(openai.headers().values().all(|value| value != "client" && value != "Bearer client"));
        assert!(!openai.headers().contains_key("anthropic-beta"));
        let anthropic = head(Wire::AnthropicMessages, Operation::Generate, false, &to("http://h"), &client).unwrap();
        assert_eq!(anthropic.headers()["x-api-key"], "sk-up");
        assert_eq!(anthropic.headers()["anthropic-beta"], "a,b");
        assert_eq!(anthropic.headers()["anthropic-version"], "2023-06-01");
        assert!(!format!("{openai:?}{anthropic:?}").contains("sk-up"));
    }
}
