//! What is known of models, as data: which knobs each family has. A user overrides any of it under `model_info`.
//!
//! Sources: the vendors' model pages and the recorded traffic of their APIs (2026-11). A model that no row knows is taken for
//! the newest of its family.
//!
//! ```
//! use feathergate::wire::{Wire, profile::{Profile, Sampling}};
//! let opus = Profile::find(Wire::AnthropicMessages, "anthropic", "claude-opus-4-8");
//! assert_eq!((opus.known, opus.max_output, opus.sampling), (true, Some(128_000), Sampling::Refused));
//! ```

mod claude;
mod compatible;
mod gemini;
mod name;
mod openai;

use super::Wire;
use super::chat::{Effort, Reasoning, Thinking};

/// Facts about a model at a vendor, as far as conversion needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Profile {
    /// A row knows the model; otherwise the newest family's behaviour is assumed.
    pub known: bool,
    /// The most tokens that a request may have, where that is the same for all who ask (litellm's price table, 2026-11).
    pub max_input: Option<u64>,
    /// The most tokens that one answer may have.
    pub max_output: Option<u64>,
    /// How reasoning is controlled.
    pub thinking: Control,
    /// The least and most tokens of a budget, where there is one.
    pub budget: (u64, u64),
    /// The efforts that it takes, least first. Empty: no such setting.
    pub efforts: &'static [Effort],
    /// It can be told not to reason.
    pub thinking_off: bool,
    /// When it reasons.
    pub reasons: Reasons,
    /// It takes functions in a request that has it reason. `OpenAI`'s chat completions from gpt-5.4 on do not: such a request
    /// is a 400 unless its `reasoning_effort` is `none`.
    pub reasons_with_tools: bool,
    /// `temperature`, `top_p`, `top_k`.
    pub sampling: Sampling,
    /// `temperature` and `top_p` may stand together.
    pub both_samplings: bool,
    /// `frequency_penalty`, `presence_penalty`.
    pub penalties: bool,
    /// `logprobs`.
    pub logprobs: bool,
    /// `n` or its like.
    pub several: bool,
    /// Stop sequences: how many.
    pub stops: usize,
    /// A last turn of the assistant is continued.
    pub prefill: bool,
    /// A system message in the middle is honoured where it stands.
    pub system_turns: bool,
    /// The role of instructions on the `OpenAI` wire.
    pub system_role: SystemRole,
    /// A JSON schema for the answer.
    pub schemas: bool,
    /// A JSON schema for the answer together with tools.
    pub schemas_with_tools: bool,
    /// It calls tools at all.
    pub tools: bool,
    /// Forced tool choice.
    pub forced_tools: Forced,
    /// It can be told to call one tool at a time.
    pub parallel: bool,
    /// Its vendor searches the web when the request says so.
    pub web_search: bool,
    /// It takes `top_k`, where sampling can be set at all.
    pub top_k: bool,
    /// The name of the token limit on the `OpenAI` wire.
    pub limit: Limit,
    /// It gives its calls ids, which have to come back (Gemini 3).
    pub call_ids: bool,
    /// Its calls are signed, and a call of the current turn without a signature is refused (Gemini 3).
    pub signed_calls: bool,
    /// Tool results may hold media.
    pub result_media: bool,
    /// Reasoning text has to come back with the turns (`reasoning_content`, `DeepSeek`).
    pub reasoning_back: bool,
    /// It takes `reasoning_details` of any vendor (routers do); others get no thoughts of other models.
    pub reasoning_details: bool,
    /// Marks for the prompt cache (`cache_control`, `prompt_cache_breakpoint`).
    pub cache_marks: bool,
    /// Which kinds of media it reads.
    pub reads: Reads,
    /// The shape of tool call ids.
    pub ids: Ids,
    /// The word for "call any tool" on the `OpenAI` wire is `any` instead of `required`, and such small things of Mistral's.
    pub mistral: bool,
    /// It takes `stream_options`.
    pub stream_options: bool,
    /// It knows `OpenAI`'s own latest request fields (`safety_identifier`, `verbosity`, `developer`, …).
    pub openai: bool,
}

