//! What a conversion could not keep. Nothing is left out without a [`Loss`]; whether a loss is told or refused is the
//! operator's choice.

use std::borrow::Cow;

use super::chat::{Foreign, Rest};

/// One thing that the upstream does not get as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The request's field: `seed`, `messages[2].content[0]`, `tools.search`.
    pub field: Cow<'static, str>,
    /// What became of it, for people: `Anthropic has no such setting`.
    pub why: Cow<'static, str>,
}

/// What to do about losses: `feathergate.on_loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Any loss is a 400.
    Reject,
    /// A lost setting is reported; lost content is a 400.
    #[default]
    Report,
    /// Everything is reported and nothing refused. Also what `drop_params` means.
    Lenient,
}

/// Content that cannot be sent, for the client: a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsendable {
    /// A sentence.
    pub message: String,
    /// The field at fault.
    pub field: String,
}

/// Gathers the losses of one request.
#[derive(Debug, Default)]
pub struct Losses {
    policy: OnLoss,
    /// The client's names of fields that encoders know by another.
    names: &'static [(&'static str, &'static str)],
    list: Vec<Loss>,
}

/// The most that is kept: a hostile request must not make a header or a log line of any length.
const MOST: usize = 64;

impl Losses {
    /// None yet, under this policy.
    #[must_use]
    pub fn new(policy: OnLoss) -> Self {
        Self { policy, names: &[], list: Vec::new() }
    }

    /// The same, with the names that the client has for fields: `(an encoder's, the client's)`.
    #[must_use]
    pub fn named(self, names: &'static [(&'static str, &'static str)]) -> Self {
        Self { names, ..self }
    }

    fn name(&self, field: Cow<'static, str>) -> Cow<'static, str> {
        self.names.iter().find(|(name, _)| *name == field).map_or(field, |(_, name)| Cow::Borrowed(*name))
    }

    /// A setting is left out or changed. The same field is told once.
    pub fn setting(&mut self, field: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) {
        let field = self.name(field.into());
        if self.list.len() < MOST && self.list.iter().all(|loss| loss.field != field) {
            self.list.push(Loss { field, why: why.into() });
        }
    }

    /// Content is left out: a part, a tool, a schema that the answer must follow.
    ///
    /// # Errors
    /// The refusal, unless the policy is [`OnLoss::Lenient`].
    pub fn content(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<(), Unsendable> {
        let (field, why) = (self.name(field.into()), why.into());
        if self.policy != OnLoss::Lenient {
            return Err(Unsendable { message: format!("`{field}` cannot be sent: {why}"), field: field.into_owned() });
        }
        self.setting(field, why);
        Ok(())
    }

    /// Fields that the upstream has nothing like.
    ///
    /// # Errors
    /// As [`Losses::content`]'s.
    pub(super) fn rest(&mut self, rest: &[Rest<'_>], why: &'static str) -> Result<(), Unsendable> {
        rest.iter().try_for_each(|rest| self.lost(rest.content, rest.name.as_str().to_owned(), why))
    }

    /// A part that the upstream does not know.
    ///
    /// # Errors
    /// As [`Losses::content`]'s.
    pub(super) fn foreign(&mut self, part: &Foreign<'_>, why: String) -> Result<(), Unsendable> {
        self.lost(!part.droppable, part.at.to_string(), why)
    }

    fn lost(&mut self, content: bool, field: String, why: impl Into<Cow<'static, str>>) -> Result<(), Unsendable> {
        if content {
            return self.content(field, why);
        }
        self.setting(field, why);
        Ok(())
    }

    /// The list, when all is done.
    ///
    /// # Errors
    /// The refusal that names them all, if there is one and the policy is [`OnLoss::Reject`].
    pub fn settle(self) -> Result<Vec<Loss>, Unsendable> {
        match self.list.first() {
            Some(first) if self.policy == OnLoss::Reject => {
                let all: Vec<String> =
                    self.list.iter().map(|loss| format!("`{}` ({})", loss.field, loss.why)).collect();
                let message = format!("the model's upstream cannot express {}; `on_loss` is `reject`", all.join(", "));
                Err(Unsendable { message, field: first.field.to_string() })
            }
            _ => Ok(self.list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides() {
        let run = |policy| {
            let mut losses = Losses::new(policy);
            losses.setting("seed", "no such setting");
            losses.setting("seed", "no such setting");
            let content = losses.content("messages[0].content[1]", "no sound");
            (content.is_ok(), losses.settle().map(|list| list.len()))
        };
        assert_eq!(run(OnLoss::Report), (false, Ok(1)));
        assert_eq!(run(OnLoss::Lenient), (true, Ok(2)));
        let (content, refused) = run(OnLoss::Reject);
        assert!(!content && refused.unwrap_err().message.contains("`seed` (no such setting)"));
    }
}
