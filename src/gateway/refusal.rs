//! The one place where a failure becomes an answer: every refusal has a status, a public sentence, and a class for the log.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::tail::Body;
use crate::wire::{self, ApiError, ConvertError, DecodeError, Failure, FailureKind, Wire};

/// Headers of a failed upstream answer that tell a client when to come back.
const RETRY_HEADERS: [HeaderName; 3] =
    [RETRY_AFTER, HeaderName::from_static("retry-after-ms"), HeaderName::from_static("x-should-retry")];

/// Why a request gets no answer.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the client reads.
    pub message: String,
    /// The class in log and metrics.
    pub class: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    headers: HeaderMap,
    /// The upstream's own error, where it can go to the client as it is.
    body: Option<Bytes>,
}

impl Refusal {
    /// A refusal in our own words.
    #[must_use]
    pub fn new(status: StatusCode, class: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, class, param: None, code: None, headers: HeaderMap::new(), body: None }
    }

    /// The request is at fault.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The operator has to mend something; trying again does not help.
    #[must_use]
    pub fn setup(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "configuration", message).no_retry()
    }

    /// With a machine-readable code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// With the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// With the methods that would have worked.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.headers.insert(ALLOW, HeaderValue::from_static(methods));
        self
    }

    /// Asks SDKs not to try again; the official ones of `OpenAI` and Anthropic read this header.
    #[must_use]
    fn no_retry(mut self) -> Self {
        self.headers.insert("x-should-retry", HeaderValue::from_static("false"));
        self
    }

    /// An upstream's failure. A refused credential is ours and not the client's, so it must not read as the client's; nor
    /// may the upstream's words go out, which often quote a part of the key.
    #[must_use]
    pub fn upstream(failure: Failure, vendor: &str, model: &str, headers: Option<&HeaderMap>) -> Self {
        if failure.kind == FailureKind::Auth {
            let message = format!(
                "the upstream `{vendor}` refused the gateway's credential for model `{model}` (status {}); the operator \
                 of this gateway has to check its key",
                failure.status
            );
            let status = StatusCode::BAD_GATEWAY;
            return Self::new(status, failure.kind.label(), message).code("upstream_credential_refused").no_retry();
        }
        let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut refusal = Self::new(status, failure.kind.label(), failure.message);
        refusal.body = failure.body;
        for name in &RETRY_HEADERS {
            if let Some(value) = headers.and_then(|headers| headers.get(name)) {
                refusal.headers.insert(name, value.clone());
            }
        }
        refusal
    }

    /// The answer in the client's dialect.
    #[must_use]
    pub fn into_response(self, wire: Wire, request_id: &str) -> Response<Body> {
        let body = self.body.unwrap_or_else(|| {
            Bytes::from(wire::encode_error(
                wire,
                &ApiError {
                    status: self.status.as_u16(),
                    message: &self.message,
                    param: self.param.as_deref(),
                    code: self.code,
                    request_id: Some(request_id),
                },
            ))
        });
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let refusal = Self::bad_request(error.message);
        match error.field {
            Some(field) => refusal.param(field),
            None => refusal,
        }
    }
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Decode(error) => error.into(),
            ConvertError::Unlike { to, .. } => {
                let path = match to {
                    Wire::OpenAiChat => "/v1/chat/completions",
                    Wire::AnthropicMessages => "/v1/messages",
                };
                Self::new(StatusCode::NOT_IMPLEMENTED, "unlike_wires", format!("{error}; call it at `{path}`"))
                    .no_retry()
            }
        }
    }
}
