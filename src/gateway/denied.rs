//! What a caller hears whose request has no room in a limit, or cannot be counted.

use http::StatusCode;

use super::refusal::Refusal;
use crate::meter::Money;
use crate::meter::ledger::{Measure, Over};
use crate::observe::clock;
use crate::wire::Wire;

pub(super) fn no_store() -> Refusal {
    Refusal::setup("limits that all processes share are configured, and this program was given no store to count in")
}

pub(super) fn unavailable() -> Refusal {
    let message = "the limits of this request cannot be looked up now; try again soon";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "store", message).code("store_unavailable").retry_after(1000)
}

pub(super) fn no_price(model: &str) -> Refusal {
    let message = format!(
        "nobody knows what the model `{}` costs, and a budget applies to this request; the operator can set its price with \
         `input_cost_per_token` and `output_cost_per_token`",
        model.chars().take(200).collect::<String>()
    );
    Refusal::new(StatusCode::FORBIDDEN, "price", message).code("price_unknown").param("model")
}

/// A limit that has no room. Whose it is, is told without names that the caller did not use.
pub(super) fn full(scope: &str, model: &str, over: &Over, wire: Wire) -> Refusal {
    let whose = match scope.split(':').next().unwrap_or_default() {
        "key" => "this API key".to_owned(),
        "team" => "the team of this API key".to_owned(),
        "model" => format!("the model `{}`", model.chars().take(200).collect::<String>()),
        _ => "this gateway".to_owned(),
    };
    let Over { measure, limit, used, asked, frees } = *over;
    let now = clock::unix_millis();
    let wait = frees.map(|frees| frees.saturating_sub(now).max(1));
    let when = wait.map_or_else(String::new, |wait| format!("; it frees in {} s", wait.div_ceil(1000)));
    let money = |units: u64| format!("${}", Money(units));
    let said = match measure {
        Measure::Budget => format!(
            "{whose} has a budget of {}, of which {} are spent or set aside, and this request may cost {}{when}",
            money(limit),
            money(used),
            money(asked)
        ),
        Measure::Quota => {
            format!(
                "{whose} has {limit} tokens, of which {used} are used or set aside, and this request may take {asked}{when}"
            )
        }
        Measure::Requests => format!("{whose} has {limit} requests a minute, and {used} are used{when}"),
        Measure::Tokens => {
            format!(
                "{whose} has {limit} tokens a minute, of which {used} are used, and this request may take {asked}{when}"
            )
        }
        Measure::Parallel => format!("{whose} has {limit} requests at one time, and {used} are under way"),
    };
    let refusal = match measure {
        // Anthropic's clients know an empty purse by its own status; OpenAI's by the code, which keeps them from trying again.
        Measure::Budget | Measure::Quota => {
            let status = if wire == Wire::AnthropicMessages {
                StatusCode::PAYMENT_REQUIRED
            } else {
                StatusCode::TOO_MANY_REQUESTS
            };
            Refusal::new(status, "budget", said).code("insufficient_quota").no_retry()
        }
        Measure::Requests | Measure::Tokens | Measure::Parallel => {
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", said).code("rate_limit_exceeded")
        }
    };
    let wait = wait.or((measure == Measure::Parallel && limit > 0).then_some(1000));
    let mut refusal = match wait {
        Some(wait) => refusal.retry_after(wait),
        // It never fits.
        None => refusal.no_retry(),
    };
    let kind = match measure {
        Measure::Requests => Some("requests"),
        Measure::Tokens => Some("tokens"),
        Measure::Budget | Measure::Quota | Measure::Parallel => None,
    };
    if let Some(kind) = kind {
        let ends = frees.unwrap_or(now);
        super::ratelimit::own(
            wire,
            kind,
            (limit, limit.saturating_sub(used), wait.unwrap_or(0), ends),
            &mut refusal.headers,
        );
    }
    refusal
}
