//! The messages of a client's request, read into turns.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::arguments;
use super::files::{address, audio_type, bytes, data_url, file};
use super::nameless::Nameless;
use super::thoughts::with_thoughts;
use super::types::{Detail, Extra, Thinking};
use crate::wire::chat::{
    At, Cache, Call, Foreign, Media, MediaKind, Origin, Outcome, Part, Request, Rest, Role, Seal, Source, Text,
    Thought, Turn,
};
use crate::wire::envelope::{DecodeError, at, field};
use crate::wire::fields::{fields, gather};
use crate::wire::ids;
use crate::wire::lax::{Lax, Shape};
use crate::wire::text::{Json, Str};

#[derive(Default)]
struct Message<'a> {
    role: Str<'a>,
    content: Option<Content<'a>>,
    refusal: Option<Str<'a>>,
    name: Option<Str<'a>>,
    tool_calls: Option<Vec<RawCall<'a>>>,
    function_call: Option<RawFunction<'a>>,
    tool_call_id: Option<Str<'a>>,
    reasoning_content: Lax<Str<'a>>,
    reasoning: Lax<Str<'a>>,
    reasoning_details: Lax<Vec<Detail<'a>>>,
    cache_control: Option<Cache>,
    prompt_cache_breakpoint: Option<&'a RawValue>,
    /// Of an earlier answer.
    audio: Option<Json<'a>>,
    images: Option<Json<'a>>,
}
fields!(Message<'a> {
    role, content, refusal, audio, name, tool_calls, function_call, tool_call_id, reasoning_content, reasoning,
    reasoning_details, cache_control, prompt_cache_breakpoint, images,
} needs "role");

enum Content<'a> {
    Text(Str<'a>),
    Parts(Vec<Piece<'a>>),
}

/// A part without its place, and whether it asks for a `detail` of a picture. It is read at once, since what it is read from is several times as large.
struct Piece<'a>(Part<'a>, bool);

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawPart::deserialize(deserializer)?;
        let detail = raw.image_url.as_ref().is_some_and(|address| address.1);
        read_part(raw).map(|part| Self(part, detail)).map_err(D::Error::custom)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Content<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of parts")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Content::Parts)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Default)]
struct RawPart<'a> {
    r#type: Option<Str<'a>>,
    text: Option<Str<'a>>,
    image_url: Option<Address<'a>>,
    video_url: Option<Address<'a>>,
    input_audio: Lax<Audio<'a>>,
    file: Option<File<'a>>,
    refusal: Option<Str<'a>>,
    thinking: Lax<Thinking<'a>>,
    cache_control: Option<Cache>,
    prompt_cache_breakpoint: Option<&'a RawValue>,
}
fields!(RawPart<'a> {
    r#type = "type", text, image_url, video_url, input_audio, file, refusal,
    thinking, cache_control, prompt_cache_breakpoint,
});

/// A URL, in an object or (older clients) alone; and whether a `detail` beside it says other than what is usual.
struct Address<'a>(Str<'a>, bool);

impl<'de: 'a, 'a> Deserialize<'de> for Address<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Lax::<super::types::Address<'de>>::deserialize(deserializer)? {
            Lax(Some(address)) => Ok(Self(address.0, address.1)),
            Lax(None) => Err(D::Error::custom("it must be an object with a `url`")),
        }
    }
}

/// Base64 with its format, or (Mistral) alone.
#[derive(Default)]
struct Audio<'a> {
    data: Lax<Str<'a>>,
    format: Lax<Str<'a>>,
}
fields!(Audio<'a> { data, format });

impl<'de: 'a, 'a> Shape<'de> for Audio<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self { data: Lax(Some(text)), format: Lax(None) })
    }

    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        gather(map).map(Some)
    }
}

#[derive(Default)]
struct File<'a> {
    data: Option<Str<'a>>,
    id: Option<Str<'a>>,
    filename: Option<Str<'a>>,
}
fields!(File<'a> { data = "file_data", id = "file_id", filename });

#[derive(Default)]
struct RawCall<'a> {
    id: Option<Str<'a>>,
    function: Option<RawFunction<'a>>,
    custom: Option<RawCustom<'a>>,
    extra_content: Lax<Extra<'a>>,
    cache_control: Option<Cache>,
}
fields!(RawCall<'a> { id, function, custom, extra_content, cache_control });

#[derive(Default)]
struct RawFunction<'a> {
    name: Str<'a>,
    /// JSON within a string; some clients send the object.
    arguments: Option<&'a RawValue>,
    /// Portkey's place for a thought signature.
    thought_signature: Lax<Str<'a>>,
}
fields!(RawFunction<'a> { name, arguments, thought_signature } needs "name");

#[derive(Default)]
struct RawCustom<'a> {
    name: Str<'a>,
    input: Option<Str<'a>>,
}
fields!(RawCustom<'a> { name, input } needs "name");

/// Reads `messages` into `to`.
pub(super) fn read<'a>(text: &'a str, to: &mut Request<'a>) -> Result<(), DecodeError> {
    let messages: Vec<Message<'a>> = field("messages", text)?;
    let mut reader = Reader::default();
    to.turns.reserve(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        reader.message(index, message, to)?;
    }
    Ok(())
}

