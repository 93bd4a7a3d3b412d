//! Streamed answers, read. Whole answers are read in the same way, as a stream of one chunk.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::blocks::Blocks;
use super::error;
use super::types::{Choice, Chunk};
use crate::wire::convert::StreamDecoder;
use crate::wire::event::{Event, Sink};
use crate::wire::ir::{Failure, Usage};
use crate::wire::lax::Lax;

/// More choices than anybody asks for: an upstream's index must not make us allocate.
const MOST_CHOICES: u64 = 128;

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""error""#));

/// Reads a stream into events. The finish is held back until `[DONE]` or the end: usage, more content and even errors come
/// behind it.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    over: bool,
    usage: Usage,
    choices: Vec<(u32, Blocks)>,
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, name: Option<&[u8]>, data: &[u8], sink: &mut dyn Sink) {
        let data = data.trim_ascii();
        if self.over || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            self.done(true, sink);
            return;
        }
        let chunk = std::str::from_utf8(data).ok().map(serde_json::from_str::<Lax<Chunk<'_>>>);
        match chunk {
            Some(Ok(Lax(Some(chunk)))) if name != Some(b"error") && !is_error(&chunk) => {
                self.chunk(chunk, false, sink);
            }
            // Google wraps errors in an array; anything else that is no object says nothing.
            Some(Ok(Lax(None))) if name != Some(b"error") && ERROR.find(data).is_none() => {}
            Some(Ok(_)) => self.fail(error::inside(data), sink),
            // A word for people between the events is not ours to judge; half an object is lost content.
            _ if data.first() != Some(&b'{') && name != Some(b"error") => {}
            _ => self.fail(Failure::cut("the upstream sent an event that is not JSON"), sink),
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.done(false, sink);
    }
}

/// An error in place of an answer, or beside one (`OpenRouter`, even behind a finish).
fn is_error(chunk: &Chunk<'_>) -> bool {
    let object = chunk.object.0.as_deref() == Some("error");
    object || chunk.error.as_ref().is_some_and(|error| !error.is_null())
}

