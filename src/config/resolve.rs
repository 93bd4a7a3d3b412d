//! From the YAML as written to typed [`Settings`], in one step and with every problem at once. Calls nobody: the
//! environment comes in as a function, and what is in Parameter Store stays a reference.
//!
//! ```
//! use feathergate::config::{raw::Document, resolve::resolve};
//! let yaml = "model_list:\n- model_name: a\n  litellm_params: {model: openai/gpt-5-mini, api_key: sk-upstream}\n";
//! let resolved = resolve(&Document::parse("a.yaml", yaml).unwrap(), &|_| None).unwrap();
//! assert_eq!(resolved.settings.groups[0].name, "a");
//! ```

mod defaults;
mod deployment;
mod facts;
mod fallbacks;
mod limits;
mod models;
mod names;
mod prices;
mod prompts;
mod reader;
mod routing;
mod store;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use super::problem::{Problem, Problems};

use super::check;
use super::problem::Place;
use super::raw::{Document, Node};
use super::reference::Value;
use super::secret::Text;
use super::settings::{Limits, ResponseModel, Routing, Settings, StoreSettings};
use crate::prompt::Prompts;
use reader::Reader;

/// What a document means.
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// What works but deserves a look.
    pub warnings: Vec<Problem>,
}

/// Reads `path` with what it includes, and resolves it. The first part is the files that were read, or tried, the main one
/// first: those to watch, above all when something is wrong with one of them.
///
/// # Errors
/// Everything that keeps the configuration from being used.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> (Vec<PathBuf>, Result<Resolved, Problems>) {
    let files = RefCell::new(Vec::new());
    let document = Document::load(path, &|path| {
        files.borrow_mut().push(path.to_owned());
        std::fs::read_to_string(path)
    });
    (files.into_inner(), document.and_then(|document| resolve(&document, env)))
}

/// Finds out what `document` means in the environment `env`.
///
/// # Errors
/// Everything that keeps the configuration from being used.
pub fn resolve(document: &Document, env: &dyn Fn(&str) -> Option<String>) -> Result<Resolved, Problems> {
    let Parts { settings, errors, warnings: more, .. } = parts(document, env);
    if !errors.is_empty() {
        return Err(Problems(errors));
    }
    let mut warnings = document.warnings().to_vec();
    warnings.extend(check::warnings(document));
    warnings.extend(more);
    Ok(Resolved { settings, warnings })
}

/// What a document means, with all that is to be said of it but what is about unknown and unsupported keys.
pub(super) struct Parts {
    settings: Settings,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// What is worth knowing of a key that works.
    pub(super) notes: Vec<Problem>,
}

/// The errors, the warnings and the notes of a document.
pub(super) fn problems(document: &Document, env: &dyn Fn(&str) -> Option<String>) -> Parts {
    let mut parts = parts(document, env);
    parts.warnings.splice(..0, document.warnings().iter().cloned());
    parts
}

fn parts(document: &Document, env: &dyn Fn(&str) -> Option<String>) -> Parts {
    let mut reader = Reader::new(document, env);
    reader.environment();
    let mut settings = own_settings(&mut reader);
    for name in ["general_settings", "litellm_settings", "router_settings"] {
        // Of something else no key is ever found.
        reader.section(name);
    }
    let shared = routing::read(&mut reader, &mut settings.routing);
    let (groups, absent) = models::groups(&mut reader, &shared);
    let (names, aliases) = names::read(&mut reader, &groups, absent);
    (settings.groups, settings.aliases) = (groups, aliases);
    fallbacks::read(&mut reader, &names, &mut settings.routing.fallbacks);
    settings.master_key = master_key(&mut reader);
    settings.timeout = timeout(&mut reader);
    settings.stream_timeout = stream_timeout(&mut reader);
    settings.prompts = prompts::read(&mut reader, &settings.groups);
    settings.limits = limits::limits(&mut reader, &settings.groups);
    settings.stream_cost = stream_cost(&mut reader);
    settings.store = store::read(&mut reader, &settings.groups);
    let notes = reader.notes();
    let (errors, warnings) = reader.finish();
    Parts { settings, errors, warnings, notes }
}

/// The `feathergate` section over the defaults.
fn own_settings(reader: &mut Reader<'_>) -> Settings {
    let mut settings = Settings {
        groups: Vec::new(),
        master_key: None,
        allow_unauthenticated: false,
        key_header: None,
        response_model: ResponseModel::Upstream,
        max_request: 6 << 20,
        max_response: 64 << 20,
        heartbeat: Some(HEARTBEAT),
        early_heartbeat: false,
        stream_usage: true,
        log_bodies: false,
        timeout: Duration::from_mins(10),
        stream_timeout: None,
        idle_timeout: Duration::from_mins(2),
        cors_origins: vec!["*".to_owned()],
        secret_ttl: Duration::from_mins(10),
        aliases: Vec::new(),
        routing: Routing { mock_testing: true, ..Routing::default() },
        prompts: Prompts::default(),
        limits: Limits::default(),
        stream_cost: false,
        store: StoreSettings::default(),
    };
    let place = Place::root().key("feathergate");
    for (key, node) in reader.section("feathergate") {
        let place = place.key(key);
        if *node != Node::Null {
            own_setting(reader, &mut settings, key, &place, node);
        }
    }
    settings
}

