//! Whole answers.

use super::reader::Reader;
use super::types::Loose;
use crate::wire::event::Sink;
use crate::wire::fields::{fields, read_json};

/// Reads a `GenerateContentResponse`, or the array of them that a stream without `alt=sse` is.
pub(super) fn decode(body: &[u8], sink: &mut dyn Sink) {
    let mut reader = Reader::default();
    reader.read(body, sink);
    reader.end(!body.trim_ascii_start().starts_with(b"["), sink);
}

/// Reads the answer to `countTokens`.
pub(super) fn counted(body: &[u8]) -> Option<u64> {
    #[derive(Default)]
    struct Counted<'a> {
        total_tokens: Loose<'a>,
    }
    fields!(Counted<'a> { total_tokens = "totalTokens" | "total_tokens" });

    read_json::<Counted<'_>>(body).ok()?.total_tokens.count()
}
