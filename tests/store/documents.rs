//! What is stored as a whole, and the audit log.

use std::sync::Arc;

use feathergate::store::{Audit, Change, Document, Kind, SaveError};
use futures::future::join_all;

use crate::kit::{Case, NOW, act, document, save};

fn replace(document: Document, before: Option<&str>) -> Change {
    Change::Replace { document, before: before.map(str::to_owned) }
}

pub async fn what_is_created_is_found_replaced_and_removed(case: Case) {
    let store = case.store().await;
    for kind in Kind::ALL {
        assert_eq!(store.find(kind, "a", NOW).await.unwrap(), None);
        let first = Document { ends: Some(NOW + 9), ..document(kind, "a", 1, None) };
        save(&*store, &[Change::Create(first.clone())]).await.unwrap();
        assert_eq!(store.find(kind, "a", NOW).await.unwrap(), Some(first));
        let second = Document { body: "[2]".into(), ..document(kind, "a", 2, Some("name")) };
        save(&*store, &[replace(second.clone(), None)]).await.unwrap();
        assert_eq!(store.find(kind, "a", NOW + 10).await.unwrap(), Some(second.clone()), "it ends no more");
        assert_eq!(store.find(kind, "A", NOW).await.unwrap(), None, "letters are told apart");
        let other = document(kind, "b", 1, None);
        save(&*store, &[Change::Create(other.clone())]).await.unwrap();
        save(&*store, &[Change::Remove(second)]).await.unwrap();
        assert_eq!(store.find(kind, "a", NOW).await.unwrap(), None);
        assert_eq!(store.list(kind, None, 9, NOW).await.unwrap(), [other]);
        save(&*store, &[Change::Create(document(kind, "a", 1, Some("name")))]).await.unwrap();
    }
}

pub async fn each_change_that_does_not_fit_is_a_conflict(case: Case) {
    let store = case.store().await;
    let key = |id: &str, version, unique| document(Kind::Key, id, version, unique);
    save(&*store, &[Change::Create(key("a", 1, Some("x"))), Change::Create(key("b", 1, Some("y")))]).await.unwrap();
    save(&*store, &[replace(key("a", 2, Some("x")), Some("x"))]).await.unwrap();
    let fine = || Change::Create(key("fine", 1, Some("z")));
    let wrong = [
        ("it exists", Change::Create(key("a", 1, None))),
        ("its name is taken", Change::Create(key("c", 1, Some("x")))),
        ("it is gone", replace(key("c", 2, None), None)),
        ("the version before is another", replace(key("a", 2, Some("x")), Some("x"))),
        ("the version before is another", replace(key("a", 4, Some("x")), Some("x"))),
        ("the name before is another", replace(key("a", 3, Some("x")), Some("w"))),
        ("the name before is another", replace(key("a", 3, Some("x")), None)),
        ("the new name is taken", replace(key("a", 3, Some("y")), Some("x"))),
        ("it is gone", Change::Remove(key("c", 1, None))),
        ("the version is another", Change::Remove(key("a", 1, Some("x")))),
        ("the name is another", Change::Remove(key("a", 2, Some("y")))),
        ("the name is another", Change::Remove(key("a", 2, None))),
    ];
    for (why, change) in wrong {
        let alone = save(&*store, std::slice::from_ref(&change)).await;
        assert_eq!(alone, Err(SaveError::Conflict(0)), "{why}: {change:?}");
        let second = save(&*store, &[fine(), change.clone()]).await;
        assert_eq!(second, Err(SaveError::Conflict(1)), "{why}: {change:?}");
        assert_eq!(store.find(Kind::Key, "fine", NOW).await.unwrap(), None, "nothing is made");
    }
    let all = store.list(Kind::Key, None, 9, NOW).await.unwrap();
    assert_eq!(all, [key("a", 2, Some("x")), key("b", 1, Some("y"))]);
    let team = document(Kind::Team, "a", 1, Some("x"));
    save(&*store, &[Change::Create(team)]).await.unwrap();
}

