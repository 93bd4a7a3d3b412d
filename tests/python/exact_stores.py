"""The stores of the tests of exactness: each is started, disturbed, and read past the gateway, from its own tables.

DynamoDB is emulated (`tests/dynamodb.py`), SQLite is a file, PostgreSQL is a cluster of this test's own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from exact_load import Loop
from support import PATIENCE, ROOT, eventually

# Of the calls, while a store is disturbed.
DISTURBED = 0.3


@dataclass
class Ledger:
    """What a scope has used. `holds` are the names of what is under way, and when each lapses."""

    spent: int = 0
    tokens: int = 0
    holds: dict[str, int] = field(default_factory=dict)


class Store(ABC):
    """A store that several processes share."""

    name: str
    # For `feathergate.store`, and the environment of who uses it.
    url: str
    env: dict[str, str]
    # Whether the charge and the record of a request are written as one.
    atomic = True

    @abstractmethod
    def ledger(self, scope: str) -> Ledger: ...

    @abstractmethod
    def entries(self, key: str) -> list[dict[str, Any]]:
        """The records of a key's requests."""

    @abstractmethod
    def days(self, key: str) -> dict[str, int]:
        """The sums of all its days: `requests`, `tokens`, `cost`."""

    @abstractmethod
    def disturbed(self) -> Any:
        """A context in which calls fail, or have to wait."""

    def hold(self, name: str) -> str:
        """What a hold of this name is called in `Ledger.holds`."""
        return name


# --- DynamoDB --------------------------------------------------------------------------------------------------------

REGION, ACCOUNT = "eu-central-1", "123456789012"
# The most items that a scope is spread over here.
PARTS = 4


