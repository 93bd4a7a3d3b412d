//! Models behind servers that speak `OpenAI`'s wire and are not `OpenAI`: what all of them take, then what is known of the
//! model, then what is known of the vendor (recorded traffic and the vendors' API references, 2026-11).

use super::super::chat::Effort;
use super::{
    ALL, Control, Forced, IMAGES, Ids, Limit, Profile, Reads, Reasons, Row, Sampling, SystemRole, TEXT, TO_HIGH,
    claude, first, gemini, openai, row,
};

pub(super) fn find(vendor: &str, name: &str) -> Profile {
    let facts = if name.starts_with("claude-") {
        routed(Profile { cache_marks: true, ..claude::find(name) })
    } else if name.starts_with("gemini-") {
        routed(Profile { cache_marks: true, ..gemini::find(name) })
    } else if openai::own(name) {
        routed(Profile { cache_marks: false, ..openai::find(name) })
    } else {
        first(ROWS, name).unwrap_or(COMMON)
    };
    at(vendor, facts)
}

/// What every compatible server takes. What it reads is its own to say.
const COMMON: Profile = Profile {
    known: false,
    max_input: None,
    max_output: None,
    thinking: Control::Level,
    budget: (0, 0),
    efforts: TO_HIGH,
    thinking_off: true,
    reasons: Reasons::WhenAsked,
    reasons_with_tools: true,
    sampling: Sampling::Free,
    both_samplings: true,
    penalties: true,
    logprobs: true,
    several: true,
    stops: usize::MAX,
    prefill: false,
    system_turns: true,
    system_role: SystemRole::System,
    schemas: true,
    schemas_with_tools: true,
    tools: true,
    forced_tools: Forced::Free,
    parallel: true,
    web_search: false,
    top_k: true,
    limit: Limit::MaxTokens,
    call_ids: true,
    signed_calls: false,
    result_media: false,
    reasoning_back: false,
    reasoning_details: false,
    cache_marks: false,
    reads: Reads { video: false, ..ALL },
    ids: Ids::Any,
    mistral: false,
    stream_options: true,
    openai: false,
};

/// A model of another wire, or of `OpenAI`, behind a router: its abilities stay, its dialect is the router's.
fn routed(model: Profile) -> Profile {
    let reasons = model.reasons != Reasons::Never;
    Profile {
        known: model.known,
        max_output: model.max_output,
        thinking: if reasons { Control::Level } else { Control::None },
        efforts: if reasons { ROUTED } else { &[] },
        thinking_off: model.thinking_off,
        reasons: model.reasons,
        sampling: model.sampling,
        both_samplings: model.both_samplings,
        penalties: model.penalties,
        stops: model.stops.min(4),
        prefill: model.prefill,
        schemas: model.schemas,
        tools: model.tools,
        forced_tools: model.forced_tools,
        signed_calls: model.signed_calls,
        cache_marks: model.cache_marks,
        reads: model.reads,
        ..COMMON
    }
}

/// `OpenRouter` takes all of these for every model and rounds.
const ROUTED: &[Effort] = &[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh];

const MUTE: Profile = Profile { known: true, thinking: Control::None, efforts: &[], reasons: Reasons::Never, ..COMMON };

/// It reasons, and nothing of `OpenAI`'s wire changes that.
const SET: Profile = Profile { thinking_off: false, reasons: Reasons::Always, ..MUTE };

/// It reasons unless told not to, which vendors spell in their own ways, and wants its thoughts back with its tool calls: 400
/// from `DeepSeek` and Moonshot without them.
const HYBRID: Profile = Profile {
    known: true,
    thinking_off: false,
    reasons: Reasons::UnlessOff,
    forced_tools: Forced::NotThinking,
    reasoning_back: true,
    reads: IMAGES,
    ..COMMON
};

/// xAI's own list for models that reason (2026-11): no `stop`, no penalties, no effort.
const GROK: Profile = Profile { penalties: false, stops: 0, reads: IMAGES, ..SET };

