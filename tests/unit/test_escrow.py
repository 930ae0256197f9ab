"""When the table does not take a new set for longer than a function lives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.acts import FUNCTION_TIMEOUT
from tests.interleavings.cuts import KilledError
from tests.interleavings.flows import sent_out
from tests.interruptions import before, before_akoya_is_heard, table_away
from tests.unit.escrowed import escrowed
from tests.world import World
from token_broker.domain.connection import Reason
from token_broker.domain.errors import (
    BrokerMisconfigured,
    SetEscrowed,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.use_cases.persist import ESCROW_TRY, TABLE_TRY

# ── a refresh ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_the_next_run_applies_the_set_before_it_sends_anything(world: World, dialect: str) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    assert world.row(one.id).generation == 1
    assert escrowed(world, one.id, 2)

    world.pass_a_lease()
    world.run_schedule()

    row = world.row(one.id)
    assert (row.generation, row.unsettled, row.lease) == (2, 0, None)
    assert not escrowed(world, one.id, 2)
    assert world.sends() == 1
    assert world.hand_out(one.id).generation == 2


def test_a_caller_is_handed_the_bearer_that_was_put_into_escrow(world: World) -> None:
    one = world.connect()
    world.clock.now = float(one.expires_at or 0)
    with table_away(world):
        bearer = world.hand_out(one.id)

    assert bearer.generation == 2
    assert world.is_accepted(bearer)

    world.pass_a_lease()
    assert world.hand_out(one.id) == bearer  # who comes next lands it, as the schedule does
    assert world.row(one.id).generation == 2
    assert world.sends() == 1


def table_takes_no_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        world.clock.advance(2)
        raise UpstreamUnavailable(detail="away")

    ends_at = world.clock.now + FUNCTION_TIMEOUT
    monkeypatch.setattr(world.broker.connections, "land", refuse)
    monkeypatch.setattr(world, "remaining", lambda: ends_at - world.clock.now)


@pytest.mark.parametrize("by_schedule", [True, False])
def test_a_row_whose_set_is_in_escrow_is_due_now_and_nothing_is_sent_before_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, *, by_schedule: bool
) -> None:
    world = World.in_memory("gen2-strict")
    one = world.connect()
    world.make_due(one.id)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        world.run_schedule()
    row = world.row(one.id)
    assert (row.generation, row.lease, row.due_at) == (1, None, world.clock())

    if by_schedule:
        world.run_schedule()
    assert world.hand_out(one.id, rejected=1).generation == 2
    assert world.sends() == 1
    assert world.is_alive(world.row(one.id))


def test_a_run_goes_on_where_a_set_is_left_to_escrow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.in_memory()
    for login in ("mikomo_1", "mikomo_2"):
        world.make_due(world.connect(login, login).id)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        run = world.run_schedule()

    assert len(run.answered) == world.sends() == 2
    assert run.failed == []


def test_a_person_is_connected_by_the_run_that_follows_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    person = sent_out(world)
    with monkeypatch.context() as patch:
        table_takes_no_set(world, patch)
        with pytest.raises(SetEscrowed):
            world.come_back(person.address)

    world.run_schedule()

    assert world.come_back(person.address).result.status == "pending_confirmation"
    assert world.sends("authorization_code") == 1


def test_a_set_is_in_escrow_two_seconds_after_its_answer_while_the_table_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    put_at: list[float] = []
    answered_at: list[float] = []
    before(world.broker.escrow, "put", lambda: put_at.append(world.clock.now))
    before_akoya_is_heard(world, "refresh_token", lambda: answered_at.append(world.clock.now))
    table_takes_no_set(world, monkeypatch)
    world.run_schedule()

    assert put_at[0] - answered_at[0] <= 2
    assert escrowed(world, one.id, 2)


def test_a_table_that_comes_back_takes_the_set_and_escrow_lets_go_of_it() -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="away")

    before(world.broker.connections, "land", hiccup)
    world.run_schedule()

    assert world.row(one.id).generation == 2
    assert not escrowed(world, one.id, 2)
    assert world.recorded("persist_retried")
    assert world.recorded("escrow_used") == []


def test_a_try_on_escrow_that_took_effect_unheard_is_removed_once_the_set_has_landed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    put = world.broker.escrow.put

    def unheard(landing: Any) -> None:
        put(landing)
        raise UpstreamUnavailable(detail="S3: ReadTimeoutError")

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="away")

    monkeypatch.setattr(world.broker.escrow, "put", unheard)
    before(world.broker.connections, "land", hiccup)
    world.run_schedule()

    assert world.row(one.id).generation == 2
    assert not escrowed(world, one.id, 2)


def test_a_set_that_nothing_took_is_said_so_once_with_connection_and_attempt(memory: World) -> None:
    one = memory.connect()
    memory.make_due(one.id)
    with table_away(memory, bucket_too=True):
        memory.run_schedule()

    (said,) = memory.recorded("token_persist_failed")
    assert said["connection_id"] == one.id
    assert len(said["attempt_id"]) == 32
    assert said["generation"] == 2
    assert memory.pass_refusals(one.id).reason is Reason.ROTATION_LOST
    assert len(memory.recorded("token_persist_failed")) == 1


# ── what it takes to get there ───────────────────────────────────────────────────────────────────


def due_in_memory() -> tuple[World, str]:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    return world, one.id


def ends_in(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> Callable[[float], None]:
    """Let the process end so long after Akoya has answered; return what spends of that time."""
    ends_at: list[float] = []

    def spend(seconds: float) -> None:
        world.clock.advance(seconds)
        if world.clock.now >= ends_at[0]:
            raise KilledError

    before_akoya_is_heard(world, "refresh_token", lambda: ends_at.append(world.clock.now + seconds))
    monkeypatch.setattr(
        world, "remaining", lambda: ends_at[0] - world.clock.now if ends_at else FUNCTION_TIMEOUT
    )
    return spend


def hanging(spend: Callable[[float], None], seconds: float) -> Callable[..., None]:
    """Return a write that is given up after so many seconds."""

    def hang(*_: Any, **__: Any) -> None:
        spend(seconds)
        raise UpstreamUnavailable(detail="ReadTimeoutError")

    return hang


def test_a_table_that_hangs_leaves_escrow_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    world, connection_id = due_in_memory()
    spend = ends_in(world, monkeypatch, 12.5)
    monkeypatch.setattr(world.broker.connections, "land", hanging(spend, TABLE_TRY))
    before(world.broker.escrow, "put", lambda: spend(0.3))
    with suppress(KilledError):
        world.run_schedule()

    assert escrowed(world, connection_id, 2)


@pytest.mark.parametrize("seconds", [12.1, 12.15, 16.3])
def test_no_write_begins_that_cannot_end_before_the_process_does(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Table and bucket hang: whoever loses the set must still be able to say so."""
    world, _ = due_in_memory()
    spend = ends_in(world, monkeypatch, seconds)
    monkeypatch.setattr(world.broker.connections, "land", hanging(spend, TABLE_TRY))
    monkeypatch.setattr(world.broker.escrow, "put", hanging(spend, ESCROW_TRY))
    with suppress(KilledError):
        world.run_schedule()

    assert world.recorded("token_persist_failed")


