"""The local server: protocols, signals, reload, limits, and the endpoints that are not a model's."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from fake_provider import TEXT, FakeProvider
from support import (
    HELLO,
    MASTER,
    PATIENCE,
    Answer,
    Gateway,
    anthropic_headers,
    bearer,
    chat,
    chat_stream,
    config,
    eventually,
    http_request,
    messages,
    model,
    scenarios,
    secret,
)

MODELS = ("ok", "gated", "error-after-content", "status-500", "unknown-fields")
Start = Callable[..., Gateway]


@pytest.fixture
def server(fake: FakeProvider, gateway: Start) -> Gateway:
    return gateway(scenarios(fake.url, *MODELS))


def get(server: Gateway, target: str, **headers: str) -> Answer:
    return http_request(server.url, "GET", target, headers=bearer() | headers)


def connect(server: Gateway) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


# --- Protocols -------------------------------------------------------------------------------------------------------


def test_http2_without_tls(server: Gateway) -> None:
    with httpx.Client(http1=False, http2=True, base_url=server.url, headers=bearer(), timeout=PATIENCE) as client:
        answer = client.post("/v1/chat/completions", json={"model": "ok", "messages": HELLO})
        assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
        assert answer.json()["choices"][0]["message"]["content"] == TEXT
        with client.stream("POST", "/v1/chat/completions", json={"model": "ok", "messages": HELLO, "stream": True}) as stream:
            assert stream.http_version == "HTTP/2"
            assert stream.read().endswith(b"data: [DONE]\n\n")


def test_http2_streams_side_by_side(server: Gateway, fake: FakeProvider) -> None:
    """One connection, one stream that waits, another request that does not."""
    with httpx.Client(http1=False, http2=True, base_url=server.url, headers=bearer(), timeout=PATIENCE) as client:
        fake.release(3)
        body = {"model": "gated", "messages": HELLO, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            assert client.post("/v1/chat/completions", json={"model": "ok", "messages": HELLO}).status_code == 200
            fake.release(100)
            assert stream.read().endswith(b"data: [DONE]\n\n")


def test_one_connection_many_requests(server: Gateway) -> None:
    with httpx.Client(base_url=server.url, headers=bearer(), timeout=PATIENCE) as client:
        for _ in range(3):
            answer = client.post("/v1/chat/completions", json={"model": "ok", "messages": HELLO})
            assert (answer.http_version, answer.status_code) == ("HTTP/1.1", 200)


def test_large_headers_are_refused(server: Gateway, fake: FakeProvider) -> None:
    with connect(server) as connection:
        try:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * (1 << 20) + b"\r\n\r\n")
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""
    assert b" 431 " in answer.split(b"\r\n")[0] or not answer
    assert chat(server.url).status == 200


@pytest.mark.parametrize(
    "head",
    [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-bad: a\x00b\r\n\r\n",
        "nonsense\r\n\r\n",
    ],
)
def test_ambiguous_requests_do_not_pass(server: Gateway, fake: FakeProvider, head: str) -> None:
    with connect(server) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(4096):
            answer += data
    # Smuggling needs a first and a second answer, or a success.
    assert answer.count(b"HTTP/1.1 ") <= 1 and b" 200 " not in answer.split(b"\r\n")[0]
    assert not fake.seen


def test_slow_clients_are_not_waited_for_forever(server: Gateway) -> None:
    """Slow loris: whatever the limit is, there must be one, and also for who sends nothing, half of HTTP/2's preface, or
    half a head. All at once, since the limit takes its time."""
    began = time.monotonic()
    starts = [b"", b"PRI * HTT", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"]
    connections = [connect(server) for _ in starts]
    for connection, start in zip(connections, starts, strict=True):
        connection.sendall(start)
    for connection, start in zip(connections, starts, strict=True):
        connection.settimeout(max(0.1, began + 25 - time.monotonic()))
        try:
            data = connection.recv(4096)
        except ConnectionError:
            data = b""
        except TimeoutError:
            pytest.fail(f"still open after 25 s: {start!r}")
        assert b" 408 " in data.split(b"\r\n")[0] or not data
    for connection in connections:
        connection.close()


# --- Signals and reload ----------------------------------------------------------------------------------------------


def test_sigterm_lets_streams_finish(server: Gateway, fake: FakeProvider) -> None:
    stream = chat_stream(server.url, "gated")
    fake.release(2)
    stream.until(b"Hello")
    server.signal(signal.SIGTERM)
    # The listener closes at once, the stream goes on.
    eventually(lambda: refuses(server))
    assert server.running
    fake.release(100)
    assert stream.rest().endswith(b"data: [DONE]\n\n")
    assert server.wait() == 0
    assert len(server.requests) == 1


def refuses(server: Gateway) -> bool:
    try:
        connect(server).close()
    except ConnectionError:
        return True
    return False


def test_sigterm_and_sigint_when_idle(fake: FakeProvider, gateway: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        server = gateway(scenarios(fake.url, "ok"))
        idle = connect(server)
        server.signal(number)
        assert server.wait(10) == 0
        idle.close()


def test_a_second_signal_ends_at_once_also_while_accounts_settle(fake: FakeProvider, gateway: Start, tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    server = gateway(scenarios(fake.url, "ok", store=f"sqlite:{file}"))
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert chat(server.url).status == 200
        server.signal(signal.SIGTERM)
        eventually(lambda: refuses(server))
        assert server.running
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 0


def replace_config(server: Gateway, text: str) -> None:
    """As editors do: a new file in the place of the old."""
    new = server.config.with_suffix(".new")
    new.write_text(text)
    new.rename(server.config)


def change_config(server: Gateway, text: str) -> None:
    server.config.write_text(text)


@pytest.mark.parametrize("change", [replace_config, change_config])
def test_reload_on_file_change(server: Gateway, fake: FakeProvider, change: Callable[[Gateway, str], None]) -> None:
    assert chat(server.url, "new").status == 404
    change(server, config([model("new", "openai/ok", fake.url)]))
    eventually(lambda: chat(server.url, "new").status == 200)
    assert chat(server.url, "ok").status == 404


def test_reload_on_sighup(server: Gateway, fake: FakeProvider) -> None:
    stream = chat_stream(server.url, "gated")
    fake.release(2)
    stream.until(b"Hello")
    change_config(server, config([model("new", "openai/ok", fake.url)]))
    server.signal(signal.SIGHUP)
    eventually(lambda: chat(server.url, "new").status == 200)
    # What runs goes on with the configuration it began with.
    fake.release(100)
    assert stream.rest().endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("bad", ["model_list: [", '{"model_list": [{"model_name": "x"}]}', ""])
def test_a_bad_file_is_refused_and_the_last_good_one_stays(server: Gateway, fake: FakeProvider, bad: str) -> None:
    change_config(server, bad)
    server.signal(signal.SIGHUP)
    refused = server.wait_for_log(lambda line: line["level"] in ("ERROR", "WARN") and "configuration" in str(line).lower())
    assert refused["message"] != "request"
    assert chat(server.url).status == 200
    change_config(server, config([model("new", "openai/ok", fake.url)]))
    server.signal(signal.SIGHUP)
    eventually(lambda: chat(server.url, "new").status == 200)


def test_a_file_that_is_gone_for_a_moment(server: Gateway) -> None:
    text = server.config.read_text()
    server.config.unlink()
    server.signal(signal.SIGHUP)
    server.wait_for_log(lambda line: line["level"] in ("ERROR", "WARN"))
    assert chat(server.url).status == 200
    server.config.write_text(text)


def test_a_store_that_is_open_stays_and_that_is_said(fake: FakeProvider, gateway: Start, tmp_path: Path) -> None:
    server = gateway(scenarios(fake.url, "ok", store="memory"))
    other = tmp_path / "other.db"
    change_config(server, scenarios(fake.url, "ok", store={"url": f"sqlite:{other}", "keep_days": "7d"}))
    server.signal(signal.SIGHUP)
    for key in ("`feathergate.store`", "`keep_days`"):
        server.wait_for_log(lambda line, key=key: line["level"] == "WARN" and key in line["message"] and "started anew" in line["message"])
    assert chat(server.url).status == 200
    assert not other.exists()


def test_the_master_key_can_be_changed_by_reload(server: Gateway, fake: FakeProvider) -> None:
    new = secret("new-master-key")
    change_config(server, config([model("ok", "openai/ok", fake.url)], master=new))
    server.signal(signal.SIGHUP)
    eventually(lambda: chat(server.url, headers=bearer(new)).status == 200)
    assert chat(server.url, headers=bearer(MASTER)).status == 401


# --- CORS, HEAD, and what is nearly right ----------------------------------------------------------------------------

PREFLIGHT = {
    "origin": "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


def test_cors_preflight(server: Gateway, fake: FakeProvider) -> None:
    """Without a key: browsers send none with it."""
    for target in ("/v1/chat/completions", "/v1/messages", "/v1/models"):
        answer = http_request(server.url, "OPTIONS", target, headers=PREFLIGHT)
        assert answer.status in (200, 204)
        assert answer.header("access-control-allow-origin") in ("*", "https://app.example")
        assert re.search(r"\bPOST\b|\*", answer.header("access-control-allow-methods") or "")
        allowed = (answer.header("access-control-allow-headers") or "").lower()
        # `*` does not cover Authorization (Fetch standard), so it has to be named.
        assert "authorization" in allowed
        assert "x-stainless-lang" in allowed or "*" in allowed
    assert not fake.seen


def test_cors_on_answers_and_errors(server: Gateway) -> None:
    origin = {"origin": "https://app.example"}
    for answer in (chat(server.url, headers=bearer() | origin), chat(server.url, headers=origin)):
        assert answer.header("access-control-allow-origin") in ("*", "https://app.example")
        assert "x-request-id" in (answer.header("access-control-expose-headers") or "*").lower() or answer.status == 401
    assert (chat_stream(server.url, "ok").head().getheader("access-control-allow-credentials")) is None


def test_cors_for_some_origins(fake: FakeProvider, gateway: Start) -> None:
    server = gateway(scenarios(fake.url, "ok", cors_origins=["https://app.example"]))
    good = http_request(server.url, "OPTIONS", "/v1/chat/completions", headers=PREFLIGHT)
    bad = http_request(server.url, "OPTIONS", "/v1/chat/completions", headers=PREFLIGHT | {"origin": "https://evil.example"})
    assert good.header("access-control-allow-origin") == "https://app.example"
    assert "origin" in (good.header("vary") or "").lower()
    assert bad.header("access-control-allow-origin") is None
    off = gateway(scenarios(fake.url, "ok", cors_origins=[]))
    answer = http_request(off.url, "OPTIONS", "/v1/chat/completions", headers=PREFLIGHT)
    assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize("target", ["/v1/models", "/", "/health/liveliness"])
def test_head_is_get_without_a_body(server: Gateway, target: str) -> None:
    full, head = get(server, target), http_request(server.url, "HEAD", target, headers=bearer())
    assert (full.status, head.status, head.body) == (200, 200, b"")
    assert head.header("content-type") == full.header("content-type")


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/", "/v1/models?after=x"])
def test_paths_with_and_without_version(server: Gateway, path: str) -> None:
    assert get(server, path).json["object"] == "list"


def test_calls_without_version(server: Gateway) -> None:
    body = json.dumps({"model": "ok", "messages": []}).encode()
    assert http_request(server.url, "POST", "/chat/completions", body, bearer()).status == 200
    body = json.dumps({"model": "claude-ok", "max_tokens": 1, "messages": []}).encode()
    for target in ("/messages?beta=true", "/messages/count_tokens"):
        assert http_request(server.url, "POST", target, body, anthropic_headers()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "meant"),
    [
        ("POST", "/v1/chat/completion", 404, "/v1/chat/completions"),
        ("POST", "/v1/v1/chat/completions", 404, "/v1/chat/completions"),
        ("POST", "/v1/message", 404, "/v1/messages"),
        ("GET", "/v1/model", 404, "/v1/models"),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("POST", "/v1/models", 405, "GET"),
        ("PUT", "/v1/messages", 405, "POST"),
    ],
)
def test_near_misses(server: Gateway, method: str, path: str, status: int, meant: str) -> None:
    answer = http_request(server.url, method, path, b"{}" if method != "GET" else None, bearer())
    assert answer.status == status
    assert meant in answer.message
    if status == 405:
        assert meant in (answer.header("allow") or "")


def test_a_path_that_is_no_text_is_not_echoed_raw(server: Gateway) -> None:
    answer = get(server, "/%00%3Cscript%3E%0d%0aset-cookie:x=y")
    assert answer.status == 404 and answer.header("set-cookie") is None
    assert answer.header("content-type") == "application/json" and answer.message


# --- Models, health, metrics, the page ---------------------------------------------------------------------------------


def test_models_in_both_dialects(server: Gateway) -> None:
    openai = get(server, "/v1/models").json
    assert openai["object"] == "list" and {entry["object"] for entry in openai["data"]} == {"model"}
    anthropic = http_request(server.url, "GET", "/v1/models", headers=anthropic_headers()).json
    assert {entry["type"] for entry in anthropic["data"]} == {"model"}
    assert (anthropic["has_more"], anthropic["first_id"]) == (False, anthropic["data"][0]["id"])
    assert [entry["id"] for entry in openai["data"]] == [entry["id"] for entry in anthropic["data"]]
    missing = http_request(server.url, "GET", "/v1/models/nobody", headers=anthropic_headers())
    assert missing.status == 404 and missing.json["error"]["type"] == "not_found_error"


def test_models_need_a_key(server: Gateway) -> None:
    assert http_request(server.url, "GET", "/v1/models").status == 401
    assert http_request(server.url, "GET", "/v1/models/ok").status == 401
    assert http_request(server.url, "GET", "/metrics").status == 401


def test_an_id_with_slashes(fake: FakeProvider, gateway: Start) -> None:
    server = gateway(config([model("team/eu/ok", "openai/ok", fake.url)]))
    for path in ("/v1/models/team/eu/ok", "/v1/models/team%2Feu%2Fok"):
        assert get(server, path).json["id"] == "team/eu/ok"
    assert chat(server.url, "team/eu/ok").status == 200


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness", "/v1/health/liveliness"])
def test_health_needs_no_key(server: Gateway, path: str) -> None:
    answer = http_request(server.url, "GET", path)
    assert answer.status == 200 and answer.body


def test_health_calls_nobody(server: Gateway, fake: FakeProvider) -> None:
    assert isinstance(get(server, "/health").json, dict)
    assert not fake.seen


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r'([a-z_:]+(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)', line)
            assert match, f"not Prometheus text: {line}"
            assert match[1] not in found, f"twice: {line}"
            found[match[1]] = float(match[2])
    return found


def test_metrics(server: Gateway, fake: FakeProvider) -> None:
    chat(server.url)
    chat_stream(server.url, "ok").rest()
    chat_stream(server.url, "error-after-content").rest()
    messages(server.url, "claude-status-500")
    open_stream = chat_stream(server.url, "gated")
    fake.release(2)
    open_stream.until(b"Hello")
    server.wait_for_requests(4)
    answer = get(server, "/metrics")
    assert (answer.header("content-type") or "").startswith("text/plain")
    found = samples(answer.body.decode())

    def total(name: str, *labels: str) -> float:
        return sum(
            value for key, value in found.items() if key.partition("{")[0] == name and all(label in key for label in labels)
        )

    requests = next(name for key in found if "requests_total" in (name := key.partition("{")[0]))
    assert total(requests, '"ok"', '"200"') == 2
    assert total(requests, '"error-after-content"', '"200"') == 1
    assert total(requests, '"claude-status-500"', '"500"') == 1
    tokens = next(name for key in found if "tokens_total" in (name := key.partition("{")[0]))
    assert total(tokens, '"ok"', "input") == 22 and total(tokens, '"ok"', "output") == 10
    streams = next(key for key in found if "streams" in key)
    assert found[streams] == 1
    for histogram in ("first_byte", "duration", "overhead"):
        assert any(histogram in key and "_bucket" in key and 'le="+Inf"' in key for key in found), histogram
    text = answer.body.decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert names and all(any(key.startswith(name) for name in names) for key in found)
    fake.release(100)
    open_stream.rest()


def test_the_page(server: Gateway) -> None:
    answer = http_request(server.url, "GET", "/", headers={"accept": "text/html"})
    assert answer.status == 200 and (answer.header("content-type") or "").startswith("text/html")
    text = answer.body.decode()
    assert "/v1/chat/completions" in text and "<a " in text
    # A stranger may see it, so it names nothing of the configuration.
    assert "error-after-content" not in text


def test_the_log_line_of_a_request(server: Gateway) -> None:
    answer = chat(server.url)
    line = server.wait_for_requests(1)[0]
    fields = {
        "request_id",
        "endpoint",
        "model_group",
        "deployment",
        "upstream",
        "upstream_model",
        "stream",
        "status",
        "attempt",
        "ttfb_ms",
        "total_ms",
        "overhead_ms",
        "input_tokens",
        "output_tokens",
    }
    assert fields <= line.keys()
    assert line["request_id"] == answer.header("x-request-id")
    assert (line["model_group"], line["upstream"], line["upstream_model"]) == ("ok", "openai", "ok")
    assert (line["status"], line["stream"], line["attempt"]) == (200, False, 1)
    assert (line["input_tokens"], line["output_tokens"]) == (11, 5)
    assert 0 <= line["overhead_ms"] <= line["total_ms"] and line["ttfb_ms"] <= line["total_ms"]


def test_prompts_are_not_logged(server: Gateway, gateway: Start, fake: FakeProvider) -> None:
    chat(server.url, messages=[{"role": "user", "content": "xylophone"}])
    chat(server.url, messages=[{"role": "user", "content": "xylophone"}], stream="wrong")
    server.wait_for_requests(2)
    assert "xylophone" not in server.stdout + server.stderr
    assert TEXT not in server.stdout
    loud = gateway(scenarios(fake.url, "ok"), env={"RUST_LOG": "trace"})
    chat(loud.url, messages=[{"role": "user", "content": "xylophone"}])
    loud.wait_for_requests(1)
    # Not even at the loudest level: the libraries beneath log headers and bodies there.
    assert "xylophone" not in loud.stdout + loud.stderr


def test_a_log_line_cannot_be_forged(server: Gateway) -> None:
    forged = 'x"}\n{"message":"request","status":1}'
    chat(server.url, forged)
    lines = server.wait_for_requests(1)
    assert len(lines) == 1 and lines[0]["status"] == 404


def test_log_level(fake: FakeProvider, gateway: Start) -> None:
    server = gateway(scenarios(fake.url, "ok"), env={"RUST_LOG": "error"})
    assert chat(server.url).status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not server.requests
