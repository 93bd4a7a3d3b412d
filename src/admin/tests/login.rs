//! Administrators, logins and sessions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::store::Kind;

struct Person {
    pair: Ed25519KeyPair,
    fingerprint: String,
}

impl Person {
    fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let fingerprint = admins::fingerprint(pair.public_key().as_ref());
        Self { pair, fingerprint }
    }

    fn registered(world: &World, seed: u8) -> Self {
        let person = Self::new(seed);
        let public_key = STANDARD.encode(person.pair.public_key());
        let said = world.done("/admin/admins", &json!({"name": format!("person {seed}"), "public_key": public_key}));
        assert_eq!(said["fingerprint"], person.fingerprint.as_str());
        person
    }

    fn signature(&self, text: &str) -> String {
        STANDARD.encode(self.pair.sign(text.as_bytes()))
    }

    /// The body of a login.
    fn answer(&self, challenge: &str) -> Value {
        let signature = self.signature(&login::signed_text(challenge));
        json!({"fingerprint": self.fingerprint, "challenge": challenge, "signature": signature})
    }
}

fn public(world: &World, path: &str, body: &Value, now: u64) -> Said {
    world.raw(&Actor::Nobody, "POST", path, body.to_string().as_bytes(), now)
}

fn challenge(world: &World, fingerprint: &str) -> String {
    let said = public(world, "/admin/login/challenge", &json!({"fingerprint": fingerprint}), NOW);
    assert_eq!(said.status, 200, "{}", said.text);
    assert_eq!(said.json["expires_at"], "2026-11-21T01:01:00.000Z");
    said.json["challenge"].as_str().unwrap().to_owned()
}

/// A token, and the session's id.
fn log_in(world: &World, person: &Person) -> (String, String) {
    let body = person.answer(&challenge(world, &person.fingerprint));
    let said = public(world, "/admin/login", &body, NOW);
    assert_eq!(said.status, 200, "{}", said.text);
    let text = |name: &str| said.json[name].as_str().unwrap().to_owned();
    (text("token"), text("session"))
}

fn session(world: &World, token: &str, now: u64) -> Option<String> {
    block_on(world.admin.session(token, now)).unwrap()
}

#[test]
fn a_public_key_is_known_in_each_of_its_forms() {
    // Made by `ssh-keygen -t ed25519`, which also printed the fingerprint.
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK1nqZO09SowCxB7+/7j2SoghiWcohSx4Bi51UqIVjSx somebody@somewhere";
    let blob = line.split(' ').nth(1).unwrap();
    let raw = "rWepk7T1KjALEHv7/uPZKiCGJZyiFLHgGLnVSohWNLE=";
    for text in [line, blob, raw, raw.trim_end_matches('=')] {
        let key = admins::public_key(text).unwrap();
        assert_eq!(admins::fingerprint(&key), "SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs");
    }
    for bad in
        ["", "ssh-ed25519", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "rWepk7T1KjALEHv7/uPZKiCGJZyiFLHgGLnVSohWNL", "ä"]
    {
        assert_eq!(admins::public_key(bad), None, "{bad}");
    }
}

#[test]
fn a_public_key_of_small_order_is_none() {
    // All spellings of the eight points (libsodium's `ge25519_has_small_order` has the same seven), with either sign of x.
    for hex in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut key: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        for sign in [0, 0x80] {
            key[31] = key[31] & 0x7f | sign;
            assert_eq!(admins::public_key(&STANDARD.encode(&key)), None, "{hex}");
        }
        key[1] ^= 1;
        assert!(admins::public_key(&STANDARD.encode(&key)).is_some(), "{hex}");
    }
}

#[test]
fn who_signs_the_challenge_has_a_session_for_a_while() {
    let world = World::new();
    let person = Person::registered(&world, 1);
    let (token, id) = log_in(&world, &person);
    assert_eq!(session(&world, &token, NOW), Some(person.fingerprint.clone()));
    assert_eq!(session(&world, &token, NOW + 1_799_999), Some(person.fingerprint.clone()));
    assert_eq!(session(&world, &token, NOW + 1_800_000), None);
    let actor = Actor::Session { fingerprint: person.fingerprint.clone() };
    assert_eq!(world.raw(&actor, "POST", "/key/generate", b"{}", NOW).json["created_by"], person.fingerprint.as_str());
    for path in ["/admin/admins", "/admin/admins/delete"] {
        assert_eq!(world.raw(&actor, "POST", path, b"{}", NOW).status, 403, "only the master key makes administrators");
    }
    let listed = world.told("/admin/sessions");
    assert_eq!(listed["sessions"][0]["session"], id.as_str());
    // What is stored and told holds the token nowhere.
    let stored = format!("{:?}", block_on(world.store.list(Kind::Session, None, 9, NOW)).unwrap());
    for text in [stored, listed.to_string(), world.get("/admin/audit").text] {
        assert!(!text.contains(&token) && text.contains(&id), "{text}");
    }
    assert_eq!(public(&world, "/admin/logout", &json!({"token": token}), NOW).status, 200);
    assert_eq!(session(&world, &token, NOW), None);
    assert_eq!(public(&world, "/admin/logout", &json!({"token": token}), NOW).status, 401);
}

