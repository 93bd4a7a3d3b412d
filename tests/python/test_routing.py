"""Routing as a client sees it: with the official SDKs, in front of upstreams that fail."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import anthropic
import openai
import pytest

import test_clients_anthropic as client_of_anthropic
import test_clients_openai as client_of_openai
from fake_provider import TEXT, FakeProvider, Seen
from support import (
    HELLO,
    MASTER,
    UPSTREAM_KEYS,
    UPSTREAMS,
    VECTORS,
    Gateway,
    assert_no_secret,
    config,
    eventually,
    model,
    vendors_config,
    vendors_models,
)
from test_endpoints import Provider
from vendors import brain
from vendors.provider import StrictProvider
from world import REPORT

Start = Callable[..., Gateway]
# What each does to a buffered request and to a streamed one, before any content.
STATUSES = ["status-500", "status-503", "status-429", "status-401", "status-404"]
BROKEN = [*STATUSES, "html-error", "error-before-content", "cut-before-content"]
# Once a content has been sent there is no way back.
TOO_LATE = ["error-after-content", "cut-after-content", "clean-eof"]


STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["buffered", "streamed"])


def pair(name: str, bad: str, url: str) -> list[dict]:
    """A group of two deployments, of which the bad one is chosen first."""
    members = [model(name, f"openai/{bad}", url, weight=1), model(name, "openai/ok", url, weight=0)]
    for member, id in zip(members, ("bad", "good"), strict=True):
        member["model_info"] = {"id": f"{name}-{id}"}
    return members


def openai_client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(api_key=MASTER, base_url=gateway.url + "/v1", max_retries=0, timeout=20)


def anthropic_client(gateway: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=MASTER, base_url=gateway.url, max_retries=0, timeout=20)


def went(headers: object) -> tuple[str, str, str]:
    """Who answered and what it took."""
    names = ("x-litellm-model-group", "x-litellm-attempted-retries", "x-litellm-attempted-fallbacks")
    return tuple(headers.get(name) for name in names)  # type: ignore[attr-defined]


def text_of(stream: object) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)  # type: ignore[attr-defined]


# --- Within a group --------------------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("bad", BROKEN)
def test_the_other_deployment_answers(fake: FakeProvider, gateway: Start, bad: str, streamed: bool) -> None:
    with openai_client(gateway(config(pair("m", bad, fake.url)))) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=HELLO, stream=streamed)
        assert went(raw.headers) == ("m", "1", "0")
        assert raw.headers["x-litellm-model-id"] == raw.headers["x-feathergate-model-id"] == "m-good"
        answer = raw.parse()
        assert (text_of(answer) if streamed else answer.choices[0].message.content) == TEXT
    assert [seen.json["model"] for seen in fake.seen] == [bad, "ok"]


@pytest.mark.parametrize("bad", TOO_LATE)
def test_nothing_is_retried_after_content(fake: FakeProvider, gateway: Start, bad: str) -> None:
    with openai_client(gateway(config(pair("m", bad, fake.url)))) as client:
        stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            text_of(stream)
    assert caught.value.body
    assert [seen.json["model"] for seen in fake.seen] == [bad]


def test_errors_count_attempts_and_keep_names_to_themselves(fake: FakeProvider, gateway: Start) -> None:
    models = [model("m", "openai/status-500", fake.url), model("hidden", "openai/status-503", fake.url)]
    text = config(models, router_settings={"num_retries": 1, "fallbacks": [{"m": ["hidden"]}]})
    with openai_client(gateway(text)) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=HELLO)
    response = caught.value.response
    assert caught.value.body["message"].endswith(" (after 4 attempts)")
    assert "hidden" not in response.text
    assert went(response.headers)[1:] == ("2", "1")
    assert response.headers["x-feathergate-attempts"] == "4"
    assert_no_secret(response.text, "the error")
    assert len(fake.seen) == 4


# --- Over vendors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def strict() -> Iterator[StrictProvider]:
    with StrictProvider(UPSTREAM_KEYS) as vendors:
        yield vendors
        assert not vendors.crashes, vendors.crashes[0]
        assert not vendors.refusals, vendors.refusals


@pytest.fixture
def across(fake: FakeProvider, strict: StrictProvider, gateway: Start) -> Gateway:
    """`to-gpt`, `to-claude` and so on are down, and fall back to the model that they name."""
    down = [model(f"to-{name}", "openai/status-500", fake.url) for name in UPSTREAMS]
    fallbacks = [{f"to-{name}": [name]} for name in UPSTREAMS]
    settings = {"num_retries": 0, "fallbacks": fallbacks, "disable_cooldowns": True}
    return gateway(config(down + vendors_models(strict.url), router_settings=settings))


@pytest.mark.parametrize("target", UPSTREAMS)
def test_an_openai_client_over_vendors(across: Gateway, target: str) -> None:
    with openai_client(across) as client:
        raw = client.chat.completions.with_raw_response.create(model=f"to-{target}", messages=HELLO)
        assert went(raw.headers) == (target, "0", "1")
        assert raw.parse().choices[0].message.content == brain.TEXT
        raw = client.chat.completions.with_raw_response.create(model=f"to-{target}", messages=HELLO, stream=True)
        assert went(raw.headers) == (target, "0", "1")
        assert text_of(raw.parse()) == brain.TEXT


@pytest.mark.parametrize("target", UPSTREAMS)
def test_an_anthropic_client_over_vendors(across: Gateway, target: str) -> None:
    ask = {"model": f"to-{target}", "messages": HELLO, "max_tokens": 2000}
    with anthropic_client(across) as client:
        raw = client.messages.with_raw_response.create(**ask)
        assert went(raw.headers) == (target, "0", "1")
        assert [block.text for block in raw.parse().content if block.type == "text"] == [brain.TEXT]
        with client.messages.stream(**ask) as stream:
            assert "".join(stream.text_stream) == brain.TEXT
            assert went(stream.response.headers) == (target, "0", "1")


@pytest.fixture
def moving(fake: FakeProvider, strict: StrictProvider, gateway: Start) -> Gateway:
    """Beside each vendor's model, `claude-or-gpt` and so on: the first one refuses the key, and the second stands in."""
    fake.key = "nobody's"
    models, fallbacks = vendors_models(strict.url), []
    for entry in vendors_models(fake.url):
        for target in UPSTREAMS:
            models.append(entry | {"model_name": f"{entry['model_name']}-or-{target}"})
            fallbacks.append({f"{entry['model_name']}-or-{target}": [target]})
    settings = {"fallbacks": fallbacks, "disable_cooldowns": True}
    return gateway(config(models, router_settings=settings))


