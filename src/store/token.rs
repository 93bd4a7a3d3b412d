//! The secret of a virtual key: what it looks like, and what of it is stored.
//!
//! `sk-fg-`, 24 characters that hold 142 random bits, and 6 that are a checksum over all before them: who mistypes one hears so
//! without the store being asked, and whoever scans for leaked secrets knows it when he sees it. The form is that of `GitHub`'s
//! tokens (`GitHub` blog, 2021-04-05): base 62, CRC-32.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// What a key's secret begins with.
pub const KEY_PREFIX: &str = "sk-fg-";
/// What a session's token begins with.
pub const SESSION_PREFIX: &str = "fgs-";

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM: usize = 24;
const CHECK: usize = 6;

/// A new secret: 142 bits from the system's generator. `None` where that has none to give.
#[must_use]
pub fn generate(prefix: &str) -> Option<String> {
    let mut text = String::with_capacity(prefix.len() + RANDOM + CHECK);
    text.push_str(prefix);
    text.push_str(&random(RANDOM)?);
    let check = check(text.as_bytes());
    text.push_str(&check);
    Some(text)
}

/// So many random digits of base 62.
#[must_use]
pub fn random(count: usize) -> Option<String> {
    let random = SystemRandom::new();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0; 48];
        random.fill(&mut bytes).ok()?;
        // Bytes from 248 on would make the first digits a little likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let digits = fair.filter_map(|byte| DIGITS.get(usize::from(*byte % 62))).map(|digit| char::from(*digit));
        text.extend(digits.take(count - text.len()));
    }
    Some(text)
}

/// Whether a text is a secret with this prefix, as far as its form and checksum go.
#[must_use]
pub fn well_formed(prefix: &str, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else { return false };
    let Some((_, end)) = rest.split_at_checked(RANDOM).filter(|_| rest.len() == RANDOM + CHECK) else { return false };
    let Some(start) = text.as_bytes().get(..prefix.len() + RANDOM) else { return false };
    rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) && check(start) == end
}

/// What is stored of a secret: its SHA-256, as 64 digits of base 16. The secret has more random bits than anybody can try, so it
/// needs no salt.
#[must_use]
pub fn hash(secret: &str) -> String {
    use std::fmt::Write as _;

    let digest = digest(&SHA256, secret.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is shown of a secret later on: `sk-fg-...aB3d`. The end is part of the checksum, so it tells the secret's holder which
/// one it is, and nobody else anything.
#[must_use]
pub fn shown(prefix: &str, secret: &str) -> String {
    let end = secret.get(secret.len().saturating_sub(4)..).unwrap_or_default();
    format!("{prefix}...{end}")
}

fn check(bytes: &[u8]) -> String {
    let mut rest = crc32(bytes);
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// CRC-32 as in zip and Ethernet (ISO 3309), bit by bit: 30 bytes need no table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_form_and_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the standard's check value");
        let secret = generate(KEY_PREFIX).unwrap();
        assert_eq!(secret.len(), 36);
        assert!(well_formed(KEY_PREFIX, &secret) && !well_formed(SESSION_PREFIX, &secret));
        assert_ne!(generate(KEY_PREFIX), generate(KEY_PREFIX));
        for place in 0..secret.len() {
            let mut wrong = secret.clone().into_bytes();
            wrong[place] = if wrong[place] == b'x' { b'y' } else { b'x' };
            assert!(!well_formed(KEY_PREFIX, std::str::from_utf8(&wrong).unwrap()), "{place}");
        }
        for bad in ["", "sk-fg-", &secret[..35], &format!("{secret}0"), &secret.replace("sk-fg-", "sk-ää-")] {
            assert!(!well_formed(KEY_PREFIX, bad), "{bad}");
        }
        assert!(!well_formed(KEY_PREFIX, "sk-fg-ääääääääääääääänochwas"));
    }

    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn only_the_end_is_shown() {
        assert_eq!(shown(KEY_PREFIX, "sk-fg-0123456789abcd"), "sk-fg-...abcd");
    }
}
