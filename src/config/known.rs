//! Every key that litellm 1.109 or this gateway knows, as data, with what this version does about it. `check` reports from
//! it, and unknown keys are found with it. A key that begins to work changes its row here.

mod models;
mod routing;

use super::problem::nearest;
use super::raw::Node;
use crate::meter;
use models::{ENTRY, INFO, PARAMS};
use routing::ROUTER;
pub use routing::{STRATEGIES, StrategyName};

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The same as litellm.
    Exact,
    /// Nearly the same; the note says where not.
    Approximate,
    /// Nothing, and no answer changes by it.
    Ignored,
    /// Nothing, although litellm would behave differently.
    Unsupported,
}

/// One key, or all that match a name with one `*` at its end.
#[derive(Debug)]
pub struct Known {
    /// The key.
    pub name: &'static str,
    /// What is done with it.
    pub status: Status,
    /// What the user should know; can be empty.
    pub note: &'static str,
}

/// A map of the configuration, with the keys that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The top level.
    Top,
    /// An entry of `model_list`.
    Entry,
    /// `litellm_params`.
    Params,
    /// `model_info`.
    Info,
    /// `litellm_settings`.
    Litellm,
    /// `router_settings`.
    Router,
    /// `general_settings`.
    General,
    /// `feathergate`.
    Feathergate,
}

impl Section {
    /// The rows of its keys.
    #[must_use]
    pub fn rows(self) -> &'static [Known] {
        match self {
            Self::Top => TOP,
            Self::Entry => ENTRY,
            Self::Params => PARAMS,
            Self::Info => INFO,
            Self::Litellm => LITELLM,
            Self::Router => ROUTER,
            Self::General => GENERAL,
            Self::Feathergate => FEATHERGATE,
        }
    }

    /// The row of `key`. What `router_settings` takes, `litellm_settings` takes too.
    #[must_use]
    pub fn find(self, key: &str) -> Option<&'static Known> {
        let matches = |row: &&Known| match row.name.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => row.name == key,
        };
        // What holds for long prompts only: the bound can be any number.
        if matches!(self, Self::Params | Self::Info)
            && let Some((_, Some(_))) = meter::key(key)
        {
            return Some(&models::LONG_PRICE);
        }
        let found = self.rows().iter().find(matches);
        match self {
            Self::Litellm => found.or_else(|| ROUTER.iter().find(matches)),
            Self::Top | Self::Entry | Self::Params | Self::Info | Self::Router | Self::General | Self::Feathergate => {
                found
            }
        }
    }

    /// The known key that `key` is most likely a slip of.
    #[must_use]
    pub fn nearest(self, key: &str) -> Option<&'static str> {
        let more = if self == Self::Litellm { ROUTER } else { &[] };
        nearest(key, self.rows().iter().chain(more).map(|row| row.name).filter(|name| !name.ends_with('*')))
    }
}

/// How far the strategy that this value names is litellm's, with a note; `None` if it names none.
pub(super) fn strategy(value: &Node) -> Option<(Status, &'static str)> {
    let Node::Text(name) = value else { return None };
    STRATEGIES.iter().find(|row| row.name == name.trim()).map(|row| routing::strategy(row.strategy))
}

const fn exact(name: &'static str, note: &'static str) -> Known {
    Known { name, status: Status::Exact, note }
}

const fn approximate(name: &'static str, note: &'static str) -> Known {
    Known { name, status: Status::Approximate, note }
}

const fn ignored(name: &'static str, note: &'static str) -> Known {
    Known { name, status: Status::Ignored, note }
}

const fn unsupported(name: &'static str, note: &'static str) -> Known {
    Known { name, status: Status::Unsupported, note }
}

const BREAKER: &str = "unlike in litellm the only deployment of a group is left alone too, until a probe succeeds; each \
                       instance learns by itself who fails";
const NO_LIMITS: &str = "limits of a model group for all processes are `feathergate.shared_limits`";
const NO_BUDGETS: &str = "budgets are those of keys, teams, model groups and the gateway";
const CLOSED: &str = "limits fail closed, unless `store: {on_error: open}` says otherwise";
const NOT_COUNTED: &str = "what is charged beside tokens is not counted, and neither are other prices for batches and service \
                           tiers";