SIGNATURE = re.compile(rb'"(?:signature|thoughtSignature)": ?"([^"]+)"')


def signatures(data: bytes) -> set[bytes]:
    """In one of the two alphabets of base64."""
    return {found.translate(bytes.maketrans(b"-_", b"+/")) for found in SIGNATURE.findall(data)}


def check_moved(first: StrictProvider, refusing: FakeProvider) -> None:
    """One answer of the vendor that thinks and signs, then two that somebody else had to give."""
    thought, *others = first.seen
    signed = signatures(thought.sent)
    assert signed and len(others) == len(refusing.seen) == 2
    for refused in refusing.seen:
        # It was told its own thoughts before anybody else was asked.
        assert refused.status in (401, 404) and signatures(refused.body) >= signed
    for other in others:
        body = other.body.translate(bytes.maketrans(b"-_", b"+/"))
        assert not [one for one in signed if one in body], other.body


@client_of_openai.ASK
@pytest.mark.parametrize(
    ("first", "target"),
    [("claude", "gpt-5"), ("claude", "gemini"), ("claude", "deepseek"), ("gemini", "claude"), ("gemini", "gpt-5")],
)
def test_an_openai_conversation_goes_on_elsewhere(
    moving: Gateway, strict: StrictProvider, fake: FakeProvider, first: str, target: str, ask: Callable
) -> None:
    models = [first, f"{first}-or-{target}", f"{first}-or-{target}"]
    with openai_client(moving) as client:
        assert client_of_openai.agent(client, models, ask, reasoning_effort="low")[0] == REPORT
    check_moved(strict, fake)


