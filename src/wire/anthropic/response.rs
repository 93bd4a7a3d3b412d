//! Whole answers, read and written; and what the stream shares with them.

use super::error;
use super::parts::object;
use super::read::{Loose, tagged};
use super::tap::usage_of;
use crate::wire::chat::Origin;
use crate::wire::convert::Answering;
use crate::wire::event::{Block, Citation, Event, Sink, Stop};
use crate::wire::fields::{fields, read_json};
use crate::wire::fold::{Answer, Choice, Piece};
use crate::wire::ids;
use crate::wire::ir::{Failure, FailureKind, Usage};
use crate::wire::text::{Json, Str, Writer};

#[derive(Default)]
struct Body<'a> {
    id: Loose<'a>,
    model: Loose<'a>,
    content: Option<Json<'a>>,
    stop_reason: Loose<'a>,
    stop_sequence: Loose<'a>,
    stop_details: Option<Json<'a>>,
    usage: Option<Json<'a>>,
    error: Option<Json<'a>>,
}
fields!(Body<'a> { id, model, content, stop_reason, stop_sequence, stop_details, usage, error });

/// A content block of an answer: the fields of all kinds that are read.
#[derive(Debug, Default)]
pub(super) struct Answered<'a> {
    pub(super) kind: Loose<'a>,
    pub(super) text: Loose<'a>,
    pub(super) thinking: Loose<'a>,
    pub(super) signature: Loose<'a>,
    pub(super) data: Loose<'a>,
    pub(super) id: Loose<'a>,
    pub(super) name: Loose<'a>,
    pub(super) input: Option<Json<'a>>,
    pub(super) citations: Option<Json<'a>>,
}
fields!(Answered<'a> { kind = "type", text, thinking, signature, data, id, name, input, citations });

/// Reads a whole answer into events.
pub(super) fn decode(body: &[u8], sink: &mut dyn Sink) {
    let read = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<Body<'_>>(text).ok());
    let failure = match read {
        Some(Body { error: Some(inner), content: None, .. }) if !inner.is_null() => error::decode_event(body),
        Some(Body { content: Some(content), id, model, stop_reason, stop_sequence, stop_details, usage, .. }) => {
            let tier = usage.as_ref().and_then(|usage| tier_of(usage.get()));
            sink.event(0, Event::Start { id: id.or_empty(), model: model.or_empty(), tier: tier.map(Into::into) });
            blocks(&content, sink);
            if let Some(usage) = usage {
                sink.event(0, Event::Usage(usage_of(usage.get())));
            }
            sink.event(
                0,
                Event::Finish {
                    stop: stop_of(stop_reason.as_str()),
                    sequence: stop_sequence.said(),
                    explanation: stop_details.as_ref().and_then(|details| explanation_of(details.get())),
                },
            );
            sink.event(0, Event::End);
            return;
        }
        _ => Failure::new(FailureKind::Server, 502, "the upstream's answer is no message that can be read"),
    };
    sink.event(0, Event::Failed(Box::new(failure)));
}

fn blocks(content: &Json<'_>, sink: &mut dyn Sink) {
    // Each block by itself: one that cannot be read must not take the others with it.
    let list: Vec<Json<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let mut said = 0;
    for raw in &list {
        let Ok(block) = serde_json::from_str::<Answered<'_>>(raw.get()) else { continue };
        match block.kind.as_str() {
            "text" => {
                let Some(text) = block.text.said() else { continue };
                let start = said;
                said += text.chars().count();
                sink.event(0, Event::Open(Block::Text));
                sink.event(0, Event::Delta(text));
                sink.event(0, Event::Close);
                if let Some(citations) = &block.citations {
                    let list: Vec<Json<'_>> = serde_json::from_str(citations.get()).unwrap_or_default();
                    for source in list.iter().filter_map(|raw| source_of(raw.get())) {
                        sink.event(0, Event::Citation(source.over(start, said)));
                    }
                }
            }
            "thinking" => {
                let (text, signature) = (block.thinking.said(), block.signature.said());
                if text.is_some() || signature.is_some() {
                    sink.event(0, Event::Open(Block::Thinking));
                    if let Some(text) = text {
                        sink.event(0, Event::Delta(text));
                    }
                    if let Some(signature) = signature {
                        sink.event(0, Event::Seal(Origin::Anthropic, signature));
                    }
                    sink.event(0, Event::Close);
                }
            }
            "redacted_thinking" => {
                sink.event(0, Event::Open(Block::Redacted(Origin::Anthropic, block.data.or_empty())));
                sink.event(0, Event::Close);
            }
            "tool_use" => {
                let (id, name) = (block.id.or_empty(), block.name.or_empty());
                sink.event(0, Event::Open(Block::Call { id, name, seal: None }));
                let input = object(block.input);
                if input.get() != "{}" {
                    sink.event(0, Event::Delta(input.get().into()));
                }
                sink.event(0, Event::Close);
            }
            // Blocks of server tools, uploads, compactions, what comes next month.
            _ => {}
        }
    }
}

/// A source on the web, before its span is known.
#[derive(Debug)]
pub(super) struct Found {
    url: String,
    title: String,
}

impl Found {
    pub(super) fn over(&self, start: usize, end: usize) -> Citation<'_> {
        Citation { url: self.url.as_str().into(), title: self.title.as_str().into(), start, end }
    }
}

