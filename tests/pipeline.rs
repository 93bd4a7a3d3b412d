//! The service against a scripted upstream: what goes out, what comes back, and what is said about it. No sockets, and time
//! stands still unless something waits for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

#[path = "pipeline/prompts.rs"]
mod prompts;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use feathergate::config::raw::Document;
use feathergate::config::resolve::resolve;
use feathergate::config::secret::{ParameterName, Secret};
use feathergate::config::settings::Settings;
use feathergate::gateway::secrets::{SecretSource, SourceError};
use feathergate::gateway::{Body, Call, Exposure, Gateway};
use feathergate::observe::clock;
use feathergate::upstream::{ByteStream, SendError, Upstream};
use feathergate::wire::OnLoss;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

#[path = "pipeline/attempts.rs"]
mod attempts;
#[path = "pipeline/blame.rs"]
mod blame;
#[path = "pipeline/cost.rs"]
mod cost;
#[path = "pipeline/faults.rs"]
mod faults;
#[path = "pipeline/keys.rs"]
mod keys;
#[path = "pipeline/limits.rs"]
mod limits;
#[path = "pipeline/world.rs"]
mod world;

const MASTER: &str = "sk-planted-master-key-0123456789";

/// What the upstream does with one call.
enum Step {
    Answer(u16, &'static str, Vec<Piece>),
    Refuse,
    Hang,
}

#[derive(Clone)]
enum Piece {
    Bytes(&'static str),
    Raw(&'static [u8]),
    Wait(u64),
    Break,
    Panic,
}
use Piece::{Break, Bytes as Data, Wait};

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<Request<Bytes>>>,
}

impl Upstream for Script {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<ByteStream>, SendError>> {
        self.seen.lock().unwrap().push(request);
        let step = self.steps.lock().unwrap().pop_front().expect("a call that the script does not have");
        async move {
            let (status, kind, pieces) = match step {
                Step::Answer(status, kind, pieces) => (status, kind, pieces),
                Step::Refuse => return Err(SendError::Connect("refused".to_owned())),
                Step::Hang => std::future::pending().await,
            };
            let body: ByteStream = Box::pin(futures::stream::iter(pieces).filter_map(|piece| async move {
                match piece {
                    Data(text) => Some(Ok(Bytes::from(text))),
                    Piece::Raw(bytes) => Some(Ok(Bytes::from_static(bytes))),
                    Wait(millis) => {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        None
                    }
                    Break => Some(Err(SendError::Broken("reset".to_owned()))),
                    Piece::Panic => panic!("planted"),
                }
            }));
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("content-type", kind.parse().unwrap());
            response.headers_mut().insert("retry-after", "7".parse().unwrap());
            response.headers_mut().insert("x-request-id", "up-1".parse().unwrap());
            response.headers_mut().insert("x-ratelimit-remaining-requests", "3".parse().unwrap());
            response.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
            Ok(response)
        }
        .boxed()
    }
}

/// Parameter Store by script: each fetch takes the next set of values.
struct Parameters(Mutex<VecDeque<Result<&'static str, SourceError>>>, Mutex<Vec<usize>>);

impl SecretSource for Parameters {
    fn fetch<'a>(
        &'a self,
        names: &'a [ParameterName],
    ) -> BoxFuture<'a, Vec<(ParameterName, Result<Secret, SourceError>)>> {
        self.1.lock().unwrap().push(names.len());
        let next = self.0.lock().unwrap().pop_front().expect("a fetch that the script does not have");
        let value = next.map(Secret::new);
        async move {
            // Others that need the same value arrive meanwhile.
            tokio::time::sleep(Duration::from_millis(30)).await;
            names.iter().map(|name| (name.clone(), value.clone())).collect()
        }
        .boxed()
    }
}

const YAML: &str = "
model_list:
  - model_name: chat
    litellm_params: {model: openai/up, api_key: sk-planted-openai, api_base: 'http://h/v1', temperature: 0.5}
  - model_name: claude
    litellm_params: {model: anthropic/up, api_key: sk-planted-anthropic, api_base: 'http://h'}
  - model_name: unset
    litellm_params: {model: openai/up, api_key: os.environ/NOT_SET}
  - model_name: stored
    litellm_params: {model: openai/up, api_key: 'ssm:/t/key', api_base: 'http://h/v1', timeout: 5}
  - model_name: demo
    litellm_params: {model: openai/demo, mock_response: Hello from the mock}
  - model_name: both
    litellm_params: {model: anthropic/up, api_key: sk-planted-anthropic, api_base: 'http://h'}
  - model_name: both
    litellm_params: {model: openai/up, api_key: sk-planted-openai, api_base: 'http://h/v1'}
  - model_name: gemini
    litellm_params: {model: gemini/embed-up, api_key: sk-planted-gemini, api_base: 'http://h/v1beta'}
  - model_name: sonnet
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: sk-planted-anthropic, api_base: 'http://h'}
  - model_name: omni-moderation-latest
    litellm_params: {model: openai/omni-up, api_key: sk-planted-openai, api_base: 'http://h/v1'}
  - model_name: whisper
    litellm_params: {model: openai/whisper-up, api_key: sk-planted-openai, api_base: 'http://h/v1', temperature: 0.5}
";

fn settings(extra: &str) -> Settings {
    let document = Document::parse("test.yaml", &format!("{YAML}{extra}")).map_err(|e| e.to_string()).unwrap();
    let mut settings = resolve(&document, &|_| None).map_err(|problems| problems.to_string()).unwrap().settings;
    // One call for one request, and nothing remembered, where routing is not the subject.
    for group in &mut settings.groups {
        group.retries.count = 0;
        group.deployments.iter_mut().filter_map(Arc::get_mut).for_each(|deployment| deployment.cooldown.off = true);
    }
    settings
}

struct Rig {
    gateway: Arc<Gateway>,
    script: Arc<Script>,
}

fn rig_with(extra: &str, steps: Vec<Step>, source: Option<Arc<dyn SecretSource>>) -> Rig {
    let script = Arc::new(Script { steps: Mutex::new(steps.into()), seen: Mutex::default() });
    let upstream: Arc<dyn Upstream> = script.clone();
    Rig { gateway: Gateway::new(settings(extra), upstream, source, false), script }
}

fn rig(extra: &str, steps: Vec<Step>) -> Rig {
    rig_with(extra, steps, None)
}

fn call() -> Call {
    Call {
        invocation_id: None,
        deadline: None,
        exposure: Exposure::Loopback,
        signed: false,
        signer: None,
        peer: None,
        after: None,
    }
}

fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn chat(model: &str, stream: bool) -> Request<Full<Bytes>> {
    post("/v1/chat/completions", &format!(r#"{{"model":"{model}","stream":{stream},"messages":[]}}"#))
}

fn messages(model: &str, stream: bool) -> Request<Full<Bytes>> {
    post("/v1/messages", &format!(r#"{{"model":"{model}","stream":{stream},"messages":[],"max_tokens":5}}"#))
}

struct Got {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

async fn read(response: Response<Body>) -> Got {
    let (head, body) = response.into_parts();
    let body: Result<_, Infallible> = body.collect().await;
    let text = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
    assert!(!text.contains("planted") || text.contains("planted-by-upstream"), "a secret in {text}");
    Got { status: head.status.as_u16(), headers: head.headers, text }
}

impl Rig {
    async fn ask(&self, request: Request<Full<Bytes>>) -> Got {
        read(self.gateway.handle(request, call()).await).await
    }

    fn metrics(&self) -> String {
        self.gateway.observer().metrics().render(false)
    }

    fn sent(&self) -> Vec<(String, String)> {
        let seen = self.script.seen.lock().unwrap();
        let text = |request: &Request<Bytes>| String::from_utf8(request.body().to_vec()).unwrap();
        seen.iter().map(|request| (request.uri().to_string(), text(request))).collect()
    }
}

fn json_answer(status: u16, body: &'static str) -> Step {
    Step::Answer(status, "application/json", vec![Data(body)])
}

fn sse(pieces: Vec<Piece>) -> Step {
    Step::Answer(200, "text/event-stream", pieces)
}

const ROLE: &str =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test(start_paused = true)]
async fn a_buffered_answer_passes_through() {
    let answer =
        "{ \"id\":\"x\", \"choices\":[{}], \"new\":1.0, \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2} }";
    let rig = rig("", vec![json_answer(200, answer)]);
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!((got.status, got.text.as_str()), (200, answer));
    assert_eq!(got.headers["x-upstream-request-id"], "up-1");
    assert!(got.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert_eq!(got.headers["x-ratelimit-remaining-requests"], "3");
    for name in ["set-cookie", "retry-after"] {
        assert!(!got.headers.contains_key(name), "{name}");
    }
    let body = r#"{"temperature":0.5,"model":"up","stream":false,"messages":[]}"#;
    assert_eq!(rig.sent(), [("http://h/v1/chat/completions".to_owned(), body.to_owned())]);
    let metrics = rig.metrics();
    for line in [
        r#"feathergate_requests_total{model_group="chat",upstream="openai",status="200",error_class=""} 1"#,
        r#"feathergate_tokens_total{model_group="chat",upstream="openai",kind="input"} 3"#,
        r#"feathergate_tokens_total{model_group="chat",upstream="openai",kind="output"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_passes_through_and_usage_that_nobody_asked_for_is_hidden() {
    let rig = rig("", vec![sse(vec![Data(ROLE), Data(TEXT), Data(STOP), Data(USAGE), Data(DONE)])]);
    let got = rig.ask(chat("chat", true)).await;
    assert_eq!((got.status, got.text), (200, [ROLE, TEXT, STOP, DONE].concat()));
    assert_eq!(got.headers["cache-control"], "no-cache");
    assert!(rig.sent()[0].1.starts_with(r#"{"stream_options":{"include_usage":true},"temperature":0.5,"#));
    assert!(rig.metrics().contains(r#"kind="output"} 2"#));
    assert!(rig.metrics().contains("feathergate_open_streams 0"));
}

#[tokio::test(start_paused = true)]
async fn stream_usage_can_be_left_alone() {
    let rig =
        rig("\nfeathergate: {stream_usage: false}\n", vec![sse(vec![Data(TEXT), Data(STOP), Data(USAGE), Data(DONE)])]);
    let got = rig.ask(chat("chat", true)).await;
    assert_eq!(got.text, [TEXT, STOP, USAGE, DONE].concat());
    assert!(!rig.sent()[0].1.contains("stream_options"));
}

#[tokio::test(start_paused = true)]
async fn failures_before_content_are_statuses() {
    let error = "data: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"code\":503}}\n\n";
    let cases: Vec<(Vec<Piece>, u16, &str)> = vec![
        (vec![Data(ROLE), Data(error)], 503, "busy"),
        (vec![Data(ROLE)], 502, "the upstream ended the stream before its end"),
        (vec![], 502, "the upstream ended the stream before its end"),
        (vec![Data(ROLE), Break], 502, "the connection to the upstream broke: reset"),
        (vec![Data(ROLE), Wait(700_000), Data(TEXT)], 504, "the upstream did not begin its answer in time"),
    ];
    for (pieces, status, message) in cases {
        let rig = rig("", vec![sse(pieces)]);
        let got = rig.ask(chat("chat", true)).await;
        assert_eq!((got.status, got.message().as_str()), (status, message));
        assert_eq!(got.headers["content-type"], "application/json");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_after_content_are_error_events() {
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"lost";
    let slow = "\nfeathergate: {heartbeat: 0, idle_timeout: 20}\n";
    let cases: Vec<(Vec<Piece>, &str, &str)> = vec![
        (vec![Data(TEXT), Break], "", "the connection to the upstream broke: reset; the answer is not complete"),
        (vec![Data(TEXT), Data(half), Break], "", "broke: reset"),
        (vec![Data(TEXT), Data(half)], "", "the upstream ended the stream before its end; the answer is not complete"),
        (vec![Data(TEXT)], "", "the upstream ended the stream before its end"),
        (vec![Data(TEXT), Wait(30_000)], slow, "the upstream fell silent for 20 s"),
        (vec![Data(TEXT), Piece::Panic], "", "the gateway failed while it passed the answer on"),
    ];
    for (pieces, extra, message) in cases {
        let rig = rig(extra, vec![sse(pieces)]);
        let got = rig.ask(chat("chat", true)).await;
        assert_eq!(got.status, 200);
        let rest = got.text.strip_prefix(TEXT).unwrap().strip_prefix("data: ").unwrap();
        let error: Value = serde_json::from_str(rest.strip_suffix("\n\n").unwrap()).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(message), "{error}");
        assert!(!got.text.contains("[DONE]") && !got.text.contains("lost"));
        assert!(rig.metrics().contains("feathergate_open_streams 0"), "the stream is counted as over");
    }
}

#[tokio::test(start_paused = true)]
async fn an_anthropic_stream_without_its_end_gets_an_error_event() {
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}\n\n";
    let stop = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n";
    let rig = rig("", vec![sse(vec![Data(delta), Data(stop)])]);
    let got = rig.ask(messages("claude", true)).await;
    let rest = got.text.strip_prefix(&[delta, stop].concat()).unwrap();
    assert!(rest.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""), "{rest}");
    assert!(!rest.contains("message_stop"));
    assert_eq!(rig.sent()[0].0, "http://h/v1/messages");
    assert!(rig.metrics().contains(r#"status="200",error_class="cut"} 1"#), "{}", rig.metrics());
}

#[tokio::test(start_paused = true)]
async fn silence_within_a_stream_is_filled_with_comments() {
    let rig = rig("", vec![sse(vec![Data(TEXT), Wait(25_000), Data(STOP), Data(DONE)])]);
    let got = rig.ask(chat("chat", true)).await;
    assert_eq!(got.text, [TEXT, ": keep-alive\n\n", ": keep-alive\n\n", STOP, DONE].concat());
}

#[tokio::test(start_paused = true)]
async fn early_comments_commit_the_status() {
    let extra = "\nfeathergate: {early_heartbeat: true}\n";
    let error = "data: {\"error\":{\"message\":\"busy\"}}\n\n";
    let rig = rig(extra, vec![sse(vec![Wait(15_000), Data(ROLE), Data(error)])]);
    let got = rig.ask(chat("chat", true)).await;
    assert_eq!(got.status, 200);
    assert!(got.text.starts_with(": keep-alive\n\n") && got.text.contains("busy"), "{}", got.text);
    assert!(!got.text.contains(ROLE));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_open_after_the_end_does_not_hold_the_client() {
    let rig = rig("", vec![sse(vec![Data(TEXT), Data(STOP), Data(DONE), Wait(3_600_000)])]);
    let started = clock::now();
    let got = rig.ask(chat("chat", true)).await;
    assert_eq!(got.text, [TEXT, STOP, DONE].concat());
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_an_invocation_leaves_an_error_event() {
    let rig = rig("", vec![sse(vec![Data(TEXT), Wait(100_000), Data(STOP)])]);
    let call = Call { deadline: Some(clock::now() + Duration::from_secs(5)), ..call() };
    let got = read(rig.gateway.handle(chat("chat", true), call).await).await;
    assert!(got.text.starts_with(TEXT) && got.text.contains("took longer than this gateway allows"), "{}", got.text);
}

#[tokio::test(start_paused = true)]
async fn w67_upstream_errors_keep_their_words_and_status_but_not_a_refused_key() {
    let rate = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let key = r#"{"error":{"message":"Incorrect API key provided: sk-pl***nai planted","code":"invalid_api_key"}}"#;
    let echo = r#"{"error":{"message":"bad header sk-planted-openai","code":"invalid_header"}}"#;
    let rig = rig(
        "",
        vec![
            json_answer(429, rate),
            json_answer(400, echo),
            json_answer(401, key),
            json_answer(403, key),
            Step::Answer(503, "text/html", vec![Data("<html>")]),
            Step::Answer(302, "text/html", vec![]),
            Step::Refuse,
            Step::Hang,
            json_answer(200, r#"{"error":{"message":"no credits","code":402}}"#),
        ],
    );
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!((got.status, got.text.as_str(), &got.headers["retry-after"]), (429, rate, &"7".parse().unwrap()));
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!(
        (got.status, got.text.as_str()),
        (400, r#"{"error":{"message":"bad header [key]","code":"invalid_header"}}"#)
    );
    for _ in 0..2 {
        let got = rig.ask(chat("chat", false)).await;
        assert_eq!(got.status, 502);
        assert!(got.message().contains("refused the gateway's credential"), "{}", got.message());
        assert!(!got.text.contains("Incorrect"));
        assert_eq!(got.headers["x-should-retry"], "false");
    }
    for (status, message) in [
        (503, "the upstream answered 503 without a JSON body"),
        (502, "the upstream answered with a redirect"),
        (502, "cannot connect to the upstream: refused"),
        (504, "the upstream did not answer in time"),
        (402, "no credits"),
    ] {
        let got = rig.ask(chat("chat", false)).await;
        assert_eq!(got.status, status);
        assert!(got.message().contains(message), "{}", got.message());
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_models_and_unset_keys_say_what_to_do() {
    let rig = rig("", vec![]);
    let got = rig.ask(chat("chta", false)).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert!(got.message().contains("did you mean `chat`?"));
    let got = rig.ask(chat("unset", false)).await;
    assert_eq!(got.status, 503);
    assert!(got.message().contains("the environment variable `NOT_SET` is not set"), "{}", got.message());
}

#[tokio::test(start_paused = true)]
async fn the_mock_answers_in_both_dialects() {
    let rig = rig("", vec![]);
    let got = rig.ask(chat("demo", false)).await.json();
    assert_eq!(got["choices"][0]["message"]["content"], "Hello from the mock");
    assert!(got["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let text = rig.ask(chat("demo", true)).await.text;
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("total_tokens"), "{text}");
    let asked = r#"{"model":"demo","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#;
    assert!(rig.ask(post("/chat/completions", asked)).await.text.contains("total_tokens"));
    let got = rig.ask(messages("demo", false)).await.json();
    assert_eq!(got["content"][0]["text"], "Hello from the mock");
    assert!(rig.ask(messages("demo", true)).await.text.contains("event: message_stop\n"));
    let got = rig.ask(post("/v1/messages/count_tokens", r#"{"model":"demo","messages":[]}"#)).await.json();
    assert!(got["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn w68_a_key_is_demanded_before_the_body_is_looked_at() {
    let extra = format!("\ngeneral_settings: {{master_key: {MASTER}}}\n");
    let rig = rig(&extra, vec![]);
    let got = rig.ask(post("/v1/chat/completions", "not json")).await;
    assert_eq!((got.status, &got.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    let got = rig.ask(post("/v1/messages", "not json")).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (401, &json!("authentication_error")));
    let mut request = chat("demo", false);
    request.headers_mut().insert("authorization", format!("Bearer {MASTER}x").parse().unwrap());
    assert_eq!(rig.ask(request).await.status, 401);
    for (name, value) in [("authorization", format!("Bearer {MASTER}")), ("x-api-key", MASTER.to_owned())] {
        let mut request = chat("demo", false);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(rig.ask(request).await.status, 200, "{name}");
    }
    for (path, status) in
        [("/", 200), ("/health", 200), ("/health/readiness", 200), ("/v1/models", 401), ("/metrics", 401)]
    {
        let got = rig.ask(Request::get(path).body(Full::default()).unwrap()).await;
        assert_eq!(got.status, status, "{path}");
        assert!(!got.text.contains("claude") || path == "/v1/models", "{path} tells a stranger the models");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_master_key_strangers_get_an_explanation() {
    let rig = rig("", vec![]);
    let call = || Call { exposure: Exposure::Public, ..call() };
    let got = read(rig.gateway.handle(chat("demo", false), call()).await).await;
    assert_eq!(got.status, 403);
    assert!(got.message().contains("general_settings.master_key"));
    let signed = Call { signed: true, ..call() };
    assert_eq!(read(rig.gateway.handle(chat("demo", false), signed).await).await.status, 200);
    let open = rig_with("\nfeathergate: {allow_unauthenticated: true}\n", vec![], None);
    assert_eq!(read(open.gateway.handle(chat("demo", false), call()).await).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn parameters_are_fetched_once_for_all_and_rotated_on_401() {
    let values = VecDeque::from([Ok("sk-planted-old"), Ok("sk-planted-new")]);
    let source = Arc::new(Parameters(Mutex::new(values), Mutex::default()));
    let ok = || json_answer(200, r#"{"choices":[]}"#);
    let refused = || json_answer(401, r#"{"error":{"message":"no"}}"#);
    let rig = rig_with("", vec![ok(), ok(), ok(), refused(), ok(), refused()], Some(source.clone()));
    let (a, b, c) =
        tokio::join!(rig.ask(chat("stored", false)), rig.ask(chat("stored", false)), rig.ask(chat("stored", false)));
    assert_eq!([a.status, b.status, c.status], [200; 3]);
    assert_eq!(*source.1.lock().unwrap(), [1], "three requests, one fetch");
    assert_eq!(rig.ask(chat("stored", false)).await.status, 200, "one refresh, one retry");
    let keys: Vec<String> = rig
        .script
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.headers()["authorization"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys[3..], ["Bearer sk-planted-old", "Bearer sk-planted-new"]);
    // The new key is refused as well, right after: no third fetch, and the client learns that it is not its fault.
    assert_eq!(rig.ask(chat("stored", false)).await.status, 502);
    assert_eq!(*source.1.lock().unwrap(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_serves_while_parameter_store_does_not_answer() {
    let down = || Err(SourceError::Unavailable("ThrottlingException: slow down".to_owned()));
    let source = Arc::new(Parameters(Mutex::new(VecDeque::from([Ok("sk-planted-a"), down()])), Mutex::default()));
    let ok = || json_answer(200, r#"{"choices":[]}"#);
    let rig = rig_with("", vec![ok(), ok()], Some(source.clone()));
    assert_eq!(rig.ask(chat("stored", false)).await.status, 200);
    tokio::time::advance(Duration::from_secs(721)).await;
    assert_eq!(rig.ask(chat("stored", false)).await.status, 200);
    assert_eq!(source.1.lock().unwrap().len(), 2);
    let never = Arc::new(Parameters(Mutex::new(VecDeque::from([Err(SourceError::Denied)])), Mutex::default()));
    let rig = rig_with("", vec![json_answer(200, r#"{"choices":[]}"#)], Some(never));
    let got = rig.ask(chat("stored", false)).await;
    assert_eq!(got.status, 503);
    assert!(got.message().contains("model `stored`") && got.message().contains("the SSM parameter `/t/key`"));
    assert_eq!(rig.ask(chat("chat", false)).await.status, 200, "other models go on");
}

/// Answers once, then never again.
struct Silent(Mutex<usize>);

impl SecretSource for Silent {
    fn fetch<'a>(
        &'a self,
        names: &'a [ParameterName],
    ) -> BoxFuture<'a, Vec<(ParameterName, Result<Secret, SourceError>)>> {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        if *calls > 1 {
            return std::future::pending().boxed();
        }
        async move { names.iter().map(|name| (name.clone(), Ok(Secret::new("sk-planted-a")))).collect() }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_parameter_store_costs_little_where_there_is_a_value() {
    let ok = || json_answer(200, r#"{"choices":[]}"#);
    let rig = rig_with("", vec![ok(), ok(), ok()], Some(Arc::new(Silent(Mutex::new(0)))));
    assert_eq!(rig.ask(chat("stored", false)).await.status, 200);
    tokio::time::advance(Duration::from_mins(13)).await;
    let started = clock::now();
    let (first, second) = tokio::join!(rig.ask(chat("stored", false)), async {
        tokio::task::yield_now().await;
        let got = rig.ask(chat("stored", false)).await;
        assert!(started.elapsed() < Duration::from_millis(10), "whoever comes second does not wait");
        got
    });
    assert_eq!([first.status, second.status], [200; 2]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_parameter_is_not_used_any_more() {
    let values = VecDeque::from([Ok("sk-planted-a"), Err(SourceError::Missing)]);
    let source = Arc::new(Parameters(Mutex::new(values), Mutex::default()));
    let rig = rig_with("", vec![json_answer(200, r#"{"choices":[]}"#)], Some(source));
    assert_eq!(rig.ask(chat("stored", false)).await.status, 200);
    tokio::time::advance(Duration::from_mins(13)).await;
    let got = rig.ask(chat("stored", false)).await;
    assert_eq!(got.status, 503);
    assert!(got.message().contains("does not exist"), "{}", got.message());
}

#[tokio::test(start_paused = true)]
async fn the_deployments_own_timeouts_rule_streams_as_well() {
    // `stored` has `timeout: 5`.
    let source = || -> Option<Arc<dyn SecretSource>> {
        Some(Arc::new(Parameters(Mutex::new(VecDeque::from([Ok("sk-planted-a")])), Mutex::default())))
    };
    let busy: Vec<Piece> = (0..100).flat_map(|_| [Data(TEXT), Wait(1000)]).collect();
    let rig = rig_with("", vec![sse(busy)], source());
    let got = rig.ask(chat("stored", true)).await;
    let texts = got.text.matches("hi").count();
    assert!(got.text.contains("took longer than this gateway allows") && (4..=6).contains(&texts), "{}", got.text);
    let rig = rig_with(
        "\nlitellm_settings: {request_timeout: 1}\n",
        vec![sse(vec![Wait(3000), Data(TEXT), Data(DONE)])],
        source(),
    );
    assert_eq!(
        rig.ask(chat("stored", true)).await.status,
        200,
        "the deployment's own time goes before the general one"
    );
}

#[tokio::test(start_paused = true)]
async fn web_pages_and_pages_of_other_origins() {
    let rig = rig("", vec![Step::Answer(200, "text/html", vec![Data("<h1>login</h1>")])]);
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!(got.status, 502);
    assert!(got.message().contains("`api_base`"));
    let mut request = chat("demo", false);
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    let got = rig.ask(request).await;
    assert_eq!(got.status, 403, "without a key a web page from elsewhere is not served");
    assert!(got.message().contains("cors_origins"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_content_is_in_the_counts() {
    let rig = rig("", vec![Step::Hang]);
    let asked = tokio::time::timeout(Duration::from_secs(1), rig.ask(chat("chat", true))).await;
    assert!(asked.is_err());
    assert!(rig.metrics().contains(r#"status="499",error_class="client_gone"} 1"#), "{}", rig.metrics());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_the_upstream_and_is_in_the_counts() {
    let rig = rig("", vec![sse(vec![Data(TEXT), Wait(5_000), Data(STOP)])]);
    let response = rig.gateway.handle(chat("chat", true), call()).await;
    let mut body = Box::pin(response.into_body());
    let first = futures::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
    assert_eq!(first.unwrap().unwrap().into_data().unwrap(), TEXT);
    drop(body);
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"error_class="client_gone"} 1"#), "{metrics}");
    assert!(metrics.contains("feathergate_open_streams 0"));
}

#[tokio::test(start_paused = true)]
async fn bodies_over_the_limit_and_broken_ones() {
    let rig = rig("\nfeathergate: {max_request_mb: 0.001}\n", vec![]);
    let got = rig.ask(post("/v1/chat/completions", &"x".repeat(1049))).await;
    assert_eq!(got.status, 413);
    assert!(got.message().contains("1048 bytes"), "{}", got.message());
    let body = format!(r#"{{"model":"demo","messages":[],"x":"{}"}}"#, "y".repeat(1048 - 37));
    assert_eq!(body.len(), 1048);
    let pieces = body
        .as_bytes()
        .chunks(100)
        .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece))));
    let pieces = http_body_util::StreamBody::new(futures::stream::iter(pieces.collect::<Vec<_>>()));
    let request = Request::post("/v1/chat/completions").body(pieces).unwrap();
    assert_eq!(read(rig.gateway.handle(request, call()).await).await.status, 200, "just within, in pieces");
    let got = rig.ask(post("/v1/messages", &"x".repeat(1049))).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (413, &json!("request_too_large")));
    let got = rig.ask(post("/v1/chat/completions", r#"{"model":"chat","model":"demo","messages":[]}"#)).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("model")));
    let mut request = chat("chat", false);
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(rig.ask(request).await.status, 415);
}

#[tokio::test(start_paused = true)]
async fn models_are_listed_in_both_shapes() {
    let rig = rig("", vec![]);
    let get = |path: &str| Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let list = rig.ask(get("/v1/models")).await.json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(
        (list["object"].as_str(), ids),
        (
            Some("list"),
            vec![
                "chat",
                "claude",
                "unset",
                "stored",
                "demo",
                "both",
                "gemini",
                "sonnet",
                "omni-moderation-latest",
                "whisper"
            ]
        )
    );
    let mut request = get("/v1/models/claude");
    request.headers_mut().insert("anthropic-version", "2023-06-01".parse().unwrap());
    let model = rig.ask(request).await.json();
    assert_eq!((&model["type"], &model["id"]), (&json!("model"), &json!("claude")));
    assert_eq!(rig.ask(get("/v1/models/nope")).await.status, 404);
    let health = rig.ask(get("/health")).await.json();
    assert_eq!((&health["healthy_count"], &health["unhealthy"][0]["model_group"]), (&json!(10), &json!("unset")));
}

#[tokio::test(start_paused = true)]
async fn browsers_and_heads() {
    let rig = rig("\nfeathergate: {cors_origins: ['https://a.example']}\n", vec![]);
    let ask = |origin: &str| {
        let request = Request::options("/v1/chat/completions").header("origin", origin);
        request.header("access-control-request-headers", "authorization,x-own").body(Full::<Bytes>::default()).unwrap()
    };
    let got = rig.ask(ask("https://a.example")).await;
    assert_eq!((got.status, &got.headers["access-control-allow-origin"]), (204, &"https://a.example".parse().unwrap()));
    assert_eq!(got.headers["access-control-allow-headers"], "authorization,x-own");
    assert!(!rig.ask(ask("https://b.example")).await.headers.contains_key("access-control-allow-origin"));
    let head = Request::head("/").body(Full::<Bytes>::default()).unwrap();
    let got = rig.ask(head).await;
    assert_eq!((got.status, got.text.as_str()), (200, ""));
    let mut request = chat("demo", false);
    request.headers_mut().insert("x-request-id", "mine-12345".parse().unwrap());
    assert_eq!(rig.ask(request).await.headers["x-request-id"], "mine-12345");
}

#[tokio::test(start_paused = true)]
async fn dropped_fields_are_said() {
    let yaml = "
model_list:
  - model_name: g
    litellm_params: {model: groq/up, api_key: k-planted-groq, drop_params: true, additional_drop_params: [seed]}
";
    let document = Document::parse("test.yaml", yaml).map_err(|e| e.to_string()).unwrap();
    let settings = resolve(&document, &|_| None).map_err(|problems| problems.to_string()).unwrap().settings;
    let script = Arc::new(Script::default());
    script.steps.lock().unwrap().push_back(json_answer(200, r#"{"choices":[]}"#));
    let upstream: Arc<dyn Upstream> = script.clone();
    let gateway = Gateway::new(settings, upstream, None, false);
    let body = r#"{"model":"g","messages":[],"logprobs":true,"seed":1,"x":2}"#;
    let got = read(gateway.handle(post("/v1/chat/completions", body), call()).await).await;
    assert_eq!(got.headers["x-feathergate-dropped"], "logprobs,seed");
    assert_eq!(script.seen.lock().unwrap()[0].body(), r#"{"model":"up","messages":[],"x":2}"#);
}

fn direct(path: &str, body: &str) -> Request<Full<Bytes>> {
    post(&format!("/v1{path}"), body)
}

#[tokio::test(start_paused = true)]
async fn json_endpoints_pass_through_exactly() {
    let cases = [
        (
            "/completions",
            "{ \"prompt\":\"x\", \"model\" : \"both\", \"new\":1.0 }",
            "{ \"prompt\":\"x\", \"model\" : \"up\", \"new\":1.0 }",
        ),
        ("/embeddings", r#"{"model":"both","input":[1,2]}"#, r#"{"model":"up","input":[1,2]}"#),
        ("/responses", r#"{"model":"chat","input":"x"}"#, r#"{"model":"up","input":"x"}"#),
        ("/responses/compact", r#"{"model":"chat","input":[]}"#, r#"{"model":"up","input":[]}"#),
        ("/images/generations", r#"{"prompt":"x","model":"both"}"#, r#"{"prompt":"x","model":"up"}"#),
        ("/audio/speech", r#"{"model":"both","input":"x","voice":"v"}"#, r#"{"model":"up","input":"x","voice":"v"}"#),
        // A default of the deployment goes everywhere but to the Responses API.
        ("/completions", r#"{"model":"chat"}"#, r#"{"temperature":0.5,"model":"up"}"#),
        ("/moderations", r#"{"input":"x"}"#, r#"{"model":"omni-up","input":"x"}"#),
        ("/moderations", r#"{"input":"x","model":null}"#, r#"{"input":"x","model":"omni-up"}"#),
        ("/moderations", "{}", r#"{"model":"omni-up"}"#),
    ];
    for (path, body, want) in cases {
        let answer =
            "{\n  \"object\": \"list\", \"data\": [1.0], \"model\": \"up\", \"usage\":{\"prompt_tokens\":8}\n}\n";
        let rig = rig("\nfeathergate: {response_model: alias}\n", vec![json_answer(200, answer)]);
        let got = rig.ask(direct(path, body)).await;
        assert_eq!((got.status, got.text.as_str()), (200, answer), "{path}");
        assert_eq!(got.headers["content-type"], "application/json");
        assert_eq!(rig.sent(), [(format!("http://h/v1{path}"), want.to_owned())]);
        assert!(rig.metrics().contains(r#"kind="input"} 8"#), "{}", rig.metrics());
    }
}

#[tokio::test(start_paused = true)]
async fn forms_pass_through_exactly() {
    let form = |model: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\
             ID3\u{0}--b\r\n{model}--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\"model\"\r\n--b--\r\n"
        )
    };
    let part = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{name}\r\n");
    for path in ["/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations"] {
        let words = "1\n00:00:00,000 --> 00:00:01,000\nHello\n";
        let rig = rig("", vec![Step::Answer(200, "text/plain; charset=utf-8", vec![Data(words)])]);
        let mut request = direct(path, &form(&part("whisper")));
        request.headers_mut().insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
        let got = rig.ask(request).await;
        assert_eq!((got.status, got.text.as_str()), (200, words), "{path}");
        assert_eq!(got.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(rig.sent(), [(format!("http://h/v1{path}"), form(&part("whisper-up")))]);
        let seen = rig.script.seen.lock().unwrap();
        assert_eq!(seen[0].headers()["content-type"], "multipart/form-data; boundary=b");
    }
}

#[tokio::test(start_paused = true)]
async fn audio_passes_through_and_is_whole_or_an_error() {
    let sound: &[u8] = b"ID3\x00\xff\xfb\x90";
    let speech = || direct("/audio/speech", r#"{"model":"both","input":"x","voice":"v"}"#);
    let step = |pieces| Step::Answer(200, "audio/mpeg", pieces);
    let rig =
        rig("", vec![step(vec![Piece::Raw(sound), Piece::Raw(sound)]), step(vec![Piece::Raw(sound), Piece::Break])]);
    let response = rig.gateway.handle(speech(), call()).await;
    assert_eq!(response.headers()["content-type"], "audio/mpeg");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), [sound, sound].concat());
    let got = rig.ask(speech()).await;
    assert_eq!((got.status, got.message().as_str()), (502, "the connection to the upstream broke: reset"));
}

const WORD: &str = "data: {\"choices\":[{\"text\":\"hi\",\"finish_reason\":null}]}\n\n";
const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0}\n\n";
const PIECE: &str =
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";
const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n";
const SOUND: &str = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}\n\n";
const SILENCE: &str = "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}\n\n";

#[tokio::test(start_paused = true)]
async fn streams_of_other_endpoints_pass_through() {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let asked = r#","stream_options":{"include_usage":true}"#;
    let words = [WORD, WORD, usage, DONE];
    let cases: [(&str, &str, &[&'static str], &str); 6] = [
        ("/completions", asked, &words, asked),
        // Whoever does not ask does not see what we have asked for.
        ("/completions", "", &words, asked),
        ("/completions", r#","stream_options":{"include_usage":false}"#, &words, asked),
        ("/responses", "", &[CREATED, PIECE, PIECE, COMPLETED], ""),
        ("/responses", "", &[CREATED, PIECE, COMPLETED, DONE], ""),
        ("/audio/speech", "", &[SOUND, SOUND, SILENCE], ""),
    ];
    for (path, options, events, sent) in cases {
        let rig = rig("", vec![sse(events.iter().copied().map(Data).collect())]);
        let got = rig.ask(direct(path, &format!(r#"{{"model":"both","stream":true{options}}}"#))).await;
        let seen: String = events.iter().copied().filter(|event| *event != usage || options == asked).collect();
        assert_eq!((got.status, got.text), (200, seen), "{path}");
        let body = &rig.sent()[0].1;
        assert_eq!(body.contains(asked.trim_start_matches(',')), !sent.is_empty(), "{body}");
        assert_eq!(got.headers["content-type"], "text/event-stream");
        assert!(rig.metrics().contains(r#"kind="output"} 2"#), "{path}: {}", rig.metrics());
    }
}

#[tokio::test(start_paused = true)]
async fn cut_streams_of_other_endpoints_get_an_error_event() {
    let cases: [(&str, Vec<&'static str>); 4] = [
        ("/completions", vec![WORD, WORD]),
        ("/responses", vec![CREATED, PIECE]),
        ("/audio/speech", vec![SOUND]),
        ("/images/edits", vec!["data: {\"type\":\"image_edit.partial_image\"}\n\n"]),
    ];
    for (path, events) in cases {
        let rig = rig("", vec![sse(events.iter().copied().map(Data).collect())]);
        let got = rig.ask(direct(path, r#"{"model":"both","stream":true}"#)).await;
        let rest = got.text.strip_prefix(&events.concat()).unwrap();
        let data = rest.strip_prefix("event: error\n").unwrap_or(rest).strip_prefix("data: ").unwrap();
        let error: Value = serde_json::from_str(data.trim_end()).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!(message, "the upstream ended the stream before its end; the answer is not complete", "{path}");
        if path == "/responses" {
            assert_eq!((&error["type"], &error["sequence_number"]), (&json!("error"), &json!(2)));
            assert!(rest.starts_with("event: error\n"));
        }
        assert!(rig.metrics().contains(r#"status="200",error_class="cut"} 1"#), "{}", rig.metrics());
    }
    // Of events that nobody knows nothing is demanded.
    let unknown = "data: {\"type\":\"something.new\"}\n\n";
    let rig = rig("", vec![sse(vec![Data(unknown)])]);
    assert_eq!(rig.ask(direct("/audio/speech", r#"{"model":"both"}"#)).await.text, unknown);
}

#[tokio::test(start_paused = true)]
async fn failures_of_other_endpoints_before_content_are_statuses() {
    let failed = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}}}\n\n";
    let empty = "data: {\"type\":\"response.failed\",\"response\":{\"error\":null}}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"busy\"}\n\n";
    let rate = r#"{"error":{"message":"slow","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let cases = [
        (sse(vec![Data(CREATED), Data(failed)]), 429, "slow"),
        // The words come with the second event.
        (sse(vec![Data(CREATED), Data(empty), Data(error)]), 500, "busy"),
        (sse(vec![Data(CREATED)]), 502, "the upstream ended the stream before its end"),
        (json_answer(429, rate), 429, "slow"),
        (json_answer(401, rate), 502, "refused the gateway's credential"),
        (json_answer(200, r#"{"error":{"message":"no credits","code":402}}"#), 402, "no credits"),
        (Step::Answer(200, "text/html", vec![Data("<h1>")]), 502, "`api_base`"),
    ];
    for (step, status, message) in cases {
        let rig = rig("", vec![step]);
        let got = rig.ask(direct("/responses", r#"{"model":"chat","stream":true}"#)).await;
        assert_eq!(got.status, status, "{message}");
        assert!(got.message().contains(message), "{}", got.message());
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_other_endpoints_that_are_none_fail_and_fall_back() {
    let failed = |error: &str| -> &'static str {
        let body = r#"{"id":"r","object":"response","status":"failed","error":ERROR,"output":[],"usage":null}"#;
        body.replace("ERROR", error).leak()
    };
    let broke = r#"{"code":"server_error","message":"oops"}"#;
    let good = r#"{"id":"r","object":"response","status":"completed","error":null}"#;
    let rules = "router_settings: {num_retries: 0, fallbacks: [{chat: [both]}]}\n";
    for (path, body, status, message) in [
        ("/responses", failed(broke), 500, "oops"),
        ("/responses", failed(r#"{"code":"rate_limit_exceeded","message":"slow"}"#), 429, "slow"),
        ("/responses", "", 502, "the upstream ended its answer before its end"),
        ("/responses", "\n", 502, "the upstream ended its answer before its end"),
        ("/responses", &good[..good.len() - 1], 502, "the upstream ended its answer before its end"),
        ("/completions", "", 502, "the upstream ended its answer before its end"),
        ("/completions", r#"{"choices":[{"text":"lo"#, 502, "the upstream ended its answer before its end"),
        ("/embeddings", r#"{"data":[{"embedding":[0.5,"#, 502, "the upstream ended its answer before its end"),
    ] {
        let ask = || direct(path, r#"{"model":"chat","input":"x"}"#);
        let got = rig("router_settings: {num_retries: 0}\n", vec![json_answer(200, body)]).ask(ask()).await;
        assert_eq!((got.status, got.message().as_str()), (status, message), "{path} {body}");
        let both = rig(rules, vec![json_answer(200, body), json_answer(200, good)]);
        let got = both.ask(ask()).await;
        assert_eq!((got.status, got.text.as_str()), (200, good), "{path} {body}");
    }
    // It is the request, and the client reads the same error as from a stream.
    let wrong = r#"{"code":"invalid_prompt","message":"no"}"#;
    let got = rig(rules, vec![json_answer(200, failed(wrong))]).ask(direct("/responses", r#"{"model":"chat"}"#)).await;
    assert_eq!((got.status, got.text), (400, format!(r#"{{"error":{wrong}}}"#)));
    // A response that failed without a word, and silence written down, are answers.
    for (path, kind, body) in [
        ("/responses", "application/json", failed("null")),
        ("/audio/transcriptions", "text/plain", ""),
        ("/audio/transcriptions", "text/plain", "[Music"),
    ] {
        let rig = rig("", vec![Step::Answer(200, kind, vec![Data(body)])]);
        let got = rig.ask(direct(path, r#"{"model":"whisper"}"#)).await;
        assert_eq!((got.status, got.text.as_str()), (200, body), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_passed_through_says_what_to_do() {
    let rig = rig("", vec![]);
    let cases = [
        ("/embeddings", r#"{"input":"x"}"#, "model", "`model` is missing"),
        ("/embeddings", r#"{"input":"x","model":7}"#, "model", "`model` is a number"),
        ("/embeddings", r#"{"model":"chat","model":"both"}"#, "model", "stands twice"),
        ("/responses", r#"{"model":"chat","stream":"yes"}"#, "stream", "must be a boolean"),
        ("/images/generations", r#"{"prompt":"x"}"#, "model", "It has none called `dall-e-2`"),
        ("/embeddings", r#"{"model":"claude"}"#, "model", "(Anthropic Messages) cannot be called at `/v1/embeddings`"),
        (
            "/responses",
            r#"{"model":"gemini"}"#,
            "model",
            "(Gemini generateContent) cannot be called at `/v1/responses`",
        ),
        ("/embeddings", r#"{"model":"gemini","input":[[1,2]]}"#, "input", "tokens mean something else"),
        ("/responses", r#"{"model":"demo"}"#, "model", "use `/v1/chat/completions` or `/v1/messages`"),
        ("/audio/transcriptions", "--b\r\n", "", "takes multipart/form-data"),
        ("/embeddings", "", "", "the body is empty"),
    ];
    for (path, body, param, message) in cases {
        let got = rig.ask(direct(path, body)).await;
        assert_eq!(got.status, 400, "{path} {body}");
        assert!(got.message().contains(message), "{}", got.message());
        assert_eq!(got.json()["error"]["param"].as_str().unwrap_or_default(), param, "{path} {body}");
    }
    assert_eq!(rig.ask(direct("/embeddings", r#"{"model":"nope"}"#)).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn w52_tokens_are_counted_everywhere() {
    let count = |model: &str| {
        post(
            "/v1/messages/count_tokens",
            &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#),
        )
    };
    let unknown = r#"{"type":"error","error":{"type":"not_found_error","message":"model: up"}}"#;
    let rig = rig(
        "",
        vec![
            json_answer(200, r#"{"input_tokens":14}"#),
            json_answer(404, r#"{"detail":"Not Found"}"#),
            json_answer(405, "{}"),
            json_answer(404, unknown),
            json_answer(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        ],
    );
    let got = rig.ask(count("claude")).await;
    assert_eq!((got.status, got.text.as_str()), (200, r#"{"input_tokens":14}"#));
    assert!(!got.headers.contains_key("x-feathergate-estimated"));
    assert_eq!(rig.sent()[0].0, "http://h/v1/messages/count_tokens");
    // An upstream without that endpoint, and one of a dialect that has none.
    for model in ["claude", "claude", "chat"] {
        let got = rig.ask(count(model)).await;
        assert_eq!((got.status, &got.headers["x-feathergate-estimated"]), (200, &"input_tokens".parse().unwrap()));
        assert!(got.json()["input_tokens"].as_u64().unwrap() > 0 && got.json()["estimated"] == true, "{}", got.text);
    }
    assert_eq!(rig.sent().len(), 3, "nobody is called where nobody can count");
    let got = rig.ask(count("claude")).await;
    assert_eq!((got.status, got.text.as_str()), (404, unknown), "a model that is not there is no lack of an endpoint");
    assert_eq!(rig.ask(count("claude")).await.status, 529);
    assert!(rig.ask(count("demo")).await.json()["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_asked_for_and_a_body_in_place_of_one_are_told() {
    let rig = rig("", vec![sse(vec![Data(TEXT), Data(STOP), Data(DONE)]), json_answer(200, r#"{"choices":[{}]}"#)]);
    for (stream, message) in [(false, "a stream although none was asked for"), (true, "a stream without one")] {
        let got = rig.ask(chat("chat", stream)).await;
        assert_eq!(got.status, 502);
        assert!(got.message().contains(message), "{}", got.message());
    }
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_converted_for_gemini() {
    let quota = r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}"#;
    let rig = rig(
        "",
        vec![
            json_answer(200, r#"{"embeddings":[{"values":[0.5,1]},{"values":[1,0.25]}]}"#),
            json_answer(429, quota),
            json_answer(
                400,
                r#"{"error":{"code":400,"message":"API key not valid. sk-pl planted","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            ),
        ],
    );
    let ask = || direct("/embeddings", r#"{"model":"gemini","input":["a","b"],"user":"u"}"#);
    let got = rig.ask(ask()).await;
    let answer = got.json();
    assert_eq!((&answer["data"][0]["embedding"], &answer["data"][1]["index"]), (&json!([0.5, 1]), &json!(1)));
    assert_eq!((got.status, &answer["model"]), (200, &json!("embed-up")));
    assert_eq!(got.headers["x-feathergate-dropped"], "user");
    assert_eq!(got.headers["content-type"], "application/json");
    assert!(!got.headers.contains_key("x-ratelimit-remaining-requests"), "Gemini has none");
    let (url, body) = rig.sent().remove(0);
    assert_eq!(url, "http://h/v1beta/models/embed-up:batchEmbedContents");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["requests"][1]["content"]["parts"][0]["text"], "b");
    assert_eq!(rig.script.seen.lock().unwrap()[0].headers()["x-goog-api-key"], "sk-planted-gemini");
    assert!(rig.metrics().contains(r#"feathergate_losses_total{model_group="gemini",field="user"} 1"#));
    let got = rig.ask(ask()).await;
    assert_eq!((got.status, got.message().as_str()), (429, "gemini: Quota exceeded"));
    assert_eq!(got.headers["retry-after"], "7");
    let got = rig.ask(ask()).await;
    assert_eq!(got.status, 502, "w67: a refused key is not the client's");
    assert!(got.message().contains("refused the gateway's credential"), "{}", got.message());
}

/// A conversation of one turn in the client's dialect, with more fields in front.
fn turn(path: &str, model: &str, fields: &str) -> Request<Full<Bytes>> {
    let body =
        format!(r#"{{{fields}"model":"{model}","max_tokens":50,"messages":[{{"role":"user","content":"hi"}}]}}"#);
    post(path, &body)
}

const CHATS: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"up-1","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;
const GPT: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"up-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5},"modelVersion":"up-1"}"#;

#[tokio::test(start_paused = true)]
async fn w70_buffered_answers_are_converted_and_name_the_alias() {
    let cases = [
        (CHATS, "claude", CLAUDE, "http://h/v1/messages"),
        (CHATS, "gemini", GEMINI, "http://h/v1beta/models/embed-up:generateContent"),
        (MESSAGES, "chat", GPT, "http://h/v1/chat/completions"),
        (MESSAGES, "gemini", GEMINI, "http://h/v1beta/models/embed-up:generateContent"),
    ];
    for (extra, alias) in [("", false), ("\nfeathergate: {response_model: alias}\n", true)] {
        for (path, model, answer, url) in cases {
            let rig = rig(extra, vec![json_answer(200, answer)]);
            let got = rig.ask(turn(path, model, "")).await;
            assert_eq!(got.status, 200, "{path} {model}: {}", got.text);
            assert_eq!(rig.sent()[0].0, url);
            let answer = got.json();
            let text = answer.pointer("/choices/0/message/content").or_else(|| answer.pointer("/content/0/text"));
            assert_eq!(text, Some(&json!("Hello")), "{answer}");
            assert_eq!(answer["model"], if alias { model } else { "up-1" }, "{path} {model}");
            assert_eq!(got.headers["content-type"], "application/json");
            assert!(rig.metrics().contains(r#"kind="output"} 2"#), "{}", rig.metrics());
        }
    }
}

const CLAUDE_START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"up-1\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
const CLAUDE_TEXT: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n";
const CLAUDE_STOP: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const CLAUDE_BUSY: &str =
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
const GPT_BUSY: &str = "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"overloaded_error\",\"code\":503}}\n\n";
const GEMINI_TEXT: &str =
    "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hello\"}]},\"index\":0}]}\r\n\r\n";
const GEMINI_STOP: &str = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":2,\"totalTokenCount\":5}}\r\n\r\n";
const GEMINI_BUSY: &str =
    "data: {\"error\":{\"code\":503,\"message\":\"Overloaded\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn streams_are_converted_to_their_end() {
    let cases: [(&str, &str, Vec<&'static str>); 4] = [
        (CHATS, "claude", vec![CLAUDE_START, CLAUDE_TEXT, CLAUDE_STOP]),
        (CHATS, "gemini", vec![GEMINI_TEXT, GEMINI_STOP]),
        (MESSAGES, "chat", vec![ROLE, TEXT, STOP, USAGE, DONE]),
        (MESSAGES, "gemini", vec![GEMINI_TEXT, GEMINI_STOP]),
    ];
    for (path, model, events) in cases {
        let rig = rig("", vec![sse(events.into_iter().map(Data).collect())]);
        let got = rig.ask(turn(path, model, r#""stream":true,"#)).await;
        let last = if path == CHATS { DONE } else { "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n" };
        assert!(got.text.ends_with(last) && got.text.matches(last).count() == 1, "{path} {model}: {}", got.text);
        assert_eq!(got.headers["content-type"], "text/event-stream; charset=utf-8");
        assert!(rig.metrics().contains(r#"kind="output"} 2"#), "{path} {model}: {}", rig.metrics());
        assert!(rig.metrics().contains(r#"status="200",error_class=""} 1"#), "{}", rig.metrics());
    }
    assert!(rig("", vec![]).sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn w13_w14_failures_of_converted_streams_are_statuses_before_content_and_events_after_it() {
    // The status for OpenAI's clients and for Anthropic's, and the words.
    let busy = (503, 529, "server_error", "overloaded_error", "Overloaded");
    let cut = (502, 500, "server_error", "api_error", "the upstream ended the stream before its end");
    let broken = (502, 500, "server_error", "api_error", "the connection to the upstream broke: reset");
    let cases = [
        (CHATS, "claude", CLAUDE_START, CLAUDE_TEXT, Data(CLAUDE_BUSY), busy),
        (CHATS, "claude", CLAUDE_START, CLAUDE_TEXT, Data(": \n\n"), cut),
        (CHATS, "claude", CLAUDE_START, CLAUDE_TEXT, Break, broken),
        (CHATS, "gemini", ": \n\n", GEMINI_TEXT, Data(GEMINI_BUSY), busy),
        (CHATS, "gemini", ": \n\n", GEMINI_TEXT, Data(": \n\n"), cut),
        (MESSAGES, "gemini", ": \n\n", GEMINI_TEXT, Data(GEMINI_BUSY), busy),
        (MESSAGES, "gemini", ": \n\n", GEMINI_TEXT, Break, broken),
        (MESSAGES, "chat", ROLE, TEXT, Data(GPT_BUSY), busy),
        (MESSAGES, "chat", ROLE, TEXT, Data(": \n\n"), cut),
    ];
    for (path, model, start, text, end, (openai, anthropic, server_error, overloaded, words)) in cases {
        let ask = || turn(path, model, r#""stream":true,"#);
        let rig = rig("", vec![sse(vec![Data(start), end.clone()]), sse(vec![Data(start), Data(text), end])]);
        let vendor = model.replace("claude", "anthropic").replace("chat", "openai");
        let got = rig.ask(ask()).await;
        let (status, class) = if path == CHATS { (openai, server_error) } else { (anthropic, overloaded) };
        assert_eq!((got.status, &got.json()["error"]["type"]), (status, &json!(class)), "{path} {model} {words}");
        assert_eq!(got.message(), format!("{vendor}: {words}"), "{path}");
        let got = rig.ask(ask()).await;
        assert_eq!(got.status, 200, "{path} {model}");
        assert!(!got.text.contains("[DONE]") && !got.text.contains("message_stop"), "{}", got.text);
        assert!(!got.text.contains("\"finish_reason\":\"") && !got.text.contains("\"stop_reason\":\""), "{}", got.text);
        let last = got.text.trim_end().rsplit("\n\n").next().unwrap();
        let data = if path == CHATS { last } else { last.strip_prefix("event: error\n").unwrap() };
        let error: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["type"], class, "{error}");
        let message = error["error"]["message"].as_str().unwrap();
        let told = message.strip_prefix(&vendor).unwrap().strip_suffix("; the answer is not complete").unwrap();
        assert!(told.contains(words) || told.contains("ended without a finish reason"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn w66_w69_errors_of_the_other_dialect_keep_their_meaning() {
    let claude = |kind: &str, message: &str| {
        let body =
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#);
        &*Box::leak(body.into_boxed_str())
    };
    let gpt = |code: &str, message: &str| {
        let body = format!(r#"{{"error":{{"message":"{message}","type":"x","param":null,"code":"{code}"}}}}"#);
        &*Box::leak(body.into_boxed_str())
    };
    let google = |status: &str, message: &str, details: &str| {
        let body =
            format!(r#"{{"error":{{"code":0,"message":"{message}","status":"{status}","details":[{details}]}}}}"#);
        &*Box::leak(body.into_boxed_str())
    };
    let cases = [
        (CHATS, "claude", 529, claude("overloaded_error", "busy"), 503, "server_error", "anthropic: busy"),
        (CHATS, "claude", 402, claude("billing_error", "pay"), 429, "insufficient_quota", "anthropic: pay"),
        (CHATS, "claude", 429, claude("rate_limit_error", "slow"), 429, "rate_limit_error", "anthropic: slow"),
        (
            CHATS,
            "claude",
            404,
            claude("not_found_error", "model: x"),
            404,
            "invalid_request_error",
            "anthropic: model: x",
        ),
        (CHATS, "claude", 400, claude("invalid_request_error", "no"), 400, "invalid_request_error", "anthropic: no"),
        (CHATS, "claude", 500, claude("api_error", "oops"), 500, "server_error", "anthropic: oops"),
        (
            CHATS,
            "gemini",
            429,
            google("RESOURCE_EXHAUSTED", "slow", r#"{"retryDelay":"34.4s"}"#),
            429,
            "rate_limit_error",
            "gemini: slow",
        ),
        (CHATS, "gemini", 504, google("DEADLINE_EXCEEDED", "late", ""), 504, "server_error", "gemini: late"),
        (MESSAGES, "chat", 503, gpt("overloaded_error", "busy"), 529, "overloaded_error", "openai: busy"),
        (MESSAGES, "chat", 500, gpt("server_error", "oops"), 500, "api_error", "openai: oops"),
        (MESSAGES, "chat", 502, gpt("server_error", "oops"), 500, "api_error", "openai: oops"),
        (MESSAGES, "chat", 504, gpt("server_error", "late"), 504, "timeout_error", "openai: late"),
        (
            MESSAGES,
            "chat",
            400,
            gpt("context_length_exceeded", "too many"),
            400,
            "invalid_request_error",
            "prompt is too long: openai: too many",
        ),
        (MESSAGES, "chat", 404, gpt("model_not_found", "gone"), 404, "not_found_error", "openai: gone"),
        (MESSAGES, "gemini", 503, google("UNAVAILABLE", "busy", ""), 529, "overloaded_error", "gemini: busy"),
        (MESSAGES, "gemini", 400, google("INVALID_ARGUMENT", "no", ""), 400, "invalid_request_error", "gemini: no"),
        (
            MESSAGES,
            "chat",
            401,
            gpt("invalid_api_key", "sk-pl planted"),
            502,
            "api_error",
            "refused the gateway's credential",
        ),
    ];
    for (path, model, status, body, want, class, message) in cases {
        let rig = rig("", vec![json_answer(status, body)]);
        let got = rig.ask(turn(path, model, "")).await;
        assert_eq!((got.status, &got.json()["error"]["type"]), (want, &json!(class)), "{path} {model} {body}");
        assert!(got.message().contains(message), "{}", got.message());
        if status != 401 {
            assert!(got.message().starts_with(message), "{}", got.message());
            // The scripted upstream's header goes before what its body says.
            assert_eq!(got.headers["retry-after"], "7");
        }
        let limits: Vec<&str> =
            got.headers.keys().map(http::HeaderName::as_str).filter(|name| name.contains("ratelimit")).collect();
        let converted = ["anthropic-ratelimit-requests-remaining"];
        let told = path == MESSAGES && model == "chat" && status != 401;
        assert_eq!(limits, if told { &converted[..] } else { &[] }, "{path} {model}");
    }
}

#[tokio::test(start_paused = true)]
async fn losses_are_told_counted_and_refused_where_that_is_asked_for() {
    let cases = [
        (CHATS, "claude", r#""seed":7,"logit_bias":{"1":2},"#, CLAUDE, vec!["logit_bias", "seed"]),
        (MESSAGES, "chat", r#""container":"c","#, GPT, vec!["container"]),
    ];
    for (path, model, fields, answer, lost) in cases {
        let rig = rig("", vec![json_answer(200, answer)]);
        let got = rig.ask(turn(path, model, fields)).await;
        let mut told: Vec<&str> = got.headers["x-feathergate-dropped"].to_str().unwrap().split(',').collect();
        told.sort_unstable();
        assert_eq!((got.status, &told), (200, &lost), "{path}");
        for field in &lost {
            let line = format!(r#"feathergate_losses_total{{model_group="{model}",field="{field}"}} 1"#);
            assert!(rig.metrics().contains(&line), "{}", rig.metrics());
        }
        let mut strict = settings("");
        for deployment in strict.groups.iter_mut().flat_map(|group| &mut group.deployments) {
            Arc::get_mut(deployment).unwrap().on_loss = OnLoss::Reject;
        }
        let gateway = Gateway::new(strict, rig.script.clone(), None, false);
        let got = read(gateway.handle(turn(path, model, fields), call()).await).await;
        assert_eq!((got.status, &got.json()["error"]["type"]), (400, &json!("invalid_request_error")), "{path}");
        assert!(lost.iter().all(|field| got.message().contains(&format!("`{field}`"))), "{}", got.message());
        if path == CHATS {
            assert_eq!(got.json()["error"]["code"], "unsupported_value");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w51_betas_reach_anthropic_alone() {
    for (path, model, answer, reaches) in [
        (MESSAGES, "claude", CLAUDE, true),
        (MESSAGES, "chat", GPT, false),
        (MESSAGES, "gemini", GEMINI, false),
        (CHATS, "claude", CLAUDE, true),
    ] {
        let rig = rig("", vec![json_answer(200, answer)]);
        let mut request = turn(path, model, "");
        request.headers_mut().insert("anthropic-beta", "context-1m-2025-08-07".parse().unwrap());
        request.headers_mut().insert("x-api-key", "sk-client".parse().unwrap());
        assert_eq!(rig.ask(request).await.status, 200);
        let seen = rig.script.seen.lock().unwrap();
        let betas = seen[0].headers().get("anthropic-beta").map(|value| value.to_str().unwrap());
        assert_eq!(betas, reaches.then_some("context-1m-2025-08-07"), "{path} {model}");
        assert!(!format!("{:?}", seen[0]).contains("sk-client"), "w65");
    }
    // One that the converted body needs comes to it.
    let rig = rig("", vec![json_answer(200, CLAUDE)]);
    let call = |id: &str| {
        let thought =
            json!({"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": "anthropic-claude-v1"});
        json!({"role": "assistant", "content": null, "reasoning_details": [thought],
               "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]})
    };
    let outcome = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
    let user = json!({"role": "user", "content": "hi"});
    let body = json!({
        "model": "sonnet", "reasoning_effort": "low", "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [user, call("a"), outcome("a"), call("b"), outcome("b")],
    });
    let mut request = post(CHATS, &body.to_string());
    request.headers_mut().insert("anthropic-beta", "context-1m-2025-08-07".parse().unwrap());
    assert_eq!(rig.ask(request).await.status, 200);
    let seen = rig.script.seen.lock().unwrap();
    assert_eq!(seen[0].headers()["anthropic-beta"], "context-1m-2025-08-07,interleaved-thinking-2025-05-14");
}

#[tokio::test(start_paused = true)]
async fn w52_gemini_counts_tokens_itself() {
    let count = || turn("/v1/messages/count_tokens", "gemini", "");
    let gone = r#"{"error":{"code":404,"message":"models/embed-up is not found for API version v1beta, or is not supported for countTokens","status":"NOT_FOUND"}}"#;
    let rig = rig("", vec![json_answer(200, r#"{"totalTokens":31}"#), json_answer(404, gone)]);
    let got = rig.ask(count()).await;
    assert_eq!((got.status, got.text.as_str()), (200, r#"{"input_tokens":31}"#));
    assert!(!got.headers.contains_key("x-feathergate-estimated"));
    assert_eq!(rig.sent()[0].0, "http://h/v1beta/models/embed-up:countTokens");
    let got = rig.ask(count()).await;
    assert_eq!((got.status, &got.headers["x-feathergate-estimated"]), (200, &"input_tokens".parse().unwrap()));
}
