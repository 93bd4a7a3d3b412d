//! The store in one table of `DynamoDB`, for Lambda: nothing to run, and paid by the call.
//!
//! | partition | sort | is |
//! | --- | --- | --- |
//! | `SCOPE#<id>#<part>` | `#` | what a scope has used (`dynamodb/counts.rs`) |
//! | `USE#<0…7>` | an entry's id | the record of a request |
//! | `DAY#<0…7>` | day, hash of who and what | sums of a day |
//! | `DOC#<kind>` | its id | a document |
//! | `NAME#<kind>` | `=` and a unique name | whose it is |
//! | `AUDIT` | its id | an administrative act |
//! | `SCHEMA` | `#` | the version of all this |
//!
//! A request is counted with one write for each of its scopes, all at the same time. That is no transaction: a transaction costs
//! twice as much, does not say what is used, and fails where another one has the item, which a team's or the gateway's item
//! always is under load. Each write is decided by its own scope's limits, so none is ever exceeded. Where one scope has no room,
//! the others take the request back before the answer; for these milliseconds it counts there. A process that is killed
//! within them leaves what every killed process leaves: a hold that lapses, charged at its estimate.
//!
//! **Ceiling.** `DynamoDB` takes 1,000 units a second for one item, and a request takes two (one to count it, one to settle it)
//! while the item is below 1 KB, which is some forty requests at one time. So a scope does 500 requests a second for each of its
//! parts. A spread scope starts at a part by chance and goes on to the others where that one has no room; a part has its share of
//! every limit, so no request fits that is larger than that. Who changes the number of parts in the middle of a period moves the
//! shares, but not what was spent.

mod counts;
mod documents;
mod expression;
mod records;
mod table;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::usage::{Daily, DailyQuery, EntryPage, EntryQuery};
use super::{
    Admission, Audit, Change, Claim, Document, Held, Hold, Keep, Kind, SaveError, Scope, Settlement, Store, StoreError,
};
use crate::meter::ledger::{Ledger, Limits, Over, Standing};
use crate::upstream::aws::Place;
use expression::{Expression, Item, number, number_of};
use table::{Table, Written};

/// The version of the table's contents that this program reads and writes.
const VERSION: u64 = 1;
/// The sort key of what is alone in its partition.
const ALONE: &str = "#";
/// How many calls an administrator's question makes at one time.
const ABREAST: usize = 16;
/// How often a request is tried to be counted where holds that have lapsed are in the way.
const TRIES: u32 = 10;
/// How long it may take to take a request back where the store fails. What is left then lapses.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The store.
pub struct Dynamo {
    table: Table,
    keep: Keep,
    /// The spread scopes whose first item is known to say so, and how far.
    spread: Mutex<HashSet<(String, u32)>>,
}

/// What became of a claim in one scope.
enum Entered {
    Held(Held, Standing),
    Refused(Over),
    /// Nobody knows; it may be counted here.
    Lost(Held, StoreError),
}

/// The same in one part of it.
enum Part {
    Held(Standing, Vec<String>),
    Refused(Ledger, Over),
}

impl Dynamo {
    /// A table that is there, with the partition key `pk` and the sort key `sk`. Connects to nothing yet.
    #[must_use]
    pub fn new(place: Place, http: reqwest::Client, table: String, keep: Keep) -> Self {
        Self { table: Table::new(place, http, table), keep, spread: Mutex::default() }
    }

    /// Waits longer for answers, for a table that is far away or an emulator; three seconds for a call with all its attempts
    /// where nothing is said.
    #[must_use]
    pub fn patient(mut self, call: Duration) -> Self {
        self.table.patience.attempt = call / 2;
        self.table.patience.all = call;
        self
    }

    async fn version(&self) -> Result<(), StoreError> {
        let found = self.table.get("SCHEMA", ALONE).await?.and_then(|item| number_of(&item, "V"));
        let found = match found {
            Some(found) => found,
            None => {
                let mut write = Expression::default();
                write.keep("V", number(VERSION));
                match self.table.update("SCHEMA", ALONE, &write, true).await? {
                    Written::Done(item) | Written::Refused(item) => number_of(&item, "V").unwrap_or(VERSION),
                }
            }
        };
        if found <= VERSION {
            return Ok(());
        }
        let error = StoreError::Setup(format!(
            "the DynamoDB table `{}` was written by a newer FeatherGate (its version is {found}, this program knows {VERSION})",
            self.table.name
        ));
        Err(self.table.barred.get_or_init(|| error).clone())
    }

