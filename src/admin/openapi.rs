//! The `OpenAPI` document, written from the table of routes.
//!
//! What it says of administration is what [`super::table`] does. Of the endpoints that call models it says that they are there: their bodies are
//! their vendors' and pass through as they are.

use std::sync::OnceLock;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::context::Answer;
use super::shape::{Field, MOST_DOLLARS, Need, Type};
use super::table::{self, Access, Spec};

/// Endpoints that are not administration's: method, path, tag, summary, and whether anybody may call them.
const OTHERS: [(&str, &str, &str, &str, bool); 20] = [
    ("post", "/v1/chat/completions", CALLS, "A chat completion, as OpenAI has it.", false),
    ("post", "/v1/messages", CALLS, "A message, as Anthropic has it.", false),
    ("post", "/v1/messages/count_tokens", CALLS, "The tokens of a message, as Anthropic has it.", false),
    ("post", "/v1/responses", CALLS, "A response, as OpenAI has it.", false),
    ("post", "/v1/responses/compact", CALLS, "A conversation made shorter, as OpenAI has it.", false),
    ("post", "/v1/responses/input_tokens", CALLS, "The tokens of a response, as OpenAI has it.", false),
    ("post", "/v1/completions", CALLS, "A completion, as OpenAI has it.", false),
    ("post", "/v1/embeddings", CALLS, "Embeddings, as OpenAI has them.", false),
    ("post", "/v1/moderations", CALLS, "A moderation, as OpenAI has it.", false),
    ("post", "/v1/images/generations", CALLS, "Pictures, as OpenAI has them.", false),
    ("post", "/v1/images/edits", CALLS, "Pictures changed, as OpenAI has it.", false),
    ("post", "/v1/images/variations", CALLS, "Pictures varied, as OpenAI has it.", false),
    ("post", "/v1/audio/speech", CALLS, "Speech, as OpenAI has it.", false),
    ("post", "/v1/audio/transcriptions", CALLS, "A transcription, as OpenAI has it.", false),
    ("post", "/v1/audio/translations", CALLS, "A translation, as OpenAI has it.", false),
    ("get", "/v1/models", "models", "The names of models, as OpenAI or Anthropic lists them.", false),
    ("get", "/health", HEALTH, "How the deployments are.", false),
    ("get", "/health/liveliness", HEALTH, "Whether the process lives.", true),
    ("get", "/health/readiness", HEALTH, "Whether it can serve.", true),
    ("get", "/metrics", HEALTH, "Counters for Prometheus.", false),
];
const CALLS: &str = "calls";
const HEALTH: &str = "health";

/// Answers with the document. It is the same for all who ask, who can be anybody.
pub(super) fn answer() -> Answer {
    static DOCUMENT: OnceLock<Vec<u8>> = OnceLock::new();

    let body = DOCUMENT.get_or_init(|| document().to_string().into_bytes()).clone();
    Answer { status: StatusCode::OK, body, changed: false, cut: false }
}

/// Sets a field of an object.
fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(name.to_owned(), value);
    }
}

/// The whole document.
fn document() -> Value {
    let mut schemas = Map::new();
    schemas.insert("Error".to_owned(), error());
    let mut paths = Map::new();
    for spec in table::all() {
        let operation = operation(spec, &mut schemas);
        let method = spec.method.as_str().to_lowercase();
        if let Value::Object(path) = paths.entry(spec.path).or_insert_with(|| json!({})) {
            path.insert(method, operation);
        }
    }
    for (method, path, tag, summary, public) in OTHERS {
        let mut operation = json!({
            "operationId": id(method, path),
            "tags": [tag],
            "summary": summary,
            "responses": {
                "200": {"description": "The answer.", "content": {"*/*": {}}},
                "default": {"description": "An error, in the words of the endpoint's vendor.", "content": {"*/*": {}}},
            },
        });
        if method == "post" {
            set(&mut operation, "requestBody", json!({"required": true, "content": {"*/*": {}}}));
        }
        if public {
            set(&mut operation, "security", json!([]));
        }
        paths.insert(path.to_owned(), json!({ method: operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FeatherGate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An LLM gateway: calls of models, and the administration of keys, budgets and limits.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "The master key, the token of a session, or a virtual key where the route says so.",
            }},
        },
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, and what would be right."},
                "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"], "description": "The field that it is about."},
                "code": {"type": ["string", "null"]},
            },
        }},
    })
}

fn id(method: &str, path: &str) -> String {
    let name: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{method}{name}")
}

