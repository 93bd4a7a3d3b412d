//! Memory and time: what a stream's chunk may allocate, and that no body full of one thing costs many times its size.

use std::sync::Arc;

use allocation_counter::measure;
use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::relay::Undo;
use feathergate::wire::transcode::Transcoder;
use feathergate::wire::{self, ConvertError, OnLoss, Operation, Stamp, Target, Wire};
use serde_json::json;

use super::grammar::{self, Checked};
use super::{CLIENTS, convert, how, inbound};

const STAMP: Stamp<'static> = Stamp { id: "stamp1", created: 1 };

fn prepare(from: Wire, body: &Bytes, to: Wire) -> Result<wire::Prepared, ConvertError> {
    let profile = Profile::find(to, "", "m");
    let target = Target {
        wire: to,
        model: "m",
        profile: &profile,
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss: OnLoss::Lenient,
    };
    wire::prepare(&wire::peek(from, body)?, body, Operation::Generate, &target)
}

fn stream(wire: Wire) -> Vec<String> {
    let text = |at: usize| format!("word {at} of a text that goes on for a while");
    match wire {
        Wire::AnthropicMessages => {
            let event = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
            let mut out = vec![
                event(
                    "message_start",
                    r#","message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":5,"output_tokens":1}}"#,
                ),
                event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
            ];
            out.extend((0..200).map(|at| {
                let delta = json!({"type": "text_delta", "text": text(at)});
                event("content_block_delta", &format!(",\"index\":0,\"delta\":{delta}"))
            }));
            out
        }
        _ => (0..200)
            .map(|at| {
                let choice = json!([{"index": 0, "delta": {"content": text(at)}, "finish_reason": null}]);
                format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":{choice}}}\n\n")
            })
            .collect(),
    }
}

