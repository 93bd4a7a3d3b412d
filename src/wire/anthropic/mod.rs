//! Anthropic Messages.
//!
//! Source: the types of the Anthropic Python SDK and the API reference (2026-11).

mod blocks;
mod decode;
mod encode;
pub(super) mod error;
mod messages;
mod parts;
mod read;
pub(super) mod reason;
mod response;
mod stream;
mod streamed;
pub(super) mod strip;
pub(super) mod tap;
#[cfg(test)]
mod testing;
mod tools;

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
pub(super) struct Anthropic;

impl Inbound for Anthropic {
    fn decode<'a>(&self, envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
        decode::decode(envelope)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
            ("reasoning_effort", "thinking"),
            ("response_format", "output_config.format"),
            ("stop", "stop_sequences"),
            ("user", "metadata.user_id"),
            ("web_search", "tools.web_search"),
        ]
    }

    fn whole(&self, answer: &Answer, how: &Answering) -> Vec<u8> {
        response::encode(answer, how)
    }

    fn encoder(&self, how: &Arc<Answering>) -> Box<dyn StreamEncoder> {
        Box::new(streamed::Encoder::new(how))
    }
}

impl Outbound for Anthropic {
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
