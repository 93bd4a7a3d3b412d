//! What every target asserts, and an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use feathergate::wire::chat::Wish;
use feathergate::wire::convert::{self, Answering, Inbound};
use feathergate::wire::inject::{At, Injection, inject};
use feathergate::wire::profile::Profile;
use feathergate::wire::relay::Undo;
use feathergate::wire::transcode::Transcoder;
use feathergate::wire::{self, ConvertError, Failure, OnLoss, Operation, Stamp, Target, Wire};

#[path = "../../laws/grammar.rs"]
mod grammar;
use grammar::Checked;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    let now = NOW.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: everything is `System`'s.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it moves, both are there.
        grown(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes of memory for each byte of input, and how many for none at all: an answer may number its only choice 127, and those
/// before it are made as well.
const TIMES: usize = 64;
const BASE: usize = 192 << 10;

/// Runs `what`, which may use so much memory at once and no more.
pub(crate) fn bounded<T>(input: usize, what: impl FnOnce() -> T) -> T {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = what();
    let peak = PEAK.load(Relaxed) - before;
    assert!(peak <= TIMES * input + BASE, "{peak} bytes of memory for {input} of input");
    result
}

pub(crate) const CLIENTS: [Wire; 2] = [Wire::OpenAiChat, Wire::AnthropicMessages];

pub(crate) fn inbound(wire: Wire) -> &'static dyn Inbound {
    convert::inbound(wire).expect("a wire of clients")
}

pub(crate) fn how() -> Answering {
    Answering {
        stamp: "fuzz1".to_owned(),
        created: 1,
        wish: Wish { usage: true, ..Wish::default() },
        ..Answering::default()
    }
}

/// A request of any bytes: refused with a sentence, or prepared for each upstream as JSON that its own reader takes.
pub(crate) fn request(from: Wire, data: &[u8]) {
    let (first, body) = data.split_first().unwrap_or((&0, &[]));
    let body = Bytes::copy_from_slice(body);
    let policy = [OnLoss::Report, OnLoss::Lenient, OnLoss::Reject][usize::from(first % 3)];
    let operation = if first & 0x40 == 0 { Operation::Generate } else { Operation::CountTokens };
    let models = [
        ("openai", "gpt-5.1", "anthropic", "claude-opus-4-8", "gemini", "gemini-3-pro-preview"),
        ("mistral", "mistral-large-latest", "anthropic", "claude-3-5-haiku-latest", "gemini", "gemini-2.0-flash"),
        ("deepseek", "deepseek-reasoner", "anthropic", "claude-sonnet-4-5", "gemini", "gemini-2.5-flash"),
    ][usize::from((first >> 3) % 3)];
    let Ok(envelope) = wire::peek(from, &body) else { return };
    for (wire, vendor, model) in [
        (Wire::OpenAiChat, models.0, models.1),
        (Wire::AnthropicMessages, models.2, models.3),
        (Wire::Gemini, models.4, models.5),
    ] {
        let profile = Profile::find(wire, vendor, model);
        let to = Target {
            wire,
            model,
            profile: &profile,
            drop: &[],
            defaults: &[],
            ask_usage: first & 0x80 != 0,
            answer_as: None,
            on_loss: policy,
        };
        match bounded(body.len(), || wire::prepare(&envelope, &body, operation, &to)) {
            Ok(prepared) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(&prepared.body).expect("a request is JSON");
                for loss in &prepared.losses {
                    assert!(!loss.why.is_empty(), "{loss:?}");
                }
                if from != wire && wire != Wire::Gemini && operation == Operation::Generate {
                    // What we write, we can read.
                    let envelope = wire::peek(wire, &prepared.body).expect("an envelope");
                    inbound(wire).decode(&envelope).expect("a request");
                }
            }
            Err(ConvertError::Decode(error)) => assert!(!error.message.is_empty()),
            // A client may well name a field with no letter at all.
            Err(ConvertError::Unsendable(error)) => assert!(!error.message.is_empty()),
        }
    }
}

/// An answer of any bytes: events in their grammar, whole and streamed, and whole answers that a client can read.
pub(crate) fn answer(from: Wire, data: &[u8]) {
    let outbound = convert::outbound(from);
    bounded(data.len(), || {
        let mut whole = Checked::default();
        outbound.whole(data, &mut whole);
        let whole = whole.done().unwrap_or_else(|breach| panic!("{breach}"));
        if whole.failure.is_none() {
            for to in CLIENTS {
                let written = inbound(to).whole(&whole, &how());
                grammar::whole(to, &written).unwrap_or_else(|breach| panic!("to {to:?}: {breach}"));
            }
        }
        let _ = outbound.counted(data);
        let failure = outbound.failure(500, &Bytes::copy_from_slice(data));
        assert!((400..=599).contains(&failure.status), "{failure:?}");
    });
    bounded(data.len(), || {
        let mut sink = Checked::default();
        let mut decoder = outbound.decoder();
        // Data of events without their framing: what `transcode` reaches with more effort.
        for frame in data.split(|byte| *byte == b'\n') {
            let mut words = frame.splitn(2, |byte| *byte == b'\t');
            let (first, second) = (words.next().unwrap_or_default(), words.next());
            match second {
                Some(data) => decoder.frame(Some(first), data, &mut sink),
                None => decoder.frame(None, first, &mut sink),
            }
        }
        decoder.end(&mut sink);
        sink.done().unwrap_or_else(|breach| panic!("{breach}"));
    });
}

