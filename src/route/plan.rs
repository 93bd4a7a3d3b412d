//! The attempt machine: what is done first, and what after a failure. It calls nobody and knows no clock: whoever drives it says
//! what happened, when, and how much time is left.
//!
//! ```text
//! Plan::new → enter(group) → next → Try ── failed ──→ next → Try …            within the group, `Retries`
//!                                                      └───→ Fall(name) → enter(group) → next → Try …    `Fallbacks`
//!                                                      └───→ Stop
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::balance::{Choice, Shortage};
use super::health::{Failed, Health};
use super::rules::{Class, Fallbacks, Millis, Pool, StrategyArgs};
use crate::wire::FailureKind;

/// The longest wait that grows by itself.
const BACKOFF_LIMIT: Millis = 8000;
/// Its first bound; it doubles with each retry.
const BACKOFF_START: Millis = 500;
/// The longest `Retry-After` that is waited for where there is nowhere else to go; litellm's and the SDKs' bound.
const PATIENCE: Millis = 60_000;

/// Everything that a configuration says about routing, and what this instance has learned.
#[derive(Debug, Default)]
pub struct Router {
    /// The model groups.
    pub pools: Vec<Pool>,
    /// The state of all deployments, by [`super::rules::Member::place`].
    pub health: Vec<Arc<Health>>,
    /// Which groups stand in for which.
    pub fallbacks: Fallbacks,
    /// What the strategies need.
    pub args: StrategyArgs,
}

/// What a request asks of its own plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// In place of all rules about how often is tried again.
    pub retries: Option<u32>,
    /// In place of the configured fallbacks.
    pub fallbacks: Option<Vec<String>>,
    /// No fallbacks at all.
    pub no_fallbacks: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call this deployment of the present group, after a wait.
    Try {
        /// Its place in the group.
        member: usize,
        /// How long to wait before.
        wait: Millis,
    },
    /// Go on with the group of this name: [`Plan::enter`] it, or ask for the next step if it cannot take the request.
    Fall(String),
    /// Nothing is left to try: the last failure is the answer, or, where no attempt was made at all, this: why nobody could be
    /// called in the first group of which that is known, and when anybody can be.
    Stop(Option<Shortage>),
}

/// The plan of one request.
#[derive(Debug)]
pub struct Plan<'a> {
    router: &'a Router,
    wishes: Wishes,
    stage: Option<Stage<'a>>,
    /// Those before it.
    left: Vec<Stage<'a>>,
    last: Option<FailureKind>,
    to_come: VecDeque<String>,
    /// Names of groups that had their turn, or will have it.
    seen: Vec<String>,
    fallbacks: u32,
    /// Those of them that could take the request.
    stood_in: u32,
    retries: u32,
    shortage: Option<Shortage>,
}

/// The group that is being tried.
#[derive(Debug)]
struct Stage<'a> {
    name: String,
    pool: &'a Pool,
    /// Who can take the request.
    may: Vec<bool>,
    /// Who can take it where nobody else is left.
    spare: Vec<bool>,
    /// Who could not be told what the request asks for.
    unfit: Vec<usize>,
    tried: Vec<bool>,
    attempts: u32,
    /// Who was called first.
    first: Option<usize>,
    /// Nobody in it can help.
    over: bool,
}

impl<'a> Plan<'a> {
    /// A plan in which nothing was tried yet.
    #[must_use]
    pub fn new(router: &'a Router, wishes: Wishes) -> Self {
        Self {
            router,
            wishes,
            stage: None,
            left: Vec::new(),
            last: None,
            to_come: VecDeque::new(),
            seen: Vec::new(),
            fallbacks: 0,
            stood_in: 0,
            retries: 0,
            shortage: None,
        }
    }

    /// The present group is now the one at `pool`, which the request or a fallback calls `name`. `may` says of each of its
    /// members whether it can take the request.
    pub fn enter(&mut self, name: &str, pool: usize, may: Vec<bool>) {
        self.see(name);
        let last = self.last.take();
        let Some(pool) = self.router.pools.get(pool) else { return };
        self.see(&pool.name);
        self.left.extend(self.stage.take());
        // It had its turn under another name; what stands in for it under this one has not.
        let over = self.left.iter().any(|stage| stage.was(pool, &may));
        if over {
            self.queue([name, &pool.name], last.unwrap_or(FailureKind::Overloaded));
        } else {
            self.stood_in += u32::from(self.fallbacks > 0);
        }
        let (tried, spare, unfit) = (vec![false; may.len()], vec![false; may.len()], Vec::new());
        self.stage =
            Some(Stage { name: name.to_owned(), pool, may, spare, unfit, tried, attempts: 0, first: None, over });
    }

