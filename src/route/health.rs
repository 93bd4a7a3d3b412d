//! What an instance knows of its deployments: who is cooling down, who is busy, how fast and how used they are. Hints, and
//! never more: on Lambda every instance has its own. All of it is atomics: choosing only reads, and nobody waits for anybody.
//!
//! ```text
//! ready ── too many failures ──→ cooling ── the time is over ──→ one probe ── an answer ──→ ready
//!                                   ↑                               └── a failure ──→ cooling
//!                                   └───────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::counts::{Latency, MINUTE, Window};
use super::rules::{Class, Cooldown, Member, Millis};
use crate::wire::FailureKind;

/// The longest `Retry-After` that prolongs a cooldown. Some upstreams name the day on which a quota begins again.
const LONGEST_WISH: Millis = 600_000;
/// What is said of a wait whose end nobody knows: that of a probe, or of a free place.
pub(super) const SOON: Millis = 1000;
/// Failures in a row that a deployment is allowed.
const IN_A_ROW: u32 = 3;
/// Attempts in a minute from which on the share of failures counts. litellm's `DEFAULT_FAILURE_THRESHOLD_MINIMUM_REQUESTS`.
const ENOUGH: u64 = 5;
/// What a timeout counts as where latencies are compared. litellm's 1,000 s would outlast the reason.
const TIMED_OUT: Millis = 60_000;

/// One deployment's state. Times are milliseconds since a beginning that all callers share; 0 is before everything. Minutes
/// are counted from there, one after the other, as litellm counts those of the clock: what a minute allows, the next allows anew.
#[derive(Debug, Default)]
pub struct Health {
    /// A [`State`].
    state: AtomicU64,
    busy: AtomicU32,
    in_a_row: AtomicU32,
    /// When it was last chosen, in turns: see [`Health::take_turn`].
    turn: AtomicU64,
    tokens: Window,
    requests: Window,
    latency: Latency,
    successes: Window,
    failures: Window,
    by_class: [Window; Class::COUNT],
}

/// Whether a deployment can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ready,
    /// Its cooldown is over and nobody has tried it since: one request may.
    Probe,
    /// It is left alone until this time.
    Cooling(Millis),
}

/// How an attempt failed, as far as routing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind.
    pub kind: FailureKind,
    /// The upstream's status, or the one that stands for what happened.
    pub status: u16,
    /// When the upstream invites another try, from now.
    pub retry_after: Option<Millis>,
}

/// How an attempt went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How long it took: to the first content of a stream, or to the end of a buffered answer.
    pub latency: Millis,
    /// Tokens in and out, once known.
    pub tokens: Option<u64>,
}

/// A cooldown that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// How long it lasts.
    pub time: Millis,
    /// What began it.
    pub reason: FailureKind,
    /// After it one probe goes first.
    pub half_open: bool,
}

/// Whom an instance tells of its cooldowns, so that others need not find out for themselves: a store that all of them know. What
/// others tell goes to [`Health::hear`].
pub trait SharedCooldowns: Send + Sync {
    /// The deployment of this id is left alone from now on. It must not wait: an answer does.
    fn began(&self, deployment: &str, cooling: Cooling);
}

/// An attempt that is under way at a deployment. It counts as busy until this is dropped, and a probe of which nobody has said
/// how it went makes room for the next one.
#[derive(Debug)]
pub struct Attempt {
    health: Arc<Health>,
    /// The round in which it began. What it says is of interest in no other: a request that hung since before a cooldown
    /// tells nothing of what came after.
    round: u16,
    /// It has had its answer, or the beginning of one: one more than the failures in a row before it, else 0.
    answered: AtomicU32,
}

impl Attempt {
    /// It got its answer: to the first content of a stream, or whole. Closes the breaker.
    pub fn succeeded(&self, now: Millis, sample: Sample) {
        let before = self.health.record_success(self.round, now, sample);
        self.answered.store(before.map_or(0, |before| before.saturating_add(1)), Relaxed);
    }

    /// The answer's tokens are known, and were not in the [`Sample`].
    pub fn used(&self, now: Millis, tokens: u64) {
        self.health.tokens.add(now, tokens);
    }

    /// It failed, which it may do after it had succeeded: a stream that breaks off. `alone`: its group has no other deployment.
    /// Returns the cooldown that this began.
    pub fn failed(&self, now: Millis, failed: &Failed, member: &Member, alone: bool) -> Option<Cooling> {
        let answered = self.answered.swap(0, Relaxed);
        if answered > 0 {
            // Half an answer is none: who never comes to an end would always be half well.
            self.health.successes.take_one(now);
            self.health.in_a_row.fetch_add(answered - 1, Relaxed);
        }
        self.health.record_failure(self.round, now, failed, member, alone)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let busy = self.health.busy.fetch_update(Relaxed, Relaxed, |busy| Some(busy.saturating_sub(1)));
        debug_assert!(busy.is_ok_and(|busy| busy > 0), "an attempt ends once");
        self.health
            .change(|state| (state.probing && state.round == self.round).then_some(State { probing: false, ..state }));
    }
}

