//! The request parameters of each wire, as data: what can be a default in `litellm_params`, and what is known to be one.

use crate::wire::Wire;

/// The top-level fields of an `OpenAI` chat completion request (API reference, 2026-11), sorted.
pub const OPENAI_CHAT: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// The top-level fields of an Anthropic Messages request (API reference with its betas, 2026-11), sorted.
pub const ANTHROPIC_MESSAGES: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// The top-level fields of a Gemini request beside the conversation (API reference, 2026-11), sorted.
pub const GEMINI: &[&str] = &["cachedContent", "generationConfig", "safetySettings", "serviceTier", "toolConfig"];

/// The fields that say what a request is, and so cannot be a default.
pub const NEVER_A_DEFAULT: &[&str] = &["messages", "model", "stream", "stream_options"];

/// The parameters of a wire.
#[must_use]
pub fn of(wire: Wire) -> &'static [&'static str] {
    match wire {
        Wire::OpenAiChat => OPENAI_CHAT,
        Wire::AnthropicMessages => ANTHROPIC_MESSAGES,
        Wire::Gemini => GEMINI,
    }
}

/// Whether any wire has this parameter.
#[must_use]
pub fn is_known(name: &str) -> bool {
    [OPENAI_CHAT, ANTHROPIC_MESSAGES, GEMINI].iter().any(|names| names.binary_search(&name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(OPENAI_CHAT.is_sorted() && ANTHROPIC_MESSAGES.is_sorted() && NEVER_A_DEFAULT.is_sorted());
        assert!(GEMINI.is_sorted());
        assert!(is_known("top_k") && is_known("seed") && !is_known("sed"));
    }
}
