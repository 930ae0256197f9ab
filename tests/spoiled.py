"""Rows of which something makes no sense, in the table of any world."""

from __future__ import annotations

from typing import Any

from tests.world import World
from token_broker.adapters.dynamodb import from_wire

# What of a row may be lost while it still says whose connection it is, in DynamoDB's typed form.
MALFORMED: dict[str, dict[str, Any]] = {
    "schema": {"S": "first"},
    "generation": {"S": "many"},
    "token_set": {"S": "no bytes"},
    "unsettled": {"S": "some"},
    "lease_until": {"S": "soon"},
    "superseded_by": {"N": "7"},
    "issued_at": {"S": "today"},
    "iat": {"BOOL": True},
    "expires_at": {"N": "1.5"},
    "verdict": {"S": "odd"},
    "reason": {"S": "odd"},
    "login": {"N": "7"},
    "consent": {"N": "7"},
    "attempt_id": {"S": ""},
    "updated_at": {"S": "today"},
    "asked_at": {"NULL": True},
    "failures": {"S": "few"},
    "suspect": {"M": {"looks": {"S": "few"}}},
    "predecessor_resent": {"S": "yes"},
    "confirmation_hash": {"N": "7"},
    "last_event": {"NULL": True},
}
UNTELLABLE: dict[str, dict[str, Any]] = {
    "connector": {"N": "7"},
    "status": {"S": "ODD"},
}


def spoil(world: World, connection_id: str, attribute: str) -> None:
    """Let an attribute of a row make no sense."""
    odd = {attribute: (MALFORMED | UNTELLABLE)[attribute]}
    if world.is_in_memory:
        world.memory.spoil(connection_id, from_wire(odd))
        return
    world.aws.dynamodb.update_item(
        TableName=f"{world.prefix}-connections",
        Key={"id": {"S": connection_id}},
        UpdateExpression="SET #odd = :odd",
        ExpressionAttributeNames={"#odd": attribute},
        ExpressionAttributeValues={":odd": odd[attribute]},
    )
