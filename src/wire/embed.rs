//! Embeddings: `OpenAI`'s `/v1/embeddings` for upstreams that speak another wire.
//!
//! ```
//! # use feathergate::wire::{OnLoss, Wire, embed};
//! # use bytes::Bytes;
//! let body = br#"{"model":"small","input":["a","b"]}"#;
//! let request = embed::decode(body)?; // `request.model` is what routing needs
//! let prepared = embed::prepare(&request, Wire::Gemini, "gemini-embedding-001", Some("small"), OnLoss::Report)?;
//! // `prepared.body` goes to `…/models/gemini-embedding-001:batchEmbedContents`; what comes back:
//! let answer = Bytes::from_static(br#"{"embeddings":[{"values":[1,0]},{"values":[0,1]}]}"#);
//! let reply = prepared.reply.whole(&answer).map_err(|failure| failure.message).unwrap(); // or `.failure(status, &body)`
//! assert!(reply.body.starts_with(br#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1,0]}"#));
//! # Ok::<(), feathergate::wire::ConvertError>(())
//! ```
//!
//! An upstream on `OpenAI`'s wire gets the client's own bytes; nothing here is needed for it but [`decode`].

use bytes::Bytes;

use super::convert;
use super::envelope::{DecodeError, Fields};
use super::gemini;
use super::ir::{Failure, Usage};
use super::loss::{Loss, Losses, OnLoss, Unsendable};
use super::media;
use super::text::{Json, Str, Writer};
use super::{ConvertError, Reply, Wire};

/// A request in `OpenAI`'s words, borrowed from its body.
#[derive(Debug)]
pub struct Request<'a> {
    /// The model that the client names.
    pub model: Str<'a>,
    input: Json<'a>,
    dimensions: Option<u64>,
    base64: bool,
    /// What no other wire knows.
    others: Vec<String>,
}

/// A request as the upstream gets it.
#[derive(Debug)]
pub struct Prepared {
    /// The body.
    pub body: Bytes,
    /// What the upstream does not get as the client sent it.
    pub losses: Vec<Loss>,
    /// How to read the answer.
    pub reply: Plan,
}

/// How to read an upstream's answer to one prepared request.
#[derive(Clone, Debug)]
pub struct Plan {
    wire: Wire,
    model: String,
    count: usize,
    base64: bool,
    /// The vectors were cut to fewer dimensions, and have to be made unit vectors again.
    cut: bool,
    /// Tokens, guessed.
    estimate: u64,
}

fn wrong(field: &str, message: String) -> DecodeError {
    DecodeError { message, field: Some(field.to_owned()) }
}

/// Reads a request.
///
/// # Errors
/// One sentence for the sender where the body is no JSON object, has a field twice, or lacks `model` or `input`, and where a
/// field has the wrong type. What `input` holds is judged when it has to be converted.
pub fn decode(body: &[u8]) -> Result<Request<'_>, DecodeError> {
    let text = std::str::from_utf8(body).ok();
    let fields = text.ok_or_else(|| "the body is not valid UTF-8".to_owned()).and_then(|text| {
        serde_json::from_str::<Fields<'_>>(text).map_err(|error| format!("the body cannot be read: {error}"))
    });
    let fields = fields.map_err(|message| DecodeError { message, field: None })?;
    let mut request = Request {
        model: Str::default(),
        input: Json::trusted("null"),
        dimensions: None,
        base64: false,
        others: Vec::new(),
    };
    for (name, value) in fields.pairs() {
        match name {
            "model" => request.model = serde_json::from_str(value).unwrap_or_default(),
            "input" => request.input = Json::trusted(value),
            _ if value == "null" => {}
            "dimensions" => {
                let dimensions = value.parse().ok().filter(|dimensions| *dimensions > 0);
                let Some(dimensions) = dimensions else {
                    return Err(wrong("dimensions", "`dimensions` must be a positive integer".to_owned()));
                };
                request.dimensions = Some(dimensions);
            }
            "encoding_format" => match value {
                "\"float\"" => {}
                "\"base64\"" => request.base64 = true,
                _ => return Err(wrong(name, "`encoding_format` must be `float` or `base64`".to_owned())),
            },
            other => request.others.push(other.to_owned()),
        }
    }
    if request.model.is_empty() {
        return Err(wrong("model", "`model` is missing; it must be a string, the name of a model".to_owned()));
    }
    if request.input.is_null() {
        return Err(wrong("input", "`input` is missing; it must be a string or an array of strings".to_owned()));
    }
    Ok(request)
}

