//! What administrators set beside the configuration, laid over it: prices and redirects. It is looked up now and then, with the
//! first request that comes, so that it holds in every process soon.

use std::sync::Arc;

use super::keeper::Keeper;
use crate::admin::settings::{PRICES, REDIRECTS, book, redirects};
use crate::config::settings::{Alias, Deployment, Group, Settings};
use crate::meter::{Book, Pricing};
use crate::observe::clock;
use crate::store::{Kind, StoreError};

/// What was set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Overlay {
    prices: Book,
    redirects: Vec<(String, String)>,
}

impl Overlay {
    /// What the store holds.
    pub(super) async fn fetch(keeper: &Keeper) -> Result<Self, StoreError> {
        let store = keeper.store().await?;
        let settings = store.list(Kind::Setting, None, 100, clock::unix_millis()).await?;
        let body = |name: &str| settings.iter().find(|setting| setting.id == name).map(|setting| setting.body.as_str());
        Ok(Self {
            prices: body(PRICES).map(book).transpose()?.unwrap_or_default(),
            redirects: body(REDIRECTS).map(redirects).transpose()?.unwrap_or_default(),
        })
    }

    /// The configuration with this over it.
    pub(super) fn over(&self, settings: &Arc<Settings>) -> Arc<Settings> {
        if *self == Self::default() {
            return Arc::clone(settings);
        }
        let mut settings = Settings::clone(settings);
        if !self.prices.entries.is_empty() {
            for group in &mut settings.groups {
                self.price(group);
            }
        }
        if !self.redirects.is_empty() {
            settings.aliases.retain(|alias| !self.redirects.iter().any(|(from, _)| *from == alias.name));
        }
        settings.aliases.extend(self.redirects.iter().map(|(name, target)| Alias {
            name: name.clone(),
            target: target.clone(),
            hidden: false,
            redirect: true,
        }));
        Arc::new(settings)
    }

    fn price(&self, group: &mut Group) {
        for deployment in &mut group.deployments {
            let before = &deployment.pricing;
            let entries = self.prices.entries.iter().chain(&before.book.entries).cloned().collect();
            let pricing = Pricing { book: Arc::new(Book { entries }), ..Pricing::clone(before) };
            let price = Arc::new(pricing.price(deployment.vendor.name, &deployment.model));
            *deployment = Arc::new(Deployment { price, pricing: Arc::new(pricing), ..Deployment::clone(deployment) });
        }
    }
}
