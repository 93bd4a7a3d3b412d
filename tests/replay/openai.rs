//! `OpenAI` answers: read leniently, as a source; and judged strictly, as something that we wrote (wire.md 11.2 and 19).

use crate::exchange::Frame;
use crate::json::Json;
use crate::said::{Call, Choice, Counts, Said, Stop};

/// Reads a whole answer.
pub(crate) fn whole(body: &Json) -> Said {
    let mut said = Said { failed: failure(body), ..Said::default() };
    for choice in body["choices"].items() {
        let index = usize::try_from(choice["index"].as_u64().unwrap_or(0)).unwrap();
        let state = said.at(index);
        message(state, &choice["message"], &mut Vec::new());
        finish(state, choice);
    }
    usage(&mut said.usage, &body["usage"]);
    settle(said)
}

/// Reads a stream.
pub(crate) fn stream(frames: &[Frame]) -> Said {
    let mut said = Said::default();
    let mut keys: Vec<Vec<Option<u64>>> = Vec::new();
    for frame in frames.iter().filter(|frame| frame.data.trim() != "[DONE]") {
        let Ok(chunk) = Json::parse(&frame.data) else { continue };
        if let Some(failed) = failure(&chunk) {
            said.failed = Some(failed);
        }
        for choice in chunk["choices"].items() {
            let index = usize::try_from(choice["index"].as_u64().unwrap_or(0)).unwrap();
            if keys.len() <= index {
                keys.resize_with(index + 1, Vec::new);
            }
            let state = said.at(index);
            message(state, &choice["delta"], &mut keys[index]);
            finish(state, choice);
        }
        usage(&mut said.usage, &chunk["x_groq"]["usage"]);
        usage(&mut said.usage, &chunk["usage"]);
    }
    settle(said)
}

fn failure(body: &Json) -> Option<String> {
    let error = &body["error"];
    if error.is_null() {
        return None;
    }
    Some(error.as_str().map_or_else(|| error["message"].text().to_owned(), str::to_owned))
}