@client_of_anthropic.ASK
@pytest.mark.parametrize(
    ("first", "target"),
    [
        ("gemini", "claude"),
        ("gemini", "claude-new"),
        ("gemini", "gpt-5"),
        ("claude", "gpt-5"),
        ("claude", "gemini"),
        ("claude", "deepseek"),
    ],
)
def test_an_anthropic_conversation_goes_on_elsewhere(
    moving: Gateway, strict: StrictProvider, fake: FakeProvider, first: str, target: str, ask: Callable
) -> None:
    models = [first, f"{first}-or-{target}", f"{first}-or-{target}"]
    thinking = client_of_anthropic.THINKING["adaptive" if target == "claude-new" else "budget"]
    with anthropic_client(moving) as client:
        client_of_anthropic.agent(client, models, ask, thinking=thinking)
    check_moved(strict, fake)


@STREAMED
def test_an_operator_tries_the_fallbacks(across: Gateway, fake: FakeProvider, streamed: bool) -> None:
    mock = {"mock_testing_fallbacks": True}
    with openai_client(across) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="to-claude", messages=HELLO, stream=streamed, extra_body=mock
        )
        assert went(raw.headers) == ("claude", "0", "1")
        answer = raw.parse()
        assert (text_of(answer) if streamed else answer.choices[0].message.content) == brain.TEXT
        off = mock | {"disable_fallbacks": True}
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="to-claude", messages=HELLO, extra_body=off)
        own = {"fallbacks": ["gemini"]}
        raw = client.chat.completions.with_raw_response.create(model="to-claude", messages=HELLO, extra_body=own)
        assert went(raw.headers) == ("gemini", "0", "1")
    # Only the last request got to the upstream that is down; the fields that are ours got nowhere.
    assert [seen.json.keys() & {*off, *own} for seen in fake.seen] == [set()]


# --- What the request says -------------------------------------------------------------------------------------------


def test_a_region_is_kept_to(fake: FakeProvider, gateway: Start) -> None:
    places = {"us": "us-east-1", "eu": "eu-west-1", "nowhere": None}
    models = [model("m", f"openai/ok-{number}", fake.url) for number in range(3)]
    for entry, (id, region) in zip(models, places.items(), strict=True):
        entry["model_info"] = {"id": id}
        entry["litellm_params"] |= {"region_name": region} if region else {}
    with openai_client(gateway(config(models))) as client:

        def ask(region: str, **fields: object) -> object:
            body = {"allowed_model_region": region}
            return client.chat.completions.with_raw_response.create(model="m", messages=HELLO, extra_body=body, **fields)

        for region, id in (("eu", "eu"), ("us-east-1", "us")):
            assert {ask(region, stream=bool(at % 2)).headers["x-litellm-model-id"] for at in range(8)} == {id}
        with pytest.raises(openai.BadRequestError) as caught:
            ask("asia")
    assert (caught.value.param, caught.value.code) == ("allowed_model_region", "no_deployment_in_region")
    assert "`allowed_model_region` is `asia`" in caught.value.message
    assert len(fake.seen) == 16
    assert not [seen.json for seen in fake.seen if "allowed_model_region" in seen.json]


OURS = {"num_retries": 1, "fallbacks": ["gpt"], "tags": ["a"], "timeout": 19}
TAGGED = {"metadata": {"tags": ["a", "b"]}}


def ours(names: Iterable[str]) -> pytest.MarkDecorator:
    """Fields that are for the gateway, with each of the models."""
    cases = [pytest.param(name, OURS, id=f"{name}-fields") for name in names]
    for name in names:
        cases.append(pytest.param(name, TAGGED, id=f"{name}-tags"))
    return pytest.mark.parametrize(("name", "fields"), cases)


