//! What a request needs of the model that answers it, seen without reading the conversation: most bodies are passed over at the
//! speed of a search for a few words.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::Wire;
use super::chat::MediaKind;
use super::envelope::{DecodeError, Envelope};
use super::fields::{fields, gather};
use super::lax::{Lax, Shape, objects};
use super::profile::{Profile, Reasons};
use super::text::Str;
use super::{estimate, media};

/// The words that the parts with media are known by, in each dialect.
static OPENAI: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| [r#"_url""#, r#""input_audio""#, r#""file""#].map(Finder::new));
static RESPONSES: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
    [
        r#""input_image""#,
        r#""input_file""#,
        r#""input_audio""#,
        r#""computer_screenshot""#,
        r#""image_generation_call""#,
    ]
    .map(Finder::new)
});
static ANTHROPIC: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [r#""image""#, r#""document""#].map(Finder::new));

/// What a request needs.
///
/// ```
/// use feathergate::wire::{Wire, needs::Needs, peek};
/// let body = br#"{"model":"m","messages":[{"role":"user","content":[
///     {"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]}"#;
/// let needs = Needs::of(&peek(Wire::OpenAiChat, body).unwrap());
/// assert!(needs.images && !needs.audio);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub struct Needs {
    /// It holds pictures.
    pub images: bool,
    /// It holds PDF files, or files of which nothing is known.
    pub documents: bool,
    /// It holds sound.
    pub audio: bool,
    /// It holds films.
    pub video: bool,
    /// It offers tools.
    pub tools: bool,
    /// It wants an answer after a JSON schema.
    pub schema: bool,
    /// It asks for reasoning.
    pub reasoning: bool,
    /// How much of the body is media.
    bytes: u64,
    /// What they cost in tokens, at most by our guess.
    tokens: u64,
    /// What they cost in tokens, by the guess that [`estimate`] makes.
    guess: u64,
    /// It is for the Responses API, where models reason beside tools that cannot elsewhere.
    response: bool,
}

impl Needs {
    /// What a request needs. A part that cannot be read needs nothing: whoever reads it in earnest says what is wrong.
    #[must_use]
    pub fn of(envelope: &Envelope<'_>) -> Self {
        let mut needs = Self::default();
        for (name, value) in envelope.fields() {
            match name {
                "messages" => needs.messages(envelope.wire(), value),
                "tools" | "functions" => needs.tools |= value.starts_with('[') && !is_empty(value),
                "response_format" | "output_format" => needs.schema |= is_schema(value),
                "output_config" => {
                    let config: Named<'_> = read(value);
                    needs.schema |= config.format.is_some_and(|format| is_schema(format.get()));
                    needs.reasoning |= config.effort.is_some();
                }
                "reasoning_effort" => needs.reasoning |= !matches!(value, "null" | "\"none\""),
                "reasoning" => {
                    let said: Named<'_> = read(value);
                    let off = said.enabled == Some(false) || said.effort.as_deref() == Some("none");
                    let on = said.effort.is_some() || said.max_tokens.is_some() || said.enabled == Some(true);
                    needs.reasoning |= on && !off;
                }
                "thinking" => {
                    let kind = read::<Named<'_>>(value).kind;
                    needs.reasoning |= kind.is_some_and(|kind| kind == "enabled" || kind == "adaptive");
                }
                _ => {}
            }
        }
        needs
    }

    /// What a request of the Responses API needs.
    pub(super) fn of_response(fields: &Envelope<'_>) -> Self {
        let mut needs = Self { response: true, ..Self::default() };
        for (name, value) in fields.fields() {
            match name {
                "input"
                    if value.starts_with('[') && RESPONSES.iter().any(|word| word.find(value.as_bytes()).is_some()) =>
                {
                    needs.items(list(value));
                }
                // Others run at the vendor, who knows which models may.
                "tools" => {
                    let called = |tool: &Item<'_>| matches!(tool.kind.as_str(), "function" | "custom" | "namespace");
                    needs.tools = list::<Item<'_>>(value).iter().any(called);
                }
                "text" => needs.schema = read::<Named<'_>>(value).format.is_some_and(|format| is_schema(format.get())),
                "reasoning" => needs.reasoning = read::<Named<'_>>(value).effort.is_some_and(|effort| effort != "none"),
                _ => {}
            }
        }
        needs
    }

