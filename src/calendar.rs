//! Dates, and the clock on the wall of some place. Pure: the time is an argument.
//!
//! Of each zone of IANA's database only the rule in force is kept, as a POSIX `TZ` string: a clock that shows now needs no more.
//! That is 11 KB in place of 200, and a host need not have the database, as Lambda's may not. A rule that a country
//! changes later can be written in place of the zone's name.
//!
//! ```
//! use feathergate::calendar::Zone;
//! let berlin = Zone::find("Europe/Berlin").unwrap();
//! assert_eq!(berlin.at(1_795_219_200_000).to_string(), "2026-11-21T01:00:00+01:00");
//! ```

use std::fmt;

use crate::route::nearest;

/// Rules, each followed by the names of the zones that live by it, in lines that begin with a space.
const ZONES: &str = include_str!("calendar/zones.txt");

const DAY: i64 = 86_400;

/// The days since 1970-01-01 of a date of the Gregorian calendar. The month is from 1.
#[must_use]
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    // This and the next: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The year, the month and the day of a day since 1970-01-01.
#[must_use]
pub fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// What the clock on the wall shows. Displayed as RFC 3339, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The year.
    pub year: i64,
    /// The month, from 1.
    pub month: i64,
    /// The day of the month, from 1.
    pub day: i64,
    /// The day of the week in English.
    pub weekday: &'static str,
    /// The hour, from 0.
    pub hour: i64,
    /// The minute.
    pub minute: i64,
    /// The second.
    pub second: i64,
    /// By how many seconds it is ahead of UTC.
    pub offset: i64,
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, offset, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let sign = if *offset < 0 { '-' } else { '+' };
        let minutes = offset.abs() / 60;
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds ahead of UTC.
    standard: i64,
    summer: Option<Summer>,
}

/// When the clock shows another time. It need not be later than standard time: Ireland's is the winter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    from: Change,
    until: Change,
}

/// A change of the clock: at `time` seconds of the `week`th `weekday` (0 is Sunday) of `month`; week 5 is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    month: i64,
    week: i64,
    weekday: i64,
    time: i64,
}

impl Change {
    /// The seconds since 1970 that the clock shows at the change.
    fn shown(&self, year: i64) -> i64 {
        let first = days(year, self.month, 1);
        let mut day = first + (self.weekday - weekday(first)).rem_euclid(7) + (self.week - 1) * 7;
        let next = if self.month == 12 { days(year + 1, 1, 1) } else { days(year, self.month + 1, 1) };
        if day >= next {
            day -= 7;
        }
        day * DAY + self.time
    }
}

/// From 0, which is Sunday. 1970 began on a Thursday.
fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

impl Zone {
    /// Without summer time.
    pub const UTC: Self = Self { standard: 0, summer: None };

    /// The zone that `text` means: IANA's name for it, in any case; `UTC` or an offset such as `+02:00`; or a POSIX rule such as
    /// `CET-1CEST,M3.5.0,M10.5.0/3`.
    ///
    /// # Errors
    /// A sentence on what it must be, with a name that may be meant.
    pub fn find(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let found = named(text).or_else(|| offset(text)).or_else(|| text.contains(',').then(|| posix(text)).flatten());
        found.ok_or_else(|| {
            let place = |name: &&str| name.rsplit('/').next().is_some_and(|place| place.eq_ignore_ascii_case(text));
            let near = names().map(|(_, name)| name).find(place);
            let near = near.or_else(|| nearest(text, names().map(|(_, name)| name)));
            let did_you_mean = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!(
                "must be a time zone: a name such as `Europe/Berlin`, `UTC`, an offset such as `+02:00`, or a POSIX rule such \
                 as `CET-1CEST,M3.5.0,M10.5.0/3`{did_you_mean}"
            )
        })
    }

    /// What its clocks show.
    #[must_use]
    pub fn at(&self, unix_millis: u64) -> Local {
        let now = i64::try_from(unix_millis / 1000).unwrap_or(0);
        let offset = self.offset(now);
        let local = now + offset;
        let (day, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let weekday = match weekday(day) {
            0 => "Sunday",
            1 => "Monday",
            2 => "Tuesday",
            3 => "Wednesday",
            4 => "Thursday",
            5 => "Friday",
            _ => "Saturday",
        };
        let (year, month, day) = date(day);
        Local { year, month, day, weekday, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60, offset }
    }

    fn offset(&self, now: i64) -> i64 {
        let Some(summer) = &self.summer else { return self.standard };
        let (year, ..) = date((now + self.standard).div_euclid(DAY));
        let from = summer.from.shown(year) - self.standard;
        let until = summer.until.shown(year) - summer.offset;
        // In the south summer spans the turn of the year.
        let in_summer = if from < until { from <= now && now < until } else { !(until <= now && now < from) };
        if in_summer { summer.offset } else { self.standard }
    }
}

/// Every zone as its rule and its name.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut rule = "";
    ZONES.lines().filter(|line| !line.starts_with('#')).flat_map(move |line| {
        if !line.starts_with(' ') {
            rule = line;
        }
        let names = line.strip_prefix(' ').unwrap_or_default();
        names.split(' ').filter(|name| !name.is_empty()).map(move |name| (rule, name))
    })
}

