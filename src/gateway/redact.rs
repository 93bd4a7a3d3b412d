//! What looks like a secret or an address of somebody's is taken out of bodies before they are stored.
//!
//! Bodies are as long as clients make them, so each look ahead is bounded, or what it has passed is not read again.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

/// How the secrets of well-known makers begin: those of model vendors, `GitHub`, Slack, Stripe, AWS, Google, and JSON Web Tokens.
const BEGINS: [&str; 17] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "fgs-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    concat!("AK", "IA"),
    "ASIA",
    "AIza",
    "hf_",
    "eyJ",
];
/// How names end that are given secrets.
const NAMES: [&str; 4] = ["key", "secret", "token", "password"];
/// A secret that is shorter is none.
const SHORTEST: usize = 16;
/// What stands there instead.
const REDACTED: &str = "[redacted]";
const KEY_BEGINS: &str = "-----BEGIN ";
const KEY_ENDS: &str = "-----END ";
/// How deep JSON is looked for in the strings of JSON, as a tool's arguments are.
const DEPTH: usize = 4;

/// The text without its secrets, e-mail addresses, and numbers of payment cards. JSON stays JSON, and is read as what it means: an
/// escape hides nothing. Of a stream each event is read so; what is spread over several events is not found.
pub(super) fn redacted(text: &str) -> String {
    within(text, 0)
}

fn within(text: &str, depth: usize) -> String {
    if depth >= DEPTH {
        return plain(text);
    }
    if let Some(json) = json(text, depth) {
        return json;
    }
    // A private key has several lines, so what is not an event stays together.
    let (mut out, mut from, mut at) = (String::with_capacity(text.len()), 0, 0);
    for line in text.split_inclusive('\n') {
        let data = line.strip_prefix("data:").unwrap_or_default();
        let start = at + line.len() - data.len();
        at += line.len();
        if let Some(json) = json(data, depth) {
            out.push_str(&plain(text.get(from..start).unwrap_or_default()));
            out.push_str(&json);
            from = at;
        }
    }
    out.push_str(&plain(text.get(from..).unwrap_or_default()));
    out
}

/// A JSON text with its strings redacted. `None` if it is none.
fn json(text: &str, depth: usize) -> Option<String> {
    text.trim_start().starts_with(['{', '[', '"']).then_some(())?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    // Whether the value that comes next has a name of secrets.
    let mut named = false;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => string_end(rest),
            '-' | '0'..='9' => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(end)?;
        match first {
            '"' => {
                let decoded = decoded(token);
                let is_name = after.trim_start().starts_with(':');
                let new = if named && !is_name && is_value(&decoded) {
                    REDACTED.to_owned()
                } else {
                    within(&decoded, depth + 1)
                };
                out.push_str(&if new == *decoded { Cow::Borrowed(token) } else { Cow::Owned(quoted(&new)?) });
                named = is_name && names_secret(&decoded);
            }
            '-' | '0'..='9' if card_end(token) == Some(token.len()) => out.push_str(&quoted(REDACTED)?),
            _ => {
                out.push_str(token);
                named &= !matches!(first, ',' | '{' | '[' | '}' | ']');
            }
        }
        rest = after;
    }
    Some(out)
}

/// The end of the JSON string that a text begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// What a JSON string means. Clients that cut texts leave halves of surrogates, which cannot be kept.
fn decoded(token: &str) -> Cow<'_, str> {
    let inner = token.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(token);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str(token).map_or(Cow::Borrowed(inner), |Lossy(text)| Cow::Owned(text))
}

/// A string of JSON, whatever its escapes.
struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        // As bytes it need not be Unicode.
        deserializer.deserialize_bytes(Bytes)
    }
}

fn quoted(text: &(impl Serialize + ?Sized)) -> Option<String> {
    serde_json::to_string(text).ok()
}

/// Redacts what has no form.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = key_block(rest) {
            out.push_str(REDACTED);
            rest = after;
        } else if first.is_alphanumeric() {
            rest = word(rest, &mut out);
        } else {
            // The letter of an escape belongs to no word.
            let letter =
                first == '\\' && rest.get(1..).is_some_and(|rest| rest.starts_with(['n', 'r', 't', 'b', 'f', '\\']));
            let (passed, after) = rest.split_at_checked(first.len_utf8() + usize::from(letter)).unwrap_or((rest, ""));
            out.push_str(passed);
            rest = after;
        }
    }
    out
}

