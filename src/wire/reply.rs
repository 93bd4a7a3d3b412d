//! What becomes of an upstream's answer: read whole or as a stream, passed through or converted.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::convert::{self, Answering};
use super::fields::fields;
use super::ir::{Costs, Failure, FailureKind, Usage};
use super::openai_chat::error::status_in;
use super::pipe::{Pipe, Tap};
use super::relay::Undo;
use super::splice::{self, Edit, span_in};
use super::transcode::Transcoder;
use super::{Operation, Wire, anthropic, counted_body, direct, embed, openai_chat, quoted};

/// How to read an upstream's answer to one prepared request.
#[derive(Clone, Debug)]
pub struct ReplyPlan {
    /// The upstream's.
    pub(super) wire: Wire,
    pub(super) operation: Operation,
    pub(super) how: How,
    costs: Option<Costs>,
}

#[derive(Clone, Debug)]
pub(super) enum How {
    Pass { answer_as: Option<String>, hide_usage: bool },
    Direct { hide_usage: bool, empty: bool },
    Embed(embed::Plan),
    Translate { client: Wire, undo: Undo, how: Answering },
}

/// What an answer that we write ourselves has to hold, and the conversion cannot know: it has no clock and no randomness.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Unique to the request, letters and digits.
    pub id: &'a str,
    /// Unix seconds.
    pub created: u64,
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
    pub(super) fn new(wire: Wire, operation: Operation, how: How) -> Self {
        Self { wire, operation, how, costs: None }
    }

    /// A plan that changes nothing, for answers that we make ourselves.
    #[must_use]
    pub fn untouched(wire: Wire, operation: Operation) -> Self {
        Self::new(wire, operation, How::Pass { answer_as: None, hide_usage: false })
    }

    /// A plan for what passes through as it is, of whatever form, but for usage that the client did not ask for. `empty`: an
    /// answer may be nothing.
    pub(super) fn direct(hide_usage: bool, empty: bool) -> Self {
        Self::new(Wire::OpenAiChat, Operation::Generate, How::Direct { hide_usage, empty })
    }

    /// A plan for embeddings of another wire.
    pub(super) fn embed(wire: Wire, plan: embed::Plan) -> Self {
        Self::new(wire, Operation::Generate, How::Embed(plan))
    }

    /// The same, and a stream tells its cost beside its last usage (`usage.cost`), where the client sees that.
    #[must_use]
    pub fn costed(self, costs: Costs) -> Self {
        Self { costs: Some(costs), ..self }
    }

    /// Whether client and upstream speak different dialects.
    #[must_use]
    pub fn converts(&self) -> bool {
        match self.how {
            How::Pass { .. } | How::Direct { .. } => false,
            How::Embed(_) | How::Translate { .. } => true,
        }
    }

    /// Reads a whole answer that came with a success status.
    ///
    /// # Errors
    /// The failure, where the body is in truth an error object, or is none that can be read.
    pub fn whole(&self, body: &Bytes, stamp: Stamp<'_>) -> Result<Reply, Box<Failure>> {
        match &self.how {
            How::Pass { answer_as, .. } => self.pass(body, answer_as.as_deref()),
            How::Direct { empty, .. } => match direct::tap::whole(body) {
                seen if seen.cut => Err(Box::new(Failure::cut(CUT))),
                seen if seen.error => Err(Box::new(match direct::tap::failed(body) {
                    Some(failure) => failure,
                    None => self.failure(status_in(body).unwrap_or(502), body),
                })),
                _ if !empty && body.trim_ascii().is_empty() => Err(Box::new(Failure::cut(CUT))),
                seen => Ok(Reply { body: body.clone(), usage: seen.usage }),
            },
            How::Embed(plan) => plan.whole(body),
            How::Translate { client, undo, how } => {
                let Some(client) = convert::inbound(*client) else {
                    return Err(Box::new(Failure::cut("no client speaks this wire")));
                };
                if self.operation == Operation::CountTokens {
                    let counted = convert::outbound(self.wire).counted(body).ok_or_else(|| {
                        Box::new(Failure::new(FailureKind::Server, 502, "the upstream's token count cannot be read"))
                    })?;
                    return Ok(Reply { body: counted_body(counted), usage: Usage::default() });
                }
                let how = stamped(how, stamp);
                let (body, answer) = convert::whole(convert::outbound(self.wire), client, body, undo, &how)?;
                Ok(Reply { body: Bytes::from(body), usage: answer.usage })
            }
        }
    }

    fn pass(&self, body: &Bytes, answer_as: Option<&str>) -> Result<Reply, Box<Failure>> {
        let seen = match self.wire {
            Wire::OpenAiChat => openai_chat::tap::whole(body),
            Wire::AnthropicMessages => anthropic::tap::whole(body),
            // No client speaks it, so nothing passes through.
            Wire::Gemini => Seen::default(),
        };
        if seen.error || seen.cut {
            return Err(Box::new(match self.wire {
                _ if seen.cut => Failure::cut(CUT),
                Wire::OpenAiChat | Wire::Gemini => self.failure(status_in(body).unwrap_or(502), body),
                Wire::AnthropicMessages => anthropic::error::decode_event(body),
            }));
        }
        let body = match (answer_as, seen.model) {
            (Some(name), Some(span)) if self.operation == Operation::Generate => {
                splice::splice(body, vec![Edit::new(span, quoted(name))])
            }
            _ => body.clone(),
        };
        Ok(Reply { body, usage: seen.usage })
    }

    /// A pipe for a streamed answer.
    #[must_use]
    pub fn stream(&self, stamp: Stamp<'_>) -> Pipe {
        match &self.how {
            How::Pass { answer_as, hide_usage } => {
                let tap = Tap::new(self.wire, answer_as.clone(), *hide_usage);
                Pipe::Tap(Box::new(tap.costed(self.costs.clone())))
            }
            How::Direct { hide_usage, .. } => Pipe::Tap(Box::new(Tap::direct(*hide_usage))),
            // Embeddings never come as a stream.
            How::Embed(_) => Pipe::Tap(Box::new(Tap::direct(false))),
            How::Translate { client, undo, how } => {
                // `prepare` has found it, and falls back on the one that always is.
                let client = convert::inbound(*client).unwrap_or(&openai_chat::OpenAiChat);
                let how = Arc::new(Answering { costs: self.costs.clone(), ..stamped(how, stamp) });
                Pipe::Transcoder(Box::new(Transcoder::new(convert::outbound(self.wire), client, undo.clone(), &how)))
            }
        }
    }

    /// Reads an answer that came with a failure status. Its body goes to the client only where the wires are the same.
    #[must_use]
    pub fn failure(&self, status: u16, body: &Bytes) -> Failure {
        let mut failure = convert::outbound(self.wire).failure(status, body);
        if self.converts() {
            failure.body = None;
        }
        failure
    }
}

