//! Configurations, good and bad, and what is said about them, word by word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "a test talks to its reader")]

use std::path::Path;
use std::time::Duration;

use feathergate::config::check::{self, Verdict};
use feathergate::config::known::{Section, Status};
use feathergate::config::raw::Document;
use feathergate::config::resolve::{Problems, Resolved, load, resolve, weak_key};
use feathergate::config::secret::Text;
use feathergate::config::settings::{Deployment, ExtraHeader, ResponseModel, Settings};
use feathergate::wire::chat::Effort;
use feathergate::wire::profile::{Control, Forced, Ids, Limit, Profile, Reasons, Sampling, SystemRole};
use feathergate::wire::{OnLoss, Wire};

fn env(name: &str) -> Option<String> {
    let value = match name {
        "SECRET" => "sk-verysecretvalue",
        "PARAMETER" => "ssm:/header",
        "OLLAMA_API_BASE" => "verysecret",
        _ => return None,
    };
    Some(value.to_owned())
}

fn resolved(yaml: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Resolved, Problems> {
    resolve(&Document::parse("x.yaml", yaml)?, env)
}

#[expect(clippy::panic, reason = "a test")]
fn settings(yaml: &str, env: &dyn Fn(&str) -> Option<String>) -> Settings {
    resolved(yaml, env).unwrap_or_else(|problems| panic!("{problems}")).settings
}

#[expect(clippy::indexing_slicing, reason = "a test")]
fn first(settings: &Settings) -> &Deployment {
    &settings.groups[0].deployments[0]
}

/// One entry with these `litellm_params`, as a flow map without its braces.
fn entry(params: &str) -> String {
    format!("model_list:\n- model_name: m\n  litellm_params: {{{params}}}\n")
}

fn text(text: Option<&Text>) -> String {
    match text {
        None => "none".to_owned(),
        Some(Text::Known(secret)) => secret.expose().to_owned(),
        Some(Text::Parameter(name)) => format!("ssm {}", name.as_str()),
        Some(Text::Unset(name)) => format!("unset {name}"),
    }
}

/// Everything that is ever said about a file, to look for secrets in.
fn everything_said(yaml: &str) -> String {
    let loaded = match resolved(yaml, &env) {
        Ok(resolved) => resolved.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(problems) => format!("{problems}\n{problems:?}"),
    };
    let report = Document::parse("x.yaml", yaml).map(|document| check::report(&document, &env).render());
    loaded + &report.unwrap_or_default()
}

#[test]
fn bad_files_are_refused_with_every_reason() {
    for (name, yaml, want) in BAD {
        let errors = resolved(yaml, &env).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(errors.lines().collect::<Vec<_>>(), *want, "{name}");
        let said = everything_said(yaml);
        assert!(!said.contains("verysecret") && !said.contains("upstream-value"), "{name}: {said}");
        if let Ok(document) = Document::parse("x.yaml", yaml) {
            assert!(check::report(&document, &env).has_errors(), "{name}");
        }
    }
}

#[test]
fn doubtful_files_are_used_with_warnings() {
    for (name, yaml, want) in DOUBTFUL {
        let found = resolved(yaml, &env).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, *want, "{name}");
        let said = everything_said(yaml);
        assert!(!said.contains("verysecret") && !said.contains("upstream-value"), "{name}: {said}");
        assert!(!check::report(&Document::parse("x.yaml", yaml).unwrap(), &env).has_errors(), "{name}");
    }
}

