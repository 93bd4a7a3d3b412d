//! Nothing that a client asks for vanishes without a word: it arrives, or a loss names it.

use feathergate::wire::{Loss, Wire};

use crate::answers::word;
use crate::json::Json;
use crate::said::short;

type Places = &'static [&'static str];
/// Where a client's field is found again.
const KEPT: [(&str, Places, Places, Places); 28] = [
    // the client's field, and its places at OpenAI, Anthropic and Gemini
    ("max_tokens", &["max_tokens", "max_completion_tokens"], &["max_tokens"], &["generationConfig.maxOutputTokens"]),
    ("max_completion_tokens", &[], &["max_tokens"], &["generationConfig.maxOutputTokens"]),
    ("temperature", &["temperature"], &["temperature"], &["generationConfig.temperature"]),
    ("top_p", &["top_p"], &["top_p"], &["generationConfig.topP"]),
    ("top_k", &["top_k"], &["top_k"], &["generationConfig.topK"]),
    ("stop", &[], &["stop_sequences"], &["generationConfig.stopSequences"]),
    ("stop_sequences", &["stop"], &[], &["generationConfig.stopSequences"]),
    ("seed", &[], &[], &["generationConfig.seed"]),
    ("frequency_penalty", &[], &[], &["generationConfig.frequencyPenalty"]),
    ("presence_penalty", &[], &[], &["generationConfig.presencePenalty"]),
    ("tools", &["tools", "web_search_options"], &["tools"], &["tools"]),
    ("tool_choice", &["tool_choice", "parallel_tool_calls"], &["tool_choice"], &["toolConfig"]),
    ("parallel_tool_calls", &[], &["tool_choice.disable_parallel_tool_use"], &[]),
    ("response_format", &[], &["output_config.format", "tools"], &["generationConfig.responseMimeType", "tools"]),
    (
        "output_config",
        &["response_format", "reasoning_effort"],
        &[],
        &["generationConfig.responseMimeType", "generationConfig.thinkingConfig", "tools"],
    ),
    ("output_format", &["response_format"], &[], &["generationConfig.responseMimeType", "tools"]),
    ("reasoning_effort", &[], &["thinking", "output_config.effort"], &["generationConfig.thinkingConfig"]),
    ("thinking", &["reasoning_effort"], &["thinking", "output_config.effort"], &["generationConfig.thinkingConfig"]),
    ("reasoning", &[], &["thinking", "output_config.effort"], &["generationConfig.thinkingConfig"]),
    ("enable_thinking", &[], &["thinking", "output_config.effort"], &["generationConfig.thinkingConfig"]),
    ("chat_template_kwargs", &[], &["thinking", "output_config.effort"], &["generationConfig.thinkingConfig"]),
    ("functions", &[], &["tools"], &["tools"]),
    ("web_search_options", &[], &["tools"], &["tools"]),
    ("service_tier", &["service_tier"], &["service_tier"], &["serviceTier"]),
    ("logprobs", &[], &[], &["generationConfig.responseLogprobs"]),
    ("top_logprobs", &[], &[], &["generationConfig.logprobs"]),
    ("system", &["messages"], &[], &["systemInstruction"]),
    ("metadata", &["safety_identifier", "user", "metadata"], &["metadata"], &["labels"]),
];
/// What has no place of its own, or says nothing.
const ELSEWHERE: [&str; 7] = ["anthropic_version", "model", "messages", "stream", "stream_options", "n", "user"];

