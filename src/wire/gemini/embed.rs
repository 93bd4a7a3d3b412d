//! `batchEmbedContents`.

use super::error;
use super::types::Loose;
use crate::wire::fields::{fields, read_json};
use crate::wire::ir::{Failure, FailureKind};
use crate::wire::text::{Json, Str, Writer};

/// Writes a request: an entry for each text, each with the model in it (Gemini API reference, "embeddings", 2026-08).
pub(in crate::wire) fn encode(texts: &[Str<'_>], model: &str, dimensions: Option<u64>) -> Vec<u8> {
    let slash = if model.contains('/') { "" } else { "models/" };
    let model = format!("{slash}{model}");
    let size: usize = texts.iter().map(|text| text.len() + model.len() + 96).sum();
    let mut out = Writer::with_capacity(size + 32);
    out.open('{').key("requests").open('[');
    for text in texts {
        out.open('{').key("model").string(&model);
        out.key("content").open('{').key("parts").open('[').open('{').key("text").string(text);
        out.close('}').close(']').close('}');
        if let Some(dimensions) = dimensions {
            out.key("outputDimensionality").plain(dimensions);
        }
        out.close('}');
    }
    out.close(']').close('}');
    out.into_bytes()
}

/// An answer.
#[derive(Debug)]
pub(in crate::wire) struct Vectors<'a> {
    /// A JSON array of numbers for each text.
    pub(in crate::wire) values: Vec<Json<'a>>,
    /// The tokens of all texts, where the upstream says so: the developer API did not until 2026.
    pub(in crate::wire) tokens: Option<u64>,
}

#[derive(Default)]
struct Answer<'a> {
    embeddings: Option<Vec<Embedding<'a>>>,
    /// `embedContent`'s one.
    embedding: Option<Embedding<'a>>,
    usage_metadata: Option<Counts<'a>>,
    error: Option<Json<'a>>,
}
fields!(Answer<'a> { embeddings, embedding, usage_metadata = "usageMetadata" | "usage_metadata", error });

#[derive(Default)]
struct Embedding<'a> {
    values: Option<Json<'a>>,
}
fields!(Embedding<'a> { values });

#[derive(Default)]
struct Counts<'a> {
    prompt_token_count: Loose<'a>,
}
fields!(Counts<'a> { prompt_token_count = "promptTokenCount" | "prompt_token_count" });

/// Reads an answer for `count` texts.
pub(in crate::wire) fn decode(body: &[u8], count: usize) -> Result<Vectors<'_>, Failure> {
    let unreadable = |what: &str| Failure::new(FailureKind::Server, 502, format!("the upstream's answer {what}"));
    let answer: Answer<'_> = read_json(body).map_err(|_| unreadable("cannot be read"))?;
    if let Some(error) = answer.error {
        return Err(error::decode_value(error.get()));
    }
    let all = answer.embeddings.into_iter().flatten().chain(answer.embedding);
    let values: Vec<Json<'_>> = all.filter_map(|embedding| embedding.values).collect();
    if values.len() != count {
        return Err(unreadable(&format!("holds {} vectors for {count} texts", values.len())));
    }
    Ok(Vectors { values, tokens: answer.usage_metadata.and_then(|counts| counts.prompt_token_count.count()) })
}
