//! A client's request, read: everything but the messages, which [`history`] reads.

use serde_json::value::RawValue;

use super::history;
use crate::wire::chat::{
    Cache, Effort, Format, Place, Reasoning, Request, Rest, Thinking, Tier, Tool, ToolChoice, ToolKind, WebSearch,
};
use crate::wire::envelope::{DecodeError, Envelope, at, field};
use crate::wire::fields::fields;
use crate::wire::text::{Json, Str};

/// Reads a request.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
    let mut request = Request { stream: envelope.stream, ..Request::default() };
    request.wish.usage = envelope.usage_asked;
    let mut few = Few::default();
    for (name, text) in envelope.fields() {
        if text != "null" && !few.take(&mut request, name, text)? {
            // Leaving these out would change what the answer is.
            let content = matches!(name, "modalities" | "audio" | "moderation");
            let rest = Rest { name: name.to_owned().into(), value: Json::trusted(text), content };
            request.rest.push(rest);
        }
    }
    few.settle(&mut request);
    Ok(request)
}

/// Fields of which one wins over another, wherever they stand.
#[derive(Default)]
struct Few<'a> {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    logprobs: bool,
    top_logprobs: Option<u32>,
    user: Option<Str<'a>>,
    effort: Option<Reasoning>,
}

impl<'a> Few<'a> {
    /// Takes a field. False: nobody here knows it.
    fn take(&mut self, to: &mut Request<'a>, name: &str, text: &'a str) -> Result<bool, DecodeError> {
        match name {
            "model" | "stream" | "stream_options" => {}
            "messages" => history::read(text, to)?,
            "tools" => {
                for (index, tool) in field::<Vec<RawTool<'a>>>(name, text)?.into_iter().enumerate() {
                    if tool.function.is_none() && tool.r#type.as_deref() == Some("function") {
                        return Err(at(format!("tools[{index}].function"), "it is missing; it must be an object"));
                    }
                    tool.add(index, to);
                }
            }
            "functions" => {
                to.wish.functions = true;
                for (at, function) in field::<Vec<RawFunction<'a>>>(name, text)?.into_iter().enumerate() {
                    to.tools.push(function.tool(at, None));
                }
            }
            "tool_choice" | "function_call" => to.tool_choice = Some(choice(name, text)?),
            "parallel_tool_calls" => to.parallel = Some(field(name, text)?),
            "response_format" => return format(to, name, text),
            "reasoning_effort" => return self.effort(name, text),
            "reasoning" => return reasoning(to, name, text),
            "thinking" => return thinking(to, name, text),
            "max_tokens" => self.max_tokens = Some(field(name, text)?),
            "max_completion_tokens" => self.max_completion_tokens = Some(field(name, text)?),
            "temperature" => to.temperature = Some(field(name, text)?),
            "top_p" => to.top_p = Some(field(name, text)?),
            "top_k" => to.top_k = Some(field(name, text)?),
            // Zero is what every upstream does anyway.
            "frequency_penalty" => to.frequency_penalty = Some(field(name, text)?).filter(|penalty| *penalty != 0.0),
            "presence_penalty" => to.presence_penalty = Some(field(name, text)?).filter(|penalty| *penalty != 0.0),
            "seed" => to.seed = Some(field(name, text)?),
            "stop" if text.starts_with('"') => to.stop.push(field(name, text)?),
            "stop" => to.stop = field(name, text)?,
            "n" => to.n = several(field(name, text)?)?,
            "logprobs" => self.logprobs = field(name, text)?,
            "top_logprobs" => self.top_logprobs = Some(field(name, text)?),
            "user" => self.user = Some(field(name, text)?),
            "safety_identifier" => to.user = Some(field(name, text)?),
            "service_tier" => return tier(to, name, text),
            "web_search_options" => web_search(to, name, text)?,
            "cache_control" => to.cache = Some(field(name, text)?),
            "modalities" => {
                return Ok(matches!(field::<Vec<Str<'a>>>(name, text)?.as_slice(), [only] if *only == "text"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn effort(&mut self, name: &str, text: &'a str) -> Result<bool, DecodeError> {
        self.effort = effort(&field::<Str<'a>>(name, text)?);
        Ok(self.effort.is_some())
    }

    fn settle(self, to: &mut Request<'a>) {
        to.max_tokens = self.max_completion_tokens.or(self.max_tokens);
        to.logprobs = self.logprobs.then(|| self.top_logprobs.unwrap_or(0));
        if to.user.is_none() {
            to.user = self.user;
        }
        if let Some(effort) = self.effort {
            to.reasoning.effort = effort.effort;
            to.reasoning.mode = effort.mode.or(to.reasoning.mode);
        }
    }
}

fn several(n: u32) -> Result<Option<u32>, DecodeError> {
    match n {
        0 => Err(at("n".to_owned(), "it must be at least 1")),
        1 => Ok(None),
        n => Ok(Some(n)),
    }
}

/// A word for effort; `None` if nobody knows it.
fn effort(word: &str) -> Option<Reasoning> {
    match word {
        "none" => Some(Reasoning { mode: Some(Thinking::Off), ..Reasoning::default() }),
        // Groq's words for the model's own way.
        "default" | "auto" => Some(Reasoning::default()),
        word => Effort::of(word).map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }),
    }
}

