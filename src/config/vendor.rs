//! The vendors, as data: base URL, wire and key variable of each. A new OpenAI-compatible vendor is one row here.

use crate::wire::Wire;

/// A vendor: what is needed to call it when the configuration says no more than `vendor/model`.
#[derive(Debug)]
pub struct Vendor {
    /// The prefix in `vendor/model`, or `custom_llm_provider`.
    pub name: &'static str,
    /// The dialect it speaks.
    pub wire: Wire,
    /// The base URL, without a trailing slash; `None` where only the user can know it.
    pub base: Option<&'static str>,
    /// The environment variable that overrides the base URL.
    pub base_variable: Option<&'static str>,
    /// The environment variable with the key; `None` for servers that need none.
    pub key_variable: Option<&'static str>,
    /// Whether the upstream takes `stream_options.include_usage`.
    pub stream_options: bool,
    /// Top-level request fields that it answers with an error: dropped under `drop_params`.
    pub refuses: &'static [&'static str],
}

/// Every vendor, sorted by name. The names, bases and variables are litellm's (1.109), so that a file of its works here.
pub const VENDORS: &[Vendor] = &[
    Vendor {
        name: "anthropic",
        wire: Wire::AnthropicMessages,
        base: Some("https://api.anthropic.com"),
        base_variable: Some("ANTHROPIC_API_BASE"),
        key_variable: Some("ANTHROPIC_API_KEY"),
        stream_options: false,
        refuses: &[],
    },
    Vendor {
        name: "cerebras",
        wire: Wire::OpenAiChat,
        base: Some("https://api.cerebras.ai/v1"),
        base_variable: Some("CEREBRAS_API_BASE"),
        key_variable: Some("CEREBRAS_API_KEY"),
        stream_options: true,
        refuses: &["frequency_penalty", "logit_bias", "presence_penalty"],
    },
    Vendor {
        name: "dashscope",
        wire: Wire::OpenAiChat,
        base: Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        base_variable: Some("DASHSCOPE_API_BASE"),
        key_variable: Some("DASHSCOPE_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "deepinfra",
        wire: Wire::OpenAiChat,
        base: Some("https://api.deepinfra.com/v1/openai"),
        base_variable: Some("DEEPINFRA_API_BASE"),
        key_variable: Some("DEEPINFRA_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "deepseek",
        wire: Wire::OpenAiChat,
        base: Some("https://api.deepseek.com/v1"),
        base_variable: Some("DEEPSEEK_API_BASE"),
        key_variable: Some("DEEPSEEK_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "fireworks_ai",
        wire: Wire::OpenAiChat,
        base: Some("https://api.fireworks.ai/inference/v1"),
        base_variable: Some("FIREWORKS_API_BASE"),
        key_variable: Some("FIREWORKS_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "gemini",
        wire: Wire::Gemini,
        base: Some("https://generativelanguage.googleapis.com/v1beta"),
        base_variable: Some("GEMINI_API_BASE"),
        key_variable: Some("GEMINI_API_KEY"),
        stream_options: false,
        refuses: &[],
    },
    Vendor {
        name: "groq",
        wire: Wire::OpenAiChat,
        base: Some("https://api.groq.com/openai/v1"),
        base_variable: Some("GROQ_API_BASE"),
        key_variable: Some("GROQ_API_KEY"),
        stream_options: true,
        refuses: &["logit_bias", "logprobs", "top_logprobs"],
    },
    Vendor {
        name: "hosted_vllm",
        wire: Wire::OpenAiChat,
        base: None,
        base_variable: Some("HOSTED_VLLM_API_BASE"),
        key_variable: None,
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "hyperbolic",
        wire: Wire::OpenAiChat,
        base: Some("https://api.hyperbolic.xyz/v1"),
        base_variable: Some("HYPERBOLIC_API_BASE"),
        key_variable: Some("HYPERBOLIC_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "litellm_proxy",
        wire: Wire::OpenAiChat,
        base: None,
        base_variable: Some("LITELLM_PROXY_API_BASE"),
        key_variable: Some("LITELLM_PROXY_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "lm_studio",
        wire: Wire::OpenAiChat,
        base: Some("http://localhost:1234/v1"),
        base_variable: Some("LM_STUDIO_API_BASE"),
        key_variable: None,
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "mistral",
        wire: Wire::OpenAiChat,
        base: Some("https://api.mistral.ai/v1"),
        base_variable: Some("MISTRAL_API_BASE"),
        key_variable: Some("MISTRAL_API_KEY"),
        stream_options: false,
        refuses: &["logit_bias", "logprobs", "metadata", "store", "top_logprobs", "user"],
    },
    Vendor {
        name: "moonshot",
        wire: Wire::OpenAiChat,
        base: Some("https://api.moonshot.ai/v1"),
        base_variable: Some("MOONSHOT_API_BASE"),
        key_variable: Some("MOONSHOT_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "nebius",
        wire: Wire::OpenAiChat,
        base: Some("https://api.studio.nebius.ai/v1"),
        base_variable: Some("NEBIUS_API_BASE"),
        key_variable: Some("NEBIUS_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "novita",
        wire: Wire::OpenAiChat,
        base: Some("https://api.novita.ai/v3/openai"),
        base_variable: Some("NOVITA_API_BASE"),
        key_variable: Some("NOVITA_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "nvidia_nim",
        wire: Wire::OpenAiChat,
        base: Some("https://integrate.api.nvidia.com/v1"),
        base_variable: Some("NVIDIA_NIM_API_BASE"),
        key_variable: Some("NVIDIA_NIM_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "ollama",
        wire: Wire::OpenAiChat,
        base: Some("http://localhost:11434/v1"),
        base_variable: Some("OLLAMA_API_BASE"),
        key_variable: None,
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "openai",
        wire: Wire::OpenAiChat,
        base: Some("https://api.openai.com/v1"),
        base_variable: Some("OPENAI_API_BASE"),
        key_variable: Some("OPENAI_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "openai_like",
        wire: Wire::OpenAiChat,
        base: None,
        base_variable: Some("OPENAI_LIKE_API_BASE"),
        key_variable: None,
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "openrouter",
        wire: Wire::OpenAiChat,
        base: Some("https://openrouter.ai/api/v1"),
        base_variable: Some("OPENROUTER_API_BASE"),
        key_variable: Some("OPENROUTER_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "perplexity",
        wire: Wire::OpenAiChat,
        base: Some("https://api.perplexity.ai"),
        base_variable: Some("PERPLEXITY_API_BASE"),
        key_variable: Some("PERPLEXITYAI_API_KEY"),
        stream_options: false,
        refuses: &[],
    },
    Vendor {
        name: "sambanova",
        wire: Wire::OpenAiChat,
        base: Some("https://api.sambanova.ai/v1"),
        base_variable: Some("SAMBANOVA_API_BASE"),
        key_variable: Some("SAMBANOVA_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "together_ai",
        wire: Wire::OpenAiChat,
        base: Some("https://api.together.xyz/v1"),
        base_variable: Some("TOGETHER_AI_API_BASE"),
        key_variable: Some("TOGETHERAI_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "vercel_ai_gateway",
        wire: Wire::OpenAiChat,
        base: Some("https://ai-gateway.vercel.sh/v1"),
        base_variable: Some("VERCEL_AI_GATEWAY_API_BASE"),
        key_variable: Some("VERCEL_AI_GATEWAY_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "volcengine",
        wire: Wire::OpenAiChat,
        base: Some("https://ark.cn-beijing.volces.com/api/v3"),
        base_variable: Some("VOLCENGINE_API_BASE"),
        key_variable: Some("VOLCENGINE_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "xai",
        wire: Wire::OpenAiChat,
        base: Some("https://api.x.ai/v1"),
        base_variable: Some("XAI_API_BASE"),
        key_variable: Some("XAI_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "zai",
        wire: Wire::OpenAiChat,
        base: Some("https://api.z.ai/api/paas/v4"),
        base_variable: Some("ZAI_API_BASE"),
        key_variable: Some("ZAI_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
    Vendor {
        name: "zhipu",
        wire: Wire::OpenAiChat,
        base: Some("https://open.bigmodel.cn/api/paas/v4"),
        base_variable: Some("ZHIPU_API_BASE"),
        key_variable: Some("ZHIPUAI_API_KEY"),
        stream_options: true,
        refuses: &[],
    },
];

/// Other names of vendors.
const ALIASES: &[(&str, &str)] = &[
    ("custom_openai", "openai_like"),
    ("fireworks", "fireworks_ai"),
    ("google_ai_studio", "gemini"),
    ("lmstudio", "lm_studio"),
    ("ollama_chat", "ollama"),
    ("together", "together_ai"),
    ("vllm", "hosted_vllm"),
    ("zhipuai", "zhipu"),
];

/// Variables that litellm also takes a key from, in its order, after the vendor's own. Those of a vendor that needs no key
/// are all here.
const OTHER_KEY_VARIABLES: &[(&str, &[&str])] = &[
    ("gemini", &["GOOGLE_API_KEY"]),
    ("fireworks_ai", &["FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"]),
    ("hosted_vllm", &["HOSTED_VLLM_API_KEY"]),
    ("lm_studio", &["LM_STUDIO_API_KEY"]),
    ("ollama", &["OLLAMA_API_KEY"]),
    ("openai_like", &["OPENAI_LIKE_API_KEY"]),
    ("openrouter", &["OR_API_KEY"]),
    ("perplexity", &["PERPLEXITY_API_KEY"]),
    ("together_ai", &["TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"]),
    ("vercel_ai_gateway", &["VERCEL_OIDC_TOKEN"]),
    ("volcengine", &["ARK_API_KEY"]),
    ("zhipu", &["ZHIPU_API_KEY"]),
];

/// Variables that also override a base URL, after the vendor's own.
const OTHER_BASE_VARIABLES: &[(&str, &[&str])] =
    &[("anthropic", &["ANTHROPIC_BASE_URL"]), ("openai", &["OPENAI_BASE_URL"])];

/// What litellm can call and this version cannot: refused by name instead of with a guess.
pub const NOT_YET: &[&str] = &[
    "a2a",
    "ai21",
    "ai21_chat",
    "aiml",
    "anthropic_text",
    "anyscale",
    "assemblyai",
    "aws_polly",
    "azure",
    "azure_ai",
    "azure_text",
    "baseten",
    "bedrock",
    "bedrock_converse",
    "bytez",
    "chatgpt",
    "clarifai",
    "cloudflare",
    "codestral",
    "cohere",
    "cohere_chat",
    "cometapi",
    "compactifai",
    "custom",
    "databricks",
    "datarobot",
    "deepgram",
    "docker_model_runner",
    "elevenlabs",
    "fal_ai",
    "featherless_ai",
    "friendliai",
    "galadriel",
    "gigachat",
    "github",
    "github_copilot",
    "heroku",
    "huggingface",
    "infinity",
    "jina_ai",
    "lambda_ai",
    "langfuse",
    "lemonade",
    "llamafile",
    "maritalk",
    "meta_llama",
    "minimax",
    "morph",
    "nlp_cloud",
    "nscale",
    "oci",
    "oobabooga",
    "ovhcloud",
    "palm",
    "petals",
    "poe",
    "predibase",
    "publicai",
    "ragflow",
    "recraft",
    "replicate",
    "sagemaker",
    "sagemaker_chat",
    "sagemaker_nova",
    "sap",
    "snowflake",
    "synthetic",
    "text-completion-codestral",
    "text-completion-openai",
    "topaz",
    "triton",
    "v0",
    "vertex_ai",
    "vertex_ai_beta",
    "voyage",
    "wandb",
    "watsonx",
    "watsonx_text",
    "xiaomi_mimo",
    "xinference",
];

/// The vendor of this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Vendor> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    VENDORS.iter().find(|vendor| vendor.name == name)
}

/// Every name that [`find`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    VENDORS.iter().map(|vendor| vendor.name).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

impl Vendor {
    /// The environment variables that can hold the key, the first one first.
    pub fn key_variables(&self) -> impl Iterator<Item = &'static str> {
        self.key_variable.into_iter().chain(others(OTHER_KEY_VARIABLES, self.name))
    }

    /// The environment variables that can hold the base URL, the first one first.
    pub fn base_variables(&self) -> impl Iterator<Item = &'static str> {
        self.base_variable.into_iter().chain(others(OTHER_BASE_VARIABLES, self.name))
    }

    /// The name of a model at this vendor, as its API takes it. litellm's rule: Fireworks' own models are named by their last
    /// part.
    #[must_use]
    pub fn model_name(&self, model: String) -> String {
        const OWN: &str = "accounts/fireworks/models/";
        if self.name != "fireworks_ai" {
            return model;
        }
        // The beginning of what a wildcard was filled into may be there already.
        let last = model.strip_prefix(OWN).unwrap_or(&model);
        if last.starts_with("accounts/") || last.contains('#') { last.to_owned() } else { format!("{OWN}{last}") }
    }

    /// The base URL in `text`, as requests are built on it: checked, without a trailing slash or the path of an endpoint.
    /// Used when the configuration is loaded, and again for a base that came from Parameter Store.
    ///
    /// # Errors
    /// One sentence that says what is wrong and quotes nothing.
    pub fn base_url(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err("a base URL must start with `https://` or `http://`".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("a base URL can have no `?` or `#`; an `api_version` has its own key".to_owned());
        }
        let Ok(uri) = text.parse::<http::Uri>() else {
            return Err("this is not a URL like `https://host/v1`".to_owned());
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            return Err("a base URL can hold no user or password; use `api_key` or `extra_headers`".to_owned());
        }
        let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        if uri.host().is_none_or(str::is_empty) || (has_port && uri.port_u16().is_none()) {
            return Err("this is not a URL like `https://host/v1`".to_owned());
        }
        let base = text.trim_end_matches('/');
        let base = match self.wire {
            Wire::OpenAiChat => without(base, &["/chat/completions"]),
            Wire::AnthropicMessages => without(without(base, &["/v1/messages", "/messages"]), &["/v1"]),
            Wire::Gemini => without(base, &["/models"]),
        };
        if self.name == "ollama" && base.matches('/').count() == 2 {
            return Ok(format!("{base}/v1"));
        }
        Ok(base.to_owned())
    }
}

fn without<'a>(base: &'a str, endings: &[&str]) -> &'a str {
    endings.iter().find_map(|ending| base.strip_suffix(ending)).unwrap_or(base).trim_end_matches('/')
}

fn others(table: &[(&str, &'static [&'static str])], name: &str) -> impl Iterator<Item = &'static str> + use<> {
    let names = table.iter().find(|(vendor, _)| *vendor == name).map_or(&[][..], |(_, names)| names);
    names.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::profile::Profile;

    #[test]
    fn the_tables_are_sound() {
        assert!(VENDORS.is_sorted_by_key(|vendor| vendor.name));
        assert!(NOT_YET.is_sorted());
        for vendor in VENDORS {
            if let Some(base) = vendor.base {
                assert_eq!(vendor.base_url(base).as_deref(), Ok(base), "{}", vendor.name);
            }
            assert!(vendor.refuses.is_sorted());
            assert!(!NOT_YET.contains(&vendor.name));
        }
        for (alias, name) in ALIASES {
            assert_eq!(find(alias).map(|vendor| vendor.name), Some(*name));
        }
        for (name, _) in OTHER_KEY_VARIABLES.iter().chain(OTHER_BASE_VARIABLES) {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(find("azure").is_none());
        assert!(ALIASES.is_sorted());
    }

    #[test]
    fn what_is_known_of_vendors_is_told_once() {
        for vendor in VENDORS.iter().filter(|vendor| vendor.wire == Wire::OpenAiChat) {
            let profile = Profile::find(vendor.wire, vendor.name, "some-model");
            assert_eq!(profile.stream_options, vendor.stream_options, "{}", vendor.name);
            let refuses = |field: &str| vendor.refuses.contains(&field);
            assert_eq!(profile.penalties, !refuses("presence_penalty"), "{}", vendor.name);
            assert!(!(refuses("logprobs") && profile.logprobs), "{}", vendor.name);
        }
        // One row each, so that nobody's conversion depends on the order of rows.
        for (position, vendor) in VENDORS.iter().enumerate() {
            assert!(VENDORS.iter().skip(position + 1).all(|other| other.name != vendor.name), "{}", vendor.name);
        }
        let gemini = find("google_ai_studio").unwrap();
        assert_eq!((gemini.name, gemini.wire), ("gemini", Wire::Gemini));
        assert_eq!(gemini.key_variables().collect::<Vec<_>>(), ["GEMINI_API_KEY", "GOOGLE_API_KEY"]);
    }

    #[test]
    fn names_of_models() {
        for (vendor, model, want) in [
            ("openai", "accounts/fireworks/models/x", "accounts/fireworks/models/x"),
            ("fireworks_ai", "kimi-k2", "accounts/fireworks/models/kimi-k2"),
            ("fireworks_ai", "accounts/me/models/x", "accounts/me/models/x"),
            ("fireworks_ai", "accounts/fireworks/models/accounts/me/models/x", "accounts/me/models/x"),
            ("fireworks_ai", "accounts/fireworks/models/kimi-k2", "accounts/fireworks/models/kimi-k2"),
            ("fireworks_ai", "x#accounts/me/deployments/y", "x#accounts/me/deployments/y"),
        ] {
            assert_eq!(find(vendor).map(|vendor| vendor.model_name(model.to_owned())).as_deref(), Some(want));
        }
    }

    #[test]
    fn bases() {
        for (vendor, text, want) in [
            ("openai", "https://h/v1/", Ok("https://h/v1")),
            ("openai", "HTTPS://h", Ok("HTTPS://h")),
            ("openai", "https://h/v1/chat/completions", Ok("https://h/v1")),
            ("openai", "http://[::1]:8000/v1", Ok("http://[::1]:8000/v1")),
            ("anthropic", "https://h/v1/messages", Ok("https://h")),
            ("anthropic", "https://h/anthropic/v1/", Ok("https://h/anthropic")),
            ("gemini", "https://h/v1beta/", Ok("https://h/v1beta")),
            ("gemini", "https://h/v1beta/models/", Ok("https://h/v1beta")),
            ("ollama", "http://localhost:11434/", Ok("http://localhost:11434/v1")),
            ("ollama", "http://localhost:11434/x", Ok("http://localhost:11434/x")),
            ("openai", "localhost:4000", Err("a base URL must start with `https://` or `http://`")),
            ("openai", "https://", Err("this is not a URL like `https://host/v1`")),
            ("openai", "https://h h/", Err("this is not a URL like `https://host/v1`")),
            ("openai", "https://h:99999999/", Err("this is not a URL like `https://host/v1`")),
            (
                "openai",
                "https://h/v1?api-version=1",
                Err("a base URL can have no `?` or `#`; an `api_version` has its own key"),
            ),
            (
                "openai",
                "https://u:p@h/v1",
                Err("a base URL can hold no user or password; use `api_key` or `extra_headers`"),
            ),
        ] {
            let found = find(vendor).map(|vendor| vendor.base_url(text));
            assert_eq!(found, Some(want.map(str::to_owned).map_err(str::to_owned)), "{text}");
        }
    }
}
