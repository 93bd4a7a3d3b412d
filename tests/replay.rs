//! Recorded traffic through the passthrough: every request and answer whose wire we speak comes out as it went in.
//!
//! Reads the folder that `FEATHERGATE_RECORDINGS` names (`.ci/run` sets it); says so and does nothing where that is unset.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use feathergate::wire::{self, FailureKind, Operation, Prepared, Target, Wire};
use serde_json::Value;

/// Exchanges that are not whole answers, with the reason. The list only shrinks.
const EXCEPTIONS: [(&str, &str); 1] =
    [("azure-openai_chat-b-9e4e8d051a5d", "a test's data: an error body under a 200")];

struct Exchange {
    id: String,
    wire: Wire,
    operation: Operation,
    request: Option<String>,
    status: u64,
    streamed: bool,
    body: String,
}

fn exchanges() -> Option<Vec<Exchange>> {
    #[expect(clippy::disallowed_methods, reason = "a test's switch")]
    let Ok(folder) = std::env::var("FEATHERGATE_RECORDINGS") else {
        return None;
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let exchange: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let (wire, operation) = match exchange["api"].as_str()? {
            "openai.chat" => (Wire::OpenAiChat, Operation::Generate),
            "anthropic.messages" => (Wire::AnthropicMessages, Operation::Generate),
            "anthropic.count_tokens" => (Wire::AnthropicMessages, Operation::CountTokens),
            _ => return None,
        };
        let response = &exchange["response"];
        let (streamed, body) = match response["body_encoding"].as_str()? {
            "sse" => (true, response["body"].as_str()?.to_owned()),
            "json" => (false, response["body"].to_string()),
            _ => return None,
        };
        let request = Some(&exchange["request"]["body"]).filter(|body| body.is_object()).map(Value::to_string);
        let status = response["status"].as_u64().unwrap_or(200);
        Some(Exchange { id: exchange["id"].as_str()?.to_owned(), wire, operation, request, status, streamed, body })
    };
    Some(paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).filter_map(read).collect())
}

fn prepare(exchange: &Exchange, body: &str, model: &str) -> Result<Prepared, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let envelope = wire::peek(exchange.wire, &body).map_err(|error| error.to_string())?;
    let target = Target { wire: exchange.wire, model, drop: &[], defaults: &[], ask_usage: false, answer_as: None };
    wire::prepare(&envelope, &body, exchange.operation, &target).map_err(|error| error.to_string())
}

#[test]
fn recorded_traffic_passes_through_unchanged() {
    let Some(exchanges) = exchanges() else {
        println!("replay: skipped, FEATHERGATE_RECORDINGS is not set");
        return;
    };
    let (mut requests, mut whole, mut streams, mut errors, mut failed) = (0, 0, 0, 0, 0);
    let mut excepted: Vec<String> = Vec::new();
    for exchange in &exchanges {
        if let Some(request) = &exchange.request
            && let Ok(Value::String(model)) = serde_json::from_str::<Value>(request).map(|body| body["model"].clone())
        {
            let same = prepare(exchange, request, &model).unwrap_or_else(|error| panic!("{}: {error}", exchange.id));
            assert_eq!(same.body, *request, "{}", exchange.id);
            let other = prepare(exchange, request, "some/other").unwrap();
            let (mut was, mut is): (Value, Value) =
                (serde_json::from_str(request).unwrap(), serde_json::from_slice(&other.body).unwrap());
            assert_eq!(is["model"], "some/other", "{}", exchange.id);
            (was["model"], is["model"]) = (Value::Null, Value::Null);
            assert_eq!(was, is, "{}", exchange.id);
            requests += 1;
        }
        let plan = wire::ReplyPlan::untouched(exchange.wire, exchange.operation);
        let body = Bytes::from(exchange.body.clone());
        if exchange.status >= 400 {
            let failure = plan.failure(u16::try_from(exchange.status).unwrap(), &body);
            assert!(!failure.message.is_empty(), "{}", exchange.id);
            errors += 1;
        } else if exchange.streamed {
            for size in [usize::MAX, 7] {
                let mut tap = plan.stream();
                let mut out = Vec::new();
                for chunk in exchange.body.as_bytes().chunks(size) {
                    out.extend_from_slice(&tap.push(Bytes::copy_from_slice(chunk)));
                }
                let tally = tap.finish(None);
                out.extend_from_slice(&tally.bytes);
                match tally.failure {
                    // The upstream says within the stream that it failed: before content that is a status.
                    Some(failure) if failure.kind != FailureKind::Cut => {
                        assert!(exchange.body.contains("error"), "{}: {failure:?}", exchange.id);
                        assert!(tally.told || out.is_empty(), "{}", exchange.id);
                        failed += 1;
                    }
                    Some(failure) => {
                        let known = EXCEPTIONS.iter().any(|(id, _)| *id == exchange.id);
                        assert!(known, "{}: {}", exchange.id, failure.message);
                        excepted.push(exchange.id.clone());
                        continue;
                    }
                    None => {}
                }
                assert!(
                    out.is_empty() || out == exchange.body.as_bytes(),
                    "{}: the stream came out changed",
                    exchange.id
                );
            }
            streams += 1;
        } else {
            match plan.whole(&body) {
                Ok(reply) => assert_eq!(reply.body, body, "{}", exchange.id),
                Err(failure) => {
                    let known = EXCEPTIONS.iter().any(|(id, _)| *id == exchange.id);
                    assert!(known, "{}: {}", exchange.id, failure.message);
                    excepted.push(exchange.id.clone());
                }
            }
            whole += 1;
        }
    }
    println!("replay: {requests} requests, {whole} answers, {streams} streams, {errors} errors unchanged");
    println!("replay: {} streams report a failure of their own", failed / 2);
    for (id, reason) in EXCEPTIONS {
        assert!(excepted.iter().any(|seen| seen == id), "{id} is no exception any more: take it off the list");
        println!("replay: exception {id}: {reason}");
    }
    assert!(requests > 100 && streams > 100, "the folder holds too little");
}
