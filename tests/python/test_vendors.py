"""The strict fake itself, against the vendors' own SDKs without a gateway: what it answers they must take, what the real APIs
refuse it must refuse. A fake that is wrong makes every other test here worthless.
"""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from support import ANTHROPIC_KEY, GEMINI_KEY, HELLO, OPENAI_KEY, UPSTREAM_KEYS
from vendors.brain import HALF, REFUSAL, TEXT, THOUGHT
from vendors.common import seal
from vendors.provider import StrictProvider

TWO = '<<think>> <<call weather {"city":"Zürich"}>> <<call time>>'
DONE = "weather: sunny; time: noon"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
USER = {"role": "user", "parts": [{"text": TWO}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[StrictProvider]:
    with StrictProvider(UPSTREAM_KEYS, foreign=()) as one:
        yield one
        assert not one.crashes, one.crashes[0]


@pytest.fixture
def openai_client(provider: StrictProvider) -> openai.OpenAI:
    return openai.OpenAI(api_key=OPENAI_KEY, base_url=provider.url + "/v1", max_retries=0, timeout=20)


@pytest.fixture
def anthropic_client(provider: StrictProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=ANTHROPIC_KEY, base_url=provider.url, max_retries=0, timeout=20)


@pytest.fixture
def gemini_client(provider: StrictProvider) -> genai.Client:
    return genai.Client(api_key=GEMINI_KEY, http_options=types.HttpOptions(base_url=provider.url))


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "deepseek-chat"])
def test_openai(openai_client: openai.OpenAI, model: str) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "time")]
    history: list = [{"role": "user", "content": TWO}]
    first = openai_client.chat.completions.create(model=model, messages=history, tools=tools)
    assert first.choices[0].finish_reason == "tool_calls" and first.usage.total_tokens == 145
    history.append(first.choices[0].message)
    for call, result in zip(first.choices[0].message.tool_calls, ("sunny", "noon")):
        history.append({"role": "tool", "tool_call_id": call.id, "content": result})
    with openai_client.chat.completions.stream(model=model, messages=history, tools=tools) as stream:
        assert stream.get_final_completion().choices[0].message.content == DONE


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": "gpt-5", "max_tokens": 9}, "max_completion_tokens"),
        ({"model": "gpt-5", "temperature": 0.5}, "temperature"),
        ({"extra_body": {"top_k": 4}}, "top_k"),
        ({"tools": []}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "a b", "parameters": SCHEMA}}]}, "pattern"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {}}}]}, "object"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "preceeding"),
        ({"messages": [{"role": "assistant", "content": None}]}, "content"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
            "additionalProperties",
        ),
    ],
)
def test_openai_refuses(openai_client: openai.OpenAI, fields: dict, text: str) -> None:
    request = {"model": "gpt-4o", "messages": HELLO} | fields
    with pytest.raises(openai.BadRequestError, match=text):
        openai_client.chat.completions.create(**request)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8"])
@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_anthropic(anthropic_client: anthropic.Anthropic, model: str, display: str) -> None:
    thinking = (
        {"type": "adaptive", "display": display} if model == "claude-opus-4-8" else {"type": "enabled", "budget_tokens": 1024}
    )
    common = {"model": model, "max_tokens": 2000, "thinking": thinking}
    tools = [{"name": name, "input_schema": SCHEMA} for name in ("weather", "time")]
    history: list = [{"role": "user", "content": TWO}]
    with anthropic_client.messages.stream(messages=history, tools=tools, **common) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    shown = model == "claude-sonnet-4-5" or display == "summarized"
    assert first.content[0].thinking == (THOUGHT if shown else "")
    history.append({"role": "assistant", "content": first.content})
    calls = [block for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in zip(calls, ("sunny", "noon"))]
    history.append({"role": "user", "content": results})
    last = anthropic_client.messages.create(messages=history, tools=tools, **common)
    assert (last.content[-1].text, last.stop_reason) == (DONE, "end_turn")


def thought(signature: str) -> dict:
    return {"type": "thinking", "thinking": THOUGHT, "signature": signature}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}


def loop(*blocks: dict) -> dict:
    return {"messages": [*HELLO, {"role": "assistant", "content": [*blocks, CALL]}, {"role": "user", "content": [RESULT]}]}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "non-whitespace"),
        ({"messages": [*HELLO, {"role": "assistant", "content": [CALL]}, *HELLO]}, "without `tool_result`"),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, "unexpected `tool_use_id`"),
        ({"messages": [{"role": "assistant", "content": "x"}, *HELLO]}, "first message"),
        ({"messages": [*HELLO, {"role": "user", "content": [{"type": "text", "text": "x", "name": "y"}]}]}, "extra inputs"),
        (loop(thought("nobody's")), "Invalid `signature`"),
        (loop() | BUDGET, "Expected `thinking`"),
        (BUDGET | {"max_tokens": 1024}, "must be greater"),
        ({"model": "claude-opus-4-8"} | BUDGET, "not supported for this model"),
        ({"model": "claude-opus-4-8", "extra_body": {"temperature": 1}}, "deprecated"),
        ({"model": "claude-opus-4-8", "messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "prefill"),
        ({"extra_body": {"temperature": 1.5}}, "range"),
        ({"extra_body": {"temperature": 0.5, "top_p": 0.5}}, "both"),
        ({"extra_body": {"n": 1}}, "extra inputs"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"tools": [{"name": "x", "input_schema": {}}]}, "input_schema.type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "additionalProperties"),
    ],
)
def test_anthropic_refuses(anthropic_client: anthropic.Anthropic, fields: dict, text: str) -> None:
    request = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO} | fields
    with pytest.raises(anthropic.BadRequestError, match=text):
        anthropic_client.messages.create(**request)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro-preview"])
