//! Keys and teams.

use super::*;
use crate::meter::Money;
use crate::meter::ledger::Estimate;
use crate::store::key::Key;
use crate::store::usage::{Entry, Tokens};
use crate::store::{Admission, Claim, Kind, Settlement};

/// Every field that a key takes, and what is told of it.
fn full() -> Value {
    json!({
        "key_alias": "größe 🙂", "user_id": "u'; DROP TABLE keys;--", "models": ["fast", "openai/gpt-9", "anthropic/*"],
        "metadata": {"a": {"b": [1, "x"]}}, "max_budget": 10.25, "soft_budget": 0.1, "budget_duration": "30d",
        "token_quota": 1_000_000, "tpm_limit": 5000, "rpm_limit": 60, "max_parallel_requests": 0, "shards": 4,
        "expires": "2027-01-01T00:00:00Z", "blocked": true, "tags": ["a", "b"], "allowed_routes": ["/v1/messages", "/v1/chat/*"],
        "allowed_ips": ["10.0.0.0/8", "::1"], "system_prompt": "Be\nbrief.", "iam_arn": "arn:aws:iam::123456789012:role/app",
    })
}

#[test]
fn a_key_is_told_as_it_was_made_and_its_secret_once() {
    let world = World::new();
    let made = world.done("/key/generate", &full());
    let secret = made["key"].as_str().unwrap();
    assert!(token::well_formed(token::KEY_PREFIX, secret));
    assert_eq!(made["token"], token::hash(secret));
    let info = world.told(&format!("/key/info?key={secret}"));
    assert_eq!(info["key"], made["token"]);
    for (name, want) in full().as_object().unwrap() {
        let told = &info["info"][name];
        if name == "expires" {
            assert_eq!(told, "2027-01-01T00:00:00.000Z");
        } else {
            assert_eq!(told, want, "{name}");
        }
    }
    assert_eq!(info["info"]["budget_reset_at"], "2026-12-21T01:00:00.000Z");
    assert_eq!(info["info"]["created_by"], "master key");
    for other in [made["token"].as_str().unwrap(), made["id"].as_str().unwrap()] {
        assert_eq!(world.told(&format!("/key/info?key={other}")), info);
    }
    for target in
        ["/key/list", "/key/list?return_full_object=true&size=100&search=GRÖSSE".replace('Ö', "%C3%B6").as_str()]
    {
        assert!(!world.get(target).text.contains(secret), "{target}");
    }
    for act in world.audit() {
        assert!(!serde_json::to_string(&act).unwrap().contains(secret));
    }
}

#[test]
fn an_update_changes_what_is_named_and_null_clears() {
    let world = World::new();
    let (_, hash, id) = key(&world, full());
    let before = world.told(&format!("/key/info?key={hash}"))["info"].clone();
    let said = world.done("/key/update", &json!({"key": id, "rpm_limit": 7, "key_alias": null, "metadata": null}));
    assert_eq!(said["key"], hash.as_str());
    let after = world.told(&format!("/key/info?key={hash}"))["info"].clone();
    for (name, value) in before.as_object().unwrap() {
        let want = match name.as_str() {
            "rpm_limit" => &json!(7),
            "key_alias" => &json!(null),
            "metadata" => &json!({}),
            _ => value,
        };
        assert_eq!(&after[name], want, "{name}");
    }
    // The alias is free again.
    key(&world, json!({"key_alias": "größe 🙂"}));
    // Nothing is written where nothing changes.
    let acts = world.audit().len();
    let same = world.post("/key/update", &json!({"key": id, "rpm_limit": 7}));
    assert!(same.status == 200 && !same.changed);
    assert_eq!(world.audit().len(), acts);
}

#[test]
fn a_key_that_ends_on_a_day_is_good_all_that_day() {
    let world = World::new();
    for (said, want) in [
        ("2026-12-31", "2026-12-31T23:59:59.999Z"),
        ("2026-11-21", "2026-11-21T23:59:59.999Z"),
        ("9999-12-31", "9999-12-31T23:59:59.999Z"),
        ("2026-12-31T00:00:00Z", "2026-12-31T00:00:00.000Z"),
    ] {
        assert_eq!(world.done("/key/generate", &json!({"expires": said}))["expires"], want);
    }
    assert_eq!(world.post("/key/generate", &json!({"expires": "2026-11-20"})).status, 400);
}

