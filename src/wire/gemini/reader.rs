//! The reader of answers. A stream is a row of frames and a whole answer is one frame, so both are read here.
//!
//! Parts are new in each frame, counts are totals, and a finish reason may stand in the middle: nothing is finished before the
//! transport ends (recorded traffic, 2026-08).

use super::partial::Arguments;
use super::types::{Candidate, Counts, Feedback, Frame, FunctionCall, Loose, Part, audio as audio_in};
use super::{error, grounding, logprobs};
use crate::wire::chat::Origin;
use crate::wire::event::{Block, Event, Sink, Stop};
use crate::wire::ir::{Failure, FailureKind, Usage};
use crate::wire::text::{Json, Str};

/// The state of one answer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    over: bool,
    choices: Vec<Choice>,
    totals: Totals,
    usage: Usage,
    /// The prompt was blocked, and what was said about it, if anything.
    blocked: Option<String>,
}

/// Another choice is ignored: an upstream's index must not make us allocate. The vendor gives 8 at most (2026-08).
const MOST_CHOICES: usize = 128;

#[derive(Debug, Default)]
struct Choice {
    seen: bool,
    open: Open,
    /// The open block has text of the current frame.
    fresh: bool,
    /// The open block has its seal.
    sealed: bool,
    /// Something came that a client can use.
    usable: bool,
    finish: Option<Finish>,
    /// The finish reason and message, for people.
    words: String,
    spoken: grounding::Spoken,
    grounding: Option<String>,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thinking,
    /// A call whose arguments come a value at a time.
    Call(Box<Arguments>),
}

/// Counts as they were last told, each for itself.
#[derive(Debug, Default)]
struct Totals {
    prompt: Option<u64>,
    tools: Option<u64>,
    cached: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    total: Option<u64>,
    /// Audio in the prompt, in the cached part of it, and in the candidates.
    audio: [Option<u64>; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    Stop(Stop),
    /// The model made something that is no answer: what came before may still be one.
    Broken,
}

impl Reader {
    /// Takes the text of a frame, or of an array of frames.
    pub(super) fn read(&mut self, data: &[u8], sink: &mut dyn Sink) {
        let data = data.trim_ascii();
        // Gemini sends no `[DONE]`, but servers that speak its wire do.
        if self.over || data.is_empty() || data == b"[DONE]" {
            return;
        }
        let Ok(text) = std::str::from_utf8(data) else { return self.unreadable(sink) };
        if text.starts_with('[') {
            // One at a time: a frame takes much more memory than the `{}` that it may be.
            let Ok(frames) = serde_json::from_str::<Vec<Json<'_>>>(text) else { return self.unreadable(sink) };
            for frame in &frames {
                let Ok(frame) = serde_json::from_str(frame.get()) else { return self.unreadable(sink) };
                self.frame(frame, sink);
            }
        } else {
            let Ok(frame) = serde_json::from_str(text) else { return self.unreadable(sink) };
            self.frame(frame, sink);
        }
    }

    fn unreadable(&mut self, sink: &mut dyn Sink) {
        self.fail(Failure::new(FailureKind::Server, 502, "the upstream's answer cannot be read"), sink);
    }

    fn frame(&mut self, frame: Frame<'_>, sink: &mut dyn Sink) {
        if self.over {
            return;
        }
        if let Some(error) = &frame.error {
            self.fail(error::decode_value(error.get()), sink);
            return;
        }
        if !self.started {
            self.started = true;
            let tier = frame.usage_metadata.as_ref().and_then(|counts| tier(&counts.service_tier));
            let id = frame.response_id.unwrap_or_default();
            let model = frame.model_version.unwrap_or_default();
            sink.event(0, Event::Start { id, model, tier: tier.map(Into::into) });
        }
        if let Some(counts) = &frame.usage_metadata {
            self.totals.take(counts);
            let usage = self.totals.usage();
            if usage != self.usage {
                self.usage = usage;
                sink.event(0, Event::Usage(usage));
            }
        }
        if let Some(Feedback { block_reason, block_reason_message }) = frame.prompt_feedback
            && !matches!(block_reason, Loose::Nothing | Loose::Number(0))
        {
            self.blocked = Some(block_reason_message.map(Str::into_owned).unwrap_or_default());
        }
        for (place, candidate) in frame.candidates.into_iter().flatten().enumerate() {
            // An index of 0 is left out.
            let index = candidate.index.count().map_or(place, |index| usize::try_from(index).unwrap_or(usize::MAX));
            if index < MOST_CHOICES {
                if self.choices.len() <= index {
                    self.choices.resize_with(index + 1, Choice::default);
                }
                if let (Some(choice), Ok(index)) = (self.choices.get_mut(index), u32::try_from(index)) {
                    choice.take(index, candidate, sink);
                }
            }
        }
    }

