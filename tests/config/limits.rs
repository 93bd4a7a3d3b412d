//! `feathergate.limits`, and what litellm has of the same.

use feathergate::config::settings::{Limit, Limits};
use feathergate::route::limit::Rates;

use super::*;

fn file(rest: &str) -> String {
    let model = |name: &str| format!("- {{model_name: {name}, litellm_params: {{model: openai/x, api_key: k}}}}\n");
    let names = ["gpt-a", "gpt-a-mini", "chat", "my-own"];
    format!("model_list:\n{}{rest}\n", names.map(|name| model(&format!("'{name}'"))).concat())
}

fn limits(rest: &str) -> Limits {
    settings(&file(rest), &|name| (name == "RPM").then(|| "600".to_owned())).limits
}

fn own(yaml: &str) -> Limits {
    limits(&format!("feathergate: {{limits: {yaml}}}"))
}

#[test]
fn nothing_is_limited_by_default() {
    for rest in ["", "feathergate: {limits: {}}", "feathergate: {limits: }", "feathergate: {limits: {global: }}"] {
        let found = limits(rest);
        assert_eq!(
            (found.global.rates, found.global.concurrency, found.per_ip),
            (Rates::default(), None, Limit::default())
        );
        assert_eq!((found.per_model.len(), found.trust_forwarded, found.allowed), (0, 0, None), "{rest}");
    }
}

#[test]
fn limits_are_read() {
    let found = own("{global: {rpm: os.environ/RPM, rps: 20, concurrency: 100, queue: 200, queue_wait: 500ms}, \
         per_ip: {rpm: 60, concurrency: 5}, per_model: {chat: {concurrency: 3}}, trust_forwarded: 2}");
    assert_eq!(
        found.global,
        Limit {
            rates: Rates { rpm: Some(600), rps: Some(20) },
            concurrency: Some(100),
            queue: 200,
            queue_wait: Duration::from_millis(500)
        }
    );
    let ten = Duration::from_secs(10);
    let rates = Rates { rpm: Some(60), rps: None };
    assert_eq!(
        found.per_ip,
        Limit { rates, concurrency: Some(5), queue: 0, queue_wait: ten },
        "nobody waits for himself"
    );
    let chat = Limit { rates: Rates::default(), concurrency: Some(3), queue: 100, queue_wait: ten };
    assert_eq!((found.model("chat"), found.trust_forwarded), (Some(&chat), 2));
}

#[test]
fn a_name_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter_one() {
    let found = own(
        "{per_model: {'*': {rpm: 1}, 'gpt-*': {rpm: 2}, gpt-a: {rpm: 3}, '*mini': {rpm: 4}, 'gpt-*-m*': {rpm: 5}, \
         'my-*': {rpm: 6}}}",
    );
    let of = |name: &str| found.model(name).and_then(|limit| limit.rates.rpm);
    for (name, rpm) in [("gpt-a", 3), ("gpt-b", 2), ("gpt-a-mini", 5), ("o-mini", 4), ("chat", 1), ("my-*", 6), ("", 1)]
    {
        assert_eq!(of(name), Some(rpm), "{name}");
    }
    let found = own("{per_model: {'a*a': {rpm: 1}, 'b**c': {rpm: 2}}}");
    for (name, some) in
        [("aa", true), ("aba", true), ("a", false), ("ab", false), ("bc", true), ("bxc", true), ("b", false)]
    {
        assert_eq!(found.model(name).is_some(), some, "{name}");
    }
}

#[test]
fn litellms_keys_mean_the_same_here() {
    let general = |keys: &str, own: &str| {
        let found = limits(&format!("general_settings: {{{keys}}}\nfeathergate: {{limits: {{{own}}}}}"));
        (found.global.concurrency, found.global.queue, found.trust_forwarded)
    };
    for (keys, own, want) in [
        ("global_max_parallel_requests: 7", "", (Some(7), 100, 0)),
        ("max_parallel_requests: 8", "", (Some(8), 100, 0)),
        ("max_parallel_requests: 8, global_max_parallel_requests: 7", "", (Some(7), 100, 0)),
        ("global_max_parallel_requests: 7", "global: {concurrency: 9}", (Some(9), 100, 0)),
        ("global_max_parallel_requests: 7", "global: {queue: 0}", (Some(7), 0, 0)),
        ("use_x_forwarded_for: true", "", (None, 100, 1)),
        ("use_x_forwarded_for: false", "", (None, 100, 0)),
        ("use_x_forwarded_for: true", "trust_forwarded: 3", (None, 100, 3)),
        ("use_x_forwarded_for: true", "trust_forwarded: 0", (None, 100, 0)),
    ] {
        assert_eq!(general(keys, own), want, "{keys} {own}");
    }
    let allowed = |text: &str| limits(&format!("general_settings: {{allowed_ips: {text}}}")).allowed.unwrap();
    for text in ["[203.0.113.7, 10.0.0.0/8]", "'203.0.113.7, 10.0.0.0/8'"] {
        let found = allowed(text);
        let any = |address: &str| found.iter().any(|network| network.contains(address.parse().unwrap()));
        assert_eq!((found.len(), any("10.1.2.3"), any("203.0.113.7"), any("203.0.113.8")), (2, true, true, false));
    }
    assert_eq!(limits("general_settings: {allowed_ips: }").allowed, None);
}

