//! Errors, both ways.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
/// message may stand beside it, and a proxy may have answered with HTML.
pub(in crate::wire) fn decode(status: u16, body: &Bytes) -> Failure {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let kind = FailureKind::of_status(status);
        return Failure::new(kind, status, format!("the upstream answered {status} without a JSON body"));
    };
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let mut failure = of(status, value.get("error").unwrap_or(value), value);
    failure.body = Some(body.clone());
    failure
}

/// Reads an `error` value on its own.
pub(super) fn decode_value(status: u16, text: &str) -> Failure {
    let value = serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    of(status, &value, &Value::Null)
}

fn of(status: u16, error: &Value, around: &Value) -> Failure {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = error
        .as_str()
        .map(str::to_owned)
        .or_else(|| text(error, "message"))
        .or_else(|| text(around, "message"))
        .or_else(|| text(around, "detail"))
        .unwrap_or_else(|| format!("the upstream answered {status}"));
    let code = text(error, "code").or_else(|| text(error, "type")).unwrap_or_default();
    let kind = match code.as_str() {
        "context_length_exceeded" => FailureKind::TooLong,
        "content_filter" | "content_policy_violation" => FailureKind::Filtered,
        "rate_limit_exceeded" | "insufficient_quota" => FailureKind::RateLimited,
        "overloaded_error" => FailureKind::Overloaded,
        _ => FailureKind::of_status(status),
    };
    Failure::new(kind, status, message)
}

/// The status that an error inside a 200 asks for: a number in `error.code`, `status_code` or `status` (`OpenRouter`, Groq),
/// or what its type says.
pub(in crate::wire) fn status_in(body: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    struct Body {
        error: Value,
    }

    let Body { error } = serde_json::from_slice(body).ok()?;
    let number = ["status_code", "status", "code"].iter().find_map(|name| {
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
