//! What is wrong with a configuration, and where: a place in the tree, a file and a line, one sentence. Never a value.

use std::fmt;
use std::path::PathBuf;

pub use crate::route::nearest;

/// A place in the configuration: `model_list[3].litellm_params.timeout`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Vec<Step>);

/// One step of a [`Place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a map, by key.
    Key(String),
    /// Into a list, by position.
    Index(usize),
}

impl Place {
    /// The root of the configuration.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The place of `key` in the map that stands here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The place of the element at `index` (from 0) in the list that stands here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// The steps from the root.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Where this place is when everything at `from` is at `to`.
    #[must_use]
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(from.0.as_slice())?;
        Some(Self([to.0.as_slice(), rest].concat()))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", shown(key))?;
                }
            }
        }
        Ok(())
    }
}

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place in the configuration; empty when it is about a whole file.
    pub path: String,
    /// The file and the line, from 1.
    pub at: Option<(PathBuf, usize)>,
    /// What is wrong and what would be right; never the value of anything that can be a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.at {
            write!(f, "{}:{line}: ", file.display())?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that keeps a configuration from being used, in the order of discovery. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let end_of_last = if position == 0 { "" } else { "\n" };
            write!(f, "{end_of_last}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A name from the configuration as it can stand in a message: short, on one line, without control characters.
#[must_use]
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::new();
    for (position, char) in name.chars().enumerate() {
        if position == LONGEST {
            out.push('…');
            break;
        }
        if char.is_control() {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["timeout", "stream_timeout", "rpm", "tpm"];
        assert_eq!(nearest("time_out", names), Some("timeout"));
        assert_eq!(nearest("stream-timeout", names), Some("stream_timeout"));
        assert_eq!(nearest("TIMEOUT", names), Some("timeout"));
        assert_eq!(nearest("seed", names), None);
        assert_eq!(nearest("x", names), None);
    }

    #[test]
    fn places_and_problems_read_well() {
        let place = Place::root().key("model_list").index(3).key("litellm_params").key("time\nout");
        let problem = Problem {
            path: place.to_string(),
            at: Some((PathBuf::from("a.yaml"), 7)),
            message: "must be more than 0".to_owned(),
        };
        assert_eq!(problem.to_string(), "a.yaml:7: model_list[3].litellm_params.time\\nout: must be more than 0");
        assert_eq!(Problems(vec![problem.clone(), problem]).to_string().lines().count(), 2);
    }
}