/// The source that a citation names, if it stands on the web.
pub(super) fn source_of(text: &str) -> Option<Found> {
    #[derive(Default)]
    struct Raw<'a> {
        r#type: Loose<'a>,
        url: Loose<'a>,
        title: Loose<'a>,
    }
    fields!(Raw<'a> { r#type = "type", url, title });

    let raw: Raw<'_> = serde_json::from_str(text).ok()?;
    let web = raw.r#type.as_str() == "web_search_result_location";
    web.then(|| Found { url: raw.url.or_empty().into_owned(), title: raw.title.or_empty().into_owned() })
}

/// Why the model stopped (API reference "stop reasons", 2026-11).
pub(super) fn stop_of(word: &str) -> Stop {
    match word {
        "stop_sequence" => Stop::Sequence,
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Context,
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Refusal,
        "pause_turn" => Stop::Pause,
        // `end_turn`, `compaction`, and what we do not know.
        _ => Stop::End,
    }
}

/// Why it refused.
pub(super) fn explanation_of(details: &str) -> Option<Str<'_>> {
    #[derive(Default)]
    struct Raw<'a> {
        explanation: Loose<'a>,
    }
    fields!(Raw<'a> { explanation });

    serde_json::from_str::<Raw<'_>>(details).ok()?.explanation.said()
}

/// The class of service in `OpenAI`'s words.
pub(super) fn tier_of(usage: &str) -> Option<&'static str> {
    #[derive(Default)]
    struct Raw<'a> {
        service_tier: Loose<'a>,
    }
    fields!(Raw<'a> { service_tier });

    let raw = serde_json::from_str::<Raw<'_>>(usage).ok()?;
    match raw.service_tier.as_str() {
        "standard" | "batch" => Some("default"),
        "priority" => Some("priority"),
        _ => None,
    }
}

/// Reads a token count.
pub(super) fn counted(body: &[u8]) -> Option<u64> {
    #[derive(Default)]
    struct Count {
        input_tokens: u64,
    }
    fields!(Count { input_tokens } needs "input_tokens");

    read_json::<Count>(body).ok().map(|count| count.input_tokens)
}

/// Writes a whole answer.
pub(super) fn encode(answer: &Answer, how: &Answering) -> Vec<u8> {
    let empty = Choice::default();
    let choice = answer.choice(0).unwrap_or(&empty);
    let mut out = Writer::with_capacity(1024);
    out.open('{');
    head(&mut out, how, &answer.model);
    out.key("content").open('[');
    let refused = content(&mut out, choice);
    out.close(']');
    finish(&mut out, choice.stop, refused, choice.sequence.as_deref(), choice.explanation.as_deref());
    out.key("usage");
    usage(&mut out, &answer.usage, how, Some(answer.tier.as_deref().unwrap_or_default()));
    out.close('}');
    out.into_bytes()
}

/// The fields that every message begins with.
pub(super) fn head(out: &mut Writer, how: &Answering, model: &str) {
    out.key("id").string(&format!("msg_{}", how.stamp));
    out.key("type").string("message").key("role").string("assistant");
    out.key("model").string(how.model.as_deref().unwrap_or(model));
}

fn content(out: &mut Writer, choice: &Choice) -> bool {
    let mut refused = false;
    // A thought that nobody signed: the next call may bring it the signature that it needs.
    let mut unsigned: Option<&Piece> = None;
    for piece in &choice.pieces {
        let seal = piece.seal.as_ref().map(|(origin, data)| (*origin, data.as_str()));
        match &piece.block {
            Block::Text | Block::Refusal => {
                refused |= piece.block == Block::Refusal;
                if piece.text.is_empty() {
                    if let (Some(_), Some(before)) = (seal, unsigned.take_if(|_| seal.is_some())) {
                        thinking(out, &before.text, seal);
                    }
                    continue;
                }
                settle(out, &mut unsigned);
                text(out, &piece.text);
            }
            Block::Thinking if seal.is_none() => {
                if !piece.text.is_empty() {
                    settle(out, &mut unsigned);
                    unsigned = Some(piece);
                }
            }
            Block::Thinking => {
                settle(out, &mut unsigned);
                thinking(out, &piece.text, seal);
            }
            Block::Redacted(Origin::Anthropic, data) => {
                settle(out, &mut unsigned);
                out.open('{').key("type").string("redacted_thinking").key("data").string(data).close('}');
            }
            Block::Redacted(origin, data) => {
                settle(out, &mut unsigned);
                thinking(out, "", Some((*origin, data)));
            }
            Block::Call { id, name, seal } => {
                match seal {
                    Some((origin, data)) => {
                        let before = unsigned.take().map_or("", |before| before.text.as_str());
                        thinking(out, before, Some((*origin, data)));
                    }
                    None => settle(out, &mut unsigned),
                }
                out.open('{').key("type").string("tool_use").key("id").string(&ids::for_anthropic_client(id));
                out.key("name").string(name).key("input").raw(arguments(&piece.text).get()).close('}');
            }
            Block::Image { mime, data } => {
                settle(out, &mut unsigned);
                text(out, &pictured(mime, data));
            }
        }
    }
    settle(out, &mut unsigned);
    refused
}

