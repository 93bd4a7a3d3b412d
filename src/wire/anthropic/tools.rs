//! Tools, the choice among them, and the form of the answer, for an upstream.

use std::borrow::Cow;
use std::collections::HashSet;

use super::blocks::Marks;
use super::reason;
use crate::wire::chat::{Format, Part, Request, Tool, ToolChoice, ToolKind};
use crate::wire::ids;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Forced, Profile};
use crate::wire::relay::Undo;
use crate::wire::schema;
use crate::wire::text::{Json, Str, Writer};
use crate::wire::turns::Arranged;

/// The most characters of a tool's name (2026-11).
const LONGEST_NAME: usize = 128;
/// The server tool that searches the web.
const WEB_SEARCH: &str = "web_search";
const WEB_SEARCH_TYPE: &str = "web_search_20250305";

/// What strict tools may have together (API errors, 2026-11).
const STRICT_TOOLS: usize = 20;
const STRICT_OPTIONAL: usize = 24;
const STRICT_UNIONS: usize = 16;

/// What is sent of tools and the answer's form.
pub(super) struct Plan<'r, 'a> {
    request: &'r Request<'a>,
    tools: Vec<Sent<'r, 'a>>,
    /// Tools that only the history knows: without definitions the API refuses their calls.
    history: Vec<&'r str>,
    json_tool: Option<JsonTool<'r>>,
    choice: Option<Choice<'r>>,
    single: bool,
    /// The schema that the API itself holds the answer to.
    pub(super) schema: Option<Json<'r>>,
    /// What the system text has to say, since there is no setting for it.
    pub(super) instruction: Option<String>,
}

struct Sent<'r, 'a> {
    tool: &'r Tool<'a>,
    schema: Json<'r>,
    strict: bool,
}

struct JsonTool<'r> {
    name: String,
    description: &'r str,
    schema: Json<'r>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice<'r> {
    Auto,
    Any,
    None,
    Tool(Cow<'r, str>),
}

/// A tool's name as it is sent. `searching`: the name of the web search is taken.
pub(super) fn sent_name(name: &str, searching: bool) -> Cow<'_, str> {
    if searching && name == WEB_SEARCH {
        return Cow::Borrowed("web_search_of_client");
    }
    ids::tool_name(name, LONGEST_NAME)
}

/// Decides on tools. `runs` is the conversation, for the calls in it.
pub(super) fn plan<'r, 'a>(
    request: &'r Request<'a>,
    profile: &Profile,
    thinking: &reason::Plan,
    runs: &'r [Arranged<'r, 'a>],
    losses: &mut Losses,
) -> Result<Plan<'r, 'a>, Unsendable> {
    let forcing = match profile.forced_tools {
        Forced::Refused => false,
        Forced::NotThinking => !thinking.thinks(),
        Forced::Free => !thinking.budgeted(),
    };
    let mut plan = Plan {
        request,
        tools: sendable(request, profile, forcing, losses)?,
        history: Vec::new(),
        json_tool: None,
        choice: None,
        single: request.parallel == Some(false) && !request.tools.is_empty(),
        schema: None,
        instruction: None,
    };
    if !plan.tools.is_empty() {
        plan.choice = choice(request, forcing, losses);
        if plan.single && plan.choice.is_none() {
            plan.choice = Some(Choice::Auto);
        }
    }
    plan.format(profile, forcing, losses);
    if plan.tools.is_empty() && plan.json_tool.is_none() && request.web_search.is_none() {
        let mut names: Vec<&str> = Vec::new();
        for part in runs.iter().flat_map(|run| &run.parts) {
            if let Part::Call(call) = part.as_ref()
                && !names.contains(&call.name.as_str())
            {
                names.push(&call.name);
                if names.len() == MOST_FROM_HISTORY {
                    break;
                }
            }
        }
        if !names.is_empty() {
            plan.choice = Some(Choice::None);
        }
        plan.history = names;
    }
    Ok(plan)
}

/// So many definitions are made for calls without one: the API wants some, not all.
const MOST_FROM_HISTORY: usize = 128;

