//! What a configuration means, typed. The rest of the program sees this and never the YAML.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::secret::{ParameterName, Text};
use super::vendor::Vendor;
use crate::wire::profile::Profile;
use crate::wire::{OnLoss, Wire};

/// A whole configuration, resolved.
pub struct Settings {
    /// Model groups in the order of the file; names are unique.
    pub groups: Vec<Group>,
    /// `general_settings.master_key`.
    pub master_key: Option<Text>,
    /// `feathergate.allow_unauthenticated`: serve without a master key also where others can reach us.
    pub allow_unauthenticated: bool,
    /// `feathergate.key_header`: the only header the client's key is read from, when set. Needed with `AWS_IAM`.
    pub key_header: Option<HeaderName>,
    /// `feathergate.response_model`: which name an answer's `model` field holds.
    pub response_model: ResponseModel,
    /// `feathergate.max_request_mb`, in bytes. 6 MB by default, as on Lambda.
    pub max_request: usize,
    /// `feathergate.max_response_mb`, in bytes: the largest buffered answer taken from an upstream.
    pub max_response: usize,
    /// `feathergate.heartbeat`: an SSE comment after this much silence in a stream that has begun; `None` never.
    pub heartbeat: Option<Duration>,
    /// `feathergate.early_heartbeat`: also before the first content, once the upstream's answer has begun. That commits the
    /// status 200.
    pub early_heartbeat: bool,
    /// `feathergate.stream_usage`: ask OpenAI-wire upstreams for usage in streams also when the client did not; the extra
    /// frame is then hidden from it.
    pub stream_usage: bool,
    /// `feathergate.log_bodies`: put request and response texts into the log.
    pub log_bodies: bool,
    /// `litellm_settings.request_timeout` or `router_settings.timeout`: the total for one request.
    pub timeout: Duration,
    /// `router_settings.stream_timeout`: the wait for the first content of a stream.
    pub stream_timeout: Option<Duration>,
    /// `feathergate.idle_timeout`: the longest silence within a stream.
    pub idle_timeout: Duration,
    /// `feathergate.cors_origins`: who may call from a browser. `*` by default; empty turns CORS off.
    pub cors_origins: Vec<String>,
    /// `feathergate.secret_ttl`: how long a fetched parameter is used, before jitter. 10 minutes by default.
    pub secret_ttl: Duration,
}

/// All deployments that share a `model_name`: what a client names in `model`.
pub struct Group {
    /// The `model_name`.
    pub name: String,
    /// At least one.
    pub deployments: Vec<Arc<Deployment>>,
    /// The group's limits and mode, for `/v1/models`: from the first deployment's `model_info`.
    pub info: ModelInfo,
}

/// One entry of `model_list`: a model at an upstream with a key.
pub struct Deployment {
    /// `model_info.id`, or one derived from the group's name and the entry's place in the list.
    pub id: String,
    /// The group's `model_name`.
    pub group: String,
    /// Who serves it. Facts, not a connection.
    pub vendor: &'static Vendor,
    /// The dialect it speaks.
    pub wire: Wire,
    /// The model's name at the upstream.
    pub model: String,
    /// The key; `None` where the vendor needs none (a local server).
    pub api_key: Option<Text>,
    /// The base URL, without a trailing slash.
    pub api_base: Text,
    /// `api_version`: a query parameter on OpenAI-wire upstreams, `anthropic-version` on Anthropic's.
    pub api_version: Option<Text>,
    /// `organization`: the `OpenAI-Organization` header.
    pub organization: Option<Text>,
    /// `extra_headers`, checked; sent on every request.
    pub extra_headers: Vec<(HeaderName, ExtraHeader)>,
    /// `timeout`: the total for one attempt.
    pub timeout: Option<Duration>,
    /// `stream_timeout`: the wait for the first content of a stream.
    pub stream_timeout: Option<Duration>,
    /// Top-level request fields that are taken out: `additional_drop_params`, and with `drop_params` those that the vendor
    /// is known to refuse.
    pub drop: Vec<String>,
    /// Every other parameter of the entry: a default, as JSON text, for requests that do not set the field.
    pub defaults: Vec<(String, String)>,
    /// What is known of the model, with what `model_info` says.
    pub profile: Profile,
    /// `feathergate.on_loss`, or lenient with `drop_params`.
    pub on_loss: OnLoss,
    /// `mock_response`: answer with this text and call nobody.
    pub mock: Option<String>,
    /// `weight`, for the random choice within the group. 1 by default.
    pub weight: u32,
}

/// The value of an `extra_headers` entry.
pub enum ExtraHeader {
    /// Known at load, and marked sensitive: never shown.
    Known(HeaderValue),
    /// Fetched when a request needs it.
    Parameter(ParameterName),
}

/// `model_info` as far as `/v1/models` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// `mode`: `chat` where it is not said.
    pub mode: Option<String>,
    /// `max_input_tokens`.
    pub max_input_tokens: Option<u64>,
    /// `max_output_tokens`, or the older `max_tokens`.
    pub max_output_tokens: Option<u64>,
}

/// What the `model` of an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseModel {
    /// The name the upstream gave: the answer is passed on untouched.
    Upstream,
    /// The name the client asked for, spliced in.
    Alias,
}

impl Settings {
    /// Every parameter that anything here refers to, sorted, once each: what is fetched together.
    #[must_use]
    pub fn parameters(&self) -> Vec<ParameterName> {
        let mut names: Vec<ParameterName> = self
            .groups
            .iter()
            .flat_map(|group| &group.deployments)
            .flat_map(|deployment| deployment.parameters())
            .chain(self.master_key.iter().filter_map(parameter))
            .cloned()
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Deployment {
    /// The parameters that a call to this deployment needs.
    pub fn parameters(&self) -> impl Iterator<Item = &ParameterName> {
        let headers = self.extra_headers.iter().filter_map(|(_, value)| match value {
            ExtraHeader::Known(_) => None,
            ExtraHeader::Parameter(name) => Some(name),
        });
        [&self.api_key, &self.api_version, &self.organization]
            .into_iter()
            .flatten()
            .chain([&self.api_base])
            .filter_map(parameter)
            .chain(headers)
    }
}

fn parameter(text: &Text) -> Option<&ParameterName> {
    match text {
        Text::Parameter(name) => Some(name),
        Text::Known(_) | Text::Unset(_) => None,
    }
}
