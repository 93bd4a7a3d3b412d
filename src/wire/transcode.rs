//! The pipe that a streamed answer runs through where client and upstream speak different wires: framer → decoder → relay →
//! encoder. Its promises are those of [`Tap`](super::Tap): nothing before the first content, whole events only, and no finish
//! that the upstream did not send.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::convert::{Answering, Inbound, Outbound, StreamDecoder, StreamEncoder};
use super::event::{Event, Sink};
use super::ir::{Failure, Usage};
use super::pipe::{LARGEST_EVENT, Tally};
use super::relay::{Relay, Undo};
use super::sse;
use super::text::Writer;

/// A stream on its way from one wire to another.
#[derive(Debug)]
pub struct Transcoder {
    framing: Framing,
    decoder: Box<dyn StreamDecoder>,
    way: Way,
    ends: Vec<usize>,
}

/// How the upstream separates its events: told by the first byte.
#[derive(Debug)]
enum Framing {
    Unknown(BytesMut),
    Events(sse::Framer),
    /// Gemini without `alt=sse`: one JSON array, an element at a time.
    Array(sse::Elements),
}

#[derive(Debug)]
struct Way {
    relay: Relay,
    exit: Exit,
}

#[derive(Debug)]
struct Exit {
    encoder: Box<dyn StreamEncoder>,
    out: Writer,
    committed: bool,
    over: bool,
    usage: Usage,
    failure: Option<Failure>,
}

impl Sink for Way {
    fn event(&mut self, choice: u32, event: Event<'_>) {
        self.relay.event(choice, event, &mut self.exit);
    }
}

impl Sink for Exit {
    fn event(&mut self, choice: u32, event: Event<'_>) {
        if self.over || self.failure.is_some() {
            return;
        }
        match &event {
            Event::Failed(failure) => {
                self.failure = Some((**failure).clone());
                return;
            }
            Event::Usage(usage) => self.usage.replace(*usage),
            Event::Open(_) | Event::Finish { .. } => self.committed = true,
            Event::End => self.over = true,
            Event::Start { .. }
            | Event::Delta(_)
            | Event::Seal(..)
            | Event::Close
            | Event::Citation(_)
            | Event::Logprobs(_) => {}
        }
        self.encoder.event(choice, event, &mut self.out);
    }
}

impl Transcoder {
    /// A pipe from the upstream's wire to the client's.
    #[must_use]
    pub fn new(from: &dyn Outbound, to: &dyn Inbound, undo: Undo, how: &Arc<Answering>) -> Self {
        let exit = Exit {
            encoder: to.encoder(how),
            out: Writer::default(),
            committed: false,
            over: false,
            usage: Usage::default(),
            failure: None,
        };
        Self {
            framing: Framing::Unknown(BytesMut::new()),
            decoder: from.decoder(),
            way: Way { relay: Relay::new(undo, &how.wish, &how.stamp), exit },
            ends: Vec::new(),
        }
    }

    /// Takes the upstream's next bytes and gives what may go to the client now.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        self.take(chunk);
        let exit = &mut self.way.exit;
        // What was made before a failure is only half of something; `finish` gives what is whole.
        if exit.committed { Bytes::from(exit.out.take()) } else { Bytes::new() }
    }

    fn take(&mut self, chunk: Bytes) {
        let chunk = match &mut self.framing {
            Framing::Unknown(head) => {
                head.extend_from_slice(&chunk);
                let Some(first) = head.iter().find(|byte| !byte.is_ascii_whitespace()) else { return };
                let array = *first == b'[';
                let chunk = head.split().freeze();
                self.framing = if array {
                    Framing::Array(sse::Elements::default())
                } else {
                    Framing::Events(sse::Framer::default())
                };
                chunk
            }
            Framing::Events(_) | Framing::Array(_) => chunk,
        };
        let pending = match &mut self.framing {
            Framing::Unknown(_) => 0,
            Framing::Array(elements) => {
                elements.push(&chunk, |element| self.decoder.frame(None, element, &mut self.way));
                elements.pending()
            }
            Framing::Events(framer) => {
                let frames = framer.push(chunk, &mut self.ends);
                let mut start = 0;
                for end in self.ends.iter().copied() {
                    let event = sse::Event::read(frames.get(start..end).unwrap_or_default());
                    start = end;
                    if let Some(data) = event.data {
                        self.decoder.frame(event.name, &data, &mut self.way);
                    }
                }
                framer.pending()
            }
        };
        if pending > LARGEST_EVENT && self.way.exit.failure.is_none() {
            self.way.exit.failure = Some(Failure::cut("the upstream sent an event that does not end"));
        }
    }

    /// Whether content was seen: from here on the status cannot change.
    #[must_use]
    pub fn committed(&self) -> bool {
        self.way.exit.committed
    }

    /// Whether the upstream's last event was seen.
    #[must_use]
    pub fn over(&self) -> bool {
        self.way.exit.over
    }

    /// The failure that an event reported, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.way.exit.failure.as_ref()
    }

    /// The upstream ended, properly or, with `cut`, not.
    #[must_use]
    pub fn finish(mut self, cut: Option<Failure>) -> Tally {
        if cut.is_none() {
            if let Framing::Events(framer) = &mut self.framing {
                let rest = framer.rest();
                let event = sse::Event::read(&rest);
                // A last event may lack its closing empty line; half an event is none.
                if let Some(data) = event.data
                    && super::pipe::complete(&rest)
                {
                    self.decoder.frame(event.name, &data, &mut self.way);
                }
            }
            self.decoder.end(&mut self.way);
        }
        let exit = self.way.exit;
        let failure = exit.failure.or_else(|| {
            let ended = exit.over;
            (!ended).then(|| cut.unwrap_or_else(|| Failure::cut("the upstream ended the stream before its end")))
        });
        Tally {
            usage: exit.usage,
            failure,
            bytes: Bytes::from(exit.out.into_bytes()),
            told: false,
            finished: exit.over,
        }
    }
}
