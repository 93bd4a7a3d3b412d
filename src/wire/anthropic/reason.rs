//! Reasoning, limits and sampling: what a Claude model takes of them (model pages and recorded traffic, 2026-11).

use crate::wire::chat::{Effort, Request, Thinking};
use crate::wire::loss::Losses;
use crate::wire::profile::{Control, Profile, Sampling, effort_of};
use crate::wire::text::Writer;

/// Above it the official clients refuse to wait for an answer that is not streamed (2026-11).
const LONGEST_BUFFERED: u64 = 21_333;
/// For a model of which nothing is known.
const UNKNOWN_LIMIT: u64 = 32_000;
/// The least budget that the API takes.
const LEAST_BUDGET: u64 = 1024;

/// The `max_tokens` that is sent: the API demands one.
pub(super) fn limit(request: &Request<'_>, profile: &Profile, losses: &mut Losses) -> u64 {
    match (request.max_tokens, profile.max_output) {
        // The model's ceiling is not ours to enforce, unless the operator wants requests bent until they fit.
        (Some(asked), Some(most))
            if asked > most
                && losses.content("max_tokens", format!("the model writes at most {most} tokens")).is_ok() =>
        {
            most
        }
        (Some(asked), _) => asked,
        (None, _) => unbounded(profile, request.stream),
    }
}

/// The `max_tokens` of a request without a bound of its own.
pub(in crate::wire) fn unbounded(profile: &Profile, stream: bool) -> u64 {
    let most = profile.max_output.unwrap_or(UNKNOWN_LIMIT);
    if stream { most } else { most.min(LONGEST_BUFFERED) }
}

/// How reasoning is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing is said.
    Unset,
    /// `disabled`
    Off,
    /// `enabled` with so many tokens.
    Budget(u64),
    /// `adaptive`
    Adaptive,
}

/// What is sent of reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) effort: Option<Effort>,
    shown: Option<bool>,
}

impl Plan {
    /// Whether the model is told to reason.
    pub(super) fn thinks(&self) -> bool {
        matches!(self.mode, Mode::Budget(_) | Mode::Adaptive)
    }

    /// Whether it is told to within a number of tokens.
    pub(super) fn budgeted(&self) -> bool {
        matches!(self.mode, Mode::Budget(_))
    }

    /// Writes `thinking`.
    pub(super) fn write(&self, out: &mut Writer) {
        let kind = match self.mode {
            Mode::Unset => return,
            Mode::Off => "disabled",
            Mode::Budget(_) => "enabled",
            Mode::Adaptive => "adaptive",
        };
        out.key("thinking").open('{').key("type").string(kind);
        if let Mode::Budget(tokens) = self.mode {
            out.key("budget_tokens").plain(tokens);
        }
        if let (true, Some(shown)) = (self.thinks(), self.shown) {
            out.key("display").string(if shown { "summarized" } else { "omitted" });
        }
        out.close('}');
    }
}

const FIELD: &str = "reasoning_effort";

/// Decides on reasoning. `lost` says that a tool loop is open whose thinking the client has lost: the API refuses to go on
/// with a budget then.
pub(super) fn plan(request: &Request<'_>, profile: &Profile, limit: u64, lost: bool, losses: &mut Losses) -> Plan {
    let asked = &request.reasoning;
    let mut plan = Plan { mode: Mode::Unset, effort: None, shown: asked.shown };
    if asked.mode.is_none() && asked.effort.is_none() {
        return plan;
    }
    match profile.thinking {
        Control::None => {
            if asked.wanted() {
                losses.setting(FIELD, "the model does not reason");
            }
        }
        Control::Budget => plan.mode = budgeted(request, profile, limit, losses),
        Control::Adaptive | Control::Level => plan.mode = adaptive(asked.mode),
        Control::Either => {
            plan.mode = match asked.mode {
                Some(Thinking::Budget(_)) => budgeted(request, profile, limit, losses),
                mode => adaptive(mode),
            };
        }
    }
    if plan.budgeted() && lost {
        losses.setting(FIELD, "the conversation lacks the thinking that its last tool calls began with");
        plan.mode = Mode::Unset;
    }
    let wish = match (asked.effort, asked.mode) {
        // Effort alone became a budget.
        (Some(_), None) if profile.thinking == Control::Budget => None,
        (Some(effort), _) => Some(effort),
        (None, Some(Thinking::Budget(tokens))) if plan.mode == Mode::Adaptive => Some(effort_of(tokens)),
        _ => None,
    };
    plan.effort = wish.and_then(|effort| fitting(effort, profile, losses));
    if plan.mode == Mode::Off {
        if !profile.thinking_off {
            losses.setting(FIELD, "the model always reasons");
            plan.mode = Mode::Unset;
            plan.effort = profile.efforts.first().copied();
        } else if plan.effort.is_some_and(|effort| effort > Effort::High) {
            // The API refuses more without thinking.
            plan.effort = Some(Effort::High);
        }
    }
    plan
}

