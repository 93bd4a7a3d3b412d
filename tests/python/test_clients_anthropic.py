"""The official Anthropic SDK for Python, on both fronts, before strict upstreams of every wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool

from conftest import Front
from support import MASTER, UPSTREAMS
from vendors.brain import HALF, REFUSAL, TEXT, THOUGHT
from vendors.gemini import SKIP
from world import ADDRESS, ALL, CALLED, CITY, PERSON, PNG, REPORT, SCRIPT, WIRES, Person, run

TOOLS: list[dict] = [
    {"name": "weather", "description": "the weather", "input_schema": CITY},
    {"name": "time", "input_schema": {"type": "object"}},
]
HELLO = [{"role": "user", "content": "hi"}]
# What each may be told to think; the gateway has to say it in the upstream's words.
THINKING = {"budget": {"type": "enabled", "budget_tokens": 2048}, "adaptive": {"type": "adaptive"}}
FOREIGN = [name for name in ALL if not UPSTREAMS[name].startswith("anthropic/")]


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(vendors: Front) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=MASTER, base_url=vendors.url, max_retries=0, timeout=20) as one:
        yield one


def ask_whole(client: anthropic.Anthropic, **request: Any) -> Any:
    return client.messages.create(**{"max_tokens": 4000} | request)


def ask_stream(client: anthropic.Anthropic, **request: Any) -> Any:
    with client.messages.stream(**{"max_tokens": 4000} | request) as stream:
        return stream.get_final_message()


ASK = pytest.mark.parametrize("ask", [ask_whole, ask_stream])


@ASK
@pytest.mark.parametrize("model", ALL)
def test_message(client: anthropic.Anthropic, model: str, ask: Callable) -> None:
    answer = ask(client, model=model, messages=HELLO, system="Be brief.")
    assert (answer.type, answer.role) == ("message", "assistant") and answer.id.startswith("msg_")
    assert [block.to_dict(exclude_none=True) for block in answer.content] == [{"type": "text", "text": TEXT}]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    usage = answer.usage
    total = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert (total, usage.cache_read_input_tokens, usage.output_tokens) == (120, 100, 25)


@pytest.mark.parametrize("model", ALL)
def test_events(client: anthropic.Anthropic, model: str) -> None:
    events = list(client.messages.create(model=model, messages=user(SCRIPT), max_tokens=4000, tools=TOOLS, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert [kinds.count(kind) for kind in ("message_start", "message_delta", "message_stop", "error")] == [1, 1, 1, 0]
    start = events[0].message
    assert start.content == [] and start.stop_reason is None and start.usage.input_tokens > 0 and start.usage.output_tokens >= 0
    blocks = [event for event in events if event.type.startswith("content_block")]
    opened: int | None = None
    count = 0
    for event in blocks:
        if event.type == "content_block_start":
            assert opened is None and event.index == count
            opened, count = event.index, count + 1
        else:
            assert event.index == opened
            opened = None if event.type == "content_block_stop" else opened
    assert opened is None and events[-2].delta.stop_reason == "tool_use"


@pytest.mark.parametrize("model", WIRES)
def test_async(vendors: Front, model: str) -> None:
    async def both() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(api_key=MASTER, base_url=vendors.url, max_retries=0, timeout=20) as client:
            whole = await client.messages.create(model=model, max_tokens=99, messages=HELLO)
            async with client.messages.stream(model=model, max_tokens=99, messages=HELLO) as stream:
                pieces = [piece async for piece in stream.text_stream]
            return whole.content[0].text, "".join(pieces)

    assert asyncio.run(both()) == (TEXT, TEXT)


# --- Agents ----------------------------------------------------------------------------------------------------------


def agent(client: anthropic.Anthropic, models: list[str], ask: Callable, script: str = SCRIPT, **fields: Any) -> list[dict]:
    """The loop of every agent; each step with the next of the models. What came back goes back as it is."""
    history = user(script)
    called = []
    for step in range(6):
        answer = ask(client, model=models[step % len(models)], messages=history, tools=TOOLS, system="Use the tools.", **fields)
        history.append({"role": "assistant", "content": answer.content})
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == ("tool_use" if calls else "end_turn")
        if not calls:
            assert called == CALLED
            assert "".join(block.text for block in answer.content if block.type == "text") == REPORT
            return history
        called += [(call.name, call.input) for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": run(call.name, call.input)} for call in calls]
        history.append({"role": "user", "content": [*results, {"type": "text", "text": "Go on."}]})
    raise AssertionError(history)


@ASK
@pytest.mark.parametrize("model", ALL)
def test_agent(client: anthropic.Anthropic, model: str, ask: Callable) -> None:
    agent(client, [model], ask)


@ASK
@pytest.mark.parametrize("thinking", THINKING)
@pytest.mark.parametrize("model", FOREIGN)
def test_agent_that_thinks(vendors: Front, client: anthropic.Anthropic, model: str, thinking: str, ask: Callable) -> None:
    history = agent(client, [model], ask, thinking=THINKING[thinking])
    blocks = [block for turn in history if turn["role"] == "assistant" for block in turn["content"]]
    thoughts = [block for block in blocks if block.type == "thinking"]
    assert all(block.signature for block in thoughts)
    if UPSTREAMS[model].startswith("gemini/") or model == "deepseek":
        assert THOUGHT in [block.thinking for block in thoughts]
    last = vendors.fake.seen[-1].json
    if model == "gemini":
        # Byte for byte: the vendor checks them.
        parts = [part for content in last["contents"] for part in content["parts"] if "functionCall" in part]
        signed = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
        assert len(signed) == 2 and SKIP not in signed
    if model == "deepseek":
        assert [one["reasoning_content"] for one in last["messages"] if one["role"] == "assistant"] == [THOUGHT] * 2


@ASK
@pytest.mark.parametrize(("model", "thinking"), [("claude", "budget"), ("claude-new", "adaptive")])
def test_agent_that_thinks_at_home(client: anthropic.Anthropic, model: str, thinking: str, ask: Callable) -> None:
    history = agent(client, [model], ask, thinking=THINKING[thinking])
    assert [block.type for block in history[1]["content"]] == ["thinking", "text", "tool_use", "tool_use"]


@ASK
@pytest.mark.parametrize(
    "models",
    [["claude", "gemini", "gpt-5"], ["gemini", "gpt", "claude"], ["gpt", "claude", "gemini"], ["deepseek", "claude", "gemini"],
     ["gemini-flash", "deepseek", "claude"]],
    ids="-".join,
)  # fmt: skip
def test_agent_that_moves(client: anthropic.Anthropic, models: list[str], ask: Callable) -> None:
    """A conversation that changes its vendor in the midst of a tool loop: thoughts of one must not reach another."""
    thinking = {"thinking": THINKING["budget"]} if "claude" not in models[1:] else {}
    agent(client, models, ask, **thinking)


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_runner(client: anthropic.Anthropic, model: str, stream: bool) -> None:
    called = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        called.append(("weather", {"city": city}))
        return run("weather", {"city": city})

    @beta_tool
    def time() -> str:
        """The time."""
        called.append(("time", {}))
        return run("time", {})

    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=4000, tools=[weather, time], messages=user(SCRIPT), stream=stream
    )
    answer = runner.until_done()
    assert called == CALLED and answer.content[-1].text == REPORT


# --- Content and settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ALL)
def test_parse(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.parse(model=model, max_tokens=999, messages=user(ADDRESS), output_format=Person)
    assert answer.parsed_output == PERSON


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}], ids=["any", "tool"])
def test_forced_tool(client: anthropic.Anthropic, model: str, choice: dict) -> None:
    for ask in (ask_whole, ask_stream):
        answer = ask(client, model=model, messages=user('<<call weather {"city":"Bern"}>>'), tools=TOOLS, tool_choice=choice)
        assert [block.input for block in answer.content if block.type == "tool_use"] == [{"city": "Bern"}]


# DeepSeek reads no pictures, and the gateway says so.
@pytest.mark.parametrize("model", [name for name in ALL if name != "deepseek"])
def test_failed_and_silent_tools(client: anthropic.Anthropic, model: str) -> None:
    """A failure, nothing at all, and a picture as results; the next text in the same turn."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "seen"}, picture]},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "broken", "is_error": True},
    ]
    calls = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": {}}
        for n, name in ((1, "weather"), (2, "time"), (3, "time"))
    ]
    messages = [
        *user("<<call weather>>"),
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [*results, *blocks("ok")]},
    ]
    answer = client.messages.create(model=model, max_tokens=99, messages=messages, tools=TOOLS)
    text = answer.content[0].text
    assert "broken" in text and "seen" in text and text.count("time") == 2


