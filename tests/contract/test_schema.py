"""Rows as earlier versions wrote them are read and carried on; a later version's are left alone.

The rows below are what the first version left in its tables, attribute by attribute. A new version
adds its own set here and keeps the older ones.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from tests.clock import START
from tests.contract.rows import HOME
from tests.wiring import CLIENT_ID, IDP
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import NotConfirmed, ReauthorizationRequired, RowNewer
from token_broker.domain.identity import Identity
from token_broker.runtime.http_api import status_code
from token_broker.store.connection_row import shard_of

ID = "a" * 32


def write(world: World, table: str, row: dict[str, Any]) -> None:
    serialize = TypeSerializer().serialize
    world.aws.dynamodb.put_item(
        TableName=f"{world.prefix}-{table}",
        Item={name: serialize(value) for name, value in row.items()},
    )


def first_version(world: World, **changes: Any) -> str:
    """Write a connection as the first version did; return its id."""
    made = world.connect()
    tokens = world.broker.seal.open(world.row(made.id))
    sealer = world.broker.seal.prepare(ID, subject="ada", connector="mikomo")
    row = {
        "id": ID,
        "schema": 1,
        "shard": shard_of(ID),
        "subject": "ada",
        "connector": "mikomo",
        "status": "ACTIVE",
        "generation": 4,
        "token_set": sealer.seal(tokens, generation=4),
        "login": made.login,
        "issued_at": START,
        "iat": START,
        "expires_at": START + 900,
        "verdict": "ok",
        "attempt_id": "b" * 32,
        "linked_at": START,
        "updated_at": START,
        "due_at": START + 600,
        "asked_at": START,
        "unsettled": 0,
        "failures": 0,
        "confirmation_hash": "c" * 64,
        "last_event": "token_refreshed",
    }
    kept = {name: value for name, value in (row | changes).items() if value is not None}
    world.aws.dynamodb.delete_item(
        TableName=f"{world.prefix}-connections", Key={"id": {"S": made.id}}
    )
    write(world, "connections", {"id": f"login#{made.login}", "schema": 1, "owner": ID})
    write(world, "connections", kept)
    return ID


def test_an_active_connection_is_handed_out_and_refreshed(world: World) -> None:
    connection_id = first_version(world)

    assert world.hand_out(connection_id).generation == 4
    world.clock.advance(600)
    world.run_schedule()

    assert world.row(connection_id).generation == 5


def test_an_ended_connection_is_erased_when_it_is_due(world: World) -> None:
    connection_id = first_version(world, status="REAUTH_REQUIRED", reason="grant_dead")
    with pytest.raises(ReauthorizationRequired):
        world.hand_out(connection_id)

    world.clock.advance(600)
    world.run_schedule()

    row = world.row(connection_id)
    assert (row.status, row.reason, row.sealed) == (
        Status.REAUTH_REQUIRED,
        Reason.GRANT_DEAD,
        None,
    )


def test_an_unconfirmed_connection_expires(world: World) -> None:
    connection_id = first_version(world, status="PENDING_CONFIRMATION", generation=4)
    with pytest.raises(NotConfirmed):
        world.hand_out(connection_id)

    world.clock.advance(600)
    world.run_schedule()

    assert world.broker.connections.of_subject("ada").connections == []


def test_the_attempt_that_was_under_way_is_followed_by_a_look_into_escrow(world: World) -> None:
    connection_id = first_version(world, lease_id="d" * 32, lease_until=START + 95, unsettled=1)
    leave_in_escrow(world, connection_id)

    world.clock.advance(600)
    world.run_schedule()

    assert world.row(connection_id).generation == 5
    assert world.sends() == 0


def test_a_set_in_escrow_is_read_without_what_a_later_version_adds(world: World) -> None:
    connection_id = first_version(world, lease_id="d" * 32, lease_until=START + 95, unsettled=1)
    leave_in_escrow(world, connection_id, added_later="x")

    world.clock.advance(600)
    world.run_schedule()

    assert world.row(connection_id).generation == 5


def leave_in_escrow(world: World, connection_id: str, **added: str) -> None:
    """Put a set into escrow as the first version did."""
    tokens = world.broker.seal.open(world.row(connection_id))
    sealer = world.broker.seal.prepare(connection_id, subject="ada", connector="mikomo")
    sealed = sealer.seal(tokens, generation=5)
    world.aws.s3.put_object(
        Bucket=f"{world.prefix}-escrow",
        Key=f"{connection_id}/5/{'d' * 32}",
        Body=json.dumps(
            {
                "connection_id": connection_id,
                "generation": 5,
                "attempt_id": "d" * 32,
                "sealed": base64.b64encode(sealed).decode(),
                "login": world.row(connection_id).login,
                "issued_at": START,
                "expires_at": START + 900,
                "verdict": "unverified",
                "iat": START,
                "consent": "d" * 32,
                "suspect": None,
            }
            | added
        ).encode(),
    )


def test_a_renewal_that_was_left_in_escrow_brings_an_ended_connection_back(world: World) -> None:
    connection_id = first_version(
        world,
        status="REAUTH_REQUIRED",
        reason="grant_dead",
        lease_id="d" * 32,
        lease_until=START + 95,
        unsettled=1,
    )
    leave_in_escrow(world, connection_id)

    world.clock.advance(600)
    world.run_schedule()

    row = world.row(connection_id)
    assert (row.status, row.generation) == (Status.ACTIVE, 5)


def test_breaker_and_identity_are_read(world: World) -> None:
    write(world, "control", {"id": "senders", "open_until": START + 60})
    whose = {"table_id": "t", "environment": "sandbox", "client_id": CLIENT_ID, "provider": IDP}
    write(world, "connections", {"id": "identity", **whose})

    assert world.broker.control.breaker() == START + 60
    assert world.broker.connections.recorded_identity(HOME) == Identity(**whose)


def test_a_control_row_of_a_later_version_stops_nobody(world: World) -> None:
    made = world.connect()
    hang = {"at": START, "is_over": False, "since": START}
    write(world, "control", {"id": "senders", "schema": 2, "hangs#mikomo": hang, "open_until": "-"})

    world.make_due(made.id)
    world.run_schedule()

    assert world.row(made.id).generation == 2
    assert [said["detail"] for said in world.recorded("fact_unreadable")] == ["open_until"]


def test_a_row_of_a_later_version_is_told_as_ours_and_nothing_but_its_due_time_changes(
    world: World,
) -> None:
    connection_id = first_version(world, schema=2)
    before = raw(world, connection_id)

    with pytest.raises(RowNewer, match="later version") as told:
        world.hand_out(connection_id)
    assert (status_code(told.value), told.value.event) == (500, "broker_misconfigured")
    world.clock.advance(600)
    world.run_schedule()

    assert world.sends() == 0
    assert [one["connection_id"] for one in world.recorded("broker_misconfigured")] == [ID]
    assert raw(world, connection_id) == before | {"due_at": raw(world, connection_id)["due_at"]}
    assert world.broker.connections.due(now=world.clock(), limit=9) == []


def test_a_row_of_a_later_version_stops_nobody_else(world: World) -> None:
    first_version(world, schema=2)
    other = world.connect("bob", "mikomo_2")

    world.make_due(other.id)
    run = world.run_schedule()

    assert world.row(other.id).generation == 2
    assert not run.stopped
    assert world.recorded("row_unreadable") == []


def raw(world: World, connection_id: str) -> dict[str, Any]:
    """Return a row as the table holds it."""
    item: dict[str, Any] = world.aws.dynamodb.get_item(
        TableName=f"{world.prefix}-connections", Key={"id": {"S": connection_id}}
    )["Item"]
    return item


def test_every_row_that_is_written_carries_its_version(world: World) -> None:
    went = world.come_back(world.consent(world.open(world.begin())))
    world.confirm(went)
    world.broker.control.open_breaker(until=START)
    world.broker.control.refusal_met(connector="mikomo", earlier_at=None)
    world.broker.control.ask_witness("mikomo")

    for table in ("connections", "authorizations", "control"):
        rows = world.aws.dynamodb.scan(TableName=f"{world.prefix}-{table}")["Items"]
        assert rows
        for row in rows:
            assert row["schema"] == {"N": "1"}, row["id"]
