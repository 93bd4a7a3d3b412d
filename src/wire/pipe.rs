//! The pipe that a streamed answer runs through where client and upstream speak the same wire: bytes in, the same bytes out,
//! and an eye on what they say.
//!
//! Nothing comes out before the first content, so that an error before it can still be a real HTTP status. From then on whole
//! events come out as they arrive. The unfinished end of a chunk waits for its rest: if the upstream breaks off inside an
//! event, the client never sees half of one, and our error event can follow cleanly.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::ir::{Costs, Failure, Usage};
use super::splice::{Edit, splice};
use super::sse::{Event, Framer};
use super::transcode::Transcoder;
use super::{Wire, anthropic, direct, openai_chat, quoted};
use crate::wire::fields::read_json;

/// An event that has not ended after this many bytes is taken for a fault of the upstream.
pub(super) const LARGEST_EVENT: usize = 32 << 20;

/// What one event says, to the extent that a pipe cares.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sign {
    /// Content, or the finish: the answer has begun.
    pub(super) content: bool,
    /// The last event of a good answer.
    pub(super) last: bool,
    /// The model said that it is done, though the wire's last event is still to come.
    pub(super) finished: bool,
    /// The event carries nothing but usage.
    pub(super) only_usage: bool,
    /// Counts, where it has some.
    pub(super) usage: Usage,
    /// The event is an error.
    pub(super) failure: Option<Failure>,
    /// Where the answer's model name stands within the event's data.
    pub(super) model: Option<Range<usize>>,
    /// Where the object of the counts stands, if a cost may be put into it.
    pub(super) counts: Option<Range<usize>>,
}

/// A same-wire stream on its way to the client.
#[derive(Debug)]
pub struct Tap {
    wire: Wire,
    /// An endpoint that passes through, rather than a conversation of this wire.
    direct: bool,
    answer_as: Option<String>,
    hide_usage: bool,
    costs: Option<Costs>,
    framer: Framer,
    events: u64,
    /// Kept for its memory: one allocation for a stream, not one for a chunk.
    ends: Vec<usize>,
    held: BytesMut,
    committed: bool,
    finished: bool,
    over: bool,
    failure: Option<Failure>,
    usage: Usage,
}

/// What a stream came to.
#[derive(Debug)]
pub struct Tally {
    /// Tokens, as far as the upstream told.
    pub usage: Usage,
    /// Why it is not a whole answer.
    pub failure: Option<Failure>,
    /// The bytes that the client still gets: the rest of a good stream, or what is whole before a failure.
    pub bytes: Bytes,
    /// An error event has already gone through to the client.
    pub told: bool,
    /// The upstream has said how the answer ends, and what it said of tokens is all.
    pub finished: bool,
}

impl Tap {
    pub(super) fn new(wire: Wire, answer_as: Option<String>, hide_usage: bool) -> Self {
        Self {
            wire,
            direct: false,
            answer_as,
            hide_usage,
            costs: None,
            framer: Framer::default(),
            events: 0,
            ends: Vec::new(),
            held: BytesMut::new(),
            committed: false,
            finished: false,
            over: false,
            failure: None,
            usage: Usage::default(),
        }
    }

    /// The same, and events with counts tell what these cost.
    pub(super) fn costed(self, costs: Option<Costs>) -> Self {
        Self { costs, ..self }
    }

    /// A pipe for the events of an endpoint that passes through.
    pub(super) fn direct(hide_usage: bool) -> Self {
        Self { direct: true, ..Self::new(Wire::OpenAiChat, None, hide_usage) }
    }

