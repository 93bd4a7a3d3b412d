"""The command line: what it prints, how it ends, and that nobody ever sees a panic."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import (
    MASTER,
    ROOT,
    Gateway,
    assert_no_secret,
    bearer,
    binary,
    chat,
    chat_stream,
    clean_environment,
    config,
    events,
    http_request,
    model,
    secret,
)

URL = "http://127.0.0.1:9"
Start = Callable[..., Gateway]


def run(*args: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs to the end, with the checks that hold for every run."""
    done = subprocess.run(
        [binary(), *args],
        cwd=cwd,
        env=clean_environment() | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    for text in (done.stdout, done.stderr):
        assert_no_secret(text, f"feathergate {args}")
        # A panic, or a Debug dump of an error type.
        assert not re.search(r"panicked at|RUST_BACKTRACE|\b(Err|Some|None|Error)\s*[({]|Error \{", text), text
    assert done.returncode >= 0, f"ended by a signal: {done.returncode}"
    return done


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(text: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "my.yaml"
        file.write_text(text)
        return run("check", file, *args, **env)

    return call


def test_help() -> None:
    for flag in ("--help", "-h"):
        done = run(flag)
        assert done.returncode == 0 and not done.stderr
        for word in ("--config", "--bind", "check", "FEATHERGATE_CONFIG", "feathergate --config", "--version"):
            assert word in done.stdout
    assert run("check", "--help").returncode == 0


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"feathergate \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("args", [("--confg", "x"), ("--bind",), ("serve-me",), ("--config", "a.yaml", "extra")])
def test_wrong_arguments(args: tuple[str, ...]) -> None:
    done = run(*args)
    assert done.returncode != 0 and not done.stdout
    assert "--help" in done.stderr


def test_no_configuration_at_all(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 1
    assert "--config" in done.stderr and "feathergate.yaml" in done.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for done in (run("--config", tmp_path / "absent.yaml"), run("check", tmp_path / "absent.yaml"), run("--config", tmp_path)):
        assert done.returncode == 1
        assert str(tmp_path) in done.stderr + done.stdout


def test_the_configuration_is_found_in_the_usual_places(gateway: Start, tmp_path: Path) -> None:
    text = config([model("ok", "openai/ok", URL)])
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(text)
    gateway(env={"FEATHERGATE_CONFIG": str(elsewhere)})
    (tmp_path / "feathergate.yaml").write_text(text)
    gateway()


def test_check_of_a_good_file(check: Callable) -> None:
    done = check(config([model("ok", "openai/ok", URL)]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(config([model("ok", "openai/ok", URL)]), "--strict").returncode == 0


def test_check_says_how_each_key_is_understood(check: Callable) -> None:
    text = config([model("ok", "openai/ok", URL)], litellm_settings={"set_verbose": True, "cache": True})
    done = check(text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "litellm_settings.cache" in done.stdout + done.stderr
    assert "litellm_settings.set_verbose" in done.stdout + done.stderr
    line = 1 + text[: text.index('"cache"')].count("\n")
    assert re.search(rf"\b{line}\b", next(row for row in (done.stdout + done.stderr).splitlines() if "cache" in row))
    assert check(text, "--strict").returncode == 2


def test_an_unknown_key_warns_with_the_nearest(check: Callable) -> None:
    done = check(config([model("ok", "openai/ok", URL)], general_setings={"x": 1}))
    assert "general_setings" in done.stdout + done.stderr and "general_settings" in done.stdout + done.stderr
    done = check(config([model("ok", "openai/ok", URL)], feathergate={"hartbeat": 3}))
    assert "hartbeat" in done.stdout + done.stderr and "`heartbeat`" in done.stdout + done.stderr


MANY = {
    "model_list": [
        {"model_name": "one", "litellm_params": {}},
        {"litellm_params": {"model": "openai/x"}},
        {"model_name": "three", "litellm_params": {"model": "nosuchvendor/x"}},
        {"model_name": "four", "litellm_params": {"model": "openai/x", "api_key": "ssm:bad name"}},
    ],
    "general_settings": {"master_key": "sk-1234"},
    "feathergate": {"response_model": "nonsense", "heartbeat": "often"},
}
EXPECTED = (
    "model_list[0]",
    "model_list[1]",
    "nosuchvendor",
    "model_list[3].litellm_params.api_key",
    "master_key",
    "response_model",
    "heartbeat",
)


def test_errors_come_all_at_once(check: Callable, gateway: Start) -> None:
    text = json.dumps(MANY, indent=2)
    done = check(text)
    assert done.returncode == 1
    failed = gateway(text, expect_fail=True)
    assert failed.process.returncode == 1
    for output in (done.stdout + done.stderr, failed.stderr):
        missing = [word for word in EXPECTED if word not in output]
        assert not missing, f"{missing} not in:\n{output}"
    assert not failed.stdout.strip()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "model_list: [", "model_list: 7", "a: b: c", "\t- x", "model_list: []\nmodel_list: []", "\x00", "&a [*a]"],
)
def test_files_that_are_no_configuration(check: Callable, text: str) -> None:
    done = check(text)
    assert done.returncode == 1, done.stdout
    assert "my.yaml" in done.stdout + done.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
def test_beyond_loopback_a_master_key_is_needed(gateway: Start, bind: str) -> None:
    failed = gateway(config([model("ok", "openai/ok", URL)], master=None), args=("--bind", bind), expect_fail=True)
    assert failed.process.returncode == 1
    assert "master_key" in failed.stderr and "allow_unauthenticated" in failed.stderr


def test_on_loopback_none_is_needed(gateway: Start) -> None:
    gateway(config([model("ok", "openai/ok", URL)], master=None))


def test_beyond_loopback_with_a_key_or_on_purpose(gateway: Start) -> None:
    gateway(config([model("ok", "openai/ok", URL)]), args=("--bind", "0.0.0.0:0"))
    text = config([model("ok", "openai/ok", URL)], master=None, feathergate={"allow_unauthenticated": True})
    gateway(text, args=("--bind", "0.0.0.0:0"))


@pytest.mark.parametrize("key", ["sk-1234", "sk-12345", "changeme", "password", "x"])
def test_weak_master_keys_are_refused(gateway: Start, key: str) -> None:
    failed = gateway(config([model("ok", "openai/ok", URL)], master=key), expect_fail=True)
    assert "master_key" in failed.stderr


def test_a_weak_master_key_from_the_environment(gateway: Start) -> None:
    text = config([model("ok", "openai/ok", URL)], master="os.environ/MASTER")
    assert "master_key" in gateway(text, env={"MASTER": "sk-1234"}, expect_fail=True).stderr
    gateway(text, env={"MASTER": MASTER})


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "203.0.113.1:1"])
def test_addresses_that_do_not_work(gateway: Start, bind: str) -> None:
    failed = gateway(config([model("ok", "openai/ok", URL)]), args=("--bind", bind), expect_fail=True)
    assert bind in failed.stderr


def test_a_port_in_use(gateway: Start) -> None:
    first = gateway(config([model("ok", "openai/ok", URL)]))
    address = first.url.removeprefix("http://")
    failed = gateway(config([model("ok", "openai/ok", URL)]), args=("--bind", address), expect_fail=True)
    assert address in failed.stderr and "use" in failed.stderr


def test_a_missing_variable_does_not_stop_the_start(gateway: Start) -> None:
    """The demo configuration starts without any account; a call then says which variable to set."""
    server = gateway(config([model("ok", "openai/ok", URL, api_key="os.environ/NO_SUCH_KEY")]))
    assert [entry["id"] for entry in http_request(server.url, "GET", "/v1/models", headers=bearer()).json["data"]] == ["ok"]
    answer = chat(server.url)
    assert answer.status >= 500 and "NO_SUCH_KEY" in answer.message


def test_mock_response(gateway: Start) -> None:
    server = gateway(config([{"model_name": "demo", "litellm_params": {"model": "openai/demo", "mock_response": "It works."}}]))
    answer = chat(server.url, "demo").json
    assert answer["choices"][0]["message"]["content"] == "It works." and answer["usage"]["total_tokens"] > 0
    body = chat_stream(server.url, "demo", stream_options={"include_usage": True}).rest()
    chunks = [event.json for event in events(body) if event.data != "[DONE]"]
    assert "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]) == "It works."
    assert chunks[-1]["usage"]["total_tokens"] > 0 and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.name)
def test_the_configurations_of_the_repository_are_good(file: Path) -> None:
    """With each variable set that they name without a default; the demo's must also do without."""
    names = re.findall(r"os\.environ/(\w+)|\$\{(\w+)\}", file.read_text())
    done = run("check", file, **{one or other: MASTER for one, other in names})
    assert done.returncode == 0, done.stdout
    if file.name == "demo.yaml":
        assert run("check", file).returncode == 0


def test_the_secret_is_not_shown_by_check(check: Callable) -> None:
    """`run` searches; here is something to find."""
    text = config([model("ok", "openai/ok", URL, api_key=secret("inline-key"), nosuchparameter=secret("odd-value"))])
    assert check(text).returncode in (0, 1)
    broken = text.replace('"model_list"', '"model_list": 7, "x"')
    assert check(broken).returncode == 1
