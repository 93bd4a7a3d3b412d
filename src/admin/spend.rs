//! What was spent, in litellm's words: `/spend/logs` and `/global/spend/report`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Admin;
use super::context::{Answer, Context, Ordered};
use super::problem::Problem;
use super::usage::{DAY, Metrics, Owners, Part, Span, by, day_of, days, total};
use crate::meter::Money;
use crate::observe::clock::rfc3339;
use crate::order;
use crate::store::Kind;
use crate::store::key::Team;
use crate::store::usage::{Entry, EntryQuery};

/// Requests in an answer.
const MOST: usize = 1000;

/// A request, as litellm logs it.
#[derive(Serialize)]
struct Row {
    request_id: String,
    call_type: String,
    /// The key's id: hashes of secrets are nobody's business in a log.
    api_key: String,
    key_alias: String,
    spend: Option<Money>,
    total_tokens: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(rename = "startTime")]
    start: String,
    #[serde(rename = "endTime")]
    end: String,
    #[serde(rename = "completionStartTime")]
    first: Option<String>,
    model: String,
    model_group: String,
    model_id: String,
    custom_llm_provider: String,
    user: Option<String>,
    team_id: String,
    end_user: String,
    request_tags: Vec<String>,
    status: &'static str,
    metadata: RowMetadata,
}

#[derive(Serialize)]
struct RowMetadata {
    status_code: u16,
    error: Option<String>,
    attempts: u32,
    estimated: bool,
}

impl Row {
    fn new(entry: Entry, owners: &Owners) -> Self {
        let metrics = Metrics::from(&entry.sums());
        Self {
            user: owners.get(&entry.key).and_then(|key| key.user.clone()),
            status: if entry.error.is_none() { "success" } else { "failure" },
            spend: entry.cost,
            total_tokens: metrics.total_tokens,
            prompt_tokens: metrics.prompt_tokens,
            completion_tokens: metrics.completion_tokens,
            start: rfc3339(entry.time),
            end: rfc3339(entry.time.saturating_add(entry.total)),
            first: entry.first_byte.map(|first| rfc3339(entry.time.saturating_add(first))),
            metadata: RowMetadata {
                status_code: entry.status,
                error: entry.error,
                attempts: entry.attempts,
                estimated: entry.estimated,
            },
            request_id: entry.request_id,
            call_type: entry.endpoint,
            api_key: entry.key,
            key_alias: entry.key_alias,
            model: entry.upstream_model,
            model_group: entry.model,
            model_id: entry.deployment,
            custom_llm_provider: entry.upstream,
            team_id: entry.team,
            end_user: entry.end_user,
            request_tags: entry.tags,
        }
    }
}

/// What a field of a day's row is.
#[derive(Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    Text(&'a str),
    Money(Money),
    Count(u64),
    Map(BTreeMap<&'a str, Money>),
}

#[derive(Serialize)]
struct Detail<'a> {
    model: &'a str,
    api_key: &'a str,
    spend: Money,
    total_tokens: u64,
    unpriced_requests: u64,
}

#[derive(Serialize)]
struct TeamDay<'a> {
    group_by_day: &'a str,
    teams: Vec<OneTeam<'a>>,
}

#[derive(Serialize)]
struct OneTeam<'a> {
    team_name: &'a str,
    team_id: &'a str,
    total_spend: Money,
    unpriced_requests: u64,
    metadata: Vec<Detail<'a>>,
}

#[derive(Serialize)]
struct CustomerDay<'a> {
    group_by_day: &'a str,
    customers: Vec<OneCustomer<'a>>,
}

#[derive(Serialize)]
struct OneCustomer<'a> {
    customer: &'a str,
    total_spend: Money,
    unpriced_requests: u64,
    metadata: Vec<Detail<'a>>,
}

#[derive(Serialize)]
struct OneKey<'a> {
    api_key: &'a str,
    total_cost: Money,
    total_input_tokens: u64,
    total_output_tokens: u64,
    unpriced_requests: u64,
    model_details: Vec<OneModel<'a>>,
}

