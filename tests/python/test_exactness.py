"""Limits and charges to the last token: 8 processes, 50 requests at one time to each, and one store that they share.

What really happened is known from the upstream, which keeps books of its own, and what was charged is read from the store's
tables, past the gateway. So it goes on while processes are killed, while the store fails and while streams are cut. The
figures are printed as a table at the end; `FEATHERGATE_EXACT_SEED` repeats a run.

The bound: a request is admitted with an estimate, and its input is guessed. So a limit of tokens or dollars can be exceeded by
what requests used beyond their estimates, and by nothing else; one of requests cannot be exceeded at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from conftest import lambda_environment
from exact_load import MOST_OUTPUT, Loop, Reply, Served, Upstream, ask, most_at_once, nothing, price
from exact_stores import PARTS, STORES, Dynamo, Ledger, Store
from runtime_api import FunctionUrl, Invocation, RuntimeApi
from support import MASTER, NO_COOLDOWN, OPENAI_KEY, Answer, Gateway, Process, bearer, binary, config, eventually, http_request

PROCESSES, EACH = 8, 50
ALL = PROCESSES * EACH
# Twenty percent of the processes, and a bit.
KILLED = 2
SEED = int(os.environ.get("FEATHERGATE_EXACT_SEED") or random.randrange(1_000_000))
# For what takes its time on a machine that does other things as well.
LONG = 60.0
# A request's time, after which its hold lapses in another minute.
TIMEOUT, MARGIN = 8, 60
MODELS = ("whole", "stream", "cut-early", "cut-late", "left")
PLENTY = 10**12
# Requests at one time that the model `bound` takes from all processes.
BOUND = 40


# --- The table -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A line of what is printed."""

    store: str
    scenario: str
    requests: int = 0
    admitted: int = 0
    refused: int = 0
    failed: int = 0
    limit: str = ""
    used: str = ""
    charged: int = 0
    upstream: int = 0
    lapsed: int = 0
    seconds: float = 0.0

    def cells(self) -> list[str]:
        numbers = [self.requests, self.admitted, self.refused, self.failed, self.limit, self.used]
        numbers += [self.charged, self.upstream, self.charged - self.upstream, self.lapsed, f"{self.seconds:.1f} s"]
        return [self.store, self.scenario, *map(str, numbers)]


