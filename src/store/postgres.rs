//! [`Store`] in PostgreSQL, for servers that have one beside them.
//!
//! Nothing is prepared, so a pooler in between does no harm as long as it leaves sessions their settings.

mod batch;
mod pool;
mod schema;
mod tls;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join};
use tokio::sync::oneshot;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use self::batch::{Job, Work};
use self::pool::{Failed, Pool, doubtful, harmless};
use super::books;
use super::fits::{self, Seen};
use super::sql::{self, Record, Row, Value};
use super::usage::{self, Daily, DailyQuery, EntryPage, EntryQuery};
use super::{Admission, Audit, Change, Claim, Document, Keep, Kind, SaveError, Settlement, Store, StoreError};
use crate::config::secret::Secret;
use crate::meter::ledger::Ledger;

const READ: &str = "SELECT scope, body FROM ledgers WHERE scope = ANY ($1)";
/// How many rows are deleted at a time.
const SWEPT: i64 = 5000;

/// How many jobs a transaction does at most: the first of them waits for the last.
const TOGETHER: usize = 128;
/// How many tasks do jobs at one time. Most of them want the same rows: of the gateway, of a team.
const WORKERS: usize = 2;

/// The store.
pub struct Postgres(Arc<Inner>);

struct Inner {
    pool: Pool,
    keep: Keep,
    /// Writes entries, and adds to the sums those that were not there.
    record: String,
    opened: tokio::sync::OnceCell<()>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    workers: usize,
}

impl Postgres {
    /// A store at this address: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. As with libpq, `sslmode=require` encrypts and
    /// does not look who the server is; `verify-full` does, by Mozilla's list or the certificates in the file `sslrootcert`.
    ///
    /// # Errors
    /// [`StoreError::Setup`] where the address is none.
    pub fn new(address: &Secret, keep: Keep) -> Result<Self, StoreError> {
        let (pool, record) = (Pool::new(address)?, batch::statement(keep.requests > 0));
        let (opened, queue) = (tokio::sync::OnceCell::new(), Mutex::default());
        Ok(Self(Arc::new(Inner { pool, keep, record, opened, queue })))
    }

    fn pool(&self) -> Result<&Pool, StoreError> {
        let open = self.0.opened.get();
        open.map(|()| &self.0.pool).ok_or_else(|| StoreError::Unavailable("it is not open".into()))
    }

