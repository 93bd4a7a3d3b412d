//! `litellm_params`: who is called, where, with which key, and what is sent when the client says nothing.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::super::parameters;
use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::reference::Value;
use super::super::secret::{Secret, Text};
use super::super::settings::{Deployment, ExtraHeader};
use super::super::vendor::{self, Vendor};
use super::defaults::defaults;
use super::reader::{Reader, elements};
use crate::route::rules::Cooldown;
use crate::wire::OnLoss;
use crate::wire::profile::Profile;

/// A deployment with its `weight`, `rpm` and `tpm`; its id and weight are not set yet.
pub(super) type Found = (Deployment, [Option<f64>; 3]);

/// The deployments of one entry: several if it lists several keys or organizations.
pub(super) fn deployments(reader: &mut Reader<'_>, place: &Place, node: &Node, group: &str) -> Vec<Found> {
    let params = reader.map(place, node);
    if params.is_empty() {
        if let Node::Map(_) = node {
            reader.error(&place.key("model"), "is missing; write `openai/gpt-5-mini`, say");
        }
        return Vec::new();
    }
    let get = |key: &str| (place.key(key), node.get(key).filter(|node| **node != Node::Null));
    let mock = match get("mock_response") {
        (place, Some(node)) => mock(reader, &place, node),
        (_, None) => None,
    };
    let target = target(reader, place, node, (group, mock.is_some()));
    // Everything is looked at, also when the model is wrong: all problems are told at once.
    let vendor = target.as_ref().map(|(vendor, _)| *vendor);
    let headers = extra_headers(reader, place, node);
    let timeout = duration(reader, get("timeout"));
    let stream_timeout = duration(reader, get("stream_timeout"));
    let weights = ["weight", "rpm", "tpm"].map(|key| weight(reader, get(key)));
    let lenient = drop_params(reader, place, node);
    let drop = vendor.map(|vendor| dropped(reader, place, node, (vendor, lenient))).unwrap_or_default();
    let on_loss = on_loss(reader).unwrap_or(if lenient { OnLoss::Lenient } else { OnLoss::default() });
    let defaults = defaults(reader, place, params, vendor.map(|vendor| vendor.wire));
    let version = match get("api_version") {
        (place, Some(node)) => header_text(reader, &place, node),
        (_, None) => None,
    };
    let organizations = each(reader, get("organization"), header_text);
    let Some((vendor, model)) = target else { return Vec::new() };
    let base = base(reader, place, node, vendor, mock.is_some());
    let keys = keys(reader, place, node, (vendor, group, mock.is_some()));
    let Some(base) = base else { return Vec::new() };
    let mut found = Vec::with_capacity(keys.len() * organizations.len());
    for key in &keys {
        for organization in &organizations {
            let deployment = Deployment {
                id: String::new(),
                group: group.to_owned(),
                vendor,
                wire: vendor.wire,
                model: model.clone(),
                profile: Profile::find(vendor.wire, vendor.name, &model),
                facts: None,
                on_loss,
                api_key: key.clone(),
                api_base: base.clone(),
                api_version: version.clone(),
                organization: organization.clone(),
                extra_headers: headers.iter().map(|(name, value)| (name.clone(), copy(value))).collect(),
                timeout,
                stream_timeout,
                drop: drop.clone(),
                defaults: defaults.clone(),
                mock: mock.clone(),
                weight: 1,
                order: 0,
                rpm: None,
                tpm: None,
                parallel: None,
                num_retries: None,
                price: Arc::default(),
                pricing: Arc::default(),
                cooldown: Cooldown::default(),
                tags: Vec::new(),
                region: None,
                max_input_tokens: None,
            };
            found.push((deployment, weights));
        }
    }
    found
}

