//! What stands between every decoder and every encoder of answers: it undoes what the request's encoder had to do (shortened
//! names, a tool in place of a JSON format), mints ids where the upstream gives none, and sees that the finish agrees with
//! what was said.

use super::chat::Wish;
use super::event::{Block, Event, Sink, Stop};
use super::ids;
use super::text::Str;
use crate::wire::fields::fields;

/// What an encoder did to a request that its answer has to undo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// Tools whose names the upstream does not take: `(sent, original)`.
    pub names: Vec<(String, String)>,
    /// The tool that stands for the JSON format: its arguments are the answer's text.
    pub json_tool: Option<String>,
}

/// The way from a decoder to an encoder.
#[derive(Debug)]
pub struct Relay {
    undo: Undo,
    custom: Vec<String>,
    stamp: String,
    minted: u32,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    called: bool,
    open: Open,
    /// Arguments of a call that takes free text, until they are whole.
    arguments: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Plain,
    Json,
    Custom,
}

/// More choices than this share one state; nobody asks for so many.
const MOST_CHOICES: usize = 128;

impl Relay {
    /// A relay for one answer. `stamp` is unique to the request; minted ids derive from it.
    #[must_use]
    pub fn new(undo: Undo, wish: &Wish, stamp: &str) -> Self {
        Self { undo, custom: wish.custom.clone(), stamp: stamp.to_owned(), minted: 0, choices: Vec::new() }
    }

    /// Passes an event on.
    pub fn event(&mut self, choice: u32, event: Event<'_>, out: &mut dyn Sink) {
        let index = (choice as usize).min(MOST_CHOICES);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        let Some(state) = self.choices.get_mut(index) else { return };
        match event {
            Event::Open(Block::Call { name, .. }) if self.undo.json_tool.as_deref() == Some(&*name) => {
                state.open = Open::Json;
                out.event(choice, Event::Open(Block::Text));
            }
            Event::Open(Block::Call { id, name, seal }) => {
                state.called = true;
                let id = if id.is_empty() {
                    self.minted += 1;
                    ids::mint(&self.stamp, self.minted).into()
                } else {
                    id
                };
                let original = self.undo.names.iter().find(|(sent, _)| *sent == *name);
                let name = original.map_or(name, |(_, original)| original.as_str().into());
                if self.custom.iter().any(|custom| *custom == *name) {
                    state.open = Open::Custom;
                    state.arguments.clear();
                }
                out.event(choice, Event::Open(Block::Call { id, name, seal }));
            }
            Event::Delta(text) if state.open == Open::Custom => state.arguments.push_str(&text),
            Event::Close => {
                if state.open == Open::Custom {
                    let input = free_text(&state.arguments);
                    if !input.is_empty() {
                        out.event(choice, Event::Delta(input.into()));
                    }
                }
                state.open = Open::Plain;
                out.event(choice, Event::Close);
            }
            Event::Finish { stop, sequence, explanation } => {
                // Several compatible servers end a turn of calls with `stop`; and a JSON tool is no call for the client.
                let stop = match stop {
                    Stop::End | Stop::Sequence if state.called => Stop::Tools,
                    Stop::Tools if !state.called => Stop::End,
                    other => other,
                };
                out.event(choice, Event::Finish { stop, sequence, explanation });
            }
            other => out.event(choice, other),
        }
    }
}

/// The text in `{"input":"…"}`, or the arguments as they are where the model wrote something else.
fn free_text(arguments: &str) -> String {
    #[derive(Default)]
    struct Wrapped<'a> {
        input: Str<'a>,
    }
    fields!(Wrapped<'a> { input } needs "input");

    serde_json::from_str::<Wrapped<'_>>(arguments).map_or_else(|_| arguments.to_owned(), |it| it.input.into_owned())
}
