//! Every recorded answer, read from its wire and written for each client's.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use feathergate::wire::chat::{Request, Wish};
use feathergate::wire::convert::{self, Answering, Inbound, StreamEncoder};
use feathergate::wire::envelope::{DecodeError, Envelope};
use feathergate::wire::event::{Block, Event, Sink};
use feathergate::wire::fold::Answer;
use feathergate::wire::relay::Undo;
use feathergate::wire::text::Writer;
use feathergate::wire::transcode::Transcoder;
use feathergate::wire::{Operation, Tally, Wire};

use crate::exchange::{Exchange, Frame, frames};
use crate::json::Json;
use crate::openai::Whose;
use crate::report::Report;
use crate::said::{Said, differences};
use crate::{anthropic, gemini, openai};

const CLIENTS: [Wire; 2] = [Wire::OpenAiChat, Wire::AnthropicMessages];
/// At most so many places of one stream are cut at.
const CUTS: usize = 40;

pub(crate) fn word(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAiChat => "openai",
        Wire::AnthropicMessages => "anthropic",
        Wire::Gemini => "gemini",
    }
}

fn how(usage: bool) -> Answering {
    let wish = Wish { usage, ..Wish::default() };
    Answering {
        stamp: "0123456789abcdef".to_owned(),
        created: 1_700_000_000,
        model: None,
        wish,
        estimate: 7,
        costs: None,
    }
}

pub(crate) fn run(exchanges: &[Exchange], report: &mut Report) {
    for exchange in exchanges.iter().filter(|it| it.good() && it.operation == Operation::CountTokens) {
        let body = Json::parse(&exchange.body).unwrap();
        let told = body["input_tokens"].as_u64().or_else(|| body["totalTokens"].as_u64());
        let counted = convert::outbound(exchange.wire).counted(exchange.body.as_bytes());
        let wrong = (counted != told).then(|| format!("{told:?} tokens became {counted:?}"));
        report.add(&exchange.id, &format!("{} count", word(exchange.wire)), "count read", wrong.into_iter().collect());
    }
    for exchange in exchanges.iter().filter(|exchange| exchange.operation == Operation::Generate) {
        if !exchange.good() {
            report.add(&exchange.id, &format!("{} error", word(exchange.wire)), "error read", failure(exchange));
            continue;
        }
        for client in CLIENTS {
            let form = if exchange.streamed { "stream" } else { "whole" };
            let pair = format!("{} > {} {form}", word(exchange.wire), word(client));
            let (outcome, faults) = if exchange.streamed { stream(exchange, client) } else { whole(exchange, client) };
            report.add(&exchange.id, &pair, outcome, faults);
        }
    }
}

fn failure(exchange: &Exchange) -> Vec<String> {
    use feathergate::wire::FailureKind as Kind;

    let failure = convert::outbound(exchange.wire).failure(exchange.status, &Bytes::from(exchange.body.clone()));
    let mut out = Vec::new();
    let error = Json::parse(&exchange.body).unwrap_or(Json::Null);
    let error = if error.is_array() { error[0].clone() } else { error };
    let said = [&error["error"]["message"], &error["error"], &error["message"], &error["detail"]];
    let said = said.iter().find_map(|it| it.as_str()).unwrap_or_default();
    if failure.message.trim().is_empty() || !failure.message.contains(said) {
        out.push(format!("the message is lost: {said:?} became {:?}", failure.message));
    }
    let fits = match exchange.status {
        400 if said.contains("API key not valid") => failure.kind == Kind::Auth,
        400 if said.contains("exceeded your current quota") => failure.kind == Kind::RateLimited,
        400 | 422 => matches!(failure.kind, Kind::BadRequest | Kind::TooLong | Kind::Filtered),
        401 | 403 => failure.kind == Kind::Auth,
        404 => failure.kind == Kind::NotFound,
        413 => failure.kind == Kind::TooLong,
        402 | 429 => failure.kind == Kind::RateLimited,
        503 | 529 => failure.kind == Kind::Overloaded,
        _ => true,
    };
    if !fits {
        out.push(format!("{} became {:?}: {said}", exchange.status, failure.kind));
    }
    out
}

fn source(exchange: &Exchange) -> Said {
    let mut said = read(exchange);
    if exchange.wire == Wire::OpenAiChat {
        // No wire of this name takes opaque state back, so nobody has to keep it.
        said.choices.iter_mut().for_each(|choice| choice.seals.clear());
    }
    said
}

