"""How scenarios are written down, and how many of them make one configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client import KEY, Ask
from upstream import Upstream


@dataclass
class Deployment:
    """What it answers, and its `litellm_params`."""

    answers: list[str]
    params: dict
    info: dict
    target: str
    closed: bool


def deployment(*answers: str, target: str = "openai/up", closed: bool = False, info: Mapping = {}, **params: object) -> Deployment:
    """`closed`: its port is closed. `target` is `provider/model`."""
    return Deployment(list(answers) or ["ok"], dict(params), dict(info), target, closed)


@dataclass
class Scenario:
    """Requests to some groups of its own, one after the other."""

    name: str
    groups: dict[str, dict[str, Deployment]]
    asks: list[Ask]
    lists: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    alias: dict[str, object] = field(default_factory=dict)
    settings: dict[str, dict] = field(default_factory=dict)
    waits: bool = False

    @property
    def prefix(self) -> str:
        return f"{self.name}."


def scenario(
    name: str,
    groups: Mapping[str, Mapping[str, Deployment | str]],
    *asks: Ask,
    fallbacks: Mapping[str, list[str]] = {},
    context: Mapping[str, list[str]] = {},
    policy: Mapping[str, list[str]] = {},
    alias: Mapping[str, object] = {},
    group_retry_policy: Mapping[str, Mapping] = {},
    waits: bool = False,
) -> Scenario:
    """`groups` are names with their deployments, which are their answers or more; the rest is the scenario's share of lists."""
    full = {
        group: {one: made if isinstance(made, Deployment) else deployment(made) for one, made in members.items()}
        for group, members in groups.items()
    }
    lists = {"fallbacks": fallbacks, "context_window_fallbacks": context, "content_policy_fallbacks": policy}
    settings = {"model_group_retry_policy": dict(group_retry_policy)}
    return Scenario(name, full, list(asks), {key: dict(value) for key, value in lists.items()}, dict(alias), settings, waits)


@dataclass
class Setup:
    """Settings that some scenarios share: one file, one process of each gateway."""

    name: str
    scenarios: list[Scenario]
    router: dict = field(default_factory=dict)
    litellm: dict = field(default_factory=dict)
    general: dict = field(default_factory=dict)
    own: dict = field(default_factory=dict)
    # A gateway may refuse this file.
    refused: bool = False

    def config(self, upstream: Upstream) -> dict:
        models: list[dict] = []
        router: dict = {}
        for one in self.scenarios:
            models += [
                entry(one, group, name, made, upstream) for group, members in one.groups.items() for name, made in members.items()
            ]
            for key, value in one.lists.items():
                named = [{one.prefix + group: [one.prefix + name for name in names]} for group, names in value.items()]
                if named:
                    router.setdefault(key, []).extend(named)
            for name, target in one.alias.items():
                full = {**target, "model": one.prefix + target["model"]} if isinstance(target, dict) else f"{one.prefix}{target}"
                router.setdefault("model_group_alias", {})[one.prefix + name] = full
            for key, value in one.settings.items():
                if value:
                    router.setdefault(key, {}).update({one.prefix + group: policy for group, policy in value.items()})
        return {
            "model_list": models,
            "router_settings": router | self.router,
            "litellm_settings": self.litellm,
            "general_settings": {"master_key": KEY} | self.general,
        } | ({"feathergate": self.own} if self.own else {})


def entry(one: Scenario, group: str, name: str, made: Deployment, upstream: Upstream) -> dict:
    root = upstream.closed_url if made.closed else f"{upstream.url}/{one.name}/{name}"
    base = root if made.target.startswith("anthropic/") else root + "/v1"
    params = {"model": made.target, "api_base": base, "api_key": "upstream-key"} | made.params
    return {"model_name": one.prefix + group, "litellm_params": params, "model_info": {"id": one.prefix + name} | made.info}
