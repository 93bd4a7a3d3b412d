//! What came out, counted by pair; and the faults, of which only those on the list are borne.

use std::collections::BTreeMap;

/// A fault that is accepted, with the reason. The list only shrinks: an exception that does not occur fails the run, where the
/// folder has its recording.
pub(crate) struct Exception {
    /// The recording's id, or the beginning of it.
    pub(crate) id: &'static str,
    /// What the pair's name contains.
    pub(crate) pair: &'static str,
    /// What the fault's text contains.
    pub(crate) fault: &'static str,
    pub(crate) reason: &'static str,
}

/// The outcomes of a run.
#[derive(Default)]
pub(crate) struct Report {
    entries: Vec<Entry>,
}

struct Entry {
    id: String,
    pair: String,
    outcome: &'static str,
    faults: Vec<String>,
}

impl Report {
    /// One conversion of `pair`: its outcome, unless something is wrong with it.
    pub(crate) fn add(&mut self, id: &str, pair: &str, outcome: &'static str, mut faults: Vec<String>) {
        faults.sort_unstable();
        faults.dedup();
        self.entries.push(Entry { id: id.to_owned(), pair: pair.to_owned(), outcome, faults });
    }

    /// Prints the table, and fails the test unless the faults are the exceptions. Of what vendors wrote themselves (`theirs`) a
    /// few may be faulty all the same, since a folder may hold recordings that the list does not know.
    pub(crate) fn settle(self, title: &str, exceptions: &[Exception], theirs: bool) {
        let mut rows: BTreeMap<String, BTreeMap<&'static str, usize>> = BTreeMap::new();
        let mut borne = vec![0; exceptions.len()];
        let mut left = Vec::new();
        let mut faulty = 0;
        for Entry { id, pair, outcome, faults } in &self.entries {
            let mut is = if faults.is_empty() { *outcome } else { "excepted" };
            for fault in faults {
                let fits = |exception: &Exception| {
                    id.starts_with(exception.id) && pair.contains(exception.pair) && fault.contains(exception.fault)
                };
                match exceptions.iter().position(fits) {
                    Some(at) => borne[at] += 1,
                    None => {
                        is = "FAULTY";
                        left.push(format!("{id} | {pair} | {fault}"));
                    }
                }
            }
            faulty += usize::from(is == "FAULTY");
            *rows.entry(pair.clone()).or_default().entry(is).or_default() += 1;
        }
        println!("\nreplay: {title}");
        for (pair, outcomes) in &rows {
            let cells: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            println!("  {pair:42} {}", cells.join(", "));
        }
        for (exception, count) in exceptions.iter().zip(&borne) {
            println!("  exception, {count} times: {} {}: {}", exception.id, exception.pair, exception.reason);
        }
        for fault in &left {
            println!("  FAULT {fault}");
        }
        let borne_at_most = if theirs { self.entries.len() / 20 } else { 0 };
        assert!(faulty <= borne_at_most, "{title}: {} faults, listed above", left.len());
        for (exception, count) in exceptions.iter().zip(borne) {
            let (id, fault) = (exception.id, exception.fault);
            let there = self.entries.iter().any(|entry| entry.id.starts_with(id));
            assert!(count > 0 || !there, "{id} {fault:?} is no exception any more: take it off the list");
        }
    }
}