#[test]
fn what_is_wrong_is_said() {
    let count = "must be a whole number, 0 or more";
    let address = "must be an address or a range, such as `203.0.113.7`, `10.0.0.0/8` or `2001:db8::/32`";
    let nobody = "names no address, so nobody could call; leave it out to serve every address";
    for (rest, place, want) in [
        ("feathergate: {limits: 5}", "feathergate.limits", "is a number, but must be a map"),
        ("feathergate: {limits: {global: 5}}", "feathergate.limits.global", "is a number, but must be a map"),
        (
            "feathergate: {limits: {gobal: {}}}",
            "feathergate.limits.gobal",
            "`gobal` is no key known here; did you mean `global`?",
        ),
        (
            "feathergate: {limits: {global: {tpm: 5}}}",
            "feathergate.limits.global.tpm",
            "`tpm` is no key known here; did you mean `rpm`?",
        ),
        (
            "feathergate: {limits: {global: {per_hour: 5}}}",
            "feathergate.limits.global.per_hour",
            "`per_hour` is no key known here; the keys here are `rpm`, `rps`, `concurrency`, `queue`, `queue_wait`",
        ),
        ("feathergate: {limits: {per_ip: {rpm: 1.5}}}", "feathergate.limits.per_ip.rpm", count),
        ("feathergate: {limits: {per_ip: {rpm: -1}}}", "feathergate.limits.per_ip.rpm", count),
        (
            "feathergate: {limits: {per_ip: {rpm: 0}}}",
            "feathergate.limits.per_ip.rpm",
            "must be 1 or more; leave it out for no limit",
        ),
        (
            "feathergate: {limits: {per_ip: {rps: 5000000000}}}",
            "feathergate.limits.per_ip.rps",
            "must be less than 4294967296",
        ),
        (
            "feathergate: {limits: {global: {concurrency: many}}}",
            "feathergate.limits.global.concurrency",
            "is a string, but must be a number",
        ),
        (
            "feathergate: {limits: {global: {concurrency: 1, queue_wait: 0}}}",
            "feathergate.limits.global.queue_wait",
            "must be more than 0",
        ),
        (
            "feathergate: {limits: {trust_forwarded: 99}}",
            "feathergate.limits.trust_forwarded",
            "is the number of proxies between the clients and this gateway, 20 at most",
        ),
        (
            "general_settings: {max_parallel_requests: x}",
            "general_settings.max_parallel_requests",
            "is a string, but must be a number",
        ),
        ("general_settings: {allowed_ips: [10.0.0.0/40]}", "general_settings.allowed_ips[0]", address),
        ("general_settings: {allowed_ips: []}", "general_settings.allowed_ips", nobody),
    ] {
        let errors = resolved(&file(rest), &|_| None).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(errors.lines().next(), Some(&*format!("x.yaml:6: {place}: {want}")), "{rest}");
    }
}

#[test]
fn what_does_nothing_is_warned_of() {
    let warnings = |yaml: &str| {
        let found = resolved(&file(&format!("feathergate: {{limits: {yaml}}}")), &|_| None);
        let warnings = found.unwrap_or_else(|problems| panic!("{problems}")).warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("{per_model: {chta: {rpm: 1}, 'claude-*': {rpm: 1}, 'gpt-*': {rpm: 1}, 'my-*': {rpm: 1}}}"),
        [
            "x.yaml:6: feathergate.limits.per_model.chta: no `model_name` is called so; did you mean `chat`?",
            "x.yaml:6: feathergate.limits.per_model.claude-*: no `model_name` is called so",
        ]
    );
    assert_eq!(
        warnings("{global: {rpm: 1, queue: 5}}"),
        ["x.yaml:6: feathergate.limits.global.queue: does nothing without `concurrency`: nobody waits for a rate"]
    );
    assert!(warnings("{global: {rpm: 1, concurrency: 3, queue: 5}, per_ip: {rpm: 3}}").is_empty());
}

#[test]
fn check_says_what_holds_on_lambda() {
    let yaml = file("general_settings: {max_parallel_requests: 5}\nfeathergate: {limits: {global: {rpm: 5}}}");
    let report = check::report(&Document::parse("x.yaml", &yaml).unwrap(), &|_| None).render();
    let line = |name: &str| report.lines().find(|line| line.contains(name)).unwrap().to_owned();
    for (name, words) in [
        ("  feathergate.limits", ["exact", "each instance", "virtual keys"]),
        ("general_settings.max_parallel_requests", ["approximate", "global.concurrency", "on Lambda"]),
    ] {
        assert!(words.iter().all(|word| line(name).contains(word)), "{}", line(name));
    }
}