/// `OpenRouter`'s spelling.
fn reasoning<'a>(to: &mut Request<'a>, name: &str, text: &'a str) -> Result<bool, DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        effort: Option<Str<'a>>,
        max_tokens: Option<u64>,
        enabled: Option<bool>,
        exclude: Option<bool>,
    }
    fields!(Raw<'a> { effort, max_tokens, enabled, exclude });

    let raw: Raw<'a> = field(name, text)?;
    let mut known = true;
    if let Some(word) = raw.effort {
        match effort(&word) {
            Some(effort) => {
                to.reasoning.effort = effort.effort;
                to.reasoning.mode = effort.mode;
            }
            None => known = false,
        }
    }
    match (raw.max_tokens, raw.enabled) {
        (_, Some(false)) => to.reasoning.mode = Some(Thinking::Off),
        (Some(budget), _) => to.reasoning.mode = Some(Thinking::Budget(budget)),
        (None, Some(true)) if to.reasoning.mode.is_none() => to.reasoning.mode = Some(Thinking::Adaptive),
        (None, _) => {}
    }
    to.reasoning.shown = raw.exclude.filter(|exclude| *exclude).map(|_| false).or(to.reasoning.shown);
    Ok(known)
}

/// Anthropic's spelling, which litellm takes on this wire too; also `DeepSeek`'s.
fn thinking<'a>(to: &mut Request<'a>, name: &str, text: &'a str) -> Result<bool, DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        r#type: Str<'a>,
        budget_tokens: Option<u64>,
        display: Option<Str<'a>>,
    }
    fields!(Raw<'a> { r#type = "type", budget_tokens, display } needs "type");

    let raw: Raw<'a> = field(name, text)?;
    to.reasoning.mode = Some(match (&*raw.r#type, raw.budget_tokens) {
        ("disabled", _) => Thinking::Off,
        ("enabled", Some(budget)) => Thinking::Budget(budget),
        ("enabled" | "adaptive" | "auto", _) => Thinking::Adaptive,
        _ => return Ok(false),
    });
    to.reasoning.shown = match raw.display.as_deref() {
        Some("omitted") => Some(false),
        Some("summarized") => Some(true),
        _ => to.reasoning.shown,
    };
    Ok(true)
}

fn format<'a>(to: &mut Request<'a>, name: &str, text: &'a str) -> Result<bool, DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        r#type: Str<'a>,
        json_schema: Option<Inner<'a>>,
    }
    fields!(Raw<'a> { r#type = "type", json_schema } needs "type");
    #[derive(Default)]
    struct Inner<'a> {
        name: Option<Str<'a>>,
        description: Option<Str<'a>>,
        schema: Option<Json<'a>>,
        strict: Option<bool>,
    }
    fields!(Inner<'a> { name, description, schema, strict });

    let raw: Raw<'a> = field(name, text)?;
    to.format = match (&*raw.r#type, raw.json_schema) {
        ("text", _) => None,
        ("json_schema", Some(Inner { name, description, schema: Some(schema), strict })) => {
            Some(Format::Schema { name, description, schema, strict })
        }
        ("json_object", _) | ("json_schema", Some(_)) => Some(Format::Object),
        ("json_schema", None) => return Err(at(format!("{name}.json_schema"), "it is missing; it must be an object")),
        // The answer would have another form.
        _ => {
            to.rest.push(Rest { name: name.to_owned().into(), value: Json::trusted(text), content: true });
            None
        }
    };
    Ok(true)
}

fn tier<'a>(to: &mut Request<'a>, name: &str, text: &'a str) -> Result<bool, DecodeError> {
    to.tier = match &*field::<Str<'a>>(name, text)? {
        "auto" | "scale" => Some(Tier::Auto),
        "default" | "standard" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "priority" | "fast" => Some(Tier::Priority),
        _ => None,
    };
    Ok(to.tier.is_some())
}

