"""A caller who cannot be served waits a moment for a refresh that is under way elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests

from tests.interruptions import before
from tests.world import World
from token_broker.domain.connection import Connection, Lease, Status
from token_broker.domain.errors import (
    ConnectionGone,
    ConsentSuspect,
    GrantRefused,
    RefreshInProgress,
    UpstreamUnavailable,
)
from token_broker.use_cases import attempt, refresh, token
from token_broker.use_cases.refusal import record_suspicion
from token_broker.use_cases.wait import YOUNG

LIFE, CALLERS = 899, 20
MOST = 3.0  # seconds that a caller waits


@pytest.fixture
def world() -> World:
    return World.in_memory()


@pytest.fixture
def stale(world: World) -> Connection:
    """A connection whose bearer has run out."""
    one = world.connect()
    world.clock.advance(LIFE)
    return one


def under_way(world: World, one: Connection, *, for_seconds: int = 0) -> Connection:
    """Let another process hold the lease, as it has for some seconds."""
    held = attempt.claim(
        world.broker,
        one.id,
        lease=attempt.new_lease(world.broker, world.remaining()),
        statuses=frozenset({Status.ACTIVE}),
        generation=world.row(one.id).generation,
    )
    world.clock.advance(for_seconds)
    return held


def pausing(world: World, after: Mapping[float, Callable[[], object]]) -> list[float]:
    """Let something happen once a caller has waited for so long; return the pauses."""
    pauses: list[float] = []
    to_come = dict(after)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        world.clock.advance(seconds)
        for moment in [one for one in to_come if one <= sum(pauses)]:
            to_come.pop(moment)()

    world.broker = replace(world.broker, pause=pause)
    return pauses


def test_a_caller_is_served_what_a_young_refresh_elsewhere_brings(
    world: World, stale: Connection
) -> None:
    held = under_way(world, stale)
    pauses = pausing(
        world, {1.5: lambda: refresh.refresh_held(world.broker, held, world.remaining)}
    )

    bearer = world.hand_out(stale.id)

    assert (bearer.generation, world.sends()) == (2, 1)
    assert sum(pauses) < MOST


def test_a_caller_waits_for_three_seconds_at_the_most(world: World, stale: Connection) -> None:
    under_way(world, stale)
    pauses = pausing(world, {})

    with pytest.raises(RefreshInProgress) as told:
        world.hand_out(stale.id)

    assert 2 < sum(pauses) <= MOST
    assert told.value.retry_after
    assert world.sends() == 0


def test_the_waits_of_two_callers_differ(world: World, stale: Connection) -> None:
    under_way(world, stale)
    pauses = pausing(world, {})
    for _ in range(2):
        with pytest.raises(RefreshInProgress):
            world.hand_out(stale.id)
    assert pauses[:4] != pauses[4:]


def test_nobody_waits_for_a_refresh_that_hangs(world: World, stale: Connection) -> None:
    under_way(world, stale, for_seconds=YOUNG)
    pauses = pausing(world, {})

    with pytest.raises(RefreshInProgress):
        world.hand_out(stale.id)
    assert pauses == []


def test_nobody_waits_who_can_be_served(world: World) -> None:
    one = world.connect()
    world.clock.advance(LIFE - 30)
    under_way(world, one)
    pauses = pausing(world, {})

    assert world.hand_out(one.id).generation == 1
    assert pauses == []


def test_whoever_rejects_the_bearer_held_waits_for_the_next(world: World) -> None:
    one = world.connect()
    held = under_way(world, one)
    pausing(world, {0.5: lambda: refresh.refresh_held(world.broker, held, world.remaining)})

    assert world.hand_out(one.id, rejected=1).generation == 2


def test_the_wait_ends_with_the_attempt_it_is_for(world: World, stale: Connection) -> None:
    held = under_way(world, stale)
    fails = {0.5: lambda: attempt.release(world.broker, held, event="refresh_deferred")}
    pauses = pausing(world, fails)

    with pytest.raises(UpstreamUnavailable) as told:
        world.hand_out(stale.id)

    assert sum(pauses) < 1
    assert (told.value.retry_after or 0) > 30


def test_nothing_is_handed_out_after_a_disconnect_that_came_while_waiting(
    world: World, stale: Connection
) -> None:
    under_way(world, stale)
    pausing(world, {0.5: lambda: world.broker.connections.ask_revoke(stale.id, now=world.clock())})

    with pytest.raises(ConnectionGone):
        world.hand_out(stale.id)


def test_nobody_waits_for_a_lease_whose_age_is_unknown(world: World, stale: Connection) -> None:
    row = world.row(stale.id)
    lease = Lease(id="other", until=world.clock() + 95)
    world.memory[stale.id] = replace(row, lease=lease)
    pauses = pausing(world, {})

    with pytest.raises(RefreshInProgress):
        world.hand_out(stale.id)
    assert pauses == []


def test_twenty_callers_at_once_are_all_served_by_one_send(world: World, stale: Connection) -> None:
    """Real threads; the provider answers when all the others have begun to wait."""
    waiting, answered = threading.Semaphore(0), threading.Event()

    def answers_late(_: requests.PreparedRequest) -> None:
        for _other in range(CALLERS - 1):
            assert waiting.acquire(timeout=30)

    def pause(_: float) -> None:
        waiting.release()
        assert answered.wait(timeout=30)

    def hand_out(_: int) -> token.Bearer:
        bearer = world.hand_out(stale.id)
        answered.set()  # the first to have one is the one who sent
        return bearer

    world.http.before = answers_late
    world.broker = replace(world.broker, pause=pause)
    with ThreadPoolExecutor(CALLERS) as callers:
        bearers = list(callers.map(hand_out, range(CALLERS)))

    assert {bearer.generation for bearer in bearers} == {2}
    assert len(bearers) == CALLERS
    assert world.sends() == 1


# ── what became of it meanwhile ──────────────────────────────────────────────────────────────────


def is_refused(world: World, held: Connection) -> None:
    """Let Akoya refuse the refresh token of another attempt, which records it."""
    world.provider.expire("refresh_token")
    try:
        refresh.refresh_held(world.broker, held, world.remaining)
    except GrantRefused as refused:
        record_suspicion(world.broker, refused)


def test_who_waits_is_told_at_once_that_the_consent_is_suspect(
    world: World, stale: Connection
) -> None:
    held = under_way(world, stale)
    pausing(world, {0.5: lambda: is_refused(world, held)})

    with pytest.raises(ConsentSuspect) as told:
        world.hand_out(stale.id)

    assert told.value.retry_after == (world.row(stale.id).due_at or 0) - world.clock()


def test_who_comes_right_behind_a_refusal_is_told_of_it_too(
    world: World, stale: Connection
) -> None:
    before(world.broker.connections, "claim", lambda: is_refused(world, under_way(world, stale)))

    with pytest.raises(ConsentSuspect) as told:
        world.hand_out(stale.id)

    assert told.value.retry_after == (world.row(stale.id).due_at or 0) - world.clock()
