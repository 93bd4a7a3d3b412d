//! The messages of a request, written for `OpenAI` and compatible servers.

use std::borrow::Cow;

use crate::wire::chat::{Cache, Call, Media, MediaKind, Origin, Outcome, Part, Request, Role, Source};
use crate::wire::convert::Upstream;
use crate::wire::ids;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Ids, Profile, SystemRole};
use crate::wire::text::Writer;
use crate::wire::turns::{Arranged, arrange};

/// The longest name of a tool on this wire.
pub(super) const LONGEST_NAME: usize = 64;
/// The most cache marks that a request may have; the last ones count.
const MOST_MARKS: usize = 4;

/// Writes the value of `messages`.
pub(super) fn messages(
    out: &mut Writer,
    request: &Request<'_>,
    instruction: Option<&str>,
    to: &Upstream<'_>,
    losses: &mut Losses,
) -> Result<(), Unsendable> {
    let turns = arrange(&request.turns, Origin::Other, to.profile.system_turns);
    let reasons = to.profile.reasoning(&request.reasoning);
    let mut composer = Composer { profile: to.profile, out, losses, skip: 0, reasons };
    if to.profile.cache_marks {
        composer.skip = marks(request, &turns).saturating_sub(MOST_MARKS);
    }
    composer.out.open('[');
    let system = request.system.iter().filter(|text| !text.text.is_blank());
    let mut items: Vec<Item<'_>> = system.map(|text| Item::text(text.text.as_str(), text.cache)).collect();
    items.extend(instruction.map(|text| Item::text(text, None)));
    composer.message(composer.system_role(), items);
    let last = turns.last().map(|turn| turn.role);
    for turn in &turns {
        composer.turn(turn)?;
    }
    composer.out.close(']');
    if last == Some(Role::Assistant) && !to.profile.prefill {
        losses.setting("messages", "the model answers the last turn, the assistant's own, instead of continuing it");
    }
    Ok(())
}

fn marks(request: &Request<'_>, turns: &[Arranged<'_, '_>]) -> usize {
    let of = |part: &Part<'_>| match part {
        Part::Text(text) => text.cache.is_some(),
        Part::Media(media) => media.cache.is_some(),
        Part::Outcome(outcome) => outcome.cache.is_some(),
        _ => false,
    };
    let system = request.system.iter().filter(|text| text.cache.is_some()).count();
    let user = turns.iter().filter(|turn| turn.role != Role::Assistant);
    system + user.flat_map(|turn| &turn.parts).filter(|part| of(part)).count()
}

struct Composer<'o, 'l> {
    profile: &'o Profile,
    out: &'o mut Writer,
    losses: &'l mut Losses,
    /// So many cache marks are left out before the first that is written.
    skip: usize,
    /// The model reasons in this request.
    reasons: bool,
}

/// A part of a message's content.
struct Item<'r> {
    what: What<'r>,
    mark: Option<Cache>,
}

enum What<'r> {
    Text(Cow<'r, str>),
    Media(&'r Media<'r>),
}

impl<'r> Item<'r> {
    fn text(text: impl Into<Cow<'r, str>>, mark: Option<Cache>) -> Self {
        Self { what: What::Text(text.into()), mark }
    }
}

