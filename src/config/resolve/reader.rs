//! Typed reads from the tree, each with its sentence for what does not fit. Collects the problems.

use std::time::Duration;

use super::super::problem::{Place, Problem, shown};
use super::super::raw::{Document, Node};
use super::super::reference::{Value, Variables};

/// Reads a document and gathers what is wrong with it.
pub(super) struct Reader<'a> {
    document: &'a Document,
    variables: Variables<'a>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    notes: Vec<Problem>,
    unset: Vec<Unset>,
    moved: Vec<(Place, Place)>,
}

/// A variable for a key that is not set: one warning, however many entries need it.
struct Unset {
    variable: String,
    place: Place,
    groups: Vec<String>,
}

const VARIABLES: &str = "environment_variables";

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let own = match document.root().get(VARIABLES) {
            Some(Node::Map(entries)) => entries.as_slice(),
            Some(Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_)) | None => {
                &[]
            }
        };
        let variables = Variables::new(env, own);
        let (errors, warnings, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { document, variables, errors, warnings, notes, unset: Vec::new(), moved: Vec::new() }
    }

    /// The errors and the warnings.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        // A setting for all entries is looked at with each of them.
        let mut seen = std::collections::HashSet::new();
        self.errors.retain(|problem| seen.insert(problem.to_string()));
        for Unset { variable, place, groups } in std::mem::take(&mut self.unset) {
            let names: Vec<String> = groups.iter().take(3).map(|group| format!("`{}`", shown(group))).collect();
            let more = match groups.len().saturating_sub(names.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "the environment variable `{}` is not set; calls to {}{more} fail until it is",
                shown(&variable),
                names.join(", ")
            );
            self.warn(&place, message);
        }
        let mut seen = std::collections::HashSet::new();
        self.warnings.retain(|problem| seen.insert(problem.to_string()));
        (self.errors, self.warnings)
    }

    /// What is said about `from` from here on is said about `to`, where it is written.
    pub(super) fn moved(&mut self, from: Place, to: Place) {
        self.moved.push((from, to));
    }

    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.errors.push(self.problem(place, message.into()));
    }

    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(self.problem(place, message.into()));
    }

    /// Notes what is worth knowing and nothing to warn of.
    pub(super) fn note(&mut self, place: &Place, message: impl Into<String>) {
        self.notes.push(self.problem(place, message.into()));
    }

    /// What was noted.
    pub(super) fn notes(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.notes)
    }

    fn problem(&self, place: &Place, message: String) -> Problem {
        let place = self.moved.iter().find_map(|(from, to)| place.moved(from, to)).unwrap_or_else(|| place.clone());
        let place = &place;
        Problem { path: place.to_string(), at: self.document.at(place), message }
    }

    pub(super) fn unset_error(&mut self, place: &Place, variable: &str) {
        let variable = shown(variable);
        let default = format!("${{{variable}:-default}}");
        let message =
            format!("the environment variable `{variable}` is not set; set it, or give a default: `{default}`");
        self.error(place, message);
    }

    /// Notes that the key of a deployment of `group` is to come from a variable that is not set.
    pub(super) fn unset_key(&mut self, place: &Place, variable: &str, group: &str) {
        match self.unset.iter_mut().find(|unset| unset.variable == variable) {
            Some(unset) if unset.groups.iter().any(|name| name == group) => {}
            Some(unset) => unset.groups.push(group.to_owned()),
            None => self.unset.push(Unset {
                variable: variable.to_owned(),
                place: place.clone(),
                groups: vec![group.to_owned()],
            }),
        }
    }

    /// Checks `environment_variables` itself.
    pub(super) fn environment(&mut self) {
        let place = Place::root().key(VARIABLES);
        for (name, node) in self.section(VARIABLES) {
            let place = place.key(name);
            match node {
                Node::Text(_) => match self.variables.get(name) {
                    Ok(_) => {}
                    Err(message) => self.error(&place, message),
                },
                Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) => {}
                Node::List(_) | Node::Map(_) => {
                    self.error(&place, format!("is {}, but must be a string", node.kind()));
                }
            }
        }
    }

    /// The entries of a top-level map.
    pub(super) fn section(&mut self, name: &str) -> &'a [(String, Node)] {
        let document = self.document;
        let place = Place::root().key(name);
        document.root().get(name).map_or(&[], |node| self.map(&place, node))
    }

    /// The entries of a map. Nothing is an empty one.
    pub(super) fn map<'n>(&mut self, place: &Place, node: &'n Node) -> &'n [(String, Node)] {
        match node {
            Node::Map(entries) => entries,
            Node::Null => &[],
            Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => {
                self.error(place, format!("is {}, but must be a map", node.kind()));
                &[]
            }
        }
    }

    /// A key of a top-level map, if it is set.
    pub(super) fn setting(&self, section: &str, key: &str) -> Option<(Place, &'a Node)> {
        let node = self.document.root().get(section)?.get(key).filter(|node| **node != Node::Null)?;
        Some((Place::root().key(section).key(key), node))
    }

    /// A key of routing, if it is set: `router_settings` wins over `litellm_settings`.
    pub(super) fn routing(&mut self, key: &str) -> Option<(Place, &'a Node)> {
        let (router, litellm) = (self.setting("router_settings", key), self.setting("litellm_settings", key));
        if let (Some(_), Some((place, _))) = (&router, &litellm) {
            self.warn(place, format!("`router_settings.{key}` counts, and not this"));
        }
        router.or(litellm)
    }

    /// A top-level key, set or not.
    pub(super) fn top(&self, key: &str) -> Option<&'a Node> {
        self.document.root().get(key)
    }

    /// An environment variable that is looked at without being named, if it is set. `place` is where it would count.
    pub(super) fn variable(&mut self, place: &Place, name: &str) -> Option<Value> {
        match self.variables.get(name) {
            Ok(Value::Unset(_)) => None,
            Ok(value @ (Value::Known(_) | Value::Parameter(_))) => Some(value),
            Err(message) => {
                self.error(place, format!("the environment variable `{name}`: {message}"));
                None
            }
        }
    }

    /// A string that may be an SSM reference or a variable that is not set.
    pub(super) fn text(&mut self, place: &Place, node: &Node) -> Option<Value> {
        let wrong = match node {
            Node::Text(text) => match self.variables.expand(text) {
                Ok(value) => return Some(value),
                Err(message) => message,
            },
            Node::Bool(_) | Node::Int(_) | Node::Float(_) => {
                format!("is {}, but must be a string; put it in quotes", node.kind())
            }
            Node::Null | Node::List(_) | Node::Map(_) => format!("is {}, but must be a string", node.kind()),
        };
        self.error(place, wrong);
        None
    }

    /// As [`Reader::text`], but a variable that is not set is an error.
    pub(super) fn set_text(&mut self, place: &Place, node: &Node) -> Option<Value> {
        match self.text(place, node)? {
            Value::Unset(name) => {
                self.unset_error(place, &name);
                None
            }
            value @ (Value::Known(_) | Value::Parameter(_)) => Some(value),
        }
    }

    /// The node with its references replaced, where only environment variables can stand.
    pub(super) fn plain(&mut self, place: &Place, node: &Node) -> Option<Node> {
        let Node::Text(_) = node else { return Some(node.clone()) };
        match self.set_text(place, node)? {
            Value::Known(text) => Some(Node::Text(text)),
            Value::Parameter(_) | Value::Unset(_) => {
                self.error(
                    place,
                    "an SSM parameter cannot stand here; it can in `api_key`, `api_base`, `api_version`, `organization`, \
                     the values of `extra_headers` and `general_settings.master_key`",
                );
                None
            }
        }
    }

    /// A string that is needed now.
    pub(super) fn string(&mut self, place: &Place, node: &Node) -> Option<String> {
        match self.plain(place, node)? {
            Node::Text(text) => Some(text),
            Node::Int(number) => Some(number.to_string()),
            Node::Float(number) => Some(number.to_string()),
            other @ (Node::Null | Node::Bool(_) | Node::List(_) | Node::Map(_)) => {
                self.error(place, format!("is {}, but must be a string", other.kind()));
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, place: &Place, node: &Node) -> Option<bool> {
        let node = self.plain(place, node)?;
        if let Node::Bool(value) = node {
            return Some(value);
        }
        if let Node::Text(text) = &node {
            // litellm's parser knows YAML 1.1, where these words are booleans without quotes.
            match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => return Some(true),
                "false" | "no" | "off" | "0" => return Some(false),
                _ => {}
            }
        }
        self.error(place, format!("is {}, but must be `true` or `false`", node.kind()));
        None
    }

    pub(super) fn number(&mut self, place: &Place, node: &Node) -> Option<f64> {
        let node = self.plain(place, node)?;
        let number = match &node {
            #[expect(clippy::cast_precision_loss, reason = "no setting needs more than 53 bits")]
            Node::Int(number) => Some(*number as f64),
            Node::Float(number) => Some(*number),
            Node::Text(text) => text.trim().replace('_', "").parse().ok(),
            Node::Null | Node::Bool(_) | Node::List(_) | Node::Map(_) => None,
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.error(place, format!("is {}, but must be a number", node.kind()));
        }
        number
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, place: &Place, node: &Node) -> Option<u64> {
        let number = self.number(place, node)?;
        if number >= 0.0 && number.fract() == 0.0 && number < 9.0e15 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked on the line above")]
            return Some(number as u64);
        }
        self.error(place, "must be a whole number, 0 or more");
        None
    }

    /// As [`Reader::count`], for numbers that nobody needs large.
    pub(super) fn small(&mut self, place: &Place, node: &Node) -> Option<u32> {
        let number = u32::try_from(self.count(place, node)?);
        if number.is_err() {
            self.error(place, "must be less than 4294967296");
        }
        number.ok()
    }

    /// As [`Reader::count`], for a value whose errors are told elsewhere.
    pub(super) fn quiet_count(&mut self, node: &Node) -> Option<u64> {
        let errors = self.errors.len();
        let found = self.count(&Place::root(), node);
        self.errors.truncate(errors);
        found
    }

    /// A tree with its references replaced; what cannot be is nothing, and its errors are told elsewhere.
    pub(super) fn quiet_plain(&mut self, node: &Node) -> Node {
        match node {
            Node::Text(_) => {
                let errors = self.errors.len();
                let found = self.plain(&Place::root(), node);
                self.errors.truncate(errors);
                found.unwrap_or(Node::Null)
            }
            Node::List(elements) => Node::List(elements.iter().map(|node| self.quiet_plain(node)).collect()),
            Node::Map(entries) => {
                Node::Map(entries.iter().map(|(key, node)| (key.clone(), self.quiet_plain(node))).collect())
            }
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) => node.clone(),
        }
    }

    pub(super) fn megabytes(&mut self, place: &Place, node: &Node) -> Option<usize> {
        let number = self.number(place, node)?;
        if number > 0.0 && number <= 4096.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked on the line above")]
            return Some((number * 1_048_576.0) as usize);
        }
        self.error(place, "must be a number of megabytes, more than 0 and at most 4096");
        None
    }

    /// Seconds, or a number with a unit. More than nothing.
    pub(super) fn duration(&mut self, place: &Place, node: &Node) -> Option<Duration> {
        const WRONG: &str = "must be more than 0";
        let time = self.time(place, node, WRONG)?;
        if time.is_zero() {
            self.error(place, WRONG);
            return None;
        }
        Some(time)
    }

    /// The same in milliseconds; can be nothing.
    pub(super) fn wait(&mut self, place: &Place, node: &Node) -> Option<u64> {
        let time = self.time(place, node, "must be 0 or more")?;
        Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    fn time(&mut self, place: &Place, node: &Node, negative: &str) -> Option<Duration> {
        const WANTED: &str = "must be a time in seconds, or with a unit: `30`, `0.5`, `500ms`, `30s`, `2m`, `1h`";
        let node = self.plain(place, node)?;
        let seconds = match &node {
            #[expect(clippy::cast_precision_loss, reason = "a time beyond 53 bits is refused below")]
            Node::Int(number) => Some(*number as f64),
            Node::Float(number) => Some(*number),
            Node::Text(text) => seconds(text.trim()),
            Node::Null | Node::Bool(_) | Node::List(_) | Node::Map(_) => {
                self.error(place, format!("is {}, but {WANTED}", node.kind()));
                return None;
            }
        };
        let Some(seconds) = seconds else {
            self.error(place, WANTED);
            return None;
        };
        // A hundred years: later sums of times cannot overflow.
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if seconds < 3.2e9 => Some(duration),
            Ok(_) | Err(_) => {
                self.error(place, if seconds < 0.0 { negative } else { "is longer than a hundred years" });
                None
            }
        }
    }
}

fn seconds(text: &str) -> Option<f64> {
    let start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(start)?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    number.trim().replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

/// The elements of a list, or the one value that stands for a list of itself. Nothing is an empty list.
pub(super) fn elements<'n>(place: &Place, node: &'n Node) -> Vec<(Place, &'n Node)> {
    match node {
        Node::Null => Vec::new(),
        Node::List(elements) => {
            elements.iter().enumerate().map(|(index, element)| (place.index(index), element)).collect()
        }
        Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::Map(_) => vec![(place.clone(), node)],
    }
}