    /// What its media cost in tokens, by our guess.
    pub(super) fn media_tokens(&self) -> u64 {
        self.guess
    }

    /// Whether there is anything that not every model has.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any_media() || self.tools || self.schema || self.reasoning
    }

    /// Whether there is anything but text.
    #[must_use]
    pub fn any_media(&self) -> bool {
        self.images || self.documents || self.audio || self.video
    }

    /// What the request holds that a model with this profile cannot take at all, in the words of a message. Of a model that
    /// nobody knows it is not assumed that it reads no films.
    #[must_use]
    pub fn refused_by(&self, profile: &Profile) -> Option<&'static str> {
        let reads = profile.reads;
        [
            (self.images && !reads.images, "images"),
            (self.documents && !reads.documents, "documents"),
            (self.audio && !reads.audio, "audio"),
            (self.video && !reads.video && profile.known, "video"),
            (self.tools && !profile.tools, "tools"),
        ]
        .into_iter()
        .find_map(|(lacks, what)| lacks.then_some(what))
    }

    /// Whether a model with this profile can do all that the request asks for, and not only take it: what is missing here can
    /// be left out, or be replaced by something that is nearly as good.
    #[must_use]
    pub fn met_by(&self, profile: &Profile) -> bool {
        let schema = profile.schemas && (profile.schemas_with_tools || !self.tools);
        (!self.schema || schema)
            && (!self.reasoning || profile.reasons != Reasons::Never)
            && (!self.reasoning || !self.tools || self.response || profile.reasons_with_tools)
    }

    /// Looks for media in the messages. The words that the parts with media are known by stand in no other text of most
    /// conversations: within a string their quotes would be escaped.
    fn messages(&mut self, wire: Wire, messages: &str) {
        let words = match wire {
            Wire::OpenAiChat => OPENAI.as_slice(),
            Wire::AnthropicMessages => ANTHROPIC.as_slice(),
            Wire::Gemini => return,
        };
        if !words.iter().any(|word| word.find(messages.as_bytes()).is_some()) {
            return;
        }
        for message in list::<Part<'_>>(messages) {
            self.parts(message.content);
        }
    }

    /// Looks for media in the parts of a content; within a result of a tool or a document there are more.
    fn parts(&mut self, parts: Lax<Vec<Part<'_>>>) {
        for part in parts.0.unwrap_or_default() {
            match part.kind.0.as_deref() {
                Some("image_url") => self.media(MediaKind::Image, part.image_url.0),
                Some("video_url") => self.media(MediaKind::Video, part.video_url.0),
                Some("input_audio") => self.media(MediaKind::Audio, part.input_audio.0),
                Some("file") => self.media(MediaKind::Document, part.file.0),
                Some("image") => self.media(MediaKind::Image, part.source.0),
                Some("document") => match part.source.0 {
                    Some(source) if source.kind.0.as_deref() == Some("text") => {}
                    Some(source) if source.kind.0.as_deref() == Some("content") => self.parts(source.content),
                    source => self.media(MediaKind::Document, source),
                },
                Some("tool_result" | "search_result" | "mid_conv_system") => self.parts(part.content),
                _ => {}
            }
        }
    }

    /// Looks for media in the items of the Responses API, and in their parts.
    fn items(&mut self, items: Vec<Item<'_>>) {
        for item in items {
            match item.kind.as_str() {
                "input_image" | "computer_screenshot" => self.media(MediaKind::Image, item.image_url.0),
                "input_audio" => self.media(MediaKind::Audio, item.input_audio.0),
                "input_file" => {
                    let (url, data, name) = (item.file_url, item.file_data, item.filename);
                    self.media(MediaKind::Document, Some(File { url, data, name, ..File::default() }));
                }
                "image_generation_call" => {
                    self.media(MediaKind::Image, Some(File { data: item.result, ..File::default() }));
                }
                _ => {}
            }
            self.items(item.content.0.unwrap_or_default());
            self.items(item.output.0.map_or_else(Vec::new, |output| output.0));
        }
    }

    /// A part that is `kind` by its name, and something else if its data say so.
    fn media(&mut self, kind: MediaKind, file: Option<File<'_>>) {
        let file = file.unwrap_or_default();
        let given = file.data.0.is_some();
        let data = file.data.0.or(file.url.0).filter(|data| !data.is_empty());
        let data = data.as_deref().unwrap_or_default();
        let is_text = |name: &Str<'_>| {
            let end = name.rsplit('.').next().unwrap_or_default();
            ["txt", "md", "csv"].iter().any(|kind| end.eq_ignore_ascii_case(kind))
        };
        let label = label(data).or_else(|| data.get(..24).and_then(media::sniff));
        let label = label.and_then(|label| label.split('/').next()).unwrap_or_default().to_ascii_lowercase();
        let kind = match label.as_str() {
            "image" => MediaKind::Image,
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            // It is sent as text.
            "text" => return self.text(data, given),
            "" if file.name.0.is_some_and(|name| is_text(&name)) => return self.text(data, given),
            "" => kind,
            _ => MediaKind::Document,
        };
        match kind {
            MediaKind::Image => self.images = true,
            MediaKind::Document => self.documents = true,
            MediaKind::Audio => self.audio = true,
            MediaKind::Video => self.video = true,
        }
        // An address says nothing of the size behind it.
        let size = Some(data.len() as u64).filter(|size| *size > 2000);
        self.bytes += size.unwrap_or_default();
        self.tokens += estimate::media_tokens(kind, size).max(estimate::media_tokens(kind, None));
        if self.response {
            self.guess += estimate::media_tokens(kind, base64(data, given));
        }
    }

    /// A file of text: four letters are three bytes, and four bytes a token.
    fn text(&mut self, data: &str, given: bool) {
        if self.response {
            self.guess += base64(data, given).unwrap_or_default() * 3 / 16;
        }
    }
}

