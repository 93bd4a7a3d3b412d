//! The one place where a failure becomes an answer: every refusal has a status, a public sentence, and a class for the log.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::ratelimit;
use super::receive::Hidden;
use super::tail::Body;
use crate::route::health::Failed;
use crate::wire::{self, ApiError, ConvertError, DecodeError, Failure, FailureKind, Task, Wire};

/// Headers of a failed upstream answer that tell a client when to come back.
const RETRY_HEADERS: [HeaderName; 3] =
    [RETRY_AFTER, HeaderName::from_static("retry-after-ms"), HeaderName::from_static("x-should-retry")];

/// Between whom a request goes: what the words about a failure depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) task: Task,
    /// The upstream's dialect.
    pub(super) from: Wire,
    pub(super) vendor: &'static str,
    /// The client cannot read the upstream's own errors.
    pub(super) converts: bool,
}

/// A failure as a client is told of it.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
}

impl Way {
    /// What the client is told. Within a dialect that is what the upstream said; in another one the status is the one that
    /// stands there for the same thing, and the words say whose they are.
    pub(super) fn told(&self, failure: &Failure) -> Told {
        let Failure { kind, status, message, .. } = failure;
        if !self.converts {
            return Told { status: *status, code: None, message: message.clone() };
        }
        let too_long = *kind == FailureKind::TooLong && *status != 413;
        let (status, code) = match self.task.wire() {
            Wire::OpenAiChat | Wire::Gemini => match (kind, status) {
                _ if too_long => (400, Some("context_length_exceeded")),
                (FailureKind::Filtered, _) => (400, Some("content_filter")),
                (FailureKind::RateLimited, 402) => (429, Some("insufficient_quota")),
                (FailureKind::NotFound, 404) => (404, Some("model_not_found")),
                (_, 529) => (503, None),
                _ => (*status, None),
            },
            Wire::AnthropicMessages => match (kind, status) {
                _ if too_long => (400, None),
                (FailureKind::Filtered, _) => (400, None),
                (FailureKind::Overloaded, _) => (529, None),
                (FailureKind::Timeout, _) => (504, None),
                (_, 500..) => (500, None),
                _ => (*status, None),
            },
        };
        let mut message = format!("{}: {message}", self.vendor);
        // Clients of Anthropic's know a full context by these words, and compact the conversation.
        if too_long && self.task.wire() == Wire::AnthropicMessages {
            message.insert_str(0, "prompt is too long: ");
        }
        Told { status, code, message }
    }
}

/// What a refusal means for the attempts of its request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Nothing else is tried.
    Final,
    /// The deployment cannot be told what is asked for; it was not called.
    Unfit,
    /// The attempt failed.
    Failed(Failed),
}

/// Why a request gets no answer.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the client reads.
    pub message: String,
    /// The class in log and metrics.
    pub class: &'static str,
    /// Whether something else can be tried.
    pub(super) fate: Fate,
    /// Whether an upstream may have done its work for nothing: it was given up, or its answer could not be used.
    pub(super) worked: bool,
    param: Option<String>,
    code: Option<&'static str>,
    pub(super) headers: HeaderMap,
    /// The upstream's own error, where it can go to the client as it is.
    body: Option<Bytes>,
}

impl Refusal {
    /// A refusal in our own words.
    #[must_use]
    pub fn new(status: StatusCode, class: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            class,
            fate: Fate::Final,
            worked: false,
            param: None,
            code: None,
            headers: HeaderMap::new(),
            body: None,
        }
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

    /// It is about one deployment, as it is set up: another one may do, and the same one will not.
    #[must_use]
    pub(super) fn elsewhere(mut self) -> Self {
        let failed = Failed { kind: FailureKind::Auth, status: self.status.as_u16(), retry_after: None };
        self.fate = Fate::Failed(failed);
        self
    }

    /// Nobody in the group can take the request, which counts as this kind of failure where fallbacks are looked for.
    #[must_use]
    pub(super) fn counts_as(mut self, kind: FailureKind) -> Self {
        self.fate = Fate::Failed(Failed { kind, status: self.status.as_u16(), retry_after: None });
        self
    }

    /// The kind of failure that routing takes it for.
    pub(super) fn kind(&self) -> Option<FailureKind> {
        match self.fate {
            Fate::Failed(failed) => Some(failed.kind),
            Fate::Final | Fate::Unfit => None,
        }
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

    /// Takes a key out of what the client and the log read.
    pub(super) fn hide(&mut self, key: &Hidden) {
        self.message = key.hidden_in(std::mem::take(&mut self.message));
        self.body = self.body.take().map(|body| key.hidden(body));
    }

    /// Adds words at the end of what the client reads, be it the upstream's own error.
    pub(super) fn add(&mut self, words: &str) {
        self.message.push_str(words);
        self.body = self.body.take().map(|body| wire::remark(&body, words).unwrap_or(body));
    }

    /// With the methods that would have worked.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.headers.insert(ALLOW, HeaderValue::from_static(methods));
        self
    }

