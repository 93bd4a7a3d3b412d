//! The content of a client's messages, read.
//!
//! Every block becomes its part as soon as it is read: what a block might hold takes many times the room of a short one.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::read::untagged;
use crate::wire::chat::{At, Cache, Call, Foreign, Media, MediaKind, Outcome, Part, Source, Text, Thought};
use crate::wire::fields::{fields, gather};
use crate::wire::text::{Json, Str};
use crate::wire::{ids, media};

/// Content of a message or of a block: its parts.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    /// It is a string or an array. An object is the result of a server tool.
    pub(super) there: bool,
    pub(super) parts: Vec<Part<'a>>,
    /// Messages of the system that stand between the parts: each before the part of this index.
    pub(super) between: Vec<(usize, Vec<Part<'a>>)>,
    /// `citations` that were asked for.
    pub(super) cited: Option<Json<'a>>,
    pub(super) fault: Option<Fault>,
}

/// A block that lacks a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) block: usize,
    pub(super) field: &'static str,
    pub(super) want: &'static str,
}

/// A content block: the fields of all kinds.
#[derive(Default)]
struct Block<'a> {
    kind: Option<Str<'a>>,
    text: Option<Str<'a>>,
    source: Origin<'a>,
    content: Content<'a>,
    id: Option<Str<'a>>,
    name: Option<Str<'a>>,
    tool_use_id: Option<Str<'a>>,
    input: Option<Json<'a>>,
    is_error: Option<bool>,
    thinking: Option<Str<'a>>,
    signature: Option<Str<'a>>,
    data: Option<Str<'a>>,
    title: Option<Str<'a>>,
    context: Option<Str<'a>>,
    citations: Option<Json<'a>>,
    cache_control: Option<Cache>,
}
fields!(Block<'a> {
    kind = "type", text, source, content, id, name, tool_use_id, input, is_error, thinking, signature, data, title,
    context, citations, cache_control,
});

