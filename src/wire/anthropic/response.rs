//! Whole answers: what passthrough reads of them.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::ir::Usage;
use crate::wire::openai_chat::response::Seen;
use crate::wire::splice::span_in;

/// Reads a body, a message or a token count. One that cannot be read shows nothing; it is passed on all the same.
pub(in crate::wire) fn read(body: &[u8]) -> Seen {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        model: Option<&'a RawValue>,
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }

    let Ok(text) = std::str::from_utf8(body) else { return Seen::default() };
    let Ok(body) = serde_json::from_str::<Body<'_>>(text) else { return Seen::default() };
    Seen {
        error: body.error.is_some() && body.content.is_none(),
        model: body.model.map(|model| span_in(text, model.get())),
        usage: body.usage.map(|usage| self::usage(usage.get())).unwrap_or_default(),
    }
}

/// Reads a usage object. `input_tokens` leaves the cache out already.
pub(super) fn usage(text: &str) -> Usage {
    #[derive(Deserialize)]
    struct Raw {
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        cache_read_input_tokens: Option<u64>,
        cache_creation_input_tokens: Option<u64>,
        output_tokens_details: Option<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        thinking_tokens: Option<u64>,
    }

    let Ok(raw) = serde_json::from_str::<Raw>(text) else { return Usage::default() };
    Usage {
        input: raw.input_tokens,
        output: raw.output_tokens,
        cache_read: raw.cache_read_input_tokens,
        cache_write: raw.cache_creation_input_tokens,
        reasoning: raw.output_tokens_details.and_then(|details| details.thinking_tokens),
    }
}