impl Health {
    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: Millis) -> Standing {
        State::read(self.state.load(Relaxed)).standing(now)
    }

    /// Whether it can be called: what [`standing`](Self::standing) says at more length.
    #[inline]
    pub(super) fn is_open(&self, now: Millis) -> bool {
        let word = self.state.load(Relaxed);
        word >> State::UNTIL == 0 || !matches!(State::read(word).standing(now), Standing::Cooling(_))
    }

    /// The kind of failure that began the present cooldown, or the last one.
    #[must_use]
    pub fn reason(&self) -> FailureKind {
        State::read(self.state.load(Relaxed)).reason
    }

    /// How many attempts are under way.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.busy.load(Relaxed)
    }

    /// How long its answers take of late, in units that are the same for all deployments. `None` if there was none for `ttl`.
    #[must_use]
    pub fn latency(&self, now: Millis, ttl: Millis) -> Option<u64> {
        self.latency.get(now, ttl)
    }

    /// Whether its [`latency`](Self::latency) is known and no more than `limit`.
    #[inline]
    pub(super) fn is_fast(&self, limit: u64, now: Millis, ttl: Millis) -> bool {
        self.latency.is_within(limit, now, ttl)
    }

    /// Tokens in and out of the answers that came in the present minute.
    #[must_use]
    pub fn tokens(&self, now: Millis) -> u64 {
        self.tokens.get(now / MINUTE)
    }

    /// Attempts that began in the present minute.
    #[must_use]
    pub fn requests(&self, now: Millis) -> u64 {
        self.requests.get(now / MINUTE)
    }

    /// Whether a member has had all that its `rpm` and `tpm` allow in this minute.
    #[inline]
    pub(super) fn is_used_up(&self, minute: u64, member: &Member) -> bool {
        member.rpm.is_some_and(|most| self.requests.get(minute) >= most)
            || member.tpm.is_some_and(|most| self.tokens.get(minute) >= most)
    }

    /// Begins an attempt, if one may begin: it is not cooling down, nobody else is its probe, and it has fewer attempts under
    /// way than `max_parallel_requests`. `None` if it was taken since it was chosen; then somebody else is to be chosen.
    #[must_use]
    pub fn claim(self: &Arc<Self>, now: Millis, member: &Member) -> Option<Attempt> {
        let most = member.parallel.unwrap_or(u32::MAX);
        let one_more = |busy: u32| (busy < most).then(|| busy.saturating_add(1));
        self.busy.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        // From here on it is dropped if it must not go; then it is nobody's probe, since its round is nobody's.
        let mut attempt = Attempt { health: Arc::clone(self), round: State::NO_ROUND, answered: AtomicU32::new(0) };
        let state = self.enter(now)?;
        attempt.round = state.round;
        self.requests.add(now, 1);
        Some(attempt)
    }

    /// The state in which an attempt begins now; as the probe where one is waited for. `None` if none may.
    fn enter(&self, now: Millis) -> Option<State> {
        loop {
            let word = self.state.load(Relaxed);
            let state = State::read(word);
            match state.standing(now) {
                Standing::Cooling(_) => return None,
                Standing::Ready => return Some(state),
                Standing::Probe => {
                    let probing = State { probing: true, round: state.next_round(), ..state };
                    if self.state.compare_exchange(word, probing.word(), Relaxed, Relaxed).is_ok() {
                        return Some(probing);
                    }
                }
            }
        }
    }

    /// Notes that it is its turn, if it is still as it was `before`. Turns are numbered within a group.
    pub(super) fn take_turn(&self, before: u64, turn: u64) -> bool {
        self.turn.compare_exchange(before, turn, Relaxed, Relaxed).is_ok()
    }

    /// When it was last its turn; 0 for never.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Relaxed)
    }

    /// Returns how many failures in a row it ended, if it counts.
    fn record_success(&self, round: u16, now: Millis, sample: Sample) -> Option<u32> {
        self.latency.add(now, sample.latency);
        if let Some(tokens) = sample.tokens {
            self.tokens.add(now, tokens);
        }
        if State::read(self.state.load(Relaxed)).round != round {
            return None;
        }
        self.successes.add(now, 1);
        self.close(round, now);
        Some(self.in_a_row.swap(0, Relaxed))
    }

    /// A cooldown that is over is forgotten.
    fn close(&self, round: u16, now: Millis) {
        self.change(|state| {
            let over = state.until != 0 && state.until <= now && state.round == round;
            over.then_some(State { until: 0, half_open: false, probing: false, ..state })
        });
    }

    /// Another instance has begun a cooldown. One that lasts longer here is kept, and so is a probe that is under way.
    pub fn hear(&self, now: Millis, cooling: Cooling) {
        let Cooling { time, reason, half_open } = cooling;
        let until = now.saturating_add(time).clamp(1, State::LAST);
        self.change(|state| {
            let news = time > 0 && until > state.until && !state.probing;
            news.then_some(State { until, reason, half_open, probing: false, round: state.next_round() })
        });
    }

    fn record_failure(
        &self,
        round: u16,
        now: Millis,
        failed: &Failed,
        member: &Member,
        alone: bool,
    ) -> Option<Cooling> {
        let rules = &member.cooldown;
        if failed.kind == FailureKind::Timeout {
            self.latency.add(now, TIMED_OUT);
        }
        // What counts not is said by an upstream that is there. A `cooldown_time` of 0 is litellm's other way to say `off`.
        if !counts(failed.kind) || rules.off || rules.time == 0 {
            self.close(round, now);
            return None;
        }
        let word = self.state.load(Relaxed);
        let state = State::read(word);
        if state.round != round || state.until > now {
            return None;
        }
        let tally = Tally {
            in_a_row: self.in_a_row.fetch_add(1, Relaxed).saturating_add(1),
            failures: self.failures.add(now, 1),
            of_class: self.by_class.get(Class::of(failed.kind) as usize).map_or(0, |class| class.add(now, 1)),
            successes: self.successes.get(now / MINUTE),
        };
        if alone && is_prompt(failed.kind) {
            self.in_a_row.store(0, Relaxed);
        }
        if !state.probing && !trips(rules, failed, alone, &tally) {
            return None;
        }
        let wish = failed.retry_after.map(|wish| wish.min(LONGEST_WISH));
        // Who limits rates knows when the next request is welcome; others only hope.
        let time = match wish {
            _ if rules.fixed => rules.time,
            Some(wish) if failed.kind == FailureKind::RateLimited => wish,
            _ => rules.time.max(wish.unwrap_or(0)),
        };
        // A rate limit says itself when it is over, and one slow probe would waste what it allows. An empty account (402) is no
        // rate.
        let half_open = failed.kind != FailureKind::RateLimited || failed.status == 402;
        let until = now.saturating_add(time).clamp(1, State::LAST);
        let next = State { until, reason: failed.kind, half_open, probing: false, round: state.next_round() };
        self.state.compare_exchange(word, next.word(), Relaxed, Relaxed).ok()?;
        self.forget_failures();
        Some(Cooling { time, reason: failed.kind, half_open })
    }

    /// After a cooldown a deployment begins anew.
    fn forget_failures(&self) {
        self.in_a_row.store(0, Relaxed);
        for window in self.by_class.iter().chain([&self.failures, &self.successes]) {
            window.clear();
        }
    }

    fn change(&self, to: impl Fn(State) -> Option<State>) {
        // Where nothing changes there is nothing to do.
        let _ = self.state.fetch_update(Relaxed, Relaxed, |word| to(State::read(word)).map(State::word));
    }
}

