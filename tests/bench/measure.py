"""Runs the loads of `run.sh` and writes the table. Python's standard library and Linux's /proc, nothing else.

The server under test has core 0 for itself; the fake provider and the load share core 1.
"""

import argparse
import contextlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
# Ratios to the pass-through that conversion has to reach: requests, chunks. The aim for requests is 0.55.
CONVERSION_BARS = {"rate": 0.4, "events_rate": 0.6}
LOADS = [
    # title, arguments of bench-load, the field that is the rate, its unit
    ("Chat, 1 KB, 16 connections", ["chat", "connections=16"], "rate", "requests/s"),
    ("Chat, 1 KB, 64 connections", ["chat", "connections=64"], "rate", "requests/s"),
    ("Streams, 16 connections", ["stream", "connections=16"], "events_rate", "chunks/s"),
    ("Chat, 1 KB, 16 connections, OpenAI client to Anthropic", ["chat", "connections=16", "model=bench-claude"], "rate", "requests/s"),
    ("Chat, 1 KB, 16 connections, OpenAI client to Gemini", ["chat", "connections=16", "model=bench-gemini"], "rate", "requests/s"),
    ("Streams, 16 connections, OpenAI client to Anthropic", ["stream", "connections=16", "model=bench-claude"], "events_rate", "chunks/s"),
    ("Streams, 16 connections, OpenAI client to Gemini", ["stream", "connections=16", "model=bench-gemini"], "events_rate", "chunks/s"),
    ("Paced streams, 256 connections, a chunk each 5 ms", ["paced", "connections=256"], "events_rate", "chunks/s"),
]


