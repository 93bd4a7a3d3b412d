//! The fault grid: what an upstream does wrong × whole answer or stream × what stands beside it, and what comes of it: the calls
//! that are made and when, the client's answer to the byte, the log line. The results stand in faults.txt, which is meant to be
//! read; this test fails where it is not current, and writes it when `FEATHERGATE_WRITE` is set.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use super::world::{ANSWER, Does, Part, Seen, World};
use super::{CHATS, DONE, MESSAGES, ROLE, STOP, TEXT, post};
use Does::{Answers, Refuses, Resets};
use Part::{Reset, Silence, Text};

/// `a` has the fault, and `b` does well. Alone: one deployment. Two: `a` is chosen first, since `b` has no weight beside it.
/// Fallback: `b` stands in for the group of `a`. Both: as two, but `b` is like `a`.
const CONFIGURATION: &str = "
model_list:
  - model_name: alone
    litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', timeout: 10}
    model_info: {id: id-a}
  - model_name: two
    litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', timeout: 10, weight: 1}
    model_info: {id: id-two-a}
  - model_name: two
    litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1', timeout: 10, weight: 0}
    model_info: {id: id-two-b}
  - model_name: first
    litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', timeout: 10}
    model_info: {id: id-first}
  - model_name: second
    litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1', timeout: 10}
    model_info: {id: id-second}
litellm_settings: {request_timeout: 90}
router_settings: {stream_timeout: 4, fallbacks: [{first: [second]}]}
feathergate: {idle_timeout: 5, heartbeat: 0}
";
const SHAPES: [(&str, &str); 4] = [("alone", "alone"), ("two", "two"), ("fallback", "first"), ("both", "two")];

const BUSY: &str = r#"{"error":{"message":"busy","type":"server_error","param":null,"code":503}}"#;
const BUSY_EVENT: &str =
    "data: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"param\":null,\"code\":503}}\n\n";
const LONG: &str = r#"{"error":{"message":"too many tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
const POLICY: &str = r#"{"error":{"message":"no such talk","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#;
const KEY: &str = r#"{"error":{"message":"Incorrect API key: sk-pl***ed","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
const QUOTA: &str =
    r#"{"error":{"message":"no money","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
const GONE: &str =
    r#"{"error":{"message":"no such model","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;
const SLOW: &str = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
const NO: &str = r#"{"error":{"message":"no","type":"x","param":null,"code":null}}"#;

const HALF: &str = "{\"id\":\"x\",\"choices\":[{\"message\":{\"content\":\"lost";
const HALF_EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"lost";

fn status(status: u16, body: &'static str) -> Does {
    Answers(0, status, vec![], vec![Text(body)])
}

fn later(status: u16, retry_after: &'static str, body: &'static str) -> Does {
    Answers(0, status, vec![("retry-after", retry_after)], vec![Text(body)])
}

/// A fault of an answer's body, which is another one in a stream.
fn body(stream: bool, whole: &[Part], streamed: &[Part]) -> Does {
    let kind = if stream { "text/event-stream" } else { "application/json" };
    Answers(0, 200, vec![("content-type", kind)], if stream { streamed } else { whole }.to_vec())
}

fn head_after(millis: u64, stream: bool) -> Does {
    match body(stream, &[Text(ANSWER)], &[Text(TEXT), Text(STOP), Text(DONE)]) {
        Answers(_, status, headers, parts) => Answers(millis, status, headers, parts),
        other => other,
    }
}

