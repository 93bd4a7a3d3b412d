//! A client's request, read: its top-level fields. The messages are read in [`messages`](super::messages).

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::messages::{self, Messages};
use super::read::{each, missing};
use crate::wire::chat::{
    Cache, Effort, Format, Place, Request, Rest, Thinking, Tier, Tool, ToolChoice, ToolKind, WebSearch,
};
use crate::wire::envelope::{DecodeError, Envelope, Fields, field};
use crate::wire::fields::fields;
use crate::wire::text::{Json, Str};

/// Reads a request.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
    let mut request = Request { stream: envelope.stream, ..Request::default() };
    for (name, text) in envelope.fields() {
        if text != "null" {
            take(&mut request, name, text)?;
        }
    }
    // After `system`, whatever the order of the fields: a leading system message stands behind it.
    if let Some(value) = envelope.value("messages") {
        field::<Messages<'_>>("messages", value.get())?.into_request(&mut request)?;
    }
    Ok(request)
}

fn take<'a>(request: &mut Request<'a>, name: &str, text: &'a str) -> Result<(), DecodeError> {
    match name {
        // The version is the host's business, which clients of other hosts put into the body.
        "model" | "stream" | "messages" | "anthropic_version" => {}
        "system" => messages::system(field(name, text)?, request)?,
        "max_tokens" => request.max_tokens = Some(field(name, text)?),
        "temperature" => request.temperature = Some(field(name, text)?),
        "top_p" => request.top_p = Some(field(name, text)?),
        "top_k" => request.top_k = Some(field(name, text)?),
        "stop_sequences" => request.stop = field(name, text)?,
        "cache_control" => request.cache = Some(field(name, text)?),
        "metadata" => {
            #[derive(Default)]
            struct Metadata<'a> {
                user_id: Option<Str<'a>>,
            }
            fields!(Metadata<'a> { user_id });
            request.user = field::<Metadata<'_>>(name, text)?.user_id;
        }
        "service_tier" => match text {
            r#""auto""# => request.tier = Some(Tier::Auto),
            r#""standard_only""# => request.tier = Some(Tier::Standard),
            _ => left(request, name, text),
        },
        "tools" => field::<Tools<'_>>(name, text)?.into_request(request)?,
        "tool_choice" => tool_choice(request, field(name, text)?)?,
        "thinking" => thinking(request, text)?,
        "output_config" => {
            let fields: Fields<'a> = field(name, text)?;
            for (key, value) in fields.pairs() {
                match key {
                    _ if value == "null" => {}
                    "effort" => match Effort::of(field::<Str<'_>>("output_config.effort", value)?.as_str()) {
                        Some(effort) => request.reasoning.effort = Some(effort),
                        None => left(request, "output_config.effort", value),
                    },
                    "format" => format(request, "output_config.format", value)?,
                    _ => left(request, &format!("output_config.{key}"), value),
                }
            }
        }
        // The spelling before `output_config`, with the beta `structured-outputs-2025-11-13`.
        "output_format" => format(request, name, text)?,
        // A conversation that the API holds, so that only what is new is sent (beta `message-threads-2026-08-12`). Nobody else
        // holds one: to leave the field out would lose all that went before. SDKs send all of it when they are told.
        "thread" if text != "null" => {
            return Err(DecodeError {
                message: "`thread` cannot be converted: only Anthropic holds conversations".to_owned(),
                field: Some(name.to_owned()),
            });
        }
        _ => left(request, name, text),
    }
    Ok(())
}

fn left<'a>(request: &mut Request<'a>, name: &str, text: &'a str) {
    request.rest.push(Rest { name: name.to_owned().into(), value: Json::trusted(text), content: false });
}

fn thinking<'a>(request: &mut Request<'a>, text: &'a str) -> Result<(), DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        r#type: Option<Str<'a>>,
        budget_tokens: Option<u64>,
        display: Option<Str<'a>>,
    }
    fields!(Raw<'a> { r#type = "type", budget_tokens, display });

    let raw: Raw<'_> = field("thinking", text)?;
    let kind = raw.r#type.ok_or_else(|| missing("thinking.type".into(), "`enabled`, `adaptive` or `disabled`"))?;
    request.reasoning.mode = Some(match kind.as_str() {
        "disabled" => Thinking::Off,
        "adaptive" => Thinking::Adaptive,
        "enabled" => {
            Thinking::Budget(raw.budget_tokens.ok_or_else(|| missing("thinking.budget_tokens".into(), "a number"))?)
        }
        _ => {
            left(request, "thinking", text);
            return Ok(());
        }
    });
    request.reasoning.shown = match raw.display.as_deref() {
        Some("omitted") => Some(false),
        Some("summarized") => Some(true),
        _ => None,
    };
    Ok(())
}

