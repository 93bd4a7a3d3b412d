//! Keys and teams as they are told of, and what they have used.

use std::future::Future;

use futures::future::try_join_all;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Admin;
use super::context::{Answer, Context, Stored};
use super::keys::Filter;
use super::problem::Problem;
use crate::meter::Money;
use crate::meter::ledger::{Limits, STEP, STEPS, Standing};
use crate::observe::clock::rfc3339;
use crate::store::key::{Allowance, Key, Team};
use crate::store::usage::{DailyQuery, Sums, day};
use crate::store::{Kind, Scope, StoreError};

/// How much is asked of the store at a time for one answer: of many keys or teams, more would keep it from its other work.
const AT_ONCE: usize = 8;

/// What was used in the present period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) spend: Money,
    /// Tokens, where there is a quota of them.
    pub(super) tokens: Option<u64>,
}

/// What is settable of an allowance, and what it comes to.
#[derive(Serialize)]
pub(super) struct AllowanceView<'a> {
    spend: Money,
    tokens_used: Option<u64>,
    max_budget: Option<Money>,
    soft_budget: Option<Money>,
    budget_duration: Option<&'a str>,
    budget_reset_at: Option<String>,
    token_quota: Option<u64>,
    tpm_limit: Option<u64>,
    rpm_limit: Option<u64>,
    max_parallel_requests: Option<u64>,
    shards: u32,
}

impl<'a> AllowanceView<'a> {
    pub(super) fn new(allowance: &'a Allowance, anchor: u64, used: Used, now: u64) -> Self {
        let stamp = allowance.limits(anchor).stamp(now);
        Self {
            spend: used.spend,
            tokens_used: used.tokens,
            max_budget: allowance.max_budget,
            soft_budget: allowance.soft_budget,
            budget_duration: allowance.budget_duration.as_deref(),
            budget_reset_at: stamp.budget.end.or(stamp.quota.end).map(rfc3339),
            token_quota: allowance.max_tokens,
            tpm_limit: allowance.tpm_limit,
            rpm_limit: allowance.rpm_limit,
            max_parallel_requests: allowance.max_parallel_requests,
            shards: allowance.shards.unwrap_or(1),
        }
    }
}

/// A key as it is told of.
#[derive(Serialize)]
pub(super) struct KeyView<'a> {
    id: &'a str,
    token: Option<&'a str>,
    key_name: &'a str,
    key_alias: Option<&'a str>,
    #[serde(flatten)]
    allowance: AllowanceView<'a>,
    models: &'a [String],
    user_id: Option<&'a str>,
    team_id: Option<&'a str>,
    metadata: &'a Map<String, Value>,
    expires: Option<String>,
    blocked: bool,
    status: &'static str,
    tags: &'a [String],
    allowed_routes: &'a [String],
    allowed_ips: &'a [String],
    system_prompt: Option<&'a str>,
    iam_arn: Option<&'a str>,
    created_at: String,
    created_by: &'a str,
    updated_at: String,
}

/// Whether a key can be used, in litellm's words.
pub(super) fn status(key: &Key, now: u64) -> &'static str {
    match key.expires {
        _ if key.blocked => "revoked",
        Some(expires) if expires <= now => "expired",
        _ => "active",
    }
}

impl<'a> KeyView<'a> {
    /// A key that was made just now.
    pub(super) fn unused(key: &'a Key, hash: &'a str, now: u64) -> Self {
        let tokens = key.allowance.max_tokens.map(|_| 0);
        Self::new(key, Some(hash), Used { spend: Money(0), tokens }, now)
    }

    /// A key that has used so much. Its hash is not told where it is not known.
    pub(super) fn new(key: &'a Key, hash: Option<&'a str>, used: Used, now: u64) -> Self {
        Self {
            id: &key.id,
            token: hash,
            key_name: &key.shown,
            key_alias: key.alias.as_deref(),
            allowance: AllowanceView::new(&key.allowance, key.anchor, used, now),
            models: &key.models,
            user_id: key.user.as_deref(),
            team_id: key.team.as_deref(),
            metadata: &key.metadata,
            expires: key.expires.map(rfc3339),
            blocked: key.blocked,
            status: status(key, now),
            tags: &key.tags,
            allowed_routes: &key.endpoints,
            allowed_ips: &key.ips,
            system_prompt: key.system_prompt.as_deref(),
            iam_arn: key.arn.as_deref(),
            created_at: rfc3339(key.created),
            created_by: &key.created_by,
            updated_at: rfc3339(key.updated),
        }
    }
}

/// A team as it is told of.
#[derive(Serialize)]
pub(super) struct TeamView<'a> {
    team_id: &'a str,
    team_alias: Option<&'a str>,
    #[serde(flatten)]
    allowance: AllowanceView<'a>,
    models: &'a [String],
    metadata: &'a Map<String, Value>,
    blocked: bool,
    created_at: String,
    created_by: &'a str,
    updated_at: String,
}

