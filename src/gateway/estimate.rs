//! What a request may come to, before it is sent: its input as we guess it, with all the output that it asks for.

use serde_json::value::RawValue;

use super::account::Asked;
use super::pipeline::{Looked, otherwise_priced};
use crate::config::settings::Deployment;
use crate::meter::Money;
use crate::meter::ledger::Estimate;
use crate::wire::direct::Path;
use crate::wire::{self, Operation, Usage, Wire};

/// A guess at a request's tokens and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Guess {
    /// Tokens of input.
    pub(super) input: u64,
    /// The most tokens of output that it asks for.
    pub(super) output: u64,
    /// What they cost at the dearest deployment that may answer.
    pub(super) cost: Money,
    /// Whether no answer of this kind comes without its usage. Of those that do (pictures, sound) nothing can be said.
    pub(super) counted: bool,
    /// Whether an answer of this kind costs anything.
    pub(super) paid: bool,
}

impl Guess {
    /// The same, as a store takes it.
    pub(super) fn estimate(self) -> Estimate {
        Estimate { tokens: self.input.saturating_add(self.output), cost: self.cost }
    }
}

/// More output than any model gives: larger bounds mean that there is none.
const MOST: u64 = 10_000_000;
/// More answers to one question than any upstream gives.
const MOST_ANSWERS: u64 = 128;

/// The guess, and whether a deployment that may answer has no known price. Where nothing is `limited` the guess is only for the
/// record of an answer that never tells its usage, for which nobody reads the whole conversation.
pub(super) fn guess(asked: &Asked<'_>, unbounded: u64, limited: bool) -> (Guess, bool) {
    let counted = match asked.looked {
        Looked::Chat(_, operation) => *operation == Operation::Generate,
        Looked::Direct(_, path) => path.writes_text() || *path == Path::Embeddings,
    };
    let paid = match asked.looked {
        Looked::Chat(_, operation) => *operation == Operation::Generate,
        Looked::Direct(_, path) => !matches!(path, Path::Moderations | Path::ResponsesInputTokens),
    };
    let input = input(asked, limited).saturating_add(prompts(asked));
    let texts = if limited { prompts_of_completion(asked.looked) } else { 1 };
    let (mut dearest, mut most, mut unpriced) = (Money::default(), 0, otherwise_priced(asked.looked));
    for deployment in &asked.group.deployments {
        let output = output(asked.looked, deployment, unbounded).saturating_mul(texts);
        most = most.max(output);
        match deployment.price.cost(&Usage { input: Some(input), output: Some(output), ..Usage::default() }) {
            Some(cost) => dearest = dearest.max(cost),
            None => unpriced = true,
        }
    }
    (Guess { input, output: most, cost: dearest, counted, paid }, unpriced && paid)
}

/// The system prompts that are put into the request, by their length.
fn prompts(asked: &Asked<'_>) -> u64 {
    let gets = match asked.looked {
        Looked::Chat(_, operation) => *operation == Operation::Generate,
        Looked::Direct(_, path) => path.takes_instructions() && *path != Path::ResponsesInputTokens,
    };
    if !gets {
        return 0;
    }
    let own = asked.request.caller.principal().and_then(|principal| principal.key.system_prompt.as_ref());
    let all = asked.request.state.settings.prompts.of(&asked.group.name);
    let size = all.iter().map(|prompt| prompt.template.size()).sum::<usize>() + own.map_or(0, String::len);
    size as u64 / 4
}

fn input(asked: &Asked<'_>, limited: bool) -> u64 {
    let by_length = || asked.request.body.len() as u64 / 4 + 1;
    match asked.looked {
        // Counting tokens uses none.
        Looked::Chat(_, Operation::CountTokens) | Looked::Direct(_, Path::ResponsesInputTokens | Path::Moderations) => {
            0
        }
        // What we cannot read may pass through to an upstream that can.
        Looked::Chat(envelope, Operation::Generate) if limited => {
            wire::guess_tokens(envelope).unwrap_or_else(|_| by_length())
        }
        Looked::Chat(_, Operation::Generate) => by_length(),
        Looked::Direct(body, _) if body.fields().is_some() => {
            let read = limited.then(|| body.length(&body.needs())).flatten();
            read.map_or_else(by_length, |length| length.all)
        }
        // A form: what it costs is not counted in tokens.
        Looked::Direct(..) => 0,
    }
}

/// The most output that the request asks for, or that the deployment's defaults ask for in its place, or the encoder where its
/// wire demands a bound; where nobody sets one, what the operator sets aside.
fn output(looked: &Looked<'_>, deployment: &Deployment, unbounded: u64) -> u64 {
    let Some(fields) = looked.fields() else { return 0 };
    // What bounds one endpoint's answers means nothing to another, which may overlook it.
    let (bounds, answers): (&[&str], &[&str]) = match looked {
        Looked::Chat(envelope, Operation::Generate) if envelope.wire() == Wire::AnthropicMessages => {
            (&["max_tokens"], &[])
        }
        Looked::Chat(_, Operation::Generate) => (&["max_completion_tokens", "max_tokens"], &["n"]),
        Looked::Direct(_, Path::Completions) => (&["max_tokens"], &["n", "best_of"]),
        Looked::Direct(_, path) if path.writes_text() => (&["max_output_tokens"], &[]),
        Looked::Chat(..) | Looked::Direct(..) => return 0,
    };
    // What we cannot read as a number an upstream may: then nobody knows of a bound.
    let number = |name: &&str, unread: u64| match fields.value(name)?.get() {
        "null" => None,
        text => Some(whole(text).unwrap_or(unread)),
    };
    // Where several are there nobody knows which one the upstream heeds; one that is taken out binds nobody.
    let own = bounds
        .iter()
        .filter(|name| !deployment.drop.iter().any(|drop| drop == *name))
        .filter_map(|name| number(name, unbounded));
    let own = own.max();
    let default = || {
        let set = deployment.defaults.iter().filter(|(name, _)| bounds.contains(&name.as_str()));
        set.filter_map(|(_, value)| value.parse::<u64>().ok()).max()
    };
    let demanded = || match looked {
        Looked::Chat(envelope, _) if envelope.wire() != deployment.wire => {
            wire::demanded_output(deployment.wire, &deployment.profile, envelope.stream)
        }
        Looked::Chat(..) | Looked::Direct(..) => None,
    };
    let each = own.or_else(default).or_else(demanded).unwrap_or(unbounded).min(MOST);
    let answers = answers.iter().filter_map(|name| number(name, MOST_ANSWERS)).max().unwrap_or(1);
    each.saturating_mul(answers.clamp(1, MOST_ANSWERS))
}

/// A whole number as servers take it that are not strict: `100`, `100.0`, `1e2`, `"100"`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
fn whole(text: &str) -> Option<u64> {
    let text = text.trim_matches('"').trim();
    let loose = || text.parse::<f64>().ok().filter(|number| *number >= 0.0).map(|number| number.ceil() as u64);
    text.parse().ok().or_else(loose)
}

/// How many texts a completion continues: a list of texts, or of lists of tokens, is answered each for itself.
fn prompts_of_completion(looked: &Looked<'_>) -> u64 {
    let Looked::Direct(asked, Path::Completions) = looked else { return 1 };
    let list =
        asked.fields().and_then(|fields| serde_json::from_str::<Vec<&RawValue>>(fields.value("prompt")?.get()).ok());
    let several = |list: &Vec<&RawValue>| list.first().is_some_and(|first| first.get().starts_with(['"', '[']));
    list.filter(several).map_or(1, |list| list.len() as u64)
}
