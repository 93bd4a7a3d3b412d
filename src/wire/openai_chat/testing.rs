//! What the tests of this wire share: events as one line of text, and the grammar of events.

use bytes::Bytes;

use super::stream::Decoder;
use crate::wire::convert::StreamDecoder;
use crate::wire::event::{Block, Event, Kept};
use crate::wire::sse;

/// Events as text: `start:model [text hello] [call id name {"a":1}] usage:… finish:Tools end`, with `1:` before what belongs to
/// another choice than the first. Checks the grammar on the way.
pub(super) fn told(events: &[(u32, Event<'_>)]) -> String {
    grammar(events);
    let mut out = String::new();
    for (choice, event) in events {
        let place = if *choice == 0 { String::new() } else { format!("{choice}:") };
        let text = match event {
            Event::Start { model, tier, .. } => match tier {
                Some(tier) => format!("start:{model}/{tier} "),
                None => format!("start:{model} "),
            },
            Event::Open(block) => match block {
                Block::Text => format!("{place}[text "),
                Block::Refusal => format!("{place}[refusal "),
                Block::Thinking => format!("{place}[think "),
                Block::Redacted(origin, data) => format!("{place}[redacted {origin:?}:{data}"),
                Block::Call { id, name, seal: Some((_, data)) } => format!("{place}[call {id} {name} ~{data} "),
                Block::Call { id, name, seal: None } => format!("{place}[call {id} {name} "),
                Block::Image { mime, data } => format!("{place}[image {mime} {data}"),
            },
            Event::Delta(text) => text.to_string(),
            Event::Seal(origin, data) => format!("~{origin:?}:{data}"),
            Event::Close => "] ".to_owned(),
            Event::Citation(it) => format!("{place}cite:{}|{}|{}-{} ", it.url, it.title, it.start, it.end),
            Event::Logprobs(list) => format!("{place}logprobs:{list} "),
            Event::Usage(usage) => {
                let counts = [usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning];
                let counts: Vec<String> = counts
                    .iter()
                    .map(|count| count.map_or_else(|| "-".to_owned(), |count| count.to_string()))
                    .collect();
                format!("usage:{} ", counts.join("/"))
            }
            Event::Finish { stop, sequence: Some(sequence), .. } => format!("{place}finish:{stop:?}({sequence}) "),
            Event::Finish { stop, .. } => format!("{place}finish:{stop:?} "),
            Event::End => "end".to_owned(),
            Event::Failed(failure) => format!("failed:{:?} {} {}", failure.kind, failure.status, failure.message),
        };
        out.push_str(&text);
    }
    out
}

/// Panics where events break the grammar of [`crate::wire::event`].
fn grammar(events: &[(u32, Event<'_>)]) {
    let (mut started, mut over) = (false, false);
    let mut open: Vec<(u32, bool)> = Vec::new();
    let mut finished: Vec<u32> = Vec::new();
    for (choice, event) in events {
        assert!(!over, "{event:?} after the end");
        assert!(started || matches!(event, Event::Start { .. } | Event::Failed(_)), "{event:?} before the start");
        let here = open.iter().position(|(own, _)| own == choice);
        match event {
            Event::Start { .. } => {
                assert!(!started, "a second start");
                started = true;
            }
            Event::Open(_) => {
                assert!(here.is_none() && !finished.contains(choice), "{event:?}");
                open.push((*choice, false));
            }
            Event::Delta(text) => assert!(here.is_some() && !text.is_empty(), "{event:?}"),
            Event::Seal(..) => {
                let sealed = &mut open[here.expect("a seal outside of a block")].1;
                assert!(!*sealed, "a second seal");
                *sealed = true;
            }
            Event::Close => {
                open.remove(here.expect("nothing is open"));
            }
            Event::Citation(_) | Event::Logprobs(_) => assert!(here.is_none() && !finished.contains(choice)),
            Event::Usage(_) => assert!(open.is_empty() && finished.is_empty()),
            Event::Finish { .. } => {
                assert!(here.is_none() && open.is_empty() && !finished.contains(choice), "{event:?}");
                finished.push(*choice);
            }
            Event::End => {
                assert!(!finished.is_empty() && open.is_empty());
                over = true;
            }
            Event::Failed(_) => over = true,
        }
    }
    assert!(over, "no end");
}

/// What a stream says, given in these pieces and, with `end`, properly ended.
pub(super) fn read(chunks: &[&[u8]]) -> Kept {
    let mut decoder = Decoder::default();
    let mut framer = sse::Framer::default();
    let mut kept = Kept::default();
    let take = |frame: &[u8], kept: &mut Kept, decoder: &mut Decoder| {
        let event = sse::Event::read(frame);
        if let Some(data) = event.data {
            decoder.frame(event.name, &data, kept);
        }
    };
    for chunk in chunks {
        let mut ends = Vec::new();
        let frames = framer.push(Bytes::copy_from_slice(chunk), &mut ends);
        let mut start = 0;
        for end in ends {
            take(&frames[start..end], &mut kept, &mut decoder);
            start = end;
        }
    }
    take(&framer.rest(), &mut kept, &mut decoder);
    decoder.end(&mut kept);
    kept
}

/// What a stream of these data says.
pub(super) fn stream(frames: &[&str]) -> String {
    let frames: Vec<String> = frames.iter().map(|frame| format!("data: {frame}\n\n")).collect();
    let text = frames.concat();
    told(&read(&[text.as_bytes()]).0)
}

/// What a whole answer says.
pub(super) fn whole(body: &str) -> String {
    let mut kept = Kept::default();
    super::response::decode(body.as_bytes(), &mut kept);
    told(&kept.0)
}
