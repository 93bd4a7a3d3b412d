//! A wire of lines, to show what a new one takes: one value that implements [`Inbound`] and [`Outbound`]. Everything else,
//! framing, ids, names, losses, the commit point, failures, comes from `wire`.
//!
//! ```text
//! request   M model | U text | A text                       one a line, line ends within a text as \n
//! answer    I id | T text | C id name arguments | N input output | E stop
//! ```

use std::sync::Arc;

use bytes::Bytes;
use feathergate::wire::chat::{Part, Request, Role, Text, Turn};
use feathergate::wire::convert::{Answering, Encoded, Inbound, Outbound, StreamDecoder, StreamEncoder, Upstream};
use feathergate::wire::event::{Block, Event, Sink, Stop};
use feathergate::wire::fold::Answer;
use feathergate::wire::loss::{Losses, Unsendable};
use feathergate::wire::text::Writer;
use feathergate::wire::{DecodeError, Envelope, Failure, FailureKind, Operation, Usage};

#[derive(Debug)]
pub(crate) struct Lines;

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some(other)) => other,
            (c, _) => c,
        });
    }
    out
}

impl Inbound for Lines {
    fn decode<'a>(&self, envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
        let lines: Vec<String> = serde_json::from_str(envelope.value("messages").map_or("[]", |raw| raw.get()))
            .map_err(|error| DecodeError { message: error.to_string(), field: Some("messages".to_owned()) })?;
        let turns = lines.iter().map(|line| {
            let role = if line.starts_with("A ") { Role::Assistant } else { Role::User };
            Turn { role, parts: vec![Part::Text(Text::plain(plain(&line[2..])))] }
        });
        Ok(Request { turns: turns.collect(), ..Request::default() })
    }

    fn whole(&self, answer: &Answer, how: &Answering) -> Vec<u8> {
        struct Out(Box<dyn StreamEncoder>, Writer);
        impl Sink for Out {
            fn event(&mut self, choice: u32, event: Event<'_>) {
                self.0.event(choice, event, &mut self.1);
            }
        }
        let mut out = Out(self.encoder(&Arc::new(how.clone())), Writer::default());
        answer.tell(&mut out);
        let stream = String::from_utf8(out.1.into_bytes()).unwrap();
        let lines: Vec<&str> = stream.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        lines.join("\n").into_bytes()
    }

    fn encoder(&self, _: &Arc<Answering>) -> Box<dyn StreamEncoder> {
        Box::<Encoder>::default()
    }
}

impl Outbound for Lines {
    fn encode(
        &self,
        request: &Request<'_>,
        to: &Upstream<'_>,
        _: Operation,
        losses: &mut Losses,
    ) -> Result<Encoded, Unsendable> {
        let mut body = format!("M {}\n", to.model);
        for turn in &request.turns {
            for part in &turn.parts {
                match part {
                    Part::Text(text) if turn.role == Role::Assistant => body.extend(["A ", &escaped(&text.text), "\n"]),
                    Part::Text(text) => body.extend(["U ", &escaped(&text.text), "\n"]),
                    _ => losses.content("messages", "lines hold text only")?,
                }
            }
        }
        if request.temperature.is_some() {
            losses.setting("temperature", "lines have no such setting");
        }
        Ok(Encoded { body: body.into_bytes(), ..Encoded::default() })
    }

    fn whole(&self, body: &[u8], sink: &mut dyn Sink) {
        let mut decoder = self.decoder();
        for line in body.split(|byte| *byte == b'\n') {
            decoder.frame(None, line, sink);
        }
        decoder.end(sink);
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::<Decoder>::default()
    }

    fn counted(&self, _: &[u8]) -> Option<u64> {
        None
    }

    fn failure(&self, status: u16, body: &Bytes) -> Failure {
        Failure::new(FailureKind::of_status(status), status, String::from_utf8_lossy(body))
    }
}

#[derive(Debug, Default)]
struct Decoder {
    text: bool,
    usage: Usage,
    stop: Option<Stop>,
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, _: Option<&[u8]>, data: &[u8], sink: &mut dyn Sink) {
        let Ok(line) = std::str::from_utf8(data) else { return };
        let Some((kind, rest)) = line.split_at_checked(2) else { return };
        if kind != "T " && std::mem::take(&mut self.text) {
            sink.event(0, Event::Close);
        }
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        match kind {
            "I " => sink.event(0, Event::Start { id: rest.into(), model: "lines".into(), tier: None }),
            "T " => {
                if !std::mem::replace(&mut self.text, true) {
                    sink.event(0, Event::Open(Block::Text));
                }
                let text = plain(rest);
                if !text.is_empty() {
                    sink.event(0, Event::Delta(text.into()));
                }
            }
            "C " => {
                sink.event(0, Event::Open(Block::Call { id: word().into(), name: word().into(), seal: None }));
                sink.event(0, Event::Delta(word().into()));
                sink.event(0, Event::Close);
            }
            "N " => {
                self.usage = Usage { input: word().parse().ok(), output: word().parse().ok(), ..Usage::default() };
            }
            "E " => {
                self.stop = [("end", Stop::End), ("length", Stop::Length), ("tools", Stop::Tools)]
                    .into_iter()
                    .find_map(|(word, stop)| (word == rest).then_some(stop));
            }
            _ => {}
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        match self.stop {
            Some(stop) => {
                sink.event(0, Event::Usage(self.usage));
                sink.event(0, Event::Finish { stop, sequence: None, explanation: None });
                sink.event(0, Event::End);
            }
            None => sink.event(0, Event::Failed(Box::new(Failure::cut("no E line")))),
        }
    }
}

#[derive(Debug, Default)]
struct Encoder {
    said: bool,
    call: Option<(String, String)>,
    text: String,
    usage: Usage,
}

impl StreamEncoder for Encoder {
    fn event(&mut self, _: u32, event: Event<'_>, out: &mut Writer) {
        let mut line = |text: String| {
            out.frame("data: ").frame(&text).frame("\n\n");
        };
        match event {
            Event::Start { id, .. } => line(format!("I {id}")),
            Event::Open(Block::Call { id, name, .. }) => self.call = Some((id.to_string(), name.to_string())),
            Event::Open(block) => self.said = matches!(block, Block::Text | Block::Refusal),
            Event::Delta(text) if self.call.is_some() => self.text.push_str(&text),
            Event::Delta(text) if self.said => line(format!("T {}", escaped(&text))),
            Event::Close => {
                let text = std::mem::take(&mut self.text);
                if let Some((id, name)) = self.call.take() {
                    line(format!("C {id} {name} {}", if text.is_empty() { "{}" } else { &text }));
                }
            }
            Event::Usage(usage) => self.usage.replace(usage),
            Event::Finish { stop, .. } => {
                let word = match stop {
                    Stop::Length => "length",
                    Stop::Tools => "tools",
                    _ => "end",
                };
                line(format!("N {} {}", self.usage.input.unwrap_or(0), self.usage.output.unwrap_or(0)));
                line(format!("E {word}"));
            }
            _ => {}
        }
    }
}
