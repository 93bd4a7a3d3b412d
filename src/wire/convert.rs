//! The contract of a wire: what each of its two sides has to be able to do, and how the sides of two wires meet.
//!
//! A wire that clients speak implements [`Inbound`], one that upstreams speak implements [`Outbound`]; [`inbound`] and
//! [`outbound`] list them. Everything else in `wire` knows the traits only.

use std::sync::Arc;

use bytes::Bytes;

use super::chat::{Request, Wish};
use super::envelope::{DecodeError, Envelope};
use super::event::{Event, Sink};
use super::fold::Answer;
use super::ir::{Costs, Failure};
use super::loss::{Losses, Unsendable};
use super::profile::Profile;
use super::relay::{Relay, Undo};
use super::text::Writer;
use super::{Operation, Wire, anthropic, gemini, openai_chat};

/// A wire that clients may speak.
pub trait Inbound: Sync {
    /// Reads a request.
    ///
    /// # Errors
    /// One sentence for the sender, with the path of the field at fault.
    fn decode<'a>(&self, envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError>;

    /// The names that clients of this wire have for fields that encoders report under another: `(an encoder's, the client's)`.
    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Writes a whole answer.
    fn whole(&self, answer: &Answer, how: &Answering) -> Vec<u8>;

    /// Writes a stream.
    fn encoder(&self, how: &Arc<Answering>) -> Box<dyn StreamEncoder>;
}

/// A wire that upstreams may speak.
pub trait Outbound: Sync {
    /// Writes a request. What does not fit goes to `losses`.
    ///
    /// # Errors
    /// Content that cannot be sent.
    fn encode(
        &self,
        request: &Request<'_>,
        to: &Upstream<'_>,
        operation: Operation,
        losses: &mut Losses,
    ) -> Result<Encoded, Unsendable>;

    /// Reads a whole answer that came with a success status: the events of the grammar, ending with `End` or `Failed`.
    fn whole(&self, body: &[u8], sink: &mut dyn Sink);

    /// Reads a stream.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Reads the answer to [`Operation::CountTokens`], where the wire has it.
    fn counted(&self, body: &[u8]) -> Option<u64>;

    /// Reads an answer that came with a failure status.
    fn failure(&self, status: u16, body: &Bytes) -> Failure;
}

/// Writes the events of an answer as a stream in a client's dialect. Gets every event of the grammar in order.
pub trait StreamEncoder: Send + std::fmt::Debug {
    /// Writes what `event` of `choice` makes, framed, to `out`. `Failed` is not its business: see
    /// [`encode_error_event`](super::encode_error_event).
    fn event(&mut self, choice: u32, event: Event<'_>, out: &mut Writer);
}

/// Reads a stream of an upstream.
pub trait StreamDecoder: Send + std::fmt::Debug {
    /// Takes one event of the transport: the data of a server-sent event with its name.
    fn frame(&mut self, name: Option<&[u8]>, data: &[u8], sink: &mut dyn Sink);

    /// The transport ended properly. Gives `End` or `Failed` unless one was given.
    fn end(&mut self, sink: &mut dyn Sink);
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The model's name there.
    pub model: &'a str,
    /// What is known of it.
    pub profile: &'a Profile,
}

/// A request as an upstream takes it.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The body.
    pub body: Vec<u8>,
    /// What the answer has to undo.
    pub undo: Undo,
    /// Betas that the request needs (`anthropic-beta`).
    pub betas: Vec<&'static str>,
}

/// What the writer of an answer has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answering {
    /// Unique to the request, letters and digits: ids derive from it.
    pub stamp: String,
    /// Unix seconds.
    pub created: u64,
    /// The name that the answer gives as its `model`; `None` takes the upstream's.
    pub model: Option<String>,
    /// What the client's request said about the answer.
    pub wish: Wish,
    /// Input tokens, guessed, for a dialect that has to say them before the upstream does.
    pub estimate: u64,
    /// What a stream tells with its usage, where it is to tell a cost.
    pub costs: Option<Costs>,
}

/// The inbound side of a wire.
#[must_use]
pub fn inbound(wire: Wire) -> Option<&'static dyn Inbound> {
    match wire {
        Wire::OpenAiChat => Some(&openai_chat::OpenAiChat),
        Wire::AnthropicMessages => Some(&anthropic::Anthropic),
        Wire::Gemini => None,
    }
}

/// The outbound side of a wire.
#[must_use]
pub fn outbound(wire: Wire) -> &'static dyn Outbound {
    match wire {
        Wire::OpenAiChat => &openai_chat::OpenAiChat,
        Wire::AnthropicMessages => &anthropic::Anthropic,
        Wire::Gemini => &gemini::Gemini,
    }
}

/// Reads a whole answer of `from` and writes it for a client of `to`.
///
/// # Errors
/// The failure that the body is in truth.
pub fn whole(
    from: &dyn Outbound,
    to: &dyn Inbound,
    body: &[u8],
    undo: &Undo,
    how: &Answering,
) -> Result<(Vec<u8>, Answer), Box<Failure>> {
    struct Way<'a> {
        relay: Relay,
        answer: &'a mut Answer,
    }
    impl Sink for Way<'_> {
        fn event(&mut self, choice: u32, event: Event<'_>) {
            self.relay.event(choice, event, self.answer);
        }
    }

    let mut answer = Answer::default();
    let relay = Relay::new(undo.clone(), &how.wish, &how.stamp);
    from.whole(body, &mut Way { relay, answer: &mut answer });
    match answer.failure.take() {
        Some(failure) => Err(failure),
        None if !answer.ended => Err(Box::new(Failure::cut("the upstream's answer could not be read"))),
        None => Ok((to.whole(&answer, how), answer)),
    }
}
