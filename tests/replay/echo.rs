//! The answer to a converted request: the upstream calls every tool that it was told of, by the names that it was told, and the
//! client has to see its own tools called. A tool that stands for a form of answers is text to the client.

use bytes::Bytes;
use feathergate::wire::{Prepared, Stamp, Wire};

use crate::exchange::frames;
use crate::history::{History, Item};
use crate::json::Json;
use crate::openai::Whose;
use crate::said::Said;
use crate::{anthropic, openai};

const STAMP: Stamp<'static> = Stamp { id: "0123456789abcdef", created: 1_700_000_000 };
const ARGUMENTS: &str = r#"{"input":"a"}"#;

/// What is wrong with the answer.
pub(crate) fn echo(from: Wire, request: &Json, body: &Json, to: Wire, prepared: &Prepared) -> Vec<String> {
    let sent = told(to, body);
    // `functions` have room for one call in an answer.
    if sent.is_empty() || request.has("functions") {
        return Vec::new();
    }
    let mut own = told(from, request);
    // A history with calls but without tools gets tools of their names.
    let history = if from == Wire::OpenAiChat { History::openai(request) } else { History::anthropic(request) };
    own.extend(history.items.into_iter().filter_map(|item| match item {
        Item::Call { name, .. } => Some(name),
        _ => None,
    }));
    let mut faults = Vec::new();
    let whole = match prepared.reply.whole(&Bytes::from(answer(to, &sent)), STAMP) {
        Ok(reply) => reply.body,
        Err(failure) => return vec![format!("an answer with calls fails: {}", failure.message)],
    };
    let json = Json::parse(std::str::from_utf8(&whole).unwrap()).unwrap();
    let (said, wrong) = match from {
        Wire::OpenAiChat => (openai::whole(&json), openai::faults(&json, true)),
        _ => (anthropic::whole(&json), anthropic::faults(&json, true)),
    };
    faults.extend(wrong);
    faults.extend(judge(&said, &sent, &own));

    let mut pipe = prepared.reply.stream(STAMP);
    let mut streamed = pipe.push(Bytes::from(stream(to, &sent))).to_vec();
    let tally = pipe.finish(None);
    streamed.extend_from_slice(&tally.bytes);
    if let Some(failure) = tally.failure {
        faults.push(format!("a stream with calls fails: {}", failure.message));
    }
    let events: Vec<_> = frames(std::str::from_utf8(&streamed).unwrap()).into_iter().map(|(_, frame)| frame).collect();
    let usage = request["stream_options"]["include_usage"] == Json::Bool(true);
    let (said, wrong) = match from {
        Wire::OpenAiChat => (openai::stream(&events), openai::grammar(&events, Whose::Ours { usage })),
        _ => (anthropic::stream(&events), anthropic::grammar(&events, true)),
    };
    faults.extend(wrong);
    faults.extend(judge(&said, &sent, &own));
    faults.into_iter().map(|fault| format!("an answer with calls: {fault}")).collect()
}

fn judge(said: &Said, sent: &[String], own: &[String]) -> Vec<String> {
    let calls = said.choices.first().map(|choice| choice.calls.as_slice()).unwrap_or_default();
    let mut faults = Vec::new();
    for call in calls {
        if !own.contains(&call.name) {
            faults.push(format!("`{}` is no tool of the client's", call.name));
        }
        if call.arguments != ARGUMENTS && call.arguments != "a" {
            faults.push(format!("arguments became {}", call.arguments));
        }
    }
    let text = said.choices.first().map(|choice| choice.text.as_str()).unwrap_or_default();
    let form = usize::from(text == ARGUMENTS);
    if calls.len() + form != sent.len() {
        faults.push(format!("{} calls became {} and the text {text:?}", sent.len(), calls.len()));
    }
    faults
}

