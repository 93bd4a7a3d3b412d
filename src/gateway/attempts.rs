//! The attempts of one request: the [plan](crate::route::plan) says what is done next, and this does it, from group to group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::try_join;
use futures::{FutureExt as _, TryFutureExt as _};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::sleep;

use super::account::Slot;
use super::caller::{Caller, may_use};
use super::candidates::{self, Members};
use super::gate::{self, Pass};
use super::lease::{Lease, millis};
use super::pipeline::{Answer, Looked, Refused, Request, attempt};
use super::refusal::{Fate, Refusal};
use super::twins::{Twin, twin};
use super::wishes::Own;
use super::{Gateway, State, account, caller, prompts};
use crate::config::secret::Text;
use crate::config::settings::{Deployment, Group};
use crate::meter::Money;
use crate::observe::clock::{self, Instant};
use crate::observe::{FailedAttempt, Record};
use crate::route::balance::Shortage;
use crate::route::health::Failed;
use crate::route::plan::{Plan, Step};
use crate::upstream::Leave;
use crate::wire::direct::Asked;
use crate::wire::{Envelope, FailureKind};

/// One request on its way through groups and deployments.
pub(super) struct Run<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) own: Own,
    /// The model as the client named it: the only name that it is told of.
    pub(super) asked: String,
    /// When the answer has to be complete, whoever gives it.
    pub(super) deadline: Instant,
    /// When the request came, in Unix milliseconds.
    came: u64,
    plan: Plan<'a>,
    /// Leave to call upstreams, while the request is still being counted.
    pub(super) leave: Option<Leave>,
    /// Why there is no answer yet.
    last: Option<Refused>,
}

/// A group that takes the request.
struct Stage<'a> {
    /// What the client, or the list of fallbacks, calls it.
    name: String,
    group: &'a Group,
    /// Its place among the groups.
    place: usize,
    captured: Vec<String>,
    /// The body where it is not the client's own: the operator's system prompts are in it.
    body: Option<Bytes>,
}

/// What a group came to.
enum End {
    Answer(Box<Answer>),
    Fall(String),
    Stop(Option<Shortage>),
}

/// Answers `request`, be it with a refusal, and says in `record` what it took.
pub(super) async fn answer(
    request: &Request<'_>,
    record: &mut Record,
    pass: &mut Pass,
    gateway: &Arc<Gateway>,
) -> Result<Answer, Refused> {
    let state = request.state;
    let looked = Looked::new(request, &request.body)?;
    record.stream = looked.stream();
    let mut own = Own::read(request.headers, looked.fields(), state.settings.routing.mock_testing)?;
    let mut tags = own.tags.clone();
    if let Some(principal) = request.caller.principal().filter(|principal| !principal.key.tags.is_empty()) {
        // Where a key has tags, its holder cannot get at deployments of other ones.
        own.tags.clone_from(&principal.key.tags);
        tags.splice(..0, own.tags.iter().cloned());
    }
    let untagged = looked.fields().and_then(|fields| fields.without_tags(&request.body));
    let untagged = untagged.map(|body| Request { body, ..*request });
    let request = untagged.as_ref().unwrap_or(request);
    let looked = if untagged.is_some() { Looked::new(request, &request.body)? } else { looked };
    let asked = looked.model().to_owned();
    let group = state.table.find(&asked).and_then(|place| state.settings.groups.get(place));
    let deadline = request.call.bound(record.received + total(state, group, own.timeout));
    // A client that names its own fallbacks could get at any model else.
    let wished = own.plan.fallbacks.iter().flatten();
    if let Some(name) = wished.into_iter().find(|name| !may_use(state, request.caller, name)) {
        return Err(Box::new(caller::no_model(name)));
    }
    if !may_use(state, request.caller, &asked) {
        return Err(Box::new(caller::no_model(&asked)));
    }
    if let Some(group) = group {
        record.model_group = Some(group.name.clone());
        gate::model(request, (&group.name, &asked), deadline, record, pass).await?;
    }
    let time = millis(deadline.saturating_duration_since(clock::now()));
    let counted = |group| account::Asked { request, gateway, looked: &looked, group, time, tags: &tags };
    let counted = group.map(counted);
    let opening = counted.as_ref().map(|counted| counted.begin(record)).transpose()?.flatten();
    let plan = Plan::new(&state.router, own.plan.clone());
    let mut run =
        Run { request, gateway, own, asked, deadline, came: clock::unix_millis(), plan, leave: None, last: None };
    let answer = match counted.as_ref().zip(opening) {
        None => run.groups(&looked, record, pass).await,
        Some((counted, opening)) => {
            let slot = pass.account.insert(Slot::default()).clone();
            if opening.overlaps() {
                // Both ways are made at the same time: that to the store, and that to the upstream.
                let (give, leave) = oneshot::channel();
                run.leave = Some(leave.shared());
                let admitted = counted.admit(opening, &slot).map_ok(|()| _ = give.send(()));
                let work = run.groups(&looked, record, pass).map(Ok);
                match try_join(admitted, work).await {
                    Ok(((), answer)) => answer,
                    Err(refused) => {
                        // Nobody was called.
                        (record.attempt, record.deployment, record.upstream) = (0, None, None);
                        (record.wasted, pass.account) = (0, None);
                        return Err(refused);
                    }
                }
            } else {
                if let Err(refused) = counted.admit(opening, &slot).await {
                    pass.account = None;
                    return Err(refused);
                }
                run.groups(&looked, record, pass).await
            }
        }
    };
    run.told(answer, record)
}

