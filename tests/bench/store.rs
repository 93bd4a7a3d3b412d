//! Measures the SQLite store: `cargo run --profile server --example bench-store -- FOLDER`. Fills the folder with some 1.2 GB, for
//! a million requests, and takes a few minutes; a number after the folder is for fewer requests, and `reports`
//! before it reads what is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark has a clock, and a reader"
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feathergate::meter::Money;
use feathergate::meter::ledger::{Estimate, Limits};
use feathergate::meter::period::Period;
use feathergate::store::sqlite::Sqlite;
use feathergate::store::usage::{DailyQuery, Entry, EntryQuery, Tokens};
use feathergate::store::{Admission, Change, Claim, Document, Keep, Kind, Scope, Settlement, Store};

#[path = "../store/kit.rs"]
#[allow(dead_code, unreachable_pub, reason = "the suite needs more of it")]
mod kit;

use kit::{ALL, DAY, NOW};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hammer", file, name] => runtime.block_on(hammer(Path::new(file), name)),
        ["reports", folder] => {
            runtime.block_on(async { reports(&*open(Path::new(folder).join("bench-store.db")).await).await });
        }
        [folder] => runtime.block_on(measure(Path::new(folder), 1_000_000)),
        [folder, requests] => runtime.block_on(measure(Path::new(folder), requests.parse().unwrap())),
        _ => println!("bench-store FOLDER [REQUESTS]"),
    }
}

async fn open(file: PathBuf) -> Arc<dyn Store> {
    let store = Sqlite::new(file, Keep::default());
    store.open().await.unwrap();
    Arc::new(store)
}

async fn measure(folder: &Path, requests: u64) {
    let file = folder.join("bench-store.db");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    let store = open(file.clone()).await;
    admissions(&*store).await;
    keys(&*store).await;
    processes(&file);
    records(&store, requests).await;
    println!("{:<52}{:>9} MB", "the file", std::fs::metadata(&file).unwrap().len() / 1_000_000);
    reports(&*store).await;
}

/// What half of all took at most, and what all but one in a hundred did. Other work on the machine shows in the second.
fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!("{what:<52}{:>9.3} ms p50 {:>9.3} ms p99", at(50), at(99));
}

fn limits() -> Limits {
    Limits {
        budget: Some((Money(u64::MAX / 4), Period::Months(1))),
        quota: Some((u64::MAX / 4, Period::Seconds(86_400))),
        rpm: Some(1_000_000),
        tpm: Some(1_000_000_000),
        parallel: Some(10_000),
        anchor: NOW,
    }
}

fn claim(hold: String, key: &str, now: u64) -> Claim {
    let scopes = [key, "team:t", "model:gpt", "gateway"];
    let scope = |id: &str| Scope { id: id.to_owned(), limits: limits(), shards: 1 };
    let estimate = Estimate { tokens: 900, cost: Money(70_000) };
    Claim { hold, scopes: scopes.into_iter().map(scope).collect(), estimate, lapses: now + 600_000 }
}

fn entry(time: u64, name: &str, number: u64) -> Entry {
    Entry {
        id: format!("{time:013}-{name}{number:012}"),
        time,
        request_id: format!("req_{name}{number:024}"),
        key: format!("key_{:020}", number * 31 % 97),
        key_alias: "somebody".into(),
        team: format!("team_{}", number * 31 % 97 % 9),
        end_user: if number.is_multiple_of(3) { format!("user-{}", number % 5000) } else { String::new() },
        endpoint: "chat.completions".into(),
        model: format!("model-{}", number * 17 % 11),
        deployment: "deployment".into(),
        upstream: ["openai", "anthropic", "gemini"][(number % 3) as usize].into(),
        upstream_model: "some-model-2026-11-21".into(),
        tokens: Tokens { input: 900, output: 120, ..Tokens::default() },
        cost: Some(Money(number)),
        first_byte: Some(300),
        total: 1500,
        status: 200,
        attempts: 1,
        error: number.is_multiple_of(50).then(|| "timeout".into()),
        ..Entry::default()
    }
}

/// One request after another, alone and while many others are under way.
async fn admissions(store: &dyn Store) {
    for under_way in [0, 400] {
        for number in 0..under_way {
            store.admit(&claim(format!("open{number}abcdefghijkl"), "key:a", NOW), NOW).await.unwrap();
        }
        let (mut admit, mut settle) = (Vec::new(), Vec::new());
        for number in 0..2000 {
            let claim = claim(format!("h{under_way}x{number}"), "key:a", NOW);
            let start = Instant::now();
            let Admission::Held(hold, _) = store.admit(&claim, NOW).await.unwrap() else { panic!("refused") };
            admit.push(start.elapsed());
            let used = Estimate { tokens: 700, cost: Money(50_000) };
            let entry = entry(NOW + number, &format!("a{under_way}"), number);
            let done = Settlement { hold: Some(hold), used, entry: Some(entry) };
            let start = Instant::now();
            store.settle(&done, NOW).await.unwrap();
            settle.push(start.elapsed());
        }
        told(&format!("admission in 4 scopes, {under_way} requests under way"), admit);
        told("its settlement and record", settle);
    }
}