    /// Reads, and makes something of each row.
    async fn read<T>(
        &self,
        sql: &str,
        values: &[Value],
        make: impl Fn(Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows =
            self.pool()?.with(|client| async move { rows(&client, sql, values).await.map_err(harmless) }).await?;
        rows.into_iter().map(make).collect()
    }

    async fn write(&self, work: Work) -> Result<Option<Admission>, StoreError> {
        self.pool()?;
        let (reply, answer) = oneshot::channel();
        if self.0.push(Job { work, reply }) {
            #[expect(clippy::disallowed_methods, reason = "those who wait for its answers keep the process awake")]
            tokio::spawn(Arc::clone(&self.0).work());
        }
        answer.await.map_err(|_| StoreError::Unavailable("its task has ended".into()))?
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another worker is to be started for it.
    fn push(&self, job: Job) -> bool {
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        let start = queue.workers < WORKERS;
        queue.workers += usize::from(start);
        start
    }

    fn pull(&self) -> Vec<Job> {
        let mut queue = self.queue();
        let mut jobs = Vec::new();
        while jobs.len() < TOGETHER
            && let Some(job) = queue.jobs.pop_front()
        {
            // Who has been told that it took too long is not counted any more.
            if !(matches!(job.work, Work::Admit(..)) && job.reply.is_closed()) {
                jobs.push(job);
            }
        }
        queue.workers -= usize::from(jobs.is_empty());
        jobs
    }

    async fn work(self: Arc<Self>) {
        let mut shift = Shift { inner: &self, over: false };
        loop {
            let jobs = self.pull();
            if jobs.is_empty() {
                shift.over = true;
                return;
            }
            let answers = match self.transact(&jobs).await {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(error) => jobs.iter().map(|_| Err(error.clone())).collect::<Vec<_>>(),
            };
            for (job, answer) in jobs.into_iter().zip(answers) {
                // Whoever waited may have gone away; what was counted for it lapses.
                let _ = job.reply.send(answer);
            }
        }
    }

    async fn transact(&self, jobs: &[Job]) -> Result<Vec<Option<Admission>>, StoreError> {
        for _ in 0..2 {
            let run = |client: Arc<Client>| async move { batch::run(&client, &self.record, jobs).await };
            if let Some(answers) = self.pool.with(run).await? {
                return Ok(answers);
            }
        }
        Err(StoreError::Corrupt("ledgers that were just made are not there".into()))
    }
}

/// A worker that ends otherwise than it should makes room for another.
struct Shift<'a> {
    inner: &'a Inner,
    over: bool,
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.inner.queue().workers -= 1;
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Whole(number) => number.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

fn typed(values: &[Value]) -> Vec<Parameter<'_>> {
    let kind = |value: &Value| match value {
        Value::Null => Type::UNKNOWN,
        Value::Text(_) => Type::TEXT,
        Value::Whole(_) => Type::INT8,
    };
    values.iter().map(|value| (value as &(dyn ToSql + Sync), kind(value))).collect()
}

async fn execute(client: &Client, sql: &str, values: &[Value]) -> Result<u64, Error> {
    client.execute_typed(sql, &typed(values)).await
}

async fn rows(client: &Client, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
    let found = client.query_typed(sql, &typed(values)).await?;
    found.iter().map(row).collect()
}

fn row(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let value = |(place, column): (usize, &tokio_postgres::Column)| {
        Ok(if *column.type_() == Type::INT8 {
            row.try_get::<_, Option<i64>>(place)?.map_or(Value::Null, Value::Whole)
        } else {
            row.try_get::<_, Option<String>>(place)?.map_or(Value::Null, Value::Text)
        })
    };
    row.columns().iter().enumerate().map(value).collect()
}

/// Ledgers by their scopes, as a statement has found them.
async fn ledgers(client: &Client, sql: &str, names: &[String]) -> Result<HashMap<String, Ledger>, Failed> {
    let found = client.query_typed(sql, &[(&names, Type::TEXT_ARRAY)]).await.map_err(harmless)?;
    found.iter().map(|found| Ok(sql::ledger(row(found).map_err(harmless)?)?)).collect()
}

/// As [`Store::save`], one at a time: they are few.
async fn save(client: &Client, changes: &[Change], audit: &[Audit], now: u64) -> Result<Result<(), usize>, Failed> {
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({})", schema::CHANGE);
    client.batch_execute(&begin).await.map_err(harmless)?;
    for (place, change) in changes.iter().enumerate() {
        if !fits(client, change, now).await? {
            client.batch_execute("ROLLBACK").await.map_err(harmless)?;
            return Ok(Err(place));
        }
        for (sql, values) in sql::write(change, now) {
            execute(client, sql, &values).await.map_err(harmless)?;
        }
    }
    for act in audit {
        execute(client, sql::ACT, &sql::act(act)?).await.map_err(harmless)?;
    }
    client.batch_execute("COMMIT").await.map_err(doubtful)?;
    Ok(Ok(()))
}

async fn fits(client: &Client, change: &Change, now: u64) -> Result<bool, Failed> {
    let document = change.document();
    let (kind, id) = (Value::text(document.kind.name()), Value::text(&document.id));
    let values = [kind.clone(), id.clone()];
    let there = rows(client, sql::SEEN, &values);
    let values = [kind, Value::maybe(document.unique.as_deref()), id, Value::whole(now)];
    // Nothing is called nothing, so without a name none is found.
    let taken = rows(client, sql::TAKEN, &values);
    let (there, taken) = join(there, taken).await;
    let there = there.map_err(harmless)?.pop().map(sql::there).transpose()?;
    let seen =
        there.as_ref().map(|(version, name, ends)| Seen { version: *version, unique: name.as_deref(), ends: *ends });
    Ok(fits::fits(change, seen, !taken.map_err(harmless)?.is_empty(), now))
}

async fn sweep(client: &Client, keep: Keep, now: u64) -> Result<bool, Failed> {
    let before = |time: u64| Value::whole(now.saturating_sub(time));
    let first = usage::day(now.saturating_sub(keep.days));
    let mut more = false;
    for (table, past, end) in [
        ("documents", "ends <= $1", Value::whole(now)),
        ("entries", "time < $1", before(keep.requests)),
        ("settled", "time < $1", before(books::REMEMBERED)),
        ("days", "day < $1", Value::Text(first)),
    ] {
        let sql =
            format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {past} LIMIT $2))");
        let deleted = execute(client, &sql, &[end, Value::Whole(SWEPT)]).await.map_err(harmless)?;
        more |= i64::try_from(deleted).unwrap_or(SWEPT) >= SWEPT;
    }
    Ok(more)
}