/// The time for the whole request: the general one, or that of the group's slowest deployment where the operator gives it more,
/// as in litellm; or less, where the request asks for less.
fn total(state: &State, group: Option<&Group>, wish: Option<Duration>) -> Duration {
    let own = group.into_iter().flat_map(|group| &group.deployments).filter_map(|deployment| deployment.timeout);
    let most = own.fold(state.settings.timeout, Duration::max);
    wish.map_or(most, |wish| wish.min(most))
}

impl<'a> Run<'a> {
    async fn groups(&mut self, looked: &Looked<'_>, record: &mut Record, pass: &mut Pass) -> Result<Answer, Refused> {
        let mut stage = self.first(looked, record);
        loop {
            let end = match stage {
                Some(stage) => self.within(&stage, looked, record).await?,
                None => self.onward(),
            };
            let name = match end {
                End::Answer(answer) => return Ok(*answer),
                End::Fall(next) => next,
                End::Stop(shortage) => return Err(self.nothing_left(shortage)),
            };
            stage = self.fall_back(&name, looked, record, pass).await;
            record.fallbacks = self.plan.fell_back();
        }
    }

    /// Enters the group that the client asked for.
    fn first(&mut self, looked: &Looked<'_>, record: &mut Record) -> Option<Stage<'a>> {
        let name = self.asked.clone();
        let state = self.request.state;
        let Some(group) = state.table.find(&name).and_then(|place| state.settings.groups.get(place)) else {
            self.last = Some(unknown(state, self.request.caller, looked));
            self.plan.unknown(&name);
            return None;
        };
        let group = &group.name;
        if let Some(kind) = self.own.mock {
            self.last = Some(Box::new(mocked(kind)));
            self.plan.refuse(&name, group, kind);
            return None;
        }
        match self.enter(&name, looked, record) {
            Ok(stage) => stage,
            Err(refusal) => {
                self.plan.refuse(&name, group, refusal.kind().unwrap_or(FailureKind::BadRequest));
                self.last = Some(refusal);
                None
            }
        }
    }

    /// Enters a group that stands in for one before. One that cannot take the request, or has had as many as it may, is passed
    /// over for its own fallbacks: why the first group gave no answer says more.
    async fn fall_back(
        &mut self,
        name: &str,
        looked: &Looked<'_>,
        record: &mut Record,
        pass: &mut Pass,
    ) -> Option<Stage<'a>> {
        let state = self.request.state;
        let group = state.table.resolve(name).and_then(|found| state.settings.groups.get(found.group))?;
        // What stands in for a model that nobody knows is not for who may not use it; what stands in for one that fails is.
        if state.table.find(&self.asked).is_none() && !may_use(state, self.request.caller, name) {
            self.plan.refuse(name, &group.name, FailureKind::NotFound);
            return None;
        }
        let counted = async {
            gate::model(self.request, (&group.name, &self.asked), self.deadline, record, pass).await?;
            if let Some(leave) = &self.leave {
                let _ = leave.clone().await;
            }
            let (request, gateway, tags) = (self.request, self.gateway, &self.own.tags);
            let counted = account::Asked { request, gateway, looked, group, time: self.left(), tags };
            counted.fall_back(&mut pass.account, record).await
        };
        match counted.await.and_then(|()| self.enter(name, looked, record)) {
            Ok(stage) => stage,
            Err(refusal) => {
                self.plan.refuse(name, &group.name, refusal.kind().unwrap_or(FailureKind::NotFound));
                None
            }
        }
    }

