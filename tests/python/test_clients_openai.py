"""The official OpenAI SDK for Python, on both fronts, before strict upstreams of every wire."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator

import openai
import pytest
from pydantic import BaseModel

from conftest import Front
from support import MASTER, UPSTREAMS
from vendors.brain import HALF, REFUSAL, TEXT, THOUGHT
from vendors.gemini import SKIP
from world import ADDRESS, ALL, CALLED, CITY, PERSON, PNG, REPORT, SCRIPT, WIRES, Person, run


class Weather(BaseModel):
    """The weather of a city."""

    city: str


TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "the weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def user(text: str) -> list:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(vendors: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=MASTER, base_url=vendors.url + "/v1", max_retries=0, timeout=20) as one:
        yield one


def check_usage(usage: openai.types.CompletionUsage | None) -> None:
    assert usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (120, 25, 145)
    assert usage.prompt_tokens_details.cached_tokens == 100


@pytest.mark.parametrize("model", ALL)
def test_create(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO)
    assert answer.object == "chat.completion" and answer.id and answer.created > 1_600_000_000
    assert len(answer.choices) == 1
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (choice.message.content, choice.message.refusal, choice.message.tool_calls) == (TEXT, None, None)
    check_usage(answer.usage)


@pytest.mark.parametrize("model", ALL)
def test_stream(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    *told, last = chunks
    assert last.choices == [] and all(len(chunk.choices) == 1 and chunk.usage is None for chunk in told)
    check_usage(last.usage)
    deltas = [chunk.choices[0].delta for chunk in told]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.content or "" for delta in deltas) == TEXT
    assert [chunk.choices[0].finish_reason for chunk in told] == [None] * (len(told) - 1) + ["stop"]
    unasked = list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in unasked)


@pytest.mark.parametrize("model", WIRES)
def test_async(vendors: Front, model: str) -> None:
    async def both() -> tuple[str | None, str | None]:
        async with openai.AsyncOpenAI(api_key=MASTER, base_url=vendors.url + "/v1", max_retries=0, timeout=20) as client:
            whole = await client.chat.completions.create(model=model, messages=HELLO)
            async with client.chat.completions.stream(model=model, messages=HELLO) as stream:
                streamed = await stream.get_final_completion()
            return whole.choices[0].message.content, streamed.choices[0].message.content

    assert asyncio.run(both()) == (TEXT, TEXT)


# --- Agents ----------------------------------------------------------------------------------------------------------


def ask_whole(client: openai.OpenAI, **request: object) -> object:
    return client.chat.completions.create(**request)


def ask_stream(client: openai.OpenAI, **request: object) -> object:
    with client.chat.completions.stream(**request) as stream:
        return stream.get_final_completion()


ASK = pytest.mark.parametrize("ask", [ask_whole, ask_stream])


def faithful(message: object) -> dict:
    """All that came. What the SDK itself has added for its user no API takes back, OpenAI's neither."""
    kept = message.to_dict()
    for call in kept.get("tool_calls") or []:
        call["function"].pop("parsed_arguments", None)
        call.pop("index", None)
    kept.pop("parsed", None)
    return kept


