//! Schemas as Anthropic compiles them for structured output and strict tools.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{ADDITIONAL, Cursor, DEEPEST, PROPERTIES, REF, REQUIRED, TYPE};
use crate::wire::text::Json;

/// A JSON value of which only the objects and arrays were taken apart. Keys and leaves are text as it was written, keys with
/// their quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<'a> {
    Object(Vec<(&'a str, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Leaf(Cow<'a, str>),
}

impl<'a> Cursor<'a> {
    fn node(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek() {
            b'{' => {
                self.take(1);
                let mut pairs = Vec::new();
                while self.peek() == b'"' {
                    let key = self.skip();
                    pairs.push((key, self.node(depth + 1)?));
                }
                self.take(1);
                Some(Node::Object(pairs))
            }
            b'[' => {
                self.take(1);
                let mut items = Vec::new();
                while self.peek() != b']' {
                    items.push(self.node(depth + 1)?);
                }
                self.take(1);
                Some(Node::Array(items))
            }
            _ => Some(Node::Leaf(self.skip().into())),
        }
    }
}

/// Constraints that Anthropic's structured output does not know (structured outputs guide, 2026-11): they move into the
/// description.
const UNSUPPORTED: [&str; 27] = [
    "\"minimum\"",
    "\"maximum\"",
    "\"exclusiveMinimum\"",
    "\"exclusiveMaximum\"",
    "\"multipleOf\"",
    "\"minLength\"",
    "\"maxLength\"",
    "\"pattern\"",
    "\"maxItems\"",
    "\"uniqueItems\"",
    "\"contains\"",
    "\"minContains\"",
    "\"maxContains\"",
    "\"prefixItems\"",
    "\"minProperties\"",
    "\"maxProperties\"",
    "\"propertyNames\"",
    "\"patternProperties\"",
    "\"unevaluatedProperties\"",
    "\"dependentRequired\"",
    "\"dependentSchemas\"",
    "\"not\"",
    "\"if\"",
    "\"then\"",
    "\"else\"",
    "\"examples\"",
    "\"contentEncoding\"",
];
/// String formats that it knows.
const FORMATS: [&str; 10] = [
    "\"date-time\"",
    "\"time\"",
    "\"date\"",
    "\"duration\"",
    "\"email\"",
    "\"hostname\"",
    "\"uri\"",
    "\"ipv4\"",
    "\"ipv6\"",
    "\"uuid\"",
];

/// A schema as Anthropic compiles it, and what it costs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// The schema: every object with `additionalProperties: false`, unknown constraints in the descriptions. The text that
    /// came in where nothing had to change.
    pub schema: Json<'a>,
    /// An object of the original was open, or a property might be anything: a strict tool would be refused.
    pub opened: bool,
    /// An object of the original took keys of any name, which it does no longer.
    pub maps: bool,
    /// Properties that are not required.
    pub optional: usize,
    /// Properties of several types.
    pub unions: usize,
}

/// Makes a schema one that Anthropic compiles. `None` if it cannot be made one: it is recursive, too deep, or no object.
#[must_use]
pub fn closed<'s>(schema: &'s Json<'_>) -> Option<Closed<'s>> {
    let mut root = Cursor { rest: schema.get() }.node(0)?;
    if !matches!(root, Node::Object(_)) || recursive(&root) {
        return None;
    }
    let mut work = Work::default();
    work.schema(&mut root);
    let text = if work.changed {
        let mut out = String::with_capacity(schema.get().len() + 64);
        write(&root, &mut out);
        Json::trusted(out)
    } else {
        schema.reborrow()
    };
    Some(Closed { schema: text, opened: work.opened, maps: work.maps, optional: work.optional, unions: work.unions })
}

#[derive(Default)]
struct Work {
    changed: bool,
    opened: bool,
    maps: bool,
    optional: usize,
    unions: usize,
}

impl Work {
    fn schema(&mut self, node: &mut Node<'_>) {
        let Node::Object(pairs) = node else {
            if matches!(node, Node::Leaf(leaf) if leaf == "true") {
                *node = Node::Object(Vec::new());
                self.changed = true;
                self.opened = true;
            }
            return;
        };
        self.constraints(pairs);
        for (key, value) in pairs.iter_mut() {
            match (*key, value) {
                ("\"oneOf\"", Node::Array(items)) => {
                    *key = "\"anyOf\"";
                    self.changed = true;
                    for item in items {
                        self.schema(item);
                    }
                }
                ("\"anyOf\"" | "\"allOf\"", Node::Array(items)) => {
                    for item in items {
                        self.schema(item);
                    }
                }
                ("\"properties\"" | "\"$defs\"" | "\"definitions\"", Node::Object(inner)) => {
                    for (_, item) in inner {
                        self.schema(item);
                    }
                }
                ("\"items\"", item) => self.schema(item),
                _ => {}
            }
        }
        let object = pairs.iter().any(|(key, value)| match value {
            Node::Leaf(leaf) => *key == TYPE && leaf == "\"object\"",
            Node::Array(items) => *key == TYPE && items.iter().any(|item| is(item, "\"object\"")),
            Node::Object(_) => *key == PROPERTIES,
        });
        if object {
            self.object(pairs);
        }
    }

