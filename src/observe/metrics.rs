//! Counters of this process, and their Prometheus text (exposition format 0.0.4).
//!
//! Labels are bounded: model groups and vendors come from the configuration, classes from a closed list, and of the fields that
//! clients name only so many are told apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Record;
use crate::meter::Money;
use crate::wire::Usage;

/// Upper bounds in seconds of the two latency histograms, and of the overhead's.
const LATENCY: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
const OVERHEAD: [f64; 12] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0];

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    open_streams: AtomicI64,
}

#[derive(Debug, Default)]
struct Counts {
    groups: BTreeMap<String, Group>,
}

/// The counts of one model group. What belongs to none stands under the empty name.
#[derive(Debug, Default)]
struct Group {
    requests: BTreeMap<(&'static str, u16, &'static str), u64>,
    tokens: BTreeMap<(&'static str, &'static str), u64>,
    /// By vendor.
    costs: BTreeMap<&'static str, Cost>,
    losses: BTreeMap<String, u64>,
    /// By deployment and class. Deployments are those of the configuration.
    failed_attempts: BTreeMap<(String, &'static str), u64>,
    fallbacks: u64,
    times: [Histogram; 3],
}

/// What answers cost, and how many there were with tokens whose cost is not known.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    known: Option<Money>,
    unknown: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    buckets: [u64; 12],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, value: f64, bounds: &[f64; 12]) {
        for (bucket, bound) in self.buckets.iter_mut().zip(bounds) {
            *bucket += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
    }
}

impl Metrics {
    /// Counts a request that is over; `times` are first byte, total and overhead in seconds, as far as they are known.
    pub(super) fn count(&self, record: &Record, times: [Option<f64>; 3]) {
        let name = record.model_group.as_deref().unwrap_or_default();
        let upstream = record.upstream.unwrap_or_default();
        let class = record.error_class.unwrap_or_default();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the first request of a group makes its name's copy.
        if !counts.groups.contains_key(name) {
            counts.groups.insert(name.to_owned(), Group::default());
        }
        let Some(group) = counts.groups.get_mut(name) else { return };
        *group.requests.entry((upstream, record.status, class)).or_default() += 1;
        let usage = record.usage;
        for (kind, tokens) in [
            ("input", usage.input),
            ("output", usage.output),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ] {
            if let Some(tokens) = tokens {
                *group.tokens.entry((upstream, kind)).or_default() += tokens;
            }
        }
        if usage != Usage::default() {
            let cost = group.costs.entry(upstream).or_default();
            match record.cost() {
                Some(money) => cost.known = Some(cost.known.unwrap_or_default().plus(money)),
                None => cost.unknown += 1,
            }
        }
        group.fallbacks += u64::from(record.fallbacks);
        for failed in &record.failures {
            *group.failed_attempts.entry((failed.deployment.clone(), failed.class)).or_default() += 1;
        }
        for loss in &record.losses {
            let mut field = kind(&loss.field);
            if !group.losses.contains_key(&field) && group.losses.len() >= MOST_FIELDS {
                "other".clone_into(&mut field);
            }
            *group.losses.entry(field).or_default() += 1;
        }
        for ((histogram, value), bounds) in group.times.iter_mut().zip(times).zip([&LATENCY, &LATENCY, &OVERHEAD]) {
            if let Some(value) = value {
                histogram.observe(value, bounds);
            }
        }
    }