    /// Takes the upstream's next bytes and gives what may go to the client now.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let mut ends = std::mem::take(&mut self.ends);
        let frames = self.framer.push(chunk, &mut ends);
        if self.framer.pending() > LARGEST_EVENT && self.failure.is_none() {
            self.failure = Some(Failure::cut("the upstream sent an event that does not end"));
        }
        let mut edited: Option<BytesMut> = None;
        let mut start = 0;
        for end in ends.iter().copied() {
            let bytes = frames.slice(start..end);
            let (out, changed) = self.event(bytes);
            if changed && edited.is_none() {
                edited = Some(BytesMut::from(frames.get(..start).unwrap_or_default()));
            }
            if let Some(edited) = &mut edited {
                edited.extend_from_slice(&out);
            }
            start = end;
        }
        self.ends = ends;
        self.release(edited.map_or(frames, BytesMut::freeze))
    }

    /// Whether content was seen: from here on the status cannot change.
    #[must_use]
    pub fn committed(&self) -> bool {
        self.committed
    }

    /// Whether the wire's last event was seen; what may still come is of no interest.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over
    }

    /// The failure that an event reported, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The upstream ended, properly or, with `cut`, not.
    #[must_use]
    pub fn finish(mut self, cut: Option<Failure>) -> Tally {
        let mut bytes = BytesMut::new();
        // A last event may lack its closing empty line; half an event is none.
        let rest = self.framer.rest();
        if cut.is_none() && complete(&rest) {
            let (out, _) = self.event(rest);
            bytes.extend_from_slice(&self.release(out));
        }
        let told = self.failure.is_some();
        if self.failure.is_none() && !self.over {
            // Some vendors (Perplexity) send no `[DONE]`: there the finish reason and a proper end are the end.
            let ended = self.finished && cut.is_none() && self.wire == Wire::OpenAiChat;
            if !ended {
                self.failure =
                    Some(cut.unwrap_or_else(|| Failure::cut("the upstream ended the stream before its end")));
                bytes.clear();
            }
        }
        Tally {
            usage: self.usage,
            failure: self.failure,
            bytes: bytes.freeze(),
            told: told && self.committed,
            finished: self.finished || self.over,
        }
    }

    fn release(&mut self, bytes: Bytes) -> Bytes {
        if !self.committed {
            self.held.extend_from_slice(&bytes);
            return Bytes::new();
        }
        if self.held.is_empty() {
            return bytes;
        }
        self.held.extend_from_slice(&bytes);
        self.held.split().freeze()
    }

    /// Looks at one event and gives its bytes as the client gets them, and whether that differs from what came.
    fn event(&mut self, bytes: Bytes) -> (Bytes, bool) {
        let event = Event::read(&bytes);
        let Some(data) = event.data else { return (bytes, false) };
        self.events += 1;
        let sign = match self.wire {
            _ if self.direct => direct::tap::event(event.name, &data, !self.committed),
            Wire::OpenAiChat => openai_chat::tap::event(event.name, &data, !self.committed, self.answer_as.is_some()),
            Wire::AnthropicMessages => anthropic::tap::event(event.name, &data),
            // No client speaks it, so nothing passes through.
            Wire::Gemini => Sign::default(),
        };
        self.usage.replace(sign.usage);
        self.finished |= sign.finished;
        self.over |= sign.last;
        self.committed |= sign.content && self.failure.is_none();
        if let Some(failure) = sign.failure {
            self.failure.get_or_insert(failure);
        }
        if sign.only_usage && self.hide_usage {
            return (Bytes::new(), true);
        }
        let name = self.answer_as.as_ref().zip(sign.model).map(|(name, span)| Edit::new(span, quoted(name)));
        let cost = sign.counts.and_then(|span| self.cost(data.get(span.clone())?, span.end));
        let edits: Vec<Edit> = name.into_iter().chain(cost).collect();
        if edits.is_empty() {
            return (bytes, false);
        }
        (edited(&bytes, event.name, &data, edits), true)
    }

    /// The edit that puts a cost into the object of the counts, which ends at `end`. A router that tells its own cost keeps it.
    fn cost(&self, counts: &[u8], end: usize) -> Option<Edit> {
        let costs = self.costs.as_ref()?;
        if counts.len() <= 2 || memmem::find(counts, b"\"cost\"").is_some() {
            return None;
        }
        Some(Edit::new(end - 1..end - 1, format!(",\"cost\":{}", costs.of(&self.usage)?)))
    }
}

/// The pipe of a streamed answer.
#[derive(Debug)]
pub enum Pipe {
    /// Client and upstream speak the same wire.
    Tap(Box<Tap>),
    /// They do not.
    Transcoder(Box<Transcoder>),
}

impl Pipe {
    /// Takes the upstream's next bytes and gives what may go to the client now.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        match self {
            Self::Tap(tap) => tap.push(chunk),
            Self::Transcoder(transcoder) => transcoder.push(chunk),
        }
    }

    /// Whether content was seen: from here on the status cannot change.
    #[must_use]
    pub fn committed(&self) -> bool {
        match self {
            Self::Tap(tap) => tap.committed(),
            Self::Transcoder(transcoder) => transcoder.committed(),
        }
    }

    /// Whether the wire's last event was seen; what may still come is of no interest.
    #[must_use]
    pub fn over(&self) -> bool {
        match self {
            Self::Tap(tap) => tap.over(),
            Self::Transcoder(transcoder) => transcoder.over(),
        }
    }

    /// The failure that an event reported, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Tap(tap) => tap.failure(),
            Self::Transcoder(transcoder) => transcoder.failure(),
        }
    }

    /// How many events of the upstream there were, where that is counted.
    #[must_use]
    pub fn events(&self) -> u64 {
        match self {
            Self::Tap(tap) => tap.events,
            Self::Transcoder(_) => 0,
        }
    }

    /// The upstream ended, properly or, with `cut`, not.
    #[must_use]
    pub fn finish(self, cut: Option<Failure>) -> Tally {
        match self {
            Self::Tap(tap) => tap.finish(cut),
            Self::Transcoder(transcoder) => transcoder.finish(cut),
        }
    }
}

/// The event with edits to its data: spliced into its bytes, or, where the data has several lines, written anew.
fn edited(bytes: &Bytes, event: Option<&[u8]>, data: &[u8], edits: Vec<Edit>) -> Bytes {
    if bytes.as_ptr_range().contains(&data.as_ptr()) {
        let offset = data.as_ptr().addr() - bytes.as_ptr().addr();
        return splice(bytes, edits.into_iter().map(|edit| edit.moved(offset)).collect());
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 64);
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event);
        out.extend_from_slice(b"\n");
    }
    // Lines of JSON text break between tokens only, so a space for the line end keeps its meaning.
    let data: Vec<u8> = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&splice(&Bytes::from(data), edits));
    out.extend_from_slice(b"\n\n");
    out.freeze()
}

/// Whether these bytes, which no empty line closes, are an event all the same.
pub(super) fn complete(rest: &[u8]) -> bool {
    match Event::read(rest).data {
        Some(data) => data.trim_ascii() == b"[DONE]" || read_json::<serde::de::IgnoredAny>(&data).is_ok(),
        None => rest.ends_with(b"\n"),
    }
}