/// Redacts the word that a text begins with, or what it names, and gives what comes behind it.
fn word<'a>(text: &'a str, out: &mut String) -> &'a str {
    if let Some(end) = card_end(text) {
        out.push_str(REDACTED);
        return text.get(end..).unwrap_or_default();
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end).unwrap_or((text, ""));
    if is_secret(word) {
        out.push_str(REDACTED);
        return after;
    }
    out.push_str(word);
    match assigned(after).filter(|_| names_secret(word)) {
        Some((between, after)) => {
            out.push_str(between);
            out.push_str(REDACTED);
            after
        }
        None => after,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.+@".contains(c)
}

fn is_secret(word: &str) -> bool {
    let begins = BEGINS.iter().any(|begin| word.starts_with(begin)) && word.len() >= SHORTEST;
    let mail =
        word.trim_matches('.').split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    begins || mail
}

/// Where the number of a payment card ends that a text begins with: 13 to 19 digits, all at once or in groups of three or more,
/// with a right check digit (ISO/IEC 7812-1). It is left after 37 bytes at the latest: the last digit, with something before each.
fn card_end(text: &str) -> Option<usize> {
    // The sums of the digits so far, if every second one counts double, without and with the last.
    let (mut sum, mut other) = (0, 0);
    let (mut count, mut group, mut found) = (0, 0, None);
    for (at, byte) in text.bytes().enumerate().take(37) {
        match byte {
            b'0'..=b'9' => {
                let digit = u32::from(byte - b'0');
                (sum, other) = (other + digit, sum + digit * 2 / 10 + digit * 2 % 10);
                (count, group) = (count + 1, group + 1);
                let ends = || text.get(at + 1..).is_some_and(no_word);
                if group >= 3 && (13..=19).contains(&count) && sum.is_multiple_of(10) && ends() {
                    found = Some(at + 1);
                }
            }
            b' ' | b'-' if group >= 3 => group = 0,
            _ => break,
        }
    }
    found
}

/// Whether a word ends before this text: the points behind a number are not of it if nothing follows.
fn no_word(text: &str) -> bool {
    let mut next = text.chars();
    let first = next.next();
    first.is_none_or(|c| !is_word(c))
        || first.is_some_and(|c| !c.is_alphanumeric()) && next.next().is_none_or(|c| !is_word(c))
}

/// What comes behind a private key in PEM that a text begins with; one without an end goes on to the end of all.
fn key_block(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(KEY_BEGINS)?;
    rest.get(..rest.floor_char_boundary(40))?.contains("PRIVATE KEY").then_some(())?;
    let end = rest.find(KEY_ENDS).and_then(|at| rest.get(at + KEY_ENDS.len()..));
    Some(end.and_then(|end| end.split_once("-----")).map_or("", |(_, after)| after))
}

/// Whether what has this name is a secret.
fn names_secret(name: &str) -> bool {
    let end = |length: usize| name.len().checked_sub(length).and_then(|from| name.get(from..));
    NAMES.iter().any(|secret| end(secret.len()).is_some_and(|end| end.eq_ignore_ascii_case(secret)))
}

/// Whether something that has such a name is a secret by its form: long, and not a sentence.
fn is_value(text: &str) -> bool {
    value_end(text) == text.len() && text.len() >= SHORTEST
}

fn value_end(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "\"'`\\,;<>(){}[]&|".contains(c)).unwrap_or(text.len())
}

