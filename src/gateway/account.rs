//! A request that is counted: the claim before the call, and the settlement after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use super::caller::Principal;
use super::charge::{Used, used};
use super::estimate::Guess;
use super::keeper::{Keeper, SETTLE_TIME};
use super::pipeline::{Looked, Refused, Request};
use super::twins::{Twin, twin};
use super::{Gateway, denied, estimate};
use crate::config::settings::{Group, Shared};
use crate::meter::Money;
use crate::meter::ledger::{Estimate, Over, STEP, STEPS, Standing};
use crate::observe::{Record, clock};
use crate::route::table::fits;
use crate::store::token::random;
use crate::store::usage::Entry;
use crate::store::{Admission, Claim, Hold, Scope, Settlement};
use crate::wire::{Envelope, Wire};

/// How long after the time for its answer a hold lapses: its settlement may have to be tried again.
const MARGIN: u64 = 60_000;

/// A request that is counted, from its admission to its settlement.
pub(crate) struct Account {
    keeper: Arc<Keeper>,
    entry: Box<Entry>,
    hold: Option<Hold>,
    guess: Guess,
    lapses: u64,
    bodies: bool,
    /// What the headers of the answer tell of the key.
    told: Option<Told>,
}

/// A key's limits and what is used of them.
struct Told {
    principal: Arc<Principal>,
    /// The key's scope and the team's, as far as they have limits.
    scopes: Vec<(Scope, Standing)>,
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
    /// What the request is recorded with.
    pub(super) tags: Vec<String>,
}

/// Where a request's account is found once it is open. The request may be over before it is: whoever opens it settles it then.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Phase>>);

#[derive(Default)]
enum Phase {
    /// Nobody has answered yet.
    #[default]
    Pending,
    Open(Box<Account>),
    /// The request is over; it has its record here where nobody else has settled it.
    Over(Option<Box<Record>>),
}

impl Slot {
    /// The request is over. Gives its account, to be settled; one that is still to come settles itself.
    pub(super) fn close(&self, record: &Record) -> Option<Account> {
        let mut phase = self.phase();
        match std::mem::replace(&mut *phase, Phase::Over(None)) {
            Phase::Open(account) => Some(*account),
            Phase::Pending => {
                *phase = Phase::Over(Some(Box::new(record.clone())));
                None
            }
            Phase::Over(_) => None,
        }
    }

    /// Puts an account here, or gives it back with the record of its request if that is over.
    fn open(&self, account: Account) -> Option<(Account, Box<Record>)> {
        let mut phase = self.phase();
        match std::mem::take(&mut *phase) {
            Phase::Over(Some(record)) => {
                *phase = Phase::Over(None);
                Some((account, record))
            }
            Phase::Pending | Phase::Open(_) | Phase::Over(None) => {
                *phase = Phase::Open(Box::new(account));
                None
            }
        }
    }

    /// Counts the request of an open account in more scopes, unless it is over by then.
    async fn join(self, keeper: Arc<Keeper>, claim: Claim, how: How) -> Result<(), Denied> {
        let Some((hold, _)) = admitted(&keeper, &claim, how).await? else { return Ok(()) };
        if let Phase::Open(account) = &mut *self.phase() {
            match &mut account.hold {
                Some(before) => before.scopes.extend(hold.scopes),
                None => account.hold = Some(hold),
            }
            return Ok(());
        }
        keeper.release(hold).await;
        Ok(())
    }

