//! What was used and spent, prices, redirects, models.

use super::*;
use crate::meter::Money;
use crate::store::Settlement;
use crate::store::usage::{Entry, Tokens};

const DAY: u64 = 86_400_000;

/// Records a request that came so many milliseconds before now.
fn record(world: &World, before: u64, change: impl FnOnce(&mut Entry)) {
    let time = NOW - before;
    let mut entry = Entry {
        id: format!("{time:013}-{}", token::random(10).unwrap()),
        time,
        request_id: "r".into(),
        endpoint: "chat.completions".into(),
        model: "fast".into(),
        upstream: "openai".into(),
        tokens: Tokens { input: 10, output: 5, cache_read: 2, ..Tokens::default() },
        cost: Some(Money(100_000_000_001)),
        status: 200,
        ..Entry::default()
    };
    change(&mut entry);
    let settlement = Settlement { hold: None, used: crate::meter::ledger::Estimate::default(), entry: Some(entry) };
    block_on(world.store.settle(&settlement, NOW)).unwrap();
}

/// Two keys, one of them of a team and a user, and three days of requests.
fn world() -> (World, String, String) {
    let world = World::new();
    world.done("/team/new", &json!({"team_id": "t", "team_alias": "Team"}));
    let (_, hash, one) = key(&world, json!({"key_alias": "one", "team_id": "t", "user_id": "u"}));
    let (_, _, two) = key(&world, json!({"key_alias": "two"}));
    let of = |id: &str, team: &str| {
        let (key, team) = (id.to_owned(), team.to_owned());
        move |entry: &mut Entry| (entry.key, entry.team) = (key, team)
    };
    record(&world, 0, of(&one, "t"));
    record(&world, DAY, of(&one, "t"));
    record(&world, DAY, of(&two, ""));
    record(&world, 2 * DAY, |entry| {
        of(&two, "")(entry);
        (entry.model, entry.upstream, entry.end_user) = ("smart".into(), "anthropic".into(), "o'neil".into());
        (entry.cost, entry.error, entry.status) = (None, Some("timeout".into()), 504);
        entry.request_body = Some("hello".into());
    });
    (world, hash, one)
}

