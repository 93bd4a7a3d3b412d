//! What outlasts a store.

use feathergate::meter::ledger::Limits;
use feathergate::store::{Admission, Change, Keep, Kind, StoreError};
use futures::future::join_all;

use crate::kit::{
    ALL, Case, NOW, act, asks, claim, days, document, entry, every_day, held, refused, settlement, standing,
};

pub async fn all_is_there_when_it_is_opened_again(case: Case) {
    let limits = Limits { rpm: Some(2), parallel: Some(2), ..Limits::default() };
    let asked = |hold: &str| claim(hold, &[("key:a", &limits)], asks(100, 40));
    let store = case.store().await;
    store.open().await.unwrap();
    let (hold, _) = held(&*store, &asked("a"), NOW).await;
    held(&*store, &asked("b"), NOW).await;
    let key = document(Kind::Key, "k", 1, Some("u"));
    store.save(&[Change::Create(key.clone())], &[act(NOW, 1)], NOW).await.unwrap();
    store.settle(&settlement(None, asks(1, 1), entry(NOW, 1)), NOW).await.unwrap();
    drop(store);
    let store = case.store().await;
    refused(&*store, &asked("c"), NOW + 1).await;
    store.settle(&settlement(Some(hold), asks(7, 3), entry(NOW, 2)), NOW + 2).await.unwrap();
    drop(store);
    let store = case.store().await;
    let used = standing(&*store, "key:a", &limits, NOW + 3).await;
    assert_eq!((used.spent.0, used.requests, used.parallel), (43, 2, 1));
    assert_eq!(store.find(Kind::Key, "k", NOW).await.unwrap(), Some(key));
    assert_eq!(store.audit(None, 9).await.unwrap(), [act(NOW, 1)]);
    assert_eq!(store.entries(&ALL).await.unwrap().entries, [entry(NOW, 2), entry(NOW, 1)]);
    assert_eq!(days(&*store, &every_day()).await[0].sums.requests, 2);
}

pub async fn many_open_it_at_once(case: Case) {
    let opened = (0..6).map(|_| {
        let made = (case.kit.make)(case.name.clone(), Keep::default());
        tokio::spawn(async move {
            let store = made.await;
            store.open().await.unwrap();
            store
        })
    });
    let limits = Limits { rpm: Some(4), ..Limits::default() };
    let mut admitted = 0;
    for (number, store) in join_all(opened).await.into_iter().enumerate() {
        let claim = claim(&format!("h{number}"), &[("key:a", &limits)], asks(1, 1));
        admitted += usize::from(matches!(store.unwrap().admit(&claim, NOW).await.unwrap(), Admission::Held(..)));
    }
    assert_eq!(admitted, 4);
}

pub async fn what_a_newer_program_wrote_is_left_alone(case: Case) {
    drop(case.store().await);
    (case.kit.age)(case.name.clone()).await;
    let store = (case.kit.make)(case.name.clone(), Keep::default()).await;
    let refused = store.open().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Setup(why) if why.contains("newer")), "{refused:?}");
    let claim = claim("a", &[("key:a", &Limits { rpm: Some(4), ..Limits::default() })], asks(1, 1));
    store.admit(&claim, NOW).await.unwrap_err();
}
