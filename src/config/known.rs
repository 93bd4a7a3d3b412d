//! Every key that litellm 1.109 or this gateway knows, as data, with what this version does about it. `check` reports from
//! it, and unknown keys are found with it. A key that begins to work changes its row here.

use super::problem::nearest;

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

const CAPABILITY: &str = "counts where a request is converted to another API";
const NO_RETRIES: &str = "a call is tried once; there are no retries yet";
const NO_FALLBACKS: &str = "there are no fallbacks yet; the client gets the error";
const NO_COOLDOWN: &str = "failing deployments are not taken out of their group yet";
const NO_LIMITS: &str = "limits are not enforced yet";
const NO_BUDGETS: &str = "budgets are not enforced yet";
const NO_PRICES: &str = "costs are not computed yet";
const NO_CALLBACKS: &str = "there are no callbacks yet; each call is one line in the log";
const NO_CACHE: &str = "answers are not cached";
const NO_DATABASE: &str = "there is no database: no virtual keys, teams or spend";
const NO_TAGS: &str = "tags do not choose a deployment yet";
const NO_GUARDRAILS: &str = "there are no guardrails; every text passes";
const NO_ACCESS: &str = "access is not limited by this; the master key opens every model";
const NO_REDIS: &str = "there is no Redis; every instance is on its own";
const NO_AZURE: &str = "Azure is not supported by this version";
const NO_VERTEX: &str = "Vertex AI is not supported by this version";
const NO_AWS: &str = "Bedrock and SageMaker are not supported by this version";
const AS_WEIGHT: &str = "the limit is not enforced yet; it only weighs the choice within the group";
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

const ENTRY: &[Known] = &[
    exact("model_name", ""),
    exact("litellm_params", ""),
    exact("model_info", ""),
    unsupported("rpm", NO_LIMITS),
    unsupported("tpm", NO_LIMITS),
];

const PARAMS: &[Known] = &[
    exact("model", ""),
    exact("custom_llm_provider", ""),
    exact("api_key", "a list makes one deployment of each key"),
    exact("api_base", ""),
    exact("base_url", "the same as `api_base`"),
    exact("api_version", "a query parameter on OpenAI's wire, the `anthropic-version` header on Anthropic's"),
    exact("organization", "a list makes one deployment of each"),
    exact("extra_headers", ""),
    exact("extra_body", "each of its fields is a default"),
    exact("timeout", "the total for one attempt"),
    exact("stream_timeout", "the wait for the first content of a stream"),
    exact("drop_params", "drops what the provider is known to refuse, and what it cannot be told"),
    exact("additional_drop_params", "names of top-level fields"),
    exact("weight", ""),
    exact("mock_response", "a text; no provider is called"),
    ignored("allowed_openai_params", "every parameter that the provider can be told is sent anyway"),
    ignored("use_in_pass_through", "there are no pass-through routes"),
    ignored("input_cost_per_*", NO_PRICES),
    ignored("output_cost_per_*", NO_PRICES),
    ignored("cache_creation_input_*", NO_PRICES),
    ignored("cache_read_input_*", NO_PRICES),
    ignored("tiered_pricing", NO_PRICES),
    ignored("no-log", LOG),
    unsupported("rpm", AS_WEIGHT),
    unsupported("tpm", AS_WEIGHT),
    unsupported("itpm", NO_LIMITS),
    unsupported("otpm", NO_LIMITS),
    unsupported("max_parallel_requests", NO_LIMITS),
    unsupported("max_retries", NO_RETRIES),
    unsupported("num_retries", NO_RETRIES),
    unsupported("fallbacks", NO_FALLBACKS),
    unsupported("context_window_fallback_dict", NO_FALLBACKS),
    unsupported("order", "deployments are chosen by weight only"),
    unsupported("cooldown_time", NO_COOLDOWN),
    unsupported("tags", NO_TAGS),
    unsupported("tag_regex", NO_TAGS),
    unsupported("region_name", "regions do not choose a deployment"),
    unsupported("max_budget", NO_BUDGETS),
    unsupported("budget_duration", NO_BUDGETS),
    unsupported("max_file_size_mb", NO_LIMITS),
    unsupported("cache", NO_CACHE),
    unsupported("caching", NO_CACHE),
    unsupported("guardrails", NO_GUARDRAILS),
    unsupported("extra_query", "extra query parameters are not sent"),
    unsupported("ssl_verify", "certificates are always verified, with Mozilla's roots"),
    unsupported("litellm_credential_name", "shared credentials are not supported yet; give the entry its `api_key`"),
    unsupported("configurable_clientside_auth_params", "a client cannot bring its own key or base URL"),
    unsupported("use_chat_completions_api", "the wire is the provider's"),
    unsupported("use_litellm_proxy", "write `litellm_proxy/NAME`"),
    unsupported("merge_reasoning_content_in_choices", "answers are passed on as they are"),
    unsupported("model_info", "`model_info` belongs beside `litellm_params`, not in it"),
    unsupported("modify_params", "a request is changed only as far as another API needs it"),
    unsupported("hooks", NO_CALLBACKS),
    unsupported("success_callback", NO_CALLBACKS),
    unsupported("azure_*", NO_AZURE),
    unsupported("tenant_id", NO_AZURE),
    unsupported("client_id", NO_AZURE),
    unsupported("client_secret", NO_AZURE),
    unsupported("vertex_*", NO_VERTEX),
    unsupported("aws_*", NO_AWS),
    unsupported("s3_*", NO_AWS),
    unsupported("gcs_bucket_name", NO_VERTEX),
    unsupported("watsonx_region_name", "watsonx is not supported by this version"),
];