    /// With another status and class.
    #[must_use]
    pub(super) fn with(mut self, status: StatusCode, class: &'static str) -> Self {
        (self.status, self.class) = (status, class);
        self
    }

    /// With the time after which it is worth another try, in milliseconds: exactly for those SDKs that can read that, in whole
    /// seconds for others.
    #[must_use]
    pub(super) fn retry_after(mut self, millis: u64) -> Self {
        let [seconds, exact, _] = &RETRY_HEADERS;
        self.headers.insert(seconds, HeaderValue::from(millis.div_ceil(1000)));
        self.headers.insert(exact, HeaderValue::from(millis));
        self
    }

    /// Asks SDKs not to try again; the official ones of `OpenAI` and Anthropic read this header.
    #[must_use]
    pub(super) fn no_retry(mut self) -> Self {
        self.headers.insert("x-should-retry", HeaderValue::from_static("false"));
        self
    }

    /// An upstream's failure. A refused credential is ours and not the client's, so it must not read as the client's; nor
    /// may the upstream's words go out, which often quote a part of the key. `headers` are the upstream's, `now` is in Unix
    /// milliseconds.
    #[must_use]
    pub(super) fn upstream(failure: Failure, way: &Way, model: &str, headers: Option<&HeaderMap>, now: u64) -> Self {
        let retry_after = headers
            .and_then(|headers| ratelimit::retry_after(headers, now))
            .or(failure.retry_after.map(|seconds| seconds.saturating_mul(1000)));
        let fate = Fate::Failed(Failed { kind: failure.kind, status: failure.status, retry_after });
        let refusal = Self::from_upstream(failure, way, model, headers, now);
        Self { fate, ..refusal }
    }

    /// The failure that a `mock_response` stands for, as litellm has it; `None` if it is a text.
    pub(super) fn made_up(mock: &str, way: &Way, model: &str) -> Option<Self> {
        let (kind, status, what) = match mock {
            "litellm.RateLimitError" => (FailureKind::RateLimited, 429, "a rate limit"),
            "litellm.InternalServerError" => (FailureKind::Server, 500, "a server's error"),
            "litellm.ContextWindowExceededError" => (FailureKind::TooLong, 400, "a request that is too long"),
            "litellm.ContentPolicyViolationError" => (FailureKind::Filtered, 400, "a content filter's refusal"),
            _ if mock.starts_with("Exception: content_filter_policy") => {
                (FailureKind::Filtered, 400, "a content filter's refusal")
            }
            _ => return None,
        };
        let failure = Failure::new(kind, status, format!("this is {what}, made up by `mock_response`"));
        // In the words of the client's dialect, since no upstream has any.
        Some(Self::upstream(failure, &Way { converts: true, ..*way }, model, None, 0))
    }

