"""A rate that is kept: by callers of one process, and by all senders where Akoya says 429."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import requests

from tests.acts import END_AFTER, TOMBSTONE, Inline
from tests.clock import START
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection
from token_broker.domain.errors import UpstreamUnavailable
from token_broker.domain.refresh_policy import (
    RAMP_UP,
    SLOW_AT_MOST,
    SLOW_FOR,
    SLOWEST,
    WORTH_WAITING,
    share_of_rate,
)
from token_broker.store.control import Control
from token_broker.use_cases import schedule
from token_broker.use_cases.pace import Bucket

RATE = 2
LONG = 120  # seconds that Akoya asks to wait


@pytest.fixture
def world() -> World:
    return World.in_memory()


def people(world: World, count: int) -> list[Connection]:
    """Connect so many, whose bearers have run out."""
    made = [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, count + 1)]
    world.clock.now = float(START + 3_600)
    return made


def another_process(world: World) -> World:
    control = Control(world.broker.control._rows, clock=world.clock, record=world.broker.record)
    return replace(world, broker=replace(world.broker, control=control))


def throttled(world: World, retry_after: int | None = LONG, times: int | None = 1) -> None:
    how = {"retry_after": retry_after} if retry_after else {}
    world.provider.arm({"fault": "too_many_requests", "on": ["refresh"], "times": times, **how})


def run(world: World) -> schedule.Run:
    began = world.clock.now
    return schedule.tend_due(
        world.broker,
        schedule.Tending(
            rate=RATE, limit=110, quarantine=86_400, tombstone=TOMBSTONE, end_after=END_AFTER
        ),
        workers=Inline(),
        remaining=lambda: 150 - (world.clock.now - began),
    )


def refused(world: World, one: Connection) -> UpstreamUnavailable:
    with pytest.raises(UpstreamUnavailable) as told:
        world.hand_out(one.id)
    return told.value


def sent_at(world: World) -> list[float]:
    received = world.provider.ledger()["requests"]
    return [one["received_at"] for one in received if one["grant_type"] == "refresh_token"]


# ── all senders ──────────────────────────────────────────────────────────────────────────────────


def test_a_429_to_a_caller_lets_every_process_wait_for_as_long_as_it_says(world: World) -> None:
    first, other, third = people(world, 3)
    process = another_process(world)
    throttled(world)
    refused(world, first)

    world.clock.advance(10)
    assert refused(world, other).retry_after == LONG - 10
    assert refused(process, third).retry_after == LONG - 10
    run(process)
    assert world.sends() == 1
    assert world.row(third.id).failures == 0

    world.clock.advance(LONG - 10)
    assert process.hand_out(other.id).generation == 2


def test_a_429_in_a_run_ends_it_and_touches_none_of_the_others(world: World) -> None:
    made = people(world, 5)
    throttled(world)

    run(world)

    assert world.sends() == 1
    assert sorted(world.row(one.id).failures for one in made) == [0, 0, 0, 0, 1]


def test_a_living_bearer_is_served_while_all_wait(world: World) -> None:
    one = world.connect()
    world.clock.advance(899 - 30)
    world.broker.control.slow_down(until=world.clock() + LONG)

    assert (world.hand_out(one.id).generation, world.sends()) == (1, 0)


def test_a_short_wait_is_waited_for_within_the_run(world: World) -> None:
    made = people(world, 3)
    throttled(world, WORTH_WAITING)

    run(world)

    first, second, third = sent_at(world)
    assert second - first >= WORTH_WAITING
    assert third - second >= 1 / RATE / SLOWEST
    assert sorted(world.row(one.id).generation for one in made) == [1, 2, 2]


def test_sends_begin_slowly_after_it_and_reach_the_rate_within_a_minute(world: World) -> None:
    people(world, 90)
    world.broker.control.slow_down(until=world.clock())

    run(world)
    ramp = [later - earlier for earlier, later in pairwise(sent_at(world))]
    world.clock.advance(RAMP_UP)
    begun = len(ramp) + 1
    run(world)
    level = [later - earlier for earlier, later in pairwise(sent_at(world)[begun:])]

    assert ramp[0] >= 1 / RATE / SLOWEST
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(ramp))
    assert level == pytest.approx([1 / RATE] * len(level))
    assert len(level) > 10
    assert [share_of_rate(at) for at in (-9, 0, RAMP_UP // 3, RAMP_UP, 10**9)] == [
        SLOWEST,
        SLOWEST,
        0.5,
        1,
        1,
    ]


def test_no_429_stops_all_senders_for_longer_than_five_minutes(world: World) -> None:
    first, other = people(world, 2)
    throttled(world, 10 * SLOW_AT_MOST)
    refused(world, first)

    assert refused(world, other).retry_after == SLOW_AT_MOST
    assert (world.row(first.id).due_at or 0) - world.clock() == 10 * SLOW_AT_MOST


def test_a_429_that_names_no_time_slows_for_some_seconds(world: World) -> None:
    first, other = people(world, 2)
    throttled(world, None)
    refused(world, first)

    assert refused(world, other).retry_after == SLOW_FOR


def test_a_shorter_wait_does_not_replace_a_longer_one(world: World) -> None:
    control = world.broker.control
    control.slow_down(until=world.clock() + LONG)
    control.slow_down(until=world.clock() + 1)

    assert control.slow_for() == LONG


def test_a_bank_that_answers_503_with_retry_after_slows_nobody_else(world: World) -> None:
    first, other = people(world, 2)
    world.http.before = lambda _: http_response(503, b"", {"Retry-After": "600"})
    refused(world, first)
    world.http.before = None

    assert world.hand_out(other.id).generation == 2


def test_nothing_is_repeated_while_all_wait(world: World) -> None:
    (one,) = people(world, 1)
    process = another_process(world)

    def before(request: requests.PreparedRequest) -> requests.Response | None:
        if request.method == "GET":
            return None
        process.broker.control.slow_down(until=world.clock() + LONG)
        world.broker.control._read_known()
        return http_response(500)

    world.http.before = before
    world.broker = replace(world.broker, turns=bucket(world))

    refused(world, one)

    assert world.sends() == 1


# ── callers of one process ───────────────────────────────────────────────────────────────────────


def bucket(world: World) -> Bucket:
    return Bucket(
        RATE,
        ticks=world.broker.ticks,
        pause=world.broker.pause,
        slow_for=world.broker.control.slow_for,
    )


def test_the_refreshes_of_callers_keep_the_rate_in_each_process_repeats_too(world: World) -> None:
    made = people(world, 4)
    world.broker = replace(world.broker, turns=bucket(world))
    world.provider.arm({"fault": "lost_before_commit", "on": ["refresh"], "times": 1})

    for one in made:
        assert world.hand_out(one.id).generation == 2

    times = sent_at(world)
    assert len(times) == 5
    assert all(later - earlier >= 1 / RATE for earlier, later in pairwise(times))


def test_a_caller_who_comes_alone_waits_for_nothing(world: World) -> None:
    first, other = people(world, 2)
    world.broker = replace(world.broker, turns=bucket(world))
    for one in (first, other):
        world.clock.advance(1)
        began = world.clock.now
        world.hand_out(one.id)
        assert world.clock.now == began
