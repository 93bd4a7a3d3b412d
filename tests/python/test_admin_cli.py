"""`feathergate admin`: the life of a key and an administrator's session, by the program against a running gateway."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import HELLO, MASTER, Gateway, bearer, binary, clean_environment, config, http_request

Run = Callable[..., subprocess.CompletedProcess[str]]

# RFC 8032's first test vector: the private key in PKCS #8, the public one as OpenSSH writes it.
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea somebody\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("cli")
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": "hello"}}
        for name in ("fast", "smart")
    ]
    text = config(models, feathergate={"store": f"sqlite:{folder / 'cli.db'}"})
    gateway = Gateway(text, folder, {}, (), "cli").listen()
    yield gateway
    gateway.stop()
    gateway.check_output()


@pytest.fixture
def admin(server: Gateway, tmp_path: Path) -> Run:
    """Runs a command; `status` is how it has to end."""

    def run(*args: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [binary(), "admin", *args],
            env=clean_environment() | {"XDG_CONFIG_HOME": str(tmp_path), "FEATHERGATE_URL": server.url} | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == status, (args, done.stdout, done.stderr)
        assert "panicked" not in done.stderr and MASTER not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def logged_in(admin: Run, tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "id").write_text(PRIVATE)
    (tmp_path / "id.pub").write_text(PUBLIC)
    added = admin("admins", "add", "--name", "me", "--key", str(tmp_path / "id.pub"), "--json", FEATHERGATE_MASTER_KEY=MASTER)
    admin("login", "--key", str(tmp_path / "id"))
    yield admin
    admin("admins", "remove", json.loads(added.stdout)["fingerprint"], FEATHERGATE_MASTER_KEY=MASTER)


def test_a_session_is_begun_kept_and_ended(logged_in: Run, server: Gateway, tmp_path: Path) -> None:
    kept = tmp_path / "feathergate/session.json"
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    token = json.loads(kept.read_text())["token"]
    assert len(json.loads(logged_in("sessions", "list", "--json").stdout)["sessions"]) == 1
    refused = logged_in("admins", "add", "--name", "x", "--key", str(tmp_path / "id.pub"), status=1)
    assert "403" in refused.stderr
    # Another gateway does not see the token.
    elsewhere = logged_in("keys", "list", "--url", "http://127.0.0.1:9", status=1)
    assert "does not answer" in elsewhere.stderr
    logged_in("logout")
    assert not kept.exists()
    # A stranger's try leaves a trace with the key that it was for.
    fingerprint = "SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs"
    body = json.dumps({"fingerprint": fingerprint, "challenge": 40 * "a", "signature": 86 * "A" + "=="}).encode()
    assert http_request(server.url, "POST", "/admin/login", body).status == 401
    assert any(log["message"] == "a login failed" and fingerprint in json.dumps(log) for log in server.logs)
    assert any(log.get("endpoint") == "/admin/login" and log.get("status") == 401 for log in server.logs)
    assert "log in" in logged_in("keys", "list", status=1).stderr
    kept.write_text(json.dumps({"url": server.url, "token": token, "expires_at": ""}))
    assert "the session is over" in logged_in("keys", "list", status=1).stderr


def test_the_life_of_a_key(logged_in: Run, server: Gateway) -> None:
    assert ["models", "all"] in [line.split() for line in logged_in("keys", "create", "--alias", "key_prod").stdout.splitlines()]
    odd = logged_in("keys", "create", "--alias", "sk-bob", "--models", "claude-*", "--endpoints", "/v2/*")
    assert odd.stderr.count("warning: ") == 2 and "takes no model" in odd.stderr
    for alias in ("key_prod", "sk-bob"):
        assert alias in logged_in("keys", "show", alias).stdout
        logged_in("keys", "delete", alias)
    made = json.loads(
        logged_in("keys", "create", "--alias", "app", "--budget", "10.000000000001", "--period", "30d", "--models", "fast", "--json").stdout
    )
    secret = made["key"]
    assert made["max_budget"] == 10.000000000001 and made["models"] == ["fast"]

    def ask(key: str) -> int:
        body = json.dumps({"model": "fast", "messages": HELLO}).encode()
        return http_request(server.url, "POST", "/v1/chat/completions", body, bearer(key)).status

    assert ask(secret) == 200
    table = logged_in("keys", "list").stdout
    assert "app" in table and "10.000000000001" in table and secret not in table
    logged_in("keys", "update", "app", "--rpm", "5", "--budget", "none", "--alias", "app2")
    shown = json.loads(logged_in("keys", "show", "app2", "--json").stdout)["info"]
    assert (shown["rpm_limit"], shown["max_budget"]) == (5, None)
    assert secret not in logged_in("keys", "show", "app2").stdout
    logged_in("keys", "block", "app2")
    assert ask(secret) in (401, 403)
    logged_in("keys", "unblock", secret)
    new = json.loads(logged_in("keys", "rotate", "app2", "--json").stdout)["key"]
    assert ask(new) == 200 and ask(secret) == 401
    assert "rpm_limit" in logged_in("balance", FEATHERGATE_KEY=new).stdout
    logs = json.loads(logged_in("logs", "--key", "app2", "--json").stdout)["logs"]
    assert [log["status"] for log in logs if log["status"] == 200]
    assert "app2" in logged_in("usage", "--by", "key", "--since", "1d").stdout
    logged_in("usage", "--until", "2026-01-31")
    assert "there may be more: `--before" in logged_in("logs", "--limit", "1").stderr
    assert "there are none" in logged_in("logs", "--until", "2026-01-31").stdout
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert "app2" in logged_in("logs", "--key", "app2", "--since", today, "--until", today).stdout
    logged_in("keys", "delete", "app2")
    assert ask(new) == 401
    assert "rpm_limit" in logged_in("audit").stdout
    assert "key_alias" not in logged_in("audit").stdout and "10.000000000001 -> nothing" in logged_in("audit", "--full").stdout
    actions = [act["action"] for act in json.loads(logged_in("audit", "--json").stdout)["audit"]]
    assert {"key.create", "key.update", "key.block", "key.unblock", "key.regenerate", "key.delete"} <= set(actions)


def test_teams_prices_and_redirects(logged_in: Run, tmp_path: Path) -> None:
    logged_in("teams", "create", "t", "--budget", "5", "--period", "1mo")
    logged_in("keys", "create", "--team", "t", "--alias", "of-t")
    assert "of-t" in logged_in("teams", "show", "t").stdout
    logged_in("teams", "update", "t", "--budget", "6")
    assert json.loads(logged_in("teams", "list", "--json").stdout)[0]["max_budget"] == 6
    assert "of-t" in logged_in("teams", "delete", "t").stdout
    assert "there is no key" in logged_in("keys", "show", "of-t", status=1).stderr
    (tmp_path / "prices.json").write_text('{"gpt-4o-mini": {"input_cost_per_token": 0.000000000001}}')
    logged_in("prices", "set", str(tmp_path / "prices.json"))
    shown = logged_in("prices", "show").stdout
    assert '"input_cost_per_token":0.000000000001' in shown
    # What was shown can be set, as long as nobody else has set anything.
    (tmp_path / "prices.json").write_text(shown)
    logged_in("prices", "set", str(tmp_path / "prices.json"))
    assert json.loads(logged_in("prices", "show").stdout)["prices"] == json.loads(shown)["prices"]
    assert "409" in logged_in("prices", "set", str(tmp_path / "prices.json"), status=1).stderr
    (tmp_path / "prices.json").write_text('{"fast": {"input_cost_per_token": 0.000001}}')
    assert "`openai/gpt-4o-mini`" in logged_in("prices", "set", str(tmp_path / "prices.json")).stderr
    (tmp_path / "redirects.json").write_text('{"gpt-4": "nothing"}')
    assert "redirects.gpt-4" in logged_in("redirects", "set", str(tmp_path / "redirects.json"), status=1).stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["kyes", "list"], "is it `keys`?"),
        (["keys", "create", "--bugdet", "1"], "is it `--budget`?"),
        (["keys", "create", "--budget", "ten"], "`--budget` must be a number"),
        (["keys", "create", "--models", "nothing"], "models[0]"),
        (["keys", "create", "--budget=-1"], "`max_budget` must be"),
        (["keys", "show"], "has to be told: KEY"),
        (["keys", "show", "nobody"], "no key with the alias `nobody`"),
        (["login"], "`--key` is missing"),
        (["login", "--key", "/dev/null"], "neither a private key"),
        (["keys", "list", "--url", "gateway"], "is no URL"),
        (["usage", "--by", "colour"], "`by` must be"),
        (["keys", "create", "--models", "none"], "would allow all models"),
        (["logs", "--follow", "--until", "1h"], "has no end"),
    ],
)
def test_what_is_wrong_is_told(admin: Run, args: list[str], told: str) -> None:
    assert told in admin(*args, status=1, FEATHERGATE_MASTER_KEY=MASTER).stderr


def test_a_private_key_is_not_sent(admin: Run, tmp_path: Path) -> None:
    (tmp_path / "id").write_text(PRIVATE)
    # Nobody listens there, so whatever is sent fails in another way.
    told = admin("admins", "add", "--name", "x", "--key", str(tmp_path / "id"), "--url", "http://127.0.0.1:9", status=1).stderr
    assert "is the private key" in told and "id.pub; nothing was sent" in told and "MC4C" not in told


def test_every_command_has_help(admin: Run) -> None:
    commands = [line.split()[2:] for line in admin("--help").stdout.split("Each takes")[0].splitlines() if line.startswith("  ")]
    assert len(commands) > 20
    for words in commands:
        told = admin(*words[:2], "--help").stdout
        assert told.startswith(f"feathergate admin {words[0]}") and "--json" in told, words
