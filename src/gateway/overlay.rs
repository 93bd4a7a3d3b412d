//! What administrators set beside the configuration, laid over it: prices and redirects. It is looked up now and then, with the
//! first request that comes, so that it holds in every process soon.

use std::sync::Arc;

use super::keeper::Keeper;
use crate::admin::settings::{PRICES, REDIRECTS, book, redirects};
use crate::config::settings::{Alias, Deployment, Settings};
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
            let mut books = Books { over: &self.prices, merged: Vec::new() };
            let deployments = settings.groups.iter_mut().flat_map(|group| &mut group.deployments);
            deployments.for_each(|deployment| books.price(deployment));
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
}

/// Prices laid over books. There are many deployments and few books, nearly always one: each is merged once, and shared.
struct Books<'a> {
    over: &'a Book,
    /// A book of the file, and the same with the prices over it.
    merged: Vec<(Arc<Book>, Arc<Book>)>,
}

impl Books<'_> {
    fn price(&mut self, deployment: &mut Arc<Deployment>) {
        let before = &deployment.pricing;
        let pricing = Pricing { book: self.merged(&before.book), ..Pricing::clone(before) };
        let price = Arc::new(pricing.price(deployment.vendor.name, &deployment.model));
        *deployment = Arc::new(Deployment { price, pricing: Arc::new(pricing), ..Deployment::clone(deployment) });
    }

    fn merged(&mut self, before: &Arc<Book>) -> Arc<Book> {
        if let Some((_, merged)) = self.merged.iter().find(|(book, _)| Arc::ptr_eq(book, before)) {
            return Arc::clone(merged);
        }
        let entries = self.over.entries.iter().chain(&before.entries).cloned().collect();
        let merged = Arc::new(Book { entries });
        self.merged.push((Arc::clone(before), Arc::clone(&merged)));
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Document;
    use crate::config::resolve::resolve;

    #[test]
    fn a_book_is_merged_once_for_all_deployments() {
        let entry = "- {model_name: m, litellm_params: {model: openai/gpt-5, api_key: k}}\n";
        let prices = "feathergate: {prices: {gpt-5: {input_cost_per_token: 0.000002}}}\n";
        for yaml in [format!("model_list:\n{}", entry.repeat(3)), format!("model_list:\n{}{prices}", entry.repeat(3))] {
            let settings = Arc::new(resolve(&Document::parse("a.yaml", &yaml).unwrap(), &|_| None).unwrap().settings);
            let set = book(r#"{"gpt-*":{"input_cost_per_token":0.000001}}"#).unwrap();
            let over = Overlay { prices: set, redirects: Vec::new() }.over(&settings);
            let [first, others @ ..] = over.groups[0].deployments.as_slice() else { panic!("there is none") };
            assert!(others.len() == 2 && others.iter().all(|it| Arc::ptr_eq(&it.pricing.book, &first.pricing.book)));
            assert_eq!(first.pricing.book.entries.len(), 1 + usize::from(yaml.contains("prices")));
            assert_eq!(first.price.base.input, Some(1_000_000));
        }
    }
}
