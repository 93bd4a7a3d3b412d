"""The emulated DynamoDB (`tests/dynamodb.py`, over moto) for hundreds of calls at one time: with moto's own way they wait for
each other for longer than the gateway has patience.

Tables and items are moto's. The writes that the gateway makes at every request are evaluated here, and one in fifty by moto
as well: both must come to the same. All else goes to moto.

    python exact_dynamodb.py    prints its address and serves until it is stopped

`PUT /disturb` takes `{"throttle": 0.3, "lose": 0.03}`: the share of calls that are throttled, and of those that are made and
whose answer is lost. `PUT /count` begins to count, and `GET /count` tells. `POST /table` makes a table of that name, and `POST
/items` reads whole partitions of one.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from moto.dynamodb.models.dynamo_type import DynamoType, Item

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dynamodb  # noqa: E402

Request = dict[str, Any]
Attributes = dict[str, dict[str, str]]
Result = tuple[str, list, bytes]
CHECKED = 0.02
TABLE: dict[str, Any] = {
    "schema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "attr": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}],
    "throughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
    "billing_mode": "PAY_PER_REQUEST",
    "global_indexes": [],
    "indexes": [],
    "streams": None,
    "sse_specification": None,
    "tags": [],
    "deletion_protection_enabled": False,
    "warm_throughput": None,
}
FAILED = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
NAME, VALUE = r"(?:#\w+|pk|sk)", r":\w+"
TERM = rf"attribute_(?:not_)?exists\({NAME}\)|{NAME} (?:<=|<|>=|>) {VALUE}"
CONDITION = re.compile(rf"(?:{TERM}|\((?:{TERM}) OR (?:{TERM})\))(?: AND (?:{TERM}|\((?:{TERM}) OR (?:{TERM})\)))*")
SET = re.compile(rf"({NAME}) = (?:({VALUE})|if_not_exists\({NAME}, ({VALUE})\))")
ADD = re.compile(rf"({NAME}) ({VALUE})")


class Unknown(Exception):
    """Left to moto."""


@cache
def condition(text: str) -> Any:  # noqa: ANN401 - a function
    """A condition as a function of the number of a name, of a value, and of whether a name is there."""
    if not CONDITION.fullmatch(text):
        raise Unknown
    text = re.sub(rf"attribute_not_exists\(({NAME})\)", r"not there('\1')", text)
    text = re.sub(rf"attribute_exists\(({NAME})\)", r"there('\1')", text)
    text = re.sub(rf"({NAME}) ([<>]=?) ({VALUE})", r"name('\1') \2 value('\3')", text)
    text = text.replace(" AND ", " and ").replace(" OR ", " or ")
    return eval(f"lambda name, value, there: {text}")  # noqa: S307 - it has the form that was matched


@cache
def update(text: str) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]], list[str]]:
    """What is set, added and removed."""
    clauses = dict(re.findall(r"(SET|ADD|REMOVE) (.*?)(?= (?:ADD|REMOVE) |$)", text))
    sets = [SET.fullmatch(part) for part in split(clauses.get("SET"))]
    adds = [ADD.fullmatch(part) for part in split(clauses.get("ADD"))]
    if not all(sets) or not all(adds):
        raise Unknown
    return [one.groups() for one in sets if one], [one.groups() for one in adds if one], split(clauses.get("REMOVE"))


def split(clause: str | None) -> list[str]:
    return re.split(r", (?![^(]*\))", clause) if clause else []


class Emulator(dynamodb.Emulator):
    """Answers without a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.disturb, self.lose, self.throttled, self.counting = 0.0, 0.0, 0, False
        self.operations: Counter[str] = Counter()

    def call(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Result:
        match method, path:
            case "PUT", "/disturb":
                shares = json.loads(body)
                self.disturb, self.lose = shares["throttle"], shares["lose"]
                return "200 OK", [], b"{}"
            case "PUT", "/count":
                self.counting = True
                self.operations.clear()
                self.units.clear()
                return "200 OK", [], b"{}"
            case "GET", "/count":
                told = {"throttled": self.throttled, "calls": self.operations, "tables": self.units}
                return "200 OK", [], json.dumps(told).encode()
            case "POST", "/table":
                self.backend.create_table(json.loads(body), **TABLE)
                return "200 OK", [], b"{}"
            case "POST", "/items":
                return "200 OK", [], json.dumps(list(self.items(**json.loads(body)))).encode()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": headers.get("content-type", ""),
        }
        environ |= {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
        if self.disturb and self.dice.random() < self.disturb:
            self.throttled += 1
            return dynamodb.failure("ThrottlingException", "Throughput exceeds the current capacity of your table.")
        answer = self.answer(environ, body)
        if self.lose and self.dice.random() < self.lose:
            return dynamodb.failure("InternalServerError", "The answer was lost.")
        return answer

    def items(self, table: str, partitions: list[str], text: str) -> Iterator[dict[str, str]]:
        for partition in partitions:
            for item in list(self.backend.get_table(table).items.get(DynamoType({"S": partition}), {}).values()):
                found = {name: value.value for name, value in item.attrs.items()}
                if any(text in value for value in found.values()):
                    yield found

    def sizes(self, request: Request) -> list[int]:
        return super().sizes(request) if self.counting else []

    def count(self, operation: str, request: Request, before: list[int], answer: bytes) -> None:
        if self.counting:
            self.operations[operation] += 1
            super().count(operation, request, before, answer)

    def ask(self, environ: dict[str, Any], body: bytes) -> Result:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        quick = {"UpdateItem": self.update_item, "GetItem": self.get_item, "TransactWriteItems": self.transact}.get(operation)
        if not quick:
            return super().ask(environ, body)
        request = json.loads(body)
        try:
            if self.dice.random() >= CHECKED:
                return quick(request)
            return self.checked(operation, request, quick, lambda: super(Emulator, self).ask(environ, body))
        except Unknown:
            return super().ask(environ, body)

    # --- What moto is asked at every request -------------------------------------------------------------------------

    def find(self, request: Request) -> Item | None:
        table, key = self.backend.get_table(request["TableName"]), request["Key"]
        return table.get_item(DynamoType(key["pk"]), DynamoType(key["sk"]))

    def get_item(self, request: Request) -> Result:
        item = self.find(request)
        return "200 OK", [], json.dumps({"Item": attributes(item)} if item else {}).encode()

    def holds(self, write: Request, item: Item | None) -> bool:
        if not (text := write.get("ConditionExpression")):
            return True
        attrs, names = item.attrs if item else {}, write.get("ExpressionAttributeNames", {})
        values = write.get("ExpressionAttributeValues", {})

        def number(name: str) -> float:
            found = attrs.get(names.get(name, name))
            # What is not there compares with nothing.
            return int(found.value) if found else float("nan")

        test = condition(text)
        return test(number, lambda name: int(values[name]["N"]), lambda name: names.get(name, name) in attrs)

    def write(self, write: Request) -> Item:
        sets, adds, removes = update(write["UpdateExpression"])
        names, values = write.get("ExpressionAttributeNames", {}), write.get("ExpressionAttributeValues", {})
        item = self.find(write)
        if not item:
            item = self.backend.get_table(write["TableName"]).put_item(dict(write["Key"]))
        # moto's own dictionary adds up the sizes of all that is in it, each time.
        put = lambda name, value: dict.__setitem__(item.attrs, name, DynamoType(value))  # noqa: E731
        before = dict(item.attrs)
        for name, value, absent in sets:
            name = names.get(name, name)
            if value or name not in before:
                put(name, values[value or absent])
        for name, value in adds:
            name = names.get(name, name)
            number = int(before[name].value) if name in before else 0
            put(name, {"N": str(number + int(values[value]["N"]))})
        for name in removes:
            dict.pop(item.attrs, names.get(name, name), None)
        return item

    def update_item(self, request: Request) -> Result:
        update(request["UpdateExpression"])
        item = self.find(request)
        if not self.holds(request, item):
            error = {"__type": FAILED, "message": "The conditional request failed"}
            if item and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                error["Item"] = attributes(item)
            return "400 Bad Request", [], json.dumps(error).encode()
        item = self.write(request)
        answer = {"Attributes": attributes(item)} if request.get("ReturnValues") == "ALL_NEW" else {}
        return "200 OK", [], json.dumps(answer).encode()

    def transact(self, request: Request) -> Result:
        """A record and its sums."""
        writes = [next(iter(item.items())) for item in request["TransactItems"]]
        for kind, write in writes:
            if kind == "Put":
                if write.get("ConditionExpression") != "attribute_not_exists(pk)":
                    raise Unknown
                write["Key"] = {name: write["Item"][name] for name in ("pk", "sk")}
            elif kind != "Update" or write.get("ConditionExpression"):
                raise Unknown
            else:
                update(write["UpdateExpression"])
        if any(kind == "Put" and self.find(write) for kind, write in writes):
            raise Unknown
        for kind, write in writes:
            if kind == "Put":
                self.backend.get_table(write["TableName"]).put_item(write["Item"])
            else:
                self.write(write)
        return "200 OK", [], b"{}"

    # --- And whether moto agrees -------------------------------------------------------------------------------------

    def checked(self, operation: str, request: Request, quick: Any, slow: Any) -> Result:  # noqa: ANN401 - functions
        named = [request] if "Key" in request else [next(iter(item.values())) for item in request["TransactItems"]]
        places = [(one["TableName"], one.get("Key") or {name: one["Item"][name] for name in ("pk", "sk")}) for one in named]
        before = [copy.deepcopy(self.peek(place)) for place in places]
        theirs, after_theirs = slow(), [copy.deepcopy(self.peek(place)) for place in places]
        for place, attrs in zip(places, before, strict=True):
            table = self.backend.get_table(place[0])
            if attrs is None:
                table.delete_item(DynamoType(place[1]["pk"]), DynamoType(place[1]["sk"]))
            else:
                table.put_item(attrs)
        ours, after_ours = quick(copy.deepcopy(request)), [self.peek(place) for place in places]
        told = [{name: json.loads(one[2]).get(name) for name in ("__type", "Item", "Attributes")} for one in (theirs, ours)]
        if theirs[0][:3] != ours[0][:3] or told[0] != told[1] or after_theirs != after_ours:
            print("moto does otherwise:", request, theirs, ours, after_theirs, after_ours, flush=True)
            return dynamodb.failure("ValidationException", "the emulator is wrong; see its log")
        return ours

    def peek(self, place: tuple[str, dict[str, Any]]) -> Attributes | None:
        item = self.find({"TableName": place[0], "Key": place[1]})
        return attributes(item) if item else None


def attributes(item: Item) -> Attributes:
    return {name: {value.type: value.value} for name, value in item.attrs.items()}


async def serve() -> None:
    emulator = Emulator()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                top, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = top.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                status, _, answer = emulator.call(method, path, headers, body)
                kind = f"content-type: application/x-amz-json-1.0\r\ncontent-length: {len(answer)}"
                writer.write(f"HTTP/1.1 {status}\r\n{kind}\r\n\r\n".encode() + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
    print("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