    /// Makes the group that `name` means the present one. `None` if nobody knows it.
    fn enter(&mut self, name: &str, looked: &Looked<'_>, record: &Record) -> Result<Option<Stage<'a>>, Refused> {
        let state = self.request.state;
        let Some(found) = state.table.resolve(name) else { return Ok(None) };
        let Some(group) = state.settings.groups.get(found.group) else { return Ok(None) };
        let members = Members::of(group, &found);
        let alone = self.plan.alone(name, &group.name);
        let able = candidates::able(&state.settings.routing, &self.own, looked, &members, alone)?;
        let body = self.prompted(group, looked, record)?;
        self.plan.enter(name, found.group, able.best(members.all.len()));
        able.rest().for_each(|member| self.plan.spare(member));
        let name = name.to_owned();
        Ok(Some(Stage { name, group, place: found.group, captured: found.captured, body }))
    }

    /// The body with the operator's system prompts for this group in it, if there are any.
    fn prompted(&self, group: &Group, looked: &Looked<'_>, record: &Record) -> Result<Option<Bytes>, Refused> {
        let Some(envelope) = looked.envelope() else { return Ok(None) };
        let facts = prompts::Facts {
            headers: self.request.headers,
            request_id: &record.request_id,
            now: self.came,
            principal: self.request.caller.principal().map(Arc::as_ref),
        };
        let all = &self.request.state.settings.prompts;
        prompts::applied(all, &group.name, (envelope, &self.request.body), &facts).map_err(Box::new)
    }

    /// What the plan says where there is no group to try.
    fn onward(&mut self) -> End {
        match self.plan.next(None, self.gateway.millis(), self.left(), fastrand::u64(..)) {
            Step::Fall(name) => End::Fall(name),
            Step::Stop(shortage) => End::Stop(shortage),
            Step::Try { .. } => End::Stop(None),
        }
    }

    /// Tries the deployments of a group.
    async fn within(&mut self, stage: &Stage<'a>, looked: &Looked<'_>, record: &mut Record) -> Result<End, Refused> {
        let body = stage.body.as_ref().unwrap_or(&self.request.body);
        let changed = stage.body.as_ref().map(|body| Looked::new(self.request, body)).transpose()?;
        let looked = changed.as_ref().unwrap_or(looked);
        let mut failed = None;
        loop {
            let (now, left) = (self.gateway.millis(), self.left());
            // One that was not called in the end changes nothing of how the last one failed.
            let (member, wait) = match self.plan.next(failed, now, left, fastrand::u64(..)) {
                Step::Try { member, wait } => (member, wait),
                Step::Fall(name) => return Ok(End::Fall(name)),
                Step::Stop(shortage) => return Ok(End::Stop(shortage)),
            };
            record.retries = self.plan.retried();
            if wait > 0 {
                let wait = Duration::from_millis(wait);
                sleep(wait).await;
                record.waited += wait;
            }
            let Some(deployment) = stage.group.deployments.get(member) else { return Ok(End::Stop(None)) };
            if self.left() == 0 {
                return Err(self.last.take().unwrap_or_else(|| Box::new(too_late())));
            }
            let Some(lease) = Lease::begin(self.gateway, self.request.state, (stage.place, member)) else {
                self.plan.missed(member);
                continue;
            };
            let deployment = deployment.concrete(&stage.captured);
            let calls = record.attempt;
            let outcome = attempt(self, looked, body, &deployment, record).await;
            record.wasted += outcome.as_ref().err().map_or(0, |why| u32::from(why.worked && record.attempt > calls));
            match outcome {
                Ok(mut answer) => {
                    // What was answered without a call says nothing of the upstream.
                    if record.attempt > calls {
                        lease.succeeded();
                    }
                    if self.plan.fell_back() > 0 {
                        record.fallback_group = Some(stage.group.name.clone());
                    }
                    self.say_who(answer.outcome.head(), &deployment, &stage.name);
                    answer.lease = Some(lease);
                    return Ok(End::Answer(Box::new(answer)));
                }
                Err(refusal) => match refusal.fate {
                    Fate::Final => return Err(refusal),
                    Fate::Unfit => {
                        self.plan.unfit(member);
                        self.last.get_or_insert(refusal);
                    }
                    Fate::Failed(how) => {
                        if !(self.hurried(&how, &lease, &deployment, record.stream) || of_request(&how, stage, looked))
                        {
                            lease.failed(&how);
                        }
                        record.failures.push(FailedAttempt {
                            deployment: deployment.id.clone(),
                            status: how.status,
                            class: how.kind.label(),
                        });
                        self.last = Some(refusal);
                        failed = Some(how);
                    }
                },
            }
        }
    }

    /// Whether an attempt that took too long had less time than the operator gives it: its request asked for less, or had spent
    /// the rest elsewhere. That says nothing of the deployment.
    fn hurried(&self, how: &Failed, lease: &Lease, deployment: &Deployment, stream: bool) -> bool {
        let settings = &self.request.state.settings;
        let whole = deployment.timeout.unwrap_or(settings.timeout);
        let first = deployment.stream_timeout.or(settings.stream_timeout).filter(|_| stream);
        how.kind == FailureKind::Timeout
            && how.status == 504
            && lease.elapsed() < first.map_or(whole, |first| first.min(whole))
    }

    /// The milliseconds that the request has.
    fn left(&self) -> u64 {
        millis(self.deadline.saturating_duration_since(clock::now()))
    }

    /// The answer where nothing is left to try.
    fn nothing_left(&mut self, shortage: Option<Shortage>) -> Refused {
        if let Some(last) = self.last.take() {
            return last;
        }
        let Some(Shortage { soonest, reason, full }) = shortage else {
            return Box::new(Refusal::setup(format!("model `{}` has no deployment that can be called", self.asked)));
        };
        let seconds = soonest.map_or(1, |at| at.saturating_sub(self.gateway.millis()).div_ceil(1000).max(1));
        let limited = full || reason == FailureKind::RateLimited;
        let (status, kind) = if limited {
            (StatusCode::TOO_MANY_REQUESTS, FailureKind::RateLimited)
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, FailureKind::Overloaded)
        };
        let why = if full {
            "is at the limits that the operator set".to_owned()
        } else {
            format!("is not called for a while after failures (the last: {})", reason.label())
        };
        let message = format!("model `{}` {why}; try again in {seconds} s", self.asked);
        let mut refusal = Refusal::new(status, kind.label(), message);
        refusal.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        Box::new(refusal)
    }

