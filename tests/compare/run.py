"""Compares FeatherGate with the litellm proxy, decision by decision: `make compare-litellm`.

Both get the same configuration files and the same requests, and call the same scripted upstream. What differs has to stand in
differences.py with a reason; what stands there has to differ.

    run.py [--only NAME,NAME] [--measure | --again] [--pin] [--venv FOLDER]

`--measure` runs litellm alone and prints what it does, `--again` takes what it did the last time, `--pin` writes chosen.json
anew. Configurations, results and logs are left in target/compare.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from client import Result, send
from differences import pin, verdict
from gateways import ROOT, DoesNotStart, FeatherGate, Gateway, Litellm
from scenario import Scenario, Setup
from table import SETUPS
from upstream import Call, Script, Upstream

# Scenarios at one time: they mostly wait.
PARALLEL = 8
WORK = ROOT / "target/compare"


def play(url: str, one: Scenario, upstream: Upstream) -> list[Result]:
    """A scenario's requests, one after the other."""
    answers = {name: list(made.answers) for members in one.groups.values() for name, made in members.items()}
    script = upstream.scripts[one.name] = Script(answers)
    results = []
    for asked in one.asks:
        if asked.path == "sleep":
            time.sleep(float(asked.model))
            continue
        before = len(script.calls)
        result = send(url, asked, one.prefix)
        calls = script.calls[before:]
        result.calls = " ".join(called(call) for call in calls) or "-"
        if one.waits:
            result.waited = " ".join(str(min(2, int(b.at - a.at + 0.1))) for a, b in zip(calls, calls[1:])) or "-"
        results.append(result)
    return results


def called(call: Call) -> str:
    """The deployment; and the model where it is not the one that most have."""
    model = str(call.body.get("model"))
    return call.deployment if model in ("up", "claude-up") else f"{call.deployment}({model})"


def play_all(gateway: Gateway, setup: Setup, upstream: Upstream) -> dict[str, list[Result]]:
    try:
        with gateway, ThreadPoolExecutor(PARALLEL) as pool:
            done = pool.map(lambda one: play(gateway.url, one, upstream), setup.scenarios)
            return {one.name: results for one, results in zip(setup.scenarios, done, strict=True)}
    except DoesNotStart as why:
        if not setup.refused:
            raise SystemExit(str(why)) from None
        return {one.name: [Result(end="does not start", message=str(why)) for _ in one.asks] for one in setup.scenarios}


def remember(setup: Setup, results: dict[str, list[Result]]) -> None:
    file = WORK / f"{setup.name}.litellm.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | {name: [vars(one) for one in many] for name, many in results.items()}, indent=1))


def remembered(setup: Setup) -> dict[str, list[Result]]:
    known = json.loads((WORK / f"{setup.name}.litellm.json").read_text())
    return {one.name: [Result(**fields) for fields in known[one.name]] for one in setup.scenarios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="setups or scenarios, by comma")
    parser.add_argument("--measure", action="store_true", help="litellm alone")
    parser.add_argument("--again", action="store_true", help="with litellm's answers of the last run")
    parser.add_argument("--pin", action="store_true", help="writes chosen.json: what both do where a difference is listed")
    parser.add_argument("--venv", type=Path, default=ROOT / "target/compare-venv")
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.only.split(",")))
    WORK.mkdir(parents=True, exist_ok=True)
    if not arguments.measure and not FeatherGate.binary().exists():
        raise SystemExit(f"{FeatherGate.binary()} is not there: run `cargo build`, or name the program in FEATHERGATE_BIN")
    rows: dict[str, tuple[Result, Result]] = {}
    with Upstream() as upstream:
        for setup in SETUPS:
            if wanted and setup.name not in wanted:
                setup.scenarios = [one for one in setup.scenarios if one.name in wanted]
            if not setup.scenarios:
                continue
            print(f"{setup.name} …", file=sys.stderr, flush=True)
            config = WORK / f"{setup.name}.yaml"
            config.write_text(json.dumps(setup.config(upstream), indent=1))
            theirs = remembered(setup) if arguments.again else play_all(Litellm(config, arguments.venv), setup, upstream)
            remember(setup, theirs)
            if arguments.measure:
                show(theirs)
                continue
            ours = play_all(FeatherGate(config), setup, upstream)
            for name, results in theirs.items():
                rows |= {f"{name}[{at}]": pair for at, pair in enumerate(zip(results, ours[name], strict=True))}
    if arguments.pin:
        pin(rows, whole=not wanted)
    if rows and (wrong := verdict(rows, whole=not wanted)):
        raise SystemExit("\n\n" + "\n".join(wrong))


def show(results: dict[str, list[Result]]) -> None:
    for name, many in results.items():
        for at, one in enumerate(many):
            print(f"{name}[{at}]\n    {one}")
            if one.message:
                print(f"        {one.message[:200]!r}")


if __name__ == "__main__":
    main()