/// Whether a failure says anything of the deployment. The other kinds are about the request.
fn counts(kind: FailureKind) -> bool {
    match kind {
        FailureKind::BadRequest | FailureKind::TooLong | FailureKind::Filtered => false,
        FailureKind::Auth
        | FailureKind::NotFound
        | FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::Timeout
        | FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::Server => true,
    }
}

/// Whether the deployment will not do better at once, and says so without delay: 401, 402, 403, 404, 429.
fn is_prompt(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Auth | FailureKind::NotFound | FailureKind::RateLimited)
}

/// A failure among others.
struct Tally {
    in_a_row: u32,
    /// Of this minute, as the other two.
    failures: u64,
    of_class: u64,
    successes: u64,
}

/// Whether a failure that counts begins a cooldown.
fn trips(rules: &Cooldown, failed: &Failed, alone: bool, tally: &Tally) -> bool {
    let Failed { kind, status, .. } = *failed;
    if let Some(most) = rules.policy.get(Class::of(kind)) {
        return tally.of_class > u64::from(most);
    }
    if let Some(most) = rules.allowed_fails {
        return tally.failures > u64::from(most);
    }
    // Who is alone has nobody to send requests to instead: worth replacing by answers of ours are slow failures, and those that
    // only an operator can mend.
    if is_prompt(kind) {
        return !alone || matches!(status, 401 | 404);
    }
    let attempts = tally.failures.saturating_add(tally.successes);
    let mostly = attempts >= ENOUGH && tally.failures.saturating_mul(2) > attempts;
    tally.in_a_row > IN_A_ROW || (mostly && !alone)
}

/// The breaker, as one word, so that whoever changes it changes all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// When the cooldown is over; 0 if there is none. 44 bits: the year 2527.
    until: Millis,
    /// What began it. 4 bits.
    reason: FailureKind,
    /// After the cooldown one probe goes first.
    half_open: bool,
    /// It is under way.
    probing: bool,
    /// Grows with every cooldown and every probe. 14 bits.
    round: u16,
}