fn web_search<'a>(to: &mut Request<'a>, name: &str, text: &'a str) -> Result<(), DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        user_location: Option<Location<'a>>,
        search_context_size: Option<Json<'a>>,
    }
    fields!(Raw<'a> { user_location, search_context_size });
    #[derive(Default)]
    struct Location<'a> {
        approximate: Option<Place<'a>>,
    }
    fields!(Location<'a> { approximate });

    let raw: Raw<'a> = field(name, text)?;
    let place = raw.user_location.and_then(|location| location.approximate);
    // `medium` is the default.
    if let Some(value) = raw.search_context_size.filter(|size| size.get() != "\"medium\"") {
        to.rest.push(Rest { name: format!("{name}.search_context_size").into(), value, content: false });
    }
    let location = place.map(Place::fields).unwrap_or_default();
    to.web_search = Some(WebSearch { location, ..WebSearch::default() });
    Ok(())
}

#[derive(Default)]
struct RawTool<'a> {
    r#type: Option<Str<'a>>,
    function: Option<RawFunction<'a>>,
    custom: Option<RawCustom<'a>>,
    name: Option<Str<'a>>,
    cache_control: Option<Cache>,
}
fields!(RawTool<'a> { r#type = "type", function, custom, name, cache_control });

#[derive(Default)]
struct RawFunction<'a> {
    name: Str<'a>,
    description: Option<Str<'a>>,
    parameters: Option<Json<'a>>,
    strict: Option<bool>,
    cache_control: Option<Cache>,
}
fields!(RawFunction<'a> { name, description, parameters, strict, cache_control } needs "name");

#[derive(Default)]
struct RawCustom<'a> {
    name: Str<'a>,
    description: Option<Str<'a>>,
    format: Option<&'a RawValue>,
}
fields!(RawCustom<'a> { name, description, format } needs "name");

/// What stands for a tool that takes free text.
const FREE_TEXT: &str =
    r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

impl<'a> RawFunction<'a> {
    fn tool(self, at: usize, cache: Option<Cache>) -> Tool<'a> {
        Tool {
            name: self.name,
            description: self.description,
            schema: self.parameters,
            strict: self.strict,
            cache: cache.or(self.cache_control),
            kind: ToolKind::Function,
            at,
        }
    }
}

impl<'a> RawTool<'a> {
    fn add(self, at: usize, to: &mut Request<'a>) {
        if let Some(function) = self.function {
            to.tools.push(function.tool(at, self.cache_control));
            return;
        }
        let cache = self.cache_control;
        if let Some(custom) = self.custom {
            if let Some(format) = custom.format.filter(|format| !format.get().contains("\"text\"")) {
                let name = format!("tools.{}.format", custom.name).into();
                to.rest.push(Rest { name, value: Json::trusted(format.get()), content: false });
            }
            to.wish.custom.push(custom.name.clone().into_owned());
            let schema = Some(Json::trusted(FREE_TEXT));
            let kind = ToolKind::Function;
            let (name, description) = (custom.name, custom.description);
            to.tools.push(Tool { name, description, schema, strict: None, cache, kind, at });
            return;
        }
        let word = self.r#type.unwrap_or_default();
        let name = self.name.unwrap_or_else(|| word.clone());
        let kind = ToolKind::Server(word);
        to.tools.push(Tool { name, description: None, schema: None, strict: None, cache, kind, at });
    }
}

fn choice<'a>(field_name: &str, text: &'a str) -> Result<ToolChoice<'a>, DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        function: Option<Named<'a>>,
        custom: Option<Named<'a>>,
        allowed_tools: Option<Allowed<'a>>,
        name: Option<Str<'a>>,
    }
    fields!(Raw<'a> { function, custom, allowed_tools, name });
    #[derive(Default)]
    struct Named<'a> {
        name: Str<'a>,
    }
    fields!(Named<'a> { name } needs "name");
    #[derive(Default)]
    struct Allowed<'a> {
        mode: Option<Str<'a>>,
        tools: Vec<Raw<'a>>,
    }
    fields!(Allowed<'a> { mode, tools } needs "tools");
    impl<'a> Raw<'a> {
        fn named(self) -> Option<Str<'a>> {
            self.function.or(self.custom).map(|named| named.name).or(self.name)
        }
    }

    const WANT: &str = "it must be \"none\", \"auto\", \"required\", or an object that names a tool";
    if text.starts_with('"') {
        return match &*field::<Str<'a>>(field_name, text)? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            // Mistral's word.
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(at(field_name.to_owned(), WANT)),
        };
    }
    let raw: Raw<'a> = field(field_name, text)?;
    if let Some(allowed) = raw.allowed_tools {
        let required = allowed.mode.is_some_and(|mode| mode == "required");
        return Ok(ToolChoice::Allowed { names: allowed.tools.into_iter().filter_map(Raw::named).collect(), required });
    }
    raw.named().map(ToolChoice::Named).ok_or_else(|| at(field_name.to_owned(), WANT))
}

#[cfg(test)]
mod tests {
    use super::super::OpenAiChat;
    use super::*;
    use crate::wire::Wire;
    use crate::wire::chat::{Part, Role, Source};
    use crate::wire::convert::Inbound;
    use crate::wire::envelope::peek;

