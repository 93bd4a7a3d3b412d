//! What a request may come to, before it is sent: its input as we guess it, with all the output that it asks for.

use super::account::Asked;
use super::pipeline::{Looked, otherwise_priced};
use crate::config::settings::Deployment;
use crate::meter::Money;
use crate::meter::ledger::Estimate;
use crate::wire::direct::Path;
use crate::wire::{self, Envelope, Operation, Usage};

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
}

impl Guess {
    /// The same, as a store takes it.
    pub(super) fn estimate(self) -> Estimate {
        Estimate { tokens: self.input.saturating_add(self.output), cost: self.cost }
    }
}

/// More output than any model gives: larger bounds mean that there is none.
const MOST: u64 = 10_000_000;

/// The guess, and whether a deployment that may answer has no known price. Where nothing is `limited` the guess is only for the
/// record of an answer that never tells its usage, for which nobody reads the whole conversation.
pub(super) fn guess(asked: &Asked<'_>, unbounded: u64, limited: bool) -> (Guess, bool) {
    let counted = match asked.looked {
        Looked::Chat(_, operation) => *operation == Operation::Generate,
        Looked::Direct(_, path) => path.writes_text() || *path == Path::Embeddings,
    };
    let input = input(asked, limited);
    let (mut dearest, mut most, mut unpriced) = (Money::default(), 0, otherwise_priced(asked.looked));
    for deployment in &asked.group.deployments {
        let output = output(asked.looked, deployment, unbounded);
        most = most.max(output);
        match deployment.price.cost(&Usage { input: Some(input), output: Some(output), ..Usage::default() }) {
            Some(cost) => dearest = dearest.max(cost),
            None => unpriced = true,
        }
    }
    (Guess { input, output: most, cost: dearest, counted }, unpriced && counted)
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
        Looked::Direct(body, _) if body.fields().is_some() => by_length(),
        // A form: what it costs is not counted in tokens.
        Looked::Direct(..) => 0,
    }
}

/// The most output that the request asks for, or that the deployment's defaults ask for in its place; where nobody sets a bound,
/// what the operator sets aside.
fn output(looked: &Looked<'_>, deployment: &Deployment, unbounded: u64) -> u64 {
    const BOUNDS: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    let Some(fields) = looked.fields() else { return 0 };
    let talks = match looked {
        Looked::Chat(_, operation) => *operation == Operation::Generate,
        Looked::Direct(_, path) => path.writes_text(),
    };
    if !talks {
        return 0;
    }
    let number = |fields: &Envelope<'_>, name: &str| fields.value(name)?.get().parse::<u64>().ok();
    // Where several are there nobody knows which one the upstream heeds.
    let own = BOUNDS.iter().filter_map(|name| number(fields, name)).max();
    let default = || {
        let bounds = deployment.defaults.iter().filter(|(name, _)| BOUNDS.contains(&name.as_str()));
        bounds.filter_map(|(_, value)| value.parse::<u64>().ok()).max()
    };
    let answers = number(fields, "n").max(number(fields, "best_of")).unwrap_or(1).clamp(1, 128);
    own.or_else(default).unwrap_or(unbounded).min(MOST).saturating_mul(answers)
}