HEAD = ["store", "scenario", "requests", "admitted", "refused", "503/gone", "limit", "used or peak"]
HEAD += ["charged", "upstream", "difference", "lapsed", "time"]
ROWS: list[Row] = []


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    lines = [HEAD, *(row.cells() for row in ROWS)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\nExactness: {PROCESSES} processes x {EACH} requests at one time, seed {SEED}; charged, upstream: tokens")
        for line in lines:
            padded = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
            print("  ".join([line[0].ljust(widths[0]), line[1].ljust(widths[1]), *padded]), flush=True)
        print("", *COUNTED, sep="\n", flush=True)


# --- The world -------------------------------------------------------------------------------------------------------


@dataclass
class Key:
    """A virtual key, and what its requests came to."""

    secret: str
    id: str
    name: str
    asked: count = field(default_factory=count)


@dataclass
class Wave:
    """Requests that were sent at the same time."""

    replies: list[Reply]
    asked: int
    done: Future[None]

    def wait(self) -> list[Reply]:
        self.done.result(LONG * 2)
        return self.replies


@dataclass
class Books:
    """What the store has of a key, when all is settled."""

    ledger: Ledger
    entries: dict[str, dict[str, Any]]


class World:
    """A store, the processes that share it, and the upstream behind them."""

    def __init__(self, kind: str, stack: ExitStack, loop: Loop, folder: Path) -> None:
        self.stack, self.loop, self.folder = stack, loop, folder
        self.dice = random.Random(f"{SEED} {kind}")
        self.store: Store = STORES[kind](stack, loop, folder)
        self.upstream = Upstream(random.Random(f"{SEED} {kind} upstream"))
        loop.run(self.upstream.listen())
        self.names = count()
        self.gateways: list[Gateway] = []
        self.killed: list[Gateway] = []
        self.add(PROCESSES)
        # All requests are alike, and so is what is set aside for them: a refusal tells it.
        key = self.key("estimate", tpm_limit=1)
        refusal = loop.run(ask(0, self.gateways[0].url, key.secret, "estimate-0", "whole"))
        assert refusal.status == 429, refusal
        self.estimate = int(re.search(r"this request may take (\d+)", refusal.message)[1])
        self.upstream.guess = self.estimate - MOST_OUTPUT
        self.estimated_cost = price(self.upstream.guess, MOST_OUTPUT)

    def config(self) -> str:
        price = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
        base = {"api_base": self.upstream.url + "/v1", "api_key": OPENAI_KEY} | price
        models = [{"model_name": name, "litellm_params": base | {"model": f"openai/{name}"}} for name in MODELS]
        models.append({"model_name": "bound", "litellm_params": base | {"model": "openai/whole"}})
        models.append({"model_name": "held", "litellm_params": base | {"model": "openai/whole", "timeout": LONG * 2}})
        return config(
            models,
            router_settings=NO_COOLDOWN | {"num_retries": 0},
            litellm_settings={"request_timeout": TIMEOUT},
            feathergate={"store": self.store.url, "shared_limits": {"models": {"bound": {"max_parallel_requests": BOUND}}}},
        )

    def add(self, processes: int) -> None:
        """Starts processes, all at the same time."""
        text, new = self.config(), []
        for _ in range(processes):
            one = Gateway(text, self.folder, self.store.env, (), f"gateway{next(self.names)}")
            self.stack.callback(one.check_output)
            self.stack.callback(one.stop)
            new.append(one)
        self.gateways += [one.listen() for one in new]

    def kill(self, place: int) -> None:
        self.killed.append(self.gateways[place])
        self.gateways[place].process.kill()
        self.gateways[place].process.wait(10)

    def replace_killed(self) -> None:
        self.gateways = [one for one in self.gateways if one not in self.killed]
        self.add(PROCESSES - len(self.gateways))

    def admin(self, method: str, target: str, fields: dict[str, Any] | None = None) -> Answer:
        body = json.dumps(fields).encode() if fields is not None else None
        answer = http_request(self.gateways[-1].url, method, target, body, bearer())
        assert answer.status == 200, answer
        return answer

    def keys(self, name: str, number: int, **fields: object) -> list[Key]:
        return [self.key(f"{name}{place}", **fields) for place in range(number)]

    def key(self, name: str, **fields: object) -> Key:
        # With a quota tokens are counted, and with a budget the key's own counts are told.
        made = self.admin("POST", "/key/generate", {"key_alias": name, "token_quota": PLENTY, "max_budget": 1000} | fields).json
        return Key(made["key"], made["id"], name)

    def send(
        self,
        keys: Key | Sequence[Key],
        requests: int = ALL,
        model: str | Sequence[str] = "whole",
        rounds: int = 1,
        urls: Sequence[str] = (),
    ) -> Wave:
        """`requests` clients at the same time, spread over the processes and the keys; each asks `rounds` times."""
        urls = urls or [one.url for one in self.gateways]
        keys, models = [keys] if isinstance(keys, Key) else keys, [model] if isinstance(model, str) else model
        replies: list[Reply] = []

        async def client(number: int) -> None:
            key, place = keys[number % len(keys)], number // len(keys) % len(urls)
            for _ in range(rounds):
                user = f"{key.name}-{next(key.asked)}"
                replies.append(await ask(place, urls[place], key.secret, user, self.dice.choice(models)))

        async def clients() -> None:
            await asyncio.gather(*(client(number) for number in range(requests)))

        return Wave(replies, requests * rounds, self.loop.start(clients()))

    def wave(self, keys: Key | Sequence[Key], requests: int = ALL, model: str | Sequence[str] = "whole") -> list[Reply]:
        return self.send(keys, requests, model).wait()

    def served(self, key: Key) -> dict[str, Served]:
        assert not self.upstream.problems, self.upstream.problems
        return self.upstream.of(f"{key.name}-")

    def settled(self, key: Key, replies: Sequence[Reply], but: int = 0) -> Books:
        """The books, as soon as all that was answered is in them and no longer held, `but` for so many."""
        answered = {reply.user for reply in replies if reply.status == 200 and reply.user.startswith(key.name + "-")}
        books = Books(Ledger(), {})

        def done() -> bool:
            books.ledger = self.store.ledger(f"key:{key.id}")
            entries = self.store.entries(key.id)
            books.entries = {entry["end_user"]: entry for entry in entries}
            assert len(books.entries) == len(entries), "a request is recorded once"
            return sum(user not in books.entries or self.held(books, user) for user in answered) <= but

        def describe() -> str:
            missing = answered - books.entries.keys()
            return f"{self.store.name}: {len(missing)} of {len(answered)} not recorded, {len(books.ledger.holds)} held"

        eventually(done, LONG, describe, 0.1)
        return books

    def held(self, books: Books, user: str) -> bool:
        return self.store.hold(books.entries[user]["id"].partition("-")[2]) in books.ledger.holds

    def check(self, key: Key, books: Books, row: Row) -> None:
        """That the records say what the upstream knows, and the sums what the records say."""
        served = self.served(key)
        for user, entry in books.entries.items():
            one, tokens = served[user], entry["tokens"]
            if one.told:
                assert (tokens["input"], tokens["output"], entry["cost"]) == (one.tokens_in, one.tokens_out, one.cost), user
            else:
                assert (tokens["input"] + tokens["output"], entry["cost"]) == (self.estimate, self.estimated_cost), user
            assert entry["estimated"] != one.told, user
        tokens = sum(entry["tokens"]["input"] + entry["tokens"]["output"] for entry in books.entries.values())
        cost = sum(entry["cost"] for entry in books.entries.values())
        assert self.store.days(key.id) == {"requests": len(books.entries), "tokens": tokens, "cost": cost}
        info = json.loads(self.admin("GET", f"/key/info?key={key.id}").body, parse_float=Decimal)["info"]
        assert int(info["spend"] * 10**12) == books.ledger.spent
        row.charged += books.ledger.tokens
        row.upstream += sum(one.tokens for one in served.values())
        row.lapsed += len(books.ledger.holds)

    def exact(self, key: Key, replies: Sequence[Reply], row: Row) -> Books:
        """Waits for all to be settled; then everything is charged at what it was. Only what was refused since the store did not
        answer in time may be set aside until it lapses."""
        books = self.settled(key, replies)
        self.check(key, books, row)
        failed = sum(reply.status == 503 and reply.user.startswith(key.name + "-") for reply in replies)
        assert len(books.ledger.holds) <= failed
        spent = sum(entry["cost"] for entry in books.entries.values())
        assert books.ledger.spent == spent + len(books.ledger.holds) * self.estimated_cost
        assert books.entries.keys() == self.served(key).keys()
        return books

    def fill(
        self,
        keys: Key | Sequence[Key],
        row: Row,
        measure: str,
        first: int = ALL,
        model: str | Sequence[str] = ("whole", "stream"),
    ) -> list[Reply]:
        """Comes with all at one time, and then again until nobody is let in any more."""
        began = time.monotonic()
        replies = new = self.wave(keys, first, model)
        while 200 in (statuses := {reply.status for reply in new}) or 429 not in statuses:
            for key in [keys] if isinstance(keys, Key) else keys:
                self.settled(key, replies)
            new = self.wave(keys, 6 * PROCESSES, model)
            replies = replies + new
            assert time.monotonic() - began < 2 * LONG, statuses
        for reply in replies:
            assert reply.status in (200, 429, 503), reply
            codes = ("rate_limit_exceeded", "insufficient_quota", "store_unavailable")
            assert reply.status == 200 or reply.code in codes, reply
            assert reply.status != 429 or measure in reply.message, reply
            assert reply.whole, reply
        self.count(replies, row, began)
        return replies

    @staticmethod
    def count(replies: Sequence[Reply], row: Row, began: float) -> None:
        statuses = Counter(reply.status for reply in replies)
        row.requests += len(replies)
        row.admitted += statuses[200]
        row.refused += statuses[429]
        row.failed += len(replies) - statuses[200] - statuses[429]
        row.seconds += time.monotonic() - began

    def row(self, scenario: str, limit: str = "") -> Row:
        ROWS.append(Row(self.store.name, scenario, limit=limit))
        return ROWS[-1]

    def beyond(self, key: Key, what: Callable[[Served], int], estimate: int) -> int:
        """By how much a limit may be exceeded: what requests used beyond their estimates."""
        return sum(max(0, what(one) - estimate) for one in self.served(key).values())


def units(dollars: int) -> float:
    """An amount in units of 1e-12 dollars, as a number of JSON that is exact."""
    assert dollars % 10**6 == 0
    return dollars / 10**12


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """One of each store, from when it is first asked for to the end: what lapses takes a minute."""
    made: dict[str, World] = {}
    loop = Loop()
    with ExitStack() as stack:
        stack.callback(loop.stop)

        def get(kind: str) -> World:
            if kind not in made:
                made[kind] = World(kind, stack, loop, tmp_path_factory.mktemp(kind))
            made[kind].upstream.pause = nothing
            # A test that failed after it had killed must not fail those behind it.
            made[kind].replace_killed()
            return made[kind]

        yield get


@pytest.fixture(params=list(STORES))
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)


