//! The cache between requests and Parameter Store.
//!
//! Nothing is fetched before a request needs it; then every parameter of the configuration is, in one go, by one of the
//! requests that wait. A value is used for its time to live, and longer when a refresh fails.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::config::secret::{ParameterName, Secret};
use crate::observe::clock::{self, Instant};

/// Where parameters come from.
pub trait SecretSource: Send + Sync {
    /// Fetches each of `names`; the result has one entry for each.
    fn fetch<'a>(
        &'a self,
        names: &'a [ParameterName],
    ) -> BoxFuture<'a, Vec<(ParameterName, Result<Secret, SourceError>)>>;
}

/// Why a parameter has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is none of that name, version or label.
    #[error("does not exist")]
    Missing,
    /// We may not read it.
    #[error("may not be read: access denied (the function's role needs ssm:GetParameters on it)")]
    Denied,
    /// Parameter Store did not answer. The text holds no secret.
    #[error("could not be fetched: {0}")]
    Unavailable(String),
}

/// How long a failed look-up is remembered, and a stale value used, before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(15);
/// How long a refresh may take while there is a value to go on with.
const STALE_PATIENCE: Duration = Duration::from_secs(2);
/// The shortest time between two forced refreshes: an upstream that keeps answering 401 must not become SSM calls.
const FORCED_EVERY: Duration = Duration::from_secs(5);

struct Entry {
    value: Result<Secret, SourceError>,
    until: Instant,
}

/// The cache.
pub struct Secrets {
    source: Option<Arc<dyn SecretSource>>,
    entries: RwLock<HashMap<ParameterName, Entry>>,
    /// Held while fetching: whoever comes second finds the first one's result. Holds the time of the last forced refresh.
    flight: Mutex<Option<Instant>>,
}

impl Secrets {
    /// A cache over `source`; without one every look-up says that this build has none.
    #[must_use]
    pub fn new(source: Option<Arc<dyn SecretSource>>) -> Self {
        Self { source, entries: RwLock::default(), flight: Mutex::default() }
    }

    /// The value of `name`. Where it has to be fetched, all of `together` is fetched with it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(
        &self,
        name: &ParameterName,
        together: &[ParameterName],
        ttl: Duration,
    ) -> Result<Secret, SourceError> {
        if let Some(value) = self.fresh(name) {
            return value;
        }
        let _flight = match (self.flight.try_lock(), self.stale(name)) {
            (Ok(flight), _) => flight,
            // Somebody is fetching; nobody else waits as long as there is a value.
            (Err(_), Some(value)) => return Ok(value),
            (Err(_), None) => self.flight.lock().await,
        };
        if let Some(value) = self.fresh(name) {
            return value;
        }
        self.fetch(name, together, ttl).await
    }

    /// Fetches anew although the value is fresh, since the upstream refused it. Gives the value if it is another one now.
    pub async fn rotated(
        &self,
        name: &ParameterName,
        refused: &Secret,
        together: &[ParameterName],
        ttl: Duration,
    ) -> Option<Secret> {
        let differs = |value: Result<Secret, SourceError>| value.ok().filter(|value| !value.equals(refused.expose()));
        let mut forced = self.flight.lock().await;
        // Another request may have fetched the new value while this one waited for the upstream or the lock.
        if let Some(value) = self.fresh(name).and_then(differs) {
            return Some(value);
        }
        if forced.is_some_and(|at| at.elapsed() < FORCED_EVERY) {
            return None;
        }
        *forced = Some(clock::now());
        differs(self.fetch(name, together, ttl).await)
    }

    fn fresh(&self, name: &ParameterName) -> Option<Result<Secret, SourceError>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(name)?;
        (clock::now() < entry.until).then(|| entry.value.clone())
    }

    /// A value that was good once, whatever its age.
    fn stale(&self, name: &ParameterName) -> Option<Secret> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).and_then(|entry| entry.value.clone().ok())
    }

    async fn fetch(
        &self,
        name: &ParameterName,
        together: &[ParameterName],
        ttl: Duration,
    ) -> Result<Secret, SourceError> {
        let Some(source) = &self.source else {
            return Err(SourceError::Unavailable("this build has no Parameter Store (feature `ssm`)".to_owned()));
        };
        let mut names = together.to_vec();
        if !names.contains(name) {
            names.push(name.clone());
        }
        let fetched = source.fetch(&names);
        let fetched = if self.stale(name).is_some() {
            // What there is serves better than a wait.
            tokio::time::timeout(STALE_PATIENCE, fetched).await.unwrap_or_else(|_| {
                let late = SourceError::Unavailable("no answer in time".to_owned());
                names.iter().map(|name| (name.clone(), Err(late.clone()))).collect()
            })
        } else {
            fetched.await
        };
        let now = clock::now();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in fetched {
            let (value, until) = match value {
                // ±20 %, so that instances that started together do not refresh together.
                Ok(value) => (Ok(value), now + ttl.mul_f64(0.8 + 0.4 * fastrand::f64())),
                // A parameter that was deleted is not used any more: that is how a key is withdrawn.
                Err(error) => match entries.remove(&name) {
                    Some(Entry { value: Ok(stale), .. }) if error != SourceError::Missing => {
                        tracing::warn!(parameter = name.as_str(), %error, "parameter not refreshed; its last value stays in use");
                        (Ok(stale), now + RETRY_AFTER)
                    }
                    _ => {
                        tracing::error!(parameter = name.as_str(), "parameter {error}");
                        (Err(error), now + RETRY_AFTER)
                    }
                },
            };
            entries.insert(name, Entry { value, until });
        }
        entries.get(name).map_or(Err(SourceError::Missing), |entry| entry.value.clone())
    }
}
