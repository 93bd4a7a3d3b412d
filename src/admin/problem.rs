//! What is wrong with an administrator's request, as litellm and `OpenAI` write errors.

use http::StatusCode;
use serde::Serialize;

use super::Reply;
use crate::store::{SaveError, StoreError};

/// The longest text of somebody else's that is repeated in an error.
const SHOWN: usize = 80;

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None }
    }

    /// A field is wrong: `message` begins with what has to be so (`must be …`), the field's name is put before it.
    pub(super) fn field(name: &str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request_error", format!("`{name}` {}", message.as_ref())).param(name)
    }

    /// The request as a whole is wrong.
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request_error", message)
    }

    /// What a field names is not there.
    pub(super) fn unknown(name: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message).param(name)
    }

    /// It does not fit what is stored.
    pub(super) fn conflict(name: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict_error", message).param(name)
    }

    /// Somebody else changed the same thing meanwhile.
    pub(super) fn lost() -> Self {
        let message = "somebody else changed this at the same time, so nothing was done; look at it and try again";
        Self::new(StatusCode::CONFLICT, "conflict_error", message)
    }

    /// Who asks is not known.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "auth_error", message)
    }

    /// Who asks may not.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "auth_error", message)
    }

    pub(super) fn not_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "there is nothing under this path")
    }

    pub(super) fn method(allow: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "bad_request_error", format!("this path takes {allow}"))
    }

    /// Too many of these at a time.
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
    }

    /// The system has no random numbers to give.
    pub(super) fn random() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "internal_server_error", "the system gives no random numbers")
    }

    /// Names the field that it is about.
    fn param(mut self, name: &str) -> Self {
        self.param = Some(name.to_owned());
        self
    }

    /// The answer.
    pub(super) fn reply(&self) -> Reply {
        let code = self.status.as_str();
        let error = Inner { message: &self.message, r#type: self.kind, param: self.param.as_deref(), code };
        let body = serde_json::to_vec(&Body { error }).unwrap_or_default();
        Reply { status: self.status, body, changed: false, cut: false }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, kind) = match &error {
            StoreError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_db_connection"),
            StoreError::Setup(_) | StoreError::Corrupt(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error")
            }
        };
        // What exactly the store says is the operator's affair, and it is not always he who asks.
        tracing::error!(%error, "administration failed");
        Self::new(status, kind, "the store cannot be used now; the log says why".to_owned())
    }
}

/// For saves in which only a lost race can conflict.
impl From<SaveError> for Problem {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Conflict(_) => Self::lost(),
            SaveError::Store(error) => error.into(),
        }
    }
}

/// Somebody's text in an error: its beginning, and nothing that would end a line.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}
