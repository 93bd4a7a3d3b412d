"""Streams that tell the truth: a failure is a status before the first content and an error event after it, and an end that
the provider did not announce is a failure."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from fake_provider import TEXT, FakeProvider
from support import (
    MASTER,
    PATIENCE,
    Gateway,
    Stream,
    assert_no_secret,
    chat,
    chat_stream,
    events,
    eventually,
    messages,
    messages_stream,
    scenarios,
)

MODELS = (
    "ok",
    "gated",
    "slow-400",
    "late-content-400",
    "silent-after-content-700",
    "silent-after-content-20000",
    "cut-before-content",
    "cut-after-content",
    "clean-eof",
    "error-before-content",
    "error-after-content",
    "status-500",
    "status-401",
    "html-error",
)
Open = Callable[[str, str], Stream]
WIRES = {"openai": (chat_stream, ""), "anthropic": (messages_stream, "claude-")}


@pytest.fixture
def server(fake: FakeProvider, gateway: Callable[..., Gateway]) -> Gateway:
    return gateway(scenarios(fake.url, *MODELS))


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


def open_stream(wire: str, url: str, name: str) -> Stream:
    call, prefix = WIRES[wire]
    return call(url, prefix + name)


def terminal(wire: str) -> bytes:
    return b"[DONE]" if wire == "openai" else b"message_stop"


def error_of(wire: str, body: bytes) -> dict:
    """The error event at the end of a failed stream, with a check that nothing pretends a good end."""
    assert_no_secret(body, "the stream")
    assert terminal(wire) not in body
    assert b'"finish_reason":"stop"' not in body and b"end_turn" not in body
    assert body.endswith(b"\n\n")
    last = list(events(body))[-1]
    if wire == "openai":
        assert last.name is None
        assert {"message", "type", "param", "code"} <= last.json["error"].keys()
    else:
        assert last.name == "error" and last.json["type"] == "error"
    assert last.json["error"]["message"]
    return last.json["error"]


@pytest.mark.parametrize("name", ["error-after-content", "cut-after-content", "clean-eof"])
def test_failures_after_content(server: Gateway, fake: FakeProvider, wire: str, name: str) -> None:
    stream = open_stream(wire, server.url, name)
    assert stream.head().status == 200
    # `rest` fails unless the chunked body ends properly: the front must not be the one to cut the connection.
    error_of(wire, stream.rest())
    seen = fake.only()
    content = b"".join(frame for frame in seen.frames if b'"error"' not in frame)
    assert stream.body.startswith(content)
    assert stream.body.count(b'"error":') == 1
    logged = server.wait_for_requests(1)[0]
    assert logged["status"] == 200 and logged["stream"] is True
    assert logged["error_class"] and logged["error"]


@pytest.mark.parametrize("name", ["error-before-content", "cut-before-content", "status-500", "html-error"])
def test_failures_before_content_are_a_status(server: Gateway, wire: str, name: str) -> None:
    call, prefix = (chat, "") if wire == "openai" else (messages, "claude-")
    answer = call(server.url, prefix + name, stream=True)
    assert 500 <= answer.status < 600
    assert answer.header("content-type") == "application/json"
    assert answer.message and "<html" not in answer.message
    logged = server.wait_for_requests(1)[0]
    assert logged["status"] == answer.status and logged["error_class"]


def test_errors_of_a_buffered_body_that_is_cut(server: Gateway, wire: str) -> None:
    call, prefix = (chat, "") if wire == "openai" else (messages, "claude-")
    answer = call(server.url, prefix + "cut-after-content")
    assert answer.status == 502 and answer.message


def test_nothing_is_sent_before_the_first_content(server: Gateway, fake: FakeProvider, wire: str) -> None:
    stream = open_stream(wire, server.url, "gated")
    # One frame, which opens the message and says nothing yet.
    fake.release()
    seen = fake.wait()[0]
    eventually(lambda: len(seen.frames) == 1)
    sock = stream.connection.sock
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.recv(1, socket.MSG_PEEK)
    sock.settimeout(PATIENCE)
    fake.release(100)
    assert stream.rest() == b"".join(frame for frame in seen.frames if b'"choices":[]' not in frame)


def comments(body: bytes) -> int:
    return sum(line.startswith(b":") for line in body.splitlines())


def test_heartbeat_in_silence(fake: FakeProvider, gateway: Callable[..., Gateway], wire: str) -> None:
    server = gateway(scenarios(fake.url, *MODELS, heartbeat=0.2))
    body = open_stream(wire, server.url, "silent-after-content-700").rest()
    assert 2 <= comments(body) <= 4, body
    # Comments stand between events and change none.
    without = b"".join(block + b"\n\n" for block in body.split(b"\n\n")[:-1] if not block.startswith(b":"))
    assert without == b"".join(frame for frame in fake.only().frames if b'"choices":[]' not in frame)


# Silence with the provider's headers here already: that is where early comments begin, since until then its status is unknown.
EARLY = pytest.mark.parametrize("name", ["late-content-400"])
LATE = pytest.mark.parametrize("name", ["late-content-400", "slow-400"])


@LATE
def test_no_heartbeat_before_content(fake: FakeProvider, gateway: Callable[..., Gateway], wire: str, name: str) -> None:
    server = gateway(scenarios(fake.url, *MODELS, heartbeat=0.1))
    assert comments(open_stream(wire, server.url, name).rest()) == 0


@EARLY
def test_early_heartbeat(fake: FakeProvider, gateway: Callable[..., Gateway], wire: str, name: str) -> None:
    server = gateway(scenarios(fake.url, *MODELS, heartbeat=0.1, early_heartbeat=True))
    stream = open_stream(wire, server.url, name)
    stream.until(b"Hello")
    before, _, _ = stream.body.partition(b"Hello")
    assert comments(before) >= 2
    stream.rest()
    kept = b"".join(block + b"\n\n" for block in stream.body.split(b"\n\n")[:-1] if not block.startswith(b":"))
    assert kept == b"".join(frame for frame in fake.only().frames if b'"choices":[]' not in frame)


def test_early_heartbeat_commits_the_status(fake: FakeProvider, gateway: Callable[..., Gateway], wire: str) -> None:
    """Once the 200 is out a failure can only be an event."""
    server = gateway(scenarios(fake.url, *MODELS, heartbeat=0.1, early_heartbeat=True))
    stream = open_stream(wire, server.url, "gated")
    # The opening says nothing yet; then the provider is silent, and then it cuts the connection.
    fake.release()
    stream.until(b":")
    assert stream.head().status == 200
    fake.cut_gated()
    error_of(wire, stream.rest())


def test_a_stream_that_stays_silent_is_ended(fake: FakeProvider, gateway: Callable[..., Gateway], wire: str) -> None:
    server = gateway(scenarios(fake.url, *MODELS, idle_timeout=0.3))
    stream = open_stream(wire, server.url, "silent-after-content-20000")
    error_of(wire, stream.rest())
    assert fake.only().disconnected


def test_a_client_that_goes_cancels_the_upstream(server: Gateway, fake: FakeProvider, wire: str) -> None:
    stream = open_stream(wire, server.url, "silent-after-content-20000")
    stream.until(b"Hello")
    stream.close()
    seen = fake.only()
    assert seen.disconnected
    logged = server.wait_for_requests(1)[0]
    assert logged["error_class"], logged


def test_a_client_that_goes_before_the_first_content(server: Gateway, fake: FakeProvider, wire: str) -> None:
    stream = open_stream(wire, server.url, "gated")
    fake.wait()
    stream.close()
    assert fake.only().disconnected


def test_a_client_that_goes_before_the_first_content_is_logged(server: Gateway, fake: FakeProvider, wire: str) -> None:
    """One line for each request, above all for those that nobody has waited for."""
    stream = open_stream(wire, server.url, "gated")
    fake.wait()
    stream.close()
    assert eventually(lambda: server.requests, 5)[0]["error_class"]


def test_a_client_that_goes_from_a_buffered_answer(server: Gateway, fake: FakeProvider) -> None:
    body = json.dumps({"model": "gated", "messages": []}).encode()
    stream = Stream(server.url, "/v1/chat/completions", body, {"authorization": f"Bearer {MASTER}"})
    seen = fake.wait()[0]
    stream.close()
    assert seen.over.wait(5) and seen.disconnected


def test_a_client_that_resets_the_connection(server: Gateway, fake: FakeProvider) -> None:
    stream = chat_stream(server.url, "silent-after-content-20000")
    stream.until(b"Hello")
    sock = stream.connection.sock or stream.response.fp.raw._sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
    assert fake.wait()[0].over.wait(5)
    assert fake.seen[0].disconnected
    # And the gateway goes on.
    assert chat(server.url).status == 200


def test_a_slow_reader_slows_the_upstream(fake: FakeProvider, gateway: Callable[..., Gateway]) -> None:
    """Back pressure: a client that does not read must not make the gateway hold the whole stream."""
    server = gateway(scenarios(fake.url, "big-60000"))
    address = urlsplit(server.url)
    body = json.dumps({"model": "big-60000", "messages": [], "stream": True}).encode()
    with socket.socket() as sock:
        # Small, so that the kernel's share of the buffering is small too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(PATIENCE)
        sock.connect((address.hostname, address.port))
        sock.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MASTER}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        seen = fake.wait()[0]
        # The provider stops when nobody takes its frames: the count stands still far from the end.
        count = eventually(lambda: standing(seen))
        assert count < 40000, "the gateway took it all"


def standing(seen: object) -> int | None:
    before = len(seen.frames)
    time.sleep(0.3)
    return before if before and len(seen.frames) == before else None


def test_text_of_a_whole_stream(server: Gateway) -> None:
    text = "".join(
        choice["delta"].get("content") or ""
        for event in events(chat_stream(server.url, "ok").rest())
        if event.data != "[DONE]"
        for choice in event.json["choices"]
    )
    assert text == TEXT
    logged = server.wait_for_requests(1)[0]
    assert (logged["input_tokens"], logged["output_tokens"], logged.get("error_class")) == (11, 5, None)


def test_anthropic_usage_is_logged(server: Gateway) -> None:
    messages_stream(server.url, "claude-ok").rest()
    messages(server.url)
    for logged in server.wait_for_requests(2):
        assert (logged["input_tokens"], logged["output_tokens"]) == (11, 5)
