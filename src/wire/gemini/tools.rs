//! Tools, the choice among them, and the tool that stands for a JSON format where a model cannot have both.

use std::borrow::Cow;
use std::collections::HashSet;

use super::encode::parameters;
use crate::wire::chat::{Format, Request, Tool, ToolChoice, ToolKind};
use crate::wire::ids;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::Profile;
use crate::wire::relay::Undo;
use crate::wire::text::{Json, Writer};

/// The longest name of a function (Gemini API reference, `FunctionDeclaration`, 2026-08).
const LONGEST_NAME: usize = 64;

/// A tool's name as Gemini takes it.
pub(super) fn name(name: &str) -> Cow<'_, str> {
    ids::tool_name(name, LONGEST_NAME)
}

/// What is sent of a request's tools.
#[derive(Debug)]
pub(super) struct Tools<'r> {
    functions: Vec<&'r Tool<'r>>,
    /// The name of the tool that stands for the format, with the format.
    json: Option<(String, &'r Format<'r>)>,
    search: bool,
    code: bool,
    mode: Option<&'static str>,
    allowed: Vec<Cow<'r, str>>,
    /// The format goes into `generationConfig`.
    pub(super) native_format: bool,
    pub(super) undo: Undo,
}

/// Decides what is sent.
pub(super) fn plan<'r>(
    request: &'r Request<'r>,
    profile: &Profile,
    losses: &mut Losses,
) -> Result<Tools<'r>, Unsendable> {
    let mut tools = Tools {
        functions: Vec::new(),
        json: None,
        search: request.web_search.is_some(),
        code: false,
        mode: None,
        allowed: Vec::new(),
        native_format: false,
        undo: Undo::default(),
    };
    tools.sort(request, profile, losses)?;
    tools.choose(request, losses);
    tools.form(request, profile, losses)?;
    tools.mix(request, profile, losses);
    Ok(tools)
}

impl<'r> Tools<'r> {
    fn sort(&mut self, request: &'r Request<'r>, profile: &Profile, losses: &mut Losses) -> Result<(), Unsendable> {
        for tool in &request.tools {
            let index = tool.at;
            match &tool.kind {
                _ if !profile.tools => losses.content(format!("tools[{index}]"), "the model calls no tools")?,
                ToolKind::Function => {
                    if let Cow::Owned(sent) = name(&tool.name) {
                        self.undo.names.push((sent, tool.name.to_string()));
                    }
                    self.functions.push(tool);
                }
                ToolKind::Server(kind) if kind.starts_with("code_execution") => self.code = true,
                ToolKind::Vendor(kind) | ToolKind::Server(kind) => {
                    losses.content(format!("tools[{index}]"), format!("Gemini has no tool like `{kind}`"))?;
                }
            }
        }
        Ok(())
    }

    fn choose(&mut self, request: &'r Request<'r>, losses: &mut Losses) {
        if self.functions.is_empty() {
            // A choice among nothing is refused.
            return;
        }
        if request.parallel == Some(false) {
            losses.setting("parallel_tool_calls", "Gemini has no such setting");
        }
        let strict = self.functions.iter().filter(|tool| tool.strict == Some(true)).count();
        let all_strict = strict == self.functions.len();
        if strict > 0 && !all_strict {
            losses.setting("tools.strict", "Gemini checks the calls of all tools or of none");
        }
        let free = if all_strict { Some("VALIDATED") } else { None };
        self.mode = match &request.tool_choice {
            None => free,
            Some(ToolChoice::Auto) => free.or(Some("AUTO")),
            Some(ToolChoice::None) => Some("NONE"),
            Some(ToolChoice::Required) => Some("ANY"),
            Some(ToolChoice::Named(named)) => {
                self.allowed.push(name(named));
                Some("ANY")
            }
            Some(ToolChoice::Allowed { names, required }) => {
                // A name that nobody declared is refused. Where all are so, the upstream shall say it.
                let known: HashSet<&str> = self.functions.iter().map(|tool| tool.name.as_str()).collect();
                let any = names.iter().any(|allowed| known.contains(allowed.as_str()));
                let kept = names.iter().filter(|allowed| !any || known.contains(allowed.as_str()));
                self.allowed.extend(kept.map(|allowed| name(allowed)));
                Some(if *required { "ANY" } else { "VALIDATED" })
            }
        };
    }

