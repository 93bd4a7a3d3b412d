//! What decides about attempts beside the fault: time, what the request asks for, what was learned before, who can take it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feathergate::gateway::Gateway;
use feathergate::route::health::{Cooling, SharedCooldowns};
use futures::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use super::world::{ANSWER, Does, Part, World};
use super::{CHATS, MESSAGES, post};
use Does::{Answers, Refuses, Well};
use Part::{Silence, Text};

const BUSY: &str = r#"{"error":{"message":"busy","type":"server_error"}}"#;

pub(super) fn fails(status: u16) -> Does {
    Answers(0, status, vec![], vec![Text(BUSY)])
}

pub(super) fn later(status: u16, retry_after: &'static str) -> Does {
    Answers(0, status, vec![("retry-after", retry_after)], vec![Text(BUSY)])
}

pub(super) fn slow(millis: u64) -> Does {
    Answers(millis, 200, vec![], vec![Text(ANSWER)])
}

/// A configuration: its groups, of deployments named after their hosts, the first with all the weight; then the rest.
pub(super) fn configuration(groups: &[(&str, &[&str])], rest: &str) -> String {
    let mut yaml = "model_list:\n".to_owned();
    for (group, hosts) in groups {
        for (at, host) in hosts.iter().enumerate() {
            let weight = if hosts.len() == 1 { String::new() } else { format!(", weight: {}", u8::from(at == 0)) };
            // Hosts of the other dialect begin with `c`.
            let (vendor, path) = if host.starts_with('c') { ("anthropic", "") } else { ("openai", "/v1") };
            let params = format!("model: {vendor}/up, api_key: sk-planted, api_base: 'http://{host}{path}'{weight}");
            writeln!(
                yaml,
                "  - {{model_name: {group}, litellm_params: {{{params}}}, model_info: {{id: {group}-{host}}}}}"
            )
            .unwrap();
        }
    }
    yaml + rest
}