#[test]
fn spend_is_told_by_day_to_the_last_digit() {
    let (world, hash, one) = world();
    let said = world.get("/spend/logs?start_date=2026-11-01&end_date=2026-11-21");
    assert!(said.text.contains(r#""startTime":"2026-11-20","spend":0.200000000002"#), "{}", said.text);
    let unpriced: Vec<&Value> = (0..3).map(|day| &said.json[day]["unpriced_requests"]).collect();
    assert_eq!(unpriced, [1, 0, 0], "what has no price is not free");
    assert_eq!(said.json[2]["users"], json!({"u": 0.100_000_000_001}));
    assert_eq!(said.json[2][&one], json!(0.100_000_000_001));
    assert_eq!(said.json[0]["models"], json!({"smart": 0}));
    for (query, want) in [
        ("", 4),
        ("start_date=2026-11-20&end_date=2026-11-20&summarize=false", 2),
        ("start_date=2026-11-21", 1),
        ("end_date=2026-11-19", 1),
        ("user_id=u", 2),
        ("user_id=nobody", 0),
        ("request_id=r", 4),
        ("request_id=x", 0),
        (&format!("api_key={hash}"), 2),
        (&format!("api_key={one}&user_id=nobody"), 0),
    ] {
        let said = world.told(&format!("/spend/logs?{query}"));
        assert_eq!(said.as_array().unwrap().len(), want, "{query}: {said}");
    }
    let rows = world.told("/spend/logs");
    assert_eq!(rows[0]["api_key"], one.as_str());
    assert!(!world.get("/spend/logs").cut);
    assert_eq!((&rows[0]["prompt_tokens"], &rows[0]["completion_tokens"]), (&json!(12), &json!(5)));
    assert_eq!(
        (&rows[3]["status"], &rows[3]["spend"], &rows[3]["end_user"]),
        (&json!("failure"), &json!(null), &json!("o'neil"))
    );
}

#[test]
fn a_list_of_requests_that_is_cut_says_so() {
    let world = World::new();
    for count in [999, 1, 1] {
        for _ in 0..count {
            record(&world, 0, |_| {});
        }
        let said = world.get("/spend/logs?start_date=2026-11-21&end_date=2026-11-21&summarize=false");
        let all = block_on(world.store.daily(&crate::store::usage::DailyQuery {
            from: "2026-11-21".into(),
            to: "2026-11-21".into(),
            ..Default::default()
        }))
        .unwrap();
        let requests: u64 = all.iter().map(|daily| daily.sums.requests).sum();
        let told = u64::try_from(said.json.as_array().unwrap().len()).unwrap();
        assert_eq!((told, said.cut), (requests.min(1000), requests > 1000));
    }
}

#[test]
fn reports_group_what_was_spent() {
    let (world, hash, one) = world();
    let span = "start_date=2026-11-19&end_date=2026-11-21";
    let teams = world.told(&format!("/global/spend/report?{span}"));
    assert_eq!(teams[1]["group_by_day"], "2026-11-20");
    let names: Vec<&str> =
        teams[1]["teams"].as_array().unwrap().iter().map(|team| team["team_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["", "Team"]);
    assert_eq!(teams[2]["teams"][0]["metadata"][0]["api_key"], one.as_str());
    assert_eq!(world.told(&format!("/global/spend/report?{span}&team_id=t")).as_array().unwrap().len(), 2);
    assert_eq!(
        (&teams[0]["teams"][0]["unpriced_requests"], &teams[0]["teams"][0]["metadata"][0]["unpriced_requests"]),
        (&json!(1), &json!(1))
    );
    let keys = world.told(&format!("/global/spend/report?{span}&group_by=api_key"));
    let unpriced: u64 = keys.as_array().unwrap().iter().map(|key| key["unpriced_requests"].as_u64().unwrap()).sum();
    assert_eq!(unpriced, 1);
    let customers = world.told(&format!("/global/spend/report?{span}&group_by=customer"));
    assert_eq!(customers[0]["customers"][0]["unpriced_requests"], 1);
    assert_eq!(customers[0]["customers"][0]["customer"], "o'neil");
    let one_customer = world.told(&format!("/global/spend/report?{span}&customer_id=o%27neil"));
    assert_eq!(one_customer.as_array().unwrap().len(), 1);
    for query in [format!("api_key={hash}"), "internal_user_id=u".to_owned(), format!("group_by=api_key&api_key={one}")]
    {
        let keys = world.told(&format!("/global/spend/report?{span}&{query}"));
        assert_eq!(keys.as_array().unwrap().len(), 1, "{query}");
        assert_eq!((&keys[0]["api_key"], &keys[0]["total_input_tokens"]), (&json!(one), &json!(24)), "{query}");
    }
}

#[test]
fn activity_and_series_come_to_the_same() {
    let (world, hash, one) = world();
    let activity = world.told("/user/daily/activity?start_date=2026-11-01&end_date=2026-11-21");
    let dates: Vec<&str> =
        activity["results"].as_array().unwrap().iter().map(|day| day["date"].as_str().unwrap()).collect();
    assert_eq!(dates, ["2026-11-21", "2026-11-20", "2026-11-19"]);
    assert_eq!(activity["metadata"]["total_api_requests"], 4);
    assert_eq!(activity["metadata"]["total_failed_requests"], 1);
    assert_eq!(activity["results"][1]["breakdown"]["api_keys"][&one]["metadata"]["key_alias"], "one");
    let none = world.told("/user/daily/activity?start_date=2026-11-01&end_date=2026-11-21&user_id=nobody");
    assert_eq!(none["results"], json!([]));
    for (query, series, requests, first) in [
        ("", 2, 4, "fast"),
        ("?by=key", 2, 4, one.as_str()),
        ("?by=day", 3, 4, "2026-11-19"),
        ("?by=upstream", 2, 4, "openai"),
        ("?by=team&from=2026-11-20", 2, 3, "t"),
        ("?interval=hour", 1, 1, "fast"),
        ("?interval=hour&by=day&from=2026-11-19", 3, 4, "2026-11-19"),
        (&format!("?key={hash}"), 1, 2, "fast"),
        ("?model=smart", 1, 1, "smart"),
        ("?team_id=t", 1, 2, "fast"),
        ("?to=2026-11-20", 2, 3, "fast"),
        ("?to=2026-12-21&by=day", 1, 1, "2026-11-21"),
        ("?interval=hour&to=2026-11-20", 1, 2, "fast"),
    ] {
        let said = world.told(&format!("/admin/metrics{query}"));
        let all = said["series"].as_array().unwrap();
        assert_eq!((all.len(), &said["totals"]["api_requests"]), (series, &json!(requests)), "{query}: {said}");
        assert_eq!(all[0]["name"], first, "{query}");
    }
    let hours = world.told("/admin/metrics?interval=hour");
    assert_eq!(hours["series"][0]["points"][0]["time"], "2026-11-21T01:00:00.000Z");
    let smart = world.told("/admin/metrics?model=smart");
    assert_eq!(smart["totals"]["unpriced_requests"], 1, "an unknown cost is not 0");
}

#[test]
fn logs_are_filtered_and_paged() {
    let (world, hash, _) = world();
    for (query, want) in [
        ("", 4),
        ("?failed=true", 1),
        ("?failed=false", 3),
        ("?model=smart", 1),
        ("?team_id=t", 2),
        ("?end_user=o%27neil", 1),
        ("?request_id=r", 4),
        ("?from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z", 2),
        ("?from=2026-11-20&to=2026-11-20", 2),
        ("?from=2026-11-20T00:00:00Z&to=2026-11-21", 3),
        ("?to=2026-11-19", 1),
        ("?to=2026-10-19", 0),
        (&format!("?key={hash}"), 2),
        ("?end_user=%27%20OR%201=1--", 0),
    ] {
        assert_eq!(world.told(&format!("/admin/logs{query}"))["logs"].as_array().unwrap().len(), want, "{query}");
    }
    let (mut seen, mut target) = (Vec::new(), "/admin/logs?limit=3".to_owned());
    loop {
        let page = world.told(&target);
        seen.extend(page["logs"].as_array().unwrap().iter().map(|log| log["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/admin/logs?limit=3&before={next}");
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted_by(|a, b| a > b));
    assert!(!world.get("/admin/logs").text.contains("hello"), "bodies come only where they are asked for");
    assert!(world.get("/admin/logs?bodies=true").text.contains("hello"));
}

#[test]
fn prices_are_set_exactly_in_their_order_and_read_by_the_gateway() {
    let world = World::new();
    assert_eq!(world.told("/admin/prices"), json!({"prices": {}, "version": 0}));
    let body = br#"{"prices":{"z*":{"input_cost_per_token":0.000000000001,"output_cost_per_token":1e-6},
        "a":{"input_cost_per_token_above_200k_tokens":2.5e-6}},"version":0}"#;
    let said = world.raw(&Actor::Master, "PUT", "/admin/prices", body, NOW);
    let want = r#"{"prices":{"z*":{"input_cost_per_token":0.000000000001,"output_cost_per_token":0.000001},"a":{"input_cost_per_token_above_200k_tokens":0.0000025}},"version":1"#;
    assert_eq!((said.status, said.changed), (200, true));
    assert!(said.text.starts_with(want), "{}", said.text);
    assert_eq!(world.get("/admin/prices").text, format!("{want}}}"));
    let stored = block_on(world.store.find(crate::store::Kind::Setting, settings::PRICES, NOW)).unwrap().unwrap();
    let book = settings::book(&stored.body).unwrap();
    assert_eq!(book.entries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["z*", "a"]);
    assert_eq!(book.price("any", "zebra").base.output, Some(1_000_000));
    // Somebody has seen an older one.
    let said = world.raw(&Actor::Master, "PUT", "/admin/prices", body, NOW);
    assert_eq!((said.status, said.json["error"]["param"].as_str()), (409, Some("version")));
    let said = world.raw(&Actor::Master, "PUT", "/admin/prices", b"{\"prices\":{}}", NOW);
    assert_eq!(said.json, json!({"prices": {}, "version": 2}));
    let audit = world.audit();
    assert_eq!(audit.len(), 2);
    assert!(audit.iter().all(|act| act.action == "prices.set" && act.after.is_some()));
}

#[test]
fn prices_that_cannot_be_meant_are_told() {
    let world = World::new();
    let put = |name: &str, price: &str| {
        let body = format!(r#"{{"prices":{{"{name}":{{"input_cost_per_token":{price}}}}}}}"#);
        world.raw(&Actor::Master, "PUT", "/admin/prices", body.as_bytes(), NOW)
    };
    let said = put("gpt-hidden", "2.5");
    assert_eq!((said.status, &said.json["error"]["param"]), (400, &json!("prices.gpt-hidden.input_cost_per_token")));
    assert!(said.text.contains("write 0.0000025"), "{}", said.text);
    for (name, price, want) in [
        ("gpt-hidden", "0.01", None),
        ("openai/gpt-*", "0", None),
        ("fast", "0.000001", Some("prices go by the models behind it: `openai/gpt-hidden`")),
        ("gpt-hiden", "0.000001", Some("did you mean `gpt-hidden`?")),
        ("openai/gpt-hiden", "0.000001", Some("did you mean `openai/gpt-hidden`?")),
        ("else", "0.000001", Some("`prices.else` is without effect")),
    ] {
        let said = put(name, price);
        let warned = said.json["warnings"][0].as_str();
        assert_eq!((said.status, warned.is_some()), (200, want.is_some()), "{name}: {}", said.text);
        assert!(want.is_none_or(|want| warned.unwrap().contains(want)), "{name}: {warned:?}");
    }
}

#[test]
fn redirects_lead_to_models() {
    let world = World::new();
    let put = |body: Value| world.raw(&Actor::Master, "PUT", "/admin/redirects", body.to_string().as_bytes(), NOW);
    let good = json!({"redirects": {"gpt-4": "older", "older": "fast", "x": "openai/gpt-9"}});
    assert_eq!(put(good).status, 200);
    let stored = block_on(world.store.find(crate::store::Kind::Setting, settings::REDIRECTS, NOW)).unwrap().unwrap();
    let want = [("gpt-4", "older"), ("older", "fast"), ("x", "openai/gpt-9")];
    assert_eq!(settings::redirects(&stored.body).unwrap(), want.map(|(from, to)| (from.to_owned(), to.to_owned())));
    // A name that goes with this very change is no model.
    assert_eq!(put(json!({"redirects": {"new": "openai/gpt-9"}})).status, 200);
    assert_eq!(put(json!({"redirects": {"openai/new": "fast"}})).status, 200);
    assert_eq!(put(json!({"redirects": {"x": "openai/new"}})).status, 400);
    let mut long = serde_json::Map::new();
    for place in 0..9 {
        long.insert(format!("n{place}"), json!(format!("n{}", place + 1)));
    }
    long.insert("n9".into(), json!("fast"));
    for (redirects, param) in [
        (json!({"a": "nothing"}), "redirects.a"),
        (json!({"a": "a"}), "redirects.a"),
        (json!({"a": "b", "b": "a"}), "redirects.a"),
        (json!({"fast": "x", "x": "x"}), "redirects.fast"),
        (json!({"a*": "fast"}), "redirects.a*"),
        (json!({"a ": "fast"}), "redirects.a "),
        (json!({"a": 1}), "redirects.a"),
        (json!({"a": null}), "redirects.a"),
        (json!({"": "fast"}), "redirects."),
        (Value::Object(long), "redirects.n0"),
    ] {
        let said = put(json!({"redirects": redirects}));
        assert_eq!((said.status, said.json["error"]["param"].as_str()), (400, Some(param)), "{}", said.text);
    }
}

#[test]
fn holders_of_keys_see_their_models_and_nothing_behind_them() {
    let world = World::new();
    let (_, hash, _) = key(&world, json!({"models": ["fa*"]}));
    let document = block_on(world.store.find(crate::store::Kind::Key, &hash, NOW)).unwrap().unwrap();
    let actor = Actor::Key { record: Arc::new(serde_json::from_str(&document.body).unwrap()) };
    for path in ["/model/info", "/v1/model/info"] {
        let all = world.get(path);
        assert!(
            all.text.contains("openai/gpt-hidden") && all.text.contains(r#""input_cost_per_token":0.0000025"#),
            "{}",
            all.text
        );
        assert_eq!(all.json["data"].as_array().unwrap().len(), 2);
        let own = world.raw(&actor, "GET", path, b"", NOW);
        assert!(!own.text.contains("hidden") && !own.text.contains("smart"), "{}", own.text);
        assert_eq!(own.json["data"][0]["model_name"], "fast");
        assert_eq!(world.raw(&Actor::Nobody, "GET", path, b"", NOW).status, 401);
    }
    let groups = world.told("/model_group/info");
    assert_eq!(
        (&groups["data"][0]["providers"], &groups["data"][0]["supports_vision"]),
        (&json!(["openai"]), &json!(true))
    );
    let own = world.raw(&actor, "GET", "/model_group/info", b"", NOW);
    assert_eq!(own.json["data"].as_array().unwrap().len(), 1);
    assert_eq!(own.json["data"][0]["providers"], json!([]));
}
