//! `feathergate.system_prompts` and `feathergate.prompt_variables`: what the operator adds to the system part of requests.

use http::HeaderName;

use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::reference::Value;
use super::super::settings::Group;
use super::reader::{Reader, elements};
use crate::calendar::Zone;
use crate::order;
use crate::prompt::{Mode, Prompt, Prompts, Template, Words};
use crate::route::table::fits;

const SECTION: &str = "feathergate";
const PROMPTS: &str = "system_prompts";
const VARIABLES: &str = "prompt_variables";

/// Headers that carry what a model must not be told.
const SECRET: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Reads both.
pub(super) fn read(reader: &mut Reader<'_>, groups: &[Group]) -> Prompts {
    let (zone, words) = variables(reader);
    let mut list = Vec::new();
    if let Some((place, node)) = reader.setting(SECTION, PROMPTS) {
        for (place, node) in elements(&place, node) {
            list.extend(prompt(reader, &place, node, (groups, &words)));
        }
    }
    // Stable: among their like they keep the order of the file.
    order::sort_by_key(&mut list, |prompt| prompt.models.is_some());
    Prompts { list, zone, words }
}

fn variables(reader: &mut Reader<'_>) -> (Zone, Words) {
    let (mut zone, mut words) = (Zone::UTC, Words::default());
    let Some((place, node)) = reader.setting(SECTION, VARIABLES) else { return (zone, words) };
    for (key, node) in reader.map(&place, node) {
        let place = place.key(key);
        match key.as_str() {
            _ if *node == Node::Null => {}
            "time_zone" => zone = time_zone(reader, &place, node).unwrap_or(zone),
            "headers" => words.headers = headers(reader, &place, node),
            "env" => words.env = environment(reader, &place, node),
            _ => unknown(reader, &place, key, &["time_zone", "headers", "env"]),
        }
    }
    (zone, words)
}

fn unknown(reader: &mut Reader<'_>, place: &Place, key: &str, known: &[&str]) {
    let near = nearest(key, known.iter().copied());
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    reader.error(place, format!("is no key known here; there are `{}`{near}", known.join("`, `")));
}

fn time_zone(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Zone> {
    let text = reader.string(place, node)?;
    Zone::find(&text).map_err(|why| reader.error(place, why)).ok()
}

fn headers(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Vec<String> {
    let key = reader.setting(SECTION, "key_header").and_then(|(_, node)| match node {
        Node::Text(name) => Some(name.trim().to_ascii_lowercase()),
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::List(_) | Node::Map(_) => None,
    });
    let mut names = Vec::new();
    for (place, node) in elements(place, node) {
        let Some(text) = reader.string(&place, node) else { continue };
        let name = text.trim().to_ascii_lowercase();
        if SECRET.contains(&name.as_str()) || key.as_deref() == Some(&name) {
            reader.error(&place, "this header carries a secret, which must not get into a prompt");
        } else if HeaderName::from_bytes(name.as_bytes()).is_err() {
            reader.error(&place, "must be the name of a header, such as `x-team`");
        } else {
            names.push(name);
        }
    }
    names
}

fn environment(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for (place, node) in elements(place, node) {
        let Some(name) = reader.string(&place, node) else { continue };
        let name = name.trim();
        match reader.variable(&place, name) {
            Some(Value::Known(value)) => values.push((name.to_owned(), value)),
            Some(Value::Parameter(_)) => {
                reader.error(&place, "this variable refers to an SSM parameter, which must not get into a prompt");
            }
            Some(Value::Unset(_)) | None => {
                let name = shown(name);
                let message =
                    format!("the environment variable `{name}` is not set; set it, here or in `environment_variables`");
                reader.error(&place, message);
            }
        }
    }
    values
}

/// An entry: a text, or a map with it.
fn prompt(reader: &mut Reader<'_>, place: &Place, node: &Node, (groups, words): (&[Group], &Words)) -> Option<Prompt> {
    let Node::Map(entries) = node else {
        return finished(
            reader,
            place,
            node,
            words,
            Prompt { mode: Mode::Prepend, models: None, template: Template::default() },
        );
    };
    let mut prompt = Prompt { mode: Mode::Prepend, models: None, template: Template::default() };
    let mut text = None;
    for (key, node) in entries {
        let place = place.key(key);
        match key.as_str() {
            "text" => text = Some((place, node)),
            "mode" if *node != Node::Null => prompt.mode = mode(reader, &place, node)?,
            "models" if *node != Node::Null => prompt.models = Some(models(reader, &place, node, groups)),
            "mode" | "models" => {}
            _ => unknown(reader, &place, key, &["text", "mode", "models"]),
        }
    }
    match text {
        Some((place, node)) => finished(reader, &place, node, words, prompt),
        None => {
            reader.error(place, "has no `text`");
            None
        }
    }
}

fn mode(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Mode> {
    let text = reader.string(place, node)?;
    let found = Mode::NAMES.iter().find(|(name, _)| *name == text.trim()).map(|(_, mode)| *mode);
    if found.is_none() {
        reader.error(
            place,
            "must be `prepend` (in front of what the client says), `append` (behind it) or `replace` (in place of it)",
        );
    }
    found
}

fn models(reader: &mut Reader<'_>, place: &Place, node: &Node, groups: &[Group]) -> Vec<String> {
    let mut patterns = Vec::new();
    for (place, node) in elements(place, node) {
        let Some(pattern) = reader.string(&place, node) else { continue };
        let names = || groups.iter().map(|group| group.name.as_str());
        if !names().any(|name| fits(&pattern, name)) {
            let near = nearest(&pattern, names()).map(|near| format!("; did you mean `{}`?", shown(near)));
            let near = near.unwrap_or_default();
            reader.warn(&place, format!("no `model_name` is `{}`, so this does nothing{near}", shown(&pattern)));
        }
        patterns.push(pattern);
    }
    if patterns.is_empty() {
        reader.error(place, "names no model; leave it out for all of them");
    }
    patterns
}

/// With its text, which stands at `place`.
fn finished(reader: &mut Reader<'_>, place: &Place, node: &Node, words: &Words, prompt: Prompt) -> Option<Prompt> {
    let text = reader.string(place, node)?;
    let template = match Template::parse(&text, words) {
        Ok(template) => template,
        Err(errors) => {
            for error in errors {
                reader.error(place, error);
            }
            return None;
        }
    };
    if template.is_empty() && prompt.mode != Mode::Replace {
        reader.error(place, "is empty; with `mode: replace` that would take out what clients say");
        return None;
    }
    if let Some(variable) = template.restless() {
        reader.warn(
            place,
            format!(
                "`{variable}` changes all the time, and with it everything that follows: providers' prompt caches end before it, \
                 so each turn of a conversation is paid for in full; `{{{{date}}}}` changes once a day"
            ),
        );
    }
    Some(Prompt { template, ..prompt })
}
