"""How many calls to AWS each act makes where all is well: each costs time, money, a way to fail."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.handlers.deployed import Deployed
from token_broker.store.connection_row import SHARDS

REFRESHED = ["UpdateItem", "Decrypt", "GenerateDataKey", "UpdateItem"]  # claim, open, key, land
BY_A_CALLER = ["GetItem", "GetItem identity", *REFRESHED]
FRESH = ["GetItem", "Decrypt"]
FIRST_ASK = [*FRESH, "UpdateItem"]


@pytest.fixture
def calls(broker: Deployed, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the functions call from now on; of one connection, so its row has no name.

    The clock stands: how slow this machine is decides nothing about what is read again.
    """
    broker.connect()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    found: list[str] = []
    make = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(client: Any, operation: str, params: dict[str, Any]) -> Any:
        row_id = params.get("Key", {}).get("id", {}).get("S", "")
        is_its_own = row_id in {"", broker.values["connection_id"]}
        found.append(operation if is_its_own else f"{operation} {row_id}")
        return make(client, operation, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return found


def change(broker: Deployed, calls: list[str], **numbers: int) -> None:
    """Change the connection's row, and forget the calls so far."""
    broker.aws.dynamodb.update_item(
        TableName=f"{broker.prefix}-connections",
        Key={"id": {"S": broker.values["connection_id"]}},
        UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in numbers),
        ExpressionAttributeValues={f":{name}": {"N": str(n)} for name, n in numbers.items()},
    )
    calls.clear()


def spoil(broker: Deployed, calls: list[str], *, due_in: int = 600) -> None:
    """Let the bearer be over."""
    now = int(time.time())
    change(broker, calls, issued_at=now - 900, expires_at=now - 1, due_at=now + due_in)


def test_a_quiet_refresh_by_the_schedule_makes_five_calls_a_connection(
    broker: Deployed, calls: list[str]
) -> None:
    for _ in range(2):  # what a process reads once is read by the first
        change(broker, calls, due_at=1)
        broker.handle("refresh.schedule")

    of_the_run = {"Query", "GetItem identity", "ListObjectsV2"}  # each quarter of an hour it sweeps
    of_one = [call for call in calls if call not in of_the_run]
    owner = of_one.pop().partition("login#")
    assert of_one == REFRESHED
    assert owner[:2] == ("GetItem ", "login#")


def test_a_quiet_refresh_by_a_caller_makes_six_calls(broker: Deployed, calls: list[str]) -> None:
    spoil(broker, calls, due_in=0)  # at its turn, so that the door stays open for the next one
    broker.handle("token.hand-out")
    spoil(broker, calls)

    assert broker.handle("token.hand-out")["statusCode"] == 200
    assert calls == BY_A_CALLER


def test_the_first_refresh_of_a_process_makes_three_calls_more(
    broker: Deployed, calls: list[str]
) -> None:
    spoil(broker, calls)

    assert broker.handle("token.hand-out")["statusCode"] == 200
    read_once = ["DescribeTable", "GetItem senders", "GetSecretValue"]
    assert sorted(calls) == sorted([*BY_A_CALLER, *read_once])


def test_a_caller_who_queues_up_reads_each_shard_once_and_takes_its_place(
    broker: Deployed, calls: list[str]
) -> None:
    spoil(broker, calls, due_in=0)
    broker.handle("token.hand-out")
    spoil(broker, calls)
    broker.functions["token"].broker.door.opens_at = time.time() + 60

    assert broker.handle("token.hand-out")["statusCode"] == 503
    assert calls == [*BY_A_CALLER[:2], *["Query"] * SHARDS, "UpdateItem"]


def test_a_fresh_bearer_is_handed_out_in_two_calls_also_by_a_new_process(
    broker: Deployed, calls: list[str]
) -> None:
    for _ in range(2):
        calls.clear()
        broker.handle("token.hand-out")
        assert calls == FRESH


def test_the_first_ask_of_a_generation_is_noted_in_a_third_call(
    broker: Deployed, calls: list[str]
) -> None:
    change(broker, calls, due_at=int(time.time()) + 86_400)  # as the set of an idle connection

    broker.handle("token.hand-out")
    assert calls == FIRST_ASK
    calls.clear()
    broker.handle("token.hand-out")
    assert calls == FRESH
