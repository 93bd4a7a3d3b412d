//! What models cost: the embedded table, and the operator's own prices.
//!
//! The table is looked up in its text, line by line as tests/prices.py wrote it: nothing is unpacked and nothing is kept. One
//! look takes some microseconds, when a configuration is loaded and when a wildcard is filled.

use std::sync::Arc;

use memchr::memmem;
use serde_json::Value;

use super::{Kind, Price};
use crate::route::table::fits;

/// Dollars for a million tokens, vendor by vendor; source, date and licence stand at its top.
const TABLE: &str = include_str!("../../config/prices.json");

/// The table's price of a vendor's model, where it has one. Names are as the vendor's API takes them.
#[must_use]
pub fn listed(vendor: &str, model: &str) -> Option<Price> {
    // Fireworks' own models stand in the table by their last part.
    let model = model.strip_prefix("accounts/fireworks/models/").unwrap_or(model);
    find(vendor, model).or_else(|| {
        // `ft:gpt-4o-2024-08-06:my-org::id`: what is tuned costs the same for everybody.
        let mut parts = model.strip_prefix("ft:")?.splitn(2, ':');
        find(vendor, &format!("ft:{}", parts.next()?))
    })
}

fn find(vendor: &str, model: &str) -> Option<Price> {
    if model.is_empty() || [vendor, model].iter().any(|name| name.contains(['"', '\\', '\n'])) {
        return None;
    }
    let start = memmem::find(TABLE.as_bytes(), format!("\n\"{vendor}\": [\n").as_bytes())?;
    let section = TABLE.get(start + 1..)?;
    let section = section.get(..memmem::find(section.as_bytes(), b"\n]")?)?;
    let place = memmem::find(section.as_bytes(), format!(",\"{model}\"").as_bytes())?;
    let (before, after) = section.split_at_checked(place)?;
    let line = format!("{}{}", before.rsplit('\n').next()?, after.split('\n').next()?);
    read(line.trim_end_matches(','))
}

/// Reads a line: the prices, those above each bound, and names.
fn read(line: &str) -> Option<Price> {
    let Ok(Value::Array(parts)) = serde_json::from_str::<Value>(line) else { return None };
    let mut price = Price::default();
    for (place, part) in parts.iter().enumerate() {
        let Value::Array(numbers) = part else { break };
        let (above, rates) = if place == 0 { (None, numbers.as_slice()) } else { tier(numbers)? };
        for (kind, dollars) in Kind::ALL.into_iter().zip(rates) {
            if let Some(dollars) = dollars.as_f64() {
                price.set((kind, above), rate(dollars / 1e6)?);
            }
        }
    }
    Some(price).filter(|price| !price.is_unknown())
}

fn tier(numbers: &[Value]) -> Option<(Option<u64>, &[Value])> {
    let (above, rates) = numbers.split_first()?;
    Some((Some(above.as_u64()?), rates))
}

/// The dollars for one token as [`Rates`](super::Rates) have them, rounded to 1e-12. `None` below 0, above 1000, and for no
/// number.
#[must_use]
pub fn rate(dollars: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 1e15")]
    (0.0..=1000.0).contains(&dollars).then(|| (dollars * 1e12).round() as u64)
}

/// The operator's prices for models, whoever serves them here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// By `vendor/model` or `model`, each with `*` for any text: the first that fits holds.
    pub entries: Vec<(String, Price)>,
}

impl Book {
    /// The price of a vendor's model: what the operator says of it, over the table's.
    #[must_use]
    pub fn price(&self, vendor: &str, model: &str) -> Price {
        let whole = format!("{vendor}/{model}");
        let own = self.entries.iter().find(|(name, _)| fits(name, &whole) || fits(name, model));
        let listed = listed(vendor, model).unwrap_or_default();
        own.map_or_else(|| listed.clone(), |(_, own)| own.over(&listed))
    }
}

/// What is known of the price of one entry of the configuration, whatever its `*` is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pricing {
    /// What the entry says itself.
    pub said: Price,
    /// The model that it is in truth (`model_info.base_model`), for entries whose name says nothing.
    pub base_model: Option<String>,
    /// What the operator says of models.
    pub book: Arc<Book>,
}

