//! Streamed answers, written.
//!
//! The grammar (`OpenAI`'s reference, 2026-11): the role in the first chunk of each choice and nowhere else; id, type and name of
//! a call in its first chunk; one finish for each choice; usage last, on a chunk without choices and only if asked for; then
//! `[DONE]`.

use std::sync::Arc;

use super::response::{self, Detail, Opening};
use crate::wire::chat::Origin;
use crate::wire::convert::{Answering, StreamEncoder};
use crate::wire::event::{Block, Event, Stop};
use crate::wire::ir::Usage;
use crate::wire::text::Writer;

/// Writes events as a stream.
#[derive(Debug)]
pub(super) struct Encoder {
    how: Arc<Answering>,
    /// What every chunk begins with.
    prefix: String,
    usage: Usage,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    started: bool,
    open: Option<Block<'static>>,
    /// The open block's words, where they have to be told again with their seal.
    words: String,
    seal: Option<(Origin, String)>,
    /// The open call has arguments.
    fed: bool,
    /// How many calls there are.
    calls: u32,
    /// How many blocks can come back.
    blocks: u32,
    refused: bool,
    annotations: Writer,
    /// Entries of `logprobs.content`, joined.
    logprobs: String,
}

/// More choices than this are not written; nobody asks for so many.
const MOST_CHOICES: usize = 128;

impl Encoder {
    pub(super) fn new(how: &Arc<Answering>) -> Self {
        Self { how: Arc::clone(how), prefix: String::new(), usage: Usage::default(), choices: Vec::new() }
    }

    fn start(&mut self, model: &str, tier: Option<&str>) {
        let mut out = Writer::default();
        out.frame("data: ").open('{');
        response::head(&mut out, "chat.completion.chunk", model, &self.how);
        if let Some(tier) = tier {
            out.key("service_tier").string(tier);
        }
        out.key("system_fingerprint").null().key("choices").open('[');
        self.prefix = String::from_utf8(out.into_bytes()).unwrap_or_default();
    }

    fn end(&self, out: &mut Writer) {
        if self.how.wish.usage && response::known(&self.usage) {
            out.frame(&self.prefix).close(']').key("usage");
            let cost = self.how.costs.as_ref().and_then(|costs| costs.of(&self.usage));
            response::usage(out, &self.usage, cost.as_deref());
            out.close('}').frame("\n\n");
        }
        out.frame("data: [DONE]\n\n");
    }
}

impl StreamEncoder for Encoder {
    fn event(&mut self, choice: u32, event: Event<'_>, out: &mut Writer) {
        match &event {
            Event::Start { model, tier, .. } => return self.start(model, tier.as_deref()),
            Event::Usage(usage) => return self.usage.replace(*usage),
            Event::End => return self.end(out),
            Event::Failed(_) => return,
            _ => {}
        }
        let index = choice as usize;
        if index >= MOST_CHOICES {
            return;
        }
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        let chunk = Pen { how: &self.how, prefix: &self.prefix, index: choice };
        if let Some(state) = self.choices.get_mut(index) {
            state.event(event, &chunk, out);
        }
    }
}

/// Frames the chunks of a choice.
struct Pen<'a> {
    how: &'a Answering,
    prefix: &'a str,
    index: u32,
}

impl Pen<'_> {
    fn open(&self, out: &mut Writer) {
        out.frame(self.prefix).open('{').key("index").plain(self.index).key("delta").open('{');
    }

    fn close(&self, out: &mut Writer, logprobs: Option<&str>, finish: Option<&str>) {
        out.close('}').key("logprobs");
        response::logprobs(out, logprobs);
        out.key("finish_reason").optional(finish).close('}').close(']');
        if self.how.wish.usage {
            out.key("usage").null();
        }
        out.close('}').frame("\n\n");
    }

    /// A chunk with one text.
    fn text(&self, out: &mut Writer, key: &str, text: &str) {
        self.open(out);
        out.key(key).string(text);
        self.close(out, None, None);
    }

    fn arguments(&self, out: &mut Writer, call: u32, name: &str, text: &str) {
        self.open(out);
        if self.how.wish.functions {
            out.key("function_call").open('{').key("arguments").string(text).close('}');
        } else {
            let (kind, field) = response::call_words(name, self.how);
            out.key("tool_calls").open('[').open('{').key("index").plain(call);
            out.key(kind).open('{').key(field).string(text).close('}').close('}').close(']');
        }
        self.close(out, None, None);
    }
}

