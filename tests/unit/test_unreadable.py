"""A connection whose token set does not open: it says so, and a new consent heals it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.interruptions import before
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection, Degraded, Status
from token_broker.domain.errors import RecordUnreadable, StaleGeneration, UpstreamUnavailable
from token_broker.runtime.http_api import status_code, view


@pytest.fixture
def world() -> World:
    return World.in_memory()


@pytest.fixture
def broken(world: World) -> Connection:
    """A connection whose row holds the set of another one."""
    one, other = world.connect("ada"), world.connect("bob", "mikomo_2")
    world.memory[one.id] = replace(world.row(one.id), sealed=world.row(other.id).sealed)
    return world.row(one.id)


@pytest.mark.parametrize("stale", [False, True])
def test_a_set_that_does_not_open_is_renewed_and_never_an_error_of_ours_for_ever(
    world: World, broken: Connection, *, stale: bool
) -> None:
    if stale:
        world.clock.now = float(broken.expires_at or 0)

    for _ in range(3):
        with pytest.raises(RecordUnreadable) as told:
            world.hand_out(broken.id)
        assert status_code(told.value) == 409
        assert told.value.error == "reauthorization_required"
        assert "cannot read" in told.value.description

    assert world.sends() == 0
    (listed,) = world.broker.connections.of_subject("ada").connections
    assert listed.degraded is Degraded.UNREADABLE
    assert view(world.broker.connections.look(broken.id))["degraded"] == "unreadable"


def test_a_new_consent_lands_over_it_and_heals_it(world: World, broken: Connection) -> None:
    with pytest.raises(RecordUnreadable):
        world.hand_out(broken.id)

    world.link("ada", connection_id=broken.id)

    row = world.row(broken.id)
    assert (row.status, row.generation, row.degraded) == (Status.ACTIVE, 2, None)
    assert world.is_alive(row)
    assert world.is_accepted(world.hand_out(broken.id))


def test_a_set_that_lands_meanwhile_is_not_said_to_be_unreadable(
    world: World, broken: Connection
) -> None:
    before(world.broker.seal, "open", lambda: world.link("ada", connection_id=broken.id))

    with pytest.raises(StaleGeneration):
        world.hand_out(broken.id)

    assert world.row(broken.id).degraded is None
    assert world.is_accepted(world.hand_out(broken.id))


def test_each_look_of_the_schedule_reports_it_once(world: World, broken: Connection) -> None:
    for looks in (1, 2):
        world.make_due(broken.id)
        world.run_schedule()
        reported = [one["connection_id"] for one in world.recorded("row_unreadable")]
        assert reported == [broken.id] * looks


# ── which connection a line is about ─────────────────────────────────────────────────────────────


OF_THE_WHOLE_STACK = {"nothing_answered", "table_foreign", "escrow_unswept"}
FAILED = {
    "breaker_opened",
    "grant_refused",
    "id_token_missing",
    "id_token_unverified",
    "refresh_deferred",
    "refresh_unanswered",
    "request_refused",
    "row_unreadable",
    "subject_changed",
    "tending_failed",
}


@pytest.mark.parametrize(
    "fault",
    [
        "grant_dead",
        "error_before_commit",
        "too_many_requests",
        "redirect",
        "id_token_missing",
        "sub_changed",
        "slow_then_lost",
        "wrong secret",
        "no keys",
    ],
)
def test_every_line_of_what_failed_names_its_connection(fault: str) -> None:
    world = World.in_memory()
    one = world.connect()
    if fault == "wrong secret":
        world.provider.change_client_secret("another")
    elif fault == "no keys":
        world = World.in_memory()
        world.http.before = lambda request: http_response(503) if request.method == "GET" else None
        one = world.connect()
    else:
        world.provider.arm({"fault": fault})
    world.make_due(one.id)
    world.run_schedule()

    lines = [(event, fields) for event, fields in world.events if event in FAILED]
    assert lines
    assert {fields.get("connection_id") for _, fields in lines} == {one.id}


def test_an_expired_bearer_is_not_served_whatever_its_row_says_of_its_life(world: World) -> None:
    """Its expiry lies before its issue, as no set of Akoya's can say."""
    connection = world.connect()
    expired = replace(world.row(connection.id), expires_at=world.clock() - 60)
    world.memory[connection.id] = expired
    world.http.before = lambda _: http_response(503)

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id)
