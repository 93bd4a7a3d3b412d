//! The names that a client can say beside those of groups, and whether a name comes to anything.

use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::settings::{Alias, Group};
use super::models::Absent;
use super::reader::{Reader, elements};
use crate::route::table::{HOPS, Named, Other, Table};

/// Every name of a configuration.
pub(super) struct Names {
    table: Table,
    /// Groups, patterns too, and aliases.
    all: Vec<String>,
    absent: Absent,
}

/// An alias, with the place and the node of its target.
type Placed<'n> = (Alias, Place, &'n Node);

/// The names of these groups and of the file's aliases; and the aliases that lead somewhere.
pub(super) fn read(reader: &mut Reader<'_>, groups: &[Group], absent: Absent) -> (Names, Vec<Alias>) {
    let placed = placed(reader);
    let named: Vec<Named<'_>> = groups
        .iter()
        .map(|group| {
            let ids = group.deployments.iter().map(|deployment| deployment.id.as_str()).collect();
            Named { name: &group.name, ids, direct: group.direct }
        })
        .collect();
    let others: Vec<Other<'_>> = placed
        .iter()
        .map(|(Alias { name, target, hidden, redirect }, ..)| Other {
            name,
            target,
            hidden: *hidden,
            redirect: *redirect,
        })
        .collect();
    let names = groups.iter().map(|group| &group.name).chain(placed.iter().map(|(alias, ..)| &alias.name));
    let mut names = Names { table: Table::new(&named, &others), all: names.cloned().collect(), absent };
    let found = |name: &str| named.iter().any(|group| group.name == name || group.ids.contains(&name));
    let mut in_circles: Vec<&str> = Vec::new();
    let mut kept = Vec::with_capacity(placed.len());
    for (alias, place, node) in &placed {
        if in_circles.contains(&alias.name.as_str()) {
            continue;
        }
        if let Some(circle) = circle(&others, alias, &found) {
            let shown: Vec<String> = circle.iter().map(|name| format!("`{}`", shown(name))).collect();
            reader.error(place, format!("these names lead to each other and to no model: {}", shown.join(" → ")));
            in_circles.extend(circle);
            continue;
        }
        // Where one alias leads to another, what is wrong is told of the last.
        let other = placed.iter().any(|(other, ..)| other.name == alias.target && (alias.redirect || !other.redirect));
        let leads = if other {
            let leads = names.table.resolve(&alias.name).is_some();
            if !leads && names.table.resolve(&alias.target).is_some() {
                reader.error(place, format!("leads on over more than {HOPS} names; name the model itself"));
            }
            leads
        } else {
            names.target(reader, place, node, &alias.target)
        };
        hidden(reader, place, groups, alias);
        if leads {
            kept.push(alias.clone());
        } else if names.absent.blocked.contains(&alias.target) {
            names.absent.blocked.push(alias.name.clone());
        } else {
            names.absent.wrong.push(alias.name.clone());
        }
    }
    (names, kept)
}

/// Warns if the name of `alias` is the id of a deployment too, which is not all that the alias means.
fn hidden(reader: &mut Reader<'_>, place: &Place, groups: &[Group], alias: &Alias) {
    let taken = |group: &&Group| group.deployments.iter().any(|deployment| deployment.id == alias.name);
    let Some(group) = groups.iter().find(taken).filter(|_| !alias.redirect) else { return };
    if group.deployments.len() > 1 || group.name != alias.target {
        let group = shown(&group.name);
        let message = format!(
            "is the id of a deployment of `{group}` too, and who asks for it gets that; take another name, or another \
             `model_info.id`"
        );
        reader.warn(place, message);
    }
}

/// The aliases and the redirects of the file, one of each name.
fn placed<'n>(reader: &mut Reader<'n>) -> Vec<Placed<'n>> {
    // Redirects first: of two with the same name they win.
    let all = [redirects(reader), group_aliases(reader), model_alias_map(reader)];
    let mut placed: Vec<Placed<'_>> = Vec::new();
    for (alias, place, node) in all.into_iter().flatten() {
        if placed.iter().any(|(other, ..)| other.name == alias.name) {
            reader.warn(&place, "is another name for something already, which counts");
        } else if alias.name == alias.target {
            reader.warn(&place, "is another name for itself, which does nothing");
        } else {
            placed.push((alias, place, node));
        }
    }
    placed
}

/// The names from that of `alias` on, if they lead in a circle. Redirects lead to redirects, aliases to aliases; these only as
/// far as nothing else is `found` under the name.
fn circle<'a>(others: &[Other<'a>], alias: &'a Alias, found: &dyn Fn(&str) -> bool) -> Option<Vec<&'a str>> {
    let mut seen = vec![alias.name.as_str()];
    let mut name = alias.target.as_str();
    loop {
        let again = seen.contains(&name);
        seen.push(name);
        if again {
            return Some(seen);
        }
        if !alias.redirect && found(name) {
            return None;
        }
        name = others.iter().find(|other| other.name == name && other.redirect == alias.redirect)?.target;
    }
}