fn format<'a>(request: &mut Request<'a>, name: &str, text: &'a str) -> Result<(), DecodeError> {
    #[derive(Default)]
    struct Raw<'a> {
        r#type: Option<Str<'a>>,
        schema: Option<Json<'a>>,
    }
    fields!(Raw<'a> { r#type = "type", schema });

    let raw: Raw<'a> = field(name, text)?;
    if raw.r#type.as_deref() == Some("json_schema") {
        let schema = raw.schema.ok_or_else(|| missing(format!("{name}.schema"), "a JSON schema"))?;
        // The API holds the model to it, so nothing less will do elsewhere.
        request.format = Some(Format::Schema { name: None, description: None, schema, strict: Some(true) });
    } else {
        request.rest.push(Rest { name: name.to_owned().into(), value: Json::trusted(text), content: true });
    }
    Ok(())
}

#[derive(Default)]
struct Choice<'a> {
    r#type: Option<Str<'a>>,
    name: Option<Str<'a>>,
    disable_parallel_tool_use: Option<bool>,
}
fields!(Choice<'a> { r#type = "type", name, disable_parallel_tool_use });

fn tool_choice<'a>(request: &mut Request<'a>, raw: Choice<'a>) -> Result<(), DecodeError> {
    let kind = raw.r#type.ok_or_else(|| missing("tool_choice.type".into(), "`auto`, `any`, `tool` or `none`"))?;
    request.tool_choice = Some(match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(raw.name.ok_or_else(|| missing("tool_choice.name".into(), "the name of a tool"))?),
        other => {
            let message = format!("`tool_choice.type` is `{other}`; it must be `auto`, `any`, `tool` or `none`");
            return Err(DecodeError { message, field: Some("tool_choice.type".into()) });
        }
    });
    // `false` is the default of every upstream; to say it would break those that know no such field.
    if raw.disable_parallel_tool_use == Some(true) {
        request.parallel = Some(false);
    }
    Ok(())
}

#[derive(Default)]
struct RawTool<'a> {
    r#type: Option<Str<'a>>,
    name: Option<Str<'a>>,
    description: Option<Str<'a>>,
    input_schema: Option<Json<'a>>,
    strict: Option<bool>,
    cache_control: Option<Cache>,
    input_examples: Option<IgnoredAny>,
    max_uses: Option<u64>,
    allowed_domains: Option<Vec<Str<'a>>>,
    blocked_domains: Option<Vec<Str<'a>>>,
    user_location: Option<Place<'a>>,
}
fields!(RawTool<'a> {
    r#type = "type", name, description, input_schema, strict, cache_control, input_examples, max_uses, allowed_domains,
    blocked_domains, user_location,
});

/// Tools that the client runs, of which the vendor knows the schema.
const VENDOR: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];

/// `tools`, read.
#[derive(Default)]
struct Tools<'a> {
    list: Vec<Tool<'a>>,
    web_search: Option<WebSearch<'a>>,
    examples: bool,
    /// The index of the first that lacks a name.
    nameless: Option<usize>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Tools<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tools = Tools::default();
        let mut index = 0;
        each(deserializer, |raw| {
            tools.take(raw, index);
            index += 1;
        })?;
        Ok(tools)
    }
}

