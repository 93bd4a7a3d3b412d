//! What the stores over SQL share: their tables are the same but for the types, so the statements are, too. Both databases take
//! `$1` for a parameter, in the order in which they first stand in a statement.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;

use crate::meter::ledger::Ledger;

use super::usage::{Daily, DailyQuery, Entry, EntryPage, EntryQuery, Sums, Tokens};
use super::{Audit, Change, Document, Kind, StoreError, token};

pub(super) const SETTLED: &str = "INSERT INTO settled (id, time) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(super) const ENTRY: &str = "INSERT INTO entries (id, time, key, team, model, end_user, request_id, failed, body) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
pub(super) const FIND: &str = "SELECT id, version, name, ends, body FROM documents \
    WHERE kind = $1 AND id = $2 AND (ends IS NULL OR ends > $3)";
pub(super) const LIST: &str = "SELECT id, version, name, ends, body FROM documents \
    WHERE kind = $1 AND id > $2 AND (ends IS NULL OR ends > $3) ORDER BY id LIMIT $4";
pub(super) const SEEN: &str = "SELECT version, name, ends FROM documents WHERE kind = $1 AND id = $2";
pub(super) const TAKEN: &str = "SELECT version FROM documents \
    WHERE kind = $1 AND name = $2 AND id <> $3 AND (ends IS NULL OR ends > $4)";
/// What has ended makes way for a change.
pub(super) const CLEAR: &str = "DELETE FROM documents WHERE kind = $1 AND ends <= $2 AND (id = $3 OR name = $4)";
pub(super) const CREATE: &str =
    "INSERT INTO documents (kind, id, version, name, ends, body) VALUES ($1, $2, $3, $4, $5, $6)";
pub(super) const REPLACE: &str =
    "UPDATE documents SET version = $1, name = $2, ends = $3, body = $4 WHERE kind = $5 AND id = $6";
pub(super) const REMOVE: &str = "DELETE FROM documents WHERE kind = $1 AND id = $2";
pub(super) const ACT: &str = "INSERT INTO audit (id, body) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(super) const AUDIT: &str = "SELECT body FROM audit ORDER BY id DESC LIMIT $1";
pub(super) const AUDIT_BEFORE: &str = "SELECT body FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2";

/// The columns of [`Sums`], in the order of [`figures`].
pub(super) const SUMS: [&str; 11] = [
    "requests",
    "failures",
    "input",
    "output",
    "cache_read",
    "cache_write",
    "reasoning",
    "audio_input",
    "audio_output",
    "cost",
    "unpriced",
];
const NAMES: &str = "day, key, team, model, upstream";

/// Adds to the sums of a day. They stop at the largest number of the database, as [`Sums::plus`] does at its own.
pub(super) static ADD: LazyLock<String> = LazyLock::new(|| {
    let columns = SUMS.join(", ");
    let places: Vec<String> = (1..=5 + SUMS.len()).map(|place| format!("${place}")).collect();
    let sums: Vec<String> = SUMS
        .iter()
        .map(|sum| {
            let most = i64::MAX;
            format!(
                "{sum} = CASE WHEN days.{sum} > {most} - excluded.{sum} THEN {most} ELSE days.{sum} + excluded.{sum} END"
            )
        })
        .collect();
    let (places, sums) = (places.join(", "), sums.join(", "));
    format!("INSERT INTO days ({NAMES}, {columns}) VALUES ({places}) ON CONFLICT ({NAMES}) DO UPDATE SET {sums}")
});

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    Whole(i64),
}

pub(super) type Row = Vec<Value>;

impl Value {
    /// Text that comes back as it is.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(escape(text).into_owned())
    }

    pub(super) fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// A number; one that is too large for the database is the largest that it has.
    pub(super) fn whole(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A count of rows.
    pub(super) fn limit(rows: usize) -> Self {
        Self::Whole(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// A name that is searched for.
    pub(super) fn name(text: &str) -> Self {
        Self::Text(name(text))
    }
}

/// A name as it is searched for. Of a long one its beginning and a hash: an index takes no more, and clients choose some.
pub(super) fn name(name: &str) -> String {
    const LONGEST: usize = 200;
    if name.len() <= LONGEST {
        return escape(name).into_owned();
    }
    let start = name.get(..name.floor_char_boundary(120)).unwrap_or_default();
    format!("{}…{}", escape(start), token::hash(name))
}

/// PostgreSQL takes every character but U+0000. Order is kept, as the stores compare bytes.
fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\u{1}']) {
        return Cow::Owned(text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}"));
    }
    Cow::Borrowed(text)
}

fn unescape(text: String) -> String {
    if text.contains('\u{1}') { text.replace("\u{1}\u{1}", "\0").replace("\u{1}\u{2}", "\u{1}") } else { text }
}