fn read(exchange: &Exchange) -> Said {
    if exchange.streamed {
        let frames = bare(&exchange.body);
        match exchange.wire {
            Wire::OpenAiChat => openai::stream(&frames),
            Wire::AnthropicMessages => anthropic::stream(&frames),
            Wire::Gemini => gemini::stream(&frames),
        }
    } else {
        let body = Json::parse(&exchange.body).unwrap_or(Json::Null);
        match exchange.wire {
            Wire::OpenAiChat => openai::whole(&body),
            Wire::AnthropicMessages => anthropic::whole(&body),
            Wire::Gemini => gemini::whole(&body),
        }
    }
}

fn bare(body: &str) -> Vec<Frame> {
    frames(body).into_iter().map(|(_, frame)| frame).collect()
}

/// What we wrote, read.
fn got(client: Wire, body: &[u8], streamed: bool) -> Result<Said, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    if streamed {
        let frames = bare(text);
        return Ok(if client == Wire::OpenAiChat { openai::stream(&frames) } else { anthropic::stream(&frames) });
    }
    let body = Json::parse(text)?;
    Ok(if client == Wire::OpenAiChat { openai::whole(&body) } else { anthropic::whole(&body) })
}

fn shape(client: Wire, body: &[u8], streamed: bool, usage: bool) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(body) else { return vec!["no UTF-8".to_owned()] };
    match (client, streamed) {
        (Wire::OpenAiChat, true) => openai::grammar(&bare(text), Whose::Ours { usage }),
        (_, true) => anthropic::grammar(&bare(text), true),
        (Wire::OpenAiChat, false) => openai::faults(&Json::parse(text).unwrap_or(Json::Null), true),
        (_, false) => anthropic::faults(&Json::parse(text).unwrap_or(Json::Null), true),
    }
}

fn whole(exchange: &Exchange, client: Wire) -> (&'static str, Vec<String>) {
    let inbound = convert::inbound(client).unwrap();
    let convert = |body: &str| {
        convert::whole(convert::outbound(exchange.wire), inbound, body.as_bytes(), &Undo::default(), &how(true))
    };
    let said = source(exchange);
    let (body, answer) = match convert(&exchange.body) {
        Ok(done) => done,
        Err(failure) if said.failed.is_some() => {
            let lost = !failure.message.contains(said.failed.as_deref().unwrap_or_default());
            return (
                "failure told",
                lost.then(|| format!("the message is lost: {}", failure.message)).into_iter().collect(),
            );
        }
        Err(failure) => return ("", vec![format!("fails: {}", failure.message)]),
    };
    if let Some(failed) = said.failed {
        return ("", vec![format!("a failure became an answer: {failed}")]);
    }
    let mut faults = shape(client, &body, false, true);
    match got(client, &body, false) {
        Ok(got) => faults.extend(differences(&said, &got, client)),
        Err(error) => faults.push(format!("no JSON: {error}")),
    }
    faults.extend(told_as_stream(&answer, inbound, client, &body));
    match convert(&with_unknowns(exchange)) {
        Ok((other, _)) if other == body => {}
        Ok(_) => faults.push("an unknown field or part changes the answer".to_owned()),
        Err(failure) => faults.push(format!("an unknown field or part fails: {}", failure.message)),
    }
    ("whole", faults)
}

/// The same answer, streamed: it has to be a good stream and to say the same.
fn told_as_stream(answer: &Answer, inbound: &dyn Inbound, client: Wire, body: &[u8]) -> Vec<String> {
    struct Out(Box<dyn StreamEncoder>, Writer);
    impl Sink for Out {
        fn event(&mut self, choice: u32, event: Event<'_>) {
            self.0.event(choice, event, &mut self.1);
        }
    }

    let mut out = Out(inbound.encoder(&Arc::new(how(true))), Writer::default());
    answer.tell(&mut out);
    let streamed = out.1.into_bytes();
    let mut faults: Vec<String> =
        shape(client, &streamed, true, true).into_iter().map(|fault| format!("told as a stream: {fault}")).collect();
    agree(&mut faults, got(client, &streamed, true), got(client, body, false));
    faults
}

