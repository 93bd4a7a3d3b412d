//! `model_info` over what is known of a model: each fact of a [`Profile`] by a key of its own, or by litellm's.

use std::sync::Arc;

use super::super::problem::Place;
use super::super::raw::{Document, Node};
use super::super::settings::Facts;
use super::reader::{Reader, elements};
use crate::wire::Wire;
use crate::wire::chat::Effort;
use crate::wire::profile::{Control, Forced, Ids, Limit, Profile, Reasons, Sampling, SystemRole, efforts};

/// What `info` says of a model, to be put over what is known of any.
pub(super) fn said(reader: &mut Reader<'_>, info: &Node, wire: Wire) -> Facts {
    let said = reader.quiet_plain(info);
    Arc::new(move |profile| {
        let (document, env) = (Document::empty(), |_: &str| None);
        // Problems were told when the configuration was read.
        read(&mut Reader::new(&document, &env), &Place::root(), &said, wire, profile);
    })
}

/// Puts what `info` says over `profile`. Whether it said more than a limit.
pub(super) fn read(reader: &mut Reader<'_>, place: &Place, info: &Node, wire: Wire, profile: &mut Profile) -> bool {
    let Node::Map(entries) = info else { return false };
    // Their errors are told where `/v1/models` reads them.
    let most = ["max_output_tokens", "max_tokens"].into_iter().find_map(|key| reader.quiet_count(info.get(key)?));
    profile.max_output = most.filter(|most| *most > 0).or(profile.max_output);
    let room = info.get("max_input_tokens").and_then(|node| reader.quiet_count(node));
    profile.max_input = room.filter(|room| *room > 0).or(profile.max_input);
    let mut said = false;
    for (key, node) in entries.iter().filter(|(_, node)| *node != Node::Null) {
        // Our own keys are exact, so they win over litellm's, wherever they stand.
        said |= litellms(reader, &place.key(key), (key, node), wire, profile);
    }
    for (key, node) in entries.iter().filter(|(_, node)| *node != Node::Null) {
        said |= own(reader, &place.key(key), (key, node), profile);
    }
    settle(reader, place, info, profile);
    said
}

/// litellm's capabilities, which say less than we need: where one means something else on this wire, only its `false` counts.
fn litellms(
    reader: &mut Reader<'_>,
    place: &Place,
    (key, node): (&str, &Node),
    wire: Wire,
    profile: &mut Profile,
) -> bool {
    const KEYS: [&str; 15] = [
        "supports_adaptive_thinking",
        "supports_assistant_prefill",
        "supports_audio_input",
        "supports_function_calling",
        "supports_native_structured_output",
        "supports_parallel_function_calling",
        "supports_pdf_input",
        "supports_prompt_caching",
        "supports_reasoning",
        "supports_response_schema",
        "supports_system_messages",
        "supports_tool_choice",
        "supports_video_input",
        "supports_vision",
        "supports_web_search",
    ];
    if !KEYS.contains(&key) {
        return false;
    }
    let Some(can) = reader.boolean(place, node) else { return false };
    let claude = wire == Wire::AnthropicMessages;
    match key {
        "supports_vision" => profile.reads.images = can,
        "supports_pdf_input" => profile.reads.documents = can,
        "supports_audio_input" => profile.reads.audio = can,
        "supports_video_input" => profile.reads.video = can,
        "supports_function_calling" => profile.tools = can,
        "supports_parallel_function_calling" => profile.parallel = can && wire != Wire::Gemini,
        "supports_assistant_prefill" => profile.prefill = can,
        "supports_native_structured_output" => profile.schemas = can,
        // Of Claude litellm also says it where it makes a tool of the schema.
        "supports_response_schema" => profile.schemas = can && (profile.schemas || !claude),
        "supports_system_messages" => {
            profile.system_role = if can { SystemRole::System } else { SystemRole::User };
        }
        "supports_tool_choice" if !can => profile.forced_tools = Forced::Refused,
        "supports_tool_choice" if profile.forced_tools == Forced::Refused => profile.forced_tools = Forced::Free,
        // OpenAI's cache needs no marks, and its chat completions search with few models.
        "supports_prompt_caching" => profile.cache_marks = can && (profile.cache_marks || claude),
        "supports_web_search" => profile.web_search = can && (profile.web_search || wire != Wire::OpenAiChat),
        "supports_reasoning" if !can => {
            (profile.thinking, profile.reasons, profile.efforts) = (Control::None, Reasons::Never, &[]);
        }
        "supports_reasoning" if profile.thinking == Control::None => {
            profile.thinking = if claude { Control::Budget } else { Control::Level };
        }
        "supports_adaptive_thinking" => {
            profile.thinking = match (can, profile.thinking) {
                (true, Control::Budget) => Control::Either,
                (true, Control::None) => Control::Adaptive,
                (false, Control::Adaptive | Control::Either) => Control::Budget,
                (_, other) => other,
            };
        }
        _ => {}
    }
    true
}

