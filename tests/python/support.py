"""What the tests share: configurations, planted secrets, the gateway as a process, and an HTTP client that hides nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0
HELLO = [{"role": "user", "content": "hello"}]

# The stock fixture `front` is the server and the raw Runtime API peer; this adds `cargo lambda watch`.
every_front = pytest.mark.parametrize("front", ["server", "lambda", "watch"], indirect=True)


def binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return Path(os.environ.get("FEATHERGATE_BIN") or target / "debug/feathergate")


# --- Secrets ---------------------------------------------------------------------------------------------------------

PLANTED: set[str] = set()


def secret(name: str) -> str:
    """A secret to be searched for in everything the gateway says, from now on and in every test."""
    value = f"planted-{name}-Zk3vQ9xW7tLb"
    PLANTED.add(value)
    return value


MASTER = secret("master-key")
OPENAI_KEY = secret("openai-key")
ANTHROPIC_KEY = secret("anthropic-key")
GEMINI_KEY = secret("gemini-key")
UPSTREAM_KEYS = {"authorization": OPENAI_KEY, "x-api-key": ANTHROPIC_KEY, "x-goog-api-key": GEMINI_KEY}


def assert_no_secret(text: str | bytes, where: str) -> None:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    found = sorted(value for value in PLANTED if value in text)
    assert not found, f"{where} holds a secret: {found}"


# --- Configuration ---------------------------------------------------------------------------------------------------


def model(name: str, target: str, url: str, **params: object) -> dict:
    """An entry of `model_list`. `target` is `openai/x` or `anthropic/x`; `url` is the provider's root."""
    anthropic = target.startswith("anthropic/")
    key = ANTHROPIC_KEY if anthropic else OPENAI_KEY
    base = {"model": target, "api_base": url if anthropic else url + "/v1", "api_key": key}
    return {"model_name": name, "litellm_params": base | params}


# What the strict vendors' models are called here. Each stands for a family with rules of its own.
UPSTREAMS = {
    "gpt": "openai/gpt-4o",
    "gpt-5": "openai/gpt-5",
    "deepseek": "deepseek/deepseek-reasoner",
    "claude": "anthropic/claude-sonnet-4-5",
    "claude-new": "anthropic/claude-opus-4-8",
    "gemini": "gemini/gemini-3-pro-preview",
    "gemini-flash": "gemini/gemini-2.5-flash",
}
# One of each wire, for what does not depend on the family.
WIRES = ["gpt", "claude", "gemini"]
VECTORS = {"vectors": "openai/text-embedding-3-small", "gemini-vectors": "gemini/gemini-embedding-001"}
BASES = {
    "openai": ("/v1", OPENAI_KEY),
    "deepseek": ("/v1", OPENAI_KEY),
    "anthropic": ("", ANTHROPIC_KEY),
    "gemini": ("/v1beta", GEMINI_KEY),
}


def vendors_models(url: str) -> list[dict]:
    """Every upstream by its name, with the fake vendors at `url` behind them."""
    models = []
    for name, target in (UPSTREAMS | VECTORS).items():
        path, key = BASES[target.split("/")[0]]
        models.append({"model_name": name, "litellm_params": {"model": target, "api_base": url + path, "api_key": key}})
    return models


# Where tests share a gateway, one that is about errors must not leave a deployment cooling down for the next.
NO_COOLDOWN = {"disable_cooldowns": True}


def vendors_config(url: str) -> str:
    """The configuration for the clients."""
    return config(vendors_models(url), router_settings=NO_COOLDOWN)


class Scenarios:
    """Names of the fake provider's scenarios as a model list: `ok` on the OpenAI wire and `claude-ok` on Anthropic's."""

    def __init__(self, url: str, *names: str) -> None:
        self.models = [model(name, f"openai/{name}", url) for name in names]
        self.models += [model(f"claude-{name}", f"anthropic/{name}", url) for name in names]


def config(models: list[dict], master: str | None = MASTER, **sections: object) -> str:
    """A configuration file. JSON is YAML, so nothing needs quoting twice."""
    general = {"master_key": master} if master else {}
    return json.dumps({"model_list": models, "general_settings": general} | sections, indent=2, ensure_ascii=False)