    /// A stream to a client began.
    pub fn stream_opened(&self) {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream to a client ended.
    pub fn stream_closed(&self) {
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// The Prometheus text. On Lambda it says that it covers one instance.
    #[must_use]
    pub fn render(&self, lambda: bool) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        if lambda {
            out.push_str(
                "# These counts cover one Lambda instance since its start; CloudWatch has the metrics of all.\n",
            );
        }
        head(&mut out, "requests_total", "counter", "Requests by outcome.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for ((upstream, status, class), count) in &counts.requests {
                let _ = writeln!(
                    out,
                    "feathergate_requests_total{{model_group=\"{group}\",upstream=\"{upstream}\",status=\"{status}\",\
                     error_class=\"{class}\"}} {count}"
                );
            }
        }
        head(&mut out, "tokens_total", "counter", "Tokens by kind; output includes reasoning.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for ((upstream, kind), count) in &counts.tokens {
                let _ = writeln!(
                    out,
                    "feathergate_tokens_total{{model_group=\"{group}\",upstream=\"{upstream}\",kind=\"{kind}\"}} {count}"
                );
            }
        }
        head(&mut out, "cost_dollars_total", "counter", "What tokens cost, where their price is known.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for (upstream, cost) in &counts.costs {
                let Some(known) = cost.known else { continue };
                let _ = writeln!(
                    out,
                    "feathergate_cost_dollars_total{{model_group=\"{group}\",upstream=\"{upstream}\"}} {known}"
                );
            }
        }
        head(&mut out, "cost_unknown_total", "counter", "Requests with tokens whose cost is not known.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for (upstream, Cost { unknown, .. }) in &counts.costs {
                let _ = writeln!(
                    out,
                    "feathergate_cost_unknown_total{{model_group=\"{group}\",upstream=\"{upstream}\"}} {unknown}"
                );
            }
        }
        head(&mut out, "losses_total", "counter", "Request fields that an upstream did not get as they were sent.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for (field, count) in &counts.losses {
                let _ = writeln!(out, "feathergate_losses_total{{model_group=\"{group}\",field=\"{field}\"}} {count}");
            }
        }
        head(&mut out, "failed_attempts_total", "counter", "Attempts that did not lead to the answer.");
        for (group, counts) in &counts.groups {
            let group = label(group);
            for ((deployment, class), count) in &counts.failed_attempts {
                let deployment = label(deployment);
                let _ = writeln!(
                    out,
                    "feathergate_failed_attempts_total{{model_group=\"{group}\",deployment=\"{deployment}\",\
                     error_class=\"{class}\"}} {count}"
                );
            }
        }
        head(&mut out, "fallbacks_total", "counter", "How often another group was tried in the place of this one.");
        for (group, counts) in counts.groups.iter().filter(|(_, counts)| counts.fallbacks > 0) {
            let _ =
                writeln!(out, "feathergate_fallbacks_total{{model_group=\"{}\"}} {}", label(group), counts.fallbacks);
        }
        for (place, name, help, bounds) in [
            (0, "time_to_first_byte_seconds", "From the request to the answer's first byte.", &LATENCY),
            (1, "request_duration_seconds", "From the request to the answer's last byte.", &LATENCY),
            (2, "overhead_seconds", "Time to the first byte without waiting for client or upstream.", &OVERHEAD),
        ] {
            head(&mut out, name, "histogram", help);
            for (group, counts) in &counts.groups {
                if let Some(histogram) = counts.times.get(place) {
                    series(&mut out, name, &label(group), histogram, bounds);
                }
            }
        }
        head(&mut out, "open_streams", "gauge", "Streams that clients are reading.");
        let _ = writeln!(out, "feathergate_open_streams {}", self.open_streams.load(Ordering::Relaxed));
        out
    }
}

/// A gauge as Prometheus text, a line for each of its rows.
pub fn gauge<'a>(name: &str, help: &str, rows: impl Iterator<Item = ([(&'a str, &'a str); 2], u32)>) -> String {
    let mut out = String::new();
    head(&mut out, name, "gauge", help);
    for ([(first, one), (second, other)], value) in rows {
        let (one, other) = (label(one), label(other));
        let _ = writeln!(out, "feathergate_{name}{{{first}=\"{one}\",{second}=\"{other}\"}} {value}");
    }
    out
}

/// The most fields that are told apart in one model group.
const MOST_FIELDS: usize = 100;

