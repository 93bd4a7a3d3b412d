//! What is set beside the configuration: prices of tokens, and other names of models.
//!
//! Each is one document, which the gateway reads with [`book`] and [`redirects`].

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::context::{Answer, Context, Ordered, json};
use super::decimal;
use super::problem::{Problem, shown};
use super::read::{Input, Val, object};
use super::{Admin, DeploymentInfo};
use crate::meter::{self, Book, Kind as TokenKind, Money, Price};
use crate::route::nearest;
use crate::route::table::HOPS;
use crate::store::{Change, Document, Kind, StoreError};

/// The id of the document of prices, of the kind [`Kind::Setting`].
pub const PRICES: &str = "prices";
/// The id of the document of redirects.
pub const REDIRECTS: &str = "redirects";

/// The dearest token that is believed, in units of [`Money`]: a cent. A price of a million tokens is above it.
const DEAREST: u64 = Money::DOLLAR / 100;

type Prices = Vec<(String, Vec<(String, Money)>)>;
type Redirects = Vec<(String, String)>;

/// The prices in a document: the operator's, over those of the configuration's file.
///
/// # Errors
/// Where it is not what [`Admin`] writes.
pub fn book(body: &str) -> Result<Book, StoreError> {
    let mut book = Book::default();
    for (model, rates) in read_prices(body)? {
        let mut price = Price::default();
        for (name, rate) in rates {
            price.set(meter::key(&name).ok_or_else(corrupt)?, rate.0);
        }
        book.entries.push((model, price));
    }
    Ok(book)
}

/// The redirects in a document, each from a name to another.
///
/// # Errors
/// Where it is not what [`Admin`] writes.
pub fn redirects(body: &str) -> Result<Vec<(String, String)>, StoreError> {
    let all = object(body).map_err(|_| corrupt())?.0.into_iter();
    all.map(|(from, to)| Ok((from, serde_json::from_str(to.get()).map_err(|_| corrupt())?))).collect()
}

fn read_prices(body: &str) -> Result<Prices, StoreError> {
    let mut prices = Prices::new();
    for (model, raw) in object(body).map_err(|_| corrupt())?.0 {
        let rates = object(raw.get()).map_err(|_| corrupt())?.0.into_iter();
        let rates = rates.map(|(name, raw)| Ok((name, Money(decimal::units(raw.get()).map_err(|_| corrupt())?))));
        prices.push((model, rates.collect::<Result<_, StoreError>>()?));
    }
    Ok(prices)
}

fn corrupt() -> StoreError {
    StoreError::Corrupt("a setting that cannot be read".to_owned())
}

/// A setting as it is told of.
struct Told<'a>(&'a str, Box<RawValue>, u64, Vec<String>);

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.0, &self.1)?;
        map.serialize_entry("version", &self.2)?;
        if !self.3.is_empty() {
            map.serialize_entry("warnings", &self.3)?;
        }
        map.end()
    }
}

/// What is stored under a name, as it is told of: its text goes into the answer as it is.
fn told(name: &str, body: String, (version, warnings): (u64, Vec<String>)) -> Result<Answer, Problem> {
    let raw = RawValue::from_string(body).map_err(|_| corrupt())?;
    Answer::of(&Told(name, raw, version, warnings))
}

impl Admin {
    async fn setting(&self, name: &str, now: u64) -> Result<Option<Document>, StoreError> {
        self.store.find(Kind::Setting, name, now).await
    }

    async fn tell(&self, name: &str, context: &Context<'_>) -> Result<Answer, Problem> {
        let found = self.setting(name, context.now).await?;
        let (body, version) = found.map_or(("{}".to_owned(), 0), |found| (found.body, found.version));
        told(name, body, (version, Vec::new()))
    }

    /// Puts a document in place of the one that is there.
    async fn set(
        &self,
        (name, body): (&'static str, String),
        warnings: Vec<String>,
        context: &Context<'_>,
    ) -> Result<Answer, Problem> {
        let found = self.setting(name, context.now).await?;
        let there = found.as_ref().map_or(0, |found| found.version);
        if let Some(version) = context.body.get::<Option<u64>>("version")
            && version != there
        {
            return Err(Problem::conflict("version", format!("`version` is {there} by now: look at it and try again")));
        }
        let before = found.as_ref().map(|found| found.body.clone());
        let document = Document {
            kind: Kind::Setting,
            id: name.to_owned(),
            version: there.saturating_add(1),
            unique: None,
            ends: None,
            body: body.clone(),
        };
        let version = document.version;
        let change = match found {
            None => Change::Create(document),
            Some(_) => Change::Replace { document, before: None },
        };
        let act = context.act(&format!("{name}.set"), format!("setting {name}"), before, Some(body.clone()))?;
        self.commit(context, &[change], &[act]).await?;
        Ok(Answer { changed: true, ..told(name, body, (version, warnings))? })
    }

    pub(super) async fn prices(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        self.tell(PRICES, context).await
    }

    pub(super) async fn set_prices(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let prices = said_prices(&context.body)?;
        let warnings = unused(&prices, context);
        let prices: Vec<(String, Ordered<'_, Money>)> =
            prices.iter().map(|(model, rates)| (model.clone(), Ordered(rates))).collect();
        self.set((PRICES, json(&Ordered(&prices))?), warnings, context).await
    }

    pub(super) async fn redirects(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        self.tell(REDIRECTS, context).await
    }

    pub(super) async fn set_redirects(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let old = self.setting(REDIRECTS, context.now).await?;
        let old = old.map_or_else(|| Ok(Redirects::new()), |old| redirects(&old.body))?;
        let redirects = said_redirects(context, &old)?;
        self.set((REDIRECTS, json(&Ordered(&redirects))?), Vec::new(), context).await
    }
}

fn entries<'a>(val: Option<&'a Val>) -> impl Iterator<Item = &'a (String, Val)> {
    let entries: &'a [(String, Val)] = if let Some(Val::Map(entries)) = val { entries } else { &[] };
    entries.iter()
}

