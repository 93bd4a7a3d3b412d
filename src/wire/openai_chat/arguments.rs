//! Arguments of calls: JSON within a string, which models write and cut off.

use serde::de::IgnoredAny;

use crate::wire::text::{Json, Str};

/// The arguments as one JSON object: nothing is `{}`, and what is no object goes into `{"_raw":"…"}` (every other wire takes
/// objects only).
pub(super) fn object(text: Str<'_>) -> Json<'_> {
    let trimmed = text.trim();
    if is_object(trimmed) {
        return if trimmed.len() == text.len() {
            Json::trusted(text.into_cow())
        } else {
            Json::trusted(trimmed.to_owned())
        };
    }
    if trimmed.is_empty() || trimmed == "null" {
        return Json::trusted("{}");
    }
    // Some models escape twice.
    if let Ok(inner) = serde_json::from_str::<String>(trimmed)
        && is_object(inner.trim())
    {
        return Json::trusted(inner.trim().to_owned());
    }
    Json::wrapping("_raw", &text)
}

fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Follows arguments that come in pieces: where the object ends, so that the next block can begin.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    text: bool,
    escaped: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Empty,
    /// Within the object.
    Object,
    /// Behind it.
    Complete,
    /// It began with something else.
    Odd,
}

impl Scan {
    /// Takes a piece and gives the part of it that belongs to the object.
    pub(super) fn take<'t>(&mut self, piece: &'t str) -> &'t str {
        let mut start = 0;
        let mut at = 0;
        let bytes = piece.as_bytes();
        while let Some(byte) = bytes.get(at) {
            match self.state {
                State::Complete => return "",
                State::Odd => return piece.get(start..).unwrap_or_default(),
                State::Empty if byte.is_ascii_whitespace() => start = at + 1,
                State::Empty if *byte == b'{' => {
                    self.state = State::Object;
                    self.depth = 1;
                }
                State::Empty => {
                    self.state = State::Odd;
                    return piece.get(start..).unwrap_or_default();
                }
                State::Object => {
                    self.step(*byte);
                    if self.state == State::Complete {
                        return piece.get(start..=at).unwrap_or_default();
                    }
                }
            }
            at += 1;
        }
        piece.get(start..).unwrap_or_default()
    }

    fn step(&mut self, byte: u8) {
        if self.text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.text = true,
            b'{' => self.depth += 1,
            b'}' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.state = State::Complete;
                }
            }
            _ => {}
        }
    }

    /// The object is whole.
    pub(super) fn complete(&self) -> bool {
        self.state == State::Complete
    }

    /// It is no object.
    pub(super) fn odd(&self) -> bool {
        self.state == State::Odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w34_arguments_are_always_an_object() {
        for (text, want) in [
            ("", "{}"),
            ("  ", "{}"),
            ("null", "{}"),
            ("{}", "{}"),
            (r#" {"b": 1.0,"a":"ü"} "#, r#"{"b": 1.0,"a":"ü"}"#),
            (r#"{"a":"#, r#"{"_raw":"{\"a\":"}"#),
            ("[1]", r#"{"_raw":"[1]"}"#),
            ("plain \"words\"", r#"{"_raw":"plain \"words\""}"#),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            (r#"{"a":1}{"b":2}"#, r#"{"_raw":"{\"a\":1}{\"b\":2}"}"#),
        ] {
            assert_eq!(object(text.into()).get(), want, "{text}");
        }
    }

    #[test]
    fn the_end_of_an_object_is_found_however_it_is_cut() {
        for (text, taken, complete) in [
            (r#" {"a":"}\"{","b":{"c":[{}]}}"#, r#"{"a":"}\"{","b":{"c":[{}]}}"#, true),
            (r#"{"a":1} {"a":1}"#, r#"{"a":1}"#, true),
            (r#"{"a":"ü"#, r#"{"a":"ü"#, false),
            ("  ", "", false),
            (" [1] ", "[1] ", false),
        ] {
            for size in 1..=text.len() {
                let mut scan = Scan::default();
                let mut got = String::new();
                let mut rest = text;
                while !rest.is_empty() {
                    let mut end = size.min(rest.len());
                    while !rest.is_char_boundary(end) {
                        end += 1;
                    }
                    got.push_str(scan.take(&rest[..end]));
                    rest = &rest[end..];
                }
                assert_eq!((got.as_str(), scan.complete()), (taken, complete), "{text} by {size}");
            }
        }
    }
}
