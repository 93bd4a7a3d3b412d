//! What we read of answers. Every field may be missing or `null`, unknown ones are skipped, and `snake_case` names, which are
//! valid proto JSON too, are understood.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::wire::fields::fields;
use crate::wire::lax::{Lax, Shape};
use crate::wire::text::{Json, Str};

/// A `GenerateContentResponse`: a whole answer or one chunk of a stream.
#[derive(Debug, Default)]
pub(super) struct Frame<'a> {
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    pub(super) prompt_feedback: Option<Feedback<'a>>,
    pub(super) usage_metadata: Option<Counts<'a>>,
    pub(super) model_version: Option<Str<'a>>,
    pub(super) response_id: Option<Str<'a>>,
    pub(super) error: Option<Json<'a>>,
}
fields!(Frame<'a> {
    candidates, prompt_feedback = "promptFeedback" | "prompt_feedback",
    usage_metadata = "usageMetadata" | "usage_metadata", model_version = "modelVersion" | "model_version",
    response_id = "responseId" | "response_id", error,
});

#[derive(Debug, Default)]
pub(super) struct Candidate<'a> {
    pub(super) index: Loose<'a>,
    pub(super) content: Option<Content<'a>>,
    pub(super) finish_reason: Loose<'a>,
    pub(super) finish_message: Option<Str<'a>>,
    pub(super) grounding_metadata: Option<Json<'a>>,
    pub(super) logprobs_result: Option<Json<'a>>,
}
fields!(Candidate<'a> {
    index, content, finish_reason = "finishReason" | "finish_reason",
    finish_message = "finishMessage" | "finish_message",
    grounding_metadata = "groundingMetadata" | "grounding_metadata",
    logprobs_result = "logprobsResult" | "logprobs_result",
});

#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    pub(super) parts: Option<Vec<Part<'a>>>,
}
fields!(Content<'a> { parts });

#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) text: Option<Str<'a>>,
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<Str<'a>>,
    /// In boxes, so that the many parts that are text are small.
    pub(super) function_call: Option<Box<FunctionCall<'a>>>,
    pub(super) inline_data: Option<Box<Blob<'a>>>,
}
fields!(Part<'a> {
    text, thought, thought_signature = "thoughtSignature" | "thought_signature",
    function_call = "functionCall" | "function_call", inline_data = "inlineData" | "inline_data",
});

#[derive(Debug, Default)]
pub(super) struct FunctionCall<'a> {
    pub(super) id: Option<Str<'a>>,
    pub(super) name: Option<Str<'a>>,
    pub(super) args: Option<Json<'a>>,
    pub(super) partial_args: Option<Vec<PartialArg<'a>>>,
    pub(super) will_continue: Option<bool>,
}
fields!(FunctionCall<'a> {
    id, name, args, partial_args = "partialArgs" | "partial_args", will_continue = "willContinue" | "will_continue",
});

/// A piece of arguments that come a value at a time (Vertex's `streamFunctionCallArguments`, 2026-05).
#[derive(Debug, Default)]
pub(super) struct PartialArg<'a> {
    pub(super) json_path: Option<Str<'a>>,
    pub(super) string_value: Option<Str<'a>>,
    pub(super) number_value: Option<Json<'a>>,
    pub(super) bool_value: Option<bool>,
    /// There, whatever its value: it is `null` itself.
    pub(super) null_value: Present,
}
fields!(PartialArg<'a> {
    json_path = "jsonPath" | "json_path", string_value = "stringValue" | "string_value",
    number_value = "numberValue" | "number_value", bool_value = "boolValue" | "bool_value",
    null_value = "nullValue" | "null_value",
});

#[derive(Debug, Default)]
pub(super) struct Blob<'a> {
    pub(super) mime_type: Option<Str<'a>>,
    pub(super) data: Option<Str<'a>>,
}
fields!(Blob<'a> { mime_type = "mimeType" | "mime_type", data });

#[derive(Debug, Default)]
pub(super) struct Feedback<'a> {
    pub(super) block_reason: Loose<'a>,
    pub(super) block_reason_message: Option<Str<'a>>,
}
fields!(Feedback<'a> {
    block_reason = "blockReason" | "block_reason", block_reason_message = "blockReasonMessage" | "block_reason_message",
});

/// `usageMetadata`: totals so far; what is zero is left out.
#[derive(Debug, Default)]
pub(super) struct Counts<'a> {
    pub(super) prompt_token_count: Loose<'a>,
    pub(super) tool_use_prompt_token_count: Loose<'a>,
    pub(super) cached_content_token_count: Loose<'a>,
    pub(super) candidates_token_count: Loose<'a>,
    pub(super) thoughts_token_count: Loose<'a>,
    pub(super) total_token_count: Loose<'a>,
    pub(super) service_tier: Loose<'a>,
    pub(super) prompt_tokens_details: Option<Json<'a>>,
    pub(super) cache_tokens_details: Option<Json<'a>>,
    pub(super) candidates_tokens_details: Option<Json<'a>>,
}
fields!(Counts<'a> {
    prompt_token_count = "promptTokenCount" | "prompt_token_count",
    tool_use_prompt_token_count = "toolUsePromptTokenCount" | "tool_use_prompt_token_count",
    cached_content_token_count = "cachedContentTokenCount" | "cached_content_token_count",
    candidates_token_count = "candidatesTokenCount" | "candidates_token_count",
    thoughts_token_count = "thoughtsTokenCount" | "thoughts_token_count",
    total_token_count = "totalTokenCount" | "total_token_count", service_tier = "serviceTier" | "service_tier",
    prompt_tokens_details = "promptTokensDetails" | "prompt_tokens_details",
    cache_tokens_details = "cacheTokensDetails" | "cache_tokens_details",
    candidates_tokens_details = "candidatesTokensDetails" | "candidates_tokens_details",
});

#[derive(Debug, Default)]
struct Modal<'a> {
    modality: Loose<'a>,
    token_count: Loose<'a>,
}
fields!(Modal<'a> { modality, token_count = "tokenCount" | "token_count" });

/// The tokens of audio in a list of counts by modality (`AUDIO` is 4 in `v1beta`'s `Modality`, 2026-08).
pub(super) fn audio(details: Option<&Json<'_>>) -> Option<u64> {
    let details = serde_json::from_str::<Vec<Modal<'_>>>(details?.get()).ok()?;
    let audio = |one: &&Modal<'_>| matches!(&one.modality, Loose::Number(4)) || one.modality.word() == "AUDIO";
    details.iter().find(audio)?.token_count.count()
}

/// A number or a word: enums come as numbers where the request asked for that, and 64-bit integers as strings. Anything else
/// is taken for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Loose<'a> {
    #[default]
    Nothing,
    Number(u64),
    Word(Str<'a>),
}

impl Loose<'_> {
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Number(number) => Some(*number),
            Self::Word(word) => word.parse().ok(),
        }
    }

    /// The word, empty where there is none.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Nothing | Self::Number(_) => "",
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lax::deserialize(deserializer).map(|Lax(value)| value.unwrap_or_default())
    }
}

impl<'de: 'a, 'a> Shape<'de> for Loose<'a> {
    const MOST: f64 = f64::INFINITY;

    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self::Word(text))
    }

    fn number(number: u64) -> Option<Self> {
        Some(Self::Number(number))
    }
}

/// Whether a field is there, whatever its value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present(pub(super) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}
