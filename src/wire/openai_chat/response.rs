//! Whole answers, read and written.

use super::compose::data_url;
use super::stream::Decoder;
use super::strip::MARK;
use crate::wire::chat::Origin;
use crate::wire::convert::Answering;
use crate::wire::event::{Block, Citation, Sink, Stop};
use crate::wire::fold::{Answer, Choice, Piece};
use crate::wire::ir::Usage;
use crate::wire::text::Writer;

/// What a refusal says that comes without words.
pub(super) const REFUSED: &str = "The model refused to answer.";

/// Reads a whole answer into events.
pub(super) fn decode(body: &[u8], sink: &mut dyn Sink) {
    Decoder::default().whole(body, sink);
}

/// Writes a whole answer (`chat.completion`; `OpenAI`'s reference, 2026-11).
pub(super) fn encode(answer: &Answer, how: &Answering) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    out.open('{');
    head(&mut out, "chat.completion", &answer.model, how);
    out.key("choices").open('[');
    for (index, choice) in answer.choices.iter().enumerate() {
        out.open('{').key("index").plain(index);
        message(&mut out, choice, how);
        out.key("logprobs");
        logprobs(&mut out, choice.logprobs.as_deref());
        out.key("finish_reason").string(finish_reason(choice.stop.unwrap_or(Stop::End), how)).close('}');
    }
    out.close(']');
    if known(&answer.usage) {
        out.key("usage");
        usage(&mut out, &answer.usage, None);
    }
    if let Some(tier) = &answer.tier {
        out.key("service_tier").string(tier);
    }
    out.key("system_fingerprint").null().close('}');
    out.into_bytes()
}

/// The fields that every answer and every chunk begins with.
pub(super) fn head(out: &mut Writer, object: &str, model: &str, how: &Answering) {
    out.key("id").string(&format!("chatcmpl-{}", how.stamp));
    out.key("object").string(object);
    out.key("created").plain(how.created);
    out.key("model").string(how.model.as_deref().unwrap_or(model));
}

fn message(out: &mut Writer, choice: &Choice, how: &Answering) {
    let joined = |wanted: &Block<'_>| -> String {
        choice.pieces.iter().filter(|piece| piece.block == *wanted).map(|piece| piece.text.as_str()).collect()
    };
    let calls = || choice.pieces.iter().filter(|piece| matches!(piece.block, Block::Call { .. }));
    let text = choice.text();
    let mut refusal = joined(&Block::Refusal);
    if refusal.is_empty() && choice.stop == Some(Stop::Refusal) {
        choice.explanation.as_deref().unwrap_or(REFUSED).clone_into(&mut refusal);
    }
    out.key("message").open('{').key("role").string("assistant");
    // Null where something else stands for it; an answer of nothing is an empty text.
    let content = !text.is_empty() || (refusal.is_empty() && calls().next().is_none());
    out.key("content").optional(content.then_some(text.as_str()));
    out.key("refusal").optional(Some(refusal.as_str()).filter(|refusal| !refusal.is_empty()));
    out.key("annotations").open('[');
    for citation in &choice.citations {
        annotation(out, citation);
    }
    out.close(']');
    let reasoning = joined(&Block::Thinking);
    if !reasoning.is_empty() {
        out.key("reasoning_content").string(&reasoning);
    }
    details(out, &choice.pieces);
    if how.wish.functions {
        if let Some(Piece { block: Block::Call { name, .. }, text, .. }) = calls().next() {
            out.key("function_call").open('{').key("name").string(name);
            out.key("arguments").string(text).close('}');
        }
    } else if calls().next().is_some() {
        out.key("tool_calls").open('[');
        for piece in calls() {
            if let Block::Call { id, name, seal } = &piece.block {
                let seal = seal.as_ref().map(|(origin, data)| (*origin, &**data));
                call(out, &Opening { index: None, id, name, seal }, &piece.text, how);
            }
        }
        out.close(']');
    }
    images(out, choice.pieces.iter().map(|piece| &piece.block));
    out.close('}');
}

/// A call as it begins.
pub(super) struct Opening<'a> {
    /// Its place among the calls of a stream.
    pub(super) index: Option<u32>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) seal: Option<(Origin, &'a str)>,
}

