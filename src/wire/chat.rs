//! The canonical request: what a client asks for, whatever dialect it asked in. It borrows from the body and never leaves
//! `wire`.
//!
//! Decoders say what was asked; they do not judge it. Encoders know what their upstream takes and report the rest to
//! [`Losses`](super::loss::Losses).

use serde::{Deserialize, Deserializer};

use super::fields::fields;
use super::text::{Json, Str};

/// A conversation and how to continue it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request<'a> {
    /// System and developer messages that stand before all others, one entry each.
    pub system: Vec<Text<'a>>,
    /// Everything after, in order. Neighbours may have the same role; see [`turns`](super::turns).
    pub turns: Vec<Turn<'a>>,
    /// The tools, in order.
    pub tools: Vec<Tool<'a>>,
    /// Which of them the model may or must call.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether it may call several at once; `None` leaves the upstream's default.
    pub parallel: Option<bool>,
    /// The form of the answer; `None` is text.
    pub format: Option<Format<'a>>,
    /// Reasoning.
    pub reasoning: Reasoning,
    /// The limit of the answer in tokens, reasoning included.
    pub max_tokens: Option<u64>,
    /// 0–2.
    pub temperature: Option<f64>,
    /// 0–1.
    pub top_p: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<Str<'a>>,
    /// For reproducible sampling.
    pub seed: Option<i64>,
    /// −2–2.
    pub frequency_penalty: Option<f64>,
    /// −2–2.
    pub presence_penalty: Option<f64>,
    /// How many answers; `None` is one.
    pub n: Option<u32>,
    /// Log probabilities of the tokens, with so many alternatives each.
    pub logprobs: Option<u32>,
    /// The end user, as the client names them.
    pub user: Option<Str<'a>>,
    /// The speed and price class.
    pub tier: Option<Tier>,
    /// The upstream may search the web.
    pub web_search: Option<WebSearch<'a>>,
    /// A cache mark for the whole request.
    pub cache: Option<Cache>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Fields that have no place above, as the client sent them. Every encoder that does not know one reports it.
    pub rest: Vec<Rest<'a>>,
    /// Operator's extras in the upstream's own words: written at the top level as they are.
    pub native: Vec<(Str<'a>, Json<'a>)>,
    /// What the client's dialect needs to know when the answer is written.
    pub wish: Wish,
}

/// What the writer of the answer has to know of the request. Outlives the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The client asked for usage in the stream (`OpenAI`).
    pub usage: bool,
    /// The client sent `functions`, so it reads `function_call` (`OpenAI`).
    pub functions: bool,
    /// Tools that take free text: their calls go back as `custom` (`OpenAI`).
    pub custom: Vec<String>,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. Tool results stand in user turns.
    pub parts: Vec<Part<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application, in the middle of a conversation.
    System,
    /// The user, or tools.
    User,
    /// The model.
    Assistant,
}

/// A piece of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    /// Text.
    Text(Text<'a>),
    /// An image, a document, sound, or a film.
    Media(Media<'a>),
    /// The model calls a tool.
    Call(Call<'a>),
    /// What a tool answered.
    Outcome(Outcome<'a>),
    /// What the model thought.
    Thought(Thought<'a>),
    /// A part that only the client's wire knows.
    Foreign(Foreign<'a>),
}

/// A text with what hangs on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text<'a> {
    /// The text.
    pub text: Str<'a>,
    /// A cache mark behind it.
    pub cache: Option<Cache>,
    /// Opaque state of the wire that wrote it (Gemini signs text as well).
    pub seal: Option<Seal<'a>>,
}

impl<'a> Text<'a> {
    /// A plain text.
    #[must_use]
    pub fn plain(text: impl Into<Str<'a>>) -> Self {
        Self { text: text.into(), cache: None, seal: None }
    }
}

/// Where a part stood in the client's request, for messages: `messages[turn].content[part]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The message.
    pub message: usize,
    /// The part within its content.
    pub part: usize,
}

impl std::fmt::Display for At {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "messages[{}].content[{}]", self.message, self.part)
    }
}

/// An image, a document, sound, or a film. Never fetched by us.
#[derive(Clone, Debug, PartialEq)]
pub struct Media<'a> {
    /// What it is.
    pub kind: MediaKind,
    /// Where its bytes are.
    pub source: Source<'a>,
    /// A file's name or title.
    pub name: Option<Str<'a>>,
    /// A cache mark behind it.
    pub cache: Option<Cache>,
    /// Its place.
    pub at: At,
}

/// Kinds of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A PDF, a text file, …
    Document,
    /// Sound.
    Audio,
    /// A film.
    Video,
}

/// Where media are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    /// Base64 without line breaks, with its media type, lower case (`image/png`). The decoder has looked at the magic bytes.
    Data {
        /// The media type.
        mime: Str<'a>,
        /// Base64.
        data: Str<'a>,
    },
    /// Plain text of a document.
    Text(Str<'a>),
    /// A URL that the upstream fetches.
    Url {
        /// The address.
        url: Str<'a>,
        /// The media type, where the client said it.
        mime: Option<Str<'a>>,
    },
    /// A file at a vendor, by its id there.
    File(Str<'a>),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// The id that its outcome names. Empty where the client gave none.
    pub id: Str<'a>,
    /// The tool.
    pub name: Str<'a>,
    /// Always a JSON object: decoders wrap what is none as `{"_raw":"…"}` and empty text is `{}`.
    pub arguments: Json<'a>,
    /// Opaque state bound to this call (Gemini's thought signature).
    pub seal: Option<Seal<'a>>,
    /// A cache mark behind it.
    pub cache: Option<Cache>,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// The id of the call.
    pub id: Str<'a>,
    /// The tool's name, where the client said it (`OpenAI`'s role `function`).
    pub name: Option<Str<'a>>,
    /// Text and media, perhaps nothing.
    pub content: Vec<Part<'a>>,
    /// The tool failed. `OpenAI` has no such flag; it is never guessed from text.
    pub error: bool,
    /// A cache mark behind it.
    pub cache: Option<Cache>,
}

/// A piece of reasoning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thought<'a> {
    /// The text; empty where it is not shown.
    pub text: Str<'a>,
    /// The proof of its origin; without one no wire takes it back.
    pub seal: Option<Seal<'a>>,
    /// There is no text: the seal is the encrypted reasoning itself (Anthropic's `redacted_thinking`).
    pub redacted: bool,
}