fn adaptive(mode: Option<Thinking>) -> Mode {
    match mode {
        Some(Thinking::Off) => Mode::Off,
        _ => Mode::Adaptive,
    }
}

/// The mode of a model that takes a number of tokens only.
fn budgeted(request: &Request<'_>, profile: &Profile, limit: u64, losses: &mut Losses) -> Mode {
    let asked = match (request.reasoning.mode, request.reasoning.effort) {
        (Some(Thinking::Off), _) => return Mode::Unset,
        (Some(Thinking::Budget(tokens)), _) => tokens,
        // Effort is `high` where nobody says otherwise.
        (_, effort) => budget_of(effort.unwrap_or(Effort::High)),
    };
    let (least, most) = (profile.budget.0.max(LEAST_BUDGET), profile.budget.1);
    let tokens = asked.max(least).min(if most == 0 { u64::MAX } else { most }).min(limit.saturating_sub(1));
    if tokens < least {
        losses.setting(FIELD, format!("a limit of {limit} tokens leaves no room for reasoning"));
        return Mode::Unset;
    }
    if tokens != asked && matches!(request.reasoning.mode, Some(Thinking::Budget(_))) {
        losses.setting("thinking.budget_tokens", format!("{tokens} is what the model and the limit allow"));
    }
    Mode::Budget(tokens)
}

fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::Minimal => 1024,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16_384,
        Effort::Xhigh => 32_768,
        Effort::Max => 63_999,
    }
}

/// The nearest effort that the model takes. Minimal and low, and the two above high, stand for each other.
fn fitting(wish: Effort, profile: &Profile, losses: &mut Losses) -> Option<Effort> {
    let efforts = profile.efforts;
    if efforts.contains(&wish) {
        return Some(wish);
    }
    let twin = match wish {
        Effort::Minimal => Effort::Low,
        Effort::Xhigh => Effort::Max,
        Effort::Max => Effort::Xhigh,
        other => other,
    };
    if efforts.contains(&twin) {
        return Some(twin);
    }
    let near = profile.effort(wish);
    match near {
        Some(near) => losses.setting(FIELD, format!("`{}` is the nearest that the model takes", near.word())),
        // Older models have no such setting; what it asks for is in the budget.
        None if profile.thinking == Control::None => {}
        None => losses.setting(FIELD, "the model takes no effort"),
    }
    near
}