    /// The transport ended. `whole` says that the body was one that cannot have been cut.
    pub(super) fn end(&mut self, whole: bool, sink: &mut dyn Sink) {
        if self.over {
            return;
        }
        if let Some(failure) = self.fault(whole) {
            return self.fail(failure, sink);
        }
        let blocked = self.blocked.is_some();
        self.over = true;
        if !self.choices.iter().any(|choice| choice.seen) {
            self.choices.clear();
            self.choices.push(Choice { seen: true, ..Choice::default() });
        }
        for (index, choice) in (0..).zip(&mut self.choices) {
            choice.close(index, sink);
            if let Some(grounding) = &choice.grounding {
                grounding::cite(grounding, &choice.spoken, |citation| sink.event(index, Event::Citation(citation)));
            }
        }
        // An index that was left out is an empty choice: whoever opened it waits for its finish.
        for (index, choice) in (0..).zip(&self.choices) {
            let stop = match choice.finish {
                Some(Finish::Stop(stop)) => stop,
                None if blocked => Stop::Refusal,
                Some(Finish::Broken) | None => Stop::End,
            };
            let words = self.blocked.as_deref().filter(|_| choice.words.is_empty()).unwrap_or(&choice.words);
            let explanation = (stop == Stop::Refusal && !words.is_empty()).then(|| words.into());
            sink.event(index, Event::Finish { stop, sequence: None, explanation });
        }
        sink.event(0, Event::End);
    }

    /// Why what came is no answer.
    fn fault(&self, whole: bool) -> Option<Failure> {
        let mut seen = self.choices.iter().filter(|choice| choice.seen);
        if self.blocked.is_some() {
            return None;
        }
        if seen.clone().next().is_none() {
            return Some(if whole {
                Failure::new(FailureKind::Server, 502, "the upstream answered without a candidate")
            } else {
                Failure::cut("the upstream ended the stream before its end")
            });
        }
        if seen.clone().any(|choice| choice.finish.is_none() && !(whole && choice.usable)) {
            return Some(Failure::cut("the upstream's answer ended without a finish reason"));
        }
        if seen.clone().any(|choice| choice.usable) {
            return None;
        }
        let broken = seen.find(|choice| choice.finish == Some(Finish::Broken))?;
        let message = format!("the model gave no answer that can be used: {}", broken.words);
        Some(Failure::new(FailureKind::Server, 502, message))
    }

    fn fail(&mut self, failure: Failure, sink: &mut dyn Sink) {
        self.over = true;
        sink.event(0, Event::Failed(Box::new(failure)));
    }
}

impl Choice {
    fn take(&mut self, index: u32, candidate: Candidate<'_>, sink: &mut dyn Sink) {
        self.seen = true;
        self.fresh = false;
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        for part in parts {
            self.part(index, part, sink);
        }
        if let Some(json) = candidate.logprobs_result.and_then(|result| logprobs::read(result.get())) {
            sink.event(index, Event::Logprobs(json.into()));
        }
        if let Some(grounding) = candidate.grounding_metadata {
            self.grounding = Some(grounding.get().to_owned());
        }
        if let Some(finish) = finish(&candidate.finish_reason) {
            self.finish = Some(finish);
            let reason = candidate.finish_reason.word();
            self.words = candidate.finish_message.map_or_else(|| reason.to_owned(), Str::into_owned);
        }
    }

