//! Logging in with an Ed25519 key: a challenge, its signature, a short session.
//!
//! A challenge counts once, for a minute and for the fingerprint that asked for it. Whoever asks gets one: the answer, what is
//! stored and how long it takes do not tell whether a fingerprint is known.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::admins::Registered;
use super::context::{Answer, Context, Stored, json};
use super::problem::Problem;
use super::{Actor, Admin};
use crate::meter::period::Period;
use crate::observe::clock::rfc3339;
use crate::store::{Change, Document, Kind, SaveError, StoreError, token};

/// How long a challenge counts.
const CHALLENGE: u64 = 60_000;
/// How many challenges a process gives in a minute, to all and to one address: each is a write that anybody can ask for, and one
/// who asks for many must not keep others from logging in.
const CHALLENGES: (u32, u32) = (600, 20);
/// How long a session lasts, in milliseconds: where nothing is said, at least and at most.
const SESSION: (u64, u64, u64) = (1_800_000, 900_000, 3_600_000);

/// A public key (RFC 8032's first test vector) in place of one that is not there.
const NOBODY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// What is signed to log in. The first line keeps a signature from meaning anything elsewhere.
#[must_use]
pub fn signed_text(challenge: &str) -> String {
    format!("feathergate-login-v1\n{challenge}")
}

/// Counts the challenges of a minute.
#[derive(Default)]
pub(super) struct Rate(Mutex<Minute>);

/// What was given in a minute. Only who was given one is remembered, so that it has no more addresses than challenges.
#[derive(Default)]
struct Minute {
    number: u64,
    given: u32,
    each: HashMap<IpAddr, u32>,
}

impl Rate {
    fn take(&self, address: Option<IpAddr>, now: u64) -> bool {
        let (all, one) = CHALLENGES;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now / 60_000;
        if state.number != minute {
            *state = Minute { number: minute, ..Minute::default() };
        }
        if state.given >= all {
            return false;
        }
        if let Some(address) = address.and_then(network) {
            let own = state.each.entry(address).or_default();
            if *own >= one {
                return false;
            }
            *own += 1;
        }
        state.given += 1;
        true
    }
}

/// Whose address it is: of IPv6 one caller has 2^64. `None` where many may stand behind it, as behind a proxy of the operator's.
fn network(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_private() || address.is_loopback() || address.is_link_local() => None,
        IpAddr::V6(address) if address.is_unique_local() || address.is_loopback() => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// A login that was begun.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Challenge {
    fingerprint: String,
}

/// A session, by the hash of its token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) fingerprint: String,
    pub(super) created: u64,
    pub(super) expires: u64,
}

#[derive(Serialize)]
struct Challenged<'a> {
    challenge: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    token: &'a str,
    session: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
struct Ended<'a> {
    session: &'a str,
}

#[derive(Serialize)]
struct Sessions<'a> {
    sessions: Vec<SessionView<'a>>,
}

#[derive(Serialize)]
struct SessionView<'a> {
    session: &'a str,
    fingerprint: &'a str,
    created_at: String,
    expires_at: String,
}

impl Admin {
    /// The fingerprint of the administrator whose session's token this is; `None` where there is no such session (any more).
    ///
    /// # Errors
    /// Where the store cannot tell.
    pub async fn session(&self, token: &str, now: u64) -> Result<Option<String>, StoreError> {
        if !token::well_formed(token::SESSION_PREFIX, token) {
            return Ok(None);
        }
        let found: Option<Stored<Session>> = self.stored(Kind::Session, &token::hash(token), now).await?;
        let Some(session) = found.filter(|found| found.value.expires > now) else { return Ok(None) };
        let fingerprint = session.value.fingerprint;
        // A session that was begun while its administrator was being removed must not outlive him.
        let admin = self.store.find(Kind::Admin, &fingerprint, now).await?;
        Ok(admin.map(|_| fingerprint))
    }

    pub(super) async fn challenge(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        if !self.challenges.take(context.address, context.now) {
            return Err(Problem::too_many("too many logins are being begun; try again in a minute"));
        }
        let id = token::random(40).ok_or_else(Problem::random)?;
        let ends = context.now.saturating_add(CHALLENGE);
        let fingerprint = context.body.text("fingerprint").unwrap_or_default().to_owned();
        let body = json(&Challenge { fingerprint })?;
        let document =
            Document { kind: Kind::Challenge, id: id.clone(), version: 1, unique: None, ends: Some(ends), body };
        self.commit(context, &[Change::Create(document)], &[]).await?;
        Answer::of(&Challenged { challenge: &id, expires_at: rfc3339(ends) })
    }

