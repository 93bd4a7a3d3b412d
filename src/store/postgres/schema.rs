//! The tables, in a schema of their own: `feathergate`.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::pool::setup;
use crate::store::StoreError;
use crate::store::sql::Value;

/// Taken while the schema is brought up to date, as several servers may start at once; and, its neighbour, while documents are
/// changed. Numbers that nobody else should have come upon: `FGat` and a count.
const UPGRADE: i64 = 0x4647_6174_0001;
pub(super) const CHANGE: i64 = 0x4647_6174_0002;

/// Each brings the schema to its place in this list, counted from 1. What was released is never changed.
///
/// Texts are compared as bytes, so that ids sort as in every other store. Ledgers change all the time, so their pages have room.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE ledgers (scope text COLLATE \"C\" PRIMARY KEY, body text NOT NULL) WITH (fillfactor = 50);

    CREATE TABLE documents (
        kind text COLLATE \"C\" NOT NULL, id text COLLATE \"C\" NOT NULL, version bigint NOT NULL, name text COLLATE \"C\",
        ends bigint, body text NOT NULL, PRIMARY KEY (kind, id)
    );
    CREATE UNIQUE INDEX documents_by_name ON documents (kind, name) WHERE name IS NOT NULL;
    CREATE INDEX documents_by_end ON documents (ends) WHERE ends IS NOT NULL;

    CREATE TABLE entries (
        id text COLLATE \"C\" PRIMARY KEY, time bigint NOT NULL, key text COLLATE \"C\" NOT NULL,
        team text COLLATE \"C\" NOT NULL, model text COLLATE \"C\" NOT NULL, end_user text COLLATE \"C\" NOT NULL,
        request_id text COLLATE \"C\" NOT NULL, failed bigint NOT NULL, body text NOT NULL
    );
    CREATE INDEX entries_by_time ON entries (time, id);
    CREATE INDEX entries_by_key ON entries (key, time, id) WHERE key <> '';
    CREATE INDEX entries_by_team ON entries (team, time, id) WHERE team <> '';
    CREATE INDEX entries_by_model ON entries (model, time, id) WHERE model <> '';
    CREATE INDEX entries_by_end_user ON entries (end_user, time, id) WHERE end_user <> '';
    CREATE INDEX entries_by_request ON entries (request_id, time, id) WHERE request_id <> '';
    CREATE INDEX entries_by_failure ON entries (time, id) WHERE failed = 1;

    CREATE TABLE settled (id text COLLATE \"C\" PRIMARY KEY, time bigint NOT NULL);
    CREATE INDEX settled_by_time ON settled (time);

    CREATE TABLE days (
        day text COLLATE \"C\" NOT NULL, key text COLLATE \"C\" NOT NULL, team text COLLATE \"C\" NOT NULL,
        model text COLLATE \"C\" NOT NULL, upstream text COLLATE \"C\" NOT NULL,
        requests bigint NOT NULL, failures bigint NOT NULL, input bigint NOT NULL, output bigint NOT NULL,
        cache_read bigint NOT NULL, cache_write bigint NOT NULL, reasoning bigint NOT NULL,
        audio_input bigint NOT NULL, audio_output bigint NOT NULL, cost bigint NOT NULL, unpriced bigint NOT NULL,
        PRIMARY KEY (day, key, team, model, upstream)
    ) WITH (fillfactor = 50);

    CREATE TABLE audit (id text COLLATE \"C\" PRIMARY KEY, body text NOT NULL);
"];

/// Brings the schema to today's, all or nothing.
pub(super) async fn migrate(client: &Client) -> Result<(), StoreError> {
    let run = async |sql: &str| client.batch_execute(sql).await.map_err(|error| setup(&error));
    let begin = format!(
        "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; \
         SELECT pg_advisory_xact_lock({UPGRADE})"
    );
    run(&begin).await?;
    let encoding =
        client.query_typed("SELECT getdatabaseencoding()::text", &[]).await.map_err(|error| setup(&error))?;
    if encoding.first().is_none_or(|row| row.get::<_, &str>(0) != "UTF8") {
        return Err(StoreError::Setup(
            "the database should have the encoding UTF8: CREATE DATABASE … ENCODING 'UTF8'".into(),
        ));
    }
    let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'feathergate'";
    let there = client.query_typed(there, &[]).await.map_err(|error| setup(&error))?;
    if there.first().map(|row| row.get::<_, i64>(0)) != Some(1) {
        run("CREATE SCHEMA feathergate").await?;
    }
    run("CREATE TABLE IF NOT EXISTS migrations (version bigint PRIMARY KEY, made timestamptz NOT NULL DEFAULT now())")
        .await?;
    let version = "SELECT coalesce(max(version), 0) FROM migrations";
    let version = client.query_typed(version, &[]).await.map_err(|error| setup(&error))?;
    let version = version.first().map_or(0, |row| row.get::<_, i64>(0));
    let known = MIGRATIONS.len();
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(StoreError::Setup(format!(
            "the database was written by a newer FeatherGate (schema {version}, this one knows {known}): use that one, or a \
             copy of the data from before"
        )));
    };
    for (next, migration) in (version + 1..).zip(missing) {
        run(migration).await?;
        let write = "INSERT INTO migrations (version) VALUES ($1)";
        client.query_typed(write, &[(&Value::Whole(next), Type::INT8)]).await.map_err(|error| setup(&error))?;
    }
    run("COMMIT").await
}
