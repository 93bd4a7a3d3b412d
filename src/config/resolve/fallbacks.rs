//! Which models stand in for which.

use super::super::problem::{Place, shown};
use super::super::raw::Node;
use super::names::Names;
use super::reader::{Reader, elements};
use crate::route::rules::{FallbackList, Fallbacks};

/// What the file says of fallbacks, but for our own keys.
pub(super) fn read(reader: &mut Reader<'_>, names: &Names, fallbacks: &mut Fallbacks) {
    fallbacks.general = list(reader, names, "fallbacks");
    fallbacks.context_window = list(reader, names, "context_window_fallbacks");
    fallbacks.content_policy = list(reader, names, "content_policy_fallbacks");
    if let Some((place, node)) = reader.routing("default_fallbacks") {
        fallbacks.default = targets(reader, names, (&place, node), None);
    }
    if let Some((place, node)) = reader.routing("max_fallbacks") {
        fallbacks.most = reader.small(&place, node).unwrap_or(fallbacks.most);
    }
    if let Some((place, node)) = reader.routing("fallback_on_unsupported_params") {
        reader.boolean(&place, node);
    }
}

fn list(reader: &mut Reader<'_>, names: &Names, key: &str) -> FallbackList {
    let mut found = FallbackList::new();
    let Some((place, node)) = reader.routing(key) else { return found };
    for (place, node) in elements(&place, node) {
        let Node::Map(entries) = node else {
            let message = format!(
                "is {}, but must be a map from a model to those that stand in for it, such as `{{my-model: [another]}}`; \
                 what stands in for every model is in `default_fallbacks`",
                node.kind()
            );
            reader.error(&place, message);
            continue;
        };
        for (group, node) in entries {
            let place = place.key(group);
            if found.iter().any(|(other, _)| other == group) {
                reader.warn(&place, "has fallbacks already in this list, and those count");
                continue;
            }
            names.source(reader, &place, group);
            let mut targets = targets(reader, names, (&place, node), Some(group));
            if targets.contains(group) {
                reader.warn(&place, "a model cannot stand in for itself, so this one is passed over");
                targets.retain(|target| target != group);
            }
            found.push((group.clone(), targets));
        }
    }
    found
}

/// One name or several; of a map, as litellm takes it, its `model`. What is only another name for `group`, or for one before it in
/// the list, would be called a second time and is left out.
fn targets(
    reader: &mut Reader<'_>,
    names: &Names,
    (place, node): (&Place, &Node),
    group: Option<&String>,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (place, node) in elements(place, node) {
        let (place, node) = match node {
            Node::Map(entries) => {
                let Some(model) = node.get("model") else {
                    reader.error(&place, "must be the name of a model, or a map with `model`");
                    continue;
                };
                let others: Vec<String> = entries
                    .iter()
                    .filter(|(key, _)| key != "model")
                    .map(|(key, _)| format!("`{}`", shown(key)))
                    .collect();
                if !others.is_empty() {
                    let message = format!("{}: is not sent; of a fallback only its `model` counts", others.join(", "));
                    reader.warn(&place, message);
                }
                (place.key("model"), model)
            }
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => (place, node),
        };
        let Some(name) = reader.string(&place, node) else { continue };
        let name = name.trim();
        if !names.target(reader, &place, node, name) {
            continue;
        }
        let same = |other: &&String| *other != name && names.same(other, name);
        if let Some(other) = group.into_iter().chain(&found).find(same) {
            let message = format!("means the same model as `{}`, so this one is passed over", shown(other));
            reader.warn(&place, message);
        } else {
            found.push(name.to_owned());
        }
    }
    found
}
