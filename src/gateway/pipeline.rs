//! From a client's request to its answer, and one attempt in between: prepare, send, and read the answer up to the point where
//! the status is certain. Which attempts are made is the business of `super::attempts`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::attempts::{self, Run};
use super::caller::Caller;
use super::keeper::ADMIT_TIME;
use super::lease::Lease;
use super::receive::{Outcome, receive};
use super::refusal::{Refusal, Way};
use super::send::{JSON, Sending, mock, send};
use super::tail::{Limits, Tail};
use super::{Body, Call, Open, State, telling};
use crate::config::settings::{Deployment, ResponseModel};
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::upstream::ByteStream;
use crate::wire::direct::{self, Asked, Path};
use crate::wire::text::Str;
use crate::wire::{
    self, ConvertError, Costs, Envelope, FailureKind, Loss, OnLoss, Operation, Prepared, Target, Task, Unsendable, Wire,
};

/// Says which fields of an answer are guesses of ours.
const ESTIMATED: HeaderName = HeaderName::from_static("x-feathergate-estimated");
const DROPPED: HeaderName = HeaderName::from_static("x-feathergate-dropped");

/// A model request whose caller was let in.
pub(super) struct Request<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) task: Task,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) call: &'a Call,
    pub(super) caller: &'a Caller,
}

pub(super) type Refused = Box<Refusal>;

/// Answers.
pub(super) async fn run(request: Request<'_>, mut open: Open) -> Response<Body> {
    let settings = &request.state.settings;
    let gateway = Arc::clone(&open.finish.gateway);
    let Some((record, pass)) = open.parts() else { return Response::new(Body::full("")) };
    let bodies = settings.log_bodies || settings.store.bodies;
    record.log_bodies = settings.log_bodies;
    if let Some(principal) = request.caller.principal() {
        record.key = Some(principal.key.id.clone());
        record.team.clone_from(&principal.key.team);
    }
    if bodies {
        record.request_body = Some(String::from_utf8_lossy(&request.body).into_owned());
    }
    let answer = match attempts::answer(&request, record, pass, &gateway).await {
        Ok(answer) => answer,
        Err(refusal) => return open.refused(*refusal, request.task.wire()),
    };
    let Some((mut record, mut finish)) = open.answered() else { return Response::new(Body::full("")) };
    record.status = 200;
    let (head, body) = match answer.outcome {
        Outcome::Whole { mut head, body } => {
            telling::say_cost(&mut head, record.cost());
            record.first_byte = Some(clock::now());
            if bodies {
                record.response_body = Some(String::from_utf8_lossy(&body).into_owned());
            }
            if let Some(lease) = answer.lease {
                lease.used(&record.usage);
            }
            finish.tell(request.task.wire(), &mut head);
            finish.done(*record);
            (head, Body::full(body))
        }
        Outcome::Stream { mut head, tap, first, upstream, key } => {
            finish.tell(request.task.wire(), &mut head);
            let limits =
                Limits { heartbeat: settings.heartbeat, idle: settings.idle_timeout, deadline: answer.deadline };
            (
                head,
                Body::stream(Tail::new(
                    (answer.way, tap, first),
                    upstream,
                    limits,
                    record,
                    (finish, bodies, answer.lease, key),
                )),
            )
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}

/// What an attempt comes to, when it succeeds.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    way: Way,
    deadline: Instant,
    /// What its deployment is told about the rest.
    pub(super) lease: Option<Lease>,
}

/// A request's body, looked into.
pub(super) enum Looked<'a> {
    Chat(Envelope<'a>, Operation),
    Direct(Asked<'a>, Path),
}

impl<'a> Looked<'a> {
    /// Looks into `body`, which is the request's or what became of it.
    pub(super) fn new(request: &'a Request<'_>, body: &'a Bytes) -> Result<Self, Refused> {
        let looked = match request.task {
            Task::Chat(wire, operation) => wire::peek(wire, body).map(|it| Self::Chat(it, operation)),
            Task::Direct(path) => {
                let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                direct::look(path, kind, body).map(|it| Self::Direct(it, path))
            }
        };
        looked.map_err(|error| Box::new(error.into()))
    }

    /// The fields of a body that is JSON.
    pub(super) fn fields(&self) -> Option<&Envelope<'a>> {
        match self {
            Self::Chat(envelope, _) => Some(envelope),
            Self::Direct(asked, _) => asked.fields(),
        }
    }

    /// The conversation's fields.
    pub(super) fn envelope(&self) -> Option<&Envelope<'a>> {
        match self {
            Self::Chat(envelope, _) => Some(envelope),
            Self::Direct(..) => None,
        }
    }

    pub(super) fn model(&self) -> &str {
        match self {
            Self::Chat(envelope, _) => &envelope.model,
            Self::Direct(asked, _) => &asked.model,
        }
    }

    pub(super) fn stream(&self) -> bool {
        match self {
            Self::Chat(envelope, operation) => envelope.stream && *operation == Operation::Generate,
            Self::Direct(asked, _) => asked.stream,
        }
    }
}