pub async fn changes_are_made_all_or_none(case: Case) {
    let store = case.store().await;
    let old = document(Kind::Team, "old", 1, None);
    let gone = document(Kind::Team, "gone", 1, Some("g"));
    store.save(&[Change::Create(old.clone()), Change::Create(gone.clone())], &[act(NOW, 1)], NOW).await.unwrap();
    let changes = [
        Change::Remove(gone.clone()),
        replace(document(Kind::Team, "old", 2, Some("n")), None),
        Change::Create(document(Kind::Key, "new", 1, None)),
        Change::Create(document(Kind::Team, "old", 1, None)),
    ];
    let made = store.save(&changes, &[act(NOW, 2)], NOW).await;
    assert_eq!(made, Err(SaveError::Conflict(3)));
    assert_eq!(store.list(Kind::Team, None, 9, NOW).await.unwrap(), [gone, old]);
    assert_eq!(store.list(Kind::Key, None, 9, NOW).await.unwrap(), []);
    assert_eq!(store.audit(None, 9).await.unwrap(), [act(NOW, 1)]);
    store.save(&changes[..3], &[act(NOW, 2), act(NOW, 3)], NOW).await.unwrap();
    assert_eq!(store.find(Kind::Team, "gone", NOW).await.unwrap(), None);
    assert_eq!(store.find(Kind::Team, "old", NOW).await.unwrap().unwrap().version, 2);
    assert!(store.find(Kind::Key, "new", NOW).await.unwrap().is_some());
    assert_eq!(store.audit(None, 9).await.unwrap(), [act(NOW, 3), act(NOW, 2), act(NOW, 1)]);
    store.save(&[], &[act(NOW, 4)], NOW).await.unwrap();
    assert_eq!(store.audit(None, 1).await.unwrap(), [act(NOW, 4)]);
}

pub async fn one_of_many_at_once_wins(case: Case) {
    let stores = case.pair().await;
    let at_once = |changes: Vec<Change>| {
        let tasks = changes.into_iter().enumerate().map(|(at, change)| {
            let store = Arc::clone(&stores[at % 2]);
            tokio::spawn(async move { store.save(&[change], &[act(NOW, at as u64)], NOW).await })
        });
        async {
            let done = join_all(tasks).await.into_iter().map(Result::unwrap);
            let won: Vec<bool> = done
                .map(|done| {
                    assert!(matches!(done, Ok(()) | Err(SaveError::Conflict(0))), "{done:?}");
                    done.is_ok()
                })
                .collect();
            won.iter().filter(|won| **won).count()
        }
    };
    let key = |id: &str, version, unique: &str| document(Kind::Key, id, version, Some(unique));
    assert_eq!(at_once((0..12).map(|at| Change::Create(key("one", 1, &format!("u{at}")))).collect()).await, 1);
    assert_eq!(at_once((0..12).map(|at| Change::Create(key(&format!("k{at}"), 1, "name"))).collect()).await, 1);
    let one = store_of(&stores).find(Kind::Key, "one", NOW).await.unwrap().unwrap();
    let to = |at| Change::Replace { document: key("one", 2, &format!("v{at}")), before: one.unique.clone() };
    assert_eq!(at_once((0..12).map(to).collect()).await, 1);
    let one = store_of(&stores).find(Kind::Key, "one", NOW).await.unwrap().unwrap();
    assert_eq!(at_once((0..12).map(|_| Change::Remove(one.clone())).collect()).await, 1);
    assert_eq!(store_of(&stores).list(Kind::Key, None, 99, NOW).await.unwrap().len(), 1);
}

fn store_of(stores: &[Arc<dyn feathergate::store::Store>; 2]) -> &dyn feathergate::store::Store {
    &*stores[1]
}

pub async fn unique_names_are_freed_and_taken_in_order(case: Case) {
    let store = case.store().await;
    let key = |id: &str, version, unique| document(Kind::Key, id, version, unique);
    save(&*store, &[Change::Create(key("a", 1, Some("x")))]).await.unwrap();
    save(&*store, &[replace(key("a", 2, Some("y")), Some("x"))]).await.unwrap();
    save(&*store, &[Change::Create(key("b", 1, Some("x")))]).await.unwrap();
    save(&*store, &[replace(key("a", 3, None), Some("y"))]).await.unwrap();
    save(&*store, &[Change::Create(key("c", 1, Some("y")))]).await.unwrap();
    save(&*store, &[Change::Remove(key("c", 1, Some("y")))]).await.unwrap();
    save(&*store, &[replace(key("a", 4, Some("y")), None)]).await.unwrap();
    // A key whose secret is made anew keeps its name under another id.
    let anew = [Change::Remove(key("b", 1, Some("x"))), Change::Create(key("d", 1, Some("x")))];
    save(&*store, &anew).await.unwrap();
    assert_eq!(store.find(Kind::Key, "d", NOW).await.unwrap().unwrap().unique.as_deref(), Some("x"));
    assert_eq!(save(&*store, &[Change::Create(key("e", 1, Some("x")))]).await, Err(SaveError::Conflict(0)));
    assert_eq!(store.list(Kind::Key, None, 9, NOW).await.unwrap(), [key("a", 4, Some("y")), key("d", 1, Some("x"))]);
}

