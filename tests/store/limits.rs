//! Admission and settlement.

use std::collections::HashMap;
use std::sync::Arc;

use feathergate::meter::Money;
use feathergate::meter::ledger::{Limits, Measure, Over, Standing};
use feathergate::meter::period::Period;
use feathergate::store::memory::Memory;
use feathergate::store::{Admission, Hold, Keep, Store};
use futures::future::join_all;

use crate::kit::{
    ALL, Case, DAY, Dice, MINUTE, NOW, RATE, asks, claim, days, entry, every_day, held, refused, settlement, standing,
};

/// Limits that two requests of 100 tokens and 4 units fill, what refuses the third, and when it frees.
fn filled_by_two() -> [(Limits, Over); 5] {
    let day = Period::Seconds(86_400);
    let over = |measure, limit, asked, frees: Option<u64>| Over {
        measure,
        limit,
        used: limit,
        asked,
        frees: frees.map(|after| NOW + after),
    };
    let cases = [
        (Limits { budget: Some((Money(8), day)), ..Limits::default() }, over(Measure::Budget, 8, 4, Some(DAY))),
        (Limits { quota: Some((200, day)), ..Limits::default() }, over(Measure::Quota, 200, 100, Some(DAY))),
        (Limits { rpm: Some(2), ..Limits::default() }, over(Measure::Requests, 2, 1, Some(RATE))),
        (Limits { tpm: Some(200), ..Limits::default() }, over(Measure::Tokens, 200, 100, Some(RATE))),
        (Limits { parallel: Some(2), ..Limits::default() }, over(Measure::Parallel, 2, 1, None)),
    ];
    cases.map(|(limits, over)| (Limits { anchor: NOW, ..limits }, over))
}

fn wide() -> Limits {
    Limits {
        budget: Some((Money(1_000_000), Period::Months(1))),
        quota: Some((1_000_000, Period::Seconds(86_400))),
        rpm: Some(100_000),
        tpm: Some(1_000_000),
        parallel: Some(10_000),
        anchor: NOW,
    }
}

pub async fn each_limit_refuses_exactly_what_goes_beyond_it(case: Case) {
    let store = case.store().await;
    for (limits, over) in filled_by_two() {
        let id = format!("key:{:?}", over.measure);
        let claim = |hold: &str| claim(hold, &[(&id, &limits)], asks(100, 4));
        held(&*store, &claim("a"), NOW).await;
        let (hold, standings) = held(&*store, &claim("b"), NOW).await;
        assert_eq!((hold.id.as_str(), hold.estimate, hold.scopes.len()), ("b", asks(100, 4), 1));
        assert_eq!((&hold.scopes[0].scope, hold.scopes[0].stamp), (&id, limits.stamp(NOW)));
        let used = standing(&*store, &id, &limits, NOW).await;
        // Of limits that are not set a store need not know what is used.
        let seen = |standing: &Standing| match over.measure {
            Measure::Budget => standing.spent.0,
            Measure::Quota => standing.quota,
            Measure::Requests => standing.requests,
            Measure::Tokens => standing.tokens,
            Measure::Parallel => standing.parallel,
        };
        assert_eq!((seen(&standings[0]), seen(&used)), (over.used, over.used), "{id}");
        assert_eq!(refused(&*store, &claim("c"), NOW).await, (0, over), "{id}");
        assert_eq!(standing(&*store, &id, &limits, NOW).await, used, "a refusal counts nothing");
        if let Some(frees) = over.frees {
            refused(&*store, &claim("d"), frees - 1).await;
            held(&*store, &claim("e"), frees).await;
        }
    }
    let never = Limits { tpm: Some(99), ..Limits::default() };
    let (_, over) = refused(&*store, &claim("f", &[("key:never", &never)], asks(100, 0)), NOW).await;
    assert_eq!(over, Over { measure: Measure::Tokens, limit: 99, used: 0, asked: 100, frees: None });
}

