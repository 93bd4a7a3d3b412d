//! The rows: a feature, the fields that ask for it, and what each upstream gets.

use super::Cell::{Kept, Near, Refused, Reported, Silent};
use super::{Row, row};

/// An `OpenAI` client → Anthropic, → Gemini.
pub(crate) const OPENAI: &[Row] = &[
    row(
        "system and developer messages",
        r#""messages":[{"role":"system","content":"be brief"},{"role":"developer","content":"be kind"},{"role":"user","content":"hi"}]"#,
        [
            Kept(r#""system":[{"type":"text","text":"be brief"},{"type":"text","text":"be kind"}]"#),
            Kept(r#""systemInstruction":{"parts":[{"text":"be brief"},{"text":"be kind"}]}"#),
        ],
    ),
    row(
        "system message in the middle",
        r#""messages":[{"role":"user","content":"hi"},{"role":"system","content":"now"}]"#,
        [Kept(r#"{"role":"system","content":[{"type":"text","text":"now"}]}"#), Kept(r"<system>\nnow\n</system>")],
    ),
    row(
        "image as data URL",
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8BQDwAEgAF/pooBPQAAAABJRU5ErkJggg=="}}]}]"#,
        [Kept(r#""media_type":"image/png""#), Kept(r#"{"inlineData":{"mimeType":"image/png""#)],
    ),
    row(
        "image by URL (the upstream fetches it)",
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]"#,
        [Kept(r#""source":{"type":"url","url":"https://h/a.png"}"#), Kept(r#""fileUri":"https://h/a.png""#)],
    ),
    row(
        "PDF",
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjQ="}}]}]"#,
        [Kept(r#""type":"document""#), Kept(r#""mimeType":"application/pdf""#)],
    ),
    row(
        "sound",
        r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"UklGRgAAAABXQVZF"}}]}]"#,
        [Refused("messages[0].content[0]"), Kept(r#""mimeType":"audio/wav""#)],
    ),
    row(
        "a file by id",
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#,
        [Refused("messages[0].content[0]"), Refused("messages[0].content[0]")],
    ),
    row(
        "tools",
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}}}]"#,
        [
            Kept(
                r#"{"name":"f","description":"d","input_schema":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}}"#,
            ),
            Kept(
                r#""parametersJsonSchema":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}"#,
            ),
        ],
    ),
    row(
        "custom tools (free text)",
        r#""tools":[{"type":"custom","custom":{"name":"sql"}}]"#,
        [Kept(r#""name":"sql""#), Kept(r#""name":"sql""#)],
    ),
    row(
        "strict tools",
        r#""tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}]"#,
        [Kept(r#""strict":true"#), Kept(r#""mode":"VALIDATED""#)],
    ),
    row(
        "legacy `functions`, `function_call`",
        r#""functions":[{"name":"f","parameters":{"type":"object","properties":{}}}],"function_call":{"name":"f"}"#,
        [Kept(r#""tool_choice":{"type":"tool","name":"f"}"#), Kept(r#""allowedFunctionNames":["f"]"#)],
    ),
    row(
        "`tool_choice` with a name",
        r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}"#,
        [Kept(r#""tool_choice":{"type":"tool","name":"f"}"#), Kept(r#""allowedFunctionNames":["f"]"#)],
    ),
    row(
        "`tool_choice: required`",
        r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#,
        [Kept(r#""tool_choice":{"type":"any"}"#), Kept(r#""mode":"ANY""#)],
    ),
    row(
        "`tool_choice: none`",
        r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"tool_choice":"none""#,
        [Kept(r#""tool_choice":{"type":"none"}"#), Kept(r#""mode":"NONE""#)],
    ),
    row(
        "`tool_choice: allowed_tools`",
        r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
        [
            Kept(
                r#""tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any"}"#,
            ),
            Kept(r#""allowedFunctionNames":["f"]"#),
        ],
    ),
    row(
        "`parallel_tool_calls: false`",
        r#""tools":[{"type":"function","function":{"name":"f"}}],"parallel_tool_calls":false"#,
        [Kept(r#""disable_parallel_tool_use":true"#), Reported("parallel_tool_calls")],
    ),
    row(
        "parallel calls and their results",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"b\":1.0,\"a\":2}"}},{"id":"call_2","type":"function","function":{"name":"g","arguments":""}}]},{"role":"tool","tool_call_id":"call_2","content":"two"},{"role":"tool","tool_call_id":"call_1","content":"one"}],"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}]"#,
        [Kept(r#""input":{"b":1.0,"a":2}"#), Kept(r#""args":{"b":1.0,"a":2}"#)],
    ),
    row(
        "`response_format: json_schema`",
        r#""response_format":{"type":"json_schema","json_schema":{"name":"r","strict":true,"schema":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"],"additionalProperties":false}}}"#,
        [Kept(r#""output_config":{"format":{"type":"json_schema""#), Kept(r#""responseJsonSchema":{"type":"object""#)],
    ),
    row(
        "`response_format: json_object`",
        r#""response_format":{"type":"json_object"}"#,
        [Near("JSON", "response_format"), Kept(r#""responseMimeType":"application/json""#)],
    ),
    row(
        "`reasoning_effort`",
        r#""reasoning_effort":"high""#,
        [Kept(r#""effort":"high""#), Kept(r#""thinkingLevel":"high""#)],
    ),
    row(
        "history: signed thoughts of a Claude model",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":"k","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"EqQB","format":"anthropic-claude-v1","index":0}]},{"role":"user","content":"on"}]"#,
        [
            Kept(r#"{"type":"thinking","thinking":"hm","signature":"EqQB"}"#),
            Silent(r#"{"role":"model","parts":[{"text":"k"}]}"#),
        ],
    ),
    row(
        "history: signatures of a Gemini model",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"R0VN"}}}]},{"role":"tool","tool_call_id":"call_1","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]"#,
        [Silent(r#"[{"type":"tool_use","id":"call_1","name":"f","input":{}}]"#), Kept(r#""thoughtSignature":"R0VN""#)],
    ),
    row(
        "history: `reasoning_content` of another vendor",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":"k","reasoning_content":"secret thought"},{"role":"user","content":"on"}]"#,
        [Silent(r#""content":[{"type":"text","text":"k"}]"#), Silent(r#""parts":[{"text":"k"}]"#)],
    ),
    row(
        "`max_completion_tokens`",
        r#""max_completion_tokens":77"#,
        [Kept(r#""max_tokens":77"#), Kept(r#""maxOutputTokens":77"#)],
    ),
    row(
        "`temperature`, `top_p`: Claude Opus 4.7 and newer take none, older Claude does",
        r#""temperature":0.5"#,
        [Reported("temperature"), Kept(r#""temperature":0.5"#)],
    ),
    row("`stop`", r#""stop":["x","y"]"#, [Kept(r#""stop_sequences":["x","y"]"#), Kept(r#""stopSequences":["x","y"]"#)]),
    row(
        "`stop` with more texts than the upstream takes (Gemini: 5)",
        r#""stop":["1","2","3","4","5","6"]"#,
        [Kept(r#""stop_sequences":["1","2","3","4","5","6"]"#), Refused("stop")],
    ),
    row("`seed`", r#""seed":7"#, [Reported("seed"), Kept(r#""seed":7"#)]),
    row("penalties", r#""presence_penalty":0.5"#, [Reported("presence_penalty"), Reported("presence_penalty")]),
    row("`logit_bias`", r#""logit_bias":{"1":2}"#, [Reported("logit_bias"), Reported("logit_bias")]),
    row("`logprobs`", r#""logprobs":true,"top_logprobs":2"#, [Refused("logprobs"), Kept(r#""responseLogprobs":true"#)]),
    row("`n` above 1", r#""n":2"#, [Refused("n"), Refused("n")]),
    row("`user`", r#""user":"u1""#, [Kept(r#""metadata":{"user_id":"u1"}"#), Reported("user")]),
    row("`metadata`, `store`", r#""store":true"#, [Reported("store"), Reported("store")]),
    row(
        "`service_tier: priority`",
        r#""service_tier":"priority""#,
        [Kept(r#""service_tier":"auto""#), Kept(r#""serviceTier":"priority""#)],
    ),
    row(
        "`web_search_options`",
        r#""web_search_options":{}"#,
        [Kept("web_search_20250305"), Kept(r#"{"googleSearch":{}}"#)],
    ),
    row(
        "audio answers",
        r#""modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"}"#,
        [Refused("modalities"), Refused("modalities")],
    ),
    row(
        "an earlier answer in sound (`audio.id`)",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","audio":{"id":"audio_1"}},{"role":"user","content":"on"}]"#,
        [Refused("messages[1].content[0]"), Refused("messages[1].content[0]")],
    ),
    row(
        "cache marks (`cache_control`)",
        r#""messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]"#,
        [Kept(r#""cache_control":{"type":"ephemeral"}"#), Silent(r#"{"text":"hi"}"#)],
    ),
    row("a field that nobody knows", r#""bogus":1"#, [Reported("bogus"), Reported("bogus")]),
];

/// An Anthropic client → `OpenAI`, → Gemini.
pub(crate) const ANTHROPIC: &[Row] = &[
    row(
        "system blocks",
        r#""system":[{"type":"text","text":"be brief"},{"type":"text","text":"be kind"}]"#,
        [Kept(r#""role":"system""#), Kept(r#""systemInstruction":{"parts":[{"text":"be brief"},{"text":"be kind"}]}"#)],
    ),
    row(
        "system message in the middle",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":"go"},{"role":"system","content":"now"}]"#,
        [Kept(r#""content":"now""#), Kept(r"<system>")],
    ),
    row(
        "image, base64",
        r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8BQDwAEgAF/pooBPQAAAABJRU5ErkJggg=="}}]}]"#,
        [Kept(r#""url":"data:image/png;base64,"#), Kept(r#""mimeType":"image/png""#)],
    ),
    row(
        "image by URL (the upstream fetches it)",
        r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://h/a.png"}}]}]"#,
        [Kept(r#""image_url":{"url":"https://h/a.png""#), Kept(r#""fileUri":"https://h/a.png""#)],
    ),
    row(
        "PDF",
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLjQ="}}]}]"#,
        [Kept(r#""file_data":"data:application/pdf;base64,"#), Kept(r#""mimeType":"application/pdf""#)],
    ),
    row(
        "tools",
        r#""tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}}]"#,
        [
            Kept(r#""parameters":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}"#),
            Kept(
                r#""parametersJsonSchema":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}"#,
            ),
        ],
    ),
    row(
        "`disable_parallel_tool_use`",
        r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#,
        [Kept(r#""parallel_tool_calls":false"#), Reported("tool_choice.disable_parallel_tool_use")],
    ),
    row(
        "`tool_choice: none`",
        r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"none"}"#,
        [Kept(r#""tool_choice":"none""#), Kept(r#""mode":"NONE""#)],
    ),
    row(
        "`tool_choice: any`",
        r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}"#,
        [Kept(r#""tool_choice":"required""#), Kept(r#""mode":"ANY""#)],
    ),
    row(
        "`tool_choice` with a name",
        r#""tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"}"#,
        [Kept(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#), Kept(r#""allowedFunctionNames":["f"]"#)],
    ),
    row(
        "strict tools",
        r#""tools":[{"name":"f","strict":true,"input_schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}]"#,
        [Kept(r#""strict":true"#), Kept(r#""mode":"VALIDATED""#)],
    ),
    row(
        "failed tool result",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":"no"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}]"#,
        [Kept(r#""content":"Error: no""#), Kept(r#""response":{"error":"no"}"#)],
    ),
    row(
        "image in a tool result",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8BQDwAEgAF/pooBPQAAAABJRU5ErkJggg=="}}]}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}]"#,
        [Kept(r#""url":"data:image/png;base64,"#), Kept(r#""mimeType":"image/png""#)],
    ),
    row(
        "text documents",
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hello there"}}]}]"#,
        [Kept(r#""content":"hello there""#), Kept(r#"{"text":"hello there"}"#)],
    ),
    row(
        "their titles",
        r#""messages":[{"role":"user","content":[{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"hello there"}}]}]"#,
        [Reported("messages[0].content[0].title"), Reported("messages[0].content[0].title")],
    ),
    row(
        "PDF by URL",
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://h/a.pdf"}}]}]"#,
        [Refused("messages[0].content[0]"), Kept(r#""fileUri":"https://h/a.pdf""#)],
    ),
    row(
        "`citations` of documents",
        r#""messages":[{"role":"user","content":[{"type":"document","citations":{"enabled":true},"source":{"type":"text","media_type":"text/plain","data":"hello there"}}]}]"#,
        [Near("hello there", "citations"), Near("hello there", "citations")],
    ),
    row(
        "`search_result`",
        r#""messages":[{"role":"user","content":[{"type":"search_result","source":"https://s","title":"t","content":[{"type":"text","text":"found it"}]}]}]"#,
        [Kept("found it"), Kept("found it")],
    ),
    row(
        "a file by id",
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]"#,
        [Refused("messages[0].content[0]"), Refused("messages[0].content[0]")],
    ),
    row(
        "thinking budget",
        r#""max_tokens":20000,"thinking":{"type":"enabled","budget_tokens":10000}"#,
        [Kept(r#""reasoning_effort":"high""#), Kept(r#""thinkingLevel":"high""#)],
    ),
    row(
        "adaptive thinking with effort",
        r#""thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}"#,
        [Kept(r#""reasoning_effort":"medium""#), Kept(r#""thinkingLevel":"medium""#)],
    ),
    row(
        "history: thoughts of a Claude model, redacted ones too",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"EqQB"},{"type":"redacted_thinking","data":"zz"},{"type":"text","text":"k"}]},{"role":"user","content":"on"}]"#,
        [Silent(r#"{"role":"assistant","content":"k"}"#), Silent(r#"{"role":"model","parts":[{"text":"k"}]}"#)],
    ),
    row(
        "history: signatures of a Gemini model",
        r#""messages":[{"role":"user","content":"go"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"fg1:gemini:R0VN"},{"type":"text","text":"k"}]},{"role":"user","content":"on"}]"#,
        [Silent(r#"{"role":"assistant","content":"k"}"#), Kept(r#""thoughtSignature":"R0VN""#)],
    ),
    row(
        "`output_config.format`",
        r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"],"additionalProperties":false}}}"#,
        [Kept(r#""response_format":{"type":"json_schema""#), Kept(r#""responseJsonSchema":{"type":"object""#)],
    ),
    row("`top_k`", r#""top_k":5"#, [Reported("top_k"), Kept(r#""topK":5"#)]),
    row(
        "`temperature`, `top_p`: reasoning models of OpenAI take none",
        r#""temperature":0.5"#,
        [Reported("temperature"), Kept(r#""temperature":0.5"#)],
    ),
    row("`stop_sequences`", r#""stop_sequences":["x"]"#, [Kept(r#""stop":["x"]"#), Kept(r#""stopSequences":["x"]"#)]),
    row(
        "`stop_sequences` with more texts than the upstream takes (OpenAI: 4, Gemini: 5)",
        r#""stop_sequences":["1","2","3","4","5","6"]"#,
        [Refused("stop_sequences"), Refused("stop_sequences")],
    ),
    row(
        "`metadata.user_id`",
        r#""metadata":{"user_id":"u1"}"#,
        [Kept(r#""safety_identifier":"u1""#), Reported("metadata.user_id")],
    ),
    row(
        "`service_tier: standard_only`",
        r#""service_tier":"standard_only""#,
        [Kept(r#""service_tier":"default""#), Kept(r#""serviceTier":"standard""#)],
    ),
    row(
        "cache marks (`cache_control`)",
        r#""messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]"#,
        [Silent(r#"{"role":"user","content":"hi"}"#), Silent(r#"{"text":"hi"}"#)],
    ),
    row(
        "prefill: a last message of the assistant",
        r#""messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"The answer is"}]"#,
        [Reported("messages"), Kept(r#"{"role":"model","parts":[{"text":"The answer is"}]}"#)],
    ),
    row(
        "web search",
        r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
        [Reported("tools.web_search"), Kept(r#"{"googleSearch":{}}"#)],
    ),
    row(
        "code execution",
        r#""tools":[{"type":"code_execution_20250522","name":"code_execution"}]"#,
        [Refused("tools[0]"), Kept(r#"{"codeExecution":{}}"#)],
    ),
    row("`context_management`, `container`", r#""container":"c""#, [Reported("container"), Reported("container")]),
];
