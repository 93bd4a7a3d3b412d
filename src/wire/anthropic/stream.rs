//! Streamed answers, read. They are written in [`streamed`](super::streamed).

use serde::de::IgnoredAny;

use super::error;
use super::parts::object;
use super::read::Loose;
use super::response::{Answered, Found, explanation_of, source_of, stop_of, tier_of};
use super::tap::usage_of;
use crate::wire::chat::Origin;
use crate::wire::convert::StreamDecoder;
use crate::wire::event::{Block, Event, Sink, Stop};
use crate::wire::fields::{fields, read_json};
use crate::wire::ir::Failure;
use crate::wire::text::{Json, Str};

/// Reads a stream into events. The events of this wire (2026-11): `message_start`, `content_block_start`/`_delta`/`_stop`,
/// `message_delta`, `message_stop`, `ping`, `error`; others are added at any time and are ignored.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    over: bool,
    open: Option<Open>,
    /// Characters of text so far.
    said: usize,
    /// The finish, held back until the stream's end: usage may follow it.
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Finish {
    stop: Stop,
    sequence: Option<String>,
    explanation: Option<String>,
}

/// The block that is open upstream.
#[derive(Debug)]
struct Open {
    index: u64,
    kind: Kind,
    /// Its `Open` event went out. A block of text or thinking opens with its first word, since it may have none.
    told: bool,
    /// Where its text begins.
    start: usize,
    sources: Vec<Found>,
    /// The signature of thinking, or the input that a call began with.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
    /// A block of a server tool, or of a kind that we do not know.
    Ignored,
}

#[derive(Default)]
struct Frame<'a> {
    kind: Loose<'a>,
    index: Option<u64>,
    delta: Option<Delta<'a>>,
    content_block: Option<Json<'a>>,
    message: Option<Json<'a>>,
    usage: Option<Json<'a>>,
    error: Option<Json<'a>>,
}
fields!(Frame<'a> { kind = "type", index, delta, content_block, message, usage, error });

#[derive(Default)]
struct Delta<'a> {
    kind: Loose<'a>,
    text: Loose<'a>,
    thinking: Loose<'a>,
    signature: Loose<'a>,
    partial_json: Loose<'a>,
    citation: Option<Json<'a>>,
    stop_reason: Loose<'a>,
    stop_sequence: Loose<'a>,
    stop_details: Option<Json<'a>>,
}
fields!(Delta<'a> {
    kind = "type", text, thinking, signature, partial_json, citation, stop_reason, stop_sequence, stop_details,
});

impl StreamDecoder for Decoder {
    fn frame(&mut self, name: Option<&[u8]>, data: &[u8], sink: &mut dyn Sink) {
        if self.over {
            return;
        }
        let Ok(frame) = read_json::<Frame<'_>>(data) else {
            // `[DONE]`, or an event that is new to us. One that may hold content cannot be left out.
            let content = match name {
                Some(name) => name.starts_with(b"content_block") || name.starts_with(b"message_"),
                None => data.starts_with(b"{") && read_json::<IgnoredAny>(data).is_err(),
            };
            if content {
                self.fail(Failure::cut("the upstream sent an event that cannot be read"), sink);
            }
            return;
        };
        let kind = match frame.kind.as_str() {
            "" => name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default(),
            kind => kind,
        };
        match kind {
            "content_block_delta" => {
                if let Some(delta) = frame.delta {
                    self.delta(frame.index.unwrap_or_default(), delta, sink);
                }
            }
            "content_block_start" => {
                let block = frame.content_block.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
                self.block(frame.index.unwrap_or_default(), block.unwrap_or_default(), sink);
            }
            "content_block_stop" => self.stop_block(frame.index, sink),
            "message_start" => self.start(frame.message.as_ref().map_or("{}", Json::get), sink),
            "message_delta" => {
                if let Some(delta) = frame.delta {
                    self.stopped(delta);
                }
                if let Some(usage) = frame.usage {
                    self.start("{}", sink);
                    sink.event(0, Event::Usage(usage_of(usage.get())));
                }
            }
            "message_stop" => self.stop(sink),
            "error" => self.fail(error::decode_event(data), sink),
            "" if frame.error.is_some_and(|error| !error.is_null()) => self.fail(error::decode_event(data), sink),
            _ => {}
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        if self.over {
            return;
        }
        if self.finish.is_some() {
            self.stop(sink);
        } else {
            self.fail(Failure::cut("the upstream ended the stream before its end"), sink);
        }
    }
}

