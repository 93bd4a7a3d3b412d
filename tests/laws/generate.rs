//! Small conversations and answers at random, and how each dialect spells them.

use feathergate::wire::Usage;
use feathergate::wire::chat::Origin;
use feathergate::wire::event::{Block, Event, Stop};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

/// Pieces of text that have been trouble somewhere: escapes, line ends of every kind, what looks like SSE or JSON, and
/// characters of each length in UTF-8.
const PIECES: [&str; 20] = [
    "a",
    " token",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\"",
    "\\",
    "\\u0041",
    "data: [DONE]\n\n",
    "{\"usage\":1}",
    "é",
    "€",
    "😀",
    "\u{2028}",
    "\u{0}",
    "\u{7f}",
    "</system>",
    "e\u{301}",
    "finish_reason",
];

/// A piece of text, never empty.
pub(crate) fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(select(&PIECES[..]), 1..4).prop_map(|pieces| pieces.concat()),
        1 => vec(any::<char>(), 1..6).prop_map(String::from_iter),
    ]
}

/// Text with more in it than white space.
pub(crate) fn text() -> impl Strategy<Value = String> {
    (piece(), select(&["x", "Yes.", "ü"][..]), piece()).prop_map(|(a, b, c)| a + b + &c)
}

/// A JSON object as text, compact, its keys in any order and its numbers as somebody may spell them.
pub(crate) fn arguments() -> impl Strategy<Value = String> {
    let string = piece().prop_map(|text| json!(text).to_string());
    let leaf = prop_oneof![
        select(
            &["1", "1.0", "-0", "1e3", "12345678901234567890", "0.10", "true", "null", "\"\\u00fc\\/\"", "\"\""][..]
        )
        .prop_map(str::to_owned),
        string,
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            object(inner).prop_map(|text| text),
        ]
    });
    object(value)
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let keys = subsequence(&["z", "a", "b", "_raw", "input", "text", "ü", "1", ""][..], 0..4).prop_shuffle();
    (keys, vec(value, 4)).prop_map(|(keys, values)| {
        let fields: Vec<String> =
            keys.iter().zip(values).map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// An id that every dialect takes.
pub(crate) fn id() -> impl Strategy<Value = String> {
    (select(&["call_", "toolu_01", "x-", ""][..]), 0..1_000_000_u32)
        .prop_map(|(start, number)| format!("{start}{number:06}"))
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    select(&["get_weather", "f", "_x-1", "Read", "mcp__a__b"][..]).prop_map(str::to_owned)
}

/// A block of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Text(Vec<String>),
    Refusal(Vec<String>),
    Thinking(Vec<String>, Option<String>),
    Redacted(String),
    /// Id, name, and the arguments in pieces.
    Call(String, String, Vec<String>),
}

/// An answer that a model could give.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) blocks: Vec<Said>,
    pub(crate) usage: Usage,
    pub(crate) stop: Stop,
    pub(crate) sequence: Option<String>,
}

fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut places: Vec<usize> =
        cuts.iter().map(|cut| cut.index(text.len())).filter(|at| text.is_char_boundary(*at)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.dedup();
    places.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect()
}

fn call() -> impl Strategy<Value = Said> {
    (id(), name(), arguments(), vec(any::<prop::sample::Index>(), 0..3)).prop_map(|(id, name, arguments, cuts)| {
        // No delta at all is how a call without arguments comes.
        let pieces = if arguments == "{}" { Vec::new() } else { cut(&arguments, &cuts) };
        Said::Call(id, name, pieces)
    })
}

/// Counts that can be true.
pub(crate) fn usage() -> impl Strategy<Value = Usage> {
    (0..90_000_u64, 1..9_000_u64, 0..70_000_u64, 0..800_u64, 0..=100_u64).prop_map(
        |(input, output, read, write, part)| Usage {
            input: Some(input),
            output: Some(output),
            cache_read: Some(read),
            cache_write: Some(write),
            reasoning: Some(output * part / 100),
            ..Usage::default()
        },
    )
}

