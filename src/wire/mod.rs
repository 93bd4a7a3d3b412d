//! The wires: the JSON dialects that clients and upstreams speak. Pure: bytes in, bytes out; no clock, no randomness, no
//! I/O, and nothing of the rest of the crate.
//!
//! A request is [peeked](envelope::peek) into once; [`prepare`] turns it into the bytes for an upstream together with a
//! [`ReplyPlan`], which knows how to read that upstream's answer: [whole](ReplyPlan::whole), [streamed](ReplyPlan::stream)
//! or [failed](ReplyPlan::failure). Where client and upstream speak the same wire the bytes pass through, but for spans that
//! are named in this module. Between unlike wires `prepare` refuses until conversion exists.

pub mod anthropic;
pub mod envelope;
pub mod ir;
pub mod mock;
pub mod openai_chat;
pub mod pipe;
pub mod splice;
pub mod sse;

use bytes::Bytes;

pub use envelope::{DecodeError, Envelope, peek};
pub use ir::{ApiError, Failure, FailureKind, Usage};
pub use pipe::{Tally, Tap};
use splice::Edit;

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI Chat Completions.
    OpenAiChat,
    /// Anthropic Messages.
    AnthropicMessages,
}

impl Wire {
    /// The name that people know it by.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::OpenAiChat => "OpenAI Chat Completions",
            Self::AnthropicMessages => "Anthropic Messages",
        }
    }
}

/// What a request asks the upstream to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Answer, buffered or streamed.
    Generate,
    /// Count the request's input tokens (Anthropic only).
    CountTokens,
}

/// Where a request goes and what the operator wants changed on the way. Everything here is data of the configuration.
#[derive(Debug)]
pub struct Target<'a> {
    /// The dialect of the upstream.
    pub wire: Wire,
    /// The model's name there.
    pub model: &'a str,
    /// Top-level fields to take out.
    pub drop: &'a [String],
    /// Fields to add where the request lacks them, as JSON text.
    pub defaults: &'a [(String, String)],
    /// Ask for usage in a stream although the client did not. Only where the upstream takes `stream_options`.
    pub ask_usage: bool,
    /// The name that answers give as their `model`; `None` leaves the upstream's own.
    pub answer_as: Option<&'a str>,
}

/// A request as the upstream gets it.
#[derive(Debug)]
pub struct Prepared {
    /// The body.
    pub body: Bytes,
    /// Fields that the client sent and the upstream does not get.
    pub dropped: Vec<String>,
    /// How to read the answer.
    pub reply: ReplyPlan,
}

/// Why a request cannot go to an upstream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConvertError {
    /// Client and upstream speak different wires.
    #[error("this version cannot convert {} requests for a model that is served over {}", .from.title(), .to.title())]
    Unlike {
        /// The client's.
        from: Wire,
        /// The upstream's.
        to: Wire,
    },
    /// The request cannot be edited: its own text is at fault.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Makes the upstream's request from the client's. `body` is what `envelope` was peeked from.
///
/// On the same wire the result differs from `body` in these spans only, all at the top level: the value of `model`;
/// `stream_options`, where usage is asked for; fields of `drop`, taken out; and `defaults`, put in front.
///
/// # Errors
/// [`ConvertError`] where the upstream speaks another wire.
pub fn prepare(
    envelope: &Envelope<'_>,
    body: &Bytes,
    operation: Operation,
    to: &Target<'_>,
) -> Result<Prepared, ConvertError> {
    let from = envelope.wire();
    if from != to.wire {
        return Err(ConvertError::Unlike { from, to: to.wire });
    }
    let dropped: Vec<String> = to.drop.iter().filter(|name| envelope.has(name)).cloned().collect();
    let (body, hide_usage) = if dropped.is_empty() {
        edit(envelope, body, operation, to)
    } else {
        let kept = Bytes::from(envelope.without(&dropped));
        let envelope = peek(from, &kept)?;
        edit(&envelope, &kept, operation, to)
    };
    let reply = ReplyPlan { wire: from, operation, answer_as: to.answer_as.map(str::to_owned), hide_usage };
    Ok(Prepared { body, dropped, reply })
}