/// What kind of field this is: its path without indexes, and without names that belong to the client and not to the dialect.
fn kind(field: &str) -> String {
    let mut out = String::with_capacity(field.len().min(64));
    let mut index = false;
    for c in field.chars() {
        index &= c != ']';
        if !index && (c.is_ascii_alphanumeric() || "._-[]".contains(c)) {
            out.push(c);
        }
        index |= c == '[';
        // What stands behind is the name of a tool or a property.
        if out.len() >= 64 || (c == '.' && matches!(out.as_str(), "tools." | "functions." | "metadata.")) {
            break;
        }
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP feathergate_{name} {help}\n# TYPE feathergate_{name} {kind}");
}

fn series(out: &mut String, name: &str, group: &str, histogram: &Histogram, bounds: &[f64; 12]) {
    for (bucket, bound) in histogram.buckets.iter().zip(bounds) {
        let _ = writeln!(out, "feathergate_{name}_bucket{{model_group=\"{group}\",le=\"{bound}\"}} {bucket}");
    }
    let Histogram { count, sum, .. } = histogram;
    let _ = writeln!(out, "feathergate_{name}_bucket{{model_group=\"{group}\",le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "feathergate_{name}_sum{{model_group=\"{group}\"}} {sum}");
    let _ = writeln!(out, "feathergate_{name}_count{{model_group=\"{group}\"}} {count}");
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_losses_are_told_apart_by_kind_and_not_without_end() {
        for (field, want) in [
            ("seed", "seed"),
            ("messages[12].content[3].image_url", "messages[].content[].image_url"),
            ("tools.my_search", "tools."),
            ("x\"} 1\n", "x1"),
        ] {
            assert_eq!(kind(field), want);
        }
        let metrics = Metrics::default();
        let mut record = Record::begin("r".to_owned(), "messages");
        record.model_group = Some("a".to_owned());
        for number in 0..300 {
            let loss = |field: String| crate::wire::Loss { field: field.into(), why: "no such setting".into() };
            record.losses = vec![loss(format!("own_{number}")), loss(format!("messages[{number}].name"))];
            metrics.count(&record, [None; 3]);
        }
        let text = metrics.render(false);
        for line in [
            r#"feathergate_losses_total{model_group="a",field="messages[].name"} 300"#,
            r#"feathergate_losses_total{model_group="a",field="own_98"} 1"#,
            r#"feathergate_losses_total{model_group="a",field="other"} 201"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(text.matches("feathergate_losses_total{").count(), MOST_FIELDS + 1);
    }

    #[test]
    fn the_text_counts_and_escapes() {
        let metrics = Metrics::default();
        let mut record = Record::begin("r".to_owned(), "messages");
        record.model_group = Some("a\"b\\".to_owned());
        record.status = 200;
        record.usage = Usage { input: Some(3), output: Some(7), ..Usage::default() };
        let price = |record: &mut Record| {
            let mut price = crate::meter::Price::default();
            price.set((crate::meter::Kind::Input, None), 1_000_000);
            price.set((crate::meter::Kind::Output, None), 250_000);
            record.price = Some(std::sync::Arc::new(price));
        };
        metrics.count(&record, [Some(0.06), Some(3.0), None]);
        price(&mut record);
        metrics.count(&record, [Some(0.06), Some(3.0), None]);
        metrics.stream_opened();
        let text = metrics.render(true);
        for line in [
            r#"feathergate_requests_total{model_group="a\"b\\",upstream="",status="200",error_class=""} 2"#,
            r#"feathergate_tokens_total{model_group="a\"b\\",upstream="",kind="output"} 14"#,
            r#"feathergate_time_to_first_byte_seconds_bucket{model_group="a\"b\\",le="0.05"} 0"#,
            r#"feathergate_time_to_first_byte_seconds_bucket{model_group="a\"b\\",le="0.1"} 2"#,
            r#"feathergate_request_duration_seconds_sum{model_group="a\"b\\"} 6"#,
            r#"feathergate_cost_dollars_total{model_group="a\"b\\",upstream=""} 0.00000475"#,
            r#"feathergate_cost_unknown_total{model_group="a\"b\\",upstream=""} 1"#,
            "feathergate_open_streams 1",
        ] {
            assert!(text.lines().any(|got| got == line), "{line}\nin\n{text}");
        }
        assert!(text.starts_with("# These counts cover one Lambda instance"));
        assert!(!metrics.render(false).contains("Lambda"));
    }
}
