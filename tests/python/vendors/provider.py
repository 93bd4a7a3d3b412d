"""OpenAI, Anthropic and Gemini in one process, on the loopback interface: strict about requests, truthful in answers.

Where `fake_provider` plays scenarios that a model's name picks, this one has models: names decide what is allowed (`gpt-5` is a
reasoning model, `claude-opus-4-8` takes no temperature, `gemini-3-…` signs its calls), the conversation decides the answer
(`brain`). Every refusal is kept in `refusals`; a test that does not expect one fails by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from fake_provider import Cut, FakeProvider, Handler, Seen

from . import brain
from .anthropic_messages import AnthropicMessages
from .common import Step, compact
from .gemini import Gemini, GeminiEmbeddings
from .openai_chat import OpenAiChat, OpenAiEmbeddings

KEYS = {OpenAiChat: "authorization", OpenAiEmbeddings: "authorization", AnthropicMessages: "x-api-key"}
# What a client may send along, and an upstream must not see.
FOREIGN = ("x-stainless-lang", "cookie", "x-forwarded-for")
GEMINI = re.compile(r"/v1(?:beta)?/models/([^/:]+):(\w+)(\?alt=sse)?")


class StrictHandler(Handler):
    """One connection."""

    server: StrictProvider

    def answer(self, seen: Seen) -> None:
        headers = {name.lower(): value for name, value in seen.headers}
        kind, model, how = route(seen.target)
        vendor: type = kind or OpenAiChat
        try:
            if kind is None:
                raise brain.Rejected(f"Unknown path: {seen.target}", 404)
            self.check_headers(vendor, headers, seen)
            request = json.loads(seen.body)
            self.serve(seen, vendor, request, model, headers, how)
        except brain.Rejected as problem:
            self.server.refusals.append(f"{vendor.__name__}: {problem.message}")
            body = vendor.error(problem.status, problem.message, problem.param, problem.code)
            self.whole(seen, problem.status, compact(body).encode())

    def check_headers(self, vendor: type, headers: dict[str, str], seen: Seen) -> None:
        name = KEYS.get(vendor, "x-goog-api-key")
        if vendor is AnthropicMessages and name not in headers:
            # Either is right at Anthropic.
            headers[name] = headers.pop("authorization", "")
        given = headers.get(name, "").removeprefix("Bearer ")
        if given != self.server.keys[name]:
            raise brain.Rejected("Incorrect API key provided", 401)
        if stray := [one for one in {*KEYS.values(), "x-goog-api-key", *self.server.foreign} - {name} if one in headers]:
            raise brain.Rejected(f"headers that are not for this vendor: {stray}")
        if not headers.get("content-type", "").startswith("application/json"):
            raise brain.Rejected("content-type must be application/json")
        if "key=" in seen.target:
            raise brain.Rejected("a key in the URL ends in logs")

    def serve(self, seen: Seen, vendor: type, request: dict, model: str | None, headers: dict[str, str], how: str) -> None:
        if vendor in (OpenAiEmbeddings, GeminiEmbeddings):
            self.whole(seen, 200, compact(vendor(request, model, headers).answer()).encode())
            return
        if how == "count" and vendor is Gemini:
            request = self.counted(request, model)
        more = {"threads": self.server.threads} if vendor is AnthropicMessages else {}
        wire = (
            vendor(request, model, headers, counting=how == "count", **more)
            if vendor is not OpenAiChat
            else vendor(request, model, headers)
        )
        wire.check()
        if how == "count":
            self.whole(seen, 200, compact(wire.count() if vendor is Gemini else {"input_tokens": 42}).encode())
            return
        said = brain.answer(wire.read())
        if how == "stream" or request.get("stream"):
            self.stream(seen, steps(wire.stream(said), said))
        elif said.fault == "error":
            self.whole(seen, 503, compact(wire.error(503, "The model is overloaded.")).encode())
        elif said.fault:
            raise Cut
        else:
            self.whole(seen, 200, compact(wire.whole(said)).encode())

    @staticmethod
    def counted(request: dict, model: str | None) -> dict:
        """The request to count: bare contents, or a whole request that names its model again."""
        inner = request.get("generateContentRequest")
        if inner is None:
            if request.keys() != {"contents"}:
                raise brain.Rejected(f"Invalid JSON payload received. Unknown name in {sorted(request)}: Cannot find field.")
            return request
        if request.keys() != {"generateContentRequest"} or inner.get("model") != f"models/{model}":
            raise brain.Rejected("* CountTokensRequest.generate_content_request.model: model must be specified")
        return {name: value for name, value in inner.items() if name != "model"}


def route(target: str) -> tuple[type | None, str | None, str]:
    path, _, query = target.partition("?")
    if path == "/v1/messages" and query in ("", "beta=true"):
        return AnthropicMessages, None, "whole"
    if path == "/v1/messages/count_tokens" and query in ("", "beta=true"):
        return AnthropicMessages, None, "count"
    if target == "/v1/chat/completions":
        return OpenAiChat, None, "whole"
    if target == "/v1/embeddings":
        return OpenAiEmbeddings, None, "embed"
    if (found := GEMINI.fullmatch(target)) and bool(found[3]) == (found[2] == "streamGenerateContent"):
        methods = {"generateContent": "whole", "streamGenerateContent": "stream", "countTokens": "count"}
        if how := methods.get(found[2]):
            return Gemini, found[1], how
        if found[2] == "batchEmbedContents":
            return GeminiEmbeddings, found[1], "embed"
    return None, None, ""


def steps(frames: Iterator[Step], said: brain.Answer) -> Iterator[Step]:
    yield from frames
    if said.fault == "cut":
        # Long enough for the content to leave the kernel before the reset throws away what is queued.
        yield 50
        raise Cut


class StrictProvider(FakeProvider):
    """The server; `with StrictProvider(keys) as vendors` runs it in a thread. `keys` are the right ones, by their headers."""

    handler = StrictHandler

    def __init__(self, keys: dict[str, str], foreign: tuple[str, ...] = FOREIGN) -> None:
        super().__init__()
        self.keys = keys
        self.foreign = foreign
        self.refusals: list[str] = []
        self.threads: dict = {}

    def clear(self) -> None:
        super().clear()
        self.refusals = []
