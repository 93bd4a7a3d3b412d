//! What a store has to bring for the suite, and what the cases are made of.

use std::sync::Arc;

use feathergate::meter::Money;
use feathergate::meter::ledger::{Estimate, Limits, Over, Standing};
use feathergate::store::memory::Memory;
use feathergate::store::usage::{Daily, DailyQuery, Entry, EntryQuery, Sums, Tokens};
use feathergate::store::{
    Admission, Audit, Change, Claim, Document, Hold, Keep, Kind, SaveError, Scope, Settlement, Store,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// 2026-11-21T01:00:00Z, the first moment of a step.
pub const NOW: u64 = 1_795_222_800_000;
pub const MINUTE: u64 = 60_000;
/// How long a request counts in a rate that it came at the beginning of a step to.
pub const RATE: u64 = feathergate::meter::ledger::STEP * feathergate::meter::ledger::STEPS;
pub const DAY: u64 = 86_400_000;
/// When a hold lapses in a case that is not about lapsing.
pub const LATE: u64 = NOW + 60 * MINUTE;
pub const ALL: EntryQuery = EntryQuery {
    from: 0,
    to: u64::MAX,
    key: None,
    team: None,
    model: None,
    end_user: None,
    request_id: None,
    failed: None,
    before: None,
    limit: 1000,
};

/// A kind of store, as the suite needs it.
#[derive(Clone, Copy)]
pub struct Kit {
    /// A store that is not opened yet, over data of this name: nobody's at the first call of a test run, and after that the
    /// same as before.
    pub make: fn(String, Keep) -> BoxFuture<'static, Arc<dyn Store>>,
    /// Whether the data outlasts the store, so that a second one over the same name sees them.
    pub lasts: bool,
    /// Whether [`Store::sweep`] deletes, and not the store by itself.
    pub sweeps: bool,
    /// Marks the data of this name as written by a newer program.
    pub age: fn(String) -> BoxFuture<'static, ()>,
}

pub fn memory() -> Kit {
    Kit {
        make: |_, keep| async move { Arc::new(Memory::new(keep)) as Arc<dyn Store> }.boxed(),
        lasts: false,
        sweeps: true,
        age: |_| async {}.boxed(),
    }
}

/// The value of the variable that tells of a store's server; says so where it is not set.
#[allow(dead_code, reason = "for stores that need a server")]
pub fn server(variable: &str) -> Option<String> {
    use std::io::Write as _;

    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        // Not `eprintln`, which the test runner keeps to itself.
        let _ = writeln!(std::io::stderr(), "store: SKIPPED, {variable} is not set");
    }
    value
}

/// A case and its data.
pub struct Case {
    pub kit: Kit,
    pub name: String,
}

impl Case {
    pub fn new(kit: Kit, name: &str) -> Self {
        Self { kit, name: name.to_owned() }
    }

    /// Whether a call takes milliseconds, so that thousands of them are too many.
    pub fn slow(&self) -> bool {
        !self.kit.sweeps
    }

    /// A store, opened.
    pub async fn store(&self) -> Arc<dyn Store> {
        self.keeping(Keep::default()).await
    }

    /// The same, with other times to keep records.
    pub async fn keeping(&self, keep: Keep) -> Arc<dyn Store> {
        let store = (self.kit.make)(self.name.clone(), keep).await;
        store.open().await.unwrap();
        store
    }

    /// Two stores over the same data, as two processes have them; the same one twice where the data end with it.
    pub async fn pair(&self) -> [Arc<dyn Store>; 2] {
        let first = self.store().await;
        let second = if self.kit.lasts { self.store().await } else { Arc::clone(&first) };
        [first, second]
    }
}

pub fn asks(tokens: u64, cost: u64) -> Estimate {
    Estimate { tokens, cost: Money(cost) }
}

pub fn claim(hold: &str, scopes: &[(&str, &Limits)], estimate: Estimate) -> Claim {
    let scope = |(id, limits): &(&str, &Limits)| Scope { id: (*id).to_owned(), limits: (*limits).clone(), shards: 1 };
    Claim { hold: hold.to_owned(), scopes: scopes.iter().map(scope).collect(), estimate, lapses: LATE }
}

