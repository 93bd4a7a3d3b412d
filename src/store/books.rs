//! What stores that read, decide and write decide alike: whether a claim is admitted, and what a settlement changes.

use std::collections::HashMap;

use super::{Admission, Claim, Held, Hold};
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
