//! The operator's defaults for a request that is converted: fields in `OpenAI`'s words, as litellm has them, or in the
//! upstream's own.
//!
//! Those that the canonical form has a place for stand in for what the client left open. All others are the upstream's own
//! and go into [`Request::native`]: at the top level, as they are. One is special: what `generationConfig` holds beyond the
//! canonical form goes there under that name, for the encoder to write inside its own.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Wire;
use super::chat::{Cache, Effort, Format, Reasoning, Request, Thinking, Tier, ToolChoice};
use super::text::{Json, Str, Writer};

/// Where a default goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the canonical form.
    Slot,
    /// To the upstream as it is.
    Native,
    /// Nowhere: it is not what this parameter holds.
    Wrong,
}

/// Where the default `name` of an upstream of this wire goes. For the configuration, which knows the upstream's own names.
#[must_use]
pub fn place(to: Wire, name: &str, json: &str) -> Place {
    Ours::default().take(to, name, json)
}

/// Whether a default can also stand in a request that passes through to an upstream of this wire. These three have no field
/// of their own at Anthropic.
#[must_use]
pub fn passes(wire: Wire, name: &str) -> bool {
    wire != Wire::AnthropicMessages || !matches!(name, "parallel_tool_calls" | "reasoning_effort" | "response_format")
}

/// Fills in what the request does not say. A field that neither the canonical form nor the client's dialect knows goes to the
/// upstream as it is.
pub fn fill<'a>(request: &mut Request<'a>, to: Wire, defaults: &'a [(String, String)]) {
    if defaults.is_empty() {
        return;
    }
    let mut ours = Ours::default();
    for (name, json) in defaults {
        if ours.take(to, name, json) == Place::Native && !said(request, name) {
            request.native.push((name.as_str().into(), Json::trusted(json.as_str())));
        }
    }
    let Ours { request: ours, mut generation } = ours;
    if request.format.is_some() {
        // The client's form of the answer takes the place of one in `generationConfig`.
        generation.retain(|(name, _)| !name.starts_with("responseMime") && !name.contains("Schema"));
    }
    if !generation.is_empty() {
        let mut object = Writer::default();
        object.open('{');
        for (name, value) in &generation {
            object.foreign_key(name).raw(value.get());
        }
        object.close('}');
        request.native.push(("generationConfig".into(), object.into_json()));
    }
    merge(request, to, ours);
}

fn merge<'a>(request: &mut Request<'a>, to: Wire, ours: Request<'a>) {
    // Claude refuses the two together since 4.1, and the client's choice is not to be outvoted.
    let alone = to == Wire::AnthropicMessages;
    let (temperature, top_p) = (request.temperature, request.top_p);
    if !(alone && top_p.is_some()) {
        or(&mut request.temperature, ours.temperature);
    }
    if !(alone && temperature.is_some()) {
        or(&mut request.top_p, ours.top_p);
    }
    or(&mut request.top_k, ours.top_k);
    or(&mut request.max_tokens, ours.max_tokens);
    or(&mut request.seed, ours.seed);
    or(&mut request.frequency_penalty, ours.frequency_penalty);
    or(&mut request.presence_penalty, ours.presence_penalty);
    or(&mut request.n, ours.n);
    or(&mut request.logprobs, ours.logprobs);
    or(&mut request.user, ours.user);
    or(&mut request.tier, ours.tier);
    or(&mut request.cache, ours.cache);
    or(&mut request.format, ours.format);
    if request.stop.is_empty() {
        request.stop = ours.stop;
    }
    if request.reasoning == Reasoning::default() {
        request.reasoning = ours.reasoning;
    }
    // Vendors refuse both where there are no tools.
    if !request.tools.is_empty() {
        or(&mut request.tool_choice, ours.tool_choice);
        or(&mut request.parallel, ours.parallel);
    }
}

fn or<T>(slot: &mut Option<T>, default: Option<T>) {
    if slot.is_none() {
        *slot = default;
    }
}