pub async fn what_is_past_its_end_is_not_there(case: Case) {
    let store = case.store().await;
    let challenge = Document { ends: Some(NOW + 60), ..document(Kind::Challenge, "c", 1, None) };
    save(&*store, &[Change::Create(challenge.clone())]).await.unwrap();
    assert_eq!(store.find(Kind::Challenge, "c", NOW + 59).await.unwrap(), Some(challenge.clone()));
    assert_eq!(store.find(Kind::Challenge, "c", NOW + 60).await.unwrap(), None);
    assert_eq!(store.list(Kind::Challenge, None, 9, NOW + 59).await.unwrap().len(), 1);
    assert_eq!(store.list(Kind::Challenge, None, 9, NOW + 60).await.unwrap(), []);
    let late = NOW + 60;
    let conflict = Err(SaveError::Conflict(0));
    assert_eq!(store.save(&[Change::Remove(challenge.clone())], &[], late).await, conflict, "used too late");
    let longer = replace(Document { ends: None, ..document(Kind::Challenge, "c", 2, None) }, None);
    assert_eq!(store.save(std::slice::from_ref(&longer), &[], late).await, conflict, "it does not come back");
    assert_eq!(store.save(&[Change::Create(challenge.clone())], &[], late - 1).await, conflict);
    let next = Document { ends: Some(late + 60), ..document(Kind::Challenge, "c", 1, None) };
    store.save(&[Change::Create(next.clone())], &[], late).await.unwrap();
    assert_eq!(store.find(Kind::Challenge, "c", late).await.unwrap(), Some(next.clone()));
    store.save(&[Change::Remove(next.clone())], &[], late).await.unwrap();
    assert_eq!(store.save(&[Change::Remove(next)], &[], late).await, conflict, "used once");
}

pub async fn a_list_is_paged_by_id(case: Case) {
    let store = case.store().await;
    let mut ids: Vec<String> =
        (0..57_u32).map(|at| format!("{}{}", ["a", "B", "ä", "z", "_"][at as usize % 5], at * 7 % 57)).collect();
    for part in ids.chunks(10) {
        let changes: Vec<Change> = part.iter().map(|id| Change::Create(document(Kind::Key, id, 1, Some(id)))).collect();
        save(&*store, &changes).await.unwrap();
    }
    save(&*store, &[Change::Create(document(Kind::Team, "m", 1, None))]).await.unwrap();
    ids.sort();
    for limit in [1, 10, 57, 100] {
        let mut got: Vec<String> = Vec::new();
        loop {
            let page = store.list(Kind::Key, got.last().cloned().as_deref(), limit, NOW).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            got.extend(page.into_iter().map(|document| document.id));
        }
        assert_eq!(got, ids, "by {limit}");
    }
    let from_nowhere = store.list(Kind::Key, Some("a5"), 3, NOW).await.unwrap();
    let want: Vec<&String> = ids.iter().filter(|id| id.as_str() > "a5").take(3).collect();
    assert_eq!(from_nowhere.iter().map(|document| &document.id).collect::<Vec<_>>(), want);
}

pub async fn the_audit_log_only_grows(case: Case) {
    let store = case.store().await;
    let acts: Vec<Audit> = (0..25).map(|number| act(NOW + number / 4 * 1000, number)).collect();
    for act in acts.iter().rev() {
        store.save(&[], std::slice::from_ref(act), NOW).await.unwrap();
    }
    // Nobody writes over what is written. Whether a second act of the same id is an error is the store's affair.
    let _ = store.save(&[], &[Audit { actor: "somebody else".into(), ..acts[3].clone() }], NOW).await;
    let mut got: Vec<Audit> = Vec::new();
    loop {
        let page = store.audit(got.last().map(|act| act.id.as_str()), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        got.extend(page);
    }
    assert!(got.iter().eq(acts.iter().rev()), "{got:?}");
    store.sweep(NOW + 10_000 * crate::kit::DAY).await.unwrap();
    assert_eq!(store.audit(None, 100).await.unwrap().len(), 25);
}
