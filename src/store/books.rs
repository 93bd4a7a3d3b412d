//! What stores that read, decide and write decide alike: whether a claim is admitted, what a settlement changes, whether a
//! change of documents fits.

use std::collections::HashMap;

use super::{Admission, Change, Claim, Held, Hold};
use crate::meter::ledger::{Estimate, Ledger};

/// How long a settled request is known again where its entry is not kept, in milliseconds. Who settles tries again within
/// seconds.
pub(super) const REMEMBERED: u64 = 86_400_000;

/// Counts a claim in all its scopes or in none. `ledgers` holds what is known of them; of one that is not in it, nothing is used.
pub(super) fn admit(ledgers: &mut HashMap<String, Ledger>, claim: &Claim, now: u64) -> Admission {
    let unused = Ledger::default();
    for (place, scope) in claim.scopes.iter().enumerate() {
        let ledger = ledgers.get(&scope.id).unwrap_or(&unused);
        if let Some(over) = ledger.refuses(&scope.limits, claim.estimate, now) {
            return Admission::Refused { scope: place, over };
        }
    }
    let mut standings = Vec::with_capacity(claim.scopes.len());
    let mut scopes = Vec::with_capacity(claim.scopes.len());
    for scope in &claim.scopes {
        let ledger = ledgers.entry(scope.id.clone()).or_default();
        standings.push(ledger.count(&scope.limits, claim.estimate, (&claim.hold, claim.lapses), now));
        let (stamp, stale) = (scope.limits.stamp(now), Vec::new());
        scopes.push(Held { scope: scope.id.clone(), limits: scope.limits.clone(), stamp, shard: 0, stale });
    }
    Admission::Held(Hold { id: claim.hold.clone(), scopes, estimate: claim.estimate }, standings)
}

/// Puts what was used in place of a hold's estimate; without it the request was not sent. `false` where nothing changes: it is settled already, or has lapsed.
pub(super) fn settle(ledgers: &mut HashMap<String, Ledger>, hold: &Hold, used: Option<Estimate>, now: u64) -> bool {
    let mut changed = false;
    for held in &hold.scopes {
        if let Some(ledger) = ledgers.get_mut(&held.scope) {
            changed |= ledger.settle(&held.limits, &held.stamp, (&hold.id, hold.estimate), used, now);
        }
    }
    changed
}

/// What is stored where a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    /// The document's version.
    pub(super) version: u64,
    /// Its unique name.
    pub(super) unique: Option<&'a str>,
    /// When it ends.
    pub(super) ends: Option<u64>,
}

/// Whether a change fits what is `there`. `taken` says that another document has its unique name.
pub(super) fn fits(change: &Change, there: Option<Seen<'_>>, taken: bool, now: u64) -> bool {
    let there = there.filter(|there| there.ends.is_none_or(|ends| ends > now));
    let is = |version: Option<u64>, unique: &Option<String>| {
        there.is_some_and(|there| Some(there.version) == version && there.unique == unique.as_deref())
    };
    match change {
        Change::Create(_) => there.is_none() && !taken,
        Change::Replace { document, before } => is(document.version.checked_sub(1), before) && !taken,
        Change::Remove(document) => is(Some(document.version), &document.unique),
    }
}