impl Choice {
    fn event(&mut self, event: Event<'_>, pen: &Pen<'_>, out: &mut Writer) {
        match event {
            Event::Open(block) => {
                // An answer of calls only has null for its text.
                self.begin(matches!(block, Block::Text | Block::Refusal), pen, out);
                self.open(block.detached(), pen, out);
            }
            Event::Delta(text) => self.delta(&text, pen, out),
            Event::Seal(origin, data) => self.seal = Some((origin, data.into_owned())),
            Event::Close => self.close(pen, out),
            Event::Citation(citation) => response::annotation(&mut self.annotations, &citation),
            Event::Logprobs(list) => {
                let list = list.trim().trim_start_matches('[').trim_end_matches(']');
                if !list.is_empty() && !self.logprobs.is_empty() {
                    self.logprobs.push(',');
                }
                self.logprobs.push_str(list);
            }
            Event::Finish { stop, explanation, .. } => {
                self.begin(true, pen, out);
                self.finish(stop, explanation.as_deref(), pen, out);
            }
            Event::Start { .. } | Event::Usage(_) | Event::End | Event::Failed(_) => {}
        }
    }

    fn begin(&mut self, text: bool, pen: &Pen<'_>, out: &mut Writer) {
        if self.started {
            return;
        }
        self.started = true;
        pen.open(out);
        out.key("role").string("assistant").key("content").optional(text.then_some("")).key("refusal").null();
        pen.close(out, None, None);
    }

    fn open(&mut self, block: Block<'static>, pen: &Pen<'_>, out: &mut Writer) {
        match &block {
            Block::Call { id, name, seal } => {
                self.fed = false;
                self.calls += 1;
                pen.open(out);
                if !pen.how.wish.functions {
                    out.key("tool_calls").open('[');
                    let seal = seal.as_ref().map(|(origin, data)| (*origin, &**data));
                    response::call(out, &Opening { index: Some(self.calls - 1), id, name, seal }, "", pen.how);
                    out.close(']');
                } else if self.calls == 1 {
                    out.key("function_call").open('{').key("name").string(name).key("arguments").string("").close('}');
                }
                if let Some(detail) = Detail::of(&block, "", None) {
                    out.key("reasoning_details").open('[');
                    detail.write(out, self.blocks);
                    out.close(']');
                }
                pen.close(out, None, None);
            }
            Block::Image { .. } => {
                pen.open(out);
                response::images(out, std::iter::once(&block));
                pen.close(out, None, None);
            }
            Block::Refusal => self.refused = true,
            Block::Text | Block::Thinking | Block::Redacted(..) => {}
        }
        self.open = Some(block);
    }

    fn delta(&mut self, text: &str, pen: &Pen<'_>, out: &mut Writer) {
        match &self.open {
            Some(Block::Text) => pen.text(out, "content", text),
            Some(Block::Refusal) => pen.text(out, "refusal", text),
            Some(Block::Thinking) => {
                self.words.push_str(text);
                pen.text(out, "reasoning_content", text);
            }
            // `function_call` has room for one.
            Some(Block::Call { name, .. }) if self.calls == 1 || !pen.how.wish.functions => {
                self.fed = true;
                pen.arguments(out, self.calls - 1, name, text);
            }
            Some(Block::Call { .. } | Block::Redacted(..) | Block::Image { .. }) | None => {}
        }
    }

