//! `feathergate.store`, what litellm says of its database, and the limits that all processes share.

use std::path::PathBuf;
use std::time::Duration;

use super::super::problem::{Place, nearest, shown};
use super::super::raw::Node;
use super::super::reference::Value;
use super::super::settings::{Group, Shared, StorePlace, StoreSettings};
use super::limits::{by_likeness, stranger};
use super::reader::Reader;
use crate::meter::Money;
use crate::meter::period::Period;

const KEYS: [&str; 7] =
    ["url", "on_error", "keep_requests", "keep_days", "store_bodies", "strict_pricing", "output_estimate"];
const SHARED_KEYS: [&str; 7] =
    ["max_budget", "budget_duration", "token_quota", "rpm_limit", "tpm_limit", "max_parallel_requests", "shards"];

pub(super) fn read(reader: &mut Reader<'_>, groups: &[Group]) -> StoreSettings {
    let mut store = StoreSettings::default();
    litellm(reader, &mut store);
    misplaced(reader);
    if let Some((place, node)) = reader.setting("feathergate", "store") {
        match node {
            Node::Map(entries) => {
                for (key, node) in entries {
                    let place = place.key(key);
                    if *node != Node::Null {
                        setting(reader, &mut store, key, &place, node);
                    }
                }
            }
            Node::Null => {}
            Node::Bool(false) => store.place = StorePlace::None,
            Node::Bool(true) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => {
                store.place = self::place(reader, &place, node).unwrap_or_default();
            }
        }
    }
    if let Some((place, node)) = reader.setting("feathergate", "shared_limits") {
        for (key, node) in reader.map(&place, node) {
            let place = place.key(key);
            match key.as_str() {
                _ if *node == Node::Null => {}
                "gateway" => store.gateway = shared(reader, &place, node, store.gateway.clone()),
                "models" => {
                    let none = Shared::default();
                    store.models = by_likeness(reader, &place, node, groups, |reader, place, node| {
                        shared(reader, place, node, none.clone())
                    });
                }
                _ => stranger(reader, &place, key, &["gateway", "models"]),
            }
        }
    }
    if matches!(store.place, StorePlace::None) && !(store.gateway.limits.none() && store.models.is_empty()) {
        let place = Place::root().key("feathergate").key("shared_limits");
        reader.error(&place, "needs a store, and `feathergate.store` says that there is none");
    }
    store
}

/// Keys of `store` and of limits that stand beside their sections. Nobody is to serve without a protection that is written down.
fn misplaced(reader: &mut Reader<'_>) {
    let own = KEYS.into_iter().map(|key| (key, "store", format!("{{store: {{{key}: …}}}}")));
    let shared = SHARED_KEYS
        .into_iter()
        .map(|key| (key, "shared_limits", format!("{{shared_limits: {{gateway: {{{key}: …}}}}}}")));
    for (key, section, place) in own.chain(shared) {
        if let Some((at, _)) = reader.setting("feathergate", key) {
            reader.error(
                &at,
                format!("does nothing here, it belongs to `feathergate.{section}`: `feathergate: {place}`"),
            );
        }
    }
}

/// What litellm calls it.
fn litellm(reader: &mut Reader<'_>, store: &mut StoreSettings) {
    let mut switch = |key| {
        let (place, node) = reader.setting("general_settings", key)?;
        reader.boolean(&place, node)
    };
    store.fail_open = switch("allow_requests_on_db_unavailable").unwrap_or(false);
    store.bodies = switch("store_prompts_in_spend_logs").unwrap_or(false);
    if switch("disable_spend_logs") == Some(true) {
        store.keep_requests = Duration::ZERO;
    }
    let period = reader.setting("litellm_settings", "budget_duration");
    let period = period.and_then(|(place, node)| self::period(reader, &place, node)).unwrap_or_default();
    if let Some((place, node)) = reader.setting("litellm_settings", "max_budget") {
        // 0 is litellm's way to say that there is none.
        let most = dollars(reader, &place, node).filter(|most| most.0 > 0);
        store.gateway.limits.budget = most.map(|most| (most, period));
    }
}

fn setting(reader: &mut Reader<'_>, store: &mut StoreSettings, key: &str, place: &Place, node: &Node) {
    match key {
        "url" => store.place = self::place(reader, place, node).unwrap_or_default(),
        "on_error" => match reader.string(place, node).as_deref().map(str::trim) {
            Some("open") => store.fail_open = true,
            Some("closed") => store.fail_open = false,
            Some(_) => reader.error(
                place,
                "must be `closed` (requests are refused while the store does not answer) or `open` (they pass, and limits \
                 do not hold meanwhile)",
            ),
            None => {}
        },
        "keep_requests" => store.keep_requests = keep(reader, place, node).unwrap_or(store.keep_requests),
        "keep_days" => store.keep_days = keep(reader, place, node).unwrap_or(store.keep_days),
        "store_bodies" => store.bodies = reader.boolean(place, node).unwrap_or(store.bodies),
        "strict_pricing" => store.strict_pricing = reader.boolean(place, node).unwrap_or(store.strict_pricing),
        "output_estimate" => store.output_estimate = reader.count(place, node).unwrap_or(store.output_estimate),
        _ => stranger(reader, place, key, &KEYS),
    }
}