    /// What the key has left, for the head of the answer.
    pub(super) fn tell(&self, wire: Wire, head: &mut HeaderMap) {
        if let Phase::Open(account) = &*self.phase() {
            account.tell(wire, head);
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account that is to be opened.
pub(super) struct Opening {
    account: Account,
    claim: Claim,
    principal: Option<Arc<Principal>>,
    how: How,
}

/// Whether requests pass where the store does not answer, and whether something can be done later, beside all requests.
type How = (bool, bool);

impl Opening {
    /// Whether the way to the upstream is made while the store is asked.
    pub(super) fn overlaps(&self) -> bool {
        !self.claim.scopes.is_empty() && self.account.keeper.overlaps(&self.claim.scopes)
    }

    /// Counts the request in all its scopes, and puts its account into `slot`, or settles it if the request is over by then.
    async fn count(self, slot: Slot) -> Result<(), Denied> {
        let Self { mut account, claim, principal, how } = self;
        if !claim.scopes.is_empty()
            && let Some((hold, standings)) = admitted(&account.keeper, &claim, how).await?
        {
            account.hold = Some(hold);
            let step = account.entry.time / STEP;
            let own = |scope: &Scope| scope.id.starts_with("key:") || scope.id.starts_with("team:");
            let scopes = claim.scopes.into_iter().zip(standings).filter(|(scope, _)| own(scope)).collect();
            account.told = principal.map(|principal| Told { principal, scopes, step });
        }
        if let Some((account, record)) = slot.open(account) {
            let (keeper, mut settlement) = account.settlement(&record);
            keeper.settle(&mut settlement, SETTLE_TIME).await;
        }
        Ok(())
    }
}

/// Why a request is not counted.
enum Denied {
    /// The scope of this id has no room.
    Full(String, Over),
    /// The store does not say.
    Silent,
}

/// Asks the store. `None` where it does not answer, and requests pass then.
async fn admitted(
    keeper: &Arc<Keeper>,
    claim: &Claim,
    (fail_open, aside): How,
) -> Result<Option<(Hold, Vec<Standing>)>, Denied> {
    match keeper.admit(claim, aside).await {
        Ok(Admission::Held(hold, standings)) => Ok(Some((hold, standings))),
        Ok(Admission::Refused { scope, over }) => {
            let scope = claim.scopes.get(scope).map(|scope| scope.id.clone()).unwrap_or_default();
            Err(Denied::Full(scope, over))
        }
        Err(error) if fail_open => {
            tracing::warn!(%error, "a request passes without being counted");
            Ok(None)
        }
        Err(error) => {
            tracing::error!(%error, "a request is refused, since its limits cannot be looked up");
            Err(Denied::Silent)
        }
    }
}

impl Asked<'_> {
    /// What the request would be counted as, and where. `None` where there is no store, or nothing is recorded.
    pub(super) fn begin(&self, record: &Record) -> Result<Option<Opening>, Refused> {
        let settings = &self.request.state.settings.store;
        let principal = self.request.caller.principal();
        let scopes = self.scopes(principal, true);
        let Some(keeper) = self.gateway.keeper() else {
            return if scopes.is_empty() { Ok(None) } else { Err(Box::new(denied::no_store())) };
        };
        if scopes.is_empty() && principal.is_none() && !keeper.active() {
            return Ok(None);
        }
        let now = clock::unix_millis();
        let guess = self.guess(&scopes, None)?;
        let name = name()?;
        let account = Account {
            keeper: Arc::clone(keeper),
            entry: Box::new(self.entry(record, now, &name)),
            hold: None,
            guess,
            lapses: now.saturating_add(self.time).saturating_add(MARGIN),
            bodies: settings.bodies,
            told: None,
        };
        let claim = Claim { hold: name, scopes, estimate: guess.estimate(), lapses: account.lapses };
        Ok(Some(Opening { account, claim, principal: principal.cloned(), how: self.how() }))
    }

    /// Counts the request in every scope that it belongs to, and puts its account into `slot`. On a server that goes on when the
    /// client leaves meanwhile: what is counted is settled.
    pub(super) async fn admit(&self, opening: Opening, slot: &Slot) -> Result<(), Refused> {
        self.to_the_end(opening.count(slot.clone())).await
    }

    /// Counts, also where the client leaves meanwhile, as far as the process runs on.
    async fn to_the_end(
        &self,
        count: impl Future<Output = Result<(), Denied>> + Send + 'static,
    ) -> Result<(), Refused> {
        let counted = if self.request.call.after.is_none() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a server is not frozen; what it counts must not be forgotten"
            )]
            tokio::spawn(count).await.unwrap_or(Err(Denied::Silent))
        } else {
            count.await
        };
        counted.map_err(|why| self.refusal(why))
    }

    fn refusal(&self, why: Denied) -> Refused {
        Box::new(match why {
            Denied::Full(scope, over) => denied::full(&scope, self.looked.model(), &over, self.request.task.wire()),
            Denied::Silent => denied::unavailable(),
        })
    }

    /// Counts the request for a group that it falls back to: in that group's limits beside those that it is counted in, or, where
    /// it is not counted yet, in all.
    pub(super) async fn fall_back(&self, slot: &mut Option<Slot>, record: &Record) -> Result<(), Refused> {
        if let Some(slot) = slot {
            return self.widen(slot).await;
        }
        let Some(opening) = self.begin(record)? else { return Ok(()) };
        let open = Slot::default();
        self.admit(opening, &open).await?;
        *slot = Some(open);
        Ok(())
    }

    async fn widen(&self, slot: &Slot) -> Result<(), Refused> {
        let mut scopes = self.scopes(None, false);
        let (keeper, claim) = {
            let mut phase = slot.phase();
            let account = match &mut *phase {
                Phase::Open(account) => account,
                Phase::Pending => return Err(Box::new(denied::unavailable())),
                Phase::Over(_) => return Ok(()),
            };
            let held =
                |scope: &Scope| account.hold.iter().flat_map(|hold| &hold.scopes).any(|held| held.scope == scope.id);
            scopes.retain(|scope| !held(scope));
            let guess = self.guess(&scopes, account.hold.as_ref())?;
            if account.hold.is_none() {
                account.guess = guess;
            }
            if scopes.is_empty() {
                return Ok(());
            }
            // The same name: it stands in other scopes. And the same estimate, since there is one for all.
            let hold = account.hold.as_ref().map_or_else(name, |hold| Ok(hold.id.clone()))?;
            let estimate = account.guess.estimate();
            (Arc::clone(&account.keeper), Claim { hold, scopes, estimate, lapses: account.lapses })
        };
        self.to_the_end(slot.clone().join(keeper, claim, self.how())).await
    }

    fn how(&self) -> How {
        // A server is not frozen between requests.
        (self.request.state.settings.store.fail_open, self.request.call.after.is_none())
    }

    /// Where the request counts: what has limits. `all`: not only in the group that it goes to.
    fn scopes(&self, principal: Option<&Arc<Principal>>, all: bool) -> Vec<Scope> {
        let settings = &self.request.state.settings.store;
        let group = &self.group.name;
        let mut scopes = principal.map(|principal| principal.scopes.clone()).unwrap_or_default();
        let mut add = |shared: &Shared, id: &dyn Fn() -> String| {
            if !shared.limits.none() {
                scopes.push(Scope { id: id(), limits: shared.limits.clone(), shards: shared.shards });
            }
        };
        if let Some((_, limits)) = settings.models.iter().find(|(pattern, _)| fits(pattern, group)) {
            add(limits, &|| format!("model:{group}"));
        }
        if all {
            add(&settings.gateway, &|| "gateway".to_owned());
        }
        scopes
    }

    /// What the request may come to in the present group, for `scopes` and those in which it is counted already.
    fn guess(&self, scopes: &[Scope], hold: Option<&Hold>) -> Result<Guess, Refused> {
        let settings = &self.request.state.settings.store;
        let held = hold.into_iter().flat_map(|hold| &hold.scopes).map(|held| &held.limits);
        let mut limits = scopes.iter().map(|scope| &scope.limits).chain(held).peekable();
        let (guess, unpriced) = estimate::guess(self, settings.output_estimate, limits.peek().is_some());
        let budgeted = limits.any(|limits| limits.budget.is_some());
        if unpriced && budgeted && settings.strict_pricing {
            return Err(Box::new(denied::no_price(self.looked.model())));
        }
        Ok(guess)
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
            requested_model: short(self.looked.model()),
            stream: record.stream,
            tags,
            ..Entry::default()
        }
    }
}