async fn keys(store: &dyn Store) {
    let mut made = 0_u64;
    for count in [10, 100_000] {
        while made < count {
            let some = made..count.min(made + 500);
            let key = |number: u64| Document {
                kind: Kind::Key,
                id: feathergate::store::token::hash(&number.to_string()),
                version: 1,
                unique: Some(format!("alias-{number}")),
                ends: None,
                body: format!("{{\"id\":\"key_{number}\",\"metadata\":{{\"text\":\"{}\"}}}}", "x".repeat(400)),
            };
            let changes: Vec<Change> = some.clone().map(|number| Change::Create(key(number))).collect();
            store.save(&changes, &[], NOW).await.unwrap();
            made = some.end;
        }
        let mut times = Vec::new();
        for number in 0..5000_u64 {
            let id = feathergate::store::token::hash(&(number * 7919 % count).to_string());
            let start = Instant::now();
            assert!(store.find(Kind::Key, &id, NOW).await.unwrap().is_some());
            times.push(start.elapsed());
        }
        told(&format!("a key found among {count}"), times);
    }
}

const PROCESSES: usize = 8;
const TASKS: u64 = 50;
const EACH: u64 = 40;

/// Several processes that want the same key at once.
fn processes(file: &Path) {
    let start = Instant::now();
    let name = |number: usize| format!("p{number}");
    let run = |number| Command::new(std::env::current_exe().unwrap()).arg("hammer").arg(file).arg(name(number)).spawn();
    let children: Vec<_> = (0..PROCESSES).map(|number| run(number).unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let all = PROCESSES as u64 * TASKS * EACH;
    let each = all as f64 / start.elapsed().as_secs_f64();
    println!("{:<52}{each:>9.0} a second", format!("{PROCESSES} processes x {TASKS} requests at once, one key"));
}

async fn hammer(file: &Path, name: &str) {
    let store = open(file.to_owned()).await;
    let tasks = (0..TASKS).map(|task| {
        let (store, name) = (Arc::clone(&store), format!("{name}t{task}"));
        tokio::spawn(async move {
            let mut times = Vec::new();
            for number in 0..EACH {
                let start = Instant::now();
                let claim = claim(format!("{name}n{number}"), "key:shared", NOW);
                let Admission::Held(hold, _) = store.admit(&claim, NOW).await.unwrap() else { panic!("refused") };
                times.push(start.elapsed());
                let entry = entry(NOW + number * TASKS + task, &name, number);
                store
                    .settle(&Settlement { hold: Some(hold), used: claim.estimate, entry: Some(entry) }, NOW)
                    .await
                    .unwrap();
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.unwrap());
    }
    told(&format!("  admission in process {name}"), times);
}

/// A month of requests.
async fn records(store: &Arc<dyn Store>, requests: u64) {
    let start = Instant::now();
    let tasks = (0..200).map(|task| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for number in (task..requests).step_by(200) {
                let time = NOW - 30 * DAY + number * 30 * DAY / requests;
                let entry = entry(time, "r", number);
                store
                    .settle(&Settlement { hold: None, used: Estimate::default(), entry: Some(entry) }, NOW)
                    .await
                    .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let each = requests as f64 / start.elapsed().as_secs_f64();
    println!("{:<52}{each:>9.0} a second", format!("{requests} requests recorded"));
}

async fn reports(store: &dyn Store) {
    let is = |text: &str| Some(text.to_owned());
    let month = DailyQuery { from: "2026-10-21".into(), to: "2026-11-21".into(), ..DailyQuery::default() };
    for (what, query) in [
        ("all", month.clone()),
        ("of a key", DailyQuery { key: Some(format!("key_{:020}", 3)), ..month.clone() }),
        ("of a team", DailyQuery { team: is("team_3"), ..month }),
    ] {
        let (mut times, mut rows) = (Vec::new(), 0);
        for _ in 0..5 {
            let start = Instant::now();
            rows = store.daily(&query).await.unwrap().len();
            times.push(start.elapsed());
        }
        told(&format!("the month by day {what}: {rows} rows"), times);
    }
    let middle = format!("{:013}", NOW - 15 * DAY);
    for (what, query) in [
        ("all", ALL),
        ("from the middle on", EntryQuery { before: Some(middle), ..ALL }),
        ("of a key", EntryQuery { key: Some(format!("key_{:020}", 3)), ..ALL }),
        (
            "of a key on one day",
            EntryQuery { key: Some(format!("key_{:020}", 3)), from: NOW - 20 * DAY, to: NOW - 19 * DAY, ..ALL },
        ),
        ("of a team", EntryQuery { team: is("team_3"), ..ALL }),
        ("of a model", EntryQuery { model: is("model-3"), ..ALL }),
        ("of an end user", EntryQuery { end_user: is("user-33"), ..ALL }),
        ("of one id", EntryQuery { request_id: Some(format!("req_r{:024}", 77_777)), ..ALL }),
        ("that failed", EntryQuery { failed: Some(true), ..ALL }),
        (
            "of a team and a model that failed",
            EntryQuery { team: is("team_3"), model: is("model-3"), failed: Some(true), ..ALL },
        ),
        ("of nobody", EntryQuery { key: is("nobody"), ..ALL }),
        ("of a team's foreign key", EntryQuery { key: Some(format!("key_{:020}", 3)), team: is("team_4"), ..ALL }),
    ] {
        // A page, as administrators get it.
        let query = EntryQuery { limit: 100, ..query };
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..9 {
            let start = Instant::now();
            found = store.entries(&query).await.unwrap().entries.len();
            times.push(start.elapsed());
        }
        told(&format!("{found} entries {what}"), times);
    }
}
