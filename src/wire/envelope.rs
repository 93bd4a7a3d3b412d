//! The first look at a request: the few fields that routing needs, found without building the rest.
//!
//! Every top-level field is seen, and a repeated one is refused: a reader that takes the last `model` and a reader that
//! takes the first would disagree on what was authorised.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Wire;
use super::splice::{Edit, span_in, splice};
use super::text::{Str, in_json, path_at};

/// What is wrong with a request's body, for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// A sentence that names the field, or the byte offset, and what would be right.
    pub message: String,
    /// The field at fault, where there is one.
    pub field: Option<String>,
}

impl DecodeError {
    fn new(field: Option<&str>, message: String) -> Self {
        Self { message, field: field.map(str::to_owned) }
    }
}

/// A request's top-level fields, borrowed from its body.
#[derive(Debug)]
pub struct Envelope<'a> {
    wire: Wire,
    body: &'a str,
    fields: Vec<Field<'a>>,
    /// The model that the client names.
    pub model: Cow<'a, str>,
    /// Whether it wants a stream.
    pub stream: bool,
    /// Whether it asked for usage in the stream (`OpenAI`'s `stream_options.include_usage`).
    pub usage_asked: bool,
}

#[derive(Clone, Debug)]
struct Field<'a> {
    name: Cow<'a, str>,
    value: &'a RawValue,
}

/// Looks into `body`, a request in the dialect `wire`.
///
/// # Errors
/// One sentence for the sender where the body is not UTF-8, not JSON, not an object, has a field twice, or where `model`,
/// `stream`, `messages` or `stream_options` has the wrong type.
pub fn peek(wire: Wire, body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let mut envelope = open(wire, body)?;
    envelope.model = envelope.model_name()?;
    envelope.stream = envelope.flag("stream")?;
    let messages = envelope.value("messages").ok_or_else(|| missing("messages", "an array of messages"))?;
    if !messages.get().starts_with('[') {
        return Err(wrong("messages", "an array of messages", messages));
    }
    if wire == Wire::OpenAiChat {
        envelope.usage_asked = envelope.include_usage()?;
    }
    Ok(envelope)
}

/// Looks into the body of a request that is no conversation: only its `model`, which is empty where it names none, `stream` and
/// `stream_options` are read.
pub(super) fn look(body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let mut envelope = open(Wire::OpenAiChat, body)?;
    if envelope.value("model").is_some_and(|model| model.get() != "null") {
        envelope.model = envelope.model_name()?;
    }
    envelope.stream = envelope.flag("stream")?;
    // Options that we cannot read are the upstream's to judge, and stay as they are.
    envelope.usage_asked = envelope.include_usage().unwrap_or(true);
    Ok(envelope)
}