    async fn enter_all(&self, claim: &Claim, now: u64) -> Result<Admission, StoreError> {
        let entered = join_all(claim.scopes.iter().map(|scope| self.enter(claim, scope, now))).await;
        let refusal = entered.iter().enumerate().find_map(|(scope, entered)| match entered {
            Entered::Refused(over) => Some(Admission::Refused { scope, over: *over }),
            Entered::Held(..) | Entered::Lost(..) => None,
        });
        let lost = entered.iter().find_map(|entered| match entered {
            Entered::Lost(_, error) => Some(error.clone()),
            Entered::Held(..) | Entered::Refused(_) => None,
        });
        if refusal.is_some() || lost.is_some() {
            let back = self.withdraw(claim, &entered);
            // Where the store fails, nobody waits for it a second time.
            let done = if lost.is_some() {
                tokio::time::timeout(WITHDRAWAL, back).await.is_ok()
            } else {
                back.await;
                true
            };
            if !done {
                tracing::warn!("a request that was not let in may stay counted until its time is over");
            }
            return match (refusal, lost) {
                (Some(refusal), _) => Ok(refusal),
                (None, lost) => Err(lost.unwrap_or_else(|| StoreError::Unavailable(String::new()))),
            };
        }
        let held = entered.into_iter().filter_map(|entered| match entered {
            Entered::Held(held, standing) => Some((held, standing)),
            Entered::Refused(_) | Entered::Lost(..) => None,
        });
        let (scopes, standings) = held.unzip();
        Ok(Admission::Held(Hold { id: claim.hold.clone(), scopes, estimate: claim.estimate }, standings))
    }

    /// Takes a claim back where it is counted, or may be. What cannot be taken back lapses.
    async fn withdraw(&self, claim: &Claim, entered: &[Entered]) {
        let counted = entered.iter().filter_map(|entered| match entered {
            Entered::Held(held, _) | Entered::Lost(held, _) => Some(held),
            Entered::Refused(_) => None,
        });
        let back = counted.map(|held| async {
            let partition = counts::partition(&held.scope, held.shard);
            let write = counts::withdrawal(claim, held);
            if let Err(error) = self.table.update(&partition, ALONE, &write, false).await {
                tracing::warn!(
                    "a refused request could not be taken back, so it stays counted at its estimate, and its place is taken \
                     until its time is over: {error}"
                );
            }
        });
        join_all(back).await;
    }

    /// Counts a claim in one scope: in a part by chance, or in another that has room. All of it takes no longer than a call may.
    async fn enter(&self, claim: &Claim, scope: &Scope, now: u64) -> Entered {
        let stamp = scope.limits.stamp(now);
        let held = |shard, stale| Held { scope: scope.id.clone(), limits: scope.limits.clone(), stamp, shard, stale };
        // The part that is tried.
        let part = AtomicU32::new(0);
        let entered = tokio::time::timeout(self.table.patience.all, self.enter_any(claim, scope, &part, now)).await;
        let part = part.into_inner();
        match entered {
            Ok(Ok(Part::Held(standing, stale))) => Entered::Held(held(part, stale), standing),
            Ok(Ok(Part::Refused(_, over))) => Entered::Refused(over),
            Ok(Err(error)) => Entered::Lost(held(part, Vec::new()), error),
            Err(_) => Entered::Lost(held(part, Vec::new()), table::late()),
        }
    }

    async fn enter_any(&self, claim: &Claim, scope: &Scope, part: &AtomicU32, now: u64) -> Result<Part, StoreError> {
        let parts = counts::parts(scope);
        let first = if parts > 1 { fastrand::u32(..parts) } else { 0 };
        self.spread(scope, parts).await?;
        let mut refusals = Vec::new();
        for turn in 0..parts {
            let shard = (first + turn) % parts;
            part.store(shard, Ordering::Relaxed);
            let limits = counts::share(&scope.limits, shard, parts);
            match self.enter_part(claim, (&scope.id, shard), &limits, now).await? {
                held @ Part::Held(..) => return Ok(held),
                Part::Refused(ledger, over) => refusals.push((ledger, over)),
            }
        }
        let over = counts::together(&scope.limits, &scope.limits.stamp(now), now, &refusals);
        let over = over.ok_or_else(|| StoreError::Corrupt("a refusal without a limit".to_owned()))?;
        Ok(Part::Refused(Ledger::default(), over))
    }

    async fn enter_part(
        &self,
        claim: &Claim,
        (scope, shard): (&str, u32),
        limits: &Limits,
        now: u64,
    ) -> Result<Part, StoreError> {
        let partition = counts::partition(scope, shard);
        let stamp = limits.stamp(now);
        let over = |ledger: &Ledger| ledger.refuses(limits, claim.estimate, now);
        let held = |ledger: &Ledger| Part::Held(ledger.standing(&stamp, now), counts::stale(ledger, &stamp, now));
        // What would not fit into an empty one needs no write to be refused.
        if over(&Ledger::default()).is_some() {
            let ledger = counts::ledger(&self.table.get(&partition, ALONE).await?.unwrap_or_default());
            if let Some(over) = over(&ledger) {
                return Ok(Part::Refused(ledger, over));
            }
        }
        let mut lapsed = Vec::new();
        for _ in 0..TRIES {
            let write = counts::admission(claim, limits, &stamp, &lapsed);
            match self.table.update(&partition, ALONE, &write, true).await? {
                Written::Done(item) => return Ok(held(&counts::ledger(&item))),
                Written::Refused(item) => {
                    let ledger = counts::ledger(&item);
                    if counts::has(&item, claim) {
                        return Ok(held(&ledger));
                    }
                    if let Some(over) = over(&ledger) {
                        return Ok(Part::Refused(ledger, over));
                    }
                    // Only holds that have lapsed are in the way: they leave with the next write.
                    lapsed = counts::lapsed(&ledger, now);
                    if lapsed.len() == counts::CLEANED {
                        self.table.update(&partition, ALONE, &counts::clearing(&lapsed), false).await?;
                        lapsed.clear();
                    }
                }
            }
        }
        Err(StoreError::Unavailable("too many requests are counted in the same place at once".to_owned()))
    }