@contextlib.contextmanager
def on_core(core):
    """What is started inside inherits the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server, killed at the end of a `with` block."""

    def __init__(self, command, port, core, env=None):
        self.port = port
        with on_core(core):
            self.child = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                return
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        self.child.kill()
        sys.exit(f"did not start (run it by hand to see why): {' '.join(map(str, command))}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def cpu(self):
        return cpu_seconds(self.child.pid)

    def memory(self, name):
        """`VmRSS` or `VmHWM` in MB (1,000,000 bytes)."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024 / 1e6


def cpu_seconds(pid):
    """CPU time of all threads: to the nanosecond where the kernel keeps it, else in ticks."""
    try:
        tasks = [Path(task.path, "schedstat").read_text() for task in os.scandir(f"/proc/{pid}/task")]
        total = sum(int(task.split()[0]) for task in tasks)
        if total:
            return total / 1e9
    except OSError:
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, options, upstream_port):
        self.options = options
        self.upstream_port = upstream_port
        self.programs = Path(options.programs)
        self.gateways = dict(pair.split("=", 1) for pair in options.gateway)

    def server(self, name):
        port = free_port()
        if name == "pass-through":
            command = [self.programs / "bench-passthrough", f"127.0.0.1:{self.upstream_port}", f"127.0.0.1:{port}"]
            return Process(command, port, SERVER_CORE)
        profile, _, level = name.partition(", ")
        command = [self.gateways[profile], "--config", HERE / "bench.yaml", "--bind", f"127.0.0.1:{port}"]
        return Process(command, port, SERVER_CORE, self.environment(level.removeprefix("RUST_LOG=")))

    def environment(self, level="", **more):
        foreign = ("RUST_LOG", "AWS_", "FEATHERGATE_", "LITELLM_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env["BENCH_UPSTREAM"] = f"http://127.0.0.1:{self.upstream_port}/v1"
        env["BENCH_UPSTREAM_ANTHROPIC"] = f"http://127.0.0.1:{self.upstream_port}"
        env["BENCH_UPSTREAM_GEMINI"] = f"http://127.0.0.1:{self.upstream_port}/v1beta"
        if level:
            env["RUST_LOG"] = level
        return env | more

    def start_load(self, port, arguments):
        command = [self.programs / "bench-load", arguments[0], f"127.0.0.1:{port}", *arguments[1:]]
        with on_core(LOAD_CORE):
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def load(self, port, arguments):
        child = self.start_load(port, [*arguments, f"seconds={self.options.seconds}"])
        line = child.communicate(timeout=self.options.seconds + 60)[0]
        if child.returncode:
            sys.exit(f"the load failed: {' '.join(arguments)}")
        return {name: float(value) for name, value in (pair.split("=") for pair in line.split())}

    def one_round(self, process, port, arguments):
        wall, cpu = time.monotonic(), process.cpu() if process else 0
        result = self.load(port, arguments)
        if process:
            used = process.cpu() - cpu
            result["cpu_us"] = used * 1e6 / result["total"]
            result["busy"] = used / (time.monotonic() - wall)
        return result


def middle(rounds, field):
    return statistics.median(each[field] for each in rounds)


def speed(bench, write):
    names = ["pass-through"]
    for profile in bench.gateways:
        names += [profile, f"{profile}, RUST_LOG=warn"]
    results = {(title, name): [] for title, *_ in LOADS for name in ["direct", *names]}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(bench.server(name)) for name in names}
        for number in range(bench.options.rounds):
            for title, arguments, *_ in LOADS:
                results[title, "direct"].append(bench.one_round(None, bench.upstream_port, arguments))
                for name, process in servers.items():
                    results[title, name].append(bench.one_round(process, process.port, arguments))
            print(f"round {number + 1} of {bench.options.rounds}", file=sys.stderr)
        after_load = {name: process.memory("VmHWM") for name, process in servers.items()}

    for title, arguments, rate, unit in LOADS:
        write(f"### {title}\n")
        write(
            f"| server | {unit} min / median / max | rate ratio | CPU µs per {'request' if unit == 'requests/s' else 'stream'}"
            " | CPU ratio | core busy | p50 / p99 µs | frames per event |"
        )
        write("|---|---|---|---|---|---|---|---|")
        base = results[title, "pass-through"]
        for name in ["direct", *names]:
            rounds = results[title, name]
            rates = [each[rate] for each in rounds]
            cells = [f"{min(rates):,.0f} / {statistics.median(rates):,.0f} / {max(rates):,.0f}"]
            if name == "direct":
                cells += ["", "", "", ""]
            else:
                pairs = list(zip(rounds, base, strict=True))
                cells += [
                    f"{statistics.median(mine[rate] / other[rate] for mine, other in pairs):.2f}",
                    f"{middle(rounds, 'cpu_us'):,.1f}",
                    f"{statistics.median(other['cpu_us'] / mine['cpu_us'] for mine, other in pairs):.2f}",
                    f"{middle(rounds, 'busy'):.0%}",
                ]
            cells.append(f"{middle(rounds, 'p50_us'):,.0f} / {middle(rounds, 'p99_us'):,.0f}")
            cells.append("" if arguments[0] == "chat" else f"{middle(rounds, 'frames_per_event'):.3f}")
            write(f"| {name} | {' | '.join(cells)} |")
        write("")
        if "client to" in title:
            # The pass-through stays within OpenAI's dialect: it shows what the machine can do, not what conversion costs.
            for name in bench.gateways:
                pairs = list(zip(results[title, name], base, strict=True))
                ratio = statistics.median(mine[rate] / other[rate] for mine, other in pairs)
                bar = CONVERSION_BARS[rate]
                write(f"{name}: {ratio:.2f} of the pass-through's {unit}, at least {bar}: {'ok' if ratio >= bar else 'BELOW'}\n")
    return after_load


def memory(bench, after_load, write):
    write("### Resident memory, MB\n")
    write("| server | idle | with 64 open streams | peak of that run | peak after all loads above |")
    write("|---|---|---|---|---|")
    for name in ["pass-through", *bench.gateways]:
        with bench.server(name) as process:
            time.sleep(1)
            idle = process.memory("VmRSS")
            child = bench.start_load(process.port, ["memory", "connections=64", "pace=50"])
            if child.stdout.readline() != "holding\n":
                sys.exit("the streams did not open")
            held = process.memory("VmRSS")
            child.communicate(timeout=60)
            write(f"| {name} | {idle:.1f} | {held:.1f} | {process.memory('VmHWM'):.1f} | {after_load[name]:.1f} |")
    write("")


def cold_start(bench, binary):
    """From exec to the first poll of the Runtime API: CPU and wall time in ms."""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        env = bench.environment(
            AWS_LAMBDA_RUNTIME_API="127.0.0.1:%d" % peer.getsockname()[1],
            AWS_LAMBDA_FUNCTION_NAME="bench",
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256",
            AWS_LAMBDA_FUNCTION_VERSION="$LATEST",
            AWS_LAMBDA_LOG_GROUP_NAME="/aws/lambda/bench",
            AWS_LAMBDA_LOG_STREAM_NAME="bench",
            AWS_REGION="us-east-1",
            AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
            AWS_SECRET_ACCESS_KEY="example",
            FEATHERGATE_CONFIG=str(HERE / "bench.yaml"),
        )
        peer.settimeout(10)
        with on_core(SERVER_CORE):
            start = time.monotonic()
            child = subprocess.Popen(
                [binary], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        try:
            connection = peer.accept()[0]
            with connection:
                while b"/invocation/next" not in connection.recv(4096, socket.MSG_PEEK):
                    time.sleep(0.0001)
                wall = time.monotonic() - start
                return cpu_seconds(child.pid) * 1e3, wall * 1e3
        except TimeoutError:
            sys.exit(f"`{binary}` does not poll the Runtime API")
        finally:
            child.kill()
            child.wait()


def cold(bench, write):
    write("### From exec to the first poll of the Runtime API, 20 starts, ms\n")
    write("| build | CPU min / median / max | wall min / median / max |")
    write("|---|---|---|")
    for profile, binary in bench.gateways.items():
        cold_start(bench, binary)  # so that the file is in the page cache
        columns = zip(*(cold_start(bench, binary) for _ in range(20)), strict=True)
        cells = [f"{min(times):.1f} / {statistics.median(times):.1f} / {max(times):.1f}" for times in columns]
        write(f"| {profile} | {' | '.join(cells)} |")
    write("")


def zipped(path):
    if path.suffix == ".zip":
        return path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "bootstrap.zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            file.write(path, "bootstrap")
        return archive.stat().st_size


def stripped(path):
    if not shutil.which("strip"):
        return path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "stripped")
        done = subprocess.run(["strip", "-o", copy, path], stderr=subprocess.DEVNULL, check=False)
        # What is of another machine, the host's `strip` leaves alone; those builds are stripped already.
        return (copy if done.returncode == 0 and copy.is_file() else path).stat().st_size


def sizes(bench, write):
    write("### Size, MB\n")
    write("| build | stripped | zipped |")
    write("|---|---|---|")
    builds = {f"{name} ({platform.machine()})": Path(path) for name, path in bench.gateways.items()}
    package = Path(bench.options.package)
    for path in [package / "bootstrap", package / "feathergate", package] if package.is_dir() else [package]:
        if path.is_file():
            builds["package (ARM64)"] = path
            break
    for name, path in builds.items():
        write(f"| {name} | {stripped(path) / 1e6:.2f} | {zipped(path) / 1e6:.2f} |")
    if "package (ARM64)" not in builds:
        write("\nThe ARM64 package is not built; `make package` does that.")
    write("")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="folder of bench-passthrough, bench-upstream, bench-load")
    parser.add_argument("--gateway", action="append", default=[], metavar="PROFILE=PATH")
    parser.add_argument("--package", default="target/lambda/feathergate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="", help="loads with this in their title, and nothing else")
    parser.add_argument("--out", default="target/bench.md")
    options = parser.parse_args()
    LOADS[:] = [load for load in LOADS if options.only in load[0]]
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the server under test and the load need a core each; there is only one")

    lines = []

    def write(line):
        lines.append(line)
        print(line, flush=True)

    upstream_port = free_port()
    with Process([Path(options.programs) / "bench-upstream", f"127.0.0.1:{upstream_port}"], upstream_port, LOAD_CORE):
        bench = Bench(options, upstream_port)
        write("## `make bench`\n")
        write(
            f"{cpu_model()}, Linux {platform.release()}; the server under test on one core, the load and the fake provider "
            f"on another; {options.rounds} interleaved rounds of {options.seconds} s.\n"
        )
        write(
            "`pass-through` is the minimal hyper proxy of `tests/bench/passthrough.rs`, `direct` the load without any "
            "server between. `release` is the gateway as shipped (`opt-level = \"z\"`), `server` the same code with "
            "`opt-level = 3`; logs go to /dev/null. Ratios are to the pass-through in the same round, higher is better; "
            "when a core is not busy, the load side was the limit and the CPU ratio is the fair one. A stream has 100 "
            "content chunks and 3 more events; times are of whole answers, or of each chunk from the provider's "
            "sending to the client's reading when paced; `frames per event` is 1 when nothing is buffered (0.990: only the "
            "opening event waits for the first content).\n"
        )
        after_load = speed(bench, write)
        if not options.only:
            memory(bench, after_load, write)
        if bench.gateways and not options.only:
            cold(bench, write)
            sizes(bench, write)
    Path(options.out).write_text("\n".join(lines) + "\n")


def cpu_model():
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
