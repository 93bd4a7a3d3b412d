"""A peer of the Lambda Runtime API at socket level, and a function URL in front of it.

`RuntimeApi` hands out invocations and keeps the answer as it came over the wire: each chunk with its time, trailers, and
reports to /error. No HTTP library stands between, because one would hide exactly what is to be checked.
`FunctionUrl` turns ordinary HTTP into invocations and back, as AWS does, so that the SDKs can call the function.
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PREFIX = "/2018-06-01/runtime"
STREAMING = "application/vnd.awslambda.http-integration-response"
SEPARATOR = b"\0" * 8
PATIENCE = 20.0


@dataclass
class Invocation:
    """One invocation and everything that the runtime said about it."""

    id: str
    event: dict
    deadline_ms: int
    # The head of the runtime's POST …/response: header names in lower case.
    headers: dict[str, str] = field(default_factory=dict)
    # (time, data) of each chunk; for a body with a length there is one.
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    trailers: bytes = b""
    # What was posted to …/error instead.
    error: bytes | None = None
    complete: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    @property
    def prelude(self) -> dict:
        return json.loads(self.body.split(SEPARATOR, 1)[0])

    @property
    def payload(self) -> bytes:
        """What the client of the function URL sees as the body."""
        return self.body.split(SEPARATOR, 1)[1]

    def wait(self, enough: Callable[[Invocation], bool] = lambda self: self.complete, timeout: float = PATIENCE) -> Invocation:
        with self.changed:
            if not self.changed.wait_for(lambda: enough(self), timeout):
                raise AssertionError(f"the runtime has not answered: complete={self.complete}, body={self.body!r}")
        return self

    def note(self, data: bytes) -> None:
        with self.changed:
            self.chunks.append((time.monotonic(), data))
            self.changed.notify_all()

    def finish(self) -> None:
        with self.changed:
            self.complete = True
            self.changed.notify_all()


class Reader:
    """Reads HTTP/1.1 from a socket and nothing more."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")

    def head(self) -> tuple[str, dict[str, str]] | None:
        line = self.file.readline().decode("latin-1").rstrip("\r\n")
        if not line:
            return None
        headers: dict[str, str] = {}
        while field_line := self.file.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = field_line.partition(":")
            key = name.strip().lower()
            # Two `trailer` headers are legal, so values are joined.
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        return line, headers

    def body(self, headers: dict[str, str], note: Callable[[bytes], None]) -> bytes:
        """Passes each chunk to `note`; returns the raw trailers."""
        if "chunked" not in headers.get("transfer-encoding", ""):
            if length := int(headers.get("content-length", 0)):
                note(self.exactly(length))
            return b""
        while size := int(self.line(), 16):
            note(self.exactly(size))
            if (end := self.exactly(2)) != b"\r\n":
                raise ConnectionError(f"a chunk ends with {end!r}")
        trailers = b""
        while (line := self.file.readline()) not in (b"\r\n", b""):
            trailers += line
        return trailers

    def line(self) -> bytes:
        if not (line := self.file.readline()).endswith(b"\r\n"):
            raise ConnectionError("the connection ended within a chunked body")
        return line

    def exactly(self, length: int) -> bytes:
        if len(data := self.file.read(length)) != length:
            raise ConnectionError("the connection ended within a body")
        return data