/// Takes a row apart.
pub(super) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(super) fn of(row: Row) -> Self {
        Self(row.into_iter())
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        self.maybe()?.ok_or_else(odd)
    }

    /// Text as it stands in the table.
    fn stored(&mut self) -> Result<String, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Null | Value::Whole(_)) | None => Err(odd()),
        }
    }

    pub(super) fn maybe(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(unescape(text))),
            Some(Value::Null) => Ok(None),
            Some(Value::Whole(_)) | None => Err(odd()),
        }
    }

    pub(super) fn whole(&mut self) -> Result<u64, StoreError> {
        self.maybe_whole()?.ok_or_else(odd)
    }

    pub(super) fn maybe_whole(&mut self) -> Result<Option<u64>, StoreError> {
        match self.0.next() {
            Some(Value::Whole(number)) => u64::try_from(number).map(Some).map_err(|_| odd()),
            Some(Value::Null) => Ok(None),
            Some(Value::Text(_)) | None => Err(odd()),
        }
    }

    /// JSON that we wrote.
    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        serde_json::from_str(&self.text()?)
            .map_err(|_| StoreError::Corrupt("a row is not the JSON that it should be".into()))
    }
}

fn odd() -> StoreError {
    StoreError::Corrupt("a column is not of its type".into())
}

/// Writes JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A request as it is written.
pub(super) struct Record {
    /// For [`ENTRY`], or for [`SETTLED`] where entries are not kept.
    pub(super) entry: Row,
    /// For [`ADD`].
    pub(super) day: Row,
}

impl Record {
    pub(super) fn of(entry: &Entry, kept: bool) -> Result<Self, StoreError> {
        let names = [&entry.day(), &entry.key, &entry.team, &entry.model, &entry.upstream];
        let sums = figures(&entry.sums()).map(Value::whole);
        let day = names.into_iter().map(|name| Value::name(name)).chain(sums).collect();
        let mut row = vec![Value::text(&entry.id), Value::whole(entry.time)];
        if kept {
            let names = [&entry.key, &entry.team, &entry.model, &entry.end_user, &entry.request_id];
            row.extend(names.into_iter().map(|name| Value::name(name)));
            row.extend([Value::Whole(i64::from(entry.error.is_some())), Value::Text(json(entry)?)]);
        }
        Ok(Self { entry: row, day })
    }

    /// The statement that writes the entry: no row is written where it is there already.
    pub(super) fn insert(kept: bool) -> &'static str {
        if kept { ENTRY } else { SETTLED }
    }
}

fn figures(sums: &Sums) -> [u64; SUMS.len()] {
    let Sums { requests, failures, tokens, cost, unpriced } = *sums;
    let Tokens { input, output, cache_read, cache_write, reasoning, audio_input, audio_output } = tokens;
    [requests, failures, input, output, cache_read, cache_write, reasoning, audio_input, audio_output, cost.0, unpriced]
}

/// A statement and what its parameters are.
struct Search {
    sql: String,
    values: Row,
    joint: &'static str,
}

impl Search {
    fn new(sql: String) -> Self {
        Self { sql, values: Row::new(), joint: "WHERE" }
    }

    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        let _ = write!(self.sql, " {} {condition} ${}", self.joint, self.values.len());
        self.joint = "AND";
    }

    fn named(&mut self, column: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.and(&format!("{column} ="), Value::name(name));
            if !name.is_empty() {
                // Says to the planner that an index of those that have one will do.
                let _ = write!(self.sql, " AND {column} <> ''");
            }
        }
    }
}

/// The statement for a page of entries: one more than the page has, to know whether there is another.
pub(super) fn search_entries(query: &EntryQuery) -> (String, Row) {
    let mut search = Search::new("SELECT body FROM entries".into());
    if query.from > 0 {
        search.and("time >=", Value::whole(query.from));
    }
    // An id begins with its time, which the indexes know. One bound, since of two only one is looked up.
    let before = query.before.as_deref().and_then(|id| id.get(..13)?.parse::<u64>().ok());
    let end = before.map_or(query.to, |time| query.to.min(time.saturating_add(1)));
    search.and("time <", Value::whole(end));
    search.named("key", query.key.as_deref());
    search.named("team", query.team.as_deref());
    search.named("model", query.model.as_deref());
    search.named("end_user", query.end_user.as_deref());
    search.named("request_id", query.request_id.as_deref());
    if let Some(failed) = query.failed {
        // Not a parameter: there is an index of those that failed.
        let _ = write!(search.sql, " AND failed = {}", u8::from(failed));
    }
    if let Some(before) = &query.before {
        search.and("id <", Value::text(before));
    }
    search.values.push(Value::limit(query.limit.saturating_add(1)));
    let _ = write!(search.sql, " ORDER BY time DESC, id DESC LIMIT ${}", search.values.len());
    (search.sql, search.values)
}

/// What [`search_entries`] has found.
pub(super) fn page(rows: Vec<Row>, limit: usize) -> Result<EntryPage, StoreError> {
    let more = rows.len() > limit;
    let entries = rows.into_iter().take(limit).map(|row| Columns::of(row).json::<Entry>());
    let entries = entries.collect::<Result<Vec<Entry>, StoreError>>()?;
    let next = entries.last().filter(|_| more).map(|entry| entry.id.clone());
    Ok(EntryPage { entries, next })
}