/// How reasoning is controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It does not reason, or cannot be told how.
    None,
    /// A number of tokens.
    Budget,
    /// The model decides; effort guides it.
    Adaptive,
    /// Either.
    Either,
    /// A level in words (Gemini 3, `OpenAI`'s `reasoning_effort`).
    Level,
}

/// When a model reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// It cannot.
    Never,
    /// When the request asks for it.
    WhenAsked,
    /// Unless the request says that it should not.
    UnlessOff,
    /// Always.
    Always,
}

/// Whether sampling can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Always.
    Free,
    /// Not while it reasons.
    NotThinking,
    /// Never.
    Refused,
}

/// Whether a tool can be forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Always.
    Free,
    /// Not while it reasons within a budget, or at all where there is no budget.
    NotThinking,
    /// Never.
    Refused,
}

/// The role of instructions on the `OpenAI` wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemRole {
    /// `system`, which every server knows.
    System,
    /// `user`: the model refuses both others (o1-mini, o1-preview).
    User,
}

/// The name of the token limit on the `OpenAI` wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_tokens`, which every compatible server knows.
    MaxTokens,
    /// `max_completion_tokens`, which `OpenAI`'s reasoning models demand.
    MaxCompletionTokens,
}

/// The shape of tool call ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// As the wire says.
    Any,
    /// Nine letters or digits.
    Nine,
}

/// Which kinds of media a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Pictures.
    pub images: bool,
    /// PDF.
    pub documents: bool,
    /// Sound.
    pub audio: bool,
    /// Films.
    pub video: bool,
}

impl Profile {
    /// What is known of `model` at `vendor` (litellm's name of it: `openai`, `anthropic`, `gemini`, …).
    #[must_use]
    pub fn find(wire: Wire, vendor: &str, model: &str) -> Self {
        let name = name::plain(model);
        match wire {
            Wire::AnthropicMessages => claude::find(&name),
            Wire::Gemini => gemini::find(&name),
            // Behind `openai/…` there may be any server; by its name it is told apart.
            Wire::OpenAiChat if vendor == "openai" && openai::own(&name) => openai::find(&name),
            Wire::OpenAiChat => compatible::find(vendor, &name),
        }
    }

    /// Whether a request reasons that says this about it.
    #[must_use]
    pub fn reasoning(&self, said: &Reasoning) -> bool {
        match self.reasons {
            Reasons::Never => false,
            Reasons::WhenAsked => said.wanted(),
            Reasons::UnlessOff => !(self.thinking_off && said.mode == Some(Thinking::Off)),
            Reasons::Always => true,
        }
    }

    /// The nearest effort that is not more than `wanted`, else the least; `None` where the model takes none.
    #[must_use]
    pub fn effort(&self, wanted: Effort) -> Option<Effort> {
        self.efforts.iter().rfind(|effort| **effort <= wanted).or(self.efforts.first()).copied()
    }
}

/// The effort that a budget stands for.
#[must_use]
pub fn effort_of(budget: u64) -> Effort {
    match budget {
        0..2048 => Effort::Low,
        2048..8192 => Effort::Medium,
        8192..24_576 => Effort::High,
        _ => Effort::Xhigh,
    }
}

/// The efforts that `holds` names, least first.
#[must_use]
pub fn efforts(holds: impl Fn(Effort) -> bool) -> &'static [Effort] {
    let mask = (0..).zip(Effort::ALL).fold(0, |mask, (bit, effort)| mask | (usize::from(holds(effort)) << bit));
    SETS.get(mask).and_then(|(efforts, count)| efforts.get(..*count)).unwrap_or_default()
}

