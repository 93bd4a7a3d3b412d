"""The official OpenAI SDK against every front. What it raises is part of the contract: users catch those classes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest

from conftest import Front
from fake_provider import TEXT
from support import ANTHROPIC_KEY, HELLO, MASTER, OPENAI_KEY, assert_no_secret, every_front, secret


def connect(front: Front, key: str = MASTER, **options: object) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=front.url + "/v1", max_retries=0, timeout=20, **options)


@pytest.fixture
def client(front: Front) -> Iterator[openai.OpenAI]:
    with connect(front) as one:
        yield one


def refused(error: openai.APIStatusError, status: int) -> dict:
    """The parsed error object, after the checks that hold for each."""
    assert error.status_code == status
    assert error.request_id, "x-request-id is missing"
    assert_no_secret(error.response.text, "the error body")
    assert isinstance(error.body, dict) and {"message", "type", "param", "code"} <= error.body.keys()
    return error.body


@every_front
def test_buffered(front: Front, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="ok", messages=HELLO, temperature=0.5)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and answer.usage.total_tokens == 16
    assert answer._request_id and answer._request_id != "upstream-id"
    seen = front.fake.only()
    assert seen.json == {"messages": HELLO, "model": "ok", "temperature": 0.5}
    assert seen.header("authorization") == f"Bearer {OPENAI_KEY}"


@every_front
def test_streamed(front: Front, client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="ok", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    # The gateway counts tokens for itself; a client that did not ask sees no frame without choices.
    assert all(chunk.choices for chunk in chunks)
    assert front.fake.only().json["stream_options"] == {"include_usage": True}


@every_front
def test_streamed_with_usage(front: Front, client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="ok", messages=HELLO, stream=True, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 16


@every_front
def test_stream_helper_with_tools(front: Front, client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="tools", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert {"chunk", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("call_1", "weather", '{"city":"Zürich"}'),
        ("call_2", "time", "{}"),
    ]


def test_buffered_tools(front: Front, client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    answer = client.chat.completions.create(model="tools", messages=HELLO, tools=[tool], tool_choice="required")
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls[0].function.arguments == '{"city":"Zürich"}'
    assert front.fake.only().json["tools"] == [tool]


@every_front
def test_async_client(front: Front) -> None:
    async def run() -> tuple[str, str]:
        async with openai.AsyncOpenAI(api_key=MASTER, base_url=front.url + "/v1", max_retries=0, timeout=20) as client:
            whole = await client.chat.completions.create(model="ok", messages=HELLO)
            stream = await client.chat.completions.create(model="ok", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content or "", "".join(pieces)

    assert asyncio.run(run()) == (TEXT, TEXT)


def test_extra_fields_reach_the_provider_and_come_back(front: Front, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="unknown-fields", messages=HELLO, extra_body={"x_tomorrow": {"a": [1]}})
    assert front.fake.only().json["x_tomorrow"] == {"a": [1]}
    assert answer.x_new == [1.0, 0.1]
    chunks = list(client.chat.completions.create(model="unknown-fields", messages=HELLO, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "hällo 🦉", None]
    assert chunks[1].x_new == {"a": [1.0]}


@every_front
def test_models(front: Front, client: openai.OpenAI) -> None:
    listed = {entry.id: entry for entry in client.models.list()}
    assert {"ok", "claude-ok", "tools"} <= listed.keys()
    assert {entry.object for entry in listed.values()} == {"model"}
    assert all(isinstance(entry.created, int) and entry.owned_by for entry in listed.values())
    assert client.models.retrieve("claude-ok").id == "claude-ok"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert "nobody" in refused(caught.value, 404)["message"]


@every_front
def test_wrong_key(front: Front) -> None:
    with connect(front, secret("wrong-key")) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="ok", messages=HELLO)
    assert refused(caught.value, 401)["code"] == "invalid_api_key"
    assert not front.fake.seen


@every_front
def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=HELLO)
    body = refused(caught.value, 404)
    assert body["code"] == "model_not_found" and "nobody" in body["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_rate_limit_of_the_provider(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="status-429", messages=HELLO, stream=stream)
    assert "the provider says 429" in refused(caught.value, 429)["message"]
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
def test_bad_request_at_the_provider(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="status-400", messages=HELLO, stream=stream)
    assert refused(caught.value, 400)["type"] == "invalid_request_error"


@pytest.mark.parametrize("status", [401, 403])
def test_the_gateways_own_credential_is_refused(client: openai.OpenAI, status: int) -> None:
    """Not the client's fault, so not its 401: an SDK user would look for the mistake in the wrong key."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=f"status-{status}", messages=HELLO)
    assert "credential" in refused(caught.value, 502)["message"]


