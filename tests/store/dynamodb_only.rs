//! What only `DynamoDB` does: scopes over many items, and failures of its own.

use std::time::{Duration, Instant};

use feathergate::meter::Money;
use feathergate::meter::ledger::{Limits, Measure};
use feathergate::meter::period::Period;
use feathergate::store::dynamodb::Dynamo;
use feathergate::store::usage::Entry;
use feathergate::store::{Admission, Change, Claim, Keep, Kind, SaveError, Store, StoreError};
use feathergate::upstream::aws::Place;
use feathergate::upstream::client::http_client;
use futures::future::join_all;

use crate::dynamodb_kit::{attributes, dynamo, place};
use crate::kit::{
    ALL, NOW, RATE, act, asks, claim, document, entry, held, record, refused, server, settlement, standing,
};

fn emulated() -> bool {
    server("FEATHERGATE_TEST_DYNAMODB").is_some()
}

fn spread(hold: &str, limits: &Limits, shards: u32, (tokens, cost): (u64, u64)) -> Claim {
    let mut claim = claim(hold, &[("gateway", limits)], asks(tokens, cost));
    claim.scopes[0].shards = shards;
    claim
}

#[tokio::test]
async fn a_spread_scope_is_used_to_its_end_and_no_further() {
    if !emulated() {
        return;
    }
    let store = dynamo("spread", Keep::default()).await;
    let limits = Limits {
        rpm: Some(10),
        budget: Some((Money(100), Period::Forever)),
        tpm: Some(4000),
        anchor: NOW,
        ..Limits::default()
    };
    let claims: Vec<Claim> = (0..30).map(|at| spread(&format!("h{at}"), &limits, 4, (100, 4))).collect();
    let all = join_all(claims.iter().map(|claim| store.admit(claim, NOW))).await;
    let mut holds = Vec::new();
    for admission in all {
        match admission.unwrap() {
            Admission::Held(hold, _) => holds.push(hold),
            Admission::Refused { scope, over } => {
                assert_eq!((scope, over.measure, over.limit), (0, Measure::Requests, 10), "the whole limit is told");
                assert_eq!((over.used, over.asked, over.frees), (10, 1, Some(NOW + RATE)));
            }
        }
    }
    assert_eq!(holds.len(), 10);
    let shards: std::collections::BTreeSet<u32> = holds.iter().map(|hold| hold.scopes[0].shard).collect();
    assert_eq!(shards.len(), 4);
    // Another process, which has not counted anything there yet, sees them all.
    let other = dynamo("spread", Keep::default()).await;
    let used = standing(&other, "gateway", &limits, NOW).await;
    assert_eq!((used.spent, used.requests, used.tokens, used.parallel), (Money(40), 10, 1000, 10));
    for (number, hold) in holds.into_iter().enumerate() {
        other.settle(&settlement(Some(hold), asks(1, 1), entry(NOW, number as u64)), NOW).await.unwrap();
    }
    let used = standing(&store, "gateway", &limits, NOW).await;
    assert_eq!((used.spent, used.requests, used.tokens, used.parallel), (Money(10), 10, 10, 0));
    // What is larger than a part fits nowhere, though the whole has room.
    let (_, over) = refused(&store, &spread("big", &limits, 4, (1200, 4)), NOW + RATE).await;
    assert_eq!((over.measure, over.limit, over.used), (Measure::Tokens, 4000, 0));
    held(&store, &spread("one", &limits, 1, (1200, 4)), NOW + 120_000).await;
}

#[tokio::test]
async fn a_claim_that_got_through_unheard_is_counted_once() {
    if !emulated() {
        return;
    }
    let store = dynamo("unheard", Keep::default()).await;
    let limits = Limits { rpm: Some(1), parallel: Some(1), ..Limits::default() };
    let claim = claim("a", &[("key:a", &limits)], asks(100, 4));
    let (first, _) = held(&store, &claim, NOW).await;
    let (second, standings) = held(&store, &claim, NOW + 500).await;
    assert_eq!((first.id, standings[0].requests, standings[0].spent), (second.id, 1, Money(4)));
}