fn operation(spec: &Spec, schemas: &mut Map<String, Value>) -> Value {
    let who = match spec.access {
        Access::Public => "Anybody may ask.",
        Access::Caller => "Administrators and holders of virtual keys may ask.",
        Access::Admin => "Administrators may ask: with the master key, or logged in.",
        Access::Master => "Who has the master key may ask.",
    };
    let failure = json!({
        "description": "What is wrong.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    });
    let reply = schema(spec.reply, schemas);
    let mut operation = json!({
        "operationId": id(&spec.method.as_str().to_lowercase(), spec.path),
        "tags": [spec.tag],
        "summary": spec.summary,
        "description": who,
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": reply}}},
            "default": failure,
        },
    });
    let mut parameters: Vec<Value> = Vec::new();
    if spec.path.contains("{key}") {
        let of = schema(&Type::Form(&super::shape::KEY), schemas);
        parameters.push(json!({"name": "key", "in": "path", "required": true, "schema": of}));
    }
    for field in spec.query.fields.iter().flat_map(|fields| fields.iter()) {
        parameters.push(json!({
            "name": field.name,
            "in": "query",
            "required": field.need == Need::Must,
            "description": field.doc,
            "schema": schema(&field.of, schemas),
        }));
    }
    if !parameters.is_empty() {
        set(&mut operation, "parameters", Value::Array(parameters));
    }
    if spec.method != Method::GET {
        let required = spec.body.fields.iter().flat_map(|fields| fields.iter()).any(|field| field.need == Need::Must);
        let body = structure(spec.body.fields, schemas);
        set(
            &mut operation,
            "requestBody",
            json!({"required": required, "content": {"application/json": {"schema": body}}}),
        );
    }
    if spec.access == Access::Public {
        set(&mut operation, "security", json!([]));
    }
    operation
}

/// A type as JSON schema; those that have a name go to `schemas`.
fn schema(of: &Type, schemas: &mut Map<String, Value>) -> Value {
    match of {
        Type::Named(name, of) => {
            if !schemas.contains_key(*name) {
                let schema = schema(of, schemas);
                schemas.insert((*name).to_owned(), schema);
            }
            json!({"$ref": format!("#/components/schemas/{name}")})
        }
        Type::Text(most) => {
            json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"})
        }
        Type::Prose(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
        Type::Form(form) => {
            let mut schema =
                json!({"type": "string", "maxLength": form.most, "description": format!("It is {}.", form.wants)});
            if let Some(pattern) = form.pattern {
                set(&mut schema, "pattern", json!(pattern));
            }
            match form.formats {
                [] => {}
                [one] => set(&mut schema, "format", json!(one)),
                many => {
                    let any: Vec<Value> = many.iter().map(|format| json!({"format": format})).collect();
                    set(&mut schema, "anyOf", Value::Array(any));
                }
            }
            if !form.examples.is_empty() {
                set(&mut schema, "examples", json!(form.examples));
            }
            schema
        }
        Type::Choice(words) => json!({"type": "string", "enum": words}),
        Type::Flag => json!({"type": "boolean"}),
        Type::Count(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Type::Dollars => {
            json!({"type": "number", "minimum": 0, "maximum": MOST_DOLLARS, "description": "Dollars, exact, with up to 12 decimals."})
        }
        Type::Number => json!({"type": "number", "minimum": 0}),
        Type::Plain => json!({"type": "string"}),
        Type::Object => json!({"type": "object"}),
        Type::List(of, most) => json!({"type": "array", "maxItems": most, "items": schema(of, schemas)}),
        Type::Map(of, most) => {
            // Of the master key, what stands by key has no name.
            let names = json!({"maxLength": 200});
            let values = schema(of, schemas);
            json!({"type": "object", "maxProperties": most, "propertyNames": names, "additionalProperties": values})
        }
        Type::Struct(fields) => structure(fields, schemas),
        Type::Any => json!({}),
    }
}

fn structure(fields: &[&[Field]], schemas: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    for field in fields.iter().flat_map(|fields| fields.iter()) {
        let of = schema(&field.of, schemas);
        let of = match field.need {
            Need::Must => of,
            Need::Null | Need::May => json!({"anyOf": [of, {"type": "null"}]}),
        };
        let mut property = of;
        if let Value::Object(map) = &mut property {
            let form =
                map.get("description").and_then(Value::as_str).map(|form| format!(" {form}")).unwrap_or_default();
            map.insert("description".to_owned(), json!(format!("{}{form}", field.doc)));
        }
        if field.need != Need::May {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), property);
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::routes;

    #[test]
    fn what_is_said_of_other_endpoints_is_true() {
        for (method, path, ..) in OTHERS {
            let method: Method = method.to_uppercase().parse().unwrap();
            assert!(routes::find(&method, path).is_ok(), "{path}");
            assert!(table::find(&method, path).is_none(), "{path} is administration's");
        }
        for path in routes::calls() {
            assert!(OTHERS.iter().any(|(method, other, ..)| *method == "post" && *other == path), "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = document();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let mut ids: Vec<&str> =
            text.split("\"operationId\":\"").skip(1).map(|part| part.split('"').next().unwrap()).collect();
        let count = ids.len();
        assert_eq!(count, table::all().count() + OTHERS.len());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
