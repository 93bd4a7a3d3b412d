//! Where client and upstream speak one wire, every byte stays.

use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::{self, FailureKind, OnLoss, Prepared, ReplyPlan, Stamp, Target, Wire};
use serde_json::Value;

use crate::answers::word;
use crate::exchange::Exchange;
use crate::report::Report;

const STAMP: Stamp<'static> = Stamp { id: "0123456789abcdef", created: 1_700_000_000 };

pub(crate) fn run(exchanges: &[Exchange], report: &mut Report) {
    for exchange in exchanges.iter().filter(|exchange| exchange.wire != Wire::Gemini) {
        let wire = word(exchange.wire);
        if let Some(body) = exchange.request.as_ref().filter(|body| body["model"].as_str().is_some()) {
            let faults = request(exchange, &body.to_string(), body["model"].text());
            report.add(&exchange.id, &format!("{wire} request"), "unchanged", faults);
        }
        let plan = ReplyPlan::untouched(exchange.wire, exchange.operation);
        let (form, (outcome, faults)) = if !exchange.good() {
            let failure = plan.failure(exchange.status, &Bytes::from(exchange.body.clone()));
            let silent = failure.message.is_empty().then(|| "no message".to_owned());
            ("error", ("error read", silent.into_iter().collect()))
        } else if exchange.streamed {
            ("stream", stream(exchange, &plan))
        } else {
            let body = Bytes::from(exchange.body.clone());
            let reply = plan.whole(&body, STAMP);
            let fault = match reply {
                Ok(reply) => (reply.body != body).then(|| "the answer came out changed".to_owned()),
                Err(failure) => Some(format!("fails: {}", failure.message)),
            };
            ("whole", ("unchanged", fault.into_iter().collect()))
        };
        report.add(&exchange.id, &format!("{wire} {form}"), outcome, faults);
    }
}

fn prepare(exchange: &Exchange, body: &str, model: &str) -> Result<Prepared, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let envelope = wire::peek(exchange.wire, &body).map_err(|error| error.to_string())?;
    let target = Target {
        wire: exchange.wire,
        model,
        profile: &Profile::find(exchange.wire, &exchange.provider, model),
        drop: &[],
        defaults: &[],
        ask_usage: false,
        answer_as: None,
        on_loss: OnLoss::Report,
    };
    wire::prepare(&envelope, &body, exchange.operation, &target).map_err(|error| error.to_string())
}

fn request(exchange: &Exchange, body: &str, model: &str) -> Vec<String> {
    let mut faults = Vec::new();
    match prepare(exchange, body, model) {
        Ok(same) if same.body == *body => {}
        Ok(_) => faults.push("the request came out changed".to_owned()),
        Err(error) => faults.push(error),
    }
    match prepare(exchange, body, "some/other") {
        Ok(other) => {
            let (mut was, mut is): (Value, Value) =
                (serde_json::from_str(body).unwrap(), serde_json::from_slice(&other.body).unwrap());
            if is["model"] != "some/other" {
                faults.push("the model stayed".to_owned());
            }
            (was["model"], is["model"]) = (Value::Null, Value::Null);
            if was != is {
                faults.push("more than the model changed".to_owned());
            }
        }
        Err(error) => faults.push(error),
    }
    faults
}

fn stream(exchange: &Exchange, plan: &ReplyPlan) -> (&'static str, Vec<String>) {
    let mut faults = Vec::new();
    let mut outcome = "unchanged";
    for size in [usize::MAX, 7] {
        let mut tap = plan.stream(STAMP);
        let mut out = Vec::new();
        for chunk in exchange.body.as_bytes().chunks(size) {
            out.extend_from_slice(&tap.push(Bytes::copy_from_slice(chunk)));
        }
        let tally = tap.finish(None);
        out.extend_from_slice(&tally.bytes);
        match tally.failure {
            // The upstream says within the stream that it failed: before content that is a status.
            Some(failure) if failure.kind != FailureKind::Cut => {
                outcome = "failure of its own";
                if !exchange.body.contains("error") || !(tally.told || out.is_empty()) {
                    faults.push(format!("{failure:?}"));
                }
            }
            Some(failure) => faults.push(format!("fails: {}", failure.message)),
            None => {}
        }
        if !out.is_empty() && out != exchange.body.as_bytes() {
            faults.push("the stream came out changed".to_owned());
        }
    }
    (outcome, faults)
}
