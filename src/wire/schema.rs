//! JSON Schemas: what upstreams take of them. Works on the text, so that order, spelling and white space stay where nothing has
//! to change.

mod closed;
mod references;

use std::collections::{HashMap, HashSet};

pub use closed::{Closed, closed};
pub use references::lone_references;

use super::text::{Json, string_end};

/// Deeper schemas are not looked into. No vendor compiles so deep a one.
const DEEPEST: usize = 64;

/// Reads one value, which is known to be JSON.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        self.rest.bytes().next().unwrap_or(b']')
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// The next value as text.
    fn skip(&mut self) -> &'a str {
        let first = self.peek();
        let text = self.rest;
        match first {
            b'{' | b'[' => {
                let mut depth = 0usize;
                let mut at = 0;
                let bytes = text.as_bytes();
                while let Some(byte) = bytes.get(at) {
                    match byte {
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        b'"' => {
                            at += string_end(text.get(at..).unwrap_or("\""));
                            continue;
                        }
                        _ => {}
                    }
                    at += 1;
                    if depth == 0 {
                        break;
                    }
                }
                self.take(at)
            }
            b'"' => self.take(string_end(text)),
            _ => {
                let end = text.find([',', '}', ']', ' ', '\n', '\r', '\t']).unwrap_or(text.len());
                self.take(end.max(1))
            }
        }
    }
}

/// The fields of an object, their values as text; `None` if it is none. Keys have their quotes.
fn fields(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut cursor = Cursor { rest: text };
    if cursor.peek() != b'{' {
        return None;
    }
    cursor.take(1);
    let mut pairs = Vec::new();
    while cursor.peek() == b'"' {
        let key = cursor.skip();
        pairs.push((key, cursor.skip()));
    }
    Some(pairs)
}

fn items(text: &str) -> Vec<&str> {
    let mut cursor = Cursor { rest: text };
    let mut out = Vec::new();
    if cursor.peek() == b'[' {
        cursor.take(1);
        while cursor.peek() != b']' {
            out.push(cursor.skip());
        }
    }
    out
}

fn find<'t>(pairs: &[(&str, &'t str)], key: &str) -> Option<&'t str> {
    pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

const TYPE: &str = "\"type\"";
const PROPERTIES: &str = "\"properties\"";
const REQUIRED: &str = "\"required\"";
const ADDITIONAL: &str = "\"additionalProperties\"";
const REF: &str = "\"$ref\"";
const COMPOSITIONS: [&str; 3] = ["\"anyOf\"", "\"oneOf\"", "\"allOf\""];
const EMPTY: &str = r#"{"type":"object","properties":{}}"#;

/// The schema of a tool's arguments with `type: object` at its root and without a composition or a reference there, which
/// Anthropic refuses (400, 2026-11). Byte for byte the same where nothing is missing.
///
/// A root of another type is the client's fault and stays as it is, for the upstream to say so.
#[must_use]
pub fn object_root<'s>(schema: Option<&'s Json<'_>>) -> Json<'s> {
    let Some(schema) = schema else { return Json::trusted(EMPTY) };
    let Some(pairs) = fields(schema.get()) else { return Json::trusted(EMPTY) };
    let kind = find(&pairs, TYPE);
    let composed = pairs.iter().any(|(key, _)| *key == REF || COMPOSITIONS.contains(key));
    match kind {
        Some("\"object\"") if !composed => return schema.reborrow(),
        Some(other) if other.starts_with('[') && items(other).contains(&"\"object\"") => {}
        Some("\"object\"") | None => {}
        Some(_) => return schema.reborrow(),
    }
    if kind.is_none() && !composed {
        // What is there stays as it is written; only the type comes in front.
        let Some((_, rest)) = schema.get().split_once('{').filter(|_| !pairs.is_empty()) else {
            return Json::trusted(EMPTY);
        };
        return Json::trusted(format!("{{\"type\":\"object\",{rest}"));
    }
    let mut shape = Shape { budget: MOST_BRANCHES, ..Shape::default() };
    shape.take(&pairs, &pairs, 0);
    Json::trusted(shape.write(&pairs))
}

/// The most branches of compositions and references that are looked into: nested ones multiply.
const MOST_BRANCHES: usize = 64;

