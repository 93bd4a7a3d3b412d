//! What was used, the requests, and what administrators did, for people.

use std::collections::HashSet;
use std::time::Duration;

use super::call::Client;
use super::commands::Column;
use super::parse::Line;
use super::work::{more, pairs, queried, raw};
use super::{print, show, warn};
use crate::meter::Money;
use crate::observe::clock;

/// How often `logs --follow` asks, and for how many requests.
const PAUSE: Duration = Duration::from_secs(2);
const LOOK: usize = 1000;

const USED: [Column; 7] = [
    ("requests", "api_requests"),
    ("failed", "failed_requests"),
    ("tokens in", "prompt_tokens"),
    ("from cache", "cache_read_input_tokens"),
    ("tokens out", "completion_tokens"),
    ("$", "spend"),
    ("no price", "unpriced_requests"),
];

/// What was used and spent.
pub(super) async fn usage(line: &Line, client: &Client) -> Result<(), String> {
    let query = queried(line, client).await?;
    let answer = client.get("/admin/metrics", &pairs(&query)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    let by = line.flag("by").unwrap_or("model");
    let mut heads = vec![by];
    heads.extend(USED.iter().map(|(head, _)| *head));
    let row = |name: String, of: &str| {
        let mut row = vec![name];
        row.extend(USED.iter().map(|(_, name)| show::field(of, name).unwrap_or_default().to_owned()));
        row
    };
    let mut rows = Vec::new();
    for series in show::elements(show::field(&answer, "series").unwrap_or("[]")) {
        let name = show::text(series, "alias").or_else(|| show::text(series, "name")).unwrap_or_default();
        let name = if name.is_empty() { "(none)".to_owned() } else { name.replace(char::is_control, " ") };
        rows.push(row(name, show::field(series, "totals").unwrap_or("{}")));
    }
    rows.push(row("all".to_owned(), show::field(&answer, "totals").unwrap_or("{}")));
    print(&show::table(&heads, &rows));
    Ok(())
}

const LOGGED: [Column; 10] = [
    ("time", "time"),
    ("status", "status"),
    ("model", "model"),
    ("deployment", "deployment"),
    ("key", "key_alias"),
    ("in", "in"),
    ("out", "out"),
    ("$", "cost"),
    ("ms", "total_ms"),
    ("error", "error"),
];

/// Requests, the newest last.
pub(super) async fn logs(line: &Line, client: &Client) -> Result<(), String> {
    let query = queried(line, client).await?;
    if line.flag("follow").is_some() {
        return follow(line, client, query).await;
    }
    let answer = client.get("/admin/logs", &pairs(&query)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    let logs = show::elements(show::field(&answer, "logs").unwrap_or("[]"));
    let rows: Vec<String> = logs.iter().rev().map(|log| counted(log)).collect();
    print(&show::objects(&rows.iter().map(String::as_str).collect::<Vec<_>>(), &LOGGED));
    more(&answer);
    Ok(())
}

/// Shows what is there and goes on with what comes.
async fn follow(line: &Line, client: &Client, mut query: Vec<(&'static str, String)>) -> Result<(), String> {
    if let Some(flag) = ["until", "before"].into_iter().find(|flag| line.flag(flag).is_some()) {
        return Err(format!("`--{flag}` does not go with `--follow`, which has no end"));
    }
    let count = line.flag("limit").map_or(Ok(100), str::parse);
    let count = count.ok().filter(|count| (1..=LOOK).contains(count));
    let mut seen = Seen::new(count.ok_or_else(|| format!("`--limit` must be a whole number from 1 to {LOOK}"))?);
    query.retain(|(name, _)| *name != "limit");
    query.push(("limit", LOOK.to_string()));
    let heads: Vec<&str> = LOGGED.iter().map(|(head, _)| *head).collect();
    let mut layout = None;
    loop {
        let answer = client.get("/admin/logs", &pairs(&query)).await?;
        let new = seen.take(&show::elements(show::field(&answer, "logs").unwrap_or("[]")));
        if line.flag("json").is_some() {
            for log in new {
                print(&format!("{log}\n"));
            }
        } else if !new.is_empty() {
            let rows: Vec<Vec<String>> = new.iter().map(|log| show::cells(&counted(log), &LOGGED)).collect();
            let layout = layout.get_or_insert_with(|| {
                let layout = show::Layout::new(&heads, &rows, true);
                print(&layout.line(&heads));
                layout
            });
            for row in &rows {
                print(&layout.line(row));
            }
        }
        if let Some(from) = seen.from() {
            query.retain(|(name, _)| *name != "from");
            query.push(("from", from));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What `--follow` has shown or passed over.
struct Seen {
    /// How many are shown of the first look; `None` after it.
    first: Option<usize>,
    ids: HashSet<String>,
    /// The first look did not go back further than to this one.
    oldest: String,
    newest: u64,
}

impl Seen {
    fn new(first: usize) -> Self {
        Self { first: Some(first), ids: HashSet::new(), oldest: String::new(), newest: 0 }
    }

    /// What is new of a look, the oldest first; `logs` has the newest first.
    fn take<'a>(&mut self, logs: &[&'a str]) -> Vec<&'a str> {
        let id = |log: &str| show::text(log, "id").unwrap_or_default();
        let first = self.first.take();
        let mut new: Vec<&str> = logs.iter().rev().copied().collect();
        match first {
            Some(count) => {
                new.drain(..new.len().saturating_sub(count));
                self.oldest = logs.last().filter(|_| logs.len() >= LOOK).map(|log| id(log)).unwrap_or_default();
            }
            None => new.retain(|log| !self.ids.contains(&id(log)) && id(log) > self.oldest),
        }
        if first.is_none() && new.len() >= LOOK {
            warn(&format!("more came than {LOOK} at a time, so some may be left out"));
        }
        if let Some(newest) = logs.first() {
            self.ids = logs.iter().map(|log| id(log)).collect();
            self.newest = id(newest).split('-').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        }
        new
    }

    /// From when on to look again. What is written late may carry an earlier time: a minute is looked at again.
    fn from(&self) -> Option<String> {
        (self.newest > 0).then(|| clock::rfc3339(self.newest.saturating_sub(60_000)))
    }
}

/// A request with the sums of its tokens.
fn counted(log: &str) -> String {
    let tokens = show::field(log, "tokens").unwrap_or("{}");
    let count = |name: &str| show::field(tokens, name).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    let all = count("input").saturating_add(count("cache_read")).saturating_add(count("cache_write"));
    let inner = log.trim().strip_suffix('}').unwrap_or_default();
    format!("{inner},\"in\":{all},\"out\":{}}}", count("output"))
}

const ACTS: [Column; 4] = [("time", "time"), ("who", "actor"), ("what", "action"), ("on", "subject")];

/// What administrators did, the newest first.
pub(super) async fn audit(line: &Line, client: &Client) -> Result<(), String> {
    let answer = client.get("/admin/audit", &pairs(&queried(line, client).await?)).await?;
    if line.flag("json").is_some() {
        return raw(&answer);
    }
    let acts = show::elements(show::field(&answer, "audit").unwrap_or("[]"));
    if acts.is_empty() {
        print("there are none\n");
    } else if line.flag("full").is_some() {
        for act in &acts {
            print(&whole(act));
        }
    } else {
        let mut heads: Vec<&str> = ACTS.iter().map(|(head, _)| *head).collect();
        heads.push("changed");
        let rows = acts.iter().map(|act| {
            let mut row = show::cells(act, &ACTS);
            row.push(changed(act));
            row
        });
        print(&show::table(&heads, &rows.collect::<Vec<_>>()));
    }
    more(&answer);
    Ok(())
}

/// How many names of changed fields stand in a row.
const CHANGED: usize = 5;

/// The names of the fields that an act changed; none where it made or removed the whole.
fn changed(act: &str) -> String {
    let is = |name: &str| show::field(act, name).is_some_and(|raw| raw != "null");
    if !(is("before") && is("after")) {
        return String::new();
    }
    let names: Vec<String> = changes(act).into_iter().map(|(name, ..)| name).collect();
    let (shown, more) = names.split_at(names.len().min(CHANGED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", shown.join(", "))
}

/// An act with all that it changed.
fn whole(act: &str) -> String {
    let changes = changes(act);
    let width = changes.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    let lines = changes.iter().map(|(name, before, after)| format!("    {name:width$}  {before} -> {after}\n"));
    format!("{}\n{}", show::cells(act, &ACTS).join("  "), lines.collect::<String>())
}

/// The fields that differ, with what they were before and after.
fn changes(act: &str) -> Vec<(String, String, String)> {
    let side = |name: &str| stored(show::field(act, name).unwrap_or("null"));
    let (before, after) = (side("before"), side("after"));
    let value = |side: &[(String, String)], name: &str| {
        side.iter().find(|(other, _)| other == name).map(|(_, raw)| raw.clone())
    };
    let mut names: Vec<&String> = before.iter().map(|(name, _)| name).collect();
    names.extend(after.iter().map(|(name, _)| name).filter(|name| value(&before, name).is_none()));
    let each = names.into_iter().filter(|name| *name != "updated").filter_map(|name| {
        let (before, after) = (value(&before, name), value(&after, name));
        let told = |raw: &Option<String>| raw.as_deref().map(show::cell).filter(|cell| !cell.is_empty());
        let told = |raw: &Option<String>| told(raw).unwrap_or_else(|| "nothing".to_owned());
        // What is not there and what is empty are the same.
        (before != after && told(&before) != told(&after)).then(|| (show::plain(name), told(&before), told(&after)))
    });
    each.collect()
}

/// The fields of what is stored, in a person's words: those of an allowance beside the others, amounts in dollars, times as dates.
fn stored(raw: &str) -> Vec<(String, String)> {
    let all = show::fields(raw).into_iter().flat_map(|(name, raw)| {
        if name == "allowance" {
            show::fields(raw.get()).into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect()
        } else {
            vec![(name, raw.get().to_owned())]
        }
    });
    let worded = all.map(|(name, raw)| {
        let worded = raw.parse::<u64>().ok().and_then(|number| match name.as_str() {
            "max_budget" | "soft_budget" => Some(Money(number).to_string()),
            "created" | "expires" | "anchor" => Some(format!("\"{}\"", clock::rfc3339(number))),
            _ => None,
        });
        (name, worded.unwrap_or(raw))
    });
    worded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_is_shown_once_and_nothing_older_than_asked_for() {
        let log = |time: u64, random: &str| format!(r#"{{"id":"{time:013}-{random}"}}"#);
        let logs: Vec<String> = (0..5).map(|place| log(1_000_000 + place, "a")).collect();
        let newest_first = |logs: &[String]| logs.iter().rev().cloned().collect::<Vec<_>>();
        let mut seen = Seen::new(2);
        let mut look = |logs: &[String]| {
            let logs = newest_first(logs);
            let logs: Vec<&str> = logs.iter().map(String::as_str).collect();
            seen.take(&logs).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(look(&logs), logs[3..], "the last two");
        assert_eq!(look(&logs), [] as [String; 0], "and not the others later");
        // One that is written late, and one that comes.
        let (late, new) = (log(1_000_001, "b"), log(1_000_009, "a"));
        let mut all = logs.clone();
        all.insert(2, late.clone());
        all.push(new.clone());
        assert_eq!(look(&all), [late, new]);
        assert_eq!(seen.from().as_deref(), Some("1970-01-01T00:15:40.009Z"));
        assert_eq!(Seen::new(1).take(&[]), [] as [&str; 0]);
    }

    #[test]
    fn what_an_act_changed_is_told_by_field() {
        let update = r#"{"time":"t","actor":"a","action":"key.update","subject":"key k",
            "before":{"alias":"x","updated":1,"tags":[],"allowance":{"rpm_limit":5}},
            "after":{"alias":"x","updated":2,"blocked":true,"allowance":{"max_budget":1500000000000}}}"#;
        assert_eq!(changed(update), "rpm_limit, blocked, max_budget");
        let want = "t  a  key.update  key k\n    rpm_limit   5 -> nothing\n    blocked     nothing -> true\n    max_budget  nothing -> 1.5\n";
        assert_eq!(whole(update), want);
        let many = r#"{"before":{},"after":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}}"#;
        assert_eq!(changed(many), "a, b, c, d, e and 2 more");
        let made = r#"{"action":"key.create","before":null,"after":{"expires":0,"alias":"x"}}"#;
        assert_eq!(changed(made), "");
        assert!(whole(made).contains("expires  nothing -> 1970-01-01T00:00:00.000Z"), "{}", whole(made));
    }
}
