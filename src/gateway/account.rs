//! What a request may come to, and what it came to: the claim before the call, the settlement after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};

use super::caller::Principal;
use super::keeper::Keeper;
use super::pipeline::{Looked, Refused, Request};
use super::refusal::Refusal;
use super::twins::{Twin, twin};
use super::{Gateway, redact};
use crate::config::settings::{Group, Shared, StoreSettings};
use crate::meter::Money;
use crate::meter::ledger::{Estimate, Measure, Over, STEP, STEPS, Standing};
use crate::observe::{Record, clock};
use crate::route::table::fits;
use crate::store::usage::{Entry, Tokens};
use crate::store::{Admission, Claim, Hold, Scope, Settlement};
use crate::wire::{self, Envelope, Operation, Usage, Wire};

/// How long after the time for its answer a hold lapses: its settlement may have to be tried again.
const MARGIN: u64 = 60_000;

/// A request that is counted, from its admission to its settlement.
pub(crate) struct Account {
    keeper: Arc<Keeper>,
    entry: Box<Entry>,
    hold: Option<Hold>,
    estimate: Estimate,
    lapses: u64,
    bodies: bool,
    /// What the headers of the answer tell of the key.
    told: Option<Told>,
}

/// A key's limits and what is used of them.
struct Told {
    principal: Arc<Principal>,
    scope: Scope,
    standing: Standing,
    step: u64,
}

/// What is asked of an admission.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) gateway: &'a Gateway,
    pub(super) looked: &'a Looked<'a>,
    pub(super) group: &'a Group,
    /// How long the answer may take, in milliseconds.
    pub(super) time: u64,
    pub(super) tags: &'a [String],
}

/// Where a request's account is found once it is open: its answer may be under way before it is.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Account>>>);

impl Slot {
    /// Takes the account out, to settle it.
    pub(super) fn take(&self) -> Option<Account> {
        self.account().take()
    }

    /// What the key has left, for the head of the answer.
    pub(super) fn tell(&self, wire: Wire, head: &mut HeaderMap) {
        if let Some(account) = &*self.account() {
            account.tell(wire, head);
        }
    }

    fn account(&self) -> MutexGuard<'_, Option<Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account that is to be opened.
pub(super) struct Opening {
    account: Account,
    scopes: Vec<Scope>,
    name: String,
}

impl Opening {
    /// Whether the way to the upstream is made while the store is asked.
    pub(super) fn overlaps(&self) -> bool {
        !self.scopes.is_empty() && self.account.keeper.overlaps(&self.scopes)
    }
}

impl Asked<'_> {
    /// What the request would be counted as, and where. `None` where there is no store, or nothing is recorded.
    pub(super) fn begin(&self, record: &Record) -> Result<Option<Opening>, Refused> {
        let settings = &self.request.state.settings.store;
        let principal = self.request.caller.principal();
        let scopes = self.scopes(principal, &self.group.name, true);
        let Some(keeper) = self.gateway.keeper() else {
            return if scopes.is_empty() { Ok(None) } else { Err(Box::new(no_store())) };
        };
        if scopes.is_empty() && principal.is_none() && !keeper.active() {
            return Ok(None);
        }
        let now = clock::unix_millis();
        let estimate = self.estimate(&scopes, settings)?;
        let name = letters();
        let account = Account {
            keeper: Arc::clone(keeper),
            entry: Box::new(self.entry(record, now, &name)),
            hold: None,
            estimate,
            lapses: now.saturating_add(self.time).saturating_add(MARGIN),
            bodies: settings.bodies,
            told: None,
        };
        Ok(Some(Opening { account, scopes, name }))
    }

    /// Counts the request in every scope that it belongs to, and puts its account into `slot`.
    pub(super) async fn admit(&self, opening: Opening, slot: &Slot) -> Result<(), Refused> {
        let Opening { mut account, scopes, name } = opening;
        if scopes.is_empty() {
            *slot.account() = Some(account);
            return Ok(());
        }
        let principal = self.request.caller.principal();
        let came = account.entry.time;
        let claim = Claim { hold: name, scopes, estimate: account.estimate, lapses: account.lapses };
        if let Some((hold, standings)) = self.admitted(&account.keeper, &claim).await? {
            let of_key =
                principal.zip(claim.scopes.iter().zip(&standings).find(|(scope, _)| scope.id.starts_with("key:")));
            account.told = of_key.map(|(principal, (scope, standing))| Told {
                principal: Arc::clone(principal),
                scope: scope.clone(),
                standing: *standing,
                step: came / STEP,
            });
            account.hold = Some(hold);
        }
        *slot.account() = Some(account);
        Ok(())
    }

