//! Thoughts of other models in a request that passes through: a conversation that began elsewhere and moves to Claude.
//!
//! This gateway gives an Anthropic client such thoughts in thinking blocks whose signature begins with a tag. Anthropic would
//! answer 400 for them, so they are the one thing below the top level that passthrough takes out. A body without the tag is not
//! even parsed.
//!
//! Where such a thought began the calls that the request answers, or where these were made without any because the model had to
//! go on so, Anthropic would miss it while the model thinks within a budget (400: "Expected `thinking` …"). The model then goes on
//! without thinking.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::wire::Loss;
use crate::wire::envelope::{Envelope, Fields};
use crate::wire::fields::fields;
use crate::wire::splice::{Edit, span_in};
use crate::wire::text::Str;

/// Begins the signature of every thinking block that no Claude signed.
pub(in crate::wire) const TAG: &str = "fg1:";

/// The edits that take them out, if there are any: of `messages`, and of `thinking` where that cannot be without them.
pub(in crate::wire) fn foreign_thoughts(envelope: &Envelope<'_>, losses: &mut Vec<Loss>) -> Vec<Edit> {
    let Some((edit, lost)) = out_of_messages(envelope) else { return Vec::new() };
    let thinking = if lost { switched_off(envelope) } else { None };
    if thinking.is_some() {
        let why = "the last calls began with a thought of another model; Claude goes on without thinking";
        losses.push(Loss { field: "thinking".into(), why: why.into() });
    }
    std::iter::once(edit).chain(thinking).collect()
}

fn switched_off(envelope: &Envelope<'_>) -> Option<Edit> {
    let thinking: Block<'_> = serde_json::from_str(envelope.value("thinking")?.get()).ok()?;
    let budgeted = thinking.kind.is_some_and(|kind| kind == "enabled");
    budgeted.then(|| Edit::new(envelope.span_of("thinking"), r#"{"type":"disabled"}"#.to_owned()))
}

#[derive(Default)]
struct Block<'a> {
    kind: Option<Str<'a>>,
    signature: Option<Str<'a>>,
}
fields!(Block<'a> { kind = "type", signature });

impl Block<'_> {
    fn thinks(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| *kind == "thinking" || *kind == "redacted_thinking")
    }

    fn is_foreign(&self) -> bool {
        self.kind.as_ref().is_some_and(|kind| *kind == "thinking")
            && self.signature.as_ref().is_some_and(|signature| signature.starts_with(TAG))
    }
}

/// The edit, and whether the last calls do not begin with a thought then.
fn out_of_messages(envelope: &Envelope<'_>) -> Option<(Edit, bool)> {
    let messages = envelope.value("messages")?.get();
    memmem::find(messages.as_bytes(), TAG.as_bytes())?;
    let list: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
    let mut out = String::with_capacity(messages.len());
    let mut changed = false;
    for message in &list {
        let text = message.get();
        let content = content(text).and_then(|content| Some((content, without(content)?)));
        let separator = if out.is_empty() { '[' } else { ',' };
        match content {
            None => {
                out.push(separator);
                out.push_str(text);
            }
            Some((_, kept)) if kept == "[]" => changed = true,
            Some((content, kept)) => {
                changed = true;
                let span = span_in(text, content);
                out.push(separator);
                out.push_str(text.get(..span.start)?);
                out.push_str(&kept);
                out.push_str(text.get(span.end..)?);
            }
        }
    }
    if out.is_empty() {
        out.push('[');
    }
    out.push(']');
    changed.then(|| (Edit::new(envelope.span_of("messages"), out), in_thoughtless_calls(&list)))
}

/// Whether the last message answers calls that do not begin with a thought of Claude's own.
fn in_thoughtless_calls(messages: &[&RawValue]) -> bool {
    let [.., calls, answers] = messages else { return false };
    let calls = memmem::find(calls.get().as_bytes(), b"tool_use").and_then(|_| content(calls.get()));
    let blocks = calls.and_then(|calls| serde_json::from_str::<Vec<Block<'_>>>(calls).ok()).unwrap_or_default();
    memmem::find(answers.get().as_bytes(), b"tool_result").is_some()
        && blocks.iter().find(|block| !block.is_foreign()).is_some_and(|first| !first.thinks())
}

fn content(message: &str) -> Option<&str> {
    let fields: Fields<'_> = serde_json::from_str(message).ok()?;
    fields.find("content").filter(|text| text.starts_with('['))
}

/// The content without such blocks; `None` if it has none.
fn without(content: &str) -> Option<String> {
    memmem::find(content.as_bytes(), TAG.as_bytes())?;
    let blocks: Vec<&RawValue> = serde_json::from_str(content).ok()?;
    let foreign = |block: &&&RawValue| serde_json::from_str::<Block<'_>>(block.get()).is_ok_and(|it| it.is_foreign());
    let kept: Vec<&str> = blocks.iter().filter(|block| !foreign(block)).map(|block| block.get()).collect();
    (kept.len() < blocks.len()).then(|| format!("[{}]", kept.join(",")))
}
