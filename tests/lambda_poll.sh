#!/bin/sh
# Starts the ARM64 binary of the Lambda package, under emulation where the machine is not ARM64, against a Runtime API on
# loopback. Passes when the binary polls for work and answers `GET /` of a function URL.
#
#   tests/lambda_poll.sh [target/lambda/feathergate/bootstrap.zip]
set -eu
cd "$(dirname "$0")/.."
zip=${1:-target/lambda/feathergate/bootstrap.zip}
[ -f "$zip" ] || { echo "poll: $zip is not there: make package" >&2; exit 1; }

runner=
if [ "$(uname -m)" != aarch64 ]; then
    loader=/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1
    if ! command -v qemu-aarch64-static >/dev/null || [ ! -e "$loader" ]; then
        packages="qemu-user-static libc6-arm64-cross"
        if [ "$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else
            echo "poll: the emulator is missing: apt-get install $packages" >&2
            exit 1
        fi
        echo "poll: installing $packages"
        $sudo apt-get update -q=2
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q=2 --no-install-recommends $packages >/dev/null
    fi
    runner="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
fi

task=$(mktemp -d)
trap 'rm -rf "$task"' EXIT INT TERM
python3 -m zipfile -e "$zip" "$task"
chmod 755 "$task/bootstrap"

PYTHONPATH=tests/python PYTHONDONTWRITEBYTECODE=1 python3 - "$task" $runner <<'PYTHON'
import os
import subprocess
import sys
import time

from runtime_api import RuntimeApi, url_event

task, runner = sys.argv[1], sys.argv[2:]
# An emulated start takes longer than any real one; how long is printed, not judged.
PATIENCE = 60.0


def fail(why: str) -> None:
    log.seek(0)
    sys.exit(f"poll: {why}\n{log.read().decode(errors='replace')}")


with RuntimeApi() as api, open(os.path.join(task, "log"), "w+b") as log:
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "feathergate",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/feathergate",
        "AWS_LAMBDA_LOG_STREAM_NAME": "poll",
        "AWS_REGION": "eu-central-1",
        "LAMBDA_TASK_ROOT": task,
        "_HANDLER": "bootstrap",
        "FEATHERGATE_CONFIG": os.path.join(task, "feathergate.yaml"),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [*runner, os.path.join(task, "bootstrap")], cwd=task, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        while not api.polls:
            if process.poll() is not None:
                fail(f"the binary ended with {process.returncode} before it polled")
            if time.monotonic() - started > PATIENCE:
                fail(f"the binary has not polled in {PATIENCE:.0f} s")
            time.sleep(0.005)
        print(f"poll: {' '.join([*runner[:1], 'bootstrap'])} polled after {(time.monotonic() - started) * 1000:.0f} ms", flush=True)

        answer = api.invoke(url_event("GET", "/"))
        try:
            answer.wait(timeout=PATIENCE)
            status, page = answer.prelude["statusCode"], answer.payload.decode()
            api.wait_for_polls(2, PATIENCE)
        except (AssertionError, ValueError, IndexError) as error:
            fail(f"no answer to GET /: {error!r}; what came: {answer.body!r}")
        if answer.error is not None or api.problems or api.init_errors:
            fail(f"the runtime reported {answer.error!r} {api.problems} {api.init_errors}")
        if status != 200 or "feathergate" not in page.lower():
            fail(f"GET / answered {status}: {page}")
        print(f"poll: GET / answered {status} with {len(page)} bytes as a stream, then the next poll came")
    finally:
        process.kill()
        process.wait()
print("poll: 2 passed, 0 failed")
PYTHON
