//! What has to hold across requests and processes: keys, limits, and the record of what was spent.
//!
//! [`Store`] has a verb for each thing that must happen as one. [`memory`] forgets all with the process; the others keep what they are told.
//! All of them pass the one suite in `tests/store.rs`, and all count as [`crate::meter::ledger`] does.
//!
//! Times are arguments, in Unix milliseconds. Nothing here knows of HTTP.

#[cfg(any(feature = "server", feature = "sqlite", feature = "postgres"))]
mod books;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
mod fits;
pub mod key;
#[cfg(feature = "server")]
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod token;
pub mod usage;

use futures::future::BoxFuture;

use crate::meter::ledger::{Estimate, Ledger, Limits, Over, Stamp, Standing};
use usage::{Daily, DailyQuery, Entry, EntryPage, EntryQuery};

/// Where keys, limits and records are kept.
///
/// A store is shared by all requests of a process, and by all processes that are given the same one.
pub trait Store: Send + Sync {
    /// What it is, for the log: `sqlite`, `dynamodb`.
    fn name(&self) -> &'static str;

    /// Whether it is asked over a network, so that something else can be done meanwhile.
    fn far(&self) -> bool {
        false
    }

    /// Whether there is something to connect to. A file is there from when somebody opens it.
    fn made(&self) -> bool {
        true
    }

    /// Connects, sets up what is missing and brings an older schema to today's. Called once, before anything else.
    ///
    /// # Errors
    /// [`StoreError::Setup`] where a newer program has written to it, or something is wrong that waiting does not mend.
    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Counts a request in all its scopes, if all have room for it, else in none. One atomic write where the claim is
    /// admitted or refused at its first try; in `DynamoDB` one for each scope, all at the same time.
    ///
    /// # Errors
    /// Where it cannot be told: nothing is counted then, or it lapses like what is never settled.
    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>>;

    /// Puts the true figures in place of a hold's estimate, and records the request. Doing so twice changes nothing; a hold that
    /// has lapsed stays charged at its estimate.
    ///
    /// # Errors
    /// Where it is not certain that all was kept. It may be tried again.
    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What scopes have used, in the order asked for; of those that are not known nothing.
    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>>;

    /// Finds a document. One whose time is over is not found.
    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>>;

    /// Documents of a kind by id, those after `after` and no more than `limit`.
    fn list<'a>(
        &'a self,
        kind: Kind,
        after: Option<&'a str>,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>>;

    /// Makes all changes, in their order, and writes the audit log, or does neither. A unique name that one change frees, a later
    /// one may take: so a key keeps its alias when its secret, and with it its id, is made anew.
    ///
    /// # Errors
    /// [`SaveError::Conflict`] with the place of the change that does not fit what is there.
    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>>;

    /// Records of requests, the newest first.
    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>>;

    /// Sums by day, key, team, model and deployment, in no order.
    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>>;

    /// The audit log, the newest first: what is before `before` (an [`Audit::id`]), no more than `limit`.
    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>>;

    /// Deletes what is past its time, where the store does not do so by itself. Called now and then.
    fn sweep(&self, now: u64) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Why a store did not do what it was asked to. The texts hold no secret and no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or has too much to do: later it may.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The operator has to mend something.
    #[error("the store cannot be used: {0}")]
    Setup(String),
    /// What is in it cannot be read.
    #[error("the store holds something unexpected: {0}")]
    Corrupt(String),
}

/// Why changes were not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The change at this place does not fit: what it creates is there already, what it replaces or removes is another by now
    /// or gone, or its unique name is taken.
    #[error("change {0} does not fit what is stored")]
    Conflict(usize),
    /// The store failed; it may or may not have made the changes.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long records are kept, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Those of requests. 0: none are written, and only the sums by day are kept.
    pub requests: u64,
    /// The sums by day.
    pub days: u64,
}

impl Default for Keep {
    fn default() -> Self {
        const DAY: u64 = 86_400_000;
        Self { requests: 30 * DAY, days: 400 * DAY }
    }
}

