"""The Lambda front, byte by byte against a Runtime API that hides nothing.

What Lambda does with these bytes is fixed: the prelude is JSON, eight NULs end it, and everything after is the body. Errors
travel inside it, since Lambda's own error trailers would reach the client as text.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable

import pytest

from conftest import Lambda
from fake_provider import TEXT, FakeProvider
from runtime_api import SEPARATOR, STREAMING, Invocation, url_event
from support import (
    HELLO,
    MASTER,
    anthropic_headers,
    assert_no_secret,
    bearer,
    chat_stream,
    config,
    events,
    eventually,
    model,
    scenarios,
    secret,
)

MODELS = (
    "ok",
    "gated",
    "slow-300",
    "silent-after-content-20000",
    "error-before-content",
    "error-after-content",
    "cut-after-content",
    "clean-eof",
    "unknown-fields",
    "big-300",
)
Start = Callable[..., Lambda]


@pytest.fixture
def function(fake: FakeProvider, lambda_gateway: Start) -> Lambda:
    return lambda_gateway(scenarios(fake.url, *MODELS))


def chat_event(name: str = "ok", stream: bool = False, headers: dict[str, str] | None = None, **options: bool) -> dict:
    body = json.dumps({"model": name, "messages": HELLO, "stream": stream}).encode()
    headers = {"content-type": "application/json"} | (bearer() if headers is None else headers)
    return url_event(headers=headers, body=body, **options)


def messages_event(name: str, stream: bool = False) -> dict:
    body = json.dumps({"model": name, "max_tokens": 9, "messages": HELLO, "stream": stream}).encode()
    return url_event(target="/v1/messages", headers={"content-type": "application/json"} | anthropic_headers(), body=body)


def checked(invocation: Invocation) -> Invocation:
    """What must be true of every streamed answer."""
    invocation.wait()
    assert invocation.error is None, invocation.error
    assert invocation.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert invocation.headers["content-type"] == STREAMING
    assert invocation.headers["transfer-encoding"] == "chunked"
    # Announced by the runtime crate and never to be used.
    assert invocation.trailers == b""
    assert b"Lambda-Runtime-Function-Error" not in invocation.body
    first, second = invocation.chunks[0][1], invocation.chunks[1][1]
    assert second == SEPARATOR, "the separator must be a chunk of its own"
    prelude = json.loads(first)
    assert set(prelude) <= {"statusCode", "headers", "cookies"}
    # A header with two values would be an array, and what Lambda makes of that is not known.
    assert all(isinstance(value, str) for value in prelude["headers"].values()), prelude
    assert_no_secret(invocation.body if prelude["statusCode"] >= 400 else first, "the answer")
    return invocation


def test_a_streamed_answer(function: Lambda, fake: FakeProvider) -> None:
    invocation = checked(function.api.invoke(chat_event(stream=True)))
    assert invocation.prelude["statusCode"] == 200
    assert invocation.prelude["headers"]["content-type"].startswith("text/event-stream")
    assert invocation.prelude["headers"]["x-request-id"]
    frames = [frame for frame in fake.only().frames if b'"choices":[]' not in frame]
    assert invocation.payload == b"".join(frames)
    assert b"".join(data for _, data in invocation.chunks[2:]) == invocation.payload


def test_each_frame_is_a_chunk_at_once(function: Lambda, fake: FakeProvider) -> None:
    """The provider sends a frame only after the last one is here, so what is buffered anywhere hangs."""
    fake.release(2)
    invocation = function.api.invoke(chat_event("gated", stream=True))
    invocation.wait(lambda i: SEPARATOR in i.body and b"Hello" in i.payload)
    seen = fake.only_open()
    for number in range(2, 6):
        before = len(invocation.chunks)
        fake.release()
        invocation.wait(lambda i: len(i.chunks) > before)
        assert invocation.chunks[before][1] == seen.frames[number]
    fake.release(2)
    checked(invocation)
    assert invocation.payload.endswith(b"data: [DONE]\n\n")


def test_a_buffered_answer(function: Lambda, fake: FakeProvider) -> None:
    for event in (chat_event(), messages_event("claude-unknown-fields")):
        fake.clear()
        invocation = checked(function.api.invoke(event))
        assert invocation.prelude["statusCode"] == 200
        assert invocation.prelude["headers"]["content-type"] == "application/json"
        assert invocation.payload == fake.only().sent


def test_a_large_answer(function: Lambda, fake: FakeProvider) -> None:
    assert checked(function.api.invoke(chat_event("big-300"))).payload == fake.only().sent


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (chat_event("nobody"), 404),
        (chat_event("nobody", stream=True), 404),
        (chat_event("error-before-content", stream=True), 500),
        (chat_event(headers=bearer("nonsense")), 401),
        (chat_event(headers={}), 401),
        (url_event(method="GET", target="/nowhere", headers=bearer()), 404),
        (url_event(headers=bearer(), body=b"{"), 400),
        (url_event(headers=bearer()), 400),
    ],
)
def test_errors_have_a_status(function: Lambda, event: dict, status: int) -> None:
    invocation = checked(function.api.invoke(event))
    got = invocation.prelude["statusCode"]
    assert got == status or (status == 500 and got in (500, 502))
    assert set(json.loads(invocation.payload)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("name", ["error-after-content", "cut-after-content", "clean-eof"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_error_endings_are_in_the_stream(function: Lambda, name: str, wire: str) -> None:
    event = chat_event(name, stream=True) if wire == "openai" else messages_event(f"claude-{name}", stream=True)
    invocation = checked(function.api.invoke(event))
    assert invocation.prelude["statusCode"] == 200
    last = list(events(invocation.payload))[-1]
    assert last.json["error"]["message"]
    assert last.name == (None if wire == "openai" else "error")
    assert b"[DONE]" not in invocation.payload and b"message_stop" not in invocation.payload


def test_base64_bodies(function: Lambda, fake: FakeProvider) -> None:
    """AWS sends a body in base64 unless it knows its type as text."""
    plain = chat_event()["body"]
    for headers in (bearer(), bearer() | {"content-type": "application/octet-stream"}):
        fake.clear()
        checked(function.api.invoke(url_event(headers=headers, body=plain.encode(), binary=True)))
        assert fake.only().body.decode() == plain
    fake.clear()
    function.process.may_panic = True
    broken = url_event(headers=bearer(), body=b"x", binary=True) | {"body": "%%% not base64"}
    invocation = function.api.invoke(broken).wait()
    # A panic of the runtime crate's own, which it turns into an error report, or a 400 of ours: the process lives.
    assert invocation.error is not None or invocation.prelude["statusCode"] == 400
    assert checked(function.api.invoke(chat_event())).prelude["statusCode"] == 200
    assert len(fake.seen) == 1


def test_paths_and_queries(function: Lambda) -> None:
    for target, want in (("/health/liveliness", 200), ("/v1/models?limit=10", 200), ("/v1/models/claude-ok", 200), ("/", 200)):
        invocation = checked(function.api.invoke(url_event("GET", target, bearer())))
        assert invocation.prelude["statusCode"] == want, target


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key"])
def test_the_key_beside_a_signature(function: Lambda, fake: FakeProvider, header: str) -> None:
    """With AWS_IAM the Authorization header is AWS's."""
    signature = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-central-1/lambda/aws4_request, SignedHeaders=host, Signature=00"
    )
    event = chat_event(headers={"authorization": signature, header: MASTER})
    assert checked(function.api.invoke(event)).prelude["statusCode"] == 200
    assert "AWS4" not in str(fake.only().headers)
    event = chat_event(headers={"authorization": signature})
    assert checked(function.api.invoke(event)).prelude["statusCode"] == 401


