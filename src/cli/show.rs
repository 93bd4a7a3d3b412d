//! Answers for people: tables and lists of fields.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::commands::Column;
use crate::admin::object;

/// The fields of an object; none of what is no object.
pub(super) fn fields(raw: &str) -> Vec<(String, &RawValue)> {
    object(raw).map(|object| object.0).unwrap_or_default()
}

/// A field of an object.
pub(super) fn field<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    fields(raw).into_iter().find(|(other, _)| other == name).map(|(_, raw)| raw.get())
}

/// A field that is a text.
pub(super) fn text(raw: &str, name: &str) -> Option<String> {
    serde_json::from_str(field(raw, name)?).ok()
}

/// The elements of a list.
pub(super) fn elements(raw: &str) -> Vec<&str> {
    let all: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
    all.into_iter().map(RawValue::get).collect()
}

/// A value for a person: numbers as they were written, nothing for null and for what is empty.
pub(super) fn cell(raw: &str) -> String {
    let text: String = match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).unwrap_or_default(),
        Some(b'[') => elements(raw).into_iter().map(cell).collect::<Vec<_>>().join(", "),
        _ if raw == "null" || raw == "{}" => String::new(),
        _ => raw.to_owned(),
    };
    plain(&text)
}

/// A text without control characters: names are other people's, and a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The value of a field for a person. A list of models that names none allows all.
fn value(name: &str, raw: &str) -> String {
    if name == "models" && raw == "[]" { "all".to_owned() } else { cell(raw) }
}

/// The columns of a table: which they are, how wide, and whether they stand on the right.
pub(super) struct Layout(Vec<(usize, usize, bool)>);

impl Layout {
    /// Columns for these rows. Those of numbers stand on the right, those that are empty in every row are left out unless `all`
    /// are wanted.
    pub(super) fn new(heads: &[&str], rows: &[Vec<String>], all: bool) -> Self {
        let said = |place: usize| rows.iter().any(|row| row.get(place).is_some_and(|cell| !cell.is_empty()));
        let number = |cell: &str| cell.is_empty() || cell.parse::<f64>().is_ok();
        let columns = heads.iter().enumerate().filter(|(place, _)| all || said(*place)).map(|(place, head)| {
            let cells = || rows.iter().filter_map(move |row| row.get(place)).map(String::as_str);
            let width = cells().chain([*head]).map(|cell| cell.chars().count()).max().unwrap_or(0);
            (place, width, said(place) && cells().all(number))
        });
        Self(columns.collect())
    }

    /// A row as a line.
    pub(super) fn line(&self, row: &[impl AsRef<str>]) -> String {
        let mut line = String::new();
        for (place, width, right) in &self.0 {
            let cell = row.get(*place).map(AsRef::as_ref).unwrap_or_default();
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            let _ = if *right { write!(line, "{space}{cell}  ") } else { write!(line, "{cell}{space}  ") };
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// A table.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let layout = Layout::new(heads, rows, false);
    rows.iter().fold(layout.line(heads), |table, row| table + &layout.line(row))
}

/// A table of objects.
pub(super) fn objects(rows: &[&str], columns: &[Column]) -> String {
    if rows.is_empty() {
        return "there are none\n".to_owned();
    }
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| cells(row, columns)).collect();
    table(&heads, &rows)
}

/// The row of an object in a table.
pub(super) fn cells(row: &str, columns: &[Column]) -> Vec<String> {
    columns.iter().map(|(_, name)| field(row, name).map(|raw| value(name, raw)).unwrap_or_default()).collect()
}

/// The fields of an object, a line for each that says something. Lists of objects are left to a table.
pub(super) fn lines(raw: &str) -> String {
    let token = field(raw, "token");
    let all: Vec<(String, String)> = fields(raw)
        .into_iter()
        // litellm's clients look for a key's hash under several names; people need it once.
        .filter(|(name, raw)| !(["key", "token_id"].contains(&name.as_str()) && Some(raw.get()) == token))
        .filter(|(_, raw)| !raw.get().starts_with("[{"))
        .filter(|(name, _)| name != "warnings")
        .map(|(name, raw)| {
            let value = value(&name, raw.get());
            (name, value)
        })
        .filter(|(_, cell)| !cell.is_empty())
        .collect();
    let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    all.into_iter().fold(String::new(), |mut out, (name, cell)| {
        let _ = writeln!(out, "{name:width$}  {cell}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_straight_and_numbers_keep_their_digits() {
        let rows = [
            r#"{"a":"größe","n":0.000000000001,"e":null,"l":["x","y"]}"#,
            r#"{"a":"b\u001b[2J","n":12,"e":[],"l":[]}"#,
        ];
        let want = "name                n  list\ngröße  0.000000000001  x, y\nb [2J              12\n";
        let columns = [("name", "a"), ("n", "n"), ("empty", "e"), ("list", "l")];
        assert_eq!(objects(&rows, &columns), want);
        assert_eq!(objects(&[], &columns), "there are none\n");
        assert_eq!(
            lines(r#"{"id":"x","none":null,"spend":0.10,"models":[],"warnings":["w"]}"#),
            "id      x\nspend   0.10\nmodels  all\n"
        );
    }
}
