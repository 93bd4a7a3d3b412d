//! Passthrough, by table: what changes in a request and what does not, what a stream gives at every split and every cut, and
//! what an answer or an error is read as.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::{
    self, ApiError, FailureKind, OnLoss, Operation, Pipe, ReplyPlan, Stamp, Tally, Target, Usage, Wire,
};

fn target(wire: Wire, model: &str) -> Target<'_> {
    // What is known of a model changes nothing in what passes through.
    let profile = Box::leak(Box::new(Profile::find(wire, "", "")));
    Target {
        wire,
        model,
        profile,
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss: OnLoss::Report,
    }
}

const STAMP: Stamp<'_> = Stamp { id: "1", created: 1 };

fn prepared(wire: Wire, body: &str, to: &Target<'_>) -> wire::Prepared {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let envelope = wire::peek(wire, &body).unwrap();
    wire::prepare(&envelope, &body, Operation::Generate, to).unwrap()
}

fn pairs(defaults: &[(&str, &str)]) -> Vec<(String, String)> {
    defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn only_the_named_spans_of_a_request_change() {
    let defaults = pairs(&[("temperature", "0.50"), ("max_tokens", "9")]);
    let drop = vec!["seed".to_owned(), "x".to_owned()];
    let plain = target(Wire::OpenAiChat, "up");
    let with = Target { defaults: &defaults, ..target(Wire::OpenAiChat, "up") };
    let usage = Target { ask_usage: true, ..target(Wire::OpenAiChat, "up") };
    let dropping = Target { drop: &drop, ..target(Wire::OpenAiChat, "up") };
    let cases: [(&Target<'_>, &str, &str); 13] = [
        (
            &plain,
            "{ \"messages\" : [ ] ,\n\"model\":  \"m\", \"new_field\": {\"b\":1.0,\"a\":[1e3]} }\n",
            "{ \"messages\" : [ ] ,\n\"model\":  \"up\", \"new_field\": {\"b\":1.0,\"a\":[1e3]} }\n",
        ),
        (&plain, r#"{"model":"up","messages":[]}"#, r#"{"model":"up","messages":[]}"#),
        (&plain, r#"{"mod\u0065l":"m\u00e9","messages":["model"]}"#, r#"{"mod\u0065l":"up","messages":["model"]}"#),
        (&with, r#"{"model":"m","messages":[]}"#, r#"{"temperature":0.50,"max_tokens":9,"model":"up","messages":[]}"#),
        (
            &with,
            r#"{"model":"m","messages":[],"temperature":null}"#,
            r#"{"max_tokens":9,"model":"up","messages":[],"temperature":null}"#,
        ),
        (
            &with,
            r#"{"model":"m","messages":[],"temperature":1,"max_completion_tokens":5}"#,
            r#"{"model":"up","messages":[],"temperature":1,"max_completion_tokens":5}"#,
        ),
        (&usage, r#"{"model":"m","messages":[]}"#, r#"{"model":"up","messages":[]}"#),
        (
            &usage,
            r#"{"model":"m","stream":true,"messages":[]}"#,
            r#"{"stream_options":{"include_usage":true},"model":"up","stream":true,"messages":[]}"#,
        ),
        (
            &usage,
            r#"{"model":"m","stream":true,"messages":[],"stream_options":{ }}"#,
            r#"{"model":"up","stream":true,"messages":[],"stream_options":{"include_usage":true }}"#,
        ),
        (
            &usage,
            r#"{"model":"m","stream":true,"messages":[],"stream_options":{"x":1, "include_usage" : false}}"#,
            r#"{"model":"up","stream":true,"messages":[],"stream_options":{"x":1, "include_usage" : true}}"#,
        ),
        (
            &usage,
            r#"{"model":"m","stream":true,"messages":[],"stream_options":null}"#,
            r#"{"model":"up","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#,
        ),
        (
            &dropping,
            r#"{"seed": 1, "model":"m", "messages":[ 1.0 ],"x":{},"y" : "ü" }"#,
            r#"{"model":"up","messages":[ 1.0 ],"y":"ü"}"#,
        ),
        (&dropping, r#"{"model":"m", "messages":[ ] }"#, r#"{"model":"up", "messages":[ ] }"#),
    ];
    for (to, body, want) in cases {
        let got = prepared(Wire::OpenAiChat, body, to);
        assert_eq!(std::str::from_utf8(&got.body).unwrap(), want);
        // Preparing what was prepared changes nothing more, but for what is asked for again.
        let again = prepared(Wire::OpenAiChat, want, &target(Wire::OpenAiChat, "up"));
        assert_eq!(again.body, got.body);
    }
    let got = prepared(Wire::OpenAiChat, r#"{"seed":1,"model":"m","messages":[]}"#, &dropping);
    let dropped: Vec<&str> = got.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(dropped, ["seed"]);
}

#[test]
fn usage_is_not_asked_for_twice_and_a_token_count_gets_no_defaults() {
    let defaults = pairs(&[("max_tokens", "9")]);
    let to = Target { defaults: &defaults, ..target(Wire::AnthropicMessages, "up") };
    let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
    let envelope = wire::peek(Wire::AnthropicMessages, &body).unwrap();
    let got = wire::prepare(&envelope, &body, Operation::CountTokens, &to).unwrap();
    assert_eq!(got.body, r#"{"model":"up","messages":[]}"#);
    let asked = r#"{"model":"up","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
    let to = Target { ask_usage: true, ..target(Wire::OpenAiChat, "up") };
    assert_eq!(prepared(Wire::OpenAiChat, asked, &to).body, asked);
}

#[test]
fn bad_bodies_are_refused_with_their_place() {
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(&[u8], Option<&str>, &str); 22] = [
        (b"", None, "the body is empty; send a JSON object"),
        (b" \n", None, "the body is empty; send a JSON object"),
        (b"{\"model\":\"\xff\"}", None, "the body is not valid UTF-8 at byte 10"),
        (b"[]", None, "the body is not a JSON object"),
        (b"\"x\"", None, "the body is not a JSON object"),
        (b"{\"model\":}", None, "the body is not valid JSON at byte 9: expected value"),
        (b"{\"model\":\"m\",\n\"messages\":[}", None, "the body is not valid JSON at byte 26: expected value"),
        (b"{\"model\":\"m\"", None, "the body is not valid JSON at byte 11: EOF while parsing an object"),
        (b"{\"model\":\"m\",\"messages\":[]} x", None, "the body is not valid JSON at byte 28: trailing characters"),
        (b"{\"messages\":[]}", Some("model"), "`model` is missing; it must be a string, the name of a model"),
        (
            b"{\"model\":7,\"messages\":[]}",
            Some("model"),
            "`model` is a number; it must be a string, the name of a model",
        ),
        (
            b"{\"model\":null,\"messages\":[]}",
            Some("model"),
            "`model` is null; it must be a string, the name of a model",
        ),
        (b"{\"model\":\"\",\"messages\":[]}", Some("model"), "`model` is empty; it must be the name of a model"),
        (b"{\"model\":\"m\"}", Some("messages"), "`messages` is missing; it must be an array of messages"),
        (
            b"{\"model\":\"m\",\"messages\":{}}",
            Some("messages"),
            "`messages` is an object; it must be an array of messages",
        ),
        (
            b"{\"model\":\"m\",\"messages\":[],\"stream\":1}",
            Some("stream"),
            "`stream` is a number; it must be a boolean",
        ),
        (
            b"{\"model\":\"m\",\"messages\":[],\"stream\":\"true\"}",
            Some("stream"),
            "`stream` is a string; it must be a boolean",
        ),
        (
            b"{\"model\":\"m\",\"messages\":[],\"stream_options\":[]}",
            Some("stream_options"),
            "`stream_options` is an array; it must be an object",
        ),
        (
            b"{\"model\":\"m\",\"messages\":[],\"stream_options\":{\"include_usage\":1}}",
            Some("stream_options.include_usage"),
            "`stream_options.include_usage` is a number; it must be a boolean",
        ),
        (
            b"{\"model\":\"a\",\"messages\":[],\"model\":\"b\"}",
            Some("model"),
            "`model` stands twice in the body; send it once",
        ),
        (
            b"{\"model\":\"a\",\"messages\":[],\"mod\\u0065l\":\"b\"}",
            Some("model"),
            "`model` stands twice in the body; send it once",
        ),
        (b"{\"x\":1,\"x\":2,\"model\":\"a\",\"messages\":[]}", Some("x"), "`x` stands twice in the body; send it once"),
    ];
    for (body, field, message) in cases {
        let error = wire::peek(Wire::OpenAiChat, body).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.field.as_deref()),
            (message, field),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    assert_eq!(wire::peek(Wire::OpenAiChat, deep.as_bytes()).unwrap().model, "m", "depth is the upstream's business");
    let many: Vec<String> = (0..10_000).map(|n| format!("\"k{n}\":0")).collect();
    let many = many.join(",");
    let twice = format!("{{{many},\"k7\":1,\"model\":\"m\",\"messages\":[]}}");
    assert_eq!(wire::peek(Wire::OpenAiChat, twice.as_bytes()).unwrap_err().field.as_deref(), Some("k7"));
}

#[test]
fn w46_thoughts_of_other_models_do_not_reach_claude() {
    let to = target(Wire::AnthropicMessages, "m");
    let own = r#"{"type":"thinking","thinking":"t","signature":"EqQB fg1:"}"#;
    let other = r#"{"type":"thinking","thinking":"t","signature":"fg1:gemini:abc"}"#;
    let call = r#"{"type":"tool_use","id":"a","name":"f","input":{"signature":"fg1:x","a": 1.0}}"#;
    for (messages, want) in [
        (format!(r#"[ {{"role":"assistant", "content": [{own},  {call}]}} ]"#), None),
        (
            format!(
                r#"[{{"role":"user","content":"fg1:"}},{{"content": [{other}, {own},{call} ],"role":"assistant"}}]"#
            ),
            Some(format!(r#"[{{"role":"user","content":"fg1:"}},{{"content": [{own},{call}],"role":"assistant"}}]"#)),
        ),
        (format!(r#"[{{"role":"assistant","content":[{other}]}}]"#), Some("[]".to_owned())),
        (r#"["fg1:", {"content": 5}]"#.to_owned(), None),
    ] {
        let body = |messages: &str| format!(r#"{{"model":"m", "messages": {messages} , "max_tokens":5}}"#);
        let want = want.unwrap_or_else(|| messages.clone());
        assert_eq!(prepared(Wire::AnthropicMessages, &body(&messages), &to).body, body(&want));
    }
}

#[test]
fn who_went_on_without_thinking_goes_on_so() {
    let to = target(Wire::AnthropicMessages, "m");
    let own = r#"{"type":"thinking","thinking":"t","signature":"EqQB"}"#;
    let other = r#"{"type":"thinking","thinking":"t","signature":"fg1:gemini:abc"}"#;
    let call = r#"{"type":"tool_use","id":"a","name":"f","input":{}}"#;
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r"}]}"#;
    let said = |blocks: &[&str]| format!(r#"{{"role":"assistant","content":[{}]}}"#, blocks.join(","));
    for (messages, off) in [
        (vec![said(&[other, call]), result.to_owned()], true),
        (vec![said(&[other, call]), result.to_owned(), said(&[call]), result.to_owned()], true),
        (vec![said(&[other, call]), result.to_owned(), said(&[own, call]), result.to_owned()], false),
        (vec![said(&[other, own, call]), result.to_owned()], false),
        (vec![said(&[other, call]), result.to_owned(), said(&[r#"{"type":"text","text":"x"}"#])], false),
        // No other model was ever asked: what the client sends is its own affair.
        (vec![said(&[call]), result.to_owned()], false),
    ] {
        let body = format!(
            r#"{{"model":"m","messages":[{}],"max_tokens":5000,"thinking":{{"type":"enabled","budget_tokens":2048}}}}"#,
            messages.join(",")
        );
        let sent = prepared(Wire::AnthropicMessages, &body, &to).body;
        let sent = std::str::from_utf8(&sent).unwrap();
        assert_eq!(sent.contains(r#""thinking":{"type":"disabled"}"#), off, "{body}");
    }
}

const OPENAI: &str = concat!(
    "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ": keep\n\n",
    "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é \\\"usage\\\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
    "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}\n\n",
    "data: [DONE]\n\n",
);

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"up\",\"usage\":{\"input_tokens\":7,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hé\"}        }\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn tap(wire: Wire, answer_as: Option<&str>, hide: bool) -> Pipe {
    let body = Bytes::from_static(br#"{"model":"m","messages":[],"stream":true}"#);
    let envelope = wire::peek(wire, &body).unwrap();
    let to = Target { ask_usage: hide, answer_as, ..target(wire, "up") };
    wire::prepare(&envelope, &body, Operation::Generate, &to).unwrap().reply.stream(STAMP)
}

fn run(mut tap: Pipe, chunks: &[&[u8]]) -> (Vec<u8>, Tally) {
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&tap.push(Bytes::copy_from_slice(chunk)));
    }
    let tally = tap.finish(None);
    out.extend_from_slice(&tally.bytes);
    (out, tally)
}

#[test]
fn streams_come_out_byte_for_byte_at_every_split() {
    for (wire, stream) in [(Wire::OpenAiChat, OPENAI), (Wire::AnthropicMessages, ANTHROPIC)] {
        for stream in [stream.to_owned(), stream.replace('\n', "\r\n"), stream.trim_end().to_owned()] {
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                let (out, tally) = run(tap(wire, None, false), &[&bytes[..cut], &bytes[cut..]]);
                assert_eq!(out, bytes, "cut at {cut}");
                assert_eq!(tally.failure, None, "cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (out, tally) = run(tap(wire, None, false), &single);
            assert_eq!((out.as_slice(), tally.failure), (bytes, None));
        }
    }
}

fn end_of(text: &str, part: &str) -> usize {
    text.find(part).unwrap() + part.len()
}

#[test]
fn every_truncation_ends_in_a_failure_or_whole_and_never_in_half_an_event() {
    for (wire, stream) in [(Wire::OpenAiChat, OPENAI), (Wire::AnthropicMessages, ANTHROPIC)] {
        let bytes = stream.as_bytes();
        // Cut before these, the model has not said that it is done.
        let done = match wire {
            Wire::OpenAiChat => end_of(stream, "\"finish_reason\":\"stop\"}],\"usage\":null}"),
            Wire::AnthropicMessages => end_of(stream, "\"type\":\"message_stop\"}"),
            Wire::Gemini => unreachable!("no client speaks it"),
        };
        for cut in 0..bytes.len() {
            let (out, tally) = run(tap(wire, None, false), &[&bytes[..cut]]);
            assert!(bytes.starts_with(&out), "cut at {cut}");
            if cut < done {
                let failure = tally.failure.unwrap_or_else(|| panic!("cut at {cut} is taken for whole"));
                assert_eq!(failure.kind, FailureKind::Cut);
                assert!(out.is_empty() || out.ends_with(b"\n\n"), "half an event at {cut}");
            }
        }
    }
}

#[test]
fn nothing_is_released_before_content() {
    let frames: Vec<&str> = OPENAI.split_inclusive("\n\n").collect();
    let mut tap = tap(Wire::OpenAiChat, None, false);
    assert_eq!(tap.push(Bytes::copy_from_slice(frames[0].as_bytes())), "");
    assert_eq!(tap.push(Bytes::copy_from_slice(frames[1].as_bytes())), "");
    assert!(!tap.committed());
    let out = tap.push(Bytes::copy_from_slice(frames[2].as_bytes()));
    assert!(tap.committed());
    assert_eq!(out, frames[..3].concat());
    let out = tap.push(Bytes::copy_from_slice(frames[3].as_bytes()));
    assert_eq!(out, frames[3], "one frame in, the same frame out");
}

#[test]
fn what_counts_as_content() {
    let chunk = |delta: &str, finish: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
    };
    let cases = [
        (chunk(r#"{"role":"assistant","content":""}"#, "null"), false),
        (chunk(r#"{"role":"assistant","content":null,"refusal":null}"#, "null"), false),
        (chunk(r#"{"role":"assistant","content":"","tool_calls":[]}"#, "null"), false),
        (chunk(r#"{"content":"x"}"#, "null"), true),
        (chunk(r#"{"refusal":"no"}"#, "null"), true),
        (chunk(r#"{"reasoning_content":"x"}"#, "null"), true),
        (chunk(r#"{"tool_calls":[{"index":0}]}"#, "null"), true),
        (chunk("{}", r#""stop""#), true),
        ("data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n".to_owned(), false),
        (": comment\n\n".to_owned(), false),
        ("data: not json\n\n".to_owned(), false),
    ];
    for (frame, content) in cases {
        let mut tap = tap(Wire::OpenAiChat, None, false);
        tap.push(Bytes::from(frame.clone()));
        assert_eq!(tap.committed(), content, "{frame}");
    }
}

#[test]
fn usage_is_read_and_its_frame_hidden_only_where_we_asked_for_it() {
    let (out, tally) = run(tap(Wire::OpenAiChat, None, true), &[OPENAI.as_bytes()]);
    let usage = Usage { input: Some(8), output: Some(5), cache_read: Some(4), reasoning: Some(2), ..Usage::default() };
    assert_eq!(tally.usage, usage);
    let frames: Vec<&str> = OPENAI.split_inclusive("\n\n").collect();
    assert_eq!(String::from_utf8(out).unwrap(), [&frames[..4], &frames[5..]].concat().concat());
    // DeepSeek and others put usage on the finish chunk: that one stays.
    let vendor = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    let (out, tally) = run(tap(Wire::OpenAiChat, None, true), &[vendor.as_bytes()]);
    assert_eq!((out.as_slice(), tally.usage.output), (vendor.as_bytes(), Some(2)));
    let (_, tally) = run(tap(Wire::AnthropicMessages, None, false), &[ANTHROPIC.as_bytes()]);
    assert_eq!((tally.usage.input, tally.usage.output, tally.usage.cache_read), (Some(7), Some(9), Some(3)));
}

#[test]
fn the_alias_is_spliced_into_streams_and_whole_answers() {
    for (wire, stream) in [(Wire::OpenAiChat, OPENAI), (Wire::AnthropicMessages, ANTHROPIC)] {
        let bytes = stream.as_bytes();
        for cut in [0, 10, bytes.len() / 2] {
            let (out, _) = run(tap(wire, Some("my \"own\""), false), &[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(String::from_utf8(out).unwrap(), stream.replace("\"model\":\"up\"", r#""model":"my \"own\"""#));
        }
    }
    let odd = "id: 7\r\nevent: chunk\r\n: note\r\ndata:{\"model\":\"up\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\r\nretry: 5\r\n\r\n";
    let mut splicing = tap(Wire::OpenAiChat, Some("mine"), false);
    assert_eq!(splicing.push(Bytes::from(odd)), odd.replace("\"up\"", "\"mine\""), "nothing but the name changes");
    let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
    let envelope = wire::peek(Wire::OpenAiChat, &body).unwrap();
    let to = Target { answer_as: Some("m"), ..target(Wire::OpenAiChat, "up") };
    let plan = wire::prepare(&envelope, &body, Operation::Generate, &to).unwrap().reply;
    let answer = Bytes::from_static(br#"{ "object":"x", "model" : "up-1", "choices":[{"message":{"model":"up-1"}}]}"#);
    assert_eq!(
        plan.whole(&answer, STAMP).unwrap().body,
        r#"{ "object":"x", "model" : "m", "choices":[{"message":{"model":"up-1"}}]}"#
    );
}

#[test]
fn errors_within_streams_are_failures() {
    let content = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
    let error = "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"code\":null}}\n\n";
    let mut before = tap(Wire::OpenAiChat, None, false);
    assert_eq!(before.push(Bytes::from(error)), "");
    let failure = before.failure().unwrap();
    assert_eq!((failure.status, failure.kind, failure.message.as_str()), (429, FailureKind::RateLimited, "slow down"));
    let stream = format!("{content}{error}");
    let (out, tally) = run(tap(Wire::OpenAiChat, None, false), &[stream.as_bytes()]);
    assert_eq!((out.as_slice(), tally.told), (stream.as_bytes(), true), "the upstream's own error event goes through");
    let start = ANTHROPIC.split_inclusive("\n\n").next().unwrap();
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let mut before = tap(Wire::AnthropicMessages, None, false);
    assert_eq!(before.push(Bytes::from(format!("{start}{overloaded}"))), "");
    assert_eq!(before.failure().map(|failure| (failure.status, failure.kind)), Some((529, FailureKind::Overloaded)));
}

#[test]
fn perplexity_ends_without_a_done_marker() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\r\n\r\n";
    let (out, tally) = run(tap(Wire::OpenAiChat, None, false), &[stream.as_bytes()]);
    assert_eq!((out.as_slice(), tally.failure), (stream.as_bytes(), None));
    let mut cut = tap(Wire::OpenAiChat, None, false);
    cut.push(Bytes::from(stream));
    let tally = cut.finish(Some(wire::Failure::cut("reset")));
    assert_eq!(tally.failure.map(|failure| failure.message).as_deref(), Some("reset"), "a broken connection is no end");
}

#[test]
fn error_bodies_of_all_shapes() {
    let plan = |wire| ReplyPlan::untouched(wire, Operation::Generate);
    let cases: [(u16, &str, FailureKind, &str); 11] = [
        (
            429,
            r#"{"error":{"message":"a","type":"tokens","code":"rate_limit_exceeded"}}"#,
            FailureKind::RateLimited,
            "a",
        ),
        (400, r#"{"error":{"message":"b","code":"context_length_exceeded"}}"#, FailureKind::TooLong, "b"),
        (400, r#"{"code":"x","error":"c"}"#, FailureKind::BadRequest, "c"),
        (
            422,
            r#"{"object":"error","message":"d","type":"invalid_request_message_order","code":"3230"}"#,
            FailureKind::BadRequest,
            "d",
        ),
        (422, r#"{"detail":"e"}"#, FailureKind::BadRequest, "e"),
        (502, r#"{"error":{"code":502,"message":"f","metadata":{}}}"#, FailureKind::Server, "f"),
        (400, r#"[{"error":{"code":400,"message":"g","status":"INVALID_ARGUMENT"}}]"#, FailureKind::BadRequest, "g"),
        (503, "<html>busy</html>", FailureKind::Overloaded, "the upstream answered 503 without a JSON body"),
        (500, "", FailureKind::Server, "the upstream answered 500 without a JSON body"),
        (500, r#"{"error":null}"#, FailureKind::Server, "the upstream answered 500"),
        (401, r#"{"error":{"message":"h"}}"#, FailureKind::Auth, "h"),
    ];
    for (status, body, kind, message) in cases {
        let failure = plan(Wire::OpenAiChat).failure(status, &Bytes::from(body));
        assert_eq!((failure.kind, failure.message.as_str(), failure.status), (kind, message, status), "{body}");
        assert_eq!(failure.body.is_some(), serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
    let long = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#;
    assert_eq!(plan(Wire::AnthropicMessages).failure(400, &Bytes::from(long)).kind, FailureKind::TooLong);
    let hidden = Bytes::from(r#"{"error":{"code":402,"message":"no credits"}}"#);
    let failure = plan(Wire::OpenAiChat).whole(&hidden, STAMP).unwrap_err();
    assert_eq!((failure.status, failure.kind), (402, FailureKind::RateLimited), "an error inside a 200");
    let odd = Bytes::from_static(b"\xff not json");
    assert_eq!(plan(Wire::OpenAiChat).whole(&odd, STAMP).unwrap().body, odd, "what cannot be read is passed on");
}

#[test]
fn errors_are_written_in_both_dialects() {
    let error = |status| ApiError { status, message: "m\"", param: Some("model"), code: None, request_id: Some("r") };
    assert_eq!(
        wire::encode_error(Wire::OpenAiChat, &error(401)),
        r#"{"error":{"message":"m\"","type":"invalid_request_error","param":"model","code":"invalid_api_key"}}"#
    );
    let types = [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ];
    for (status, kind) in types {
        let want = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m\""}},"request_id":"r"}}"#);
        assert_eq!(wire::encode_error(Wire::AnthropicMessages, &error(status)), want);
        let event = wire::encode_error_event(Wire::AnthropicMessages, &error(status));
        assert_eq!(event, format!("event: error\ndata: {want}\n\n"));
    }
}

#[test]
fn an_event_that_never_ends_is_a_failure_and_not_all_of_memory() {
    let mut tap = tap(Wire::OpenAiChat, None, false);
    let chunk = Bytes::from(vec![b'x'; 4 << 20]);
    for _ in 0..9 {
        tap.push(chunk.clone());
    }
    assert!(tap.failure().is_some());
}
