"""How many calls to AWS a quiet refresh makes: each costs time, money and a way to fail."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.client import BaseClient

from tests.handlers.deployed import Deployed


def test_a_quiet_refresh_by_the_schedule_makes_five_calls_a_connection(
    broker: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = broker.connect()
    calls: list[str] = []
    make = BaseClient._make_api_call  # type: ignore[attr-defined]

    def counted(client: Any, operation: str, params: dict[str, Any]) -> Any:
        is_of_the_run = operation == "Query" or params.get("Key") == {"id": {"S": "identity"}}
        if not is_of_the_run:
            calls.append(operation)
        return make(client, operation, params)

    for _ in range(2):  # what a process reads once is read by the first
        broker.aws.dynamodb.update_item(
            TableName=f"{broker.prefix}-connections",
            Key={"id": {"S": connection_id}},
            UpdateExpression="SET due_at = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
        monkeypatch.setattr(BaseClient, "_make_api_call", counted)
        calls.clear()
        broker.handle("refresh.schedule")
        monkeypatch.setattr(BaseClient, "_make_api_call", make)

    assert calls == ["UpdateItem", "Decrypt", "GenerateDataKey", "UpdateItem", "GetItem"]
