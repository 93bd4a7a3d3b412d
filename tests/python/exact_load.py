"""What the tests of exactness have in common: an upstream that keeps its own books, and clients that all come at once.

Both run in one event loop in a thread of their own, so that 400 requests at one time are 400 sockets and not 400 threads.
Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

# Of the prompt below, as every request sends it: all requests are estimated alike.
WORDS = "The quick brown fox jumps over the lazy dog while seven wizards quietly mix a jug of potions. " * 3
MOST_OUTPUT = 40
# In units of 1e-12 dollars for a token, as the gateway counts.
INPUT_PRICE, OUTPUT_PRICE = 2_000_000, 10_000_000
# What the gateway's guess of the input may be: 0.95 to 1.4 times what the vendors count (`wire::needs`).
LEAST_GUESS, MOST_GUESS = 0.95, 1.4


def price(tokens_in: int, tokens_out: int) -> int:
    return tokens_in * INPUT_PRICE + tokens_out * OUTPUT_PRICE


@dataclass
class Served:
    """A call of the upstream, as the upstream knows it."""

    user: str
    begun: float
    tokens_in: int
    tokens_out: int
    # Whether the usage went out.
    told: bool = False
    ended: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    @property
    def cost(self) -> int:
        return price(self.tokens_in, self.tokens_out)


@dataclass
class Reply:
    """What a client saw. `status` is 0 where the connection broke before there was one."""

    user: str
    place: int
    status: int
    body: bytes
    whole: bool

    @property
    def code(self) -> str:
        try:
            return json.loads(self.body)["error"]["code"] or ""
        except (ValueError, KeyError, TypeError):
            return ""

    @property
    def message(self) -> str:
        return json.loads(self.body)["error"]["message"]


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 120.0) -> T:
        return self.start(work).result(timeout)

    def stop(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


async def nothing() -> None:
    """The pause of an upstream that answers at once."""


@dataclass
class Upstream:
    """OpenAI's chat completions. The model decides how an answer ends: `whole`, `stream`, `cut-early` (a stream that is cut
    after content, before its usage) and `cut-late` (after its usage, before its end)."""

    dice: random.Random
    # What the input is guessed to be; learnt from the gateway's own words.
    guess: int = 0
    served: dict[str, Served] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    pause: Callable[[], Awaitable[None]] = nothing
    open: int = 0
    peak: int = 0
    url: str = ""

    async def listen(self) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=1024)
        self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]

    def usage(self) -> tuple[int, int]:
        """As far from the guess as it may be, and often all the output that was asked for."""
        tokens_in = self.dice.randint(round(self.guess / MOST_GUESS), int(self.guess / LEAST_GUESS))
        return tokens_in, self.dice.choice([MOST_OUTPUT, self.dice.randint(1, MOST_OUTPUT)])

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                if not await self.answer(json.loads(await reader.readexactly(length)), reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - a fault of this script must not look like one of the network
            self.problems.append(repr(error))
        finally:
            writer.close()

    async def answer(self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """`False` where the connection was cut."""
        user, model = request["user"], request["model"]
        if user in self.served:
            self.problems.append(f"{user} came twice")
        served = self.served[user] = Served(user, time.monotonic(), *self.usage())
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            if model == "whole":
                await self.pause()
                # Whoever hangs up meanwhile gets none, but has had it computed.
                served.told = True
                await self.whole(served, writer)
                return True
            return await self.stream(served, request, reader, writer)
        finally:
            served.ended = time.monotonic()
            self.open -= 1

    async def whole(self, served: Served, writer: asyncio.StreamWriter) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        body = json.dumps(envelope("chat.completion") | {"choices": [choice], "usage": usage(served)}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def stream(
        self, served: Served, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        model = request["model"]

        async def send(**fields: object) -> None:
            event = b"data: %s\n\n" % json.dumps(envelope("chat.completion.chunk") | fields).encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()

        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await send(choices=[{"index": 0, "delta": {"role": "assistant", "content": "h"}, "finish_reason": None}])
        await self.pause()
        if model == "cut-early":
            return cut(writer)
        if model == "left":
            # Its client has gone by now, or will: so will the gateway.
            await reader.read()
            return False
        await send(choices=[{"index": 0, "delta": {"content": "i"}, "finish_reason": None}])
        await send(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (request.get("stream_options") or {}).get("include_usage"):
            served.told = True
            await send(choices=[], usage=usage(served))
        else:
            self.problems.append("a stream was not asked for its usage")
        if model == "cut-late":
            # What is in flight must arrive: a reset throws away what the other side has not read.
            await asyncio.sleep(0.05)
            return cut(writer)
        event = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
        await writer.drain()
        return True

    def of(self, prefix: str) -> dict[str, Served]:
        # A copy, which is made in one go: the other thread goes on meanwhile.
        return {user: served for user, served in self.served.copy().items() if user.startswith(prefix)}


def envelope(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-exact", "object": kind, "created": 1700000000, "model": "exact"}


def usage(served: Served) -> dict[str, int]:
    return {"prompt_tokens": served.tokens_in, "completion_tokens": served.tokens_out, "total_tokens": served.tokens}


def cut(writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return False


def most_at_once(served: Iterable[Served]) -> int:
    """How many were under way at one time."""
    moments = sorted([(one.begun, 1) for one in served] + [(one.ended, -1) for one in served])
    peak = now = 0
    for _, change in moments:
        now += change
        peak = max(peak, now)
    return peak


async def ask(place: int, url: str, key: str, user: str, model: str, timeout: float = 60.0) -> Reply:
    """One request on a connection of its own."""
    fields = {"model": model, "user": user, "max_tokens": MOST_OUTPUT, "messages": [{"role": "user", "content": WORDS}]}
    if model in ("stream", "cut-early", "cut-late", "left"):
        fields["stream"] = True
    body = json.dumps(fields).encode()
    address = urlsplit(url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    seen = b""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(head.encode() + body)
                while data := await reader.read(65536):
                    seen += data
                    if model == "left" and b'"content": "h"' in seen:
                        break
            finally:
                writer.close()
    except OSError:
        pass
    top, _, rest = seen.partition(b"\r\n\r\n")
    status = int(top.split(b" ")[1]) if top else 0
    length = top.lower().partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0]
    whole = len(rest) == int(length) if length else rest.endswith(b"\r\n0\r\n\r\n")
    return Reply(user, place, status, rest, whole)