    /// This member of the present group can take the request as well, though not as well as the others: it is for when
    /// nobody else is left.
    pub fn spare(&mut self, member: usize) {
        if let Some(spare) = self.stage.as_mut().and_then(|stage| stage.spare.get_mut(member)) {
            *spare = true;
        }
    }

    /// Whether no other group would take the request if nobody in this one can, by either of its names.
    #[must_use]
    pub fn alone(&self, name: &str, group: &str) -> bool {
        let named = match &self.wishes.fallbacks {
            Some(names) => self.fallbacks == 0 && !names.is_empty(),
            None => !self.router.fallbacks.of([name, group], FailureKind::NotFound).is_empty(),
        };
        self.to_come.is_empty() && (self.wishes.no_fallbacks || !named)
    }

    /// The request cannot go to `group`, which it calls `name`, for this reason; its fallbacks may still take it.
    pub fn refuse(&mut self, name: &str, group: &str, kind: FailureKind) {
        self.see(name);
        self.see(group);
        self.last = Some(kind);
        self.left.extend(self.stage.take());
        self.queue([name, group], kind);
    }

    /// Nobody knows the model: `default_fallbacks` may take the request.
    pub fn unknown(&mut self, name: &str) {
        self.see(name);
        self.last = Some(FailureKind::NotFound);
        if !self.wishes.no_fallbacks {
            let names = self.wishes.fallbacks.as_ref().unwrap_or(&self.router.fallbacks.default);
            self.to_come.extend(names.iter().cloned());
        }
    }

    /// The attempt that was the last step is not made: somebody else took the deployment's place.
    pub fn missed(&mut self, member: usize) {
        if let Some(stage) = &mut self.stage {
            stage.attempts = stage.attempts.saturating_sub(1);
            self.retries -= u32::from(stage.attempts > 0).min(self.retries);
            if let Some(tried) = stage.tried.get_mut(member) {
                *tried = false;
            }
        }
    }

    /// The attempt that was the last step is not made: this deployment cannot be told what the request asks for.
    pub fn unfit(&mut self, member: usize) {
        self.missed(member);
        if let Some(stage) = &mut self.stage {
            for list in [&mut stage.may, &mut stage.spare] {
                list.get_mut(member).into_iter().for_each(|may| *may = false);
            }
            stage.unfit.push(member);
        }
    }

    /// How many attempts were repeated within a group.
    #[must_use]
    pub fn retried(&self) -> u32 {
        self.retries
    }

    /// How many groups stood in for the first.
    #[must_use]
    pub fn fell_back(&self) -> u32 {
        self.stood_in
    }

    /// What to do next, `failed` being how the last attempt ended and `left` the time that the request has. `seed` is uniform
    /// in `u64`.
    pub fn next(&mut self, failed: Option<Failed>, now: Millis, left: Millis, seed: u64) -> Step {
        // A conflict (409) is the upstream's affair, though its status is one of the request's.
        let kind = failed.map(|failed| if failed.status == 409 { FailureKind::Overloaded } else { failed.kind });
        self.last = kind.or(self.last);
        if let Some(stage) = self.stage.as_mut().filter(|stage| !stage.over) {
            let elsewhere = !self.wishes.no_fallbacks
                && kind.is_some_and(|kind| falls_back(&self.router.fallbacks, kind))
                && kind.is_some_and(|kind| {
                    let names = self.wishes.fallbacks.as_deref();
                    let own = [stage.name.as_str(), &stage.pool.name];
                    let names = names.unwrap_or_else(|| self.router.fallbacks.of(own, kind));
                    names.iter().any(|name| !self.seen.contains(name))
                });
            let time = Time { now, left, seed, elsewhere: elsewhere || !self.to_come.is_empty() };
            match stage.next(self.router, failed.as_ref(), self.wishes.retries, &time) {
                Ok((member, wait)) => {
                    self.retries += u32::from(stage.attempts > 0);
                    if stage.attempts == 0 {
                        stage.first = Some(member);
                    }
                    stage.attempts += 1;
                    if let Some(tried) = stage.tried.get_mut(member) {
                        *tried = true;
                    }
                    return Step::Try { member, wait };
                }
                Err(why) => {
                    stage.over = true;
                    let (name, pool) = (stage.name.clone(), stage.pool);
                    let kind = self.last.or(why.map(|why| why.reason)).unwrap_or(FailureKind::Overloaded);
                    let shortage = why.filter(|_| stage.attempts == 0);
                    self.short(shortage);
                    self.queue([&name, &pool.name], kind);
                }
            }
        }
        match self.to_come.pop_front() {
            Some(name) if self.fallbacks < self.router.fallbacks.most && left > 0 => {
                self.fallbacks += 1;
                Step::Fall(name)
            }
            Some(_) | None => {
                self.to_come.clear();
                Step::Stop(self.shortage)
            }
        }
    }

