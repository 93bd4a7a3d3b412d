//! The types of what requests hold and answers tell, as data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::calendar;
use crate::config::network::Network;
use crate::meter::period::Period;
use crate::observe::clock;
use crate::store::token;

/// The most that a count can be: what every store and every JSON reader keeps exactly.
pub(super) const MOST: u64 = 1_000_000_000_000_000;
/// The most dollars.
pub(super) const MOST_DOLLARS: u64 = 18_000_000;

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Type {
    /// Text of a line: 1 to so many characters, none of them a control character.
    Text(usize),
    /// Text of many lines.
    Prose(usize),
    /// Text of some form.
    Form(&'static Form),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number from the one to the other.
    Count(u64, u64),
    /// An amount of dollars.
    Dollars,
    /// Any text: in answers, of what is not ours.
    Plain,
    /// A number that is not negative: in answers.
    Number,
    /// Any JSON object: not too large, not too deep.
    Object,
    /// A list of no more than so many.
    List(&'static Type, usize),
    /// An object with names of the caller's, of no more than so many values.
    Map(&'static Type, usize),
    /// An object.
    Struct(&'static [&'static [Field]]),
    /// A type that the document names.
    Named(&'static str, &'static Type),
    /// Anything: for answers whose form is not ours to promise.
    Any,
}

/// Text of some form.
pub(super) struct Form {
    /// What it has to be, in an error: `must be …`.
    pub(super) wants: &'static str,
    /// The form for the document, as a regular expression of `JavaScript`'s. It allows all that `check` does, and may allow more.
    pub(super) pattern: Option<&'static str>,
    /// The form's names for the document, one of which it has.
    pub(super) formats: &'static [&'static str],
    /// What it looks like, for the document; nothing where `wants` says it.
    pub(super) examples: &'static [&'static str],
    /// The most characters.
    pub(super) most: usize,
    pub(super) check: fn(&str) -> bool,
}

/// Whether a field has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It is there and not null.
    Must,
    /// It is there, but may be null: in answers.
    Null,
    /// It may be missing; in a request null stands for nothing.
    May,
}

/// A field of an object, or a parameter of a query.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) of: Type,
    pub(super) need: Need,
    pub(super) doc: &'static str,
}

/// A field that may be missing.
pub(super) const fn may(name: &'static str, of: Type, doc: &'static str) -> Field {
    Field { name, of, need: Need::May, doc }
}

/// A field that has to be there.
pub(super) const fn must(name: &'static str, of: Type, doc: &'static str) -> Field {
    Field { name, of, need: Need::Must, doc }
}

/// A field of an answer that may be null.
pub(super) const fn null(name: &'static str, of: Type, doc: &'static str) -> Field {
    Field { name, of, need: Need::Null, doc }
}

