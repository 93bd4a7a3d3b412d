"""Holds what `wire.rs` and `route.rs` measured against the bars, as medians of each profile.

`wire_bars.py CRITERION_FOLDER PROFILE …`

Python's standard library only. A figure below its bar is marked, and the exit code is 1 if the last profile has one.
"""

import json
import sys
from pathlib import Path

# Microseconds for a small request, nanoseconds for a frame, bytes a second for a splice, times serde_json's `Value`;
# nanoseconds for a choice among a hundred deployments.
SMALL_US, FRAME_NS, SPLICE_GBS, LARGE_TIMES, CHOICE_NS = 25, 1500, 1.0, 3, 1000


def measured(folder, profile):
    """`{id: (median in ns, bytes or elements)}`."""
    found = {}
    for file in Path(folder).glob(f"**/{profile}/estimates.json"):
        about = json.loads(file.with_name("benchmark.json").read_text())
        size = next(iter((about["throughput"] or {"": 0}).values()))
        found[about["full_id"]] = (json.loads(file.read_text())["median"]["point_estimate"], size)
    return found


def rows(found):
    """Title, figure, bar, unit, and whether more is better."""
    for name, (ns, size) in sorted(found.items()):
        group, _, rest = name.rpartition("/")
        if name.startswith("splice/"):
            yield name, size / ns, SPLICE_GBS, "GB/s", True
        elif group == "request/4k/convert":
            yield f"{name} ({size} bytes)", ns / 1e3, SMALL_US, "µs", False
        elif group == "request/1m/convert":
            value = found[f"request/1m/value/{rest.split('-')[0]}"][0]
            yield name, ns / value, LARGE_TIMES, "times Value", False
        elif group == "stream":
            yield f"{name}, a frame", ns / size, FRAME_NS, "ns", False
        elif group == "choose":
            yield f"{name}, of 100", ns, CHOICE_NS, "ns", False
        else:
            yield name, ns / 1e3, None, "µs", False


def main():
    folder, *profiles = sys.argv[1:]
    all_found = {profile: dict(((row[0], row) for row in rows(measured(folder, profile)))) for profile in profiles}
    titles = sorted(set().union(*all_found.values()))
    print("## Conversion and routing by themselves\n")
    print("| what | " + " | ".join(profiles) + " | bar |")
    print("|---|" + "---|" * (len(profiles) + 1))
    below = False
    for title in titles:
        cells, bar = [], ""
        for profile in profiles:
            if title not in all_found[profile]:
                cells.append("")
                continue
            _, figure, want, unit, more = all_found[profile][title]
            good = want is None or (figure >= want if more else figure <= want)
            below = not good if profile == profiles[-1] and not good else below
            cells.append(f"{figure:,.2f} {unit}{'' if good else ' BELOW'}")
            if want is not None:
                bar = f"at {'least' if more else 'most'} {want} {unit}"
        print(f"| {title} | " + " | ".join(cells) + f" | {bar} |")
    sys.exit(1 if below else 0)


if __name__ == "__main__":
    main()
