//! What passthrough reads of answers, whole and streamed.
//!
//! After the commit point an event is parsed only when it contains a marker; within JSON strings a quote is escaped, so text
//! that a model writes cannot look like one.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::{error, types};
use crate::wire::envelope::Fields;
use crate::wire::fields::fields;
use crate::wire::ir::Usage;
use crate::wire::lax::Lax;
use crate::wire::pipe::Sign;
use crate::wire::reply::Seen;
use crate::wire::splice::span_in;

/// Reads a body.
pub(in crate::wire) fn whole(body: &[u8]) -> Seen {
    Seen::of(body, |body| body.choices.is_some(), usage_of)
}

/// Reads a usage object. `prompt_tokens` includes what the cache served, so that is taken off.
pub(super) fn usage_of(text: &str) -> Usage {
    let usage = serde_json::from_str::<Lax<types::Usage>>(text).ok().and_then(|usage| usage.0);
    usage.map(|usage| usage.counts()).unwrap_or_default()
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""usage""#));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""error""#));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""finish_reason""#));

#[derive(Default)]
struct Chunk<'a> {
    choices: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
}
fields!(Chunk<'a> { choices, usage, error, model });

#[derive(Default)]
struct Choice<'a> {
    delta: Option<&'a RawValue>,
    finish_reason: Option<&'a RawValue>,
}
fields!(Choice<'a> { delta, finish_reason });

/// Reads one event. `open` until content was seen: then every event is parsed; `model` to have the model's place.
pub(in crate::wire) fn event(name: Option<&[u8]>, data: &[u8], open: bool, model: bool) -> Sign {
    if data.trim_ascii() == b"[DONE]" {
        return Sign { last: true, content: true, ..Sign::default() };
    }
    let wanted = open
        || model
        || name == Some(b"error")
        || set(&USAGE, data)
        || set(&FINISH, data)
        || ERROR.find(data).is_some();
    if !wanted {
        return Sign::default();
    }
    let Ok(text) = std::str::from_utf8(data) else { return Sign::default() };
    let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(text) else { return Sign::default() };
    if let Some(failure) = chunk.error.filter(|error| error.get() != "null") {
        let status = error::status_in(data).unwrap_or(502);
        let mut failure = error::decode_value(status, failure.get());
        failure.body = Some(bytes::Bytes::copy_from_slice(data));
        return Sign { failure: Some(failure), ..Sign::default() };
    }
    // A type that we do not expect is not our business: the event goes on as it is.
    let choices: Vec<Choice<'_>> =
        chunk.choices.and_then(|choices| serde_json::from_str(choices.get()).ok()).unwrap_or_default();
    let finished = choices.iter().any(|choice| choice.finish_reason.is_some_and(|reason| reason.get() != "null"));
    let usage = chunk.usage.filter(|usage| usage.get().starts_with('{'));
    Sign {
        content: open && (finished || choices.iter().any(|choice| choice.delta.is_some_and(says_something))),
        finished,
        only_usage: usage.is_some() && chunk.choices.is_none_or(|choices| empty(choices.get())),
        usage: usage.map(|usage| usage_of(usage.get())).unwrap_or_default(),
        counts: usage.map(|usage| span_in(text, usage.get())),
        model: chunk.model.map(|model| span_in(text, model.get())),
        ..Sign::default()
    }
}

/// Whether a marker stands in `data` with a value that is not `null`: most chunks carry these fields empty.
fn set(marker: &Finder<'_>, data: &[u8]) -> bool {
    let Some(at) = marker.find(data) else { return false };
    let after = data.get(at + marker.needle().len()..).unwrap_or_default().trim_ascii_start();
    let value = after.strip_prefix(b":").unwrap_or(after).trim_ascii_start();
    !value.starts_with(b"null")
}

fn empty(array: &str) -> bool {
    array == "null" || array.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(']'))
}

/// Whether a delta holds content: anything but the role, `null`, and empty text or lists.
fn says_something(delta: &RawValue) -> bool {
    serde_json::from_str::<Fields<'_>>(delta.get()).is_ok_and(|fields| {
        fields.pairs().any(|(name, value)| name != "role" && value != "null" && value != "\"\"" && !empty(value))
    })
}