#[test]
fn what_takes_nothing_today_is_done_and_told() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({}));
    let odd = json!({"models": ["fa*", "claude-*"]});
    let with = |name: &str, value: &str| {
        let mut body = odd.clone();
        body[name] = json!(value);
        body
    };
    for (path, body) in [
        ("/key/generate", odd.clone()),
        ("/key/update", with("key", &hash)),
        ("/team/new", with("team_id", "t")),
        ("/team/update", with("team_id", "t")),
    ] {
        let said = world.done(path, &body);
        assert_eq!(
            said["warnings"],
            json!(["`models[1]`: `claude-*` takes no model that is configured here now"]),
            "{path}"
        );
    }
    let said = world.done("/key/generate", &json!({"allowed_routes": ["/v1/messages", "/v2/*"]}));
    assert!(said["warnings"][0].as_str().unwrap().starts_with("`allowed_routes[1]`: `/v2/*`"), "{said}");
    assert_eq!(world.done("/key/generate", &json!({"models": ["fast", "openai/*"]})).get("warnings"), None);
}

#[test]
fn another_period_begins_when_it_is_said() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({"max_budget": 1}));
    let later = NOW + 5 * 86_400_000;
    let body = json!({"key": hash, "budget_duration": "7d"}).to_string();
    let said = world.raw(&Actor::Master, "POST", "/key/update", body.as_bytes(), later);
    assert_eq!(said.json["budget_reset_at"], "2026-12-03T01:00:00.000Z", "{}", said.text);
}

#[test]
fn a_new_secret_keeps_the_key_and_ends_the_old_one() {
    let world = World::new();
    let (old, hash, id) = key(&world, json!({"key_alias": "app", "rpm_limit": 3}));
    for (path, body) in [
        ("/key/regenerate".to_owned(), json!({"key": old})),
        (format!("/key/{id}/regenerate"), json!({"rpm_limit": 5, "key_alias": "app2"})),
    ] {
        let said = world.done(&path, &body);
        assert_eq!(said["id"], id.as_str());
        assert_ne!(said["key"], old.as_str());
    }
    assert_eq!(world.get(&format!("/key/info?key={hash}")).status, 404);
    let now = world.told(&format!("/key/info?key={id}"))["info"].clone();
    assert_eq!((&now["rpm_limit"], &now["key_alias"]), (&json!(5), &json!("app2")));
    assert_eq!(world.told("/key/list")["total_count"], 1);
    // An alias of another key is no way out of having one's own.
    key(&world, json!({"key_alias": "other"}));
    let said = world.post("/key/regenerate", &json!({"key": id, "key_alias": "other"}));
    assert_eq!((said.status, &said.json["error"]["param"]), (409, &json!("key_alias")));
    world.done("/key/update", &json!({"key": id, "rpm_limit": 6}));
    assert_eq!(world.post("/key/generate", &json!({"key_alias": "app2"})).status, 409, "the alias is still its own");
}

#[test]
fn every_change_is_on_record_with_what_was_before() {
    let world = World::new();
    let (secret, _, id) = key(&world, json!({"key_alias": "a", "team_id": null}));
    world.done("/key/update", &json!({"key": secret, "max_budget": 0.000_000_000_001}));
    world.done("/key/block", &json!({"key": secret}));
    world.done("/key/unblock", &json!({"key": secret}));
    let new = world.done("/key/regenerate", &json!({"key": secret}));
    world.done("/team/new", &json!({"team_id": "t", "max_budget": 3}));
    world.done("/team/update", &json!({"team_id": "t", "blocked": true}));
    world.done("/team/delete", &json!({"team_ids": ["t"]}));
    world.done("/key/delete", &json!({"keys": [new["key"]]}));
    let audit = world.audit();
    let actions: Vec<&str> = audit.iter().map(|act| act.action.as_str()).collect();
    let mut want = vec![
        "key.create",
        "key.update",
        "key.block",
        "key.unblock",
        "key.regenerate",
        "team.create",
        "team.update",
        "team.delete",
        "key.delete",
    ];
    let mut got = actions.clone();
    // All at one moment, so only chance orders them.
    got.sort_unstable();
    want.sort_unstable();
    assert_eq!(got, want);
    for act in &audit {
        assert_eq!((act.actor.as_str(), act.time), ("master key", NOW));
        let (before, after) = (act.before.is_some(), act.after.is_some());
        let want = if act.action.ends_with("create") {
            (false, true)
        } else if act.action.ends_with("delete") {
            (true, false)
        } else {
            (true, true)
        };
        assert_eq!((before, after), want, "{}", act.action);
        assert_eq!(act.subject, if act.action.starts_with("key") { format!("key {id}") } else { "team t".to_owned() });
        let text = serde_json::to_string(act).unwrap();
        for secret in [secret.as_str(), new["key"].as_str().unwrap()] {
            assert!(!text.contains(secret) && !text.contains(&token::hash(secret)), "{text}");
        }
    }
    let update = audit.iter().find(|act| act.action == "key.update").unwrap();
    let read =
        |text: &Option<String>| serde_json::from_str::<Key>(text.as_ref().unwrap()).unwrap().allowance.max_budget;
    assert_eq!((read(&update.before), read(&update.after)), (None, Some(Money(1))));
}

