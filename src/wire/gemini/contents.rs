//! Conversations.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::tools;
use crate::wire::chat::{Call, Foreign, Media, MediaKind, Origin, Outcome, Part, Request, Role, Seal, Source, Text};
use crate::wire::ids;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Profile, SystemRole};
use crate::wire::text::{Json, Writer};
use crate::wire::turns::{self, Arranged};

/// What Gemini 3 takes in place of a signature that was lost (Gemini API guide, "thought signatures", 2026-08).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// The least text that is none: an empty turn is refused.
const FILLER: &str = ".";

/// How many bytes a request will take, roughly: what is big is text and media.
pub(super) fn size(request: &Request<'_>) -> usize {
    let part = |part: &Part<'_>| match part {
        Part::Text(text) => text.text.len() + text.seal.as_ref().map_or(0, |seal| seal.data.len()),
        Part::Media(Media { source: Source::Data { data, .. } | Source::Text(data), .. }) => data.len(),
        Part::Call(call) => call.arguments.get().len() + call.seal.as_ref().map_or(0, |seal| seal.data.len()),
        _ => 0,
    };
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let parts: usize = parts
        .map(|it| match it {
            Part::Outcome(outcome) => 96 + outcome.content.iter().map(part).sum::<usize>(),
            it => 64 + part(it),
        })
        .sum();
    let tools: usize =
        request.tools.iter().map(|tool| 128 + tool.schema.as_ref().map_or(0, |schema| schema.get().len())).sum();
    let system: usize = request.system.iter().map(|text| 16 + text.text.len()).sum();
    512 + (parts + tools + system) / 16 * 17
}

/// Writes `contents` and gives the texts of the system instruction.
pub(super) fn write<'r>(
    request: &'r Request<'_>,
    profile: &Profile,
    out: &mut Writer,
    losses: &mut Losses,
) -> Result<Vec<&'r str>, Unsendable> {
    let mut system: Vec<&str> =
        request.system.iter().map(|text| text.text.as_str()).filter(|text| !text.trim().is_empty()).collect();
    let arranged = turns::arrange(&request.turns, Origin::Gemini, false);
    out.key("contents").open('[');
    let mut contents = Contents { out, losses, profile, role: None, names: HashMap::new() };
    // Gemini 3 checks the calls of the current turn: all after the user last spoke. Where results and words share a turn it is
    // not told which counts, and a placeholder too many does no harm.
    let current = arranged.iter().rposition(|turn| turn.role != Role::Assistant && !answers(turn));
    if profile.system_role == SystemRole::User {
        for text in system.drain(..) {
            contents.text(false, text, None);
        }
    }
    for (index, turn) in arranged.iter().enumerate() {
        if turn.role == Role::Assistant {
            contents.model(turn, current.is_none_or(|current| index > current))?;
        } else {
            contents.user(turn)?;
        }
    }
    if contents.role.is_none() {
        let text = match system.pop() {
            Some(last) => last,
            None if !request.turns.is_empty() => FILLER,
            None => {
                let message = "`messages` holds nothing that could be sent".to_owned();
                return Err(Unsendable { message, field: "messages".to_owned() });
            }
        };
        contents.text(false, text, None);
    }
    out.close(']').close('}').close(']');
    Ok(system)
}

fn answers(turn: &Arranged<'_, '_>) -> bool {
    turn.parts.iter().any(|part| matches!(part.as_ref(), Part::Outcome(_)))
}

struct Contents<'w, 'p> {
    out: &'w mut Writer,
    losses: &'w mut Losses,
    profile: &'w Profile,
    /// The role of the content that is open: `true` is the model's.
    role: Option<bool>,
    /// The tools that calls were of, by the calls' ids.
    names: HashMap<&'p str, &'p str>,
}

