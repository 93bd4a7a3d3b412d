//! What a name means: a deployment's id, an alias, a model group, a wildcard.

use crate::order;
use std::collections::{HashMap, HashSet};

/// What a name that a client sent comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The group, as a place in the list that the table was built from.
    pub group: usize,
    /// One deployment of it, where the name is a deployment's id: its place in the group.
    pub deployment: Option<usize>,
    /// What the `*`s of a wildcard stand for, in order.
    pub captured: Vec<String>,
}

/// A model group, as far as its name is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// What a client says; with `*`s it is a wildcard.
    pub name: &'a str,
    /// The ids of its deployments.
    pub ids: Vec<&'a str>,
    /// It stands for models that may be asked for directly, and is neither listed nor offered.
    pub direct: bool,
}

/// Another name for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Other<'a> {
    /// What a client says.
    pub name: &'a str,
    /// What it means: the name of a group, or what a wildcard takes.
    pub target: &'a str,
    /// It is neither listed nor offered.
    pub hidden: bool,
    /// It wins over a group or a deployment of its name.
    pub redirect: bool,
}

/// Which names exist, and what each means.
///
/// ```
/// use feathergate::route::table::{Named, Other, Table, fill};
/// let groups = [Named { name: "demo", ..Named::default() }, Named { name: "my-*", ..Named::default() }];
/// let table = Table::new(&groups, &[Other { name: "best", target: "my-gpt-5", ..Other::default() }]);
/// let found = table.resolve("best").unwrap();
/// assert_eq!((found.group, fill("openai/*", &found.captured)), (1, "openai/gpt-5".to_owned()));
/// ```
#[derive(Debug, Default)]
pub struct Table {
    /// Every name without a wildcard.
    names: HashMap<String, Match>,
    /// The longest first; of equal length the first of the file.
    wildcards: Vec<Wildcard>,
    listed: Vec<String>,
}

#[derive(Debug)]
struct Wildcard {
    pattern: String,
    group: usize,
    direct: bool,
}

/// How many redirects or aliases may lead to each other. The configuration refuses circles.
pub const HOPS: usize = 8;

impl Table {
    /// A table of these names: the groups in the order of their places.
    #[must_use]
    pub fn new(groups: &[Named<'_>], others: &[Other<'_>]) -> Self {
        let mut wildcards = Vec::new();
        let mut exact = HashMap::new();
        let mut ids = HashMap::new();
        for (place, group) in groups.iter().enumerate() {
            if group.name.contains('*') {
                wildcards.push(Wildcard { pattern: group.name.to_owned(), group: place, direct: group.direct });
            } else {
                exact.insert(group.name, Match { group: place, deployment: None, captured: Vec::new() });
            }
            for (position, id) in group.ids.iter().enumerate() {
                let found = Match { group: place, deployment: Some(position), captured: Vec::new() };
                ids.entry(*id).or_insert(found);
            }
        }
        order::sort_by_key(&mut wildcards, |wildcard| std::cmp::Reverse(wildcard.pattern.len()));
        let shown = groups.iter().filter(|group| !group.direct && !group.name.contains('*')).map(|group| group.name);
        let shown = shown.chain(others.iter().filter(|other| !other.hidden).map(|other| other.name));
        let mut table = Self { names: HashMap::new(), wildcards, listed: Vec::new() };
        let names = Names { ids, exact, others, wildcards: &table.wildcards };
        let all = others.iter().map(|other| other.name).chain(names.ids.keys().copied());
        table.names = all
            .chain(names.exact.keys().copied())
            .filter_map(|name| Some((name.to_owned(), names.resolve(name)?)))
            .collect();
        let mut seen = HashSet::new();
        table.listed =
            shown.filter(|name| table.names.contains_key(*name) && seen.insert(*name)).map(str::to_owned).collect();
        table
    }

