//! Routing decisions, pure: which group a name means, and which of its deployments takes a request. Time and randomness are
//! arguments.

use std::collections::HashMap;

/// Which names exist, and what each means: an index into the list that the table was built from.
#[derive(Debug, Default)]
pub struct Table {
    index: HashMap<String, usize>,
    names: Vec<String>,
}

impl Table {
    /// A table of `names`, in order.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let index = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Self { index, names }
    }

    /// What `name` means.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The name most like `name`, if one is near enough to be meant.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names.iter().map(String::as_str))
    }
}

/// Picks one of `weights` with the probability that its weight has in the sum, by a `seed` that is uniform in `u64`.
/// All zero counts as all equal; `None` only for no weights at all.
#[must_use]
pub fn pick(weights: &[u32], seed: u64) -> Option<usize> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if sum == 0 {
        return seed.checked_rem(weights.len() as u64).and_then(|place| usize::try_from(place).ok());
    }
    let mut left = seed % sum;
    weights.iter().position(|weight| {
        let here = left < u64::from(*weight);
        left = left.saturating_sub(u64::from(*weight));
        here
    })
}

/// The longest name that is compared.
const LONGEST: usize = 128;

/// The candidate that `name` is most likely a slip of: the nearest by edit distance, if it is near at all.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match name.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=11 => 2,
        _ => 3,
    };
    // A name is a client's text; a longer one is nobody's slip.
    if name.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, taken out, replaced or swapped with their neighbour to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, letter) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut left = row + 1;
        let mut b_previous = None;
        for (column, other) in b.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&last, column) + usize::from(letter != *other)).min(at(&last, column + 1) + 1);
            cost = cost.min(left + 1);
            if previous == Some(*other) && b_previous == Some(letter) && column > 0 {
                cost = cost.min(at(&before_last, column - 1) + 1);
            }
            current.push(cost);
            left = cost;
            b_previous = Some(*other);
        }
        before_last = std::mem::replace(&mut last, current);
        previous = Some(letter);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_exactly_over_all_seeds() {
        let mut counts = [0; 3];
        for seed in 0..1000 {
            counts[pick(&[7, 0, 3], seed).unwrap()] += 1;
        }
        assert_eq!(counts, [700, 0, 300]);
        assert_eq!((pick(&[], 5), pick(&[0, 0], 5), pick(&[4], u64::MAX)), (None, Some(1), Some(0)));
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let table = Table::new(["gpt-4o-mini", "claude-sonnet-4-5", "demo"]);
        assert_eq!(table.nearest("gpt-4o-mimi"), Some("gpt-4o-mini"));
        assert_eq!(table.nearest("Claude-Sonnet-45"), Some("claude-sonnet-4-5"));
        assert_eq!(table.nearest("dmo"), Some("demo"));
        assert_eq!(table.nearest("llama"), None);
        assert_eq!(table.nearest(&"x".repeat(100_000)), None);
        assert_eq!((table.find("demo"), table.find("Demo")), (Some(2), None));
    }

    #[test]
    fn distances() {
        for (a, b, want) in
            [("", "", 0), ("", "ab", 2), ("timeout", "timeout", 0), ("tiemout", "timeout", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }
}