impl Store for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn far(&self) -> bool {
        true
    }

    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let open = || async {
                let lease = self.0.pool.take().await?;
                schema::migrate(&lease.client).await?;
                lease.done();
                Ok(())
            };
            self.0.opened.get_or_try_init(open).await?;
            Ok(())
        }
        .boxed()
    }

    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>> {
        async move {
            let admission = self.write(Work::Admit(claim.clone(), now)).await?;
            admission.ok_or_else(|| StoreError::Corrupt("an answer to something else".into()))
        }
        .boxed()
    }

    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let record = |entry| Record::of(entry, self.0.keep.requests > 0);
            let record = settlement.entry.as_ref().map(record).transpose()?;
            self.write(Work::Settle(settlement.hold.clone(), settlement.used(), record, now)).await.map(drop)
        }
        .boxed()
    }

    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>> {
        async move {
            let names: &Vec<String> = &scopes.iter().map(|scope| sql::name(scope)).collect();
            let found = self.pool()?.with(|client| async move { ledgers(&client, READ, names).await }).await?;
            Ok(names.iter().map(|name| found.get(name).cloned().unwrap_or_default()).collect())
        }
        .boxed()
    }

    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        async move {
            let values = [Value::text(kind.name()), Value::text(id), Value::whole(now)];
            Ok(self.read(sql::FIND, &values, |row| sql::document(kind, row)).await?.pop())
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
            let values = sql::listed(kind, after, limit, now);
            self.read(sql::LIST, &values, |row| sql::document(kind, row)).await
        }
        .boxed()
    }

    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>> {
        async move {
            let saved = self.pool()?.with(|client| async move { save(&client, changes, audit, now).await }).await?;
            saved.map_err(SaveError::Conflict)
        }
        .boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>> {
        async move {
            let (sql, values) = sql::search_entries(query);
            sql::page(self.read(&sql, &values, Ok).await?, query.limit)
        }
        .boxed()
    }

    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>> {
        async move {
            let (sql, values) = sql::search_days(query);
            self.read(&sql, &values, sql::daily).await
        }
        .boxed()
    }

    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>> {
        async move {
            let (sql, values) = sql::search_audit(before, limit);
            self.read(sql, &values, |row| sql::Columns::of(row).json()).await
        }
        .boxed()
    }

    fn sweep(&self, now: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            while self.pool()?.with(|client| async move { sweep(&client, self.0.keep, now).await }).await? {}
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::ledger::Estimate;

    #[tokio::test]
    async fn whom_nobody_waits_for_is_not_counted() {
        let store = Postgres::new(&Secret::new("postgres://u@127.0.0.1:1/d"), Keep::default()).unwrap();
        let entry = usage::Entry::default();
        let settlement = || Work::Settle(None, Some(Estimate::default()), Some(Record::of(&entry, true).unwrap()), 0);
        let admission = || {
            let claim = Claim { hold: "a".into(), scopes: Vec::new(), estimate: Estimate::default(), lapses: 1 };
            Work::Admit(claim, 0)
        };
        let push = |work| {
            let (reply, answer) = oneshot::channel();
            store.0.push(Job { work, reply });
            answer
        };
        // More than are done together, so that a worker that took so many for an end would leave the others lying.
        for _ in 0..2 * TOGETHER {
            drop(push(admission()));
        }
        let waiting = push(admission());
        drop(push(settlement()));
        let jobs = store.0.pull();
        assert!(matches!(jobs.as_slice(), [Job { work: Work::Admit(..), .. }, Job { work: Work::Settle(..), .. }]));
        drop((jobs, waiting));
        assert!(store.0.pull().is_empty() && store.0.queue().jobs.is_empty());
    }
}