    /// Counts the request in the limits of another model group as well, to which it falls back.
    pub(super) async fn widen(&self, slot: &Slot) -> Result<(), Refused> {
        let mut scopes = self.scopes(None, &self.group.name, false);
        let (keeper, claim) = {
            let account = slot.account();
            let Some(account) = &*account else { return Ok(()) };
            let held =
                |scope: &Scope| account.hold.iter().flat_map(|hold| &hold.scopes).any(|held| held.scope == scope.id);
            scopes.retain(|scope| !held(scope));
            if scopes.is_empty() {
                return Ok(());
            }
            // The same name: it stands in other scopes.
            let hold = account.hold.as_ref().map_or_else(letters, |hold| hold.id.clone());
            let claim = Claim { hold, scopes, estimate: account.estimate, lapses: account.lapses };
            (Arc::clone(&account.keeper), claim)
        };
        if let Some((hold, _)) = self.admitted(&keeper, &claim).await?
            && let Some(account) = &mut *slot.account()
        {
            match &mut account.hold {
                Some(before) => before.scopes.extend(hold.scopes),
                None => account.hold = Some(hold),
            }
        }
        Ok(())
    }

    async fn admitted(&self, keeper: &Keeper, claim: &Claim) -> Result<Option<(Hold, Vec<Standing>)>, Refused> {
        let settings = &self.request.state.settings.store;
        match keeper.admit(claim).await {
            Ok(Admission::Held(hold, standings)) => Ok(Some((hold, standings))),
            Ok(Admission::Refused { scope, over }) => {
                let wire = self.request.task.wire();
                let scope = claim.scopes.get(scope).map_or("", |scope| scope.id.as_str());
                Err(Box::new(refused(scope, self.looked.model(), &over, wire)))
            }
            Err(error) if settings.fail_open => {
                tracing::warn!(%error, "a request passes without being counted");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%error, "a request is refused, since its limits cannot be looked up");
                Err(Box::new(unavailable()))
            }
        }
    }

    /// Where the request counts: what has limits. `all`: not only in the group that it goes to.
    fn scopes(&self, principal: Option<&Arc<Principal>>, group: &str, all: bool) -> Vec<Scope> {
        let settings = &self.request.state.settings.store;
        let shared = |id: String, shared: &Shared| Scope { id, limits: shared.limits.clone(), shards: shared.shards };
        let mut scopes = principal.map(|principal| principal.scopes.clone()).unwrap_or_default();
        let model = settings.models.iter().find(|(pattern, _)| fits(pattern, group));
        scopes.extend(model.map(|(_, limits)| shared(format!("model:{group}"), limits)));
        if all {
            scopes.push(shared("gateway".to_owned(), &settings.gateway));
        }
        scopes.retain(|scope| !scope.limits.none());
        scopes
    }

    /// What the request may come to: its input as we guess it, with all the output that it asks for. Where several deployments
    /// may answer, the dearest one's price.
    fn estimate(&self, scopes: &[Scope], settings: &StoreSettings) -> Result<Estimate, Refused> {
        let budgets = scopes.iter().any(|scope| scope.limits.budget.is_some());
        let tokens = scopes.iter().any(|scope| scope.limits.tpm.is_some() || scope.limits.quota.is_some());
        if !budgets && !tokens && scopes.is_empty() {
            return Ok(Estimate::default());
        }
        let input = self.input()?;
        let output = self.output(settings.output_estimate);
        let usage = Usage { input: Some(input), output: Some(output), ..Usage::default() };
        let mut dearest = Money::default();
        for deployment in &self.group.deployments {
            match deployment.price.cost(&usage) {
                Some(cost) => dearest = dearest.max(cost),
                None if budgets && settings.strict_pricing => return Err(Box::new(no_price(self.looked.model()))),
                None => {}
            }
        }
        Ok(Estimate { tokens: input.saturating_add(output), cost: dearest })
    }

    fn input(&self) -> Result<u64, Refused> {
        match self.looked {
            // Counting tokens uses none.
            Looked::Chat(_, Operation::CountTokens) => Ok(0),
            Looked::Chat(envelope, Operation::Generate) => {
                wire::guess_tokens(envelope).map_err(|error| Box::new(error.into()))
            }
            Looked::Direct(asked, _) if asked.fields().is_some() => Ok(self.request.body.len() as u64 / 4 + 1),
            // A form: what it costs is not counted in tokens before it is answered.
            Looked::Direct(..) => Ok(1),
        }
    }

    /// The most output that the request asks for; where it sets no bound, what the operator sets aside.
    fn output(&self, unbounded: u64) -> u64 {
        const BOUNDS: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
        let number = |fields: &Envelope<'_>, name: &str| fields.value(name)?.get().parse::<u64>().ok();
        let Some(fields) = self.looked.fields() else { return 0 };
        let talks = match self.looked {
            Looked::Chat(_, operation) => *operation == Operation::Generate,
            Looked::Direct(_, path) => path.writes_text(),
        };
        if !talks {
            return 0;
        }
        let bound = BOUNDS.iter().find_map(|name| number(fields, name)).unwrap_or(unbounded);
        bound.saturating_mul(number(fields, "n").unwrap_or(1).clamp(1, 128))
    }

    fn entry(&self, record: &Record, now: u64, name: &str) -> Entry {
        let key = self.request.caller.principal().map(|principal| &principal.key);
        let mut tags: Vec<String> = self.tags.iter().take(20).map(|tag| short(tag)).collect();
        tags.dedup();
        Entry {
            id: format!("{now:013}-{name}"),
            time: now,
            request_id: record.request_id.clone(),
            key: key.map(|key| key.id.clone()).unwrap_or_default(),
            key_alias: key.and_then(|key| key.alias.clone()).unwrap_or_default(),
            team: key.and_then(|key| key.team.clone()).unwrap_or_default(),
            end_user: end_user(self.request.headers, self.looked.fields()),
            endpoint: record.endpoint.to_owned(),
            model: self.group.name.clone(),
            stream: record.stream,
            tags,
            ..Entry::default()
        }
    }
}

