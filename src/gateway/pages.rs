//! What is not a model call: the model list, health, metrics, the page at `/`, and CORS.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::caller::{Caller, may_use};
use super::candidates::{Members, room};
use super::refusal::Refusal;
use super::routes::{self, Endpoint};
use super::{Body, Call, Exposure, Gateway, State};
use crate::config::secret::{Text, describe};
use crate::config::settings::{Deployment, Group, Settings};
use crate::observe::clock;
use crate::wire::Wire;
use crate::wire::profile::{Forced, Profile, Reasons, SystemRole};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers everything but model calls.
pub(super) fn page(
    gateway: &Gateway,
    state: &State,
    endpoint: &Endpoint,
    (wire, call, caller): (Wire, &Call, &Caller),
) -> Result<Response<Body>, Refusal> {
    Ok(match endpoint {
        Endpoint::Models => json(&models(state, wire, caller)),
        Endpoint::ModelInfo(id) => json(&model(state, wire, caller, id)?),
        Endpoint::Health => json(&health(state)),
        Endpoint::Liveness | Endpoint::Readiness => alive(),
        Endpoint::Metrics => {
            let text = gateway.observer().metrics().render(gateway.lambda) + &state.gate.gauges();
            respond("text/plain; version=0.0.4; charset=utf-8", text)
        }
        Endpoint::Home | Endpoint::Model(_) | Endpoint::Admin(..) => {
            respond("text/html; charset=utf-8", home(state, call))
        }
    })
}

/// The answer of the health probes.
pub(super) fn alive() -> Response<Body> {
    json(&json!({"status": "healthy", "version": VERSION}))
}

fn json(value: &Value) -> Response<Body> {
    respond("application/json", value.to_string())
}

fn respond(kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Model groups and aliases that have a name of their own: what a wildcard takes is nobody's list.
fn models(state: &State, wire: Wire, caller: &Caller) -> Value {
    let names: Vec<&String> = state.table.listed().iter().filter(|name| may_use(state, caller, name)).collect();
    let data: Vec<Value> = names.iter().filter_map(|name| described(state, wire, name)).collect();
    match wire {
        Wire::OpenAiChat | Wire::Gemini => json!({"object": "list", "data": data}),
        Wire::AnthropicMessages => json!({
            "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last(),
        }),
    }
}

fn model(state: &State, wire: Wire, caller: &Caller, id: &str) -> Result<Value, Refusal> {
    // What it may not use is not there for it.
    described(state, wire, id).filter(|_| may_use(state, caller, id)).ok_or_else(|| {
        let shown: String = id.chars().take(200).collect();
        let hint = state
            .table
            .nearest(id, &|name| caller.may_use(&[name]))
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        let message = format!("there is no model `{shown}` here{hint}");
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message).code("model_not_found").param("model")
    })
}

/// The most input and output tokens of a group.
pub(super) fn limits(group: &Group) -> (Option<u64>, Option<u64>) {
    let members: Vec<&Deployment> = group.deployments.iter().map(|deployment| &**deployment).collect();
    let most = |of: fn(&Deployment) -> Option<u64>| members.iter().filter_map(|deployment| of(deployment)).max();
    let output = |deployment: &Deployment| deployment.profile.max_output.filter(|_| deployment.profile.known);
    (group.info.max_input_tokens.or_else(|| most(room)), group.info.max_output_tokens.or_else(|| most(output)))
}

/// What any of a group's deployments can do, as far as that is known.
pub(super) fn capabilities(group: &Group) -> Vec<&'static str> {
    let known = || group.deployments.iter().filter(|deployment| deployment.profile.known);
    CAPABILITIES.iter().filter(|(_, has)| known().any(|it| has(&it.profile))).map(|(field, _)| *field).collect()
}