/// Writes `temperature`, `top_p` and `top_k`, as far as the model takes them.
pub(super) fn sampling(out: &mut Writer, request: &Request<'_>, profile: &Profile, thinks: bool, losses: &mut Losses) {
    let refused = match profile.sampling {
        Sampling::Free => None,
        Sampling::NotThinking => thinks.then_some("the model does not take it while it reasons"),
        Sampling::Refused => Some("the model does not take it"),
    };
    let mut temperature = request.temperature;
    if let Some(value) = temperature.filter(|value| *value > 1.0 && refused.is_none()) {
        losses.setting("temperature", format!("{value} is above 1, the most that the API takes"));
        temperature = Some(1.0);
    }
    let mut top_p = request.top_p;
    let mut top_k = request.top_k;
    if top_k.take_if(|_| !profile.top_k).is_some() {
        losses.setting("top_k", "the model takes no such setting");
    }
    if let Some(why) = refused {
        // While it reasons, these alone are taken.
        let same = profile.sampling == Sampling::NotThinking;
        if temperature.take_if(|value| !same || (*value - 1.0).abs() > f64::EPSILON).is_some() {
            losses.setting("temperature", why);
        }
        if top_p.take_if(|value| !same || *value < 0.95).is_some() {
            losses.setting("top_p", why);
        }
        if top_k.take().is_some() {
            losses.setting("top_k", why);
        }
    }
    if temperature.is_some() && !profile.both_samplings && top_p.take().is_some() {
        losses.setting("top_p", "the model does not take it together with `temperature`");
    }
    if let Some(value) = temperature {
        out.key("temperature").number(value);
    }
    if let Some(value) = top_p {
        out.key("top_p").number(value);
    }
    if let Some(value) = top_k {
        out.key("top_k").plain(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{newest, older, read, sent, sent_as};
    use super::*;
    use crate::wire::Operation;
    use crate::wire::chat::Reasoning;
    use crate::wire::loss::OnLoss;
    use serde_json::{Value, json};

    const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    fn asking(mode: Option<Thinking>, effort: Option<Effort>) -> Request<'static> {
        Request { reasoning: Reasoning { mode, effort, shown: None }, ..read(HI).unwrap() }
    }

    /// The model, the mode, the effort and the limit that are asked for; the thinking and the effort that are sent; and
    /// whether it is reported.
    type Asked<T> = (Profile, Option<Thinking>, Option<Effort>, Option<u64>, T, Option<&'static str>, bool);
    /// The same for sampling: temperature and `top_p`, `top_k`, what is sent, what is reported.
    type Sampled = (Profile, Option<Thinking>, [Option<f64>; 2], Option<u64>, Value, &'static [&'static str]);

    /// An older model that takes budgets and adaptive thinking alike.
    fn between() -> Profile {
        Profile {
            thinking: Control::Either,
            efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Max],
            sampling: Sampling::NotThinking,
            ..older()
        }
    }

    #[test]
    fn w41_w42_effort_and_budgets_in_the_words_of_each_model() {
        use Effort::{High, Low, Max, Medium, Minimal, Xhigh};
        use Thinking::{Adaptive, Budget, Off};
        let adaptive = json!({"type": "adaptive"});
        let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
        let off = json!({"type": "disabled"});
        let none = Value::Null;
        let never = Profile { thinking: Control::None, ..older() };
        let always = Profile { thinking_off: false, ..newest() };
        let efforts = Profile { efforts: &[Low, Medium, High], ..older() };
        let cases: Vec<Asked<&Value>> = vec![
            (newest(), None, None, None, &none, None, false),
            (newest(), None, Some(Minimal), None, &adaptive, Some("low"), false),
            (newest(), None, Some(Medium), None, &adaptive, Some("medium"), false),
            (newest(), None, Some(Max), None, &adaptive, Some("max"), false),
            (newest(), Some(Off), None, None, &off, None, false),
            (newest(), Some(Off), Some(Max), None, &off, Some("high"), false),
            (newest(), Some(Budget(1024)), None, None, &adaptive, Some("low"), false),
            (newest(), Some(Budget(2048)), None, None, &adaptive, Some("medium"), false),
            (newest(), Some(Budget(8192)), None, None, &adaptive, Some("high"), false),
            (newest(), Some(Budget(40_000)), None, None, &adaptive, Some("xhigh"), false),
            (newest(), Some(Adaptive), None, None, &adaptive, None, false),
            (newest(), Some(Adaptive), Some(Xhigh), None, &adaptive, Some("xhigh"), false),
            (always, Some(Off), None, None, &none, Some("low"), true),
            (between(), None, Some(Xhigh), None, &adaptive, Some("max"), false),
            (between(), Some(Off), None, None, &off, None, false),
            (between(), Some(Adaptive), Some(Minimal), None, &adaptive, Some("low"), false),
        ];
        let budgets: Vec<Asked<Value>> = vec![
            (between(), Some(Budget(3000)), None, Some(9000), budget(3000), None, false),
            (older(), None, Some(Minimal), Some(60_000), budget(1024), None, false),
            (older(), None, Some(Low), Some(60_000), budget(2048), None, false),
            (older(), None, Some(Medium), Some(60_000), budget(8192), None, false),
            (older(), None, Some(High), Some(60_000), budget(16_384), None, false),
            (older(), None, Some(Xhigh), Some(60_000), budget(32_768), None, false),
            (older(), None, Some(Max), Some(60_000), budget(59_999), None, false),
            (older(), None, Some(High), Some(4096), budget(4095), None, false),
            (older(), None, Some(High), Some(1024), none.clone(), None, true),
            (older(), None, Some(High), None, budget(16_384), None, false),
            (older(), Some(Adaptive), None, Some(60_000), budget(16_384), None, false),
            (older(), Some(Budget(128)), None, Some(60_000), budget(1024), None, true),
            (older(), Some(Budget(90_000)), None, Some(60_000), budget(59_999), None, true),
            (older(), Some(Off), None, None, none.clone(), None, false),
            (efforts, Some(Budget(2000)), Some(Max), Some(60_000), budget(2000), Some("high"), true),
            (efforts, None, Some(Low), Some(60_000), budget(2048), None, false),
            (never, None, Some(High), None, none.clone(), None, true),
            (never, Some(Off), None, None, none.clone(), None, false),
        ];
        let all = cases
            .into_iter()
            .map(|(profile, mode, effort, limit, thinking, word, told)| {
                (profile, mode, effort, limit, thinking.clone(), word, told)
            })
            .chain(budgets);
        for (profile, mode, effort, limit, thinking, word, told) in all {
            let request = Request { max_tokens: limit, ..asking(mode, effort) };
            let got = sent(&request, &profile);
            let case = format!("{:?} {mode:?} {effort:?} {limit:?}", profile.thinking);
            assert_eq!(got.body["thinking"], thinking, "{case}");
            assert_eq!(got.body["output_config"]["effort"].as_str(), word, "{case}");
            assert_eq!(!got.losses.is_empty(), told, "{case}: {:?}", got.losses);
            if let Some(tokens) = got.body["thinking"]["budget_tokens"].as_u64() {
                assert!((1024..got.body["max_tokens"].as_u64().unwrap()).contains(&tokens), "{case}");
            }
        }
    }

    #[test]
    fn w45_what_is_shown_is_the_clients_choice() {
        for (shown, want) in [(None, Value::Null), (Some(true), json!("summarized")), (Some(false), json!("omitted"))] {
            let reasoning = Reasoning { mode: Some(Thinking::Adaptive), effort: None, shown };
            let got = sent(&Request { reasoning, ..read(HI).unwrap() }, &newest());
            assert_eq!(got.body["thinking"]["display"], want);
        }
    }

    #[test]
    fn w39_the_limit_is_the_models_unless_the_client_says_less() {
        let unknown = Profile { max_output: None, ..newest() };
        for (profile, asked, stream, want) in [
            (newest(), None, true, 128_000),
            (newest(), None, false, 21_333),
            (older(), None, true, 64_000),
            (unknown, None, true, 32_000),
            (Profile { max_output: Some(4096), ..older() }, None, false, 4096),
            (newest(), Some(77), true, 77),
            // The API says itself that it is too much.
            (newest(), Some(500_000), true, 500_000),
        ] {
            let request = Request { max_tokens: asked, stream, ..read(HI).unwrap() };
            let got = sent(&request, &profile);
            assert_eq!(got.body["max_tokens"], want);
            assert!(got.losses.is_empty());
        }
        let request = Request { max_tokens: Some(500_000), ..read(HI).unwrap() };
        let got = sent_as(&request, &newest(), Operation::Generate, OnLoss::Lenient).unwrap();
        assert_eq!((got.body["max_tokens"].as_u64(), got.fields()), (Some(128_000), vec!["max_tokens"]));
    }

    #[test]
    fn w40_w43_sampling_as_each_model_takes_it() {
        let free = Profile { sampling: Sampling::Free, both_samplings: true, thinking: Control::None, ..older() };
        let thinking = Some(Thinking::Budget(2000));
        let cases: Vec<Sampled> = vec![
            (free, None, [Some(0.5), Some(0.9)], Some(3), json!([0.5, 0.9, 3]), &[]),
            (free, None, [Some(1.5), None], None, json!([1.0, null, null]), &["temperature"]),
            (older(), None, [Some(0.5), Some(0.9)], Some(3), json!([0.5, null, 3]), &["top_p"]),
            (older(), None, [None, Some(0.9)], None, json!([null, 0.9, null]), &[]),
            (older(), thinking, [Some(0.5), None], Some(3), json!([null, null, null]), &["temperature", "top_k"]),
            (older(), thinking, [Some(1.0), None], None, json!([1.0, null, null]), &[]),
            (older(), thinking, [None, Some(0.9)], None, json!([null, null, null]), &["top_p"]),
            (older(), thinking, [None, Some(0.97)], None, json!([null, 0.97, null]), &[]),
            (
                newest(),
                None,
                [Some(1.0), Some(0.9)],
                Some(3),
                json!([null, null, null]),
                &["temperature", "top_p", "top_k"],
            ),
        ];
        for (profile, mode, [temperature, top_p], top_k, want, told) in cases {
            let request = Request { temperature, top_p, top_k, max_tokens: Some(9000), ..asking(mode, None) };
            let got = sent(&request, &profile);
            let found = json!([got.body["temperature"], got.body["top_p"], got.body["top_k"]]);
            // `1` and `1.0` are one number.
            assert_eq!(found.to_string().replace("1,", "1.0,"), want.to_string(), "{temperature:?} {top_p:?}");
            assert_eq!(got.fields(), told);
        }
    }
}