impl<'p> Contents<'_, 'p> {
    /// Begins a part in a content of this role.
    fn part(&mut self, model: bool) -> &mut Writer {
        if self.role.is_none() && model {
            // The user has to begin.
            self.text(false, FILLER, None);
        }
        if self.role != Some(model) {
            if self.role.is_some() {
                self.out.close(']').close('}');
            }
            self.out.open('{').key("role").string(if model { "model" } else { "user" }).key("parts").open('[');
            self.role = Some(model);
        }
        self.out.open('{')
    }

    fn text(&mut self, model: bool, text: &str, seal: Option<&str>) {
        let out = self.part(model).key("text").string(text);
        if let Some(seal) = seal {
            out.key("thoughtSignature").string(seal);
        }
        out.close('}');
    }

    /// A turn of the model. A signature belongs to one part: a sealed thought gives its own to the next text or call, and a last
    /// one stands on an empty text, as Gemini itself writes it.
    fn model(&mut self, turn: &'p Arranged<'_, '_>, current: bool) -> Result<(), Unsendable> {
        let mut pending = None;
        let mut called = false;
        let for_call = if self.profile.signed_calls { for_call(turn) } else { 0..0 };
        for (index, part) in turn.parts.iter().enumerate() {
            match part.as_ref() {
                Part::Text(text) if for_call.contains(&index) => self.text(true, &text.text, own(text.seal.as_ref())),
                Part::Text(text) => {
                    let seal = self.next_seal(text.seal.as_ref(), &mut pending);
                    self.text(true, &text.text, seal);
                }
                Part::Thought(thought) => {
                    let own = own(thought.seal.as_ref());
                    if let Some(before) = own.and(pending) {
                        self.text(true, "", Some(before));
                    }
                    pending = own.or(pending);
                }
                Part::Call(call) => {
                    let mut seal = self.next_seal(call.seal.as_ref(), &mut pending);
                    // Of parallel calls the first is signed, and only it is checked.
                    if self.profile.signed_calls && current && !called {
                        seal = seal.or(Some(NO_SIGNATURE));
                    }
                    called = true;
                    self.call(call, seal);
                }
                Part::Media(media) => self.media(true, media)?,
                Part::Foreign(foreign) => self.foreign(foreign)?,
                // No wire has results in the model's turn.
                Part::Outcome(_) => {}
            }
        }
        if let Some(seal) = pending {
            self.text(true, "", Some(seal));
        }
        Ok(())
    }

    /// The signature of the next part: its own, or that of the thought before it.
    fn next_seal<'s>(&mut self, seal: Option<&'s Seal<'_>>, pending: &mut Option<&'s str>) -> Option<&'s str> {
        let before = pending.take();
        let own = own(seal);
        if let (Some(_), Some(before)) = (own, before) {
            self.text(true, "", Some(before));
        }
        own.or(before)
    }

    fn call(&mut self, call: &'p Call<'_>, seal: Option<&str>) {
        self.names.insert(&call.id, &call.name);
        let gives_id = self.gives(&call.id);
        let out = self.part(true).key("functionCall").open('{');
        if gives_id {
            out.key("id").string(&call.id);
        }
        out.key("name").string(&tools::name(&call.name)).key("args").raw(call.arguments.get()).close('}');
        if let Some(seal) = seal {
            out.key("thoughtSignature").string(seal);
        }
        out.close('}');
    }

    /// Whether the id goes there: the model gives ids, and this is none of ours.
    fn gives(&self, id: &str) -> bool {
        self.profile.call_ids && !id.is_empty() && !ids::minted(id)
    }

    fn user(&mut self, turn: &Arranged<'_, '_>) -> Result<(), Unsendable> {
        // Nothing may stand between results: their number has to be that of the calls.
        let mut apart: Vec<&Media<'_>> = Vec::new();
        for part in &turn.parts {
            if let Part::Outcome(outcome) = part.as_ref() {
                self.outcome(outcome, &mut apart)?;
                continue;
            }
            for media in apart.drain(..) {
                self.media(false, media)?;
            }
            match part.as_ref() {
                Part::Text(text) => self.text(false, &text.text, None),
                Part::Media(media) => self.media(false, media)?,
                Part::Foreign(foreign) => self.foreign(foreign)?,
                // No wire has these in the user's turn.
                Part::Call(_) | Part::Outcome(_) | Part::Thought(_) => {}
            }
        }
        for media in apart {
            self.media(false, media)?;
        }
        Ok(())
    }

    fn outcome<'o>(&mut self, outcome: &'o Outcome<'_>, apart: &mut Vec<&'o Media<'o>>) -> Result<(), Unsendable> {
        let said = outcome.name.as_deref().filter(|name| !name.is_empty());
        let known = self.names.get(outcome.id.as_str()).copied();
        let name = if outcome.id.is_empty() { said.or(known) } else { known.or(said) };
        let Some(name) = name else {
            let message = format!("the tool result `{}` answers no call of the conversation", outcome.id);
            return Err(Unsendable { message, field: "messages".to_owned() });
        };
        let name = tools::name(name);
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        let mut inside: Vec<(&str, &str)> = Vec::new();
        for part in &outcome.content {
            match part {
                Part::Text(Text { text, .. }) => texts.push(text.as_str().into()),
                Part::Media(Media { source: Source::Text(text), name, .. }) => {
                    if name.as_ref().is_some_and(|title| !title.is_blank()) {
                        self.losses.setting("messages.tool_result.title", "a text has no title there");
                    }
                    texts.push(text.as_str().into());
                }
                Part::Media(media) => match &media.source {
                    Source::Data { mime, data } if self.profile.result_media && fits_result(mime) => {
                        inside.push((mime, data));
                    }
                    _ => apart.push(media),
                },
                Part::Foreign(foreign) => self.foreign(foreign)?,
                Part::Call(_) | Part::Outcome(_) | Part::Thought(_) => {}
            }
        }
        let gives_id = self.gives(&outcome.id);
        let out = self.part(false).key("functionResponse").open('{');
        if gives_id {
            out.key("id").string(&outcome.id);
        }
        out.key("name").string(&name).key("response").open('{');
        // Always within a key: a bare object with a key `error` or `output` of its own is read differently.
        out.key(if outcome.error { "error" } else { "output" });
        value(&texts, out);
        out.close('}');
        if !inside.is_empty() {
            out.key("parts").open('[');
            for (mime, data) in inside {
                inline(mime, data, out.open('{'));
            }
            out.close(']');
        }
        out.close('}').close('}');
        Ok(())
    }

    fn media(&mut self, model: bool, media: &Media<'_>) -> Result<(), Unsendable> {
        let reads = self.profile.reads;
        let (reads, what) = match media.kind {
            MediaKind::Image => (reads.images, "pictures"),
            MediaKind::Document => (reads.documents, "documents"),
            MediaKind::Audio => (reads.audio, "sound"),
            MediaKind::Video => (reads.video, "films"),
        };
        match &media.source {
            Source::Text(text) if text.is_blank() => {}
            Source::Text(text) => {
                if media.name.as_ref().is_some_and(|title| !title.is_blank()) {
                    self.losses.setting(format!("{}.title", media.at), "a text has no title there");
                }
                self.text(model, text, None);
            }
            Source::File(_) => {
                self.losses.content(media.at.to_string(), "a file's id is known only to the vendor that gave it")?;
            }
            Source::Data { .. } | Source::Url { .. } if !reads => {
                self.losses.content(media.at.to_string(), format!("the model reads no {what}"))?;
            }
            Source::Data { mime, data } => {
                self.part(model);
                inline(mime, data, self.out);
            }
            Source::Url { url, mime } => {
                let mime = mime.as_deref().or_else(|| guess(url));
                let out = self.part(model).key("fileData").open('{');
                if let Some(mime) = mime {
                    out.key("mimeType").string(mime);
                }
                out.key("fileUri").string(url).close('}').close('}');
            }
        }
        Ok(())
    }

    fn foreign(&mut self, foreign: &Foreign<'_>) -> Result<(), Unsendable> {
        self.losses.foreign(foreign, format!("Gemini has no part like `{}`", foreign.kind))
    }
}

