"""openapi.yaml says what README, the template and the errors of the domain say."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests import described
from tests.readme.test_readme import README
from tests.template.deployed import Deployed
from tests.template.test_api import IAM_ROUTES, PUBLIC_ROUTES
from tests.template.test_api import operations as of_template
from token_broker.domain import errors
from token_broker.domain.connection import Degraded, Reason, Status
from token_broker.runtime.http_api import status_code

API = README.partition("\n## The API")[2].partition("\n## ")[0]
SCHEMAS = described.DESCRIPTION["components"]["schemas"]
EXAMPLES = described.DESCRIPTION["components"]["examples"]
TOLD = {
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, errors.TokenBrokerError)
}
ANSWERS = list(described.answers())
NAMED = [f"{method} {path} {status}" for (method, path), status, *_ in ANSWERS]
KINDS = {
    "DEFAULT_4XX": "gateway_refused",
    "DEFAULT_5XX": "gateway_failed",
    "THROTTLED": "gateway_throttled",
    "INTEGRATION_TIMEOUT": "gateway_timeout",
}


def test_it_is_openapi() -> None:
    assert [
        one.message for one in OpenAPIV31SpecValidator(described.DESCRIPTION).iter_errors()
    ] == []


def test_its_routes_are_the_templates_and_so_is_who_may_reach_them(stack: Deployed) -> None:
    described_routes = described.operations()
    assert described_routes.keys() == of_template(stack).keys()
    public = {route for route, found in described_routes.items() if found.get("security") == []}
    assert (public, described_routes.keys() - public) == (PUBLIC_ROUTES, IAM_ROUTES)


def test_the_signed_routes_are_those_of_readmes_table_with_their_members() -> None:
    stated = re.findall(r"`(GET|POST|DELETE) (/[^`\s?\[]*)[^`]*`", API)
    assert set(stated) == IAM_ROUTES
    for (method, path), operation in described.operations().items():
        body = operation.get("requestBody")
        if body and (method, path) in IAM_ROUTES:
            schema = described.resolved(body["content"]["application/json"]["schema"])
            (named,) = re.findall(rf"`{method} {re.escape(path)}` `{{([^}}]*)}}`", API)
            assert set(re.findall(r"\w+", named)) == schema["properties"].keys()


def test_its_errors_are_readmes_with_the_status_of_each() -> None:
    table = {
        (status, code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", API, re.MULTILINE)
        for code in re.findall(r"\w+", codes)
    }
    ours = {
        (status, value["error"])
        for _, status, kind, content in ANSWERS
        if kind == "application/json" and int(status) >= 400
        for value in described.examples_of(content).values()
    }
    # README tells of the gateway's refusals in words; a page's error is told among the pages.
    assert ours - {("403", "invalid_request"), ("502", "server_error")} == table - {
        ("409", "stale_generation"),
        ("503", "exchange_in_progress"),
    }


@pytest.mark.parametrize(("answer", "name"), [*zip(ANSWERS, NAMED, strict=True)], ids=NAMED)
def test_every_example_is_as_its_schema_says(answer: Any, name: str) -> None:
    *_, content = answer
    for value in described.examples_of(content).values():
        assert described.faults(content["schema"], value) == [], name


@pytest.mark.parametrize(
    "code",
    sorted(one for one in EXAMPLES if one in SCHEMAS["Error"]["properties"]["error"]["enum"]),
)
def test_an_errors_example_says_what_the_code_says(code: str) -> None:
    value = EXAMPLES[code]["value"]
    assert value["error"] == code
    said = {one.description for one in TOLD if one.error == code}
    assert code == "invalid_request" or value["error_description"] in said


def test_the_status_of_an_error_is_the_codes() -> None:
    statuses: dict[str, set[int]] = {}
    for one in TOLD:
        if one.error != "server_error" or issubclass(one, errors.BrokerMisconfigured):
            statuses.setdefault(one.error, set()).add(status_code(one.__new__(one)))
    for _, status, _, content in ANSWERS:
        for name in content["examples"]:
            code = name.removeprefix("page_")
            if code in statuses:
                assert int(status) in statuses[code], (code, status)


def test_its_states_reasons_and_degrees_are_the_codes() -> None:
    shown = SCHEMAS["Connection"]["properties"]
    assert shown["status"]["enum"] == list(Status)
    assert shown["reason"]["enum"] == list(Reason)
    assert shown["degraded"]["enum"] == list(Degraded)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_gateway_answers_itself_is_the_templates(stack: Deployed, kind: str) -> None:
    body = stack.properties("Api")["Body"]
    answer = body["x-amazon-apigateway-gateway-responses"][kind]
    template = answer["responseTemplates"]["application/json"]
    text = template.replace("$context.error.messageString", '"Missing Authentication Token"')
    name = KINDS[kind]
    assert EXAMPLES[name]["value"] == json.loads(text)
    sent = {header.rpartition(".")[2] for header in answer["responseParameters"]}
    for _, status, _, content in ANSWERS:
        if name in content["examples"] and "statusCode" in answer:
            assert status == answer["statusCode"]
    for response in described.DESCRIPTION["components"]["responses"].values():
        if name in response["content"]["application/json"]["examples"]:
            assert response["headers"].keys() == sent