/// `source`: where media are. Of a `search_result` it is a string.
#[derive(Debug, Default)]
enum Origin<'a> {
    #[default]
    Absent,
    Text(Str<'a>),
    Fields(Box<SourceFields<'a>>),
}

#[derive(Debug, Default)]
struct SourceFields<'a> {
    kind: Option<Str<'a>>,
    media_type: Option<Str<'a>>,
    data: Option<Str<'a>>,
    url: Option<Str<'a>>,
    file_id: Option<Str<'a>>,
    content: Content<'a>,
}
fields!(SourceFields<'a> { kind = "type", media_type, data, url, file_id, content });

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Content<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of content blocks")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::text(text.to_owned().into()))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut content = Content { there: true, ..Content::default() };
                let mut index = 0;
                while content.fault.is_none() {
                    let Some(block) = items.next_element()? else { return Ok(content) };
                    if let Err((field, want)) = content.take(block, index) {
                        content.fault = Some(Fault { block: index, field, want });
                    }
                    index += 1;
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(content)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Content::default())
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Origin<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Origin<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a source object")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Origin::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Origin::Text(text.to_owned().into()))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Origin::Absent)
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                gather(fields).map(|fields| Origin::Fields(Box::new(fields)))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A field that is missing, and what it must be.
type Missing = (&'static str, &'static str);

const STRING: &str = "a string";

impl<'a> Content<'a> {
    fn text(text: Str<'a>) -> Self {
        Self { there: true, parts: vec![Part::Text(Text::plain(text))], ..Self::default() }
    }

    /// Adds what a block is.
    fn take(&mut self, block: Block<'a>, index: usize) -> Result<(), Missing> {
        let kind = block.kind.ok_or(("type", STRING))?;
        let mark = block.cache_control;
        let at = At { message: 0, part: index };
        match kind.as_str() {
            "text" => {
                let text = block.text.ok_or(("text", STRING))?;
                self.parts.push(Part::Text(Text { text, cache: mark, seal: None }));
            }
            "image" => {
                let Origin::Fields(source) = block.source else { return Err(("source", "an object")) };
                self.parts.push(match source_of(*source, "image/png")? {
                    Some(source) => Part::Media(Media { kind: MediaKind::Image, source, name: None, cache: mark, at }),
                    None => foreign(kind, at),
                });
            }
            "document" => {
                let Origin::Fields(source) = block.source else { return Err(("source", "an object")) };
                self.cited(block.citations);
                if let Some(context) = block.context.filter(|context| !context.is_blank()) {
                    self.parts.push(Part::Text(Text::plain(context)));
                }
                self.document(*source, block.title, mark, at)?;
            }
            "search_result" => {
                self.cited(block.citations);
                let address = if let Origin::Text(address) = block.source { Some(address) } else { None };
                let mut text = String::new();
                for line in block.title.iter().chain(&address) {
                    text.push_str(line);
                    text.push('\n');
                }
                for part in self.within(block.content, index)? {
                    if let Part::Text(more) = part {
                        text.push('\n');
                        text.push_str(&more.text);
                    }
                }
                self.parts.push(Part::Text(Text { text: text.into(), cache: mark, seal: None }));
            }
            "tool_use" => {
                let id = ids::restore(block.id.ok_or(("id", STRING))?);
                let name = block.name.ok_or(("name", STRING))?;
                let arguments = object(block.input);
                self.parts.push(Part::Call(Call { id, name, arguments, seal: None, cache: mark }));
            }
            "tool_result" => {
                let id = ids::restore(block.tool_use_id.ok_or(("tool_use_id", STRING))?);
                let content = self.within(block.content, index)?;
                let error = block.is_error.unwrap_or_default();
                self.parts.push(Part::Outcome(Outcome { id, name: None, content, error, cache: mark }));
            }
            "thinking" => {
                let seal = block.signature.and_then(untagged);
                let text = block.thinking.unwrap_or_default();
                self.parts.push(Part::Thought(Thought { text, seal, redacted: false }));
            }
            "redacted_thinking" => {
                let seal = untagged(block.data.ok_or(("data", STRING))?);
                self.parts.push(Part::Thought(Thought { text: Str::default(), seal, redacted: true }));
            }
            "mid_conv_system" => {
                let inner = match block.text {
                    Some(text) => vec![Part::Text(Text::plain(text))],
                    None => self.within(block.content, index)?,
                };
                self.between.push((self.parts.len(), inner));
            }
            _ => self.parts.push(foreign(kind, at)),
        }
        Ok(())
    }

    /// The parts of content within a block.
    fn within(&mut self, mut inner: Content<'a>, index: usize) -> Result<Vec<Part<'a>>, Missing> {
        if let Some(fault) = inner.fault {
            return Err(("content", fault.want));
        }
        self.cited = self.cited.take().or(inner.cited);
        for part in &mut inner.parts {
            if let Part::Media(Media { at, .. }) | Part::Foreign(Foreign { at, .. }) = part {
                at.part = index;
            }
        }
        Ok(inner.parts)
    }

    /// `citations: {"enabled":true}` has no place elsewhere.
    fn cited(&mut self, citations: Option<Json<'a>>) {
        if let Some(citations) = citations.filter(|citations| citations.get().contains("true")) {
            self.cited = Some(citations);
        }
    }

    fn document(
        &mut self,
        source: SourceFields<'a>,
        title: Option<Str<'a>>,
        mark: Option<Cache>,
        at: At,
    ) -> Result<(), Missing> {
        let media = |source, name| Part::Media(Media { kind: MediaKind::Document, source, name, cache: mark, at });
        match source.kind.as_deref() {
            Some("text") => {
                let data = source.data.ok_or(("source.data", STRING))?;
                self.parts.push(media(Source::Text(data), title));
            }
            Some("content") => {
                let mut parts = self.within(source.content, at.part)?;
                if parts.iter().all(|part| matches!(part, Part::Text(_))) {
                    self.parts.push(media(Source::Text(joined(parts)), title));
                } else {
                    // A mixture has no form elsewhere but its pieces in order.
                    self.parts.extend(title.map(|title| Part::Text(Text::plain(title))));
                    if let Some(Part::Text(last)) = parts.last_mut() {
                        last.cache = mark;
                    }
                    self.parts.append(&mut parts);
                }
            }
            _ => self.parts.push(match source_of(source, "application/pdf")? {
                Some(source) => media(source, title),
                None => foreign("document".into(), at),
            }),
        }
        Ok(())
    }
}

fn joined(parts: Vec<Part<'_>>) -> Str<'_> {
    let texts: Vec<Str<'_>> =
        parts.into_iter().filter_map(|part| if let Part::Text(text) = part { Some(text.text) } else { None }).collect();
    match <[Str<'_>; 1]>::try_from(texts) {
        Ok([one]) => one,
        Err(texts) => texts.iter().map(Str::as_str).collect::<Vec<_>>().join("\n\n").into(),
    }
}

fn foreign(kind: Str<'_>, at: At) -> Part<'_> {
    Part::Foreign(Foreign { kind, droppable: false, at })
}

fn source_of<'a>(source: SourceFields<'a>, fallback: &'a str) -> Result<Option<Source<'a>>, Missing> {
    Ok(Some(match source.kind.as_deref() {
        Some("base64") => {
            let data = media::clean(source.data.ok_or(("source.data", STRING))?);
            // Clients mislabel images, and vendors compare the label with the bytes.
            let mime = match media::sniff(&data) {
                Some(mime) => mime.into(),
                None => source.media_type.map_or(fallback.into(), lower),
            };
            Source::Data { mime, data }
        }
        Some("url") => {
            Source::Url { url: source.url.ok_or(("source.url", STRING))?, mime: source.media_type.map(lower) }
        }
        Some("file") => Source::File(source.file_id.ok_or(("source.file_id", STRING))?),
        None => return Err(("source.type", STRING)),
        Some(_) => return Ok(None),
    }))
}

fn lower(mime: Str<'_>) -> Str<'_> {
    if mime.bytes().any(|byte| byte.is_ascii_uppercase()) { mime.to_ascii_lowercase().into() } else { mime }
}

/// The input of a call as the object that it has to be.
pub(super) fn object(input: Option<Json<'_>>) -> Json<'_> {
    match input {
        Some(input) if input.is_object() => input.compact(),
        Some(input) if !input.is_null() => {
            let text = input.as_string();
            if let Some(inner) = text.as_deref().and_then(|text| Json::parse(text.to_owned())).filter(Json::is_object) {
                return inner.compact();
            }
            Json::wrapping("_raw", text.as_deref().unwrap_or(input.get()))
        }
        _ => Json::trusted("{}"),
    }
}