const NO_DISCOUNTS: &str = "nothing is put on prices or taken off; an entry can say its own";
const NO_CALLBACKS: &str = "there are no callbacks yet; each call is one line in the log";
const NO_CACHE: &str = "answers are not cached";
const NO_DATABASE: &str = "the store (`feathergate.store`) holds keys, teams and records, and nothing of this";
const NO_GUARDRAILS: &str = "there are no guardrails; every text passes";
const NO_ACCESS: &str =
    "access is not limited by this: a virtual key and its team say what they may use, and the master key may use all";
const TOTAL_TIME: &str =
    "the total for one request; it also ends a stream that is still talking, where litellm's holds between chunks";
const NO_REDIS: &str = "there is no Redis; every instance is on its own";
const ATTEMPTS: &str = "attempts at one time, counted in each instance";
const PARALLEL: &str = "for this process as `feathergate.limits.global.concurrency`, with its queue; on Lambda an instance \
                        serves one request at a time anyway";
const LOG: &str = "the log has its own settings: `RUST_LOG` and `feathergate.log_bodies`";

const TOP: &[Known] = &[
    exact("model_list", ""),
    exact("include", ""),
    exact("environment_variables", "for the references in this file; the process's environment stays as it is"),
    exact("litellm_settings", ""),
    exact("router_settings", ""),
    exact("general_settings", ""),
    exact("feathergate", ""),
    unsupported("credential_list", "shared credentials are not supported yet; give each entry its `api_key`"),
    unsupported("callback_settings", NO_CALLBACKS),
    unsupported("guardrails", NO_GUARDRAILS),
    unsupported("prompts", "there are no stored prompts"),
    unsupported("mcp_servers", "there is no MCP gateway"),
    unsupported("mcp_tools", "there is no MCP gateway"),
    unsupported("search_tools", "there are no search tools"),
    unsupported("assistant_settings", "there is no Assistants API"),
    unsupported("files_settings", "there is no Files API"),
    unsupported("finetune_settings", "there is no fine-tuning API"),
    unsupported("vector_store_registry", "there are no vector stores"),
    unsupported("agent_list", "there are no agents"),
];

const LITELLM: &[Known] = &[
    exact("drop_params", "drops what the provider is known to refuse, and what it cannot be told"),
    approximate("request_timeout", TOTAL_TIME),
    ignored("set_verbose", LOG),
    ignored("json_logs", LOG),
    ignored("redact_user_api_key_info", "keys are never logged"),
    approximate("turn_off_message_logging", "texts are not logged unless `feathergate.log_bodies` says so"),
    unsupported("cost_discount_config", NO_DISCOUNTS),
    unsupported("cost_margin_config", NO_DISCOUNTS),
    exact("include_cost_in_streaming_usage", "`usage.cost` in the last event of a stream, where the price is known"),
    ignored("telemetry", "there is no telemetry"),
    ignored("suppress_debug_info", LOG),
    ignored("log_raw_request_response", LOG),
    unsupported("modify_params", "a request is changed only as far as another API needs it"),
    unsupported("callbacks", NO_CALLBACKS),
    unsupported("success_callback", NO_CALLBACKS),
    unsupported("failure_callback", NO_CALLBACKS),
    unsupported("service_callback", NO_CALLBACKS),
    unsupported("audit_log_callbacks", NO_CALLBACKS),
    unsupported("post_call_rules", NO_CALLBACKS),
    unsupported("cache", NO_CACHE),
    unsupported("cache_params", NO_CACHE),
    unsupported("enable_caching_on_provider_specific_optional_params", NO_CACHE),
    unsupported("force_ipv4", "IPv6 is used where there is any"),
    unsupported("ssl_verify", "certificates are always verified, with Mozilla's roots"),
    unsupported("ssl_certificate", "there are no client certificates"),
    unsupported("use_chat_completions_url_for_anthropic_messages", "the wire is the provider's"),
    unsupported("default_team_settings", NO_DATABASE),
    unsupported("default_internal_user_params", NO_DATABASE),
    unsupported("max_internal_user_budget", NO_BUDGETS),
    unsupported("internal_user_budget_duration", NO_BUDGETS),
    unsupported("max_end_user_budget", NO_BUDGETS),
    exact("max_budget", "of all requests together, counted in the store"),
    exact("budget_duration", "from 1970 on where it is no number of months"),
    unsupported("upperbound_key_generate_params", NO_DATABASE),
    unsupported("default_key_generate_params", NO_DATABASE),
    unsupported("custom_provider_map", "there are no custom providers"),
    unsupported("mcp_aliases", "there is no MCP gateway"),
    unsupported("guardrails", NO_GUARDRAILS),
    unsupported("tag_budget_config", NO_BUDGETS),
    unsupported("public_model_groups", NO_ACCESS),
    unsupported("forward_traceparent_to_llm_provider", "no header of the client is passed on by this"),
    unsupported("api_key", "there is no key for all entries; set the provider's variable"),
    exact("model_alias_map", "the same as `router_settings.model_group_alias`"),
];