type Fault = (&'static str, fn(bool) -> Does);

const FAULTS: [Fault; 32] = [
    ("refused connection", |_| Refuses),
    ("reset before the head", |_| Resets),
    ("reset after the head", |stream| body(stream, &[Reset], &[Reset])),
    ("reset within the answer", |stream| body(stream, &[Text(HALF), Reset], &[Text(TEXT), Reset])),
    ("200 with an error body", |_| status(200, BUSY)),
    ("error event before content", |_| body(true, &[], &[Text(ROLE), Text(BUSY_EVENT)])),
    ("error event after content", |_| body(true, &[], &[Text(TEXT), Text(BUSY_EVENT)])),
    ("head after 6 s", |stream| head_after(6000, stream)),
    ("head after 15 s", |stream| head_after(15_000, stream)),
    ("first byte after 6 s", |stream| {
        body(stream, &[Silence(6000), Text(ANSWER)], &[Silence(6000), Text(TEXT), Text(STOP), Text(DONE)])
    }),
    ("first byte after 15 s", |stream| {
        body(stream, &[Silence(15_000), Text(ANSWER)], &[Silence(15_000), Text(TEXT), Text(STOP), Text(DONE)])
    }),
    ("first content after 15 s", |stream| {
        body(stream, &[Silence(15_000), Text(ANSWER)], &[Text(ROLE), Silence(15_000), Text(TEXT), Text(STOP)])
    }),
    ("stall within the answer", |stream| body(stream, &[Text(HALF), Silence(60_000)], &[Text(TEXT), Silence(60_000)])),
    ("cut within a frame", |stream| body(stream, &[Text(HALF)], &[Text(HALF_EVENT)])),
    ("cut within a later frame", |stream| body(stream, &[Text(HALF)], &[Text(TEXT), Text(HALF_EVENT)])),
    ("400", |_| status(400, NO)),
    ("400, context too long", |_| status(400, LONG)),
    ("400, content policy", |_| status(400, POLICY)),
    ("401", |_| status(401, KEY)),
    ("402", |_| status(402, QUOTA)),
    ("404", |_| status(404, GONE)),
    ("408", |_| status(408, NO)),
    ("409", |_| status(409, NO)),
    ("429", |_| status(429, SLOW)),
    ("429, Retry-After 2", |_| later(429, "2", SLOW)),
    ("429, Retry-After 20", |_| later(429, "20", SLOW)),
    ("429, Retry-After 100", |_| later(429, "100", SLOW)),
    ("500", |_| status(500, NO)),
    ("500 without JSON", |_| Answers(0, 500, vec![("content-type", "text/html")], vec![Text("<html>oops</html>")])),
    ("503", |_| status(503, NO)),
    ("503, Retry-After 2", |_| later(503, "2", NO)),
    ("529", |_| status(529, NO)),
];

fn request(path: &str, model: &str, stream: bool) -> Request<Full<Bytes>> {
    let limit = if path == MESSAGES { r#""max_tokens":5,"# } else { "" };
    let body =
        format!(r#"{{"model":"{model}",{limit}"stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    post(path, &body)
}

/// Runs of a cell in which chance decides about waits.
const RUNS: u64 = 16;

async fn cell(path: &'static str, (shape, model): (&str, &str), stream: bool, does: &Does, well: &str) -> String {
    let mut all: Vec<Seen> = Vec::new();
    for seed in 0..RUNS {
        if seed == 2 && all[0].waits() == all[1].waits() {
            break;
        }
        let world = World::new(CONFIGURATION, &[("a", vec![does.clone()])]);
        if shape == "both" {
            world.now("b", does.clone());
        }
        fastrand::seed(seed);
        let mut seen = world.ask(request(path, model, stream)).await;
        check(&mut seen, model, stream);
        all.push(seen);
    }
    shown(&all, well)
}

/// What holds everywhere, and is not shown.
fn check(seen: &mut Seen, model: &str, stream: bool) {
    let Seen { got, calls, took, log } = seen;
    let head = &mut got.headers;
    let streamed = got.status == 200 && stream;
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    assert!(head.remove("content-type").unwrap().to_str().unwrap().starts_with(kind));
    assert!(head.remove("x-upstream-request-id").is_none_or(|id| got.status == 200 && id == "up-1"));
    let mut number =
        |name: &str| -> usize { head.remove(name).map_or(0, |value| value.to_str().unwrap().parse().unwrap()) };
    let log = log.as_object_mut().unwrap();
    // What the headers say is what the log says is what was done.
    for (name, header) in
        [("retries", "x-feathergate-attempted-retries"), ("fallbacks", "x-feathergate-attempted-fallbacks")]
    {
        assert_eq!(number(header) as u64, log.get(name).map_or(0, |count| count.as_u64().unwrap()));
    }
    if got.status != 200 {
        assert_eq!(number("x-feathergate-attempts"), calls.len());
        let own = |group: &str| group == model;
        for group in ["alone", "two", "first", "second"].into_iter().filter(|group| !own(group)) {
            assert!(!got.text.contains(&format!("`{group}`")), "another group is named: {}", got.text);
        }
        assert!(!got.text.contains("id-"), "a deployment is named: {}", got.text);
    }
    assert_eq!(log.remove("attempt").unwrap(), calls.len());
    assert_eq!(log.remove("status").unwrap(), got.status);
    assert_eq!(log.remove("stream").unwrap(), stream);
    assert_eq!(log.remove("model_group").unwrap(), model);
    assert_eq!(log.remove("upstream").unwrap(), "openai");
    assert_eq!(log.remove("upstream_model").unwrap(), "up");
    let mut millis = |name: &str| log.remove(name).map(|time| time.as_f64().unwrap());
    let took = took.as_secs_f64() * 1e3;
    assert!((millis("total_ms").unwrap() - took).abs() < 0.01);
    assert!(millis("ttfb_ms").unwrap() <= took + 0.01);
    assert!(millis("overhead_ms").is_none_or(|overhead| overhead < 0.01), "all that passes is waiting");
    let waits: u64 = seen.waits().iter().sum();
    let calls: Duration = seen.calls.iter().map(|call| call.ended.unwrap() - call.began).sum();
    assert!((Duration::from_millis(waits) + calls).as_secs_f64() * 1e3 <= took + 0.01);
}

/// What all runs have in common, and the span of the waits.
fn shown(all: &[Seen], well: &str) -> String {
    let mut out = "  calls   ".to_owned();
    let first = &all[0];
    for (at, call) in first.calls.iter().enumerate() {
        let called = |seen: &Seen| seen.calls.get(at).map(super::world::Called::shown).unwrap_or_default();
        assert!(all.iter().all(|seen| called(seen) == call.shown()));
        if at > 0 {
            let waits: Vec<u64> = all.iter().map(|seen| seen.waits()[at - 1]).collect();
            out.push_str(&span(&waits));
        }
        out.push_str(&call.shown());
    }
    assert!(all.iter().all(|seen| seen.calls.len() == first.calls.len()));
    let answer = |seen: &Seen| {
        let headers = seen.headers();
        format!(
            "{}{}{headers}\n{}",
            seen.got.status,
            if headers.is_empty() { "" } else { " " },
            text(&seen.got.text, well)
        )
    };
    assert!(all.iter().all(|seen| answer(seen) == answer(first) && seen.log == first.log));
    write!(out, "\n  client  {}\n  log     {}\n", answer(first), log(&first.log)).unwrap();
    out
}

/// Waits before the same call in all runs: none, always the same, or anything up to a bound.
fn span(waits: &[u64]) -> String {
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    if most == least {
        return if most == 0 { " ".to_owned() } else { format!(" ={most} ") };
    }
    let bound = [500, 1000, 2000, 4000, 8000].into_iter().find(|bound| most <= *bound).expect("no wait is longer");
    assert!(least < bound / 3 && most > bound / 2, "the whole span: {waits:?}");
    format!(" ~{bound} ")
}

/// A body, with the parts that are known written short. The marks occur in no body.
fn text(body: &str, well: &str) -> String {
    let mut text = body.replace(well, "‹the good answer›");
    if let Some((begun, _)) = well.split_once("event: content_block_stop") {
        text = text.replace(begun, "‹hi›");
    }
    for (part, name) in [(TEXT, "‹hi›"), (BUSY_EVENT, "‹the event›")] {
        text = text.replace(part, name);
    }
    let lines: Vec<String> =
        text.lines().filter(|line| !line.is_empty()).map(|line| format!("          {line}")).collect();
    lines.join("\n")
}

/// What a client gets where all is well.
async fn well(path: &'static str, stream: bool) -> String {
    let text = World::new(CONFIGURATION, &[]).ask(request(path, "alone", stream)).await.got.text;
    if path == CHATS {
        assert_eq!(text, if stream { [ROLE, TEXT, STOP, DONE].concat() } else { ANSWER.to_owned() });
    }
    text
}

fn log(line: &Value) -> String {
    let fields = line.as_object().unwrap();
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect();
    all.join(" | ")
}

#[tokio::test(start_paused = true)]
async fn every_fault_has_its_answer() {
    let (good, good_stream) = (well(CHATS, false).await, well(CHATS, true).await);
    let mut out = "\
# Written by tests/pipeline/faults.rs.
#
# `a` has the fault and `b` does well, but in `both`. calls: `a(4000) =2000 b` is a call of `a` that takes 4 s, a wait of 2 s, a call of `b`; `~500`
# is a wait of anything up to half a second. Of headers and log fields those are left out that the test compares with these.
"
    .to_owned();
    for (name, does) in FAULTS {
        write!(out, "\n== {name}\n").unwrap();
        for shape in SHAPES {
            let whole = cell(CHATS, shape, false, &does(false), &good).await;
            let streamed = cell(CHATS, shape, true, &does(true), &good_stream).await;
            let (name, _) = shape;
            if whole == streamed {
                write!(out, "{name}, whole or streamed\n{whole}").unwrap();
            } else {
                write!(out, "{name}, whole\n{whole}{name}, streamed\n{streamed}").unwrap();
            }
        }
    }
    compare("faults.txt", &out);
}

#[tokio::test(start_paused = true)]
async fn every_fault_has_its_answer_in_the_other_dialect() {
    let mut out =
        "# Written by tests/pipeline/faults.rs: faults.txt for streams to clients of Anthropic's dialect.\n# The good \
answer:\n#\n"
            .to_owned();
    let good = well(MESSAGES, true).await;
    for line in good.lines() {
        writeln!(out, "#     {line}").unwrap();
    }
    for (name, does) in FAULTS {
        write!(out, "\n== {name}\n").unwrap();
        for shape in SHAPES {
            let (name, _) = shape;
            write!(out, "{name}, streamed\n{}", cell(MESSAGES, shape, true, &does(true), &good).await).unwrap();
        }
    }
    compare("faults-converted.txt", &out);
}

fn compare(file: &str, now: &str) {
    let path = format!("{}/tests/pipeline/{file}", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "a test's switch")]
    if std::env::var("FEATHERGATE_WRITE").is_ok() {
        fs::write(path, now).unwrap();
        return;
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    let different = before.lines().zip(now.lines()).position(|(before, now)| before != now);
    if let Some(line) = different {
        let (was, is) = (before.lines().nth(line).unwrap(), now.lines().nth(line).unwrap());
        panic!(
            "{file}:{}:\n  was {was}\n  is  {is}\nrun this with FEATHERGATE_WRITE=1 and read what changed",
            line + 1
        );
    }
    assert_eq!(before.len(), now.len(), "{file} is not current: run this with FEATHERGATE_WRITE=1");
}
