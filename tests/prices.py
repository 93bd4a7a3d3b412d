"""Writes config/prices.json: `make prices SOURCE=model_prices_and_context_window.json`.

SOURCE is litellm's table of prices (MIT), dollars for a token. Kept is what this gateway can use: text models of the vendors in
src/config/vendor.rs with a price for tokens. Left out, so that their cost is unknown rather than wrong:

- models that make pictures, sound or video, and those with a fee for each request;
- prices of 0 for input, which the table also has for what it does not know;
- prices of batches, of the service tiers flex and priority, of off-peak hours, of searches, and of storage.

The lookup in src/meter/table.rs lives by the layout: a line for each price, with the names of the models that have it.
"""

import argparse
import collections
import datetime
import json
import pathlib
import re
import sys

MODES = ("audio_transcription", "chat", "completion", "embedding", "responses")
# Fees beside the tokens that no request goes without.
ALWAYS = ("input_cost_per_request", "citation_cost_per_token")
# litellm's names, ours. Written in this order.
KINDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
# xAI's higher price holds from the threshold on, that of the others above it.
INCLUSIVE = ("xai",)
ABOUT = """Dollars for a million tokens, in the order of the columns; then the same above a number of input tokens, which comes \
first; then the models. Written by tests/prices.py, which says what is left out, with `make prices`."""
SOURCE = "model_prices_and_context_window.json of litellm, https://github.com/BerriAI/litellm"
LICENCE = """MIT License. Copyright (c) 2023 Berri AI. Permission is hereby granted, free of charge, to any person obtaining a \
copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, \
including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the \
Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions: The above \
copyright notice and this permission notice shall be included in all copies or substantial portions of the Software. THE \
SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF \
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE \
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR \
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def million(dollars: float) -> int | float:
    """Dollars for a million tokens, without the noise of binary fractions."""
    price = round(float(dollars) * 1e6, 6)
    return int(price) if price == int(price) else price


def prices(entry: dict, vendor: str) -> list | None:
    """A model's prices, and those above each threshold, which comes first; `None` where there is nothing to say."""
    base = {ours: million(entry[key]) for key, ours in KINDS.items() if entry.get(key) is not None}
    # The older name.
    if entry.get("input_cost_per_token_cache_hit"):
        base.setdefault("cache_read", million(entry["input_cost_per_token_cache_hit"]))
    above = collections.defaultdict(dict)
    for key, value in entry.items():
        tier = re.fullmatch(r"(.+)_above_(\d+)(k?)_tokens", key)
        if tier and tier[1] in KINDS and value is not None:
            threshold = int(tier[2]) * (1000 if tier[3] else 1)
            above[threshold - (vendor in INCLUSIVE)][KINDS[tier[1]]] = million(value)
    for step in entry.get("tiered_pricing") or []:
        if "range" not in step:
            return None
        said = {ours: million(step[key]) for key, ours in KINDS.items() if step.get(key) is not None}
        start = int(step["range"][0])
        if start == 0:
            base |= said
        else:
            above[start] |= said
    if not base.get("input") or "output" not in base and entry["mode"] != "embedding":
        return None
    base.setdefault("output", 0)
    # Fireworks takes half for what was cached where it names no price, says litellm (1.109.1, in
    # llms/fireworks_ai/cache_pricing.py, beside the table).
    if vendor == "fireworks_ai" and entry["mode"] in ("chat", "completion") and not above:
        base.setdefault("cache_read", round(base["input"] / 2, 6))
    # What is said twice is left out: see the order of looking in src/meter/price.rs.
    for kind, general in (("reasoning", "output"), ("audio_input", "input"), ("audio_output", "output")):
        if base.get(kind) == base[general] and all(kind not in tier and general not in tier for tier in above.values()):
            del base[kind]
    return [numbers(base), *([threshold, *numbers(above[threshold])] for threshold in sorted(above))]


def numbers(said: dict) -> list:
    """In the order of KINDS, without what is unknown at the end."""
    row = [said.get(kind) for kind in KINDS.values()]
    while row and row[-1] is None:
        row.pop()
    return row


def model(key: str, vendor: str) -> str | None:
    """The name that the vendor's API takes, or `None` for what is no model but a class of them."""
    name = key.removeprefix(f"{vendor}/")
    if name == key and (vendor not in ("anthropic", "deepseek", "gemini", "openai") or "/" in name):
        return None
    if vendor == "fireworks_ai":
        name = name.removeprefix("accounts/fireworks/models/")
    return None if re.search(r'["\\*]', name) or name == "container" else name


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("source", type=pathlib.Path)
    arguments.add_argument("--date", default=datetime.date.today().isoformat(), help="of the source; today by default")
    chosen = arguments.parse_args()
    vendors = re.findall(r'^        name: "([^"]+)"', pathlib.Path("src/config/vendor.rs").read_text(), re.M)
    found = {vendor: {} for vendor in sorted(vendors)}
    table = json.loads(chosen.source.read_text())
    # The longest first: of two spellings of a name the one with its vendor is the exact one.
    for key, entry in sorted(table.items(), key=lambda item: -len(item[0])):
        vendor = entry.get("litellm_provider")
        makes = [field for field in entry if re.match(r"output_cost_per_(image|second|video|pixel|character)", field)]
        if vendor not in found or entry.get("mode") not in MODES or makes or any(entry.get(fee) for fee in ALWAYS):
            continue
        # Perplexity's own models search with every request.
        if vendor == "perplexity" and entry.get("search_context_cost_per_query"):
            continue
        if name := model(key, vendor):
            found[vendor].setdefault(name, prices(entry, vendor))
    found = {vendor: {name: row for name, row in models.items() if row} for vendor, models in found.items()}
    out = {"about": ABOUT, "columns": ", ".join(KINDS.values()), "source": SOURCE, "date": chosen.date, "licence": LICENCE}
    text = json.dumps(out, indent=0, ensure_ascii=False).removesuffix("\n}")
    for vendor, models in found.items():
        lines = collections.defaultdict(list)
        for name, row in models.items():
            lines[json.dumps(row, separators=(",", ":"))].append(name)
        if lines:
            rows = sorted((sorted(names), row) for row, names in lines.items())
            body = ",\n".join(f'{row[:-1]},{json.dumps(names, separators=(",", ":"))[1:]}' for names, row in rows)
            text += f',\n"{vendor}": [\n{body}\n]'
    print(text + "\n}")
    counts = ", ".join(f"{vendor} {len(models)}" for vendor, models in found.items() if models)
    print(f"prices: {sum(map(len, found.values()))} models: {counts}", file=sys.stderr)


main()
