//! What every request of a wire has to be (wire.md 19.7).

use feathergate::wire::Wire;

use crate::json::Json;

/// Roles alternate, nothing is empty.
pub(crate) fn sound(wire: Wire, body: &Json) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            faults.push(what.to_owned());
        }
    };
    let blank = |block: &Json| block["text"].as_str().is_some_and(|text| text.trim().is_empty());
    match wire {
        Wire::AnthropicMessages => {
            let mut before = "";
            for message in body["messages"].items() {
                let role = message["role"].text();
                must(role != before || role == "system", "roles do not alternate");
                must(!before.is_empty() || role == "user", "the first turn is not the user's");
                before = role;
                let content = &message["content"];
                must(
                    content.as_str().map_or(!content.items().is_empty(), |text| !text.trim().is_empty()),
                    "an empty turn",
                );
                must(!content.items().iter().any(blank), "an empty text block");
            }
            must(!before.is_empty(), "no turn");
            must(!body["system"].items().iter().any(blank), "an empty system block");
            must(body["max_tokens"].as_u64().is_some(), "no max_tokens");
        }
        Wire::Gemini => {
            let mut before = "";
            for content in body["contents"].items() {
                let role = content["role"].text();
                must(matches!(role, "user" | "model"), "a role of no name");
                must(role != before, "roles do not alternate");
                must(!before.is_empty() || role == "user", "the first turn is not the user's");
                before = role;
                must(!content["parts"].items().is_empty(), "a turn without parts");
                let empty =
                    |part: &Json| part["text"].text().is_empty() && part.fields().len() == 1 && part.has("text");
                must(!content["parts"].items().iter().any(empty), "an empty text part");
            }
            must(!before.is_empty(), "no turn");
        }
        Wire::OpenAiChat => must(!body["messages"].items().is_empty(), "no message"),
    }
    faults
}

/// Every call is answered in the next turn, all of a turn together.
pub(crate) fn grouped(wire: Wire, body: &Json) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |good: bool, what: &str| {
        if !good {
            faults.push(what.to_owned());
        }
    };
    let none = Json::Null;
    match wire {
        Wire::AnthropicMessages => {
            let turns: Vec<&Json> = body["messages"].items().iter().collect();
            for (at, turn) in turns.iter().enumerate() {
                let of = |turn: &Json, kind: &str, key: &str| -> Vec<String> {
                    let blocks = turn["content"].items().iter().filter(|block| block["type"].text() == kind);
                    blocks.map(|block| block[key].text().to_owned()).collect()
                };
                let calls = of(turn, "tool_use", "id");
                let next = turns.get(at + 1).copied().unwrap_or(&none);
                let results = of(next, "tool_result", "tool_use_id");
                must(turn["role"].text() != "assistant" || calls == results, "calls are not answered in the next turn");
                let first = next["content"].items().iter().take(results.len());
                let leading = first.filter(|block| block["type"].text() == "tool_result").count();
                must(leading == results.len(), "results do not stand first");
            }
        }
        Wire::Gemini => {
            let turns: Vec<&Json> = body["contents"].items().iter().collect();
            for (at, turn) in turns.iter().enumerate() {
                let of = |turn: &Json, key: &str| -> Vec<String> {
                    let parts = turn["parts"].items().iter().filter_map(|part| part.get(key));
                    parts.map(|call| call["name"].text().to_owned()).collect()
                };
                let next = turns.get(at + 1).copied().unwrap_or(&none);
                let calls = of(turn, "functionCall");
                must(
                    turn["role"].text() != "model" || calls == of(next, "functionResponse"),
                    "calls are not answered in the next turn, in their order",
                );
            }
        }
        Wire::OpenAiChat => {
            let messages = body["messages"].items();
            for (at, message) in messages.iter().enumerate() {
                let calls: Vec<&str> = message["tool_calls"].items().iter().map(|call| call["id"].text()).collect();
                let behind = messages[at + 1..].iter().take_while(|next| next["role"].text() == "tool");
                let results: Vec<&str> = behind.map(|next| next["tool_call_id"].text()).collect();
                must(
                    message["role"].text() != "assistant" || calls == results,
                    "calls are not answered directly behind",
                );
            }
        }
    }
    faults
}