    /// What `name` means: a redirect first, then a deployment's id, an alias, a group, a wildcard, the longest first and so a
    /// group named `*` last. A name that nothing takes is tried once more with the provider that litellm would put in front
    /// (`gpt-5` as `openai/gpt-5`), so that `openai/*` takes it.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<Match> {
        if let Some(found) = self.names.get(name) {
            return Some(found.clone());
        }
        wild(&self.wildcards, name)
    }

    /// The group that `name` means.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.resolve(name).map(|found| found.group)
    }

    /// The names that everybody may know, in the order of the file: groups, then aliases. Wildcards, groups that stand for
    /// direct models, hidden aliases and deployments are not among them.
    #[must_use]
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// The listed name most like `name`, of those that the caller `may` use, if one is near enough to be meant.
    #[must_use]
    pub fn nearest(&self, name: &str, may: &dyn Fn(&str) -> bool) -> Option<&str> {
        nearest(name, self.listed.iter().map(String::as_str).filter(|name| may(name)))
    }
}

/// What the names of a table are resolved from, once for each.
struct Names<'a> {
    ids: HashMap<&'a str, Match>,
    exact: HashMap<&'a str, Match>,
    others: &'a [Other<'a>],
    wildcards: &'a [Wildcard],
}

impl Names<'_> {
    fn other(&self, name: &str, redirect: bool) -> Option<&str> {
        let found = self.others.iter().find(|other| other.redirect == redirect && other.name == name);
        found.map(|other| other.target)
    }

    fn resolve(&self, name: &str) -> Option<Match> {
        let mut name = name;
        for _ in 0..HOPS {
            let Some(target) = self.other(name, true) else { break };
            name = target;
        }
        if let Some(found) = self.ids.get(name) {
            return Some(found.clone());
        }
        for _ in 0..HOPS {
            let Some(target) = self.other(name, false) else { break };
            name = target;
            // As in litellm an alias means a group before it means another alias, so that two groups can change places.
            if self.exact.contains_key(name) || self.ids.contains_key(name) {
                break;
            }
        }
        self.ids.get(name).or_else(|| self.exact.get(name)).cloned().or_else(|| wild(self.wildcards, name))
    }
}

fn wild(wildcards: &[Wildcard], name: &str) -> Option<Match> {
    let first = |name: &str, direct: bool| {
        wildcards.iter().filter(|wildcard| direct || !wildcard.direct).find_map(|wildcard| {
            let captured = captures(&wildcard.pattern, name)?;
            let captured = captured.into_iter().map(str::to_owned).collect();
            Some(Match { group: wildcard.group, deployment: None, captured })
        })
    };
    if wildcards.is_empty() {
        return None;
    }
    first(name, true).or_else(|| first(&format!("{}/{name}", usual_provider(name)?), false))
}

/// The provider of a model that is named without one, where its name tells (as litellm has it).
#[must_use]
pub fn usual_provider(model: &str) -> Option<&'static str> {
    const OPENAI: [&str; 9] =
        ["gpt-", "ft:gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "dall-e-", "codex-mini"];
    if model.contains('/') {
        None
    } else if model.starts_with("claude-") {
        Some("anthropic")
    } else if OPENAI.iter().any(|start| model.starts_with(start)) {
        Some("openai")
    } else {
        None
    }
}

/// Whether `name` is `pattern`, in which each `*` stands for any letters or none.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    pattern == name || stars(pattern, name).is_some()
}

/// What the `*`s of a group's name stand for in `name`: behind a provider's `/` something has to follow.
fn captures<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let bare = name.ends_with('/') && pattern.split('*').next() == Some(name);
    if bare { None } else { stars(pattern, name) }
}