def test_browsers(fake: FakeProvider, lambda_gateway: Start) -> None:
    """CORS varies by several headers and still has to be one value a header; `checked` looks."""
    function = lambda_gateway(scenarios(fake.url, "ok", cors_origins=["https://app.example"]))
    origin = {"origin": "https://app.example"}
    preflight = origin | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for event in (url_event("OPTIONS", headers=preflight), chat_event(headers=bearer() | origin)):
        headers = checked(function.api.invoke(event)).prelude["headers"]
        assert headers["access-control-allow-origin"] == "https://app.example"


def test_the_key_in_a_header_of_ones_own(fake: FakeProvider, lambda_gateway: Start) -> None:
    function = lambda_gateway(scenarios(fake.url, "ok", key_header="x-gateway-authorization"))
    other = bearer(secret("another-key"))
    event = chat_event(headers=other | {"x-gateway-authorization": f"Bearer {MASTER}"})
    assert checked(function.api.invoke(event)).prelude["statusCode"] == 200
    assert checked(function.api.invoke(chat_event())).prelude["statusCode"] == 401


# --- The deadline ----------------------------------------------------------------------------------------------------


def test_a_deadline_in_the_past_is_unknown(function: Lambda) -> None:
    """`cargo lambda watch` sends one of 1970."""
    for seconds in (-5, -1_700_000_000):
        invocation = checked(function.api.invoke(chat_event("slow-300"), seconds=seconds))
        assert invocation.prelude["statusCode"] == 200