impl Account {
    fn tell(&self, wire: Wire, head: &mut HeaderMap) {
        let Some(Told { principal, scope, standing, step }) = &self.told else { return };
        let ends = (step + STEPS) * STEP;
        let wait = ends.saturating_sub(clock::unix_millis());
        for (kind, limit, used) in
            [("requests", scope.limits.rpm, standing.requests), ("tokens", scope.limits.tpm, standing.tokens)]
        {
            if let Some(limit) = limit {
                super::ratelimit::own(wire, kind, (limit, limit.saturating_sub(used), wait, ends), head);
            }
        }
        let number = |head: &mut HeaderMap, twin: &Twin, number: Option<u64>| {
            if let Some(number) = number {
                twin.say(head, number.into());
            }
        };
        number(head, &RPM, scope.limits.rpm);
        number(head, &TPM, scope.limits.tpm);
        if let Some((most, _)) = scope.limits.budget {
            MAX_BUDGET.say_text(head, &most.to_string());
            SPEND.say_text(head, &standing.spent.to_string());
        }
        if let Some(soft) = principal.key.allowance.soft_budget.filter(|soft| standing.spent >= *soft) {
            tracing::warn!(key = principal.key.id, spent = %standing.spent, soft_budget = %soft, "a key is over its soft budget");
            SOFT.say_text(head, &soft.to_string());
        }
    }

    /// What became of the request.
    pub(super) fn settlement(self, record: &Record) -> (Arc<Keeper>, Settlement) {
        let Self { keeper, mut entry, hold, estimate, bodies, .. } = self;
        let told = tokens(&record.usage);
        let answered = record.status == 200 || record.status == 499;
        let (used, estimated) = match told {
            Some(tokens) => (Estimate { tokens: tokens.total(), cost: record.cost().unwrap_or_default() }, false),
            // Somebody has worked, and nobody said how much.
            None if answered && record.attempt > 0 && estimate.tokens > 0 => (estimate, true),
            None => (Estimate::default(), false),
        };
        entry.tokens = told.unwrap_or_else(|| Tokens { input: used.tokens, ..Tokens::default() });
        entry.estimated = estimated;
        entry.cost = match told {
            Some(_) => record.cost(),
            None => Some(used.cost),
        };
        entry.deployment = record.deployment.clone().unwrap_or_default();
        record.upstream.unwrap_or_default().clone_into(&mut entry.upstream);
        entry.upstream_model = record.upstream_model.clone().unwrap_or_default();
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        entry.first_byte = record.first_byte.map(|at| millis(at.duration_since(record.received)));
        entry.total = millis(record.received.elapsed());
        entry.status = record.status;
        entry.stream = record.stream;
        entry.attempts = record.attempt;
        entry.error = record.error_class.map(str::to_owned);
        if bodies {
            entry.request_body = record.request_body.as_deref().map(redact::redacted);
            entry.response_body = record.response_body.as_deref().map(redact::redacted);
        }
        (keeper, Settlement { hold, used, entry: *entry })
    }
}

