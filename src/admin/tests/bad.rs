//! Every field of every route with what is wrong for it: driven by the table, so that a new field is tried, too.

use super::*;
use shape::{Field, Type};
use table::Spec;

/// Where texts end up that are not well meant.
const HOSTILE: [&str; 12] = [
    "'; DROP TABLE documents; --",
    "\" OR 1=1 --",
    "$(reboot) `id`",
    "{{7*7}} ${7*7}",
    "attribute_exists(pk) AND :x = :x",
    "%00%0a%0d",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\u{202e}\u{feff}\u{200b}",
    "\u{1f469}\u{200d}\u{1f4bb}é𝔘",
    "#pk #sk :v",
    "\\u0000\\",
];

/// Values that are wrong for a type.
fn wrong(of: &Type) -> Vec<Value> {
    let long = |most: usize| json!("ä".repeat(most + 1));
    let huge: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
    let others =
        [json!(1), json!(-1), json!(true), json!("x"), json!(""), json!([]), json!({}), json!([[]]), json!(1.5)];
    let mut all: Vec<Value> = match of {
        Type::Named(_, of) => return wrong(of),
        Type::Text(most) => {
            vec![json!(""), long(*most), json!("a\u{0}b"), json!("a\nb"), json!(1), json!({}), json!([]), json!(false)]
        }
        Type::Prose(most) => vec![json!(""), long(*most), json!("a\u{0}b"), json!(1), json!({}), json!(false)],
        Type::Form(form) => {
            vec![json!(""), long(form.most), json!("ä"), json!("a\u{0}b"), json!(1), json!({}), json!([]), json!(true)]
        }
        Type::Choice(_) => vec![json!(""), json!("nonsense"), json!(1), json!({})],
        Type::Flag => vec![json!(1), json!("true"), json!("yes"), json!([]), json!({})],
        Type::Count(least, most) => {
            let mut all =
                vec![json!(-1), json!(1.5), json!("1"), json!(most + 1), huge, json!(1e300), json!([]), json!(true)];
            all.extend((*least > 0).then(|| json!(least - 1)));
            all
        }
        Type::Dollars => {
            vec![
                json!(-0.01),
                json!("1"),
                json!(18_000_001),
                huge,
                json!(1e300),
                json!(1e-13),
                json!([]),
                json!(true),
                json!({}),
            ]
        }
        Type::Object => vec![json!("x"), json!([]), json!(1), json!({"a": "x".repeat(17_000)}), nested(20)],
        Type::List(of, most) => {
            let mut all = vec![json!("x"), json!({}), json!(1), json!([null]), json!(true)];
            all.extend(wrong(of).into_iter().map(|one| json!([one])));
            all.push(Value::Array(vec![json!("x"); most + 1]));
            all
        }
        Type::Map(of, _) => {
            let mut all = vec![json!("x"), json!([]), json!(1), json!({"": 1}), json!({"a": null})];
            all.extend(wrong(of).into_iter().map(|one| json!({"a": one})));
            all
        }
        Type::Struct(_) | Type::Any | Type::Number | Type::Plain => unreachable!("only in answers"),
    };
    // Anything but what the type itself takes.
    all.extend(others.into_iter().filter(|value| !fits(of, value)));
    all
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({"a": inner}))
}

/// Whether a value may do for a type: then it is no case.
fn fits(of: &Type, value: &Value) -> bool {
    match of {
        Type::Named(_, of) => fits(of, value),
        Type::Text(_) | Type::Prose(_) => value.as_str().is_some_and(|text| !text.is_empty()),
        Type::Form(form) => value.as_str().is_some_and(|text| (form.check)(text)),
        Type::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Type::Flag => value.is_boolean(),
        Type::Count(least, most) => value.as_u64().is_some_and(|count| (*least..=*most).contains(&count)),
        Type::Dollars => value.as_f64().is_some_and(|number| number >= 0.0),
        Type::Object | Type::Map(..) => *value == json!({}),
        Type::List(..) => *value == json!([]),
        Type::Struct(_) | Type::Any | Type::Number | Type::Plain => true,
    }
}

