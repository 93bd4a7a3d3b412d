//! The names of models, made plain, and the patterns that hold for them.

/// A model's name in lower case without the path, the host's prefix and the date that hosts put around it:
/// `models/gemini-2.5-pro` is `gemini-2.5-pro`, `us.anthropic.claude-opus-4-1-20250805-v1:0` is `claude-opus-4-1`.
pub(super) fn plain(model: &str) -> String {
    let name = model.to_ascii_lowercase();
    let name = match name.strip_prefix("ft:") {
        Some(tuned) => tuned.split(':').next().unwrap_or_default(),
        None => name.rsplit('/').next().unwrap_or_default(),
    };
    // Bedrock: a region and a vendor in front.
    let name =
        ["anthropic.", "openai."].iter().find_map(|vendor| name.split_once(vendor)).map_or(name, |(_, rest)| rest);
    // Vertex' versions, OpenRouter's variants, Bedrock's and Ollama's tags.
    let name = name.split(['@', ':']).next().unwrap_or_default();
    claude(name).unwrap_or_else(|| name.to_owned())
}

/// Claude's names in the form `claude-FAMILY-VERSION`, however they are spelled: `claude-3-7-sonnet-20250219`,
/// `claude-3.7-sonnet`, `claude-sonnet-4-0`.
fn claude(name: &str) -> Option<String> {
    const FAMILIES: [&str; 6] = ["fable", "haiku", "instant", "mythos", "opus", "sonnet"];
    let rest = name.strip_prefix("claude-")?;
    let mut family = None;
    let mut version: Vec<&str> = Vec::new();
    let mut ended = false;
    for word in rest.split(['-', '.']) {
        let number = word.strip_prefix('v').filter(|_| version.is_empty()).unwrap_or(word);
        if FAMILIES.contains(&word) {
            family = family.or(Some(word));
            ended |= !version.is_empty();
        } else if !ended && is_version(number) && version.len() < 2 {
            version.push(number);
        } else {
            ended = true;
        }
    }
    if version.len() == 2 && version.last() == Some(&"0") {
        version.pop();
    }
    if family.is_none() && version.is_empty() {
        return None;
    }
    let words = family.into_iter().chain(version);
    Some(words.fold("claude".to_owned(), |name, word| name + "-" + word))
}

/// Whether `word` is a part of a version: one or two digits, where a date has more.
fn is_version(word: &str) -> bool {
    matches!(word.len(), 1 | 2) && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `pattern` holds for `name`: it is the name's beginning, up to its end or a `-` after which no part of a version
/// follows, so that `gpt-5` is neither `gpt-50` nor `gpt-5.1` nor `gpt-5-1`, but `gpt-5-mini` and `gpt-5-2025-08-07`. One `*`
/// stands for any text.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let rest = match pattern.split_once('*') {
        None => name.strip_prefix(pattern),
        Some((start, "")) => return name.starts_with(start),
        Some((start, end)) => {
            name.strip_prefix(start).and_then(|rest| rest.find(end).and_then(|found| rest.get(found + end.len()..)))
        }
    };
    match rest {
        None => false,
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('-').is_some_and(|rest| !is_version(rest.split(['-', '.']).next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        for (model, want) in [
            ("gpt-5.1", "gpt-5.1"),
            ("openai/GPT-5.1", "gpt-5.1"),
            ("ft:gpt-4o-mini-2024-07-18:my-org::abc/d", "gpt-4o-mini-2024-07-18"),
            ("us.openai.gpt-oss-120b-1:0", "gpt-oss-120b-1"),
            ("models/gemini-2.5-flash", "gemini-2.5-flash"),
            ("accounts/fireworks/models/deepseek-v3p1", "deepseek-v3p1"),
            ("google/gemini-2.0-flash-exp:free", "gemini-2.0-flash-exp"),
            ("claude-opus-4-8", "claude-opus-4-8"),
            ("anthropic/claude-opus-4.8", "claude-opus-4-8"),
            ("us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4-1"),
            ("global.anthropic.claude-sonnet-5-v1:0", "claude-sonnet-5"),
            ("claude-sonnet-4-0", "claude-sonnet-4"),
            ("claude-opus-4@20250514", "claude-opus-4"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4"),
            ("claude-3-7-sonnet-20250219", "claude-sonnet-3-7"),
            ("anthropic/claude-3.7-sonnet:thinking", "claude-sonnet-3-7"),
            ("claude-3-5-sonnet-20241022-v2:0", "claude-sonnet-3-5"),
            ("claude-4.5-sonnet", "claude-sonnet-4-5"),
            ("claude-3-opus-latest", "claude-opus-3"),
            ("claude-mythos-preview", "claude-mythos"),
            ("claude-instant-v1.2", "claude-instant-1-2"),
            ("anthropic.claude-v2:1", "claude-2"),
            ("claude-next", "claude-next"),
            ("", ""),
            ("/", ""),
        ] {
            assert_eq!(plain(model), want, "{model}");
        }
    }

    #[test]
    fn patterns_end_where_a_version_does() {
        for (pattern, name, want) in [
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", true),
            ("gpt-5", "gpt-5-2025-08-07", true),
            ("gpt-5", "gpt-5.1", false),
            ("gpt-5", "gpt-50", false),
            ("gpt-4", "gpt-4-0613", true),
            ("gpt-4", "gpt-4-32k", true),
            ("claude-opus-4", "claude-opus-4-9", false),
            ("o1", "o1-mini", true),
            ("o1", "o10", false),
            ("gpt-*-search", "gpt-4o-mini-search-preview", true),
            ("gpt-*-search", "gpt-4o", false),
            ("gemini-3*-pro", "gemini-3.1-pro-preview", true),
            ("gemini-3*-pro", "gemini-3.1-prose", false),
            ("gemini-*", "gemini-9", true),
            ("gemini-*", "gemma", false),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }
}
