//! The wires: the JSON dialects that clients and upstreams speak. Pure: bytes in, bytes out; no clock, no randomness, no
//! I/O, and nothing of the rest of the crate.
//!
//! A request is [peeked](envelope::peek) into once; [`prepare`] turns it into the bytes for an upstream together with a
//! [`ReplyPlan`], which knows how to read that upstream's answer: [whole](ReplyPlan::whole), [streamed](ReplyPlan::stream)
//! or [failed](ReplyPlan::failure). Where client and upstream speak the same wire the bytes pass through, but for spans that
//! are named in this module. Between unlike wires both directions go through one canonical form: [`chat`] for requests,
//! [`event`] for answers.

pub mod anthropic;
pub mod chat;
pub mod convert;
pub mod defaults;
pub mod direct;
pub mod embed;
pub mod envelope;
pub mod estimate;
pub mod event;
mod fields;
pub mod fold;
pub mod gemini;
pub mod ids;
pub mod inject;
pub mod ir;
mod lax;
pub mod loss;
pub mod media;
pub mod mock;
pub mod needs;
pub mod openai_chat;
pub mod pipe;
pub mod profile;
pub mod relay;
mod reply;
pub mod schema;
pub mod splice;
pub mod sse;
pub mod text;
pub mod transcode;
pub mod turns;

use bytes::Bytes;

use convert::{Answering, Upstream};
pub use envelope::{DecodeError, Envelope, peek};
pub use ir::{ApiError, Costs, Failure, FailureKind, Usage};
use loss::Losses;
pub use loss::{Loss, OnLoss, Unsendable};
pub use pipe::{Pipe, Tally, Tap};
use profile::Profile;
use reply::How;
pub use reply::{Reply, ReplyPlan, Stamp};
use splice::Edit;
pub use splice::remark;

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `OpenAI` Chat Completions.
    OpenAiChat,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Gemini `generateContent`. Upstreams only.
    Gemini,
}

impl Wire {
    /// Every wire.
    pub const ALL: [Self; 3] = [Self::OpenAiChat, Self::AnthropicMessages, Self::Gemini];

    /// The name that people know it by.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::OpenAiChat => "OpenAI Chat Completions",
            Self::AnthropicMessages => "Anthropic Messages",
            Self::Gemini => "Gemini generateContent",
        }
    }
}

/// What a request asks the upstream to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Answer, buffered or streamed.
    Generate,
    /// Count the request's input tokens.
    CountTokens,
}

/// What a client asks a model for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The next turn of a conversation, or its token count, in this dialect. Converted where the upstream speaks another one.
    Chat(Wire, Operation),
    /// What passes through to upstreams that have it.
    Direct(direct::Path),
}

impl Task {
    /// The client's dialect.
    #[must_use]
    pub fn wire(self) -> Wire {
        match self {
            Self::Chat(wire, _) => wire,
            Self::Direct(_) => Wire::OpenAiChat,
        }
    }

    /// An error as the last event of a stream in the client's dialect. `events` is how many went before.
    #[must_use]
    pub fn error_event(self, error: &ApiError<'_>, events: u64) -> Bytes {
        match self {
            Self::Chat(wire, _) => encode_error_event(wire, error),
            Self::Direct(path) => path.error_event(error, events),
        }
    }
}

/// Where a request goes and what the operator wants changed on the way. Everything here is data of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The dialect of the upstream.
    pub wire: Wire,
    /// The model's name there.
    pub model: &'a str,
    /// What is known of the model.
    pub profile: &'a Profile,
    /// Top-level fields to take out.
    pub drop: &'a [String],
    /// Fields to add where the request lacks them, as JSON text.
    pub defaults: &'a [(String, String)],
    /// Ask for usage in a stream although the client did not. Only where the upstream takes `stream_options`.
    pub ask_usage: bool,
    /// The name that answers give as their `model`; `None` leaves the upstream's own.
    pub answer_as: Option<&'a str>,
    /// What to do about what cannot be expressed.
    pub on_loss: OnLoss,
}

