//! The conversation, for an upstream.

use std::borrow::Cow;

use super::tools::sent_name;
use crate::wire::chat::{
    At, Cache, Foreign, Media, MediaKind, Origin, Outcome, Part, Request, Role, Source, Text, Thought,
};
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Control, Profile};
use crate::wire::text::Writer;
use crate::wire::turns::{Arranged, arrange, in_user_turn};
use crate::wire::{ids, media};

/// The most cache marks of one request (2026-11).
const MOST_MARKS: usize = 4;
/// Stands where the API wants a turn and the client has none.
const FILLER: &str = ".";

/// Cache marks on their way out: of too many the last are kept.
#[derive(Debug)]
pub(super) struct Marks {
    skip: usize,
    allowed: bool,
    short: bool,
}

impl Marks {
    pub(super) fn new(total: usize, profile: &Profile, losses: &mut Losses) -> Self {
        let skip = total.saturating_sub(MOST_MARKS);
        if profile.cache_marks && skip > 0 {
            losses.setting("cache_control", "Anthropic takes 4 marks; the last 4 are kept");
        }
        Self { skip, allowed: profile.cache_marks, short: false }
    }

    /// Writes `cache_control` into the open block.
    pub(super) fn write(&mut self, out: &mut Writer, mark: Option<Cache>) {
        let Some(mark) = mark else { return };
        if !self.allowed {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        out.key("cache_control").open('{').key("type").string("ephemeral");
        // The API wants the longer ones first.
        if mark == Cache::Hour && !self.short {
            out.key("ttl").string("1h");
        }
        self.short |= mark == Cache::Default;
        out.close('}');
    }
}

/// The conversation as it is sent.
pub(super) struct Talk<'r, 'a> {
    /// The system texts, none of them blank.
    pub(super) system: Vec<&'r Text<'a>>,
    /// The turns.
    pub(super) runs: Vec<Arranged<'r, 'a>>,
}

impl<'r, 'a> Talk<'r, 'a> {
    /// Arranges the request's turns.
    pub(super) fn of(request: &'r Request<'a>, profile: &Profile) -> Self {
        let mut system: Vec<&Text<'a>> = request.system.iter().filter(|text| !text.text.is_blank()).collect();
        let mut runs = arrange(&request.turns, Origin::Anthropic, profile.system_turns);
        misplaced(&mut runs);
        unfinished(&mut runs, profile.thinking == Control::None);
        if runs.is_empty()
            && let Some(last) = system.pop()
        {
            runs.push(Arranged { role: Role::User, parts: vec![Cow::Owned(Part::Text(last.clone()))] });
        }
        if runs.first().is_some_and(|run| run.role != Role::User) {
            runs.insert(0, said(FILLER));
        }
        Self { system, runs }
    }

    /// Whether results of tools come last whose calls did not begin with a thought.
    pub(super) fn lost_thought(&self) -> bool {
        let mut turns = self.runs.iter().rev().filter(|run| run.role != Role::System);
        let results = turns.next().is_some_and(|run| {
            run.role == Role::User && run.parts.iter().any(|part| matches!(**part, Part::Outcome(_)))
        });
        results
            && turns.next().is_some_and(|run| !matches!(run.parts.first().map(|part| &**part), Some(Part::Thought(_))))
    }

    /// Whether the model thought between its calls.
    pub(super) fn interleaved(&self) -> bool {
        self.runs.windows(2).any(|pair| match pair {
            [before, after] => {
                after.parts.iter().any(|part| matches!(**part, Part::Thought(_)))
                    && before.parts.iter().any(|part| matches!(**part, Part::Outcome(_)))
            }
            _ => false,
        })
    }

