//! An amount of dollars.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// US dollars in units of 1e-12, which make the price of a token and all sums of it whole. At most 18 million dollars: sums
/// stop there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub u64);

impl Money {
    /// One dollar.
    pub const DOLLAR: u64 = 1_000_000_000_000;

    /// An amount that somebody wrote down in dollars: 0 to ten million, rounded to the unit.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 1e19")]
        (0.0..=1e7).contains(&dollars).then(|| Self((dollars * 1e12).round() as u64))
    }

    /// Dollars, for who takes floating-point numbers only.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "that is what is asked for")]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / Self::DOLLAR as f64
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Dollars, exact, as a decimal number without zeros at its end and without an exponent.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, rest) = (self.0 / Self::DOLLAR, self.0 % Self::DOLLAR);
        if rest == 0 {
            return write!(formatter, "{dollars}");
        }
        let digits = format!("{rest:012}");
        write!(formatter, "{dollars}.{}", digits.trim_end_matches('0'))
    }
}

/// A JSON number, exact. Only for `serde_json`.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// Writes the units: for `#[serde(serialize_with)]`, for what is stored.
pub fn whole<S: Serializer>(amount: &Money, serializer: S) -> Result<S::Ok, S::Error> {
    amount.0.serialize(serializer)
}

/// Reads them: for `#[serde(deserialize_with)]`.
pub fn from_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    u64::deserialize(deserializer).map(Money)
}

/// The same of what may be missing: for `#[serde(with = "units")]`: the whole number of units, for what is stored.
pub mod units {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Money;

    /// Writes the units.
    pub fn serialize<S: Serializer>(amount: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
        amount.map(|amount| amount.0).serialize(serializer)
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Money))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_written_exactly() {
        for (amount, want) in [
            (0, "0"),
            (1, "0.000000000001"),
            (30_500_000, "0.0000305"),
            (Money::DOLLAR, "1"),
            (12 * Money::DOLLAR + 340_000_000_000, "12.34"),
            (u64::MAX, "18446744.073709551615"),
        ] {
            assert_eq!(Money(amount).to_string(), want);
            assert_eq!(serde_json::to_string(&Some(Money(amount))).unwrap(), want);
        }
        assert_eq!(Money(u64::MAX).plus(Money(1)), Money(u64::MAX));
        assert_eq!(Money(2).plus(Money(3)), Money(5));
    }
}
