//! Anthropic Messages.
//!
//! Source: the types of the Anthropic Python SDK and the API reference (2026-08).

pub(super) mod error;
pub(super) mod response;
pub(super) mod stream;