/// A request as the upstream gets it.
#[derive(Debug)]
pub struct Prepared {
    /// The body.
    pub body: Bytes,
    /// What the upstream does not get as the client sent it.
    pub losses: Vec<Loss>,
    /// Betas that the body needs at Anthropic.
    pub betas: Vec<&'static str>,
    /// How to read the answer.
    pub reply: ReplyPlan,
}

/// Why a request cannot go to an upstream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConvertError {
    /// The request's own text is at fault.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The upstream cannot be told this.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
}

/// Makes the upstream's request from the client's. `body` is what `envelope` was peeked from.
///
/// On the same wire the result differs from `body` in these spans only, all at the top level: the value of `model`;
/// `stream_options`, where usage is asked for; fields of `drop`, taken out; and `defaults`, put in front. Deeper than that only
/// thoughts of other models are taken out, which this gateway wrote into an answer and marked as its own, and `thinking` is
/// switched off where the last calls began with one. Between unlike wires
/// the request is read into its [canonical form](chat) and written anew.
///
/// # Errors
/// [`ConvertError`], for the client.
pub fn prepare(
    envelope: &Envelope<'_>,
    body: &Bytes,
    operation: Operation,
    to: &Target<'_>,
) -> Result<Prepared, ConvertError> {
    if envelope.wire() == to.wire { pass(envelope, body, operation, to) } else { translate(envelope, operation, to) }
}

fn pass(
    envelope: &Envelope<'_>,
    body: &Bytes,
    operation: Operation,
    to: &Target<'_>,
) -> Result<Prepared, ConvertError> {
    let from = envelope.wire();
    let (body, hide_usage, losses) = rewritten(envelope, body, operation, to, |kept| peek(from, kept))?;
    let reply = ReplyPlan::new(from, operation, How::Pass { answer_as: to.answer_as.map(str::to_owned), hide_usage });
    Ok(Prepared { body, losses, betas: Vec::new(), reply })
}

/// The body with the edits that `to` asks for; whether usage was asked for that the client did not ask for; and what was taken
/// out. `again` looks into a body as `envelope` was looked into.
fn rewritten(
    envelope: &Envelope<'_>,
    body: &Bytes,
    operation: Operation,
    to: &Target<'_>,
    again: impl for<'b> Fn(&'b [u8]) -> Result<Envelope<'b>, DecodeError>,
) -> Result<(Bytes, bool, Vec<Loss>), DecodeError> {
    let dropped: Vec<String> = to.drop.iter().filter(|name| envelope.has(name)).cloned().collect();
    let mut losses = Vec::new();
    let (body, hide_usage) = if dropped.is_empty() {
        edit(envelope, body, operation, to, &mut losses)
    } else {
        let kept = Bytes::from(envelope.without(&dropped));
        edit(&again(&kept)?, &kept, operation, to, &mut losses)
    };
    losses.extend(dropped.into_iter().map(taken_out));
    Ok((body, hide_usage, losses))
}

fn taken_out(field: String) -> Loss {
    Loss { field: field.into(), why: "the configuration of this gateway takes it out".into() }
}

fn translate(envelope: &Envelope<'_>, operation: Operation, to: &Target<'_>) -> Result<Prepared, ConvertError> {
    let from = envelope.wire();
    let Some(client) = convert::inbound(from) else {
        let message = format!("nobody can call this gateway in {}", from.title());
        return Err(DecodeError { message, field: None }.into());
    };
    let mut losses = Losses::new(to.on_loss).named(client.names());
    // What the operator takes out, or the gateway has heeded, is no loss of the conversion's.
    let mut lost: Vec<Loss> = to.drop.iter().filter(|name| envelope.has(name)).cloned().map(taken_out).collect();
    let mut request = client.decode(&envelope.keeping(|name| !to.drop.iter().any(|drop| drop == name)))?;
    defaults::fill(&mut request, to.wire, to.defaults);
    let upstream = Upstream { model: to.model, profile: to.profile };
    let encoded = convert::outbound(to.wire).encode(&request, &upstream, operation, &mut losses)?;
    let how = Answering {
        stamp: String::new(),
        created: 0,
        model: to.answer_as.map(str::to_owned),
        // A look at every byte, for the one dialect that has to say a number before the upstream does.
        estimate: if from == Wire::AnthropicMessages { estimate::tokens(&request) } else { 0 },
        wish: request.wish,
        costs: None,
    };
    let reply = ReplyPlan::new(to.wire, operation, How::Translate { client: from, undo: encoded.undo, how });
    lost.extend(losses.settle()?);
    Ok(Prepared { body: Bytes::from(encoded.body), losses: lost, betas: encoded.betas, reply })
}