#[derive(Default)]
struct Reader<'a> {
    nameless: Nameless<'a>,
}

impl<'a> Reader<'a> {
    fn message(&mut self, index: usize, message: Message<'a>, to: &mut Request<'a>) -> Result<(), DecodeError> {
        let role = match &*message.role {
            "system" | "developer" => Role::System,
            "user" | "tool" | "function" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                let path = format!("messages[{index}].role");
                return Err(at(path, "it must be system, developer, user, assistant or tool"));
            }
        };
        let tool = matches!(&*message.role, "tool" | "function");
        left_out(index, &message, tool, &mut to.rest);
        let mark = mark(message.cache_control, message.prompt_cache_breakpoint);
        let Message { content, refusal, name, tool_calls, function_call, tool_call_id, .. } = message;
        let mut parts = parts(index, content);
        if tool {
            let outcome = Outcome {
                id: self.answered(tool_call_id, name.as_ref()),
                name,
                content: parts,
                error: false,
                cache: mark,
            };
            to.turns.push(Turn { role, parts: vec![Part::Outcome(outcome)] });
            return Ok(());
        }
        if role == Role::System {
            return system(index, parts, mark, to);
        }
        if role == Role::Assistant {
            parts.extend(refusal.filter(|words| !words.is_empty()).map(|words| Part::Text(Text::plain(words))));
            if message.audio.as_ref().is_some_and(|audio| !audio.is_null()) {
                let at = At { message: index, part: 0 };
                parts.push(Part::Foreign(Foreign { kind: "audio".into(), droppable: false, at }));
            }
            let old = function_call.map(|function| RawCall { function: Some(function), ..RawCall::default() });
            for call in tool_calls.into_iter().flatten().chain(old) {
                parts.extend(self.call(call).map(Part::Call));
            }
            let words = [message.reasoning_content.0, message.reasoning.0].into_iter().flatten();
            let details = message.reasoning_details.0.unwrap_or_default();
            parts = with_thoughts(parts, details, words.into_iter().find(|words| !words.is_empty()));
        }
        set_mark(&mut parts, mark);
        to.turns.push(Turn { role, parts });
        Ok(())
    }

    fn call(&mut self, raw: RawCall<'a>) -> Option<Call<'a>> {
        let (id, suffix) = unsuffixed(raw.id.unwrap_or_default());
        let (name, arguments, signature) = match (raw.function, raw.custom) {
            (Some(function), _) => (function.name, read_arguments(function.arguments), function.thought_signature.0),
            (None, Some(custom)) => (custom.name, Json::wrapping("input", &custom.input.unwrap_or_default()), None),
            (None, None) => return None,
        };
        let id = if id.is_empty() { self.nameless.call(name.clone()).into() } else { ids::restore(id) };
        let signature = raw.extra_content.0.and_then(Extra::signature).or(signature).or(suffix);
        let seal =
            signature.filter(|signature| !signature.is_empty()).map(|data| Seal { origin: Origin::Gemini, data });
        Some(Call { id, name, arguments, seal, cache: raw.cache_control })
    }

    /// The id of the call that a result answers.
    fn answered(&mut self, id: Option<Str<'a>>, name: Option<&Str<'a>>) -> Str<'a> {
        let (id, _) = unsuffixed(id.unwrap_or_default());
        if !id.is_empty() {
            return ids::restore(id);
        }
        self.nameless.answered(name).map_or(id, Into::into)
    }
}

/// What a message has beside its content and no other wire takes: who of several users speaks, sound and pictures that a model
/// made, how closely a picture is looked at.
fn left_out<'a>(index: usize, message: &Message<'a>, tool: bool, rest: &mut Vec<Rest<'a>>) {
    let mut leave = |path: &str, value: Json<'a>| {
        let name = format!("messages[{index}].{path}").into();
        rest.push(Rest { name, value, content: false });
    };
    if !tool && message.name.as_ref().is_some_and(|name| !name.is_empty()) {
        leave("name", Json::trusted("null"));
    }
    if let Some(images) = message.images.as_ref().filter(|images| !images.is_null() && images.get() != "[]") {
        leave("images", images.clone());
    }
    if let Some(Content::Parts(parts)) = &message.content {
        for (part, Piece(_, detail)) in parts.iter().enumerate() {
            if *detail {
                leave(&format!("content[{part}].image_url.detail"), Json::trusted("null"));
            }
        }
    }
}