/// Whether the client said what this field of the upstream would say again.
fn said(request: &Request<'_>, name: &str) -> bool {
    match name {
        "functions" | "tools" => !request.tools.is_empty(),
        "function_call" | "toolConfig" => request.tool_choice.is_some(),
        "system" | "systemInstruction" => !request.system.is_empty(),
        "reasoning" | "thinking" => request.reasoning != Reasoning::default(),
        "top_k" => request.top_k.is_some(),
        "web_search_options" => request.web_search.is_some(),
        _ => request.rest.iter().any(|rest| rest.name == *name),
    }
}

/// The defaults, read.
#[derive(Default)]
struct Ours<'a> {
    request: Request<'a>,
    /// What `generationConfig` holds and the canonical form does not.
    generation: Vec<(Str<'a>, &'a RawValue)>,
}

impl<'a> Ours<'a> {
    fn take(&mut self, to: Wire, name: &str, json: &'a str) -> Place {
        let ours = &mut self.request;
        let fits = match name {
            "temperature" => read(json, &mut ours.temperature),
            "top_p" => read(json, &mut ours.top_p),
            "max_completion_tokens" | "max_tokens" => read(json, &mut ours.max_tokens),
            "stop" | "stop_sequences" => stops(json).map(|stop| ours.stop = stop).is_some(),
            "seed" => read(json, &mut ours.seed),
            "frequency_penalty" => read(json, &mut ours.frequency_penalty),
            "presence_penalty" => read(json, &mut ours.presence_penalty),
            "n" => read(json, &mut ours.n),
            "top_logprobs" => read(json, &mut ours.logprobs),
            "logprobs" => match json {
                "true" => {
                    ours.logprobs = ours.logprobs.or(Some(0));
                    true
                }
                _ => json == "false",
            },
            "safety_identifier" | "user" => read(json, &mut ours.user),
            "parallel_tool_calls" => read(json, &mut ours.parallel),
            "reasoning_effort" => effort(json, &mut ours.reasoning).is_some(),
            "service_tier" => tier(json).map(|tier| ours.tier = Some(tier)).is_some(),
            "tool_choice" => choice(json).map(|choice| ours.tool_choice = Some(choice)).is_some(),
            "response_format" => format(json, ours).is_some(),
            // DeepSeek, z.ai and vLLM have fields of these names.
            "thinking" | "top_k" if to == Wire::OpenAiChat => return Place::Native,
            "top_k" => read(json, &mut ours.top_k),
            "thinking" => thinking(json, &mut ours.reasoning).is_some(),
            "output_config" if to == Wire::AnthropicMessages => output_config(json, ours).is_some(),
            "output_format" if to == Wire::AnthropicMessages => format(json, ours).is_some(),
            "cache_control" if to == Wire::AnthropicMessages => cache(json).map(|it| ours.cache = Some(it)).is_some(),
            "metadata" if to == Wire::AnthropicMessages => Members::of(json)
                .and_then(|members| read(members.get("user_id")?, &mut ours.user).then_some(()))
                .is_some(),
            "generationConfig" | "generation_config" if to == Wire::Gemini => self.generation(json).is_some(),
            "serviceTier" if to == Wire::Gemini => tier(json).map(|tier| ours.tier = Some(tier)).is_some(),
            _ => return Place::Native,
        };
        match fits {
            true => Place::Slot,
            // Its own server may have words of its own.
            false if to == Wire::OpenAiChat => Place::Native,
            false => Place::Wrong,
        }
    }

    fn generation(&mut self, json: &'a str) -> Option<()> {
        let ours = &mut self.request;
        for (name, value) in Members::of(json)?.0 {
            let json = value.get();
            let fits = match &*name {
                "temperature" => read(json, &mut ours.temperature),
                "topP" => read(json, &mut ours.top_p),
                "topK" => read(json, &mut ours.top_k),
                "maxOutputTokens" => read(json, &mut ours.max_tokens),
                "stopSequences" => stops(json).map(|stop| ours.stop = stop).is_some(),
                "seed" => read(json, &mut ours.seed),
                "frequencyPenalty" => read(json, &mut ours.frequency_penalty),
                "presencePenalty" => read(json, &mut ours.presence_penalty),
                "candidateCount" => read(json, &mut ours.n),
                "thinkingConfig" => thinking(json, &mut ours.reasoning).is_some(),
                _ => {
                    self.generation.push((name, value));
                    true
                }
            };
            if !fits {
                return None;
            }
        }
        Some(())
    }
}

