//! What a configuration means, typed. The rest of the program sees this and never the YAML.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::network::Network;
use super::secret::{ParameterName, Text};
use super::vendor::Vendor;
use crate::meter::{Price, Pricing, ledger};
use crate::prompt::Prompts;
use crate::route::limit::Rates;
use crate::route::rules::{Cooldown, Fallbacks, Retries, Strategy, StrategyArgs};
use crate::route::table::{fill, fits};
use crate::wire::profile::Profile;
use crate::wire::{OnLoss, Wire};

/// A whole configuration, resolved.
#[derive(Clone)]
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
    /// `router_settings.model_group_alias` and `feathergate.redirects`: other names.
    pub aliases: Vec<Alias>,
    /// How deployments are chosen, tried again and replaced.
    pub routing: Routing,
    /// `feathergate.system_prompts` and `feathergate.prompt_variables`: what is put into the system part of requests.
    pub prompts: Prompts,
    /// `feathergate.limits`, and litellm's keys for the same.
    pub limits: Limits,
    /// `litellm_settings.include_cost_in_streaming_usage`: where a stream shows its usage, the cost stands with it.
    pub stream_cost: bool,
    /// `feathergate.store` and `feathergate.shared_limits`.
    pub store: StoreSettings,
}

/// Another name for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// What a client says.
    pub name: String,
    /// What it means: a group, or what a wildcard takes.
    pub target: String,
    /// Whether `/v1/models` leaves it out.
    pub hidden: bool,
    /// Whether it wins over a group or a deployment of the same name, as a redirect does.
    pub redirect: bool,
}

/// How deployments are chosen, tried again and replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// `router_settings.routing_strategy`.
    pub strategy: Strategy,
    /// `router_settings.routing_strategy_args`.
    pub args: StrategyArgs,
    /// `num_retries`, `retry_policy`, `retry_after`.
    pub retries: Retries,
    /// `fallbacks` and the like.
    pub fallbacks: Fallbacks,
    /// `allowed_fails`, `cooldown_time` and the like.
    pub cooldown: Cooldown,
    /// `enable_pre_call_checks`. Deployments that could not take a request are passed over where the group has others that can;
    /// with this, a request that is too long for all of them is refused, or goes to a fallback, without asking.
    pub pre_call_checks: bool,
    /// `enable_tag_filtering`.
    pub tag_filtering: bool,
    /// `tag_filtering_match_any: false`: a deployment needs all tags of the request. By default one common tag is enough.
    pub tag_match_all: bool,
    /// `feathergate.max_request_tokens`: an estimate above this is refused.
    pub max_request_tokens: Option<u64>,
    /// `feathergate.error_patterns`: a successful answer whose body holds one of these is a failure.
    pub error_patterns: Vec<String>,
    /// `feathergate.disclose_upstream`: `x-litellm-model-api-base` and `x-litellm-model-name` are sent.
    pub disclose_upstream: bool,
    /// Whether `mock_testing_fallbacks` and its like are heeded: `feathergate.mock_testing`, on by default.
    pub mock_testing: bool,
}

/// All deployments that share a `model_name`: what a client names in `model`.
#[derive(Clone)]
pub struct Group {
    /// The `model_name`.
    pub name: String,
    /// At least one.
    pub deployments: Vec<Arc<Deployment>>,
    /// The group's limits and mode, for `/v1/models`: from the first deployment's `model_info`.
    pub info: ModelInfo,
    /// How often is tried: the router's rules with the group's `model_group_retry_policy` over them.
    pub retries: Retries,
    /// It stands for `feathergate.direct_models`, and is not listed.
    pub direct: bool,
}

/// Puts what an entry's `model_info` says over what is known of a model.
pub type Facts = Arc<dyn Fn(&mut Profile) + Send + Sync>;