    const MESSAGES: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    fn with<R>(fields: &str, read: impl FnOnce(Result<Request<'_>, DecodeError>) -> R) -> R {
        let messages = if fields.contains("\"messages\"") { "" } else { MESSAGES };
        let comma = if fields.is_empty() || messages.is_empty() { "" } else { "," };
        let body = format!(r#"{{"model":"m",{messages}{comma}{fields}}}"#);
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        read(OpenAiChat.decode(&envelope))
    }

    fn ask<R>(fields: &str, look: impl FnOnce(&Request<'_>) -> R) -> R {
        with(fields, |request| look(&request.unwrap_or_else(|error| panic!("{fields}: {error}"))))
    }

    fn refused(fields: &str) -> (String, String) {
        with(fields, |request| {
            let error = request.err().unwrap_or_else(|| panic!("{fields} was taken"));
            (error.field.unwrap_or_default(), error.message)
        })
    }

    /// A conversation as text.
    fn turns(messages: &str) -> String {
        ask(&format!(r#""messages":[{messages}]"#), |request| {
            let system = request.system.iter().map(|text| format!("S({}{}) ", text.text, mark(text.cache)));
            let turns = request.turns.iter().map(|turn| {
                let role = match turn.role {
                    Role::System => "s",
                    Role::User => "u",
                    Role::Assistant => "a",
                };
                let parts: Vec<String> = turn.parts.iter().map(part).collect();
                format!("{role}({}) ", parts.join(" "))
            });
            system.chain(turns).collect::<String>().trim_end().to_owned()
        })
    }

    fn mark(cache: Option<Cache>) -> &'static str {
        match cache {
            None => "",
            Some(Cache::Default) => "*",
            Some(Cache::Hour) => "**",
        }
    }

    fn part(part: &Part<'_>) -> String {
        let seal = |seal: &Option<crate::wire::chat::Seal<'_>>| match seal {
            Some(seal) => format!("~{:?}:{}", seal.origin, seal.data),
            None => String::new(),
        };
        match part {
            Part::Text(text) => format!("{:?}{}{}", &*text.text, mark(text.cache), seal(&text.seal)),
            Part::Media(media) => {
                let source = match &media.source {
                    Source::Data { mime, data } => format!("{mime},{data}"),
                    Source::Text(text) => format!("text {text}"),
                    Source::Url { url, .. } => format!("url {url}"),
                    Source::File(id) => format!("file {id}"),
                };
                let name = media.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                format!("<{:?} {source}{name}{}>", media.kind, mark(media.cache))
            }
            Part::Call(call) => {
                format!("{}={}{}{}{}", call.id, call.name, call.arguments.get(), mark(call.cache), seal(&call.seal))
            }
            Part::Outcome(outcome) => {
                let parts: Vec<String> = outcome.content.iter().map(self::part).collect();
                format!("{}->[{}]{}", outcome.id, parts.join(" "), mark(outcome.cache))
            }
            Part::Thought(thought) if thought.redacted => format!("redacted{}", seal(&thought.seal)),
            Part::Thought(thought) => format!("think:{}{}", thought.text, seal(&thought.seal)),
            Part::Foreign(foreign) => format!("foreign {} at {}", foreign.kind, foreign.at),
        }
    }

    #[test]
    fn w38_roles_and_content() {
        for (messages, want) in [
            (r#"{"role":"user","content":"a"}"#, r#"u("a")"#),
            (
                r#"{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"}]},{"role":"user","content":"c"},{"role":"system","content":"d"}"#,
                r#"S(a) S(b) u("c") s("d")"#,
            ),
            (
                r#"{"role":"assistant","content":null},{"role":"assistant"},{"role":"assistant","content":""}"#,
                "a() a() a()",
            ),
            (r#"{"role":"assistant","content":null,"refusal":"no"}"#, r#"a("no")"#),
            (r#"{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}"#, r#"a("no")"#),
            (r#"{"role":"user","name":"bob","content":[{"type":"text","text":""},{"text":"b"}]}"#, r#"u("" "b")"#),
            (
                r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"magic","text":"x"}]}"#,
                r#"u("a" foreign magic at messages[0].content[1])"#,
            ),
            (
                r#"{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]},{"type":"text","text":"t"}]}"#,
                r#"a(think:r "t")"#,
            ),
        ] {
            assert_eq!(turns(messages), want, "{messages}");
        }
    }

    #[test]
    fn w48_w49_media_of_every_kind() {
        let png = "iVBORw0KGgo=";
        for (content, want) in [
            (
                format!(
                    r#"{{"type":"image_url","image_url":{{"url":"data:image/jpeg;base64,{png}","detail":"low"}}}}"#
                ),
                format!("<Image image/png,{png}>"),
            ),
            (
                format!(r#"{{"type":"image_url","image_url":{{"url":"DATA:image\/png;base64,{png}"}}}}"#),
                format!("<Image image/png,{png}>"),
            ),
            (r#"{"type":"image_url","image_url":"https://h/a.png"}"#.into(), "<Image url https://h/a.png>".into()),
            (
                r#"{"type":"video_url","video_url":{"url":"https://h/a.mp4"}}"#.into(),
                "<Video url https://h/a.mp4>".into(),
            ),
            (
                r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"mp3"}}"#.into(),
                "<Audio audio/mpeg,QUJD>".into(),
            ),
            (
                r#"{"type":"input_audio","input_audio":"UklGRgAAAABXQVZF"}"#.into(),
                "<Audio audio/wav,UklGRgAAAABXQVZF>".into(),
            ),
            (
                r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjQ="}}"#
                    .into(),
                "<Document application/pdf,JVBERi0xLjQ= a.pdf>".into(),
            ),
            (
                r#"{"type":"file","file":{"file_data":"JVBERi0xLjQ="}}"#.into(),
                "<Document application/pdf,JVBERi0xLjQ=>".into(),
            ),
            (
                r#"{"type":"file","file":{"filename":"a.txt","file_data":"aGk="}}"#.into(),
                "<Document text hi a.txt>".into(),
            ),
            (
                r#"{"type":"file","file":{"file_data":"data:text/plain;base64,aGk="}}"#.into(),
                "<Document text hi>".into(),
            ),
            (
                format!(r#"{{"type":"file","file":{{"file_data":"data:image/png;base64,{png}"}}}}"#),
                format!("<Image image/png,{png}>"),
            ),
            (r#"{"type":"file","file":{"file_id":"file-1"}}"#.into(), "<Document file file-1>".into()),
        ] {
            assert_eq!(
                turns(&format!(r#"{{"role":"user","content":[{content}]}}"#)),
                format!("u({want})"),
                "{content}"
            );
        }
    }

    #[test]
    fn w34_w60_w75_calls_and_their_results() {
        for (messages, want) in [
            (
                r#"{"role":"assistant","content":"t","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"b\": 1.0,\"a\":\"ü\"}"}}]},{"role":"tool","tool_call_id":"a","content":"r"}"#,
                r#"a("t" a=f{"b": 1.0,"a":"ü"}) u(a->["r"])"#,
            ),
            // W34.
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":""}},{"id":"b","function":{"name":"f","arguments":"{"}},{"id":"c","function":{"name":"f"}},{"id":"d","function":{"name":"f","arguments":{"x":1}}},{"id":"e","function":{"name":"f","arguments":"[1]"}}]}"#,
                r#"a(a=f{} b=f{"_raw":"{"} c=f{} d=f{"x":1} e=f{"_raw":"[1]"})"#,
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","type":"custom","custom":{"name":"sql","input":"SELECT \"1\""}}]}"#,
                r#"a(a=sql{"input":"SELECT \"1\""})"#,
            ),
            // Results as parts, with images, of nothing.
            (
                r#"{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"r"},{"type":"image_url","image_url":{"url":"https://h/a.png"}}]},{"role":"tool","tool_call_id":"b","content":""},{"role":"tool","tool_call_id":"c"}"#,
                r#"u(a->["r" <Image url https://h/a.png>]) u(b->[]) u(c->[])"#,
            ),
            // W60: signatures in every place that is in use.
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]}"#,
                "a(a=f{}~Gemini:s)",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a__thought__s==","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a__thought__s==","content":"r"}"#,
                r#"a(a=f{}~Gemini:s==) u(a->["r"])"#,
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}","thought_signature":"s"}}]}"#,
                "a(a=f{}~Gemini:s)",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}],"reasoning_details":[{"type":"reasoning.encrypted","id":"a","data":"s","format":"google-gemini-v1","index":0}]}"#,
                "a(a=f{}~Gemini:s)",
            ),
            // W75: an id that was changed for the client comes back as it was.
            (
                r#"{"role":"assistant","tool_calls":[{"id":"fgx_612062","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"fgx_612062","content":"r"}"#,
                r#"a(a b=f{}) u(a b->["r"])"#,
            ),
        ] {
            assert_eq!(turns(messages), want, "{messages}");
        }
    }

    #[test]
    fn calls_without_ids_find_their_results() {
        for messages in [
            r#"{"role":"assistant","function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"r"}"#,
            r#"{"role":"assistant","tool_calls":[{"id":"","function":{"name":"g","arguments":"{}"}},{"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"","content":"q"},{"role":"tool","content":"r"}"#,
        ] {
            ask(&format!(r#""messages":[{messages}]"#), |request| {
                let parts = || request.turns.iter().flat_map(|turn| &turn.parts);
                let calls: Vec<&str> = parts()
                    .filter_map(|part| match part {
                        Part::Call(call) => Some(&*call.id),
                        _ => None,
                    })
                    .collect();
                let results: Vec<&str> = parts()
                    .filter_map(|part| match part {
                        Part::Outcome(outcome) => Some(&*outcome.id),
                        _ => None,
                    })
                    .collect();
                assert_eq!(calls, results, "{messages}");
                assert!(calls.iter().all(|id| crate::wire::ids::minted(id)), "{calls:?}");
            });
        }
    }

    #[test]
    fn thoughts_come_back_to_their_places() {
        let call = r#"{"id":"a","function":{"name":"f","arguments":"{}"}}"#;
        for (message, want) in [
            (r#""content":"t","reasoning_content":"r""#.to_owned(), r#"think:r "t""#),
            (r#""content":"t","reasoning":"r""#.to_owned(), r#"think:r "t""#),
            (
                r#""content":"t","reasoning_content":"r","reasoning_details":[{"type":"reasoning.text","text":"r","signature":"s","format":"anthropic-claude-v1","index":0}]"#.to_owned(),
                r#"think:r~Anthropic:s "t""#,
            ),
            // Between text and call, as the index says; the second one is encrypted.
            (
                format!(r#""content":"t","tool_calls":[{call}],"reasoning_details":[{{"type":"reasoning.encrypted","data":"e","format":"anthropic-claude-v1","index":2}},{{"type":"reasoning.text","text":"","signature":"s","format":"anthropic-claude-v1","index":0}}]"#),
                r#"think:~Anthropic:s "t" redacted~Anthropic:e a=f{}"#,
            ),
            // Pieces of a stream, not put together.
            (
                r#""content":"t","reasoning_details":[{"type":"reasoning.text","text":"a","format":"anthropic-claude-v1","index":0},{"type":"reasoning.text","text":"b","format":"anthropic-claude-v1","index":0},{"type":"reasoning.text","signature":"s","format":"anthropic-claude-v1","index":0}]"#.to_owned(),
                r#"think:ab~Anthropic:s "t""#,
            ),
            // Without an index: first.
            (
                r#""content":"t","reasoning_details":[{"type":"reasoning.text","text":"a","signature":"s","format":"anthropic-claude-v1"}]"#.to_owned(),
                r#"think:a~Anthropic:s "t""#,
            ),
            // Gemini signs text, or a last part without any.
            (
                r#""content":"t","reasoning_details":[{"type":"reasoning.encrypted","data":"s","format":"google-gemini-v1","index":0}]"#.to_owned(),
                r#""t"~Gemini:s"#,
            ),
            (
                r#""content":"t","reasoning_details":[{"type":"reasoning.encrypted","data":"s","format":"google-gemini-v1","index":1}]"#.to_owned(),
                r#""t" ""~Gemini:s"#,
            ),
            // Types that nobody knows.
            (r#""content":"t","reasoning_details":{"a":1},"reasoning":7"#.to_owned(), r#""t""#),
        ] {
            assert_eq!(turns(&format!(r#"{{"role":"assistant",{message}}}"#)), format!("a({want})"), "{message}");
        }
    }

    #[test]
    fn w50_cache_marks() {
        for (messages, want) in [
            (
                r#"{"role":"system","content":"s","cache_control":{"type":"ephemeral"}},{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"b"}]}"#,
                r#"S(s*) u("a"** "b")"#,
            ),
            (
                r#"{"role":"user","content":"a","cache_control":{"type":"ephemeral"}},{"role":"tool","tool_call_id":"x","content":"r","cache_control":{"type":"ephemeral"}}"#,
                r#"u("a"*) u(x->["r"]*)"#,
            ),
            (
                r#"{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}"#,
                r#"u("a"**)"#,
            ),
        ] {
            assert_eq!(turns(messages), want, "{messages}");
        }
        let tools = r#""tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}}],"cache_control":{"type":"ephemeral"}"#;
        assert_eq!(
            ask(tools, |request| (request.tools[0].cache, request.cache)),
            (Some(Cache::Default), Some(Cache::Default))
        );
    }

    #[test]
    fn settings() {
        let field = |fields: &str, look: fn(&Request<'_>) -> String| ask(fields, look);
        for (fields, look, want) in [
            (
                r#""max_tokens":5,"max_completion_tokens":7"#,
                (|r| format!("{:?}", r.max_tokens)) as fn(&Request<'_>) -> String,
                "Some(7)",
            ),
            (r#""max_tokens":5,"max_completion_tokens":null"#, |r| format!("{:?}", r.max_tokens), "Some(5)"),
            (
                r#""temperature":1,"top_p":0.5,"top_k":3"#,
                |r| format!("{:?} {:?} {:?}", r.temperature, r.top_p, r.top_k),
                "Some(1.0) Some(0.5) Some(3)",
            ),
            (
                r#""frequency_penalty":0,"presence_penalty":-0.5"#,
                |r| format!("{:?} {:?}", r.frequency_penalty, r.presence_penalty),
                "None Some(-0.5)",
            ),
            (r#""stop":"x""#, |r| format!("{:?}", r.stop), r#"["x"]"#),
            (r#""stop":["x"," "]"#, |r| format!("{:?}", r.stop), r#"["x", " "]"#),
            (r#""seed":-7,"n":1"#, |r| format!("{:?} {:?}", r.seed, r.n), "Some(-7) None"),
            (r#""n":3"#, |r| format!("{:?}", r.n), "Some(3)"),
            (r#""logprobs":true"#, |r| format!("{:?}", r.logprobs), "Some(0)"),
            (r#""top_logprobs":4,"logprobs":true"#, |r| format!("{:?}", r.logprobs), "Some(4)"),
            (r#""logprobs":false,"top_logprobs":4"#, |r| format!("{:?}", r.logprobs), "None"),
            (r#""safety_identifier":"s","user":"u""#, |r| format!("{:?}", r.user), r#"Some("s")"#),
            (r#""user":"u""#, |r| format!("{:?}", r.user), r#"Some("u")"#),
            (r#""service_tier":"default""#, |r| format!("{:?}", r.tier), "Some(Standard)"),
            (r#""parallel_tool_calls":false"#, |r| format!("{:?}", r.parallel), "Some(false)"),
            (
                r#""stream":true,"stream_options":{"include_usage":true}"#,
                |r| format!("{} {}", r.stream, r.wish.usage),
                "true true",
            ),
            (r#""modalities":["text"]"#, |r| format!("{:?}", r.rest), "[]"),
            (r#""store":null,"metadata":null"#, |r| format!("{:?}", r.rest), "[]"),
            (
                r#""web_search_options":{"user_location":{"type":"approximate","approximate":{"city":"Bern","country":"CH"}}}"#,
                |r| format!("{:?}", r.web_search.as_ref().map(|search| &search.location)),
                r#"Some([("city", "Bern"), ("country", "CH")])"#,
            ),
        ] {
            assert_eq!(field(fields, look), want, "{fields}");
        }
    }

    #[test]
    fn reasoning_in_all_spellings() {
        let of = |mode, effort, shown| Reasoning { mode, effort, shown };
        for (fields, want) in [
            (r#""reasoning_effort":"high""#, of(None, Some(Effort::High), None)),
            (r#""reasoning_effort":"none""#, of(Some(Thinking::Off), None, None)),
            (r#""reasoning":{"effort":"low"}"#, of(None, Some(Effort::Low), None)),
            (r#""reasoning":{"max_tokens":2000,"exclude":true}"#, of(Some(Thinking::Budget(2000)), None, Some(false))),
            (r#""reasoning":{"enabled":true}"#, of(Some(Thinking::Adaptive), None, None)),
            (r#""reasoning":{"enabled":false}"#, of(Some(Thinking::Off), None, None)),
            (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, of(Some(Thinking::Budget(1024)), None, None)),
            (r#""thinking":{"type":"enabled"}"#, of(Some(Thinking::Adaptive), None, None)),
            (r#""thinking":{"type":"disabled"}"#, of(Some(Thinking::Off), None, None)),
            (
                r#""thinking":{"type":"adaptive"},"reasoning_effort":"max""#,
                of(Some(Thinking::Adaptive), Some(Effort::Max), None),
            ),
            (
                r#""reasoning_effort":"max","thinking":{"type":"adaptive"}"#,
                of(Some(Thinking::Adaptive), Some(Effort::Max), None),
            ),
        ] {
            assert_eq!(ask(fields, |request| request.reasoning), want, "{fields}");
        }
    }

    #[test]
    fn w30_w53_tools_and_choices() {
        let tools = r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type": "object"},"strict":true}},{"type":"custom","custom":{"name":"sql"}},{"type":"web_search"},{"function":{"name":"g"}}]"#;
        ask(tools, |request| {
            let all: Vec<_> = request.tools.iter().map(|tool| (&*tool.name, tool.kind.clone(), tool.strict)).collect();
            assert_eq!(
                all,
                [
                    ("f", ToolKind::Function, Some(true)),
                    ("sql", ToolKind::Function, None),
                    ("web_search", ToolKind::Server("web_search".into()), None),
                    ("g", ToolKind::Function, None),
                ]
            );
            assert_eq!(request.tools[0].schema.as_ref().unwrap().get(), r#"{"type": "object"}"#);
            assert!(request.tools[1].schema.as_ref().unwrap().get().contains("\"input\""));
            assert_eq!(request.wish.custom, ["sql"]);
        });
        ask(r#""functions":[{"name":"f"}],"function_call":{"name":"f"}"#, |request| {
            assert!(request.wish.functions && request.tools[0].name == "f");
            assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
        });
        for (choice, want) in [
            (r#""auto""#, ToolChoice::Auto),
            (r#""none""#, ToolChoice::None),
            (r#""required""#, ToolChoice::Required),
            (r#"{"type":"function","function":{"name":"f"}}"#, ToolChoice::Named("f".into())),
            (r#"{"type":"custom","custom":{"name":"f"}}"#, ToolChoice::Named("f".into())),
            (
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"g"}}]}}"#,
                ToolChoice::Allowed { names: vec!["f".into(), "g".into()], required: false },
            ),
            (
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[]}}"#,
                ToolChoice::Allowed { names: vec![], required: true },
            ),
        ] {
            assert_eq!(
                ask(&format!(r#""tool_choice":{choice}"#), |request| format!("{:?}", request.tool_choice)),
                format!("{:?}", Some(want)),
                "{choice}"
            );
        }
    }

    #[test]
    fn forms_of_the_answer() {
        for (format, want) in [
            (r#"{"type":"text"}"#, "None []"),
            (r#"{"type":"json_object"}"#, "Some(Object) []"),
            (
                r#"{"type":"json_schema","json_schema":{"name":"n","schema":{"a": 1},"strict":true}}"#,
                r#"Some(Schema { name: Some("n"), description: None, schema: {"a": 1}, strict: Some(true) }) []"#,
            ),
            (r#"{"type":"grammar"}"#, r#"None [("response_format", true)]"#),
        ] {
            let got = ask(&format!(r#""response_format":{format}"#), |request| {
                let rest: Vec<_> = request.rest.iter().map(|rest| (&*rest.name, rest.content)).collect();
                format!("{:?} {rest:?}", request.format)
            });
            assert_eq!(got, want, "{format}");
        }
    }

    #[test]
    fn w73_what_has_no_place_is_kept_by_name() {
        let fields = r#""store":true,"logit_bias":{"1":2},"bogus":[1],"audio":{"voice":"v"},"modalities":["text","audio"],"moderation":{},"verbosity":"low","service_tier":"new","reasoning_effort":"new","reasoning":{"effort":"new"},"thinking":{"type":"new"}"#;
        let content = ["audio", "modalities", "moderation"];
        ask(fields, |request| {
            assert_eq!(request.rest.len(), 11);
            for rest in &request.rest {
                assert_eq!(rest.content, content.contains(&&*rest.name), "{}", rest.name);
            }
            assert_eq!(request.rest[2].value.get(), "[1]");
        });
    }

    #[test]
    fn w66_what_is_wrong_is_named_with_its_path() {
        for (fields, field, words) in [
            (r#""messages":[{"role":"user","content":5}]"#, "messages[0].content", "a string or an array of parts"),
            (r#""messages":[{"role":"user","content":"a"},{"content":"a"}]"#, "messages[1]", "missing field `role`"),
            (r#""messages":[{"role":"robot","content":"a"}]"#, "messages[0].role", "system, developer, user"),
            (
                r#""messages":[{"role":"user","content":[{"type":"text","text":7}]}]"#,
                "messages[0].content[0].text",
                "a string",
            ),
            (r#""messages":[{"role":"user","content":[{"x":7}]}]"#, "messages[0].content[0]", "missing field `type`"),
            (r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#, "messages[0].content[0]", "missing"),
            (
                r#""messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"u"}}]}]"#,
                "messages[0].content[0]",
                "text only",
            ),
            (r#""temperature":"hot""#, "temperature", "invalid type"),
            (r#""n":0"#, "n", "at least 1"),
            (r#""max_tokens":-1"#, "max_tokens", "invalid value"),
            (r#""tool_choice":"maybe""#, "tool_choice", "it must be"),
            (r#""tool_choice":{"type":"function"}"#, "tool_choice", "it must be"),
            (r#""tools":{"a":1}"#, "tools", "expected an array"),
            (r#""tools":[{"type":"function"}]"#, "tools[0].function", "missing"),
            (
                r#""tools":[{"type":"function","function":{"description":"d"}}]"#,
                "tools[0].function",
                "missing field `name`",
            ),
            (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema", "missing"),
        ] {
            let (got, message) = refused(fields);
            assert!(got == field && message.contains(words), "{fields}: {got}: {message}");
        }
    }

    #[test]
    fn large_data_is_not_copied() {
        let data = "iVBORw0KGgo".to_owned() + &"A".repeat(5000) + "A";
        let fields = format!(
            r#""messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]"#
        );
        ask(&fields, |request| {
            let Part::Media(media) = &request.turns[0].parts[0] else { panic!() };
            let Source::Data { data, .. } = media.source.clone() else { panic!() };
            assert!(matches!(data.into_cow(), std::borrow::Cow::Borrowed(_)));
        });
    }
}
