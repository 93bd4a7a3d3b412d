//! What tokens cost: litellm's keys in an entry, and `feathergate.prices`.

use std::sync::Arc;

use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::settings::Deployment;
use super::models::Own;
use super::reader::Reader;
use crate::meter::{self, Book, Kind, Price, Pricing};

/// Takes the price that `key` names, if it names one.
pub(super) fn said(reader: &mut Reader<'_>, place: &Place, (key, node): (&str, &Node), price: &mut Price) {
    let Some(what) = meter::key(key).filter(|_| *node != Node::Null) else { return };
    let Some(dollars) = reader.number(place, node) else { return };
    match meter::rate(dollars) {
        Some(rate) => price.set(what, rate),
        None => reader.error(place, "must be the dollars for one token, such as `0.0000025`"),
    }
}

/// `feathergate.prices`: by model, what an entry could say too.
pub(super) fn book(reader: &mut Reader<'_>) -> Arc<Book> {
    let mut book = Book::default();
    let Some((place, node)) = reader.setting("feathergate", "prices") else { return Arc::default() };
    for (model, node) in reader.map(&place, node) {
        let place = place.key(model);
        let mut price = Price::default();
        for (key, node) in reader.map(&place, node) {
            let place = place.key(key);
            if meter::key(key).is_none() {
                let near = nearest(key, Kind::ALL.into_iter().map(Kind::key));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                reader.error(&place, format!("`{}` is no price of a token that is known here{near}", shown(key)));
            }
            said(reader, &place, (key, node), &mut price);
        }
        book.entries.push((model.trim().to_owned(), price));
    }
    Arc::new(book)
}

/// The prices of an entry's deployments, which are all of one model.
pub(super) fn entry(
    reader: &mut Reader<'_>,
    (place, params): (&Place, &Node),
    (own, book): (&Own, &Arc<Book>),
    deployments: &mut [super::deployment::Found],
) {
    // `litellm_params` win over `model_info`, key by key.
    let mut price = own.price.clone();
    if let Node::Map(entries) = params {
        for (key, node) in entries {
            said(reader, &place.key(key), (key, node), &mut price);
        }
    }
    let pricing = Arc::new(Pricing { said: price, base_model: own.base_model.clone(), book: Arc::clone(book) });
    for (deployment, _) in deployments.iter_mut() {
        deployment.price = Arc::new(pricing.price(deployment.vendor.name, &deployment.model));
        deployment.pricing = Arc::clone(&pricing);
    }
    if let Some((deployment, _)) = deployments.first()
        && let Some(missing) = missing(deployment, own.info.mode.as_deref())
    {
        reader.note(&place.key("model"), format!("no price is known of {missing}, so its cost is not either"));
    }
}

/// What of a deployment's tokens has no price. What a pattern will be filled to is not known yet.
fn missing(deployment: &Deployment, mode: Option<&str>) -> Option<&'static str> {
    let rates = &deployment.price.base;
    let silent = matches!(mode, Some("embedding" | "moderation"));
    match (rates.input, rates.output) {
        _ if deployment.model.contains('*') || deployment.mock.is_some() => None,
        (Some(_), Some(_)) => None,
        (Some(_), None) if silent => None,
        (None, None) => Some("this model"),
        (Some(_), None) => Some("this model's output"),
        (None, Some(_)) => Some("this model's input"),
    }
}
