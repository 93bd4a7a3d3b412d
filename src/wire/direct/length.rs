//! A guess at the input tokens of texts that pass through, by the arithmetic of conversations ([`estimate`]) and without making one of
//! them. What an upstream keeps (`previous_response_id`, `conversation`, a file by its id) is not seen.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::Path;
use crate::wire::envelope::Envelope;
use crate::wire::estimate::{PER_CALL, PER_MESSAGE, PER_REQUEST, PER_TOOL, UNIT, words};
use crate::wire::fields::fields;
use crate::wire::lax::{Lax, Shape, objects};
use crate::wire::needs::Needs;
use crate::wire::text::Str;

/// Input tokens, as they are guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// All of them.
    pub all: u64,
    /// Those of the longest of several prompts, each of which has the whole context of the model.
    pub longest: u64,
}

/// The length of a request at `path`, in which `needs` has found media; `None` where it is no text for a model, where it is only counted,
/// and where it cannot be read.
pub(super) fn length(path: Path, fields: &Envelope<'_>, needs: &Needs) -> Option<Length> {
    match path {
        Path::Responses | Path::ResponsesCompact => {
            let all = response(fields).ok()?.div_ceil(UNIT).saturating_add(needs.media_tokens());
            Some(Length { all, longest: all })
        }
        Path::Completions => {
            let prompts: Prompts = field(fields, "prompt").ok()?.unwrap_or_default();
            let suffix: Prompts = field(fields, "suffix").ok()?.unwrap_or_default();
            let tokens = |units: u64| units.saturating_add(suffix.all).div_ceil(UNIT);
            Some(Length { all: tokens(prompts.all), longest: tokens(prompts.longest) })
        }
        Path::Embeddings
        | Path::Moderations
        | Path::ImageGenerations
        | Path::ImageEdits
        | Path::ImageVariations
        | Path::Speech
        | Path::Transcriptions
        | Path::Translations
        | Path::ResponsesInputTokens => None,
    }
}

/// The value of a field, if it has the right type.
///
/// # Errors
/// It cannot be read at all, being too deep.
fn field<'a, T: Shape<'a>>(fields: &Envelope<'a>, name: &str) -> serde_json::Result<Option<T>> {
    let Some(value) = fields.value(name) else { return Ok(None) };
    serde_json::from_str::<Lax<T>>(value.get()).map(|value| value.0)
}

/// The texts of a request of the Responses API.
fn response(fields: &Envelope<'_>) -> serde_json::Result<u64> {
    let message = |said: Said| said.all() + if said.bare { PER_MESSAGE } else { 0 };
    let instructions = field::<Said>(fields, "instructions")?.map_or(0, message);
    let input = field::<Said>(fields, "input")?.map_or(0, message);
    let tools = field::<Vec<Tool<'_>>>(fields, "tools")?.unwrap_or_default();
    let schema = field::<Text<'_>>(fields, "text")?.and_then(|text| text.format.0?.schema);
    let schema = schema.map_or(0, |schema| PER_TOOL + words(schema.get()));
    Ok(PER_REQUEST + instructions + input + tools.iter().map(Tool::units).sum::<u64>() + schema)
}

/// What a part of a conversation says, whatever its form: all texts but those that no model reads. Items are told by their type.
#[derive(Default)]
struct Said {
    units: u64,
    /// Reasoning that only its vendor can read.
    hidden: u64,
    /// It is the user's message: of what was reasoned before it nothing is read again.
    user: bool,
    /// It is a text by itself.
    bare: bool,
}

impl Said {
    fn all(&self) -> u64 {
        self.units.saturating_add(self.hidden)
    }
}

impl<'de> Shape<'de> for Said {
    fn text(text: Str<'de>) -> Option<Self> {
        Some(Self { units: words(&text), bare: true, ..Self::default() })
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::default();
        while let Some(Lax(said)) = list.next_element::<Lax<Self>>()? {
            let said = said.unwrap_or_default();
            if said.user {
                all.hidden = 0;
            }
            all.units += said.units;
            all.hidden += said.hidden;
        }
        Ok(Some(all))
    }

    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::default();
        let (mut kind, mut role) = (Lax::<Str<'de>>(None), Lax::<Str<'de>>(None));
        while let Some(name) = map.next_key::<Str<'de>>()? {
            match name.as_str() {
                "type" => kind = map.next_value()?,
                "role" => role = map.next_value()?,
                "encrypted_content" => {
                    let text = map.next_value::<Lax<Str<'de>>>()?;
                    // Four letters are three bytes, and four bytes a token.
                    all.hidden += text.as_str().len() as u64 * UNIT * 3 / 16;
                }
                // Names, and media, which are counted by themselves.
                "id" | "call_id" | "file_id" | "container_id" | "status" | "phase" | "detail" | "format"
                | "filename" | "annotations" | "logprobs" | "image_url" | "file_url" | "file_data" | "data"
                | "result" => {
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    let said = map.next_value::<Lax<Self>>()?.0.unwrap_or_default();
                    all.units += said.units;
                    all.hidden += said.hidden;
                }
            }
        }
        all.user = role.as_str() == "user";
        all.units += match kind.as_str() {
            "" | "message" if role.0.is_some() => PER_MESSAGE,
            // It stands for all that was said before it.
            "compaction" => std::mem::take(&mut all.hidden),
            kind if kind.ends_with("_call") || kind.ends_with("_output") => PER_CALL,
            _ => 0,
        };
        Ok(Some(all))
    }
}

