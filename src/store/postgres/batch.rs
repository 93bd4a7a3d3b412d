//! What is written for requests: all that has gathered meanwhile, in one transaction of two round trips.
//!
//! The first round trip locks the ledgers, in the order of their names, so that no two processes wait for each other; the second
//! writes and commits. A key that many requests want at once costs a process two round trips, and not as many for each.

use std::collections::{HashMap, HashSet};

use futures::future::{join, join3};
use tokio::sync::oneshot;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::ledgers;
use super::pool::{Failed, doubtful, harmless};
use crate::meter::ledger::{Estimate, Ledger};
use crate::store::books;
use crate::store::sql::{self, Record, SUMS, Value};
use crate::store::{Admission, Claim, Hold, StoreError};

const LOCK: &str = "SELECT scope, body FROM ledgers WHERE scope = ANY ($1) ORDER BY scope FOR UPDATE";
/// Outside of any transaction, so that nobody holds one row while waiting for another. Rows are never deleted.
const MAKE: &str = "INSERT INTO ledgers (scope, body) SELECT scope, '{}' FROM unnest($1) AS scope ORDER BY scope \
    ON CONFLICT (scope) DO NOTHING";
const WRITE: &str =
    "UPDATE ledgers SET body = new.body FROM unnest($1, $2) AS new (scope, body) WHERE ledgers.scope = new.scope";

/// Something to write.
pub(super) enum Work {
    Admit(Claim, u64),
    Settle(Option<Hold>, Option<Estimate>, Option<Record>, u64),
}

/// What came of it: a settlement has no answer.
pub(super) type Answer = Option<Admission>;

/// Work, and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Answer, StoreError>>,
}

impl Work {
    fn scopes(&self) -> Vec<&String> {
        match self {
            Self::Admit(claim, _) => claim.scopes.iter().map(|scope| &scope.id).collect(),
            Self::Settle(Some(hold), ..) => hold.scopes.iter().map(|held| &held.scope).collect(),
            Self::Settle(None, ..) => Vec::new(),
        }
    }
}

/// One statement for what settlements record: writes entries, and adds to the sums of a day those that were not there. Its
/// parameters are lists, one for each column of a [`Record`].
pub(super) fn statement(kept: bool) -> String {
    let (insert, rest) = Record::insert(kept).split_once(" VALUES ").unwrap_or_default();
    let conflict = rest.split_once(')').unwrap_or_default().1;
    let (into, rest) = sql::ADD.split_once(" VALUES ").unwrap_or_default();
    let add = rest.split_once(')').unwrap_or_default().1;
    let entry: &[&str] = if kept {
        &["text", "bigint", "text", "text", "text", "text", "text", "bigint", "text"]
    } else {
        &["text", "bigint"]
    };
    let day = ["text"; 5].into_iter().chain(["bigint"; SUMS.len()]);
    let kinds = entry.iter().copied().chain(day).enumerate();
    let lists: Vec<String> = kinds.map(|(at, kind)| format!("${}::{kind}[]", at + 1)).collect();
    let columns = |from: usize, to: usize| (from..=to).map(|at| format!("c{at}")).collect::<Vec<_>>();
    let (first, last) = (entry.len() + 1, entry.len() + 5 + SUMS.len());
    let names = columns(first, first + 4).join(", ");
    let most = i64::MAX;
    let sums: Vec<String> =
        columns(first + 5, last).into_iter().map(|sum| format!("least(sum({sum}), {most})::bigint")).collect();
    format!(
        "WITH given ({all}) AS (SELECT * FROM unnest({lists})), \
         new AS ({insert} SELECT {entry} FROM given ORDER BY c1 {conflict} RETURNING id) \
         {into} SELECT {names}, {sums} FROM given JOIN new ON id = c1 GROUP BY {names} ORDER BY {names} {add}",
        all = columns(1, last).join(", "),
        lists = lists.join(", "),
        entry = columns(1, entry.len()).join(", "),
        sums = sums.join(", "),
    )
}

/// The names of ledgers in the table, by their scopes.
fn names(jobs: &[Job]) -> HashMap<String, String> {
    let scopes = jobs.iter().flat_map(|job| job.work.scopes());
    scopes.map(|scope| (scope.clone(), sql::name(scope))).collect()
}