impl State {
    /// Where the time begins.
    const UNTIL: u32 = 20;
    const LAST: Millis = (1 << 44) - 1;
    const ROUNDS: u16 = (1 << 14) - 1;
    /// No round at all.
    const NO_ROUND: u16 = u16::MAX;
    /// In the order of their numbers, which are those of the enum.
    const REASONS: [FailureKind; 11] = [
        FailureKind::BadRequest,
        FailureKind::TooLong,
        FailureKind::Filtered,
        FailureKind::Auth,
        FailureKind::NotFound,
        FailureKind::RateLimited,
        FailureKind::Overloaded,
        FailureKind::Timeout,
        FailureKind::Unreachable,
        FailureKind::Cut,
        FailureKind::Server,
    ];

    fn read(word: u64) -> Self {
        let number = usize::try_from(word >> 16 & 15).unwrap_or(0);
        Self {
            until: word >> Self::UNTIL,
            reason: Self::REASONS.get(number).copied().unwrap_or(FailureKind::Server),
            half_open: word >> 15 & 1 == 1,
            probing: word >> 14 & 1 == 1,
            round: u16::try_from(word & u64::from(Self::ROUNDS)).unwrap_or(0),
        }
    }

    fn word(self) -> u64 {
        let flags = u64::from(self.half_open) << 15 | u64::from(self.probing) << 14;
        self.until << Self::UNTIL | (self.reason as u64) << 16 | flags | u64::from(self.round & Self::ROUNDS)
    }

    fn standing(self, now: Millis) -> Standing {
        if self.until > now {
            Standing::Cooling(self.until)
        } else if self.until == 0 || !self.half_open {
            Standing::Ready
        } else if self.probing {
            Standing::Cooling(now.saturating_add(SOON))
        } else {
            Standing::Probe
        }
    }

    fn next_round(self) -> u16 {
        self.round.wrapping_add(1) & Self::ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::super::rules::PerClass;
    use super::*;

    /// The rules, whether it is alone, what happens over and over (`None` is a success), and which failure begins the cooldown.
    type Row<'a> = (Cooldown, bool, &'a [Option<FailureKind>], Option<usize>);

    const OK: Sample = Sample { latency: 100, tokens: None };

    fn failed(kind: FailureKind) -> Failed {
        let status = match kind {
            FailureKind::RateLimited => 429,
            FailureKind::Auth => 401,
            FailureKind::NotFound => 404,
            FailureKind::BadRequest | FailureKind::TooLong | FailureKind::Filtered => 400,
            FailureKind::Overloaded => 503,
            FailureKind::Timeout => 504,
            FailureKind::Unreachable | FailureKind::Cut | FailureKind::Server => 500,
        };
        Failed { kind, status, retry_after: None }
    }

    fn member(cooldown: Cooldown) -> Member {
        Member { cooldown, ..Member::default() }
    }

    /// A deployment that is cooling down from 1000 to 6000 after a kind of failure that a probe follows.
    fn tripped() -> (Arc<Health>, Member) {
        let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
        let attempt = health.claim(1000, &member).unwrap();
        attempt.failed(1000, &failed(FailureKind::Auth), &member, false);
        assert_eq!(health.standing(1000), Standing::Cooling(6000));
        (health, member)
    }

