//! How fast `wire` is, by itself: passthrough, requests between wires, and stream frames. `make bench` runs it and
//! `wire_bars.py` compares the figures with their bars.
//!
//! The conversations are what agents send: a long system text, tools with schemas, and turns of calls with results that hold
//! code and logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "`criterion_group!` makes items without them")]

#[path = "cpu.rs"]
mod cpu;

use std::fmt::Write as _;
use std::hint::black_box;

use bytes::Bytes;
use cpu::CpuTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use feathergate::wire::profile::Profile;
use feathergate::wire::{self, OnLoss, Operation, Prepared, Stamp, Target, Wire};
use serde_json::{Value, json};

const STAMP: Stamp<'static> = Stamp { id: "bench0123456789", created: 1_790_000_000 };
/// Frames of content in a stream.
const FRAMES: usize = 1000;

const MODELS: [(Wire, &str, &str, &str); 3] = [
    (Wire::OpenAiChat, "openai", "gpt-5.1", "openai"),
    (Wire::AnthropicMessages, "anthropic", "claude-opus-4-8", "anthropic"),
    (Wire::Gemini, "gemini", "gemini-3-pro-preview", "gemini"),
];

fn name(wire: Wire) -> &'static str {
    MODELS.iter().find(|model| model.0 == wire).unwrap().3
}

/// Ways between unlike wires.
fn pairs() -> impl Iterator<Item = (Wire, Wire)> {
    let clients = [Wire::OpenAiChat, Wire::AnthropicMessages];
    clients.into_iter().flat_map(|from| Wire::ALL.into_iter().filter(move |to| *to != from).map(move |to| (from, to)))
}

fn prepare(from: Wire, body: &Bytes, to: Wire) -> Prepared {
    let (_, vendor, model, _) = MODELS.iter().find(|model| model.0 == to).unwrap();
    let profile = Profile::find(to, vendor, model);
    let target = Target {
        wire: to,
        model,
        profile: &profile,
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss: OnLoss::Report,
    };
    let envelope = wire::peek(from, body).unwrap();
    wire::prepare(&envelope, body, Operation::Generate, &target).unwrap()
}

/// A paragraph as tools answer it: lines, quotes and indents, so that every dialect escapes something.
fn paragraph(number: usize) -> String {
    format!(
        "{number:>6}\tfn gather(&mut self, item: &str) -> Option<Wing> {{\n\
         {number:>6}\t    // \"feather\" weighs about 8 mg; a gate doesn't – see the table\n\
         {number:>6}\t    let found = self.table.get(item).filter(|wing| wing.span() > 0.25)?;\n\
         {number:>6}\t    Some(found.clone().with_path(r\"C:\\birds\\{number}\"))\n{number:>6}\t}}\n"
    )
}

fn tools(anthropic: bool) -> Value {
    let tool = |name: &str| {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The file, from the root of the project."},
                "line": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "enum": ["read", "search"]},
            },
            "required": ["path"], "additionalProperties": false,
        });
        let description = "Reads a part of a file, or searches in it, and gives the lines with their numbers.";
        if anthropic {
            json!({"name": name, "description": description, "input_schema": schema})
        } else {
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": schema}})
        }
    };
    json!([tool("read_file"), tool("search_file")])
}

/// A conversation of about so many bytes.
fn conversation(wire: Wire, bytes: usize) -> Bytes {
    let system = "You help with a code base. Answer in one paragraph. Use the tools before you guess.";
    let anthropic = wire == Wire::AnthropicMessages;
    let mut messages = String::new();
    let mut turn = 0;
    // One result a turn, as long as lets the smallest conversation have two of them.
    let lines = if bytes < 10_000 { 1 } else { 6 };
    while turn == 0 || messages.len() + 1500 < bytes {
        turn += 1;
        let result: String = (0..lines).map(|line| paragraph(turn * 100 + line)).collect();
        let said = format!("I look at part {turn} of the file: it should say where feathers are gathered.");
        let all = if anthropic {
            vec![
                json!({"role": "user", "content": [{"type": "text", "text": format!("And what does part {turn} do?")}]}),
                json!({"role": "assistant", "content": [
                    {"type": "text", "text": said},
                    {"type": "tool_use", "id": format!("toolu_{turn:020}"), "name": "read_file",
                     "input": {"path": format!("src/part{turn}.rs"), "line": turn}},
                ]}),
                json!({"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": format!("toolu_{turn:020}"), "content": result},
                ]}),
                json!({"role": "assistant", "content": [{"type": "text", "text": said}]}),
            ]
        } else {
            let arguments = json!({"path": format!("src/part{turn}.rs"), "line": turn}).to_string();
            vec![
                json!({"role": "user", "content": format!("And what does part {turn} do?")}),
                json!({"role": "assistant", "content": said, "tool_calls": [
                    {"id": format!("call_{turn:020}"), "type": "function",
                     "function": {"name": "read_file", "arguments": arguments}},
                ]}),
                json!({"role": "tool", "tool_call_id": format!("call_{turn:020}"), "content": result}),
                json!({"role": "assistant", "content": said}),
            ]
        };
        for message in all {
            let _ = write!(messages, "{message},");
        }
    }
    let (tools, last) = (tools(anthropic), json!({"role": "user", "content": "Thank you. Sum it up."}));
    let head = if anthropic {
        format!("\"max_tokens\":4096,\"system\":{}", json!(system))
    } else {
        let _ = write!(messages, "{},", json!({"role": "system", "content": system}));
        "\"max_completion_tokens\":4096".to_owned()
    };
    Bytes::from(format!(r#"{{"model":"m",{head},"tools":{tools},"messages":[{messages}{last}]}}"#))
}

fn splice(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("splice");
    for wire in [Wire::OpenAiChat, Wire::AnthropicMessages] {
        let body = conversation(wire, 100_000);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let profile = Profile::find(wire, "", "");
        let target = Target {
            wire,
            model: "another-model",
            profile: &profile,
            drop: &[],
            defaults: &[],
            ask_usage: false,
            answer_as: None,
            on_loss: OnLoss::Report,
        };
        group.bench_function(format!("{}/100k", name(wire)), |bench| {
            bench.iter(|| {
                let envelope = wire::peek(wire, black_box(&body)).unwrap();
                wire::prepare(&envelope, &body, Operation::Generate, &target).unwrap()
            });
        });
    }
    group.finish();
}

fn requests(criterion: &mut Criterion<CpuTime>) {
    for (size, bytes) in [("4k", 4_000), ("100k", 100_000), ("1m", 1_000_000)] {
        let mut group = criterion.benchmark_group(format!("request/{size}"));
        for from in [Wire::OpenAiChat, Wire::AnthropicMessages] {
            let body = conversation(from, bytes);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("value/{}", name(from)), |bench| {
                bench.iter_with_large_drop(|| serde_json::from_slice::<Value>(black_box(&body)).unwrap());
            });
        }
        for (from, to) in pairs() {
            let body = conversation(from, bytes);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("convert/{}-{}", name(from), name(to)), |bench| {
                bench.iter(|| prepare(from, black_box(&body), to));
            });
        }
        group.finish();
    }
}

