//! `feathergate check`: what this version makes of every key of a configuration, with its line. Also the source of the
//! warnings about keys that are unknown or not supported. Never shows a value.

use std::fmt::Write as _;

use super::known::{self, Section, Status};
use super::parameters;
use super::problem::{Place, Problem, nearest, shown};
use super::raw::{Document, Node};
use super::resolve::{self, Parts};
use crate::order;

/// What is said about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A key of the table.
    Known(Status),
    /// A key that nobody knows: it does nothing.
    Unknown,
    /// Something that works but deserves a look, such as a variable that is not set.
    Warning,
    /// Something that keeps the configuration from being used.
    Error,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Known(Status::Exact) => "exact",
            Self::Known(Status::Approximate) => "approximate",
            Self::Known(Status::Ignored) => "ignored",
            Self::Known(Status::Unsupported) => "unsupported",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// Whether the key is set and does nothing.
    fn loses(self) -> bool {
        match self {
            Self::Known(Status::Ignored | Status::Unsupported) | Self::Unknown => true,
            Self::Known(Status::Exact | Status::Approximate) | Self::Warning | Self::Error => false,
        }
    }
}

/// One line of the report.
pub struct Row {
    /// The place of the key; empty for what is about a whole file.
    pub path: String,
    /// File and line as text, and for sorting.
    at: (String, (usize, usize)),
    /// What is said.
    pub verdict: Verdict,
    /// Why, or what would be better.
    pub note: String,
}

/// What is to be said about a configuration.
pub struct Report {
    /// In the order of the files.
    pub rows: Vec<Row>,
}

/// Looks at every key of `document`, and at what it means in this environment.
#[must_use]
pub fn report(document: &Document, env: &dyn Fn(&str) -> Option<String>) -> Report {
    let mut rows: Vec<Row> = findings(document)
        .into_iter()
        .map(|finding| {
            let position = document.position(&finding.place).unwrap_or_default();
            let file = document.files().nth(position.0).map(|file| file.display().to_string()).unwrap_or_default();
            Row {
                path: finding.place.to_string(),
                at: (format!("{file}:{}", position.1), position),
                verdict: finding.verdict,
                note: finding.note,
            }
        })
        .collect();
    let Parts { errors, warnings, notes, .. } = resolve::problems(document, env);
    for note in notes {
        if let Some(row) = rows.iter_mut().find(|row| row.path == note.path) {
            let said = std::mem::take(&mut row.note);
            row.note = if said.is_empty() { note.message } else { format!("{said}; {}", note.message) };
        }
    }
    let also = |verdict| move |problem| from_problem(document, verdict, problem);
    rows.extend(errors.into_iter().map(also(Verdict::Error)));
    rows.extend(warnings.into_iter().map(also(Verdict::Warning)));
    order::sort_by_key(&mut rows, |row| row.at.1);
    Report { rows }
}

fn from_problem(document: &Document, verdict: Verdict, problem: Problem) -> Row {
    let at = problem.at.map_or_else(Default::default, |(file, line)| {
        let number = document.files().position(|path| path == file).unwrap_or_default();
        (format!("{}:{line}", file.display()), (number, line))
    });
    Row { path: problem.path, at, verdict, note: problem.message }
}

impl Report {
    /// Whether the configuration cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Error)
    }

    /// Whether a key that is set does nothing.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.rows.iter().any(|row| row.verdict.loses())
    }

    /// The report as a table, with the counts in its last line.
    #[must_use]
    pub fn render(&self) -> String {
        let width = |of: fn(&Row) -> &str| self.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
        let (at, path) = (width(|row| &row.at.0), width(|row| &row.path).min(60));
        let mut out = String::new();
        for row in &self.rows {
            let line = format!("{:at$}  {:11}  {:path$}  {}", row.at.0, row.verdict.word(), row.path, row.note);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        let verdicts = [
            Verdict::Known(Status::Exact),
            Verdict::Known(Status::Approximate),
            Verdict::Known(Status::Ignored),
            Verdict::Known(Status::Unsupported),
            Verdict::Unknown,
            Verdict::Warning,
            Verdict::Error,
        ];
        for (position, verdict) in verdicts.into_iter().enumerate() {
            let count = self.rows.iter().filter(|row| row.verdict == verdict).count();
            let comma = if position == 0 { "" } else { ", " };
            let plural = if count != 1 && matches!(verdict, Verdict::Warning | Verdict::Error) { "s" } else { "" };
            _ = write!(out, "{comma}{count} {}{plural}", verdict.word());
        }
        out.push('\n');
        out
    }
}

/// What is said about a key, before its line is known.
pub(super) struct Finding {
    place: Place,
    verdict: Verdict,
    note: String,
}

