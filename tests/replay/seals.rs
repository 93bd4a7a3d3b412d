//! Opaque state: from the vendor's answer through a client of another wire and back to the vendor, byte for byte.

use feathergate::wire::convert::{self, Answering};
use feathergate::wire::relay::Undo;
use feathergate::wire::{OnLoss, Operation, Wire};

use crate::answers::word;
use crate::exchange::Exchange;
use crate::json::Json;
use crate::report::Report;
use crate::requests::{GEMINI_3, SONNET, prepare};
use crate::said::short;

pub(crate) fn run(exchanges: &[Exchange], report: &mut Report) {
    let how = Answering { stamp: "0123456789abcdef".to_owned(), created: 1, ..Answering::default() };
    for exchange in exchanges {
        let (vendor, clients): (_, &[Wire]) = match exchange.wire {
            Wire::AnthropicMessages => (SONNET, &[Wire::OpenAiChat]),
            Wire::Gemini => (GEMINI_3, &[Wire::OpenAiChat, Wire::AnthropicMessages]),
            Wire::OpenAiChat => continue,
        };
        let whole = exchange.good() && !exchange.streamed && exchange.operation == Operation::Generate;
        let Some(source) = Some(exchange).filter(|_| whole).and_then(|it| Json::parse(&it.body).ok()) else { continue };
        let sealed = opaque(exchange.wire, answer_parts(exchange.wire, &source));
        if sealed.is_empty() {
            continue;
        }
        for client in clients {
            let pair = format!("{} > {} > {0}", word(exchange.wire), word(*client));
            let inbound = convert::inbound(*client).unwrap();
            let outbound = convert::outbound(exchange.wire);
            let answer = convert::whole(outbound, inbound, exchange.body.as_bytes(), &Undo::default(), &how);
            let Ok((answer, _)) = answer else {
                report.add(&exchange.id, &pair, "", vec!["fails".to_owned()]);
                continue;
            };
            let answer = Json::parse(std::str::from_utf8(&answer).unwrap()).unwrap();
            let next = next_request(*client, &answer);
            let faults = match prepare(*client, &next.to_string(), vendor, OnLoss::Lenient) {
                Ok(prepared) => {
                    let body = Json::parse(std::str::from_utf8(&prepared.body).unwrap()).unwrap();
                    let back = opaque(exchange.wire, asked_parts(exchange.wire, &body));
                    let seals = |list: &[(String, String)]| -> Vec<(String, String)> {
                        let on_text = *client == Wire::AnthropicMessages && exchange.wire == Wire::Gemini;
                        list.iter().filter(|(what, _)| !on_text || what != "text").cloned().collect()
                    };
                    let lost = seals(&back) != seals(&sealed);
                    lost.then(|| format!("{} came back as {}", listed(&sealed), listed(&back))).into_iter().collect()
                }
                Err(error) => vec![error.to_string()],
            };
            report.add(&exchange.id, &pair, "sealed as before", faults);
        }
    }
}

fn answer_parts(wire: Wire, body: &Json) -> &[Json] {
    match wire {
        Wire::Gemini => body["candidates"][0]["content"]["parts"].items(),
        _ => body["content"].items(),
    }
}

fn asked_parts(wire: Wire, body: &Json) -> &[Json] {
    let (list, role, parts) = match wire {
        Wire::Gemini => ("contents", "model", "parts"),
        _ => ("messages", "assistant", "content"),
    };
    let turn = body[list].items().iter().find(|turn| turn["role"].text() == role);
    turn.map_or(&[], |turn| turn[parts].items())
}

/// The sealed parts, each with what it seals.
fn opaque(wire: Wire, parts: &[Json]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for part in parts {
        if wire == Wire::Gemini {
            // Code that the vendor ran has no place at a client of another wire.
            let kept = ["text", "functionCall", "thought"].iter().any(|key| part.has(key));
            if let Some(seal) = part["thoughtSignature"].as_str().filter(|_| kept) {
                let what = part.get("functionCall").map_or("text", |call| call["name"].text());
                out.push((what.to_owned(), seal.to_owned()));
            }
        } else {
            match part["type"].text() {
                "thinking" => out.push((part["thinking"].text().to_owned(), part["signature"].text().to_owned())),
                "redacted_thinking" => out.push(("redacted".to_owned(), part["data"].text().to_owned())),
                _ => {}
            }
        }
    }
    out
}

fn listed(seals: &[(String, String)]) -> String {
    let seals: Vec<String> = seals.iter().map(|(what, seal)| format!("{} {}", short(what), short(seal))).collect();
    seals.join(", ")
}

/// What a client asks next: it sends the answer back as it got it, with the results of all calls.
fn next_request(client: Wire, answer: &Json) -> Json {
    let text = |text: &str| Json::String(text.to_owned());
    let mut request =
        Json::parse(r#"{"model":"m","max_tokens":60000,"messages":[{"role":"user","content":"Hello"}],"tools":[]}"#)
            .unwrap();
    let mut messages = request["messages"].items().to_vec();
    let mut names = Vec::new();
    if client == Wire::OpenAiChat {
        request.set("reasoning_effort", text("high"));
        let message = answer["choices"][0]["message"].clone();
        let calls: Vec<Json> = message["tool_calls"].items().to_vec();
        messages.push(message);
        for call in &calls {
            names.push(call["function"]["name"].text().to_owned());
            let mut result = Json::parse(r#"{"role":"tool","content":"done"}"#).unwrap();
            result.set("tool_call_id", call["id"].clone());
            messages.push(result);
        }
        if calls.is_empty() {
            messages.push(Json::parse(r#"{"role":"user","content":"Go on"}"#).unwrap());
        }
    } else {
        request.set("thinking", Json::parse(r#"{"type":"enabled","budget_tokens":20000}"#).unwrap());
        let mut turn = Json::parse(r#"{"role":"assistant"}"#).unwrap();
        turn.set("content", answer["content"].clone());
        messages.push(turn);
        let mut results = Vec::new();
        for call in answer["content"].items().iter().filter(|block| block["type"].text() == "tool_use") {
            names.push(call["name"].text().to_owned());
            let mut result = Json::parse(r#"{"type":"tool_result","content":"done"}"#).unwrap();
            result.set("tool_use_id", call["id"].clone());
            results.push(result);
        }
        if results.is_empty() {
            results.push(Json::parse(r#"{"type":"text","text":"Go on"}"#).unwrap());
        }
        let mut turn = Json::parse(r#"{"role":"user"}"#).unwrap();
        turn.set("content", Json::Array(results));
        messages.push(turn);
    }
    names.sort_unstable();
    names.dedup();
    let tools = names.iter().map(|name| {
        let schema = r#"{"type":"object","properties":{}}"#;
        let tool = if client == Wire::OpenAiChat {
            format!(r#"{{"type":"function","function":{{"name":{},"parameters":{schema}}}}}"#, text(name))
        } else {
            format!(r#"{{"name":{},"input_schema":{schema}}}"#, text(name))
        };
        Json::parse(&tool).unwrap()
    });
    request.set("tools", Json::Array(tools.collect()));
    request.set("messages", Json::Array(messages));
    request
}
