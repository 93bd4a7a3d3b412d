//! `model_list`: entries to groups of deployments, with their ids and weights.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::problem::{Place, shown};
use super::super::raw::Node;
use super::super::settings::{Deployment, Group, ModelInfo};
use super::reader::Reader;
use super::{deployment, facts};
use crate::wire::Wire;
use crate::wire::profile::Profile;

const EXAMPLE: &str = "add one like `model_list: [{model_name: gpt-5-mini, litellm_params: {model: openai/gpt-5-mini, \
                       api_key: os.environ/OPENAI_API_KEY}}]`";

/// The modes that are served, be it that a call passes through.
const MODES: &[&str] = &[
    "audio_speech",
    "audio_transcription",
    "chat",
    "completion",
    "embedding",
    "image_generation",
    "moderation",
    "responses",
];

/// An entry of `model_list`, apart from `litellm_params`.
#[derive(Default)]
struct Entry {
    id: Option<String>,
    info: ModelInfo,
    blocked: bool,
}

/// A deployment before its weight is known.
struct Draft {
    deployment: Deployment,
    /// `weight`, `rpm` and `tpm`, as written.
    weights: [Option<f64>; 3],
    place: Place,
}

struct GroupDraft {
    name: String,
    info: ModelInfo,
    drafts: Vec<Draft>,
}

/// The groups of the document.
pub(super) fn groups(reader: &mut Reader<'_>) -> Vec<Group> {
    let place = Place::root().key("model_list");
    let entries = match reader.top("model_list") {
        Some(Node::List(entries)) if !entries.is_empty() => entries.as_slice(),
        Some(Node::List(_) | Node::Null) => {
            reader.error(&place, format!("the list is empty, so there is nothing to serve; {EXAMPLE}"));
            &[]
        }
        Some(other @ (Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::Map(_))) => {
            reader.error(&place, format!("is {}, but must be a list of models; {EXAMPLE}", other.kind()));
            &[]
        }
        None => {
            reader.error(&place, format!("there is no `model_list`, so there is nothing to serve; {EXAMPLE}"));
            &[]
        }
    };
    let mut groups: Vec<GroupDraft> = Vec::new();
    let mut ids = HashSet::new();
    for (index, node) in entries.iter().enumerate() {
        entry(reader, &place.index(index), node, &mut groups, &mut ids);
    }
    groups.into_iter().map(|group| finished(reader, group, &mut ids)).collect()
}

fn entry(reader: &mut Reader<'_>, place: &Place, node: &Node, groups: &mut Vec<GroupDraft>, ids: &mut HashSet<String>) {
    let keys = reader.map(place, node);
    if *node == Node::Null {
        reader.error(place, "is empty; an entry has a `model_name` and `litellm_params`");
    }
    if keys.is_empty() {
        return;
    }
    let name = model_name(reader, place, node);
    let info = match node.get("model_info") {
        Some(info) => model_info(reader, &place.key("model_info"), info),
        None => Entry::default(),
    };
    if let Some(id) = &info.id
        && !ids.insert(id.clone())
    {
        reader.error(&place.key("model_info").key("id"), "this id is taken by another entry; each needs its own");
    }
    let params = place.key("litellm_params");
    let group = name.clone().unwrap_or_default();
    let found = match node.get("litellm_params") {
        Some(Node::Null) | None => {
            reader.error(&params, "is missing; it needs at least `model`, such as `openai/gpt-5-mini`");
            return;
        }
        Some(node) => deployment::deployments(reader, &params, node, &group),
    };
    let found = with_facts(reader, place, node, &info, found);
    if name.is_none() || info.blocked || found.is_empty() {
        return;
    }
    let several = found.len() > 1;
    let drafts = found.into_iter().enumerate().map(|(position, (mut deployment, weights))| {
        deployment.id = match &info.id {
            Some(id) if several => format!("{id}-{}", position + 1),
            Some(id) => id.clone(),
            None => String::new(),
        };
        Draft { deployment, weights, place: params.clone() }
    });
    match groups.iter_mut().find(|other| other.name == group) {
        Some(group) => group.drafts.extend(drafts),
        None => groups.push(GroupDraft { name: group, info: info.info, drafts: drafts.collect() }),
    }
}

/// In the names of models that do not talk, so that nothing is said about how they would.
const OTHER_WORK: [&str; 7] = ["embedding", "whisper", "transcribe", "tts", "moderation", "gpt-image", "dall-e"];

