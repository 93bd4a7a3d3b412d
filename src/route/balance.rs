//! Which deployment of a group takes a request. One look at each member, no allocation, no locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::counts::MINUTE;
use super::health::{Health, SOON, Standing};
use super::rules::{Member, Millis, Strategy, StrategyArgs};
use crate::wire::FailureKind;

/// Where the round of a group began (`round-robin`): at random, so that many instances are even from their first requests on.
/// Whose turn it is after that, the members' [`Health`]s know.
#[derive(Debug, Default)]
pub struct Turn(AtomicU64);

/// What a choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The group's deployments.
    pub members: &'a [Member],
    /// The state of all deployments, by [`Member::place`].
    pub health: &'a [Arc<Health>],
    /// The strategy.
    pub strategy: Strategy,
    /// Its arguments.
    pub args: StrategyArgs,
    /// Whose turn it is.
    pub turn: &'a Turn,
}

/// Why nobody could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// When the first may be ready again, as far as anybody knows. `None` if nobody was allowed at all.
    pub soonest: Option<Millis>,
    /// Why: what failed where that one cools down, and [`FailureKind::RateLimited`] if any is merely [`full`](Self::full).
    pub reason: FailureKind,
    /// Somebody is well and has reached `max_parallel_requests`, or `rpm` or `tpm` under a strategy that keeps to them.
    pub full: bool,
}

/// The best so far.
struct Best {
    order: u32,
    key: u64,
    /// The weights of all that are as good.
    sum: u64,
    place: usize,
}

/// Races for a turn that are lost before a member is taken twice.
const PATIENCE: usize = 4;