pub async fn a_scope_without_room_keeps_all_others_uncounted(case: Case) {
    let store = case.store().await;
    for (number, (limits, over)) in filled_by_two().into_iter().enumerate() {
        for full in 0..4 {
            let id = |scope: &str| format!("{scope}:{number}-{full}");
            let ids = [id("key"), id("team"), id("model"), id("gateway")];
            let wide = wide();
            let scopes: Vec<(&str, &Limits)> = ids
                .iter()
                .enumerate()
                .map(|(at, id)| (id.as_str(), if at == full { &limits } else { &wide }))
                .collect();
            let claim = |hold: &str| claim(&format!("{hold}{number}{full}"), &scopes, asks(100, 4));
            held(&*store, &claim("a"), NOW).await;
            let (_, standings) = held(&*store, &claim("b"), NOW).await;
            assert_eq!(standings.len(), 4);
            assert_eq!(refused(&*store, &claim("c"), NOW).await, (full, over));
            for (id, limits) in &scopes {
                let used = standing(&*store, id, limits, NOW).await;
                assert_eq!((used.spent, used.parallel), (Money(8), 2), "{id}");
            }
        }
    }
}

pub async fn many_at_once_use_each_limit_to_its_end_and_no_further(case: Case) {
    let stores = case.pair().await;
    let cases = [
        (Limits { budget: Some((Money(37 * 4), Period::Forever)), ..Limits::default() }, 37),
        (Limits { quota: Some((41 * 10 + 9, Period::Forever)), ..Limits::default() }, 41),
        (Limits { rpm: Some(23), ..Limits::default() }, 23),
        (Limits { tpm: Some(310), ..Limits::default() }, 31),
        (Limits { parallel: Some(29), ..Limits::default() }, 29),
        (Limits { rpm: Some(30), parallel: Some(19), tpm: Some(500), ..wide() }, 19),
    ];
    for (number, (limits, room)) in cases.into_iter().enumerate() {
        let id = format!("key:{number}");
        let tasks = (0..80).map(|task| {
            let store = Arc::clone(&stores[task % 2]);
            let claim = claim(&format!("h{number}x{task}"), &[(&id, &limits), ("gateway", &wide())], asks(10, 4));
            tokio::spawn(async move { store.admit(&claim, NOW).await.unwrap() })
        });
        let all = join_all(tasks).await;
        let admitted = all.iter().filter(|admission| matches!(admission, Ok(Admission::Held(..)))).count();
        assert_eq!(admitted, room, "{limits:?}");
        assert_eq!(standing(&*stores[0], &id, &limits, NOW).await.spent, Money(4 * room as u64));
    }
    let used = standing(&*stores[1], "gateway", &wide(), NOW).await;
    assert_eq!((used.requests, used.parallel, used.spent), (180, 180, Money(720)));
}

pub async fn claims_in_any_order_of_scopes_all_get_through(case: Case) {
    let stores = case.pair().await;
    let wide = wide();
    let ids = ["key:a", "team:b", "model:c", "gateway"];
    let tasks = (0..48).map(|task| {
        let store = Arc::clone(&stores[task % 2]);
        let mut scopes: Vec<(&str, &Limits)> = ids.iter().map(|id| (*id, &wide)).collect();
        scopes.rotate_left(task % 4);
        if task % 8 > 3 {
            scopes.reverse();
        }
        let claim = claim(&format!("h{task}"), &scopes, asks(10, 4));
        tokio::spawn(async move {
            let (hold, standings) = held(&*store, &claim, NOW).await;
            assert_eq!(standings.len(), 4);
            let names = |scopes: &[_], name: fn(&_) -> String| scopes.iter().map(name).collect::<Vec<_>>();
            let asked: Vec<String> = claim.scopes.iter().map(|scope| scope.id.clone()).collect();
            assert_eq!(names(&hold.scopes, |held| held.scope.clone()), asked, "the order of the claim");
            let done = settlement(Some(hold), asks(7, 3), entry(NOW, task as u64));
            store.settle(&done, NOW + 5).await.unwrap();
        })
    });
    join_all(tasks).await.into_iter().for_each(|done| done.unwrap());
    for id in ids {
        let used = standing(&*stores[0], id, &wide, NOW).await;
        let want = Standing { spent: Money(48 * 3), quota: 48 * 7, requests: 48, tokens: 48 * 7, parallel: 0 };
        assert_eq!(used, want, "{id}");
    }
}

