//! What holds for every conversation and every answer, by random examples: streams and whole answers agree, cuts and splits
//! change nothing but the end, histories survive the way to another wire and back, counts add up.
//!
//! The examples are the same in each run; `tests/fuzz` looks further.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "a test talks to its reader")]

#[path = "laws/generate.rs"]
mod generate;
#[path = "laws/grammar.rs"]
mod grammar;
#[path = "laws/memory.rs"]
mod memory;
#[path = "laws/toy.rs"]
mod toy;

use std::sync::Arc;

use bytes::Bytes;
use feathergate::wire::chat::{Part, Request, Role, Wish};
use feathergate::wire::convert::{self, Answering, Inbound, Outbound, Upstream};
use feathergate::wire::event::{Block, Event, Sink, Stop};
use feathergate::wire::fold::Answer;
use feathergate::wire::loss::Losses;
use feathergate::wire::profile::Profile;
use feathergate::wire::relay::Undo;
use feathergate::wire::sse;
use feathergate::wire::text::{Json, Writer};
use feathergate::wire::transcode::Transcoder;
use feathergate::wire::{self, Failure, OnLoss, Operation, Tally, Target, Usage, Wire};
use generate::{History, Reply};
use grammar::{Checked, Said};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const CLIENTS: [Wire; 2] = [Wire::OpenAiChat, Wire::AnthropicMessages];

