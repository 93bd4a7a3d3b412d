"""The official Anthropic SDK against every front."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import anthropic
import pytest

from conftest import Front
from fake_provider import TEXT, Anthropic
from support import ANTHROPIC_KEY, HELLO, MASTER, OPENAI_KEY, assert_no_secret, every_front, secret


def connect(front: Front, key: str = MASTER) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=front.url, max_retries=0, timeout=20)


@pytest.fixture
def client(front: Front) -> Iterator[anthropic.Anthropic]:
    with connect(front) as one:
        yield one


def refused(error: anthropic.APIStatusError, status: int) -> dict:
    """The inner error object, after the checks that hold for each."""
    assert error.status_code == status
    assert error.response.headers["request-id"] == error.response.headers["x-request-id"] == error.request_id
    assert_no_secret(error.response.text, "the error body")
    assert isinstance(error.body, dict) and error.body["type"] == "error", error.body
    assert {"type", "message"} <= error.body["error"].keys()
    return error.body["error"]


@every_front
def test_buffered(front: Front, client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="claude-ok", max_tokens=9, messages=HELLO)
    assert [block.text for block in answer.content] == [TEXT]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 5)
    assert answer._request_id and answer._request_id != "upstream-id"
    seen = front.fake.only()
    assert seen.json == {"max_tokens": 9, "messages": HELLO, "model": "ok"}
    assert seen.header("x-api-key") == ANTHROPIC_KEY and seen.header("authorization") is None
    assert seen.header("anthropic-version") == client.default_headers["anthropic-version"]


@every_front
def test_streamed_events(front: Front, client: anthropic.Anthropic) -> None:
    events = list(client.messages.create(model="claude-ok", max_tokens=9, messages=HELLO, stream=True))
    assert events[0].type == "message_start" and events[-1].type == "message_stop"
    assert "".join(e.delta.text for e in events if e.type == "content_block_delta") == TEXT


@every_front
def test_stream_helper_with_tools(front: Front, client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="claude-tools", max_tokens=9, messages=HELLO) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    assert [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"] == [
        ("toolu_1", "weather", {"city": "Zürich"}),
        ("toolu_2", "time", {}),
    ]


@every_front
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_keeps_its_signature(front: Front, client: anthropic.Anthropic, stream: bool) -> None:
    request = {"model": "claude-thinking", "max_tokens": 2000, "messages": HELLO}
    request["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    if stream:
        with client.messages.stream(**request) as running:
            answer = running.get_final_message()
    else:
        answer = client.messages.create(**request)
    thought, text = answer.content
    assert (thought.thinking, thought.signature) == (Anthropic.thought["thinking"], Anthropic.thought["signature"])
    assert text.text == TEXT
    assert front.fake.only().json["thinking"] == request["thinking"]


def test_buffered_tools(front: Front, client: anthropic.Anthropic) -> None:
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    answer = client.messages.create(model="claude-tools", max_tokens=9, messages=HELLO, tools=[tool])
    assert [block.input for block in answer.content if block.type == "tool_use"] == [{"city": "Zürich"}, {}]
    assert front.fake.only().json["tools"] == [tool]


@every_front
def test_async_client(front: Front) -> None:
    async def run() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(api_key=MASTER, base_url=front.url, max_retries=0, timeout=20) as client:
            whole = await client.messages.create(model="claude-ok", max_tokens=9, messages=HELLO)
            async with client.messages.stream(model="claude-ok", max_tokens=9, messages=HELLO) as stream:
                return whole.content[0].text, await stream.get_final_text()

    assert asyncio.run(run()) == (TEXT, TEXT)


@every_front
def test_count_tokens(front: Front, client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="claude-ok", messages=HELLO).input_tokens == 42
    seen = front.fake.only()
    assert (seen.path, seen.json) == ("/v1/messages/count_tokens", {"messages": HELLO, "model": "ok"})


def test_count_tokens_of_another_wire(front: Front, client: anthropic.Anthropic) -> None:
    """Estimated: OpenAI's wire cannot count, and a 404 would switch off how agents keep their context."""
    assert 0 < client.messages.count_tokens(model="ok", messages=HELLO).input_tokens < 50
    assert not front.fake.seen


def test_beta_calls(front: Front, client: anthropic.Anthropic) -> None:
    """They add `?beta=true` to the path and name the betas in a header."""
    client.beta.messages.create(
        model="claude-ok", max_tokens=9, messages=HELLO, betas=["files-api-2025-04-14", "context-1m-2025-08-07"]
    )
    seen = front.fake.only()
    assert seen.path == "/v1/messages"
    betas = (seen.header("anthropic-beta") or "").replace(" ", "")
    assert betas == "files-api-2025-04-14,context-1m-2025-08-07"


def test_bearer_token(front: Front) -> None:
    with anthropic.Anthropic(auth_token=MASTER, base_url=front.url, max_retries=0, timeout=20) as client:
        client.messages.create(model="claude-ok", max_tokens=9, messages=HELLO)
    assert front.fake.only().header("x-api-key") == ANTHROPIC_KEY


