//! Endpoints of `OpenAI`'s that pass through to upstreams which have them: completions, responses, embeddings, moderations,
//! images, audio. The body goes on as it came, JSON or a form, but for its `model` and the `instructions` of the operator; what
//! comes back, whatever it is, goes to the client byte for byte. Embeddings alone are also [converted](super::embed).

mod length;
mod multipart;
pub(super) mod tap;

use std::borrow::Cow;

use bytes::Bytes;

use super::envelope::{DecodeError, Envelope, look as look_at_json};
use super::inject::{Injection, instruct};
use super::ir::ApiError;
use super::needs::{Needs, Size};
use super::splice::{Edit, splice};
use super::{ConvertError, Operation, Prepared, ReplyPlan, Target, Wire, embed, encode_error_event, quoted, rewritten};
pub use length::Length;
use multipart::Form;

/// An endpoint that passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its path")]
pub enum Path {
    Completions,
    Embeddings,
    Moderations,
    ImageGenerations,
    ImageEdits,
    ImageVariations,
    Speech,
    Transcriptions,
    Translations,
    Responses,
    ResponsesCompact,
    ResponsesInputTokens,
}

impl Path {
    /// The path behind `/v1` here, and behind the base URL at an upstream.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Moderations => "/moderations",
            Self::ImageGenerations => "/images/generations",
            Self::ImageEdits => "/images/edits",
            Self::ImageVariations => "/images/variations",
            Self::Speech => "/audio/speech",
            Self::Transcriptions => "/audio/transcriptions",
            Self::Translations => "/audio/translations",
            Self::Responses => "/responses",
            Self::ResponsesCompact => "/responses/compact",
            Self::ResponsesInputTokens => "/responses/input_tokens",
        }
    }

    /// The name in log lines.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::ImageGenerations => "images.generations",
            Self::ImageEdits => "images.edits",
            Self::ImageVariations => "images.variations",
            Self::Speech => "audio.speech",
            Self::Transcriptions => "audio.transcriptions",
            Self::Translations => "audio.translations",
            Self::Responses => "responses",
            Self::ResponsesCompact => "responses.compact",
            Self::ResponsesInputTokens => "responses.input_tokens",
        }
    }

    /// The model that a request without one means (OpenAI API reference, 2026-11), where that is allowed.
    fn default_model(self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("omni-moderation-latest"),
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => Some("dall-e-2"),
            Self::Completions
            | Self::Embeddings
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Responses
            | Self::ResponsesCompact
            | Self::ResponsesInputTokens => None,
        }
    }

    fn takes_form(self) -> bool {
        matches!(self, Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations)
    }

    /// Whether an answer may be nothing: what was heard in silence, written as plain text.
    fn may_be_silent(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations)
    }

    /// Whether its answers are text that a model writes, and not numbers, pictures or sound.
    #[must_use]
    pub fn writes_text(self) -> bool {
        matches!(self, Self::Completions | Self::Responses | Self::ResponsesCompact)
    }

    /// Whether a request has a system part, its `instructions`: the Responses API, also where it only counts or compacts.
    #[must_use]
    pub fn takes_instructions(self) -> bool {
        matches!(self, Self::Responses | Self::ResponsesCompact | Self::ResponsesInputTokens)
    }

    /// The operator's defaults are written for chat completions, and the Responses API refuses a field that it does not know
    /// (`max_tokens`). The other endpoints have deployments of their own.
    fn takes_defaults(self) -> bool {
        !self.takes_instructions()
    }

    /// An error as the last event of a stream. `events` is how many went before.
    #[must_use]
    pub fn error_event(self, error: &ApiError<'_>, events: u64) -> Bytes {
        if self != Self::Responses {
            return encode_error_event(Wire::OpenAiChat, error);
        }
        // The documented event has its fields at the top; `OpenAI`'s SDKs raise for a nested `error`, and some parsers want that.
        let message = quoted(error.message);
        let code = quoted(error.code.unwrap_or("server_error"));
        let inner = format!("\"code\":{code},\"message\":{message},\"param\":null");
        Bytes::from(format!(
            "event: error\ndata: {{\"type\":\"error\",{inner},\"sequence_number\":{events},\
             \"error\":{{\"type\":\"server_error\",{inner}}}}}\n\n"
        ))
    }
}

/// A request that passes through, looked into.
#[derive(Debug)]
pub struct Asked<'a> {
    path: Path,
    body: Shape<'a>,
    /// The model that the client names, or the one that the endpoint means without a name.
    pub model: Cow<'a, str>,
    /// The client named none.
    pub unnamed: bool,
    /// Whether it wants a stream.
    pub stream: bool,
}

