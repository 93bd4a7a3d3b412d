//! What the operator decides about routing, as data. Where a name or a number is litellm's, it is that of 1.109.1.

use crate::wire::FailureKind;

/// Milliseconds: a duration, or a time since some beginning that the caller knows.
pub type Millis = u64;

/// How a deployment is chosen within a model group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// `simple-shuffle`: at random, by weight.
    #[default]
    SimpleShuffle,
    /// `first-available` (`FirstAvailable`, `priority`): the first in order that is not cooling down.
    FirstAvailable,
    /// `round-robin` (`RoundRobin`): one after the other, from a random start.
    RoundRobin,
    /// `random` (`Random`): all alike.
    Random,
    /// `least-busy`: the one with the fewest requests under way.
    LeastBusy,
    /// `latency-based-routing`: one of the fastest of late.
    LatencyBased,
    /// `cost-based-routing`: the cheapest.
    CostBased,
    /// `usage-based-routing-v2`, `usage-based-routing`: the one with the fewest tokens this minute, within its `tpm` and `rpm`.
    UsageBased,
}

/// The classes of failure by which policies count: litellm's exceptions, in the order of its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `BadRequestError…`; a prompt that is too long is one.
    BadRequest,
    /// `AuthenticationError…`
    Authentication,
    /// `TimeoutError…`
    Timeout,
    /// `RateLimitError…`
    RateLimit,
    /// `ContentPolicyViolationError…`
    ContentPolicy,
    /// `InternalServerError…`; a connection that cannot be made or breaks is one.
    InternalServer,
    /// `ServiceUnavailableError…`
    ServiceUnavailable,
    /// `NotFoundError…`
    NotFound,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// The class of a failure.
    #[must_use]
    pub fn of(kind: FailureKind) -> Self {
        match kind {
            FailureKind::BadRequest | FailureKind::TooLong => Self::BadRequest,
            FailureKind::Filtered => Self::ContentPolicy,
            FailureKind::Auth => Self::Authentication,
            FailureKind::NotFound => Self::NotFound,
            FailureKind::RateLimited => Self::RateLimit,
            FailureKind::Overloaded => Self::ServiceUnavailable,
            FailureKind::Timeout => Self::Timeout,
            FailureKind::Unreachable | FailureKind::Cut | FailureKind::Server => Self::InternalServer,
        }
    }
}

/// A number for each class that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerClass([Option<u32>; Class::COUNT]);

impl PerClass {
    /// The number of a class.
    #[must_use]
    pub fn get(&self, class: Class) -> Option<u32> {
        self.0.get(class as usize).copied().flatten()
    }

    /// Sets the number of a class.
    pub fn set(&mut self, class: Class, number: u32) {
        if let Some(place) = self.0.get_mut(class as usize) {
            *place = Some(number);
        }
    }
}

/// How often a request is tried again within a model group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `num_retries`: after the first attempt. 2 by default.
    pub count: u32,
    /// `retry_policy` with the group's `model_group_retry_policy` over it: by class, in place of `count`. A class that stands
    /// here is retried even if it would not be otherwise.
    pub policy: PerClass,
    /// `retry_after`: the least wait before another attempt at the same deployment.
    pub least_wait: Millis,
}

impl Default for Retries {
    fn default() -> Self {
        Self { count: 2, policy: PerClass::default(), least_wait: 0 }
    }
}

/// When a deployment is left alone after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// `disable_cooldowns`.
    pub off: bool,
    /// `allowed_fails`: more failures than this within a minute start a cooldown. Without it: any 401, 402, 403, 404 or 429,
    /// more than half of at least five attempts within a minute, or more than three failures in a row; for the only
    /// deployment of a group a 401 or 404, or more than three failures in a row that are no such answers. A 400, 413 or 422
    /// never counts.
    pub allowed_fails: Option<u32>,
    /// `allowed_fails_policy`: the same by class.
    pub policy: PerClass,
    /// `cooldown_time`. 5 s by default; 0 is no cooldown, as in litellm.
    pub time: Millis,
    /// The time is the entry's own. One for all gives way to the upstream's `Retry-After`, up to ten minutes: after a 429
    /// always, and elsewhere if that is longer.
    pub fixed: bool,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { off: false, allowed_fails: None, policy: PerClass::default(), time: 5000, fixed: false }
    }
}