/// Where the store is. A URL that holds a password is never shown.
fn place(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<StorePlace> {
    let text = match reader.text(place, node)? {
        Value::Known(text) => text,
        value @ Value::Parameter(_) => return Some(StorePlace::Postgres(value.into_text())),
        Value::Unset(name) => {
            reader.unset_error(place, &name);
            return None;
        }
    };
    let text = text.trim();
    match text.split_once(':') {
        None if text == "none" => Some(StorePlace::None),
        None if text == "memory" => Some(StorePlace::Memory),
        Some(("sqlite", path)) if !path.trim_start_matches("//").is_empty() => {
            Some(StorePlace::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
        }
        Some(("dynamodb", table)) if table_name(table) => Some(StorePlace::Dynamo(table.to_owned())),
        Some(("dynamodb", _)) => {
            reader.error(
                place,
                "names no DynamoDB table: 3 to 255 letters, digits and `_.-`, such as `dynamodb:feathergate`",
            );
            None
        }
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            Some(StorePlace::Postgres(Value::Known(text.to_owned()).into_text()))
        }
        _ => {
            let scheme = text.split(':').next().unwrap_or_default();
            let near = nearest(scheme, ["sqlite", "dynamodb", "postgres", "memory", "none"]);
            let near = near.map(|near| format!("; did you mean `{}`?", shown(near))).unwrap_or_default();
            reader.error(
                place,
                format!("must be `sqlite:FILE`, `dynamodb:TABLE`, `postgres://…`, `memory` or `none`{near}"),
            );
            None
        }
    }
}

/// AWS, "Naming rules and data types", 2026-11.
fn table_name(name: &str) -> bool {
    (3..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// A time for which something is kept: `30d`; `0` for not at all.
fn keep(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Duration> {
    match reader.plain(place, node)? {
        Node::Int(0) | Node::Bool(false) => Some(Duration::ZERO),
        other @ (Node::Null
        | Node::Bool(true)
        | Node::Int(_)
        | Node::Float(_)
        | Node::Text(_)
        | Node::List(_)
        | Node::Map(_)) => match period(reader, place, &other)? {
            Period::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Period::Months(months) => Some(Duration::from_hours(u64::from(months) * 31 * 24)),
            Period::Forever => None,
        },
    }
}

fn period(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Period> {
    let text = reader.string(place, node)?;
    let period = Period::parse(text.trim());
    if period.is_none() {
        reader.error(place, "must be a time such as `12h`, `30d` or `1mo`");
    }
    period
}

fn dollars(reader: &mut Reader<'_>, place: &Place, node: &Node) -> Option<Money> {
    let dollars = reader.number(place, node)?;
    let amount = Money::from_dollars(dollars);
    if amount.is_none() {
        reader.error(place, "must be an amount of dollars, such as `100` or `2.50`");
    }
    amount
}

fn shared(reader: &mut Reader<'_>, place: &Place, node: &Node, mut shared: Shared) -> Shared {
    let (mut budget, mut quota) = (shared.limits.budget.map(|(most, _)| most), None);
    let mut time = shared.limits.budget.map(|(_, period)| period).unwrap_or_default();
    for (key, node) in reader.map(place, node) {
        let place = place.key(key);
        match key.as_str() {
            _ if *node == Node::Null => {}
            "max_budget" => budget = dollars(reader, &place, node),
            "budget_duration" => time = period(reader, &place, node).unwrap_or(time),
            "token_quota" => quota = reader.count(&place, node),
            "rpm_limit" => shared.limits.rpm = reader.count(&place, node),
            "tpm_limit" => shared.limits.tpm = reader.count(&place, node),
            "max_parallel_requests" => shared.limits.parallel = reader.count(&place, node),
            "shards" => {
                let shards = reader.small(&place, node).unwrap_or(1);
                if !(1..=64).contains(&shards) {
                    reader.error(&place, "must be from 1 to 64");
                }
                shared.shards = shards.clamp(1, 64);
            }
            _ => stranger(reader, &place, key, &SHARED_KEYS),
        }
    }
    shared.limits.budget = budget.map(|most| (most, time));
    shared.limits.quota = quota.map(|most| (most, time));
    shared
}
