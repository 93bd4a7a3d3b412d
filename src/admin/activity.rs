//! What was used over time: litellm's daily activity, our series, and the requests themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Admin;
use super::context::{Answer, Context};
use super::problem::Problem;
use super::shape;
use super::usage::{DAY, Metrics, Owners, Part, Span, by, day_of, days, total};
use crate::meter::Money;
use crate::observe::clock::rfc3339;
use crate::order;
use crate::store::usage::{Entry, EntryQuery, Tokens, day};

#[derive(Serialize)]
struct Activity<'a> {
    results: Vec<Day<'a>>,
    metadata: Totals,
}

#[derive(Serialize)]
struct Totals {
    total_spend: Money,
    total_prompt_tokens: u64,
    total_completion_tokens: u64,
    total_cache_read_input_tokens: u64,
    total_cache_creation_input_tokens: u64,
    total_tokens: u64,
    total_successful_requests: u64,
    total_failed_requests: u64,
    total_api_requests: u64,
    page: u64,
    total_pages: u64,
    has_more: bool,
}

#[derive(Serialize)]
struct Day<'a> {
    date: &'a str,
    metrics: Metrics,
    breakdown: Breakdown<'a>,
}

#[derive(Serialize)]
struct Breakdown<'a> {
    models: BTreeMap<&'a str, Share<'a>>,
    model_groups: BTreeMap<&'a str, Share<'a>>,
    providers: BTreeMap<&'a str, Share<'a>>,
    entities: BTreeMap<&'a str, Share<'a>>,
    api_keys: BTreeMap<&'a str, KeyShare<'a>>,
    mcp_servers: Map<String, Value>,
    endpoints: Map<String, Value>,
}

#[derive(Serialize)]
struct Share<'a> {
    metrics: Metrics,
    metadata: Map<String, Value>,
    api_key_breakdown: BTreeMap<&'a str, KeyShare<'a>>,
}

#[derive(Serialize)]
struct KeyShare<'a> {
    metrics: Metrics,
    metadata: KeyMetadata<'a>,
}

#[derive(Serialize)]
struct KeyMetadata<'a> {
    key_alias: Option<&'a str>,
    team_id: Option<&'a str>,
    user_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Measured<'a> {
    from: String,
    to: String,
    totals: Metrics,
    series: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Series<'a> {
    name: &'a str,
    alias: Option<&'a str>,
    totals: Metrics,
    points: Vec<Point<'a>>,
}

#[derive(Serialize)]
struct Point<'a> {
    time: &'a str,
    #[serde(flatten)]
    metrics: Metrics,
}

#[derive(Serialize)]
struct Logs<'a> {
    logs: Vec<Log<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Log<'a> {
    id: &'a str,
    time: String,
    request_id: &'a str,
    key: Option<&'a str>,
    key_alias: Option<&'a str>,
    team_id: Option<&'a str>,
    end_user: Option<&'a str>,
    endpoint: &'a str,
    model: &'a str,
    requested_model: &'a str,
    deployment: Option<&'a str>,
    upstream: Option<&'a str>,
    upstream_model: Option<&'a str>,
    tokens: &'a Tokens,
    estimated: bool,
    cost: Option<Money>,
    first_byte_ms: Option<u64>,
    total_ms: u64,
    status: u16,
    stream: bool,
    attempts: u32,
    error: Option<&'a str>,
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<&'a str>,
}

impl<'a> Log<'a> {
    fn new(entry: &'a Entry, bodies: bool) -> Self {
        let known = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Self {
            id: &entry.id,
            time: rfc3339(entry.time),
            request_id: &entry.request_id,
            key: known(&entry.key),
            key_alias: known(&entry.key_alias),
            team_id: known(&entry.team),
            end_user: known(&entry.end_user),
            endpoint: &entry.endpoint,
            model: &entry.model,
            requested_model: known(&entry.requested_model).unwrap_or(&entry.model),
            deployment: known(&entry.deployment),
            upstream: known(&entry.upstream),
            upstream_model: known(&entry.upstream_model),
            tokens: &entry.tokens,
            estimated: entry.estimated,
            cost: entry.cost,
            first_byte_ms: entry.first_byte,
            total_ms: entry.total,
            status: entry.status,
            stream: entry.stream,
            attempts: entry.attempts,
            error: entry.error.as_deref(),
            tags: &entry.tags,
            request_body: entry.request_body.as_deref().filter(|_| bodies),
            response_body: entry.response_body.as_deref().filter(|_| bodies),
        }
    }
}

fn metrics(parts: &[&Part]) -> Metrics {
    Metrics::from(&total(parts.iter().copied()))
}

fn key_shares<'a>(parts: &[&'a Part], owners: &'a Owners) -> BTreeMap<&'a str, KeyShare<'a>> {
    let keys = by(parts.iter().copied(), |part| part.key.as_str());
    let shares = keys.into_iter().map(|(id, parts)| {
        let key = owners.get(id);
        let metadata = KeyMetadata {
            key_alias: key.and_then(|key| key.alias.as_deref()),
            team_id: key.and_then(|key| key.team.as_deref()),
            user_id: key.and_then(|key| key.user.as_deref()),
        };
        (id, KeyShare { metrics: metrics(&parts), metadata })
    });
    shares.collect()
}