fn edit(envelope: &Envelope<'_>, body: &Bytes, operation: Operation, to: &Target<'_>) -> (Bytes, bool) {
    let mut edits = Vec::new();
    if envelope.model != to.model {
        edits.push(Edit::new(envelope.model_span(), quoted(to.model)));
    }
    let mut front = String::new();
    let mut hide_usage = false;
    if operation == Operation::Generate {
        if to.ask_usage && envelope.stream && !envelope.usage_asked {
            hide_usage = true;
            match envelope.with_usage_asked() {
                Some(edit) => edits.push(edit),
                None => front.push_str(r#""stream_options":{"include_usage":true},"#),
            }
        }
        for (name, value) in to.defaults {
            if !envelope.has(name) && !twin(name).is_some_and(|twin| envelope.has(twin)) {
                front.push_str(&quoted(name));
                front.push(':');
                front.push_str(value);
                front.push(',');
            }
        }
    }
    if !front.is_empty() {
        edits.push(Edit::new(envelope.front()..envelope.front(), front));
    }
    (splice::splice(body, edits), hide_usage)
}

/// The other spelling of a field: a default for one must not meet a request that uses the other (`OpenAI` answers 400).
fn twin(name: &str) -> Option<&'static str> {
    match name {
        "max_tokens" => Some("max_completion_tokens"),
        "max_completion_tokens" => Some("max_tokens"),
        _ => None,
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // Serialising a string into memory cannot fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// How to read an upstream's answer to one prepared request.
#[derive(Clone, Debug)]
pub struct ReplyPlan {
    wire: Wire,
    operation: Operation,
    answer_as: Option<String>,
    hide_usage: bool,
}

/// A buffered answer for the client.
#[derive(Debug)]
pub struct Reply {
    /// The body.
    pub body: Bytes,
    /// What it cost, where the upstream said so.
    pub usage: Usage,
}

impl ReplyPlan {
    /// A plan that changes nothing, for answers that we make ourselves.
    #[must_use]
    pub fn untouched(wire: Wire, operation: Operation) -> Self {
        Self { wire, operation, answer_as: None, hide_usage: false }
    }

    /// Reads a whole answer that came with a success status.
    ///
    /// # Errors
    /// The failure, where the body is in truth an error object.
    pub fn whole(&self, body: &Bytes) -> Result<Reply, Box<Failure>> {
        let seen = match self.wire {
            Wire::OpenAiChat => openai_chat::response::read(body),
            Wire::AnthropicMessages => anthropic::response::read(body),
        };
        if seen.error {
            return Err(Box::new(match self.wire {
                Wire::OpenAiChat => self.failure(openai_chat::error::status_in(body).unwrap_or(502), body),
                Wire::AnthropicMessages => anthropic::error::decode_event(body),
            }));
        }
        let body = match (&self.answer_as, seen.model) {
            (Some(name), Some(span)) if self.operation == Operation::Generate => {
                splice::splice(body, vec![Edit::new(span, quoted(name))])
            }
            _ => body.clone(),
        };
        Ok(Reply { body, usage: seen.usage })
    }

    /// A pipe for a streamed answer.
    #[must_use]
    pub fn stream(&self) -> Tap {
        Tap::new(self.wire, self.answer_as.clone(), self.hide_usage)
    }

    /// Reads an answer that came with a failure status.
    #[must_use]
    pub fn failure(&self, status: u16, body: &Bytes) -> Failure {
        match self.wire {
            Wire::OpenAiChat => openai_chat::error::decode(status, body),
            Wire::AnthropicMessages => anthropic::error::decode(status, body),
        }
    }
}

/// An error as the body of an answer in a client's dialect.
#[must_use]
pub fn encode_error(wire: Wire, error: &ApiError<'_>) -> String {
    match wire {
        Wire::OpenAiChat => openai_chat::error::encode(error),
        Wire::AnthropicMessages => anthropic::error::encode(error),
    }
}

/// An error as the last event of a stream in a client's dialect.
#[must_use]
pub fn encode_error_event(wire: Wire, error: &ApiError<'_>) -> Bytes {
    let body = encode_error(wire, error);
    Bytes::from(match wire {
        Wire::OpenAiChat => format!("data: {body}\n\n"),
        Wire::AnthropicMessages => format!("event: error\ndata: {body}\n\n"),
    })
}
