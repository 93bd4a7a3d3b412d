//! Decimal numbers, exact: what stands in JSON never becomes a floating-point number.

use crate::meter::Money;

/// Decimals that are kept.
const DECIMALS: i64 = 12;

/// Why a number is none that can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Negative,
    /// More than 12 decimals.
    Fine,
    Large,
}

/// A JSON number in units of 1e-12.
pub(super) fn units(text: &str) -> Result<u64, Bad> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(Bad::Negative);
    }
    // An exponent that does not fit is far from all that can be kept.
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    let far = if exponent.starts_with('-') { i64::from(i32::MIN) } else { i64::from(i32::MAX) };
    let exponent = exponent.parse::<i32>().map_or(far, i64::from);
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let zeros = length(&digits) - length(digits.trim_end_matches('0'));
    let shift = exponent - length(fraction) + zeros + DECIMALS;
    if shift < 0 {
        return Err(Bad::Fine);
    }
    if length(significant) + shift > 20 {
        return Err(Bad::Large);
    }
    let power = 10_u128.checked_pow(u32::try_from(shift).map_err(|_| Bad::Large)?).ok_or(Bad::Large)?;
    let number: u128 = significant.parse().map_err(|_| Bad::Large)?;
    u64::try_from(number.saturating_mul(power)).map_err(|_| Bad::Large)
}

/// A JSON number that is a whole one.
pub(super) fn whole(text: &str) -> Result<u64, Bad> {
    // Counts may be larger than what fits in units of 1e-12.
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    if !text.contains(['.', 'e', 'E']) {
        return if text == "-0" { Ok(0) } else { Err(if text.starts_with('-') { Bad::Negative } else { Bad::Large }) };
    }
    let units = units(text)?;
    if units.is_multiple_of(Money::DOLLAR) { Ok(units / Money::DOLLAR) } else { Err(Bad::Fine) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, want) in [
            ("0", Ok(0)),
            ("-0.0", Ok(0)),
            ("0e999999999999", Ok(0)),
            ("10", Ok(10 * Money::DOLLAR)),
            ("0.1", Ok(Money::DOLLAR / 10)),
            ("1e-12", Ok(1)),
            ("2.5E-6", Ok(2_500_000)),
            ("0.000000000001", Ok(1)),
            ("1.10000000000000000000000000000000", Ok(1_100_000_000_000)),
            ("18446744.073709551615", Ok(u64::MAX)),
            ("1e7", Ok(10_000_000 * Money::DOLLAR)),
            ("100000e2", Ok(10_000_000 * Money::DOLLAR)),
            ("18446744.073709551616", Err(Bad::Large)),
            ("1e8", Err(Bad::Large)),
            ("1e999999999999", Err(Bad::Large)),
            ("99999999999999999999999999999999999999999", Err(Bad::Large)),
            ("1e-13", Err(Bad::Fine)),
            ("1e-999999999999", Err(Bad::Fine)),
            ("0.1234567890123", Err(Bad::Fine)),
            ("-1", Err(Bad::Negative)),
            ("-1e400", Err(Bad::Negative)),
        ] {
            assert_eq!(units(text), want, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_whole() {
        for (text, want) in [
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(Bad::Large)),
            ("10.0", Ok(10)),
            ("1e3", Ok(1000)),
            ("-0", Ok(0)),
            ("1.5", Err(Bad::Fine)),
            ("-3", Err(Bad::Negative)),
            ("-3.0", Err(Bad::Negative)),
            ("1e30", Err(Bad::Large)),
        ] {
            assert_eq!(whole(text), want, "{text}");
        }
    }
}
