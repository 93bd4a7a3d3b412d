"""The scenarios."""

from __future__ import annotations

from client import Ask, ask
from scenario import Scenario, Setup, deployment, scenario


def sleep(seconds: float) -> Ask:
    return ask(str(seconds), path="sleep")


ONCE = {"x-litellm-num-retries": "0"}
PAIR = {"weight": 1}, {"weight": 0}


def one(name: str, *answers: str, stream: bool = False, **more: object) -> Scenario:
    """A single deployment, asked once."""
    return scenario(name, {"m": {"a": deployment(*answers, **more)}}, ask(stream=stream))


def two(name: str, *answers: str, stream: bool = False, closed: bool = False, times: int = 1) -> Scenario:
    """Two deployments, of which the first is the one chosen as long as it may be."""
    members = {"a": deployment(*answers, weight=1, closed=closed), "b": deployment(weight=0)}
    return scenario(name, {"m": members}, *[ask(stream=stream)] * times)


def falls(name: str, *answers: str, stream: bool = False, closed: bool = False, **more: object) -> Scenario:
    """A group with another to fall back to."""
    groups = {"m": {"a": deployment(*answers, closed=closed)}, "n": {"b": "ok"}}
    return scenario(name, groups, ask(stream=stream, **more), fallbacks={"m": ["n"]})


SINGLE = [
    one("ok"),
    one("ok-stream", stream=True),
    *[one(f"s{status}", str(status)) for status in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529)],
    *[one(f"s{status}-stream", str(status), stream=True) for status in (400, 401, 404, 429, 500)],
    one("html", "503 html"),
    one("context", "400 context"),
    one("policy", "400 policy"),
    one("error200", "error200"),
    one("error200-stream", "error200", stream=True),
    one("reset", "reset"),
    one("refused", closed=True),
    one("refused-stream", closed=True, stream=True),
    *[one(word, word, stream=True) for word in ("sse-error", "sse-cut", "late-error", "late-cut", "late-eof")],
    one("heals", "500", "ok"),
    one("heals-stream", "500", "ok", stream=True),
    one("heals-sse", "sse-error", "ok", stream=True),
    one("heals-reset", "reset", "ok"),
    scenario("retry-after", {"m": {"a": deployment("429 retry-after=2", "ok")}}, ask(), waits=True),
    one("retry-after-long", "429 retry-after=90", "ok"),
]

PAIRS = [
    *[two(f"two-{status}", str(status)) for status in (400, 401, 404, 429, 500, 503)],
    *[two(f"two-{status}-stream", str(status), stream=True) for status in (401, 429, 500)],
    two("two-reset", "reset"),
    two("two-refused", closed=True),
    two("two-sse-error", "sse-error", stream=True),
    two("two-late-error", "late-error", stream=True),
    two("two-429-again", "429", times=3),
    two("two-401-again", "401", times=3),
    scenario(
        "two-429-both",
        {"m": {name: deployment("429", "ok", weight=weight, cooldown_time=1) for name, weight in (("a", 1), ("b", 0))}},
        ask(),
        waits=True,
    ),
    scenario("order", {"m": {"a": deployment(order=2), "b": deployment(order=1)}}, ask()),
    scenario("order-500", {"m": {"a": deployment("500", order=1), "b": deployment(order=2)}}, ask()),
    scenario("order-none", {"m": {"a": deployment(), "b": deployment("401", order=1)}}, ask()),
    scenario("order-none-500", {"m": {"a": deployment(), "b": deployment("500", order=1)}}, ask()),
    scenario("order-400", {"m": {"a": deployment("400", order=1), "b": deployment(order=2)}}, ask()),
]

FALLBACKS = [
    *[falls(f"falls-{status}", str(status)) for status in (400, 401, 404, 408, 429, 500, 529)],
    *[falls(f"falls-{status}-stream", str(status), stream=True) for status in (401, 500)],
    falls("falls-context", "400 context"),
    falls("falls-policy", "400 policy"),
    falls("falls-refused", closed=True),
    falls("falls-sse-error", "sse-error", stream=True),
    falls("falls-sse-cut", "sse-cut", stream=True),
    falls("falls-late-error", "late-error", stream=True),
    falls("falls-late-cut", "late-cut", stream=True),
    falls("falls-ok-but-off", "500", disable_fallbacks=True),
    scenario("falls-both-down", {"m": {"a": "401"}, "n": {"b": "500"}}, ask(), fallbacks={"m": ["n"]}),
    scenario("falls-second", {"m": {"a": "401"}, "n": {"b": "401"}, "o": {"c": "ok"}}, ask(), fallbacks={"m": ["n", "o"]}),
    scenario(
        "falls-chain", {"m": {"a": "401"}, "n": {"b": "401"}, "o": {"c": "ok"}}, ask(), fallbacks={"m": ["n"], "n": ["o"]}
    ),
    scenario("falls-circle", {"m": {"a": "401"}, "n": {"b": "401"}}, ask(), fallbacks={"m": ["n"], "n": ["m"]}),
    scenario(
        "falls-most",
        {name: {name: "401"} for name in "mnopqrst"},
        ask(),
        fallbacks={"m": list("nopqrst")},
    ),
]