    /// Whose answer it is, in litellm's headers and in our own.
    fn say_who(&self, head: &mut HeaderMap, deployment: &Deployment, name: &str) {
        MODEL_ID.say_text(head, &deployment.id);
        MODEL_GROUP.say_text(head, name);
        if self.request.state.settings.routing.disclose_upstream {
            MODEL_NAME.say_text(head, &deployment.model);
            if let Text::Known(base) = &deployment.api_base {
                MODEL_BASE.say_text(head, base.expose());
            }
        }
    }

    /// What it took, on the answer or the refusal.
    fn told(&self, answer: Result<Answer, Refused>, record: &mut Record) -> Result<Answer, Refused> {
        (record.retries, record.fallbacks) = (self.plan.retried(), self.plan.fell_back());
        let tell = |head: &mut HeaderMap| {
            let total = record.received.elapsed();
            let overhead = total.saturating_sub(record.waited);
            RETRIES.say(head, count(record.retries));
            FALLBACKS.say(head, count(record.fallbacks));
            DURATION.say_text(head, &decimal(total));
            OVERHEAD.say_text(head, &decimal(overhead));
        };
        match answer {
            Ok(mut answer) => {
                tell(answer.outcome.head());
                Ok(answer)
            }
            Err(mut refusal) => {
                tell(&mut refusal.headers);
                if record.attempt > 0 {
                    let count = HeaderValue::from(record.attempt);
                    refusal.headers.insert(HeaderName::from_static("x-feathergate-attempts"), count);
                }
                if record.attempt > 1 {
                    refusal.add(&format!(" (after {} attempts)", record.attempt));
                }
                Err(refusal)
            }
        }
    }
}