impl Composer<'_, '_> {
    fn system_role(&self) -> &'static str {
        match self.profile.system_role {
            SystemRole::System => "system",
            SystemRole::User => "user",
        }
    }

    fn turn(&mut self, turn: &Arranged<'_, '_>) -> Result<(), Unsendable> {
        match turn.role {
            Role::Assistant => self.assistant(turn),
            Role::User => self.user(turn),
            Role::System => {
                let mut items = Vec::new();
                for part in &turn.parts {
                    self.item(part, &mut items)?;
                }
                self.message(self.system_role(), items);
                Ok(())
            }
        }
    }

    /// A message with nothing in it is none.
    fn message(&mut self, role: &str, items: Vec<Item<'_>>) {
        if items.is_empty() {
            return;
        }
        self.out.open('{').key("role").string(role).key("content");
        self.content(items);
        self.out.close('}');
    }

    fn content(&mut self, items: Vec<Item<'_>>) {
        let marked = self.profile.cache_marks && items.iter().any(|item| item.mark.is_some());
        let texts: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.what {
                What::Text(text) => Some(&**text),
                What::Media(_) => None,
            })
            .collect();
        // Some compatible servers know strings only.
        if texts.len() == items.len() && !marked && (texts.len() < 2 || !self.profile.openai) {
            match texts.as_slice() {
                [only] => self.out.string(only),
                several => self.out.string(&several.join("\n\n")),
            };
            return;
        }
        self.out.open('[');
        for item in items {
            self.out.open('{');
            match item.what {
                What::Text(text) => {
                    self.out.key("type").string("text").key("text").string(&text);
                }
                What::Media(media) => write_media(self.out, media),
            }
            if let Some(mark) = item.mark.filter(|_| marked) {
                self.mark(mark);
            }
            self.out.close('}');
        }
        self.out.close(']');
    }

    /// Cache marks are `OpenAI`'s own, or, at routers, Anthropic's.
    fn mark(&mut self, mark: Cache) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.profile.openai {
            self.out.key("prompt_cache_breakpoint").raw(r#"{"mode":"explicit"}"#);
        } else {
            self.out.key("cache_control").raw(match mark {
                Cache::Default => r#"{"type":"ephemeral"}"#,
                Cache::Hour => r#"{"type":"ephemeral","ttl":"1h"}"#,
            });
        }
    }

    fn user(&mut self, turn: &Arranged<'_, '_>) -> Result<(), Unsendable> {
        let mut items = Vec::new();
        for part in &turn.parts {
            if let Part::Outcome(outcome) = part.as_ref() {
                self.outcome(outcome, &mut items)?;
            }
        }
        for part in &turn.parts {
            if !matches!(part.as_ref(), Part::Outcome(_)) {
                self.item(part, &mut items)?;
            }
        }
        self.message("user", items);
        Ok(())
    }

    /// A `tool` message. Its media go to `after`, the user's message behind all results: between them it would part calls from
    /// results.
    fn outcome<'r>(&mut self, outcome: &'r Outcome<'_>, after: &mut Vec<Item<'r>>) -> Result<(), Unsendable> {
        let mut items = Vec::new();
        for part in &outcome.content {
            self.item(part, &mut items)?;
        }
        let id = self.id(&outcome.id);
        if !self.profile.result_media && items.iter().any(|item| matches!(item.what, What::Media(_))) {
            after.push(Item::text(format!("From the result of tool call {id}:"), None));
            for item in &mut items {
                if let What::Media(_) = item.what {
                    let placeholder = Item::text("(see the user message below)", None);
                    after.push(std::mem::replace(item, placeholder));
                }
            }
        }
        if outcome.error {
            mark_error(&mut items);
        }
        if let Some(last) = items.last_mut() {
            last.mark = last.mark.or(outcome.cache);
        }
        self.out.open('{').key("role").string("tool").key("tool_call_id").string(&id).key("content");
        self.content(items);
        self.out.close('}');
        Ok(())
    }

    fn item<'r>(&mut self, part: &'r Part<'_>, items: &mut Vec<Item<'r>>) -> Result<(), Unsendable> {
        match part {
            Part::Text(text) => items.push(Item::text(text.text.as_str(), text.cache)),
            Part::Media(media) => {
                if let Source::Text(text) = &media.source {
                    if media.name.as_deref().is_some_and(|title| !title.trim().is_empty()) {
                        self.losses.setting(format!("{}.title", media.at), "a text has no title there");
                    }
                    items.push(Item::text(text.as_str(), media.cache));
                    return Ok(());
                }
                match refused(media, self.profile) {
                    Some(why) => self.losses.content(media.at.to_string(), why)?,
                    None => items.push(Item { what: What::Media(media), mark: media.cache }),
                }
            }
            Part::Foreign(foreign) => {
                self.losses.foreign(foreign, format!("OpenAI's chat completions know no `{}`", foreign.kind))?;
            }
            // Thoughts of users do not exist; calls and results have their own places.
            Part::Thought(_) | Part::Call(_) | Part::Outcome(_) => {}
        }
        Ok(())
    }

    fn assistant(&mut self, turn: &Arranged<'_, '_>) -> Result<(), Unsendable> {
        let mut text: Cow<'_, str> = Cow::Borrowed("");
        let mut thoughts = String::new();
        let mut calls: Vec<&Call<'_>> = Vec::new();
        for part in &turn.parts {
            match part.as_ref() {
                Part::Text(part) if text.is_empty() => text = Cow::Borrowed(&part.text),
                Part::Text(part) => text.to_mut().push_str(&part.text),
                Part::Call(call) => calls.push(call),
                Part::Thought(thought) => thoughts.push_str(&thought.text),
                Part::Media(media) => {
                    let why = "an assistant's message holds text only";
                    self.losses.content(media.at.to_string(), why)?;
                }
                other => self.item(other, &mut Vec::new())?,
            }
        }
        if text.is_empty() && calls.is_empty() {
            return Ok(());
        }
        self.out.open('{').key("role").string("assistant");
        self.out.key("content").optional(Some(&*text).filter(|text| !text.is_empty()));
        // Where the thoughts behind a call are gone, or another model called, a space is the least that is taken for them
        // (DeepSeek and Moonshot, 2026-11).
        if thoughts.is_empty() && self.reasons && !calls.is_empty() {
            thoughts.push(' ');
        }
        if self.profile.reasoning_back && !thoughts.is_empty() {
            self.out.key("reasoning_content").string(&thoughts);
        }
        if !calls.is_empty() {
            self.out.key("tool_calls").open('[');
            for call in calls {
                self.call(call);
            }
            self.out.close(']');
        }
        self.out.close('}');
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>) {
        let id = self.id(&call.id);
        self.out.open('{').key("id").string(&id).key("type").string("function").key("function").open('{');
        self.out.key("name").string(&ids::tool_name(&call.name, LONGEST_NAME));
        self.out.key("arguments").string(call.arguments.get()).close('}');
        // Gemini on Google's endpoint of this wire.
        if let Some(seal) = call.seal.as_ref().filter(|seal| self.profile.signed_calls && seal.origin == Origin::Gemini)
        {
            self.out.key("extra_content").open('{').key("google").open('{');
            self.out.key("thought_signature").string(&seal.data).close('}').close('}');
        }
        self.out.close('}');
    }

    fn id<'i>(&self, id: &'i str) -> Cow<'i, str> {
        match self.profile.ids {
            Ids::Any => ids::for_openai(id),
            Ids::Nine => ids::for_mistral(id),
        }
    }
}

