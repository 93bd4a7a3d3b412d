//! What the tests of this wire share.

use std::sync::Arc;

use serde_json::Value;

use super::Anthropic;
use crate::wire::chat::{Effort, Request};
use crate::wire::convert::{Answering, Encoded, Inbound, Outbound, StreamDecoder, Upstream};
use crate::wire::event::{Event, Kept, Sink};
use crate::wire::fold::Answer;
use crate::wire::loss::{Loss, Losses, OnLoss, Unsendable};
use crate::wire::profile::{Control, Forced, Profile, Reads, Sampling};
use crate::wire::text::Writer;
use crate::wire::{DecodeError, Operation, Wire, peek};

/// A model that decides itself how long it reasons.
pub(super) fn newest() -> Profile {
    Profile {
        max_output: Some(128_000),
        thinking: Control::Adaptive,
        budget: (0, 0),
        efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max],
        thinking_off: true,
        sampling: Sampling::Refused,
        both_samplings: false,
        stops: usize::MAX,
        prefill: false,
        system_turns: true,
        schemas: true,
        schemas_with_tools: true,
        forced_tools: Forced::Free,
        result_media: true,
        cache_marks: true,
        reads: Reads { images: true, documents: true, audio: false, video: false },
        ..Profile::find(Wire::AnthropicMessages, "anthropic", "claude-opus-5")
    }
}

/// A model that reasons within a budget.
pub(super) fn older() -> Profile {
    Profile {
        max_output: Some(64_000),
        thinking: Control::Budget,
        budget: (1024, 63_999),
        efforts: &[],
        sampling: Sampling::NotThinking,
        prefill: true,
        system_turns: false,
        schemas: false,
        schemas_with_tools: false,
        forced_tools: Forced::NotThinking,
        ..newest()
    }
}

/// Fields of a client's request, `model` left out, decoded.
pub(super) fn read(fields: &str) -> Result<Request<'static>, DecodeError> {
    let body: &'static str = Box::leak(format!("{{\"model\":\"m\",{fields}}}").into_boxed_str());
    let envelope = peek(Wire::AnthropicMessages, body.as_bytes()).unwrap();
    Anthropic.decode(&envelope)
}

/// A request as it is sent.
pub(super) struct Sent {
    pub(super) body: Value,
    pub(super) text: String,
    pub(super) encoded: Encoded,
    pub(super) losses: Vec<Loss>,
}

impl Sent {
    pub(super) fn fields(&self) -> Vec<&str> {
        self.losses.iter().map(|loss| &*loss.field).collect()
    }
}

pub(super) fn sent_as(
    request: &Request<'_>,
    profile: &Profile,
    operation: Operation,
    policy: OnLoss,
) -> Result<Sent, Unsendable> {
    let mut losses = Losses::new(policy);
    let encoded = Anthropic.encode(request, &Upstream { model: "up", profile }, operation, &mut losses)?;
    let text = String::from_utf8(encoded.body.clone()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Ok(Sent { body, text, encoded, losses: losses.settle().unwrap() })
}

pub(super) fn sent(request: &Request<'_>, profile: &Profile) -> Sent {
    sent_as(request, profile, Operation::Generate, OnLoss::Report).unwrap()
}

/// Data of events, in order, decoded.
pub(super) fn streamed(events: &[&str]) -> Vec<Event<'static>> {
    let mut kept = Kept::default();
    let mut decoder = super::stream::Decoder::default();
    for data in events {
        decoder.frame(None, data.as_bytes(), &mut kept);
    }
    decoder.end(&mut kept);
    checked(kept)
}

pub(super) fn whole(body: &str) -> Vec<Event<'static>> {
    let mut kept = Kept::default();
    Outbound::whole(&Anthropic, body.as_bytes(), &mut kept);
    checked(kept)
}

/// The events, after a look at their grammar.
fn checked(kept: Kept) -> Vec<Event<'static>> {
    let events: Vec<Event<'static>> = kept.0.into_iter().map(|(_, event)| event).collect();
    let (mut open, mut finished, mut over, mut sealed) = (false, false, false, false);
    for (at, event) in events.iter().enumerate() {
        assert!(!over, "after the end: {event:?}");
        match event {
            Event::Start { .. } => assert_eq!(at, 0),
            Event::Open(_) => {
                assert!(!open && !finished);
                (open, sealed) = (true, false);
            }
            Event::Delta(text) => assert!(open && !text.is_empty()),
            Event::Seal(..) => {
                assert!(open && !sealed);
                sealed = true;
            }
            Event::Close => open = !open,
            Event::Citation(_) | Event::Logprobs(_) => assert!(!open && !finished),
            Event::Usage(_) => assert!(!finished),
            Event::Finish { .. } => {
                assert!(!open && !finished);
                finished = true;
            }
            Event::End => {
                assert!(finished);
                over = true;
            }
            Event::Failed(_) => over = true,
        }
    }
    assert!(over, "no end: {events:?}");
    events
}

pub(super) fn folded(events: &[Event<'static>]) -> Answer {
    let mut answer = Answer::default();
    for event in events {
        answer.event(0, event.clone());
    }
    answer
}

pub(super) fn answering() -> Arc<Answering> {
    Arc::new(Answering { stamp: "abc".into(), created: 1, estimate: 7, ..Answering::default() })
}

/// The events as a stream for a client.
pub(super) fn written(events: &[Event<'static>], how: &Arc<Answering>) -> String {
    let mut out = Writer::default();
    let mut encoder = Anthropic.encoder(how);
    for event in events {
        encoder.event(0, event.clone(), &mut out);
    }
    String::from_utf8(out.into_bytes()).unwrap()
}

/// A stream, gathered into a message as the official clients do, with all that they rely on.
pub(super) fn gathered(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut input = String::new();
    let mut open = None;
    let mut stopped = false;
    for event in stream.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        assert!(!stopped);
        let at = data["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        match data["type"].as_str().unwrap() {
            "message_start" => {
                assert!(message.is_null(), "a second start");
                message = data["message"].clone();
            }
            "content_block_start" => {
                assert!(open.is_none() && at == message["content"].as_array().unwrap().len());
                open = Some(at);
                input.clear();
                message["content"].as_array_mut().unwrap().push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, Some(at));
                let (block, delta) = (&mut message["content"][at], &data["delta"]);
                let field = match (block["type"].as_str().unwrap(), delta["type"].as_str().unwrap()) {
                    ("text", "text_delta") => "text",
                    ("thinking", "thinking_delta") => "thinking",
                    ("thinking", "signature_delta") => "signature",
                    ("tool_use", "input_json_delta") => "partial_json",
                    other => panic!("{other:?}"),
                };
                let more = delta[field].as_str().unwrap();
                if field == "partial_json" {
                    input.push_str(more);
                } else {
                    block[field] = Value::from(block[field].as_str().unwrap().to_owned() + more);
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), Some(at));
                if !input.is_empty() {
                    message["content"][at]["input"] = serde_json::from_str(&input).unwrap();
                }
            }
            "message_delta" => {
                assert!(open.is_none());
                for (name, value) in data["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                for (name, value) in data["usage"].as_object().unwrap() {
                    message["usage"][name] = value.clone();
                }
            }
            "message_stop" => stopped = true,
            other => panic!("{other}"),
        }
    }
    assert!(stopped, "no stop: {stream}");
    message
}
