//! From a client's request to an upstream's answer: look into it, choose, prepare, send, and read the answer up to the point
//! where the status is certain.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::{timeout, timeout_at};

use super::pieces::Pieces;
use super::refusal::Refusal;
use super::tail::{Limits, Tail};
use super::{Body, Call, Gateway, Open, State};
use crate::config::secret::{Secret, Text, describe};
use crate::config::settings::{Deployment, ExtraHeader, Group, ResponseModel};
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::upstream::host::{self, Resolved};
use crate::upstream::{ByteStream, SendError};
use crate::wire::mock::Mock;
use crate::wire::{self, Envelope, Failure, FailureKind, Operation, ReplyPlan, Tap, Target, Wire};
use crate::{route, wire::ConvertError};

/// The most that is read of an upstream's error.
const ERROR_LIMIT: usize = 1 << 20;
/// How long it may take.
const ERROR_TIME: Duration = Duration::from_secs(5);
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A model request whose caller was let in.
pub(super) struct Request<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) wire: Wire,
    pub(super) operation: Operation,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) call: &'a Call,
}

/// What an attempt comes to, when it succeeds.
#[expect(clippy::large_enum_variant, reason = "there is one for each request, and it moves once")]
enum Outcome {
    Whole { head: HeaderMap, body: Bytes },
    Stream { head: HeaderMap, tap: Tap, first: Bytes, upstream: ByteStream },
}

/// Answers.
pub(super) async fn run(request: Request<'_>, mut open: Open) -> Response<Body> {
    let settings = &request.state.settings;
    let gateway = Arc::clone(&open.finish.gateway);
    let Some(record) = open.record() else { return Response::new(Body::full("")) };
    if settings.log_bodies {
        record.request_body = Some(String::from_utf8_lossy(&request.body).into_owned());
    }
    let (outcome, deadline) = match attempt(&request, record, &gateway).await {
        Ok(outcome) => outcome,
        Err(refusal) => return open.refused(*refusal, request.wire),
    };
    let Some((mut record, finish)) = open.answered() else { return Response::new(Body::full("")) };
    record.status = 200;
    let (head, body) = match outcome {
        Outcome::Whole { head, body } => {
            record.first_byte = Some(clock::now());
            if settings.log_bodies {
                record.response_body = Some(String::from_utf8_lossy(&body).into_owned());
            }
            finish.done(*record);
            (head, Body::full(body))
        }
        Outcome::Stream { head, tap, first, upstream } => {
            let limits = Limits { heartbeat: settings.heartbeat, idle: settings.idle_timeout, deadline };
            let ways = (finish, settings.log_bodies);
            (head, Body::stream(Tail::new((request.wire, tap, first), upstream, limits, record, ways)))
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}

type Refused = Box<Refusal>;

async fn attempt(request: &Request<'_>, record: &mut Record, gateway: &Gateway) -> Result<(Outcome, Instant), Refused> {
    let state = request.state;
    let envelope = wire::peek(request.wire, &request.body).map_err(|error| Box::new(error.into()))?;
    record.stream = envelope.stream && request.operation == Operation::Generate;
    let group = group(state, &envelope)?;
    let weights: Vec<u32> = group.deployments.iter().map(|deployment| deployment.weight).collect();
    let chosen = route::pick(&weights, fastrand::u64(..)).and_then(|place| group.deployments.get(place));
    let Some(deployment) = chosen else {
        return Err(Box::new(Refusal::setup(format!("model `{}` has no deployment", group.name))));
    };
    record.model_group = Some(group.name.clone());
    record.deployment = Some(deployment.id.clone());
    record.upstream = Some(if deployment.mock.is_some() { "mock" } else { deployment.vendor.name });
    record.upstream_model = Some(deployment.model.clone());
    let prepared = prepare(request, &envelope, deployment).map_err(|error| Box::new(error.into()))?;
    record.dropped.clone_from(&prepared.dropped);
    let own = deployment.timeout.unwrap_or(state.settings.timeout);
    let deadline = request.call.bound(record.received + own);
    let wait = deployment.stream_timeout.or(state.settings.stream_timeout).filter(|_| record.stream);
    let patience = wait.map_or(deadline, |wait| deadline.min(record.received + wait));
    let sending = Sending { request, deployment, stream: record.stream, deadline, patience, gateway };
    let answer = match &deployment.mock {
        Some(text) => mock(&sending, text, &record.request_id),
        None => send(&sending, prepared.body, record).await?,
    };
    let mut outcome = receive(&sending, answer, &prepared.reply, record).await?;
    let (Outcome::Whole { head, .. } | Outcome::Stream { head, .. }) = &mut outcome;
    if let Ok(dropped) = HeaderValue::from_str(&record.dropped.join(","))
        && !record.dropped.is_empty()
    {
        head.insert("x-feathergate-dropped", dropped);
    }
    Ok((outcome, deadline))
}

fn group<'a>(state: &'a State, envelope: &Envelope<'_>) -> Result<&'a Group, Refused> {
    if let Some(group) = state.table.find(&envelope.model).and_then(|place| state.settings.groups.get(place)) {
        return Ok(group);
    }
    let shown: String = envelope.model.chars().take(200).collect();
    let hint = state.table.nearest(&envelope.model).map_or_else(
        || "`GET /v1/models` lists them".to_owned(),
        |near| format!("did you mean `{near}`? `GET /v1/models` lists them all"),
    );
    let message = format!("there is no model `{shown}` here; {hint}");
    Err(Box::new(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).code("model_not_found").param("model")))
}

fn prepare(
    request: &Request<'_>,
    envelope: &Envelope<'_>,
    deployment: &Deployment,
) -> Result<wire::Prepared, ConvertError> {
    let settings = &request.state.settings;
    let answer_as = (settings.response_model == ResponseModel::Alias).then_some(&*envelope.model);
    let target = Target {
        // A made-up answer is made up in the client's dialect.
        wire: if deployment.mock.is_some() { request.wire } else { deployment.wire },
        model: &deployment.model,
        drop: &deployment.drop,
        defaults: &deployment.defaults,
        ask_usage: settings.stream_usage && deployment.vendor.stream_options && request.wire == Wire::OpenAiChat,
        answer_as,
    };
    wire::prepare(envelope, &request.body, request.operation, &target)
}

/// What the steps of one attempt share.
struct Sending<'a> {
    request: &'a Request<'a>,
    deployment: &'a Deployment,
    stream: bool,
    deadline: Instant,
    /// When the first content of a stream, or the whole of a buffered answer, has to be there.
    patience: Instant,
    gateway: &'a Gateway,
}