#[test]
fn providers_models_and_bases() {
    let given = |name: &str| match name {
        "OPENAI_BASE_URL" => Some("https://proxy.example/v1/".to_owned()),
        _ => None,
    };
    for (params, vendor, model, base) in [
        ("model: gpt-5.1", "openai", "gpt-5.1", "https://proxy.example/v1"),
        ("model: o3-mini, api_base: https://h/v1/chat/completions", "openai", "o3-mini", "https://h/v1"),
        (
            "model: openai/my/own/model, base_url: http://127.0.0.1:1/v1/",
            "openai",
            "my/own/model",
            "http://127.0.0.1:1/v1",
        ),
        ("model: claude-opus-4-5", "anthropic", "claude-opus-4-5", "https://api.anthropic.com"),
        ("model: anthropic/x, api_base: https://h/v1/messages", "anthropic", "x", "https://h"),
        ("model: openrouter/z-ai/glm:free", "openrouter", "z-ai/glm:free", "https://openrouter.ai/api/v1"),
        (
            "model: groq/openai/gpt-oss, custom_llm_provider: groq",
            "groq",
            "openai/gpt-oss",
            "https://api.groq.com/openai/v1",
        ),
        ("model: groq/x, custom_llm_provider: xai", "xai", "groq/x", "https://api.x.ai/v1"),
        ("model: vllm/a/b, api_base: http://h:8000/v1", "hosted_vllm", "a/b", "http://h:8000/v1"),
        ("model: ollama_chat/llama3, api_base: http://h:11434", "ollama", "llama3", "http://h:11434/v1"),
        ("model: ollama/llama3", "ollama", "llama3", "http://localhost:11434/v1"),
        ("model: lmstudio/x", "lm_studio", "x", "http://localhost:1234/v1"),
        (
            "model: fireworks_ai/qwen3",
            "fireworks_ai",
            "accounts/fireworks/models/qwen3",
            "https://api.fireworks.ai/inference/v1",
        ),
        ("model: zhipu/glm-5", "zhipu", "glm-5", "https://open.bigmodel.cn/api/paas/v4"),
        ("model: demo, mock_response: hi", "openai", "demo", "https://proxy.example/v1"),
        ("model: bedrock/x, mock_response: hi", "openai", "bedrock/x", "https://proxy.example/v1"),
        ("model: hosted_vllm/x, mock_response: hi", "hosted_vllm", "x", ""),
        (
            "model: gemini/gemini-3.5-flash",
            "gemini",
            "gemini-3.5-flash",
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        ("model: google_ai_studio/x, api_base: https://h/v1beta/models", "gemini", "x", "https://h/v1beta"),
    ] {
        let settings = settings(&entry(params), &given);
        let found = first(&settings);
        let wire = match vendor {
            "anthropic" => Wire::AnthropicMessages,
            "gemini" => Wire::Gemini,
            _ => Wire::OpenAiChat,
        };
        assert_eq!((found.vendor.name, found.model.as_str(), found.wire), (vendor, model, wire), "{params}");
        assert_eq!(text(Some(&found.api_base)), base, "{params}");
    }
}

#[test]
fn keys() {
    let given = |name: &str| match name {
        "GROQ_API_KEY" => Some(" from-the-environment\n".to_owned()),
        "FIREWORKS_AI_API_KEY" => Some("second-name".to_owned()),
        "TOGETHERAI_API_KEY" => Some("ssm:/together:3".to_owned()),
        "HOSTED_VLLM_API_KEY" => Some("optional".to_owned()),
        "GOOGLE_API_KEY" => Some("google".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    for (params, key) in [
        ("model: openai/x, api_key: sk-1", "sk-1"),
        ("model: openai/x, api_key: os.environ/GROQ_API_KEY", "from-the-environment"),
        ("model: openai/x, api_key: '${GROQ_API_KEY}'", "from-the-environment"),
        ("model: openai/x, api_key: 'ssm:/a/${STAGE:-dev}/key'", "ssm /a/dev/key"),
        (
            "model: openai/x, api_key: 'arn:aws:ssm:eu-west-1:123456789012:parameter/k'",
            "ssm arn:aws:ssm:eu-west-1:123456789012:parameter/k",
        ),
        ("model: openai/x, api_key: os.environ/TOGETHERAI_API_KEY", "ssm /together:3"),
        ("model: openai/x, api_key: os.environ/EMPTY", "unset EMPTY"),
        ("model: openai/x, api_key: ''", "unset OPENAI_API_KEY"),
        ("model: openai/x, api_key: null", "unset OPENAI_API_KEY"),
        ("model: openai/x", "unset OPENAI_API_KEY"),
        ("model: groq/x", "from-the-environment"),
        ("model: fireworks_ai/x", "second-name"),
        ("model: together_ai/x", "ssm /together:3"),
        ("model: hosted_vllm/x, api_base: http://h", "optional"),
        ("model: gemini/x", "google"),
        ("model: ollama/x", "none"),
        ("model: openai/x, mock_response: hi", "none"),
    ] {
        let settings = settings(&entry(params), &given);
        assert_eq!(text(first(&settings).api_key.as_ref()), key, "{params}");
    }
}

#[test]
fn deployments_of_a_group() {
    let yaml = "
model_list:
- {model_name: größe, litellm_params: {model: openai/a, api_key: [k1, k2], organization: [o1, o2]}, model_info: {max_tokens: 9, mode: chat}}
- {model_name: other, litellm_params: {model: openai/b, api_key: k, weight: 0.5}}
- {model_name: größe, litellm_params: {model: openai/c, api_key: k}, model_info: {id: mine, max_input_tokens: 7}}
- {model_name: other, litellm_params: {model: openai/d, api_key: k}}
- {model_name: gone, litellm_params: {model: openai/e, api_key: k}, model_info: {blocked: true}}
- {model_name: limits, litellm_params: {model: openai/f, api_key: k, rpm: 9}}
- {model_name: limits, litellm_params: {model: openai/g, api_key: k, rpm: 1}, model_info: {id: limits-1}}
";
    let settings = settings(yaml, &|_| None);
    let facts: Vec<String> = settings
        .groups
        .iter()
        .flat_map(|group| &group.deployments)
        .map(|it| {
            let organization = text(it.organization.as_ref());
            format!("{} {} {} {} {organization} {}", it.group, it.id, it.model, text(it.api_key.as_ref()), it.weight)
        })
        .collect();
    assert_eq!(
        facts,
        [
            "größe gr__e-1 a k1 o1 1",
            "größe gr__e-2 a k1 o2 1",
            "größe gr__e-3 a k2 o1 1",
            "größe gr__e-4 a k2 o2 1",
            "größe mine c k none 1",
            "other other-1 b k none 500",
            "other other-2 d k none 1000",
            "limits limits-2 f k none 9",
            "limits limits-1 g k none 1",
        ]
    );
    let info = &settings.groups[0].info;
    assert_eq!((info.mode.as_deref(), info.max_output_tokens, info.max_input_tokens), (Some("chat"), Some(9), None));
}

#[test]
fn defaults_and_dropped_fields() {
    let yaml = "
litellm_settings: {drop_params: True}
model_list:
- model_name: m
  litellm_params:
    model: groq/x
    api_key: k
    zeta: {b: [1, 2.5, ~], a: \"é\\n\"}
    temperature: 0.7
    user: os.environ/NAME
    seed: null
    additional_drop_params: [seed, logprobs]
    extra_body: {provider: {order: [a]}, temperature: 1}
- {model_name: m, litellm_params: {model: groq/x, api_key: k, drop_params: no}}
";
    let settings = settings(yaml, &|name| (name == "NAME").then(|| "\"quoted\"".to_owned()));
    let found = first(&settings);
    let defaults: Vec<String> = found.defaults.iter().map(|(name, json)| format!("{name}={json}")).collect();
    assert_eq!(
        defaults,
        [
            "zeta={\"b\":[1,2.5,null],\"a\":\"é\\n\"}",
            "temperature=0.7",
            "user=\"\\\"quoted\\\"\"",
            "provider={\"order\":[\"a\"]}"
        ]
    );
    assert_eq!(found.drop, ["logit_bias", "logprobs", "seed", "top_logprobs"]);
    assert!(settings.groups[0].deployments[1].drop.is_empty());
}

#[test]
fn defaults_by_wire() {
    for (params, want) in [
        ("model: claude-haiku-4-5, max_completion_tokens: 9", "max_tokens=9"),
        ("model: claude-haiku-4-5, stop: a", "stop_sequences=[\"a\"]"),
        ("model: claude-haiku-4-5, stop: [a, b]", "stop_sequences=[\"a\",\"b\"]"),
        ("model: claude-haiku-4-5, user: u", "metadata={\"user_id\":\"u\"}"),
        ("model: claude-haiku-4-5, max_tokens: 8, max_completion_tokens: 9", "max_tokens=8"),
        ("model: claude-haiku-4-5, reasoning_effort: low", "reasoning_effort=\"low\""),
        ("model: claude-haiku-4-5, speed: fast", "speed=\"fast\""),
        ("model: claude-haiku-4-5, n: 2", ""),
        ("model: gemini/gemini-2.5-pro, stop: a", "stop=\"a\""),
        ("model: gemini/gemini-2.5-pro, top_k: 3", "top_k=3"),
        ("model: gemini/gemini-2.5-pro, cachedContent: c", "cachedContent=\"c\""),
        ("model: gemini/gemini-2.5-pro, logit_bias: {}", ""),
        ("model: gemini/gemini-2.5-pro, user: u", ""),
        ("model: openai/x, max_tokens: some", "max_tokens=\"some\""),
        ("model: openai/x, own: 1", "own=1"),
    ] {
        let settings = settings(&entry(&format!("{params}, api_key: k")), &|_| None);
        let found = first(&settings).defaults.iter().map(|(name, json)| format!("{name}={json}")).collect::<Vec<_>>();
        assert_eq!(found.join(" "), want, "{params}");
    }
}

#[test]
fn what_becomes_of_losses() {
    for (own, for_all, ours, want) in [
        ("", "", "", OnLoss::Report),
        ("", "", "reject", OnLoss::Reject),
        ("", "", "lenient", OnLoss::Lenient),
        ("true", "", "", OnLoss::Lenient),
        ("", "true", "", OnLoss::Lenient),
        ("false", "true", "", OnLoss::Report),
        ("true", "", "report", OnLoss::Report),
        ("true", "true", "reject", OnLoss::Reject),
    ] {
        let line = |key: &str, value: &str| if value.is_empty() { String::new() } else { format!("{key}: {value}") };
        let yaml = format!(
            "model_list:\n- model_name: m\n  litellm_params: {{model: openai/x, api_key: k, timeout: 1, {}}}\n\
             litellm_settings: {{{}}}\nfeathergate: {{{}}}\n",
            line("drop_params", own),
            line("drop_params", for_all),
            line("on_loss", ours)
        );
        assert_eq!(first(&settings(&yaml, &|_| None)).on_loss, want, "{own} {for_all} {ours}");
    }
}

/// The profile of a model with this `model_info`.
fn profile(model: &str, info: &str) -> Profile {
    let yaml = entry(&format!("model: {model}, api_key: [k, l]")) + &format!("  model_info: {{{info}}}\n");
    let settings = settings(&yaml, &|_| None);
    let deployments = &settings.groups[0].deployments;
    assert_eq!(deployments[0].profile, deployments[1].profile);
    deployments[0].profile
}

/// A model, its `model_info`, and what that changes.
type Override = (&'static str, &'static str, fn(&mut Profile));

#[test]
fn each_fact_of_a_model_can_be_said() {
    const EACH: &[Override] = &[
        ("openai/gpt-4o", "", |_| {}),
        ("openai/gpt-4o", "max_output_tokens: 9, max_tokens: 8", |it| it.max_output = Some(9)),
        ("openai/gpt-4o", "max_tokens: 8", |it| it.max_output = Some(8)),
        ("openai/gpt-4o", "max_tokens: 0", |_| {}),
        ("openai/gpt-4o", "supports_vision: false", |it| it.reads.images = false),
        ("openai/gpt-4o", "supports_pdf_input: false", |it| it.reads.documents = false),
        ("openai/gpt-4o", "supports_audio_input: yes", |it| it.reads.audio = true),
        ("openai/gpt-4o", "supports_video_input: true", |it| it.reads.video = true),
        ("openai/gpt-4o", "supports_function_calling: false", |it| it.tools = false),
        ("openai/gpt-4o", "supports_parallel_function_calling: false", |it| it.parallel = false),
        ("openai/gpt-4o", "supports_tool_choice: false", |it| it.forced_tools = Forced::Refused),
        ("claude-fable-5", "supports_tool_choice: true", |it| it.forced_tools = Forced::Free),
        ("claude-sonnet-4-5", "supports_tool_choice: true", |_| {}),
        ("openai/gpt-4", "supports_response_schema: true", |it| it.schemas = true),
        ("claude-3-opus", "supports_response_schema: true", |_| {}),
        ("claude-3-opus", "supports_native_structured_output: true", |it| it.schemas = true),
        ("openai/gpt-4o", "supports_system_messages: false", |it| it.system_role = SystemRole::User),
        ("claude-opus-5", "supports_assistant_prefill: true", |it| it.prefill = true),
        ("openai/gpt-4o", "supports_prompt_caching: true", |_| {}),
        ("claude-opus-5", "supports_prompt_caching: false", |it| it.cache_marks = false),
        ("openai/gpt-4o", "supports_web_search: true", |_| {}),
        ("claude-3-opus", "supports_web_search: true", |it| it.web_search = true),
        ("openai/gpt-5.2", "supports_reasoning: false", |it| {
            (it.thinking, it.reasons, it.efforts) = (Control::None, Reasons::Never, &[]);
        }),
        ("openai/gpt-4o", "supports_reasoning: true", |it| {
            (it.thinking, it.reasons) = (Control::Level, Reasons::WhenAsked);
            it.efforts = &[Effort::Low, Effort::Medium, Effort::High];
        }),
        ("claude-sonnet-4-5", "supports_adaptive_thinking: true", |it| it.thinking = Control::Either),
        ("claude-opus-4-6", "supports_adaptive_thinking: false", |it| it.thinking = Control::Budget),
        ("claude-sonnet-4-5", "max_output_tokens: 8000", |it| {
            (it.max_output, it.budget) = (Some(8000), (1024, 7999));
        }),
        ("claude-sonnet-4-5", "thinking_budget: [2000, 9000]", |it| it.budget = (2000, 9000)),
        ("openai/gpt-4o", "reasoning_efforts: [high, low]", |it| {
            (it.thinking, it.reasons) = (Control::Level, Reasons::WhenAsked);
            it.efforts = &[Effort::Low, Effort::High];
        }),
        ("openai/gpt-5", "thinking_off: true", |it| it.thinking_off = true),
        ("openai/gpt-5.2", "reasons: always", |it| it.reasons = Reasons::Always),
        ("openai/gpt-5.6", "reasons_with_tools: true", |it| it.reasons_with_tools = true),
        ("openai/gpt-4o", "sampling: refused", |it| it.sampling = Sampling::Refused),
        ("claude-sonnet-4-5", "temperature_with_top_p: true", |it| it.both_samplings = true),
        ("openai/gpt-4o", "penalties: false", |it| it.penalties = false),
        ("openai/gpt-4o", "logprobs: false", |it| it.logprobs = false),
        ("openai/gpt-4o", "multiple_choices: false", |it| it.several = false),
        ("openai/gpt-4o", "max_stop_sequences: 7", |it| it.stops = 7),
        ("claude-sonnet-5", "system_messages_midway: true", |it| it.system_turns = true),
        ("openai/gpt-4o", "system_role: user", |it| it.system_role = SystemRole::User),
        ("gemini/gemini-2.5-pro", "response_schema_with_tools: true", |it| it.schemas_with_tools = true),
        ("openai/gpt-4o", "forced_tools: not_thinking", |it| it.forced_tools = Forced::NotThinking),
        ("openai/gpt-4o", "limit_field: max_completion_tokens", |it| it.limit = Limit::MaxCompletionTokens),
        ("gemini/gemini-2.5-pro", "tool_call_ids_back: true", |it| it.call_ids = true),
        ("gemini/gemini-2.5-pro", "signed_tool_calls: true", |it| it.signed_calls = true),
        ("gemini/gemini-2.5-pro", "media_in_tool_results: true", |it| it.result_media = true),
        ("openai/own", "reasoning_content_back: true", |it| it.reasoning_back = true),
        ("openai/own", "reasoning_details: true", |it| it.reasoning_details = true),
        ("openai/gpt-4o", "cache_marks: true", |it| it.cache_marks = true),
        ("openai/own", "tool_call_ids: nine", |it| it.ids = Ids::Nine),
        ("openai/own", "mistral_dialect: true", |it| it.mistral = true),
        ("openai/own", "stream_options: false", |it| it.stream_options = false),
        ("openai/own", "openai_fields: true", |it| it.openai = true),
        ("openai/gpt-4o", "web_search: true, supports_web_search: false", |it| it.web_search = true),
        ("openai/gpt-4o", "top_k: true", |it| it.top_k = true),
        ("openai/gpt-4o", "cache_marks: os.environ/NONE, my_note: x, blocked: false", |_| {}),
    ];
    for (model, info, change) in EACH {
        let info = info.replace("cache_marks: os.environ/NONE", "cache_marks: ~");
        let mut want = profile(model, "");
        change(&mut want);
        assert_eq!(profile(model, &info), want, "{model} {info}");
    }
    // Every key of our own and every capability is in the list.
    for row in Section::Info.rows().iter().filter(|row| row.status == Status::Exact) {
        let plain = ["id", "mode", "max_input_tokens", "blocked", "thinking"].contains(&row.name);
        assert!(plain || EACH.iter().any(|(_, info, _)| info.contains(row.name)), "{}", row.name);
    }
}

#[test]
fn each_way_of_thinking_can_be_said() {
    for (model, info, thinking, reasons, budget) in [
        ("claude-next", "thinking: none", Control::None, Reasons::UnlessOff, (1024, 31_999)),
        ("claude-3-opus", "thinking: budget", Control::Budget, Reasons::WhenAsked, (1024, 4095)),
        ("claude-3-opus", "thinking: adaptive", Control::Adaptive, Reasons::WhenAsked, (1024, 4095)),
        ("claude-opus-5", "thinking: either", Control::Either, Reasons::UnlessOff, (1024, 127_999)),
        ("gemini/gemini-2.5-pro", "thinking: level", Control::Level, Reasons::Always, (128, 32_768)),
    ] {
        let found = profile(model, info);
        assert_eq!((found.thinking, found.reasons, found.budget), (thinking, reasons, budget), "{model} {info}");
        assert!(found.thinking != Control::Level || !found.efforts.is_empty(), "{model}");
        assert!(found.thinking != Control::None || found.efforts.is_empty(), "{model}");
    }
}

#[test]
fn times_and_sizes() {
    let yaml = entry("model: openai/x, api_key: k, timeout: os.environ/T, stream_timeout: 500ms")
        + "litellm_settings: {request_timeout: 1_000}\nrouter_settings: {timeout: 5, stream_timeout: 1.5}\n"
        + "feathergate: {heartbeat: 0, idle_timeout: 2m, secret_ttl: 1h, max_request_mb: 0.5, max_response_mb: 1,\n"
        + "  early_heartbeat: yes, stream_usage: off, response_model: alias, key_header: X-My-Key, cors_origins: https://a.b/}\n";
    let settings = settings(&yaml, &|name| (name == "T").then(|| "30s".to_owned()));
    let found = first(&settings);
    assert_eq!(found.timeout, Some(Duration::from_secs(30)));
    assert_eq!(found.stream_timeout, Some(Duration::from_millis(500)));
    assert_eq!(
        (settings.timeout, settings.stream_timeout),
        (Duration::from_secs(1000), Some(Duration::from_millis(1500)))
    );
    assert_eq!((settings.heartbeat, settings.idle_timeout), (None, Duration::from_mins(2)));
    assert_eq!((settings.max_request, settings.max_response), (512 * 1024, 1024 * 1024));
    assert!(settings.early_heartbeat && !settings.stream_usage);
    assert_eq!(settings.response_model, ResponseModel::Alias);
    assert_eq!(settings.key_header.as_ref().map(http::HeaderName::as_str), Some("x-my-key"));
    assert_eq!((settings.secret_ttl, settings.cors_origins), (Duration::from_hours(1), vec!["https://a.b".to_owned()]));
}

#[test]
fn what_is_not_said_has_its_default() {
    let settings = settings(&entry("model: openai/x, api_key: k"), &|_| None);
    assert_eq!((settings.timeout, settings.stream_timeout), (Duration::from_mins(10), None));
    assert_eq!((settings.heartbeat, settings.idle_timeout), (Some(Duration::from_secs(10)), Duration::from_mins(2)));
    assert_eq!((settings.max_request, settings.max_response), (6 << 20, 64 << 20));
    assert!(
        settings.stream_usage && !settings.early_heartbeat && !settings.log_bodies && !settings.allow_unauthenticated
    );
    assert!(settings.master_key.is_none() && settings.key_header.is_none());
    assert_eq!(
        (settings.cors_origins.as_slice(), settings.secret_ttl),
        (&["*".to_owned()][..], Duration::from_mins(10))
    );
    assert_eq!(settings.response_model, ResponseModel::Upstream);
}

#[test]
fn the_master_key() {
    let model = entry("model: openai/x, api_key: k");
    let given = |name: &str| (name == "LITELLM_MASTER_KEY").then(|| "sk-a-long-master-key".to_owned());
    assert_eq!(text(settings(&model, &given).master_key.as_ref()), "sk-a-long-master-key");
    let yaml = format!("{model}general_settings: {{master_key: 'ssm:/master'}}\n");
    let found = settings(&yaml, &given);
    assert_eq!(text(found.master_key.as_ref()), "ssm /master");
    assert_eq!(found.parameters().len(), 1);
    let yaml = format!("{model}environment_variables: {{LITELLM_MASTER_KEY: sk-another-long-key}}\n");
    assert_eq!(text(settings(&yaml, &given).master_key.as_ref()), "sk-another-long-key");
    for (key, weak) in [("sk-1234", true), ("SK-1234 ", true), ("short", true), ("sk-0123456789abcdefghij", false)] {
        assert_eq!(weak_key(key).is_some(), weak, "{key}");
    }
}

#[test]
fn headers_are_checked_and_sensitive() {
    let yaml = entry("model: openai/x, api_key: k, extra_headers: {X-A: 'ssm:/a', X-B: '${NAME} b', X-C: 3}");
    let settings = settings(&yaml, &|name| (name == "NAME").then(|| "value".to_owned()));
    let headers: Vec<String> = first(&settings)
        .extra_headers
        .iter()
        .map(|(name, value)| match value {
            ExtraHeader::Known(value) => format!("{name}: {} {}", value.to_str().unwrap(), value.is_sensitive()),
            ExtraHeader::Parameter(parameter) => format!("{name}: ssm {}", parameter.as_str()),
        })
        .collect();
    assert_eq!(headers, ["x-a: ssm /a", "x-b: value b true", "x-c: 3 true"]);
}

#[test]
fn files_that_cannot_be_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = std::env::temp_dir().join(format!("feathergate-config-{}.yaml", std::process::id()));
    std::fs::write(&binary, [0xff, 0xfe, b'a']).unwrap();
    let missing = directory.join("no-such-file.yaml");
    for (path, want) in [
        (directory, "is a directory; name the file in it"),
        (&binary, "is not UTF-8 text"),
        (&missing, "does not exist"),
    ] {
        let errors = load(path, &env).1.err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(errors.ends_with(want) && errors.lines().count() == 1, "{errors}");
    }
    std::fs::remove_file(&binary).unwrap();
}

#[test]
fn an_included_file_is_named_in_its_problems() {
    let read = |path: &Path| match path.to_str() {
        Some("etc/main.yaml") => Ok("include: [models/a.yaml]\nmodel_list:\n".to_owned()),
        Some("etc/models/a.yaml") => {
            Ok("model_list:\n- model_name: m\n  litellm_params:\n    model: nobody\n".to_owned())
        }
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    let document = Document::load(Path::new("etc/main.yaml"), &read).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        resolve(&document, &env).err().map(|problems| problems.to_string()).unwrap_or_default(),
        "etc/models/a.yaml:4: model_list[0].litellm_params.model: it cannot be told who serves `nobody`; write \
         `openai/nobody`, or set `custom_llm_provider`"
    );
}

#[test]
fn check_reports_each_key_with_its_line() {
    let yaml = "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    num_retries: 2\n    tempo: 1\n\
                litellm_settings:\n  set_verbose: true\n  turn_off_message_logging: true\n  unheard_of: 1\n\
                general_settings:\n  master_key: sk-1234\n";
    let report = check::report(&Document::parse("x.yaml", yaml).unwrap(), &|_| None);
    assert!(report.has_errors() && report.loses());
    let want = "\
x.yaml:2   exact        model_list[0].model_name
x.yaml:4   exact        model_list[0].litellm_params.model
x.yaml:4   warning      model_list[0].litellm_params.model         the environment variable `OPENAI_API_KEY` is not set; calls to `m` fail until it is
x.yaml:5   unsupported  model_list[0].litellm_params.num_retries   a call is tried once; there are no retries yet
x.yaml:6   exact        model_list[0].litellm_params.tempo         a default for requests that do not set it
x.yaml:8   ignored      litellm_settings.set_verbose               the log has its own settings: `RUST_LOG` and `feathergate.log_bodies`
x.yaml:9   approximate  litellm_settings.turn_off_message_logging  texts are not logged unless `feathergate.log_bodies` says so
x.yaml:10  unknown      litellm_settings.unheard_of                `unheard_of` is no key known here
x.yaml:12  exact        general_settings.master_key
x.yaml:12  error        general_settings.master_key                this master key cannot be used: everybody knows it from examples; make one with `echo \"sk-$(openssl rand -hex 32)\"`
4 exact, 1 approximate, 1 ignored, 1 unsupported, 1 unknown, 1 warning, 1 error
";
    assert_eq!(report.render(), want);
}

#[test]
fn the_examples_load() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let (files, demo) = load(&directory.join("demo.yaml"), &|_| None);
    let Resolved { settings: demo, warnings } = demo.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(demo.groups.len() == 9 && demo.master_key.is_none() && warnings.len() == 3 && files.len() == 1);
    assert!(first(&demo).mock.as_deref().is_some_and(|text| text.starts_with("Hello from FeatherGate!")));

    let given = |name: &str| match name {
        "OPENAI_API_KEY" | "ANTHROPIC_API_KEY" | "OPENAI_ORGANIZATION" => Some("value".to_owned()),
        "LITELLM_MASTER_KEY" => Some("sk-a-long-master-key".to_owned()),
        _ => None,
    };
    let path = directory.join("example.yaml");
    let document =
        Document::load(&path, &|path| std::fs::read_to_string(path)).unwrap_or_else(|problems| panic!("{problems}"));
    let report = check::report(&document, &given);
    assert!(report.rows.iter().all(|row| row.verdict == Verdict::Known(Status::Exact)), "{}", report.render());
    let Resolved { settings, warnings } = resolve(&document, &given).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((settings.groups.len(), settings.groups[0].deployments.len(), warnings.len()), (7, 2, 0));
    let names: Vec<String> = settings.parameters().iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(
        names,
        ["/feathergate/dev/groq", "/feathergate/gateway-token", "/feathergate/gemini", "/feathergate/openai-second:2"]
    );
    let (_, lambda) = load(&directory.join("lambda.yaml"), &given);
    let Resolved { settings: lambda, warnings } = lambda.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((lambda.groups.len(), lambda.parameters().len(), warnings.len()), (6, 4, 0));
    // Nobody starts with a model that is not known here.
    for deployment in demo.groups.iter().chain(&lambda.groups).flat_map(|group| &group.deployments) {
        assert!(deployment.profile.known || deployment.mock.is_some(), "{}", deployment.model);
    }
    // The reference is whole.
    let text = std::fs::read_to_string(&path).unwrap();
    for section in [Section::Feathergate, Section::Info, Section::Params] {
        for row in section.rows().iter().filter(|row| row.status == Status::Exact) {
            assert!(text.contains(row.name), "{} is not in example.yaml", row.name);
        }
    }
}

/// A name, a file, and the whole text of its errors.
const BAD: &[(&str, &str, &[&str])] = &[
    ("an empty file", "", &["x.yaml:1: the file is empty; it needs at least a `model_list`"]),
    ("only a comment", "# nothing\n", &["x.yaml:1: the file is empty; it needs at least a `model_list`"]),
    (
        "a root that is a list",
        "- a\n",
        &["x.yaml:1: the file holds a list, but must hold a map with keys like `model_list`"],
    ),
    (
        "a root that is a string",
        "sk-verysecretvalue\n",
        &["x.yaml:1: the file holds a string, but must hold a map with keys like `model_list`"],
    ),
    (
        "two documents",
        "a: 1\n---\nb: 2\n",
        &["x.yaml:1: column 1: there is a second document after `---`; only one can stand in a file"],
    ),
    (
        "a tab",
        "model_list:\n\t- x: sk-verysecretvalue\n",
        &["x.yaml:2: column 1: a value cannot start like this (a tab, `@`, `` ` `` or `%`); quote it, or use spaces"],
    ),
    (
        "an open quote",
        "model_list:\n- model_name: 'sk-verysecretvalue\n",
        &["x.yaml:3: column 1: a quoted string is not closed"],
    ),
    (
        "an open bracket",
        "model_list: [sk-verysecretvalue\n",
        &["x.yaml:2: column 1: a list that began with `[` is not closed with `]`"],
    ),
    (
        "wrong indentation",
        "model_list:\n- model_name: m\n   litellm_params: sk-verysecretvalue\n",
        &["x.yaml:3: column 18: there is a `:` where none can be; is a quote missing, or the indentation off?"],
    ),
    (
        "an unknown anchor",
        "model_list:\n- model_name: m\n  litellm_params:\n    <<: *nothing\n",
        &["x.yaml:4: column 9: an alias (`*name`) has no anchor (`&name`) before it"],
    ),
    (
        "a tag",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: !sk-verysecretvalue x\n",
        &["x.yaml:4: column 12: `!` tags have no meaning here; quote the value if it starts with `!`"],
    ),
    (
        "a key that is a list",
        "[a, b]: 1\n",
        &["x.yaml:1: column 1: the key of a map is a list or a map; it must be a name"],
    ),
    (
        "a merge of a string",
        "model_list: []\nx:\n  <<: sk-verysecretvalue\n",
        &["x.yaml:3: x.<<: `<<` merges a string, but can merge only a map or a list of maps"],
    ),
    (
        "an include that is missing",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ninclude:\n- other.yaml\n",
        &["x.yaml:7: include[0]: the file `other.yaml` does not exist"],
    ),
    (
        "an include that is a map",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ninclude: {a: b}\n",
        &["x.yaml:6: include: is a map, but must be a list of file names"],
    ),
    (
        "no model_list",
        "general_settings: {}\n",
        &[
            "x.yaml:1: model_list: there is no `model_list`, so there is nothing to serve; add one like `model_list: [{model_name: gpt-5-mini, litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/OPENAI_API_KEY}}]`",
        ],
    ),
    (
        "an empty model_list",
        "model_list: []\n",
        &[
            "x.yaml:1: model_list: the list is empty, so there is nothing to serve; add one like `model_list: [{model_name: gpt-5-mini, litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/OPENAI_API_KEY}}]`",
        ],
    ),
    (
        "a model_list that is a map",
        "model_list: {a: b}\n",
        &[
            "x.yaml:1: model_list: is a map, but must be a list of models; add one like `model_list: [{model_name: gpt-5-mini, litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/OPENAI_API_KEY}}]`",
        ],
    ),
    (
        "an entry that is a string",
        "model_list:\n- sk-verysecretvalue\n",
        &["x.yaml:2: model_list[0]: is a string, but must be a map"],
    ),
    (
        "an entry without anything in it",
        "model_list:\n- model_name: m\n",
        &["x.yaml:2: model_list[0].litellm_params: is missing; it needs at least `model`, such as `openai/gpt-5-mini`"],
    ),
    (
        "litellm_params without a model",
        "model_list:\n- model_name: m\n  litellm_params:\n    api_key: sk-upstream-value\n",
        &["x.yaml:3: model_list[0].litellm_params.model: is missing; write `openai/gpt-5-mini`, say"],
    ),
    (
        "a name with a star",
        "model_list:\n- model_name: openai/*\n  litellm_params: {model: openai/x}\n",
        &[
            "x.yaml:2: model_list[0].model_name: names with `*` are not supported yet by this version; write an entry for each model",
        ],
    ),
    (
        "a model that nobody is known for",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: llama-3\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: it cannot be told who serves `llama-3`; write `openai/llama-3`, or set `custom_llm_provider`",
        ],
    ),
    (
        "a provider that is misspelt",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: opnai/gpt-5\n",
        &["x.yaml:4: model_list[0].litellm_params.model: there is no provider `opnai`; did you mean `openai`?"],
    ),
    (
        "a provider that nobody knows",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: meta-llama/Llama-3\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: there is no provider `meta-llama`; for a server that speaks OpenAI's API write `openai/NAME` and an `api_base`",
        ],
    ),
    (
        "a provider that is not there yet",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: azure/gpt-5\n",
        &["x.yaml:4: model_list[0].litellm_params.model: the provider `azure` is not supported yet by this version"],
    ),
    (
        "a custom provider that is not there yet",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: gpt-5\n    custom_llm_provider: bedrock\n",
        &[
            "x.yaml:5: model_list[0].litellm_params.custom_llm_provider: the provider `bedrock` is not supported yet by this version",
        ],
    ),
    (
        "a provider without a model",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/\n",
        &["x.yaml:4: model_list[0].litellm_params.model: names no model; write `openai/gpt-5-mini`, say"],
    ),
    (
        "a key in the place of the model",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: os.environ/SECRET\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: the variable that is named here holds no provider and model that are known; it should hold something like `openai/gpt-5-mini`",
        ],
    ),
    (
        "a base without a scheme",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    api_base: localhost:8000\n",
        &["x.yaml:6: model_list[0].litellm_params.api_base: a base URL must start with `https://` or `http://`"],
    ),
    (
        "a base with a password",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    api_base: https://u:verysecret@host/v1\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.api_base: a base URL can hold no user or password; use `api_key` or `extra_headers`",
        ],
    ),
    (
        "a base from a variable that is not set",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    api_base: os.environ/MISSING\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.api_base: the environment variable `MISSING` is not set; set it, or give a default: `${MISSING:-default}`",
        ],
    ),
    (
        "a base that vLLM needs",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: hosted_vllm/x\n",
        &[
            "x.yaml:3: model_list[0].litellm_params.api_base: `hosted_vllm` needs an `api_base`, or `HOSTED_VLLM_API_BASE` in the environment",
        ],
    ),
    (
        "a base in the environment that is wrong",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: ollama/x\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: the environment variable `OLLAMA_API_BASE`: a base URL must start with `https://` or `http://`",
        ],
    ),
    (
        "a key with a line break inside",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: \"sk-very\\nsecretvalue\"\n",
        &[
            "x.yaml:5: model_list[0].litellm_params.api_key: this key holds a character that no key has (a control character, or one outside ASCII); copy it again",
        ],
    ),
    (
        "a key that is a number",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: 123456\n",
        &["x.yaml:5: model_list[0].litellm_params.api_key: is a number, but must be a string; put it in quotes"],
    ),
    (
        "an SSM name that is wrong",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: ssm:app/key\n",
        &[
            "x.yaml:5: model_list[0].litellm_params.api_key: the SSM parameter `app/key` has a path, so it must start with `/`",
        ],
    ),
    (
        "an SSM name within a string",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    extra_headers: {authorization: 'Bearer ${PARAMETER}'}\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.extra_headers.authorization: the variable `PARAMETER` refers to an SSM parameter, which can only be a whole value; let the parameter hold the whole value",
        ],
    ),
    (
        "SSM where it cannot be",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    timeout: ssm:/timeout\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.timeout: an SSM parameter cannot stand here; it can in `api_key`, `api_base`, `api_version`, `organization`, the values of `extra_headers` and `general_settings.master_key`",
        ],
    ),
    (
        "a reference that is not closed",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    api_version: ${OPEN\n",
        &["x.yaml:6: model_list[0].litellm_params.api_version: `${` has no `}` after it; write `$${` for a plain `${`"],
    ),
    (
        "timeouts",
        "litellm_settings: {request_timeout: -1}\nrouter_settings: {timeout: soon, stream_timeout: [1]}\nmodel_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    timeout: 0\n    stream_timeout: 1e300\n",
        &[
            "x.yaml:8: model_list[0].litellm_params.timeout: must be more than 0",
            "x.yaml:9: model_list[0].litellm_params.stream_timeout: is longer than a hundred years",
            "x.yaml:1: litellm_settings.request_timeout: must be more than 0",
            "x.yaml:2: router_settings.timeout: must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
            "x.yaml:2: router_settings.stream_timeout: is a list, but must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
        ],
    ),
    (
        "a default that cannot be one",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    stream: true\n    messages: []\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.stream: `stream` is the client's to say and cannot have a default; take it out",
            "x.yaml:7: model_list[0].litellm_params.messages: `messages` is the client's to say and cannot have a default; take it out",
        ],
    ),
    (
        "headers",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    extra_headers:\n      bad name: x\n      host: x\n      a: \"x\\ny\"\n      b: 1\n      B: 2\n      c: [sk-verysecretvalue]\n",
        &[
            "x.yaml:7: model_list[0].litellm_params.extra_headers.bad name: this is no name of a header: letters, digits and `-` are",
            "x.yaml:8: model_list[0].litellm_params.extra_headers.host: this header is the gateway's own and cannot be set",
            "x.yaml:9: model_list[0].litellm_params.extra_headers.a: holds a character that cannot stand in a header",
            "x.yaml:11: model_list[0].litellm_params.extra_headers.B: this header stands twice; the names of headers ignore case",
            "x.yaml:12: model_list[0].litellm_params.extra_headers.c: is a list, but must be a string",
        ],
    ),
    (
        "a parameter that cannot be dropped",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    additional_drop_params: [messages]\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.additional_drop_params[0]: `messages` cannot be dropped: a request is nothing without it",
        ],
    ),
    (
        "a weight below 0",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    weight: -1\n",
        &["x.yaml:6: model_list[0].litellm_params.weight: must be 0 or more"],
    ),
    (
        "an id that stands twice",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n  model_info: {id: a}\n- model_name: n\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\n  model_info: {id: a}\n",
        &["x.yaml:9: model_list[1].model_info.id: this id is taken by another entry; each needs its own"],
    ),
    (
        "facts of a model",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: [sk-upstream-value, sk-upstream-value-2]}\n  model_info:\n    thinking: sometimes\n    thinking_budget: [9, 3]\n    reasoning_efforts: [low, some, none]\n    limit_field: tokens\n    supports_vision: perhaps\n    max_stop_sequences: -1\n    max_output_tokens: 1.5\n    penalties: 3\n",
        &[
            "x.yaml:11: model_list[0].model_info.max_output_tokens: must be a whole number, 0 or more",
            "x.yaml:9: model_list[0].model_info.supports_vision: is a string, but must be `true` or `false`",
            "x.yaml:5: model_list[0].model_info.thinking: must be `none`, `budget`, `adaptive`, `either` or `level`",
            "x.yaml:6: model_list[0].model_info.thinking_budget: must be the least and the most tokens that it can think, such as `[1024, 32000]`",
            "x.yaml:7: model_list[0].model_info.reasoning_efforts[1]: must be `minimal`, `low`, `medium`, `high`, `xhigh` or `max`",
            "x.yaml:7: model_list[0].model_info.reasoning_efforts[2]: `none` is no effort; write `thinking_off: true` for a model that takes it",
            "x.yaml:8: model_list[0].model_info.limit_field: must be `max_tokens` or `max_completion_tokens`",
            "x.yaml:10: model_list[0].model_info.max_stop_sequences: must be a whole number, 0 or more",
            "x.yaml:12: model_list[0].model_info.penalties: is a number, but must be `true` or `false`",
        ],
    ),
    (
        "facts of a model that contradict each other",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\n  model_info: {thinking: level, reasons: never}\n",
        &[
            "x.yaml:4: model_list[0].model_info.reasons: a model that never reasons has no `thinking` to control; say `none` there",
        ],
    ),
    (
        "what to do about losses",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\nfeathergate: {on_loss: ignore}\n",
        &[
            "x.yaml:4: feathergate.on_loss: must be `reject` (whatever cannot be expressed at the provider is an error), `report` (settings are left out and reported, content is an error) or `lenient` (everything is left out and reported)",
        ],
    ),
    (
        "a master key from the examples",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings:\n  master_key: sk-1234\n",
        &[
            "x.yaml:7: general_settings.master_key: this master key cannot be used: everybody knows it from examples; make one with `echo \"sk-$(openssl rand -hex 32)\"`",
        ],
    ),
    (
        "a short master key",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings:\n  master_key: sk-verysecret\n",
        &[
            "x.yaml:7: general_settings.master_key: this master key cannot be used: it is shorter than 16 characters; make one with `echo \"sk-$(openssl rand -hex 32)\"`",
        ],
    ),
    (
        "an empty master key",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings:\n  master_key: ''\n",
        &[
            "x.yaml:7: general_settings.master_key: the master key is empty; make one with `echo \"sk-$(openssl rand -hex 32)\"`",
        ],
    ),
    (
        "a master key that is a number",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings:\n  master_key: 123456789012345678\n",
        &["x.yaml:7: general_settings.master_key: is a number, but must be a string; put it in quotes"],
    ),
    (
        "a master key that is not set",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings:\n  master_key: os.environ/MISSING\n",
        &[
            "x.yaml:7: general_settings.master_key: the environment variable `MISSING` is not set, and without it anybody could call; set it",
        ],
    ),
    (
        "a master key that is declared but not set",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\nenvironment_variables:\n  LITELLM_MASTER_KEY: os.environ/LITELLM_MASTER_KEY\n",
        &[
            "x.yaml:7: environment_variables.LITELLM_MASTER_KEY: the environment variable `LITELLM_MASTER_KEY` is not set, and without it anybody could call; set it",
        ],
    ),
    (
        "our own keys",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\nfeathergate:\n  key_header: 'a b'\n  response_model: both\n  max_request_mb: 0\n  heartbeat: often\n  stream_usage: maybe\n  cors_origins: [app.example.com]\n  log_bodies: 3\n",
        &[
            "x.yaml:7: feathergate.key_header: must be the name of a header, such as `x-feathergate-key`",
            "x.yaml:8: feathergate.response_model: must be `upstream` (answers keep the model name the provider gave) or `alias` (they get the one the client asked for)",
            "x.yaml:9: feathergate.max_request_mb: must be a number of megabytes, more than 0 and at most 4096",
            "x.yaml:10: feathergate.heartbeat: must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
            "x.yaml:11: feathergate.stream_usage: is a string, but must be `true` or `false`",
            "x.yaml:12: feathergate.cors_origins[0]: must be `*` or origins like `https://app.example.com`, without a path",
            "x.yaml:13: feathergate.log_bodies: is a number, but must be `true` or `false`",
        ],
    ),
    (
        "environment variables that are lists",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\nenvironment_variables: {A: [sk-verysecretvalue], B: 'ssm:'}\n",
        &[
            "x.yaml:6: environment_variables.A: is a list, but must be a string",
            "x.yaml:6: environment_variables.B: the name of the SSM parameter is empty",
        ],
    ),
    (
        "everything at once, with CRLF, a BOM and letters beyond ASCII",
        "\u{feff}# é\r\nmodel_list:\r\n- model_name: größe\r\n  litellm_params:\r\n    model: nobody/ünï\r\n    timeout: x\r\ngeneral_settings:\r\n  master_key: password\r\n",
        &[
            "x.yaml:5: model_list[0].litellm_params.model: there is no provider `nobody`; for a server that speaks OpenAI's API write `openai/NAME` and an `api_base`",
            "x.yaml:6: model_list[0].litellm_params.timeout: must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
            "x.yaml:8: general_settings.master_key: this master key cannot be used: everybody knows it from examples; make one with `echo \"sk-$(openssl rand -hex 32)\"`",
        ],
    ),
    (
        "a place that came through an anchor",
        "x: &x\n  timeout: 0\nmodel_list:\n- model_name: m\n  litellm_params:\n    <<: *x\n    model: openai/x\n    api_key: sk-upstream-value\n",
        &["x.yaml:2: model_list[0].litellm_params.timeout: must be more than 0"],
    ),
];

