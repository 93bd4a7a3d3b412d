//! Anthropic answers: read as a source; and judged strictly, as something that we wrote (wire.md 12.4, 12.5 and 19).

use crate::exchange::Frame;
use crate::json::Json;
use crate::said::{Call, Choice, Counts, Said, Stop};

/// Reads a whole answer.
pub(crate) fn whole(body: &Json) -> Said {
    let mut said = Said { choices: vec![Choice::default()], ..Said::default() };
    if body["type"].text() == "error" {
        said.failed = Some(body["error"]["message"].text().to_owned());
    }
    let state = said.at(0);
    for block in body["content"].items() {
        take(state, block);
        state.reasoning.push_str(block["thinking"].text());
        if block["type"].text() == "tool_use" {
            let arguments = block["input"].to_string();
            state.calls.push(Call { arguments, ..opened(block) });
        }
    }
    stop(state, &body["stop_reason"]);
    Tokens::default().read(&body["usage"]).write(&mut said.usage);
    said
}

/// What a block has from its start.
fn take(state: &mut Choice, block: &Json) {
    match block["type"].text() {
        "text" => state.text.push_str(block["text"].text()),
        "thinking" if !block["signature"].text().is_empty() => state.seals.push(block["signature"].text().to_owned()),
        "redacted_thinking" => state.seals.push(block["data"].text().to_owned()),
        _ => {}
    }
}

fn opened(block: &Json) -> Call {
    Call { id: block["id"].text().to_owned(), name: block["name"].text().to_owned(), arguments: String::new() }
}

/// Reads a stream.
pub(crate) fn stream(frames: &[Frame]) -> Said {
    let mut said = Said { choices: vec![Choice::default()], ..Said::default() };
    let mut tokens = Tokens::default();
    let mut kinds: Vec<(u64, String, Json)> = Vec::new();
    let (mut begun, mut over) = (false, false);
    for frame in frames {
        let Ok(event) = Json::parse(&frame.data) else { continue };
        // What stands behind it belongs to no answer (two recordings hold a second one).
        if over {
            break;
        }
        over = event["type"].text() == "message_stop";
        let index = event["index"].as_u64().unwrap_or(u64::MAX);
        let state = said.at(0);
        match event["type"].text() {
            // Duplicates occur in the wild.
            "message_start" if !begun => {
                begun = true;
                tokens = tokens.read(&event["message"]["usage"]);
            }
            "content_block_start" => {
                let block = &event["content_block"];
                take(state, block);
                state.reasoning.push_str(block["thinking"].text());
                if block["type"].text() == "tool_use" {
                    state.calls.push(opened(block));
                }
                kinds.retain(|(known, ..)| *known != index);
                kinds.push((index, block["type"].text().to_owned(), block["input"].clone()));
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let kind = kinds.iter().find(|(known, ..)| *known == index).map(|(_, kind, _)| kind.as_str());
                match delta["type"].text() {
                    "text_delta" => state.text.push_str(delta["text"].text()),
                    "thinking_delta" => state.reasoning.push_str(delta["thinking"].text()),
                    "signature_delta" => state.seals.push(delta["signature"].text().to_owned()),
                    "input_json_delta" if kind == Some("tool_use") => {
                        state.calls.last_mut().unwrap().arguments.push_str(delta["partial_json"].text());
                    }
                    _ => {}
                }
            }
            "content_block_stop" => {
                if let Some((_, kind, input)) = kinds.iter().find(|(known, ..)| *known == index)
                    && kind == "tool_use"
                    && let Some(call) = state.calls.last_mut()
                    && call.arguments.is_empty()
                    && input.is_object()
                {
                    call.arguments = input.to_string();
                }
            }
            "message_delta" => {
                stop(state, &event["delta"]["stop_reason"]);
                tokens = tokens.read(&event["usage"]);
            }
            "error" => said.failed = Some(event["error"]["message"].text().to_owned()),
            _ => {}
        }
    }
    tokens.write(&mut said.usage);
    said
}

