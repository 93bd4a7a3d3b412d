//! Replacing spans of a body and leaving every other byte alone.

use std::ops::Range;

use bytes::Bytes;

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
    fn no_edit_is_the_same_memory() {
        let body = Bytes::from(vec![b'x'; 100]);
        assert_eq!(splice(&body, vec![]).as_ptr(), body.as_ptr());
    }
}
