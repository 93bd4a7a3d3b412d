//! How deployments are chosen, tried again and left alone: `router_settings`, and what an entry says of its own.

use std::sync::Arc;

use super::super::known::STRATEGIES;
use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::settings::Routing;
use super::models::Own;
use super::prices;
use super::reader::{Reader, elements};
use crate::meter::Book;
use crate::route::rules::{Class, Cooldown, PerClass, Retries, Strategy, StrategyArgs};

/// What the entries of `model_list` and the groups take from the settings for all.
pub(super) struct Shared<'a> {
    pub(super) retries: Retries,
    cooldown: Cooldown,
    /// `num_retries`, without what `retry_policy` says.
    count: u32,
    /// `default_max_parallel_requests`.
    parallel: Option<u32>,
    /// `default_litellm_params`.
    pub(super) params: Option<(Place, &'a [(String, Node)])>,
    /// `feathergate.prices`.
    pub(super) book: Arc<Book>,
}

/// What the file says of routing, without what names groups: see [`super::fallbacks`].
pub(super) fn read<'a>(reader: &mut Reader<'a>, routing: &mut Routing) -> Shared<'a> {
    if let Some((place, node)) = reader.routing("routing_strategy") {
        routing.strategy = strategy(reader, &place, node).unwrap_or_default();
    }
    if let Some((place, node)) = reader.routing("routing_strategy_args") {
        arguments(reader, &place, node, &mut routing.args);
    }
    let count;
    (routing.retries, count) = retries(reader);
    routing.cooldown = cooldown(reader);
    let switch = |reader: &mut Reader<'_>, key: &str| {
        let (place, node) = reader.routing(key)?;
        reader.boolean(&place, node)
    };
    routing.pre_call_checks = switch(reader, "enable_pre_call_checks").unwrap_or(false);
    routing.tag_filtering = switch(reader, "enable_tag_filtering").unwrap_or(false);
    routing.tag_match_all = switch(reader, "tag_filtering_match_any") == Some(false);
    if let Some((place, node)) = reader.routing("optional_pre_call_checks") {
        optional_checks(reader, &place, node);
    }
    let parallel = reader.routing("default_max_parallel_requests").and_then(|(place, node)| most(reader, &place, node));
    let params = reader.routing("default_litellm_params").map(|(place, node)| {
        let entries = reader.map(&place, node);
        (place, entries)
    });
    Shared { retries: routing.retries, cooldown: routing.cooldown, count, parallel, params, book: prices::book(reader) }
}

