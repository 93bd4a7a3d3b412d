//! `feathergate.limits`, and what litellm has of the same in `general_settings`.

use super::super::network::Network;
use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::settings::{Group, Limit, Limits};
use super::reader::{Reader, elements};
use crate::order;
use crate::route::table::fits;

/// How many may wait where nothing is said: clients that are over their own limit do not.
const QUEUE: u32 = 100;

const KEYS: [&str; 4] = ["global", "per_ip", "per_model", "trust_forwarded"];
const LIMIT_KEYS: [&str; 5] = ["rpm", "rps", "concurrency", "queue", "queue_wait"];

pub(super) fn limits(reader: &mut Reader<'_>, groups: &[Group]) -> Limits {
    let queued = Limit { queue: QUEUE, ..Limit::default() };
    let mut limits = Limits { global: queued, ..Limits::default() };
    let theirs = ["global_max_parallel_requests", "max_parallel_requests"].into_iter().filter_map(|key| {
        let (place, node) = reader.setting("general_settings", key)?;
        positive(reader, &place, node)
    });
    // litellm's first is for the whole process, the other for each key, of which there is one.
    limits.global.concurrency = theirs.min();
    let mut hops = None;
    if let Some((place, node)) = reader.setting("feathergate", "limits") {
        for (key, node) in reader.map(&place, node) {
            let place = place.key(key);
            match key.as_str() {
                _ if *node == Node::Null => {}
                "global" => limits.global = limit(reader, &place, node, limits.global),
                "per_ip" => limits.per_ip = limit(reader, &place, node, Limit::default()),
                "per_model" => limits.per_model = models(reader, &place, node, groups),
                "trust_forwarded" => hops = self::hops(reader, &place, node),
                _ => stranger(reader, &place, key, &KEYS),
            }
        }
    }
    let forwarded = reader.setting("general_settings", "use_x_forwarded_for");
    let forwarded = forwarded.and_then(|(place, node)| reader.boolean(&place, node)).unwrap_or(false);
    limits.trust_forwarded = hops.unwrap_or(usize::from(forwarded));
    limits.allowed = allowed(reader);
    limits
}

pub(super) fn stranger(reader: &mut Reader<'_>, place: &Place, key: &str, known: &[&'static str]) {
    let near = nearest(key, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    let near = near.unwrap_or_else(|| format!("; the keys here are `{}`", known.join("`, `")));
    reader.error(place, format!("`{}` is no key known here{near}", shown(key)));
}

/// The limit of a map, over what holds where it says nothing.
fn limit(reader: &mut Reader<'_>, place: &Place, node: &Node, mut limit: Limit) -> Limit {
    let mut waits = None;
    for (key, node) in reader.map(place, node) {
        let place = place.key(key);
        match key.as_str() {
            _ if *node == Node::Null => {}
            "rpm" => limit.rates.rpm = positive(reader, &place, node),
            "rps" => limit.rates.rps = positive(reader, &place, node),
            "concurrency" => limit.concurrency = positive(reader, &place, node).or(limit.concurrency),
            "queue" => {
                limit.queue = reader.small(&place, node).unwrap_or(limit.queue);
                waits = Some(place);
            }
            "queue_wait" => {
                limit.queue_wait = reader.duration(&place, node).unwrap_or(limit.queue_wait);
                waits = Some(place);
            }
            _ => stranger(reader, &place, key, &LIMIT_KEYS),
        }
    }
    if let Some(place) = waits.filter(|_| limit.concurrency.is_none()) {
        reader.warn(&place, "does nothing without `concurrency`: nobody waits for a rate");
    }
    limit
}

fn models(reader: &mut Reader<'_>, place: &Place, node: &Node, groups: &[Group]) -> Vec<(String, Limit)> {
    by_likeness(reader, place, node, groups, |reader, place, node| {
        limit(reader, place, node, Limit { queue: QUEUE, ..Limit::default() })
    })
}

/// What is said of model groups by name or pattern. Names first, then patterns, the longest first: the first that fits a group is
/// the group's.
pub(super) fn by_likeness<T>(
    reader: &mut Reader<'_>,
    place: &Place,
    node: &Node,
    groups: &[Group],
    mut read: impl FnMut(&mut Reader<'_>, &Place, &Node) -> T,
) -> Vec<(String, T)> {
    let mut models = Vec::new();
    for (name, node) in reader.map(place, node) {
        let place = place.key(name);
        if !groups.iter().any(|group| fits(name, &group.name)) {
            let near = nearest(name, groups.iter().map(|group| group.name.as_str()));
            let near = near.map(|near| format!("; did you mean `{}`?", shown(near))).unwrap_or_default();
            reader.warn(&place, format!("no `model_name` is called so{near}"));
        }
        models.push((name.clone(), read(reader, &place, node)));
    }
    order::sort_by_key(&mut models, |(name, _)| {
        let stars = name.bytes().filter(|byte| *byte == b'*').count();
        (stars > 0, std::cmp::Reverse(name.len() - stars))
    });
    models
}

fn positive(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<u32> {
    let number = reader.small(place, node)?;
    if number == 0 {
        reader.error(place, "must be 1 or more; leave it out for no limit");
    }
    Some(number).filter(|number| *number > 0)
}

fn hops(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<usize> {
    let hops = reader.count(place, node)?;
    if hops > 20 {
        reader.error(place, "is the number of proxies between the clients and this gateway, 20 at most");
    }
    usize::try_from(hops).ok()
}

fn allowed(reader: &mut Reader<'_>) -> Option<Vec<Network>> {
    let (place, node) = reader.setting("general_settings", "allowed_ips")?;
    let mut networks = Vec::new();
    for (place, node) in elements(&place, node) {
        let Some(text) = reader.string(&place, node) else { continue };
        // Several in one text, with commas, is what an environment variable can hold.
        for part in text.split(',') {
            match Network::parse(part) {
                Some(network) => networks.push(network),
                None => {
                    let wanted =
                        "must be an address or a range, such as `203.0.113.7`, `10.0.0.0/8` or `2001:db8::/32`";
                    reader.error(&place, wanted);
                }
            }
        }
    }
    if networks.is_empty() {
        reader.error(&place, "names no address, so nobody could call; leave it out to serve every address");
    }
    Some(networks)
}