/// Does all jobs; their answers. `None` where a ledger had to be made first: then it is to be done once more.
pub(super) async fn run(client: &Client, record: &str, jobs: &[Job]) -> Result<Option<Vec<Answer>>, Failed> {
    let names = names(jobs);
    let records = Columns::of(jobs);
    if names.is_empty() {
        records.write(client, record).await.map_err(harmless)?;
        return Ok(Some(jobs.iter().map(|_| None).collect()));
    }
    let all: Vec<String> = names.values().cloned().collect();
    let (begun, found) = join(client.batch_execute("BEGIN"), ledgers(client, LOCK, &all)).await;
    begun.map_err(harmless)?;
    let mut found = found?;
    let mut known: HashMap<String, Ledger> =
        names.iter().filter_map(|(scope, name)| Some((scope.clone(), found.remove(name)?))).collect();
    if make(client, jobs, &names, &known).await? {
        return Ok(None);
    }
    let mut changed = HashSet::new();
    let mut admitted = false;
    let mut answers = Vec::with_capacity(jobs.len());
    for Job { work, .. } in jobs {
        let (answer, counted) = match work {
            Work::Admit(claim, now) => {
                let admission = books::admit(&mut known, claim, *now);
                let counted = matches!(admission, Admission::Held(..));
                admitted |= counted;
                (Some(admission), counted)
            }
            Work::Settle(Some(hold), used, _, now) => (None, books::settle(&mut known, hold, *used, *now)),
            Work::Settle(None, ..) => (None, false),
        };
        answers.push(answer);
        changed.extend(work.scopes().into_iter().filter(|_| counted));
    }
    let mut written = [Vec::new(), Vec::new()];
    let [scopes, bodies] = &mut written;
    for scope in changed {
        if let (Some(ledger), Some(name)) = (known.get(scope), names.get(scope)) {
            scopes.push(name.clone());
            bodies.push(sql::json(ledger)?);
        }
    }
    let (wrote, recorded, committed) =
        join3(write(client, &written), records.write(client, record), client.batch_execute("COMMIT")).await;
    // Settlements may be done again; whether a request is counted nobody knows if the answer to the commit is lost.
    let failed = if admitted { doubtful } else { harmless };
    wrote.map_err(failed)?;
    recorded.map_err(failed)?;
    committed.map_err(failed)?;
    Ok(Some(answers))
}

/// Makes the ledgers that claims need and that are not there, and says whether there were any.
async fn make(
    client: &Client,
    jobs: &[Job],
    names: &HashMap<String, String>,
    known: &HashMap<String, Ledger>,
) -> Result<bool, Failed> {
    let claims = jobs.iter().filter(|job| matches!(job.work, Work::Admit(..)));
    let missing = claims.flat_map(|job| job.work.scopes()).filter(|scope| !known.contains_key(*scope));
    let missing: Vec<&String> = missing.filter_map(|scope| names.get(scope)).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    client.batch_execute("ROLLBACK").await.map_err(harmless)?;
    client.execute_typed(MAKE, &[(&missing, Type::TEXT_ARRAY)]).await.map_err(harmless)?;
    Ok(true)
}

async fn write(client: &Client, [scopes, bodies]: &[Vec<String>; 2]) -> Result<u64, tokio_postgres::Error> {
    if scopes.is_empty() {
        return Ok(0);
    }
    client.execute_typed(WRITE, &[(scopes, Type::TEXT_ARRAY), (bodies, Type::TEXT_ARRAY)]).await
}

/// Records, column by column.
struct Columns(Vec<Column>);

enum Column {
    Texts(Vec<String>),
    Wholes(Vec<i64>),
}

impl Column {
    fn list(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
            Self::Wholes(wholes) => (wholes, Type::INT8_ARRAY),
        }
    }
}

impl Columns {
    /// Of two settlements of one request, the first.
    fn of(jobs: &[Job]) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        let mut seen = HashSet::new();
        for job in jobs {
            let Work::Settle(_, _, Some(Record { entry, day }), _) = &job.work else { continue };
            if let Some(Value::Text(id)) = entry.first()
                && !seen.insert(id)
            {
                continue;
            }
            for (at, value) in entry.iter().chain(day).enumerate() {
                match (columns.get_mut(at), value) {
                    (Some(Column::Texts(texts)), Value::Text(text)) => texts.push(text.clone()),
                    (Some(Column::Wholes(wholes)), Value::Whole(whole)) => wholes.push(*whole),
                    (None, Value::Text(text)) => columns.push(Column::Texts(vec![text.clone()])),
                    (None, Value::Whole(whole)) => columns.push(Column::Wholes(vec![*whole])),
                    // A column of a record is of one kind, and never empty.
                    (_, Value::Null | Value::Text(_) | Value::Whole(_)) => {}
                }
            }
        }
        Self(columns)
    }

    async fn write(&self, client: &Client, record: &str) -> Result<u64, tokio_postgres::Error> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let lists: Vec<(&(dyn ToSql + Sync), Type)> = self.0.iter().map(Column::list).collect();
        client.execute_typed(record, &lists).await
    }
}
