//! Virtual keys and teams as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Scope;
use crate::meter::Money;
use crate::meter::ledger::Limits;
use crate::meter::money::units;
use crate::meter::period::Period;
use crate::route::table::fits;

/// litellm's names for all models, where they say what an empty list says.
pub const ALL_MODELS: [&str; 2] = ["all-proxy-models", "all-team-models"];

/// Whether a list of names and patterns allows a model that goes by any of these names. An empty one allows all.
#[must_use]
pub fn allows(models: &[String], names: &[&str]) -> bool {
    let takes =
        |allowed: &String| ALL_MODELS.contains(&allowed.as_str()) || names.iter().any(|name| fits(allowed, name));
    models.is_empty() || models.iter().any(takes)
}

/// What a key or a team may use, as an administrator said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// The most that may be spent in a period.
    #[serde(with = "units", skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<Money>,
    /// The period of `max_budget` and `max_tokens`, as [`Period::parse`] reads it; without one they are for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<String>,
    /// Above this, the log and the answer's header warn.
    #[serde(with = "units", skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<Money>,
    /// The most tokens in the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm_limit: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_limit: Option<u64>,
    /// Requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u64>,
    /// Over how many items its counts are spread in `DynamoDB`; 1 where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
}

impl Allowance {
    /// The limits; `anchor` is when the budget's first period began, in Unix milliseconds.
    #[must_use]
    pub fn limits(&self, anchor: u64) -> Limits {
        let period = self.budget_duration.as_deref().and_then(Period::parse).unwrap_or_default();
        Limits {
            budget: self.max_budget.map(|most| (most, period)),
            quota: self.max_tokens.map(|most| (most, period)),
            rpm: self.rpm_limit,
            tpm: self.tpm_limit,
            parallel: self.max_parallel_requests,
            anchor,
        }
    }

    fn scope(&self, id: String, anchor: u64) -> Scope {
        Scope { id, limits: self.limits(anchor), shards: self.shards.unwrap_or(1).clamp(1, 64) }
    }
}

/// A virtual key. Its document's id is the hash of the secret, its unique name is the alias.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Key {
    /// `key_…`: stays the same when the secret is regenerated, and names the key in records and limits.
    pub id: String,
    /// The end of the secret: `sk-fg-...aB3d`.
    pub shown: String,
    /// A name of the administrator's.
    pub alias: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// Its team's id.
    pub team: Option<String>,
    /// Anything.
    pub metadata: Map<String, Value>,
    /// Model groups that it may use, by name or by a pattern with `*`; all where the list is empty.
    pub models: Vec<String>,
    /// Endpoints that it may call, as paths (`/v1/messages`), a `*` at the end standing for all below; all where the list is
    /// empty.
    pub endpoints: Vec<String>,
    /// Addresses and ranges it may be used from; all where the list is empty.
    pub ips: Vec<String>,
    /// From when on it is not valid, in Unix milliseconds.
    pub expires: Option<u64>,
    /// Whether it is switched off.
    pub blocked: bool,
    /// What it may use.
    pub allowance: Allowance,
    /// Tags of its requests, for records and for routing by tags.
    pub tags: Vec<String>,
    /// A system prompt for its requests, put before their own.
    pub system_prompt: Option<String>,
    /// Callers that AWS has identified by this ARN use this key without sending it: exact, or with one `*` at its end.
    pub arn: Option<String>,
    /// When it was made, in Unix milliseconds.
    pub created: u64,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub updated: u64,
    /// When the first period of its budget began.
    pub anchor: u64,
}

impl Key {
    /// Where its requests count.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.allowance.scope(format!("key:{}", self.id), self.anchor)
    }
}

/// A team: its limits bind all its keys together. Its document's unique name is the alias.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Team {
    /// `team_…`, or what the administrator chose.
    pub id: String,
    /// A name of the administrator's.
    pub alias: Option<String>,
    /// Anything.
    pub metadata: Map<String, Value>,
    /// Model groups that its keys may use beside what each of them may; all where the list is empty.
    pub models: Vec<String>,
    /// Whether all its keys are switched off.
    pub blocked: bool,
    /// What they may use together.
    pub allowance: Allowance,
    /// When it was made, in Unix milliseconds.
    pub created: u64,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub updated: u64,
    /// When the first period of its budget began.
    pub anchor: u64,
}

impl Team {
    /// Where its keys' requests count.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.allowance.scope(format!("team:{}", self.id), self.anchor)
    }
}
