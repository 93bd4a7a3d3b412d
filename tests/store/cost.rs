//! What a request costs in `DynamoDB`: the units are counted by the emulator, and the README's table has to say the same.

use std::fmt::Write as _;

use feathergate::meter::Money;
use feathergate::meter::ledger::Limits;
use feathergate::meter::period::Period;
use feathergate::store::dynamodb::Dynamo;
use feathergate::store::usage::{Entry, Tokens};
use feathergate::store::{Admission, Claim, Hold, Keep, Kind, Store};
use feathergate::upstream::client::http_client;

use crate::dynamodb_kit::{dynamo, place, table};
use crate::kit::{MINUTE, NOW, asks, claim, server, settlement};

/// On demand in us-east-1, dollars a million (aws.amazon.com/dynamodb/pricing/on-demand).
const WRITE: f64 = 0.625;
const READ: f64 = 0.125;

const BEGIN: &str = "<!-- cost: held by tests/store/cost.rs -->";
const END: &str = "<!-- cost: end -->";

/// The units so far, of writes and reads; counting begins anew.
async fn units(store: &str) -> (f64, f64) {
    let address = format!("{}/units/{}", place().endpoint.unwrap(), table(store));
    let answer = http_client().unwrap().post(address).send().await.unwrap().bytes().await.unwrap();
    let units: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    (units["writes"].as_f64().unwrap(), units["reads"].as_f64().unwrap())
}

/// An entry as long as entries are.
fn usual(number: u64, case: &str) -> Entry {
    let time = NOW + number;
    Entry {
        id: format!("{time:013}-{}", &feathergate::store::token::hash(case)[..12]),
        time,
        request_id: "chatcmpl-9c1185a5c5e9fc54612808977ee8f548".into(),
        key: "key_3fA9cB71Xy02Lm4Q".into(),
        key_alias: "search-backend-production".into(),
        team: "team_Kd82hs91Qp30Zx7W".into(),
        end_user: "user-1f0c2b9e".into(),
        endpoint: "chat.completions".into(),
        model: "claude-sonnet-4-6".into(),
        deployment: "claude-sonnet-4-6@anthropic".into(),
        upstream: "anthropic".into(),
        upstream_model: "claude-sonnet-4-6-20260301".into(),
        tokens: Tokens { input: 12_345, output: 2_345, cache_read: 10_000, reasoning: 512, ..Tokens::default() },
        cost: Some(Money(123_456_789_012)),
        first_byte: Some(812),
        total: 14_203,
        status: 200,
        stream: true,
        attempts: 1,
        tags: vec!["production".into(), "search".into()],
        ..Entry::default()
    }
}

fn limits() -> Limits {
    Limits {
        budget: Some((Money(1000 * Money::DOLLAR), Period::Months(1))),
        quota: Some((1_000_000_000, Period::Months(1))),
        rpm: Some(6000),
        tpm: Some(10_000_000),
        parallel: Some(100),
        anchor: NOW,
    }
}

/// The units of a request among many that are alike: before the upstream's call and after it.
async fn measured(case: &str, (name, store): (&str, &Dynamo), scopes: &[(&str, &Limits)]) -> (f64, f64) {
    const TIMES: u64 = 20;
    let mut open: Vec<Option<Hold>> = Vec::new();
    units(name).await;
    // Some at one time, as there are with a team, and over minutes, so that there is something to clean up.
    let (mut before, mut after) = (0.0, 0.0);
    for number in 0..TIMES {
        let now = NOW + number * MINUTE / 4;
        let hold = match scopes {
            [] => None,
            scopes => {
                Some(admitted(store, &claim(&format!("h{number}"), scopes, asks(14_690, 123_456_789)), now).await)
            }
        };
        open.push(hold);
        before += units(name).await.0;
        if number >= 8 || number + 1 == TIMES {
            let hold = open.remove(0);
            store.settle(&settlement(hold, asks(14_000, 98_765_432), usual(number, case)), now).await.unwrap();
            after += units(name).await.0;
        }
    }
    for (number, hold) in (TIMES..).zip(open) {
        store.settle(&settlement(hold, asks(14_000, 98_765_432), usual(number, case)), NOW + 4 * MINUTE).await.unwrap();
    }
    after += units(name).await.0;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let times = TIMES as f64;
    (before / times, after / times)
}

async fn admitted(store: &Dynamo, claim: &Claim, now: u64) -> Hold {
    match store.admit(claim, now).await.unwrap() {
        Admission::Held(hold, _) => hold,
        Admission::Refused { over, .. } => panic!("{over:?}"),
    }
}

async fn refused((name, store): (&str, &Dynamo), scopes: &[(&str, &Limits)]) -> f64 {
    units(name).await;
    let claim = claim("r", scopes, asks(100, 100));
    assert!(matches!(store.admit(&claim, NOW).await.unwrap(), Admission::Refused { .. }));
    units(name).await.0
}

#[tokio::test]
async fn the_readme_says_what_a_request_costs() {
    if server("FEATHERGATE_TEST_DYNAMODB").is_none() {
        return;
    }
    let store = dynamo("cost", Keep::default()).await;
    let kept = ("cost", &store);
    let bare = dynamo("cost-bare", Keep { requests: 0, ..Keep::default() }).await;
    let bare = ("cost-bare", &bare);
    let limits = limits();
    let full = Limits { rpm: Some(1), ..Limits::default() };
    let scopes = [("key:key_3fA9cB71Xy02Lm4Q", &limits), ("team:team_Kd82hs91Qp30Zx7W", &limits), ("gateway", &limits)];
    let mut rows = String::new();
    let mut row = |what: &str, before: f64, after: f64| {
        let dollars = (before + after) * WRITE;
        writeln!(rows, "| {what} | {before:.0} | {after:.0} | ${dollars:.3} |").unwrap();
        assert!((before.fract(), after.fract()) == (0.0, 0.0), "{what}: {before} and {after}");
    };
    for (what, scopes) in [
        ("limits of a key", &scopes[..1]),
        ("limits of a key and its team", &scopes[..2]),
        ("limits of a key, its team and the gateway", &scopes[..3]),
        ("no limits", &[]),
    ] {
        let (before, after) = measured(what, kept, scopes).await;
        row(what, before, after);
        if scopes.len() < 2 {
            let (before, after) = measured(what, bare, scopes).await;
            row(&format!("{what}; records of requests switched off"), before, after);
        }
    }
    admitted(&store, &claim("k", &[("key:full", &full)], asks(1, 1)), NOW).await;
    row("refused by the key", refused(kept, &[("key:full", &full)]).await, 0.0);
    let both = refused(kept, &[("key:free", &limits), ("key:full", &full)]).await;
    row("refused by the team, with room at the key", both, 0.0);
    let read = {
        units("cost").await;
        store.find(Kind::Key, "none", NOW).await.unwrap();
        units("cost").await.1
    };
    writeln!(rows, "| looking up a key, when it is not in memory | {read:.0} read | | ${:.3} |", read * READ).unwrap();

    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = readme.split_once(BEGIN).unwrap_or_default().1;
    let table = table.split_once(END).unwrap_or_default().0;
    let said: String =
        table.lines().filter(|line| line.starts_with("| ")).skip(2).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(said, rows, "the README's table should be\n{rows}");
}