    fn from_upstream(failure: Failure, way: &Way, model: &str, headers: Option<&HeaderMap>, now: u64) -> Self {
        if failure.kind == FailureKind::Auth || failure.status == 401 {
            let message = format!(
                "the upstream `{}` refused the gateway's credential for model `{model}` (status {}); the operator of this \
                 gateway has to check its key",
                way.vendor, failure.status
            );
            let status = StatusCode::BAD_GATEWAY;
            return Self::new(status, FailureKind::Auth.label(), message)
                .code("upstream_credential_refused")
                .no_retry();
        }
        let told = way.told(&failure);
        let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut refusal = Self::new(status, failure.kind.label(), told.message);
        refusal.code = told.code;
        refusal.body = failure.body.filter(|_| !way.converts);
        if let Some(seconds) = failure.retry_after {
            refusal.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let Some(headers) = headers else { return refusal };
        for name in &RETRY_HEADERS {
            if let Some(value) = headers.get(name) {
                refusal.headers.insert(name, value.clone());
            }
        }
        ratelimit::forward((way.from, headers), (way.task.wire(), &mut refusal.headers), now);
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
            // The code by which the SDKs of Anthropic know that the whole conversation has to be sent.
            Some(field) if field == "thread" => refusal.param(field).code("thread_unsupported_request"),
            Some(field) => refusal.param(field),
            None => refusal,
        }
    }
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Decode(error) => error.into(),
            ConvertError::Unsendable(error) => {
                let refusal = Self::new(StatusCode::BAD_REQUEST, "unsendable", error.message);
                let refusal = Self { fate: Fate::Unfit, ..refusal };
                refusal.param(error.field).code("unsupported_value")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;

    fn way(from: Wire, to: Wire) -> Way {
        Way { task: Task::Chat(to, Operation::Generate), from, vendor: "v", converts: from != to }
    }

    #[test]
    fn w13_w66_failures_keep_their_meaning_in_the_other_dialect() {
        use FailureKind as K;
        let (openai, anthropic, gemini) = (Wire::OpenAiChat, Wire::AnthropicMessages, Wire::Gemini);
        let cases = [
            (anthropic, openai, K::Overloaded, 529, 503, "server_error", None),
            (anthropic, openai, K::RateLimited, 402, 429, "insufficient_quota", Some("insufficient_quota")),
            (anthropic, openai, K::RateLimited, 429, 429, "rate_limit_error", Some("rate_limit_exceeded")),
            (anthropic, openai, K::TooLong, 400, 400, "invalid_request_error", Some("context_length_exceeded")),
            (anthropic, openai, K::TooLong, 413, 413, "invalid_request_error", None),
            (gemini, openai, K::Filtered, 400, 400, "invalid_request_error", Some("content_filter")),
            (gemini, openai, K::NotFound, 404, 404, "invalid_request_error", Some("model_not_found")),
            (gemini, openai, K::BadRequest, 400, 400, "invalid_request_error", None),
            (gemini, openai, K::Timeout, 504, 504, "server_error", None),
            (openai, anthropic, K::Overloaded, 503, 529, "overloaded_error", None),
            (openai, anthropic, K::Server, 503, 500, "api_error", None),
            (openai, anthropic, K::Server, 502, 500, "api_error", None),
            (openai, anthropic, K::Unreachable, 502, 500, "api_error", None),
            (openai, anthropic, K::Timeout, 504, 504, "timeout_error", None),
            (openai, anthropic, K::Timeout, 408, 504, "timeout_error", None),
            (openai, anthropic, K::RateLimited, 429, 429, "rate_limit_error", None),
            (openai, anthropic, K::BadRequest, 422, 422, "invalid_request_error", None),
            (gemini, anthropic, K::TooLong, 413, 413, "request_too_large", None),
            (gemini, anthropic, K::NotFound, 404, 404, "not_found_error", None),
        ];
        for (from, to, kind, status, want, class, code) in cases {
            let mut failure = Failure::new(kind, status, "words");
            failure.body = Some(Bytes::from_static(b"the upstream's own"));
            let refusal = Refusal::upstream(failure, &way(from, to), "m", None, 0);
            assert_eq!(refusal.status.as_u16(), want, "{from:?} {kind:?} {status}");
            assert_eq!(refusal.message, "v: words");
            let text = wire::encode_error(
                to,
                &ApiError { status: want, message: "x", param: None, code: refusal.code, request_id: None },
            );
            let error: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(error["error"]["type"], class, "{from:?} {kind:?} {status}");
            if to == openai {
                assert_eq!(error["error"]["code"].as_str(), code, "{from:?} {kind:?} {status}");
            }
            assert!(refusal.body.is_none());
        }
        let long = way(gemini, anthropic).told(&Failure::new(K::TooLong, 400, "too many"));
        assert_eq!((long.status, long.message.as_str()), (400, "prompt is too long: v: too many"));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_a_400_that_names_the_field() {
        let mut losses = wire::loss::Losses::new(wire::OnLoss::Reject);
        losses.setting("seed", "Anthropic has no such setting");
        let unsendable = losses.settle().unwrap_err();
        for (wire, want) in [
            (
                Wire::OpenAiChat,
                serde_json::json!({"type": "invalid_request_error", "param": "seed", "code": "unsupported_value"}),
            ),
            (Wire::AnthropicMessages, serde_json::json!({"type": "invalid_request_error"})),
        ] {
            let refusal = Refusal::from(ConvertError::Unsendable(unsendable.clone()));
            let response = refusal.into_response(wire, "r");
            assert_eq!(response.status(), 400);
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains("`seed` (Anthropic has no such setting)"), "{message}");
            for (name, value) in want.as_object().unwrap() {
                assert_eq!(&body["error"][name], value, "{wire:?}");
            }
        }
    }

    #[test]
    fn w69_when_to_come_back_is_told() {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-ratelimit-requests-remaining", HeaderValue::from_static("0"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        let failure = || {
            let mut failure = Failure::new(FailureKind::RateLimited, 429, "slow");
            failure.retry_after = Some(35);
            failure
        };
        let way = way(Wire::AnthropicMessages, Wire::OpenAiChat);
        let refusal = Refusal::upstream(failure(), &way, "m", Some(&headers), 0);
        assert_eq!(refusal.headers["retry-after"], "35");
        assert_eq!(refusal.headers["x-ratelimit-remaining-requests"], "0");
        assert_eq!(refusal.headers.len(), 2);
        for name in ["retry-after", "retry-after-ms", "x-should-retry"] {
            headers.insert(name, HeaderValue::from_static("7"));
        }
        let refusal = Refusal::upstream(failure(), &way, "m", Some(&headers), 0);
        for name in ["retry-after", "retry-after-ms", "x-should-retry"] {
            assert_eq!(refusal.headers[name], "7");
        }
    }
}