/// The statement for sums by day.
pub(super) fn search_days(query: &DailyQuery) -> (String, Row) {
    let mut search = Search::new(format!("SELECT {NAMES}, {} FROM days", SUMS.join(", ")));
    search.and("day >=", Value::text(&query.from));
    search.and("day <=", Value::text(&query.to));
    for (column, name) in [("key", &query.key), ("team", &query.team), ("model", &query.model)] {
        if let Some(name) = name {
            search.and(&format!("{column} ="), Value::name(name));
        }
    }
    (search.sql, search.values)
}

/// A row of what [`search_days`] has found.
pub(super) fn daily(row: Row) -> Result<Daily, StoreError> {
    let mut row = Columns::of(row);
    let [day, key, team, model, upstream] = [row.text()?, row.text()?, row.text()?, row.text()?, row.text()?];
    let sums = Sums {
        requests: row.whole()?,
        failures: row.whole()?,
        tokens: Tokens {
            input: row.whole()?,
            output: row.whole()?,
            cache_read: row.whole()?,
            cache_write: row.whole()?,
            reasoning: row.whole()?,
            audio_input: row.whole()?,
            audio_output: row.whole()?,
        },
        cost: crate::meter::Money(row.whole()?),
        unpriced: row.whole()?,
    };
    Ok(Daily { day, key, team, model, upstream, sums })
}

/// A row of [`FIND`] or [`LIST`].
pub(super) fn document(kind: Kind, row: Row) -> Result<Document, StoreError> {
    let mut row = Columns::of(row);
    Ok(Document {
        kind,
        id: row.text()?,
        version: row.whole()?,
        unique: row.maybe()?,
        ends: row.maybe_whole()?,
        body: row.text()?,
    })
}

/// The parameters of [`LIST`].
pub(super) fn listed(kind: Kind, after: Option<&str>, limit: usize, now: u64) -> [Value; 4] {
    // No id is empty.
    let after = after.unwrap_or_default();
    [Value::text(kind.name()), Value::text(after), Value::whole(now), Value::limit(limit)]
}

/// A row of `ledgers`: the scope's name as [`Value::name`] has it, and what it has used.
pub(super) fn ledger(row: Row) -> Result<(String, Ledger), StoreError> {
    let mut row = Columns::of(row);
    Ok((row.stored()?, row.json()?))
}

/// A row of [`SEEN`]: version, unique name, end.
pub(super) type There = (u64, Option<String>, Option<u64>);

pub(super) fn there(row: Row) -> Result<There, StoreError> {
    let mut row = Columns::of(row);
    Ok((row.whole()?, row.maybe()?, row.maybe_whole()?))
}

/// The statements that make a change which fits.
pub(super) fn write(change: &Change, now: u64) -> Vec<(&'static str, Row)> {
    let Document { kind, id, version, unique, ends, body } = change.document();
    let (kind, id, name) = (Value::text(kind.name()), Value::text(id), Value::maybe(unique.as_deref()));
    let (version, ends, body) = (Value::whole(*version), ends.map_or(Value::Null, Value::whole), Value::text(body));
    let clear = (CLEAR, vec![kind.clone(), Value::whole(now), id.clone(), name.clone()]);
    match change {
        Change::Create(_) => vec![clear, (CREATE, vec![kind, id, version, name, ends, body])],
        Change::Replace { .. } => vec![clear, (REPLACE, vec![version, name, ends, body, kind, id])],
        Change::Remove(_) => vec![(REMOVE, vec![kind, id])],
    }
}

/// The parameters of [`ACT`].
pub(super) fn act(act: &Audit) -> Result<Row, StoreError> {
    Ok(vec![Value::text(&act.id), Value::Text(json(act)?)])
}

/// The statement for the audit log.
pub(super) fn search_audit(before: Option<&str>, limit: usize) -> (&'static str, Row) {
    match before {
        Some(before) => (AUDIT_BEFORE, vec![Value::text(before), Value::limit(limit)]),
        None => (AUDIT, vec![Value::limit(limit)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_kept_and_the_order_is() {
        let mut texts =
            ["", "\0", "\0\0", "\0\u{1}", "\u{1}", "\u{1}\0", "\u{1}\u{1}", "\u{1}\u{2}", "\u{2}", "a", "a\0b", "ab"];
        texts.sort_unstable();
        let escaped: Vec<String> = texts.iter().map(|text| escape(text).into_owned()).collect();
        assert!(escaped.is_sorted(), "{escaped:?}");
        for (text, escaped) in texts.into_iter().zip(escaped) {
            assert!(!escaped.contains('\0'));
            assert_eq!(unescape(escaped), text);
        }
    }

    #[test]
    fn long_names_are_told_apart_and_fit_an_index() {
        let (one, other) = ("ä".repeat(5000), "ä".repeat(5001));
        let (Value::Text(one), Value::Text(other)) = (Value::name(&one), Value::name(&other)) else { unreachable!() };
        assert!(one != other && one.len() < 200 && one.starts_with(&"ä".repeat(60)));
        assert_eq!(Value::name("short"), Value::Text("short".into()));
    }
}
