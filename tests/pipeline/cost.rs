//! What a request cost: in the head, in the log line, in the counters, and at the end of a stream.

use serde_json::json;

use super::world::{Does, Part, Seen, World};
use super::*;

const PRICED: &str = "
model_list:
- model_name: chat
  litellm_params: {model: openai/up, api_base: 'http://a/v1', api_key: sk-planted, input_cost_per_token: 1e-6,
    output_cost_per_token: 2e-6, cache_read_input_token_cost: 1e-7}
- model_name: claude
  litellm_params: {model: anthropic/up, api_base: 'http://c', api_key: sk-planted, input_cost_per_token: 1e-6,
    output_cost_per_token: 2e-6, cache_creation_input_token_cost: 3e-6, cache_creation_input_token_cost_above_1hr: 5e-6}
- model_name: unpriced
  litellm_params: {model: openai/up, api_base: 'http://a/v1', api_key: sk-planted}
- model_name: second
  litellm_params: {model: openai/up, api_base: 'http://broken/v1', api_key: sk-planted, input_cost_per_token: 1,
    output_cost_per_token: 1, num_retries: 0}
- model_name: '*'
  litellm_params: {model: openai/*, api_base: 'http://a/v1', api_key: sk-planted}
router_settings: {fallbacks: [{second: [chat]}]}
";

const FLAG: &str = "litellm_settings: {include_cost_in_streaming_usage: true}\n";

const CLAUDE_STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
    \"role\":\"assistant\",\"model\":\"up\",\"content\":[],\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":7,\
    \"cache_creation\":{\"ephemeral_5m_input_tokens\":5,\"ephemeral_1h_input_tokens\":2},\"output_tokens\":1}}}\n\n\
    event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
    event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
const CLAUDE_DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
    \"usage\":{\"output_tokens\":2}}\n\n";
const CLAUDE_STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
/// 3 of input, 5 written for minutes and 2 for an hour, 2 of output.
const CLAUDE_COST: &str = "0.000032";

fn events(parts: &[&'static str]) -> Vec<Does> {
    let kind = vec![("content-type", "text/event-stream")];
    vec![Does::Answers(0, 200, kind, parts.iter().copied().map(Part::Text).collect())]
}

fn world(rest: &str) -> World {
    let broken = vec![Does::Answers(0, 500, vec![], vec![Part::Text("{}")])];
    let claude = events(&[CLAUDE_STREAM, CLAUDE_DELTA, CLAUDE_STOP]);
    World::new(&format!("{PRICED}{rest}"), &[("broken", broken), ("c", claude)])
}

/// The cost in the head and in the log line, which are never there for nothing.
fn told(seen: &Seen) -> (Option<&str>, Option<String>) {
    assert_eq!(seen.got.status, 200, "{}", seen.got.text);
    let head = seen.got.headers.get("x-feathergate-response-cost").map(|value| value.to_str().unwrap());
    (head, seen.log.get("cost").map(ToString::to_string))
}

fn asking(path: &str, model: &str) -> Request<Full<Bytes>> {
    post(
        path,
        &format!(
            r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},"max_tokens":5,"messages":[{{"role":"user","content":"u"}}]}}"#
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn a_buffered_answer_tells_its_cost() {
    let tier = |tier: &str| {
        post(
            CHATS,
            &format!(r#"{{"model":"chat","service_tier":"{tier}","messages":[{{"role":"user","content":"u"}}]}}"#),
        )
    };
    let world = world("");
    world.now("c", Does::Well);
    for (request, want) in [
        (chat("chat", false), Some("0.000007")),
        (messages("chat", false), Some("0.000007")),
        (chat("claude", false), Some("0.000007")),
        (messages("claude", false), Some("0.000007")),
        // Of the deployment that answered.
        (chat("second", false), Some("0.000007")),
        (chat("gpt-4o", false), Some("0.0000275")),
        (chat("unpriced", false), None),
        // Other tiers have other prices.
        (tier("flex"), None),
        (tier("priority"), None),
        (tier("default"), Some("0.000007")),
        (chat("unheard-of", false), None),
    ] {
        let seen = world.ask(request).await;
        let log = want.map(|want| serde_json::from_str::<Value>(want).unwrap().to_string());
        assert_eq!(told(&seen), (want, log), "{}", seen.log);
    }
}

#[tokio::test(start_paused = true)]
async fn the_counters_add_costs_up() {
    let rig = rig(
        "  - model_name: priced
    litellm_params: {model: openai/up, api_key: sk-planted-2, input_cost_per_token: 1e-6, output_cost_per_token: 2e-6}
",
        (0..3).map(|_| json_answer(200, super::world::ANSWER)).collect(),
    );
    for model in ["priced", "chat", "priced"] {
        assert_eq!(rig.ask(chat(model, false)).await.status, 200);
    }
    let text = rig.metrics();
    for line in [
        r#"feathergate_cost_dollars_total{model_group="priced",upstream="openai"} 0.000014"#,
        r#"feathergate_cost_unknown_total{model_group="priced",upstream="openai"} 0"#,
        r#"feathergate_cost_unknown_total{model_group="chat",upstream="openai"} 1"#,
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\nin\n{text}");
    }
    assert!(!text.contains(r#"cost_dollars_total{model_group="chat""#), "what is unknown is not 0\n{text}");
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_served_has_its_price() {
    let cached = r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":6}}}"#;
    let world = world("");
    world.now("a", Does::Answers(0, 200, vec![], vec![Part::Text(cached)]));
    let seen = world.ask(chat("chat", false)).await;
    assert_eq!(told(&seen).0, Some("0.0000086"));
    // Nothing was generated, so nothing is known to be charged.
    let count = world.ask(post("/v1/messages/count_tokens", r#"{"model":"chat","messages":[]}"#)).await;
    assert_eq!(told(&count), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_its_cost_in_the_log_and_where_asked_beside_its_usage() {
    for (path, model, cost) in [
        ("/v1/chat/completions", "chat", "0.000007"),
        ("/v1/chat/completions", "claude", CLAUDE_COST),
        ("/v1/messages", "chat", "0.000007"),
        ("/v1/messages", "claude", CLAUDE_COST),
    ] {
        let log = serde_json::from_str::<Value>(cost).unwrap().to_string();
        let plain = world("").ask(asking(path, model)).await;
        assert_eq!(told(&plain), (None, Some(log.clone())), "{path} {model}");
        assert!(!plain.got.text.contains("\"cost\""), "{}", plain.got.text);
        let costed = world(FLAG).ask(asking(path, model)).await;
        assert_eq!(told(&costed), (None, Some(log)), "{path} {model}");
        let added = format!(",\"cost\":{cost}");
        assert_eq!(costed.got.text.matches(&added).count(), 1, "{path} {model}: {}", costed.got.text);
        let usage: Vec<Value> = costed
            .got
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("data: {"))
            .map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap()["usage"]["cost"].clone())
            .filter(|cost| !cost.is_null())
            .collect();
        assert_eq!(usage, [serde_json::from_str::<Value>(cost).unwrap()]);
        if (path, model) == ("/v1/messages", "claude") || (path, model) == ("/v1/chat/completions", "chat") {
            assert_eq!(costed.got.text.replace(&added, ""), plain.got.text, "nothing else changes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_cost_is_put_where_none_is_known_or_nobody_asked_or_somebody_told_it() {
    let plain = world(FLAG).ask(asking("/v1/chat/completions", "unpriced")).await;
    assert!(told(&plain) == (None, None) && !plain.got.text.contains("\"cost\""), "{}", plain.got.text);
    // Usage that the client did not ask for stays hidden, and its cost with it.
    let hidden = world(FLAG).ask(chat("chat", true)).await;
    assert_eq!(told(&hidden), (None, Some(json!(0.000_007).to_string())));
    assert!(!hidden.got.text.contains("usage") && !hidden.got.text.contains("\"cost\""), "{}", hidden.got.text);
    let own = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"cost\":0.5}}\n\n";
    let world = world(FLAG);
    world.now("a", events(&[TEXT, STOP, own, DONE]).remove(0));
    let kept = world.ask(asking("/v1/chat/completions", "chat")).await;
    assert!(kept.got.text.contains(own), "{}", kept.got.text);
}

#[tokio::test(start_paused = true)]
async fn a_cost_and_another_name_stand_in_one_event() {
    let world = world(&format!("{FLAG}feathergate: {{response_model: alias}}\n"));
    let usage =
        "data: {\"model\":\"up\",\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2 }}\n\n";
    world.now("a", events(&[TEXT, STOP, usage, DONE]).remove(0));
    let seen = world.ask(asking("/v1/chat/completions", "chat")).await;
    let want = "data: {\"model\":\"chat\",\"choices\":[], \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2 ,\"cost\":0.000007}}\n\n";
    assert!(seen.got.text.contains(want), "{}", seen.got.text);
}

#[tokio::test(start_paused = true)]
async fn the_cheapest_by_the_table_is_asked() {
    let models = ["gpt-5.5", "gpt-5.6-luna", "of-no-known-price", "gpt-5.4"].into_iter().enumerate();
    let entries = models.map(|(place, model)| {
        format!(
            "- {{model_name: chat, litellm_params: {{model: openai/{model}, api_base: 'http://h{place}/v1', api_key: k}}}}\n"
        )
    });
    let yaml = format!(
        "model_list:\n{}router_settings: {{routing_strategy: cost-based-routing}}\n",
        entries.collect::<String>()
    );
    assert_eq!(World::new(&yaml, &[]).ask(chat("chat", false)).await.path(), "h1");
}