impl Names {
    /// Whether `name`, which the file gives in `written` as the target of something, can be used as one.
    pub(super) fn target(&self, reader: &mut Reader<'_>, place: &Place, written: &Node, name: &str) -> bool {
        if name.contains('*') {
            reader.error(place, "must be the name of one model, without `*`");
        } else if self.table.resolve(name).is_some() {
            return true;
        } else if self.is_wrong(name) {
            // That is told already.
        } else if self.absent.blocked.iter().any(|other| other == name) {
            let name = shown(name);
            reader
                .warn(place, format!("`{name}` is left out, since all its entries are blocked, so this does nothing"));
        } else if !literal(written, name) {
            // The wrong variable may have been named, so what is in it is not shown.
            reader.error(place, "the variable that is named here holds the name of no model that is here");
        } else {
            let near = self.near(name).unwrap_or_else(|| "; add an entry with that `model_name`".to_owned());
            reader.error(place, format!("there is no model `{}` here{near}", shown(name)));
        }
        false
    }

    /// Whether two names mean the same deployments and the same model of them.
    pub(super) fn same(&self, one: &str, other: &str) -> bool {
        let found = self.table.resolve(one);
        found.is_some() && found == self.table.resolve(other)
    }

    /// Warns if no request can be for `name`, whose fallbacks are given.
    pub(super) fn source(&self, reader: &mut Reader<'_>, place: &Place, name: &str) {
        let mut others = self.all.iter().chain(&self.absent.blocked);
        let known = self.table.resolve(name).is_some() || self.is_wrong(name) || others.any(|other| other == name);
        if name != "*" && !known {
            let near = self.near(name).unwrap_or_default();
            reader.warn(place, format!("there is no model `{}` here, so this does nothing{near}", shown(name)));
        }
    }

    /// Whether `name` is that of a group, or fits a pattern, with whose entries something is wrong.
    fn is_wrong(&self, name: &str) -> bool {
        let wrong: Vec<Named<'_>> = self.absent.wrong.iter().map(|name| Named { name, ..Named::default() }).collect();
        Table::new(&wrong, &[]).resolve(name).is_some()
    }

    fn near(&self, name: &str) -> Option<String> {
        let near = nearest(name, self.all.iter().map(String::as_str).filter(|other| *other != name))?;
        Some(format!("; did you mean `{}`?", shown(near)))
    }
}

/// `model_group_alias`.
fn group_aliases<'n>(reader: &mut Reader<'n>) -> Vec<Placed<'n>> {
    let Some((place, node)) = reader.routing("model_group_alias") else { return Vec::new() };
    let mut found = Vec::new();
    for (name, node) in reader.map(&place, node) {
        let place = place.key(name);
        let (at, target, hidden) = match node {
            Node::Map(_) => {
                let hidden = node.get("hidden").filter(|node| **node != Node::Null);
                let hidden = hidden.and_then(|node| reader.boolean(&place.key("hidden"), node)).unwrap_or(false);
                (place.key("model"), node.get("model").unwrap_or(&Node::Null), hidden)
            }
            // As in litellm.
            Node::Null => continue,
            Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => (place, node, false),
        };
        found.extend(alias(reader, name, (at, target), (hidden, false)));
    }
    found
}

/// `litellm_settings.model_alias_map`.
fn model_alias_map<'n>(reader: &mut Reader<'n>) -> Vec<Placed<'n>> {
    let Some((place, node)) = reader.setting("litellm_settings", "model_alias_map") else { return Vec::new() };
    let entries = reader.map(&place, node);
    entries.iter().filter_map(|(name, node)| alias(reader, name, (place.key(name), node), (false, false))).collect()
}

/// `feathergate.redirects`: a list of `{from, to}`, or a map from the one to the other.
fn redirects<'n>(reader: &mut Reader<'n>) -> Vec<Placed<'n>> {
    let Some((place, node)) = reader.setting("feathergate", "redirects") else { return Vec::new() };
    let mut found = Vec::new();
    if let Node::Map(entries) = node
        && node.get("from").is_none()
    {
        for (name, node) in entries {
            found.extend(alias(reader, name, (place.key(name), node), (true, true)));
        }
        return found;
    }
    for (place, node) in elements(&place, node) {
        let (Some(from), Some(to)) = (node.get("from"), node.get("to")) else {
            reader.error(&place, "must be a map with `from` and `to`, such as `{from: gpt-4, to: gpt-5.4-mini}`");
            continue;
        };
        let at = place.key("from");
        let Some(name) = reader.string(&at, from) else { continue };
        if !literal(from, name.trim()) {
            reader.error(&at, "must be written out: it is a name, as the keys of a map are");
            continue;
        }
        found.extend(alias(reader, &name, (place.key("to"), to), (true, true)));
    }
    found
}

/// Whether `text` is what is written, and no variable's value.
fn literal(written: &Node, text: &str) -> bool {
    match written {
        Node::Text(written) => written.trim() == text,
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::List(_) | Node::Map(_) => true,
    }
}

fn alias<'n>(
    reader: &mut Reader<'_>,
    name: &str,
    (place, node): (Place, &'n Node),
    (hidden, redirect): (bool, bool),
) -> Option<Placed<'n>> {
    let target = reader.string(&place, node)?.trim().to_owned();
    let name = name.trim().to_owned();
    if name.is_empty() || target.is_empty() {
        reader.error(&place, "must be a name and the name of the model that it stands for; one of them is empty");
        return None;
    }
    if name.contains('*') {
        reader.error(&place, "the name of an alias can hold no `*`; an entry of `model_list` can");
        return None;
    }
    Some((Alias { name, target, hidden, redirect }, place, node))
}
