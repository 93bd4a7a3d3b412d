//! The record of requests: one entry for each, and sums by day.

use serde::{Deserialize, Serialize};

use crate::calendar::date;
use crate::meter::Money;
use crate::meter::money::units;

/// The tokens of a request, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Input that the cache had nothing to do with.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Input read from the prompt cache.
    pub cache_read: u64,
    /// Input written to the prompt cache.
    pub cache_write: u64,
    /// The part of the output that was reasoning.
    pub reasoning: u64,
    /// The part of the input that was audio.
    pub audio_input: u64,
    /// The part of the output that was audio.
    pub audio_output: u64,
}

impl Tokens {
    /// All that are counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.input, self.output, self.cache_read, self.cache_write].into_iter().fold(0, u64::saturating_add)
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            audio_output: self.audio_output.saturating_add(other.audio_output),
        }
    }
}

/// One request. What is empty or `None` is not known, or was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Sorts by time: 13 digits of [`time`](Self::time), a dash, something random. Never used twice.
    pub id: String,
    /// When it came, in Unix milliseconds.
    pub time: u64,
    /// The request's id, which a client may have chosen, and may use again.
    pub request_id: String,
    /// The virtual key's [id](super::key::Key::id); empty with the master key.
    pub key: String,
    /// The key's alias at that time.
    pub key_alias: String,
    /// The team's id.
    pub team: String,
    /// Whom the request says it is for.
    pub end_user: String,
    /// The endpoint's label: `chat.completions`.
    pub endpoint: String,
    /// The model group that answered, or was tried last.
    pub model: String,
    /// What the request called it, where that is another name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub requested_model: String,
    /// The deployment that answered, or was tried last.
    pub deployment: String,
    /// Its upstream: `openai`.
    pub upstream: String,
    /// The model's name there.
    pub upstream_model: String,
    /// Its tokens.
    pub tokens: Tokens,
    /// Whether the tokens are the estimate, since the upstream did not tell them.
    pub estimated: bool,
    /// What it cost, as far as the prices are known.
    #[serde(with = "units")]
    pub cost: Option<Money>,
    /// The time to the first byte, in milliseconds.
    pub first_byte: Option<u64>,
    /// The whole time, in milliseconds.
    pub total: u64,
    /// The status of the answer.
    pub status: u16,
    /// Whether it was a stream.
    pub stream: bool,
    /// Calls of upstreams that it took.
    pub attempts: u32,
    /// The class of its error.
    pub error: Option<String>,
    /// Its tags: the key's and the request's.
    pub tags: Vec<String>,
    /// The request's body, where bodies are kept.
    pub request_body: Option<String>,
    /// The answer's body, where bodies are kept.
    pub response_body: Option<String>,
}

impl Entry {
    /// The day it came on, in UTC.
    #[must_use]
    pub fn day(&self) -> String {
        day(self.time)
    }

    /// What it adds to the sums of its day.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums {
            requests: 1,
            failures: u64::from(self.error.is_some()),
            tokens: self.tokens,
            cost: self.cost.unwrap_or_default(),
            unpriced: u64::from(self.cost.is_none()),
        }
    }
}

/// The day of a moment, in UTC: `2026-11-21`.
#[must_use]
pub fn day(unix_millis: u64) -> String {
    let (year, month, day) = date(i64::try_from(unix_millis / 86_400_000).unwrap_or(0));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Which entries are asked for. Empty and `None` ask for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryQuery {
    /// The first moment, in Unix milliseconds.
    pub from: u64,
    /// The first moment that is too late.
    pub to: u64,
    /// The key's id.
    pub key: Option<String>,
    /// The team's id.
    pub team: Option<String>,
    /// The model group.
    pub model: Option<String>,
    /// The end user.
    pub end_user: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// Failed ones, or those that did not.
    pub failed: Option<bool>,
    /// Only what is older than the entry of this [id](Entry::id).
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl EntryQuery {
    /// Whether an entry is asked for, page and limit aside.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        (self.from..self.to).contains(&entry.time)
            && is(&self.key, &entry.key)
            && is(&self.team, &entry.team)
            && is(&self.model, &entry.model)
            && is(&self.end_user, &entry.end_user)
            && is(&self.request_id, &entry.request_id)
            && self.failed.is_none_or(|failed| failed == entry.error.is_some())
    }
}

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// What to ask on from; `None` where there are no more. A page may be short, or even empty, and not be the last one.
    pub next: Option<String>,
}

/// What comes together in a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What they cost, as far as that is known.
    #[serde(serialize_with = "crate::meter::money::whole", deserialize_with = "crate::meter::money::from_whole")]
    pub cost: Money,
    /// Requests with tokens whose cost is not known.
    pub unpriced: u64,
}

impl Sums {
    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            failures: self.failures.saturating_add(other.failures),
            tokens: self.tokens.plus(&other.tokens),
            cost: self.cost.plus(other.cost),
            unpriced: self.unpriced.saturating_add(other.unpriced),
        }
    }
}

/// The sums of a day for one key, team, model and deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daily {
    /// The day, in UTC: `2026-11-21`.
    pub day: String,
    /// The key's id.
    pub key: String,
    /// The team's id.
    pub team: String,
    /// The model group.
    pub model: String,
    /// The upstream: `openai`.
    pub upstream: String,
    /// The sums.
    pub sums: Sums,
}

/// Which sums are asked for. `None` asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DailyQuery {
    /// The first day: `2026-11-01`.
    pub from: String,
    /// The last day.
    pub to: String,
    /// The key's id.
    pub key: Option<String>,
    /// The team's id.
    pub team: Option<String>,
    /// The model group.
    pub model: Option<String>,
}

impl DailyQuery {
    /// Whether sums are asked for.
    #[must_use]
    pub fn takes(&self, daily: &Daily) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        self.from <= daily.day
            && daily.day <= self.to
            && is(&self.key, &daily.key)
            && is(&self.team, &daily.team)
            && is(&self.model, &daily.model)
    }
}
