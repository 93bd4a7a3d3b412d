//! The attempts of one request: the [plan](crate::route::plan) says what is done next, and this does it, from group to group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::try_join;
use futures::{FutureExt as _, TryFutureExt as _};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tokio::time::sleep;

use super::account::Slot;
use super::caller::{Caller, may_use};
use super::candidates::{self, Members};
use super::gate::{self, Pass};
use super::lease::Lease;
use super::pipeline::{Answer, Looked, Refused, Request, attempt};
use super::refusal::{Fate, Refusal};
use super::telling::{say_who, told};
use super::wishes::Own;
use super::{Gateway, State, account, caller, prompts};
use crate::config::settings::{Deployment, Group};
use crate::observe::clock::{self, Instant};
use crate::observe::{FailedAttempt, Record};
use crate::route::balance::Shortage;
use crate::route::health::Failed;
use crate::route::plan::{Plan, Step};
use crate::upstream::Leave;
use crate::wire::direct::Asked;
use crate::wire::{Envelope, FailureKind, Loss};

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
    /// What the request is recorded with: the key's tags, and its own.
    tags: Vec<String>,
    plan: Plan<'a>,
    /// Leave to call upstreams, while the request is still being counted.
    pub(super) leave: Option<Leave>,
    /// Why there is no answer yet.
    last: Option<Refused>,
    /// Why the group that was asked for, or the first of its deployments, cannot take the request.
    unfit: Option<Refused>,
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
    let (own, tags) = wishes(request, &looked)?;
    let untagged = looked.fields().and_then(|fields| fields.without_tags(&request.body));
    let untagged = untagged.map(|body| Request { body, ..*request });
    let request = untagged.as_ref().unwrap_or(request);
    let looked = if untagged.is_some() { Looked::new(request, &request.body)? } else { looked };
    let asked = looked.model().to_owned();
    caller::permitted(state, request.caller, &asked, own.plan.fallbacks.as_deref())?;
    let group = state.table.find(&asked).and_then(|place| state.settings.groups.get(place));
    let deadline = request.call.bound(record.received + total(state, group, own.timeout));
    if let Some(group) = group {
        record.model_group = Some(group.name.clone());
        gate::model(request, (&group.name, &asked), deadline, record, pass).await?;
    }
    let plan = Plan::new(&state.router, own.plan.clone());
    let came = clock::unix_millis();
    let mut run =
        Run { request, gateway, own, asked, tags, deadline, came, plan, leave: None, last: None, unfit: None };
    let counted = group.map(|group| run.counted(&looked, group));
    let opening = counted.as_ref().map(|counted| counted.begin(record)).transpose()?.flatten();
    let answer = match counted.zip(opening) {
        None => run.groups(&looked, record, pass).await,
        Some((counted, opening)) => run.admitted(&counted, opening, &looked, record, pass).await,
    };
    (record.retries, record.fallbacks) = (run.plan.retried(), run.plan.fell_back());
    told(answer, record)
}

/// What the request asks of the gateway itself, and all the tags that it is recorded with.
fn wishes(request: &Request<'_>, looked: &Looked<'_>) -> Result<(Own, Vec<String>), Refused> {
    let mut own = Own::read(request.headers, looked.fields(), request.state.settings.routing.mock_testing)?;
    let mut tags = own.tags.clone();
    if let Some(principal) = request.caller.principal() {
        // A failure that he asks for would lead the holder of a key to groups that are there for when something fails.
        if own.mock.take().is_some() {
            let asked = own.fields.iter().filter(|name| name.starts_with("mock_testing")).cloned();
            let why = "a virtual key asks for no failures";
            own.losses.extend(asked.map(|field| Loss { field: field.into(), why: why.into() }));
        }
        if !principal.key.tags.is_empty() {
            // Where a key has tags, its holder cannot get at deployments of other ones.
            own.tags.clone_from(&principal.key.tags);
            tags.splice(..0, own.tags.iter().cloned());
        }
    }
    Ok((own, tags))
}

