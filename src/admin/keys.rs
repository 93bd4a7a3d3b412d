//! Virtual keys: made, changed, deleted, told of.

use serde::Serialize;

use super::context::{Answer, Context, Stored, json};
use super::keyform;
use super::problem::{Problem, shown};
use super::read::Input;
use super::shape;
use super::view::{KeyView, User};
use super::{Actor, Admin};
use crate::order;
use crate::store::key::Key;
use crate::store::{Change, Document, Kind, token};

/// The answer to `/key/generate` and `/key/regenerate`: the only ones with a secret.
#[derive(Serialize)]
struct WithSecret<'a> {
    key: &'a str,
    token_id: &'a str,
    #[serde(flatten)]
    view: KeyView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct WithHash<'a> {
    key: &'a str,
    #[serde(flatten)]
    view: KeyView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Info<'a> {
    /// The hash of the secret; its holder knows the secret itself.
    key: Option<&'a str>,
    info: KeyView<'a>,
}

#[derive(Serialize)]
struct Deleted {
    deleted_keys: Vec<String>,
}

impl Admin {
    pub(super) async fn key_generate(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let id = token::random(20).ok_or_else(Problem::random)?;
        let (now, created_by) = (context.now, context.who());
        let mut key =
            Key { id: format!("key_{id}"), created: now, created_by, updated: now, anchor: now, ..Key::default() };
        keyform::apply(&context.body, &mut key, context)?;
        self.check_key(&key, None, context).await?;
        let secret = token::generate(token::KEY_PREFIX).ok_or_else(Problem::random)?;
        key.shown = token::shown(token::KEY_PREFIX, &secret);
        let document = document(&key, token::hash(&secret))?;
        let hash = document.id.clone();
        let act = context.act("key.create", subject(&key), None, Some(document.body.clone()))?;
        match self.save(context, &[Change::Create(document)], &[act]).await? {
            Ok(()) => {}
            Err(_) if key.alias.is_some() => return Err(alias_taken(key.alias.as_deref())),
            Err(_) => return Err(Problem::lost()),
        }
        let (view, warnings) = (KeyView::unused(&key, &hash, now), keyform::warnings(&context.body, context));
        Answer::changed(&WithSecret { key: &secret, token_id: &hash, view, warnings })
    }

    pub(super) async fn key_update(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let found = self.key_of(context.body.text("key"), "key", context.now).await?;
        let mut key = found.value.clone();
        keyform::apply(&context.body, &mut key, context)?;
        self.check_key(&key, Some(&found.value), context).await?;
        let changed = key != found.value;
        if changed {
            self.key_replace(&found, &mut key, "key.update", context).await?;
        }
        let view = self.key_view(&key, &found.document.id, context.now).await?;
        let warnings = keyform::warnings(&context.body, context);
        let mut answer = Answer::of(&WithHash { key: &found.document.id, view, warnings })?;
        answer.changed = changed;
        Ok(answer)
    }

    pub(super) async fn key_block(&self, context: &Context<'_>, blocked: bool) -> Result<Answer, Problem> {
        let found = self.key_of(context.body.text("key"), "key", context.now).await?;
        let mut key = Key { blocked, ..found.value.clone() };
        if key != found.value {
            let action = if blocked { "key.block" } else { "key.unblock" };
            self.key_replace(&found, &mut key, action, context).await?;
        }
        Answer::changed(&self.key_view(&key, &found.document.id, context.now).await?)
    }

    /// Saves a key in place of the one that was found.
    async fn key_replace(
        &self,
        found: &Stored<Key>,
        key: &mut Key,
        action: &str,
        context: &Context<'_>,
    ) -> Result<(), Problem> {
        key.updated = context.now;
        self.replace(found, (&*key, key.alias.clone()), (action, subject(key)), (context, alias_taken)).await
    }