def test_gemini(gemini_client: genai.Client, model: str) -> None:
    functions = [{"name": name, "parameters_json_schema": SCHEMA} for name in ("weather", "time")]
    thinking = types.ThinkingConfig(include_thoughts=True)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=functions)], thinking_config=thinking)
    contents: list = [types.Content.model_validate(USER)]
    parts: list[types.Part] = []
    chunks = list(gemini_client.models.generate_content_stream(model=model, contents=contents, config=config))
    for chunk in chunks:
        parts += chunk.candidates[0].content.parts or [] if chunk.candidates[0].content else []
    assert "".join(part.text for part in parts if part.thought) == THOUGHT
    assert chunks[-1].usage_metadata.total_token_count == 145
    # As it came, but for the text pieces: those of thoughts need not go back.
    kept = [part for part in parts if part.function_call]
    assert [part.thought_signature is not None for part in kept] == [model.startswith("gemini-3"), False]
    results = [
        {"function_response": {"id": part.function_call.id, "name": part.function_call.name, "response": {"output": text}}}
        for part, text in zip(kept, ("sunny", "noon"))
    ]
    contents += [types.Content(role="model", parts=kept), types.Content.model_validate({"role": "user", "parts": results})]
    answer = gemini_client.models.generate_content(model=model, contents=contents, config=config)
    assert answer.text == DONE


def turn(*parts: dict) -> list[dict]:
    return [USER, {"role": "model", "parts": list(parts)}]


GEMINI_CALL = {"functionCall": {"name": "weather", "args": {}}}
GEMINI_RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "sunny"}}}]}
SIGNED = GEMINI_CALL | {"thoughtSignature": seal("gemini", "weather", "{}")}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
        ({"contents": [], "systemInstruction": {"parts": [{"text": "x"}]}}, "contents is not specified"),
        ({"contents": [USER], "temperature": 1}, 'Unknown name "temperature"'),
        ({"contents": [USER], "generationConfig": {"max_tokens": 1}}, 'Unknown name "max_tokens"'),
        ({"contents": [*turn(GEMINI_CALL), USER]}, "number of function response parts"),
        ({"contents": [*turn(GEMINI_CALL), GEMINI_RESULT]}, "missing a thought_signature"),
        ({"contents": [*turn(GEMINI_CALL | {"thoughtSignature": "AAAA"}), GEMINI_RESULT]}, "not valid"),
        ({"contents": [*turn(SIGNED, GEMINI_CALL), GEMINI_RESULT]}, "number of function response parts"),
        ({"contents": [{"role": "model", "parts": [SIGNED]}, GEMINI_RESULT]}, "immediately after a user turn"),
        (
            {"contents": [USER], "tools": [{"functionDeclarations": [{"name": "a", "parameters": SCHEMA | {"$defs": {}}}]}]},
            r"\$defs",
        ),
        ({"contents": [USER], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        ({"contents": [USER], "generationConfig": {"stopSequences": list("abcdef")}}, "stop sequences"),
        (
            {"contents": [USER], "generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "thinkingBudget": 0}}},
            "only one",
        ),
    ],
)
def test_gemini_refuses(provider: StrictProvider, gemini_client: genai.Client, body: dict, text: str) -> None:
    with pytest.raises(errors.ClientError, match=text):
        gemini_client._api_client.request("post", "models/gemini-3-pro-preview:generateContent", body)


def test_ends_and_faults(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, gemini_client: genai.Client
) -> None:
    def said(directive: str) -> tuple:
        messages = [{"role": "user", "content": directive}]
        one = openai_client.chat.completions.create(model="gpt-4o", messages=messages).choices[0]
        two = anthropic_client.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=messages)
        three = gemini_client.models.generate_content(model="gemini-2.5-flash", contents=directive).candidates[0]
        texts = (
            one.message.content or one.message.refusal,
            two.content[0].text if two.content else None,
            three.content and three.content.parts[0].text,
        )
        return texts, (one.finish_reason, two.stop_reason, three.finish_reason)

    assert said("hi") == ((TEXT,) * 3, ("stop", "end_turn", "STOP"))
    assert said("<<length>>") == ((HALF,) * 3, ("length", "max_tokens", "MAX_TOKENS"))
    assert said("<<refuse>>") == ((REFUSAL, None, None), ("stop", "refusal", "SAFETY"))
    assert said('<<json {"a":1}>>')[0] == ('{"a":1}',) * 3