    /// Writes down how far a scope is spread, for [`Store::ledgers`]: once in a process.
    async fn spread(&self, scope: &Scope, parts: u32) -> Result<(), StoreError> {
        let mark = (scope.id.clone(), parts);
        let known = |mark: &(String, u32)| self.spread.lock().unwrap_or_else(PoisonError::into_inner).contains(mark);
        if parts == 1 || known(&mark) {
            return Ok(());
        }
        let mut write = Expression::default();
        let (name, value) = (write.name(counts::SPREAD), write.value(number(parts)));
        write.demand(format!("(attribute_not_exists({name}) OR {name} < {value})"));
        write.set(counts::SPREAD, number(parts));
        self.table.update(&counts::partition(&scope.id, 0), ALONE, &write, false).await?;
        self.spread.lock().unwrap_or_else(PoisonError::into_inner).insert(mark);
        Ok(())
    }

    async fn leave(&self, hold: &Hold, held: &Held, settlement: &Settlement, now: u64) -> Result<(), StoreError> {
        let partition = counts::partition(&held.scope, held.shard);
        let cleans = held.stale.iter().any(|name| name.starts_with('H'));
        let write = counts::settlement(hold, held, settlement.used(), now, cleans);
        let refused = match self.table.update(&partition, ALONE, &write, false).await? {
            Written::Done(_) => return Ok(()),
            Written::Refused(item) => item,
        };
        // Settled or lapsed before; or what was to be cleaned up with it is gone already.
        if cleans && number_of(&refused, &counts::hold(&hold.id)).is_some() {
            let write = counts::settlement(hold, held, settlement.used(), now, false);
            self.table.update(&partition, ALONE, &write, false).await?;
        }
        Ok(())
    }

    async fn settle_all(&self, settlement: &Settlement, now: u64) -> Result<(), StoreError> {
        let scopes = settlement.hold.iter().flat_map(|hold| hold.scopes.iter().map(move |held| (hold, held)));
        let scopes = join_all(scopes.map(|(hold, held)| self.leave(hold, held, settlement, now)));
        let record = async {
            match &settlement.entry {
                Some(entry) => self.record(entry).await,
                None => Ok(()),
            }
        };
        let (scopes, record) = futures::join!(scopes, record);
        scopes.into_iter().chain([record]).collect()
    }

    async fn ledger(&self, scope: &str) -> Result<Ledger, StoreError> {
        let part = |shard| async move {
            let partition = counts::partition(scope, shard);
            Ok::<Item, StoreError>(self.table.get(&partition, ALONE).await?.unwrap_or_default())
        };
        let first = part(0).await?;
        let parts = number_of(&first, counts::SPREAD).and_then(|parts| u32::try_from(parts).ok()).unwrap_or(1);
        let others: Vec<Item> = futures::stream::iter((1..parts).map(part)).buffered(ABREAST).try_collect().await?;
        Ok(others.iter().map(counts::ledger).fold(counts::ledger(&first), counts::join))
    }
}

/// A text as a part of a key: as it is, or shortened where it would not fit. Partition keys have 2,048 bytes, sort keys 1,024.
fn clip(text: &str) -> String {
    if text.len() <= 900 {
        return text.to_owned();
    }
    let start = text.get(..text.floor_char_boundary(800)).unwrap_or_default();
    format!("{start}%{}", super::token::hash(text))
}

impl Store for Dynamo {
    fn far(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "dynamodb"
    }

    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.version().boxed()
    }

    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>> {
        self.enter_all(claim, now).boxed()
    }

    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        self.settle_all(settlement, now).boxed()
    }

    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>> {
        futures::stream::iter(scopes.iter().map(|scope| self.ledger(scope))).buffered(ABREAST).try_collect().boxed()
    }

    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        self.document(kind, id, now).boxed()
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        after: Option<&'a str>,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        self.documents(kind, after, limit, now).boxed()
    }

    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>> {
        self.change(changes, audit, now).boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>> {
        self.page(query).boxed()
    }

    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>> {
        self.days(query).boxed()
    }

    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>> {
        self.acts(before, limit).boxed()
    }

    /// The table's TTL does this.
    fn sweep(&self, _: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}
