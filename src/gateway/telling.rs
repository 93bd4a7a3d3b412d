//! What the head of an answer or a refusal tells of how it came about: who answered, after how many attempts, how long it took and
//! what it cost.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::pipeline::{Answer, Refused};
use super::twins::{Twin, twin};
use crate::config::secret::Text;
use crate::config::settings::Deployment;
use crate::meter::Money;
use crate::observe::Record;
use crate::observe::clock;

/// Whose answer it is, in litellm's headers and in our own: `name` is what the client, or the list of fallbacks, calls the group.
/// `disclose`: where the upstream is, too.
pub(super) fn say_who(head: &mut HeaderMap, deployment: &Deployment, name: &str, disclose: bool) {
    MODEL_ID.say_text(head, &deployment.id);
    MODEL_GROUP.say_text(head, name);
    if disclose {
        MODEL_NAME.say_text(head, &deployment.model);
        if let Text::Known(base) = &deployment.api_base {
            MODEL_BASE.say_text(head, base.expose());
        }
    }
}

/// What it took, on the answer or the refusal.
pub(super) fn told(answer: Result<Answer, Refused>, record: &Record) -> Result<Answer, Refused> {
    let tell = |head: &mut HeaderMap| {
        let total = record.received.elapsed();
        let overhead = total.saturating_sub(record.waited);
        RETRIES.say(head, count(record.retries));
        FALLBACKS.say(head, count(record.fallbacks));
        DURATION.say_text(head, &decimal(total));
        OVERHEAD.say_text(head, &decimal(overhead));
    };
    match answer {
        Ok(mut answer) => {
            tell(answer.outcome.head());
            Ok(answer)
        }
        Err(mut refusal) => {
            tell(&mut refusal.headers);
            if record.attempt > 0 {
                let count = HeaderValue::from(record.attempt);
                refusal.headers.insert(HeaderName::from_static("x-feathergate-attempts"), count);
            }
            if record.attempt > 1 {
                refusal.add(&format!(" (after {} attempts)", record.attempt));
            }
            Err(refusal)
        }
    }
}

/// What an answer cost in dollars, where that is known. A stream has no place for it in its head.
pub(super) fn say_cost(head: &mut HeaderMap, cost: Option<Money>) {
    if let Some(cost) = cost {
        COST.say_text(head, &cost.to_string());
    }
}

/// Nearly always 0, which needs no memory.
fn count(count: u32) -> HeaderValue {
    if count == 0 { HeaderValue::from_static("0") } else { HeaderValue::from(count) }
}

/// Milliseconds with three digits behind the point.
fn decimal(time: Duration) -> String {
    let mut text = clock::millis(time).to_string();
    text.push('.');
    clock::push_digits(&mut text, (time.subsec_micros() % 1000).into(), 3);
    text
}

static MODEL_ID: Twin = twin!("model-id");
static MODEL_GROUP: Twin = twin!("model-group");
static MODEL_NAME: Twin = twin!("model-name");
static MODEL_BASE: Twin = twin!("model-api-base");
static RETRIES: Twin = twin!("attempted-retries");
static FALLBACKS: Twin = twin!("attempted-fallbacks");
static DURATION: Twin = twin!("response-duration-ms");
static COST: Twin = twin!("response-cost");
static OVERHEAD: Twin = twin!("overhead-duration-ms");