fn open(wire: Wire, body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::new(None, "the body is empty; send a JSON object".to_owned()));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        DecodeError::new(None, format!("the body is not valid UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let Fields(fields) = serde_json::from_str(text).map_err(|error| describe(text, &error))?;
    Ok(Envelope { wire, body: text, fields, model: Cow::Borrowed(""), stream: false, usage_asked: false })
}

impl<'a> Envelope<'a> {
    /// The dialect it was written in.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// How many bytes the whole body has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.body.len() as u64
    }

    /// Whether the request sets this top-level field, be it to `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// The raw text of a top-level field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// The tags that litellm's clients send, in `tags` or `metadata.tags`. Of another form they are none.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let metadata = self.value("metadata").map(|metadata| serde_json::from_str::<Fields<'_>>(metadata.get()));
        let within = metadata.and_then(Result::ok).and_then(|fields| fields.find("tags"));
        let tags = self.value("tags").map(RawValue::get).into_iter().chain(within);
        tags.filter_map(|tags| serde_json::from_str::<Vec<String>>(tags).ok()).flatten().collect()
    }

    /// Whether it seems to name something that an upstream keeps, such as a file: that this is missing is its sender's affair.
    #[must_use]
    pub fn names_files(&self) -> bool {
        [r#""file_id""#, r#""container""#].iter().any(|name| self.body.contains(name))
    }

    /// The body without `metadata.tags`, where that is a list: it is litellm's, and the vendors refuse it. `None` if there is none.
    #[must_use]
    pub fn without_tags(&self, body: &Bytes) -> Option<Bytes> {
        let metadata = self.value("metadata")?;
        let fields: Fields<'_> = serde_json::from_str(metadata.get()).ok()?;
        fields.find("tags").filter(|tags| tags.starts_with('['))?;
        if fields.0.len() == 1 {
            return Some(self.without(&["metadata".to_owned()]).into());
        }
        let inner =
            Envelope { wire: self.wire, body: metadata.get(), fields: fields.0, model: Cow::Borrowed(""), ..*self };
        let kept = inner.without(&["tags".to_owned()]);
        Some(splice(body, vec![Edit::new(span_in(self.body, metadata.get()), kept)]))
    }

    /// Whom the client says it asks for: `user`, or Anthropic's `metadata.user_id`.
    #[must_use]
    pub fn user(&self) -> Option<Str<'a>> {
        match self.wire {
            Wire::OpenAiChat | Wire::Gemini => serde_json::from_str(self.value("user")?.get()).ok(),
            Wire::AnthropicMessages => {
                let metadata: Fields<'a> = serde_json::from_str(self.value("metadata")?.get()).ok()?;
                serde_json::from_str(metadata.find("user_id")?).ok()
            }
        }
    }

    /// Every top-level field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.fields.iter().map(|field| (field.name.as_ref(), field.value.get()))
    }

    /// The same request with the fields that `keep` names only.
    #[must_use]
    pub(super) fn keeping(&self, keep: impl Fn(&str) -> bool) -> Self {
        let fields = self.fields.iter().filter(|field| keep(&field.name)).cloned().collect();
        Self { wire: self.wire, body: self.body, fields, model: self.model.clone(), ..*self }
    }

    /// Where the value of a field stands; an empty span if it is not there.
    #[must_use]
    pub(super) fn span_of(&self, name: &str) -> Range<usize> {
        self.value(name).map_or(0..0, |value| span_in(self.body, value.get()))
    }

    /// Whether there is no field at all.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The place right behind the opening brace, where fields can be put in front of all others.
    #[must_use]
    pub(super) fn front(&self) -> usize {
        self.body.find('{').map_or(0, |brace| brace + 1)
    }

    /// The edit that turns `stream_options.include_usage` on in the options that the request has; `None` if it has none.
    pub(super) fn with_usage_asked(&self) -> Option<Edit> {
        let options = self.value("stream_options")?;
        let span = span_in(self.body, options.get());
        let Ok(Fields(fields)) = serde_json::from_str::<Fields<'_>>(options.get()) else {
            return Some(Edit::new(span, r#"{"include_usage":true}"#.to_owned()));
        };
        if let Some(field) = fields.iter().find(|field| field.name == "include_usage") {
            return Some(Edit::new(span_in(self.body, field.value.get()), "true".to_owned()));
        }
        let comma = if fields.is_empty() { "" } else { "," };
        Some(Edit::new(span.start + 1..span.start + 1, format!(r#""include_usage":true{comma}"#)))
    }

    /// The body without these fields: the object written anew from the texts of the others.
    #[must_use]
    pub(super) fn without(&self, names: &[String]) -> String {
        let mut out = String::with_capacity(self.body.len());
        out.push('{');
        for field in self.fields.iter().filter(|field| !names.iter().any(|name| *name == field.name)) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&super::quoted(&field.name));
            out.push(':');
            out.push_str(field.value.get());
        }
        out.push('}');
        out
    }

    fn model_name(&self) -> Result<Cow<'a, str>, DecodeError> {
        let want = "a string, the name of a model";
        let value = self.value("model").ok_or_else(|| missing("model", want))?;
        match serde_json::from_str::<Str<'a>>(value.get()) {
            Ok(name) if name.is_empty() => {
                Err(DecodeError::new(Some("model"), "`model` is empty; it must be the name of a model".to_owned()))
            }
            Ok(name) => Ok(name.into_cow()),
            Err(_) if value.get().starts_with('"') => {
                let message = "`model` holds an escape that is no character; it must be the name of a model";
                Err(DecodeError::new(Some("model"), message.to_owned()))
            }
            Err(_) => Err(wrong("model", want, value)),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, DecodeError> {
        let Some(value) = self.value(name) else { return Ok(false) };
        match value.get() {
            "null" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(wrong(name, "a boolean", value)),
        }
    }

    fn include_usage(&self) -> Result<bool, DecodeError> {
        let Some(options) = self.value("stream_options").filter(|value| value.get() != "null") else {
            return Ok(false);
        };
        if !options.get().starts_with('{') {
            return Err(wrong("stream_options", "an object", options));
        }
        let Fields(fields) = serde_json::from_str(options.get()).map_err(|error| {
            let mut error = describe(options.get(), &error);
            error.field = Some("stream_options".to_owned());
            error.message = format!("`stream_options`: {}", error.message);
            error
        })?;
        match fields.iter().find(|field| field.name == "include_usage").map(|field| field.value) {
            None => Ok(false),
            Some(value) => match value.get() {
                "true" => Ok(true),
                "false" | "null" => Ok(false),
                _ => Err(wrong("stream_options.include_usage", "a boolean", value)),
            },
        }
    }
}

fn missing(field: &str, want: &str) -> DecodeError {
    DecodeError::new(Some(field), format!("`{field}` is missing; it must be {want}"))
}

fn wrong(field: &str, want: &str, got: &RawValue) -> DecodeError {
    let got = match got.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    DecodeError::new(Some(field), format!("`{field}` is {got}; it must be {want}"))
}

const DUPLICATE: &str = "duplicate field ";

fn describe(text: &str, error: &serde_json::Error) -> DecodeError {
    let (what, line) = said(text, error);
    if let Some(field) = what.strip_prefix(DUPLICATE) {
        let name = field.trim_matches('`');
        return DecodeError::new(Some(name), format!("{field} stands twice in the body; send it once"));
    }
    if !text.trim_start().starts_with('{') && error.is_data() {
        return DecodeError::new(None, "the body is not a JSON object".to_owned());
    }
    let offset = (line + error.column().saturating_sub(1)).min(text.len());
    DecodeError::new(None, format!("the body is not valid JSON at byte {offset}: {what}"))
}

/// Reads the value of a top-level field.
pub(super) fn field<'a, T: Deserialize<'a>>(name: &str, text: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| untyped(name, text, &error))
}