def check_ours(raw: object, seen: Seen) -> None:
    assert "x-feathergate-dropped" not in raw.headers, raw.headers["x-feathergate-dropped"]  # type: ignore[attr-defined]
    assert not seen.json.keys() & OURS.keys()
    assert "tags" not in (seen.json.get("metadata") or {})


@ours(UPSTREAMS)
def test_what_is_ours_goes_no_further(strict: StrictProvider, gateway: Start, name: str, fields: dict) -> None:
    with openai_client(gateway(vendors_config(strict.url))) as client:
        for stream in (False, True):
            raw = client.chat.completions.with_raw_response.create(
                model=name, messages=HELLO, stream=stream, extra_body=fields
            )
            answer = raw.parse()
            assert (text_of(answer) if stream else answer.choices[0].message.content) == brain.TEXT
            check_ours(raw, strict.seen[-1])
    assert len(strict.seen) == 2


@ours(UPSTREAMS)
def test_what_is_ours_goes_no_further_with_messages(strict: StrictProvider, gateway: Start, name: str, fields: dict) -> None:
    with anthropic_client(gateway(vendors_config(strict.url))) as client:
        for stream in (False, True):
            raw = client.messages.with_raw_response.create(
                model=name, messages=HELLO, max_tokens=2000, stream=stream, extra_body=fields
            )
            assert [part for part in raw.parse()] if stream else raw.parse().content
            check_ours(raw, strict.seen[-1])
    assert len(strict.seen) == 2


def test_metadata_that_is_not_ours_goes_on(fake: FakeProvider, gateway: Start) -> None:
    with openai_client(gateway(config([model("m", "openai/ok", fake.url)]))) as client:
        client.chat.completions.create(model="m", messages=HELLO, metadata={"app": "x", "tags": ["a"]})
        client.chat.completions.create(model="m", messages=HELLO, metadata={"app": "x", "tags": "a,b"})
    assert [seen.json["metadata"] for seen in fake.seen] == [{"app": "x"}, {"app": "x", "tags": "a,b"}]


@ours(VECTORS)
def test_what_is_ours_goes_no_further_with_embeddings(strict: StrictProvider, gateway: Start, name: str, fields: dict) -> None:
    with openai_client(gateway(vendors_config(strict.url))) as client:
        raw = client.embeddings.with_raw_response.create(model=name, input="x", extra_body=fields)
        assert raw.parse().data[0].embedding
    check_ours(raw, strict.only())


@ours(["m"])
def test_what_is_ours_goes_no_further_with_responses(gateway: Start, name: str, fields: dict) -> None:
    with Provider() as fake, openai_client(gateway(config([model(name, "openai/up", fake.url)]))) as client:
        for stream in (False, True):
            raw = client.responses.with_raw_response.create(model=name, input="x", stream=stream, extra_body=fields)
            answer = raw.parse()
            assert (list(answer)[-1].response if stream else answer).output_text == "Hello"
            check_ours(raw, fake.seen[-1])
        assert len(fake.seen) == 2 and not fake.crashes


def test_the_name_that_was_asked_for_comes_back(fake: FakeProvider, gateway: Start) -> None:
    targets = {"m": "openai/ok", "my-*": "openai/*", "bad": "openai/status-500"}
    models = [model(name, target, fake.url) for name, target in targets.items()]
    settings = {"num_retries": 0, "model_group_alias": {"nick": "m", "sick": "bad"}, "fallbacks": [{"bad": ["nick"]}]}
    names = {"m": "m", "nick": "nick", "my-ok": "my-ok", "my-ok-7": "my-ok-7", "bad": "nick", "sick": "nick"}
    with openai_client(gateway(config(models, router_settings=settings))) as client:
        for asked, answered in names.items():
            for stream in (False, True):
                raw = client.chat.completions.with_raw_response.create(model=asked, messages=HELLO, stream=stream)
                assert raw.headers["x-litellm-model-group"] == raw.headers["x-feathergate-model-group"] == answered
                assert raw.headers["x-litellm-attempted-fallbacks"] == str(int(asked in ("bad", "sick")))
                answer = raw.parse()
                assert (text_of(answer) if stream else answer.choices[0].message.content) == TEXT


