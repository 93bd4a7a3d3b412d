//! What a request says about its own routing, in headers or in fields of its body that are litellm's and never reach an upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::pipeline::Refused;
use super::refusal::Refusal;
use super::twins::{Twin, twin};
use crate::route::plan::Wishes;
use crate::wire::{Envelope, FailureKind, Loss};

/// The most retries that a request can ask for.
const MOST_RETRIES: u32 = 20;
/// The most fallbacks that a request can name.
const MOST_FALLBACKS: usize = 20;

static NUM_RETRIES: Twin = twin!("num-retries");
static TIMEOUT: Twin = twin!("timeout");
static STREAM_TIMEOUT: Twin = twin!("stream-timeout");
static TAGS: Twin = twin!("tags");

/// What becomes of a field of the body that is for the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// What it asks for is done, or nothing is to be done.
    Heeded,
    /// litellm would do something that is not done here.
    Lost(&'static str),
}

/// What becomes of the body's fields that are litellm's; `None` for those that are an upstream's.
fn fate(name: &str) -> Option<Fate> {
    Some(match name {
        "allowed_model_region"
        | "fallbacks"
        | "disable_fallbacks"
        | "num_retries"
        | "max_retries"
        | "timeout"
        | "stream_timeout"
        | "tags"
        | "mock_testing_fallbacks"
        | "mock_testing_context_fallbacks"
        | "mock_testing_content_policy_fallbacks"
        | "mock_testing_rate_limit_error"
        // Of these only the tags mean anything here: the rest is for logs of its own.
        | "litellm_metadata"
        | "litellm_trace_id"
        | "litellm_session_id"
        | "litellm_call_id"
        | "litellm_request_debug"
        | "proxy_server_request"
        | "verbose" => Fate::Heeded,
        "mock_response" | "mock_timeout" | "mock_delay" => Fate::Lost("a client cannot have the model made up"),
        "api_key" | "api_base" | "base_url" | "api_version" | "custom_llm_provider" | "user_config" | "model_list"
        | "model_info" => Fate::Lost("a client cannot bring its own key, URL or model list"),
        "drop_params" | "additional_drop_params" | "allowed_openai_params" => {
            Fate::Lost("the operator says what is dropped")
        }
        "guardrails" | "guardrail_config" => Fate::Lost("there are no guardrails"),
        "prompt_id" | "prompt_variables" | "prompt_version" | "prompt_label" => Fate::Lost("no prompts are stored here"),
        "cache" | "caching" | "caching_groups" => Fate::Lost("answers are not cached"),
        "retry_policy" | "retry_strategy" => Fate::Lost("a request says how often it is tried again in `num_retries`"),
        "request_timeout" | "force_timeout" => Fate::Lost("a request says how long it may take in `timeout`"),
        "context_window_fallbacks" | "content_policy_fallbacks" | "context_window_fallback_dict" | "max_fallbacks" => {
            Fate::Lost("a request names its own fallbacks in `fallbacks`")
        }
        "extra_headers" | "headers" | "provider_specific_header" => {
            Fate::Lost("a client sets no headers of the upstream's request")
        }
        "enable_json_schema_validation" => Fate::Lost("answers are passed on without a look at their schema"),
        "no-log" => Fate::Lost("each request is one line in the log"),
        _ => return None,
    })
}

/// What a request asks of the gateway itself.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// How often is tried, and where.
    pub(super) plan: Wishes,
    /// The total for the request.
    pub(super) timeout: Option<Duration>,
    /// The wait for the first content of a stream.
    pub(super) stream_timeout: Option<Duration>,
    /// The first group is to fail like this, so that an operator can see what happens then.
    pub(super) mock: Option<FailureKind>,
    /// `allowed_model_region`: where the deployment that takes it has to be.
    pub(super) region: Option<String>,
    /// What it is tagged with, by which deployments are chosen.
    pub(super) tags: Vec<String>,
    /// Fields that no upstream gets to see.
    pub(super) fields: Vec<String>,
    /// Those of them that ask for something that is not done.
    pub(super) losses: Vec<Loss>,
}