    /// The fallbacks of a group go before those that wait already: they stand in for it, and it for what came before.
    fn queue(&mut self, group: [&str; 2], kind: FailureKind) {
        if self.wishes.no_fallbacks || !falls_back(&self.router.fallbacks, kind) {
            return;
        }
        let names = match &self.wishes.fallbacks {
            Some(_) if self.fallbacks > 0 => return,
            Some(names) => names.as_slice(),
            None => self.router.fallbacks.of(group, kind),
        };
        let mut at = 0;
        for name in names {
            if !self.seen.contains(name) {
                self.seen.push(name.clone());
                self.to_come.insert(at, name.clone());
                at += 1;
            }
        }
    }

    /// Nobody could be called in the present group. What the first group lacked is told, with the time at which any is back; one
    /// in which nobody may take the request will never be.
    fn short(&mut self, shortage: Option<Shortage>) {
        match &mut self.shortage {
            Some(first) if first.soonest.is_some() => {
                first.soonest = first.soonest.into_iter().chain(shortage.and_then(|it| it.soonest)).min();
            }
            first => *first = shortage.or(*first),
        }
    }

    fn see(&mut self, name: &str) {
        if !self.seen.iter().any(|seen| seen == name) {
            self.seen.push(name.to_owned());
        }
    }
}

/// Whether another group may do what this one could not. A request that is at fault itself fails everywhere.
fn falls_back(fallbacks: &Fallbacks, kind: FailureKind) -> bool {
    kind != FailureKind::BadRequest || fallbacks.on_bad_request
}

/// Time and chance, as the driver has them.
struct Time {
    now: Millis,
    left: Millis,
    seed: u64,
    /// Another group could take the request.
    elsewhere: bool,
}

impl Time {
    /// A wait that somebody asks for, if it is not too long. Who could be served elsewhere does not wait for long.
    fn within_patience(&self, wait: Millis) -> Option<Millis> {
        let most = if self.elsewhere { BACKOFF_LIMIT } else { PATIENCE };
        Some(wait).filter(|wait| *wait <= most && *wait < self.left)
    }
}

impl Stage<'_> {
    /// Whether it was the turn of all members of `pool` that `may` take the request. Under a wildcard's name each model is another.
    fn was(&self, pool: &Pool, may: &[bool]) -> bool {
        let had = |member: usize| {
            let listed = [&self.may, &self.spare].into_iter().any(|list| list.get(member).is_some_and(|may| *may));
            listed || self.unfit.contains(&member)
        };
        std::ptr::eq(self.pool, pool)
            && !pool.name.contains('*')
            && may.iter().enumerate().all(|(member, may)| !may || had(member))
    }

    /// Who is called next, and after which wait. The error is why nobody could be, where nobody was called at all.
    fn next(
        &self,
        router: &Router,
        failed: Option<&Failed>,
        retries: Option<u32>,
        time: &Time,
    ) -> Result<(usize, Millis), Option<Shortage>> {
        let pool = self.pool;
        let choice = Choice {
            members: &pool.members,
            health: &router.health,
            strategy: pool.strategy,
            args: router.args,
            turn: &pool.turn,
        };
        let best = |member: usize| self.may.get(member).copied().unwrap_or(false);
        let may = |member: usize| best(member) || self.spare.get(member).copied().unwrap_or(false);
        let untried = |member: usize| !self.tried.get(member).copied().unwrap_or(true);
        let choose = |among: &dyn Fn(usize) -> bool, now: Millis| {
            let first = choice.choose(&|member| best(member) && among(member), now, time.seed);
            first.or_else(|| choice.choose(&|member| may(member) && among(member), now, time.seed))
        };
        let Some(failed) = failed else {
            // What was chosen may have been taken by somebody else meanwhile, so this is not always the first time.
            let chosen = choose(&|_| true, time.now).map(|member| (member, 0));
            return chosen.ok_or_else(|| Some(choice.why_none(&may, time.now)));
        };
        let other = choose(&untried, time.now).filter(|_| time.left > 0);
        let own = self.first.and_then(|first| pool.members.get(first)).and_then(|member| member.retries);
        let again = Again::of(failed, (retries, own), pool);
        // Each level of `order` is a fallback of the one before, however few retries there are.
        let next_level = other.is_some_and(|other| self.is_next_level(other)) && again.elsewhere;
        if self.attempts > again.count && !next_level {
            return Err(None);
        }
        if let Some(member) = other.filter(|_| again.elsewhere) {
            return Ok((member, 0));
        }
        if !again.here {
            return Err(None);
        }
        if let Some(member) = choose(&|_| true, time.now) {
            let wait = Again::wait(failed, self.attempts, pool.retries.least_wait, time);
            return wait.map(|wait| (member, wait)).ok_or(None);
        }
        // Whom a rate limit keeps says when it is back, and is worth as long a wait as a single deployment would be. Others who
        // are left alone would only fail later.
        let shortage = choice.why_none(&may, time.now);
        let back = shortage.soonest.filter(|_| shortage.reason == FailureKind::RateLimited).ok_or(None)?;
        let wait = time.within_patience(back.saturating_sub(time.now)).ok_or(None)?;
        choose(&|_| true, back).map(|member| (member, wait)).ok_or(None)
    }

    fn is_next_level(&self, member: usize) -> bool {
        let order = |place: usize| self.pool.members.get(place).map_or(0, |member| member.order);
        let tried = self.tried.iter().enumerate().filter(|(_, tried)| **tried).map(|(place, _)| order(place));
        tried.max().is_none_or(|tried| order(member) > tried)
    }
}