#[derive(Default)]
struct Tool<'a> {
    name: Lax<Str<'a>>,
    description: Lax<Str<'a>>,
    parameters: Option<&'a RawValue>,
    format: Option<&'a RawValue>,
    tools: Lax<Vec<Tool<'a>>>,
}
fields!(Tool<'a> { name, description, parameters, format, tools });
objects!(Tool<'a>);

impl Tool<'_> {
    fn units(&self) -> u64 {
        let raw = [self.parameters, self.format].into_iter().flatten().map(|raw| words(raw.get())).sum::<u64>();
        let within = self.tools.0.iter().flatten().map(Self::units).sum::<u64>();
        PER_TOOL + words(self.name.as_str()) + words(self.description.as_str()) + raw + within
    }
}

#[derive(Default)]
struct Text<'a> {
    format: Lax<Format<'a>>,
}
fields!(Text<'a> { format });
objects!(Text<'a>);

#[derive(Default)]
struct Format<'a> {
    schema: Option<&'a RawValue>,
}
fields!(Format<'a> { schema });
objects!(Format<'a>);

/// A text, tokens, or several of these.
#[derive(Default)]
struct Prompts {
    all: u64,
    longest: u64,
    token: bool,
}

impl<'de> Shape<'de> for Prompts {
    fn text(text: Str<'de>) -> Option<Self> {
        let units = words(&text);
        Some(Self { all: units, longest: units, token: false })
    }

    fn number(_: u64) -> Option<Self> {
        Some(Self { all: UNIT, longest: UNIT, token: true })
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let (mut all, mut longest, mut tokens) = (0, 0, 0);
        while let Some(Lax(prompt)) = list.next_element::<Lax<Self>>()? {
            let prompt = prompt.unwrap_or_default();
            all += prompt.all;
            if prompt.token {
                tokens += prompt.all;
            } else {
                longest = prompt.longest.max(longest);
            }
        }
        Ok(Some(Self { all, longest: longest.max(tokens), token: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::look;
    use super::*;
    use crate::wire::{Wire, guess_tokens, peek};

    fn tokens(path: Path, body: &str) -> Option<Length> {
        let asked = look(path, None, body.as_bytes()).unwrap();
        asked.length(&asked.needs())
    }

    fn of(fields: &str) -> u64 {
        tokens(Path::Responses, &format!(r#"{{"model":"m",{fields}}}"#)).unwrap().all
    }

    /// The law: what both APIs can say is as long in the one as in the other.
    #[test]
    fn a_response_is_as_long_as_the_same_conversation() {
        let long = "The quick brown fox jumps over the lazy dog. ".repeat(200);
        let data = format!("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{}", "A".repeat(200_000));
        let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
        for (response, chat) in [
            (r#""input":"Hello there""#.to_owned(), r#""messages":[{"role":"user","content":"Hello there"}]"#.to_owned()),
            (
                format!(r#""instructions":"Be brief.","input":[{{"role":"user","content":"{long}"}}]"#),
                format!(r#""messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{long}"}}]"#),
            ),
            (
                format!(r#""input":[{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{long}"}},{{"type":"input_image","image_url":"{data}","detail":"auto"}}]}}]"#),
                format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"{long}"}},{{"type":"image_url","image_url":{{"url":"{data}"}}}}]}}]"#),
            ),
            (
                r#""input":[{"role":"user","content":[{"type":"input_image","image_url":"https://h/a.png"}]}]"#.to_owned(),
                r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]"#.to_owned(),
            ),
            (
                format!(r#""input":"x","tools":[{{"type":"function","name":"weather","description":"tells it","parameters":{schema},"strict":true}}]"#),
                format!(r#""messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"weather","description":"tells it","parameters":{schema},"strict":true}}}}]"#),
            ),
            (
                format!(r#""input":"x","text":{{"format":{{"type":"json_schema","name":"n","schema":{schema}}}}}"#),
                format!(r#""messages":[{{"role":"user","content":"x"}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#),
            ),
        ] {
            let chat = format!(r#"{{"model":"m",{chat}}}"#);
            let want = guess_tokens(&peek(Wire::OpenAiChat, chat.as_bytes()).unwrap()).unwrap();
            assert_eq!(of(&response), want, "{}", &chat[..chat.len().min(300)]);
        }
        // Each call stands by itself here, which takes a few tokens more.
        let calls = r#""input":[{"role":"user","content":"x"},{"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{\"a\":1}","status":"completed"},{"type":"function_call_output","call_id":"c","output":"sunny"}]"#;
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c","content":"sunny"}]}"#;
        let want = guess_tokens(&peek(Wire::OpenAiChat, chat.as_bytes()).unwrap()).unwrap();
        assert!(of(calls).abs_diff(want) <= 8, "{} {want}", of(calls));
    }

    #[test]
    fn everything_that_is_read_counts_and_nothing_else() {
        let empty = of(r#""input":[]"#);
        assert_eq!(empty, 3);
        let item = |item: &str| of(&format!(r#""input":[{item}]"#)) - empty;
        let big = "A".repeat(1600);
        for (text, least, most) in [
            (r#"{"type":"custom_tool_call","call_id":"c","name":"f","input":"one two three"}"#.to_owned(), 11, 13),
            (r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"one two three"}]}"#.to_owned(), 11, 12),
            (format!(r#"{{"type":"image_generation_call","id":"i","result":"{big}"}}"#), 258, 300),
            (r#"{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","image_url":"https://h/a"}}"#.to_owned(), 800, 810),
            (r#"{"role":"user","content":[{"type":"input_file","file_id":"f"}]}"#.to_owned(), 6000, 6010),
            (format!(r#"{{"role":"assistant","content":[{{"type":"output_text","text":"one","annotations":[{{"title":"{big}"}}]}}]}}"#), 5, 5),
            (r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"one two three"}]}"#.to_owned(), 3, 3),
            (format!(r#"{{"type":"reasoning","summary":[],"encrypted_content":"{big}"}}"#), 300, 300),
            (format!(r#"{{"type":"reasoning","encrypted_content":"{big}"}},{{"role":"user","content":"one"}}"#), 5, 5),
            (format!(r#"{{"encrypted_content":"{big}","type":"compaction"}},{{"role":"user","content":"one"}}"#), 305, 305),
            (r#"{"type":"shell_call_output","output":[{"stdout":"one two three","stderr":"four"}]}"#.to_owned(), 12, 12),
            (r#"{"type":"item_reference","id":"i"},7,"one",null"#.to_owned(), 1, 1),
        ] {
            let found = item(&text);
            assert!((least..=most).contains(&found), "{text}: {found}");
        }
        assert!(
            of(r#""input":[],"tools":[{"type":"custom","name":"f","format":{"type":"grammar","definition":"a b c"}}]"#)
                > 20
        );
        assert_eq!(of(r#""input":[],"tools":[{"type":"web_search"}]"#), 3 + 12);
    }

    #[test]
    fn prompts_are_counted_each_and_together() {
        for (prompt, all, longest) in [
            (r#""one two three""#, 3, 3),
            (r#"["one two three","one"]"#, 4, 3),
            ("[11,12,13,14]", 4, 4),
            ("[[11,12],[13]]", 3, 2),
            (r#"["one",[11,12,13]]"#, 4, 3),
            ("[]", 0, 0),
            ("7.5", 1, 1),
            ("null", 0, 0),
            ("true", 0, 0),
        ] {
            let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
            assert_eq!(tokens(Path::Completions, &body), Some(Length { all, longest }), "{prompt}");
        }
        let body = r#"{"model":"m","prompt":["one","two"],"suffix":"three four"}"#;
        assert_eq!(tokens(Path::Completions, body), Some(Length { all: 4, longest: 3 }));
    }

    #[test]
    fn what_is_no_text_for_a_model_has_no_length() {
        let body = r#"{"model":"m","input":"a","prompt":"b"}"#;
        for path in [Path::Embeddings, Path::ResponsesInputTokens, Path::ImageGenerations, Path::Speech] {
            assert_eq!(tokens(path, body), None, "{path:?}");
        }
        // What nobody would read is nobody's to count.
        let deep = format!(r#"{{"model":"m","input":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(tokens(Path::Responses, &deep), None);
    }
}