/// The memory store is little but the ledger; what it answers to a long row of chance requests, all must.
pub async fn every_store_counts_as_the_ledger_does(case: Case) {
    let store = case.store().await;
    let model = Memory::new(Keep::default());
    let limits = [
        Limits { budget: Some((Money(400), Period::Seconds(90))), parallel: Some(6), ..Limits::default() },
        Limits { quota: Some((3000, Period::Seconds(40))), rpm: Some(14), ..Limits::default() },
        Limits {
            tpm: Some(2000),
            budget: Some((Money(9_000), Period::Forever)),
            anchor: NOW - 7777,
            ..Limits::default()
        },
        Limits { rpm: Some(25), tpm: Some(4000), parallel: Some(9), quota: Some((9000, Period::Months(1))), ..wide() },
    ];
    let mut dice = Dice(5);
    let mut now = NOW;
    let mut open: HashMap<String, (Hold, Hold)> = HashMap::new();
    let (mut admitted, mut settled) = (0, 0);
    for turn in 0..if case.slow() { 300_u64 } else { 600 } {
        now += dice.below(4000);
        // Another instance's clock. Where holds that have lapsed stay until the next write, one that is behind still sees them.
        let behind = dice.below(3) * 4000;
        let now = if case.slow() { now } else { now - behind };
        if dice.below(5) < 3 {
            let first = dice.below(4) as usize;
            let count = 1 + dice.below(3) as usize;
            let scopes: Vec<(String, &Limits)> =
                (first..first + count).map(|at| (format!("key:{}", at % 4), &limits[at % 4])).collect();
            let scopes: Vec<(&str, &Limits)> = scopes.iter().map(|(id, limits)| (id.as_str(), *limits)).collect();
            let mut claim = claim(&format!("h{turn}"), &scopes, asks(dice.below(400), dice.below(60)));
            claim.lapses = now + 1 + dice.below(120_000);
            match (store.admit(&claim, now).await.unwrap(), model.admit(&claim, now).await.unwrap()) {
                (Admission::Held(hold, standings), Admission::Held(like, want)) => {
                    for ((mine, want), scope) in standings.iter().zip(&want).zip(&claim.scopes) {
                        assert_same(mine, want, &scope.limits, turn);
                    }
                    open.insert(claim.hold, (hold, like));
                    admitted += 1;
                }
                (mine, want) => assert_eq!(mine, want, "turn {turn}"),
            }
        } else if let Some(name) = open.keys().min().cloned() {
            let (hold, like) = open.remove(&name).unwrap();
            let used = asks(dice.below(500), dice.below(70));
            store.settle(&settlement(Some(hold), used, entry(now, turn)), now).await.unwrap();
            model.settle(&settlement(Some(like), used, entry(now, turn)), now).await.unwrap();
            settled += 1;
        }
        let at = dice.below(4) as usize;
        let id = format!("key:{at}");
        let [mine, want] =
            [standing(&*store, &id, &limits[at], now).await, standing(&model, &id, &limits[at], now).await];
        assert_same(&mine, &want, &limits[at], turn);
    }
    assert!(admitted > 100 && settled > 80, "{admitted} {settled}");
    assert_eq!(days(&*store, &every_day()).await, days(&model, &every_day()).await);
    assert_eq!(store.entries(&ALL).await.unwrap(), model.entries(&ALL).await.unwrap());
}

/// The same use of every limit that is set.
fn assert_same(mine: &Standing, want: &Standing, limits: &Limits, turn: u64) {
    let set = |standing: &Standing| {
        [
            limits.budget.map(|_| standing.spent.0),
            limits.quota.map(|_| standing.quota),
            limits.rpm.map(|_| standing.requests),
            limits.tpm.map(|_| standing.tokens),
            limits.parallel.map(|_| standing.parallel),
        ]
    };
    assert_eq!(set(mine), set(want), "turn {turn}: {limits:?}");
}

