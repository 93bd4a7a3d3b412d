//! References that stand alone, as Gemini wants them.

use super::{COMPOSITIONS, DEEPEST, REF, fields, find, items};
use crate::wire::text::Json;

/// Keys whose values are data, not schemas.
const DATA: [&str; 4] = ["\"enum\"", "\"const\"", "\"default\"", "\"examples\""];

const DIALECT: &str = "\"$schema\"";

/// A schema in which nothing stands beside a `$ref`: what did becomes `{"anyOf":[{"$ref":…}],…}`. The same bytes where there is
/// no such place. Gemini's `responseJsonSchema` refuses any other key there (Gemini API reference, 2026-08).
#[must_use]
pub fn lone_references<'s>(schema: &'s Json<'_>) -> Json<'s> {
    if !schema.get().contains(REF) && !schema.get().contains(DIALECT) {
        return schema.reborrow();
    }
    let mut changed = false;
    let mut out = String::with_capacity(schema.get().len() + 64);
    write(schema.get(), 0, &mut changed, &mut out);
    if changed { Json::trusted(out) } else { schema.reborrow() }
}

fn write(text: &str, depth: usize, changed: &mut bool, out: &mut String) {
    match text.bytes().next() {
        Some(b'{') if depth < DEEPEST => {
            let mut pairs = fields(text).unwrap_or_default();
            if depth == 0 {
                let all = pairs.len();
                pairs.retain(|(key, _)| *key != DIALECT);
                *changed |= pairs.len() < all;
            }
            // Not so where `$ref` is the name of a property.
            let reference = find(&pairs, REF).filter(|value| value.starts_with('"') && pairs.len() > 1);
            out.push('{');
            if let Some(reference) = reference {
                *changed = true;
                let composed = pairs.iter().any(|(key, _)| COMPOSITIONS.contains(key));
                pairs.retain(|(key, _)| *key != REF && (!composed || key.starts_with("\"$")));
                let (open, close) = if composed { ("", "") } else { ("\"anyOf\":[{", "}]") };
                for piece in [open, REF, ":", reference, close] {
                    out.push_str(piece);
                }
            }
            for (at, (key, value)) in pairs.into_iter().enumerate() {
                if at > 0 || reference.is_some() {
                    out.push(',');
                }
                out.push_str(key);
                out.push(':');
                if DATA.contains(&key) {
                    out.push_str(value);
                } else {
                    write(value, depth + 1, changed, out);
                }
            }
            out.push('}');
        }
        Some(b'[') if depth < DEEPEST => {
            out.push('[');
            for (at, item) in items(text).into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, depth + 1, changed, out);
            }
            out.push(']');
        }
        _ => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w55_nothing_stands_beside_a_reference() {
        let cases = [
            (r##"{"properties": {"a": {"$ref": "#/$defs/x"}}}"##, r##"{"properties": {"a": {"$ref": "#/$defs/x"}}}"##),
            (
                r##"{"properties": {"a": {"description": "d", "$ref": "#/$defs/x"}}, "required": ["a"]}"##,
                r##"{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/x"}],"description":"d"}},"required":["a"]}"##,
            ),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/x","title":"t"}],"x":[]}"##,
                r##"{"anyOf":[{"anyOf":[{"$ref":"#/$defs/x"}],"title":"t"}],"x":[]}"##,
            ),
            (r##"{"$ref":"#/$defs/x","anyOf":[{}],"$defs":{"x":{}}}"##, r##"{"$ref":"#/$defs/x","$defs":{"x":{}}}"##),
            (
                r#"{"properties":{"$ref":{"type":"string"},"b":{}}}"#,
                r#"{"properties":{"$ref":{"type":"string"},"b":{}}}"#,
            ),
            (r#"{"enum":[{"$ref":"x","b":1}]}"#, r#"{"enum":[{"$ref":"x","b":1}]}"#),
            (r#"{"type":"object"}"#, r#"{"type":"object"}"#),
            (
                r#"{"$schema":"s","type":"object","properties":{"$schema":{}}}"#,
                r#"{"type":"object","properties":{"$schema":{}}}"#,
            ),
        ];
        for (schema, want) in cases {
            assert_eq!(lone_references(&Json::trusted(schema)).get(), want);
        }
        let deep = format!("{}{{\"$ref\":\"x\",\"a\":1}}{}", "{\"not\":".repeat(90), "}".repeat(90));
        assert_eq!(lone_references(&Json::trusted(deep.as_str())).get(), deep);
    }
}
