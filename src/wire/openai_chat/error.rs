//! Errors, both ways.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::wire::fields::read_json;
use crate::wire::ir::{ApiError, Failure, FailureKind};

/// Writes `{"error":{message,type,param,code}}`, all four always there (OpenAI API reference, "error codes", 2026-08).
pub(in crate::wire) fn encode(error: &ApiError<'_>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        message: &'a str,
        r#type: &'a str,
        param: Option<&'a str>,
        code: Option<&'a str>,
    }

    let kind = match error.status {
        403 => "permission_error",
        400..=428 | 430..=499 => "invalid_request_error",
        429 if error.code == Some("insufficient_quota") => "insufficient_quota",
        429 => "rate_limit_error",
        _ => "server_error",
    };
    let code = error.code.or(match error.status {
        401 => Some("invalid_api_key"),
        429 => Some("rate_limit_exceeded"),
        _ => None,
    });
    let body = Body { error: Inner { message: error.message, r#type: kind, param: error.param, code } };
    // Serialising strings into memory cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// Reads an upstream's error body. Vendors disagree about its shape: `error` may be an object, a string or missing, the
/// message may stand beside it or be a list, and a proxy may have answered with HTML.
pub(in crate::wire) fn decode(status: u16, body: &Bytes) -> Failure {
    let mut failure = read(status, body);
    if read_json::<serde::de::IgnoredAny>(body).is_ok() {
        failure.body = Some(body.clone());
    }
    failure
}

/// Reads an error that came with a success status, or as an event of a stream.
pub(super) fn inside(body: &[u8]) -> Failure {
    let mut failure = read(status_in(body).unwrap_or(502), body);
    // That status is ours: the upstream said that all was well.
    if failure.message == "the upstream answered 502" {
        "the upstream's answer is no completion that can be read".clone_into(&mut failure.message);
    }
    failure
}

fn read(status: u16, body: &[u8]) -> Failure {
    let Ok(value) = read_json::<Value>(body) else {
        let kind = FailureKind::of_status(status);
        return Failure::new(kind, status, format!("the upstream answered {status} without a JSON body"));
    };
    let value = first(&value);
    let error = value.get("error").filter(|error| !error.is_null());
    of(status, error.unwrap_or(value), value)
}

/// Google wraps an error of this wire in an array.
fn first(value: &Value) -> &Value {
    value.as_array().and_then(|list| list.first()).unwrap_or(value)
}

/// Reads an `error` value on its own.
pub(super) fn decode_value(status: u16, text: &str) -> Failure {
    let value = serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    of(status, &value, &Value::Null)
}

fn of(status: u16, error: &Value, around: &Value) -> Failure {
    let error = first(error);
    let message = [Some(error), error.get("message"), around.get("message"), error.get("detail"), around.get("detail")]
        .into_iter()
        .flatten()
        .find_map(words)
        .unwrap_or_else(|| format!("the upstream answered {status}"));
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let inner = error.get("innererror").and_then(|inner| word(inner, "code"));
    let codes = [word(error, "code"), inner, word(error, "type"), word(error, "status"), word(around, "code")];
    let known = codes.into_iter().flatten().find_map(|code| kind_of(&code));
    // Compatible servers say it in words only.
    let kind = match known.unwrap_or_else(|| FailureKind::of_status(status)) {
        FailureKind::BadRequest if too_long(&message) => FailureKind::TooLong,
        kind => kind,
    };
    Failure::new(kind, status, message)
}

/// The words of an error: a text, or what `FastAPI` and Mistral make of a failed validation.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let all: Vec<String> =
                list.iter().take(8).filter_map(|item| words(item.get("msg").unwrap_or(item))).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => fields.get("detail").or_else(|| fields.get("msg")).and_then(words),
        _ => None,
    }
}

fn kind_of(code: &str) -> Option<FailureKind> {
    Some(match code {
        "context_length_exceeded" | "string_above_max_length" | "request_too_large" => FailureKind::TooLong,
        "content_filter"
        | "content_policy_violation"
        | "image_content_policy_violation"
        | "ResponsibleAIPolicyViolation" => FailureKind::Filtered,
        "rate_limit_exceeded"
        | "insufficient_quota"
        | "rate_limit_error"
        | "RateLimitReached"
        | "RESOURCE_EXHAUSTED"
        | "tokens"
        | "requests" => FailureKind::RateLimited,
        "invalid_api_key" | "authentication_error" | "permission_error" => FailureKind::Auth,
        "model_not_found" | "DeploymentNotFound" => FailureKind::NotFound,
        "overloaded_error" | "service_unavailable" | "engine_overloaded" => FailureKind::Overloaded,
        _ => return None,
    })
}

