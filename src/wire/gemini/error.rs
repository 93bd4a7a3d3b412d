//! Errors: `{"error":{code,message,status,details}}`, in an array where the answer would have been one
//! (Gemini API reference, "error codes", 2026-08).

use bytes::Bytes;
use serde_json::Value;

use crate::wire::fields::read_json;
use crate::wire::ir::{Failure, FailureKind};

/// Reads an error body.
pub(super) fn decode(status: u16, body: &Bytes) -> Failure {
    let Ok(value) = read_json::<Value>(body) else {
        let kind = FailureKind::of_status(status);
        return Failure::new(kind, status, format!("the upstream answered {status} without a JSON body"));
    };
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let mut failure = of(status, value.get("error").unwrap_or(value));
    failure.body = Some(body.clone());
    failure
}

/// Reads an `error` object that came in place of an answer.
pub(super) fn decode_value(text: &str) -> Failure {
    let error = serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    of(code.filter(|code| (400..=599).contains(code)).unwrap_or(502), &error)
}

fn of(status: u16, error: &Value) -> Failure {
    let word = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = match error.as_str().unwrap_or_else(|| word("message")) {
        "" => format!("the upstream answered {status}"),
        message => message.to_owned(),
    };
    let reason = detail(error, "reason").unwrap_or_default();
    let (kind, status) = match word("status") {
        // A bad key is a bad request there.
        _ if reason.starts_with("API_KEY_") || message.starts_with("API key ") => (FailureKind::Auth, 401),
        "INVALID_ARGUMENT" if too_long(&message) => (FailureKind::TooLong, status),
        "UNAUTHENTICATED" => (FailureKind::Auth, 401),
        "PERMISSION_DENIED" => (FailureKind::Auth, 403),
        "NOT_FOUND" => (FailureKind::NotFound, 404),
        "RESOURCE_EXHAUSTED" => (FailureKind::RateLimited, 429),
        "UNAVAILABLE" => (FailureKind::Overloaded, 503),
        "DEADLINE_EXCEEDED" => (FailureKind::Timeout, 504),
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" => (FailureKind::Server, status.max(500)),
        _ => (FailureKind::of_status(status), status),
    };
    let mut failure = Failure::new(kind, status, message);
    failure.retry_after = detail(error, "retryDelay").and_then(seconds).or_else(|| {
        // Only the text says it where the details are left out.
        let (_, rest) = failure.message.split_once("retry in ")?;
        seconds(rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?)
    });
    failure
}

/// A field of any of the `details`.
fn detail<'v>(error: &'v Value, name: &str) -> Option<&'v str> {
    error.get("details")?.as_array()?.iter().find_map(|detail| detail.get(name)?.as_str())
}

fn too_long(message: &str) -> bool {
    message.contains("token count") && message.contains("exceeds")
        || message.contains("exceeds the maximum number of tokens")
        || message.contains("payload size exceeds")
}

/// Whole seconds of `34.4s`, rounded up.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('s').trim_end_matches('.');
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if text.is_empty() || !rest.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some(whole.saturating_add(u64::from(rest.bytes().any(|digit| digit != b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> (FailureKind, u16, String, Option<u64>) {
        let failure = decode(status, &Bytes::copy_from_slice(body.as_bytes()));
        (failure.kind, failure.status, failure.message, failure.retry_after)
    }

    #[test]
    fn kinds() {
        use FailureKind::{Auth, BadRequest, NotFound, Overloaded, RateLimited, Server, Timeout, TooLong};
        let key = r#","details":[{"@type":"x"},{"@type":"y","reason":"API_KEY_INVALID"}]"#;
        let cases = [
            (400, "INVALID_ARGUMENT", "bad", "", BadRequest, 400),
            (400, "INVALID_ARGUMENT", "a key", key, Auth, 401),
            (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", "", Auth, 401),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                "",
                TooLong,
                400,
            ),
            (400, "FAILED_PRECONDITION", "User location is not supported", "", BadRequest, 400),
            (401, "UNAUTHENTICATED", "x", "", Auth, 401),
            (403, "PERMISSION_DENIED", "x", "", Auth, 403),
            (404, "NOT_FOUND", "x", "", NotFound, 404),
            (429, "RESOURCE_EXHAUSTED", "x", "", RateLimited, 429),
            (500, "INTERNAL", "x", "", Server, 500),
            (503, "UNAVAILABLE", "x", "", Overloaded, 503),
            (504, "DEADLINE_EXCEEDED", "x", "", Timeout, 504),
            (418, "", "x", "", BadRequest, 418),
        ];
        for (status, word, message, rest, kind, answered) in cases {
            let error = format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{word}"{rest}}}}}"#);
            for body in [error.clone(), format!("[{error}]")] {
                assert_eq!(read(status, &body), (kind, answered, message.to_owned(), None), "{body}");
            }
        }
        assert_eq!(read(502, "<html>").0, Server);
        assert_eq!(read(429, "{}").0, RateLimited);
        assert_eq!(read(500, r#"{"error":"sorry"}"#).2, "sorry");
        let inside = decode_value(r#"{"code":200,"message":"x"}"#);
        assert_eq!((inside.kind, inside.status), (Server, 502));
    }

    #[test]
    fn w69_the_time_to_wait_is_rounded_up() {
        let delayed = |delay: &str| {
            let details = format!(r#"[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]"#);
            read(429, &format!(r#"{{"error":{{"message":"x","status":"RESOURCE_EXHAUSTED","details":{details}}}}}"#)).3
        };
        for (delay, want) in
            [("34.4s", Some(35)), ("34s", Some(34)), ("0.000s", Some(0)), (".5s", Some(1)), ("soon", None)]
        {
            assert_eq!(delayed(delay), want, "{delay}");
        }
        let said =
            |text: &str| read(429, &format!(r#"{{"error":{{"message":"{text}","status":"RESOURCE_EXHAUSTED"}}}}"#)).3;
        assert_eq!(said("Please retry in 48.9s."), Some(49));
        assert_eq!(said("Please retry in 48s."), Some(48));
        assert_eq!(said("Please retry in a while."), None);
    }
}
