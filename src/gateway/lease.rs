//! An attempt, as far as its deployment's state is concerned: it is under way until this is dropped, and what became of it is
//! told once.

use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::state::State;
use crate::config::settings::Deployment;
use crate::observe::clock::{self, Instant};
use crate::route::health::{Attempt, Failed, Sample};
use crate::route::rules::Member;
use crate::wire::Usage;

/// A deployment's attempt. Dropping it ends it.
pub(super) struct Lease {
    gateway: Arc<Gateway>,
    attempt: Attempt,
    member: Member,
    deployment: Arc<Deployment>,
    alone: bool,
    began: Instant,
}

impl Lease {
    /// Begins an attempt at a member of a pool. `None` where somebody else took the only place meanwhile.
    pub(super) fn begin(gateway: &Arc<Gateway>, state: &State, (group, place): (usize, usize)) -> Option<Self> {
        let pool = state.router.pools.get(group)?;
        let member = pool.members.get(place)?;
        let attempt = state.router.health.get(member.place)?.claim(gateway.millis(), member)?;
        Some(Self {
            gateway: Arc::clone(gateway),
            attempt,
            member: member.clone(),
            deployment: Arc::clone(state.settings.groups.get(group)?.deployments.get(place)?),
            alone: pool.members.len() == 1,
            began: clock::now(),
        })
    }

    /// How long it is under way.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The answer has come, or its first content.
    pub(super) fn succeeded(&self) {
        let sample = Sample { latency: clock::millis(self.began.elapsed()), tokens: None };
        self.attempt.succeeded(self.gateway.millis(), sample);
    }

    /// The attempt failed, be it after its first content.
    pub(super) fn failed(&self, failed: &Failed) {
        let cooling = self.attempt.failed(self.gateway.millis(), failed, &self.member, self.alone);
        if let Some((cooling, shared)) = cooling.zip(self.gateway.shared_cooldowns.get()) {
            shared.began(&self.deployment.id, cooling);
        }
    }

    /// The tokens of the answer are known.
    pub(super) fn used(&self, usage: &Usage) {
        let counts = [usage.input, usage.output, usage.cache_read, usage.cache_write];
        let tokens = counts.into_iter().flatten().fold(0, u64::saturating_add);
        if tokens > 0 {
            self.attempt.used(self.gateway.millis(), tokens);
        }
    }
}