const INFO: &[Known] = &[
    exact("id", ""),
    exact("mode", "shown in `/v1/models`"),
    exact("max_tokens", "the older name of `max_output_tokens`"),
    exact("max_input_tokens", "shown in `/v1/models`; no limit"),
    exact(
        "max_output_tokens",
        "shown in `/v1/models`; the limit where a provider demands one and the client gave none",
    ),
    exact("blocked", "the entry is left out"),
    exact("supports_adaptive_thinking", CAPABILITY),
    exact("supports_assistant_prefill", CAPABILITY),
    exact("supports_audio_input", CAPABILITY),
    exact("supports_function_calling", CAPABILITY),
    exact("supports_native_structured_output", CAPABILITY),
    exact("supports_parallel_function_calling", CAPABILITY),
    exact("supports_pdf_input", CAPABILITY),
    exact("supports_prompt_caching", "whether Claude's cache marks are sent; see `cache_marks`"),
    exact("supports_reasoning", CAPABILITY),
    exact("supports_response_schema", CAPABILITY),
    exact("supports_system_messages", CAPABILITY),
    exact("supports_tool_choice", CAPABILITY),
    exact("supports_video_input", CAPABILITY),
    exact("supports_vision", CAPABILITY),
    exact("supports_web_search", CAPABILITY),
    exact("cache_marks", "it takes marks for the prompt cache"),
    exact("forced_tools", "whether a tool can be forced: `free`, `not_thinking` or `refused`"),
    exact("limit_field", "`max_tokens` or `max_completion_tokens`"),
    exact("logprobs", "it gives log probabilities"),
    exact("max_stop_sequences", ""),
    exact("media_in_tool_results", "tool results can hold pictures and documents"),
    exact("mistral_dialect", "it speaks OpenAI's wire as Mistral does"),
    exact("multiple_choices", "it gives several answers at once (`n`)"),
    exact("openai_fields", "it knows OpenAI's own latest request fields"),
    exact("penalties", "it takes `frequency_penalty` and `presence_penalty`"),
    exact("reasoning_content_back", "its thoughts have to come back with the turns"),
    exact("reasoning_details", "it takes thoughts of other models in `reasoning_details`"),
    exact("reasoning_efforts", "the efforts that it takes"),
    exact("reasons", "when it reasons: `never`, `when_asked`, `unless_off` or `always`"),
    exact("reasons_with_tools", "it takes functions in a request that has it reason"),
    exact("response_schema_with_tools", "it takes a schema for the answer beside tools"),
    exact("sampling", "whether `temperature` and the like can be set: `free`, `not_thinking` or `refused`"),
    exact("signed_tool_calls", "its calls are signed, as Gemini's are"),
    exact("stream_options", "it takes `stream_options`"),
    exact("system_messages_midway", "it heeds a system message where it stands in the conversation"),
    exact("system_role", "the role of instructions: `system` or `user`"),
    exact("temperature_with_top_p", "the two can stand together"),
    exact("thinking", "how reasoning is controlled: `none`, `budget`, `adaptive`, `either` or `level`"),
    exact("thinking_budget", "the least and the most tokens"),
    exact("thinking_off", "it can be told not to reason"),
    exact("tool_call_ids", "`any`, or `nine` for nine letters and digits"),
    exact("tool_call_ids_back", "the ids it gives its calls have to come back"),
    exact("web_search", "it searches the web when the request says so"),
    exact("top_k", "it takes `top_k`"),
    ignored("base_model", NO_PRICES),
    ignored("input_cost_per_*", NO_PRICES),
    ignored("output_cost_per_*", NO_PRICES),
    ignored("cache_creation_input_*", NO_PRICES),
    ignored("cache_read_input_*", NO_PRICES),
    ignored("supports_*", "nothing here depends on it"),
    ignored("db_model", ""),
    ignored("description", ""),
    ignored("health_check_*", "there are no background health checks"),
    ignored("disable_background_health_check", "there are no background health checks"),
    ignored("litellm_provider", ""),
    unsupported("tier", "tiers do not choose a deployment"),
    unsupported("access_groups", NO_ACCESS),
    unsupported("access_windows", NO_ACCESS),
    unsupported("team_id", NO_ACCESS),
    unsupported("team_public_model_name", NO_ACCESS),
    unsupported("supported_environments", "the entry is used in every environment"),
    unsupported("cooldown_time", NO_COOLDOWN),
    unsupported("allowed_fails", NO_COOLDOWN),
    unsupported("allowed_fails_policy", NO_COOLDOWN),
];