def test_a_near_deadline_ends_a_stream_properly(function: Lambda, fake: FakeProvider) -> None:
    invocation = checked(function.api.invoke(chat_event("silent-after-content-20000", stream=True), seconds=3))
    left = invocation.deadline_ms / 1000 - time_of_last_chunk(invocation)
    assert left > 0.1, "Lambda would have killed it"
    last = list(events(invocation.payload))[-1]
    assert last.json["error"]["message"] and b"[DONE]" not in invocation.payload
    seen = fake.seen[0]
    assert seen.over.wait(5) and seen.disconnected


def time_of_last_chunk(invocation: Invocation) -> float:
    """Chunks carry monotonic times, deadlines the wall clock's."""
    return time.time() - time.monotonic() + invocation.chunks[-1][0]


def test_a_near_deadline_without_content_is_a_status(function: Lambda) -> None:
    for stream in (True, False):
        invocation = checked(function.api.invoke(chat_event("gated", stream=stream), seconds=2))
        assert invocation.prelude["statusCode"] == 504
        assert invocation.deadline_ms / 1000 > time_of_last_chunk(invocation)


# --- The order of things ---------------------------------------------------------------------------------------------


def test_the_log_line_comes_before_the_next_poll(function: Lambda, fake: FakeProvider) -> None:
    """After that poll Lambda freezes the process, and what is not written may never be."""
    logged: list[int] = []
    function.api.on_poll = lambda: logged.append(len(function.process.requests))
    for number, event in enumerate([chat_event(), chat_event(stream=True), chat_event("cut-after-content", stream=True)], 1):
        checked(function.api.invoke(event))
        eventually(lambda: len(logged) >= number)
        assert logged[number - 1] == number
    statuses = [line["status"] for line in function.process.requests]
    assert statuses == [200, 200, 200]


def test_a_failed_invocation_does_not_end_the_function(function: Lambda) -> None:
    for event in ({"nonsense": True}, url_event(target="/v1/\x7f ü", headers=bearer())):
        function.api.invoke(event).wait()
    assert checked(function.api.invoke(chat_event())).prelude["statusCode"] == 200


def test_the_function_does_not_poll_before_its_answer_is_complete(function: Lambda, fake: FakeProvider) -> None:
    invocation = function.api.invoke(chat_event("gated", stream=True))
    fake.release(3)
    invocation.wait(lambda i: SEPARATOR in i.body and i.payload)
    assert function.api.polls == 1
    fake.release(10)
    checked(invocation)
    function.api.wait_for_polls(2)


