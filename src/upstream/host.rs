//! The head of an upstream request: URL, credential and the few headers of the client's that go on.

use std::fmt::Write as _;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::config::secret::Secret;
use crate::wire::{Operation, Task, Wire};

/// Client headers that reach the upstream, on every wire. All others stay here: above all every credential.
const FORWARDED: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// What Anthropic's API demands, when the client did not say (Anthropic API reference, "versioning", 2026-08).
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The parts of a deployment after all look-ups.
pub struct Resolved {
    /// The base URL.
    pub base: Secret,
    /// The key, where the vendor needs one.
    pub key: Option<Secret>,
    /// The API version.
    pub version: Option<String>,
    /// The `OpenAI` organization.
    pub organization: Option<String>,
    /// `extra_headers`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is asked of whom.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The upstream's dialect.
    pub wire: Wire,
    /// The model's name there.
    pub model: &'a str,
    /// What for.
    pub task: Task,
    /// Whether as a stream.
    pub stream: bool,
    /// The betas of Anthropic's that the body needs.
    pub betas: &'a [&'static str],
}

/// Makes the head.
///
/// # Errors
/// A sentence for the operator where the base URL or a value cannot stand in a request. It shows no secret.
pub fn head(ask: &Ask<'_>, to: &Resolved, client: &HeaderMap) -> Result<Request<()>, String> {
    let (mut request, ()) = Request::new(()).into_parts();
    request.method = Method::POST;
    request.uri = url(ask, to)?;
    let headers = &mut request.headers;
    copy(&FORWARDED, client, headers);
    // What comes back is looked at and passed on as it is, so it must not be compressed.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (kind, accept) = match ask.task {
        // A form's content-type holds its boundary.
        Task::Direct(_) => (client.get(CONTENT_TYPE).filter(|kind| is_form(kind)).cloned(), "*/*"),
        Task::Chat(..) if ask.stream => (None, "text/event-stream"),
        Task::Chat(..) => (None, "application/json"),
    };
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/json")));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    match ask.wire {
        Wire::OpenAiChat => {
            if let Some(key) = &to.key {
                headers.insert(AUTHORIZATION, bearer(key)?);
            }
            if let Some(organization) = &to.organization {
                headers.insert("openai-organization", secret(organization, "organization")?);
            }
        }
        Wire::Gemini => {
            if let Some(key) = &to.key {
                headers.insert("x-goog-api-key", secret(key.expose(), "api_key")?);
            }
        }
        Wire::AnthropicMessages => {
            let version = to.version.as_deref().map(|version| secret(version, "api_version")).transpose()?;
            headers.insert(VERSION, version.unwrap_or(ANTHROPIC_VERSION));
            copy(&[VERSION], client, headers);
            if let Some(key) = &to.key {
                // OAuth tokens of a Claude subscription go where bearer tokens go.
                if key.expose().starts_with("sk-ant-oat") {
                    headers.insert(AUTHORIZATION, bearer(key)?);
                } else {
                    headers.insert("x-api-key", secret(key.expose(), "api_key")?);
                }
            }
        }
    }
    for (name, value) in &to.headers {
        headers.insert(name, value.clone());
    }
    if ask.wire == Wire::AnthropicMessages
        && let Some(betas) = betas(ask.betas, to, client)
    {
        headers.insert(BETA, betas);
    }
    Ok(Request::from_parts(request, ()))
}

fn is_form(kind: &HeaderValue) -> bool {
    kind.to_str().unwrap_or_default().trim_start().get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
}

/// The betas that the client asks for, those of the deployment's `extra_headers`, and those that the body needs, each once.
fn betas(needed: &[&'static str], to: &Resolved, client: &HeaderMap) -> Option<HeaderValue> {
    let given = client.get_all(BETA).iter();
    let own = to.headers.iter().filter(|(name, _)| *name == BETA).map(|(_, value)| value);
    let texts = given.chain(own).filter_map(|value| value.to_str().ok()).chain(needed.iter().copied());
    let mut all: Vec<&str> = Vec::new();
    for beta in texts.flat_map(|text| text.split(',')).map(str::trim).filter(|beta| !beta.is_empty()) {
        if !all.contains(&beta) {
            all.push(beta);
        }
    }
    HeaderValue::from_str(&all.join(",")).ok().filter(|_| !all.is_empty())
}

fn url(ask: &Ask<'_>, to: &Resolved) -> Result<Uri, String> {
    let base = to.base.expose().trim_end_matches('/');
    let model = || segment(ask.model);
    let mut url = match (ask.wire, ask.task) {
        (Wire::OpenAiChat, Task::Direct(path)) => [base, path.path()].concat(),
        (Wire::OpenAiChat, Task::Chat(..)) => [base, "/chat/completions"].concat(),
        (Wire::AnthropicMessages, Task::Chat(_, Operation::CountTokens)) => {
            [base, "/v1/messages/count_tokens"].concat()
        }
        (Wire::AnthropicMessages, Task::Chat(_, Operation::Generate) | Task::Direct(_)) => {
            [base, "/v1/messages"].concat()
        }
        (Wire::Gemini, Task::Direct(_)) => format!("{base}/models/{}:batchEmbedContents", model()),
        (Wire::Gemini, Task::Chat(_, Operation::CountTokens)) => format!("{base}/models/{}:countTokens", model()),
        (Wire::Gemini, Task::Chat(_, Operation::Generate)) if ask.stream => {
            format!("{base}/models/{}:streamGenerateContent?alt=sse", model())
        }
        (Wire::Gemini, Task::Chat(_, Operation::Generate)) => format!("{base}/models/{}:generateContent", model()),
    };
    if let (Wire::OpenAiChat, Some(version)) = (ask.wire, &to.version) {
        url.push_str("?api-version=");
        url.push_str(version);
    }
    let uri = Uri::try_from(url).map_err(|_| "its `api_base` or `api_version` makes no valid URL".to_owned())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err("its `api_base` must be a URL that begins with `https://` or `http://`".to_owned()),
    }
}

