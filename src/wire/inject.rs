//! The operator's texts in the system part of a client's request. A splice: no byte beside them changes, but for what they replace.
//!
//! A request keeps its shape: a text joins the message or the string that the client has, set off by a blank line, and becomes
//! a block of its own where the client has blocks. Many servers take one system message only, and that at the beginning. Cache
//! marks of the client stay on what they were on, and none are added. Only a request without a system part gets one. Of the
//! Responses API the system part is the string `instructions`.

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::RawValue;

use super::envelope::{DecodeError, Envelope, Fields, peek};
use super::splice::{Edit, span_in, splice};
use super::text::Str;
use super::{Wire, quoted};

/// A text to put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Where.
    pub at: At,
    /// What. Nothing is put in for a blank one.
    pub text: String,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In front of what the client says.
    Front,
    /// In place of it, be it of nothing. The last of several counts.
    Instead,
    /// Behind it, at the end of the system part.
    Back,
}

/// Puts `injections` into `body`, which `envelope` was peeked from. Those that stand at the same place stand there in order.
/// Of an `OpenAI` request the system part is the system and developer messages that stand before all others; messages in the
/// middle of a conversation are no part of it.
///
/// # Errors
/// For the client, where its system part is none: a text must not be got rid of by that.
pub fn inject(envelope: &Envelope<'_>, body: &Bytes, injections: &[Injection]) -> Result<Bytes, DecodeError> {
    let texts = Texts::new(injections);
    if texts.are_nothing() {
        return Ok(body.clone());
    }
    match envelope.wire() {
        Wire::OpenAiChat => Ok(splice(body, in_messages(envelope, &texts)?)),
        Wire::AnthropicMessages => in_system(envelope, body, &texts),
        // No client speaks it.
        Wire::Gemini => Ok(body.clone()),
    }
}

/// As [`inject`], into the `instructions` of a request of the Responses API.
///
/// # Errors
/// As [`inject`]'s.
pub(super) fn instruct(envelope: &Envelope<'_>, body: &Bytes, injections: &[Injection]) -> Result<Bytes, DecodeError> {
    let texts = Texts::new(injections);
    if texts.are_nothing() { Ok(body.clone()) } else { Ok(splice(body, in_instructions(envelope, &texts)?)) }
}

struct Texts {
    front: String,
    instead: Option<String>,
    back: String,
}

impl Texts {
    fn new(injections: &[Injection]) -> Self {
        let at = |at: At| injections.iter().filter(move |it| it.at == at).map(|it| it.text.as_str());
        Self {
            front: joined(at(At::Front)),
            instead: at(At::Instead).next_back().map(str::to_owned),
            back: joined(at(At::Back)),
        }
    }

    /// Whether a request stays as it is.
    fn are_nothing(&self) -> bool {
        self.front.is_empty() && self.back.is_empty() && self.instead.is_none()
    }

    /// All of it, where nothing of the client stands between.
    fn whole(&self) -> String {
        joined([self.front.as_str(), self.instead.as_deref().unwrap_or_default(), self.back.as_str()].into_iter())
    }
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.filter(|text| !text.trim().is_empty()).collect();
    texts.join("\n\n")
}

// Anthropic