/// An entry of `tool_calls` with a name.
pub(super) fn call(out: &mut Writer, opening: &Opening<'_>, arguments: &str, how: &Answering) {
    out.open('{');
    if let Some(index) = opening.index {
        out.key("index").plain(index);
    }
    out.key("id").string(opening.id);
    let (kind, field) = call_words(opening.name, how);
    out.key("type").string(kind).key(kind).open('{');
    out.key("name").string(opening.name).key(field).string(arguments).close('}');
    // Where Google's own endpoint has it, and Gemini's clients look for it.
    if let Some((Origin::Gemini, data)) = opening.seal {
        out.key("extra_content").open('{').key("google").open('{');
        out.key("thought_signature").string(data).close('}').close('}');
    }
    out.close('}');
}

/// The words for a call of this tool: its type, and the field of its arguments.
pub(super) fn call_words(name: &str, how: &Answering) -> (&'static str, &'static str) {
    if how.wish.custom.iter().any(|custom| custom == name) { ("custom", "input") } else { ("function", "arguments") }
}

/// `reasoning_details`: all that has to come back with the conversation. The index counts the blocks that can come back, so
/// that the way back finds their order.
fn details(out: &mut Writer, pieces: &[Piece]) {
    let mut opened = false;
    let mut index = 0;
    for piece in pieces {
        let seal = piece.seal.as_ref().map(|(origin, data)| (*origin, data.as_str()));
        let entry = Detail::of(&piece.block, &piece.text, seal);
        if let Some(entry) = &entry {
            if !opened {
                out.key("reasoning_details").open('[');
                opened = true;
            }
            entry.write(out, index);
        }
        index += u32::from(counts(&piece.block, entry.is_some()));
    }
    if opened {
        out.close(']');
    }
}

/// Whether a block has a place of its own on the way back: a thought that nobody signed does not come back.
pub(super) fn counts(block: &Block<'_>, told: bool) -> bool {
    told || matches!(block, Block::Text | Block::Refusal | Block::Call { .. })
}

/// An entry of `reasoning_details`.
#[derive(Debug)]
pub(super) enum Detail<'a> {
    Text { text: &'a str, signature: &'a str, origin: Origin },
    Encrypted { data: &'a str, id: Option<&'a str>, origin: Origin },
}

impl<'a> Detail<'a> {
    /// The entry of a block that has ended, if it has one.
    pub(super) fn of(block: &'a Block<'_>, text: &'a str, seal: Option<(Origin, &'a str)>) -> Option<Self> {
        match (block, seal) {
            (Block::Thinking, Some((origin, signature))) => Some(Self::Text { text, signature, origin }),
            (Block::Redacted(origin, data), _) => Some(Self::Encrypted { data, id: None, origin: *origin }),
            (Block::Call { id, seal: Some((origin, data)), .. }, _) => {
                Some(Self::Encrypted { data, id: Some(id), origin: *origin })
            }
            (Block::Text, Some((origin, data))) => Some(Self::Encrypted { data, id: None, origin }),
            _ => None,
        }
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Writer, index: u32) {
        out.open('{').key("type");
        let origin = match self {
            Self::Text { text, signature, origin } => {
                out.string("reasoning.text").key("text").string(text).key("signature").string(signature);
                *origin
            }
            Self::Encrypted { data, id, origin } => {
                out.string("reasoning.encrypted").key("data").string(data);
                if let Some(id) = id {
                    out.key("id").string(id);
                }
                *origin
            }
        };
        out.key("format").string(match origin {
            Origin::Anthropic => "anthropic-claude-v1",
            Origin::Gemini => "google-gemini-v1",
            Origin::Other => "unknown",
        });
        out.key("index").plain(index).key("source").string(MARK).close('}');
    }
}

/// `images`: `OpenRouter`'s convention.
pub(super) fn images<'a>(out: &mut Writer, blocks: impl Iterator<Item = &'a Block<'a>>) {
    let mut index = 0;
    for block in blocks {
        if let Block::Image { mime, data } = block {
            if index == 0 {
                out.key("images").open('[');
            }
            out.open('{').key("type").string("image_url").key("image_url").open('{');
            out.key("url");
            data_url(out, mime, data);
            out.close('}');
            out.key("index").plain(index).close('}');
            index += 1;
        }
    }
    if index > 0 {
        out.close(']');
    }
}

/// An entry of `annotations`.
pub(super) fn annotation(out: &mut Writer, citation: &Citation<'_>) {
    out.open('{').key("type").string("url_citation").key("url_citation").open('{');
    out.key("url").string(&citation.url).key("title").string(&citation.title);
    out.key("start_index").plain(citation.start).key("end_index").plain(citation.end);
    out.close('}').close('}');
}