/// A model's name as one segment of a path.
fn segment(model: &str) -> String {
    let model = model.strip_prefix("models/").unwrap_or(model);
    let mut out = String::with_capacity(model.len());
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
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

fn bearer(key: &Secret) -> Result<HeaderValue, String> {
    secret(&["Bearer ", key.expose()].concat(), "api_key")
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
    use crate::wire::direct::Path;

    fn to(base: &str) -> Resolved {
        let (base, key) = (Secret::new(base), Some(Secret::new("sk-up")));
        Resolved { base, key, version: None, organization: None, headers: Vec::new() }
    }

    const COUNT: Task = Task::Chat(Wire::AnthropicMessages, Operation::CountTokens);
    const CHAT: Task = Task::Chat(Wire::OpenAiChat, Operation::Generate);

    fn ask(wire: Wire, task: Task, stream: bool) -> Ask<'static> {
        Ask { wire, model: "models/a/b:c", task, stream, betas: &[] }
    }

    #[test]
    fn urls() {
        let cases = [
            (Wire::OpenAiChat, CHAT, "https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            (Wire::OpenAiChat, Task::Direct(Path::Speech), "http://h/v1/", "http://h/v1/audio/speech"),
            (Wire::AnthropicMessages, CHAT, "http://h:1/x/", "http://h:1/x/v1/messages"),
            (Wire::AnthropicMessages, COUNT, "http://h", "http://h/v1/messages/count_tokens"),
            (Wire::Gemini, COUNT, "http://h/v1beta", "http://h/v1beta/models/a%2Fb%3Ac:countTokens"),
            (Wire::Gemini, CHAT, "http://h/v1beta", "http://h/v1beta/models/a%2Fb%3Ac:generateContent"),
            (Wire::Gemini, Task::Direct(Path::Embeddings), "http://h", "http://h/models/a%2Fb%3Ac:batchEmbedContents"),
        ];
        for (wire, task, base, want) in cases {
            assert_eq!(url(&ask(wire, task, false), &to(base)).unwrap().to_string(), want);
        }
        let stream = url(&ask(Wire::Gemini, CHAT, true), &to("http://h")).unwrap().to_string();
        assert_eq!(stream, "http://h/models/a%2Fb%3Ac:streamGenerateContent?alt=sse");
        for bad in ["", "ftp://h", "h/v1", "http://a b/"] {
            assert!(url(&ask(Wire::OpenAiChat, CHAT, false), &to(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn w64_w65_credentials_of_clients_stay_and_keys_are_in_no_url() {
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("api-key", "client"),
            ("x-goog-api-key", "client"),
            ("cookie", "client"),
            ("openai-organization", "client"),
            ("user-agent", "client"),
            ("traceparent", "00-1-2-01"),
            ("anthropic-version", "2024-01-01"),
            ("content-type", "multipart/form-data; boundary=b"),
        ] {
            client.append(name, HeaderValue::from_static(value));
        }
        for wire in Wire::ALL {
            for task in [CHAT, COUNT, Task::Direct(Path::Transcriptions)] {
                let head = head(&ask(wire, task, true), &to("http://h/v1"), &client).unwrap();
                assert!(!format!("{head:?}").contains("sk-up"), "keys are marked as secrets and are not in the URL");
                assert!(head.headers().values().all(|value| value != "client" && value != "Bearer client"));
                assert_eq!(head.headers()["traceparent"], "00-1-2-01");
                let (name, key) = match wire {
                    Wire::OpenAiChat => ("authorization", "Bearer sk-up"),
                    Wire::AnthropicMessages => ("x-api-key", "sk-up"),
                    Wire::Gemini => ("x-goog-api-key", "sk-up"),
                };
                assert_eq!(head.headers()[name], key);
                let form = matches!(task, Task::Direct(_));
                assert_eq!(head.headers()["content-type"] == "multipart/form-data; boundary=b", form);
                assert_eq!(head.headers().contains_key("anthropic-version"), wire == Wire::AnthropicMessages);
            }
        }
    }

    #[test]
    fn w51_betas_go_to_anthropic_alone_and_each_once() {
        type Case<'a> = (&'a [&'static str], Option<&'static str>, &'a [&'static str], Option<&'a str>);
        let cases: [Case<'_>; 5] = [
            (&[], None, &[], None),
            (&["a,b"], None, &[], Some("a,b")),
            (&["a, b", "c"], Some("d,a"), &["b", "e"], Some("a,b,c,d,e")),
            (&[], None, &["e"], Some("e")),
            (&[" ,"], Some("d"), &[], Some("d")),
        ];
        for (given, own, needed, want) in cases {
            let mut client = HeaderMap::new();
            for value in given {
                client.append("anthropic-beta", HeaderValue::from_static(value));
            }
            let mut to = to("http://h");
            to.headers.extend(own.map(|value| (BETA, HeaderValue::from_static(value))));
            for wire in Wire::ALL {
                let ask = Ask { betas: needed, ..ask(wire, CHAT, false) };
                let head = head(&ask, &to, &client).unwrap();
                let got = head.headers().get("anthropic-beta").map(|value| value.to_str().unwrap());
                // What the operator writes goes where the operator says.
                assert_eq!(got, if wire == Wire::AnthropicMessages { want } else { own }, "{given:?}");
            }
        }
    }
}
