"""Keys from Parameter Store: fetched late, in few calls, kept when the store fails, and renewed when a provider refuses one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fake_provider import FakeProvider
from fake_ssm import ParameterStore
from support import (
    MASTER,
    Gateway,
    Process,
    aws_environment,
    bearer,
    chat,
    config,
    eventually,
    http_request,
    messages,
    model,
    secret,
)

ARN = "arn:aws:ssm:eu-central-1:123456789012:parameter"
Start = Callable[..., Gateway]


@pytest.fixture
def ssm() -> Iterator[ParameterStore]:
    with ParameterStore() as store:
        yield store
        assert not store.other_operations, store.other_operations


@pytest.fixture
def start(gateway: Start, ssm: ParameterStore) -> Start:
    """A gateway that asks this store."""

    def run(models: list[dict], master: str = MASTER, env: dict[str, str] | None = None, **settings: object) -> Gateway:
        return gateway(config(models, master, feathergate=settings), env=aws_environment(ssm.url) | (env or {}))

    return run


def keyed(fake: FakeProvider, name: str, reference: str, wire: str = "openai") -> dict:
    return model(name, f"{wire}/ok", fake.url, api_key=reference)


def key_of(fake: FakeProvider, index: int = -1) -> str | None:
    seen = fake.seen[index]
    return (seen.header("authorization") or "").removeprefix("Bearer ") or seen.header("x-api-key")


def test_twenty_five_parameters_in_three_calls_when_first_needed(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    names = [f"/gateway/key-{number:02}" for number in range(25)]
    for name in names:
        ssm.put(name, secret(f"ssm{name.replace('/', '-')}"))
    server = start([keyed(fake, f"model-{number}", f"ssm:{name}") for number, name in enumerate(names)])
    # Listing is not calling, and starting is not either.
    assert http_request(server.url, "GET", "/v1/models", headers=bearer()).status == 200
    assert not ssm.calls
    assert chat(server.url, "model-0").status == 200
    assert sorted(len(call) for call in ssm.calls) == [5, 10, 10]
    assert sorted(name for call in ssm.calls for name in call) == names
    for number in (24, 7):
        assert chat(server.url, f"model-{number}").status == 200
        assert key_of(fake) == secret(f"ssm-gateway-key-{number:02}")
    assert len(ssm.calls) == 3


def test_references(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    old, middle, new = secret("version-1"), secret("version-2"), secret("version-3")
    for version, value in enumerate((old, middle, new), 1):
        assert ssm.put("/gateway/key", value) == version
    ssm.label("/gateway/key", 2, "prod")
    ssm.put("plain-name", secret("plain"))
    server = start(
        [
            keyed(fake, "latest", "ssm:/gateway/key"),
            keyed(fake, "version", "ssm:/gateway/key:1"),
            keyed(fake, "label", "ssm:/gateway/key:prod"),
            keyed(fake, "arn", f"{ARN}/gateway/key"),
            keyed(fake, "by-environment", "os.environ/KEY_BY_SSM"),
            keyed(fake, "plain", "ssm:plain-name"),
            keyed(fake, "claude", "ssm:/gateway/key", "anthropic"),
        ],
        env={"KEY_BY_SSM": "ssm:/gateway/key:2"},
    )
    wanted = {"latest": new, "version": old, "label": middle, "arn": new, "by-environment": middle, "plain": secret("plain")}
    for name, value in wanted.items():
        answer = chat(server.url, name)
        assert answer.status == 200, answer.body
        assert key_of(fake) == value, name
    assert messages(server.url, "claude").status == 200
    assert key_of(fake) == new
    assert len(ssm.calls) == 1


def test_the_master_key_may_be_a_parameter(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/master", secret("master-in-ssm"))
    server = start([model("ok", "openai/ok", fake.url)], master="ssm:/gateway/master")
    assert chat(server.url).status == 401
    assert chat(server.url, headers=bearer(secret("master-in-ssm"))).status == 200
    assert len(ssm.calls) == 1


def test_other_strings_may_be_parameters(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    # Not a secret, so not by `put`: the address may well stand in a log line.
    ssm.client.put_parameter(Name="/gateway/base", Value=fake.url + "/v1", Type="String")
    ssm.put("/gateway/header", secret("extra-header"))
    server = start([model("ok", "openai/ok", "", api_base="ssm:/gateway/base", extra_headers={"x-extra": "ssm:/gateway/header"})])
    assert chat(server.url).status == 200
    assert fake.only().header("x-extra") == secret("extra-header")


@pytest.mark.parametrize("missing", ["/gateway/absent", "/gateway/there:99", "/gateway/there:nolabel"])
def test_a_missing_parameter_breaks_its_model_only(fake: FakeProvider, ssm: ParameterStore, start: Start, missing: str) -> None:
    ssm.put("/gateway/there", secret("there"))
    server = start([keyed(fake, "good", "ssm:/gateway/there"), keyed(fake, "broken", f"ssm:{missing}")])
    assert chat(server.url, "good").status == 200
    answer = chat(server.url, "broken")
    assert 500 <= answer.status < 600
    assert missing in answer.message and "broken" in answer.message
    assert len(fake.seen) == 1
    named = server.wait_for_log(lambda line: missing in str(line) and line["message"] != "request")
    assert named["level"] in ("ERROR", "WARN")
    listed = http_request(server.url, "GET", "/v1/models", headers=bearer()).json["data"]
    assert {entry["id"] for entry in listed} == {"good", "broken"}


def test_access_denied_breaks_its_batch_only(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    """GetParameters fails as a whole when one name may not be read, so the others have to be asked for without it."""
    ssm.put("/gateway/good", secret("good"))
    ssm.put("/secret/denied", secret("denied"))
    ssm.fail = lambda names: "AccessDeniedException" if "/secret/denied" in names else None
    server = start([keyed(fake, "good", "ssm:/gateway/good"), keyed(fake, "broken", "ssm:/secret/denied")])
    assert chat(server.url, "good").status == 200
    answer = chat(server.url, "broken")
    assert 500 <= answer.status < 600
    assert "/secret/denied" in answer.message and "broken" in answer.message and "denied" in answer.message.lower()
    # Who we are at AWS is nothing for a client.
    assert "arn:aws:sts" not in answer.message


def test_throttling_is_waited_out(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("throttled"))
    ssm.fail = lambda names: "ThrottlingException" if len(ssm.calls) < 3 else None
    server = start([keyed(fake, "ok", "ssm:/gateway/key")])
    assert chat(server.url).status == 200
    assert len(ssm.calls) == 3
    assert key_of(fake) == secret("throttled")


def test_endless_throttling_is_an_error(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("throttled"))
    ssm.fail = lambda names: "ThrottlingException"
    server = start([keyed(fake, "ok", "ssm:/gateway/key"), model("other", "openai/ok", fake.url)])
    answer = chat(server.url)
    assert 500 <= answer.status < 600 and "/gateway/key" in answer.message
    assert 2 <= len(ssm.calls) <= 6
    assert chat(server.url, "other").status == 200


def test_an_unreachable_store(fake: FakeProvider, gateway: Start) -> None:
    env = aws_environment("http://127.0.0.1:1")
    server = gateway(config([keyed(fake, "ok", "ssm:/gateway/key"), model("other", "openai/ok", fake.url)]), env=env)
    answer = chat(server.url)
    assert 500 <= answer.status < 600 and "/gateway/key" in answer.message
    # A sentence, not the SDK's dump of its error type.
    assert "{" not in answer.message and "ConnectorError" not in answer.message
    assert chat(server.url, "other").status == 200


def test_requests_at_the_same_time_share_one_call(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("shared"))
    server = start([keyed(fake, "ok", "ssm:/gateway/key")])
    ssm.open.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(chat, server.url) for _ in range(8)]
        assert ssm.arrived.acquire(timeout=10)
        # The call is held long enough for the other seven to come and wait for it too.
        time.sleep(0.3)
        ssm.open.set()
        assert {answer.result().status for answer in answers} == {200}
    assert len(ssm.calls) == 1


# --- Rotation and ageing ---------------------------------------------------------------------------------------------


def test_a_rotated_key_is_fetched_when_the_provider_refuses_the_old_one(
    fake: FakeProvider, ssm: ParameterStore, start: Start
) -> None:
    old, new = secret("before-rotation"), secret("after-rotation")
    ssm.put("/gateway/key", old)
    fake.key = old
    server = start([keyed(fake, "ok", "ssm:/gateway/key")])
    assert chat(server.url).status == 200
    ssm.put("/gateway/key", new)
    fake.key = new
    fake.clear()
    assert chat(server.url).status == 200
    assert [seen.status for seen in fake.seen] == [401, 200]
    assert [key_of(fake, 0), key_of(fake, 1)] == [old, new]
    assert fake.seen[0].body == fake.seen[1].body
    assert len(ssm.calls) == 2
    assert server.wait_for_requests(2)[-1]["attempt"] == 2
    fake.clear()
    assert chat(server.url, stream=True).status == 200
    assert len(fake.seen) == 1 and len(ssm.calls) == 2


def test_a_key_that_is_simply_wrong_is_refused_after_one_look(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("never-right"))
    fake.key = secret("the-right-key")
    # Otherwise the first refusal would spare the upstream the others.
    server = start([model("ok", "openai/ok", fake.url, api_key="ssm:/gateway/key", cooldown_time=0)])
    for _ in range(4):
        answer = chat(server.url)
        assert answer.status == 502 and "credential" in answer.message
    # One forced refresh; the same value again is no reason to try again, and hammering the store is none either.
    assert len(ssm.calls) == 2
    assert len(fake.seen) == 4


def test_a_key_from_the_file_is_not_tried_twice(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    fake.key = secret("the-right-key")
    server = start([model("ok", "openai/ok", fake.url)])
    assert chat(server.url).status == 502
    assert len(fake.seen) == 1 and not ssm.calls


def ask_until_refreshed(server: Process, url: str, ssm: ParameterStore) -> None:
    """Each request is answered meanwhile."""

    def refreshed() -> bool:
        assert chat(url).status == 200
        return len(ssm.calls) >= 2

    eventually(refreshed, 10)


def test_values_age(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("young"))
    server = start([keyed(fake, "ok", "ssm:/gateway/key")], secret_ttl=0.5)
    assert chat(server.url).status == 200
    ssm.put("/gateway/key", secret("younger"))
    assert chat(server.url).status == 200 and key_of(fake) == secret("young")
    ask_until_refreshed(server, server.url, ssm)
    assert chat(server.url).status == 200 and key_of(fake) == secret("younger")


def test_stale_values_serve_when_the_refresh_fails(fake: FakeProvider, ssm: ParameterStore, start: Start) -> None:
    ssm.put("/gateway/key", secret("stale"))
    server = start([keyed(fake, "ok", "ssm:/gateway/key")], secret_ttl=0.5)
    assert chat(server.url).status == 200
    ssm.fail = lambda names: "AccessDeniedException"
    ask_until_refreshed(server, server.url, ssm)
    assert key_of(fake) == secret("stale")
    warned = server.wait_for_log(lambda line: line["level"] == "WARN" and "/gateway/key" in str(line))
    assert warned["message"] != "request"
