//! What becomes of each feature of a request between unlike wires, by table. README.md shows the same table; this test fails when
//! it is not current, and writes it when `FEATHERGATE_WRITE` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "a test talks to its reader")]

use std::fs;

use bytes::Bytes;
use feathergate::wire::profile::Profile;
use feathergate::wire::{self, OnLoss, Operation, Target, Wire};

/// What an upstream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// The same meaning, and this text in its request.
    Kept(&'static str),
    /// This text, and nothing of the feature: bookkeeping that means nothing there, which is not reported.
    Silent(&'static str),
    /// This text, which is near to it, and the loss of this field is reported.
    Near(&'static str, &'static str),
    /// Nothing of it; the loss of this field is reported.
    Reported(&'static str),
    /// A 400 that names this field.
    Refused(&'static str),
}
use Cell::{Kept, Near, Refused, Reported, Silent};

struct Row {
    feature: &'static str,
    /// Fields of the request beside `model`; `messages` may be among them.
    fields: &'static str,
    /// For the two other wires, in the order of the heads.
    cells: [Cell; 2],
}

const fn row(feature: &'static str, fields: &'static str, cells: [Cell; 2]) -> Row {
    Row { feature, fields, cells }
}

#[path = "fidelity/rows.rs"]
mod rows;

const MODELS: [(Wire, &str, &str); 3] = [
    (Wire::OpenAiChat, "openai", "gpt-5.5"),
    (Wire::AnthropicMessages, "anthropic", "claude-opus-5"),
    (Wire::Gemini, "gemini", "gemini-3.5-flash"),
];

fn outcome(client: Wire, fields: &str, to: Wire, on_loss: OnLoss) -> Result<(String, Vec<String>), String> {
    let messages = if fields.contains("\"messages\"") { "" } else { r#","messages":[{"role":"user","content":"hi"}]"# };
    let limit = if client == Wire::AnthropicMessages && !fields.contains("\"max_tokens\"") {
        r#","max_tokens":4096"#
    } else {
        ""
    };
    let comma = if fields.is_empty() { "" } else { "," };
    let body = Bytes::from(format!(r#"{{"model":"m"{messages}{limit}{comma}{fields}}}"#));
    let envelope = wire::peek(client, &body).unwrap_or_else(|error| panic!("{body:?}: {error}"));
    let (_, vendor, model) = MODELS.into_iter().find(|(wire, ..)| *wire == to).unwrap();
    let profile = Profile::find(to, vendor, model);
    let target = Target {
        wire: to,
        model,
        profile: &profile,
        drop: &[],
        defaults: &[],
        ask_usage: true,
        answer_as: None,
        on_loss,
    };
    match wire::prepare(&envelope, &body, Operation::Generate, &target) {
        Ok(prepared) => {
            let losses = prepared.losses.iter().map(|loss| loss.field.to_string()).collect();
            Ok((String::from_utf8(prepared.body.to_vec()).unwrap(), losses))
        }
        Err(wire::ConvertError::Unsendable(error)) => Err(error.field),
        Err(error) => panic!("{body:?}: {error}"),
    }
}

fn holds(cell: Cell, got: &Result<(String, Vec<String>), String>) -> bool {
    match (cell, got) {
        (Kept(text) | Silent(text), Ok((body, losses))) => losses.is_empty() && body.contains(text),
        (Near(text, field), Ok((body, losses))) => *losses == [field] && body.contains(text),
        (Reported(field), Ok((_, losses))) => *losses == [field],
        (Refused(field), Err(refused)) => refused == field,
        _ => false,
    }
}

fn shown(cell: Cell) -> &'static str {
    match cell {
        Kept(_) => "kept",
        Silent(_) => "taken out",
        Near(..) => "near, reported",
        Reported(_) => "left out, reported",
        Refused(_) => "400",
    }
}

fn table(client: Wire, rows: &[Row], wrong: &mut Vec<String>) -> String {
    let others: Vec<Wire> = Wire::ALL.into_iter().filter(|wire| *wire != client).collect();
    let name = |wire: Wire| wire.title().split(' ').next().unwrap();
    let mut out =
        format!("| {} client | to {} | to {} |\n| --- | --- | --- |\n", name(client), name(others[0]), name(others[1]));
    for row in rows {
        for (to, cell) in others.iter().zip(row.cells) {
            let got = outcome(client, row.fields, *to, OnLoss::Report);
            if !holds(cell, &got) {
                wrong.push(format!("{} → {}: {}: {cell:?}, but {got:?}", name(client), name(*to), row.feature));
            }
            // The strict mode refuses what is reported, the lenient one refuses nothing.
            let strict = outcome(client, row.fields, *to, OnLoss::Reject);
            let lenient = outcome(client, row.fields, *to, OnLoss::Lenient);
            if strict.is_ok() != matches!(cell, Kept(_) | Silent(_)) || lenient.is_err() {
                wrong.push(format!(
                    "{} → {}: {}: strict {strict:?}, lenient {lenient:?}",
                    name(client),
                    name(*to),
                    row.feature
                ));
            }
        }
        let line = format!("| {} | {} | {} |\n", row.feature, shown(row.cells[0]), shown(row.cells[1]));
        out.push_str(&line);
    }
    out
}

#[test]
fn the_table_in_the_readme_is_what_happens() {
    const BEGIN: &str = "<!-- fidelity: written by tests/fidelity.rs -->\n";
    const END: &str = "<!-- fidelity: end -->";
    let mut wrong = Vec::new();
    let tables = format!(
        "\n{}\n{}\n",
        table(Wire::OpenAiChat, rows::OPENAI, &mut wrong),
        table(Wire::AnthropicMessages, rows::ANTHROPIC, &mut wrong)
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (old, after) = rest.split_once(END).expect("the table has an end");
    #[expect(clippy::disallowed_methods, reason = "a test's switch")]
    if std::env::var("FEATHERGATE_WRITE").is_ok() {
        fs::write(path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(old, tables, "README.md is not current: run this test with FEATHERGATE_WRITE=1");
}
