//! Log probabilities in `OpenAI`'s words.

use crate::wire::fields::fields;
use crate::wire::text::{Json, Str, Writer};

#[derive(Default)]
struct Logprobs<'a> {
    chosen_candidates: Option<Vec<Token<'a>>>,
    top_candidates: Option<Vec<Top<'a>>>,
}
fields!(Logprobs<'a> {
    chosen_candidates = "chosenCandidates" | "chosen_candidates", top_candidates = "topCandidates" | "top_candidates",
});

#[derive(Default)]
struct Top<'a> {
    candidates: Option<Vec<Token<'a>>>,
}
fields!(Top<'a> { candidates });

#[derive(Default)]
struct Token<'a> {
    token: Option<Str<'a>>,
    log_probability: Option<Json<'a>>,
}
fields!(Token<'a> { token, log_probability = "logProbability" | "log_probability" });

/// A `logprobsResult` as a JSON array of `OpenAI`'s `logprobs.content` entries; `None` where it holds none.
pub(super) fn read(result: &str) -> Option<String> {
    let logprobs: Logprobs<'_> = serde_json::from_str(result).ok()?;
    let chosen = logprobs.chosen_candidates.filter(|chosen| !chosen.is_empty())?;
    let mut tops = logprobs.top_candidates.unwrap_or_default().into_iter();
    let mut out = Writer::default();
    out.open('[');
    for token in &chosen {
        out.open('{');
        write(token, &mut out);
        out.key("top_logprobs").open('[');
        for other in tops.next().and_then(|top| top.candidates).into_iter().flatten() {
            out.open('{');
            write(&other, &mut out);
            out.close('}');
        }
        out.close(']').close('}');
    }
    out.close(']');
    String::from_utf8(out.into_bytes()).ok()
}

fn write(token: &Token<'_>, out: &mut Writer) {
    let text = token.token.as_deref().unwrap_or_default();
    out.key("token").string(text);
    // Proto JSON leaves 0 out and writes infinity as a word; OpenAI says -9999 where a token is out of the question.
    let probability = match &token.log_probability {
        None => "0",
        Some(json) if json.get().parse().is_ok_and(f64::is_finite) => json.get(),
        Some(_) => "-9999",
    };
    out.key("logprob").raw(probability);
    out.key("bytes").open('[');
    for byte in text.bytes() {
        out.plain(byte);
    }
    out.close(']');
}