/// Runs a law on so many examples, the same in each run.
fn hold<S: Strategy>(cases: u32, examples: S, law: impl Fn(S::Value)) {
    let config = Config { cases, rng_seed: RngSeed::Fixed(42), failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&examples, |example| {
        law(example);
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

fn inbound(wire: Wire) -> &'static dyn Inbound {
    convert::inbound(wire).unwrap()
}

fn how() -> Answering {
    Answering {
        stamp: "stamp1".to_owned(),
        created: 1_790_000_000,
        wish: Wish { usage: true, ..Wish::default() },
        ..Answering::default()
    }
}

fn fold(events: &[Event<'static>]) -> Answer {
    let mut checked = Checked::default();
    for event in events {
        checked.event(0, event.clone());
    }
    checked.done().expect("the generator obeys the grammar")
}

/// The answer as `wire` streams it, an event of the transport an item.
fn streamed(wire: Wire, events: &[Event<'static>]) -> Vec<Vec<u8>> {
    let mut encoder = inbound(wire).encoder(&Arc::new(how()));
    let mut frames = Vec::new();
    for event in events {
        let mut out = Writer::default();
        encoder.event(0, event.clone(), &mut out);
        let out = String::from_utf8(out.into_bytes()).unwrap();
        frames.extend(out.split_inclusive("\n\n").map(|frame| frame.as_bytes().to_vec()));
    }
    frames
}

fn decoded(wire: Wire, frames: &[Vec<u8>]) -> Answer {
    let mut decoder = convert::outbound(wire).decoder();
    let mut sink = Checked::default();
    for frame in frames {
        let event = sse::Event::read(frame);
        if let Some(data) = &event.data {
            decoder.frame(event.name, data, &mut sink);
        }
    }
    decoder.end(&mut sink);
    sink.done().unwrap_or_else(|breach| panic!("{breach}\nin {}", String::from_utf8_lossy(&frames.concat())))
}

/// The bytes that an upstream of `wire` streams for this answer.
fn upstream(wire: Wire, reply: &Reply) -> Vec<u8> {
    match wire {
        Wire::Gemini => reply.gemini().into_bytes(),
        _ => streamed(wire, &reply.events()).concat(),
    }
}

/// What both dialects keep of an answer: its text, its thoughts and its calls, each kind in its order, why it stopped and
/// what it cost. `OpenAI` has no borders between blocks of one kind; Anthropic has no refusal beside the text; a stop
/// sequence is told by Anthropic only, and so are a full context and a pause.
#[derive(Debug, PartialEq)]
struct Kept {
    text: String,
    thinking: String,
    calls: Vec<(String, String, String)>,
    stop: Option<Stop>,
    usage: Usage,
}

fn kept(answer: &Answer) -> Kept {
    let choice = answer.choice(0).cloned().unwrap_or_default();
    let all = |wanted: fn(&Block<'_>) -> bool| -> String {
        choice.pieces.iter().filter(|piece| wanted(&piece.block)).map(|piece| piece.text.as_str()).collect()
    };
    Kept {
        text: all(|block| matches!(block, Block::Text | Block::Refusal)),
        thinking: all(|block| *block == Block::Thinking),
        calls: choice
            .pieces
            .iter()
            .filter_map(|piece| match &piece.block {
                Block::Call { id, name, .. } => Some((id.to_string(), name.to_string(), piece.text.clone())),
                _ => None,
            })
            .collect(),
        stop: choice.stop.map(|stop| if stop == Stop::Sequence { Stop::End } else { stop }),
        usage: answer.usage,
    }
}

#[test]
fn what_is_written_as_a_stream_is_read_as_the_same_answer() {
    for wire in CLIENTS {
        let examples = prop_oneof![8 => generate::reply(wire == Wire::AnthropicMessages), 1 => generate::refusal()];
        hold(300, examples, |reply| {
            let events = reply.events();
            let read = decoded(wire, &streamed(wire, &events));
            assert_eq!(kept(&read), kept(&fold(&events)), "{wire:?}");
            // The id is ours: each dialect has its own form.
            assert_eq!(read.model, "model-1", "{wire:?}");
        });
    }
}

#[test]
fn anthropic_keeps_every_block_and_every_seal() {
    hold(300, generate::reply(true), |reply| {
        let events = reply.events();
        let read = decoded(Wire::AnthropicMessages, &streamed(Wire::AnthropicMessages, &events));
        assert_eq!(read.choices, fold(&events).choices);
    });
}

#[test]
fn a_stream_and_a_whole_answer_are_read_as_one() {
    for wire in CLIENTS {
        let examples = prop_oneof![8 => generate::reply(wire == Wire::AnthropicMessages), 1 => generate::refusal()];
        hold(300, examples, |reply| {
            let events = reply.events();
            let stream = decoded(wire, &streamed(wire, &events));
            let mut whole = Checked::default();
            convert::outbound(wire).whole(&inbound(wire).whole(&fold(&events), &how()), &mut whole);
            assert_eq!(stream, whole.done().unwrap(), "{wire:?}");
        });
    }
}

/// An answer as the client's library puts it together, arguments without the white space between their tokens.
fn compact(mut said: Said) -> Said {
    for call in said.turns.iter_mut().flat_map(|turn| &mut turn.calls) {
        if let Some(json) = Json::parse(call.2.clone()) {
            json.compact().get().clone_into(&mut call.2);
        }
    }
    said
}

#[test]
fn a_stream_is_put_together_to_the_whole_answer() {
    for wire in CLIENTS {
        let examples = prop_oneof![8 => generate::reply(true), 1 => generate::refusal()];
        hold(300, examples, |reply| {
            let events = reply.events();
            let stream = streamed(wire, &events).concat();
            let stream = grammar::stream(wire, &stream)
                .unwrap_or_else(|breach| panic!("{breach}\nin {}", String::from_utf8_lossy(&stream)));
            let whole = inbound(wire).whole(&fold(&events), &how());
            let whole = grammar::whole(wire, &whole)
                .unwrap_or_else(|breach| panic!("{breach}\nin {}", String::from_utf8_lossy(&whole)));
            assert_eq!(compact(stream), compact(whole), "{wire:?}");
        });
    }
}

fn transcoded(from: &dyn Outbound, to: &dyn Inbound, chunks: &[&[u8]], cut: Option<Failure>) -> (Vec<u8>, Tally) {
    let mut pipe = Transcoder::new(from, to, Undo::default(), &Arc::new(how()));
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&pipe.push(Bytes::copy_from_slice(chunk)));
    }
    let tally = pipe.finish(cut);
    out.extend_from_slice(&tally.bytes);
    (out, tally)
}

/// Streams of every upstream on their way to clients of every other wire.
fn crossings(reply: &Reply) -> Vec<(Wire, Wire, Vec<u8>)> {
    let mut out = Vec::new();
    for from in Wire::ALL {
        out.extend(CLIENTS.into_iter().filter(|to| *to != from).map(|to| (from, to, upstream(from, reply))));
    }
    out
}

#[test]
fn every_way_across_says_the_same() {
    hold(150, generate::reply(false), |reply| {
        let wanted = kept(&fold(&reply.events()));
        for (from, to, bytes) in crossings(&reply) {
            let (out, tally) = transcoded(convert::outbound(from), inbound(to), &[&bytes], None);
            assert_eq!(tally.failure, None, "{from:?} to {to:?}: {}", String::from_utf8_lossy(&bytes));
            let said = grammar::stream(to, &out).unwrap_or_else(|breach| panic!("{from:?} to {to:?}: {breach}"));
            let turn = &said.turns[0];
            assert!(said.ended, "{from:?} to {to:?}");
            assert_eq!((&turn.text, &turn.thinking), (&wanted.text, &wanted.thinking), "{from:?} to {to:?}");
            assert_eq!(turn.calls, wanted.calls, "{from:?} to {to:?}");
            // Gemini does not say what it wrote to its cache, and we tell that by reporting no such tokens.
            let usage = tally.usage;
            assert_eq!((usage.input, usage.output), (wanted.usage.input, wanted.usage.output), "{from:?} to {to:?}");
            assert_eq!(usage.cache_read, wanted.usage.cache_read, "{from:?} to {to:?}");
            let [input, output, read, ..] = said.usage.unwrap();
            assert_eq!((input, output, read), (usage.input, usage.output, usage.cache_read), "{from:?} to {to:?}");
        }
    });
}

#[test]
fn no_split_changes_a_byte() {
    hold(4, generate::reply(false), |reply| {
        for (from, to, bytes) in crossings(&reply) {
            let (from, to) = (convert::outbound(from), inbound(to));
            let whole = transcoded(from, to, &[&bytes], None).0;
            for cut in 0..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(transcoded(from, to, &[head, tail], None).0, whole, "cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(transcoded(from, to, &single, None).0, whole, "single bytes");
        }
    });
}

/// What tells in the upstream's dialect that the model is done.
fn done_marker(wire: Wire, bytes: &[u8]) -> usize {
    let text = std::str::from_utf8(bytes).unwrap();
    let marker = match wire {
        Wire::OpenAiChat => "\"finish_reason\":\"",
        Wire::AnthropicMessages => "event: message_delta",
        Wire::Gemini => "\"finishReason\":\"",
    };
    text.rfind(marker).unwrap()
}

#[test]
fn every_truncation_ends_in_a_finish_or_in_a_failure() {
    hold(3, generate::reply(false), |reply| {
        for (from, to, bytes) in crossings(&reply) {
            let done = done_marker(from, &bytes);
            for cut in 0..bytes.len() {
                for broken in [None, Some(Failure::cut("broken"))] {
                    let name = format!("{from:?} to {to:?}, {cut} of {}, {broken:?}", bytes.len());
                    let (out, tally) =
                        transcoded(convert::outbound(from), inbound(to), &[&bytes[..cut]], broken.clone());
                    let said = grammar::stream(to, &out).unwrap_or_else(|breach| panic!("{name}: {breach}"));
                    let finished = said.turns.iter().any(|turn| turn.finish.is_some());
                    assert_eq!(tally.failure.is_none(), said.ended, "{name}");
                    assert_eq!(said.ended, finished, "{name}");
                    assert!(!(finished && cut <= done), "a finish that the upstream did not send: {name}");
                }
            }
        }
    });
}

/// One thing said in a history, and by whom.
#[derive(Clone, Debug, PartialEq)]
enum Fact {
    System(String),
    User(String),
    Model(String),
    Call(String, String, String),
    Result(String, String),
}

fn facts(request: &Request<'_>) -> Vec<Fact> {
    merged(told(request))
}

fn told(request: &Request<'_>) -> Vec<Fact> {
    let mut out: Vec<Fact> = request.system.iter().map(|text| Fact::System(text.text.to_string())).collect();
    for turn in &request.turns {
        for part in &turn.parts {
            out.push(match (part, turn.role) {
                (Part::Text(text), Role::Assistant) => Fact::Model(text.text.to_string()),
                (Part::Text(text), Role::User) => Fact::User(text.text.to_string()),
                (Part::Text(text), Role::System) => Fact::System(text.text.to_string()),
                (Part::Call(call), _) => {
                    Fact::Call(call.id.to_string(), call.name.to_string(), call.arguments.get().to_owned())
                }
                (Part::Outcome(outcome), _) => {
                    let texts = outcome.content.iter().map(|part| match part {
                        Part::Text(text) => text.text.as_str(),
                        other => panic!("{other:?} in a result"),
                    });
                    Fact::Result(outcome.id.to_string(), texts.collect())
                }
                (other, _) => panic!("{other:?} in the history"),
            });
        }
    }
    out
}

/// Neighbouring texts of the model as one: `OpenAI` has one text a turn.
fn merged(facts: Vec<Fact>) -> Vec<Fact> {
    let mut out: Vec<Fact> = Vec::new();
    for fact in facts {
        match (out.last_mut(), fact) {
            (Some(Fact::Model(before)), Fact::Model(text)) => before.push_str(&text),
            (_, fact) => out.push(fact),
        }
    }
    out
}

fn read(wire: Wire, body: &[u8]) -> Request<'_> {
    let envelope = wire::peek(wire, body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
    inbound(wire).decode(&envelope).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

fn written(wire: Wire, request: &Request<'_>) -> Vec<u8> {
    let (vendor, model) = match wire {
        Wire::OpenAiChat => ("openai", "gpt-4.1"),
        Wire::AnthropicMessages => ("anthropic", "claude-opus-4-5"),
        Wire::Gemini => ("gemini", "gemini-3-pro-preview"),
    };
    let profile = Profile::find(wire, vendor, model);
    let mut losses = Losses::new(OnLoss::Report);
    let to = Upstream { model, profile: &profile };
    convert::outbound(wire).encode(request, &to, Operation::Generate, &mut losses).unwrap().body
}

fn spelled(wire: Wire, history: &History) -> String {
    if wire == Wire::OpenAiChat { history.openai() } else { history.anthropic() }
}

#[test]
fn a_history_comes_back_from_another_wire() {
    for (home, away) in [(CLIENTS[0], CLIENTS[1]), (CLIENTS[1], CLIENTS[0])] {
        hold(200, generate::history(), |history| {
            let body = spelled(home, &history);
            let first = read(home, body.as_bytes());
            let there = written(away, &first);
            let second = read(away, &there);
            let back = written(home, &second);
            let third = read(home, &back);
            assert_eq!(facts(&second), facts(&first), "{home:?} to {away:?}");
            assert_eq!(facts(&third), facts(&first), "{home:?} to {away:?} and back");
        });
    }
}

#[test]
fn both_dialects_say_one_history() {
    hold(200, generate::history(), |history| {
        let (openai, anthropic) = (history.openai(), history.anthropic());
        assert_eq!(facts(&read(CLIENTS[0], openai.as_bytes())), facts(&read(CLIENTS[1], anthropic.as_bytes())));
    });
}

/// Nobody reads Gemini's requests back, so what must be in them is looked for in order.
#[test]
fn gemini_is_told_the_whole_history_in_order() {
    hold(200, generate::history(), |history| {
        for home in CLIENTS {
            let body = spelled(home, &history);
            let request = read(home, body.as_bytes());
            let there = String::from_utf8(written(Wire::Gemini, &request)).unwrap();
            serde_json::from_str::<serde::de::IgnoredAny>(&there).unwrap();
            let mut rest = &there[there.find("\"contents\"").unwrap()..];
            for fact in told(&request) {
                let wanted = match fact {
                    Fact::System(_) | Fact::Result(..) => continue,
                    Fact::User(text) | Fact::Model(text) => serde_json::to_string(&text).unwrap(),
                    Fact::Call(_, name, arguments) if arguments == "{}" => format!("\"name\":\"{name}\""),
                    Fact::Call(_, _, arguments) => format!("\"args\":{arguments}"),
                };
                let at = rest.find(&wanted).unwrap_or_else(|| panic!("no {wanted} in {rest}\nfrom {body}"));
                rest = &rest[at + wanted.len()..];
            }
        }
    });
}

#[test]
fn on_one_wire_twice_is_once() {
    let defaults = [("temperature".to_owned(), "0.5".to_owned())];
    hold(100, generate::history(), |history| {
        for wire in CLIENTS {
            let profile = Profile::find(wire, "openai", "m");
            let to = Target {
                wire,
                model: "up",
                profile: &profile,
                drop: &["seed".to_owned()],
                defaults: &defaults,
                ask_usage: true,
                answer_as: None,
                on_loss: OnLoss::Report,
            };
            let once = |body: &Bytes| {
                let envelope = wire::peek(wire, body).unwrap();
                wire::prepare(&envelope, body, Operation::Generate, &to).unwrap().body
            };
            let body = spelled(wire, &history).replacen('{', "{\"seed\":7,\"stream\":true,", 1);
            let first = once(&Bytes::from(body));
            assert_eq!(once(&first), first);
        }
    });
}

#[test]
fn counts_add_up_for_every_client() {
    let some = || prop_oneof![Just(None), (0..100_000_u64).prop_map(Some), Just(Some(u64::MAX))];
    let usage = (some(), some(), some(), some(), some());
    let examples = (
        generate::reply(false),
        prop_oneof![
            generate::usage(),
            usage.prop_map(|(input, output, read, write, reasoning)| Usage {
                input,
                output,
                cache_read: read,
                cache_write: write,
                reasoning,
                ..Usage::default()
            })
        ],
    );
    hold(300, examples, |(mut reply, usage)| {
        reply.usage = usage;
        for (wire, more) in CLIENTS.into_iter().zip([usage.input.is_some() && usage.cache_read.is_some(), false]) {
            // The grammar holds the sums: total = prompt + completion, cached within the prompt, reasoning within the rest.
            let said = grammar::stream(wire, &streamed(wire, &reply.events()).concat()).unwrap();
            let [input, output, read, written, _] = said.usage.unwrap_or_default();
            if usage.output.is_some() {
                // Reasoning that is more than all of the output is what the output must have been.
                assert_eq!(output, usage.output.max(usage.reasoning), "{wire:?}");
            }
            let sum = |input: Option<u64>, read: Option<u64>, written: Option<u64>| {
                input.unwrap_or(0).saturating_add(read.unwrap_or(0)).saturating_add(written.unwrap_or(0))
            };
            if usage.input.is_some() {
                assert_eq!(
                    sum(input, read, written),
                    sum(usage.input, usage.cache_read, usage.cache_write),
                    "{wire:?} {usage:?}"
                );
            }
            assert!(!more || read.is_some(), "{wire:?} {usage:?}");
        }
    });
}

#[test]
fn a_new_wire_is_one_value_with_two_sides() {
    // A request to it and from it.
    let body = br#"{"model":"m","temperature":1,"messages":[{"role":"user","content":"Hello\nyou"},{"role":"assistant","content":"Yes?"},{"role":"user","content":"Go on."}]}"#;
    let request = read(Wire::OpenAiChat, body);
    let profile = Profile::find(Wire::OpenAiChat, "", "lines");
    let mut losses = Losses::new(OnLoss::Report);
    let to = Upstream { model: "lines-1", profile: &profile };
    let sent = toy::Lines.encode(&request, &to, Operation::Generate, &mut losses).unwrap();
    assert_eq!(String::from_utf8(sent.body).unwrap(), "M lines-1\nU Hello\\nyou\nA Yes?\nU Go on.\n");
    assert_eq!(losses.settle().unwrap()[0].field, "temperature");
    let body = br#"{"model":"m","messages":["U Hello","A Yes?","U Go on."]}"#;
    let envelope = wire::peek(Wire::OpenAiChat, body).unwrap();
    let request = toy::Lines.decode(&envelope).unwrap();
    for wire in Wire::ALL {
        let there = String::from_utf8(written(wire, &request)).unwrap();
        assert!(there.contains("Hello") && there.contains("Go on."), "{wire:?}: {there}");
    }

    // Answers to it and from it: whole and streamed say the same, at every split.
    hold(60, generate::reply(false), |reply| {
        let wanted = kept(&fold(&reply.events()));
        for wire in CLIENTS {
            let events = reply.events();
            let theirs = inbound(wire).whole(&fold(&events), &how());
            let (ours, _) =
                convert::whole(convert::outbound(wire), &toy::Lines, &theirs, &Undo::default(), &how()).unwrap();
            let (back, _) = convert::whole(&toy::Lines, inbound(wire), &ours, &Undo::default(), &how()).unwrap();
            let whole = grammar::whole(wire, &back).unwrap();
            assert_eq!((&whole.turns[0].text, &whole.turns[0].calls), (&wanted.text, &wanted.calls), "{wire:?}");

            let theirs = streamed(wire, &events).concat();
            let (ours, tally) = transcoded(convert::outbound(wire), &toy::Lines, &[&theirs], None);
            assert_eq!(tally.failure, None);
            let (back, tally) = transcoded(&toy::Lines, inbound(wire), &[&ours], None);
            assert_eq!(tally.failure, None);
            let stream = grammar::stream(wire, &back).unwrap();
            assert_eq!(compact(stream.clone()).turns[0].calls, compact(whole).turns[0].calls);
            let pieces: Vec<&[u8]> = ours.chunks(7).collect();
            let (split, _) = transcoded(&toy::Lines, inbound(wire), &pieces, None);
            assert_eq!(grammar::stream(wire, &split).unwrap(), stream);
        }
    });
}
