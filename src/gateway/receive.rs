//! Reading an upstream's answer up to the point where the status is certain.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use memchr::memmem::{self, Finder};
use tokio::time::{timeout, timeout_at};

use super::pieces::Pieces;
use super::pipeline::Refused;
use super::ratelimit;
use super::send::{EVENT_STREAM, JSON, Sending};
use crate::config::secret::Secret;
use crate::observe::Record;
use crate::observe::clock;
use crate::upstream::ByteStream;
use crate::wire::{Pipe, ReplyPlan, Task};

/// The most that is read of an upstream's error.
const ERROR_LIMIT: usize = 1 << 20;
/// How long it may take.
const ERROR_TIME: Duration = Duration::from_secs(5);

/// An answer whose status is certain.
pub(super) enum Outcome {
    Whole { head: HeaderMap, body: Bytes },
    Stream { head: HeaderMap, tap: Pipe, first: Bytes, upstream: ByteStream, key: Hidden },
}

impl Outcome {
    pub(super) fn head(&mut self) -> &mut HeaderMap {
        match self {
            Self::Whole { head, .. } | Self::Stream { head, .. } => head,
        }
    }
}

/// Reads an answer: all of it, or a stream up to its first content. `key` is the one that it was asked for with.
pub(super) async fn receive(
    sending: &Sending<'_>,
    (answer, key): (Response<ByteStream>, Option<Secret>),
    plan: &ReplyPlan,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    let key = Hidden::new(key);
    match read(sending, answer, plan, record).await {
        Ok(Outcome::Stream { head, tap, first, upstream, .. }) => {
            Ok(Outcome::Stream { head, tap, first, upstream, key: key.for_stream() })
        }
        Ok(whole) => Ok(whole),
        Err(mut refusal) => {
            refusal.hide(&key);
            Err(refusal)
        }
    }
}

async fn read(
    sending: &Sending<'_>,
    answer: Response<ByteStream>,
    plan: &ReplyPlan,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    let (parts, mut body) = answer.into_parts();
    let status = parts.status;
    let encoding = parts.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(sending.senseless("the upstream compressed its answer although it was asked not to"));
    }
    if status.is_redirection() || status.is_informational() {
        let refusal = sending.senseless(format!(
            "the upstream answered with a redirect or no answer (status {status}), which is not followed"
        ));
        // It will do so again.
        return Err(Box::new(refusal.elsewhere()));
    }
    if !status.is_success() {
        // The status says enough if the words do not come.
        let started = clock::now();
        let words = timeout(ERROR_TIME, collect(sending, &mut body, ERROR_LIMIT)).await;
        record.waited += started.elapsed();
        let body = words.ok().and_then(Result::ok).unwrap_or_default();
        return Err(sending.failed(plan.failure(status.as_u16(), &body), Some(&parts.headers)));
    }
    let kind = parts.headers.get(CONTENT_TYPE).cloned();
    let is = |name: &str| kind.as_ref().and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains(name));
    if is("text/html") {
        return Err(sending.senseless(
            "the upstream answered with a web page; the operator of this gateway has to check its `api_base`",
        ));
    }
    let (json, events) = (is("json"), is("text/event-stream"));
    let direct = matches!(sending.request.task, Task::Direct(_));
    let mut head = HeaderMap::with_capacity(32);
    if let Some(id) = record.upstream_request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        head.insert("x-upstream-request-id", id);
    }
    let client = sending.request.task.wire();
    ratelimit::forward((sending.way.from, &parts.headers), (client, &mut head), clock::unix_millis());
    // What passes through is what the upstream says it is.
    let streamed = if direct { events && !plan.converts() } else { sending.stream && !json };
    if streamed {
        record.stream = true;
        // Of a stream that is converted nothing is left that its content-type could be about.
        let kind = kind.filter(|_| !plan.converts());
        head.insert(CONTENT_TYPE, kind.unwrap_or(EVENT_STREAM));
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would gather the events otherwise.
        head.insert("x-accel-buffering", HeaderValue::from_static("no"));
        return first_content(sending, plan, body, head, record).await;
    }
    if events {
        return Err(sending.senseless("the upstream answered with a stream although none was asked for"));
    }
    head.insert(CONTENT_TYPE, kind.filter(|_| !plan.converts()).unwrap_or(JSON));
    let started = clock::now();
    let whole = collect(sending, &mut body, sending.request.state.settings.max_response).await;
    record.waited += started.elapsed();
    let whole = whole?;
    if hides_failure(sending, &whole) {
        return Err(sending.hidden());
    }
    let reply =
        plan.whole(&whole, sending.stamp()).map_err(|failure| sending.failed(*failure, Some(&parts.headers)))?;
    if sending.stream && !direct {
        return Err(sending.senseless("the upstream answered a request for a stream without one"));
    }
    record.usage = reply.usage;
    Ok(Outcome::Whole { head, body: reply.body })
}