const GENERAL: &[Known] = &[
    exact("master_key", ""),
    exact("dangerously_permit_weak_or_unset_master_key", ""),
    exact("disable_spend_logs", "sums by day are kept all the same"),
    exact("store_prompts_in_spend_logs", "with what looks like a secret taken out"),
    exact("allow_requests_on_db_unavailable", "the same as `store: {on_error: open}`"),
    ignored("infer_model_from_keys", "only entries of `model_list` are served"),
    ignored("health_check_*", "there are no background health checks"),
    ignored("background_health_checks", "there are no background health checks"),
    ignored("disable_error_logs", LOG),
    ignored("cancel_on_disconnect", "an upstream call always ends when its client goes"),
    ignored("include_call_id_in_error_body", "the call's id is in the headers"),
    ignored("ui_access_mode", "there is no web interface"),
    ignored("proxy_batch_*", NO_DATABASE),
    ignored("database_connection_*", NO_DATABASE),
    approximate("always_include_stream_usage", "usage is asked for always, but shown only to clients that asked"),
    unsupported("database_url", "litellm's tables are not read; name a database of our own in `feathergate.store`"),
    unsupported("database_type", NO_DATABASE),
    unsupported("database_args", NO_DATABASE),
    unsupported("store_model_in_db", NO_DATABASE),
    unsupported("completion_model", "the client names the model"),
    approximate("max_parallel_requests", PARALLEL),
    approximate("global_max_parallel_requests", PARALLEL),
    unsupported("custom_*", "there is no custom code"),
    unsupported("enable_jwt_auth", NO_ACCESS),
    unsupported("litellm_jwtauth", NO_ACCESS),
    unsupported("enable_oauth2_*", NO_ACCESS),
    unsupported("key_management_system", "secrets come from the environment and from SSM (`ssm:/path`)"),
    unsupported("key_management_settings", "secrets come from the environment and from SSM (`ssm:/path`)"),
    unsupported("forward_client_headers_to_llm_api", "headers of the client are not forwarded by this"),
    unsupported("forward_openai_org_id", "headers of the client are not forwarded by this"),
    unsupported("enforce_user_param", "requests without `user` pass"),
    unsupported("enforced_params", "requests are not checked before they are sent"),
    unsupported("allowed_routes", NO_ACCESS),
    unsupported("public_routes", NO_ACCESS),
    unsupported("admin_only_routes", NO_ACCESS),
    exact("allowed_ips", "addresses, and ranges such as `10.0.0.0/8` as well; others get a 403"),
    approximate(
        "use_x_forwarded_for",
        "the last address of the header counts; `limits.trust_forwarded` for more proxies",
    ),
    unsupported("role_permissions", NO_ACCESS),
    unsupported("user_header_name", NO_ACCESS),
    unsupported("litellm_key_header_name", "use `feathergate.key_header`"),
    unsupported("max_request_size_mb", "use `feathergate.max_request_mb`"),
    unsupported("max_response_size_mb", "use `feathergate.max_response_mb`"),
    unsupported("pass_through_endpoints", "there are no pass-through routes"),
    unsupported("alerting", NO_CALLBACKS),
    unsupported("alert_types", NO_CALLBACKS),
    unsupported("alerting_threshold", NO_CALLBACKS),
    unsupported("alerting_args", NO_CALLBACKS),
    unsupported("alert_to_webhook_url", NO_CALLBACKS),
    unsupported("spend_report_frequency", NO_CALLBACKS),
    ignored("fail_closed_budget_enforcement", CLOSED),
    ignored("fail_closed_rate_limit_enforcement", CLOSED),
    unsupported("coordination_redis", NO_REDIS),
    unsupported("default_team_disabled", NO_DATABASE),
    unsupported("block_robots", "`/robots.txt` is not served"),
    unsupported("service_account_settings", NO_DATABASE),
    unsupported("control_plane_url", NO_DATABASE),
];