    #[test]
    fn every_kind_of_failure_trips_by_its_rule_and_no_earlier() {
        use FailureKind::{
            Auth, BadRequest, Cut, Filtered, NotFound, Overloaded, RateLimited, Server, Timeout, TooLong, Unreachable,
        };
        let plain = Cooldown::default();
        let allowed = |most| Cooldown { allowed_fails: Some(most), ..plain };
        let policy = |class, most| {
            let mut policy = PerClass::default();
            policy.set(class, most);
            Cooldown { policy, ..plain }
        };
        let (group, alone) = (false, true);
        #[rustfmt::skip]
        let table: &[Row] = &[
            // Others can take over: at once where waiting does not help.
            (plain, group, &[Some(RateLimited)], Some(1)),
            (plain, group, &[Some(Auth)], Some(1)),
            (plain, group, &[Some(NotFound)], Some(1)),
            (plain, group, &[Some(Server)], Some(4)),
            (plain, group, &[Some(Timeout)], Some(4)),
            (plain, group, &[Some(Overloaded)], Some(4)),
            (plain, group, &[Some(Unreachable)], Some(4)),
            (plain, group, &[Some(Cut)], Some(4)),
            // More than half of at least five: two of three fail, so the fourth of six is the first to be more than half.
            (plain, group, &[Some(Server), None, Some(Server)], Some(4)),
            (plain, group, &[Some(Server), None], Some(3)),
            (plain, group, &[None, Some(Server)], None),
            // What is the request's own fault never counts.
            (plain, group, &[Some(BadRequest)], None),
            (plain, group, &[Some(TooLong)], None),
            (plain, group, &[Some(Filtered)], None),
            (allowed(0), group, &[Some(BadRequest)], None),
            (policy(Class::BadRequest, 0), group, &[Some(BadRequest)], None),
            (policy(Class::ContentPolicy, 0), alone, &[Some(Filtered)], None),
            // Nobody else can take over: only what an operator has to mend, and slow failures in a row.
            (plain, alone, &[Some(RateLimited)], None),
            (plain, alone, &[Some(Auth)], Some(1)),
            (plain, alone, &[Some(NotFound)], Some(1)),
            (plain, alone, &[Some(Server)], Some(4)),
            (plain, alone, &[Some(Timeout)], Some(4)),
            (plain, alone, &[Some(Overloaded)], Some(4)),
            (plain, alone, &[Some(Unreachable)], Some(4)),
            (plain, alone, &[Some(Server), Some(Server), Some(Server), None], None),
            (plain, alone, &[Some(Server), Some(Server), Some(Server), Some(RateLimited)], None),
            // `allowed_fails` rules alone, everywhere.
            (allowed(3), group, &[Some(RateLimited)], Some(4)),
            (allowed(3), group, &[Some(Auth), None, None, None], Some(4)),
            (allowed(0), group, &[None, Some(Server)], Some(1)),
            (allowed(5), group, &[Some(Server)], Some(6)),
            (allowed(2), alone, &[Some(RateLimited)], Some(3)),
            (allowed(0), alone, &[Some(Auth)], Some(1)),
            // A policy rules for its class, and what has none goes by the rest.
            (policy(Class::RateLimit, 2), group, &[Some(RateLimited)], Some(3)),
            (policy(Class::RateLimit, 2), group, &[Some(Auth)], Some(1)),
            (policy(Class::RateLimit, 2), alone, &[Some(RateLimited)], Some(3)),
            (policy(Class::InternalServer, 1), group, &[Some(Server), Some(Timeout)], Some(3)),
            (policy(Class::InternalServer, 1), group, &[Some(Unreachable), Some(Cut)], Some(2)),
            (Cooldown { allowed_fails: Some(9), ..policy(Class::Timeout, 0) }, group, &[Some(Timeout)], Some(1)),
            (Cooldown { allowed_fails: Some(1), ..policy(Class::Timeout, 9) }, group, &[Some(Server)], Some(2)),
            // Never.
            (Cooldown { off: true, ..allowed(0) }, group, &[Some(Auth), Some(Server)], None),
            (Cooldown { time: 0, ..plain }, group, &[Some(Auth), Some(Server)], None),
        ];
        for (row, (rules, alone, what, want)) in table.iter().enumerate() {
            let (health, member) = (Arc::new(Health::default()), member(*rules));
            let mut failures = 0;
            let mut tripped = None;
            for (at, what) in (1000..1050).zip(what.iter().cycle()) {
                let attempt = health.claim(at, &member).unwrap();
                match what {
                    Some(kind) => {
                        failures += 1;
                        attempt.failed(at, &failed(*kind), &member, *alone);
                        if health.standing(at) != Standing::Ready {
                            assert_eq!((health.standing(at), health.reason()), (Standing::Cooling(at + 5000), *kind));
                            tripped = Some(failures);
                            break;
                        }
                    }
                    None => attempt.succeeded(at, OK),
                }
            }
            assert_eq!(tripped, *want, "row {row}: {what:?}, alone: {alone}");
        }
    }

    #[test]
    fn a_refusal_that_may_be_about_the_request_stops_nobody_who_is_alone() {
        for (kind, status) in [(FailureKind::Auth, 403), (FailureKind::RateLimited, 402), (FailureKind::Auth, 503)] {
            let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
            let failed = Failed { kind, status, retry_after: None };
            for (alone, want) in [(true, Standing::Ready), (false, Standing::Cooling(6000))] {
                health.claim(1000, &member).unwrap().failed(1000, &failed, &member, alone);
                assert_eq!(health.standing(1000), want, "{status}");
            }
        }
    }

    #[test]
    fn a_cooldown_lasts_as_long_as_the_operator_or_the_upstream_says() {
        for (time, retry_after, want) in [
            (5000, None, 5000),
            (5000, Some(1000), 1000),
            (5000, Some(30_000), 30_000),
            (5000, Some(86_400_000), 600_000),
            (900_000, Some(86_400_000), 600_000),
            (1, None, 1),
            (u64::MAX, None, State::LAST - 7),
        ] {
            let (health, member) = (Arc::new(Health::default()), member(Cooldown { time, ..Cooldown::default() }));
            let failed = Failed { retry_after, ..failed(FailureKind::RateLimited) };
            health.claim(7, &member).unwrap().failed(7, &failed, &member, false);
            assert_eq!(health.standing(7), Standing::Cooling(7 + want), "{time} {retry_after:?}");
            assert_eq!(health.standing(6 + want), Standing::Cooling(7 + want));
            assert_eq!(health.standing(7 + want), Standing::Ready);
        }
        // The entry's own is its operator's word.
        let (health, member) = (Arc::new(Health::default()), member(Cooldown { fixed: true, ..Cooldown::default() }));
        let failed = Failed { retry_after: Some(90_000), ..failed(FailureKind::RateLimited) };
        health.claim(7, &member).unwrap().failed(7, &failed, &member, false);
        assert_eq!(health.standing(7), Standing::Cooling(5007));
    }