/// Whether a failure is about what the request names: a model, an endpoint or a file that one upstream has not, or one model that
/// its key may not call. It says nothing of the rest.
fn of_request(how: &Failed, stage: &Stage<'_>, looked: &Looked<'_>) -> bool {
    let chosen = !stage.captured.is_empty();
    match how.kind {
        FailureKind::NotFound => chosen || looked.envelope().is_none_or(Envelope::names_files),
        FailureKind::Auth => chosen && how.status == 403,
        _ => false,
    }
}

fn too_late() -> Refusal {
    let message = "the request's time was over before an upstream could be called";
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, FailureKind::Timeout.label(), message)
}

/// What an answer cost in dollars, where that is known. A stream has no place for it in its head.
pub(super) fn say_cost(head: &mut HeaderMap, cost: Option<Money>) {
    if let Some(cost) = cost {
        COST.say_text(head, &cost.to_string());
    }
}

/// Nearly always 0, which needs no memory.
fn count(count: u32) -> HeaderValue {
    if count == 0 { HeaderValue::from_static("0") } else { HeaderValue::from(count) }
}

/// Milliseconds with three digits behind the point.
fn decimal(time: Duration) -> String {
    let mut text = millis(time).to_string();
    text.push('.');
    clock::push_digits(&mut text, (time.subsec_micros() % 1000).into(), 3);
    text
}

static MODEL_ID: Twin = twin!("model-id");
static MODEL_GROUP: Twin = twin!("model-group");
static MODEL_NAME: Twin = twin!("model-name");
static MODEL_BASE: Twin = twin!("model-api-base");
static RETRIES: Twin = twin!("attempted-retries");
static FALLBACKS: Twin = twin!("attempted-fallbacks");
static DURATION: Twin = twin!("response-duration-ms");
static COST: Twin = twin!("response-cost");
static OVERHEAD: Twin = twin!("overhead-duration-ms");

/// A failure that the client asked for.
fn mocked(kind: FailureKind) -> Refusal {
    let (status, field) = match kind {
        FailureKind::TooLong => (StatusCode::BAD_REQUEST, "mock_testing_context_fallbacks"),
        FailureKind::Filtered => (StatusCode::BAD_REQUEST, "mock_testing_content_policy_fallbacks"),
        FailureKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "mock_testing_rate_limit_error"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "mock_testing_fallbacks"),
    };
    let message = format!("this failure was asked for with `{field}`, and no fallback took the request");
    Refusal::new(status, kind.label(), message)
}

fn unknown(state: &State, caller: &Caller, looked: &Looked<'_>) -> Refused {
    let model = looked.model();
    if let Looked::Direct(Asked { unnamed: true, .. }, _) = looked {
        let message = format!(
            "`model` is missing; send the name of a model of this gateway. It has none called `{model}`, which is what a \
             request without one would mean"
        );
        return Box::new(Refusal::bad_request(message).param("model"));
    }
    let shown: String = model.chars().take(200).collect();
    let hint = state.table.nearest(model, &|name| caller.may_use(&[name])).map_or_else(
        || "`GET /v1/models` lists them".to_owned(),
        |near| format!("did you mean `{near}`? `GET /v1/models` lists them all"),
    );
    let message = format!("there is no model `{shown}` here; {hint}");
    Box::new(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).code("model_not_found").param("model"))
}