/// Every set of efforts, by the bits of its number, so that one of a configuration is as static as those of the tables.
static SETS: [([Effort; 6], usize); 64] = {
    let mut sets = [([Effort::Max; 6], 0); 64];
    let mut mask = 0;
    while mask < sets.len() {
        let mut bit = 0;
        while bit < Effort::ALL.len() {
            if mask >> bit & 1 == 1 {
                #[expect(clippy::indexing_slicing, reason = "computed by the compiler, which checks it")]
                {
                    let count = sets[mask].1;
                    sets[mask].0[count] = Effort::ALL[bit];
                    sets[mask].1 = count + 1;
                }
            }
            bit += 1;
        }
        mask += 1;
    }
    sets
};

/// Facts with the names they hold for.
#[derive(Debug)]
struct Row {
    /// See [`name::fits`].
    names: &'static [&'static str],
    facts: Profile,
}

const fn row(names: &'static [&'static str], facts: Profile) -> Row {
    Row { names, facts }
}

/// The facts of the first row that holds for `name`.
fn first(rows: &[Row], name: &str) -> Option<Profile> {
    let row = rows.iter().find(|row| row.names.iter().any(|pattern| name::fits(pattern, name)))?;
    Some(row.facts)
}

const TEXT: Reads = Reads { images: false, documents: false, audio: false, video: false };
const IMAGES: Reads = Reads { images: true, ..TEXT };
const PAPERS: Reads = Reads { images: true, documents: true, ..TEXT };
const ALL: Reads = Reads { images: true, documents: true, audio: true, video: true };

const TO_HIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High];
const TO_XHIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh];
const MINIMAL_TO_HIGH: &[Effort] = &[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High];

#[cfg(test)]
mod tests {
    use super::*;
    use Effort::{High, Low, Max, Medium, Minimal, Xhigh};

    fn claude(model: &str) -> Profile {
        Profile::find(Wire::AnthropicMessages, "anthropic", model)
    }

    fn gemini(model: &str) -> Profile {
        Profile::find(Wire::Gemini, "gemini", model)
    }

    fn openai(model: &str) -> Profile {
        Profile::find(Wire::OpenAiChat, "openai", model)
    }

    fn at(vendor: &str, model: &str) -> Profile {
        Profile::find(Wire::OpenAiChat, vendor, model)
    }

    #[test]
    fn every_row_is_reached() {
        for (table, rows) in [
            ("claude", claude::TABLE),
            ("gemini", gemini::TABLE),
            ("openai", openai::TABLE),
            ("compatible", compatible::TABLE),
        ] {
            for (position, row) in rows.iter().enumerate() {
                for pattern in row.names {
                    let name = pattern.replace('*', "");
                    let found = rows.iter().position(|row| row.names.iter().any(|other| name::fits(other, &name)));
                    assert_eq!(found, Some(position), "{table}: {pattern}");
                    assert_eq!(name::plain(&name), name, "{table}: {pattern}");
                }
            }
        }
    }

    #[test]
    fn room_for_a_request() {
        for (model, want) in [
            ("claude-opus-4-8", Some(1_000_000)),
            ("claude-haiku-4-5-20251001", Some(200_000)),
            ("claude-sonnet-4-5", None),
            ("claude-3-opus-20240229", Some(200_000)),
            ("claude-2.1", None),
            ("claude-next", None),
        ] {
            assert_eq!(claude(model).max_input, want, "{model}");
        }
        for (model, want) in [
            ("gpt-4o-mini", Some(128_000)),
            ("gpt-4-0613", Some(8192)),
            ("gpt-4-1106-preview", Some(128_000)),
            ("gpt-3.5-turbo-0125", Some(16_385)),
            ("gpt-5-mini", Some(272_000)),
            ("gpt-5.4-2026-03-05", Some(1_050_000)),
            ("gpt-5.4-nano", Some(272_000)),
            ("gpt-5.2-pro", Some(272_000)),
            ("o3-pro", Some(200_000)),
            ("gpt-9", None),
            ("my-own", None),
        ] {
            assert_eq!(openai(model).max_input, want, "{model}");
        }
        assert_eq!((gemini("gemini-2.5-pro").max_input, gemini("gemini-9").max_input), (Some(1_048_576), None));
        // A host may give less.
        assert_eq!(at("openrouter", "openai/gpt-4o").max_input, None);
    }

