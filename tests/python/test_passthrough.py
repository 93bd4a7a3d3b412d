"""Same wire on both sides: bytes in are bytes out, but for the few spans that the gateway says it edits."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from fake_provider import FakeProvider
from support import (
    ANTHROPIC_KEY,
    HELLO,
    MASTER,
    OPENAI_KEY,
    PATIENCE,
    Answer,
    Gateway,
    Stream,
    anthropic_headers,
    assert_no_secret,
    bearer,
    chat,
    chat_stream,
    config,
    eventually,
    http_request,
    messages,
    messages_stream,
    model,
    scenarios,
    secret,
)

CHAT, MESSAGES, COUNT = "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"
MODELS = ("ok", "gated", "unknown-fields", "echo", "redirect", "big-300", "tools", "thinking")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def server(fake: FakeProvider, gateway: Callable[..., Gateway]) -> Gateway:
    return gateway(scenarios(fake.url, *MODELS))


def post(server: Gateway, target: str, body: bytes, **headers: str) -> Answer:
    """With the credentials of the dialect."""
    base = anthropic_headers() if target.startswith(MESSAGES) else bearer()
    return http_request(server.url, "POST", target, body, base | headers)


# Written as few SDKs would: the gateway has no business to tidy it.
STRANGE = (
    '\n{ "x_first" : [1.0, 1e400, 0.10, -0, 12345678901234567890],\t"messages":[ {"role":"user","content":"h\\u00e4llo '
    '🦉 \\/ \\ud83e\\udd89","x":null} ],\r\n "%s":%s ,"max_tokens":9,"a":{"z":1,"a":2,"a":3},"tail":"\\"model\\":\\"ok\\"",'
    '"temperature":0.70 } \n'
)


@pytest.mark.parametrize(
    ("target", "name"),
    [(CHAT, "ok"), (CHAT, "unknown-fields"), (MESSAGES, "claude-ok"), (MESSAGES, "claude-unknown-fields"), (COUNT, "claude-ok")],
)
def test_request_and_answer_byte_for_byte(server: Gateway, fake: FakeProvider, target: str, name: str) -> None:
    body = STRANGE % ("model", json.dumps(name))
    answer = post(server, target, body.encode())
    assert answer.status == 200, answer.body
    seen = fake.only()
    assert seen.body == (STRANGE % ("model", json.dumps(name.removeprefix("claude-")))).encode()
    assert answer.body == seen.sent
    assert answer.header("content-type") == "application/json"


def test_the_model_may_be_spelled_with_escapes(server: Gateway, fake: FakeProvider) -> None:
    body = '{"max_tokens":1,"messages":[],"\\u006dodel":"\\u0063laude-ok"}'
    assert post(server, MESSAGES, body.encode()).status == 200
    assert fake.only().body == b'{"max_tokens":1,"messages":[],"\\u006dodel":"ok"}'


@pytest.mark.parametrize("name", ["ok", "unknown-fields", "tools", "big-300"])
@pytest.mark.parametrize("asked", [True, False])
def test_openai_stream_byte_for_byte(server: Gateway, fake: FakeProvider, name: str, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    stream = chat_stream(server.url, name, **options)
    assert stream.head().status == 200
    assert (stream.head().getheader("content-type") or "").startswith("text/event-stream")
    assert "no-cache" in (stream.head().getheader("cache-control") or "")
    got, seen = stream.rest(), fake.only()
    # The fake sends usage only when asked: the gateway asks, and hides that one frame from a client that did not.
    usage_only = re.compile(rb'"choices"\s*:\s*\[\s*\]')
    assert any(usage_only.search(frame) for frame in seen.frames)
    assert got == b"".join(frame for frame in seen.frames if asked or not usage_only.search(frame))


@pytest.mark.parametrize("name", ["ok", "unknown-fields", "tools", "thinking", "big-300"])
def test_anthropic_stream_byte_for_byte(server: Gateway, fake: FakeProvider, name: str) -> None:
    got = messages_stream(server.url, f"claude-{name}").rest()
    assert got == fake.only().sent


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"stream":true', None),
        ('"stream":true,"stream_options":{ }', '"stream":true,"stream_options":{"include_usage":true }'),
        ('"stream":true,"stream_options":null', '"stream":true,"stream_options":{"include_usage":true}'),
        ('"stream":true,"stream_options":{"x":1}', '"stream":true,"stream_options":{"include_usage":true,"x":1}'),
        (
            '"stream":true,"stream_options":{"include_usage" : false,"x":1}',
            '"stream":true,"stream_options":{"include_usage" : true,"x":1}',
        ),
        ('"stream":true,"stream_options":{"include_usage" : true}', '"stream":true,"stream_options":{"include_usage" : true}'),
    ],
)
def test_stream_options_are_the_only_other_edit(server: Gateway, fake: FakeProvider, before: str, after: str | None) -> None:
    frame = '{ "x":1.0,"messages":[],  "model":"ok",%s, "y" : [ ]}'
    Stream(server.url, CHAT, (frame % before).encode(), bearer()).rest()
    got = fake.only().body.decode()
    if after is None:
        # Put in front of all other fields; the rest does not move.
        assert got == '{"stream_options":{"include_usage":true},' + (frame % before)[1:]
    else:
        assert got == frame % after


def test_no_stream_options_where_nothing_is_to_be_counted(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    server = gateway(scenarios(fake.url, "ok", stream_usage=False))
    got = chat_stream(server.url, "ok").rest()
    assert "stream_options" not in fake.only().json and got == fake.only().sent


def test_buffered_requests_get_no_stream_options(server: Gateway, fake: FakeProvider) -> None:
    chat(server.url)
    assert "stream_options" not in fake.only().json


def test_defaults_of_the_deployment(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    server = gateway(config([model("ok", "openai/ok", fake.url, temperature=0.2, seed=7)]))
    chat(server.url, temperature=0.9)
    assert fake.only().json == {"model": "ok", "messages": HELLO, "temperature": 0.9, "seed": 7}


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_each_frame_is_flushed_as_it_arrives(server: Gateway, fake: FakeProvider, wire: str) -> None:
    """The provider sends a frame only after the client has the one before, so a gateway that waits for more hangs."""
    stream = chat_stream(server.url, "gated") if wire == "openai" else messages_stream(server.url, "claude-gated")
    # Nothing goes out before the first content; frames up to it come together.
    held = 2 if wire == "openai" else 4
    fake.release(held)
    seen = fake.wait()[0]
    assert stream.exactly(len(b"".join(wait_for_frames(fake, held)))) == seen.sent
    while not seen.over.is_set() and b'"finish_reason":"stop"' not in stream.body and b"message_delta" not in stream.body:
        count = len(seen.frames)
        fake.release()
        frame = wait_for_frames(fake, count + 1)[-1]
        assert stream.exactly(len(frame)) == frame
    fake.release(2)
    stream.rest()
    assert stream.body.endswith((b"data: [DONE]\n\n", b'data: {"type":"message_stop"}\n\n'))


def wait_for_frames(fake: FakeProvider, count: int) -> list[bytes]:
    seen = fake.only_open()
    return eventually(lambda: len(seen.frames) >= count and seen.frames[:count])


def test_alias_in_answers(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    server = gateway(
        config(
            [model("my/alias", "openai/ok", fake.url), model("my-claude", "anthropic/ok", fake.url)],
            feathergate={"response_model": "alias"},
        )
    )
    for call, stream, alias in ((chat, chat_stream, "my/alias"), (messages, messages_stream, "my-claude")):
        answer = call(server.url, alias)
        assert answer.body == replaced(fake.only().sent, alias)
        fake.clear()
        got = stream(server.url, alias).rest()
        frames = [frame for frame in fake.only().frames if b'"choices":[]' not in frame]
        assert got == b"".join(replaced(frame, alias) for frame in frames)
        fake.clear()


def replaced(body: bytes, alias: str) -> bytes:
    return body.replace(b'"model":"ok"', b'"model":' + json.dumps(alias).encode())


# --- Headers ---------------------------------------------------------------------------------------------------------


def test_client_credentials_never_reach_the_provider(server: Gateway, fake: FakeProvider) -> None:
    client = secret("credential-of-the-client")
    headers = bearer() | {
        "x-api-key": client,
        "api-key": client,
        "x-goog-api-key": client,
        "cookie": f"session={client}",
        "proxy-authorization": f"Basic {client}",
        "openai-organization": client,
        "x-forwarded-for": "203.0.113.9",
        "x-stainless-lang": "python",
        "user-agent": "OpenAI/Python",
        "x-amz-security-token": client,
    }
    assert chat(server.url, headers=headers).status == 200
    seen = fake.only()
    arrived = str(seen.headers)
    assert client not in arrived and MASTER not in arrived
    assert seen.header("authorization") == f"Bearer {OPENAI_KEY}"
    for name in ("x-api-key", "cookie", "x-forwarded-for", "x-stainless-lang", "openai-organization"):
        assert seen.header(name) is None, name
    assert seen.header("user-agent") != "OpenAI/Python"
    assert seen.header("host") == urlsplit(fake.url).netloc


def test_headers_that_are_forwarded(server: Gateway, fake: FakeProvider) -> None:
    headers = {"anthropic-version": "2099-01-01", "anthropic-beta": "one-2025,two-2026", "traceparent": TRACE}
    assert post(server, MESSAGES, b'{"model":"claude-ok","max_tokens":1,"messages":[]}', **headers).status == 200
    seen = fake.only()
    assert {name: seen.header(name) for name in headers} == headers
    assert seen.header("x-api-key") == ANTHROPIC_KEY
    fake.clear()
    chat(server.url, headers=bearer() | headers)
    assert fake.only().header("traceparent") == TRACE
    assert fake.only().header("anthropic-beta") is None


def test_anthropic_version_is_filled_in(server: Gateway, fake: FakeProvider) -> None:
    assert messages(server.url, headers={"x-api-key": MASTER}).status == 200
    assert fake.only().header("anthropic-version") == "2023-06-01"


def test_several_betas_in_several_headers(server: Gateway, fake: FakeProvider) -> None:
    body = b'{"model":"claude-ok","max_tokens":1,"messages":[]}'
    head = [f"POST {MESSAGES} HTTP/1.1", "host: x", f"x-api-key: {MASTER}", "anthropic-beta: one", "anthropic-beta: two"]
    assert raw(server.url, [*head, f"content-length: {len(body)}"], body).startswith(b"HTTP/1.1 200")
    assert (fake.only().header("anthropic-beta") or "").replace(" ", "") == "one,two"


def test_headers_of_the_answer(server: Gateway, fake: FakeProvider) -> None:
    one, two = chat(server.url), messages(server.url)
    for answer in (one, two):
        assert answer.header("set-cookie") is None
        assert answer.header("x-request-id") not in (None, "upstream-id")
    assert two.header("request-id") == two.header("x-request-id") != one.header("x-request-id")
    logged = {line["request_id"] for line in server.wait_for_requests(2)}
    assert logged == {one.header("x-request-id"), two.header("x-request-id")}


@pytest.mark.parametrize("stream", [False, True])
def test_redirects_are_not_followed(server: Gateway, fake: FakeProvider, stream: bool) -> None:
    answer = chat(server.url, "redirect", stream=stream)
    assert answer.status == 502 and answer.message
    assert answer.header("location") is None
    # The fixture checks that nobody came to the other address.
    assert len(fake.seen) == 1


def test_a_header_cannot_be_injected_by_a_request_id(server: Gateway, fake: FakeProvider) -> None:
    """Bytes that HTTP allows in a value and a log or a header must not be broken by."""
    answer = chat(server.url, headers=bearer() | {"x-request-id": 'a" b\t{}', "traceparent": TRACE})
    assert answer.status == 200
    assert '"' not in (answer.header("x-request-id") or '"')


# --- Bodies that are refused -----------------------------------------------------------------------------------------

BAD = [
    (b"", "empty"),
    (b"{", "byte"),
    (b'{"model":"ok","messages":[],}', "byte 28"),
    (b'{"model":"ok","messages":[]} x', "byte"),
    (b"[]", "object"),
    (b'{"model":"ok","messages":["\xff"]}', "byte 27"),
    (b'{"model":"ok","messages":["\xed\xa0\x80"]}', "byte 27"),
    (b'{"model":"ok","messages":[],"model":"ok"}', "model"),
    (b'{"model":"ok","messages":[],"m\\u006fdel":"ok"}', "model"),
    (b'{"model":"ok","messages":[],"x":1,"x":1}', "x"),
    (b'{"messages":[]}', "model"),
    (b'{"model":"ok"}', "messages"),
    (b'{"model":7,"messages":[]}', "model"),
    (b'{"model":null,"messages":[]}', "model"),
    (b'{"model":"","messages":[]}', "model"),
    (b'{"model":"ok","messages":{}}', "messages"),
    (b'{"model":"ok","messages":"hi"}', "messages"),
    (b'{"model":"ok","messages":[],"stream":"true"}', "stream"),
    (b'{"model":"ok","messages":[],"stream":1}', "stream"),
]


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
@pytest.mark.parametrize(("body", "names"), BAD)
def test_bad_bodies(server: Gateway, fake: FakeProvider, target: str, body: bytes, names: str) -> None:
    answer = post(server, target, body)
    assert answer.status == 400, answer.body
    assert names in answer.message
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error"
    assert ("request_id" in answer.json) == (target == MESSAGES)
    assert not fake.seen


def test_the_field_at_fault_is_named_in_param(server: Gateway) -> None:
    answer = post(server, CHAT, b'{"model":"ok","messages":[],"stream":"yes"}')
    assert answer.json["error"]["param"] == "stream"


def test_the_request_id_of_an_error(server: Gateway) -> None:
    answer = messages(server.url, "nobody")
    assert answer.json["request_id"] == answer.header("request-id")


def small(fake: FakeProvider, gateway: Callable[..., Gateway]) -> Gateway:
    return gateway(scenarios(fake.url, "ok", max_request_mb=1))


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
@pytest.mark.parametrize("announced", [True, False])
def test_oversize_bodies(fake: FakeProvider, gateway: Callable[..., Gateway], target: str, announced: bool) -> None:
    server = small(fake, gateway)
    headers = anthropic_headers() if target == MESSAGES else bearer()
    lines = [f"POST {target} HTTP/1.1", "host: x", *(f"{k}: {v}" for k, v in headers.items())]
    if announced:
        # Said in the head, so there is no need to wait for the body.
        answer = raw(server.url, [*lines, f"content-length: {2 << 20}"], b"")
    else:
        # The length is not known beforehand, so nothing but counting helps.
        chunks = b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(17))
        answer = raw(server.url, [*lines, "transfer-encoding: chunked"], chunks)
    assert answer.startswith(b"HTTP/1.1 413")
    assert not fake.seen


def test_sdks_see_why_an_oversize_body_is_refused(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    """They are still sending when the answer comes. A server that then resets the connection too early makes a network error
    of it, and that is tried again."""
    url = small(fake, gateway).url
    request = {"model": "ok", "messages": [{"role": "user", "content": "x" * (4 << 20)}]}
    with openai.OpenAI(api_key=MASTER, base_url=url + "/v1", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**request)
    assert caught.value.status_code == 413 and str(1 << 20) in caught.value.message
    with anthropic.Anthropic(api_key=MASTER, base_url=url, max_retries=0) as client:
        with pytest.raises(anthropic.RequestTooLargeError) as caught:
            client.messages.create(max_tokens=1, **request)
    assert caught.value.body["error"]["type"] == "request_too_large"


def test_a_body_just_under_the_limit_passes(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    server = small(fake, gateway)
    head, tail = b'{"model":"ok","messages":[],"x":"', b'"}'
    body = head + b"x" * ((1 << 20) - 50 - len(head) - len(tail)) + tail
    assert post(server, CHAT, body).status == 200
    assert fake.only().body == body


def test_a_large_answer_passes(server: Gateway, fake: FakeProvider) -> None:
    answer = chat(server.url, "big-300")
    assert len(answer.body) > 300_000 and answer.body == fake.only().sent


def raw(url: str, head: list[str], body: bytes) -> bytes:
    """A request written by hand; what comes back until the headers are there."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        try:
            connection.sendall(body)
        except ConnectionError:
            # The server may have answered and closed before it had everything.
            pass
        answer = b""
        while b"\r\n\r\n" not in answer and (data := connection.recv(65536)):
            answer += data
    assert_no_secret(answer, head[0])
    return answer