#[derive(Serialize)]
struct OneModel<'a> {
    model: &'a str,
    total_cost: Money,
    total_input_tokens: u64,
    total_output_tokens: u64,
    unpriced_requests: u64,
}

fn spent(parts: &[&Part]) -> Money {
    total(parts.iter().copied()).cost
}

fn unpriced(parts: &[&Part]) -> u64 {
    total(parts.iter().copied()).unpriced
}

/// The sums by what `name` says.
fn spent_by<'a>(parts: &[&'a Part], name: impl Fn(&'a Part) -> &'a str) -> BTreeMap<&'a str, Money> {
    by(parts.iter().copied(), name).into_iter().map(|(name, parts)| (name, spent(&parts))).collect()
}

/// The sums by model and key.
fn details<'a>(parts: &[&'a Part]) -> Vec<Detail<'a>> {
    let models = by(parts.iter().copied(), |part| part.model.as_str());
    let each = models.into_iter().flat_map(|(model, parts)| {
        let keys = by(parts, |part: &Part| part.key.as_str());
        keys.into_iter().map(move |(api_key, parts)| {
            let sums = total(parts);
            let (spend, total_tokens) = (sums.cost, sums.tokens.total());
            Detail { model, api_key, spend, total_tokens, unpriced_requests: sums.unpriced }
        })
    });
    each.collect()
}

impl Admin {
    pub(super) async fn spend_logs(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let input = &context.query;
        let keys = self.asked_keys(context, ["api_key", "user_id"]).await?;
        let today = context.now / DAY;
        let (from, to) = days(input, ["start_date", "end_date"], [0, today.saturating_add(1)])?;
        let owners = self.owners(context.now).await?;
        let both = day_of(input, "start_date").is_some() && day_of(input, "end_date").is_some();
        let sums = both && (!input.came("summarize") || input.get("summarize")) && !input.came("request_id");
        if sums {
            let parts = self.sums(&Span { from, to, keys, ..Span::default() }).await?;
            return day_rows(&parts, &owners);
        }
        let query = EntryQuery {
            from: from.saturating_mul(DAY),
            to: to.saturating_add(1).saturating_mul(DAY),
            request_id: input.text("request_id").map(str::to_owned),
            // One more tells whether there are more.
            limit: MOST + 1,
            ..EntryQuery::default()
        };
        let (mut rows, mut more) = (Vec::new(), false);
        let mut take = |entry| {
            more = rows.len() >= MOST;
            if !more {
                rows.push(Row::new(entry, &owners));
            }
            !more
        };
        let whole = self.walk(query, keys.as_deref(), &mut take).await?;
        Ok(Answer { cut: more || !whole, ..Answer::of(&rows)? })
    }

    pub(super) async fn spend_report(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let input = &context.query;
        let keys = self.asked_keys(context, ["api_key", "internal_user_id"]).await?;
        let (from, to) = days(input, ["start_date", "end_date"], [0, 0])?;
        let team = input.text("team_id").map(str::to_owned);
        let end_user = input.text("customer_id").map(str::to_owned);
        let by_key = keys.is_some();
        let span = Span { from, to, keys, team, end_user, model: None };
        match input.text("group_by") {
            Some("customer") => customer_days(&self.counted(&span, false).await?),
            None | Some(_) if span.end_user.is_some() => customer_days(&self.counted(&span, false).await?),
            Some("api_key") => key_rows(&self.sums(&span).await?),
            None | Some(_) if by_key => key_rows(&self.sums(&span).await?),
            None | Some(_) => {
                let parts = self.sums(&span).await?;
                self.team_days(&parts, context).await
            }
        }
    }

