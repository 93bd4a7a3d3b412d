//! `model_list`: entries to groups of deployments, with their ids and weights.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::problem::{Place, shown};
use super::super::raw::Node;
use super::super::settings::{Deployment, Group, ModelInfo};
use super::reader::{Reader, elements};
use super::routing::{self, OwnCooldown, Shared};
use super::{deployment, facts, prices};
use crate::meter::Price;
use crate::route::rules::Retries;
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

/// What an entry of `model_list` says apart from `litellm_params`.
#[derive(Default)]
pub(super) struct Own {
    id: Option<String>,
    pub(super) info: ModelInfo,
    blocked: bool,
    pub(super) cooldown: OwnCooldown,
    /// `input_cost_per_token` and the like.
    pub(super) price: Price,
    /// `base_model`.
    pub(super) base_model: Option<String>,
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
    direct: bool,
    drafts: Vec<Draft>,
}

/// Everything that is being read of `model_list`.
struct List<'a> {
    shared: &'a Shared<'a>,
    groups: Vec<GroupDraft>,
    ids: HashSet<String>,
    /// The places of the ids that the file says, with the ids of the deployments.
    said: Vec<(Place, String)>,
    absent: Absent,
}

/// Names of groups that are written and not there.
#[derive(Default)]
pub(super) struct Absent {
    /// Their entries are blocked.
    pub(super) blocked: Vec<String>,
    /// Something is wrong with their entries, which has been told.
    pub(super) wrong: Vec<String>,
}

/// The groups of the document.
pub(super) fn groups(reader: &mut Reader<'_>, shared: &Shared<'_>) -> (Vec<Group>, Absent) {
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
    let mut list =
        List { shared, groups: Vec::new(), ids: HashSet::new(), said: Vec::new(), absent: Absent::default() };
    for (index, node) in entries.iter().enumerate() {
        entry(reader, &place.index(index), node, &mut list);
    }
    direct(reader, &mut list);
    hidden(reader, &list);
    let List { groups, mut ids, absent, .. } = list;
    // An id that we give hides no group.
    ids.extend(groups.iter().map(|group| group.name.clone()));
    let mut groups: Vec<Group> = groups.into_iter().map(|group| finished(reader, group, &mut ids)).collect();
    for group in &mut groups {
        group.retries = shared.retries;
    }
    for (name, place, retries) in routing::group_retries(reader, shared) {
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.retries = retries,
            None if absent.blocked.contains(&name) || absent.wrong.contains(&name) => {}
            None => reader.warn(&place, format!("there is no model group `{}`, so this does nothing", shown(&name))),
        }
    }
    (groups, absent)
}