#[test]
fn a_login_fails_alike_whatever_is_wrong() {
    let world = World::new();
    let (person, other, stranger) = (Person::registered(&world, 1), Person::registered(&world, 2), Person::new(3));
    let fresh = || challenge(&world, &person.fingerprint);
    let with = |challenge: &str, field: &str, value: String| {
        let mut body = person.answer(challenge);
        body[field] = json!(value);
        body
    };
    let used = fresh();
    assert_eq!(public(&world, "/admin/login", &person.answer(&used), NOW).status, 200);
    let spoilt = fresh();
    let wrong = with(&spoilt, "signature", STANDARD.encode([0; 64]));
    let plain = fresh();
    let over = fresh();
    let cases = [
        ("a replay", person.answer(&used), NOW),
        ("an old challenge", person.answer(&over), NOW + 60_000),
        ("a wrong signature", wrong, NOW),
        ("another try after it", person.answer(&spoilt), NOW),
        ("a signature of the bare challenge", with(&plain, "signature", person.signature(&plain)), NOW),
        ("another administrator's signature", with(&fresh(), "signature", other.signature("x")), NOW),
        ("another administrator's challenge", other.answer(&fresh()), NOW),
        ("a challenge that nobody gave", person.answer(&"a".repeat(40)), NOW),
        ("an unknown key", stranger.answer(&challenge(&world, &stranger.fingerprint)), NOW),
    ];
    let mut texts: Vec<String> = Vec::new();
    for (what, body, now) in cases {
        let said = public(&world, "/admin/login", &body, now);
        assert_eq!(said.status, 401, "{what}: {}", said.text);
        texts.push(said.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    for (field, value) in
        [("signature", "AAAA"), ("challenge", "x"), ("fingerprint", "x"), ("duration", "2h"), ("duration", "1mo")]
    {
        let said = public(&world, "/admin/login", &with(&fresh(), field, value.to_owned()), NOW);
        assert_eq!((said.status, said.json["error"]["param"].as_str()), (400, Some(field)), "{}", said.text);
    }
}

#[test]
fn a_removed_administrator_has_no_session_left() {
    let world = World::new();
    let (person, other) = (Person::registered(&world, 1), Person::registered(&world, 2));
    let (token, _) = log_in(&world, &person);
    let (kept, id) = log_in(&world, &other);
    // A session that the removal did not see.
    let hidden = block_on(world.store.find(Kind::Session, &token::hash(&token), NOW)).unwrap().unwrap();
    let said = world.done("/admin/admins/delete", &json!({"fingerprint": person.fingerprint}));
    assert_eq!(said["sessions_ended"], 1);
    let ended = world.audit().into_iter().find(|act| act.action == "session.delete").unwrap().before.unwrap();
    assert!(ended.contains(&person.fingerprint) && !ended.contains(&token), "{ended}");
    assert_eq!(session(&world, &token, NOW), None);
    block_on(world.store.save(&[crate::store::Change::Create(hidden)], &[], NOW)).unwrap();
    assert_eq!(session(&world, &token, NOW), None);
    assert!(session(&world, &kept, NOW).is_some());
    assert_eq!(world.done("/admin/sessions/delete", &json!({"session": id}))["session"], id.as_str());
    assert_eq!(session(&world, &kept, NOW), None);
    let said = world.post("/admin/admins/delete", &json!({"fingerprint": person.fingerprint}));
    assert_eq!((said.status, said.json["error"]["param"].as_str()), (404, Some("fingerprint")));
    let body = person.answer(&challenge(&world, &person.fingerprint));
    assert_eq!(public(&world, "/admin/login", &body, NOW).status, 401);
}

#[test]
fn an_administrator_is_registered_once() {
    let world = World::new();
    let person = Person::registered(&world, 1);
    let key = |person: &Person| STANDARD.encode(person.pair.public_key());
    for (name, key, param) in [("x", key(&person), "public_key"), ("person 1", key(&Person::new(2)), "name")] {
        let said = world.post("/admin/admins", &json!({"name": name, "public_key": key}));
        assert_eq!((said.status, said.json["error"]["param"].as_str()), (409, Some(param)), "{}", said.text);
    }
    assert_eq!(world.told("/admin/admins")["admins"].as_array().unwrap().len(), 1);
}

#[test]
fn challenges_are_not_given_without_end() {
    let mut world = World::new();
    let body = json!({"fingerprint": Person::new(1).fingerprint});
    let mut given = |address: &str, now: u64| {
        world.address = Some(address.parse().unwrap());
        (0..700).filter(|_| public(&world, "/admin/login/challenge", &body, now).status == 200).count()
    };
    for (address, want) in [
        ("203.0.113.7", 20),
        ("::ffff:203.0.113.7", 0),
        ("203.0.113.8", 20),
        ("2001:db8::1", 20),
        ("2001:db8::9:1", 0),
        ("2001:db8:0:1::1", 20),
        // Behind a proxy there may be many.
        ("127.0.0.1", 520),
        ("10.0.0.1", 0),
        ("203.0.113.9", 0),
    ] {
        assert_eq!(given(address, NOW), want, "{address}");
    }
    assert_eq!(given("203.0.113.7", NOW + 60_000), 20);
}

#[test]
fn the_audit_log_is_read_in_pages() {
    let world = World::new();
    for place in 0..5 {
        let at = NOW + place;
        assert_eq!(world.raw(&Actor::Master, "POST", "/key/generate", b"{\"max_budget\": 0.1}", at).status, 200);
    }
    let mut seen = Vec::new();
    let mut target = "/admin/audit?limit=2".to_owned();
    loop {
        let page = world.told(&target);
        for act in page["audit"].as_array().unwrap() {
            assert_eq!(
                (&act["before"], &act["after"]["allowance"]["max_budget"]),
                (&json!(null), &json!(100_000_000_000_u64))
            );
            seen.push(act["time"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/admin/audit?limit=2&before={next}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
}