fn too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "context length",
        "context window",
        "context size",
        "prompt is too long",
        "maximum context",
        "input is too long",
        "too many tokens",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The status that an error inside a 200 asks for: a number in `error.code`, `status_code` or `status` (`OpenRouter`, Groq),
/// or what its type says.
pub(in crate::wire) fn status_in(body: &[u8]) -> Option<u16> {
    let body = read_json::<Value>(body).ok()?;
    let body = first(&body);
    // Mistral and FastAPI have no `error` at all.
    let error = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    let number = ["status_code", "raw_status_code", "status", "code"].iter().find_map(|name| {
        let value = error.get(name)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        u16::try_from(number).ok().filter(|number| (400..=599).contains(number))
    });
    number.or_else(|| {
        ["type", "code"].iter().find_map(|name| match error.get(name)?.as_str()? {
            "invalid_request_error" | "context_length_exceeded" => Some(400),
            "authentication_error" | "invalid_api_key" => Some(401),
            "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "tokens" | "requests" => Some(429),
            "overloaded_error" | "service_unavailable" => Some(503),
            "server_error" | "internal_server_error" | "api_error" => Some(500),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_every_vendor() {
        use FailureKind::{Auth, BadRequest, Filtered, NotFound, Overloaded, RateLimited, Server, TooLong};
        for (status, body, kind, message) in [
            (
                400,
                r#"{"error":{"message":"a","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#,
                TooLong,
                "a",
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8 tokens","code":null}}"#,
                TooLong,
                "This model's maximum context length is 8 tokens",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"request (2009 tokens) exceeds the available context size"}}"#,
                TooLong,
                "request (2009 tokens) exceeds the available context size",
            ),
            (500, r#"{"error":{"message":"context window lost"}}"#, Server, "context window lost"),
            (
                429,
                r#"{"error":{"message":"a","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                RateLimited,
                "a",
            ),
            (404, r#"{"error":{"message":"a","code":"model_not_found"}}"#, NotFound, "a"),
            (401, r#"{"error":{"code":"401","message":"a"}}"#, Auth, "a"),
            (429, r#"{"error":{"code":"RateLimitReached","message":"a"}}"#, RateLimited, "a"),
            (
                400,
                r#"{"error":{"code":"content_filter","message":"a","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                Filtered,
                "a",
            ),
            (
                400,
                r#"{"error":{"code":"invalid","message":"a","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                Filtered,
                "a",
            ),
            (503, r#"{"error":{"message":"a","type":"service_unavailable"}}"#, Overloaded, "a"),
            (400, r#"{"code":"The API key is invalid","error":"a"}"#, BadRequest, "a"),
            (
                422,
                r#"{"object":"error","message":{"detail":[{"type":"missing","loc":["body"],"msg":"Field required"}]},"type":"x","code":null}"#,
                BadRequest,
                "Field required",
            ),
            (422, r#"{"detail":[{"loc":["body","n"],"msg":"a"},{"msg":"b"}]}"#, BadRequest, "a; b"),
            (404, r#"{"error":"a"}"#, NotFound, "a"),
            (400, r#"[{"error":{"code":400,"message":"a","status":"INVALID_ARGUMENT"}}]"#, BadRequest, "a"),
            (429, r#"[{"error":{"code":429,"message":"a","status":"RESOURCE_EXHAUSTED"}}]"#, RateLimited, "a"),
            (400, r#"{"error":["a","b"]}"#, BadRequest, "a"),
            (400, "[]", BadRequest, "the upstream answered 400"),
            (502, "<html>", Server, "the upstream answered 502 without a JSON body"),
        ] {
            let failure = decode(status, &Bytes::from(body));
            assert_eq!((failure.kind, failure.message.as_str(), failure.status), (kind, message, status), "{body}");
        }
    }

    #[test]
    fn w66_an_error_has_all_four_fields() {
        let error = |status, code| encode(&ApiError { status, message: "a", param: None, code, request_id: None });
        for (status, code, kind, told) in [
            (400, None, "invalid_request_error", "null"),
            (401, None, "invalid_request_error", "\"invalid_api_key\""),
            (403, None, "permission_error", "null"),
            (404, Some("model_not_found"), "invalid_request_error", "\"model_not_found\""),
            (429, None, "rate_limit_error", "\"rate_limit_exceeded\""),
            (429, Some("insufficient_quota"), "insufficient_quota", "\"insufficient_quota\""),
            (503, None, "server_error", "null"),
        ] {
            assert_eq!(
                error(status, code),
                format!(r#"{{"error":{{"message":"a","type":"{kind}","param":null,"code":{told}}}}}"#)
            );
        }
    }
}
