"""One request to a gateway, and what came of it in the few words that are compared."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

import upstream

PATIENCE = 20.0
KEY = "sk-compare-8fQz27LmXw"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Result:
    """What is compared, field by field. `-` is nothing."""

    calls: str = "-"  # the deployments that were called, in order
    status: str = "-"
    kind: str = "-"  # the error's type
    code: str = "-"  # and its code
    says: str = "-"  # which upstream's error the client is told of
    text: str = "-"  # the content
    end: str = "-"  # of a stream: done, error, eof (no terminal event), cut
    retries: str = "-"  # the headers x-litellm-attempted-retries, -fallbacks, and -model-group
    fallbacks: str = "-"
    group: str = "-"
    waited: str = "-"  # whole seconds, at most 2, before each further call, where a scenario asks for it
    message: str = field(default="", compare=False)  # an error's text, shown and not compared

    def __str__(self) -> str:
        return " | ".join(f"{name}: {getattr(self, name)}" for name in COMPARED if getattr(self, name) != "-")


COMPARED = [one.name for one in fields(Result) if one.compare]


def differing(one: Result, other: Result) -> list[str]:
    return [name for name in COMPARED if getattr(one, name) != getattr(other, name)]


@dataclass
class Ask:
    """One request. Names of models are the scenario's own, without its prefix."""

    model: str
    stream: bool
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]


def ask(model: str = "m", *, stream: bool = False, path: str = "chat/completions", headers: Mapping[str, str] = {}, **body: object) -> Ask:
    return Ask(model, stream, path, headers, body)


def send(url: str, one: Ask, prefix: str) -> Result:
    """Sends a request; `prefix` stands before the names of the scenario's models. `calls` is for the caller to fill in."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"} | dict(one.headers)
    result = Result()
    try:
        if one.path == "models":
            connection.request("GET", "/v1/models", headers=headers)
        else:
            connection.request("POST", f"/v1/{one.path}", json.dumps(request(one, prefix)), headers)
        answer = connection.getresponse()
        result.status = str(answer.status)
        for name, field in (("attempted-retries", "retries"), ("attempted-fallbacks", "fallbacks"), ("model-group", "group")):
            setattr(result, field, (answer.getheader(f"x-litellm-{name}") or "-").removeprefix(prefix))
        body, cut = b"", False
        try:
            while part := answer.read1(65536):
                body += part
        except (http.client.IncompleteRead, ConnectionError):
            cut = True
        read(result, body.decode(errors="replace"), "text/event-stream" in (answer.getheader("content-type") or ""), cut, prefix)
    except TimeoutError:
        result.end = "timeout"
    except (ConnectionError, http.client.HTTPException) as error:
        result.end = type(error).__name__
    finally:
        connection.close()
    return result


def request(one: Ask, prefix: str) -> dict:
    full = {"fallbacks": lambda names: [name if isinstance(name, dict) else prefix + name for name in names]}
    body = {name: full.get(name, lambda value: value)(value) for name, value in one.body.items()}
    if one.path == "embeddings":
        return {"model": prefix + one.model, "input": "hello"} | body
    limit = {"max_tokens": 9} if one.path == "messages" else {}
    stream = {"stream": True} if one.stream else {}
    return {"model": prefix + one.model, "messages": HELLO} | limit | stream | body


def read(result: Result, body: str, streamed: bool, cut: bool, prefix: str) -> None:
    if not streamed:
        try:
            whole = json.loads(body)
        except ValueError:
            result.text = f"no JSON: {body[:80]!r}"
            return
        if "error" in whole:
            explain(result, whole["error"])
        elif "data" in whole:
            result.text = " ".join(
                sorted(one["id"].removeprefix(prefix) for one in whole["data"] if str(one.get("id", "")).startswith(prefix))
            ) or whole["object"]
        else:
            result.text = content(whole)
        if cut:
            result.end = "cut"
        return
    text, result.end = "", "cut" if cut else "eof"
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            result.end = "done" if result.end == "eof" else result.end
            continue
        frame = json.loads(data)
        if "error" in frame:
            explain(result, frame["error"])
            result.end = "error"
        elif frame.get("type") == "message_stop":
            result.end = "done"
        elif frame.get("type") == "content_block_delta":
            text += frame["delta"].get("text", "")
        for choice in frame.get("choices") or []:
            text += choice["delta"].get("content") or ""
    result.text = text or "-"


def content(whole: dict) -> str:
    if whole.get("type") == "message":
        return "".join(block.get("text", "") for block in whole["content"])
    return whole["choices"][0]["message"]["content"] or "-"


def explain(result: Result, error: dict | str) -> None:
    if not isinstance(error, dict):
        result.kind = f"no object: {error!r}"
        return
    message = str(error.get("message"))
    result.kind, result.code = str(error.get("type")), str(error.get("code"))
    known = {"context": upstream.CONTEXT, "policy": upstream.POLICY, "html": "503 Service Unavailable"}
    found = sorted({one.replace(" answers ", " ") for one in re.findall(r"\w+ answers \d+", message)})
    found += [name for name, text in known.items() if text in message]
    result.says = " ".join(found) or "-"
    result.message = message
