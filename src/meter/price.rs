//! The prices of a model, and what a request's tokens come to.

use super::Money;
use crate::wire::Usage;

/// A kind of token that can have a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Input that the prompt cache had nothing to do with.
    Input,
    /// Output.
    Output,
    /// Input read from the prompt cache.
    CacheRead,
    /// Input written to the prompt cache, for five minutes or as long as the upstream likes.
    CacheWrite,
    /// Input written to the prompt cache for an hour.
    CacheWriteHour,
    /// Output that was reasoning.
    Reasoning,
    /// Input that was audio.
    AudioInput,
    /// Output that was audio.
    AudioOutput,
}

impl Kind {
    /// Every kind, in the order of the embedded table's columns.
    pub const ALL: [Self; 8] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWriteHour,
        Self::Reasoning,
        Self::AudioInput,
        Self::AudioOutput,
    ];

    /// litellm's name for the price of a token of this kind.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Input => "input_cost_per_token",
            Self::Output => "output_cost_per_token",
            Self::CacheRead => "cache_read_input_token_cost",
            Self::CacheWrite => "cache_creation_input_token_cost",
            Self::CacheWriteHour => "cache_creation_input_token_cost_above_1hr",
            Self::Reasoning => "output_cost_per_reasoning_token",
            Self::AudioInput => "input_cost_per_audio_token",
            Self::AudioOutput => "output_cost_per_audio_token",
        }
    }

    /// Whether it is a kind of output; the others are kinds of input.
    fn is_output(self) -> bool {
        matches!(self, Self::Output | Self::Reasoning | Self::AudioOutput)
    }
}

/// What litellm's name of a price means: the kind, and the input tokens above which it holds, where it has such a bound
/// (`input_cost_per_token_above_200k_tokens`).
#[must_use]
pub fn key(name: &str) -> Option<(Kind, Option<u64>)> {
    let exact = |name: &str| Kind::ALL.into_iter().find(|kind| kind.key() == name);
    if let Some(kind) = exact(name) {
        return Some((kind, None));
    }
    let (start, above) = name.strip_suffix("_tokens")?.rsplit_once("_above_")?;
    let (number, unit) = above.strip_suffix('k').map_or((above, 1), |number| (number, 1000));
    let above = number.parse::<u64>().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((exact(start)?, Some(above.checked_mul(unit)?)))
}

/// Prices of a token of each kind, in 1e-12 dollars. `None` where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// See [`Kind::Input`].
    pub input: Option<u64>,
    /// See [`Kind::Output`].
    pub output: Option<u64>,
    /// See [`Kind::CacheRead`]; else that of input, since who has no price for the cache takes the same.
    pub cache_read: Option<u64>,
    /// See [`Kind::CacheWrite`]; else that of input.
    pub cache_write: Option<u64>,
    /// See [`Kind::CacheWriteHour`]; else that of any writing.
    pub cache_write_hour: Option<u64>,
    /// See [`Kind::Reasoning`]; else that of output.
    pub reasoning: Option<u64>,
    /// See [`Kind::AudioInput`]; else that of input.
    pub audio_input: Option<u64>,
    /// See [`Kind::AudioOutput`]; else that of output.
    pub audio_output: Option<u64>,
}

impl Rates {
    /// The price of a kind.
    pub fn slot(&mut self, kind: Kind) -> &mut Option<u64> {
        match kind {
            Kind::Input => &mut self.input,
            Kind::Output => &mut self.output,
            Kind::CacheRead => &mut self.cache_read,
            Kind::CacheWrite => &mut self.cache_write,
            Kind::CacheWriteHour => &mut self.cache_write_hour,
            Kind::Reasoning => &mut self.reasoning,
            Kind::AudioInput => &mut self.audio_input,
            Kind::AudioOutput => &mut self.audio_output,
        }
    }

    /// These, where they are known, else those of `below`.
    fn over(mut self, mut below: Self) -> Self {
        for kind in Kind::ALL {
            let slot = self.slot(kind);
            *slot = slot.or(*below.slot(kind));
        }
        self
    }

    /// Without the kinds of a side whose general price is replaced.
    fn without(mut self, [input, output]: [bool; 2]) -> Self {
        for kind in Kind::ALL {
            if if kind.is_output() { output } else { input } {
                *self.slot(kind) = None;
            }
        }
        self
    }
}

/// Other prices for a request with a long prompt. They hold for all of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// They hold above this number of input tokens, those of the cache among them.
    pub above: u64,
    /// The prices; the others stay as they are.
    pub rates: Rates,
}

/// What the tokens of a model cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// For all requests.
    pub base: Rates,
    /// For those with long prompts: the lowest bound first, each once.
    tiers: Vec<Tier>,
}

impl Price {
    /// Sets a price, in 1e-12 dollars for a token, for all requests or for those above a number of input tokens.
    pub fn set(&mut self, (kind, above): (Kind, Option<u64>), rate: u64) {
        let rates = match above {
            None => &mut self.base,
            Some(above) => self.tier(above),
        };
        *rates.slot(kind) = Some(rate);
    }