    fn object(&mut self, pairs: &mut Vec<(&str, Node<'_>)>) {
        let closed = pairs.iter_mut().find(|(key, _)| *key == ADDITIONAL);
        match closed {
            Some((_, value)) if is(value, "false") => {}
            Some((_, value)) => {
                *value = Node::Leaf("false".into());
                self.changed = true;
                self.opened = true;
                self.maps = true;
            }
            None => {
                pairs.push((ADDITIONAL, Node::Leaf("false".into())));
                self.changed = true;
                self.opened = true;
            }
        }
        let required = pairs.iter().find_map(|(key, value)| match value {
            Node::Array(items) if *key == REQUIRED => Some(items.as_slice()),
            _ => None,
        });
        let properties = pairs.iter().find_map(|(key, value)| match value {
            Node::Object(inner) if *key == PROPERTIES => Some(inner.as_slice()),
            _ => None,
        });
        let required: HashSet<&str> = (required.unwrap_or_default().iter())
            .filter_map(|item| if let Node::Leaf(name) = item { Some(&**name) } else { None })
            .collect();
        for (name, value) in properties.unwrap_or_default() {
            self.optional += usize::from(!required.contains(name));
            if let Node::Object(inner) = value {
                let union = |(key, value): &(&str, Node<'_>)| {
                    *key == "\"anyOf\"" || (*key == TYPE && matches!(value, Node::Array(_)))
                };
                self.unions += usize::from(inner.iter().any(union));
            }
        }
    }

    /// Moves what the compiler does not know into the description.
    fn constraints(&mut self, pairs: &mut Vec<(&str, Node<'_>)>) {
        let unknown = |key: &str, value: &Node<'_>| match key {
            "\"format\"" => matches!(value, Node::Leaf(leaf) if !FORMATS.contains(&&**leaf)),
            "\"minItems\"" => !is(value, "0") && !is(value, "1"),
            _ => UNSUPPORTED.contains(&key),
        };
        if !pairs.iter().any(|(key, value)| unknown(key, value)) {
            return;
        }
        self.changed = true;
        let mut notes = String::new();
        pairs.retain(|(key, value)| {
            let moved = unknown(key, value);
            if moved {
                notes.push_str(if notes.is_empty() { "{" } else { ", " });
                notes.push_str(key.trim_matches('"'));
                notes.push_str(": ");
                write(value, &mut notes);
            }
            !moved
        });
        notes.push('}');
        match pairs.iter_mut().find(|(key, _)| *key == "\"description\"") {
            Some((_, Node::Leaf(text))) => {
                let before: String = serde_json::from_str(text).unwrap_or_default();
                *text = crate::wire::quoted(&format!("{before}\n\n{notes}")).into();
            }
            _ => pairs.push(("\"description\"", Node::Leaf(crate::wire::quoted(&notes).into()))),
        }
    }
}

fn is(node: &Node<'_>, text: &str) -> bool {
    matches!(node, Node::Leaf(leaf) if leaf == text)
}

fn write(node: &Node<'_>, out: &mut String) {
    match node {
        Node::Leaf(text) => out.push_str(text),
        Node::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Node::Object(pairs) => {
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(key);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Whether a definition leads back to itself, or a reference leads to the root or out of the document.
fn recursive(root: &Node<'_>) -> bool {
    let Node::Object(pairs) = root else { return false };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut inside: Vec<&Node<'_>> = Vec::new();
    for (folder, value) in pairs {
        if let ("\"$defs\"" | "\"definitions\"", Node::Object(inner)) = (*folder, value) {
            for (name, item) in inner {
                let path = format!("\"#/{}/{}\"", folder.trim_matches('"'), name.trim_matches('"'));
                places.insert(path, inside.len());
                inside.push(item);
            }
        }
    }
    let mut all = Vec::new();
    references(root, &mut all);
    if all.iter().any(|reference| !places.contains_key(*reference)) {
        return true;
    }
    // Definitions that lead nowhere are taken away again and again; what is left has a circle.
    let mut from: Vec<Vec<usize>> = vec![Vec::new(); inside.len()];
    let mut open: Vec<usize> = Vec::with_capacity(inside.len());
    for (place, item) in inside.iter().enumerate() {
        let mut to = Vec::new();
        references(item, &mut to);
        open.push(to.len());
        for target in to.iter().filter_map(|reference| places.get(*reference)) {
            if let Some(list) = from.get_mut(*target) {
                list.push(place);
            }
        }
    }
    let mut free: Vec<usize> = (0..inside.len()).filter(|place| open.get(*place) == Some(&0)).collect();
    let mut gone = 0;
    while let Some(place) = free.pop() {
        gone += 1;
        for user in from.get(place).into_iter().flatten() {
            if let Some(count) = open.get_mut(*user) {
                *count -= 1;
                if *count == 0 {
                    free.push(*user);
                }
            }
        }
    }
    gone < inside.len()
}

fn references<'n>(node: &'n Node<'_>, out: &mut Vec<&'n str>) {
    match node {
        Node::Object(pairs) => {
            for (key, value) in pairs {
                match value {
                    Node::Leaf(leaf) if *key == REF => out.push(leaf),
                    other => references(other, out),
                }
            }
        }
        Node::Array(items) => items.iter().for_each(|item| references(item, out)),
        Node::Leaf(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: &str) -> Option<(String, bool, bool, usize, usize)> {
        let schema = Json::parse(schema).unwrap();
        let made = closed(&schema)?;
        assert!(Json::parse(made.schema.get().to_owned()).is_some(), "{}", made.schema.get());
        Some((made.schema.get().to_owned(), made.opened, made.maps, made.optional, made.unions))
    }

    #[test]
    fn w33_a_schema_that_fits_is_the_same_bytes() {
        let schema = r#"{ "type":"object", "properties":{"z":{"type":"string","format":"date"},"a":{"enum":[1.0,"\u00fc"]}},
            "required":["z","a"],"additionalProperties": false }"#;
        assert_eq!(made(schema), Some((schema.to_owned(), false, false, 0, 0)));
    }

    #[test]
    fn objects_are_closed_and_constraints_become_words() {
        for (schema, want) in [
            (r#"{"type":"object"}"#, r#"{"type":"object","additionalProperties":false}"#),
            (
                r#"{"type":"object","properties":{"n":{"type":"integer","minimum":2,"description":"N","maximum":1e3}},"required":["n"],"additionalProperties":true}"#,
                r#"{"type":"object","properties":{"n":{"type":"integer","description":"N\n\n{minimum: 2, maximum: 1e3}"}},"required":["n"],"additionalProperties":false}"#,
            ),
            (
                r#"{"type":"object","properties":{"l":{"type":"array","minItems":2,"items":{"oneOf":[{"type":"object"},{"type":"string","format":"regex","pattern":"\"x"}]}}},"additionalProperties":false}"#,
                r#"{"type":"object","properties":{"l":{"type":"array","items":{"anyOf":[{"type":"object","additionalProperties":false},{"type":"string","description":"{format: \"regex\", pattern: \"\\\"x\"}"}]},"description":"{minItems: 2}"}},"additionalProperties":false}"#,
            ),
            (
                r##"{"$ref":"#/$defs/A","$defs":{"A":{"properties":{"maximum":true}}}}"##,
                r##"{"$ref":"#/$defs/A","$defs":{"A":{"properties":{"maximum":{}},"additionalProperties":false}}}"##,
            ),
        ] {
            assert_eq!(made(schema).map(|made| made.0).as_deref(), Some(want));
            let (again, opened, ..) = made(want).unwrap();
            assert_eq!((again.as_str(), opened), (want, false));
        }
    }

    #[test]
    fn costs_are_counted() {
        let schema = r#"{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"anyOf":[]},"c":{"type":"object","properties":{"d":{}},"additionalProperties":{"type":"string"}}},"required":["a"],"additionalProperties":false}"#;
        let (_, opened, maps, optional, unions) = made(schema).unwrap();
        assert_eq!((opened, maps, optional, unions), (true, true, 3, 2));
    }

    #[test]
    fn circles_and_strangers_cannot_be_compiled() {
        for schema in [
            "true",
            "[]",
            r##"{"$ref":"#"}"##,
            r#"{"$ref":"https://h/schema.json"}"#,
            r##"{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/B"},"B":{"items":{"$ref":"#/$defs/A"}}}}"##,
            r##"{"properties":{"x":{"$ref":"#/$defs/Missing"}}}"##,
        ] {
            assert_eq!(made(schema), None, "{schema}");
        }
        let straight = r##"{"type":"object","properties":{"x":{"$ref":"#/$defs/A"},"y":{"$ref":"#/$defs/B"}},"required":["x","y"],"additionalProperties":false,"$defs":{"A":{"$ref":"#/$defs/B"},"B":{"type":"string"}}}"##;
        assert_eq!(made(straight).map(|made| made.0).as_deref(), Some(straight));
    }
}
