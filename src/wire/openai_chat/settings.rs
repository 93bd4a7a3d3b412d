//! The settings of a request for an upstream: reasoning, limits, sampling.

use super::encode::Form;
use crate::wire::chat::{Effort, Thinking};
use crate::wire::loss::Unsendable;
use crate::wire::profile::{Control, Limit, Reasons, Sampling, effort_of};
use crate::wire::text::Str;

impl Form<'_, '_, '_> {
    pub(super) fn reasoning(&mut self) {
        let reasoning = self.reasoning;
        match self.profile.thinking {
            Control::None => {
                if reasoning.wanted() {
                    self.losses.setting("reasoning_effort", "the model does not reason");
                }
            }
            Control::Level => {
                let word = self.effort();
                if let Some(word) = word
                    && let Some(out) = self.field("reasoning_effort")
                {
                    out.string(word);
                }
            }
            Control::Budget | Control::Adaptive | Control::Either => self.switch(),
        }
    }

    /// The word for the effort that is nearest to what was asked for.
    fn effort(&mut self) -> Option<&'static str> {
        let efforts = self.profile.efforts;
        let reasoning = self.reasoning;
        let wanted = match (reasoning.mode, reasoning.effort) {
            // What reasons when asked only need not be told.
            (Some(Thinking::Off), _) if self.profile.reasons == Reasons::WhenAsked => return None,
            (Some(Thinking::Off), _) if self.profile.thinking_off => return Some("none"),
            (Some(Thinking::Off), _) => {
                let least = efforts.first()?;
                self.losses
                    .setting("reasoning_effort", format!("the model always reasons; it gets `{}`", least.word()));
                return Some(least.word());
            }
            (_, Some(effort)) => effort,
            (Some(Thinking::Budget(budget)), None) => effort_of(budget),
            (Some(Thinking::Adaptive) | None, None) => return None,
        };
        // At most what was asked for; `max` is the most that there is.
        let found = self.profile.effort(wanted);
        if found.is_none() {
            self.losses.setting("reasoning_effort", "the model has no such setting");
        }
        found.map(Effort::word)
    }

    /// The switch of `DeepSeek`, z.ai, Moonshot and others.
    fn switch(&mut self) {
        let (mode, effort) = (self.reasoning.mode, self.reasoning.effort);
        let budgets = matches!(self.profile.thinking, Control::Budget | Control::Either);
        if mode == Some(Thinking::Off) && !self.profile.thinking_off {
            self.losses.setting("reasoning_effort", "the model always reasons");
            return;
        }
        if (mode.is_some() || effort.is_some())
            && let Some(out) = self.field("thinking")
        {
            out.open('{').key("type").string(if mode == Some(Thinking::Off) { "disabled" } else { "enabled" });
            if let Some(Thinking::Budget(budget)) = mode
                && budgets
            {
                out.key("budget_tokens").plain(budget);
            }
            out.close('}');
        }
        if effort.is_some()
            && !self.profile.efforts.is_empty()
            && let Some(word) = self.effort()
            && let Some(out) = self.field("reasoning_effort")
        {
            out.string(word);
        }
    }

    pub(super) fn limit(&mut self) {
        let Some(mut limit) = self.request.max_tokens else { return };
        if let Some(most) = self.profile.max_output.filter(|most| self.profile.known && *most < limit) {
            self.losses.setting("max_tokens", format!("the model writes at most {most}"));
            limit = most;
        }
        if self.request.native.iter().any(|(name, _)| matches!(&**name, "max_tokens" | "max_completion_tokens")) {
            return;
        }
        let name = match self.profile.limit {
            Limit::MaxTokens => "max_tokens",
            Limit::MaxCompletionTokens => "max_completion_tokens",
        };
        self.out.key(name).plain(limit);
    }

    pub(super) fn sampling(&mut self) -> Result<(), Unsendable> {
        let (request, profile) = (self.request, self.profile);
        let thinking = profile.reasoning(&self.reasoning);
        let taken = match profile.sampling {
            Sampling::Free => true,
            Sampling::NotThinking => !thinking,
            Sampling::Refused => false,
        };
        let both = request.temperature.is_none() || profile.both_samplings;
        self.number("temperature", request.temperature, taken);
        self.number("top_p", request.top_p, taken && both);
        // Of the vendors only OpenAI and Mistral refuse what they do not know.
        let top_k = request.top_k.filter(|_| taken && profile.top_k);
        match top_k {
            Some(top_k) => {
                if let Some(out) = self.field("top_k") {
                    out.plain(top_k);
                }
            }
            None if request.top_k.is_some() => self.losses.setting("top_k", "the upstream has no such setting"),
            None => {}
        }
        let penalties = taken && profile.penalties;
        self.number("frequency_penalty", request.frequency_penalty, penalties);
        self.number("presence_penalty", request.presence_penalty, penalties);
        if let Some(seed) = request.seed
            && let Some(out) = self.field(if profile.mistral { "random_seed" } else { "seed" })
        {
            out.plain(seed);
        }
        self.stop()?;
        if let Some(n) = request.n {
            if !profile.several {
                self.losses.content("n", "the model gives one answer at a time")?;
            } else if let Some(out) = self.field("n") {
                out.plain(n);
            }
        }
        if let Some(top) = request.logprobs {
            if !profile.logprobs || !taken {
                self.losses.content("logprobs", "the model gives no log probabilities")?;
            } else if let Some(out) = self.field("logprobs") {
                out.plain(true).key("top_logprobs").plain(top);
            }
        }
        Ok(())
    }

    fn number(&mut self, name: &'static str, value: Option<f64>, taken: bool) {
        let Some(value) = value else { return };
        if !taken {
            self.losses.setting(name, "the model has no such setting, or not while it reasons");
        } else if let Some(out) = self.field(name) {
            out.number(value);
        }
    }

    fn stop(&mut self) -> Result<(), Unsendable> {
        let stops = self.request.stop.iter().map(Str::as_str).filter(|stop| !stop.is_empty());
        let (count, most) = (stops.clone().count(), self.profile.stops);
        if count == 0 {
            return Ok(());
        }
        if count > most {
            let why = if most == 0 { "the model takes none".into() } else { format!("the model takes at most {most}") };
            self.losses.content("stop", why)?;
        }
        if most > 0
            && let Some(out) = self.field("stop")
        {
            out.strings(stops.take(most));
        }
        Ok(())
    }
}