#[test]
fn aliases_and_arns_are_of_one_key() {
    let world = World::new();
    key(&world, json!({"key_alias": "a", "iam_arn": "arn:aws:iam::123456789012:role/a"}));
    let (_, hash, _) = key(&world, json!({"key_alias": "b"}));
    world.done("/team/new", &json!({"team_id": "t", "team_alias": "a"}));
    for (path, body, param) in [
        ("/key/generate", json!({"key_alias": "a"}), "key_alias"),
        ("/key/update", json!({"key": hash, "key_alias": "a"}), "key_alias"),
        ("/key/generate", json!({"iam_arn": "arn:aws:iam::123456789012:role/a"}), "iam_arn"),
        ("/key/update", json!({"key": hash, "iam_arn": "arn:aws:iam::123456789012:role/a"}), "iam_arn"),
        ("/team/new", json!({"team_id": "t"}), "team_id"),
        ("/team/new", json!({"team_alias": "a"}), "team_alias"),
    ] {
        let said = world.post(path, &body);
        assert_eq!((said.status, said.json["error"]["param"].as_str()), (409, Some(param)), "{}", said.text);
    }
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let world = World::new();
    world.done("/team/new", &json!({"team_id": "t"}));
    for (place, name) in ["c", "a", "b"].iter().enumerate() {
        let body = json!({"key_alias": name, "user_id": format!("u{}", place % 2), "team_id": (place == 1).then_some("t"),
            "blocked": place == 2});
        let at = NOW + u64::try_from(place).unwrap();
        assert_eq!(world.raw(&Actor::Master, "POST", "/key/generate", body.to_string().as_bytes(), at).status, 200);
    }
    for (query, want, total) in [
        ("", "bac", 3),
        ("&sort_order=asc", "cab", 3),
        ("&sort_by=key_alias&sort_order=asc", "abc", 3),
        ("&size=2&page=2", "c", 3),
        ("&page=9", "", 3),
        ("&user_id=u0", "bc", 2),
        ("&team_id=t", "a", 1),
        ("&status=revoked", "b", 1),
        ("&key_alias=c&include_team_keys=false", "c", 1),
        ("&search=B", "b", 1),
    ] {
        let said = world.told(&format!("/key/list?return_full_object=true{query}"));
        let names: String =
            said["keys"].as_array().unwrap().iter().map(|key| key["key_alias"].as_str().unwrap()).collect();
        assert_eq!((names.as_str(), &said["total_count"]), (want, &json!(total)), "{query}");
    }
    assert!(world.told("/key/list")["keys"][0].is_string());
}

#[test]
fn a_team_takes_its_keys_with_it() {
    let world = World::new();
    world.done("/team/new", &json!({"team_id": "t", "rpm_limit": 4}));
    for _ in 0..30 {
        key(&world, json!({"team_id": "t"}));
    }
    let (_, other, _) = key(&world, json!({}));
    assert_eq!(world.told("/team/info?team_id=t")["keys"].as_array().unwrap().len(), 30);
    let (_, hash, id) = key(&world, json!({"team_id": "t", "key_alias": "app"}));
    let said = world.done("/team/delete", &json!({"team_ids": ["t"]}));
    let gone = said["deleted_keys"].as_array().unwrap();
    assert_eq!(gone.len(), 31);
    assert!(gone.contains(&json!({"token": hash, "id": id, "key_alias": "app", "team_id": "t"})), "{said}");
    assert_eq!(world.told("/key/list")["keys"], json!([other]));
    assert_eq!(world.get("/team/info?team_id=t").status, 404);
    assert_eq!(world.told("/team/list"), json!([]));
}

