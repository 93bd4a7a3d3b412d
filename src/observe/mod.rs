//! What is said about each request: one wide [`Record`], given once at its end to every sink: a JSON line, the
//! [counters](metrics), and on Lambda CloudWatch's embedded metric format within the same line.
//!
//! No prompt or completion text is in a record unless the operator switched bodies on; no key ever is.

pub mod clock;
pub mod metrics;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clock::Instant;
use serde::Serialize;
use serde_json::json;
use tracing::Level;

use crate::meter::{Money, Price};
use crate::wire::text::Writer;
use crate::wire::{Loss, Usage};
use metrics::Metrics;

/// The `tracing` target of the request line: `RUST_LOG=feathergate::request=off` silences it.
pub const REQUEST_TARGET: &str = "feathergate::request";

/// Everything that is told about one request.
#[derive(Clone, Debug)]
pub struct Record {
    /// Our id, `x-request-id`.
    pub request_id: String,
    /// Lambda's id of the invocation.
    pub invocation_id: Option<String>,
    /// What was called: `chat.completions`, `messages`, …
    pub endpoint: &'static str,
    /// When the request came in.
    pub received: Instant,
    /// How long we waited for others: the client's body, the upstream, a place in the queue.
    pub waited: Duration,
    /// How long the request waited for a place.
    pub queued: Duration,
    /// When the answer's first byte was ready for the client.
    pub first_byte: Option<Instant>,
    /// The model group that the client named; only ever a name of the configuration.
    pub model_group: Option<String>,
    /// The deployment that answered.
    pub deployment: Option<String>,
    /// Its vendor.
    pub upstream: Option<&'static str>,
    /// The model's name there.
    pub upstream_model: Option<String>,
    /// The upstream's own id of the request.
    pub upstream_request_id: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The status that the client got.
    pub status: u16,
    /// How many calls to upstreams it took.
    pub attempt: u32,
    /// How many of these repeated an attempt within a model group.
    pub retries: u32,
    /// How many other groups were fallen back to.
    pub fallbacks: u32,
    /// The group that answered in the place of the one that was asked for.
    pub fallback_group: Option<String>,
    /// The attempts that failed, in order.
    pub failures: Vec<FailedAttempt>,
    /// Tokens.
    pub usage: Usage,
    /// What the tokens of the deployment that answered cost.
    pub price: Option<Arc<Price>>,
    /// The request asks for a way of being served that has another price, which is not known.
    pub otherwise_priced: bool,
    /// The kind of failure, from the closed list, or `client_gone`.
    pub error_class: Option<&'static str>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// What the upstream did not get as the client sent it.
    pub losses: Vec<Loss>,
    /// Bytes that went to the client, of a stream.
    pub sent: u64,
    /// A stream ended before the upstream had told how it ended, so its usage is not whole.
    pub cut: bool,
    /// Attempts that were given up although their upstreams may have worked.
    pub wasted: u32,
    /// The virtual key's id, where the caller has one.
    pub key: Option<String>,
    /// Its team's id.
    pub team: Option<String>,
    /// Whether bodies go into the log; else they are for the store.
    pub log_bodies: bool,
    /// The client's body, where bodies are switched on.
    pub request_body: Option<String>,
    /// The answer's body, where bodies are switched on.
    pub response_body: Option<String>,
}

/// An attempt that did not lead to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The deployment's id.
    pub deployment: String,
    /// The upstream's status, or the one that stands for what happened.
    pub status: u16,
    /// The kind of failure, from the closed list.
    pub class: &'static str,
}

impl std::fmt::Display for FailedAttempt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} {}", self.deployment, self.status, self.class)
    }
}

impl Record {
    /// A record that begins now.
    #[must_use]
    pub fn begin(request_id: String, endpoint: &'static str) -> Self {
        Self {
            request_id,
            invocation_id: None,
            endpoint,
            received: clock::now(),
            waited: Duration::ZERO,
            queued: Duration::ZERO,
            first_byte: None,
            model_group: None,
            deployment: None,
            upstream: None,
            upstream_model: None,
            upstream_request_id: None,
            stream: false,
            status: 0,
            attempt: 0,
            retries: 0,
            fallbacks: 0,
            fallback_group: None,
            failures: Vec::new(),
            usage: Usage::default(),
            price: None,
            otherwise_priced: false,
            error_class: None,
            error: None,
            losses: Vec::new(),
            sent: 0,
            cut: false,
            wasted: 0,
            key: None,
            team: None,
            log_bodies: false,
            request_body: None,
            response_body: None,
        }
    }