/// Whether `json` is such a value.
fn read<'a, T: Deserialize<'a>>(json: &'a str, slot: &mut Option<T>) -> bool {
    let value = serde_json::from_str(json).ok();
    let fits = value.is_some();
    if fits {
        *slot = value;
    }
    fits
}

fn text(json: &str) -> Option<Str<'_>> {
    serde_json::from_str(json).ok()
}

fn stops(json: &str) -> Option<Vec<Str<'_>>> {
    text(json).map(|stop| vec![stop]).or_else(|| serde_json::from_str(json).ok())
}

fn effort(json: &str, reasoning: &mut Reasoning) -> Option<()> {
    let word = text(json)?;
    if word == "none" {
        reasoning.mode = Some(Thinking::Off);
    } else {
        reasoning.effort = Some(Effort::of(&word)?);
    }
    Some(())
}

/// Anthropic's `thinking` and Gemini's `thinkingConfig`, whose members have different names.
fn thinking(json: &str, reasoning: &mut Reasoning) -> Option<()> {
    for (name, value) in Members::of(json)?.0 {
        let json = value.get();
        match &*name {
            "type" => match &*text(json)? {
                "disabled" => reasoning.mode = Some(Thinking::Off),
                "adaptive" => reasoning.mode = Some(Thinking::Adaptive),
                // Its budget stands beside it.
                "enabled" => reasoning.mode = reasoning.mode.or(Some(Thinking::Adaptive)),
                _ => return None,
            },
            "budget_tokens" | "thinkingBudget" => {
                reasoning.mode = Some(match serde_json::from_str::<i64>(json).ok()? {
                    0 => Thinking::Off,
                    tokens => u64::try_from(tokens).map_or(Thinking::Adaptive, Thinking::Budget),
                });
            }
            "thinkingLevel" => reasoning.effort = Some(Effort::of(&text(json)?.to_ascii_lowercase())?),
            "includeThoughts" => reasoning.shown = Some(json == "true"),
            "display" => reasoning.shown = Some(text(json)? != "omitted"),
            _ => {}
        }
    }
    Some(())
}

fn output_config<'a>(json: &'a str, ours: &mut Request<'a>) -> Option<()> {
    let members = Members::of(json)?;
    if let Some(word) = members.get("effort") {
        ours.reasoning.effort = Some(Effort::of(&text(word)?)?);
    }
    match members.get("format") {
        Some(json) => format(json, ours),
        None => Some(()),
    }
}

/// `OpenAI`'s `response_format` and Anthropic's `format`, which has the schema at its top level.
fn format<'a>(json: &'a str, ours: &mut Request<'a>) -> Option<()> {
    let members = Members::of(json)?;
    ours.format = match &*text(members.get("type")?)? {
        "text" => None,
        "json_object" => Some(Format::Object),
        "json_schema" => {
            let inner = members.get("json_schema").and_then(Members::of);
            let members = inner.unwrap_or(members);
            Some(Format::Schema {
                name: members.get("name").and_then(text),
                description: members.get("description").and_then(text),
                schema: Json::trusted(members.get("schema")?),
                strict: members.get("strict").map(|strict| strict == "true"),
            })
        }
        _ => return None,
    };
    Some(())
}

/// In `OpenAI`'s words or Anthropic's.
fn choice(json: &str) -> Option<ToolChoice<'_>> {
    let members = Members::of(json);
    let word = match &members {
        Some(members) => text(members.get("type")?)?,
        None => text(json)?,
    };
    Some(match &*word {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" | "required" => ToolChoice::Required,
        "function" => ToolChoice::Named(text(Members::of(members?.get("function")?)?.get("name")?)?),
        "tool" => ToolChoice::Named(text(members?.get("name")?)?),
        _ => return None,
    })
}