fn mock(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<String> {
    let text = reader.string(place, node)?;
    let error = text.strip_prefix("litellm.").filter(|name| !name.contains(char::is_whitespace));
    if error.is_some_and(|name| !MOCK_ERRORS.contains(&name)) {
        let message = format!(
            "is answered as a text; what stands for an error is `litellm.` before {}",
            super::facts::list(MOCK_ERRORS.into_iter())
        );
        reader.warn(place, message);
    }
    Some(text)
}

/// The errors that a `mock_response` can stand for.
const MOCK_ERRORS: [&str; 4] =
    ["RateLimitError", "InternalServerError", "ContextWindowExceededError", "ContentPolicyViolationError"];

fn copy(value: &ExtraHeader) -> ExtraHeader {
    match value {
        ExtraHeader::Known(value) => ExtraHeader::Known(value.clone()),
        ExtraHeader::Parameter(name) => ExtraHeader::Parameter(name.clone()),
    }
}

const UNSHOWN: &str = "the variable that is named here holds no provider and model that are known; it should hold \
                       something like `openai/gpt-5-mini`";

/// The vendor, and the model's name there.
fn target(
    reader: &mut Reader<'_>,
    place: &Place,
    node: &Node,
    (group, mock): (&str, bool),
) -> Option<(&'static Vendor, String)> {
    let at = place.key("model");
    let Some(model) = node.get("model").filter(|node| **node != Node::Null) else {
        reader.error(&at, "is missing; write `openai/gpt-5-mini`, say");
        return None;
    };
    let as_written = |node: &Node, text: &str| matches!(node, Node::Text(written) if written.trim() == text);
    let (written, model) = (model, reader.string(&at, model)?.trim().to_owned());
    let found = match node.get("custom_llm_provider").filter(|node| **node != Node::Null) {
        Some(written) => {
            let at = place.key("custom_llm_provider");
            let provider = reader.string(&at, written)?.trim().to_owned();
            match known(&provider) {
                Ok(vendor) => {
                    let own = model.strip_prefix(&provider).and_then(|rest| rest.strip_prefix('/'));
                    Ok((vendor, own.unwrap_or(&model).to_owned()))
                }
                Err(message) => {
                    reader.error(&at, if as_written(written, &provider) { message } else { UNSHOWN.to_owned() });
                    return None;
                }
            }
        }
        // The wrong variable may have been named, so what is in it is not shown.
        None => by_model(&model, mock)
            .map_err(|message| if as_written(written, &model) { message } else { UNSHOWN.to_owned() }),
    };
    let wrong = match found {
        Err(message) => message,
        Ok((_, name)) if name.is_empty() => "names no model; write `openai/gpt-5-mini`, say".to_owned(),
        Ok((_, name)) if name.contains(char::is_control) => "holds a control character".to_owned(),
        Ok((_, name)) if stars(&name) > 0 && stars(group) == 0 => {
            "a `*` here stands for what the `*` in `model_name` takes, and there is none".to_owned()
        }
        Ok((_, name)) if stars(&name) > stars(group) => {
            "there are more `*` here than in `model_name`, whose text they stand for".to_owned()
        }
        Ok((vendor, name)) => return Some((vendor, vendor.model_name(name))),
    };
    reader.error(&at, wrong);
    None
}

fn stars(name: &str) -> usize {
    name.matches('*').count()
}

fn by_model(model: &str, mock: bool) -> Result<(&'static Vendor, String), String> {
    const OPENAI: &[&str] = &["gpt-", "ft:gpt-", "chatgpt-", "o1", "o3", "o4"];
    if let Some((provider, rest)) = model.split_once('/') {
        match known(provider) {
            Ok(vendor) => return Ok((vendor, rest.to_owned())),
            Err(message) if !mock => return Err(message),
            Err(_) => {}
        }
    }
    let name = if model.starts_with("claude-") {
        "anthropic"
    } else if mock || OPENAI.iter().any(|start| model.starts_with(start)) {
        "openai"
    } else if model.is_empty() {
        return Err("is empty; write `openai/gpt-5-mini`, say".to_owned());
    } else if model == "*" {
        return Err(
            "a `*` alone names no provider; write `openai/*`, say, or list the providers that may be asked for by \
                    name in `feathergate.direct_models`"
                .to_owned(),
        );
    } else {
        return Err(format!(
            "it cannot be told who serves `{0}`; write `openai/{0}`, or set `custom_llm_provider`",
            shown(model)
        ));
    };
    Ok((known(name)?, model.to_owned()))
}

fn known(provider: &str) -> Result<&'static Vendor, String> {
    if let Some(vendor) = vendor::find(provider) {
        return Ok(vendor);
    }
    let name = shown(provider);
    if vendor::NOT_YET.contains(&provider) {
        return Err(format!("the provider `{name}` is not supported yet by this version"));
    }
    Err(match nearest(provider, vendor::names()) {
        Some(near) => format!("there is no provider `{name}`; did you mean `{near}`?"),
        None => format!(
            "there is no provider `{name}`; for a server that speaks OpenAI's API write `openai/NAME` and an `api_base`"
        ),
    })
}

