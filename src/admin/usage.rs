//! What was used, as all reports begin with it: a span of days, of some keys, and the sums.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Admin;
use super::context::Context;
use super::problem::Problem;
use super::read::Input;
use super::shape;
use crate::meter::Money;
use crate::observe::clock::rfc3339;
use crate::store::key::Key;
use crate::store::usage::{DailyQuery, Entry, EntryQuery, Sums, day};
use crate::store::{Kind, StoreError};

pub(super) const DAY: u64 = 86_400_000;
/// Requests that a report looks at, a page at a time, before it gives up.
const PAGE: usize = 1000;
const PAGES: usize = 200;

/// Which use is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    /// Days since 1970, the last one included.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Ids of keys.
    pub(super) keys: Option<Vec<String>>,
    pub(super) team: Option<String>,
    pub(super) model: Option<String>,
    pub(super) end_user: Option<String>,
}

/// Sums of one kind of use.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// The day, or the hour.
    pub(super) time: String,
    pub(super) key: String,
    pub(super) team: String,
    pub(super) model: String,
    pub(super) upstream: String,
    /// Only where requests were counted.
    pub(super) end_user: String,
    pub(super) sums: Sums,
}

/// Sums in litellm's words.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Metrics {
    pub(super) spend: Money,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    reasoning_tokens: u64,
    pub(super) total_tokens: u64,
    pub(super) successful_requests: u64,
    pub(super) failed_requests: u64,
    pub(super) api_requests: u64,
    pub(super) unpriced_requests: u64,
}

impl From<&Sums> for Metrics {
    fn from(sums: &Sums) -> Self {
        let Sums { requests, failures, tokens, cost, unpriced } = sums;
        Self {
            spend: *cost,
            prompt_tokens: tokens.total().saturating_sub(tokens.output),
            completion_tokens: tokens.output,
            cache_read_input_tokens: tokens.cache_read,
            cache_creation_input_tokens: tokens.cache_write,
            reasoning_tokens: tokens.reasoning,
            total_tokens: tokens.total(),
            successful_requests: requests.saturating_sub(*failures),
            failed_requests: *failures,
            api_requests: *requests,
            unpriced_requests: *unpriced,
        }
    }
}

/// The sums of all.
pub(super) fn total<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Sums {
    parts.into_iter().fold(Sums::default(), |sums, part| sums.plus(&part.sums))
}

/// Parts by what `name` says of them.
pub(super) fn by<'a>(
    parts: impl IntoIterator<Item = &'a Part>,
    name: impl Fn(&'a Part) -> &'a str,
) -> BTreeMap<&'a str, Vec<&'a Part>> {
    let mut groups: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        groups.entry(name(part)).or_default().push(part);
    }
    groups
}

/// A field that is a day, in days since 1970.
pub(super) fn day_of(input: &Input, name: &str) -> Option<u64> {
    input.text(name).and_then(shape::day)
}

/// The days from one field to another, which has to be no earlier.
pub(super) fn days(input: &Input, names: [&str; 2], otherwise: [u64; 2]) -> Result<(u64, u64), Problem> {
    let [first, last] = names;
    let [from, to] = otherwise;
    let (from, to) = (day_of(input, first).unwrap_or(from), day_of(input, last).unwrap_or(to));
    if from > to {
        return Err(Problem::field(last, format!("must not be before `{first}`")));
    }
    Ok((from, to))
}

/// What is known of keys, by their ids.
pub(super) type Owners = HashMap<String, Key>;

impl Admin {
    /// All keys that are there.
    pub(super) async fn owners(&self, now: u64) -> Result<Owners, StoreError> {
        let keys = self.every::<Key>(Kind::Key, now).await?;
        Ok(keys.into_iter().map(|found| (found.value.id.clone(), found.value)).collect())
    }

