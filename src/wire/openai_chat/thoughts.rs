//! What a client sends back of an answer's reasoning, put where it stood.

use std::collections::HashMap;

use super::history::unsuffixed;
use super::types::Detail;
use crate::wire::chat::{Origin, Part, Seal, Text, Thought};
use crate::wire::ids;
use crate::wire::text::Str;

/// Puts thoughts where they stood. The index of an entry of `reasoning_details` is the place of its block in the answer; what
/// has none goes first, and so does reasoning that is only words.
pub(super) fn with_thoughts<'a>(
    mut parts: Vec<Part<'a>>,
    details: Vec<Detail<'a>>,
    words: Option<Str<'a>>,
) -> Vec<Part<'a>> {
    let mut thoughts: Vec<(u64, Thought<'a>)> = Vec::new();
    let mut text_seals: Vec<(u64, Str<'a>)> = Vec::new();
    let mut call_seals: HashMap<Str<'a>, Seal<'a>> = HashMap::new();
    for mut detail in details {
        let (origin, index) = (detail.origin(), detail.index.0);
        let words = detail.words();
        let seal = |data| Seal { origin, data };
        match (detail.data.0.filter(|data| !data.is_empty()), detail.id.0) {
            (Some(data), id) if origin == Origin::Gemini => {
                match id.filter(|id| !id.is_empty()) {
                    Some(id) => {
                        call_seals.entry(ids::restore(unsuffixed(id).0)).or_insert(seal(data));
                    }
                    None => text_seals.push((index.unwrap_or(u64::MAX), data)),
                }
                continue;
            }
            (Some(data), _) => {
                let thought = Thought { text: Str::default(), seal: Some(seal(data)), redacted: true };
                thoughts.push((index.unwrap_or(0), thought));
                continue;
            }
            (None, _) => {}
        }
        let signature = detail.signature.0.filter(|signature| !signature.is_empty()).map(seal);
        if words.is_none() && signature.is_none() {
            continue;
        }
        // A stream's pieces come back as they came.
        match thoughts.last_mut() {
            Some((last, thought)) if index == Some(*last) && thought.seal.is_none() && !thought.redacted => {
                if let Some(words) = words {
                    let mut text = std::mem::take(&mut thought.text).into_owned();
                    text.push_str(&words);
                    thought.text = text.into();
                }
                thought.seal = signature;
            }
            _ => {
                let thought = Thought { text: words.unwrap_or_default(), seal: signature, redacted: false };
                thoughts.push((index.unwrap_or(0), thought));
            }
        }
    }
    if !call_seals.is_empty() {
        for part in &mut parts {
            if let Part::Call(call) = part
                && call.seal.is_none()
            {
                call.seal = call_seals.remove(&call.id);
            }
        }
    }
    thoughts.sort_by_key(|(index, _)| *index);
    let mut out = Vec::with_capacity(parts.len() + thoughts.len() + 1);
    if let Some(text) = words.filter(|_| thoughts.iter().all(|(_, thought)| thought.text.is_empty())) {
        out.push(Part::Thought(Thought { text, ..Thought::default() }));
    }
    // Words that nobody signed have no entry, and so no place that was counted.
    let uncounted = out.len();
    let mut thoughts = thoughts.into_iter().peekable();
    let mut seals = text_seals.into_iter().peekable();
    for mut part in parts {
        while let Some((_, thought)) = thoughts.next_if(|(index, _)| *index <= (out.len() - uncounted) as u64) {
            out.push(Part::Thought(thought));
        }
        if let Part::Text(text) = &mut part
            && text.seal.is_none()
        {
            let seal = seals.next_if(|(index, _)| *index <= (out.len() - uncounted) as u64 || *index == u64::MAX);
            text.seal = seal.map(|(_, data)| Seal { origin: Origin::Gemini, data });
        } else {
            while let Some((_, data)) = seals.next_if(|(index, _)| *index <= (out.len() - uncounted) as u64) {
                out.push(sealed(data));
            }
        }
        out.push(part);
    }
    out.extend(thoughts.map(|(_, thought)| Part::Thought(thought)));
    out.extend(seals.map(|(_, data)| sealed(data)));
    out
}

/// A signature of its own, on a part without text.
fn sealed(data: Str<'_>) -> Part<'_> {
    let seal = Some(Seal { origin: Origin::Gemini, data });
    Part::Text(Text { text: Str::default(), cache: None, seal })
}