fn stop(state: &mut Choice, reason: &Json) {
    let Some(reason) = reason.as_str() else { return };
    state.stop = Some(match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Refusal,
        _ => Stop::End,
    });
}

/// The four counters as they stand.
#[derive(Clone, Copy, Default)]
struct Tokens {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Tokens {
    fn read(mut self, usage: &Json) -> Self {
        self.input = usage["input_tokens"].as_u64().or(self.input);
        self.read = usage["cache_read_input_tokens"].as_u64().or(self.read);
        self.written = usage["cache_creation_input_tokens"].as_u64().or(self.written);
        self.output = usage["output_tokens"].as_u64().or(self.output);
        self.thinking = usage["output_tokens_details"]["thinking_tokens"].as_u64().or(self.thinking);
        self
    }

    fn write(self, counts: &mut Counts) {
        let parts = [self.input, self.read, self.written];
        let prompt = parts.iter().flatten().sum();
        counts.prompt = parts.iter().any(Option::is_some).then_some(prompt);
        (counts.cached, counts.written) = (self.read, self.written);
        (counts.completion, counts.reasoning) = (self.output, self.thinking);
    }
}

/// What is wrong with a whole answer. A vendor's own (`ours` unset) may have blocks that we never write.
pub(crate) fn faults(body: &Json, ours: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            out.push(what.to_owned());
        }
    };
    message(body, ours, &mut must);
    let mut called = false;
    for block in body["content"].items() {
        match block["type"].text() {
            "text" => must(!ours || !block["text"].text().is_empty(), "an empty text block"),
            "thinking" => must(
                block["thinking"].as_str().is_some() && block["signature"].as_str().is_some(),
                "thinking without text or signature",
            ),
            "redacted_thinking" => must(block["data"].as_str().is_some(), "redacted without data"),
            "tool_use" => {
                called = true;
                tool(block, &mut must);
                must(block["input"].is_object(), "input is no object");
            }
            _ => must(!ours, "a block of another kind"),
        }
    }
    let reason = body["stop_reason"].text();
    agree(called, reason, &mut must);
    out
}

fn tool(block: &Json, must: &mut impl FnMut(bool, &str)) {
    let id = block["id"].text();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    must(!id.is_empty() && id.bytes().all(plain), "a call's id is not `^[a-zA-Z0-9_-]+$`");
    must(!block["name"].text().is_empty(), "a call without name");
}

fn agree(called: bool, reason: &str, must: &mut impl FnMut(bool, &str)) {
    let known = ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"];
    must(known.contains(&reason) || reason == "model_context_window_exceeded", "a stop reason of no name");
    if !matches!(reason, "max_tokens" | "refusal" | "model_context_window_exceeded" | "pause_turn") {
        must(called == (reason == "tool_use"), "stop reason and calls disagree");
    }
}

fn message(message: &Json, ours: bool, must: &mut impl FnMut(bool, &str)) {
    must(!message["id"].text().is_empty(), "no id");
    must(message["type"].text() == "message", "type");
    must(message["role"].text() == "assistant", "role");
    must(message["model"].as_str().is_some(), "no model");
    must(message["content"].is_array(), "content is no list");
    for key in ["stop_reason", "stop_sequence"] {
        must(message.has(key), &format!("no {key}"));
    }
    counters(&message["usage"], ours, must);
}

fn counters(usage: &Json, ours: bool, must: &mut impl FnMut(bool, &str)) {
    must(usage["output_tokens"].as_u64().is_some(), "usage without output_tokens");
    for key in ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"] {
        must(!ours || usage[key].as_u64().is_some(), &format!("usage without {key}"));
    }
}