impl Account {
    fn tell(&self, wire: Wire, head: &mut HeaderMap) {
        let Some(Told { principal, scopes, step }) = &self.told else { return };
        let ends = (step + STEPS) * STEP;
        let wait = ends.saturating_sub(clock::unix_millis());
        for (scope, standing) in scopes {
            let of_key = scope.id.starts_with("key:");
            let team = principal.team.as_ref().map(|team| &team.allowance);
            let soft = if of_key { principal.key.allowance.soft_budget } else { team.and_then(|own| own.soft_budget) };
            // Without what is only set aside: how much that is for the others under way, is a guess by this request.
            let aside = self.guess.cost.0.saturating_mul(standing.parallel.max(1));
            let spent = Money(standing.spent.0.saturating_sub(aside));
            if let Some(soft) = soft.filter(|soft| spent >= *soft) {
                let start = scope.limits.stamp(self.entry.time).budget.start;
                if self.keeper.first_beyond(&scope.id, start) {
                    tracing::warn!(scope = scope.id, %spent, soft_budget = %soft, "a soft budget is exceeded");
                }
                SOFT.say_text(head, &soft.to_string());
            }
            // Of one that is spread only a part is known.
            if !of_key || scope.shards > 1 {
                continue;
            }
            let limits = &scope.limits;
            for (kind, limit, used) in
                [("requests", limits.rpm, standing.requests), ("tokens", limits.tpm, standing.tokens)]
            {
                if let Some(limit) = limit {
                    super::ratelimit::own(wire, kind, (limit, limit.saturating_sub(used), wait, ends), head);
                }
            }
            for (twin, limit) in [(&RPM, limits.rpm), (&TPM, limits.tpm)] {
                if let Some(limit) = limit {
                    twin.say(head, limit.into());
                }
            }
            if let Some((most, _)) = limits.budget {
                MAX_BUDGET.say_text(head, &most.to_string());
                SPEND.say_text(head, &spent.to_string());
            }
        }
    }

