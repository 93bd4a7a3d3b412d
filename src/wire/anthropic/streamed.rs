//! Streamed answers, written.

use std::sync::Arc;

use super::read::tagged;
use super::response::{finish, head, pictured, usage};
use crate::wire::chat::Origin;
use crate::wire::convert::{Answering, StreamEncoder};
use crate::wire::event::{Block, Event, Stop};
use crate::wire::ids;
use crate::wire::ir::Usage;
use crate::wire::text::Writer;

/// Writes events as a stream. Clients go by the `event:` lines, so every event has one.
#[derive(Debug)]
pub(super) struct Encoder {
    how: Arc<Answering>,
    model: String,
    tier: Option<String>,
    started: bool,
    /// The index of the next block.
    next: u64,
    open: Open,
    usage: Usage,
    stop: Option<Stop>,
    sequence: Option<String>,
    explanation: Option<String>,
    refused: bool,
}

/// The block that is open for the client, or waits to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    None,
    /// Text. A block opens with its first word: an empty one would be refused when it comes back.
    Text {
        told: bool,
    },
    Thinking {
        told: bool,
        sealed: bool,
        /// It ended unsigned. Its stop waits: the next call may bring it the signature that it needs.
        ended: bool,
    },
    Call,
    /// Written whole when it was opened.
    Done,
}

impl Encoder {
    pub(super) fn new(how: &Arc<Answering>) -> Self {
        Self {
            how: Arc::clone(how),
            model: String::new(),
            tier: None,
            started: false,
            next: 0,
            open: Open::None,
            usage: Usage::default(),
            stop: None,
            sequence: None,
            explanation: None,
            refused: false,
        }
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, choice: u32, event: Event<'_>, out: &mut Writer) {
        if choice != 0 {
            return;
        }
        match event {
            Event::Start { model, tier, .. } => {
                self.model = model.into_owned();
                self.tier = tier.map(crate::wire::text::Str::into_owned);
            }
            Event::Usage(usage) => self.usage.replace(usage),
            Event::Open(block) => self.block(block, out),
            Event::Delta(text) => self.delta(&text, out),
            Event::Seal(origin, data) => self.seal(origin, &data, out),
            Event::Close => self.close(out),
            Event::Finish { stop, sequence, explanation } => {
                self.settle(out);
                self.stop = Some(stop);
                self.sequence = sequence.map(crate::wire::text::Str::into_owned);
                self.explanation = explanation.map(crate::wire::text::Str::into_owned);
            }
            Event::End => self.end(out),
            Event::Citation(_) | Event::Logprobs(_) | Event::Failed(_) => {}
        }
    }
}

fn begin<'w>(out: &'w mut Writer, name: &str) -> &'w mut Writer {
    out.frame("event: ").frame(name).frame("\ndata: ").open('{').key("type").string(name)
}

fn done(out: &mut Writer) {
    out.close('}').frame("\n\n");
}

impl Encoder {
    /// As late as can be: a vendor that tells its usage early has told it by the first block.
    fn start(&mut self, out: &mut Writer) {
        if self.started {
            return;
        }
        self.started = true;
        begin(out, "message_start").key("message").open('{');
        head(out, &self.how, &self.model);
        out.key("content").open('[').close(']');
        out.key("stop_reason").null().key("stop_sequence").null().key("stop_details").null();
        out.key("usage");
        usage(out, &self.usage, &self.how, Some(self.tier.as_deref().unwrap_or_default()));
        out.close('}');
        done(out);
    }

