//! References in the strings of a configuration: environment variables (`os.environ/NAME`, `${NAME}`, `${NAME:-default}`)
//! and Parameter Store (`ssm:/path`, ARNs). Pure: the environment comes in as a function, nothing is fetched, and no
//! message holds a value.

use super::problem::shown;
use super::raw::Node;
use super::secret::{ParameterName, Secret, Text};

/// A string after its references were looked at, with its spaces untouched. See [`Text`] for the trimmed, secret kind.
#[derive(Clone)]
pub enum Value {
    /// Known now.
    Known(String),
    /// In Parameter Store.
    Parameter(ParameterName),
    /// This environment variable is not set, or is empty.
    Unset(String),
}

impl Value {
    /// The same as a [`Text`].
    #[must_use]
    pub fn into_text(self) -> Text {
        match self {
            Self::Known(text) => Text::Known(Secret::new(&text)),
            Self::Parameter(name) => Text::Parameter(name),
            Self::Unset(name) => Text::Unset(name),
        }
    }
}

/// The environment as the configuration sees it: the entries of `environment_variables` over those of the process.
pub struct Variables<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    own: &'a [(String, Node)],
}

impl<'a> Variables<'a> {
    /// `own` are the entries of `environment_variables`.
    #[must_use]
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>, own: &'a [(String, Node)]) -> Self {
        Self { env, own }
    }

    /// The variable `name`. Its value may be an SSM reference.
    ///
    /// # Errors
    /// One sentence, if the value is a reference that is not well-formed.
    pub fn get(&self, name: &str) -> Result<Value, String> {
        self.look_up(name, &mut Vec::new())
    }

    /// Replaces the references in `text`.
    ///
    /// # Errors
    /// One sentence, if a reference is not well-formed or cannot stand where it does.
    pub fn expand(&self, text: &str) -> Result<Value, String> {
        self.expand_within(text, &mut Vec::new())
    }

    /// `open` are the entries of `environment_variables` that are being looked at: named again, they mean the process's
    /// own variable, so that `X: os.environ/X` is no circle.
    fn look_up(&self, name: &str, open: &mut Vec<String>) -> Result<Value, String> {
        let entry = self.own.iter().rev().find(|(key, _)| key == name).filter(|_| !open.iter().any(|key| key == name));
        let value = match entry {
            Some((_, Node::Text(text))) => {
                open.push(name.to_owned());
                let value = self.expand_within(text, open);
                open.pop();
                value?
            }
            Some((_, Node::Bool(value))) => Value::Known(value.to_string()),
            Some((_, Node::Int(value))) => Value::Known(value.to_string()),
            Some((_, Node::Float(value))) => Value::Known(value.to_string()),
            Some((_, Node::Null | Node::List(_) | Node::Map(_))) => Value::Unset(name.to_owned()),
            None => match (self.env)(name) {
                Some(value) => parameter(&value)?.map_or(Value::Known(value), Value::Parameter),
                None => Value::Unset(name.to_owned()),
            },
        };
        Ok(match value {
            Value::Known(text) if text.trim().is_empty() => Value::Unset(name.to_owned()),
            value @ (Value::Known(_) | Value::Parameter(_) | Value::Unset(_)) => value,
        })
    }

    fn expand_within(&self, text: &str, open: &mut Vec<String>) -> Result<Value, String> {
        if let Some(name) = text.trim().strip_prefix("os.environ/") {
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=') {
                return Err("`os.environ/` must be followed by the name of a variable and nothing else".to_owned());
            }
            return self.look_up(name, open);
        }
        let value = self.interpolate(text, open)?;
        match value {
            Value::Known(text) => Ok(parameter(&text)?.map_or(Value::Known(text), Value::Parameter)),
            value @ (Value::Parameter(_) | Value::Unset(_)) => Ok(value),
        }
    }

    /// Replaces each `${…}`; `$${` stands for `${`.
    fn interpolate(&self, text: &str, open: &mut Vec<String>) -> Result<Value, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut unset = None;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            let Some((inside, after)) = after.split_once('}') else {
                return Err("`${` has no `}` after it; write `$${` for a plain `${`".to_owned());
            };
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, text)| (name, Some(text)));
            if !is_name(name) {
                return Err("`${` must be followed by the name of a variable; write `$${` for a plain `${`".to_owned());
            }
            let alone = before.is_empty() && out.is_empty() && after.is_empty();
            out.push_str(before);
            match (self.look_up(name, open)?, default) {
                (Value::Known(value), _) => out.push_str(&value),
                (Value::Parameter(parameter), _) if alone => return Ok(Value::Parameter(parameter)),
                (Value::Parameter(_), _) => {
                    return Err(format!(
                        "the variable `{name}` refers to an SSM parameter, which can only be a whole value; let the \
                         parameter hold the whole value"
                    ));
                }
                (Value::Unset(_), Some(default)) => out.push_str(default),
                (Value::Unset(name), None) => unset = unset.or(Some(name)),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(unset.map_or(Value::Known(out), Value::Unset))
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The parameter that `text` refers to, if it is such a reference.
fn parameter(text: &str) -> Result<Option<ParameterName>, String> {
    let text = text.trim();
    let name = match text.strip_prefix("ssm:") {
        Some(name) => name,
        None if text.starts_with("arn:") && text.split(':').nth(2) == Some("ssm") => text,
        None => return Ok(None),
    };
    ParameterName::parse(name).map(Some).map_err(|sentence| shown_sentence(&sentence))
}

/// A sentence that quotes what the file says, made fit for one line.
fn shown_sentence(sentence: &str) -> String {
    sentence.split_inclusive(' ').map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: Result<Value, String>) -> String {
        match value {
            Ok(Value::Known(text)) => text,
            Ok(Value::Parameter(name)) => format!("<ssm {}>", name.as_str()),
            Ok(Value::Unset(name)) => format!("<unset {name}>"),
            Err(error) => format!("<error {error}>"),
        }
    }

    #[test]
    fn references() {
        let env = |name: &str| match name {
            "KEY" => Some("sk-value".to_owned()),
            "EMPTY" => Some(String::new()),
            "SSM" => Some("ssm:/app/key:3".to_owned()),
            "SELF" => Some("from the process".to_owned()),
            "BAD" => Some("ssm:app/key".to_owned()),
            _ => None,
        };
        let own = [
            ("OWN".to_owned(), Node::Text("own ${KEY}".to_owned())),
            ("SELF".to_owned(), Node::Text("os.environ/SELF".to_owned())),
            ("A".to_owned(), Node::Text("${B}".to_owned())),
            ("B".to_owned(), Node::Text("os.environ/A".to_owned())),
            ("N".to_owned(), Node::Int(30)),
            ("P".to_owned(), Node::Text("ssm:/p".to_owned())),
            ("NONE".to_owned(), Node::Null),
        ];
        let variables = Variables::new(&env, &own);
        for (text, want) in [
            ("plain", "plain"),
            (" kept ", " kept "),
            ("os.environ/KEY", "sk-value"),
            ("os.environ/MISSING", "<unset MISSING>"),
            ("os.environ/EMPTY", "<unset EMPTY>"),
            ("os.environ/SSM", "<ssm /app/key:3>"),
            ("os.environ/OWN", "own sk-value"),
            ("os.environ/SELF", "from the process"),
            ("os.environ/A", "<unset A>"),
            ("os.environ/N", "30"),
            ("os.environ/P", "<ssm /p>"),
            ("os.environ/NONE", "<unset NONE>"),
            ("see os.environ/KEY", "see os.environ/KEY"),
            ("os.environ/", "<error `os.environ/` must be followed by the name of a variable and nothing else>"),
            ("${KEY}", "sk-value"),
            ("a${KEY}b${N}c", "ask-valueb30c"),
            ("${MISSING:-d:e}", "d:e"),
            ("${EMPTY:-d}", "d"),
            ("${MISSING:-}", ""),
            ("${MISSING}", "<unset MISSING>"),
            ("x ${MISSING} ${KEY}", "<unset MISSING>"),
            ("$${KEY} $x $", "${KEY} $x $"),
            ("$${KEY} ${KEY}", "${KEY} sk-value"),
            ("${KEY", "<error `${` has no `}` after it; write `$${` for a plain `${`>"),
            ("${a b}", "<error `${` must be followed by the name of a variable; write `$${` for a plain `${`>"),
            ("ssm:/a/b", "<ssm /a/b>"),
            ("ssm:/a/b:3", "<ssm /a/b:3>"),
            ("ssm:name:label", "<ssm name:label>"),
            ("ssm:/a/${N}/c", "<ssm /a/30/c>"),
            ("${SSM}", "<ssm /app/key:3>"),
            ("${MISSING:-ssm:/d}", "<ssm /d>"),
            (
                "arn:aws:ssm:eu-west-1:123456789012:parameter/a/b",
                "<ssm arn:aws:ssm:eu-west-1:123456789012:parameter/a/b>",
            ),
            ("arn:aws:iam::1:role/x", "arn:aws:iam::1:role/x"),
            ("ssm:", "<error the name of the SSM parameter is empty>"),
            ("os.environ/BAD", "<error the SSM parameter `app/key` has a path, so it must start with `/`>"),
            (
                "Bearer ${SSM}",
                "<error the variable `SSM` refers to an SSM parameter, which can only be a whole value; let the \
                 parameter hold the whole value>",
            ),
        ] {
            assert_eq!(show(variables.expand(text)), want, "{text}");
        }
    }
}