impl Choice<'_> {
    /// Chooses among the members that `may` names (by their place in the group): of those that are ready, the ones of the
    /// lowest `order`; of these, the one that the strategy prefers. `None` if none is ready, which
    /// [`why_none`](Self::why_none) explains. `seed` is uniform in `u64`. A choice is a turn taken (`round-robin`), so it is
    /// not made unless it is used.
    #[must_use]
    pub fn choose(&self, may: &dyn Fn(usize) -> bool, now: Millis, seed: u64) -> Option<usize> {
        match self.strategy {
            Strategy::RoundRobin => self.next_in_turn(may, now, seed),
            Strategy::LatencyBased => {
                let fastest = self.best(may, now, seed)?;
                let slack = fastest.key.saturating_mul(u64::from(self.args.buffer)) / 1000;
                Some(if slack == 0 { fastest.place } else { self.fast_one(may, now, seed, &fastest, slack) })
            }
            Strategy::SimpleShuffle
            | Strategy::FirstAvailable
            | Strategy::Random
            | Strategy::LeastBusy
            | Strategy::CostBased
            | Strategy::UsageBased => self.best(may, now, seed).map(|best| best.place),
        }
    }

    /// Why [`choose`](Self::choose) found nobody.
    #[must_use]
    pub fn why_none(&self, may: &dyn Fn(usize) -> bool, now: Millis) -> Shortage {
        let mut soonest: Option<Millis> = None;
        let mut reason = FailureKind::Overloaded;
        let mut full = false;
        for (place, member) in self.members.iter().enumerate() {
            let Some(health) = self.health.get(member.place).filter(|_| may(place)) else { continue };
            let (when, why) = match health.standing(now) {
                Standing::Cooling(until) => (until, health.reason()),
                Standing::Ready | Standing::Probe => {
                    full = true;
                    let wait = if self.keeps_limits() && health.is_used_up(now / MINUTE, member) {
                        MINUTE - now % MINUTE
                    } else {
                        SOON
                    };
                    (now.saturating_add(wait), FailureKind::RateLimited)
                }
            };
            if soonest.is_none_or(|soonest| when < soonest) {
                (soonest, reason) = (Some(when), why);
            }
        }
        Shortage { soonest, reason: if full { FailureKind::RateLimited } else { reason }, full }
    }

    /// The best of those that can be called. Members with equal keys share by weight.
    fn best(&self, may: &dyn Fn(usize) -> bool, now: Millis, seed: u64) -> Option<Best> {
        let mut best = Best { order: u32::MAX, key: u64::MAX, sum: 0, place: 0 };
        let (limited, start) = (self.keeps_limits(), self.start(seed));
        for (place, member) in self.members.iter().enumerate() {
            if member.order > best.order || !may(place) {
                continue;
            }
            let Some(health) = self.health.get(member.place) else { continue };
            // Keys are cheaper than what follows, and most members lose by them.
            let key = self.key(place, member, health, now, start);
            let better = member.order < best.order || key < best.key;
            if (!better && key > best.key) || !is_open(member, health, now, limited) {
                continue;
            }
            let weight = if self.strategy == Strategy::SimpleShuffle { u64::from(member.weight.max(1)) } else { 1 };
            if better {
                best = Best { order: member.order, key, sum: weight, place };
                continue;
            }
            // Each of those that came so far stays with the share that its weight has among them.
            best.sum += weight;
            if below(seed, place, best.sum) < weight {
                best.place = place;
            }
        }
        (best.sum > 0).then_some(best)
    }

    /// One of those that are slower than the fastest by no more than the slack.
    fn fast_one(&self, may: &dyn Fn(usize) -> bool, now: Millis, seed: u64, fastest: &Best, slack: u64) -> usize {
        let limit = fastest.key.saturating_add(slack);
        let (mut chosen, mut count) = (fastest.place, 0);
        for (place, member) in self.members.iter().enumerate() {
            let Some(health) = self.health.get(member.place) else { continue };
            let fast = health.is_fast(limit, now, self.args.ttl);
            if fast && member.order == fastest.order && may(place) && is_open(member, health, now, true) {
                count += 1;
                if below(seed, place, count) == 0 {
                    chosen = place;
                }
            }
        }
        chosen
    }

    /// What the strategy goes by: the lowest wins.
    fn key(&self, place: usize, member: &Member, health: &Health, now: Millis, start: usize) -> u64 {
        match self.strategy {
            // No weight beside others that have one is no share; among themselves they are all alike.
            Strategy::SimpleShuffle => u64::from(member.weight == 0),
            Strategy::FirstAvailable => place as u64,
            Strategy::RoundRobin => self.turn_key(place, health, start),
            Strategy::Random => 0,
            Strategy::LeastBusy => u64::from(health.busy()),
            // Who is unknown comes first, and so becomes known.
            Strategy::LatencyBased => health.latency(now, self.args.ttl).unwrap_or(0),
            Strategy::CostBased => member.cost.unwrap_or(u64::MAX),
            Strategy::UsageBased => health.tokens(now),
        }
    }

    /// Whether the strategy keeps to `rpm` and `tpm`. Only three do, as in litellm; for `simple-shuffle` they are weights.
    fn keeps_limits(&self) -> bool {
        match self.strategy {
            Strategy::LatencyBased | Strategy::CostBased | Strategy::UsageBased => true,
            Strategy::SimpleShuffle
            | Strategy::FirstAvailable
            | Strategy::RoundRobin
            | Strategy::Random
            | Strategy::LeastBusy => false,
        }
    }

    /// Whoever had no turn for the longest time. A round that just goes on to the next place would starve members where
    /// requests differ in who can take them.
    fn next_in_turn(&self, may: &dyn Fn(usize) -> bool, now: Millis, seed: u64) -> Option<usize> {
        let mut place = None;
        for _ in 0..PATIENCE {
            let best = self.best(may, now, seed)?;
            place = Some(best.place);
            // Members outlive a configuration, and its numbers: the next turn is the one after all that any of them had.
            let turns = self.members.iter().filter_map(|member| self.health.get(member.place));
            let next = turns.map(|health| health.turn()).max().unwrap_or(0).saturating_add(1);
            let health = self.members.get(best.place).and_then(|member| self.health.get(member.place))?;
            if health.take_turn(best.key / self.members.len().max(1) as u64, next) {
                break;
            }
        }
        place
    }

    /// Turns first, and where they are the same, the places from the start on.
    fn turn_key(&self, place: usize, health: &Health, start: usize) -> u64 {
        let count = self.members.len().max(1);
        let distance = place + if place < start { count } else { 0 } - start;
        health.turn().saturating_mul(count as u64).saturating_add(distance as u64)
    }

    /// The place at which the round began.
    fn start(&self, seed: u64) -> usize {
        if self.strategy != Strategy::RoundRobin {
            return 0;
        }
        let mut first = self.turn.0.load(Relaxed);
        if first == 0 {
            // The upper half counts; the last bit says that there is one.
            first =
                self.turn.0.compare_exchange(0, seed | 1, Relaxed, Relaxed).map_or_else(|first| first, |_| seed | 1);
        }
        usize::try_from((first >> 32) % self.members.len().max(1) as u64).unwrap_or(0)
    }
}

