//! Paths and methods: what is here, and what a near miss was meant to be.

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode};

use super::refusal::Refusal;
use crate::admin::{self, Access, Route};
use crate::route::nearest;
use crate::wire::direct::Path;
use crate::wire::{Operation, Task, Wire};

/// What a request calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A model.
    Model(Task),
    /// The list of models.
    Models,
    /// One of them.
    ModelInfo(String),
    /// Whether and how well we are.
    Health,
    /// Whether the process lives.
    Liveness,
    /// Whether it can serve.
    Readiness,
    /// The counters.
    Metrics,
    /// The page at `/`.
    Home,
    /// Administration, and its label.
    Admin(Access, &'static str),
}

impl Endpoint {
    /// The name in log lines.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Model(Task::Chat(Wire::OpenAiChat | Wire::Gemini, _)) => "chat.completions",
            Self::Model(Task::Chat(Wire::AnthropicMessages, Operation::Generate)) => "messages",
            Self::Model(Task::Chat(Wire::AnthropicMessages, Operation::CountTokens)) => "messages.count_tokens",
            Self::Model(Task::Direct(path)) => path.label(),
            Self::Models | Self::ModelInfo(_) => "models",
            Self::Health | Self::Liveness | Self::Readiness => "health",
            Self::Metrics => "metrics",
            Self::Home => "home",
            Self::Admin(_, label) => label,
        }
    }

    /// Whether it tells nothing that a stranger may not know.
    #[must_use]
    pub fn public(&self) -> bool {
        matches!(self, Self::Home | Self::Liveness | Self::Readiness | Self::Admin(Access::Public, _))
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Model(_) => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

const CHAT: Endpoint = Endpoint::Model(Task::Chat(Wire::OpenAiChat, Operation::Generate));
const MESSAGES: Endpoint = Endpoint::Model(Task::Chat(Wire::AnthropicMessages, Operation::Generate));
const COUNT: Endpoint = Endpoint::Model(Task::Chat(Wire::AnthropicMessages, Operation::CountTokens));

const fn direct(path: Path) -> (&'static str, Endpoint, bool) {
    (path.path(), Endpoint::Model(Task::Direct(path)), true)
}

/// The paths, without `/v1`; the flag says whether they also stand below it.
const PATHS: [(&str, Endpoint, bool); 23] = [
    ("/chat/completions", CHAT, true),
    ("/messages", MESSAGES, true),
    ("/messages/count_tokens", COUNT, true),
    ("/models", Endpoint::Models, true),
    ("/health", Endpoint::Health, true),
    // litellm's spelling, and the usual one.
    ("/health/liveliness", Endpoint::Liveness, true),
    ("/health/liveness", Endpoint::Liveness, true),
    ("/health/readiness", Endpoint::Readiness, true),
    ("/metrics", Endpoint::Metrics, true),
    ("/", Endpoint::Home, false),
    ("/v1", Endpoint::Home, false),
    direct(Path::Completions),
    direct(Path::Embeddings),
    direct(Path::Moderations),
    direct(Path::ImageGenerations),
    direct(Path::ImageEdits),
    direct(Path::ImageVariations),
    direct(Path::Speech),
    direct(Path::Transcriptions),
    direct(Path::Translations),
    direct(Path::Responses),
    direct(Path::ResponsesCompact),
    direct(Path::ResponsesInputTokens),
];

/// The paths that call a model.
pub(crate) fn calls() -> impl Iterator<Item = String> {
    let calls = PATHS.into_iter().filter(|(_, endpoint, _)| matches!(endpoint, Endpoint::Model(_)));
    calls.map(|(path, ..)| format!("/v1{path}"))
}

/// All paths that are not administration's, as they are told to people.
pub(super) fn paths() -> impl Iterator<Item = String> {
    PATHS.into_iter().map(|(path, _, versioned)| if versioned { format!("/v1{path}") } else { path.to_owned() })
}

/// Finds the endpoint. A trailing slash is overlooked.
///
/// # Errors
/// 404 or 405, naming what was probably meant.
pub fn find(method: &Method, path: &str) -> Result<Endpoint, Refusal> {
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
    let below = trimmed.strip_prefix("/v1").filter(|rest| rest.starts_with('/'));
    let found = PATHS
        .iter()
        .find(|(known, _, versioned)| *known == trimmed || (*versioned && below == Some(*known)))
        .map(|(_, endpoint, _)| endpoint.clone())
        .or_else(|| {
            let id = below.unwrap_or(trimmed).strip_prefix("/models/")?;
            Some(Endpoint::ModelInfo(decode(id)?.into_owned()))
        });
    let endpoint = match (found, admin::route(method, trimmed)) {
        (Some(endpoint), _) => endpoint,
        (None, Some(Route::Found { access, label })) => return Ok(Endpoint::Admin(access, label)),
        (None, Some(Route::WrongMethod { allow })) => return Err(wrong_method(method, path, allow)),
        (None, None) => return Err(unknown(method, path, trimmed)),
    };
    let fits = match endpoint {
        Endpoint::Model(_) => *method == Method::POST,
        _ => *method == Method::GET || *method == Method::HEAD,
    };
    if fits || *method == Method::OPTIONS {
        return Ok(endpoint);
    }
    Err(wrong_method(method, path, endpoint.methods()))
}

fn wrong_method(method: &Method, path: &str, methods: &'static str) -> Refusal {
    let path: String = path.chars().take(200).collect();
    let message = format!("`{method}` does not work on `{path}`; use {}", methods.trim_end_matches(", OPTIONS"));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not_found", message).allow(methods)
}

fn unknown(method: &Method, path: &str, trimmed: &str) -> Refusal {
    let known: Vec<String> = paths().collect();
    // A doubled `/v1` is what a base URL with `/v1` in a client that adds its own makes.
    let meant = trimmed
        .strip_prefix("/v1")
        .and_then(|rest| known.iter().find(|known| *known == rest))
        .map(String::as_str)
        .or_else(|| nearest(trimmed, known.iter().map(String::as_str)))
        .or_else(|| {
            let last = trimmed.rsplit('/').next().filter(|last| !last.is_empty())?;
            known.iter().map(String::as_str).find(|known| known.rsplit('/').next() == Some(last))
        });
    let shown: String = path.chars().take(200).collect();
    let hint =
        meant.map_or_else(|| "`GET /` lists what is here".to_owned(), |meant| format!("did you mean `{meant}`?"));
    Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("there is no `{method} {shown}` here; {hint}"))
        .code("unknown_url")
}

