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
use feathergate::config::settings::{Deployment, ExtraHeader, ResponseModel, Routing, Settings};
use feathergate::prompt::{Mode, Values};
use feathergate::route::rules::{Class, Cooldown, FallbackList, Fallbacks, PerClass, Retries, Strategy, StrategyArgs};
use feathergate::wire::chat::Effort;
use feathergate::wire::profile::{Control, Forced, Ids, Limit, Profile, Reasons, Sampling, SystemRole};
use feathergate::wire::{OnLoss, Wire};

#[path = "config/limits.rs"]
mod limits;
#[path = "config/prices.rs"]
mod prices;
#[path = "config/store.rs"]
mod store;

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
fn system_prompts_apply_in_order_of_what_they_are_for() {
    let yaml = entry("model: openai/x, api_key: k")
        + "feathergate:
  system_prompts:
  - {models: 'm*', mode: append, text: 'one {{env.SECRET}}'}
  - two
  - {models: [other], mode: replace, text: three}
  - {text: '{{date}} {{datetime}}', mode: replace, models: }
  prompt_variables: {time_zone: America/St_Johns, env: SECRET}
";
    let prompts = settings(&yaml, &env).prompts;
    let values = Values { now: 1_782_907_200_000, zone: &prompts.zone, ..Values::default() };
    let of = |group: &str| -> Vec<(Mode, String)> {
        prompts.of(group).iter().map(|prompt| (prompt.mode, prompt.template.render(&values))).collect()
    };
    let all = [(Mode::Prepend, "two".to_owned()), (Mode::Replace, "2026-07-01 2026-07-01T09:30:00-02:30".to_owned())];
    assert_eq!(of("m2"), [&all[..], &[(Mode::Append, "one sk-verysecretvalue".to_owned())]].concat());
    assert_eq!(of("other"), [&all[..], &[(Mode::Replace, "three".to_owned())]].concat());
    assert_eq!(of("none"), all);
    let one = settings(&(entry("model: openai/x, api_key: k") + "feathergate: {system_prompts: a}\n"), &env).prompts;
    assert_eq!(one.of("m").len(), 1, "a text that stands for a list of itself");
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
        let plain =
            ["id", "mode", "max_input_tokens", "blocked", "enabled", "cooldown_time", "thinking"].contains(&row.name);
        let plain = plain || row.name == "base_model" || feathergate::meter::key(row.name).is_some();
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
fn routing_is_read() {
    let yaml = r"
model_list:
- model_name: fast
  litellm_params: {model: openai/a, api_key: [k1, k2], order: 2, rpm: 10, tpm: 1000, max_parallel_requests: 3, num_retries: 0,
    max_retries: 7, cooldown_time: 1m, tags: [paid, eu], region_name: eu, input_cost_per_token: 1.5e-07, output_cost_per_token: 0.0000006}
- model_name: fast
  litellm_params: {model: openai/b, api_key: k, max_retries: 1, cooldown_time: 9, tags: free}
  model_info: {max_input_tokens: 1000, cooldown_time: 0, allowed_fails: 7, allowed_fails_policy: {TimeoutErrorAllowedFails: 1},
    input_cost_per_token: '0.000001', output_cost_per_token: 1e-6}
- {model_name: slow, litellm_params: {model: openai/c, api_key: k, input_cost_per_token: 1e-6},
   model_info: {allowed_fails_policy: {TimeoutErrorAllowedFails: 1}}}
- {model_name: my-*, litellm_params: {model: openai/*, api_key: k}}
- {model_name: '*', litellm_params: {model: anthropic/*, api_key: k}}
litellm_settings:
  fallbacks: [{slow: fast}]
  num_retries: 9
  allowed_fails: 4
router_settings:
  routing_strategy: latency-based-routing
  routing_strategy_args: {ttl: 60, lowest_latency_buffer: 0.25}
  num_retries: 5
  retry_after: 0.5
  retry_policy: {RateLimitErrorRetries: 3, DefaultRetries: 1}
  model_group_retry_policy: {slow: {NotFoundErrorRetries: 2}, my-*: {DefaultRetries: 0}}
  fallbacks:
  - {fast: [slow, my-thing], slow: []}
  - my-*: [{model: fast}]
  context_window_fallbacks: [{fast: [slow]}]
  content_policy_fallbacks: [{'*': slow}]
  default_fallbacks: slow
  max_fallbacks: 2
  fallback_on_unsupported_params: false
  allowed_fails_policy: {RateLimitErrorAllowedFails: 2}
  cooldown_time: 30
  enable_pre_call_checks: true
  enable_tag_filtering: yes
  tag_filtering_match_any: false
  default_max_parallel_requests: 8
feathergate: {fallback_on_bad_request: true, max_request_tokens: 1000, error_patterns: [insufficient_quota, no credits],
  disclose_upstream: true, mock_testing: false}
";
    let settings = settings(yaml, &|_| None);
    let routing = &settings.routing;
    assert_eq!(routing.strategy, Strategy::LatencyBased);
    assert_eq!(routing.args, StrategyArgs { ttl: 60_000, buffer: 250 });
    let policy = |entries: &[(Class, u32)]| {
        let mut policy = PerClass::default();
        for (class, number) in entries {
            policy.set(*class, *number);
        }
        policy
    };
    let retries = Retries { count: 1, policy: policy(&[(Class::RateLimit, 3)]), least_wait: 500 };
    assert_eq!(routing.retries, retries);
    let of_groups: Vec<Retries> = settings.groups.iter().map(|group| group.retries).collect();
    assert_eq!(
        of_groups,
        [
            retries,
            Retries { count: 5, policy: policy(&[(Class::NotFound, 2)]), least_wait: 500 },
            Retries { count: 0, policy: PerClass::default(), least_wait: 500 },
            retries,
        ]
    );
    let list = |entries: &[(&str, &[&str])]| -> FallbackList {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        entries.iter().map(|(name, names)| ((*name).to_owned(), owned(names))).collect()
    };
    let want = Fallbacks {
        general: list(&[("fast", &["slow", "my-thing"]), ("slow", &[]), ("my-*", &["fast"])]),
        context_window: list(&[("fast", &["slow"])]),
        content_policy: list(&[("*", &["slow"])]),
        default: vec!["slow".to_owned()],
        most: 2,
        on_bad_request: true,
    };
    assert_eq!(routing.fallbacks, want);
    let cooldown = Cooldown {
        off: false,
        allowed_fails: Some(4),
        policy: policy(&[(Class::RateLimit, 2)]),
        time: 30_000,
        fixed: false,
    };
    assert_eq!(routing.cooldown, cooldown);
    assert!(routing.pre_call_checks && routing.tag_filtering && routing.tag_match_all);
    assert_eq!(routing.max_request_tokens, Some(1000));
    assert_eq!(routing.error_patterns, ["insufficient_quota", "no credits"]);
    assert!(routing.disclose_upstream && !routing.mock_testing);

    let [first, second, third] = &settings.groups[0].deployments[..] else { panic!("three deployments") };
    for it in [first, second] {
        assert_eq!(
            (it.order, it.rpm, it.tpm, it.parallel, it.num_retries),
            (2, Some(10), Some(1000), Some(3), Some(0))
        );
        assert_eq!(
            (it.price.of_a_pair(), it.cooldown),
            (Some(750_000), Cooldown { time: 60_000, fixed: true, ..cooldown })
        );
        assert_eq!(
            (it.tags.join(" "), it.region.as_deref(), it.max_input_tokens),
            ("paid eu".to_owned(), Some("eu"), None)
        );
    }
    assert_eq!((third.order, third.rpm, third.tpm, third.parallel), (u32::MAX, None, None, Some(8)));
    assert_eq!(
        (third.num_retries, third.price.of_a_pair(), third.max_input_tokens),
        (Some(1), Some(2_000_000), Some(1000))
    );
    assert_eq!((third.tags.join(" "), third.region.as_deref()), ("free".to_owned(), None));
    // No time is no cooldown; and the entry's own number wins over the router's by class.
    let own =
        Cooldown { off: true, allowed_fails: Some(7), policy: policy(&[(Class::Timeout, 1)]), time: 0, fixed: true };
    assert_eq!(third.cooldown, own);
    let slow = &settings.groups[1].deployments[0];
    let both = policy(&[(Class::RateLimit, 2), (Class::Timeout, 1)]);
    assert_eq!((slow.price.of_a_pair(), slow.cooldown), (None, Cooldown { policy: both, ..cooldown }));
    let patterns: Vec<(&str, &str, &str)> = settings.groups[2..]
        .iter()
        .map(|group| (group.name.as_str(), group.deployments[0].vendor.name, group.deployments[0].model.as_str()))
        .collect();
    assert_eq!(patterns, [("my-*", "openai", "*"), ("*", "anthropic", "*")]);
}

#[test]
fn routing_that_is_not_said_has_its_default() {
    let settings = settings(&entry("model: openai/x, api_key: k"), &|_| None);
    assert_eq!(settings.routing, Routing { mock_testing: true, ..Routing::default() });
    let (strategy, retries, fallbacks, cooldown) =
        (settings.routing.strategy, settings.routing.retries, &settings.routing.fallbacks, settings.routing.cooldown);
    assert_eq!((strategy, retries.count, retries.least_wait), (Strategy::SimpleShuffle, 2, 0));
    assert_eq!((fallbacks.most, fallbacks.on_bad_request), (5, false));
    assert_eq!((cooldown.off, cooldown.allowed_fails, cooldown.time), (false, None, 5000));
    assert!(settings.aliases.is_empty() && settings.groups[0].retries == retries);
    let it = first(&settings);
    assert_eq!((it.rpm, it.tpm, it.parallel, it.num_retries, it.price.of_a_pair()), (None, None, None, None, None));
    assert!(it.cooldown == cooldown && it.tags.is_empty() && it.region.is_none() && it.max_input_tokens.is_none());
}

#[test]
fn strategies_have_litellms_names_and_those_of_others() {
    for (name, want) in [
        ("simple-shuffle", Strategy::SimpleShuffle),
        ("least-busy", Strategy::LeastBusy),
        ("usage-based-routing", Strategy::UsageBased),
        ("usage-based-routing-v2", Strategy::UsageBased),
        ("latency-based-routing", Strategy::LatencyBased),
        ("cost-based-routing", Strategy::CostBased),
        ("first-available", Strategy::FirstAvailable),
        ("FirstAvailable", Strategy::FirstAvailable),
        ("priority", Strategy::FirstAvailable),
        ("round-robin", Strategy::RoundRobin),
        ("RoundRobin", Strategy::RoundRobin),
        ("random", Strategy::Random),
        ("Random", Strategy::Random),
        ("os.environ/STRATEGY", Strategy::Random),
    ] {
        let yaml = entry("model: openai/x, api_key: k") + &format!("router_settings: {{routing_strategy: {name}}}\n");
        let settings = settings(&yaml, &|name| (name == "STRATEGY").then(|| "random".to_owned()));
        assert_eq!(settings.routing.strategy, want, "{name}");
        // What is said of it is said of this one.
        let report = check::report(&Document::parse("x.yaml", &yaml).unwrap(), &|_| Some("random".to_owned()));
        let row = report.rows.iter().find(|row| row.path.ends_with("routing_strategy")).unwrap();
        assert!(row.note.contains("Lambda") || name.starts_with("os."), "{name}: {}", row.note);
    }
}

#[test]
fn other_names() {
    let yaml = r"
model_list:
- {model_name: big, litellm_params: {model: openai/big, api_key: k}, model_info: {id: the-big-one}}
- {model_name: small, litellm_params: {model: openai/small, api_key: k}}
- {model_name: my-*, litellm_params: {model: openai/*, api_key: k}}
litellm_settings: {model_alias_map: {old: my-model}}
router_settings:
  model_group_alias: {best: big, secret: {model: best, hidden: true}, seen: {model: the-big-one}, none: null, small: big, big: small}
feathergate: {redirects: [{from: gpt-4, to: best}, {from: small, to: big}]}
";
    let found = settings(yaml, &|_| None);
    let aliases: Vec<String> = found
        .aliases
        .iter()
        .map(|it| format!("{} {} hidden: {} redirect: {}", it.name, it.target, it.hidden, it.redirect))
        .collect();
    assert_eq!(
        aliases,
        [
            "gpt-4 best hidden: true redirect: true",
            "small big hidden: true redirect: true",
            "best big hidden: false redirect: false",
            "secret best hidden: true redirect: false",
            "seen the-big-one hidden: false redirect: false",
            "big small hidden: false redirect: false",
            "old my-model hidden: false redirect: false",
        ]
    );
    let yaml = entry("model: openai/x, api_key: k") + "feathergate: {redirects: {a: m, b: a}}\n";
    let aliases = settings(&yaml, &|_| None).aliases;
    let pairs: Vec<(&str, &str)> = aliases.iter().map(|it| (it.name.as_str(), it.target.as_str())).collect();
    assert_eq!(pairs, [("a", "m"), ("b", "a")]);
}

#[test]
fn models_that_may_be_asked_for_directly() {
    let yaml = "
model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k}}]
litellm_settings: {drop_params: true}
router_settings: {fallbacks: [{m: [openai/gpt-5-mini, anthropic/claude-opus-5]}], num_retries: 7}
feathergate: {direct_models: [openai/*, anthropic/claude-*, groq/llama-3.3-70b-versatile]}
";
    let given = |name: &str| name.ends_with("_API_KEY").then(|| format!("key of {name}"));
    let found = resolved(yaml, &given).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let facts: Vec<String> = found
        .settings
        .groups
        .iter()
        .map(|group| {
            let it = &group.deployments[0];
            assert_eq!((group.deployments.len(), group.retries.count), (1, 7));
            format!("{} {} {} {} {}", group.name, group.direct, it.vendor.name, it.model, text(it.api_key.as_ref()))
        })
        .collect();
    assert_eq!(
        facts,
        [
            "m false openai x k",
            "openai/* true openai * key of OPENAI_API_KEY",
            "anthropic/claude-* true anthropic claude-* key of ANTHROPIC_API_KEY",
            "groq/llama-3.3-70b-versatile true groq llama-3.3-70b-versatile key of GROQ_API_KEY",
        ]
    );
    assert_eq!(found.settings.groups[3].deployments[0].drop, ["logit_bias", "logprobs", "top_logprobs"]);
}

#[test]
fn defaults_for_all_entries_are_below_their_own() {
    let yaml = "
model_list:
- {model_name: m, litellm_params: {model: openai/x, api_key: k, temperature: 1, timeout: 5}}
- {model_name: n, litellm_params: {model: openai/y, rpm: 3, seed: ~}}
router_settings:
  default_litellm_params: {temperature: 0, seed: 4, api_key: shared, timeout: 9, rpm: 7}
";
    let settings = settings(yaml, &|_| None);
    let facts: Vec<String> = settings
        .groups
        .iter()
        .map(|group| {
            let it = &group.deployments[0];
            let defaults =
                it.defaults.iter().map(|(name, json)| format!("{name}={json}")).collect::<Vec<_>>().join(" ");
            format!("{} {} {:?} {:?}", text(it.api_key.as_ref()), defaults, it.timeout.unwrap(), it.rpm)
        })
        .collect();
    assert_eq!(facts, ["k temperature=1 seed=4 5s Some(7)", "shared temperature=0 seed=4 9s Some(3)"]);
}

#[test]
fn prices_are_exact() {
    for (price, want) in [
        ("2.5e-06", 2_500_000),
        ("0.0000025", 2_500_000),
        ("'1.25e-6'", 1_250_000),
        ("1e-12", 1),
        ("0.00000000000049", 0),
        ("7.5e-8", 75_000),
        ("0.1234567", 123_456_700_000),
        ("1", 1_000_000_000_000),
        ("0", 0),
    ] {
        let yaml =
            entry(&format!("model: openai/x, api_key: k, input_cost_per_token: {price}, output_cost_per_token: 0"));
        assert_eq!(first(&settings(&yaml, &|_| None)).price.of_a_pair(), Some(want), "{price}");
    }
}

#[test]
fn a_group_that_is_left_out_is_no_group() {
    let yaml = "
model_list:
- {model_name: a, enabled: false, litellm_params: {model: openai/x, api_key: k}}
- {model_name: b, litellm_params: {model: openai/x, api_key: k}, model_info: {enabled: false}}
- {model_name: c, litellm_params: {model: openai/x, api_key: k}, model_info: {blocked: true, enabled: true}}
- {model_name: d, enabled: true, litellm_params: {model: openai/x, api_key: k}, model_info: {blocked: false, enabled: true}}
router_settings: {model_group_alias: {e: a, f: e}, default_fallbacks: [b, d, f]}
";
    let found = resolved(yaml, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(found.settings.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["d"]);
    assert!(found.settings.aliases.is_empty());
    assert_eq!((found.settings.routing.fallbacks.default.as_slice(), found.warnings.len()), (&["d".to_owned()][..], 3));
}

#[test]
fn the_master_key() {
    let model = entry("model: openai/x, api_key: k");
    let given = |name: &str| (name == "LITELLM_MASTER_KEY").then(|| "sk-a-rather-long-master-key".to_owned());
    assert_eq!(text(settings(&model, &given).master_key.as_ref()), "sk-a-rather-long-master-key");
    let yaml = format!("{model}general_settings: {{master_key: 'ssm:/master'}}\n");
    let found = settings(&yaml, &given);
    assert_eq!(text(found.master_key.as_ref()), "ssm /master");
    assert_eq!(found.parameters().len(), 1);
    let yaml = format!("{model}environment_variables: {{LITELLM_MASTER_KEY: sk-another-long-key}}\n");
    assert_eq!(text(settings(&yaml, &given).master_key.as_ref()), "sk-another-long-key");
    for (key, weak) in [
        ("sk-1234", true),
        ("SK-1234 ", true),
        ("short", true),
        ("sk-1234567890123456", true),
        ("sk-0123456789abcdefghij", true),
        ("aaaaaaaaaaaaaaaa", true),
        ("sk-xxxxxxxxxxxxxxxxxxxx", true),
        ("changemechangeme", true),
        ("sk-your-master-key-here", true),
        ("sk-litellm-master-key", true),
        ("sk-master-key-of-berlin", false),
        ("correct-horse-battery-staple", false),
        ("sk-9f86d081884c7d659a2feaa0", false),
    ] {
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
    let yaml = "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    budget_duration: 2\n    tempo: 1\n\
                litellm_settings:\n  set_verbose: true\n  turn_off_message_logging: true\n  unheard_of: 1\n\
                general_settings:\n  master_key: sk-1234\n";
    let report = check::report(&Document::parse("x.yaml", yaml).unwrap(), &|_| None);
    assert!(report.has_errors() && report.loses());
    let want = "\
x.yaml:2   exact        model_list[0].model_name
x.yaml:4   exact        model_list[0].litellm_params.model            no price is known of this model, so its cost is not either
x.yaml:4   warning      model_list[0].litellm_params.model            the environment variable `OPENAI_API_KEY` is not set; calls to `m` fail until it is
x.yaml:5   unsupported  model_list[0].litellm_params.budget_duration  budgets are those of keys, teams, model groups and the gateway
x.yaml:6   approximate  model_list[0].litellm_params.tempo            not known here; goes to the provider as it is, as a default
x.yaml:8   ignored      litellm_settings.set_verbose                  the log has its own settings: `RUST_LOG` and `feathergate.log_bodies`
x.yaml:9   approximate  litellm_settings.turn_off_message_logging     texts are not logged unless `feathergate.log_bodies` says so
x.yaml:10  unknown      litellm_settings.unheard_of                   `unheard_of` is no key known here
x.yaml:12  exact        general_settings.master_key
x.yaml:12  error        general_settings.master_key                   this master key cannot be used: everybody knows it from examples; make one with `echo \"sk-$(openssl rand -hex 32)\"`
3 exact, 2 approximate, 1 ignored, 1 unsupported, 1 unknown, 1 warning, 1 error
";
    assert_eq!(report.render(), want);
}

#[test]
fn litellms_own_parameters_are_no_defaults() {
    let own = "mock_timeout mock_delay allowed_fails allowed_fails_policy retry_policy retry_strategy force_timeout verbose \
               model_id litellm_trace_id supports_system_message auto_router_config enable_json_schema_validation \
               request_timeout headers prompt_id cache_control_injection_points base_model user_continue_message \
               max_fallbacks guardrail_config proxy_server_request";
    for key in own.split_whitespace() {
        let yaml = entry(&format!("model: openai/x, api_key: k, {key}: 1"));
        assert!(first(&settings(&yaml, &env)).defaults.is_empty(), "{key}");
        let report = check::report(&Document::parse("x.yaml", &yaml).unwrap(), &env);
        let row = report.rows.iter().find(|row| row.path.ends_with(key)).unwrap();
        let ignored = ["verbose", "litellm_trace_id", "proxy_server_request"].contains(&key);
        let want = if ignored { Status::Ignored } else { Status::Unsupported };
        assert_eq!(row.verdict, Verdict::Known(want), "{key}");
    }
    for (key, want) in [("temperature", Status::Exact), ("min_tokens_here", Status::Approximate)] {
        let yaml = entry(&format!("model: openai/x, api_key: k, {key}: 1"));
        assert_eq!(first(&settings(&yaml, &env)).defaults, [(key.to_owned(), "1".to_owned())]);
        let report = check::report(&Document::parse("x.yaml", &yaml).unwrap(), &env);
        let row = report.rows.iter().find(|row| row.path.ends_with(key)).unwrap();
        assert_eq!(row.verdict, Verdict::Known(want), "{key}");
    }
}

#[test]
fn total_times_are_not_quite_litellms() {
    for (section, key) in [
        (Section::Params, "timeout"),
        (Section::Litellm, "request_timeout"),
        (Section::Litellm, "timeout"),
        (Section::Router, "timeout"),
    ] {
        let row = section.find(key).unwrap();
        assert_eq!(row.status, Status::Approximate, "{key}");
        assert!(row.note.contains("also ends a stream that is still talking"), "{key}");
    }
}

#[test]
fn an_id_that_is_given_hides_no_group() {
    let yaml = entry("model: openai/x, api_key: [k, l]")
        + "- model_name: m-1\n  litellm_params: {model: openai/x, api_key: k}\n";
    let settings = settings(&yaml, &env);
    let ids: Vec<&str> =
        settings.groups.iter().flat_map(|group| &group.deployments).map(|deployment| deployment.id.as_str()).collect();
    assert_eq!(ids, ["m-2", "m-3", "m-1-1"]);
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
        "LITELLM_MASTER_KEY" => Some("sk-a-rather-long-master-key".to_owned()),
        _ => None,
    };
    let path = directory.join("example.yaml");
    let document =
        Document::load(&path, &|path| std::fs::read_to_string(path)).unwrap_or_else(|problems| panic!("{problems}"));
    let report = check::report(&document, &given);
    let works = |verdict| matches!(verdict, Verdict::Known(Status::Exact | Status::Approximate));
    assert!(report.rows.iter().all(|row| works(row.verdict)), "{}", report.render());
    let Resolved { settings, warnings } = resolve(&document, &given).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((settings.groups.len(), settings.groups[0].deployments.len(), warnings.len()), (10, 2, 0));
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
    for section in [Section::Feathergate, Section::Info, Section::Params, Section::Router] {
        for row in section.rows().iter().filter(|row| works(Verdict::Known(row.status))) {
            assert!(text.contains(row.name), "{} is not in example.yaml", row.name);
        }
    }
}

/// A name, a file, and the whole text of its errors.
const BAD: &[(&str, &str, &[&str])] = &[
    (
        "system prompts",
        "model_list:\n- model_name: chat\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\nfeathergate:\n  prompt_variables:\n    time_zone: Europe/Berlim\n    headers: [Authorization, x-own-key, a b, x-team]\n    env: [SECRET, PARAMETER, UNSET]\n    zone: UTC\n  key_header: X-Own-Key\n  system_prompts:\n  - text: |\n      {{dat}}\n      {{header.x-taem}} {{env.HOME}}\n  - {mod: append, text: a}\n  - {mode: before, text: a}\n  - {mode: append, models: [], text: a}\n  - {mode: replace}\n  - ''\n  - [a]\n  - {text: 'ssm:/x'}\n",
        &[
            "x.yaml:6: feathergate.prompt_variables.time_zone: must be a time zone: a name such as `Europe/Berlin`, `UTC`, an offset such as `+02:00`, or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`; did you mean `Europe/Berlin`?",
            "x.yaml:7: feathergate.prompt_variables.headers[0]: this header carries a secret, which must not get into a prompt",
            "x.yaml:7: feathergate.prompt_variables.headers[1]: this header carries a secret, which must not get into a prompt",
            "x.yaml:7: feathergate.prompt_variables.headers[2]: must be the name of a header, such as `x-team`",
            "x.yaml:8: feathergate.prompt_variables.env[1]: this variable refers to an SSM parameter, which must not get into a prompt",
            "x.yaml:8: feathergate.prompt_variables.env[2]: the environment variable `UNSET` is not set; set it, here or in `environment_variables`",
            "x.yaml:9: feathergate.prompt_variables.zone: is no key known here; there are `time_zone`, `headers`, `env`",
            "x.yaml:12: feathergate.system_prompts[0].text: line 1 of the text: `{{dat}}` is no variable; did you mean `{{date}}`?",
            "x.yaml:12: feathergate.system_prompts[0].text: line 2 of the text: `{{header.x-taem}}` is a header that may not be used; add it to `feathergate.prompt_variables.headers`; did you mean `{{header.x-team}}`?",
            "x.yaml:12: feathergate.system_prompts[0].text: line 2 of the text: `{{env.HOME}}` is an environment variable that may not be used; add it to `feathergate.prompt_variables.env`",
            "x.yaml:15: feathergate.system_prompts[1].mod: is no key known here; there are `text`, `mode`, `models`; did you mean `mode`?",
            "x.yaml:16: feathergate.system_prompts[2].mode: must be `prepend` (in front of what the client says), `append` (behind it) or `replace` (in place of it)",
            "x.yaml:17: feathergate.system_prompts[3].models: names no model; leave it out for all of them",
            "x.yaml:18: feathergate.system_prompts[4]: has no `text`",
            "x.yaml:19: feathergate.system_prompts[5]: is empty; with `mode: replace` that would take out what clients say",
            "x.yaml:20: feathergate.system_prompts[6]: is a list, but must be a string",
            "x.yaml:21: feathergate.system_prompts[7].text: an SSM parameter cannot stand here; it can in `api_key`, `api_base`, `api_version`, `organization`, the values of `extra_headers` and `general_settings.master_key`",
        ],
    ),
    (
        "a store",
        "model_list:\n- model_name: chat\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\nfeathergate:\n  store:\n    url: postgras://me:sk-upstream-value@h/x\n    on_error: shut\n    keep_requests: soon\n    kep_days: 3\n  shared_limits:\n    gateway: {max_budget: -1, shards: 0}\n    model: {}\n    models: {chat: {rpm: 3}}\n",
        &[
            "x.yaml:6: feathergate.store.url: must be `sqlite:FILE`, `dynamodb:TABLE`, `postgres://…`, `memory` or `none`; did you mean `postgres`?",
            "x.yaml:7: feathergate.store.on_error: must be `closed` (requests are refused while the store does not answer) or `open` (they pass, and limits do not hold meanwhile)",
            "x.yaml:8: feathergate.store.keep_requests: must be a time such as `12h`, `30d` or `1mo`",
            "x.yaml:9: feathergate.store.kep_days: `kep_days` is no key known here; did you mean `keep_days`?",
            "x.yaml:11: feathergate.shared_limits.gateway.max_budget: must be an amount of dollars, such as `100` or `2.50`",
            "x.yaml:11: feathergate.shared_limits.gateway.shards: must be from 1 to 64",
            "x.yaml:12: feathergate.shared_limits.model: `model` is no key known here; did you mean `models`?",
            "x.yaml:13: feathergate.shared_limits.models.chat.rpm: `rpm` is no key known here; the keys here are `max_budget`, `budget_duration`, `token_quota`, `rpm_limit`, `tpm_limit`, `max_parallel_requests`, `shards`",
        ],
    ),
    (
        "a store that is there and not there",
        "model_list:\n- model_name: chat\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\nfeathergate:\n  store: none\n  shared_limits: {gateway: {rpm_limit: 3}}\n",
        &["x.yaml:6: feathergate.shared_limits: needs a store, and `feathergate.store` says that there is none"],
    ),
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
        "stars",
        "model_list:\n- model_name: m\n  litellm_params: {model: openai/*, api_key: sk-upstream-value}\n- model_name: a-*\n  litellm_params: {model: openai/*-*, api_key: sk-upstream-value}\n- model_name: '*'\n  litellm_params: {model: '*'}\n",
        &[
            "x.yaml:3: model_list[0].litellm_params.model: a `*` here stands for what the `*` in `model_name` takes, and there is none",
            "x.yaml:5: model_list[1].litellm_params.model: there are more `*` here than in `model_name`, whose text they stand for",
            "x.yaml:7: model_list[2].litellm_params.model: a `*` alone names no provider; write `openai/*`, say, or list the providers that may be asked for by name in `feathergate.direct_models`",
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
        "routing",
        r"model_list:
- model_name: m
  litellm_params: {model: openai/x, api_key: sk-upstream-value, order: -1, max_parallel_requests: 0, cooldown_time: -1, tags: ['']}
  model_info: {allowed_fails: 1.5, allowed_fails_policy: [1], enabled: perhaps, input_cost_per_token: -1}
- {model_name: n, enabled: 3, litellm_params: {model: openai/x, api_key: sk-upstream-value, num_retries: many, region_name: [a]}}
router_settings:
  routing_strategy: fastest
  routing_strategy_args: {ttl: soon, lowest_latency_buffer: -1}
  num_retries: -1
  retry_after: -1
  retry_policy: {TimeoutErrorRetries: x}
  allowed_fails: 99999999999
  cooldown_time: often
  disable_cooldowns: 7
  max_fallbacks: 0.5
  enable_tag_filtering: 1.0
  fallback_on_unsupported_params: some
  default_max_parallel_requests: 0
  default_litellm_params: [temperature]
  optional_pre_call_checks: [prompt_cache]
",
        &[
            "x.yaml:7: router_settings.routing_strategy: must be `simple-shuffle`, `first-available`, `round-robin`, `random`, `least-busy`, `latency-based-routing`, `cost-based-routing` or `usage-based-routing-v2`",
            "x.yaml:8: router_settings.routing_strategy_args.ttl: must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
            "x.yaml:8: router_settings.routing_strategy_args.lowest_latency_buffer: must be a share such as `0.5`, 0 or more and at most 1000",
            "x.yaml:9: router_settings.num_retries: must be a whole number, 0 or more",
            "x.yaml:10: router_settings.retry_after: must be 0 or more",
            "x.yaml:11: router_settings.retry_policy.TimeoutErrorRetries: is a string, but must be a number",
            "x.yaml:14: router_settings.disable_cooldowns: is a number, but must be `true` or `false`",
            "x.yaml:12: router_settings.allowed_fails: must be less than 4294967296",
            "x.yaml:13: router_settings.cooldown_time: must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`",
            "x.yaml:16: router_settings.enable_tag_filtering: is a number, but must be `true` or `false`",
            "x.yaml:20: router_settings.optional_pre_call_checks[0]: must be `deployment_affinity`, `encrypted_content_affinity`, `enforce_model_rate_limits`, `forward_client_headers_by_model_group`, `prompt_caching`, `responses_api_deployment_check`, `router_budget_limiting` or `session_affinity`",
            "x.yaml:18: router_settings.default_max_parallel_requests: must be more than 0: with 0 no request could be made",
            "x.yaml:19: router_settings.default_litellm_params: is a list, but must be a map",
            "x.yaml:4: model_list[0].model_info.allowed_fails: must be a whole number, 0 or more",
            "x.yaml:4: model_list[0].model_info.allowed_fails_policy: is a list, but must be a map",
            "x.yaml:4: model_list[0].model_info.enabled: is a string, but must be `true` or `false`",
            "x.yaml:4: model_list[0].model_info.input_cost_per_token: must be the dollars for one token, such as `0.0000025`",
            "x.yaml:3: model_list[0].litellm_params.order: must be a whole number, 0 or more",
            "x.yaml:3: model_list[0].litellm_params.max_parallel_requests: must be more than 0: with 0 no request could be made",
            "x.yaml:3: model_list[0].litellm_params.tags[0]: is empty; take it out",
            "x.yaml:3: model_list[0].litellm_params.cooldown_time: must be 0 or more",
            "x.yaml:5: model_list[1].enabled: is a number, but must be `true` or `false`",
            "x.yaml:5: model_list[1].litellm_params.num_retries: is a string, but must be a number",
            "x.yaml:5: model_list[1].litellm_params.region_name: is a list, but must be a string",
            "x.yaml:15: router_settings.max_fallbacks: must be a whole number, 0 or more",
            "x.yaml:17: router_settings.fallback_on_unsupported_params: is a string, but must be `true` or `false`",
        ],
    ),
    (
        "names that come to nothing",
        r"model_list:
- {model_name: gpt-5-mini, litellm_params: {model: openai/gpt-5-mini, api_key: sk-upstream-value}}
- {model_name: my-*, litellm_params: {model: openai/*, api_key: sk-upstream-value}}
router_settings:
  fallbacks: [{gpt-5-mini: [gpt-5-minni, my-thing, my-*]}, gpt-5-mini, {my-a: [{temperature: 1}, {model: absent}]}]
  context_window_fallbacks: {gpt-5-mini: absent}
  default_fallbacks: [absent, 3]
  model_group_alias: {one: two, two: one, three: absent, four: {hidden: true}, 'a*': gpt-5-mini, five: [a], six: ''}
feathergate:
  redirects: [{from: a, to: b}, {from: b, to: c}, {from: c, to: a}, {from: d}, x, {from: e, to: gpt-5-mimi}]
",
        &[
            "x.yaml:10: feathergate.redirects[3]: must be a map with `from` and `to`, such as `{from: gpt-4, to: gpt-5.4-mini}`",
            "x.yaml:10: feathergate.redirects[4]: must be a map with `from` and `to`, such as `{from: gpt-4, to: gpt-5.4-mini}`",
            "x.yaml:8: router_settings.model_group_alias.four.model: is nothing, but must be a string",
            "x.yaml:8: router_settings.model_group_alias.a*: the name of an alias can hold no `*`; an entry of `model_list` can",
            "x.yaml:8: router_settings.model_group_alias.five: is a list, but must be a string",
            "x.yaml:8: router_settings.model_group_alias.six: must be a name and the name of the model that it stands for; one of them is empty",
            "x.yaml:10: feathergate.redirects[0].to: these names lead to each other and to no model: `a` → `b` → `c` → `a`",
            "x.yaml:10: feathergate.redirects[5].to: there is no model `gpt-5-mimi` here; did you mean `gpt-5-mini`?",
            "x.yaml:8: router_settings.model_group_alias.one: these names lead to each other and to no model: `one` → `two` → `one`",
            "x.yaml:8: router_settings.model_group_alias.three: there is no model `absent` here; add an entry with that `model_name`",
            "x.yaml:5: router_settings.fallbacks[0].gpt-5-mini[0]: there is no model `gpt-5-minni` here; did you mean `gpt-5-mini`?",
            "x.yaml:5: router_settings.fallbacks[0].gpt-5-mini[2]: must be the name of one model, without `*`",
            "x.yaml:5: router_settings.fallbacks[1]: is a string, but must be a map from a model to those that stand in for it, such as `{my-model: [another]}`; what stands in for every model is in `default_fallbacks`",
            "x.yaml:5: router_settings.fallbacks[2].my-a[0]: must be the name of a model, or a map with `model`",
            "x.yaml:5: router_settings.fallbacks[2].my-a[1].model: there is no model `absent` here; add an entry with that `model_name`",
            "x.yaml:6: router_settings.context_window_fallbacks.gpt-5-mini: there is no model `absent` here; add an entry with that `model_name`",
            "x.yaml:7: router_settings.default_fallbacks[0]: there is no model `absent` here; add an entry with that `model_name`",
            "x.yaml:7: router_settings.default_fallbacks[1]: there is no model `3` here; add an entry with that `model_name`",
        ],
    ),
    (
        "our own keys of routing",
        r"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: sk-upstream-value}}]
feathergate:
  direct_models: [gpt-5, azure/*, opnai/*, openai/, hosted_vllm/*, 'ollama/*', [a]]
  fallback_on_bad_request: sometimes
  max_request_tokens: 0
  error_patterns: [' ', {a: b}]
  disclose_upstream: 1.5
  mock_testing: never
",
        &[
            "x.yaml:4: feathergate.fallback_on_bad_request: is a string, but must be `true` or `false`",
            "x.yaml:5: feathergate.max_request_tokens: must be more than 0: with 0 every request would be refused",
            "x.yaml:6: feathergate.error_patterns[0]: is empty; take it out",
            "x.yaml:6: feathergate.error_patterns[1]: is a map, but must be a string",
            "x.yaml:7: feathergate.disclose_upstream: is a number, but must be `true` or `false`",
            "x.yaml:8: feathergate.mock_testing: is a string, but must be `true` or `false`",
            "x.yaml:3: feathergate.direct_models[0]: must be a provider and a model, with `*` for any text: `openai/*`, `anthropic/claude-*`",
            "x.yaml:3: feathergate.direct_models[1]: the provider `azure` is not supported yet by this version",
            "x.yaml:3: feathergate.direct_models[2]: there is no provider `opnai`; did you mean `openai`?",
            "x.yaml:3: feathergate.direct_models[3]: names no model; write `openai/gpt-5-mini`, say",
            "x.yaml:3: feathergate.direct_models[4]: `hosted_vllm` needs an `api_base`, or `HOSTED_VLLM_API_BASE` in the environment",
            "x.yaml:3: feathergate.direct_models[5]: the environment variable `OLLAMA_API_BASE`: a base URL must start with `https://` or `http://`",
            "x.yaml:3: feathergate.direct_models[6]: is a list, but must be a string",
        ],
    ),
    (
        "defaults for all entries",
        r"model_list:
- {model_name: m, litellm_params: {model: openai/x, api_key: sk-upstream-value}}
- {model_name: n, litellm_params: {model: openai/y, api_key: sk-upstream-value, timeout: -1}}
router_settings:
  default_litellm_params:
    timeout: 0
    stream: true
",
        &[
            "x.yaml:6: router_settings.default_litellm_params.timeout: must be more than 0",
            "x.yaml:7: router_settings.default_litellm_params.stream: `stream` is the client's to say and cannot have a default; take it out",
            "x.yaml:3: model_list[1].litellm_params.timeout: must be more than 0",
        ],
    ),
    (
        "keys in the place of names",
        r"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: sk-upstream-value}}]
router_settings:
  routing_strategy: os.environ/SECRET
  model_group_alias: {a: os.environ/SECRET}
  fallbacks: [{m: os.environ/SECRET}]
feathergate:
  direct_models: [os.environ/SECRET, 'no/${SECRET}']
  redirects: [{from: os.environ/SECRET, to: m}]
",
        &[
            "x.yaml:3: router_settings.routing_strategy: must be `simple-shuffle`, `first-available`, `round-robin`, `random`, `least-busy`, `latency-based-routing`, `cost-based-routing` or `usage-based-routing-v2`",
            "x.yaml:7: feathergate.direct_models[0]: must be a provider and a model, with `*` for any text: `openai/*`, `anthropic/claude-*`",
            "x.yaml:7: feathergate.direct_models[1]: the variable that is named here holds no provider and model that are known; it should hold something like `openai/gpt-5-mini`",
            "x.yaml:8: feathergate.redirects[0].from: must be written out: it is a name, as the keys of a map are",
            "x.yaml:4: router_settings.model_group_alias.a: the variable that is named here holds the name of no model that is here",
            "x.yaml:5: router_settings.fallbacks[0].m: the variable that is named here holds the name of no model that is here",
        ],
    ),
    (
        "names of entries that are wrong",
        r"model_list:
- {model_name: m, litellm_params: {model: openai/x, api_key: sk-upstream-value}}
- {model_name: wrong, litellm_params: {model: azure/x}}
- {model_name: wrong-*, litellm_params: {model: bedrock/*}}
- {model_name: nothing}
router_settings:
  model_group_alias: {a: wrong, b: a}
  fallbacks: [{m: [wrong, wrong-x, nothing, a, b]}, {wrong: [m]}]
  model_group_retry_policy: {wrong: {DefaultRetries: 1}}
",
        &[
            "x.yaml:3: model_list[1].litellm_params.model: the provider `azure` is not supported yet by this version",
            "x.yaml:4: model_list[2].litellm_params.model: the provider `bedrock` is not supported yet by this version",
            "x.yaml:5: model_list[3].litellm_params: is missing; it needs at least `model`, such as `openai/gpt-5-mini`",
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
        "system prompts that cost",
        "model_list:\n- model_name: chat\n  litellm_params: {model: openai/x, api_key: sk-upstream-value}\nfeathergate:\n  system_prompts:\n  - {models: [chta, 'x*', chat], text: 'It is {{time}} of {{date}}.'}\n  - {mode: replace, text: ''}\n",
        &[
            "x.yaml:6: feathergate.system_prompts[0].models[0]: no `model_name` is `chta`, so this does nothing; did you mean `chat`?",
            "x.yaml:6: feathergate.system_prompts[0].models[1]: no `model_name` is `x*`, so this does nothing",
            "x.yaml:6: feathergate.system_prompts[0].text: `{{time}}` changes all the time, and with it everything that follows: providers' prompt caches end before it, so each turn of a conversation is paid for in full; `{{date}}` changes once a day",
        ],
    ),
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
        "guardrails: [x]\nlitellm_settings: {callbacks: [langfuse], cache: false, fallbacks: []}\nrouter_settings: {redis_host: localhost, default_priority: 1, optional_pre_call_checks: [prompt_caching]}\nmodel_list:\n- model_name: m\n  litellm_params:\n    model: openai/x\n    api_key: sk-upstream-value\n    rpm: 10\n    itpm: 10\n    aws_region_name: us-east-1\n    max_budget: false\n",
        &[
            "x.yaml:1: guardrails: is not supported: there are no guardrails; every text passes",
            "x.yaml:2: litellm_settings.callbacks: is not supported: there are no callbacks yet; each call is one line in the log",
            "x.yaml:3: router_settings.redis_host: is not supported: there is no Redis; every instance is on its own",
            "x.yaml:3: router_settings.default_priority: is not supported: there is no queue",
            "x.yaml:3: router_settings.optional_pre_call_checks: is not supported: none of these checks is made; context windows and parameters are looked at anyway",
            "x.yaml:10: model_list[0].litellm_params.itpm: is not supported: limits of a model group for all processes are `feathergate.shared_limits`",
            "x.yaml:11: model_list[0].litellm_params.aws_region_name: is not supported: Bedrock and SageMaker are not supported by this version",
        ],
    ),
    (
        "routing that is doubtful",
        r"model_list:
- {model_name: m, litellm_params: {model: openai/x, api_key: sk-upstream-value}}
- {model_name: off, litellm_params: {model: openai/x, api_key: sk-upstream-value}, model_info: {blocked: true}}
- {model_name: out, enabled: false, litellm_params: {model: openai/x, api_key: sk-upstream-value}}
litellm_settings:
  num_retries: 1
  model_alias_map: {same: same, twice: m}
router_settings:
  num_retries: 2
  routing_strategy_args: {ttl: 60, window: 3}
  retry_policy: {TimeoutErrorRetry: 1, DefaultAllowedFails: 2}
  allowed_fails_policy: {RateLimitErrorRetries: 1, DefaultAllowedFails: 2}
  model_group_retry_policy: {absent: {DefaultRetries: 1}}
  model_group_alias: {twice: m}
  fallbacks: [{mm: [m]}, {m: [off, out, m]}, {m: []}, {'*': [{model: m, temperature: 0, messages: []}]}]
feathergate: {direct_models: [openai/*]}
",
        &[
            "x.yaml:10: router_settings.routing_strategy_args.window: does nothing here; `ttl` and `lowest_latency_buffer` do, with `latency-based-routing`",
            "x.yaml:6: litellm_settings.num_retries: `router_settings.num_retries` counts, and not this",
            "x.yaml:11: router_settings.retry_policy.TimeoutErrorRetry: `TimeoutErrorRetry` is no class of errors known here; did you mean `TimeoutErrorRetries`?",
            "x.yaml:11: router_settings.retry_policy.DefaultAllowedFails: `DefaultAllowedFails` is no class of errors known here",
            "x.yaml:12: router_settings.allowed_fails_policy.RateLimitErrorRetries: `RateLimitErrorRetries` is no class of errors known here",
            "x.yaml:12: router_settings.allowed_fails_policy.DefaultAllowedFails: `DefaultAllowedFails` is no class of errors known here",
            "x.yaml:13: router_settings.model_group_retry_policy.absent: there is no model group `absent`, so this does nothing",
            "x.yaml:7: litellm_settings.model_alias_map.same: is another name for itself, which does nothing",
            "x.yaml:7: litellm_settings.model_alias_map.twice: is another name for something already, which counts",
            "x.yaml:15: router_settings.fallbacks[0].mm: there is no model `mm` here, so this does nothing",
            "x.yaml:15: router_settings.fallbacks[1].m[0]: `off` is left out, since all its entries are blocked, so this does nothing",
            "x.yaml:15: router_settings.fallbacks[1].m[1]: `out` is left out, since all its entries are blocked, so this does nothing",
            "x.yaml:15: router_settings.fallbacks[1].m: a model cannot stand in for itself, so this one is passed over",
            "x.yaml:15: router_settings.fallbacks[2].m: has fallbacks already in this list, and those count",
            "x.yaml:15: router_settings.fallbacks[3].*[0]: `temperature`, `messages`: is not sent; of a fallback only its `model` counts",
            "x.yaml:16: feathergate.direct_models[0]: the environment variable `OPENAI_API_KEY` is not set; calls to `openai/*` fail until it is",
        ],
    ),
    (
        "a direct model that is an entry",
        "model_list: [{model_name: openai/*, litellm_params: {model: openai/*, api_key: sk-upstream-value}}]\nfeathergate: {direct_models: openai/*}\n",
        &["x.yaml:2: feathergate.direct_models: is in `model_list` too, which counts"],
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
    (
        "made-up errors that are none",
        "model_list:\n- {model_name: a, litellm_params: {model: x, mock_response: litellm.RateLimitError}}\n- {model_name: b, litellm_params: {model: x, mock_response: litellm.Timeout}}\n- {model_name: c, litellm_params: {model: x, mock_response: litellm. And more.}}\n",
        &[
            "x.yaml:3: model_list[1].litellm_params.mock_response: is answered as a text; what stands for an error is `litellm.` before `RateLimitError`, `InternalServerError`, `ContextWindowExceededError` or `ContentPolicyViolationError`",
        ],
    ),
    (
        "names that mean what is there already",
        "model_list:\n- {model_name: a, litellm_params: {model: x, mock_response: hi}}\n- {model_name: b, litellm_params: {model: x, mock_response: hi}}\n- {model_name: w-*, litellm_params: {model: openai/*, mock_response: hi}}\nrouter_settings:\n  model_group_alias: {other: a, wild: w-x}\n  default_fallbacks: [a, other, b]\n  fallbacks: [{a: [other, b]}, {other: [a]}, {b: [a, w-x, w-y]}, {w-x: [wild, w-y]}]\n",
        &[
            "x.yaml:8: router_settings.fallbacks[0].a[0]: means the same model as `a`, so this one is passed over",
            "x.yaml:8: router_settings.fallbacks[1].other[0]: means the same model as `other`, so this one is passed over",
            "x.yaml:8: router_settings.fallbacks[3].w-x[0]: means the same model as `w-x`, so this one is passed over",
            "x.yaml:7: router_settings.default_fallbacks[1]: means the same model as `a`, so this one is passed over",
        ],
    ),
    (
        "ids that hide names",
        "model_list:\n- {model_name: a, litellm_params: {model: x, mock_response: hi}, model_info: {id: b}}\n- {model_name: b, litellm_params: {model: x, mock_response: hi}}\n- {model_name: c, litellm_params: {model: x, mock_response: hi}, model_info: {id: c}}\n- {model_name: d, litellm_params: {model: x, mock_response: hi}, model_info: {id: d}}\n- {model_name: d, litellm_params: {model: x, mock_response: hi}, model_info: {id: other}}\nrouter_settings:\n  model_group_alias: {other: a, c-1: a}\nfeathergate: {redirects: {d-1: a}}\n",
        &[
            "x.yaml:2: model_list[0].model_info.id: the model group `b` cannot be asked for: `b` means this deployment alone",
            "x.yaml:5: model_list[3].model_info.id: the model group `d` cannot be asked for: `d` means this deployment alone",
            "x.yaml:8: router_settings.model_group_alias.other: is the id of a deployment of `d` too, and who asks for it gets that; take another name, or another `model_info.id`",
        ],
    ),
    (
        "times of which one counts",
        "model_list: [{model_name: a, litellm_params: {model: x, mock_response: hi}}]\nlitellm_settings: {request_timeout: 60, timeout: 30, stream_timeout: 9}\nrouter_settings: {timeout: 50, stream_timeout: 5}\n",
        &[
            "x.yaml:3: router_settings.timeout: `litellm_settings.request_timeout` counts, and not this",
            "x.yaml:2: litellm_settings.timeout: `litellm_settings.request_timeout` counts, and not this",
            "x.yaml:2: litellm_settings.stream_timeout: `router_settings.stream_timeout` counts, and not this",
        ],
    ),
];
