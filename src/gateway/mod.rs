//! The service: a request in, an answer out, the same on every front.
//!
//! [`Gateway::handle`] finds the endpoint, lets the caller in, reads the body and hands it to the [`pipeline`]. It never
//! fails and never panics: a panic below it becomes a 500 in the caller's dialect.

mod account;
mod attempts;
pub mod auth;
mod caller;
mod candidates;
mod charge;
mod denied;
mod estimate;
mod finish;
mod gate;
mod keeper;
mod lease;
mod office;
mod overlay;
pub mod pages;
mod pieces;
pub mod pipeline;
mod prompts;
mod ratelimit;
mod receive;
mod redact;
pub mod refusal;
pub mod routes;
pub mod secrets;
mod send;
mod settling;
mod state;
pub mod tail;
mod telling;
mod twins;
mod wishes;

use std::fmt::Display;
use std::iter::repeat_with;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, try_join};
use futures::{FutureExt as _, TryFutureExt as _};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::admin::Access;
use crate::config::settings::Settings;
use crate::observe::clock::{self, Instant};
use crate::observe::{Observer, Record};
use crate::route::Millis;
use crate::route::health::{Cooling, SharedCooldowns};
use crate::store::StoreError;
use crate::upstream::Upstream;
use crate::wire::Wire;
use caller::Caller;
pub use finish::After;
use finish::{Finish, Open};
use gate::Pass;
pub use keeper::Keeper;
use overlay::Overlay;
use pieces::Pieces;
use refusal::Refusal;
use routes::Endpoint;
use secrets::{SecretSource, Secrets};
pub use state::State;
pub use tail::Body;

/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_mins(1);

/// The largest body that administration takes.
const ADMIN_BODY: usize = 1 << 20;

/// How long a request waits for what administrators have set.
const OVERLAY_TIME: Duration = Duration::from_secs(2);

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
    /// Whose signature it was, as an ARN.
    pub signer: Option<String>,
    /// The address that the connection came from, as far as it is known.
    pub peer: Option<IpAddr>,
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

/// The service.
pub struct Gateway {
    state: RwLock<Arc<State>>,
    /// The configuration's file, and what administrators have set beside it.
    base: Mutex<(Arc<Settings>, Overlay)>,
    upstream: Arc<dyn Upstream>,
    secrets: Secrets,
    observer: Observer,
    lambda: bool,
    shared_cooldowns: OnceLock<Arc<dyn SharedCooldowns>>,
    keeper: OnceLock<Arc<Keeper>>,
    /// The beginning that routing counts its milliseconds from.
    began: Instant,
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
        let settings = Arc::new(settings);
        Arc::new(Self {
            state: RwLock::new(Arc::new(State::new(Arc::clone(&settings), None))),
            base: Mutex::new((settings, Overlay::default())),
            upstream,
            secrets: Secrets::new(source),
            observer: Observer::new(lambda),
            lambda,
            shared_cooldowns: OnceLock::new(),
            keeper: OnceLock::new(),
            began: clock::now(),
        })
    }

    /// Tells `shared` of all cooldowns from now on. What it hears from other instances goes to [`hear`](Self::hear).
    pub fn share_cooldowns(&self, shared: Arc<dyn SharedCooldowns>) {
        // There is one store, and it is set once.
        let _ = self.shared_cooldowns.set(shared);
    }

    /// Keeps keys, limits and records in this store from now on.
    pub fn keep(&self, keeper: Arc<Keeper>) {
        // As with cooldowns.
        let _ = self.keeper.set(keeper);
    }

    /// The store, if there is one.
    #[must_use]
    pub fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.get()
    }

    /// Another instance left the deployment of this id alone, which holds here as well if it is known here.
    pub fn hear(&self, deployment: &str, cooling: Cooling) {
        if let Some(health) = self.state().health(deployment) {
            health.hear(self.millis(), cooling);
        }
    }

    /// The time, as routing counts it.
    pub(crate) fn millis(&self) -> Millis {
        // 0 is before everything.
        clock::millis(clock::now().duration_since(self.began)).saturating_add(1)
    }

    /// Takes up another configuration. Requests that are under way keep the one they began with; what was learned of deployments
    /// that stay is kept.
    pub fn reload(&self, settings: Settings) {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        base.0 = Arc::new(settings);
        self.renew(&base);
    }

    /// Puts a configuration into use. Who holds it is the only one to do so, and requests go on meanwhile.
    fn renew(&self, (settings, overlay): &(Arc<Settings>, Overlay)) {
        let state = Arc::new(State::new(overlay.over(settings), Some(&self.state())));
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Looks up what administrators have set, if it is time to, and puts it into use. Where that fails, what was known stays.
    async fn overlaid(&self) {
        let Some(keeper) = self.keeper().filter(|keeper| keeper.overlay_is_due()) else { return };
        let generation = keeper.generation();
        let found = timeout(OVERLAY_TIME, Overlay::fetch(keeper)).await;
        match found.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned()))) {
            Ok(overlay) => {
                let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
                if base.1 != overlay && keeper.generation() == generation {
                    base.1 = overlay;
                    self.renew(&base);
                }
            }
            Err(error) => tracing::warn!(%error, "prices and redirects of administrators are not looked up"),
        }
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
        let finish = Finish { gateway: Arc::clone(self), after: call.after.clone(), pass: Pass::default() };
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
        let address = state.gate.address(call, &head.headers);
        let mut body = pin!(body);
        let mut caller = Caller::default();
        let office = matches!(endpoint, Endpoint::Admin(..));
        if !endpoint.public() || office {
            let mut admitted = state.gate.allows(address);
            if (office || matches!(endpoint, Endpoint::Model(_))) && admitted.is_ok() {
                admitted = state.gate.knock(address);
                if admitted.is_err() {
                    drain(body.as_mut(), &head.headers, state.settings.max_request).await;
                }
            }
            if admitted.is_ok() && !endpoint.public() {
                // What a key may call are models; what it may ask of itself, and which models there are for it, is not for its
                // maker to narrow.
                let path = Some(head.uri.path()).filter(|_| matches!(endpoint, Endpoint::Model(_)));
                let who = (path, address);
                let (checked, ()) = join(auth::check(self, state, &head.headers, (call, who)), self.overlaid()).await;
                admitted = checked.map(|who| caller = who);
            }
            if let Err(refusal) = admitted {
                // `/health` tells strangers that we are here and nothing more.
                if endpoint == Endpoint::Health {
                    return quiet(open, pages::alive());
                }
                return open.refused(refusal, wire);
            }
        }
        // It may have changed by now.
        let state = &self.state();
        if matches!((&caller, &endpoint), (Caller::Session(_), Endpoint::Model(_))) {
            return open.refused(office::no_models(), wire);
        }
        // What is going on behind the models is none of a key holder's business.
        if caller.principal().is_some() && matches!(endpoint, Endpoint::Health | Endpoint::Metrics) {
            return match endpoint {
                Endpoint::Health => quiet(open, pages::alive()),
                _ => open.refused(office::not_an_administrator(), wire),
            };
        }
        if let Endpoint::Admin(access, _) = endpoint {
            let answer = self.administer(state, (&head, body), (access, &caller, address)).await;
            return match answer {
                Ok(response) => match office::class(response.status()) {
                    None => quiet(open, response),
                    Some(class) => open.failed(response, class),
                },
                Err(refusal) => open.refused(refusal, wire),
            };
        }
        let Endpoint::Model(task) = endpoint else {
            return match pages::page(self, state, &endpoint, (wire, call, &caller)) {
                Ok(response) => quiet(open, response),
                Err(refusal) => open.refused(refusal, wire),
            };
        };
        match admit(state, (&head.headers, body), (call, address, wire), &mut open).await {
            Ok(body) => {
                let request = pipeline::Request { state, task, headers: &head.headers, body, call, caller: &caller };
                pipeline::run(request, open).await
            }
            Err(refusal) => open.refused(refusal, wire),
        }
    }
}

