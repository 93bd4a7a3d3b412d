//! Requests that ask for the same thing in two dialects lead to the same request, and what an answer holds of signatures and
//! ids finds its way back, whichever dialect the client speaks and wherever the conversation goes next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::{self, ConvertError, OnLoss, Operation, Prepared, Stamp, Target, Wire};
use serde_json::{Value, json};

const OPENAI: Wire = Wire::OpenAiChat;
const CLAUDE: Wire = Wire::AnthropicMessages;
const STAMP: Stamp<'_> = Stamp { id: "1", created: 1 };

fn vendor(wire: Wire, model: &str) -> &'static str {
    match wire {
        Wire::AnthropicMessages => "anthropic",
        Wire::Gemini => "gemini",
        Wire::OpenAiChat if model.starts_with("mistral") => "mistral",
        Wire::OpenAiChat if model.starts_with("deepseek") => "deepseek",
        Wire::OpenAiChat => "openai",
    }
}

fn tried(from: Wire, body: &str, to: Wire, model: &str, on_loss: OnLoss) -> Result<Prepared, ConvertError> {
    let profile = Profile::find(to, vendor(to, model), model);
    let target = Target {
        wire: to,
        model,
        profile: &profile,
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss,
    };
    let body = Bytes::copy_from_slice(body.as_bytes());
    wire::prepare(&wire::peek(from, &body).unwrap(), &body, Operation::Generate, &target)
}

fn prepared(from: Wire, body: &str, to: Wire, model: &str) -> Prepared {
    tried(from, body, to, model, OnLoss::Report).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn sent(from: Wire, body: &str, to: Wire, model: &str) -> String {
    String::from_utf8(prepared(from, body, to, model).body.to_vec()).unwrap()
}

fn losses(prepared: &Prepared) -> Vec<&str> {
    prepared.losses.iter().map(|loss| &*loss.field).collect()
}

/// A request around these fields.
fn asked(fields: &str) -> String {
    format!("{{\"model\":\"m\",{fields}}}")
}

/// The same wish in two dialects: fields of `OpenAI`'s, fields of Anthropic's. Written as the converters write, so that each is
/// also what the other becomes.
const PAIRS: [(&str, &str, &str); 16] = [
    (
        "text",
        r#""messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}],"max_tokens":50"#,
        r#""max_tokens":50,"system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "settings",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"temperature":0.5,"stop":["a","b"],"service_tier":"default","safety_identifier":"u1""#,
        r#""max_tokens":50,"temperature":0.5,"stop_sequences":["a","b"],"metadata":{"user_id":"u1"},"service_tier":"standard_only","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "a picture",
        r#""messages":[{"role":"user","content":[{"type":"text","text":"what?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}],"max_tokens":50"#,
        r#""max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"what?"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}]"#,
    ),
    (
        "a picture elsewhere",
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}],"max_tokens":50"#,
        r#""max_tokens":50,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://h/a.png"}}]}]"#,
    ),
    (
        "a document",
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0x"}},{"type":"text","text":"sum up"}]}],"max_tokens":50"#,
        r#""max_tokens":50,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"title":"a.pdf"},{"type":"text","text":"sum up"}]}]"#,
    ),
    (
        "a tool",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","description":"does","parameters":{"type":"object","properties":{"z":{"type":"number","minimum":1.0},"a":{"type":["string","null"]}},"required":["z"]}}}]"#,
        r#""max_tokens":50,"tools":[{"name":"f","description":"does","input_schema":{"type":"object","properties":{"z":{"type":"number","minimum":1.0},"a":{"type":["string","null"]}},"required":["z"]}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "a tool that must be called, alone",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false"#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "any tool",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required""#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"},"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "no tool",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"none""#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"none"},"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "calls and results",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"so","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"z\":1.0,\"a\":\"ü\"}"}},{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"{\"x\":1}"},{"role":"tool","tool_call_id":"c2","content":"two"},{"role":"user","content":"and?"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"function","function":{"name":"g","parameters":{"type":"object"}}}]"#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"so"},{"type":"tool_use","id":"c1","name":"f","input":{"z":1.0,"a":"ü"}},{"type":"tool_use","id":"c2","name":"g","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"{\"x\":1}"},{"type":"tool_result","tool_use_id":"c2","content":"two"},{"type":"text","text":"and?"}]}]"#,
    ),
    (
        "a call without text",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"ok"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"ok"}]}]"#,
    ),
    (
        "turns",
        r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"max_tokens":50"#,
        r#""max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"c"}]}]"#,
    ),
    (
        "a schema for the answer",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"response_format":{"type":"json_schema","json_schema":{"name":"response","schema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"additionalProperties":false},"strict":true}}"#,
        r#""max_tokens":50,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"additionalProperties":false}}},"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "a strict tool",
        r#""messages":[{"role":"user","content":"hi"}],"max_tokens":50,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"additionalProperties":false},"strict":true}}]"#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"additionalProperties":false},"strict":true}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
    ),
    (
        "emptiness",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"max_tokens":50,"stop":["a"]"#,
        r#""max_tokens":50,"stop_sequences":["a"],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"c"}]}]"#,
    ),
    (
        "letters",
        r#""messages":[{"role":"user","content":"\u00fc \ud83d\ude00 \"\\\n\u0000\u2028"}],"max_tokens":50"#,
        r#""max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"ü 😀 \"\\\n\u0000\u2028"}]}]"#,
    ),
];

#[test]
fn the_same_wish_in_two_dialects_is_the_same_request_at_gemini() {
    for (name, openai, anthropic) in PAIRS {
        for model in ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.5-flash"] {
            let one = prepared(OPENAI, &asked(openai), Wire::Gemini, model);
            let other = prepared(CLAUDE, &asked(anthropic), Wire::Gemini, model);
            assert_eq!(one.body, other.body, "{name}, {model}");
            assert_eq!(one.losses.len(), other.losses.len(), "{name}, {model}");
        }
    }
}