    #[test]
    fn what_others_tell_holds_here() {
        let health = Arc::new(Health::default());
        let member = member(Cooldown::default());
        let elsewhere = Arc::new(Health::default());
        let attempt = elsewhere.claim(10, &member).unwrap();
        let told = attempt.failed(10, &failed(FailureKind::Auth), &member, false).unwrap();
        assert_eq!(told, Cooling { time: 5000, reason: FailureKind::Auth, half_open: true });
        assert_eq!(attempt.failed(10, &failed(FailureKind::Auth), &member, false), None, "it has begun");
        // Here the clock is another.
        let under_way = health.claim(1000, &member).unwrap();
        health.hear(1000, told);
        assert_eq!((health.standing(1000), health.reason()), (Standing::Cooling(6000), FailureKind::Auth));
        // What began before says nothing of what came after, and what is shorter changes nothing.
        under_way.succeeded(1500, OK);
        health.hear(1500, Cooling { time: 4000, reason: FailureKind::Server, half_open: false });
        health.hear(1500, Cooling { time: 0, ..told });
        assert_eq!((health.standing(1500), health.reason()), (Standing::Cooling(6000), FailureKind::Auth));
        let probe = health.claim(6000, &member).unwrap();
        health.hear(6000, told);
        probe.succeeded(6100, OK);
        assert_eq!(health.standing(6100), Standing::Ready);
    }

    #[test]
    fn one_probe_goes_and_decides() {
        // It fails: at once again, however much would be allowed.
        let (health, member) = tripped();
        assert!(health.claim(5999, &member).is_none());
        assert_eq!(health.standing(6000), Standing::Probe);
        let probe = health.claim(6000, &member).unwrap();
        assert_eq!((health.standing(6000), health.busy()), (Standing::Cooling(6000 + SOON), 1));
        assert!(health.claim(6000, &member).is_none());
        probe.failed(6100, &failed(FailureKind::Timeout), &member, true);
        assert_eq!((health.standing(6100), health.reason()), (Standing::Cooling(11_100), FailureKind::Timeout));
        drop(probe);
        // It vanishes: the next one goes.
        let probe = health.claim(11_100, &member).unwrap();
        assert!(health.claim(11_100, &member).is_none());
        drop(probe);
        assert_eq!((health.standing(11_101), health.busy()), (Standing::Probe, 0));
        // It succeeds: everybody goes, and a failure after that is the first of its row.
        let probe = health.claim(11_101, &member).unwrap();
        probe.succeeded(11_200, OK);
        assert_eq!(health.standing(11_200), Standing::Ready);
        probe.failed(11_201, &failed(FailureKind::Cut), &member, false);
        let next = [(); 2].map(|()| health.claim(11_201, &member).unwrap());
        for attempt in &next {
            attempt.failed(11_202, &failed(FailureKind::Server), &member, false);
        }
        assert_eq!(health.standing(11_203), Standing::Ready);
        drop((probe, next));
        assert_eq!(health.busy(), 0);
    }

    #[test]
    fn a_probe_that_is_refused_for_its_own_fault_has_found_the_upstream_well() {
        let (health, member) = tripped();
        health.claim(6000, &member).unwrap().failed(6010, &failed(FailureKind::TooLong), &member, false);
        assert_eq!(health.standing(6010), Standing::Ready);
        // So does one that finds cooldowns switched off meanwhile.
        let (health, _) = tripped();
        let off = self::member(Cooldown { off: true, ..Cooldown::default() });
        health.claim(6000, &off).unwrap().failed(6010, &failed(FailureKind::Server), &off, false);
        assert_eq!(health.standing(6010), Standing::Ready);
    }

    #[test]
    fn who_began_before_a_cooldown_has_no_say_after_it() {
        let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
        let [late, later, last, one] = [(); 4].map(|()| health.claim(1000, &member).unwrap());
        one.failed(1000, &failed(FailureKind::NotFound), &member, false);
        // Neither ends nor prolongs it.
        late.succeeded(2000, OK);
        later.failed(3000, &failed(FailureKind::Auth), &member, false);
        assert_eq!((health.standing(3000), health.reason()), (Standing::Cooling(6000), FailureKind::NotFound));
        let probe = health.claim(6000, &member).unwrap();
        drop(late);
        later.failed(6001, &failed(FailureKind::Auth), &member, false);
        later.succeeded(6002, OK);
        drop(later);
        assert_eq!(health.standing(6003), Standing::Cooling(6003 + SOON));
        probe.succeeded(6004, OK);
        last.failed(6005, &failed(FailureKind::Auth), &member, false);
        assert_eq!((health.standing(6005), health.busy()), (Standing::Ready, 3));
    }

