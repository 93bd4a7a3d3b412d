//! Rate-limit headers of an upstream's answer in the client's dialect. Between the two dialects the names differ, and so does
//! the form of `reset`: `OpenAI` says how long it takes (`6m0s`), Anthropic says when it is (RFC 3339).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::observe::clock;
use crate::wire::Wire;

/// What begins the names of each dialect (their API references, "rate limits", 2026-11).
const OPENAI: &str = "x-ratelimit-";
const ANTHROPIC: &str = "anthropic-ratelimit-";
/// Where both have a name for the same.
const KINDS: [&str; 2] = ["requests", "tokens"];
const VALUES: [&str; 3] = ["limit", "remaining", "reset"];
/// The most headers that are passed on: an upstream does not fill the client's head.
const MOST: usize = 24;

/// Puts the limits that `upstream` tells of into `out`. `now` is in Unix milliseconds.
pub(super) fn forward((from, upstream): (Wire, &HeaderMap), (to, out): (Wire, &mut HeaderMap), now: u64) {
    let prefix = match (from, to) {
        (Wire::OpenAiChat, Wire::OpenAiChat) => OPENAI,
        (Wire::AnthropicMessages, Wire::AnthropicMessages) => ANTHROPIC,
        (Wire::OpenAiChat | Wire::AnthropicMessages, _) => return convert(from, upstream, out, now),
        (Wire::Gemini, _) => return,
    };
    for (name, value) in upstream.iter().filter(|(name, _)| name.as_str().starts_with(prefix)).take(MOST) {
        out.insert(name, value.clone());
    }
}

/// A limit of our own: how many there are, how many are left, and in how many milliseconds and when (Unix milliseconds) all are
/// there again.
pub(super) fn own(to: Wire, kind: &str, (limit, left, wait, ends): (u64, u64, u64, u64), out: &mut HeaderMap) {
    for value in VALUES {
        let (name, text) = match to {
            Wire::OpenAiChat | Wire::Gemini => (format!("{OPENAI}{value}-{kind}"), format!("{}s", wait.div_ceil(1000))),
            Wire::AnthropicMessages => (format!("{ANTHROPIC}{kind}-{value}"), whole_seconds(ends)),
        };
        let text = match value {
            "limit" => limit.to_string(),
            "remaining" => left.to_string(),
            _ => text,
        };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&text)) {
            out.insert(name, value);
        }
    }
}

/// A moment in Unix milliseconds, rounded up to the second, as RFC 3339 without a fraction.
fn whole_seconds(at: u64) -> String {
    let text = clock::rfc3339(at.div_ceil(1000).saturating_mul(1000));
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

fn convert(from: Wire, upstream: &HeaderMap, out: &mut HeaderMap, now: u64) {
    for kind in KINDS {
        for value in VALUES {
            let (openai, anthropic) = (format!("{OPENAI}{value}-{kind}"), format!("{ANTHROPIC}{kind}-{value}"));
            let (source, name) = if from == Wire::OpenAiChat { (openai, anthropic) } else { (anthropic, openai) };
            let Some(text) = upstream.get(&source).and_then(|text| text.to_str().ok()).map(str::trim) else { continue };
            let converted = match (value, from) {
                ("reset", Wire::OpenAiChat) => moment(text, now),
                ("reset", _) => duration(text, now),
                _ => Some(text.to_owned()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())),
            };
            let header = converted.and_then(|text| HeaderValue::from_str(&text).ok());
            if let (Some(header), Ok(name)) = (header, HeaderName::try_from(name)) {
                out.insert(name, header);
            }
        }
    }
}

/// When it is, of how long it takes: in whole seconds, rounded up.
fn moment(text: &str, now: u64) -> Option<String> {
    Some(whole_seconds(now.checked_add(millis(text)?)?))
}

/// A duration as Go writes it: `1m30s`, `6.5s`, `12ms`. A bare number is seconds.
fn millis(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = match unit {
            "d" => 86_400_000.0,
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "" | "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // More than a year is no rate limit but a date.
    let fits = !text.is_empty() && (0.0..=31_536_000_000.0).contains(&total);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the line before")]
    fits.then(|| total.ceil() as u64)
}

/// How long it takes, of when it is; what is over takes no time.
fn duration(text: &str, now: u64) -> Option<String> {
    let seconds = clock::unix_of_rfc3339(text)?.saturating_sub(now).div_ceil(1000);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    })
}

