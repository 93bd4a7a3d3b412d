//! What every wire has in common: usage, failures, errors.

use std::sync::Arc;

use bytes::Bytes;

/// Tokens of one exchange. `None` where the upstream did not say: an unknown count is never 0.
///
/// `input` leaves out what was read from or written to the upstream's prompt cache; `output` includes `reasoning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens that the cache did not serve.
    pub input: Option<u64>,
    /// Output tokens, reasoning included.
    pub output: Option<u64>,
    /// Input tokens read from the prompt cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to the prompt cache.
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for an hour.
    pub cache_write_hour: Option<u64>,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
    /// The part of `input` that was audio.
    pub audio_input: Option<u64>,
    /// The part of `output` that was audio.
    pub audio_output: Option<u64>,
}

impl Usage {
    /// Takes over what `newer` knows. Counts in every dialect are totals so far, never increments.
    pub fn replace(&mut self, newer: Self) {
        self.input = newer.input.or(self.input);
        self.output = newer.output.or(self.output);
        self.cache_read = newer.cache_read.or(self.cache_read);
        self.cache_write = newer.cache_write.or(self.cache_write);
        self.cache_write_hour = newer.cache_write_hour.or(self.cache_write_hour);
        self.reasoning = newer.reasoning.or(self.reasoning);
        self.audio_input = newer.audio_input.or(self.audio_input);
        self.audio_output = newer.audio_output.or(self.audio_output);
    }
}

/// Gives what a usage costs, as the text of a JSON number; `None` where it is not known. For streams that tell their cost.
#[derive(Clone)]
pub struct Costs(Arc<CostOf>);

type CostOf = dyn Fn(&Usage) -> Option<String> + Send + Sync;

impl Costs {
    /// Costs as `of` computes them.
    #[must_use]
    pub fn new(of: impl Fn(&Usage) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(of))
    }

    /// What `usage` costs.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Option<String> {
        (self.0)(usage)
    }
}

impl std::fmt::Debug for Costs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Costs")
    }
}

impl PartialEq for Costs {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Costs {}

/// The kinds of failure: one closed list that drives retries, the client's error, and the metric label alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request is at fault.
    BadRequest,
    /// The request is longer than the model's context or the upstream's limit.
    TooLong,
    /// A content policy refused it.
    Filtered,
    /// The upstream refused our credential.
    Auth,
    /// The upstream does not know the model or path.
    NotFound,
    /// A rate limit or quota at the upstream.
    RateLimited,
    /// The upstream has too much to do.
    Overloaded,
    /// Nothing came in time.
    Timeout,
    /// The upstream could not be reached, or the connection broke before an answer.
    Unreachable,
    /// The answer ended before its end.
    Cut,
    /// Any other fault of the upstream.
    Server,
}

impl FailureKind {
    /// The label in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TooLong => "too_long",
            Self::Filtered => "filtered",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Cut => "cut",
            Self::Server => "server",
        }
    }

    /// The kind that a status stands for.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Auth,
            402 | 429 => Self::RateLimited,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLong,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::BadRequest,
            _ => Self::Server,
        }
    }
}

/// What an upstream did instead of answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// The status that the client gets for it.
    pub status: u16,
    /// The upstream's words, or ours.
    pub message: String,
    /// The upstream's own error body, where the client can read it as it is.
    pub body: Option<Bytes>,
    /// The seconds after which the upstream's body invites another try, rounded up.
    pub retry_after: Option<u64>,
}

impl Failure {
    /// A failure in our words.
    #[must_use]
    pub fn new(kind: FailureKind, status: u16, message: impl Into<String>) -> Self {
        Self { kind, status, message: message.into(), body: None, retry_after: None }
    }

    /// The stream ended, or the connection broke, before the answer's end.
    #[must_use]
    pub fn cut(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Cut, 502, message)
    }
}

/// An error for a client, before it is written in the client's dialect.
#[derive(Clone, Copy, Debug)]
pub struct ApiError<'a> {
    /// The HTTP status, from which each dialect derives its type.
    pub status: u16,
    /// One sentence.
    pub message: &'a str,
    /// The request field at fault.
    pub param: Option<&'a str>,
    /// A machine-readable code, in `OpenAI`'s words (`model_not_found`, `invalid_api_key`).
    pub code: Option<&'a str>,
    /// Our id of the request.
    pub request_id: Option<&'a str>,
}