    #[test]
    fn answers_that_break_off_are_failures_in_a_row_and_no_successes() {
        // The only deployment: every stream begins well, and none ends.
        for (alone, before, want) in [(true, 0, 4), (false, 0, 4), (false, 4, 4)] {
            let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
            let begin = |at| health.claim(at, &member).unwrap();
            (0..before).for_each(|_| begin(600_000).succeeded(600_000, OK));
            let cut = |at| {
                let attempt = begin(at);
                attempt.succeeded(at, OK);
                attempt.failed(at + 1, &failed(FailureKind::Cut), &member, alone);
            };
            (1..want).for_each(|_| cut(600_100));
            assert_eq!(health.successes.get(600_100 / MINUTE), before);
            assert_eq!(health.standing(600_102), Standing::Ready);
            cut(600_100);
            assert_eq!(health.standing(600_102), Standing::Cooling(605_101), "alone: {alone}, well before: {before}");
        }
    }

    #[test]
    fn a_rate_limit_ends_by_itself_and_an_empty_account_does_not() {
        for (status, want) in [(429, Standing::Ready), (402, Standing::Probe)] {
            let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
            let failed = Failed { status, ..failed(FailureKind::RateLimited) };
            health.claim(1, &member).unwrap().failed(1, &failed, &member, false);
            assert_eq!(health.standing(5001), want);
        }
    }