const CUT: &str = "the upstream ended its answer before its end";

/// What was found in a whole answer.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// It is an error object, whatever its status said.
    pub(super) error: bool,
    /// It ends before its end, which a connection that closes properly does not show.
    pub(super) cut: bool,
    /// Where the value of its `model` stands.
    pub(super) model: Option<Range<usize>>,
    /// Its counts.
    pub(super) usage: Usage,
}

/// A whole answer: the fields that are looked at on its way through.
#[derive(Default)]
pub(super) struct Body<'a> {
    model: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    pub(super) choices: Option<&'a RawValue>,
    pub(super) content: Option<&'a RawValue>,
}
fields!(Body<'a> { model, usage, error, choices, content });

impl Seen {
    /// Reads a body, of which `answers` says whether it is an answer for all that it has an error. One that cannot be read
    /// shows nothing; it is passed on all the same.
    pub(super) fn of(body: &[u8], answers: fn(&Body<'_>) -> bool, usage_of: fn(&str) -> Usage) -> Self {
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            // It may end within a character.
            Err(error) => return Self { cut: error.error_len().is_none(), ..Self::default() },
        };
        let body = match serde_json::from_str::<Body<'_>>(text) {
            Ok(body) => body,
            Err(error) => return Self { cut: error.is_eof(), ..Self::default() },
        };
        Self {
            error: body.error.is_some() && !answers(&body),
            cut: false,
            model: body.model.map(|model| span_in(text, model.get())),
            usage: body.usage.map(|usage| usage_of(usage.get())).unwrap_or_default(),
        }
    }
}

fn stamped(how: &Answering, stamp: Stamp<'_>) -> Answering {
    Answering { stamp: stamp.id.to_owned(), created: stamp.created, ..how.clone() }
}