/// The warnings about keys that do nothing although they would in litellm, or that nobody knows.
pub(super) fn warnings(document: &Document) -> Vec<Problem> {
    findings(document)
        .into_iter()
        .filter_map(|finding| {
            let message = match finding.verdict {
                Verdict::Known(Status::Unsupported) => format!("is not supported: {}", finding.note),
                Verdict::Unknown => finding.note,
                Verdict::Known(Status::Exact | Status::Approximate | Status::Ignored)
                | Verdict::Warning
                | Verdict::Error => return None,
            };
            Some(Problem { path: finding.place.to_string(), at: document.at(&finding.place), message })
        })
        .collect()
}

fn findings(document: &Document) -> Vec<Finding> {
    let mut out = Vec::new();
    let Node::Map(entries) = document.root() else { return out };
    for (key, value) in entries {
        let place = Place::root().key(key);
        match key.as_str() {
            "model_list" => models(value, &place, &mut out),
            "litellm_settings" => section(Section::Litellm, value, &place, &mut out),
            "router_settings" => section(Section::Router, value, &place, &mut out),
            "general_settings" => section(Section::General, value, &place, &mut out),
            "feathergate" => section(Section::Feathergate, value, &place, &mut out),
            _ => one(Section::Top, key, value, place, &mut out),
        }
    }
    out
}

fn models(list: &Node, place: &Place, out: &mut Vec<Finding>) {
    let Node::List(entries) = list else { return };
    for (index, entry) in entries.iter().enumerate() {
        let place = place.index(index);
        let Node::Map(keys) = entry else { continue };
        for (key, value) in keys {
            let place = place.key(key);
            match key.as_str() {
                "litellm_params" => section(Section::Params, value, &place, out),
                "model_info" => section(Section::Info, value, &place, out),
                _ => one(Section::Entry, key, value, place, out),
            }
        }
    }
}

fn section(section: Section, map: &Node, place: &Place, out: &mut Vec<Finding>) {
    let Node::Map(entries) = map else { return };
    for (key, value) in entries {
        one(section, key, value, place.key(key), out);
    }
}

fn one(section: Section, key: &str, value: &Node, place: Place, out: &mut Vec<Finding>) {
    if section == Section::Params && key != "model" && parameters::NEVER_A_DEFAULT.contains(&key) {
        return; // an error of its own
    }
    let (verdict, note) = match section.find(key) {
        Some(row) => {
            let (status, note) = with_value(row.status, row.note, key, value);
            (Verdict::Known(status), note.to_owned())
        }
        None => stranger(section, key),
    };
    out.push(Finding { place, verdict, note });
}

/// Some keys are only lost with some values.
fn with_value(status: Status, note: &'static str, key: &str, value: &Node) -> (Status, &'static str) {
    let off = match value {
        Node::Null | Node::Bool(false) => true,
        Node::List(elements) => elements.is_empty(),
        Node::Map(entries) => entries.is_empty(),
        Node::Bool(true) | Node::Int(_) | Node::Float(_) | Node::Text(_) => false,
    };
    match status {
        // Certificates are verified here: so it is `false` that is lost, and `true` that is not.
        Status::Unsupported if key == "ssl_verify" && off => (status, note),
        Status::Unsupported if key == "ssl_verify" && *value == Node::Bool(true) => (Status::Exact, note),
        Status::Unsupported if off => (Status::Exact, "off, as here"),
        Status::Exact if key == "routing_strategy" => known::strategy(value).unwrap_or((status, note)),
        // litellm's word for what is so here.
        Status::Approximate if key == "fallback_on_unsupported_params" && off => (Status::Exact, note),
        Status::Exact | Status::Approximate | Status::Ignored | Status::Unsupported => (status, note),
    }
}

/// A key that is not in the table of its section.
fn stranger(section: Section, key: &str) -> (Verdict, String) {
    let name = shown(key);
    // Requests have parameters with very short names, to which everything is near.
    let names = || parameters::OPENAI_CHAT.iter().chain(parameters::ANTHROPIC_MESSAGES).chain(parameters::GEMINI);
    let parameter = || nearest(key, names().copied());
    let near = section.nearest(key).or_else(|| parameter().filter(|_| section == Section::Params && key.len() > 6));
    let did_you_mean = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    match section {
        Section::Params if parameters::is_known(key) => {
            (Verdict::Known(Status::Exact), "a default for requests that do not set it".to_owned())
        }
        Section::Params if near.is_none() => (
            Verdict::Known(Status::Approximate),
            "not known here; goes to the provider as it is, as a default".to_owned(),
        ),
        Section::Params => (
            Verdict::Unknown,
            format!("`{name}` is no key known here, so it goes to the provider as a default{did_you_mean}"),
        ),
        // People keep notes of their own in `model_info`, so only what looks like a slip is one.
        Section::Info if near.is_none() => (Verdict::Known(Status::Ignored), "information of your own".to_owned()),
        Section::Top
        | Section::Entry
        | Section::Info
        | Section::Litellm
        | Section::Router
        | Section::General
        | Section::Feathergate => (Verdict::Unknown, format!("`{name}` is no key known here{did_you_mean}")),
    }
}
