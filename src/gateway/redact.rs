//! What looks like a secret or an address of somebody's is taken out of bodies before they are stored.

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
/// A word that is shorter is none.
const SHORTEST: usize = 16;
/// What stands there instead.
const REDACTED: &str = "[redacted]";
const KEY_BEGINS: &str = "-----BEGIN ";
const KEY_ENDS: &str = "-----END ";

/// The text without its secrets, e-mail addresses, and numbers of payment cards.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = key_block(rest) {
            out.push_str(REDACTED);
            rest = after;
        } else if first == '\\' {
            // An escape of JSON: its letter belongs to no word.
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
            let (escape, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            out.push_str(escape);
            rest = after;
        } else if is_word(first) {
            let (word, after) = rest.split_at_checked(word_end(rest)).unwrap_or((rest, ""));
            out.push_str(if is_secret(word) { REDACTED } else { word });
            rest = after;
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.+@".contains(c)
}

/// The end of the word that a text begins with; digits in groups are one word.
fn word_end(text: &str) -> usize {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == ' ')).unwrap_or(text.len());
    let card = text.get(..digits).unwrap_or_default().trim_end();
    if card.len() > end && is_card(card) { card.len() } else { end }
}

/// What comes behind a private key in PEM that a text begins with; one without an end goes on to the end of all.
fn key_block(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(KEY_BEGINS)?;
    rest.get(..rest.len().min(40))?.contains("PRIVATE KEY").then_some(())?;
    let end = rest.find(KEY_ENDS).and_then(|at| rest.get(at + KEY_ENDS.len()..));
    Some(end.and_then(|end| end.split_once("-----")).map_or("", |(_, after)| after))
}

fn is_secret(word: &str) -> bool {
    let begins = BEGINS.iter().any(|begin| word.starts_with(begin)) && word.len() >= SHORTEST;
    let mail =
        word.trim_matches('.').split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    begins || mail || is_card(word)
}

/// Whether it is the number of a payment card: 13 to 19 digits with a right check digit (ISO/IEC 7812-1).
fn is_card(word: &str) -> bool {
    let digits: Vec<u32> = word.chars().filter(|c| !matches!(c, '-' | ' ')).map_while(|c| c.to_digit(10)).collect();
    if word.chars().any(|c| !(c.is_ascii_digit() || c == '-' || c == ' ')) || !(13..=19).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
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
            (r#"{"a":"x\nsk-0123456789abcdef"}"#, r#"{"a":"x\n[redacted]"}"#),
            ("write to jane.doe+x@example.co.uk.", "write to [redacted]"),
            ("@handle and a@b", "@handle and a@b"),
            ("pay 4111 1111 1111 1111 now", "pay [redacted] now"),
            ("pay 4111-1111-1111-1111", "pay [redacted]"),
            ("4111111111111112", "4111111111111112"),
            ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [redacted] b"),
            ("a -----BEGIN PRIVATE KEY-----\nMII", "a [redacted]"),
            ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.sig", "[redacted]"),
            ("grüße an ÄÖÜ 日本語 \\", "grüße an ÄÖÜ 日本語 \\"),
        ] {
            assert_eq!(redacted(text), want);
        }
    }
}
