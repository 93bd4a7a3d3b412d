//! `OpenAI` Chat Completions, and the dialects of compatible vendors.
//!
//! Source: the `OpenAI` OpenAPI document (2026-08) and recorded traffic of the vendors.

pub(super) mod error;
pub(super) mod response;
pub(super) mod stream;