/// What the `*`s of `pattern` stand for in `name`, if it is all of it: each as much as it can, from the left, be it nothing.
/// (litellm's patterns hold for the beginning of a name, so that `*-mini` takes `gpt-5-mini-high` as `gpt-5`.)
fn stars<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let (start, rest) = pattern.split_once('*')?;
    let mut name = name.strip_prefix(start)?;
    let mut found = Vec::new();
    let mut parts = rest.rsplit('*');
    if let Some(end) = parts.next() {
        name = name.strip_suffix(end)?;
    }
    // From the right, so that what stands between two `*`s is found as late as it can be.
    for part in parts {
        let place = name.rfind(part)?;
        found.push(name.get(place + part.len()..)?);
        name = name.get(..place)?;
    }
    found.push(name);
    found.reverse();
    Some(found)
}

/// `model` with its `*`s replaced by what a wildcard's stand for, in order. Where there are more of these than of those nobody
/// can say which is which; the last ones are left out.
#[must_use]
pub fn fill(model: &str, captured: &[String]) -> String {
    let mut captured = captured.iter();
    let mut out = String::with_capacity(model.len() + 16);
    for (place, part) in model.split('*').enumerate() {
        if place > 0 {
            out.push_str(captured.next().map_or("*", String::as_str));
        }
        out.push_str(part);
    }
    out
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

    fn group<'a>(name: &'a str, ids: &[&'a str]) -> Named<'a> {
        Named { name, ids: ids.to_vec(), direct: false }
    }

    fn alias<'a>(name: &'a str, target: &'a str) -> Other<'a> {
        Other { name, target, hidden: false, redirect: false }
    }

    fn table() -> Table {
        let direct = Named { direct: true, ..group("mistral/*", &["direct-1"]) };
        let groups = [
            group("gpt-4o-mini", &["gpt-4o-mini-1", "west"]),
            group("claude-sonnet-4-5", &["demo"]),
            group("demo", &["demo-1"]),
            group("my-*", &["my-1"]),
            group("my-gpt-*", &[]),
            group("a", &[]),
            group("b", &[]),
            direct,
            group("openai/*", &[]),
            group("old", &[]),
        ];
        let hidden = |name, target| Other { hidden: true, ..alias(name, target) };
        let redirect = |name, target| Other { redirect: true, ..alias(name, target) };
        let others = [
            alias("fast", "gpt-4o-mini"),
            alias("wild", "my-llama"),
            alias("a", "b"),
            alias("b", "a"),
            alias("chain", "fast"),
            alias("demo-1", "a"),
            alias("lost", "nobody"),
            hidden("secret-name", "demo"),
            redirect("old", "older"),
            redirect("older", "fast"),
            redirect("west", "demo-1"),
            redirect("round", "trip"),
            redirect("trip", "round"),
        ];
        Table::new(&groups, &others)
    }

    #[test]
    fn names_mean_what_comes_first() {
        let table = table();
        for (name, want) in [
            ("gpt-4o-mini", Some((0, None, ""))),
            ("gpt-4o-mini-1", Some((0, Some(0), ""))),
            // A deployment's id wins over a group and an alias.
            ("demo", Some((1, Some(0), ""))),
            ("demo-1", Some((2, Some(0), ""))),
            ("fast", Some((0, None, ""))),
            ("wild", Some((3, None, "llama"))),
            ("chain", Some((0, None, ""))),
            // Two groups that changed places.
            ("a", Some((6, None, ""))),
            ("b", Some((5, None, ""))),
            ("secret-name", Some((1, Some(0), ""))),
            ("my-gpt-5", Some((4, None, "5"))),
            ("my-gpt", Some((3, None, "gpt"))),
            // A redirect wins over everything, and leads on.
            ("old", Some((0, None, ""))),
            ("older", Some((0, None, ""))),
            ("west", Some((2, Some(0), ""))),
            ("round", None),
            ("lost", None),
            ("mistral/large", Some((7, None, "large"))),
            ("openai/gpt-4o", Some((8, None, "gpt-4o"))),
            ("openai/", None),
            ("gpt-4o", Some((8, None, "gpt-4o"))),
            ("claude-opus-4-8", None),
            ("Gpt-4o-mini", None),
            ("", None),
        ] {
            let found = table.resolve(name);
            let found = found.as_ref().map(|it| (it.group, it.deployment, it.captured.join("|")));
            assert_eq!(found, want.map(|(group, one, stars)| (group, one, stars.to_owned())), "{name}");
            assert_eq!(table.find(name), want.map(|(group, ..)| group), "{name}");
        }
        let all = Table::new(&[group("*", &[]), group("x*", &[]), Named { direct: true, ..group("o*", &[]) }], &[]);
        assert_eq!((all.find("y"), all.find("xy"), all.find("o3")), (Some(0), Some(1), Some(2)));
        let direct = Table::new(&[Named { direct: true, ..group("openai/*", &[]) }], &[]);
        assert_eq!((direct.find("openai/gpt-4o"), direct.find("gpt-4o")), (Some(0), None));
    }

    #[test]
    fn what_may_be_known_is_listed() {
        let table = table();
        let want = "gpt-4o-mini claude-sonnet-4-5 demo a b old fast wild chain demo-1 older west";
        assert_eq!(table.listed().join(" "), want);
    }

    #[test]
    fn stars_take_as_much_as_they_can() {
        for (pattern, name, want) in [
            ("openai/*", "openai/gpt-4o", Some("gpt-4o")),
            ("openai/*", "my/openai/gpt-4o", None),
            ("gpt-4*", "gpt-4", Some("")),
            ("*", "anything", Some("anything")),
            ("*-mini", "gpt-5-mini", Some("gpt-5")),
            ("*-mini", "gpt-5-mini-high", None),
            ("*-*", "a-b-c", Some("a-b|c")),
            ("x-*::static::*", "x-bar::static::baz", Some("bar|baz")),
            ("a*b*c", "abbc", Some("b|")),
            ("a*b*c", "acb", None),
            ("aa*aa", "aaa", None),
            ("aa*aa", "aaaa", Some("")),
            ("*a*", "é", None),
            ("**", "ab", Some("ab|")),
            ("gpt.4*", "gpt-4o", None),
        ] {
            assert_eq!(captures(pattern, name).map(|found| found.join("|")).as_deref(), want, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, want) in [
            ("chat", "chat", true),
            ("chat", "chat2", false),
            ("*", "", true),
            ("claude-*", "claude-opus", true),
            ("claude-*", "my-claude-opus", false),
            ("*-mini", "gpt-mini", true),
            ("a*a", "a", false),
            ("*é*/b*c", "xé/é/bbc", true),
            ("a*b*c", "acb", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn captures_fill_an_upstream_name() {
        for (model, captured, want) in [
            ("openai/*", &["gpt-4o"][..], "openai/gpt-4o"),
            ("gpt-4o", &["x"], "gpt-4o"),
            ("fo::*::static::*", &["bar", "b*z"], "fo::bar::static::b*z"),
            ("*", &["a", "b"], "a"),
            ("*-*", &["a"], "a-*"),
        ] {
            let captured: Vec<String> = captured.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(fill(model, &captured), want);
        }
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let direct = Named { direct: true, ..group("direct", &[]) };
        let groups =
            [group("gpt-4o-mini", &["id-of-one"]), group("claude-sonnet-4-5", &[]), group("demo", &[]), direct];
        let hidden = Other { hidden: true, ..alias("hidden", "demo") };
        let table = Table::new(&groups, &[alias("quick", "demo"), hidden]);
        let all: &dyn Fn(&str) -> bool = &|_| true;
        for (name, want) in [
            ("gpt-4o-mimi", Some("gpt-4o-mini")),
            ("Claude-Sonnet-45", Some("claude-sonnet-4-5")),
            ("dmo", Some("demo")),
            ("quik", Some("quick")),
            ("llama", None),
            ("id-of-ome", None),
            ("hiden", None),
            ("direkt", None),
        ] {
            assert_eq!(table.nearest(name, all), want, "{name}");
        }
        assert_eq!(table.nearest("dmo", &|name| name != "demo"), None);
        assert_eq!(table.nearest(&"x".repeat(100_000), all), None);
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