fn entry(reader: &mut Reader<'_>, place: &Place, node: &Node, list: &mut List<'_>) {
    let keys = reader.map(place, node);
    if *node == Node::Null {
        reader.error(place, "is empty; an entry has a `model_name` and `litellm_params`");
    }
    if keys.is_empty() {
        return;
    }
    let name = model_name(reader, place, node);
    let enabled = match node.get("enabled").filter(|node| **node != Node::Null) {
        Some(node) => reader.boolean(&place.key("enabled"), node).unwrap_or(true),
        None => true,
    };
    let info = match node.get("model_info") {
        Some(info) => model_info(reader, &place.key("model_info"), info),
        None => Own::default(),
    };
    if let Some(id) = &info.id
        && !list.ids.insert(id.clone())
    {
        reader.error(&place.key("model_info").key("id"), "this id is taken by another entry; each needs its own");
    }
    let params = place.key("litellm_params");
    let group = name.clone().unwrap_or_default();
    let mut found = match node.get("litellm_params") {
        Some(Node::Null) | None => {
            reader.error(&params, "is missing; it needs at least `model`, such as `openai/gpt-5-mini`");
            Vec::new()
        }
        Some(own) => deployments(reader, (&params, own), &group, (&info, list.shared)),
    };
    with_facts(reader, place, node, &info, &mut found);
    if name.is_none() {
        return;
    }
    if info.blocked || !enabled {
        list.absent.blocked.push(group);
        return;
    }
    if found.is_empty() {
        list.absent.wrong.push(group);
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
    let drafts: Vec<Draft> = drafts.collect();
    let said = drafts.iter().map(|draft| (place.key("model_info").key("id"), draft.deployment.id.clone()));
    list.said.extend(said.filter(|(_, id)| !id.is_empty()));
    match list.groups.iter_mut().find(|other| other.name == group) {
        Some(group) => group.drafts.extend(drafts),
        None => list.groups.push(GroupDraft { name: group, info: info.info, direct: false, drafts }),
    }
}

/// Warns of ids that are the names of groups, too: who asks for one gets the deployment.
fn hidden(reader: &mut Reader<'_>, list: &List<'_>) {
    for (place, id) in &list.said {
        let Some(group) = list.groups.iter().find(|group| group.name == *id) else { continue };
        // The only deployment of a group is all of it.
        if group.drafts.len() > 1 || group.drafts.iter().all(|draft| draft.deployment.id != *id) {
            let id = shown(id);
            let message = format!("the model group `{id}` cannot be asked for: `{id}` means this deployment alone");
            reader.warn(place, message);
        }
    }
}

/// The deployments of an entry with these `litellm_params`.
fn deployments(
    reader: &mut Reader<'_>,
    (place, params): (&Place, &Node),
    group: &str,
    (own, shared): (&Own, &Shared<'_>),
) -> Vec<deployment::Found> {
    let params = match (params, &shared.params) {
        (Node::Map(entries), Some((from, defaults))) => {
            let mut entries = entries.clone();
            for (key, node) in *defaults {
                if params.get(key).is_none_or(|node| *node == Node::Null) {
                    reader.moved(place.key(key), from.key(key));
                    entries.retain(|(name, _)| name != key);
                    entries.push((key.clone(), node.clone()));
                }
            }
            &Node::Map(entries)
        }
        _ => params,
    };
    let mut found = deployment::deployments(reader, place, params, group);
    routing::entry(reader, (place, params), (own, shared), &mut found);
    prices::entry(reader, (place, params), (own, &shared.book), &mut found);
    found
}

/// `feathergate.direct_models`: a group for each pattern, unless `model_list` has it.
fn direct(reader: &mut Reader<'_>, list: &mut List<'_>) {
    let Some((place, node)) = reader.setting("feathergate", "direct_models") else { return };
    for (place, node) in elements(&place, node) {
        let Some(pattern) = reader.string(&place, node) else { continue };
        let pattern = pattern.trim();
        if list.groups.iter().any(|group| group.name == pattern) {
            reader.warn(&place, "is in `model_list` too, which counts");
            continue;
        }
        if !pattern.contains('/') {
            reader.error(
                &place,
                "must be a provider and a model, with `*` for any text: `openai/*`, `anthropic/claude-*`",
            );
            continue;
        }
        // What is said about the parts of an entry that nobody wrote is said about the pattern.
        for key in ["model", "api_base", "api_key"] {
            reader.moved(place.key(key), place.clone());
        }
        let params = Node::Map(vec![("model".to_owned(), node.clone())]);
        let mut found = deployments(reader, (&place, &params), pattern, (&Own::default(), list.shared));
        with_facts(reader, &place, &params, &Own::default(), &mut found);
        if found.is_empty() {
            list.absent.wrong.push(pattern.to_owned());
            continue;
        }
        let drafts = found.into_iter().map(|(deployment, weights)| Draft { deployment, weights, place: place.clone() });
        let (name, info) = (pattern.to_owned(), ModelInfo::default());
        list.groups.push(GroupDraft { name, info, direct: true, drafts: drafts.collect() });
    }
}

/// In the names of models that do not talk, so that nothing is said about how they would.
const OTHER_WORK: [&str; 7] = ["embedding", "whisper", "transcribe", "tts", "moderation", "gpt-image", "dall-e"];

/// `model_info` over the facts of the model; all deployments of an entry are of one.
fn with_facts(reader: &mut Reader<'_>, place: &Place, entry: &Node, info: &Own, found: &mut [deployment::Found]) {
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
    // What a `*` will stand for is found out for each request.
    let pattern = first.is_some_and(|first| first.model.contains('*'));
    let guessed = !pattern && !profile.known && (wire != Wire::OpenAiChat || profile.openai);
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
    let facts = entry.get("model_info").filter(|_| pattern).map(|node| facts::said(reader, node, wire));
    for (deployment, _) in found {
        deployment.profile = profile;
        deployment.facts.clone_from(&facts);
    }
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
    } else {
        return Some(name);
    };
    reader.error(&place, wrong);
    None
}

fn model_info(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Own {
    let mut entry = Own::default();
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
            "blocked" => entry.blocked |= reader.boolean(&place, node).unwrap_or(false),
            "enabled" => entry.blocked |= !reader.boolean(&place, node).unwrap_or(true),
            "allowed_fails" => entry.cooldown.allowed_fails = reader.small(&place, node),
            "allowed_fails_policy" => {
                entry.cooldown.policy = Some(routing::allowed_fails_policy(reader, &place, node));
            }
            "cooldown_time" => entry.cooldown.time = reader.wait(&place, node),
            "base_model" => entry.base_model = reader.string(&place, node).map(|name| name.trim().to_owned()),
            _ => prices::said(reader, &place, (key, node), &mut entry.price),
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
    Group { name: group.name, deployments, info: group.info, retries: Retries::default(), direct: group.direct }
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