    fn close(&mut self, pen: &Pen<'_>, out: &mut Writer) {
        let Some(block) = self.open.take() else { return };
        let seal = self.seal.take();
        let words = std::mem::take(&mut self.words);
        let told = match &block {
            Block::Call { name, .. } => {
                let custom = response::call_words(name, pen.how).0 == "custom";
                if !self.fed && !custom && (self.calls == 1 || !pen.how.wish.functions) {
                    pen.arguments(out, self.calls - 1, name, "{}");
                }
                true
            }
            _ => {
                let seal = seal.as_ref().map(|(origin, data)| (*origin, data.as_str()));
                let detail = Detail::of(&block, &words, seal);
                if let Some(detail) = &detail {
                    pen.open(out);
                    out.key("reasoning_details").open('[');
                    detail.write(out, self.blocks);
                    out.close(']');
                    pen.close(out, None, None);
                }
                detail.is_some()
            }
        };
        self.blocks += u32::from(response::counts(&block, told));
    }

    fn finish(&mut self, stop: Stop, explanation: Option<&str>, pen: &Pen<'_>, out: &mut Writer) {
        if stop == Stop::Refusal && !self.refused {
            pen.text(out, "refusal", explanation.unwrap_or(response::REFUSED));
        }
        let annotations = String::from_utf8(self.annotations.take()).unwrap_or_default();
        if !annotations.is_empty() {
            pen.open(out);
            out.key("annotations").open('[').raw(&annotations).close(']');
            pen.close(out, None, None);
        }
        let logprobs = format!("[{}]", self.logprobs);
        pen.open(out);
        pen.close(
            out,
            Some(logprobs.as_str()).filter(|list| *list != "[]"),
            Some(response::finish_reason(stop, pen.how)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, told, whole};
    use super::*;
    use crate::wire::chat::Wish;
    use crate::wire::event::{Citation, Sink};
    use crate::wire::fold::Answer;

    type Events = Vec<(u32, Event<'static>)>;
    /// Blocks and their end, what the client wished, and the deltas.
    type Case = (Vec<Events>, Stop, Wish, Vec<&'static str>);

    fn how(wish: Wish) -> Arc<Answering> {
        Arc::new(Answering { stamp: "s1".to_owned(), created: 7, wish, ..Answering::default() })
    }

    fn asked() -> Wish {
        Wish { usage: true, ..Wish::default() }
    }

    fn start() -> Event<'static> {
        Event::Start { id: "up".into(), model: "m".into(), tier: None }
    }

    fn text(text: &'static str) -> Events {
        vec![(0, Event::Open(Block::Text)), (0, Event::Delta(text.into())), (0, Event::Close)]
    }

    fn thought(text: &'static str, seal: Option<(Origin, &'static str)>) -> Events {
        let mut out = vec![(0, Event::Open(Block::Thinking))];
        if !text.is_empty() {
            out.push((0, Event::Delta(text.into())));
        }
        out.extend(seal.map(|(origin, data)| (0, Event::Seal(origin, data.into()))));
        out.push((0, Event::Close));
        out
    }

    fn call(id: &'static str, name: &'static str, arguments: &[&'static str], seal: Option<&'static str>) -> Events {
        let seal = seal.map(|data| (Origin::Gemini, data.into()));
        let mut out = vec![(0, Event::Open(Block::Call { id: id.into(), name: name.into(), seal }))];
        out.extend(arguments.iter().map(|piece| (0, Event::Delta((*piece).into()))));
        out.push((0, Event::Close));
        out
    }

    fn finish(stop: Stop) -> Event<'static> {
        Event::Finish { stop, sequence: None, explanation: None }
    }

    fn usage() -> Event<'static> {
        Event::Usage(Usage {
            input: Some(3),
            output: Some(4),
            cache_read: Some(2),
            reasoning: Some(1),
            ..Usage::default()
        })
    }

    /// A whole answer of these blocks.
    fn answer(blocks: Vec<Events>, stop: Stop) -> Events {
        let mut out = vec![(0, start())];
        out.extend(blocks.into_iter().flatten());
        out.extend([(0, usage()), (0, finish(stop)), (0, Event::End)]);
        out
    }

    fn written(events: &Events, how: &Arc<Answering>) -> String {
        let mut encoder = Encoder::new(how);
        let mut out = Writer::default();
        for (choice, event) in events.clone() {
            encoder.event(choice, event, &mut out);
        }
        String::from_utf8(out.into_bytes()).unwrap()
    }

    /// The deltas of a stream, with the finish where it stands.
    fn deltas(stream: &str) -> Vec<String> {
        let chunks = stream.split("\n\n").filter_map(|chunk| chunk.strip_prefix("data: {"));
        chunks
            .filter_map(|chunk| chunk.split_once("\"delta\":"))
            .map(|(_, rest)| {
                let (delta, rest) = rest.split_once(",\"logprobs\":").unwrap();
                match rest.split_once("\"finish_reason\":\"") {
                    Some((_, reason)) => format!("{delta} {}", reason.split('"').next().unwrap()),
                    None => delta.to_owned(),
                }
            })
            .collect()
    }

    #[test]
    fn the_chunks_of_an_answer_to_the_byte() {
        let events = answer(vec![text("a\"b")], Stop::End);
        let head = r#"data: {"id":"chatcmpl-s1","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":null,"choices":["#;
        let chunk = |delta: &str, finish: &str, tail: &str| {
            format!("{head}{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]{tail}}}\n\n")
        };
        let want = |tail: &str, usage: &str| {
            [
                chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null", tail),
                chunk(r#"{"content":"a\"b"}"#, "null", tail),
                chunk("{}", "\"stop\"", tail),
                usage.to_owned(),
                "data: [DONE]\n\n".to_owned(),
            ]
            .concat()
        };
        assert_eq!(written(&events, &how(Wish::default())), want("", ""));
        let counts = format!(
            "{head}],\"usage\":{}}}\n\n",
            r#"{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}"#
        );
        assert_eq!(written(&events, &how(asked())), want(",\"usage\":null", &counts));
    }

    #[test]
    fn w05_w27_the_role_stands_in_the_first_chunk_of_a_choice_and_nowhere_else() {
        let mut events = answer(vec![thought("r", None), text("t"), call("a", "f", &["{}"], None)], Stop::Tools);
        events.splice(1..1, [(1, Event::Open(Block::Text)), (1, Event::Delta("o".into())), (1, Event::Close)]);
        events.insert(events.len() - 1, (1, finish(Stop::End)));
        let stream = written(&events, &how(asked()));
        for index in ["\"index\":0,\"delta\"", "\"index\":1,\"delta\""] {
            let own: Vec<&str> = stream.split("\n\n").filter(|chunk| chunk.contains(index)).collect();
            assert!(own[0].contains("\"role\":\"assistant\""), "{stream}");
            assert_eq!(own.iter().filter(|chunk| chunk.contains("\"role\"")).count(), 1, "{stream}");
            assert_eq!(own.iter().filter(|chunk| chunk.contains("\"finish_reason\":\"")).count(), 1, "{stream}");
        }
        assert_eq!(stream.matches("[DONE]").count(), 1);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn w04_w20_w71_w72_deltas_of_every_block() {
        let functions = Wish { functions: true, ..Wish::default() };
        let custom = Wish { custom: vec!["sql".to_owned()], ..Wish::default() };
        let role = r#"{"role":"assistant","content":"","refusal":null}"#;
        let null = r#"{"role":"assistant","content":null,"refusal":null}"#;
        let cases: Vec<Case> = vec![
            (vec![], Stop::End, Wish::default(), vec![role, "{} stop"]),
            (vec![text("a")], Stop::Length, Wish::default(), vec![role, r#"{"content":"a"}"#, "{} length"]),
            // W04: the index counts calls.
            (
                vec![
                    thought("r", None),
                    text("a"),
                    call("c1", "f", &["{\"x\":", "1}"], None),
                    call("c2", "g", &["{}"], None),
                ],
                Stop::Tools,
                Wish::default(),
                vec![
                    null,
                    r#"{"reasoning_content":"r"}"#,
                    r#"{"content":"a"}"#,
                    r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
                    r#"{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
                    "{} tool_calls",
                ],
            ),
            // W20: arguments that never came.
            (
                vec![call("c1", "f", &[], None)],
                Stop::Tools,
                Wish::default(),
                vec![
                    null,
                    r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
                    "{} tool_calls",
                ],
            ),
            (
                vec![call("c1", "f", &["{\"x\":1}"], None), call("c2", "g", &["{}"], None)],
                Stop::Tools,
                functions,
                vec![
                    null,
                    r#"{"function_call":{"name":"f","arguments":""}}"#,
                    r#"{"function_call":{"arguments":"{\"x\":1}"}}"#,
                    "{}",
                    "{} function_call",
                ],
            ),
            (
                vec![call("c1", "sql", &["SELECT 1"], None), call("c2", "sql", &[], None)],
                Stop::Tools,
                custom,
                vec![
                    null,
                    r#"{"tool_calls":[{"index":0,"id":"c1","type":"custom","custom":{"name":"sql","input":""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"custom":{"input":"SELECT 1"}}]}"#,
                    r#"{"tool_calls":[{"index":1,"id":"c2","type":"custom","custom":{"name":"sql","input":""}}]}"#,
                    "{} tool_calls",
                ],
            ),
            // What has to come back: sealed, encrypted, and signed calls; the index is the block's place.
            (
                vec![
                    thought("r", Some((Origin::Anthropic, "sig"))),
                    vec![(0, Event::Open(Block::Redacted(Origin::Anthropic, "enc".into()))), (0, Event::Close)],
                    text("a"),
                    thought("", Some((Origin::Anthropic, "sig2"))),
                    call("c1", "f", &["{}"], Some("gs")),
                ],
                Stop::Tools,
                Wish::default(),
                vec![
                    null,
                    r#"{"reasoning_content":"r"}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.text","text":"r","signature":"sig","format":"anthropic-claude-v1","index":0,"source":"feathergate"}]}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"enc","format":"anthropic-claude-v1","index":1,"source":"feathergate"}]}"#,
                    r#"{"content":"a"}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.text","text":"","signature":"sig2","format":"anthropic-claude-v1","index":3,"source":"feathergate"}]}"#,
                    r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""},"extra_content":{"google":{"thought_signature":"gs"}}}],"reasoning_details":[{"type":"reasoning.encrypted","data":"gs","id":"c1","format":"google-gemini-v1","index":4,"source":"feathergate"}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
                    "{} tool_calls",
                ],
            ),
            (
                vec![vec![
                    (0, Event::Open(Block::Image { mime: "image/png".into(), data: "QQ==".into() })),
                    (0, Event::Close),
                ]],
                Stop::End,
                Wish::default(),
                vec![
                    null,
                    r#"{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="},"index":0}]}"#,
                    "{} stop",
                ],
            ),
            (
                vec![
                    text("a"),
                    vec![(0, Event::Citation(Citation { url: "u".into(), title: "t".into(), start: 0, end: 1 }))],
                ],
                Stop::End,
                Wish::default(),
                vec![
                    role,
                    r#"{"content":"a"}"#,
                    r#"{"annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":1}}]}"#,
                    "{} stop",
                ],
            ),
            // W71: a refusal has words, W72: the limits are one.
            (
                vec![],
                Stop::Refusal,
                Wish::default(),
                vec![role, r#"{"refusal":"The model refused to answer."}"#, "{} content_filter"],
            ),
            (
                vec![vec![(0, Event::Open(Block::Refusal)), (0, Event::Delta("no".into())), (0, Event::Close)]],
                Stop::Refusal,
                Wish::default(),
                vec![role, r#"{"refusal":"no"}"#, "{} content_filter"],
            ),
            (vec![], Stop::Context, Wish::default(), vec![role, "{} length"]),
            (vec![], Stop::Pause, Wish::default(), vec![role, "{} stop"]),
            (vec![], Stop::Sequence, Wish::default(), vec![role, "{} stop"]),
        ];
        for (blocks, stop, wish, mut want) in cases {
            // Of a second call the old way has nothing to say.
            if wish.functions {
                want.retain(|delta| *delta != "{}");
            }
            let got = deltas(&written(&answer(blocks, stop), &how(wish)));
            let got: Vec<&str> = got.iter().map(String::as_str).filter(|delta| *delta != "{}").collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn w09_counts_that_nobody_made_are_not_told() {
        let mut events = answer(vec![text("a")], Stop::End);
        events.retain(|(_, event)| !matches!(event, Event::Usage(_)));
        let stream = written(&events, &how(asked()));
        assert!(!stream.contains("prompt_tokens") && stream.contains("\"usage\":null"), "{stream}");
    }

    #[test]
    fn w08_usage_is_told_once_and_only_if_asked_for() {
        let mut events = answer(vec![text("a")], Stop::End);
        events.insert(1, (0, Event::Usage(Usage { input: Some(1), ..Usage::default() })));
        for (wish, want) in [(asked(), 1), (Wish::default(), 0)] {
            let stream = written(&events, &how(wish));
            assert_eq!(stream.matches("\"total_tokens\"").count(), want, "{stream}");
            assert_eq!(stream.matches("\"choices\":[],\"usage\":{").count(), want, "{stream}");
        }
    }

    #[test]
    fn w70_the_model_is_what_the_client_is_to_see() {
        let named = Answering { model: Some("alias".to_owned()), ..(*how(Wish::default())).clone() };
        let stream = written(&answer(vec![text("a")], Stop::End), &Arc::new(named));
        assert!(stream.contains(r#""model":"alias""#) && !stream.contains(r#""model":"m""#), "{stream}");
    }

    #[test]
    fn streams_and_whole_answers_say_the_same() {
        let logprobs =
            vec![(0, Event::Logprobs(r#"[{"token":"a"}]"#.into())), (0, Event::Logprobs(r#"[{"token":"b"}]"#.into()))];
        let cited = vec![(0, Event::Citation(Citation { url: "u".into(), title: "t".into(), start: 0, end: 1 }))];
        let refusal = vec![(0, Event::Open(Block::Refusal)), (0, Event::Delta("no".into())), (0, Event::Close)];
        for (blocks, stop) in [
            (vec![text("a")], Stop::End),
            (vec![], Stop::End),
            (vec![text("a"), cited, logprobs], Stop::Length),
            (
                vec![
                    thought("r", Some((Origin::Anthropic, "s"))),
                    text("t"),
                    call("a", "f", &["{\"x\": 1", "}"], None),
                ],
                Stop::Tools,
            ),
            (vec![thought("r", None), call("a", "f", &[], Some("g")), call("b", "f", &["{}"], None)], Stop::Tools),
            (vec![refusal], Stop::Refusal),
            (vec![text("a")], Stop::Refusal),
        ] {
            let events = answer(blocks, stop);
            let how = how(asked());
            let stream = written(&events, &how);
            let mut answer = Answer::default();
            for (choice, event) in events {
                answer.event(choice, event);
            }
            let body = String::from_utf8(response::encode(&answer, &how)).unwrap();
            assert_eq!(told(&read(&[stream.as_bytes()]).0), whole(&body), "{body}\n{stream}");
        }
    }
}