/// Behind a name: what stands between it and the secret that it is given, and what comes behind the secret.
fn assigned(text: &str) -> Option<(&str, &str)> {
    let quotes = ['"', '\'', '`', '\\', ' ', '\t'];
    let rest = text.trim_start_matches(quotes);
    let rest = [":=", "=>", "=", ":"].iter().find_map(|sign| rest.strip_prefix(sign))?;
    // A comparison or a path.
    (!rest.starts_with(['=', ':'])).then_some(())?;
    let value = rest.trim_start_matches(quotes);
    let (secret, after) = value.split_at_checked(value_end(value))?;
    is_value(secret).then_some((text.get(..text.len() - value.len())?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_all_else_stays() {
        for (text, want) in [
            ("nothing here, not even 1234 or a-b.c", "nothing here, not even 1234 or a-b.c"),
            ("key sk-or-v1-abcdefgh, gone", "key [redacted], gone"),
            ("sk-short", "sk-short"),
            ("write to jane.doe+x@example.co.uk.", "write to [redacted]"),
            ("@handle and a@b", "@handle and a@b"),
            ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
            ("a -----BEGIN PRIVATE KEY-----\nMII", "a [redacted]"),
            ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.sig", "[redacted]"),
            ("grüße an ÄÖÜ 日本語 \\", "grüße an ÄÖÜ 日本語 \\"),
            (r"C:\sk-0123456789abcdef \nsk-0123456789abcdef", r"C:\[redacted] \n[redacted]"),
        ] {
            assert_eq!(redacted(text), want);
        }
    }

    #[test]
    fn cards_are_found_in_groups_and_beside_other_numbers() {
        for (text, want) in [
            ("pay 4111 1111 1111 1111 now", "pay [redacted] now"),
            ("pay 4111-1111-1111-1111.", "pay [redacted]."),
            ("12 4111 1111 1111 1111 12/27", "12 [redacted] 12/27"),
            ("378282246310005", "[redacted]"),
            ("4111111111111112", "4111111111111112"),
            (
                "0.4111111111111111 4111111111111111.5 x4111111111111111",
                "0.4111111111111111 4111111111111111.5 x4111111111111111",
            ),
            ("1 0 0 1 0 1 0 0 0 1 0 0 0 0 0 0", "1 0 0 1 0 1 0 0 0 1 0 0 0 0 0 0"),
            ("2026-11-21 01:00:00.123456789", "2026-11-21 01:00:00.123456789"),
            (r#"{"n":4111111111111111,"m":12}"#, r#"{"n":"[redacted]","m":12}"#),
        ] {
            assert_eq!(redacted(text), want);
        }
    }

    #[test]
    fn what_is_given_a_secrets_name_goes() {
        let long = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE+KEY=";
        for (before, after) in [
            ("aws_secret_access_key=", " b"),
            ("export API_TOKEN='", "'"),
            ("passwordless Password:  ", "\nnext"),
            ("https://example.com/?access_token=", "&page=2"),
            (r#"{'client-secret' => ""#, r#"", broken"#),
            (r#"{"content":"token: "#, r#""}"#),
            (r#"{"env":{"db_password" : ""#, r#"","x":1}}"#),
        ] {
            assert_eq!(redacted(&format!("{before}{long}{after}")), format!("{before}[redacted]{after}"));
        }
        for text in [
            "if key == an_expression_that_is_long".to_owned(),
            "key::of_something_that_is_long".to_owned(),
            "token: short, password: of several words that are no password".to_owned(),
            format!("keys={long}"),
            format!("the key is {long}"),
            r#"{"password":"at least eight characters","max_tokens":12345678901234567890}"#.to_owned(),
            format!(r#"{{"token":["{long}"],"key":{{}},"x":"{long}"}}"#),
        ] {
            assert_eq!(redacted(&text), text);
        }
    }

    #[test]
    fn json_is_read_as_what_it_means() {
        for (text, want) in [
            (r#"{"a":"x\nsk-0123456789abcdef"}"#, r#"{"a":"x\n[redacted]"}"#),
            (r#"{"a" : "\u0073k-proj-0123456789", "b":"\u00e4\/"}"#, r#"{"a" : "[redacted]", "b":"\u00e4\/"}"#),
            (r#"["bob\u0040example.com","bob+x@ex\u00e4mple.de"]"#, r#"["[redacted]","[redacted]"]"#),
            (r#"{"bob\u0040example.com":1.0e5}"#, r#"{"[redacted]":1.0e5}"#),
            // Arguments of a tool.
            (r#"{"a":"{\"b\":\"\\u0073k-proj-0123456789\"}"}"#, r#"{"a":"{\"b\":\"[redacted]\"}"}"#),
            // Half a surrogate.
            (r#"{"a":"\ud83d ä bob\u0040example.com"}"#, r#"{"a":"��� ä [redacted]"}"#),
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ud83d"}"#),
            (
                "data: {\"a\":\"\\u0073k-proj-0123456789\"}\n\ndata: [DONE]\n",
                "data: {\"a\":\"[redacted]\"}\n\ndata: [DONE]\n",
            ),
            (r#"{"a":"-----BEGIN PRIVATE KEY-----\nMII\n"}"#, r#"{"a":"[redacted]"}"#),
        ] {
            assert_eq!(redacted(text), want);
        }
    }

    /// Work that grew with the square of these would take many minutes.
    #[test]
    fn long_bodies_are_no_work() {
        let pieces = "1 |111 |4111 1111-|1|a|a@|@|-|key|key=|key = |key:\"|key='a' |\\|\"|\\\"|data:{|data:{}\n|-----BEGIN |\
                      -----BEGIN PRIVATE KEY|-----END |sk-|{\"a\":|[|\\u005c|\\u0022|ä ";
        for piece in pieces.split('|') {
            let long = piece.repeat(100_000 / piece.len());
            assert!(!redacted(&long).is_empty());
            assert!(!redacted(&format!("{{\"a\":[\"{long}\"]}}")).is_empty());
            assert!(!redacted(&quoted(&[&long]).unwrap()).is_empty());
        }
        let numbers = "1 ".repeat(500_000);
        assert_eq!(redacted(&numbers), numbers);
    }
}