pub async fn a_hold_that_lapses_frees_its_place_and_stays_charged(case: Case) {
    let store = case.store().await;
    let limits = Limits { parallel: Some(1), budget: Some((Money(100), Period::Forever)), ..Limits::default() };
    for (id, next) in [("key:followed", true), ("key:alone", false)] {
        let mut killed = claim(&format!("killed{next}"), &[(id, &limits)], asks(1, 40));
        killed.lapses = NOW + 5000;
        let (hold, _) = held(&*store, &killed, NOW).await;
        let another = claim(&format!("next{next}"), &[(id, &limits)], asks(1, 40));
        assert_eq!(refused(&*store, &another, NOW + 4999).await.1.measure, Measure::Parallel);
        let mut charged = 40;
        if next {
            held(&*store, &another, NOW + 5000).await;
            charged = 80;
        }
        let late = settlement(Some(hold), asks(1, 1), entry(NOW, u64::from(next)));
        store.settle(&late, NOW + 6000).await.unwrap();
        let used = standing(&*store, id, &limits, NOW + 6000).await;
        assert_eq!((used.spent.0, used.parallel), (charged, u64::from(next)), "{id}: the estimate stays");
    }
    assert_eq!(store.entries(&ALL).await.unwrap().entries.len(), 2, "late ones are recorded all the same");
}

pub async fn settling_replaces_the_estimate_once(case: Case) {
    let store = case.store().await;
    for (number, used) in [asks(7, 3), asks(0, 0), asks(900, 950), asks(100, 40)].into_iter().enumerate() {
        let id = format!("key:{number}");
        let scopes = [(id.as_str(), &wide()), ("team:t", &wide())];
        let claim = |hold: &str, estimate| claim(&format!("{hold}{number}"), &scopes, estimate);
        let (hold, _) = held(&*store, &claim("a", asks(100, 40)), NOW).await;
        held(&*store, &claim("b", asks(1, 1)), NOW).await;
        let done = settlement(Some(hold), used, entry(NOW, number as u64));
        for _ in 0..3 {
            store.settle(&done, NOW + 2000).await.unwrap();
            let want = Standing {
                spent: Money(used.cost.0 + 1),
                quota: used.tokens + 1,
                requests: 2,
                tokens: used.tokens + 1,
                parallel: 1,
            };
            assert_eq!(standing(&*store, &id, &wide(), NOW + 2000).await, want);
        }
    }
    assert_eq!(standing(&*store, "team:t", &wide(), NOW).await.spent, Money(3 + 950 + 40 + 4));
    assert_eq!(store.entries(&ALL).await.unwrap().entries.len(), 4);
    assert_eq!(days(&*store, &every_day()).await.iter().map(|day| day.sums.requests).sum::<u64>(), 4);
}

pub async fn settling_at_once_many_times_counts_once(case: Case) {
    let stores = case.pair().await;
    let limits = wide();
    let (hold, _) =
        held(&*stores[0], &claim("a", &[("key:a", &limits), ("gateway", &limits)], asks(100, 40)), NOW).await;
    let done = settlement(Some(hold), asks(30, 10), entry(NOW, 1));
    let tasks = (0..16).map(|task| {
        let (store, done) = (Arc::clone(&stores[task % 2]), done.clone());
        tokio::spawn(async move { store.settle(&done, NOW + 9).await.unwrap() })
    });
    join_all(tasks).await.into_iter().for_each(|done| done.unwrap());
    let want = Standing { spent: Money(10), quota: 30, requests: 1, tokens: 30, parallel: 0 };
    assert_eq!(standing(&*stores[0], "key:a", &limits, NOW).await, want);
    assert_eq!(stores[1].entries(&ALL).await.unwrap().entries, [done.entry.clone().unwrap()]);
    let days = days(&*stores[0], &every_day()).await;
    assert_eq!((days.len(), days[0].sums), (1, done.entry.unwrap().sums()));
}

