"""A scripted provider that speaks OpenAI Chat and Anthropic Messages over HTTP/1.1; standard library only.

The model name of a request picks the scenario (`SCENARIOS`), so one gateway configuration reaches every fault. What was
received is kept verbatim, and so is what was sent: a passthrough is checked by comparing bytes, not by reading them.

    python fake_provider.py --port 0 [--key K]

GET /_seen      what was received since the last DELETE /_seen, as JSON (bodies in base64)
PUT /_key       the body is the key required from now on; empty: none
POST /_release  lets a `gated` answer send one more frame
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import select
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# How long a scenario may wait for a test to act; a test that fails must not hang its neighbours.
PATIENCE = 20.0

SCENARIOS = {
    "ok": "a short answer",
    "tools": "two tool calls",
    "thinking": "Anthropic: thinking with a signature, then text",
    "echo": "the answer's text is the request body",
    "slow-N": "N ms before the first byte",
    "late-content-N": "headers and the opening at once, N ms before any content",
    "silent-after-content-N": "N ms of silence after the first content",
    "gated": "each frame waits for `release`",
    "big-N": "N content frames of 1 kB, or a text of N kB",
    "cut-before-content": "connection reset before any content",
    "cut-after-content": "connection reset after content",
    "clean-eof": "a proper end of the chunked body without the terminal event",
    "error-before-content": "an error event inside a 200, before any content",
    "error-after-content": "an error event after content",
    "unknown-fields": "fields of tomorrow, odd whitespace; streams with CRLF, comments and `data:` without a space",
    "status-N": "an error in the provider's shape; 429 with `retry-after: 7`",
    "html-error": "503 with a web page",
    "redirect": "302 to /_elsewhere",
}

OPENAI_ERRORS = {400: "invalid_request_error", 401: "invalid_request_error", 403: "invalid_request_error", 429: "requests"}
ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
HTML = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"


class Cut(Exception):
    """Raised by a script: reset the connection here."""


class Gone(Exception):
    """The client closed the connection."""


@dataclass
class Seen:
    """One request as it arrived, and what was answered."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    frames: list[bytes] = field(default_factory=list)
    status: int = 0
    disconnected: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def sent(self) -> bytes:
        """The body of the answer, without the chunked framing."""
        return b"".join(self.frames)

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def public(self) -> dict:
        return {
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "status": self.status,
            "body": base64.b64encode(self.body).decode(),
            "sent": base64.b64encode(self.sent).decode(),
            "disconnected": self.disconnected,
            "over": self.over.is_set(),
        }


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# What a script yields: bytes to send, or the milliseconds to wait first.
Step = bytes | int | float


