//! Media: data URLs, base64 as clients write it, and what bytes say of themselves. Nothing here fetches anything.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use percent_encoding::percent_decode_str;

use super::text::Str;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A data URL's media type, lower case and without parameters, and its bytes in clean base64. `None` if it is no data URL.
///
/// In use are parameters (`;charset=…`), upper case, white space within the base64, and percent-encoding instead of it. The
/// type follows the bytes where they tell: Anthropic compares the two and refuses a wrong label.
#[must_use]
pub fn data_url(url: &str) -> Option<(Str<'_>, Str<'_>)> {
    let rest = url.get(..5).filter(|start| start.eq_ignore_ascii_case("data:")).and(url.get(5..))?;
    let (head, data) = rest.split_once(',')?;
    let mut words = head.split(';').map(str::trim);
    let label = words.next().unwrap_or_default();
    let is_base64 = words.any(|word| word.eq_ignore_ascii_case("base64"));
    let data =
        if is_base64 { clean_base64(data) } else { encoded(&percent_decode_str(data).collect::<Vec<u8>>()).into() };
    let mime = match sniff(&data) {
        Some(mime) if !label.eq_ignore_ascii_case(mime) => mime.into(),
        _ if label.is_empty() => "text/plain".into(),
        _ if label.bytes().any(|byte| byte.is_ascii_uppercase()) => label.to_ascii_lowercase().into(),
        _ => label.into(),
    };
    Some((mime, data))
}

/// Base64 without white space or percent-encoding, in the standard alphabet and padded.
#[must_use]
pub fn clean_base64(text: &str) -> Str<'_> {
    let text = text.trim();
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.len().is_multiple_of(4) && text.bytes().all(clean) {
        return text.into();
    }
    let text = percent_decode_str(text).decode_utf8_lossy();
    let mut out: String = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace() && *c != '=')
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out.into()
}

/// The same for text that may be owned.
#[must_use]
pub fn clean(data: Str<'_>) -> Str<'_> {
    match data.into_cow() {
        Cow::Borrowed(data) => clean_base64(data),
        Cow::Owned(data) => clean_base64(&data).detached(),
    }
}

/// The media type that the first bytes of `base64` tell, among those that models read.
#[must_use]
pub fn sniff(base64: &str) -> Option<&'static str> {
    let head = decoded(base64.get(..24).unwrap_or(base64));
    let at = |range: std::ops::Range<usize>| head.get(range).unwrap_or_default();
    Some(match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        [b'R', b'I', b'F', b'F', ..] if at(8..12) == b"WEBP" => "image/webp",
        [b'R', b'I', b'F', b'F', ..] if at(8..12) == b"WAVE" => "audio/wav",
        _ => return None,
    })
}

/// Bytes in base64: for text that a wire wants as a file, and vectors.
#[must_use]
pub fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes of base64 in the standard alphabet, padded or not; empty where it is none.
#[must_use]
pub fn decoded(base64: &str) -> Vec<u8> {
    LENIENT.decode(base64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w48_data_urls_as_clients_write_them() {
        let png = encoded(b"\x89PNG\r\n\x1a\n rest");
        let cases = [
            (format!("data:image/png;base64,{png}"), "image/png", png.clone()),
            (format!("DATA:Image/PNG;charset=utf-8;BASE64,{png}"), "image/png", png.clone()),
            (format!("data:image/jpeg;base64,{png}"), "image/png", png.clone()),
            (format!("data:image/png;base64, {}\n{}", &png[..8], &png[8..]), "image/png", png.clone()),
            (format!("data:image/png;base64,{}", png.replace('=', "%3D")), "image/png", png.clone()),
            (format!("data:image/png;base64,{}", png.trim_end_matches('=')), "image/png", png.clone()),
            ("data:text/plain,a%20b".into(), "text/plain", encoded(b"a b")),
            ("data:,x".into(), "text/plain", encoded(b"x")),
        ];
        for (url, mime, data) in cases {
            let (got_mime, got_data) = data_url(&url).unwrap();
            assert_eq!((&*got_mime, &*got_data), (mime, data.as_str()), "{url}");
        }
        assert!(data_url("https://h/data:,x").is_none());
        assert!(data_url("data:nothing").is_none());
    }

    #[test]
    fn base64_both_ways() {
        for length in 0..20 {
            let bytes: Vec<u8> = (0..length).map(|byte: u8| byte.wrapping_mul(73)).collect();
            assert_eq!(decoded(&encoded(&bytes)), bytes);
        }
        assert_eq!(clean_base64("-_8"), "+/8=");
    }
}
