//! Virtual keys: who is let in, what is counted before the call and after it, and what a caller is told of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use feathergate::gateway::Keeper;
use feathergate::meter::Money;
use feathergate::meter::ledger::{Estimate, Ledger};
use feathergate::store::key::{Allowance, Key, Team};
use feathergate::store::memory::Memory;
use feathergate::store::token::{KEY_PREFIX, generate, hash};
use feathergate::store::usage::{Daily, DailyQuery, Entry, EntryPage, EntryQuery};
use feathergate::store::{
    Admission, Audit, Change, Claim, Document, Keep, Kind, SaveError, Settlement, Store, StoreError,
};
use futures::future::BoxFuture;

use super::world::{Does, Part, Seen, World};
use super::*;

const MASTER: &str = "sk-master-0123456789";

const YAML: &str = "
model_list:
- model_name: chat
  litellm_params: {model: openai/up, api_base: 'http://a/v1', api_key: sk-planted, input_cost_per_token: 1e-6,
    output_cost_per_token: 2e-6, num_retries: 0}
- model_name: claude
  litellm_params: {model: anthropic/up, api_base: 'http://c', api_key: sk-planted, input_cost_per_token: 1e-6,
    output_cost_per_token: 2e-6}
- model_name: unpriced
  litellm_params: {model: openai/up, api_base: 'http://a/v1', api_key: sk-planted}
- model_name: broken
  litellm_params: {model: openai/up, api_base: 'http://broken/v1', api_key: sk-planted, num_retries: 0}
router_settings: {model_group_alias: {nick: chat}}
general_settings: {master_key: sk-master-0123456789}
";

/// A store whose lines can be cut.
struct Cut {
    inner: Memory,
    silent: AtomicBool,
    far: AtomicBool,
    absent: AtomicBool,
    /// How long it takes until it is told that a request is counted, in milliseconds.
    slow: AtomicU64,
}

macro_rules! unless_cut {
    ($self:ident, $call:expr) => {
        if $self.silent.load(Ordering::Relaxed) {
            async { Err(StoreError::Unavailable("cut".to_owned()).into()) }.boxed()
        } else {
            $call
        }
    };
}

impl Store for Cut {
    fn name(&self) -> &'static str {
        "cut"
    }
    fn far(&self) -> bool {
        self.far.load(Ordering::Relaxed)
    }
    fn made(&self) -> bool {
        !self.absent.load(Ordering::Relaxed)
    }
    fn open(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        unless_cut!(self, self.inner.open())
    }
    fn admit<'a>(&'a self, claim: &'a Claim, now: u64) -> BoxFuture<'a, Result<Admission, StoreError>> {
        let slow = Duration::from_millis(self.slow.load(Ordering::Relaxed));
        let admit = async move {
            // It is counted, and whoever asked does not hear of it yet.
            let admitted = self.inner.admit(claim, now).await;
            tokio::time::sleep(slow).await;
            admitted
        };
        unless_cut!(self, admit.boxed())
    }
    fn settle<'a>(&'a self, settlement: &'a Settlement, now: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        unless_cut!(self, self.inner.settle(settlement, now))
    }
    fn ledgers<'a>(&'a self, scopes: &'a [String]) -> BoxFuture<'a, Result<Vec<Ledger>, StoreError>> {
        unless_cut!(self, self.inner.ledgers(scopes))
    }
    fn find<'a>(&'a self, kind: Kind, id: &'a str, now: u64) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        unless_cut!(self, self.inner.find(kind, id, now))
    }
    fn list<'a>(
        &'a self,
        kind: Kind,
        after: Option<&'a str>,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        unless_cut!(self, self.inner.list(kind, after, limit, now))
    }
    fn save<'a>(&'a self, changes: &'a [Change], audit: &'a [Audit], now: u64) -> BoxFuture<'a, Result<(), SaveError>> {
        unless_cut!(self, self.inner.save(changes, audit, now))
    }
    fn entries<'a>(&'a self, query: &'a EntryQuery) -> BoxFuture<'a, Result<EntryPage, StoreError>> {
        unless_cut!(self, self.inner.entries(query))
    }
    fn daily<'a>(&'a self, query: &'a DailyQuery) -> BoxFuture<'a, Result<Vec<Daily>, StoreError>> {
        unless_cut!(self, self.inner.daily(query))
    }
    fn audit<'a>(&'a self, before: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<Vec<Audit>, StoreError>> {
        unless_cut!(self, self.inner.audit(before, limit))
    }
    fn sweep(&self, now: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        unless_cut!(self, self.inner.sweep(now))
    }
}

/// A gateway with a store.
struct Bank {
    world: World,
    store: Arc<Cut>,
}

