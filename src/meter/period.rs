//! How long a budget or a quota lasts before it begins anew.

use crate::calendar::{date, days};

const DAY: u64 = 86_400_000;

/// The time after which what was spent counts no more. Written as litellm does: `30s`, `15m`, `24h`, `7d`, `2w`, `1mo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// Never: all that is ever spent counts.
    #[default]
    Forever,
    /// So many seconds, counted from the moment at which the limit was set up. 1 or more.
    Seconds(u64),
    /// So many months of the calendar, in UTC; each begins on a first day at midnight. 1 or more.
    Months(u32),
}

/// A stretch of time in which what is spent counts together, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment, which also names it.
    pub start: u64,
    /// The first moment of the next one; `None` where there is none.
    pub end: Option<u64>,
}

impl Period {
    /// Reads a period. `None` where it is none; [`Forever`](Self::Forever) has no spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(unit)?;
        let number: u64 = number.parse().ok().filter(|number| (1..=1_000_000_000).contains(number))?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "mo" => return Some(Self::Months(u32::try_from(number).ok().filter(|months| *months <= 1200)?)),
            _ => return None,
        };
        // A hundred years are enough, and keep all sums far from their ends.
        Some(Self::Seconds(number * seconds)).filter(|_| number * seconds <= 36_525 * 86_400)
    }

    /// The window that `now` is in. Windows of seconds are counted from `anchor`; both are Unix milliseconds.
    #[must_use]
    pub fn window(self, anchor: u64, now: u64) -> Window {
        match self {
            Self::Forever => Window { start: 0, end: None },
            Self::Seconds(seconds) => {
                let length = seconds.max(1) * 1000;
                // A clock that is behind the one that set it up is in the first window already.
                let start = now.max(anchor) - now.saturating_sub(anchor) % length;
                Window { start, end: Some(start.saturating_add(length)) }
            }
            Self::Months(months) => {
                let months = i64::from(months.max(1));
                let (year, month, _) = date(i64::try_from(now / DAY).unwrap_or(0));
                let first = (year * 12 + month - 1).div_euclid(months) * months;
                Window { start: first_of(first), end: Some(first_of(first + months)) }
            }
        }
    }
}

/// The first moment of a month, counted from the year 0.
fn first_of(month: i64) -> u64 {
    let days = days(month.div_euclid(12), month.rem_euclid(12) + 1, 1);
    u64::try_from(days).unwrap_or(0).saturating_mul(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T01:00:00Z.
    const NOW: u64 = 1_795_222_800_000;

    #[test]
    fn periods_are_read() {
        for (text, want) in [
            ("30s", Period::Seconds(30)),
            ("15m", Period::Seconds(900)),
            ("24h", Period::Seconds(86_400)),
            ("30d", Period::Seconds(30 * 86_400)),
            ("2w", Period::Seconds(14 * 86_400)),
            ("1mo", Period::Months(1)),
        ] {
            assert_eq!(Period::parse(text), Some(want), "{text}");
        }
        for bad in ["", "d", "0d", "-1d", "1.5h", "1y", "30", "1 d", "99999999999d", "40000d", "1201mo", "１d"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_window_is_found_for_every_moment() {
        assert_eq!(Period::Forever.window(5, NOW), Window { start: 0, end: None });
        let hour = Period::Seconds(3600).window(NOW - 5 * 3_600_000 - 7, NOW);
        assert_eq!(hour, Window { start: NOW - 7, end: Some(NOW - 7 + 3_600_000) });
        // A clock that is behind the one that set it up.
        assert_eq!(Period::Seconds(3600).window(NOW + 9, NOW).start, NOW + 9);
        let month = Period::Months(1).window(0, NOW);
        assert_eq!(month, Window { start: 1_793_491_200_000, end: Some(1_796_083_200_000) });
        let year_end = Period::Months(3).window(0, NOW);
        assert_eq!(year_end.end, Some(u64::try_from(days(2027, 1, 1)).unwrap() * DAY));
    }
}