/// One entry of `model_list`: a model at an upstream with a key.
#[derive(Clone)]
pub struct Deployment {
    /// `model_info.id`, or one derived from the group's name and the entry's place in the list.
    pub id: String,
    /// The group's `model_name`.
    pub group: String,
    /// Who serves it. Facts, not a connection.
    pub vendor: &'static Vendor,
    /// The dialect it speaks.
    pub wire: Wire,
    /// The model's name at the upstream. With `*`s it is a pattern: [`Deployment::concrete`] fills it.
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
    /// What `model_info` says, for the models that a pattern is filled to; `None` where it says nothing.
    pub facts: Option<Facts>,
    /// `feathergate.on_loss`, or lenient with `drop_params`.
    pub on_loss: OnLoss,
    /// `mock_response`: answer with this text and call nobody.
    pub mock: Option<String>,
    /// `weight`, for the random choice within the group. 1 by default.
    pub weight: u32,
    /// `order`: lower ones first. `u32::MAX` where it is not set: litellm asks nobody without one while one with one is there.
    pub order: u32,
    /// `rpm`: attempts a minute that the upstream allows.
    pub rpm: Option<u64>,
    /// `tpm`: tokens a minute that the upstream allows.
    pub tpm: Option<u64>,
    /// `max_parallel_requests`: attempts at one time.
    pub parallel: Option<u32>,
    /// `num_retries`, else `max_retries`: in place of the group's where the first attempt went here.
    pub num_retries: Option<u32>,
    /// What its tokens cost: what the entry says, over `feathergate.prices`, over the embedded table. Nothing is known of a
    /// pattern's but what the operator says.
    pub price: Arc<Price>,
    /// Where `price` comes from, for the models that a pattern is filled to.
    pub pricing: Arc<Pricing>,
    /// When it is left alone: the router's rules with the entry's own over them.
    pub cooldown: Cooldown,
    /// `tags`.
    pub tags: Vec<String>,
    /// `region_name`: where it runs, for requests with `allowed_model_region`.
    pub region: Option<String>,
    /// `model_info.max_input_tokens`, or what is known of the model: what its context takes.
    pub max_input_tokens: Option<u64>,
}

/// The value of an `extra_headers` entry.
#[derive(Clone, PartialEq)]
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

/// What holds back too many requests. Each process counts for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `global`: for all requests.
    pub global: Limit,
    /// `per_ip`: for the requests of each address, or of each IPv6 network of 64 bits.
    pub per_ip: Limit,
    /// `per_model`: for those of each model group, by name or by a pattern with `*`. The first that fits is the group's.
    pub per_model: Vec<(String, Limit)>,
    /// `trust_forwarded`, or 1 with `general_settings.use_x_forwarded_for`: how many proxies stand before us, each of which
    /// adds the address it sees to `X-Forwarded-For`. 0 by default: the connection's own address counts.
    pub trust_forwarded: usize,
    /// `general_settings.allowed_ips`: nobody else is served.
    pub allowed: Option<Vec<Network>>,
}

/// The limits of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `rpm` and `rps`: requests a minute and a second.
    pub rates: Rates,
    /// `concurrency`: requests at one time, each until its answer is over.
    pub concurrency: Option<u32>,
    /// `queue`: how many more wait for a place.
    pub queue: u32,
    /// `queue_wait`: for how long. 10 s by default.
    pub queue_wait: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { rates: Rates::default(), concurrency: None, queue: 0, queue_wait: Duration::from_secs(10) }
    }
}

impl Limits {
    /// The limit of a model group.
    #[must_use]
    pub fn model(&self, group: &str) -> Option<&Limit> {
        self.per_model.iter().find(|(pattern, _)| fits(pattern, group)).map(|(_, limit)| limit)
    }
}