/// What is wrong with a stream, event by event.
pub(crate) fn grammar(frames: &[Frame], ours: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            out.push(what.to_owned());
        }
    };
    let (mut begun, mut next, mut open): (bool, u64, Option<(String, String)>) = (false, 0, None);
    let (mut reason, mut over, mut called) = (None, false, false);
    for frame in frames {
        let event = match Json::parse(&frame.data) {
            Ok(event) => event,
            Err(error) => {
                must(false, &format!("an event is no JSON: {error}"));
                continue;
            }
        };
        let kind = event["type"].text();
        must(frame.name.as_deref() == Some(kind), "the event's name is not its type");
        must(!over, "something stands behind message_stop");
        must(begun || matches!(kind, "message_start" | "ping"), "something stands before message_start");
        match kind {
            "ping" => {}
            "message_start" => {
                must(!begun, "message_start again");
                begun = true;
                message(&event["message"], ours, &mut must);
                must(event["message"]["content"].items().is_empty(), "message_start has content");
                must(event["message"]["stop_reason"].is_null(), "message_start has a stop reason");
            }
            "content_block_start" => {
                must(open.is_none(), "blocks overlap");
                must(reason.is_none(), "a block behind message_delta");
                must(event["index"].as_u64() == Some(next), "indexes are not dense");
                let block = &event["content_block"];
                let what = block["type"].text().to_owned();
                match what.as_str() {
                    "text" => must(block["text"].text().is_empty(), "a text block starts with text"),
                    "thinking" => must(block["thinking"].text().is_empty(), "a thinking block starts with text"),
                    "redacted_thinking" => must(!block["data"].text().is_empty(), "redacted without data"),
                    "tool_use" => {
                        called = true;
                        tool(block, &mut must);
                        must(block["input"].is_object() && block["input"].fields().is_empty(), "input is not {}");
                    }
                    _ => must(!ours, "a block of another kind"),
                }
                open = Some((what, String::new()));
            }
            "content_block_delta" => {
                must(event["index"].as_u64() == Some(next), "a delta of another block");
                let delta = &event["delta"];
                let (what, text) = open.get_or_insert_with(|| ("none".to_owned(), String::new()));
                let fits = match delta["type"].text() {
                    "text_delta" | "citations_delta" => what == "text",
                    "thinking_delta" | "signature_delta" => what == "thinking",
                    "input_json_delta" => what == "tool_use" || !ours,
                    _ => !ours,
                };
                must(fits, "a delta does not fit its block");
                text.push_str(delta["text"].text());
                text.push_str(delta["thinking"].text());
                text.push_str(delta["partial_json"].text());
                let empty = matches!(delta["type"].text(), "text_delta" | "thinking_delta")
                    && delta["text"].text().is_empty()
                    && delta["thinking"].text().is_empty();
                must(!ours || !empty, "an empty delta");
            }
            "content_block_stop" => {
                must(event["index"].as_u64() == Some(next), "a stop of another block");
                match open.take() {
                    None => must(false, "a stop without a block"),
                    Some((what, text)) => {
                        must(!ours || what != "text" || !text.is_empty(), "an empty text block");
                        // Arguments that the token limit cut are judged with the stop reason.
                        if what == "tool_use" && !text.is_empty() && Json::parse(&text).is_err() {
                            must(
                                frames.iter().any(|frame| frame.data.contains("\"max_tokens\"")),
                                "arguments are no JSON",
                            );
                        }
                    }
                }
                next += 1;
            }
            "message_delta" => {
                must(open.is_none(), "message_delta inside a block");
                must(reason.is_none(), "message_delta again");
                reason = Some(event["delta"]["stop_reason"].text().to_owned());
                counters(&event["usage"], ours, &mut must);
            }
            "message_stop" => {
                must(reason.is_some(), "message_stop without message_delta");
                over = true;
            }
            "error" => must(false, "an error event"),
            _ => must(!ours, "an event of another kind"),
        }
    }
    must(over, "no message_stop");
    agree(called, reason.as_deref().unwrap_or_default(), &mut must);
    out
}
