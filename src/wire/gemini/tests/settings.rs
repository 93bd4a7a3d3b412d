//! Tools, forms and settings.

use super::*;

#[test]
fn w54_w55_w56_w57_schemas_stay_as_they_are() {
    let schemas = [
        r#"{"type":"object","properties":{"z":{"type":["string","null"]},"a":{"anyOf":[{"type":"null"},{"type":"integer"}]}}}"#,
        r##"{"$schema":"x","type":"object","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}},"properties":{"n":{"$ref":"#/$defs/n"}},"additionalProperties":false}"##,
        r#"{"type":"object","properties":{"e":{"enum":[1,2.0,"x",null],"default":1},"o":{"type":["object","null"],"properties":{}}}}"#,
    ];
    for schema in schemas {
        let got = sent(&Request { tools: vec![tool("f", Some(schema))], ..hi() }, &three());
        let want = format!(
            r#""tools":[{{"functionDeclarations":[{{"name":"f","description":"","parametersJsonSchema":{schema}}}]}}]"#
        );
        assert!(got.contains(&want), "{got}");
    }
    for schema in [None, Some("{}"), Some("{ }"), Some("true")] {
        let got = sent(&Request { tools: vec![tool("f", schema)], ..hi() }, &three());
        assert!(got.contains(r#""functionDeclarations":[{"name":"f","description":""}]"#), "{got}");
    }
}

#[test]
fn long_names_are_shortened_everywhere_and_restored() {
    const LONG: &str = "mcp.server/some tool with a name that is longer than any vendor would take from anybody";
    let mut request = Request { tools: vec![tool(LONG, None)], ..hi() };
    request.turns.extend(step(vec![call("1", LONG, Some("s"))], result("1", vec![], false)));
    request.tool_choice = Some(ToolChoice::Named(LONG.into()));
    let (body, undo, _) = encode(&request, &three(), Operation::Generate).unwrap();
    let short = ids::tool_name(LONG, 64);
    assert_eq!(body.matches(&*short).count(), 4, "{body}");
    assert!(!body.contains(LONG));
    assert_eq!(undo.names, [(short.into_owned(), LONG.to_owned())]);
}

#[test]
fn tool_choices() {
    let allowed = |required| Some(ToolChoice::Allowed { names: vec!["f".into(), "unknown".into()], required });
    let cases: Vec<(Option<ToolChoice<'static>>, bool, Option<&str>)> = vec![
        (None, false, None),
        (None, true, Some(r#"{"mode":"VALIDATED"}"#)),
        (Some(ToolChoice::Auto), false, Some(r#"{"mode":"AUTO"}"#)),
        (Some(ToolChoice::Auto), true, Some(r#"{"mode":"VALIDATED"}"#)),
        (Some(ToolChoice::None), true, Some(r#"{"mode":"NONE"}"#)),
        (Some(ToolChoice::Required), true, Some(r#"{"mode":"ANY"}"#)),
        (Some(ToolChoice::Named("f".into())), false, Some(r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#)),
        (allowed(true), false, Some(r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#)),
        (allowed(false), false, Some(r#"{"mode":"VALIDATED","allowedFunctionNames":["f"]}"#)),
    ];
    for (tool_choice, strict, want) in cases {
        let tools = vec![Tool { strict: strict.then_some(true), ..tool("f", None) }];
        let got = sent(&Request { tools, tool_choice: tool_choice.clone(), ..hi() }, &three());
        let want = want.map(|want| format!(r#""toolConfig":{{"functionCallingConfig":{want}}}"#));
        assert_eq!(got.contains("toolConfig"), want.is_some(), "{tool_choice:?}: {got}");
        assert!(got.contains(&want.unwrap_or_default()), "{tool_choice:?}: {got}");
        // A choice among nothing is left out.
        assert!(!sent(&Request { tool_choice, ..hi() }, &three()).contains("toolConfig"));
    }
}

#[test]
fn w53_tools_of_vendors() {
    let kind = |kind| Tool { kind, at: 1, ..tool("t", None) };
    let code = || kind(ToolKind::Server("code_execution_20250825".into()));
    let search = || Some(WebSearch::default());
    let alone = sent(&Request { tools: vec![code()], web_search: search(), ..hi() }, &two());
    assert!(alone.ends_with(r#""tools":[{"googleSearch":{}},{"codeExecution":{}}]}"#), "{alone}");
    let mixed = Request {
        tools: vec![tool("f", None), code()],
        web_search: search(),
        tool_choice: Some(ToolChoice::Auto),
        ..hi()
    };
    let got = sent(&mixed, &three());
    assert!(got.contains(r#"},{"googleSearch":{}},{"codeExecution":{}}]"#), "{got}");
    assert!(got.ends_with(r#""toolConfig":{"includeServerSideToolInvocations":true}}"#), "{got}");
    let (got, _, losses) = encode(&mixed, &two(), Operation::Generate).unwrap();
    assert_eq!(losses, "web_search tools.code_execution", "{got}");
    for kind in [kind(ToolKind::Vendor("bash_20250124".into())), kind(ToolKind::Server("web_fetch_20250910".into()))] {
        let request = Request { tools: vec![tool("f", None), kind], ..hi() };
        assert_eq!(encode(&request, &three(), Operation::Generate).unwrap_err().field, "tools[1]");
    }
}

#[test]
fn models_that_only_draw_or_speak() {
    let maker = Profile { tools: false, schemas: false, schemas_with_tools: false, web_search: false, ..three() };
    let code = Tool { kind: ToolKind::Server("code_execution_20250825".into()), ..tool("t", None) };
    for (request, field) in [
        (Request { tools: vec![tool("f", None)], ..hi() }, "tools[0]"),
        (Request { tools: vec![code], ..hi() }, "tools[0]"),
        (Request { format: Some(format(None)), ..hi() }, "response_format"),
    ] {
        assert_eq!(encode(&request, &maker, Operation::Generate).unwrap_err().field, field);
    }
    let search = Request { web_search: Some(WebSearch::default()), ..hi() };
    let (body, _, losses) = encode(&search, &maker, Operation::Generate).unwrap();
    assert!(losses == "web_search" && !body.contains("tools"), "{body}");
}

#[test]
fn forms_of_answers() {
    const SCHEMA: &str = r#"{"type":"object","properties":{"x":{"type":"number"}}}"#;
    let config = |schema: &str| format!(r#""generationConfig":{{"responseMimeType":"application/json"{schema}}}"#);
    let with = format!(r#","responseJsonSchema":{SCHEMA}"#);
    let request = |format, tools| Request { tools, format: Some(format), ..hi() };
    for profile in [two(), three()] {
        assert!(sent(&request(format(None), vec![]), &profile).contains(&config("")));
        assert!(sent(&request(format(Some(SCHEMA)), vec![]), &profile).contains(&config(&with)));
    }
    let beside = request(format(Some(r##"{"properties":{"a":{"$ref":"#/$defs/b","title":"A"}}}"##)), vec![]);
    assert!(sent(&beside, &two()).contains(r##"{"anyOf":[{"$ref":"#/$defs/b"}],"title":"A"}"##));
    let both = request(format(Some(SCHEMA)), vec![tool("f", None)]);
    assert!(sent(&both, &three()).contains(&config(&with)));
    // Gemini 2 cannot have both: a tool stands for the form, and something has to be called.
    let stand_in = format!(r#"nothing follows it.","parametersJsonSchema":{SCHEMA}}}]}}]"#);
    let cases = [
        (None, r#""toolConfig":{"functionCallingConfig":{"mode":"ANY"}}"#),
        (Some(ToolChoice::Auto), r#""toolConfig":{"functionCallingConfig":{"mode":"ANY"}}"#),
        (
            Some(ToolChoice::None),
            r#""toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["json_answer"]}}"#,
        ),
    ];
    for (tool_choice, want) in cases {
        let (body, undo, losses) =
            encode(&Request { tool_choice, ..both.clone() }, &two(), Operation::Generate).unwrap();
        assert!(body.contains(&stand_in) && body.contains(want) && !body.contains("responseMimeType"), "{body}");
        assert_eq!((undo.json_tool.as_deref(), losses.as_str()), (Some("json_answer"), ""));
    }
    let forced = Request { tool_choice: Some(ToolChoice::Required), ..both };
    let (body, undo, losses) = encode(&forced, &two(), Operation::Generate).unwrap();
    assert!(undo.json_tool.is_none() && !body.contains("json_answer"));
    assert_eq!(losses, "response_format");
}

#[test]
fn w62_settings() {
    let request = Request {
        max_tokens: Some(77),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(5),
        stop: ["a", "", "\n"].map(Into::into).to_vec(),
        seed: Some(-7),
        frequency_penalty: Some(0.5),
        presence_penalty: Some(-1.0),
        n: Some(2),
        logprobs: Some(3),
        tier: Some(Tier::Priority),
        cache: Some(Cache::Hour),
        ..hi()
    };
    let got = sent(&request, &three());
    let want = r#""generationConfig":{"maxOutputTokens":77,"temperature":0.5,"topP":0.9,"topK":5,"seed":-7,"frequencyPenalty":0.5,"presencePenalty":-1,"stopSequences":["a","\n"],"candidateCount":2,"responseLogprobs":true,"logprobs":3},"serviceTier":"priority"}"#;
    assert!(got.ends_with(want), "{got}");
    let large = Request { max_tokens: Some(128_000), ..hi() };
    for (profile, tokens, told) in [
        (three(), 65_536, "max_tokens"),
        (Profile { known: false, ..three() }, 128_000, ""),
        (Profile { max_output: None, ..three() }, 128_000, ""),
    ] {
        let (body, _, losses) = encode(&large, &profile, Operation::Generate).unwrap();
        assert!(body.contains(&format!("\"maxOutputTokens\":{tokens}")) && losses == told, "{body}");
    }
    let more = Request { stop: vec!["x".into(); 6], ..hi() };
    assert_eq!(encode(&more, &three(), Operation::Generate).unwrap_err().field, "stop");
    let small = Profile { penalties: false, logprobs: false, several: false, ..three() };
    for (request, profile, field) in [
        (Request { n: Some(9), ..hi() }, three(), "n"),
        (Request { n: Some(2), ..hi() }, small, "n"),
        (Request { logprobs: Some(0), ..hi() }, small, "logprobs"),
    ] {
        assert_eq!(encode(&request, &profile, Operation::Generate).unwrap_err().field, field);
    }
    let rest = |name: &'static str| Rest { name: name.into(), value: Json::trusted("1"), content: false };
    let lossy = Request {
        seed: Some(1 << 40),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(0.0),
        user: Some("u".into()),
        parallel: Some(false),
        tools: vec![tool("f", None)],
        rest: vec![rest("logit_bias"), rest("store")],
        ..hi()
    };
    let (_, _, losses) = encode(&lossy, &small, Operation::Generate).unwrap();
    assert_eq!(losses, "parallel_tool_calls seed presence_penalty user logit_bias store");
}

#[test]
fn reasoning_is_a_level_or_a_budget_but_never_both() {
    let effort = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
    let mode = |mode| Reasoning { mode: Some(mode), ..Reasoning::default() };
    let hidden = |reasoning| Reasoning { shown: Some(false), ..reasoning };
    let both = Reasoning { mode: Some(Thinking::Adaptive), ..effort(Effort::Medium) };
    // Asked; Gemini 3; Gemini 2.5.
    let cases: Vec<(Reasoning, &str, &str)> = vec![
        (
            effort(Effort::Minimal),
            r#"{"thinkingLevel":"low","includeThoughts":true}"#,
            r#"{"thinkingBudget":512,"includeThoughts":true}"#,
        ),
        (
            effort(Effort::Medium),
            r#"{"thinkingLevel":"medium","includeThoughts":true}"#,
            r#"{"thinkingBudget":8192,"includeThoughts":true}"#,
        ),
        (hidden(effort(Effort::Max)), r#"{"thinkingLevel":"high"}"#, r#"{"thinkingBudget":24576}"#),
        (
            mode(Thinking::Budget(100)),
            r#"{"thinkingLevel":"low","includeThoughts":true}"#,
            r#"{"thinkingBudget":512,"includeThoughts":true}"#,
        ),
        (
            mode(Thinking::Budget(10_000)),
            r#"{"thinkingLevel":"high","includeThoughts":true}"#,
            r#"{"thinkingBudget":10000,"includeThoughts":true}"#,
        ),
        (
            mode(Thinking::Budget(90_000)),
            r#"{"thinkingLevel":"high","includeThoughts":true}"#,
            r#"{"thinkingBudget":24576,"includeThoughts":true}"#,
        ),
        (mode(Thinking::Adaptive), r#"{"includeThoughts":true}"#, r#"{"thinkingBudget":-1,"includeThoughts":true}"#),
        (
            both,
            r#"{"thinkingLevel":"medium","includeThoughts":true}"#,
            r#"{"thinkingBudget":8192,"includeThoughts":true}"#,
        ),
    ];
    for (reasoning, level, budget) in cases {
        for (profile, want) in [(three(), level), (two(), budget)] {
            let (got, _, losses) = encode(&Request { reasoning, ..hi() }, &profile, Operation::Generate).unwrap();
            // A number that the model does not take is told.
            let bent = matches!(reasoning.mode, Some(Thinking::Budget(100 | 90_000))) && want == budget;
            assert_eq!(losses, if bent { "thinking.budget_tokens" } else { "" }, "{reasoning:?}");
            assert!(
                got.ends_with(&format!(r#""generationConfig":{{"thinkingConfig":{want}}}}}"#)),
                "{reasoning:?}: {got}"
            );
        }
    }
    let off = Request { reasoning: mode(Thinking::Off), ..hi() };
    assert!(sent(&off, &two()).contains(r#"{"thinkingBudget":0}"#));
    let pro = Profile { thinking_off: false, budget: (128, 32_768), ..two() };
    for (profile, want) in [(three(), r#"{"thinkingLevel":"low"}"#), (pro, r#"{"thinkingBudget":128}"#)] {
        let (body, _, losses) = encode(&off, &profile, Operation::Generate).unwrap();
        assert!(body.contains(want) && losses == "reasoning_effort", "{body}");
    }
    let none = Profile { thinking: Control::None, ..two() };
    assert!(!sent(&off, &none).contains("thinkingConfig"));
    let (_, _, losses) = encode(&Request { reasoning: both, ..hi() }, &none, Operation::Generate).unwrap();
    assert_eq!(losses, "reasoning_effort");
}

#[test]
fn extras_of_the_operator_come_where_the_request_says_nothing() {
    let native = |name: &'static str, json: &'static str| (name.into(), Json::trusted(json));
    let request = Request {
        temperature: Some(0.5),
        native: vec![
            native("safetySettings", "[]"),
            native("contents", "[]"),
            native("generationConfig", r#"{"temperature":1,"mediaResolution":"MEDIA_RESOLUTION_LOW"}"#),
        ],
        ..hi()
    };
    let got = sent(&request, &three());
    let want =
        r#""generationConfig":{"temperature":0.5,"mediaResolution":"MEDIA_RESOLUTION_LOW"},"safetySettings":[]}"#;
    assert!(got.ends_with(want) && got.matches("contents").count() == 1, "{got}");
}

#[test]
fn w52_tokens_are_counted_of_the_whole_request() {
    let request = Request { system: vec![Text::plain("s")], tools: vec![tool("f", None)], max_tokens: Some(5), ..hi() };
    let (body, _, _) = encode(&request, &three(), Operation::CountTokens).unwrap();
    let want = r#"{"generateContentRequest":{"model":"models/gemini-x","contents":[{"role":"user","parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"s"}]},"tools":[{"functionDeclarations":[{"name":"f","description":""}]}]}}"#;
    assert_eq!(body, want);
    assert_eq!(Gemini.counted(br#"{"totalTokens": 61, "promptTokensDetails":[{}]}"#), Some(61));
    assert_eq!(Gemini.counted(br#"{"error":{}}"#), None);
}