    fn block(&mut self, block: Block<'_>, out: &mut Writer) {
        self.start(out);
        match block {
            Block::Text | Block::Refusal => {
                self.refused |= block == Block::Refusal;
                // What waits is settled by the first word.
                if !matches!(self.open, Open::Thinking { ended: true, .. }) {
                    self.open = Open::Text { told: false };
                }
            }
            Block::Thinking => {
                self.settle(out);
                self.open = Open::Thinking { told: false, sealed: false, ended: false };
            }
            Block::Redacted(origin, data) => {
                self.settle(out);
                if origin == Origin::Anthropic {
                    self.open_block(out).key("type").string("redacted_thinking").key("data").string(&data);
                    self.opened(out);
                } else {
                    self.open_thinking(out);
                    self.signature(Some((origin, &data)), out);
                }
                self.stop_block(out);
                self.open = Open::Done;
            }
            Block::Call { id, name, seal } => {
                match seal {
                    Some((origin, data)) => {
                        if !matches!(self.open, Open::Thinking { ended: true, .. }) {
                            self.open_thinking(out);
                        }
                        self.signature(Some((origin, &data)), out);
                        self.stop_block(out);
                    }
                    None => self.settle(out),
                }
                self.open_block(out).key("type").string("tool_use");
                out.key("id").string(&ids::for_anthropic_client(&id)).key("name").string(&name);
                out.key("input").open('{').close('}');
                self.opened(out);
                self.piece("input_json_delta", "partial_json", "", out);
                self.open = Open::Call;
            }
            Block::Image { mime, data } => {
                self.settle(out);
                self.open_text(out);
                self.piece("text_delta", "text", &pictured(&mime, &data), out);
                self.stop_block(out);
                self.open = Open::Done;
            }
        }
    }

    fn delta(&mut self, text: &str, out: &mut Writer) {
        match self.open {
            Open::Text { told: true } => self.piece("text_delta", "text", text, out),
            Open::Text { told: false } | Open::Thinking { ended: true, .. } => {
                self.settle(out);
                self.open_text(out);
                self.piece("text_delta", "text", text, out);
                self.open = Open::Text { told: true };
            }
            Open::Thinking { told, sealed, .. } => {
                if !told {
                    self.open_thinking(out);
                    self.open = Open::Thinking { told: true, sealed, ended: false };
                }
                self.piece("thinking_delta", "thinking", text, out);
            }
            Open::Call => self.piece("input_json_delta", "partial_json", text, out),
            Open::None | Open::Done => {}
        }
    }

    fn seal(&mut self, origin: Origin, data: &str, out: &mut Writer) {
        match self.open {
            Open::Thinking { told, sealed: false, .. } => {
                if !told {
                    self.open_thinking(out);
                }
                self.signature(Some((origin, data)), out);
                self.open = Open::Thinking { told: true, sealed: true, ended: false };
            }
            // Text has no place for one; a block of its own behind the text would not be taken by all clients.
            Open::Thinking { .. } | Open::Text { .. } | Open::Call | Open::None | Open::Done => {}
        }
    }

    fn close(&mut self, out: &mut Writer) {
        self.open = match self.open {
            Open::Thinking { told: true, sealed: false, .. } => {
                Open::Thinking { told: true, sealed: false, ended: true }
            }
            Open::Text { told: true } | Open::Thinking { told: true, .. } | Open::Call => {
                self.stop_block(out);
                Open::None
            }
            Open::Text { told: false } | Open::Thinking { told: false, .. } | Open::None | Open::Done => Open::None,
        };
    }

    /// Ends a thought that nobody signed.
    fn settle(&mut self, out: &mut Writer) {
        if let Open::Thinking { told: true, ended: true, sealed } = self.open {
            if !sealed {
                self.signature(None, out);
            }
            self.stop_block(out);
            self.open = Open::None;
        }
    }

    fn end(&mut self, out: &mut Writer) {
        self.start(out);
        self.settle(out);
        begin(out, "message_delta").key("delta").open('{');
        finish(out, self.stop, self.refused, self.sequence.as_deref(), self.explanation.as_deref());
        out.close('}').key("usage");
        usage(out, &self.usage, &self.how, None);
        done(out);
        begin(out, "message_stop");
        done(out);
    }

