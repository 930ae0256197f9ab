"""openapi.yaml, and whether a request and its answer are as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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

FIRST_ERROR = 400

Content = Mapping[str, Any]
Handler = Callable[[Any, Any], Any]


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


# ── an exchange ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, from whichever client."""

    method: str
    path: str  # as the description has it
    query: Mapping[str, str]
    asked: str | None
    status: int
    headers: Mapping[str, str]
    answered: str

    @property
    def case(self) -> tuple[str, str, str]:
        """Return route, status and the error's code, empty where it is none."""
        return f"{self.method} {self.path}", str(self.status), self._code()

    def _code(self) -> str:
        if self.status < FIRST_ERROR:
            return ""
        page = ERROR_OF_PAGE.search(self.answered)
        return page[1] if page else str(json.loads(self.answered)["error"])

    def ensure_described(self, *, closely: bool) -> None:
        """Fail where the description does not say so; `closely`: no header more, either."""
        operation = operations()[self.method, self.path]
        assert str(self.status) in operation["responses"], f"undeclared: {self.case}"
        response = resolved(operation["responses"][str(self.status)])
        self._ensure_headers(response["headers"], closely=closely)
        if self.status < FIRST_ERROR:
            self._ensure_asked(operation)
        if "content" not in response:
            assert not self.answered, f"a body, undeclared: {self.case}"
            return
        kind = self.headers["content-type"]
        assert kind in response["content"], f"undeclared: {kind}"
        content = response["content"][kind]
        html = kind.startswith("text/html")
        value = self.answered if html else json.loads(self.answered)
        assert faults(content["schema"], value) == [], self.case
        if code := self._code():
            told = [resolved(one)["value"] for one in content["examples"].values()]
            codes = {ERROR_OF_PAGE.findall(one)[0] if html else one["error"] for one in told}
            assert code in codes, f"undeclared: {self.case}"

    def _ensure_headers(self, declared: Content, *, closely: bool) -> None:
        names = {name.lower(): resolved(one) for name, one in declared.items()}
        if closely:
            assert self.headers.keys() <= names.keys() | {"content-type"}, self.case
        for name, header in names.items():
            if name in self.headers:
                assert faults(header["schema"], self.headers[name]) == [], (self.case, name)
            else:
                assert not header.get("required"), (self.case, name)

    def _ensure_asked(self, operation: Content) -> None:
        """Hold a request that was answered well against what the description lets one ask."""
        for parameter in operation["parameters"]:
            if parameter["in"] == "query" and parameter["name"] in self.query:
                text, schema = self.query[parameter["name"]], parameter["schema"]
                value = int(text) if resolved(schema).get("type") == "integer" else text
                assert faults(schema, value) == [], (self.case, parameter["name"])
            else:
                assert parameter["in"] == "path" or not parameter.get("required"), self.case
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert faults(schema, json.loads(self.asked or "{}")) == [], self.case


def of_event(event: Mapping[str, Any], answer: Mapping[str, Any]) -> Exchange:
    """Return the exchange of an API Gateway event and a function's answer."""
    many = answer.get("multiValueHeaders", {})
    headers = answer["headers"] | {name: values[0] for name, values in many.items()}
    query = event.get("multiValueQueryStringParameters") or {}
    return Exchange(
        method=event["httpMethod"],
        path=event["resource"],
        query={name: values[0] for name, values in query.items()},
        asked=event.get("body"),
        status=answer["statusCode"],
        headers={name.lower(): value for name, value in headers.items()},
        answered=answer.get("body", ""),
    )


def checked(handler: Handler) -> Handler:
    """Let a function's every answer to the API be held against the description."""

    def handle(event: Any, context: Any) -> Any:
        answer = handler(event, context)
        if "resource" in event:
            of_event(event, answer).ensure_described(closely=True)
        return answer

    return handle


def cases() -> set[tuple[str, str, str]]:
    """Return every answer the broker itself may give: route, status, code of the error."""
    good = {
        (f"{method} {path}", status, "")
        for (method, path), operation in operations().items()
        for status in operation["responses"]
        if int(status) < FIRST_ERROR
    }
    return good | {
        (f"{method} {path}", status, name.removeprefix("page_"))
        for (method, path), status, _, content in answers()
        for name in content["examples"]
        if int(status) >= FIRST_ERROR and not name.startswith(GATEWAYS)
    }
