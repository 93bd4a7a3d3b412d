//! Replacing spans of a body and leaving every other byte alone.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::quoted;

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    span: Range<usize>,
    with: String,
}

impl Edit {
    /// Puts `with` where `span` is. An empty span inserts.
    #[must_use]
    pub fn new(span: Range<usize>, with: String) -> Self {
        Self { span, with }
    }

    /// The same edit where the body begins `offset` bytes earlier.
    pub(super) fn moved(self, offset: usize) -> Self {
        Self { span: self.span.start + offset..self.span.end + offset, ..self }
    }
}

/// Applies `edits`, whose spans must not overlap, with one copy of the body; with no edits it is the same bytes.
#[must_use]
pub fn splice(body: &Bytes, mut edits: Vec<Edit>) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_unstable_by_key(|edit| edit.span.start);
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut done = 0;
    for edit in &edits {
        debug_assert!(edit.span.start >= done, "spans overlap");
        out.extend_from_slice(body.get(done..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.with.as_bytes());
        done = edit.span.end.max(done);
    }
    out.extend_from_slice(body.get(done..).unwrap_or_default());
    Bytes::from(out)
}

/// The place of `part` within `whole`, of which it must be a slice.
pub(crate) fn span_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    debug_assert!(start + part.len() <= whole.len(), "not a slice of it");
    start..start + part.len()
}

/// Adds `words` to the end of `error.message`, where all the dialects have it, in the body of an error. `None` where it has none.
#[must_use]
pub fn remark(body: &Bytes, words: &str) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Error<'a>,
    }
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        message: &'a RawValue,
    }

    let text = std::str::from_utf8(body).ok()?;
    let message = serde_json::from_str::<Body<'_>>(text).ok()?.error.message.get();
    let end = span_in(text, message.strip_suffix('"')?).end;
    let quoted = quoted(words);
    let words = quoted.strip_prefix('"')?.strip_suffix('"')?;
    Some(splice(body, vec![Edit::new(end..end, words.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_move_nothing_else() {
        let body = Bytes::from_static(b"{ \"model\" : \"a\",\t\"x\":1.0}");
        let cases: [(Vec<Edit>, &str); 4] = [
            (vec![], "{ \"model\" : \"a\",\t\"x\":1.0}"),
            (vec![Edit::new(12..15, "\"longer\"".into())], "{ \"model\" : \"longer\",\t\"x\":1.0}"),
            (vec![Edit::new(1..1, "\"s\":1,".into())], "{\"s\":1, \"model\" : \"a\",\t\"x\":1.0}"),
            (
                vec![Edit::new(12..15, "\"b\"".into()), Edit::new(1..1, "\"s\":1,".into())],
                "{\"s\":1, \"model\" : \"b\",\t\"x\":1.0}",
            ),
        ];
        for (edits, want) in cases {
            assert_eq!(splice(&body, edits), want);
        }
    }

    #[test]
    fn errors_get_words_at_their_end() {
        for (body, want) in [
            (
                r#"{"error" : {"type":"a", "message": "no\"\u00e4"},"x":1.0}"#,
                r#"{"error" : {"type":"a", "message": "no\"\u00e4 (\"2\")"},"x":1.0}"#,
            ),
            (r#"{"type":"error","error":{"message":""}}"#, r#"{"type":"error","error":{"message":" (\"2\")"}}"#),
            (r#"{"error":{"message":null}}"#, ""),
            (r#"{"error":"no"}"#, ""),
            ("<html>", ""),
        ] {
            let told = remark(&Bytes::from(body), r#" ("2")"#).unwrap_or_default();
            assert_eq!(told, want, "{body}");
        }
    }

    #[test]
    fn no_edit_is_the_same_memory() {
        let body = Bytes::from(vec![b'x'; 100]);
        assert_eq!(splice(&body, vec![]).as_ptr(), body.as_ptr());
    }
}
