//! Strings that must not be seen, and strings that are only known once Parameter Store was asked.

use std::fmt::Write as _;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A secret string. It has no `Debug`, `Display` or `Serialize`, so no log line or error can hold it by accident; the one
/// way to the text is [`Secret::expose`], which is easy to search for. A clone is no copy.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text in. Surrounding whitespace (a trailing newline from `echo`, say) is never part of a key.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().into())
    }

    /// The text itself, to be put into a request and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn equals(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

/// The name of an SSM parameter with its optional selector: `/path`, `/path:3`, `/path:label`, or an ARN of those.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterName(String);

impl ParameterName {
    /// Accepts what `GetParameters` accepts (AWS SSM API reference, `PutParameter.Name`, 2026-11): letters, digits and
    /// `.-_/`, at most 15 levels, a leading `/` once there is a path, then optionally `:version` or `:label`; or an ARN.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, selector) = if text.starts_with("arn:") {
            // arn:partition:ssm:region:account:parameter/name[:selector]
            let parts: Vec<&str> = text.splitn(6, ':').collect();
            let [_, _, "ssm", _, _, resource] = parts.as_slice() else {
                return Err(format!("`{text}` is not the ARN of an SSM parameter"));
            };
            let Some(name) = resource.strip_prefix("parameter/") else {
                return Err(format!("`{text}` is not the ARN of an SSM parameter (`…:parameter/name`)"));
            };
            name.split_once(':').map_or((name, None), |(name, selector)| (name, Some(selector)))
        } else {
            text.split_once(':').map_or((text, None), |(name, selector)| (name, Some(selector)))
        };
        if name.trim_matches('/').is_empty() {
            return Err("the name of the SSM parameter is empty".to_owned());
        }
        if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !".-_/".contains(*c)) {
            return Err(format!(
                "`{bad}` cannot stand in the name of an SSM parameter (letters, digits and `.-_/` can)"
            ));
        }
        if !text.starts_with("arn:") && name.contains('/') && !name.starts_with('/') {
            return Err(format!("the SSM parameter `{name}` has a path, so it must start with `/`"));
        }
        if name.contains("//") || name.ends_with('/') {
            return Err(format!("the SSM parameter `{name}` has an empty level in its path"));
        }
        if name.matches('/').count() > 15 {
            return Err(format!("the SSM parameter `{name}` has more than 15 levels"));
        }
        match selector {
            Some("") => Err(format!("`{text}` ends with `:` but names no version or label")),
            Some(selector) if selector.contains(':') => Err(format!("`{text}` has more than one version or label")),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name or ARN without its selector, and the selector: a version or a label.
    #[must_use]
    pub fn split(&self) -> (&str, Option<&str>) {
        // An ARN has five colons of its own.
        let colons = if self.0.starts_with("arn:") { 5 } else { 0 };
        match self.0.match_indices(':').nth(colons) {
            Some((at, _)) => (self.0.get(..at).unwrap_or_default(), self.0.get(at + 1..)),
            None => (&self.0, None),
        }
    }

    /// The name as `GetParameters` takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A string of the configuration after its references were looked at. Environment variables are read when the file is
/// loaded; a parameter is fetched when a request first needs it.
#[derive(Clone)]
pub enum Text {
    /// Known: written out, or taken from the environment.
    Known(Secret),
    /// In Parameter Store.
    Parameter(ParameterName),
    /// The environment variable of this name is not set.
    Unset(String),
}

impl Text {
    /// The text if it needs no look-up.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(secret) => Some(secret.expose()),
            Self::Parameter(_) | Self::Unset(_) => None,
        }
    }

    /// Whether the two are the same text, or the same reference to one.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => one.equals(other.expose()),
            (Self::Parameter(one), Self::Parameter(other)) => one == other,
            (Self::Unset(one), Self::Unset(other)) => one == other,
            (Self::Known(_) | Self::Parameter(_) | Self::Unset(_), _) => false,
        }
    }
}

/// Says in one word-safe phrase where a secret should have come from; never the secret.
#[must_use]
pub fn describe(text: &Text) -> String {
    let mut out = String::new();
    match text {
        Text::Known(_) => out.push_str("a value in the configuration"),
        Text::Parameter(name) => _ = write!(out, "the SSM parameter `{}`", name.as_str()),
        Text::Unset(name) => _ = write!(out, "the environment variable `{name}`"),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_selectors() {
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/a/b";
        let cases = [
            ("/a/b".to_owned(), "/a/b", None),
            ("/a/b:3".to_owned(), "/a/b", Some("3")),
            ("plain:label".to_owned(), "plain", Some("label")),
            (arn.to_owned(), arn, None),
            (format!("{arn}:7"), arn, Some("7")),
        ];
        for (text, name, selector) in cases {
            assert_eq!(ParameterName::parse(&text).unwrap().split(), (name, selector));
        }
        for bad in ["", "/", "a/b", "/a//b", "/a/", "/a b", "/a:", "/a:1:2", "arn:aws:s3:::x", "arn:aws:ssm:r:1:x/y"] {
            assert!(ParameterName::parse(bad).is_err(), "{bad}");
        }
    }
}
