//! Thoughts of other models in a request that passes through: a conversation that began elsewhere and moves to an
//! OpenAI-compatible vendor.
//!
//! This gateway gives an `OpenAI` client such thoughts in fields that routers have made usual, and marks their entries. Most
//! vendors answer 400 to a field of a message that they do not know, so what bears the mark is what passthrough takes out. A body
//! without the mark is not even parsed.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::wire::envelope::{Envelope, Fields};
use crate::wire::profile::Profile;
use crate::wire::quoted;
use crate::wire::splice::Edit;

/// The mark: the `source` of an entry of `reasoning_details`.
pub(in crate::wire) const MARK: &str = "feathergate";

const DETAILS: &str = "reasoning_details";
const WORDS: &str = "reasoning_content";
/// Of a call, where Gemini's signature travels.
const OF_CALLS: &str = "extra_content";

/// The edit that takes them out of `messages`, if there are any.
pub(in crate::wire) fn foreign_thoughts(envelope: &Envelope<'_>, profile: &Profile) -> Option<Edit> {
    let messages = envelope.value("messages")?.get();
    if profile.reasoning_details || memmem::find(messages.as_bytes(), MARK.as_bytes()).is_none() {
        return None;
    }
    // A server that demands the words gets them: whose they are does not matter to it.
    let without: &[&str] = if profile.reasoning_back { &[DETAILS] } else { &[DETAILS, WORDS] };
    let kept = list(messages, |message| {
        marked(message).then_some(())?;
        object(message, without, |name, value| {
            if name == "tool_calls" { list(value, |call| object(call, &[OF_CALLS], |_, _| None)) } else { None }
        })
    })?;
    Some(Edit::new(envelope.span_of("messages"), kept))
}

/// Whether this gateway wrote the thoughts of this message.
fn marked(message: &str) -> bool {
    fn named<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        serde_json::from_str::<Fields<'a>>(text).ok()?.find(name)
    }
    memmem::find(message.as_bytes(), MARK.as_bytes()).is_some()
        && named(message, DETAILS).is_some_and(|details| {
            let entries: Vec<&RawValue> = serde_json::from_str(details).unwrap_or_default();
            entries.iter().any(|entry| named(entry.get(), "source").is_some_and(|it| it.trim_matches('"') == MARK))
        })
}

/// The array with some of its entries written anew; `None` if none is.
fn list(text: &str, anew: impl Fn(&str) -> Option<String>) -> Option<String> {
    let entries: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    for entry in entries {
        out.push(if out.is_empty() { '[' } else { ',' });
        match anew(entry.get()) {
            Some(new) => {
                changed = true;
                out.push_str(&new);
            }
            None => out.push_str(entry.get()),
        }
    }
    out.push(']');
    changed.then_some(out)
}

/// The object without these fields, and with some values written anew; `None` if nothing changes.
fn object(text: &str, without: &[&str], anew: impl Fn(&str, &str) -> Option<String>) -> Option<String> {
    let fields: Fields<'_> = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    for (name, value) in fields.pairs() {
        if without.contains(&name) {
            changed = true;
            continue;
        }
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&quoted(name));
        out.push(':');
        match anew(name, value) {
            Some(new) => {
                changed = true;
                out.push_str(&new);
            }
            None => out.push_str(value),
        }
    }
    if out.is_empty() {
        out.push('{');
    }
    out.push('}');
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Wire, peek, splice};

    #[test]
    fn what_this_gateway_wrote_is_taken_out_and_nothing_else() {
        let ours = r#""reasoning_details":[{"type":"reasoning.text","source":"feathergate"}]"#;
        for (messages, kept) in [
            (
                format!(r#"[ {{"role":"user","content":"a  b"}},{{"reasoning_content":"x",{ours}, "content":"y"}}]"#),
                Some(r#"[{"role":"user","content":"a  b"},{"content":"y"}]"#),
            ),
            (
                format!(
                    r#"[{{"tool_calls":[{{"id":"1","extra_content":{{"google":{{}}}},"n":1.0}},{{ "id":"2"}}],{ours}}}]"#
                ),
                Some(r#"[{"tool_calls":[{"id":"1","n":1.0},{ "id":"2"}]}]"#),
            ),
            // Another router's, a word in a text, something that is no message.
            (r#"[{"reasoning_details":[{"source":"x"}],"content":"feathergate"}]"#.to_owned(), None),
            (r#"[{"reasoning_content":"feathergate"}]"#.to_owned(), None),
            (r#"["feathergate",1,null]"#.to_owned(), None),
        ] {
            let body = format!(r#"{{"model":"m","messages":{messages},"n":1}}"#);
            let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
            let edited = |vendor: &str, model: &str| {
                let profile = Profile::find(Wire::OpenAiChat, vendor, model);
                let edit = foreign_thoughts(&envelope, &profile)?;
                let body = splice::splice(&bytes::Bytes::from(body.clone()), vec![edit]);
                Some(String::from_utf8_lossy(&body).into_owned())
            };
            let want = kept.map(|kept| format!(r#"{{"model":"m","messages":{kept},"n":1}}"#));
            assert_eq!(edited("openai", "gpt-5.5"), want, "{messages}");
            assert_eq!(edited("openrouter", "x/y"), None, "a router takes them");
            let words = messages.contains(r#""reasoning_content":"x""#);
            let kept = edited("deepseek", "deepseek-v4-flash").is_some_and(|body| body.contains("reasoning_content"));
            assert_eq!(words, kept, "DeepSeek wants the words back");
        }
    }
}
