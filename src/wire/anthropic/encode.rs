//! A request for an upstream, written: its top-level fields. Tools, reasoning and the conversation have files of their own.

use super::blocks::{Blocks, Marks, Talk};
use super::{reason, tools};
use crate::wire::Operation;
use crate::wire::chat::{Request, Tier};
use crate::wire::convert::{Encoded, Upstream};
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::text::{Json, Str, Writer};

/// Writes a request.
pub(super) fn encode(
    request: &Request<'_>,
    to: &Upstream<'_>,
    operation: Operation,
    losses: &mut Losses,
) -> Result<Encoded, Unsendable> {
    let profile = to.profile;
    refusals(request, losses)?;
    let mut talk = Talk::of(request, profile);
    let limit = reason::limit(request, profile, losses);
    let thinking = reason::plan(request, profile, limit, talk.lost_thought(), losses);
    // A prefill and thinking exclude each other.
    talk.prefill(profile.prefill && !thinking.thinks(), losses);
    let tools = tools::plan(request, profile, &thinking, &talk.runs, losses)?;
    let total = tools.marks() + talk.marks() + usize::from(request.cache.is_some());
    let mut marks = Marks::new(total, profile, losses);

    let mut out = Writer::with_capacity(4096);
    out.open('{').key("model").string(to.model);
    if operation == Operation::Generate {
        out.key("max_tokens").plain(limit);
        settings(&mut out, request, to, thinking.thinks(), losses);
    }
    thinking.write(&mut out);
    output_config(&mut out, &thinking, tools.schema.as_ref());
    tools.write(&mut out, &mut marks);
    system(&mut out, &talk, tools.instruction.as_deref(), &mut marks);
    let searching = request.web_search.is_some();
    let mut blocks = Blocks { out: &mut out, marks: &mut marks, losses, profile, searching };
    blocks.messages(&talk.runs)?;
    marks.write(&mut out, request.cache);

    let mut betas = Vec::new();
    if thinking.budgeted() && tools.any() && talk.interleaved() {
        betas.push("interleaved-thinking-2025-05-14");
    }
    native(&mut out, &request.native, operation, &mut betas);
    out.close('}');
    Ok(Encoded { body: out.into_bytes(), undo: tools.undo(), betas })
}

