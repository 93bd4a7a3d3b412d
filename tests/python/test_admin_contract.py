"""The OpenAPI document is a valid one, and the running server keeps to it, whatever comes: no failure of its own, no answer that
the document does not describe, nothing accepted that it rules out."""

from __future__ import annotations

import json
import re
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


def schemas(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        if "pattern" in value and "examples" in value:
            yield value
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from schemas(one)


def test_no_pattern_rules_out_its_own_examples(document: dict) -> None:
    found = list(schemas(document))
    assert len({schema["pattern"] for schema in found}) > 6
    for schema in found:
        for example in schema["examples"]:
            assert re.search(schema["pattern"], example) and len(example) <= schema["maxLength"], (schema, example)


def test_no_pattern_rules_out_what_is_taken(server: Gateway, document: dict) -> None:
    fields = document["components"]["schemas"]["Key"]["properties"]
    patterns = {
        "budget_duration": fields["budget_duration"]["anyOf"][0]["pattern"],
        "allowed_ips": fields["allowed_ips"]["items"]["pattern"],
        "allowed_routes": fields["allowed_routes"]["items"]["pattern"],
    }
    good = {
        "budget_duration": ["3600s", "1440m", "30d", "1mo", "36525d", "1000000000s"],
        "allowed_ips": ["203.0.113.7", "10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:10.0.0.0/104", "255.255.255.255/32", "0.0.0.0/0"],
        "allowed_routes": ["/", "/*", "/v1/messages", "/" + 199 * "a"],
    }
    for name, values in good.items():
        for value in values:
            body = json.dumps({name: value if name == "budget_duration" else [value]}).encode()
            answer = http_request(server.url, "POST", "/key/generate", body, {"authorization": f"Bearer {MASTER}"})
            assert answer.status == 200, (name, value, answer.json)
            assert re.search(patterns[name], value), (name, value)


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