class Dynamo(Store):
    name = "dynamodb"
    atomic = False

    def __init__(self, stack: ExitStack, loop: Loop, folder: Path) -> None:
        self.table = "exact-%d" % os.getpid()
        self.url = f"dynamodb:{self.table}"
        log = folder / "dynamodb.log"
        command = [sys.executable, str(ROOT / "tests/python/exact_dynamodb.py")]
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        stack.callback(process.wait, PATIENCE)
        stack.callback(process.terminate)

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            return next((line for line in log.read_text().splitlines() if line.startswith("http://")), None)

        self.address = eventually(address, 60.0, pause=0.1)
        self.env = {
            "AWS_ENDPOINT_URL_DYNAMODB": self.address,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
        }
        self.plain("POST", "/table", json.dumps(self.table))

    def plain(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401
        address = urlsplit(self.address)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status == 200, answer
        return json.loads(answer or "{}")

    def items(self, partitions: list[str], text: str = "") -> list[dict[str, str]]:
        """What stands in these partitions, as far as it has this text in it."""
        return self.plain("POST", "/items", json.dumps({"table": self.table, "partitions": partitions, "text": text}))

    def ledger(self, scope: str) -> Ledger:
        ledger = Ledger()
        for item in self.items([f"SCOPE#{scope}#{part}" for part in range(PARTS)]):
            # Only what is forever: `S` and `Q` by the start of their window, 0.
            ledger.spent += int(item.get("S0", 0))
            ledger.tokens += int(item.get("Q0", 0))
            holds = {name: int(value) for name, value in item.items() if name[0] == "H"}
            assert int(item.get("P", 0)) == len(holds), item
            ledger.holds |= holds
        return ledger

    def hold(self, name: str) -> str:
        return "H" + base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()[:6]).decode()

    def entries(self, key: str) -> list[dict[str, Any]]:
        entries = [json.loads(item["b"]) for item in self.items([f"USE#{part}" for part in range(8)], key)]
        return [entry for entry in entries if entry["key"] == key]

    def days(self, key: str) -> dict[str, int]:
        items = [item for item in self.items([f"DAY#{part}" for part in range(8)], key) if item["K"] == key]
        kinds = {"requests": "n", "tokens": "iorw", "cost": "c"}
        return {name: sum(int(item.get(one, 0)) for item in items for one in kind) for name, kind in kinds.items()}

    def count(self) -> None:
        """Begins to count calls, once there were none for a moment."""

        def quiet() -> bool:
            self.plain("PUT", "/count")
            time.sleep(0.2)
            return not self.counted()[0]

        eventually(quiet)

    def counted(self) -> tuple[dict[str, int], dict[str, float]]:
        """Calls by their name, and the units that AWS would charge."""
        told = self.plain("GET", "/count")
        return told["calls"], told["tables"].get(self.table, {})

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Calls are throttled, and of some that were made nobody hears."""
        before = self.plain("GET", "/count")["throttled"]
        self.plain("PUT", "/disturb", json.dumps({"throttle": DISTURBED, "lose": 0.03}))
        try:
            yield
        finally:
            self.plain("PUT", "/disturb", json.dumps({"throttle": 0, "lose": 0}))
        assert self.plain("GET", "/count")["throttled"] > before


# --- SQL -------------------------------------------------------------------------------------------------------------


class Sql(Store):
    """Tables with the same columns in both databases."""

    @abstractmethod
    def select(self, query: str) -> list[list[str]]: ...

    def ledger(self, scope: str) -> Ledger:
        rows = self.select(f"SELECT body FROM ledgers WHERE scope = '{scope}'")
        body = json.loads(rows[0][0]) if rows else {}
        counts = (sum(body.get(name, {}).values()) for name in ("spent", "quota"))
        return Ledger(*counts, body.get("holds", {}))

    def entries(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(row[0]) for row in self.select(f"SELECT body FROM entries WHERE key = '{key}'")]

    def days(self, key: str) -> dict[str, int]:
        rows = self.select(
            "SELECT sum(requests) AS requests, sum(input + output + cache_read + cache_write) AS tokens, sum(cost) AS cost "
            f"FROM days WHERE key = '{key}'"
        )
        return dict(zip(("requests", "tokens", "cost"), (int(value or 0) for value in rows[0]), strict=True))


class Sqlite(Sql):
    name = "sqlite"

    def __init__(self, stack: ExitStack, loop: Loop, folder: Path) -> None:
        self.file = folder / "exact.db"
        self.url, self.env = f"sqlite:{self.file}", {}

    def select(self, query: str) -> list[list[str]]:
        connection = sqlite3.connect(self.file, timeout=60)
        try:
            return [list(row) for row in connection.execute(query)]
        finally:
            connection.close()

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Another program holds the write lock on and off."""
        command = [sys.executable, __file__, str(self.file)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout and process.stdout.readline() == "locked\n"
            yield
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(PATIENCE)


def hog(file: str) -> None:
    """Holds the write lock for about that share of the time."""
    connection = sqlite3.connect(file, timeout=60, isolation_level=None)
    dice = random.Random(1)
    while True:
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        time.sleep(held := dice.uniform(0.01, 0.2))
        connection.execute("COMMIT")
        time.sleep(held / DISTURBED * (1 - DISTURBED))


class Postgres(Sql):
    name = "postgres"

    def __init__(self, stack: ExitStack, loop: Loop, folder: Path) -> None:
        self.env = {}
        script = str(ROOT / "tests/store/postgres.sh")
        error = folder / "postgres.log"
        with error.open("w") as log:
            process = subprocess.Popen(
                ["/bin/sh", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert process.stdout
        self.direct = process.stdout.readline().strip()
        if not self.direct:
            pytest.skip(f"no PostgreSQL: {error.read_text()}")
        stack.callback(process.wait, PATIENCE)
        # Its server ends with it.
        stack.callback(process.terminate)
        address = urlsplit(self.direct)
        self.proxy = Proxy(address.port or 0, random.Random(1))
        loop.run(self.proxy.listen())
        self.url = self.direct.replace(f":{address.port}/", f":{self.proxy.port}/")

    def select(self, query: str) -> list[list[str]]:
        # As JSON, since bodies hold every character.
        wrapped = f"SELECT coalesce(json_agg(r), '[]') FROM ({query}) AS r"
        # psql is older than some settings of an address, and needs no protection here.
        address = self.direct.partition("?")[0] + "?sslmode=require&options=-csearch_path%3Dfeathergate"
        command = [postgres_tool("psql"), address, "-AtXc", wrapped]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr.decode()
        return [list(row.values()) for row in json.loads(run.stdout)]

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Connections break: before a statement gets through, or before its answer does."""
        before, self.proxy.share = self.proxy.dropped, 0.02
        try:
            yield
        finally:
            self.proxy.share = 0.0
        assert self.proxy.dropped > before


def postgres_tool(name: str) -> str:
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders])) or name


class Proxy:
    """Before a port; breaks connections by chance, at each piece that passes."""

    def __init__(self, target: int, dice: random.Random) -> None:
        self.target, self.dice, self.share, self.dropped, self.port = target, dice, 0.0, 0, 0

    async def listen(self) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, target_writer)
        await asyncio.gather(self.pass_on(reader, target_writer, ends), self.pass_on(target_reader, writer, ends))

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self.dice.random() < self.share:
                    self.dropped += 1
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()


STORES: dict[str, type[Store]] = {"dynamodb": Dynamo, "sqlite": Sqlite, "postgres": Postgres}


if __name__ == "__main__":
    hog(sys.argv[1])