    /// The ids of the keys that two fields ask for: one key, or all of a user.
    pub(super) async fn asked_keys(
        &self,
        context: &Context<'_>,
        [key, user]: [&str; 2],
    ) -> Result<Option<Vec<String>>, Problem> {
        let mut keys = None;
        if let Some(named) = context.query.text(key) {
            // Of a key that is gone the record is still there, under its id.
            keys = Some(vec![if shape::key_id(named) {
                named.to_owned()
            } else {
                self.key_of(Some(named), key, context.now).await?.value.id
            }]);
        }
        if let Some(user) = context.query.text(user) {
            let owners = self.owners(context.now).await?;
            let own = |id: &String| owners.get(id).is_some_and(|key| key.user.as_deref() == Some(user));
            keys = Some(match keys {
                Some(keys) => keys.into_iter().filter(own).collect(),
                None => owners.keys().filter(|id| own(id)).cloned().collect(),
            });
        }
        Ok(keys)
    }

    /// The sums by day.
    pub(super) async fn sums(&self, span: &Span) -> Result<Vec<Part>, StoreError> {
        let one =
            span.keys.as_ref().and_then(|keys| if let [key] = keys.as_slice() { Some(key.clone()) } else { None });
        let query = DailyQuery {
            from: day(span.from.saturating_mul(DAY)),
            to: day(span.to.saturating_mul(DAY)),
            key: one,
            team: span.team.clone(),
            model: span.model.clone(),
        };
        let mut all = self.store.daily(&query).await?;
        all.retain(|daily| span.keys.as_ref().is_none_or(|keys| keys.contains(&daily.key)));
        let parts = all.into_iter().map(|daily| Part {
            time: daily.day,
            key: daily.key,
            team: daily.team,
            model: daily.model,
            upstream: daily.upstream,
            end_user: String::new(),
            sums: daily.sums,
        });
        Ok(parts.collect())
    }

    /// The sums of requests, by day or by hour.
    pub(super) async fn counted(&self, span: &Span, hours: bool) -> Result<Vec<Part>, Problem> {
        let query = EntryQuery {
            from: span.from.saturating_mul(DAY),
            to: span.to.saturating_add(1).saturating_mul(DAY),
            team: span.team.clone(),
            model: span.model.clone(),
            end_user: span.end_user.clone(),
            limit: PAGE,
            ..EntryQuery::default()
        };
        let mut sums: BTreeMap<[String; 6], Sums> = BTreeMap::new();
        let mut count = |entry: Entry| {
            let time = if hours { rfc3339(entry.time / 3_600_000 * 3_600_000) } else { entry.day() };
            let own = entry.sums();
            let of = [time, entry.key, entry.team, entry.model, entry.upstream, entry.end_user];
            let sums = sums.entry(of).or_default();
            *sums = sums.plus(&own);
            true
        };
        if !self.walk(query, span.keys.as_deref(), &mut count).await? {
            let message = format!("there are more than {} requests in these days; ask for fewer", PAGE * PAGES);
            return Err(Problem::request(message));
        }
        let parts = sums.into_iter().map(|([time, key, team, model, upstream, end_user], sums)| Part {
            time,
            key,
            team,
            model,
            upstream,
            end_user,
            sums,
        });
        Ok(parts.collect())
    }

    /// Gives requests to `each`, the newest first, as long as it wants more. `false` where there were too many.
    pub(super) async fn walk(
        &self,
        mut query: EntryQuery,
        keys: Option<&[String]>,
        each: &mut (dyn FnMut(Entry) -> bool + Send),
    ) -> Result<bool, StoreError> {
        if let Some([key]) = keys {
            query.key = Some(key.clone());
        } else if keys.is_some_and(<[String]>::is_empty) {
            return Ok(true);
        }
        for _ in 0..PAGES {
            let page = self.store.entries(&query).await?;
            for entry in page.entries {
                if keys.is_none_or(|keys| keys.contains(&entry.key)) && !each(entry) {
                    return Ok(true);
                }
            }
            let Some(next) = page.next else { return Ok(true) };
            query.before = Some(next);
        }
        Ok(false)
    }
}