    fn part(&mut self, index: u32, part: Part<'_>, sink: &mut dyn Sink) {
        let seal = part.thought_signature.filter(|seal| !seal.is_empty());
        if let Some(call) = part.function_call {
            self.call(index, *call, seal, sink);
        } else if let Some(blob) = part.inline_data {
            self.spoken.other();
            let mime = blob.mime_type.unwrap_or_default();
            // Sound has no place in any client's answer.
            if mime.starts_with("image/") && part.thought != Some(true) {
                self.close(index, sink);
                self.usable = true;
                sink.event(index, Event::Open(Block::Image { mime, data: blob.data.unwrap_or_default() }));
                sink.event(index, Event::Close);
            }
        } else if let Some(text) = part.text {
            self.text(index, text, part.thought == Some(true), seal, sink);
        } else {
            // Code that ran at the vendor's, and what else it keeps a record of, with its signatures.
            self.spoken.other();
        }
    }

    fn text(&mut self, index: u32, text: Str<'_>, thought: bool, seal: Option<Str<'_>>, sink: &mut dyn Sink) {
        if thought {
            self.spoken.other();
        } else {
            self.spoken.text(&text, self.fresh);
        }
        if text.is_empty() && seal.is_none() {
            return;
        }
        let open = match self.open {
            Open::Text => !thought,
            Open::Thinking => thought,
            Open::Nothing | Open::Call(_) => false,
        };
        // A signed part is never merged with an unsigned one of the same frame, nor with what comes after it.
        if !open || self.sealed || (self.fresh && seal.is_some()) {
            self.close(index, sink);
            self.open = if thought { Open::Thinking } else { Open::Text };
            sink.event(index, Event::Open(if thought { Block::Thinking } else { Block::Text }));
        }
        if !text.is_empty() {
            self.fresh = true;
            self.usable |= !thought;
            sink.event(index, Event::Delta(text));
        }
        if let Some(seal) = seal {
            self.sealed = true;
            sink.event(index, Event::Seal(Origin::Gemini, seal));
        }
    }

    fn call(&mut self, index: u32, call: FunctionCall<'_>, seal: Option<Str<'_>>, sink: &mut dyn Sink) {
        self.spoken.other();
        let goes_on = call.will_continue == Some(true);
        let pieces = call.partial_args.unwrap_or_default();
        let name = call.name.filter(|name| !name.is_empty());
        let Some(name) = name else {
            // More of the open call. One without anything ends it.
            if let Open::Call(arguments) = &mut self.open {
                for piece in &pieces {
                    arguments.take(piece);
                }
                if !goes_on {
                    self.close(index, sink);
                }
            }
            return;
        };
        self.close(index, sink);
        self.usable = true;
        let seal = seal.map(|seal| (Origin::Gemini, seal));
        sink.event(index, Event::Open(Block::Call { id: call.id.unwrap_or_default(), name, seal }));
        if goes_on || !pieces.is_empty() {
            let mut arguments = Arguments::default();
            for piece in &pieces {
                arguments.take(piece);
            }
            self.open = Open::Call(Box::new(arguments));
            if !goes_on {
                self.close(index, sink);
            }
            return;
        }
        if let Some(json) = call.args {
            let json = json.compact();
            if json.get() != "{}" {
                sink.event(index, Event::Delta(json.get().into()));
            }
        }
        sink.event(index, Event::Close);
    }

    fn close(&mut self, index: u32, sink: &mut dyn Sink) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => return,
            Open::Text | Open::Thinking => {}
            Open::Call(arguments) => {
                if let Some(json) = arguments.json() {
                    sink.event(index, Event::Delta(json.get().into()));
                }
            }
        }
        self.fresh = false;
        self.sealed = false;
        sink.event(index, Event::Close);
    }
}

impl Totals {
    fn take(&mut self, counts: &Counts<'_>) {
        let newer = |old: &mut Option<u64>, new: &Loose<'_>| *old = new.count().or(*old);
        newer(&mut self.prompt, &counts.prompt_token_count);
        newer(&mut self.tools, &counts.tool_use_prompt_token_count);
        newer(&mut self.cached, &counts.cached_content_token_count);
        newer(&mut self.candidates, &counts.candidates_token_count);
        newer(&mut self.thoughts, &counts.thoughts_token_count);
        newer(&mut self.total, &counts.total_token_count);
        let audio = [&counts.prompt_tokens_details, &counts.cache_tokens_details, &counts.candidates_tokens_details];
        for (old, new) in self.audio.iter_mut().zip(audio) {
            *old = audio_in(new.as_ref()).or(*old);
        }
    }