fn settle(out: &mut Writer, unsigned: &mut Option<&Piece>) {
    if let Some(piece) = unsigned.take() {
        thinking(out, &piece.text, None);
    }
}

fn text(out: &mut Writer, text: &str) {
    out.open('{').key("type").string("text").key("text").string(text).close('}');
}

fn thinking(out: &mut Writer, text: &str, seal: Option<(Origin, &str)>) {
    out.open('{').key("type").string("thinking").key("thinking").string(text);
    out.key("signature").string(&tagged(seal)).close('}');
}

/// The arguments of a call as the object that this wire wants.
fn arguments(text: &str) -> Json<'_> {
    match Json::parse(text) {
        Some(json) if json.is_object() => json,
        _ if text.trim().is_empty() => Json::trusted("{}"),
        _ => Json::wrapping("_raw", text),
    }
}

/// An image as text: this wire's answers have none, and Markdown is what clients show.
pub(super) fn pictured(mime: &str, data: &str) -> String {
    format!("![image](data:{mime};base64,{data})")
}

/// `stop_reason`, `stop_sequence` and `stop_details`.
pub(super) fn finish(
    out: &mut Writer,
    stop: Option<Stop>,
    refused: bool,
    sequence: Option<&str>,
    explanation: Option<&str>,
) {
    let stop = match stop.unwrap_or(Stop::End) {
        Stop::End | Stop::Sequence if refused => Stop::Refusal,
        // Other vendors do not say which one was met, and the field must name it.
        Stop::Sequence if sequence.is_none() => Stop::End,
        stop => stop,
    };
    out.key("stop_reason").string(match stop {
        Stop::End => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Length => "max_tokens",
        Stop::Context => "model_context_window_exceeded",
        Stop::Tools => "tool_use",
        Stop::Refusal => "refusal",
        Stop::Pause => "pause_turn",
    });
    out.key("stop_sequence").optional(sequence.filter(|_| stop == Stop::Sequence));
    out.key("stop_details");
    if stop == Stop::Refusal {
        out.open('{').key("type").string("refusal").key("category").null();
        out.key("explanation").optional(explanation).close('}');
    } else {
        out.null();
    }
}