/// Admits, and fails where it is refused.
pub async fn held(store: &dyn Store, claim: &Claim, now: u64) -> (Hold, Vec<Standing>) {
    match store.admit(claim, now).await.unwrap() {
        Admission::Held(hold, standings) => (hold, standings),
        Admission::Refused { scope, over } => panic!("{} is refused by scope {scope}: {over:?}", claim.hold),
    }
}

/// Admits, and fails where it is not refused.
pub async fn refused(store: &dyn Store, claim: &Claim, now: u64) -> (usize, Over) {
    match store.admit(claim, now).await.unwrap() {
        Admission::Refused { scope, over } => (scope, over),
        Admission::Held(..) => panic!("{} is admitted", claim.hold),
    }
}

/// What a scope has used.
pub async fn standing(store: &dyn Store, scope: &str, limits: &Limits, now: u64) -> Standing {
    let ledgers = store.ledgers(&[scope.to_owned()]).await.unwrap();
    assert_eq!(ledgers.len(), 1);
    ledgers[0].standing(&limits.stamp(now), now)
}

/// Entry number `number` of `time`.
pub fn entry(time: u64, number: u64) -> Entry {
    Entry {
        id: format!("{time:013}-{number:06}"),
        time,
        request_id: format!("req_{number}"),
        key: "key_1".into(),
        key_alias: "alias".into(),
        model: "gpt".into(),
        upstream: "openai".into(),
        tokens: Tokens { input: 10 + number, output: 5, ..Tokens::default() },
        cost: Some(Money(7 * number)),
        total: 250,
        status: 200,
        attempts: 1,
        ..Entry::default()
    }
}

pub fn settlement(hold: Option<Hold>, used: Estimate, entry: Entry) -> Settlement {
    Settlement { hold, used, entry: Some(entry) }
}

pub async fn record(store: &dyn Store, entry: Entry, now: u64) {
    store.settle(&settlement(None, Estimate::default(), entry), now).await.unwrap();
}

pub fn document(kind: Kind, id: &str, version: u64, unique: Option<&str>) -> Document {
    let body = format!("{{\"id\":\"{id}\",\"version\":{version}}}");
    Document { kind, id: id.to_owned(), version, unique: unique.map(str::to_owned), ends: None, body }
}

pub fn act(time: u64, number: u64) -> Audit {
    Audit {
        id: format!("{time:013}-{number:06}"),
        time,
        actor: "master key".into(),
        action: "key.create".into(),
        subject: format!("key key_{number}"),
        before: None,
        after: Some("{\"a\":1}".into()),
    }
}

pub async fn save(store: &dyn Store, changes: &[Change]) -> Result<(), SaveError> {
    store.save(changes, &[], NOW).await
}

/// All entries that a query takes, by pages.
pub async fn pages(store: &dyn Store, query: &EntryQuery) -> Vec<Entry> {
    let mut query = query.clone();
    let mut all = Vec::new();
    for _ in 0..1000 {
        let page = store.entries(&query).await.unwrap();
        assert!(page.entries.len() <= query.limit, "a page is no longer than asked for");
        all.extend(page.entries);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return all,
        }
    }
    panic!("the pages have no end");
}

/// All sums, in order.
pub async fn days(store: &dyn Store, query: &DailyQuery) -> Vec<Daily> {
    let mut days = store.daily(query).await.unwrap();
    days.sort_by_key(place);
    days
}

pub fn place(daily: &Daily) -> [String; 5] {
    let Daily { day, key, team, model, upstream, sums: _ } = daily.clone();
    [day, key, team, model, upstream]
}

pub fn every_day() -> DailyQuery {
    DailyQuery { from: "0000-00-00".into(), to: "9999-99-99".into(), ..DailyQuery::default() }
}

/// What entries come to.
pub fn summed<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Sums {
    entries.into_iter().fold(Sums::default(), |sums, entry| sums.plus(&entry.sums()))
}

/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