    /// Sees to a last turn of the assistant: the model continues it, or is asked to.
    pub(super) fn prefill(&mut self, continues: bool, losses: &mut Losses) {
        let Some(last) = self.runs.last_mut().filter(|run| run.role == Role::Assistant) else { return };
        if !continues {
            losses.setting("messages", "the model does not continue the assistant's last message; it is asked to");
            self.runs.push(said("Continue from where you left off."));
            return;
        }
        if let Some(Part::Text(text)) = last.parts.last().map(|part| &**part) {
            let trimmed = text.text.trim_end();
            if trimmed.len() < text.text.len() {
                let text = Text { text: trimmed.to_owned().into(), ..text.clone() };
                last.parts.pop();
                last.parts.push(Cow::Owned(Part::Text(text)));
            }
        }
    }

    /// The cache marks of it all.
    pub(super) fn marks(&self) -> usize {
        let parts = self.runs.iter().flat_map(|run| &run.parts).filter(|part| mark_of(part).is_some());
        parts.count() + self.system.iter().filter(|text| text.cache.is_some()).count()
    }
}

fn said<'r, 'a>(text: &'static str) -> Arranged<'r, 'a> {
    Arranged { role: Role::User, parts: vec![Cow::Owned(Part::Text(Text::plain(text)))] }
}

/// A system turn may follow a user's only (recorded traffic, 2026-11); elsewhere it goes into the user turn behind it.
fn misplaced(runs: &mut Vec<Arranged<'_, '_>>) {
    let mut user = false;
    let mut moved = false;
    for run in &mut *runs {
        match run.role {
            Role::User => user = true,
            Role::Assistant => user = false,
            Role::System if user => {}
            Role::System => {
                moved = true;
                run.role = Role::User;
                user = true;
                for part in &mut run.parts {
                    if let Part::Text(text) = &**part {
                        *part = Cow::Owned(in_user_turn(text));
                    }
                }
            }
        }
    }
    if moved {
        rejoin(runs);
    }
}

/// Takes thoughts away that nothing follows, which the API refuses, or `all`.
fn unfinished(runs: &mut Vec<Arranged<'_, '_>>, all: bool) {
    let thought = |part: &Cow<'_, Part<'_>>| matches!(**part, Part::Thought(_));
    let mut emptied = false;
    for run in runs.iter_mut().filter(|run| run.role == Role::Assistant) {
        if all {
            run.parts.retain(|part| !thought(part));
        }
        while run.parts.last().is_some_and(thought) {
            run.parts.pop();
        }
        emptied |= run.parts.is_empty();
    }
    if emptied {
        runs.retain(|run| !run.parts.is_empty());
        rejoin(runs);
    }
}

fn rejoin(runs: &mut Vec<Arranged<'_, '_>>) {
    let mut out: Vec<Arranged<'_, '_>> = Vec::with_capacity(runs.len());
    for mut run in std::mem::take(runs) {
        match out.last_mut() {
            Some(last) if last.role == run.role && run.role != Role::System => last.parts.append(&mut run.parts),
            _ => out.push(run),
        }
    }
    *runs = out;
}

fn mark_of(part: &Part<'_>) -> Option<Cache> {
    match part {
        Part::Text(text) => text.cache,
        Part::Media(media) => media.cache,
        Part::Call(call) => call.cache,
        // A mark within a result covers the result.
        Part::Outcome(outcome) => outcome.cache.or_else(|| outcome.content.iter().rev().find_map(mark_of)),
        Part::Thought(_) | Part::Foreign(_) => None,
    }
}

/// Writes the turns.
pub(super) struct Blocks<'w> {
    pub(super) out: &'w mut Writer,
    pub(super) marks: &'w mut Marks,
    pub(super) losses: &'w mut Losses,
    pub(super) profile: &'w Profile,
    /// The web search has taken its name.
    pub(super) searching: bool,
}