    async fn team_days(&self, parts: &[Part], context: &Context<'_>) -> Result<Answer, Problem> {
        let teams = self.every::<Team>(Kind::Team, context.now).await?;
        let aliases: BTreeMap<&str, &str> =
            teams.iter().filter_map(|team| Some((team.value.id.as_str(), team.value.alias.as_deref()?))).collect();
        let days = by(parts, |part| part.time.as_str()).into_iter().map(|(group_by_day, parts)| {
            let teams = by(parts, |part: &Part| part.team.as_str()).into_iter().map(|(team_id, parts)| OneTeam {
                team_name: aliases.get(team_id).copied().unwrap_or(team_id),
                team_id,
                total_spend: spent(&parts),
                unpriced_requests: unpriced(&parts),
                metadata: details(&parts),
            });
            TeamDay { group_by_day, teams: teams.collect() }
        });
        Answer::of(&days.collect::<Vec<_>>())
    }
}

fn customer_days(parts: &[Part]) -> Result<Answer, Problem> {
    let days = by(parts, |part| part.time.as_str()).into_iter().map(|(group_by_day, parts)| {
        let customers = by(parts, |part: &Part| part.end_user.as_str());
        let customers = customers.into_iter().map(|(customer, parts)| OneCustomer {
            customer,
            total_spend: spent(&parts),
            unpriced_requests: unpriced(&parts),
            metadata: details(&parts),
        });
        CustomerDay { group_by_day, customers: customers.collect() }
    });
    Answer::of(&days.collect::<Vec<_>>())
}

/// By key, what spent most first.
fn key_rows(parts: &[Part]) -> Result<Answer, Problem> {
    let keys = by(parts, |part| part.key.as_str()).into_iter().map(|(api_key, parts)| {
        let metrics = Metrics::from(&total(parts.iter().copied()));
        let models = by(parts, |part: &Part| part.model.as_str()).into_iter().map(|(model, parts)| {
            let metrics = Metrics::from(&total(parts));
            OneModel {
                model,
                total_cost: metrics.spend,
                total_input_tokens: metrics.prompt_tokens,
                total_output_tokens: metrics.completion_tokens,
                unpriced_requests: metrics.unpriced_requests,
            }
        });
        OneKey {
            api_key,
            total_cost: metrics.spend,
            total_input_tokens: metrics.prompt_tokens,
            total_output_tokens: metrics.completion_tokens,
            unpriced_requests: metrics.unpriced_requests,
            model_details: models.collect(),
        }
    });
    let mut keys: Vec<OneKey<'_>> = keys.collect();
    order::sort_by_key(&mut keys, |key| std::cmp::Reverse(key.total_cost));
    Answer::of(&keys)
}

/// A row for each day: litellm has the keys beside the fields.
fn day_rows(parts: &[Part], owners: &Owners) -> Result<Answer, Problem> {
    let user = |part: &&Part| owners.get(&part.key).and_then(|key| key.user.as_deref());
    let rows: Vec<Vec<(String, Cell<'_>)>> = by(parts, |part| part.time.as_str())
        .into_iter()
        .map(|(day, parts)| {
            let keys = spent_by(&parts, |part| &part.key);
            let mut row: Vec<(String, Cell<'_>)> = Vec::with_capacity(keys.len() + 5);
            row.extend(
                keys.into_iter()
                    .filter(|(key, _)| !key.is_empty())
                    .map(|(key, spent)| (key.to_owned(), Cell::Money(spent))),
            );
            let mut users: BTreeMap<&str, Money> = BTreeMap::new();
            for part in &parts {
                if let Some(user) = user(part) {
                    let spent = users.entry(user).or_default();
                    *spent = spent.plus(part.sums.cost);
                }
            }
            row.push(("startTime".to_owned(), Cell::Text(day)));
            row.push(("spend".to_owned(), Cell::Money(spent(&parts))));
            row.push(("unpriced_requests".to_owned(), Cell::Count(unpriced(&parts))));
            row.push(("users".to_owned(), Cell::Map(users)));
            row.push(("models".to_owned(), Cell::Map(spent_by(&parts, |part| &part.model))));
            row
        })
        .collect();
    Answer::of(&rows.iter().map(|row| Ordered(row)).collect::<Vec<_>>())
}