const ROWS: &[Row] = &[
    row(&["gpt-oss*"], Profile { known: true, thinking_off: false, reasons: Reasons::Always, reads: TEXT, ..COMMON }),
    row(&["deepseek-r1*"], Profile { reads: TEXT, ..SET }),
    row(&["deepseek-v4-flash-vision"], HYBRID),
    row(&["deepseek-reasoner"], Profile { reasons: Reasons::Always, reads: TEXT, ..HYBRID }),
    row(&["deepseek-v4*", "deepseek-flash*", "deepseek-v3.2*"], Profile { reads: TEXT, ..HYBRID }),
    row(&["deepseek*"], Profile { reads: TEXT, ..MUTE }),
    row(&["kimi-k2-thinking*"], Profile { reasons: Reasons::Always, reads: TEXT, ..HYBRID }),
    row(&["kimi-k2.*", "kimi-k3*"], HYBRID),
    row(&["kimi*", "moonshot*"], Profile { reads: IMAGES, ..MUTE }),
    row(&["glm-4.5*", "glm-4.6*", "glm-4.7*", "glm-5*"], HYBRID),
    row(&["minimax-m*"], Profile { reasoning_back: true, reads: IMAGES, ..SET }),
    row(&["qwen3*", "qwen-3*"], Profile { reasons: Reasons::UnlessOff, ..MUTE }),
    row(&["qwq*"], SET),
    row(&["qwen*"], MUTE),
    row(&["llama*", "meta-llama*"], Profile { reads: IMAGES, ..MUTE }),
    row(&["magistral*"], Profile { reads: IMAGES, ..SET }),
    row(&["voxtral*"], Profile { reads: Reads { audio: true, ..TEXT }, ..MUTE }),
    row(
        &["mistral-small*", "mistral-medium*", "mistral-large-4*"],
        Profile { known: true, efforts: &[Effort::High], reads: IMAGES, ..COMMON },
    ),
    row(
        &["codestral*", "devstral*", "ministral*", "mistral*", "mixtral*", "open-mi*", "pixtral*"],
        Profile { reads: IMAGES, ..MUTE },
    ),
    row(&["grok-*-non-reasoning"], Profile { reads: IMAGES, ..MUTE }),
    row(
        &["grok-3-mini"],
        Profile { thinking: Control::Level, efforts: &[Effort::Low, Effort::High], reads: TEXT, ..GROK },
    ),
    row(&["grok-2*", "grok-3*"], Profile { reads: IMAGES, ..MUTE }),
    row(&["grok*"], GROK),
    row(&["sonar-reasoning*", "sonar-deep-research*"], SET),
    row(&["sonar*"], MUTE),
];

/// With the switch `thinking: {"type": "enabled"}`, which the makers of hybrid models have at their own servers.
fn switched(facts: Profile) -> Profile {
    if facts.reasons != Reasons::UnlessOff {
        return facts;
    }
    Profile { thinking: Control::Adaptive, thinking_off: true, ..facts }
}

/// What the vendor changes about it.
fn at(vendor: &str, facts: Profile) -> Profile {
    let images = Reads { images: facts.reads.images, ..TEXT };
    match vendor {
        "litellm_proxy" | "openrouter" | "vercel_ai_gateway" => {
            let reasons = facts.thinking == Control::Level && facts.efforts.len() > 2;
            Profile { efforts: if reasons { ROUTED } else { facts.efforts }, reasoning_details: true, ..facts }
        }
        "mistral" => Profile {
            mistral: true,
            top_k: false,
            ids: Ids::Nine,
            logprobs: false,
            stream_options: false,
            reads: Reads { audio: facts.reads.audio, ..images },
            ..facts
        },
        "deepseek" => {
            let facts = switched(facts);
            Profile {
                several: false,
                stops: 16,
                schemas: false,
                forced_tools: Forced::NotThinking,
                reasoning_back: true,
                reads: if facts.reads == IMAGES { IMAGES } else { TEXT },
                ..facts
            }
        }
        "groq" => {
            // Its Llamas answer 400 to a schema, and to an effort.
            let modern = facts.thinking == Control::Level && facts.known && facts.reasons == Reasons::Always;
            Profile {
                thinking: if modern { Control::Level } else { Control::None },
                efforts: if modern { TO_HIGH } else { &[] },
                logprobs: false,
                several: false,
                top_k: false,
                stops: 4,
                schemas: modern,
                schemas_with_tools: false,
                reads: images,
                ..facts
            }
        }
        "cerebras" => Profile {
            penalties: false,
            several: false,
            top_k: false,
            stops: 4,
            schemas_with_tools: false,
            reads: images,
            ..facts
        },
        "perplexity" => {
            Profile { tools: false, logprobs: false, several: false, stream_options: false, reads: images, ..facts }
        }
        // From K2.5 on it sets sampling itself, and refuses others' values.
        "moonshot" if facts.reasoning_back => {
            Profile { sampling: Sampling::Refused, penalties: false, several: false, reads: images, ..facts }
        }
        "moonshot" | "xai" => Profile { reads: images, ..facts },
        // "`tool_choice` … only supports `auto`."
        "zai" | "zhipu" => Profile { forced_tools: Forced::Refused, schemas: false, reads: images, ..switched(facts) },
        "fireworks_ai" => Profile { stops: 4, ..facts },
        "ollama" => Profile { several: false, reads: images, ..facts },
        _ => facts,
    }
}

#[cfg(test)]
pub(super) const TABLE: &[Row] = ROWS;