/// `api_base`, else its variable, else the vendor's own. `None` after an error.
fn base(reader: &mut Reader<'_>, place: &Place, node: &Node, vendor: &Vendor, mock: bool) -> Option<Text> {
    let given = ["api_base", "base_url"]
        .into_iter()
        .find_map(|key| node.get(key).filter(|node| **node != Node::Null).map(|node| (place.key(key), node)));
    let (place, value, whose) = if let Some((place, given)) = given {
        let value = reader.text(&place, given)?;
        (place, value, String::new())
    } else {
        let model = place.key("model");
        let set = vendor.base_variables().find_map(|name| Some((name, reader.variable(&model, name)?)));
        match set {
            Some((name, value)) => (model, value, format!("the environment variable `{name}`: ")),
            None => (place.key("api_base"), Value::Known(String::new()), String::new()),
        }
    };
    let text = match value {
        // Nobody is called, so nothing is missing.
        Value::Unset(_) if mock => String::new(),
        Value::Unset(name) => {
            reader.unset_error(&place, &name);
            return None;
        }
        Value::Parameter(name) => return Some(Text::Parameter(name)),
        Value::Known(text) => text,
    };
    if text.trim().is_empty() {
        if vendor.base.is_none() && !mock {
            let variable = vendor.base_variable.unwrap_or("no variable");
            let message = format!("`{}` needs an `api_base`, or `{variable}` in the environment", vendor.name);
            reader.error(&place, message);
            return None;
        }
        return Some(Text::Known(Secret::new(vendor.base.unwrap_or_default())));
    }
    match vendor.base_url(&text) {
        Ok(base) => Some(Text::Known(Secret::new(&base))),
        Err(message) => {
            reader.error(&place, format!("{whose}{message}"));
            None
        }
    }
}

/// The keys: one deployment each.
fn keys(reader: &mut Reader<'_>, place: &Place, node: &Node, of: (&Vendor, &str, bool)) -> Vec<Option<Text>> {
    let (vendor, group, mock) = of;
    let at = place.key("api_key");
    let mut found = Vec::new();
    for (at, node) in node.get("api_key").map(|node| elements(&at, node)).unwrap_or_default() {
        let Some(value) = reader.text(&at, node) else {
            // The error is noted; the rest of the entry is still looked at.
            found.push(None);
            continue;
        };
        match value {
            Value::Known(key) if key.trim().is_empty() => {}
            Value::Known(key) => {
                check_key(reader, &at, key.trim());
                found.push(Some(Text::Known(Secret::new(&key))));
            }
            Value::Parameter(name) => found.push(Some(Text::Parameter(name))),
            Value::Unset(_) if mock => {}
            Value::Unset(name) => {
                reader.unset_key(&at, &name, group);
                found.push(Some(Text::Unset(name)));
            }
        }
    }
    if !found.is_empty() {
        return found;
    }
    if mock {
        return vec![None];
    }
    let place = if node.get("api_key").is_some() { at } else { place.key("model") };
    let set = vendor.key_variables().find_map(|name| reader.variable(&place, name));
    vec![match (set, vendor.key_variable) {
        (Some(value), _) => {
            if let Value::Known(key) = &value {
                check_key(reader, &place, key.trim());
            }
            Some(value.into_text())
        }
        (None, Some(variable)) => {
            reader.unset_key(&place, variable, group);
            Some(Text::Unset(variable.to_owned()))
        }
        (None, None) => None,
    }]
}

fn check_key(reader: &mut Reader<'_>, place: &Place, key: &str) {
    if !key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        reader.error(
            place,
            "this key holds a character that no key has (a control character, or one outside ASCII); copy it again",
        );
    } else if key.starts_with('$') || key.starts_with("os.environ") || key.starts_with("env.") {
        reader.warn(place, "this looks like the name of a variable, but is sent as the key; write `os.environ/NAME`");
    }
}

