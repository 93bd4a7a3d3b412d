//! What a scope has used, as one item: which attributes there are, and the writes that count a request, settle it or take it back.
//!
//! The windows are in the names of the attributes, so that one write with one condition decides every limit, and nothing has to
//! be set back when a window ends:
//!
//! | attribute | is |
//! | --- | --- |
//! | `S<start>` | spent in the budget's window that begins then |
//! | `Q<start>` | tokens of the quota's window |
//! | `R<step>`, `T<step>` | requests and tokens of the minute that ends with the step |
//! | `H<hold>` | a request under way: when it lapses |
//! | `P` | how many `H` there are |
//! | `N` | over how many items the scope is spread; on the first of them only |
//!
//! Windows, steps and moments are numbers of base 36. A hold's name is a hash of 8 characters. An item of 1 KB or less costs one
//! unit to write: about forty requests at one time. What no longer counts is removed by the settlement's write.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::expression::{ENDS, Expression, Item, number, number_of, whole};
use crate::meter::ledger::{Estimate, Ledger, Limits, Measure, Over, STEP, STEPS, Stamp, Standing};
use crate::meter::period::Window;
use crate::store::{Claim, Held, Hold, Scope};

/// How many requests are under way.
const PARALLEL: &str = "P";
/// Over how many items the scope is spread.
pub(super) const SPREAD: &str = "N";
/// The most attributes that one write cleans up: an expression has its limits (4 KB, 300 operators).
pub(super) const CLEANED: usize = 60;
/// How long an item is kept after its last window, in milliseconds: longer than clocks differ.
const AFTERWARDS: u64 = 86_400_000;

/// The partition of a scope's part. A sort key would not spread writes, so each part has a partition of its own.
pub(super) fn partition(scope: &str, shard: u32) -> String {
    format!("SCOPE#{}#{shard}", super::clip(scope))
}

/// Over how many items a scope is spread: no part of a limit is 0.
pub(super) fn parts(scope: &Scope) -> u32 {
    let Limits { budget, quota, rpm, tpm, parallel, anchor: _ } = &scope.limits;
    let limits = [budget.map(|(most, _)| most.0), quota.map(|(most, _)| most), *rpm, *tpm, *parallel];
    let least = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
    scope.shards.min(u32::try_from(least).unwrap_or(u32::MAX)).max(1)
}

/// A part's share of the limits; together the shares are the whole.
pub(super) fn share(limits: &Limits, shard: u32, parts: u32) -> Limits {
    let (shard, parts) = (u64::from(shard), u64::from(parts.max(1)));
    let share = |most: u64| most / parts + u64::from(shard < most % parts);
    Limits {
        budget: limits.budget.map(|(most, period)| (crate::meter::Money(share(most.0)), period)),
        quota: limits.quota.map(|(most, period)| (share(most), period)),
        rpm: limits.rpm.map(share),
        tpm: limits.tpm.map(share),
        parallel: limits.parallel.map(share),
        anchor: limits.anchor,
    }
}

/// A refusal by all parts, in figures of the whole.
pub(super) fn together(limits: &Limits, stamp: &Stamp, now: u64, refusals: &[(Ledger, Over)]) -> Option<Over> {
    let (_, first) = refusals.first()?;
    let whole = |measure| match measure {
        Measure::Budget => limits.budget.map(|(most, _)| most.0),
        Measure::Quota => limits.quota.map(|(most, _)| most),
        Measure::Requests => limits.rpm,
        Measure::Tokens => limits.tpm,
        Measure::Parallel => limits.parallel,
    };
    let used = |standing: &Standing| match first.measure {
        Measure::Budget => standing.spent.0,
        Measure::Quota => standing.quota,
        Measure::Requests => standing.requests,
        Measure::Tokens => standing.tokens,
        Measure::Parallel => standing.parallel,
    };
    let used = refusals.iter().map(|(ledger, _)| used(&ledger.standing(stamp, now))).fold(0, u64::saturating_add);
    let frees = refusals.iter().filter_map(|(_, over)| over.frees).min();
    Some(Over { limit: whole(first.measure)?, used, frees, ..*first })
}

/// The attribute of a hold: 48 bits of its hash tell the few apart that are under way in one item.
pub(super) fn hold(id: &str) -> String {
    let digest = digest(&SHA256, id.as_bytes());
    format!("H{}", URL_SAFE_NO_PAD.encode(digest.as_ref().get(..6).unwrap_or_default()))
}

fn at(kind: char, mut place: u64) -> String {
    let mut digits = Vec::with_capacity(13);
    loop {
        digits.push(char::from_digit((place % 36) as u32, 36).unwrap_or('0'));
        place /= 36;
        if place == 0 {
            break;
        }
    }
    digits.push(kind);
    digits.iter().rev().collect()
}