/// The tokens that an upstream told of, if it did.
fn tokens(usage: &Usage) -> Option<Tokens> {
    usage.input.or(usage.output)?;
    let count = |count: Option<u64>| count.unwrap_or(0);
    Some(Tokens {
        input: count(usage.input),
        output: count(usage.output),
        cache_read: count(usage.cache_read),
        cache_write: count(usage.cache_write),
        reasoning: count(usage.reasoning),
        audio_input: count(usage.audio_input),
        audio_output: count(usage.audio_output),
    })
}

/// Whom the request says it is for: litellm's headers, then the body.
fn end_user(headers: &HeaderMap, fields: Option<&Envelope<'_>>) -> String {
    let header = END_USER.names().into_iter().chain(CUSTOMER.names()).find_map(|name| headers.get(name)?.to_str().ok());
    header.map(short).or_else(|| Some(short(fields?.user()?.as_str()))).unwrap_or_default()
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A name that nobody has used: 95 random bits.
fn letters() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(16).collect()
}

static RPM: Twin = twin!("key-rpm-limit");
static TPM: Twin = twin!("key-tpm-limit");
static SPEND: Twin = twin!("key-spend");
static MAX_BUDGET: Twin = twin!("key-max-budget");
static SOFT: Twin = twin!("key-soft-budget-exceeded");
static END_USER: Twin = twin!("end-user-id");
static CUSTOMER: Twin = twin!("customer-id");

fn no_store() -> Refusal {
    Refusal::setup("limits that all processes share are configured, and this program was given no store to count in")
}

fn unavailable() -> Refusal {
    let message = "the limits of this request cannot be looked up now; try again soon";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "store", message).code("store_unavailable").retry_after(1000)
}

fn no_price(model: &str) -> Refusal {
    let message = format!(
        "nobody knows what the model `{}` costs, and a budget applies to this request; the operator can set its price with \
         `input_cost_per_token` and `output_cost_per_token`",
        model.chars().take(200).collect::<String>()
    );
    Refusal::new(StatusCode::FORBIDDEN, "price", message).code("price_unknown").param("model")
}

/// A limit that has no room. Whose it is, is told without names that the caller did not use.
fn refused(scope: &str, model: &str, over: &Over, wire: Wire) -> Refusal {
    let whose = match scope.split(':').next().unwrap_or_default() {
        "key" => "this API key".to_owned(),
        "team" => "the team of this API key".to_owned(),
        "model" => format!("the model `{}`", model.chars().take(200).collect::<String>()),
        _ => "this gateway".to_owned(),
    };
    let Over { measure, limit, used, asked, frees } = *over;
    let now = clock::unix_millis();
    let wait = frees.map(|frees| frees.saturating_sub(now).max(1));
    let when = wait.map_or_else(String::new, |wait| format!("; it frees in {} s", wait.div_ceil(1000)));
    let money = |units: u64| format!("${}", Money(units));
    let said = match measure {
        Measure::Budget => format!(
            "{whose} has a budget of {}, of which {} are spent or set aside, and this request may cost {}{when}",
            money(limit),
            money(used),
            money(asked)
        ),
        Measure::Quota => {
            format!(
                "{whose} has {limit} tokens, of which {used} are used or set aside, and this request may take {asked}{when}"
            )
        }
        Measure::Requests => format!("{whose} has {limit} requests a minute, and {used} are used{when}"),
        Measure::Tokens => {
            format!(
                "{whose} has {limit} tokens a minute, of which {used} are used, and this request may take {asked}{when}"
            )
        }
        Measure::Parallel => format!("{whose} has {limit} requests at one time, and {used} are under way"),
    };
    let refusal = match measure {
        // Anthropic's clients know an empty purse by its own status; OpenAI's by the code, which keeps them from trying again.
        Measure::Budget | Measure::Quota => {
            let status = if wire == Wire::AnthropicMessages {
                StatusCode::PAYMENT_REQUIRED
            } else {
                StatusCode::TOO_MANY_REQUESTS
            };
            Refusal::new(status, "budget", said).code("insufficient_quota").no_retry()
        }
        Measure::Requests | Measure::Tokens | Measure::Parallel => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", said).code("rate_limit_exceeded")
        }
    };
    let wait = wait.or((measure == Measure::Parallel).then_some(1000));
    let mut refusal = match wait {
        Some(wait) => refusal.retry_after(wait),
        None => refusal,
    };
    let kind = match measure {
        Measure::Requests => Some("requests"),
        Measure::Tokens => Some("tokens"),
        Measure::Budget | Measure::Quota | Measure::Parallel => None,
    };
    if let Some(kind) = kind {
        let ends = frees.unwrap_or(now);
        super::ratelimit::own(
            wire,
            kind,
            (limit, limit.saturating_sub(used), wait.unwrap_or(0), ends),
            &mut refusal.headers,
        );
    }
    refusal
}
