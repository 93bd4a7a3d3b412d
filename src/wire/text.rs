//! Text and JSON that borrow from a body where they can, and the writer that every encoder uses.
//!
//! No `tag`, `untagged` or `flatten` anywhere in `wire`: serde buffers there, which copies text, breaks [`Json`] at run time
//! and loses the spelling of numbers. Wire structs are flat and a function makes the enum.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::ops::Deref;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A string, borrowed unless it holds escapes. Unlike a `Cow` it also borrows inside `Option` and `Vec`.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Str<'a>(Cow<'a, str>);

impl<'a> Str<'a> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    #[must_use]
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }

    /// The same text, free of the body it came from.
    #[must_use]
    pub fn detached(self) -> Str<'static> {
        Str(Cow::Owned(self.0.into_owned()))
    }

    /// The same text for a shorter time, without a copy.
    #[must_use]
    pub fn reborrow(&self) -> Str<'_> {
        Str(Cow::Borrowed(&self.0))
    }

    /// Whether there is nothing but white space: what Anthropic and Bedrock refuse as a text block.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// The text as a `Cow`.
    #[must_use]
    pub fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl Display for Str<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Str<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Str<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self(text)
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Str<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// One JSON value as text: a schema, a tool's arguments, a part that we do not know. Order of keys, spelling of numbers and
/// escapes stay as they were written.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Takes text that is known to be one JSON value.
    #[must_use]
    pub fn trusted(text: impl Into<Cow<'a, str>>) -> Self {
        Self(text.into())
    }

    /// Takes text if it is one JSON value.
    #[must_use]
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
        Some(match text {
            Cow::Borrowed(text) => Self(Cow::Borrowed(text.trim())),
            Cow::Owned(text) => Self(Cow::Owned(text.trim().to_owned())),
        })
    }

    /// `{"key":"text"}`.
    #[must_use]
    pub fn wrapping(key: &str, text: &str) -> Json<'static> {
        let mut out = Writer::with_capacity(text.len() + 16);
        out.open('{').key(key).string(text).close('}');
        out.into_json()
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// The string that it is, if it is one.
    #[must_use]
    pub fn as_string(&self) -> Option<Str<'_>> {
        serde_json::from_str(&self.0).ok()
    }

    /// The same value without white space between its tokens.
    #[must_use]
    pub fn compact(self) -> Json<'a> {
        if is_compact(&self.0) {
            return self;
        }
        let mut out = String::with_capacity(self.0.len());
        let mut rest: &str = &self.0;
        while let Some(quote) = rest.find('"') {
            let (between, string) = rest.split_at(quote);
            out.extend(between.split_ascii_whitespace());
            let end = string_end(string);
            let (string, after) = string.split_at(end);
            out.push_str(string);
            rest = after;
        }
        out.extend(rest.split_ascii_whitespace());
        Json(Cow::Owned(out))
    }

    /// The same value, free of the body it came from.
    #[must_use]
    pub fn detached(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    /// The same value for a shorter time, without a copy.
    #[must_use]
    pub fn reborrow(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(|raw| Self(Cow::Borrowed(raw.get())))
    }
}

/// Where the string that `text` begins with ends, closing quote included.
pub(super) fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

fn is_compact(text: &str) -> bool {
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let (between, string) = rest.split_at(quote);
        if between.bytes().any(|byte| byte.is_ascii_whitespace()) {
            return false;
        }
        rest = string.get(string_end(string)..).unwrap_or_default();
    }
    !rest.bytes().any(|byte| byte.is_ascii_whitespace())
}

/// Writes compact JSON. Commas come by themselves; what is opened has to be closed by the caller.
///
/// ```
/// # use feathergate::wire::text::Writer;
/// let mut out = Writer::default();
/// out.open('{');
/// out.key("model").string("x");
/// out.key("stop").open('[');
/// out.string("a").string("b");
/// out.close(']');
/// out.close('}');
/// assert_eq!(out.into_bytes(), br#"{"model":"x","stop":["a","b"]}"#);
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A writer with room for so many bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    fn separate(&mut self) {
        // No value ends with one of these, so the last byte tells where we are; a line end or a space frames an event.
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':' | b' ' | b'\n')) {
            self.out.push(b',');
        }
    }

    /// Opens an object or an array.
    pub fn open(&mut self, bracket: char) -> &mut Self {
        self.separate();
        self.out.push(if bracket == '[' { b'[' } else { b'{' });
        self
    }

    /// Closes what was opened.
    pub fn close(&mut self, bracket: char) -> &mut Self {
        self.out.push(if bracket == ']' { b']' } else { b'}' });
        self
    }

    /// A key, which must need no escapes; its value comes next.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    /// A key from outside, escaped.
    pub fn foreign_key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.out.push(b':');
        self
    }

    /// A string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.value(&text)
    }

    /// Anything that serializes to a JSON value without failing.
    pub fn value(&mut self, value: &impl Serialize) -> &mut Self {
        self.separate();
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(&mut self.out, value);
        self
    }

    /// A JSON value as it is.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// An integer or a boolean.
    pub fn plain(&mut self, value: impl Display) -> &mut Self {
        use std::io::Write as _;
        self.separate();
        let _ = write!(self.out, "{value}");
        self
    }

    /// A finite number; anything else is `null`.
    pub fn number(&mut self, value: f64) -> &mut Self {
        if value.is_finite() { self.plain(value) } else { self.null() }
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.raw("null")
    }

    /// An array of strings.
    pub fn strings<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> &mut Self {
        self.open('[');
        for text in texts {
            self.string(text);
        }
        self.close(']')
    }

    /// A string or `null`.
    pub fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// Bytes that frame JSON, such as `data: `: no comma before them. End them with a space or a line end.
    pub fn frame(&mut self, bytes: &str) -> &mut Self {
        self.out.extend_from_slice(bytes.as_bytes());
        self
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Takes what was written and leaves the writer empty.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What was written, as JSON. For a writer that was used for one value.
    #[must_use]
    pub fn into_json(self) -> Json<'static> {
        Json(Cow::Owned(String::from_utf8(self.out).unwrap_or_default()))
    }
}

