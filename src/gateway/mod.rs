//! The service: a request in, an answer out, the same on every front.
//!
//! [`Gateway::handle`] finds the endpoint, lets the caller in, reads the body and hands it to the [`pipeline`]. It never
//! fails and never panics: a panic below it becomes a 500 in the caller's dialect.

pub mod auth;
pub mod pages;
mod pieces;
pub mod pipeline;
mod ratelimit;
mod receive;
pub mod refusal;
pub mod routes;
pub mod secrets;
mod send;
pub mod tail;

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::config::secret::ParameterName;
use crate::config::settings::Settings;
use crate::observe::clock::{self, Instant};
use crate::observe::{Observer, Record};
use crate::route::Table;
use crate::upstream::Upstream;
use crate::wire::Wire;
use pieces::Pieces;
use refusal::Refusal;
use routes::Endpoint;
use secrets::{SecretSource, Secrets};
pub use tail::Body;

/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_mins(1);

/// How long the rest of a body that is too large is read and thrown away.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What a front knows about a request beside the request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Lambda's id of the invocation.
    pub invocation_id: Option<String>,
    /// When the answer has to be complete, with the time for a proper ending already taken off.
    pub deadline: Option<Instant>,
    /// Who can reach us.
    pub exposure: Exposure,
    /// AWS has checked the caller's signature.
    pub signed: bool,
    /// Where records wait until the client has its last byte; `None` gives them at once.
    pub after: Option<After>,
}

impl Call {
    /// `deadline`, or the invocation's own where that comes first.
    pub(crate) fn bound(&self, deadline: Instant) -> Instant {
        self.deadline.map_or(deadline, |hard| deadline.min(hard))
    }
}

/// Who can reach this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Programs on this machine.
    Loopback,
    /// Others.
    Public,
}

/// Work that waits until an invocation's answer is out.
#[derive(Clone, Debug, Default)]
pub struct After(Arc<Mutex<Vec<Record>>>);

impl After {
    fn push(&self, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// The answer that was made could not go out after all.
    pub fn failed(&self, status: u16, class: &'static str, why: &str) {
        for record in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            (record.status, record.error_class, record.error) = (status, Some(class), Some(why.to_owned()));
        }
    }

    /// Does the work.
    pub fn run(&self, observer: &Observer) {
        let records = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for record in &records {
            observer.emit(record);
        }
    }
}

/// Where a request's record goes when it is over.
#[derive(Clone)]
pub(crate) struct Finish {
    pub(crate) gateway: Arc<Gateway>,
    after: Option<After>,
}

impl Finish {
    pub(crate) fn done(&self, record: Record) {
        match &self.after {
            Some(after) => after.push(record),
            None => self.gateway.observer.emit(&record),
        }
    }
}

/// A request that is being worked on. If it is dropped before it has an answer, the log says so: on a server the client went
/// away, which cancels what was done for it; and a panic passes here on its way to the 500.
pub(crate) struct Open {
    record: Option<Box<Record>>,
    finish: Finish,
}