impl<'a> TeamView<'a> {
    pub(super) fn new(team: &'a Team, used: Used, now: u64) -> Self {
        Self {
            team_id: &team.id,
            team_alias: team.alias.as_deref(),
            allowance: AllowanceView::new(&team.allowance, team.anchor, used, now),
            models: &team.models,
            metadata: &team.metadata,
            blocked: team.blocked,
            created_at: rfc3339(team.created),
            created_by: &team.created_by,
            updated_at: rfc3339(team.updated),
        }
    }
}

/// Whose use is asked for.
pub(super) struct User {
    pub(super) scope: Scope,
    /// For the sums by day.
    pub(super) query: DailyQuery,
}

impl User {
    pub(super) fn key(key: &Key, now: u64) -> Self {
        let query = DailyQuery { key: Some(key.id.clone()), ..since(key.created, now) };
        Self { scope: key.scope(), query }
    }

    pub(super) fn team(team: &Team, now: u64) -> Self {
        let query = DailyQuery { team: Some(team.id.clone()), ..since(team.created, now) };
        Self { scope: team.scope(), query }
    }
}

/// The sums from a moment on.
fn since(created: u64, now: u64) -> DailyQuery {
    // A request may come to its day by another process's clock.
    DailyQuery { from: day(created), to: day(now.saturating_add(86_400_000)), ..DailyQuery::default() }
}

#[derive(Serialize)]
struct Listed<T> {
    keys: Vec<T>,
    total_count: usize,
    current_page: usize,
    total_pages: usize,
}

#[derive(Serialize)]
struct Balance<'a> {
    key: &'a str,
    key_name: &'a str,
    key_alias: Option<&'a str>,
    team_id: Option<&'a str>,
    expires: Option<String>,
    models: &'a [String],
    spend: Money,
    limits: Vec<Left>,
}

/// What is left of a limit.
#[derive(Serialize)]
struct Left {
    scope: &'static str,
    limit: &'static str,
    allowed: Amount,
    used: Amount,
    remaining: Amount,
    resets_at: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Amount {
    Money(Money),
    Count(u64),
}

impl Admin {
    /// What each of these has used: what the ledger says of who has a budget, else the sums by day.
    pub(super) async fn used(&self, users: &[User], now: u64) -> Result<Vec<Used>, StoreError> {
        let limited = |user: &User| user.scope.limits.budget.is_some() || user.scope.limits.quota.is_some();
        let scopes: Vec<String> = users.iter().filter(|user| limited(user)).map(|user| user.scope.id.clone()).collect();
        let ledgers = if scopes.is_empty() { Vec::new() } else { self.store.ledgers(&scopes).await? };
        let mut ledgers = ledgers.into_iter();
        let each = users.iter().map(|user| {
            let limits = &user.scope.limits;
            let ledger = limited(user).then(|| ledgers.next().unwrap_or_default());
            let standing = ledger.map(|ledger| ledger.standing(&limits.stamp(now), now)).unwrap_or_default();
            async move {
                let tokens = limits.quota.map(|_| standing.quota);
                if limits.budget.is_some() {
                    return Ok(Used { spend: standing.spent, tokens });
                }
                let sums = self.store.daily(&user.query).await?;
                let sums = sums.iter().fold(Sums::default(), |sums, daily| sums.plus(&daily.sums));
                Ok(Used { spend: sums.cost, tokens })
            }
        });
        in_turns(each.collect()).await
    }

    pub(super) async fn used_by(&self, user: User, now: u64) -> Result<Used, StoreError> {
        Ok(self.used(&[user], now).await?.pop().unwrap_or_default())
    }

    pub(super) async fn key_view<'k>(&self, key: &'k Key, hash: &'k str, now: u64) -> Result<KeyView<'k>, StoreError> {
        Ok(KeyView::new(key, Some(hash), self.used_by(User::key(key, now), now).await?, now))
    }