/// The tools that go out: those that the choice allows and that this API has.
fn sendable<'r, 'a>(
    request: &'r Request<'a>,
    profile: &Profile,
    forcing: bool,
    losses: &mut Losses,
) -> Result<Vec<Sent<'r, 'a>>, Unsendable> {
    let names: HashSet<&str> = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.iter().map(Str::as_str).collect(),
        _ => HashSet::new(),
    };
    let allowed = |tool: &Tool<'_>| match &request.tool_choice {
        Some(ToolChoice::Allowed { .. }) => names.contains(tool.name.as_str()),
        // What cannot be forced is all that there is.
        Some(ToolChoice::Named(name)) if !forcing && profile.forced_tools == Forced::Refused => tool.name == *name,
        _ => true,
    };
    // A list of names that we do not know allows what it says nothing about.
    let filter = request.tools.iter().any(allowed);
    let (mut strict, mut optional, mut unions) = (0, 0, 0);
    let mut out = Vec::with_capacity(request.tools.len());
    for tool in request.tools.iter().filter(|tool| !filter || allowed(tool)) {
        let index = tool.at;
        match &tool.kind {
            ToolKind::Function => {}
            ToolKind::Vendor(kind) | ToolKind::Server(kind) if ours(kind) => {
                out.push(Sent { tool, schema: Json::trusted("{}"), strict: false });
                continue;
            }
            ToolKind::Vendor(kind) | ToolKind::Server(kind) => {
                losses.content(format!("tools[{index}]"), format!("Anthropic has no tool of type `{kind}`"))?;
                continue;
            }
        }
        let mut sent = Sent { tool, schema: schema::object_root(tool.schema.as_ref()), strict: false };
        if tool.strict == Some(true) {
            let fit = schema::closed(&sent.schema).filter(|closed| {
                profile.schemas
                    && !closed.opened
                    && strict < STRICT_TOOLS
                    && optional + closed.optional <= STRICT_OPTIONAL
                    && unions + closed.unions <= STRICT_UNIONS
            });
            let fit = fit.map(|closed| (closed.schema.detached(), closed.optional, closed.unions));
            match fit {
                Some((schema, more, several)) => {
                    strict += 1;
                    optional += more;
                    unions += several;
                    sent.strict = true;
                    sent.schema = schema;
                }
                None => losses
                    .setting(format!("tools[{index}].strict"), "the schema is beyond what the model can be held to"),
            }
        }
        out.push(sent);
    }
    Ok(out)
}

/// Whether a tool's type is one of Anthropic's: they end with a date, but for one.
fn ours(kind: &str) -> bool {
    let dated =
        kind.rsplit_once('_').is_some_and(|(_, date)| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()));
    dated || kind == "mcp_toolset"
}

fn choice<'r>(request: &'r Request<'_>, forcing: bool, losses: &mut Losses) -> Option<Choice<'r>> {
    let searching = request.web_search.is_some();
    let choice = match request.tool_choice.as_ref()? {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => Choice::Auto,
        ToolChoice::None => Choice::None,
        ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => Choice::Any,
        ToolChoice::Named(name) => Choice::Tool(sent_name(name, searching)),
    };
    if matches!(choice, Choice::Any | Choice::Tool(_)) && !forcing {
        losses.setting("tool_choice", "the model cannot be forced to call a tool here; it may");
        return Some(Choice::Auto);
    }
    Some(choice)
}

impl Plan<'_, '_> {
    fn format(&mut self, profile: &Profile, forcing: bool, losses: &mut Losses) {
        let (description, schema) = match &self.request.format {
            None => return,
            Some(Format::Object) => {
                losses.setting("response_format", "Anthropic has no JSON mode; the model is asked for JSON instead");
                self.instruction =
                    Some("Answer with one JSON object and nothing else: no text around it, no code fence.".to_owned());
                return;
            }
            Some(Format::Schema { description, schema, .. }) => (description, schema),
        };
        if profile.schemas
            && (profile.schemas_with_tools || self.tools.is_empty())
            && let Some(closed) = schema::closed(schema)
        {
            if closed.maps {
                losses.setting("response_format", "objects that take keys of any name take their own keys only");
            }
            self.schema = Some(closed.schema);
            return;
        }
        let mut name = String::from("json_answer");
        while self.request.tools.iter().any(|tool| tool.name == name.as_str()) {
            name.push('_');
        }
        let alone = self.tools.is_empty() || self.choice == Some(Choice::None);
        if alone && forcing {
            self.choice = Some(Choice::Tool(name.clone().into()));
            self.single = true;
        } else {
            if alone {
                self.choice = Some(Choice::Auto);
            }
            self.instruction = Some(format!(
                "Give your final answer by calling the tool `{name}`: its input is the answer. Write no other text."
            ));
        }
        let description = description.as_deref().unwrap_or("The answer, in the form that is asked for.");
        self.json_tool = Some(JsonTool { name, description, schema: schema::object_root(Some(schema)) });
    }