    /// The form of the answer: of its own, or through a tool where the model cannot have both or has none.
    fn form(&mut self, request: &'r Request<'r>, profile: &Profile, losses: &mut Losses) -> Result<(), Unsendable> {
        let Some(format) = &request.format else { return Ok(()) };
        if profile.schemas && (self.functions.is_empty() || profile.schemas_with_tools) {
            self.native_format = true;
            return Ok(());
        }
        if !profile.tools {
            return losses.content("response_format", "the model gives text of any form");
        }
        if self.mode == Some("ANY") {
            losses.setting("response_format", "the model has to call a tool, and cannot be given a form beside that");
            return Ok(());
        }
        let mut stand_in = "json_answer".to_owned();
        while self.functions.iter().any(|tool| tool.name == *stand_in) {
            stand_in.push('_');
        }
        if self.mode == Some("NONE") || !self.allowed.is_empty() {
            self.allowed.push(stand_in.clone().into());
        }
        // Whatever it does next is then a call: of a tool, or of this one, which is the answer.
        self.mode = Some("ANY");
        self.undo.json_tool = Some(stand_in.clone());
        self.json = Some((stand_in, format));
        Ok(())
    }

    /// Gemini 2 refuses its own tools beside functions or a form of the answer; Gemini 3 does not.
    fn mix(&mut self, request: &Request<'_>, profile: &Profile, losses: &mut Losses) {
        let alone = self.functions.is_empty() && request.format.is_none();
        if self.search && !profile.web_search {
            self.search = false;
            losses.setting("web_search", "the model does not search");
        }
        if !alone && !profile.schemas_with_tools {
            let why = "the model cannot use it together with functions or a form of the answer";
            if std::mem::take(&mut self.search) {
                losses.setting("web_search", why);
            }
            if std::mem::take(&mut self.code) {
                losses.setting("tools.code_execution", why);
            }
        }
        if let Some(search) = request.web_search.as_ref().filter(|_| self.search) {
            let said = [
                ("web_search.user_location", !search.location.is_empty()),
                ("web_search.max_uses", search.max_uses.is_some()),
                ("web_search.domains", search.domains.is_some()),
            ];
            for (field, _) in said.into_iter().filter(|(_, said)| *said) {
                losses.setting(field, "Gemini's search has no such setting");
            }
        }
    }

    /// Writes `tools` and `toolConfig`.
    pub(super) fn write(&self, out: &mut Writer, written: &mut Vec<&'static str>) {
        let declares = !self.functions.is_empty() || self.json.is_some();
        if !declares && !self.search && !self.code {
            return;
        }
        written.push("tools");
        out.key("tools").open('[');
        if declares {
            out.open('{').key("functionDeclarations").open('[');
            for tool in &self.functions {
                let description = tool.description.as_deref().unwrap_or_default();
                declare(&name(&tool.name), description, parameters(tool.schema.as_ref()).as_ref(), out);
            }
            if let Some((name, format)) = &self.json {
                declare_json(name, format, out);
            }
            out.close(']').close('}');
        }
        for (wanted, name) in [(self.search, "googleSearch"), (self.code, "codeExecution")] {
            if wanted {
                out.open('{').key(name).open('{').close('}').close('}');
            }
        }
        out.close(']');
        let mixed = declares && (self.search || self.code);
        // Beside its own tools Gemini 3 refuses `AUTO`, which then is the default by another name.
        let mode = self.mode.filter(|mode| !(mixed && *mode == "AUTO"));
        if mode.is_none() && !mixed {
            return;
        }
        written.push("toolConfig");
        out.key("toolConfig").open('{');
        if let Some(mode) = mode {
            out.key("functionCallingConfig").open('{').key("mode").string(mode);
            if !self.allowed.is_empty() {
                out.key("allowedFunctionNames").strings(self.allowed.iter().map(|name| &**name));
            }
            out.close('}');
        }
        if mixed {
            // Without it: 400, "Please enable tool_config.include_server_side_tool_invocations" (2026-08).
            out.key("includeServerSideToolInvocations").plain(true);
        }
        out.close('}');
    }
}

fn declare_json(name: &str, format: &Format<'_>, out: &mut Writer) {
    let mut about = String::from("Gives the final answer: its arguments are the answer, and nothing follows it.");
    let schema = match format {
        Format::Object => None,
        Format::Schema { description, schema, .. } => {
            if let Some(description) = description {
                about.push(' ');
                about.push_str(description);
            }
            parameters(Some(schema))
        }
    };
    let any = Json::trusted(r#"{"type":"object"}"#);
    declare(name, &about, Some(schema.as_ref().unwrap_or(&any)), out);
}

fn declare(name: &str, description: &str, schema: Option<&Json<'_>>, out: &mut Writer) {
    out.open('{').key("name").string(name).key("description").string(description);
    if let Some(schema) = schema {
        // The field for plain JSON Schema: `parameters` is a subset of OpenAPI's and refuses half of what clients send.
        out.key("parametersJsonSchema").raw(schema.get());
    }
    out.close('}');
}