def forgetful(message: object) -> dict:
    """What a client keeps that knows the published fields only."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in message.tool_calls or []
    ]
    return {"role": "assistant", "content": message.content} | ({"tool_calls": calls} if calls else {})


def agent(
    client: openai.OpenAI, models: list[str], ask: Callable, keep: Callable = faithful, **fields: object
) -> tuple[str | None, list]:
    """The loop of every agent; each step with the next of the models."""
    history: list = [{"role": "developer", "content": "Use the tools."}, *user(SCRIPT)]
    called = []
    for step in range(6):
        answer = ask(client, model=models[step % len(models)], messages=history, tools=TOOLS, **fields)
        message = answer.choices[0].message
        history.append(keep(message))
        assert answer.choices[0].finish_reason == ("tool_calls" if message.tool_calls else "stop")
        if not message.tool_calls:
            assert called == CALLED
            return message.content, history
        for call in message.tool_calls:
            arguments = json.loads(call.function.arguments)
            called.append((call.function.name, arguments))
            history.append({"role": "tool", "tool_call_id": call.id, "content": run(call.function.name, arguments)})
    raise AssertionError(history)


# DeepSeek wants its reasoning back, and the same wire is not changed.
@ASK
@pytest.mark.parametrize(
    ("model", "keep"),
    [(name, keep) for name in ALL for keep in (faithful, forgetful) if (name, keep) != ("deepseek", forgetful)],
)
def test_agent(client: openai.OpenAI, model: str, ask: Callable, keep: Callable) -> None:
    assert agent(client, [model], ask, keep)[0] == REPORT


@ASK
@pytest.mark.parametrize("model", [name for name in ALL if name != "gpt"])
def test_agent_that_reasons(vendors: Front, client: openai.OpenAI, model: str, ask: Callable) -> None:
    """What proves the thoughts goes back to whoever thought them, byte for byte: the vendors here check it."""
    assert agent(client, [model], ask, reasoning_effort="low")[0] == REPORT
    last = vendors.fake.seen[-1].json
    if UPSTREAMS[model].startswith("anthropic/"):
        assert last["thinking"]["type"] in ("enabled", "adaptive")
        first = [message["content"][0] for message in last["messages"] if message["role"] == "assistant"]
        assert [block["type"] for block in first] == ["thinking", "thinking"]
    elif model == "gemini":
        signed = [
            part["thoughtSignature"]
            for content in last["contents"]
            for part in content["parts"]
            if "functionCall" in part and "thoughtSignature" in part
        ]
        assert len(signed) == 2 and SKIP not in signed
    elif model == "deepseek":
        assert [message["reasoning_content"] for message in last["messages"] if message["role"] == "assistant"] == [THOUGHT] * 2


@pytest.mark.parametrize("model", ["claude", "claude-new", "gemini", "gemini-flash"])
def test_agent_that_reasons_and_forgets(client: openai.OpenAI, model: str) -> None:
    assert agent(client, [model], ask_whole, forgetful, reasoning_effort="medium")[0] == REPORT


@ASK
@pytest.mark.parametrize("keep", [faithful, forgetful])
@pytest.mark.parametrize(
    "models",
    [["claude", "gemini", "gpt-5"], ["gemini", "gpt", "claude-new"], ["gpt", "claude", "gemini"],
     ["deepseek", "gemini", "claude-new"], ["claude-new", "claude", "gemini-flash"]],
    ids="-".join,
)  # fmt: skip
def test_agent_that_moves(client: openai.OpenAI, models: list[str], ask: Callable, keep: Callable) -> None:
    """A conversation that changes its vendor in the midst of a tool loop, as with a fallback."""
    assert agent(client, models, ask, keep, reasoning_effort="low" if "gpt" not in models else openai.omit)[0] == REPORT


def test_stream_helper_events(client: openai.OpenAI) -> None:
    for model in WIRES:
        with client.chat.completions.stream(model=model, messages=user(SCRIPT), tools=TOOLS) as stream:
            kinds = [event.type for event in stream]
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert kinds.count("tool_calls.function.arguments.done") == 2 and "content.done" in kinds
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == CALLED[:2]
        assert [call.index for call in calls] == [0, 1] and len({call.id for call in calls}) == 2


@pytest.mark.parametrize("model", ["claude", "claude-new", "gemini", "gemini-flash", "deepseek"])
def test_thoughts_are_shown(client: openai.OpenAI, model: str) -> None:
    request = {"model": model, "messages": user("<<think>> <<say Done.>>"), "reasoning_effort": "high"}
    message = client.chat.completions.create(**request).choices[0].message
    chunks = client.chat.completions.create(**request, stream=True)
    streamed = "".join((chunk.choices[0].delta.model_extra or {}).get("reasoning_content") or "" for chunk in chunks)
    # The newest models of Anthropic's keep their thoughts to themselves, and a gateway does not ask for them unbidden.
    wanted = "" if model == "claude-new" else THOUGHT
    assert message.content == "Done."
    assert (message.model_extra.get("reasoning_content") or "", streamed) == (wanted, wanted)


# --- Structured output -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ALL)
def test_parse(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(model=model, messages=user(ADDRESS), response_format=Person)
    assert answer.choices[0].message.parsed == PERSON
    with client.chat.completions.stream(model=model, messages=user(ADDRESS), response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == PERSON


@pytest.mark.parametrize("model", ALL)
def test_parse_with_tools(client: openai.OpenAI, model: str) -> None:
    """A schema for the answer and tools, in one conversation: first the one, then the other."""
    history: list = user('<<call weather {"city":"Bern"}>> <<then>> ' + ADDRESS)
    tool = openai.pydantic_function_tool(Weather, name="weather")
    first = client.chat.completions.parse(model=model, messages=history, tools=[tool], response_format=Person).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls[0].function.parsed_arguments == Weather(city="Bern")
    history += [faithful(first.message), {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "rain"}]
    last = client.chat.completions.parse(model=model, messages=history, tools=[tool], response_format=Person).choices[0]
    assert (last.finish_reason, last.message.parsed, last.message.tool_calls or []) == ("stop", PERSON, [])


@pytest.mark.parametrize("model", ALL)
def test_json_object(client: openai.OpenAI, model: str) -> None:
    messages = [{"role": "system", "content": "Answer in JSON."}, *user('<<json {"a":1}>>')]
    answer = client.chat.completions.create(model=model, messages=messages, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"a": 1}


@pytest.mark.parametrize("model", [name for name in ALL if name != "deepseek"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
def test_forced_tool(client: openai.OpenAI, model: str, choice: object) -> None:
    text = '<<call weather {"city":"Zürich"}>>'
    answer = client.chat.completions.create(
        model=model, messages=user(text), tools=TOOLS, tool_choice=choice, parallel_tool_calls=False
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["weather"]


@pytest.mark.parametrize("model", ALL)
def test_forbidden_tools(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=user("<<call time>>"), tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None


# --- Settings, content, ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [name for name in ALL if not UPSTREAMS[name].startswith("openai/")])
def test_settings_that_an_upstream_does_not_take(client: openai.OpenAI, model: str) -> None:
    """All that only tunes an answer: an upstream gets what it knows, and nobody gets an error."""
    known = {
        "max_tokens": 500,
        "temperature": 1.5,
        "top_p": 0.9,
        "stop": ["END", "\n\n"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.1,
    }
    more = {
        "seed": 7,
        "user": "someone",
        "store": False,
        "metadata": {"a": "b"},
        "logit_bias": {"5": 1},
        "service_tier": "flex",
    }
    request = known | (
        {} if model == "deepseek" else more | {"verbosity": "low", "prompt_cache_key": "k", "parallel_tool_calls": True}
    )
    assert client.chat.completions.create(model=model, messages=HELLO, **request).choices[0].message.content == TEXT


# gpt-4o does not reason, and the same wire is not changed.
@pytest.mark.parametrize("model", [name for name in ALL if name != "gpt"])
@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
def test_reasoning_effort(client: openai.OpenAI, model: str, effort: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO, reasoning_effort=effort, max_completion_tokens=3000)
    assert answer.choices[0].message.content == TEXT


@pytest.mark.parametrize("model", WIRES)
def test_pictures(vendors: Front, client: openai.OpenAI, model: str) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "text", "text": "What is this?"},
    ]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == TEXT
    assert PNG in vendors.fake.only().body.decode()


@pytest.mark.parametrize("model", ["claude", "gemini"])
def test_untidy_history(client: openai.OpenAI, model: str) -> None:
    """What other clients leave behind: empty turns, a system message in between, neighbours of one role."""
    messages = [
        {"role": "assistant", "content": "I begin."},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "one"}]},
        {"role": "assistant", "content": ""},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a.b:c", "type": "function", "function": {"name": "time", "arguments": ""}}],
        },
        {"role": "system", "content": "Hurry."},
        {"role": "tool", "tool_call_id": "a.b:c", "content": ""},
        {"role": "system", "content": "Hurry more."},
        {"role": "user", "content": "two", "name": "Zoë"},
        {"role": "user", "content": "three"},
    ]
    assert client.chat.completions.create(model=model, messages=messages).choices[0].message.content == "time: "
    only = client.chat.completions.create(model=model, messages=[{"role": "system", "content": "Say hi."}])
    assert only.choices[0].message.content == TEXT


def ends(client: openai.OpenAI, model: str, text: str) -> list[tuple]:
    """Finish reason, content and refusal of the answer, whole and streamed; the SDK's stream helper raises for these."""
    choice = client.chat.completions.create(model=model, messages=user(text)).choices[0]
    told = [chunk.choices[0] for chunk in client.chat.completions.create(model=model, messages=user(text), stream=True)]
    content, refusal = ("".join(getattr(one.delta, name) or "" for one in told) for name in ("content", "refusal"))
    whole = (choice.finish_reason, choice.message.content or "", choice.message.refusal or "")
    return [whole, (told[-1].finish_reason, content, refusal)]


