"""DynamoDB on this machine, for tests: moto, with what DynamoDB promises and moto does not keep.

Calls come one after another (moto has no locks), a transaction that fails leaves other items alone (moto sets the whole table
back), and one with a token that came before is not made again. The units that AWS would charge are counted. A share of
the calls can be throttled.

    python tests/dynamodb.py [--throttle 0.3] COMMAND...   runs it with FEATHERGATE_TEST_DYNAMODB and credentials set
    python tests/dynamodb.py --port 5055                   serves until it is stopped

`GET /units/TABLE` tells the units so far, `POST` too and begins anew.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from moto.dynamodb import dynamodb_backends
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import ConditionalCheckFailed, MultipleTransactionsException, TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT, REGION = "123456789012", "eu-central-1"


def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """All conditions, then all writes."""
    seen: set[str] = set()
    errors: list[tuple[Any, Any, Any]] = []
    for item in transact_items:
        kind, write = next(iter(item.items()))
        key = key_of(self, kind, write)
        if (name := write["TableName"] + json.dumps(key, sort_keys=True)) in seen:
            raise MultipleTransactionsException
        seen.add(name)
        current = self.get_item(write["TableName"], key)
        condition = write.get("ConditionExpression")
        names, values = write.get("ExpressionAttributeNames"), write.get("ExpressionAttributeValues")
        holds = condition is None or get_filter_expression(condition, names, values).expr(current)
        errors.append((None, None, None) if holds else ("ConditionalCheckFailed", ConditionalCheckFailed().message, None))
    if any(code for code, _, _ in errors):
        raise TransactionCanceledException(errors)
    for item in transact_items:
        kind, write = next(iter(item.items()))
        if kind == "Put":
            self.put_item(write["TableName"], write["Item"])
        elif kind == "Delete":
            self.delete_item(write["TableName"], write["Key"])
        elif kind == "Update":
            names, values = write.get("ExpressionAttributeNames", {}), write.get("ExpressionAttributeValues", {})
            self.update_item(write["TableName"], write["Key"], write["UpdateExpression"], names, values)


DynamoDBBackend.transact_write_items = transact_write_items


def key_of(backend: DynamoDBBackend, kind: str, write: dict[str, Any]) -> dict[str, Any]:
    if kind != "Put":
        return write["Key"]
    table = backend.get_table(write["TableName"])
    return {name: write["Item"][name] for name in (table.hash_key_attr, table.range_key_attr) if name}


def size(item: dict[str, Any] | None) -> int:
    """Of an item, as AWS counts it (developer guide, "DynamoDB item sizes and formats")."""

    def value(typed: dict[str, Any]) -> int:
        kind, content = next(iter(typed.items()))
        if kind == "N":
            digits = content.lstrip("-").strip("0").replace(".", "")
            return ceil(len(digits) / 2) + 1 + content.startswith("-")
        return len(content.encode()) if kind == "S" else 1

    return sum(len(name.encode()) + value(typed) for name, typed in (item or {}).items())


class Emulator:
    def __init__(self, throttle: float = 0.0, seed: int = 1) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.backend = dynamodb_backends[ACCOUNT][REGION]
        self.lock, self.throttle, self.dice = threading.Lock(), throttle, random.Random(seed)
        self.tokens: dict[str, tuple[bytes, tuple[str, list, bytes]]] = {}
        self.units: dict[str, dict[str, float]] = defaultdict(lambda: {"writes": 0.0, "reads": 0.0})

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self.lock:
            status, headers, answer = self.answer(environ, body)
        headers = [(name, text) for name, text in headers if name.lower() not in ("content-length", "connection")]
        start(status, [*headers, ("content-length", str(len(answer)))])
        return [answer]

    def answer(self, environ: dict[str, Any], body: bytes) -> tuple[str, list, bytes]:
        if environ["PATH_INFO"].startswith("/units/"):
            table = environ["PATH_INFO"].removeprefix("/units/")
            units = json.dumps(self.units[table]).encode()
            if environ["REQUEST_METHOD"] == "POST":
                del self.units[table]
            return "200 OK", [], units
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB") or "Table" in operation:
            return self.ask(environ, body)
        if self.dice.random() < self.throttle:
            return failure("ThrottlingException", "Throughput exceeds the current capacity of your table.")
        request = json.loads(body)
        token = request.get("ClientRequestToken")
        if token in self.tokens:
            first, answer = self.tokens[token]
            changed = first != body
            return failure("IdempotentParameterMismatchException", "Another request had this token.") if changed else answer
        before = self.sizes(request)
        answer = self.ask(environ, body)
        self.count(operation, request, before, answer[2])
        if token and answer[0].startswith("200"):
            self.tokens[token] = (body, answer)
        return answer

    def ask(self, environ: dict[str, Any], body: bytes) -> tuple[str, list, bytes]:
        seen: list[Any] = []
        environ = environ | {"wsgi.input": io.BytesIO(body)}
        answer = b"".join(self.app(environ, lambda status, headers, *_: seen.extend((status, headers))))
        return seen[0], seen[1], answer

    def sizes(self, request: dict[str, Any]) -> list[int]:
        """Of the items that are named, before or after."""
        writes = [next(iter(item.items())) for item in request.get("TransactItems", [])]
        if "Key" in request:
            writes.append(("Update", request))
        try:
            items = [self.backend.get_item(write["TableName"], key_of(self.backend, kind, write)) for kind, write in writes]
        except Exception:  # noqa: BLE001 - no such table: the call will say so
            return []
        return [size(item.to_json()["Attributes"]) if item else 0 for item in items]

    def count(self, operation: str, request: dict[str, Any], before: list[int], answer: bytes) -> None:
        factor = 1 if request.get("ConsistentRead") else 0.5
        first = next(iter(request["TransactItems"][0].values())) if "TransactItems" in request else request
        units = self.units[first["TableName"]]
        if operation == "GetItem":
            units["reads"] += factor * max(1, ceil(sum(before) / 4096))
        elif operation == "Query":
            found = sum(map(size, json.loads(answer).get("Items", [])))
            units["reads"] += factor * max(1, ceil(found / 4096))
        else:
            # A write costs the larger of before and after, also where its condition does not hold; in a transaction twice.
            after = self.sizes(request)
            twice = 2 if operation == "TransactWriteItems" else 1
            units["writes"] += sum(twice * max(1, ceil(max(pair) / 1024)) for pair in zip(before, after, strict=True))


def failure(code: str, message: str) -> tuple[str, list, bytes]:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
    return "400 Bad Request", [("content-type", "application/x-amz-json-1.0")], json.dumps(body).encode()


def serve(emulator: Emulator, port: int = 0) -> str:
    """Serves from a thread until the process ends; returns the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    server = make_server("127.0.0.1", port, emulator, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.port}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--throttle", type=float, default=0.0, help="the share of calls that are throttled")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    address = serve(Emulator(arguments.throttle), arguments.port)
    if not arguments.command:
        print(address, flush=True)
        threading.Event().wait()
    credentials = {"AWS_ACCESS_KEY_ID": "emulated", "AWS_SECRET_ACCESS_KEY": "emulated"}
    return subprocess.run(arguments.command, env=os.environ | credentials | {"FEATHERGATE_TEST_DYNAMODB": address}).returncode


if __name__ == "__main__":
    sys.exit(main())
