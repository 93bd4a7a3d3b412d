//! Rates and concurrency: who passes, who waits for how long and in which order, who is sent away with which words.

use feathergate::gateway::After;
use futures::stream::FuturesUnordered;

use super::*;

fn limits(yaml: &str) -> String {
    format!("\nfeathergate: {{limits: {yaml}}}\n")
}

async fn ask_from(rig: &Rig, address: &str, request: Request<Full<Bytes>>) -> Got {
    let call = Call { peer: Some(address.parse().unwrap()), ..call() };
    read(rig.gateway.handle(request, call).await).await
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers[name].to_str().unwrap()
}

async fn pass(seconds: f64) {
    tokio::time::advance(Duration::from_secs_f64(seconds)).await;
}

/// An answer that takes a second.
fn slow() -> Step {
    Step::Answer(200, "application/json", vec![Wait(1000), Data(r#"{"choices":[]}"#)])
}

fn slow_ones(count: usize) -> Vec<Step> {
    std::iter::repeat_with(slow).take(count).collect()
}

type Asked<'a> = Pin<Box<dyn Future<Output = Got> + 'a>>;

/// A request that has come in and is not answered yet.
fn begun(rig: &Rig, request: Request<Full<Bytes>>) -> Asked<'_> {
    begun_by(rig, request, call())
}

fn begun_by(rig: &Rig, request: Request<Full<Bytes>>, call: Call) -> Asked<'_> {
    let mut asked: Asked<'_> = Box::pin(async move { read(rig.gateway.handle(request, call).await).await });
    if let Some(got) = asked.as_mut().now_or_never() {
        panic!("answered at once: {} {}", got.status, got.text);
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_exact_and_says_when_to_come_back() {
    let rig = rig(&limits("{global: {rpm: 3}}"), vec![]);
    for _ in 0..3 {
        assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
    }
    pass(0.25).await;
    let got = rig.ask(chat("demo", false)).await;
    assert_eq!((got.status, header(&got, "retry-after"), header(&got, "retry-after-ms")), (429, "20", "19750"));
    let error = &got.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert_eq!(got.message(), "this gateway takes at most 3 requests a minute; try again in 20 s");
    let got = rig.ask(messages("demo", false)).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(got.headers["retry-after"], "20");
    pass(19.749).await;
    assert_eq!(rig.ask(chat("demo", false)).await.headers["retry-after-ms"], "1");
    pass(0.001).await;
    assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
    assert_eq!(rig.ask(chat("demo", false)).await.status, 429);
    let metrics = rig.metrics();
    let line = r#"feathergate_requests_total{model_group="",upstream="",status="429",error_class="gateway_limit"} 4"#;
    assert!(metrics.contains(line), "{metrics}");
    // What calls no model is not counted.
    for path in ["/v1/models", "/health", "/metrics", "/"] {
        assert_eq!(rig.ask(Request::get(path).body(Full::default()).unwrap()).await.status, 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_a_second_refills_within_one() {
    let rig = rig(&limits("{global: {rps: 20, rpm: 25}}"), vec![]);
    let mut statuses = Vec::new();
    for _ in 0..22 {
        statuses.push(rig.ask(chat("demo", false)).await);
    }
    assert!(statuses[..20].iter().all(|got| got.status == 200));
    assert_eq!((header(&statuses[20], "retry-after"), header(&statuses[20], "retry-after-ms")), ("1", "50"));
    assert!(statuses[21].message().contains("20 requests a second"), "{}", statuses[21].message());
    for expected in [200, 200, 200, 200, 200, 429] {
        pass(0.05).await;
        let got = rig.ask(chat("demo", false)).await;
        assert_eq!(got.status, expected, "{}", got.text);
        assert!(got.status == 200 || got.message().contains("25 requests a minute"), "{}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_are_counted_apart_and_none_can_hide() {
    let rig = rig(&limits("{per_ip: {rpm: 2}}"), vec![]);
    // Two calls of each, and a third of somebody who counts as the same.
    for (first, second, third) in [
        ("192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"),
        ("192.0.2.2", "192.0.2.2", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8:0:1::1", "2001:db8:0:1::1", "2001:db8:0:1::1"),
    ] {
        assert_eq!(ask_from(&rig, first, chat("demo", false)).await.status, 200, "{first}");
        assert_eq!(ask_from(&rig, second, chat("demo", false)).await.status, 200, "{second}");
        // Another one in a header that nobody trusts.
        let mut request = chat("demo", false);
        request.headers_mut().insert("x-forwarded-for", "192.0.2.99".parse().unwrap());
        let got = ask_from(&rig, third, request).await;
        assert_eq!(got.status, 429, "{third}");
        assert_eq!(got.message(), "this gateway takes at most 2 requests a minute from one address; try again in 30 s");
    }
    // Who has no address is one with all who have none.
    let statuses = [rig.ask(chat("demo", false)).await, rig.ask(chat("demo", false)).await];
    assert!(statuses.iter().all(|got| got.status == 200));
    assert_eq!(rig.ask(chat("demo", false)).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_count_for_their_address_and_not_for_all() {
    let extra = limits("{per_ip: {rpm: 2}, global: {rpm: 3}}");
    let rig = rig(&format!("{extra}general_settings: {{master_key: {MASTER}}}\n"), vec![]);
    let with_key = || {
        let mut request = chat("demo", false);
        request.headers_mut().insert("x-api-key", MASTER.parse().unwrap());
        request
    };
    for status in [401, 401, 429, 429, 429] {
        assert_eq!(ask_from(&rig, "192.0.2.1", chat("demo", false)).await.status, status);
    }
    assert_eq!(ask_from(&rig, "192.0.2.1", with_key()).await.status, 429, "the right one does not help now");
    for (address, status) in [("192.0.2.2", 200), ("192.0.2.2", 200), ("192.0.2.3", 200), ("192.0.2.3", 429)] {
        assert_eq!(ask_from(&rig, address, with_key()).await.status, status, "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_is_what_the_trusted_proxies_saw() {
    let one = "\ngeneral_settings: {use_x_forwarded_for: true, allowed_ips: [192.0.2.0/24, '2001:db8::7']}\n";
    let two = format!(
        "{}general_settings: {{allowed_ips: 192.0.2.0/24, use_x_forwarded_for: true}}\n",
        limits("{trust_forwarded: 2}")
    );
    let cases: [(&str, &str, &[&str], u16); 14] = [
        (one, "10.0.0.1", &["192.0.2.1"], 200),
        (one, "10.0.0.1", &["198.51.100.1, 192.0.2.1"], 200),
        (one, "10.0.0.1", &["192.0.2.1, 198.51.100.1"], 403),
        (one, "10.0.0.1", &["192.0.2.1:8080"], 200),
        (one, "10.0.0.1", &["[2001:db8::7]:443"], 200),
        (one, "10.0.0.1", &["2001:db8::7"], 200),
        (one, "10.0.0.1", &["2001:db8::8"], 403),
        (one, "10.0.0.1", &["unknown"], 403),
        (one, "10.0.0.1", &[], 403),
        (one, "192.0.2.1", &[], 200),
        (&two, "10.0.0.1", &["192.0.2.1, 10.0.0.2"], 200),
        (&two, "10.0.0.1", &["192.0.2.1", "10.0.0.2"], 200),
        (&two, "10.0.0.1", &["192.0.2.1, 198.51.100.1, 10.0.0.2"], 403),
        (&two, "10.0.0.1", &["192.0.2.1"], 403),
    ];
    for (extra, peer, forwarded, status) in cases {
        let rig = rig(extra, vec![]);
        let mut request = chat("demo", false);
        for value in forwarded {
            request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
        }
        let got = ask_from(&rig, peer, request).await;
        assert_eq!(got.status, status, "{peer} {forwarded:?} {}", got.text);
        if status == 403 {
            assert!(got.message().starts_with("this gateway does not serve the address "), "{}", got.text);
            assert_eq!(got.json()["error"]["code"], "address_not_allowed");
        }
    }
    let rig = rig(one, vec![]);
    assert_eq!(rig.ask(chat("demo", false)).await.status, 403, "nobody knows from where");
    let health = rig.ask(Request::get("/health").body(Full::default()).unwrap()).await;
    assert_eq!((health.status, health.json().get("models")), (200, None), "strangers hear that it lives");
    assert_eq!(rig.ask(Request::get("/v1/models").body(Full::default()).unwrap()).await.status, 403);
    assert_eq!(rig.ask(Request::get("/health/readiness").body(Full::default()).unwrap()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn each_model_group_has_a_count_of_its_own() {
    let yaml = limits("{per_model: {'*e*': {rpm: 2}, demo: {rpm: 1}, 'c*t': {concurrency: 1, queue: 0}}}");
    let rig = rig(&yaml, vec![slow(), json_answer(200, "{}"), json_answer(200, "{}")]);
    assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
    let got = rig.ask(chat("demo", false)).await;
    assert_eq!(got.status, 429, "the name wins over the pattern");
    assert_eq!(got.message(), "this gateway takes at most 1 request a minute for model `demo`; try again in 60 s");
    let line = r#"{model_group="demo",upstream="",status="429",error_class="gateway_limit"} 1"#;
    assert!(rig.metrics().contains(line), "{}", rig.metrics());
    // The pattern fits two groups, and each has its own two a minute: these fail for another reason, and count all the same.
    for status in [503, 503, 429] {
        assert_eq!(rig.ask(chat("unset", false)).await.status, status);
    }
    let first = begun(&rig, chat("chat", false));
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!((got.status, header(&got, "retry-after")), (503, "1"));
    assert_eq!(got.message(), "this gateway works on at most 1 request at one time for model `chat`; try again in 1 s");
    assert_eq!(first.await.status, 200);
    for status in [404, 404, 404] {
        assert_eq!(rig.ask(chat("nobody", false)).await.status, status, "what is no group has no count");
    }
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served_and_then_the_queue_is_full() {
    let rig = rig(&limits("{global: {concurrency: 2, queue: 4, queue_wait: 10s}}"), slow_ones(6));
    let started = clock::now();
    let mut all: FuturesUnordered<_> = FuturesUnordered::new();
    for number in 0..6 {
        let asked = begun(&rig, chat("chat", false));
        all.push(async move { (number, asked.await.status) });
    }
    let got = rig.ask(chat("chat", false)).await;
    assert_eq!((got.status, header(&got, "retry-after")), (503, "10"));
    assert_eq!(got.json()["error"]["type"], "server_error");
    assert_eq!(
        got.message(),
        "this gateway works on at most 2 requests at one time, and 4 more wait already; try again in 10 s"
    );
    let got = rig.ask(messages("claude", false)).await;
    assert_eq!((got.status, &got.json()["error"]["type"]), (529, &json!("overloaded_error")));
    assert_eq!(rig.sent().len(), 2, "only two are under way");
    let mut order = Vec::new();
    while let Some((number, status)) = all.next().await {
        order.push((number, status, started.elapsed().as_millis()));
    }
    let want: Vec<_> = (0..6_u32).map(|number| (number, 200, u128::from(number / 2 + 1) * 1000)).collect();
    assert_eq!(order, want);
    let metrics = rig.metrics();
    for line in [
        r#"{model_group="",upstream="",status="503",error_class="gateway_full"} 1"#,
        r#"{model_group="",upstream="",status="529",error_class="gateway_full"} 1"#,
        // Waiting is no overhead.
        r#"overhead_seconds_sum{model_group="chat"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_he_may() {
    let cases = [
        ("{global: {concurrency: 1, queue_wait: 3s}}", "", None, 3.0, 503),
        ("{per_model: {chat: {concurrency: 1, queue_wait: 3s}}}", " for model `chat`", None, 3.0, 503),
        ("{global: {concurrency: 1, queue_wait: 30s}}", "", Some(2), 2.0, 503),
        ("{per_ip: {concurrency: 1, queue: 1, queue_wait: 3s}}", " from one address", None, 3.0, 429),
    ];
    for (yaml, whom, left, seconds, status) in cases {
        let rig = rig(&limits(yaml), vec![Step::Hang]);
        let _first = begun(&rig, chat("chat", false));
        let started = clock::now();
        let call = Call { deadline: left.map(|left| started + Duration::from_secs(left)), ..call() };
        let got = read(rig.gateway.handle(chat("chat", false), call).await).await;
        assert_eq!((got.status, header(&got, "retry-after")), (status, "1"), "{yaml}");
        let want = format!(
            "this gateway works on at most 1 request at one time{whom}, and no place became free in time; try again in 1 s"
        );
        assert_eq!(got.message(), want);
        assert!((started.elapsed().as_secs_f64() - seconds).abs() < 0.01, "{yaml}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_the_queue_leaves_its_place() {
    for yaml in ["{global: {concurrency: 1, queue: 1}}", "{per_model: {chat: {concurrency: 1, queue: 1}}}"] {
        let rig = rig(&limits(yaml), slow_ones(2));
        let first = begun(&rig, chat("chat", false));
        let second = begun(&rig, chat("chat", false));
        assert_eq!(rig.ask(chat("chat", false)).await.status, 503, "{yaml}");
        drop(second);
        let third = begun(&rig, chat("chat", false));
        assert_eq!((first.await.status, third.await.status), (200, 200), "{yaml}");
        assert_eq!(rig.sent().len(), 2, "who left was not served");
        assert!(rig.metrics().contains(r#"status="499",error_class="client_gone"} 1"#), "{}", rig.metrics());
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_take_all_places() {
    let rig = rig(&limits("{per_ip: {concurrency: 1}, global: {concurrency: 2, queue: 0}}"), slow_ones(3));
    let from = |address: &str| Call { peer: Some(address.parse().unwrap()), ..call() };
    let first = begun_by(&rig, chat("chat", false), from("192.0.2.1"));
    let got = ask_from(&rig, "192.0.2.1", chat("chat", false)).await;
    assert_eq!((got.status, header(&got, "retry-after")), (429, "1"));
    assert_eq!(got.message(), "this gateway works on at most 1 request at one time from one address; try again in 1 s");
    let second = begun_by(&rig, chat("chat", false), from("192.0.2.2"));
    assert_eq!(ask_from(&rig, "192.0.2.3", chat("chat", false)).await.status, 503);
    assert_eq!((first.await.status, second.await.status), (200, 200));
    assert_eq!(ask_from(&rig, "192.0.2.1", chat("chat", false)).await.status, 200, "the place is free again");
}

/// With one place and no queue: however a request ends, the next one is served.
#[tokio::test(start_paused = true)]
async fn every_end_of_a_request_frees_its_place() {
    let stream = || sse(vec![Data(TEXT), Wait(1000), Data(STOP), Data(DONE)]);
    for yaml in [
        "{global: {concurrency: 1, queue: 0}}",
        "{per_ip: {concurrency: 1}}",
        "{per_model: {chat: {concurrency: 1, queue: 0}}}",
    ] {
        let rig = rig(&limits(yaml), vec![]);
        let script = |step: Step| rig.script.steps.lock().unwrap().push_back(step);
        let refused = async |what: &str| {
            let got = rig.ask(chat("chat", false)).await;
            assert!([429, 503].contains(&got.status), "{yaml}: no place is free {what}");
        };
        // A stream holds it until its last byte is out, also where the record waits for the end of an invocation.
        script(stream());
        let after = After::default();
        let lambda = Call { after: Some(after.clone()), ..call() };
        let mut body = Box::pin(rig.gateway.handle(chat("chat", true), lambda).await.into_body());
        let mut chunks = 0;
        while let Some(chunk) = futures::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {
            assert!(chunk.is_ok());
            refused("within a stream").await;
            chunks += 1;
        }
        assert_eq!(chunks, 3, "{yaml}");
        // A buffered answer.
        script(json_answer(200, "{}"));
        assert_eq!(rig.ask(chat("chat", false)).await.status, 200, "{yaml}: the body is over, though not dropped yet");
        after.run(rig.gateway.observer()).await;
        drop(body);
        // A client that leaves within a stream.
        script(stream());
        let response = rig.gateway.handle(chat("chat", true), call()).await;
        refused("before it leaves").await;
        drop(response);
        // One that leaves before it has an answer.
        script(Step::Hang);
        let asked = begun(&rig, chat("chat", true));
        refused("while the upstream is asked").await;
        drop(asked);
        // Refusals, of the upstream and of ours.
        script(json_answer(500, "{}"));
        assert_eq!(rig.ask(chat("chat", false)).await.status, 500, "{yaml}");
        script(Step::Refuse);
        assert_eq!(rig.ask(chat("chat", false)).await.status, 502, "{yaml}");
        assert_eq!(rig.ask(post("/v1/chat/completions", "no JSON")).await.status, 400, "{yaml}");
        // Panics before the answer and within it.
        script(Step::Answer(200, "application/json", vec![Piece::Panic]));
        assert_eq!(rig.ask(chat("chat", false)).await.status, 500, "{yaml}");
        script(sse(vec![Data(TEXT), Piece::Panic]));
        let response = rig.gateway.handle(chat("chat", true), call()).await;
        refused("before the panic").await;
        let got = read(response).await;
        assert!(got.text.contains("the answer is not complete"), "{yaml}: {}", got.text);
        script(slow());
        assert_eq!(rig.ask(chat("chat", false)).await.status, 200, "{yaml}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_model_does_not_lose_the_place_to_others() {
    // One at a time for `chat`, two in all: who waits for `chat` holds the second place.
    let yaml = limits("{global: {concurrency: 2, queue: 0}, per_model: {chat: {concurrency: 1}}}");
    let rig = rig(&yaml, slow_ones(2));
    let first = begun(&rig, chat("chat", false));
    let second = begun(&rig, chat("chat", false));
    assert_eq!(rig.ask(chat("demo", false)).await.status, 503);
    assert_eq!((first.await.status, second.await.status), (200, 200));
    assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn another_configuration_keeps_what_was_counted() {
    let yaml = |demo: u32, places: u32| {
        limits(&format!("{{per_model: {{demo: {{rpm: {demo}}}}}, global: {{concurrency: {places}, queue: 3}}}}"))
    };
    let rig = rig(&yaml(1, 2), slow_ones(9));
    let reload = |demo, places| rig.gateway.reload(settings(&yaml(demo, places)));
    assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
    let started = clock::now();
    let timed = async |asked: Asked<'_>| (asked.await.status, started.elapsed().as_millis());
    let [first, second, third] = [(); 3].map(|()| begun(&rig, chat("chat", false)));
    // One place less: nobody is thrown out, who waits goes on waiting in his turn, and the place of one of the two is gone.
    reload(1, 1);
    let fourth = begun(&rig, chat("chat", false));
    let ends = futures::future::join_all([first, second, third, fourth].map(timed)).await;
    assert_eq!(ends, [(200, 1000), (200, 1000), (200, 2000), (200, 3000)]);
    let got = rig.ask(chat("demo", false)).await;
    assert_eq!((got.status, header(&got, "retry-after-ms")), (429, "57000"), "it was asked once three seconds ago");
    // Three places, taken away and given back while they are taken.
    reload(1, 3);
    let running = [(); 3].map(|()| begun(&rig, chat("chat", false)));
    reload(1, 1);
    reload(1, 2);
    let more = [(); 2].map(|()| begun(&rig, chat("chat", false)));
    let ends = futures::future::join_all(running.into_iter().chain(more).map(timed)).await;
    assert_eq!(ends.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [4000, 4000, 4000, 5000, 5000]);
    assert_eq!(rig.ask(chat("demo", false)).await.status, 429);
    reload(2, 2);
    for status in [200, 200, 429] {
        assert_eq!(rig.ask(chat("demo", false)).await.status, status, "another rate begins anew");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_place_and_who_waits_is_in_the_metrics() {
    let gauges = async |rig: &Rig| {
        let text = rig.ask(Request::get("/metrics").body(Full::default()).unwrap()).await.text;
        let lines = text.lines().filter(|line| line.contains("{limit=")).map(|line| line.replace("feathergate_", ""));
        lines.collect::<Vec<_>>()
    };
    let yaml = limits(
        "{global: {concurrency: 9}, per_ip: {concurrency: 9}, per_model: {chat: {concurrency: 1}, claude: {concurrency: 1}}}",
    );
    let rig = rig(&yaml, slow_ones(3));
    let all = [begun(&rig, chat("chat", false)), begun(&rig, chat("chat", false)), begun(&rig, chat("chat", false))];
    let lines = |counts: [[u32; 2]; 4]| {
        let limits = [("global", ""), ("per_ip", ""), ("per_model", "chat"), ("per_model", "claude")];
        let rows = limits.into_iter().zip(counts);
        let line = |name: &str, (limit, group): (&str, &str), count: u32| {
            format!("{name}{{limit=\"{limit}\",model_group=\"{group}\"}} {count}")
        };
        let taken = rows.clone().map(|(of, count)| line("taken_places", of, count[0]));
        taken.chain(rows.map(|(of, count)| line("waiting_requests", of, count[1]))).collect::<Vec<_>>()
    };
    assert_eq!(gauges(&rig).await, lines([[3, 0], [3, 0], [1, 2], [0, 0]]));
    drop(all);
    assert_eq!(gauges(&rig).await, lines([[0, 0]; 4]));
    assert!(gauges(&super::rig("", vec![])).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_sent_away_need_not_have_sent_his_body() {
    let rig = rig(&limits("{global: {rpm: 1}}"), vec![]);
    assert_eq!(rig.ask(chat("demo", false)).await.status, 200);
    let endless = || {
        let piece = futures::stream::once(async { Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("{"))) });
        http_body_util::StreamBody::new(piece.chain(futures::stream::pending()))
    };
    let started = clock::now();
    let request = Request::post("/v1/chat/completions").body(endless()).unwrap();
    assert_eq!(read(rig.gateway.handle(request, call()).await).await.status, 429);
    assert!(started.elapsed() <= Duration::from_secs(2), "{:?}", started.elapsed());
    let request = Request::post("/v1/chat/completions").header("expect", "100-continue").body(endless()).unwrap();
    let started = clock::now();
    assert_eq!(read(rig.gateway.handle(request, call()).await).await.status, 429);
    assert_eq!(started.elapsed(), Duration::ZERO);
}