# --- Under load ------------------------------------------------------------------------------------------------------

CLIENTS = 200
ROUNDS = 5


class Load:
    """A gateway before two deployments of which one is dead, and what its log says of attempts at that one."""

    def __init__(self, fake: FakeProvider, gateway: Start, dead: dict) -> None:
        live = model("m", "openai/ok", fake.url)
        live["model_info"], dead["model_info"] = {"id": "live"}, {"id": "dead"}
        # Longer than the test: nobody is let through to see whether the dead one is back.
        self.server = gateway(config([dead, live], router_settings={"cooldown_time": 60}))
        self.asked = 0

    async def ask(self, sdk: openai.AsyncOpenAI, streamed: bool, start: float = 0) -> str:
        await asyncio.sleep(start)
        answer = await sdk.chat.completions.create(model="m", messages=HELLO, stream=streamed)
        if streamed:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])
        return answer.choices[0].message.content or ""

    def round(self, streamed: bool, spread: float = 0) -> int:
        """All clients ask, each so much later than the one before. Returns how many attempts the dead deployment had so far."""

        async def everybody() -> list[str]:
            async with openai.AsyncOpenAI(api_key=MASTER, base_url=self.server.url + "/v1", max_retries=0, timeout=60) as sdk:
                return await asyncio.gather(*(self.ask(sdk, streamed, at * spread) for at in range(CLIENTS)))

        assert Counter(asyncio.run(everybody())) == {TEXT: CLIENTS}
        self.asked += CLIENTS
        failures = [one for line in self.server.wait_for_requests(self.asked) for one in line.get("failures", [])]
        assert all(one.startswith("dead: ") for one in failures), failures
        return len(failures)


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(params=["refused", "status-500", "stalled"])
def dead(request: pytest.FixtureRequest, refusing: str, fake: FakeProvider) -> dict:
    match request.param:
        case "refused":
            return model("m", "openai/ok", refusing)
        case "stalled":
            return model("m", "openai/slow-60000", fake.url, timeout=0.5, stream_timeout=0.5)
        case scenario:
            return model("m", f"openai/{scenario}", fake.url)


def test_one_request_at_a_time_finds_out_who_is_back(fake: FakeProvider, gateway: Start) -> None:
    with FakeProvider(key="nobody's") as sick:
        models = pair("m", "ok", fake.url)
        models[0]["litellm_params"]["api_base"] = sick.url + "/v1"
        with openai_client(gateway(config(models, router_settings={"cooldown_time": 1}))) as client:

            def ask() -> str:
                raw = client.chat.completions.with_raw_response.create(model="m", messages=HELLO)
                assert raw.parse().choices[0].message.content == TEXT
                return raw.headers["x-litellm-model-id"]

            start = time.monotonic()
            eventually(lambda: ask() == "m-good" and len(sick.seen) == 3)
            # The first one, and a probe after each second.
            assert 2 <= time.monotonic() - start < 10
            sick.key = None
            eventually(lambda: ask() == "m-bad")
            assert [ask() for _ in range(5)] == ["m-bad"] * 5


@STREAMED
def test_a_load_with_one_of_two_deployments_dead(fake: FakeProvider, gateway: Start, dead: dict, streamed: bool) -> None:
    """Those that are under way before the first failures are known cannot be kept from it; nobody after them touches it."""
    load = Load(fake, gateway, dead)
    first = load.round(streamed)
    print(f"the dead deployment had {first} attempts")
    assert 4 <= first <= 140
    for _ in range(ROUNDS - 1):
        assert load.round(streamed) == first


@STREAMED
@pytest.mark.parametrize("dead", ["refused", "status-500"], indirect=True)
def test_only_the_first_few_touch_the_dead_one(fake: FakeProvider, gateway: Start, dead: dict, streamed: bool) -> None:
    """The breaker opens with the fourth failure in a row, so it is these and those that are under way by then."""
    touched = Load(fake, gateway, dead).round(streamed, spread=0.005)
    print(f"the dead deployment had {touched} attempts")
    assert 4 <= touched <= 20
