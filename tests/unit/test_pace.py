"""The turns of one run's sends: as far apart as the rate says, repeats before first sends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import requests

from tests.acts import END_AFTER
from tests.world import World
from token_broker.use_cases import schedule
from token_broker.use_cases.pace import Pace


def test_every_send_waits_for_its_share_of_a_second() -> None:
    pauses: list[float] = []
    pace = Pace(4, pause=pauses.append, has_answered=lambda: True)

    pace.first("one")
    pace.again()
    pace.first("another")

    assert pauses == [0.25, 0.25, 0.25]


def test_the_first_in_a_run_is_its_canary_until_something_answers() -> None:
    answered = threading.Event()
    pace = Pace(2, pause=lambda _: None, has_answered=answered.is_set)

    pace.first("canary")
    pace.first("another")

    assert (pace.may_repeat("canary"), pace.may_repeat("another")) == (True, False)
    answered.set()
    assert pace.may_repeat("another")


def test_a_repeat_goes_before_a_first_send_that_waits_for_longer() -> None:
    order: list[str] = []
    go_on = threading.Event()

    def pause(_: float) -> None:
        order.append(threading.current_thread().name)
        if len(order) == 1:
            assert go_on.wait(30)

    pace = Pace(2, pause=pause, has_answered=lambda: True)
    sender = threading.Thread(target=pace.first, args=("one",), name="sender", daemon=True)
    first = threading.Thread(target=pace.first, args=("two",), name="first", daemon=True)
    repeat = threading.Thread(target=pace.again, name="repeat", daemon=True)

    sender.start()
    wait_until(lambda: order == ["sender"])
    first.start()
    wait_until(lambda: waiting(pace) == 1)
    repeat.start()
    wait_until(lambda: waiting(pace) == 2)
    go_on.set()
    for thread in (sender, first, repeat):
        thread.join()

    assert order == ["sender", "repeat", "first"]


def test_nobody_has_a_turn_while_another_waits_out_its_own() -> None:
    taking, most = [0], [0]
    counting, everybody = threading.Lock(), threading.Barrier(2)

    def pause(_: float) -> None:
        with counting:
            taking[0] += 1
            most[0] = max(most[0], taking[0])
        with suppress(threading.BrokenBarrierError):  # which opens if a second one comes in too
            everybody.wait(0.01)
        with counting:
            taking[0] -= 1

    pace = Pace(2, pause=pause, has_answered=lambda: True)
    sends = [threading.Thread(target=pace.first, args=(str(n),)) for n in range(3)]
    sends += [threading.Thread(target=pace.again) for _ in range(3)]
    for thread in sends:
        thread.start()
    for thread in sends:
        thread.join()

    assert most == [1]


def test_a_repeat_reaches_akoya_first_and_within_a_second_at_the_default_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a canary and three others the first goes unanswered while another waits for its turn."""
    world, paces, turns = World.in_memory(), [], [0]

    def made(*args: Any, **how: Any) -> Pace:
        paces.append(Pace(*args, **how))
        return paces[-1]

    def pause(seconds: float) -> None:
        turns[0] += 1
        turn = turns[0]
        wait_until(lambda: len(refreshes(world)) >= turn - 1)
        if turn == 2:
            world.provider.arm({"fault": "error_before_commit", "on": ["refresh"], "times": 1})
            world.http.before = until_another_has_the_turn
        if turn == 3:
            wait_until(lambda: waiting(paces[0]) == 2)  # the repeat, and the last one
        world.clock.advance(seconds)

    def until_another_has_the_turn(_: requests.PreparedRequest) -> None:
        wait_until(lambda: turns[0] >= 3)

    monkeypatch.setattr(schedule, "Pace", made)
    for user in ("mikomo_1", "mikomo_2", "mikomo_3", "mikomo_4"):
        world.make_due(world.connect(user, user).id)
    run = schedule.tend_due(
        replace(world.broker, pause=pause),
        schedule.Tending(
            rate=2, limit=10, quarantine=86_400, tombstone=86_400, end_after=END_AFTER
        ),
        workers=ThreadPoolExecutor(4),
        remaining=world.remaining,
    )

    assert run.failed == []
    presented = [one["presented"] for one in refreshes(world)]
    assert len(presented) == 5
    assert presented.index(presented[3]) == 1
    sent_at = [one["received_at"] for one in refreshes(world)]
    assert sent_at[3] - sent_at[1] <= 1
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(sent_at))


def refreshes(world: World) -> list[dict[str, Any]]:
    """Return the refreshes that reached Akoya."""
    received = world.provider.ledger()["requests"]
    return [one for one in received if one["grant_type"] == "refresh_token"]


def waiting(pace: Pace) -> int:
    """Return how many threads wait for their turn."""
    return len(pace._turn._waiters)  # type: ignore[attr-defined]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for another thread; fail rather than hang where it never comes to that."""
    for _ in range(5_000):
        if is_so():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came to that")