/// The tools of a request that its sender runs.
fn told(wire: Wire, body: &Json) -> Vec<String> {
    let mut out = Vec::new();
    for tool in body["tools"].items() {
        match wire {
            Wire::OpenAiChat => out.push(tool["function"]["name"].as_str().or(tool["custom"]["name"].as_str())),
            Wire::AnthropicMessages if tool.has("input_schema") || !tool.has("type") => out.push(tool["name"].as_str()),
            // The vendor knows their schemas, the client runs them.
            Wire::AnthropicMessages => {
                let kinds = ["bash_", "text_editor_", "memory_", "computer_"];
                let own = kinds.iter().any(|kind| tool["type"].text().starts_with(kind));
                out.push(tool["name"].as_str().filter(|_| own));
            }
            Wire::Gemini => {
                out.extend(tool["functionDeclarations"].items().iter().map(|tool| tool["name"].as_str()));
            }
        }
    }
    out.into_iter().flatten().map(str::to_owned).collect()
}

fn object(text: &str) -> Json {
    Json::parse(text).unwrap()
}

/// Each call, filled into a form: `NAME` and the number.
fn calls(sent: &[String], form: &str) -> String {
    let call = |(at, name): (usize, &String)| {
        form.replace("NAME", &Json::String(name.clone()).to_string()).replace("NUMBER", &at.to_string())
    };
    sent.iter().enumerate().map(call).collect::<Vec<_>>().join(",")
}

fn answer(wire: Wire, sent: &[String]) -> String {
    match wire {
        Wire::OpenAiChat => {
            let form =
                r#"{"id":"call_NUMBER","type":"function","function":{"name":NAME,"arguments":"{\"input\":\"a\"}"}}"#;
            let calls = calls(sent, form);
            format!(
                r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":null,"refusal":null,"tool_calls":[{calls}]}},"logprobs":null,"finish_reason":"tool_calls"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
            )
        }
        Wire::AnthropicMessages => {
            let calls = calls(sent, r#"{"type":"tool_use","id":"toolu_NUMBER","name":NAME,"input":{"input":"a"}}"#);
            format!(
                r#"{{"id":"x","type":"message","role":"assistant","model":"m","content":[{calls}],"stop_reason":"tool_use","stop_sequence":null,"usage":{{"input_tokens":3,"output_tokens":2}}}}"#
            )
        }
        Wire::Gemini => {
            let calls = calls(sent, r#"{"functionCall":{"name":NAME,"args":{"input":"a"}}}"#);
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{calls}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}},"modelVersion":"m","responseId":"x"}}"#
            )
        }
    }
}

fn stream(wire: Wire, sent: &[String]) -> String {
    match wire {
        Wire::OpenAiChat => {
            let form = r#"{"index":NUMBER,"id":"call_NUMBER","type":"function","function":{"name":NAME,"arguments":"{\"input\":\"a\"}"}}"#;
            let calls = calls(sent, form);
            let head = r#""id":"x","object":"chat.completion.chunk","created":1,"model":"m""#;
            format!(
                "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"tool_calls\":[{calls}]}},\"finish_reason\":null}}]}}\n\n\
                 data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"tool_calls\"}}]}}\n\n\
                 data: {{{head},\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}}}\n\n\
                 data: [DONE]\n\n"
            )
        }
        Wire::AnthropicMessages => {
            let mut start = object(&answer(wire, &[]));
            start.set("stop_reason", Json::Null);
            let mut events = vec![format!(r#"{{"type":"message_start","message":{start}}}"#)];
            for (at, name) in sent.iter().enumerate() {
                let name = Json::String(name.clone());
                events.push(format!(
                    r#"{{"type":"content_block_start","index":{at},"content_block":{{"type":"tool_use","id":"toolu_{at}","name":{name},"input":{{}}}}}}"#
                ));
                events.push(format!(
                    r#"{{"type":"content_block_delta","index":{at},"delta":{{"type":"input_json_delta","partial_json":"{{\"input\":\"a\"}}"}}}}"#
                ));
                events.push(format!(r#"{{"type":"content_block_stop","index":{at}}}"#));
            }
            events.push(
                r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":2}}"#
                    .to_owned(),
            );
            events.push(r#"{"type":"message_stop"}"#.to_owned());
            let framed = |event: &String| format!("event: {}\ndata: {event}\n\n", object(event)["type"].text());
            events.iter().map(framed).collect::<Vec<_>>().concat()
        }
        Wire::Gemini => format!("data: {}\r\n\r\n", answer(wire, sent)),
    }
}
