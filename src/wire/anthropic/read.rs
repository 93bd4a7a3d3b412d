//! What the readers of this wire share: fields that may be anything, arrays, errors with a path, and signatures.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::strip::TAG;
use crate::wire::chat::{Origin, Seal};
use crate::wire::envelope::DecodeError;
use crate::wire::lax::Lax;
use crate::wire::text::Str;

/// A string, or nothing where there is something else: an answer is never refused for a field that changed its type.
pub(super) type Loose<'a> = Lax<Str<'a>>;

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
