//! Structs that are read from JSON objects, with far less code than what serde derives: no way in from arrays, no type for the
//! names of the fields, no memory of which came. A field that comes twice has its last value.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::text::Str;

/// What [`fields`] makes of a struct.
pub(super) trait Fields<'de>: Default {
    /// The fields that have to be there.
    const NEEDED: &'static [&'static str];

    /// Takes the value of a field; of one that is not known it is skipped.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads the fields of an object.
pub(super) fn gather<'de, T: Fields<'de>, A: MapAccess<'de>>(mut map: A) -> Result<T, A::Error> {
    let mut all = T::default();
    let mut seen = 0;
    while let Some(name) = map.next_key::<Str<'de>>()? {
        all.field(&name, &mut map)?;
        seen |= bit(T::NEEDED, &name);
    }
    match T::NEEDED.iter().find(|name| seen & bit(T::NEEDED, name) == 0) {
        Some(name) => Err(A::Error::missing_field(name)),
        None => Ok(all),
    }
}

fn bit(needed: &[&str], name: &str) -> u32 {
    needed.iter().position(|one| *one == name).map_or(0, |at| 1 << at)
}

/// Reads an object.
pub(super) fn object<'de, T: Fields<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Fields<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            gather(map)
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// Makes a struct readable from an object. All of its fields have to be listed, with their names in JSON where these are
/// others or several; `needs` names those (of one name) without which the object is refused.
macro_rules! fields {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $($name:literal)+) => { $($name)|+ };
    (
        $type:ident $(<$life:lifetime>)?
        { $($field:ident $(= $($name:literal)|+)?),* $(,)? } $(needs $($needed:literal),+)?
    ) => {
        impl<'de $(: $life, $life)?> $crate::wire::fields::Fields<'de> for $type $(<$life>)? {
            const NEEDED: &'static [&'static str] = &[$($($needed),+)?];

            fn field<A: serde::de::MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
                let Self { $($field),* } = self;
                match name {
                    $($crate::wire::fields::fields!(@name $field $($($name)+)?) => *$field = map.next_value()?,)*
                    _ => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(())
            }
        }

        impl<'de $(: $life, $life)?> serde::Deserialize<'de> for $type $(<$life>)? {
            fn deserialize<D: serde::de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::wire::fields::object(deserializer)
            }
        }
    };
}
pub(super) use fields;

/// Reads JSON. All of `wire` reads from text: what reads from bytes would be the same code once more.
pub(super) fn read_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(std::str::from_utf8(json).map_err(serde_json::Error::custom)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Thing<'a> {
        name: Option<Str<'a>>,
        kind: Str<'a>,
        count: Vec<u64>,
    }
    fields!(Thing<'a> { name = "name" | "the_name", kind = "type", count } needs "type", "count");

    #[test]
    fn objects_become_structs() {
        let thing = |name: Option<&'static str>, kind: &'static str, count: &[u64]| {
            Ok(Thing { name: name.map(Into::into), kind: kind.into(), count: count.to_vec() })
        };
        for (text, want) in [
            (r#"{"type":"a","count":[1]}"#, thing(None, "a", &[1])),
            (r#"{"count":[1,2],"new":{"type":[]},"type":"a","the_name":"b"}"#, thing(Some("b"), "a", &[1, 2])),
            (r#"{"count":[],"type":"a","\u006eame":"b","name":null}"#, thing(None, "a", &[])),
            (r#"{"count":[1],"type":"a","type":"b"}"#, thing(None, "b", &[1])),
            (r#"{"count":[1],"name":"b"}"#, Err("missing field `type`")),
            (r#"{"type":"a"}"#, Err("missing field `count`")),
            (r#"{"type":null,"count":[1]}"#, Err("invalid type: null, expected a string")),
            ("[null,\"a\",[1]]", Err("invalid type: sequence, expected an object")),
            ("null", Err("invalid type: null, expected an object")),
        ] {
            let got = read_json::<Thing<'_>>(text.as_bytes()).map_err(|error| error.to_string());
            match (got, want) {
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{text}: {got}"),
                (got, want) => assert_eq!(got, want.map_err(str::to_owned), "{text}"),
            }
        }
        assert!(read_json::<Thing<'_>>(b"{\"type\":\"\xff\",\"count\":[]}").is_err());
    }
}
