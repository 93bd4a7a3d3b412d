//! What one scope (a key, a team, a model, the gateway) has used of its limits: the arithmetic that every store holds to.
//!
//! A request is admitted with an estimate, which counts at once, and settled with the true figures. What is never settled stays
//! counted at its estimate; only its place among the parallel requests is free again once its time is over.
//!
//! Rates slide in steps of ten seconds: a request counts in its own step and in the six after it, which is for a minute and up to
//! ten seconds more. So no minute, wherever it begins, has more than its limit, and under steady load no less than six sevenths of it
//! get through. A request looks at one figure, that of the present step, and a store can decide with one comparison for each limit.
//!
//! ```
//! use feathergate::meter::ledger::{Estimate, Ledger, Limits};
//! let limits = Limits { rpm: Some(1), ..Limits::default() };
//! let mut ledger = Ledger::default();
//! assert!(ledger.admit(&limits, Estimate::default(), ("first", 60_000), 1_000).is_ok());
//! let over = ledger.admit(&limits, Estimate::default(), ("second", 60_000), 2_000).unwrap_err();
//! assert_eq!((over.limit, over.used, over.frees), (1, 1, Some(70_000)));
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Money;
use super::period::{Period, Window};

/// The length of a step, in milliseconds.
pub const STEP: u64 = 10_000;
/// The steps that a request counts in: those of a minute, and the one that it came in the middle of.
pub const STEPS: u64 = 7;

/// What a scope may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most that may be spent in a period.
    pub budget: Option<(Money, Period)>,
    /// The most tokens in a period.
    pub quota: Option<(u64, Period)>,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Requests at one time.
    pub parallel: Option<u64>,
    /// What periods of seconds are counted from, in Unix milliseconds.
    pub anchor: u64,
}

/// What a request will use, or has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// All its tokens.
    pub tokens: u64,
    /// What they cost; nothing where no price is known.
    pub cost: Money,
}

/// Where a request is counted: the same in every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The window of the budget.
    pub budget: Window,
    /// The window of the quota.
    pub quota: Window,
    /// The step that the request came in.
    pub step: u64,
}

/// What can be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Dollars, in units of [`Money`].
    Budget,
    /// Tokens in a period.
    Quota,
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at one time.
    Parallel,
}

/// A limit that has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub measure: Measure,
    /// What it allows.
    pub limit: u64,
    /// What is used.
    pub used: u64,
    /// What the request would have added.
    pub asked: u64,
    /// From when on it would fit, in Unix milliseconds, if nothing else comes; `None` where it never will, or nobody can tell.
    pub frees: Option<u64>,
}

/// What is used of each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Spent in the budget's window.
    pub spent: Money,
    /// Tokens in the quota's window.
    pub quota: u64,
    /// Requests in this minute.
    pub requests: u64,
    /// Tokens in this minute.
    pub tokens: u64,
    /// Requests under way.
    pub parallel: u64,
}

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn none(&self) -> bool {
        let Self { budget, quota, rpm, tpm, parallel, anchor: _ } = self;
        budget.is_none() && quota.is_none() && rpm.is_none() && tpm.is_none() && parallel.is_none()
    }

    /// Where a request is counted that comes `now`.
    #[must_use]
    pub fn stamp(&self, now: u64) -> Stamp {
        let window = |period: Option<Period>| period.unwrap_or_default().window(self.anchor, now);
        Stamp {
            budget: window(self.budget.map(|(_, period)| period)),
            quota: window(self.quota.map(|(_, period)| period)),
            step: now / STEP,
        }
    }

    /// Which limit has no room for `asked` beside what is used.
    #[must_use]
    pub fn over(&self, used: &Standing, asked: Estimate, stamp: &Stamp) -> Option<Over> {
        // Nothing more is spent of a budget that is spent, also where a request costs nothing that is known.
        let cost = asked.cost.0.max(1);
        let each = [
            (Measure::Budget, self.budget.map(|(most, _)| most.0), used.spent.0, cost, stamp.budget.end),
            (Measure::Quota, self.quota.map(|(most, _)| most), used.quota, asked.tokens.max(1), stamp.quota.end),
            (Measure::Parallel, self.parallel, used.parallel, 1, None),
            (Measure::Requests, self.rpm, used.requests, 1, None),
            (Measure::Tokens, self.tpm, used.tokens, asked.tokens, None),
        ];
        each.into_iter().find_map(|(measure, limit, used, asked, frees)| {
            let limit = limit?;
            let over = Over { measure, limit, used, asked, frees: frees.filter(|_| asked <= limit) };
            (used.saturating_add(asked) > limit).then_some(over)
        })
    }
}

