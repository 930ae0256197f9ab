"""A row that makes no sense: its callers are told what to do, and nobody else is concerned.

As long as it says whose connection it is, it is degraded and a new consent heals it; what cannot be
told is named in the log, by the schedule alone.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.spoiled import MALFORMED, UNTELLABLE, spoil
from tests.world import World
from token_broker.domain.authorization import Result
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    ReauthorizationRequired,
    RecordUnreadable,
    RowUnreadable,
    StaleGeneration,
)
from token_broker.runtime.http_api import status_code, view
from token_broker.runtime.observability import ALARMS
from token_broker.store.rows import Write

TYPICAL = (
    "schema",
    "generation",
    "unsettled",
    "lease_until",
    "superseded_by",
    "token_set",
    "asked_at",
)


@pytest.fixture
def world(any_world: World) -> World:
    return any_world


@pytest.fixture
def one(world: World) -> Connection:
    """A connection that was refreshed a few times and holds a living bearer."""
    one = world.connect()
    for _ in range(2):
        world.make_due(one.id)
        world.run_schedule()
    return world.row(one.id)


def alarms(world: World) -> list[tuple[str, str]]:
    return [(event, said["connection_id"]) for event, said in world.events if event in ALARMS]


# ── what still says whose it is ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("attribute", TYPICAL)
def test_its_callers_are_told_to_renew_and_page_nobody_more_than_once(
    world: World, one: Connection, attribute: str
) -> None:
    spoil(world, one.id, attribute)

    for _ in range(3):
        with pytest.raises(RecordUnreadable) as told:
            world.hand_out(one.id)
        assert (status_code(told.value), told.value.error) == (409, "reauthorization_required")
        assert told.value.event not in ALARMS

    assert world.sends() == 2
    # What cannot be noted in the row is left to the schedule to tell.
    assert alarms(world) == ([] if attribute == "generation" else [("row_unreadable", one.id)])
    assert view(world.broker.connections.look(one.id))["degraded"] == "unreadable"
    (listed,) = world.broker.connections.of_subject("ada").connections
    assert (listed.id, listed.status) == (one.id, Status.ACTIVE)


@pytest.mark.parametrize("attribute", TYPICAL)
def test_the_schedule_sends_nothing_of_it_says_so_once_a_look_and_tends_those_behind_it(
    world: World, one: Connection, attribute: str
) -> None:
    other = world.connect("bob", "mikomo_2")
    sends = world.sends()
    world.make_due(one.id)
    world.make_due(other.id)
    spoil(world, one.id, attribute)

    for _ in range(2):
        run = world.run_schedule()
        world.clock.advance(61)

    assert alarms(world) == [("row_unreadable", one.id)]
    assert world.sends() == sends + 1
    assert world.row(other.id).generation == 2
    assert not run.stopped


@pytest.mark.parametrize(
    ("attribute", "looked_at"),
    [
        *((attribute, False) for attribute in MALFORMED if attribute != "login"),
        *((attribute, True) for attribute in TYPICAL),
    ],
)
def test_a_new_consent_heals_it(
    world: World, one: Connection, attribute: str, *, looked_at: bool
) -> None:
    world.make_due(one.id)
    spoil(world, one.id, attribute)
    if looked_at:
        world.run_schedule()

    world.link("ada", connection_id=one.id)

    row = world.row(one.id)
    assert (row.id, row.status, row.degraded, row.malformed) == (one.id, Status.ACTIVE, None, ())
    assert row.generation > one.generation
    assert world.is_alive(row)
    bearer = world.hand_out(one.id, rejected=one.generation)
    assert world.is_accepted(bearer)
    world.make_due(one.id)
    world.run_schedule()
    assert world.row(one.id).generation == row.generation + 1
    assert world.is_alive(world.row(one.id))


def test_what_reads_by_now_is_not_removed(world: World, one: Connection) -> None:
    table = world.broker.connections
    spoil(world, one.id, "unsettled")
    rows = table._rows
    reading = rows.get

    def read_and_be_overtaken(row_id: str, **how: Any) -> Any:
        row = reading(row_id, **how)
        rows.transact(Write(row_id, {"unsettled": 2}))
        return row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "get", read_and_be_overtaken)
        with pytest.raises(StaleGeneration):
            table.mend(one.id, now=world.clock())

    assert world.row(one.id).unsettled == 2


def test_a_consent_heals_its_connection_also_where_the_login_was_not_known(
    world: World, one: Connection
) -> None:
    spoil(world, one.id, "login")

    went = world.link("ada", connection_id=one.id)
    world.run_schedule()

    assert went.result == Result(status="active", connection_id=one.id)
    assert world.row(one.id).login == one.login
    assert world.is_accepted(world.hand_out(one.id))


@pytest.mark.parametrize("attribute", ["asked_at", "consent", "failures"])
def test_its_consent_is_revoked_when_its_person_disconnects(
    world: World, one: Connection, attribute: str
) -> None:
    spoil(world, one.id, attribute)

    world.broker.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert world.row(one.id).status is Status.REVOKED
    assert world.living() == set()


def test_a_link_of_which_not_all_reads_is_not_confirmed_over_a_good_connection(
    world: World, one: Connection
) -> None:
    went = world.link("grace")
    spoil(world, went.result.connection_id, "iat")

    with pytest.raises(ReauthorizationRequired, match="do not read"):
        world.confirm(went, "grace")

    assert world.row(one.id).status is Status.ACTIVE


# ── what does not even say that ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("attribute", UNTELLABLE)
def test_of_what_cannot_be_told_its_caller_hears_so_and_pages_nobody(
    world: World, one: Connection, attribute: str
) -> None:
    spoil(world, one.id, attribute)

    for _ in range(3):
        with pytest.raises(RowUnreadable) as told:
            world.hand_out(one.id)
        assert (status_code(told.value), told.value.error) == (500, "record_unreadable")
        assert told.value.event not in ALARMS
    assert alarms(world) == []


@pytest.mark.parametrize("attribute", UNTELLABLE)
def test_the_schedule_names_what_cannot_be_told_pushes_it_back_and_goes_on(
    world: World, one: Connection, attribute: str
) -> None:
    other = world.connect("bob", "mikomo_2")
    world.make_due(one.id)
    world.make_due(other.id)
    spoil(world, one.id, attribute)
    before = kept(world, one.id)

    for _ in range(2):
        run = world.run_schedule()
        world.clock.advance(61)

    assert not run.stopped
    assert alarms(world) == [("row_unreadable", one.id)]
    assert world.row(other.id).generation == 2
    after = kept(world, one.id)
    assert {name for name in after | before if after.get(name) != before.get(name)} == {"due_at"}


@pytest.mark.parametrize("attribute", UNTELLABLE)
def test_one_that_cannot_be_told_is_left_out_of_lists_and_hides_no_other(
    world: World, one: Connection, attribute: str
) -> None:
    other = world.connect("ada", "mikomo_2")
    spoil(world, one.id, attribute)

    assert [row.id for row in world.broker.connections.of_subject("ada").connections] == [other.id]
    assert [row.id for row in world.broker.connections.every()] == [other.id]
    left_out = [said["connection_id"] for said in world.recorded("row_left_out")]
    assert left_out == [one.id, one.id]
    assert alarms(world) == []


# ── one that owns a login ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("attribute", ["iat", "generation", *UNTELLABLE])
def test_a_new_link_of_its_login_lands_is_kept_and_leaves_its_row_alone(
    world: World, one: Connection, attribute: str
) -> None:
    spoil(world, one.id, attribute)
    before = kept(world, one.id)

    new = world.connect()

    assert new.id != one.id
    assert world.is_accepted(world.hand_out(new.id))
    owner = world.broker.connections.owner_of(new.login or "")
    assert owner is not None
    assert owner.id == new.id
    assert kept(world, one.id) == before
    world.make_due(new.id)
    world.run_schedule()
    assert world.is_alive(world.row(new.id))


@pytest.mark.parametrize("attribute", ["iat", "generation", *UNTELLABLE])
def test_a_consent_it_may_need_is_not_revoked_for_another_connection(
    world: World, one: Connection, attribute: str
) -> None:
    went = world.link("grace")
    spoil(world, one.id, attribute)

    for _ in range(3):  # nobody confirms it
        world.clock.advance(901)
        world.run_schedule()

    assert revokes(world) == []
    assert world.is_alive(world.row(went.result.connection_id))
    assert (went.result.connection_id, one.id) in {
        (said["connection_id"], str(said["detail"]).rpartition(" ")[2])
        for said in world.recorded("row_unreadable")
    }


def test_the_link_that_waited_for_it_goes_once_it_is_healed(world: World, one: Connection) -> None:
    went = world.link("grace")
    spoil(world, one.id, "iat")
    world.clock.advance(901)
    world.run_schedule()

    world.link("ada", connection_id=one.id)
    world.clock.advance(901)
    world.run_schedule()

    assert [row.id for row in world.broker.connections.every()] == [one.id]
    assert went.result.connection_id != one.id
    assert world.is_alive(world.row(one.id))
    assert revokes(world) == []


def test_its_set_replaces_none_of_the_connection_that_owns_its_login_now(
    world: World, one: Connection
) -> None:
    spoil(world, one.id, "iat")
    new = world.connect()

    world.broker.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert world.row(one.id).status is Status.REVOKED
    assert world.row(new.id).generation == 1
    assert world.is_alive(world.row(new.id))
    assert revokes(world) == []


def kept(world: World, connection_id: str) -> dict[str, Any]:
    """Return all that the table holds of a row."""
    if world.is_in_memory:
        return dict(world.memory.raw(connection_id))
    row: dict[str, Any] = world.aws.dynamodb.get_item(
        TableName=f"{world.prefix}-connections", Key={"id": {"S": connection_id}}
    )["Item"]
    return row


def revokes(world: World) -> list[object]:
    requests = world.provider.ledger()["requests"]
    return [one for one in requests if one["endpoint"] == "revoke"]