/// An answer in the order that all wires can say: thinking, text, calls. `anthropic`: with what only Anthropic seals.
pub(crate) fn reply(anthropic: bool) -> impl Strategy<Value = Reply> {
    let thinking = (vec(piece(), 1..3), select(&["c2VhbA==", "x+/="][..]))
        .prop_map(move |(pieces, seal)| Said::Thinking(pieces, anthropic.then(|| seal.to_owned())));
    let redacted = select(&["cmVk", "YWN0"][..]).prop_map(|data: &str| Said::Redacted(data.to_owned()));
    let words = (text(), vec(piece(), 0..3)).prop_map(|(first, mut more)| {
        more.insert(0, first);
        Said::Text(more)
    });
    let thinking = vec(thinking, 0..2);
    let redacted = vec(redacted, 0..=usize::from(anthropic));
    (thinking, redacted, vec(words, 0..2), vec(call(), 0..3), usage(), 0..4_u8, select(&["END", "\n\n"][..])).prop_map(
        |(thinking, redacted, words, calls, usage, stop, sequence)| {
            let (stop, sequence) = match (stop, calls.is_empty()) {
                (1, _) => (Stop::Length, None),
                (_, false) => (Stop::Tools, None),
                (2, true) => (Stop::Sequence, Some(sequence.to_owned())),
                (_, true) => (Stop::End, None),
            };
            let mut blocks = thinking;
            blocks.extend(redacted);
            blocks.extend(words);
            // Two calls of one answer never share an id.
            blocks.extend(calls.into_iter().enumerate().map(|(at, call)| match call {
                Said::Call(id, name, pieces) => Said::Call(format!("{id}{at}"), name, pieces),
                other => other,
            }));
            Reply { blocks, usage, stop, sequence }
        },
    )
}

/// A refusal in the model's own words, as `OpenAI` has it.
pub(crate) fn refusal() -> impl Strategy<Value = Reply> {
    (vec(text(), 1..3), usage()).prop_map(|(pieces, usage)| Reply {
        blocks: vec![Said::Refusal(pieces)],
        usage,
        stop: Stop::Refusal,
        sequence: None,
    })
}

impl Reply {
    /// The answer as events, as a decoder would give them.
    pub(crate) fn events(&self) -> Vec<Event<'static>> {
        let mut out =
            vec![Event::Start { id: "answer1".to_owned().into(), model: "model-1".to_owned().into(), tier: None }];
        for block in &self.blocks {
            let (open, pieces, seal) = match block {
                Said::Text(pieces) => (Block::Text, pieces.clone(), None),
                Said::Refusal(pieces) => (Block::Refusal, pieces.clone(), None),
                Said::Thinking(pieces, seal) => (Block::Thinking, pieces.clone(), seal.clone()),
                Said::Redacted(data) => (Block::Redacted(Origin::Anthropic, data.clone().into()), Vec::new(), None),
                Said::Call(id, name, pieces) => {
                    (Block::Call { id: id.clone().into(), name: name.clone().into(), seal: None }, pieces.clone(), None)
                }
            };
            out.push(Event::Open(open));
            out.extend(pieces.into_iter().map(|piece| Event::Delta(piece.into())));
            out.extend(seal.map(|seal| Event::Seal(Origin::Anthropic, seal.into())));
            out.push(Event::Close);
        }
        out.push(Event::Usage(self.usage));
        let sequence = self.sequence.clone().map(Into::into);
        out.extend([Event::Finish { stop: self.stop, sequence, explanation: None }, Event::End]);
        out
    }

    /// The answer as Gemini streams it: the parts of each chunk are new, the counts are totals.
    pub(crate) fn gemini(&self) -> String {
        let usage = json!({
            "promptTokenCount": self.usage.input.unwrap_or(0) + self.usage.cache_read.unwrap_or(0),
            "cachedContentTokenCount": self.usage.cache_read,
            "candidatesTokenCount": self.usage.output.unwrap_or(0) - self.usage.reasoning.unwrap_or(0),
            "thoughtsTokenCount": self.usage.reasoning,
        });
        let mut chunks = Vec::new();
        for block in &self.blocks {
            match block {
                Said::Text(pieces) | Said::Refusal(pieces) => {
                    chunks.extend(pieces.iter().map(|piece| json!({"text": piece}).to_string()));
                }
                Said::Thinking(pieces, _) => {
                    chunks.extend(pieces.iter().map(|piece| json!({"text": piece, "thought": true}).to_string()));
                }
                Said::Redacted(_) => {}
                Said::Call(id, name, pieces) => {
                    let args = if pieces.is_empty() { "{}".to_owned() } else { pieces.concat() };
                    chunks.push(format!(
                        r#"{{"functionCall":{{"id":{},"name":{},"args":{args}}}}}"#,
                        json!(id),
                        json!(name)
                    ));
                }
            }
        }
        let reason = if self.stop == Stop::Length { "MAX_TOKENS" } else { "STOP" };
        let mut out = String::new();
        let event = |content: &str| {
            format!(
                "data: {{\"candidates\":[{{{content}\"index\":0}}],\"usageMetadata\":{usage},\"modelVersion\":\"model-1\",\"responseId\":\"answer1\"}}\r\n\r\n"
            )
        };
        for part in chunks {
            out += &event(&format!("\"content\":{{\"role\":\"model\",\"parts\":[{part}]}},"));
        }
        out + &event(&format!("\"finishReason\":\"{reason}\","))
    }
}

/// A turn of the model and what the tools answered.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) text: Option<String>,
    /// Id, name, arguments, and the result.
    pub(crate) calls: Vec<(String, String, String, String)>,
}