/// What a scope has used. Figures stand by the window or the step that they are counted for, since two clocks are never quite
/// the same: what has just passed is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Spent, in units of [`Money`], by the start of the budget's window.
    pub spent: BTreeMap<u64, u64>,
    /// Tokens by the start of the quota's window.
    pub quota: BTreeMap<u64, u64>,
    /// Requests of the minute that ends with a step.
    pub requests: BTreeMap<u64, u64>,
    /// Tokens of the minute that ends with a step.
    pub tokens: BTreeMap<u64, u64>,
    /// Requests under way, and when each lapses.
    pub holds: BTreeMap<String, u64>,
}

impl Ledger {
    /// What is used at a moment.
    #[must_use]
    pub fn standing(&self, stamp: &Stamp, now: u64) -> Standing {
        let at = |counts: &BTreeMap<u64, u64>, key| counts.get(&key).copied().unwrap_or(0);
        Standing {
            spent: Money(at(&self.spent, stamp.budget.start)),
            quota: at(&self.quota, stamp.quota.start),
            requests: at(&self.requests, stamp.step),
            tokens: at(&self.tokens, stamp.step),
            parallel: u64::try_from(self.holds.values().filter(|lapses| **lapses > now).count()).unwrap_or(u64::MAX),
        }
    }

    /// Counts a request, if all limits have room for it, and says what is used then. `hold` is its name and when it lapses.
    ///
    /// # Errors
    /// The limit that has no room; nothing is counted then.
    pub fn admit(
        &mut self,
        limits: &Limits,
        asked: Estimate,
        (hold, lapses): (&str, u64),
        now: u64,
    ) -> Result<Standing, Over> {
        match self.refuses(limits, asked, now) {
            Some(over) => Err(over),
            None => Ok(self.count(limits, asked, (hold, lapses), now)),
        }
    }

    /// Which limit has no room for a request.
    #[must_use]
    pub fn refuses(&self, limits: &Limits, asked: Estimate, now: u64) -> Option<Over> {
        let stamp = limits.stamp(now);
        let over = limits.over(&self.standing(&stamp, now), asked, &stamp)?;
        Some(Over { frees: over.frees.or_else(|| self.frees(&over, stamp.step)), ..over })
    }

    /// Counts a request, whether or not there is room for it, and says what is used then.
    pub fn count(&mut self, limits: &Limits, asked: Estimate, (hold, lapses): (&str, u64), now: u64) -> Standing {
        let stamp = limits.stamp(now);
        self.forget(&stamp, now);
        let add = |counts: &mut BTreeMap<u64, u64>, key, amount: u64| {
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(amount);
        };
        add(&mut self.spent, stamp.budget.start, asked.cost.0);
        if limits.quota.is_some() {
            add(&mut self.quota, stamp.quota.start, asked.tokens);
        }
        for step in stamp.step..stamp.step + STEPS {
            if limits.rpm.is_some() {
                add(&mut self.requests, step, 1);
            }
            if limits.tpm.is_some() {
                add(&mut self.tokens, step, asked.tokens);
            }
        }
        self.holds.insert(hold.to_owned(), lapses);
        self.standing(&stamp, now)
    }

    /// Puts the true figures of a request in place of its estimate; without any it was not sent after all, and not even a request is
    /// left. `false` where it is settled already, or has lapsed and stays charged at its estimate.
    pub fn settle(
        &mut self,
        limits: &Limits,
        stamp: &Stamp,
        (hold, estimate): (&str, Estimate),
        used: Option<Estimate>,
        now: u64,
    ) -> bool {
        if self.holds.remove(hold).is_none_or(|lapses| lapses <= now) {
            return false;
        }
        let (requests, used) = (u64::from(used.is_some()), used.unwrap_or_default());
        let change = |counts: &mut BTreeMap<u64, u64>, key, from: u64, to: u64| {
            if let Some(count) = counts.get_mut(&key) {
                *count = count.saturating_sub(from).saturating_add(to);
            }
        };
        change(&mut self.spent, stamp.budget.start, estimate.cost.0, used.cost.0);
        if limits.quota.is_some() {
            change(&mut self.quota, stamp.quota.start, estimate.tokens, used.tokens);
        }
        for step in stamp.step.max(now / STEP)..stamp.step + STEPS {
            if limits.tpm.is_some() {
                change(&mut self.tokens, step, estimate.tokens, used.tokens);
            }
            if limits.rpm.is_some() {
                change(&mut self.requests, step, 1, requests);
            }
        }
        true
    }