CLIENT = [
    scenario("client-retries-0", {"m": {"a": "500"}}, ask(headers=ONCE)),
    scenario("client-retries-1", {"m": {"a": "500"}}, ask(headers={"x-litellm-num-retries": "1"})),
    scenario("client-retries-body", {"m": {"a": "500"}}, ask(num_retries=1)),
    scenario("client-falls", {"m": {"a": "401"}, "n": {"b": "ok"}}, ask(fallbacks=["n"])),
    scenario("client-falls-object", {"m": {"a": "401"}, "n": {"b": "ok"}}, ask(fallbacks=[{"model": "client-falls-object.n"}])),
    scenario(
        "client-falls-first", {"m": {"a": "401"}, "n": {"b": "ok"}, "o": {"c": "ok"}}, ask(fallbacks=["o"]), fallbacks={"m": ["n"]}
    ),
    falls("mock-fallbacks", "ok", mock_testing_fallbacks=True),
    falls("mock-fallbacks-stream", "ok", stream=True, mock_testing_fallbacks=True),
    scenario("mock-no-fallbacks", {"m": {"a": "ok"}}, ask(mock_testing_fallbacks=True)),
    falls("mock-context", "ok", mock_testing_context_fallbacks=True),
    falls("mock-policy", "ok", mock_testing_content_policy_fallbacks=True),
    falls("mock-rate-limit", "ok", mock_testing_rate_limit_error=True),
]

PARAMS = [
    one("deployment-retries", "500", num_retries=1),
    one("deployment-max-retries", "500", max_retries=1),
    one("timeout", "slow=4 ok", timeout=1, num_retries=0),
    one("timeout-retried", "slow=3 ok", "ok", timeout=1),
    one("timeout-stream", "stall=4", timeout=1, num_retries=0, stream=True),
    one("stream-timeout", "stall=4", stream_timeout=1, num_retries=0, stream=True),
    one("stream-timeout-late", "late-stall=2", stream_timeout=1, num_retries=0, stream=True),
    scenario("client-timeout", {"m": {"a": "slow=4 ok"}}, ask(headers=ONCE | {"x-litellm-timeout": "1"})),
    scenario(
        "client-stream-timeout", {"m": {"a": "stall=4"}}, ask(stream=True, headers=ONCE | {"x-litellm-stream-timeout": "1"})
    ),
    scenario(
        "timeout-falls", {"m": {"a": deployment("slow=4 ok", timeout=1, num_retries=0)}, "n": {"b": "ok"}}, ask(), fallbacks={"m": ["n"]}
    ),
]

CLAUDE = "anthropic/claude-up"
VENDORS = [
    scenario("claude", {"m": {"a": deployment(target=CLAUDE)}}, ask(), ask(stream=True), ask(path="messages"), ask(path="messages", stream=True)),
    one("claude-529", "529", target=CLAUDE),
    scenario(
        "across",
        {"m": {"a": "401"}, "n": {"b": deployment(target=CLAUDE)}},
        ask(),
        ask(stream=True),
        fallbacks={"m": ["n"]},
    ),
    scenario(
        "across-back",
        {"m": {"a": deployment("529", target=CLAUDE)}, "n": {"b": "ok"}},
        ask(headers=ONCE),
        ask(stream=True, headers=ONCE),
        fallbacks={"m": ["n"]},
    ),
    scenario(
        "across-messages",
        {"m": {"a": deployment("401", target=CLAUDE)}, "n": {"b": deployment(target=CLAUDE)}},
        ask(path="messages"),
        ask(path="messages", stream=True),
        fallbacks={"m": ["n"]},
    ),
    scenario("messages-500", {"m": {"a": deployment("500", target=CLAUDE)}}, ask(path="messages")),
    scenario("embeddings", {"m": {"a": deployment("500", "ok")}}, ask(path="embeddings")),
]

