//! Made-up answers for `mock_response`: a given text in either dialect, whole or as a stream, with usage.

use bytes::Bytes;
use serde_json::json;

use super::Wire;

/// What a made-up answer holds.
#[derive(Clone, Copy, Debug)]
pub struct Mock<'a> {
    /// The answer's id, without the dialect's prefix.
    pub id: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
    /// Unix seconds.
    pub created: u64,
    /// The length of the request's body in bytes, from which the input tokens are guessed.
    pub request_bytes: usize,
}

/// Characters per token in English text, roughly: a mock has no tokenizer.
const TOKEN: usize = 4;

impl Mock<'_> {
    fn tokens(&self) -> (usize, usize) {
        (self.request_bytes.div_ceil(TOKEN).max(1), self.text.chars().count().div_ceil(TOKEN).max(1))
    }

    fn openai_usage(&self) -> serde_json::Value {
        let (input, output) = self.tokens();
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    /// The whole answer.
    #[must_use]
    pub fn whole(&self, wire: Wire) -> Bytes {
        let (input, output) = self.tokens();
        let body = match wire {
            Wire::OpenAiChat | Wire::Gemini => json!({
                "id": format!("chatcmpl-{}", self.id), "object": "chat.completion", "created": self.created,
                "model": self.model, "usage": self.openai_usage(),
                "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                             "message": {"role": "assistant", "content": self.text, "refusal": null}}],
            }),
            Wire::AnthropicMessages => json!({
                "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
                "content": [{"type": "text", "text": self.text}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": input, "output_tokens": output},
            }),
        };
        Bytes::from(body.to_string())
    }

    /// A token count.
    #[must_use]
    pub fn count(&self) -> Bytes {
        Bytes::from(json!({"input_tokens": self.tokens().0}).to_string())
    }

    /// The answer as a stream, an event an item, a word at a time.
    #[must_use]
    pub fn stream(&self, wire: Wire) -> Vec<Bytes> {
        match wire {
            Wire::OpenAiChat | Wire::Gemini => self.openai_stream(),
            Wire::AnthropicMessages => self.anthropic_stream(),
        }
    }

    fn openai_stream(&self) -> Vec<Bytes> {
        let chunk = |choices: serde_json::Value, usage: serde_json::Value| {
            let body = json!({
                "id": format!("chatcmpl-{}", self.id), "object": "chat.completion.chunk", "created": self.created,
                "model": self.model, "choices": choices, "usage": usage,
            });
            Bytes::from(format!("data: {body}\n\n"))
        };
        let delta = |delta: serde_json::Value, finish: Option<&str>| {
            let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
            chunk(choice, serde_json::Value::Null)
        };
        let mut out = vec![delta(json!({"role": "assistant", "content": ""}), None)];
        out.extend(self.text.split_inclusive(' ').map(|word| delta(json!({"content": word}), None)));
        out.push(delta(json!({}), Some("stop")));
        out.push(chunk(json!([]), self.openai_usage()));
        out.push(Bytes::from_static(b"data: [DONE]\n\n"));
        out
    }

    fn anthropic_stream(&self) -> Vec<Bytes> {
        let (input, output) = self.tokens();
        let event = |body: serde_json::Value| {
            let name = body.get("type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            Bytes::from(format!("event: {name}\ndata: {body}\n\n"))
        };
        let mut out = vec![
            event(json!({"type": "message_start", "message": {
                "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": input, "output_tokens": 1},
            }})),
            event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        ];
        out.extend(self.text.split_inclusive(' ').map(|word| {
            event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}))
        }));
        out.push(event(json!({"type": "content_block_stop", "index": 0})));
        out.push(event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                              "usage": {"output_tokens": output}})));
        out.push(event(json!({"type": "message_stop"})));
        out
    }
}
