//! What the writing thread does: all that has gathered meanwhile, in one transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::super::books;
use super::super::fits::{Seen, fits};
use super::super::sql::{self, Record, Value};
use super::super::{Admission, Audit, Change, Claim, Hold, Keep, StoreError};
use super::schema::{busy, failed};
use super::{LEDGER, execute, rows};
use crate::meter::ledger::{Estimate, Ledger};

/// How many rows are deleted at a time, so that nobody waits long for a sweep.
const SWEPT: i64 = 2000;

/// Something to write.
pub(super) enum Work {
    Admit(Claim, u64),
    Settle(Option<Hold>, Option<Estimate>, Option<Record>, u64),
    Save(Vec<Change>, Vec<Audit>, u64),
    Sweep(u64),
}

/// What came of it.
pub(super) enum Answer {
    Admission(Admission),
    Settled,
    /// The place of the change that does not fit.
    Saved(Result<(), usize>),
    /// Whether there may be more to delete.
    Swept(bool),
}

/// Work, and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// The ledgers as the last transaction of ours left them, which holds for as long as nobody else has written.
#[derive(Default)]
pub(super) struct Known {
    version: i64,
    ledgers: HashMap<String, Ledger>,
    /// Those that were looked for, whether or not they are there.
    read: HashSet<String>,
}

/// How many ledgers are remembered.
const REMEMBERED: usize = 1000;

/// Does all jobs and answers each.
pub(super) fn run(connection: &mut Connection, known: &mut Known, mut jobs: Vec<Job>, keep: Keep) {
    // Who has gone away is not counted any more. Who is only told that it takes too long frees what he gets.
    jobs.retain(|job| !(matches!(job.work, Work::Admit(..)) && job.reply.is_closed()));
    let answers = match transact(connection, known, &jobs, keep) {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        // One may be at fault for all: each alone. But where the file does not get free, nobody waits for it once more.
        Err(error) if error != busy() && jobs.len() > 1 => {
            let mut alone = |job| {
                let mut answers = transact(connection, known, std::slice::from_ref(job), keep)?;
                answers.pop().ok_or_else(|| StoreError::Corrupt("no answer".into()))
            };
            jobs.iter().map(&mut alone).collect()
        }
        Err(error) => jobs.iter().map(|_| Err(error.clone())).collect::<Vec<_>>(),
    };
    for (job, answer) in jobs.into_iter().zip(answers) {
        // Whoever waited may have gone away meanwhile; what was counted for it lapses.
        let _ = job.reply.send(answer);
    }
}

fn transact(
    connection: &mut Connection,
    known: &mut Known,
    jobs: &[Job],
    keep: Keep,
) -> Result<Vec<Answer>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = rows(&transaction, "PRAGMA data_version", &[])?.pop().and_then(|row| row.into_iter().next());
    let version = if let Some(Value::Whole(version)) = version { version } else { 0 };
    // What goes wrong from here on leaves nothing to remember.
    let Known { version: before, mut ledgers, mut read } = std::mem::take(known);
    if before != version || read.len() > REMEMBERED {
        ledgers.clear();
        read.clear();
    }
    let mut batch = Batch { transaction: &transaction, keep, ledgers, read, changed: HashSet::new() };
    let answers = jobs.iter().map(|job| batch.work(&job.work)).collect::<Result<Vec<Answer>, StoreError>>()?;
    batch.write_ledgers()?;
    let Batch { ledgers, read, .. } = batch;
    transaction.commit().map_err(failed)?;
    *known = Known { version, ledgers, read };
    Ok(answers)
}

struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    keep: Keep,
    /// As this transaction leaves them.
    ledgers: HashMap<String, Ledger>,
    /// Those that were looked for, whether or not they are there.
    read: HashSet<String>,
    changed: HashSet<String>,
}