/// Reads an item.
pub(super) fn ledger(item: &Item) -> Ledger {
    let mut ledger = Ledger::default();
    for (name, value) in item {
        let (Some((kind, rest)), Some(count)) = (name.split_at_checked(1), whole(value)) else { continue };
        if kind == "H" {
            ledger.holds.insert(rest.to_owned(), count);
            continue;
        }
        let counts = match kind {
            "S" => &mut ledger.spent,
            "Q" => &mut ledger.quota,
            "R" => &mut ledger.requests,
            "T" => &mut ledger.tokens,
            _ => continue,
        };
        if let Ok(place) = u64::from_str_radix(rest, 36) {
            counts.insert(place, count);
        }
    }
    ledger
}

/// What two parts of a scope have used together.
pub(super) fn join(mut ledger: Ledger, other: Ledger) -> Ledger {
    let Ledger { spent, quota, requests, tokens, holds } = other;
    for (into, from) in [
        (&mut ledger.spent, spent),
        (&mut ledger.quota, quota),
        (&mut ledger.requests, requests),
        (&mut ledger.tokens, tokens),
    ] {
        for (place, count) in from {
            let sum = into.entry(place).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    ledger.holds.extend(holds);
    ledger
}

/// The attributes of an item that no longer count. Of the windows the last one before stays, as in the [`Ledger`]: another
/// clock may be a little behind.
pub(super) fn stale(ledger: &Ledger, stamp: &Stamp, now: u64) -> Vec<String> {
    let lapsed = ledger.holds.iter().filter(|(_, lapses)| **lapses <= now).map(|(hold, _)| format!("H{hold}"));
    let mut stale: Vec<String> = lapsed.take(CLEANED / 3).collect();
    for (kind, counts, start) in [
        ('S', &ledger.spent, stamp.budget.start),
        ('Q', &ledger.quota, stamp.quota.start),
        ('R', &ledger.requests, stamp.step),
        ('T', &ledger.tokens, stamp.step),
    ] {
        let before: Vec<u64> = counts.range(..start).map(|(place, _)| *place).collect();
        stale.extend(before.iter().rev().skip(1).map(|place| at(kind, *place)));
    }
    stale.truncate(CLEANED);
    stale
}

/// Some of the holds that have lapsed, by attribute.
pub(super) fn lapsed(ledger: &Ledger, now: u64) -> Vec<String> {
    let lapsed = ledger.holds.iter().filter(|(_, lapses)| **lapses <= now);
    lapsed.map(|(hold, _)| format!("H{hold}")).take(CLEANED).collect()
}

/// Only removes holds that have lapsed: for when there are more than one write can be rid of.
pub(super) fn clearing(lapsed: &[String]) -> Expression {
    let mut write = Expression::default();
    for name in lapsed {
        write.demand_there(name);
        write.remove(name);
    }
    write.add(PARALLEL, -(lapsed.len() as i128));
    write
}

/// Counts a request, where every limit has room. `lapsed` holds are removed first, as it were: they must be there.
pub(super) fn admission(claim: &Claim, limits: &Limits, stamp: &Stamp, lapsed: &[String]) -> Expression {
    let mut write = Expression::default();
    let own = hold(&claim.hold);
    let asked = claim.estimate;
    write.demand_absent(&own);
    let freed = lapsed.len() as u64;
    let room = |limit: u64, asked: u64| limit.saturating_sub(asked);
    if let Some((most, _)) = limits.budget {
        write.demand_at_most(&at('S', stamp.budget.start), room(most.0, asked.cost.0.max(1)));
    }
    if let Some((most, _)) = limits.quota {
        write.demand_at_most(&at('Q', stamp.quota.start), room(most, asked.tokens.max(1)));
    }
    if let Some(most) = limits.rpm {
        write.demand_at_most(&at('R', stamp.step), room(most, 1));
    }
    if let Some(most) = limits.tpm {
        write.demand_at_most(&at('T', stamp.step), room(most, asked.tokens));
    }
    if let Some(most) = limits.parallel {
        write.demand_at_most(PARALLEL, room(most, 1).saturating_add(freed));
    }
    for name in lapsed {
        write.demand_there(name);
        write.remove(name);
    }
    write.add(PARALLEL, 1 - i128::from(freed));
    let (tokens, cost) = (i128::from(asked.tokens), i128::from(asked.cost.0));
    count(&mut write, limits, stamp, stamp.step, &Change { cost, quota: tokens, tokens, requests: 1 });
    write.set(&own, number(claim.lapses));
    match ends(claim, limits, stamp) {
        Some(ends) => write.set(ENDS, number(ends)),
        None => write.remove(ENDS),
    }
    write
}

/// When the table may delete the item, in Unix seconds. What is spent for ever is kept for ever, and so it is where there is no
/// budget: then it is what an administrator sees as spent.
fn ends(claim: &Claim, limits: &Limits, stamp: &Stamp) -> Option<u64> {
    limits.budget?;
    let quota = match limits.quota {
        Some(_) => stamp.quota.end?,
        None => 0,
    };
    let last = [stamp.budget.end?, quota, claim.lapses, (stamp.step + STEPS) * STEP].into_iter().max()?;
    Some(last.saturating_add(AFTERWARDS) / 1000)
}

/// What a write adds to the counts.
struct Change {
    cost: i128,
    quota: i128,
    tokens: i128,
    requests: i128,
}

fn count(write: &mut Expression, limits: &Limits, stamp: &Stamp, from: u64, change: &Change) {
    let Change { cost, quota, tokens, requests } = *change;
    if cost != 0 {
        write.add(&at('S', stamp.budget.start), cost);
    }
    if limits.quota.is_some() && quota != 0 {
        write.add(&at('Q', stamp.quota.start), quota);
    }
    for step in from..stamp.step + STEPS {
        if limits.rpm.is_some() && requests != 0 {
            write.add(&at('R', step), requests);
        }
        if limits.tpm.is_some() && tokens != 0 {
            write.add(&at('T', step), tokens);
        }
    }
}

/// Puts what was used in place of the estimate, or, without it, takes the request out again, where the hold is still there and has not lapsed. `clean` also removes lapsed
/// holds that were seen at admission; where another was quicker, nothing is done.
pub(super) fn settlement(of: &Hold, held: &Held, used: Option<Estimate>, now: u64, clean: bool) -> Expression {
    let mut write = leave(&of.id, held, clean);
    let (own, moment) = (write.name(&hold(&of.id)), write.value(number(now)));
    write.demand(format!("{own} > {moment}"));
    let from = of.estimate;
    let (requests, used) = (if used.is_some() { 0 } else { -1 }, used.unwrap_or_default());
    let tokens = i128::from(used.tokens) - i128::from(from.tokens);
    let cost = i128::from(used.cost.0) - i128::from(from.cost.0);
    // A window that ended long ago may be cleaned up already, and nobody looks at it.
    let lasts = |window: &Window| window.end.is_none_or(|end| now < end.saturating_add(end - window.start.min(end)));
    let change = Change {
        cost: if lasts(&held.stamp.budget) { cost } else { 0 },
        quota: if lasts(&held.stamp.quota) { tokens } else { 0 },
        tokens,
        requests,
    };
    count(&mut write, &held.limits, &held.stamp, held.stamp.step.max(now / STEP), &change);
    write
}

/// Takes a request back that another scope has no room for.
pub(super) fn withdrawal(claim: &Claim, held: &Held) -> Expression {
    let mut write = leave(&claim.hold, held, false);
    let asked = claim.estimate;
    let (tokens, cost) = (-i128::from(asked.tokens), -i128::from(asked.cost.0));
    count(
        &mut write,
        &held.limits,
        &held.stamp,
        held.stamp.step,
        &Change { cost, quota: tokens, tokens, requests: -1 },
    );
    write
}

fn leave(id: &str, held: &Held, clean: bool) -> Expression {
    let mut write = Expression::default();
    let own = hold(id);
    write.demand_there(&own);
    write.remove(&own);
    let mut gone = 1;
    for name in &held.stale {
        if !name.starts_with('H') {
            write.remove(name);
        } else if clean {
            write.demand_there(name);
            write.remove(name);
            gone += 1;
        }
    }
    write.add(PARALLEL, -gone);
    write
}

/// Whether the item has this claim in it: an earlier try got through, though nobody heard of it.
pub(super) fn has(item: &Item, claim: &Claim) -> bool {
    number_of(item, &hold(&claim.hold)).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::expression::text;
    use super::*;
    use crate::meter::Money;
    use crate::meter::period::Period;

    /// 2026-11-21T01:00:00Z.
    const NOW: u64 = 1_795_222_800_000;

    fn all() -> Limits {
        Limits {
            budget: Some((Money(100), Period::Seconds(3600))),
            quota: Some((1000, Period::Months(1))),
            rpm: Some(10),
            tpm: Some(500),
            parallel: Some(3),
            anchor: NOW,
        }
    }

    fn claim(limits: &Limits, tokens: u64, cost: u64) -> Claim {
        let scope = Scope { id: "key:a".into(), limits: limits.clone(), shards: 1 };
        let estimate = Estimate { tokens, cost: Money(cost) };
        Claim { hold: "hold".into(), scopes: vec![scope], estimate, lapses: NOW + 900_000 }
    }

    fn held(limits: &Limits, stale: &[&str]) -> Held {
        let stale = stale.iter().map(|name| (*name).to_owned()).collect();
        Held { scope: "key:a".into(), limits: limits.clone(), stamp: limits.stamp(NOW), shard: 0, stale }
    }

    /// An expression with its placeholders filled in.
    fn told(write: &Expression) -> [String; 2] {
        let mut texts = [write.update().unwrap_or_default(), write.condition().unwrap_or_default()];
        let values = write.values().unwrap_or_default();
        let values = values.iter().map(|(name, value)| (name.clone(), value.as_n().unwrap().clone()));
        let mut all: Vec<(String, String)> = write.names().unwrap_or_default().into_iter().chain(values).collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for text in &mut texts {
            for (name, value) in &all {
                assert!(write.update().unwrap().contains(name) || write.condition().unwrap().contains(name), "{name}");
                *text = text.replace(name, value);
            }
        }
        texts
    }

    #[test]
    fn one_condition_decides_all_limits() {
        let limits = all();
        let write = admission(&claim(&limits, 100, 4), &limits, &limits.stamp(NOW), &[]);
        let [update, condition] = told(&write);
        let room = |name: &str, most: u64| format!("(attribute_not_exists({name}) OR {name} <= {most})");
        let own = hold("hold");
        assert_eq!(own.len(), 9);
        let parts = [
            format!("attribute_not_exists({own})"),
            room("Smwppaxs0", 96),
            room("Qmvx2cqo0", 900),
            room("R2yvsa0", 9),
            room("T2yvsa0", 400),
            room("P", 2),
        ];
        assert_eq!(condition, parts.join(" AND "));
        let steps = (0..STEPS).map(|step| (at('R', NOW / STEP + step), at('T', NOW / STEP + step)));
        let steps: Vec<String> = steps.map(|(requests, tokens)| format!("{requests} 1, {tokens} 100")).collect();
        let added = format!("P 1, Smwppaxs0 4, Qmvx2cqo0 100, {}", steps.join(", "));
        assert_eq!(update, format!("SET {own} = 1795223700000, ends = 1796169600 ADD {added}"));
        assert!(
            write.update().unwrap().len() + write.condition().unwrap().len() < 4096,
            "what an expression may be long"
        );
    }

    #[test]
    fn a_limit_that_is_not_set_is_neither_asked_nor_counted_but_what_is_spent_is() {
        let limits = Limits { parallel: Some(1), ..Limits::default() };
        let lapsed = ["Hlapsed1".to_owned(), "Hlapsed2".to_owned()];
        let [update, condition] = told(&admission(&claim(&limits, 100, 4), &limits, &limits.stamp(NOW), &lapsed));
        let own = hold("hold");
        assert_eq!(update, format!("SET {own} = 1795223700000 ADD P -1, S0 4 REMOVE Hlapsed1, Hlapsed2, ends"));
        let there = "attribute_exists(Hlapsed1) AND attribute_exists(Hlapsed2)";
        let room = "(attribute_not_exists(P) OR P <= 2)";
        assert_eq!(condition, format!("attribute_not_exists({own}) AND {room} AND {there}"));
    }

    #[test]
    fn settling_adds_the_difference_and_cleans_up() {
        let limits = all();
        let claim = claim(&limits, 100, 4);
        let held = held(&limits, &["R1", "Hlapsed"]);
        let of = Hold { id: claim.hold.clone(), scopes: Vec::new(), estimate: claim.estimate };
        let used = Estimate { tokens: 30, cost: Money(9) };
        let own = hold("hold");
        let counted = "Smwppaxs0 5, Qmvx2cqo0 -70, T2yvsa4 -70, T2yvsa5 -70, T2yvsa6 -70";
        // Forty seconds later four steps are over.
        let [update, condition] = told(&settlement(&of, &held, Some(used), NOW + 40_000, true));
        assert_eq!(update, format!("ADD P -2, {counted} REMOVE {own}, R1, Hlapsed"));
        let there = format!("attribute_exists({own}) AND attribute_exists(Hlapsed)");
        assert_eq!(condition, format!("{there} AND {own} > 1795222840000"));
        let [update, condition] = told(&settlement(&of, &held, Some(used), NOW + 40_000, false));
        assert_eq!(update, format!("ADD P -1, {counted} REMOVE {own}, R1"));
        assert_eq!(condition, format!("attribute_exists({own}) AND {own} > 1795222840000"));
        // Two hours later the budget's window is forgotten.
        let [update, _] = told(&settlement(&of, &held, Some(used), NOW + 7_200_000, false));
        assert_eq!(update, format!("ADD P -1, Qmvx2cqo0 -70 REMOVE {own}, R1"));
        let [update, condition] = told(&withdrawal(&claim, &held));
        assert!(update.starts_with("ADD P -1, Smwppaxs0 -4, Qmvx2cqo0 -100, R2yvsa0 -1, T2yvsa0 -100,"), "{update}");
        assert_eq!(condition, format!("attribute_exists({own})"));
    }

    #[test]
    fn an_item_is_read_as_the_ledger_that_it_is() {
        let item: Item = [
            ("pk", text("SCOPE#key:a#0")),
            ("sk", text("#")),
            ("P", number(2_u64)),
            ("N", number(4_u64)),
            ("ends", number(1_u64)),
            ("Smwppaxs0", number(7_u64)),
            ("S0", number(-3_i64)),
            ("Q0", number(i128::from(u64::MAX) + 9)),
            ("R2yvsa0", number(1_u64)),
            ("T2yvsa0", number(20_u64)),
            ("Habcd_-12", number(NOW + 5)),
            ("R!", number(1_u64)),
            ("", number(1_u64)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let step = NOW / STEP;
        let want = Ledger {
            spent: [(0, 0), (NOW, 7)].into(),
            quota: [(0, u64::MAX)].into(),
            requests: [(step, 1)].into(),
            tokens: [(step, 20)].into(),
            holds: [("abcd_-12".to_owned(), NOW + 5)].into(),
        };
        assert_eq!(ledger(&item), want);
        assert_eq!(join(want.clone(), want.clone()).tokens[&step], 40);
    }

    #[test]
    fn what_no_longer_counts_is_stale_but_for_the_last_window() {
        let mut ledger = Ledger::default();
        let limits = all();
        let step = NOW / STEP;
        ledger.requests.extend((step - 9..step + 6).map(|step| (step, 1)));
        ledger.spent.extend([(NOW - 7_200_000, 1), (NOW - 3_600_000, 1), (NOW, 1)]);
        ledger.holds.extend([("gone".to_owned(), NOW), ("here".to_owned(), NOW + 1)]);
        let mut stale = stale(&ledger, &limits.stamp(NOW), NOW);
        stale.sort();
        let mut want: Vec<String> = (step - 9..step - 1).map(|step| at('R', step)).collect();
        want.extend([at('S', NOW - 7_200_000), "Hgone".to_owned()]);
        want.sort();
        assert_eq!(stale, want);
        ledger.requests.extend((0..500).map(|step| (step, 1)));
        assert_eq!(super::stale(&ledger, &limits.stamp(NOW), NOW).len(), CLEANED);
    }

    #[test]
    fn a_lifetime_budget_is_never_deleted() {
        let forever = Some((Money(1), Period::Forever));
        let claim = claim(&all(), 1, 1);
        let ends = |limits: &Limits| ends(&claim, limits, &limits.stamp(NOW));
        let month = 1_796_083_200 + 86_400;
        for (limits, want) in [
            (all(), Some(month)),
            (Limits { quota: None, ..all() }, Some((NOW + 3_600_000) / 1000 + 86_400)),
            (Limits { budget: forever, ..all() }, None),
            (Limits { budget: None, ..all() }, None),
            (Limits { quota: Some((1, Period::Forever)), ..all() }, None),
        ] {
            assert_eq!(ends(&limits), want, "{limits:?}");
        }
    }

    #[test]
    fn shares_are_the_whole_and_none_is_nothing() {
        let scope = |limits: Limits, shards| Scope { id: "gateway".into(), limits, shards };
        for (limits, shards, want) in [
            (all(), 8, 3),
            (all(), 2, 2),
            (Limits { rpm: Some(0), ..Limits::default() }, 8, 1),
            (Limits { rpm: Some(5000), ..Limits::default() }, 8, 8),
            (Limits::default(), 0, 1),
        ] {
            assert_eq!(parts(&scope(limits, shards)), want);
        }
        let shares: Vec<Limits> = (0..3).map(|shard| share(&all(), shard, 3)).collect();
        assert_eq!(shares.iter().map(|share| share.rpm.unwrap()).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares.iter().map(|share| share.budget.unwrap().0.0).sum::<u64>(), 100);
        assert_eq!(share(&all(), 0, 1), all());
    }
}
