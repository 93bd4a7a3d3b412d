//! Recorded traffic of the providers through the whole conversion.
//!
//! Reads the folder that `FEATHERGATE_RECORDINGS` names (`.ci/run` sets it); says so and does nothing where that is unset.
//! Requests that were converted are written to the folder of `FEATHERGATE_REPLAY_OUT`, for `tests/validate/validate.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

#[path = "replay/answers.rs"]
mod answers;
#[path = "replay/anthropic.rs"]
mod anthropic;
#[path = "replay/bad.rs"]
mod bad;
#[path = "replay/echo.rs"]
mod echo;
#[path = "replay/exchange.rs"]
mod exchange;
#[path = "replay/gemini.rs"]
mod gemini;
#[path = "replay/history.rs"]
mod history;
#[path = "replay/json.rs"]
mod json;
#[path = "replay/openai.rs"]
mod openai;
#[path = "replay/passthrough.rs"]
mod passthrough;
#[path = "replay/report.rs"]
mod report;
#[path = "replay/requests.rs"]
mod requests;
#[path = "replay/said.rs"]
mod said;
#[path = "replay/seals.rs"]
mod seals;
#[path = "replay/silent.rs"]
mod silent;
#[path = "replay/sound.rs"]
mod sound;

use report::{Exception, Report};

const PASSED: [Exception; 1] = [Exception {
    id: "azure-openai_chat-b-9e4e8d051a5d",
    pair: "openai whole",
    fault: "fails",
    reason: "a test's data: an error body under a 200",
}];

/// What a judge refuses although it was recorded at the vendor.
const JUDGED: [Exception; 8] = [
    judged("anthropic-anthropic_messages-b-3b09123853a6", "calls made by code that the vendor ran, under end_turn"),
    judged("anthropic-anthropic_messages-s-058a49c1beaa", "two answers in one recording"),
    judged("anthropic-anthropic_messages-s-2a15aec808b3", "two answers and more in one recording"),
    judged("anthropic-anthropic_messages-s-571e8eac740c", "OpenRouter: ends with [DONE]"),
    judged("openai-openai_chat-s-186e7143de35", "OpenRouter: role on every chunk, arguments null"),
    judged("openai-openai_chat-s-84768deeabb8", "the moderation's chunk stands behind the usage"),
    judged("openai-openai_chat-s-abee66d8078c", "OpenRouter: role on every chunk, no finish"),
    judged("openai-openai_chat-s-d927cbf40145", "OpenRouter: role on every chunk"),
];

const fn judged(id: &'static str, reason: &'static str) -> Exception {
    Exception { id, pair: "", fault: "", reason }
}

const ANSWERED: [Exception; 1] = [Exception {
    id: "openrouter-openai_chat-s-6f606651c773",
    pair: "openai > ",
    fault: "arguments are no",
    reason: "the token limit cut the arguments, and the upstream calls that `tool_calls`",
}];

const ASKED: [Exception; 0] = [];

const SEALED: [Exception; 0] = [];

#[test]
fn one_wire_passes_through_unchanged() {
    let Some(exchanges) = exchange::all() else { return };
    let mut report = Report::default();
    passthrough::run(&exchanges, &mut report);
    report.settle("one wire in and out", &PASSED, false);
}

#[test]
fn the_judges_accept_what_the_vendors_write() {
    let Some(exchanges) = exchange::all() else { return };
    let mut report = Report::default();
    answers::judges(&exchanges, &mut report);
    report.settle("the judges, on what the vendors write", &JUDGED, true);
}

#[test]
fn every_recorded_answer_reaches_both_clients() {
    let Some(exchanges) = exchange::all() else { return };
    let mut report = Report::default();
    answers::run(&exchanges, &mut report);
    report.settle("answers: from the upstream's wire to the client's", &ANSWERED, false);
}

#[test]
fn every_recorded_request_is_prepared_for_every_upstream() {
    let Some(exchanges) = exchange::all() else { return };
    let mut report = Report::default();
    requests::run(&exchanges, &mut report);
    report.settle("requests: from the client's wire to the upstream's", &ASKED, false);
}

#[test]
fn opaque_state_returns_to_its_vendor_unchanged() {
    let Some(exchanges) = exchange::all() else { return };
    let mut report = Report::default();
    seals::run(&exchanges, &mut report);
    report.settle("opaque state: to a client of another wire and back", &SEALED, false);
}