/// A value that is right for a type, as far as a type can say.
fn right(of: &Type, name: &str) -> Value {
    match of {
        Type::Named(_, of) => right(of, name),
        Type::Text(_) if name == "public_key" => json!("4yqqeRXOubRJ0bpQ6ioouxpuAfkL2iRaLR2HaX0YomU="),
        Type::Text(_) | Type::Prose(_) => json!("fast"),
        Type::Form(form) => {
            let secret = token::generate(token::SESSION_PREFIX).unwrap();
            let all = [
                "30d",
                "2026-12-31",
                "2026-12-31T00:00:00Z",
                "key_abc",
                "t",
                "/v1/*",
                "10.0.0.0/8",
                "ses_00000000000000000000",
                "arn:aws:iam::123456789012:role/x",
                &"a".repeat(40),
                "1795219200000-ab",
                &secret,
                "SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs",
                &format!("{}==", "A".repeat(86)),
            ];
            let found = all.into_iter().find(|text| (form.check)(text));
            json!(found.unwrap_or_else(|| panic!("{name}: {}", form.wants)))
        }
        Type::Choice(words) => json!(words[0]),
        Type::Flag => json!(true),
        Type::Count(least, _) => json!(least),
        Type::Dollars => json!(1),
        Type::Object => json!({"a": 1}),
        Type::List(of, _) => json!([right(of, name)]),
        Type::Map(of, _) if name == "redirects" => json!({"x": right(of, name)}),
        Type::Map(of, _) => json!({"input_cost_per_token": right(of, name)}),
        Type::Struct(_) | Type::Any | Type::Number | Type::Plain => unreachable!("only in answers"),
    }
}

fn fields(fields: &'static [&'static [Field]]) -> impl Iterator<Item = &'static Field> {
    fields.iter().flat_map(|fields| fields.iter())
}

fn path(spec: &Spec) -> String {
    spec.path.replace("{key}", "key_abc")
}

/// A body that has all that it must have.
fn body(spec: &Spec) -> serde_json::Map<String, Value> {
    let musts = fields(spec.body.fields).filter(|field| field.need == shape::Need::Must);
    musts.map(|field| (field.name.to_owned(), right(&field.of, field.name))).collect()
}