/// How much base64 there is, in a data URL or as it was `given`; nothing of an address.
fn base64(data: &str, given: bool) -> Option<u64> {
    let url = data.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    let start = if url { data.find(',').map_or(0, |comma| comma + 1) } else { 0 };
    Some((data.len() - start) as u64).filter(|_| given || url)
}

/// A message, or a part of one.
#[derive(Default)]
struct Part<'a> {
    kind: Lax<Str<'a>>,
    content: Lax<Vec<Part<'a>>>,
    source: Lax<File<'a>>,
    image_url: Lax<File<'a>>,
    video_url: Lax<File<'a>>,
    input_audio: Lax<File<'a>>,
    file: Lax<File<'a>>,
}
fields!(Part<'a> { kind = "type", content, source, image_url, video_url, input_audio, file });
objects!(Part<'a>);

/// Where media are, or what they are.
#[derive(Default)]
struct File<'a> {
    kind: Lax<Str<'a>>,
    content: Lax<Vec<Part<'a>>>,
    url: Lax<Str<'a>>,
    data: Lax<Str<'a>>,
    name: Lax<Str<'a>>,
}
fields!(File<'a> { kind = "type", content, url, data = "data" | "file_data", name = "filename" });

impl<'de: 'a, 'a> Shape<'de> for File<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self { url: Lax(Some(text)), ..Self::default() })
    }

    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        gather(map).map(Some)
    }
}

/// An item of the Responses API, a part of one, or a tool.
#[derive(Default)]
struct Item<'a> {
    kind: Lax<Str<'a>>,
    content: Lax<Vec<Item<'a>>>,
    output: Lax<Output<'a>>,
    image_url: Lax<File<'a>>,
    input_audio: Lax<File<'a>>,
    file_data: Lax<Str<'a>>,
    file_url: Lax<Str<'a>>,
    filename: Lax<Str<'a>>,
    result: Lax<Str<'a>>,
}
fields!(Item<'a> {
    kind = "type", content, output, image_url, input_audio, file_data, file_url, filename, result,
});
objects!(Item<'a>);

/// What a tool answered: parts, or one.
struct Output<'a>(Vec<Item<'a>>);

impl<'de: 'a, 'a> Shape<'de> for Output<'a> {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::list(list)?.map(Self))
    }

    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        gather(map).map(|item| Some(Self(vec![item])))
    }
}