#[test]
fn a_chunk_that_passes_through_allocates_once_at_most() {
    for wire in CLIENTS {
        let body = Bytes::from_static(br#"{"model":"m","max_tokens":9,"messages":[],"stream":true}"#);
        let bytes = stream(wire).concat().into_bytes();
        // Events a chunk each, many in one, and chunks that end anywhere.
        let frames: Vec<Bytes> = stream(wire).into_iter().map(Bytes::from).collect();
        let many: Vec<Bytes> = stream(wire).chunks(9).map(|events| Bytes::from(events.concat())).collect();
        let cut: Vec<Bytes> = bytes.chunks(157).map(Bytes::copy_from_slice).collect();
        for (chunks, at_most) in [(frames, 0), (many, 0), (cut, 1)] {
            // As a socket gives them: parts of memory that is shared already.
            let shared = chunks.clone();
            let mut pipe = prepare(wire, &body, wire).unwrap().reply.stream(STAMP);
            let count = chunks.len() as u64;
            let mut chunks = chunks.into_iter();
            // Until content was seen, bytes are held.
            for chunk in chunks.by_ref().take(4) {
                pipe.push(chunk);
            }
            let info = measure(|| {
                for chunk in chunks {
                    std::hint::black_box(pipe.push(chunk));
                }
            });
            drop(shared);
            assert!(info.count_total <= at_most * count + 2, "{wire:?}: {} of {count} chunks", info.count_total);
        }
    }
}

/// Bodies of some hundred kilobytes that hold as much as they can of one thing.
#[expect(clippy::too_many_lines, reason = "a table")]
fn requests(wire: Wire) -> Vec<(&'static str, String)> {
    let anthropic = wire == Wire::AnthropicMessages;
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
    let messages = |all: String| format!(r#"{{"model":"m","max_tokens":9,"messages":[{all}]}}"#);
    let with =
        |more: String| format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],{more}}}"#);
    let user = |content: String| messages(format!(r#"{{"role":"user","content":{content}}}"#));
    let deep = |count: usize| format!("{}1{}", "[".repeat(count), "]".repeat(count));
    let mut all = vec![
        ("short messages", messages(many(7_500, &|_| r#"{"role":"user","content":"a"}"#.to_owned()))),
        ("empty messages", messages(many(7_500, &|_| r#"{"role":"user","content":""}"#.to_owned()))),
        (
            "turns",
            messages(many(4_000, &|at| {
                format!(r#"{{"role":"{}","content":"a"}}"#, if at % 2 == 0 { "user" } else { "assistant" })
            })),
        ),
        ("system messages", messages(many(6_250, &|_| r#"{"role":"system","content":"a"}"#.to_owned()))),
        ("parts", user(format!("[{}]", many(7_500, &|_| r#"{"type":"text","text":"a"}"#.to_owned())))),
        ("escapes", user(format!("\"{}\"", "\\u0001".repeat(42_500)))),
        ("quotes", user(format!("\"{}\"", "\\\"".repeat(125_000)))),
        ("stops", with(format!(r#""stop":[{0}],"stop_sequences":[{0}]"#, many(25_000, &|_| "\"a\"".to_owned())))),
        ("unknown fields", with(many(15_000, &|at| format!("\"f{at}\":[]")))),
        ("unknown parts", user(format!("[{}]", many(10_000, &|_| r#"{"type":"new","a":1}"#.to_owned())))),
        ("depth", with(format!("\"metadata\":{}", deep(125_000)))),
        ("closing brackets", messages("]".repeat(250_000))),
    ];
    if anthropic {
        let ids = |at: usize| format!("toolu_{at}");
        all.push((
            "calls",
            messages(format!(
                r#"{{"role":"assistant","content":[{}]}},{{"role":"user","content":[{}]}}"#,
                many(2_250, &|at| format!(r#"{{"type":"tool_use","id":"{}","name":"f","input":{{}}}}"#, ids(at))),
                many(2_250, &|at| format!(r#"{{"type":"tool_result","tool_use_id":"{}"}}"#, ids(2_249 - at))),
            )),
        ));
        all.push((
            "orphans",
            user(format!(
                "[{}]",
                many(4_500, &|at| { format!(r#"{{"type":"tool_result","tool_use_id":"{}","content":"a"}}"#, ids(at)) })
            )),
        ));
        all.push((
            "tools",
            with(format!(
                "\"tools\":[{}]",
                many(5_000, &|at| { format!(r#"{{"name":"a.{at}","input_schema":{{}}}}"#) })
            )),
        ));
        all.push((
            "base64 with line ends",
            user(format!(
                r#"[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{}"}}}}]"#,
                "iVBORw0K\\n".repeat(25_000),
            )),
        ));
    } else {
        all.push((
            "calls",
            messages(format!(
                r#"{{"role":"assistant","tool_calls":[{}]}},{}"#,
                many(2_000, &|at| {
                    format!(r#"{{"id":"call_{at}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#)
                }),
                many(2_000, &|at| format!(r#"{{"role":"tool","tool_call_id":"call_{}","content":""}}"#, 1_999 - at)),
            )),
        ));
        all.push((
            "orphans",
            messages(many(4_500, &|at| format!(r#"{{"role":"tool","tool_call_id":"call_{at}","content":"a"}}"#))),
        ));
        all.push((
            "tools",
            with(format!(
                "\"tools\":[{}]",
                many(4_500, &|at| { format!(r#"{{"type":"function","function":{{"name":"a.{at}"}}}}"#) })
            )),
        ));
        all.push((
            "arguments",
            messages(format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"a","function":{{"name":"f","arguments":"{}"}}}}]}}"#,
                "[".repeat(225_000),
            )),
        ));
        all.push((
            "base64 with line ends",
            user(format!(
                r#"[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]"#,
                "iVBORw0K\\n".repeat(25_000),
            )),
        ));
        all.push(("reasoning details", messages(format!(
            r#"{{"role":"assistant","content":"a","reasoning_details":[{}]}}"#,
            many(2_500, &|at| format!(
                r#"{{"type":"reasoning.encrypted","data":"x","id":"c{at}","format":"google-gemini-v1","index":{at}}}"#
            )),
        ))));
    }
    all
}

/// The most memory for each byte that came in: of a part that says nothing in 20 bytes we keep all that a part may say, and in
/// a stream it becomes a chunk with the envelope of its dialect. The least is for what is there in any case.
const TIMES: u64 = 48;
const LEAST: u64 = 1 << 18;

/// Those that cost more than that, with what they cost.
#[derive(Default)]
struct Costs(Vec<String>);

impl Costs {
    fn modest(&mut self, name: &str, bytes: usize, what: impl FnOnce()) {
        let info = measure(what);
        if info.bytes_max > TIMES * bytes as u64 + LEAST {
            self.0.push(format!("{name}: {} bytes of memory for {bytes}", info.bytes_max));
        }
    }

    fn settle(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

#[test]
fn a_request_full_of_one_thing_costs_a_small_multiple_of_it() {
    let mut costs = Costs::default();
    for from in CLIENTS {
        for (name, body) in requests(from) {
            let body = Bytes::from(body);
            for to in Wire::ALL {
                costs.modest(&format!("{name}, {from:?} to {to:?}"), body.len(), || {
                    if let Ok(prepared) = prepare(from, &body, to) {
                        assert!(prepared.losses.len() <= 64, "{name}: {} losses", prepared.losses.len());
                    }
                });
            }
        }
    }
    costs.settle();
}

/// Streams of some hundred kilobytes; what stands in a whole answer as well is tried as one, too.
fn answers(wire: Wire) -> Vec<(&'static str, String)> {
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    let data = |count: usize, item: &dyn Fn(usize) -> String| many(count, &|at| format!("data: {}\n\n", item(at)));
    let mut all = vec![
        ("comments", ":\n\n".repeat(75_000)),
        ("line ends", "\n".repeat(250_000)),
        ("carriage returns", "\r".repeat(250_000)),
        ("one event without end", format!("data: {{\"a\":\"{}", "x".repeat(250_000))),
        ("an event of many lines", format!("{}\n", "data: 1\n".repeat(30_000))),
        ("depth", format!("data: {}\n\n", "[".repeat(250_000))),
        ("an array in an array", "[".repeat(250_000)),
        ("an array of nothing", format!("[{}", "{},".repeat(75_000))),
        ("empty objects", data(25_000, &|_| "{}".to_owned())),
    ];
    let openai = |delta: &str| format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
    let anthropic = |kind: &str, rest: &str| format!(r#"{{"type":"{kind}",{rest}}}"#);
    let start = anthropic("message_start", r#""message":{"id":"m","model":"m","usage":{"input_tokens":1}}"#);
    match wire {
        Wire::OpenAiChat => all.extend([
            ("deltas", data(5_000, &|_| openai(r#"{"content":"a"}"#))),
            ("calls", data(2_250, &|at| {
                openai(&format!(r#"{{"tool_calls":[{{"index":{at},"id":"c{at}","function":{{"name":"f","arguments":"{{"}}}}]}}"#))
            })),
            ("calls in turn", data(2_250, &|at| {
                let index = at % 100;
                openai(&format!(r#"{{"tool_calls":[{{"index":{index},"id":"c{index}","function":{{"name":"f","arguments":"1"}}}}]}}"#))
            })),
            ("fragments of a waiting call", format!(
                "data: {}\n\n{}",
                openai(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g"}}]}"#),
                data(3_000, &|_| openai(r#"{"tool_calls":[{"index":1,"function":{"arguments":"a"}}]}"#)),
            )),
            ("calls without an index", data(2_250, &|at| {
                openai(&format!(r#"{{"tool_calls":[{{"id":"c{at}","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#))
            })),
            ("choices", data(6_250, &|at| format!(r#"{{"choices":[{{"index":{at},"delta":{{"content":"a"}}}}]}}"#))),
            ("finishes", data(5_000, &|_| r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#.to_owned())),
            ("kinds in turn", data(3_750, &|at| {
                openai(if at % 2 == 0 { r#"{"content":"a"}"# } else { r#"{"reasoning_content":"a"}"# })
            })),
        ]),
        Wire::AnthropicMessages => all.extend([
            ("blocks", format!("data: {start}\n\n{}", data(2_000, &|at| {
                let rest = format!(r#""index":{at},"content_block":{{"type":"text","text":"a"}}"#);
                anthropic("content_block_start", &rest)
            }))),
            ("calls", format!("data: {start}\n\n{}", data(1_750, &|at| {
                let rest = format!(r#""index":{at},"content_block":{{"type":"tool_use","id":"t{at}","name":"f","input":{{}}}}"#);
                anthropic("content_block_start", &rest)
            }))),
            ("citations", format!("data: {start}\n\n{}", data(1_250, &|_| {
                anthropic("content_block_delta", r#""index":0,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"u","title":"t"}}"#)
            }))),
            ("starts", data(2_250, &|_| start.clone())),
        ]),
        Wire::Gemini => all.extend([
            ("parts", data(3_000, &|_| r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#.to_owned())),
            ("parts of one chunk", format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{}{{}}]}}}}]}}\n\n",
                r#"{"text":"a"},{"text":"b","thought":true},"#.repeat(5_000),
            )),
            ("calls", data(2_250, &|_| {
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}"#.to_owned()
            })),
            ("pieces of arguments", data(1_750, &|at| {
                let piece = format!(r#"{{"jsonPath":"$.a[{at}].b","stringValue":"x","willContinue":true}}"#);
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","partialArgs":[{piece}],"willContinue":true}}}}]}}}}]}}"#)
            })),
            ("a far index", data(1_750, &|_| {
                let piece = r#"{"jsonPath":"$.a[4000000000].b","stringValue":"x"}"#;
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","partialArgs":[{piece}],"willContinue":true}}}}]}}}}]}}"#)
            })),
            ("groundings", format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}]}},\"groundingMetadata\":{{\"groundingChunks\":[{{\"web\":{{\"uri\":\"u\"}}}}],\"groundingSupports\":[{}{{}}]}},\"finishReason\":\"STOP\"}}]}}\n\n",
                "ä".repeat(50_000),
                r#"{"segment":{"startIndex":99998,"endIndex":100000},"groundingChunkIndices":[0,0,0]},"#.repeat(1_500),
            )),
        ]),
    }
    all
}

#[test]
fn a_stream_full_of_one_thing_costs_a_small_multiple_of_it() {
    let mut costs = Costs::default();
    for from in Wire::ALL {
        for (name, body) in answers(from) {
            for to in CLIENTS {
                let name = format!("{name}, {from:?} to {to:?}");
                let mut written = Vec::new();
                costs.modest(&name, body.len(), || {
                    let mut pipe =
                        Transcoder::new(convert::outbound(from), inbound(to), Undo::default(), &Arc::new(how()));
                    for chunk in body.as_bytes().chunks(1 << 14) {
                        written.push(pipe.push(Bytes::copy_from_slice(chunk)));
                    }
                    written.push(pipe.finish(None).bytes);
                });
                if let Err(breach) = grammar::stream(to, &written.concat()) {
                    panic!("{name}: {breach}");
                }
            }
            // Each event by itself as a whole answer, and all of it as one that cannot be read.
            let first =
                body.split("\n\n").map(|event| event.trim_start_matches("data: ")).max_by_key(|event| event.len());
            for whole in [first.unwrap_or_default(), &body] {
                costs.modest(name, whole.len(), || {
                    let mut sink = Checked::default();
                    convert::outbound(from).whole(whole.as_bytes(), &mut sink);
                    sink.done().unwrap_or_else(|breach| panic!("{name}: {breach}"));
                });
            }
        }
    }
    costs.settle();
}