def test_escrow_is_tried_again_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hiccup of S3 while the table refuses for want of a permission."""
    world, connection_id = due_in_memory()

    def refuse(*_: Any, **__: Any) -> None:
        raise BrokerMisconfigured(detail="DynamoDB: AccessDeniedException")

    def hiccup() -> None:
        raise UpstreamUnavailable(detail="S3: SlowDown")

    monkeypatch.setattr(world.broker.connections, "land", refuse)
    before(world.broker.escrow, "put", hiccup)
    world.run_schedule()

    assert escrowed(world, connection_id, 2)


def test_persist_falls_back_to_escrow_whatever_the_table_adapter_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, connection_id = due_in_memory()

    def bug(*_: Any, **__: Any) -> None:
        raise ValueError("a bug after the 200")

    monkeypatch.setattr(world.broker.connections, "land", bug)
    world.run_schedule()

    assert escrowed(world, connection_id, 2)


def test_the_table_is_tried_once_however_little_time_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, connection_id = due_in_memory()
    ends_in(world, monkeypatch, TABLE_TRY / 2)
    world.run_schedule()

    assert world.row(connection_id).generation == 2


def test_a_set_that_a_newer_one_overtook_is_not_left_in_escrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table hiccups, so the set goes to escrow; then it says that a newer one has landed."""
    world, connection_id = due_in_memory()
    tries: list[type[TokenBrokerError]] = [StaleGeneration, UpstreamUnavailable]

    def overtaken(*_: Any, **__: Any) -> None:
        raise tries.pop()

    monkeypatch.setattr(world.broker.connections, "land", overtaken)
    world.run_schedule()

    assert tries == []
    assert not escrowed(world, connection_id, 2)