/// Where keys, limits and records are kept, and how.
#[derive(Clone)]
pub struct StoreSettings {
    /// `store`, or its `url`.
    pub place: StorePlace,
    /// `on_error: open`: requests pass while the store does not answer.
    pub fail_open: bool,
    /// `keep_requests`: for how long the record of each request is kept; zero for none. 30 days by default.
    pub keep_requests: Duration,
    /// `keep_days`: for how long the sums by day are kept. 400 days by default.
    pub keep_days: Duration,
    /// `store_bodies`: requests and answers are kept with the records, with what looks like a secret taken out.
    pub bodies: bool,
    /// `strict_pricing`: what has no known price is refused where a budget applies.
    pub strict_pricing: bool,
    /// `output_estimate`: the output tokens that are set aside for a request that does not bound them. 1024 by default.
    pub output_estimate: u64,
    /// `shared_limits.gateway`: what all requests may use together.
    pub gateway: Shared,
    /// `shared_limits.models`: what the requests of a model group may use together, by name or pattern; the first that fits.
    pub models: Vec<(String, Shared)>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            place: StorePlace::default(),
            fail_open: false,
            keep_requests: Duration::from_hours(30 * 24),
            keep_days: Duration::from_hours(400 * 24),
            bodies: false,
            strict_pricing: false,
            output_estimate: 1024,
            gateway: Shared::default(),
            models: Vec::new(),
        }
    }
}

/// Where the store is.
#[derive(Clone, Default)]
pub enum StorePlace {
    /// Nothing is said: the table that the template made, or a file that is made with the first key.
    #[default]
    Unsaid,
    /// Nowhere: there are no virtual keys.
    None,
    /// In the process, which forgets it at its end.
    Memory,
    /// In a file.
    Sqlite(PathBuf),
    /// In a `DynamoDB` table.
    Dynamo(String),
    /// In a `PostgreSQL` database, at this URL.
    Postgres(Text),
}

/// Limits that all processes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// What may be used.
    pub limits: ledger::Limits,
    /// Over how many items the counts are spread in `DynamoDB`.
    pub shards: u32,
}

impl Default for Shared {
    fn default() -> Self {
        Self { limits: ledger::Limits::default(), shards: 1 }
    }
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
    /// The deployment with what a wildcard's `*`s stand for filled into the name of its model, and with what is known of that
    /// model. Where the name is no pattern it is the same deployment.
    #[must_use]
    pub fn concrete(self: &Arc<Self>, captured: &[String]) -> Arc<Self> {
        if captured.is_empty() || !self.model.contains('*') {
            return Arc::clone(self);
        }
        let model = self.vendor.model_name(fill(&self.model, captured));
        let mut profile = Profile::find(self.wire, self.vendor.name, &model);
        if let Some(facts) = &self.facts {
            facts(&mut profile);
        }
        let price = Arc::new(self.pricing.price(self.vendor.name, &model));
        Arc::new(Self { model, profile, price, ..Self::clone(self) })
    }

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

#[cfg(test)]
mod tests {
    use super::super::raw::Document;
    use super::super::resolve::resolve;
    use super::*;

    #[test]
    fn a_wildcard_becomes_the_model_that_it_takes() {
        let yaml = "model_list:\n- model_name: a\n  litellm_params: {model: VENDOR/x, api_key: sk-upstream}\n";
        for (vendor, pattern, captured, want) in [
            ("openai", "*", "gpt-4o", "gpt-4o"),
            ("openai", "gpt-*-mini", "5", "gpt-5-mini"),
            ("fireworks_ai", "accounts/fireworks/models/*", "kimi-k2", "accounts/fireworks/models/kimi-k2"),
            ("fireworks_ai", "accounts/fireworks/models/*", "accounts/me/models/x", "accounts/me/models/x"),
        ] {
            let document = Document::parse("a.yaml", &yaml.replace("VENDOR", vendor)).unwrap();
            let settings = resolve(&document, &|_| None).unwrap_or_else(|problems| panic!("{problems}")).settings;
            let plain = &settings.groups[0].deployments[0];
            assert!(Arc::ptr_eq(plain, &plain.concrete(&["y".to_owned()])));
            let facts: Facts = Arc::new(|profile| profile.stops = 77);
            let wild =
                Arc::new(Deployment { model: pattern.to_owned(), facts: Some(facts), ..Deployment::clone(plain) });
            let concrete = wild.concrete(&[captured.to_owned()]);
            assert_eq!((concrete.model.as_str(), &concrete.id), (want, &plain.id));
            let known = Profile::find(concrete.wire, vendor, want);
            assert_eq!(concrete.profile, Profile { stops: 77, ..known });
        }
    }
}
