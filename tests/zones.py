"""Writes src/calendar/zones.txt: `pip install tzdata && python tests/zones.py > src/calendar/zones.txt`.

Of each zone only the rule in force is kept, which ends its file in the database (RFC 8536, section 3.3).
"""

import collections
import importlib.resources
import textwrap

import tzdata

root = importlib.resources.files("tzdata")
zones = collections.defaultdict(list)
for name in sorted(root.joinpath("zones").read_text().split()):
    data = root.joinpath("zoneinfo", *name.split("/")).read_bytes()
    zones[data.rstrip(b"\n").rsplit(b"\n", 1)[1].decode()].append(name)

print(f"# IANA tzdata {tzdata.IANA_VERSION} (public domain), by tests/zones.py: each rule with the zones that live by it.")
for rule in sorted(zones):
    print(rule)
    print(textwrap.fill(" ".join(zones[rule]), 128, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False))