    fn tier(&mut self, above: u64) -> &mut Rates {
        let place = self.tiers.partition_point(|tier| tier.above < above);
        if self.tiers.get(place).is_none_or(|tier| tier.above != above) {
            self.tiers.insert(place, Tier { above, rates: Rates::default() });
        }
        // It is there by now; where it ends nothing is lost but a tier.
        match self.tiers.get_mut(place) {
            Some(tier) => &mut tier.rates,
            None => &mut self.base,
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// What somebody says, over what is known anyway. Whoever says the price of input says all of it: what else is known of
    /// input (its cache, its audio, its long prompts) belongs to another price, and counts no more. The same holds of output.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let replaced = [self.base.input.is_some(), self.base.output.is_some()];
        let mut whole = Self { base: self.base.over(below.base.without(replaced)), tiers: Vec::new() };
        for tier in &below.tiers {
            let rates = tier.rates.without(replaced);
            if rates != Rates::default() {
                *whole.tier(tier.above) = rates;
            }
        }
        for tier in &self.tiers {
            let rates = whole.tier(tier.above);
            *rates = tier.rates.over(*rates);
        }
        whole
    }

    /// The price of an input and an output token together, for a choice between deployments, in 1e-12 dollars.
    #[must_use]
    pub fn of_a_pair(&self) -> Option<u64> {
        Some(self.base.input?.saturating_add(self.base.output?))
    }

    /// What the prices are for so many input tokens.
    fn rates(&self, prompt: u64) -> Rates {
        let holding = self.tiers.iter().filter(|tier| prompt > tier.above);
        holding.fold(self.base, |below, tier| tier.rates.over(below))
    }

    /// What `usage` comes to. Nothing is rounded but the prices themselves, to 1e-12 dollars for a token.
    ///
    /// `None` where the input was not counted, or where there are tokens of a kind without a known price. Output that was not
    /// counted is none: embeddings have none.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<Money> {
        if self.is_unknown() {
            return None;
        }
        let input = usage.input?;
        let output = usage.output.unwrap_or(0);
        let (read, written) = (usage.cache_read.unwrap_or(0), usage.cache_write.unwrap_or(0));
        let hour = usage.cache_write_hour.unwrap_or(0).min(written);
        let audio_input = usage.audio_input.unwrap_or(0).min(input);
        let reasoning = usage.reasoning.unwrap_or(0).min(output);
        let audio_output = usage.audio_output.unwrap_or(0).min(output - reasoning);
        let rates = self.rates(input.saturating_add(read).saturating_add(written));
        let write = rates.cache_write.or(rates.input);
        let parts = [
            (input - audio_input, rates.input),
            (audio_input, rates.audio_input.or(rates.input)),
            (read, rates.cache_read.or(rates.input)),
            (written - hour, write),
            (hour, rates.cache_write_hour.or(write)),
            (output - reasoning - audio_output, rates.output),
            (reasoning, rates.reasoning.or(rates.output)),
            (audio_output, rates.audio_output.or(rates.output)),
        ];
        let mut sum = 0_u128;
        for (tokens, rate) in parts {
            if tokens > 0 {
                sum = sum.saturating_add(u128::from(tokens) * u128::from(rate?));
            }
        }
        Some(Money(u64::try_from(sum).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prices that tell every kind apart, with two tiers.
    fn price() -> Price {
        let mut price = Price::default();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            price.set((kind, None), 10_u64.pow(u32::try_from(place).unwrap()));
        }
        price.set((Kind::Input, Some(200)), 3);
        price.set((Kind::Output, Some(200)), 70);
        price.set((Kind::Input, Some(100)), 2);
        price
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let none = tokens(0, 0);
        for (usage, want) in [
            (none, 0),
            (tokens(3, 0), 3),
            (tokens(0, 3), 30),
            (Usage { cache_read: Some(3), ..none }, 300),
            (Usage { cache_write: Some(3), ..none }, 3_000),
            (Usage { cache_write: Some(3), cache_write_hour: Some(1), ..none }, 12_000),
            (Usage { reasoning: Some(3), ..tokens(0, 3) }, 300_000),
            (Usage { reasoning: Some(1), ..tokens(0, 3) }, 100_020),
            (Usage { audio_input: Some(3), ..tokens(4, 0) }, 3_000_001),
            (Usage { audio_output: Some(3), ..tokens(0, 4) }, 30_000_010),
            // A part is never more than the whole.
            (Usage { reasoning: Some(9), audio_output: Some(9), ..tokens(0, 1) }, 100_000),
            (Usage { audio_input: Some(9), ..tokens(1, 0) }, 1_000_000),
            (Usage { cache_write_hour: Some(9), cache_write: Some(1), ..none }, 10_000),
            (Usage { cache_write_hour: Some(9), ..none }, 0),
        ] {
            assert_eq!(price().cost(&usage), Some(Money(want)), "{usage:?}");
        }
    }

    #[test]
    fn long_prompts_have_other_prices_above_their_bound() {
        for (usage, want) in [
            (tokens(100, 1), 110),
            (tokens(101, 1), 212),
            (tokens(200, 1), 410),
            (tokens(201, 1), 673),
            // What the cache had to do with counts for the length.
            (Usage { cache_read: Some(100), ..tokens(1, 0) }, 10_002),
            (Usage { cache_write: Some(50), cache_read: Some(50), ..tokens(0, 0) }, 55_000),
            (Usage { cache_write: Some(51), cache_read: Some(50), ..tokens(1, 0) }, 56_002),
        ] {
            assert_eq!(price().cost(&usage), Some(Money(want)), "{usage:?}");
        }
    }

    #[test]
    fn what_has_no_price_of_its_own_has_the_general_one() {
        let mut plain = Price::default();
        plain.set((Kind::Input, None), 2);
        plain.set((Kind::Output, None), 7);
        let usage = Usage {
            cache_read: Some(1),
            cache_write: Some(4),
            cache_write_hour: Some(2),
            reasoning: Some(1),
            audio_input: Some(1),
            audio_output: Some(1),
            ..tokens(5, 3)
        };
        assert_eq!(plain.cost(&usage), Some(Money(2 * 10 + 7 * 3)));
        plain.set((Kind::CacheWrite, None), 3);
        assert_eq!(plain.cost(&usage), Some(Money(2 * 6 + 3 * 4 + 7 * 3)));
    }

    #[test]
    fn what_is_unknown_is_never_0() {
        assert_eq!(Price::default().cost(&tokens(0, 0)), None);
        let mut price = Price::default();
        price.set((Kind::Input, None), 2);
        assert_eq!(price.cost(&tokens(3, 1)), None);
        assert_eq!(price.cost(&Usage { input: Some(3), ..Usage::default() }), Some(Money(6)));
        assert_eq!(price.cost(&Usage { output: Some(0), ..Usage::default() }), None);
        assert_eq!(price.cost(&Usage::default()), None);
        let mut free = Price::default();
        free.set((Kind::Input, None), 0);
        free.set((Kind::Output, None), 0);
        assert_eq!(free.cost(&tokens(3, 1)), Some(Money(0)));
    }

    #[test]
    fn the_largest_counts_stop_at_the_largest_amount() {
        let mut price = Price::default();
        price.set((Kind::Input, None), u64::MAX);
        price.set((Kind::Output, None), u64::MAX);
        let most = Some(u64::MAX);
        let usage = Usage { cache_read: most, cache_write: most, ..tokens(u64::MAX, u64::MAX) };
        assert_eq!(price.cost(&usage), Some(Money(u64::MAX)));
        assert_eq!(price.of_a_pair(), most);
    }

    #[test]
    fn what_is_said_stands_over_what_is_listed() {
        let said = |keys: &[(&str, u64)]| {
            let mut said = Price::default();
            for (name, rate) in keys {
                said.set(key(name).unwrap(), *rate);
            }
            said
        };
        let listed = price();
        assert_eq!(Price::default().over(&listed), listed);
        let cache = said(&[("cache_read_input_token_cost", 5)]).over(&listed);
        assert_eq!((cache.base, cache.tiers.len()), (Rates { cache_read: Some(5), ..listed.base }, 2));
        // A price of input leaves nothing of the listed input, and all of the listed output.
        let input = said(&[("input_cost_per_token", 5), ("input_cost_per_token_above_128k_tokens", 6)]).over(&listed);
        let Rates { output, reasoning, audio_output, .. } = listed.base;
        assert_eq!(input.base, Rates { input: Some(5), output, reasoning, audio_output, ..Rates::default() });
        let tiers: Vec<_> = input.tiers.iter().map(|tier| (tier.above, tier.rates.input, tier.rates.output)).collect();
        assert_eq!(tiers, [(200, None, Some(70)), (128_000, Some(6), None)]);
        let long = said(&[("output_cost_per_token_above_200_tokens", 8)]).over(&listed);
        assert_eq!(long.cost(&tokens(201, 1)), Some(Money(603 + 8)));
    }

    #[test]
    fn keys_are_litellms() {
        for kind in Kind::ALL {
            assert_eq!(key(kind.key()), Some((kind, None)));
        }
        for (name, want) in [
            ("input_cost_per_token_above_128k_tokens", Some((Kind::Input, Some(128_000)))),
            (
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
                Some((Kind::CacheWriteHour, Some(200_000))),
            ),
            ("output_cost_per_token_above_500_tokens", Some((Kind::Output, Some(500)))),
            ("input_cost_per_token_above_128k_tokens_priority", None),
            ("input_cost_per_token_above_+1k_tokens", None),
            ("input_cost_per_token_above_99999999999999999k_tokens", None),
            ("input_cost_per_second", None),
            ("input_cost_per_token_", None),
        ] {
            assert_eq!(key(name), want, "{name}");
        }
    }
}
