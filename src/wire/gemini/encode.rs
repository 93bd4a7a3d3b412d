//! Requests.

use super::contents;
use super::tools::{self, Tools};
use crate::wire::Operation;
use crate::wire::chat::{Effort, Format, Request, Thinking, Tier};
use crate::wire::convert::{Encoded, Upstream};
use crate::wire::envelope::Fields;
use crate::wire::loss::{Losses, Unsendable};
use crate::wire::profile::{Control, Profile, Sampling, effort_of};
use crate::wire::schema;
use crate::wire::text::{Json, Str, Writer};

/// Writes the body of `generateContent` and `streamGenerateContent`, or of `countTokens`. The model stands in the URL.
pub(super) fn encode(
    request: &Request<'_>,
    to: &Upstream<'_>,
    operation: Operation,
    losses: &mut Losses,
) -> Result<Encoded, Unsendable> {
    let tools = tools::plan(request, to.profile, losses)?;
    let mut out = Writer::with_capacity(contents::size(request));
    out.open('{');
    if operation == Operation::CountTokens {
        out.key("generateContentRequest").open('{');
        // The model stands in the URL as well, but without it here the answer is 400 (2026-08).
        let slash = if to.model.contains('/') { "" } else { "models/" };
        out.key("model").string(&format!("{slash}{}", to.model));
    }
    let mut written = vec!["contents"];
    let system = contents::write(request, to.profile, &mut out, losses)?;
    if !system.is_empty() {
        written.push("systemInstruction");
        out.key("systemInstruction").open('{').key("parts").open('[');
        for text in system {
            out.open('{').key("text").string(text).close('}');
        }
        out.close(']').close('}');
    }
    tools.write(&mut out, &mut written);
    if operation == Operation::CountTokens {
        out.close('}');
    } else {
        settings(request, to.profile, &tools, &mut out, &mut written, losses)?;
        native(request, &written, &mut out);
    }
    out.close('}');
    Ok(Encoded { body: out.into_bytes(), undo: tools.undo, betas: Vec::new() })
}

/// `generationConfig`, opened with its first key.
struct Config<'w, 's> {
    out: &'w mut Writer,
    names: Vec<&'s str>,
}

impl<'s> Config<'_, 's> {
    fn key(&mut self, name: &'s str) -> &mut Writer {
        if self.names.is_empty() {
            self.out.key("generationConfig").open('{');
        }
        self.names.push(name);
        self.out.foreign_key(name)
    }

    fn number(&mut self, name: &'s str, value: Option<f64>) {
        if let Some(value) = value {
            self.key(name).number(value);
        }
    }
}