fn named(text: &str) -> Option<Zone> {
    let (rule, _) = names().find(|(_, name)| name.eq_ignore_ascii_case(text))?;
    posix(rule)
}

/// `+02:00`, `-0330`, `+2`, `Z`.
fn offset(text: &str) -> Option<Zone> {
    if text == "Z" {
        return Some(Zone::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let standard = sign * (number(hours, 0, 14)? * 3600 + number(minutes, 0, 59)? * 60);
    Some(Zone { standard, summer: None })
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let short = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|_| short)?;
    (least..=most).contains(&number).then_some(number)
}

/// A POSIX `TZ` string with changes in the form `Mm.w.d`, the only one that the database uses.
fn posix(text: &str) -> Option<Zone> {
    let (standard, rest) = seconds(abbreviation(text)?)?;
    // POSIX counts westwards.
    let standard = -standard;
    if rest.is_empty() {
        return Some(Zone { standard, summer: None });
    }
    let rest = abbreviation(rest)?;
    let (offset, rest) = match seconds(rest) {
        Some((west, rest)) => (-west, rest),
        None => (standard + 3600, rest),
    };
    let (from, until) = rest.strip_prefix(',')?.split_once(',')?;
    Some(Zone { standard, summer: Some(Summer { offset, from: change(from)?, until: change(until)? }) })
}

/// What follows the name of a time: `CET` or `<+01>`.
fn abbreviation(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.get(end..).filter(|_| end >= 3)
}

/// `-1`, `3:30` or `26` as seconds, and what follows.
fn seconds(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let mut total = 0;
    let mut unit = 3600;
    for part in digits.split(':') {
        total += number(part, 0, if unit == 3600 { 167 } else { 59 })? * unit;
        unit /= 60;
    }
    Some((sign * total, rest))
}

/// `M10.5.0/3`.
fn change(text: &str) -> Option<Change> {
    let (day, time) = match text.strip_prefix('M')?.split_once('/') {
        Some((day, time)) => (day, seconds(time).filter(|(_, rest)| rest.is_empty())?.0),
        None => (text.strip_prefix('M')?, 7200),
    };
    let (month, day) = day.split_once('.')?;
    let (week, weekday) = day.split_once('.')?;
    Some(Change { month: number(month, 1, 12)?, week: number(week, 1, 5)?, weekday: number(weekday, 0, 6)?, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        for (number, day) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_778, (2026, 11, 21)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!((date(number), days(day.0, day.1, day.2)), (day, number));
        }
        for number in -1000..200_000 {
            let (year, month, day) = date(number);
            assert_eq!(days(year, month, day), number);
        }
    }

    /// The seconds before and at each change of 2027, by Python's `zoneinfo` over the whole database.
    #[test]
    fn clocks_change_when_they_should() {
        for (name, at, before, after) in [
            ("Europe/Berlin", 1_806_195_600, "2027-03-28T01:59:59+01:00", "2027-03-28T03:00:00+02:00"),
            ("Europe/Berlin", 1_824_944_400, "2027-10-31T02:59:59+02:00", "2027-10-31T02:00:00+01:00"),
            ("America/New_York", 1_805_007_600, "2027-03-14T01:59:59-05:00", "2027-03-14T03:00:00-04:00"),
            ("America/New_York", 1_825_567_200, "2027-11-07T01:59:59-04:00", "2027-11-07T01:00:00-05:00"),
            ("Europe/Dublin", 1_806_195_600, "2027-03-28T00:59:59+00:00", "2027-03-28T02:00:00+01:00"),
            ("Europe/Dublin", 1_824_944_400, "2027-10-31T01:59:59+01:00", "2027-10-31T01:00:00+00:00"),
            ("Australia/Lord_Howe", 1_806_764_400, "2027-04-04T01:59:59+11:00", "2027-04-04T01:30:00+10:30"),
            ("Australia/Lord_Howe", 1_822_491_000, "2027-10-03T01:59:59+10:30", "2027-10-03T02:30:00+11:00"),
            ("America/St_Johns", 1_805_002_200, "2027-03-14T01:59:59-03:30", "2027-03-14T03:00:00-02:30"),
            ("America/St_Johns", 1_825_561_800, "2027-11-07T01:59:59-02:30", "2027-11-07T01:00:00-03:30"),
            ("Asia/Kolkata", 1_814_400_000, "2027-07-01T05:29:59+05:30", "2027-07-01T05:30:00+05:30"),
            ("America/Santiago", 1_806_807_600, "2027-04-03T23:59:59-03:00", "2027-04-03T23:00:00-04:00"),
            ("America/Santiago", 1_820_116_800, "2027-09-04T23:59:59-04:00", "2027-09-05T01:00:00-03:00"),
            ("Africa/Cairo", 1_809_036_000, "2027-04-29T23:59:59+02:00", "2027-04-30T01:00:00+03:00"),
            ("Africa/Cairo", 1_824_757_200, "2027-10-28T23:59:59+03:00", "2027-10-28T23:00:00+02:00"),
            ("America/Nuuk", 1_806_195_600, "2027-03-27T22:59:59-02:00", "2027-03-28T00:00:00-01:00"),
            ("America/Nuuk", 1_824_944_400, "2027-10-30T23:59:59-01:00", "2027-10-30T23:00:00-02:00"),
            ("Antarctica/Troll", 1_806_195_600, "2027-03-28T00:59:59+00:00", "2027-03-28T03:00:00+02:00"),
            ("Antarctica/Troll", 1_824_944_400, "2027-10-31T02:59:59+02:00", "2027-10-31T01:00:00+00:00"),
            ("Pacific/Chatham", 1_806_760_800, "2027-04-04T03:44:59+13:45", "2027-04-04T02:45:00+12:45"),
            ("Pacific/Chatham", 1_821_880_800, "2027-09-26T02:44:59+12:45", "2027-09-26T03:45:00+13:45"),
            ("Etc/GMT+12", 1_814_400_000, "2027-06-30T11:59:59-12:00", "2027-06-30T12:00:00-12:00"),
        ] {
            let zone = Zone::find(name).unwrap();
            assert_eq!(zone.at((at - 1) * 1000 + 999).to_string(), before, "{name}");
            assert_eq!(zone.at(at * 1000).to_string(), after, "{name}");
        }
    }

    #[test]
    fn every_rule_of_the_table_is_read() {
        let mut count = 0;
        for (rule, name) in names() {
            let zone = posix(rule).unwrap_or_else(|| panic!("{name}: {rule}"));
            assert!((-12..=14).contains(&(zone.standard / 3600)), "{name}");
            assert_eq!(zone.summer.is_some(), rule.contains(','), "{name}");
            count += 1;
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn zones_are_named_shifted_or_ruled() {
        let noon = 1_782_907_200_000; // 2026-07-01T12:00:00Z
        for (text, want) in [
            ("UTC", "2026-07-01T12:00:00+00:00"),
            (" europe/berlin ", "2026-07-01T14:00:00+02:00"),
            ("Z", "2026-07-01T12:00:00+00:00"),
            ("+2", "2026-07-01T14:00:00+02:00"),
            ("+02:00", "2026-07-01T14:00:00+02:00"),
            ("-0330", "2026-07-01T08:30:00-03:30"),
            ("-14", "2026-06-30T22:00:00-14:00"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01T14:00:00+02:00"),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-07-01T11:00:00-01:00"),
        ] {
            let zone = Zone::find(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(zone.at(noon).to_string(), want, "{text}");
        }
        for (text, near) in [
            ("Europe/Berlim", "did you mean `Europe/Berlin`?"),
            ("kolkata", "did you mean `Asia/Kolkata`?"),
            ("", "M10.5.0/3`"),
            ("+15", "M10.5.0/3`"),
            ("+2:5", "M10.5.0/3`"),
            ("+", "M10.5.0/3`"),
            ("é2", "M10.5.0/3`"),
            ("CET-1", "M10.5.0/3`"),
            ("CET-1CEST,M3.5.0", "M10.5.0/3`"),
            ("CET-1CEST,M13.5.0,M10.5.0/3", "M10.5.0/3`"),
            ("CET-1CEST,M3.5.0,M10.5.0/3x", "M10.5.0/3`"),
            ("CET-1CEST,J60,J300", "M10.5.0/3`"),
            ("CET-999999999999999999CEST,M3.5.0,M10.5.0", "M10.5.0/3`"),
        ] {
            let why = Zone::find(text).unwrap_err();
            assert!(why.ends_with(near), "{text}: {why}");
        }
        assert_eq!(Zone::default().at(0).weekday, "Thursday");
        assert_eq!(Zone::find("-12").unwrap().at(0).to_string(), "1969-12-31T12:00:00-12:00");
        assert_eq!(Zone::default().at(u64::MAX).offset, 0, "no time is too late");
    }
}
