//! The canonical answer: a sequence of events with the borders of every block. Buffered and streamed answers are both read
//! into it and written from it, so they cannot disagree.
//!
//! ```text
//! answer = Start (block | Citation | Logprobs | Usage)* Finish End   |   any prefix, then Failed
//! block  = Open (Delta | Seal)* Close          one block open at a time in each choice
//! ```
//!
//! A decoder of a flat wire (`OpenAI`, Gemini) makes the borders. It holds the finish back until the upstream is done, so that
//! all usage comes before it. Nothing comes after `End` or `Failed`.

use super::chat::Origin;
use super::ir::{Failure, Usage};
use super::text::Str;

/// One event. All but `Start`, `Usage`, `End` and `Failed` belong to a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The answer begins.
    Start {
        /// The upstream's id; empty where it gave none.
        id: Str<'a>,
        /// The upstream's name of the model; empty where it gave none.
        model: Str<'a>,
        /// The upstream's class of service, in `OpenAI`'s words.
        tier: Option<Str<'a>>,
    },
    /// A block begins.
    Open(Block<'a>),
    /// More of the open block: text, reasoning, or a piece of a call's arguments. Never empty.
    Delta(Str<'a>),
    /// Opaque state of the open block. At most one a block.
    Seal(Origin, Str<'a>),
    /// The open block ends.
    Close,
    /// A source of the text.
    Citation(Citation<'a>),
    /// Log probabilities: a JSON array of `OpenAI`'s `logprobs.content` entries.
    Logprobs(Str<'a>),
    /// Totals so far.
    Usage(Usage),
    /// The model is done. Once for each choice.
    Finish {
        /// Why.
        stop: Stop,
        /// The stop sequence that was met, where the upstream says so.
        sequence: Option<Str<'a>>,
        /// Why it refused, where it did and says so.
        explanation: Option<Str<'a>>,
    },
    /// It was a whole answer.
    End,
    /// It was not.
    Failed(Box<Failure>),
}

/// The kinds of blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Block<'a> {
    /// Text.
    Text,
    /// A refusal, in the model's words (`OpenAI`'s `refusal`).
    Refusal,
    /// Reasoning.
    Thinking,
    /// Encrypted reasoning: no deltas.
    Redacted(Origin, Str<'a>),
    /// A call of a tool; its arguments are the deltas, together one JSON object. No delta means `{}`.
    Call {
        /// Its id; empty where the upstream gives none, until [`Relay`](super::relay) mints one.
        id: Str<'a>,
        /// The tool.
        name: Str<'a>,
        /// Opaque state bound to the call.
        seal: Option<(Origin, Str<'a>)>,
    },
    /// An image in the answer, whole: no deltas.
    Image {
        /// Its media type.
        mime: Str<'a>,
        /// Base64.
        data: Str<'a>,
    },
}

/// A source on the web of a span of the answer's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation<'a> {
    /// Its address.
    pub url: Str<'a>,
    /// Its title.
    pub title: Str<'a>,
    /// The first character of the span within all text of the choice.
    pub start: usize,
    /// The character behind the span.
    pub end: usize,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was done.
    End,
    /// It met a stop sequence.
    Sequence,
    /// It reached the token limit.
    Length,
    /// It filled its context.
    Context,
    /// It waits for tools.
    Tools,
    /// It refused, or a filter did.
    Refusal,
    /// The vendor paused a long turn.
    Pause,
}

/// Takes events.
pub trait Sink {
    /// Takes one of `choice`, 0 for all that belong to none.
    fn event(&mut self, choice: u32, event: Event<'_>);
}

/// A sink that keeps its events.
#[derive(Debug, Default)]
pub struct Kept(pub Vec<(u32, Event<'static>)>);

impl Sink for Kept {
    fn event(&mut self, choice: u32, event: Event<'_>) {
        self.0.push((choice, event.detached()));
    }
}

impl Event<'_> {
    /// The same event, free of the bytes it came from.
    #[must_use]
    pub fn detached(self) -> Event<'static> {
        match self {
            Self::Start { id, model, tier } => {
                Event::Start { id: id.detached(), model: model.detached(), tier: tier.map(Str::detached) }
            }
            Self::Open(block) => Event::Open(block.detached()),
            Self::Delta(text) => Event::Delta(text.detached()),
            Self::Seal(origin, data) => Event::Seal(origin, data.detached()),
            Self::Close => Event::Close,
            Self::Citation(citation) => Event::Citation(citation.detached()),
            Self::Logprobs(json) => Event::Logprobs(json.detached()),
            Self::Usage(usage) => Event::Usage(usage),
            Self::Finish { stop, sequence, explanation } => Event::Finish {
                stop,
                sequence: sequence.map(Str::detached),
                explanation: explanation.map(Str::detached),
            },
            Self::End => Event::End,
            Self::Failed(failure) => Event::Failed(failure),
        }
    }
}

impl Citation<'_> {
    /// The same source, free of the bytes it came from.
    #[must_use]
    pub fn detached(self) -> Citation<'static> {
        Citation { url: self.url.detached(), title: self.title.detached(), start: self.start, end: self.end }
    }
}

impl Block<'_> {
    /// The same block, free of the bytes it came from.
    #[must_use]
    pub fn detached(self) -> Block<'static> {
        match self {
            Self::Text => Block::Text,
            Self::Refusal => Block::Refusal,
            Self::Thinking => Block::Thinking,
            Self::Redacted(origin, data) => Block::Redacted(origin, data.detached()),
            Self::Call { id, name, seal } => Block::Call {
                id: id.detached(),
                name: name.detached(),
                seal: seal.map(|(origin, data)| (origin, data.detached())),
            },
            Self::Image { mime, data } => Block::Image { mime: mime.detached(), data: data.detached() },
        }
    }
}