/// One attempt: `body`, which `looked` has looked into, goes to `deployment`.
pub(super) async fn attempt(
    run: &Run<'_>,
    looked: &Looked<'_>,
    body: &Bytes,
    deployment: &Deployment,
    record: &mut Record,
) -> Result<Answer, Refused> {
    let Run { request, gateway, own, .. } = run;
    let state = request.state;
    record.deployment = Some(deployment.id.clone());
    record.upstream = Some(if deployment.mock.is_some() { "mock" } else { deployment.vendor.name });
    record.upstream_model = Some(deployment.model.clone());
    record.price = Some(Arc::clone(&deployment.price));
    record.otherwise_priced = otherwise_priced(looked);
    // That of an attempt before.
    record.upstream_request_id = None;
    let started = clock::now();
    let share = deployment.timeout.unwrap_or(state.settings.timeout);
    let deadline = run.deadline.min(started + share);
    let way = Way { task: request.task, from: deployment.wire, vendor: deployment.vendor.name, converts: false };
    let done = |outcome| Answer { outcome, way, deadline, lease: None };
    if let Looked::Chat(envelope, Operation::CountTokens) = looked
        && deployment.wire == Wire::OpenAiChat
        && deployment.mock.is_none()
    {
        return Ok(done(guess(envelope)?));
    }
    let mut prepared = prepare(run, looked, body, deployment).map_err(|error| Box::new(error.into()))?;
    if state.settings.stream_cost && record.stream && !record.otherwise_priced {
        let price = Arc::clone(&deployment.price);
        let costs = Costs::new(move |usage| price.cost(usage).map(|cost| cost.to_string()));
        prepared.reply = prepared.reply.costed(costs);
    }
    // What the request says to the gateway itself is lost only where it was not heeded.
    let lost = prepared.losses.iter().filter(|loss| !own.fields.iter().any(|field| *field == *loss.field));
    record.losses = lost.chain(&own.losses).cloned().collect();
    let operators = deployment.stream_timeout.or(state.settings.stream_timeout);
    // A request can ask for less time than the operator gives it, and not for more.
    let wait = own.stream_timeout.into_iter().chain(operators).min();
    // While the store is asked the upstream cannot answer, and is not to blame.
    let grace = run.leave.as_ref().filter(|leave| leave.peek().is_none()).map_or(Duration::ZERO, |_| ADMIT_TIME);
    let patience = wait.filter(|_| record.stream).map_or(deadline, |wait| deadline.min(started + wait + grace));
    let id = record.request_id.clone();
    let way = Way { converts: prepared.reply.converts(), ..way };
    let sending = Sending {
        request,
        deployment,
        asked: &run.asked,
        stream: record.stream,
        deadline,
        patience,
        gateway,
        id: &id,
        way,
        betas: &prepared.betas,
        leave: run.leave.as_ref(),
    };
    let outcome = async {
        let (answer, key) = match &deployment.mock {
            Some(text) => (made_up(&sending, text, looked)?, None),
            None => send(&sending, prepared.body, record).await?,
        };
        receive(&sending, (answer, key), &prepared.reply, record).await
    };
    let mut outcome = match (outcome.await, looked) {
        (Err(refusal), Looked::Chat(envelope, Operation::CountTokens)) if cannot_count(&refusal) => guess(envelope)?,
        (outcome, _) => outcome?,
    };
    if let Some(dropped) = dropped(&record.losses) {
        outcome.head().insert(DROPPED, dropped);
    }
    Ok(Answer { outcome, way, deadline, lease: None })
}