    pub(super) async fn team_view<'t>(&self, team: &'t Team, now: u64) -> Result<TeamView<'t>, StoreError> {
        Ok(TeamView::new(team, self.used_by(User::team(team, now), now).await?, now))
    }

    /// Many keys as they are told of.
    pub(super) async fn key_views<'k>(
        &self,
        keys: &'k [Stored<Key>],
        now: u64,
    ) -> Result<Vec<KeyView<'k>>, StoreError> {
        let users: Vec<User> = keys.iter().map(|found| User::key(&found.value, now)).collect();
        let used = self.used(&users, now).await?;
        let views = keys.iter().zip(used);
        Ok(views.map(|(found, used)| KeyView::new(&found.value, Some(&found.document.id), used, now)).collect())
    }

    pub(super) async fn key_list(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let (input, now) = (&context.query, context.now);
        let filter = Filter::new(input, now);
        let mut keys = self.every::<Key>(Kind::Key, now).await?;
        keys.retain(|found| filter.takes(found));
        let by = input.text("sort_by").unwrap_or("created_at");
        keys.sort_by_cached_key(|found| {
            let Stored { document, value: key } = found;
            let text = match by {
                "key_alias" => key.alias.clone(),
                "user_id" => key.user.clone(),
                "team_id" => key.team.clone(),
                _ => None,
            };
            let time = if by == "updated_at" { key.updated } else { key.created };
            (text, time, document.id.clone())
        });
        if input.text("sort_order") != Some("asc") {
            keys.reverse();
        }
        let count = |name: &str| input.get::<Option<u64>>(name).and_then(|count| usize::try_from(count).ok());
        let (page, size) = (count("page").unwrap_or(1), count("size").unwrap_or(10));
        let total = keys.len();
        let keys: Vec<Stored<Key>> = keys.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
        let (total_count, current_page, total_pages) = (total, page, total.div_ceil(size));
        if input.get("return_full_object") {
            let keys = self.key_views(&keys, now).await?;
            return Answer::of(&Listed { keys, total_count, current_page, total_pages });
        }
        let keys = keys.into_iter().map(|found| found.document.id).collect();
        Answer::of(&Listed { keys, total_count, current_page, total_pages })
    }

    pub(super) async fn balance(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let super::Actor::Key { record: key } = context.actor else {
            return Err(Problem::request("only a virtual key has a balance: call this with one"));
        };
        let now = context.now;
        let team = match &key.team {
            Some(team) => self.stored::<Team>(Kind::Team, team, now).await?,
            None => None,
        };
        let mut scopes = vec![("key", key.scope())];
        scopes.extend(team.map(|team| ("team", team.value.scope())));
        let ids: Vec<String> = scopes.iter().map(|(_, scope)| scope.id.clone()).collect();
        let ledgers = self.store.ledgers(&ids).await?;
        let mut limits = Vec::new();
        for ((name, scope), ledger) in scopes.iter().zip(ledgers) {
            left(name, &scope.limits, &ledger.standing(&scope.limits.stamp(now), now), now, &mut limits);
        }
        Answer::of(&Balance {
            key: &key.id,
            key_name: &key.shown,
            key_alias: key.alias.as_deref(),
            team_id: key.team.as_deref(),
            expires: key.expires.map(rfc3339),
            models: &key.models,
            spend: self.used_by(User::key(key, now), now).await?.spend,
            limits,
        })
    }
}

/// The outcomes of all, no more than [`AT_ONCE`] of which run at a time.
async fn in_turns<T, E>(mut all: Vec<impl Future<Output = Result<T, E>>>) -> Result<Vec<T>, E> {
    let mut out = Vec::with_capacity(all.len());
    while !all.is_empty() {
        let rest = all.split_off(AT_ONCE.min(all.len()));
        out.extend(try_join_all(std::mem::replace(&mut all, rest)).await?);
    }
    Ok(out)
}

/// What is left of each limit.
fn left(scope: &'static str, limits: &Limits, used: &Standing, now: u64, out: &mut Vec<Left>) {
    let stamp = limits.stamp(now);
    let at = |end: Option<u64>| end.map(rfc3339);
    // What came in this step counts for so many steps.
    let minute = at(Some((stamp.step + STEPS) * STEP));
    if let Some((most, _)) = limits.budget {
        out.push(Left {
            scope,
            limit: "max_budget",
            allowed: Amount::Money(most),
            used: Amount::Money(used.spent),
            remaining: Amount::Money(Money(most.0.saturating_sub(used.spent.0))),
            resets_at: at(stamp.budget.end),
        });
    }
    let counts = [
        ("token_quota", limits.quota.map(|(most, _)| most), used.quota, at(stamp.quota.end)),
        ("rpm_limit", limits.rpm, used.requests, minute.clone()),
        ("tpm_limit", limits.tpm, used.tokens, minute),
        ("max_parallel_requests", limits.parallel, used.parallel, None),
    ];
    for (limit, most, used, resets_at) in counts {
        let Some(most) = most else { continue };
        let (allowed, remaining) = (Amount::Count(most), Amount::Count(most.saturating_sub(used)));
        out.push(Left { scope, limit, allowed, used: Amount::Count(used), remaining, resets_at });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_store_is_asked_for_a_few_at_a_time_and_answers_keep_their_order() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let one = |number: usize| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                let mut woken = false;
                futures::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    let ready = std::mem::replace(&mut woken, true);
                    if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                now.set(now.get() - 1);
                if number == 99 { Err(number) } else { Ok(number) }
            }
        };
        let all = futures::executor::block_on(in_turns((0..30).map(one).collect()));
        assert_eq!((all, most.get()), (Ok((0..30).collect()), AT_ONCE));
        assert_eq!(futures::executor::block_on(in_turns((90..120).map(one).collect())), Err(99));
    }
}