/// An error of serde with the path of the value at fault.
fn untyped(name: &str, text: &str, error: &serde_json::Error) -> DecodeError {
    let (what, line) = said(text, error);
    let offset = line + error.column();
    let mut path = path_at(name, text, offset);
    // What is missing is told at the end of its object, where the path names the last field that is there.
    if what.starts_with("missing field")
        && let Some(before) = text.get(..offset).and_then(|text| text.strip_suffix('}'))
        && !before.trim_end().ends_with('{')
        && let Some((object, _)) = path.rsplit_once('.')
    {
        path.truncate(object.len());
    }
    at(path, &in_json(&what))
}

/// An error at a path.
pub(super) fn at(path: String, what: &str) -> DecodeError {
    DecodeError { message: format!("`{path}`: {what}"), field: Some(path) }
}

/// What serde says, without the place, and where the line of that begins.
fn said(text: &str, error: &serde_json::Error) -> (String, usize) {
    let mut what = error.to_string();
    what.truncate(what.rfind(" at line ").unwrap_or(what.len()));
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    (what, before.map(str::len).sum())
}

/// All fields of an object, in order, each once.
pub(super) struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// The raw text of a field.
    pub(super) fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|field| field.name == name).map(|field| field.value.get())
    }

    /// The fields as pairs of name and raw text.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|field| (field.name.as_ref(), field.value.get()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

/// Up to so many fields a linear search for duplicates is the fastest; above it a set keeps hostile bodies cheap.
const LINEAR: usize = 24;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<Field<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<Field<'de>> = Vec::with_capacity(LINEAR);
        let mut names: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(name) = map.next_key::<Str<'de>>()?.map(Str::into_cow) {
            let twice = if fields.len() < LINEAR {
                fields.iter().any(|field| field.name == name)
            } else {
                if names.is_empty() {
                    names.extend(fields.iter().map(|field| field.name.clone()));
                }
                !names.insert(name.clone())
            };
            if twice {
                return Err(serde::de::Error::custom(format_args!("{DUPLICATE}`{name}`")));
            }
            fields.push(Field { name, value: map.next_value()? });
        }
        Ok(fields)
    }
}