    pub(super) async fn key_regenerate(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let named = context.body.text("key");
        let part = context.part.map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned());
        if named.is_some() && part.is_some() {
            return Err(Problem::field("key", "is named in the path already"));
        }
        let found = self.key_of(part.as_deref().or(named), "key", context.now).await?;
        let mut key = found.value.clone();
        keyform::apply(&context.body, &mut key, context)?;
        self.check_key(&key, Some(&found.value), context).await?;
        let secret = token::generate(token::KEY_PREFIX).ok_or_else(Problem::random)?;
        key.shown = token::shown(token::KEY_PREFIX, &secret);
        key.updated = context.now;
        let new = document(&key, token::hash(&secret))?;
        let hash = new.id.clone();
        let (before, after) = (found.document.body.clone(), new.body.clone());
        let act = context.act("key.regenerate", subject(&key), Some(before), Some(after))?;
        if let Err(place) = self.save(context, &[found.removed(), Change::Create(new)], &[act]).await? {
            return Err(if place == 1 { alias_taken(key.alias.as_deref()) } else { Problem::lost() });
        }
        let view = self.key_view(&key, &hash, context.now).await?;
        let warnings = keyform::warnings(&context.body, context);
        Answer::changed(&WithSecret { key: &secret, token_id: &hash, view, warnings })
    }

    pub(super) async fn key_delete(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let keys: Vec<String> = context.body.get("keys");
        let aliases: Vec<String> = context.body.get("key_aliases");
        if keys.is_empty() && aliases.is_empty() {
            return Err(Problem::field("keys", "is missing; name keys there, or in `key_aliases`"));
        }
        let mut found: Vec<Stored<Key>> = Vec::with_capacity(keys.len() + aliases.len());
        for (place, key) in keys.iter().enumerate() {
            found.push(self.key_of(Some(key), &format!("keys[{place}]"), context.now).await?);
        }
        if !aliases.is_empty() {
            let all = self.every::<Key>(Kind::Key, context.now).await?;
            for (place, alias) in aliases.iter().enumerate() {
                let one = all.iter().find(|one| one.value.alias.as_ref() == Some(alias)).cloned();
                let at = format!("key_aliases[{place}]");
                found.push(one.ok_or_else(|| {
                    Problem::unknown(&at, format!("`{at}`: no key has the alias `{}`", shown(alias)))
                })?);
            }
        }
        order::sort_by(&mut found, |a, b| a.document.id.cmp(&b.document.id));
        found.dedup_by(|a, b| a.document.id == b.document.id);
        if found.len() > 25 {
            return Err(Problem::field("key_aliases", "must not make more than 25 keys with `keys`"));
        }
        self.delete_keys(&found, context).await?;
        let deleted_keys = found.into_iter().map(|found| found.document.id).collect();
        Answer::changed(&Deleted { deleted_keys })
    }

    /// Deletes keys, all or none: 25 at most, so that it fits in a transaction of every store.
    pub(super) async fn delete_keys(&self, found: &[Stored<Key>], context: &Context<'_>) -> Result<(), Problem> {
        let changes: Vec<Change> = found.iter().map(Stored::removed).collect();
        let acts = found
            .iter()
            .map(|found| context.act("key.delete", subject(&found.value), Some(found.document.body.clone()), None));
        self.commit(context, &changes, &acts.collect::<Result<Vec<_>, _>>()?).await
    }

    pub(super) async fn key_info(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let named = context.query.text("key");
        let found = match context.actor {
            Actor::Key { record } => {
                let own = match named {
                    None => true,
                    Some(named) if shape::key_id(named) => named == record.id,
                    // What is not the caller's own is the same to him whether it exists or not.
                    Some(named) => {
                        let found = self.key_of(Some(named), "key", context.now).await;
                        found.is_ok_and(|found| found.value.id == record.id)
                    }
                };
                if !own {
                    return Err(Problem::forbidden("a key may ask for itself only"));
                }
                let used = self.used_by(User::key(record, context.now), context.now).await?;
                let info = KeyView::new(record, None, used, context.now);
                return Answer::of(&Info { key: None, info });
            }
            Actor::Master | Actor::Session { .. } | Actor::Nobody => self.key_of(named, "key", context.now).await?,
        };
        let hash = &found.document.id;
        Answer::of(&Info { key: Some(hash), info: self.key_view(&found.value, hash, context.now).await? })
    }

    /// The key that a field names: by its secret, its hash or its id.
    pub(super) async fn key_of(&self, named: Option<&str>, at: &str, now: u64) -> Result<Stored<Key>, Problem> {
        let Some(named) = named else {
            return Err(Problem::field(at, format!("is missing; it must be {}", shape::KEY.wants)));
        };
        if !(shape::KEY.check)(named) {
            return Err(Problem::field(at, format!("must be {}", shape::KEY.wants)));
        }
        let found = if shape::key_id(named) {
            self.every::<Key>(Kind::Key, now).await?.into_iter().find(|found| found.value.id == named)
        } else if shape::hash(named) {
            self.stored(Kind::Key, named, now).await?
        } else {
            self.stored(Kind::Key, &token::hash(named), now).await?
        };
        found.ok_or_else(|| Problem::unknown(at, format!("`{at}`: there is no such key")))
    }

    /// What of a key only the store can tell: whether its team is there, and whether its ARN is another key's.
    async fn check_key(&self, key: &Key, before: Option<&Key>, context: &Context<'_>) -> Result<(), Problem> {
        if let Some(team) = &key.team
            && before.is_none_or(|before| before.team != key.team)
            && self.store.find(Kind::Team, team, context.now).await?.is_none()
        {
            return Err(Problem::unknown("team_id", format!("`team_id`: there is no team `{}`", shown(team))));
        }
        if let Some(arn) = &key.arn
            && before.is_none_or(|before| before.arn != key.arn)
        {
            let all = self.every::<Key>(Kind::Key, context.now).await?;
            let same = |other: &&Stored<Key>| other.value.arn.as_ref() == Some(arn) && other.value.id != key.id;
            if let Some(other) = all.iter().find(same) {
                let message = format!("`iam_arn` is that of the key `{}` already", other.value.id);
                return Err(Problem::conflict("iam_arn", message));
            }
        }
        Ok(())
    }
}