@pytest.mark.parametrize("model", ALL)
def test_length(client: openai.OpenAI, model: str) -> None:
    assert ends(client, model, "<<length>>") == [("length", HALF, "")] * 2
    with pytest.raises(openai.LengthFinishReasonError):
        ask_stream(client, model=model, messages=user("<<length>>"))


@pytest.mark.parametrize("model", WIRES)
def test_refusal(client: openai.OpenAI, model: str) -> None:
    """Anthropic says why, Gemini does not."""
    whole, streamed = ends(client, model, "<<refuse>>")
    assert whole == streamed
    finish, content, refusal = whole
    assert (finish, content) == ("stop" if model == "gpt" else "content_filter", "")
    assert refusal == REFUSAL or model == "gemini"


@pytest.mark.parametrize("model", WIRES)
@pytest.mark.parametrize("fault", ["error", "cut", "eof"])
def test_a_failure_in_mid_stream_is_raised(client: openai.OpenAI, model: str, fault: str) -> None:
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=model, messages=user(f"<<{fault}>>"), stream=True):
            pieces.append(chunk.choices[0].delta.content or "")
            assert chunk.choices[0].finish_reason is None
    assert "".join(pieces) == HALF
    assert not isinstance(caught.value, openai.APIConnectionError) and caught.value.message


@pytest.mark.parametrize("model", WIRES)
def test_a_failure_is_a_status(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=user("<<error>>"))
    assert {"message", "type", "param", "code"} <= caught.value.body.keys()


@pytest.mark.parametrize("model", ["claude", "gemini"])
def test_what_an_upstream_cannot_do_is_said(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=HELLO, n=3)
    assert caught.value.param == "n" and caught.value.message


# --- Vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vectors", "gemini-vectors"])
def test_embeddings(client: openai.OpenAI, model: str) -> None:
    """The SDK asks for base64 by itself, which Gemini does not have."""
    both = client.embeddings.create(model=model, input=["one", "two"])
    assert [entry.index for entry in both.data] == [0, 1]
    assert both.data[0].embedding != both.data[1].embedding
    single = client.embeddings.create(model=model, input="one", encoding_format="float")
    assert single.data[0].embedding == pytest.approx(both.data[0].embedding, abs=1e-6)
    short = client.embeddings.create(model=model, input="one", dimensions=2).data[0].embedding
    assert len(short) == 2 and math.hypot(*short) == pytest.approx(1, abs=1e-5)