/// The prices that a request sets.
fn said_prices(input: &Input) -> Result<Prices, Problem> {
    let mut prices = Prices::new();
    for (model, rates) in entries(input.val("prices")) {
        let at = format!("prices.{}", shown(model));
        if model.trim() != model {
            return Err(Problem::field(&at, "must not begin or end with a space"));
        }
        let mut own = Vec::new();
        for (name, rate) in entries(Some(rates)) {
            let at = format!("{at}.{}", shown(name));
            if meter::key(name).is_none() {
                let near = nearest(name, TokenKind::ALL.into_iter().map(TokenKind::key));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(Problem::field(&at, format!("is no price of a token that is known here{near}")));
            }
            let Val::Money(rate) = rate else { continue };
            if rate.0 > DEAREST {
                let million = Money(rate.0 / 1_000_000);
                let message = format!(
                    "must be the dollars for one token, 0.01 at most; if {rate} is the price of a million, write {million}"
                );
                return Err(Problem::field(&at, message));
            }
            own.push((name.clone(), *rate));
        }
        prices.push((model.clone(), own));
    }
    Ok(prices)
}

/// How many wrong names of models are told with what may have been meant.
const HINTS: usize = 20;

/// What is to be said of prices that no deployment has: they may be meant for one that is yet to come.
fn unused(prices: &Prices, context: &Context<'_>) -> Vec<String> {
    let groups = context.catalog.groups();
    let called = |deployment: &DeploymentInfo| format!("{}/{}", deployment.upstream, deployment.model);
    let all: Vec<String> = groups.iter().flat_map(|group| &group.deployments).map(called).collect();
    let unused = prices.iter().filter(|(name, _)| !context.catalog.prices(name));
    let told = unused.enumerate().map(|(place, (name, _))| {
        let meant = match groups.iter().find(|group| group.name == *name) {
            Some(group) => {
                let mut own: Vec<String> = group.deployments.iter().map(|one| format!("`{}`", called(one))).collect();
                own.sort();
                own.dedup();
                format!("; it is a model group, and prices go by the models behind it: {}", own.join(", "))
            }
            // A name is looked up among all: where nearly all are wrong, a few hints do.
            None if place >= HINTS => String::new(),
            None => {
                let names =
                    all.iter().flat_map(|name| [Some(name.as_str()), name.split_once('/').map(|(_, model)| model)]);
                let near = nearest(name, names.flatten());
                near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
            }
        };
        format!("`prices.{}` is without effect: no deployment has this `vendor/model` or `model`{meant}", shown(name))
    });
    told.collect()
}

/// The redirects that a request sets: each leads to a model, and not to one of the `old` names that go with it.
fn said_redirects(context: &Context<'_>, old: &[(String, String)]) -> Result<Redirects, Problem> {
    let mut redirects = Redirects::new();
    for (from, to) in entries(context.body.val("redirects")) {
        if let Val::Text(to) = to {
            redirects.push((from.clone(), to.clone()));
        }
    }
    let groups = context.catalog.groups();
    let next = |name: &str| redirects.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
    for (from, to) in &redirects {
        let at = format!("redirects.{}", shown(from));
        let spaced = |text: &str| text.trim() != text;
        if from.contains('*') || to.contains('*') || spaced(from) || spaced(to) {
            return Err(Problem::field(
                &at,
                "must lead from a name to a name, without `*` and without spaces around them",
            ));
        }
        let mut seen = vec![from.as_str()];
        let mut name = to.as_str();
        while let Some(on) = next(name) {
            if seen.contains(&name) {
                return Err(Problem::field(&at, format!("leads in a circle, by `{}`", shown(name))));
            }
            seen.push(name);
            name = on;
        }
        if seen.contains(&name) {
            return Err(Problem::field(&at, "leads to itself"));
        }
        if seen.len() > HOPS {
            return Err(Problem::field(&at, format!("leads on over more than {HOPS} names; name the model itself")));
        }
        let goes = old.iter().any(|(from, _)| from == name) && !groups.iter().any(|group| group.name == name);
        if goes || !context.catalog.knows(name) {
            let near = nearest(name, groups.iter().map(|group| group.name.as_str()));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(Problem::field(&at, format!("leads to `{}`, which is no model here{hint}", shown(name))));
        }
    }
    Ok(redirects)
}