NAMES = [
    scenario("alias", {"m": {"a": "ok"}}, ask("other"), ask("secret"), ask(path="models"), alias={"other": "m", "secret": {"model": "m", "hidden": True}}),
    scenario("alias-falls", {"m": {"a": "401"}, "n": {"b": "ok"}}, ask("other"), fallbacks={"m": ["n"]}, alias={"other": "m"}),
    scenario("alias-as-fallback", {"m": {"a": "401"}, "n": {"b": "ok"}}, ask(), fallbacks={"m": ["other"]}, alias={"other": "n"}),
    scenario("unknown", {"m": {"a": "ok"}}, ask("absent"), ask("absent", stream=True), ask("absent", path="messages")),
    scenario("by-id", {"m": {"a": "ok"}}, ask("a")),
    scenario("models", {"m": {"a": "ok", "b": "ok"}, "n": {"c": "ok"}}, ask(path="models")),
]

COOL = [
    scenario("single-again", {"m": {"a": "500"}}, *[ask(headers=ONCE)] * 7),
    scenario("single-401-again", {"m": {"a": "401"}}, *[ask(headers=ONCE)] * 3),
    scenario("single-429-again", {"m": {"a": "429"}}, *[ask(headers=ONCE)] * 3),
    scenario(
        "cooled-falls", {"m": {"a": "500"}, "n": {"b": "ok"}}, *[ask(headers=ONCE)] * 7, fallbacks={"m": ["n"]}
    ),
    scenario(
        "cooled-back",
        {"m": {"a": deployment("429", "ok", weight=1, cooldown_time=2), "b": deployment(weight=0)}},
        ask(), ask(), sleep(2.3), ask(),
    ),
    scenario(
        "cooled-retry-after",
        {"m": {"a": deployment("429 retry-after=2", "ok", weight=1), "b": deployment(weight=0)}},
        ask(), ask(), sleep(2.3), ask(),
    ),
    scenario(
        "cooled-own",
        {"m": {"a": deployment("429 retry-after=1", "ok", weight=1, cooldown_time=30), "b": deployment(weight=0)}},
        ask(), sleep(1.3), ask(),
    ),
    scenario("cooled-both", {"m": {"a": deployment("401", weight=1), "b": deployment("401", weight=0)}}, *[ask(headers=ONCE)] * 3),
]

NO_RETRIES = [
    one("no-500", "500"),
    two("no-two-401", "401"),
    two("no-two-500", "500"),
    scenario("no-but-asked", {"m": {"a": "500"}}, ask(headers={"x-litellm-num-retries": "1"})),
    falls("no-falls", "500"),
    falls("mock-off", "ok", mock_testing_fallbacks=True),
]

RETRY_POLICY = {
    "BadRequestErrorRetries": 1,
    "AuthenticationErrorRetries": 1,
    "TimeoutErrorRetries": 0,
    "RateLimitErrorRetries": 0,
    "ContentPolicyViolationErrorRetries": 1,
    "InternalServerErrorRetries": 1,
}
POLICIES = [
    *[one(f"policy-{status}", str(status)) for status in (400, 401, 404, 429, 500, 503)],
    one("policy-context", "400 context"),
    one("policy-content", "400 policy"),
    one("policy-timeout", "slow=3 ok", timeout=1),
    one("policy-reset", "reset"),
    two("policy-two-429", "429"),
    scenario(
        "policy-of-group",
        {"m": {"a": "500"}, "n": {"b": "429"}},
        ask(),
        ask("n"),
        group_retry_policy={"m": {"InternalServerErrorRetries": 0}, "n": {"RateLimitErrorRetries": 1}},
    ),
    scenario("policy-client", {"m": {"a": "500"}}, ask(headers={"x-litellm-num-retries": "2"})),
]

ALLOWED = [
    scenario("allowed", {"m": {"a": "500"}}, *[ask(headers=ONCE)] * 4),
    scenario("allowed-back", {"m": {"a": deployment("500", "500", "ok")}}, *[ask(headers=ONCE)] * 3, sleep(2.3), ask()),
    scenario(
        "allowed-two", {"m": {"a": deployment("500", weight=1), "b": deployment(weight=0)}}, *[ask(headers=ONCE)] * 4
    ),
    scenario("allowed-400", {"m": {"a": "400"}}, *[ask(headers=ONCE)] * 4),
    scenario("allowed-429", {"m": {"a": "429"}}, *[ask(headers=ONCE)] * 4),
    scenario("allowed-falls", {"m": {"a": "500"}, "n": {"b": "ok"}}, *[ask(headers=ONCE)] * 4, fallbacks={"m": ["n"]}),
    scenario("allowed-stream", {"m": {"a": "late-error"}}, *[ask(stream=True, headers=ONCE)] * 4),
]