    pub(super) async fn login(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let text = |name: &str| context.body.text(name).unwrap_or_default();
        let (default, least, most) = SESSION;
        let lasts = match context.body.text("duration").and_then(Period::parse) {
            None => default,
            Some(Period::Seconds(seconds)) if (least..=most).contains(&seconds.saturating_mul(1000)) => seconds * 1000,
            Some(Period::Seconds(_) | Period::Months(_) | Period::Forever) => {
                return Err(Problem::field("duration", "must be from `15m` to `1h`"));
            }
        };
        let fingerprint = text("fingerprint");
        let failed = || {
            let address = context.address.map(tracing::field::display);
            tracing::warn!(fingerprint, address, "a login failed");
            Problem::unauthenticated(
                "the login failed: the challenge is over or was used, or the signature is not that of a registered key",
            )
        };
        let challenge: Option<Stored<Challenge>> = self.stored(Kind::Challenge, text("challenge"), context.now).await?;
        let challenge = challenge.filter(|found| found.value.fingerprint == fingerprint).ok_or_else(failed)?;
        // It is gone before anything is made of it: of two who bring it only one gets any further.
        match self.store.save(&[challenge.removed()], &[], context.now).await {
            Ok(()) => {}
            Err(SaveError::Conflict(_)) => return Err(failed()),
            Err(error @ SaveError::Store(_)) => return Err(error.into()),
        }
        let admin: Option<Stored<Registered>> = self.stored(Kind::Admin, fingerprint, context.now).await?;
        let signature = STANDARD.decode(text("signature")).map_err(|_| failed())?;
        // Of nobody's key the signature is looked at as well, so that it takes as long.
        let key = admin.as_ref().map_or(NOBODY, |admin| admin.value.public_key.as_str());
        let key = STANDARD.decode(key).map_err(|_| failed())?;
        let message = signed_text(&challenge.document.id);
        let fits = UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), &signature).is_ok();
        if !fits || admin.is_none() {
            return Err(failed());
        }
        self.begin(fingerprint, lasts, context).await
    }

    /// Makes a session.
    async fn begin(&self, fingerprint: &str, lasts: u64, context: &Context<'_>) -> Result<Answer, Problem> {
        let token = token::generate(token::SESSION_PREFIX).ok_or_else(Problem::random)?;
        let id = format!("ses_{}", token::random(20).ok_or_else(Problem::random)?);
        let expires = context.now.saturating_add(lasts);
        let session = Session { id, fingerprint: fingerprint.to_owned(), created: context.now, expires };
        let body = json(&session)?;
        let document = Document {
            kind: Kind::Session,
            id: token::hash(&token),
            version: 1,
            unique: None,
            ends: Some(expires),
            body: body.clone(),
        };
        let actor = Actor::Session { fingerprint: fingerprint.to_owned() };
        let act = context.act_of(&actor, ("session.create", format!("session {}", session.id)), None, Some(body))?;
        self.commit(context, &[Change::Create(document)], &[act]).await?;
        Answer::of(&LoggedIn { token: &token, session: &session.id, expires_at: rfc3339(expires) })
    }

    /// Ends the session of a token. Who has it may.
    pub(super) async fn logout(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let hash = token::hash(context.body.text("token").unwrap_or_default());
        let found: Option<Stored<Session>> = self.stored(Kind::Session, &hash, context.now).await?;
        let found =
            found.ok_or_else(|| Problem::unauthenticated("`token`: there is no such session, or it has ended"))?;
        let actor = Actor::Session { fingerprint: found.value.fingerprint.clone() };
        self.end(&found, &actor, context).await
    }

    pub(super) async fn session_list(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let sessions = self.every::<Session>(Kind::Session, context.now).await?;
        let views = sessions.iter().map(|found| {
            let Session { id, fingerprint, created, expires } = &found.value;
            SessionView { session: id, fingerprint, created_at: rfc3339(*created), expires_at: rfc3339(*expires) }
        });
        Answer::of(&Sessions { sessions: views.collect() })
    }

    pub(super) async fn session_remove(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let id = context.body.text("session").unwrap_or_default();
        let sessions = self.every::<Session>(Kind::Session, context.now).await?;
        let found = sessions.into_iter().find(|found| found.value.id == id);
        let found = found.ok_or_else(|| Problem::unknown("session", "`session`: there is no such session"))?;
        self.end(&found, context.actor, context).await
    }

    async fn end(&self, found: &Stored<Session>, actor: &Actor, context: &Context<'_>) -> Result<Answer, Problem> {
        let before = Some(found.document.body.clone());
        let act = context.act_of(actor, ("session.delete", format!("session {}", found.value.id)), before, None)?;
        self.commit(context, &[found.removed()], &[act]).await?;
        Answer::changed(&Ended { session: &found.value.id })
    }
}