/// Makes the upstream's request. `model` is the model's name there; `answer_as` is the name that the answer gives, if not that.
///
/// # Errors
/// [`ConvertError`], for the client.
pub fn prepare(
    request: &Request<'_>,
    to: Wire,
    model: &str,
    answer_as: Option<&str>,
    on_loss: OnLoss,
) -> Result<Prepared, ConvertError> {
    if to != Wire::Gemini {
        let message = format!("{} has no embeddings", to.title());
        return Err(Unsendable { message, field: "model".to_owned() }.into());
    }
    let texts = texts(&request.input)?;
    let mut losses = Losses::new(on_loss);
    for field in &request.others {
        losses.setting(field.clone(), "Gemini has no such setting");
    }
    let body = gemini::embed::encode(&texts, model, request.dimensions);
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let reply = Plan {
        wire: to,
        model: answer_as.unwrap_or(model).to_owned(),
        count: texts.len(),
        base64: request.base64,
        cut: request.dimensions.is_some(),
        estimate: u64::try_from(characters.div_ceil(4)).unwrap_or(u64::MAX),
    };
    Ok(Prepared { body: Bytes::from(body), losses: losses.settle()?, reply })
}

fn texts<'t>(input: &'t Json<'_>) -> Result<Vec<Str<'t>>, DecodeError> {
    if let Some(text) = input.as_string() {
        return Ok(vec![text]);
    }
    match serde_json::from_str::<Vec<Str<'_>>>(input.get()) {
        Ok(texts) if texts.is_empty() => Err(wrong("input", "`input` is empty".to_owned())),
        Ok(texts) => Ok(texts),
        Err(_) => Err(wrong(
            "input",
            "`input` must be a string or an array of strings here: tokens mean something else to every model"
                .to_owned(),
        )),
    }
}

impl Plan {
    /// Reads an answer that came with a success status.
    ///
    /// # Errors
    /// The failure, where the body is in truth an error object, or is none that can be read.
    pub fn whole(&self, body: &Bytes) -> Result<Reply, Box<Failure>> {
        let vectors = gemini::embed::decode(body, self.count).map_err(Box::new)?;
        let mut out = Writer::with_capacity(body.len() + 256);
        out.open('{').key("object").string("list").key("data").open('[');
        for (index, values) in vectors.values.into_iter().enumerate() {
            out.open('{').key("object").string("embedding").key("index").plain(index).key("embedding");
            self.vector(values, &mut out)?;
            out.close('}');
        }
        let tokens = vectors.tokens.unwrap_or(self.estimate);
        out.close(']').key("model").string(&self.model).key("usage").open('{');
        out.key("prompt_tokens").plain(tokens).key("total_tokens").plain(tokens).close('}').close('}');
        let usage = Usage { input: vectors.tokens, ..Usage::default() };
        Ok(Reply { body: Bytes::from(out.into_bytes()), usage })
    }

