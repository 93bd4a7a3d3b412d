//! The two clocks. No other file reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::Instant;

use crate::calendar;

/// A length of time in whole milliseconds.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn unix_millis() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// The monotonic clock. Paused in tests.
#[must_use]
pub fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = Instant::now();
    now
}

/// `millis` as RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(millis: u64) -> String {
    let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = calendar::date(i64::try_from(days).unwrap_or_default());
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let mut text = String::with_capacity(24);
    for (value, count, after) in [
        (number(year), 4, '-'),
        (number(month), 2, '-'),
        (number(day), 2, 'T'),
        (rest / 3_600_000, 2, ':'),
        (rest / 60_000 % 60, 2, ':'),
        (rest / 1000 % 60, 2, '.'),
        (rest % 1000, 3, 'Z'),
    ] {
        push_digits(&mut text, value, count);
        text.push(after);
    }
    text
}

/// The last `count` digits of `number`: every line has a time, and `format!` takes ten times as long.
pub(crate) fn push_digits(text: &mut String, number: u64, count: u32) {
    for place in (0..count).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        text.extend(u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 10)));
    }
}

/// The Unix milliseconds of an RFC 3339 date and time after 1970.
#[must_use]
pub fn unix_of_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let end = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(end)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let sane = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |digit| u64::from(digit - b'0'));
    let milli = digit(0) * 100 + digit(1) * 10 + digit(2);
    let days = u64::try_from(calendar::days(year, month, day)).ok()?;
    let millis = days * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + milli;
    let offset = match zone.split_once(':') {
        None => return matches!(zone, "Z" | "z").then_some(millis),
        Some((hours, minutes)) => hours.get(1..)?.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?,
    };
    let offset = offset.checked_mul(60_000)?;
    if zone.starts_with('+') { millis.checked_sub(offset) } else { millis.checked_add(offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_219_200_123, "2026-11-21T00:00:00.123Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc3339(millis), text);
            assert_eq!(unix_of_rfc3339(text), Some(millis));
        }
        let same = ["2000-02-29T00:00:00Z", "2000-02-29t01:30:00+01:30", "2000-02-28 23:00:00.0000001-01:00"];
        assert_eq!(same.map(unix_of_rfc3339), [Some(951_782_400_000); 3]);
        for bad in
            ["", "2000-02-29", "2000-02-29T00:00:00", "2000-13-01T00:00:00Z", "1969-12-31T00:00:00Z", "x-1-1T0:0:0Z"]
        {
            assert_eq!(unix_of_rfc3339(bad), None, "{bad}");
        }
    }
}