class RuntimeApi:
    """The API; `with RuntimeApi() as api` runs it. `api.address` belongs into AWS_LAMBDA_RUNTIME_API."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.queue: queue.Queue[Invocation] = queue.Queue()
        self.running: dict[str, Invocation] = {}
        self.numbers = itertools.count(1)
        # Called in the thread of the connection, at the moment a poll of /next arrives and before it is answered.
        self.on_poll: Callable[[], None] = lambda: None
        self.polls = 0
        self.init_errors: list[bytes] = []
        self.problems: list[str] = []
        self.changed = threading.Condition()
        self.closed = False

    @property
    def address(self) -> str:
        return "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self) -> RuntimeApi:
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.listener.close()

    def accept(self) -> None:
        while not self.closed:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        try:
            while head := reader.head():
                self.request(connection, reader, *head)
        except (ConnectionError, OSError, ValueError) as error:
            # A runtime that is killed at the end of a test ends like this; one that is not has broken the protocol.
            if not self.closed:
                self.problems.append(repr(error))
        finally:
            connection.close()

    def request(self, connection: socket.socket, reader: Reader, line: str, headers: dict[str, str]) -> None:
        method, path, _ = line.split(" ", 2)
        parts = path.removeprefix(PREFIX).strip("/").split("/")
        match method, parts:
            case "GET", ["invocation", "next"]:
                with self.changed:
                    self.polls += 1
                    self.changed.notify_all()
                self.on_poll()
                self.hand_out(connection)
            case "POST", ["invocation", id, "response"]:
                invocation = self.running[id]
                invocation.headers = headers
                invocation.trailers = reader.body(headers, invocation.note)
                self.accepted(connection)
                invocation.finish()
            case "POST", ["invocation", id, "error"]:
                posted: list[bytes] = []
                reader.body(headers, posted.append)
                self.running[id].error = b"".join(posted)
                self.accepted(connection)
                self.running[id].finish()
            case "POST", ["init", "error"]:
                reader.body(headers, self.init_errors.append)
                self.accepted(connection)
            case _:
                self.problems.append(f"unexpected request: {line}")
                connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    @staticmethod
    def accepted(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n")

    def hand_out(self, connection: socket.socket) -> Invocation:
        invocation = self.queue.get()
        payload = json.dumps(invocation.event).encode()
        head = (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            f"lambda-runtime-aws-request-id: {invocation.id}\r\n"
            f"lambda-runtime-deadline-ms: {invocation.deadline_ms}\r\n"
            "lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:feathergate\r\n"
            "lambda-runtime-trace-id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0\r\n"
            f"content-length: {len(payload)}\r\n\r\n"
        )
        connection.sendall(head.encode() + payload)
        return invocation

    def invoke(self, event: dict, seconds: float = 60.0) -> Invocation:
        """Queues an invocation whose deadline is `seconds` from now. Negative: in the past."""
        id = "8476a536-e9f4-11e8-9739-%012d" % next(self.numbers)
        invocation = Invocation(id, event, int((time.time() + seconds) * 1000))
        self.running[id] = invocation
        self.queue.put(invocation)
        return invocation

    def wait_for_polls(self, count: int, timeout: float = PATIENCE) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: self.polls >= count, timeout):
                raise AssertionError(f"/next was polled {self.polls} times, not {count}")


def url_event(
    method: str = "POST",
    target: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    binary: bool = False,
) -> dict:
    """A function URL event, payload format 2.0. `binary` sends the body in base64, as AWS does for other media types."""
    headers = {"host": "abc123.lambda-url.eu-central-1.on.aws"} | {k.lower(): v for k, v in (headers or {}).items()}
    cookies = [part.strip() for part in headers.pop("cookie", "").split(";") if part.strip()]
    url = urlsplit(target)
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": url.path,
        "rawQueryString": url.query,
        "headers": headers | {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc123",
            "domainName": headers["host"],
            "domainPrefix": "abc123",
            "http": {
                "method": method,
                "path": url.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "198.51.100.7",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": "5e4dfe50-33a7-4aa0-a4b8-7d0fd8fd55ed",
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Nov/2026:10:00:00 +0000",
            "timeEpoch": 1795255200000,
        },
        "isBase64Encoded": binary,
    }
    if cookies:
        event["cookies"] = cookies
    if body:
        event["body"] = base64.b64encode(body).decode() if binary else body.decode()
    return event


class FunctionUrl(ThreadingHTTPServer):
    """A function URL in RESPONSE_STREAM mode (or in front of a buffered function: the answer says which it is)."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, api: RuntimeApi) -> None:
        super().__init__(("127.0.0.1", 0), UrlHandler)
        self.api = api

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is not reported: AWS does not tell the function either."""

    def __enter__(self) -> FunctionUrl:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class UrlHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FunctionUrl
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        kind = headers.get("content-type", "")
        binary = bool(body) and not kind.startswith(("text/", "application/json"))
        invocation = self.server.api.invoke(url_event(self.command, self.path, headers, body, binary))
        invocation.wait(lambda i: i.complete or (streams(i) and SEPARATOR in i.body), timeout=60)
        if invocation.error is not None:
            self.reply(502, {"content-type": "application/json"}, [], b'{"message":"Internal Server Error"}')
        elif streams(invocation):
            self.stream(invocation)
        else:
            answer = json.loads(invocation.body)
            text = answer.get("body") or ""
            raw = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
            self.reply(answer["statusCode"], answer.get("headers") or {}, answer.get("cookies") or [], raw)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_PATCH = do

    def head(self, status: int, headers: dict[str, str], cookies: list[str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        for cookie in cookies:
            self.send_header("set-cookie", cookie)

    def reply(self, status: int, headers: dict[str, str], cookies: list[str], body: bytes) -> None:
        self.head(status, headers, cookies)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, invocation: Invocation) -> None:
        prelude = invocation.prelude
        self.head(prelude["statusCode"], prelude.get("headers") or {}, prelude.get("cookies") or [])
        if self.command == "HEAD" or prelude["statusCode"] in (204, 304):
            invocation.wait()
            self.end_headers()
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        passed = 0
        complete = False
        while not complete:
            invocation.wait(lambda i: i.complete or len(i.payload) > passed, timeout=60)
            complete, data = invocation.complete, invocation.payload[passed:]
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                passed += len(data)
        self.wfile.write(b"0\r\n\r\n")


def streams(invocation: Invocation) -> bool:
    return invocation.headers.get("lambda-runtime-function-response-mode") == "streaming"
