//! Gemini's `generateContent` and `streamGenerateContent`. Upstreams only: no client of ours speaks it yet.
//!
//! Source: the `google.ai.generativelanguage.v1beta` protos and the types of `google-genai` (2026-08), and recorded traffic.

mod contents;
pub(super) mod embed;
mod encode;
mod error;
mod grounding;
mod logprobs;
mod partial;
mod reader;
mod response;
mod stream;
mod tools;
mod types;

use bytes::Bytes;

use super::Operation;
use super::chat::Request;
use super::convert::{Encoded, Outbound, StreamDecoder, Upstream};
use super::event::Sink;
use super::ir::Failure;
use super::loss::{Losses, Unsendable};

/// The wire.
#[derive(Debug)]
pub(super) struct Gemini;

impl Outbound for Gemini {
    fn encode(
        &self,
        request: &Request<'_>,
        to: &Upstream<'_>,
        operation: Operation,
        losses: &mut Losses,
    ) -> Result<Encoded, Unsendable> {
        encode::encode(request, to, operation, losses)
    }

    fn whole(&self, body: &[u8], sink: &mut dyn Sink) {
        response::decode(body, sink);
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::<stream::Decoder>::default()
    }

    fn counted(&self, body: &[u8]) -> Option<u64> {
        response::counted(body)
    }

    fn failure(&self, status: u16, body: &Bytes) -> Failure {
        error::decode(status, body)
    }
}

#[cfg(test)]
mod tests;