/// A name, a file that can be used, and the whole text of its warnings.
const DOUBTFUL: &[(&str, &str, &[&str])] = &[
    (
        "unknown keys",
        "model_lst: 1\nrouter_settings: {num_retrys: 1}\ngeneral_settings: {master_kee: sk-verysecretvalue}\nfeathergate: {hartbeat: 1}\nmodel_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    api_bse: https://host\n    temperatur: 1\n    provider: {order: [a]}\n  litellm_parms: 1\n",
        &[
            "x.yaml:1: model_lst: `model_lst` is no key known here; did you mean `model_list`?",
            "x.yaml:2: router_settings.num_retrys: `num_retrys` is no key known here; did you mean `num_retries`?",
            "x.yaml:3: general_settings.master_kee: `master_kee` is no key known here; did you mean `master_key`?",
            "x.yaml:4: feathergate.hartbeat: `hartbeat` is no key known here; did you mean `heartbeat`?",
            "x.yaml:10: model_list[0].litellm_params.api_bse: `api_bse` is no key known here, so it goes to the provider as a default; did you mean `api_base`?",
            "x.yaml:11: model_list[0].litellm_params.temperatur: `temperatur` is no key known here, so it goes to the provider as a default; did you mean `temperature`?",
            "x.yaml:13: model_list[0].litellm_parms: `litellm_parms` is no key known here; did you mean `litellm_params`?",
        ],
    ),
    (
        "unsupported keys",
        "guardrails: [x]\nlitellm_settings: {num_retries: 3, callbacks: [langfuse], cache: false, fallbacks: []}\nrouter_settings: {routing_strategy: least-busy, model_group_alias: {a: b}}\nmodel_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    rpm: 10\n    aws_region_name: us-east-1\n    max_retries: 0\n",
        &[
            "x.yaml:1: guardrails: is not supported: there are no guardrails; every text passes",
            "x.yaml:2: litellm_settings.num_retries: is not supported: a call is tried once; there are no retries yet",
            "x.yaml:2: litellm_settings.callbacks: is not supported: there are no callbacks yet; each call is one line in the log",
            "x.yaml:3: router_settings.routing_strategy: is not supported: the choice is `simple-shuffle`, by weight; other strategies are not supported yet",
            "x.yaml:3: router_settings.model_group_alias: is not supported: aliases are not supported yet; add an entry with that `model_name`",
            "x.yaml:9: model_list[0].litellm_params.rpm: is not supported: the limit is not enforced yet; it only weighs the choice within the group",
            "x.yaml:10: model_list[0].litellm_params.aws_region_name: is not supported: Bedrock and SageMaker are not supported by this version",
        ],
    ),
    (
        "keys that stand twice",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    timeout: 1\n    timeout: 2\n",
        &["x.yaml:7: model_list[0].litellm_params.timeout: stands twice in this map; only the last one counts"],
    ),
    (
        "keys that are not set",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n- model_name: n\n  litellm_params: {model: gpt-5, api_key: os.environ/OPENAI_API_KEY}\n- model_name: o\n  litellm_params: {model: groq/x, api_key: os.environ/MISSING}\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: the environment variable `OPENAI_API_KEY` is not set; calls to `m`, `n` fail until it is",
            "x.yaml:8: model_list[2].litellm_params.api_key: the environment variable `MISSING` is not set; calls to `o` fail until it is",
        ],
    ),
    (
        "a parameter that Anthropic does not have",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: claude-haiku-4-5\n    api_key: sk-upstream-value\n    seed: 1\n    top_k: 1\n",
        &[
            "x.yaml:6: model_list[0].litellm_params.seed: Anthropic's Messages API has no such parameter, so this default is not sent",
        ],
    ),
    (
        "a permitted weak master key",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings: {master_key: sk-1234, dangerously_permit_weak_or_unset_master_key: true}\n",
        &[
            "x.yaml:6: general_settings.master_key: the master key is weak, and permitted only because you say so: everybody knows it from examples",
        ],
    ),
    (
        "a master key that does not start as usual",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\ngeneral_settings: {master_key: a-long-and-secret-value}\n",
        &["x.yaml:6: general_settings.master_key: the master key does not start with `sk-`, which some clients expect"],
    ),
    (
        "a variable's name as a key",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: $OPENAI_API_KEY\n",
        &[
            "x.yaml:5: model_list[0].litellm_params.api_key: this looks like the name of a variable, but is sent as the key; write `os.environ/NAME`",
        ],
    ),
    (
        "modes",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\n  model_info: {mode: embedding, my_note: x}\n- model_name: n\n  litellm_params: {model: openai/y, api_key: sk-upstream-value}\n  model_info: {mode: rerank}\n",
        &["x.yaml:7: model_list[1].model_info.mode: calls of the mode `rerank` are not served by this version"],
    ),
    (
        "models that are not known",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: claude-opus-9\n    api_key: [sk-upstream-value, sk-upstream-value-2]\n- model_name: n\n  litellm_params: {model: openai/gpt-9, api_key: sk-upstream-value}\n  model_info: {max_tokens: 9}\n- model_name: said\n  litellm_params: {model: gemini/gemini-9-pro, api_key: sk-upstream-value}\n  model_info: {thinking: level}\n- model_name: embedding\n  litellm_params: {model: openai/text-embedding-9, api_key: sk-upstream-value}\n  model_info: {mode: embedding}\n- model_name: compatible\n  litellm_params: {model: openai/my-own, api_key: sk-upstream-value, api_base: 'http://h/v1'}\n- model_name: mock\n  litellm_params: {model: gpt-9, mock_response: hi}\n- model_name: vectors\n  litellm_params: {model: gemini/gemini-embedding-9, api_key: sk-upstream-value}\n",
        &[
            "x.yaml:4: model_list[0].litellm_params.model: `claude-opus-9` is not known to this version, so it is taken for the newest of its family; `model_info` can say what it takes",
            "x.yaml:7: model_list[1].litellm_params.model: `gpt-9` is not known to this version, so it is taken for the newest of its family; `model_info` can say what it takes",
        ],
    ),
    (
        "defaults that a provider does not have",
        "model_list:\n- model_name: m\n  litellm_params:\n    model: gemini/gemini-2.5-flash\n    api_key: sk-upstream-value\n    seed: 1\n    store: true\n    max_tokens: many\n    safetySettings: []\n- model_name: n\n  litellm_params:\n    model: claude-haiku-4-5\n    api_key: sk-upstream-value\n    reasoning_effort: low\n    thinking: 3\n",
        &[
            "x.yaml:7: model_list[0].litellm_params.store: Gemini's API has no such parameter, so this default is not sent",
            "x.yaml:8: model_list[0].litellm_params.max_tokens: this is nothing that `max_tokens` can hold, so this default is not sent",
            "x.yaml:14: model_list[1].litellm_params.reasoning_effort: Anthropic's Messages API has no such parameter, so this default counts for clients of OpenAI's API only",
            "x.yaml:15: model_list[1].litellm_params.thinking: this is nothing that `thinking` can hold, so this default is not sent",
        ],
    ),
    (
        "a fact that is misspelt",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\n  model_info: {suports_vision: true, thinkin: none}\n",
        &[
            "x.yaml:4: model_list[0].model_info.suports_vision: `suports_vision` is no key known here; did you mean `supports_vision`?",
            "x.yaml:4: model_list[0].model_info.thinkin: `thinkin` is no key known here; did you mean `thinking`?",
        ],
    ),
];
