"""langchain and litellm, on both fronts, before strict upstreams of every wire. They parse more strictly than the SDKs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Front
from support import MASTER
from world import ADDRESS, ALL, CALLED, CITY, PERSON, REPORT, SCRIPT, TEXT, WIRES, Person, run

# Imported once for all tests: both take seconds.
langchain_openai = pytest.importorskip("langchain_openai", reason="pip install --no-deps -r tests/python/clients.txt")
langchain_anthropic = pytest.importorskip("langchain_anthropic")
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402


@tool
def weather(city: str) -> str:
    """The weather."""
    return run("weather", {"city": city})


@tool
def time() -> str:
    """The time."""
    return run("time", {})


TOOLS = [weather, time]
DIALECTS = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


def chat_model(vendors: Front, dialect: str, model: str, **fields: Any) -> Any:
    if dialect == "openai":
        return langchain_openai.ChatOpenAI(
            model=model, api_key=MASTER, base_url=vendors.url + "/v1", max_retries=0, timeout=20, **fields
        )
    return langchain_anthropic.ChatAnthropic(
        model=model, api_key=MASTER, base_url=vendors.url, max_retries=0, timeout=20, max_tokens=4000, **fields
    )


@DIALECTS
@pytest.mark.parametrize("model", ALL)
def test_langchain_invoke_and_stream(vendors: Front, dialect: str, model: str) -> None:
    chat = chat_model(vendors, dialect, model)
    messages = [SystemMessage("Be brief."), HumanMessage("hi")]
    answer = chat.invoke(messages)
    assert answer.text == TEXT and answer.usage_metadata["input_tokens"] == 120
    whole: AIMessageChunk | None = None
    for chunk in chat.stream(messages, **({"stream_usage": True} if dialect == "openai" else {})):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == TEXT and whole.usage_metadata["output_tokens"] == 25
    assert whole.usage_metadata["input_tokens"] == 120 and not whole.tool_calls


# DeepSeek wants its reasoning back, which these clients do not keep; where the wire is the same nobody adds it.
AGENTS = pytest.mark.parametrize(
    ("dialect", "model"),
    [(dialect, model) for dialect in ("openai", "anthropic") for model in ALL if (dialect, model) != ("openai", "deepseek")],
)


@AGENTS
@pytest.mark.parametrize("stream", [False, True])
def test_langchain_agent(vendors: Front, dialect: str, model: str, stream: bool) -> None:
    """The loop by hand, as an agent of langchain's runs it: messages go back as they came."""
    chat = chat_model(vendors, dialect, model).bind_tools(TOOLS)
    history: list = [SystemMessage("Use the tools."), HumanMessage(SCRIPT)]
    called = []
    for _ in range(6):
        if stream:
            chunks = list(chat.stream(history))
            answer: AIMessage = chunks[0]
            for chunk in chunks[1:]:
                answer = answer + chunk
        else:
            answer = chat.invoke(history)
        assert not answer.invalid_tool_calls, answer.invalid_tool_calls
        history.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            called.append((call["name"], call["args"]))
            history.append(ToolMessage(run(call["name"], call["args"]), tool_call_id=call["id"]))
    assert (called, answer.text) == (CALLED, REPORT)


# Its thinking refuses a forced tool.
MUSTNOT = [("deepseek", "function_calling")]


@pytest.mark.parametrize(
    ("dialect", "model", "method"),
    [
        ("openai", model, method)
        for model in ALL
        for method in ("json_schema", "function_calling", "json_mode")
        if (model, method) not in MUSTNOT
    ]
    + [
        ("anthropic", model, method)
        for model in ALL
        for method in ("json_schema", "function_calling")
        if (model, method) not in MUSTNOT
    ],
)
def test_langchain_structured_output(vendors: Front, dialect: str, model: str, method: str) -> None:
    chat = chat_model(vendors, dialect, model).with_structured_output(Person, method=method)
    assert chat.invoke([SystemMessage("Answer in JSON."), HumanMessage(ADDRESS)]) == PERSON