/// What this API does not have.
fn refusals(request: &Request<'_>, losses: &mut Losses) -> Result<(), Unsendable> {
    const NONE: &str = "Anthropic has no such setting";
    if request.n.is_some_and(|n| n > 1) {
        losses.content("n", "Anthropic gives one answer to a request")?;
    }
    if request.logprobs.is_some() {
        losses.content("logprobs", "Anthropic tells no log probabilities")?;
    }
    let settings = [
        ("seed", request.seed.is_some()),
        ("frequency_penalty", request.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("presence_penalty", request.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
    ];
    for (name, said) in settings {
        if said {
            losses.setting(name, NONE);
        }
    }
    losses.rest(&request.rest, NONE)
}

fn settings(out: &mut Writer, request: &Request<'_>, to: &Upstream<'_>, thinks: bool, losses: &mut Losses) {
    reason::sampling(out, request, to.profile, thinks, losses);
    let stops = request.stop.iter().filter(|text| !text.is_blank()).map(Str::as_str);
    let count = stops.clone().count();
    if count < request.stop.len() {
        losses.setting("stop", "Anthropic refuses stop sequences of white space alone");
    }
    if count > 0 {
        out.key("stop_sequences").strings(stops);
    }
    if let Some(user) = request.user.as_deref().filter(|user| !user.is_empty()) {
        out.key("metadata").open('{').key("user_id").string(user).close('}');
    }
    match request.tier {
        None => {}
        Some(Tier::Auto | Tier::Priority) => {
            out.key("service_tier").string("auto");
        }
        Some(Tier::Standard) => {
            out.key("service_tier").string("standard_only");
        }
        Some(Tier::Flex) => losses.setting("service_tier", "Anthropic has no slower class"),
    }
    if request.stream {
        out.key("stream").plain(true);
    }
}

fn output_config(out: &mut Writer, thinking: &reason::Plan, schema: Option<&Json<'_>>) {
    if thinking.effort.is_none() && schema.is_none() {
        return;
    }
    out.key("output_config").open('{');
    if let Some(effort) = thinking.effort {
        out.key("effort").string(effort.word());
    }
    if let Some(schema) = schema {
        out.key("format").open('{').key("type").string("json_schema").key("schema").raw(schema.get()).close('}');
    }
    out.close('}');
}

fn system(out: &mut Writer, talk: &Talk<'_, '_>, instruction: Option<&str>, marks: &mut Marks) {
    if talk.system.is_empty() && instruction.is_none() {
        return;
    }
    out.key("system").open('[');
    for text in &talk.system {
        out.open('{').key("type").string("text").key("text").string(&text.text);
        marks.write(out, text.cache);
        out.close('}');
    }
    if let Some(instruction) = instruction {
        out.open('{').key("type").string("text").key("text").string(instruction).close('}');
    }
    out.close(']');
}

/// Fields that the request is written with, whatever the operator's extras say.
const OWN: [&str; 16] = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "service_tier",
    "stream",
    "cache_control",
];
/// Extras that need a beta (API reference, 2026-11).
const BETAS: [(&str, &str); 2] =
    [("context_management", "context-management-2025-06-27"), ("mcp_servers", "mcp-client-2025-11-20")];

fn native(out: &mut Writer, extras: &[(Str<'_>, Json<'_>)], operation: Operation, betas: &mut Vec<&'static str>) {
    if operation == Operation::CountTokens {
        return;
    }
    for (name, value) in extras {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        out.foreign_key(name).raw(value.get());
        betas.extend(BETAS.iter().filter(|(field, _)| *field == name.as_str()).map(|(_, beta)| *beta));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{newest, older, read, sent, sent_as};
    use super::*;
    use crate::wire::chat::{Cache, Format, Rest, Text, Tier, Tool, ToolKind, WebSearch};
    use crate::wire::loss::OnLoss;
    use serde_json::{Value, json};

    fn hi() -> Request<'static> {
        read(r#""messages":[{"role":"user","content":"hi"}]"#).unwrap()
    }

    #[test]
    fn w28_stop_sequences_are_a_list_without_blank_ones() {
        for (stop, want, told) in [
            (vec![], Value::Null, false),
            (vec!["x"], json!(["x"]), false),
            (vec!["x", "", "\n", "y"], json!(["x", "y"]), true),
            (vec![" "], Value::Null, true),
        ] {
            let got = sent(&Request { stop: stop.into_iter().map(Into::into).collect(), ..hi() }, &newest());
            assert_eq!((&got.body["stop_sequences"], got.fields().contains(&"stop")), (&want, told));
        }
    }

    #[test]
    fn small_settings() {
        let got = sent(&Request { user: Some("u1".into()), stream: true, ..hi() }, &newest());
        assert_eq!((&got.body["metadata"], &got.body["stream"]), (&json!({"user_id": "u1"}), &json!(true)));
        assert_eq!(got.body["model"], "up");
        for (tier, want, told) in [
            (Tier::Auto, json!("auto"), false),
            (Tier::Standard, json!("standard_only"), false),
            (Tier::Priority, json!("auto"), false),
            (Tier::Flex, Value::Null, true),
        ] {
            let got = sent(&Request { tier: Some(tier), ..hi() }, &newest());
            assert_eq!((&got.body["service_tier"], !got.losses.is_empty()), (&want, told));
        }
    }

    #[test]
    fn what_the_api_does_not_have_is_reported_or_refused() {
        let rest = |content| Rest { name: "moderation".into(), value: Json::trusted("{}"), content };
        let reported = [
            ("seed", Request { seed: Some(1), ..hi() }),
            ("frequency_penalty", Request { frequency_penalty: Some(0.5), ..hi() }),
            ("presence_penalty", Request { presence_penalty: Some(0.5), ..hi() }),
            ("moderation", Request { rest: vec![rest(false)], ..hi() }),
        ];
        for (field, request) in reported {
            assert_eq!(sent(&request, &newest()).fields(), [field]);
        }
        let refused = [
            ("n", Request { n: Some(2), ..hi() }),
            ("logprobs", Request { logprobs: Some(0), ..hi() }),
            ("moderation", Request { rest: vec![rest(true)], ..hi() }),
        ];
        for (field, request) in refused {
            let run = |policy| sent_as(&request, &newest(), Operation::Generate, policy);
            assert_eq!(run(OnLoss::Report).err().map(|error| error.field).as_deref(), Some(field));
            assert_eq!(run(OnLoss::Lenient).unwrap().fields(), [field]);
        }
        let nothing = Request { n: Some(1), frequency_penalty: Some(0.0), presence_penalty: Some(0.0), ..hi() };
        assert!(sent(&nothing, &newest()).losses.is_empty());
    }

    #[test]
    fn a_token_count_gets_what_it_takes() {
        let request = Request {
            temperature: Some(0.5),
            stop: vec!["x".into()],
            user: Some("u".into()),
            tier: Some(Tier::Auto),
            stream: true,
            system: vec![Text::plain("s")],
            native: vec![("container".into(), Json::trusted("\"c\""))],
            ..hi()
        };
        let got = sent_as(&request, &older(), Operation::CountTokens, OnLoss::Reject).unwrap();
        let names: Vec<&str> = got.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["messages", "model", "system"]);
    }

    #[test]
    fn w50_cache_marks_survive_and_of_too_many_the_last() {
        let text = |text: &'static str, cache| Text { text: text.into(), cache: Some(cache), seal: None };
        let tool = |name: &'static str| Tool {
            name: name.into(),
            description: None,
            schema: None,
            strict: None,
            cache: Some(Cache::Hour),
            kind: ToolKind::Function,
            at: 0,
        };
        let marked = Request {
            system: vec![text("a", Cache::Hour), text(" ", Cache::Hour), text("b", Cache::Default)],
            tools: vec![tool("f"), tool("g")],
            cache: Some(Cache::Default),
            ..read(r#""messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]"#).unwrap()
        };
        let got = sent(&marked, &newest());
        let (hour, short) = (json!({"type": "ephemeral", "ttl": "1h"}), json!({"type": "ephemeral"}));
        assert!(got.body["tools"][0]["cache_control"].is_null() && got.body["tools"][1]["cache_control"].is_null());
        assert_eq!(got.body["system"][0]["cache_control"], hour);
        assert_eq!(got.body["system"][1]["cache_control"], short);
        // A longer one behind a shorter one would be refused.
        assert_eq!(got.body["messages"][0]["content"][1]["cache_control"], short);
        assert_eq!(got.body["cache_control"], short);
        assert_eq!(got.fields(), ["cache_control"]);
        let none = sent(&marked, &crate::wire::profile::Profile { cache_marks: false, ..newest() });
        assert!(!none.text.contains("cache_control") && none.losses.is_empty());
    }

    #[test]
    fn the_form_of_the_answer() {
        const SCHEMA: &str =
            r#"{"type":"object","properties":{"z":{"type":"number","minimum":1},"a":{"type":"string"}}}"#;
        let schema = |schema: &'static str| {
            let schema = Json::trusted(schema);
            Some(Format::Schema { name: Some("r".into()), description: None, schema, strict: Some(true) })
        };
        let native = sent(&Request { format: schema(SCHEMA), ..hi() }, &newest());
        let want = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"z":{"type":"number","description":"{minimum: 1}"},"a":{"type":"string"}},"additionalProperties":false}}}"#;
        assert!(native.text.contains(want), "{}", native.text);
        assert!(native.losses.is_empty() && native.encoded.undo.json_tool.is_none());

        let emulated = sent(&Request { format: schema(SCHEMA), ..hi() }, &older());
        let name = emulated.encoded.undo.json_tool.clone().unwrap();
        assert_eq!(emulated.body["tools"][0]["name"], *name);
        assert!(emulated.text.contains(&format!(r#""input_schema":{SCHEMA}"#)));
        let forced = json!({"type": "tool", "name": name, "disable_parallel_tool_use": true});
        assert_eq!((&emulated.body["tool_choice"], &emulated.body["system"]), (&forced, &Value::Null));
        // What cannot be compiled is emulated as well.
        let circle = r##"{"type":"object","properties":{"c":{"$ref":"#"}}}"##;
        assert!(sent(&Request { format: schema(circle), ..hi() }, &newest()).encoded.undo.json_tool.is_some());

        // Beside other tools, and where nothing can be forced, the model is asked.
        let tool = r#""messages":[{"role":"user","content":"hi"}],"tools":[{"name":"json_answer","input_schema":{"type":"object"}}]"#;
        let beside = sent(&Request { format: schema(SCHEMA), ..read(tool).unwrap() }, &older());
        assert_eq!(beside.encoded.undo.json_tool.as_deref(), Some("json_answer_"));
        assert_eq!((&beside.body["tool_choice"], beside.body["tools"].as_array().unwrap().len()), (&Value::Null, 2));
        assert!(beside.body["system"][0]["text"].as_str().unwrap().contains("`json_answer_`"));
        let thinking = read(
            r#""max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"user","content":"hi"}]"#,
        );
        let asked = sent(&Request { format: schema(SCHEMA), ..thinking.unwrap() }, &older());
        assert_eq!((&asked.body["tool_choice"], asked.body["system"].is_array()), (&json!({"type": "auto"}), true));

        let object = sent(&Request { format: Some(Format::Object), ..hi() }, &newest());
        assert_eq!(object.fields(), ["response_format"]);
        assert!(object.body["system"][0]["text"].as_str().unwrap().contains("JSON"));
    }

    #[test]
    fn w43_a_schema_and_thinking_go_together() {
        let fields = r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object","properties":{},"additionalProperties":false}}},"messages":[{"role":"user","content":"hi"}]"#;
        let got = sent(&read(fields).unwrap(), &newest());
        assert_eq!((&got.body["thinking"], &got.body["tools"]), (&json!({"type": "adaptive"}), &Value::Null));
        assert_eq!(
            (&got.body["output_config"]["effort"], got.body["output_config"]["format"].is_object()),
            (&json!("low"), true)
        );
    }

    #[test]
    fn the_operators_extras_are_written_as_they_are() {
        let extra = |name: &'static str, value: &'static str| (name.into(), Json::trusted(value));
        let native =
            vec![extra("context_management", "{ \"a\":1.0}"), extra("max_tokens", "1"), extra("speed", "\"fast\"")];
        let got = sent(&Request { native, ..hi() }, &newest());
        assert!(got.text.ends_with(r#","context_management":{ "a":1.0},"speed":"fast"}"#), "{}", got.text);
        assert_eq!(got.encoded.betas, ["context-management-2025-06-27"]);
    }

    #[test]
    fn the_web_search_is_a_server_tool() {
        let search = WebSearch {
            location: vec![("city", "Rom".into())],
            max_uses: Some(3),
            domains: Some((true, vec!["a".into()])),
        };
        let got = sent(&Request { web_search: Some(search), ..hi() }, &newest());
        let want = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["a"],
                           "user_location": {"type": "approximate", "city": "Rom"}}]);
        assert_eq!((&got.body["tools"], &got.body["tool_choice"]), (&want, &Value::Null));
        let tool = r#""tools":[{"name":"web_search","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hi"}]"#;
        let both = sent(&Request { web_search: Some(WebSearch::default()), ..read(tool).unwrap() }, &newest());
        assert_eq!(both.encoded.undo.names, [("web_search_of_client".to_owned(), "web_search".to_owned())]);
    }
}
