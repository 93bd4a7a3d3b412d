//! Texts that try to be something else than text.

use feathergate::meter::Money;
use feathergate::meter::ledger::Limits;
use feathergate::store::usage::{DailyQuery, Entry, EntryQuery};
use feathergate::store::{Audit, Change, Document, Kind};

use crate::kit::{
    ALL, Case, NOW, act, asks, claim, days, document, entry, every_day, held, pages, record, save, settlement, standing,
};

/// All are kept exactly as they are; none means anything to a store.
const HOSTILE: [&str; 20] = [
    "'",
    "\"",
    "'; DROP TABLE documents; --",
    "' OR '1'='1",
    "%",
    "_",
    "*",
    "?1",
    "$1",
    ":now",
    "#a",
    "\\",
    "\\x00",
    "a\0b",
    "a\u{1}b",
    "\r\n\t",
    "{\"S\": \"x\"}",
    "${jndi:x}",
    "\u{202e}🦀é\u{301}\u{feff}",
    "\u{10ffff}\u{ffff}",
];

pub async fn documents_take_any_text(case: Case) {
    let store = case.store().await;
    let mut ids: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    for (number, text) in HOSTILE.into_iter().enumerate() {
        assert_eq!(store.find(Kind::Key, text, NOW).await.unwrap(), None, "{text:?}");
        let body = serde_json::to_string(text).unwrap();
        let document = Document { body, ..document(Kind::Key, text, 1, Some(text)) };
        let seen = Audit {
            actor: text.into(),
            action: text.into(),
            subject: text.into(),
            before: Some(text.into()),
            after: Some(text.into()),
            ..act(NOW, number as u64)
        };
        store.save(&[Change::Create(document.clone())], std::slice::from_ref(&seen), NOW).await.unwrap();
        assert_eq!(store.find(Kind::Key, text, NOW).await.unwrap().as_ref(), Some(&document), "{text:?}");
        assert_eq!(store.audit(None, 1).await.unwrap(), [seen]);
        save(&*store, &[Change::Create(Document { id: "another".into(), ..document.clone() })]).await.unwrap_err();
        let next = Document { version: 2, ..document.clone() };
        let before = document.unique.clone();
        save(&*store, &[Change::Replace { document: next.clone(), before }]).await.unwrap();
        assert_eq!(store.find(Kind::Key, text, NOW).await.unwrap(), Some(next));
    }
    ids.sort();
    let all = store.list(Kind::Key, None, 100, NOW).await.unwrap();
    assert_eq!(all.iter().map(|document| &document.id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    for after in HOSTILE {
        let rest = store.list(Kind::Key, Some(after), 100, NOW).await.unwrap();
        assert_eq!(rest.len(), ids.iter().filter(|id| id.as_str() > after).count(), "{after:?}");
        store.audit(Some(after), 100).await.unwrap();
    }
    for document in all {
        save(&*store, &[Change::Remove(document)]).await.unwrap();
    }
    assert_eq!(store.list(Kind::Key, None, 100, NOW).await.unwrap(), []);
}

pub async fn records_take_any_text(case: Case) {
    let store = case.store().await;
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let entry = Entry {
            request_id: text.into(),
            key: text.into(),
            key_alias: text.into(),
            team: text.into(),
            end_user: text.into(),
            endpoint: text.into(),
            model: text.into(),
            deployment: text.into(),
            upstream: text.into(),
            upstream_model: text.into(),
            error: Some(text.into()),
            tags: vec![text.into()],
            request_body: Some(text.into()),
            ..entry(NOW + number as u64, number as u64)
        };
        record(&*store, entry.clone(), NOW).await;
        let is = Some(text.to_owned());
        for query in [
            EntryQuery { key: is.clone(), ..ALL },
            EntryQuery { team: is.clone(), ..ALL },
            EntryQuery { model: is.clone(), ..ALL },
            EntryQuery { end_user: is.clone(), ..ALL },
            EntryQuery { request_id: is.clone(), ..ALL },
        ] {
            assert_eq!(pages(&*store, &query).await, [entry.clone()], "{query:?}");
        }
        // A cursor comes from a client.
        store.entries(&EntryQuery { before: is.clone(), ..ALL }).await.unwrap();
        for query in [
            DailyQuery { key: is.clone(), ..every_day() },
            DailyQuery { team: is.clone(), ..every_day() },
            DailyQuery { model: is.clone(), ..every_day() },
        ] {
            let found = days(&*store, &query).await;
            assert_eq!(found.len(), 1, "{query:?}");
            assert_eq!((found[0].key.as_str(), found[0].upstream.as_str(), found[0].sums), (text, text, entry.sums()));
        }
        store.daily(&DailyQuery { from: text.into(), to: text.into(), ..DailyQuery::default() }).await.unwrap();
    }
    assert_eq!(pages(&*store, &ALL).await.len(), HOSTILE.len());
}

pub async fn scopes_take_any_text(case: Case) {
    let store = case.store().await;
    let limits = Limits { rpm: Some(1), parallel: Some(1), ..Limits::default() };
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let (key, model) = (format!("key:{text}"), format!("model:{text}"));
        let claim = |hold| claim(&format!("{hold}{number}"), &[(&key, &limits), (&model, &limits)], asks(10, 4));
        let (hold, _) = held(&*store, &claim("a"), NOW).await;
        assert_eq!((&hold.scopes[0].scope, &hold.scopes[1].scope), (&key, &model));
        crate::kit::refused(&*store, &claim("b"), NOW).await;
        let done = settlement(Some(hold), asks(1, 1), entry(NOW, number as u64));
        store.settle(&done, NOW).await.unwrap();
        for id in [&key, &model] {
            let used = standing(&*store, id, &limits, NOW).await;
            assert_eq!((used.spent, used.requests, used.parallel), (Money(1), 1, 0), "{id:?}");
        }
    }
}