# --- Processes that are killed ---------------------------------------------------------------------------------------

CRASHED: dict[str, Key] = {}


def test_killed_processes_leave_what_lapses(world: World) -> None:
    """Two of eight die at moments of their own. What they had settled stays as it was, what they had not is charged at its
    estimate; nothing is charged twice or lost. (`test_places_of_killed_processes_come_free` is the rest of it.)"""
    limit = 60 * world.estimated_cost
    row = world.row("2 of 8 killed", f"8 x ${units(limit):.6f}")
    keys = world.keys("killed", PROCESSES, max_budget=units(limit))
    places = world.key("places", max_parallel_requests=20)
    gate = world.loop.run(event())
    world.upstream.pause = gate.wait
    # One that dies holds all places of a key.
    victims = world.dice.sample(range(PROCESSES), KILLED)
    holding = world.loop.start(gather(world, victims[0], places, 20))
    eventually(lambda: len(world.served(places)) == 20, LONG)

    async def some_time() -> None:
        await asyncio.sleep(world.upstream.dice.uniform(0.0, 0.5))

    world.upstream.pause = some_time
    began = time.monotonic()
    wave = world.send(keys, ALL, ("whole", "stream"), rounds=2)
    moments = sorted(world.dice.sample(range(ALL // 10, ALL * 3 // 4), KILLED))
    for place, moment in zip(victims, moments, strict=True):
        eventually(lambda moment=moment: len(world.upstream.of("killed")) >= moment, LONG, pause=0.001)
        world.kill(place)
    replies = wave.wait()
    gate_open(world, gate)
    assert not any(reply.status for reply in holding.result(LONG)), "whoever holds the places dies"
    world.count(replies, row, began)
    alive = [reply for reply in replies if reply.place not in victims]
    assert all(reply.status in (200, 429, 503) and reply.whole for reply in alive), Counter(reply.status for reply in alive)
    world.replace_killed()
    exact = 0
    for key in keys:
        books = world.settled(key, alive)
        exact += leaves_what_lapses(world, key, books, replies, row)
        assert books.ledger.spent <= limit + world.beyond(key, lambda one: one.cost, world.estimated_cost)
    row.used = f"{exact} exact"
    assert row.lapsed > 0
    ledger = world.store.ledger(f"key:{places.id}")
    assert len(ledger.holds) == 20
    assert ledger.spent == 20 * world.estimated_cost
    CRASHED[world.store.name] = places


def leaves_what_lapses(world: World, key: Key, books: Books, replies: Sequence[Reply], row: Row) -> int:
    """How many requests of a key are charged at what they were."""
    served = world.served(key)
    world.check(key, books, row)
    # The killed ones' requests: settled, or held until they lapse, or (where the two are not written as one) charged and not
    # recorded.
    recorded = {user for user in books.entries if not world.held(books, user)}
    exact = sum(books.entries[user]["cost"] for user in recorded)
    surplus = books.ledger.spent - exact - len(books.ledger.holds) * world.estimated_cost
    unrecorded = [served[user].cost for user in served.keys() - books.entries.keys()]
    if world.store.atomic:
        assert surplus == 0
        assert len(recorded) == len(books.entries)
    assert is_sum_of_some(surplus, unrecorded), (surplus, unrecorded)
    # Only what a killed process had taken on, or what the store did not answer to in time.
    assert len(books.ledger.holds) <= sum(reply.user.startswith(key.name + "-") for reply in replies)
    return len(recorded)


async def event() -> asyncio.Event:
    return asyncio.Event()


def gate_open(world: World, gate: asyncio.Event) -> None:
    world.loop.loop.call_soon_threadsafe(gate.set)


async def gather(world: World, place: int, key: Key, requests: int) -> list[Reply]:
    url = world.gateways[place].url
    users = [f"{key.name}-{next(key.asked)}" for _ in range(requests)]
    return await asyncio.gather(*(ask(place, url, key.secret, user, "whole") for user in users))


def is_sum_of_some(total: int, parts: list[int]) -> bool:
    sums = {0}
    for part in parts:
        sums |= {one + part for one in sums if one + part <= total}
    return total in sums


# --- Each limit ------------------------------------------------------------------------------------------------------


def test_a_budget_is_used_up_and_not_exceeded(world: World) -> None:
    limit = 150 * world.estimated_cost + world.estimated_cost // 2 // 10**6 * 10**6
    row = world.row("budget", f"${units(limit):.6f}")
    key = world.key("budget", max_budget=units(limit))
    books = world.exact(key, world.fill(key, row, "a budget of"), row)
    row.used = f"${books.ledger.spent / 10**12:.6f}"
    beyond = world.beyond(key, lambda one: one.cost, world.estimated_cost)
    assert limit - world.estimated_cost < books.ledger.spent <= limit + beyond


def test_tokens_a_minute_are_used_up_and_not_exceeded(world: World) -> None:
    limit = 100 * world.estimate + world.estimate // 2
    row = world.row("TPM", str(limit))
    key = world.key("tpm", tpm_limit=limit)
    replies = world.fill(key, row, "tokens a minute")
    end = time.monotonic()
    world.exact(key, replies, row)
    served = world.served(key)
    beyond = world.beyond(key, lambda one: one.tokens, world.estimate)
    # No minute has more; some seconds of it may be lost on the way to the upstream.
    most = max(sum(one.tokens for one in served.values() if 0 <= one.begun - first.begun < 55) for first in served.values())
    last = sum(one.tokens for one in served.values() if one.begun > end - 70)
    row.used = str(most)
    assert most <= limit + beyond
    assert last + row.lapsed * world.estimate > limit - world.estimate


def test_requests_a_minute_are_used_up_and_not_exceeded(world: World) -> None:
    limit = 100
    row = world.row("RPM", str(limit))
    key = world.key("rpm", rpm_limit=limit)
    replies = world.fill(key, row, "requests a minute")
    end = time.monotonic()
    world.exact(key, replies, row)
    served = world.served(key)
    most = max(sum(0 <= one.begun - first.begun < 55 for one in served.values()) for first in served.values())
    row.used = str(most)
    assert most <= limit
    assert sum(one.begun > end - 70 for one in served.values()) + row.lapsed >= limit


def test_parallel_requests_are_used_up_and_not_exceeded(world: World) -> None:
    """Those who are let in stay until all others were sent away; then the same again, which shows that places come free."""
    limit = 40
    row = world.row("parallel", str(limit))
    key = world.key("parallel", max_parallel_requests=limit)
    replies: list[Reply] = []
    for requests in (ALL, 3 * limit):
        began = time.monotonic()
        gate = world.loop.run(event())
        world.upstream.pause = gate.wait
        wave = world.send(key, requests, "held")
        eventually(lambda wave=wave, all=requests: len(wave.replies) + world.upstream.open >= all, LONG)
        statuses = Counter(reply.status for reply in wave.replies)
        assert statuses.keys() <= {429, 503}, statuses
        assert world.upstream.open <= limit
        assert world.upstream.open + statuses[503] >= limit
        gate_open(world, gate)
        replies += wave.wait()
        world.count(wave.replies, row, began)
        world.exact(key, replies, Row("", ""))
    world.exact(key, replies, row)
    peak = most_at_once(world.served(key).values())
    row.used = str(peak)
    assert peak <= limit
    assert peak == limit or row.failed
    assert all("requests at one time" in reply.message for reply in replies if reply.status == 429)


def test_a_team_and_a_model_bind_all_keys(world: World) -> None:
    """Three places to count in, of which a request must have all or none."""
    limit = 100 * world.estimated_cost
    row = world.row("team and model", f"${units(limit):.6f}")

    async def a_moment() -> None:
        await asyncio.sleep(0.1)

    world.upstream.pause = a_moment
    team = world.admin("POST", "/team/new", {"team_alias": "exact", "max_budget": units(limit)}).json["team_id"]
    keys = [world.key(f"team{number}", team_id=team, max_parallel_requests=30) for number in range(4)]
    # Each request is three writes, and more where one place has room and another has none.
    replies = world.fill(keys, row, "", ALL // 4, "bound")
    spent = sum(world.exact(key, replies, row).ledger.spent for key in keys)
    for scope in (f"team:{team}", "model:bound"):
        # What could not be taken back in time.
        left = world.store.ledger(scope).spent - spent
        assert 0 <= left <= row.failed * world.estimated_cost, scope
    peak = most_at_once([one for key in keys for one in world.served(key).values()])
    row.used = f"${spent / 10**12:.6f}"
    assert peak <= BOUND
    beyond = sum(world.beyond(key, lambda one: one.cost, world.estimated_cost) for key in keys)
    assert limit - world.estimated_cost < spent <= limit + beyond


def test_a_key_that_is_spread_has_the_same_limits(worlds: Callable[[str], World]) -> None:
    """Over several items, each with its share of the limits."""
    world = worlds("dynamodb")
    limit, places = 100 * world.estimated_cost, 40
    row = world.row(f"over {PARTS} items", f"${units(limit):.6f}")
    key = world.key("spread", max_budget=units(limit), max_parallel_requests=places, shards=PARTS)
    spent = world.exact(key, world.fill(key, row, ""), row).ledger.spent
    row.used = f"${spent / 10**12:.6f}"
    assert most_at_once(world.served(key).values()) <= places
    beyond = world.beyond(key, lambda one: one.cost, world.estimated_cost)
    assert limit - PARTS * world.estimated_cost < spent <= limit + beyond


# --- A store that fails, and streams that do -------------------------------------------------------------------------


def test_a_store_that_fails_now_and_then_loses_nothing(world: World) -> None:
    """What is refused since the store cannot be asked may stay set aside until it lapses, and nothing else does."""
    limit, places = 150 * world.estimated_cost, 60
    row = world.row("store disturbed", f"${units(limit):.6f}")
    key = world.key("disturbed", max_budget=units(limit), max_parallel_requests=places)
    with world.store.disturbed():
        replies = world.fill(key, row, "")
        world.settled(key, replies)
    assert most_at_once(world.served(key).values()) <= places
    spent = world.exact(key, replies, row).ledger.spent
    row.used = f"${spent / 10**12:.6f}"
    assert limit - world.estimated_cost < spent <= limit + world.beyond(key, lambda one: one.cost, world.estimated_cost)


def test_streams_that_are_cut_or_left_are_charged_as_far_as_it_is_known(world: World) -> None:
    row = world.row("streams cut, left")
    keys = world.keys("cut", PROCESSES)
    began = time.monotonic()
    replies = world.wave(keys, ALL, ("cut-early", "cut-late", "stream", "left"))
    world.count(replies, row, began)
    assert all(reply.status in (200, 503) for reply in replies), Counter(reply.status for reply in replies)
    books = [world.exact(key, replies, row) for key in keys]
    estimated = [entry["end_user"] for one in books for entry in one.entries.values() if entry["estimated"]]
    row.used = f"{len(estimated)} estimated"
    assert 0 < len(estimated) < row.admitted
    # The difference is that of these, and of nothing else.
    unknown = sum(world.estimate - world.upstream.served[user].tokens for user in estimated)
    assert row.charged - row.upstream == unknown + row.lapsed * world.estimate


# --- Lambda ----------------------------------------------------------------------------------------------------------


class Instances(RuntimeApi):
    """A Runtime API that several instances poll. For one that dies it answers its invocation with an error, as AWS does."""

    def __init__(self) -> None:
        super().__init__()
        # What each instance does, from one poll to the next.
        self.busy: dict[socket.socket, Invocation] = {}

    def hand_out(self, connection: socket.socket) -> Invocation:
        self.busy.pop(connection, None)
        self.busy[connection] = super().hand_out(connection)
        return self.busy[connection]

    def serve(self, connection: socket.socket) -> None:
        super().serve(connection)
        if (invocation := self.busy.pop(connection, None)) and not invocation.complete:
            invocation.error = b"the instance is gone"
            invocation.finish()


def test_lambda_instances_settle_before_they_poll_again(worlds: Callable[[str], World]) -> None:
    """One request at a time in each of eight instances. When the last one has polled, all is in the books: nobody has to wait.
    Then two of them are killed."""
    world = worlds("dynamodb")
    file = world.folder / "lambda.yaml"
    file.write_text(world.config())
    with ExitStack() as stack:
        api = stack.enter_context(Instances())
        urls = [stack.enter_context(FunctionUrl(api)).url]
        instances = []
        for number in range(PROCESSES):
            env = lambda_environment(api.address, file) | world.store.env
            instances.append(Process([str(binary())], env, world.folder, f"lambda{number}"))
            stack.callback(instances[-1].check_output)
            stack.callback(instances[-1].stop)
        api.wait_for_polls(PROCESSES, LONG)

        limit = 40 * world.estimated_cost
        row = world.row("Lambda, budget", f"${units(limit):.6f}")
        key = world.key("lambda", max_budget=units(limit))
        replies: list[Reply] = []
        began = time.monotonic()
        while not replies or any(reply.status != 429 for reply in replies[-PROCESSES:]):
            replies += world.send(key, 3 * PROCESSES, ("whole", "stream"), urls=urls).wait()
            api.wait_for_polls(PROCESSES + len(replies), LONG)
            ledger, entries = world.store.ledger(f"key:{key.id}"), world.store.entries(key.id)
            assert not ledger.holds or any(reply.status == 503 for reply in replies)
            assert len(entries) == sum(reply.status == 200 for reply in replies)
        world.count(replies, row, began)
        spent = world.exact(key, replies, row).ledger.spent
        row.used = f"${spent / 10**12:.6f}"
        assert limit - world.estimated_cost < spent <= limit + world.beyond(key, lambda one: one.cost, world.estimated_cost)

        row = world.row("Lambda, 2 killed")
        key = world.key("instances")

        async def some_time() -> None:
            await asyncio.sleep(world.upstream.dice.uniform(0.0, 0.1))

        world.upstream.pause = some_time
        began = time.monotonic()
        wave = world.send(key, 10 * PROCESSES, ("whole", "stream"), urls=urls)
        moments = sorted(world.dice.sample(range(PROCESSES, 6 * PROCESSES), KILLED))
        for instance, moment in zip(instances, moments, strict=False):
            eventually(lambda moment=moment: len(world.served(key)) >= moment, LONG, pause=0.001)
            instance.process.kill()
        replies = wave.wait()
        world.count(replies, row, began)
        # The six others have settled all of theirs when they poll again; each that died had one request at most.
        eventually(lambda: not api.busy, LONG)
        books = world.settled(key, replies, but=KILLED)
        exact = leaves_what_lapses(world, key, books, replies, row)
        row.used = f"{exact} exact"
        assert len(replies) - exact <= KILLED
        assert sum(reply.status != 200 for reply in replies) <= KILLED


# --- What it takes ---------------------------------------------------------------------------------------------------


def test_calls_of_the_store_are_one_before_and_one_after(worlds: Callable[[str], World]) -> None:
    """Each place that a request counts in takes one write before the call and one after it, all places at the same time; its
    record is one more. Nothing without a key or a limit."""
    world = worlds("dynamodb")
    store = world.store
    assert isinstance(store, Dynamo)
    team = world.admin("POST", "/team/new", {"team_alias": "counted", "max_budget": 1000}).json["team_id"]
    free = world.admin("POST", "/key/generate", {"key_alias": "free"}).json
    cases = {
        "the master key": (MASTER, 200, {"TransactWriteItems": 1}),
        "a key without limits": (free["key"], 200, {"TransactWriteItems": 1}),
        "a key with limits": (world.key("counted").secret, 200, {"UpdateItem": 2, "TransactWriteItems": 1}),
        "with a team, too": (world.key("counted-team", team_id=team).secret, 200, {"UpdateItem": 4, "TransactWriteItems": 1}),
        "one that is refused": (world.key("counted-rpm", rpm_limit=1).secret, 429, {"UpdateItem": 1}),
    }
    for case, (secret, status, calls) in cases.items():
        # The key is looked up at its first request.
        for turn in ("first", "second"):
            if turn == "second":
                store.count()
            user = f"{case.replace(' ', '-')}-{turn}"
            reply = world.loop.run(ask(0, world.gateways[0].url, secret, user, "whole"))
        assert reply.status == status, case
        # Now and then a process looks for what administrators have set.
        wanted = calls | {"Query": 0}
        eventually(lambda wanted=wanted: store.counted()[0] | {"Query": 0} == wanted, describe=lambda: str(store.counted()))
        units = store.counted()[1]
        counted = ", ".join(f"{number} {name}" for name, number in calls.items() if number)
        COUNTED.append(f"{case}: {counted}; {units['writes']:g} write units")


COUNTED: list[str] = []


# --- In the end ------------------------------------------------------------------------------------------------------


def test_places_of_killed_processes_come_free(world: World) -> None:
    """The first test left a key without a place; its holds lapse a minute after their requests' time. What they were charged
    stays."""
    if not (key := CRASHED.get(world.store.name)):
        pytest.skip("no process was killed before")
    row = world.row("places of the killed", "20")
    gate = world.loop.run(event())
    world.upstream.pause = gate.wait
    began, lapse = time.monotonic(), max(world.store.ledger(f"key:{key.id}").holds.values()) / 1000
    assert lapse < time.time() + TIMEOUT + MARGIN
    if time.time() < lapse - 5:
        early = world.wave(key, PROCESSES)
        assert not any(reply.status == 200 for reply in early)
        world.count(early, row, time.monotonic())
    eventually(lambda: time.time() > lapse, LONG * 2, pause=0.1)
    wave = world.send(key, 3 * PROCESSES)
    eventually(lambda: len(wave.replies) + world.upstream.open == 3 * PROCESSES, LONG)
    gate_open(world, gate)
    replies = wave.wait()
    world.count(replies, row, began)
    books = world.settled(key, replies)
    row.used = str(row.admitted)
    row.charged, row.upstream = books.ledger.tokens, sum(one.tokens for one in world.served(key).values())
    row.lapsed, left = 20 + len(books.ledger.holds), len(books.ledger.holds)
    failed = sum(reply.status == 503 for reply in replies)
    assert row.admitted <= 20 <= row.admitted + failed, Counter(reply.status for reply in replies)
    assert left <= failed
    spent = sum(entry["cost"] for entry in books.entries.values())
    assert books.ledger.spent == spent + row.lapsed * world.estimated_cost
