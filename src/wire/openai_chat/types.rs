//! Answers as `OpenAI` and compatible servers write them. A chunk and a whole answer have one shape, but for `delta` and
//! `message`.

use serde::de::SeqAccess;

use crate::wire::chat::Origin;
use crate::wire::fields::{fields, gather};
use crate::wire::ir;
use crate::wire::lax::{Lax, Shape, objects};
use crate::wire::text::{Json, Str};

#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Lax<Str<'a>>,
    pub(super) model: Lax<Str<'a>>,
    pub(super) service_tier: Lax<Str<'a>>,
    pub(super) object: Lax<Str<'a>>,
    pub(super) choices: Lax<Vec<Choice<'a>>>,
    pub(super) usage: Lax<Usage>,
    pub(super) error: Option<Json<'a>>,
}
fields!(Chunk<'a> { id, model, service_tier, object, choices, usage, error });

#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: Lax<u64>,
    pub(super) delta: Lax<Message<'a>>,
    pub(super) message: Lax<Message<'a>>,
    pub(super) finish_reason: Lax<Str<'a>>,
    pub(super) logprobs: Lax<Logprobs<'a>>,
    /// vLLM: the stop sequence that was met, or the id of its token.
    pub(super) stop_reason: Lax<Str<'a>>,
    /// `SGLang`: the same.
    pub(super) matched_stop: Lax<Str<'a>>,
    /// `OpenRouter`.
    pub(super) error: Option<Json<'a>>,
}
fields!(Choice<'a> { index, delta, message, finish_reason, logprobs, stop_reason, matched_stop, error });

#[derive(Debug, Default)]
pub(super) struct Logprobs<'a> {
    pub(super) content: Option<Json<'a>>,
}
fields!(Logprobs<'a> { content });

/// A message or a delta.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub(super) content: Lax<Content<'a>>,
    pub(super) refusal: Lax<Str<'a>>,
    pub(super) reasoning_content: Lax<Str<'a>>,
    pub(super) reasoning: Lax<Str<'a>>,
    pub(super) reasoning_details: Lax<Vec<Detail<'a>>>,
    pub(super) tool_calls: Lax<Vec<ToolCall<'a>>>,
    pub(super) function_call: Lax<Function<'a>>,
    pub(super) annotations: Lax<Vec<Annotation<'a>>>,
    /// `OpenRouter`.
    pub(super) images: Lax<Vec<Part<'a>>>,
}
fields!(Message<'a> {
    content, refusal, reasoning_content, reasoning, reasoning_details, tool_calls, function_call, annotations, images,
});

/// Text, or parts (Mistral).
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Str<'a>),
    Parts(Vec<Part<'a>>),
}

impl<'de: 'a, 'a> Shape<'de> for Content<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self::Text(text))
    }

    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::list(list)?.map(Self::Parts))
    }
}

#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) text: Lax<Str<'a>>,
    pub(super) refusal: Lax<Str<'a>>,
    /// Mistral: a text, or parts with texts.
    pub(super) thinking: Lax<Thinking<'a>>,
    pub(super) image_url: Lax<Address<'a>>,
}
fields!(Part<'a> { text, refusal, thinking, image_url });

#[derive(Debug)]
pub(super) struct Thinking<'a>(pub(super) Vec<Str<'a>>);

impl<'de: 'a, 'a> Shape<'de> for Thinking<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self(vec![text]))
    }

    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        let parts = Vec::<TextPart<'a>>::list(list)?.unwrap_or_default();
        Ok(Some(Self(parts.into_iter().filter_map(|part| part.text.0).collect())))
    }
}

#[derive(Debug, Default)]
struct TextPart<'a> {
    text: Lax<Str<'a>>,
}
fields!(TextPart<'a> { text });

/// A URL, alone or in an object, and whether that has a `detail` that is not the default.
#[derive(Debug)]
pub(super) struct Address<'a>(pub(super) Str<'a>, pub(super) bool);

impl<'de: 'a, 'a> Shape<'de> for Address<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self(text, false))
    }

    fn object<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        #[derive(Default)]
        struct Inner<'a> {
            url: Lax<Str<'a>>,
            detail: Lax<Str<'a>>,
        }
        fields!(Inner<'a> { url, detail });
        let inner: Inner<'_> = gather(map)?;
        let detail = inner.detail.0.is_some_and(|detail| detail != "auto");
        Ok(inner.url.0.map(|url| Self(url, detail)))
    }
}

/// An entry of `reasoning_details` (`OpenRouter`, Vercel, this gateway).
#[derive(Debug, Default)]
pub(super) struct Detail<'a> {
    pub(super) text: Lax<Str<'a>>,
    pub(super) summary: Lax<Str<'a>>,
    pub(super) signature: Lax<Str<'a>>,
    pub(super) data: Lax<Str<'a>>,
    pub(super) format: Lax<Str<'a>>,
    pub(super) id: Lax<Str<'a>>,
    pub(super) index: Lax<u64>,
}
fields!(Detail<'a> { text, summary, signature, data, format, id, index });

impl<'a> Detail<'a> {
    /// Whose it is.
    pub(super) fn origin(&self) -> Origin {
        match self.format.0.as_deref() {
            Some(format) if format.starts_with("anthropic") => Origin::Anthropic,
            Some(format) if format.starts_with("google-gemini") => Origin::Gemini,
            _ => Origin::Other,
        }
    }

    /// What it says.
    pub(super) fn words(&mut self) -> Option<Str<'a>> {
        self.text.0.take().or_else(|| self.summary.0.take()).filter(|text| !text.is_empty())
    }
}