class OpenAi:
    """OpenAI Chat Completions."""

    terminal = b"data: [DONE]\n\n"
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]

    def __init__(self, model: str, request: dict) -> None:
        self.model = model
        self.with_usage = bool((request.get("stream_options") or {}).get("include_usage"))

    @staticmethod
    def key(headers: dict[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ") or None

    @staticmethod
    def error(status: int, text: str) -> dict:
        code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
        return {"error": {"message": text, "type": OPENAI_ERRORS.get(status, "server_error"), "param": None, "code": code}}

    def error_event(self) -> bytes:
        return f"data: {compact(self.error(500, 'The server had an error while processing your request'))}\n\n".encode()

    def envelope(self, kind: str) -> dict:
        return {"id": "chatcmpl-fake", "object": kind, "created": 1700000000, "model": self.model}

    def whole(self, text: str, tools: bool) -> dict:
        message: dict = {"role": "assistant", "content": None if tools else text, "refusal": None}
        if tools:
            message["tool_calls"] = self.calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if tools else "stop"}
        return self.envelope("chat.completion") | {"choices": [choice], "usage": self.usage}

    def chunk(self, delta: dict, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = self.envelope("chat.completion.chunk") | {"choices": [choice]}
        if self.with_usage:
            body["usage"] = None
        return f"data: {compact(body)}\n\n".encode()

    def opening(self) -> list[bytes]:
        return [self.chunk({"role": "assistant", "content": "", "refusal": None})]

    def text(self, pieces: list[str], thinking: bool) -> list[bytes]:
        return [self.chunk({"content": piece}) for piece in pieces]

    def tools(self) -> list[bytes]:
        frames = []
        for index, call in enumerate(self.calls):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            start = {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
            frames.append(self.chunk({"tool_calls": [start]}))
            for part in (arguments[:1], arguments[1:]):
                frames.append(self.chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
        return frames

    def ending(self, tools: bool) -> list[bytes]:
        frames = [self.chunk({}, "tool_calls" if tools else "stop")]
        if self.with_usage:
            body = self.envelope("chat.completion.chunk") | {"choices": [], "usage": self.usage}
            frames.append(f"data: {compact(body)}\n\n".encode())
        return [*frames, self.terminal]

    def odd(self) -> list[bytes]:
        """Everything that the format allows and few send; `\\r\\n`, comments, no space, several spaces, new fields."""
        head = '"id":"chatcmpl-odd","object" :  "chat.completion.chunk","model":"odd"'
        frames = [
            ": OPENROUTER PROCESSING\r\n\r\n",
            'data:{%s,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\r\n\r\n' % head,
            'data:   { %s, "choices":[{"index":0,"delta":{"content":"häl\\u006co 🦉","soul":1e400}}],'
            '"x_new":{"a":[1.0]} }\r\n\r\n' % head,
            "id: 7\r\nretry: 3000\r\n: in between\r\n"
            'data: {%s,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}   \r\n\r\n' % head,
        ]
        if self.with_usage:
            frames.append('data: {%s,"choices": [ ],"usage":%s}\r\n\r\n' % (head, compact(self.usage)))
        return [frame.encode() for frame in [*frames, "data: [DONE]\r\n\r\n"]]

    def odd_whole(self) -> bytes:
        return (
            '{ "id" : "chatcmpl-odd",\n\t"choices":[{"index":0,"message":{"role":"assistant","content":"häl\\u006co",'
            '"soul":1e400},"finish_reason":"stop"}],\r\n"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
            '"tokens_of_tomorrow":4},"model":"odd","x_new":[1.0, 0.10],"object":"chat.completion","created":1 }\n'
        ).encode()


class Anthropic:
    """Anthropic Messages."""

    terminal = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    usage = {"input_tokens": 11, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}
    calls = [
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}},
        {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
    ]
    thought = {"type": "thinking", "thinking": "Let me think.", "signature": "EqQBsignature+/=="}

    def __init__(self, model: str, request: dict) -> None:
        self.model = model
        self.blocks = 0

    @staticmethod
    def key(headers: dict[str, str]) -> str | None:
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None

    @staticmethod
    def error(status: int, text: str) -> dict:
        kind = ANTHROPIC_ERRORS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_fake"}

    def error_event(self) -> bytes:
        return self.event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    def message(self, content: list[dict], stop: str | None, usage: dict) -> dict:
        return {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    def whole(self, text: str, tools: bool) -> dict:
        content: list[dict] = [{"type": "text", "text": text}]
        if self.model == "thinking":
            content.insert(0, self.thought)
        return self.message(content + (self.calls if tools else []), "tool_use" if tools else "end_turn", self.usage)

    @staticmethod
    def event(body: dict) -> bytes:
        return f"event: {body['type']}\ndata: {compact(body)}\n\n".encode()

    def block(self, start: dict, deltas: list[dict]) -> list[bytes]:
        index, self.blocks = self.blocks, self.blocks + 1
        return [
            self.event({"type": "content_block_start", "index": index, "content_block": start}),
            *(self.event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
            self.event({"type": "content_block_stop", "index": index}),
        ]

    def opening(self) -> list[bytes]:
        message = self.message([], None, self.usage | {"output_tokens": 1})
        return [self.event({"type": "message_start", "message": message}), self.event({"type": "ping"})]

    def text(self, pieces: list[str], thinking: bool) -> list[bytes]:
        frames = []
        if thinking:
            thought, signature = self.thought["thinking"], self.thought["signature"]
            halves = [{"type": "thinking_delta", "thinking": part} for part in (thought[:6], thought[6:])]
            seal = {"type": "signature_delta", "signature": signature}
            frames = self.block({"type": "thinking", "thinking": "", "signature": ""}, [*halves, seal])
        return frames + self.block({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces])

    def tools(self) -> list[bytes]:
        frames = []
        for call in self.calls:
            arguments = compact(call["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", arguments[:1], arguments[1:])]
            frames += self.block({**call, "input": {}}, deltas)
        return frames

    def ending(self, tools: bool) -> list[bytes]:
        delta = {"stop_reason": "tool_use" if tools else "end_turn", "stop_sequence": None}
        return [self.event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}), self.terminal]

    def odd(self) -> list[bytes]:
        start = compact(self.message([], None, self.usage))
        text = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"häl\\u006co 🦉","soul":1e400}   }'
        frames = [
            ": keepalive\r\n\r\n",
            'event:message_start\r\ndata:{"type":"message_start","message":%s}\r\n\r\n' % start,
            'event: content_block_start\r\ndata: { "type":"content_block_start","index":0,'
            '"content_block":{"type":"text","text":"" } }\r\n\r\n',
            f"event: content_block_delta\r\ndata: {text}   \r\n\r\n",
            'event: of_tomorrow\r\ndata: {"type":"of_tomorrow","deep":[1.0]}\r\n\r\n',
            'data: {"type":"content_block_stop","index":0}\r\nevent: content_block_stop\r\n\r\n',
            'event: message_delta\r\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
            '"usage":{"output_tokens":2}}\r\n\r\n',
            'event: message_stop\r\ndata: {"type":"message_stop" }\r\n\r\n',
        ]
        return [frame.encode() for frame in frames]

    def odd_whole(self) -> bytes:
        return (
            '{ "type" : "message",\n\t"id":"msg_odd","role":"assistant","content":[{"type":"text","text":"häl\\u006co",'
            '"soul":1e400}],\r\n"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2,"of_tomorrow":4},'
            '"model":"odd","x_new":[1.0, 0.10] }\n'
        ).encode()


Wire = OpenAi | Anthropic
PIECES = ["Hello", ", ", "wörld", " 🦉"]
TEXT = "".join(PIECES)


def script(wire: Wire, scenario: str, number: int, body: bytes, gate: Callable[[], None]) -> Iterator[Step]:
    """The frames of a streamed answer."""
    tools, thinking = scenario == "tools", scenario == "thinking"
    if scenario == "unknown-fields":
        yield from wire.odd()
        return
    if scenario == "slow":
        yield number
    pieces = PIECES
    if scenario == "big":
        pieces = ["x" * 1000] * number
    elif scenario == "echo":
        pieces = [body.decode()]
    content = wire.tools() if tools else wire.text(pieces, thinking)

    if scenario == "late-content":
        yield from wire.opening()
        yield number
        yield from [*content, *wire.ending(tools)]
        return
    if scenario.endswith("-before-content"):
        yield from wire.opening()
        if scenario == "cut-before-content":
            raise Cut
        yield wire.error_event()
        return
    # Up to and including the first delta with text: an Anthropic block opens with a frame of its own.
    first = 2 if isinstance(wire, Anthropic) else 1
    if scenario in ("cut-after-content", "error-after-content", "clean-eof", "silent-after-content"):
        yield from wire.opening()
        yield from content[:first]
        if scenario == "cut-after-content":
            # Long enough for the content to leave the kernel before the reset throws away what is queued.
            yield 50
            raise Cut
        if scenario == "error-after-content":
            yield wire.error_event()
        if scenario != "silent-after-content":
            return
        yield number
        content = content[first:]
    else:
        content = wire.opening() + content
    for frame in [*content, *wire.ending(tools)]:
        if scenario == "gated":
            gate()
        yield frame


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: FakeProvider
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass

    def do(self) -> None:
        body = self.read_body()
        if self.path.startswith("/_"):
            self.control(body)
            return
        seen = Seen(self.command, self.path, list(self.headers.raw_items()), body)
        self.server.record(seen)
        try:
            self.answer(seen)
        except Cut:
            # Linger 0 turns the close into a reset. The base class still flushes its files, which then must not raise.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        except (Gone, ConnectionError):
            seen.disconnected = True
            self.close_connection = True
        except Exception:
            # A fault of the script itself: without this it would look like an upstream that hung up.
            self.server.crashes.append(traceback.format_exc())
            self.close_connection = True
        finally:
            self.server.end(seen)

    do_GET = do_POST = do_PUT = do_DELETE = do

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def control(self, body: bytes) -> None:
        server = self.server
        answer: object = {}
        match self.command, self.path:
            case "GET", "/_seen":
                answer = [seen.public() for seen in server.seen]
            case "DELETE", "/_seen":
                server.clear()
            case "PUT", "/_key":
                server.key = body.decode() or None
            case "POST", "/_release":
                server.release()
            case _, "/_elsewhere":
                server.followed_redirects += 1
            case _:
                self.whole(None, 404, compact({"error": "no such control"}).encode())
                return
        self.whole(None, 200, compact(answer).encode())

    def answer(self, seen: Seen) -> None:
        anthropic = seen.path.startswith("/v1/messages")
        kind = Anthropic if anthropic else OpenAi
        if seen.path not in ("/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"):
            self.whole(seen, 404, compact(kind.error(404, f"no such path: {seen.path}")).encode())
            return
        if (key := self.server.key) and kind.key({k.lower(): v for k, v in seen.headers}) != key:
            self.whole(seen, 401, compact(kind.error(401, "Incorrect API key provided")).encode())
            return
        request = json.loads(seen.body)
        model = request["model"]
        name, digits = re.fullmatch(r"(.*?)(?:-(\d+))?", model).groups()
        number = int(digits or 0)
        wire = kind(model, request)
        if name == "status":
            extra = {"retry-after": "7"} if number == 429 else {}
            self.whole(seen, number, compact(wire.error(number, f"the provider says {number}")).encode(), extra)
        elif name == "html-error":
            self.whole(seen, 503, HTML, {"content-type": "text/html"})
        elif name == "redirect":
            self.whole(seen, 302, b"", {"location": self.server.url + "/_elsewhere"})
        elif seen.path.endswith("/count_tokens"):
            self.whole(seen, 200, b'{ "input_tokens": 42 }')
        elif request.get("stream"):
            self.stream(seen, script(wire, name, number, seen.body, self.wait_for_release))
        else:
            self.buffered(seen, wire, name, number)

    def buffered(self, seen: Seen, wire: Wire, name: str, number: int) -> None:
        if name == "unknown-fields":
            self.whole(seen, 200, wire.odd_whole())
            return
        if name in ("slow", "silent-after-content"):
            self.pause(number / 1000)
        if name == "gated":
            self.wait_for_release()
        text = {"echo": seen.body.decode(), "big": "x" * 1000 * number}.get(name, TEXT)
        body = compact(wire.whole(text, name == "tools")).encode()
        if name == "error-before-content":
            body = compact(wire.error(500, "an error that came with status 200")).encode()
        cut = name.startswith("cut-")
        self.whole(seen, 200, body, cut_after=len(body) // 2 if cut else None)
        if cut:
            raise Cut

    def whole(
        self, seen: Seen | None, status: int, body: bytes, extra: dict[str, str] | None = None, cut_after: int | None = None
    ) -> None:
        headers = {"content-type": "application/json", "x-request-id": "upstream-id", "set-cookie": "session=upstream"}
        self.send_response(status)
        for name, value in (headers | (extra or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if seen:
            seen.status = status
            seen.frames.append(body[:cut_after])
        self.wfile.write(body[:cut_after])

    def stream(self, seen: Seen, steps: Iterator[Step]) -> None:
        seen.status = 200
        started = False
        for step in steps:
            if not isinstance(step, bytes):
                self.pause(step / 1000)
                continue
            if not started:
                started = True
                self.send_response(200)
                self.send_header("content-type", "text/event-stream; charset=utf-8")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
            self.watch(0)
            seen.frames.append(step)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(step), step))
        self.wfile.write(b"0\r\n\r\n")

    def wait_for_release(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.server.gate.acquire(timeout=0.01):
            self.watch(0)
            if self.server.cutting or time.monotonic() > deadline:
                raise Cut

    def pause(self, seconds: float) -> None:
        """Waits, but notices at once when the client goes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.watch(left)

    def watch(self, seconds: float) -> None:
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise Gone


class FakeProvider(ThreadingHTTPServer):
    """The server; `with FakeProvider() as fake` runs it in a thread."""

    daemon_threads = True
    request_queue_size = 512
    handler: type[Handler] = Handler

    def __init__(self, port: int = 0, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", port), self.handler)
        self.key = key
        self.seen: list[Seen] = []
        self.crashes: list[str] = []
        self.followed_redirects = 0
        self.gate = threading.Semaphore(0)
        self.cutting = False
        self.changed = threading.Condition()

    def handle_error(self, request: object, client_address: object) -> None:
        """A reset connection is part of the script: the base class would print a traceback."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> FakeProvider:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def record(self, seen: Seen) -> None:
        with self.changed:
            self.seen.append(seen)
            self.changed.notify_all()

    def end(self, seen: Seen) -> None:
        seen.over.set()
        with self.changed:
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self.seen = []
        self.followed_redirects = 0
        self.gate = threading.Semaphore(0)
        self.cutting = False

    def release(self, frames: int = 1) -> None:
        self.gate.release(frames)

    def cut_gated(self) -> None:
        """Resets the connections of answers that wait for `release`."""
        self.cutting = True

    def wait(self, count: int = 1, timeout: float = PATIENCE) -> list[Seen]:
        """Waits until `count` requests have arrived."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.seen) >= count, timeout):
                raise AssertionError(f"{len(self.seen)} of {count} requests reached the provider")
            return list(self.seen)

    def only_open(self) -> Seen:
        """The one request that arrived, perhaps still being answered."""
        seen = self.wait()
        assert len(seen) == 1, f"{len(seen)} requests reached the provider"
        return seen[0]

    def only(self) -> Seen:
        """The one request that arrived, once it is over."""
        seen = self.only_open()
        assert seen.over.wait(PATIENCE), "the provider is still answering"
        return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    arguments = parser.parse_args()
    with FakeProvider(arguments.port, arguments.key) as fake:
        print(f"fake provider listening on {fake.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