impl<'a> Tools<'a> {
    fn take(&mut self, raw: RawTool<'a>, index: usize) {
        let kind = match raw.r#type {
            None => ToolKind::Function,
            Some(kind) if kind == "custom" => ToolKind::Function,
            Some(kind) if kind.starts_with("web_search_") => {
                self.web_search = Some(WebSearch {
                    location: raw.user_location.map(Place::fields).unwrap_or_default(),
                    max_uses: raw.max_uses,
                    domains: (raw.allowed_domains.map(|domains| (true, domains)))
                        .or(raw.blocked_domains.map(|domains| (false, domains))),
                });
                return;
            }
            Some(kind) if VENDOR.iter().any(|prefix| kind.starts_with(prefix)) => ToolKind::Vendor(kind),
            Some(kind) => ToolKind::Server(kind),
        };
        let name = match (raw.name, &kind) {
            (Some(name), _) => name,
            (None, ToolKind::Server(kind)) => kind.clone(),
            (None, _) => {
                self.nameless.get_or_insert(index);
                return;
            }
        };
        self.examples |= raw.input_examples.is_some();
        self.list.push(Tool {
            name,
            description: raw.description,
            schema: raw.input_schema.filter(|schema| !schema.is_null()),
            strict: raw.strict,
            cache: raw.cache_control,
            kind,
            at: index,
        });
    }

    fn into_request(self, request: &mut Request<'a>) -> Result<(), DecodeError> {
        if let Some(index) = self.nameless {
            return Err(missing(format!("tools[{index}].name"), "a string"));
        }
        if self.examples {
            left(request, "tools.input_examples", "null");
        }
        request.tools = self.list;
        request.web_search = self.web_search;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use crate::wire::chat::{
        Cache, Effort, Format, Origin, Part, Request, Role, Source, Thinking, Tier, ToolChoice, ToolKind,
    };

    const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    fn with(fields: &str) -> Request<'static> {
        read(&format!("{HI},{fields}")).unwrap()
    }

    fn user(content: &str) -> Vec<Part<'static>> {
        let mut request = read(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).unwrap();
        request.turns.remove(0).parts
    }

    #[test]
    fn settings() {
        let request = with(
            r#""max_tokens":9,"temperature":0.5,"top_p":1,"top_k":3,"stop_sequences":["a","\n"],"metadata":{"user_id":"u"},
               "service_tier":"standard_only","stream":true,"cache_control":{"type":"ephemeral","ttl":"1h"}"#,
        );
        assert_eq!((request.max_tokens, request.temperature), (Some(9), Some(0.5)));
        assert_eq!((request.top_p, request.top_k, request.stop.len()), (Some(1.0), Some(3), 2));
        assert_eq!((request.user.as_deref(), request.tier), (Some("u"), Some(Tier::Standard)));
        assert_eq!((request.stream, request.cache), (true, Some(Cache::Hour)));
        assert!(request.rest.is_empty());
        // `null` is as good as nothing.
        let request = with(r#""temperature":null,"tools":null,"system":null,"thinking":null,"metadata":null"#);
        assert_eq!(request, read(HI).unwrap());
    }

    #[test]
    fn a_conversation_that_only_anthropic_holds_is_refused() {
        for thread in [r#"{"type":"create"}"#, r#"{"type":"continue","previous_message_id":"msg_1"}"#] {
            let error = read(&format!(r#"{HI},"thread":{thread}"#)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("thread"));
        }
        assert_eq!(with(r#""thread":null"#), read(HI).unwrap());
    }

    #[test]
    fn what_has_no_place_is_told_by_its_name() {
        let request = with(
            r#""container":"c","mcp_servers":[],"context_management":{},"service_tier":"new","speed":"fast",
               "output_config":{"effort":"huge","task_budget":{}},"thinking":{"type":"new"},"anthropic_version":"x""#,
        );
        let names: Vec<&str> = request.rest.iter().map(|rest| rest.name.as_str()).collect();
        let want = [
            "container",
            "mcp_servers",
            "context_management",
            "service_tier",
            "speed",
            "output_config.effort",
            "output_config.task_budget",
            "thinking",
        ];
        assert_eq!(names, want);
        assert!(request.rest.iter().all(|rest| !rest.content));
    }

    #[test]
    fn reasoning_and_format() {
        for (fields, mode, effort, shown) in [
            (r#""thinking":{"type":"disabled"}"#, Some(Thinking::Off), None, None),
            (
                r#""thinking":{"type":"enabled","budget_tokens":2000,"display":"omitted"}"#,
                Some(Thinking::Budget(2000)),
                None,
                Some(false),
            ),
            (
                r#""thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"xhigh"}"#,
                Some(Thinking::Adaptive),
                Some(Effort::Xhigh),
                Some(true),
            ),
            (r#""output_config":{"effort":"low"}"#, None, Some(Effort::Low), None),
        ] {
            let reasoning = with(fields).reasoning;
            assert_eq!((reasoning.mode, reasoning.effort, reasoning.shown), (mode, effort, shown), "{fields}");
        }
        for fields in [
            r#""output_config":{"format":{"type":"json_schema","schema":{ "type":"object"}}}"#,
            r#""output_format":{"type":"json_schema","schema":{ "type":"object"}}"#,
        ] {
            let Some(Format::Schema { schema, strict, .. }) = with(fields).format else { panic!("{fields}") };
            assert_eq!((schema.get(), strict), (r#"{ "type":"object"}"#, Some(true)));
        }
    }

    #[test]
    fn w31_w53_tools_and_the_choice_among_them() {
        let request = with(
            r#""tools":[
                {"name":"f","description":"d","input_schema":{ "type":"object"},"strict":true,"cache_control":{"type":"ephemeral"}},
                {"type":"custom","name":"g","input_schema":null,"input_examples":[{}]},
                {"type":"bash_20250124","name":"bash"},
                {"type":"web_search_20250305","name":"web_search","max_uses":3,"blocked_domains":["b"],"user_location":{"type":"approximate","city":"Rom","region":null}},
                {"type":"code_execution_20260120","name":"code_execution"},
                {"type":"mcp_toolset","mcp_server_name":"m"}
            ],"tool_choice":{"type":"any","disable_parallel_tool_use":true}"#,
        );
        let tools: Vec<(&str, &ToolKind<'_>)> =
            request.tools.iter().map(|tool| (tool.name.as_str(), &tool.kind)).collect();
        assert_eq!(
            tools,
            [
                ("f", &ToolKind::Function),
                ("g", &ToolKind::Function),
                ("bash", &ToolKind::Vendor("bash_20250124".into())),
                ("code_execution", &ToolKind::Server("code_execution_20260120".into())),
                ("mcp_toolset", &ToolKind::Server("mcp_toolset".into())),
            ]
        );
        let first = &request.tools[0];
        assert_eq!(first.schema.as_ref().map(crate::wire::text::Json::get), Some(r#"{ "type":"object"}"#));
        assert_eq!((first.strict, first.cache), (Some(true), Some(Cache::Default)));
        assert_eq!(request.tools[1].schema, None);
        let web = request.web_search.unwrap();
        assert_eq!((web.max_uses, web.domains), (Some(3), Some((false, vec!["b".into()]))));
        assert_eq!(web.location, [("city", "Rom".into())]);
        assert_eq!((request.tool_choice, request.parallel), (Some(ToolChoice::Required), Some(false)));
        assert_eq!(request.rest[0].name, "tools.input_examples");
        for (choice, want) in [
            (r#"{"type":"auto","disable_parallel_tool_use":false}"#, ToolChoice::Auto),
            (r#"{"type":"none"}"#, ToolChoice::None),
            (r#"{"type":"tool","name":"f"}"#, ToolChoice::Named("f".into())),
        ] {
            let request = with(&format!(r#""tool_choice":{choice}"#));
            assert_eq!((request.tool_choice, request.parallel), (Some(want), None));
        }
    }

    #[test]
    fn w38_system_texts_keep_their_place() {
        let request = read(
            r#""messages":[
                {"role":"system","content":"first"},
                {"role":"user","content":[{"type":"text","text":"a"},{"type":"mid_conv_system","text":"now"},{"type":"text","text":"b"}]},
                {"role":"system","content":[{"type":"text","text":"mid","cache_control":{"type":"ephemeral"}}]},
                {"role":"assistant","content":"c"}
            ],"system":[{"type":"text","text":"top","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"two"}]"#,
        )
        .unwrap();
        let system: Vec<(&str, Option<Cache>)> =
            request.system.iter().map(|text| (text.text.as_str(), text.cache)).collect();
        assert_eq!(system, [("top", Some(Cache::Hour)), ("two", None), ("first", None)]);
        let turns: Vec<(Role, &str)> = request
            .turns
            .iter()
            .map(|turn| match &turn.parts[0] {
                Part::Text(text) => (turn.role, text.text.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        let (user, system, assistant) = (Role::User, Role::System, Role::Assistant);
        assert_eq!(turns, [(user, "a"), (system, "now"), (user, "b"), (system, "mid"), (assistant, "c")]);
        assert_eq!(with(r#""system":"x""#).system[0].text, "x");
    }

    #[test]
    fn w47_w48_media() {
        const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAA";
        let media = |content: &str| {
            let Some(Part::Media(media)) = user(content).pop() else { panic!("{content}") };
            (media.source, media.name, media.cache)
        };
        let data = |mime: &'static str, data: &'static str| Source::Data { mime: mime.into(), data: data.into() };
        let image = |source: &str| media(&format!(r#"[{{"type":"image","source":{source}}}]"#)).0;
        // The bytes are right where the label is wrong.
        for label in ["image/png", "image/jpeg", "IMAGE/PNG"] {
            let source = format!(r#"{{"type":"base64","media_type":"{label}","data":"{PNG}"}}"#);
            assert_eq!(image(&source), data("image/png", PNG));
        }
        assert_eq!(image(r#"{"type":"base64","media_type":"Image/X","data":"AA\nAA"}"#), data("image/x", "AAAA"));
        let url = |mime| Source::Url { url: "https://h/a".into(), mime };
        assert_eq!(image(r#"{"type":"url","url":"https://h/a"}"#), url(None));
        assert_eq!(image(r#"{"type":"file","file_id":"file_1"}"#), Source::File("file_1".into()));

        let document = |rest: &str| media(&format!(r#"[{{"type":"document",{rest}}}]"#));
        assert_eq!(
            document(
                r#""source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"title":"T","cache_control":{"type":"ephemeral"}"#
            ),
            (data("application/pdf", "JVBERi0x"), Some("T".into()), Some(Cache::Default))
        );
        let text = Source::Text("a\n\nb".into());
        assert_eq!(document(r#""source":{"type":"text","media_type":"text/plain","data":"a\n\nb"}"#).0, text);
        let blocks = r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#;
        assert_eq!(document(&format!(r#""source":{{"type":"content","content":{blocks}}}"#)).0, text);
        assert_eq!(document(r#""source":{"type":"content","content":"a\n\nb"}"#).0, text);
        let mixed = user(&format!(
            r#"[{{"type":"document","title":"T","context":"C","source":{{"type":"content","content":[{{"type":"text","text":"a"}},{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{PNG}"}}}}]}}}}]"#
        ));
        assert!(matches!(mixed.as_slice(), [Part::Text(_), Part::Text(_), Part::Text(_), Part::Media(_)]), "{mixed:?}");
        let cited = read(
            r#""messages":[{"role":"user","content":[{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"a"}}]}]"#,
        )
        .unwrap();
        assert_eq!(cited.rest[0].name, "citations");
    }

    #[test]
    fn w47_results_of_tools() {
        let parts = user(
            r#"[
                {"type":"tool_result","tool_use_id":"fgx_66756e6374696f6e732e663a30"},
                {"type":"tool_result","tool_use_id":"t2","content":"x","is_error":true,"cache_control":{"type":"ephemeral"}},
                {"type":"tool_result","tool_use_id":"t3","content":[{"type":"text","text":"y"},{"type":"image","source":{"type":"url","url":"u"}},
                    {"type":"document","source":{"type":"url","url":"v"}},{"type":"search_result","title":"T","source":"https://s","content":[{"type":"text","text":"z"}]}]}
            ]"#,
        );
        let outcomes: Vec<_> =
            parts.iter().map(|part| if let Part::Outcome(it) = part { it } else { panic!("{part:?}") }).collect();
        assert_eq!(outcomes.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["functions.f:0", "t2", "t3"]);
        assert_eq!((outcomes[0].content.len(), outcomes[0].error), (0, false));
        assert_eq!((outcomes[1].content.len(), outcomes[1].error, outcomes[1].cache), (1, true, Some(Cache::Default)));
        let [Part::Text(_), Part::Media(_), Part::Media(_), Part::Text(found)] = outcomes[2].content.as_slice() else {
            panic!("{outcomes:?}")
        };
        assert_eq!(found.text, "T\nhttps://s\n\nz");
    }

    #[test]
    fn w34_w45_w46_what_the_assistant_said() {
        let mut request = read(
            r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[
                {"type":"thinking","thinking":"a","signature":"s1"},
                {"type":"thinking","thinking":"","signature":"s2"},
                {"type":"thinking","thinking":"b","signature":"fg1:gemini:g"},
                {"type":"thinking","thinking":"c","signature":"fg1:other:"},
                {"type":"thinking","thinking":"d","signature":""},
                {"type":"thinking","thinking":"e","signature":"fg1:new"},
                {"type":"redacted_thinking","data":"r"},
                {"type":"text","text":"t","citations":[{"type":"char_location"}]},
                {"type":"tool_use","id":"t1","name":"f","input":{ "b": 1.0, "a": "x  y" },"caller":{"type":"direct"}},
                {"type":"tool_use","id":"t2","name":"f","input":null},
                {"type":"tool_use","id":"t3","name":"f","input":"{\"c\": 1}"},
                {"type":"tool_use","id":"t4","name":"f","input":[1]},
                {"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1}},
                {"type":"code_execution_tool_result","tool_use_id":"s","content":{"type":"code_execution_result","stdout":"","content":[]}},
                {"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","url":"u","title":"t","encrypted_content":"e"}]},
                {"type":"brand_new"}
            ]}]"#,
        )
        .unwrap();
        let parts = request.turns.remove(1).parts;
        let thoughts: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Thought(it) => {
                    let seal = it.seal.as_ref().map(|seal| (seal.origin, seal.data.as_str()));
                    Some((it.text.as_str(), seal, it.redacted))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            thoughts,
            [
                ("a", Some((Origin::Anthropic, "s1")), false),
                ("", Some((Origin::Anthropic, "s2")), false),
                ("b", Some((Origin::Gemini, "g")), false),
                ("c", Some((Origin::Other, "")), false),
                ("d", None, false),
                ("e", Some((Origin::Other, "fg1:new")), false),
                ("", Some((Origin::Anthropic, "r")), true),
            ]
        );
        let calls: Vec<&str> = parts
            .iter()
            .filter_map(|part| if let Part::Call(it) = part { Some(it.arguments.get()) } else { None })
            .collect();
        assert_eq!(calls, ["{\"b\":1.0,\"a\":\"x  y\"}", "{}", "{\"c\":1}", "{\"_raw\":\"[1]\"}"]);
        let foreign: Vec<(&str, bool)> = parts
            .iter()
            .filter_map(|part| if let Part::Foreign(it) = part { Some((it.kind.as_str(), it.droppable)) } else { None })
            .collect();
        let want = ["server_tool_use", "code_execution_tool_result", "web_search_tool_result", "brand_new"];
        assert_eq!(foreign, want.map(|kind| (kind, true)));
        let upload = user(r#"[{"type":"container_upload","file_id":"f"}]"#);
        assert!(matches!(upload.as_slice(), [Part::Foreign(it)] if !it.droppable));
    }

    #[test]
    fn faults_are_told_with_their_place() {
        for (fields, place) in [
            (r#""messages":[{"content":"x"}]"#, "messages[0].role"),
            (r#""messages":[{"role":"tool","content":"x"}]"#, "messages[0].role"),
            (r#""messages":[{"role":"user"}]"#, "messages[0].content"),
            (r#""messages":[{"role":"user","content":5}]"#, "messages[0].content"),
            (
                r#""messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":5}]}]"#,
                "messages[0].content[1].text",
            ),
            (r#""messages":[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0].text"),
            (r#""messages":[{"role":"user","content":[{"text":"a"}]}]"#, "messages[0].content[0].type"),
            (r#""messages":[{"role":"user","content":[{"type":"image"}]}]"#, "messages[0].content[0].source"),
            (
                r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64"}}]}]"#,
                "messages[0].content[0].source.data",
            ),
            (
                r#""messages":[{"role":"user","content":[{"type":"tool_result"}]}]"#,
                "messages[0].content[0].tool_use_id",
            ),
            (
                r#""messages":[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}]"#,
                "messages[0].content[0].id",
            ),
            (r#""messages":[],"max_tokens":"9""#, "max_tokens"),
            (r#""messages":[],"stop_sequences":"x""#, "stop_sequences"),
            (r#""messages":[],"system":[{"type":"text"}]"#, "system[0].text"),
            (r#""messages":[],"system":{}"#, "system"),
            (r#""messages":[],"tools":[{"input_schema":{}}]"#, "tools[0].name"),
            (r#""messages":[],"tools":[{"name":"f"},{"name":7}]"#, "tools[1].name"),
            (r#""messages":[],"tool_choice":{"type":"tool"}"#, "tool_choice.name"),
            (r#""messages":[],"tool_choice":{"type":"all"}"#, "tool_choice.type"),
            (r#""messages":[],"thinking":{"type":"enabled"}"#, "thinking.budget_tokens"),
            (r#""messages":[],"output_config":{"format":{"type":"json_schema"}}"#, "output_config.format.schema"),
        ] {
            let error = read(fields).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(place), "{fields}: {error}");
            assert!(error.message.contains(place), "{error}");
        }
    }
}
