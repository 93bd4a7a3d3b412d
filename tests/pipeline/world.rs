//! Upstreams by host, each with what it does, and what a request came to: the calls with their times, the answer, the log line.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use feathergate::config::raw::Document;
use feathergate::config::resolve::resolve;
use feathergate::config::settings::Settings;
use feathergate::gateway::{After, Call, Exposure, Gateway};
use feathergate::observe::clock::{self, Instant};
use feathergate::upstream::{ByteStream, SendError, Upstream};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::sleep;

use super::{DONE, Got, ROLE, STOP, TEXT, USAGE, read};

/// What an upstream does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers well, as it was asked to: whole or as a stream.
    Well,
    /// No connection.
    Refuses,
    /// The connection breaks before the answer's head.
    Resets,
    /// A head after so many milliseconds, then pieces.
    Answers(u64, u16, Vec<(&'static str, &'static str)>, Vec<Part>),
}

/// A part of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Text(&'static str),
    /// Silence, in milliseconds.
    Silence(u64),
    /// The connection breaks.
    Reset,
}

pub(crate) const ANSWER: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
pub(crate) const CLAUDE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;

/// A call that an upstream got.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) host: String,
    pub(crate) body: String,
    /// When it began, and when the gateway had done with it.
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
}

/// All upstreams. What a host does is a list, whose last entry is for all further calls; a host that is not here does well.
#[derive(Default)]
pub(crate) struct Hosts {
    pub(crate) does: Mutex<HashMap<&'static str, Vec<Does>>>,
    pub(crate) calls: Arc<Mutex<Vec<Called>>>,
}

/// Notes when a call is over, however it ends.
struct Ending(Arc<Mutex<Vec<Called>>>, usize);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().unwrap()[self.1].ended = Some(clock::now());
    }
}

impl Upstream for Hosts {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<ByteStream>, SendError>> {
        let host = request.uri().host().unwrap().to_owned();
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let stream = body.contains(r#""stream":true"#);
        let claude = request.uri().path().ends_with("/messages");
        let mut calls = self.calls.lock().unwrap();
        let ending = Ending(Arc::clone(&self.calls), calls.len());
        calls.push(Called { host: host.clone(), body, began: clock::now(), ended: None });
        drop(calls);
        let does = match self.does.lock().unwrap().get_mut(&*host) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => Does::Well,
        };
        async move {
            let (head_after, status, headers, parts) = match does {
                Does::Well if claude => (0, 200, vec![], vec![Part::Text(CLAUDE)]),
                Does::Well if stream => (0, 200, vec![("content-type", "text/event-stream")], well()),
                Does::Well => (0, 200, vec![], vec![Part::Text(ANSWER)]),
                Does::Refuses => return Err(SendError::Connect("refused".to_owned())),
                Does::Resets => return Err(SendError::Broken("reset".to_owned())),
                Does::Answers(after, status, headers, parts) => (after, status, headers, parts),
            };
            sleep(Duration::from_millis(head_after)).await;
            let body = futures::stream::iter(parts).filter_map(move |part| {
                // The stream holds it, so that its end is the call's end.
                let _ = &ending;
                async move {
                    match part {
                        Part::Text(text) => Some(Ok(Bytes::from(text))),
                        Part::Silence(time) => {
                            sleep(Duration::from_millis(time)).await;
                            None
                        }
                        Part::Reset => Some(Err(SendError::Broken("reset".to_owned()))),
                    }
                }
            });
            let body: ByteStream = Box::pin(body);
            let mut response = Response::builder().status(status).header("x-request-id", "up-1");
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                response = response.header("content-type", "application/json");
            }
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(body).unwrap())
        }
        .boxed()
    }
}

/// A stream to its end.
pub(crate) fn well() -> Vec<Part> {
    [ROLE, TEXT, STOP, USAGE, DONE].map(Part::Text).to_vec()
}

/// A gateway before its upstreams.
pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) hosts: Arc<Hosts>,
}

/// What a request came to.
pub(crate) struct Seen {
    pub(crate) got: Got,
    pub(crate) calls: Vec<Called>,
    /// How long it took, to the last byte.
    pub(crate) took: Duration,
    /// The log line, without what is the same for all or is no fact of the request.
    pub(crate) log: Value,
}

fn read_settings(yaml: &str) -> Settings {
    let document = Document::parse("test.yaml", yaml).map_err(|error| error.to_string()).unwrap();
    resolve(&document, &|_| None).map_err(|problems| problems.to_string()).unwrap().settings
}

