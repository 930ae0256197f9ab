"""The template as CloudFormation carries it out: transformed by SAM, intrinsic functions resolved.

A resource's `!Ref` resolves to its logical id and its attributes to `LogicalId.Attribute`, so that
tests can name what a reference points at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
REQUIRED_PARAMETERS = {"ClientId": "client-1", "ReturnToAllowList": "https://app.example/"}
PSEUDO_PARAMETERS = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "broker",
    "AWS::URLSuffix": "amazonaws.com",
}
ABSENT = object()  # AWS::NoValue


def source() -> dict[str, Any]:
    """Return template.yaml as it is written."""
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


@dataclass(frozen=True, slots=True)
class Deployed:
    """A template with one set of parameters."""

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of every resource of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def properties(self, name: str) -> dict[str, Any]:
        """Return the properties of one resource."""
        found: dict[str, Any] = self.resources[name]["Properties"]
        return found


def deployed(**parameters: str) -> Deployed:
    """Return what a stack with these parameters, and defaults for the others, consists of."""
    template = source()
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        for code in {"CodeUri", "ContentUri"} & properties.keys():
            properties[code] = f"s3://artifacts/{properties[code]}"
    transformed = transform(template, {}, _NoManagedPolicies())
    given = REQUIRED_PARAMETERS | parameters
    values = {
        name: str(given.get(name, parameter.get("Default")))
        for name, parameter in transformed["Parameters"].items()
    }
    resolver = _Resolver(PSEUDO_PARAMETERS | values, transformed["Conditions"])
    resources = {
        name: resolver.resolve(resource)
        for name, resource in transformed["Resources"].items()
        if "Condition" not in resource or resolver.holds(resource["Condition"])
    }
    return Deployed(resources, resolver.resolve(transformed["Outputs"]))


def refused(**parameters: str) -> list[str]:
    """Return with which words CloudFormation refuses a stack with these parameters."""
    template = source()
    values = {name: str(one.get("Default")) for name, one in template["Parameters"].items()}
    resolver = _Resolver(values | REQUIRED_PARAMETERS | parameters, template["Conditions"])
    return [
        str(assertion["AssertDescription"])
        for rule in template["Rules"].values()
        if resolver.resolve(rule.get("RuleCondition", True))
        for assertion in rule["Assertions"]
        if not resolver.resolve(assertion["Assert"])
    ]


class _NoManagedPolicies:
    """What SAM asks for AWS's managed policies; the template names none."""

    def load(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class _Resolver:
    values: Mapping[str, str]
    conditions: Mapping[str, Any]

    def holds(self, condition: str) -> bool:
        """Tell whether a named condition is true."""
        return bool(self.resolve(self.conditions[condition]))

    def resolve(self, node: Any) -> Any:
        """Return a part of the template with every intrinsic function carried out."""
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in INTRINSICS:
                return INTRINSICS[name](self, argument)
        resolved = {name: self.resolve(value) for name, value in node.items()}
        return {name: value for name, value in resolved.items() if value is not ABSENT}

    def _ref(self, name: str) -> Any:
        return ABSENT if name == "AWS::NoValue" else self.values.get(name, name)

    def _get_att(self, argument: list[str]) -> str:
        return ".".join(argument)

    def _sub(self, argument: str | list[Any]) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        names = dict(self.values) | {name: self.resolve(value) for name, value in own.items()}
        return re.sub(r"\$\{([^}]+)\}", lambda found: str(names.get(found[1], found[1])), text)

    def _if(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self.holds(condition) else otherwise)

    def _equals(self, argument: list[Any]) -> bool:
        one, other = map(self.resolve, argument)
        return bool(one == other)

    def _and(self, argument: list[Any]) -> bool:
        return all(map(self.resolve, argument))

    def _contains(self, argument: list[Any]) -> bool:
        texts, one = map(self.resolve, argument)
        return one in texts

    def _or(self, argument: list[Any]) -> bool:
        return any(map(self.resolve, argument))

    def _not(self, argument: list[Any]) -> bool:
        return not self.resolve(argument[0])

    def _join(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(self.resolve(parts))


INTRINSICS: dict[str, Callable[[_Resolver, Any], Any]] = {
    "Ref": _Resolver._ref,
    "Fn::GetAtt": _Resolver._get_att,
    "Fn::Sub": _Resolver._sub,
    "Fn::If": _Resolver._if,
    "Fn::Equals": _Resolver._equals,
    "Condition": _Resolver.holds,
    "Fn::And": _Resolver._and,
    "Fn::Contains": _Resolver._contains,
    "Fn::Or": _Resolver._or,
    "Fn::Not": _Resolver._not,
    "Fn::Join": _Resolver._join,
}