/// The value of `logprobs`.
pub(super) fn logprobs(out: &mut Writer, list: Option<&str>) {
    match list {
        Some(list) => out.open('{').key("content").raw(list).key("refusal").null().close('}'),
        None => out.null(),
    };
}

/// The word for why a model stopped.
pub(super) fn finish_reason(stop: Stop, how: &Answering) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence | Stop::Pause => "stop",
        Stop::Length | Stop::Context => "length",
        Stop::Tools if how.wish.functions => "function_call",
        Stop::Tools => "tool_calls",
        Stop::Refusal => "content_filter",
    }
}

/// Whether there is anything to say: zeros for counts that nobody made would be lies.
pub(super) fn known(usage: &Usage) -> bool {
    usage.input.is_some() || usage.output.is_some()
}

/// The usage object, with a cost where there is one to tell. The prompt includes what the cache had to do with, once.
pub(super) fn usage(out: &mut Writer, usage: &Usage, cost: Option<&str>) {
    let parts = [usage.input, usage.cache_read, usage.cache_write];
    let prompt = parts.into_iter().flatten().fold(0, u64::saturating_add);
    // Some tell how much of it was reasoning, but not how much it was.
    let completion = usage.output.unwrap_or(0).max(usage.reasoning.unwrap_or(0));
    out.open('{').key("prompt_tokens").plain(prompt).key("completion_tokens").plain(completion);
    out.key("total_tokens").plain(prompt.saturating_add(completion));
    if usage.cache_read.is_some() || usage.cache_write.is_some() {
        out.key("prompt_tokens_details").open('{').key("cached_tokens").plain(usage.cache_read.unwrap_or(0));
        if let Some(written) = usage.cache_write {
            out.key("cache_write_tokens").plain(written);
        }
        out.close('}');
    }
    if let Some(reasoning) = usage.reasoning {
        out.key("completion_tokens_details").open('{').key("reasoning_tokens").plain(reasoning).close('}');
    }
    if let Some(cost) = cost {
        out.key("cost").raw(cost);
    }
    out.close('}');
}