/// Keys that are not known are `check`'s.
fn own_setting(reader: &mut Reader<'_>, settings: &mut Settings, key: &str, place: &Place, node: &Node) {
    let switch = match key {
        "allow_unauthenticated" => Some(&mut settings.allow_unauthenticated),
        "early_heartbeat" => Some(&mut settings.early_heartbeat),
        "stream_usage" => Some(&mut settings.stream_usage),
        "log_bodies" => Some(&mut settings.log_bodies),
        _ => None,
    };
    if let Some(switch) = switch {
        *switch = reader.boolean(place, node).unwrap_or(*switch);
        return;
    }
    if routing::own(reader, &mut settings.routing, key, place, node) {
        return;
    }
    match key {
        "key_header" => settings.key_header = key_header(reader, place, node),
        "response_model" => {
            settings.response_model = response_model(reader, place, node).unwrap_or(settings.response_model);
        }
        "max_request_mb" => settings.max_request = reader.megabytes(place, node).unwrap_or(settings.max_request),
        "max_response_mb" => settings.max_response = reader.megabytes(place, node).unwrap_or(settings.max_response),
        "heartbeat" => settings.heartbeat = heartbeat(reader, place, node),
        "idle_timeout" => settings.idle_timeout = reader.duration(place, node).unwrap_or(settings.idle_timeout),
        "secret_ttl" => settings.secret_ttl = reader.duration(place, node).unwrap_or(settings.secret_ttl),
        "cors_origins" => settings.cors_origins = cors_origins(reader, place, node),
        _ => {}
    }
}

const HEARTBEAT: Duration = Duration::from_secs(10);

fn heartbeat(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Duration> {
    match reader.plain(place, node)? {
        Node::Bool(true) => Some(HEARTBEAT),
        Node::Bool(false) | Node::Int(0) => None,
        Node::Text(text) if matches!(text.trim(), "0" | "0s" | "false" | "off" | "no") => None,
        other @ (Node::Null | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) | Node::Map(_)) => {
            reader.duration(place, &other)
        }
    }
}