/// A list of fallbacks: the names of what is tried in the place of a group, in order. Names are what a client could send:
/// groups, aliases, or what a wildcard takes.
pub type FallbackList = Vec<(String, Vec<String>)>;

/// Which groups stand in for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallbacks {
    /// `fallbacks`.
    pub general: FallbackList,
    /// `context_window_fallbacks`: where the prompt is too long. A group that is missing here uses `general`.
    pub context_window: FallbackList,
    /// `content_policy_fallbacks`: where a content policy refused it. A group that is missing here uses `general`.
    pub content_policy: FallbackList,
    /// `default_fallbacks`: for groups without an entry in `general`, and for models that nobody knows.
    pub default: Vec<String>,
    /// `max_fallbacks`. 5 by default.
    pub most: u32,
    /// `feathergate.fallback_on_bad_request`: plain 400s fall back as well. Off by default.
    pub on_bad_request: bool,
}

impl Default for Fallbacks {
    fn default() -> Self {
        Self {
            general: Vec::new(),
            context_window: Vec::new(),
            content_policy: Vec::new(),
            default: Vec::new(),
            most: 5,
            on_bad_request: false,
        }
    }
}

impl Fallbacks {
    /// What is tried in the place of a group after a failure of this kind, in order. `names` are those that the group has for
    /// this request: the one that was asked for, and its own. What is said of either comes before what is said of all.
    #[must_use]
    pub fn of(&self, names: [&str; 2], kind: FailureKind) -> &[String] {
        let special = match kind {
            FailureKind::TooLong => &self.context_window,
            FailureKind::Filtered => &self.content_policy,
            FailureKind::BadRequest
            | FailureKind::Auth
            | FailureKind::NotFound
            | FailureKind::RateLimited
            | FailureKind::Overloaded
            | FailureKind::Timeout
            | FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::Server => &self.general,
        };
        let [asked, own] = names;
        // litellm's `default_fallbacks` is the entry `*` of `fallbacks`.
        let places =
            [(special, asked), (special, own), (&self.general, asked), (&self.general, own), (&self.general, "*")];
        let entry = places.into_iter().find_map(|(list, name)| list.iter().find(|(of, _)| of == name));
        entry.map_or(&self.default, |(_, names)| names)
    }
}

/// What the choice among deployments, and their cooldown, need to know of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// Its place among all deployments of the configuration: whose [`super::health::Health`] is its own.
    pub place: usize,
    /// `order`: lower ones first; higher ones only where no lower one can take the request. `u32::MAX` where it is not set, so that it comes last.
    pub order: u32,
    /// `weight`, else `rpm`, else `tpm`, scaled to a whole number.
    pub weight: u32,
    /// `rpm`: attempts a minute that the upstream allows. As in litellm kept by `usage-based-routing-v2`,
    /// `latency-based-routing` and `cost-based-routing`; the others know it as a weight, or not at all.
    pub rpm: Option<u64>,
    /// `tpm`: tokens a minute that the upstream allows; kept by the same.
    pub tpm: Option<u64>,
    /// `max_parallel_requests`: attempts at one time, under every strategy.
    pub parallel: Option<u32>,
    /// Input plus output cost of a token, in 1e-12 dollars, where it is known.
    pub cost: Option<u64>,
    /// `num_retries` of the entry: in place of the group's, where the first attempt went here.
    pub retries: Option<u32>,
    /// When it is left alone: the router's rules with the entry's own over them.
    pub cooldown: Cooldown,
}

/// A model group, as far as routing is concerned.
#[derive(Debug, Default)]
pub struct Pool {
    /// The group's name.
    pub name: String,
    /// Its deployments.
    pub members: Vec<Member>,
    /// How one is chosen.
    pub strategy: Strategy,
    /// How often is tried.
    pub retries: Retries,
    /// Whose turn it is (`round-robin`).
    pub turn: super::balance::Turn,
}

/// What a strategy may need beside its members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StrategyArgs {
    /// `routing_strategy_args.ttl`: how long a latency counts. An hour by default.
    pub ttl: Millis,
    /// `routing_strategy_args.lowest_latency_buffer`: who is slower than the fastest by no more than this share counts as
    /// fast as well, in thousandths. 0 by default.
    pub buffer: u32,
}

impl Default for StrategyArgs {
    fn default() -> Self {
        Self { ttl: 3_600_000, buffer: 0 }
    }
}
