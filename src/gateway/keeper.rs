//! The store as requests use it: opened when it is first needed, keys remembered for a while, and no request lost for a store
//! that does not answer if the operator wants it so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::time::{sleep, timeout};

use super::caller::Principal;
use super::redact::redacted;
use super::settling::{Settling, Waiting};
use crate::admin::Admin;
use crate::meter::ledger::Estimate;
use crate::observe::clock::{self, Instant};
use crate::store::key::{Key, Team};
use crate::store::{Admission, Claim, Document, Hold, Kind, Scope, Settlement, Store, StoreError};

/// How long a key is used without looking it up anew: what is changed elsewhere holds here after that time and that of one
/// look-up, well within the 30 s that are promised.
const FRESH: Duration = Duration::from_secs(15);
/// How many keys are remembered.
const MOST: usize = 10_000;
/// How many keys are looked through at one time.
const PAGE: usize = 500;
/// How long a scope that had no room counts as full.
const FULL: Duration = Duration::from_secs(10);
/// How long a key may take to be looked up.
const LOOK_UP_TIME: Duration = Duration::from_secs(3);
/// How long a look-up that failed is not tried again, and the key of a signer is not looked for anew.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a store that was not there is not looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the store may take to let a request in.
pub(super) const ADMIT_TIME: Duration = Duration::from_secs(5);
/// How long it may take to settle one, with all tries.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(20);
/// The same where nobody waits for it: a store that is away for some minutes loses nothing.
const ASIDE_TIME: Duration = Duration::from_mins(10);
/// How many may wait for so long.
const PATIENT: usize = 1000;
/// The wait before the second try to settle; the next one is twice as long, and so on.
const SETTLE_WAIT: Duration = Duration::from_millis(100);

/// The store, and what is remembered of it.
pub struct Keeper {
    store: Arc<dyn Store>,
    admin: Admin,
    opened: OnceCell<()>,
    /// Whether it is in use: from the start, or from the first key on.
    active: AtomicBool,
    slots: Lock<HashMap<String, Arc<Slot>>>,
    /// The keys of signers, by ARN.
    signers: Mutex<HashMap<String, (Instant, Option<String>)>>,
    /// Scopes that had no room, and when.
    full: Lock<HashMap<String, Instant>>,
    /// The windows in which it was told of scopes that they are beyond their soft budgets.
    beyond: Lock<HashMap<String, u64>>,
    /// When it was last looked whether another process has made the store meanwhile.
    looked: Lock<Option<Instant>>,
    /// When what administrators have set was last looked up.
    overlaid: Lock<Option<Instant>>,
    generation: AtomicU64,
    /// How many settlements are under way, for who waits for them.
    pub(super) settling: watch::Sender<usize>,
}

/// A key that was looked up. Locked while somebody does so: others wait for what he finds.
#[derive(Default)]
struct Slot(Mutex<Known>);

#[derive(Default)]
struct Known {
    found: Option<Found>,
    /// Why it was not found the last time, and when that was.
    failed: Option<(Instant, StoreError)>,
}

struct Found {
    at: Instant,
    principal: Option<Arc<Principal>>,
}

/// Gives up in time.
async fn in_time<T>(time: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(time, work).await.unwrap_or_else(|_| Err(late(time)))
}

fn late(time: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {} s", time.as_secs()))
}