#[tokio::test]
async fn what_no_longer_counts_leaves_the_item() {
    if !emulated() {
        return;
    }
    let store = dynamo("clean", Keep::default()).await;
    let limits = Limits {
        budget: Some((Money(1000), Period::Seconds(60))),
        rpm: Some(100),
        tpm: Some(100_000),
        anchor: NOW,
        ..Limits::default()
    };
    for turn in 0..20 {
        let now = NOW + turn * 45_000;
        let mut killed = claim(&format!("k{turn}"), &[("key:a", &limits)], asks(100, 4));
        killed.lapses = now + 30_000;
        held(&store, &killed, now).await;
        let (hold, _) = held(&store, &claim(&format!("h{turn}"), &[("key:a", &limits)], asks(100, 4)), now).await;
        store.settle(&settlement(Some(hold), asks(50, 2), entry(now, turn)), now + 5000).await.unwrap();
    }
    let left = attributes("clean", "SCOPE#key:a#0").await;
    // The key, the end and the number of requests; two windows; two times seven steps and one before; one hold.
    assert!(left.len() <= 4 + 2 + 16 + 1, "{left:?}");
    let used = standing(&store, "key:a", &limits, NOW + 19 * 45_000).await;
    assert_eq!((used.parallel, used.requests), (1, 4), "two of this moment and two of the one before");
}

#[tokio::test]
async fn many_that_were_killed_do_not_block_a_limit_that_was_lowered() {
    if !emulated() {
        return;
    }
    let store = dynamo("killed", Keep::default()).await;
    let wide = Limits { parallel: Some(500), ..Limits::default() };
    for number in 0..150 {
        let mut killed = claim(&format!("k{number}"), &[("key:a", &wide)], asks(1, 1));
        killed.lapses = NOW + 1000;
        held(&store, &killed, NOW).await;
    }
    let narrow = Limits { parallel: Some(1), ..Limits::default() };
    let (_, over) = refused(&store, &claim("a", &[("key:a", &narrow)], asks(1, 1)), NOW).await;
    assert_eq!((over.limit, over.used), (1, 150));
    let (_, standings) = held(&store, &claim("b", &[("key:a", &narrow)], asks(1, 1)), NOW + 1000).await;
    assert_eq!((standings[0].parallel, standings[0].spent), (1, Money(151)));
}

#[tokio::test]
async fn what_dynamodb_does_not_take_is_cut_or_said() {
    if !emulated() {
        return;
    }
    let store = dynamo("too-much", Keep::default()).await;
    let body = "ä".repeat(400_000);
    record(&store, Entry { request_body: Some(body), ..entry(NOW, 1) }, NOW).await;
    let kept = store.entries(&ALL).await.unwrap().entries;
    assert!(kept[0].request_body.as_ref().unwrap().contains("[cut"));
    let changes: Vec<Change> =
        (0..101).map(|at| Change::Create(document(Kind::Key, &format!("k{at}"), 1, None))).collect();
    let many = store.save(&changes, &[act(NOW, 1)], NOW).await;
    assert!(matches!(&many, Err(SaveError::Store(StoreError::Setup(why))) if why.contains("102")), "{many:?}");
    assert_eq!(store.list(Kind::Key, None, 9, NOW).await.unwrap(), []);
    let mut large = document(Kind::Key, "large", 1, Some(""));
    large.body = format!("\"{}\"", "x".repeat(500_000));
    let refused = store.save(&[Change::Create(large.clone())], &[], NOW).await;
    assert!(matches!(&refused, Err(SaveError::Store(StoreError::Setup(why))) if why.contains("400 KB")), "{refused:?}");
    large.body.truncate(10);
    store.save(&[Change::Create(large)], &[], NOW).await.unwrap();
    let same_name = Change::Create(document(Kind::Key, "other", 1, Some("")));
    assert_eq!(store.save(&[same_name], &[], NOW).await, Err(SaveError::Conflict(0)));
}

#[tokio::test]
async fn a_failure_says_what_is_to_be_mended() {
    if !emulated() {
        return;
    }
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let claim = claim("a", &[("key:a", &limits), ("team:b", &limits)], asks(1, 1));
    let at = |place| Dynamo::new(place, http_client().unwrap(), "no-such-table".into(), Keep::default());
    let nowhere = Place { endpoint: Some("http://127.0.0.1:9".into()), ..place() };
    let cases = [
        (place(), true, "there is no DynamoDB table `no-such-table` in eu-central-1"),
        (Place { region: None, ..place() }, true, "`AWS_REGION` is not set"),
        (nowhere, false, "DynamoDB cannot be reached: "),
    ];
    for (place, setup, words) in cases {
        let store = at(place);
        let start = Instant::now();
        for error in [store.open().await.unwrap_err(), store.admit(&claim, NOW).await.unwrap_err()] {
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(matches!(error, StoreError::Setup(_)), setup, "{error}");
            assert!(!error.to_string().contains("127.0.0.1"), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(12), "{words} after {:?}", start.elapsed());
    }
}
