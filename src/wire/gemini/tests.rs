//! Requests, by tables: what is asked, and the text that has to stand in the body.

use super::Gemini;
use crate::wire::chat::{
    At, Cache, Call, Effort, Foreign, Format, Media, MediaKind, Origin, Outcome, Part, Reasoning, Request, Rest, Role,
    Seal, Source, Text, Thinking, Thought, Tier, Tool, ToolChoice, ToolKind, Turn, WebSearch,
};
use crate::wire::convert::{Encoded, Outbound, Upstream};
use crate::wire::loss::{Losses, OnLoss, Unsendable};
use crate::wire::profile::{Control, Profile, Reads, SystemRole};
use crate::wire::relay::Undo;
use crate::wire::text::Json;
use crate::wire::{Operation, Wire, ids};

mod settings;

/// Gemini 3, with all that any of them takes.
fn three() -> Profile {
    Profile {
        known: true,
        max_output: Some(65_536),
        thinking: Control::Level,
        efforts: &[Effort::Low, Effort::Medium, Effort::High],
        thinking_off: false,
        penalties: true,
        logprobs: true,
        several: true,
        stops: 5,
        schemas: true,
        schemas_with_tools: true,
        tools: true,
        web_search: true,
        system_role: SystemRole::System,
        call_ids: true,
        signed_calls: true,
        result_media: true,
        reads: Reads { images: true, documents: true, audio: true, video: true },
        ..Profile::find(Wire::Gemini, "gemini", "gemini-3.5-flash")
    }
}

/// Gemini 2.5.
fn two() -> Profile {
    Profile {
        thinking: Control::Budget,
        budget: (512, 24_576),
        efforts: &[],
        thinking_off: true,
        schemas_with_tools: false,
        call_ids: false,
        signed_calls: false,
        result_media: false,
        ..three()
    }
}

fn encode(
    request: &Request<'_>,
    profile: &Profile,
    operation: Operation,
) -> Result<(String, Undo, String), Unsendable> {
    let mut losses = Losses::new(OnLoss::Report);
    let to = Upstream { model: "gemini-x", profile };
    let Encoded { body, undo, .. } = Gemini.encode(request, &to, operation, &mut losses)?;
    let body = String::from_utf8(body).unwrap();
    serde_json::from_str::<serde::de::IgnoredAny>(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let losses: Vec<String> = losses.settle().unwrap().into_iter().map(|loss| loss.field.into_owned()).collect();
    Ok((body, undo, losses.join(" ")))
}

fn sent(request: &Request<'_>, profile: &Profile) -> String {
    let (body, _, losses) = encode(request, profile, Operation::Generate).unwrap();
    assert_eq!(losses, "", "{body}");
    body
}

/// The `contents` of these turns.
fn contents(turns: Vec<Turn<'static>>, profile: &Profile) -> String {
    let body = sent(&Request { turns, ..Request::default() }, profile);
    body.strip_prefix("{\"contents\":").and_then(|body| body.strip_suffix('}')).unwrap().to_owned()
}

fn user(parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role: Role::User, parts }
}

fn model(parts: Vec<Part<'static>>) -> Turn<'static> {
    Turn { role: Role::Assistant, parts }
}

fn hi() -> Request<'static> {
    Request { turns: vec![user(vec![text("hi")])], ..Request::default() }
}

