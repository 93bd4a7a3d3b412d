//! Server-sent events: a framer that finds where events end, however the bytes are cut, and a reader of one event.
//!
//! Source: the WHATWG HTML standard, "server-sent events" (2026-11). Lines end with LF, CRLF or CR; an event ends with an
//! empty line; a leading byte order mark is skipped.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Cuts a byte stream into complete events. What follows the last complete event is kept until its end arrives.
#[derive(Debug, Default)]
pub struct Framer {
    carry: BytesMut,
    search: Search,
}

impl Framer {
    /// Takes the next bytes and gives the events that are complete now, one after the other, exactly as they came; `ends` is
    /// where each ends within them. Without a kept rest nothing is copied.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the bytes are handed over: the complete ones go out as they are"
    )]
    pub fn push(&mut self, chunk: Bytes, ends: &mut Vec<usize>) -> Bytes {
        ends.clear();
        if self.carry.is_empty() {
            self.search.run(&chunk, ends);
        } else {
            self.carry.extend_from_slice(&chunk);
            self.search.run(&self.carry, ends);
        }
        let complete = ends.last().copied().unwrap_or(0);
        self.search.position -= complete;
        self.search.line -= complete;
        if self.carry.is_empty() {
            self.carry.extend_from_slice(chunk.get(complete..).unwrap_or_default());
            chunk.slice(..complete)
        } else {
            self.carry.split_to(complete).freeze()
        }
    }

    /// How many bytes wait for the end of their event.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.carry.len()
    }

    /// The kept rest, when the stream is over: an event without its closing empty line.
    pub fn rest(&mut self) -> Bytes {
        self.search = Search::default();
        self.carry.split().freeze()
    }
}

/// The search for ends of events, which goes on where it stopped.
#[derive(Debug, Default)]
struct Search {
    position: usize,
    /// Where the line began that `position` is in.
    line: usize,
}

impl Search {
    fn run(&mut self, bytes: &[u8], ends: &mut Vec<usize>) {
        while let Some(found) = bytes.get(self.position..).and_then(|rest| memchr2(b'\n', b'\r', rest)) {
            let at = self.position + found;
            let next = match (bytes.get(at), bytes.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => at + 2,
                // A CR at the very end may be half of a CRLF: the next bytes tell.
                (Some(b'\r'), None) => {
                    self.position = at;
                    return;
                }
                _ => at + 1,
            };
            if at == self.line {
                ends.push(next);
            }
            self.line = next;
            self.position = next;
        }
        self.position = bytes.len();
    }
}

/// The elements of a JSON array that arrives in pieces: what Gemini sends without `alt=sse`.
#[derive(Debug, Default)]
pub struct Elements {
    carry: BytesMut,
    position: usize,
    depth: usize,
    text: bool,
    escaped: bool,
    start: Option<usize>,
}

impl Elements {
    /// Takes the next bytes and gives each element that is complete now. What stands between elements is skipped.
    pub fn push(&mut self, chunk: &[u8], mut take: impl FnMut(&[u8])) {
        self.carry.extend_from_slice(chunk);
        while let Some(byte) = self.carry.get(self.position) {
            let at = self.position;
            self.position += 1;
            if self.text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.text = true,
                b'{' | b'[' => {
                    // The array itself is depth 0.
                    if self.depth == 1 {
                        self.start = Some(at);
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 1
                        && let Some(start) = self.start.take()
                    {
                        take(self.carry.get(start..self.position).unwrap_or_default());
                        let _ = self.carry.split_to(self.position);
                        self.position = 0;
                    }
                }
                _ => {}
            }
        }
    }

    /// How many bytes wait for the end of their element.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.carry.len()
    }
}

