//! Entries and the sums by day.

use std::collections::BTreeMap;

use feathergate::meter::Money;
use feathergate::meter::ledger::Limits;
use feathergate::store::usage::{Daily, DailyQuery, Entry, EntryQuery, Sums, Tokens};
use feathergate::store::{Change, Keep, Kind, Store};

use crate::kit::{
    ALL, Case, DAY, Dice, NOW, act, asks, claim, days, document, entry, every_day, held, pages, place, record, save,
    standing, summed,
};

/// Entries of three days, of every mixture.
fn mixture() -> Vec<Entry> {
    let mut dice = Dice(11);
    let mut pick = |names: &[&str]| names[dice.below(names.len() as u64) as usize].to_owned();
    let entries = (0..150_u64).map(|number| Entry {
        key: pick(&["key_1", "key_2", ""]),
        team: pick(&["team_1", "team_2", ""]),
        model: pick(&["gpt", "claude", "KEY_1"]),
        upstream: pick(&["openai", "anthropic"]),
        end_user: pick(&["ada", "Ada", ""]),
        request_id: pick(&["mine", "req_1", "req_2"]),
        error: Some(pick(&["", "timeout"])).filter(|error| !error.is_empty()),
        cost: Some(Money(number)).filter(|_| number % 7 > 0),
        ..entry(NOW - 3 * DAY + number * 1_700_000, number)
    });
    entries.collect()
}

async fn recorded(store: &dyn Store) -> Vec<Entry> {
    let mut entries = mixture();
    // Not in the order in which they came.
    for entry in entries.iter().skip(1).step_by(2).chain(entries.iter().step_by(2)) {
        record(store, entry.clone(), NOW).await;
    }
    entries.reverse();
    entries
}

fn summed_by_place(entries: &[Entry]) -> Vec<Daily> {
    let mut sums: BTreeMap<[String; 5], Sums> = BTreeMap::new();
    for entry in entries {
        let Entry { key, team, model, upstream, .. } = entry.clone();
        let sums = sums.entry([entry.day(), key, team, model, upstream]).or_default();
        *sums = sums.plus(&entry.sums());
    }
    let daily = |([day, key, team, model, upstream], sums): ([String; 5], Sums)| Daily {
        day,
        key,
        team,
        model,
        upstream,
        sums,
    };
    sums.into_iter().map(daily).collect()
}

pub async fn sums_by_day_are_those_of_the_entries(case: Case) {
    let store = case.store().await;
    let entries = recorded(&*store).await;
    let days = days(&*store, &every_day()).await;
    assert_eq!(days, summed_by_place(&entries));
    assert!(days.len() > 50);
    assert!(days.iter().any(|day| day.sums.unpriced > 0 && day.sums.failures > 0));
    let all = days.iter().fold(Sums::default(), |sums, day| sums.plus(&day.sums));
    assert_eq!(all, summed(&pages(&*store, &ALL).await));
}

pub async fn an_entry_comes_back_as_it_was(case: Case) {
    let store = case.store().await;
    let full = Entry {
        id: format!("{NOW}-aB3"),
        time: NOW,
        request_id: "r".into(),
        key: "key_1".into(),
        key_alias: "alias".into(),
        team: "team_1".into(),
        end_user: "ada".into(),
        endpoint: "chat.completions".into(),
        model: "gpt".into(),
        requested_model: "gpt-4".into(),
        deployment: "gpt-eu".into(),
        upstream: "openai".into(),
        upstream_model: "gpt-4o".into(),
        tokens: Tokens {
            input: 1,
            output: 2,
            cache_read: 3,
            cache_write: 4,
            reasoning: 5,
            audio_input: 6,
            audio_output: 7,
        },
        estimated: true,
        cost: Some(Money(123_456_789_012)),
        first_byte: Some(80),
        total: 900,
        status: 502,
        stream: true,
        attempts: 3,
        error: Some("upstream_error".into()),
        tags: vec!["a".into(), "b c".into()],
        request_body: Some("{\"model\": \"gpt\"}\n".into()),
        response_body: Some(String::new()),
    };
    let bare = Entry { id: format!("{NOW}-aB4"), time: NOW, ..Entry::default() };
    record(&*store, full.clone(), NOW).await;
    record(&*store, bare.clone(), NOW).await;
    // Another one of the same id is the same one.
    record(&*store, Entry { status: 200, ..full.clone() }, NOW).await;
    assert_eq!(store.entries(&ALL).await.unwrap().entries, [bare, full.clone()]);
    let query = DailyQuery { key: Some("key_1".into()), ..every_day() };
    assert_eq!(days(&*store, &query).await[0].sums, full.sums());
}