fn agree(faults: &mut Vec<String>, streamed: Result<Said, String>, whole: Result<Said, String>) {
    match (streamed, whole) {
        (Ok(streamed), Ok(whole)) => {
            for (stream, whole) in streamed.choices.iter().zip(&whole.choices) {
                let mut stream = stream.clone();
                for call in &mut stream.calls {
                    call.arguments = crate::said::arguments(&call.arguments);
                }
                let mut whole = whole.clone();
                for call in &mut whole.calls {
                    call.arguments = crate::said::arguments(&call.arguments);
                }
                if stream != whole {
                    faults.push(format!("stream and whole answer differ: {stream:?} and {whole:?}"));
                }
            }
            if streamed.choices.len() != whole.choices.len() {
                faults.push("stream and whole answer differ in choices".to_owned());
            }
            if streamed.usage != whole.usage {
                faults.push(format!("stream and whole answer count {:?} and {:?}", streamed.usage, whole.usage));
            }
        }
        (Err(error), _) | (_, Err(error)) => faults.push(error),
    }
}

/// The body with fields, parts and blocks that nobody knows yet.
fn with_unknowns(exchange: &Exchange) -> String {
    let mystery = || Json::parse(r#"{"type":"mystery","mystery":{"a":[1,null]}}"#).unwrap();
    let Ok(mut body) = Json::parse(&exchange.body) else { return exchange.body.clone() };
    body.set("mystery", mystery());
    match exchange.wire {
        Wire::AnthropicMessages => {
            if let Some(content) = body.get_mut("content").and_then(Json::items_mut) {
                content.insert(0, mystery());
            }
        }
        Wire::OpenAiChat => {
            for choice in body.get_mut("choices").and_then(Json::items_mut).into_iter().flatten() {
                choice.set("mystery", mystery());
                if let Some(message) = choice.get_mut("message") {
                    message.set("mystery", mystery());
                }
            }
        }
        Wire::Gemini => {
            for candidate in body.get_mut("candidates").and_then(Json::items_mut).into_iter().flatten() {
                candidate.set("mystery", mystery());
                if let Some(parts) = candidate.get_mut("content").and_then(|content| content.get_mut("parts")) {
                    parts.items_mut().unwrap().insert(0, Json::parse(r#"{"mystery":{"a":1}}"#).unwrap());
                }
            }
        }
    }
    body.to_string()
}

fn transcode(exchange: &Exchange, body: &str, client: &dyn Inbound, size: usize, usage: bool) -> (Vec<u8>, Tally) {
    let from = convert::outbound(exchange.wire);
    let mut pipe = Transcoder::new(from, client, Undo::default(), &Arc::new(how(usage)));
    let mut out = Vec::new();
    for chunk in body.as_bytes().chunks(size) {
        out.extend_from_slice(&pipe.push(Bytes::copy_from_slice(chunk)));
    }
    let tally = pipe.finish(None);
    out.extend_from_slice(&tally.bytes);
    (out, tally)
}

fn stream(exchange: &Exchange, client: Wire) -> (&'static str, Vec<String>) {
    let inbound = convert::inbound(client).unwrap();
    let said = source(exchange);
    let (body, tally) = transcode(exchange, &exchange.body, inbound, usize::MAX, true);
    let mut faults = Vec::new();
    for size in [7, 1] {
        if transcode(exchange, &exchange.body, inbound, size, true).0 != body {
            faults.push(format!("pieces of {size} bytes change the answer"));
        }
    }
    if let Some(failure) = tally.failure {
        match &said.failed {
            Some(failed) if failure.message.contains(failed) => {}
            Some(_) => faults.push(format!("the message is lost: {}", failure.message)),
            None => faults.push(format!("fails: {}", failure.message)),
        }
        if finished(client, &body) {
            faults.push("a finish before a failure".to_owned());
        }
        return ("failure told", faults);
    }
    if let Some(failed) = said.failed {
        return ("", vec![format!("a failure became an answer: {failed}")]);
    }
    faults.extend(shape(client, &body, true, true));
    match got(client, &body, true) {
        Ok(got) => faults.extend(differences(&said, &got, client)),
        Err(error) => faults.push(error),
    }
    if client == Wire::OpenAiChat {
        let (unasked, _) = transcode(exchange, &exchange.body, inbound, usize::MAX, false);
        faults
            .extend(shape(client, &unasked, true, false).into_iter().map(|fault| format!("usage not asked: {fault}")));
    }
    faults.extend(gathered(exchange, inbound, client, &body));
    faults.extend(cut(exchange, inbound, client));
    let (other, tally) = transcode(exchange, &with_unknown_events(exchange), inbound, usize::MAX, true);
    if let Some(failure) = tally.failure {
        faults.push(format!("an unknown event fails: {}", failure.message));
    } else if other != body {
        faults.push("an unknown event changes the answer".to_owned());
    }
    ("stream", faults)
}

fn finished(client: Wire, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    bare(&text).iter().any(|frame| {
        if client == Wire::OpenAiChat {
            frame.data == "[DONE]"
                || Json::parse(&frame.data)
                    .is_ok_and(|it| it["choices"].items().iter().any(|choice| !choice["finish_reason"].is_null()))
        } else {
            matches!(frame.name.as_deref(), Some("message_delta" | "message_stop"))
        }
    })
}

/// Cut at the border of any event before the one that says why the model stopped, it is a failure.
fn cut(exchange: &Exchange, inbound: &dyn Inbound, client: Wire) -> Vec<String> {
    let frames = frames(&exchange.body);
    let stops = |frame: &Frame| {
        let Ok(event) = Json::parse(&frame.data) else { return false };
        match exchange.wire {
            Wire::OpenAiChat => event["choices"].items().iter().any(|choice| !choice["finish_reason"].is_null()),
            Wire::AnthropicMessages => event["type"].text() == "message_delta",
            Wire::Gemini => {
                event["candidates"].items().iter().any(|it| !it["finishReason"].is_null())
                    || event["promptFeedback"]["blockReason"].as_str().is_some()
            }
        }
    };
    let Some(stop) = frames.iter().position(|(_, frame)| stops(frame)) else { return Vec::new() };
    let step = stop.div_ceil(CUTS).max(1);
    let mut ends: Vec<usize> = frames[..stop].iter().map(|(end, _)| *end).rev().step_by(step).collect();
    ends.push(0);
    for end in ends {
        let (body, tally) = transcode(exchange, &exchange.body[..end], inbound, usize::MAX, true);
        if tally.failure.is_none() {
            return vec![format!("cut at byte {end} it is no failure")];
        }
        if finished(client, &body) {
            return vec![format!("cut at byte {end} it has a finish")];
        }
    }
    Vec::new()
}

/// The stream with events that nobody knows yet after each of its own.
fn with_unknown_events(exchange: &Exchange) -> String {
    let body = &exchange.body;
    let unknown = match exchange.wire {
        Wire::OpenAiChat => r#"{"id":"x","object":"mystery","created":1,"model":"m","choices":[],"mystery":{"a":[1]}}"#,
        Wire::AnthropicMessages => r#"{"type":"mystery","index":0,"delta":{"type":"text_delta","text":"no"}}"#,
        Wire::Gemini => {
            r#"{"candidates":[{"content":{"parts":[{"mystery":{"a":1}}],"role":"model"},"index":0}],"mystery":1}"#
        }
    };
    let array = body.trim_start().starts_with('[');
    let mut out = String::new();
    let mut from = 0;
    let frames = frames(body);
    for (at, (end, _)) in frames.iter().enumerate() {
        out.push_str(&body[from..*end]);
        from = *end;
        if at + 1 == frames.len() {
            break;
        }
        match exchange.wire {
            _ if array => out.extend([format!(",{unknown}")]),
            Wire::OpenAiChat | Wire::Gemini => out.extend([format!(": comment\ndata: {unknown}\n\n")]),
            Wire::AnthropicMessages => out.extend([format!("event: mystery\ndata: {unknown}\n\n")]),
        }
    }
    out.push_str(&body[from..]);
    out
}

/// The events that the client's encoder got, gathered and written as a whole answer: it says what the stream says. The
/// events themselves keep their grammar.
fn gathered(exchange: &Exchange, inbound: &dyn Inbound, client: Wire, body: &[u8]) -> Vec<String> {
    let kept = Arc::new(Mutex::new(Gathering::default()));
    let keeper = Keeper(Arc::clone(&kept));
    transcode(exchange, &exchange.body, &keeper, usize::MAX, true);
    let kept = kept.lock().unwrap();
    let mut faults = kept.faults.clone();
    if !kept.over {
        faults.push("events: no End".to_owned());
    }
    let whole = inbound.whole(&kept.answer, &how(true));
    faults.extend(shape(client, &whole, false, true).into_iter().map(|fault| format!("gathered: {fault}")));
    agree(&mut faults, got(client, body, true), got(client, &whole, false));
    faults
}

#[derive(Debug, Default)]
struct Gathering {
    answer: Answer,
    begun: bool,
    over: bool,
    open: Vec<Option<(Block<'static>, bool)>>,
    done: Vec<bool>,
    faults: Vec<String>,
}

impl Gathering {
    fn judge(&mut self, choice: u32, event: &Event<'_>) {
        let at = choice as usize;
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
            self.done.resize(at + 1, false);
        }
        let mut must = |good: bool, what: &str| {
            if !good {
                self.faults.push(format!("events: {what}"));
            }
        };
        must(!self.over, "something behind End");
        must(self.begun || matches!(event, Event::Start { .. } | Event::Failed(_)), "something before Start");
        let global = matches!(event, Event::Usage(_) | Event::End | Event::Failed(_));
        must(global || !self.done[at], "something behind Finish");
        match event {
            Event::Start { .. } => {
                must(!self.begun, "Start again");
                self.begun = true;
            }
            Event::Open(block) => {
                must(self.open[at].is_none(), "Open within a block");
                self.open[at] = Some((block.clone().detached(), false));
            }
            Event::Delta(text) => {
                let fits = matches!(&self.open[at], Some((block, _)) if !matches!(block, Block::Redacted(..) | Block::Image { .. }));
                must(fits, "Delta without a block for it");
                must(!text.is_empty(), "an empty Delta");
            }
            Event::Seal(..) => match &mut self.open[at] {
                Some((_, sealed)) => {
                    must(!*sealed, "two seals in a block");
                    *sealed = true;
                }
                None => must(false, "a seal without a block"),
            },
            Event::Close => must(self.open[at].take().is_some(), "Close without a block"),
            Event::Finish { .. } => {
                must(self.open[at].is_none(), "Finish within a block");
                self.done[at] = true;
            }
            Event::Usage(_) => must(!self.done.iter().all(|done| *done), "Usage behind the last Finish"),
            Event::End => {
                must(self.done.iter().all(|done| *done), "End without Finish");
                self.over = true;
            }
            Event::Citation(_) | Event::Logprobs(_) | Event::Failed(_) => {}
        }
    }
}

struct Keeper(Arc<Mutex<Gathering>>);

#[derive(Debug)]
struct Keeping(Arc<Mutex<Gathering>>);

impl Inbound for Keeper {
    fn decode<'a>(&self, _: &Envelope<'a>) -> Result<Request<'a>, DecodeError> {
        Ok(Request::default())
    }

    fn whole(&self, _: &Answer, _: &Answering) -> Vec<u8> {
        Vec::new()
    }

    fn encoder(&self, _: &Arc<Answering>) -> Box<dyn StreamEncoder> {
        Box::new(Keeping(Arc::clone(&self.0)))
    }
}

impl StreamEncoder for Keeping {
    fn event(&mut self, choice: u32, event: Event<'_>, _: &mut Writer) {
        let mut kept = self.0.lock().unwrap();
        kept.judge(choice, &event);
        kept.answer.event(choice, event);
    }
}

/// The judges themselves: what the vendors write is good in their eyes.
pub(crate) fn judges(exchanges: &[Exchange], report: &mut Report) {
    for exchange in exchanges.iter().filter(|it| it.good() && it.operation == Operation::Generate) {
        let faults = match (exchange.wire, exchange.provider.as_str(), exchange.streamed) {
            (Wire::OpenAiChat, "openai", true) => openai::grammar(&bare(&exchange.body), Whose::Theirs),
            (Wire::AnthropicMessages, "anthropic", true) => anthropic::grammar(&bare(&exchange.body), false),
            (Wire::OpenAiChat, "openai", false) => openai::faults(&Json::parse(&exchange.body).unwrap(), false),
            (Wire::AnthropicMessages, "anthropic", false) => {
                anthropic::faults(&Json::parse(&exchange.body).unwrap(), false)
            }
            _ => continue,
        };
        let form = if exchange.streamed { "stream" } else { "whole" };
        report.add(&exchange.id, &format!("{} {form}", word(exchange.wire)), "accepted", faults);
    }
}
