//! Default parameters: every key of `litellm_params` that is no setting.

use super::super::known::Section;
use super::super::parameters;
use super::super::problem::{Place, shown};
use super::super::raw::Node;
use super::reader::Reader;
use crate::wire::Wire;
use crate::wire::defaults::{self, Place as Goes};

/// Every parameter that is no setting, as JSON.
pub(super) fn defaults(
    reader: &mut Reader<'_>,
    place: &Place,
    params: &[(String, Node)],
    wire: Option<Wire>,
) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, node) in params {
        let place = place.key(key);
        if *node == Node::Null {
            continue;
        }
        if key == "extra_body" {
            for (key, node) in reader.map(&place, node) {
                default(reader, &place.key(key), (key, node), wire, &mut found);
            }
        } else if Section::Params.find(key).is_none() {
            default(reader, &place, (key, node), wire, &mut found);
        }
    }
    found
}

fn default(
    reader: &mut Reader<'_>,
    place: &Place,
    (key, node): (&str, &Node),
    wire: Option<Wire>,
    found: &mut Vec<(String, String)>,
) {
    if parameters::NEVER_A_DEFAULT.contains(&key) {
        reader.error(place, format!("`{key}` is the client's to say and cannot have a default; take it out"));
        return;
    }
    let mut json = String::new();
    if write_json(reader, place, node, &mut json).is_none() {
        return;
    }
    let Some(wire) = wire else { return };
    let (name, json) = translated(wire, key, json);
    match fate(wire, &name, &json) {
        Fate::Sent => {}
        Fate::ForOpenAi => reader.warn(
            place,
            "Anthropic's Messages API has no such parameter, so this default counts for clients of OpenAI's API only",
        ),
        Fate::Unknown => {
            let api = api(wire);
            reader.warn(place, format!("{api} has no such parameter, so this default is not sent"));
            return;
        }
        Fate::Wrong => {
            let name = shown(key);
            reader.warn(place, format!("this is nothing that `{name}` can hold, so this default is not sent"));
            return;
        }
    }
    if found.iter().all(|(other, _)| *other != name) {
        found.push((name, json));
    }
}

fn api(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAiChat => "OpenAI's Chat Completions API",
        Wire::AnthropicMessages => "Anthropic's Messages API",
        Wire::Gemini => "Gemini's API",
    }
}

/// What becomes of a default.
enum Fate {
    Sent,
    ForOpenAi,
    Unknown,
    Wrong,
}

fn fate(wire: Wire, name: &str, json: &str) -> Fate {
    // What the canonical form knows and the upstream has not: a client would be told of a loss that it did not cause.
    const NOT_CLAUDES: [&str; 6] = ["frequency_penalty", "logprobs", "n", "presence_penalty", "seed", "top_logprobs"];
    const NOT_GEMINIS: [&str; 3] = ["parallel_tool_calls", "safety_identifier", "user"];
    match (wire, defaults::place(wire, name, json)) {
        // Servers have fields of their own, and say themselves what they do not know.
        (Wire::OpenAiChat, _) => Fate::Sent,
        (_, Goes::Wrong) => Fate::Wrong,
        (Wire::AnthropicMessages, Goes::Slot) if NOT_CLAUDES.contains(&name) => Fate::Unknown,
        (Wire::Gemini, Goes::Slot) if NOT_GEMINIS.contains(&name) => Fate::Unknown,
        (Wire::AnthropicMessages, Goes::Slot) if !defaults::passes(wire, name) => Fate::ForOpenAi,
        (_, Goes::Slot) => Fate::Sent,
        (_, Goes::Native) if parameters::of(wire).binary_search(&name).is_ok() => Fate::Sent,
        (_, Goes::Native) => Fate::Unknown,
    }
}

/// Anthropic's name for what `OpenAI` names otherwise, so that the default also counts for clients that speak Anthropic's API.
fn translated(wire: Wire, name: &str, json: String) -> (String, String) {
    let (name, json) = match name {
        "max_completion_tokens" if wire == Wire::AnthropicMessages => ("max_tokens", json),
        "stop" if wire == Wire::AnthropicMessages => {
            ("stop_sequences", if json.starts_with('"') { format!("[{json}]") } else { json })
        }
        "user" if wire == Wire::AnthropicMessages => ("metadata", format!("{{\"user_id\":{json}}}")),
        _ => (name, json),
    };
    (name.to_owned(), json)
}

/// `None` after an error.
fn write_json(reader: &mut Reader<'_>, place: &Place, node: &Node, out: &mut String) -> Option<()> {
    match reader.plain(place, node)? {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Node::Int(number) => out.push_str(&number.to_string()),
        Node::Float(number) => match serde_json::to_string(&number) {
            Ok(json) if number.is_finite() => out.push_str(&json),
            Ok(_) | Err(_) => {
                reader.error(place, "is not a number that JSON can hold");
                return None;
            }
        },
        Node::Text(text) => out.push_str(&serde_json::to_string(&text).ok()?),
        Node::List(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(reader, &place.index(index), element, out)?;
            }
            out.push(']');
        }
        Node::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key).ok()?);
                out.push(':');
                write_json(reader, &place.key(key), value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}
