//! The judges on streams that are wrong: each has one fault, and each judge has to see it.

use crate::exchange::{Frame, frames};
use crate::openai::Whose;
use crate::{anthropic, openai};

fn bare(body: &str) -> Vec<Frame> {
    frames(body).into_iter().map(|(_, frame)| frame).collect()
}

/// A good stream of chunks, as we write it.
const CHUNKS: [&str; 8] = [
    r#"{"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}"#,
    r#"{"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}"#,
    r#"{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}"#,
    r#"{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]},"finish_reason":null}"#,
    r#"{"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}"#,
    r#"{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]},"finish_reason":null}"#,
    r#"{"delta":{},"logprobs":null,"finish_reason":"tool_calls"}"#,
    "usage",
];

fn chunks(lines: &[&str], usage: &str) -> Vec<Frame> {
    let head = r#""id":"c","object":"chat.completion.chunk","created":1,"model":"m""#;
    let mut out = String::new();
    for line in lines {
        let event = match *line {
            "done" => "[DONE]".to_owned(),
            "usage" => format!("{{{head},\"choices\":[],\"usage\":{usage}}}"),
            other => format!("{{{head},\"choices\":[{{\"index\":0,{}],\"usage\":null}}", &other[1..]),
        };
        out.extend([format!("data: {event}\n\n")]);
    }
    bare(&out)
}

const COUNTS: &str = r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;

#[test]
fn the_judge_of_chunks_sees_every_fault() {
    let good: Vec<&str> = CHUNKS.iter().copied().chain(["done"]).collect();
    let judge = |lines: &[&str], usage| openai::grammar(&chunks(lines, usage), Whose::Ours { usage: true });
    assert_eq!(judge(&good, COUNTS), Vec::<String>::new());
    for at in 0..good.len() {
        // Without the text it is good as well, and without usage, and without the second call's arguments but for those.
        if at == 1 || at == 7 {
            continue;
        }
        let mut without = good.clone();
        without.remove(at);
        assert_ne!(judge(&without, COUNTS), Vec::<String>::new(), "without {}", good[at]);
        let mut twice = good.clone();
        twice.insert(at, good[at]);
        assert_ne!(judge(&twice, COUNTS), Vec::<String>::new(), "twice {}", good[at]);
    }
    let swaps = [
        (6, r#"{"delta":{},"finish_reason":"stop"}"#),
        (6, r#"{"delta":{"content":"late"},"finish_reason":"tool_calls"}"#),
        (1, r#"{"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}"#),
        (1, r#"{"delta":{},"finish_reason":null}"#),
        (1, r#"{"delta":{"content":""},"finish_reason":null}"#),
        (3, r#"{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{}"}}]},"finish_reason":null}"#),
        (3, r#"{"delta":{"tool_calls":[{"index":2,"function":{"arguments":"{}"}}]},"finish_reason":null}"#),
        (3, r#"{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]},"finish_reason":null}"#),
        (3, r#"{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"[]"}}]},"finish_reason":null}"#),
    ];
    for (at, line) in swaps {
        let mut lines = good.clone();
        lines[at] = line;
        assert_ne!(judge(&lines, COUNTS), Vec::<String>::new(), "{line}");
    }
    for usage in [
        r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":6}"#,
        r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}"#,
        r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":3}}"#,
    ] {
        assert_ne!(judge(&good, usage), Vec::<String>::new(), "{usage}");
    }
}

const EVENTS: [&str; 12] = [
    r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hello"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    r#"{"type":"content_block_stop","index":2}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}"#,
    r#"{"type":"message_stop"}"#,
];

fn events(lines: &[&str]) -> Vec<Frame> {
    let event = |line: &&str| format!("event: {}\ndata: {line}\n\n", line.split('"').nth(3).unwrap());
    bare(&lines.iter().map(event).collect::<Vec<String>>().concat())
}

#[test]
fn the_judge_of_events_sees_every_fault() {
    let judge = |lines: &[&str]| anthropic::grammar(&events(lines), true);
    assert_eq!(judge(&EVENTS), Vec::<String>::new());
    for (at, line) in EVENTS.iter().enumerate() {
        // A thinking block may be empty, and a call without arguments; more text is no fault.
        let mut without = EVENTS.to_vec();
        without.remove(at);
        assert_eq!(judge(&without).is_empty(), [2, 8].contains(&at), "without {line}");
        let mut twice = EVENTS.to_vec();
        twice.insert(at, line);
        assert_eq!(judge(&twice).is_empty(), [2, 5].contains(&at), "twice {line}");
        if at > 0 {
            let mut swapped = EVENTS.to_vec();
            swapped.swap(at - 1, at);
            assert_ne!(judge(&swapped), Vec::<String>::new(), "too early {line}");
        }
    }
    let swaps = [
        (5, r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#),
        (5, r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#),
        (8, r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{"}}"#),
        (
            7,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a:b","name":"f","input":{}}}"#,
        ),
        (
            7,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        ),
        (11, r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#),
    ];
    for (at, line) in swaps {
        let mut lines = EVENTS.to_vec();
        lines[at] = line;
        assert_ne!(judge(&lines), Vec::<String>::new(), "{line}");
    }
    let mut ended = EVENTS.to_vec();
    let end = EVENTS[10].replace("tool_use", "end_turn");
    ended[10] = &end;
    assert_ne!(judge(&ended), Vec::<String>::new());
}