fn settings(
    request: &Request<'_>,
    profile: &Profile,
    tools: &Tools<'_>,
    out: &mut Writer,
    written: &mut Vec<&'static str>,
    losses: &mut Losses,
) -> Result<(), Unsendable> {
    let mut config = Config { out: &mut *out, names: Vec::new() };
    if let Some(limit) = request.max_tokens {
        // What is known to be refused: clients made for models with larger answers ask for more.
        let most = profile.max_output.filter(|most| profile.known && limit > *most);
        if let Some(most) = most {
            losses.setting("max_tokens", format!("the model's answers have {most} tokens at most"));
        }
        config.key("maxOutputTokens").plain(most.unwrap_or(limit).min(i32::MAX.unsigned_abs().into()));
    }
    sampling(request, profile, &mut config, losses);
    stops(request, profile, &mut config, losses)?;
    several(request, profile, &mut config, losses)?;
    if let (true, Some(format)) = (tools.native_format, &request.format) {
        config.key("responseMimeType").string("application/json");
        if let Format::Schema { schema, .. } = format {
            config.key("responseJsonSchema").raw(schema::lone_references(schema).get());
        }
    }
    reasoning(request, profile, &mut config, losses);
    let own = request.native.iter().find(|(name, _)| is_config(name)).map(|(_, value)| value.get());
    let own = own.and_then(|text| serde_json::from_str::<Fields<'_>>(text).ok());
    for (name, value) in own.iter().flat_map(Fields::pairs) {
        if !config.names.contains(&name) {
            config.key(name).raw(value);
        }
    }
    if !config.names.is_empty() {
        written.push("generationConfig");
        out.close('}');
    }
    // `auto` is the account's setting, which is what stands without a word.
    let tier = match request.tier {
        None | Some(Tier::Auto) => None,
        Some(Tier::Standard) => Some("standard"),
        Some(Tier::Flex) => Some("flex"),
        Some(Tier::Priority) => Some("priority"),
    };
    if let Some(tier) = tier {
        written.push("serviceTier");
        out.key("serviceTier").string(tier);
    }
    if request.user.is_some() {
        losses.setting("user", "Gemini has no such setting");
    }
    losses.rest(&request.rest, "Gemini has no such setting")
}

fn sampling<'s>(request: &Request<'_>, profile: &Profile, config: &mut Config<'_, 's>, losses: &mut Losses) {
    let refused = profile.sampling == Sampling::Refused
        || profile.sampling == Sampling::NotThinking && profile.reasoning(&request.reasoning);
    let sampled: [(&'static str, &'s str, Option<f64>); 2] =
        [("temperature", "temperature", request.temperature), ("top_p", "topP", request.top_p)];
    for (field, name, value) in sampled {
        if refused && value.is_some() {
            losses.setting(field, "the model takes no such setting");
        } else {
            config.number(name, value);
        }
    }
    match request.top_k {
        Some(_) if refused || !profile.top_k => losses.setting("top_k", "the model takes no such setting"),
        Some(top_k) => {
            config.key("topK").plain(top_k.min(i32::MAX.unsigned_abs().into()));
        }
        None => {}
    }
    match request.seed {
        Some(seed) if i32::try_from(seed).is_err() => {
            losses.setting("seed", "Gemini takes seeds of 32 bits only");
        }
        Some(seed) => {
            config.key("seed").plain(seed);
        }
        None => {}
    }
    let penalties: [(&'static str, &'s str, Option<f64>); 2] = [
        ("frequency_penalty", "frequencyPenalty", request.frequency_penalty),
        ("presence_penalty", "presencePenalty", request.presence_penalty),
    ];
    for (field, name, value) in penalties {
        // Without an effect it need not be told.
        if profile.penalties || value == Some(0.0) {
            config.number(name, value.filter(|_| profile.penalties));
        } else if value.is_some() {
            losses.setting(field, "the model takes no such setting");
        }
    }
}

fn stops(
    request: &Request<'_>,
    profile: &Profile,
    config: &mut Config<'_, '_>,
    losses: &mut Losses,
) -> Result<(), Unsendable> {
    let stops = request.stop.iter().map(Str::as_str).filter(|stop| !stop.is_empty());
    let count = stops.clone().count();
    if count > profile.stops {
        losses.content("stop", format!("it has {count} entries, and Gemini takes {}", profile.stops))?;
    }
    if count > 0 {
        config.key("stopSequences").strings(stops.take(profile.stops));
    }
    Ok(())
}

fn several(
    request: &Request<'_>,
    profile: &Profile,
    config: &mut Config<'_, '_>,
    losses: &mut Losses,
) -> Result<(), Unsendable> {
    /// The most candidates of one answer (Gemini API reference, `candidateCount`, 2026-08).
    const MOST: u32 = 8;

    match request.n {
        None | Some(1) => {}
        Some(n) if profile.several && (2..=MOST).contains(&n) => {
            config.key("candidateCount").plain(n);
        }
        Some(_) if profile.several => losses.content("n", "Gemini gives 1 to 8 answers")?,
        Some(_) => losses.content("n", "the model gives one answer only")?,
    }
    match request.logprobs {
        Some(top) if profile.logprobs => {
            config.key("responseLogprobs").plain(true);
            if top > 0 {
                config.key("logprobs").plain(top);
            }
        }
        Some(_) => losses.content("logprobs", "the model gives none")?,
        None => {}
    }
    Ok(())
}

/// What reasoning becomes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thought {
    /// Gemini 3: a word.
    Level(Effort),
    /// Gemini 2.5: so many tokens.
    Tokens(u64),
    /// Gemini 2.5: as many as it likes.
    Automatic,
}

