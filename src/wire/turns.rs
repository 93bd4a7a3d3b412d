//! Turns, arranged as Anthropic and Gemini want them: roles alternate, nothing is empty, and the results of calls stand at the
//! front of the turn directly behind the calls, in the calls' order.

use std::borrow::Cow;

use super::chat::{Call, Origin, Outcome, Part, Role, Text, Turn};

/// A turn as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Arranged<'r, 'a> {
    /// Who speaks. Two neighbours differ, but for system turns.
    pub role: Role,
    /// What is said. Never empty.
    pub parts: Vec<Cow<'r, Part<'a>>>,
}

/// Arranges turns for an upstream.
///
/// - Neighbours of one role are one turn. Blank texts are left out unless they are sealed, and so are turns without parts.
/// - Thoughts stay only if `origin` sealed them.
/// - A system turn stays where it is if `system_turns`; else it becomes `<system>…</system>` in the user turn at its place: to
///   hoist it would change its precedence, and the cached prefix with every turn. Between calls and their results it moves
///   behind the results.
/// - A result without its call becomes what it holds, in the user's turn; a second result of a call is left out.
///
/// Which role comes first or last is the encoder's business.
#[must_use]
pub fn arrange<'r, 'a>(turns: &'r [Turn<'a>], origin: Origin, system_turns: bool) -> Vec<Arranged<'r, 'a>> {
    let mut runs = Runs { done: Vec::new(), held: Vec::new(), unanswered: 0, system_turns };
    for turn in turns {
        match turn.role {
            Role::System => {
                let parts = turn.parts.iter().filter(|part| keeps(part, origin)).map(Cow::Borrowed);
                runs.held.push(parts.collect());
                runs.flush(false);
            }
            Role::Assistant => {
                runs.flush(true);
                let parts = turn.parts.iter().filter(|part| keeps(part, origin));
                for part in parts {
                    runs.unanswered += usize::from(matches!(part, Part::Call(_)));
                    runs.push(Role::Assistant, Cow::Borrowed(part));
                }
            }
            Role::User => {
                for part in turn.parts.iter().filter(|part| keeps(part, origin)) {
                    if matches!(part, Part::Outcome(_)) {
                        runs.unanswered = runs.unanswered.saturating_sub(1);
                    }
                    runs.push(Role::User, Cow::Borrowed(part));
                }
                runs.flush(false);
            }
        }
    }
    runs.flush(true);
    matched(runs.done)
}

fn keeps(part: &Part<'_>, origin: Origin) -> bool {
    match part {
        Part::Text(text) => !text.text.is_blank() || text.seal.as_ref().is_some_and(|seal| seal.origin == origin),
        Part::Thought(thought) => thought.seal.as_ref().is_some_and(|seal| seal.origin == origin),
        Part::Media(_) | Part::Call(_) | Part::Outcome(_) | Part::Foreign(_) => true,
    }
}

struct Runs<'r, 'a> {
    done: Vec<Arranged<'r, 'a>>,
    /// System turns that wait until the results of calls are in.
    held: Vec<Vec<Cow<'r, Part<'a>>>>,
    /// Calls of the last assistant turn whose results have not been seen.
    unanswered: usize,
    system_turns: bool,
}

impl<'r, 'a> Runs<'r, 'a> {
    fn push(&mut self, role: Role, part: Cow<'r, Part<'a>>) {
        match self.done.last_mut() {
            Some(last) if last.role == role => last.parts.push(part),
            _ => self.done.push(Arranged { role, parts: vec![part] }),
        }
    }

    /// Places the system turns that wait, if nothing keeps them or they must not wait any longer.
    fn flush(&mut self, now: bool) {
        if self.unanswered > 0 && !now {
            return;
        }
        if now {
            self.unanswered = 0;
        }
        for parts in std::mem::take(&mut self.held) {
            if self.system_turns {
                if !parts.is_empty() {
                    self.done.push(Arranged { role: Role::System, parts });
                }
                continue;
            }
            for part in parts {
                let part = match part.as_ref() {
                    Part::Text(text) => Cow::Owned(in_user_turn(text)),
                    _ => part,
                };
                self.push(Role::User, part);
            }
        }
    }
}

/// A system text as it stands in the turn of a user.
pub(super) fn in_user_turn<'a>(text: &Text<'_>) -> Part<'a> {
    let said = format!("<system>\n{}\n</system>", text.text).into();
    Part::Text(Text { text: said, cache: text.cache, seal: None })
}

