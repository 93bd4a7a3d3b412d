"""Limits of the running program: places and the queue before them, and the addresses of both fronts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from conftest import Lambda
from fake_provider import TEXT, FakeProvider
from support import HELLO, MASTER, Gateway, Scenarios, bearer, chat, chat_stream, config, eventually, http_request


def limited(url: str, general: dict | None = None, **limits: object) -> str:
    general = {"master_key": MASTER} | (general or {})
    return config(Scenarios(url, "ok", "gated").models, general_settings=general, feathergate={"limits": limits})


def waiting(gateway: Gateway) -> int:
    text = http_request(gateway.url, "GET", "/metrics", headers=bearer()).body.decode()
    return int(re.search(r'^feathergate_waiting_requests\{limit="global",model_group=""\} (\d+)$', text, re.MULTILINE)[1])


def test_who_finds_no_place_waits_and_the_queue_ends_somewhere(gateway: Callable[..., Gateway], fake: FakeProvider) -> None:
    running = gateway(limited(fake.url, **{"global": {"concurrency": 2, "queue": 2, "queue_wait": "15s"}}))
    client = openai.OpenAI(api_key=MASTER, base_url=running.url + "/v1", max_retries=0, timeout=20)

    def ask() -> str:
        return client.chat.completions.create(model="gated", messages=HELLO).choices[0].message.content

    with client, ThreadPoolExecutor() as pool:
        answers = [pool.submit(ask) for _ in range(2)]
        fake.wait(2)
        answers.append(pool.submit(ask))
        eventually(lambda: waiting(running) == 1)
        # One that waits and goes away leaves its place in the queue.
        leaving = chat_stream(running.url, "gated")
        eventually(lambda: waiting(running) == 2)
        with pytest.raises(openai.InternalServerError) as refused:
            ask()
        assert refused.value.status_code == 503
        assert refused.value.response.headers["retry-after"] == "15"
        assert "2 more wait already" in refused.value.message
        leaving.close()
        eventually(lambda: waiting(running) == 1)
        answers.append(pool.submit(ask))
        eventually(lambda: waiting(running) == 2)
        assert len(fake.seen) == 2, "who waits does not reach the provider"
        fake.release(4)
        assert [answer.result() for answer in answers] == [TEXT] * 4
        # A stream holds its place to its end, and a client that leaves gives it back.
        fake.clear()
        streams = [chat_stream(running.url, "gated") for _ in range(2)]
        fake.wait(2)
        later = pool.submit(ask)
        eventually(lambda: waiting(running) == 1)
        streams[0].close()
        fake.wait(3)
        streams[1].close()
        eventually(lambda: fake.release() or later.done())
        assert later.result() == TEXT

    lines = running.wait_for_requests(9)
    assert sorted(line["error_class"] for line in lines if "error_class" in line) == ["client_gone"] * 3 + ["gateway_full"]
    served = [line for line in lines if "error_class" not in line]
    # The fourth may wait for less than a millisecond, which is not told.
    assert len([line for line in served if line.get("queue_ms")]) in (2, 3)
    # Neither the wait for a place nor that for the provider is ours.
    assert all(line["overhead_ms"] < 500 for line in served), served


def test_who_is_over_the_rate_hears_it_however_much_he_sends(gateway: Callable[..., Gateway], fake: FakeProvider) -> None:
    running = gateway(limited(fake.url, per_ip={"rpm": 1}))
    assert chat(running.url).status == 200
    body = json.dumps({"model": "ok", "messages": HELLO, "user": "x" * (5 << 20)}).encode()
    # Nobody can name another address, unless a proxy is trusted.
    headers = bearer() | {"x-forwarded-for": "203.0.113.9"}
    answer = http_request(running.url, "POST", "/v1/chat/completions", body, headers)
    assert (answer.status, answer.message.split(";")[0]) == (
        429,
        "this gateway takes at most 1 request a minute from one address",
    )
    assert 50 < int(answer.header("retry-after") or 0) <= 60
    assert 50_000 < int(answer.header("retry-after-ms") or 0) <= 60_000
    with openai.OpenAI(api_key=MASTER, base_url=running.url + "/v1", max_retries=0) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="ok", messages=HELLO)
    assert len(fake.seen) == 1


def test_the_address_of_a_server_s_client(gateway: Callable[..., Gateway], fake: FakeProvider) -> None:
    for allowed, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 403)):
        running = gateway(limited(fake.url, {"allowed_ips": [allowed]}))
        assert chat(running.url).status == status


def test_the_address_of_a_function_url_s_client(lambda_gateway: Callable[..., Lambda], fake: FakeProvider) -> None:
    # What the event says, with AWS's own word for it.
    for allowed, status in (("198.51.100.0/24", 200), ("10.0.0.0/8", 403)):
        running = lambda_gateway(limited(fake.url, {"allowed_ips": [allowed]}))
        assert chat(running.url).status == status