impl Blocks<'_> {
    /// Writes `messages`.
    pub(super) fn messages(&mut self, runs: &[Arranged<'_, '_>]) -> Result<(), Unsendable> {
        self.out.key("messages").open('[');
        let mut calls = 0;
        for (index, run) in runs.iter().enumerate() {
            self.out.open('{').key("role").string(match run.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            });
            self.out.key("content").open('[');
            let empty = self.out.len();
            if run.role == Role::Assistant {
                calls = index;
            }
            // Calls without ids are told apart by their place, and so are their results.
            let mut nameless = 0;
            for part in &run.parts {
                self.part(part, run.role, &mut || {
                    nameless += 1;
                    format!("call_{calls}_{nameless}")
                })?;
            }
            if self.out.len() == empty {
                self.text(FILLER, None);
            }
            self.out.close(']').close('}');
        }
        self.out.close(']');
        Ok(())
    }

    /// Writes a text block.
    pub(super) fn text(&mut self, text: &str, mark: Option<Cache>) {
        self.out.open('{').key("type").string("text").key("text").string(text);
        self.marks.write(self.out, mark);
        self.out.close('}');
    }

    fn part(&mut self, part: &Part<'_>, role: Role, id: &mut dyn FnMut() -> String) -> Result<(), Unsendable> {
        match part {
            Part::Text(text) => {
                if !text.text.is_blank() {
                    self.text(&text.text, text.cache);
                }
            }
            Part::Media(media) if role == Role::User => self.media(media, media.cache)?,
            Part::Media(media) => {
                self.losses.content(media.at.to_string(), "Anthropic takes media of the user's only")?;
            }
            Part::Call(call) => {
                let id = if call.id.is_empty() { id().into() } else { ids::for_anthropic(&call.id) };
                self.out.open('{').key("type").string("tool_use").key("id").string(&id);
                self.out.key("name").string(&sent_name(&call.name, self.searching));
                self.out.key("input").raw(call.arguments.get());
                self.marks.write(self.out, call.cache);
                self.out.close('}');
            }
            Part::Outcome(outcome) => self.outcome(outcome, mark_of(part), id)?,
            Part::Thought(thought) => self.thought(thought),
            Part::Foreign(foreign) => self.foreign(foreign)?,
        }
        Ok(())
    }

    fn outcome(
        &mut self,
        outcome: &Outcome<'_>,
        mark: Option<Cache>,
        id: &mut dyn FnMut() -> String,
    ) -> Result<(), Unsendable> {
        let id = if outcome.id.is_empty() { id().into() } else { ids::for_anthropic(&outcome.id) };
        self.out.open('{').key("type").string("tool_result").key("tool_use_id").string(&id);
        let mut parts = outcome.content.iter().filter(|part| !matches!(part, Part::Text(text) if text.text.is_blank()));
        match (parts.next(), parts.next()) {
            (None, _) => {}
            (Some(Part::Text(text)), None) => {
                self.out.key("content").string(&text.text);
            }
            _ => {
                self.out.key("content").open('[');
                for part in &outcome.content {
                    match part {
                        Part::Text(text) if text.text.is_blank() => {}
                        Part::Text(text) => self.text(&text.text, None),
                        Part::Media(media) if self.profile.result_media => self.media(media, None)?,
                        Part::Media(Media { at, .. }) => {
                            self.losses.content(at.to_string(), "the model reads no media in a tool's result")?;
                        }
                        Part::Foreign(foreign) => self.foreign(foreign)?,
                        // Nothing else stands in a result.
                        Part::Call(_) | Part::Outcome(_) | Part::Thought(_) => {}
                    }
                }
                self.out.close(']');
            }
        }
        if outcome.error {
            self.out.key("is_error").plain(true);
        }
        self.marks.write(self.out, mark);
        self.out.close('}');
        Ok(())
    }

    fn thought(&mut self, thought: &Thought<'_>) {
        let Some(seal) = thought.seal.as_ref().filter(|seal| seal.origin == Origin::Anthropic) else { return };
        self.out.open('{').key("type");
        if thought.redacted {
            self.out.string("redacted_thinking").key("data").string(&seal.data);
        } else {
            self.out.string("thinking").key("thinking").string(&thought.text).key("signature").string(&seal.data);
        }
        self.out.close('}');
    }

    fn foreign(&mut self, foreign: &Foreign<'_>) -> Result<(), Unsendable> {
        self.losses.foreign(foreign, format!("Anthropic has no part `{}`", foreign.kind))
    }

    fn media(&mut self, item: &Media<'_>, mark: Option<Cache>) -> Result<(), Unsendable> {
        let refuse = |blocks: &mut Self, at: At, why: &str| blocks.losses.content(at.to_string(), why.to_owned());
        let pdf = |mime: &str| mime == "application/pdf";
        let document = match (item.kind, &item.source) {
            (MediaKind::Audio, _) => return refuse(self, item.at, "Anthropic takes no sound"),
            (MediaKind::Video, _) => return refuse(self, item.at, "Anthropic takes no films"),
            (_, Source::File(_)) => return refuse(self, item.at, "a file's id is known to its own vendor only"),
            // Clients send documents as images.
            (MediaKind::Image, Source::Data { mime, .. }) => pdf(mime),
            (MediaKind::Document, Source::Data { mime, .. }) => !mime.starts_with("image/"),
            (MediaKind::Image, _) => false,
            (MediaKind::Document, _) => true,
        };
        let reads = if document { self.profile.reads.documents } else { self.profile.reads.images };
        let as_text = matches!(&item.source, Source::Text(_));
        if !reads && !as_text {
            return refuse(self, item.at, "the model does not read it");
        }
        let decoded;
        let text = match &item.source {
            Source::Text(text) => Some(text.as_str()),
            Source::Data { mime, data } if document && !pdf(mime) => {
                decoded = String::from_utf8(media::decoded(data)).unwrap_or_default();
                if decoded.is_empty() || decoded.contains('\0') {
                    return refuse(self, item.at, "Anthropic takes documents that are PDF or plain text");
                }
                Some(decoded.as_str())
            }
            Source::Data { mime, .. }
                if !document && !matches!(&**mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp") =>
            {
                return refuse(self, item.at, "Anthropic takes images that are JPEG, PNG, GIF or WebP");
            }
            Source::Data { .. } | Source::Url { .. } | Source::File(_) => None,
        };
        if text.is_some_and(|text| text.trim().is_empty()) {
            return Ok(());
        }
        self.out.open('{').key("type").string(if document { "document" } else { "image" });
        self.out.key("source").open('{').key("type");
        match (text, &item.source) {
            (Some(text), _) => self.out.string("text").key("media_type").string("text/plain").key("data").string(text),
            (None, Source::Data { mime, data }) => {
                self.out.string("base64").key("media_type").string(mime).key("data").string(data)
            }
            (None, Source::Url { url, .. } | Source::File(url) | Source::Text(url)) => {
                self.out.string("url").key("url").string(url)
            }
        };
        self.out.close('}');
        if let Some(name) = item.name.as_deref().filter(|name| document && !name.is_empty()) {
            self.out.key("title").string(name);
        }
        self.marks.write(self.out, mark);
        self.out.close('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{newest, older, read, sent, sent_as};
    use super::*;
    use crate::wire::Operation;
    use crate::wire::chat::{Call, MediaKind, Seal, Turn};
    use crate::wire::loss::OnLoss;
    use crate::wire::text::Json;
    use serde_json::{Value, json};

    fn text(text: &'static str) -> Part<'static> {
        Part::Text(Text::plain(text))
    }

    fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role, parts }
    }

    fn talk(turns: Vec<Turn<'static>>) -> Request<'static> {
        Request { turns, ..Request::default() }
    }

    fn call(id: &'static str) -> Part<'static> {
        let arguments = Json::trusted("{\"b\":1.0,\"a\":2}");
        Part::Call(Call { id: id.into(), name: "f".into(), arguments, seal: None, cache: None })
    }

    fn outcome(id: &'static str, content: Vec<Part<'static>>, error: bool) -> Part<'static> {
        Part::Outcome(Outcome { id: id.into(), name: None, content, error, cache: None })
    }

    fn thought(origin: Origin, text: &'static str, data: &'static str, redacted: bool) -> Part<'static> {
        Part::Thought(Thought { text: text.into(), seal: Some(Seal { origin, data: data.into() }), redacted })
    }

    use Role::{Assistant, System, User};

    /// A line for each message: its role, then its blocks.
    fn shown(body: &Value) -> Vec<String> {
        let messages = body["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| {
                let mut line = message["role"].as_str().unwrap().to_owned();
                for block in message["content"].as_array().unwrap() {
                    line.push_str(" | ");
                    let word = match block["type"].as_str().unwrap() {
                        "text" => block["text"].as_str().unwrap().replace('\n', " "),
                        "tool_use" => format!("call {}", block["id"].as_str().unwrap()),
                        "tool_result" => format!("result {}", block["tool_use_id"].as_str().unwrap()),
                        other => other.to_owned(),
                    };
                    line += &word;
                }
                line
            })
            .collect()
    }

    #[test]
    fn w35_w36_w37_turns_as_the_api_takes_them() {
        let cases: Vec<(&str, Vec<Turn<'static>>, &[&str])> = vec![
            (
                "results first, in one turn",
                vec![
                    turn(User, vec![text("go")]),
                    turn(Assistant, vec![text(" "), call("1"), call("2")]),
                    turn(User, vec![text("and?")]),
                    turn(User, vec![outcome("2", vec![text("b")], false), outcome("1", vec![], false)]),
                ],
                &["user | go", "assistant | call 1 | call 2", "user | result 1 | result 2 | and?"],
            ),
            (
                "an orphan becomes text",
                vec![turn(User, vec![outcome("9", vec![text("lost")], false), outcome("8", vec![], false)])],
                &["user | lost"],
            ),
            (
                "what is empty is not sent",
                vec![
                    turn(User, vec![text("a"), text("")]),
                    turn(Assistant, vec![text("\n")]),
                    turn(User, vec![text("b")]),
                ],
                &["user | a | b"],
            ),
            (
                "the assistant does not begin",
                vec![turn(Assistant, vec![text("a")]), turn(User, vec![text("b")])],
                &["user | .", "assistant | a", "user | b"],
            ),
        ];
        for (name, turns, want) in cases {
            assert_eq!(shown(&sent(&talk(turns), &newest()).body), want, "{name}");
        }
    }

    #[test]
    fn w38_system_turns_stay_where_they_are() {
        let turns = || {
            vec![
                turn(User, vec![text("a")]),
                turn(System, vec![text("one")]),
                turn(Assistant, vec![text("b")]),
                turn(System, vec![text("two")]),
                turn(User, vec![text("c")]),
                turn(System, vec![text("three")]),
            ]
        };
        let honoured = sent(&talk(turns()), &newest());
        assert_eq!(
            shown(&honoured.body),
            ["user | a", "system | one", "assistant | b", "user | <system> two </system> | c", "system | three"]
        );
        let folded = sent(&talk(turns()), &older());
        assert_eq!(
            shown(&folded.body),
            [
                "user | a | <system> one </system>",
                "assistant | b",
                "user | <system> two </system> | c | <system> three </system>"
            ]
        );
        let request = Request {
            system: vec![Text::plain("s1"), Text::plain(" "), Text::plain("s2")],
            ..talk(vec![turn(User, vec![text("a")])])
        };
        let got = sent(&request, &newest());
        assert_eq!(got.body["system"], json!([{"type": "text", "text": "s1"}, {"type": "text", "text": "s2"}]));
        // With nothing else, the last one is what the user says.
        let alone = sent(&Request { turns: vec![], ..request }, &newest());
        assert_eq!(alone.body["system"], json!([{"type": "text", "text": "s1"}]));
        assert_eq!(shown(&alone.body), ["user | s2"]);
    }

    #[test]
    fn a_last_turn_of_the_assistant_is_continued_or_asked_for() {
        let turns = || talk(vec![turn(User, vec![text("a")]), turn(Assistant, vec![text("x"), text("{ \n")])]);
        let continued = sent(&turns(), &older());
        assert_eq!(shown(&continued.body), ["user | a", "assistant | x | {"]);
        assert!(continued.losses.is_empty());
        let asked = sent(&turns(), &newest());
        let want = ["user | a", "assistant | x | {  ", "user | Continue from where you left off."];
        assert_eq!((shown(&asked.body), asked.fields()), (want.map(str::to_owned).to_vec(), vec!["messages"]));
        // Thinking and a prefill exclude each other.
        let reasoning = read(r#""thinking":{"type":"enabled","budget_tokens":2000},"messages":[]"#).unwrap().reasoning;
        let thinking = sent(&Request { reasoning, max_tokens: Some(9000), ..turns() }, &older());
        assert_eq!(shown(&thinking.body).len(), 3);
    }

    #[test]
    fn w44_a_loop_that_lost_its_thinking_goes_on_without() {
        let reasoning = read(r#""thinking":{"type":"enabled","budget_tokens":2000},"messages":[]"#).unwrap().reasoning;
        let request = |first: Vec<Part<'static>>| Request {
            reasoning,
            max_tokens: Some(9000),
            ..talk(vec![
                turn(User, vec![text("go")]),
                turn(Assistant, [first, vec![call("1")]].concat()),
                turn(User, vec![outcome("1", vec![], false)]),
            ])
        };
        let kept = sent(&request(vec![thought(Origin::Anthropic, "t", "s", false)]), &older());
        assert!(kept.body["thinking"]["budget_tokens"] == 2000 && kept.losses.is_empty());
        for lost in [
            vec![],
            vec![text("x"), thought(Origin::Anthropic, "t", "s", false)],
            vec![thought(Origin::Gemini, "t", "s", false)],
        ] {
            let got = sent(&request(lost), &older());
            assert_eq!((&got.body["thinking"], got.fields()), (&Value::Null, vec!["reasoning_effort"]));
        }
        // Where the model decides, nothing is missed.
        let adaptive = sent(&request(vec![]), &newest());
        assert_eq!(adaptive.body["thinking"]["type"], "adaptive");
    }

    #[test]
    fn thinking_between_calls_needs_a_beta() {
        let reasoning = read(r#""thinking":{"type":"enabled","budget_tokens":2000},"messages":[]"#).unwrap().reasoning;
        let tools = read(r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[]"#).unwrap().tools;
        let signed = || thought(Origin::Anthropic, "t", "s", false);
        let request = |second: Vec<Part<'static>>| Request {
            reasoning,
            tools: tools.clone(),
            max_tokens: Some(9000),
            ..talk(vec![
                turn(User, vec![text("go")]),
                turn(Assistant, vec![signed(), call("1")]),
                turn(User, vec![outcome("1", vec![], false)]),
                turn(Assistant, [second, vec![call("2")]].concat()),
                turn(User, vec![outcome("2", vec![], false)]),
            ])
        };
        assert_eq!(sent(&request(vec![signed()]), &older()).encoded.betas, ["interleaved-thinking-2025-05-14"]);
        assert!(sent(&request(vec![signed()]), &newest()).encoded.betas.is_empty());
        assert!(sent(&request(vec![]), &older()).encoded.betas.is_empty());
    }

    #[test]
    fn w45_w46_thinking_goes_back_as_it_came_and_only_home() {
        let turns = vec![
            turn(User, vec![text("go")]),
            turn(
                Assistant,
                vec![
                    thought(Origin::Anthropic, " t\u{301} ", "c2ln==", false),
                    thought(Origin::Anthropic, "", "s2", false),
                    thought(Origin::Anthropic, "", "ZGF0YQ==", true),
                    thought(Origin::Gemini, "g", "x", false),
                    thought(Origin::Other, "o", "", false),
                    Part::Thought(Thought { text: "n".into(), seal: None, redacted: false }),
                    text("x"),
                    thought(Origin::Anthropic, "trailing", "s3", false),
                ],
            ),
            turn(User, vec![text("on")]),
        ];
        let got = sent(&talk(turns.clone()), &newest());
        assert_eq!(
            got.body["messages"][1]["content"],
            json!([
                {"type": "thinking", "thinking": " t\u{301} ", "signature": "c2ln=="},
                {"type": "thinking", "thinking": "", "signature": "s2"},
                {"type": "redacted_thinking", "data": "ZGF0YQ=="},
                {"type": "text", "text": "x"},
            ])
        );
        assert!(got.losses.is_empty());
        let never = sent(&talk(turns), &Profile { thinking: Control::None, ..older() });
        assert_eq!(shown(&never.body), ["user | go", "assistant | x", "user | on"]);
        // A turn that only thought is none.
        let only = vec![
            turn(User, vec![text("a")]),
            turn(Assistant, vec![thought(Origin::Anthropic, "t", "s", false)]),
            turn(User, vec![text("b")]),
        ];
        assert_eq!(shown(&sent(&talk(only), &newest()).body), ["user | a | b"]);
    }

    fn media(kind: MediaKind, source: Source<'static>) -> Part<'static> {
        let name = Some("a.pdf".into());
        Part::Media(Media { kind, source, name, cache: None, at: At { message: 3, part: 1 } })
    }

    fn data(mime: &'static str, data: &'static str) -> Source<'static> {
        Source::Data { mime: mime.into(), data: data.into() }
    }

    #[test]
    fn w47_w48_w49_media_as_blocks() {
        use MediaKind::{Audio, Document, Image, Video};
        let url = || Source::Url { url: "https://h/a".into(), mime: None };
        let base64 = |mime: &str, data: &str| json!({"type": "base64", "media_type": mime, "data": data});
        let plain = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "a.pdf"});
        let pdf = json!({"type": "document", "source": base64("application/pdf", "JVBE"), "title": "a.pdf"});
        let taken = [
            (Image, data("image/png", "iVBO"), json!({"type": "image", "source": base64("image/png", "iVBO")})),
            (Image, url(), json!({"type": "image", "source": {"type": "url", "url": "https://h/a"}})),
            (Image, data("application/pdf", "JVBE"), pdf.clone()),
            (Document, data("application/pdf", "JVBE"), pdf),
            (Document, data("image/webp", "UklG"), json!({"type": "image", "source": base64("image/webp", "UklG")})),
            (Document, data("text/csv", "aGk="), plain.clone()),
            (Document, Source::Text("hi".into()), plain),
            (
                Document,
                url(),
                json!({"type": "document", "source": {"type": "url", "url": "https://h/a"}, "title": "a.pdf"}),
            ),
        ];
        for (kind, source, want) in taken {
            let part = media(kind, source);
            let got = sent(&talk(vec![turn(User, vec![part.clone()])]), &newest());
            assert_eq!(got.body["messages"][0]["content"][0], want);
            let turns = vec![
                turn(User, vec![text("go")]),
                turn(Assistant, vec![call("1")]),
                turn(User, vec![outcome("1", vec![part], true)]),
            ];
            let got = sent(&talk(turns), &newest());
            let result = json!({"type": "tool_result", "tool_use_id": "1", "content": [want], "is_error": true});
            assert_eq!(got.body["messages"][2]["content"][0], result);
        }
        let blind = Profile {
            reads: crate::wire::profile::Reads { images: false, documents: false, audio: false, video: false },
            ..newest()
        };
        let refused = [
            (newest(), Audio, data("audio/wav", "UklG")),
            (newest(), Video, url()),
            (newest(), Document, Source::File("file_1".into())),
            (newest(), Image, data("image/tiff", "AAAA")),
            (newest(), Document, data("application/zip", "UEsDBAAA/w==")),
            (blind, Image, url()),
            (blind, Document, data("application/pdf", "JVBE")),
        ];
        for (profile, kind, source) in refused {
            let request = talk(vec![turn(User, vec![media(kind, source)])]);
            let run = |policy| sent_as(&request, &profile, Operation::Generate, policy);
            assert_eq!(run(OnLoss::Report).err().map(|error| error.field).as_deref(), Some("messages[3].content[1]"));
            // Nothing is left of the turn, but a turn it has to be.
            assert_eq!(shown(&run(OnLoss::Lenient).unwrap().body), ["user | ."]);
        }
    }

    #[test]
    fn results_hold_what_they_hold() {
        let result = |content: Vec<Part<'static>>| {
            let turns = vec![
                turn(User, vec![text("go")]),
                turn(Assistant, vec![call("1")]),
                turn(User, vec![outcome("1", content, false)]),
            ];
            sent(&talk(turns), &newest()).body["messages"][2]["content"][0].clone()
        };
        assert_eq!(result(vec![]), json!({"type": "tool_result", "tool_use_id": "1"}));
        assert_eq!(result(vec![text("")]), json!({"type": "tool_result", "tool_use_id": "1"}));
        assert_eq!(result(vec![text("x")])["content"], "x");
        assert_eq!(result(vec![text("x"), text(" "), text("y")])["content"].as_array().unwrap().len(), 2);
        let marked = Part::Text(Text { cache: Some(Cache::Hour), ..Text::plain("x") });
        let want = json!({"type": "tool_result", "tool_use_id": "1", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}});
        assert_eq!(result(vec![marked]), want);
    }

    #[test]
    fn w33_w75_calls_keep_their_bytes_and_get_ids_that_fit() {
        let turns = |ids: [&'static str; 2]| {
            talk(vec![
                turn(User, vec![text("go")]),
                turn(Assistant, vec![call(ids[0]), call(ids[1])]),
                turn(User, vec![outcome(ids[0], vec![], false), outcome(ids[1], vec![], false)]),
                turn(Assistant, vec![call(ids[0])]),
                turn(User, vec![outcome(ids[0], vec![], false)]),
            ])
        };
        for ids in [["toolu_1", "call_2"], ["functions.f:0", "functions.f:1"], ["", ""], ["ü", "call_fg01"]] {
            let got = sent(&turns(ids), &newest());
            assert!(got.text.contains(r#""input":{"b":1.0,"a":2}"#));
            let id = |message: usize, block: usize, field: &str| {
                got.body["messages"][message]["content"][block][field].as_str().unwrap().to_owned()
            };
            for (call, result) in [((1, 0), (2, 0)), ((1, 1), (2, 1)), ((3, 0), (4, 0))] {
                let (call, result) = (id(call.0, call.1, "id"), id(result.0, result.1, "tool_use_id"));
                assert_eq!(call, result);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                assert!(!call.is_empty() && call.bytes().all(plain), "{call}");
            }
            assert_ne!(id(1, 0, "id"), id(1, 1, "id"));
        }
    }

    #[test]
    fn parts_of_other_wires_are_reported_or_refused() {
        let foreign =
            |droppable| Part::Foreign(Foreign { kind: "new".into(), droppable, at: At { message: 1, part: 2 } });
        let turns = |part| {
            talk(vec![turn(User, vec![text("a")]), turn(Assistant, vec![text("b"), part]), turn(User, vec![text("c")])])
        };
        assert_eq!(sent(&turns(foreign(true)), &newest()).fields(), ["messages[1].content[2]"]);
        for part in [foreign(false), media(MediaKind::Image, data("image/png", "iVBO"))] {
            assert!(sent_as(&turns(part), &newest(), Operation::Generate, OnLoss::Report).is_err());
        }
    }
}
