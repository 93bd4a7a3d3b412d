//! Who a failure is put down to: what is the client's own doing neither stops a deployment for others nor gets round a limit, and
//! no failure tells more than it should.

use std::time::Duration;

use tokio::time::advance;

use super::attempts::{ask, configuration, fails, later, slow, usual, with};
use super::world::{Does, Part, World};
use super::{MESSAGES, ROLE, STOP, TEXT, post};
use Does::{Answers, Well};
use Part::{Silence, Text};

const COUNT: &str = "/v1/messages/count_tokens";

#[tokio::test(start_paused = true)]
async fn who_gives_a_deployment_no_time_stops_it_for_nobody() {
    let stream =
        || Answers(300, 200, vec![("content-type", "text/event-stream")], [ROLE, TEXT, STOP].map(Text).to_vec());
    let long = || {
        let parts = vec![Text(ROLE), Text(TEXT), Silence(3000), Text(TEXT), Silence(3000), Text(STOP)];
        Answers(0, 200, vec![("content-type", "text/event-stream")], parts)
    };
    for (does, fields, status) in [
        (slow(300), r#""timeout":0.05,"num_retries":0"#, 504),
        (slow(300), r#""timeout":0.05"#, 504),
        (stream(), r#""stream":true,"stream_timeout":0.05,"num_retries":9"#, 504),
        (long(), r#""stream":true,"timeout":4"#, 200),
    ] {
        let world = usual("", &[("a", vec![does])]);
        for _ in 0..6 {
            let seen = world.ask(ask("alone", fields)).await;
            assert_eq!(seen.got.status, status, "{fields}");
            assert_eq!(seen.log["error_class"], "timeout", "{fields}");
        }
        world.now("a", Well);
        assert_eq!(world.ask(ask("alone", "")).await.got.status, 200, "{fields}");
    }
    // The operator's own times are the deployment's to keep.
    for (times, fields) in [("timeout: 0.05", ""), ("stream_timeout: 0.05", r#""stream":true"#)] {
        let yaml = format!(
            "model_list:\n  - {{model_name: m, litellm_params: {{model: openai/up, api_key: k, api_base: 'http://a/v1', {times}}}}}\n"
        );
        let world = World::new(&yaml, &[("a", vec![slow(300)])]);
        world.ask(with(ask("m", fields), &[("x-litellm-num-retries", "9")])).await;
        assert_eq!(world.ask(ask("m", fields)).await.got.status, 503, "{times}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_wish_is_too_long_to_be_counted() {
    let world = usual("", &[]);
    for field in ["timeout", "stream_timeout"] {
        let seen = world.ask(ask("alone", &format!(r#""stream":true,"{field}":1e19"#))).await;
        assert_eq!(seen.got.status, 200, "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_too_long_calls_nobody() {
    let world = usual(
        "feathergate: {limits: {per_model: {alone: {concurrency: 1, queue_wait: 8s}}}}\n",
        &[("a", vec![slow(3000)])],
    );
    let (first, late) = futures::join!(world.ask(ask("alone", "")), world.ask(ask("alone", r#""timeout":0.5"#)));
    assert_eq!((first.got.status, late.got.status), (200, 503));
    assert_eq!(late.took, Duration::from_millis(500), "{}", late.got.text);
    assert_eq!(world.hosts.calls.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_without_a_call_says_nothing_of_the_upstream() {
    let world = usual("", &[("a", vec![fails(500)])]);
    let count = || post(COUNT, r#"{"model":"alone","messages":[{"role":"user","content":"hi"}]}"#);
    for at in 0..4 {
        let seen = world.ask(with(ask("alone", ""), &[("x-litellm-num-retries", "0")])).await;
        assert_eq!((seen.calls.len(), seen.got.status), (1, 500), "{at}");
        if at < 3 {
            assert_eq!(world.ask(count()).await.got.status, 200);
        }
    }
    assert_eq!(world.ask(ask("alone", "")).await.calls.len(), 0, "the fourth failure in a row opens the breaker");
    advance(Duration::from_millis(5100)).await;
    assert_eq!(world.ask(count()).await.got.status, 200);
    assert_eq!(world.ask(ask("alone", "")).await.calls.len(), 1, "and one probe finds out");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_for_one_request_is_missing_for_no_other() {
    let groups: [(&str, &[&str]); 3] = [("plain", &["a"]), ("my-*", &["b", "d"]), ("claude", &["c"])];
    let file = r#"{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}"#;
    for (status, request, same, want) in [
        (404, ask("plain", ""), ask("plain", ""), 503),
        (404, ask("my-model", ""), ask("my-other", ""), 200),
        (403, ask("my-model", ""), ask("my-other", ""), 200),
        (401, ask("my-model", ""), ask("my-other", ""), 503),
        (404, post(MESSAGES, file), post(MESSAGES, &file.replace("file_1", "file_2")), 200),
        (404, post("/v1/embeddings", r#"{"model":"plain","input":"x"}"#), ask("plain", ""), 200),
    ] {
        let hosts = ["a", "b", "c", "d"];
        let world = World::new(&configuration(&groups, ""), &hosts.map(|host| (host, vec![fails(status)])));
        let seen = world.ask(request).await;
        assert!(seen.got.status >= 400 && !seen.calls.is_empty(), "{status} {}", seen.got.text);
        for host in hosts {
            world.now(host, Well);
        }
        assert_eq!(world.ask(same).await.got.status, want, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_has_its_limit_whoever_it_stands_in_for() {
    for fields in [r#""fallbacks":["second"]"#, r#""fallbacks":["second"],"mock_testing_fallbacks":true"#] {
        for model in ["nobody", "alone"] {
            let world = usual("feathergate: {limits: {per_model: {second: {rpm: 1}}}}\n", &[("a", vec![fails(500)])]);
            let statuses = [world.ask(ask(model, fields)).await, world.ask(ask(model, fields)).await]
                .map(|seen| (seen.path().contains('b'), seen.got.status == 200));
            assert_eq!(statuses[1], (false, false), "{model} {fields}");
        }
    }
    let world = usual("feathergate: {limits: {per_model: {second: {rpm: 1}}}}\n", &[("a", vec![fails(500)])]);
    let ask = || with(ask("first", ""), &[("x-litellm-num-retries", "0")]);
    assert_eq!(world.ask(ask()).await.path(), "a b");
    let seen = world.ask(ask()).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("a", 500), "why the first gave no answer says more");
    assert_eq!(seen.got.headers["x-feathergate-attempted-fallbacks"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_key_reaches_nobody_wherever_an_upstream_repeats_it() {
    const WHOLE: &str = r#"{"error":{"message":"bad key sk-planted-0123456789","type":"x"}}"#;
    const EVENT: &str = "data: {\"error\":{\"message\":\"bad key sk-planted-0123456789\",\"type\":\"x\"}}\n\n";
    let yaml = "model_list:\n  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted-0123456789, api_base: 'http://a/v1'}}\n";
    let events = vec![("content-type", "text/event-stream")];
    for (does, stream) in [
        (Answers(0, 400, vec![], vec![Text(WHOLE)]), false),
        (Answers(0, 200, vec![], vec![Text(WHOLE)]), false),
        (Answers(0, 200, events.clone(), vec![Text(EVENT)]), true),
        (Answers(0, 200, events, vec![Text(ROLE), Text(TEXT), Text(EVENT)]), true),
    ] {
        for path in [super::CHATS, MESSAGES] {
            let world = World::new(yaml, &[("a", vec![does.clone()])]);
            let body = r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}],"stream":"#;
            let seen = world.ask(post(path, &format!("{body}{stream}}}"))).await;
            let all = format!("{} {}", seen.got.text, seen.log);
            assert!(all.contains("bad key [key]") && !all.contains("0123456789"), "{path} {does:?}: {all}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_name_the_model_as_the_client_did() {
    let params = "litellm_params: {model: openai/gpt-3.5-turbo, api_key: sk-planted, api_base: 'http://a/v1'}";
    let yaml = format!(
        "model_list:\n  - {{model_name: secret-internal, {params}, model_info: {{max_input_tokens: 10}}}}\n\
         router_settings:\n  model_group_alias: {{public: {{model: secret-internal, hidden: true}}}}\n  \
         enable_pre_call_checks: true\n  enable_tag_filtering: true\n\
         feathergate: {{redirects: {{gpt-4: secret-internal}}, limits: {{per_model: {{secret-internal: {{rpm: 8}}}}}}}}\n"
    );
    let world = World::new(&yaml, &[]);
    let long = format!(r#""messages":[{{"role":"user","content":"{}"}}]"#, "word ".repeat(100));
    let image =
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]"#;
    let plain = r#""messages":[{"role":"user","content":"hi"}]"#;
    let (tags, region) = (format!(r#"{plain},"tags":["x"]"#), format!(r#"{plain},"allowed_model_region":"eu""#));
    for model in ["public", "gpt-4"] {
        for fields in [&*long, image, &tags, &region, plain] {
            let seen = world.ask(post(super::CHATS, &format!(r#"{{"model":"{model}",{fields}}}"#))).await;
            if fields == plain && model == "public" {
                continue;
            }
            assert!(seen.got.status >= 400, "{fields}");
            assert!(seen.got.text.contains(&format!("model `{model}`")), "{}", seen.got.text);
            assert!(!seen.got.text.contains("secret"), "{}", seen.got.text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_told_gives_the_one_before_no_second_turn() {
    let yaml = "model_list:\n  - {model_name: m, litellm_params: {model: openai/up, api_key: sk-planted, api_base: 'http://a/v1', order: 1}}\n  \
                - {model_name: m, litellm_params: {model: anthropic/claude-opus-4-1, api_key: sk-planted, api_base: 'http://c', order: 2}}\n\
                router_settings: {disable_cooldowns: true}\nfeathergate: {on_loss: reject}\n";
    for (does, status) in [(later(429, "30"), 429), (fails(404), 404), (fails(500), 500)] {
        let world = World::new(yaml, &[("a", vec![does])]);
        let seen = world.ask(with(ask("m", r#""seed":1"#), &[("x-litellm-num-retries", "0")])).await;
        assert_eq!((seen.path().as_str(), seen.got.status), ("a", status));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_cannot_take_it_leaves_it_to_its_own() {
    let groups: [(&str, &[&str]); 3] = [("first", &["a"]), ("blind", &["b"]), ("seeing", &["d"])];
    let rest = "router_settings: {fallbacks: [{first: [blind]}, {blind: [seeing]}], num_retries: 0}\n";
    let yaml = configuration(&groups, rest)
        .replace("model_info: {id: blind-b", "model_info: {supports_vision: false, id: blind-b");
    let world = World::new(&yaml, &[("a", vec![fails(500)])]);
    let image = r#"{"model":"first","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]}"#;
    let seen = world.ask(post(super::CHATS, image)).await;
    assert_eq!((seen.path().as_str(), seen.got.status), ("a d", 200), "{}", seen.got.text);
    assert_eq!(seen.got.headers["x-feathergate-model-group"], "seeing");
}
