"""What we do otherwise than litellm, and why. Nothing else may differ, and all of this has to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client import Result, differing


@dataclass
class Rule:
    """A difference in how the same decision is told. `fields` of a pair of results are explained where `holds`."""

    reason: str
    fields: tuple[str, ...]
    holds: Callable[[Result, Result], bool]


def failed(one: Result) -> bool:
    return one.kind != "-"


# The types of OpenAI's and Anthropic's errors by status; errors within a stream, whose status is 200, are the upstream's.
TYPES = {
    "400": {"invalid_request_error"},
    "404": {"invalid_request_error", "not_found_error"},
    "429": {"rate_limit_error"},
    "500": {"server_error", "api_error"},
    "502": {"server_error"},
    "503": {"server_error"},
    "504": {"server_error"},
    "529": {"server_error"},
    "200": {"server_error"},
}
CODES = {
    "None",
    "context_length_exceeded",
    "content_policy_violation",
    "model_not_found",
    "rate_limit_exceeded",
    "stream_failed",
    "upstream_credential_refused",
}


def retries_of(one: Result) -> int:
    """Calls within a group after its first."""
    return len(one.calls.split()) - 1 - int(one.fallbacks)


RULES = [
    Rule(
        "an error's type is OpenAI's or Anthropic's, as its SDK knows it; litellm has some of its own",
        ("kind",),
        lambda theirs, ours: failed(theirs) and ours.kind in TYPES.get(ours.status, {"invalid_request_error"}),
    ),
    Rule(
        "an error's code is the upstream's or ours; litellm's is the status once more",
        ("code",),
        lambda theirs, ours: failed(theirs) and theirs.code in (theirs.status, "500", "408", "None") and ours.code in CODES,
    ),
    Rule(
        "errors say how many attempts were made, in headers too",
        ("retries", "fallbacks"),
        lambda theirs, ours: failed(ours) and theirs.retries == theirs.fallbacks == "-" and ours.retries.isdigit(),
    ),
    Rule(
        "an upstream that refuses our key is a fault of the gateway, 502, and its words may tell of the key; the SDKs take a 401 for the client's own",
        ("status", "says"),
        lambda theirs, ours: theirs.status in ("401", "403")
        and (ours.status, ours.code, ours.says) == ("502", "upstream_credential_refused", "-"),
    ),
    Rule(
        "an upstream that cannot be reached or breaks off is 502, not 500",
        ("status",),
        lambda theirs, ours: (theirs.status, theirs.says, ours.status, ours.says) == ("500", "-", "502", "-"),
    ),
    Rule(
        "an upstream that takes too long is 504; 408 would say that the client was slow",
        ("status",),
        lambda theirs, ours: (theirs.status, ours.status) == ("408", "504"),
    ),
    Rule(
        "attempted-retries counts those in every group; litellm's, those in the last one",
        ("retries",),
        lambda theirs, ours: theirs.retries == "0" and ours.retries.isdigit() and int(ours.retries) == retries_of(ours) > 0,
    ),
    Rule(
        "attempted-fallbacks counts every group that was tried; litellm's is at most 1",
        ("fallbacks",),
        lambda theirs, ours: theirs.fallbacks == "1" and ours.fallbacks.isdigit() and int(ours.fallbacks) > 1,
    ),
]

# A difference in a decision: the reason, and the requests it shows in. What exactly both do there is in chosen.json, which
# `run.py --pin` writes: to be read before it is committed.
CHOSEN = {
    "asking again does not cure a 403": "s403[0]",
    "a stream that fails before any content is a failure as any other: it is retried, falls back, and has a status": """
        error200-stream[0] sse-error[0] sse-cut[0] heals-sse[0] two-sse-error[0] falls-sse-error[0] falls-sse-cut[0]
        timeout-stream[0] stream-timeout[0] client-stream-timeout[0]""",
    "stream_timeout is for the first content; a pause later is no reason to break off an answer": "stream-timeout-late[0]",
    "a deployment that said 429 is not asked again before its time: a retry waits for the first that is back": "two-429-both[0]",
    "a Retry-After that nobody waits for ends the attempts; litellm asks again nevertheless": "retry-after-long[0]",
    "a retry goes to another deployment, where there is one; litellm's goes by the weights again": """
        two-404[0] two-500[0] two-503[0] two-500-stream[0] two-reset[0] two-refused[0] never-429[0..1]""",
    "the next `order` is where a retry goes, and who has none comes last; for litellm it is a fallback, after all retries": """
        order-500[0] order-none-500[0]""",
    "a plain 400 is the client's fault, and would be one anywhere: it falls back if `fallback_on_bad_request` says so": """
        order-400[0] falls-400[0]""",
    "attempts at a closed port count, though the upstream does not see them": "falls-refused[0]",
    "529 is overload, which OpenAI's clients know as 503": "claude-529[0]",
    "of several failures the last one is told": "falls-both-down[0]",
    "max_fallbacks counts the groups that are tried; for litellm it is the depth": "falls-most[0]",
    "a mocked rate limit is one on every attempt, so it shows the fallback": "mock-rate-limit[0]",
    "requests may ask for mocked failures unless the configuration forbids it": "mock-off[0]",
    "an entry's `max_retries` holds": "deployment-max-retries[0]",
    "the client's own number of retries wins over `retry_policy`": "policy-client[0]",
    "a lone deployment cools down too when failures come one after the other, so that clients need not wait for it": """
        single-again[4..6] cooled-falls[4..6] allowed[2..3] allowed-back[2] allowed-429[2..3] allowed-stream[2..3]""",
    "a group that cools down is 503, unless rate limits are the cause": "cooled-both[2] single-401-again[1..2]",
    "when a retry finds nobody, the failure before it is told": "policy-401[0]",
    "an unknown model is 404, as at OpenAI and Anthropic": "unknown[0..2] wild[2] wild-end[1] default[2]",
    "default fallbacks serve unknown models, and are told as fallbacks; litellm's need a wildcard model beside them": """
        default[0..1] default-alone[0..1] default-wild[0..1]""",
    "a fallback that fails has the default ones left": "default[5]",
    "a prompt that is too long falls back, whether the upstream says so or `enable_pre_call_checks` finds it": "check-falls[0]",
    "a wildcard holds for the whole name; litellm's, for its beginning": "wild-end[2]",
    "a region where a group has no deployment is the client's fault, 400": "region-none[0]",
    "tags that nobody has are the client's fault, 400": "tags[3]",
    "a group without special fallbacks has the general ones": "special-context-missing[0] special-policy-missing[0]",
    "a fallback that does not exist is refused at the start": "falls-to-nobody[0]",
    "`rpm: 2` is two requests a minute": "usage-rpm[1]",
    "a group's fallbacks hold for whatever name it is called by": "alias-falls[0] wild-falls-star[0]",
}
PINNED = Path(__file__).with_name("chosen.json")


def expand(names: str) -> list[str]:
    """`s[0] s[2..4]`: the requests of a scenario."""
    places = []
    for name in names.split():
        scenario, _, number = name.removesuffix("]").partition("[")
        first, _, last = number.partition("..")
        places += [f"{scenario}[{place}]" for place in range(int(first), int(last or first) + 1)]
    return places


Rows = dict[str, tuple[Result, Result]]


def both(theirs: Result, ours: Result) -> dict[str, str]:
    return {"litellm": str(theirs), "feathergate": str(ours)}


def pin(rows: Rows, whole: bool) -> None:
    """Writes down what both did where a difference is listed."""
    known = {} if whole else json.loads(PINNED.read_text())
    listed = {place for names in CHOSEN.values() for place in expand(names)}
    known |= {place: both(*pair) for place, pair in rows.items() if place in listed}
    PINNED.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def unexplained(theirs: Result, ours: Result, used: set[str]) -> list[str]:
    """The fields that differ and that no rule explains. The rules that were needed go to `used`."""
    left = differing(theirs, ours)
    for rule in RULES:
        if any(name in rule.fields for name in left) and rule.holds(theirs, ours):
            used.add(rule.reason)
            left = [name for name in left if name not in rule.fields]
    return left


def verdict(rows: Rows, whole: bool) -> list[str]:
    """What is wrong: differences that are not listed, and listed ones that are none. `whole`: all scenarios were run."""
    wrong = []
    reasons = {place: reason for reason, names in CHOSEN.items() for place in expand(names)}
    pinned = json.loads(PINNED.read_text())
    used: set[str] = set()
    count = dict.fromkeys(["same", "told otherwise", "chosen", "WRONG"], 0)
    for place, (theirs, ours) in rows.items():
        left = unexplained(theirs, ours, used)
        listed = place in reasons
        if not left and not listed:
            kind = "told otherwise" if differing(theirs, ours) else "same"
        elif left and listed and pinned.get(place) == both(theirs, ours):
            kind = "chosen"
        else:
            kind = "WRONG"
            if not listed:
                why = f"differs in {', '.join(left)}"
            elif not left:
                why = "is listed as a difference, and there is none"
            else:
                why = f"is listed, but chosen.json has {json.dumps(pinned.get(place), indent=4, ensure_ascii=False)}"
            wrong.append(f"{place}: {why}\n    litellm      {theirs}\n    feathergate  {ours}")
        count[kind] += 1
        print(f"{kind:15}{place:28}{ours}")
        if kind in ("chosen", "WRONG"):
            print(f"{'':15}{'  litellm':28}{theirs}")
        if kind == "chosen":
            print(f"{'':15}  because {reasons[place]}")
    if whole:
        wrong += [f"no difference: {rule.reason}" for rule in RULES if rule.reason not in used]
        wrong += [f"{place}: is listed, and there is no such request" for place in reasons if place not in rows]
    scenarios = len({place.partition("[")[0] for place in rows})
    print(f"\n{scenarios} scenarios, {len(rows)} requests: " + ", ".join(f"{number} {kind}" for kind, number in count.items()))
    print("told otherwise:", *(f"    {reason}" for reason in sorted(used)), sep="\n")
    return wrong