@pytest.mark.parametrize(("model", "status"), [("status-500", 500), ("html-error", 503)])
def test_failures_of_the_provider(client: openai.OpenAI, model: str, status: int) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert "<html" not in refused(caught.value, status)["message"]


def test_messages_of_the_wrong_type(front: Front, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="ok", messages="hello")
    assert "messages" in refused(caught.value, 400)["message"]
    assert not front.fake.seen


@every_front
@pytest.mark.parametrize("model", ["error-after-content", "clean-eof", "cut-after-content"])
def test_a_failure_in_mid_stream_is_raised(front: Front, client: openai.OpenAI, model: str) -> None:
    """Not a stream that just ends: the SDK would hand the half answer on as a whole one."""
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")
    assert "".join(pieces) == "Hello"
    # A lost connection would be an APIError as well; this one has to be an event that says what happened.
    assert not isinstance(caught.value, openai.APIConnectionError) and isinstance(caught.value.body, dict)
    assert caught.value.body["message"]


@pytest.mark.parametrize("model", ["error-before-content", "cut-before-content"])
def test_a_failure_before_content_is_a_status(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=True)
    assert caught.value.status_code >= 500
    refused(caught.value, caught.value.status_code)


@every_front
@pytest.mark.parametrize("stream", [False, True])
def test_another_wire(front: Front, client: openai.OpenAI, stream: bool) -> None:
    request = {"model": "claude-tools", "messages": [{"role": "system", "content": "Be brief."}, *HELLO]}
    if stream:
        with client.chat.completions.stream(**request) as running:
            answer = running.get_final_completion()
    else:
        answer = client.chat.completions.create(**request)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    # The scenario says something before it calls only where it answers in one piece.
    assert choice.message.content == (None if stream else TEXT)
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("toolu_1", "weather", '{"city":"Zürich"}'), ("toolu_2", "time", "{}")]
    seen = front.fake.only()
    assert seen.path == "/v1/messages" and seen.header("x-api-key") == ANTHROPIC_KEY
    assert seen.header("authorization") is None and seen.header("anthropic-version")
    assert seen.json["max_tokens"] > 4096 and len(seen.json["messages"]) == 1 and seen.json["system"]


@pytest.mark.parametrize("model", ["error-after-content", "clean-eof", "cut-after-content"])
def test_a_failure_in_mid_stream_of_another_wire_is_raised(client: openai.OpenAI, model: str) -> None:
    pieces: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=f"claude-{model}", messages=HELLO, stream=True):
            pieces.append(chunk.choices[0].delta.content or "")
    assert "".join(pieces) == "Hello"
    assert not isinstance(caught.value, openai.APIConnectionError) and caught.value.message


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_refusals_of_another_wire(client: openai.OpenAI, status: int) -> None:
    want = {400: 400, 401: 502, 429: 429, 500: 500}[status]
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=f"claude-status-{status}", messages=HELLO)
    assert status == 401 or f"the provider says {status}" in refused(caught.value, want)["message"]
    assert caught.value.status_code == want and caught.value.response.headers.get("retry-after") == (
        "7" if status == 429 else None
    )