fn bank(rest: &str, does: &[(&'static str, Vec<Does>)]) -> Bank {
    opened(rest, does, false)
}

/// `dormant`: with a store that is not there before somebody makes it.
fn opened(rest: &str, does: &[(&'static str, Vec<Does>)], dormant: bool) -> Bank {
    let world = World::new(&format!("{YAML}{rest}"), does);
    let store = Arc::new(Cut {
        inner: Memory::new(Keep::default()),
        silent: AtomicBool::new(false),
        far: AtomicBool::new(false),
        absent: AtomicBool::new(dormant),
        slow: AtomicU64::new(0),
    });
    world.gateway.keep(Keeper::new(store.clone(), dormant));
    Bank { world, store }
}

fn now() -> u64 {
    clock::unix_millis()
}

impl Bank {
    /// Makes a key and gives its secret.
    async fn key(&self, key: Key) -> String {
        let secret = generate(KEY_PREFIX).unwrap();
        let body = serde_json::to_string(&Key { id: "key_1".to_owned(), ..key }).unwrap();
        self.put(Kind::Key, &hash(&secret), body).await;
        secret
    }

    async fn put(&self, kind: Kind, id: &str, body: String) {
        let document = Document { kind, id: id.to_owned(), version: 1, unique: None, ends: None, body };
        self.store.save(&[Change::Create(document)], &[], now()).await.unwrap();
    }

    async fn limited(&self, allowance: Allowance) -> String {
        self.key(Key { allowance, ..Key::default() }).await
    }

    async fn ask(&self, secret: &str, model: &str) -> Seen {
        self.world.ask(asking("/v1/chat/completions", secret, model, "")).await
    }

    async fn ledger(&self, scope: &str) -> Ledger {
        self.store.inner.ledgers(&[scope.to_owned()]).await.unwrap().remove(0)
    }

    async fn spent(&self, scope: &str) -> u64 {
        self.ledger(scope).await.spent.values().sum()
    }

    async fn entries(&self) -> Vec<Entry> {
        let query = EntryQuery { to: u64::MAX, limit: 100, ..EntryQuery::default() };
        self.store.inner.entries(&query).await.unwrap().entries
    }
}

fn asking(path: &str, secret: &str, model: &str, rest: &str) -> Request<Full<Bytes>> {
    let body = format!(
        r#"{{"model":"{model}","max_tokens":10,"messages":[{{"role":"user","content":"hello there"}}]{rest}}}"#
    );
    Request::post(path)
        .header("authorization", format!("Bearer {secret}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

fn error(seen: &Seen) -> (u16, String) {
    let body: Value = serde_json::from_str(&seen.got.text).unwrap();
    (seen.got.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.got.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_key_is_let_in_and_nobody_else() {
    let bank = bank("", &[]);
    let secret = bank.key(Key::default()).await;
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
    assert_eq!(bank.ask(MASTER, "chat").await.got.status, 200);
    let mistyped = secret.replace("sk-fg-", "sk-fg-x");
    for (wrong, word) in [
        (generate(KEY_PREFIX).unwrap(), "not valid"),
        (mistyped, "checksum"),
        ("sk-other-0123456789abc".to_owned(), "not valid"),
    ] {
        let seen = bank.ask(&wrong, "chat").await;
        assert_eq!(error(&seen), (401, "invalid_api_key".to_owned()));
        assert!(seen.got.text.contains(word), "{}", seen.got.text);
    }
    // What cannot be a key is not looked up; the others are remembered for a while, also that they are none.
    bank.store.silent.store(true, Ordering::Relaxed);
    assert_eq!(error(&bank.ask("sk-fg-mistyped", "chat").await).0, 401);
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
    assert_eq!(error(&bank.ask(&generate(KEY_PREFIX).unwrap(), "chat").await), (503, "store_unavailable".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_a_key_holds_everywhere_within_half_a_minute() {
    let bank = bank("", &[]);
    let secret = bank.key(Key::default()).await;
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
    let blocked = Key { id: "key_1".to_owned(), blocked: true, ..Key::default() };
    let document = Document {
        kind: Kind::Key,
        id: hash(&secret),
        version: 2,
        unique: None,
        ends: None,
        body: serde_json::to_string(&blocked).unwrap(),
    };
    // By another instance.
    bank.store.save(&[Change::Replace { document, before: None }], &[], now()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(error(&bank.ask(&secret, "chat").await), (401, "key_blocked".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_key_sees_and_uses_its_own_models_only() {
    let bank = bank("", &[]);
    let secret = bank.key(Key { models: vec!["cha*".to_owned()], ..Key::default() }).await;
    for (model, want) in [
        ("chat", (200, "")),
        ("nick", (200, "")),
        ("claude", (403, "key_model_access_denied")),
        ("clade", (404, "model_not_found")),
    ] {
        let seen = bank.ask(&secret, model).await;
        let got = if seen.got.status == 200 { (200, String::new()) } else { error(&seen) };
        assert_eq!(got, (want.0, want.1.to_owned()), "{model}");
    }
    let unknown = bank.ask(&secret, "chaat").await;
    assert_eq!(error(&unknown), (404, "model_not_found".to_owned()));
    assert!(unknown.got.text.contains("`chat`") && !unknown.got.text.contains("claude"), "{}", unknown.got.text);
    let request = Request::get("/v1/models").header("authorization", format!("Bearer {secret}"));
    let listed = read(bank.world.gateway.handle(request.body(Full::new(Bytes::new())).unwrap(), call()).await).await;
    let listed: Value = serde_json::from_str(&listed.text).unwrap();
    let names: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["chat", "nick"]);
    // Fallbacks of its own are no way around.
    let around = asking("/v1/chat/completions", &secret, "chat", r#","fallbacks":["claude"]"#);
    assert_eq!(error(&bank.world.ask(around).await), (403, "key_model_access_denied".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_set_aside_before_the_call_and_settled_after_it() {
    let bank = bank("", &[]);
    // The estimate: some 12 tokens of input at 1e-6 and 10 of output at 2e-6.
    let max_budget = Some(Money(60_000_000));
    let soft_budget = Some(Money(20_000_000));
    let secret = bank.limited(Allowance { max_budget, soft_budget, ..Allowance::default() }).await;
    let seen = bank.ask(&secret, "chat").await;
    assert_eq!(seen.got.status, 200);
    assert_eq!(header(&seen, "x-feathergate-key-max-budget"), Some("0.00006"));
    assert_eq!(header(&seen, "x-feathergate-key-spend"), Some("0"), "what is set aside is not spent");
    // The answer used 3 and 2.
    assert_eq!(bank.spent("key:key_1").await, 7_000_000);
    let (mut served, mut warned) = (1, Vec::new());
    let refused = loop {
        let seen = bank.ask(&secret, "chat").await;
        if seen.got.status != 200 {
            break seen;
        }
        warned.push(header(&seen, "x-feathergate-key-soft-budget-exceeded").is_some());
        served += 1;
    };
    assert!(warned.is_sorted() && warned.first() == Some(&false) && warned.last() == Some(&true), "{warned:?}");
    assert_eq!(error(&refused), (429, "insufficient_quota".to_owned()));
    assert_eq!(header(&refused, "x-should-retry"), Some("false"));
    assert!(
        refused.got.text.contains("this API key has a budget of $0.00006, of which $0.0000"),
        "{}",
        refused.got.text
    );
    assert_eq!(bank.spent("key:key_1").await, served * 7_000_000);
    assert!(served * 7_000_000 <= 60_000_000);
    assert!(refused.calls.is_empty(), "nobody was called");
    // Refusals are no requests; what was served is recorded to the last token.
    let entries = bank.entries().await;
    assert_eq!(entries.len() as u64, served);
    assert!(
        entries
            .iter()
            .all(|entry| entry.cost == Some(Money(7_000_000)) && entry.tokens.total() == 5 && !entry.estimated)
    );
    // In Anthropic's dialect it has a status of its own.
    let seen = bank.world.ask(asking("/v1/messages", &secret, "claude", "")).await;
    assert_eq!(seen.got.status, 402);
    assert!(seen.got.text.contains("\"type\":\"error\""), "{}", seen.got.text);
}

#[tokio::test(start_paused = true)]
async fn rates_are_told_and_held_for_key_and_team_alike() {
    for of_team in [false, true] {
        let bank = bank("", &[]);
        let allowance = Allowance { rpm_limit: Some(2), tpm_limit: Some(1000), ..Allowance::default() };
        let secret = if of_team {
            let team = Team { id: "t".to_owned(), allowance, ..Team::default() };
            bank.put(Kind::Team, "t", serde_json::to_string(&team).unwrap()).await;
            bank.key(Key { team: Some("t".to_owned()), ..Key::default() }).await
        } else {
            bank.limited(allowance).await
        };
        let first = bank.ask(&secret, "chat").await;
        if !of_team {
            assert_eq!(header(&first, "x-ratelimit-limit-requests"), Some("2"));
            assert_eq!(header(&first, "x-ratelimit-remaining-requests"), Some("1"));
            assert_eq!(header(&first, "x-feathergate-key-tpm-limit"), Some("1000"));
        }
        assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
        let refused = bank.ask(&secret, "chat").await;
        assert_eq!(error(&refused), (429, "rate_limit_exceeded".to_owned()));
        let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
        assert!((60..=70).contains(&wait), "{wait}");
        assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), Some("0"));
        let whose = if of_team {
            "the team of this API key has 2 requests a minute"
        } else {
            "this API key has 2 requests a minute"
        };
        assert!(refused.got.text.contains(whose), "{}", refused.got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_a_request_its_hold_is_settled() {
    let stream = vec![("content-type", "text/event-stream")];
    let cut = Does::Answers(0, 200, stream.clone(), vec![Part::Text(ROLE), Part::Text(TEXT), Part::Reset]);
    let late = Does::Answers(
        0,
        200,
        stream,
        vec![Part::Text(ROLE), Part::Text(TEXT), Part::Text(STOP), Part::Text(USAGE), Part::Reset],
    );
    let cases = [
        ("answered", Does::Well, false, 7_000_000, 5, false),
        ("streamed", Does::Well, true, 7_000_000, 5, false),
        ("refused by the upstream", Does::Answers(0, 500, vec![], vec![Part::Text("{}")]), false, 0, 0, false),
        ("never reached it", Does::Refuses, true, 0, 0, false),
        ("cut before it told", cut, true, 0, 0, true),
        ("cut after it told", late, true, 7_000_000, 5, false),
    ];
    for (what, does, streamed, cost, tokens, estimated) in cases {
        let bank = bank("", &[("a", vec![does])]);
        let allowance = Allowance {
            max_budget: Some(Money(Money::DOLLAR)),
            max_parallel_requests: Some(1),
            ..Allowance::default()
        };
        let secret = bank.limited(allowance).await;
        let rest = if streamed { r#","stream":true"# } else { "" };
        bank.world.ask(asking("/v1/chat/completions", &secret, "chat", rest)).await;
        let ledger = bank.ledger("key:key_1").await;
        assert!(ledger.holds.is_empty(), "{what}");
        let entry = bank.entries().await.remove(0);
        assert_eq!((entry.estimated, Some(Money(ledger.spent.values().sum()))), (estimated, entry.cost), "{what}");
        if estimated {
            // What it was admitted with: more than nothing, and the output at 2e-6.
            assert!(entry.cost > Some(Money(20_000_000)) && entry.tokens.total() > 10, "{what}: {entry:?}");
        } else {
            assert_eq!((entry.cost, entry.tokens.total()), (Some(Money(cost)), tokens), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_silent_requests_wait_for_it_or_pass_as_the_operator_says() {
    for (setting, status) in [("", 503), ("feathergate: {store: {on_error: open}}\n", 200)] {
        let bank = bank(setting, &[]);
        let secret = bank.limited(Allowance { rpm_limit: Some(1), ..Allowance::default() }).await;
        assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
        bank.store.silent.store(true, Ordering::Relaxed);
        let seen = bank.ask(&secret, "chat").await;
        assert_eq!(seen.got.status, status, "{setting}");
        assert_eq!(seen.calls.len(), usize::from(status == 200));
        // Also where the key itself has to be looked up again.
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(bank.ask(&secret, "chat").await.got.status, status, "{setting}");
        assert_eq!(
            bank.ask(&generate(KEY_PREFIX).unwrap(), "chat").await.got.status,
            503,
            "an unknown one never passes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_models_and_the_gateway_hold_for_the_master_key_too() {
    let yaml = "
feathergate: {shared_limits: {gateway: {rpm_limit: 3}, models: {'c*': {rpm_limit: 1}, chat: {rpm_limit: 2}}}}
litellm_settings: {max_budget: 100, budget_duration: 1mo}
";
    let bank = bank(yaml, &[]);
    for (model, status, whose) in [
        ("chat", 200, ""),
        ("chat", 200, ""),
        ("chat", 429, "the model `chat` has 2 requests a minute"),
        ("claude", 200, ""),
        ("unpriced", 429, "this gateway has 3 requests a minute"),
    ] {
        let seen = bank.ask(MASTER, model).await;
        assert_eq!(seen.got.status, status, "{model}: {}", seen.got.text);
        assert!(seen.got.text.contains(whose), "{}", seen.got.text);
    }
    assert_eq!(bank.spent("gateway").await, 21_000_000);
}

/// By the length of its body it would be refused.
#[tokio::test(start_paused = true)]
async fn a_response_with_a_picture_is_counted_as_a_chat_with_one() {
    let data = format!("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{}", "A".repeat(400_000));
    let chat =
        format!(r#""messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{data}"}}}}]}}]"#);
    let response = format!(r#""input":[{{"role":"user","content":[{{"type":"input_image","image_url":"{data}"}}]}}]"#);
    let words = format!(r#""prompt":"{}""#, "1 ".repeat(4000));
    for (path, field, limit, status) in [
        ("/v1/chat/completions", &chat, 1700, 200),
        ("/v1/responses", &response, 1700, 200),
        ("/v1/chat/completions", &chat, 1500, 429),
        ("/v1/responses", &response, 1500, 429),
        // By the length of its body it would be let in.
        ("/v1/completions", &words, 3000, 429),
    ] {
        let bank = bank("", &[]);
        let secret = bank.limited(Allowance { tpm_limit: Some(limit), ..Allowance::default() }).await;
        let body = format!(r#"{{"model":"chat","max_tokens":1,"max_output_tokens":1,{field}}}"#);
        let mut request = asking(path, &secret, "chat", "");
        *request.body_mut() = Full::new(Bytes::from(body));
        let seen = bank.world.ask(request).await;
        assert_eq!(seen.got.status, status, "{path} {limit}: {}", seen.got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_counts_for_the_model_that_it_goes_to() {
    let yaml = "
litellm_settings: {fallbacks: [{broken: [chat]}]}
feathergate: {shared_limits: {models: {broken: {rpm_limit: 9}, chat: {rpm_limit: 1}}}}
";
    let broken = vec![Does::Answers(0, 500, vec![], vec![Part::Text("{}")])];
    let bank = bank(yaml, &[("broken", broken)]);
    assert_eq!(bank.ask(MASTER, "broken").await.got.status, 200);
    let entry = bank.entries().await.remove(0);
    assert_eq!((entry.model.as_str(), entry.requested_model.as_str()), ("chat", "broken"));
    assert_eq!(bank.ask(MASTER, "broken").await.got.status, 500, "no more room where it would go");
    assert_eq!(bank.ask(MASTER, "chat").await.got.status, 429);
    for scope in ["model:broken", "model:chat"] {
        assert!(bank.ledger(scope).await.holds.is_empty(), "{scope}");
    }
    assert_eq!(bank.entries().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_price_is_refused_where_a_budget_applies_if_the_operator_is_strict() {
    for (setting, status) in [("", 200), ("feathergate: {store: {strict_pricing: true}}\n", 403)] {
        let bank = bank(setting, &[]);
        let secret = bank.limited(Allowance { max_budget: Some(Money(Money::DOLLAR)), ..Allowance::default() }).await;
        assert_eq!(bank.ask(&secret, "unpriced").await.got.status, status);
        assert_eq!(bank.ask(MASTER, "unpriced").await.got.status, 200, "no budget applies");
        let unpriced = bank.entries().await;
        assert!(unpriced.iter().all(|entry| entry.cost.is_none() && entry.tokens.total() == 5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_brings_its_own_prompt_and_tags() {
    let bank = bank("", &[]);
    let key = Key {
        alias: Some("alice".to_owned()),
        system_prompt: Some("You serve {{key_alias}}.".to_owned()),
        tags: vec!["blue".to_owned()],
        ..Key::default()
    };
    let secret = bank.key(key).await;
    let seen = bank.world.ask(asking("/v1/chat/completions", &secret, "chat", r#","user":"u-1","tags":["own"]"#)).await;
    assert!(seen.calls[0].body.contains(r#"{"role":"system","content":"You serve alice."}"#), "{}", seen.calls[0].body);
    let response = bank.world.ask(asking("/v1/responses", &secret, "chat", "")).await;
    assert!(response.calls[0].body.contains(r#""instructions":"You serve alice.""#), "{}", response.calls[0].body);
    // Of one millisecond, they come in any order.
    let entry = bank.entries().await.into_iter().find(|entry| !entry.end_user.is_empty()).unwrap();
    assert_eq!(
        (entry.end_user.as_str(), entry.key_alias.as_str(), entry.tags),
        ("u-1", "alice", vec!["blue".to_owned(), "own".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn bodies_are_stored_where_that_is_switched_on_and_without_secrets() {
    for (setting, stored) in [("", false), ("feathergate: {store: {store_bodies: true}}\n", true)] {
        let bank = bank(setting, &[]);
        let rest = r#","user":"jane@example.com""#;
        let seen = bank.world.ask(asking("/v1/chat/completions", MASTER, "chat", rest)).await;
        let entry = bank.entries().await.remove(0);
        assert_eq!(entry.request_body.is_some(), stored);
        if stored {
            let request = entry.request_body.unwrap();
            assert!(request.contains("hello there") && request.contains("[redacted]") && !request.contains("jane"));
            assert_eq!(entry.response_body.as_deref(), Some(&*seen.got.text));
        }
        assert_eq!(seen.log.get("request_body"), None, "the log is another matter");
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_far_store_counts_nothing_is_sent() {
    let bank = bank("", &[]);
    bank.store.far.store(true, Ordering::Relaxed);
    let allowance = Allowance { rpm_limit: Some(2), max_parallel_requests: Some(1), ..Allowance::default() };
    let secret = bank.limited(allowance).await;
    for streamed in [false, true] {
        let rest = if streamed { r#","stream":true"# } else { "" };
        let seen = bank.world.ask(asking("/v1/chat/completions", &secret, "chat", rest)).await;
        assert_eq!((seen.got.status, seen.calls.len()), (200, 1), "{}", seen.got.text);
        assert_eq!(header(&seen, "x-feathergate-key-rpm-limit"), Some("2"));
    }
    // The first one that finds no room has been on its way, those after it are not even that.
    for _ in 0..2 {
        let seen = bank.ask(&secret, "chat").await;
        assert_eq!((error(&seen), seen.calls.len()), ((429, "rate_limit_exceeded".to_owned()), 0));
        assert_eq!((seen.log["attempt"].as_u64(), seen.log.get("deployment")), (Some(0), None));
    }
    assert_eq!(bank.entries().await.len(), 2);
    assert!(bank.ledger("key:key_1").await.holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_signs_with_aws_needs_no_key_in_hand() {
    let bank = bank("", &[]);
    let role = "arn:aws:sts::123456789012:assumed-role/app";
    for (id, alias, arn) in [
        ("0a", "one", format!("{role}/one")),
        ("0b", "all", format!("{role}/*")),
        ("0c", "other", "arn:aws:iam::123456789012:user/other".to_owned()),
    ] {
        let key = Key { id: id.to_owned(), alias: Some(alias.to_owned()), arn: Some(arn), ..Key::default() };
        bank.put(Kind::Key, id, serde_json::to_string(&key).unwrap()).await;
    }
    for (signer, status, alias) in [
        (Some(format!("{role}/one")), 200, "one"),
        (Some(format!("{role}/two")), 200, "all"),
        (Some("arn:aws:sts::123456789012:assumed-role/app2/one".to_owned()), 401, ""),
        (None, 401, ""),
    ] {
        let before = bank.entries().await.len();
        let mut request = asking("/v1/chat/completions", "", "chat", "");
        request.headers_mut().remove("authorization");
        let answer = read(bank.world.gateway.handle(request, Call { signed: true, signer, ..call() }).await).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        bank.world.gateway.keeper().unwrap().settled().await;
        let entries = bank.entries().await;
        assert_eq!((entries.len() - before, status == 200), (usize::from(status == 200), status == 200));
        assert_eq!(entries.iter().any(|entry| entry.key_alias == alias), status == 200, "{alias}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_administrators_set_lies_over_the_configuration_everywhere() {
    let bank = bank("", &[]);
    assert_eq!(bank.ask(MASTER, "old-name").await.got.status, 404);
    let prices = r#"{"openai/u*":{"input_cost_per_token":0.00001,"output_cost_per_token":0.00002}}"#;
    bank.put(Kind::Setting, "prices", prices.to_owned()).await;
    bank.put(Kind::Setting, "redirects", r#"{"old-name":"unpriced"}"#.to_owned()).await;
    // By another instance.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bank.ask(MASTER, "old-name").await.got.status, 200);
    let cost = async |model: &str| bank.entries().await.into_iter().find(|entry| entry.model == model).unwrap().cost;
    assert_eq!(cost("unpriced").await, Some(Money(70_000_000)));
    // What the entry itself says stands over it, as it does over the file's prices.
    bank.ask(MASTER, "chat").await;
    assert_eq!(cost("chat").await, Some(Money(7_000_000)));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_requests_that_is_cut_says_so_in_its_head() {
    let bank = bank("", &[]);
    for (count, want) in [(1000, None), (1, Some("true"))] {
        for _ in 0..count {
            let entry = Entry { id: format!("{:013}-{}", now(), fastrand::u64(..)), time: now(), ..Entry::default() };
            let settlement = Settlement { hold: None, used: Estimate::default(), entry: Some(entry) };
            bank.store.inner.settle(&settlement, now()).await.unwrap();
        }
        let request = Request::get("/spend/logs").header("authorization", format!("Bearer {MASTER}"));
        let got = bank.world.gateway.handle(request.body(Full::new(Bytes::new())).unwrap(), call()).await;
        assert_eq!(got.status(), 200);
        assert_eq!(got.headers().get("x-feathergate-truncated").map(|value| value.to_str().unwrap()), want);
    }
}

#[tokio::test(start_paused = true)]
async fn what_administration_refuses_has_its_line_in_the_log() {
    let bank = bank("", &[]);
    let token = "fgs-000000000000000000000000000000";
    for (path, body, status, class) in [
        ("/team/delete", json!({"team_ids": ["none"]}), 404, "not_found"),
        ("/team/new", json!({"team_id": "t", "team_alias": "t"}), 200, ""),
        ("/team/new", json!({"team_id": "t"}), 409, "conflict"),
        ("/admin/logout", json!({"token": token}), 400, ""),
        (
            "/admin/login",
            json!({
                "fingerprint": "SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs",
                "challenge": "a".repeat(40),
                "signature": format!("{}==", "A".repeat(86)),
            }),
            401,
            "unauthenticated",
        ),
    ] {
        let request = Request::post(path).header("authorization", format!("Bearer {MASTER}"));
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        if class.is_empty() {
            let got = read(bank.world.gateway.handle(request, call()).await).await;
            assert_eq!(got.status, status, "{path}: {}", got.text);
            continue;
        }
        let seen = bank.world.ask(request).await;
        assert_eq!(seen.got.status, status, "{path}: {}", seen.got.text);
        assert_eq!((&seen.log["status"], &seen.log["error_class"]), (&json!(status), &json!(class)), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_opens_no_door_but_the_models() {
    let bank = bank("", &[]);
    let secret = bank.key(Key::default()).await;
    let get = async |path: &str, secret: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {secret}"));
        read(bank.world.gateway.handle(request.body(Full::new(Bytes::new())).unwrap(), call()).await).await
    };
    for (path, of_key, of_master) in [
        ("/health", 200, 200),
        ("/metrics", 403, 200),
        ("/key/list", 403, 200),
        ("/v1/token/balance", 200, 400),
        ("/v1/models", 200, 200),
    ] {
        assert_eq!(get(path, &secret).await.status, of_key, "{path}");
        assert_eq!(get(path, MASTER).await.status, of_master, "{path}");
        assert_eq!(get(path, "").await.status == 200, path == "/health", "{path}");
    }
    assert!(!get("/health", &secret).await.text.contains("healthy_count"));
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_for_an_unknown_model_is_counted_and_allowed_like_any_other() {
    for yaml in ["", "litellm_settings: {default_fallbacks: [chat, claude]}\n"] {
        let bank = bank(yaml, &[]);
        let secret = bank.limited(Allowance { rpm_limit: Some(1), ..Allowance::default() }).await;
        let rest = if yaml.is_empty() { r#","fallbacks":["chat","claude"]"# } else { "" };
        let ask = async |secret: &str| bank.world.ask(asking("/v1/chat/completions", secret, "nope", rest)).await;
        assert_eq!(ask(&secret).await.got.status, 200);
        // However often, and wherever else it could go.
        for _ in 0..3 {
            assert_eq!(error(&ask(&secret).await), (429, "rate_limit_exceeded".to_owned()), "{yaml}");
        }
        let entry = bank.entries().await.remove(0);
        assert_eq!((entry.model.as_str(), entry.cost), ("chat", Some(Money(7_000_000))));
        assert!(bank.ledger("key:key_1").await.holds.is_empty());
    }
    let bank = bank("litellm_settings: {default_fallbacks: [claude]}\n", &[]);
    let secret = bank.key(Key { models: vec!["ch*".to_owned()], ..Key::default() }).await;
    assert_eq!(bank.ask(&secret, "cheap").await.got.status, 404, "it may not use what stands in");
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_costs_its_estimate_and_another_way_of_being_served_the_ordinary_price() {
    let limit = || Allowance { max_budget: Some(Money(Money::DOLLAR)), ..Allowance::default() };
    // Of which no price is known.
    for (setting, known) in [
        (r#","service_tier":"priority""#, false),
        (r#","service_tier":"fl\u0065x""#, false),
        (r#","speed":"fast""#, false),
        (r#","inference_geo":"us""#, false),
        (r#","inference_geo":"global""#, true),
        (r#","service_tier":"auto""#, true),
    ] {
        let bank = bank("", &[]);
        let secret = bank.limited(limit()).await;
        let seen = bank.world.ask(asking("/v1/chat/completions", &secret, "chat", setting)).await;
        assert_eq!(seen.got.status, 200, "{}", seen.got.text);
        assert_eq!(bank.spent("key:key_1").await, 7_000_000, "{setting}");
        assert_eq!(bank.entries().await.remove(0).cost, Some(Money(7_000_000)).filter(|_| known), "{setting}");
        assert_eq!(header(&seen, "x-feathergate-response-cost").is_some(), known, "{setting}");
    }
    // An upstream that does not answer in time, asked twice.
    let late = Does::Answers(100_000, 200, vec![], vec![Part::Text("{}")]);
    let yaml = "litellm_settings: {request_timeout: 60, num_retries: 1}\n";
    for (setting, calls) in [("", 1), (",\"num_retries\":1,\"timeout\":10", 1)] {
        let bank = self::bank(yaml, &[("a", vec![late.clone()])]);
        let secret = bank.limited(limit()).await;
        let seen = bank.world.ask(asking("/v1/chat/completions", &secret, "chat", setting)).await;
        assert_eq!((seen.got.status, seen.calls.len()), (504, calls), "{}", seen.got.text);
        let entry = bank.entries().await.remove(0);
        assert!(entry.estimated && entry.cost > Some(Money(20_000_000)), "{entry:?}");
        assert_eq!(Some(Money(bank.spent("key:key_1").await)), entry.cost);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_left_before_its_end_costs_no_less_than_its_estimate() {
    const BEGUN: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\
        \"role\":\"assistant\",\"model\":\"up\",\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
    let stream = vec![("content-type", "text/event-stream")];
    let claude = Does::Answers(0, 200, stream, vec![Part::Text(BEGUN), Part::Silence(1000), Part::Reset]);
    let bank = bank("", &[("c", vec![claude])]);
    let secret = bank.limited(Allowance { max_budget: Some(Money(Money::DOLLAR)), ..Allowance::default() }).await;
    bank.world.ask(asking("/v1/messages", &secret, "claude", r#","stream":true"#)).await;
    let entry = bank.entries().await.remove(0);
    // 3 of input were told, and the 10 of output were set aside.
    assert_eq!((entry.estimated, entry.tokens.input, entry.tokens.output), (true, 3, 10));
    assert_eq!((entry.cost, bank.spent("key:key_1").await), (Some(Money(23_000_000)), 23_000_000));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_he_is_counted_leaves_nothing_behind() {
    let bank = bank("", &[]);
    let secret = bank.limited(Allowance { max_parallel_requests: Some(1), ..Allowance::default() }).await;
    // Somebody has looked the key up, so that the next thing is to be counted.
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
    for polls in 1..12 {
        let request = asking("/v1/chat/completions", &secret, "chat", "");
        let mut answer = Box::pin(bank.world.gateway.handle(request, call()));
        for _ in 0..polls {
            if futures::poll!(&mut answer).is_ready() {
                break;
            }
        }
        drop(answer);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        bank.world.gateway.keeper().unwrap().settled().await;
        assert!(bank.ledger("key:key_1").await.holds.is_empty(), "after {polls} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn who_signs_is_bound_to_his_key_whatever_he_sends_with_it() {
    let bank = bank("", &[]);
    let arn = Some("arn:aws:iam::123456789012:user/a".to_owned());
    let key = Key { id: "key_a".to_owned(), arn: arn.clone(), models: vec!["claude".to_owned()], ..Key::default() };
    bank.put(Kind::Key, "0a", serde_json::to_string(&key).unwrap()).await;
    for (secret, status) in [("anything", 403), ("", 403), (MASTER, 200)] {
        let call = Call { signed: true, signer: arn.clone(), ..call() };
        let got = read(bank.world.gateway.handle(asking("/v1/chat/completions", secret, "chat", ""), call).await).await;
        assert_eq!(got.status, status, "`{secret}`: {}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_the_upstream_can_read_is_counted_by_its_length() {
    let bank = bank("", &[]);
    let secret = bank.limited(Allowance { tpm_limit: Some(10_000), ..Allowance::default() }).await;
    let part = r#"{"role":"narrator","content":"hi"}"#;
    let body = format!(r#"{{"model":"chat","messages":[{part}]}}"#);
    let request = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {secret}"))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let seen = bank.world.ask(request).await;
    assert_eq!((seen.got.status, seen.calls.len()), (200, 1), "{}", seen.got.text);
    assert!(seen.calls[0].body.contains(part));
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_team_that_is_gone_is_gone() {
    let bank = bank("", &[]);
    let secret = bank.key(Key { team: Some("gone".to_owned()), ..Key::default() }).await;
    assert_eq!(error(&bank.ask(&secret, "chat").await), (401, "invalid_api_key".to_owned()));
}

fn posting(path: &str, secret: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("authorization", format!("Bearer {secret}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn as_much_output_is_set_aside_as_the_upstream_may_write() {
    let words = r#""messages":[{"role":"user","content":"hello there"}]"#;
    let bank = bank("feathergate: {system_prompts: ['twelve bytes']}\n", &[]);
    let allowance = Allowance { tpm_limit: Some(1), ..Allowance::default() };
    let secret = bank.key(Key { allowance, system_prompt: Some("p".repeat(400)), ..Key::default() }).await;
    for (path, body, input, output) in [
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_tokens":10,{words}}}"#), 115, 10),
        ("/v1/chat/completions", format!(r#"{{"model":"chat",{words}}}"#), 115, 1024),
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_tokens":10,"n":3,{words}}}"#), 115, 30),
        // The bound of another endpoint binds nobody.
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_output_tokens":1,{words}}}"#), 115, 1024),
        ("/v1/messages", format!(r#"{{"model":"claude","max_tokens":7,"max_completion_tokens":1,{words}}}"#), 115, 7),
        ("/v1/responses", r#"{"model":"chat","max_tokens":1,"input":"hi"}"#.to_owned(), 111, 1024),
        ("/v1/responses", r#"{"model":"chat","max_output_tokens":9,"input":"hi"}"#.to_owned(), 111, 9),
        // What Anthropic demands, and the conversion writes.
        ("/v1/chat/completions", format!(r#"{{"model":"claude",{words}}}"#), 115, 21_333),
        ("/v1/chat/completions", format!(r#"{{"model":"claude","stream":true,{words}}}"#), 115, 32_000),
        // Numbers as some servers take them; what no number is, binds nobody.
        (
            "/v1/chat/completions",
            format!(r#"{{"model":"chat","max_tokens":1,"max_completion_tokens":5e3,{words}}}"#),
            115,
            5000,
        ),
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_tokens":"300","n":"3",{words}}}"#), 115, 900),
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_tokens":7,"n":10.0,{words}}}"#), 115, 70),
        (
            "/v1/chat/completions",
            format!(r#"{{"model":"chat","max_tokens":1,"max_completion_tokens":{{}},{words}}}"#),
            115,
            1024,
        ),
        ("/v1/chat/completions", format!(r#"{{"model":"chat","max_tokens":50,"n":null,{words}}}"#), 115, 50),
        // Each prompt is answered.
        ("/v1/completions", r#"{"model":"chat","max_tokens":50,"prompt":["a","b","c"]}"#.to_owned(), 3, 150),
        ("/v1/completions", r#"{"model":"chat","max_tokens":50,"prompt":[[1,2],[3]]}"#.to_owned(), 3, 100),
        ("/v1/completions", r#"{"model":"chat","max_tokens":50,"prompt":[1,2,3]}"#.to_owned(), 3, 50),
    ] {
        let seen = bank.world.ask(posting(path, &secret, &body)).await;
        assert_eq!(seen.got.status, 429, "{}", seen.got.text);
        let told = seen.got.text.split("this request may take ").nth(1).unwrap();
        let told: u64 = told.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        assert!(told.abs_diff(input + output) <= 30, "{path} {body}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_key_does_not_ask_for_failures() {
    let bank = bank("litellm_settings: {fallbacks: [{chat: [claude]}]}\n", &[]);
    let secret = bank.key(Key { models: vec!["chat".to_owned()], ..Key::default() }).await;
    for (secret, group) in [(secret.as_str(), "chat"), (MASTER, "claude")] {
        let seen =
            bank.world.ask(asking("/v1/chat/completions", secret, "chat", r#","mock_testing_fallbacks":true"#)).await;
        assert_eq!((seen.got.status, header(&seen, "x-feathergate-model-group")), (200, Some(group)));
        assert!(!seen.calls[0].body.contains("mock_testing"));
        assert_eq!(header(&seen, "x-feathergate-dropped").is_some(), secret != MASTER, "and hears of it");
    }
}

#[tokio::test(start_paused = true)]
async fn pictures_and_sound_cost_something_also_where_nobody_says_what() {
    let (picture, speech) = (r#"{"model":"unpriced","prompt":"x"}"#, r#"{"model":"unpriced","input":"x","voice":"v"}"#);
    let plain = || vec![Does::Answers(0, 200, vec![("content-type", "application/json")], vec![Part::Text("{}")])];
    for (path, body, paid) in [
        ("/v1/images/generations", picture, true),
        ("/v1/audio/speech", speech, true),
        ("/v1/moderations", r#"{"model":"unpriced","input":"x"}"#, false),
    ] {
        for strict in [false, true] {
            let rest = if strict { "feathergate: {store: {strict_pricing: true}}\n" } else { "" };
            let bank = bank(rest, &[("a", plain())]);
            let budget = Some(Money(Money::DOLLAR));
            let secret = bank.limited(Allowance { max_budget: budget, ..Allowance::default() }).await;
            let seen = bank.world.ask(posting(path, &secret, body)).await;
            assert_eq!(seen.got.status, if strict && paid { 403 } else { 200 }, "{path}: {}", seen.got.text);
            for entry in bank.entries().await {
                assert_eq!((entry.cost.is_none(), entry.sums().unpriced), (paid, u64::from(paid)), "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_a_fallback_is_counted_leaves_nothing_behind() {
    let yaml = "
litellm_settings: {fallbacks: [{broken: [chat]}]}
feathergate: {shared_limits: {models: {chat: {max_parallel_requests: 1}}}}
";
    for polls in 1..16 {
        let broken = vec![Does::Answers(0, 500, vec![], vec![Part::Text("{}")])];
        let bank = bank(yaml, &[("broken", broken)]);
        bank.store.slow.store(1, Ordering::Relaxed);
        let request = asking("/v1/chat/completions", MASTER, "broken", "");
        let mut answer = Box::pin(bank.world.gateway.handle(request, call()));
        for _ in 0..polls {
            if futures::poll!(&mut answer).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(answer);
        tokio::time::sleep(Duration::from_millis(50)).await;
        bank.world.gateway.keeper().unwrap().settled().await;
        assert!(bank.ledger("model:chat").await.holds.is_empty(), "after {polls} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_after_its_caller_was_sent_away_is_freed() {
    let bank = bank("", &[]);
    let budget = Some(Money(Money::DOLLAR));
    let allowance =
        Allowance { max_budget: budget, max_parallel_requests: Some(1), rpm_limit: Some(1), ..Allowance::default() };
    let secret = bank.limited(allowance).await;
    bank.store.slow.store(8000, Ordering::Relaxed);
    let request = asking("/v1/chat/completions", &secret, "chat", "");
    assert_eq!(read(bank.world.gateway.handle(request, call()).await).await.status, 503);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let ledger = bank.ledger("key:key_1").await;
    let left = |counts: &std::collections::BTreeMap<u64, u64>| (counts.is_empty(), counts.values().sum::<u64>());
    assert_eq!((ledger.holds.len(), left(&ledger.spent), left(&ledger.requests)), (0, (false, 0), (false, 0)));
    assert!(bank.entries().await.is_empty());
    bank.store.slow.store(0, Ordering::Relaxed);
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_minutes_loses_nothing() {
    let answer = Does::Answers(1000, 500, vec![], vec![Part::Text("{}")]);
    let bank = bank("", &[("a", vec![answer])]);
    let secret = bank.limited(Allowance { max_parallel_requests: Some(1), ..Allowance::default() }).await;
    let cut = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        bank.store.silent.store(true, Ordering::Relaxed);
    };
    let request = asking("/v1/chat/completions", &secret, "chat", "");
    futures::join!(bank.world.gateway.handle(request, call()), cut);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!((bank.entries().await.len(), bank.ledger("key:key_1").await.holds.len()), (0, 1));
    bank.store.silent.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((bank.entries().await.len(), bank.ledger("key:key_1").await.holds.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_another_process_makes_is_found() {
    let bank = opened("", &[], true);
    let secret = bank.key(Key::default()).await;
    assert_eq!(error(&bank.ask(&secret, "chat").await), (401, "invalid_api_key".to_owned()));
    assert_eq!(bank.ask(MASTER, "chat").await.got.status, 200);
    assert!(bank.entries().await.is_empty());
    bank.store.absent.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bank.ask(&secret, "chat").await.got.status, 200);
    assert_eq!(bank.entries().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_never_fits_is_not_to_be_tried_again() {
    for (allowance, again) in [
        (Allowance { rpm_limit: Some(0), ..Allowance::default() }, None),
        (Allowance { tpm_limit: Some(5), ..Allowance::default() }, None),
        (Allowance { max_parallel_requests: Some(0), ..Allowance::default() }, None),
        (Allowance { rpm_limit: Some(1), ..Allowance::default() }, Some(60..=70)),
    ] {
        let bank = bank("", &[]);
        let secret = bank.limited(allowance).await;
        bank.ask(&secret, "chat").await;
        let seen = bank.ask(&secret, "chat").await;
        assert_eq!(error(&seen), (429, "rate_limit_exceeded".to_owned()));
        let wait = header(&seen, "retry-after").map(|wait| wait.parse::<u64>().unwrap());
        assert_eq!(wait.is_some(), again.is_some(), "{wait:?}");
        assert!(again.is_none_or(|again| again.contains(&wait.unwrap())), "{wait:?}");
        assert_eq!(header(&seen, "x-should-retry"), Some("false").filter(|_| wait.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_for_one_endpoint_hears_which_models_it_has() {
    let bank = bank("", &[]);
    let secret = bank.key(Key { endpoints: vec!["/v1/chat/completions".to_owned()], ..Key::default() }).await;
    for (path, status) in [("/v1/models", 200), ("/v1/messages", 403)] {
        let request = if status == 200 { Request::get(path) } else { Request::post(path) };
        let request = request.header("authorization", format!("Bearer {secret}")).body(Full::new(Bytes::from("{}")));
        assert_eq!(read(bank.world.gateway.handle(request.unwrap(), call()).await).await.status, status, "{path}");
    }
}