/// Our own keys.
fn own(reader: &mut Reader<'_>, place: &Place, (key, node): (&str, &Node), profile: &mut Profile) -> bool {
    let switch = match key {
        "cache_marks" => Some(&mut profile.cache_marks),
        "logprobs" => Some(&mut profile.logprobs),
        "media_in_tool_results" => Some(&mut profile.result_media),
        "mistral_dialect" => Some(&mut profile.mistral),
        "multiple_choices" => Some(&mut profile.several),
        "openai_fields" => Some(&mut profile.openai),
        "penalties" => Some(&mut profile.penalties),
        "reasoning_content_back" => Some(&mut profile.reasoning_back),
        "reasoning_details" => Some(&mut profile.reasoning_details),
        "reasons_with_tools" => Some(&mut profile.reasons_with_tools),
        "response_schema_with_tools" => Some(&mut profile.schemas_with_tools),
        "signed_tool_calls" => Some(&mut profile.signed_calls),
        "stream_options" => Some(&mut profile.stream_options),
        "system_messages_midway" => Some(&mut profile.system_turns),
        "temperature_with_top_p" => Some(&mut profile.both_samplings),
        "thinking_off" => Some(&mut profile.thinking_off),
        "tool_call_ids_back" => Some(&mut profile.call_ids),
        "web_search" => Some(&mut profile.web_search),
        "top_k" => Some(&mut profile.top_k),
        _ => None,
    };
    if let Some(switch) = switch {
        *switch = reader.boolean(place, node).unwrap_or(*switch);
        return true;
    }
    match key {
        "thinking" => choose(reader, place, node, &THINKING, &mut profile.thinking),
        "reasons" => choose(reader, place, node, &REASONS, &mut profile.reasons),
        "sampling" => choose(reader, place, node, &SAMPLING, &mut profile.sampling),
        "forced_tools" => choose(reader, place, node, &FORCED, &mut profile.forced_tools),
        "limit_field" => choose(reader, place, node, &LIMIT, &mut profile.limit),
        "system_role" => choose(reader, place, node, &ROLE, &mut profile.system_role),
        "tool_call_ids" => choose(reader, place, node, &IDS, &mut profile.ids),
        "thinking_budget" => budget(reader, place, node, &mut profile.budget),
        "reasoning_efforts" => reasoning_efforts(reader, place, node, &mut profile.efforts),
        "max_stop_sequences" => {
            if let Some(most) = reader.count(place, node) {
                profile.stops = usize::try_from(most).unwrap_or(usize::MAX);
            }
        }
        _ => return false,
    }
    true
}

const THINKING: [(&str, Control); 5] = [
    ("none", Control::None),
    ("budget", Control::Budget),
    ("adaptive", Control::Adaptive),
    ("either", Control::Either),
    ("level", Control::Level),
];
const REASONS: [(&str, Reasons); 4] = [
    ("never", Reasons::Never),
    ("when_asked", Reasons::WhenAsked),
    ("unless_off", Reasons::UnlessOff),
    ("always", Reasons::Always),
];
const SAMPLING: [(&str, Sampling); 3] =
    [("free", Sampling::Free), ("not_thinking", Sampling::NotThinking), ("refused", Sampling::Refused)];
const FORCED: [(&str, Forced); 3] =
    [("free", Forced::Free), ("not_thinking", Forced::NotThinking), ("refused", Forced::Refused)];
const LIMIT: [(&str, Limit); 2] =
    [("max_tokens", Limit::MaxTokens), ("max_completion_tokens", Limit::MaxCompletionTokens)];
const ROLE: [(&str, SystemRole); 2] = [("system", SystemRole::System), ("user", SystemRole::User)];
const IDS: [(&str, Ids); 2] = [("any", Ids::Any), ("nine", Ids::Nine)];

/// One of some words.
fn choose<T: Copy>(reader: &mut Reader<'_>, place: &Place, node: &Node, words: &[(&str, T)], fact: &mut T) {
    let Some(word) = reader.string(place, node) else { return };
    match words.iter().find(|(name, _)| *name == word.trim()) {
        Some((_, value)) => *fact = *value,
        None => {
            let names = list(words.iter().map(|(name, _)| *name));
            reader.error(place, format!("must be {names}"));
        }
    }
}