fn in_system(envelope: &Envelope<'_>, body: &Bytes, texts: &Texts) -> Result<Bytes, DecodeError> {
    let whole = texts.whole();
    let mut edits = Vec::new();
    if texts.instead.is_some() {
        // Where a model takes them, a system message can begin the conversation.
        let messages = envelope.value("messages").map_or("", |messages| messages.get());
        let run = Run::read("messages", messages, |role| role == "system")?;
        edits.extend(run.removed(envelope.span_of("messages").start));
        if envelope.has("system") && whole.is_empty() {
            let edited = splice(body, edits);
            let rest = peek(envelope.wire(), &edited)?.without(&["system".to_owned()]);
            return Ok(Bytes::from(rest));
        }
    }
    if whole.is_empty() {
        return Ok(splice(body, edits));
    }
    match envelope.value("system").map(RawValue::get) {
        None => edits.push(Edit::new(envelope.front()..envelope.front(), format!("\"system\":{},", quoted(&whole)))),
        Some(value) if value == "null" || texts.instead.is_some() => {
            edits.push(Edit::new(envelope.span_of("system"), quoted(&whole)));
        }
        Some(value) => {
            let added = around(value, &texts.front, &texts.back).ok_or_else(|| DecodeError {
                message: "`system` must be a string or an array of text blocks".to_owned(),
                field: Some("system".to_owned()),
            })?;
            let start = envelope.span_of("system").start;
            edits.extend(added.into_iter().map(|(span, with)| Edit::new(moved(span, start), with)));
        }
    }
    Ok(splice(body, edits))
}

// OpenAI

fn in_messages(envelope: &Envelope<'_>, texts: &Texts) -> Result<Vec<Edit>, DecodeError> {
    let messages = envelope.value("messages").map_or("", |messages| messages.get());
    let run = Run::read("messages", messages, |role| role == "system" || role == "developer")?;
    let edits = match (run.leading.first(), run.leading.last()) {
        (Some(first), Some(last)) if texts.instead.is_some() => {
            let whole = texts.whole();
            match run.removal().filter(|_| whole.is_empty()) {
                Some(span) => vec![(span, String::new())],
                None => vec![(first.span.start..last.span.end, message(first.role, &whole))],
            }
        }
        (Some(first), Some(last)) => {
            let one = run.leading.len() == 1;
            let mut edits = Vec::new();
            if !(one || texts.front.is_empty()) {
                edits.extend(first.with(messages, &texts.front, ""));
            }
            if !(one || texts.back.is_empty()) {
                edits.extend(last.with(messages, "", &texts.back));
            }
            if one {
                edits = first.with(messages, &texts.front, &texts.back);
            }
            edits
        }
        _ => {
            let whole = texts.whole();
            if whole.is_empty() {
                return Ok(Vec::new());
            }
            let comma = if run.rest.is_some() { "," } else { "" };
            vec![(1..1, message(run.role_of_others, &whole) + comma)]
        }
    };
    let start = envelope.span_of("messages").start;
    Ok(edits.into_iter().map(|(span, with)| Edit::new(moved(span, start), with)).collect())
}

// The Responses API

fn in_instructions(envelope: &Envelope<'_>, texts: &Texts) -> Result<Vec<Edit>, DecodeError> {
    let whole = texts.whole();
    let mut edits = Vec::new();
    if texts.instead.is_some()
        && let Some(input) = envelope.value("input").map(RawValue::get).filter(|input| input.starts_with('['))
    {
        // Its clients begin a conversation with system messages as well.
        let run = Run::read("input", input, |role| role == "system" || role == "developer")?;
        edits.extend(run.removed(envelope.span_of("input").start));
    }
    let span = envelope.span_of("instructions");
    match envelope.value("instructions").map(RawValue::get) {
        None | Some("null") if whole.is_empty() => {}
        None => {
            let front = envelope.front();
            edits.push(Edit::new(front..front, format!("\"instructions\":{},", quoted(&whole))));
        }
        // `null` says that there are none, and moves nothing else.
        Some(_) if whole.is_empty() => edits.push(Edit::new(span, "null".to_owned())),
        Some(value) if value == "null" || texts.instead.is_some() => edits.push(Edit::new(span, quoted(&whole))),
        Some(value) => {
            let added = Some(value).filter(|value| value.starts_with('"'));
            let added =
                added.and_then(|value| around(value, &texts.front, &texts.back)).ok_or_else(|| DecodeError {
                    message: "`instructions` must be a string".to_owned(),
                    field: Some("instructions".to_owned()),
                })?;
            edits.extend(added.into_iter().map(|(place, with)| Edit::new(moved(place, span.start), with)));
        }
    }
    Ok(edits)
}

type Span = std::ops::Range<usize>;