const ROUTER: &[Known] = &[
    exact("routing_strategy", "`simple-shuffle`, by weight"),
    exact("timeout", "the total for one request; `litellm_settings.request_timeout` wins over it"),
    exact("stream_timeout", "the wait for the first content of a stream"),
    ignored("set_verbose", LOG),
    ignored("debug_level", LOG),
    ignored("cache_responses", NO_CACHE),
    ignored("client_ttl", "connections are kept by the HTTP client's own rules"),
    ignored("disable_cooldowns", NO_COOLDOWN),
    unsupported("routing_strategy_args", "the choice is by weight"),
    unsupported("routing_groups", "the choice is by weight"),
    unsupported("provider_budget_config", NO_BUDGETS),
    unsupported("enable_tag_filtering", NO_TAGS),
    unsupported("tag_filtering_match_any", NO_TAGS),
    unsupported("num_retries", NO_RETRIES),
    unsupported("max_retries", NO_RETRIES),
    unsupported("retry_after", NO_RETRIES),
    unsupported("retry_policy", NO_RETRIES),
    unsupported("model_group_retry_policy", NO_RETRIES),
    unsupported("fallbacks", NO_FALLBACKS),
    unsupported("context_window_fallbacks", NO_FALLBACKS),
    unsupported("content_policy_fallbacks", NO_FALLBACKS),
    unsupported("default_fallbacks", NO_FALLBACKS),
    unsupported("max_fallbacks", NO_FALLBACKS),
    unsupported("fallback_on_unsupported_params", NO_FALLBACKS),
    unsupported("allowed_fails", NO_COOLDOWN),
    unsupported("allowed_fails_policy", NO_COOLDOWN),
    unsupported("cooldown_time", NO_COOLDOWN),
    unsupported("model_group_alias", "aliases are not supported yet; add an entry with that `model_name`"),
    unsupported("enable_pre_call_checks", "requests are not checked before they are sent"),
    unsupported("optional_pre_call_checks", "requests are not checked before they are sent"),
    unsupported("default_litellm_params", "there are no defaults for all entries yet; use a YAML anchor and `<<`"),
    unsupported("default_max_parallel_requests", NO_LIMITS),
    unsupported("max_parallel_requests", NO_LIMITS),
    unsupported("default_priority", "there is no queue"),
    unsupported("polling_interval", "there is no queue"),
    unsupported("redis_*", NO_REDIS),
    unsupported("alerting_config", NO_CALLBACKS),
    unsupported("assistants_config", "there is no Assistants API"),
    unsupported("guardrail_list", NO_GUARDRAILS),
];

const LITELLM: &[Known] = &[
    exact("drop_params", "drops what the provider is known to refuse, and what it cannot be told"),
    exact("request_timeout", "the total for one request"),
    ignored("set_verbose", LOG),
    ignored("json_logs", LOG),
    ignored("redact_user_api_key_info", "keys are never logged"),
    approximate("turn_off_message_logging", "texts are not logged unless `feathergate.log_bodies` says so"),
    ignored("cost_discount_config", NO_PRICES),
    ignored("cost_margin_config", NO_PRICES),
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
    unsupported("max_budget", NO_BUDGETS),
    unsupported("budget_duration", NO_BUDGETS),
    unsupported("upperbound_key_generate_params", NO_DATABASE),
    unsupported("default_key_generate_params", NO_DATABASE),
    unsupported("custom_provider_map", "there are no custom providers"),
    unsupported("mcp_aliases", "there is no MCP gateway"),
    unsupported("guardrails", NO_GUARDRAILS),
    unsupported("tag_budget_config", NO_BUDGETS),
    unsupported("public_model_groups", NO_ACCESS),
    unsupported("forward_traceparent_to_llm_provider", "no header of the client is passed on by this"),
    unsupported("api_key", "there is no key for all entries; set the provider's variable"),
    unsupported("model_alias_map", "aliases are not supported yet; add an entry with that `model_name`"),
];

const GENERAL: &[Known] = &[
    exact("master_key", ""),
    exact("dangerously_permit_weak_or_unset_master_key", ""),
    ignored("disable_spend_logs", NO_DATABASE),
    ignored("store_prompts_in_spend_logs", NO_DATABASE),
    ignored("allow_requests_on_db_unavailable", NO_DATABASE),
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
    unsupported("database_url", NO_DATABASE),
    unsupported("database_type", NO_DATABASE),
    unsupported("database_args", NO_DATABASE),
    unsupported("store_model_in_db", NO_DATABASE),
    unsupported("completion_model", "the client names the model"),
    unsupported("max_parallel_requests", NO_LIMITS),
    unsupported("global_max_parallel_requests", NO_LIMITS),
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
    unsupported("allowed_ips", NO_ACCESS),
    unsupported("use_x_forwarded_for", NO_ACCESS),
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
    unsupported("fail_closed_budget_enforcement", NO_BUDGETS),
    unsupported("fail_closed_rate_limit_enforcement", NO_LIMITS),
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