/// `usage`: all four counters, since clients add them up. With `tier`, all
/// else that a message's has; without it, it is the end of a stream, which may tell its cost.
pub(super) fn usage(out: &mut Writer, usage: &Usage, how: &Answering, tier: Option<&str>) {
    let written = usage.cache_write.unwrap_or_default();
    out.open('{').key("input_tokens").plain(usage.input.unwrap_or(how.estimate));
    out.key("cache_creation_input_tokens").plain(written);
    out.key("cache_read_input_tokens").plain(usage.cache_read.unwrap_or_default());
    if tier.is_some() {
        // How long the cache holds, no upstream of another wire tells; a stream could not say it in time anyway.
        out.key("cache_creation").raw(r#"{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}"#);
    }
    // Some tell how much of it was reasoning, but not how much it was.
    out.key("output_tokens").plain(usage.output.unwrap_or_default().max(usage.reasoning.unwrap_or_default()));
    if let Some(reasoning) = usage.reasoning {
        out.key("output_tokens_details").open('{').key("thinking_tokens").plain(reasoning).close('}');
    }
    if let Some(tier) = tier {
        out.key("service_tier").string(if tier == "priority" { "priority" } else { "standard" });
    } else if let Some(cost) = how.costs.as_ref().and_then(|costs| costs.of(usage)) {
        out.key("cost").raw(&cost);
    }
    out.close('}');
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answering, folded, whole};
    use super::*;
    use serde_json::{Value, json};

    fn body(content: &str) -> String {
        format!(
            r#"{{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":{content},"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":5,"cache_creation_input_tokens":100,"cache_read_input_tokens":20,"output_tokens":9,"service_tier":"batch","output_tokens_details":{{"thinking_tokens":3}}}}}}"#
        )
    }

    #[test]
    fn w04_w11_a_message_is_read_with_all_its_blocks() {
        let content = r#"[
            {"type":"thinking","thinking":"","signature":"s1"},
            {"type":"redacted_thinking","data":"d"},
            {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"q":1}},
            {"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","title":null}]},
            {"type":"brand_new","text":{"a":[1]},"id":7,"input":"x"},
            {"type":"text","text":""},
            {"type":"text","text":"Öl: ","citations":null},
            {"type":"text","text":"fünf","citations":[{"type":"web_search_result_location","url":"https://a","title":null},{"type":"page_location"},5]},
            {"type":"tool_use","id":"toolu_1","name":"f","input":{ "b": 1.0, "a": "x y" },"caller":{"type":"direct"}},
            {"type":"tool_use","id":"toolu_2","name":"g","input":{}},
            {"type":"tool_use","id":"toolu_3","name":"h","input":"{\"c\": 1}"},
            {"type":"tool_use","id":"toolu_4","name":"i","input":"c"}
        ]"#;
        let answer = folded(&whole(&body(content)));
        let choice = &answer.choices[0];
        let texts: Vec<&str> = choice.pieces.iter().map(|piece| piece.text.as_str()).collect();
        let want = ["", "", "Öl: ", "fünf", "{\"b\":1.0,\"a\":\"x y\"}", "{}", "{\"c\":1}", "{\"_raw\":\"c\"}"];
        assert_eq!(texts, want);
        assert_eq!(choice.pieces[0].seal, Some((Origin::Anthropic, "s1".into())));
        let cited = Citation { url: "https://a".into(), title: "".into(), start: 4, end: 8 };
        assert_eq!(choice.citations, [cited]);
        let usage = Usage {
            input: Some(5),
            output: Some(9),
            cache_read: Some(20),
            cache_write: Some(100),
            reasoning: Some(3),
            ..Usage::default()
        };
        assert_eq!((answer.usage, answer.tier.as_deref(), answer.id.as_str()), (usage, Some("default"), "msg_1"));
    }

    #[test]
    fn w13_what_is_no_message_is_a_failure() {
        for (body, status) in [
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Oh"}}"#, 529),
            (r#"{"error":{"message":"Oh","code":503}}"#, 503),
            (r#"{"error":"Oh"}"#, 500),
            ("{}", 502),
            ("[]", 502),
            ("<html>", 502),
            ("", 502),
            ("{\"content\":[", 502),
        ] {
            let events = whole(body);
            let [Event::Failed(failure)] = events.as_slice() else { panic!("{body}: {events:?}") };
            assert_eq!(failure.status, status, "{body}");
        }
    }

    #[test]
    fn w71_w72_an_answer_may_be_empty_and_refused() {
        let refused = r#"{"content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"No."},"usage":{}}"#;
        let answer = folded(&whole(refused));
        let choice = &answer.choices[0];
        assert_eq!((choice.stop, choice.explanation.as_deref()), (Some(Stop::Refusal), Some("No.")));
        for (reason, want) in [(r#""max_tokens""#, Stop::Length), ("null", Stop::End), ("7", Stop::End)] {
            let answer = folded(&whole(&format!(r#"{{"content":[],"stop_reason":{reason}}}"#)));
            assert_eq!(answer.choices[0].stop, Some(want));
            assert_eq!(answer.usage, Usage::default());
        }
    }

    #[test]
    fn a_message_that_was_read_is_written_the_same() {
        let content = r#"[{"type":"thinking","thinking":"hm","signature":"s1"},{"type":"text","text":"a"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"b":1.0}}]"#;
        let answer = folded(&whole(&body(content)));
        let written: Value = serde_json::from_slice(&encode(&answer, &answering())).unwrap();
        assert_eq!(written["content"], serde_json::from_str::<Value>(content).unwrap());
        assert_eq!(written["usage"]["output_tokens_details"], json!({"thinking_tokens": 3}));
        let text = String::from_utf8(encode(&answer, &answering())).unwrap();
        assert!(text.contains(r#""input":{"b":1.0}"#), "{text}");
    }

    #[test]
    fn w34_arguments_are_always_an_object() {
        for (text, want) in [
            ("", "{}"),
            (" ", "{}"),
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("{\"a\":", "{\"_raw\":\"{\\\"a\\\":\"}"),
            ("[1]", "{\"_raw\":\"[1]\"}"),
            ("null", "{\"_raw\":\"null\"}"),
        ] {
            assert_eq!(arguments(text).get(), want);
        }
    }

    #[test]
    fn w52_a_token_count_is_read() {
        assert_eq!(counted(br#"{"input_tokens":14,"context_management":{"original_input_tokens":20}}"#), Some(14));
        assert_eq!(counted(br#"{"error":{}}"#), None);
    }
}