/// A stream of any bytes in chunks of any size from any upstream to any client: the same as in one chunk, readable, and with
/// an end if and only if it came to one.
pub(crate) fn transcode(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Some((size, bytes)) = rest.split_first() else { return };
    let from = Wire::ALL[usize::from(first % 3)];
    let to = CLIENTS[usize::from((first >> 2) % 2)];
    let cut = (first & 0x80 != 0).then(|| Failure::cut("cut"));
    let size = usize::from(*size).max(1);
    let run = |size: usize| {
        bounded(bytes.len(), || {
            let mut pipe = Transcoder::new(convert::outbound(from), inbound(to), Undo::default(), &Arc::new(how()));
            let mut out = Vec::new();
            for chunk in bytes.chunks(size) {
                out.extend_from_slice(&pipe.push(Bytes::copy_from_slice(chunk)));
            }
            let tally = pipe.finish(cut.clone());
            out.extend_from_slice(&tally.bytes);
            (out, tally.failure)
        })
    };
    let (out, failure) = run(size);
    let said = grammar::stream(to, &out).unwrap_or_else(|breach| panic!("{from:?} to {to:?}: {breach}"));
    assert_eq!(said.ended, failure.is_none(), "{from:?} to {to:?}: {failure:?}");
    assert_eq!(run(bytes.len().max(1)), (out, failure), "{from:?} to {to:?}: in one chunk");
}

/// The passthrough: what is not edited comes out as it went in, whatever it is.
pub(crate) fn splice(data: &[u8]) {
    let (first, body) = data.split_first().unwrap_or((&0, &[]));
    let from = CLIENTS[usize::from(first & 1)];
    let body = Bytes::copy_from_slice(body);
    let Ok(envelope) = bounded(body.len(), || wire::peek(from, &body)) else { return };
    let profile = Profile::find(from, "", "");
    let drop = ["seed".to_owned(), "user".to_owned()];
    let defaults = [("temperature".to_owned(), "0.5".to_owned())];
    let target = |model, plain: bool| Target {
        wire: from,
        model,
        profile: &profile,
        drop: if plain { &[] } else { &drop },
        defaults: if plain { &[] } else { &defaults },
        ask_usage: !plain,
        answer_as: None,
        on_loss: OnLoss::Report,
    };
    let same = wire::prepare(&envelope, &body, Operation::Generate, &target(&envelope.model, true)).expect("prepared");
    assert!(same.body == body, "a pass that has nothing to change");
    let edited = target("other \" model", false);
    let once = bounded(body.len(), || wire::prepare(&envelope, &body, Operation::Generate, &edited)).expect("prepared");
    let again = wire::peek(from, &once.body).expect("an envelope");
    assert_eq!(again.model, "other \" model");
    assert!(!again.has("seed") && again.has("temperature"));
    if from == Wire::OpenAiChat && again.stream {
        assert!(again.usage_asked);
    }
    let twice = wire::prepare(&again, &once.body, Operation::Generate, &edited).expect("prepared");
    assert!(twice.body == once.body, "twice is once");

    // The operator's texts: the request stays one, and says the same beside them.
    for (at, text) in [(At::Front, "T\"\n"), (At::Back, "T\"\n"), (At::Instead, "T\"\n"), (At::Instead, "")] {
        let texts = [Injection { at, text: text.to_owned() }];
        let Ok(with) = bounded(body.len(), || inject(&envelope, &body, &texts)) else { continue };
        let after = wire::peek(from, &with).expect("an envelope");
        assert_eq!((&after.model, after.stream), (&envelope.model, envelope.stream));
        assert!(text.is_empty() || std::str::from_utf8(&with).is_ok_and(|it| it.contains(r#"T\"\n"#)), "it is there");
    }

    // And its answers.
    let whole = once.reply.whole(&body, Stamp { id: "fuzz1", created: 1 });
    assert!(whole.is_err() || whole.is_ok_and(|reply| reply.body == body));
    let mut pipe = once.reply.stream(Stamp { id: "fuzz1", created: 1 });
    let out = bounded(body.len(), || {
        let mut out = Vec::new();
        for chunk in body.chunks(usize::from(*first).max(1)) {
            out.extend_from_slice(&pipe.push(Bytes::copy_from_slice(chunk)));
        }
        let tally = pipe.finish(None);
        out.extend_from_slice(&tally.bytes);
        out
    });
    assert!(out.len() <= body.len());
}

/// The framer: every byte once, in order, and the events of one chunk are those of many.
pub(crate) fn framer(data: &[u8]) {
    use feathergate::wire::sse::{Elements, Event, Framer};

    let (size, bytes) = data.split_first().unwrap_or((&1, &[]));
    let run = |size: usize| {
        let mut framer = Framer::default();
        let mut ends = Vec::new();
        let (mut all, mut said) = (Vec::new(), Vec::new());
        let mut read = |event: &[u8]| {
            let event = Event::read(event);
            said.extend(event.data.map(|data| (event.name.map(<[u8]>::to_vec), data.into_owned())));
        };
        for chunk in bytes.chunks(size) {
            let frames = framer.push(Bytes::copy_from_slice(chunk), &mut ends);
            let mut start = 0;
            for end in &ends {
                read(&frames[start..*end]);
                start = *end;
            }
            assert_eq!(start, frames.len());
            all.extend_from_slice(&frames);
        }
        let rest = framer.rest();
        read(&rest);
        all.extend_from_slice(&rest);
        assert!(all == bytes);
        said
    };
    let whole = run(bytes.len().max(1));
    let split = bounded(8 * bytes.len(), || run(usize::from(*size).max(1)));
    assert_eq!(whole, split);

    let elements = |size: usize| {
        let mut elements = Elements::default();
        let mut seen = Vec::new();
        for chunk in bytes.chunks(size) {
            elements.push(chunk, |element| seen.push(element.to_vec()));
        }
        seen
    };
    assert_eq!(elements(bytes.len().max(1)), elements(usize::from(*size).max(1)));
}