/// The time for the whole request: the general one, or that of the group's slowest deployment where the operator gives it more,
/// as in litellm; or less, where the request asks for less.
fn total(state: &State, group: Option<&Group>, wish: Option<Duration>) -> Duration {
    let own = group.into_iter().flat_map(|group| &group.deployments).filter_map(|deployment| deployment.timeout);
    let most = own.fold(state.settings.timeout, Duration::max);
    wish.map_or(most, |wish| wish.min(most))
}

impl<'a> Run<'a> {
    /// The request as it is counted for a group.
    fn counted<'b>(&self, looked: &'b Looked<'b>, group: &'b Group) -> account::Asked<'b>
    where
        'a: 'b,
    {
        let tags = self.tags.clone();
        account::Asked { request: self.request, gateway: self.gateway, looked, group, time: self.left(), tags }
    }

    /// Counts the request, and answers it if there is room for it.
    async fn admitted(
        &mut self,
        counted: &account::Asked<'_>,
        opening: account::Opening,
        looked: &Looked<'_>,
        record: &mut Record,
        pass: &mut Pass,
    ) -> Result<Answer, Refused> {
        let slot = pass.account.insert(Slot::default()).clone();
        let answered = if opening.overlaps() {
            // Both ways are made at the same time: that to the store, and that to the upstream.
            let (give, leave) = oneshot::channel();
            self.leave = Some(leave.shared());
            let admitted = counted.admit(opening, &slot).map_ok(|()| _ = give.send(()));
            try_join(admitted, self.groups(looked, record, pass).map(Ok)).await.map(|((), answer)| answer)
        } else {
            match counted.admit(opening, &slot).await {
                Ok(()) => Ok(self.groups(looked, record, pass).await),
                Err(refused) => Err(refused),
            }
        };
        answered.unwrap_or_else(|refused| {
            // Nobody was called, whatever was made ready.
            record.uncalled();
            pass.account = None;
            Err(refused)
        })
    }

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
                self.unfit = Some(refusal);
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
        let unknown = state.table.find(&self.asked).is_none();
        if unknown && !may_use(state, self.request.caller, name) {
            self.plan.refuse(name, &group.name, FailureKind::NotFound);
            return None;
        }
        let counted = async {
            gate::model(self.request, (&group.name, &self.asked), self.deadline, record, pass).await?;
            if let Some(leave) = &self.leave {
                let _ = leave.clone().await;
            }
            self.counted(looked, group).fall_back(&mut pass.account, record).await
        };
        if let Err(refusal) = counted.await {
            self.plan.refuse(name, &group.name, refusal.kind().unwrap_or(FailureKind::NotFound));
            if unknown {
                // That there is no room says more than that nobody knows the name.
                self.last = Some(refusal);
            }
            return None;
        }
        match self.enter(name, looked, record) {
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
        let facts = prompts::Facts {
            headers: self.request.headers,
            request_id: &record.request_id,
            now: self.came,
            principal: self.request.caller.principal().map(Arc::as_ref),
        };
        let all = &self.request.state.settings.prompts;
        prompts::applied(all, &group.name, (looked, &self.request.body), &facts).map_err(Box::new)
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
                    let disclose = self.request.state.settings.routing.disclose_upstream;
                    say_who(answer.outcome.head(), &deployment, &stage.name, disclose);
                    answer.lease = Some(lease);
                    return Ok(End::Answer(Box::new(answer)));
                }
                Err(refusal) => match refusal.fate {
                    Fate::Final => return Err(refusal),
                    Fate::Unfit => {
                        self.plan.unfit(member);
                        // Of a group that stands in for another it says nothing to the client.
                        if self.plan.fell_back() == 0 {
                            self.unfit.get_or_insert(refusal);
                        }
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
        clock::millis(self.deadline.saturating_duration_since(clock::now()))
    }

    /// The answer where nothing is left to try: how the last attempt failed; or when to come again, if somebody who could take the
    /// request will be there again; or why nobody can.
    fn nothing_left(&mut self, shortage: Option<Shortage>) -> Refused {
        if let Some(last) = self.last.take() {
            return last;
        }
        let back = shortage.as_ref().is_some_and(|shortage| shortage.soonest.is_some());
        if let Some(unfit) = self.unfit.take_if(|_| !back) {
            return unfit;
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
