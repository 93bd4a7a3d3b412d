"""The upstream that both gateways call: every deployment of every scenario is a path of its own, with a list of answers.

An answer is a few words. The last one of a list is given again and again.

    ok                    the deployment's name as text
    500, 429 retry-after=1, 400 context, 400 policy, 503 html
                          an error with this status; a header; the body of a special case
    error200              an error object with status 200
    reset                 the connection is reset, and nothing answered
    slow=2 ok             what follows, two seconds later
    sse-error, sse-cut    streams: an error event, or a reset, before any content
    late-error, late-cut, late-eof
                          streams: the same, or an end without `[DONE]`, after some content
    stall=2, late-stall=2 streams: two seconds of silence before any content, or after some
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTEXT = "This model's maximum context length is 8 tokens. However, your messages resulted in 9 tokens."
POLICY = "Your request was rejected as a result of the safety system."
HTML = "<html><body><h1>503 Service Unavailable</h1></body></html>"


def says(deployment: str, status: int) -> str:
    """The text of an ordinary error: found again in what a client is told."""
    return f"{deployment} answers {status}"


@dataclass
class Call:
    """One request as it came."""

    deployment: str
    path: str
    body: dict
    at: float


@dataclass
class Script:
    """What the deployments of one scenario answer, and what came."""

    answers: dict[str, list[str]]
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, call: Call) -> str:
        with self.lock:
            self.calls.append(call)
            rest = self.answers[call.deployment]
            return rest.pop(0) if len(rest) > 1 else rest[0]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(value: dict, named: bool = False) -> bytes:
    name = f"event: {value['type']}\n".encode() if named else b""
    return name + b"data: " + compact(value) + b"\n\n"


class OpenAi:
    """Chat Completions, as far as these tests need it."""

    @staticmethod
    def error(status: int, text: str, code: str | None) -> dict:
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
        kind = "server_error" if status >= 500 else kind
        return {"error": {"message": text, "type": kind, "param": None, "code": code}}

    @staticmethod
    def whole(model: str, text: str) -> dict:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}

    @staticmethod
    def frames(model: str, text: str) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """What comes before any content, the content, and the end."""

        def chunk(delta: dict, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
            return event(head | {"choices": [choice]})

        opening = [chunk({"role": "assistant", "content": ""})]
        return opening, [chunk({"content": part}) for part in (text[:1], text[1:])], [chunk({}, "stop"), b"data: [DONE]\n\n"]

    @staticmethod
    def error_event(text: str) -> bytes:
        return event(OpenAi.error(500, text, None))


class Anthropic:
    """Messages, as far as these tests need it."""

    @staticmethod
    def error(status: int, text: str, code: str | None) -> dict:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": text}}

    @staticmethod
    def whole(model: str, text: str) -> dict:
        head = {"id": "m", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
        usage = {"input_tokens": 3, "output_tokens": 2}
        return head | {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}

    @staticmethod
    def frames(model: str, text: str) -> tuple[list[bytes], list[bytes], list[bytes]]:
        start = Anthropic.whole(model, text) | {"content": [], "stop_reason": None}
        opening = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]
        deltas = [{"type": "text_delta", "text": part} for part in (text[:1], text[1:])]
        content = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
        stop = {"stop_reason": "end_turn", "stop_sequence": None}
        ending = [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        named = [[event(one, named=True) for one in part] for part in (opening, content, ending)]
        return named[0], named[1], named[2]

    @staticmethod
    def error_event(text: str) -> bytes:
        return event({"type": "error", "error": {"type": "overloaded_error", "message": text}}, named=True)


class Handler(BaseHTTPRequestHandler):
    """`/<scenario>/<deployment>/…`; what follows says which API is spoken."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        _, scenario, deployment, path = self.path.split("/", 3)
        script = self.server.scripts[scenario]
        words = script.take(Call(deployment, path, body, time.monotonic())).split()
        while words[0].startswith("slow="):
            time.sleep(float(words.pop(0).partition("=")[2]))
        try:
            self.answer(Anthropic if path.startswith("v1/messages") else OpenAi, deployment, body, *words)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self, wire: type[OpenAi | Anthropic], deployment: str, body: dict, word: str, *more: str) -> None:
        model = str(body.get("model"))
        if word.isdigit():
            self.refuse(wire, deployment, int(word), more)
        elif word == "error200":
            self.whole(200, compact(wire.error(500, says(deployment, 500), None)))
        elif word == "reset":
            self.reset()
        elif "input" in body:
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            self.whole(200, compact({"object": "list", "data": data, "model": model, "usage": usage}))
        elif body.get("stream"):
            self.stream(word, wire, *wire.frames(model, deployment), deployment)
        else:
            self.whole(200, compact(wire.whole(model, deployment)))

    def refuse(self, wire: type[OpenAi | Anthropic], deployment: str, status: int, more: tuple[str, ...]) -> None:
        headers = dict(word.split("=") for word in more if "=" in word)
        if "html" in more:
            self.whole(status, HTML.encode(), {"content-type": "text/html"})
            return
        text, code = says(deployment, status), None
        if "context" in more:
            text, code = CONTEXT, "context_length_exceeded"
        if "policy" in more:
            text, code = POLICY, "content_policy_violation"
        self.whole(status, compact(wire.error(status, text, code)), headers)

    def whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(
        self,
        word: str,
        wire: type[OpenAi | Anthropic],
        opening: list[bytes],
        content: list[bytes],
        ending: list[bytes],
        deployment: str,
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        kind, _, seconds = word.partition("=")
        late = kind.startswith("late-")
        before, after = (content[:1], content[1:]) if late else ([], content)

        def steps() -> Iterator[bytes]:
            yield from [*opening, *before]
            if kind in ("sse-error", "late-error"):
                yield wire.error_event(says(deployment, 500))
                return
            if kind == "late-eof":
                return
            if kind in ("sse-cut", "late-cut"):
                # Long enough for what was sent to be read: a reset throws away what is queued.
                time.sleep(0.1)
                self.reset()
                raise ConnectionResetError
            if seconds:
                time.sleep(float(seconds))
            yield from [*after, *ending]

        for frame in steps():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        self.wfile.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Linger 0 turns the close into a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


class Upstream(ThreadingHTTPServer):
    """The server; `with Upstream() as upstream` runs it in a thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: dict[str, Script] = {}
        # A port that is taken and not listened at: nobody else gets it, and connections to it are refused.
        self.closed = socket.socket()
        self.closed.bind(("127.0.0.1", 0))

    def handle_error(self, request: object, client_address: object) -> None:
        """Resets are part of the script: the base class would print a traceback."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def closed_url(self) -> str:
        return f"http://127.0.0.1:{self.closed.getsockname()[1]}"

    def __enter__(self) -> Upstream:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.closed.close()