/// The wire has no flag for a tool that failed; its words have to say it.
fn mark_error(items: &mut Vec<Item<'_>>) {
    let first = items.iter_mut().find_map(|item| match &mut item.what {
        What::Text(text) => Some(text),
        What::Media(_) => None,
    });
    match first {
        Some(text) if text.trim_start().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error")) => {}
        Some(text) => *text = Cow::Owned(format!("Error: {text}")),
        None => items.insert(0, Item::text("Error", None)),
    }
}

/// Why the upstream does not take it, if it does not.
fn refused(media: &Media<'_>, profile: &Profile) -> Option<&'static str> {
    let reads = profile.reads;
    match (media.kind, &media.source) {
        (_, Source::File(_)) => Some("a file's id is known to the vendor that gave it only"),
        (MediaKind::Image, _) => (!reads.images).then_some("the model reads no images"),
        (MediaKind::Document, Source::Url { .. }) => Some("the upstream fetches no documents; send the file's data"),
        (MediaKind::Document, _) => (!reads.documents).then_some("the model reads no documents"),
        (MediaKind::Audio, Source::Data { mime, .. }) if audio_format(mime).is_some() => {
            (!reads.audio).then_some("the model reads no sound")
        }
        (MediaKind::Audio, _) => Some("the upstream takes sound as WAV or MP3 data only"),
        (MediaKind::Video, _) => (!reads.video).then_some("the model reads no films"),
    }
}

fn audio_format(mime: &str) -> Option<&'static str> {
    match mime {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        _ => None,
    }
}

/// The fields of a part that [`refused`] let pass.
fn write_media(out: &mut Writer, media: &Media<'_>) {
    match (media.kind, &media.source) {
        (MediaKind::Audio, Source::Data { mime, data }) => {
            out.key("type").string("input_audio").key("input_audio").open('{');
            out.key("data").string(data).key("format").string(audio_format(mime).unwrap_or("wav"));
        }
        (MediaKind::Document, source) => {
            out.key("type").string("file").key("file").open('{');
            out.key("filename").string(media.name.as_deref().unwrap_or("document.pdf")).key("file_data");
            address(out, source);
        }
        (kind, source) => {
            let name = if kind == MediaKind::Video { "video_url" } else { "image_url" };
            out.key("type").string(name).key(name).open('{').key("url");
            address(out, source);
        }
    }
    out.close('}');
}

fn address(out: &mut Writer, source: &Source<'_>) {
    match source {
        Source::Data { mime, data } => data_url(out, mime, data),
        Source::Url { url, .. } => {
            out.string(url);
        }
        Source::Text(_) | Source::File(_) => {
            out.null();
        }
    }
}

/// A data URL as a string. It may be megabytes long, so it is not put together before.
pub(super) fn data_url(out: &mut Writer, mime: &str, data: &str) {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'.' | b'_');
    if mime.bytes().all(clean) && data.bytes().all(clean) {
        out.raw("\"data:").frame(mime).frame(";base64,").frame(data).frame("\"");
    } else {
        out.string(&format!("data:{mime};base64,{data}"));
    }
}
