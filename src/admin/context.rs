//! What the handlers of routes share: the request as read, documents found, changes saved with their audit.

use std::net::IpAddr;

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::problem::Problem;
use super::read::Input;
use super::{Actor, Admin, Catalog};
use crate::store::{Audit, Change, Document, Kind, SaveError, StoreError, token};

/// How many documents are asked for at a time.
const PAGE: usize = 500;

/// A request that was read.
pub(super) struct Context<'a> {
    pub(super) body: Input,
    pub(super) query: Input,
    /// What stands for `{key}` in the path.
    pub(super) part: Option<&'a str>,
    pub(super) actor: &'a Actor,
    pub(super) address: Option<IpAddr>,
    pub(super) now: u64,
    pub(super) catalog: &'a dyn Catalog,
}

/// What a handler answers.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) changed: bool,
    /// Whether there is more, which the body has no place to say.
    pub(super) cut: bool,
}

impl Answer {
    /// What was asked for.
    pub(super) fn of(value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Self { status: StatusCode::OK, body, changed: false, cut: false })
    }

    /// The same of a change that was made.
    pub(super) fn changed(value: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { changed: true, ..Self::of(value)? })
    }
}

/// What is stored, with its document.
#[derive(Clone, Debug)]
pub(super) struct Stored<T> {
    pub(super) document: Document,
    pub(super) value: T,
}

impl<T: DeserializeOwned> Stored<T> {
    fn read(document: Document) -> Result<Self, StoreError> {
        let value = serde_json::from_str(&document.body)
            .map_err(|error| StoreError::Corrupt(format!("a {}: {error}", document.kind.name())))?;
        Ok(Self { document, value })
    }
}

impl<T: Serialize> Stored<T> {
    /// The change that puts `value` and a unique name in place of this.
    pub(super) fn replaced(&self, value: &T, unique: Option<String>) -> Result<Change, Problem> {
        let before = self.document.unique.clone();
        let version = self.document.version.saturating_add(1);
        let document = Document { version, unique, body: json(value)?, ..self.document.clone() };
        Ok(Change::Replace { document, before })
    }

    /// The change that removes it.
    pub(super) fn removed(&self) -> Change {
        Change::Remove(self.document.clone())
    }
}

/// The longest document: before and after stand in one entry of the audit log, which every store must take.
pub(super) const LONGEST: usize = 150_000;

/// What is stored of a value.
pub(super) fn json(value: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if text.len() > LONGEST {
        let message = format!("all fields together must be no longer than {LONGEST} bytes, and are {}", text.len());
        return Err(Problem::request(message));
    }
    Ok(text)
}

/// An object whose fields keep their order, which counts.
pub(super) struct Ordered<'a, T>(pub(super) &'a [(String, T)]);

impl<T: Serialize> Serialize for Ordered<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Context<'_> {
    /// Who asks, for the audit log.
    pub(super) fn who(&self) -> String {
        who(self.actor)
    }

    /// What was done, for the audit log.
    pub(super) fn act(
        &self,
        action: &str,
        subject: String,
        before: Option<String>,
        after: Option<String>,
    ) -> Result<Audit, Problem> {
        self.act_of(self.actor, (action, subject), before, after)
    }

    /// The same of somebody who has become known only now.
    pub(super) fn act_of(
        &self,
        actor: &Actor,
        (action, subject): (&str, String),
        before: Option<String>,
        after: Option<String>,
    ) -> Result<Audit, Problem> {
        let random = token::random(12).ok_or_else(Problem::random)?;
        let id = format!("{:013}-{random}", self.now);
        Ok(Audit { id, time: self.now, actor: who(actor), action: action.to_owned(), subject, before, after })
    }
}

fn who(actor: &Actor) -> String {
    match actor {
        Actor::Master => "master key".to_owned(),
        Actor::Session { fingerprint } => fingerprint.clone(),
        Actor::Key { record } => record.id.clone(),
        Actor::Nobody => "nobody".to_owned(),
    }
}

impl Admin {
    /// What is stored under an id.
    pub(super) async fn stored<T: DeserializeOwned>(
        &self,
        kind: Kind,
        id: &str,
        now: u64,
    ) -> Result<Option<Stored<T>>, StoreError> {
        self.store.find(kind, id, now).await?.map(Stored::read).transpose()
    }

    /// All that is stored of a kind.
    pub(super) async fn every<T: DeserializeOwned>(&self, kind: Kind, now: u64) -> Result<Vec<Stored<T>>, StoreError> {
        let mut all: Vec<Stored<T>> = Vec::new();
        loop {
            let after = all.last().map(|last| last.document.id.clone());
            let page = self.store.list(kind, after.as_deref(), PAGE, now).await?;
            let last = page.len() < PAGE;
            for document in page {
                all.push(Stored::read(document)?);
            }
            if last {
                return Ok(all);
            }
        }
    }

    /// Saves changes with their audit. `Err(Some(place))` where that change does not fit.
    pub(super) async fn save(
        &self,
        context: &Context<'_>,
        changes: &[Change],
        audit: &[Audit],
    ) -> Result<Result<(), usize>, Problem> {
        match self.store.save(changes, audit, context.now).await {
            Ok(()) => Ok(Ok(())),
            Err(SaveError::Conflict(place)) => Ok(Err(place)),
            Err(SaveError::Store(error)) => Err(error.into()),
        }
    }

    /// The same where only a lost race can be in the way.
    pub(super) async fn commit(
        &self,
        context: &Context<'_>,
        changes: &[Change],
        audit: &[Audit],
    ) -> Result<(), Problem> {
        Ok(self.store.save(changes, audit, context.now).await?)
    }

    /// Saves a value with a unique name in place of the one that was found. `taken` is what is wrong where the name is another's.
    pub(super) async fn replace<T: Serialize>(
        &self,
        found: &Stored<T>,
        (value, unique): (&T, Option<String>),
        (action, subject): (&str, String),
        (context, taken): (&Context<'_>, fn(Option<&str>) -> Problem),
    ) -> Result<(), Problem> {
        let change = found.replaced(value, unique.clone())?;
        let (before, after) = (found.document.body.clone(), change.document().body.clone());
        let act = context.act(action, subject, Some(before), Some(after))?;
        let Err(_) = self.save(context, &[change], &[act]).await? else { return Ok(()) };
        // Either it is another one by now, or its new name is somebody else's.
        let Document { kind, id, version, .. } = &found.document;
        let now = self.store.find(*kind, id, context.now).await?;
        Err(if now.is_some_and(|now| now.version == *version) { taken(unique.as_deref()) } else { Problem::lost() })
    }
}