/// `a`, `b` or `c`
pub(super) fn list<'n>(names: impl DoubleEndedIterator<Item = &'n str>) -> String {
    let mut names = names.map(|name| format!("`{name}`")).rev();
    let last = names.next().unwrap_or_default();
    let others: Vec<String> = names.rev().collect();
    if others.is_empty() { last } else { format!("{} or {last}", others.join(", ")) }
}

fn budget(reader: &mut Reader<'_>, place: &Place, node: &Node, budget: &mut (u64, u64)) {
    if let Node::List(ends) = node
        && let [least, most] = ends.as_slice()
    {
        let least = reader.count(&place.index(0), least);
        let most = reader.count(&place.index(1), most);
        let (Some(least), Some(most)) = (least, most) else { return };
        if least <= most {
            *budget = (least, most);
            return;
        }
    }
    reader.error(place, "must be the least and the most tokens that it can think, such as `[1024, 32000]`");
}

fn reasoning_efforts(reader: &mut Reader<'_>, place: &Place, node: &Node, fact: &mut &'static [Effort]) {
    let mut found = Vec::new();
    for (place, node) in elements(place, node) {
        let Some(word) = reader.string(&place, node) else { return };
        match Effort::of(word.trim()) {
            Some(effort) => found.push(effort),
            None if word.trim() == "none" => {
                reader.error(&place, "`none` is no effort; write `thinking_off: true` for a model that takes it");
            }
            None => {
                let names = list(Effort::ALL.into_iter().map(Effort::word));
                reader.error(&place, format!("must be {names}"));
            }
        }
    }
    *fact = efforts(|effort| found.contains(&effort));
}

/// Where one fact makes no sense without another, the other follows, unless it is said.
fn settle(reader: &mut Reader<'_>, place: &Place, info: &Node, profile: &mut Profile) {
    let said = |key: &str| info.get(key).is_some_and(|node| *node != Node::Null);
    if said("reasoning_efforts")
        && !said("thinking")
        && profile.thinking == Control::None
        && !profile.efforts.is_empty()
    {
        profile.thinking = Control::Level;
    }
    if said("thinking_budget") && !said("thinking") && profile.thinking == Control::None {
        profile.thinking = Control::Budget;
    }
    if said("reasons") {
        if profile.reasons == Reasons::Never && said("thinking") && profile.thinking != Control::None {
            reader.error(
                &place.key("reasons"),
                "a model that never reasons has no `thinking` to control; say `none` there",
            );
        }
    } else if profile.thinking != Control::None && profile.reasons == Reasons::Never {
        profile.reasons = Reasons::WhenAsked;
    }
    if profile.thinking == Control::None && !said("reasoning_efforts") {
        profile.efforts = &[];
    }
    if profile.thinking == Control::Level && profile.efforts.is_empty() && !said("reasoning_efforts") {
        profile.efforts = efforts(|effort| matches!(effort, Effort::Low | Effort::Medium | Effort::High));
    }
    if matches!(profile.thinking, Control::Budget | Control::Either)
        && !said("thinking_budget")
        && profile.budget.1 == 0
    {
        profile.budget = (1024, profile.max_output.map_or(32_000, |most| most.saturating_sub(1)).max(1024));
    }
    // A smaller answer has less room for thoughts; Gemini's budgets are not part of it.
    if let Some(most) = profile.max_output
        && matches!(profile.thinking, Control::Budget | Control::Either | Control::Adaptive)
        && !said("thinking_budget")
        && profile.budget.1 >= most
    {
        profile.budget.1 = most.saturating_sub(1).max(profile.budget.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::raw::Document;
    use super::*;

    #[test]
    fn what_is_said_holds_for_any_model() {
        let yaml = "model_info:\n  supports_vision: os.environ/SEES\n  reasoning_efforts: [low, \"${TOP}\"]\n  note: ${UNSET}\n  \
                    max_output_tokens: 5000\n";
        let document = Document::parse("a.yaml", yaml).unwrap();
        let env = |name: &str| match name {
            "SEES" => Some("false".to_owned()),
            "TOP" => Some("max".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&document, &env);
        let facts = said(&mut reader, document.root().get("model_info").unwrap(), Wire::OpenAiChat);
        assert!(reader.finish().0.is_empty());
        for model in ["gpt-4o", "gpt-5.5", "anything"] {
            let known = Profile::find(Wire::OpenAiChat, "openai", model);
            let mut profile = known;
            facts(&mut profile);
            assert!(known.reads.images && !profile.reads.images, "{model}");
            assert_eq!((profile.max_output, profile.efforts), (Some(5000), &[Effort::Low, Effort::Max][..]), "{model}");
            assert_eq!(profile.stops, known.stops, "{model}");
        }
    }
}