    #[test]
    fn only_one_of_many_threads_is_the_probe() {
        const THREADS: usize = 4;
        let (health, member) = tripped();
        let now = AtomicU64::new(6000);
        let barrier = std::sync::Barrier::new(THREADS);
        let probes = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 1..=500 {
                        barrier.wait();
                        let claimed = health.claim(now.load(Relaxed), &member);
                        probes.fetch_add(usize::from(claimed.is_some()), Relaxed);
                        if barrier.wait().is_leader() {
                            assert_eq!(probes.load(Relaxed), round);
                            assert_eq!(health.busy(), 1);
                        }
                        barrier.wait();
                        if let Some(probe) = claimed {
                            // Every other one just goes away.
                            if round % 2 == 0 {
                                probe.failed(now.load(Relaxed), &failed(FailureKind::Server), &member, false);
                                now.fetch_add(5000, Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!((health.busy(), probes.load(Relaxed)), (0, 500));
    }

    #[test]
    fn no_thread_gets_more_than_may_run_in_parallel() {
        let health = Arc::new(Health::default());
        let member = Member { parallel: Some(3), ..Member::default() };
        let (begun, most) = (AtomicUsize::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if let Some(attempt) = health.claim(1, &member) {
                            begun.fetch_add(1, Relaxed);
                            most.fetch_max(health.busy(), Relaxed);
                            thread::yield_now();
                            drop(attempt);
                        }
                    }
                });
            }
        });
        assert!(begun.load(Relaxed) >= 2000 && most.load(Relaxed) <= 3, "{begun:?} {most:?}");
        assert_eq!((health.busy(), health.requests(1)), (0, begun.load(Relaxed) as u64));
    }

    #[test]
    fn counts_begin_anew_with_the_minute_and_survive_a_clock_that_is_a_little_late() {
        let window = Window::default();
        assert_eq!((window.add(59_998, 2), window.add(59_999, 3)), (2, 5));
        assert_eq!((window.get(59_999 / MINUTE), window.get(60_000 / MINUTE)), (5, 0));
        assert_eq!(window.add(60_000, 7), 7);
        // A reading from before the minute's end that comes after it.
        assert_eq!((window.add(59_999, 1), window.get(60_001 / MINUTE), window.get(59_000 / MINUTE)), (8, 8, 8));
        assert_eq!(window.get(119_999 / MINUTE), 8);
        // The clock was set back, or on.
        assert_eq!((window.add(600_000_000, 1), window.get(1_000_000 / MINUTE)), (1, 0));
        assert_eq!((window.add(1_000_000, 4), window.get(1_000_000 / MINUTE)), (4, 4));
        assert_eq!((window.add(u64::MAX, 4), window.add(u64::MAX, u64::MAX)), (4, u64::from(u32::MAX)));

        // Three failures before the minute's end and one after it: not more than `allowed_fails` in either.
        let (health, member) =
            (Arc::new(Health::default()), member(Cooldown { allowed_fails: Some(3), ..Cooldown::default() }));
        for at in [59_000, 59_100, 59_200, 60_000, 60_100, 60_200] {
            health.claim(at, &member).unwrap().failed(at, &failed(FailureKind::Server), &member, false);
            assert_eq!(health.standing(at), Standing::Ready, "{at}");
        }
        health.claim(60_300, &member).unwrap().failed(60_300, &failed(FailureKind::Server), &member, false);
        assert_eq!(health.standing(60_300), Standing::Cooling(65_300));
    }

    #[test]
    fn requests_and_tokens_are_counted_by_the_minute() {
        let (health, member) = (Arc::new(Health::default()), Member::default());
        let attempt = health.claim(1000, &member).unwrap();
        attempt.succeeded(2000, Sample { latency: 1000, tokens: Some(30) });
        attempt.used(3000, 12);
        drop(health.claim(4000, &member));
        assert_eq!((health.requests(5000), health.tokens(5000)), (2, 42));
        assert_eq!((health.requests(60_000), health.tokens(60_000)), (0, 0));
    }

    #[test]
    fn latencies_are_a_mean_of_late_and_expire() {
        let (latency, ttl) = (Latency::default(), 10_000);
        assert_eq!(latency.get(0, ttl), None);
        latency.add(1000, 800);
        assert_eq!(latency.get(1000, ttl), Some(800 << 8));
        latency.add(2000, 1600);
        assert_eq!(latency.get(12_000, ttl), Some(900 << 8));
        // Ever since, it is as fast as this.
        for _ in 0..50 {
            latency.add(2000, 100);
        }
        assert!(latency.get(2000, ttl).is_some_and(|mean| (100 << 8..102 << 8).contains(&mean)));
        // A clock that was set back makes nothing old.
        assert!(latency.get(0, 0).is_some());
        assert_eq!(latency.get(12_001, ttl), None);
        latency.add(20_000, 500);
        assert_eq!(latency.get(20_000, ttl), Some(500 << 8));
        latency.add(20_000, u64::MAX);
        latency.add(20_000, 0);
        assert!(latency.get(20_000, ttl).is_some());

        let (health, member) = (Arc::new(Health::default()), Member::default());
        let attempt = health.claim(1, &member).unwrap();
        attempt.failed(1, &failed(FailureKind::Server), &member, false);
        assert_eq!(health.latency(1, ttl), None);
        attempt.failed(1, &failed(FailureKind::Timeout), &member, false);
        assert_eq!(health.latency(1, ttl), Some(60_000 << 8));
    }

    #[test]
    fn a_state_is_one_word() {
        for (number, reason) in State::REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            for (half_open, probing, round, until) in [
                (false, false, 0, 0),
                (true, false, 1, State::LAST),
                (true, true, State::ROUNDS, 1),
                (false, true, 9, 77),
            ] {
                let state = State { until, reason, half_open, probing, round };
                assert_eq!(State::read(state.word()), state);
            }
        }
        let last = State { round: State::ROUNDS, ..State::read(0) };
        assert_eq!((last.next_round(), State::read(0).standing(u64::MAX)), (0, Standing::Ready));
    }

    #[test]
    fn whatever_the_clock_does_attempts_end_and_cooldowns_pass() {
        let mut number = 7_u64;
        let mut next = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % below
        };
        let (health, member) = (Arc::new(Health::default()), member(Cooldown::default()));
        let mut under_way: Vec<Attempt> = Vec::new();
        let (mut cooled, mut probed) = (0, 0);
        for _ in 0..20_000 {
            let now = match next(10) {
                0 => 0,
                1 => u64::MAX,
                _ => next(200_000),
            };
            match (health.standing(now), health.claim(now, &member)) {
                (Standing::Cooling(until), claimed) => {
                    assert!(claimed.is_none() && until >= now);
                    cooled += 1;
                }
                (Standing::Probe, claimed) => {
                    probed += 1;
                    under_way.extend(Some(claimed.unwrap()));
                    assert!(health.claim(now, &member).is_none());
                }
                (Standing::Ready, claimed) => under_way.push(claimed.unwrap()),
            }
            if next(3) > 0 && !under_way.is_empty() {
                let attempt = under_way.swap_remove(usize::try_from(next(under_way.len() as u64)).unwrap());
                match next(4) {
                    0 => attempt.succeeded(now, Sample { latency: next(u64::MAX), tokens: Some(next(u64::MAX)) }),
                    1 => {}
                    _ => {
                        let kind = State::REASONS[usize::try_from(next(11)).unwrap()];
                        let retry_after = Some(next(u64::MAX)).filter(|_| kind == FailureKind::RateLimited);
                        attempt.failed(now, &Failed { retry_after, ..failed(kind) }, &member, false);
                    }
                }
            }
            assert_eq!(health.busy() as usize, under_way.len());
            let _ = (health.latency(now, 1000), health.tokens(now), health.requests(now));
        }
        assert!(cooled > 1000 && probed > 100, "{cooled} {probed}");
        drop(under_way);
        assert_eq!(health.busy(), 0);
        assert!(!matches!(health.standing(u64::MAX), Standing::Cooling(_)));
    }
}