@every_front
def test_models(front: Front, client: anthropic.Anthropic) -> None:
    listed = {entry.id: entry for entry in client.models.list(limit=1000)}
    assert {"ok", "claude-ok"} <= listed.keys()
    assert {entry.type for entry in listed.values()} == {"model"}
    assert all(entry.display_name and entry.created_at for entry in listed.values())
    assert client.models.retrieve("claude-ok").id == "claude-ok"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert refused(caught.value, 404)["type"] == "not_found_error"


@every_front
def test_wrong_key(front: Front) -> None:
    with connect(front, secret("wrong-key")) as client, pytest.raises(anthropic.AuthenticationError) as caught:
        client.messages.create(model="claude-ok", max_tokens=9, messages=HELLO)
    assert refused(caught.value, 401)["type"] == "authentication_error"
    assert not front.fake.seen


@every_front
def test_unknown_model(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="nobody", max_tokens=9, messages=HELLO)
    error = refused(caught.value, 404)
    assert error["type"] == "not_found_error" and "nobody" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_rate_limit_of_the_provider(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(model="claude-status-429", max_tokens=9, messages=HELLO, stream=stream)
    error = refused(caught.value, 429)
    assert error["type"] == "rate_limit_error" and "the provider says 429" in error["message"]
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403])
def test_the_gateways_own_credential_is_refused(client: anthropic.Anthropic, status: int) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=f"claude-status-{status}", max_tokens=9, messages=HELLO)
    error = refused(caught.value, 502)
    assert error["type"] == "api_error" and "credential" in error["message"]


@pytest.mark.parametrize(("model", "status"), [("status-500", 500), ("html-error", 503)])
def test_failures_of_the_provider(client: anthropic.Anthropic, model: str, status: int) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=f"claude-{model}", max_tokens=9, messages=HELLO)
    assert "<html" not in refused(caught.value, status)["message"]


def test_bad_requests(front: Front, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="claude-status-400", max_tokens=9, messages=HELLO)
    assert refused(caught.value, 400)["type"] == "invalid_request_error"
    front.fake.clear()
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="claude-ok", max_tokens=9, messages="hello")
    error = refused(caught.value, 400)
    assert error["type"] == "invalid_request_error" and "messages" in error["message"]
    assert not front.fake.seen


@every_front
@pytest.mark.parametrize("model", ["error-after-content", "clean-eof", "cut-after-content"])
def test_a_failure_in_mid_stream_is_raised(front: Front, client: anthropic.Anthropic, model: str) -> None:
    pieces: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model=f"claude-{model}", max_tokens=9, messages=HELLO) as stream:
            pieces.extend(stream.text_stream)
    assert "".join(pieces) == "Hello"
    assert isinstance(caught.value.body, dict) and caught.value.body["type"] == "error"
    assert caught.value.body["error"]["message"]


@pytest.mark.parametrize("model", ["error-before-content", "cut-before-content"])
def test_a_failure_before_content_is_a_status(client: anthropic.Anthropic, model: str) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=f"claude-{model}", max_tokens=9, messages=HELLO, stream=True)
    assert caught.value.status_code >= 500
    refused(caught.value, caught.value.status_code)


@every_front
@pytest.mark.parametrize("stream", [False, True])
def test_another_wire(front: Front, client: anthropic.Anthropic, stream: bool) -> None:
    request = {"model": "tools", "max_tokens": 9, "messages": HELLO, "system": "Be brief."}
    if stream:
        with client.messages.stream(**request) as running:
            answer = running.get_final_message()
    else:
        answer = client.messages.create(**request)
    assert [(block.name, block.input) for block in answer.content] == [("weather", {"city": "Zürich"}), ("time", {})]
    assert (answer.stop_reason, answer.usage.input_tokens) == ("tool_use", 11)
    seen = front.fake.only()
    assert seen.path == "/v1/chat/completions" and seen.header("authorization") == f"Bearer {OPENAI_KEY}"
    assert seen.header("x-api-key") is None and seen.header("anthropic-version") is None
    assert [message["role"] for message in seen.json["messages"]] == ["system", "user"]


@pytest.mark.parametrize("model", ["error-after-content", "clean-eof", "cut-after-content"])
def test_a_failure_in_mid_stream_of_another_wire_is_raised(client: anthropic.Anthropic, model: str) -> None:
    pieces: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model=model, max_tokens=9, messages=HELLO) as stream:
            pieces.extend(stream.text_stream)
    assert "".join(pieces) == "Hello"
    assert isinstance(caught.value.body, dict) and caught.value.body["error"]["message"]


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_refusals_of_another_wire(client: anthropic.Anthropic, status: int) -> None:
    want = {400: 400, 401: 502, 429: 429, 500: 500}[status]
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model=f"status-{status}", max_tokens=9, messages=HELLO)
    assert status == 401 or f"the provider says {status}" in refused(caught.value, want)["message"]
    assert caught.value.status_code == want and caught.value.response.headers.get("retry-after") == (
        "7" if status == 429 else None
    )