/// What an upstream streams: each item an event, the way a socket gives it.
fn upstream(wire: Wire) -> Vec<Bytes> {
    let openai = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-bench0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1785000000,\
             \"model\":\"bench-2026-01-01\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}],\
             \"usage\":null,\"obfuscation\":\"aX9\"}}\n\n"
        )
    };
    let anthropic = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    let gemini = |text: &str, finish: &str| {
        format!(
            "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{text}\"}}],\"role\": \"model\"}},{finish}\"index\": 0}}],\
             \"usageMetadata\": {{\"promptTokenCount\": 230,\"candidatesTokenCount\": 24,\"totalTokenCount\": 254,\
             \"promptTokensDetails\": [{{\"modality\": \"TEXT\",\"tokenCount\": 230}}]}},\"modelVersion\": \"bench-1\",\
             \"responseId\": \"bench0123456789\"}}\r\n\r\n"
        )
    };
    let mut out = match wire {
        Wire::OpenAiChat => vec![openai("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null")],
        Wire::AnthropicMessages => vec![
            anthropic(
                "message_start",
                ",\"message\":{\"id\":\"msg_bench0123456789\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\
                 \"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":230,\"output_tokens\":1}}",
            ),
            anthropic("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}"),
        ],
        Wire::Gemini => Vec::new(),
    };
    out.extend((0..FRAMES).map(|at| {
        let word = [" feather", " gate", ",", " weighs", "\\n", " gr\u{fc}n"][at % 6];
        match wire {
            Wire::OpenAiChat => openai(&format!("{{\"content\":\"{word}\"}}"), "null"),
            Wire::AnthropicMessages => anthropic(
                "content_block_delta",
                &format!(",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}"),
            ),
            Wire::Gemini => gemini(word, ""),
        }
    }));
    match wire {
        Wire::OpenAiChat => out.extend([openai("{}", "\"stop\""), "data: [DONE]\n\n".to_owned()]),
        Wire::AnthropicMessages => out.extend([
            anthropic("content_block_stop", ",\"index\":0"),
            anthropic(
                "message_delta",
                ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":1000}",
            ),
            anthropic("message_stop", ""),
        ]),
        Wire::Gemini => out.push(gemini("", "\"finishReason\": \"STOP\",")),
    }
    out.into_iter().map(Bytes::from).collect()
}

fn streams(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("stream");
    let same = [(Wire::OpenAiChat, Wire::OpenAiChat), (Wire::AnthropicMessages, Wire::AnthropicMessages)];
    for (client, from) in same.into_iter().chain(pairs()) {
        let chunks = upstream(from);
        let reply = prepare(client, &conversation(client, 1000), from).reply;
        group.throughput(Throughput::Elements(chunks.len() as u64));
        group.bench_function(format!("{}-{}", name(from), name(client)), |bench| {
            bench.iter_batched(
                || (reply.stream(STAMP), chunks.clone()),
                |(mut pipe, chunks)| {
                    let mut bytes = 0;
                    for chunk in chunks {
                        bytes += black_box(pipe.push(chunk)).len();
                    }
                    let tally = pipe.finish(None);
                    assert!(tally.failure.is_none() && bytes + tally.bytes.len() > 50 * FRAMES);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).without_plots();
    targets = splice, requests, streams
}
criterion_main!(benches);