fn tier(json: &str) -> Option<Tier> {
    Some(match &*text(json)? {
        "auto" => Tier::Auto,
        "default" | "standard" | "standard_only" => Tier::Standard,
        "flex" => Tier::Flex,
        "priority" => Tier::Priority,
        _ => return None,
    })
}

fn cache(json: &str) -> Option<Cache> {
    let members = Members::of(json)?;
    Some(if members.get("ttl") == Some("\"1h\"") { Cache::Hour } else { Cache::Default })
}

/// The members of an object.
struct Members<'a>(Vec<(Str<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.0.iter().find(|(other, _)| *other == *name)?;
        Some(value.get()).filter(|json| *json != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::Tool;
    use super::*;

    const OPENAI: Wire = Wire::OpenAiChat;
    const CLAUDE: Wire = Wire::AnthropicMessages;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, json)| ((*name).to_owned(), (*json).to_owned())).collect()
    }

    fn tool() -> Tool<'static> {
        let kind = super::super::chat::ToolKind::Function;
        Tool { name: "t".into(), description: None, schema: None, strict: None, cache: None, kind, at: 0 }
    }

    /// A request with a tool, filled.
    fn filled(to: Wire, defaults: &[(String, String)]) -> Request<'_> {
        let mut request = Request { tools: vec![tool()], ..Request::default() };
        fill(&mut request, to, defaults);
        request
    }

    #[test]
    #[expect(clippy::large_stack_arrays, reason = "a table")]
    fn a_default_finds_its_slot() {
        let off = Reasoning { mode: Some(Thinking::Off), ..Reasoning::default() };
        let effort = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
        let budget = |tokens| Reasoning { mode: Some(Thinking::Budget(tokens)), ..Reasoning::default() };
        let schema = Format::Schema {
            name: Some("x".into()),
            description: None,
            schema: Json::trusted(r#"{"type": "object"}"#),
            strict: Some(true),
        };
        let bare = Format::Schema { name: None, description: None, schema: Json::trusted("{}"), strict: None };
        let base = || Request { tools: vec![tool()], ..Request::default() };
        let named = || Some(ToolChoice::Named("f".into()));
        for (to, name, json, want) in [
            (OPENAI, "temperature", "0.5", Request { temperature: Some(0.5), ..base() }),
            (CLAUDE, "top_p", "1", Request { top_p: Some(1.0), ..base() }),
            (CLAUDE, "top_k", "9", Request { top_k: Some(9), ..base() }),
            (CLAUDE, "max_completion_tokens", "9", Request { max_tokens: Some(9), ..base() }),
            (Wire::Gemini, "max_tokens", "9", Request { max_tokens: Some(9), ..base() }),
            (OPENAI, "stop", "\"a\"", Request { stop: vec!["a".into()], ..base() }),
            (CLAUDE, "stop_sequences", "[\"a\",\"b\"]", Request { stop: vec!["a".into(), "b".into()], ..base() }),
            (OPENAI, "seed", "-3", Request { seed: Some(-3), ..base() }),
            (OPENAI, "frequency_penalty", "-2", Request { frequency_penalty: Some(-2.0), ..base() }),
            (OPENAI, "presence_penalty", "2", Request { presence_penalty: Some(2.0), ..base() }),
            (OPENAI, "n", "2", Request { n: Some(2), ..base() }),
            (OPENAI, "logprobs", "true", Request { logprobs: Some(0), ..base() }),
            (OPENAI, "top_logprobs", "5", Request { logprobs: Some(5), ..base() }),
            (OPENAI, "logprobs", "false", base()),
            (CLAUDE, "user", "\"u\"", Request { user: Some("u".into()), ..base() }),
            (CLAUDE, "metadata", r#"{"user_id":"u"}"#, Request { user: Some("u".into()), ..base() }),
            (OPENAI, "service_tier", "\"flex\"", Request { tier: Some(Tier::Flex), ..base() }),
            (CLAUDE, "service_tier", "\"standard_only\"", Request { tier: Some(Tier::Standard), ..base() }),
            (Wire::Gemini, "serviceTier", "\"priority\"", Request { tier: Some(Tier::Priority), ..base() }),
            (
                CLAUDE,
                "cache_control",
                r#"{"type":"ephemeral","ttl":"1h"}"#,
                Request { cache: Some(Cache::Hour), ..base() },
            ),
            (OPENAI, "parallel_tool_calls", "false", Request { parallel: Some(false), ..base() }),
            (OPENAI, "tool_choice", "\"required\"", Request { tool_choice: Some(ToolChoice::Required), ..base() }),
            (CLAUDE, "tool_choice", r#"{"type":"any"}"#, Request { tool_choice: Some(ToolChoice::Required), ..base() }),
            (CLAUDE, "tool_choice", r#"{"type":"tool","name":"f"}"#, Request { tool_choice: named(), ..base() }),
            (
                OPENAI,
                "tool_choice",
                r#"{"type":"function","function":{"name":"f"}}"#,
                Request { tool_choice: named(), ..base() },
            ),
            (OPENAI, "reasoning_effort", "\"none\"", Request { reasoning: off, ..base() }),
            (CLAUDE, "reasoning_effort", "\"high\"", Request { reasoning: effort(Effort::High), ..base() }),
            (CLAUDE, "output_config", r#"{"effort":"max"}"#, Request { reasoning: effort(Effort::Max), ..base() }),
            (
                CLAUDE,
                "thinking",
                r#"{"type":"enabled","budget_tokens":2048}"#,
                Request { reasoning: budget(2048), ..base() },
            ),
            (
                CLAUDE,
                "thinking",
                r#"{"budget_tokens":2048,"type":"enabled"}"#,
                Request { reasoning: budget(2048), ..base() },
            ),
            (CLAUDE, "thinking", r#"{"type":"disabled"}"#, Request { reasoning: off, ..base() }),
            (
                OPENAI,
                "response_format",
                r#"{"type":"json_object"}"#,
                Request { format: Some(Format::Object), ..base() },
            ),
            (
                CLAUDE,
                "response_format",
                r#"{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type": "object"}}}"#,
                Request { format: Some(schema), ..base() },
            ),
            (
                CLAUDE,
                "output_config",
                r#"{"format":{"type":"json_schema","schema":{}}}"#,
                Request { format: Some(bare), ..base() },
            ),
            (OPENAI, "response_format", r#"{"type":"text"}"#, base()),
        ] {
            let defaults = pairs(&[(name, json)]);
            assert_eq!(filled(to, &defaults), want, "{name} {json}");
            assert_eq!(place(to, name, json), Place::Slot, "{name} {json}");
        }
    }

    #[test]
    fn what_has_no_slot_goes_to_the_upstream_as_it_is() {
        for (to, name, json) in [
            (OPENAI, "provider", r#"{"order": ["a"]}"#),
            (OPENAI, "top_k", "5"),
            (OPENAI, "thinking", r#"{"type":"disabled"}"#),
            (OPENAI, "reasoning_effort", "\"default\""),
            (OPENAI, "metadata", r#"{"a":"b"}"#),
            (CLAUDE, "speed", "\"fast\""),
            (Wire::Gemini, "safetySettings", "[]"),
        ] {
            let defaults = pairs(&[(name, json)]);
            let found = filled(to, &defaults);
            assert_eq!(found.native, [(name.into(), Json::trusted(json))], "{name}");
            assert_eq!(Request { native: Vec::new(), ..found }, Request { tools: vec![tool()], ..Request::default() });
            assert_eq!(place(to, name, json), Place::Native, "{name}");
        }
    }

    #[test]
    fn a_default_of_the_wrong_kind_goes_nowhere() {
        for (to, name, json) in [
            (CLAUDE, "temperature", "\"hot\""),
            (CLAUDE, "thinking", "true"),
            (CLAUDE, "output_config", r#"{"effort":"some"}"#),
            (Wire::Gemini, "max_tokens", "-1"),
            (Wire::Gemini, "generationConfig", r#"{"topK":"many"}"#),
            (CLAUDE, "tool_choice", "3"),
        ] {
            let defaults = pairs(&[(name, json)]);
            assert_eq!(place(to, name, json), Place::Wrong, "{name}");
            assert_eq!(filled(to, &defaults).native, [], "{name}");
        }
    }

    #[test]
    fn generation_config_is_taken_apart() {
        let json = r#"{"temperature":0.1,"topP":0.2,"topK":3,"maxOutputTokens":4,"stopSequences":["x"],"seed":5,
            "candidateCount":1,"imageConfig":{"aspectRatio": "1:1"},"mediaResolution":"LOW","responseJsonSchema":{},
            "thinkingConfig":{"thinkingBudget":-1,"includeThoughts":true}}"#;
        let defaults = pairs(&[("generationConfig", json)]);
        let found = filled(Wire::Gemini, &defaults);
        assert_eq!(
            (found.temperature, found.top_p, found.top_k, found.max_tokens),
            (Some(0.1), Some(0.2), Some(3), Some(4))
        );
        assert_eq!((found.stop.len(), found.seed, found.n), (1, Some(5), Some(1)));
        let want = Reasoning { mode: Some(Thinking::Adaptive), effort: None, shown: Some(true) };
        assert_eq!(found.reasoning, want);
        let rest = r#"{"imageConfig":{"aspectRatio": "1:1"},"mediaResolution":"LOW","responseJsonSchema":{}}"#;
        assert_eq!(found.native, [("generationConfig".into(), Json::trusted(rest))]);
        // The client's own form wins.
        let mut request = Request { format: Some(Format::Object), ..Request::default() };
        fill(&mut request, Wire::Gemini, &defaults);
        assert!(!request.native[0].1.get().contains("Schema"));
    }

    #[test]
    fn the_client_wins() {
        let defaults = pairs(&[
            ("temperature", "0.1"),
            ("top_p", "0.2"),
            ("max_tokens", "9"),
            ("stop", "\"ours\""),
            ("reasoning_effort", "\"high\""),
            ("user", "\"ours\""),
            ("tool_choice", "\"auto\""),
            ("parallel_tool_calls", "false"),
            ("logit_bias", "{}"),
        ]);
        let reasoning = Reasoning { mode: Some(Thinking::Off), effort: None, shown: None };
        let rest =
            vec![super::super::chat::Rest { name: "logit_bias".into(), value: Json::trusted("1"), content: false }];
        let mut request = Request {
            top_p: Some(0.9),
            max_tokens: Some(1),
            stop: vec!["theirs".into()],
            user: Some("theirs".into()),
            reasoning,
            rest,
            ..Request::default()
        };
        let mut claude = request.clone();
        let want = request.clone();
        fill(&mut request, OPENAI, &defaults);
        assert_eq!(request, Request { temperature: Some(0.1), ..want.clone() });
        // Where the two cannot stand together the client's stays alone.
        fill(&mut claude, CLAUDE, &defaults);
        assert_eq!(claude, want);
    }

    #[test]
    fn some_defaults_cannot_pass_through() {
        use super::super::{OnLoss, Operation, Target, peek, prepare};
        let defaults = pairs(&[("reasoning_effort", "\"low\""), ("top_k", "5")]);
        let body = bytes::Bytes::from_static(br#"{"model":"m","max_tokens":9,"messages":[]}"#);
        let profile = super::super::profile::Profile::find(CLAUDE, "anthropic", "m");
        let to = Target {
            wire: CLAUDE,
            model: "m",
            profile: &profile,
            drop: &[],
            defaults: &defaults,
            ask_usage: false,
            answer_as: None,
            on_loss: OnLoss::Report,
        };
        let prepared = prepare(&peek(CLAUDE, &body).unwrap(), &body, Operation::Generate, &to).unwrap();
        assert_eq!(prepared.body, r#"{"top_k":5,"model":"m","max_tokens":9,"messages":[]}"#);
        assert!(passes(OPENAI, "reasoning_effort"));
    }
}