impl Pricing {
    /// The price of the entry's model at its vendor.
    #[must_use]
    pub fn price(&self, vendor: &str, model: &str) -> Price {
        let known = match &self.base_model {
            None => self.book.price(vendor, model),
            Some(base) => {
                // Those that are named without a vendor are litellm's short names.
                let other = base.split_once('/');
                let names = [Some((vendor, base.as_str())), other, Some(("openai", base)), Some(("anthropic", base))];
                let prices = names.into_iter().flatten().map(|(vendor, model)| self.book.price(vendor, model));
                prices.into_iter().find(|price| !price.is_unknown()).unwrap_or_default()
            }
        };
        self.said.over(&known)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::meter::Money;
    use crate::wire::Usage;

    #[test]
    fn every_model_of_the_table_is_found_with_its_price() {
        let table: Value = serde_json::from_str(TABLE).unwrap();
        let mut count = 0;
        for (vendor, lines) in table.as_object().unwrap().iter().filter(|(_, lines)| lines.is_array()) {
            for line in lines.as_array().unwrap() {
                let want = read(&line.to_string()).unwrap();
                assert!(want.base.input > Some(0) && want.base.output.is_some(), "{line}");
                for name in line.as_array().unwrap().iter().filter_map(Value::as_str) {
                    assert_eq!(listed(vendor, name), Some(want.clone()), "{vendor} {name}");
                    count += 1;
                }
            }
        }
        assert!(count > 500, "{count}");
        let kinds = Kind::ALL.len();
        assert_eq!(table["columns"].as_str().unwrap().split(", ").count(), kinds);
        for field in ["source", "date", "licence"] {
            assert!(table[field].as_str().is_some_and(|text| text.len() >= 10), "{field}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for (vendor, model) in [
            ("openai", "nothing-of-that-name"),
            ("openai", ""),
            ("openai", "gpt-4o\",\"gpt-4o-2024-08-06"),
            ("openai", "claude-sonnet-4-5"),
            ("nobody", "gpt-4o"),
            ("date", "2026"),
            ("openai", "ft:nothing:org::id"),
        ] {
            assert_eq!(listed(vendor, model), None, "{vendor} {model}");
        }
        assert!(TABLE.len() < 60_000, "{}", TABLE.len());
    }

    #[test]
    fn prices_of_the_table_are_the_vendors() {
        // https://platform.claude.com/docs/en/about-claude/pricing and https://openai.com/api/pricing, November 2026.
        let sonnet = listed("anthropic", "claude-sonnet-4-5").unwrap().base;
        let read = [sonnet.input, sonnet.output, sonnet.cache_read, sonnet.cache_write, sonnet.cache_write_hour];
        assert_eq!(read, [3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000].map(Some));
        let gpt = listed("openai", "gpt-5.5").unwrap();
        let million = |input| Usage { input: Some(input), output: Some(1_000_000), ..Usage::default() };
        assert_eq!(gpt.cost(&million(272_000)), Some(Money(272_000 * 5_000_000 + 30 * Money::DOLLAR)));
        assert_eq!(gpt.cost(&million(272_001)), Some(Money(272_001 * 10_000_000 + 45 * Money::DOLLAR)));
        // xAI's bound belongs to the higher price.
        let grok = listed("xai", "grok-4.5").unwrap();
        let input = |input| Usage { input: Some(input), ..Usage::default() };
        assert_eq!(grok.cost(&input(199_999)), Some(Money(199_999 * 2_000_000)));
        assert_eq!(grok.cost(&input(200_000)), Some(Money(200_000 * 4_000_000)));
        let tuned = listed("openai", "ft:gpt-4o-2024-08-06:my-org::id");
        assert!(tuned.is_some() && tuned == listed("openai", "ft:gpt-4o-2024-08-06"));
        let own = listed("fireworks_ai", "accounts/fireworks/models/deepseek-v3");
        assert!(own.is_some() && own == listed("fireworks_ai", "deepseek-v3"));
    }

    #[test]
    fn the_operators_prices_come_first() {
        let priced = |rate| {
            let mut price = Price::default();
            price.set((Kind::Input, None), rate);
            price
        };
        let entries = [("gpt-4o", 1), ("openai/gpt-4*", 2), ("mine", 3)];
        let book = Book { entries: entries.map(|(name, rate)| (name.to_owned(), priced(rate))).to_vec() };
        for (vendor, model, want) in [
            ("openai", "gpt-4o", Some(1)),
            ("openrouter", "gpt-4o", Some(1)),
            ("openai", "gpt-4o-mini", Some(2)),
            ("openai", "mine", Some(3)),
            ("openai", "gpt-5.5", Some(5_000_000)),
            ("openai", "other", None),
        ] {
            assert_eq!(book.price(vendor, model).base.input, want, "{vendor} {model}");
        }
        assert_eq!(book.price("openai", "gpt-4o").base.output, Some(10_000_000));
    }

    #[test]
    fn a_base_model_stands_for_the_name() {
        for (base, want) in [
            (None, None),
            (Some("gpt-5.5"), Some(5_000_000)),
            (Some("claude-sonnet-4-5"), Some(3_000_000)),
            (Some("xai/grok-4.5"), Some(2_000_000)),
            (Some("nothing"), None),
        ] {
            let pricing = Pricing { base_model: base.map(str::to_owned), ..Pricing::default() };
            assert_eq!(pricing.price("openai_like", "mine").base.input, want, "{base:?}");
        }
    }

    #[test]
    fn rates_are_rounded_to_the_unit() {
        for (dollars, want) in [
            (0.0, Some(0)),
            (2.5e-6, Some(2_500_000)),
            (1.4e-12, Some(1)),
            (1.6e-12, Some(2)),
            (1000.0, Some(1_000_000_000_000_000)),
            (1000.1, None),
            (-1e-9, None),
            (f64::NAN, None),
        ] {
            assert_eq!(rate(dollars), want, "{dollars}");
        }
    }
}