def blocks(*texts: str) -> list[dict]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.parametrize("model", WIRES)
def test_rich_content(vendors: Front, client: anthropic.Anthropic, model: str) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a document"}, "title": "t"},
        {"type": "text", "text": "What?"} | mark,
    ]
    system = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."} | mark]
    answer = client.messages.create(
        model=model,
        max_tokens=99,
        system=system,
        messages=[{"role": "user", "content": content}],
        tools=[TOOLS[0], TOOLS[1] | mark],
        metadata={"user_id": "user_" + "0123456789abcdef" * 8},
        stop_sequences=["END"],
        service_tier="auto",
        extra_body={"temperature": 0.7, "top_k": 5},
    )
    assert answer.content[0].text == TEXT
    assert PNG in vendors.fake.only().body.decode()


@ASK
@pytest.mark.parametrize("model", WIRES)
def test_ends(client: anthropic.Anthropic, model: str, ask: Callable) -> None:
    answer = ask(client, model=model, messages=user("<<length>>"))
    assert (answer.stop_reason, answer.content[0].text) == ("max_tokens", HALF)
    answer = ask(client, model=model, messages=user("<<refuse>>"))
    assert answer.stop_reason == "refusal"
    # OpenAI says it in words of its own, which are all that there is.
    assert [block.text for block in answer.content] == ([REFUSAL] if model == "gpt" else [])