#[derive(Debug)]
enum Shape<'a> {
    Json(Envelope<'a>),
    Form(Form<'a>),
}

/// Looks into `body` as far as routing needs.
///
/// # Errors
/// One sentence for the sender where the body cannot be read, or names no model.
pub fn look<'a>(path: Path, content_type: Option<&'a str>, body: &'a [u8]) -> Result<Asked<'a>, DecodeError> {
    let kind = content_type.unwrap_or_default();
    let form = kind.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"));
    if !form && path.takes_form() && !body.trim_ascii_start().starts_with(b"{") {
        let message = format!("`/v1{}` takes multipart/form-data, and this body is not said to be one", path.path());
        return Err(DecodeError { message, field: None });
    }
    let (body, model, stream) = if form {
        let form = multipart::read(kind, body)?;
        let (model, stream) = (form.model.map(Cow::Borrowed), form.stream);
        (Shape::Form(form), model, stream)
    } else {
        let envelope = look_at_json(body)?;
        let (model, stream) = (envelope.model.clone(), envelope.stream);
        (Shape::Json(envelope), Some(model).filter(|model| !model.is_empty()), stream)
    };
    let unnamed = model.is_none();
    let model = model.or_else(|| path.default_model().map(Cow::Borrowed)).ok_or_else(|| {
        let message = "`model` is missing; it must be a string, the name of a model: that is how this gateway chooses";
        DecodeError { message: message.to_owned(), field: Some("model".to_owned()) }
    })?;
    Ok(Asked { path, body, model, unnamed, stream })
}

impl<'a> Asked<'a> {
    /// The fields of a body that is JSON.
    #[must_use]
    pub fn fields(&self) -> Option<&Envelope<'a>> {
        match &self.body {
            Shape::Json(envelope) => Some(envelope),
            Shape::Form(_) => None,
        }
    }

    /// The `body` that this was looked into with `injections` in its `instructions`, of an endpoint that
    /// [takes](Path::takes_instructions) them.
    ///
    /// # Errors
    /// For the client, where they cannot be added to: a text must not be got rid of by that.
    pub fn instructed(&self, body: &Bytes, injections: &[Injection]) -> Result<Bytes, DecodeError> {
        match &self.body {
            Shape::Json(envelope) => instruct(envelope, body, injections),
            Shape::Form(_) => {
                let message = format!("`/v1{}` takes JSON, and this body is a form", self.path.path());
                Err(DecodeError { message, field: None })
            }
        }
    }

    /// What the request needs of its model. Only the Responses API can ask for more than text.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.fields().filter(|_| self.path.takes_instructions()).map(Needs::of_response).unwrap_or_default()
    }

    /// About how many tokens of input it has; `None` where it is no text for a model, and where that cannot be read.
    #[must_use]
    pub fn length(&self, needs: &Needs) -> Option<Length> {
        length::length(self.path, self.fields()?, needs)
    }

    /// The same, as exactly as it takes to compare it with limits of `least` and more; `longest`: of several prompts only the
    /// longest counts.
    #[must_use]
    pub fn size(&self, needs: &Needs, least: u64, longest: bool) -> Option<Size> {
        let read = || self.length(needs).map(|length| if longest { length.longest } else { length.all });
        let fields = self.fields().filter(|_| self.path.writes_text())?;
        Size::read(fields.size(), needs, least, read)
    }

    /// Whether an upstream that speaks `wire` can be asked this.
    #[must_use]
    pub fn fits(&self, wire: Wire) -> bool {
        match wire {
            Wire::OpenAiChat => true,
            Wire::Gemini => self.path == Path::Embeddings,
            Wire::AnthropicMessages => false,
        }
    }

    /// Makes the upstream's request. `body` is what this was looked into.
    ///
    /// On the same wire the result differs from `body` in the value of `model`; in a JSON body also in fields of `drop`, taken
    /// out, and, but for the Responses API, in `defaults`, put in front. Streamed completions are asked for their usage, which
    /// the other endpoints tell by themselves.
    ///
    /// # Errors
    /// [`ConvertError`], for the client.
    pub fn prepare(&self, body: &Bytes, to: &Target<'_>) -> Result<Prepared, ConvertError> {
        let defaults = if self.path.takes_defaults() { to.defaults } else { &[] };
        let target = Target { defaults, ask_usage: to.ask_usage && self.path == Path::Completions, ..*to };
        let (body, hide_usage, mut losses) = match &self.body {
            Shape::Json(envelope) => rewritten(envelope, body, Operation::Generate, &target, look_at_json)?,
            Shape::Form(form) => {
                (splice(body, vec![Edit::new(form.model_span.clone(), form.with_model(to.model))]), false, Vec::new())
            }
        };
        if to.wire == Wire::OpenAiChat {
            return Ok(Prepared {
                body,
                losses,
                betas: Vec::new(),
                reply: ReplyPlan::direct(hide_usage, self.path.may_be_silent()),
            });
        }
        let embedded = embed::prepare(&embed::decode(&body)?, to.wire, to.model, to.answer_as, to.on_loss)?;
        losses.extend(embedded.losses);
        let reply = ReplyPlan::embed(to.wire, embedded.reply);
        Ok(Prepared { body: embedded.body, losses, betas: Vec::new(), reply })
    }
}
