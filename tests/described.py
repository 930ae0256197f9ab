"""openapi.yaml, and whether a request and its answer are as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    FormatChecker,
)
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = Path(__file__).parents[1] / "openapi.yaml"
DESCRIPTION: dict[str, Any] = yaml.safe_load(PATH.read_text())
METHODS = {"get", "post", "delete"}
GATEWAYS = "gateway_"  # how the examples of its own answers begin
ERROR_OF_PAGE = re.compile(r"<small>Error: ([a-z_]+)</small>")

Content = Mapping[str, Any]


def resolved(node: Any) -> Any:
    """Return what a reference leads to."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = DESCRIPTION
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Return every operation by method and path, the parameters of its path with it."""
    return {
        (method.upper(), path): {
            **operation,
            "parameters": [
                resolved(one)
                for one in item.get("parameters", []) + operation.get("parameters", [])
            ],
        }
        for path, item in DESCRIPTION["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def answers() -> Iterator[tuple[tuple[str, str], str, str, dict[str, Any]]]:
    """Go through route, status, kind and content of every answer that has a body."""
    for route, operation in operations().items():
        for status, response in operation["responses"].items():
            for kind, content in resolved(response).get("content", {}).items():
                yield route, status, kind, content


def examples_of(content: Content) -> dict[str, Any]:
    return {name: resolved(one)["value"] for name, one in content["examples"].items()}


def _closed(node: Any) -> Any:
    """Return the description with every object shut: for a test a member more is a fault.

    For a client it is not: what it does not know it passes over.
    """
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    shut = {name: _closed(one) for name, one in node.items()}
    if node.get("type") == "object":
        shut["additionalProperties"] = False
    return shut


@cache
def _registry() -> Registry[Any]:
    resource = Resource.from_contents(_closed(DESCRIPTION), default_specification=DRAFT202012)
    made: Registry[Any] = Registry().with_resource("urn:broker", resource)
    return made


def faults(schema: Content, value: Any) -> list[str]:
    """Return in what a value differs from a schema; never the value itself."""
    text = json.dumps(_closed(schema)).replace('"#/', '"urn:broker#/')
    validator = Draft202012Validator(
        json.loads(text), registry=_registry(), format_checker=FormatChecker()
    )
    return [
        f"{one.json_path}: {one.validator} {json.dumps(one.schema)[:200]}"
        for one in validator.iter_errors(value)
    ]
