//! Streamed answers.

use super::reader::Reader;
use crate::wire::convert::StreamDecoder;
use crate::wire::event::Sink;

/// Reads a stream of `GenerateContentResponse`s.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    reader: Reader,
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, _name: Option<&[u8]>, data: &[u8], sink: &mut dyn Sink) {
        self.reader.read(data, sink);
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.reader.end(false, sink);
    }
}