NEVER_COOL = [
    two("never-429", "429", times=2),
    scenario("never-401", {"m": {"a": "401"}}, *[ask(headers=ONCE)] * 3),
]

DEFAULTS = [
    scenario(
        "default",
        {"n": {"b": "ok"}, "m": {"a": "401"}, "own": {"c": "401"}, "o": {"d": "ok"}, "down": {"e": "401"}, "p": {"f": "401"}, "long": {"g": "400 context"}},
        ask("absent"),
        ask("absent", stream=True),
        ask("absent", disable_fallbacks=True),
        ask("m"),
        ask("own"),
        ask("down"),
        ask("long"),
        fallbacks={"own": ["o"], "down": ["p"]},
    ),
]
DEFAULTS_ALONE = [scenario("default-alone", {"n": {"b": "ok"}, "m": {"a": "401"}}, ask("absent"), ask("absent", stream=True), ask("m"))]

DEFAULTS_WILD = [
    scenario("default-wild", {"n": {"b": "ok"}, "my-*": {"a": deployment(target="openai/*")}}, ask("absent"), ask("absent", stream=True)),
]

LONG = [{"role": "user", "content": "word " * 200}]
CHECKS = [
    scenario(
        "check-sibling",
        {"m": {"a": deployment(weight=1, info={"max_input_tokens": 20}), "b": deployment(weight=0, info={"max_input_tokens": 9000})}},
        ask(),
        ask(messages=LONG),
    ),
    scenario("check-none", {"m": {"a": deployment(info={"max_input_tokens": 20})}}, ask(messages=LONG)),
    scenario(
        "check-falls",
        {"m": {"a": deployment(info={"max_input_tokens": 20})}, "n": {"b": "ok"}},
        ask(messages=LONG),
        fallbacks={"m": ["n"]},
    ),
]

EU, US = deployment(weight=0, region_name="eu"), deployment(weight=1, region_name="us")
REGIONS = [
    scenario("region", {"m": {"a": EU, "b": US}}, ask(), ask(allowed_model_region="eu"), ask(allowed_model_region="us", stream=True)),
    scenario("region-unset", {"m": {"a": EU, "b": deployment(weight=1)}}, ask(allowed_model_region="eu")),
    scenario("region-none", {"m": {"b": US}}, ask(allowed_model_region="eu")),
    scenario("region-falls", {"m": {"b": US}, "n": {"a": EU}}, ask(allowed_model_region="eu"), fallbacks={"m": ["n"]}),
    scenario(
        "region-kept",
        {"m": {"a": deployment("401", region_name="eu")}, "n": {"b": US, "c": EU}},
        ask(allowed_model_region="eu"),
        fallbacks={"m": ["n"]},
    ),
]

TAGS = [
    scenario(
        "tags",
        {"m": {"a": deployment(tags=["red"]), "b": deployment(tags=["blue"])}},
        ask(tags=["red"]),
        ask(metadata={"tags": ["blue"]}),
        ask(headers={"x-litellm-tags": "blue"}),
        ask(tags=["green"]),
        ask(tags=["green", "red"]),
    ),
    scenario("tags-default", {"m": {"a": deployment(tags=["default"]), "b": deployment(tags=["blue"])}}, ask(), ask(tags=["green"])),
    scenario("tags-plain", {"m": {"a": deployment(weight=1), "b": deployment(weight=0, tags=["blue"])}}, ask(tags=["blue"]), ask()),
]

SPECIAL = [
    scenario(
        "special-context",
        {"m": {"a": "400 context"}, "n": {"b": "ok"}, "o": {"c": "ok"}},
        ask(),
        ask(stream=True),
        fallbacks={"m": ["n"]},
        context={"m": ["o"]},
    ),
    scenario(
        "special-policy",
        {"m": {"a": "400 policy"}, "n": {"b": "ok"}, "o": {"c": "ok"}},
        ask(),
        fallbacks={"m": ["n"]},
        policy={"m": ["o"]},
    ),
    falls("special-context-missing", "400 context"),
    falls("special-policy-missing", "400 policy"),
    scenario("special-mock", {"m": {"a": "ok"}, "n": {"b": "ok"}}, ask(mock_testing_context_fallbacks=True), context={"m": ["n"]}),
    scenario(
        "special-mock-policy", {"m": {"a": "ok"}, "n": {"b": "ok"}}, ask(mock_testing_content_policy_fallbacks=True), policy={"m": ["n"]}
    ),
    scenario("special-general", {"m": {"a": "401"}, "n": {"b": "ok"}, "o": {"c": "ok"}}, ask(), fallbacks={"m": ["n"]}, context={"m": ["o"]}),
]