/// litellm puts Gemini's signatures behind the ids of calls.
pub(super) fn unsuffixed(id: Str<'_>) -> (Str<'_>, Option<Str<'_>>) {
    match id.split_once("__thought__") {
        Some((own, signature)) => (own.to_owned().into(), Some(signature.to_owned().into())),
        None => (id, None),
    }
}

fn read_arguments<'a>(raw: Option<&'a RawValue>) -> Json<'a> {
    let text = raw.map_or("", RawValue::get);
    match serde_json::from_str::<Str<'a>>(text) {
        Ok(inner) => arguments::object(inner),
        Err(_) => arguments::object(text.into()),
    }
}

fn mark(control: Option<Cache>, breakpoint: Option<&RawValue>) -> Option<Cache> {
    // A breakpoint lives for half an hour; an hour is the nearest above.
    control.or_else(|| breakpoint.map(|_| Cache::Hour))
}

/// Puts a message's mark behind its last part.
fn set_mark(parts: &mut [Part<'_>], mark: Option<Cache>) {
    let Some(mark) = mark else { return };
    let last = parts.iter_mut().rev().find_map(|part| match part {
        Part::Text(text) => Some(&mut text.cache),
        Part::Media(media) => Some(&mut media.cache),
        Part::Call(call) => Some(&mut call.cache),
        Part::Outcome(outcome) => Some(&mut outcome.cache),
        Part::Thought(_) | Part::Foreign(_) => None,
    });
    if let Some(last) = last {
        last.get_or_insert(mark);
    }
}

fn system<'a>(
    index: usize,
    mut parts: Vec<Part<'a>>,
    mark: Option<Cache>,
    to: &mut Request<'a>,
) -> Result<(), DecodeError> {
    set_mark(&mut parts, mark);
    if let Some(part) = parts.iter().position(|part| !matches!(part, Part::Text(_))) {
        let path = At { message: index, part }.to_string();
        return Err(at(path, "a system message holds text only"));
    }
    if to.turns.is_empty() {
        to.system.extend(parts.into_iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        }));
    } else {
        to.turns.push(Turn { role: Role::System, parts });
    }
    Ok(())
}

fn parts(message: usize, content: Option<Content<'_>>) -> Vec<Part<'_>> {
    match content {
        None => Vec::new(),
        Some(Content::Text(text)) if text.is_empty() => Vec::new(),
        Some(Content::Text(text)) => vec![Part::Text(Text::plain(text))],
        Some(Content::Parts(list)) => {
            let placed = list.into_iter().enumerate().map(|(part, Piece(mut read, _))| {
                match &mut read {
                    Part::Media(media) => media.at = At { message, part },
                    Part::Foreign(foreign) => foreign.at = At { message, part },
                    _ => {}
                }
                read
            });
            placed.collect()
        }
    }
}

/// The types that a part may have here. (`input_text` and `output_text` are those of the Responses API.)
const TYPES: [&str; 9] =
    ["text", "input_text", "output_text", "refusal", "thinking", "image_url", "video_url", "input_audio", "file"];

fn read_part(raw: RawPart<'_>) -> Result<Part<'_>, String> {
    let cache = mark(raw.cache_control, raw.prompt_cache_breakpoint);
    let media = |kind, source, name| Part::Media(Media { kind, source, name, cache, at: At::default() });
    let kind = raw.r#type.unwrap_or_default();
    if !kind.is_empty() && !TYPES.contains(&&*kind) {
        return Ok(Part::Foreign(Foreign { kind, droppable: false, at: At::default() }));
    }
    if let Some(words) = raw.thinking.0 {
        let text: String = words.0.iter().map(Str::as_str).collect();
        return Ok(Part::Thought(Thought { text: text.into(), ..Thought::default() }));
    }
    if let Some(text) = raw.text.or(raw.refusal) {
        return Ok(Part::Text(Text { text, cache, seal: None }));
    }
    if let Some(Address(url, _)) = raw.image_url {
        return Ok(media(MediaKind::Image, address(url), None));
    }
    if let Some(Address(url, _)) = raw.video_url {
        return Ok(media(MediaKind::Video, address(url), None));
    }
    if let Some(Audio { data: Lax(Some(data)), format }) = raw.input_audio.0 {
        let label = format.0.as_deref().and_then(audio_type);
        let source = data_url(data).unwrap_or_else(|data| bytes(data, label));
        return Ok(media(MediaKind::Audio, source, None));
    }
    match raw.file {
        Some(File { data: Some(data), filename, .. }) => Ok(file(data, filename, cache, At::default())),
        Some(File { id: Some(id), filename, .. }) => Ok(media(MediaKind::Document, Source::File(id), filename)),
        _ => Err(format!("missing field `{}`", if kind.is_empty() { "type" } else { &*kind })),
    }
}