/// What stands between a turn's first call and the sealed thought that is meant for it: clients put all thoughts first, so text
/// can come in between. Where a turn calls, Gemini 3 signs the call.
fn for_call(turn: &Arranged<'_, '_>) -> Range<usize> {
    let mut thought = None;
    for (index, part) in turn.parts.iter().enumerate() {
        match part.as_ref() {
            Part::Thought(sealed) if own(sealed.seal.as_ref()).is_some() => thought = Some(index),
            Part::Call(call) if own(call.seal.as_ref()).is_none() => {
                return thought.map_or(0..0, |thought| thought..index);
            }
            Part::Call(_) => break,
            _ => {}
        }
    }
    0..0
}

fn own<'s>(seal: Option<&'s Seal<'_>>) -> Option<&'s str> {
    seal.filter(|seal| seal.origin == Origin::Gemini && !seal.data.is_empty()).map(|seal| seal.data.as_str())
}

/// Bytes in a part that is open, which it closes.
fn inline(mime: &str, data: &str, out: &mut Writer) {
    out.key("inlineData").open('{').key("mimeType").string(mime).key("data").string(data);
    out.close('}').close('}');
}

/// Whether a tool's result may hold media of this type (Gemini API guide, "function calling", 2026-08).
fn fits_result(mime: &str) -> bool {
    matches!(mime, "image/png" | "image/jpeg" | "image/webp" | "application/pdf" | "text/plain")
}

/// What a tool said: JSON where it is an object or an array, else text.
fn value(texts: &[Cow<'_, str>], out: &mut Writer) {
    let text: Cow<'_, str> = match texts {
        [] => "".into(),
        [text] => text.as_ref().into(),
        texts => texts.join("\n").into(),
    };
    let json = text.trim_start().starts_with(['{', '[']).then(|| Json::parse(text.as_ref())).flatten();
    match json {
        Some(json) => out.raw(json.get()),
        None => out.string(&text),
    };
}

/// The media type that the end of a URL's path tells.
fn guess(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit_once('/')?.1.rsplit_once('.')?;
    let known = [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("heic", "image/heic"),
        ("pdf", "application/pdf"),
        ("txt", "text/plain"),
        ("mp3", "audio/mpeg"),
        ("wav", "audio/wav"),
        ("mp4", "video/mp4"),
        ("webm", "video/webm"),
        ("mov", "video/quicktime"),
    ];
    known.iter().find(|(name, _)| ending.eq_ignore_ascii_case(name)).map(|(_, mime)| *mime)
}
