//! `OpenAI`'s own models at its chat completions (its model pages and API reference, 2026-11).

use super::super::chat::Effort;
use super::{
    Control, Forced, IMAGES, Ids, Limit, MINIMAL_TO_HIGH, PAPERS, Profile, Reads, Reasons, Row, Sampling, SystemRole,
    TEXT, TO_HIGH, TO_XHIGH, first, row,
};

/// Whether this is a name of `OpenAI`'s own, as opposed to what a compatible server calls its model.
pub(super) fn own(name: &str) -> bool {
    const OTHERS: [&str; 3] = ["gpt-oss", "gpt-j", "gpt-neo"];
    const STARTS: [&str; 7] = ["chat-latest", "chatgpt-", "codex-", "computer-use-", "davinci-", "gpt-", "text-"];
    let starts = |start: &&str| name.starts_with(*start);
    let o_series = || {
        let rest = name.strip_prefix('o').unwrap_or_default();
        let number = rest.split('-').next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    (STARTS.iter().any(starts) && !OTHERS.iter().any(starts)) || o_series()
}

pub(super) fn find(name: &str) -> Profile {
    first(ROWS, name).unwrap_or(Profile { known: false, max_input: None, ..NEWEST })
}

/// gpt-5.6 and gpt-6: they reason unless told not to, and chat completions give them no functions meanwhile.
const NEWEST: Profile = Profile {
    known: true,
    max_input: Some(922_000),
    max_output: Some(128_000),
    thinking: Control::Level,
    budget: (0, 0),
    efforts: TO_XHIGH,
    thinking_off: true,
    reasons: Reasons::UnlessOff,
    reasons_with_tools: false,
    sampling: Sampling::NotThinking,
    both_samplings: true,
    penalties: true,
    logprobs: true,
    several: true,
    stops: 4,
    // A last turn of the assistant is taken, but a new one begins.
    prefill: false,
    system_turns: true,
    system_role: SystemRole::System,
    schemas: true,
    schemas_with_tools: true,
    tools: true,
    forced_tools: Forced::Free,
    parallel: true,
    // Of chat completions only the search models do: a 400 from the others.
    web_search: false,
    top_k: false,
    limit: Limit::MaxCompletionTokens,
    call_ids: true,
    signed_calls: false,
    result_media: false,
    reasoning_back: false,
    reasoning_details: false,
    cache_marks: true,
    reads: PAPERS,
    ids: Ids::Any,
    mistral: false,
    stream_options: true,
    openai: true,
};

const GPT_5_5: Profile = Profile { max_input: Some(1_050_000), cache_marks: false, ..NEWEST };
const GPT_5_4: Profile = Profile { reasons: Reasons::WhenAsked, ..GPT_5_5 };
const GPT_5_2: Profile = Profile { max_input: Some(272_000), reasons_with_tools: true, ..GPT_5_4 };

/// What reasons always takes no sampling ever.
const GPT_5: Profile = Profile {
    efforts: MINIMAL_TO_HIGH,
    thinking_off: false,
    reasons: Reasons::Always,
    sampling: Sampling::Refused,
    penalties: false,
    logprobs: false,
    ..GPT_5_2
};

const CODEX: Profile = Profile { max_input: Some(400_000), efforts: TO_HIGH, ..GPT_5 };
const PRO: Profile = Profile { efforts: &[Effort::Medium, Effort::High, Effort::Xhigh], ..GPT_5 };
/// The model of `ChatGPT`, whose effort is its own.
const CHAT: Profile =
    Profile { max_input: Some(128_000), max_output: Some(16_384), thinking: Control::None, efforts: &[], ..GPT_5 };

const O3_MINI: Profile = Profile {
    max_input: Some(200_000),
    max_output: Some(100_000),
    efforts: TO_HIGH,
    parallel: false,
    reads: TEXT,
    ..GPT_5
};
const O3: Profile = Profile { stops: 0, reads: PAPERS, ..O3_MINI };
const O1_MINI: Profile = Profile {
    max_input: Some(128_000),
    max_output: Some(65_536),
    thinking: Control::None,
    efforts: &[],
    system_role: SystemRole::User,
    schemas: false,
    schemas_with_tools: false,
    tools: false,
    stops: 0,
    ..O3_MINI
};

/// Before reasoning.
const GPT_4O: Profile = Profile {
    max_input: Some(128_000),
    max_output: Some(16_384),
    thinking: Control::None,
    efforts: &[],
    reasons: Reasons::Never,
    sampling: Sampling::Free,
    limit: Limit::MaxTokens,
    ..GPT_5_2
};

const GPT_4: Profile = Profile { max_output: Some(4096), schemas: false, schemas_with_tools: false, ..GPT_4O };

const SEARCH: Profile = Profile {
    sampling: Sampling::Refused,
    penalties: false,
    logprobs: false,
    several: false,
    parallel: false,
    web_search: true,
    ..GPT_4O
};

const AUDIO: Profile =
    Profile { schemas: false, schemas_with_tools: false, reads: Reads { audio: true, ..TEXT }, ..GPT_4O };

const ROWS: &[Row] = &[
    row(
        &["gpt-5-search"],
        Profile { max_input: Some(272_000), max_output: Some(128_000), limit: Limit::MaxCompletionTokens, ..SEARCH },
    ),
    row(&["gpt-*-search"], SEARCH),
    row(&["gpt-audio", "gpt-4o*-audio"], AUDIO),
    row(&["chat-latest"], Profile { max_input: Some(400_000), ..CHAT }),
    row(&["gpt-5-chat", "gpt-5.*-chat"], CHAT),
    row(
        &["gpt-5-pro"],
        Profile { max_input: Some(400_000), max_output: Some(272_000), efforts: &[Effort::High], ..GPT_5 },
    ),
    row(&["gpt-5.2-pro"], PRO),
    row(&["gpt-5.*-pro"], Profile { max_input: Some(1_050_000), ..PRO }),
    row(&["gpt-5.1-codex-max", "gpt-5.2-codex", "gpt-5.3-codex"], Profile { efforts: TO_XHIGH, ..CODEX }),
    row(&["codex-mini", "gpt-5-codex", "gpt-5.1-codex"], CODEX),
    row(&["gpt-6", "gpt-6.1", "gpt-5.6"], NEWEST),
    row(&["gpt-5.5"], GPT_5_5),
    row(&["gpt-5.4-mini", "gpt-5.4-nano"], Profile { max_input: Some(272_000), ..GPT_5_4 }),
    row(&["gpt-5.4"], GPT_5_4),
    row(&["gpt-5.2", "gpt-5.3"], GPT_5_2),
    row(&["gpt-5.1"], Profile { efforts: TO_HIGH, ..GPT_5_2 }),
    row(&["gpt-5"], GPT_5),
    row(&["o1-mini", "o1-preview"], O1_MINI),
    row(&["o3-mini"], O3_MINI),
    row(&["o1", "o3", "o4-mini"], O3),
    row(&["gpt-4.1"], Profile { max_input: Some(1_047_576), max_output: Some(32_768), ..GPT_4O }),
    row(&["gpt-4o-2024-05-13"], GPT_4),
    row(&["chatgpt-4o"], Profile { tools: false, ..GPT_4O }),
    row(&["gpt-4o", "gpt-4.5"], GPT_4O),
    row(&["gpt-4-turbo", "gpt-4-vision"], Profile { reads: IMAGES, ..GPT_4 }),
    row(&["gpt-4-0125", "gpt-4-1106"], Profile { reads: TEXT, ..GPT_4 }),
    row(&["gpt-4-32k"], Profile { max_input: Some(32_768), reads: TEXT, ..GPT_4 }),
    row(&["gpt-4"], Profile { max_input: Some(8192), reads: TEXT, ..GPT_4 }),
    row(&["gpt-3.5-turbo"], Profile { max_input: Some(16_385), reads: TEXT, ..GPT_4 }),
];

#[cfg(test)]
pub(super) const TABLE: &[Row] = ROWS;