impl World {
    pub(crate) fn new(yaml: &str, does: &[(&'static str, Vec<Does>)]) -> Self {
        let settings = read_settings(yaml);
        let hosts = Arc::new(Hosts { does: Mutex::new(does.iter().cloned().collect()), calls: Arc::default() });
        let upstream: Arc<dyn Upstream> = hosts.clone();
        Self { gateway: Gateway::new(settings, upstream, None, false), hosts }
    }

    /// Another configuration is taken up.
    pub(crate) fn reload(&self, yaml: &str) {
        self.gateway.reload(read_settings(yaml));
    }

    pub(crate) fn now(&self, host: &'static str, does: Does) {
        self.hosts.does.lock().unwrap().insert(host, vec![does]);
    }

    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Seen {
        self.ask_within(request, None).await
    }

    /// Asks, with so much time for the invocation.
    pub(crate) async fn ask_within(&self, mut request: Request<Full<Bytes>>, time: Option<Duration>) -> Seen {
        let (after, began) = (After::default(), clock::now());
        let call = Call {
            invocation_id: None,
            deadline: time.map(|time| began + time),
            exposure: Exposure::Loopback,
            signed: false,
            signer: None,
            after: Some(after.clone()),
            peer: None,
        };
        request.headers_mut().insert("x-request-id", "req-from-client".parse().unwrap());
        let before = self.hosts.calls.lock().unwrap().len();
        let mut got = read(self.gateway.handle(request, call).await).await;
        let took = clock::now() - began;
        let mut calls = self.hosts.calls.lock().unwrap().clone();
        let calls = calls.split_off(before);
        let records = after.records();
        assert_eq!(records.len(), 1, "one request is one record");
        let line = self.gateway.observer().line(&records[0]);
        after.run(self.gateway.observer()).await;
        let mut log: Value = serde_json::from_str(&line).unwrap();
        let fields = log.as_object_mut().unwrap();
        for name in ["timestamp", "level", "target", "message", "endpoint"] {
            fields.remove(name).unwrap();
        }
        assert_eq!(fields.remove("request_id").unwrap(), "req-from-client");
        tidy_headers(&mut got.headers, took);
        Seen { got, calls, took, log }
    }
}

/// Leaves the headers that say something of the attempts, each once, and checks the others.
fn tidy_headers(headers: &mut http::HeaderMap, took: Duration) {
    assert_eq!(headers.remove("x-request-id").unwrap(), "req-from-client");
    for name in ["request-id", "cache-control", "x-accel-buffering"] {
        headers.remove(name);
    }
    headers.remove("access-control-allow-origin");
    headers.remove("access-control-expose-headers");
    headers.remove("vary");
    let names: Vec<String> = headers.keys().map(ToString::to_string).collect();
    for name in &names {
        if let Some(short) = name.strip_prefix("x-litellm-") {
            let litellms = headers.remove(name.as_str()).unwrap();
            assert_eq!(headers[&format!("x-feathergate-{short}")], litellms, "one fact under both names");
        }
    }
    if headers.keys().all(|name| !name.as_str().starts_with("x-feathergate-")) {
        // Refused before anything was planned.
        return;
    }
    let mut millis = |name: &str| -> f64 { headers.remove(name).unwrap().to_str().unwrap().parse().unwrap() };
    let (duration, overhead) =
        (millis("x-feathergate-response-duration-ms"), millis("x-feathergate-overhead-duration-ms"));
    assert!(duration <= took.as_secs_f64() * 1e3 + 0.001, "{duration} of {took:?}");
    assert!(overhead.abs() < 0.001, "what passes on this clock is waiting, and none of it is ours: {overhead}");
}

impl Seen {
    /// The calls and the waits between them: `a(250) =2000 b` is a call of `a` that took 250 ms, two seconds' wait, and a call of
    /// `b` that took no time.
    pub(crate) fn path(&self) -> String {
        let mut out = String::new();
        for (at, call) in self.calls.iter().enumerate() {
            if at > 0 {
                let wait = self.waits()[at - 1];
                out.push(' ');
                if wait > 0 {
                    write!(out, "={wait} ").unwrap();
                }
            }
            out.push_str(&call.shown());
        }
        out
    }

    /// The waits between the calls, in milliseconds.
    pub(crate) fn waits(&self) -> Vec<u64> {
        let gaps = self.calls.windows(2).map(|pair| pair[1].began - pair[0].ended.expect("it is over"));
        gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap()).collect()
    }

    /// The headers that say something of the attempts, in alphabetical order.
    pub(crate) fn headers(&self) -> String {
        let mut all: Vec<String> = self
            .got
            .headers
            .iter()
            .map(|(name, value)| {
                format!("{}: {}", name.as_str().trim_start_matches("x-feathergate-"), value.to_str().unwrap())
            })
            .collect();
        all.sort_unstable();
        all.join(", ")
    }
}

impl Called {
    pub(crate) fn shown(&self) -> String {
        let took = self.ended.expect("it is over") - self.began;
        if took.is_zero() { self.host.clone() } else { format!("{}({})", self.host, took.as_millis()) }
    }
}