/// What a failure allows.
struct Again {
    /// How many retries.
    count: u32,
    /// At another deployment of the group.
    elsewhere: bool,
    /// At the same one.
    here: bool,
}

impl Again {
    /// `wish` is the request's number, `own` that of the deployment that was called first.
    fn of(failed: &Failed, (wish, own): (Option<u32>, Option<u32>), pool: &Pool) -> Self {
        let class = Class::of(failed.kind);
        let named = pool.retries.policy.get(class);
        let (elsewhere, here) = match failed.kind {
            // 409 is a lock at the upstream; 402 is somebody's empty account, and another key may do.
            FailureKind::BadRequest => (failed.status == 409, failed.status == 409),
            FailureKind::RateLimited => (true, failed.status != 402),
            FailureKind::TooLong | FailureKind::Filtered => (false, false),
            FailureKind::Auth | FailureKind::NotFound => (true, false),
            FailureKind::Overloaded
            | FailureKind::Timeout
            | FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::Server => (true, true),
        };
        let asked = named.is_some_and(|count| count > 0);
        Self {
            count: wish.or(named).or(own).unwrap_or(pool.retries.count),
            elsewhere: elsewhere || asked,
            here: here || asked,
        }
    }

    /// How long to wait before the same deployment is called again; `None` for not at all.
    fn wait(failed: &Failed, attempts: u32, least: Millis, time: &Time) -> Option<Millis> {
        let bound = BACKOFF_LIMIT.min(BACKOFF_START << attempts.saturating_sub(1).min(8));
        let wait = match failed.retry_after {
            Some(after) => time.within_patience(after)?,
            // The whole span at random: clients that failed together do not come back together.
            None => time.seed % (bound + 1),
        };
        Some(wait.max(least)).filter(|wait| *wait < time.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::rules::{Member, PerClass, Retries};
    use FailureKind as K;

    /// Groups of so many deployments each; each deployment's `order` is given.
    fn router(groups: &[(&str, &[u32])]) -> Router {
        let mut router = Router::default();
        for (name, orders) in groups {
            let members = orders.iter().enumerate().map(|(at, order)| Member {
                place: router.health.len() + at,
                order: *order,
                weight: 1,
                ..Member::default()
            });
            let pool = Pool { name: (*name).to_owned(), members: members.collect(), ..Pool::default() };
            router.health.extend(orders.iter().map(|_| Arc::default()));
            router.pools.push(pool);
        }
        router
    }

    fn failed(kind: FailureKind) -> Failed {
        let status = match kind {
            K::RateLimited => 429,
            K::Auth => 401,
            K::NotFound => 404,
            K::BadRequest | K::TooLong | K::Filtered => 400,
            _ => 500,
        };
        Failed { kind, status, retry_after: None }
    }

    /// What is tried where everything fails like this: names of groups with the places of their deployments.
    fn tried(router: &Router, wishes: Wishes, failed: &Failed) -> String {
        let mut plan = Plan::new(router, wishes);
        let (mut group, mut out, mut last) = ("a".to_owned(), Vec::new(), None);
        let enter = |plan: &mut Plan<'_>, name: &str| {
            let pool = router.pools.iter().position(|pool| pool.name == name)?;
            plan.enter(name, pool, vec![true; router.pools[pool].members.len()]);
            Some(())
        };
        enter(&mut plan, "a").unwrap();
        for _ in 0..100 {
            match plan.next(last.take(), 1, 1_000_000, 0) {
                Step::Try { member, .. } => {
                    out.push(format!("{group}{member}"));
                    last = Some(*failed);
                }
                Step::Fall(name) => {
                    enter(&mut plan, &name).unwrap();
                    group = name;
                }
                Step::Stop(_) => {
                    assert_eq!(plan.retried() as usize + plan.fell_back() as usize + 1, out.len(), "{out:?}");
                    return out.join(" ");
                }
            }
        }
        panic!("no end: {out:?}");
    }

    fn one(kind: FailureKind) -> String {
        tried(&router(&[("a", &[0])]), Wishes::default(), &failed(kind))
    }

    #[test]
    fn what_is_tried_again_at_the_only_deployment() {
        for kind in [K::RateLimited, K::Overloaded, K::Timeout, K::Unreachable, K::Cut, K::Server] {
            assert_eq!(one(kind), "a0 a0 a0", "{kind:?}");
        }
        for kind in [K::BadRequest, K::TooLong, K::Filtered, K::Auth, K::NotFound] {
            assert_eq!(one(kind), "a0", "{kind:?}");
        }
        let single = router(&[("a", &[0])]);
        let status = |kind, status| tried(&single, Wishes::default(), &Failed { kind, status, retry_after: None });
        assert_eq!((status(K::BadRequest, 409), status(K::RateLimited, 402)), ("a0 a0 a0".into(), "a0".into()));
    }

    #[test]
    fn another_deployment_goes_first() {
        let two = router(&[("a", &[0, 0])]);
        for kind in [K::RateLimited, K::Server, K::Unreachable] {
            let all = tried(&two, Wishes::default(), &failed(kind));
            let (first, second) = (&all[..2], &all[3..5]);
            assert!(all.len() == 8 && first != second, "{kind:?}: {all}");
        }
        for kind in [K::Auth, K::NotFound] {
            let all = tried(&two, Wishes::default(), &failed(kind));
            assert!(all == "a0 a1" || all == "a1 a0", "{kind:?}: {all}");
        }
        for kind in [K::BadRequest, K::TooLong, K::Filtered] {
            assert_eq!(tried(&two, Wishes::default(), &failed(kind)).len(), 2, "{kind:?}");
        }
    }

    #[test]
    fn each_level_of_order_has_its_turn() {
        let mut levels = router(&[("a", &[1, 2, 3])]);
        let none = Wishes { retries: Some(0), ..Wishes::default() };
        assert_eq!(tried(&levels, none.clone(), &failed(K::Server)), "a0 a1 a2");
        assert_eq!(tried(&levels, none, &failed(K::TooLong)), "a0");
        levels.pools[0].retries.count = 5;
        assert!(tried(&levels, Wishes::default(), &failed(K::Server)).starts_with("a0 a1 a2 a0"));
    }

    #[test]
    fn policies_count_by_class_and_wishes_win() {
        let mut single = router(&[("a", &[0])]);
        let mut policy = PerClass::default();
        policy.set(Class::RateLimit, 0);
        policy.set(Class::Timeout, 1);
        policy.set(Class::BadRequest, 2);
        single.pools[0].retries = Retries { policy, ..Retries::default() };
        for (kind, want) in
            [(K::RateLimited, "a0"), (K::Timeout, "a0 a0"), (K::BadRequest, "a0 a0 a0"), (K::Server, "a0 a0 a0")]
        {
            assert_eq!(tried(&single, Wishes::default(), &failed(kind)), want, "{kind:?}");
        }
        single.pools[0].members[0].retries = Some(4);
        assert_eq!(tried(&single, Wishes::default(), &failed(K::Server)), "a0 a0 a0 a0 a0");
        let wish = Wishes { retries: Some(1), ..Wishes::default() };
        assert_eq!(tried(&single, wish, &failed(K::RateLimited)), "a0 a0");
    }

    #[test]
    fn fallbacks_follow_the_kind_of_failure() {
        let mut all = router(&[("a", &[0]), ("b", &[0]), ("long", &[0]), ("safe", &[0]), ("c", &[0])]);
        let list = |name: &str, to: &[&str]| (name.to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
        all.fallbacks = Fallbacks {
            general: vec![list("a", &["b"]), list("b", &["c"])],
            context_window: vec![list("a", &["long"])],
            content_policy: vec![list("b", &["safe"])],
            ..Fallbacks::default()
        };
        let mut none = Wishes { retries: Some(0), ..Wishes::default() };
        for (kind, want) in [
            (K::Server, "a0 b0 c0"),
            (K::Auth, "a0 b0 c0"),
            (K::TooLong, "a0 long0"),
            // A group that is missing from a special list uses the general one.
            (K::Filtered, "a0 b0 safe0"),
            (K::BadRequest, "a0"),
        ] {
            assert_eq!(tried(&all, none.clone(), &failed(kind)), want, "{kind:?}");
        }
        all.fallbacks.on_bad_request = true;
        assert_eq!(tried(&all, none.clone(), &failed(K::BadRequest)), "a0 b0 c0");
        all.fallbacks.most = 1;
        assert_eq!(tried(&all, none.clone(), &failed(K::Server)), "a0 b0");
        none.fallbacks = Some(vec!["c".to_owned(), "a".to_owned(), "safe".to_owned()]);
        all.fallbacks.most = 5;
        assert_eq!(tried(&all, none.clone(), &failed(K::Server)), "a0 c0 safe0");
        none.no_fallbacks = true;
        assert_eq!(tried(&all, none, &failed(K::Server)), "a0");
    }

    #[test]
    fn defaults_stand_in_for_groups_without_an_entry_and_for_unknown_models() {
        let mut all = router(&[("a", &[0]), ("b", &[0])]);
        all.fallbacks.default = vec!["b".to_owned()];
        let none = Wishes { retries: Some(0), ..Wishes::default() };
        assert_eq!(tried(&all, none.clone(), &failed(K::Server)), "a0 b0");
        let mut plan = Plan::new(&all, none);
        plan.unknown("x");
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Fall("b".to_owned()));
        assert_eq!((plan.next(None, 1, 1000, 0), plan.fell_back()), (Step::Stop(None), 0), "it did not stand in");
    }

    #[test]
    fn fallbacks_that_lead_in_a_circle_end() {
        let mut all = router(&[("a", &[0]), ("b", &[0])]);
        let list = |name: &str, to: &[&str]| (name.to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
        all.fallbacks.general = vec![list("a", &["b"]), list("b", &["a", "b"])];
        let none = Wishes { retries: Some(0), ..Wishes::default() };
        assert_eq!(tried(&all, none, &failed(K::Server)), "a0 b0");
    }

    /// The wait before the second attempt at the only deployment.
    fn wait(retry_after: Option<Millis>, left: Millis, seed: u64, fallback: bool) -> Option<Millis> {
        let mut single = router(&[("a", &[0]), ("b", &[0])]);
        single.pools[0].retries.least_wait = 100;
        if fallback {
            single.fallbacks.default = vec!["b".to_owned()];
        }
        let mut plan = Plan::new(&single, Wishes::default());
        plan.enter("a", 0, vec![true]);
        assert_eq!(plan.next(None, 1, left, seed), Step::Try { member: 0, wait: 0 });
        let failed = Failed { retry_after, ..failed(K::RateLimited) };
        match plan.next(Some(failed), 1, left, seed) {
            Step::Try { wait, .. } => Some(wait),
            Step::Fall(_) | Step::Stop(_) => None,
        }
    }

    #[test]
    fn waits_are_what_the_upstream_asks_for_or_chance_within_the_time_left() {
        for (retry_after, left, seed, fallback, want) in [
            (None, 60_000, 0, false, Some(100)),
            (None, 60_000, 400, false, Some(400)),
            (None, 60_000, 500, false, Some(500)),
            (None, 60_000, 501, false, Some(100)),
            (None, 100, 0, false, None),
            (Some(2000), 60_000, 7, false, Some(2000)),
            (Some(2000), 2000, 7, false, None),
            (Some(60_000), 600_000, 7, false, Some(60_000)),
            (Some(60_001), 600_000, 7, false, None),
            (Some(8000), 600_000, 7, true, Some(8000)),
            (Some(8001), 600_000, 7, true, None),
        ] {
            assert_eq!(wait(retry_after, left, seed, fallback), want, "{retry_after:?} {left} {seed} {fallback}");
        }
    }

    #[test]
    fn where_all_are_left_alone_the_first_that_is_back_is_waited_for() {
        for (retry_after, left, fallback, want) in [
            ([Some(9000), Some(7000)], 60_000, false, Step::Try { member: 1, wait: 7000 }),
            ([Some(9000), Some(7000)], 7000, false, Step::Stop(None)),
            ([Some(90_000), Some(70_000)], 600_000, false, Step::Stop(None)),
            ([Some(9000), Some(8500)], 60_000, true, Step::Fall("b".to_owned())),
            ([Some(9000), None], 60_000, true, Step::Try { member: 1, wait: 5000 }),
        ] {
            let mut all = router(&[("a", &[0, 1]), ("b", &[0])]);
            if fallback {
                all.fallbacks.default = vec!["b".to_owned()];
            }
            let mut plan = Plan::new(&all, Wishes::default());
            plan.enter("a", 0, vec![true; 2]);
            let mut last = None;
            for (place, retry_after) in retry_after.into_iter().enumerate() {
                assert_eq!(plan.next(last.take(), 1, left, 0), Step::Try { member: place, wait: 0 });
                let failed = Failed { retry_after, ..failed(K::RateLimited) };
                let member = &all.pools[0].members[place];
                all.health[place].claim(1, member).unwrap().failed(1, &failed, member, false);
                last = Some(failed);
            }
            assert_eq!(plan.next(last, 1, left, 0), want, "{retry_after:?} {left} {fallback}");
        }
    }

    #[test]
    fn a_group_has_one_turn_whatever_it_is_called() {
        let mut all = router(&[("a", &[0, 0]), ("b", &[0]), ("c", &[0]), ("w-*", &[0])]);
        let list = |name: &str, to: &[&str]| (name.to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
        all.fallbacks.general = vec![list("a", &["b"]), list("b", &["alias"]), list("alias", &["c"])];
        let none = Wishes { retries: Some(0), ..Wishes::default() };
        for (pool, may, unfit, want) in [
            (0, [true, true], None, Step::Fall("c".to_owned())),
            (0, [false, true], None, Step::Fall("c".to_owned())),
            (0, [true, true], Some(1), Step::Fall("c".to_owned())),
            (3, [true, true], None, Step::Try { member: 0, wait: 0 }),
        ] {
            let mut plan = Plan::new(&all, none.clone());
            plan.enter("a", pool, vec![true; all.pools[pool].members.len()]);
            assert!(matches!(plan.next(None, 1, 1000, 0), Step::Try { .. }));
            if let Some(member) = unfit {
                plan.unfit(member);
            }
            if pool == 0 {
                while plan.next(Some(failed(K::Server)), 1, 1000, 0) != Step::Fall("b".to_owned()) {}
                plan.enter("b", 1, vec![true]);
                assert!(matches!(plan.next(None, 1, 1000, 0), Step::Try { .. }));
                assert_eq!(plan.next(Some(failed(K::Server)), 1, 1000, 0), Step::Fall("alias".to_owned()));
            }
            plan.enter("alias", pool, may[..all.pools[pool].members.len()].to_vec());
            assert_eq!(plan.next(None, 1, 1000, 0), want, "{pool} {may:?} {unfit:?}");
            assert_eq!(plan.fell_back(), u32::from(pool == 0), "only `b` stood in");
        }
        // Who asked for one deployment gets the others of its group.
        let mut plan = Plan::new(&all, none);
        plan.enter("a-1", 0, vec![true, false]);
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 0, wait: 0 });
        plan.enter("alias", 0, vec![true, true]);
        assert!(matches!(plan.next(None, 1, 1000, 0), Step::Try { .. }));
    }

    #[test]
    fn the_first_shortage_is_told_with_the_time_at_which_anybody_is_back() {
        for (cool, want) in [
            ([Some(9000), Some(7000)], Some((7001, K::RateLimited))),
            ([Some(7000), Some(9000)], Some((7001, K::RateLimited))),
            ([Some(9000), None], Some((9001, K::RateLimited))),
            // Nobody in the first may take it.
            ([None, Some(9000)], Some((9001, K::Server))),
            ([None, None], None),
        ] {
            let mut all = router(&[("a", &[0]), ("b", &[0])]);
            all.fallbacks.default = vec!["b".to_owned()];
            for ((health, kind), time) in all.health.iter().zip([K::RateLimited, K::Server]).zip(cool) {
                let member = &all.pools[0].members[0];
                let failed = Failed { retry_after: time, ..failed(kind) };
                (0..9).filter_map(|_| health.claim(1, member)).for_each(|it| _ = it.failed(1, &failed, member, false));
            }
            let mut plan = Plan::new(&all, Wishes::default());
            plan.enter("a", 0, vec![cool[0].is_some()]);
            assert_eq!(plan.next(None, 1, 60_000, 0), Step::Fall("b".to_owned()), "{cool:?}");
            plan.enter("b", 1, vec![cool[1].is_some()]);
            let Step::Stop(shortage) = plan.next(None, 1, 60_000, 0) else { panic!("{cool:?}") };
            assert_eq!(shortage.and_then(|it| Some((it.soonest?, it.reason))), want, "{cool:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_group_holds_whatever_it_is_called() {
        let mut all = router(&[("a", &[0]), ("b", &[0]), ("c", &[0])]);
        all.fallbacks.default = vec!["c".to_owned()];
        let list = |name: &str, to: &str| (name.to_owned(), vec![to.to_owned()]);
        let none = Wishes { retries: Some(0), ..Wishes::default() };
        for (lists, want) in [
            (vec![list("*", "c"), list("a", "b")], "b"),
            (vec![list("a", "b")], "b"),
            (vec![list("a", "b"), list("alias", "c")], "c"),
            (vec![list("other", "b")], "c"),
        ] {
            all.fallbacks.general = lists;
            let mut plan = Plan::new(&all, none.clone());
            plan.enter("alias", 0, vec![true]);
            assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 0, wait: 0 });
            assert_eq!(plan.next(Some(failed(K::Server)), 1, 1000, 0), Step::Fall(want.to_owned()));
            let mut plan = Plan::new(&all, none.clone());
            plan.refuse("alias", "a", K::Server);
            assert_eq!(plan.next(None, 1, 1000, 0), Step::Fall(want.to_owned()));
        }
    }

    #[test]
    fn the_bound_of_the_wait_doubles_up_to_its_limit() {
        let mut single = router(&[("a", &[0])]);
        single.pools[0].retries.count = 10;
        let longest = |attempts| {
            let time = |seed| Time { now: 1, left: 1_000_000, seed, elsewhere: false };
            (0..20_000).filter_map(|seed| Again::wait(&failed(K::Server), attempts, 0, &time(seed))).max()
        };
        let bounds: Vec<_> = (1..8).map(longest).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 8000, 8000].map(Some));
    }

    #[test]
    fn attempts_that_were_not_made_do_not_count() {
        let two = router(&[("a", &[1, 2])]);
        let mut plan = Plan::new(&two, Wishes { retries: Some(0), ..Wishes::default() });
        plan.enter("a", 0, vec![true, true]);
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 0, wait: 0 });
        plan.missed(0);
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 0, wait: 0 });
        plan.unfit(0);
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 1, wait: 0 });
        assert_eq!(plan.retried(), 0);
    }

    #[test]
    fn who_suits_less_is_for_when_nobody_else_is_left() {
        let router = router(&[("a", &[0, 0, 0])]);
        for (kind, want) in [(K::Server, [0, 1, 0]), (K::Auth, [0, 1, 9])] {
            let mut plan = Plan::new(&router, Wishes::default());
            plan.enter("a", 0, vec![true, false, false]);
            plan.spare(1);
            let mut last = None;
            let tried = [0; 3].map(|_| match plan.next(last.take(), 1, 1_000_000, 0) {
                Step::Try { member, .. } => {
                    last = Some(failed(kind));
                    member
                }
                Step::Fall(_) | Step::Stop(_) => 9,
            });
            assert_eq!(tried, want, "{kind:?}");
        }
        let mut plan = Plan::new(&router, Wishes::default());
        plan.enter("a", 0, vec![false, false, false]);
        plan.spare(2);
        assert_eq!(plan.next(None, 1, 1000, 0), Step::Try { member: 2, wait: 0 });
        plan.unfit(2);
        assert!(matches!(plan.next(None, 1, 1000, 0), Step::Stop(Some(_))));
    }

    #[test]
    fn it_is_known_whether_another_group_would_take_it() {
        let mut router = router(&[("a", &[0]), ("b", &[0])]);
        router.fallbacks.general = vec![("a".to_owned(), vec!["b".to_owned()])];
        let plan = |wishes| Plan::new(&router, wishes);
        let asked = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        for (wishes, name, group, want) in [
            (Wishes::default(), "a", "a", false),
            (Wishes::default(), "alias", "a", false),
            (Wishes::default(), "b", "b", true),
            (Wishes { no_fallbacks: true, ..Wishes::default() }, "a", "a", true),
            (Wishes { fallbacks: asked(&["x"]), ..Wishes::default() }, "b", "b", false),
            (Wishes { fallbacks: asked(&[]), ..Wishes::default() }, "a", "a", true),
        ] {
            assert_eq!(plan(wishes.clone()).alone(name, group), want, "{wishes:?} {name}");
        }
    }
}
