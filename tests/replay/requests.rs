//! Every recorded request of a client's, prepared for every upstream of another wire.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;

use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::{self, ConvertError, OnLoss, Operation, Prepared, Target, Wire};

use crate::answers::word;
use crate::echo::echo;
use crate::exchange::Exchange;
use crate::history::{History, differences};
use crate::json::Json;
use crate::report::Report;
use crate::silent::silent;
use crate::sound::{grouped, sound};

/// Models whose rules differ, by wire and vendor.
const MODELS: [(Wire, &str, &str); 18] = [
    (Wire::OpenAiChat, "openai", "gpt-4o"),
    (Wire::OpenAiChat, "openai", "gpt-5.2"),
    (Wire::OpenAiChat, "openai", "gpt-5.5"),
    (Wire::OpenAiChat, "openai", "o4-mini"),
    (Wire::OpenAiChat, "mistral", "mistral-large-latest"),
    (Wire::OpenAiChat, "deepseek", "deepseek-reasoner"),
    (Wire::OpenAiChat, "groq", "llama-3.3-70b-versatile"),
    (Wire::OpenAiChat, "openrouter", "anthropic/claude-sonnet-4.5"),
    (Wire::AnthropicMessages, "anthropic", "claude-3-5-haiku-20241022"),
    (Wire::AnthropicMessages, "anthropic", "claude-opus-4-1"),
    SONNET,
    (Wire::AnthropicMessages, "anthropic", "claude-opus-4-6"),
    (Wire::AnthropicMessages, "anthropic", "claude-opus-5"),
    (Wire::Gemini, "gemini", "gemini-2.0-flash"),
    (Wire::Gemini, "gemini", "gemini-2.5-flash"),
    (Wire::Gemini, "gemini", "gemini-2.5-pro"),
    GEMINI_3,
    (Wire::Gemini, "gemini", "gemini-3.1-pro-preview"),
];
pub(crate) const SONNET: (Wire, &str, &str) = (Wire::AnthropicMessages, "anthropic", "claude-sonnet-4-5");
pub(crate) const GEMINI_3: (Wire, &str, &str) = (Wire::Gemini, "gemini", "gemini-3.5-flash");

pub(crate) fn prepare(
    from: Wire,
    body: &str,
    to: (Wire, &str, &str),
    on_loss: OnLoss,
) -> Result<Prepared, ConvertError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let envelope = wire::peek(from, &body)?;
    let target = Target {
        wire: to.0,
        model: to.2,
        profile: &Profile::find(to.0, to.1, to.2),
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss,
    };
    wire::prepare(&envelope, &body, Operation::Generate, &target)
}

/// Where the bodies go that the validator reads.
struct Out(Option<File>);

