//! Files, pictures and sound in the messages of a client, as clients write them.

use std::borrow::Cow;

use crate::wire::chat::{At, Cache, Media, MediaKind, Part, Source};
use crate::wire::media;
use crate::wire::text::Str;

/// A data URL's type and bytes, not copied unless they have to be; else the text as it was.
pub(super) fn data_url(url: Str<'_>) -> Result<Source<'_>, Str<'_>> {
    match url.into_cow() {
        Cow::Borrowed(text) => {
            media::data_url(text).map(|(mime, data)| Source::Data { mime, data }).ok_or_else(|| text.into())
        }
        Cow::Owned(text) => match media::data_url(&text) {
            Some((mime, data)) => Ok(Source::Data { mime: mime.detached(), data: data.detached() }),
            None => Err(text.into()),
        },
    }
}

pub(super) fn address(url: Str<'_>) -> Source<'_> {
    data_url(url).unwrap_or_else(|url| Source::Url { url, mime: None })
}

pub(super) fn audio_type(format: &str) -> Option<&'static str> {
    Some(match format {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "opus" | "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "m4a" => "audio/mp4",
        _ => return None,
    })
}

/// Base64 without a data URL around it; its bytes tell the type.
pub(super) fn bytes<'a>(data: Str<'a>, label: Option<&'static str>) -> Source<'a> {
    let data = media::clean(data);
    let mime = media::sniff(&data).or(label).unwrap_or("application/octet-stream");
    Source::Data { mime: mime.into(), data }
}

/// A file: a data URL in practice, from some clients bare base64.
pub(super) fn file<'a>(data: Str<'a>, name: Option<Str<'a>>, cache: Option<Cache>, at: At) -> Part<'a> {
    let label = name.as_deref().and_then(|name| match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "pdf" => Some("application/pdf"),
        "txt" | "md" | "csv" => Some("text/plain"),
        _ => None,
    });
    let source = match address(data) {
        Source::Url { url, .. } if url.starts_with("http") => Source::Url { url, mime: None },
        Source::Url { url, .. } => bytes(url, label),
        other => other,
    };
    let (kind, source) = match source {
        Source::Data { mime, data } if mime.starts_with("text/") => {
            let text = String::from_utf8(media::decoded(&data));
            (MediaKind::Document, text.map_or(Source::Data { mime, data }, |text| Source::Text(text.into())))
        }
        Source::Data { mime, data } => {
            let kind = match mime.split('/').next() {
                Some("image") => MediaKind::Image,
                Some("audio") => MediaKind::Audio,
                Some("video") => MediaKind::Video,
                _ => MediaKind::Document,
            };
            (kind, Source::Data { mime, data })
        }
        other => (MediaKind::Document, other),
    };
    Part::Media(Media { kind, source, name, cache, at })
}