/// A key, as an administrator names it.
pub(super) static KEY: Form = Form {
    wants: "a virtual key (`sk-fg-…`), its hash (64 digits of base 16) or its id (`key_…`)",
    pattern: Some("^(sk-fg-[0-9A-Za-z]{30}|[0-9a-f]{64}|key_[0-9A-Za-z]{1,40})$"),
    formats: &[],
    examples: &["key_4rT0aBcDeFgHiJkLmNoP", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    most: 64,
    check: |text| token::well_formed(token::KEY_PREFIX, text) || hash(text) || key_id(text),
};

/// Whether it is the hash of a secret.
pub(super) fn hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether it is a key's id.
pub(super) fn key_id(text: &str) -> bool {
    let id = text.strip_prefix("key_");
    id.is_some_and(|id| (1..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// An id that an administrator may choose.
pub(super) static ID: Form = Form {
    wants: "an id of 1 to 100 ASCII letters, digits, `_`, `-`, `.` and `@`",
    pattern: Some("^[A-Za-z0-9_.@-]{1,100}$"),
    formats: &[],
    examples: &["team_1", "a.b@c-d"],
    most: 100,
    check: |text| {
        (1..=100).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte))
    },
};

/// How long a budget lasts, or a key.
pub(super) static PERIOD: Form = Form {
    wants: "a time such as `30s`, `15m`, `24h`, `7d`, `2w` or `1mo`",
    pattern: Some("^[0-9]+(s|m|h|d|w|mo)$"),
    formats: &[],
    examples: &["30d", "1mo", "1440m", "3600s", "36500d"],
    most: 12,
    check: |text| Period::parse(text).is_some(),
};

/// A moment.
pub(super) static MOMENT: Form = Form {
    wants: "a moment such as `2026-12-31T23:59:59Z`",
    pattern: None,
    formats: &["date-time"],
    examples: &["2026-12-31T23:59:59Z"],
    most: 40,
    check: |text| day(text).is_none() && moment(text).is_some(),
};

/// The same, or a day, as a request may say it.
pub(super) static WHEN: Form = Form {
    wants: "a moment such as `2026-12-31T23:59:59Z`, or a day such as `2026-12-31`",
    pattern: None,
    formats: &["date-time", "date"],
    examples: &["2026-12-31T23:59:59Z", "2026-12-31"],
    most: 40,
    check: |text| moment(text).is_some(),
};

/// The Unix milliseconds of a moment; of a day those of its beginning, in UTC.
pub(super) fn moment(text: &str) -> Option<u64> {
    if let Some(day) = day(text) {
        return Some(day * DAY_LENGTH);
    }
    day(text.get(..10)?)?;
    clock::unix_of_rfc3339(text)
}

/// The first moment that is after what a text says: after all of a day, or that moment itself.
pub(super) fn end(text: &str) -> Option<u64> {
    day(text).map_or_else(|| moment(text), |day| Some((day + 1) * DAY_LENGTH))
}

const DAY_LENGTH: u64 = 86_400_000;

/// A day.
pub(super) static DAY: Form = Form {
    wants: "a day from 1970 on, such as `2026-12-31`",
    pattern: None,
    formats: &["date"],
    examples: &["2026-12-31"],
    most: 10,
    check: |text| day(text).is_some(),
};

/// The days since 1970 of `2026-12-31`.
pub(super) fn day(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let part = |from, to| {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let days = calendar::days(year, month, day);
    // The 31st of February is another day's name.
    (calendar::date(days) == (year, month, day)).then(|| u64::try_from(days).ok()).flatten()
}

/// An endpoint.
pub(super) static ENDPOINT: Form = Form {
    wants: "a path such as `/v1/messages`, with `*` at its end for all below (`/v1/*`)",
    pattern: Some("^/[A-Za-z0-9_/.-]*\\*?$"),
    formats: &[],
    examples: &["/v1/messages", "/v1/*", "/"],
    most: 200,
    check: |text| {
        let path = text.strip_suffix('*').unwrap_or(text);
        text.len() <= 200
            && path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/.-".contains(&byte))
    },
};

/// An address or a range.
pub(super) static RANGE: Form = Form {
    wants: "an address or a range, such as `203.0.113.7`, `10.0.0.0/8` or `2001:db8::/32`",
    pattern: Some("^[0-9A-Fa-f.:]{2,45}(/[0-9]+)?$"),
    formats: &[],
    examples: &["203.0.113.7", "10.0.0.0/8", "2001:db8::/32", "::1"],
    most: 50,
    check: |text| {
        // It reads lists of a file as well, where spaces stand around what is listed.
        text.trim() == text && Network::parse(text).is_some()
    },
};

/// A caller's ARN.
pub(super) static ARN: Form = Form {
    wants: "an ARN of an identity, such as `arn:aws:iam::123456789012:role/app` or, with `*` at its end, \
            `arn:aws:sts::123456789012:assumed-role/app/*`",
    pattern: Some("^arn:aws[!-)+-9;-~]*:(iam|sts):[!-)+-9;-~]*:[0-9]{12}:[!-)+-~]+\\*?$"),
    formats: &[],
    examples: &[
        "arn:aws:iam::123456789012:role/app",
        "arn:aws-cn:sts::123456789012:assumed-role/app/*",
        "arn:aws:iam::123456789012:root",
    ],
    most: 500,
    check: |text| {
        let name = text.strip_suffix('*').unwrap_or(text);
        let mut parts = name.splitn(6, ':');
        let (arn, partition, service) = (parts.next(), parts.next(), parts.next());
        let (_region, account, rest) = (parts.next(), parts.next(), parts.next());
        arn == Some("arn")
            && partition.is_some_and(|partition| partition.starts_with("aws"))
            && matches!(service, Some("iam" | "sts"))
            && account.is_some_and(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
            && rest.is_some_and(|rest| !rest.is_empty())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
            && text.len() <= 500
    },
};

/// A fingerprint of an administrator's key.
pub(super) static FINGERPRINT: Form = Form {
    wants: "a fingerprint as `ssh-keygen -lf` prints it: `SHA256:` and 43 characters of base 64",
    pattern: Some("^SHA256:[A-Za-z0-9+/]{43}$"),
    formats: &[],
    examples: &["SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs"],
    most: 50,
    check: |text| {
        text.strip_prefix("SHA256:").is_some_and(|hash| {
            hash.len() == 43 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        })
    },
};

/// The id of an entry or of an act, to go on from.
pub(super) static CURSOR: Form = Form {
    wants: "the `next` of an answer",
    pattern: Some("^[0-9]{13}-[0-9A-Za-z]{1,40}$"),
    formats: &[],
    examples: &["1795219200000-ab"],
    most: 60,
    check: |text| {
        text.split_once('-').is_some_and(|(time, rest)| {
            time.len() == 13
                && time.bytes().all(|byte| byte.is_ascii_digit())
                && (1..=40).contains(&rest.len())
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    },
};

/// Whether a text is a prefix and so many letters and digits.
fn token_like(text: &str, prefix: &str, count: usize) -> bool {
    let rest = text.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.len() == count && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// What is to be signed to log in.
pub(super) static CHALLENGE: Form = Form {
    wants: "the challenge that `/admin/login/challenge` gave: 40 letters and digits",
    pattern: Some("^[0-9A-Za-z]{40}$"),
    formats: &[],
    examples: &[],
    most: 40,
    check: |text| token_like(text, "", 40),
};

/// An Ed25519 signature.
pub(super) static SIGNATURE: Form = Form {
    wants: "an Ed25519 signature: 64 bytes in base 64",
    pattern: Some("^[0-9A-Za-z+/]{85}[AQgw]==$"),
    formats: &[],
    examples: &[],
    most: 88,
    check: |text| STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 64),
};

/// A session's token.
pub(super) static TOKEN: Form = Form {
    wants: "the token of a session: `fgs-…`",
    pattern: Some("^fgs-[0-9A-Za-z]{30}$"),
    formats: &[],
    examples: &[],
    most: 64,
    check: |text| token::well_formed(token::SESSION_PREFIX, text),
};

/// A session's id.
pub(super) static SESSION: Form = Form {
    wants: "the id of a session: `ses_…`",
    pattern: Some("^ses_[0-9A-Za-z]{20}$"),
    formats: &[],
    examples: &["ses_4rT0aBcDeFgHiJkLmNoP"],
    most: 24,
    check: |text| token_like(text, "ses_", 20),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_take_what_they_are_for_and_nothing_else() {
        let cases: [(&Form, &[&str], &[&str]); 10] = [
            (&KEY, &["key_a1", &"0".repeat(64)], &["", "sk-fg-abc", "key_", "key_a'--", &"g".repeat(64)]),
            (&ID, &["team_1", "a.b@c-d"], &["", "a b", "ä", "a:b", "a/b", "a'b"]),
            (&PERIOD, &["30d", "1mo"], &["", "d", "30", "-1d", "1y"]),
            (&MOMENT, &["2026-12-31T23:59:59Z"], &["", "2026-12-31"]),
            (
                &WHEN,
                &["2026-12-31", "2026-12-31T23:59:59Z", "2026-12-31T23:59:59.5+01:00"],
                &["", "2026-02-30", "2026-02-30T00:00:00Z", "tomorrow", "2026-12-31T", "99999-01-01T00:00:00Z"],
            ),
            (
                &DAY,
                &["2024-02-29"],
                &["2023-02-29", "2026-1-1", "2026-13-01", "+026-01-01", "１026-01-01", "1969-12-31"],
            ),
            (&ENDPOINT, &["/", "/v1/*", "/v1/messages"], &["", "v1", "/a*b", "/a b", "*"]),
            (
                &RANGE,
                &["1.2.3.4", "10.0.0.0/8", "::1", "2001:db8::/32"],
                &["", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/+8", "x/8", " 1.2.3.4"],
            ),
            (
                &ARN,
                &["arn:aws:iam::123456789012:role/app", "arn:aws:sts::123456789012:assumed-role/app/*"],
                &[
                    "",
                    "arn:*",
                    "arn:aws:iam::123456789012:*x",
                    "arn:aws:s3::123456789012:x",
                    "arn:aws:iam::1:role/x",
                    "*",
                ],
            ),
            (&CURSOR, &["1795219200000-ab"], &["", "x-ab", "1795219200000", "1795219200000-a'b"]),
        ];
        for (form, good, bad) in cases {
            for text in good.iter().chain(form.examples) {
                assert!((form.check)(text), "{text}: {}", form.wants);
                assert!(text.chars().count() <= form.most);
            }
            for text in bad {
                assert!(!(form.check)(text), "{text}: {}", form.wants);
            }
        }
    }
}
