//! Streamed answers: what passthrough reads of each event.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{error, response};
use crate::wire::pipe::Sign;
use crate::wire::splice::span_in;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads one event. Its `event` line names it; a server that leaves that out is read by the data's `type`.
pub(in crate::wire) fn read(name: Option<&[u8]>, data: &[u8]) -> Sign {
    let kind = match name {
        Some(name) => name.to_vec(),
        None => kind_in(data),
    };
    match kind.as_slice() {
        b"content_block_delta" | b"content_block_start" | b"content_block_stop" => {
            Sign { content: true, ..Sign::default() }
        }
        b"message_start" => message_start(data),
        b"message_delta" => Sign { content: true, finished: true, usage: usage_in(data), ..Sign::default() },
        b"message_stop" => Sign { content: true, last: true, ..Sign::default() },
        b"error" => Sign { failure: Some(error::decode_event(data)), ..Sign::default() },
        _ => Sign::default(),
    }
}

fn kind_in(data: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: Option<String>,
    }
    serde_json::from_slice::<Kind>(data).ok().and_then(|kind| kind.r#type).unwrap_or_default().into_bytes()
}

fn message_start(data: &[u8]) -> Sign {
    let Some((text, message)) = std::str::from_utf8(data).ok().and_then(|text| {
        let body = serde_json::from_str::<Body<'_>>(text).ok()?;
        Some((text, serde_json::from_str::<Message<'_>>(body.message?.get()).ok()?))
    }) else {
        return Sign::default();
    };
    Sign {
        usage: message.usage.map(|usage| response::usage(usage.get())).unwrap_or_default(),
        model: message.model.map(|model| span_in(text, model.get())),
        ..Sign::default()
    }
}

fn usage_in(data: &[u8]) -> crate::wire::Usage {
    serde_json::from_slice::<Body<'_>>(data)
        .ok()
        .and_then(|body| body.usage)
        .map(|usage| response::usage(usage.get()))
        .unwrap_or_default()
}