/// The fields of settings that are looked at.
#[derive(Default)]
struct Named<'a> {
    kind: Option<Str<'a>>,
    format: Option<&'a RawValue>,
    effort: Option<Str<'a>>,
    enabled: Option<bool>,
    max_tokens: Option<u64>,
}
fields!(Named<'a> { kind = "type", format, effort, enabled, max_tokens });

/// What can be read of an object; nothing where it is none.
fn read<'a, T: serde::Deserialize<'a> + Default>(text: &'a str) -> T {
    T::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap_or_default()
}

/// What can be read of an array.
fn list<'a, T: Shape<'a>>(text: &'a str) -> Vec<T> {
    serde_json::from_str::<Lax<Vec<T>>>(text).ok().and_then(|list| list.0).unwrap_or_default()
}

fn is_empty(list: &str) -> bool {
    list.get(1..).is_some_and(|rest| rest.trim_ascii_start().starts_with(']'))
}

fn is_schema(format: &str) -> bool {
    read::<Named<'_>>(format).kind.is_some_and(|kind| kind == "json_schema")
}

/// What a data URL holds, by its first bytes or by what it says.
fn label(url: &str) -> Option<&str> {
    let rest = url.get(..5).filter(|start| start.eq_ignore_ascii_case("data:")).and(url.get(5..))?;
    let (head, data) = rest.split_once(',')?;
    let said = head.split(';').next().filter(|kind| !kind.is_empty());
    data.get(..24).and_then(media::sniff).or(said)
}

/// How many input tokens a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Surely no more than this: as if each byte that is not of media were a token.
    Below(u64),
    /// About so many, by [`super::guess_tokens`]: between 0.95 and 1.4 times what the vendors count.
    About(u64),
}

impl Size {
    /// The size, as exactly as it takes to compare it with limits of `least` and more: nothing is counted where even one token
    /// for each byte would be within.
    ///
    /// # Errors
    /// As [`super::guess_tokens`].
    pub fn of(envelope: &Envelope<'_>, needs: &Needs, least: u64) -> Result<Self, DecodeError> {
        match Self::below(envelope.size(), needs, least) {
            Some(size) => Ok(size),
            None => super::guess_tokens(envelope).map(Self::About),
        }
    }

    /// The same of a body of so many bytes, which `guess` guesses.
    pub(super) fn read(bytes: u64, needs: &Needs, least: u64, guess: impl FnOnce() -> Option<u64>) -> Option<Self> {
        Self::below(bytes, needs, least).or_else(|| guess().map(Self::About))
    }

    fn below(bytes: u64, needs: &Needs, least: u64) -> Option<Self> {
        let most = bytes.saturating_sub(needs.bytes).saturating_add(needs.tokens);
        (most <= least).then_some(Self::Below(most))
    }

    /// Whether it is expected to be within `limit`.
    #[must_use]
    pub fn within(self, limit: u64) -> bool {
        let (Self::Below(tokens) | Self::About(tokens)) = self;
        tokens <= limit
    }

    /// Whether it is above `limit` even if the guess is as far above the truth as it ever was.
    #[must_use]
    pub fn surely_above(self, limit: u64) -> bool {
        match self {
            Self::Below(_) => false,
            Self::About(tokens) => tokens.saturating_mul(5) / 7 > limit,
        }
    }

