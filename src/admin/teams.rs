//! Teams: made, changed, deleted, told of.

use serde::Serialize;

use super::Admin;
use super::context::{Answer, Context, Stored, json};
use super::keyform;
use super::problem::{Problem, shown};
use super::view::{KeyView, TeamView, Used, User};
use crate::store::key::{Key, Team};
use crate::store::{Change, Document, Kind, token};

#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    view: TeamView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Updated<'a> {
    team_id: &'a str,
    data: TeamView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct WithKeys<'a> {
    team_id: &'a str,
    team_info: TeamView<'a>,
    keys: Vec<KeyView<'a>>,
    team_memberships: [(); 0],
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted_teams: Vec<String>,
    deleted_keys: Vec<DeletedKey<'a>>,
}

#[derive(Serialize)]
struct DeletedKey<'a> {
    token: &'a str,
    id: &'a str,
    key_alias: Option<&'a str>,
    team_id: &'a str,
}

/// How many keys go in one transaction.
const BATCH: usize = 25;

impl Admin {
    pub(super) async fn team_new(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let id = match context.body.text("team_id") {
            Some(id) => id.to_owned(),
            None => format!("team_{}", token::random(20).ok_or_else(Problem::random)?),
        };
        let (now, created_by) = (context.now, context.who());
        let mut team = Team { id, created: now, created_by, updated: now, anchor: now, ..Team::default() };
        apply(&mut team, context)?;
        let body = json(&team)?;
        let (id, unique) = (team.id.clone(), team.alias.clone());
        let document = Document { kind: Kind::Team, id, version: 1, unique, ends: None, body: body.clone() };
        let act = context.act("team.create", subject(&team), None, Some(body))?;
        if self.save(context, &[Change::Create(document)], &[act]).await?.is_err() {
            let there = self.store.find(Kind::Team, &team.id, now).await?.is_some();
            return Err(if there {
                Problem::conflict("team_id", format!("`team_id`: there is a team `{}` already", shown(&team.id)))
            } else {
                alias_taken(team.alias.as_deref())
            });
        }
        let used = Used { tokens: team.allowance.max_tokens.map(|_| 0), ..Used::default() };
        let (view, warnings) = (TeamView::new(&team, used, now), keyform::warnings(&context.body, context));
        Answer::changed(&Made { view, warnings })
    }

    pub(super) async fn team_update(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let found = self.team_of(context.body.text("team_id"), "team_id", context).await?;
        let mut team = found.value.clone();
        apply(&mut team, context)?;
        let changed = team != found.value;
        if changed {
            team.updated = context.now;
            let what = ("team.update", subject(&team));
            self.replace(&found, (&team, team.alias.clone()), what, (context, alias_taken)).await?;
        }
        let data = self.team_view(&team, context.now).await?;
        let warnings = keyform::warnings(&context.body, context);
        let mut answer = Answer::of(&Updated { team_id: &team.id, data, warnings })?;
        answer.changed = changed;
        Ok(answer)
    }

    pub(super) async fn team_delete(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let mut ids: Vec<String> = context.body.get("team_ids");
        ids.sort();
        ids.dedup();
        if ids.is_empty() {
            return Err(Problem::field("team_ids", "must name a team at least"));
        }
        let mut teams = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            teams.push(self.team_of(Some(id), &format!("team_ids[{place}]"), context).await?);
        }
        let keys = self.every::<Key>(Kind::Key, context.now).await?;
        let mut deleted_keys = Vec::new();
        for team in &teams {
            // Keys first: what fails on the way leaves a team with fewer keys, and never a key without its team's limits.
            let own: Vec<Stored<Key>> =
                keys.iter().filter(|key| key.value.team.as_ref() == Some(&team.value.id)).cloned().collect();
            for batch in own.chunks(BATCH) {
                self.delete_keys(batch, context).await?;
            }
            let act = context.act("team.delete", subject(&team.value), Some(team.document.body.clone()), None)?;
            self.commit(context, &[team.removed()], &[act]).await?;
            let of_team = keys.iter().filter(|key| key.value.team.as_ref() == Some(&team.value.id));
            deleted_keys.extend(of_team.map(|key| DeletedKey {
                token: &key.document.id,
                id: &key.value.id,
                key_alias: key.value.alias.as_deref(),
                team_id: &team.value.id,
            }));
        }
        Answer::changed(&Deleted { deleted_teams: ids, deleted_keys })
    }

    pub(super) async fn team_info(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let found = self.team_of(context.query.text("team_id"), "team_id", context).await?;
        let mut keys = self.every::<Key>(Kind::Key, context.now).await?;
        keys.retain(|key| key.value.team.as_ref() == Some(&found.value.id));
        Answer::of(&WithKeys {
            team_id: &found.value.id,
            team_info: self.team_view(&found.value, context.now).await?,
            keys: self.key_views(&keys, context.now).await?,
            team_memberships: [],
        })
    }

    pub(super) async fn team_list(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let teams = self.every::<Team>(Kind::Team, context.now).await?;
        let users: Vec<User> = teams.iter().map(|team| User::team(&team.value, context.now)).collect();
        let used = self.used(&users, context.now).await?;
        let views = teams.iter().zip(used).map(|(team, used)| TeamView::new(&team.value, used, context.now));
        Answer::of(&views.collect::<Vec<_>>())
    }

    async fn team_of(&self, id: Option<&str>, at: &str, context: &Context<'_>) -> Result<Stored<Team>, Problem> {
        let id = id.unwrap_or_default();
        let found = self.stored(Kind::Team, id, context.now).await?;
        found.ok_or_else(|| Problem::unknown(at, format!("`{at}`: there is no team `{}`", shown(id))))
    }
}

/// Puts what a request says into a team.
fn apply(team: &mut Team, context: &Context<'_>) -> Result<(), Problem> {
    let input = &context.body;
    input.set("team_alias", &mut team.alias);
    input.set("metadata", &mut team.metadata);
    input.set("blocked", &mut team.blocked);
    if input.came("models") {
        team.models = keyform::models(input, context)?;
    }
    keyform::allowance(input, (&mut team.allowance, &mut team.anchor), context.now)
}

fn subject(team: &Team) -> String {
    format!("team {}", team.id)
}

fn alias_taken(alias: Option<&str>) -> Problem {
    let alias = shown(alias.unwrap_or_default());
    Problem::conflict("team_alias", format!("`team_alias`: another team is called `{alias}` already"))
}
