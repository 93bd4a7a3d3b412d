"""Fixtures: the fake provider and the gateway behind each of its fronts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fake_provider import FakeProvider
from runtime_api import FunctionUrl, RuntimeApi
from support import (
    PATIENCE,
    ROOT,
    UPSTREAM_KEYS,
    UPSTREAMS,
    WIRES,
    Gateway,
    Process,
    binary,
    clean_environment,
    eventually,
    http_request,
    shared_scenarios,
    vendors_config,
)
from vendors.provider import StrictProvider

COMPILE_PATIENCE = 600.0
# `cargo lambda watch` starts the function through cargo, which may have to wait for another cargo.
START_PATIENCE = 120.0


def pytest_configure(config: pytest.Config) -> None:
    # By default a SIGTERM would end us without a teardown and leave gateways running.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    if not binary().exists():
        raise pytest.UsageError(f"{binary()} is not there: run `cargo build`, or name the program in FEATHERGATE_BIN")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Behind the front nothing depends on which it is: on Lambda one model of each wire is enough."""

    def wanted(item: pytest.Item) -> bool:
        params = getattr(getattr(item, "callspec", None), "params", {})
        return params.get("vendors") != "lambda" or params.get("model") not in set(UPSTREAMS) - set(WIRES)

    items[:] = [item for item in items if wanted(item)]


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    """A provider of this test's own."""
    with FakeProvider() as provider:
        yield provider
        assert not provider.crashes, provider.crashes[0]
        assert provider.followed_redirects == 0, "a redirect of the upstream was followed"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts servers: `gateway(config_text, env=…, args=…)`. With `expect_fail` the program must end by itself."""
    started: list[Gateway] = []

    def start(
        config_text: str | None = None, env: dict[str, str] | None = None, args: tuple[str, ...] = (), expect_fail: bool = False
    ) -> Gateway:
        one = Gateway(config_text, tmp_path, env or {}, args, f"gateway{len(started)}")
        started.append(one)
        if expect_fail:
            assert one.wait() != 0, one.stdout
            return one
        return one.listen()

    yield start
    for one in started:
        one.stop()
    for one in started:
        one.check_output()


@dataclass
class Lambda:
    """The binary as a Lambda function, its Runtime API, and a function URL in front."""

    process: Process
    api: RuntimeApi
    front: FunctionUrl

    @property
    def url(self) -> str:
        return self.front.url


def lambda_environment(api: str, config: Path) -> dict[str, str]:
    """What Lambda sets, as far as a program may look at it."""
    return {
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_LAMBDA_FUNCTION_NAME": "feathergate",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/feathergate",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]0123",
        "AWS_REGION": "eu-central-1",
        "FEATHERGATE_CONFIG": str(config),
    }


def start_lambda(stack: ExitStack, folder: Path, config_text: str, env: dict[str, str], name: str = "lambda") -> Lambda:
    config = folder / f"{name}.yaml"
    config.write_text(config_text)
    api = stack.enter_context(RuntimeApi())
    front = stack.enter_context(FunctionUrl(api))
    process = Process([str(binary())], lambda_environment(api.address, config) | env, folder, name)
    stack.callback(process.stop)
    eventually(lambda: api.polls or not process.running, PATIENCE, lambda: process.stderr)
    assert process.running, f"the function ended with {process.process.returncode}\n{process.stderr}\n{process.stdout}"
    return Lambda(process, api, front)


@pytest.fixture
def lambda_gateway(tmp_path: Path) -> Iterator[Callable[..., Lambda]]:
    """Starts functions: `lambda_gateway(config_text, env=…)`."""
    started: list[Lambda] = []
    with ExitStack() as stack:

        def start(config_text: str, env: dict[str, str] | None = None) -> Lambda:
            started.append(start_lambda(stack, tmp_path, config_text, env or {}, f"lambda{len(started)}"))
            return started[-1]

        yield start
        for one in started:
            assert one.process.running, "the function ended before its time"
            assert not one.api.problems, one.api.problems
    for one in started:
        one.process.check_output()


# --- One gateway per front, shared by the SDK tests ------------------------------------------------------------------

SHARED = (
    "ok",
    "tools",
    "thinking",
    "echo",
    "unknown-fields",
    "slow-50",
    "error-before-content",
    "error-after-content",
    "clean-eof",
    "cut-before-content",
    "cut-after-content",
    "status-400",
    "status-401",
    "status-403",
    "status-429",
    "status-500",
    "html-error",
)


@dataclass
class Front:
    """A running gateway and the provider behind it."""

    name: str
    url: str
    fake: FakeProvider
    process: Process


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Front]]:
    """Gateways with every scenario of `SHARED`, started when first asked for."""
    fronts: dict[str, Front] = {}
    with ExitStack() as stack:

        def get(name: str) -> Front:
            if name not in fronts:
                fronts[name] = START[name](stack, tmp_path_factory.mktemp(name))
            return fronts[name]

        yield get
    for front in fronts.values():
        front.process.check_output()


def shared_server(stack: ExitStack, folder: Path) -> Front:
    fake = stack.enter_context(FakeProvider())
    process = Gateway(shared_scenarios(fake.url, *SHARED), folder, {}, (), "server")
    stack.callback(process.stop)
    return Front("server", process.listen().url, fake, process)


def shared_lambda(stack: ExitStack, folder: Path) -> Front:
    fake = stack.enter_context(FakeProvider())
    running = start_lambda(stack, folder, shared_scenarios(fake.url, *SHARED), {})
    return Front("lambda", running.url, fake, running.process)


def shared_watch(stack: ExitStack, folder: Path) -> Front:
    """The real `cargo lambda watch`: another Runtime API and another function URL, by other people."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("cargo-lambda", path=path):
        pytest.skip("cargo-lambda is not installed: pip install -r tests/requirements.txt")
    fake = stack.enter_context(FakeProvider())
    config, env_file, port = folder / "watch.yaml", folder / "watch.env", free_port()
    config.write_text(shared_scenarios(fake.url, *SHARED))
    env_file.write_text(f"FEATHERGATE_CONFIG={config}\n")
    # Built beforehand, so that a compile error is seen as one and no request waits for the compiler.
    build = ["cargo", "build", "--locked"] if (ROOT / "Cargo.lock").exists() else ["cargo", "build"]
    subprocess.run(build, cwd=ROOT, env=clean_environment() | target_directory(), check=True, timeout=COMPILE_PATIENCE)
    command = [
        "cargo",
        "lambda",
        "watch",
        "--ignore-changes",
        "--invoke-address",
        "127.0.0.1",
        "--invoke-port",
        str(port),
        "--env-file",
        str(env_file),
        "--manifest-path",
        str(ROOT / "Cargo.toml"),
    ]
    process = Process(command, {"PATH": path} | target_directory(), folder, "watch")
    stack.callback(process.stop)
    # The path names the function: a package with several binaries has no default one.
    url, function = f"http://127.0.0.1:{port}", "/lambda-url/feathergate"

    def answers() -> bool:
        assert process.running, process.stderr
        try:
            return http_request(url, "GET", function + "/health/liveliness").status == 200
        except OSError:
            return False

    eventually(answers, START_PATIENCE, lambda: process.stdout[-2000:] + process.stderr, pause=0.2)
    return Front("watch", url + function, fake, process)