/// What `name` can be used for: its limits are those of the deployment with most room, its capabilities those that any has,
/// since a request goes to one that can take it.
fn described(state: &State, wire: Wire, name: &str) -> Option<Value> {
    let found = state.table.resolve(name)?;
    let group = state.settings.groups.get(found.group)?;
    let members = Members::of(group, &found);
    let members = members.all.iter().enumerate().filter(|(place, _)| found.deployment.is_none_or(|it| it == *place));
    let members: Vec<&Deployment> = members.map(|(_, deployment)| &**deployment).collect();
    let mode = group.info.mode.as_deref().unwrap_or("chat");
    let (mut value, openai) = match wire {
        Wire::OpenAiChat | Wire::Gemini => (
            json!({
                "id": name, "object": "model", "created": state.since, "owned_by": "feathergate", "mode": mode,
            }),
            true,
        ),
        Wire::AnthropicMessages => (
            json!({
                "type": "model", "id": name, "display_name": name, "created_at": clock::rfc3339(state.since * 1000),
            }),
            false,
        ),
    };
    let object = value.as_object_mut()?;
    let most = |of: fn(&Deployment) -> Option<u64>| members.iter().filter_map(|deployment| of(deployment)).max();
    let input = group.info.max_input_tokens.or_else(|| most(room));
    let output = group
        .info
        .max_output_tokens
        .or_else(|| most(|deployment| deployment.profile.max_output.filter(|_| deployment.profile.known)));
    for (field, limit) in [("max_input_tokens", input), ("max_output_tokens", output)] {
        if let Some(limit) = limit {
            object.insert(field.to_owned(), json!(limit));
        }
    }
    if openai && mode == "chat" {
        for (field, has) in CAPABILITIES {
            let has = |deployment: &&Deployment| has(&deployment.profile);
            let known = |deployment: &&Deployment| deployment.profile.known;
            // Of a model that nobody knows nothing is claimed.
            if members.iter().any(|it| known(it) && has(it)) {
                object.insert((*field).to_owned(), json!(true));
            } else if members.iter().all(known) {
                object.insert((*field).to_owned(), json!(false));
            }
        }
    }
    Some(value)
}

