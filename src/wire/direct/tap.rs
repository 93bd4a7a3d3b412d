//! What is read of answers that pass through: whether they are errors, whether a stream is at its end, and usage.
//!
//! Vendors serve the same paths with different events, so events are told apart by their own form and not by the path. Of a form
//! that is not known nothing is demanded: there the proper end of the transport is the end.

use serde_json::value::RawValue;

use crate::wire::fields::{fields, read_json};
use crate::wire::ir::{Failure, Usage};
use crate::wire::lax::{Lax, objects};
use crate::wire::openai_chat::error;
use crate::wire::pipe::Sign;
use crate::wire::reply::Seen;
use crate::wire::text::Str;

/// The last events of audio and images, each ended by the transport: several images may come in one stream.
const FINISHED: [&str; 4] =
    ["speech.audio.done", "transcript.text.done", "image_generation.completed", "image_edit.completed"];
/// What begins the names of events whose end is known.
const KNOWN: [&str; 5] = ["response.", "speech.", "transcript.", "image_generation.", "image_edit."];

/// A whole answer.
#[derive(Default)]
struct Body<'a> {
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    choices: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
}
fields!(Body<'a> { usage, error, object, data, choices, status });

impl<'a> Body<'a> {
    /// The error of a response that failed, which its status does not say.
    fn failed(&self) -> Option<&'a RawValue> {
        let failed = self.status.is_some_and(|status| status.get() == r#""failed""#);
        self.error.filter(|error| failed && error.get().starts_with('{'))
    }
}

/// Reads a body. One that is no JSON shows nothing, but for JSON that ends early.
pub(in crate::wire) fn whole(body: &[u8]) -> Seen {
    let object = body.trim_ascii_start().starts_with(b"{");
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        // It may end within a character.
        Err(error) => return Seen { cut: object && error.error_len().is_none(), ..Seen::default() },
    };
    let body = match serde_json::from_str::<Body<'_>>(text) {
        Ok(body) => body,
        Err(error) => return Seen { cut: object && error.is_eof(), ..Seen::default() },
    };
    let answers = body.object.or(body.data).or(body.choices).is_some() && body.failed().is_none();
    Seen {
        // An answer may hold an error as well.
        error: body.error.is_some() && !answers,
        cut: false,
        model: None,
        usage: body.usage.map(|usage| usage_of(usage.get())).unwrap_or_default(),
    }
}

/// The failure of a response that failed, as its stream would tell of it.
pub(in crate::wire) fn failed(body: &[u8]) -> Option<Failure> {
    read_json::<Body<'_>>(body).ok()?.failed().map(|error| within(error.get()))
}

/// Reads a usage object: of completions and embeddings (`prompt_tokens`), or of the newer endpoints (`input_tokens`, which
/// includes what the cache served).
fn usage_of(text: &str) -> Usage {
    #[derive(Default)]
    struct Raw {
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        input_tokens_details: Option<Input>,
        output_tokens_details: Option<Output>,
    }
    fields!(Raw {
        input_tokens = "input_tokens" | "prompt_tokens", output_tokens = "output_tokens" | "completion_tokens",
        // Transcriptions say `input_token_details`.
        input_tokens_details = "input_tokens_details" | "prompt_tokens_details" | "input_token_details",
        output_tokens_details = "output_tokens_details" | "completion_tokens_details",
    });
    #[derive(Default)]
    struct Input {
        cached: Option<u64>,
        written: Option<u64>,
        audio: Option<u64>,
    }
    fields!(Input { cached = "cached_tokens", written = "cache_write_tokens", audio = "audio_tokens" });
    #[derive(Default)]
    struct Output {
        reasoning: Option<u64>,
        audio: Option<u64>,
    }
    fields!(Output { reasoning = "reasoning_tokens", audio = "audio_tokens" });

    let Ok(raw) = serde_json::from_str::<Raw>(text) else { return Usage::default() };
    let details = raw.input_tokens_details.unwrap_or_default();
    let answered = raw.output_tokens_details.unwrap_or_default();
    let cached = details.cached.unwrap_or(0).saturating_add(details.written.unwrap_or(0));
    Usage {
        input: raw.input_tokens.map(|input| input.saturating_sub(cached)),
        output: raw.output_tokens,
        cache_read: details.cached,
        cache_write: details.written,
        reasoning: answered.reasoning,
        audio_input: details.audio,
        audio_output: answered.audio,
        ..Usage::default()
    }
}

