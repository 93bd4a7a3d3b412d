//! Errors, both ways.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::wire::fields::read_json;
use crate::wire::ir::{ApiError, Failure, FailureKind};

/// Types and the statuses that they stand for (Anthropic API reference, "errors", 2026-11).
const TYPES: [(&str, u16); 10] = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("timeout_error", 504),
    ("overloaded_error", 529),
    ("api_error", 500),
];

/// Writes `{"type":"error","error":{type,message},"request_id"}` (Anthropic API reference, "errors", 2026-11).
pub(in crate::wire) fn encode(error: &ApiError<'_>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        error: Inner<'a>,
        request_id: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        r#type: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Details<'a>>,
    }
    #[derive(Serialize)]
    struct Details<'a> {
        error_code: &'a str,
    }

    let kind = match TYPES.iter().find(|(_, status)| *status == error.status) {
        Some((kind, _)) => kind,
        None if error.status == 408 => "timeout_error",
        None if (400..500).contains(&error.status) => "invalid_request_error",
        None => "api_error",
    };
    // Of codes this wire has those of its threads only (SDK 2.11, 2026-11).
    let details = error.code.filter(|code| code.starts_with("thread_")).map(|error_code| Details { error_code });
    let error_object = Inner { r#type: kind, message: error.message, details };
    let body = Body { r#type: "error", error: error_object, request_id: error.request_id };
    // Serialising strings into memory cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// An error body, as far as it could be read.
#[derive(Default)]
struct Read {
    /// The body is an error object of this wire.
    own: bool,
    kind: String,
    status: Option<u16>,
    message: Option<String>,
}

/// Reads `{"type":"error","error":{…}}` and what hosts of the same models and proxies send instead: Google's object, alone or
/// in an array; Amazon's `{"message"}`; a string.
fn read(body: &[u8]) -> Read {
    let Ok(value) = read_json::<Value>(body) else { return Read::default() };
    let value = value.get(0).unwrap_or(&value);
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(error) = value.get("error").filter(|error| !error.is_null()) else {
        let message = ["message", "Message", "detail"].into_iter().find_map(|name| text(value, name));
        return Read { message, ..Read::default() };
    };
    let status = ["code", "status_code"].into_iter().find_map(|name| error.get(name).and_then(Value::as_u64));
    let kind = text(error, "type").unwrap_or_default();
    let message = text(error, "message").or_else(|| error.as_str().map(str::to_owned));
    Read {
        own: !kind.is_empty() && message.is_some(),
        kind,
        status: status.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code)),
        message,
    }
}

/// Reads an upstream's error body.
pub(in crate::wire) fn decode(status: u16, body: &Bytes) -> Failure {
    failure(status, &read(body), body)
}

/// Reads the data of an `error` event, or an error object that came with a success status.
pub(in crate::wire) fn decode_event(data: &[u8]) -> Failure {
    let read = read(data);
    let typed = TYPES.iter().find(|(kind, _)| *kind == read.kind).map(|(_, status)| *status);
    failure(typed.or(read.status).unwrap_or(500), &read, &Bytes::copy_from_slice(data))
}