    /// What became of the request.
    pub(super) fn settlement(self, record: &Record) -> (Arc<Keeper>, Settlement) {
        let Self { keeper, mut entry, hold, guess, bodies, .. } = self;
        let Used { tokens, cost, charge, estimated } = used(record, &guess);
        let used = Estimate { tokens: tokens.total(), cost: charge };
        (entry.tokens, entry.cost, entry.estimated) = (tokens, cost, estimated);
        if let Some(group) = record.fallback_group.as_ref() {
            entry.model.clone_from(group);
        }
        if entry.requested_model == entry.model {
            entry.requested_model.clear();
        }
        entry.deployment = record.deployment.clone().unwrap_or_default();
        record.upstream.unwrap_or_default().clone_into(&mut entry.upstream);
        entry.upstream_model = record.upstream_model.clone().unwrap_or_default();
        entry.first_byte = record.first_byte.map(|at| clock::millis(at.duration_since(record.received)));
        entry.total = clock::millis(record.received.elapsed());
        entry.status = record.status;
        entry.stream = record.stream;
        entry.attempts = record.attempt;
        entry.error = record.error_class.map(str::to_owned);
        if bodies {
            entry.request_body.clone_from(&record.request_body);
            entry.response_body.clone_from(&record.response_body);
        }
        (keeper, Settlement { hold, used, entry: Some(*entry) })
    }
}

/// Whom the request says it is for: litellm's headers, then the body.
fn end_user(headers: &HeaderMap, fields: Option<&Envelope<'_>>) -> String {
    let header = END_USER.names().into_iter().chain(CUSTOMER.names()).find_map(|name| headers.get(name)?.to_str().ok());
    header.map(short).or_else(|| Some(short(fields?.user()?.as_str()))).unwrap_or_default()
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A name that nobody has used, in no process: 95 random bits of the system's. A generator that is seeded by the time could give two
/// instances that start alike the same one, and then a request passes for another one's second try.
fn name() -> Result<String, Refused> {
    random(16).ok_or_else(|| Box::new(denied::unavailable()))
}

static RPM: Twin = twin!("key-rpm-limit");
static TPM: Twin = twin!("key-tpm-limit");
static SPEND: Twin = twin!("key-spend");
static MAX_BUDGET: Twin = twin!("key-max-budget");
static SOFT: Twin = twin!("key-soft-budget-exceeded");
static END_USER: Twin = twin!("end-user-id");
static CUSTOMER: Twin = twin!("customer-id");