fn message(state: &mut Choice, message: &Json, keys: &mut Vec<Option<u64>>) {
    match &message["content"] {
        Json::String(text) => state.text.push_str(text),
        Json::Array(parts) => {
            for part in parts {
                match part["type"].text() {
                    "text" => state.text.push_str(part["text"].text()),
                    "thinking" => {
                        for text in part["thinking"].items() {
                            state.reasoning.push_str(text["text"].text());
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    state.refusal.push_str(message["refusal"].text());
    state.images += message["images"].items().len();
    reasoning(state, message);
    if message["function_call"].is_object() {
        call(state, keys, &Json::Null, &message["function_call"]);
    }
    for entry in message["tool_calls"].items() {
        // A custom tool's input is free text.
        let function = if entry.has("custom") { &entry["custom"] } else { &entry["function"] };
        call(state, keys, entry, function);
    }
}

fn reasoning(state: &mut Choice, message: &Json) {
    let plain = [&message["reasoning_content"], &message["reasoning"]];
    state.reasoning.push_str(plain.iter().map(|it| it.text()).find(|it| !it.is_empty()).unwrap_or_default());
    for detail in message["reasoning_details"].items() {
        let text = detail["text"].as_str().or_else(|| detail["summary"].as_str());
        state.detailed.push_str(text.unwrap_or_default());
        for seal in [&detail["signature"], &detail["data"]].into_iter().filter_map(Json::as_str) {
            if !seal.is_empty() {
                state.seals.push(seal.to_owned());
            }
        }
    }
}

/// The same reasoning may be told twice: plainly, and with details.
fn settle(mut said: Said) -> Said {
    for choice in &mut said.choices {
        if choice.reasoning.is_empty() {
            choice.reasoning.clone_from(&choice.detailed);
        }
        choice.detailed.clear();
    }
    let counts = &mut said.usage;
    if let (Some(completion), Some(reasoning)) = (counts.completion, counts.reasoning)
        && reasoning > completion
    {
        // Some count reasoning beside the completion; `OpenAI` counts it in it.
        counts.completion = Some(completion + reasoning);
    }
    said
}

/// One entry opens a call, or goes on with one that is open: told by its index, and by its id where servers do not count.
fn call(state: &mut Choice, keys: &mut Vec<Option<u64>>, entry: &Json, function: &Json) {
    let (index, id) = (entry["index"].as_u64(), entry["id"].text());
    let known = keys.iter().rposition(|key| *key == index).filter(|at| {
        let open = &state.calls[*at];
        id.is_empty() || open.id == id || open.id.is_empty()
    });
    let known = known.filter(|_| index.is_some() || id.is_empty());
    let at = known.unwrap_or_else(|| {
        keys.push(index);
        state.calls.push(Call::default());
        state.calls.len() - 1
    });
    let open = &mut state.calls[at];
    if open.id.is_empty() {
        id.clone_into(&mut open.id);
    }
    if open.name.is_empty() {
        function["name"].text().clone_into(&mut open.name);
    }
    for text in [&function["arguments"], &function["input"]] {
        match text {
            Json::String(text) => open.arguments.push_str(text),
            Json::Object(_) => open.arguments.push_str(&text.to_string()),
            _ => {}
        }
    }
    let seal = entry["extra_content"]["google"]["thought_signature"].text();
    if !seal.is_empty() {
        state.seals.push(seal.to_owned());
    }
}

fn finish(state: &mut Choice, choice: &Json) {
    let stop = match choice["finish_reason"].as_str() {
        None => return,
        Some("length") => Stop::Length,
        Some("tool_calls" | "function_call") => Stop::Tools,
        Some("content_filter") => Stop::Refusal,
        Some(_) => Stop::End,
    };
    state.stop = Some(stop);
}

fn usage(counts: &mut Counts, usage: &Json) {
    if !usage.is_object() {
        return;
    }
    let first =
        |paths: &[&[&str]]| paths.iter().find_map(|path| path.iter().fold(usage, |value, key| &value[*key]).as_u64());
    let cached: &[&[&str]] = &[&["prompt_tokens_details", "cached_tokens"], &["prompt_cache_hit_tokens"]];
    let written: &[&[&str]] = &[&["prompt_tokens_details", "cache_write_tokens"]];
    let reasoning: &[&[&str]] = &[&["completion_tokens_details", "reasoning_tokens"], &["reasoning_tokens"]];
    counts.prompt = first(&[&["prompt_tokens"]]).or(counts.prompt);
    counts.completion = first(&[&["completion_tokens"]]).or(counts.completion);
    counts.cached = first(cached).or(counts.cached);
    counts.written = first(written).or(counts.written);
    counts.reasoning = first(reasoning).or(counts.reasoning);
    let total = usage["total_tokens"].as_u64();
    if let (Some(prompt), Some(completion), Some(reasoning), Some(total)) =
        (counts.prompt, counts.completion, counts.reasoning, total)
        && reasoning > 0
        && total == prompt + completion + reasoning
    {
        counts.completion = Some(completion + reasoning);
    }
}

/// How strictly a stream is judged: `ours`, with or without usage asked for, or a vendor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours { usage: bool },
    Theirs,
}

/// What is wrong with a whole answer. A vendor's own (`ours` unset) may be older than some fields, and forced tools end with
/// `stop` there.
pub(crate) fn faults(body: &Json, ours: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            out.push(what.to_owned());
        }
    };
    must(body["object"].text() == "chat.completion", "object");
    must(!body["id"].text().is_empty(), "no id");
    must(body["created"].as_u64().is_some(), "no created");
    must(body["model"].as_str().is_some(), "no model");
    must(!body["choices"].items().is_empty(), "no choice");
    for (at, choice) in body["choices"].items().iter().enumerate() {
        must(choice["index"].as_u64() == Some(at as u64), "indexes of choices");
        let message = &choice["message"];
        must(message["role"].text() == "assistant", "role");
        for key in ["content", "refusal"] {
            must(message.has(key) || !ours, &format!("message without `{key}`"));
            must(message[key].is_null() || message[key].as_str().is_some(), &format!("`{key}` is no string"));
        }
        must(choice.has("logprobs") || !ours, "no logprobs");
        let calls = message["tool_calls"].items();
        must(!message.has("tool_calls") || !calls.is_empty(), "an empty list of calls");
        for call in calls {
            must(!call.has("index"), "a whole call has an index");
            must(!call["id"].text().is_empty(), "a call without id");
            match call["type"].text() {
                "function" => {
                    must(!call["function"]["name"].text().is_empty(), "a call without name");
                    must(call["function"]["arguments"].as_str().is_some(), "arguments are no string");
                }
                "custom" => must(call["custom"]["input"].as_str().is_some(), "a custom call without input"),
                _ => must(false, "a call's type"),
            }
        }
        let called = !calls.is_empty();
        let parsed = calls.iter().all(|call| {
            !call.has("function")
                || Json::parse(call["function"]["arguments"].text()).is_ok_and(|arguments| arguments.is_object())
        });
        if ours {
            agree(called, choice["finish_reason"].text(), parsed, &mut must);
        }
        let silent = ["content", "refusal", "function_call", "audio"].iter().all(|key| message[*key].is_null());
        let filtered = choice["finish_reason"].text() == "content_filter";
        must(!silent || called || filtered, "content is null and nothing else is there");
    }
    sums(&body["usage"], &mut must);
    out
}

fn agree(called: bool, finish: &str, parsed: bool, must: &mut impl FnMut(bool, &str)) {
    must(
        matches!(finish, "stop" | "length" | "tool_calls" | "content_filter" | "function_call"),
        "a finish of no name",
    );
    if !matches!(finish, "length" | "content_filter") {
        must(called == (finish == "tool_calls"), "finish and calls disagree");
        must(!called || parsed, "arguments are no object");
    }
}

fn sums(usage: &Json, must: &mut impl FnMut(bool, &str)) {
    if !usage.is_object() {
        return;
    }
    let count = |key: &str| usage[key].as_u64();
    let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
    must(prompt.is_some() && completion.is_some(), "usage lacks a count");
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    must(count("total_tokens") == Some(prompt + completion), "total is not prompt + completion");
    must(usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0) <= prompt, "cached > prompt");
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap_or(0);
    must(reasoning <= completion, "reasoning > completion");
}

#[derive(Default)]
struct Track {
    role: bool,
    finish: Option<String>,
    arguments: Vec<String>,
    custom: bool,
}

/// What is wrong with a stream, frame by frame.
pub(crate) fn grammar(frames: &[Frame], whose: Whose) -> Vec<String> {
    let mut out = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            out.push(what.to_owned());
        }
    };
    let ours = whose != Whose::Theirs;
    let mut head: Option<(String, String, String)> = None;
    let mut tracks: Vec<Track> = Vec::new();
    let (mut done, mut counted) = (false, false);
    for frame in frames {
        must(!done, "something stands behind [DONE]");
        must(frame.name.is_none(), "an event has a name");
        if frame.data == "[DONE]" {
            done = true;
            continue;
        }
        let chunk = match Json::parse(&frame.data) {
            Ok(chunk) => chunk,
            Err(error) => {
                must(false, &format!("a chunk is no JSON: {error}"));
                continue;
            }
        };
        must(chunk["object"].text() == "chat.completion.chunk", "object");
        let this = (chunk["id"].text().to_owned(), chunk["created"].to_string(), chunk["model"].text().to_owned());
        if this.0.is_empty() && !ours {
            continue; // Azure's first chunk
        }
        must(!this.0.is_empty() && chunk["created"].as_u64().is_some(), "no id or no created");
        must(*head.get_or_insert_with(|| this.clone()) == this, "id, created or model change");
        must(!counted, "something stands behind the usage");
        let choices = chunk["choices"].items();
        must(chunk["choices"].is_array(), "choices is no list");
        if choices.is_empty() {
            counted = true;
            must(chunk["usage"].is_object(), "neither choice nor usage");
            must(tracks.iter().all(|track| track.finish.is_some()), "usage before the finish");
            sums(&chunk["usage"], &mut must);
        } else if ours {
            must(chunk["usage"].is_null(), "usage beside choices");
            must(
                chunk.has("usage") == (whose == Whose::Ours { usage: true }),
                "usage:null only where usage was asked for",
            );
        }
        must(choices.is_empty() || choices.len() == 1 || !ours, "several choices in one chunk");
        for choice in choices {
            let index = usize::try_from(choice["index"].as_u64().unwrap_or(999)).unwrap();
            if index > 128 {
                must(false, "no index");
                continue;
            }
            if tracks.len() <= index {
                tracks.resize_with(index + 1, Track::default);
            }
            one(&mut tracks[index], choice, ours, &mut must);
        }
    }
    must(done, "no [DONE]");
    must(!tracks.is_empty(), "no choice");
    for track in &tracks {
        must(track.finish.is_some(), "a choice without finish");
        let parsed = track.custom
            || track.arguments.iter().all(|text| Json::parse(text).is_ok_and(|arguments| arguments.is_object()));
        agree(!track.arguments.is_empty(), track.finish.as_deref().unwrap_or_default(), parsed, &mut must);
    }
    if whose == (Whose::Ours { usage: false }) {
        must(!counted, "usage that nobody asked for");
    }
    out
}