/// Puts results in the order of their calls, and makes text of those that have none.
fn matched<'r, 'a>(runs: Vec<Arranged<'r, 'a>>) -> Vec<Arranged<'r, 'a>> {
    let mut out: Vec<Arranged<'r, 'a>> = Vec::with_capacity(runs.len());
    for mut run in runs {
        if run.role == Role::User && run.parts.iter().any(|part| matches!(part.as_ref(), Part::Outcome(_))) {
            // A system turn of the model's own role may stand between.
            let before =
                out.iter().rev().find(|run| run.role != Role::System).filter(|run| run.role == Role::Assistant);
            run.parts = ordered(before, run.parts);
            if run.parts.is_empty() {
                continue;
            }
        }
        match out.last_mut() {
            // A turn that became empty brings its neighbours together.
            Some(last) if last.role == run.role && run.role != Role::System => last.parts.append(&mut run.parts),
            _ => out.push(run),
        }
    }
    out
}

fn ordered<'r, 'a>(before: Option<&Arranged<'r, 'a>>, parts: Vec<Cow<'r, Part<'a>>>) -> Vec<Cow<'r, Part<'a>>> {
    let calls: Vec<&Call<'a>> = before
        .map(|run| run.parts.as_slice())
        .unwrap_or_default()
        .iter()
        .filter_map(|part| match part.as_ref() {
            Part::Call(call) => Some(call),
            _ => None,
        })
        .collect();
    let mut places = Places::of(&calls);
    let mut results: Vec<Option<Cow<'r, Part<'a>>>> = Vec::new();
    results.resize_with(calls.len(), || None);
    let mut others = Vec::new();
    for part in parts {
        let Part::Outcome(outcome) = part.as_ref() else {
            others.push(part);
            continue;
        };
        match places.take(outcome, |place| results.get(place).is_some_and(Option::is_none)) {
            Place::At(place) => {
                if let Some(slot) = results.get_mut(place) {
                    *slot = Some(part);
                }
            }
            Place::Taken => {}
            Place::Nowhere => others.extend(held(part)),
        }
    }
    results.into_iter().flatten().chain(others).collect()
}

/// The places of calls, sorted by what their results say of them: the id, or, without ids (`functions`, early Gemini), the name
/// if it is said. Sorted, since thousands of calls with thousands of results fit into a megabyte.
struct Places<'c> {
    sorted: Vec<(&'c str, &'c str, usize)>,
    /// At the first of those that are alike: how many of them were looked at.
    seen: Vec<usize>,
}

impl<'c> Places<'c> {
    fn of(calls: &[&'c Call<'_>]) -> Self {
        let mut sorted = Vec::with_capacity(calls.len());
        for (place, call) in calls.iter().enumerate() {
            sorted.push((call.id.as_str(), "", place));
            if call.id.is_empty() {
                sorted.push(("", call.name.as_str(), place));
            }
        }
        sorted.sort_unstable();
        Self { seen: vec![0; sorted.len()], sorted }
    }

    /// The first free place that this result may take.
    fn take(&mut self, outcome: &Outcome<'_>, free: impl Fn(usize) -> bool) -> Place {
        let name = outcome.name.as_ref().filter(|_| outcome.id.is_empty());
        let key = (outcome.id.as_str(), name.map_or("", |name| name.as_str()));
        let first = self.sorted.partition_point(|(id, name, _)| (*id, *name) < key);
        let alike = |at: usize| self.sorted.get(at).filter(|(id, name, _)| (*id, *name) == key).map(|found| found.2);
        let Some(seen) = self.seen.get_mut(first).filter(|_| alike(first).is_some()) else { return Place::Nowhere };
        while let Some(place) = alike(first + *seen) {
            *seen += 1;
            if free(place) {
                return Place::At(place);
            }
        }
        Place::Taken
    }
}

/// Where a result belongs.
enum Place {
    At(usize),
    /// Others have answered every such call.
    Taken,
    /// There is no such call.
    Nowhere,
}

