//! `OpenAI` Chat Completions, and the dialects of compatible vendors.
//!
//! Source: the `OpenAI` OpenAPI document (2026-08) and recorded traffic of the vendors.

mod arguments;
mod blocks;
mod chunks;
mod compose;
mod decode;
mod encode;
pub(super) mod error;
mod files;
mod history;
mod nameless;
mod response;
mod settings;
mod stream;
mod strict;
pub(super) mod strip;
pub(super) mod tap;
mod thoughts;
mod types;

use std::sync::Arc;

use bytes::Bytes;

use super::Operation;
use super::chat::Request;
use super::convert::{Answering, Encoded, Inbound, Outbound, StreamDecoder, StreamEncoder, Upstream};
use super::envelope::{DecodeError, Envelope};
use super::event::Sink;
use super::fold::Answer;
use super::ir::Failure;
use super::loss::{Losses, Unsendable};

/// The wire.
#[derive(Debug)]
pub(super) struct OpenAiChat;

impl Inbound for OpenAiChat {
    fn decode<'a>(&self, envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
        decode::decode(envelope)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("metadata.user_id", "user"),
            ("output_config.format", "response_format"),
            ("stop_sequences", "stop"),
            ("thinking", "reasoning_effort"),
            ("thinking.budget_tokens", "reasoning_effort"),
            ("web_search", "web_search_options"),
        ]
    }

    fn whole(&self, answer: &Answer, how: &Answering) -> Vec<u8> {
        response::encode(answer, how)
    }

    fn encoder(&self, how: &Arc<Answering>) -> Box<dyn StreamEncoder> {
        Box::new(chunks::Encoder::new(how))
    }
}

impl Outbound for OpenAiChat {
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
mod testing;