pub async fn sums_of_the_largest_figures_do_not_wrap(case: Case) {
    let store = case.store().await;
    let largest = i64::MAX.unsigned_abs();
    for number in 0..3 {
        let tokens = Tokens { input: largest - 1, output: u64::MAX, ..Tokens::default() };
        let cost = Some(Money(u64::MAX - number));
        record(&*store, Entry { tokens, cost, ..entry(NOW, number) }, NOW).await;
    }
    let sums = days(&*store, &every_day()).await[0].sums;
    assert_eq!(sums.requests, 3);
    assert!(sums.tokens.input >= largest && sums.tokens.output >= largest && sums.cost.0 >= largest, "{sums:?}");
    assert_eq!(store.entries(&ALL).await.unwrap().entries[2].cost, Some(Money(u64::MAX)));
    // The limits of a key, too.
    let limits = Limits { tpm: Some(u64::MAX), ..Limits::default() };
    for hold in ["a", "b"] {
        held(&*store, &claim(hold, &[("key:a", &limits)], asks(largest, u64::MAX)), NOW).await;
    }
    let used = standing(&*store, "key:a", &limits, NOW).await;
    assert!(used.tokens >= largest && used.spent.0 >= largest, "{used:?}");
}

pub async fn without_entries_there_are_still_sums(case: Case) {
    let store = case.keeping(Keep { requests: 0, ..Keep::default() }).await;
    for number in [1, 2, 1, 2, 2] {
        record(&*store, entry(NOW, number), NOW).await;
    }
    assert_eq!(store.entries(&ALL).await.unwrap().entries, []);
    let days = days(&*store, &every_day()).await;
    assert_eq!((days.len(), days[0].sums), (1, summed(&[entry(NOW, 1), entry(NOW, 2)])));
}

pub async fn each_filter_takes_what_it_says(case: Case) {
    let store = case.store().await;
    let entries = recorded(&*store).await;
    let (first, last) = (entries.last().unwrap().time, entries[0].time);
    let is = |text: &str| Some(text.to_owned());
    let queries = [
        (ALL, 150),
        (EntryQuery { key: is("key_1"), ..ALL }, 0),
        (EntryQuery { key: is("KEY_1"), ..ALL }, 0),
        (EntryQuery { key: is(""), ..ALL }, 0),
        (EntryQuery { key: is("key%"), ..ALL }, 0),
        (EntryQuery { team: is("team_2"), ..ALL }, 0),
        (EntryQuery { team: is(""), ..ALL }, 0),
        (EntryQuery { model: is("KEY_1"), ..ALL }, 0),
        (EntryQuery { end_user: is("Ada"), ..ALL }, 0),
        (EntryQuery { end_user: is(""), ..ALL }, 0),
        (EntryQuery { request_id: is("mine"), ..ALL }, 0),
        (EntryQuery { failed: Some(true), ..ALL }, 0),
        (EntryQuery { failed: Some(false), ..ALL }, 0),
        (EntryQuery { key: is("key_2"), team: is("team_1"), model: is("gpt"), ..ALL }, 0),
        (EntryQuery { key: is("key_2"), end_user: is("ada"), failed: Some(true), ..ALL }, 0),
        (EntryQuery { request_id: is("mine"), from: NOW - 2 * DAY, to: NOW - DAY, ..ALL }, 0),
        (EntryQuery { from: first, to: last, ..ALL }, 149),
        (EntryQuery { from: first + 1, to: last + 1, ..ALL }, 149),
        (EntryQuery { from: NOW, to: NOW, ..ALL }, 0),
        (EntryQuery { from: last + 1, ..ALL }, 0),
    ];
    let mut found = 0;
    for (query, count) in queries {
        let want: Vec<Entry> = entries.iter().filter(|entry| query.takes(entry)).cloned().collect();
        assert!(count == 0 || want.len() == count);
        found += usize::from(!want.is_empty());
        let limits: &[usize] = if case.slow() { &[40, 1000] } else { &[1, 7, 50, 1000] };
        for &limit in limits {
            let got = pages(&*store, &EntryQuery { limit, ..query.clone() }).await;
            assert_eq!(got, want, "{query:?} by {limit}");
        }
        let before = entries[60].id.clone();
        let got = pages(&*store, &EntryQuery { before: Some(before), limit: 9, ..query.clone() }).await;
        let older: Vec<Entry> = entries[61..].iter().filter(|entry| query.takes(entry)).cloned().collect();
        assert_eq!(got, older, "{query:?} from the middle on");
    }
    assert!(found > 12, "most queries find something");
    let same_time = entry(entries[0].time, 999);
    record(&*store, same_time.clone(), NOW).await;
    let got = pages(&*store, &EntryQuery { limit: 1, from: last, ..ALL }).await;
    assert_eq!(got, [same_time, entries[0].clone()], "two of one moment stand by their ids");
}

