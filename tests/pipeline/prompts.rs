//! System prompts of the operator: what reaches the upstream, from each dialect to each.

use super::*;

/// Texts that show their place: in front (`F`), behind (`B`), and what changes, which goes last.
const PROMPTS: &str = "  - model_name: plain
    litellm_params: {model: anthropic/up, api_key: sk-planted-anthropic, api_base: 'http://h'}
feathergate:
  system_prompts:
  - {models: [claude, gemini, 'ch*'], mode: append, text: 'B {{model}} {{user}} {{header.x-team}}'}
  - \"F {{env.STAGE}}\\n\\nOn {{date}}, {{key_alias}}{{request_id}}.\"
  - {models: [demo, sonnet], mode: replace, text: 'R'}
  prompt_variables: {time_zone: +14:00, headers: [x-team], env: [STAGE]}
environment_variables: {STAGE: test}
";

const OPENAI: &str =
    r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const ANTHROPIC: &str = r#"{"id":"x","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#;

/// What is sent when `body` goes to `path`.
async fn sent(path: &str, body: &str, answer: &'static str) -> String {
    let rig = rig(PROMPTS, vec![json_answer(200, answer)]);
    let mut request = post(path, body);
    request.headers_mut().insert("x-team", "A\u{e9}".parse().unwrap());
    request.headers_mut().insert("x-request-id", "id-123456".parse().unwrap());
    let before = today();
    let got = rig.ask(request).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let body = rig.sent().remove(0).1;
    [before, today()].iter().fold(body, |body, day| body.replace(day, "TODAY"))
}

/// Where it is first.
fn today() -> String {
    clock::rfc3339(clock::unix_millis() + 14 * 3_600_000)[..10].to_owned()
}

const LAST: &str = "On TODAY, id-123456.";

