//! Claude, on any host that speaks Anthropic's wire (Anthropic's model pages and migration guides, 2026-11).

use super::super::chat::Effort;
use super::{
    Control, Forced, Ids, Limit, PAPERS, Profile, Reads, Reasons, Row, Sampling, SystemRole, TEXT, TO_HIGH, first, row,
};

pub(super) fn find(name: &str) -> Profile {
    first(ROWS, name).unwrap_or(COMPATIBLE)
}

/// The fifth generation: reasons unless it is told not to, within no budget, and takes no sampling.
const FIFTH: Profile = Profile {
    known: true,
    max_input: Some(1_000_000),
    max_output: Some(128_000),
    thinking: Control::Adaptive,
    budget: (1024, 127_999),
    efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max],
    thinking_off: true,
    reasons: Reasons::UnlessOff,
    reasons_with_tools: true,
    sampling: Sampling::Refused,
    both_samplings: false,
    penalties: false,
    logprobs: false,
    several: false,
    stops: usize::MAX,
    prefill: false,
    // Sonnet 5 answers 200 and pays no heed, so it is true only where it was seen to work.
    system_turns: false,
    system_role: SystemRole::System,
    schemas: true,
    schemas_with_tools: true,
    tools: true,
    forced_tools: Forced::Free,
    parallel: true,
    web_search: true,
    top_k: true,
    limit: Limit::MaxTokens,
    call_ids: true,
    signed_calls: false,
    result_media: true,
    reasoning_back: false,
    reasoning_details: false,
    cache_marks: true,
    reads: PAPERS,
    ids: Ids::Any,
    mistral: false,
    stream_options: false,
    openai: false,
};

/// It reasons always, so it cannot be told to stop, nor be forced to call.
const FABLE: Profile = Profile {
    thinking_off: false,
    reasons: Reasons::Always,
    system_turns: true,
    forced_tools: Forced::Refused,
    ..FIFTH
};

const OPUS_5: Profile = Profile { system_turns: true, ..FIFTH };

const OPUS_4_7: Profile = Profile { reasons: Reasons::WhenAsked, ..FIFTH };

const CLAUDE_4_6: Profile = Profile {
    thinking: Control::Either,
    efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Max],
    sampling: Sampling::NotThinking,
    forced_tools: Forced::NotThinking,
    ..OPUS_4_7
};

const CLAUDE_4_5: Profile = Profile {
    max_input: Some(200_000),
    max_output: Some(64_000),
    thinking: Control::Budget,
    budget: (1024, 63_999),
    efforts: &[],
    prefill: true,
    ..CLAUDE_4_6
};

const CLAUDE_4: Profile = Profile { both_samplings: true, schemas: false, ..CLAUDE_4_5 };

const CLAUDE_3_5: Profile = Profile {
    max_output: Some(8192),
    thinking: Control::None,
    reasons: Reasons::Never,
    sampling: Sampling::Free,
    forced_tools: Forced::Free,
    ..CLAUDE_4
};

const CLAUDE_3: Profile =
    Profile { max_output: Some(4096), reads: Reads { documents: false, ..PAPERS }, web_search: false, ..CLAUDE_3_5 };

const UNKNOWN: Profile =
    Profile { known: false, max_input: None, max_output: Some(32_000), budget: (1024, 31_999), ..FIFTH };

/// Another vendor's model behind Anthropic's wire (`DeepSeek`, Moonshot, z.ai have such endpoints): what all of them
/// take.
const COMPATIBLE: Profile = Profile {
    thinking: Control::Budget,
    efforts: &[],
    reasons: Reasons::WhenAsked,
    sampling: Sampling::Free,
    both_samplings: true,
    prefill: true,
    schemas: false,
    web_search: false,
    ..UNKNOWN
};

const ROWS: &[Row] = &[
    row(&["claude-fable-5", "claude-fable-5-1", "claude-mythos-5", "claude-mythos-5-1"], FABLE),
    row(&["claude-opus-5", "claude-opus-5-5"], OPUS_5),
    row(&["claude-opus-4-8"], Profile { system_turns: true, ..OPUS_4_7 }),
    row(&["claude-sonnet-5", "claude-sonnet-5-5", "claude-haiku-5-5"], FIFTH),
    row(&["claude-opus-4-7"], OPUS_4_7),
    row(&["claude-opus-4-6", "claude-sonnet-4-6"], CLAUDE_4_6),
    row(&["claude-opus-4-5"], Profile { efforts: TO_HIGH, ..CLAUDE_4_5 }),
    // Some callers of Sonnet have a million.
    row(&["claude-sonnet-4-5"], Profile { max_input: None, ..CLAUDE_4_5 }),
    row(&["claude-haiku-4-5"], CLAUDE_4_5),
    row(&["claude-opus-4-1"], Profile { max_output: Some(32_000), budget: (1024, 31_999), ..CLAUDE_4_5 }),
    row(&["claude-opus-4"], Profile { max_output: Some(32_000), budget: (1024, 31_999), ..CLAUDE_4 }),
    row(&["claude-sonnet-4"], Profile { max_input: None, ..CLAUDE_4 }),
    row(&["claude-sonnet-3-7"], CLAUDE_4),
    row(&["claude-sonnet-3-5", "claude-haiku-3-5"], CLAUDE_3_5),
    row(&["claude-opus-3", "claude-sonnet-3", "claude-haiku-3"], CLAUDE_3),
    row(
        &["claude-1*", "claude-2*", "claude-instant*"],
        Profile { max_input: None, reads: TEXT, tools: false, ..CLAUDE_3 },
    ),
    // The preview of Mythos, and whatever comes.
    row(
        &["claude-fable*", "claude-mythos*"],
        Profile {
            system_turns: false,
            known: false,
            max_input: None,
            max_output: Some(32_000),
            budget: (1024, 31_999),
            ..FABLE
        },
    ),
    row(&["claude-opus*"], Profile { system_turns: true, ..UNKNOWN }),
    row(&["claude*"], UNKNOWN),
];

#[cfg(test)]
pub(super) const TABLE: &[Row] = ROWS;
