//! The borders of blocks that a flat stream does not have. One choice of an answer: its text, reasoning and calls come in as
//! pieces in any order and go out as blocks, one open at a time.
//!
//! While a call's arguments are not whole, everything else waits: a block cannot be opened again once it is closed. What
//! waits goes out, in order, as soon as the arguments are whole, at the latest at the end.

use std::collections::VecDeque;

use super::arguments::{self, Scan};
use super::types::{Annotation, Content, Detail, Message, Part, ToolCall};
use crate::wire::chat::Origin;
use crate::wire::event::{Block, Citation, Event, Sink, Stop};
use crate::wire::ids::{FNV, fnv};
use crate::wire::media;
use crate::wire::text::{Json, Str};

/// The key of the one call that the old `function_call` can make.
const LEGACY: u64 = u64::MAX;
/// More calls than anybody makes: an upstream must not make us search without end.
const MOST_CALLS: usize = 1024;

/// What was said in a choice.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    choice: u32,
    open: Open,
    calls: Vec<Call>,
    waiting: VecDeque<Waiting>,
    /// Signatures of calls that have not come yet: id and data.
    seals: Vec<(String, String)>,
    /// Length and hash of the thought that is open, and whether it has its seal.
    thought: (usize, u64),
    sealed: bool,
    refused: bool,
    said: bool,
    citations: Vec<Citation<'static>>,
    logprobs: String,
    finish: Option<(Stop, Option<String>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    None,
    Say(Kind),
    Call(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thinking,
}

#[derive(Debug)]
enum Waiting {
    Say(Kind, String),
    Call(usize),
}

#[derive(Debug, Default)]
struct Call {
    key: u64,
    id: String,
    name: String,
    seal: Option<String>,
    /// Arguments that have not gone out.
    held: String,
    scan: Scan,
    /// It takes free text, which goes out as `{"input":"…"}`.
    free: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Its name is not known.
    #[default]
    New,
    /// Another block is open.
    Queued,
    Open,
    Done,
}

impl Blocks {
    pub(super) fn new(choice: u32) -> Self {
        Self { choice, ..Self::default() }
    }

    /// Takes a delta, or a whole message.
    pub(super) fn message(&mut self, message: Message<'_>, sink: &mut dyn Sink) {
        let mut thought = false;
        for detail in message.reasoning_details.0.unwrap_or_default() {
            thought |= self.detail(detail, sink);
        }
        // The same words stand in several fields.
        let words = [message.reasoning_content.0, message.reasoning.0];
        if !thought && let Some(words) = words.into_iter().flatten().find(|words| !words.is_empty()) {
            self.say(Kind::Thinking, &words, sink);
        }
        match message.content.0 {
            Some(Content::Text(text)) => self.say(Kind::Text, &text, sink),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    self.part(part, sink);
                }
            }
            None => {}
        }
        if let Some(refusal) = message.refusal.0 {
            self.say(Kind::Refusal, &refusal, sink);
        }
        for image in message.images.0.unwrap_or_default() {
            self.part(image, sink);
        }
        for (position, call) in (0..).zip(message.tool_calls.0.unwrap_or_default()) {
            self.call(position, call, sink);
        }
        if message.function_call.0.is_some() {
            let call = ToolCall { function: message.function_call, ..ToolCall::default() };
            self.call(LEGACY, call, sink);
        }
        self.citations.extend(message.annotations.0.unwrap_or_default().into_iter().filter_map(citation));
    }

    /// Takes log probabilities: a JSON array.
    pub(super) fn logprobs(&mut self, list: &Json<'_>) {
        let inner = list.get().strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default().trim();
        if !inner.is_empty() {
            if !self.logprobs.is_empty() {
                self.logprobs.push(',');
            }
            self.logprobs.push_str(inner);
        }
    }

    /// Takes the reason of the end, and the stop sequence that was met.
    pub(super) fn finished(&mut self, reason: &str, sequence: Option<Str<'_>>) {
        let sequence = sequence.filter(|_| matches!(reason, "stop" | "eos" | "stop_sequence"));
        // vLLM-like servers may put the reason itself there.
        let sequence = sequence.filter(|text| !text.is_empty() && *text != "stop" && *text != "eos");
        let stop = match reason {
            "length" | "max_tokens" | "model_length" => Stop::Length,
            "tool_calls" | "function_call" | "tool_use" => Stop::Tools,
            "content_filter" | "safety" | "refusal" => Stop::Refusal,
            _ if sequence.is_some() => Stop::Sequence,
            _ => Stop::End,
        };
        self.finish = Some((stop, sequence.map(Str::into_owned)));
    }

    /// Whether the reason of the end is known.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether anything was said.
    pub(super) fn said(&self) -> bool {
        self.said
    }

    fn detail(&mut self, mut detail: Detail<'_>, sink: &mut dyn Sink) -> bool {
        let origin = detail.origin();
        let words = detail.words();
        let signature = detail.signature.0.filter(|signature| !signature.is_empty());
        if let Some(data) = detail.data.0.filter(|data| !data.is_empty()) {
            match detail.id.0 {
                Some(id) if origin == Origin::Gemini => self.seals.push((id.into_owned(), data.into_owned())),
                // Nobody could give it back to the others.
                _ if origin == Origin::Anthropic && !self.blocked() => {
                    self.close(sink);
                    self.put(Event::Open(Block::Redacted(origin, data)), sink);
                    self.put(Event::Close, sink);
                }
                _ => {}
            }
        }
        let mut thought = false;
        if let Some(words) = words {
            thought = true;
            // Those who stream the words before may say them all again with their signature.
            let again = signature.is_some()
                && self.open == Open::Say(Kind::Thinking)
                && !self.sealed
                && self.thought == (words.len(), fnv(FNV, words.as_bytes()));
            if !again {
                self.say(Kind::Thinking, &words, sink);
            }
        }
        if let Some(signature) = signature
            && origin != Origin::Other
            && !self.blocked()
        {
            if self.open != Open::Say(Kind::Thinking) || self.sealed {
                self.switch(Kind::Thinking, sink);
            }
            self.sealed = true;
            self.put(Event::Seal(origin, signature), sink);
        }
        thought
    }

    fn part(&mut self, part: Part<'_>, sink: &mut dyn Sink) {
        for words in part.thinking.0.map(|thinking| thinking.0).unwrap_or_default() {
            self.say(Kind::Thinking, &words, sink);
        }
        if let Some(text) = part.text.0 {
            self.say(Kind::Text, &text, sink);
        }
        if let Some(refusal) = part.refusal.0 {
            self.say(Kind::Refusal, &refusal, sink);
        }
        if let Some(address) = part.image_url.0
            && let Some((mime, data)) = media::data_url(&address.0)
            && !self.blocked()
        {
            self.close(sink);
            self.put(Event::Open(Block::Image { mime, data }), sink);
            self.put(Event::Close, sink);
        }
    }

    fn say(&mut self, kind: Kind, text: &str, sink: &mut dyn Sink) {
        if text.is_empty() {
            return;
        }
        if self.blocked() {
            match self.waiting.back_mut() {
                Some(Waiting::Say(last, held)) if *last == kind => held.push_str(text),
                _ => self.waiting.push_back(Waiting::Say(kind, text.to_owned())),
            }
            return;
        }
        // Behind its seal a thought takes no more words.
        if self.open != Open::Say(kind) || (kind == Kind::Thinking && self.sealed) {
            self.switch(kind, sink);
        }
        if kind == Kind::Thinking {
            self.thought = (self.thought.0 + text.len(), fnv(self.thought.1, text.as_bytes()));
        }
        self.put(Event::Delta(text.into()), sink);
    }

    fn switch(&mut self, kind: Kind, sink: &mut dyn Sink) {
        self.close(sink);
        self.open = Open::Say(kind);
        let block = match kind {
            Kind::Text => Block::Text,
            Kind::Refusal => {
                self.refused = true;
                Block::Refusal
            }
            Kind::Thinking => {
                (self.thought, self.sealed) = ((0, FNV), false);
                Block::Thinking
            }
        };
        self.put(Event::Open(block), sink);
    }

    fn put(&mut self, event: Event<'_>, sink: &mut dyn Sink) {
        self.said = true;
        sink.event(self.choice, event);
    }

    /// Whether a call is open whose arguments are not whole.
    fn blocked(&self) -> bool {
        matches!(self.open, Open::Call(at) if self.calls.get(at).is_some_and(|call| !call.scan.complete()))
    }

    fn call(&mut self, position: u64, entry: ToolCall<'_>, sink: &mut dyn Sink) {
        let signature = entry.extra_content.0.and_then(super::types::Extra::signature);
        let id = entry.id.0.unwrap_or_default();
        let (name, input, free) = match (entry.function.0, entry.custom.0) {
            (None, Some(custom)) => (custom.name.0, custom.input.0, true),
            (function, _) => {
                let function = function.unwrap_or_default();
                (function.name.0, function.arguments.0.map(|arguments| arguments.0), false)
            }
        };
        let (name, input) = (name.unwrap_or_default(), input.unwrap_or_default());
        let Some(at) = self.find(entry.index.0, position, &id, &name) else { return };
        let Some(call) = self.calls.get_mut(at) else { return };
        call.free |= free;
        if call.name.is_empty() {
            call.name = name.into_owned();
        }
        if call.id.is_empty() && call.stage != Stage::Done {
            call.id = id.into_owned();
        }
        if call.seal.is_none() {
            call.seal = signature.map(Str::into_owned);
        }
        if call.stage == Stage::New && !call.name.is_empty() {
            if self.blocked() {
                self.waiting.push_back(Waiting::Call(at));
                if let Some(call) = self.calls.get_mut(at) {
                    call.stage = Stage::Queued;
                }
            } else {
                self.begin(at, sink);
            }
        }
        self.feed(at, &input, sink);
        if !self.blocked() {
            self.drain(false, sink);
        }
    }

    /// The call that an entry belongs to. Servers leave out the index, never advance it, or give no ids.
    fn find(&mut self, index: Option<u64>, position: u64, id: &str, name: &str) -> Option<usize> {
        let continues = id.is_empty() && name.is_empty();
        let last = self.calls.len().checked_sub(1);
        let found = match index {
            None if continues && position != LEGACY => last,
            None if !id.is_empty() && self.calls.iter().any(|call| call.id == *id) => {
                self.calls.iter().rposition(|call| call.id == *id)
            }
            _ => {
                let key = index.unwrap_or(position);
                self.calls.iter().rposition(|call| call.key == key)
            }
        };
        let another = found.and_then(|at| self.calls.get(at)).is_none_or(|call| {
            let other_id = !id.is_empty() && !call.id.is_empty() && call.id != *id;
            let again = call.scan.complete() && (id.is_empty() || call.id.is_empty());
            // Only a beginning has a name: some servers give every piece an id of its own.
            !name.is_empty() && (other_id || again)
        });
        if !another {
            return found;
        }
        if self.calls.len() >= MOST_CALLS {
            return None;
        }
        self.calls.push(Call { key: index.unwrap_or(position), ..Call::default() });
        Some(self.calls.len() - 1)
    }

    /// Opens a call and gives what is held of its arguments.
    fn begin(&mut self, at: usize, sink: &mut dyn Sink) {
        self.close(sink);
        let Some(call) = self.calls.get_mut(at) else { return };
        call.stage = Stage::Open;
        self.open = Open::Call(at);
        let mut seal = call.seal.take();
        if seal.is_none()
            && let Some(found) = self.seals.iter().position(|(id, _)| *id == call.id)
        {
            seal = Some(self.seals.swap_remove(found).1);
        }
        let (id, name) = (call.id.as_str().into(), call.name.as_str().into());
        let seal = seal.map(|data| (Origin::Gemini, data.into()));
        self.said = true;
        sink.event(self.choice, Event::Open(Block::Call { id, name, seal }));
        let held = std::mem::take(&mut call.held);
        self.feed(at, &held, sink);
    }

    fn feed(&mut self, at: usize, piece: &str, sink: &mut dyn Sink) {
        let Some(call) = self.calls.get_mut(at) else { return };
        match call.stage {
            Stage::Done => {}
            Stage::New | Stage::Queued => call.held.push_str(piece),
            Stage::Open if call.free => call.held.push_str(piece),
            Stage::Open => {
                let part = call.scan.take(piece);
                if call.scan.odd() {
                    call.held.push_str(part);
                } else if !part.is_empty() {
                    sink.event(self.choice, Event::Delta(part.into()));
                }
            }
        }
    }

    /// Opens what waits until a call is open whose arguments are not whole; with `all` everything.
    fn drain(&mut self, all: bool, sink: &mut dyn Sink) {
        while all || !self.blocked() {
            match self.waiting.pop_front() {
                None => return,
                Some(Waiting::Call(at)) => self.begin(at, sink),
                Some(Waiting::Say(kind, text)) => {
                    self.close(sink);
                    self.say(kind, &text, sink);
                }
            }
        }
    }

    /// Closes the open block.
    pub(super) fn close(&mut self, sink: &mut dyn Sink) {
        match std::mem::take(&mut self.open) {
            Open::None => return,
            Open::Say(_) => {}
            Open::Call(at) => {
                if let Some(call) = self.calls.get_mut(at) {
                    call.stage = Stage::Done;
                    let held = std::mem::take(&mut call.held);
                    if call.free {
                        let input = Json::wrapping("input", &held);
                        sink.event(self.choice, Event::Delta(input.get().into()));
                    } else if call.scan.odd() {
                        sink.event(self.choice, Event::Delta(arguments::object(held.into()).get().into()));
                    }
                }
            }
        }
        sink.event(self.choice, Event::Close);
    }

    /// Closes everything, and gives what belongs behind it.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) {
        self.drain(true, sink);
        self.close(sink);
        for citation in self.citations.drain(..) {
            sink.event(self.choice, Event::Citation(citation));
        }
        if !self.logprobs.is_empty() {
            let list = format!("[{}]", std::mem::take(&mut self.logprobs));
            sink.event(self.choice, Event::Logprobs(list.into()));
        }
    }

    /// Gives the finish.
    pub(super) fn finish(&mut self, sink: &mut dyn Sink) {
        let (stop, sequence) = self.finish.take().unwrap_or((Stop::End, None));
        let stop = if self.refused && stop == Stop::End { Stop::Refusal } else { stop };
        let sequence = sequence.map(Str::from);
        sink.event(self.choice, Event::Finish { stop, sequence, explanation: None });
    }
}

fn citation(annotation: Annotation<'_>) -> Option<Citation<'static>> {
    let cited = annotation.url_citation.0?;
    let place = |index: Option<u64>| index.and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    Some(Citation {
        url: cited.url.0?.detached(),
        title: cited.title.0.unwrap_or_default().detached(),
        start: place(cited.start_index.0),
        end: place(cited.end_index.0),
    })
}