impl Decoder {
    /// Reads a whole answer.
    pub(super) fn whole(mut self, body: &[u8], sink: &mut dyn Sink) {
        let chunk = std::str::from_utf8(body).ok().and_then(|body| serde_json::from_str::<Lax<Chunk<'_>>>(body).ok());
        match chunk {
            Some(Lax(Some(chunk))) if chunk.choices.0.as_ref().is_some_and(|choices| !choices.is_empty()) => {
                self.chunk(chunk, true, sink);
                self.done(true, sink);
            }
            Some(_) => self.fail(error::inside(body), sink),
            None => self.fail(Failure::cut("the upstream's answer could not be read"), sink),
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, whole: bool, sink: &mut dyn Sink) {
        if let Some(usage) = chunk.usage.0 {
            self.usage.replace(usage.counts());
        }
        let choices = chunk.choices.0.unwrap_or_default();
        if choices.is_empty() {
            // Usage alone, or what Azure says before the answer.
            return;
        }
        if !self.started {
            self.started = true;
            let (id, model) = (chunk.id.0.unwrap_or_default(), chunk.model.0.unwrap_or_default());
            sink.event(0, Event::Start { id, model, tier: chunk.service_tier.0 });
        }
        for (position, choice) in (0..).zip(choices) {
            if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
                let failure = error::inside(format!(r#"{{"error":{}}}"#, error.get()).as_bytes());
                self.fail(failure, sink);
                return;
            }
            self.choice(position, choice, whole, sink);
        }
    }

    fn choice(&mut self, position: u64, choice: Choice<'_>, whole: bool, sink: &mut dyn Sink) {
        let index = choice.index.0.unwrap_or(position);
        if index >= MOST_CHOICES {
            return;
        }
        let Ok(index) = u32::try_from(index) else { return };
        let at = self.choices.iter().position(|(own, _)| *own == index).unwrap_or_else(|| {
            self.choices.push((index, Blocks::new(index)));
            self.choices.len() - 1
        });
        let Some((_, blocks)) = self.choices.get_mut(at) else { return };
        // Perplexity repeats all that was said in `message`, beside the delta.
        let message = if whole { choice.message.0.or(choice.delta.0) } else { choice.delta.0 };
        if let Some(message) = message {
            blocks.message(message, sink);
        }
        if let Some(list) = choice.logprobs.0.and_then(|logprobs| logprobs.content) {
            blocks.logprobs(&list);
        }
        if let Some(reason) = choice.finish_reason.0.filter(|reason| !reason.is_empty()) {
            blocks.finished(&reason, choice.stop_reason.0.or(choice.matched_stop.0));
        }
        if whole {
            blocks.end(sink);
        }
    }

    /// The end. `told`: the upstream said that it is one; a connection that just ends is not enough without a finish.
    fn done(&mut self, told: bool, sink: &mut dyn Sink) {
        if self.over {
            return;
        }
        let whole = |blocks: &Blocks| blocks.is_finished() || (told && blocks.said());
        if self.choices.is_empty() || !self.choices.iter().all(|(_, blocks)| whole(blocks)) {
            self.fail(Failure::cut("the upstream ended the stream before its end"), sink);
            return;
        }
        self.over = true;
        self.choices.sort_by_key(|(index, _)| *index);
        for (_, blocks) in &mut self.choices {
            blocks.end(sink);
        }
        self.tell_usage(sink);
        for (_, blocks) in &mut self.choices {
            blocks.finish(sink);
        }
        sink.event(0, Event::End);
    }

    fn fail(&mut self, mut failure: Failure, sink: &mut dyn Sink) {
        self.over = true;
        failure.body = None;
        if self.usage != Usage::default() && self.started {
            for (_, blocks) in &mut self.choices {
                blocks.close(sink);
            }
            self.tell_usage(sink);
        }
        sink.event(0, Event::Failed(Box::new(failure)));
    }

    fn tell_usage(&self, sink: &mut dyn Sink) {
        if self.usage != Usage::default() {
            sink.event(0, Event::Usage(self.usage));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, stream, told, whole};

    /// A chunk with this delta.
    fn delta(delta: &str) -> String {
        format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    fn finish(reason: &str) -> String {
        format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#)
    }

    /// What a stream of these deltas says, with its finish and `[DONE]`; the start and the end are left off.
    fn says(deltas: &[&str], reason: &str) -> String {
        let mut frames: Vec<String> = deltas.iter().map(|text| delta(text)).collect();
        frames.push(finish(reason));
        frames.push("[DONE]".to_owned());
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let all = stream(&frames);
        all.strip_prefix("start:m ").and_then(|all| all.strip_suffix(" end")).unwrap_or(&all).to_owned()
    }

    #[test]
    fn texts_thoughts_and_refusals() {
        for (deltas, want) in [
            (
                &[r#"{"role":"assistant","content":""}"#, r#"{"content":"a"}"#, r#"{"content":"b"}"#][..],
                "[text ab] finish:End",
            ),
            // The role may stand on every chunk, and empty fields open nothing.
            (
                &[r#"{"role":"assistant","content":"","reasoning_content":null,"tool_calls":[],"refusal":null}"#],
                "finish:End",
            ),
            (&[r#"{"role":"assistant"}"#, r#"{"refusal":"no"}"#, r#"{"refusal":"!"}"#], "[refusal no!] finish:Refusal"),
            (&[r#"{"reasoning_content":"r"}"#, r#"{"content":"t"}"#], "[think r] [text t] finish:End"),
            (
                &[r#"{"reasoning":"r","content":""}"#, r#"{"reasoning":null,"content":"t"}"#],
                "[think r] [text t] finish:End",
            ),
            (&[r#"{"reasoning_content":"r","content":"t"}"#], "[think r] [text t] finish:End"),
            // Words that stand in three fields are said once.
            (
                &[
                    r#"{"reasoning":"r","reasoning_content":"r","reasoning_details":[{"type":"reasoning.text","text":"r","index":0}]}"#,
                ],
                "[think r] finish:End",
            ),
            (
                &[
                    r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.summary","summary":"a","format":"x","index":0}]}"#,
                    r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.summary","summary":"a","format":"x","index":0}]}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"e","id":"rs","format":"x","index":0}]}"#,
                ],
                "[think aa] finish:End",
            ),
            // A signature may come alone, or with all words again.
            (
                &[
                    r#"{"reasoning_content":"ab"}"#,
                    r#"{"reasoning_content":"c"}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.text","text":"abc","signature":"s","format":"anthropic-claude-v1"}]}"#,
                    r#"{"reasoning_content":"d"}"#,
                    r#"{"reasoning_details":[{"type":"reasoning.text","signature":"s2","format":"anthropic-claude-v1"}]}"#,
                    r#"{"content":"t"}"#,
                ],
                "[think abc~Anthropic:s] [think d~Anthropic:s2] [text t] finish:End",
            ),
            (
                &[
                    r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"e","format":"anthropic-claude-v1"}]}"#,
                ],
                "[redacted Anthropic:e] finish:End",
            ),
            // Mistral.
            (
                &[
                    r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]}]}"#,
                    r#"{"content":[{"type":"thinking","thinking":"s"},{"type":"text","text":"t"},{"type":"reference"}]}"#,
                ],
                "[think rs] [text t] finish:End",
            ),
            (
                &[r#"{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}"#],
                "[image image/png iVBORw0KGgo=] finish:End",
            ),
            (
                &[
                    r#"{"content":"t","annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"v","start_index":1,"end_index":2}}]}"#,
                    r#"{"content":"u","annotations":[{"type":"file_citation"}]}"#,
                ],
                "[text tu] cite:u|v|1-2 finish:End",
            ),
        ] {
            assert_eq!(says(deltas, "stop"), want, "{deltas:?}");
        }
    }

    #[test]
    fn w06_a_refusal_alone_is_told() {
        assert_eq!(says(&[r#"{"refusal":"I can not."}"#], "stop"), "[refusal I can not.] finish:Refusal");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn calls_however_servers_tell_them() {
        for (deltas, want) in [
            // OpenAI.
            (
                &[
                    r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
                    r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
                ][..],
                r#"[call a f {"x":1}] [call b g {}] finish:Tools"#,
            ),
            // Whole, in one chunk, without index and type (Mistral); empty ids (Gemini's endpoint).
            (
                &[
                    r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
                ],
                r#"[call a f {"x":1}] [call b g {}] finish:Tools"#,
            ),
            (
                &[
                    r#"{"tool_calls":[{"id":"","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
                    r#"{"tool_calls":[{"id":"","function":{"name":"f","arguments":"{\"x\":2}"}}]}"#,
                ],
                r#"[call  f {"x":1}] [call  f {"x":2}] finish:Tools"#,
            ),
            // The index never advances: a new id is a new call.
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"y\""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":":2}"}}]}"#,
                ],
                r#"[call a f {}] [call b f {"y":2}] finish:Tools"#,
            ),
            // Id and name on every piece; an id of its own for every piece.
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]}"#,
                ],
                r#"[call a f {"x":1}] finish:Tools"#,
            ),
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"id":"z","function":{"name":null,"arguments":":1}"}}]}"#,
                ],
                r#"[call a f {"x":1}] finish:Tools"#,
            ),
            // The name comes later; no index on the rest.
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{\"x\""}}]}"#,
                    r#"{"tool_calls":[{"function":{"name":"f"},"index":0}]}"#,
                    r#"{"tool_calls":[{"function":{"arguments":":1}"}}]}"#,
                ],
                r#"[call a f {"x":1}] finish:Tools"#,
            ),
            // Arguments as an object, as null, as text, twice escaped, with a tail.
            (
                &[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"b":1.0,"a":{}}}}]}"#],
                r#"[call a f {"b":1.0,"a":{}}] finish:Tools"#,
            ),
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"null"}}]}"#,
                    r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"x"}}]}"#,
                    r#"{"tool_calls":[{"index":2,"id":"c","function":{"name":"h","arguments":"\"{\\\"x\\\":1}\""}}]}"#,
                ],
                r#"[call a f {}] [call b g {"_raw":"x"}] [call c h {"x":1}] finish:Tools"#,
            ),
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"\n{}"}}]}"#,
                ],
                "[call a f {}] finish:Tools",
            ),
            // Text and reasoning before, between and behind.
            (
                &[
                    r#"{"content":"t","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#,
                    r#"{"content":"u"}"#,
                    r#"{"reasoning":"r"}"#,
                    r#"{"content":"v"}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}"#,
                    r#"{"content":"w"}"#,
                ],
                "[text t] [call a f {}] [text u] [think r] [text vw] finish:Tools",
            ),
            // The old way.
            (
                &[
                    r#"{"function_call":{"name":"f","arguments":""}}"#,
                    r#"{"function_call":{"arguments":"{\"x\":"}}"#,
                    r#"{"function_call":{"arguments":"1}"}}"#,
                ],
                r#"[call  f {"x":1}] finish:Tools"#,
            ),
            // Free text.
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"sql","input":"SELECT "}}]}"#,
                    r#"{"tool_calls":[{"index":0,"custom":{"input":"\"1\""}}]}"#,
                ],
                r#"[call a sql {"input":"SELECT \"1\""}] finish:Tools"#,
            ),
            // Gemini's signatures.
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]}"#,
                ],
                "[call a f ~s {}] finish:Tools",
            ),
            (
                &[
                    r#"{"reasoning_details":[{"type":"reasoning.encrypted","id":"a","data":"s","format":"google-gemini-v1"}],"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
                ],
                "[call a f ~s {}] finish:Tools",
            ),
            // Nobody can call what has no name.
            (
                &[r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{}"}}]}"#, r#"{"content":"t"}"#],
                "[text t] finish:Tools",
            ),
        ] {
            assert_eq!(says(deltas, "tool_calls"), want, "{deltas:?}");
        }
    }

    #[test]
    fn w19_interleaved_calls_come_one_after_the_other() {
        let open = |index: u32, id: &str| {
            format!(r#"{{"tool_calls":[{{"index":{index},"id":"{id}","function":{{"name":"f","arguments":""}}}}]}}"#)
        };
        let piece = |index: u32, text: &str| {
            format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{text}"}}}}]}}"#)
        };
        let deltas = [
            open(0, "a"),
            open(1, "b"),
            piece(0, r#"{\"x\""#),
            piece(1, r#"{\"y\""#),
            open(2, "c"),
            piece(0, ":1}"),
            piece(2, "{}"),
            piece(1, ":2}"),
        ];
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        assert_eq!(says(&deltas, "tool_calls"), r#"[call a f {"x":1}] [call b f {"y":2}] [call c f {}] finish:Tools"#);
    }

    #[test]
    fn w20_w21_calls_without_arguments_have_no_delta_and_open_nothing_twice() {
        let deltas = [
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g"}}]}"#,
        ];
        assert_eq!(says(&deltas, "tool_calls"), "[call a f ] [call b g ] finish:Tools");
    }

    #[test]
    fn w72_reasons_of_the_end() {
        for (choice, want) in [
            (r#""finish_reason":"stop""#, "End"),
            (r#""finish_reason":"eos""#, "End"),
            (r#""finish_reason":"length""#, "Length"),
            (r#""finish_reason":"model_length""#, "Length"),
            (r#""finish_reason":"tool_calls""#, "Tools"),
            (r#""finish_reason":"function_call""#, "Tools"),
            (r#""finish_reason":"content_filter""#, "Refusal"),
            (r#""finish_reason":"something new""#, "End"),
            (r#""finish_reason":"stop","stop_reason":"END""#, "Sequence(END)"),
            (r#""finish_reason":"stop","matched_stop":"END""#, "Sequence(END)"),
            (r#""finish_reason":"stop","stop_reason":128001"#, "End"),
            (r#""finish_reason":"tool_calls","stop_reason":"x""#, "Tools"),
        ] {
            let chunk = format!(r#"{{"id":"c","model":"m","choices":[{{"delta":{{"content":"t"}},{choice}}}]}}"#);
            assert_eq!(stream(&[&chunk, "[DONE]"]), format!("start:m [text t] finish:{want} end"), "{choice}");
            let body = format!(r#"{{"id":"c","model":"m","choices":[{{"message":{{"content":"t"}},{choice}}}]}}"#);
            assert_eq!(whole(&body), format!("start:m [text t] finish:{want} end"), "{choice}");
        }
    }

    #[test]
    fn w07_w08_usage_wherever_it_stands() {
        let usage = r#""usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#;
        let early = r#""usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}"#;
        let text = |usage: &str| {
            let comma = if usage.is_empty() { "" } else { "," };
            format!(r#"{{"model":"m","choices":[{{"delta":{{"content":"a"}}}}]{comma}{usage}}}"#)
        };
        let last = |usage: &str| {
            let comma = if usage.is_empty() { "" } else { "," };
            format!(r#"{{"model":"m","choices":[{{"delta":{{"content":"b"}},"finish_reason":"stop"}}]{comma}{usage}}}"#)
        };
        let alone = format!(r#"{{"model":"m","choices":[],{usage}}}"#);
        let bare = format!("{{{usage}}}");
        for frames in [
            [text(""), last(""), alone.clone(), "[DONE]".into()],
            [text(""), last(""), bare, "[DONE]".into()],
            [text(early), last(usage), "[DONE]".into(), alone.clone()],
            [text(""), last(usage), alone, "[DONE]".into()],
            // Groq counts twice, Perplexity has no `[DONE]`.
            [text(early), last(usage), r#"{"choices":null,"usage":null}"#.into(), String::new()],
        ] {
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            assert_eq!(stream(&frames), "start:m [text ab] usage:10/-/-/5/- finish:End end", "{frames:?}");
        }
    }

    #[test]
    fn audio_is_told_apart() {
        let text = r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"audio_tokens":8},"completion_tokens_details":{"audio_tokens":4}}"#;
        let usage = super::super::tap::usage_of(text);
        assert_eq!([usage.input, usage.audio_input, usage.audio_output], [Some(10), Some(8), Some(4)]);
    }

    #[test]
    fn counts_of_all_vendors() {
        for (usage, want) in [
            (r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#, "10/-/-/5/-"),
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},"completion_tokens_details":{"reasoning_tokens":4}}"#,
                "10/60/30/5/4",
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#,
                "2/8/-/5/-",
            ),
            // Reasoning beside the completion (xAI), and more cache than prompt (Azure).
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}"#,
                "10/-/-/12/7",
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":7}}"#,
                "10/-/-/12/7",
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":16}}"#,
                "0/10/-/5/-",
            ),
            (r#"{"prompt_tokens":10.0,"completion_tokens":"x","prompt_tokens_details":[]}"#, "10/-/-/-/-"),
        ] {
            let body = format!(
                r#"{{"model":"m","choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
            );
            assert_eq!(whole(&body), format!("start:m [text a] usage:{want} finish:End end"), "{usage}");
        }
    }

    #[test]
    fn w12_w14_an_end_without_a_finish_is_a_failure() {
        let cut = "failed:Cut 502 the upstream ended the stream before its end";
        let said = delta(r#"{"content":"a"}"#);
        let call = delta(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x"}}]}"#);
        for (frames, want) in [
            (&[][..], cut.to_owned()),
            (&["[DONE]"], cut.to_owned()),
            (&[&*said], format!("start:m [text a{cut}")),
            (&[&*call], format!("start:m [call a f {{\"x{cut}")),
            // `[DONE]` is the upstream's word for the end (OpenRouter has left out the finish).
            (&[&*said, "[DONE]"], "start:m [text a] finish:End end".to_owned()),
            (&[&*delta(r#"{"role":"assistant"}"#), "[DONE]"], format!("start:m {cut}")),
            (&[&*said, &*finish("stop")], "start:m [text a] finish:End end".to_owned()),
        ] {
            assert_eq!(stream(frames), want, "{frames:?}");
        }
    }

    #[test]
    fn w13_w16_errors_in_all_their_places() {
        let said = delta(r#"{"content":"a"}"#);
        let error = r#"{"error":{"message":"busy","type":"server_error","code":null}}"#;
        let ended = finish("length");
        let openrouter = r#"{"id":"c","model":"m","error":{"code":400,"message":"limit"},"choices":[{"delta":{"content":""},"finish_reason":"error"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        let inner = r#"{"model":"m","choices":[{"error":{"code":429,"message":"slow"},"finish_reason":"error"}]}"#;
        for (frames, want) in [
            (&[error][..], "failed:Server 500 busy"),
            (&[&*said, error, "[DONE]"], "start:m [text afailed:Server 500 busy"),
            (&[&*said, &*ended, openrouter, "[DONE]"], "start:m [text afailed:BadRequest 400 limit"),
            (&[&*said, inner], "start:m [text afailed:RateLimited 429 slow"),
            (&[r#"[{"error":{"code":503,"message":"g","status":"UNAVAILABLE"}}]"#], "failed:Overloaded 503 g"),
            (&[r#"{"object":"error","message":"d","raw_status_code":422}"#], "failed:BadRequest 422 d"),
            (&[r#"{"error":"plain words"}"#], "failed:Server 502 plain words"),
            (
                &[&*said, r#"{"choices":[{"del"#],
                "start:m [text afailed:Cut 502 the upstream sent an event that is not JSON",
            ),
        ] {
            assert_eq!(stream(frames), want, "{frames:?}");
        }
        let groq =
            format!("data: {said}\n\nevent: error\ndata: {{\"error\":{{\"message\":\"m\",\"status_code\":400}}}}\n\n");
        assert_eq!(told(&read(&[groq.as_bytes()]).0), "start:m [text afailed:BadRequest 400 m");
        // Counts that were told before are told.
        let counted =
            r#"{"model":"m","choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        assert_eq!(stream(&[counted, error]), "start:m [text a] usage:1/-/-/2/- failed:Server 500 busy");
    }

    #[test]
    fn w25_chunks_of_other_shapes() {
        let said = r#"{"model":"m","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        for frames in [
            // Azure's first chunk, its filter results, Perplexity's cumulative message.
            &[
                r#"{"id":"","model":"","choices":[],"prompt_filter_results":[]}"#,
                said,
                r#"{"choices":[{"index":0,"content_filter_offsets":{}}]}"#,
            ][..],
            &[
                r#"{"model":"m","choices":[{"delta":{"content":"a"},"message":{"content":"a"}}]}"#,
                r#"{"choices":[{"delta":{},"message":{"content":"a"},"finish_reason":"stop"}]}"#,
            ],
            &["keep-alive", "3", "null", "[]", said],
            &[said, r#"{"choices":[{"index":0,"delta":"odd","finish_reason":7}]}"#, r#"{"choices":"odd"}"#],
            &[
                r#"{"model":"m","choices":[{"index":"0","delta":{"content":"a","tool_calls":{"a":1},"reasoning_details":"x"},"logprobs":[],"finish_reason":"stop"}],"usage":[],"new":{"a":[]}}"#,
            ],
        ] {
            assert_eq!(stream(frames), "start:m [text a] finish:End end", "{frames:?}");
        }
    }

    #[test]
    fn choices_do_not_mix() {
        let chunk = |index: u32, text: &str| {
            format!(r#"{{"model":"m","choices":[{{"index":{index},"delta":{{"content":"{text}"}}}}]}}"#)
        };
        let done = |index: u32| {
            format!(r#"{{"model":"m","choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#)
        };
        let frames =
            [chunk(1, "a"), chunk(0, "b"), chunk(1, "c"), done(1), done(0), chunk(9999, "x"), "[DONE]".to_owned()];
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        assert_eq!(
            stream(&frames),
            "start:m 1:[text a[text bc] 1:] finish:End 1:finish:End end".replace("bc] 1:] ", "bc] ] ")
        );
        let one = [chunk(0, "b"), chunk(1, "c"), done(0)];
        let one: Vec<&str> = one.iter().map(String::as_str).collect();
        assert!(stream(&one).contains("failed:Cut"), "a choice without its finish");
    }

    #[test]
    fn logprobs_are_gathered() {
        let chunk =
            |list: &str| format!(r#"{{"model":"m","choices":[{{"delta":{{"content":"a"}},"logprobs":{list}}}]}}"#);
        let frames = [
            chunk(r#"{"content":[{"token":"a"}],"refusal":null}"#),
            chunk(r#"{"content":[]}"#),
            chunk("null"),
            chunk(r#"{"content":[{"token":"b"},{"token":"c"}]}"#),
            finish("stop"),
        ];
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        assert_eq!(
            stream(&frames),
            r#"start:m [text aaaa] logprobs:[{"token":"a"},{"token":"b"},{"token":"c"}] finish:End end"#
        );
    }

    #[test]
    fn whole_answers() {
        for (body, want) in [
            (
                r#"{"id":"c","model":"m","service_tier":"flex","choices":[{"index":0,"message":{"role":"assistant","content":"t","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}]}"#,
                "start:m/flex [text t] finish:End end",
            ),
            (
                r#"{"model":"m","choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}},{"id":"b","function":{"name":"g","arguments":"{\"x\": 1}"}}]},"finish_reason":"tool_calls"}]}"#,
                r#"start:m [call a f ] [call b g {"x": 1}] finish:Tools end"#,
            ),
            (
                r#"{"model":"m","choices":[{"message":{"content":null,"function_call":{"name":"f","arguments":"{}"}},"finish_reason":"function_call"}]}"#,
                "start:m [call  f {}] finish:Tools end",
            ),
            // A filtered choice without a message (Azure), an answer of nothing, a missing reason.
            (r#"{"model":"m","choices":[{"index":0,"finish_reason":"content_filter"}]}"#, "start:m finish:Refusal end"),
            (
                r#"{"model":"m","choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#,
                "start:m finish:End end",
            ),
            (
                r#"{"model":"m","choices":[{"message":{"content":"t"},"finish_reason":null}]}"#,
                "start:m [text t] finish:End end",
            ),
            // Several, and none of them with an index.
            (
                r#"{"model":"m","choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":"b"},"finish_reason":"length"}]}"#,
                "start:m [text a] 1:[text b] finish:End 1:finish:Length end",
            ),
            (
                r#"{"model":"m","choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]},{"type":"text","text":"t"}]},"finish_reason":"stop"}]}"#,
                "start:m [think r] [text t] finish:End end",
            ),
            (r#"{"error":{"code":402,"message":"no credits"}}"#, "failed:RateLimited 402 no credits"),
            (r#"{"error":{"message":"x"},"choices":[]}"#, "failed:Server 502 x"),
            ("<html>", "failed:Cut 502 the upstream's answer could not be read"),
            (r#"{"detail":"e"}"#, "failed:Server 502 e"),
            (r#"[{"error":{"code":400,"message":"g"}}]"#, "failed:BadRequest 400 g"),
            ("7", "failed:Server 502 the upstream's answer is no completion that can be read"),
        ] {
            assert_eq!(whole(body), want, "{body}");
        }
    }

    const STREAM: &str = concat!(
        ": keep-alive\r\n\r\n",
        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n",
        "data:{\"choices\":[{\"delta\":{\"reasoning\":\"hm\u{20ac}\"}}]}\n\n",
        "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"\u{1f600}a\"}}]}\n\n",
        "event: unknown\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
        "data: [DONE]",
    );
    const SAID: &str = "start:m [think hm€] [text 😀a] [call a f {\"x\":1}] usage:3/-/-/4/- finish:Tools end";

    #[test]
    fn w24_every_split_says_the_same() {
        let bytes = STREAM.as_bytes();
        assert_eq!(told(&read(&[bytes]).0), SAID);
        for cut in 0..=bytes.len() {
            assert_eq!(told(&read(&[&bytes[..cut], &bytes[cut..]]).0), SAID, "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(told(&read(&single).0), SAID);
    }

    #[test]
    fn w12_every_truncation_is_a_failure_until_the_finish_is_there() {
        let finish = STREAM.find("tool_calls\\\"}]}").or_else(|| STREAM.find("\"finish_reason\":\"tool_calls\"}]}"));
        let finish = finish.unwrap() + "\"finish_reason\":\"tool_calls\"}]}".len();
        for cut in 0..STREAM.len() {
            let got = told(&read(&[&STREAM.as_bytes()[..cut]]).0);
            if cut < finish {
                assert!(got.contains("failed:Cut") && !got.contains("finish"), "{cut}: {got}");
            } else {
                assert!(got.ends_with("finish:Tools end") || got.contains("failed:Cut"), "{cut}: {got}");
            }
        }
    }

    #[test]
    fn hostile_streams_stay_small() {
        let open = |index: usize| {
            format!(r#"{{"tool_calls":[{{"index":{index},"id":"{index}","function":{{"name":"f","arguments":""}}}}]}}"#)
        };
        let deltas: Vec<String> = (0..3000).map(open).collect();
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        assert_eq!(says(&deltas, "stop").matches("[call").count(), 1024);
    }
}
