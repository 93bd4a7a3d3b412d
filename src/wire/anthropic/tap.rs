//! What passthrough reads of answers, whole and streamed.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error;
use crate::wire::fields::{fields, read_json};
use crate::wire::ir::Usage;
use crate::wire::pipe::Sign;
use crate::wire::reply::Seen;
use crate::wire::splice::span_in;

/// Reads a body, a message or a token count.
pub(in crate::wire) fn whole(body: &[u8]) -> Seen {
    Seen::of(body, |body| body.content.is_some(), usage_of)
}

/// Reads a usage object. `input_tokens` leaves the cache out already.
pub(super) fn usage_of(text: &str) -> Usage {
    #[derive(Default)]
    struct Raw {
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        cache_read_input_tokens: Option<u64>,
        cache_creation_input_tokens: Option<u64>,
        cache_creation: Option<Written>,
        output_tokens_details: Option<Output>,
    }
    fields!(Raw {
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_creation_input_tokens,
        cache_creation,
        output_tokens_details,
    });
    #[derive(Default)]
    struct Written {
        ephemeral_1h_input_tokens: Option<u64>,
    }
    fields!(Written { ephemeral_1h_input_tokens });
    #[derive(Default)]
    struct Output {
        thinking_tokens: Option<u64>,
    }
    fields!(Output { thinking_tokens });

    let Ok(raw) = serde_json::from_str::<Raw>(text) else { return Usage::default() };
    // Servers that do not know for how long, as this one, write 0.
    let hour = raw.cache_creation.and_then(|written| written.ephemeral_1h_input_tokens).filter(|hour| *hour > 0);
    Usage {
        input: raw.input_tokens,
        output: raw.output_tokens,
        cache_read: raw.cache_read_input_tokens,
        cache_write: raw.cache_creation_input_tokens,
        cache_write_hour: hour,
        reasoning: raw.output_tokens_details.and_then(|details| details.thinking_tokens),
        ..Usage::default()
    }
}

#[derive(Default)]
struct Body<'a> {
    message: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
}
fields!(Body<'a> { message, usage });

#[derive(Default)]
struct Message<'a> {
    model: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
}
fields!(Message<'a> { model, usage });

/// Reads one event. Its `event` line names it; a server that leaves that out is read by the data's `type`.
pub(in crate::wire) fn event(name: Option<&[u8]>, data: &[u8]) -> Sign {
    let kind = name.map_or_else(|| Cow::Owned(kind_in(data)), Cow::Borrowed);
    match &*kind {
        b"content_block_delta" | b"content_block_start" | b"content_block_stop" => {
            Sign { content: true, ..Sign::default() }
        }
        b"message_start" => message_start(data),
        b"message_delta" => message_delta(data),
        b"message_stop" => Sign { content: true, last: true, ..Sign::default() },
        b"error" => Sign { failure: Some(error::decode_event(data)), ..Sign::default() },
        _ => Sign::default(),
    }
}

fn kind_in(data: &[u8]) -> Vec<u8> {
    #[derive(Default)]
    struct Kind {
        r#type: Option<String>,
    }
    fields!(Kind { r#type = "type" });
    read_json::<Kind>(data).ok().and_then(|kind| kind.r#type).unwrap_or_default().into_bytes()
}

fn message_start(data: &[u8]) -> Sign {
    let Some((text, message)) = std::str::from_utf8(data).ok().and_then(|text| {
        let body = serde_json::from_str::<Body<'_>>(text).ok()?;
        Some((text, serde_json::from_str::<Message<'_>>(body.message?.get()).ok()?))
    }) else {
        return Sign::default();
    };
    Sign {
        usage: message.usage.map(|usage| usage_of(usage.get())).unwrap_or_default(),
        model: message.model.map(|model| span_in(text, model.get())),
        ..Sign::default()
    }
}

fn message_delta(data: &[u8]) -> Sign {
    let done = Sign { content: true, finished: true, ..Sign::default() };
    let Some((text, usage)) = std::str::from_utf8(data).ok().and_then(|text| {
        let usage = serde_json::from_str::<Body<'_>>(text).ok()?.usage?;
        Some((text, usage.get()))
    }) else {
        return done;
    };
    let counts = Some(span_in(text, usage)).filter(|_| usage.starts_with('{'));
    Sign { usage: usage_of(usage), counts, ..done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cache_keeps_for_an_hour_is_told_apart() {
        let text = r#"{"input_tokens":2,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5},"output_tokens":1}"#;
        let want = Usage {
            input: Some(2),
            output: Some(1),
            cache_write: Some(9),
            cache_write_hour: Some(5),
            ..Usage::default()
        };
        assert_eq!(usage_of(text), want);
        assert_eq!(usage_of(&text.replace(r#"{"ephemeral_5m"#, r#"null,"x":{"ephemeral_5m"#)).cache_write_hour, None);
    }
}