#[tokio::test(start_paused = true)]
async fn openai_to_openai_is_a_splice() {
    let path = "/v1/chat/completions";
    let body = |system: &str, model: &str, front: &str| {
        format!(
            r#"{{{front}"messages" : [{system}{{"role":"user","content":"u\u0041"}}], "n":1.0, "model":"{model}", "user":"ada"}}"#
        )
    };
    let front = r#""temperature":0.5,"#;
    for (client, upstream) in [
        ("", format!(r#"{{"role":"system","content":"F test\n\nB chat ada Aé\n\n{LAST}"}},"#)),
        (
            r#"{"role":"developer","content":"s\u0041"}, "#,
            format!(r#"{{"role":"developer","content":"F test\n\ns\u0041\n\nB chat ada Aé\n\n{LAST}"}}, "#),
        ),
    ] {
        let got = sent(path, &body(client, "chat", ""), OPENAI).await;
        assert_eq!(got, body(&upstream, "up", front));
    }
}

#[tokio::test(start_paused = true)]
async fn anthropic_to_anthropic_keeps_cache_marks() {
    let marked = r#"{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}"#;
    let body = |system: &str, model: &str| {
        format!(
            r#"{{ "model":"{model}",{system} "max_tokens":5, "messages":[{{"role":"user","content":"u"}}],"metadata":{{"user_id":"ada"}} }}"#
        )
    };
    let got = sent("/v1/messages", &body(&format!(r#""system":[{marked}],"#), "claude"), ANTHROPIC).await;
    let (front, back) =
        (r#"{"type":"text","text":"F test"}"#, format!(r#"{{"type":"text","text":"B claude ada Aé\n\n{LAST}"}}"#));
    assert_eq!(got, body(&format!(r#""system":[{front},{marked},{back}],"#), "up"));
    // Others of the list are for other models.
    let got = sent("/v1/messages", &body(r#""system":"s","#, "plain"), ANTHROPIC).await;
    assert!(got.contains(&format!(r#""system":"F test\n\ns\n\n{LAST}","#)), "{got}");
    let got = sent("/v1/messages", &body(r#""system":"s","#, "sonnet"), ANTHROPIC).await;
    assert!(got.contains(&format!(r#""system":"F test\n\nR\n\n{LAST}","#)), "{got}");
    let count = sent("/v1/messages/count_tokens", &body(r#""system":"s","#, "sonnet"), r#"{"input_tokens":7}"#).await;
    assert!(count.contains(&format!(r#""system":"F test\n\nR\n\n{LAST}","#)), "{count}");
    // So does a guess of our own.
    let guess = async |extra: &str| {
        let got = rig(extra, vec![]).ask(post("/v1/messages/count_tokens", &body("", "chat"))).await.json();
        got["input_tokens"].as_u64().unwrap()
    };
    assert!(guess(PROMPTS).await > guess("").await + 10);
}

#[tokio::test(start_paused = true)]
async fn converted_requests_have_them_too() {
    let messages = r#"{"model":"gemini","max_tokens":5,"system":"s","messages":[{"role":"user","content":"u"}]}"#;
    let gemini: Value = serde_json::from_str(&sent("/v1/messages", messages, GEMINI).await).unwrap();
    let text = format!("F test\n\ns\n\nB gemini  Aé\n\n{LAST}");
    assert_eq!(gemini["systemInstruction"], json!({"parts": [{"text": text}]}));
    let chat = r#"{"model":"claude","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"max_tokens":5}"#;
    let claude: Value = serde_json::from_str(&sent("/v1/chat/completions", chat, ANTHROPIC).await).unwrap();
    let text = format!("F test\n\ns\n\nB claude  Aé\n\n{LAST}");
    assert_eq!(claude["system"], json!([{"type": "text", "text": text}]));
    assert_eq!(claude["messages"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn responses_have_them_in_their_instructions() {
    let answer = r#"{"id":"x","object":"response","status":"completed"}"#;
    let body = |model: &str, instructions: &str| {
        format!(r#"{{{instructions}"input" : "u\u0041", "n":1.0, "model":"{model}", "user":"ada" }}"#)
    };
    for path in ["/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"] {
        for (client, upstream) in [
            ("", format!(r#""instructions":"F test\n\nB chat ada Aé\n\n{LAST}","#)),
            (
                r#""instructions": "s\u0041" ,"#,
                format!(r#""instructions": "F test\n\ns\u0041\n\nB chat ada Aé\n\n{LAST}" ,"#),
            ),
        ] {
            assert_eq!(sent(path, &body("chat", client), answer).await, body("up", &upstream), "{path}");
        }
    }
    // Where there is no system part there is no place for them.
    let prompt = |model: &str, front: &str| format!(r#"{{{front}"model":"{model}","prompt":"x","instructions":"i"}}"#);
    let got = sent("/v1/completions", &prompt("chat", ""), r#"{"choices":[]}"#).await;
    assert_eq!(got, prompt("up", r#""temperature":0.5,"#));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_added_to_is_refused() {
    let json = "application/json";
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nchat\r\n--b--\r\n";
    for (path, kind, body, message) in [
        (
            "/v1/messages",
            json,
            r#"{"model":"claude","max_tokens":5,"system":7,"messages":[]}"#,
            "`system` must be a string or an array of text blocks",
        ),
        ("/v1/responses", json, r#"{"model":"chat","instructions":["i"]}"#, "`instructions` must be a string"),
        (
            "/v1/responses",
            "multipart/form-data; boundary=b",
            form,
            "`/v1/responses` takes JSON, and this body is a form",
        ),
    ] {
        let rig = rig(PROMPTS, vec![]);
        let mut request = post(path, body);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let got = rig.ask(request).await;
        assert_eq!((got.status, got.message().as_str()), (400, message));
        assert_eq!(got.json()["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_has_the_prompts_of_its_own_group() {
    let extra = format!("{PROMPTS}router_settings: {{num_retries: 0, fallbacks: [{{chat: [sonnet]}}]}}\n");
    let rig = rig(&extra, vec![json_answer(500, "{}"), json_answer(200, ANTHROPIC)]);
    let body =
        r#"{"model":"chat","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"max_tokens":5}"#;
    let got = rig.ask(post("/v1/chat/completions", body)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let sent = rig.sent();
    let texts: Vec<Value> = sent.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    let first = texts[0]["messages"][0]["content"].as_str().unwrap();
    let second = texts[1]["system"][0]["text"].as_str().unwrap();
    assert!(first.starts_with("F test\n\ns\n\nB chat\n\nOn 2"), "{first}");
    assert!(second.starts_with("F test\n\nR\n\nOn 2"), "{second}");
}
