//! Which JSON schemas `OpenAI` takes with `strict` (its guide to structured outputs, 2026-11): every object is closed and
//! requires all of its properties.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::wire::text::{Json, Str};

/// Whether `strict` may stand beside the schema.
pub(super) fn fits(schema: &Json<'_>) -> bool {
    serde_json::from_str::<Node>(schema.get()).is_ok_and(|node| node.fits && node.object)
}

/// A schema, or anything else in the place of one.
struct Node {
    fits: bool,
    /// It describes an object.
    object: bool,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

const LEAF: Node = Node { fits: true, object: false };

impl<'de> Visitor<'de> for Walk {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a schema")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node { fits: true, object: text == "object" })
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(LEAF)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut all = LEAF;
        while let Some(node) = list.next_element::<Node>()? {
            all.fits &= node.fits;
            all.object |= node.object;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut node = LEAF;
        let mut closed = false;
        let mut names: Vec<Str<'de>> = Vec::new();
        let mut required: Vec<Str<'de>> = Vec::new();
        while let Some(key) = map.next_key::<Str<'de>>()? {
            match &*key {
                "type" => node.object |= map.next_value::<Node>()?.object,
                "properties" => {
                    let properties = map.next_value::<Named<'de>>()?;
                    node.object = true;
                    node.fits &= properties.fit;
                    names = properties.names;
                }
                "$defs" | "definitions" => node.fits &= map.next_value::<Named<'de>>()?.fit,
                "required" => required = map.next_value()?,
                "additionalProperties" => closed = map.next_value::<Json<'de>>()?.get() == "false",
                "items" | "anyOf" => node.fits &= map.next_value::<Node>()?.fits,
                "allOf" | "oneOf" | "not" | "if" | "then" | "else" | "patternProperties" | "dependentRequired"
                | "dependentSchemas" => {
                    map.next_value::<IgnoredAny>()?;
                    node.fits = false;
                }
                // Values, words and bounds.
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if node.object {
            required.sort_unstable();
            node.fits &= closed && names.iter().all(|name| required.binary_search(name).is_ok());
        }
        Ok(node)
    }
}

/// Schemas by name.
struct Named<'a> {
    names: Vec<Str<'a>>,
    fit: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Named<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("schemas by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Named { names: Vec::new(), fit: true };
                while let Some((name, node)) = map.next_entry::<Str<'de>, Node>()? {
                    all.names.push(name);
                    all.fit &= node.fits;
                }
                Ok(all)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_stands_only_where_it_is_taken() {
        for (schema, want) in [
            (r#"{"type":"object","properties":{},"additionalProperties":false}"#, true),
            (
                r#"{"type":"object","properties":{"a":{"type":"string","enum":["type"]}},"required":["a"],"additionalProperties":false}"#,
                true,
            ),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false),
            (
                r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}}},"required":["a"],"additionalProperties":false}"#,
                false,
            ),
            (
                r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"required":["a"],"additionalProperties":false,"$defs":{"b":{"type":["object","null"],"properties":{},"additionalProperties":false}}}"##,
                true,
            ),
            (
                r#"{"type":"object","properties":{"a":{"oneOf":[]}},"required":["a"],"additionalProperties":false}"#,
                false,
            ),
            (r#"{"type":"array","items":{"type":"string"}}"#, false),
            (r#"{"anyOf":[{"type":"string"}]}"#, false),
            ("true", false),
            ("{}", false),
        ] {
            assert_eq!(fits(&Json::trusted(schema)), want, "{schema}");
        }
    }

    #[test]
    fn depth_without_end_is_no_fit() {
        let deep = "{\"items\":".repeat(5000) + "{}" + &"}".repeat(5000);
        assert!(!fits(&Json::trusted(deep)));
    }
}