fn one(track: &mut Track, choice: &Json, ours: bool, must: &mut impl FnMut(bool, &str)) {
    for key in ["delta", "finish_reason"] {
        must(choice.has(key), &format!("a choice without `{key}`"));
    }
    must(track.finish.is_none(), "something stands behind the finish");
    let delta = &choice["delta"];
    let role = delta["role"].as_str();
    if track.role {
        must(role.is_none(), "role again");
    } else {
        must(role == Some("assistant"), "the first chunk has no role");
        track.role = true;
    }
    for entry in delta["tool_calls"].items() {
        judge_call(track, entry, must);
    }
    if let Some(finish) = choice["finish_reason"].as_str() {
        track.finish = Some(finish.to_owned());
        let only = delta.fields().iter().all(|(name, _)| name == "annotations");
        must(!ours || only, "content beside the finish");
    } else if ours {
        must(!delta.fields().is_empty(), "an empty delta");
        let nothing = delta.fields().iter().all(|(_, value)| value.text().is_empty() && !value.is_array());
        must(role.is_some() || !nothing || choice["logprobs"].is_object(), "a delta that says nothing");
    }
}

fn judge_call(track: &mut Track, entry: &Json, must: &mut impl FnMut(bool, &str)) {
    let Some(index) = entry["index"].as_u64().and_then(|index| usize::try_from(index).ok()) else {
        must(false, "a call without index");
        return;
    };
    let custom = entry.has("custom");
    track.custom |= custom;
    let function = if custom { &entry["custom"] } else { &entry["function"] };
    let piece = function[if custom { "input" } else { "arguments" }].text();
    if index > track.arguments.len() {
        must(false, "indexes of calls are not dense");
        return;
    }
    if let Some(arguments) = track.arguments.get_mut(index) {
        for key in ["id", "type"] {
            must(!entry.has(key), &format!("`{key}` again"));
        }
        must(!function.has("name"), "`name` again");
        arguments.push_str(piece);
        return;
    }
    must(!entry["id"].text().is_empty(), "a call opens without id");
    must(matches!(entry["type"].text(), "function" | "custom"), "a call opens without type");
    must(!function["name"].text().is_empty(), "a call opens without name");
    track.arguments.push(piece.to_owned());
}