fn key_header(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<HeaderName> {
    let text = reader.string(place, node)?;
    if let Ok(name) = HeaderName::from_bytes(text.trim().as_bytes()) {
        return Some(name);
    }
    reader.error(place, "must be the name of a header, such as `x-feathergate-key`");
    None
}

fn response_model(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<ResponseModel> {
    match reader.string(place, node)?.trim() {
        "upstream" => Some(ResponseModel::Upstream),
        "alias" => Some(ResponseModel::Alias),
        _ => {
            reader.error(
                place,
                "must be `upstream` (answers keep the model name the provider gave) or `alias` (they get the one the \
                 client asked for)",
            );
            None
        }
    }
}

fn cors_origins(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Vec<String> {
    if *node == Node::Bool(false) {
        return Vec::new();
    }
    let mut origins = Vec::new();
    for (place, node) in reader::elements(place, node) {
        let Some(text) = reader.string(&place, node) else { continue };
        // Several in one text, with commas, is what an environment variable can hold.
        for origin in text.split(',') {
            let origin = origin.trim().trim_end_matches('/');
            let plain =
                origin.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.contains(['/', '@']));
            if origin == "*" || (plain && HeaderValue::from_str(origin).is_ok()) {
                origins.push(origin.to_owned());
            } else {
                reader.error(&place, "must be `*` or origins like `https://app.example.com`, without a path");
            }
        }
    }
    origins
}

fn timeout(reader: &mut Reader<'_>) -> Duration {
    let places =
        [("litellm_settings", "request_timeout"), ("router_settings", "timeout"), ("litellm_settings", "timeout")];
    first_duration(reader, &places).unwrap_or(Duration::from_mins(10))
}

fn stream_timeout(reader: &mut Reader<'_>) -> Option<Duration> {
    first_duration(reader, &[("router_settings", "stream_timeout"), ("litellm_settings", "stream_timeout")])
}

/// Whether streams tell their cost.
fn stream_cost(reader: &mut Reader<'_>) -> bool {
    let setting = reader.setting("litellm_settings", "include_cost_in_streaming_usage");
    setting.and_then(|(place, node)| reader.boolean(&place, node)).unwrap_or(false)
}

/// The first of these that is set; the others are still checked, and do nothing.
fn first_duration(reader: &mut Reader<'_>, places: &[(&str, &str)]) -> Option<Duration> {
    let (mut found, mut first) = (None, None);
    for (section, key) in places {
        if let Some((place, node)) = reader.setting(section, key) {
            let duration = reader.duration(&place, node);
            found = found.or(duration);
            match &first {
                Some(first) => reader.warn(&place, format!("`{first}` counts, and not this")),
                None => first = Some(place),
            }
        }
    }
    found
}

/// `general_settings.master_key`, or else, as in litellm, the environment variable.
fn master_key(reader: &mut Reader<'_>) -> Option<Text> {
    let permit = "dangerously_permit_weak_or_unset_master_key";
    let permit = reader
        .setting("general_settings", permit)
        .and_then(|(place, node)| reader.boolean(&place, node))
        .unwrap_or(false);
    let (place, value) = if let Some((place, node)) = reader.setting("general_settings", "master_key") {
        let value = reader.text(&place, node)?;
        (place, value)
    } else {
        const VARIABLE: &str = "LITELLM_MASTER_KEY";
        let own = reader.setting("environment_variables", VARIABLE);
        let declared = own.is_some();
        let place = own.map_or_else(|| Place::root().key("general_settings").key("master_key"), |(place, _)| place);
        match reader.variable(&place, VARIABLE) {
            Some(value) => (place, value),
            // To serve everybody because a variable is missing would be the worst way to fail.
            None if declared => (place, Value::Unset(VARIABLE.to_owned())),
            None => return None,
        }
    };
    let text = match value {
        Value::Known(text) => text,
        Value::Parameter(name) => return Some(Text::Parameter(name)),
        Value::Unset(name) => {
            let name = super::problem::shown(&name);
            let message =
                format!("the environment variable `{name}` is not set, and without it anybody could call; set it");
            reader.error(&place, message);
            return None;
        }
    };
    let key = text.trim();
    if key.is_empty() {
        reader.error(&place, format!("the master key is empty; {MAKE_ONE}"));
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.error(&place, format!("the master key holds a character that cannot stand in a header; {MAKE_ONE}"));
    } else if let Some(why) = weak_key(key) {
        if permit {
            reader.warn(&place, format!("the master key is weak, and permitted only because you say so: {why}"));
        } else {
            reader.error(&place, format!("this master key cannot be used: {why}; {MAKE_ONE}"));
        }
    } else if !key.starts_with("sk-") {
        reader.warn(&place, "the master key does not start with `sk-`, which some clients expect");
    }
    Some(Value::Known(text).into_text())
}

const MAKE_ONE: &str = "make one with `echo \"sk-$(openssl rand -hex 32)\"`";

/// Why a master key is too easily guessed, if it is. Keys from Parameter Store are asked about when they are fetched.
#[must_use]
pub fn weak_key(key: &str) -> Option<&'static str> {
    const WELL_KNOWN: &[&str] = &[
        "admin",
        "changeme",
        "password",
        "secret",
        "sk-1234",
        "sk-12345",
        "sk-123456",
        "sk-1234567890abcdef",
        "sk-admin",
        "sk-key",
        "sk-litellm",
        "sk-master",
        "sk-test",
        "test",
    ];
    /// What stands in examples for a key that somebody has yet to make.
    const WORDS: &[&str] = &[
        "admin",
        "api",
        "change",
        "example",
        "gateway",
        "here",
        "key",
        "litellm",
        "master",
        "me",
        "my",
        "password",
        "placeholder",
        "proxy",
        "secret",
        "test",
        "token",
        "your",
    ];
    let key = key.trim().to_ascii_lowercase();
    let rest = key.strip_prefix("sk-").unwrap_or(&key);
    let own = WORDS.iter().fold(rest.replace(['-', '_'], ""), |rest, word| rest.replace(word, ""));
    let mut letters = rest.as_bytes().to_vec();
    // Some in a row, such as `3456` or `cdef`, count as one.
    let next = |pair: &&[u8]| matches!(pair, [first, second] if first.checked_add(1) == Some(*second));
    let runs = letters.windows(2).filter(|pair| !next(pair)).count();
    letters.sort_unstable();
    letters.dedup();
    if WELL_KNOWN.contains(&key.as_str()) {
        Some("everybody knows it from examples")
    } else if key.len() >= 16 && (own.len() < 6 || letters.len() < 6 || runs < 4) {
        Some("it is made of words from examples, or too regular to be random")
    } else if key.starts_with("sk-fg-") || key.starts_with("fgs-") {
        Some("it begins as virtual keys and sessions do")
    } else if key.len() < 16 {
        Some("it is shorter than 16 characters")
    } else {
        None
    }
}