impl Decoder {
    fn fail(&mut self, failure: Failure, sink: &mut dyn Sink) {
        self.over = true;
        sink.event(0, Event::Failed(Box::new(failure)));
    }

    /// The first one counts: servers in the wild send several.
    fn start(&mut self, message: &str, sink: &mut dyn Sink) {
        #[derive(Default)]
        struct Message<'a> {
            id: Loose<'a>,
            model: Loose<'a>,
            usage: Option<Json<'a>>,
        }
        fields!(Message<'a> { id, model, usage });

        if self.started {
            return;
        }
        self.started = true;
        let Ok(message) = serde_json::from_str::<Message<'_>>(message) else {
            sink.event(0, Event::Start { id: Str::default(), model: Str::default(), tier: None });
            return;
        };
        let tier = message.usage.as_ref().and_then(|usage| tier_of(usage.get()));
        let (id, model) = (message.id.or_empty(), message.model.or_empty());
        sink.event(0, Event::Start { id, model, tier: tier.map(Into::into) });
        if let Some(usage) = message.usage {
            sink.event(0, Event::Usage(usage_of(usage.get())));
        }
    }

    fn block(&mut self, index: u64, block: Answered<'_>, sink: &mut dyn Sink) {
        self.start("{}", sink);
        // A server that forgets to close a block has closed it.
        self.close(sink);
        let mut held = String::new();
        let kind = match block.kind.as_str() {
            "text" => Kind::Text,
            "thinking" => {
                if let Some(signature) = block.signature.said() {
                    held = signature.into_owned();
                }
                Kind::Thinking
            }
            "redacted_thinking" => {
                // It comes whole: there is no delta for it.
                sink.event(0, Event::Open(Block::Redacted(Origin::Anthropic, block.data.or_empty())));
                sink.event(0, Event::Close);
                Kind::Ignored
            }
            "tool_use" => {
                let (id, name) = (block.id.or_empty(), block.name.or_empty());
                sink.event(0, Event::Open(Block::Call { id, name, seal: None }));
                // A placeholder, but for compatible servers that send it whole.
                let input = object(block.input);
                if input.get() != "{}" {
                    input.get().clone_into(&mut held);
                }
                Kind::Call
            }
            _ => Kind::Ignored,
        };
        let told = kind == Kind::Call;
        self.open = Some(Open { index, kind, told, start: self.said, sources: Vec::new(), held });
        if let Some(citations) = block.citations {
            let list: Vec<Json<'_>> = serde_json::from_str(citations.get()).unwrap_or_default();
            if let Some(open) = self.open.as_mut().filter(|open| open.kind == Kind::Text) {
                open.sources.extend(list.iter().filter_map(|raw| source_of(raw.get())));
            }
        }
        match kind {
            Kind::Text => self.say(index, kind, block.text, sink),
            Kind::Thinking => self.say(index, kind, block.thinking, sink),
            Kind::Call | Kind::Ignored => {}
        }
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>, sink: &mut dyn Sink) {
        match delta.kind.as_str() {
            "text_delta" => self.say(index, Kind::Text, delta.text, sink),
            "thinking_delta" => self.say(index, Kind::Thinking, delta.thinking, sink),
            "input_json_delta" => {
                let call = self.open.as_mut().filter(|open| open.kind == Kind::Call && open.index == index);
                if let (Some(open), Some(piece)) = (call, delta.partial_json.said()) {
                    open.held.clear();
                    sink.event(0, Event::Delta(piece));
                }
            }
            "signature_delta" => {
                let thinking = self.open.as_mut().filter(|open| open.kind == Kind::Thinking && open.index == index);
                if let (Some(open), Some(signature)) = (thinking, delta.signature.said()) {
                    open.held.push_str(&signature);
                }
            }
            "citations_delta" => {
                let text = self.open.as_mut().filter(|open| open.kind == Kind::Text && open.index == index);
                if let (Some(open), Some(citation)) = (text, delta.citation) {
                    open.sources.extend(source_of(citation.get()));
                }
            }
            _ => {}
        }
    }

    /// Text or thinking, in its block: one is opened where the server did not.
    fn say(&mut self, index: u64, kind: Kind, text: Loose<'_>, sink: &mut dyn Sink) {
        let Some(text) = text.said() else { return };
        match &self.open {
            Some(open) if open.index == index && open.kind == Kind::Ignored => return,
            Some(open) if open.index == index && open.kind == kind => {}
            _ => {
                self.start("{}", sink);
                self.close(sink);
                self.open =
                    Some(Open { index, kind, told: false, start: self.said, sources: Vec::new(), held: String::new() });
            }
        }
        let Some(open) = &mut self.open else { return };
        if kind == Kind::Text {
            self.said += text.chars().count();
        }
        if !open.told {
            open.told = true;
            sink.event(0, Event::Open(if kind == Kind::Text { Block::Text } else { Block::Thinking }));
        }
        sink.event(0, Event::Delta(text));
    }

    fn stop_block(&mut self, index: Option<u64>, sink: &mut dyn Sink) {
        if self.open.as_ref().is_some_and(|open| index.is_none_or(|index| index == open.index)) {
            self.close(sink);
        }
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        let Some(open) = self.open.take() else { return };
        match open.kind {
            Kind::Ignored => return,
            Kind::Thinking if !open.held.is_empty() => {
                if !open.told {
                    sink.event(0, Event::Open(Block::Thinking));
                }
                sink.event(0, Event::Seal(Origin::Anthropic, open.held.into()));
            }
            Kind::Call if !open.held.is_empty() => sink.event(0, Event::Delta(open.held.into())),
            Kind::Text | Kind::Thinking if !open.told => return,
            Kind::Text | Kind::Thinking | Kind::Call => {}
        }
        sink.event(0, Event::Close);
        for source in &open.sources {
            sink.event(0, Event::Citation(source.over(open.start, self.said)));
        }
    }

    fn stopped(&mut self, delta: Delta<'_>) {
        if let Some(reason) = delta.stop_reason.said() {
            self.finish = Some(Finish {
                stop: stop_of(&reason),
                sequence: delta.stop_sequence.said().map(Str::into_owned),
                explanation: delta
                    .stop_details
                    .as_ref()
                    .and_then(|details| explanation_of(details.get()))
                    .map(Str::into_owned),
            });
        }
    }

    fn stop(&mut self, sink: &mut dyn Sink) {
        self.start("{}", sink);
        self.close(sink);
        self.over = true;
        let finish = self.finish.take().unwrap_or(Finish { stop: Stop::End, sequence: None, explanation: None });
        let (sequence, explanation) = (finish.sequence.map(Into::into), finish.explanation.map(Into::into));
        sink.event(0, Event::Finish { stop: finish.stop, sequence, explanation });
        sink.event(0, Event::End);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answering, folded, gathered, streamed, written};
    use super::*;
    use crate::wire::anthropic::Anthropic;
    use crate::wire::event::Citation;
    use crate::wire::ir::{FailureKind, Usage};
    use crate::wire::relay::Undo;
    use crate::wire::transcode::Transcoder;
    use bytes::Bytes;

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":100,"cache_read_input_tokens":20,"output_tokens":1,"service_tier":"standard"}}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn block(index: u64, block: &str) -> String {
        format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
    }

    fn delta(index: u64, kind: &str, field: &str, value: &str) -> String {
        let value = crate::wire::quoted(value);
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}_delta","{field}":{value}}}}}"#
        )
    }

    fn stop(index: u64) -> String {
        format!(r#"{{"type":"content_block_stop","index":{index}}}"#)
    }

    fn end(reason: &str) -> String {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{{"output_tokens":9}}}}"#
        )
    }

    fn run(events: &[String]) -> Vec<Event<'static>> {
        streamed(&events.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A stream with a block of each kind.
    fn all() -> Vec<String> {
        vec![
            START.to_owned(),
            r#"{"type":"ping"}"#.to_owned(),
            block(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
            delta(0, "thinking", "thinking", "Hm, ü"),
            delta(0, "signature", "signature", "c2ln=="),
            stop(0),
            block(1, r#"{"type":"redacted_thinking","data":"ZGF0YQ=="}"#),
            stop(1),
            block(2, r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}"#),
            delta(2, "input_json", "partial_json", "{\"query\":\"x\"}"),
            stop(2),
            block(3, r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}"#),
            stop(3),
            block(4, r#"{"type":"text","text":""}"#),
            delta(4, "text", "text", "I "),
            delta(4, "text", "text", "look 🔎."),
            stop(4),
            block(5, r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{}}"#),
            delta(5, "input_json", "partial_json", ""),
            delta(5, "input_json", "partial_json", "{\"b\": 1.0,"),
            delta(5, "input_json", "partial_json", " \"a\": [\"ü\"]}"),
            stop(5),
            block(6, r#"{"type":"tool_use","id":"toolu_2","name":"g","input":{}}"#),
            delta(6, "input_json", "partial_json", ""),
            stop(6),
            end("tool_use"),
            STOP.to_owned(),
        ]
    }

    #[test]
    fn w04_w20_w21_blocks_of_servers_count_for_nothing_and_calls_come_in_order() {
        let answer = folded(&run(&all()));
        let pieces: Vec<(Block<'_>, &str)> =
            answer.choices[0].pieces.iter().map(|piece| (piece.block.clone(), piece.text.as_str())).collect();
        let call = |id: &'static str, name: &'static str| Block::Call { id: id.into(), name: name.into(), seal: None };
        assert_eq!(
            pieces,
            [
                (Block::Thinking, "Hm, ü"),
                (Block::Redacted(Origin::Anthropic, "ZGF0YQ==".into()), ""),
                (Block::Text, "I look 🔎."),
                (call("toolu_1", "f"), "{\"b\": 1.0, \"a\": [\"ü\"]}"),
                (call("toolu_2", "g"), "{}"),
            ]
        );
        assert_eq!(answer.choices[0].pieces[0].seal, Some((Origin::Anthropic, "c2ln==".into())));
        assert_eq!(answer.choices[0].stop, Some(Stop::Tools));
    }

    #[test]
    fn w11_usage_is_a_total_that_later_events_replace() {
        let answer = folded(&run(&all()));
        let want =
            Usage { input: Some(5), output: Some(9), cache_read: Some(20), cache_write: Some(100), ..Usage::default() };
        assert_eq!((answer.usage, answer.tier.as_deref()), (want, Some("default")));
        let corrected = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":22397,"cache_read_input_tokens":0,"output_tokens":3,"output_tokens_details":{"thinking_tokens":2}}}"#;
        let answer = folded(&run(&[START.into(), corrected.into(), STOP.into()]));
        let want = Usage {
            input: Some(22397),
            output: Some(3),
            cache_read: Some(0),
            cache_write: Some(100),
            reasoning: Some(2),
            ..Usage::default()
        };
        assert_eq!(answer.usage, want);
    }

    #[test]
    fn w13_an_error_event_is_a_failure_of_its_kind() {
        for (kind, status, want) in [
            ("overloaded_error", 529, FailureKind::Overloaded),
            ("rate_limit_error", 429, FailureKind::RateLimited),
            ("api_error", 500, FailureKind::Server),
            ("new_error", 500, FailureKind::Server),
        ] {
            let error = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"Oh"}}}}"#);
            let nameless = format!(r#"{{"error":{{"type":"{kind}","message":"Oh"}}}}"#);
            for error in [error, nameless] {
                for before in [0, 1, 5] {
                    let mut events = all();
                    events.truncate(before);
                    events.push(error.clone());
                    let Some(Event::Failed(failure)) = run(&events).pop() else { panic!("{kind} is no failure") };
                    assert_eq!((failure.status, failure.kind, &*failure.message), (status, want, "Oh"));
                }
            }
        }
    }

    #[test]
    fn w14_w15_w18_an_end_that_the_upstream_did_not_tell_is_a_failure() {
        let events = all();
        for cut in 0..=events.len() {
            let told = run(&events[..cut]);
            // With the reason in `message_delta` the answer is whole, though `message_stop` is missing.
            let whole = cut + 1 >= events.len();
            assert_eq!(matches!(told.last(), Some(Event::End)), whole, "cut at {cut}");
            let finished = told.iter().any(|event| matches!(event, Event::Finish { .. }));
            assert_eq!(finished, whole, "cut at {cut}");
        }
    }

    #[test]
    fn w25_what_is_unknown_is_ignored_and_what_is_broken_is_not() {
        let mut events = all();
        for (at, odd) in [
            r#"{"type":"heartbeat","delta":"x","index":"y"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","text":{"a":1}}}"#,
            r#"{"type":"message_start","message":{"id":"msg_2","model":"other","usage":{"input_tokens":1}}}"#,
            "[DONE]",
            "",
        ]
        .into_iter()
        .enumerate()
        {
            events.insert(at * 3 + 3, odd.to_owned());
        }
        events.push("[DONE]".into());
        events.push(START.into());
        assert_eq!(run(&events), run(&all()));
        for broken in [r#"{"type":"content_block_delta","index":0,"delta":{"#, r#"{"type":"message_delta"#] {
            let mut events = all();
            events.insert(4, broken.into());
            assert!(matches!(run(&events).last(), Some(Event::Failed(_))));
        }
    }

    #[test]
    fn w45_a_signature_may_be_all_there_is() {
        let events = [
            START.into(),
            block(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
            delta(0, "signature", "signature", "s1"),
            stop(0),
            block(1, r#"{"type":"thinking","thinking":"","signature":""}"#),
            stop(1),
            end("end_turn"),
            STOP.into(),
        ];
        let answer = folded(&run(&events));
        assert_eq!(answer.choices[0].pieces.len(), 1);
        let piece = &answer.choices[0].pieces[0];
        assert_eq!((&*piece.text, &piece.seal), ("", &Some((Origin::Anthropic, "s1".into()))));
    }

    #[test]
    fn w71_w72_reasons_to_stop() {
        for (word, want) in [
            ("end_turn", Stop::End),
            ("stop_sequence", Stop::Sequence),
            ("max_tokens", Stop::Length),
            ("model_context_window_exceeded", Stop::Context),
            ("tool_use", Stop::Tools),
            ("refusal", Stop::Refusal),
            ("pause_turn", Stop::Pause),
            ("compaction", Stop::End),
            ("what_comes_next", Stop::End),
        ] {
            let answer = folded(&run(&[START.into(), end(word), STOP.into()]));
            assert_eq!(answer.choices[0].stop, Some(want), "{word}");
            // A stop at the first token has no block at all.
            assert!(answer.choices[0].pieces.is_empty());
        }
        let refusal = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"No."}}}"#;
        let answer = folded(&run(&[START.into(), refusal.into(), STOP.into()]));
        assert_eq!(answer.choices[0].explanation.as_deref(), Some("No."));
        let stop = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"X"}}"#;
        let answer = folded(&run(&[START.into(), stop.into(), STOP.into()]));
        assert_eq!(answer.choices[0].sequence.as_deref(), Some("X"));
    }

    #[test]
    fn citations_span_the_characters_of_their_block() {
        let cite = |url: &str| {
            format!(
                r#"{{"type":"content_block_delta","index":1,"delta":{{"type":"citations_delta","citation":{{"type":"web_search_result_location","url":"{url}","title":"T"}}}}}}"#
            )
        };
        let page = r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location","document_index":0}}}"#;
        let events = [
            START.into(),
            block(0, r#"{"type":"text","text":""}"#),
            delta(0, "text", "text", "Öl: "),
            stop(0),
            block(1, r#"{"type":"text","text":"","citations":[]}"#),
            cite("https://a"),
            page.to_owned(),
            delta(1, "text", "text", "fünf"),
            stop(1),
            end("end_turn"),
            STOP.into(),
        ];
        let answer = folded(&run(&events));
        let want = Citation { url: "https://a".into(), title: "T".into(), start: 4, end: 8 };
        assert_eq!(answer.choices[0].citations, [want]);
    }

    #[test]
    fn servers_that_do_not_keep_to_the_grammar_are_understood() {
        // No start, no block starts, no stops, a call that comes whole.
        let events = [
            delta(0, "text", "text", "a"),
            delta(0, "text", "text", "b"),
            block(1, r#"{"type":"tool_use","id":"t1","name":"f","input":{"x": 1}}"#),
            block(2, r#"{"type":"tool_use","id":"t2","name":"g","input":{"y":2}}"#),
            delta(2, "input_json", "partial_json", "{\"z\":3}"),
            delta(7, "input_json", "partial_json", "lost"),
            end("tool_use"),
        ];
        let answer = folded(&run(&events));
        let texts: Vec<&str> = answer.choices[0].pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, ["ab", "{\"x\":1}", "{\"z\":3}"]);
        assert!(answer.ended);
    }

    fn transported(events: &[String], ending: &str) -> Vec<u8> {
        let mut out = String::new();
        for data in events {
            let kind: Frame<'_> = serde_json::from_str(data).unwrap();
            let kind = kind.kind.as_str();
            for piece in ["event: ", kind, ending, "data: ", data, " ", ending, ending] {
                out.push_str(piece);
            }
        }
        out.into_bytes()
    }

    fn through(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut pipe = Transcoder::new(&Anthropic, &Anthropic, Undo::default(), &answering());
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&pipe.push(Bytes::copy_from_slice(piece)));
        }
        let tally = pipe.finish(None);
        out.extend_from_slice(&tally.bytes);
        (out, tally.failure.is_none())
    }

    #[test]
    fn every_split_gives_the_same_stream() {
        let bytes = transported(&all(), "\n");
        let want = through(&[&bytes]);
        assert!(want.1);
        for at in 0..=bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(through(&[one, two]), want, "split at {at}");
        }
        for ending in ["\n", "\r\n", "\r"] {
            let bytes = transported(&all(), ending);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(through(&single), want);
        }
    }

    #[test]
    fn every_truncation_is_a_failure_until_the_reason_was_told() {
        let bytes = transported(&all(), "\n");
        let whole = transported(&all()[..all().len() - 1], "\n").len();
        for at in 0..bytes.len() {
            let (out, good) = through(&[&bytes[..at]]);
            let text = String::from_utf8(out).unwrap();
            // The last event counts though its line ends are missing.
            assert_eq!(good, at + 3 >= whole, "cut at {at}");
            assert_eq!(good, text.contains("message_stop"), "cut at {at}");
        }
    }

    #[test]
    fn what_is_read_and_written_again_is_the_same_message() {
        let events = run(&all());
        let message = gathered(&written(&events, &answering()));
        assert_eq!(message["content"].as_array().unwrap().len(), 5);
        assert_eq!(message["content"][0]["signature"], "c2ln==");
        assert_eq!(message["content"][1]["data"], "ZGF0YQ==");
        assert_eq!(message["stop_reason"], "tool_use");
    }
}