impl Open {
    /// Its record, while it has one.
    pub(crate) fn record(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// It has an answer: whoever takes the record gives it.
    pub(crate) fn answered(mut self) -> Option<(Box<Record>, Finish)> {
        let finish = self.finish.clone();
        self.record.take().map(|record| (record, finish))
    }

    /// Answers with a refusal and gives the record.
    pub(crate) fn refused(self, refusal: Refusal, wire: Wire) -> Response<Body> {
        let Some((mut record, finish)) = self.answered() else { return refusal.into_response(wire, "") };
        record.status = refusal.status.as_u16();
        record.error_class = Some(refusal.class);
        record.error = Some(refusal.message.clone());
        let response = refusal.into_response(wire, &record.request_id);
        finish.done(*record);
        response
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        let (status, class, why) = if std::thread::panicking() {
            (500, "panic", "the gateway's own code failed")
        } else {
            (499, "client_gone", "the client went away before the answer began")
        };
        (record.status, record.error_class, record.error) = (status, Some(class), Some(why.to_owned()));
        self.finish.done(*record);
    }
}

/// A configuration in use.
pub struct State {
    /// What it says.
    pub settings: Settings,
    /// Its model groups by name.
    pub table: Table,
    /// Its parameters, fetched together.
    pub parameters: Vec<ParameterName>,
    /// When it was taken up, in Unix seconds.
    pub since: u64,
}

impl State {
    fn new(settings: Settings) -> Self {
        let table = Table::new(settings.groups.iter().map(|group| group.name.as_str()));
        let parameters = settings.parameters();
        Self { settings, table, parameters, since: clock::unix_millis() / 1000 }
    }
}

/// The service.
pub struct Gateway {
    state: RwLock<Arc<State>>,
    upstream: Arc<dyn Upstream>,
    secrets: Secrets,
    observer: Observer,
    lambda: bool,
}

impl Gateway {
    /// A service over its parts. `lambda` says that this process is one Lambda instance among others.
    #[must_use]
    pub fn new(
        settings: Settings,
        upstream: Arc<dyn Upstream>,
        source: Option<Arc<dyn SecretSource>>,
        lambda: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(Arc::new(State::new(settings))),
            upstream,
            secrets: Secrets::new(source),
            observer: Observer::new(lambda),
            lambda,
        })
    }

    /// Takes up another configuration. Requests that are under way keep the one they began with.
    pub fn reload(&self, settings: Settings) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(State::new(settings));
    }

    /// The configuration in use.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sinks.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Answers a request.
    pub async fn handle<B>(self: &Arc<Self>, request: Request<B>, call: Call) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let state = self.state();
        let (head, body) = request.into_parts();
        let wire = routes::dialect(head.uri.path(), &head.headers);
        let id = request_id(&head.headers);
        let (method, origin) = (head.method.clone(), head.headers.get("origin").cloned());
        let answer = AssertUnwindSafe(self.answer(&state, head, body, &call, &id)).catch_unwind().await;
        let mut response = answer.unwrap_or_else(|_| {
            tracing::error!(request_id = id, "a request panicked");
            let message = "the gateway's own code failed; the request id helps to find out why";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", message).into_response(wire, &id)
        });
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            if wire == Wire::AnthropicMessages {
                headers.insert("request-id", id.clone());
            }
            headers.insert("x-request-id", id);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        pages::cors(&state.settings, origin.as_ref(), headers);
        if method == Method::HEAD {
            *response.body_mut() = Body::full(Bytes::new());
        }
        response
    }

    async fn answer<B>(
        self: &Arc<Self>,
        state: &Arc<State>,
        head: http::request::Parts,
        body: B,
        call: &Call,
        id: &str,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let wire = routes::dialect(head.uri.path(), &head.headers);
        let finish = Finish { gateway: Arc::clone(self), after: call.after.clone() };
        let endpoint = routes::find(&head.method, head.uri.path());
        let label = endpoint.as_ref().map_or("unknown", Endpoint::label);
        let mut record = Box::new(Record::begin(id.to_owned(), label));
        record.invocation_id.clone_from(&call.invocation_id);
        let mut open = Open { record: Some(record), finish };
        let endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(refusal) => return open.refused(refusal, wire),
        };
        // What is not a call of a model is not worth a line.
        let quiet = |open: Open, response| {
            drop(open.answered());
            response
        };
        if head.method == Method::OPTIONS {
            return quiet(open, pages::preflight(&state.settings, &head.headers));
        }
        if !endpoint.public()
            && let Err(refusal) = auth::check(self, state, &head.headers, call).await
        {
            // `/health` tells strangers that we are here and nothing more.
            if endpoint == Endpoint::Health {
                return quiet(open, pages::alive());
            }
            return open.refused(refusal, wire);
        }
        let Endpoint::Model(task) = endpoint else {
            return match pages::page(self, state, &endpoint, wire, call) {
                Ok(response) => quiet(open, response),
                Err(refusal) => open.refused(refusal, wire),
            };
        };
        let started = clock::now();
        let body = read(body, &head.headers, state.settings.max_request).await;
        if let Some(record) = open.record() {
            record.waited += started.elapsed();
        }
        match body {
            Ok(body) => {
                let request = pipeline::Request { state, task, headers: &head.headers, body, call };
                pipeline::run(request, open).await
            }
            Err(refusal) => open.refused(refusal, wire),
        }
    }
}

/// The client's id of the request if it is harmless, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    const NAME: HeaderName = HeaderName::from_static("x-request-id");
    let given = headers.get(NAME).and_then(|id| id.to_str().ok()).filter(|id| {
        (8..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    given.map_or_else(|| format!("req_{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..)), str::to_owned)
}

async fn read<B>(body: B, headers: &HeaderMap, limit: usize) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let message = format!("the body is larger than the {limit} bytes that this gateway takes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let message = format!("the body is compressed (`content-encoding: {encoding}`); send it as it is");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_request", message));
    }
    let mut body = pin!(body);
    let gathered = async {
        let mut pieces = Pieces::default();
        let mut fits = body.size_hint().lower() <= limit as u64;
        while fits && let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::bad_request(broken(&error.into())))?;
            let Ok(data) = frame.into_data() else { continue };
            let to_come = usize::try_from(body.size_hint().lower()).unwrap_or(0);
            fits = pieces.push(data, to_come, limit);
        }
        Ok(fits.then(|| pieces.whole()))
    };
    match timeout(BODY_TIME, gathered).await {
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => {
            // A client that is still sending would see a reset instead of the answer.
            let mut left = limit.saturating_mul(4);
            let drain = async {
                while let Some(Ok(frame)) = body.frame().await {
                    left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                    if left == 0 {
                        break;
                    }
                }
            };
            // A client that waits for leave to send gets the answer instead.
            if !headers.contains_key("expect") {
                let _ = timeout(DRAIN_TIME, drain).await;
            }
            Err(too_large())
        }
        Ok(Err(refusal)) => Err(refusal),
    }
}

fn broken(error: &dyn Display) -> String {
    format!("the body broke off: {error}")
}
