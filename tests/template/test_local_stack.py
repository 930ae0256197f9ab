"""The stack on one machine is the shipped one but for what is said here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from local.build import local_template
from local.public_address import TIMED_OUT
from tests.template.deployed import ROOT, Deployed, deployed

TEXT = (ROOT / "template.yaml").read_text()
MAY_DIFFER = {
    "Runtime",
    "Architectures",
    "CompatibleRuntimes",
    "CompatibleArchitectures",
    "BuildMethod",
    "BuildArchitecture",
}


def differences(one: Any, other: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths at which two parsed templates differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differences(one.get(name), other.get(name), (*at, name))
    elif one != other:
        yield at


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.14"])
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_a_local_build_differs_in_architecture_and_python_only(
    python: str, architecture: str
) -> None:
    local = local_template(TEXT, python=python, architecture=architecture)
    found = set(differences(yaml_parse(TEXT), yaml_parse(local)))
    assert found
    assert {path[-1] for path in found} <= MAY_DIFFER


def test_a_local_build_on_the_shipped_platform_is_the_shipped_template() -> None:
    assert local_template(TEXT, python="python3.13", architecture="arm64") == TEXT


def test_the_embedded_aws_is_spared_two_conditions_it_does_not_know() -> None:
    """It speaks plain HTTP, and knows no condition keys of KMS's."""
    shipped, embedded = deployed(EmbeddedAws="false"), deployed(EmbeddedAws="true")
    left_out = shipped.resources.keys() - embedded.resources.keys()
    assert left_out == {"EscrowBucketPolicy"}
    assert embedded.resources.keys() <= shipped.resources.keys()
    unconditioned = {
        name: without_key_conditions(resource) for name, resource in shipped.resources.items()
    }
    for name, resource in embedded.resources.items():
        assert resource == unconditioned[name]


def without_key_conditions(node: Any) -> Any:
    """Return a resource with the conditions of its KMS statements taken out."""
    if isinstance(node, list):
        return [without_key_conditions(value) for value in node]
    if not isinstance(node, dict):
        return node
    is_about_the_key = node.get("Resource") == "TokenKey.Arn"
    return {
        name: without_key_conditions(value)
        for name, value in node.items()
        if not (is_about_the_key and name == "Condition")
    }


def test_the_public_address_cuts_answers_off_in_the_gateways_words(stack: Deployed) -> None:
    answers = stack.properties("Api")["Body"]["x-amazon-apigateway-gateway-responses"]
    template = answers["INTEGRATION_TIMEOUT"]["responseTemplates"]["application/json"]
    assert json.loads(TIMED_OUT) == json.loads(template)


def test_the_local_stack_binds_codes_as_the_shipped_one_does() -> None:
    for file in ("local/stack.py", "local/deploy.py", "tests/foreign_provider/conftest.py"):
        text = (ROOT / file).read_text()
        assert not [name for name in ("SendPkce", "CodeBinding") if name in text]