/// What asks for what happens anyway. A cache mark is a hint.
const NOTHING: [(&str, &str); 22] = [
    ("stop", "[]"),
    ("system", "[]"),
    ("tools", "[]"),
    ("parallel_tool_calls", "true"),
    ("tool_choice", "\"auto\""),
    ("tool_choice", r#"{"type":"auto"}"#),
    ("tool_choice", r#"{"disable_parallel_tool_use":false,"type":"auto"}"#),
    ("thinking", r#"{"type":"disabled"}"#),
    ("thinking", r#"{"type":"adaptive"}"#),
    ("thinking", r#"{"type":"adaptive","display":"summarized"}"#),
    ("reasoning_effort", "\"none\""),
    ("reasoning", r#"{"enabled":false}"#),
    ("reasoning", r#"{"effort":"none"}"#),
    ("cache_control", r#"{"type":"ephemeral"}"#),
    ("cache_control", r#"{"ttl":"1h","type":"ephemeral"}"#),
    ("presence_penalty", "0.0"),
    ("frequency_penalty", "0.0"),
    ("logprobs", "false"),
    ("top_logprobs", "0"),
    ("response_format", r#"{"type":"text"}"#),
    ("store", "false"),
    ("service_tier", "\"auto\""),
];
/// Losses that have one name for all clients, and the fields of clients that they may come from.
const NAMES: [(&str, &[&str]); 8] = [
    ("output_config", &["output_format"]),
    ("reasoning_effort", &["thinking", "output_config", "reasoning", "enable_thinking", "chat_template_kwargs"]),
    ("thinking", &["reasoning_effort", "output_config", "reasoning", "enable_thinking", "chat_template_kwargs"]),
    ("parallel_tool_calls", &["tool_choice"]),
    ("response_format", &["output_config", "output_format"]),
    ("user", &["metadata", "safety_identifier"]),
    ("web_search", &["tools", "web_search_options"]),
    ("citations", &["messages"]),
];

pub(crate) fn silent(
    from: Wire,
    request: &Json,
    body: &str,
    (to, vendor, _): (Wire, &str, &str),
    losses: &[Loss],
) -> Vec<String> {
    let Ok(body) = Json::parse(body) else { return Vec::new() };
    let at = |path: &str| path.split('.').fold(&body, |value, key| &value[key]);
    let mut faults = Vec::new();
    for (name, value) in request.fields() {
        if value.is_null()
            || ELSEWHERE.contains(&name.as_str())
            || NOTHING.contains(&(name.as_str(), value.to_string().as_str()))
        {
            continue;
        }
        let places = KEPT.iter().find(|row| row.0 == name).map_or(&[][..], |row| match to {
            Wire::OpenAiChat => row.1,
            Wire::AnthropicMessages => row.2,
            Wire::Gemini => row.3,
        });
        let kept = places.iter().any(|path| !at(path).is_null());
        let told = |loss: &Loss| {
            let meant =
                NAMES.iter().any(|(one, fields)| loss.field.starts_with(one) && fields.contains(&name.as_str()));
            meant || loss.field.starts_with(name.as_str())
        };
        if !kept && !losses.iter().any(told) {
            faults.push(format!("`{name}` vanishes without a word: {}", short(&value.to_string())));
        }
    }
    for loss in losses {
        let root = loss.field.split(['.', '[']).next().unwrap_or_default();
        let meant = NAMES.iter().find(|(name, _)| *name == root).map_or(&[][..], |(_, fields)| fields);
        if !request.has(root) && !meant.iter().any(|field| request.has(field)) {
            faults.push(format!("the loss `{}` names no field of the {} client's", loss.field, word(from)));
        }
    }
    // Mistral tells its usage unasked.
    if to == Wire::OpenAiChat && vendor != "mistral" && body["stream"] == Json::Bool(true) {
        let asked = body["stream_options"]["include_usage"] == Json::Bool(true);
        faults.extend((!asked).then(|| "a stream without usage".to_owned()));
    }
    faults.extend(tools(from, request, to, &body, losses));
    faults
}

/// The functions by name, with their schemas.
fn declared(wire: Wire, body: &Json) -> Vec<(String, Json)> {
    let mut out = Vec::new();
    for tool in body["tools"].items() {
        let one = |tool: &Json, schema: &str| (tool["name"].text().to_owned(), tool[schema].clone());
        match wire {
            Wire::OpenAiChat if tool.has("function") => out.push(one(&tool["function"], "parameters")),
            Wire::AnthropicMessages if matches!(tool["type"].text(), "" | "custom") => {
                out.push(one(tool, "input_schema"));
            }
            Wire::Gemini => {
                for tool in tool["functionDeclarations"].items() {
                    out.push(one(tool, "parametersJsonSchema"));
                }
            }
            _ => {}
        }
    }
    out
}

/// Each function arrives, with its schema as it was: order of keys, numbers and all.
fn tools(from: Wire, request: &Json, to: Wire, body: &Json, losses: &[Loss]) -> Vec<String> {
    let (was, is) = (declared(from, request), declared(to, body));
    let mut faults = Vec::new();
    for (name, schema) in &was {
        let plain =
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !plain || losses.iter().any(|loss| loss.field.starts_with("tool_choice")) {
            continue;
        }
        match is.iter().find(|(other, _)| other == name) {
            None => faults.push(format!("the tool `{name}` vanishes")),
            Some((_, other)) => {
                let root = schema["type"].text() == "object" && !schema["properties"].fields().is_empty();
                if root && schema != other {
                    faults.push(format!("the schema of `{name}` became {}", short(&other.to_string())));
                }
            }
        }
    }
    faults
}