/// A model's name under a wildcard, an end user, a request's id: a client chooses them.
pub async fn what_is_too_long_breaks_nothing(case: Case) {
    let store = case.store().await;
    let mut dice = crate::kit::Dice(3);
    let long: String = (0..9000).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
    let other = format!("{}!", &long[..long.len() - 1]);
    for (number, name) in [&long, &other].into_iter().enumerate() {
        let entry = Entry {
            request_id: name.clone(),
            key: name.clone(),
            team: name.clone(),
            end_user: name.clone(),
            model: name.clone(),
            upstream: name.clone(),
            error: Some(name.clone()),
            ..entry(NOW, number as u64)
        };
        for _ in 0..2 {
            record(&*store, entry.clone(), NOW).await;
        }
        let is = Some(name.clone());
        for query in [
            EntryQuery { key: is.clone(), ..ALL },
            EntryQuery { model: is.clone(), team: is.clone(), ..ALL },
            EntryQuery { end_user: is.clone(), failed: Some(true), ..ALL },
            EntryQuery { request_id: is.clone(), ..ALL },
        ] {
            let found = pages(&*store, &query).await;
            assert_eq!(found.len(), 1);
            assert!(found[0] == entry, "an entry is kept whole");
        }
        let found = days(&*store, &DailyQuery { model: is.clone(), key: is, ..every_day() }).await;
        assert_eq!((found.len(), found[0].sums), (1, entry.sums()));
        // The names of sums may be cut.
        assert!(found[0].model.starts_with(&name[..100]), "{}", found[0].model);
    }
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let id = format!("model:{long}");
    // It may be too much for a scope; then nothing is admitted, and the next one is not the worse for it.
    let _ = store.admit(&claim("a", &[(&id, &limits)], asks(1, 1)), NOW).await;
    let _ = store.ledgers(std::slice::from_ref(&id)).await;
    held(&*store, &claim("b", &[("model:short", &limits)], asks(1, 1)), NOW).await;
    assert_eq!(store.find(Kind::Key, &long, NOW).await.unwrap(), None);
    store.list(Kind::Key, Some(&long), 9, NOW).await.unwrap();
    store.audit(Some(&long), 9).await.unwrap();
    store.entries(&EntryQuery { before: Some(long.clone()), ..ALL }).await.unwrap();
    let edge = document(Kind::Key, &"k".repeat(200), 1, Some(&"u".repeat(200)));
    let big = Document { body: format!("\"{}\"", "b".repeat(200_000)), ..edge };
    save(&*store, &[Change::Create(big.clone())]).await.unwrap();
    assert_eq!(store.find(Kind::Key, &big.id, NOW).await.unwrap(), Some(big));
}
