//! The file: what is in it, and how it is opened.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::StoreError;

/// Marks the file as ours: `FGat`.
const APPLICATION: i64 = 0x4647_6174;

/// Each brings the schema to its place in this list, counted from 1. What was released is never changed.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE ledgers (scope TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;

    CREATE TABLE documents (
        kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, name TEXT, ends INTEGER, body TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT;
    CREATE UNIQUE INDEX documents_by_name ON documents (kind, name) WHERE name IS NOT NULL;
    CREATE INDEX documents_by_end ON documents (ends) WHERE ends IS NOT NULL;

    CREATE TABLE entries (
        id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL, model TEXT NOT NULL,
        end_user TEXT NOT NULL, request_id TEXT NOT NULL, failed INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX entries_by_time ON entries (time);
    CREATE INDEX entries_by_key ON entries (key, time);
    CREATE INDEX entries_by_team ON entries (team, time) WHERE team <> '';
    CREATE INDEX entries_by_model ON entries (model, time);
    CREATE INDEX entries_by_end_user ON entries (end_user, time) WHERE end_user <> '';
    CREATE INDEX entries_by_request ON entries (request_id, time) WHERE request_id <> '';
    CREATE INDEX entries_by_failure ON entries (time) WHERE failed = 1;

    CREATE TABLE settled (id TEXT PRIMARY KEY, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX settled_by_time ON settled (time);

    CREATE TABLE days (
        day TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL, model TEXT NOT NULL, upstream TEXT NOT NULL,
        requests INTEGER NOT NULL, failures INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
        cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL, reasoning INTEGER NOT NULL,
        audio_input INTEGER NOT NULL, audio_output INTEGER NOT NULL, cost INTEGER NOT NULL, unpriced INTEGER NOT NULL,
        PRIMARY KEY (day, key, team, model, upstream)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE audit (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;

    -- What the planner is to think of a full table, also while it is empty: which index narrows a search most.
    ANALYZE;
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
        ('entries', 'sqlite_autoindex_entries_1', '1000000 1'),
        ('entries', 'entries_by_time', '1000000 2'),
        ('entries', 'entries_by_request', '1000000 2 1'),
        ('entries', 'entries_by_end_user', '500000 200 1'),
        ('entries', 'entries_by_key', '1000000 5000 2'),
        ('entries', 'entries_by_team', '1000000 50000 2'),
        ('entries', 'entries_by_model', '1000000 100000 2'),
        ('entries', 'entries_by_failure', '20000 2');
"];

/// How long another process may keep the file to itself before we give up.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often opening is tried, and how long each try and the pause after it last: turning to WAL, and recovering after a killed
/// process, do not wait for others by themselves.
const TRIES: u32 = 50;
const TRY: Duration = Duration::from_millis(180);
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the file and brings it to today's schema.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let once = || {
        let mut connection = connect(path, TRY)?;
        migrate(&mut connection, path)?;
        wait(&mut connection, PATIENCE).map_err(|error| fault(&error, path))?;
        Ok(connection)
    };
    for _ in 0..TRIES {
        match once() {
            Ok(connection) => return Ok(connection),
            Err(Fault::Busy) => thread::sleep(PAUSE),
            Err(Fault::Other(error)) => return Err(error),
        }
    }
    Err(busy())
}

/// Opens the file once more, for reading.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let set = |connection: Connection| {
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    connect(path, PATIENCE).and_then(|connection| set(connection).map_err(|error| fault(&error, path))).map_err(
        |fault| match fault {
            Fault::Busy => busy(),
            Fault::Other(error) => error,
        },
    )
}

enum Fault {
    Busy,
    Other(StoreError),
}

fn setup(text: String) -> Fault {
    Fault::Other(StoreError::Setup(text))
}

fn connect(path: &Path, patience: Duration) -> Result<Connection, Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(setup(format!("there is no folder {}", folder.display())));
    }
    if path.is_dir() {
        return Err(setup(format!("{} is a folder, and should be a file", path.display())));
    }
    let prepare = || {
        let mut connection = Connection::open(path)?;
        wait(&mut connection, patience)?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        // What is committed survives a killed process, though the last moments may not survive a power cut.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "cache_size", -16_000)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "journal_size_limit", 64_000_000)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok((connection, mode))
    };
    let (connection, mode) = prepare().map_err(|error| fault(&error, path))?;
    if mode == "wal" {
        return Ok(connection);
    }
    Err(setup(format!("{} is on a file system on which processes cannot share it", path.display())))
}

/// Sets how long a statement waits for other processes. SQLite's own way soon pauses for 100 ms at a time; a transaction of ours
/// takes less than one.
fn wait(connection: &mut Connection, patience: Duration) -> rusqlite::Result<()> {
    let mut waited = Duration::ZERO;
    connection.busy_handler(Some(move |times: i32| {
        waited = if times == 0 { Duration::ZERO } else { waited };
        let pause = Duration::from_micros(300 + 50 * u64::try_from(times.min(100)).unwrap_or(0));
        thread::sleep(pause);
        waited += pause;
        waited < patience
    }))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    let failed = |error: rusqlite::Error| fault(&error, path);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = number("user_version").map_err(failed)?;
    let owner = number("application_id").map_err(failed)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if owner != APPLICATION && (tables > 0 || version != 0 || owner != 0) {
        return Err(setup(format!("{} is the database of another program", path.display())));
    }
    let known = MIGRATIONS.len();
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(setup(format!(
            "{} was written by a newer FeatherGate (schema {version}, this one knows {known}): use that one, or a copy of \
             the file from before",
            path.display()
        )));
    };
    if missing.is_empty() {
        return Ok(());
    }
    for migration in missing {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    let version = i64::try_from(known).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", version).map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn fault(error: &rusqlite::Error, path: &Path) -> Fault {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy,
        Some(ErrorCode::NotADatabase) => setup(format!("{path} is not an SQLite database")),
        Some(ErrorCode::DatabaseCorrupt) => setup(format!("{path} is damaged")),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            setup(format!("{path}, or the folder it is in, cannot be written"))
        }
        _ => setup(format!("{path} cannot be opened: {}", words(error))),
    }
}

/// What went wrong, without the statement.
fn words(error: &rusqlite::Error) -> String {
    error.sqlite_error().map_or_else(|| "SQLite says something unexpected".into(), ToString::to_string)
}

pub(super) fn busy() -> StoreError {
    StoreError::Unavailable("another process has been writing for too long".into())
}

/// What becomes of an error when the file is open.
#[expect(clippy::needless_pass_by_value, reason = "used with `map_err`")]
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(),
        Some(ErrorCode::DiskFull) => StoreError::Unavailable("the disk is full".into()),
        Some(ErrorCode::ReadOnly) => StoreError::Unavailable("the file cannot be written".into()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt("the file is damaged".into()),
        _ => StoreError::Unavailable(words(&error)),
    }
}