/// Whether what came with a success holds one of the operator's `error_patterns`.
fn hides_failure(sending: &Sending<'_>, bytes: &[u8]) -> bool {
    let patterns = &sending.request.state.settings.routing.error_patterns;
    patterns.iter().any(|pattern| memchr::memmem::find(bytes, pattern.as_bytes()).is_some())
}

/// A key that an upstream was called with. An error in which it, or a proxy before it, repeats the key must not carry it to a
/// client or into the log; nor must a stream, which may hold an error anywhere.
#[derive(Default)]
pub(super) struct Hidden {
    key: Option<Secret>,
    /// Looks for it in a stream, whose pieces are many.
    finder: Option<Box<Finder<'static>>>,
}

impl Hidden {
    fn new(key: Option<Secret>) -> Self {
        // What is shorter is a stand-in for servers that want no key, and may be any word of the text.
        let key = key.filter(|key| key.expose().len() >= 12);
        Self { key, finder: None }
    }

    /// The same, with the search set up once for many pieces.
    fn for_stream(self) -> Self {
        let finder = self.key.as_ref().map(|key| Box::new(Finder::new(key.expose().as_bytes()).into_owned()));
        Self { finder, ..self }
    }

    /// The same bytes, or others with `[key]` in its place.
    pub(super) fn hidden(&self, bytes: Bytes) -> Bytes {
        let Some(key) = &self.key else { return bytes };
        let found = match &self.finder {
            Some(finder) => finder.find(&bytes),
            None => memmem::find(&bytes, key.expose().as_bytes()),
        };
        if found.is_none() {
            return bytes;
        }
        String::from_utf8_lossy(&bytes).replace(key.expose(), "[key]").into()
    }

    /// The same text, or another with `[key]` in its place.
    pub(super) fn hidden_in(&self, text: String) -> String {
        match &self.key {
            Some(key) if text.contains(key.expose()) => text.replace(key.expose(), "[key]"),
            _ => text,
        }
    }
}

async fn collect(sending: &Sending<'_>, body: &mut ByteStream, limit: usize) -> Result<Bytes, Refused> {
    let mut pieces = Pieces::default();
    let collected = async {
        while let Some(chunk) = body.next().await {
            if !pieces.push(chunk.map_err(|error| sending.broken(&error))?, 0, limit) {
                return Err(sending.senseless(format!("the upstream's answer is larger than {limit} bytes")));
            }
        }
        Ok(())
    };
    timeout_at(sending.deadline, collected).await.map_err(|_| sending.late("did not finish its answer"))??;
    Ok(pieces.whole())
}

/// Reads a stream up to its first content: until then an error is still a status.
async fn first_content(
    sending: &Sending<'_>,
    plan: &ReplyPlan,
    mut upstream: ByteStream,
    head: HeaderMap,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    let settings = &sending.request.state.settings;
    let patience = sending.patience;
    let early: Option<Duration> = settings.heartbeat.filter(|_| settings.early_heartbeat);
    let early = early.map(|heartbeat| clock::now() + heartbeat).filter(|early| *early < patience);
    let mut tap = plan.stream(sending.stamp());
    let mut seen = Vec::new();
    let first = loop {
        // A busy upstream would never let the timeout below see the clock.
        if clock::now() >= patience {
            return Err(sending.late("did not begin its answer"));
        }
        let started = clock::now();
        let next = timeout_at(early.unwrap_or(patience), upstream.next()).await;
        record.waited += started.elapsed();
        match next {
            Ok(Some(Ok(chunk))) => {
                if !sending.request.state.settings.routing.error_patterns.is_empty() {
                    // A pattern may come in two pieces.
                    seen.extend_from_slice(&chunk);
                    if hides_failure(sending, &seen) {
                        return Err(sending.hidden());
                    }
                }
                let out = tap.push(chunk);
                if tap.committed() {
                    break out;
                }
                if let Some(failure) = tap.failure() {
                    return Err(sending.failed(failure.clone(), None));
                }
            }
            Ok(Some(Err(error))) => return Err(sending.broken(&error)),
            Ok(None) => {
                let tally = tap.finish(None);
                if let Some(failure) = tally.failure {
                    return Err(sending.failed(failure, None));
                }
                record.usage = tally.usage;
                return Ok(Outcome::Whole { head, body: tally.bytes });
            }
            // Silence, and the operator prefers a certain 200 to a proxy that gives up.
            Err(_) if early.is_some() => break Bytes::from_static(b": keep-alive\n\n"),
            Err(_) => return Err(sending.late("did not begin its answer")),
        }
    };
    Ok(Outcome::Stream { head, tap, first, upstream, key: Hidden::default() })
}
