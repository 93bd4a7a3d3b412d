"""Both gateways as processes: the same file, one after the other."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = 120.0


def environment() -> dict[str, str]:
    """Nothing of the developer's: no keys, no proxies."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"NO_PROXY": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true", "PYTHONUNBUFFERED": "1"}


class DoesNotStart(Exception):
    """With what the process said."""


class Gateway:
    """A process that serves `config`. Leaving the `with` ends it."""

    name = ""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.log = config.with_suffix(f".{self.name}.log")
        self.url = ""

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Gateway:
        command, env = self.command()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment() | env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.__exit__()
                raise DoesNotStart(f"{self.name} does not start with {self.config}:\n{tail}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Litellm(Gateway):
    """The proxy of the version in requirements.txt."""

    name = "litellm"

    def __init__(self, config: Path, venv: Path) -> None:
        super().__init__(config)
        self.venv = venv
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self) -> tuple[list[str], dict[str, str]]:
        arguments = ["--config", str(self.config), "--host", "127.0.0.1", "--port", str(self.port)]
        # Otherwise it fetches its tables when it starts.
        local = dict.fromkeys(["LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"], "True")
        env = local | {"LITELLM_TELEMETRY": "False"}
        return [str(self.venv / "bin/litellm"), *arguments], env

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health/liveliness")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class FeatherGate(Gateway):
    """The binary of this repository, or FEATHERGATE_BIN."""

    name = "feathergate"

    @staticmethod
    def binary() -> Path:
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        return Path(os.environ.get("FEATHERGATE_BIN") or target / "debug/feathergate")

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [str(self.binary()), "--config", str(self.config), "--bind", "127.0.0.1:0"], {}

    def ready(self) -> bool:
        found = re.search(r"^feathergate \S+ listening on (http://\S+)$", self.log.read_text(errors="replace"), re.MULTILINE)
        self.url = found.group(1) if found else ""
        return bool(found)
