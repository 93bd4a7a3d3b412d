//! One call of an upstream: what its deployment refers to is looked up, the head is made, the request goes out.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::timeout_at;

use super::Gateway;
use super::pipeline::{Refused, Request};
use super::refusal::{Refusal, Way};
use crate::config::secret::{Secret, Text, describe};
use crate::config::settings::{Deployment, ExtraHeader};
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::upstream::host::{self, Ask, Resolved};
use crate::upstream::{ByteStream, Leave, SendError};
use crate::wire::mock::Mock;
use crate::wire::{Failure, FailureKind, Operation, Stamp, Task};

pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the steps of one attempt share.
pub(super) struct Sending<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) deployment: &'a Deployment,
    /// The model as the client named it.
    pub(super) asked: &'a str,
    pub(super) stream: bool,
    pub(super) deadline: Instant,
    /// When the first content of a stream, or the whole of a buffered answer, has to be there.
    pub(super) patience: Instant,
    pub(super) gateway: &'a Gateway,
    /// Our id of the request.
    pub(super) id: &'a str,
    pub(super) way: Way,
    /// The betas of Anthropic's that the body needs.
    pub(super) betas: &'a [&'static str],
    /// Leave to call, where that has to be waited for.
    pub(super) leave: Option<&'a Leave>,
}

impl Sending<'_> {
    pub(super) fn failed(&self, failure: Failure, headers: Option<&HeaderMap>) -> Refused {
        let now = clock::unix_millis();
        Box::new(Refusal::upstream(failure, &self.way, self.asked, headers, now))
    }

    /// The upstream answered with something that is no answer.
    pub(super) fn senseless(&self, message: impl Into<String>) -> Refused {
        self.given_up(Failure::new(FailureKind::Server, 502, message))
    }

    /// A failure of an attempt that its upstream may have answered, as far as it knows.
    fn given_up(&self, failure: Failure) -> Refused {
        let mut refusal = self.failed(failure, None);
        refusal.worked = true;
        refusal
    }

    /// The upstream answered with what the operator knows as a failure.
    pub(super) fn hidden(&self) -> Refused {
        self.senseless("the upstream's answer holds a text that `error_patterns` lists as a failure")
    }

    pub(super) fn broken(&self, error: &SendError) -> Refused {
        self.failed(Failure::new(FailureKind::Unreachable, 502, error.to_string()), None)
    }

    pub(super) fn stamp(&self) -> Stamp<'_> {
        Stamp { id: self.id, created: clock::unix_millis() / 1000 }
    }

    pub(super) fn late(&self, what: &str) -> Refused {
        self.given_up(Failure::new(FailureKind::Timeout, 504, format!("the upstream {what} in time")))
    }
}

pub(super) fn mock(sending: &Sending<'_>, text: &str) -> Response<ByteStream> {
    let mock = Mock {
        id: sending.id.strip_prefix("req_").unwrap_or(sending.id),
        model: &sending.deployment.model,
        text,
        created: clock::unix_millis() / 1000,
        request_bytes: sending.request.body.len(),
    };
    let task = sending.request.task;
    let (kind, chunks) = match task {
        Task::Chat(_, Operation::CountTokens) => (JSON, vec![mock.count()]),
        _ if sending.stream => (EVENT_STREAM, mock.stream(task.wire())),
        _ => (JSON, vec![mock.whole(task.wire())]),
    };
    let body: ByteStream = Box::pin(futures::stream::iter(chunks.into_iter().map(Ok)));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sends, and once more with a new key where Parameter Store has one after the upstream refused the old. Gives the answer and
/// the key it was got with.
pub(super) async fn send(
    sending: &Sending<'_>,
    body: Bytes,
    record: &mut Record,
) -> Result<(Response<ByteStream>, Option<Secret>), Refused> {
    let mut to = resolve(sending, record).await?;
    let response = send_once(sending, &to, body.clone(), record).await?;
    let (Some(Text::Parameter(name)), Some(refused), StatusCode::UNAUTHORIZED) =
        (&sending.deployment.api_key, &to.key, response.status())
    else {
        return Ok((response, to.key));
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
            let response = send_once(sending, &to, body, record).await?;
            Ok((response, to.key))
        }
        None => Ok((response, to.key)),
    }
}

async fn send_once(
    sending: &Sending<'_>,
    to: &Resolved,
    body: Bytes,
    record: &mut Record,
) -> Result<Response<ByteStream>, Refused> {
    let Sending { request, deployment, .. } = sending;
    let ask = Ask {
        wire: deployment.wire,
        model: &deployment.model,
        task: request.task,
        stream: sending.stream,
        betas: sending.betas,
    };
    let head = host::head(&ask, to, request.headers).map_err(|why| {
        Box::new(Refusal::setup(format!("model `{}` cannot be called: {why}", sending.asked)).elsewhere())
    })?;
    record.attempt += 1;
    let started = clock::now();
    let (upstream, request) = (&sending.gateway.upstream, head.map(|()| body));
    let sent = match sending.leave {
        Some(leave) => upstream.send_with(request, leave.clone()),
        None => upstream.send(request),
    };
    let answer = timeout_at(sending.patience, sent).await;
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
            Text::Known(_) | Text::Unset(_) => base,
            // What came from the file was checked when the file was loaded.
            Text::Parameter(_) => match deployment.vendor.base_url(base.expose()) {
                Ok(base) => Secret::new(&base),
                Err(why) => {
                    let why = format!("{}: {why}", describe(&deployment.api_base));
                    let refusal = Refusal::setup(format!("model `{}` cannot be called: {why}", sending.asked));
                    return Err(Box::new(refusal.elsewhere()));
                }
            },
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
                Box::new(Refusal::setup(format!("model `{}` cannot be called: {why}", sending.asked)).elsewhere())
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
    let model = sending.asked;
    Err(Box::new(Refusal::setup(format!("model `{model}` cannot be called: {} {why}", describe(text))).elsewhere()))
}
