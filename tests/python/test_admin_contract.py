"""The OpenAPI document is a valid one, and the running server keeps to it, whatever comes: no failure of its own, no answer that
the document does not describe, nothing accepted that it rules out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from support import MASTER, Gateway, config, http_request

# Operations that end what the others need, and calls of models, whose bodies are their vendors'.
CALLS = "calls"
# Cases for each operation and kind of data.
EXAMPLES = 25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("contract")
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": "hello"}}
        for name in ("fast", "smart")
    ]
    text = config(models, feathergate={"store": f"sqlite:{folder / 'contract.db'}"})
    gateway = Gateway(text, folder, {}, (), "contract").listen()
    yield gateway
    gateway.stop()
    gateway.check_output()


@pytest.fixture(scope="module")
def document(server: Gateway) -> dict:
    answer = http_request(server.url, "GET", "/openapi.json")
    assert answer.status == 200
    return answer.json


def test_the_document_is_valid(document: dict) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def operations(document: dict) -> list[tuple[str, str]]:
    return [
        (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if CALLS not in operation["tags"]
    ]


def test_every_operation_keeps_to_the_document(server: Gateway, document: dict) -> None:
    # Who asks is not what is tried here: every request has the master key.
    open_to_all = {name: value for name, value in document.items() if name != "security"}
    del open_to_all["components"]["securitySchemes"]
    schema = schemathesis.openapi.from_dict(open_to_all)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    tried, wrong = 0, []
    for path, method in operations(document):
        operation = schema[path][method]
        takes = document["paths"][path][method].keys() & {"parameters", "requestBody"}
        # Where nothing is taken, nothing can be wrong.
        for mode in GenerationMode if takes else [GenerationMode.POSITIVE]:

            @seed(7)
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def run(case: schemathesis.Case) -> None:
                nonlocal tried
                tried += 1
                case.call_and_validate(
                    base_url=server.url,
                    headers={"authorization": f"Bearer {MASTER}"},
                    checks=checks + ([negative_data_rejection] if mode.is_negative else []),
                )

            try:
                run()
            except (FailureGroup, Failure) as failure:
                wrong.append(f"{method} {path} ({mode.value}): {failure} {getattr(failure, 'exceptions', '')}")
    assert not wrong, "\n\n".join(wrong)
    assert tried > 20 * len(operations(document)), tried
