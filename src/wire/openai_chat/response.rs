//! Whole answers: what passthrough reads of them.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::ir::Usage;
use crate::wire::splice::span_in;

/// What was found in a body.
#[derive(Debug, Default)]
pub(in crate::wire) struct Seen {
    /// It is an error object, whatever its status said.
    pub(in crate::wire) error: bool,
    /// Where the value of its `model` stands.
    pub(in crate::wire) model: Option<Range<usize>>,
    /// Its counts.
    pub(in crate::wire) usage: Usage,
}

/// Reads a body. One that cannot be read shows nothing; it is passed on all the same.
pub(in crate::wire) fn read(body: &[u8]) -> Seen {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        model: Option<&'a RawValue>,
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        #[serde(borrow)]
        choices: Option<&'a RawValue>,
    }

    let Ok(text) = std::str::from_utf8(body) else { return Seen::default() };
    let Ok(body) = serde_json::from_str::<Body<'_>>(text) else { return Seen::default() };
    Seen {
        error: body.error.is_some() && body.choices.is_none(),
        model: body.model.map(|model| span_in(text, model.get())),
        usage: body.usage.map(|usage| self::usage(usage.get())).unwrap_or_default(),
    }
}

/// Reads a usage object. `prompt_tokens` includes what the cache served, so that is taken off.
pub(super) fn usage(text: &str) -> Usage {
    #[derive(Deserialize)]
    struct Raw {
        prompt_tokens: Option<u64>,
        completion_tokens: Option<u64>,
        prompt_cache_hit_tokens: Option<u64>,
        prompt_tokens_details: Option<Prompt>,
        completion_tokens_details: Option<Completion>,
    }
    #[derive(Deserialize)]
    struct Prompt {
        cached_tokens: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Completion {
        reasoning_tokens: Option<u64>,
    }

    let Ok(raw) = serde_json::from_str::<Raw>(text) else { return Usage::default() };
    // DeepSeek reports the cached part beside the prompt, not within its details.
    let cached = raw.prompt_tokens_details.and_then(|details| details.cached_tokens).or(raw.prompt_cache_hit_tokens);
    Usage {
        input: raw.prompt_tokens.map(|prompt| prompt.saturating_sub(cached.unwrap_or(0))),
        output: raw.completion_tokens,
        cache_read: cached,
        cache_write: None,
        reasoning: raw.completion_tokens_details.and_then(|details| details.reasoning_tokens),
    }
}