/// A conversation that both dialects can say.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) system: Option<String>,
    /// What the user said, and the steps that the model took upon it.
    pub(crate) rounds: Vec<(Vec<String>, Vec<Step>)>,
}

pub(crate) fn history() -> impl Strategy<Value = History> {
    let call = (name(), arguments(), prop_oneof![text(), Just(String::new()), arguments()]);
    let step = (prop::option::of(text()), vec(call, 0..3));
    let round = (vec(text(), 1..3), vec(step, 0..3));
    (prop::option::of(text()), vec(round, 1..3), 0..1000_u32).prop_map(|(system, rounds, seed)| {
        let mut number = seed;
        let rounds = rounds
            .into_iter()
            .map(|(user, steps)| {
                let steps = steps
                    .into_iter()
                    .map(|(text, calls)| {
                        let calls: Vec<_> = calls
                            .into_iter()
                            .map(|(name, arguments, result)| {
                                number += 1;
                                (format!("call_{number}"), name, arguments, result)
                            })
                            .collect();
                        // A turn says something or calls something.
                        let text =
                            if calls.is_empty() { Some(text.unwrap_or_else(|| "Well.".to_owned())) } else { text };
                        Step { text, calls }
                    })
                    .collect();
                (user, steps)
            })
            .collect();
        // The user has the last word: not every model continues its own.
        let mut history = History { system, rounds };
        history.rounds.push((vec!["Go on.".to_owned()], Vec::new()));
        history
    })
}

impl History {
    fn tools(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .rounds
            .iter()
            .flat_map(|(_, steps)| steps)
            .flat_map(|step| &step.calls)
            .map(|(_, name, ..)| name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The request of an `OpenAI` client.
    pub(crate) fn openai(&self) -> String {
        let mut messages = Vec::new();
        messages.extend(self.system.iter().map(|text| json!({"role": "system", "content": text}).to_string()));
        for (user, steps) in &self.rounds {
            messages.extend(user.iter().map(|text| json!({"role": "user", "content": text}).to_string()));
            for step in steps {
                let calls: Vec<_> = step
                    .calls
                    .iter()
                    .map(|(id, name, arguments, _)| {
                        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
                    })
                    .collect();
                let mut message = json!({"role": "assistant", "content": step.text});
                if !calls.is_empty() {
                    message["tool_calls"] = calls.into();
                }
                messages.push(message.to_string());
                messages.extend(step.calls.iter().map(|(id, _, _, result)| {
                    json!({"role": "tool", "tool_call_id": id, "content": result}).to_string()
                }));
            }
        }
        let tools: Vec<_> = self
            .tools()
            .iter()
            .map(|name| {
                json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}})
            })
            .collect();
        let tools = if tools.is_empty() { String::new() } else { format!(",\"tools\":{}", json!(tools)) };
        format!(r#"{{"model":"m","max_tokens":100,"messages":[{}]{tools}}}"#, messages.join(","))
    }

    /// The request of an Anthropic client.
    pub(crate) fn anthropic(&self) -> String {
        let mut messages: Vec<(&str, Vec<String>)> = Vec::new();
        let block = |text: &str| json!({"type": "text", "text": text}).to_string();
        for (user, steps) in &self.rounds {
            let blocks = user.iter().map(|text| block(text)).collect();
            match messages.last_mut() {
                Some(("user", last)) => last.extend::<Vec<String>>(blocks),
                _ => messages.push(("user", blocks)),
            }
            for step in steps {
                let mut blocks: Vec<String> = step.text.iter().map(|text| block(text)).collect();
                blocks.extend(step.calls.iter().map(|(id, name, arguments, _)| {
                    format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{arguments}}}"#)
                }));
                match messages.last_mut() {
                    Some(("assistant", last)) => last.extend(blocks),
                    _ => messages.push(("assistant", blocks)),
                }
                let results: Vec<String> = step
                    .calls
                    .iter()
                    .map(|(id, _, _, result)| {
                        json!({"type": "tool_result", "tool_use_id": id, "content": result}).to_string()
                    })
                    .collect();
                if !results.is_empty() {
                    messages.push(("user", results));
                }
            }
        }
        let messages: Vec<String> = messages
            .into_iter()
            .map(|(role, blocks)| format!(r#"{{"role":"{role}","content":[{}]}}"#, blocks.join(",")))
            .collect();
        let tools: Vec<_> =
            self.tools().iter().map(|name| json!({"name": name, "input_schema": {"type": "object"}})).collect();
        let tools = if tools.is_empty() { String::new() } else { format!(",\"tools\":{}", json!(tools)) };
        let system = self.system.as_ref().map_or_else(String::new, |text| format!(",\"system\":{}", json!(text)));
        format!(r#"{{"model":"m","max_tokens":100,"messages":[{}]{tools}{system}}}"#, messages.join(","))
    }
}