/// One event, read.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field.
    pub name: Option<&'a [u8]>,
    /// The `data` lines, joined with LF; `None` for an event that has none, such as a comment.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> Event<'a> {
    /// Reads the bytes of one event.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut event = Self { name: None, data: None };
        let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        while !rest.is_empty() {
            // Most streams have LF only: one search a line.
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let (mut line, mut after) = rest.split_at(end);
            if let Some(cr) = memchr(b'\r', line) {
                line = rest.get(..cr).unwrap_or_default();
                after = rest.get(cr..).unwrap_or_default();
            }
            rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
            event.field(line);
        }
        event
    }

    fn field(&mut self, line: &'a [u8]) {
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default()),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.name = Some(value),
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: [&str; 6] = [
        "data: a\n\ndata: b\n\n",
        "event: x\r\ndata: {\"a\":1}\r\n\r\n: comment\r\n\r\ndata:b\r\n\r\n",
        "data: a\rdata: b\r\rdata: c\r\r",
        "\u{feff}data: ü€😀\n\n\n\ndata\n\n",
        ": only a comment\n\nevent: ping\ndata: {}\n\ndata: [DONE]\n\n",
        "data: a\n\r\ndata: b\r\n\ndata: tail without its end",
    ];

    fn run(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            let mut ends = Vec::new();
            let bytes = framer.push(Bytes::copy_from_slice(chunk), &mut ends);
            let mut start = 0;
            for end in ends {
                frames.push(bytes[start..end].to_vec());
                start = end;
            }
            assert_eq!(start, bytes.len());
        }
        (frames, framer.rest().to_vec())
    }

    /// What an event says; a CR at the end of a push may leave an empty event more or less.
    fn said(frames: &(Vec<Vec<u8>>, Vec<u8>)) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let mut all = frames.0.clone();
        all.push(frames.1.clone());
        all.iter()
            .map(|frame| Event::read(frame))
            .filter_map(|event| event.data.map(|data| (event.name.map(<[u8]>::to_vec), data.into_owned())))
            .collect()
    }

    #[test]
    fn events_of_all_line_ends() {
        let counts = STREAMS.map(|stream| {
            let (frames, rest) = run(&[stream.as_bytes()]);
            (said(&(frames, Vec::new())).len(), rest.len())
        });
        assert_eq!(counts, [(2, 0), (2, 0), (1, 9), (2, 0), (2, 0), (2, 26)]);
    }

    #[test]
    fn every_split_and_single_bytes_give_the_same_events_and_bytes() {
        for stream in STREAMS {
            let bytes = stream.as_bytes();
            let whole = run(&[bytes]);
            for cut in 0..=bytes.len() {
                let (frames, rest) = run(&[&bytes[..cut], &bytes[cut..]]);
                assert_eq!([frames.concat(), rest.clone()].concat(), bytes, "bytes, cut {cut} of {stream:?}");
                assert_eq!(said(&(frames, rest)), said(&whole), "events, cut {cut} of {stream:?}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(said(&run(&single)), said(&whole), "{stream:?}");
        }
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        let cases: [(&str, Option<&str>, Option<&str>); 8] = [
            ("data: a\n\n", None, Some("a")),
            ("data:a\n\n", None, Some("a")),
            ("data:  a\n\n", None, Some(" a")),
            ("data: a\ndata: b\n\n", None, Some("a\nb")),
            ("event: x\r\ndata: a\r\n\r\n", Some("x"), Some("a")),
            (": comment\nid: 7\n\n", None, None),
            ("data\n\n", None, Some("")),
            ("data: a\rdata:b\r\r", None, Some("a\nb")),
        ];
        for (bytes, name, data) in cases {
            let event = Event::read(bytes.as_bytes());
            assert_eq!(event.name, name.map(str::as_bytes), "{bytes:?}");
            assert_eq!(event.data.as_deref(), data.map(str::as_bytes), "{bytes:?}");
        }
    }

    #[test]
    fn elements_of_an_array_however_it_is_cut() {
        let text = r#"[{"a":"}]\"["},
,
{"b":[{"c":1}]}
, {"d":{}}]"#
            .as_bytes();
        for size in 1..=text.len() {
            let mut elements = Elements::default();
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                elements.push(chunk, |element| seen.push(String::from_utf8(element.to_vec()).unwrap()));
            }
            assert_eq!(seen, [r#"{"a":"}]\"["}"#, r#"{"b":[{"c":1}]}"#, r#"{"d":{}}"#], "{size}");
        }
    }

    #[test]
    fn a_whole_chunk_is_not_copied() {
        let chunk = Bytes::from(b"data: a\n\ndata: b\n\n".to_vec());
        let at = chunk.as_ptr();
        let mut ends = Vec::new();
        let bytes = Framer::default().push(chunk, &mut ends);
        assert_eq!((bytes.as_ptr(), ends), (at, vec![9, 18]));
    }
}