/// When an upstream invites another try, in milliseconds from `now` (Unix milliseconds): `retry-after-ms` (`OpenAI`, Azure), else
/// `retry-after` in seconds or as a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: u64) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a day")]
    let whole = |millis: f64| millis.ceil().min(86_400_000.0) as u64;
    if let Some(millis) = text("retry-after-ms").and_then(number) {
        return Some(whole(millis));
    }
    let after = text("retry-after")?;
    number(after).map(|seconds| whole(seconds * 1000.0)).or_else(|| Some(http_date(after)?.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in Unix milliseconds.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    clock::unix_of_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T00:00:00.500Z.
    const NOW: u64 = 1_795_219_200_500;

    fn converted(from: Wire, to: Wire, headers: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let given =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut out = HeaderMap::new();
        forward((from, &given.collect()), (to, &mut out), NOW);
        let mut out: Vec<(String, String)> =
            out.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        out.sort();
        out
    }

    #[test]
    fn w69_limits_are_converted_both_ways() {
        let (openai, anthropic) = (Wire::OpenAiChat, Wire::AnthropicMessages);
        let cases = [
            (openai, "x-ratelimit-limit-requests", "60", Some(("anthropic-ratelimit-requests-limit", "60"))),
            (openai, "x-ratelimit-remaining-tokens", "9", Some(("anthropic-ratelimit-tokens-remaining", "9"))),
            (
                openai,
                "x-ratelimit-reset-tokens",
                "6m0s",
                Some(("anthropic-ratelimit-tokens-reset", "2026-11-21T00:06:01Z")),
            ),
            (
                openai,
                "x-ratelimit-reset-requests",
                "12ms",
                Some(("anthropic-ratelimit-requests-reset", "2026-11-21T00:00:01Z")),
            ),
            (
                openai,
                "x-ratelimit-reset-requests",
                "1h2m59.56s",
                Some(("anthropic-ratelimit-requests-reset", "2026-11-21T01:03:01Z")),
            ),
            (
                openai,
                "x-ratelimit-reset-requests",
                "2",
                Some(("anthropic-ratelimit-requests-reset", "2026-11-21T00:00:03Z")),
            ),
            (openai, "x-ratelimit-reset-requests", "1795219200500", None),
            (openai, "x-ratelimit-reset-requests", "soon", None),
            (openai, "x-ratelimit-limit-requests", "many", None),
            (openai, "x-ratelimit-limit", "60", None),
            (openai, "openai-organization", "ours", None),
            (anthropic, "anthropic-ratelimit-tokens-limit", "8000", Some(("x-ratelimit-limit-tokens", "8000"))),
            (
                anthropic,
                "anthropic-ratelimit-requests-reset",
                "2026-11-21T00:06:01Z",
                Some(("x-ratelimit-reset-requests", "6m1s")),
            ),
            (
                anthropic,
                "anthropic-ratelimit-requests-reset",
                "2026-11-21T02:00:00+01:00",
                Some(("x-ratelimit-reset-requests", "1h0m0s")),
            ),
            (
                anthropic,
                "anthropic-ratelimit-requests-reset",
                "2026-11-21T00:00:02.250Z",
                Some(("x-ratelimit-reset-requests", "2s")),
            ),
            (
                anthropic,
                "anthropic-ratelimit-requests-reset",
                "2026-11-20T00:00:00Z",
                Some(("x-ratelimit-reset-requests", "0s")),
            ),
            (anthropic, "anthropic-ratelimit-requests-reset", "tomorrow", None),
            (anthropic, "anthropic-ratelimit-input-tokens-limit", "8000", None),
            (anthropic, "retry-after", "3", None),
        ];
        for (from, name, value, want) in cases {
            let to = if from == openai { anthropic } else { openai };
            let want: Vec<_> = want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(converted(from, to, &[(name, value)]), want, "{name}: {value}");
        }
    }

    #[test]
    fn when_to_come_back_in_all_its_forms() {
        let now = 784_111_777_000 - 2500;
        for (name, value, want) in [
            ("retry-after-ms", "1500", Some(1500)),
            ("retry-after", "2", Some(2000)),
            ("retry-after", "0.25", Some(250)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(2500)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("retry-after", "1e300", Some(86_400_000)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("x-other", "1", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), want, "{name}: {value}");
        }
    }

    #[test]
    fn w69_within_a_dialect_they_go_as_they_are_and_nothing_else_does() {
        let headers = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-reset-tokens_usage_based", "4ms"),
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("openai-organization", "ours"),
            ("set-cookie", "a=b"),
        ];
        let names =
            |from, to| -> Vec<String> { converted(from, to, &headers).into_iter().map(|(name, _)| name).collect() };
        let openai = ["x-ratelimit-limit-requests", "x-ratelimit-reset-tokens_usage_based"];
        assert_eq!(names(Wire::OpenAiChat, Wire::OpenAiChat), openai);
        assert_eq!(names(Wire::AnthropicMessages, Wire::AnthropicMessages), ["anthropic-ratelimit-unified-status"]);
        assert!(names(Wire::Gemini, Wire::OpenAiChat).is_empty());
    }
}