fn shares<'a>(
    parts: &[&'a Part],
    owners: &'a Owners,
    name: impl Fn(&'a Part) -> &'a str,
) -> BTreeMap<&'a str, Share<'a>> {
    let groups = by(parts.iter().copied(), name).into_iter().map(|(name, parts)| {
        let api_key_breakdown = key_shares(&parts, owners);
        (name, Share { metrics: metrics(&parts), metadata: Map::new(), api_key_breakdown })
    });
    groups.collect()
}

impl Admin {
    pub(super) async fn activity(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let input = &context.query;
        let keys = self.asked_keys(context, ["api_key", "user_id"]).await?;
        let (from, to) = days(input, ["start_date", "end_date"], [0, 0])?;
        let model = input.text("model").map(str::to_owned);
        let parts = self.sums(&Span { from, to, keys, model, ..Span::default() }).await?;
        let owners = self.owners(context.now).await?;
        let page = input.get::<Option<u64>>("page").unwrap_or(1);
        let days = by(&parts, |part| part.time.as_str()).into_iter().rev().filter(|_| page == 1);
        let results = days.map(|(date, parts)| Day {
            date,
            metrics: metrics(&parts),
            breakdown: Breakdown {
                models: shares(&parts, &owners, |part| &part.model),
                model_groups: shares(&parts, &owners, |part| &part.model),
                providers: shares(&parts, &owners, |part| &part.upstream),
                entities: shares(&parts, &owners, |part| &part.team),
                api_keys: key_shares(&parts, &owners),
                mcp_servers: Map::new(),
                endpoints: Map::new(),
            },
        });
        let all = Metrics::from(&total(&parts));
        let metadata = Totals {
            total_spend: all.spend,
            total_prompt_tokens: all.prompt_tokens,
            total_completion_tokens: all.completion_tokens,
            total_cache_read_input_tokens: all.cache_read_input_tokens,
            total_cache_creation_input_tokens: all.cache_creation_input_tokens,
            total_tokens: all.total_tokens,
            total_successful_requests: all.successful_requests,
            total_failed_requests: all.failed_requests,
            total_api_requests: all.api_requests,
            page,
            total_pages: 1,
            has_more: false,
        };
        Answer::of(&Activity { results: results.collect(), metadata })
    }

    pub(super) async fn metrics(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let input = &context.query;
        let today = context.now / DAY;
        let keys = self.asked_keys(context, ["key", ""]).await?;
        let hours = input.text("interval") == Some("hour");
        let last = day_of(input, "from").unwrap_or(today).max(today);
        let first = day_of(input, "to").unwrap_or(today).saturating_sub(if hours { 0 } else { 30 });
        let (from, to) = days(input, ["from", "to"], [first, last])?;
        if hours && to - from > 6 {
            return Err(Problem::field("interval", "must be `day` for more than 7 days"));
        }
        let (team, model) = (input.text("team_id").map(str::to_owned), input.text("model").map(str::to_owned));
        let span = Span { from, to, keys, team, model, end_user: None };
        let parts = if hours { self.counted(&span, true).await? } else { self.sums(&span).await? };
        let name: fn(&Part) -> &str = match input.text("by") {
            Some("key") => |part| &part.key,
            Some("team") => |part| &part.team,
            Some("upstream") => |part| &part.upstream,
            Some("day") => |part| part.time.get(..10).unwrap_or_default(),
            None | Some(_) => |part| &part.model,
        };
        let keys = input.text("by") == Some("key");
        let owners = if keys { self.owners(context.now).await? } else { Owners::new() };
        let series = by(&parts, name).into_iter().map(|(name, parts)| {
            let points = by(parts.iter().copied(), |part| part.time.as_str());
            let points = points.into_iter().map(|(time, parts)| Point { time, metrics: metrics(&parts) });
            let alias = owners.get(name).and_then(|key| key.alias.as_deref());
            Series { name, alias, totals: metrics(&parts), points: points.collect() }
        });
        let mut series: Vec<Series<'_>> = series.collect();
        if input.text("by") != Some("day") {
            order::sort_by_key(&mut series, |series| std::cmp::Reverse(series.totals.spend));
        }
        let (from, to) = (day(from.saturating_mul(DAY)), day(to.saturating_mul(DAY)));
        Answer::of(&Measured { from, to, totals: Metrics::from(&total(&parts)), series })
    }

    pub(super) async fn logs(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let input = &context.query;
        let (from, to) = (input.text("from").and_then(shape::moment), input.text("to").and_then(shape::end));
        let from = from.unwrap_or_else(|| to.unwrap_or(context.now).saturating_sub(30 * DAY));
        let to = to.unwrap_or_else(|| context.now.saturating_add(DAY).max(from));
        let ended = from == to && input.text("to").and_then(shape::day).is_some();
        if from > to || ended {
            return Err(Problem::field("to", "must not be before `from`"));
        }
        let text = |name: &str| input.text(name).map(str::to_owned);
        let keys = self.asked_keys(context, ["key", ""]).await?;
        let limit = input.get::<Option<u64>>("limit").and_then(|limit| usize::try_from(limit).ok());
        let query = EntryQuery {
            from,
            to,
            key: keys.and_then(|keys| keys.into_iter().next()),
            team: text("team_id"),
            model: text("model"),
            end_user: text("end_user"),
            request_id: text("request_id"),
            failed: input.came("failed").then(|| input.get("failed")),
            before: text("before"),
            limit: limit.unwrap_or(100),
        };
        let page = self.store.entries(&query).await?;
        let bodies = input.get("bodies");
        let logs = page.entries.iter().map(|entry| Log::new(entry, bodies)).collect();
        Answer::of(&Logs { logs, next: page.next.as_deref() })
    }
}
