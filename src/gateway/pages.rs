//! What is not a model call: the model list, health, metrics, the page at `/`, and CORS.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::routes::{self, Endpoint};
use super::{Body, Call, Exposure, Gateway, State};
use crate::config::secret::{Text, describe};
use crate::config::settings::{Group, Settings};
use crate::observe::clock;
use crate::wire::Wire;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers everything but model calls.
pub(super) fn page(
    gateway: &Gateway,
    state: &State,
    endpoint: &Endpoint,
    wire: Wire,
    call: &Call,
) -> Result<Response<Body>, Refusal> {
    Ok(match endpoint {
        Endpoint::Models => json(&models(state, wire)),
        Endpoint::ModelInfo(id) => json(&model(state, wire, id)?),
        Endpoint::Health => json(&health(state)),
        Endpoint::Liveness | Endpoint::Readiness => alive(),
        Endpoint::Metrics => {
            let text = gateway.observer().metrics().render(gateway.lambda);
            respond("text/plain; version=0.0.4; charset=utf-8", text)
        }
        Endpoint::Home | Endpoint::Model(_) => respond("text/html; charset=utf-8", home(state, call)),
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

fn models(state: &State, wire: Wire) -> Value {
    let groups = &state.settings.groups;
    let data: Vec<Value> = groups.iter().map(|group| describe_group(state, wire, group)).collect();
    match wire {
        Wire::OpenAiChat | Wire::Gemini => json!({"object": "list", "data": data}),
        Wire::AnthropicMessages => json!({
            "data": data, "has_more": false,
            "first_id": groups.first().map(|group| &group.name), "last_id": groups.last().map(|group| &group.name),
        }),
    }
}

fn model(state: &State, wire: Wire, id: &str) -> Result<Value, Refusal> {
    let group = state.table.find(id).and_then(|place| state.settings.groups.get(place));
    group.map(|group| describe_group(state, wire, group)).ok_or_else(|| {
        let shown: String = id.chars().take(200).collect();
        let hint = state.table.nearest(id).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let message = format!("there is no model `{shown}` here{hint}");
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message).code("model_not_found").param("model")
    })
}

fn describe_group(state: &State, wire: Wire, group: &Group) -> Value {
    let mut value = match wire {
        Wire::OpenAiChat | Wire::Gemini => json!({
            "id": group.name, "object": "model", "created": state.since, "owned_by": "feathergate",
            "mode": group.info.mode.as_deref().unwrap_or("chat"),
        }),
        Wire::AnthropicMessages => json!({
            "type": "model", "id": group.name, "display_name": group.name,
            "created_at": clock::rfc3339(state.since * 1000),
        }),
    };
    if let Some(object) = value.as_object_mut() {
        let limits =
            [("max_input_tokens", group.info.max_input_tokens), ("max_output_tokens", group.info.max_output_tokens)];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                object.insert(name.to_owned(), json!(limit));
            }
        }
    }
    value
}

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
    let first = settings.groups.first().filter(|_| !guarded).map_or("YOUR_MODEL", |group| group.name.as_str());
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
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    }
    response
}
