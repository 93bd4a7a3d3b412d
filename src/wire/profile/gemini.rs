//! Gemini and Gemma at Google's own API (its model pages and thinking guide, 2026-11).

use super::super::chat::Effort;
use super::{
    ALL, Control, Forced, IMAGES, Ids, Limit, MINIMAL_TO_HIGH, Profile, Reasons, Row, Sampling, SystemRole, TO_HIGH,
    first, row,
};

pub(super) fn find(name: &str) -> Profile {
    first(ROWS, name).unwrap_or(Profile { known: false, max_input: None, ..THIRD })
}

/// The third generation. `low` to `high` is what all of its models take.
const THIRD: Profile = Profile {
    known: true,
    max_input: Some(1_048_576),
    max_output: Some(65_536),
    thinking: Control::Level,
    budget: (128, 32_768),
    efforts: TO_HIGH,
    thinking_off: false,
    reasons: Reasons::Always,
    reasons_with_tools: true,
    sampling: Sampling::Free,
    both_samplings: true,
    // "Penalty is not enabled for this model": a 400 from every model since 2.5.
    penalties: false,
    logprobs: true,
    several: false,
    stops: 5,
    prefill: true,
    system_turns: false,
    system_role: SystemRole::System,
    schemas: true,
    schemas_with_tools: true,
    tools: true,
    forced_tools: Forced::Free,
    parallel: false,
    web_search: true,
    top_k: true,
    limit: Limit::MaxTokens,
    call_ids: true,
    signed_calls: true,
    result_media: true,
    reasoning_back: false,
    reasoning_details: false,
    cache_marks: false,
    reads: ALL,
    ids: Ids::Any,
    mistral: false,
    stream_options: false,
    openai: false,
};

const FLASH_3: Profile = Profile { efforts: MINIMAL_TO_HIGH, ..THIRD };

const PRO_2_5: Profile = Profile {
    thinking: Control::Budget,
    efforts: &[],
    several: true,
    schemas_with_tools: false,
    call_ids: false,
    signed_calls: false,
    result_media: false,
    ..THIRD
};

const FLASH_2_5: Profile = Profile { budget: (0, 24_576), thinking_off: true, reasons: Reasons::UnlessOff, ..PRO_2_5 };

const SECOND: Profile = Profile {
    max_input: None,
    max_output: Some(8192),
    thinking: Control::None,
    thinking_off: true,
    reasons: Reasons::Never,
    penalties: true,
    ..PRO_2_5
};

/// Models that draw or speak: they call nothing.
const MAKER: Profile = Profile {
    max_input: None,
    thinking: Control::None,
    efforts: &[],
    schemas: false,
    schemas_with_tools: false,
    tools: false,
    call_ids: false,
    signed_calls: false,
    result_media: false,
    ..THIRD
};

const ROWS: &[Row] = &[
    row(&["gemini-*-image", "gemini-*-tts"], MAKER),
    row(&["gemini-4*"], Profile { max_output: Some(1_048_576), ..THIRD }),
    row(&["gemini-3-pro"], Profile { efforts: &[Effort::Low, Effort::High], ..THIRD }),
    row(&["gemini-3.1-pro", "gemini-3.7-flash", "gemini-3.8-flash", "gemini-pro"], THIRD),
    row(&["gemini-3-flash", "gemini-3.1-flash", "gemini-3.5-flash", "gemini-3.6-flash", "gemini-flash"], FLASH_3),
    row(&["gemini-2.5-pro"], PRO_2_5),
    row(&["gemini-2.5-flash-lite"], Profile { budget: (512, 24_576), reasons: Reasons::WhenAsked, ..FLASH_2_5 }),
    row(&["gemini-2.5-flash"], FLASH_2_5),
    row(&["gemini-1*", "gemini-2.0*", "gemini-exp*", "learnlm*"], SECOND),
    row(
        &["gemma-4"],
        Profile {
            max_input: Some(262_144),
            max_output: Some(32_768),
            reasons: Reasons::WhenAsked,
            reads: IMAGES,
            ..SECOND
        },
    ),
    // "Developer instruction is not enabled": its instructions go into the first user turn.
    row(&["gemma*"], Profile { system_role: SystemRole::User, reads: IMAGES, ..SECOND }),
];

#[cfg(test)]
pub(super) const TABLE: &[Row] = ROWS;
