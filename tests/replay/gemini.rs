//! Gemini answers, read as a source.

use crate::exchange::Frame;
use crate::json::Json;
use crate::said::{Call, Choice, Said, Stop};

const REFUSED: [&str; 10] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
];

/// Reads a whole answer.
pub(crate) fn whole(body: &Json) -> Said {
    let mut said = Said::default();
    take(&mut said, body, &mut None);
    said
}

/// Reads a stream: the parts of each chunk are new, the counts are totals.
pub(crate) fn stream(frames: &[Frame]) -> Said {
    let mut said = Said::default();
    let mut growing = None;
    for frame in frames {
        let Ok(chunk) = Json::parse(&frame.data) else { continue };
        take(&mut said, &chunk, &mut growing);
    }
    said
}

fn take(said: &mut Said, chunk: &Json, growing: &mut Option<Json>) {
    if chunk["error"].is_object() {
        said.failed = Some(chunk["error"]["message"].text().to_owned());
    }
    for candidate in chunk["candidates"].items() {
        let index = usize::try_from(candidate["index"].as_u64().unwrap_or(0)).unwrap();
        let state = said.at(index);
        for part in candidate["content"]["parts"].items() {
            take_part(state, part, growing);
        }
        let reason = &candidate["finishReason"];
        let code = reason.as_u64();
        if let Some(reason) = reason.as_str().or_else(|| code.map(|code| if code == 2 { "MAX_TOKENS" } else { "STOP" }))
        {
            state.stop = Some(match reason {
                "MAX_TOKENS" => Stop::Length,
                reason if REFUSED.contains(&reason) => Stop::Refusal,
                _ => Stop::End,
            });
        }
    }
    if chunk["promptFeedback"]["blockReason"].as_str().is_some() {
        said.at(0).stop = Some(Stop::Refusal);
    }
    let usage = &chunk["usageMetadata"];
    let count = |key: &str| usage[key].as_u64();
    let counts = &mut said.usage;
    if let Some(prompt) = count("promptTokenCount") {
        counts.prompt = Some(prompt + count("toolUsePromptTokenCount").unwrap_or(0));
    }
    let thoughts = count("thoughtsTokenCount");
    if let (Some(_), _) | (_, Some(_)) = (count("candidatesTokenCount"), thoughts) {
        counts.completion = Some(count("candidatesTokenCount").unwrap_or(0) + thoughts.unwrap_or(0));
    }
    counts.cached = count("cachedContentTokenCount").or(counts.cached);
    counts.reasoning = thoughts.or(counts.reasoning);
}

fn take_part(state: &mut Choice, part: &Json, growing: &mut Option<Json>) {
    let text = part["text"].text();
    if part["thought"] == Json::Bool(true) {
        state.reasoning.push_str(text);
    } else {
        state.text.push_str(text);
    }
    if let Some(call) = part.get("functionCall") {
        if call.has("partialArgs") || call.has("willContinue") || call.fields().is_empty() {
            grow(state, call, growing);
        } else {
            let (id, name) = (call["id"].text().to_owned(), call["name"].text().to_owned());
            let arguments = call.get("args").map_or_else(String::new, Json::to_string);
            state.calls.push(Call { id, name, arguments });
        }
    }
    let image = part["inlineData"]["mimeType"].text().starts_with("image/");
    state.images += usize::from(image);
    if let Some(seal) = part["thoughtSignature"].as_str() {
        if part.has("functionCall") || (part["thought"] == Json::Bool(true) && !image) {
            state.seals.push(seal.to_owned());
        } else if part.has("text") {
            state.on_text.push(seal.to_owned());
        }
    }
}

/// Arguments in pieces: each names its place with a path.
fn grow(state: &mut Choice, call: &Json, growing: &mut Option<Json>) {
    if call["name"].as_str().is_some() {
        let (id, name) = (call["id"].text().to_owned(), call["name"].text().to_owned());
        state.calls.push(Call { id, name, arguments: String::new() });
        *growing = Some(Json::Object(Vec::new()));
    }
    let Some(root) = growing else { return };
    for piece in call["partialArgs"].items() {
        let place = place(root, piece["jsonPath"].text());
        if let Some(text) = piece["stringValue"].as_str() {
            let before = place.text().to_owned();
            *place = Json::String(before + text);
        }
        for key in ["numberValue", "boolValue"] {
            if let Some(value) = piece.get(key) {
                *place = value.clone();
            }
        }
    }
    if let Some(last) = state.calls.last_mut() {
        last.arguments = root.to_string();
    }
}

fn place<'a>(root: &'a mut Json, path: &str) -> &'a mut Json {
    let steps = path.trim_start_matches('$').replace('[', ".").replace(']', "");
    let mut at = root;
    for step in steps.split('.').filter(|step| !step.is_empty()) {
        if let Ok(index) = step.parse::<usize>() {
            if !at.is_array() {
                *at = Json::Array(Vec::new());
            }
            let items = at.items_mut().unwrap();
            while items.len() <= index {
                items.push(Json::Null);
            }
            at = &mut items[index];
        } else {
            if !at.is_object() {
                *at = Json::Object(Vec::new());
            }
            if !at.has(step) {
                at.set(step, Json::Null);
            }
            at = at.get_mut(step).unwrap();
        }
    }
    at
}