/// The path of the value that stands at byte `offset` of `text`, such as `messages[3].content[0].text`: for an error that
/// serde gives with a line and a column only. `root` is put in front.
#[must_use]
pub fn path_at(root: &str, text: &str, offset: usize) -> String {
    enum Level {
        Object(String),
        Array(usize),
    }

    let bytes = text.as_bytes();
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    let mut key_next = false;
    while at < offset.min(bytes.len()) {
        match bytes.get(at) {
            Some(b'{') => {
                levels.push(Level::Object(String::new()));
                key_next = true;
            }
            Some(b'[') => {
                levels.push(Level::Array(0));
                key_next = false;
            }
            Some(b'}' | b']') => {
                // An error is told at the last byte of its value.
                if at + 1 >= offset {
                    break;
                }
                levels.pop();
                key_next = false;
            }
            Some(b',') => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_)) => key_next = true,
                None => {}
            },
            Some(b'"') => {
                let end = at + string_end(text.get(at..).unwrap_or("\""));
                if key_next && let Some(Level::Object(key)) = levels.last_mut() {
                    text.get(at + 1..end.saturating_sub(1)).unwrap_or_default().clone_into(key);
                    key_next = false;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = root.to_owned();
    for level in levels {
        match level {
            Level::Object(key) if key.is_empty() => {}
            Level::Object(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.chars().take(64));
            }
            Level::Array(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
    }
    path
}

/// What serde says about a value, in JSON's words instead of Rust's.
#[must_use]
pub fn in_json(what: &str) -> Cow<'_, str> {
    let Some((got, want)) = what.rsplit_once(", expected ") else { return what.into() };
    let want = match want {
        "u8" | "u16" | "u32" | "u64" => "a whole number that is not negative",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        want if want.starts_with("struct ") => "an object",
        want => want,
    };
    let got = match got {
        "invalid type: map" => "invalid type: object",
        "invalid type: sequence" => "invalid type: array",
        got => got,
    };
    [got, ", expected ", want].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_borrow_wherever_they_stand() {
        #[derive(Deserialize)]
        struct Holder<'a> {
            #[serde(borrow)]
            one: Option<Str<'a>>,
            #[serde(borrow)]
            many: Vec<Str<'a>>,
            #[serde(borrow)]
            raw: Json<'a>,
        }

        let text = r#"{"one":"a","many":["b","c\n"],"raw":{"x": 1.0}}"#;
        let holder: Holder<'_> = serde_json::from_str(text).unwrap();
        assert!(matches!(holder.one.unwrap().0, Cow::Borrowed("a")));
        assert!(matches!(holder.many[0].0, Cow::Borrowed("b")));
        assert!(matches!(&holder.many[1].0, Cow::Owned(text) if text == "c\n"));
        assert!(matches!(holder.raw.0, Cow::Borrowed(r#"{"x": 1.0}"#)));
    }

    #[test]
    fn compact_changes_white_space_only() {
        for (text, want) in [
            ("{ \"a\" : [ 1.0 , \"x  \\\" y\" ] }", "{\"a\":[1.0,\"x  \\\" y\"]}"),
            ("{}", "{}"),
            ("  3 ", "3"),
            ("{\n \"ü\": \"\\u00fc\"\n}", "{\"ü\":\"\\u00fc\"}"),
            ("\"\\\\\" ", "\"\\\\\""),
        ] {
            assert_eq!(Json::parse(text).unwrap().compact().get(), want);
        }
        assert_eq!(Json::parse("{\"a\":"), None);
    }

    #[test]
    fn errors_speak_of_json() {
        for (serde, want) in [
            ("invalid type: integer `1`, expected struct Message", "invalid type: integer `1`, expected an object"),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number that is not negative",
            ),
            ("invalid type: map, expected f64", "invalid type: object, expected a number"),
            ("invalid type: sequence, expected a string", "invalid type: array, expected a string"),
            ("missing field `role`", "missing field `role`"),
        ] {
            assert_eq!(in_json(serde), want);
        }
    }

    #[test]
    fn an_error_has_a_path() {
        let text = r#"[{"role":"user","content":[{"type":"text"},{"type":"text","text":5}]}]"#;
        let offset = text.find('5').unwrap() + 1;
        assert_eq!(path_at("messages", text, offset), "messages[0].content[1].text");
        assert_eq!(path_at("", text, text.find("\"user\"").unwrap() + 6), "[0].role");
        assert_eq!(path_at("tools", "5", 1), "tools");
    }
}