impl Own {
    /// Reads headers and, where it is JSON, the body. The body wins. `mock` says whether failures can be asked for.
    pub(super) fn read(headers: &HeaderMap, envelope: Option<&Envelope<'_>>, mock: bool) -> Result<Self, Refused> {
        let mut own = Self {
            plan: Wishes { retries: header(headers, &NUM_RETRIES)?.map(retries), ..Wishes::default() },
            timeout: header(headers, &TIMEOUT)?.and_then(seconds),
            stream_timeout: header(headers, &STREAM_TIMEOUT)?.and_then(seconds),
            tags: tags(headers, envelope),
            ..Self::default()
        };
        let Some(envelope) = envelope else { return Ok(own) };
        for (name, value) in envelope.fields() {
            let Some(fate) = fate(name) else { continue };
            own.fields.push(name.to_owned());
            if let Fate::Lost(why) = fate
                && asks(name, value)
            {
                own.losses.push(Loss { field: name.to_owned().into(), why: why.into() });
            }
        }
        if own.fields.is_empty() {
            return Ok(own);
        }
        if let Some(names) = field::<Vec<Fallback>>(envelope, "fallbacks", "an array of model names")? {
            let names = names.into_iter().flat_map(|names| names.of(&envelope.model));
            own.plan.fallbacks = Some(names.take(MOST_FALLBACKS).collect());
        }
        own.region = field(envelope, "allowed_model_region", "the name of a region, such as `eu`")?;
        own.plan.no_fallbacks = flag(envelope, "disable_fallbacks")?;
        let again = number(envelope, "num_retries")?.or(number(envelope, "max_retries")?);
        own.plan.retries = again.map(retries).or(own.plan.retries);
        own.timeout = number(envelope, "timeout")?.and_then(seconds).or(own.timeout);
        own.stream_timeout = number(envelope, "stream_timeout")?.and_then(seconds).or(own.stream_timeout);
        for (name, kind) in [
            ("mock_testing_fallbacks", FailureKind::Server),
            ("mock_testing_context_fallbacks", FailureKind::TooLong),
            ("mock_testing_content_policy_fallbacks", FailureKind::Filtered),
            ("mock_testing_rate_limit_error", FailureKind::RateLimited),
        ] {
            if flag(envelope, name)? && mock {
                own.mock = Some(kind);
            }
        }
        Ok(own)
    }
}

/// Whether a field asks for anything at all. Who wants nothing cached has it.
fn asks(name: &str, value: &str) -> bool {
    let nothing = matches!(value, "null" | "false" | "0" | "[]" | "{}" | r#""""#);
    let uncached = name == "cache" && [r#""no-cache""#, r#""no-store""#].iter().any(|word| value.contains(word));
    !nothing && !uncached
}

/// litellm's forms of an entry: a name; the name within a map of parameters, of which only the model is heeded; or, as in its
/// configuration, the names that stand in for each model.
#[derive(Deserialize)]
#[serde(untagged)]
enum Fallback {
    Name(String),
    Map { model: String },
    Lists(BTreeMap<String, Vec<String>>),
}

impl Fallback {
    /// The names that stand in for `asked`.
    fn of(self, asked: &str) -> Vec<String> {
        match self {
            Self::Name(model) | Self::Map { model } => vec![model],
            Self::Lists(mut lists) => lists.remove(asked).unwrap_or_default(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn retries(count: f64) -> u32 {
    count.clamp(0.0, f64::from(MOST_RETRIES)) as u32
}

/// None for 0, which is no wish. Nothing takes longer than a day.
fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))).filter(|time| !time.is_zero())
}

fn header(headers: &HeaderMap, twin: &Twin) -> Result<Option<f64>, Refused> {
    for name in twin.names() {
        let Some(value) = headers.get(name) else { continue };
        let number = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
        return match number.filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(Box::new(Refusal::bad_request(format!("the header `{name}` must be a number of 0 or more")))),
        };
    }
    Ok(None)
}

/// From `x-feathergate-tags` and `x-litellm-tags`, with commas, and from `tags`, `metadata.tags` and `litellm_metadata.tags` in
/// the body.
fn tags(headers: &HeaderMap, envelope: Option<&Envelope<'_>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in TAGS.names() {
        for value in headers.get_all(name) {
            all.extend(value.to_str().unwrap_or_default().split(',').map(|tag| tag.trim().to_owned()));
        }
    }
    all.extend(envelope.map(Envelope::tags).unwrap_or_default());
    let metadata = envelope.and_then(|envelope| envelope.value("litellm_metadata"));
    let metadata = metadata.and_then(|metadata| serde_json::from_str::<Metadata>(metadata.get()).ok());
    all.extend(metadata.into_iter().flat_map(|metadata| metadata.tags));
    all.retain(|tag| !tag.is_empty());
    all
}

/// `litellm_metadata`, as far as it is heeded.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    tags: Vec<String>,
}

fn number(envelope: &Envelope<'_>, name: &str) -> Result<Option<f64>, Refused> {
    const WHAT: &str = "a number of 0 or more";
    match field::<f64>(envelope, name, WHAT)? {
        Some(number) if number < 0.0 => Err(wrong(name, WHAT)),
        number => Ok(number),
    }
}

fn flag(envelope: &Envelope<'_>, name: &str) -> Result<bool, Refused> {
    Ok(field(envelope, name, "true or false")?.unwrap_or(false))
}

fn field<'a, T: Deserialize<'a>>(envelope: &Envelope<'a>, name: &str, what: &str) -> Result<Option<T>, Refused> {
    let Some(value) = envelope.value(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| wrong(name, what))
}