pub async fn sums_are_filtered_as_entries_are(case: Case) {
    let store = case.store().await;
    let all = summed_by_place(&recorded(&*store).await);
    let is = |text: &str| Some(text.to_owned());
    let (first, last) = (all[0].day.clone(), all[all.len() - 1].day.clone());
    for query in [
        every_day(),
        DailyQuery { key: is("key_2"), ..every_day() },
        DailyQuery { key: is(""), ..every_day() },
        DailyQuery { team: is("team_1"), ..every_day() },
        DailyQuery { model: is("claude"), ..every_day() },
        DailyQuery { key: is("key_1"), team: is(""), model: is("gpt"), ..every_day() },
        DailyQuery { from: first.clone(), to: first.clone(), ..DailyQuery::default() },
        DailyQuery { from: last.clone(), ..every_day() },
        DailyQuery { model: is("none"), ..every_day() },
        DailyQuery { from: last, to: first, ..DailyQuery::default() },
    ] {
        let want: Vec<Daily> = all.iter().filter(|daily| query.takes(daily)).cloned().collect();
        assert_eq!(days(&*store, &query).await, want, "{query:?}");
    }
}

pub async fn a_sweep_deletes_what_is_past_its_time_and_nothing_else(case: Case) {
    let keep = Keep { requests: 2 * DAY, days: 5 * DAY };
    let store = case.keeping(keep).await;
    let times = [NOW - 9 * DAY, NOW - 5 * DAY, NOW - 2 * DAY - 1, NOW - 2 * DAY, NOW - 1, NOW];
    let entries: Vec<Entry> = times.iter().enumerate().map(|(number, time)| entry(*time, number as u64)).collect();
    for entry in &entries {
        record(&*store, entry.clone(), entry.time).await;
    }
    let limits =
        Limits { budget: Some((Money(100), feathergate::meter::period::Period::Forever)), ..Limits::default() };
    held(&*store, &claim("a", &[("key:old", &limits)], asks(1, 40)), NOW - 300 * DAY).await;
    let ends = [None, Some(NOW - 1), Some(NOW), Some(NOW + 1)];
    let changes: Vec<Change> = ends
        .iter()
        .enumerate()
        .map(|(at, ends)| {
            let mut document = document(Kind::Session, &format!("s{at}"), 1, Some(&format!("u{at}")));
            document.ends = *ends;
            Change::Create(document)
        })
        .collect();
    let then = NOW - DAY;
    store.save(&changes, &[act(NOW - 4000 * DAY, 1)], then).await.unwrap();
    for _ in 0..2 {
        store.sweep(NOW).await.unwrap();
        let kept = if case.kit.sweeps { 3 } else { 0 };
        let left = pages(&*store, &ALL).await;
        assert!(entries[3..].iter().rev().eq(left.iter().take(3)), "{left:?}");
        assert!(kept == 0 || left.len() == kept);
        let left = days(&*store, &every_day()).await;
        let fresh: Vec<Daily> = summed_by_place(&entries).into_iter().skip(1).collect();
        let places = |days: &[Daily]| days.iter().map(place).collect::<Vec<_>>();
        assert!(places(&left).ends_with(&places(&fresh)) && (kept == 0 || left == fresh), "{left:?}");
        for (at, there) in [true, false, false, true].into_iter().enumerate() {
            // As it was before they ended: what is found is what is still stored.
            let found = store.find(Kind::Session, &format!("s{at}"), then).await.unwrap().is_some();
            assert!(found == there || !there && kept == 0, "s{at}");
        }
        assert_eq!(standing(&*store, "key:old", &limits, NOW).await.spent, Money(40));
        assert_eq!(store.audit(None, 10).await.unwrap().len(), 1);
    }
    // Their names are free, too.
    let again = Change::Create(document(Kind::Session, "s9", 1, Some("u1")));
    save(&*store, &[again]).await.unwrap();
    let names = store.list(Kind::Session, None, 10, then).await.unwrap();
    assert!(["s0", "s3", "s9"].iter().all(|id| names.iter().any(|document| document.id == *id)));
}
