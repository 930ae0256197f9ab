"""A consent counts as revoked only where Akoya says so; the ledger is asked whether it lives."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.interruptions import before
from tests.world import World
from token_broker.domain.connection import Connection, Status

HOUR, QUARANTINE = 3_600, 7 * 86_400
NO_PROOF = ["revoke_refused", "revoke_html", "revoke_error", "lost_before_commit", "slow_then_lost"]


def lives(world: World) -> bool:
    (grant,) = world.provider.grants()
    return grant["ended"] is None


def disconnected(world: World) -> Connection:
    one = world.connect()
    return world.broker.connections.ask_revoke(one.id, now=world.clock())


def days_pass(world: World, one: str, days: int, *, between: int = 0) -> None:
    """Let the schedule look whenever the row is due, for so many days, `between` seconds apart."""
    until = world.clock() + days * 86_400
    while True:
        row = next((row for row in world.broker.connections.every() if row.id == one), None)
        if row is None or row.due_at is None or row.due_at >= until:
            break
        world.clock.now = max(world.clock.now + between, float(row.due_at))
        world.run_schedule()
    world.clock.now = max(world.clock.now, float(until))


def revokes(world: World) -> list[float]:
    """Return when Akoya was asked to revoke, in seconds since the first time."""
    asked = [
        one["received_at"]
        for one in world.provider.ledger()["requests"]
        if one["endpoint"] == "revoke"
    ]
    return [at - asked[0] for at in asked]


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
@pytest.mark.parametrize("fault", NO_PROOF)
def test_what_is_no_proof_of_a_revoke_keeps_the_set_until_there_is_one(
    fault: str, dialect: str
) -> None:
    world = World.in_memory(dialect)
    one = disconnected(world)
    world.provider.arm({"fault": fault, "on": ["revoke"], "times": 3})

    world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.lease) == (Status.REVOKE_PENDING, None)
    assert world.is_alive(row)
    days_pass(world, one.id, 1)
    assert world.row(one.id).status is Status.REVOKED
    assert not lives(world)
    assert world.recorded("revoke_unproven") == []
    assert len(world.recorded("connection_revoked")) == 1


def test_whatever_fails_before_a_revoke_is_sent_releases_the_lease() -> None:
    world = World.in_memory()
    one = disconnected(world)
    before(world.broker.seal, "open", _break)

    world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.lease, revokes(world)) == (Status.REVOKE_PENDING, None, [])
    world.make_due(one.id)
    world.run_schedule()
    assert world.row(one.id).status is Status.REVOKED


def _break() -> None:
    raise KeyError("unforeseen")


@pytest.mark.parametrize("fault", NO_PROOF)
def test_a_revoke_without_proof_ends_with_the_quarantine_named_and_counted(fault: str) -> None:
    world = World.in_memory()
    one = disconnected(world)
    world.provider.arm({"fault": fault, "on": ["revoke"]})

    days_pass(world, one.id, 7)
    assert world.is_alive(world.row(one.id))
    days_pass(world, one.id, 1)

    row = world.row(one.id)
    assert (row.status, row.sealed, row.last_event) == (Status.REVOKED, None, "revoke_unproven")
    assert lives(world)
    assert [told["connection_id"] for told in world.recorded("revoke_unproven")] == [one.id]
    assert [told["detail"] for told in world.recorded("request_refused")] == ["revoke_unproven"]
    assert world.recorded("connection_revoked") == []


def test_a_refused_revoke_is_looked_at_soon_at_first_and_then_rarely() -> None:
    world = World.in_memory()
    one = disconnected(world)
    world.provider.arm({"fault": "revoke_refused"})

    days_pass(world, one.id, 2)

    waits = [later - earlier for earlier, later in pairwise(revokes(world))]
    for wait, most in zip(waits, [60, 300, 900, 3600, 7200, 14400, 28800, 28800], strict=False):
        assert most * 0.9 - 1 <= wait <= most
    assert len(world.recorded("revoke_refused")) == len(waits) + 1


def test_a_long_outage_of_the_schedule_is_no_proof_that_akoya_refuses() -> None:
    """After it, Akoya is asked more than once before the set is given up."""
    world = World.in_memory()
    one = disconnected(world)
    world.clock.advance(30 * 86_400)
    world.provider.arm({"fault": "revoke_refused", "times": 2})

    days_pass(world, one.id, 1)

    assert world.row(one.id).status is Status.REVOKED
    assert not lives(world)
    assert world.recorded("revoke_unproven") == []


@pytest.mark.parametrize("fault", NO_PROOF)
def test_a_link_nobody_confirmed_is_let_go_by_the_same_rule(fault: str) -> None:
    world = World.in_memory()
    linked = world.link().result.connection_id
    assert linked
    world.provider.arm({"fault": fault, "on": ["revoke"]})

    days_pass(world, linked, 7)
    assert world.is_alive(world.row(linked))
    days_pass(world, linked, 1)

    assert list(world.broker.connections.every()) == []
    assert lives(world)
    assert len(world.recorded("revoke_unproven")) == 1
    assert len(world.recorded("connection_unconfirmed")) == 1


def test_a_wrong_secret_stops_all_sends_and_gives_no_set_up() -> None:
    world = World.in_memory()
    one = disconnected(world)
    world.provider.arm({"fault": "wrong_secret", "on": ["revoke"]})

    days_pass(world, one.id, 8, between=HOUR)  # each run's try is refused
    row = world.row(one.id)
    assert (row.status, world.is_alive(row)) == (Status.REVOKE_PENDING, True)

    world.provider.disarm()
    days_pass(world, one.id, 1)
    assert not lives(world)


def test_a_refused_revoke_shows_that_akoya_answers() -> None:
    world = World.in_memory()
    one = disconnected(world)
    world.provider.arm({"fault": "revoke_refused", "times": 1})

    run = world.run_schedule()

    assert run.answered == [one.id]
    assert world.recorded("nothing_answered") == []
