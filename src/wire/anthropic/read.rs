//! What the readers of this wire share: fields that may be anything, arrays, errors with a path, and signatures.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::strip::TAG;
use crate::wire::chat::{Origin, Seal};
use crate::wire::envelope::DecodeError;
use crate::wire::fields::fields;
use crate::wire::text::{Str, in_json, path_at};

/// A string, or nothing where there is something else: an answer is never refused for a field that changed its type.
#[derive(Debug, Default)]
pub(super) struct Loose<'a>(pub(super) Option<Str<'a>>);

impl<'a> Loose<'a> {
    /// The string; empty where there is none.
    pub(super) fn or_empty(self) -> Str<'a> {
        self.0.unwrap_or_default()
    }

    /// The string, if it says anything.
    pub(super) fn said(self) -> Option<Str<'a>> {
        self.0.filter(|text| !text.is_empty())
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Loose<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("anything")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose(Some(text.into())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose(Some(text.to_owned().into())))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// `cache_control`.
#[derive(Debug, Default)]
pub(super) struct CacheControl<'a> {
    pub(super) ttl: Option<Str<'a>>,
}
fields!(CacheControl<'a> { ttl });

/// Takes the elements of an array one at a time, so that what they become is all that is kept.
pub(super) fn each<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    take: impl FnMut(T),
) -> Result<(), D::Error> {
    struct Each<T, F>(F, PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element()? {
                (self.0)(item);
            }
            Ok(())
        }
    }

    deserializer.deserialize_seq(Each(take, PhantomData))
}

/// Reads a field of the request; an error names the path of the value at fault.
pub(super) fn typed<'a, T: Deserialize<'a>>(name: &str, text: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| wrong(name, text, &error))
}

fn wrong(name: &str, text: &str, error: &serde_json::Error) -> DecodeError {
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let path = path_at(name, text, (before + error.column()).min(text.len()));
    DecodeError { message: format!("`{path}`: {}", in_json(what)), field: Some(path) }
}

/// The error of a field that has to be there.
pub(super) fn missing(path: String, want: &str) -> DecodeError {
    DecodeError { message: format!("`{path}` is missing; it must be {want}"), field: Some(path) }
}

/// A seal as the `signature` of a thinking block for a client; `None` marks a thought that nobody signed.
pub(super) fn tagged(seal: Option<(Origin, &str)>) -> Cow<'_, str> {
    match seal {
        Some((Origin::Anthropic, data)) => data.into(),
        Some((Origin::Gemini, data)) => format!("{TAG}gemini:{data}").into(),
        Some((Origin::Other, data)) => format!("{TAG}other:{data}").into(),
        None => format!("{TAG}other:").into(),
    }
}

/// The seal that a client's `signature` or `data` is; `None` for an empty one.
pub(super) fn untagged(signature: Str<'_>) -> Option<Seal<'_>> {
    let Some(rest) = signature.strip_prefix(TAG) else {
        return (!signature.is_empty()).then_some(Seal { origin: Origin::Anthropic, data: signature });
    };
    let (origin, cut) = match rest.split_once(':') {
        Some(("gemini", _)) => (Origin::Gemini, TAG.len() + "gemini:".len()),
        Some(("other", _)) => (Origin::Other, TAG.len() + "other:".len()),
        _ => (Origin::Other, 0),
    };
    let data = match signature.into_cow() {
        Cow::Borrowed(text) => text.get(cut..).unwrap_or_default().into(),
        Cow::Owned(text) => text.get(cut..).unwrap_or_default().to_owned().into(),
    };
    Some(Seal { origin, data })
}