/// The document of a key. It has no end: of a key whose time is over its holder and the administrator are told so.
fn document(key: &Key, hash: String) -> Result<Document, Problem> {
    let body = json(key)?;
    Ok(Document { kind: Kind::Key, id: hash, version: 1, unique: key.alias.clone(), ends: None, body })
}

fn subject(key: &Key) -> String {
    format!("key {}", key.id)
}

fn alias_taken(alias: Option<&str>) -> Problem {
    let alias = shown(alias.unwrap_or_default());
    Problem::conflict("key_alias", format!("`key_alias`: another key is called `{alias}` already"))
}

/// Which keys `/key/list` is asked for.
pub(super) struct Filter<'a> {
    input: &'a Input,
    now: u64,
    hash: Option<String>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(input: &'a Input, now: u64) -> Self {
        let hash = input
            .text("key_hash")
            .map(|key| if shape::hash(key) || shape::key_id(key) { key.to_owned() } else { token::hash(key) });
        Self { input, now, hash }
    }

    /// Whether a key is asked for.
    pub(super) fn takes(&self, found: &Stored<Key>) -> bool {
        let Stored { document, value: key } = found;
        let is = |name: &str, text: Option<&str>| self.input.text(name).is_none_or(|wanted| text == Some(wanted));
        let holds = |text: &str| {
            let alias = key.alias.as_deref().unwrap_or_default().to_lowercase();
            alias.contains(&text.to_lowercase()) || document.id == text || key.id == text
        };
        is("user_id", key.user.as_deref())
            && is("team_id", key.team.as_deref())
            && is("key_alias", key.alias.as_deref())
            && is("status", Some(super::view::status(key, self.now)))
            && self.hash.as_ref().is_none_or(|hash| *hash == document.id || *hash == key.id)
            && self.input.text("search").is_none_or(holds)
    }
}