/// `alone` has the deployment `a`; `two` has `a` and then `b`; `first` has `a`, and `second`, which is `b`, stands in for it.
pub(super) fn usual(rest: &str, does: &[(&'static str, Vec<Does>)]) -> World {
    let groups: [(&str, &[&str]); 4] = [("alone", &["a"]), ("two", &["a", "b"]), ("first", &["a"]), ("second", &["b"])];
    let rest = format!("router_settings: {{fallbacks: [{{first: [second]}}]}}\n{rest}");
    World::new(&configuration(&groups, &rest), does)
}

pub(super) fn ask(model: &str, fields: &str) -> Request<Full<Bytes>> {
    let comma = if fields.is_empty() { "" } else { "," };
    post(CHATS, &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{comma}{fields}}}"#))
}

pub(super) fn with(mut request: Request<Full<Bytes>>, headers: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_invocation_bounds_attempts_and_waits() {
    // Model, seconds of the invocation, the calls, the time of the answer, its status.
    let cases = [
        ("alone", slow(60_000), 10, "a(10000)", 10_000, 504),
        ("two", slow(60_000), 10, "a(10000)", 10_000, 504),
        ("first", slow(60_000), 10, "a(10000)", 10_000, 504),
        ("first", slow(9000), 10, "a(9000)", 9000, 200),
        ("alone", later(429, "4"), 10, "a =4000 a =4000 a", 8000, 429),
        ("alone", later(429, "6"), 10, "a =6000 a", 6000, 429),
        ("first", later(429, "6"), 5, "a b", 0, 200),
    ];
    for (model, does, seconds, calls, took, status) in cases {
        let world = usual("", &[("a", vec![does.clone()])]);
        let seen = world.ask_within(ask(model, ""), Some(Duration::from_secs(seconds))).await;
        assert_eq!(seen.path(), calls, "{model} {does:?}");
        assert_eq!((seen.took.as_millis(), seen.got.status), (took, status), "{model} {does:?}: {}", seen.got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_gets_what_is_left() {
    // 25 s in all; an attempt may take 10.
    let settings = "model_list:\n  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', timeout: 10}}\n";
    let world = World::new(
        &format!("{settings}litellm_settings: {{request_timeout: 25, num_retries: 5}}\n"),
        &[("a", vec![slow(60_000)])],
    );
    let seen = world.ask(ask("m", "")).await;
    let times: Vec<u128> = seen.calls.iter().map(|call| (call.ended.unwrap() - call.began).as_millis()).collect();
    let waits: u64 = seen.waits().iter().sum();
    assert_eq!((times.len(), times[0], times[1]), (3, 10_000, 10_000));
    assert_eq!(times[2], u128::from(5000 - waits), "{}", seen.path());
    assert_eq!((seen.took.as_millis(), seen.got.status), (25_000, 504));
    assert!(seen.got.message().contains("(after 3 attempts)"), "{}", seen.got.message());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_longer_than_the_time_left_is_not_begun() {
    let world = usual("", &[("a", vec![later(429, "30")])]);
    let soon = Some(Duration::from_secs(20));
    let seen = world.ask_within(ask("alone", ""), soon).await;
    assert_eq!((seen.path().as_str(), seen.took, seen.got.status), ("a", Duration::ZERO, 429));
    assert_eq!(seen.got.headers["retry-after"], "30");
}

#[tokio::test(start_paused = true)]
async fn a_request_says_how_often_and_how_long() {
    type Case<'a> = (&'a [(&'static str, &'a str)], &'a str, Does, &'a str, u16);
    let cases: [Case<'_>; 14] = [
        (&[("x-litellm-num-retries", "0")], "", Refuses, "a", 502),
        (&[("x-litellm-num-retries", "1")], "", later(429, "1"), "a =1000 a", 429),
        (&[("x-feathergate-num-retries", "0"), ("x-litellm-num-retries", "1")], "", Refuses, "a", 502),
        (&[("x-litellm-num-retries", "2")], r#""num_retries":0"#, Refuses, "a", 502),
        (&[], r#""num_retries":3"#, later(503, "1"), "a =1000 a =1000 a =1000 a", 503),
        (&[("x-litellm-timeout", "2")], "", slow(9000), "a(2000)", 504),
        (&[("x-litellm-timeout", "2.5")], "", later(429, "1"), "a =1000 a =1000 a", 429),
        (&[("x-litellm-timeout", "9")], r#""timeout":1.5"#, slow(9000), "a(1500)", 504),
        (
            &[("x-litellm-stream-timeout", "2"), ("x-litellm-num-retries", "0")],
            r#""stream":true"#,
            slow(9000),
            "a(2000)",
            504,
        ),
        // The operator's limit is his.
        (&[("x-litellm-stream-timeout", "30")], r#""stream":true,"num_retries":0"#, slow(9000), "a(5000)", 504),
        (&[], r#""stream":true,"num_retries":0,"stream_timeout":30"#, slow(9000), "a(5000)", 504),
        // That is about streams.
        (&[("x-litellm-stream-timeout", "2")], "", slow(9000), "a(9000)", 200),
        (&[("x-litellm-timeout", "soon")], "", Well, "", 400),
        (&[], r#""num_retries":"two""#, Well, "", 400),
    ];
    for (headers, fields, does, calls, status) in cases {
        let world = usual("litellm_settings: {stream_timeout: 5}\n", &[("a", vec![does.clone()])]);
        let seen = world.ask(with(ask("alone", fields), headers)).await;
        assert_eq!((seen.path().as_str(), seen.got.status), (calls, status), "{headers:?} {fields} {}", seen.got.text);
        for call in &seen.calls {
            assert!(!call.body.contains("num_retries") && !call.body.contains("timeout"), "{}", call.body);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_says_where_it_goes_next() {
    let cases = [
        ("alone", r#""fallbacks":["second"]"#, "a b", 200, "second", 1),
        ("alone", r#""fallbacks":[{"model":"second","messages":[]}]"#, "a b", 200, "second", 1),
        // What nobody knows is passed over, and a group has one turn.
        ("alone", r#""fallbacks":["nobody","alone","second"]"#, "a b", 200, "second", 1),
        ("alone", r#""fallbacks":[{"alone":["second"]},{"first":["two"]}]"#, "a b", 200, "second", 1),
        // In the place of what is configured.
        ("first", r#""fallbacks":["alone"]"#, "a a", 503, "", 1),
        ("first", r#""disable_fallbacks":true"#, "a", 503, "", 0),
        ("alone", r#""fallbacks":["second"],"disable_fallbacks":true"#, "a", 503, "", 0),
        ("first", r#""fallbacks":[]"#, "a", 503, "", 0),
        ("first", r#""mock_testing_fallbacks":true"#, "b", 200, "second", 1),
        ("first", r#""mock_testing_context_fallbacks":true"#, "b", 200, "second", 1),
        ("first", r#""mock_testing_content_policy_fallbacks":true"#, "b", 200, "second", 1),
        ("first", r#""mock_testing_rate_limit_error":true"#, "b", 200, "second", 1),
        ("alone", r#""mock_testing_fallbacks":true"#, "", 500, "", 0),
        ("alone", r#""mock_testing_rate_limit_error":true"#, "", 429, "", 0),
    ];
    for (model, fields, calls, status, group, fallbacks) in cases {
        let world = usual("", &[("a", vec![fails(503)])]);
        let seen = world.ask(with(ask(model, fields), &[("x-litellm-num-retries", "0")])).await;
        assert_eq!((seen.path().as_str(), seen.got.status), (calls, status), "{model} {fields} {}", seen.got.text);
        assert_eq!(seen.got.headers["x-feathergate-attempted-fallbacks"], fallbacks.to_string(), "{model} {fields}");
        if status == 200 {
            assert_eq!(seen.got.headers["x-feathergate-model-group"], group);
            assert_eq!((&seen.log["model_group"], &seen.log["fallback_group"]), (&json!(model), &json!(group)));
        } else {
            assert!(!seen.got.text.contains("second") && seen.log.get("fallback_group").is_none(), "{}", seen.got.text);
        }
        for call in &seen.calls {
            assert!(!call.body.contains("fallbacks") && !call.body.contains("mock_testing"), "{}", call.body);
        }
    }
}

/// Hosts of the calls that these requests, one after the other, lead to.
async fn calls(world: &World, model: &str, requests: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..requests {
        all.push(world.ask(with(ask(model, ""), &[("x-litellm-num-retries", "1")])).await.path());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_dead_deployment_is_left_alone_and_then_tried_by_one() {
    for (dead, at_first) in [(Refuses, 4), (fails(500), 4), (fails(401), 1), (fails(404), 1), (fails(429), 1)] {
        let world = usual("", &[("a", vec![dead.clone()])]);
        for at in 0..8 {
            let want = if at < at_first { "a b" } else { "b" };
            assert_eq!(calls(&world, "two", 1).await, [want], "{dead:?}, request {at}");
        }
        advance(Duration::from_millis(4900)).await;
        assert_eq!(calls(&world, "two", 2).await, ["b", "b"], "{dead:?}");
        advance(Duration::from_millis(200)).await;
        // The cooldown is over: one finds out that nothing has changed.
        assert_eq!(calls(&world, "two", 3).await, ["a b", "b", "b"], "{dead:?}");
        world.now("a", Well);
        advance(Duration::from_millis(5100)).await;
        assert_eq!(calls(&world, "two", 2).await, ["a", "a"], "{dead:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time() {
    let world = usual("", &[("a", vec![fails(404)])]);
    assert_eq!(calls(&world, "two", 2).await, ["a b", "b"]);
    advance(Duration::from_secs(6)).await;
    world.now("a", slow(1000));
    let seen = join_all((0..20).map(|_| world.ask(ask("two", "")))).await;
    assert!(seen.iter().all(|seen| seen.got.status == 200));
    let hosts = world.hosts.calls.lock().unwrap();
    assert_eq!(hosts.iter().skip(3).filter(|call| call.host == "a").count(), 1, "nineteen do not wait for the probe");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_prolongs_a_cooldown() {
    let world = usual("", &[("a", vec![later(429, "30")])]);
    assert_eq!(calls(&world, "two", 2).await, ["a b", "b"]);
    world.now("a", Well);
    advance(Duration::from_secs(29)).await;
    assert_eq!(calls(&world, "two", 1).await, ["b"]);
    advance(Duration::from_millis(1100)).await;
    assert_eq!(calls(&world, "two", 1).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_upstream_costs_one_fast_error() {
    let world = usual("", &[("a", vec![fails(500)])]);
    let first = world.ask(ask("alone", "")).await;
    assert_eq!((first.calls.len(), first.got.status), (3, 500));
    let second = world.ask(ask("alone", "")).await;
    assert_eq!((second.calls.len(), second.got.status), (1, 500), "the fourth failure in a row opens the breaker");
    for (model, wait) in [("alone", 5), ("alone", 5)] {
        let seen = world.ask(ask(model, "")).await;
        assert_eq!((seen.calls.len(), seen.got.status, seen.took), (0, 503, Duration::ZERO));
        assert_eq!(seen.got.headers["retry-after"], wait.to_string());
        assert_eq!(
            seen.got.message(),
            format!("model `alone` is not called for a while after failures (the last: server); try again in {wait} s")
        );
        assert_eq!((&seen.log["error_class"], seen.log.get("failures")), (&json!("overloaded"), None));
        assert_eq!(seen.log["attempt"], 0);
    }
    advance(Duration::from_millis(3500)).await;
    assert_eq!(world.ask(ask("alone", "")).await.got.headers["retry-after"], "2", "what is left of it, rounded up");
    advance(Duration::from_millis(1600)).await;
    let probe = world.ask(ask("alone", "")).await;
    assert_eq!((probe.calls.len(), probe.got.status), (1, 500));
    assert_eq!(world.ask(ask("alone", "")).await.got.status, 503);
    advance(Duration::from_millis(5100)).await;
    world.now("a", Well);
    assert_eq!(world.ask(ask("alone", "")).await.got.status, 200);
    // A group that has somewhere to go goes there.
    world.now("a", fails(500));
    for (at, want) in [(0, "a"), (1, "a"), (2, "a"), (3, "a"), (4, "b")] {
        let seen = world.ask(with(ask("first", ""), &[("x-litellm-num-retries", "0")])).await;
        assert_eq!(seen.calls[0].host, want, "request {at}");
        assert_eq!(seen.got.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_cool_down_the_answer_says_for_how_long() {
    let two = [("two", &["a", "b"][..])];
    for (dead, status, class, first) in [
        (later(429, "20"), 429, "rate_limited", 429),
        (fails(404), 503, "overloaded", 404),
        (fails(401), 503, "overloaded", 502),
    ] {
        let world = World::new(&configuration(&two, ""), &[("a", vec![dead.clone()]), ("b", vec![dead.clone()])]);
        let seen = world.ask(with(ask("two", ""), &[("x-litellm-num-retries", "1")])).await;
        assert_eq!((seen.path().as_str(), seen.got.status), ("a b", first), "{dead:?}");
        let seen = world.ask(ask("two", "")).await;
        assert_eq!((seen.calls.len(), seen.got.status), (0, status), "{dead:?}");
        assert_eq!(seen.got.headers["retry-after"], if status == 429 { "20" } else { "5" });
        assert_eq!(seen.log["error_class"], class);
        assert_eq!(seen.log["model_group"], "two");
    }
    // With a retry left, the first that is back is waited for.
    let world =
        World::new(&configuration(&two, ""), &[("a", vec![later(429, "20"), Well]), ("b", vec![later(429, "30")])]);
    let seen = world.ask(ask("two", "")).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("a b =20000 a", 200));
}

/// What one instance tells goes to another, as through a store.
struct Told(Arc<Gateway>);

impl SharedCooldowns for Told {
    fn began(&self, deployment: &str, cooling: Cooling) {
        self.0.hear("nobody", cooling);
        self.0.hear(deployment, cooling);
    }
}

#[tokio::test(start_paused = true)]
async fn instances_tell_each_other_whom_to_leave_alone() {
    let two = configuration(&[("two", &["a", "b"][..])], "router_settings: {routing_strategy: first-available}\n");
    let [one, other] = [0, 1].map(|_| World::new(&two, &[("a", vec![fails(401), Well])]));
    one.gateway.share_cooldowns(Arc::new(Told(Arc::clone(&other.gateway))));
    advance(Duration::from_secs(7)).await;
    assert_eq!(one.ask(ask("two", "")).await.path(), "a b");
    assert_eq!(other.ask(ask("two", "")).await.path(), "b");
    advance(Duration::from_secs(5)).await;
    assert_eq!(other.ask(ask("two", "")).await.path(), "a b", "it is tried again, and has failed only there");
}

#[tokio::test(start_paused = true)]
async fn rules_of_cooldown_are_kept() {
    let rules = |rules: &str| format!("router_settings: {{{rules}}}\n");
    for (rule, dead, want) in [
        ("allowed_fails: 0", fails(500), vec!["a b", "b", "b", "b"]),
        ("allowed_fails: 1", fails(500), vec!["a b", "a b", "b", "b"]),
        ("allowed_fails: 1", fails(401), vec!["a b", "a b", "b", "b"]),
        ("allowed_fails_policy: {RateLimitErrorAllowedFails: 2}", fails(429), vec!["a b", "a b", "a b", "b"]),
        ("disable_cooldowns: true", fails(404), vec!["a b"; 9]),
        // The request is at fault, and nobody else.
        ("allowed_fails: 0", fails(400), vec!["a"; 9]),
    ] {
        let two = [("two", &["a", "b"][..])];
        let world = World::new(&configuration(&two, &rules(rule)), &[("a", vec![dead])]);
        assert_eq!(calls(&world, "two", want.len()).await, want, "{rule}");
    }
    let two = [("two", &["a", "b"][..])];
    let world = World::new(&configuration(&two, &rules("cooldown_time: 60")), &[("a", vec![fails(404), Well])]);
    assert_eq!(calls(&world, "two", 2).await, ["a b", "b"]);
    advance(Duration::from_secs(59)).await;
    assert_eq!(calls(&world, "two", 1).await, ["b"]);
    advance(Duration::from_secs(2)).await;
    assert_eq!(calls(&world, "two", 1).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_counts_against_its_deployment() {
    let stream =
        Answers(0, 200, vec![("content-type", "text/event-stream")], vec![Text(super::TEXT), Silence(10), Part::Reset]);
    let world = usual("", &[("a", vec![stream])]);
    let mut hosts = Vec::new();
    for _ in 0..7 {
        let seen = world.ask(ask("two", r#""stream":true"#)).await;
        assert_eq!((seen.calls.len(), seen.got.status), (1, 200), "nothing is tried again after content");
        hosts.push(seen.calls[0].host.clone());
    }
    assert_eq!(hosts, ["a", "a", "a", "a", "b", "b", "b"], "more than three in a row");
}

#[tokio::test(start_paused = true)]
async fn with_one_of_two_dead_nobody_notices() {
    for strategy in ["simple-shuffle", "round-robin", "random", "least-busy", "latency-based-routing"] {
        let even = "
model_list:
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1'}}
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1'}}
";
        let yaml = format!("{even}router_settings: {{routing_strategy: {strategy}}}\n");
        let world = World::new(&yaml, &[("a", vec![Refuses]), ("b", vec![slow(100)])]);
        let clients = (0..200).map(|_| async {
            for _ in 0..5 {
                assert_eq!(world.ask(ask("m", "")).await.got.status, 200, "{strategy}");
                sleep(Duration::from_millis(50)).await;
            }
        });
        join_all(clients).await;
        let dead = world.hosts.calls.lock().unwrap().iter().filter(|call| call.host == "a").count();
        assert!((1..=5).contains(&dead), "{strategy}: {dead} of 1000 touched the dead one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_failure_is_found_out_by_the_first_few() {
    let even = "
model_list:
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1'}}
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1'}}
";
    let world = World::new(even, &[("a", vec![Answers(20, 503, vec![], vec![Text(BUSY)])]), ("b", vec![slow(100)])]);
    let clients = (0..200).map(|at| {
        let world = &world;
        async move {
            sleep(Duration::from_millis(at * 5)).await;
            assert_eq!(world.ask(ask("m", "")).await.got.status, 200);
        }
    });
    join_all(clients).await;
    let dead = world.hosts.calls.lock().unwrap().iter().filter(|call| call.host == "a").count();
    // Four failures in a row, and those that were under way by then.
    assert!((4..=9).contains(&dead), "{dead} of 200");
}

#[tokio::test(start_paused = true)]
async fn what_was_transient_is_over_after_one_more_attempt() {
    let world = usual("", &[("a", vec![fails(500), Well])]);
    let seen = world.ask(ask("alone", "")).await;
    assert_eq!((seen.calls.len(), seen.got.status, seen.got.text.as_str()), (2, 200, ANSWER));
    assert!(seen.waits()[0] <= 500 && seen.took <= Duration::from_millis(500));
    assert_eq!(seen.got.headers["x-feathergate-attempted-retries"], "1");
    assert_eq!((&seen.log["failures"], &seen.log["retries"]), (&json!(["alone-a: 500 server"]), &json!(1)));
    assert!(seen.log.get("error").is_none() && seen.log.get("error_class").is_none());
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_failure_has_its_fallbacks() {
    let long = r#"{"error":{"message":"too many tokens","code":"context_length_exceeded"}}"#;
    let policy = r#"{"error":{"message":"no such talk","code":"content_policy_violation"}}"#;
    let groups: [(&str, &[&str]); 6] =
        [("m", &["a"]), ("n", &["d"]), ("general", &["b"]), ("long", &["l"]), ("safe", &["s"]), ("any", &["y"])];
    let rest = "router_settings: {fallbacks: [{m: [general]}, {n: [general]}], context_window_fallbacks: [{m: [long]}], \
                content_policy_fallbacks: [{m: [safe]}], default_fallbacks: [any]}\n";
    for (model, status, error, want) in [
        ("m", 400, long, "a l"),
        ("m", 400, policy, "a s"),
        ("m", 404, BUSY, "a b"),
        ("m", 400, BUSY, "a"),
        // A group that is missing from a special list has its general fallbacks.
        ("n", 400, long, "d b"),
        ("n", 400, policy, "d b"),
        // And one that is in no list the default ones.
        ("long", 400, long, "l y"),
        ("long", 401, BUSY, "l y"),
        ("nobody", 0, "", "y"),
    ] {
        let fault = Answers(0, status.max(400), vec![], vec![Text(error)]);
        let failing: Vec<(&'static str, Vec<Does>)> = ["a", "d", "l"]
            .into_iter()
            .filter(|host| want.starts_with(host))
            .map(|host| (host, vec![fault.clone()]))
            .collect();
        let world = World::new(&configuration(&groups, rest), &failing);
        let seen = world.ask(ask(model, "")).await;
        assert_eq!(seen.path(), want, "{model} {error}");
        assert_eq!(seen.got.status, if want == "a" { 400 } else { 200 });
    }
    let asked = format!("{rest}feathergate: {{fallback_on_bad_request: true}}\n");
    let world = World::new(&configuration(&groups, &asked), &[("a", vec![fails(400)])]);
    assert_eq!(world.ask(ask("m", "")).await.path(), "a b");
}

#[tokio::test(start_paused = true)]
async fn where_everything_fails_the_last_failure_is_told_and_no_other_group_named() {
    let groups: [(&str, &[&str]); 3] = [("m", &["a"]), ("second", &["b"]), ("third", &["d"])];
    let rest = "router_settings: {num_retries: 0, fallbacks: [{m: [second, third]}]}\n";
    for (last, status, message) in [
        (Refuses, 502, "cannot connect to the upstream: refused (after 3 attempts)"),
        (
            fails(401),
            502,
            "the upstream `openai` refused the gateway's credential for model `m` (status 401); the operator of this \
             gateway has to check its key (after 3 attempts)",
        ),
        (slow(900_000), 504, "the upstream did not answer in time (after 3 attempts)"),
    ] {
        let world = World::new(
            &configuration(&groups, rest),
            &[("a", vec![fails(500)]), ("b", vec![fails(429)]), ("d", vec![last])],
        );
        let seen = world.ask(ask("m", "")).await;
        assert_eq!((seen.got.status, seen.got.message().as_str()), (status, message));
        assert_eq!(seen.got.headers["x-feathergate-attempted-fallbacks"], "2");
        let all = format!("{:?}{}", seen.got.headers, seen.got.text);
        assert!(!["second", "third", "m-a"].iter().any(|name| all.contains(name)), "{all}");
        assert_eq!(seen.log["failures"].as_array().unwrap().len(), 3);
        assert_eq!(seen.log["model_group"], "m");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_cannot_be_told_is_passed_over() {
    let groups: [(&str, &[&str]); 4] =
        [("both", &["c", "b"]), ("claude", &["c"]), ("first", &["c"]), ("second", &["b"])];
    let rest = "router_settings: {fallbacks: [{first: [second]}]}\nfeathergate: {on_loss: reject}\n";
    // Anthropic has no such setting.
    let seed = r#""seed":7"#;
    for (model, fields, want, status) in [
        ("both", "", "c", 200),
        ("both", seed, "b", 200),
        ("claude", seed, "", 400),
        ("first", "", "c", 200),
        ("first", seed, "b", 200),
        // What the gateway heeds itself is no loss of the conversion's.
        ("claude", r#""num_retries":0,"tags":["x"]"#, "c", 200),
    ] {
        let world = World::new(&configuration(&groups, rest), &[]);
        let seen = world.ask(ask(model, fields)).await;
        assert_eq!((seen.path().as_str(), seen.got.status), (want, status), "{model} {fields} {}", seen.got.text);
        if status == 400 {
            assert!(seen.got.message().contains("`seed`"), "{}", seen.got.message());
        }
        assert_eq!(
            seen.got.headers["x-feathergate-attempted-retries"], "0",
            "it was not called, so nothing was repeated"
        );
        assert!(seen.log.get("failures").is_none());
    }
    // And if the one that can be told fails, what it said is told.
    let world = World::new(&configuration(&groups, rest), &[("b", vec![fails(400)])]);
    let seen = world.ask(ask("both", seed)).await;
    assert_eq!((seen.path().as_str(), seen.got.status, seen.got.text.as_str()), ("b", 400, BUSY));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_across_wires_leaves_foreign_signatures_behind() {
    let groups: [(&str, &[&str]); 2] = [("gpt", &["a"]), ("claude", &["c"])];
    let rest = "router_settings: {num_retries: 0, fallbacks: [{gpt: [claude]}, {claude: [gpt]}]}\n";
    // An OpenAI client's history, in which one thought is Gemini's and one is Claude's.
    let thought = |format: &str, signature: &str| json!({"type": "reasoning.text", "text": "hm", "signature": signature, "format": format});
    let turn = |details: Value| json!({"role": "assistant", "content": "well", "reasoning_details": details});
    let user = json!({"role": "user", "content": "hi"});
    let body = json!({"model": "gpt", "messages": [
        user, turn(json!([thought("google-gemini-v1", "foreign-signature")])),
        user, turn(json!([thought("anthropic-claude-v1", "own-signature")])), user]});
    let world = World::new(&configuration(&groups, rest), &[("a", vec![fails(500)])]);
    let seen = world.ask(post(CHATS, &body.to_string())).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("a c", 200), "{}", seen.got.text);
    assert!(seen.calls[0].body.contains("foreign-signature"), "what passes through stays as it is");
    assert!(!seen.calls[1].body.contains("foreign-signature"), "{}", seen.calls[1].body);
    assert!(seen.calls[1].body.contains("own-signature"), "{}", seen.calls[1].body);
    assert_eq!(seen.got.json()["choices"][0]["message"]["content"], "hi", "the answer is in the client's dialect");

    // An Anthropic client's, to an OpenAI upstream.
    let body = json!({"model": "claude", "max_tokens": 5, "messages": [
        user, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "own-signature"}, {"type": "text", "text": "well"}]},
        user]});
    let world = World::new(&configuration(&groups, rest), &[("c", vec![fails(529)])]);
    let seen = world.ask(post(MESSAGES, &body.to_string())).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("c a", 200), "{}", seen.got.text);
    assert!(seen.calls[0].body.contains("own-signature"));
    assert!(
        !seen.calls[1].body.contains("own-signature") && seen.calls[1].body.contains("well"),
        "{}",
        seen.calls[1].body
    );
    assert_eq!(seen.got.json()["content"][0]["text"], "hi");
}

#[tokio::test(start_paused = true)]
async fn policies_say_how_often_each_kind_is_tried() {
    let groups: [(&str, &[&str]); 2] = [("m", &["a"]), ("special", &["a"])];
    let rest = "router_settings:
  num_retries: 1
  retry_policy: {RateLimitErrorRetries: 0, BadRequestErrorRetries: 2, InternalServerErrorRetries: 3}
  model_group_retry_policy: {special: {InternalServerErrorRetries: 0}}
";
    for (model, does, attempts) in [
        ("m", fails(429), 1),
        ("m", fails(400), 3),
        ("m", fails(500), 4),
        ("m", fails(503), 2),
        ("special", fails(500), 1),
        ("special", fails(503), 2),
    ] {
        let world = World::new(&configuration(&groups, rest), &[("a", vec![does.clone()])]);
        assert_eq!(world.ask(ask(model, "")).await.calls.len(), attempts, "{model} {does:?}");
    }
    let world = World::new(&configuration(&groups, "router_settings: {retry_after: 3}\n"), &[("a", vec![fails(500)])]);
    assert_eq!(world.ask(ask("m", "")).await.path(), "a =3000 a =3000 a", "the least wait");
}

#[tokio::test(start_paused = true)]
async fn each_level_of_order_comes_before_a_fallback() {
    let yaml = "
model_list:
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', order: 1}}
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1', order: 2}}
  - {model_name: n, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://d/v1'}}
router_settings: {num_retries: 0, fallbacks: [{m: [n]}]}
";
    let world = World::new(yaml, &[("a", vec![fails(500)]), ("b", vec![Refuses])]);
    assert_eq!(world.ask(ask("m", "")).await.path(), "a b d");
    let world = World::new(yaml, &[("a", vec![Refuses])]);
    assert_eq!(world.ask(ask("m", "")).await.path(), "a b");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_an_error_pattern_is_a_failure() {
    let rest = "feathergate: {error_patterns: ['upstream hiccup']}\n";
    let whole = ANSWER.replace("\"hi\"", "\"upstream hiccup\"").leak();
    let stream: &str = super::TEXT.replace("\"hi\"", "\"upstream hiccup\"").leak();
    let (one, two) = stream.split_at(stream.find("hiccup").unwrap());
    let late = vec![Text(super::TEXT), Text(stream), Text(super::STOP), Text(super::DONE)];
    let kind = vec![("content-type", "text/event-stream")];
    for (fields, does, want, status) in [
        ("", Answers(0, 200, vec![], vec![Text(whole)]), "a b", 200),
        (r#""stream":true"#, Answers(0, 200, kind.clone(), vec![Text(stream)]), "a b", 200),
        (r#""stream":true"#, Answers(0, 200, kind.clone(), vec![Text(one), Text(two)]), "a b", 200),
        // After content it is what it is.
        (r#""stream":true"#, Answers(0, 200, kind, late), "a", 200),
    ] {
        let world = usual(rest, &[("a", vec![does])]);
        let seen = world.ask(ask("two", fields)).await;
        assert_eq!((seen.path().as_str(), seen.got.status), (want, status), "{}", seen.got.text);
    }
    let world = usual(rest, &[("a", vec![Answers(0, 200, vec![], vec![Text(whole)])])]);
    let seen = world.ask(ask("alone", "")).await;
    assert_eq!((seen.calls.len(), seen.got.status), (3, 502), "{}", seen.got.text);
}

#[tokio::test(start_paused = true)]
async fn an_entry_says_how_often_itself() {
    let yaml = "
model_list:
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', num_retries: 1}}
  - {model_name: n, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', max_retries: 0}}
";
    for (model, attempts) in [("m", 2), ("n", 1)] {
        let world = World::new(yaml, &[("a", vec![fails(500)])]);
        assert_eq!(world.ask(ask(model, "")).await.calls.len(), attempts, "{model}");
        let asked = world.ask(ask(model, r#""num_retries":1,"mock_response":null"#)).await;
        assert_eq!(asked.calls.len(), 2, "{model}: the request's own wish");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_deployment_is_passed_over_and_a_full_group_says_so() {
    let yaml = "
model_list:
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', max_parallel_requests: 2, weight: 1}}
  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://b/v1', max_parallel_requests: 1, weight: 0}}
";
    let world = World::new(yaml, &[("a", vec![slow(1000)]), ("b", vec![slow(1000)])]);
    let seen = join_all((0..5).map(|_| world.ask(ask("m", "")))).await;
    let statuses: Vec<u16> = seen.iter().map(|seen| seen.got.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let hosts: Vec<String> = world.hosts.calls.lock().unwrap().iter().map(|call| call.host.clone()).collect();
    assert_eq!(hosts, ["a", "a", "b"]);
    let message = "model `m` is at the limits that the operator set; try again in 1 s";
    assert_eq!((seen[4].got.message().as_str(), &seen[4].got.headers["retry-after"]), (message, &"1".parse().unwrap()));
    assert_eq!(world.ask(ask("m", "")).await.got.status, 200, "they are over");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_asked_for_by_its_id_is_the_only_one() {
    let world = usual("", &[("a", vec![fails(500)])]);
    let seen = world.ask(ask("two-a", "")).await;
    assert_eq!((seen.calls.iter().all(|call| call.host == "a"), seen.got.status), (true, 500));
    assert_eq!(world.ask(ask("two-b", "")).await.path(), "b");
}

#[tokio::test(start_paused = true)]
async fn an_alias_is_what_the_client_reads() {
    let groups: [(&str, &[&str]); 2] = [("first", &["a"]), ("second", &["b"])];
    let rest = "router_settings: {fallbacks: [{nick: [second]}], model_group_alias: {nick: first, other: first}}\n";
    let world = World::new(&configuration(&groups, rest), &[("a", vec![fails(403)])]);
    // Fallbacks of the name that was asked for.
    assert_eq!(world.ask(ask("nick", "")).await.path(), "a b");
    let seen = world.ask(ask("other", "")).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("a", 502));
    assert!(seen.got.message().contains("model `other`") && !seen.got.text.contains("first"), "{}", seen.got.text);
    assert_eq!(seen.log["model_group"], "first");
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_of_a_deployment_is_of_no_other_one() {
    // The ids are the places in the group.
    let entry = |host: &str, params: &str| {
        format!("  - {{model_name: two, litellm_params: {{api_base: 'http://{host}/v1', {params}}}}}\n")
    };
    let usual = "model: openai/up, api_key: sk-planted";
    let file = |entries: &[String]| {
        format!(
            "model_list:\n{}router_settings: {{routing_strategy: first-available, num_retries: 0}}\n",
            entries.concat()
        )
    };
    let (a, b) = (entry("a", usual), entry("b", usual));
    for (what, first, want) in [
        ("nothing", a.clone(), "b"),
        ("its weight", entry("a", &format!("{usual}, weight: 3")), "b"),
        ("its key", entry("a", "model: openai/up, api_key: sk-mended"), "a"),
        ("its model", entry("a", "model: openai/upper, api_key: sk-planted"), "a"),
        ("its provider", entry("a", "model: groq/up, api_key: sk-planted"), "a"),
        ("its host", entry("c", usual), "c"),
        ("its organization", entry("a", &format!("{usual}, organization: org")), "a"),
        ("its headers", entry("a", &format!("{usual}, extra_headers: {{x-key: k}}")), "a"),
        ("its place", entry("d", usual) + &a, "d b"),
    ] {
        let world =
            World::new(&file(&[a.clone(), b.clone()]), &[("a", vec![fails(401), Well]), ("d", vec![fails(401)])]);
        assert_eq!(calls(&world, "two", 2).await, ["a b", "b"]);
        world.reload(&file(&[first, b.clone()]));
        assert_eq!(calls(&world, "two", 1).await, [want], "{what} changed");
        if what == "its place" {
            // The new one has failed by now, and the old one is still left alone.
            assert_eq!(calls(&world, "two", 1).await, ["b"], "{what} changed");
        }
    }
}

type Asks<'a> = &'a dyn Fn() -> Request<Full<Bytes>>;

#[tokio::test(start_paused = true)]
async fn a_fallback_that_cannot_help_hides_no_shortage() {
    let first = "{model_name: first, litellm_params: {model: openai/up, api_key: k, api_base: 'http://a/v1'}}";
    let second = "{model_name: second, litellm_params: {model: openai/up, api_key: k, api_base: 'http://b/v1'}}";
    let claude = "{model_name: second, litellm_params: {model: anthropic/up, api_key: k, api_base: 'http://c'}}";
    let blind = "{model_name: second, litellm_params: {model: anthropic/up, api_key: k, api_base: 'http://c'}, \
                 model_info: {supports_function_calling: false}}";
    let rpm = "feathergate: {limits: {per_model: {second: {rpm: 1}}}}\n";
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let completions = || post("/v1/completions", r#"{"model":"first","prompt":"hi"}"#);
    let chats = || ask("first", tools);
    let seeded = || ask("first", r#""seed":7"#);
    let cases: [(&str, &str, &str, Asks<'_>); 4] = [
        ("over its rate", second, rpm, &chats),
        ("of another wire", claude, "", &completions),
        ("without tools", blind, "", &chats),
        ("without a seed", claude, "feathergate: {on_loss: reject}\n", &seeded),
    ];
    for (what, fallback, rest, request) in cases {
        for (dead, status, class, wait) in
            [(later(429, "20"), 429, "rate_limited", "20"), (fails(401), 503, "overloaded", "5")]
        {
            // Two, since a 429 stops nobody who is alone.
            let twin = first.replace("k,", "k2,");
            let yaml = format!(
                "model_list:\n  - {first}\n  - {twin}\n  - {fallback}\nrouter_settings: {{fallbacks: [{{first: [second]}}]}}\n{rest}"
            );
            let world = World::new(&yaml, &[("a", vec![dead])]);
            if !rest.is_empty() {
                assert_eq!(world.ask(ask("second", "")).await.got.status, 200);
            }
            let none = || with(request(), &[("x-litellm-num-retries", "1")]);
            let seen = world.ask(none()).await;
            assert_eq!(seen.path(), "a a", "{what}");
            let seen = world.ask(none()).await;
            assert_eq!((seen.path().as_str(), seen.got.status), ("", status), "{what}: {}", seen.got.text);
            assert_eq!(seen.got.headers["retry-after"], wait, "{what}");
            assert_eq!(seen.log["error_class"], class, "{what}");
            assert!(!seen.got.text.contains("second"), "{what}: {}", seen.got.text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn litellms_own_fields_reach_no_provider() {
    let quiet = r#""litellm_metadata":{"trace_name":"t"},"litellm_trace_id":"t","litellm_session_id":"s","max_retries":1,"cache":{"no-cache":true},"caching":false"#;
    let lost = r#""mock_response":"made up","api_key":"k","drop_params":true,"guardrails":["pii"],"retry_policy":{"TimeoutErrorRetries":3},"context_window_fallbacks":[{"alone":["second"]}],"content_policy_fallbacks":[{"alone":["second"]}],"extra_headers":{"x":"y"},"no-log":true,"mock_timeout":true,"mock_delay":5"#;
    let names = "mock_response,api_key,drop_params,guardrails,retry_policy,context_window_fallbacks,content_policy_fallbacks,extra_headers,no-log,mock_timeout,mock_delay";
    let mut world = usual("", &[]);
    for converted in [false, true] {
        if converted {
            world = World::new(&configuration(&[("alone", &["c"][..])], ""), &[]);
        }
        for (fields, told) in [(quiet, None), (lost, Some(names))] {
            let seen = world.ask(ask("alone", fields)).await;
            assert_eq!((seen.got.status, seen.calls.len()), (200, 1), "{}", seen.got.text);
            let dropped = seen.got.headers.get("x-feathergate-dropped").map(|names| names.to_str().unwrap());
            assert_eq!(dropped, told, "{converted}");
            let body: Value = serde_json::from_str(&seen.calls[0].body).unwrap();
            let mut sent: Vec<&String> = body.as_object().unwrap().keys().collect();
            sent.retain(|name| *name != "max_tokens");
            assert_eq!(sent, ["messages", "model"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_the_gateway_in_vain_is_a_loss_like_any_other() {
    for host in ["a", "c"] {
        let world = World::new(&configuration(&[("m", &[host][..])], "feathergate: {on_loss: reject}\n"), &[]);
        let seen = world.ask(ask("m", r#""guardrails":["pii"]"#)).await;
        assert_eq!((seen.got.status, seen.calls.len()), (400, 0), "{}", seen.got.text);
        assert!(seen.got.message().contains("`guardrails`"), "{}", seen.got.text);
        assert_eq!(world.ask(ask("m", r#""guardrails":[],"num_retries":1"#)).await.got.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_take_the_request_hides_no_cooldown() {
    let entry = |name: &str, model: &str, host: &str, rest: &str| {
        format!(
            "  - {{model_name: {name}, litellm_params: {{model: {model}, api_key: k, api_base: '{host}'}}{rest}}}\n"
        )
    };
    let (gpt, claude) = (("openai/up", "http://a/v1"), ("anthropic/up", "http://c"));
    let plain = ", model_info: {supports_function_calling: false}";
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let yaml = [
        "model_list:\n",
        &entry("mixed", gpt.0, gpt.1, ""),
        &entry("mixed", claude.0, claude.1, ""),
        &entry("claude", claude.0, claude.1, ""),
        &entry("plain", claude.0, claude.1, plain),
        &entry("cool", gpt.0, gpt.1, ""),
        &entry("alone", claude.0, claude.1, ""),
        "router_settings: {routing_strategy: first-available, enable_pre_call_checks: true, \
         fallbacks: [{claude: [cool]}, {plain: [cool]}]}\n",
    ]
    .concat();
    // Anthropic gives one answer to a request.
    let several = r#""n":3"#;
    for (cooled, model, fields, wait) in [
        ("mixed", "mixed", several, true),
        ("cool", "claude", several, true),
        ("cool", "plain", tools, true),
        ("cool", "alone", several, false),
    ] {
        let world = World::new(&yaml, &[("a", vec![fails(401)])]);
        assert!(world.ask(ask(cooled, "")).await.path().starts_with('a'));
        let seen = world.ask(ask(model, fields)).await;
        assert_eq!(
            (seen.path().as_str(), seen.got.status),
            ("", if wait { 503 } else { 400 }),
            "{model}: {}",
            seen.got.text
        );
        assert_eq!(seen.got.headers.contains_key("retry-after"), wait, "{model}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_made_up_failure_is_treated_as_one() {
    for (mock, alone, code, falls) in [
        ("litellm.RateLimitError", 429, "rate_limit_exceeded", "general"),
        ("litellm.InternalServerError", 500, "", "general"),
        ("litellm.ContextWindowExceededError", 400, "context_length_exceeded", "long"),
        ("litellm.ContentPolicyViolationError", 400, "content_filter", "safe"),
        ("Exception: content_filter_policy", 400, "content_filter", "safe"),
        ("litellm.Timeout", 200, "", "m"),
    ] {
        let entry = |name: &str, mock: &str| {
            format!("  - {{model_name: {name}, litellm_params: {{model: openai/up, mock_response: '{mock}'}}}}\n")
        };
        let mut yaml = format!("model_list:\n{}{}", entry("m", mock), entry("alone", mock));
        yaml += &["general", "long", "safe"].map(|name| entry(name, "well")).concat();
        yaml += "router_settings:\n  num_retries: 0\n  fallbacks: [{m: [general]}]\n  context_window_fallbacks: [{m: [long]}]\n  \
                 content_policy_fallbacks: [{m: [safe]}]\n";
        let world = World::new(&yaml, &[]);
        let seen = world.ask(ask("alone", "")).await;
        assert_eq!(seen.got.status, alone, "{mock}: {}", seen.got.text);
        let body: Value = serde_json::from_str(&seen.got.text).unwrap();
        assert_eq!(body["error"]["code"].as_str().unwrap_or_default(), code, "{mock}");
        for fields in ["", r#""stream":true"#] {
            let seen = world.ask(ask("m", fields)).await;
            let group = seen.got.headers["x-feathergate-model-group"].to_str().unwrap();
            assert_eq!((seen.got.status, group), (200, falls), "{mock}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_is_not_its_own_fallback_under_another_name() {
    let groups: [(&str, &[&str]); 2] = [("first", &["a"]), ("second", &["b"])];
    let rest = "router_settings:\n  num_retries: 0\n  model_group_alias: {other: first}\n  \
                fallbacks: [{first: [second]}, {second: [other]}]\n";
    let world = World::new(&configuration(&groups, rest), &[("a", vec![fails(503)]), ("b", vec![fails(503)])]);
    for (model, fields, calls, fallbacks) in [
        ("first", "", "a b", "1"),
        ("other", "", "a b", "1"),
        ("first", r#""fallbacks":["other"]"#, "a", "0"),
        ("second", "", "b a", "1"),
    ] {
        let seen = world.ask(ask(model, fields)).await;
        assert_eq!((seen.path().as_str(), seen.got.status), (calls, 503), "{model} {fields}");
        assert_eq!(seen.got.headers["x-feathergate-attempted-fallbacks"], fallbacks, "{model} {fields}");
    }
}