def test_concurrent_invocations(fake: FakeProvider, lambda_gateway: Start) -> None:
    """Managed Instances: several invocations in one process at a time."""
    function = lambda_gateway(scenarios(fake.url, *MODELS), env={"AWS_LAMBDA_MAX_CONCURRENCY": "4"})
    function.api.wait_for_polls(4)
    running = [function.api.invoke(chat_event("gated", stream=True)) for _ in range(4)]
    # None of the four can end, so all are in flight together.
    assert len(fake.wait(4)) == 4
    fake.release(100)
    for invocation in running:
        assert checked(invocation).payload.endswith(b"data: [DONE]\n\n")
    assert len({invocation.prelude["headers"]["x-request-id"] for invocation in running}) == 4


# --- Buffered mode ---------------------------------------------------------------------------------------------------


def test_buffered_mode(fake: FakeProvider, lambda_gateway: Start) -> None:
    """For origins that cannot stream: one JSON object, a stream as text in it."""
    function = lambda_gateway(scenarios(fake.url, *MODELS), env={"FEATHERGATE_RESPONSE": "buffered"})
    for stream in (False, True):
        fake.clear()
        invocation = function.api.invoke(chat_event(stream=stream)).wait()
        assert "lambda-runtime-function-response-mode" not in invocation.headers and SEPARATOR not in invocation.body
        answer = json.loads(invocation.body)
        assert answer["statusCode"] == 200
        text = answer["body"]
        body = base64.b64decode(text) if answer["isBase64Encoded"] else text.encode()
        frames = [frame for frame in fake.only().frames if b'"choices":[]' not in frame]
        assert body == b"".join(frames)
        assert TEXT.split(",")[0] in body.decode()
    answer = json.loads(function.api.invoke(chat_event("clean-eof", stream=True)).wait().body)
    assert '"error"' in answer["body"] and "[DONE]" not in answer["body"]
    answer = json.loads(function.api.invoke(chat_event("nobody")).wait().body)
    assert answer["statusCode"] == 404


# --- What the function says ------------------------------------------------------------------------------------------


def test_without_a_master_key_every_call_is_refused(fake: FakeProvider, lambda_gateway: Start) -> None:
    function = lambda_gateway(config([model("ok", "openai/ok", fake.url)], master=None))
    for headers in ({}, bearer()):
        invocation = checked(function.api.invoke(chat_event(headers=headers)))
        assert invocation.prelude["statusCode"] in (401, 403)
        assert "master_key" in json.loads(invocation.payload)["error"]["message"]
    assert not fake.seen


def test_unauthenticated_on_purpose(fake: FakeProvider, lambda_gateway: Start) -> None:
    text = config([model("ok", "openai/ok", fake.url)], master=None, feathergate={"allow_unauthenticated": True})
    assert checked(lambda_gateway(text).api.invoke(chat_event(headers={}))).prelude["statusCode"] == 200


def test_embedded_metrics(function: Lambda) -> None:
    checked(function.api.invoke(chat_event(stream=True)))
    function.api.wait_for_polls(2)
    found = [line for line in function.process.logs if "_aws" in line]
    assert found, function.process.stdout
    for line in found:
        for directive in line["_aws"]["CloudWatchMetrics"]:
            names = {metric["Name"] for metric in directive["Metrics"]} | {n for group in directive["Dimensions"] for n in group}
            assert directive["Namespace"] and names <= line.keys()
            # Each combination of values is a metric that is billed.
            assert all(len(group) <= 3 for group in directive["Dimensions"])
            assert not re.search("key|user|request_id", json.dumps(directive["Dimensions"]), re.IGNORECASE)
        assert isinstance(line["_aws"]["Timestamp"], int)


def test_metrics_cover_one_instance(function: Lambda) -> None:
    invocation = checked(function.api.invoke(url_event("GET", "/metrics", bearer())))
    assert invocation.prelude["statusCode"] == 200
    comments = "\n".join(line for line in invocation.payload.decode().splitlines() if line.startswith("#"))
    assert "instance" in comments


def test_through_the_function_url(function: Lambda) -> None:
    """The stand-in for AWS's URL itself: a stream passes while it is still open."""
    stream = chat_stream(function.url, "silent-after-content-20000")
    assert b"Hello" in stream.until(b"Hello")
    stream.close()