/// Reads a token count. The wire has none.
pub(super) fn counted(_body: &[u8]) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::chat::Wish;

    fn how() -> Answering {
        Answering { stamp: "s1".to_owned(), created: 7, ..Answering::default() }
    }

    fn piece(block: Block<'static>, text: &str) -> Piece {
        Piece { block, text: text.to_owned(), seal: None }
    }

    fn call(id: &'static str, name: &'static str, arguments: &str) -> Piece {
        piece(Block::Call { id: id.into(), name: name.into(), seal: None }, arguments)
    }

    fn answer(pieces: Vec<Piece>, stop: Stop) -> Answer {
        let choice = Choice { pieces, stop: Some(stop), ..Choice::default() };
        Answer { model: "m".to_owned(), choices: vec![choice], ended: true, ..Answer::default() }
    }

    fn written(answer: &Answer, how: &Answering) -> String {
        String::from_utf8(encode(answer, how)).unwrap()
    }

    #[test]
    fn an_answer_to_the_byte() {
        let mut answer = answer(vec![piece(Block::Text, "a"), piece(Block::Text, "b")], Stop::End);
        answer.tier = Some("default".to_owned());
        answer.usage = Usage { input: Some(5), output: Some(4), ..Usage::default() };
        assert_eq!(
            written(&answer, &how()),
            concat!(
                r#"{"id":"chatcmpl-s1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"#,
                r#""message":{"role":"assistant","content":"ab","refusal":null,"annotations":[]},"logprobs":null,"#,
                r#""finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9},"#,
                r#""service_tier":"default","system_fingerprint":null}"#
            )
        );
    }

    #[test]
    fn messages_of_every_kind() {
        let sealed =
            |text: &str| Piece { seal: Some((Origin::Anthropic, "s".to_owned())), ..piece(Block::Thinking, text) };
        let functions = Wish { functions: true, ..Wish::default() };
        let custom = Wish { custom: vec!["sql".to_owned()], ..Wish::default() };
        let signed = Block::Call { id: "c".into(), name: "f".into(), seal: Some((Origin::Gemini, "g".into())) };
        let image = Block::Image { mime: "image/png".into(), data: "QQ==".into() };
        for (pieces, stop, wish, want) in [
            (vec![], Stop::End, Wish::default(), r#""content":"","refusal":null,"annotations":[]"#),
            // W04: the calls of a whole answer have no index.
            (
                vec![piece(Block::Thinking, "r"), call("a", "f", "{}"), call("b", "g", "{\"x\":1}")],
                Stop::Tools,
                Wish::default(),
                r#""content":null,"refusal":null,"annotations":[],"reasoning_content":"r","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}]"#,
            ),
            (
                vec![
                    sealed("r"),
                    piece(Block::Redacted(Origin::Anthropic, "e".into()), ""),
                    piece(Block::Text, "t"),
                    sealed(""),
                ],
                Stop::End,
                Wish::default(),
                r#""content":"t","refusal":null,"annotations":[],"reasoning_content":"r","reasoning_details":[{"type":"reasoning.text","text":"r","signature":"s","format":"anthropic-claude-v1","index":0,"source":"feathergate"},{"type":"reasoning.encrypted","data":"e","format":"anthropic-claude-v1","index":1,"source":"feathergate"},{"type":"reasoning.text","text":"","signature":"s","format":"anthropic-claude-v1","index":3,"source":"feathergate"}]"#,
            ),
            (
                vec![piece(signed, "{}")],
                Stop::Tools,
                Wish::default(),
                r#""annotations":[],"reasoning_details":[{"type":"reasoning.encrypted","data":"g","id":"c","format":"google-gemini-v1","index":0,"source":"feathergate"}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"g"}}}]"#,
            ),
            (
                vec![call("a", "f", "{}"), call("b", "g", "{}")],
                Stop::Tools,
                functions,
                r#""annotations":[],"function_call":{"name":"f","arguments":"{}"}},"logprobs":null,"finish_reason":"function_call""#,
            ),
            (
                vec![call("a", "sql", "SELECT 1")],
                Stop::Tools,
                custom,
                r#""tool_calls":[{"id":"a","type":"custom","custom":{"name":"sql","input":"SELECT 1"}}]"#,
            ),
            (vec![piece(Block::Refusal, "no")], Stop::Refusal, Wish::default(), r#""content":null,"refusal":"no""#),
            (
                vec![],
                Stop::Refusal,
                Wish::default(),
                r#""content":null,"refusal":"The model refused to answer.","annotations":[]},"logprobs":null,"finish_reason":"content_filter""#,
            ),
            (vec![piece(Block::Text, "half")], Stop::Length, Wish::default(), r#""finish_reason":"length""#),
            (
                vec![piece(image, "")],
                Stop::End,
                Wish::default(),
                r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="},"index":0}]"#,
            ),
        ] {
            let got = written(&answer(pieces, stop), &Answering { wish, ..how() });
            assert!(got.contains(want), "{got}\nlacks {want}");
        }
    }

    #[test]
    fn w09_w11_counts_as_they_are_known() {
        for (usage, want) in [
            (Usage::default(), None),
            (Usage { cache_read: Some(1), ..Usage::default() }, None),
            (
                Usage {
                    input: Some(5),
                    cache_read: Some(20),
                    cache_write: Some(100),
                    output: Some(7),
                    ..Usage::default()
                },
                Some(
                    r#""usage":{"prompt_tokens":125,"completion_tokens":7,"total_tokens":132,"prompt_tokens_details":{"cached_tokens":20,"cache_write_tokens":100}}"#,
                ),
            ),
            (
                Usage { input: Some(5), output: Some(7), reasoning: Some(2), ..Usage::default() },
                Some(
                    r#""usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"completion_tokens_details":{"reasoning_tokens":2}}"#,
                ),
            ),
        ] {
            let got = written(&Answer { usage, ..answer(vec![], Stop::End) }, &how());
            match want {
                Some(want) => assert!(got.contains(want), "{got}"),
                None => assert!(!got.contains("usage"), "{got}"),
            }
        }
    }

    #[test]
    fn several_choices_each_with_its_own() {
        let mut both = answer(vec![piece(Block::Text, "a")], Stop::End);
        let mut second = answer(vec![piece(Block::Text, "b")], Stop::Length).choices.remove(0);
        second.logprobs = Some(r#"[{"token":"b"}]"#.to_owned());
        second.citations = vec![Citation { url: "u".into(), title: "t".into(), start: 0, end: 1 }];
        both.choices.push(second);
        let got = written(&both, &how());
        assert!(got.contains(r#""index":0,"message":{"role":"assistant","content":"a""#), "{got}");
        assert!(got.contains(r#""annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":1}}]},"logprobs":{"content":[{"token":"b"}],"refusal":null},"finish_reason":"length""#), "{got}");
    }
}
