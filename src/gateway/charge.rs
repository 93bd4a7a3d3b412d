//! What a request came to, when it is over: its tokens, what they cost, and what its budgets are charged.

use super::estimate::Guess;
use crate::meter::Money;
use crate::observe::Record;
use crate::store::usage::Tokens;
use crate::wire::Usage;

/// How many bytes of a stream stand for a token, where nobody counted: an event of most upstreams has one, and some 200 bytes.
const SENT: u64 = 250;

/// What a request came to.
pub(super) struct Used {
    /// Its tokens.
    pub(super) tokens: Tokens,
    /// What it cost, where that is known.
    pub(super) cost: Option<Money>,
    /// What its budgets are charged.
    pub(super) charge: Money,
    /// Whether that is a guess.
    pub(super) estimated: bool,
}

/// What a request used.
///
/// An upstream that told its usage at a proper end is believed. Where an answer broke off or nobody told, whoever gave up has worked
/// all the same: then it is no less than was told, than the estimate, and than what came.
pub(super) fn used(record: &Record, guess: &Guess) -> Used {
    let told = tokens(&record.usage);
    let begun = record.status == 200 || record.status == 499;
    let silent = told.is_none() && begun && record.attempt > 0 && guess.counted;
    let cut = told.is_some() && record.cut;
    let mut tokens = told.unwrap_or_default();
    if silent {
        tokens.input = guess.input;
    }
    if silent || cut {
        tokens.output = tokens.output.max(guess.output).max(record.sent / SENT);
    }
    // Attempts that were given up: their upstreams may have answered somebody who had left.
    let wasted = u64::from(record.wasted);
    tokens.input = tokens.input.saturating_add(guess.input.saturating_mul(wasted));
    tokens.output = tokens.output.saturating_add(guess.output.saturating_mul(wasted));
    let estimated = silent || cut || wasted > 0;
    let usage = if estimated {
        Usage { input: Some(tokens.input), output: Some(tokens.output), ..record.usage }
    } else {
        record.usage
    };
    let nothing = !estimated && told.is_none();
    let cost = if nothing {
        // A picture or a sound costs something, though nobody says what.
        Some(Money::default()).filter(|_| !(begun && record.attempt > 0 && guess.paid))
    } else {
        record.cost_of(&usage)
    };
    // Of another service tier the ordinary price is known; where there is none at all, what was set aside has to do.
    let ordinary = || if nothing { Some(Money::default()) } else { record.price.as_ref()?.cost(&usage) };
    let charge = cost.or_else(ordinary).unwrap_or(if tokens.total() > 0 { guess.cost } else { Money::default() });
    Used { tokens, cost, charge, estimated }
}

/// The tokens that an upstream told of, if it did.
fn tokens(usage: &Usage) -> Option<Tokens> {
    usage.input.or(usage.output)?;
    let count = |count: Option<u64>| count.unwrap_or(0);
    Some(Tokens {
        input: count(usage.input),
        output: count(usage.output),
        cache_read: count(usage.cache_read),
        cache_write: count(usage.cache_write),
        reasoning: count(usage.reasoning),
        audio_input: count(usage.audio_input),
        audio_output: count(usage.audio_output),
    })
}
