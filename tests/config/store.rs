//! Where keys and records are kept, and what all processes share.

use feathergate::config::settings::{Shared, StorePlace, StoreSettings};
use feathergate::meter::Money;
use feathergate::meter::ledger::Limits;
use feathergate::meter::period::Period;

use super::*;

fn store(yaml: &str) -> StoreSettings {
    let env = |name: &str| (name == "URL").then(|| "postgres://me:secret@db/x".to_owned());
    settings(&format!("{}{yaml}", entry("model: openai/gpt-4o, api_key: k")), &env).store
}

fn place(text: &str) -> String {
    match store(&format!("feathergate: {{store: {text}}}\n")).place {
        StorePlace::Unsaid => "unsaid".to_owned(),
        StorePlace::None => "none".to_owned(),
        StorePlace::Memory => "memory".to_owned(),
        StorePlace::Sqlite(path) => format!("file {}", path.display()),
        StorePlace::Dynamo(table) => format!("table {table}"),
        StorePlace::Postgres(url) => format!("database {}", url.known().unwrap_or("elsewhere")),
    }
}

#[test]
fn a_store_is_named_by_its_kind() {
    for (text, want) in [
        ("null", "unsaid"),
        ("none", "none"),
        ("false", "none"),
        ("memory", "memory"),
        ("'sqlite:keys.db'", "file keys.db"),
        ("'sqlite:///var/keys.db'", "file /var/keys.db"),
        ("'dynamodb:feather-gate_1'", "table feather-gate_1"),
        ("'postgresql://h/x'", "database postgresql://h/x"),
        ("os.environ/URL", "database postgres://me:secret@db/x"),
        ("'ssm:/feathergate/database'", "database elsewhere"),
        ("{url: memory}", "memory"),
        ("{on_error: open}", "unsaid"),
    ] {
        assert_eq!(place(text), want, "{text}");
    }
}

#[test]
fn what_litellm_says_of_its_database_counts_and_ours_wins() {
    let day = Duration::from_hours(24);
    let plain = store("");
    assert_eq!(
        (plain.fail_open, plain.bodies, plain.keep_requests, plain.keep_days),
        (false, false, 30 * day, 400 * day)
    );
    let litellm = "general_settings: {allow_requests_on_db_unavailable: true, store_prompts_in_spend_logs: true, \
                   disable_spend_logs: true}\nlitellm_settings: {max_budget: 12.5, budget_duration: 1mo}\n";
    let theirs = store(litellm);
    assert_eq!((theirs.fail_open, theirs.bodies, theirs.keep_requests), (true, true, Duration::ZERO));
    let budget = Some((Money(12_500_000_000_000), Period::Months(1)));
    assert_eq!(theirs.gateway.limits, Limits { budget, ..Limits::default() });
    let ours = store(&format!(
        "{litellm}feathergate: {{store: {{on_error: closed, keep_requests: 2w, store_bodies: false, keep_days: 1mo}}, \
         shared_limits: {{gateway: {{rpm_limit: 9}}}}}}\n"
    ));
    assert_eq!((ours.fail_open, ours.bodies, ours.keep_requests, ours.keep_days), (false, false, 14 * day, 31 * day));
    assert_eq!(ours.gateway.limits, Limits { budget, rpm: Some(9), ..Limits::default() });
}

#[test]
fn shared_limits_are_found_by_name_before_pattern() {
    let store = store(
        "feathergate: {shared_limits: {models: {'*': {rpm_limit: 1}, m: {max_budget: 3, token_quota: 7, budget_duration: 12h,
        tpm_limit: 5, max_parallel_requests: 2, shards: 8}}}}\n",
    );
    let half_day = Period::Seconds(43_200);
    let limits = Limits {
        budget: Some((Money(3 * Money::DOLLAR), half_day)),
        quota: Some((7, half_day)),
        tpm: Some(5),
        parallel: Some(2),
        ..Limits::default()
    };
    let own = ("m".to_owned(), Shared { limits, shards: 8 });
    let all = ("*".to_owned(), Shared { limits: Limits { rpm: Some(1), ..Limits::default() }, shards: 1 });
    assert_eq!(store.models, [own, all]);
}

#[test]
fn keys_beside_their_section_are_told_where_they_belong() {
    for (key, value, place) in [
        ("strict_pricing", "true", "`feathergate.store`: `feathergate: {store: {strict_pricing: …}}`"),
        ("keep_requests", "7d", "`feathergate.store`: `feathergate: {store: {keep_requests: …}}`"),
        ("keep_days", "7d", "`feathergate.store`"),
        ("store_bodies", "true", "`feathergate.store`"),
        ("output_estimate", "7", "`feathergate.store`"),
        ("on_error", "closed", "`feathergate.store`"),
        ("url", "memory", "`feathergate.store`"),
        ("max_budget", "7", "`feathergate.shared_limits`: `feathergate: {shared_limits: {gateway: {max_budget: …}}}`"),
        ("rpm_limit", "7", "`feathergate.shared_limits`"),
    ] {
        let yaml = format!("{}feathergate: {{{key}: {value}}}\n", entry("model: openai/gpt-4o, api_key: k"));
        let problems = resolved(&yaml, &env).err().map(|problems| problems.to_string()).unwrap_or_default();
        let want = format!("feathergate.{key}: does nothing here, it belongs to {place}");
        assert!(problems.contains(&want) && problems.lines().count() == 1, "{problems}");
        let unset = yaml.replace(&format!("{key}: {value}"), &format!("{key}: null"));
        assert!(resolved(&unset, &env).is_ok());
    }
}
