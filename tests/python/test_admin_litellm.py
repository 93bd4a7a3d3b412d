"""Keys, teams and models by litellm's own client."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
import requests

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from litellm.proxy.client.exceptions import UnauthorizedError  # noqa: E402
from litellm.proxy.client.keys import KeysManagementClient  # noqa: E402
from litellm.proxy.client.model_groups import ModelGroupsManagementClient  # noqa: E402
from litellm.proxy.client.models import ModelsManagementClient  # noqa: E402
from litellm.proxy.client.teams import TeamsManagementClient  # noqa: E402

from support import HELLO, MASTER, Gateway, bearer, config, http_request  # noqa: E402


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("litellm")
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": "hello"}}
        for name in ("fast", "smart")
    ]
    text = config(models, feathergate={"store": f"sqlite:{folder / 'keys.db'}"})
    gateway = Gateway(text, folder, {}, (), "litellm").listen()
    yield gateway.url
    gateway.stop()
    gateway.check_output()


def ask(url: str, key: str, model: str = "fast") -> int:
    body = json.dumps({"model": model, "messages": HELLO}).encode()
    return http_request(url, "POST", "/v1/chat/completions", body, bearer(key)).status


def test_the_life_of_a_key(url: str) -> None:
    keys = KeysManagementClient(url, MASTER)
    made = keys.generate(models=["fast"], duration="24h", key_alias="mine", user_id="u")
    secret, token = made["key"], made["token"]
    assert secret.startswith("sk-fg-") and made["key_alias"] == "mine" and made["expires"]
    assert ask(url, secret) == 200
    assert ask(url, secret, "smart") in (401, 403)

    info = keys.info(secret)
    assert info["key"] == token and info["info"]["models"] == ["fast"] and info["info"]["user_id"] == "u"
    assert keys.info(token)["info"] == info["info"]

    keys.update(token, models=["smart"], key_alias="ours")
    assert ask(url, secret, "smart") == 200
    listed = keys.list(page=1, size=10, user_id="u", return_full_object=True, include_team_keys=False)
    assert [key["key_alias"] for key in listed["keys"]] == ["ours"] and listed["total_count"] == 1
    assert keys.list()["keys"] == [token]

    assert keys.delete(keys=[secret]) == {"deleted_keys": [token]}
    assert ask(url, secret, "smart") == 401
    assert keys.list()["keys"] == []


def test_what_is_wrong_is_told_as_its_client_expects(url: str) -> None:
    with pytest.raises(UnauthorizedError):
        KeysManagementClient(url, "sk-wrong").list()
    keys = KeysManagementClient(url, MASTER)
    for wrong in ({"models": ["nothing"]}, {"duration": "soon"}, {"spend": 5.0}, {"budget_id": "b"}, {"aliases": {"a": "b"}}):
        with pytest.raises(requests.HTTPError) as caught:
            keys.generate(**wrong)
        error = caught.value.response.json()["error"]
        assert caught.value.response.status_code == 400 and error["code"] == "400"
        assert error["param"].startswith(next(iter(wrong))), error


def test_teams_and_models(url: str) -> None:
    made = requests.post(f"{url}/team/new", json={"team_id": "t", "max_budget": 2.5}, headers=bearer(), timeout=9).json()
    assert TeamsManagementClient(url, MASTER).list() == [made]
    models = ModelsManagementClient(url, MASTER)
    assert {model["model_name"] for model in models.info()} == {"fast", "smart"}
    assert models.get(model_name="fast")["litellm_params"]["model"] == "openai/gpt-4o-mini"
    groups = ModelGroupsManagementClient(url, MASTER).info()
    assert [group["model_group"] for group in groups] == ["fast", "smart"]
    assert groups[0]["input_cost_per_token"] == 1.5e-07