fn most(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<u32> {
    let most = reader.small(place, node)?;
    if most == 0 {
        reader.error(place, "must be more than 0: with 0 no request could be made");
    }
    Some(most)
}

/// A key of the `feathergate` section. Whether it is one of routing.
pub(super) fn own(reader: &mut Reader<'_>, routing: &mut Routing, key: &str, place: &Place, node: &Node) -> bool {
    let switch = match key {
        "fallback_on_bad_request" => &mut routing.fallbacks.on_bad_request,
        "disclose_upstream" => &mut routing.disclose_upstream,
        "mock_testing" => &mut routing.mock_testing,
        "max_request_tokens" => {
            routing.max_request_tokens = reader.count(place, node);
            if routing.max_request_tokens == Some(0) {
                reader.error(place, "must be more than 0: with 0 every request would be refused");
            }
            return true;
        }
        "error_patterns" => {
            routing.error_patterns = texts(reader, place, node);
            return true;
        }
        _ => return false,
    };
    *switch = reader.boolean(place, node).unwrap_or(*switch);
    true
}

/// Strings that are not empty.
pub(super) fn texts(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    for (place, node) in elements(place, node) {
        let Some(text) = reader.string(&place, node) else { continue };
        if text.trim().is_empty() {
            reader.error(&place, "is empty; take it out");
        } else {
            found.push(text);
        }
    }
    found
}

fn strategy(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Strategy> {
    let name = reader.string(place, node)?;
    let name = name.trim();
    if let Some(row) = STRATEGIES.iter().find(|row| row.name == name) {
        return Some(row.strategy);
    }
    let names = STRATEGIES.iter().filter(|row| row.listed).map(|row| row.name);
    reader.error(place, format!("must be {}", super::facts::list(names)));
    None
}

fn arguments(reader: &mut Reader<'_>, place: &Place, node: &Node, args: &mut StrategyArgs) {
    for (key, node) in reader.map(place, node) {
        let place = place.key(key);
        match key.as_str() {
            "ttl" => args.ttl = reader.wait(&place, node).unwrap_or(args.ttl),
            "lowest_latency_buffer" => match reader.number(&place, node) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 1,000,000")]
                Some(share) if (0.0..=1000.0).contains(&share) => args.buffer = (share * 1000.0).round() as u32,
                Some(_) => reader.error(&place, "must be a share such as `0.5`, 0 or more and at most 1000"),
                None => {}
            },
            _ => reader
                .warn(&place, "does nothing here; `ttl` and `lowest_latency_buffer` do, with `latency-based-routing`"),
        }
    }
}

/// Names that litellm has for what it looks at beside limits and regions.
const OPTIONAL_CHECKS: [&str; 8] = [
    "deployment_affinity",
    "encrypted_content_affinity",
    "enforce_model_rate_limits",
    "forward_client_headers_by_model_group",
    "prompt_caching",
    "responses_api_deployment_check",
    "router_budget_limiting",
    "session_affinity",
];

fn optional_checks(reader: &mut Reader<'_>, place: &Place, node: &Node) {
    for (place, node) in elements(place, node) {
        let Some(name) = reader.string(&place, node) else { continue };
        if !OPTIONAL_CHECKS.contains(&name.trim()) {
            reader.error(&place, format!("must be {}", super::facts::list(OPTIONAL_CHECKS.into_iter())));
        }
    }
}

/// The retries, and `num_retries` by itself.
fn retries(reader: &mut Reader<'_>) -> (Retries, u32) {
    let mut retries = Retries::default();
    let found = match reader.routing("num_retries") {
        Some(found) => Some(found),
        None => reader.routing("max_retries"),
    };
    if let Some((place, node)) = found {
        retries.count = reader.small(&place, node).unwrap_or(retries.count);
    }
    if let Some((place, node)) = reader.routing("retry_after") {
        retries.least_wait = reader.wait(&place, node).unwrap_or(0);
    }
    let count = retries.count;
    if let Some((place, node)) = reader.routing("retry_policy") {
        retry_policy(reader, &place, node, &mut retries);
    }
    (retries, count)
}

fn retry_policy(reader: &mut Reader<'_>, place: &Place, node: &Node, retries: &mut Retries) {
    let (policy, rest) = policy(reader, place, node, "Retries");
    retries.policy = policy;
    retries.count = rest.unwrap_or(retries.count);
}

/// How often the groups that `model_group_retry_policy` names are tried. As in litellm this stands in the place of
/// `retry_policy`, and is not mixed with it.
pub(super) fn group_retries(reader: &mut Reader<'_>, shared: &Shared<'_>) -> Vec<(String, Place, Retries)> {
    let mut found = Vec::new();
    let Some((place, node)) = reader.routing("model_group_retry_policy") else { return found };
    for (group, node) in reader.map(&place, node) {
        let place = place.key(group);
        let mut retries = Retries { count: shared.count, ..shared.retries };
        retry_policy(reader, &place, node, &mut retries);
        found.push((group.clone(), place, retries));
    }
    found
}

const CLASSES: [(&str, Class); Class::COUNT] = [
    ("BadRequestError", Class::BadRequest),
    ("AuthenticationError", Class::Authentication),
    ("TimeoutError", Class::Timeout),
    ("RateLimitError", Class::RateLimit),
    ("ContentPolicyViolationError", Class::ContentPolicy),
    ("InternalServerError", Class::InternalServer),
    ("ServiceUnavailableError", Class::ServiceUnavailable),
    ("NotFoundError", Class::NotFound),
];

/// A number for each class whose key, with this ending, is there; and that of `Default…`.
fn policy(reader: &mut Reader<'_>, place: &Place, node: &Node, ending: &str) -> (PerClass, Option<u32>) {
    let (mut policy, mut rest) = (PerClass::default(), None);
    for (key, node) in reader.map(place, node) {
        let place = place.key(key);
        let name = key.strip_suffix(ending).unwrap_or_default();
        let class = CLASSES.iter().find(|(class, _)| *class == name);
        if class.is_none() && (name != "Default" || ending != "Retries") {
            let keys = CLASSES.map(|(class, _)| format!("{class}{ending}"));
            let near = nearest(key, keys.iter().map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
            let message = format!("`{}` is no class of errors known here{}", shown(key), near.unwrap_or_default());
            reader.warn(&place, message);
            continue;
        }
        if *node == Node::Null {
            continue;
        }
        match (class, reader.small(&place, node)) {
            (Some((_, class)), Some(number)) => policy.set(*class, number),
            (None, number @ Some(_)) => rest = number,
            (_, None) => {}
        }
    }
    (policy, rest)
}

fn cooldown(reader: &mut Reader<'_>) -> Cooldown {
    let mut cooldown = Cooldown::default();
    if let Some((place, node)) = reader.routing("disable_cooldowns") {
        cooldown.off = reader.boolean(&place, node).unwrap_or(false);
    }
    if let Some((place, node)) = reader.routing("allowed_fails") {
        cooldown.allowed_fails = reader.small(&place, node);
    }
    if let Some((place, node)) = reader.routing("allowed_fails_policy") {
        cooldown.policy = allowed_fails_policy(reader, &place, node);
    }
    if let Some((place, node)) = reader.routing("cooldown_time") {
        cooldown.time = reader.wait(&place, node).unwrap_or(cooldown.time);
    }
    cooldown
}

pub(super) fn allowed_fails_policy(reader: &mut Reader<'_>, place: &Place, node: &Node) -> PerClass {
    policy(reader, place, node, "AllowedFails").0
}

/// What an entry says of its own cooldown.
#[derive(Default)]
pub(super) struct OwnCooldown {
    pub(super) allowed_fails: Option<u32>,
    pub(super) policy: Option<PerClass>,
    pub(super) time: Option<u64>,
}

impl OwnCooldown {
    /// The router's rules with these over them. A number for all failures of the entry wins over the router's numbers by
    /// class, as in litellm.
    fn over(&self, router: &Cooldown, time: Option<u64>) -> Cooldown {
        let mut policy = if self.allowed_fails.is_some() { PerClass::default() } else { router.policy };
        for (_, class) in CLASSES {
            if let Some(number) = self.policy.and_then(|policy| policy.get(class)) {
                policy.set(class, number);
            }
        }
        let own = self.time.or(time);
        let time = own.unwrap_or(router.time);
        // litellm's: no time is no cooldown.
        let off = router.off || time == 0;
        Cooldown { off, allowed_fails: self.allowed_fails.or(router.allowed_fails), policy, time, fixed: own.is_some() }
    }
}

/// What `litellm_params` say of routing, put into the deployments of the entry.
pub(super) fn entry(
    reader: &mut Reader<'_>,
    (place, params): (&Place, &Node),
    (own, shared): (&Own, &Shared<'_>),
    deployments: &mut [super::deployment::Found],
) {
    let get = |key: &str| (place.key(key), params.get(key).filter(|node| **node != Node::Null));
    let number = |reader: &mut Reader<'_>, key: &str| {
        let (place, node) = get(key);
        node.and_then(|node| reader.small(&place, node))
    };
    let order = number(reader, "order");
    let retries = [number(reader, "num_retries"), number(reader, "max_retries")];
    let (at, parallel) = get("max_parallel_requests");
    let parallel = parallel.and_then(|node| most(reader, &at, node)).or(shared.parallel);
    let (at, tags) = get("tags");
    let tags = tags.map(|node| texts(reader, &at, node)).unwrap_or_default();
    let (at, region) = get("region_name");
    let region = region.and_then(|node| reader.string(&at, node)).map(|region| region.trim().to_owned());
    let (at, time) = get("cooldown_time");
    let time = time.and_then(|node| reader.wait(&at, node));
    let cooldown = own.cooldown.over(&shared.cooldown, time);
    for (deployment, [_, rpm, tpm]) in deployments {
        // While a deployment with an order is there, litellm asks none without one.
        deployment.order = order.unwrap_or(u32::MAX);
        deployment.rpm = rpm.map(whole);
        deployment.tpm = tpm.map(whole);
        deployment.parallel = parallel;
        deployment.num_retries = retries.into_iter().flatten().next();
        deployment.cooldown = cooldown;
        deployment.tags.clone_from(&tags);
        deployment.region.clone_from(&region);
        deployment.max_input_tokens = own.info.max_input_tokens.filter(|most| *most > 0);
    }
}

fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0, and a cast saturates")]
    {
        number.round() as u64
    }
}