@pytest.mark.parametrize("model", WIRES)
@pytest.mark.parametrize("fault", ["error", "cut", "eof"])
def test_a_failure_in_mid_stream_is_raised(client: anthropic.Anthropic, model: str, fault: str) -> None:
    pieces: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model=model, max_tokens=9, messages=user(f"<<{fault}>>")) as stream:
            pieces.extend(stream.text_stream)
    assert "".join(pieces) == HALF
    assert caught.value.body["type"] == "error" and caught.value.body["error"]["message"]


@pytest.mark.parametrize("model", WIRES)
def test_a_failure_is_a_status(client: anthropic.Anthropic, model: str) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=model, max_tokens=9, messages=user("<<error>>"))
    assert caught.value.body["type"] == "error" and caught.value.body["error"]["message"]


@pytest.mark.parametrize("model", ALL)
def test_count_tokens(client: anthropic.Anthropic, model: str) -> None:
    """Every model has it: Claude Code asks at every turn."""
    history = [*user("hi"), {"role": "assistant", "content": "hello"}, *user("tell me more " * 50)]
    count = client.messages.count_tokens(model=model, messages=history, tools=TOOLS, system="Be brief.").input_tokens
    assert count == 42 if UPSTREAMS[model].startswith(("anthropic/", "gemini/")) else 100 < count < 1000
    assert client.beta.messages.count_tokens(model=model, messages=HELLO).input_tokens > 0


def test_json_of_arguments_keeps_its_order(vendors: Front, client: anthropic.Anthropic) -> None:
    """The order of keys is part of what upstreams cache by, and of what Gemini signs."""
    schema = {"type": "object", "properties": {name: {"type": "number"} for name in ("z", "a", "m")}, "required": ["z"]}
    for model in FOREIGN:
        vendors.fake.clear()
        tools = [{"name": "order", "input_schema": schema}]
        answer = client.messages.create(
            model=model, max_tokens=99, messages=user('<<call order {"z":1,"a":1.0,"m":3}>>'), tools=tools
        )
        assert list(answer.content[-1].input) == ["z", "a", "m"]
        assert json.dumps(schema["properties"], separators=(",", ":")) in vendors.fake.only().body.decode()