fn failure(status: u16, read: &Read, body: &Bytes) -> Failure {
    let said = read.message.as_deref().unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (kind, status) = match status {
        400 if has(&["prompt is too long", "exceed context limit", "Input is too long", "context window"]) => {
            (FailureKind::TooLong, status)
        }
        400 if has(&["content filtering policy"]) => (FailureKind::Filtered, status),
        // An empty account is a 400 in some places (wire reference, 2026-11); it is no fault of the request.
        400 if has(&["credit balance is too low"]) => (FailureKind::RateLimited, 402),
        _ if read.kind == "overloaded_error" => (FailureKind::Overloaded, status),
        _ if read.kind == "request_too_large" => (FailureKind::TooLong, status),
        _ => (FailureKind::of_status(status), status),
    };
    let message = match &read.message {
        Some(message) => message.clone(),
        None if read.kind.is_empty() && read.status.is_none() => {
            format!("the upstream answered {status} without an error that can be read")
        }
        None => format!("the upstream answered {status}"),
    };
    Failure { kind, status, message, body: read.own.then(|| body.clone()), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_threads_is_told_in_details_and_no_other() {
        for (code, want) in [("thread_unsupported_request", true), ("unsupported_value", false)] {
            let error = ApiError { status: 400, message: "x", param: None, code: Some(code), request_id: None };
            let body: Value = serde_json::from_str(&encode(&error)).unwrap();
            assert_eq!(body["error"]["details"]["error_code"] == code, want, "{body}");
            assert_eq!(body["error"].get("details").is_some(), want, "{body}");
        }
    }

    #[test]
    fn w66_every_status_has_its_type() {
        for (status, want) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (408, "timeout_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "api_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ] {
            let error =
                ApiError { status, message: "a \"b\"", param: Some("x"), code: Some("y"), request_id: Some("r1") };
            let want =
                format!(r#"{{"type":"error","error":{{"type":"{want}","message":"a \"b\""}},"request_id":"r1"}}"#);
            assert_eq!(encode(&error), want);
        }
    }

    #[test]
    fn bodies_of_errors_as_hosts_and_proxies_write_them() {
        use FailureKind::{Auth, BadRequest, Filtered, NotFound, Overloaded, RateLimited, Server, Timeout, TooLong};
        let own = |kind: &str, message: &str| {
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":null}}"#)
        };
        let cases = [
            (400, own("invalid_request_error", "bad"), BadRequest, 400, "bad", true),
            (
                400,
                own("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
                TooLong,
                400,
                "prompt is too long: 9 tokens > 8 maximum",
                true,
            ),
            (
                400,
                own("invalid_request_error", "input length and `max_tokens` exceed context limit"),
                TooLong,
                400,
                "input length and `max_tokens` exceed context limit",
                true,
            ),
            (
                400,
                own("invalid_request_error", "Output blocked by content filtering policy"),
                Filtered,
                400,
                "Output blocked by content filtering policy",
                true,
            ),
            (
                400,
                own("invalid_request_error", "Your credit balance is too low"),
                RateLimited,
                402,
                "Your credit balance is too low",
                true,
            ),
            (401, own("authentication_error", "no"), Auth, 401, "no", true),
            (402, own("billing_error", "pay"), RateLimited, 402, "pay", true),
            (404, own("not_found_error", "model: x"), NotFound, 404, "model: x", true),
            (413, own("request_too_large", "big"), TooLong, 413, "big", true),
            (429, own("rate_limit_error", "slow"), RateLimited, 429, "slow", true),
            (504, own("timeout_error", "late"), Timeout, 504, "late", true),
            (529, own("overloaded_error", "Overloaded"), Overloaded, 529, "Overloaded", true),
            (500, own("overloaded_error", "Overloaded"), Overloaded, 500, "Overloaded", true),
            (
                400,
                r#"{"error":{"code":400,"message":"g","status":"INVALID_ARGUMENT"}}"#.into(),
                BadRequest,
                400,
                "g",
                false,
            ),
            (403, r#"[{"error":{"code":403,"message":"g"}}]"#.into(), Auth, 403, "g", false),
            (400, r#"{"message":"Input is too long"}"#.into(), TooLong, 400, "Input is too long", false),
            (500, r#"{"error":"plain"}"#.into(), Server, 500, "plain", false),
            (502, "<html>".into(), Server, 502, "the upstream answered 502 without an error that can be read", false),
            (
                500,
                r#"{"error":[1]}"#.into(),
                Server,
                500,
                "the upstream answered 500 without an error that can be read",
                false,
            ),
        ];
        for (status, body, kind, told, message, passes) in cases {
            let got = decode(status, &Bytes::from(body.clone()));
            assert_eq!((got.kind, got.status, &*got.message), (kind, told, message), "{body}");
            assert_eq!(got.body.is_some(), passes, "{body}");
        }
    }

    #[test]
    fn w13_an_error_without_a_status_gets_that_of_its_type() {
        for (kind, status) in TYPES {
            let event = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
            assert_eq!(decode_event(event.as_bytes()).status, status);
        }
        for (event, status) in
            [(r#"{"error":{"code":502,"message":"m"}}"#, 502), (r#"{"error":{"code":7}}"#, 500), ("", 500)]
        {
            assert_eq!(decode_event(event.as_bytes()).status, status);
        }
    }
}