    fn usage(&self) -> Usage {
        let input = self.prompt.map(|prompt| prompt.saturating_add(self.tools.unwrap_or(0)));
        let output = match (self.candidates, self.thoughts) {
            // A count of 0 is left out, and only the total tells it from an unknown one.
            (None, None) => self.total.zip(input).map(|(total, input)| total.saturating_sub(input)),
            (candidates, thoughts) => Some(candidates.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
        };
        let [heard, cached, spoken] = self.audio;
        Usage {
            input: input.map(|input| input.saturating_sub(self.cached.unwrap_or(0))),
            output,
            cache_read: self.cached,
            reasoning: self.thoughts,
            audio_input: heard.map(|heard| heard.saturating_sub(cached.unwrap_or(0))),
            audio_output: spoken,
            ..Usage::default()
        }
    }
}

/// A class of service in `OpenAI`'s words.
fn tier(word: &Loose<'_>) -> Option<&'static str> {
    match word.word() {
        "standard" => Some("default"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => None,
    }
}

/// What a finish reason means; `None` where there is none. Numbers are those of `v1beta`'s `Candidate.FinishReason` (2026-08).
fn finish(reason: &Loose<'_>) -> Option<Finish> {
    const NAMES: [&str; 20] = [
        "",
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "IMAGE_SAFETY",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "IMAGE_RECITATION",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    ];
    let name = match reason {
        Loose::Nothing => return None,
        Loose::Word(word) => word,
        Loose::Number(number) => usize::try_from(*number).ok().and_then(|at| NAMES.get(at).copied()).unwrap_or("OTHER"),
    };
    Some(match name {
        "" => return None,
        "MAX_TOKENS" => Finish::Stop(Stop::Length),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Finish::Stop(Stop::Refusal),
        "MALFORMED_FUNCTION_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "UNEXPECTED_TOOL_CALL"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Finish::Broken,
        // `STOP`, `OTHER`, and whatever is invented next. With calls the relay makes it theirs.
        _ => Finish::Stop(Stop::End),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Gemini;
    use super::*;
    use crate::wire::convert::Outbound;
    use crate::wire::event::Kept;

    /// The events in short: `T(text)s` is a sealed text, `H` a thought, `C` a call, `.` the end of a block.
    fn shown(kept: &Kept) -> String {
        let mut out = String::new();
        for (choice, event) in &kept.0 {
            let who = if *choice == 0 { String::new() } else { format!("{choice}:") };
            let piece = match event {
                Event::Start { id, model, tier } => format!("<{id},{model},{}>", tier.as_deref().unwrap_or("-")),
                Event::Open(Block::Text) => format!(" {who}T"),
                Event::Open(Block::Thinking) => format!(" {who}H"),
                Event::Open(Block::Call { id, name, seal }) => {
                    format!(" {who}C[{id},{name},{}]", seal.as_ref().map_or("-", |(_, seal)| seal))
                }
                Event::Open(Block::Image { mime, data }) => format!(" {who}I[{mime},{data}]"),
                Event::Open(other) => format!("{other:?}"),
                Event::Delta(text) => format!("({text})"),
                Event::Seal(Origin::Gemini, seal) => format!("*{seal}"),
                Event::Seal(..) => "?".to_owned(),
                Event::Close => ".".to_owned(),
                Event::Citation(it) => format!(" {who}@{}-{} {} {}", it.start, it.end, it.url, it.title),
                Event::Logprobs(json) => format!(" L{json}"),
                Event::Usage(_) => String::new(),
                Event::Finish { stop, explanation, .. } => {
                    format!(" {who}{stop:?}{}", explanation.as_ref().map(|why| format!("={why}")).unwrap_or_default())
                }
                Event::End => " End".to_owned(),
                Event::Failed(failure) => format!(" {:?} {}", failure.kind, failure.status),
            };
            out.push_str(&piece);
        }
        out
    }

    fn stream(frames: &[&str]) -> String {
        let mut kept = Kept::default();
        let mut decoder = Gemini.decoder();
        for frame in frames {
            decoder.frame(None, frame.as_bytes(), &mut kept);
        }
        decoder.end(&mut kept);
        shown(&kept)
    }

    fn whole(body: &str) -> String {
        let mut kept = Kept::default();
        Gemini.whole(body.as_bytes(), &mut kept);
        shown(&kept)
    }

    /// A frame with these parts and this finish reason.
    fn frame(parts: &str, finish: &str) -> String {
        let finish = if finish.is_empty() { String::new() } else { format!(r#","finishReason":"{finish}""#) };
        format!(r#"{{"candidates":[{{"content":{{"role":"model","parts":[{parts}]}}{finish}}}]}}"#)
    }

    fn chunks(frames: &[(&str, &str)]) -> String {
        let frames: Vec<String> = frames.iter().map(|(parts, finish)| frame(parts, finish)).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        stream(&frames)
    }

    #[test]
    fn parts_become_blocks() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        let cases: [Case; 12] = [
            ("text over chunks", &[(r#"{"text":"a"}"#, ""), (r#"{"text":"b"}"#, "STOP")], " T(a)(b)."),
            ("empty texts", &[(r#"{"text":""}"#, ""), (r#"{"text":""}"#, "STOP")], ""),
            ("no parts", &[(r#"{"text":"a"}"#, ""), ("", "STOP")], " T(a)."),
            (
                "thoughts, then text",
                &[
                    (r#"{"text":"h","thought":true}"#, ""),
                    (r#"{"text":"m","thought":true},{"text":"a","thought":false}"#, "STOP"),
                ],
                " H(h)(m). T(a).",
            ),
            (
                "a signature on the last, empty text",
                &[(r#"{"text":"a"}"#, ""), (r#"{"text":"","thoughtSignature":"s"}"#, "STOP")],
                " T(a)*s.",
            ),
            (
                "the same behind a call",
                &[(r#"{"functionCall":{"name":"f"}},{"text":"","thoughtSignature":"s"}"#, "STOP")],
                " C[,f,-]. T*s.",
            ),
            (
                "signed text is merged with nothing of its frame",
                &[(r#"{"text":"a"},{"text":"b","thought_signature":"s"}"#, ""), (r#"{"text":"c"}"#, "STOP")],
                " T(a). T(b)*s. T(c).",
            ),
            (
                "an image",
                &[(r#"{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QUJD"}}"#, "STOP")],
                " T(a). I[image/png,QUJD].",
            ),
            ("sound", &[(r#"{"inlineData":{"mimeType":"audio/L16","data":"QUJD"}},{"text":"a"}"#, "STOP")], " T(a)."),
            (
                "what ran at the vendor's",
                &[(
                    r#"{"executableCode":{"code":"1"},"thoughtSignature":"x"},{"codeExecutionResult":{"output":"1"}},{"toolCall":{"id":"1"},"thoughtSignature":"y"},{"text":"a"}"#,
                    "STOP",
                )],
                " T(a).",
            ),
            (
                "snake case, and nulls",
                &[(r#"{"text":null,"function_call":{"id":null,"name":"f","args":null}}"#, "STOP")],
                " C[,f,-].",
            ),
            ("a part of next year", &[(r#"{"hologram":{"x":[{}]}},{"text":"a"}"#, "STOP")], " T(a)."),
        ];
        for (name, frames, want) in cases {
            assert_eq!(chunks(frames), format!("<,,->{want} End End"), "{name}");
        }
    }

    #[test]
    fn w01_parallel_calls_in_separate_chunks_are_calls_of_their_own() {
        let one = r#"{"functionCall":{"id":"1","name":"f","args":{"b": 1.0, "a": "ü x"}},"thoughtSignature":"s"}"#;
        let two = r#"{"functionCall":{"name":"g","args":{}}}"#;
        let want = r#"<,,-> C[1,f,s]({"b":1.0,"a":"ü x"}). C[,g,-]. End End"#;
        assert_eq!(chunks(&[(one, ""), (two, "STOP")]), want);
        assert_eq!(chunks(&[(&format!("{one},{two}"), "STOP")]), want);
        assert_eq!(whole(&frame(&format!("{one},{two}"), "STOP")), want);
    }

    #[test]
    fn w02_a_finish_in_the_middle_or_behind_the_calls_finishes_nothing() {
        let call = r#"{"functionCall":{"name":"f","args":{"a":1}}}"#;
        let want = r#"<,,-> C[,f,-]({"a":1}). End End"#;
        assert_eq!(chunks(&[(call, ""), ("", "STOP")]), want);
        assert_eq!(chunks(&[("", "STOP"), (call, "")]), want);
        let again = chunks(&[(r#"{"text":"a"}"#, "STOP"), (r#"{"text":"b"}"#, ""), ("", "MAX_TOKENS")]);
        assert_eq!(again, "<,,-> T(a)(b). Length End");
    }

    #[test]
    fn w14_an_end_without_a_finish_reason_is_no_end() {
        let text = frame(r#"{"text":"a"}"#, "");
        assert_eq!(stream(&[&text]), "<,,-> T(a) Cut 502");
        assert_eq!(stream(&[]), " Cut 502");
        assert_eq!(stream(&[r#"{"usageMetadata":{}}"#]), "<,,-> Cut 502");
        assert_eq!(whole(&format!("[{text}]")), "<,,-> T(a) Cut 502");
        // A whole object was not cut.
        assert_eq!(whole(&text), "<,,-> T(a). End End");
        assert_eq!(whole(&frame("", "")), "<,,-> Cut 502");
        assert_eq!(whole("{}"), "<,,-> Server 502");
        // One of two answers is missing.
        let two = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#;
        assert_eq!(stream(&[two]), "<,,-> T(a) 1:T(b) Cut 502");
    }

    #[test]
    fn w23_w71_w72_finish_reasons() {
        for (reason, want) in [
            (r#""STOP""#, "End"),
            ("1", "End"),
            (r#""MAX_TOKENS""#, "Length"),
            ("2", "Length"),
            (r#""SAFETY""#, "Refusal=SAFETY"),
            ("3", "Refusal"),
            (r#""RECITATION""#, "Refusal=RECITATION"),
            (r#""PROHIBITED_CONTENT""#, "Refusal=PROHIBITED_CONTENT"),
            ("8", "Refusal"),
            (r#""MODEL_ARMOR","finishMessage":"no""#, "Refusal=no"),
            (r#""OTHER""#, "End"),
            (r#""INVENTED_TOMORROW""#, "End"),
            ("99", "End"),
            (r#""MALFORMED_FUNCTION_CALL""#, "End"),
        ] {
            let body =
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":{reason}}}]}}"#);
            assert_eq!(whole(&body), format!("<,,-> T(a). {want} End"), "{reason}");
        }
        for reason in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"] {
            assert_eq!(chunks(&[(r#"{"text":"h","thought":true}"#, ""), ("", reason)]), "<,,-> H(h) Server 502");
        }
        let called = whole(&frame(r#"{"functionCall":{"name":"f"}}"#, "UNEXPECTED_TOOL_CALL"));
        assert_eq!(called, "<,,-> C[,f,-]. End End");
    }

    #[test]
    fn w23_a_blocked_prompt_is_a_refusal() {
        for (body, want) in [
            (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, "<,,-> Refusal End"),
            (r#"{"promptFeedback":{"blockReason":4,"blockReasonMessage":"no"}}"#, "<,,-> Refusal=no End"),
            (r#"{"promptFeedback":{"safetyRatings":[]}}"#, "<,,-> Server 502"),
        ] {
            assert_eq!(whole(body), want);
        }
        let cut = [frame(r#"{"text":"a"}"#, ""), r#"{"promptFeedback":{"blockReason":"OTHER"}}"#.to_owned()];
        assert_eq!(stream(&[&cut[0], &cut[1]]), "<,,-> T(a). Refusal End");
    }

    #[test]
    fn errors_in_place_of_an_answer() {
        let error = r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
        assert_eq!(whole(error), " Overloaded 503");
        assert_eq!(whole(&format!("[{error}]")), " Overloaded 503");
        let text = frame(r#"{"text":"a"}"#, "STOP");
        assert_eq!(stream(&[&text, error, &text]), "<,,-> T(a) Overloaded 503");
        for body in ["", "<html>", "{\"candidates\":", "[3]", "\u{1}"] {
            assert!(whole(body).ends_with(" Server 502"), "{body}");
        }
        assert_eq!(stream(&[&text, "[DONE]", ""]), "<,,-> T(a). End End");
    }

    #[test]
    fn w26_arguments_that_come_a_value_at_a_time() {
        let piece = |path: &str, value: &str| {
            let piece = format!(r#"{{"jsonPath":"{path}",{value}}}"#);
            frame(&format!(r#"{{"functionCall":{{"partialArgs":[{piece}],"willContinue":true}}}}"#), "")
        };
        let frames = [
            frame(r#"{"functionCall":{"name":"f","willContinue":true},"thoughtSignature":"s"}"#, ""),
            piece("$.city", r#""stringValue":"Bos","willContinue":true"#),
            piece("$.city", r#""stringValue":"ton""#),
            piece("$.items[0].n", r#""numberValue":1.50"#),
            piece("$.items[0]['b c']", r#""boolValue":true"#),
            piece("$.items[7]", r#""nullValue":null"#),
            piece("$..", r#""stringValue":"nowhere""#),
            frame(r#"{"functionCall":{}}"#, ""),
            frame(r#"{"functionCall":{"name":"g","willContinue":true}}"#, "STOP"),
        ];
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let want = r#"<,,-> C[,f,s]({"city":"Boston","items":[{"n":1.50,"b c":true},null]}). C[,g,-]. End End"#;
        assert_eq!(stream(&frames), want);
    }

    #[test]
    fn answers_side_by_side() {
        let frames = [
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"text":"x"}]}}]}"#,
            r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"y"}]},"finishReason":"MAX_TOKENS"}]}"#,
            r#"{"candidates":[{"index":0,"finishReason":"STOP"},{"index":4000000000,"finishReason":"STOP"}]}"#,
        ];
        assert_eq!(stream(&frames), "<,,-> T(a) 1:T(x)(y).. End 1:Length End");
    }

    #[test]
    fn w63_usage() {
        let usage = |frames: &[&str]| {
            let mut kept = Kept::default();
            let mut decoder = Gemini.decoder();
            for frame in frames {
                let frame = format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],"usageMetadata":{frame}}}"#);
                decoder.frame(None, frame.as_bytes(), &mut kept);
            }
            decoder.end(&mut kept);
            let mut all = Usage::default();
            for (_, event) in &kept.0 {
                if let Event::Usage(usage) = event {
                    all.replace(*usage);
                }
            }
            ([all.input, all.cache_read, all.output, all.reasoning], [all.audio_input, all.audio_output])
        };
        let counts = |counts| (counts, [None, None]);
        let one = r#"{"promptTokenCount":8,"candidatesTokenCount":1,"thoughtsTokenCount":3,"cachedContentTokenCount":2,"totalTokenCount":12}"#;
        assert_eq!(usage(&[one]), counts([Some(6), Some(2), Some(4), Some(3)]));
        let two = r#"{"promptTokenCount":"10","toolUsePromptTokenCount":5,"candidatesTokenCount":7}"#;
        assert_eq!(usage(&[one, two]), counts([Some(13), Some(2), Some(10), Some(3)]));
        // What is 0 is left out, and what is unknown is not 0.
        assert_eq!(usage(&[r#"{"promptTokenCount":8,"totalTokenCount":8}"#]), counts([Some(8), None, Some(0), None]));
        assert_eq!(usage(&[r#"{"trafficType":"ON_DEMAND"}"#]), counts([None, None, None, None]));
        let spoken = r#"{"promptTokenCount":9,"cachedContentTokenCount":4,"candidatesTokenCount":7,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":2},{"modality":"AUDIO","tokenCount":7}],
            "cacheTokensDetails":[{"modality":4,"tokenCount":"3"}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":6}]}"#;
        assert_eq!(usage(&[spoken]), ([Some(5), Some(4), Some(7), None], [Some(4), Some(6)]));
        let odd = r#"{"promptTokenCount":9,"totalTokenCount":9,"promptTokensDetails":{"AUDIO":1}}"#;
        assert_eq!(usage(&[odd]), counts([Some(9), None, Some(0), None]));
    }

    #[test]
    fn the_head_of_an_answer() {
        let head = r#""responseId":"r1","modelVersion":"gemini-x","usageMetadata":{"promptTokenCount":8,"serviceTier":"standard"}"#;
        let body = format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],{head}}}"#);
        assert_eq!(whole(&body), "<r1,gemini-x,default> End End");
        assert_eq!(whole(&format!("[{{{head}}},{body}]")), "<r1,gemini-x,default> End End");
    }

    #[test]
    fn sources_are_counted_in_characters_of_the_whole_text() {
        let grounding = |supports: &str| {
            format!(
                r#""groundingMetadata":{{"groundingChunks":[{{"web":{{"uri":"https://h","title":"H"}}}},{{"retrievedContext":{{"text":"x"}}}}],"groundingSupports":[{supports}]}}"#
            )
        };
        let support = |segment: &str| format!(r#"{{"segment":{{{segment}}},"groundingChunkIndices":[0,1,9]}}"#);
        let answer = |parts: &str, supports: &str| {
            whole(&format!(
                r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP",{}}}]}}"#,
                grounding(supports)
            ))
        };
        let parts = r#"{"text":"hm","thought":true},{"text":"äö "},{"text":"ü is u"}"#;
        let cases = [
            (r#""partIndex":2,"endIndex":2"#, " @3-4 https://h H"),
            (r#""partIndex":2,"startIndex":3,"endIndex":5,"text":"is""#, " @5-7 https://h H"),
            (r#""partIndex":1,"endIndex":2"#, " @0-1 https://h H"),
            // An index that goes on over all parts, as in streams.
            (r#""startIndex":5,"endIndex":7,"text":"ü""#, " @3-4 https://h H"),
            (r#""endIndex":1"#, ""),
            (r#""startIndex":4,"endIndex":2"#, ""),
            (r#""endIndex":9000"#, ""),
            (r#""partIndex":2,"endIndex":2,"text":"other""#, ""),
        ];
        for (segment, want) in cases {
            assert_eq!(
                answer(parts, &support(segment)),
                format!("<,,-> H(hm). T(äö )(ü is u).{want} End End"),
                "{segment}"
            );
        }
        assert_eq!(answer(parts, "3"), "<,,-> H(hm). T(äö )(ü is u). End End");
        let long = "ü".repeat(700);
        let cited = answer(&format!(r#"{{"text":"{long}"}}"#), &support(r#""startIndex":512,"endIndex":1398"#));
        assert!(cited.contains(" @256-699 https://h H"), "{}", &cited[1400..]);
        // In a stream the last one wins, and stands behind the text.
        let frames = [
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"äö "}}]}},{}}}]}}"#,
                grounding(&support(r#""endIndex":2"#))
            ),
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"ü"}}]}},"finishReason":"STOP",{}}}]}}"#,
                grounding(&support(r#""startIndex":2,"endIndex":7"#))
            ),
        ];
        assert_eq!(stream(&[&frames[0], &frames[1]]), "<,,-> T(äö )(ü). @1-4 https://h H End End");
    }

    #[test]
    fn log_probabilities_in_the_words_of_openai() {
        let token =
            |token: &str, logprob: &str| format!(r#"{{"token":"{token}","tokenId":7,"logProbability":{logprob}}}"#);
        let result = format!(
            r#"{{"chosenCandidates":[{},{{"token":"b"}}],"topCandidates":[{{"candidates":[{},{}]}}]}}"#,
            token("ü", "-0.50"),
            token("ü", "-0.50"),
            token("a", "\"-Infinity\"")
        );
        let body = format!(r#"{{"candidates":[{{"logprobsResult":{result},"finishReason":"STOP"}}]}}"#);
        let want = r#"[{"token":"ü","logprob":-0.50,"bytes":[195,188],"top_logprobs":[{"token":"ü","logprob":-0.50,"bytes":[195,188]},{"token":"a","logprob":-9999,"bytes":[97]}]},{"token":"b","logprob":0,"bytes":[98],"top_logprobs":[]}]"#;
        assert_eq!(whole(&body), format!("<,,-> L{want} End End"));
        assert_eq!(whole(r#"{"candidates":[{"logprobsResult":{},"finishReason":"STOP"}]}"#), "<,,-> End End");
    }
}
