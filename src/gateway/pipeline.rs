//! From a client's request to an upstream's answer: look into it, choose, prepare, send, and read
//! the answer up to the point where the status is certain.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::receive::{Outcome, receive};
use super::refusal::{Refusal, Way};
use super::send::{JSON, Sending, mock, send};
use super::tail::{Limits, Tail};
use super::{Body, Call, Gateway, Open, State};
use crate::config::settings::{Deployment, Group, ResponseModel};
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::route;
use crate::wire::direct::{self, Asked, Path};
use crate::wire::{self, ConvertError, Envelope, FailureKind, Loss, Operation, Prepared, Target, Task, Wire};

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
}

pub(super) type Refused = Box<Refusal>;

/// Answers.
pub(super) async fn run(request: Request<'_>, mut open: Open) -> Response<Body> {
    let settings = &request.state.settings;
    let gateway = Arc::clone(&open.finish.gateway);
    let Some(record) = open.record() else { return Response::new(Body::full("")) };
    if settings.log_bodies {
        record.request_body = Some(String::from_utf8_lossy(&request.body).into_owned());
    }
    let answer = match attempt(&request, record, &gateway).await {
        Ok(answer) => answer,
        Err(refusal) => return open.refused(*refusal, request.task.wire()),
    };
    let Some((mut record, finish)) = open.answered() else { return Response::new(Body::full("")) };
    record.status = 200;
    let (head, body) = match answer.outcome {
        Outcome::Whole { head, body } => {
            record.first_byte = Some(clock::now());
            if settings.log_bodies {
                record.response_body = Some(String::from_utf8_lossy(&body).into_owned());
            }
            finish.done(*record);
            (head, Body::full(body))
        }
        Outcome::Stream { head, tap, first, upstream } => {
            let limits =
                Limits { heartbeat: settings.heartbeat, idle: settings.idle_timeout, deadline: answer.deadline };
            let ways = (finish, settings.log_bodies);
            (head, Body::stream(Tail::new((answer.way, tap, first), upstream, limits, record, ways)))
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}

/// What an attempt comes to, when it succeeds.
struct Answer {
    outcome: Outcome,
    way: Way,
    deadline: Instant,
}

/// A request's body, looked into.
enum Looked<'a> {
    Chat(Envelope<'a>, Operation),
    Direct(Asked<'a>, Path),
}

impl<'a> Looked<'a> {
    fn new(request: &'a Request<'_>) -> Result<Self, Refused> {
        let looked = match request.task {
            Task::Chat(wire, operation) => wire::peek(wire, &request.body).map(|it| Self::Chat(it, operation)),
            Task::Direct(path) => {
                let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                direct::look(path, kind, &request.body).map(|it| Self::Direct(it, path))
            }
        };
        looked.map_err(|error| Box::new(error.into()))
    }

    fn model(&self) -> &str {
        match self {
            Self::Chat(envelope, _) => &envelope.model,
            Self::Direct(asked, _) => &asked.model,
        }
    }

    fn stream(&self) -> bool {
        match self {
            Self::Chat(envelope, operation) => envelope.stream && *operation == Operation::Generate,
            Self::Direct(asked, _) => asked.stream,
        }
    }
}

async fn attempt(request: &Request<'_>, record: &mut Record, gateway: &Gateway) -> Result<Answer, Refused> {
    let state = request.state;
    let looked = Looked::new(request)?;
    record.stream = looked.stream();
    let group = group(state, &looked)?;
    record.model_group = Some(group.name.clone());
    let deployment = choose(group, &looked)?;
    record.deployment = Some(deployment.id.clone());
    record.upstream = Some(if deployment.mock.is_some() { "mock" } else { deployment.vendor.name });
    record.upstream_model = Some(deployment.model.clone());
    let own = deployment.timeout.unwrap_or(state.settings.timeout);
    let deadline = request.call.bound(record.received + own);
    let way = Way { task: request.task, from: deployment.wire, vendor: deployment.vendor.name, converts: false };
    if let Looked::Chat(envelope, Operation::CountTokens) = &looked
        && deployment.wire == Wire::OpenAiChat
        && deployment.mock.is_none()
    {
        return Ok(Answer { outcome: guess(envelope)?, way, deadline });
    }
    let prepared = prepare(request, &looked, deployment).map_err(|error| Box::new(error.into()))?;
    record.losses.clone_from(&prepared.losses);
    let wait = deployment.stream_timeout.or(state.settings.stream_timeout).filter(|_| record.stream);
    let patience = wait.map_or(deadline, |wait| deadline.min(record.received + wait));
    let id = record.request_id.clone();
    let way = Way { converts: prepared.reply.converts(), ..way };
    let sending = Sending {
        request,
        deployment,
        stream: record.stream,
        deadline,
        patience,
        gateway,
        id: &id,
        way,
        betas: &prepared.betas,
    };
    let outcome = async {
        let (answer, key) = match &deployment.mock {
            Some(text) => (mock(&sending, text), None),
            None => send(&sending, prepared.body, record).await?,
        };
        receive(&sending, (answer, key), &prepared.reply, record).await
    };
    let mut outcome = match (outcome.await, &looked) {
        (Err(refusal), Looked::Chat(envelope, Operation::CountTokens)) if cannot_count(&refusal) => guess(envelope)?,
        (outcome, _) => outcome?,
    };
    if let Some(dropped) = dropped(&record.losses) {
        outcome.head().insert(DROPPED, dropped);
    }
    Ok(Answer { outcome, way, deadline })
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

fn group<'a>(state: &'a State, looked: &Looked<'_>) -> Result<&'a Group, Refused> {
    let model = looked.model();
    if let Some(group) = state.table.find(model).and_then(|place| state.settings.groups.get(place)) {
        return Ok(group);
    }
    if let Looked::Direct(Asked { unnamed: true, .. }, _) = looked {
        let message = format!(
            "`model` is missing; send the name of a model of this gateway. It has none called `{model}`, which is what a \
             request without one would mean"
        );
        return Err(Box::new(Refusal::bad_request(message).param("model")));
    }
    let shown: String = model.chars().take(200).collect();
    let hint = state.table.nearest(model).map_or_else(
        || "`GET /v1/models` lists them".to_owned(),
        |near| format!("did you mean `{near}`? `GET /v1/models` lists them all"),
    );
    let message = format!("there is no model `{shown}` here; {hint}");
    Err(Box::new(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).code("model_not_found").param("model")))
}

/// Chooses among the deployments that can do what is asked.
fn choose<'a>(group: &'a Group, looked: &Looked<'_>) -> Result<&'a Deployment, Refused> {
    let able: Vec<&Arc<Deployment>> = group.deployments.iter().filter(|deployment| can(deployment, looked)).collect();
    let weights: Vec<u32> = able.iter().map(|deployment| deployment.weight).collect();
    let chosen = route::pick(&weights, fastrand::u64(..)).and_then(|place| able.get(place));
    match (chosen, looked) {
        (Some(deployment), _) => Ok(deployment),
        (None, Looked::Direct(_, path)) => Err(unable(group, *path)),
        (None, Looked::Chat(..)) => Err(Box::new(Refusal::setup(format!("model `{}` has no deployment", group.name)))),
    }
}

fn can(deployment: &Deployment, looked: &Looked<'_>) -> bool {
    match looked {
        Looked::Chat(..) => true,
        Looked::Direct(asked, _) => deployment.mock.is_none() && asked.fits(deployment.wire),
    }
}

fn unable(group: &Group, path: Path) -> Refused {
    let mock = group.deployments.iter().any(|deployment| deployment.mock.is_some());
    let wire = group.deployments.first().map_or(Wire::OpenAiChat, |deployment| deployment.wire);
    let served = if mock { "made up here" } else { wire.title() };
    let message = format!(
        "model `{}` ({served}) cannot be called at `/v1{}`; use `/v1/chat/completions` or `/v1/messages`, or a model at an \
         OpenAI-compatible upstream",
        group.name,
        path.path()
    );
    Box::new(Refusal::bad_request(message).param("model").code("unsupported_endpoint"))
}

fn prepare(request: &Request<'_>, looked: &Looked<'_>, deployment: &Deployment) -> Result<Prepared, ConvertError> {
    let settings = &request.state.settings;
    let client = request.task.wire();
    let answer_as = (settings.response_model == ResponseModel::Alias).then_some(looked.model());
    let target = Target {
        // A made-up answer is made up in the client's dialect.
        wire: if deployment.mock.is_some() { client } else { deployment.wire },
        model: &deployment.model,
        profile: &deployment.profile,
        drop: &deployment.drop,
        defaults: &deployment.defaults,
        ask_usage: settings.stream_usage && deployment.vendor.stream_options && client == Wire::OpenAiChat,
        answer_as,
        on_loss: deployment.on_loss,
    };
    match looked {
        Looked::Chat(envelope, operation) => wire::prepare(envelope, &request.body, *operation, &target),
        Looked::Direct(asked, _) => asked.prepare(&request.body, &target),
    }
}