/// The dialect that errors on this path are written in.
#[must_use]
pub fn dialect(path: &str, headers: &HeaderMap) -> Wire {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let models = path.starts_with("/models") && headers.contains_key("anthropic-version");
    if models || path == "/messages" || path.starts_with("/messages/") {
        Wire::AnthropicMessages
    } else {
        Wire::OpenAiChat
    }
}

/// Percent-decoding: a model's id may contain slashes.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_with_and_without_version() {
        for (method, path, want) in [
            (Method::POST, "/v1/chat/completions", CHAT),
            (Method::POST, "/chat/completions/", CHAT),
            (Method::POST, "/v1/messages", MESSAGES),
            (Method::POST, "/messages/count_tokens", COUNT),
            (Method::POST, "/v1/completions", Endpoint::Model(Task::Direct(Path::Completions))),
            (Method::POST, "/audio/speech", Endpoint::Model(Task::Direct(Path::Speech))),
            (Method::GET, "/models", Endpoint::Models),
            (Method::HEAD, "/", Endpoint::Home),
            (Method::GET, "/v1/models/a%2Fb/c", Endpoint::ModelInfo("a/b/c".into())),
            (Method::OPTIONS, "/v1/messages", MESSAGES),
        ] {
            assert_eq!(find(&method, path).unwrap(), want, "{path}");
        }
    }

    #[test]
    fn misses_name_what_was_meant() {
        for (method, path, status, text) in [
            (Method::POST, "/v1/chat/completion", 404, "did you mean `/v1/chat/completions`?"),
            (Method::POST, "/v1/v1/messages", 404, "did you mean `/v1/messages`?"),
            (Method::POST, "/openai/v1/chat/completions", 404, "did you mean `/v1/chat/completions`?"),
            (Method::POST, "/v1/embedding", 404, "did you mean `/v1/embeddings`?"),
            (Method::GET, "/v1/responses/resp_1", 404, "there is no `GET /v1/responses/resp_1` here"),
            (Method::GET, "/favicon.ico", 404, "`GET /` lists what is here"),
            (Method::GET, "/v1/chat/completions", 405, "use POST"),
            (Method::DELETE, "/v1/models", 405, "use GET, HEAD"),
            (Method::GET, "/v1/models/%zz", 404, ""),
        ] {
            let refusal = find(&method, path).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{path}");
            assert!(refusal.message.contains(text), "{}", refusal.message);
        }
    }
}