fn edit(
    envelope: &Envelope<'_>,
    body: &Bytes,
    operation: Operation,
    to: &Target<'_>,
    losses: &mut Vec<Loss>,
) -> (Bytes, bool) {
    let mut edits = Vec::new();
    edits.extend(match envelope.wire() {
        Wire::AnthropicMessages => anthropic::strip::foreign_thoughts(envelope, losses),
        Wire::OpenAiChat => openai_chat::strip::foreign_thoughts(envelope, to.profile).into_iter().collect(),
        Wire::Gemini => Vec::new(),
    });
    let mut front = String::new();
    if !envelope.has("model") {
        front = format!("\"model\":{},", quoted(to.model));
    } else if envelope.model != to.model {
        edits.push(Edit::new(envelope.span_of("model"), quoted(to.model)));
    }
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
            if defaults::passes(to.wire, name)
                && !envelope.has(name)
                && !twin(name).is_some_and(|twin| envelope.has(twin))
            {
                front.push_str(&quoted(name));
                front.push(':');
                front.push_str(value);
                front.push(',');
            }
        }
    }
    if !front.is_empty() {
        if envelope.is_empty() {
            front.pop();
        }
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

/// The input tokens of a request, guessed by ourselves, for upstreams that cannot be asked.
///
/// # Errors
/// As [`prepare`]'s.
pub fn guess_tokens(envelope: &Envelope<'_>) -> Result<u64, DecodeError> {
    let client = convert::inbound(envelope.wire()).unwrap_or(&openai_chat::OpenAiChat);
    client.decode(envelope).map(|request| estimate::tokens(&request))
}

/// The bound that a converted request gets where neither client nor operator set one, if its upstream demands one.
#[must_use]
pub fn demanded_output(wire: Wire, profile: &Profile, stream: bool) -> Option<u64> {
    (wire == Wire::AnthropicMessages).then(|| anthropic::reason::unbounded(profile, stream))
}

/// A guessed token count as Anthropic's clients read it; the field beside it is one that they overlook.
#[must_use]
pub fn guessed_body(tokens: u64) -> Bytes {
    Bytes::from(format!("{{\"input_tokens\":{tokens},\"estimated\":true}}"))
}

/// A token count as Anthropic's clients read it.
#[must_use]
pub fn counted_body(tokens: u64) -> Bytes {
    Bytes::from(format!("{{\"input_tokens\":{tokens}}}"))
}

/// An error as the body of an answer in a client's dialect.
#[must_use]
pub fn encode_error(wire: Wire, error: &ApiError<'_>) -> String {
    match wire {
        Wire::OpenAiChat | Wire::Gemini => openai_chat::error::encode(error),
        Wire::AnthropicMessages => anthropic::error::encode(error),
    }
}

/// An error as the last event of a stream in a client's dialect.
#[must_use]
pub fn encode_error_event(wire: Wire, error: &ApiError<'_>) -> Bytes {
    let body = encode_error(wire, error);
    Bytes::from(match wire {
        Wire::OpenAiChat | Wire::Gemini => format!("data: {body}\n\n"),
        Wire::AnthropicMessages => format!("event: error\ndata: {body}\n\n"),
    })
}