@DIALECTS
@pytest.mark.parametrize("models", [["claude", "gemini", "gpt"], ["gemini", "claude-new", "deepseek"]], ids="-".join)
def test_langchain_conversation_that_moves(vendors: Front, dialect: str, models: list[str]) -> None:
    history: list = [HumanMessage("hi")]
    for model in models:
        answer = chat_model(vendors, dialect, model).invoke(history)
        assert answer.text == TEXT
        history += [answer, HumanMessage("go on")]


# --- litellm ---------------------------------------------------------------------------------------------------------

FUNCTIONS = [
    {"type": "function", "function": {"name": "weather", "description": "the weather", "parameters": CITY}},
    {
        "type": "function",
        "function": {"name": "time", "description": "the time", "parameters": {"type": "object", "properties": {}}},
    },
]


@pytest.fixture(scope="module")
def litellm() -> Any:
    module = pytest.importorskip("litellm")
    module.telemetry = False
    module.suppress_debug_info = True
    return module


def options(vendors: Front, dialect: str, model: str) -> dict[str, Any]:
    base = vendors.url + ("/v1" if dialect == "openai" else "")
    # Its own default of `max_tokens` is a guess where it does not know the model's name.
    return {
        "model": f"{dialect}/{model}",
        "api_base": base,
        "api_key": MASTER,
        "timeout": 20,
        "num_retries": 0,
        "max_tokens": 4000,
    }


@AGENTS
@pytest.mark.parametrize("stream", [False, True])
def test_litellm_agent(vendors: Front, litellm: Any, dialect: str, model: str, stream: bool) -> None:
    request = options(vendors, dialect, model) | {"tools": FUNCTIONS}
    if (dialect, model) == ("openai", "gpt-5"):
        request["max_completion_tokens"] = request.pop("max_tokens")
    history: list = [{"role": "system", "content": "Use the tools."}, {"role": "user", "content": SCRIPT}]
    called = []
    for _ in range(6):
        answer = litellm.completion(messages=history, stream=stream, **request)
        if stream:
            answer = litellm.stream_chunk_builder(list(answer), messages=history)
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == ("tool_calls" if message.tool_calls else "stop")
        history.append(message.model_dump(include={"role", "content", "tool_calls", "thinking_blocks"}, exclude_none=True))
        for call in message.tool_calls or []:
            arguments = json.loads(call.function.arguments)
            called.append((call.function.name, arguments))
            history.append({"role": "tool", "tool_call_id": call.id, "content": run(call.function.name, arguments)})
        if not message.tool_calls:
            break
    assert (called, message.content) == (CALLED, REPORT)
    assert stream or answer.usage.total_tokens == 145


@DIALECTS
@pytest.mark.parametrize("model", WIRES)
def test_litellm_structured_output(vendors: Front, litellm: Any, dialect: str, model: str) -> None:
    request = options(vendors, dialect, model)
    answer = litellm.completion(messages=[{"role": "user", "content": ADDRESS}], response_format=Person, **request)
    assert Person.model_validate_json(answer.choices[0].message.content) == PERSON


@DIALECTS
@pytest.mark.parametrize("model", WIRES)
def test_litellm_failures(vendors: Front, litellm: Any, dialect: str, model: str) -> None:
    request = options(vendors, dialect, model)
    with pytest.raises(litellm.exceptions.NotFoundError):
        litellm.completion(messages=[{"role": "user", "content": "hi"}], **request | {"model": f"{dialect}/nobody"})
    with pytest.raises(Exception, match="."):
        list(litellm.completion(messages=[{"role": "user", "content": "<<error>>"}], stream=True, **request))


def test_litellm_embeddings(vendors: Front, litellm: Any) -> None:
    for model in ("vectors", "gemini-vectors"):
        request = {name: value for name, value in options(vendors, "openai", model).items() if name != "max_tokens"}
        answer = litellm.embedding(input=["one", "two"], **request)
        assert [len(entry["embedding"]) for entry in answer.data] == [4, 4]