#[test]
fn the_same_wish_in_two_dialects_becomes_each_other() {
    for (name, openai, anthropic) in PAIRS {
        let named = |fields: &str, model: &str| {
            let mut value: Value = serde_json::from_str(&asked(fields)).unwrap();
            value["model"] = model.into();
            value
        };
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let got = sent(OPENAI, &asked(openai), CLAUDE, "claude-sonnet-4-5");
        assert_eq!(json(&got), named(anthropic, "claude-sonnet-4-5"), "{name}");
        let got = sent(CLAUDE, &asked(anthropic), OPENAI, "gpt-4o");
        assert_eq!(json(&got), named(openai, "gpt-4o"), "{name}");
        // And back again, byte for byte.
        let there = sent(OPENAI, &asked(openai), CLAUDE, "claude-sonnet-4-5");
        let back = sent(CLAUDE, &there, OPENAI, "gpt-4o");
        assert_eq!(sent(OPENAI, &back, CLAUDE, "claude-sonnet-4-5"), there, "{name}");
    }
}

#[test]
fn the_same_wish_for_reasoning_is_the_same_request() {
    let pairs = [
        (r#""reasoning_effort":"none""#, r#""thinking":{"type":"disabled"}"#),
        (r#""reasoning":{"max_tokens":3000}"#, r#""thinking":{"type":"enabled","budget_tokens":3000}"#),
        (r#""reasoning_effort":"high""#, r#""output_config":{"effort":"high"}"#),
        (r#""reasoning":{"enabled":true}"#, r#""thinking":{"type":"adaptive"}"#),
        (
            r#""reasoning":{"effort":"low","enabled":true}"#,
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
        ),
    ];
    for (openai, anthropic) in pairs {
        for model in ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.5-flash"] {
            let rest = r#""max_tokens":9000,"messages":[{"role":"user","content":"hi"}]"#;
            let one = sent(OPENAI, &asked(&format!("{rest},{openai}")), Wire::Gemini, model);
            let other = sent(CLAUDE, &asked(&format!("{rest},{anthropic}")), Wire::Gemini, model);
            assert_eq!(one, other, "{openai}, {model}");
        }
    }
}

/// A turn of Gemini 3 with all that it signs.
const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Hello","thoughtSignature":"TEXT"},{"functionCall":{"id":"a1","name":"f","args":{"z":1.0}},"thoughtSignature":"CALL"},{"functionCall":{"id":"a2","name":"f","args":{}}},{"text":"","thoughtSignature":"LAST"}]},"finishReason":"STOP"}]}"#;

fn openai_turn(reply: &str, message: &Value) -> String {
    let results: Vec<Value> = message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| json!({"role":"tool","tool_call_id":call["id"],"content":reply}))
        .collect();
    let mut messages = vec![json!({"role":"user","content":"hi"}), message.clone()];
    messages.extend(results);
    json!({"model":"m","messages":messages,"reasoning_effort":"low","tools":[{"type":"function","function":{"name":"f"}}]})
        .to_string()
}

#[test]
fn w59_signatures_of_gemini_come_back_on_the_parts_they_stood_on() {
    let ask = r#""messages":[{"role":"user","content":"hi"}],"reasoning_effort":"low""#;
    let plan = prepared(OPENAI, &asked(ask), Wire::Gemini, "gemini-3.5-flash").reply;
    let answer: Value =
        serde_json::from_slice(&plan.whole(&Bytes::from_static(GEMINI.as_bytes()), STAMP).unwrap().body).unwrap();
    let message = &answer["choices"][0]["message"];
    let want = json!([
        {"text":"Hello","thoughtSignature":"TEXT"},
        {"functionCall":{"id":"a1","name":"f","args":{"z":1.0}},"thoughtSignature":"CALL"},
        {"functionCall":{"id":"a2","name":"f","args":{}}},
        {"text":"","thoughtSignature":"LAST"},
    ]);
    let back = sent(OPENAI, &openai_turn("ok", message), Wire::Gemini, "gemini-3.5-flash");
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!(back["contents"][1]["parts"], want, "{message}");
    // Elsewhere nothing of them is left.
    for (wire, model) in [(CLAUDE, "claude-sonnet-4-5"), (OPENAI, "gpt-4o"), (OPENAI, "mistral-large-latest")] {
        let sent = sent(OPENAI, &openai_turn("ok", message), wire, model);
        for word in ["TEXT", "CALL", "LAST", "reasoning_details", "reasoning_content", "extra_content", "\"hm\""] {
            assert!(!sent.contains(word), "{model} gets `{word}`: {sent}");
        }
    }
}

#[test]
fn w60_a_signature_is_found_wherever_a_client_carries_it() {
    let call = |id: &str, function: &str, more: &str| {
        format!(
            r#""messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":null,"tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"{function}}}{more}}}]}},{{"role":"tool","tool_call_id":"{id}","content":"ok"}}]"#
        )
    };
    let details = call("c", "", "").replace(
        r#""content":null"#,
        r#""content":null,"reasoning_details":[{"type":"reasoning.encrypted","data":"SIG","id":"c","format":"google-gemini-v1","index":0}]"#,
    );
    let carried = [
        call("c", "", r#","extra_content":{"google":{"thought_signature":"SIG"}}"#),
        call("c__thought__SIG", "", ""),
        call("c", r#","thought_signature":"SIG""#, ""),
        details,
    ];
    for fields in &carried {
        let got = sent(OPENAI, &asked(fields), Wire::Gemini, "gemini-3.5-flash");
        assert!(
            got.contains(r#"{"functionCall":{"id":"c","name":"f","args":{}},"thoughtSignature":"SIG"}"#),
            "{fields}: {got}"
        );
        assert!(got.contains(r#""functionResponse":{"id":"c","name":"f""#), "{got}");
        // No other vendor sees it, in the id or anywhere.
        let got = sent(OPENAI, &asked(fields), CLAUDE, "claude-opus-5");
        assert!(!got.contains("SIG") && got.contains(r#""tool_use_id":"c""#), "{got}");
    }
}

#[test]
fn w44_a_conversation_that_moves_to_claude_within_its_calls_goes_on_without_thinking() {
    let ask = r#""max_tokens":4000,"messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled","budget_tokens":2000}"#;
    let plan = prepared(CLAUDE, &asked(ask), Wire::Gemini, "gemini-3.5-flash").reply;
    let answer: Value =
        serde_json::from_slice(&plan.whole(&Bytes::from_static(GEMINI.as_bytes()), STAMP).unwrap().body).unwrap();
    let turn = |content: &Value, thinking: &str, results: bool| {
        let results = if results {
            r#"[{"type":"tool_result","tool_use_id":"a1"},{"type":"tool_result","tool_use_id":"a2"}]"#
        } else {
            r#""go on""#
        };
        asked(&format!(
            r#""max_tokens":4000,"thinking":{thinking},"messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":{content}}},{{"role":"user","content":{results}}}]"#
        ))
    };
    let (budget, adaptive) = (r#"{"type":"enabled","budget_tokens":2000}"#, r#"{"type":"adaptive"}"#);
    let own =
        json!([{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"a1","name":"f","input":{}}]);
    for (content, thinking, results, want) in [
        (&answer["content"], budget, true, r#"{"type":"disabled"}"#),
        (&answer["content"], budget, false, budget),
        (&answer["content"], adaptive, true, adaptive),
        (&own, budget, true, budget),
    ] {
        let got = prepared(CLAUDE, &turn(content, thinking, results), CLAUDE, "claude-sonnet-4-5");
        let body = String::from_utf8(got.body.to_vec()).unwrap();
        assert!(!body.contains("fg1:"), "{body}");
        assert!(body.contains(&format!("\"thinking\":{want}")), "{body}");
        assert_eq!(losses(&got), if thinking == want { &[][..] } else { &["thinking"][..] });
    }
    // The way back to Gemini: the call has its signature again.
    let back = sent(CLAUDE, &turn(&answer["content"], budget, true), Wire::Gemini, "gemini-3.5-flash");
    assert!(back.contains(r#""args":{"z":1.0}},"thoughtSignature":"CALL"}"#), "{back}");
}

#[test]
fn what_is_left_out_is_told_by_the_clients_name() {
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let cases: [(Wire, &str, Wire, &str, &[&str]); 6] = [
        (
            OPENAI,
            r#""messages":[{"role":"user","name":"bob","content":[{"type":"image_url","image_url":{"url":"https://h/a.png","detail":"low"}}]},{"role":"assistant","content":"x","images":[{"type":"image_url"}]},{"role":"user","content":"y"}]"#,
            Wire::Gemini,
            "gemini-3.5-flash",
            &["messages[0].name", "messages[0].content[0].image_url.detail", "messages[1].images"],
        ),
        (
            OPENAI,
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png","detail":"auto"}}]}],"frequency_penalty":0"#,
            CLAUDE,
            "claude-opus-5",
            &[],
        ),
        (
            CLAUDE,
            r#""max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"f","strict":true,"input_schema":{"type":"object","properties":{"a":{}}}}]"#,
            OPENAI,
            "gpt-4o",
            &["tools[1].strict", "tools.web_search"],
        ),
        (
            CLAUDE,
            r#""max_tokens":9000,"messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled","budget_tokens":100000}"#,
            Wire::Gemini,
            "gemini-2.5-flash",
            &["thinking.budget_tokens"],
        ),
        (OPENAI, hi, CLAUDE, "claude-opus-5", &[]),
        (OPENAI, hi, Wire::Gemini, "gemini-2.5-flash", &[]),
    ];
    for (from, fields, to, model, want) in cases {
        assert_eq!(losses(&prepared(from, &asked(fields), to, model)), want, "{fields}");
    }
    // Refused, unless the operator wants requests bent until they fit; by the client's name of the field.
    for (from, name) in [(OPENAI, "stop"), (CLAUDE, "stop_sequences")] {
        let body = asked(&format!(r#""max_tokens":9,{hi},"{name}":["1","2","3","4","5","6"]"#));
        match tried(from, &body, Wire::Gemini, "gemini-3.5-flash", OnLoss::Report) {
            Err(ConvertError::Unsendable(error)) => assert_eq!(error.field, name),
            other => panic!("{other:?}"),
        }
        let bent = tried(from, &body, Wire::Gemini, "gemini-3.5-flash", OnLoss::Lenient).unwrap();
        assert_eq!(losses(&bent), [name]);
        let bent = String::from_utf8(bent.body.to_vec()).unwrap();
        assert!(bent.contains(r#""stopSequences":["1","2","3","4","5"]"#), "{bent}");
    }
}

#[test]
fn a_documents_title_is_reported_where_only_its_text_is_sent() {
    let document = r#""max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","title":"Minutes","source":{"type":"text","media_type":"text/plain","data":"all agreed"}}]}]"#;
    for (wire, model) in [(OPENAI, "gpt-4o"), (Wire::Gemini, "gemini-3.5-flash")] {
        let got = prepared(CLAUDE, &asked(document), wire, model);
        assert_eq!(losses(&got), ["messages[0].content[0].title"]);
    }
}
