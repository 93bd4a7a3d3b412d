//! Ids of tool calls and names of tools, where a wire takes fewer characters than another gives.
//!
//! An id belongs to the client once it has seen it: what was changed on the way out is changed back on the way in, from the
//! id alone. No payload ever goes into an id.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::Str;

/// Begins every id that this gateway minted because the upstream gave none.
pub const MINTED: &str = "call_fg";
/// Begins every id that stands for one that the client's wire does not take: the original follows in hex.
const WRAPPED: &str = "fgx_";

/// The `number`th id of the request `stamp`: 29 characters, as `OpenAI`'s are.
#[must_use]
pub fn mint(stamp: &str, number: u32) -> String {
    let seed = fnv(FNV, stamp.as_bytes());
    let first = fnv(seed, &number.to_le_bytes());
    let second = fnv(first, b"2");
    format!("{MINTED}{first:016x}{:06x}", second & 0xff_ffff)
}

/// Whether [`mint`] made it: no upstream has ever seen it.
#[must_use]
pub fn minted(id: &str) -> bool {
    id.starts_with(MINTED)
}

/// The id as an Anthropic client takes it: `^[a-zA-Z0-9_-]+$`. [`restore`] turns it back.
#[must_use]
pub fn for_anthropic_client(id: &str) -> Cow<'_, str> {
    if plain(id) {
        return Cow::Borrowed(id);
    }
    let mut out = String::from(WRAPPED);
    for byte in id.bytes() {
        let _ = write!(out, "{byte:02x}");
    }
    Cow::Owned(out)
}

/// The id as its upstream gave it.
#[must_use]
pub fn restore(id: Str<'_>) -> Str<'_> {
    let Some(hex) = id.strip_prefix(WRAPPED).filter(|hex| hex.len() % 2 == 0 && hex.is_ascii()) else { return id };
    let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2).unwrap_or_default(), 16).ok())
        .collect();
    match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) if !text.is_empty() => text.into(),
        _ => id,
    }
}

/// The id as Anthropic's API takes it: `^[a-zA-Z0-9_-]+$`. A foreign one becomes another, always the same.
#[must_use]
pub fn for_anthropic(id: &str) -> Cow<'_, str> {
    if plain(id) { Cow::Borrowed(id) } else { Cow::Owned(format!("call_{}", digest(id))) }
}

/// The id as `OpenAI`'s chat completions take it: at most 40 characters.
#[must_use]
pub fn for_openai(id: &str) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= 40 { Cow::Borrowed(id) } else { Cow::Owned(format!("call_{}", digest(id))) }
}

/// The id as Mistral takes it: 9 letters or digits.
#[must_use]
pub fn for_mistral(id: &str) -> Cow<'_, str> {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(digest(id).chars().take(9).collect())
    }
}

/// A tool's name within `limit` characters of `[A-Za-z0-9_-]`, beginning with a letter or `_`. A name that fits stays; another
/// is shortened, with a digest behind it so that two never become one.
#[must_use]
pub fn tool_name(name: &str, limit: usize) -> Cow<'_, str> {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts && plain(name) && name.len() <= limit {
        return Cow::Borrowed(name);
    }
    let digest = digest(name);
    let digest = digest.get(..8).unwrap_or_default();
    let mut out = String::from(if starts { "" } else { "_" });
    out.extend(
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).take(limit - 10),
    );
    out.push('_');
    out.push_str(digest);
    Cow::Owned(out)
}

fn plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// 24 hex digits that stand for `text`. Not a secret and not a proof: it only has to be the same each time.
fn digest(text: &str) -> String {
    let first = fnv(FNV, text.as_bytes());
    let second = fnv(first, text.as_bytes());
    format!("{first:016x}{:08x}", second & 0xffff_ffff)
}

/// What [`fnv`] begins with.
pub(super) const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// Tells bytes apart; it need not withstand anybody.
pub(super) fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_are_the_same_each_time_and_differ() {
        let one = mint("req_1", 1);
        assert_eq!((one.len(), &one), (29, &mint("req_1", 1)));
        assert_ne!(one, mint("req_1", 2));
        assert_ne!(one, mint("req_2", 1));
        assert!(minted(&one) && plain(&one));
    }

    #[test]
    fn w75_ids_that_anthropic_clients_refuse_come_back_unchanged() {
        for id in ["functions.get_weather:0", "a b", "ü", "call_abc", "toolu_01", "fgx_zz", "fgx_"] {
            let there = for_anthropic_client(id).into_owned();
            assert!(plain(&there), "{there}");
            assert_eq!(restore(there.into()), *id);
        }
    }

    #[test]
    fn w75_every_vendor_gets_ids_that_it_takes() {
        let long = "x".repeat(90);
        for id in ["functions.get:0", "call_1", "", &long] {
            assert!(plain(&for_anthropic(id)));
            assert!((1..=40).contains(&for_openai(id).len()));
            assert!(for_mistral(id).len() == 9);
            assert_eq!(for_anthropic(id), for_anthropic(id));
        }
        assert_ne!(for_mistral("call_1"), for_mistral("call_2"));
    }

    #[test]
    fn names_of_tools_fit_and_stay_apart() {
        assert_eq!(tool_name("get_weather", 64), "get_weather");
        let (a, b) =
            ("mcp.server/tool.a".to_owned() + &"x".repeat(80), "mcp.server/tool.a".to_owned() + &"x".repeat(81));
        for name in [a.as_str(), b.as_str(), "1st", "ünï", ""] {
            let fits = tool_name(name, 64);
            assert!(plain(&fits) && fits.len() <= 64, "{fits}");
        }
        assert_ne!(tool_name(&a, 64), tool_name(&b, 64));
    }
}