impl Keeper {
    /// A keeper of `store`. One that is `dormant` is not touched before it is there, or somebody comes to make a key: a gateway that
    /// uses no keys then has no store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, dormant: bool) -> Arc<Self> {
        Arc::new(Self {
            admin: Admin::new(Arc::clone(&store)),
            opened: OnceCell::new(),
            active: AtomicBool::new(!dormant || store.made()),
            store,
            slots: Lock::default(),
            signers: Mutex::default(),
            full: Lock::default(),
            beyond: Lock::default(),
            looked: Lock::default(),
            overlaid: Lock::default(),
            generation: AtomicU64::new(0),
            settling: watch::Sender::new(0),
        })
    }

    /// The store, ready to be used.
    ///
    /// # Errors
    /// Why it cannot be opened. The next one who asks tries anew.
    pub async fn store(&self) -> Result<&Arc<dyn Store>, StoreError> {
        self.opened.get_or_try_init(|| self.store.open()).await?;
        self.active.store(true, Ordering::Relaxed);
        Ok(&self.store)
    }

    /// Its administration, for what needs no store.
    pub(super) fn desk(&self) -> &Admin {
        &self.admin
    }

    /// Its administration, ready to be used.
    ///
    /// # Errors
    /// As [`store`](Self::store)'s.
    pub(super) async fn admin(&self) -> Result<&Admin, StoreError> {
        self.store().await.map(|_| &self.admin)
    }

    /// Opens the store at the start of a server, where it is in use then. One that does not answer yet may do so later.
    ///
    /// # Errors
    /// Where the operator has to mend something first.
    pub async fn ready(&self) -> Result<(), StoreError> {
        if !self.active() {
            return Ok(());
        }
        match self.store().await {
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::warn!(store = self.store.name(), %error, "started without the store");
                Ok(())
            }
            opened => opened.map(|_| ()),
        }
    }

    /// Whether a request is called upstream for while it is counted: the store is far, and none of its scopes was full lately.
    /// Who asks on and on does not make us open connections for nothing.
    pub(super) fn overlaps(&self, scopes: &[Scope]) -> bool {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |scope: &Scope| full.get(&scope.id).is_some_and(|at| at.elapsed() < FULL);
        self.store.far() && !scopes.iter().any(lately)
    }

    /// A scope has no room.
    fn note_full(&self, scope: &Scope) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.retain(|_, at| at.elapsed() < FULL);
        if full.len() < MOST {
            full.insert(scope.id.clone(), clock::now());
        }
    }

    /// Whether requests are recorded: from the start, or since somebody, here or in another process, has made the store.
    pub(super) fn active(&self) -> bool {
        if self.active.load(Ordering::Relaxed) {
            return true;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return false;
        }
        *looked = Some(clock::now());
        let made = self.store.made();
        self.active.fetch_or(made, Ordering::Relaxed);
        made
    }

    /// Who holds the secret of this hash. `stale`: what was known before will do where the store does not answer.
    ///
    /// # Errors
    /// The store's; whoever asks right after hears the same.
    pub(super) async fn principal(&self, hash: &str, stale: bool) -> Result<Option<Arc<Principal>>, StoreError> {
        let slot = self.slot(hash);
        let mut known = slot.0.lock().await;
        if known.found.as_ref().is_some_and(|found| found.at.elapsed() < FRESH) {
            return Ok(known.found.as_ref().and_then(|found| found.principal.clone()));
        }
        let failed = known.failed.take().filter(|(at, _)| at.elapsed() < AGAIN);
        let (at, error) = match failed {
            Some(failed) => failed,
            None => match in_time(LOOK_UP_TIME, self.look_up(hash)).await {
                Ok(principal) => {
                    known.found = Some(Found { at: clock::now(), principal: principal.clone() });
                    return Ok(principal);
                }
                Err(error) => {
                    tracing::error!(store = self.store.name(), %error, "a virtual key cannot be looked up");
                    (clock::now(), error)
                }
            },
        };
        known.failed = Some((at, error.clone()));
        match known.found.as_ref().filter(|_| stale) {
            Some(found) => Ok(found.principal.clone()),
            None => Err(error),
        }
    }

    /// Forgets all keys and settings: somebody has changed one.
    pub(super) fn forget(&self) {
        self.slots().clear();
        *self.overlaid.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what administrators have changed here: what was looked up before a change is old after it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether it is for the one who asks to look up what administrators have set; nobody else need do so for a while.
    pub(super) fn overlay_is_due(&self) -> bool {
        if !self.active() {
            return false;
        }
        let mut last = self.overlaid.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= FRESH);
        if due {
            *last = Some(clock::now());
        }
        due
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, hash: &str) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(hash) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST {
            // Made-up keys do not push out those that are somebody's.
            let real = |slot: &Arc<Slot>| {
                slot.0.try_lock().is_ok_and(|known| known.found.as_ref().is_some_and(|found| found.principal.is_some()))
            };
            slots.retain(|_, slot| real(slot));
            if slots.len() >= MOST {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(hash.to_owned()).or_default())
    }

    async fn look_up(&self, hash: &str) -> Result<Option<Arc<Principal>>, StoreError> {
        let store = self.store().await?;
        let now = clock::unix_millis();
        let Some(document) = store.find(Kind::Key, hash, now).await? else { return Ok(None) };
        let key: Key = read(&document)?;
        let team = match &key.team {
            None => None,
            Some(team) => match store.find(Kind::Team, team, now).await? {
                Some(document) => Some(read::<Team>(&document)?),
                // With the team went its limits, and so its keys.
                None => return Ok(None),
            },
        };
        Ok(Some(Arc::new(Principal::new(key, team))))
    }

    /// Whose requests AWS has signed with this ARN, as far as a key is bound to it: by the whole of it, or else by the longest
    /// beginning. All keys are looked through, which is done once in a while for each signer.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn signed(&self, arn: &str, stale: bool) -> Result<Option<Arc<Principal>>, StoreError> {
        let bound = {
            let mut signers = self.signers.lock().await;
            let known = signers.get(arn).cloned();
            match known.filter(|(at, _)| at.elapsed() < AGAIN) {
                Some((_, hash)) => hash,
                None => match in_time(LOOK_UP_TIME, self.bound(arn)).await {
                    Ok(hash) => {
                        if signers.len() >= MOST {
                            signers.clear();
                        }
                        signers.insert(arn.to_owned(), (clock::now(), hash.clone()));
                        hash
                    }
                    Err(error) => match signers.get(arn).filter(|_| stale) {
                        Some((_, hash)) => hash.clone(),
                        None => return Err(error),
                    },
                },
            }
        };
        match bound {
            Some(hash) => self.principal(&hash, stale).await,
            None => Ok(None),
        }
    }

    /// The hash of the key that is bound to a signer.
    async fn bound(&self, arn: &str) -> Result<Option<String>, StoreError> {
        let store = self.store().await?;
        let (mut best, mut after) = (None, None);
        loop {
            let page = store.list(Kind::Key, after.as_deref(), PAGE, clock::unix_millis()).await?;
            for document in &page {
                let Some(own) = read::<Key>(document)?.arn else { continue };
                let fits = own.strip_suffix('*').map_or(own == arn, |start| arn.starts_with(start));
                // A whole ARN is longer than any beginning of it.
                if fits && best.as_ref().is_none_or(|(longest, _)| own.len() > *longest || own == arn) {
                    best = Some((own.len(), document.id.clone()));
                }
            }
            if page.len() < PAGE {
                return Ok(best.map(|(_, hash)| hash));
            }
            after = page.last().map(|document| document.id.clone());
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The store's, also where it takes too long: what it counts after that is freed again on a server (`aside`), and lapses where
    /// nothing can be done later.
    pub(super) async fn admit(self: &Arc<Self>, claim: &Claim, aside: bool) -> Result<Admission, StoreError> {
        let (keeper, asked) = (Arc::clone(self), claim.clone());
        let mut admitted = Box::pin(async move { keeper.store().await?.admit(&asked, clock::unix_millis()).await });
        let admitted = match timeout(ADMIT_TIME, &mut admitted).await {
            Ok(admitted) => admitted,
            Err(_) => {
                if let Some(runtime) = Handle::try_current().ok().filter(|_| aside) {
                    let (keeper, open) = (Arc::clone(self), Settling::begin(self));
                    runtime.spawn(async move {
                        let _open = open;
                        if let Ok(Ok(Admission::Held(hold, _))) = timeout(ASIDE_TIME, admitted).await {
                            keeper.release(hold).await;
                        }
                    });
                }
                Err(late(ADMIT_TIME))
            }
        };
        if let Ok(Admission::Refused { scope, .. }) = &admitted
            && let Some(scope) = claim.scopes.get(*scope)
        {
            self.note_full(scope);
        }
        admitted
    }

    /// Settles a request, trying again for so long. Nobody waits for it but whoever ends the process: so it is here that
    /// bodies are redacted.
    pub(super) async fn settle(self: &Arc<Self>, settlement: &mut Settlement, time: Duration) {
        let _open = Settling::begin(self);
        let entry = settlement.entry.iter_mut();
        for body in entry.flat_map(|entry| [&mut entry.request_body, &mut entry.response_body]).flatten() {
            *body = redacted(body);
        }
        let settlement = &*settlement;
        let settled = async {
            let mut wait = SETTLE_WAIT;
            loop {
                let error = match self.store().await {
                    Ok(store) => match store.settle(settlement, clock::unix_millis()).await {
                        Ok(()) => return,
                        Err(error) => error,
                    },
                    Err(error) => error,
                };
                if matches!(error, StoreError::Setup(_)) {
                    return self.lost(settlement, &error.to_string());
                }
                tracing::debug!(%error, "a request is not settled yet");
                sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
                wait = (wait * 2).min(Duration::from_secs(3));
            }
        };
        if timeout(time, settled).await.is_err() {
            self.lost(settlement, "the store did not answer in time");
        }
    }

    /// Frees what a request holds that was over before it was counted.
    pub(super) async fn release(self: &Arc<Self>, hold: Hold) {
        let settlement = Settlement { hold: Some(hold), used: Estimate::default(), entry: None };
        let _open = Settling::begin(self);
        let released = async { self.store().await?.settle(&settlement, clock::unix_millis()).await };
        if let Err(error) = in_time(SETTLE_TIME, released).await {
            tracing::warn!(store = self.store.name(), %error, "a request that is over stays counted until its time is over");
        }
    }

    /// Whether nobody has been told yet that a scope is beyond its soft budget, in the window that begins at `start`.
    pub(super) fn first_beyond(&self, scope: &str, start: u64) -> bool {
        let mut beyond = self.beyond.lock().unwrap_or_else(PoisonError::into_inner);
        if beyond.len() >= MOST && !beyond.contains_key(scope) {
            beyond.clear();
        }
        beyond.insert(scope.to_owned(), start) != Some(start)
    }

    /// What could not be written stands in the log at least.
    pub(super) fn lost(&self, settlement: &Settlement, why: &str) {
        let what = match &settlement.hold {
            Some(_) => "could not be settled and stays charged at its estimate",
            None => "is not recorded",
        };
        tracing::error!(
            store = self.store.name(),
            request_id = settlement.entry.as_ref().map(|entry| entry.request_id.as_str()),
            tokens = settlement.used.tokens,
            cost = %settlement.used.cost,
            "a request {what}: {why}"
        );
    }

    /// Settles beside everything else: on a server, where nothing is frozen.
    pub(super) fn settle_aside(self: &Arc<Self>, settlement: Settlement) {
        // A request that is dropped with the runtime has nobody left to do it.
        let Ok(runtime) = Handle::try_current() else { return self.lost(&settlement, "the program ends") };
        let many = *self.settling.borrow() >= PATIENT;
        runtime.spawn(Waiting::new(self, settlement).settle(if many { SETTLE_TIME } else { ASIDE_TIME }));
    }

    /// Deletes what is past its time, if the store is in use.
    pub async fn sweep(&self) {
        if !self.active() {
            return;
        }
        let swept = async { self.store().await?.sweep(clock::unix_millis()).await };
        if let Err(error) = swept.await {
            tracing::warn!(store = self.store.name(), %error, "what is past its time was not deleted");
        }
    }

    /// Waits until everything is settled.
    pub async fn settled(&self) {
        let _ = self.settling.subscribe().wait_for(|count| *count == 0).await;
    }
}

fn read<T: serde::de::DeserializeOwned>(document: &Document) -> Result<T, StoreError> {
    serde_json::from_str(&document.body)
        .map_err(|error| StoreError::Corrupt(format!("{} `{}`: {error}", document.kind.name(), document.id)))
}