fn moved(span: Span, by: usize) -> Span {
    span.start + by..span.end + by
}

fn message(role: &str, text: &str) -> String {
    format!(r#"{{"role":"{role}","content":{}}}"#, quoted(text))
}

fn block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, quoted(text))
}

/// The system messages that a conversation begins with.
struct Run<'a> {
    leading: Vec<Message<'a>>,
    /// Where the messages behind them begin, if there are any.
    rest: Option<usize>,
    /// The role for a message where there is none of them: as other messages of the operator's kind have it, since `OpenAI`
    /// wants them all alike.
    role_of_others: &'static str,
}

/// A system message: places within the text of `messages`.
struct Message<'a> {
    span: Span,
    role: &'static str,
    content: &'a str,
    /// It has a cache mark, which means all of it.
    marked: bool,
}

impl<'a> Run<'a> {
    /// Reads `messages`, the value of the field `name`, as far as needed.
    fn read(name: &str, messages: &'a str, system: impl Fn(&str) -> bool) -> Result<Self, DecodeError> {
        let mut run = Run { leading: Vec::new(), rest: None, role_of_others: "system" };
        for (index, text) in (Elements { rest: messages.get(1..).unwrap_or_default() }).enumerate() {
            let span = span_in(messages, text);
            match Message::read(text, span.clone(), (name, index))?.filter(|(_, role)| system(role)) {
                Some((message, _)) => run.leading.push(message),
                None => {
                    run.rest = Some(span.start);
                    break;
                }
            }
        }
        let developers = || memmem::find(messages.as_bytes(), b"\"developer\"").is_some();
        if run.leading.is_empty() && developers() {
            let others = Elements { rest: messages.get(1..).unwrap_or_default() };
            let developer = |text: &str| {
                let fields: Option<Fields<'_>> = serde_json::from_str(text).ok();
                fields.is_some_and(|fields| fields.find("role") == Some("\"developer\""))
            };
            if others.into_iter().any(developer) {
                run.role_of_others = "developer";
            }
        }
        Ok(run)
    }

    /// What has to go so that the conversation begins behind it.
    fn removal(&self) -> Option<Span> {
        let (first, last) = (self.leading.first()?, self.leading.last()?);
        Some(first.span.start..self.rest.unwrap_or(last.span.end))
    }

    /// The same as an edit of the body, where the conversation stands at `start`.
    fn removed(&self, start: usize) -> Option<Edit> {
        self.removal().map(|span| Edit::new(moved(span, start), String::new()))
    }
}

impl<'a> Message<'a> {
    /// A message with its role; `None` for what is no message, which the upstream may judge.
    fn read(text: &'a str, span: Span, (list, index): (&str, usize)) -> Result<Option<(Self, Str<'a>)>, DecodeError> {
        if !text.starts_with('{') {
            return Ok(None);
        }
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|_| DecodeError {
            message: format!("`{list}[{index}]` has a field twice; send it once"),
            field: Some(format!("{list}[{index}]")),
        })?;
        let value = |name: &str| fields.find(name);
        let Some(role) = value("role").and_then(|role| serde_json::from_str::<Str<'a>>(role).ok()) else {
            return Ok(None);
        };
        let message = Message {
            span,
            role: if role == "developer" { "developer" } else { "system" },
            content: value("content").unwrap_or_default(),
            marked: ["cache_control", "prompt_cache_breakpoint"]
                .iter()
                .any(|mark| value(mark).is_some_and(|mark| mark != "null")),
        };
        Ok(Some((message, role)))
    }

    /// The edits of `messages` that put `front` and `back` around what it says.
    fn with(&self, messages: &str, front: &str, back: &str) -> Vec<(Span, String)> {
        let mut edits = Vec::new();
        let apart = self.marked && !back.is_empty();
        match around(self.content, front, if apart { "" } else { back }) {
            Some(added) => {
                let start = span_in(messages, self.content).start;
                edits.extend(added.into_iter().map(|(span, with)| (moved(span, start), with)));
                if apart {
                    edits.push((self.span.end..self.span.end, format!(",{}", message(self.role, back))));
                }
            }
            None => {
                if !front.is_empty() {
                    edits.push((self.span.start..self.span.start, message(self.role, front) + ","));
                }
                if !back.is_empty() {
                    edits.push((self.span.end..self.span.end, format!(",{}", message(self.role, back))));
                }
            }
        }
        edits
    }
}