    /// Nobody was called after all.
    pub fn uncalled(&mut self) {
        (self.attempt, self.deployment, self.upstream, self.wasted) = (0, None, None, 0);
    }

    /// What the tokens cost, as far as the upstream told of them: of a stream that broke off it may not have told all. `None`
    /// where a count or a price is not known.
    #[must_use]
    pub fn cost(&self) -> Option<Money> {
        self.cost_of(&self.usage)
    }

    /// What this usage would cost.
    #[must_use]
    pub fn cost_of(&self, usage: &Usage) -> Option<Money> {
        self.price.as_ref().filter(|_| !self.otherwise_priced)?.cost(usage)
    }
}

/// The times of a finished request, in seconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    first_byte: f64,
    total: f64,
    /// `None` where no answer went out: what was waited for then is not known to the end.
    overhead: Option<f64>,
}

/// Takes records to the sinks.
#[derive(Debug)]
pub struct Observer {
    metrics: Metrics,
    /// CloudWatch's embedded metric format goes into each line: on Lambda.
    embedded: bool,
}

impl Observer {
    /// An observer; `lambda` adds the embedded metric format.
    #[must_use]
    pub fn new(lambda: bool) -> Self {
        Self { metrics: Metrics::default(), embedded: lambda }
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells of a request that is over.
    pub fn emit(&self, record: &Record) {
        let times = times(record);
        self.metrics.count(record, [Some(times.first_byte), Some(times.total), times.overhead]);
        if tracing::enabled!(target: REQUEST_TARGET, Level::INFO) {
            print(line(record, times, self.embedded));
        }
    }

    /// The line that [`emit`](Self::emit) would write now.
    #[must_use]
    pub fn line(&self, record: &Record) -> String {
        String::from_utf8(line(record, times(record), self.embedded)).unwrap_or_default()
    }
}

fn times(record: &Record) -> Times {
    let total = record.received.elapsed();
    let first = record.first_byte.map_or(total, |at| at.duration_since(record.received));
    // Until the first byte only: later on, time passes with the upstream's tokens.
    let overhead = record.first_byte.map(|_| first.saturating_sub(record.waited));
    Times {
        first_byte: first.as_secs_f64(),
        total: total.as_secs_f64(),
        overhead: overhead.map(|overhead| overhead.as_secs_f64()),
    }
}

/// A flat JSON object, written entry by entry in the order of reading.
struct Line(Writer);

impl Line {
    fn new(capacity: usize) -> Self {
        let mut out = Writer::with_capacity(capacity);
        out.open('{');
        Self(out)
    }

    /// Names, ours and those of `tracing`'s fields, are plain words.
    fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.key(name).value(&value);
    }

    fn put_known<T: Serialize>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.close('}');
        self.0.into_bytes()
    }
}

