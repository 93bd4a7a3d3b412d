//! Errors, both ways.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::ir::{ApiError, Failure, FailureKind};

/// Writes `{"type":"error","error":{type,message},"request_id"}` (Anthropic API reference, "errors", 2026-08).
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
    }

    let kind = match error.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let body =
        Body { r#type: "error", error: Inner { r#type: kind, message: error.message }, request_id: error.request_id };
    // Serialising strings into memory cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

#[derive(Deserialize)]
struct Body {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    r#type: Option<String>,
    message: Option<String>,
}

/// Reads an upstream's error body.
pub(in crate::wire) fn decode(status: u16, body: &Bytes) -> Failure {
    let Ok(Body { error }) = serde_json::from_slice(body) else {
        let kind = FailureKind::of_status(status);
        return Failure::new(kind, status, format!("the upstream answered {status} without an error that can be read"));
    };
    let message = error.message.unwrap_or_else(|| format!("the upstream answered {status}"));
    let kind = if status == 400 && message.starts_with("prompt is too long") {
        FailureKind::TooLong
    } else {
        FailureKind::of_status(status)
    };
    Failure { kind, status, message, body: Some(body.clone()) }
}

/// Reads the data of an `error` event, or an error object that came with a success status.
pub(in crate::wire) fn decode_event(data: &[u8]) -> Failure {
    let status = serde_json::from_slice::<Body>(data).ok().and_then(|body| body.error.r#type).map_or(500, |kind| {
        match kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    });
    decode(status, &Bytes::copy_from_slice(data))
}