/// The edits of `content`, a string or an array of blocks, that put `front` and `back` around what it says; `None` if it is neither.
fn around(content: &str, front: &str, back: &str) -> Option<Vec<(Span, String)>> {
    let end = content.len().checked_sub(1)?;
    let inner = content.get(1..end);
    let texts = [front, back];
    let mut edits = Vec::new();
    match content.as_bytes().first() {
        Some(b'"') => {
            let blank = serde_json::from_str::<Str<'_>>(content).is_ok_and(|text| text.is_blank());
            if blank {
                edits.push((0..content.len(), quoted(&joined(texts.into_iter()))));
                return Some(edits);
            }
            let escaped = |text: &str| {
                let text = quoted(text);
                text.get(1..text.len() - 1).unwrap_or_default().to_owned()
            };
            if !front.is_empty() {
                edits.push((1..1, escaped(front) + r"\n\n"));
            }
            if !back.is_empty() {
                edits.push((end..end, format!(r"\n\n{}", escaped(back))));
            }
        }
        Some(b'[') if inner.is_none_or(|inner| inner.trim().is_empty()) => {
            let blocks: Vec<String> = texts.iter().filter(|text| !text.is_empty()).map(|text| block(text)).collect();
            edits.push((1..1, blocks.join(",")));
        }
        Some(b'[') => {
            if !front.is_empty() {
                edits.push((1..1, block(front) + ","));
            }
            if !back.is_empty() {
                edits.push((end..end, format!(",{}", block(back))));
            }
        }
        _ => return None,
    }
    Some(edits)
}

/// The values of an array that is known to be JSON, one at a time: what stands behind the first messages is not read.
struct Elements<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.starts_with(']') {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        self.rest = rest.get(values.byte_offset()..).unwrap_or_default();
        Some(value.get())
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::look;
    use super::*;

    fn injected(wire: Wire, body: &str, texts: &[(At, &str)]) -> Result<String, DecodeError> {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let injections: Vec<Injection> =
            texts.iter().map(|(at, text)| Injection { at: *at, text: (*text).to_owned() }).collect();
        let out = inject(&peek(wire, &bytes).unwrap(), &bytes, &injections)?;
        assert!(
            texts.iter().any(|(at, text)| !text.is_empty() || *at == At::Instead) || out.as_ptr() == bytes.as_ptr()
        );
        let out = String::from_utf8(out.to_vec()).unwrap();
        peek(wire, out.as_bytes()).unwrap_or_else(|error| panic!("{error}: {out}"));
        Ok(out)
    }

    const NONE: &[(At, &str)] = &[];
    const FRONT: &[(At, &str)] = &[(At::Front, "F\n\"")];
    const BACK: &[(At, &str)] = &[(At::Back, "B")];
    const BOTH: &[(At, &str)] =
        &[(At::Back, "B"), (At::Front, "F"), (At::Front, " "), (At::Front, "G"), (At::Back, "")];
    const INSTEAD: &[(At, &str)] = &[(At::Front, "F"), (At::Instead, "x"), (At::Back, "B"), (At::Instead, "I")];
    const NOTHING: &[(At, &str)] = &[(At::Instead, "")];

