//! A store that ends with the process, and with it all keys, limits and records: for a try and for tests, and the plainest
//! reading of what [`Store`] asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::books;
use super::fits::{self, Seen};
use super::usage::{Daily, DailyQuery, Entry, EntryPage, EntryQuery, Sums};
use super::{Admission, Audit, Change, Claim, Document, Keep, Kind, SaveError, Settlement, Store, StoreError};
use crate::meter::ledger::Ledger;

/// The store.
#[derive(Default)]
pub struct Memory {
    keep: Keep,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ledgers: HashMap<String, Ledger>,
    documents: BTreeMap<(Kind, String), Document>,
    entries: BTreeMap<String, Entry>,
    /// The requests whose entries are not kept, and when they were.
    settled: HashMap<String, u64>,
    days: BTreeMap<[String; 5], Sums>,
    audit: BTreeMap<String, Audit>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self { keep, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn settle(&mut self, settlement: &Settlement, keep: Keep, now: u64) {
        if let Some(hold) = &settlement.hold {
            books::settle(&mut self.ledgers, hold, settlement.used(), now);
        }
        let Some(entry) = &settlement.entry else { return };
        // What is written stays as it is.
        let before = if keep.requests > 0 {
            let before = self.entries.contains_key(&entry.id);
            self.entries.entry(entry.id.clone()).or_insert_with(|| entry.clone());
            before
        } else {
            self.settled.insert(entry.id.clone(), entry.time).is_some()
        };
        if before {
            return;
        }
        let day = [entry.day(), entry.key.clone(), entry.team.clone(), entry.model.clone(), entry.upstream.clone()];
        let sums = self.days.entry(day).or_default();
        *sums = sums.plus(&entry.sums());
    }

    fn put(&mut self, place: (Kind, String), document: Option<Document>) -> Option<Document> {
        match document {
            Some(document) => self.documents.insert(place, document),
            None => self.documents.remove(&place),
        }
    }

    fn fits(&self, change: &Change, now: u64) -> bool {
        let document = change.document();
        let there = self.documents.get(&(document.kind, document.id.clone()));
        let there =
            there.map(|there| Seen { version: there.version, unique: there.unique.as_deref(), ends: there.ends });
        let taken = document.unique.is_some()
            && self.documents.values().any(|other| {
                (other.kind, &other.unique) == (document.kind, &document.unique)
                    && other.id != document.id
                    && other.ends.is_none_or(|ends| ends > now)
            });
        fits::fits(change, there, taken, now)
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>> {
        async move { Ok(books::admit(&mut self.inner().ledgers, claim, now)) }.boxed()
    }

    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.inner().settle(settlement, self.keep, now);
            Ok(())
        }
        .boxed()
    }

    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>> {
        async move {
            let inner = self.inner();
            Ok(scopes.iter().map(|scope| inner.ledgers.get(scope).cloned().unwrap_or_default()).collect())
        }
        .boxed()
    }

    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        async move {
            let found = self.inner().documents.get(&(kind, id.to_owned())).cloned();
            Ok(found.filter(|document| document.ends.is_none_or(|ends| ends > now)))
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        after: Option<&'a str>,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        async move {
            let inner = self.inner();
            let all = inner.documents.range((kind, String::new())..).map(|(_, document)| document);
            let found = all
                .take_while(|document| document.kind == kind)
                .filter(|document| after.is_none_or(|after| document.id.as_str() > after))
                .filter(|document| document.ends.is_none_or(|ends| ends > now));
            Ok(found.take(limit).cloned().collect())
        }
        .boxed()
    }

    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>> {
        async move {
            let mut inner = self.inner();
            let mut undo = Vec::new();
            for (at, change) in changes.iter().enumerate() {
                if !inner.fits(change, now) {
                    while let Some((place, before)) = undo.pop() {
                        inner.put(place, before);
                    }
                    return Err(SaveError::Conflict(at));
                }
                let document = change.document().clone();
                let place = (document.kind, document.id.clone());
                let after = match change {
                    Change::Create(_) | Change::Replace { .. } => Some(document),
                    Change::Remove(_) => None,
                };
                undo.push((place.clone(), inner.put(place, after)));
            }
            for act in audit {
                inner.audit.entry(act.id.clone()).or_insert_with(|| act.clone());
            }
            Ok(())
        }
        .boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>> {
        async move {
            let inner = self.inner();
            let older = |entry: &&Entry| query.before.as_ref().is_none_or(|before| entry.id < *before);
            let mut found = inner.entries.values().rev().filter(older).filter(|entry| query.takes(entry));
            let entries: Vec<Entry> = found.by_ref().take(query.limit).cloned().collect();
            let next = found.next().and_then(|_| entries.last()).map(|entry| entry.id.clone());
            Ok(EntryPage { entries, next })
        }
        .boxed()
    }

    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>> {
        async move {
            let all = self.inner().days.clone().into_iter().map(|([day, key, team, model, upstream], sums)| Daily {
                day,
                key,
                team,
                model,
                upstream,
                sums,
            });
            Ok(all.filter(|daily| query.takes(daily)).collect())
        }
        .boxed()
    }

    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>> {
        async move {
            let inner = self.inner();
            let acts = inner.audit.values().rev().filter(|act| before.is_none_or(|before| act.id.as_str() < before));
            Ok(acts.take(limit).cloned().collect())
        }
        .boxed()
    }

    fn sweep(&self, now: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let mut inner = self.inner();
            inner.documents.retain(|_, document| document.ends.is_none_or(|ends| ends > now));
            let kept = now.saturating_sub(self.keep.requests);
            inner.entries.retain(|_, entry| entry.time >= kept);
            inner.settled.retain(|_, time| *time >= now.saturating_sub(books::REMEMBERED));
            let first = super::usage::day(now.saturating_sub(self.keep.days));
            inner.days.retain(|[day, ..], _| *day >= first);
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::ledger::Estimate;

    /// 2026-11-21T01:00:00Z.
    const NOW: u64 = 1_795_222_800_000;

    #[test]
    fn what_was_settled_is_remembered_for_as_long_as_it_may_be_settled_again() {
        for (requests, settled, entries) in [(0, 2, 0), (Keep::default().requests, 0, 3)] {
            let store = Memory::new(Keep { requests, ..Keep::default() });
            let settle = |time: u64| {
                let entry = Entry { id: format!("{time:013}-a"), time, ..Entry::default() };
                let settlement = Settlement { hold: None, used: Estimate::default(), entry: Some(entry) };
                store.settle(&settlement, NOW).now_or_never().unwrap().unwrap();
            };
            let times = [NOW - books::REMEMBERED - 1, NOW - books::REMEMBERED, NOW];
            times.into_iter().for_each(settle);
            store.sweep(NOW).now_or_never().unwrap().unwrap();
            let kept = |inner: &Inner| (inner.settled.len(), inner.entries.len());
            assert_eq!(kept(&store.inner()), (settled, entries));
            times.into_iter().skip(1).for_each(settle);
            assert_eq!(store.inner().days.values().map(|sums| sums.requests).sum::<u64>(), 3);
        }
    }
}