#[derive(Debug, Default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: Lax<u64>,
    pub(super) id: Lax<Str<'a>>,
    pub(super) function: Lax<Function<'a>>,
    pub(super) custom: Lax<Custom<'a>>,
    pub(super) extra_content: Lax<Extra<'a>>,
}
fields!(ToolCall<'a> { index, id, function, custom, extra_content });

#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: Lax<Str<'a>>,
    pub(super) arguments: Lax<Arguments<'a>>,
}
fields!(Function<'a> { name, arguments });

/// Arguments as JSON in a string, or as an object (servers that did not read the specification).
#[derive(Debug)]
pub(super) struct Arguments<'a>(pub(super) Str<'a>);

impl<'de: 'a, 'a> Shape<'de> for Arguments<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self(text))
    }

    fn object<A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut out = crate::wire::text::Writer::default();
        out.open('{');
        while let Some((key, value)) = map.next_entry::<Str<'de>, Json<'de>>()? {
            out.foreign_key(&key).raw(value.get());
        }
        out.close('}');
        Ok(Some(Self(String::from_utf8(out.into_bytes()).unwrap_or_default().into())))
    }
}

#[derive(Debug, Default)]
pub(super) struct Custom<'a> {
    pub(super) name: Lax<Str<'a>>,
    pub(super) input: Lax<Str<'a>>,
}
fields!(Custom<'a> { name, input });

/// Google's own place for a thought signature on this wire.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    pub(super) google: Lax<Google<'a>>,
}
fields!(Extra<'a> { google });

#[derive(Debug, Default)]
pub(super) struct Google<'a> {
    pub(super) thought_signature: Lax<Str<'a>>,
}
fields!(Google<'a> { thought_signature });

impl<'a> Extra<'a> {
    pub(super) fn signature(self) -> Option<Str<'a>> {
        self.google.0?.thought_signature.0.filter(|signature| !signature.is_empty())
    }
}

#[derive(Debug, Default)]
pub(super) struct Annotation<'a> {
    pub(super) url_citation: Lax<Cited<'a>>,
}
fields!(Annotation<'a> { url_citation });

#[derive(Debug, Default)]
pub(super) struct Cited<'a> {
    pub(super) url: Lax<Str<'a>>,
    pub(super) title: Lax<Str<'a>>,
    pub(super) start_index: Lax<u64>,
    pub(super) end_index: Lax<u64>,
}
fields!(Cited<'a> { url, title, start_index, end_index });

#[derive(Debug, Default)]
pub(super) struct Usage {
    prompt_tokens: Lax<u64>,
    completion_tokens: Lax<u64>,
    total_tokens: Lax<u64>,
    /// `DeepSeek`.
    prompt_cache_hit_tokens: Lax<u64>,
    prompt_tokens_details: Lax<PromptDetails>,
    completion_tokens_details: Lax<CompletionDetails>,
}
fields!(Usage {
    prompt_tokens,
    completion_tokens,
    total_tokens,
    prompt_cache_hit_tokens,
    prompt_tokens_details,
    completion_tokens_details,
});

#[derive(Debug, Default)]
struct PromptDetails {
    cached: Lax<u64>,
    written: Lax<u64>,
    audio: Lax<u64>,
}
fields!(PromptDetails { cached = "cached_tokens", written = "cache_write_tokens", audio = "audio_tokens" });

#[derive(Debug, Default)]
struct CompletionDetails {
    reasoning: Lax<u64>,
    audio: Lax<u64>,
}
fields!(CompletionDetails { reasoning = "reasoning_tokens", audio = "audio_tokens" });

impl Usage {
    /// The counts as we keep them: the prompt without what the cache had to do with, the answer with its reasoning.
    pub(super) fn counts(&self) -> ir::Usage {
        let details = self.prompt_tokens_details.0.as_ref();
        let prompt = self.prompt_tokens.0;
        // DeepSeek reports the cached part beside the prompt, not within its details.
        let cache_read = details.and_then(|details| details.cached.0).or(self.prompt_cache_hit_tokens.0);
        // Azure has told more of the cache than there was of the prompt.
        let cache_read = cache_read.map(|tokens| tokens.min(prompt.unwrap_or(tokens)));
        let cache_write = details.and_then(|details| details.written.0);
        let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        let answered = self.completion_tokens_details.0.as_ref();
        let reasoning = answered.and_then(|details| details.reasoning.0);
        let output = self.completion_tokens.0.map(|completion| {
            // xAI, and Gemini by way of others, count reasoning beside the completion; the total gives them away.
            let both = completion.saturating_add(reasoning.unwrap_or(0));
            let total = self.total_tokens.0.zip(prompt).map(|(total, prompt)| total.saturating_sub(prompt));
            if total == Some(both) || reasoning > Some(completion) { both } else { completion }
        });
        ir::Usage {
            input: prompt.map(|tokens| tokens.saturating_sub(cached)),
            output,
            cache_read,
            cache_write,
            reasoning,
            audio_input: details.and_then(|details| details.audio.0),
            audio_output: answered.and_then(|details| details.audio.0),
            ..ir::Usage::default()
        }
    }
}

objects!(
    Chunk<'a>,
    Choice<'a>,
    Logprobs<'a>,
    Message<'a>,
    Part<'a>,
    TextPart<'a>,
    Detail<'a>,
    ToolCall<'a>,
    Function<'a>,
    Custom<'a>,
    Extra<'a>,
    Google<'a>,
    Annotation<'a>,
    Cited<'a>,
    Usage,
    PromptDetails,
    CompletionDetails,
);
