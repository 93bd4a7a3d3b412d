//! The keys of `router_settings`, and the strategies.

use super::{
    ATTEMPTS, BREAKER, Known, LOG, NO_BUDGETS, NO_CACHE, NO_CALLBACKS, NO_GUARDRAILS, NO_LIMITS, NO_REDIS, Status,
    TOTAL_TIME, approximate, exact, ignored, unsupported,
};
use crate::route::rules::Strategy;

/// A name that `routing_strategy` takes.
#[derive(Debug)]
pub struct StrategyName {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub strategy: Strategy,
    /// Whether it is named where the names are listed; the others are other spellings.
    pub listed: bool,
}

const fn name(name: &'static str, strategy: Strategy) -> StrategyName {
    StrategyName { name, strategy, listed: true }
}

const fn also(name: &'static str, strategy: Strategy) -> StrategyName {
    StrategyName { name, strategy, listed: false }
}

/// litellm's names, and those of other gateways.
pub const STRATEGIES: &[StrategyName] = &[
    name("simple-shuffle", Strategy::SimpleShuffle),
    name("first-available", Strategy::FirstAvailable),
    also("FirstAvailable", Strategy::FirstAvailable),
    also("priority", Strategy::FirstAvailable),
    name("round-robin", Strategy::RoundRobin),
    also("RoundRobin", Strategy::RoundRobin),
    name("random", Strategy::Random),
    also("Random", Strategy::Random),
    name("least-busy", Strategy::LeastBusy),
    name("latency-based-routing", Strategy::LatencyBased),
    name("cost-based-routing", Strategy::CostBased),
    name("usage-based-routing-v2", Strategy::UsageBased),
    also("usage-based-routing", Strategy::UsageBased),
];

/// How far a strategy is litellm's, and what holds where there are many instances.
pub(in super::super) fn strategy(strategy: Strategy) -> (Status, &'static str) {
    match strategy {
        Strategy::SimpleShuffle => {
            (Status::Exact, "at random, by `weight`, `rpm` or `tpm`; many instances (Lambda) together are even")
        }
        Strategy::FirstAvailable => (
            Status::Exact,
            "the first by `order` that is not cooling down; each instance (Lambda) learns by itself who is",
        ),
        Strategy::RoundRobin => (
            Status::Exact,
            "in turn, from a random start in each instance, so that many of them (Lambda) together are even",
        ),
        Strategy::Random => (Status::Exact, "all alike; many instances (Lambda) together are even"),
        Strategy::LeastBusy => (
            Status::Approximate,
            "each instance counts its own requests; on Lambda it has one at a time, so that all are alike there",
        ),
        Strategy::LatencyBased => (
            Status::Approximate,
            "each instance measures by itself; on Lambda a new one has to try each deployment before it knows",
        ),
        Strategy::CostBased => (
            Status::Approximate,
            "by the prices of an input and an output token, the entry's own or the built-in table's, those without one last; it remembers nothing, so it holds on Lambda too",
        ),
        Strategy::UsageBased => (
            Status::Approximate,
            "each instance counts its own minute; on Lambda `tpm` and `rpm` do not limit all of them together",
        ),
    }
}

const MISSING_GROUP: &str = "a group that is missing here uses `fallbacks`; in litellm it would have none";

pub(super) const ROUTER: &[Known] = &[
    exact("routing_strategy", ""),
    exact("routing_strategy_args", "`ttl` and `lowest_latency_buffer`, for `latency-based-routing`"),
    approximate("timeout", TOTAL_TIME),
    exact("stream_timeout", "the wait for the first content of a stream"),
    exact("num_retries", "after the first attempt; 2 without it"),
    approximate("max_retries", "the same as `num_retries`, which wins over it"),
    exact("retry_after", "the least wait before another attempt at the same deployment"),
    exact("retry_policy", "a class that is named here is retried even if it would not be otherwise"),
    exact("model_group_retry_policy", "for these groups in the place of `retry_policy`"),
    approximate("fallbacks", "a plain 400 falls back only with `feathergate.fallback_on_bad_request`"),
    approximate("context_window_fallbacks", MISSING_GROUP),
    approximate("content_policy_fallbacks", MISSING_GROUP),
    exact("default_fallbacks", "for groups without an entry in `fallbacks`, and for models that nobody knows"),
    exact("max_fallbacks", "5 without it"),
    approximate(
        "fallback_on_unsupported_params",
        "a request always goes to a deployment that takes its parameters, if there is one; plain 400s fall back only with \
         `feathergate.fallback_on_bad_request`",
    ),
    approximate("allowed_fails", BREAKER),
    approximate("allowed_fails_policy", BREAKER),
    approximate("cooldown_time", BREAKER),
    exact("disable_cooldowns", "also for the only deployment of a group"),
    exact("model_group_alias", ""),
    approximate(
        "enable_pre_call_checks",
        "deployments that could not take a request are passed over without it too; with it a prompt too long for all of them \
         is not sent",
    ),
    exact("enable_tag_filtering", "by the `tags` of the entries"),
    exact("tag_filtering_match_any", ""),
    approximate("default_litellm_params", "what an entry says itself wins; in litellm these would win"),
    approximate("default_max_parallel_requests", ATTEMPTS),
    ignored("set_verbose", LOG),
    ignored("debug_level", LOG),
    ignored("cache_responses", NO_CACHE),
    ignored("client_ttl", "connections are kept by the HTTP client's own rules"),
    unsupported(
        "optional_pre_call_checks",
        "none of these checks is made; context windows and parameters are looked at anyway",
    ),
    unsupported("routing_groups", "there is one strategy for all groups"),
    unsupported("provider_budget_config", NO_BUDGETS),
    unsupported("max_parallel_requests", NO_LIMITS),
    unsupported("default_priority", "there is no queue"),
    unsupported("polling_interval", "there is no queue"),
    unsupported("redis_*", NO_REDIS),
    unsupported("alerting_config", NO_CALLBACKS),
    unsupported("assistants_config", "there is no Assistants API"),
    unsupported("guardrail_list", NO_GUARDRAILS),
];
