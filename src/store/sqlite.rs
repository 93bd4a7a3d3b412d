//! [`Store`] in an SQLite file, which several processes may share: nothing to install, nothing to run.
//!
//! One thread writes, and puts all that has gathered while it was busy into one transaction; two read. No request's task ever
//! waits for the file itself.

mod batch;
mod schema;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use tokio::sync::oneshot;

use super::sql::{self, Record, Row, Value};
use super::usage::{Daily, DailyQuery, EntryPage, EntryQuery};
use super::{Admission, Audit, Change, Claim, Document, Keep, Kind, SaveError, Settlement, Store, StoreError};
use crate::meter::ledger::Ledger;
use batch::{Answer, Job, Work};
use schema::failed;

const LEDGER: &str = "SELECT scope, body FROM ledgers WHERE scope = $1";
/// How many jobs a transaction does at most: the first of them waits for the last.
const TOGETHER: usize = 128;

/// The store.
pub struct Sqlite {
    path: PathBuf,
    keep: Keep,
    desk: OnceLock<Desk>,
    opening: tokio::sync::Mutex<()>,
}

/// Where work is handed in. The threads end when it is dropped.
struct Desk {
    writer: Sender<Job>,
    /// For what a request waits for.
    quick: Sender<Read>,
    /// For what may take its time: lists, reports.
    slow: Sender<Read>,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Sqlite {
    /// A store in the file at this path. Its folder has to be there; the file need not be.
    #[must_use]
    pub fn new(path: PathBuf, keep: Keep) -> Self {
        Self { path, keep, desk: OnceLock::new(), opening: tokio::sync::Mutex::new(()) }
    }

    fn desk(&self) -> Result<&Desk, StoreError> {
        self.desk.get().ok_or_else(|| StoreError::Unavailable("it is not open".into()))
    }

    async fn write(&self, work: Work) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.desk()?.writer.send(Job { work, reply }).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    async fn read<T: Send + 'static>(
        &self,
        queue: &Sender<Read>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &Connection| {
            let _ = reply.send(read(connection));
        };
        queue.send(Box::new(job)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// A thread is gone, which only a panic brings about.
fn ended() -> StoreError {
    StoreError::Unavailable("its thread has ended".into())
}

/// Starts the three threads, the file being opened by the first of them.
fn start(path: PathBuf, keep: Keep, opened: oneshot::Sender<Result<Desk, StoreError>>) -> Result<(), StoreError> {
    let begin = move || {
        let open = || {
            let connection = schema::open(&path)?;
            let (quick, slow) = (reading(schema::reader(&path)?)?, reading(schema::reader(&path)?)?);
            let (writer, jobs) = mpsc::channel();
            Ok((connection, jobs, Desk { writer, quick, slow }))
        };
        match open() {
            Ok((connection, jobs, desk)) => {
                let _ = opened.send(Ok(desk));
                write_all(connection, &jobs, keep);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        }
    };
    spawn("store-write", begin)
}

fn reading(connection: Connection) -> Result<Sender<Read>, StoreError> {
    let (queue, jobs) = mpsc::channel::<Read>();
    spawn("store-read", move || jobs.into_iter().for_each(|job| job(&connection)))?;
    Ok(queue)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map(drop).map_err(|error| StoreError::Setup(format!("no thread can be started: {error}")))
}

fn write_all(mut connection: Connection, jobs: &Receiver<Job>, keep: Keep) {
    let mut known = batch::Known::default();
    while let Ok(first) = jobs.recv() {
        let mut together = vec![first];
        together.extend(jobs.try_iter().take(TOGETHER - 1));
        batch::run(&mut connection, &mut known, together, keep);
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Whole(number) => ValueRef::Integer(*number),
        }))
    }
}

/// Runs a statement that gives no rows; how many it changed.
fn execute(connection: &Connection, sql: &str, values: &[Value]) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement.execute(params_from_iter(values)).map_err(failed)
}

/// Runs a statement that gives rows.
fn rows(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    fetch(connection, sql, values, Ok)
}

