//! What every answer must be, whatever came in: events in the grammar of `wire::event`, and streams that the clients' own
//! libraries can read. The fuzz targets use it too.

use std::collections::BTreeMap;

use feathergate::wire::Wire;
use feathergate::wire::event::{Block, Event, Sink};
use feathergate::wire::fold::Answer;
use serde_json::Value;

/// A sink that folds what it gets and keeps the first breach of the grammar.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) answer: Answer,
    pub(crate) breach: Option<String>,
    choices: BTreeMap<u32, Choice>,
    started: bool,
    over: bool,
}

#[derive(Debug, Default)]
struct Choice {
    open: Option<Open>,
    finished: bool,
}

#[derive(Debug)]
struct Open {
    takes_text: bool,
    sealed: bool,
}

impl Checked {
    /// The answer of a sequence that was in order and came to its end, be it `End` or `Failed`.
    pub(crate) fn done(self) -> Result<Answer, String> {
        match self.breach {
            Some(breach) => Err(breach),
            None if !self.over => Err("neither End nor Failed".to_owned()),
            None => Ok(self.answer),
        }
    }

    fn check(&mut self, choice: u32, event: &Event<'_>) -> Result<(), String> {
        let text = format!("{event:?} of choice {choice}");
        if self.over {
            return Err(format!("{text} after the end"));
        }
        match event {
            Event::Start { .. } if self.started => return Err("a second Start".to_owned()),
            Event::Start { .. } => self.started = true,
            Event::Failed(_) => self.over = true,
            _ if !self.started => return Err(format!("{text} before Start")),
            Event::Usage(_) if self.choices.values().any(|choice| choice.finished) => {
                return Err("Usage behind a Finish".to_owned());
            }
            Event::Usage(_) => {}
            Event::End => {
                self.over = true;
                if self.choices.is_empty() || !self.choices.values().all(|choice| choice.finished) {
                    return Err("End without a Finish of each choice".to_owned());
                }
            }
            _ => self.in_choice(choice, event).map_err(|why| format!("{text}: {why}"))?,
        }
        Ok(())
    }

    fn in_choice(&mut self, choice: u32, event: &Event<'_>) -> Result<(), &'static str> {
        let state = self.choices.entry(choice).or_default();
        if state.finished {
            return Err("behind the Finish");
        }
        match (event, &mut state.open) {
            (Event::Open(block), open @ None) => {
                let takes_text = !matches!(block, Block::Redacted(..) | Block::Image { .. });
                *open = Some(Open { takes_text, sealed: false });
            }
            (Event::Open(_), Some(_)) => return Err("a block is open"),
            (Event::Delta(text), Some(_)) if text.is_empty() => return Err("an empty delta"),
            (Event::Delta(_), Some(open)) if !open.takes_text => return Err("a delta in a block without text"),
            (Event::Seal(..), Some(open)) if open.sealed => return Err("a second seal"),
            (Event::Seal(..), Some(open)) => open.sealed = true,
            (Event::Close, Some(_)) => state.open = None,
            (Event::Delta(_) | Event::Seal(..) | Event::Close, None) => return Err("no block is open"),
            (Event::Finish { .. }, Some(_)) => return Err("a block is still open"),
            (Event::Finish { .. }, None) => state.finished = true,
            // A delta that fits. Citations and log probabilities belong to the choice, not to a block.
            _ => {}
        }
        Ok(())
    }
}

impl Sink for Checked {
    fn event(&mut self, choice: u32, event: Event<'_>) {
        if self.breach.is_none() {
            self.breach = self.check(choice, &event).err();
        }
        self.answer.event(choice, event);
    }
}

/// An answer as a client sees it, once it is put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) turns: Vec<Turn>,
    /// Input, output, read from the cache, written to it, reasoning: as far as the dialect says.
    pub(crate) usage: Option<[Option<u64>; 5]>,
    /// The dialect's end was there.
    pub(crate) ended: bool,
}

/// One choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Turn {
    pub(crate) text: String,
    pub(crate) refusal: String,
    pub(crate) thinking: String,
    /// Id, name, arguments.
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) finish: Option<String>,
    /// What else there is: blocks by kind with their signatures, annotations, reasoning details.
    pub(crate) extra: Vec<Value>,
}

/// Reads a stream that we wrote for a client of `wire`, and holds it against the dialect's grammar.
pub(crate) fn stream(wire: Wire, bytes: &[u8]) -> Result<Said, String> {
    let frames = frames(bytes)?;
    match wire {
        Wire::OpenAiChat => openai_stream(&frames),
        Wire::AnthropicMessages => anthropic_stream(&frames),
        Wire::Gemini => Err("no client speaks it".to_owned()),
    }
}

