//! A request for an upstream, written: everything but the messages, which [`compose`] writes.

use std::borrow::Cow;
use std::collections::HashSet;

use super::compose::{self, LONGEST_NAME};
use super::strict;
use crate::wire::Operation;
use crate::wire::chat::{Format, Reasoning, Request, Thinking, Tier, Tool, ToolChoice, ToolKind};
use crate::wire::convert::{Encoded, Upstream};
use crate::wire::ids;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Forced, Profile};
use crate::wire::relay::Undo;
use crate::wire::text::{Str as Text, Writer};

/// Writes a request. The wire has no way to count tokens, so the operation makes no difference.
pub(super) fn encode(
    request: &Request<'_>,
    to: &Upstream<'_>,
    _operation: Operation,
    losses: &mut Losses,
) -> Result<Encoded, Unsendable> {
    let mut form = Form {
        request,
        profile: to.profile,
        reasoning: request.reasoning,
        out: Writer::with_capacity(4096),
        losses,
        undo: Undo::default(),
    };
    form.settle_reasoning();
    form.out.open('{').key("model").string(to.model);
    form.out.key("messages");
    let instruction = form.instruction();
    compose::messages(&mut form.out, request, instruction.as_deref(), to, form.losses)?;
    form.tools()?;
    form.format();
    form.reasoning();
    form.limit();
    form.sampling()?;
    form.rest()?;
    for (name, value) in &request.native {
        form.out.foreign_key(name).raw(value.get());
    }
    form.out.close('}');
    Ok(Encoded { body: form.out.into_bytes(), undo: form.undo, betas: Vec::new() })
}

/// A request on its way out.
pub(super) struct Form<'r, 'a, 'l> {
    pub(super) request: &'r Request<'a>,
    pub(super) profile: &'r Profile,
    /// What is asked for, as far as the model does it in such a request.
    pub(super) reasoning: Reasoning,
    pub(super) out: Writer,
    pub(super) losses: &'l mut Losses,
    undo: Undo,
}