    fn open_text(&mut self, out: &mut Writer) {
        self.open_block(out).key("type").string("text").key("text").string("");
        self.opened(out);
    }

    fn open_thinking(&mut self, out: &mut Writer) {
        self.open_block(out).key("type").string("thinking").key("thinking").string("").key("signature").string("");
        self.opened(out);
    }

    fn open_block<'w>(&mut self, out: &'w mut Writer) -> &'w mut Writer {
        begin(out, "content_block_start").key("index").plain(self.next).key("content_block").open('{')
    }

    fn opened(&mut self, out: &mut Writer) {
        out.close('}');
        done(out);
        self.next += 1;
    }

    fn piece(&mut self, kind: &str, field: &str, text: &str, out: &mut Writer) {
        begin(out, "content_block_delta").key("index").plain(self.next.saturating_sub(1));
        out.key("delta").open('{').key("type").string(kind).key(field).string(text).close('}');
        done(out);
    }

    fn signature(&mut self, seal: Option<(Origin, &str)>, out: &mut Writer) {
        self.piece("signature_delta", "signature", &tagged(seal), out);
    }

    fn stop_block(&mut self, out: &mut Writer) {
        begin(out, "content_block_stop").key("index").plain(self.next.saturating_sub(1));
        done(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::response;
    use super::super::testing::{answering, folded, gathered, written};
    use super::*;
    use serde_json::{Value, json};

    type Events = Vec<Event<'static>>;

    fn start() -> Event<'static> {
        Event::Start { id: "x".into(), model: "up".into(), tier: Some("priority".into()) }
    }

    fn call(id: &'static str, seal: Option<(Origin, &'static str)>, pieces: &[&'static str]) -> Events {
        let seal = seal.map(|(origin, data)| (origin, data.into()));
        let mut out = vec![Event::Open(Block::Call { id: id.into(), name: "f".into(), seal })];
        out.extend(pieces.iter().map(|piece| Event::Delta((*piece).into())));
        out.push(Event::Close);
        out
    }

    fn said(block: Block<'static>, pieces: &[&'static str], seal: Option<(Origin, &'static str)>) -> Events {
        let mut out = vec![Event::Open(block)];
        out.extend(pieces.iter().map(|piece| Event::Delta((*piece).into())));
        out.extend(seal.map(|(origin, data)| Event::Seal(origin, data.into())));
        out.push(Event::Close);
        out
    }

    fn finish(stop: Stop) -> Events {
        vec![
            Event::Usage(Usage { input: Some(3), output: Some(4), reasoning: Some(1), ..Usage::default() }),
            Event::Finish { stop, sequence: None, explanation: None },
            Event::End,
        ]
    }

    /// The message that the blocks make, streamed and whole: both must be the same.
    fn message(blocks: &[Events], stop: Stop) -> Value {
        let mut events = vec![start()];
        events.extend(blocks.iter().flatten().cloned());
        events.extend(finish(stop));
        let streamed = gathered(&written(&events, &answering()));
        let whole: Value = serde_json::from_slice(&response::encode(&folded(&events), &answering())).unwrap();
        assert_eq!(streamed, whole);
        whole
    }

    #[test]
    fn w22_every_order_of_blocks_gives_a_message_that_clients_take() {
        use Block::{Refusal, Text, Thinking};
        use Origin::{Anthropic, Gemini, Other};
        let tool = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
        let thought =
            |text: &str, signature: &str| json!({"type": "thinking", "thinking": text, "signature": signature});
        let text = |text: &str| json!({"type": "text", "text": text});
        let redacted = |origin, data: &'static str| said(Block::Redacted(origin, data.into()), &[], None);
        let cases: Vec<(&str, Vec<Events>, Value)> = vec![
            ("nothing", vec![], json!([])),
            ("text", vec![said(Text, &["a", "b"], None)], json!([text("ab")])),
            ("empty text", vec![said(Text, &[], None)], json!([])),
            ("two texts", vec![said(Text, &["a"], None), said(Text, &["b"], None)], json!([text("a"), text("b")])),
            (
                "signed thought",
                vec![said(Thinking, &["h", "m"], Some((Anthropic, "sig"))), said(Text, &["a"], None)],
                json!([thought("hm", "sig"), text("a")]),
            ),
            (
                "unsigned thought",
                vec![said(Thinking, &["hm"], None), said(Text, &["a"], None)],
                json!([thought("hm", "fg1:other:"), text("a")]),
            ),
            ("unsigned thought at the end", vec![said(Thinking, &["hm"], None)], json!([thought("hm", "fg1:other:")])),
            ("signature alone", vec![said(Thinking, &[], Some((Anthropic, "sig")))], json!([thought("", "sig")])),
            ("empty thought", vec![said(Thinking, &[], None), said(Text, &["a"], None)], json!([text("a")])),
            (
                "redacted",
                vec![redacted(Anthropic, "d"), redacted(Other, "e")],
                json!([{"type": "redacted_thinking", "data": "d"}, thought("", "fg1:other:e")]),
            ),
            (
                "calls",
                vec![call("c1", None, &["{\"b\":", "1}"]), call("c2", None, &[])],
                json!([tool("c1", json!({"b": 1})), tool("c2", json!({}))]),
            ),
            (
                "signed call",
                vec![said(Text, &["a"], None), call("c1", Some((Gemini, "g")), &["{}"]), call("c2", None, &["{}"])],
                json!([text("a"), thought("", "fg1:gemini:g"), tool("c1", json!({})), tool("c2", json!({}))]),
            ),
            (
                "signed call behind an unsigned thought",
                vec![said(Thinking, &["hm"], None), call("c1", Some((Gemini, "g")), &["{}"])],
                json!([thought("hm", "fg1:gemini:g"), tool("c1", json!({}))]),
            ),
            (
                "an empty text between them",
                vec![said(Thinking, &["hm"], None), said(Text, &[], None), call("c1", Some((Gemini, "g")), &["{}"])],
                json!([thought("hm", "fg1:gemini:g"), tool("c1", json!({}))]),
            ),
            (
                "signed call behind a signed thought",
                vec![said(Thinking, &["hm"], Some((Gemini, "s"))), call("c1", Some((Gemini, "g")), &["{}"])],
                json!([thought("hm", "fg1:gemini:s"), thought("", "fg1:gemini:g"), tool("c1", json!({}))]),
            ),
            (
                "the seal of an empty last text belongs to the thought before it",
                vec![said(Thinking, &["hm"], None), said(Text, &[], Some((Gemini, "g")))],
                json!([thought("hm", "fg1:gemini:g")]),
            ),
            ("the seal of a text has no place", vec![said(Text, &["a"], Some((Gemini, "g")))], json!([text("a")])),
            (
                "an image",
                vec![said(Block::Image { mime: "image/png".into(), data: "iVBO".into() }, &[], None)],
                json!([text("![image](data:image/png;base64,iVBO)")]),
            ),
            ("refusal", vec![said(Refusal, &["No", "."], None)], json!([text("No.")])),
        ];
        for (name, blocks, want) in cases {
            assert_eq!(message(&blocks, Stop::End)["content"], want, "{name}");
        }
    }

    #[test]
    fn w10_the_start_holds_all_counters_and_an_estimate() {
        let mut events = vec![start()];
        events.extend(said(Block::Text, &["a"], None));
        events.extend(finish(Stop::End));
        let stream = written(&events, &answering());
        let first = stream.split("\n\n").next().unwrap().split_once("data: ").unwrap().1;
        let first: Value = serde_json::from_str(first).unwrap();
        assert_eq!(
            first,
            json!({"type": "message_start", "message": {
                "id": "msg_abc", "type": "message", "role": "assistant", "model": "up", "content": [],
                "stop_reason": null, "stop_sequence": null, "stop_details": null,
                "usage": {"input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                          "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                          "output_tokens": 0, "service_tier": "priority"},
            }})
        );
        // An upstream that tells its usage early is believed, also where it is silent about the rest.
        events.insert(1, Event::Usage(Usage { input: Some(2), cache_read: Some(9), ..Usage::default() }));
        let stream = written(&events, &answering());
        assert!(stream.contains(r#""input_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":9"#));
        let last = stream.split("\n\n").find(|event| event.contains("message_delta")).unwrap();
        assert!(last.contains(r#""usage":{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":9,"output_tokens":4,"output_tokens_details":{"thinking_tokens":1}}"#), "{last}");
    }

    #[test]
    fn w12_w27_a_failure_is_not_an_end() {
        let mut events = vec![start()];
        events.extend(said(Block::Text, &["a"], None));
        events.push(Event::Failed(Box::new(crate::wire::Failure::cut("gone"))));
        let stream = written(&events, &answering());
        assert!(stream.contains("text_delta"));
        assert!(!stream.contains("message_delta") && !stream.contains("message_stop") && !stream.contains("[DONE]"));
    }

    #[test]
    fn w03_w71_w72_reasons_to_stop() {
        for (stop, sequence, want) in [
            (Stop::End, None, "end_turn"),
            (Stop::Sequence, None, "end_turn"),
            (Stop::Sequence, Some("X"), "stop_sequence"),
            (Stop::Length, None, "max_tokens"),
            (Stop::Context, None, "model_context_window_exceeded"),
            (Stop::Tools, None, "tool_use"),
            (Stop::Refusal, None, "refusal"),
            (Stop::Pause, None, "pause_turn"),
        ] {
            let sequence = sequence.map(Into::into);
            let events = [
                start(),
                Event::Finish { stop, sequence: sequence.clone(), explanation: Some("Why".into()) },
                Event::End,
            ];
            let message = gathered(&written(&events, &answering()));
            let whole: Value = serde_json::from_slice(&response::encode(&folded(&events), &answering())).unwrap();
            assert_eq!(message, whole);
            assert_eq!(message["stop_reason"], want);
            assert_eq!(message["stop_sequence"].is_null(), sequence.is_none());
            let details = json!({"type": "refusal", "category": null, "explanation": "Why"});
            assert_eq!(message["stop_details"], if stop == Stop::Refusal { details } else { Value::Null });
        }
        // The model's own words of refusal say so, whatever the reason is called; but a call is a call.
        let refusal = [said(Block::Refusal, &["No."], None)];
        assert_eq!(message(&refusal, Stop::End)["stop_reason"], "refusal");
        assert_eq!(message(&refusal, Stop::Length)["stop_reason"], "max_tokens");
    }

    #[test]
    fn w70_the_answer_has_the_name_that_it_is_given() {
        let how = std::sync::Arc::new(Answering { model: Some("alias".into()), ..(*answering()).clone() });
        let mut events = vec![start()];
        events.extend(finish(Stop::End));
        assert_eq!(gathered(&written(&events, &how))["model"], "alias");
        let whole: Value = serde_json::from_slice(&response::encode(&folded(&events), &how)).unwrap();
        assert_eq!(whole["model"], "alias");
    }

    #[test]
    fn w75_ids_are_written_as_clients_take_them() {
        for (id, want) in [("toolu_1", "toolu_1"), ("functions.f:0", "fgx_66756e6374696f6e732e663a30")] {
            assert_eq!(message(&[call(id, None, &["{}"])], Stop::Tools)["content"][0]["id"], want);
        }
    }

    #[test]
    fn only_the_first_choice_is_written() {
        let mut out = Writer::default();
        let mut encoder = Encoder::new(&answering());
        for (choice, event) in [(0, start()), (1, Event::Open(Block::Text)), (1, Event::Delta("b".into()))] {
            encoder.event(choice, event, &mut out);
        }
        assert!(out.is_empty());
    }
}
