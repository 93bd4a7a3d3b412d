//! Events gathered into a whole answer, from which buffered answers are written: so a buffered and a streamed answer come
//! from the same truth.

use super::chat::Origin;
use super::event::{Block, Citation, Event, Sink, Stop};
use super::ir::{Failure, Usage};

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The upstream's id; empty where it gave none.
    pub id: String,
    /// The upstream's name of the model; empty where it gave none.
    pub model: String,
    /// The upstream's class of service, in `OpenAI`'s words.
    pub tier: Option<String>,
    /// The choices by index. At least one once anything was said.
    pub choices: Vec<Choice>,
    /// Tokens.
    pub usage: Usage,
    /// It came to its end.
    pub ended: bool,
    /// It did not, and why.
    pub failure: Option<Box<Failure>>,
}

/// One choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Its blocks in order.
    pub pieces: Vec<Piece>,
    /// Its sources.
    pub citations: Vec<Citation<'static>>,
    /// A JSON array of `OpenAI`'s `logprobs.content` entries.
    pub logprobs: Option<String>,
    /// Why it stopped.
    pub stop: Option<Stop>,
    /// The stop sequence that was met.
    pub sequence: Option<String>,
    /// Why it refused.
    pub explanation: Option<String>,
}

/// A block with all that was in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// What it is.
    pub block: Block<'static>,
    /// Its deltas, joined. Of a call: its arguments, `{}` where there were none.
    pub text: String,
    /// Its seal.
    pub seal: Option<(Origin, String)>,
}

/// The most choices that an answer may have: an upstream's index must not make us allocate.
const MOST_CHOICES: u32 = 128;

impl Answer {
    /// The choice of this index, if there is one.
    #[must_use]
    pub fn choice(&self, index: usize) -> Option<&Choice> {
        self.choices.get(index)
    }

    fn at(&mut self, choice: u32) -> Option<&mut Choice> {
        if choice >= MOST_CHOICES {
            return None;
        }
        let choice = choice as usize;
        if self.choices.len() <= choice {
            self.choices.resize_with(choice + 1, Choice::default);
        }
        self.choices.get_mut(choice)
    }
}

impl Choice {
    /// All its text, without what separates the blocks.
    #[must_use]
    pub fn text(&self) -> String {
        self.pieces.iter().filter(|piece| piece.block == Block::Text).map(|piece| piece.text.as_str()).collect()
    }
}

impl Sink for Answer {
    fn event(&mut self, choice: u32, event: Event<'_>) {
        match event {
            Event::Start { id, model, tier } => {
                self.id = id.into_owned();
                self.model = model.into_owned();
                self.tier = tier.map(super::text::Str::into_owned);
            }
            Event::Usage(usage) => self.usage.replace(usage),
            Event::End => {
                self.ended = true;
                self.at(0);
            }
            Event::Failed(failure) => {
                self.failure.get_or_insert(failure);
            }
            Event::Open(block) => {
                if let Some(choice) = self.at(choice) {
                    choice.pieces.push(Piece { block: block.detached(), text: String::new(), seal: None });
                }
            }
            Event::Delta(text) => {
                if let Some(piece) = self.at(choice).and_then(|choice| choice.pieces.last_mut()) {
                    piece.text.push_str(&text);
                }
            }
            Event::Seal(origin, data) => {
                if let Some(piece) = self.at(choice).and_then(|choice| choice.pieces.last_mut()) {
                    piece.seal = Some((origin, data.into_owned()));
                }
            }
            Event::Close => {
                if let Some(piece) = self.at(choice).and_then(|choice| choice.pieces.last_mut())
                    && matches!(piece.block, Block::Call { .. })
                    && piece.text.is_empty()
                {
                    piece.text.push_str("{}");
                }
            }
            Event::Citation(citation) => {
                if let Some(choice) = self.at(choice) {
                    choice.citations.push(citation.detached());
                }
            }
            Event::Logprobs(json) => {
                if let Some(choice) = self.at(choice) {
                    choice.logprobs = Some(match choice.logprobs.take() {
                        // Two JSON arrays become one.
                        Some(before) if before != "[]" && json.as_str() != "[]" => {
                            format!("{},{}", before.trim_end_matches(']'), json.trim_start_matches('['))
                        }
                        Some(before) if json.as_str() == "[]" => before,
                        _ => json.into_owned(),
                    });
                }
            }
            Event::Finish { stop, sequence, explanation } => {
                if let Some(choice) = self.at(choice) {
                    choice.stop = Some(stop);
                    choice.sequence = sequence.map(super::text::Str::into_owned);
                    choice.explanation = explanation.map(super::text::Str::into_owned);
                }
            }
        }
    }
}

impl Answer {
    /// Tells the answer as events, in the grammar of [`event`](super::event).
    pub fn tell(&self, sink: &mut dyn Sink) {
        sink.event(
            0,
            Event::Start {
                id: self.id.as_str().into(),
                model: self.model.as_str().into(),
                tier: self.tier.as_deref().map(Into::into),
            },
        );
        for (index, choice) in (0..).zip(&self.choices) {
            for piece in &choice.pieces {
                sink.event(index, Event::Open(piece.block.clone()));
                if !piece.text.is_empty() {
                    sink.event(index, Event::Delta(piece.text.as_str().into()));
                }
                if let Some((origin, data)) = &piece.seal {
                    sink.event(index, Event::Seal(*origin, data.as_str().into()));
                }
                sink.event(index, Event::Close);
            }
            for citation in &choice.citations {
                sink.event(index, Event::Citation(citation.clone()));
            }
            if let Some(logprobs) = &choice.logprobs {
                sink.event(index, Event::Logprobs(logprobs.as_str().into()));
            }
        }
        if self.usage != Usage::default() {
            sink.event(0, Event::Usage(self.usage));
        }
        for (index, choice) in (0..).zip(&self.choices) {
            if let Some(stop) = choice.stop {
                sink.event(
                    index,
                    Event::Finish {
                        stop,
                        sequence: choice.sequence.as_deref().map(Into::into),
                        explanation: choice.explanation.as_deref().map(Into::into),
                    },
                );
            }
        }
        match &self.failure {
            Some(failure) => sink.event(0, Event::Failed(failure.clone())),
            None => sink.event(0, Event::End),
        }
    }
}