fn line(record: &Record, times: Times, embedded: bool) -> Vec<u8> {
    let mut line = Line::new(640);
    let now = clock::unix_millis();
    let millis = |seconds: f64| (seconds * 1e6).round() / 1e3;
    line.put("timestamp", clock::rfc3339(now));
    line.put("level", "INFO");
    line.put("target", REQUEST_TARGET);
    line.put("message", "request");
    line.put("request_id", &record.request_id);
    line.put_known("invocation_id", record.invocation_id.as_ref());
    line.put("endpoint", record.endpoint);
    line.put_known("key", record.key.as_ref());
    line.put_known("team", record.team.as_ref());
    line.put_known("model_group", record.model_group.as_ref());
    line.put_known("deployment", record.deployment.as_ref());
    line.put_known("upstream", record.upstream);
    line.put_known("upstream_model", record.upstream_model.as_ref());
    line.put_known("upstream_request_id", record.upstream_request_id.as_ref());
    line.put("stream", record.stream);
    line.put("status", record.status);
    line.put("attempt", record.attempt);
    for (name, count) in [("retries", record.retries), ("fallbacks", record.fallbacks)] {
        line.put_known(name, Some(count).filter(|count| *count > 0));
    }
    line.put_known("fallback_group", record.fallback_group.as_ref());
    let failures: Vec<String> = record.failures.iter().map(ToString::to_string).collect();
    line.put_known("failures", Some(failures).filter(|failures| !failures.is_empty()));
    line.put("ttfb_ms", millis(times.first_byte));
    line.put("total_ms", millis(times.total));
    line.put_known("overhead_ms", times.overhead.map(millis));
    // Taking a free place takes some microseconds as well, and is no wait.
    line.put_known("queue_ms", Some(millis(record.queued.as_secs_f64())).filter(|queued| *queued >= 1.0));
    line.put_known("input_tokens", record.usage.input);
    line.put_known("output_tokens", record.usage.output);
    line.put_known("cache_read_tokens", record.usage.cache_read);
    line.put_known("cache_write_tokens", record.usage.cache_write);
    line.put_known("cache_write_hour_tokens", record.usage.cache_write_hour);
    line.put_known("reasoning_tokens", record.usage.reasoning);
    line.put_known("audio_input_tokens", record.usage.audio_input);
    line.put_known("audio_output_tokens", record.usage.audio_output);
    line.put_known("cost", record.cost());
    line.put_known("error_class", record.error_class);
    line.put_known("error", record.error.as_ref());
    let dropped: Vec<&str> = record.losses.iter().map(|loss| &*loss.field).collect();
    line.put_known("dropped", Some(dropped).filter(|dropped| !dropped.is_empty()));
    // With the reasons: what a client's developer asks next.
    let losses: Vec<String> = record.losses.iter().map(|loss| format!("{}: {}", loss.field, loss.why)).collect();
    line.put_known("losses", Some(losses).filter(|losses| !losses.is_empty()));
    line.put_known("request_body", record.request_body.as_ref().filter(|_| record.log_bodies));
    line.put_known("response_body", record.response_body.as_ref().filter(|_| record.log_bodies));
    if embedded && record.model_group.is_some() {
        embed(&mut line, record, times, now);
    }
    line.finish()
}

/// Writes a line to standard output.
fn print(mut line: Vec<u8>) {
    line.push(b'\n');
    // A full disk or a closed pipe must not fail a request.
    drop(std::io::stdout().lock().write_all(&line));
}

/// Adds CloudWatch's embedded metric format (AWS, "Embedded metric format specification", 2026-11). Each combination of
/// dimensions is billed as a metric of its own, so there is the model group and nothing finer.
fn embed(line: &mut Line, record: &Record, times: Times, now: u64) {
    let mut metrics = Vec::with_capacity(8);
    let mut metric = |line: &mut Line, name: &str, unit: &str, value: f64| {
        line.put(name, value);
        metrics.push(json!({"Name": name, "Unit": unit}));
    };
    metric(line, "Requests", "Count", 1.0);
    metric(line, "Errors", "Count", f64::from(u8::from(record.error_class.is_some())));
    metric(line, "TimeToFirstByte", "Milliseconds", times.first_byte * 1e3);
    metric(line, "Duration", "Milliseconds", times.total * 1e3);
    if let Some(overhead) = times.overhead {
        metric(line, "Overhead", "Milliseconds", overhead * 1e3);
    }
    for (name, tokens) in [("InputTokens", record.usage.input), ("OutputTokens", record.usage.output)] {
        // Metrics are floating-point numbers; a count of tokens is far below where those are inexact.
        if let Some(tokens) = tokens.and_then(|tokens| u32::try_from(tokens).ok()) {
            metric(line, name, "Count", f64::from(tokens));
        }
    }
    if let Some(cost) = record.cost() {
        metric(line, "Cost", "None", cost.dollars());
    }
    line.put("ModelGroup", record.model_group.as_ref());
    line.put(
        "_aws",
        json!({"Timestamp": now, "CloudWatchMetrics": [
            {"Namespace": "FeatherGate", "Dimensions": [[], ["ModelGroup"]], "Metrics": metrics}]}),
    );
}