/// A request that wants to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The hold's name: random, never used before, letters and digits.
    pub hold: String,
    /// Where it counts: at least one, each once.
    pub scopes: Vec<Scope>,
    /// What it may come to.
    pub estimate: Estimate,
    /// When the hold lapses if it is never settled.
    pub lapses: u64,
}

/// Something with limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `key:…`, `team:…`, `model:…` or `gateway`.
    pub id: String,
    /// What it may use.
    pub limits: Limits,
    /// Over how many items it is spread where one would be the bottleneck (`DynamoDB`); each has its part of the limits. 1 or
    /// more.
    pub shards: u32,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is counted. What is used stands for each scope, in the order of the claim; of a spread one, for the part that was
    /// taken.
    Held(Hold, Vec<Standing>),
    /// A scope has no room.
    Refused {
        /// The scope's place in the claim.
        scope: usize,
        /// Which limit.
        over: Over,
    },
}

/// A claim that is counted and not yet settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The claim's.
    pub id: String,
    /// Where it counts, in the order of the claim.
    pub scopes: Vec<Held>,
    /// What is counted until it is settled.
    pub estimate: Estimate,
}

/// Where a hold is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The scope's id.
    pub scope: String,
    /// The scope's limits.
    pub limits: Limits,
    /// The windows.
    pub stamp: Stamp,
    /// Which part of a scope that is spread.
    pub shard: u32,
    /// Names of parts of the item that no longer count, for whoever writes it next.
    pub stale: Vec<String>,
}

/// A request that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Its hold, where there was one.
    pub hold: Option<Hold>,
    /// What it used: in place of the hold's estimate.
    pub used: Estimate,
    /// The record. Without one the request was not sent after all, and its hold is freed as if it had never been there.
    pub entry: Option<Entry>,
}

impl Settlement {
    /// What it used; nothing where it was not sent.
    fn used(&self) -> Option<Estimate> {
        self.entry.as_ref().map(|_| self.used)
    }
}

/// What is stored as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A virtual key ([`key::Key`]), by the hash of its secret.
    Key,
    /// A team ([`key::Team`]), by its id.
    Team,
    /// An administrator's public key, by its fingerprint.
    Admin,
    /// A login that was begun, by the challenge.
    Challenge,
    /// An administrator's session, by the hash of its token.
    Session,
    /// What an administrator set beside the configuration: prices, redirects. By its name.
    Setting,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Key, Self::Team, Self::Admin, Self::Challenge, Self::Session, Self::Setting];

    /// Its name in a store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::Admin => "admin",
            Self::Challenge => "challenge",
            Self::Session => "session",
            Self::Setting => "setting",
        }
    }
}

/// Something that is stored as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// Its name among those of its kind, 200 bytes at most.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: u64,
    /// A second name that no other of its kind may have: a key's alias.
    pub unique: Option<String>,
    /// From when on it is not found, in Unix milliseconds.
    pub ends: Option<u64>,
    /// JSON.
    pub body: String,
}

/// A change of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a document of version 1. It must not be there.
    Create(Document),
    /// Puts a document in place of the one of the version before its own. That one must be there, with this unique name.
    Replace {
        /// The new one.
        document: Document,
        /// The unique name of the one before.
        before: Option<String>,
    },
    /// Removes a document of this kind, id, version and unique name.
    Remove(Document),
}

impl Change {
    /// The document that it is about.
    #[must_use]
    pub fn document(&self) -> &Document {
        match self {
            Self::Create(document) | Self::Remove(document) | Self::Replace { document, .. } => document,
        }
    }
}

/// An administrative act, for ever.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    /// Sorts by time: 13 digits of Unix milliseconds, a dash, something random. What is written stays as it is: of a second act
    /// with the same id nothing is kept.
    pub id: String,
    /// When, in Unix milliseconds.
    pub time: u64,
    /// Who: `master key`, or an administrator's fingerprint.
    pub actor: String,
    /// What: `key.create`.
    pub action: String,
    /// On what: a kind and an id.
    pub subject: String,
    /// JSON of it before, without secrets.
    pub before: Option<String>,
    /// JSON of it after.
    pub after: Option<String>,
}
