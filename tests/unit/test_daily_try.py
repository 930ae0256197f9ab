"""A connection that ended by refusal is tried once a day and may heal by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.loopback import http_response
from tests.unit.refused import DAY, people, with_day_long_bearers
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.use_cases import connections


@pytest.fixture
def memory() -> World:
    return with_day_long_bearers()


def ended(world: World) -> str:
    """Have Akoya refuse a living refresh token until its connection is ended."""
    (one,) = people(world, 1)
    world.provider.arm({"fault": "grant_dead"})
    world.pass_refusals(one.id)
    return one.id


def test_an_ended_connection_is_tried_once_a_day_and_heals_by_itself(memory: World) -> None:
    one = ended(memory)
    ended_at = memory.clock()
    sent = memory.sends()
    for _ in range(2):
        memory.make_due(one)
        memory.run_schedule()
    assert memory.sends() == sent + 2
    assert ended_at + 2 * 82_000 < memory.clock() <= ended_at + 2 * DAY
    memory.provider.disarm()

    memory.make_due(one)
    memory.run_schedule()

    row = memory.row(one)
    assert (row.status, row.reason, row.keep_until) == (Status.ACTIVE, None, None)
    assert memory.is_alive(row)
    assert memory.hand_out(one).generation == 2
    assert [told["reason"] for told in memory.recorded("connection_healed")] == ["grant_dead"]


def test_a_daily_try_that_is_refused_counts_nowhere(memory: World) -> None:
    one = ended(memory)
    seen = len(memory.events)
    before = memory.row(one)

    memory.make_due(one)
    memory.run_schedule()

    row = memory.row(one)
    assert (row.status, row.reason, row.suspect) == (before.status, before.reason, before.suspect)
    told = {name for name, _ in memory.events[seen:]}
    assert not told & {"grant_refused", "connections_refused", "request_refused", "rotation_lost"}
    assert memory.broker.control.refusal_met(connector="mikomo", earlier_at=None) == 1


def test_a_daily_try_goes_on_until_the_set_is_erased_and_no_longer(memory: World) -> None:
    one = ended(memory)
    sent = memory.sends()
    keep_until = memory.row(one).keep_until or 0

    for _ in range(8):
        memory.make_due(one)
        memory.run_schedule()
    assert memory.row(one).sealed is None
    assert memory.clock() >= keep_until
    memory.clock.advance(DAY)
    memory.run_schedule()

    assert memory.sends() - sent == 7


@pytest.mark.parametrize("status", [429, 503])
def test_a_daily_try_that_goes_unanswered_is_repeated_in_a_day(memory: World, status: int) -> None:
    one = ended(memory)
    memory.make_due(one)
    memory.http.before = lambda _: http_response(status)
    memory.run_schedule()

    assert (memory.row(one).due_at or 0) - memory.clock() > DAY - 3_600


def test_a_daily_try_looks_into_escrow_first(memory: World) -> None:
    from tests.interruptions import table_away  # noqa: PLC0415

    one = ended(memory)
    memory.provider.disarm()
    memory.make_due(one)
    with table_away(memory):
        memory.run_schedule()
    sent = memory.sends()
    assert memory.row(one).status is Status.REAUTH_REQUIRED
    rows = memory.memory
    rows[one] = replace(rows[one], unsettled=0, lease=None, due_at=memory.clock())

    memory.run_schedule()

    assert memory.row(one).status is Status.ACTIVE
    assert memory.is_alive(memory.row(one))
    assert memory.sends() == sent


def test_only_whose_login_is_nobody_elses_is_tried(memory: World) -> None:
    one = ended(memory)
    login = memory.row(one).login
    assert login is not None
    memory.memory.own(login, "of another")
    memory.provider.disarm()
    sent = memory.sends()

    memory.make_due(one)
    memory.run_schedule()
    assert memory.sends() == sent
    assert memory.row(one).due_at == memory.row(one).keep_until

    memory.memory.own(login, None)
    make_ended_due(memory, one)
    memory.run_schedule()
    assert memory.row(one).status is Status.ACTIVE
    owner = memory.broker.connections.owner_of(login)
    assert owner is not None
    assert owner.id == one


@pytest.mark.parametrize("reason", [Reason.EXPORTED, Reason.LOGIN_CHANGED])
def test_what_ended_otherwise_is_never_tried(memory: World, reason: Reason) -> None:
    one = ended(memory)
    rows = memory.memory
    rows[one] = replace(rows[one], reason=reason)
    memory.provider.disarm()
    sent = memory.sends()

    memory.make_due(one)
    memory.run_schedule()

    assert memory.sends() == sent
    assert memory.row(one).reason is reason


def make_ended_due(world: World, connection_id: str) -> None:
    rows = world.memory
    rows[connection_id] = replace(rows[connection_id], due_at=world.clock())


def test_an_ended_connection_is_renewed_as_before(world: World) -> None:
    one = world.connect()
    world.provider.expire("refresh_token")
    world.pass_refusals(one.id)
    world.make_due(one.id)
    world.run_schedule()

    assert world.link(connection_id=one.id).result.status == "active"
    assert connections.show(world.broker.connections, connection_id=one.id).reason is None