pub async fn settling_after_its_window_counts_in_its_window(case: Case) {
    let store = case.store().await;
    let window = Period::Seconds(30);
    let limits = Limits {
        budget: Some((Money(100), window)),
        quota: Some((1000, window)),
        tpm: Some(1000),
        anchor: NOW,
        ..Limits::default()
    };
    let (hold, _) = held(&*store, &claim("a", &[("key:a", &limits)], asks(500, 40)), NOW).await;
    let then = NOW + 35_000;
    held(&*store, &claim("b", &[("key:a", &limits)], asks(1, 1)), then).await;
    store.settle(&settlement(Some(hold), asks(80, 90), entry(NOW, 1)), then).await.unwrap();
    let before = standing(&*store, "key:a", &limits, NOW + 29_000).await;
    assert_eq!((before.spent, before.quota), (Money(90), 80), "the window that it was admitted in");
    let after = standing(&*store, "key:a", &limits, then).await;
    assert_eq!((after.spent, after.quota), (Money(1), 1), "and not the one that it ended in");
    assert_eq!(after.tokens, 81, "of the minute, what is left of it");
    // Much later, when that window is forgotten: nothing is made up.
    let (hold, _) = held(&*store, &claim("c", &[("key:a", &limits)], asks(10, 5)), then).await;
    let later = NOW + 10 * MINUTE;
    for hold in ["d", "e"] {
        held(&*store, &claim(hold, &[("key:a", &limits)], asks(1, 2)), later + if hold == "e" { 30_000 } else { 0 })
            .await;
    }
    store.settle(&settlement(Some(hold), asks(999, 99), entry(NOW, 2)), later + 30_000).await.unwrap();
    let used = standing(&*store, "key:a", &limits, later + 30_000).await;
    assert_eq!((used.spent, used.quota), (Money(2), 1));
}

pub async fn a_clock_that_is_a_little_behind_meets_what_was_counted(case: Case) {
    let store = case.store().await;
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    held(&*store, &claim("a", &[("key:r", &limits)], asks(1, 9)), NOW).await;
    held(&*store, &claim("b", &[("key:r", &limits)], asks(1, 9)), NOW + RATE).await;
    let (_, over) = refused(&*store, &claim("c", &[("key:r", &limits)], asks(1, 1)), NOW + RATE - 1).await;
    assert_eq!(over.measure, Measure::Requests);
    let limits = Limits { budget: Some((Money(9), Period::Seconds(3600))), anchor: NOW, ..Limits::default() };
    held(&*store, &claim("d", &[("key:b", &limits)], asks(1, 9)), NOW).await;
    held(&*store, &claim("e", &[("key:b", &limits)], asks(1, 9)), NOW + 60 * MINUTE).await;
    let (_, over) = refused(&*store, &claim("f", &[("key:b", &limits)], asks(1, 1)), NOW + 60 * MINUTE - 5).await;
    assert_eq!((over.measure, over.used, over.frees), (Measure::Budget, 9, Some(NOW + 60 * MINUTE)));
}

pub async fn a_settlement_without_a_hold_is_recorded_only(case: Case) {
    let store = case.store().await;
    store.settle(&settlement(None, asks(50, 60), entry(NOW, 1)), NOW).await.unwrap();
    // Of a scope that the store has never seen: another program's, or one that was lost.
    let other = Memory::new(Keep::default());
    let (hold, _) = held(&other, &claim("a", &[("key:gone", &wide())], asks(1, 1)), NOW).await;
    store.settle(&settlement(Some(hold), asks(50, 60), entry(NOW, 2)), NOW).await.unwrap();
    assert_eq!(standing(&*store, "key:gone", &wide(), NOW).await, Standing::default());
    assert_eq!(store.entries(&ALL).await.unwrap().entries.len(), 2);
    let ids = ["key:gone".to_owned(), "key:never".to_owned()];
    assert_eq!(store.ledgers(&ids).await.unwrap().len(), 2);
    assert_eq!(store.ledgers(&[]).await.unwrap(), []);
}