def scenarios(url: str, *names: str, **settings: object) -> str:
    """The usual configuration: the named scenarios on both wires, and what belongs under `feathergate:`."""
    return config(Scenarios(url, *names).models, feathergate=settings)


def shared_scenarios(url: str, *names: str) -> str:
    """The same for tests that share a gateway. Nobody waits for the seconds that the provider's 429 names."""
    settings = NO_COOLDOWN | {"retry_policy": {"RateLimitErrorRetries": 0}}
    return config(Scenarios(url, *names).models, router_settings=settings)


# --- The gateway as a process ----------------------------------------------------------------------------------------

# To the end of the line: it is not written in one piece.
LISTENING = re.compile(r"^feathergate \S+ listening on (http://\S+)\n", re.MULTILINE)


class Process:
    """The binary with its output in files. Files rather than pipes: what was written at some moment can then be told
    exactly, without a race against a reading thread.
    """

    # Set where a library beneath us is known to panic, and only what follows is ours.
    may_panic = False

    def __init__(self, command: list[str], env: Mapping[str, str], folder: Path, name: str = "gateway") -> None:
        self.out, self.err = folder / f"{name}.stdout", folder / f"{name}.stderr"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                env=clean_environment() | env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self.out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.err.read_text(errors="replace")

    @property
    def logs(self) -> list[dict]:
        # The last line may be half written.
        lines = self.stdout.split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def requests(self) -> list[dict]:
        return [line for line in self.logs if line.get("message") == "request"]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the gateway still runs after {timeout} s\n{self.stderr}") from None

    def wait_for_log(self, match: Callable[[dict], object], timeout: float = PATIENCE) -> dict:
        return eventually(lambda: next((line for line in self.logs if match(line)), None), timeout, lambda: self.stdout)

    def wait_for_requests(self, count: int) -> list[dict]:
        return eventually(lambda: len(found := self.requests) >= count and found, PATIENCE, lambda: self.stdout)

    def stop(self) -> None:
        if self.running:
            # The group is the process's own: `cargo lambda watch` has children.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)

    def check_output(self) -> None:
        """What must hold for every run, whatever it was started for."""
        for text, where in ((self.stdout, "stdout"), (self.stderr, "stderr")):
            assert_no_secret(text, where)
            assert self.may_panic or "panicked at" not in text, text


class Gateway(Process):
    """The gateway as a server."""

    url = ""

    def __init__(self, config_text: str | None, folder: Path, env: Mapping[str, str], args: tuple[str, ...], name: str) -> None:
        command = [str(binary())]
        self.config = folder / f"{name}.yaml"
        if config_text is not None:
            self.config.write_text(config_text)
            command += ["--config", str(self.config)]
        command += args or ("--bind", "127.0.0.1:0")
        super().__init__(command, env, folder, name)

    def listen(self) -> Gateway:
        def found() -> re.Match[str] | None:
            assert self.running, f"the gateway ended with {self.process.returncode}\n{self.stderr}\n{self.stdout}"
            return LISTENING.search(self.stderr)

        self.url = eventually(found, PATIENCE, lambda: self.stderr).group(1)
        return self

    def check_output(self) -> None:
        super().check_output()
        # What follows the last line's end was being written when the process was ended.
        for line in self.stdout.split("\n")[:-1]:
            entry = json.loads(line)
            assert {"timestamp", "level", "message"} <= entry.keys(), line