    /// Forgets what no longer counts, but for the last window before: another instance's clock may be a little behind.
    fn forget(&mut self, stamp: &Stamp, now: u64) {
        let prune = |counts: &mut BTreeMap<u64, u64>, start: u64| {
            let before = counts.range(..start).next_back().map_or(start, |(before, _)| *before);
            counts.retain(|key, _| *key >= before);
        };
        prune(&mut self.spent, stamp.budget.start);
        prune(&mut self.quota, stamp.quota.start);
        prune(&mut self.requests, stamp.step);
        prune(&mut self.tokens, stamp.step);
        self.holds.retain(|_, lapses| *lapses > now);
    }

    /// When a rate has room again.
    #[must_use]
    pub fn frees(&self, over: &Over, step: u64) -> Option<u64> {
        let counts = match over.measure {
            Measure::Requests => &self.requests,
            Measure::Tokens => &self.tokens,
            Measure::Budget | Measure::Quota | Measure::Parallel => return None,
        };
        let room = over.limit.checked_sub(over.asked)?;
        let fits = |step: &u64| counts.get(step).copied().unwrap_or(0) <= room;
        (step + 1..=step + STEPS).find(fits).map(|step| step * STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_222_800_000;
    const LATE: u64 = NOW + 3_600_000;

    fn asks(tokens: u64, cost: u64) -> Estimate {
        Estimate { tokens, cost: Money(cost) }
    }

    #[test]
    fn each_limit_refuses_what_goes_beyond_it_and_says_when_it_frees() {
        let day = Period::Seconds(86_400);
        let cases = [
            (Limits { budget: Some((Money(10), day)), ..Limits::default() }, Measure::Budget, 10, 4, Some(86_400_000)),
            (Limits { quota: Some((250, day)), ..Limits::default() }, Measure::Quota, 250, 100, Some(86_400_000)),
            (Limits { rpm: Some(2), ..Limits::default() }, Measure::Requests, 2, 1, Some(70_000)),
            (Limits { tpm: Some(250), ..Limits::default() }, Measure::Tokens, 250, 100, Some(70_000)),
            (Limits { parallel: Some(2), ..Limits::default() }, Measure::Parallel, 2, 1, None),
        ];
        for (limits, measure, limit, asked, after) in cases {
            let limits = Limits { anchor: NOW, ..limits };
            let mut ledger = Ledger::default();
            for hold in ["a", "b"] {
                ledger.admit(&limits, asks(100, 4), (hold, LATE), NOW).unwrap();
            }
            let before = ledger.clone();
            let over = ledger.admit(&limits, asks(100, 4), ("c", LATE), NOW).unwrap_err();
            let frees = after.map(|after| NOW + after);
            assert_eq!(over, Over { measure, limit, used: 2 * asked, asked, frees }, "{measure:?}");
            assert_eq!(ledger, before, "a refusal counts nothing");
            if let Some(frees) = frees {
                ledger.admit(&limits, asks(100, 4), ("d", LATE), frees - 1).unwrap_err();
                ledger.admit(&limits, asks(100, 4), ("d", LATE), frees).unwrap();
            }
        }
    }

    #[test]
    fn a_minute_slides_in_steps() {
        let limits = Limits { rpm: Some(60), ..Limits::default() };
        // All at once as soon as there is room, or one after the other; from the beginning, the middle and the end of a step on.
        for (pause, phase) in [(50, 0), (50, 5000), (50, 9999), (1000, 0), (1000, 9999), (400, 1)] {
            let mut ledger = Ledger::default();
            let mut times: Vec<u64> = Vec::new();
            for now in (phase..600_000).step_by(pause) {
                if ledger.admit(&limits, asks(0, 0), (&now.to_string(), LATE), NOW + now).is_ok() {
                    times.push(now);
                }
            }
            for from in &times {
                let within = times.iter().filter(|time| (*from..from + 60_000).contains(*time)).count();
                assert!(within <= 60, "{within} in the minute from {from} ms on, of {pause} from {phase}");
            }
            let least = (600_000 - phase) / 1000 * 60 / 70;
            assert!(times.len() as u64 >= least, "{} in ten minutes, of {pause} from {phase}", times.len());
        }
    }

    #[test]
    fn a_request_that_can_never_fit_is_told_so() {
        let limits = Limits { tpm: Some(10), budget: Some((Money(5), Period::Months(1))), ..Limits::default() };
        let mut ledger = Ledger::default();
        assert_eq!(ledger.admit(&limits, asks(11, 0), ("a", LATE), NOW).unwrap_err().frees, None);
        assert_eq!(ledger.admit(&limits, asks(1, 6), ("a", LATE), NOW).unwrap_err().frees, None);
    }

    #[test]
    fn a_spent_budget_takes_nothing_that_is_free_either() {
        let limits = Limits { budget: Some((Money(5), Period::Forever)), ..Limits::default() };
        let mut ledger = Ledger::default();
        ledger.admit(&limits, asks(1, 5), ("a", LATE), NOW).unwrap();
        assert_eq!(ledger.admit(&limits, asks(0, 0), ("b", LATE), NOW).unwrap_err().measure, Measure::Budget);
    }

    #[test]
    fn settling_replaces_the_estimate_once() {
        let limits = Limits {
            budget: Some((Money(1000), Period::Forever)),
            quota: Some((1000, Period::Forever)),
            tpm: Some(1000),
            parallel: Some(9),
            ..Limits::default()
        };
        for (used, late) in [(asks(7, 3), 0), (asks(900, 950), 25_000), (asks(0, 0), 70_000)] {
            let mut ledger = Ledger::default();
            let stamp = limits.stamp(NOW);
            ledger.admit(&limits, asks(100, 40), ("a", LATE), NOW).unwrap();
            ledger.admit(&limits, asks(1, 1), ("b", LATE), NOW).unwrap();
            for first in [true, false] {
                assert_eq!(ledger.settle(&limits, &stamp, ("a", asks(100, 40)), Some(used), NOW + late), first);
                let standing = ledger.standing(&limits.stamp(NOW + late), NOW + late);
                let minute = if late < 60_000 { used.tokens + 1 } else { 0 };
                let want = Standing {
                    spent: Money(used.cost.0 + 1),
                    quota: used.tokens + 1,
                    requests: 0,
                    tokens: minute,
                    parallel: 1,
                };
                assert_eq!(standing, want);
            }
        }
    }

    #[test]
    fn what_was_not_sent_leaves_nothing() {
        let limits = Limits { rpm: Some(9), tpm: Some(999), ..Limits::default() };
        let (mut ledger, stamp) = (Ledger::default(), limits.stamp(NOW));
        ledger.admit(&limits, asks(100, 40), ("a", LATE), NOW).unwrap();
        assert!(ledger.settle(&limits, &stamp, ("a", asks(100, 40)), None, NOW + 5000));
        assert_eq!(ledger.standing(&limits.stamp(NOW + 5000), NOW + 5000), Standing::default());
    }

    #[test]
    fn what_is_never_settled_stays_charged_and_frees_its_place() {
        let limits = Limits { parallel: Some(1), budget: Some((Money(100), Period::Forever)), ..Limits::default() };
        let mut ledger = Ledger::default();
        let stamp = limits.stamp(NOW);
        ledger.admit(&limits, asks(1, 40), ("killed", NOW + 5000), NOW).unwrap();
        ledger.admit(&limits, asks(1, 40), ("next", LATE), NOW + 4999).unwrap_err();
        let standing = ledger.admit(&limits, asks(1, 40), ("next", LATE), NOW + 5000).unwrap();
        assert_eq!((standing.spent, standing.parallel), (Money(80), 1));
        assert!(
            !ledger.settle(&limits, &stamp, ("killed", asks(1, 40)), Some(asks(1, 1)), NOW + 6000),
            "it has lapsed"
        );
        assert!(
            !ledger.settle(&limits, &stamp, ("next", asks(1, 40)), Some(asks(1, 1)), LATE),
            "whether or not another came"
        );
        assert_eq!(ledger.standing(&stamp, NOW + 6000).spent, Money(80));
    }

    #[test]
    fn a_clock_that_is_behind_meets_what_was_counted() {
        let limits = Limits { rpm: Some(1), budget: Some((Money(9), Period::Seconds(10))), ..Limits::default() };
        let mut ledger = Ledger::default();
        ledger.admit(&limits, asks(1, 9), ("a", LATE), NOW).unwrap();
        ledger.admit(&limits, asks(1, 9), ("b", LATE), NOW + 70_000).unwrap();
        assert_eq!(
            ledger.admit(&limits, asks(1, 1), ("c", LATE), NOW + 69_999).unwrap_err().measure,
            Measure::Requests
        );
    }

    #[test]
    fn a_ledger_survives_being_stored() {
        let limits = Limits { rpm: Some(5), tpm: Some(500), quota: Some((9, Period::Forever)), ..Limits::default() };
        let mut ledger = Ledger::default();
        ledger.admit(&limits, asks(3, 2), ("a", LATE), NOW).unwrap();
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        assert_eq!(serde_json::from_str::<Ledger>("{}").unwrap(), Ledger::default());
    }
}
