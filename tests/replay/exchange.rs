//! The recordings: the folder read, and each exchange in the form that its wire has on the network.

use std::fs;
use std::path::PathBuf;

use feathergate::wire::{Operation, Wire};

use crate::json::Json;

/// One exchange.
pub(crate) struct Exchange {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) wire: Wire,
    pub(crate) operation: Operation,
    pub(crate) request: Option<Json>,
    pub(crate) status: u16,
    pub(crate) streamed: bool,
    /// As the network has it.
    pub(crate) body: String,
}

impl Exchange {
    pub(crate) fn good(&self) -> bool {
        self.status < 400
    }
}

/// All exchanges of the wires that we speak; nothing where the variable is unset.
pub(crate) fn all() -> Option<Vec<Exchange>> {
    #[expect(clippy::disallowed_methods, reason = "a test's switch")]
    let Ok(folder) = std::env::var("FEATHERGATE_RECORDINGS") else {
        println!("replay: SKIPPED, FEATHERGATE_RECORDINGS is not set");
        return None;
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    let read = |path: &PathBuf| one(&Json::parse(&fs::read_to_string(path).unwrap()).unwrap());
    Some(paths.iter().filter_map(read).collect())
}

fn one(exchange: &Json) -> Option<Exchange> {
    let (wire, operation) = match exchange["api"].as_str()? {
        "openai.chat" => (Wire::OpenAiChat, Operation::Generate),
        "anthropic.messages" => (Wire::AnthropicMessages, Operation::Generate),
        "anthropic.count_tokens" => (Wire::AnthropicMessages, Operation::CountTokens),
        "gemini.generate" | "gemini.stream" => (Wire::Gemini, Operation::Generate),
        "gemini.count_tokens" => (Wire::Gemini, Operation::CountTokens),
        _ => return None,
    };
    let response = &exchange["response"];
    let body = &response["body"];
    let streamed = exchange["streamed"] == Json::Bool(true);
    let body = match response["body_encoding"].as_str()? {
        "sse" | "text" => body.as_str()?.to_owned(),
        "json" if streamed && body.is_array() => array(body),
        "json" => body.to_string(),
        "events" => body.items().iter().map(|event| framed(wire, event)).collect::<String>() + last(wire),
        _ => return None,
    };
    let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    Some(Exchange {
        id: exchange["id"].as_str()?.to_owned(),
        provider: exchange["provider"].as_str()?.to_owned(),
        wire,
        operation,
        request: Some(exchange["request"]["body"].clone()).filter(Json::is_object),
        status,
        streamed: streamed && status < 400,
        body,
    })
}

/// A stream of Gemini's without `alt=sse`.
fn array(body: &Json) -> String {
    let items: Vec<String> = body.items().iter().map(Json::to_string).collect();
    format!("[{}]\r\n", items.join("\r\n,\r\n"))
}

fn framed(wire: Wire, event: &Json) -> String {
    match wire {
        Wire::AnthropicMessages => format!("event: {}\ndata: {event}\n\n", event["type"].text()),
        Wire::OpenAiChat => format!("data: {event}\n\n"),
        Wire::Gemini => format!("data: {event}\r\n\r\n"),
    }
}

fn last(wire: Wire) -> &'static str {
    if wire == Wire::OpenAiChat { "data: [DONE]\n\n" } else { "" }
}

/// A server-sent event: its name and its data.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

/// The events of a stream, with the offset behind each. Comments are none.
pub(crate) fn frames(body: &str) -> Vec<(usize, Frame)> {
    if body.trim_start().starts_with('[') {
        return elements(body);
    }
    let mut out = Vec::new();
    let (mut name, mut data): (Option<String>, Vec<&str>) = (None, Vec::new());
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        at += line.len();
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(value) = line.strip_prefix("event:") {
            name = Some(value.trim().to_owned());
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        } else if line.is_empty() {
            if !data.is_empty() {
                out.push((at, Frame { name: name.take(), data: data.join("\n") }));
            }
            (name, data) = (None, Vec::new());
        }
    }
    if !data.is_empty() {
        out.push((body.len(), Frame { name, data: data.join("\n") }));
    }
    out
}

fn elements(body: &str) -> Vec<(usize, Frame)> {
    let items = Json::parse(body.trim()).unwrap();
    let mut at = 1;
    let mut out = Vec::new();
    for item in items.items() {
        let data = item.to_string();
        at = body[at..].find(&data).unwrap() + at + data.len();
        out.push((at, Frame { name: None, data }));
    }
    out
}