def clean_environment() -> dict[str, str]:
    """The developer's keys, proxies and AWS profile must not decide what a test sees."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "LLVM_PROFILE_FILE", "RUSTUP_HOME", "CARGO_HOME")
        if name in os.environ
    }
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}


def aws_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_SSM": endpoint,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": secret("aws-secret"),
    }


T = TypeVar("T")


def eventually(
    probe: Callable[[], T | None], timeout: float = PATIENCE, describe: Callable[[], str] = str, pause: float = 0.01
) -> T:
    deadline = time.monotonic() + timeout
    while True:
        if value := probe():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing came within {timeout} s\n{describe()}")
        time.sleep(pause)


# --- HTTP ------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The text of an error, after a check that it has the whole shape of one dialect."""
        body = self.json
        error = body["error"]
        if body.get("type") == "error":
            # A provider's own error passes as it is, and may come without an id.
            assert set(body) | {"request_id"} == {"type", "error", "request_id"} and set(error) >= {"type", "message"}, body
        else:
            assert set(body) == {"error"} and set(error) >= {"message", "type", "param", "code"}, body
        assert self.header("x-request-id"), self.headers
        assert isinstance(error["message"], str) and error["message"]
        return error["message"]


def bearer(key: str = MASTER) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def anthropic_headers(key: str = MASTER) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": "2023-06-01"}


def http_request(
    url: str, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on its own connection. Bodies of errors are searched for secrets."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    try:
        connection.request(method, target, body, {"content-type": "application/json"} | dict(headers or {}))
        response = connection.getresponse()
        answer = Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()
    if answer.status >= 400:
        assert_no_secret(answer.body, f"{method} {target}")
        assert_no_secret(str(answer.headers), f"{method} {target}")
    return answer


def chat(url: str, model: str = "ok", headers: Mapping[str, str] | None = None, **fields: object) -> Answer:
    body = json.dumps({"model": model, "messages": HELLO} | fields).encode()
    return http_request(url, "POST", "/v1/chat/completions", body, bearer() if headers is None else headers)


def messages(url: str, model: str = "claude-ok", headers: Mapping[str, str] | None = None, **fields: object) -> Answer:
    body = json.dumps({"model": model, "max_tokens": 9, "messages": HELLO} | fields).encode()
    return http_request(url, "POST", "/v1/messages", body, anthropic_headers() if headers is None else headers)


class Stream:
    """A request whose answer is read as it comes. With http.client `read1` one sees data as soon as it is there."""

    def __init__(self, url: str, target: str, body: bytes, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
        self.connection.request("POST", target, body, {"content-type": "application/json"} | dict(headers))
        self.response: http.client.HTTPResponse | None = None
        self.body = b""

    def head(self) -> http.client.HTTPResponse:
        if self.response is None:
            self.response = self.connection.getresponse()
        return self.response

    def exactly(self, length: int) -> bytes:
        """The next `length` bytes; a gateway that holds them back runs into the timeout."""
        response, start = self.head(), len(self.body)
        while len(self.body) < start + length:
            data = response.read1(start + length - len(self.body))
            assert data, f"the stream ended: {self.body!r}"
            self.body += data
        return self.body[start:]

    def until(self, text: bytes) -> bytes:
        while text not in self.body:
            self.exactly(1)
        return self.body

    def rest(self) -> bytes:
        """To the end, which must be a proper one: a body cut short raises."""
        self.body += self.head().read()
        return self.body

    def close(self) -> None:
        """Goes away without a word."""
        if self.response is not None:
            self.response.close()
        self.connection.close()


def chat_stream(url: str, model: str, **fields: object) -> Stream:
    body = json.dumps({"model": model, "messages": HELLO, "stream": True} | fields).encode()
    return Stream(url, "/v1/chat/completions", body, bearer())


def messages_stream(url: str, model: str, **fields: object) -> Stream:
    body = json.dumps({"model": model, "max_tokens": 9, "messages": HELLO, "stream": True} | fields).encode()
    return Stream(url, "/v1/messages", body, anthropic_headers())


@dataclass
class Event:
    name: str | None
    data: str

    @property
    def json(self) -> dict:
        return json.loads(self.data)


def events(body: bytes) -> Iterator[Event]:
    """SSE by the book, comments left out."""
    for block in re.split(r"\r\n\r\n|\n\n", body.decode()):
        lines = [line.partition(":") for line in block.splitlines() if line and not line.startswith(":")]
        fields = [(name, value.removeprefix(" ")) for name, _, value in lines]
        if data := [value for name, value in fields if name == "data"]:
            yield Event(next((value for name, value in fields if name == "event"), None), "\n".join(data))