#[derive(Default)]
struct Event<'a> {
    r#type: Option<&'a RawValue>,
    choices: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    response: Option<&'a RawValue>,
}
fields!(Event<'a> { r#type = "type", choices, usage, error, response });

#[derive(Default)]
struct Response<'a> {
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}
fields!(Response<'a> { usage, error });

#[derive(Default)]
struct Choice<'a> {
    finish_reason: Option<&'a RawValue>,
}
fields!(Choice<'a> { finish_reason });

/// Reads one event. `open` until content was seen.
pub(in crate::wire) fn event(name: Option<&[u8]>, data: &[u8], open: bool) -> Sign {
    if data.trim_ascii() == b"[DONE]" {
        return Sign { last: true, content: true, ..Sign::default() };
    }
    // Most events of a response are such pieces, and some are large.
    if !open && name.is_some_and(|name| name.ends_with(b".delta")) {
        return Sign::default();
    }
    let Ok(event) = read_json::<Event<'_>>(data) else {
        return Sign { content: true, finished: true, ..Sign::default() };
    };
    let usage = event.usage.map(|usage| usage_of(usage.get())).unwrap_or_default();
    let kind = event.r#type.and_then(|kind| kind.get().strip_prefix('"')?.strip_suffix('"'));
    let kind = kind.or_else(|| std::str::from_utf8(name?).ok()).unwrap_or_default();
    if kind == "error" || event.error.is_some() {
        return Sign { failure: Some(failure(data)), ..Sign::default() };
    }
    match kind {
        "response.completed" | "response.incomplete" | "response.cancelled" | "response.failed" => {
            let response = event.response.and_then(|text| serde_json::from_str::<Response<'_>>(text.get()).ok());
            let (used, error) = response.map_or((None, None), |response| (response.usage, response.error));
            let usage = used.map(|usage| usage_of(usage.get())).unwrap_or_default();
            if kind != "response.failed" {
                return Sign { content: true, last: true, usage, ..Sign::default() };
            }
            // Without words of its own it is followed by an `error` event that has them.
            let failure = error.map(|error| within(error.get()));
            Sign { usage, failure, ..Sign::default() }
        }
        "response.created" | "response.queued" | "response.in_progress" => Sign::default(),
        _ if FINISHED.contains(&kind) => Sign { content: true, finished: true, usage, ..Sign::default() },
        _ if KNOWN.iter().any(|known| kind.starts_with(known)) => Sign { content: true, usage, ..Sign::default() },
        _ => {
            let choices = event.choices.and_then(|choices| serde_json::from_str::<Vec<Choice<'_>>>(choices.get()).ok());
            let only_usage = event.usage.is_some() && choices.as_ref().is_some_and(Vec::is_empty);
            let finished = choices.is_none_or(|choices| choices.iter().any(|choice| choice.finish_reason.is_some()));
            Sign { content: true, finished, only_usage, usage, ..Sign::default() }
        }
    }
}

/// The failure that the `error` of a response tells of.
fn within(error: &str) -> Failure {
    failure(&[b"{\"error\":", error.as_bytes(), b"}"].concat())
}

/// The codes by which a response tells that the request was at fault (OpenAI API reference, `ResponseErrorCode`, 2026-11).
const REFUSED: [&str; 15] = [
    "invalid_prompt",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "invalid_image_mode",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_content_policy_violation",
    "image_file_too_large",
    "image_file_not_found",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
];

/// The failure that an event tells of: its fields are at the top, or within `error`.
fn failure(data: &[u8]) -> Failure {
    #[derive(Default)]
    struct Around<'a> {
        error: Lax<Coded<'a>>,
    }
    fields!(Around<'a> { error });
    #[derive(Default)]
    struct Coded<'a> {
        code: Lax<Str<'a>>,
    }
    fields!(Coded<'a> { code });
    objects!(Coded<'a>);

    let body = bytes::Bytes::copy_from_slice(data);
    let nested = read_json::<Event<'_>>(data).is_ok_and(|event| event.error.is_some());
    let wrapped = if nested { body.clone() } else { [b"{\"error\":", data, b"}"].concat().into() };
    let refused = || {
        let code = read_json::<Around<'_>>(&wrapped).ok()?.error.0?.code.0?;
        REFUSED.contains(&code.as_str()).then_some(400)
    };
    let status = error::status_in(&wrapped).or_else(refused);
    let mut failure = error::decode(status.unwrap_or(502), &body);
    // As the body of an answer it would have another form.
    failure.body = nested.then_some(body);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailureKind;

    #[test]
    fn what_events_say() {
        /// The event's name, its data, and what it means: content, the last event, finished.
        type Case<'a> = (Option<&'a str>, &'a str, (bool, bool, bool));
        let cases: [Case<'_>; 16] = [
            (None, "[DONE]", (true, true, false)),
            (None, r#"{"choices":[{"text":"a","finish_reason":null}]}"#, (true, false, false)),
            (None, r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#, (true, false, true)),
            (None, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, (true, false, false)),
            (None, r#"{"type":"response.created","response":{"error":null}}"#, (false, false, false)),
            (None, r#"{"type":"response.output_text.delta","delta":"[DONE]"}"#, (true, false, false)),
            (None, r#"{"type":"response.output_text.done"}"#, (true, false, false)),
            (None, r#"{"type":"response.completed","response":{}}"#, (true, true, false)),
            (Some("response.incomplete"), r#"{"response":{"usage":null}}"#, (true, true, false)),
            (None, r#"{"type":"response.failed","response":{"error":null}}"#, (false, false, false)),
            (None, r#"{"type":"speech.audio.delta","audio":"AAA="}"#, (true, false, false)),
            (None, r#"{"type":"speech.audio.done"}"#, (true, false, true)),
            (None, r#"{"type":"transcript.text.done","text":"x"}"#, (true, false, true)),
            (None, r#"{"type":"image_generation.partial_image"}"#, (true, false, false)),
            (None, r#"{"type":"something.new"}"#, (true, false, true)),
            (None, "no JSON", (true, false, true)),
        ];
        for (name, data, want) in cases {
            let sign = event(name.map(str::as_bytes), data.as_bytes(), true);
            assert_eq!((sign.content, sign.last, sign.finished), want, "{data}");
            assert_eq!(sign.failure, None, "{data}");
        }
    }

    #[test]
    fn errors_in_events() {
        for (data, status, message) in [
            (r#"{"error":{"message":"busy","type":"server_error"}}"#, 500, "busy"),
            (
                r#"{"type":"error","code":"rate_limit_exceeded","message":"slow","param":null,"sequence_number":3}"#,
                429,
                "slow",
            ),
            (
                r#"{"type":"error","error":{"code":"rate_limit_exceeded","message":"slow"},"sequence_number":3}"#,
                429,
                "slow",
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"oops"}}}"#,
                500,
                "oops",
            ),
            (r#"{"error":"short"}"#, 502, "short"),
        ] {
            let failure = event(None, data.as_bytes(), true).failure.unwrap();
            assert_eq!((failure.status, failure.message.as_str()), (status, message), "{data}");
        }
        let failure =
            event(Some(b"error"), br#"{"message":"slow","code":"rate_limit_exceeded"}"#, false).failure.unwrap();
        assert_eq!(failure.kind, FailureKind::RateLimited);
    }

    #[test]
    fn kinds_of_tokens_are_told_apart() {
        for (text, want) in [
            (
                r#"{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":45}"#,
                Usage { input: Some(14), output: Some(45), audio_input: Some(10), ..Usage::default() },
            ),
            (
                r#"{"input_tokens":14,"input_tokens_details":{"cached_tokens":3,"cache_write_tokens":5},"output_tokens":1}"#,
                Usage {
                    input: Some(6),
                    output: Some(1),
                    cache_read: Some(3),
                    cache_write: Some(5),
                    ..Usage::default()
                },
            ),
        ] {
            assert_eq!(usage_of(text), want, "{text}");
        }
    }

    #[test]
    fn bodies_and_their_usage() {
        let cases = [
            (
                r#"{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
                false,
                (Some(8), None, None),
            ),
            (
                r#"{"object":"response","error":null,"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2}}}"#,
                false,
                (Some(5), Some(5), Some(4)),
            ),
            (r#"{"object":"response","status":"failed","error":{"code":"server_error"}}"#, true, (None, None, None)),
            (r#"{"object":"response","status":"failed","error":null}"#, false, (None, None, None)),
            (r#"{"object":"response","status":"incomplete","error":{"code":"x"}}"#, false, (None, None, None)),
            (
                r#"{"object":"response","output":[{"status":"failed"}],"status":"completed","error":null}"#,
                false,
                (None, None, None),
            ),
            (r#"{"error":{"message":"no credits","code":402}}"#, true, (None, None, None)),
            (r#"{"text":"hello","usage":{"type":"duration","seconds":3}}"#, false, (None, None, None)),
            ("1\n00:00:00,000 --> 00:00:01,000\nHello", false, (None, None, None)),
        ];
        for (body, error, usage) in cases {
            let seen = whole(body.as_bytes());
            assert_eq!(seen.error, error, "{body}");
            assert_eq!((seen.usage.input, seen.usage.output, seen.usage.cache_read), usage, "{body}");
            assert!(!seen.cut, "{body}");
        }
    }

    #[test]
    fn a_response_that_failed_fails_as_its_stream_does() {
        for (error, status, kind) in [
            (r#"{"code":"server_error","message":"oops"}"#, 500, FailureKind::Server),
            (r#"{"code":"rate_limit_exceeded","message":"oops"}"#, 429, FailureKind::RateLimited),
            (r#"{"code":"vector_store_timeout","message":"oops"}"#, 502, FailureKind::Server),
            // The request is at fault, wherever it goes.
            (r#"{"code":"invalid_prompt","message":"oops"}"#, 400, FailureKind::BadRequest),
            (r#"{"code":"failed_to_download_image","message":"oops"}"#, 400, FailureKind::BadRequest),
            (r#"{"code":"image_content_policy_violation","message":"oops"}"#, 400, FailureKind::Filtered),
        ] {
            let body = format!(r#"{{"object":"response","error":{error},"status":"failed","output":[]}}"#);
            let whole = failed(body.as_bytes()).unwrap();
            let streamed = format!(r#"{{"type":"response.failed","response":{body}}}"#);
            assert_eq!(event(None, streamed.as_bytes(), true).failure.as_ref(), Some(&whole), "{error}");
            assert_eq!((whole.status, whole.kind, whole.message.as_str()), (status, kind, "oops"), "{error}");
            assert_eq!(whole.body.as_deref(), Some(format!(r#"{{"error":{error}}}"#).as_bytes()));
        }
    }

    #[test]
    fn json_that_ends_early_is_cut() {
        let body = r#" {"object":"response","output":[{"text":"{é"}],"usage":{"input_tokens":3}} "#.as_bytes();
        for end in 2..body.len() {
            let want = end < body.len() - 1;
            assert_eq!(whole(&body[..end]).cut, want, "{end}");
        }
        for text in ["[Music", "\"Hello", "ID3", "1\n00:00", "{no JSON", ""] {
            assert!(!whole(text.as_bytes()).cut, "{text}");
        }
    }
}
