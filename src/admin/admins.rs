//! Administrators: their public keys, and what they did.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Admin;
use super::context::{Answer, Context, Stored, json};
use super::login::Session;
use super::problem::{Problem, shown};
use crate::observe::clock::rfc3339;
use crate::store::{Audit, Change, Document, Kind};

/// An administrator, by the fingerprint of the public key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Registered {
    pub(super) name: String,
    /// The 32 bytes of the public key in base 64.
    pub(super) public_key: String,
    pub(super) created: u64,
    pub(super) created_by: String,
}

#[derive(Serialize)]
struct AdminView<'a> {
    fingerprint: &'a str,
    name: &'a str,
    created_at: String,
    created_by: &'a str,
}

impl<'a> AdminView<'a> {
    fn new(fingerprint: &'a str, admin: &'a Registered) -> Self {
        let Registered { name, created, created_by, public_key: _ } = admin;
        Self { fingerprint, name, created_at: rfc3339(*created), created_by }
    }
}

#[derive(Serialize)]
struct Admins<'a> {
    admins: Vec<AdminView<'a>>,
}

#[derive(Serialize)]
struct Removed<'a> {
    fingerprint: &'a str,
    sessions_ended: usize,
}

#[derive(Serialize)]
struct Page<'a> {
    audit: Vec<ActView<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct ActView<'a> {
    id: &'a str,
    time: String,
    actor: &'a str,
    action: &'a str,
    subject: &'a str,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

/// What the blob of an `OpenSSH` key begins with (RFC 8709, section 4): the length and the name of the algorithm, the length of
/// the key.
const BLOB: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// The two y of points of order 8.
const ORDER_8: [[u8; 32]; 2] = [
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
];

/// Whether a key is a point of small order, however it is written: with such a key anybody can make up signatures.
fn small_order(key: [u8; 32]) -> bool {
    // The highest bit is the sign of x; y counts modulo p = 2^255 - 19, which is `ed ff … ff 7f`.
    let mut y = key;
    let [first, rest @ .., last] = &mut y;
    *last &= 0x7f;
    let is = |middle: u8, end: u8| rest.iter().all(|byte| *byte == middle) && *last == end;
    let order_4_or_less = matches!(first, 0 | 1) && is(0, 0) || matches!(first, 0xec..=0xee) && is(0xff, 0x7f);
    order_4_or_less || ORDER_8.contains(&y)
}

/// The 32 bytes of a public key: from a line of `OpenSSH`'s, its middle part, or in base 64. `None` also of what stands for no
/// private key.
#[must_use]
pub fn public_key(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    let encoded = if first == "ssh-ed25519" { words.next()? } else { first };
    let bytes = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let key = bytes.strip_prefix(BLOB).unwrap_or(&bytes);
    let key: [u8; 32] = key.try_into().ok()?;
    (!small_order(key)).then(|| key.to_vec())
}

/// The fingerprint of a public key, as `OpenSSH` prints it.
#[must_use]
pub fn fingerprint(public_key: &[u8]) -> String {
    let blob = [BLOB, public_key].concat();
    format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &blob)))
}

impl Admin {
    pub(super) async fn admin_add(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let name = context.body.text("name").unwrap_or_default().to_owned();
        let wants = "must be an Ed25519 key: a line such as `ssh-ed25519 AAAA… name`, or its 32 bytes in base 64";
        let key = context.body.text("public_key").and_then(public_key);
        let key = key.ok_or_else(|| Problem::field("public_key", wants))?;
        let id = fingerprint(&key);
        let public_key = STANDARD.encode(&key);
        let admin = Registered { name, public_key, created: context.now, created_by: context.who() };
        let body = json(&admin)?;
        let unique = Some(admin.name.clone());
        let document =
            Document { kind: Kind::Admin, id: id.clone(), version: 1, unique, ends: None, body: body.clone() };
        let act = context.act("admin.create", format!("admin {id}"), None, Some(body))?;
        if self.save(context, &[Change::Create(document)], &[act]).await?.is_err() {
            let there = self.store.find(Kind::Admin, &id, context.now).await?.is_some();
            return Err(if there {
                Problem::conflict("public_key", "`public_key`: this key is registered already")
            } else {
                Problem::conflict("name", format!("`name`: another administrator is called `{}`", shown(&admin.name)))
            });
        }
        Answer::of(&AdminView::new(&id, &admin))
    }

    pub(super) async fn admin_list(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let admins = self.every::<Registered>(Kind::Admin, context.now).await?;
        let admins = admins.iter().map(|found| AdminView::new(&found.document.id, &found.value)).collect();
        Answer::of(&Admins { admins })
    }

    pub(super) async fn admin_remove(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let id = context.body.text("fingerprint").unwrap_or_default();
        let found: Option<Stored<Registered>> = self.stored(Kind::Admin, id, context.now).await?;
        let found =
            found.ok_or_else(|| Problem::unknown("fingerprint", "`fingerprint`: there is no such administrator"))?;
        let before = Some(found.document.body.clone());
        let act = context.act("admin.delete", format!("admin {id}"), before, None)?;
        self.commit(context, &[found.removed()], &[act]).await?;
        // From here on none of his sessions counts, whatever becomes of their documents.
        let sessions = self.every::<Session>(Kind::Session, context.now).await?;
        let mut sessions_ended = 0;
        for session in sessions.iter().filter(|session| session.value.fingerprint == id) {
            let before = Some(session.document.body.clone());
            let act = context.act("session.delete", format!("session {}", session.value.id), before, None)?;
            // One that has ended meanwhile has ended.
            sessions_ended += usize::from(self.save(context, &[session.removed()], &[act]).await?.is_ok());
        }
        Answer::changed(&Removed { fingerprint: id, sessions_ended })
    }

    pub(super) async fn audit(&self, context: &Context<'_>) -> Result<Answer, Problem> {
        let limit = context.query.get::<Option<u64>>("limit").and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.unwrap_or(100);
        let acts = self.store.audit(context.query.text("before"), limit).await?;
        let raw = |text: &Option<String>| text.clone().and_then(|text| RawValue::from_string(text).ok());
        let view = |act: &Audit| (raw(&act.before), raw(&act.after));
        let next = acts.last().filter(|_| acts.len() >= limit).map(|act| act.id.as_str());
        let audit = acts.iter().map(|act| {
            let (before, after) = view(act);
            let (id, actor) = (act.id.as_str(), act.actor.as_str());
            let (action, subject) = (act.action.as_str(), act.subject.as_str());
            ActView { id, time: rfc3339(act.time), actor, action, subject, before, after }
        });
        Answer::of(&Page { audit: audit.collect(), next })
    }
}
