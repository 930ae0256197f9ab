"""The turns of one run's sends: as far apart as the rate says, repeats before first sends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import requests

from tests.acts import END_AFTER
from tests.clock import START, FixedClock
from tests.virtual_time import VirtualTime
from tests.world import World
from token_broker.use_cases import schedule
from token_broker.use_cases.pace import Pace


def pace_of(clock: FixedClock, rate: float, *, answered: bool = True) -> Pace:
    return Pace(
        rate,
        ticks=lambda: clock.now,
        pause=clock.advance,
        slow_for=lambda: -1_000,
        has_answered=lambda: answered,
    )


def test_every_send_waits_for_its_share_of_a_second_and_none_that_comes_later() -> None:
    clock = FixedClock()
    pace, sent = pace_of(clock, 4), []

    for turn in (partial(pace.first, "one"), pace.again, partial(pace.first, "another")):
        turn()
        sent.append(clock.now - START)
    clock.advance(10)
    pace.again()

    assert (sent, clock.now - START) == ([0, 0.25, 0.5], 10.5)


def test_a_share_of_the_rate_is_a_rate() -> None:
    clock = FixedClock()
    pace = pace_of(clock, 2 * 0.8 / 16)

    pace.first("one")
    pace.first("another")

    assert clock.now - START == 10


def test_the_first_in_a_run_is_its_canary_until_something_answers() -> None:
    clock, answered = FixedClock(), threading.Event()
    pace = Pace(
        2,
        ticks=clock,
        pause=clock.advance,
        slow_for=lambda: -1_000,
        has_answered=answered.is_set,
    )

    pace.first("canary")
    pace.first("another")

    assert (pace.may_repeat("canary"), pace.may_repeat("another")) == (True, False)
    answered.set()
    assert pace.may_repeat("another")


@pytest.mark.parametrize("repeat_comes", ["first", "last"])
def test_a_repeat_goes_before_a_first_send_that_waits_with_it(repeat_comes: str) -> None:
    time, order = VirtualTime(), []
    pace = pace_of(time, 2)

    def turn(name: str, take: Callable[[], None]) -> None:
        take()
        order.append((name, time.now - START))

    turn("sender", partial(pace.first, "one"))
    waiting = [("first", partial(pace.first, "two")), ("repeat", pace.again)]
    for name, take in reversed(waiting) if repeat_comes == "first" else waiting:
        time.submit(turn, name, take)
        time.advance(0.125)
    time.shutdown()

    assert order == [("sender", 0), ("repeat", 0.5), ("first", 1)]


def test_nobody_has_a_turn_while_another_waits_out_its_own() -> None:
    time, sent = VirtualTime(), []
    pace = pace_of(time, 2)

    def turn(take: Callable[[], None]) -> None:
        take()
        sent.append(time.now - START)

    for number in range(3):
        time.submit(turn, partial(pace.first, str(number)))
        time.submit(turn, pace.again)
    time.shutdown()

    assert sorted(sent) == [0, 0.5, 1, 1.5, 2, 2.5]


def test_a_run_claims_no_more_than_its_turns_of_two_seconds_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who holds a lease while it waits keeps a caller from refreshing."""
    time = VirtualTime()
    monkeypatch.setattr(schedule, "wait", time.wait)
    world = World.in_memory(clock=time)
    leased: list[int] = []
    rows = [
        world.connect(user, user).id for user in (f"mikomo_{number}" for number in range(1, 21))
    ]
    for one in rows:
        world.make_due(one)

    def on_request(_: requests.PreparedRequest) -> None:
        leased.append(sum(world.row(one).leased(world.clock()) for one in rows))
        time.advance(0.25)

    world.http.before = on_request
    schedule.tend_due(
        world.broker,
        schedule.Tending(
            rate=2, limit=40, quarantine=86_400, tombstone=86_400, end_after=END_AFTER
        ),
        workers=time,
        remaining=world.remaining,
    )

    assert len(leased) == 20
    assert max(leased) <= 2 * schedule.BEGUN_AHEAD + 1, "and who sends"


def test_a_repeat_reaches_akoya_within_a_second_at_the_default_rate_whoever_else_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of eight goes unanswered once another has been answered."""
    time = VirtualTime()
    monkeypatch.setattr(schedule, "wait", time.wait)
    world = World.in_memory(clock=time)
    for user in (f"mikomo_{number}" for number in range(1, 9)):
        world.make_due(world.connect(user, user).id)
    arm = iter([{}, {"fault": "error_before_commit", "on": ["refresh"], "times": 1}])

    def on_request(_: requests.PreparedRequest) -> None:
        if fault := next(arm, {}):
            world.provider.arm(fault)
        time.advance(0.25)

    world.http.before = on_request
    run = schedule.tend_due(
        world.broker,
        schedule.Tending(
            rate=2, limit=10, quarantine=86_400, tombstone=86_400, end_after=END_AFTER
        ),
        workers=time,
        remaining=world.remaining,
    )

    assert run.failed == []
    presented = [one["presented"] for one in refreshes(world)]
    assert len(presented) == 9
    (failed,) = {one for one in presented if presented.count(one) == 2}
    sent_at = [one["received_at"] for one in refreshes(world)]
    first, again = (at for at, one in zip(sent_at, presented, strict=True) if one == failed)
    assert again - first <= 1
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(sent_at))


def refreshes(world: World) -> list[dict[str, Any]]:
    """Return the refreshes that reached Akoya."""
    received = world.provider.ledger()["requests"]
    return [one for one in received if one["grant_type"] == "refresh_token"]
