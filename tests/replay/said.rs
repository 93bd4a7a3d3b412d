//! What an answer says, whatever dialect it is in: the common ground on which a source and what was made of it are compared.

use std::fmt::Write as _;

use feathergate::wire::{Wire, ids};

use crate::json::Json;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Counts,
    /// The upstream's own words of failure.
    pub(crate) failed: Option<String>,
}

/// One choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    pub(crate) text: String,
    pub(crate) refusal: String,
    pub(crate) reasoning: String,
    /// The same with details, until it is known whether it was told plainly.
    pub(crate) detailed: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) stop: Option<Stop>,
    /// Opaque state, in order.
    pub(crate) seals: Vec<String>,
    /// The part of it that stands on text, which comes too late for an Anthropic client (wire.md 12.6).
    pub(crate) on_text: Vec<String>,
    /// Images.
    pub(crate) images: usize,
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// Why it stopped, in four classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    End,
    Length,
    Tools,
    Refusal,
}

/// Tokens: `prompt` includes the cache, `completion` the reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) prompt: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) written: Option<u64>,
    pub(crate) completion: Option<u64>,
    pub(crate) reasoning: Option<u64>,
}

impl Said {
    pub(crate) fn at(&mut self, index: usize) -> &mut Choice {
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        &mut self.choices[index]
    }
}

/// The arguments in one spelling, keys in their order; as they are where they are no JSON.
pub(crate) fn arguments(text: &str) -> String {
    if text.trim().is_empty() {
        return "{}".to_owned();
    }
    match Json::parse(text) {
        Ok(Json::Null) => "{}".to_owned(),
        // What an upstream wrote that is no object is kept in a wrapper.
        Ok(json) if json.fields().len() == 1 && json.has("_raw") => arguments(json["_raw"].text()),
        Ok(json) => json.to_string(),
        Err(_) => text.to_owned(),
    }
}

/// What differs between a source and what a client got of it.
pub(crate) fn differences(source: &Said, got: &Said, client: Wire) -> Vec<String> {
    let mut out = Vec::new();
    let choices = if client == Wire::OpenAiChat { source.choices.len().max(1) } else { 1 };
    if got.choices.len() != choices {
        out.push(format!("{choices} choices became {}", got.choices.len()));
    }
    for at in 0..choices.min(got.choices.len().max(1)) {
        let was = source.choices.get(at).cloned().unwrap_or_default();
        let is = got.choices.get(at).cloned().unwrap_or_default();
        choice(&was, &is, client, &mut out);
    }
    counts(&source.usage, &got.usage, client, &mut out);
    out
}

fn choice(was: &Choice, is: &Choice, client: Wire, out: &mut Vec<String>) {
    let (mut text, mut refusal) = (was.text.clone(), was.refusal.clone());
    if client == Wire::AnthropicMessages {
        text.push_str(&refusal);
        refusal.clear();
    }
    let (shown, images) =
        if client == Wire::AnthropicMessages { pictures(&is.text) } else { (is.text.clone(), is.images) };
    same("text", &text, &shown, out);
    if was.images != images {
        out.push(format!("{} images became {images}", was.images));
    }
    if was.stop != Some(Stop::Refusal) || !refusal.is_empty() {
        same("refusal", &refusal, &is.refusal, out);
    }
    same("reasoning", &was.reasoning, &is.reasoning, out);
    if was.calls.len() == is.calls.len() {
        for (was, is) in was.calls.iter().zip(&is.calls) {
            same("a call's name", &was.name, &is.name, out);
            same("a call's arguments", &arguments(&was.arguments), &arguments(&is.arguments), out);
            if !was.id.is_empty() {
                same("a call's id", &was.id, &ids::restore(is.id.as_str().into()), out);
            }
        }
    } else {
        out.push(format!("{} calls became {}", was.calls.len(), is.calls.len()));
    }
    let called = !was.calls.is_empty();
    let expected = match was.stop {
        Some(Stop::End) | None if called => Stop::Tools,
        Some(Stop::Tools) if !called => Stop::End,
        Some(_) | None if client == Wire::AnthropicMessages && !was.refusal.is_empty() => Stop::Refusal,
        Some(stop) => stop,
        None => Stop::End,
    };
    let refused = !was.refusal.is_empty() && is.stop == Some(Stop::Refusal);
    if is.stop != Some(expected) && !refused {
        out.push(format!("{:?} became the finish {:?}, not {expected:?}", was.stop, is.stop));
    }
    let late: &[String] = if client == Wire::OpenAiChat { &was.on_text } else { &[] };
    for seal in was.seals.iter().chain(late) {
        if !is.seals.iter().any(|kept| kept.strip_prefix("fg1:gemini:").unwrap_or(kept) == seal) {
            out.push(format!("a seal is lost: {}", short(seal)));
        }
    }
}

/// The text without the images in it, which an Anthropic client gets as text; and how many they are.
fn pictures(text: &str) -> (String, usize) {
    let mut pieces = text.split("![image](data:");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    let mut count = 0;
    for piece in pieces {
        out.push_str(piece.split_once(')').map_or("", |(_, rest)| rest));
        count += 1;
    }
    (out, count)
}

fn counts(was: &Counts, is: &Counts, client: Wire, out: &mut Vec<String>) {
    let mut one = |name: &str, was: Option<u64>, is: Option<u64>| {
        // A count of nothing need not be told, and where it has to be told it is 0.
        if was.unwrap_or(0) != is.unwrap_or(0) {
            out.push(format!("usage: {name} {was:?} became {is:?}"));
        }
    };
    // One vendor's cache holds more than the prompt: nobody knows what that means.
    let odd = was.cached > was.prompt;
    // Where the upstream does not say it, an Anthropic client gets an estimate.
    if !odd && (was.prompt.is_some() || client == Wire::OpenAiChat) {
        one("prompt", was.prompt, is.prompt);
    }
    one("completion", was.completion, is.completion);
    if !odd {
        one("cached", was.cached, is.cached);
    }
    one("written", was.written, is.written);
    if client == Wire::OpenAiChat {
        one("reasoning", was.reasoning, is.reasoning);
    }
}

fn same(what: &str, was: &str, is: &str, out: &mut Vec<String>) {
    if was != is {
        let common = was.char_indices().zip(is.chars()).take_while(|((_, a), b)| a == b).last();
        let from = common.map_or(0, |((at, _), _)| at);
        let tail = |text: &str| short(text.get(from..).unwrap_or_default());
        let mut line = format!("{what} differs from byte {from}");
        let _ = write!(line, ": {:?} became {:?}", tail(was), tail(is));
        out.push(line);
    }
}

pub(crate) fn short(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}