/// Sets up `tracing`: JSON lines on standard output, levels from `RUST_LOG` (`info`, `warn,feathergate=debug`), else from
/// `AWS_LAMBDA_LOG_LEVEL`, else `info`. A second call does nothing.
pub fn init(levels: Option<&str>) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;

    let mut targets: Targets =
        levels.unwrap_or("info").parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    // At TRACE the runtime logs whole events, with prompts and keys in them.
    for target in
        ["lambda_runtime", "lambda_http", "hyper", "h2", "reqwest", "rustls", "aws_config", "aws_smithy_runtime"]
    {
        if targets.would_enable(target, &Level::TRACE) {
            targets = targets.with_target(target, LevelFilter::DEBUG);
        }
    }
    let _ = tracing_subscriber::registry().with(JsonLines.with_filter(targets)).try_init();
}

/// Every `tracing` event as a line of the same form as a request's. tracing-subscriber's own JSON format would do, for 0.03 MB
/// of zip and another order of the keys.
struct JsonLines;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for JsonLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut line = Line::new(256);
        line.put("timestamp", clock::rfc3339(clock::unix_millis()));
        line.put("level", event.metadata().level().as_str());
        line.put("target", event.metadata().target());
        event.record(&mut line);
        print(line.finish());
    }
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.put(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn record() -> Record {
        let mut record = Record::begin("r1".to_owned(), "messages");
        record.model_group = Some("fast".to_owned());
        record.status = 200;
        record.usage = Usage { input: Some(3), output: Some(5), ..Usage::default() };
        record
    }

    const TIMES: Times = Times { first_byte: 0.25, total: 1.5, overhead: Some(0.000_812_4) };

    #[test]
    fn a_line_leaves_out_what_is_unknown_and_has_no_metrics_off_lambda() {
        let line: Value = serde_json::from_slice(&line(&record(), TIMES, false)).unwrap();
        assert_eq!((&line["ttfb_ms"], &line["overhead_ms"]), (&json!(250.0), &json!(0.812)));
        assert_eq!((&line["input_tokens"], line.get("error"), line.get("_aws")), (&json!(3), None, None));
    }

    #[test]
    fn a_cost_is_exact_in_the_line_and_a_metric_on_lambda() {
        let mut record = record();
        let told = |record: &Record| serde_json::from_slice::<Value>(&line(record, TIMES, true)).unwrap();
        assert_eq!((told(&record).get("cost"), told(&record).get("Cost")), (None, None));
        let mut price = Price::default();
        price.set((crate::meter::Kind::Input, None), 100_001);
        price.set((crate::meter::Kind::Output, None), 0);
        record.price = Some(Arc::new(price));
        let line = String::from_utf8(line(&record, TIMES, true)).unwrap();
        assert!(line.contains(r#","cost":0.000000300003,"#));
        assert_eq!(told(&record)["Cost"], json!(0.000_000_300_003));
    }

    #[test]
    fn a_wait_in_the_queue_is_told_where_there_was_one() {
        let mut record = record();
        for (micros, want) in [(0, None), (999, None), (1_500, Some(json!(1.5)))] {
            record.queued = Duration::from_micros(micros);
            let line: Value = serde_json::from_slice(&line(&record, TIMES, false)).unwrap();
            assert_eq!(line.get("queue_ms"), want.as_ref());
        }
    }

    #[test]
    fn losses_are_named_with_their_reasons() {
        let mut record = record();
        record.losses = vec![Loss { field: "seed".into(), why: "no such setting".into() }];
        let line: Value = serde_json::from_slice(&line(&record, TIMES, false)).unwrap();
        assert_eq!((&line["dropped"], &line["losses"]), (&json!(["seed"]), &json!(["seed: no such setting"])));
    }

    #[test]
    fn every_embedded_metric_has_its_value_in_the_line() {
        let line: Value = serde_json::from_slice(&line(&record(), TIMES, true)).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([[], ["ModelGroup"]]));
        let names: Vec<&str> =
            directive["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 7);
        assert!(names.iter().all(|name| line[*name].is_number()), "{line}");
        assert_eq!(line["ModelGroup"], "fast");
    }
}