    /// Whether any tools are sent.
    pub(super) fn any(&self) -> bool {
        !self.tools.is_empty()
    }

    /// What the answer has to undo.
    pub(super) fn undo(&self) -> Undo {
        let searching = self.request.web_search.is_some();
        let names = self.tools.iter().map(|sent| &*sent.tool.name).chain(self.history.iter().copied());
        let changed = names.filter_map(|name| match sent_name(name, searching) {
            sent if sent == name => None,
            sent => Some((sent.into_owned(), name.to_owned())),
        });
        Undo { names: changed.collect(), json_tool: self.json_tool.as_ref().map(|tool| tool.name.clone()) }
    }

    /// Writes `tools` and `tool_choice`.
    pub(super) fn write(&self, out: &mut Writer, marks: &mut Marks) {
        let web = self.request.web_search.as_ref();
        if self.tools.is_empty() && self.history.is_empty() && self.json_tool.is_none() && web.is_none() {
            return;
        }
        out.key("tools").open('[');
        for sent in &self.tools {
            self.tool(sent, out, marks);
        }
        for name in &self.history {
            out.open('{').key("name").string(&sent_name(name, web.is_some()));
            out.key("input_schema").raw(r#"{"type":"object"}"#).close('}');
        }
        if let Some(tool) = &self.json_tool {
            out.open('{').key("name").string(&tool.name).key("description").string(tool.description);
            out.key("input_schema").raw(tool.schema.get()).close('}');
        }
        if let Some(web) = web {
            out.open('{').key("type").string(WEB_SEARCH_TYPE).key("name").string(WEB_SEARCH);
            if let Some(most) = web.max_uses {
                out.key("max_uses").plain(most);
            }
            if let Some((only, domains)) = &web.domains {
                let name = if *only { "allowed_domains" } else { "blocked_domains" };
                out.key(name).strings(domains.iter().map(Str::as_str));
            }
            if !web.location.is_empty() {
                out.key("user_location").open('{').key("type").string("approximate");
                for (name, value) in &web.location {
                    out.key(name).string(value);
                }
                out.close('}');
            }
            out.close('}');
        }
        out.close(']');
        self.write_choice(out);
    }

    fn tool(&self, sent: &Sent<'_, '_>, out: &mut Writer, marks: &mut Marks) {
        let name = sent_name(&sent.tool.name, self.request.web_search.is_some());
        out.open('{');
        if let ToolKind::Vendor(kind) | ToolKind::Server(kind) = &sent.tool.kind {
            out.key("type").string(kind).key("name").string(&sent.tool.name);
        } else {
            out.key("name").string(&name);
            if let Some(description) = sent.tool.description.as_deref().filter(|text| !text.is_empty()) {
                out.key("description").string(description);
            }
            out.key("input_schema").raw(sent.schema.get());
            if sent.strict {
                out.key("strict").plain(true);
            }
        }
        marks.write(out, sent.tool.cache);
        out.close('}');
    }

    fn write_choice(&self, out: &mut Writer) {
        let Some(choice) = &self.choice else { return };
        out.key("tool_choice").open('{').key("type");
        match choice {
            Choice::Auto => out.string("auto"),
            Choice::Any => out.string("any"),
            Choice::None => out.string("none"),
            Choice::Tool(name) => out.string("tool").key("name").string(name),
        };
        if self.single && *choice != Choice::None {
            out.key("disable_parallel_tool_use").plain(true);
        }
        out.close('}');
    }

    /// The cache marks of the tools that are sent.
    pub(super) fn marks(&self) -> usize {
        self.tools.iter().filter(|sent| sent.tool.cache.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{newest, older, read, sent, sent_as};
    use super::*;
    use crate::wire::Operation;
    use crate::wire::loss::OnLoss;
    use serde_json::{Value, json};

    fn tool(name: &'static str) -> Tool<'static> {
        Tool {
            name: name.into(),
            description: Some("d".into()),
            schema: Some(Json::trusted(r#"{"type":"object"}"#)),
            strict: None,
            cache: None,
            kind: ToolKind::Function,
            at: 0,
        }
    }

    fn with(tools: Vec<Tool<'static>>, tool_choice: Option<ToolChoice<'static>>) -> Request<'static> {
        Request { tools, tool_choice, ..read(r#""messages":[{"role":"user","content":"hi"}]"#).unwrap() }
    }

    fn names(body: &Value) -> Vec<&str> {
        body["tools"]
            .as_array()
            .map(|list| list.iter().filter_map(|tool| tool["name"].as_str()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn w29_parallel_calls_are_forbidden_within_the_choice() {
        let auto = json!({"type": "auto", "disable_parallel_tool_use": true});
        for (tools, choice, parallel, want) in [
            (vec![tool("f")], None, Some(false), auto.clone()),
            (vec![tool("f")], Some(ToolChoice::Auto), Some(false), auto),
            (
                vec![tool("f")],
                Some(ToolChoice::Required),
                Some(false),
                json!({"type": "any", "disable_parallel_tool_use": true}),
            ),
            (vec![tool("f")], Some(ToolChoice::None), Some(false), json!({"type": "none"})),
            (vec![tool("f")], None, Some(true), Value::Null),
            (vec![tool("f")], None, None, Value::Null),
            (vec![], None, Some(false), Value::Null),
            (vec![], Some(ToolChoice::Required), Some(false), Value::Null),
        ] {
            let got = sent(&Request { parallel, ..with(tools, choice.clone()) }, &newest());
            assert_eq!(got.body["tool_choice"], want, "{choice:?} {parallel:?}");
            assert!(got.losses.is_empty());
        }
    }

    #[test]
    fn w30_a_choice_of_allowed_tools_leaves_only_them() {
        let allowed = |names: &[&'static str], required| {
            Some(ToolChoice::Allowed { names: names.iter().map(|name| (*name).into()).collect(), required })
        };
        for (choice, want, kind) in [
            (allowed(&["g"], false), vec!["g"], "auto"),
            (allowed(&["h", "f"], true), vec!["f", "h"], "any"),
            (allowed(&["nobody"], true), vec!["f", "g", "h"], "any"),
            (allowed(&[], false), vec!["f", "g", "h"], "auto"),
        ] {
            let got = sent(&with(vec![tool("f"), tool("g"), tool("h")], choice), &newest());
            assert_eq!((names(&got.body), got.body["tool_choice"]["type"].as_str()), (want, Some(kind)));
        }
    }

    #[test]
    fn w43_what_cannot_be_forced_is_left_to_the_model() {
        let named = Some(ToolChoice::Named("g".into()));
        let never = Profile { forced_tools: Forced::Refused, ..newest() };
        let budget = read(r#""max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"user","content":"hi"}]"#).unwrap().reasoning;
        let adaptive =
            read(r#""thinking":{"type":"adaptive"},"messages":[{"role":"user","content":"hi"}]"#).unwrap().reasoning;
        let none = with(vec![], None).reasoning;
        let both = vec!["f", "g"];
        for (profile, reasoning, choice, kind, left, told) in [
            (newest(), none, named.clone(), "tool", both.clone(), false),
            (newest(), adaptive, named.clone(), "tool", both.clone(), false),
            (newest(), adaptive, Some(ToolChoice::Required), "any", both.clone(), false),
            (older(), none, named.clone(), "tool", both.clone(), false),
            (older(), budget, named.clone(), "auto", both.clone(), true),
            (older(), budget, Some(ToolChoice::Required), "auto", both.clone(), true),
            (older(), budget, Some(ToolChoice::None), "none", both.clone(), false),
            (never, none, named.clone(), "auto", vec!["g"], true),
            (never, none, Some(ToolChoice::Required), "auto", both.clone(), true),
        ] {
            let request =
                Request { reasoning, max_tokens: Some(9000), ..with(vec![tool("f"), tool("g")], choice.clone()) };
            let got = sent(&request, &profile);
            assert_eq!(got.body["tool_choice"]["type"], kind, "{choice:?}");
            assert_eq!((names(&got.body), got.fields() == ["tool_choice"]), (left, told), "{choice:?}");
        }
    }

    #[test]
    fn w32_w33_schemas_have_an_object_root_and_their_own_order() {
        let schema = |schema: Option<&'static str>| {
            let got = sent(&with(vec![Tool { schema: schema.map(Json::trusted), ..tool("f") }], None), &newest());
            let (_, text) = got.text.split_once(r#""input_schema":"#).unwrap();
            text.split_once("}],\"messages\"").unwrap().0.to_owned()
        };
        assert_eq!(schema(None), r#"{"type":"object","properties":{}}"#);
        assert_eq!(
            schema(Some(r#"{"z":1.0, "type":"object","a":"\u00fc"}"#)),
            r#"{"z":1.0, "type":"object","a":"\u00fc"}"#
        );
        assert_eq!(schema(Some(r#"{"properties":{}}"#)), r#"{"type":"object","properties":{}}"#);
    }

    #[test]
    fn strict_tools_stay_within_the_limits() {
        let strict = |count: usize, properties: &str, profile: &Profile| {
            let names: Vec<String> = (0..count).map(|at| format!("t{at}")).collect();
            let text = format!(r#"{{"type":"object","properties":{{{properties}}},"additionalProperties":false}}"#);
            let tools = names.iter().enumerate().map(|(at, name)| Tool {
                name: name.as_str().into(),
                schema: Some(Json::trusted(text.as_str())),
                strict: Some(true),
                at,
                ..tool("t")
            });
            let request = Request { tools: tools.collect(), ..with(vec![], None) };
            let got = sent(&request, profile);
            let kept = got.body["tools"].as_array().unwrap().iter().filter(|tool| tool["strict"] == true).count();
            assert_eq!(kept + got.losses.len(), count);
            kept
        };
        assert_eq!(strict(22, "", &newest()), 20);
        assert_eq!(strict(9, r#""a":{},"b":{},"c":{}"#, &newest()), 8);
        assert_eq!(strict(9, r#""a":{"type":["string","null"]},"b":{"anyOf":[]}"#, &newest()), 8);
        assert_eq!(strict(1, r#""a":{"type":"object"}"#, &newest()), 0);
        assert_eq!(strict(1, r#""a":true"#, &newest()), 0);
        assert_eq!(strict(1, "", &older()), 0);
        // Constraints that the compiler does not know do not cost the strictness.
        assert_eq!(strict(1, r#""a":{"type":"number","minimum":2}"#, &newest()), 1);
    }

    #[test]
    fn names_that_the_api_refuses_are_changed_everywhere_and_back() {
        let long: &'static str = Box::leak(format!("mcp.{}", "x".repeat(200)).into_boxed_str());
        let mut request = with(vec![tool(long), tool("ok")], Some(ToolChoice::Named(long.into())));
        let fields = format!(
            r#""messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"{long}","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t"}}]}}]"#
        );
        request.turns = read(&fields).unwrap().turns;
        let got = sent(&request, &newest());
        let name = got.body["tools"][0]["name"].as_str().unwrap();
        assert!(name.len() <= 128 && name != long);
        assert_eq!(got.body["tool_choice"]["name"], name);
        assert_eq!(got.body["messages"][1]["content"][0]["name"], name);
        assert_eq!(got.encoded.undo.names, [(name.to_owned(), long.to_owned())]);
    }

    #[test]
    fn calls_in_the_history_have_definitions() {
        let fields = r#""messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"g","input":{}},{"type":"tool_use","id":"c","name":"f","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"a"},{"type":"tool_result","tool_use_id":"b"},{"type":"tool_result","tool_use_id":"c"}]}]"#;
        let got = sent(&read(fields).unwrap(), &newest());
        let want = json!([{"name": "f", "input_schema": {"type": "object"}}, {"name": "g", "input_schema": {"type": "object"}}]);
        assert_eq!((&got.body["tools"], &got.body["tool_choice"]), (&want, &json!({"type": "none"})));
        let other = sent(&Request { tools: vec![tool("h")], ..read(fields).unwrap() }, &newest());
        assert_eq!(names(&other.body), ["h"]);
    }

    #[test]
    fn w53_tools_of_the_api_pass_and_those_of_others_do_not() {
        let kinds = [
            ToolKind::Vendor("bash_20250124".into()),
            ToolKind::Server("code_execution_20260120".into()),
            ToolKind::Server("mcp_toolset".into()),
        ];
        for kind in kinds {
            let (ToolKind::Vendor(word) | ToolKind::Server(word)) = &kind else { panic!() };
            let want = json!([{"type": word.as_str(), "name": "f"}]);
            assert_eq!(
                sent(&with(vec![Tool { kind: kind.clone(), ..tool("f") }], None), &newest()).body["tools"],
                want
            );
        }
        let other =
            with(vec![Tool { kind: ToolKind::Server("code_interpreter".into()), ..tool("x") }, tool("f")], None);
        let run = |policy| sent_as(&other, &newest(), Operation::Generate, policy);
        assert_eq!(run(OnLoss::Report).err().map(|error| error.field).as_deref(), Some("tools[0]"));
        assert_eq!(names(&run(OnLoss::Lenient).unwrap().body), ["f"]);
    }
}