/// What a model can do, by litellm's names.
type Capability = (&'static str, fn(&Profile) -> bool);
const CAPABILITIES: &[Capability] = &[
    ("supports_assistant_prefill", |profile| profile.prefill),
    ("supports_audio_input", |profile| profile.reads.audio),
    ("supports_function_calling", |profile| profile.tools),
    ("supports_parallel_function_calling", |profile| profile.tools && profile.parallel),
    ("supports_pdf_input", |profile| profile.reads.documents),
    ("supports_reasoning", |profile| profile.reasons != Reasons::Never),
    ("supports_response_schema", |profile| profile.schemas),
    ("supports_system_messages", |profile| profile.system_role == SystemRole::System),
    ("supports_tool_choice", |profile| profile.tools && profile.forced_tools != Forced::Refused),
    ("supports_video_input", |profile| profile.reads.video),
    ("supports_vision", |profile| profile.reads.images),
    ("supports_web_search", |profile| profile.web_search),
];

/// Which models could be called, as far as that is known without calling them. It names variables, never values.
fn health(state: &State) -> Value {
    let mut unhealthy = Vec::new();
    let mut healthy = 0;
    for deployment in state.settings.groups.iter().flat_map(|group| &group.deployments) {
        match &deployment.api_key {
            Some(key @ Text::Unset(_)) if deployment.mock.is_none() => unhealthy.push(json!({
                "model_group": deployment.group, "deployment": deployment.id,
                "problem": format!("{} is not set", describe(key)),
            })),
            _ => healthy += 1,
        }
    }
    json!({
        "status": if healthy == 0 { "unhealthy" } else { "healthy" }, "version": VERSION,
        "healthy_count": healthy, "unhealthy_count": unhealthy.len(), "unhealthy": unhealthy,
    })
}

fn home(state: &State, call: &Call) -> String {
    let settings = &state.settings;
    let guarded = settings.master_key.is_some();
    let open = guarded || settings.allow_unauthenticated || call.signed || call.exposure == Exposure::Loopback;
    let notice = if open {
        ""
    } else {
        "<p class=warn>This gateway has no master key and anybody can reach it, so it answers no calls. Set \
         <code>general_settings.master_key</code> in its configuration.</p>"
    };
    // Strangers are told no names.
    let first = state.table.listed().first().filter(|_| !guarded).map_or("YOUR_MODEL", String::as_str);
    let key = if guarded { "\n  -H 'authorization: Bearer YOUR_KEY' \\" } else { "" };
    PAGE.replace("{version}", VERSION)
        .replace("{notice}", notice)
        .replace("{model}", &escape(first))
        .replace("{key}", key)
        .replace(
            "{paths}",
            &format!("<li><code>{}</code></li>", routes::calls().collect::<Vec<_>>().join("</code></li><li><code>")),
        )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&quot;")
}

const PAGE: &str = include_str!("home.html");

/// Lets browsers read the answer, where the configuration names their origin.
pub(super) fn cors(settings: &Settings, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if settings.cors_origins.is_empty() {
        return;
    }
    if settings.cors_origins.iter().any(|allowed| allowed == "*") {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        // One value: what Lambda does with a header of several is not documented.
        let vary = if headers.contains_key(VARY) { "origin, access-control-request-headers" } else { "origin" };
        headers.insert(VARY, HeaderValue::from_static(vary));
        let known =
            origin.filter(|origin| settings.cors_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()));
        let Some(origin) = known else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    // Credentials are never allowed, so the star means all (Fetch standard): rate limits come under many names.
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id, *"));
}

/// Answers a browser's question before the question; the origin is judged by [`cors`].
pub(super) fn preflight(settings: &Settings, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if !settings.cors_origins.is_empty() {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::raw::Document;
    use crate::config::resolve::resolve;
    use crate::config::settings::Alias;

    fn state() -> State {
        let entry = |name: &str, model: &str, info: &str| {
            format!(
                "- model_name: {name}\n  litellm_params: {{model: {model}, api_key: sk-upstream}}\n  model_info: {{{info}}}\n"
            )
        };
        let yaml = "model_list:\n".to_owned()
            + &entry("mixed", "openai/gpt-3.5-turbo", "")
            + &entry("mixed", "openai/gpt-4o", "id: one")
            + &entry("own", "hosted_vllm/my-own", "max_input_tokens: 5000")
                .replace("api_key", "api_base: 'http://h/v1', api_key")
            + &entry("maybe", "openai/gpt-3.5-turbo", "")
            + &entry("maybe", "openai/my-own", "")
            + &entry("vectors", "openai/text-embedding-3-small", "mode: embedding")
            + &entry("wild", "openai/x", "");
        let document = Document::parse("a.yaml", &yaml).unwrap();
        let resolved = resolve(&document, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        let mut settings = resolved.settings;
        let wild = settings.groups.last_mut().unwrap();
        wild.name = "my-*".to_owned();
        let own = Deployment::clone(&wild.deployments[0]);
        wild.deployments = vec![Arc::new(Deployment { model: "*".to_owned(), ..own })];
        let alias = |name: &str, target: &str, hidden| Alias {
            name: name.to_owned(),
            target: target.to_owned(),
            hidden,
            redirect: false,
        };
        settings.aliases = vec![alias("best", "my-claude", false), alias("quiet", "mixed", true)];
        State::new(Arc::new(settings), None)
    }

    #[test]
    fn groups_and_aliases_are_listed() {
        let state = state();
        for wire in [Wire::OpenAiChat, Wire::AnthropicMessages] {
            let list = models(&state, wire, &Caller::Operator);
            let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
            assert_eq!(ids, ["mixed", "own", "maybe", "vectors", "best"], "{wire:?}");
        }
        let list = models(&state, Wire::AnthropicMessages, &Caller::Operator);
        assert_eq!((&list["first_id"], &list["last_id"]), (&json!("mixed"), &json!("best")));
    }

    #[test]
    fn a_model_is_described_with_its_limits_and_capabilities() {
        let state = state();
        let of = |id: &str| model(&state, Wire::OpenAiChat, &Caller::Operator, id).unwrap();
        for (id, mode, input, output, sees, schemas) in [
            ("mixed", "chat", json!(128_000), json!(16_384), json!(true), json!(true)),
            ("one", "chat", json!(128_000), json!(16_384), json!(true), json!(true)),
            ("quiet", "chat", json!(128_000), json!(16_384), json!(true), json!(true)),
            // What it can do nobody knows.
            ("own", "chat", json!(5000), Value::Null, Value::Null, Value::Null),
            ("maybe", "chat", json!(16_385), json!(4096), Value::Null, Value::Null),
            ("vectors", "embedding", Value::Null, Value::Null, Value::Null, Value::Null),
            ("my-gpt-3.5-turbo", "chat", json!(16_385), json!(4096), json!(false), json!(false)),
            ("my-gpt-4.1", "chat", json!(1_047_576), json!(32_768), json!(true), json!(true)),
        ] {
            let found = of(id);
            assert_eq!((&found["id"], &found["mode"]), (&json!(id), &json!(mode)));
            assert_eq!((&found["max_input_tokens"], &found["max_output_tokens"]), (&input, &output), "{id}");
            assert_eq!((&found["supports_vision"], &found["supports_response_schema"]), (&sees, &schemas), "{id}");
        }
        let anthropic = model(&state, Wire::AnthropicMessages, &Caller::Operator, "mixed").unwrap();
        assert_eq!((&anthropic["max_input_tokens"], &anthropic["supports_vision"]), (&json!(128_000), &Value::Null));
        let refusal = model(&state, Wire::OpenAiChat, &Caller::Operator, "mixd").unwrap_err();
        assert!(refusal.message.ends_with("did you mean `mixed`?"), "{}", refusal.message);
        let refusal = model(&state, Wire::OpenAiChat, &Caller::Operator, "quie").unwrap_err();
        assert!(!refusal.message.contains("quiet"), "{}", refusal.message);
    }
}