/// What a result holds, on its own.
fn held<'r, 'a>(part: Cow<'r, Part<'a>>) -> Vec<Cow<'r, Part<'a>>> {
    let keep = |part: &Part<'_>| !matches!(part, Part::Text(text) if text.text.is_blank());
    match part {
        Cow::Borrowed(Part::Outcome(outcome)) => {
            outcome.content.iter().filter(|part| keep(part)).map(Cow::Borrowed).collect()
        }
        Cow::Owned(Part::Outcome(outcome)) => outcome.content.into_iter().filter(keep).map(Cow::Owned).collect(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::{Seal, Thought};
    use super::super::text::Json;
    use super::*;

    fn text(text: &'static str) -> Part<'static> {
        Part::Text(Text::plain(text))
    }

    fn call(id: &'static str) -> Part<'static> {
        let arguments = Json::trusted("{}");
        Part::Call(Call { id: id.into(), name: "f".into(), arguments, seal: None, cache: None })
    }

    fn result(id: &'static str, said: &'static str) -> Part<'static> {
        let content = vec![text(said)];
        Part::Outcome(Outcome { id: id.into(), name: None, content, error: false, cache: None })
    }

    fn thought(origin: Option<Origin>) -> Part<'static> {
        let seal = origin.map(|origin| Seal { origin, data: "s".into() });
        Part::Thought(Thought { text: "t".into(), seal, redacted: false })
    }

    /// A line for each turn: `u text result:id`.
    fn shown(turns: &[(Role, Vec<Part<'static>>)], system_turns: bool) -> Vec<String> {
        let turns: Vec<Turn<'_>> =
            turns.iter().map(|(role, parts)| Turn { role: *role, parts: parts.clone() }).collect();
        let arranged = arrange(&turns, Origin::Anthropic, system_turns);
        arranged
            .iter()
            .map(|turn| {
                let mut line = match turn.role {
                    Role::System => "s".to_owned(),
                    Role::User => "u".to_owned(),
                    Role::Assistant => "a".to_owned(),
                };
                for part in &turn.parts {
                    line.push(' ');
                    let shown = match part.as_ref() {
                        Part::Text(text) => text.text.replace('\n', ""),
                        Part::Call(call) => format!("call:{}", call.id),
                        Part::Outcome(outcome) => format!("result:{}", outcome.id),
                        Part::Thought(_) => "thought".to_owned(),
                        Part::Media(_) | Part::Foreign(_) => "other".to_owned(),
                    };
                    line.push_str(&shown);
                }
                line
            })
            .collect()
    }

    use Role::{Assistant, System, User};

    #[test]
    fn w35_results_and_the_text_behind_them_are_one_turn() {
        let turns = [
            (User, vec![text("go")]),
            (Assistant, vec![call("1"), call("2")]),
            (User, vec![result("2", "b")]),
            (User, vec![text("and?")]),
            (User, vec![result("1", "a")]),
        ];
        assert_eq!(shown(&turns, false), ["u go", "a call:1 call:2", "u result:1 result:2 and?"]);
    }

    #[test]
    fn w36_orphans_become_text_and_doubles_vanish() {
        let turns = [
            (User, vec![result("9", "lost"), result("8", " ")]),
            (Assistant, vec![call("1")]),
            (User, vec![result("1", "a"), result("1", "again"), result("7", "other")]),
            (Assistant, vec![text("ok")]),
            (User, vec![result("6", "")]),
            (Assistant, vec![text("so")]),
        ];
        assert_eq!(shown(&turns, false), ["u lost", "a call:1", "u result:1 other", "a ok so"]);
    }

    #[test]
    fn w37_what_is_empty_is_not_sent() {
        let turns = [
            (User, vec![text("a"), text(" \n")]),
            (Assistant, vec![text("")]),
            (User, vec![text("b")]),
            (Assistant, vec![]),
        ];
        assert_eq!(shown(&turns, false), ["u a b"]);
    }

    #[test]
    fn w38_system_turns_stay_at_their_place() {
        let turns = [
            (User, vec![text("a")]),
            (System, vec![text("now")]),
            (Assistant, vec![call("1")]),
            (System, vec![text("mid")]),
            (User, vec![result("1", "r")]),
            (User, vec![text("b")]),
        ];
        assert_eq!(shown(&turns, true), ["u a", "s now", "a call:1", "u result:1", "s mid", "u b"]);
        let folded = ["u a <system>now</system>", "a call:1", "u result:1 <system>mid</system> b"];
        assert_eq!(shown(&turns, false), folded);
    }

    #[test]
    fn a_system_turn_waits_for_no_result_that_never_comes() {
        let turns = [
            (Assistant, vec![call("1")]),
            (System, vec![text("mid")]),
            (Assistant, vec![text("so")]),
            (System, vec![]),
        ];
        assert_eq!(shown(&turns, true), ["a call:1", "s mid", "a so"]);
    }

    #[test]
    fn w46_thoughts_of_others_are_not_sent() {
        let turns = [
            (User, vec![text("a")]),
            (Assistant, vec![thought(None)]),
            (User, vec![text("b")]),
            (Assistant, vec![thought(Some(Origin::Gemini)), thought(Some(Origin::Anthropic)), text("x")]),
        ];
        assert_eq!(shown(&turns, false), ["u a b", "a thought x"]);
    }
}