/// The answer that `mock_response` says, or the failure that it names. Tokens can be counted all the same.
fn made_up(sending: &Sending<'_>, text: &str, looked: &Looked<'_>) -> Result<Response<ByteStream>, Refused> {
    match Refusal::made_up(text, &sending.way, sending.asked) {
        Some(refusal) if !matches!(looked, Looked::Chat(_, Operation::CountTokens)) => Err(Box::new(refusal)),
        Some(_) | None => Ok(mock(sending, text)),
    }
}

/// Whether the request asks for a way of being served with other prices than those that are known: `OpenAI`'s tiers, Anthropic's
/// fast mode and its regional inference (their price pages, 2026-11).
pub(super) fn otherwise_priced(looked: &Looked<'_>) -> bool {
    let Some(fields) = looked.fields() else { return false };
    let asks = |name: &str, wanted: &dyn Fn(&str) -> bool| {
        let text = fields.value(name).and_then(|value| serde_json::from_str::<Str<'_>>(value.get()).ok());
        text.is_some_and(|text| wanted(&text))
    };
    asks("service_tier", &|tier| matches!(tier, "flex" | "priority"))
        || asks("speed", &|speed| speed == "fast")
        || asks("inference_geo", &|place| place != "global")
}

/// A token count of our own, for an upstream that has none: clients that manage their context ask at every turn, and give up
/// managing it where nobody answers.
fn guess(envelope: &Envelope<'_>) -> Result<Outcome, Refused> {
    let tokens = wire::guess_tokens(envelope).map_err(|error| Box::new(error.into()))?;
    let mut head = HeaderMap::with_capacity(8);
    head.insert(CONTENT_TYPE, JSON);
    head.insert(ESTIMATED, HeaderValue::from_static("input_tokens"));
    Ok(Outcome::Whole { head, body: wire::guessed_body(tokens) })
}

/// Whether an upstream lacks the endpoint that counts, as servers that speak Anthropic's dialect often do. Anthropic itself says
/// `model: …` where it is the model that is missing.
fn cannot_count(refusal: &Refusal) -> bool {
    let missing = refusal.class == FailureKind::NotFound.label() && !refusal.message.starts_with("model:");
    missing || refusal.status == StatusCode::METHOD_NOT_ALLOWED
}

/// The fields that were lost, as a header.
fn dropped(losses: &[Loss]) -> Option<HeaderValue> {
    let fields: Vec<&str> = losses.iter().map(|loss| &*loss.field).collect();
    let text: String =
        fields.join(",").chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(2000).collect();
    HeaderValue::from_str(&text).ok().filter(|text| !text.is_empty())
}

fn prepare(
    run: &Run<'_>,
    looked: &Looked<'_>,
    body: &Bytes,
    deployment: &Deployment,
) -> Result<Prepared, ConvertError> {
    let settings = &run.request.state.settings;
    let client = run.request.task.wire();
    let answer_as = (settings.response_model == ResponseModel::Alias).then_some(run.asked.as_str());
    // What the request says to the gateway is not for the upstream.
    let both: Vec<String>;
    let drop = if run.own.fields.is_empty() {
        &deployment.drop
    } else {
        both = deployment.drop.iter().chain(&run.own.fields).cloned().collect();
        &both
    };
    let target = Target {
        // A made-up answer is made up in the client's dialect.
        wire: if deployment.mock.is_some() { client } else { deployment.wire },
        model: &deployment.model,
        profile: &deployment.profile,
        drop,
        defaults: &deployment.defaults,
        ask_usage: settings.stream_usage && deployment.vendor.stream_options && client == Wire::OpenAiChat,
        answer_as,
        on_loss: deployment.on_loss,
    };
    // What was asked of the gateway and is not done is a loss like any other.
    if let (OnLoss::Reject, Some(Loss { field, why })) = (deployment.on_loss, run.own.losses.first()) {
        let message = format!("`{field}` cannot be done: {why}");
        return Err(Unsendable { message, field: field.to_string() }.into());
    }
    match looked {
        Looked::Chat(envelope, operation) => wire::prepare(envelope, body, *operation, &target),
        Looked::Direct(asked, _) => asked.prepare(body, &target),
    }
}