impl Batch<'_> {
    fn work(&mut self, work: &Work) -> Result<Answer, StoreError> {
        match work {
            Work::Admit(claim, now) => self.admit(claim, *now).map(Answer::Admission),
            Work::Settle(hold, used, record, now) => {
                if let Some(hold) = hold {
                    self.settle(hold, *used, *now)?;
                }
                if let Some(record) = record
                    && execute(self.transaction, Record::insert(self.keep.requests > 0), &record.entry)? > 0
                {
                    execute(self.transaction, &sql::ADD, &record.day)?;
                }
                Ok(Answer::Settled)
            }
            Work::Save(changes, audit, now) => self.save(changes, audit, *now).map(Answer::Saved),
            Work::Sweep(now) => self.sweep(*now).map(Answer::Swept),
        }
    }

    fn read_ledgers<'a>(&mut self, scopes: impl Iterator<Item = &'a String>) -> Result<(), StoreError> {
        for scope in scopes {
            if !self.read.contains(scope) {
                for row in rows(self.transaction, LEDGER, &[Value::name(scope)])? {
                    self.ledgers.insert(scope.clone(), sql::ledger(row)?.1);
                }
                self.read.insert(scope.clone());
            }
        }
        Ok(())
    }

    fn write_ledgers(&self) -> Result<(), StoreError> {
        const WRITE: &str =
            "INSERT INTO ledgers (scope, body) VALUES ($1, $2) ON CONFLICT (scope) DO UPDATE SET body = $2";
        for scope in &self.changed {
            if let Some(ledger) = self.ledgers.get(scope) {
                execute(self.transaction, WRITE, &[Value::name(scope), Value::Text(sql::json(ledger)?)])?;
            }
        }
        Ok(())
    }

    fn admit(&mut self, claim: &Claim, now: u64) -> Result<Admission, StoreError> {
        self.read_ledgers(claim.scopes.iter().map(|scope| &scope.id))?;
        let admission = books::admit(&mut self.ledgers, claim, now);
        if matches!(admission, Admission::Held(..)) {
            self.changed.extend(claim.scopes.iter().map(|scope| scope.id.clone()));
        }
        Ok(admission)
    }

    fn settle(&mut self, hold: &Hold, used: Option<Estimate>, now: u64) -> Result<(), StoreError> {
        self.read_ledgers(hold.scopes.iter().map(|held| &held.scope))?;
        if books::settle(&mut self.ledgers, hold, used, now) {
            self.changed.extend(hold.scopes.iter().map(|held| held.scope.clone()));
        }
        Ok(())
    }

    fn save(&self, changes: &[Change], audit: &[Audit], now: u64) -> Result<Result<(), usize>, StoreError> {
        let command = |command| self.transaction.execute_batch(command).map_err(failed);
        command("SAVEPOINT changes")?;
        for (place, change) in changes.iter().enumerate() {
            if !self.fits(change, now)? {
                command("ROLLBACK TO changes; RELEASE changes")?;
                return Ok(Err(place));
            }
            for (sql, values) in sql::write(change, now) {
                execute(self.transaction, sql, &values)?;
            }
        }
        for act in audit {
            execute(self.transaction, sql::ACT, &sql::act(act)?)?;
        }
        command("RELEASE changes")?;
        Ok(Ok(()))
    }

    fn fits(&self, change: &Change, now: u64) -> Result<bool, StoreError> {
        let document = change.document();
        let (kind, id) = (Value::text(document.kind.name()), Value::text(&document.id));
        let there =
            rows(self.transaction, sql::SEEN, &[kind.clone(), id.clone()])?.pop().map(sql::there).transpose()?;
        let taken = match &document.unique {
            Some(name) => {
                let values = [kind, Value::text(name), id, Value::whole(now)];
                !rows(self.transaction, sql::TAKEN, &values)?.is_empty()
            }
            None => false,
        };
        let seen = there.as_ref().map(|(version, name, ends)| Seen {
            version: *version,
            unique: name.as_deref(),
            ends: *ends,
        });
        Ok(fits(change, seen, taken, now))
    }

    fn sweep(&self, now: u64) -> Result<bool, StoreError> {
        const DOCUMENTS: &str =
            "DELETE FROM documents WHERE rowid IN (SELECT rowid FROM documents WHERE ends <= $1 LIMIT $2)";
        const ENTRIES: &str =
            "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE time < $1 ORDER BY time LIMIT $2)";
        const SETTLED: &str =
            "DELETE FROM settled WHERE id IN (SELECT id FROM settled WHERE time < $1 ORDER BY time LIMIT $2)";
        const DAYS: &str = "DELETE FROM days WHERE (day, key, team, model, upstream) IN \
             (SELECT day, key, team, model, upstream FROM days WHERE day < $1 LIMIT $2)";
        let before = |time: u64| Value::whole(now.saturating_sub(time));
        let first = super::super::usage::day(now.saturating_sub(self.keep.days));
        let mut more = false;
        for (sql, end) in [
            (DOCUMENTS, Value::whole(now)),
            (ENTRIES, before(self.keep.requests)),
            (SETTLED, before(books::REMEMBERED)),
            (DAYS, Value::Text(first)),
        ] {
            let deleted = execute(self.transaction, sql, &[end, Value::Whole(SWEPT)])?;
            more |= i64::try_from(deleted).unwrap_or(SWEPT) >= SWEPT;
        }
        Ok(more)
    }
}
