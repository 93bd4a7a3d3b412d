//! Reading answers of servers that keep to the wire more or less: a value of another type than expected counts as absent, and
//! never fails the answer.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::text::Str;

/// A value, if it has the right type.
#[derive(Debug)]
pub(super) struct Lax<T>(pub(super) Option<T>);

impl<T> Default for Lax<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a> Lax<Str<'a>> {
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

/// What can be read of a JSON value of each type. Types that are not overridden read as nothing.
pub(super) trait Shape<'de>: Sized {
    /// A number with a fraction or an exponent that is not below it is none.
    const MOST: f64 = 1e15;

    /// Of a string.
    fn text(_: Str<'de>) -> Option<Self> {
        None
    }

    /// Of a whole number.
    fn number(_: u64) -> Option<Self> {
        None
    }

    /// Of an array.
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// Of an object.
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de: 'a, 'a> Shape<'de> for Str<'a> {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(text)
    }
}

impl Shape<'_> for u64 {
    fn number(number: u64) -> Option<Self> {
        Some(number)
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut out = Self::new();
        while let Some(Lax(item)) = list.next_element::<Lax<T>>()? {
            out.extend(item);
        }
        Ok(Some(out))
    }
}

/// Structs whose fields are all lax.
macro_rules! objects {
    ($($name:ident $(<$life:lifetime>)?),* $(,)?) => {$(
        impl<'de $(: $life, $life)?> $crate::wire::lax::Shape<'de> for $name $(<$life>)? {
            fn object<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                $crate::wire::fields::gather(map).map(Some)
            }
        }
    )*};
}
pub(super) use objects;

impl<'de, T: Shape<'de>> Deserialize<'de> for Lax<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);

        impl<'de, T: Shape<'de>> Visitor<'de> for Any<T> {
            type Value = Lax<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Lax(None))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Lax(None))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Lax(T::number(number)))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Lax(None))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is in the range, or saturates"
                )]
                let whole = (0.0..T::MOST).contains(&number).then_some(number as u64);
                Ok(Lax(whole.and_then(T::number)))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Lax(T::text(text.into())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Lax(T::text(text.to_owned().into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                T::list(list).map(Lax)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::object(map).map(Lax)
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fields::fields;

    #[derive(Debug, Default)]
    struct Thing<'a> {
        name: Lax<Str<'a>>,
        count: Lax<u64>,
        inner: Lax<Vec<Thing<'a>>>,
    }
    fields!(Thing<'a> { name, count, inner });
    objects!(Thing<'a>);

    #[test]
    fn a_wrong_type_is_nothing_and_spoils_nothing() {
        for (text, name, count, inner) in [
            (r#"{"name":"a","count":3,"inner":[{"count":1},{}]}"#, Some("a"), Some(3), Some(2)),
            (r#"{"name":{"x":[1,{}]},"count":"3","inner":{"a":1}}"#, None, None, None),
            (r#"{"name":null,"count":4.0,"inner":[1,"x",null,[],{"name":"b"}]}"#, None, Some(4), Some(1)),
            (r#"{"name":"\n","count":-1,"inner":true,"other":[]}"#, Some("\n"), None, None),
            (r#"{"count":1e300,"name":7}"#, None, None, None),
        ] {
            let Lax(Some(thing)) = serde_json::from_str::<Lax<Thing<'_>>>(text).unwrap() else { panic!("{text}") };
            let got = (thing.name.0.as_deref(), thing.count.0, thing.inner.0.map(|list| list.len()));
            assert_eq!(got, (name, count, inner), "{text}");
        }
        for text in ["[]", "3", "null", "\"x\"", "true", "[{}]"] {
            assert!(serde_json::from_str::<Lax<Thing<'_>>>(text).unwrap().0.is_none(), "{text}");
        }
    }
}