impl Sending<'_> {
    fn failed(&self, failure: Failure, headers: Option<&HeaderMap>) -> Refused {
        Box::new(Refusal::upstream(failure, self.deployment.vendor.name, &self.deployment.group, headers))
    }

    fn broken(&self, error: &SendError) -> Refused {
        self.failed(Failure::new(FailureKind::Unreachable, 502, error.to_string()), None)
    }

    fn late(&self, what: &str) -> Refused {
        self.failed(Failure::new(FailureKind::Timeout, 504, format!("the upstream {what} in time")), None)
    }
}

fn mock(sending: &Sending<'_>, text: &str, request_id: &str) -> Response<ByteStream> {
    let mock = Mock {
        id: request_id.strip_prefix("req_").unwrap_or(request_id),
        model: &sending.deployment.model,
        text,
        created: clock::unix_millis() / 1000,
        request_bytes: sending.request.body.len(),
    };
    let (kind, chunks) = if sending.request.operation == Operation::CountTokens {
        (JSON, vec![mock.count()])
    } else if sending.stream {
        (EVENT_STREAM, mock.stream(sending.request.wire))
    } else {
        (JSON, vec![mock.whole(sending.request.wire)])
    };
    let body: ByteStream = Box::pin(futures::stream::iter(chunks.into_iter().map(Ok)));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sends, and once more with a new key where Parameter Store has one after the upstream refused the old.
async fn send(sending: &Sending<'_>, body: Bytes, record: &mut Record) -> Result<Response<ByteStream>, Refused> {
    let mut to = resolve(sending, record).await?;
    let response = send_once(sending, &to, body.clone(), record).await?;
    let (Some(Text::Parameter(name)), Some(refused), StatusCode::UNAUTHORIZED) =
        (&sending.deployment.api_key, &to.key, response.status())
    else {
        return Ok(response);
    };
    let state = sending.request.state;
    let started = clock::now();
    let rotated = sending.gateway.secrets.rotated(name, refused, &state.parameters, state.settings.secret_ttl);
    let rotated = timeout_at(sending.deadline, rotated).await.ok().flatten();
    record.waited += started.elapsed();
    match rotated {
        Some(key) => {
            tracing::info!(parameter = name.as_str(), "the upstream refused the key; trying the one that replaced it");
            to.key = Some(key);
            send_once(sending, &to, body, record).await
        }
        None => Ok(response),
    }
}

async fn send_once(
    sending: &Sending<'_>,
    to: &Resolved,
    body: Bytes,
    record: &mut Record,
) -> Result<Response<ByteStream>, Refused> {
    let Request { operation, headers, .. } = *sending.request;
    let head = host::head(sending.deployment.wire, operation, sending.stream, to, headers).map_err(|why| {
        Box::new(Refusal::setup(format!("model `{}` cannot be called: {why}", sending.deployment.group)))
    })?;
    record.attempt += 1;
    let started = clock::now();
    let answer = timeout_at(sending.patience, sending.gateway.upstream.send(head.map(|()| body))).await;
    record.waited += started.elapsed();
    let answer = answer.map_err(|_| sending.late("did not answer"))?.map_err(|error| sending.broken(&error))?;
    let id = ["x-request-id", "request-id"].iter().find_map(|name| answer.headers().get(*name)?.to_str().ok());
    record.upstream_request_id = id.map(str::to_owned);
    Ok(answer)
}

/// Looks up what the deployment's entry refers to.
async fn resolve(sending: &Sending<'_>, record: &mut Record) -> Result<Resolved, Refused> {
    let deployment = sending.deployment;
    let started = clock::now();
    let resolved = async {
        let version = optional(sending, deployment.api_version.as_ref()).await?;
        let organization = optional(sending, deployment.organization.as_ref()).await?;
        let mut headers = Vec::with_capacity(deployment.extra_headers.len());
        for (name, value) in &deployment.extra_headers {
            headers.push((name.clone(), extra(sending, name, value).await?));
        }
        let base = look_up(sending, &deployment.api_base).await?;
        let base = match deployment.api_base {
            Text::Known(_) | Text::Unset(_) => base.expose().to_owned(),
            // What came from the file was checked when the file was loaded.
            Text::Parameter(_) => deployment.vendor.base_url(base.expose()).map_err(|why| {
                let from = describe(&deployment.api_base);
                Box::new(Refusal::setup(format!("model `{}` cannot be called: {from}: {why}", deployment.group)))
            })?,
        };
        Ok(Resolved {
            base,
            key: optional(sending, deployment.api_key.as_ref()).await?,
            version: version.map(|version| version.expose().to_owned()),
            organization: organization.map(|organization| organization.expose().to_owned()),
            headers,
        })
    };
    let resolved = resolved.await;
    if deployment.parameters().next().is_some() {
        record.waited += started.elapsed();
    }
    resolved
}

async fn optional(sending: &Sending<'_>, text: Option<&Text>) -> Result<Option<Secret>, Refused> {
    match text {
        Some(text) => look_up(sending, text).await.map(Some),
        None => Ok(None),
    }
}

async fn extra(sending: &Sending<'_>, name: &HeaderName, value: &ExtraHeader) -> Result<HeaderValue, Refused> {
    match value {
        ExtraHeader::Known(value) => Ok(value.clone()),
        ExtraHeader::Parameter(parameter) => {
            let text = look_up(sending, &Text::Parameter(parameter.clone())).await?;
            let mut value = HeaderValue::from_str(text.expose()).map_err(|_| {
                let why = format!("the value of its header `{name}` cannot stand in an HTTP header");
                Box::new(Refusal::setup(format!("model `{}` cannot be called: {why}", sending.deployment.group)))
            })?;
            value.set_sensitive(true);
            Ok(value)
        }
    }
}

async fn look_up(sending: &Sending<'_>, text: &Text) -> Result<Secret, Refused> {
    let state = sending.request.state;
    let why = match text {
        Text::Known(secret) => return Ok(secret.clone()),
        Text::Unset(_) => "is not set".to_owned(),
        Text::Parameter(name) => {
            let secrets = &sending.gateway.secrets;
            let wait = secrets.get(name, &state.parameters, state.settings.secret_ttl);
            match timeout_at(sending.deadline, wait).await {
                Ok(Ok(secret)) => return Ok(secret),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "could not be fetched in time".to_owned(),
            }
        }
    };
    let model = &sending.deployment.group;
    Err(Box::new(Refusal::setup(format!("model `{model}` cannot be called: {} {why}", describe(text)))))
}

async fn receive(
    sending: &Sending<'_>,
    answer: Response<ByteStream>,
    plan: &ReplyPlan,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    let (parts, mut body) = answer.into_parts();
    let status = parts.status;
    let encoding = parts.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let message = "the upstream compressed its answer although it was asked not to";
        return Err(sending.failed(Failure::new(FailureKind::Server, 502, message), None));
    }
    if status.is_redirection() || status.is_informational() {
        let message =
            format!("the upstream answered with a redirect or no answer (status {status}), which is not followed");
        return Err(sending.failed(Failure::new(FailureKind::Server, 502, message), None));
    }
    if !status.is_success() {
        // The status says enough if the words do not come.
        let words = collect(sending, &mut body, ERROR_LIMIT, record);
        let body = timeout(ERROR_TIME, words).await.ok().and_then(Result::ok).unwrap_or_default();
        return Err(sending.failed(plan.failure(status.as_u16(), &body), Some(&parts.headers)));
    }
    let kind = parts.headers.get(CONTENT_TYPE).cloned();
    let is = |name: &str| kind.as_ref().and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains(name));
    if is("text/html") {
        let message = "the upstream answered with a web page; the operator of this gateway has to check its `api_base`";
        return Err(sending.failed(Failure::new(FailureKind::Server, 502, message), None));
    }
    let json = is("json");
    let mut head = HeaderMap::with_capacity(8);
    if let Some(id) = record.upstream_request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        head.insert("x-upstream-request-id", id);
    }
    if sending.stream && !json {
        head.insert(CONTENT_TYPE, kind.unwrap_or(EVENT_STREAM));
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would gather the events otherwise.
        head.insert("x-accel-buffering", HeaderValue::from_static("no"));
        return first_content(sending, plan, body, head, record).await;
    }
    head.insert(CONTENT_TYPE, kind.unwrap_or(JSON));
    let whole = collect(sending, &mut body, sending.request.state.settings.max_response, record).await?;
    let reply = plan.whole(&whole).map_err(|failure| sending.failed(*failure, Some(&parts.headers)))?;
    if sending.stream {
        let message = "the upstream answered a request for a stream without one";
        return Err(sending.failed(Failure::new(FailureKind::Server, 502, message), None));
    }
    record.usage = reply.usage;
    Ok(Outcome::Whole { head, body: reply.body })
}

async fn collect(
    sending: &Sending<'_>,
    body: &mut ByteStream,
    limit: usize,
    record: &mut Record,
) -> Result<Bytes, Refused> {
    let started = clock::now();
    let mut pieces = Pieces::default();
    let collected = async {
        while let Some(chunk) = body.next().await {
            if !pieces.push(chunk.map_err(|error| sending.broken(&error))?, 0, limit) {
                let message = format!("the upstream's answer is larger than {limit} bytes");
                return Err(sending.failed(Failure::new(FailureKind::Server, 502, message), None));
            }
        }
        Ok(())
    };
    let collected = timeout_at(sending.deadline, collected).await;
    record.waited += started.elapsed();
    collected.map_err(|_| sending.late("did not finish its answer"))??;
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
    let started = clock::now();
    let mut tap = plan.stream();
    let first = loop {
        // A busy upstream would never let the timeout below see the clock.
        if clock::now() >= patience {
            return Err(sending.late("did not begin its answer"));
        }
        match timeout_at(early.unwrap_or(patience), upstream.next()).await {
            Ok(Some(Ok(chunk))) => {
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
    record.waited += started.elapsed();
    Ok(Outcome::Stream { head, tap, first, upstream })
}