/// An object schema gathered from the branches of a composition.
#[derive(Default)]
struct Shape<'t> {
    properties: Vec<(&'t str, Vec<&'t str>)>,
    /// Where each property stands in `properties`.
    places: HashMap<&'t str, usize>,
    /// What is required; a name may stand here several times.
    required: Vec<&'t str>,
    closed: bool,
    budget: usize,
}

impl<'t> Shape<'t> {
    /// Takes in a branch that always holds: its properties and what it requires.
    fn take(&mut self, root: &[(&str, &'t str)], pairs: &[(&str, &'t str)], depth: usize) {
        if self.budget == 0 || depth > DEEPEST {
            return;
        }
        self.budget -= 1;
        for (name, schema) in find(pairs, PROPERTIES).and_then(fields).unwrap_or_default() {
            self.property(name, schema);
        }
        self.required.extend(find(pairs, REQUIRED).map(items).unwrap_or_default());
        self.closed |= find(pairs, ADDITIONAL) == Some("false");
        if let Some(target) = find(pairs, REF).and_then(|reference| resolve(root, reference)) {
            self.take(root, &target, depth + 1);
        }
        for key in COMPOSITIONS {
            let branches = find(pairs, key).map(items).unwrap_or_default();
            if key == "\"allOf\"" {
                for branch in branches.into_iter().filter_map(fields) {
                    self.take(root, &branch, depth + 1);
                }
            } else {
                self.alternatives(root, branches, depth);
            }
        }
    }