impl Out {
    fn open() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's switch")]
        let Ok(folder) = std::env::var("FEATHERGATE_REPLAY_OUT") else {
            return Self(None);
        };
        fs::create_dir_all(&folder).unwrap();
        Self(Some(File::create(format!("{folder}/requests.jsonl")).unwrap()))
    }

    fn write(&mut self, exchange: &Exchange, to: (Wire, &str, &str), body: &str) {
        if let Some(file) = &mut self.0 {
            let (id, status, from) = (&exchange.id, exchange.status, word(exchange.wire));
            let (to, vendor, model) = (word(to.0), to.1, to.2);
            // A line break in a body can stand between tokens only.
            let body = body.replace('\n', " ");
            let head = format!(r#""id":"{id}","status":{status},"from":"{from}","to":"{to}","vendor":"{vendor}""#);
            writeln!(file, r#"{{{head},"model":"{model}","body":{body}}}"#).unwrap();
        }
    }
}

pub(crate) fn run(exchanges: &[Exchange], report: &mut Report) {
    let mut out = Out::open();
    let mut losses: BTreeMap<String, usize> = BTreeMap::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for exchange in exchanges {
        let clients = [Wire::OpenAiChat, Wire::AnthropicMessages];
        let Some(request) = exchange.request.as_ref().filter(|_| clients.contains(&exchange.wire)) else { continue };
        if exchange.operation != Operation::Generate || !request["messages"].is_array() {
            continue;
        }
        let mut request = request.clone();
        if request["model"].as_str().is_none() {
            // Azure and Vertex have it in the path.
            request.set("model", Json::String("some-model".to_owned()));
        }
        for to in MODELS.into_iter().filter(|to| to.0 != exchange.wire) {
            let pair = format!("{} > {}", word(exchange.wire), to.2);
            let wires = format!("{} > {}", word(exchange.wire), word(to.0));
            let (outcome, faults) = match prepare(exchange.wire, &request.to_string(), to, OnLoss::Report) {
                Ok(prepared) => {
                    let body = String::from_utf8(prepared.body.to_vec()).unwrap();
                    out.write(exchange, to, &body);
                    for loss in &prepared.losses {
                        *losses.entry(format!("{wires}: {}", place(&loss.field))).or_default() += 1;
                    }
                    let outcome = if prepared.losses.is_empty() { "converted" } else { "converted with losses" };
                    let mut faults = judge(exchange, &request, &body, to);
                    faults.extend(silent(exchange.wire, &request, &body, to, &prepared.losses));
                    faults.extend(echo(exchange.wire, &request, &Json::parse(&body).unwrap(), to.0, &prepared));
                    (outcome, faults)
                }
                Err(ConvertError::Unsendable(refusal)) => {
                    *refusals.entry(format!("{wires}: {}", place(&refusal.message))).or_default() += 1;
                    let lenient = prepare(exchange.wire, &request.to_string(), to, OnLoss::Lenient);
                    let faults = match lenient {
                        Ok(_) => Vec::new(),
                        Err(error) => vec![format!("not even leniently: {error}")],
                    };
                    ("refused", faults)
                }
                // What the vendor refused as well.
                Err(ConvertError::Decode(_)) if !exchange.good() => ("bad request, as at the vendor", Vec::new()),
                Err(ConvertError::Decode(error)) => ("", vec![format!("cannot be read: {error}")]),
            };
            report.add(&exchange.id, &pair, outcome, faults);
        }
    }
    println!("\nreplay: what is lost with a word, all models of a wire together");
    for (what, count) in losses {
        println!("  {count:4} {what}");
    }
    println!("\nreplay: what is refused, all models of a wire together");
    for (what, count) in refusals {
        println!("  {count:4} {what}");
    }
}

/// A field without its numbers.
fn place(field: &str) -> String {
    field.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn history(wire: Wire, body: &Json) -> History {
    match wire {
        Wire::OpenAiChat => History::openai(body),
        Wire::AnthropicMessages => History::anthropic(body),
        Wire::Gemini => History::gemini(body),
    }
}

fn judge(exchange: &Exchange, request: &Json, body: &str, to: (Wire, &str, &str)) -> Vec<String> {
    let json = match Json::parse(body) {
        Ok(json) => json,
        Err(error) => return vec![format!("no JSON: {error}")],
    };
    let (was, is) = (history(exchange.wire, request), history(to.0, &json));
    let plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    // Mistral takes nine characters, and older models of Gemini no ids at all.
    let nine = |id: &str| to.1 != "mistral" || id.len() == 9;
    let stays = |id: &str| !id.is_empty() && plain(id) && id.len() <= 40 && nine(id) && to.0 != Wire::Gemini;
    let mut faults = Vec::new();
    if was.paired() {
        faults.extend(differences(&was, &is, stays));
        faults.extend(grouped(to.0, &json));
    }
    // What the vendor refused may stay as bad as it was.
    if exchange.good() {
        faults.extend(sound(to.0, &json));
    }
    if to.0 != Wire::Gemini {
        faults.extend(back(exchange.wire, &was, body, to));
    }
    faults.extend(secrets(exchange.wire, request, to));
    faults
}

/// There and back again.
fn back(from: Wire, was: &History, body: &str, to: (Wire, &str, &str)) -> Vec<String> {
    let home = if from == Wire::OpenAiChat { MODELS[0] } else { SONNET };
    let nine = |id: &str| to.1 != "mistral" || id.len() == 9;
    let stays =
        |id: &str| nine(id) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match prepare(to.0, body, home, OnLoss::Lenient) {
        Ok(prepared) => {
            let body = Json::parse(std::str::from_utf8(&prepared.body).unwrap()).unwrap();
            let is = history(home.0, &body);
            let faults =
                if was.paired() { differences(was, &is, |id| stays(id) && id.len() <= 40) } else { Vec::new() };
            faults.into_iter().map(|fault| format!("and back: {fault}")).collect()
        }
        Err(error) => vec![format!("and back: {error}")],
    }
}

/// A secret in the body of a request stays here.
fn secrets(from: Wire, request: &Json, to: (Wire, &str, &str)) -> Vec<String> {
    let mut request = request.clone();
    request.set("api_key", Json::String("hush-hush-1".to_owned()));
    request.set("extra_headers", Json::parse(r#"{"authorization":"Bearer hush-hush-2"}"#).unwrap());
    match prepare(from, &request.to_string(), to, OnLoss::Lenient) {
        Ok(prepared) if String::from_utf8_lossy(&prepared.body).contains("hush-hush") => {
            vec!["a secret of the client's goes to the upstream".to_owned()]
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![format!("leniently: {error}")],
    }
}