/// Whether a member can be called now; `limited`, if `rpm` and `tpm` count.
#[inline]
fn is_open(member: &Member, health: &Health, now: Millis, limited: bool) -> bool {
    health.is_open(now)
        && member.parallel.is_none_or(|most| health.busy() < most)
        && !(limited && health.is_used_up(now / MINUTE, member))
}

/// A number below `limit`, for each place another one from the same seed (`SplitMix64`).
#[inline]
fn below(seed: u64, place: usize, limit: u64) -> u64 {
    let mut number = seed.wrapping_add((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^= number >> 31;
    u64::try_from((u128::from(number) * u128::from(limit)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::health::{Attempt, Failed, Sample};
    use super::*;

    const STRATEGIES: [Strategy; 8] = [
        Strategy::SimpleShuffle,
        Strategy::FirstAvailable,
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::LeastBusy,
        Strategy::LatencyBased,
        Strategy::CostBased,
        Strategy::UsageBased,
    ];
    const CHOICES: usize = 10_000;
    const NOW: Millis = 1000;

    /// A group, and seeds one after the other.
    struct Group {
        members: Vec<Member>,
        health: Vec<Arc<Health>>,
        turn: Turn,
        strategy: Strategy,
        args: StrategyArgs,
        seed: u64,
    }

    impl Group {
        fn new(strategy: Strategy, members: Vec<Member>) -> Self {
            // Places of other groups' members lie between, so that a place in the group is not taken for one among all.
            let members: Vec<Member> = members
                .into_iter()
                .enumerate()
                .map(|(place, member)| Member { place: 3 * place + 2, ..member })
                .collect();
            let health = (0..3 * members.len()).map(|_| Arc::default()).collect();
            Self { members, health, turn: Turn::default(), strategy, args: StrategyArgs::default(), seed: 1 }
        }

        fn of(strategy: Strategy, count: usize) -> Self {
            Self::new(strategy, vec![Member::default(); count])
        }

        fn choice(&self) -> Choice<'_> {
            let Self { members, health, turn, strategy, args, .. } = self;
            Choice { members, health, strategy: *strategy, args: *args, turn }
        }

        fn random(&mut self) -> u64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The upper half of two, since the lower bits of this generator are poor.
            let upper = self.seed >> 32;
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            upper << 32 | self.seed >> 32
        }

        fn choose_at(&mut self, may: &dyn Fn(usize) -> bool, now: Millis) -> Option<usize> {
            let seed = self.random();
            self.choice().choose(may, now, seed)
        }

        fn choose(&mut self) -> Option<usize> {
            self.choose_at(&|_| true, NOW)
        }

        fn health(&self, place: usize) -> &Arc<Health> {
            &self.health[self.members[place].place]
        }

        fn claim(&self, place: usize) -> Attempt {
            self.health(place).claim(NOW, &self.members[place]).unwrap()
        }

        fn was(&self, place: usize, latency: Millis, tokens: u64) {
            self.claim(place).succeeded(NOW, Sample { latency, tokens: Some(tokens) });
        }

        fn fail(&self, place: usize, kind: FailureKind) {
            let failed = Failed { kind, status: 401, retry_after: None };
            self.claim(place).failed(NOW, &failed, &self.members[place], false);
        }

        /// The share that each member had of many choices.
        fn shares(&mut self) -> Vec<f64> {
            let mut counts = vec![0; self.members.len()];
            for _ in 0..CHOICES {
                counts[self.choose().unwrap()] += 1;
            }
            shares(&counts)
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn shares(counts: &[usize]) -> Vec<f64> {
        let sum = counts.iter().sum::<usize>() as f64;
        counts.iter().map(|count| *count as f64 / sum).collect()
    }

    #[track_caller]
    fn near(shares: &[f64], want: &[f64]) {
        assert_eq!(shares.len(), want.len());
        let near = shares.iter().zip(want).all(|(share, want)| (share - want).abs() < 0.02);
        assert!(near, "{shares:?}, not {want:?}");
        let none = shares.iter().zip(want).all(|(share, want)| *share == 0.0 || *want > 0.0);
        assert!(none, "{shares:?}, not {want:?}");
    }

    fn weighing(weights: &[u32]) -> Vec<Member> {
        weights.iter().map(|weight| Member { weight: *weight, ..Member::default() }).collect()
    }

    #[test]
    fn simple_shuffle_goes_by_weight() {
        for (weights, want) in [
            (vec![9, 1], vec![0.9, 0.1]),
            (vec![0, 3, 1, 0], vec![0.0, 0.75, 0.25, 0.0]),
            (vec![0, 0, 0], vec![1.0 / 3.0; 3]),
            (vec![u32::MAX, u32::MAX, 1], vec![0.5, 0.5, 0.000_000_1]),
            (vec![1000; 100], vec![0.01; 100]),
            (vec![5], vec![1.0]),
        ] {
            near(&Group::new(Strategy::SimpleShuffle, weighing(&weights)).shares(), &want);
        }
        // Who is cooling down leaves its share to the others.
        let mut group = Group::new(Strategy::SimpleShuffle, weighing(&[6, 3, 1]));
        group.fail(0, FailureKind::Auth);
        near(&group.shares(), &[0.0, 0.75, 0.25]);
    }

    #[test]
    fn simple_shuffle_is_no_pattern() {
        // Each pair of choices as often as its parts say: nothing is known of a choice from the one before.
        let mut group = Group::of(Strategy::SimpleShuffle, 3);
        let mut pairs = [0; 9];
        let mut last = group.choose().unwrap();
        for _ in 0..CHOICES {
            let next = group.choose().unwrap();
            pairs[3 * last + next] += 1;
            last = next;
        }
        near(&shares(&pairs), &[1.0 / 9.0; 9]);
    }

    #[test]
    fn random_minds_no_weight() {
        near(&Group::new(Strategy::Random, weighing(&[9, 1, 0, 5])).shares(), &[0.25; 4]);
    }

    #[test]
    fn the_lowest_order_that_has_a_ready_member_goes_first() {
        for strategy in STRATEGIES {
            // Whoever comes later in `order` is better by everything else.
            let member = |order, cost| Member { order, weight: 10 * order, cost: Some(cost), ..Member::default() };
            let mut group = Group::new(strategy, vec![member(2, 1), member(1, 9), member(3, 0), member(1, 9)]);
            group.was(1, 900, 1000);
            group.was(3, 900, 1000);
            let _busy = [group.claim(1), group.claim(3)];
            let half = if strategy == Strategy::FirstAvailable { [0.0, 1.0, 0.0, 0.0] } else { [0.0, 0.5, 0.0, 0.5] };
            near(&group.shares(), &half);
            group.fail(1, FailureKind::Auth);
            near(&group.shares(), &[0.0, 0.0, 0.0, 1.0]);
            group.fail(3, FailureKind::Auth);
            near(&group.shares(), &[1.0, 0.0, 0.0, 0.0]);
            assert_eq!(group.choose_at(&|place| place == 2, NOW), Some(2), "{strategy:?}");
            assert_eq!(group.choose_at(&|_| false, NOW), None);
        }
    }

    #[test]
    fn first_available_is_the_first_of_the_list() {
        let mut group = Group::of(Strategy::FirstAvailable, 3);
        near(&group.shares(), &[1.0, 0.0, 0.0]);
        group.fail(0, FailureKind::NotFound);
        near(&group.shares(), &[0.0, 1.0, 0.0]);
        // One goes back to find out, and no other meanwhile.
        assert_eq!(group.choose_at(&|_| true, 6000), Some(0));
        let probe = group.health(0).claim(6000, &group.members[0]).unwrap();
        assert_eq!(group.choose_at(&|_| true, 6000), Some(1));
        probe.succeeded(6000, Sample::default());
        assert_eq!(group.choose_at(&|_| true, 6000), Some(0));
    }

    #[test]
    fn round_robin_is_even_to_the_last_choice() {
        let mut group = Group::of(Strategy::RoundRobin, 3);
        let start = group.choose().unwrap();
        for turn in 1..CHOICES {
            assert_eq!(group.choose(), Some((start + turn) % 3));
        }
    }

    #[test]
    fn round_robin_begins_anywhere() {
        let mut group = Group::of(Strategy::RoundRobin, 4);
        let mut counts = [0; 4];
        for _ in 0..CHOICES {
            group.turn = Turn::default();
            group.health.iter_mut().for_each(|health| *health = Arc::default());
            counts[group.choose().unwrap()] += 1;
        }
        near(&shares(&counts), &[0.25; 4]);
    }

    #[test]
    fn round_robin_is_even_among_those_that_are_there() {
        // One is away for the middle third: its neighbours do not inherit its turns.
        let mut group = Group::of(Strategy::RoundRobin, 4);
        let mut counts = [[0; 4]; 3];
        for third in 0..3 {
            for _ in 0..CHOICES / 3 {
                counts[third][group.choose_at(&|place| third != 1 || place != 1, NOW).unwrap()] += 1;
            }
        }
        near(&shares(&counts[0]), &[0.25; 4]);
        near(&shares(&counts[1]), &[1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0]);
        near(&shares(&counts[2]), &[0.25; 4]);

        // Requests take turns in who can take them: nobody starves, as he would with a hand that just moves on.
        let mut group = Group::of(Strategy::RoundRobin, 3);
        let mut counts = [0; 3];
        for turn in 0..CHOICES {
            let may = |place: usize| if turn % 2 == 0 { place < 2 } else { place > 0 };
            counts[group.choose_at(&may, NOW).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| *count >= CHOICES / 4), "{counts:?}");
    }

    #[test]
    fn round_robin_outlives_a_new_configuration() {
        let mut group = Group::of(Strategy::RoundRobin, 3);
        near(&group.shares(), &[1.0 / 3.0; 3]);
        // The turns that members had stay, in another list with new members beside them.
        group.turn = Turn::default();
        group.members.insert(1, Member { place: 0, ..Member::default() });
        let mut counts = [0; 4];
        for _ in 0..40 {
            counts[group.choose().unwrap()] += 1;
        }
        assert_eq!(counts, [10; 4]);
    }

    #[test]
    fn round_robin_is_even_among_threads() {
        let group = Group::of(Strategy::RoundRobin, 5);
        let counts: Vec<AtomicU64> = (0..5).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (group, counts) = (&group, &counts);
                scope.spawn(move || {
                    for seed in 0..CHOICES as u64 / 4 {
                        let place = group.choice().choose(&|_| true, NOW, seed << 32 | thread).unwrap();
                        counts[place].fetch_add(1, Relaxed);
                    }
                });
            }
        });
        let counts: Vec<usize> = counts.iter().map(|count| usize::try_from(count.load(Relaxed)).unwrap()).collect();
        assert_eq!(counts.iter().sum::<usize>(), CHOICES);
        near(&shares(&counts), &[0.2; 5]);
    }

    #[test]
    fn least_busy_gives_the_fast_ones_more() {
        let mut group = Group::of(Strategy::LeastBusy, 3);
        near(&group.shares(), &[1.0 / 3.0; 3]);
        let busy = group.claim(1);
        near(&group.shares(), &[0.5, 0.0, 0.5]);
        drop(busy);
        // One request at a time comes and stays: equally many at each means that who takes half the time gets twice as many.
        let mut under_way: Vec<(usize, Attempt)> = Vec::new();
        let mut counts = [0; 3];
        for step in 0..CHOICES {
            under_way.retain(|(until, _)| *until > step);
            let place = group.choose().unwrap();
            counts[place] += 1;
            under_way.push((step + [100, 200, 200][place], group.claim(place)));
        }
        near(&shares(&counts), &[0.5, 0.25, 0.25]);
    }

    #[test]
    fn latency_based_takes_one_of_the_fastest() {
        let mut group = Group::of(Strategy::LatencyBased, 4);
        for (place, latency) in [(0, 1100), (1, 1000), (3, 1101)] {
            group.was(place, latency, 0);
        }
        // Nobody knows the third, so it is tried; nobody may be as fast.
        near(&group.shares(), &[0.0, 0.0, 1.0, 0.0]);
        group.was(2, 5000, 0);
        near(&group.shares(), &[0.0, 1.0, 0.0, 0.0]);
        group.args.buffer = 100;
        near(&group.shares(), &[0.5, 0.5, 0.0, 0.0]);
        group.args.buffer = 4000;
        near(&group.shares(), &[0.25; 4]);
        group.args.buffer = u32::MAX;
        near(&group.shares(), &[0.25; 4]);
        // All that was known is of yesterday.
        group.args.buffer = 0;
        assert!(group.choose_at(&|_| true, NOW + group.args.ttl + 1).is_some());
        group.was(0, 1, 0);
        near(&group.shares(), &[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
    }

    #[test]
    fn cost_based_takes_the_cheapest() {
        let cost = |cost| Member { cost, ..Member::default() };
        let costs = vec![cost(None), cost(Some(5)), cost(Some(3)), cost(Some(3))];
        let mut group = Group::new(Strategy::CostBased, costs);
        near(&group.shares(), &[0.0, 0.0, 0.5, 0.5]);
        group.fail(2, FailureKind::Auth);
        group.fail(3, FailureKind::Auth);
        near(&group.shares(), &[0.0, 1.0, 0.0, 0.0]);
        group.fail(1, FailureKind::Auth);
        near(&group.shares(), &[1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn usage_based_spreads_tokens() {
        let mut group = Group::of(Strategy::UsageBased, 3);
        near(&group.shares(), &[1.0 / 3.0; 3]);
        // Answers of the first are twice as long, so it has half as many.
        let mut counts = [0; 3];
        for _ in 0..CHOICES {
            let place = group.choose().unwrap();
            counts[place] += 1;
            group.was(place, 10, if place == 0 { 200 } else { 100 });
        }
        near(&shares(&counts), &[0.2, 0.4, 0.4]);
        assert_eq!(group.choose_at(&|place| place == 0, 60_000), Some(0), "a new minute");
    }

    #[test]
    fn what_a_minute_allows_is_kept_where_litellm_keeps_it() {
        for (strategy, keeps) in [
            (Strategy::SimpleShuffle, false),
            (Strategy::FirstAvailable, false),
            (Strategy::RoundRobin, false),
            (Strategy::Random, false),
            (Strategy::LeastBusy, false),
            (Strategy::LatencyBased, true),
            (Strategy::CostBased, true),
            (Strategy::UsageBased, true),
        ] {
            for limits in [
                Member { rpm: Some(3), ..Member::default() },
                Member { tpm: Some(300), ..Member::default() },
                Member { rpm: Some(0), ..Member::default() },
            ] {
                let mut group = Group::new(strategy, vec![limits.clone()]);
                for _ in 0..limits.rpm.unwrap_or(3) {
                    assert_eq!(group.choose(), Some(0), "{strategy:?} {limits:?}");
                    group.was(0, 10, 100);
                }
                assert_eq!(group.choose().is_none(), keeps, "{strategy:?} {limits:?}");
                if keeps {
                    let why = group.choice().why_none(&|_| true, NOW);
                    let want = Shortage { soonest: Some(60_000), reason: FailureKind::RateLimited, full: true };
                    assert_eq!(why, want);
                    assert_eq!(group.choose_at(&|_| true, 60_000).is_some(), limits.rpm != Some(0));
                }
            }
        }
    }

    #[test]
    fn whoever_is_full_is_passed_over_by_every_strategy() {
        for strategy in STRATEGIES {
            let member = Member { parallel: Some(2), ..Member::default() };
            let mut group = Group::new(strategy, vec![member.clone(), member]);
            let mut taken = Vec::new();
            while let Some(place) = group.choose() {
                taken.push((place, group.claim(place)));
            }
            assert_eq!(taken.iter().filter(|(place, _)| *place == 0).count(), 2, "{strategy:?}");
            assert_eq!(taken.len(), 4, "{strategy:?}");
            let (place, _) = taken.remove(1);
            assert_eq!(group.choose(), Some(place));
        }
    }

    #[test]
    fn a_shortage_says_why_and_until_when() {
        let cooldown = |time| super::super::rules::Cooldown { time, ..Default::default() };
        let member = |time, parallel| Member { cooldown: cooldown(time), parallel, ..Member::default() };
        let mut group =
            Group::new(Strategy::SimpleShuffle, vec![member(9000, None), member(4000, None), member(100, Some(1))]);
        group.fail(0, FailureKind::Auth);
        group.fail(1, FailureKind::NotFound);
        let why = |may: &dyn Fn(usize) -> bool, group: &Group| group.choice().why_none(may, NOW);
        let shortage = |soonest, reason, full| Shortage { soonest, reason, full };
        assert_eq!(why(&|place| place < 2, &group), shortage(Some(NOW + 4000), FailureKind::NotFound, false));
        assert_eq!(why(&|place| place < 1, &group), shortage(Some(NOW + 9000), FailureKind::Auth, false));
        assert_eq!(why(&|_| false, &group), shortage(None, FailureKind::Overloaded, false));
        let _full = group.claim(2);
        assert_eq!(group.choose(), None);
        assert_eq!(why(&|_| true, &group), shortage(Some(NOW + SOON), FailureKind::RateLimited, true));
    }

    #[test]
    fn choosing_allocates_nothing() {
        let mut group = Group::new(Strategy::SimpleShuffle, weighing(&[1; 100]));
        for strategy in STRATEGIES {
            group.strategy = strategy;
            let seed = group.random();
            let choice = group.choice();
            let used = allocation_counter::measure(|| {
                assert!(choice.choose(&|place| place != 7, NOW, seed).is_some());
                assert_ne!(choice.why_none(&|_| true, NOW).soonest, None);
            });
            assert_eq!(used.count_total, 0, "{strategy:?}");
        }
    }
}