/// A string that is sent in a header or a query.
fn header_text(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Text> {
    let node = match node {
        Node::Int(number) => &Node::Text(number.to_string()),
        Node::Float(number) => &Node::Text(number.to_string()),
        Node::Null | Node::Bool(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => node,
    };
    let value = reader.set_text(place, node)?;
    if let Value::Known(text) = &value {
        if text.trim().is_empty() {
            return None;
        }
        if !text.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
            reader.error(place, "holds a character that cannot stand in a header");
            return None;
        }
    }
    Some(value.into_text())
}

/// One value of each element of a list; one that is `None` if there is none.
fn each(
    reader: &mut Reader<'_>,
    (place, node): (Place, Option<&Node>),
    read: fn(&mut Reader<'_>, &Place, &Node) -> Option<Text>,
) -> Vec<Option<Text>> {
    let found: Vec<Option<Text>> = node
        .map(|node| elements(&place, node))
        .unwrap_or_default()
        .iter()
        .filter_map(|(place, node)| read(reader, place, node))
        .map(Some)
        .collect();
    if found.is_empty() { vec![None] } else { found }
}

fn duration(reader: &mut Reader<'_>, (place, node): (Place, Option<&Node>)) -> Option<std::time::Duration> {
    reader.duration(&place, node?)
}

fn weight(reader: &mut Reader<'_>, (place, node): (Place, Option<&Node>)) -> Option<f64> {
    let number = reader.number(&place, node?)?;
    if number < 0.0 {
        reader.error(&place, "must be 0 or more");
        return None;
    }
    Some(number)
}

/// The gateway's own: a value of the configuration would break the request.
const OWN_HEADERS: &[&str] = &["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn extra_headers(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Vec<(HeaderName, ExtraHeader)> {
    let place = place.key("extra_headers");
    let mut headers: Vec<(HeaderName, ExtraHeader)> = Vec::new();
    let Some(node) = node.get("extra_headers") else { return headers };
    for (key, node) in reader.map(&place, node) {
        let place = place.key(key);
        let Ok(name) = HeaderName::from_bytes(key.trim().as_bytes()) else {
            reader.error(&place, "this is no name of a header: letters, digits and `-` are");
            continue;
        };
        if OWN_HEADERS.contains(&name.as_str()) {
            reader.error(&place, "this header is the gateway's own and cannot be set");
            continue;
        }
        if headers.iter().any(|(other, _)| *other == name) {
            reader.error(&place, "this header stands twice; the names of headers ignore case");
            continue;
        }
        let text = match node {
            Node::Bool(value) => &Node::Text(value.to_string()),
            Node::Int(value) => &Node::Text(value.to_string()),
            Node::Float(value) => &Node::Text(value.to_string()),
            Node::Null | Node::Text(_) | Node::List(_) | Node::Map(_) => node,
        };
        match reader.set_text(&place, text) {
            Some(Value::Known(text)) => match HeaderValue::from_str(text.trim()) {
                Ok(mut value) if text.is_ascii() => {
                    value.set_sensitive(true);
                    headers.push((name, ExtraHeader::Known(value)));
                }
                Ok(_) | Err(_) => reader.error(&place, "holds a character that cannot stand in a header"),
            },
            Some(Value::Parameter(parameter)) => headers.push((name, ExtraHeader::Parameter(parameter))),
            Some(Value::Unset(_)) | None => {}
        }
    }
    headers
}

/// Whether parameters that the upstream does not know are left out: the entry's word, else that for all.
fn drop_params(reader: &mut Reader<'_>, place: &Place, node: &Node) -> bool {
    let own = node.get("drop_params").filter(|node| **node != Node::Null).map(|node| (place.key("drop_params"), node));
    own.or_else(|| reader.setting("litellm_settings", "drop_params"))
        .and_then(|(place, node)| reader.boolean(&place, node))
        .unwrap_or(false)
}

/// `feathergate.on_loss`, where it is set.
fn on_loss(reader: &mut Reader<'_>) -> Option<OnLoss> {
    let (place, node) = reader.setting("feathergate", "on_loss")?;
    let found = match reader.string(&place, node)?.trim() {
        "reject" => OnLoss::Reject,
        "report" => OnLoss::Report,
        "lenient" => OnLoss::Lenient,
        _ => {
            reader.error(
                &place,
                "must be `reject` (whatever cannot be expressed at the provider is an error), `report` (settings are left \
                 out and reported, content is an error) or `lenient` (everything is left out and reported)",
            );
            return None;
        }
    };
    Some(found)
}

/// The fields that are taken out of requests.
fn dropped(reader: &mut Reader<'_>, place: &Place, node: &Node, (vendor, refused): (&Vendor, bool)) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    let place = place.key("additional_drop_params");
    for (place, node) in node.get("additional_drop_params").map(|node| elements(&place, node)).unwrap_or_default() {
        let Some(field) = reader.string(&place, node) else { continue };
        if field.contains(['.', '[']) {
            reader.warn(&place, "only top-level fields can be dropped by this version, so this one stays");
        } else if parameters::NEVER_A_DEFAULT.contains(&field.as_str()) && field != "stream_options" {
            reader.error(&place, format!("`{}` cannot be dropped: a request is nothing without it", shown(&field)));
        } else {
            fields.push(field);
        }
    }
    if refused {
        fields.extend(vendor.refuses.iter().map(|field| (*field).to_owned()));
    }
    fields.sort();
    fields.dedup();
    fields
}