fn query(spec: &Spec) -> Vec<(&'static str, String)> {
    let musts = fields(spec.query.fields).filter(|field| field.need == shape::Need::Must);
    musts.map(|field| (field.name, plain(&right(&field.of, field.name)))).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(pairs: &[(&str, String)]) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// What is asked with a body, or with a query.
fn ask(world: &World, spec: &Spec, body: &str, query: &[(&str, String)]) -> Said {
    let target = format!("{}?{}", path(spec), encoded(query));
    world.raw(&Actor::Master, spec.method.as_str(), &target, body.as_bytes(), NOW)
}

/// A 400 that names a field, or a part of it.
fn names(said: &Said, field: &str, what: &str) {
    assert_eq!(said.status, 400, "{what}: {}", said.text);
    let param = said.json["error"]["param"].as_str().unwrap_or_default();
    assert!(param.starts_with(field), "{what}: {}", said.text);
    assert!(said.json["error"]["message"].as_str().unwrap().contains(&format!("`{param}`")), "{what}: {}", said.text);
}

#[test]
fn every_field_of_every_body_refuses_what_is_wrong_for_it() {
    let world = World::new();
    let mut tried = 0;
    for spec in table::all().filter(|spec| spec.method != Method::GET) {
        for field in fields(spec.body.fields) {
            for value in wrong(&field.of) {
                let mut body = body(spec);
                body.insert(field.name.to_owned(), value.clone());
                let said = ask(&world, spec, &Value::Object(body).to_string(), &query(spec));
                names(&said, field.name, &format!("{} {}: {}", spec.path, field.name, shown(&value)));
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    assert!(world.audit().is_empty(), "nothing was done");
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[test]
fn every_parameter_of_every_query_refuses_what_is_wrong_for_it() {
    let world = World::new();
    let mut tried = 0;
    for spec in table::all() {
        for field in fields(spec.query.fields) {
            let mut bad = vec![String::new(), "a\0b".into(), "a\nb".into(), "ä".repeat(1001)];
            if !matches!(field.of, Type::Text(_)) {
                bad.extend(
                    ["-1", "1e3", "99999999999999999999999999", "nonsense", "ä", "' OR 1=1", "{}", "null"]
                        .map(str::to_owned),
                );
            }
            for value in bad {
                let mut query = query(spec);
                query.retain(|(name, _)| *name != field.name);
                query.push((field.name, value.clone()));
                if matches!(&field.of, Type::Form(form) if (form.check)(&value)) {
                    continue;
                }
                let said = ask(&world, spec, "", &query);
                names(&said, field.name, &format!("{} {}: {value:.60}", spec.path, field.name));
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn what_has_to_be_there_is_missed_and_what_is_not_known_is_refused() {
    let world = World::new();
    for spec in table::all() {
        let get = spec.method == Method::GET;
        let takes = if get { &spec.query } else { &spec.body };
        for field in fields(takes.fields).filter(|field| field.need == shape::Need::Must) {
            let (mut body, mut query) = (body(spec), query(spec));
            body.remove(field.name);
            query.retain(|(name, _)| *name != field.name);
            let said = ask(&world, spec, &Value::Object(body.clone()).to_string(), &query);
            names(&said, field.name, spec.path);
            if !get {
                body.insert(field.name.to_owned(), Value::Null);
                names(&ask(&world, spec, &Value::Object(body).to_string(), &query), field.name, spec.path);
            }
        }
        let refused = takes.refused.iter().flat_map(|refused| refused.iter()).map(|(name, _)| *name);
        for name in refused.chain(["no_such_field", "__proto__", "key_alia"]) {
            let (mut body, mut query) = (body(spec), query(spec));
            if get {
                query.push((name, "1".into()));
            } else {
                body.insert(name.to_owned(), json!(1));
            }
            names(&ask(&world, spec, &Value::Object(body).to_string(), &query), name, spec.path);
        }
        for name in fields(takes.fields).map(|field| field.name).take(1) {
            let field = fields(takes.fields).next().unwrap();
            let value = right(&field.of, name);
            let twice = format!("{{\"{name}\":{value},\"{name}\":{value}}}");
            let mut query = query(spec);
            if get {
                query.extend([(name, plain(&value)), (name, plain(&value))]);
            }
            names(&ask(&world, spec, &twice, &query), name, spec.path);
        }
    }
    let said = world.post("/key/generate", &json!({"max_budgte": 1}));
    assert!(said.text.contains("did you mean `max_budget`?"), "{}", said.text);
    // What demands nothing may come.
    let harmless = json!({"guardrails": [], "aliases": {}, "config": null, "permissions": {}});
    assert_eq!(world.post("/key/generate", &harmless).status, 200);
}

#[test]
fn a_body_that_is_no_object_is_told_where_it_goes_wrong() {
    let world = World::new();
    for spec in table::all().filter(|spec| spec.method != Method::GET) {
        for body in [
            "[",
            "[]",
            "1",
            "\"x\"",
            "null",
            "{\"a\"",
            "{\"a\":}",
            "{} {}",
            "{\"a\":1,}",
            "nonsense",
            "{\"\\ud800\":1}",
        ] {
            let said = ask(&world, spec, body, &[]);
            assert_eq!(said.status, 400, "{} {body}", spec.path);
        }
        let bytes = world.raw(&Actor::Master, spec.method.as_str(), &path(spec), b"{\"key\":\"\xff\"}", NOW);
        assert_eq!(bytes.status, 400);
        let deep = format!("{{\"metadata\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(ask(&world, spec, &deep, &[]).status, 400, "{}", spec.path);
    }
    let said = world.raw(&Actor::Master, "GET", "/key/list?user_id=%ff", b"", NOW);
    names(&said, "user_id", "not UTF-8");
}

#[test]
fn hostile_texts_are_texts() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({"key_alias": "mine"}));
    for text in HOSTILE {
        for spec in table::all().filter(|spec| spec.method != Method::GET) {
            for field in fields(spec.body.fields) {
                let value = match field.of {
                    Type::List(..) => json!([text]),
                    Type::Map(..) => json!({text: {text: 1}}),
                    Type::Object => json!({text: text}),
                    _ => json!(text),
                };
                let mut body = body(spec);
                if body.contains_key("key") {
                    body.insert("key".into(), json!(hash));
                }
                body.insert(field.name.to_owned(), value);
                let said = ask(&world, spec, &Value::Object(body).to_string(), &query(spec));
                assert!(said.status < 500, "{} {} {text}: {}", spec.path, field.name, said.text);
            }
        }
        for spec in table::all() {
            for field in fields(spec.query.fields) {
                let mut query = query(spec);
                query.retain(|(name, _)| *name != field.name);
                query.push((field.name, text.to_owned()));
                let said = ask(&world, spec, "", &query);
                assert!(said.status < 500, "{} {} {text}: {}", spec.path, field.name, said.text);
            }
        }
        let secret = world.done("/key/generate", &json!({"user_id": text, "metadata": {text: text}}));
        let query = encoded(&[("user_id", text.to_owned())]);
        let found = world.told(&format!("/key/list?return_full_object=true&size=100&{query}"));
        let keys = found["keys"].as_array().unwrap();
        let own = keys.iter().find(|key| key["token"] == secret["token"]).unwrap();
        assert_eq!(own["metadata"][text], *text);
        assert!(keys.iter().all(|key| key["user_id"] == *text), "{text}");
    }
}

#[test]
fn what_is_named_has_to_be_there() {
    let world = World::new();
    let none = "0".repeat(64);
    let secret = token::generate(token::KEY_PREFIX).unwrap();
    for (method, target, body, param) in [
        ("GET", format!("/key/info?key={none}"), json!({}), "key"),
        ("GET", format!("/key/info?key={secret}"), json!({}), "key"),
        ("GET", "/key/info?key=key_none".to_owned(), json!({}), "key"),
        ("GET", "/team/info?team_id=none".to_owned(), json!({}), "team_id"),
        ("GET", format!("/spend/logs?api_key={none}"), json!({}), "api_key"),
        ("GET", format!("/admin/logs?key={none}"), json!({}), "key"),
        ("GET", "/model/info?litellm_model_id=x".to_owned(), json!({}), "litellm_model_id"),
        ("POST", "/key/update".to_owned(), json!({"key": none}), "key"),
        ("POST", "/key/block".to_owned(), json!({"key": secret}), "key"),
        ("POST", "/key/regenerate".to_owned(), json!({"key": none}), "key"),
        ("POST", format!("/key/{none}/regenerate"), json!({}), "key"),
        ("POST", "/key/delete".to_owned(), json!({"keys": [none]}), "keys[0]"),
        ("POST", "/key/delete".to_owned(), json!({"key_aliases": ["none"]}), "key_aliases[0]"),
        ("POST", "/key/generate".to_owned(), json!({"team_id": "none"}), "team_id"),
        ("POST", "/team/update".to_owned(), json!({"team_id": "none"}), "team_id"),
        ("POST", "/team/delete".to_owned(), json!({"team_ids": ["none"]}), "team_ids[0]"),
        ("POST", "/admin/sessions/delete".to_owned(), json!({"session": "ses_00000000000000000000"}), "session"),
    ] {
        let said = world.raw(&Actor::Master, method, &target, body.to_string().as_bytes(), NOW);
        assert_eq!((said.status, said.json["error"]["param"].as_str()), (404, Some(param)), "{target}: {}", said.text);
        assert!(!said.text.contains(&secret));
    }
}

#[test]
fn fields_that_do_not_go_together_are_told() {
    let world = World::new();
    let (secret, ..) = key(&world, json!({"max_budget": 1}));
    for (path, body, param) in [
        ("/key/generate", json!({"duration": "1d", "expires": "2030-01-01"}), "duration"),
        ("/key/generate", json!({"expires": "2020-01-01"}), "expires"),
        ("/key/generate", json!({"duration": "36500d", "soft_budget": 2, "max_budget": 1}), "soft_budget"),
        ("/key/update", json!({"key": secret, "soft_budget": 1.000_000_1}), "soft_budget"),
        ("/key/generate", json!({"models": ["fast", "fasst"]}), "models[1]"),
        ("/key/generate", json!({"models": ["no-default-models"]}), "models[0]"),
        ("/team/new", json!({"models": ["nothing"]}), "models[0]"),
        ("/key/delete", json!({}), "keys"),
        ("/key/delete", json!({"keys": [], "key_aliases": null}), "keys"),
        ("/team/delete", json!({"team_ids": []}), "team_ids"),
        ("/key/key_abc/regenerate", json!({"key": secret}), "key"),
        ("/key/nonsense/regenerate", json!({}), "key"),
        ("/admin/admins", json!({"name": "x", "public_key": "ssh-rsa AAAA"}), "public_key"),
    ] {
        names(&world.post(path, &body), param, path);
    }
    for (target, param) in [
        ("/global/spend/report?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/user/daily/activity?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/spend/logs?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/admin/metrics?from=2026-11-02&to=2026-11-01", "to"),
        ("/admin/metrics?from=2026-11-01&to=2026-11-21&interval=hour", "interval"),
        ("/admin/logs?from=2026-11-02&to=2026-11-01", "to"),
    ] {
        names(&world.get(target), param, target);
    }
    let all = json!({"system_prompt": "🙂".repeat(32_000), "models": vec![format!("{}*", "ä".repeat(150)); 300]});
    let said = world.post("/key/generate", &all);
    assert!(said.status == 400 && said.text.contains("no longer than 150000 bytes"), "{}", said.text);
    let body = br#"{"metadata": {"id": 123456789012345678901}}"#;
    names(&world.raw(&Actor::Master, "POST", "/key/generate", body, NOW), "metadata", "a number that is too long");
    let said = world.post("/key/generate", &json!({"models": ["fasst"]}));
    assert!(said.text.contains("did you mean `fast`?"), "{}", said.text);
    for (models, want) in [(json!(["all-proxy-models"]), json!([])), (json!(["all-team-models", "fast"]), json!([]))] {
        assert_eq!(world.done("/key/generate", &json!({"models": models}))["models"], want);
    }
}

#[test]
fn nobody_takes_what_is_not_his() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({}));
    let document = block_on(world.store.find(crate::store::Kind::Key, &hash, NOW)).unwrap().unwrap();
    let holder = Actor::Key { record: Arc::new(serde_json::from_str(&document.body).unwrap()) };
    let session = Actor::Session { fingerprint: "SHA256:x".into() };
    for spec in table::all() {
        let denied = |actor: &Actor| {
            let said = world.raw(actor, spec.method.as_str(), &path(spec), b"{\"x\":1}", NOW);
            [401, 403].contains(&said.status).then_some(said.status)
        };
        let want = match spec.access {
            Access::Public => (None, None, None),
            Access::Caller => (Some(401), None, None),
            Access::Admin => (Some(401), Some(403), None),
            Access::Master => (Some(401), Some(403), Some(403)),
        };
        assert_eq!((denied(&Actor::Nobody), denied(&holder), denied(&session)), want, "{} {}", spec.method, spec.path);
        assert_eq!(route(&spec.method, &path(spec)), Some(Route::Found { access: spec.access, label: spec.path }));
    }
    let wrong = world.raw(&Actor::Master, "DELETE", "/key/list", b"", NOW);
    assert_eq!(wrong.status, 405);
    assert_eq!(route(&Method::DELETE, "/key/list"), Some(Route::WrongMethod { allow: "GET, HEAD, OPTIONS" }));
    assert_eq!(route(&Method::GET, "/v1/chat/completions"), None);
    assert_eq!(world.get("/key").status, 404);
}

/// A store in which somebody else is always faster.
#[test]
fn a_lost_race_is_a_409_and_changes_nothing() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({"key_alias": "a"}));
    let found = block_on(world.store.find(crate::store::Kind::Key, &hash, NOW)).unwrap().unwrap();
    let stale = context::Stored { value: serde_json::from_str::<Key>(&found.body).unwrap(), document: found };
    world.done("/key/update", &json!({"key": hash, "rpm_limit": 1}));
    let acts = world.audit().len();
    let input = context::Context {
        body: Input::default(),
        query: Input::default(),
        part: None,
        actor: &Actor::Master,
        address: None,
        now: NOW,
        catalog: &Models,
    };
    let problem = block_on(world.admin.delete_keys(&[stale], &input)).unwrap_err();
    assert_eq!(problem.status, StatusCode::CONFLICT);
    assert_eq!(world.audit().len(), acts);
    assert_eq!(world.told(&format!("/key/info?key={hash}"))["info"]["rpm_limit"], 1);
}
