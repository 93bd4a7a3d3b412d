"""A process that was frozen, as Lambda does it between invocations, wakes up with connections that the upstream has closed
meanwhile. The next request goes out on a new one, and nobody notices."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable

from support import HELLO, PATIENCE, Gateway, Stream, bearer, chat, config, model

BODY = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    }
).encode()
REQUEST = json.dumps({"model": "ok", "messages": HELLO}).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)


class OneAnswerEach:
    """An upstream that keeps connections open after an answer, until it is told to close them. It never reads a second request
    from a connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []
        self.requests = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            while len(body) < length:
                body += connection.recv(65536)
            self.requests += 1
            self.open.append(connection)
            connection.sendall(HEAD + BODY)

    def close_idle(self) -> None:
        while self.open:
            self.open.pop().close()

    def stop(self) -> None:
        self.close_idle()
        self.listener.close()


def test_a_connection_that_died_in_the_freeze_costs_no_attempt(gateway: Callable[..., Gateway]) -> None:
    upstream = OneAnswerEach()
    try:
        server = gateway(config([model("ok", "openai/ok", upstream.url)]))
        assert chat(server.url).status == 200
        for round in range(5):
            server.signal(signal.SIGSTOP)
            try:
                upstream.close_idle()
                # The request is there when the process wakes up, as an invocation is.
                request = Stream(server.url, "/v1/chat/completions", REQUEST, bearer())
            finally:
                server.signal(signal.SIGCONT)
            head = request.head()
            assert head.status == 200, round
            assert head.headers["x-litellm-attempted-retries"] == "0"
            request.close()
        assert upstream.requests == 6
        assert [line["attempt"] for line in server.wait_for_requests(6)] == [1] * 6
    finally:
        upstream.stop()