    /// The number of tokens, as it is guessed.
    #[must_use]
    pub fn tokens(self) -> u64 {
        let (Self::Below(tokens) | Self::About(tokens)) = self;
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::look;
    use super::super::peek;
    use super::*;

    const NONE: Needs = Needs {
        images: false,
        documents: false,
        audio: false,
        video: false,
        tools: false,
        schema: false,
        reasoning: false,
        bytes: 0,
        tokens: 0,
        guess: 0,
        response: false,
    };
    const IMAGES: Needs = Needs { images: true, ..NONE };
    const DOCUMENTS: Needs = Needs { documents: true, ..NONE };
    const AUDIO: Needs = Needs { audio: true, ..NONE };
    const VIDEO: Needs = Needs { video: true, ..NONE };
    const TOOLS: Needs = Needs { tools: true, ..NONE };
    const SCHEMA: Needs = Needs { schema: true, ..NONE };
    const REASONING: Needs = Needs { reasoning: true, ..NONE };

    fn of(wire: Wire, messages: &str, more: &str) -> Needs {
        let body = format!(r#"{{"model":"m","messages":{messages}{more}}}"#);
        let needs = Needs::of(&peek(wire, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}")));
        assert_eq!(needs.any_media(), needs.tokens > 0, "{body}");
        assert_eq!((needs.guess, needs.response), (0, false), "{body}");
        Needs { bytes: 0, tokens: 0, ..needs }
    }

    #[test]
    fn what_a_response_needs() {
        let content = |part: &str| format!(r#""input":[{{"role":"user","content":[{part}]}}]"#);
        for (fields, want) in [
            (r#""input":"\"input_image\"""#.to_owned(), NONE),
            (content(r#"{"type":"input_text","text":"an \"input_image\""}"#), NONE),
            (content(r#"{"type":"input_text","text":"input_image"}"#), NONE),
            (content(r#"{"type":"input_image","image_url":"https://h/a.png"}"#), IMAGES),
            (content(r#"{"type":"input_image","file_id":"f","detail":"low"}"#), IMAGES),
            (content(r#"{"type":"input_file","file_id":"f"}"#), DOCUMENTS),
            (content(r#"{"type":"input_file","file_url":"https://h/a.pdf"}"#), DOCUMENTS),
            (content(r#"{"type":"input_file","filename":"a","file_data":"data:application/pdf;base64,JVBERi0xLjQ="}"#), DOCUMENTS),
            (content(r#"{"type":"input_file","filename":"a.md","file_data":"aGk="}"#), NONE),
            (content(r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"mp3"}}"#), AUDIO),
            (r#""input":[{"type":"function_call_output","output":[{"type":"input_image","image_url":"https://h/a"}]}]"#.to_owned(), IMAGES),
            (r#""input":[{"type":"computer_call_output","output":{"type":"computer_screenshot","image_url":"https://h/a"}}]"#.to_owned(), IMAGES),
            (r#""input":[{"type":"image_generation_call","result":"iVBORw0KGgoAAAANSUhEUgAA"}]"#.to_owned(), IMAGES),
            (r#""tools":[{"type":"web_search"},{"type":"function","name":"f"}]"#.to_owned(), TOOLS),
            (r#""tools":[{"type":"custom","name":"f"}]"#.to_owned(), TOOLS),
            (r#""tools":[{"type":"web_search"}]"#.to_owned(), NONE),
            (r#""tools":null"#.to_owned(), NONE),
            (r#""text":{"format":{"type":"json_schema","name":"n","schema":{}}}"#.to_owned(), SCHEMA),
            (r#""text":{"format":{"type":"text"},"verbosity":"low"}"#.to_owned(), NONE),
            (r#""reasoning":{"effort":"high","summary":"auto"}"#.to_owned(), REASONING),
            (r#""reasoning":{"effort":"none"}"#.to_owned(), NONE),
            (r#""reasoning":{"summary":"auto"}"#.to_owned(), NONE),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            let needs = Needs::of_response(&look(body.as_bytes()).unwrap());
            assert_eq!((needs.any_media(), needs.guess > 0), (needs.tokens > 0, needs.tokens > 0), "{fields}");
            assert!(needs.guess <= needs.tokens, "{fields}");
            assert_eq!(Needs { bytes: 0, tokens: 0, guess: 0, response: false, ..needs }, want, "{fields}");
        }
        let needs = Needs { response: true, ..TOOLS };
        let beside = Profile { reasons_with_tools: false, ..Profile::find(Wire::OpenAiChat, "openai", "gpt-5.4") };
        assert!(Needs { reasoning: true, ..needs }.met_by(&beside));
        assert!(!Needs { reasoning: true, ..TOOLS }.met_by(&beside));
    }

    #[test]
    fn parts_of_an_openai_client() {
        let file = |inside: &str| format!(r#"{{"type":"file","file":{{{inside}}}}}"#);
        for (part, want) in [
            (r#"{"type":"text","text":"see \"image_url\" and \"file\""}"#.to_owned(), NONE),
            (r#"{"type":"text","text":"image_url"}"#.to_owned(), NONE),
            (r#"{"type":"text","text":"file"}"#.to_owned(), NONE),
            (r#"{"type":"image_url","image_url":{"url":"https://h/a.png"}}"#.to_owned(), IMAGES),
            (r#"{"type":"image_url","image_url":"https://h/a.png"}"#.to_owned(), IMAGES),
            (r#"{"image_url":{"url":"data:image\/png;base64,AAAA"},"type":"image_url"}"#.to_owned(), IMAGES),
            (r#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,JVBERi0xLjQK"}}"#.to_owned(), DOCUMENTS),
            (r#"{"type":"image_url","image_url":{"url":"DATA:application/octet-stream;base64,iVBORw0KGgoAAAANSUhEUgAA"}}"#.to_owned(), IMAGES),
            (r#"{"type":"video_url","video_url":{"url":"https://h/a.mp4"}}"#.to_owned(), VIDEO),
            (r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"mp3"}}"#.to_owned(), AUDIO),
            (file(r#""file_id":"f""#), DOCUMENTS),
            (file(r#""filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjQ=""#), DOCUMENTS),
            (file(r#""file_data":"iVBORw0KGgoAAAANSUhEUgAA""#), IMAGES),
            (file(r#""file_data":"data:video/mp4;base64,AAAA""#), VIDEO),
            (file(r#""file_data":"data:text/plain;base64,aGk=""#), NONE),
            (file(r#""filename":"notes.TXT","file_data":"aGk=""#), NONE),
            (file(r#""filename":"a.bin","file_data":"aGk=""#), DOCUMENTS),
            (r#"{"type":"file"}"#.to_owned(), DOCUMENTS),
            (r#"{"type":"image_url"}"#.to_owned(), IMAGES),
            (r#"{"type":7,"x":"file"}"#.to_owned(), NONE),
            (r#""file""#.to_owned(), NONE),
        ] {
            let messages = format!(r#"[{{"role":"user","content":[{{"type":"text","text":"a"}},{part}]}}]"#);
            assert_eq!(of(Wire::OpenAiChat, &messages, ""), want, "{part}");
        }
        for messages in [
            r#"[{"role":"user","content":"file"}]"#,
            r#"[{"role":"user","content":"[{\"type\":\"image_url\",\"image_url\":\"u\"}]"}]"#,
            r#"[{"role":"user","content":"\"image_url"}]"#,
            r#"[{"role":"assistant","tool_calls":[{"function":{"name":"file","arguments":"{\"type\":\"file\"}"}}]}]"#,
            r#"["file",null,7,[{"type":"file"}]]"#,
        ] {
            assert_eq!(of(Wire::OpenAiChat, messages, ""), NONE, "{messages}");
        }
        let tool = r#"[{"role":"tool","tool_call_id":"a","content":[{"type":"image_url","image_url":{"url":"u"}}]}]"#;
        assert_eq!(of(Wire::OpenAiChat, tool, ""), IMAGES);
    }

    #[test]
    fn blocks_of_an_anthropic_client() {
        let image = r#"{"type":"image","source":{"type":"url","url":"https://h/a.png"}}"#;
        let within = |kind: &str, inner: &str| format!(r#"{{"type":"{kind}","tool_use_id":"t","content":[{inner}]}}"#);
        let paper = |source: &str| format!(r#"{{"type":"document","source":{{{source}}}}}"#);
        for (part, want) in [
            (r#"{"type":"text","text":"an \"image\" and a \"document\""}"#.to_owned(), NONE),
            (r#"{"type":"text","text":"image"}"#.to_owned(), NONE),
            // The arguments of a call are the model's own words.
            (format!(r#"{{"type":"tool_use","id":"t","name":"f","input":{{"content":[{image}]}}}}"#), NONE),
            (image.to_owned(), IMAGES),
            (within("tool_result", image), IMAGES),
            (within("tool_result", r#"{"type":"text","text":"image"}"#), NONE),
            (paper(r#""type":"base64","media_type":"application/pdf","data":"JVBERi0x""#), DOCUMENTS),
            (paper(r#""type":"url","url":"https://h/a.pdf""#), DOCUMENTS),
            (paper(r#""type":"text","media_type":"text/plain","data":"words""#), NONE),
            (paper(r#""type":"content","content":"words""#), NONE),
            (paper(&format!(r#""type":"content","content":[{image}]"#)), IMAGES),
            (within("tool_result", &paper(r#""type":"file","file_id":"f""#)), DOCUMENTS),
        ] {
            let messages = format!(r#"[{{"role":"user","content":[{part}]}}]"#);
            assert_eq!(of(Wire::AnthropicMessages, &messages, ""), want, "{part}");
        }
        assert_eq!(of(Wire::AnthropicMessages, r#"[{"role":"user","content":"\"image\""}]"#, ""), NONE);
    }

    #[test]
    fn settings_of_both() {
        for (more, want) in [
            ("", NONE),
            (r#","tools":[]"#, NONE),
            (r#","tools":null"#, NONE),
            (r#","tools":[{"type":"function","function":{"name":"f"}}]"#, TOOLS),
            (r#","functions":[ {"name":"f"}]"#, TOOLS),
            (r#","response_format":{"type":"text"}"#, NONE),
            (r#","response_format":{"type":"json_object"}"#, NONE),
            (r#","response_format":{"json_schema":{},"type":"json_schema"}"#, SCHEMA),
            (r#","output_format":{"type":"json_schema","schema":{}}"#, SCHEMA),
            (r#","output_config":{"format":{"type":"json_schema"}}"#, SCHEMA),
            (r#","output_config":{"effort":"low"}"#, REASONING),
            (r#","reasoning_effort":"none""#, NONE),
            (r#","reasoning_effort":null"#, NONE),
            (r#","reasoning_effort":"low""#, REASONING),
            (r#","reasoning":{"effort":"none"}"#, NONE),
            (r#","reasoning":{"enabled":false,"max_tokens":7}"#, NONE),
            (r#","reasoning":{"max_tokens":2000}"#, REASONING),
            (r#","reasoning":{"exclude":true}"#, NONE),
            (r#","thinking":{"type":"enabled","budget_tokens":1024}"#, REASONING),
            (r#","thinking":{"type":"disabled"}"#, NONE),
            (r#","thinking":7"#, NONE),
        ] {
            for wire in [Wire::OpenAiChat, Wire::AnthropicMessages] {
                assert_eq!(of(wire, "[]", more), want, "{more}");
            }
        }
    }

    #[test]
    fn who_can_take_it() {
        let openai = |model| Profile::find(Wire::OpenAiChat, "openai", model);
        let claude = Profile::find(Wire::AnthropicMessages, "anthropic", "claude-sonnet-4-5");
        for (needs, profile, refused, met) in [
            (NONE, openai("gpt-3.5-turbo"), None, true),
            (IMAGES, openai("gpt-3.5-turbo"), Some("images"), true),
            (IMAGES, openai("gpt-4o"), None, true),
            (AUDIO, openai("gpt-4o"), Some("audio"), true),
            (AUDIO, claude, Some("audio"), true),
            (DOCUMENTS, claude, None, true),
            // Nobody knows what it takes.
            (VIDEO, openai("my-own"), None, true),
            (VIDEO, openai("gpt-4o"), Some("video"), true),
            (TOOLS, openai("o1-mini"), Some("tools"), true),
            (SCHEMA, openai("gpt-4"), None, false),
            (SCHEMA, openai("gpt-4o"), None, true),
            (REASONING, openai("gpt-4o"), None, false),
            (REASONING, openai("o3"), None, true),
            (Needs { tools: true, ..REASONING }, openai("gpt-5.5"), None, false),
        ] {
            assert_eq!((needs.refused_by(&profile), needs.met_by(&profile)), (refused, met), "{needs:?}");
        }
        assert!(IMAGES.any() && IMAGES.any_media() && TOOLS.any() && !TOOLS.any_media() && !NONE.any());
    }

    #[test]
    fn tokens_are_counted_only_where_it_matters() {
        let text = "word ".repeat(1000);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        let size = Size::of(&envelope, &NONE, 100_000).unwrap();
        assert_eq!(size, Size::Below(body.len() as u64));
        assert!(size.within(100_000) && !size.surely_above(1));
        let size = Size::of(&envelope, &NONE, 2000).unwrap();
        assert!(matches!(size, Size::About(1000..1020)), "{size:?}");
        assert!(size.within(2000) && !size.within(900) && !size.surely_above(900) && size.surely_above(700));
        // A picture is more than its address.
        let body =
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":"https://h/a"}]}]}"#;
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        let size = Size::of(&envelope, &Needs::of(&envelope), 200).unwrap();
        assert!(!size.within(200), "{size:?}");
        let data = "A".repeat(1_000_000);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":"data:image/jpeg;base64,{data}"}}]}}]}}"#
        );
        let envelope = peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        let size = Size::of(&envelope, &Needs::of(&envelope), 2000).unwrap();
        assert!(matches!(size, Size::Below(1600..2000)), "{size:?}");
    }
}