/// Counts and records a request of a key.
fn spend(world: &World, key: &Key, cost: u64, tokens: u64, settled: bool) {
    let random = token::random(8).unwrap();
    let scopes = vec![key.scope()];
    let estimate = Estimate { tokens, cost: Money(cost) };
    let claim = Claim { hold: random.clone(), scopes, estimate, lapses: NOW + 60_000 };
    let Admission::Held(hold, _) = block_on(world.store.admit(&claim, NOW)).unwrap() else { panic!("refused") };
    if settled {
        let entry = Entry {
            id: format!("{NOW:013}-{random}"),
            time: NOW,
            key: key.id.clone(),
            tokens: Tokens { input: tokens, ..Tokens::default() },
            cost: Some(Money(cost)),
            ..Entry::default()
        };
        block_on(world.store.settle(&Settlement { hold: Some(hold), used: estimate, entry: Some(entry) }, NOW))
            .unwrap();
    }
}

fn record(world: &World, hash: &str) -> Arc<Key> {
    let document = block_on(world.store.find(Kind::Key, hash, NOW)).unwrap().unwrap();
    Arc::new(serde_json::from_str(&document.body).unwrap())
}

#[test]
fn a_balance_tells_what_is_left_to_the_last_digit() {
    let world = World::new();
    world.done("/team/new", &json!({"team_id": "t", "max_budget": 5, "budget_duration": "1mo"}));
    let (_, hash, _) = key(
        &world,
        json!({"team_id": "t", "max_budget": 1, "token_quota": 100, "rpm_limit": 10, "tpm_limit": 50, "max_parallel_requests": 2}),
    );
    let record = record(&world, &hash);
    spend(&world, &record, 123_456_789_012, 7, false);
    let actor = Actor::Key { record };
    let said = world.raw(&actor, "GET", "/v1/token/balance", b"", NOW);
    assert!(said.text.contains(r#""used":0.123456789012,"remaining":0.876543210988,"#), "{}", said.text);
    let limits = said.json["limits"].as_array().unwrap();
    let rest: Vec<(&str, &str, f64)> = limits
        .iter()
        .map(|limit| {
            (limit["scope"].as_str().unwrap(), limit["limit"].as_str().unwrap(), limit["remaining"].as_f64().unwrap())
        })
        .collect();
    assert_eq!(
        rest[1..],
        [
            ("key", "token_quota", 93.0),
            ("key", "rpm_limit", 9.0),
            ("key", "tpm_limit", 43.0),
            ("key", "max_parallel_requests", 1.0),
            ("team", "max_budget", 5.0)
        ]
    );
    assert_eq!(limits[5]["resets_at"], "2026-12-01T00:00:00.000Z");
    assert_eq!(world.get("/v1/token/balance").status, 400, "the master key has none");
}

#[test]
fn a_key_without_a_budget_has_spent_the_sum_of_its_days() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({}));
    spend(&world, &record(&world, &hash), 5, 1, true);
    let said = world.get(&format!("/key/info?key={hash}"));
    assert!(said.text.contains(r#""spend":0.000000000005"#), "{}", said.text);
}

#[test]
fn a_holder_sees_his_own_key_and_nothing_else() {
    let world = World::new();
    let (_, own, own_id) = key(&world, json!({}));
    let (_, other, other_id) = key(&world, json!({}));
    let actor = Actor::Key { record: record(&world, &own) };
    for (target, want) in [
        ("/key/info".to_owned(), 200),
        (format!("/key/info?key={own}"), 200),
        (format!("/key/info?key={own_id}"), 200),
        (format!("/key/info?key={other}"), 403),
        (format!("/key/info?key={other_id}"), 403),
        (format!("/key/info?key={}", "0".repeat(64)), 403),
        ("/key/list".to_owned(), 403),
    ] {
        let said = world.raw(&actor, "GET", &target, b"", NOW);
        assert_eq!(said.status, want, "{target}");
        assert!(want != 200 || said.json["info"]["id"] == own_id.as_str());
    }
    assert_eq!(world.raw(&Actor::Nobody, "GET", "/key/info", b"", NOW).status, 401);
}