fn wrong(name: &str, what: &str) -> Refused {
    Box::new(Refusal::bad_request(format!("`{name}` must be {what}")).param(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Wire};

    fn read(headers: &[(&'static str, &str)], fields: &str) -> Result<Own, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let body = format!(r#"{{"model":"m","messages":[]{fields}}}"#);
        let envelope = wire::peek(Wire::OpenAiChat, body.as_bytes()).unwrap();
        Own::read(&map, Some(&envelope), true).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_body_wins_over_headers_and_keeps_its_fields_from_upstreams() {
        let own = read(&[("x-litellm-num-retries", "3"), ("x-litellm-timeout", "2.5")], "").unwrap();
        assert_eq!((own.plan.retries, own.timeout), (Some(3), Some(Duration::from_millis(2500))));
        assert!(own.fields.is_empty());
        let fields = r#","num_retries":0,"fallbacks":["a",{"model":"b","messages":[]}],"mock_testing_fallbacks":true"#;
        let own = read(&[("x-litellm-num-retries", "3")], fields).unwrap();
        assert_eq!(own.plan.retries, Some(0));
        assert_eq!(own.plan.fallbacks, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(own.mock, Some(FailureKind::Server));
        assert_eq!(own.fields, ["num_retries", "fallbacks", "mock_testing_fallbacks"]);
        let own = read(&[("x-litellm-timeout", "1e300")], r#","stream_timeout":1e19,"timeout":0"#).unwrap();
        assert_eq!([own.timeout, own.stream_timeout], [Some(Duration::from_hours(24)); 2]);
        let own = read(&[], r#","fallbacks":[{"other":["x"]},{"m":["a","b"]},"c"]"#).unwrap();
        assert_eq!(own.plan.fallbacks, Some(["a", "b", "c"].map(str::to_owned).to_vec()));
        let own = read(&[("x-feathergate-num-retries", "900")], r#","disable_fallbacks":true,"timeout":null"#).unwrap();
        assert_eq!((own.plan.retries, own.plan.no_fallbacks), (Some(MOST_RETRIES), true));
        for (fields, want) in [
            (r#","max_retries":4"#, Some(4)),
            (r#","max_retries":4,"num_retries":1"#, Some(1)),
            (r#","max_retries":null"#, None),
        ] {
            assert_eq!(read(&[], fields).unwrap().plan.retries, want, "{fields}");
        }
        let own = read(&[], r#","litellm_metadata":{"tags":["a"],"trace_name":"t"},"tags":["b"]"#).unwrap();
        assert_eq!(own.tags, ["b", "a"]);
    }

    #[test]
    fn litellms_fields_are_told_of_where_they_ask_for_what_is_not_done() {
        for (field, told) in [
            (r#""mock_response":"hi""#, true),
            (r#""mock_response":null"#, false),
            (r#""mock_timeout":true"#, true),
            (r#""mock_timeout":false"#, false),
            (r#""mock_delay":0.5"#, true),
            (r#""guardrails":["pii"]"#, true),
            (r#""guardrails":[]"#, false),
            (r#""cache":{"no-cache":true}"#, false),
            (r#""caching":true"#, true),
            (r#""retry_policy":{"TimeoutErrorRetries":3}"#, true),
            (r#""context_window_fallbacks":[{"m":["long"]}]"#, true),
            (r#""content_policy_fallbacks":[{"m":["safe"]}]"#, true),
            (r#""extra_headers":{"x":"y"}"#, true),
            (r#""cache":{"ttl":600}"#, true),
            (r#""no-log":true"#, true),
            (r#""litellm_metadata":{"trace_name":"t"}"#, false),
            (r#""litellm_trace_id":"t""#, false),
            (r#""litellm_session_id":"s""#, false),
            (r#""max_retries":1"#, false),
            (r#""num_retries":1"#, false),
        ] {
            let own = read(&[], &format!(",{field}")).unwrap();
            let name = field.split('"').nth(1).unwrap();
            assert_eq!(own.fields, [name]);
            let names: Vec<&str> = own.losses.iter().map(|loss| &*loss.field).collect();
            assert_eq!(names, [name][..usize::from(told)], "{field}");
        }
        let known = |wire| crate::config::parameters::of(wire).iter().copied();
        for name in [Wire::OpenAiChat, Wire::AnthropicMessages, Wire::Gemini].into_iter().flat_map(known) {
            assert_eq!(fate(name), None, "{name} is for upstreams");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (headers, fields, want) in [
            (&[("x-litellm-timeout", "soon")][..], "", "the header `x-litellm-timeout` must be a number of 0 or more"),
            (
                &[("x-litellm-num-retries", "-1")],
                "",
                "the header `x-litellm-num-retries` must be a number of 0 or more",
            ),
            (&[], r#","num_retries":"two""#, "`num_retries` must be a number of 0 or more"),
            (&[], r#","timeout":-0.5"#, "`timeout` must be a number of 0 or more"),
            (&[], r#","fallbacks":"a""#, "`fallbacks` must be an array of model names"),
            (&[], r#","disable_fallbacks":1"#, "`disable_fallbacks` must be true or false"),
        ] {
            assert_eq!(read(headers, fields).err().unwrap(), want);
        }
    }
}