def target_directory() -> dict[str, str]:
    return {"CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))}


def free_port() -> int:
    """cargo-lambda cannot bind to port 0 and say which it got."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


START = {"server": shared_server, "lambda": shared_lambda, "watch": shared_watch}


@pytest.fixture(params=["server", "lambda"])
def front(request: pytest.FixtureRequest, shared: Callable[[str], Front]) -> Iterator[Front]:
    """Each front in turn; `cargo lambda watch` only where a test says `@every_front`."""
    one = shared(request.param)
    one.fake.clear()
    yield one
    assert not one.fake.crashes, one.fake.crashes[0]
    one.process.check_output()


def vendors_server(stack: ExitStack, folder: Path) -> Front:
    fake = stack.enter_context(StrictProvider(UPSTREAM_KEYS))
    process = Gateway(vendors_config(fake.url), folder, {}, (), "server")
    stack.callback(process.stop)
    return Front("server", process.listen().url, fake, process)


def vendors_lambda(stack: ExitStack, folder: Path) -> Front:
    fake = stack.enter_context(StrictProvider(UPSTREAM_KEYS))
    running = start_lambda(stack, folder, vendors_config(fake.url), {})
    return Front("lambda", running.url, fake, running.process)


START |= {"vendors-server": vendors_server, "vendors-lambda": vendors_lambda}


@pytest.fixture(params=["server", "lambda"])
def vendors(request: pytest.FixtureRequest, shared: Callable[[str], Front]) -> Iterator[Front]:
    """Each front in turn before the strict vendors. Whatever they refuse was the gateway's fault, unless the test clears it."""
    one = shared(f"vendors-{request.param}")
    one.fake.clear()
    yield one
    assert not one.fake.crashes, one.fake.crashes[0]
    assert not one.fake.refusals, one.fake.refusals
    one.process.check_output()


@pytest.fixture(scope="session", autouse=True)
def no_real_provider() -> Iterator[None]:
    """The SDKs read these in our own process; a test that forgets a base URL must not call anybody."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(
                ("OPENAI_", "ANTHROPIC_", "AWS_", "GEMINI_", "GOOGLE_", "LITELLM_", "LANGCHAIN_", "LANGSMITH_")
            ) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        # Otherwise importing litellm calls its makers, and langchain may call its own.
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LANGSMITH_TRACING", "false")
        yield