/// Reads a whole answer that we wrote for a client of `wire`.
pub(crate) fn whole(wire: Wire, bytes: &[u8]) -> Result<Said, String> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
    match wire {
        Wire::OpenAiChat => openai_whole(&body),
        Wire::AnthropicMessages => anthropic_whole(&body, bytes),
        Wire::Gemini => Err("no client speaks it".to_owned()),
    }
}

/// Name and data of each event. We write one form only: LF, one `data` line.
fn frames(bytes: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    let Some(text) = text.strip_suffix("\n\n") else {
        return if text.is_empty() { Ok(Vec::new()) } else { Err(format!("ends inside an event: {text:?}")) };
    };
    let read = |event| {
        let (name, data): (&str, &str) = match str::split_once(event, '\n') {
            Some((first, data)) => (first.strip_prefix("event: ").ok_or("a strange line")?, data),
            None => ("", event),
        };
        let data = data.strip_prefix("data: ").ok_or_else(|| format!("no data in {event:?}"))?;
        if data.contains(['\n', '\r']) { Err(format!("two lines of data: {event:?}")) } else { Ok((name, data)) }
    };
    text.split("\n\n").map(read).collect()
}

fn fail<T>(why: &str, at: &Value) -> Result<T, String> {
    Err(format!("{why}: {at}"))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn openai_stream(frames: &[(&str, &str)]) -> Result<Said, String> {
    let mut said = Said::default();
    for (name, data) in frames {
        if said.ended || !name.is_empty() {
            return Err(format!("behind [DONE], or named: {name} {data}"));
        }
        if *data == "[DONE]" {
            said.ended = true;
            // An upstream may number its choices with gaps; what never began needs no end.
            let mut begun = said.turns.iter().filter(|turn| !turn.extra.is_empty());
            if said.turns.is_empty() || begun.any(|turn| turn.finish.is_none()) {
                return Err("[DONE] without a finish of each choice".to_owned());
            }
            continue;
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| format!("not JSON: {error}: {data}"))?;
        if chunk["object"] != "chat.completion.chunk" {
            return fail("no chunk", &chunk);
        }
        let (id, model) = (text_of(&chunk["id"]), text_of(&chunk["model"]));
        if said.id.is_empty() {
            (said.id, said.model) = (id, model);
        } else if (&id, &model) != (&said.id, &said.model) {
            return fail("id or model changed", &chunk);
        }
        let Some(choices) = chunk["choices"].as_array() else { return fail("no choices", &chunk) };
        if choices.is_empty() != chunk["usage"].is_object() {
            return fail("usage belongs to the chunk without choices", &chunk);
        }
        if said.usage.is_some() {
            return fail("behind the usage", &chunk);
        }
        if choices.is_empty() {
            said.usage = Some(openai_usage(&chunk["usage"])?);
        }
        for choice in choices {
            let index = usize::try_from(choice["index"].as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            if index > 200 {
                return fail("no index", &chunk);
            }
            while said.turns.len() <= index {
                said.turns.push(Turn::default());
            }
            openai_delta(&mut said.turns[index], choice)?;
        }
    }
    Ok(said)
}

fn openai_delta(turn: &mut Turn, choice: &Value) -> Result<(), String> {
    let Some(delta) = choice["delta"].as_object() else { return fail("no delta", choice) };
    let first = turn.extra.is_empty();
    if first != delta.contains_key("role") {
        return fail("the role comes once, first", choice);
    }
    if first {
        turn.extra.push(Value::Null);
    }
    if turn.finish.is_some() {
        return fail("behind the finish", choice);
    }
    if delta.is_empty() && choice["finish_reason"].is_null() && choice["logprobs"].is_null() {
        return fail("an empty delta", choice);
    }
    turn.text += &text_of(&choice["delta"]["content"]);
    turn.refusal += &text_of(&choice["delta"]["refusal"]);
    turn.thinking += &text_of(&choice["delta"]["reasoning_content"]);
    for field in ["reasoning_details", "annotations", "images"] {
        turn.extra.extend(delta.get(field).and_then(Value::as_array).into_iter().flatten().cloned());
    }
    turn.extra.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
    for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
        let index = usize::try_from(call["index"].as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        // A tool that takes free text has `custom` in place of `function`, and `input` in place of `arguments`.
        let (kind, input) = match call.get("custom") {
            Some(custom) => (custom, "input"),
            None => (&call["function"], "arguments"),
        };
        if let Some(id) = call.get("id") {
            if index != turn.calls.len() || text_of(id).is_empty() || !kind["name"].is_string() {
                return fail("a call opens with the next index, an id and a name", call);
            }
            turn.calls.push((text_of(id), text_of(&kind["name"]), text_of(&kind[input])));
        } else {
            let Some(open) = turn.calls.get_mut(index) else { return fail("no such call", call) };
            if kind.get("name").is_some() {
                return fail("a call has its name twice", call);
            }
            open.2 += &text_of(&kind[input]);
        }
    }
    turn.finish = choice["finish_reason"].as_str().map(str::to_owned);
    Ok(())
}

fn openai_usage(usage: &Value) -> Result<[Option<u64>; 5], String> {
    let (Some(prompt), Some(completion), Some(total)) =
        (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64(), usage["total_tokens"].as_u64())
    else {
        return fail("a count is missing", usage);
    };
    let details = &usage["prompt_tokens_details"];
    let (read, written) = (details["cached_tokens"].as_u64(), details["cache_write_tokens"].as_u64());
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64();
    if total != prompt.saturating_add(completion) || read.unwrap_or(0) > prompt || reasoning.unwrap_or(0) > completion {
        return fail("the counts contradict each other", usage);
    }
    let input = prompt.saturating_sub(read.unwrap_or(0).saturating_add(written.unwrap_or(0)));
    Ok([Some(input), Some(completion), read, written, reasoning])
}

fn openai_whole(body: &Value) -> Result<Said, String> {
    let mut said = Said {
        id: text_of(&body["id"]),
        model: text_of(&body["model"]),
        ended: body["object"] == "chat.completion",
        usage: body.get("usage").filter(|usage| !usage.is_null()).map(openai_usage).transpose()?,
        turns: Vec::new(),
    };
    for (at, choice) in body["choices"].as_array().into_iter().flatten().enumerate() {
        let message = &choice["message"];
        if choice["index"] != at || message["role"] != "assistant" {
            return fail("index or role", choice);
        }
        let mut turn = Turn {
            text: text_of(&message["content"]),
            refusal: text_of(&message["refusal"]),
            thinking: text_of(&message["reasoning_content"]),
            finish: choice["finish_reason"].as_str().map(str::to_owned),
            extra: vec![Value::Null],
            ..Turn::default()
        };
        for field in ["reasoning_details", "annotations", "images"] {
            turn.extra.extend(message[field].as_array().into_iter().flatten().cloned());
        }
        turn.extra.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let (kind, input) = match call.get("custom") {
                Some(custom) => (custom, "input"),
                None => (&call["function"], "arguments"),
            };
            turn.calls.push((text_of(&call["id"]), text_of(&kind["name"]), text_of(&kind[input])));
        }
        said.turns.push(turn);
    }
    if said.turns.is_empty() { fail("no choice", body) } else { Ok(said) }
}

fn anthropic_stream(frames: &[(&str, &str)]) -> Result<Said, String> {
    let mut said = Said::default();
    let mut usage = Value::Null;
    let mut open: Option<(u64, Value)> = None;
    let mut next = 0;
    for (name, data) in frames {
        let event: Value = serde_json::from_str(data).map_err(|error| format!("not JSON: {error}: {data}"))?;
        if event["type"] != *name {
            return fail("the event's name is not its type", &event);
        }
        if *name == "ping" {
            continue;
        }
        if said.turns.is_empty() != (*name == "message_start") || said.ended {
            return fail("message_start comes first and once, message_stop last", &event);
        }
        let finished = said.turns.first().is_some_and(|turn| turn.finish.is_some());
        if finished != (*name == "message_stop") {
            return fail("message_delta comes once, right before message_stop", &event);
        }
        match *name {
            "message_start" => {
                let message = &event["message"];
                (said.id, said.model) = (text_of(&message["id"]), text_of(&message["model"]));
                if message["content"] != serde_json::json!([]) || message["stop_reason"] != Value::Null {
                    return fail("a start with content", &event);
                }
                usage = message["usage"].clone();
                said.turns.push(Turn::default());
            }
            "content_block_start" => {
                if open.is_some() || event["index"] != next {
                    return fail("a block opens at the next index when none is open", &event);
                }
                open = Some((next, event["content_block"].clone()));
                next += 1;
                let block = &event["content_block"];
                let turn = &mut said.turns[0];
                if block["type"] == "tool_use" {
                    turn.calls.push((text_of(&block["id"]), text_of(&block["name"]), String::new()));
                }
                turn.extra.push(block.clone());
            }
            "content_block_delta" => {
                let Some((index, block)) = &open else { return fail("no block is open", &event) };
                if event["index"] != *index {
                    return fail("another block is open", &event);
                }
                anthropic_delta(&mut said.turns[0], block, &event["delta"])?;
            }
            "content_block_stop" => {
                if open.take().is_none_or(|(index, _)| event["index"] != index) {
                    return fail("no such block is open", &event);
                }
                if let Some(call) = said.turns[0].calls.last_mut().filter(|call| call.2.is_empty()) {
                    call.2.push_str("{}");
                }
            }
            "message_delta" => {
                if open.is_some() {
                    return fail("a block is still open", &event);
                }
                let Some(stop) = event["delta"]["stop_reason"].as_str() else { return fail("no stop", &event) };
                let turn = &mut said.turns[0];
                turn.finish = Some(stop.to_owned());
                turn.extra.push(event["delta"]["stop_sequence"].clone());
                for (field, value) in event["usage"].as_object().into_iter().flatten() {
                    usage[field] = value.clone();
                }
            }
            "message_stop" => said.ended = true,
            _ => return fail("an event that no client knows", &event),
        }
    }
    if !said.turns.is_empty() {
        said.usage = Some(anthropic_usage(&usage)?);
    }
    Ok(said)
}

fn anthropic_delta(turn: &mut Turn, block: &Value, delta: &Value) -> Result<(), String> {
    let kind = delta["type"].as_str().unwrap_or_default();
    match (block["type"].as_str().unwrap_or_default(), kind) {
        ("text", "text_delta") => turn.text += &text_of(&delta["text"]),
        ("text", "citations_delta") => turn.extra.push(delta["citation"].clone()),
        ("thinking", "thinking_delta") => turn.thinking += &text_of(&delta["thinking"]),
        ("thinking", "signature_delta") => {
            if let Some(block) = turn.extra.last_mut() {
                block["signature"] = delta["signature"].clone();
            }
        }
        ("tool_use", "input_json_delta") => {
            if let Some(call) = turn.calls.last_mut() {
                call.2 += &text_of(&delta["partial_json"]);
            }
        }
        _ => return fail("a delta that does not fit its block", delta),
    }
    Ok(())
}

fn anthropic_usage(usage: &Value) -> Result<[Option<u64>; 5], String> {
    let count = |name: &str| usage[name].as_u64();
    let (Some(input), Some(output)) = (count("input_tokens"), count("output_tokens")) else {
        return fail("a count is missing", usage);
    };
    let reasoning = usage["output_tokens_details"]["thinking_tokens"].as_u64();
    if reasoning.unwrap_or(0) > output {
        return fail("the counts contradict each other", usage);
    }
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    Ok([Some(input), Some(output), read, written, reasoning])
}

fn anthropic_whole(body: &Value, bytes: &[u8]) -> Result<Said, String> {
    if body["type"] != "message" || body["role"] != "assistant" {
        return fail("no message", body);
    }
    let inputs = inputs(bytes)?;
    let mut turn = Turn { finish: body["stop_reason"].as_str().map(str::to_owned), ..Turn::default() };
    for (at, block) in body["content"].as_array().into_iter().flatten().enumerate() {
        let mut shell = block.clone();
        match block["type"].as_str().unwrap_or_default() {
            "text" => {
                turn.text += &text_of(&block["text"]);
                if text_of(&block["text"]).is_empty() {
                    return fail("an empty text block", block);
                }
                shell["text"] = "".into();
            }
            "thinking" => {
                turn.thinking += &text_of(&block["thinking"]);
                shell["thinking"] = "".into();
            }
            "tool_use" => {
                if !block["input"].is_object() {
                    return fail("an input that is no object", block);
                }
                turn.calls.push((text_of(&block["id"]), text_of(&block["name"]), inputs[at].clone()));
                shell["input"] = serde_json::json!({});
            }
            _ => {}
        }
        // In a stream citations come behind their block's start.
        let citations = shell.as_object_mut().and_then(|shell| shell.remove("citations"));
        turn.extra.push(shell);
        turn.extra.extend(citations.as_ref().and_then(Value::as_array).into_iter().flatten().cloned());
    }
    turn.extra.push(body["stop_sequence"].clone());
    Ok(Said {
        id: text_of(&body["id"]),
        model: text_of(&body["model"]),
        turns: vec![turn],
        usage: Some(anthropic_usage(&body["usage"])?),
        ended: body["stop_reason"].is_string(),
    })
}

/// The `input` of each block, as it is spelled.
fn inputs(bytes: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        content: Vec<Part<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        input: Option<&'a serde_json::value::RawValue>,
    }

    let body: Body<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(body.content.iter().map(|part| part.input.map_or_else(String::new, |input| input.get().to_owned())).collect())
}