    /// The messages, what is put in, and what comes of it.
    type Case = (String, &'static [(At, &'static str)], String);

    /// What stands before and behind `messages` shows that nothing else moves.
    #[test]
    fn openai_messages() {
        const USER: &str = r#"{"role" : "user", "content":"u", "n":1.0}"#;
        let part = |text: &str| format!(r#"{{"type":"text","text":"{text}"}}"#);
        let system = |content: &str| format!(r#"{{"role":"system","content":{content}}}"#);
        let cases: Vec<Case> = vec![
            (format!("[{USER}]"), NONE, format!("[{USER}]")),
            (format!("[{USER}]"), &[(At::Front, " \n")], format!("[{USER}]")),
            // None.
            (format!("[ {USER}]"), FRONT, format!("[{}, {USER}]", system(r#""F\n\"""#))),
            (format!("[{USER}]"), BOTH, format!("[{},{USER}]", system(r#""F\n\nG\n\nB""#))),
            (format!("[{USER}]"), INSTEAD, format!("[{},{USER}]", system(r#""F\n\nI\n\nB""#))),
            (format!("[{USER}]"), NOTHING, format!("[{USER}]")),
            ("[ ]".into(), BACK, format!("[{} ]", system(r#""B""#))),
            // In the middle: no part of it, but its role is heeded.
            (
                format!("[{USER},{}]", system(r#""s""#)),
                BACK,
                format!("[{},{USER},{}]", system(r#""B""#), system(r#""s""#)),
            ),
            (
                format!(r#"[{USER},{{"role":"developer","content":"d"}}]"#),
                FRONT,
                format!(r#"[{{"role":"developer","content":"F\n\""}},{USER},{{"role":"developer","content":"d"}}]"#),
            ),
            (
                r#"[{"role":"user","content":"\"developer\""}]"#.into(),
                BACK,
                format!(r#"[{},{{"role":"user","content":"\"developer\""}}]"#, system(r#""B""#)),
            ),
            // A string, with escapes that stay as they are.
            (
                format!(r#"[ {{ "content": "s\u0041\\" , "role":"system" }} , {USER} ]"#),
                BOTH,
                format!(r#"[ {{ "content": "F\n\nG\n\ns\u0041\\\n\nB" , "role":"system" }} , {USER} ]"#),
            ),
            (format!("[{},{USER}]", system(r#"" \n""#)), BOTH, format!("[{},{USER}]", system(r#""F\n\nG\n\nB""#))),
            (format!("[{}]", system(r#""s""#)), FRONT, format!("[{}]", system(r#""F\n\"\n\ns""#))),
            // Parts.
            (
                format!("[{},{USER}]", system(&format!("[ {} ]", part("s")))),
                BOTH,
                format!("[{},{USER}]", system(&format!(r"[{}, {} ,{}]", part(r"F\n\nG"), part("s"), part("B")))),
            ),
            (
                format!("[{}]", system("[ ]")),
                BOTH,
                format!("[{}]", system(&format!(r"[{},{} ]", part(r"F\n\nG"), part("B")))),
            ),
            // Several.
            (
                format!(r#"[{{"role":"developer","content":"d"}}, {} ,{USER}]"#, system(r#""s""#)),
                BOTH,
                format!(r#"[{{"role":"developer","content":"F\n\nG\n\nd"}}, {} ,{USER}]"#, system(r#""s\n\nB""#)),
            ),
            (
                format!(r#"[{{"role":"developer","content":"d"}}, {} ,{USER}]"#, system(r#""s""#)),
                INSTEAD,
                format!(r#"[{{"role":"developer","content":"F\n\nI\n\nB"}} ,{USER}]"#),
            ),
            (format!("[ {}, {} , {USER}]", system(r#""s""#), system(r#""t""#)), NOTHING, format!("[ {USER}]")),
            (format!("[ {} ]", system(r#""s""#)), NOTHING, "[  ]".into()),
            // What is no content, and what is no message.
            (
                format!("[{},{USER}]", system("null")),
                BOTH,
                format!("[{},{},{},{USER}]", system(r#""F\n\nG""#), system("null"), system(r#""B""#)),
            ),
            (r#"[{"role":"system"}]"#.into(), BACK, format!(r#"[{{"role":"system"}},{}]"#, system(r#""B""#))),
            (r#"[1,"x"]"#.into(), BACK, format!(r#"[{},1,"x"]"#, system(r#""B""#))),
            (r#"[{"role":1}]"#.into(), BACK, format!(r#"[{},{{"role":1}}]"#, system(r#""B""#))),
            // Spelled with escapes it is a system message all the same.
            (
                r#"[{"r\u006fle":"s\u0079stem","content":"s"}]"#.into(),
                INSTEAD,
                format!("[{}]", system(r#""F\n\nI\n\nB""#)),
            ),
            // A mark means all of a message: what follows is another one.
            (
                format!(r#"[{{"role":"system","content":"s","cache_control":{{}}}},{USER}]"#),
                BOTH,
                format!(
                    r#"[{{"role":"system","content":"F\n\nG\n\ns","cache_control":{{}}}},{},{USER}]"#,
                    system(r#""B""#)
                ),
            ),
        ];
        for (messages, texts, want) in cases {
            let body = |messages: &str| format!(r#" {{"x":1.0, "messages": {messages} ,"model":"m"}}"#);
            let got = injected(Wire::OpenAiChat, &body(&messages), texts).unwrap();
            assert_eq!(got, body(&want), "{messages} {texts:?}");
        }
    }

    #[test]
    fn anthropic_system() {
        const MARKED: &str = r#"{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}"#;
        for (system, texts, want) in [
            (r#""system": "s" ,"#, NONE, r#""system": "s" ,"#),
            // None; a new one stands in front of all fields.
            ("", FRONT, r#""system":"F\n\"","#),
            ("", BOTH, r#""system":"F\n\nG\n\nB","#),
            ("", INSTEAD, r#""system":"F\n\nI\n\nB","#),
            ("", NOTHING, ""),
            (r#""system": null ,"#, BACK, r#""system": "B" ,"#),
            // A string.
            (r#""system": "s\u00e9" ,"#, BOTH, r#""system": "F\n\nG\n\ns\u00e9\n\nB" ,"#),
            (r#""system": "" ,"#, BOTH, r#""system": "F\n\nG\n\nB" ,"#),
            (r#""system": "s" ,"#, INSTEAD, r#""system": "F\n\nI\n\nB" ,"#),
            // Blocks: marks stay where they are.
            (
                &format!(r#""system": [ {MARKED} ],"#),
                BOTH,
                &format!(r#""system": [{{"type":"text","text":"F\n\nG"}}, {MARKED} ,{{"type":"text","text":"B"}}],"#),
            ),
            (r#""system": [],"#, BACK, r#""system": [{"type":"text","text":"B"}],"#),
            (&format!(r#""system": [{MARKED}],"#), INSTEAD, r#""system": "F\n\nI\n\nB","#),
        ] {
            let body = |system: &str| format!(r#"{{{system}"max_tokens":1e2, "model":"m","messages":[ ]}}"#);
            let got = injected(Wire::AnthropicMessages, &body(system), texts).unwrap();
            assert_eq!(got, body(want), "{system} {texts:?}");
        }
    }

    #[test]
    fn anthropic_system_is_taken_out() {
        for (body, texts, want) in [
            (
                r#"{ "system":"s", "model":"m","messages":[ {"role":"user","content":1.0} ]}"#,
                NOTHING,
                r#"{"model":"m","messages":[ {"role":"user","content":1.0} ]}"#,
            ),
            // A system message that begins the conversation goes as well, one within it stays.
            (
                r#"{"model":"m","messages":[{"role":"system","content":"a"}, {"role":"user"},{"role":"system"}],"system":"s"}"#,
                NOTHING,
                r#"{"model":"m","messages":[{"role":"user"},{"role":"system"}]}"#,
            ),
            (
                r#"{"model":"m","messages":[{"role":"system","content":"a"}, {"role":"user"}],"system":"s"}"#,
                INSTEAD,
                r#"{"model":"m","messages":[{"role":"user"}],"system":"F\n\nI\n\nB"}"#,
            ),
            (
                r#"{"model":"m","messages":[{"role":"system","content":"a"}]}"#,
                BACK,
                r#"{"system":"B","model":"m","messages":[{"role":"system","content":"a"}]}"#,
            ),
        ] {
            assert_eq!(injected(Wire::AnthropicMessages, body, texts).unwrap(), want);
        }
    }

    fn instructed(body: &str, texts: &[(At, &str)]) -> Result<String, DecodeError> {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let injections: Vec<Injection> =
            texts.iter().map(|(at, text)| Injection { at: *at, text: (*text).to_owned() }).collect();
        let out = instruct(&look(&bytes).unwrap(), &bytes, &injections)?;
        look(&out).unwrap();
        Ok(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn instructions_of_the_responses_api() {
        let user = r#"{"role":"user","content":1.0}"#;
        let developer = r#"{"type":"message","role":"developer","content":[{"type":"input_text","text":"d"}]}"#;
        let begun = format!(r#""input" : [ {developer}, {{"role":"system","content":"s"}} , {user}, {developer} ]"#);
        let plain = r#""input" : "[{\"role\":\"system\"}]""#;
        for (before, texts, after) in [
            (plain.to_owned(), NONE, plain.to_owned()),
            // None; new ones stand in front of all fields.
            (plain.to_owned(), FRONT, format!(r#""instructions":"F\n\"",{plain}"#)),
            (plain.to_owned(), BOTH, format!(r#""instructions":"F\n\nG\n\nB",{plain}"#)),
            (plain.to_owned(), INSTEAD, format!(r#""instructions":"F\n\nI\n\nB",{plain}"#)),
            (plain.to_owned(), NOTHING, plain.to_owned()),
            (format!(r#"{plain}, "instructions": null"#), BACK, format!(r#"{plain}, "instructions": "B""#)),
            (format!(r#"{plain}, "instructions": null"#), NOTHING, format!(r#"{plain}, "instructions": null"#)),
            // A string, with escapes that stay as they are.
            (
                format!(r#""instructions": "s\u00e9" , {plain}"#),
                BOTH,
                format!(r#""instructions": "F\n\nG\n\ns\u00e9\n\nB" , {plain}"#),
            ),
            (format!(r#""instructions":" ",{plain}"#), BOTH, format!(r#""instructions":"F\n\nG\n\nB",{plain}"#)),
            (format!(r#""instructions":"s",{plain}"#), INSTEAD, format!(r#""instructions":"F\n\nI\n\nB",{plain}"#)),
            (format!(r#""instructions":"s",{plain}"#), NOTHING, format!(r#""instructions":null,{plain}"#)),
            // What is no string can be replaced.
            (r#""instructions":[1]"#.to_owned(), INSTEAD, r#""instructions":"F\n\nI\n\nB""#.to_owned()),
            // System messages that begin the conversation are the client's, too, and go with a replacement only.
            (begun.clone(), BACK, format!(r#""instructions":"B",{begun}"#)),
            (begun.clone(), NOTHING, format!(r#""input" : [ {user}, {developer} ]"#)),
            (
                format!(r#"{begun},"instructions":"s""#),
                INSTEAD,
                format!(r#""input" : [ {user}, {developer} ],"instructions":"F\n\nI\n\nB""#),
            ),
        ] {
            let body = |fields: &str| format!(r#"{{{fields}, "n":1.0,"model":"m" }}"#);
            assert_eq!(instructed(&body(&before), texts).unwrap(), body(&after), "{before} {texts:?}");
        }
    }

    #[test]
    fn instructions_that_cannot_be_added_to_are_refused() {
        for (body, texts, field, message) in [
            (r#"{"instructions":["s"]}"#, BACK, "instructions", "`instructions` must be a string"),
            (r#"{"instructions":7}"#, FRONT, "instructions", "`instructions` must be a string"),
            (
                r#"{"input":[{"role":"user","role":"system"}]}"#,
                INSTEAD,
                "input[0]",
                "`input[0]` has a field twice; send it once",
            ),
        ] {
            let error = instructed(body, texts).unwrap_err();
            assert_eq!((error.field.as_deref(), error.message.as_str()), (Some(field), message));
        }
    }

    /// Else a client could keep a text out that the upstream overlooks the cause of.
    #[test]
    fn what_cannot_be_added_to_is_refused() {
        for (wire, body, field, message) in [
            (
                Wire::AnthropicMessages,
                r#"{"model":"m","messages":[],"system":{"a":1}}"#,
                "system",
                "`system` must be a string or an array of text blocks",
            ),
            (
                Wire::OpenAiChat,
                r#"{"model":"m","messages":[{"role":"user","role":"system","content":"x"}]}"#,
                "messages[0]",
                "`messages[0]` has a field twice; send it once",
            ),
        ] {
            let error = injected(wire, body, BACK).unwrap_err();
            assert_eq!((error.field.as_deref(), error.message.as_str()), (Some(field), message));
        }
    }

    #[test]
    fn the_beginning_of_a_request_stays_the_same_while_the_end_changes() {
        let body = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"model":"m"}"#;
        let of = |day: &str| injected(Wire::OpenAiChat, body, &[(At::Front, "F"), (At::Back, day)]).unwrap();
        let (one, two) = (of("Monday"), of("Tuesday"));
        let common = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
        assert!(one[..common].ends_with(r"F\n\ns\n\n"), "{}", &one[..common]);
    }

    /// The law: what a request says after it is the texts around what it said before, whatever its shape.
    #[test]
    fn nothing_that_is_said_changes() {
        let messages = [
            r#"{"role":"system","content":"a\u0041\n"}"#,
            r#"{ "content" : "b" , "role":"developer"}"#,
            r#"{"role":"system","content":[{"type":"text","text":"c"}, {"text":"d","type":"text"} ]}"#,
            r#"{"role":"system","content":"e","cache_control":{"type":"ephemeral"}}"#,
            r#"{"role":"system","content":" "}"#,
            r#"{"role":"user","content":"]},{\"role\":\"system\""}"#,
        ];
        let anthropic = [r#""f""#, r#"[{"type":"text","text":"g"} ]"#, "[]", "null", r#""""#];
        let mut bodies = Vec::new();
        for first in messages {
            for second in messages {
                for third in messages {
                    let list = format!("[ {first},{second} , {third}]");
                    bodies.push((Wire::OpenAiChat, format!(r#"{{"messages":{list},"model":"m"}}"#)));
                }
            }
        }
        for system in anthropic {
            for last in [messages[0], messages[5]] {
                let list = format!(r#"[{{"role":"user","content":"u"}},{last}]"#);
                bodies.push((
                    Wire::AnthropicMessages,
                    format!(r#"{{"model":"m","max_tokens":1,"system":{system},"messages":{list}}}"#),
                ));
            }
        }
        let said = |wire: Wire, body: &str| {
            let envelope = peek(wire, body.as_bytes()).unwrap();
            let request = crate::wire::convert::inbound(wire).unwrap().decode(&envelope).unwrap();
            let system = joined(request.system.iter().map(|text| text.text.as_str()));
            (system, format!("{:?}", request.turns))
        };
        for (wire, body) in bodies {
            let (before, turns) = said(wire, &body);
            for texts in [FRONT, BACK, BOTH, INSTEAD, NOTHING] {
                let parts = Texts::new(
                    &texts.iter().map(|(at, text)| Injection { at: *at, text: (*text).to_owned() }).collect::<Vec<_>>(),
                );
                let client = parts.instead.as_deref().unwrap_or(&before);
                let want = joined([parts.front.as_str(), client, parts.back.as_str()].into_iter());
                let after = injected(wire, &body, texts).unwrap();
                assert_eq!(said(wire, &after), (want, turns.clone()), "{body} {texts:?} {after}");
            }
        }
    }
}