impl Form<'_, '_, '_> {
    /// Whether there are tools that the client runs.
    fn has_functions(&self) -> bool {
        self.profile.tools && self.request.tools.iter().any(|tool| tool.kind == ToolKind::Function)
    }

    /// Some models take functions or reason, in one request.
    fn settle_reasoning(&mut self) {
        let profile = self.profile;
        if profile.reasons_with_tools || !profile.reasoning(&self.reasoning) || !self.has_functions() {
            return;
        }
        if self.reasoning.wanted() {
            let why = "the upstream's chat completions do not let the model reason in a request with tools";
            self.losses.setting("reasoning_effort", why);
        }
        self.reasoning = Reasoning { mode: Some(Thinking::Off), ..Reasoning::default() };
    }

    /// Whether the model takes the form that is asked for.
    fn takes_schema(&self) -> bool {
        self.profile.schemas && (self.profile.schemas_with_tools || !self.has_functions())
    }

    /// Begins a field, unless the operator writes it.
    pub(super) fn field(&mut self, name: &str) -> Option<&mut Writer> {
        if self.request.native.iter().any(|(native, _)| *native == name) {
            return None;
        }
        Some(self.out.key(name))
    }

    fn tools(&mut self) -> Result<(), Unsendable> {
        if !self.profile.tools && !self.request.tools.is_empty() {
            return self.losses.content("tools", "the model calls no tools");
        }
        let mut choice = self.request.tool_choice.as_ref();
        let forced = matches!(
            choice,
            Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
        );
        let refused = match self.profile.forced_tools {
            Forced::Free => false,
            Forced::NotThinking => self.profile.reasoning(&self.reasoning),
            Forced::Refused => true,
        };
        // Where a choice cannot be forced, the tools that may be called are all that is left of it.
        let only = match choice {
            Some(ToolChoice::Named(name)) if refused => Some(std::slice::from_ref(name)),
            Some(ToolChoice::Allowed { names, .. }) if refused || !self.profile.openai => Some(names.as_slice()),
            _ => None,
        };
        let only: Option<HashSet<&str>> = only.map(|names| names.iter().map(Text::as_str).collect());
        if forced && refused {
            self.losses.setting("tool_choice", "the model cannot be forced to call a tool");
            choice = Some(&ToolChoice::Auto);
        }
        let mut any = false;
        for tool in &self.request.tools {
            let index = tool.at;
            if let ToolKind::Vendor(kind) | ToolKind::Server(kind) = &tool.kind {
                let why = format!("OpenAI's chat completions know no tool of type `{kind}`");
                self.losses.content(format!("tools[{index}]"), why)?;
                continue;
            }
            if only.as_ref().is_some_and(|names| !names.contains(tool.name.as_str())) {
                continue;
            }
            if !any && self.field("tools").map(|out| out.open('[')).is_none() {
                return Ok(());
            }
            any = true;
            self.tool(tool);
        }
        if !any {
            return Ok(());
        }
        self.out.close(']');
        if let Some(choice) = choice {
            self.choice(choice);
        }
        match self.request.parallel {
            Some(false) if !self.profile.parallel => {
                self.losses.setting("parallel_tool_calls", "the model cannot be told how many tools to call at once");
            }
            Some(parallel) if self.profile.parallel => {
                if let Some(out) = self.field("parallel_tool_calls") {
                    out.plain(parallel);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tool(&mut self, tool: &Tool<'_>) {
        let name = ids::tool_name(&tool.name, LONGEST_NAME);
        if let Cow::Owned(sent) = &name {
            self.undo.names.push((sent.clone(), tool.name.as_str().to_owned()));
        }
        let out = self.out.open('{').key("type").string("function").key("function").open('{');
        out.key("name").string(&name);
        if let Some(description) = &tool.description {
            out.key("description").string(description);
        }
        let schema = tool.schema.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |schema| schema.get());
        out.key("parameters").raw(schema);
        if tool.strict == Some(true) {
            if tool.schema.as_ref().is_some_and(strict::fits) {
                out.key("strict").plain(true);
            } else {
                let why = "OpenAI takes only schemas whose objects are closed and require all their properties";
                self.losses.setting(format!("tools[{}].strict", tool.at), why);
            }
        }
        self.out.close('}').close('}');
    }

    fn choice(&mut self, choice: &ToolChoice<'_>) {
        let required = if self.profile.mistral { "any" } else { "required" };
        let openai = self.profile.openai;
        let Some(out) = self.field("tool_choice") else { return };
        let named = |out: &mut Writer, name: &Text<'_>| {
            out.open('{').key("type").string("function").key("function").open('{');
            out.key("name").string(&ids::tool_name(name, LONGEST_NAME)).close('}').close('}');
        };
        match choice {
            ToolChoice::Auto => {
                out.string("auto");
            }
            ToolChoice::None => {
                out.string("none");
            }
            ToolChoice::Required => {
                out.string(required);
            }
            ToolChoice::Named(name) => named(out, name),
            ToolChoice::Allowed { names, required: must } if openai => {
                out.open('{').key("type").string("allowed_tools").key("allowed_tools").open('{');
                out.key("mode").string(if *must { "required" } else { "auto" }).key("tools").open('[');
                for name in names {
                    named(out, name);
                }
                out.close(']').close('}').close('}');
            }
            ToolChoice::Allowed { required: must, .. } => {
                out.string(if *must { required } else { "auto" });
            }
        }
    }

    /// What stands for a schema that the model does not take.
    fn instruction(&self) -> Option<String> {
        match &self.request.format {
            Some(Format::Schema { schema, .. }) if !self.takes_schema() => {
                Some(format!("Answer with one JSON object that follows this JSON schema:\n{}", schema.get()))
            }
            _ => None,
        }
    }

    fn format(&mut self) {
        let Some(format) = &self.request.format else { return };
        let schemas = self.takes_schema();
        if let Format::Schema { .. } = format
            && !schemas
        {
            self.losses.setting("response_format", "the model is only told the schema; it may not follow it");
            if self.profile.schemas {
                // With tools it takes no form at all.
                return;
            }
        }
        let mut loose = false;
        let Some(out) = self.field("response_format") else { return };
        match format {
            Format::Schema { name, description, schema, strict } if schemas => {
                out.open('{').key("type").string("json_schema").key("json_schema").open('{');
                out.key("name").string(name.as_deref().unwrap_or("response"));
                if let Some(description) = description {
                    out.key("description").string(description);
                }
                out.key("schema").raw(schema.get());
                if *strict != Some(false) {
                    loose = !strict::fits(schema);
                    out.key("strict").plain(!loose);
                }
                out.close('}').close('}');
            }
            Format::Object | Format::Schema { .. } => {
                out.raw(r#"{"type":"json_object"}"#);
            }
        }
        if loose {
            let why =
                "OpenAI follows a schema strictly only if its objects are closed and require all their properties";
            self.losses.setting("response_format", why);
        }
    }

    fn rest(&mut self) -> Result<(), Unsendable> {
        let (request, profile) = (self.request, self.profile);
        self.user();
        self.tier();
        self.web_search();
        if request.stream {
            self.out.key("stream").plain(true);
            if profile.stream_options
                && let Some(out) = self.field("stream_options")
            {
                out.raw(r#"{"include_usage":true}"#);
            }
        }
        self.losses.rest(&request.rest, "OpenAI's chat completions have no such field")
    }

    fn user(&mut self) {
        let Some(user) = &self.request.user else { return };
        if self.profile.mistral {
            self.losses.setting("user", "the upstream has no such field");
            return;
        }
        // OpenAI takes 64 characters, and agents send more; what counts is that it stays the same.
        let name = if self.profile.openai { "safety_identifier" } else { "user" };
        let short = if user.chars().count() > 64 { ids::tool_name(user, 64) } else { user.as_str().into() };
        if let Some(out) = self.field(name) {
            out.string(&short);
        }
    }

    fn tier(&mut self) {
        let Some(tier) = self.request.tier else { return };
        if !self.profile.openai {
            if tier != Tier::Auto {
                self.losses.setting("service_tier", "the upstream has no such setting");
            }
            return;
        }
        if let Some(out) = self.field("service_tier") {
            out.string(match tier {
                Tier::Auto => "auto",
                Tier::Standard => "default",
                Tier::Flex => "flex",
                Tier::Priority => "priority",
            });
        }
    }

    fn web_search(&mut self) {
        let Some(search) = &self.request.web_search else { return };
        if !self.profile.web_search {
            self.losses.setting("web_search", "the model does not search the web");
            return;
        }
        if search.max_uses.is_some() {
            self.losses.setting("web_search.max_uses", "the upstream searches as often as it likes");
        }
        if let Some((only, _)) = &search.domains {
            let name = if *only { "web_search.allowed_domains" } else { "web_search.blocked_domains" };
            self.losses.setting(name, "the upstream searches everywhere");
        }
        let Some(out) = self.field("web_search_options") else { return };
        out.open('{');
        if !search.location.is_empty() {
            out.key("user_location").open('{').key("type").string("approximate").key("approximate").open('{');
            for (field, value) in &search.location {
                out.key(field).string(value);
            }
            out.close('}').close('}');
        }
        out.close('}');
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::wire::chat::Effort;
    use crate::wire::profile::{Control, Forced, Ids, Limit, Profile, Reads, Reasons, Sampling, SystemRole};
    use crate::wire::{OnLoss, Operation, Target, Wire, peek, prepare};

    /// One that takes everything and does not reason.
    fn free() -> Profile {
        Profile {
            max_output: None,
            thinking: Control::None,
            efforts: &[],
            reasons: Reasons::Never,
            reasons_with_tools: true,
            sampling: Sampling::Free,
            web_search: true,
            cache_marks: false,
            reads: Reads { images: true, documents: true, audio: true, video: false },
            ..Profile::find(Wire::OpenAiChat, "openai", "gpt-4.1")
        }
    }

    fn reasoning() -> Profile {
        Profile {
            thinking: Control::Level,
            efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh],
            thinking_off: true,
            reasons: Reasons::UnlessOff,
            sampling: Sampling::NotThinking,
            limit: Limit::MaxCompletionTokens,
            ..free()
        }
    }

    fn compatible() -> Profile {
        Profile { openai: false, limit: Limit::MaxTokens, top_k: true, ..free() }
    }

    fn try_sent(fields: &str, profile: &Profile, on_loss: OnLoss) -> Result<(String, Vec<String>), String> {
        let messages =
            if fields.contains("\"messages\"") { "" } else { r#","messages":[{"role":"user","content":"hi"}]"# };
        let limit = if fields.contains("\"max_tokens\"") { "" } else { r#","max_tokens":99"# };
        let comma = if fields.is_empty() { "" } else { "," };
        let body = Bytes::from(format!(r#"{{"model":"m"{messages}{limit}{comma}{fields}}}"#));
        let envelope = peek(Wire::AnthropicMessages, &body).unwrap();
        let native = [("mirostat".to_owned(), "2".to_owned())];
        let to = Target {
            wire: Wire::OpenAiChat,
            model: "up",
            profile,
            drop: &[],
            defaults: if fields.contains("native") { &native } else { &[] },
            ask_usage: false,
            answer_as: None,
            on_loss,
        };
        let prepared =
            prepare(&envelope, &body, Operation::Generate, &to).map_err(|error| format!("{body:?}: {error}"))?;
        let losses = prepared.losses.iter().map(|loss| loss.field.to_string()).collect();
        let sent = String::from_utf8(prepared.body.to_vec()).unwrap();
        // Every request is JSON without a field twice.
        peek(Wire::OpenAiChat, sent.as_bytes()).unwrap_or_else(|error| panic!("{error}: {sent}"));
        Ok((sent, losses))
    }

    fn sent(fields: &str, profile: &Profile) -> (String, Vec<String>) {
        try_sent(fields, profile, OnLoss::Report).unwrap()
    }

    /// Each row: fields of the client, a text of the upstream's request, and what is reported.
    fn check(profile: &Profile, rows: &[(&str, &str, &[&str])]) {
        for (fields, want, losses) in rows {
            let (body, reported) = sent(fields, profile);
            match want.strip_prefix('!') {
                Some(absent) => assert!(!body.contains(absent), "{fields}\n{body}\nhas {absent}"),
                None => assert!(body.contains(want), "{fields}\n{body}\nlacks {want}"),
            }
            assert_eq!(reported, *losses, "{fields}");
        }
    }

    const PNG: &str = "iVBORw0KGgo=";

    #[test]
    fn messages_of_every_kind() {
        check(
            &free(),
            &[
                (
                    r#""system":"s""#,
                    r#""messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]"#,
                    &[],
                ),
                (
                    r#""system":[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#,
                    r#"{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":"a"},{"role":"system","content":"now"},{"role":"user","content":"b"}]"#,
                    r#"[{"role":"user","content":"a"},{"role":"system","content":"now"},{"role":"user","content":"b"}]"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"iVBORw0KGgo="}},{"type":"image","source":{"type":"url","url":"https://h/a.png"}}]}]"#,
                    r#"[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}},{"type":"image_url","image_url":{"url":"https://h/a.png"}}]"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":[{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLjQ="}}]}]"#,
                    r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjQ="}}"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"words"}}]}]"#,
                    r#"[{"role":"user","content":"words"}]"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]},{"role":"user","content":"d"}]"#,
                    r#"{"role":"assistant","content":"bc"}"#,
                    &[],
                ),
                (
                    r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#,
                    r#"{"role":"assistant","content":"b"}]"#,
                    &["messages"],
                ),
            ],
        );
        // What is no base64 must not end the string.
        let (body, _) = sent(
            r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/\"","data":"\",\"a"}}]}]"#,
            &free(),
        );
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok(), "{body}");
        let user = Profile { system_role: SystemRole::User, ..free() };
        check(&user, &[(r#""system":"s""#, r#"[{"role":"user","content":"s"},{"role":"user","content":"hi"}]"#, &[])]);
        // Servers that know strings only.
        check(
            &compatible(),
            &[(
                r#""system":[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#,
                r#"{"role":"system","content":"a\n\nb"}"#,
                &[],
            )],
        );
    }

    /// A user's turn behind two calls.
    fn results(content: &str) -> String {
        format!(
            r#""messages":[{{"role":"user","content":"go"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"t","signature":"s"}},{{"type":"text","text":"ok"}},{{"type":"tool_use","id":"toolu_1","name":"f","input":{{"b": 1.0,"a":"ü"}}}},{{"type":"tool_use","id":"toolu_2","name":"g","input":{{}}}}]}},{{"role":"user","content":[{content}]}}]"#
        )
    }

    #[test]
    fn w35_w36_w47_calls_and_results() {
        let calls = r#"{"role":"assistant","content":"ok","tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"f","arguments":"{\"b\":1.0,\"a\":\"ü\"}"}},{"id":"toolu_2","type":"function","function":{"name":"g","arguments":"{}"}}]}"#;
        let one = r#"{"type":"tool_result","tool_use_id":"toolu_1","content":"r1"}"#;
        let two = r#"{"type":"tool_result","tool_use_id":"toolu_2","content":"r2"}"#;
        let tool = |id: &str, text: &str| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"{text}"}}"#);
        for (content, want) in [
            // The calls' order, and before what the user says.
            (
                format!(r#"{{"type":"text","text":"and"}},{two},{one}"#),
                format!(r#"{},{},{{"role":"user","content":"and"}}]"#, tool("toolu_1", "r1"), tool("toolu_2", "r2")),
            ),
            // W31: failures are told in words.
            (
                r#"{"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":"no"},{"type":"tool_result","tool_use_id":"toolu_2","is_error":true,"content":"Error: no"}"#.to_owned(),
                format!("{},{}]", tool("toolu_1", "Error: no"), tool("toolu_2", "Error: no")),
            ),
            (
                r#"{"type":"tool_result","tool_use_id":"toolu_1"},{"type":"tool_result","tool_use_id":"toolu_2","is_error":true}"#.into(),
                format!("{},{}]", tool("toolu_1", ""), tool("toolu_2", "Error")),
            ),
            // Images wait until all results are there.
            (
                format!(
                    r#"{{"type":"tool_result","tool_use_id":"toolu_1","content":[{{"type":"text","text":"see"}},{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{PNG}"}}}}]}},{two}"#
                ),
                format!(
                    r#"{{"role":"tool","tool_call_id":"toolu_1","content":[{{"type":"text","text":"see"}},{{"type":"text","text":"(see the user message below)"}}]}},{},{{"role":"user","content":[{{"type":"text","text":"From the result of tool call toolu_1:"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{PNG}"}}}}]}}]"#,
                    tool("toolu_2", "r2")
                ),
            ),
            // A result without its call is what it holds; a second one is none.
            (
                format!(r#"{one},{one},{two},{{"type":"tool_result","tool_use_id":"toolu_9","content":"lost"}}"#),
                format!(r#"{},{},{{"role":"user","content":"lost"}}]"#, tool("toolu_1", "r1"), tool("toolu_2", "r2")),
            ),
        ] {
            let (body, losses) = sent(&results(&content), &free());
            assert!(body.contains(&format!("{calls},{want}")), "{body}\nlacks {want}");
            assert!(losses.is_empty(), "{losses:?}");
        }
    }

    #[test]
    fn w75_ids_and_names_that_the_upstream_takes() {
        let long = "n".repeat(80);
        let fields = format!(
            r#""tools":[{{"name":"{long}","input_schema":{{"type":"object"}}}}],"tool_choice":{{"type":"tool","name":"{long}"}},"messages":[{{"role":"user","content":"go"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"{long}","name":"{long}","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{long}","content":"r"}}]}}]"#
        );
        for (profile, length) in [(free(), 29), (Profile { ids: Ids::Nine, mistral: true, ..compatible() }, 9)] {
            let (body, _) = sent(&fields, &profile);
            let after = |mark: &str| {
                let (_, rest) = body.split_once(mark).unwrap_or_else(|| panic!("{body}"));
                rest.split('"').next().unwrap().to_owned()
            };
            assert_eq!(after(r#""tool_calls":[{"id":""#), after(r#""tool_call_id":""#));
            assert_eq!(after(r#""tool_call_id":""#).len(), length, "{body}");
            let name = after(r#""function":{"name":""#);
            assert!(name.len() <= 64 && body.matches(&name).count() == 3, "{body}");
        }
    }

    #[test]
    fn w28_w31_w40_settings() {
        check(
            &free(),
            &[
                ("", r#""max_tokens":99"#, &[]),
                (r#""temperature":0.5,"top_p":0.9"#, r#""temperature":0.5,"top_p":0.9"#, &[]),
                (r#""top_k":5"#, "!top_k", &["top_k"]),
                (r#""stop_sequences":["a"," "]"#, r#""stop":["a"," "]"#, &[]),
                (r#""metadata":{"user_id":"u"}"#, r#""safety_identifier":"u""#, &[]),
                (r#""service_tier":"standard_only""#, r#""service_tier":"default""#, &[]),
                (r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#, &[]),
                (
                    r#""thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":5000"#,
                    "!reasoning_effort",
                    &["thinking"],
                ),
                (r#""thinking":{"type":"disabled"}"#, "!reasoning_effort", &[]),
                (r#""container":"c""#, "!container", &["container"]),
                (
                    r#""tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3,"user_location":{"type":"approximate","city":"Bern"}}]"#,
                    r#""web_search_options":{"user_location":{"type":"approximate","approximate":{"city":"Bern"}}}"#,
                    &["web_search.max_uses"],
                ),
            ],
        );
        check(
            &compatible(),
            &[
                (r#""top_k":5"#, r#""top_k":5"#, &[]),
                (r#""metadata":{"user_id":"u"}"#, r#""user":"u""#, &[]),
                (r#""system":"native""#, r#""mirostat":2"#, &[]),
            ],
        );
        let mistral = Profile { mistral: true, stream_options: false, top_k: false, ..compatible() };
        check(
            &mistral,
            &[
                (r#""stream":true"#, "!stream_options", &[]),
                (r#""top_k":5"#, "!top_k", &["top_k"]),
                (r#""metadata":{"user_id":"u"}"#, "!\"u\"", &["metadata.user_id"]),
            ],
        );
        let small = Profile { known: true, max_output: Some(50), web_search: false, ..free() };
        check(
            &small,
            &[
                ("", r#""max_tokens":50"#, &["max_tokens"]),
                (
                    r#""max_tokens":9,"tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
                    "!web_search",
                    &["tools.web_search"],
                ),
            ],
        );
        let user = "u".repeat(65);
        let (body, _) = sent(&format!(r#""metadata":{{"user_id":"{user}"}}"#), &free());
        let (_, id) = body.split_once(r#""safety_identifier":""#).unwrap();
        assert!(id.split('"').next().unwrap().len() <= 64, "{body}");
    }

    #[test]
    fn w41_reasoning_in_the_words_of_the_upstream() {
        let budget =
            |tokens: u32| format!(r#""max_tokens":40000,"thinking":{{"type":"enabled","budget_tokens":{tokens}}}"#);
        let effort = |word: &str| format!(r#""thinking":{{"type":"adaptive"}},"output_config":{{"effort":"{word}"}}"#);
        let off = r#""thinking":{"type":"disabled"}"#.to_owned();
        for (fields, want) in [
            (budget(1024), Some("low")),
            (budget(4096), Some("medium")),
            (budget(10_000), Some("high")),
            (budget(32_000), Some("xhigh")),
            (effort("medium"), Some("medium")),
            (effort("max"), Some("xhigh")),
            (r#""thinking":{"type":"adaptive"}"#.to_owned(), None),
            (off.clone(), Some("none")),
            (String::new(), None),
        ] {
            let (body, losses) = sent(&fields, &reasoning());
            let got = body.split_once(r#""reasoning_effort":""#).map(|(_, rest)| rest.split('"').next().unwrap());
            assert_eq!((got, losses.len()), (want, 0), "{fields}");
        }
        let always = Profile { thinking_off: false, reasons: Reasons::Always, ..reasoning() };
        check(&always, &[(&off, r#""reasoning_effort":"low""#, &["thinking"])]);
        let asked = Profile { reasons: Reasons::WhenAsked, ..reasoning() };
        check(&asked, &[(&off, "!reasoning_effort", &[]), (r#""temperature":0.5"#, r#""temperature":0.5"#, &[])]);
        // Sampling goes with reasoning only where the model says so.
        check(
            &reasoning(),
            &[
                (r#""temperature":0.5"#, "!temperature", &["temperature"]),
                (r#""temperature":0.5,"thinking":{"type":"disabled"}"#, r#""temperature":0.5"#, &[]),
            ],
        );
        let switched = Profile { thinking: Control::Adaptive, efforts: &[], ..compatible() };
        check(
            &Profile { thinking_off: true, ..switched },
            &[
                (&off, r#""thinking":{"type":"disabled"}"#, &[]),
                (r#""thinking":{"type":"adaptive"}"#, r#""thinking":{"type":"enabled"}"#, &[]),
            ],
        );
        let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
        let either = Profile { reasons_with_tools: false, ..reasoning() };
        check(
            &either,
            &[
                (tools, r#""reasoning_effort":"none""#, &[]),
                (
                    &format!(r#"{tools},"thinking":{{"type":"adaptive"}}"#),
                    r#""reasoning_effort":"none""#,
                    &["thinking"],
                ),
                (&format!(r#"{tools},"temperature":0.5"#), r#""temperature":0.5"#, &[]),
            ],
        );
    }

    #[test]
    fn w29_w30_w53_tools() {
        let tools = r#""tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{"z":{"type":"number"},"a":{}}}},{"name":"g","input_schema":{"type":"object","properties":{},"additionalProperties":false},"strict":true}]"#;
        let with = |rest: &str| format!("{tools},{rest}");
        check(
            &free(),
            &[
                (
                    tools,
                    r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"z":{"type":"number"},"a":{}}}}},{"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{},"additionalProperties":false},"strict":true}}]"#,
                    &[],
                ),
                (&with(r#""tool_choice":{"type":"auto"}"#), r#""tool_choice":"auto""#, &[]),
                (&with(r#""tool_choice":{"type":"any"}"#), r#""tool_choice":"required""#, &[]),
                (&with(r#""tool_choice":{"type":"none"}"#), r#""tool_choice":"none""#, &[]),
                (
                    &with(r#""tool_choice":{"type":"tool","name":"f"}"#),
                    r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
                    &[],
                ),
                (
                    &with(r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#),
                    r#""tool_choice":"auto","parallel_tool_calls":false"#,
                    &[],
                ),
                (r#""tools":[],"tool_choice":{"type":"any"}"#, "!tool", &[]),
                (
                    r#""tools":[{"name":"f","strict":true,"input_schema":{"type":"object","properties":{"a":{}}}}]"#,
                    "!strict",
                    &["tools[0].strict"],
                ),
            ],
        );
        check(
            &Profile { mistral: true, ..compatible() },
            &[(&with(r#""tool_choice":{"type":"any"}"#), r#""tool_choice":"any""#, &[])],
        );
        check(
            &Profile { parallel: false, ..free() },
            &[(
                &with(r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#),
                "!parallel",
                &["tool_choice.disable_parallel_tool_use"],
            )],
        );
        // Where a tool cannot be forced, the others are left out.
        check(
            &Profile { forced_tools: Forced::Refused, ..free() },
            &[
                (&with(r#""tool_choice":{"type":"tool","name":"f"}"#), "!\"name\":\"g\"", &["tool_choice"]),
                (&with(r#""tool_choice":{"type":"any"}"#), r#""tool_choice":"auto""#, &["tool_choice"]),
            ],
        );
    }

    #[test]
    fn w43_forms_of_the_answer() {
        let closed = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"],"additionalProperties":false}}}"#;
        let loose = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"x":{"type":"number"}}}}}"#;
        let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
        check(
            &free(),
            &[
                (closed, r#""response_format":{"type":"json_schema","json_schema":{"name":"response","schema":{"#, &[]),
                (closed, r#""additionalProperties":false},"strict":true}}"#, &[]),
                (loose, r#"{"x":{"type":"number"}}},"strict":false}}"#, &["output_config.format"]),
            ],
        );
        let words = "Answer with one JSON object that follows this JSON schema";
        check(
            &Profile { schemas: false, ..free() },
            &[
                (closed, words, &["output_config.format"]),
                (closed, r#""response_format":{"type":"json_object"}"#, &["output_config.format"]),
            ],
        );
        let apart = Profile { schemas_with_tools: false, ..free() };
        check(
            &apart,
            &[
                (closed, r#""type":"json_schema""#, &[]),
                (&format!("{closed},{tools}"), words, &["output_config.format"]),
                (&format!("{closed},{tools}"), "!response_format", &["output_config.format"]),
            ],
        );
    }

    #[test]
    fn w50_cache_marks_where_they_are_known() {
        let marked = r#""messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]"#;
        check(&free(), &[(marked, r#"{"role":"user","content":"a"}"#, &[])]);
        let own = Profile { cache_marks: true, ..free() };
        check(&own, &[(marked, r#"[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]"#, &[])]);
        let router = Profile { cache_marks: true, ..compatible() };
        check(
            &router,
            &[(marked, r#"[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#, &[])],
        );
        // Of more than four the last ones count.
        let part = |text: u32| format!(r#"{{"type":"text","text":"t{text}","cache_control":{{"type":"ephemeral"}}}}"#);
        let parts: Vec<String> = (0..6).map(part).collect();
        let (body, _) = sent(&format!(r#""messages":[{{"role":"user","content":[{}]}}]"#, parts.join(",")), &own);
        assert_eq!(body.matches("prompt_cache_breakpoint").count(), 4);
        assert!(body.contains(r#"{"type":"text","text":"t1"},"#), "{body}");
        let result = results(
            r#"{"type":"tool_result","tool_use_id":"toolu_1","content":"r1","cache_control":{"type":"ephemeral"}}"#,
        );
        let (body, _) = sent(&result, &own);
        assert!(body.contains(r#""content":[{"type":"text","text":"r1","prompt_cache_breakpoint""#), "{body}");
    }

    #[test]
    fn w46_thoughts_go_home_or_nowhere() {
        let history = |signature: &str| {
            format!(
                r#""messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"deep","signature":"{signature}"}},{{"type":"text","text":"b"}}]}},{{"role":"user","content":"c"}}]"#
            )
        };
        let back = Profile { reasoning_back: true, ..compatible() };
        check(
            &back,
            &[
                (&history("fg1:other:"), r#"{"role":"assistant","content":"b","reasoning_content":"deep"}"#, &[]),
                (&history("EqQB"), "!deep", &[]),
                (&history("fg1:gemini:x"), "!deep", &[]),
            ],
        );
        check(&compatible(), &[(&history("fg1:other:"), "!deep", &[])]);
    }

    #[test]
    fn calls_whose_thoughts_are_gone_get_a_placeholder_where_they_are_wanted_back() {
        let history = r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"b"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
        let back = Profile { reasoning_back: true, reasons: Reasons::Always, ..compatible() };
        check(&back, &[(history, r#""content":null,"reasoning_content":" ","tool_calls""#, &[])]);
        check(&Profile { reasons: Reasons::Never, ..back }, &[(history, "!reasoning_content", &[])]);
        check(&Profile { reasoning_back: false, ..back }, &[(history, "!reasoning_content", &[])]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_named() {
        let document = r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://h/a.pdf"}}]}]"#;
        let file =
            r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]"#;
        let stops = r#""stop_sequences":["a","b","c","d","e"]"#;
        let server = r#""tools":[{"type":"code_execution_20250522","name":"code_execution"}]"#;
        let client = r#""tools":[{"type":"bash_20250124","name":"bash"}]"#;
        let blind = Profile { reads: Reads { images: false, ..free().reads }, ..free() };
        let image = r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://h/a.png"}}]}]"#;
        let mute = Profile { tools: false, ..free() };
        let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;
        let none = Profile { stops: 0, ..free() };
        for (fields, profile, field) in [
            (document, free(), "messages[0].content[0]"),
            (file, free(), "messages[0].content[0]"),
            (image, blind, "messages[0].content[0]"),
            (stops, free(), "stop_sequences"),
            (r#""stop_sequences":["a"]"#, none, "stop_sequences"),
            (server, free(), "tools[0]"),
            (client, free(), "tools[0]"),
            (tools, mute, "tools"),
        ] {
            let error = try_sent(fields, &profile, OnLoss::Report).unwrap_err();
            assert!(error.contains(&format!("`{field}` cannot be sent")), "{error}");
            let (_, losses) = try_sent(fields, &profile, OnLoss::Lenient).unwrap();
            assert_eq!(losses, [field]);
        }
    }
}
