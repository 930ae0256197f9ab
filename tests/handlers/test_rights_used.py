"""What a function asks DynamoDB for is what its policy allows, attribute by attribute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.handlers.deployed import Deployed
from tests.template.deployed import deployed
from tests.template.test_permissions import as_list, statements
from token_broker.store.connection_row import PUBLIC

KEYWORDS = {
    "SET",
    "REMOVE",
    "ADD",
    "AND",
    "OR",
    "NOT",
    "IN",
    "attribute_exists",
    "attribute_not_exists",
}
WORD = re.compile(r"(?<![:#\w])#?[a-zA-Z_]\w*")
OF_THE_TOKEN_SET = {"token_set", "verdict", "subject", "login", "consent"}


@dataclass(frozen=True)
class Asked:
    """One request as IAM sees it: dynamodb:Attributes, :Select and :ReturnValues."""

    action: str
    attributes: frozenset[str]
    key: str = ""
    select: str | None = None
    return_values: str | None = None
    old_row_on_failure: str = "NONE"


def asked_by(operation: str, params: dict[str, Any]) -> Iterator[Asked]:
    """Return a call as the requests that IAM authorises; a write of a transaction is one."""
    if operation == "TransactWriteItems":
        for item in params["TransactItems"]:
            ((kind, write),) = item.items()
            yield from asked_by(f"{kind}Item", write)
        return
    text = " ".join(
        params.get(name, "")
        for name in ("ProjectionExpression", "UpdateExpression", "ConditionExpression")
    )
    aliases = params.get("ExpressionAttributeNames", {})
    named = {aliases.get(word, word) for word in WORD.findall(text)} - KEYWORDS
    is_read = operation == "GetItem"
    yield Asked(
        action=f"dynamodb:{operation}",
        attributes=frozenset(named | params["Key"].keys()),
        key=params["Key"]["id"]["S"],
        select=("SPECIFIC_ATTRIBUTES" if "ProjectionExpression" in params else "ALL_ATTRIBUTES")
        if is_read
        else None,
        return_values=params.get("ReturnValues", "NONE") if not is_read else None,
        old_row_on_failure=params.get("ReturnValuesOnConditionCheckFailure", "NONE"),
    )


def is_allowed(asked: Asked, statement: dict[str, Any]) -> bool:
    if asked.action not in as_list(statement["Action"]):
        return False
    condition = statement.get("Condition", {})
    attributes = condition.get("ForAllValues:StringEquals", {}).get("dynamodb:Attributes")
    if attributes is not None and not asked.attributes <= set(attributes):
        return False
    keys = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
    if not any(fnmatchcase(asked.key, pattern) for pattern in keys):
        return False
    values = {"dynamodb:Select": asked.select, "dynamodb:ReturnValues": asked.return_values}
    return all(
        values[name] is None or values[name] in as_list(wanted)
        for name, wanted in condition.get("StringEqualsIfExists", {}).items()
    )


@pytest.fixture
def asked(broker: Deployed) -> list[Asked]:
    """Everything the connections function asks of its table from now on."""
    seen: list[Asked] = []

    def note(model: Any, params: dict[str, Any], **_: Any) -> None:
        if model.name != "Query":
            seen.extend(asked_by(model.name, params))

    client = broker.functions["connections"].table._rows._client
    client.meta.events.register("provide-client-params.dynamodb", note)
    return seen


def test_the_connections_function_asks_for_what_its_policy_allows_and_no_token_set(
    broker: Deployed, asked: list[Asked]
) -> None:
    first = broker.connect()
    broker.aws.dynamodb.update_item(
        TableName=f"{broker.prefix}-connections",
        Key={"id": {"S": first}},
        UpdateExpression="SET subject = :subject",
        ExpressionAttributeValues={":subject": {"S": "grace"}},
    )
    second = broker.connect()  # of the same bank login: supersedes that of another subject
    for name in (
        "connections.confirm",
        "connections.confirm-subject-other",
        "connections.show",
        "connections.list",
        "connections.disconnect",
        "connections.disconnect",
    ):
        broker.handle(name)

    assert {one.action for one in asked} == {"dynamodb:GetItem", "dynamodb:UpdateItem"}
    allowed = [
        statement
        for statement in statements(deployed(), "Connections")
        if statement["Resource"] == "ConnectionsTable.Arn"
    ]
    for one in asked:
        assert any(is_allowed(one, statement) for statement in allowed), one
        assert one.old_row_on_failure == "NONE"
    broker.values["connection_id"] = first
    assert '"SUPERSEDED"' in broker.handle("connections.show")["body"]
    assert first != second


def test_the_connections_function_may_not_touch_whose_a_token_set_is() -> None:
    for statement in statements(deployed(), "Connections"):
        if statement["Resource"] != "ConnectionsTable.Arn":
            continue
        attributes = set(statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])
        rest = statement["Condition"]["StringEqualsIfExists"]
        if statement["Action"] == "dynamodb:GetItem":
            assert attributes == {*PUBLIC, "confirmation_hash", "owner", "gone_at"}
            assert rest == {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"}
        else:
            assert statement["Action"] == "dynamodb:UpdateItem"
            assert not attributes & OF_THE_TOKEN_SET
            keys = statement["Condition"].get("ForAllValues:StringLike")
            of_a_pointer = keys == {"dynamodb:LeadingKeys": ["login#*"]}
            assert of_a_pointer is ("gone_at" in attributes)
            assert of_a_pointer is ("owner" in attributes)
            assert set(rest["dynamodb:ReturnValues"]) == {"NONE", "UPDATED_NEW"}