STAR = "openai/*"
WILD = [
    scenario("wild", {"my-*": {"a": deployment(target=STAR)}}, ask("my-x1"), ask("my-x1", stream=True), ask("other")),
    scenario("wild-longest", {"my-*": {"a": deployment(target=STAR)}, "my-own-*": {"b": deployment(target=STAR)}}, ask("my-own-x"), ask("my-x")),
    scenario("wild-end", {"my-*-x": {"a": deployment(target=STAR)}}, ask("my-1-x"), ask("my-1-y"), ask("my-1-xy")),
    scenario("wild-two", {"*-at-*": {"a": deployment(target="openai/*-v-*")}}, ask("x-at-y")),
    scenario("wild-exact", {"my-*": {"a": deployment(target=STAR)}, "my-x": {"b": "ok"}}, ask("my-x"), ask("my-y")),
    scenario("wild-fixed", {"my-*": {"a": deployment(target="openai/fixed")}}, ask("my-x")),
    scenario("wild-falls", {"my-*": {"a": deployment("401", target=STAR)}, "n": {"b": "ok"}}, ask("my-x"), fallbacks={"my-x": ["n"]}),
    scenario("wild-falls-star", {"my-*": {"a": deployment("401", target=STAR)}, "n": {"b": "ok"}}, ask("my-x"), fallbacks={"my-*": ["n"]}),
    scenario("wild-to", {"m": {"a": "401"}, "my-*": {"b": deployment(target=STAR)}}, ask(), fallbacks={"m": ["my-x"]}),
    scenario("wild-alias", {"my-*": {"a": deployment(target=STAR)}}, ask("other"), alias={"other": "my-x"}),
    scenario("wild-models", {"my-*": {"a": deployment(target=STAR)}, "n": {"b": "ok"}}, ask(path="models")),
]

ASKED = [falls("asked-400", "400"), falls("asked-422", "422"), one("asked-none", "400")]

REFUSED = [scenario("falls-to-nobody", {"m": {"a": "401"}}, ask(), fallbacks={"m": ["absent"]})]

COST = [
    scenario(
        "cheapest",
        {
            "m": {
                "a": deployment(input_cost_per_token=2e-6, output_cost_per_token=2e-6),
                "b": deployment(input_cost_per_token=1e-6, output_cost_per_token=1e-6),
                "c": deployment(input_cost_per_token=3e-6, output_cost_per_token=3e-6),
            }
        },
        ask(), ask(),
    )
]
USAGE = [
    scenario("usage-rpm", {"m": {"a": deployment(rpm=2)}}, *[ask(headers=ONCE)] * 3),
]

MOCKS = {"dangerously_allow_mock_testing_request_params": True}
SETUPS = [
    Setup("plain", SINGLE + PAIRS + FALLBACKS + CLIENT + PARAMS + VENDORS + NAMES + COOL, general=MOCKS),
    Setup("no-retries", NO_RETRIES, router={"num_retries": 0}),
    Setup("policies", POLICIES, router={"retry_policy": RETRY_POLICY}),
    Setup("allowed-fails", ALLOWED, router={"allowed_fails": 1, "cooldown_time": 2}),
    Setup("never-cool", NEVER_COOL, router={"disable_cooldowns": True}),
    Setup("defaults", DEFAULTS, litellm={"default_fallbacks": ["default.n"]}),
    Setup("defaults-alone", DEFAULTS_ALONE, router={"default_fallbacks": ["default-alone.n"]}),
    Setup("defaults-wild", DEFAULTS_WILD, router={"default_fallbacks": ["default-wild.n"]}),
    Setup("checks", CHECKS, router={"enable_pre_call_checks": True}),
    Setup("regions", REGIONS, router={"enable_pre_call_checks": True}),
    Setup("tags", TAGS, router={"enable_tag_filtering": True}),
    Setup("special", SPECIAL, general=MOCKS),
    Setup("wildcards", WILD),
    Setup("asked-400", ASKED, own={"fallback_on_bad_request": True}),
    Setup("refused", REFUSED, refused=True),
    Setup("cost", COST, router={"routing_strategy": "cost-based-routing"}),
    Setup("usage", USAGE, router={"routing_strategy": "usage-based-routing-v2"}),
]