    fn vector(&self, values: Json<'_>, out: &mut Writer) -> Result<(), Box<Failure>> {
        if !self.base64 && !self.cut {
            out.raw(values.compact().get());
            return Ok(());
        }
        let Ok(mut numbers) = serde_json::from_str::<Vec<f32>>(values.get()) else {
            return Err(Box::new(Failure::cut("the upstream's vectors cannot be read")));
        };
        if self.cut {
            let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                for number in &mut numbers {
                    #[expect(clippy::cast_possible_truncation, reason = "a vector's numbers have 32 bits")]
                    let unit = (f64::from(*number) / length) as f32;
                    *number = unit;
                }
            }
        }
        if self.base64 {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            out.string(&media::encoded(&bytes));
        } else {
            out.open('[');
            for number in numbers {
                out.plain(if number.is_finite() { number } else { 0.0 });
            }
            out.close(']');
        }
        Ok(())
    }

    /// Reads an answer that came with a failure status.
    #[must_use]
    pub fn failure(&self, status: u16, body: &Bytes) -> Failure {
        let mut failure = convert::outbound(self.wire).failure(status, body);
        failure.body = None;
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailureKind;

    fn prepared(fields: &str) -> Result<Prepared, ConvertError> {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let request = decode(body.as_bytes())?;
        prepare(&request, Wire::Gemini, "gemini-embedding-001", Some("m"), OnLoss::Report)
    }

    fn whole(fields: &str, answer: &'static str) -> Result<(String, Option<u64>), Box<Failure>> {
        let reply = prepared(fields).unwrap().reply.whole(&Bytes::from_static(answer.as_bytes()))?;
        Ok((String::from_utf8(reply.body.to_vec()).unwrap(), reply.usage.input))
    }

    #[test]
    fn requests() {
        let entry = |text: &str, rest: &str| {
            format!(r#"{{"model":"models/gemini-embedding-001","content":{{"parts":[{{"text":"{text}"}}]}}{rest}}}"#)
        };
        let cases = [
            (r#""input":"a\nü""#, vec![entry("a\\nü", "")], ""),
            (r#""input":["a","b"],"encoding_format":null"#, vec![entry("a", ""), entry("b", "")], ""),
            (
                r#""input":"a","dimensions":256,"user":"u","x":1,"encoding_format":"base64""#,
                vec![entry("a", r#","outputDimensionality":256"#)],
                "user x",
            ),
        ];
        for (fields, entries, losses) in cases {
            let got = prepared(fields).unwrap();
            assert_eq!(got.body, format!(r#"{{"requests":[{}]}}"#, entries.join(",")));
            let lost: Vec<&str> = got.losses.iter().map(|loss| &*loss.field).collect();
            assert_eq!(lost.join(" "), losses);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, field) in [
            (r#""input":[1,2]"#, "input"),
            (r#""input":[[1],[2]]"#, "input"),
            (r#""input":[]"#, "input"),
            (r#""input":{}"#, "input"),
            (r#""input":null"#, "input"),
            (r#""x":1"#, "input"),
            (r#""input":"a","dimensions":0"#, "dimensions"),
            (r#""input":"a","dimensions":"1""#, "dimensions"),
            (r#""input":"a","encoding_format":"int8""#, "encoding_format"),
        ] {
            let Err(ConvertError::Decode(error)) = prepared(fields) else { panic!("{fields}") };
            assert_eq!(error.field.as_deref(), Some(field), "{fields}");
        }
        for body in [
            r#"{"input":"a"}"#,
            r#"{"model":3,"input":"a"}"#,
            r#"{"model":"a","model":"b","input":"a"}"#,
            "[]",
            "\u{1}",
        ] {
            assert!(decode(body.as_bytes()).is_err(), "{body}");
        }
        assert!(decode(b"\xff").is_err());
        let request = decode(br#"{"model":"m","input":"a"}"#).unwrap();
        let anthropic = prepare(&request, Wire::AnthropicMessages, "x", None, OnLoss::Lenient);
        assert!(matches!(anthropic, Err(ConvertError::Unsendable(_))));
    }

    #[test]
    fn answers() {
        let one =
            r#"{"embeddings":[{"values":[0.6, -0.80]},{"values":[1e-9,2]}],"usageMetadata":{"promptTokenCount":5}}"#;
        let (body, input) = whole(r#""input":["a","b"]"#, one).unwrap();
        assert_eq!(
            body,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,-0.80]},{"object":"embedding","index":1,"embedding":[1e-9,2]}],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}"#
        );
        assert_eq!(input, Some(5));
        // Without a count the client gets a guess, and our accounts nothing.
        let (body, input) = whole(r#""input":"nine char""#, r#"{"embedding":{"values":[1]}}"#).unwrap();
        assert!(body.ends_with(r#""usage":{"prompt_tokens":3,"total_tokens":3}}"#), "{body}");
        assert_eq!(input, None);
    }

    #[test]
    fn vectors_that_were_cut_are_unit_vectors_again() {
        let of = |fields: &str, answer| {
            let (body, _) = whole(&format!(r#""input":"a",{fields}"#), answer).unwrap();
            body.split_once(r#""embedding":"#).unwrap().1.split_once("}]").unwrap().0.to_owned()
        };
        let vector = r#"{"embeddings":[{"values":[3,4]}]}"#;
        assert_eq!(of(r#""dimensions":2"#, vector), "[0.6,0.8]");
        assert_eq!(of(r#""user":"u""#, vector), "[3,4]");
        assert_eq!(of(r#""dimensions":2"#, r#"{"embeddings":[{"values":[0,0]}]}"#), "[0,0]");
        assert_eq!(of(r#""dimensions":1"#, r#"{"embeddings":[{"values":[1e99]}]}"#), "[0]");
        let bytes = [3f32.to_le_bytes(), 4f32.to_le_bytes()].concat();
        assert_eq!(of(r#""encoding_format":"base64""#, vector), format!("\"{}\"", media::encoded(&bytes)));
    }

    #[test]
    fn failures() {
        for (answer, kind) in [
            (r#"{"embeddings":[]}"#, FailureKind::Server),
            (r#"{"embeddings":[{"values":[1]},{"values":[1]}]}"#, FailureKind::Server),
            ("<html>", FailureKind::Server),
            (r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#, FailureKind::RateLimited),
        ] {
            assert_eq!(whole(r#""input":"a""#, answer).unwrap_err().kind, kind, "{answer}");
        }
        assert!(whole(r#""input":"a","dimensions":1"#, r#"{"embeddings":[{"values":["x"]}]}"#).is_err());
        let error = Bytes::from_static(br#"{"error":{"message":"m","status":"NOT_FOUND"}}"#);
        let failure = prepared(r#""input":"a""#).unwrap().reply.failure(404, &error);
        assert_eq!((failure.kind, failure.message.as_str(), failure.body), (FailureKind::NotFound, "m", None));
    }
}