/// `thinkingConfig`: never a level and a budget together, which is 400 (2026-08).
fn reasoning(request: &Request<'_>, profile: &Profile, config: &mut Config<'_, '_>, losses: &mut Losses) {
    let asked = request.reasoning;
    if asked.mode.is_none() && asked.effort.is_none() && asked.shown != Some(true) {
        return;
    }
    let words =
        profile.thinking == Control::Level || profile.thinking != Control::Budget && !profile.efforts.is_empty();
    if profile.thinking == Control::None {
        if asked.wanted() {
            let field = if asked.effort.is_some() { "reasoning_effort" } else { "thinking" };
            losses.setting(field, "the model does not reason, or cannot be told how");
        }
        return;
    }
    let off = matches!(asked.mode, Some(Thinking::Off | Thinking::Budget(0)));
    if off && !profile.thinking_off {
        losses.setting("reasoning_effort", "the model cannot be told not to reason: it gets the least effort");
    }
    let thought = if words { level(request, profile, off) } else { budget(request, profile, off) };
    if let (Some(Thinking::Budget(wanted)), Some(Thought::Tokens(tokens)), false) = (asked.mode, thought, off)
        && wanted != tokens
    {
        losses.setting("thinking.budget_tokens", format!("{tokens} is what the model takes"));
    }
    let shown = !off && (asked.wanted() && asked.shown != Some(false) || asked.shown == Some(true));
    if thought.is_none() && !shown {
        return;
    }
    let out = config.key("thinkingConfig").open('{');
    match thought {
        Some(Thought::Level(effort)) => {
            out.key("thinkingLevel").string(effort.word());
        }
        Some(Thought::Tokens(tokens)) => {
            out.key("thinkingBudget").plain(tokens);
        }
        Some(Thought::Automatic) => {
            out.key("thinkingBudget").plain(-1);
        }
        None => {}
    }
    if shown {
        out.key("includeThoughts").plain(true);
    }
    out.close('}');
}

fn level(request: &Request<'_>, profile: &Profile, off: bool) -> Option<Thought> {
    let asked = request.reasoning;
    let wanted = match (asked.effort, asked.mode) {
        _ if off => Effort::Minimal,
        (Some(effort), _) => effort,
        (None, Some(Thinking::Budget(tokens))) => effort_of(tokens),
        (None, Some(Thinking::Off | Thinking::Adaptive) | None) => return None,
    };
    profile.effort(wanted).map(Thought::Level)
}

fn budget(request: &Request<'_>, profile: &Profile, off: bool) -> Option<Thought> {
    let asked = request.reasoning;
    let (least, most) = profile.budget;
    let wanted = match (asked.mode, asked.effort) {
        _ if off && profile.thinking_off => return Some(Thought::Tokens(0)),
        _ if off => least,
        (Some(Thinking::Budget(tokens)), _) => tokens,
        (_, Some(effort)) => match effort {
            Effort::Minimal => 512,
            Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High => 24576,
            Effort::Xhigh | Effort::Max => most,
        },
        (Some(Thinking::Adaptive), None) => return Some(Thought::Automatic),
        (Some(Thinking::Off) | None, None) => return None,
    };
    Some(Thought::Tokens(wanted.min(most).max(least)))
}

/// The operator's extras, but for what the request says itself.
fn native(request: &Request<'_>, written: &[&str], out: &mut Writer) {
    for (name, value) in &request.native {
        if !is_config(name) && !written.contains(&name.as_str()) {
            out.foreign_key(name).raw(value.get());
        }
    }
}

fn is_config(name: &str) -> bool {
    name == "generationConfig" || name == "generation_config"
}

/// A schema as Gemini takes it for a function; `None` for one without arguments.
pub(super) fn parameters<'s>(schema: Option<&'s Json<'_>>) -> Option<Json<'s>> {
    let schema =
        schema.filter(|schema| schema.is_object() && !schema.get().trim_matches(['{', '}']).trim().is_empty())?;
    Some(schema::object_root(Some(schema)))
}
