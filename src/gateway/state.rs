//! A configuration in use, with what routing makes of it.

use std::sync::Arc;

use super::gate::Gate;
use crate::config::secret::{ParameterName, Text};
use crate::config::settings::{Deployment, Group, Settings};
use crate::observe::clock;
use crate::route::balance::Turn;
use crate::route::health::Health;
use crate::route::plan::Router;
use crate::route::rules::{Member, Pool};
use crate::route::table::{Named, Other, Table};

/// A configuration in use.
pub struct State {
    /// What it says.
    pub settings: Arc<Settings>,
    /// What the names in it mean.
    pub table: Table,
    /// Its groups as routing sees them, in the same order, and the state of their deployments.
    pub(crate) router: Router,
    /// Its limits, with what is counted for them.
    pub(crate) gate: Gate,
    /// Its parameters, fetched together.
    pub parameters: Vec<ParameterName>,
    /// When it was taken up, in Unix seconds.
    pub since: u64,
}

impl State {
    /// Takes up `settings`. What `before` has learned of a deployment stays known as far as it is the same one.
    pub(super) fn new(settings: Arc<Settings>, before: Option<&Self>) -> Self {
        let table = names(&settings);
        let parameters = settings.parameters();
        let router = router(&settings, before);
        let gate = Gate::new(&settings, before.map(|before| &before.gate));
        Self { settings, table, router, gate, parameters, since: clock::unix_millis() / 1000 }
    }

    /// What is known of the deployment of this id.
    pub(super) fn health(&self, id: &str) -> Option<&Health> {
        let place = deployments(&self.settings).position(|(_, deployment)| deployment.id == id)?;
        self.router.health.get(place).map(Arc::as_ref)
    }
}

/// What each name of a configuration means.
fn names(settings: &Settings) -> Table {
    let groups = settings.groups.iter().map(|group| Named {
        name: &group.name,
        ids: group.deployments.iter().map(|deployment| deployment.id.as_str()).collect(),
        direct: group.direct,
    });
    let others = settings.aliases.iter().map(|alias| Other {
        name: &alias.name,
        target: &alias.target,
        hidden: alias.hidden,
        redirect: alias.redirect,
    });
    Table::new(&groups.collect::<Vec<_>>(), &others.collect::<Vec<_>>())
}

fn router(settings: &Settings, before: Option<&State>) -> Router {
    let old = before.into_iter().flat_map(|state| deployments(&state.settings).zip(&state.router.health));
    let mut old: Vec<_> = old.collect();
    let mut take = |wanted: &dyn Fn((&str, &Deployment)) -> bool| {
        let place = old.iter().position(|((group, deployment), _)| wanted((group, deployment)))?;
        Some(Arc::clone(old.swap_remove(place).1))
    };
    // Ids are given by place, so who has no namesake may have been another one of its group.
    let named: Vec<_> =
        deployments(settings).map(|(_, new)| take(&|(_, old)| old.id == new.id && same(old, new))).collect();
    let health = deployments(settings).zip(named).map(|((group, new), named)| {
        named.or_else(|| take(&|(before, old)| before == group && same(old, new))).unwrap_or_default()
    });
    let health = health.collect();
    let mut place = 0;
    let mut pool = |group: &Group| {
        let members = group.deployments.iter().map(|deployment| {
            place += 1;
            member(deployment, place - 1)
        });
        Pool {
            name: group.name.clone(),
            members: members.collect(),
            strategy: settings.routing.strategy,
            retries: group.retries,
            turn: Turn::default(),
        }
    };
    let pools = settings.groups.iter().map(&mut pool).collect();
    Router { pools, health, fallbacks: settings.routing.fallbacks.clone(), args: settings.routing.args }
}

/// All deployments, in their order, and their groups.
fn deployments(settings: &Settings) -> impl Iterator<Item = (&str, &Deployment)> {
    settings.groups.iter().flat_map(|group| group.deployments.iter().map(|one| (group.name.as_str(), &**one)))
}

/// Whether two deployments are called in the same way. Ids are given by place, so another entry may have got this one's; and a key
/// that was mended has failed nobody.
fn same(old: &Deployment, new: &Deployment) -> bool {
    let texts = |one: &Option<Text>, other: &Option<Text>| match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    old.vendor.name == new.vendor.name
        && old.model == new.model
        && old.mock == new.mock
        && old.api_base.same(&new.api_base)
        && texts(&old.api_key, &new.api_key)
        && texts(&old.api_version, &new.api_version)
        && texts(&old.organization, &new.organization)
        && old.extra_headers == new.extra_headers
}

fn member(deployment: &Deployment, place: usize) -> Member {
    Member {
        place,
        order: deployment.order,
        weight: deployment.weight,
        rpm: deployment.rpm,
        tpm: deployment.tpm,
        parallel: deployment.parallel,
        cost: deployment.price.of_a_pair(),
        retries: deployment.num_retries,
        cooldown: deployment.cooldown,
    }
}