impl Gateway {
    async fn administer<B>(
        &self,
        state: &State,
        (head, body): (&http::request::Parts, Pin<&mut B>),
        (access, caller, address): (Access, &Caller, Option<IpAddr>),
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let actor = office::actor(access, caller, state.settings.master_key.is_some())?;
        let body = read(body, &head.headers, ADMIN_BODY).await?;
        office::administer(self, state, (&head.method, &head.uri), (&body, &actor, address)).await
    }
}

/// Waits for a place, and reads the body meanwhile: a server notices that a client goes away only once it has its whole body.
/// Who gets no place is told before any of it is read.
async fn admit<B>(
    state: &State,
    (headers, mut body): (&HeaderMap, Pin<&mut B>),
    (call, address, wire): (&Call, Option<IpAddr>, Wire),
    open: &mut Open,
) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = state.settings.max_request;
    let Some((record, pass)) = open.parts() else { return Ok(Bytes::new()) };
    let started = clock::now();
    let until = call.bound(record.received + state.settings.timeout);
    let mut entered = false;
    let place = state.gate.enter(address, until, wire, pass).inspect_ok(|()| entered = true);
    let both = try_join(place, read(body.as_mut(), headers, limit)).await;
    record.waited += started.elapsed();
    let refused = match both {
        Ok(((), body)) => return Ok(body),
        Err(refused) => refused,
    };
    if !entered {
        drain(body, headers, limit).await;
    }
    Err(refused)
}

/// The client's id of the request if it is harmless, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    const NAME: HeaderName = HeaderName::from_static("x-request-id");
    let given = headers.get(NAME).and_then(|id| id.to_str().ok()).filter(|id| {
        (8..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    given.map_or_else(
        || {
            let (mut id, mut random) = (String::with_capacity(28), fastrand::Rng::new());
            id.push_str("req_");
            id.extend(repeat_with(|| random.digit(16)).take(24));
            id
        },
        str::to_owned,
    )
}

/// Reads on and throws away: a client that is still sending would see a reset instead of the answer.
async fn drain<B: http_body::Body<Data = Bytes>>(mut body: Pin<&mut B>, headers: &HeaderMap, limit: usize) {
    // A client that waits for leave to send gets the answer instead.
    if headers.contains_key("expect") {
        return;
    }
    let mut left = limit.saturating_mul(4);
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(DRAIN_TIME, drained).await;
}

async fn read<B>(mut body: Pin<&mut B>, headers: &HeaderMap, limit: usize) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let message = format!("the body is compressed (`content-encoding: {encoding}`); send it as it is");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_request", message));
    }
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
            drain(body, headers, limit).await;
            let message = format!("the body is larger than the {limit} bytes that this gateway takes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Ok(Err(refusal)) => Err(refusal),
    }
}

fn broken(error: &dyn Display) -> String {
    format!("the body broke off: {error}")
}