fn text(text: &'static str) -> Part<'static> {
    Part::Text(Text { cache: Some(Cache::Default), ..Text::plain(text) })
}

fn seal(origin: Origin, data: &'static str) -> Seal<'static> {
    Seal { origin, data: data.into() }
}

fn thought(origin: Origin, data: &'static str) -> Part<'static> {
    Part::Thought(Thought { text: "hm".into(), seal: Some(seal(origin, data)), redacted: false })
}

fn call(id: &'static str, name: &'static str, signature: Option<&'static str>) -> Part<'static> {
    let seal = signature.map(|data| seal(Origin::Gemini, data));
    Part::Call(Call {
        id: id.into(),
        name: name.into(),
        arguments: Json::trusted("{\"b\":1.0,\"a\":\"ü\"}"),
        seal,
        cache: None,
    })
}

fn result(id: &'static str, content: Vec<Part<'static>>, error: bool) -> Part<'static> {
    Part::Outcome(Outcome { id: id.into(), name: None, content, error, cache: None })
}

fn media(kind: MediaKind, source: Source<'static>) -> Part<'static> {
    Part::Media(Media { kind, source, name: None, cache: None, at: At { message: 3, part: 1 } })
}

fn data(mime: &'static str) -> Source<'static> {
    Source::Data { mime: mime.into(), data: "QUJD".into() }
}

fn url(url: &'static str, mime: Option<&'static str>) -> Source<'static> {
    Source::Url { url: url.into(), mime: mime.map(Into::into) }
}

fn tool(name: &'static str, schema: Option<&'static str>) -> Tool<'static> {
    let schema = schema.map(Json::trusted);
    Tool { name: name.into(), description: None, schema, strict: None, cache: None, kind: ToolKind::Function, at: 0 }
}

fn format(schema: Option<&'static str>) -> Format<'static> {
    schema.map_or(Format::Object, |schema| Format::Schema {
        name: None,
        description: None,
        schema: Json::trusted(schema),
        strict: None,
    })
}

#[test]
fn conversations() {
    let cases: Vec<(&str, Vec<Turn<'static>>, &str)> = vec![
        ("one", vec![user(vec![text("hi")])], r#"[{"role":"user","parts":[{"text":"hi"}]}]"#),
        (
            "neighbours are one, and empty ones none",
            vec![user(vec![text("a"), text(" ")]), model(vec![text("")]), user(vec![text("b")])],
            r#"[{"role":"user","parts":[{"text":"a"},{"text":"b"}]}]"#,
        ),
        (
            "the user begins",
            vec![model(vec![text("a")])],
            r#"[{"role":"user","parts":[{"text":"."}]},{"role":"model","parts":[{"text":"a"}]}]"#,
        ),
        ("nothing was said", vec![user(vec![text("")])], r#"[{"role":"user","parts":[{"text":"."}]}]"#),
        (
            "a system message in the middle",
            vec![user(vec![text("a")]), Turn { role: Role::System, parts: vec![text("s")] }],
            r#"[{"role":"user","parts":[{"text":"a"},{"text":"<system>\ns\n</system>"}]}]"#,
        ),
    ];
    for (name, turns, want) in cases {
        assert_eq!(contents(turns, &three()), want, "{name}");
    }
}

#[test]
fn system_messages() {
    let system = vec![Text::plain("a"), Text::plain(" "), Text::plain("b")];
    let both = sent(&Request { system: system.clone(), ..hi() }, &three());
    assert!(both.ends_with(r#","systemInstruction":{"parts":[{"text":"a"},{"text":"b"}]}}"#), "{both}");
    // The last one has to speak for a user who says nothing.
    let alone = sent(&Request { system, ..Request::default() }, &three());
    assert_eq!(
        alone,
        r#"{"contents":[{"role":"user","parts":[{"text":"b"}]}],"systemInstruction":{"parts":[{"text":"a"}]}}"#
    );
    // Gemma takes none: they come before what the user says.
    let gemma = Profile { system_role: SystemRole::User, ..three() };
    let gemma = sent(&Request { system: vec![Text::plain("a"), Text::plain("b")], ..hi() }, &gemma);
    assert_eq!(gemma, r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"},{"text":"hi"}]}]}"#);
    let nothing = encode(&Request::default(), &three(), Operation::Generate);
    assert_eq!(nothing.unwrap_err().field, "messages");
}

#[test]
fn w48_media_are_inlined_or_named_but_never_fetched() {
    use MediaKind::{Audio, Document, Image, Video};
    let cases = [
        (media(Image, data("image/png")), r#"{"inlineData":{"mimeType":"image/png","data":"QUJD"}}"#),
        (media(Document, data("application/pdf")), r#"{"inlineData":{"mimeType":"application/pdf","data":"QUJD"}}"#),
        (media(Document, Source::Text("words".into())), r#"{"text":"words"}"#),
        (media(Audio, data("audio/wav")), r#"{"inlineData":{"mimeType":"audio/wav","data":"QUJD"}}"#),
        (media(Video, data("video/mp4")), r#"{"inlineData":{"mimeType":"video/mp4","data":"QUJD"}}"#),
        (
            media(Image, url("https://h/a.JPG?x=1", None)),
            r#"{"fileData":{"mimeType":"image/jpeg","fileUri":"https://h/a.JPG?x=1"}}"#,
        ),
        (
            media(Image, url("https://h/a", Some("image/webp"))),
            r#"{"fileData":{"mimeType":"image/webp","fileUri":"https://h/a"}}"#,
        ),
        (media(Video, url("https://youtu.be/x", None)), r#"{"fileData":{"fileUri":"https://youtu.be/x"}}"#),
    ];
    for (part, want) in cases {
        let got = contents(vec![user(vec![part])], &three());
        assert_eq!(got, format!(r#"[{{"role":"user","parts":[{want}]}}]"#));
    }
}

#[test]
fn content_that_cannot_be_sent_is_named() {
    let blind = Profile { reads: Reads { images: false, ..three().reads }, ..three() };
    let foreign = |droppable| {
        Part::Foreign(Foreign { kind: "container_upload".into(), droppable, at: At { message: 3, part: 1 } })
    };
    let cases = [
        (media(MediaKind::Document, Source::File("file-1".into())), three(), true),
        (media(MediaKind::Image, data("image/png")), blind, true),
        (media(MediaKind::Image, data("image/png")), three(), false),
        (foreign(false), three(), true),
    ];
    for (part, profile, refused) in cases {
        let request = Request { turns: vec![user(vec![text("x"), part])], ..Request::default() };
        let got = encode(&request, &profile, Operation::Generate);
        assert_eq!(got.err().map(|error| error.field), refused.then(|| "messages[3].content[1]".to_owned()));
    }
    let request = Request { turns: vec![user(vec![text("x"), foreign(true)])], ..Request::default() };
    let (_, _, losses) = encode(&request, &three(), Operation::Generate).unwrap();
    assert_eq!(losses, "messages[3].content[1]");
}

/// A step of one call and its result.
fn step(before: Vec<Part<'static>>, answer: Part<'static>) -> Vec<Turn<'static>> {
    vec![user(vec![text("go")]), model(before), user(vec![answer])]
}

#[test]
fn w58_results_stand_together_in_the_order_of_the_calls_and_have_their_names() {
    let calls = vec![call("1", "f", Some("s")), call("2", "g", None)];
    let late = vec![text("so"), result("2", vec![text("two")], false), result("1", vec![text("one")], false)];
    let turns = vec![user(vec![text("go")]), model(calls), user(late)];
    let got = contents(turns.clone(), &three());
    let want = r#"{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"output":"one"}}},{"functionResponse":{"id":"2","name":"g","response":{"output":"two"}}},{"text":"so"}]}]"#;
    assert!(got.ends_with(want), "{got}");
    // Before Gemini 3 there are no ids.
    assert!(!contents(turns, &two()).contains("\"id\""));
}

#[test]
fn w34_a_call_without_arguments_has_an_empty_object() {
    let empty = Call { id: "1".into(), name: "f".into(), arguments: Json::trusted("{}"), seal: None, cache: None };
    let got = contents(vec![user(vec![text("go")]), model(vec![Part::Call(empty)])], &two());
    assert!(got.ends_with(r#"{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]}]"#), "{got}");
}

#[test]
fn ids_that_this_gateway_minted_do_not_go_upstream() {
    let minted: &'static str = Box::leak(ids::mint("r", 1).into_boxed_str());
    let turns = step(vec![call(minted, "f", Some("s"))], result(minted, vec![text("x")], false));
    assert!(!contents(turns, &three()).contains("\"id\""));
}

#[test]
fn w61_results_are_always_wrapped() {
    let cases: [(&'static str, bool, &str); 8] = [
        ("sunny", false, r#"{"output":"sunny"}"#),
        ("", false, r#"{"output":""}"#),
        ("{\"error\": 1.0}", false, r#"{"output":{"error": 1.0}}"#),
        ("{\"$ref\":\"#/x\"}", false, r##"{"output":{"$ref":"#/x"}}"##),
        ("[1, 2]", false, r#"{"output":[1, 2]}"#),
        ("3", false, r#"{"output":"3"}"#),
        ("{broken", false, r#"{"output":"{broken"}"#),
        ("no", true, r#"{"error":"no"}"#),
    ];
    for (said, error, want) in cases {
        let got = contents(step(vec![call("1", "f", Some("s"))], result("1", vec![text(said)], error)), &three());
        assert!(got.contains(&format!(r#""response":{want}}}"#)), "{got}");
    }
}

#[test]
fn w47_media_in_results() {
    let said = vec![text("a"), media(MediaKind::Image, data("image/png")), text("b")];
    let turns = |said: &[Part<'static>]| {
        let calls = vec![call("1", "f", Some("s")), call("2", "g", None)];
        let results = vec![result("1", said.to_vec(), false), result("2", vec![], false), text("so")];
        vec![user(vec![text("go")]), model(calls), user(results)]
    };
    let got = contents(turns(&said), &three());
    let want = r#"{"functionResponse":{"id":"1","name":"f","response":{"output":"a\nb"},"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}}"#;
    assert!(got.contains(want), "{got}");
    // Older models, and types that have no place in a result: behind all results, for their number has to be right.
    let behind = r#"{"functionResponse":{"name":"f","response":{"output":"a\nb"}}},{"functionResponse":{"name":"g","response":{"output":""}}},{"inlineData":{"mimeType":"image/png","data":"QUJD"}},{"text":"so"}]"#;
    let got = contents(turns(&said), &two());
    assert!(got.contains(behind), "{got}");
    let got = contents(turns(&[media(MediaKind::Audio, data("audio/wav"))]), &three());
    assert!(got.contains(r#""response":{"output":""}}},{"inlineData":{"mimeType":"audio/wav""#), "{got}");
}

#[test]
fn w59_signatures_go_back_to_the_part_that_they_belong_to() {
    let f = r#"{"functionCall":{"id":"1","name":"f","args":{"b":1.0,"a":"ü"}}"#;
    let g = r#"{"functionCall":{"id":"2","name":"g","args":{"b":1.0,"a":"ü"}}"#;
    let skip = r#""thoughtSignature":"skip_thought_signature_validator"}"#;
    let cases: Vec<(&str, Vec<Part<'static>>, String)> = vec![
        (
            "on the first of two",
            vec![call("1", "f", Some("s")), call("2", "g", None)],
            format!(r#"{f},"thoughtSignature":"s"}},{g}}}"#),
        ),
        ("lost", vec![call("1", "f", None), call("2", "g", None)], format!("{f},{skip},{g}}}")),
        (
            "in the thought before",
            vec![thought(Origin::Gemini, "s"), call("1", "f", None)],
            format!(r#"{f},"thoughtSignature":"s"}}"#),
        ),
        (
            "its own before that of a thought",
            vec![thought(Origin::Gemini, "t"), call("1", "f", Some("s"))],
            format!(r#"{{"text":"","thoughtSignature":"t"}},{f},"thoughtSignature":"s"}}"#),
        ),
        ("of another vendor", vec![thought(Origin::Anthropic, "s"), call("1", "f", None)], format!("{f},{skip}")),
        (
            "of the call, put before the text by a client",
            vec![thought(Origin::Gemini, "s"), text("so"), call("1", "f", None), call("2", "g", None)],
            format!(r#"{{"text":"so"}},{f},"thoughtSignature":"s"}},{g}}}"#),
        ),
        (
            "of both",
            vec![thought(Origin::Gemini, "s"), text("so"), thought(Origin::Gemini, "t"), call("1", "f", None)],
            format!(r#"{{"text":"so","thoughtSignature":"s"}},{f},"thoughtSignature":"t"}}"#),
        ),
        (
            "of a text before a signed call",
            vec![thought(Origin::Gemini, "s"), text("so"), call("1", "f", Some("t"))],
            format!(r#"{{"text":"so","thoughtSignature":"s"}},{f},"thoughtSignature":"t"}}"#),
        ),
    ];
    for (name, parts, want) in cases {
        let got = contents(vec![user(vec![text("go")]), model(parts)], &three());
        assert_eq!(
            got,
            format!(r#"[{{"role":"user","parts":[{{"text":"go"}}]}},{{"role":"model","parts":[{want}]}}]"#),
            "{name}"
        );
    }
}

#[test]
fn w59_signatures_of_texts() {
    let signed = Part::Text(Text { seal: Some(seal(Origin::Gemini, "s")), ..Text::plain("") });
    let cases: Vec<(Vec<Part<'static>>, &str)> = vec![
        (vec![text("a"), signed], r#"{"text":"a"},{"text":"","thoughtSignature":"s"}"#),
        (vec![text("a"), thought(Origin::Gemini, "s")], r#"{"text":"a"},{"text":"","thoughtSignature":"s"}"#),
        (
            vec![thought(Origin::Gemini, "s"), thought(Origin::Gemini, "t"), text("a")],
            r#"{"text":"","thoughtSignature":"s"},{"text":"a","thoughtSignature":"t"}"#,
        ),
        (vec![thought(Origin::Other, "s"), text("a")], r#"{"text":"a"}"#),
    ];
    for (parts, want) in cases {
        let got = contents(vec![user(vec![text("go")]), model(parts)], &three());
        assert!(got.ends_with(&format!(r#"{{"role":"model","parts":[{want}]}}]"#)), "{got}");
    }
}

#[test]
fn w59_only_the_calls_of_the_current_turn_need_a_signature() {
    let turns = |last: Vec<Part<'static>>| {
        let mut turns = step(vec![call("1", "f", None)], result("1", vec![text("x")], false));
        turns.extend([model(vec![call("2", "g", None)]), user(last)]);
        turns
    };
    let count = |turns, profile: &Profile| contents(turns, profile).matches("skip_thought").count();
    let answered = || result("2", vec![text("y")], false);
    assert_eq!(count(turns(vec![answered()]), &three()), 2);
    assert_eq!(count(turns(vec![answered()]), &two()), 0);
    let mut next = turns(vec![answered()]);
    next.extend([model(vec![text("done")]), user(vec![text("and now?")])]);
    assert_eq!(count(next, &three()), 0);
}

#[test]
fn results_of_calls_without_ids_are_matched_by_name() {
    let result =
        Part::Outcome(Outcome { id: "".into(), name: Some("f".into()), content: vec![], error: false, cache: None });
    let got =
        contents(vec![user(vec![text("go")]), model(vec![call("", "f", Some("s"))]), user(vec![result])], &three());
    assert!(got.contains(r#"{"functionResponse":{"name":"f","response":{"output":""}}}"#), "{got}");
}