/// The same, and makes something of each row as it comes: a report may have a hundred thousand.
fn fetch<T>(
    connection: &Connection,
    sql: &str,
    values: &[Value],
    make: impl Fn(Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let columns = statement.column_count();
    let value = |row: &rusqlite::Row<'_>, column| {
        Ok(match row.get_ref(column)? {
            ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Integer(number) => Value::Whole(number),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
        })
    };
    let mut found = statement.query(params_from_iter(values)).map_err(failed)?;
    let mut all = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        let row = (0..columns).map(|column| value(row, column)).collect::<rusqlite::Result<Row>>();
        all.push(make(row.map_err(failed)?)?);
    }
    Ok(all)
}

fn unexpected() -> StoreError {
    StoreError::Corrupt("an answer to something else".into())
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn made(&self) -> bool {
        self.path.exists()
    }

    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let _one = self.opening.lock().await;
            if self.desk.get().is_none() {
                let (opened, desk) = oneshot::channel();
                start(self.path.clone(), self.keep, opened)?;
                let _ = self.desk.set(desk.await.map_err(|_| ended())??);
            }
            Ok(())
        }
        .boxed()
    }

    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>> {
        async move {
            match self.write(Work::Admit(claim.clone(), now)).await? {
                Answer::Admission(admission) => Ok(admission),
                Answer::Settled | Answer::Saved(_) | Answer::Swept(_) => Err(unexpected()),
            }
        }
        .boxed()
    }

    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let record = |entry| Record::of(entry, self.keep.requests > 0);
            let record = settlement.entry.as_ref().map(record).transpose()?;
            self.write(Work::Settle(settlement.hold.clone(), settlement.used(), record, now)).await.map(drop)
        }
        .boxed()
    }

    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>> {
        let names: Vec<Value> = scopes.iter().map(|scope| Value::name(scope)).collect();
        async move {
            let read = move |connection: &Connection| {
                let each = names.into_iter().map(|name| match rows(connection, LEDGER, &[name])?.pop() {
                    Some(row) => sql::ledger(row).map(|(_, ledger)| ledger),
                    None => Ok(Ledger::default()),
                });
                each.collect()
            };
            self.read(&self.desk()?.quick, read).await
        }
        .boxed()
    }

    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        let values = [Value::text(kind.name()), Value::text(id), Value::whole(now)];
        async move {
            let read = move |connection: &Connection| {
                rows(connection, sql::FIND, &values)?.pop().map(|row| sql::document(kind, row)).transpose()
            };
            self.read(&self.desk()?.quick, read).await
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
        let values = sql::listed(kind, after, limit, now);
        async move {
            let read =
                move |connection: &Connection| fetch(connection, sql::LIST, &values, |row| sql::document(kind, row));
            self.read(&self.desk()?.slow, read).await
        }
        .boxed()
    }

    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>> {
        async move {
            match self.write(Work::Save(changes.to_vec(), audit.to_vec(), now)).await? {
                Answer::Saved(saved) => saved.map_err(SaveError::Conflict),
                Answer::Settled | Answer::Admission(_) | Answer::Swept(_) => Err(unexpected().into()),
            }
        }
        .boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>> {
        let (sql, values) = sql::search_entries(query);
        async move {
            let limit = query.limit;
            let read = move |connection: &Connection| sql::page(rows(connection, &sql, &values)?, limit);
            self.read(&self.desk()?.slow, read).await
        }
        .boxed()
    }

    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>> {
        let (sql, values) = sql::search_days(query);
        async move {
            let read = move |connection: &Connection| fetch(connection, &sql, &values, sql::daily);
            self.read(&self.desk()?.slow, read).await
        }
        .boxed()
    }

    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>> {
        let (sql, values) = sql::search_audit(before, limit);
        async move {
            let read =
                move |connection: &Connection| fetch(connection, sql, &values, |row| sql::Columns::of(row).json());
            self.read(&self.desk()?.slow, read).await
        }
        .boxed()
    }

    fn sweep(&self, now: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            while let Answer::Swept(true) = self.write(Work::Sweep(now)).await? {}
            Ok(())
        }
        .boxed()
    }
}