const FEATHERGATE: &[Known] = &[
    exact("allow_unauthenticated", "serves without a master key also where others can reach it"),
    exact("on_loss", "what becomes of what a provider cannot be told: `reject`, `report` or `lenient`"),
    exact("key_header", "the only header that a client's key is read from"),
    exact("response_model", "`upstream` or `alias`"),
    exact("max_request_mb", ""),
    exact("max_response_mb", ""),
    exact("heartbeat", ""),
    exact("early_heartbeat", ""),
    exact("idle_timeout", ""),
    exact("stream_usage", ""),
    exact("log_bodies", ""),
    exact("cors_origins", ""),
    exact("secret_ttl", ""),
    exact("direct_models", "what may be asked for as `provider/model`, with the provider's own key"),
    exact("redirects", "other names, which win over groups of the same name"),
    exact("fallback_on_bad_request", "plain 400s fall back too, as in litellm"),
    exact(
        "prices",
        "of models as `provider/model` or `model`, with `*`: over the built-in table, under what an entry says",
    ),
    exact(
        "max_request_tokens",
        "a chat, response or completion that is estimated longer is refused; what an upstream keeps (`previous_response_id`) \
         is not seen",
    ),
    exact("error_patterns", "a successful answer that holds one of these texts is a failure"),
    exact("disclose_upstream", "answers name the upstream's host and model in headers"),
    exact("mock_testing", "requests can ask for made-up failures (`mock_testing_fallbacks`)"),
    exact(
        "system_prompts",
        "of chat completions, messages and responses (`instructions`); `/v1/completions` has no system part, and gets none",
    ),
    exact("prompt_variables", "the time zone, and which headers and environment variables `system_prompts` may use"),
    exact(
        "limits",
        "each process counts for itself. On Lambda that is each instance, which serves one request at a time: rates hold per \
         instance, `concurrency` means nothing there (the function's reserved concurrency bounds the fleet); limits that all \
         instances share are `shared_limits` and those of virtual keys",
    ),
    exact("store", "where virtual keys, limits that all processes share, and records are kept"),
    exact("shared_limits", "of the gateway and of models, counted in the store"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Section; 8] = [
        Section::Top,
        Section::Entry,
        Section::Params,
        Section::Info,
        Section::Litellm,
        Section::Router,
        Section::General,
        Section::Feathergate,
    ];

    #[test]
    fn no_key_stands_twice_and_each_loss_has_a_reason() {
        for section in ALL {
            for (position, row) in section.rows().iter().enumerate() {
                let twice = section.rows().iter().skip(position + 1).any(|other| other.name == row.name);
                assert!(!twice, "{section:?} {}", row.name);
                assert!(row.status != Status::Unsupported || !row.note.is_empty(), "{section:?} {}", row.name);
            }
        }
    }

    #[test]
    fn keys_are_found_by_name_start_and_likeness() {
        assert_eq!(Section::Params.find("aws_region_name").map(|row| row.status), Some(Status::Unsupported));
        assert_eq!(Section::Litellm.find("num_retries").map(|row| row.name), Some("num_retries"));
        assert!(Section::Router.find("drop_params").is_none());
        assert_eq!(Section::Params.nearest("api_bse"), Some("api_base"));
        assert_eq!(Section::Feathergate.nearest("hartbeat"), Some("heartbeat"));
        assert_eq!(Section::Params.nearest("provider"), None);
    }
}