    /// Takes in branches of which one holds: all their properties, and what each of them requires.
    fn alternatives(&mut self, root: &[(&str, &'t str)], branches: Vec<&'t str>, depth: usize) {
        let mut common: Option<(Vec<&'t str>, bool)> = None;
        for branch in branches.into_iter().filter_map(fields) {
            let mut inner = Shape { budget: self.budget, ..Shape::default() };
            inner.take(root, &branch, depth + 1);
            self.budget = inner.budget;
            for (name, schemas) in inner.properties {
                for schema in schemas {
                    self.property(name, schema);
                }
            }
            common = Some(match common {
                None => (inner.required, inner.closed),
                Some((names, closed)) => {
                    let required: HashSet<&str> = inner.required.into_iter().collect();
                    (names.into_iter().filter(|name| required.contains(name)).collect(), closed && inner.closed)
                }
            });
        }
        if let Some((names, closed)) = common {
            self.closed |= closed;
            self.required.extend(names);
        }
    }

    fn property(&mut self, name: &'t str, schema: &'t str) {
        let place = *self.places.entry(name).or_insert(self.properties.len());
        match self.properties.get_mut(place) {
            Some((_, schemas)) if schemas.contains(&schema) => {}
            Some((_, schemas)) => schemas.push(schema),
            None => self.properties.push((name, vec![schema])),
        }
    }

    /// Writes the object schema, with all that the root had beside its composition.
    fn write(&self, root: &[(&str, &str)]) -> String {
        let mut out = String::from("{\"type\":\"object\",\"properties\":{");
        for (at, (name, schemas)) in self.properties.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(name);
            out.push(':');
            match schemas.as_slice() {
                [one] => out.push_str(one),
                several => {
                    out.push_str("{\"anyOf\":[");
                    out.push_str(&several.join(","));
                    out.push_str("]}");
                }
            }
        }
        out.push('}');
        if !self.required.is_empty() {
            let mut seen = HashSet::new();
            let names: Vec<&str> = self.required.iter().copied().filter(|name| seen.insert(*name)).collect();
            out.push_str(",\"required\":[");
            out.push_str(&names.join(","));
            out.push(']');
        }
        if self.closed {
            out.push_str(",\"additionalProperties\":false");
        }
        let written = [TYPE, PROPERTIES, REQUIRED, REF];
        for (key, value) in root {
            let again = self.closed && *key == ADDITIONAL;
            if !written.contains(key) && !COMPOSITIONS.contains(key) && !again {
                out.push(',');
                out.push_str(key);
                out.push(':');
                out.push_str(value);
            }
        }
        out.push('}');
        out
    }
}

/// What a reference within the schema points to.
fn resolve<'t>(root: &[(&str, &'t str)], reference: &str) -> Option<Vec<(&'t str, &'t str)>> {
    let path = reference.strip_prefix("\"#/")?.strip_suffix('"')?;
    let (folder, name) = path.split_once('/')?;
    let folder = root.iter().find(|(key, _)| key.trim_matches('"') == folder).map(|(_, value)| *value)?;
    let target = fields(folder)?.into_iter().find(|(key, _)| key.trim_matches('"') == name)?.1;
    fields(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooted(schema: &str) -> String {
        object_root(Some(&Json::parse(schema).unwrap())).get().to_owned()
    }

    #[test]
    fn w32_every_root_is_an_object() {
        let empty = r#"{"type":"object","properties":{}}"#;
        assert_eq!(object_root(None).get(), empty);
        for (schema, want) in [
            ("{}", empty),
            ("null", empty),
            ("true", empty),
            (r#"["x"]"#, empty),
            (r#"{"description":"d"}"#, r#"{"type":"object","description":"d"}"#),
            (
                r#"{ "properties": {"a":{"type":"string"}}, "required":["a"] }"#,
                r#"{"type":"object", "properties": {"a":{"type":"string"}}, "required":["a"] }"#,
            ),
            (
                r#"{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}]}"#,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}"#,
            ),
            (
                r#"{"type":"object","oneOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["b","a"]}]}"#,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]}"#,
            ),
            (
                r#"{"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false},{"properties":{"b":{}}}],"title":"T"}"#,
                r#"{"type":"object","properties":{"a":{"type":"string"},"b":{}},"required":["a"],"additionalProperties":false,"title":"T"}"#,
            ),
            (
                r#"{"anyOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"null"}}}]}"#,
                r#"{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}"#,
            ),
            (
                r##"{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"]}}}"##,
                r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"],"$defs":{"A":{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"]}}}"##,
            ),
            (
                r##"{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A"}}}"##,
                r##"{"type":"object","properties":{},"$defs":{"A":{"$ref":"#/$defs/A"}}}"##,
            ),
            (
                r#"{"type":["null","object"],"minProperties":1}"#,
                r#"{"type":"object","properties":{},"minProperties":1}"#,
            ),
        ] {
            assert_eq!(rooted(schema), want, "{schema}");
            assert!(Json::parse(want).is_some());
            // What was mended once needs nothing more.
            assert_eq!(rooted(want), want);
        }
    }

    #[test]
    fn w33_what_needs_nothing_is_the_same_bytes() {
        for schema in [
            r#"{"type":"object"}"#,
            r#"{ "z" : 1.0, "type": "object", "properties": { "b": {"anyOf": [{"type":"string"}]}, "a" : {"const":"\u00fc"} },
                "required": [ "b" ] }"#,
            // The client's own fault, for the upstream to tell.
            r#"{"type":"array","items":{"type":"string"}}"#,
            r#"{"type":"string","anyOf":[]}"#,
        ] {
            assert_eq!(rooted(schema), schema);
        }
    }

    #[test]
    fn hostile_schemas_end_soon() {
        let mut nested = String::from(r#"{"properties":{"a":{}}}"#);
        for _ in 0..40 {
            nested = format!(r#"{{"anyOf":[{nested},{nested}]}}"#);
            if nested.len() > 100_000 {
                break;
            }
        }
        let wide: Vec<String> = (0..5000).map(|at| format!(r#"{{"properties":{{"p{at}":{{}}}}}}"#)).collect();
        let deep = format!("{}{}", r#"{"allOf":["#.repeat(3000), "]}".repeat(3000));
        let circle = r##"{"anyOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/A"}],"$defs":{"A":{"anyOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/A"}]}}}"##;
        for schema in [nested, format!(r#"{{"anyOf":[{}]}}"#, wide.join(",")), deep, circle.to_owned()] {
            let schema = Json::trusted(schema);
            assert!(object_root(Some(&schema)).get().starts_with(r#"{"type":"object""#));
            let _ = closed(&schema);
        }
        for broken in ["{", "{\"a\"", "[", "{\"a\":[", "\"", "{]}", "}", "{\"type\":\"object\",\"anyOf\":[}"] {
            let _ = object_root(Some(&Json::trusted(broken)));
            let _ = closed(&Json::trusted(broken));
        }
    }
}