/// Opaque state of a vendor. Copied byte for byte, and replayed only to the wire that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal<'a> {
    /// Whose it is.
    pub origin: Origin,
    /// The bytes as text.
    pub data: Str<'a>,
}

/// Who made a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Claude, on any host.
    Anthropic,
    /// Gemini, on any host.
    Gemini,
    /// Another, or this gateway itself for thoughts that nobody signed.
    Other,
}

/// A part that only one wire has: a server tool's block, a container upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign<'a> {
    /// Its `type` there.
    pub kind: Str<'a>,
    /// It is bookkeeping of the vendor within an assistant's turn: to leave it out is a [`Loss`](super::loss::Loss), not a
    /// fault.
    pub droppable: bool,
    /// Its place.
    pub at: At,
}

/// A cache mark: the upstream may keep what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The vendor's default, five minutes at Anthropic.
    Default,
    /// One hour.
    Hour,
}

/// `cache_control`, which is spelled as Anthropic's wherever there is one.
impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default)]
        struct Control<'a> {
            ttl: Option<Str<'a>>,
        }
        fields!(Control<'a> { ttl });

        let control = Control::deserialize(deserializer)?;
        Ok(if control.ttl.as_deref() == Some("1h") { Self::Hour } else { Self::Default })
    }
}

/// A tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Str<'a>,
    /// What it is for.
    pub description: Option<Str<'a>>,
    /// The JSON Schema of its arguments, as sent; `None` for a tool without any.
    pub schema: Option<Json<'a>>,
    /// The arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// A cache mark behind it.
    pub cache: Option<Cache>,
    /// What kind of tool.
    pub kind: ToolKind<'a>,
    /// Its place in the client's list.
    pub at: usize,
}

/// Kinds of tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolKind<'a> {
    /// The client runs it.
    Function,
    /// The client runs it, the vendor knows its schema (`bash_20250124`): its `type` there.
    Vendor(Str<'a>),
    /// The vendor runs it (`code_execution_…`): its `type` there.
    Server(Str<'a>),
}

/// Which tools the model may or must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// It decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(Str<'a>),
    /// Only these.
    Allowed {
        /// Their names.
        names: Vec<Str<'a>>,
        /// At least one of them.
        required: bool,
    },
}

/// The form of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Format<'a> {
    /// Some JSON object.
    Object,
    /// JSON of this schema.
    Schema {
        /// A name for it.
        name: Option<Str<'a>>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// The JSON Schema.
        schema: Json<'a>,
        /// It must be followed exactly.
        strict: Option<bool>,
    },
}

/// Reasoning, in the words of all wires. All empty: the client said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Switched on or off, with or without a number.
    pub mode: Option<Thinking>,
    /// How much effort. `OpenAI`'s `none` is [`Thinking::Off`] instead.
    pub effort: Option<Effort>,
    /// Whether the text is to be shown; `None` leaves the upstream's default.
    pub shown: Option<bool>,
}

impl Reasoning {
    /// Whether the client asked for any.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.mode.is_some_and(|mode| mode != Thinking::Off) || (self.mode.is_none() && self.effort.is_some())
    }
}

/// How the client switched reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Off.
    Off,
    /// On, with so many tokens.
    Budget(u64),
    /// On; the model decides how long.
    Adaptive,
}

/// Effort, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    Xhigh,
    /// `max`
    Max,
}

impl Effort {
    /// All of them, least first.
    pub const ALL: [Self; 6] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The word on every wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.word() == word)
    }
}

/// Classes of speed and price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The account's setting.
    Auto,
    /// The standard class.
    Standard,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
}

/// The web search of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSearch<'a> {
    /// City, country, region and time zone of the user: `(field, value)`.
    pub location: Vec<(&'static str, Str<'a>)>,
    /// At most so many searches.
    pub max_uses: Option<u64>,
    /// Only, or not, these domains.
    pub domains: Option<(bool, Vec<Str<'a>>)>,
}

/// Where the user is, in the words of all wires.
#[derive(Default)]
pub(super) struct Place<'a> {
    city: Option<Str<'a>>,
    country: Option<Str<'a>>,
    region: Option<Str<'a>>,
    timezone: Option<Str<'a>>,
}
fields!(Place<'a> { city, country, region, timezone });

impl<'a> Place<'a> {
    /// What is said of it, as [`WebSearch::location`] has it.
    pub(super) fn fields(self) -> Vec<(&'static str, Str<'a>)> {
        [("city", self.city), ("country", self.country), ("region", self.region), ("timezone", self.timezone)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// A field of the client's that the canonical form has no place for.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest<'a> {
    /// Its name.
    pub name: Str<'a>,
    /// Its value.
    pub value: Json<'a>,
    /// Leaving it out changes the meaning or the shape of the answer.
    pub content: bool,
}