/// `model_info` over the facts of the model; all deployments of an entry are of one.
fn with_facts(
    reader: &mut Reader<'_>,
    place: &Place,
    entry: &Node,
    info: &Entry,
    mut found: Vec<deployment::Found>,
) -> Vec<deployment::Found> {
    let first = found.first().map(|(deployment, _)| deployment);
    let wire = first.map_or(Wire::OpenAiChat, |deployment| deployment.wire);
    let mut profile = first.map_or_else(|| Profile::find(wire, "", ""), |deployment| deployment.profile);
    let said = entry
        .get("model_info")
        .is_some_and(|node| facts::read(reader, &place.key("model_info"), node, wire, &mut profile));
    let converts = match info.info.mode.as_deref() {
        Some(mode) => mode == "chat",
        None => first.is_none_or(|first| !OTHER_WORK.iter().any(|word| first.model.contains(word))),
    };
    // What a compatible server calls its model says nothing, and nothing is assumed of it.
    let guessed = !profile.known && (wire != Wire::OpenAiChat || profile.openai);
    if let Some(first) = found.first().map(|(deployment, _)| deployment)
        && guessed
        && !said
        && converts
        && first.mock.is_none()
    {
        let message = format!(
            "`{}` is not known to this version, so it is taken for the newest of its family; `model_info` can say what it \
             takes",
            shown(&first.model)
        );
        reader.warn(&place.key("litellm_params").key("model"), message);
    }
    for (deployment, _) in &mut found {
        deployment.profile = profile;
    }
    found
}

fn model_name(reader: &mut Reader<'_>, place: &Place, entry: &Node) -> Option<String> {
    let place = place.key("model_name");
    let Some(node) = entry.get("model_name").filter(|node| **node != Node::Null) else {
        reader.error(&place, "is missing; it is the name that clients use");
        return None;
    };
    let name = reader.string(&place, node)?.trim().to_owned();
    let wrong = if name.is_empty() {
        "is empty; it is the name that clients use"
    } else if name.contains(char::is_control) {
        "holds a control character"
    } else if name.contains('*') {
        "names with `*` are not supported yet by this version; write an entry for each model"
    } else {
        return Some(name);
    };
    reader.error(&place, wrong);
    None
}

fn model_info(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Entry {
    let mut entry = Entry::default();
    let mut legacy = None;
    for (key, node) in reader.map(place, node) {
        let place = place.key(key);
        if *node == Node::Null {
            continue;
        }
        match key.as_str() {
            "id" => {
                entry.id = reader.string(&place, node).map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
                if entry.id.as_ref().is_some_and(|id| !id.bytes().all(|byte| (0x20..0x7f).contains(&byte))) {
                    reader.error(&place, "must be plain ASCII text, since it stands in a header");
                }
            }
            "mode" => {
                entry.info.mode = reader.string(&place, node);
                if let Some(mode) = entry.info.mode.as_deref().filter(|mode| !MODES.contains(mode)) {
                    let message = format!("calls of the mode `{}` are not served by this version", shown(mode));
                    reader.warn(&place, message);
                }
            }
            "max_input_tokens" => entry.info.max_input_tokens = reader.count(&place, node),
            "max_output_tokens" => entry.info.max_output_tokens = reader.count(&place, node),
            "max_tokens" => legacy = reader.count(&place, node),
            "blocked" => entry.blocked = reader.boolean(&place, node).unwrap_or(false),
            _ => {}
        }
    }
    entry.info.max_output_tokens = entry.info.max_output_tokens.or(legacy);
    entry
}

fn finished(reader: &mut Reader<'_>, group: GroupDraft, ids: &mut HashSet<String>) -> Group {
    let weights = weights(reader, &group);
    let mut deployments = Vec::with_capacity(group.drafts.len());
    for (position, (draft, weight)) in group.drafts.into_iter().zip(weights).enumerate() {
        let mut deployment = draft.deployment;
        deployment.weight = weight;
        if deployment.id.is_empty() {
            let name: String = group.name.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
            let mut number = position + 1;
            while !ids.insert(format!("{name}-{number}")) {
                number += 1;
            }
            deployment.id = format!("{name}-{number}");
        }
        deployments.push(Arc::new(deployment));
    }
    Group { name: group.name, deployments, info: group.info }
}

/// litellm's rule: the first of `weight`, `rpm` and `tpm` that the group uses.
fn weights(reader: &mut Reader<'_>, group: &GroupDraft) -> Vec<u32> {
    let of = |kind: usize| -> Vec<Option<f64>> {
        group.drafts.iter().map(|draft| draft.weights.get(kind).copied().flatten()).collect()
    };
    let used = (0..3).map(of).find(|weights| weights.iter().any(Option::is_some));
    let Some(used) = used else { return vec![1; group.drafts.len()] };
    if used.iter().all(|weight| *weight == Some(0.0)) {
        if let Some(draft) = group.drafts.first() {
            let message =
                format!("every weight in the group `{}` is 0, so all of them count the same", shown(&group.name));
            reader.warn(&draft.place, message);
        }
        return vec![1; group.drafts.len()];
    }
    // Fractions keep three digits.
    let scale = if used.iter().flatten().all(|weight| weight.fract() == 0.0) { 1.0 } else { 1000.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what u32 holds")]
    used.iter().map(|weight| (weight.unwrap_or(1.0) * scale).round().clamp(0.0, f64::from(u32::MAX)) as u32).collect()
}