    #[test]
    fn rows_do_not_contradict_themselves() {
        let rows = [claude::TABLE, gemini::TABLE, openai::TABLE, compatible::TABLE].into_iter().flatten();
        for Row { names, facts } in rows {
            assert!(facts.efforts.is_sorted(), "{names:?}");
            assert!(facts.budget.0 <= facts.budget.1, "{names:?}");
            let none = facts.thinking == Control::None;
            assert!(!none || facts.efforts.is_empty(), "{names:?}");
            assert!(facts.reasons != Reasons::Never || none, "{names:?}");
            assert!(facts.thinking != Control::Level || !facts.efforts.is_empty(), "{names:?}");
            assert!(facts.reasons != Reasons::Always || !facts.thinking_off, "{names:?}");
            // Anthropic's budget is less than the limit of the answer.
            if facts.budget.0 == 1024 && !none {
                assert_eq!(Some(facts.budget.1 + 1), facts.max_output, "{names:?}");
            }
        }
    }

    #[test]
    fn w39_w41_w42_claude_by_generation() {
        type Facts<'a> = (u64, Control, &'a [Effort], Sampling, Forced);
        let newest: Facts<'_> =
            (128_000, Control::Adaptive, &[Low, Medium, High, Xhigh, Max], Sampling::Refused, Forced::Free);
        let budget: Facts<'_> = (64_000, Control::Budget, &[], Sampling::NotThinking, Forced::NotThinking);
        let sixth: Facts<'_> =
            (128_000, Control::Either, &[Low, Medium, High, Max], Sampling::NotThinking, Forced::NotThinking);
        let plain: Facts<'_> = (8192, Control::None, &[], Sampling::Free, Forced::Free);
        for (model, want) in [
            ("claude-fable-5", (128_000, Control::Adaptive, newest.2, Sampling::Refused, Forced::Refused)),
            ("claude-mythos-5-1", (128_000, Control::Adaptive, newest.2, Sampling::Refused, Forced::Refused)),
            ("claude-opus-5", newest),
            ("claude-opus-5-5", newest),
            ("claude-sonnet-5", newest),
            ("claude-sonnet-5-5", newest),
            ("claude-haiku-5-5", newest),
            ("claude-opus-4-8", newest),
            ("claude-opus-4-7-20260416", newest),
            ("claude-opus-4-6", sixth),
            ("us.anthropic.claude-sonnet-4-6", sixth),
            ("claude-opus-4-5-20251101", (64_000, Control::Budget, &[Low, Medium, High][..], budget.3, budget.4)),
            ("claude-sonnet-4-5-20250929", budget),
            ("claude-haiku-4-5@20251001", budget),
            ("claude-opus-4-1-20250805", (32_000, budget.1, budget.2, budget.3, budget.4)),
            ("claude-opus-4-0", (32_000, budget.1, budget.2, budget.3, budget.4)),
            ("claude-sonnet-4-20250514", budget),
            ("claude-3-7-sonnet-latest", budget),
            ("claude-3-5-sonnet-20241022", plain),
            ("claude-3-5-haiku-latest", plain),
            ("claude-3-opus-20240229", (4096, plain.1, plain.2, plain.3, plain.4)),
            ("claude-2.1", (4096, plain.1, plain.2, plain.3, plain.4)),
        ] {
            let found = claude(model);
            let facts = (found.max_output.unwrap(), found.thinking, found.efforts, found.sampling, found.forced_tools);
            assert_eq!(facts, want, "{model}");
            assert!(found.known, "{model}");
        }
    }

    #[test]
    fn claude_in_particular() {
        for (model, prefill, system_turns, schemas, both) in [
            ("claude-opus-5", false, true, true, false),
            ("claude-opus-4-8", false, true, true, false),
            ("claude-sonnet-5", false, false, true, false),
            ("claude-opus-4-7", false, false, true, false),
            ("claude-sonnet-4-6", false, false, true, false),
            ("claude-haiku-4-5", true, false, true, false),
            ("claude-opus-4-1", true, false, true, false),
            ("claude-opus-4", true, false, false, true),
            ("claude-3-7-sonnet", true, false, false, true),
            ("claude-3-haiku-20240307", true, false, false, true),
        ] {
            let found = claude(model);
            let facts = (found.prefill, found.system_turns, found.schemas, found.both_samplings);
            assert_eq!(facts, (prefill, system_turns, schemas, both), "{model}");
        }
        assert!(!claude("claude-fable-5").thinking_off && claude("claude-opus-5").thinking_off);
        assert_eq!(claude("claude-sonnet-4-5").budget, (1024, 63_999));
    }

    #[test]
    fn an_unknown_model_is_taken_for_the_newest_of_its_family() {
        for model in ["claude-opus-6", "claude-sonnet-4-9", "claude-next", "claude-opus"] {
            let found = claude(model);
            assert_eq!(
                (found.known, found.max_output, found.thinking, found.sampling),
                (false, Some(32_000), Control::Adaptive, Sampling::Refused),
                "{model}"
            );
        }
        let mythos = claude("claude-mythos-preview");
        assert_eq!((mythos.known, mythos.forced_tools), (false, Forced::Refused));
        for model in ["gpt-5.9", "gpt-7-sol", "o9"] {
            let found = openai(model);
            assert_eq!((found.known, found.openai, found.limit), (false, true, Limit::MaxCompletionTokens), "{model}");
        }
        for model in ["gemini-3.9-flash", "gemini-5-pro", "nobody"] {
            let found = gemini(model);
            assert_eq!((found.known, found.thinking, found.efforts), (false, Control::Level, TO_HIGH), "{model}");
        }
        let other = Profile::find(Wire::AnthropicMessages, "anthropic", "glm-5");
        assert_eq!((other.known, other.sampling, other.thinking), (false, Sampling::Free, Control::Budget));
    }

    #[test]
    fn openai_by_generation() {
        use Reasons::{Always, Never, UnlessOff, WhenAsked};
        for (model, reasons, efforts, limit, stops) in [
            ("gpt-6-sol", UnlessOff, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-6.1-sol", UnlessOff, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.6-terra", UnlessOff, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.5-2026-04-23", UnlessOff, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.4-mini", WhenAsked, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.2", WhenAsked, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.1-2025-11-13", WhenAsked, TO_HIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.1-codex-max", Always, TO_XHIGH, Limit::MaxCompletionTokens, 4),
            ("gpt-5.2-pro", Always, &[Medium, High, Xhigh][..], Limit::MaxCompletionTokens, 4),
            ("gpt-5.3-chat-latest", Always, &[], Limit::MaxCompletionTokens, 4),
            ("gpt-5-mini", Always, &[Minimal, Low, Medium, High], Limit::MaxCompletionTokens, 4),
            ("gpt-5-2025-08-07", Always, &[Minimal, Low, Medium, High], Limit::MaxCompletionTokens, 4),
            ("o4-mini", Always, TO_HIGH, Limit::MaxCompletionTokens, 0),
            ("o3-2025-04-16", Always, TO_HIGH, Limit::MaxCompletionTokens, 0),
            ("o3-mini", Always, TO_HIGH, Limit::MaxCompletionTokens, 4),
            ("o1", Always, TO_HIGH, Limit::MaxCompletionTokens, 0),
            ("o1-mini-2024-09-12", Always, &[], Limit::MaxCompletionTokens, 0),
            ("gpt-4.1-nano", Never, &[], Limit::MaxTokens, 4),
            ("ft:gpt-4o-mini-2024-07-18:org::x", Never, &[], Limit::MaxTokens, 4),
            ("chatgpt-4o-latest", Never, &[], Limit::MaxTokens, 4),
            ("gpt-4-0613", Never, &[], Limit::MaxTokens, 4),
            ("gpt-3.5-turbo-16k", Never, &[], Limit::MaxTokens, 4),
        ] {
            let found = openai(model);
            assert_eq!(
                (found.reasons, found.efforts, found.limit, found.stops),
                (reasons, efforts, limit, stops),
                "{model}"
            );
            assert!(found.known && found.openai, "{model}");
            assert_eq!(found.penalties, found.reasons != Always, "{model}");
        }
        assert_eq!(openai("o1-preview").system_role, SystemRole::User);
        assert!(!openai("gpt-5.4").reasons_with_tools && openai("gpt-5.2").reasons_with_tools);
        assert!(openai("gpt-4o-search-preview").web_search && !openai("gpt-4o").web_search);
        assert!(openai("gpt-4o-audio-preview").reads.audio && !openai("gpt-4o").reads.audio);
        assert!(!openai("gpt-4-turbo").schemas && openai("gpt-4.1").schemas && !openai("gpt-4o-2024-05-13").schemas);
        assert_eq!(openai("gpt-4.1").max_output, Some(32_768));
    }

    #[test]
    fn gemini_by_generation() {
        for (model, thinking, budget, efforts, off) in [
            ("gemini-2.5-flash", Control::Budget, (0, 24_576), &[][..], true),
            ("models/gemini-2.5-flash-preview-09-2025", Control::Budget, (0, 24_576), &[], true),
            ("gemini-2.5-flash-lite", Control::Budget, (512, 24_576), &[], true),
            ("gemini-2.5-pro", Control::Budget, (128, 32_768), &[], false),
            ("gemini-3-flash-preview", Control::Level, (128, 32_768), MINIMAL_TO_HIGH, false),
            ("gemini-3.5-flash-lite", Control::Level, (128, 32_768), MINIMAL_TO_HIGH, false),
            ("gemini-flash-latest", Control::Level, (128, 32_768), MINIMAL_TO_HIGH, false),
            ("gemini-3.7-flash", Control::Level, (128, 32_768), TO_HIGH, false),
            ("gemini-3.1-pro-preview", Control::Level, (128, 32_768), TO_HIGH, false),
            ("gemini-pro-latest", Control::Level, (128, 32_768), TO_HIGH, false),
            ("gemini-3-pro-preview", Control::Level, (128, 32_768), &[Low, High], false),
            ("gemini-4-argon", Control::Level, (128, 32_768), TO_HIGH, false),
            ("gemini-2.0-flash-001", Control::None, (128, 32_768), &[], true),
            ("gemini-2.5-flash-image", Control::None, (128, 32_768), &[], false),
            ("gemma-3-27b-it", Control::None, (128, 32_768), &[], true),
        ] {
            let found = gemini(model);
            let facts = (found.thinking, found.budget, found.efforts, found.thinking_off);
            assert_eq!(facts, (thinking, budget, efforts, off), "{model}");
            assert!(found.known, "{model}");
            let third = thinking == Control::Level;
            assert_eq!(
                (found.schemas_with_tools, found.call_ids, found.signed_calls, found.result_media, found.several),
                (third, third, third, third, !third && !model.ends_with("image")),
                "{model}"
            );
        }
        assert_eq!(gemini("gemma-3-27b-it").system_role, SystemRole::User);
    }

    #[test]
    fn vendors_that_are_compatible() {
        for (vendor, model) in [
            ("openrouter", "openai/gpt-5.1"),
            ("openai", "my/own-model"),
            ("groq", "openai/gpt-oss-120b"),
            ("hosted_vllm", "gpt-j"),
            ("openrouter", "anthropic/claude-opus-4.8"),
            ("vercel_ai_gateway", "google/gemini-3-flash"),
        ] {
            let found = at(vendor, model);
            assert_eq!(
                (found.limit, found.openai, found.system_role, found.mistral, found.stream_options),
                (Limit::MaxTokens, false, SystemRole::System, false, true),
                "{vendor} {model}"
            );
        }
        let mistral = at("mistral", "mistral-large-latest");
        assert!(mistral.mistral && !mistral.stream_options && !mistral.logprobs);
        assert_eq!((mistral.ids, at("openrouter", "mistralai/mistral-large").ids), (Ids::Nine, Ids::Any));
        let deepseek = at("deepseek", "deepseek-v4-flash");
        assert!(deepseek.reasoning_back && !deepseek.reads.images && !deepseek.schemas);
        assert_eq!(deepseek.forced_tools, Forced::NotThinking);
        // Its own switch, which other hosts of the model do not have.
        assert_eq!((deepseek.thinking, deepseek.thinking_off), (Control::Adaptive, true));
        assert_eq!(at("together_ai", "deepseek-ai/DeepSeek-V4-Pro").thinking, Control::Level);
        assert_eq!(at("zai", "glm-5.3").thinking, Control::Adaptive);
        let groq = at("groq", "openai/gpt-oss-120b");
        assert_eq!((groq.thinking, groq.schemas, groq.logprobs), (Control::Level, true, false));
        let llama = at("groq", "llama-3.3-70b-versatile");
        assert_eq!((llama.thinking, llama.schemas, llama.reasons), (Control::None, false, Reasons::Never));
        let grok = at("xai", "grok-4.3");
        assert_eq!((grok.stops, grok.penalties, grok.reasons), (0, false, Reasons::Always));
        assert!(at("xai", "grok-4.20-0309-non-reasoning").penalties);
        assert_eq!(at("moonshot", "kimi-k2.5").sampling, Sampling::Refused);
        assert_eq!(at("together_ai", "moonshotai/Kimi-K2.5").sampling, Sampling::Free);
        assert!(!at("perplexity", "sonar-pro").stream_options);
    }

    #[test]
    fn a_router_keeps_what_the_model_is() {
        let opus = at("openrouter", "anthropic/claude-opus-4.8");
        assert_eq!((opus.max_output, opus.sampling, opus.thinking), (Some(128_000), Sampling::Refused, Control::Level));
        assert!(opus.cache_marks && opus.known && !opus.prefill && !opus.result_media);
        assert_eq!(at("openrouter", "anthropic/claude-fable-5").forced_tools, Forced::Refused);
        let gpt = at("openrouter", "openai/gpt-5.6-sol");
        assert!(gpt.reasons_with_tools && !gpt.cache_marks && gpt.known);
        assert_eq!((gpt.sampling, gpt.efforts.len()), (Sampling::NotThinking, 5));
        assert_eq!(at("openrouter", "openai/gpt-4o").thinking, Control::None);
    }

    #[test]
    fn what_a_request_says_decides_unless_the_model_does() {
        let said = |mode, effort| Reasoning { mode, effort, shown: None };
        let (nothing, off) = (said(None, None), said(Some(Thinking::Off), None));
        let (effort, budget) = (said(None, Some(Low)), said(Some(Thinking::Budget(2048)), None));
        for (model, want) in [
            ("gpt-4o", [false; 4]),
            ("gpt-5.2", [false, false, true, true]),
            ("gpt-5.6", [true, false, true, true]),
            ("gpt-5", [true; 4]),
        ] {
            let found = openai(model);
            assert_eq!([nothing, off, effort, budget].map(|said| found.reasoning(&said)), want, "{model}");
        }
    }

    #[test]
    fn every_set_of_efforts_is_there() {
        assert_eq!(efforts(|_| false), []);
        assert_eq!(efforts(|_| true), Effort::ALL);
        assert_eq!(efforts(|effort| effort == Max || effort == Low), [Low, Max]);
    }
}
