"""Many stale connections asked for at once: who has to come again is told when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

import pytest

from tests.clock import START
from tests.incidents.fleet import DAY, MINUTE, Fleet, fleet_due_at
from token_broker.domain.connection import Due
from token_broker.domain.errors import TurnToCome, UpstreamUnavailable
from token_broker.use_cases import turn
from token_broker.use_cases.door import Door
from token_broker.use_cases.turn import HELD

RATE = 2
SIZE = 500
MOST_ASKS = 5  # then a caller gives up
NOT_DUE = START - START % MINUTE + 7 * DAY


def stale(size: int) -> Fleet:
    """Return a stack whose connections are only kept alive: no bearer lives, and none is due."""
    fleet = fleet_due_at([NOT_DUE + n for n in range(size)])
    for one in fleet.ids:
        fleet.table[one] = replace(
            fleet.table[one], issued_at=START - 2 * DAY, expires_at=START - DAY, asked_at=None
        )
    fleet.world.broker = replace(fleet.world.broker, door=Door(rate=RATE, one_in=5))
    return fleet


def ask(fleet: Fleet, one: str, at: float) -> int:
    """Ask at a moment, whoever else is still waiting then; return when to come again, 0: served."""
    fleet.world.clock.now = at
    try:
        fleet.world.hand_out(one)
    except TurnToCome as told:
        return told.retry_after or 0
    return 0


def ask_for_all(
    fleet: Fleet, *, processes: int = 1, who_returns: float = 1
) -> tuple[dict[str, int], Counter[str]]:
    """Let all be asked for at once, and each again when it is told, beside the schedule's runs.

    Returns how long after the first ask each bearer was renewed, and how often it was asked for.
    """
    world = fleet.world
    brokers = cycle(
        [replace(world.broker, door=Door(rate=RATE, one_in=5)) for _ in range(processes)]
    )
    times: Counter[str] = Counter()
    coming = [(float(START), one) for one in fleet.ids]
    runs = [START + MINUTE * (n + 1) for n in range(20)]
    returning = set(fleet.ids[: int(who_returns * len(fleet.ids))])
    while coming or runs:
        if not coming or (runs and runs[0] <= min(coming)[0]):
            fleet.world.clock.now = float(runs.pop(0))
            fleet._run()
            continue
        at, one = min(coming)
        coming.remove((at, one))
        times[one] += 1
        world.broker = next(brokers)
        if (wait := ask(fleet, one, at)) and one in returning and times[one] < MOST_ASKS:
            coming.append((at + wait, one))
    renewed = {one: (fleet.table[one].issued_at or 0) - START for one in fleet.ids}
    return renewed, times


@pytest.fixture(scope="module", params=[1, 10], ids=["one-process", "ten-processes"])
def asked(request: pytest.FixtureRequest) -> tuple[Fleet, dict[str, int], Counter[str]]:
    fleet = stale(SIZE)
    return fleet, *ask_for_all(fleet, processes=request.param)


def test_five_hundred_stale_connections_are_renewed_within_a_fifth_more_than_the_rate_takes(
    asked: tuple[Fleet, dict[str, int], Counter[str]],
) -> None:
    fleet, renewed, _ = asked

    assert all(fleet.table[one].generation == 2 for one in fleet.ids)
    assert max(renewed.values()) <= 1.2 * SIZE / RATE


def test_each_caller_asks_twice_at_most(
    asked: tuple[Fleet, dict[str, int], Counter[str]],
) -> None:
    _, _, times = asked

    assert max(times.values()) <= 2


def test_whoever_asked_first_is_served_first(
    asked: tuple[Fleet, dict[str, int], Counter[str]],
) -> None:
    fleet, renewed, _ = asked
    in_order = [renewed[one] for one in fleet.ids]

    assert all(later >= sooner - 2 for sooner, later in pairwise(in_order))


def test_the_sends_for_many_callers_keep_the_rate(
    asked: tuple[Fleet, dict[str, int], Counter[str]],
) -> None:
    """But for those who go at once, or are held: here one process knows nothing of another's."""
    _, renewed, _ = asked
    sent = sorted(moment for moment in renewed.values() if moment > HELD)

    assert len(renewed) - len(sent) <= 40
    assert all(later - sooner >= 8 for sooner, later in zip(sent, sent[20:], strict=False))


def test_the_schedule_sees_to_those_whose_callers_do_not_come_back() -> None:
    fleet = stale(100)
    renewed, _ = ask_for_all(fleet, who_returns=0.5)

    assert all(fleet.table[one].generation == 2 for one in fleet.ids)
    assert max(renewed.values()) <= 100 / RATE + 2 * MINUTE


def test_one_stale_connection_alone_is_refreshed_at_once_and_nobody_else_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = stale(2)
    monkeypatch.setattr(fleet.world.broker.connections, "due", None)

    assert [ask(fleet, one, START + 5 * n) for n, one in enumerate(fleet.ids)] == [0, 0]
    assert fleet.world.sends() == 2


def test_what_is_due_goes_at_once_and_looks_for_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = stale(3)
    for one in fleet.ids:
        fleet.table[one] = replace(fleet.table[one], due_at=START)
    monkeypatch.setattr(fleet.world.broker.connections, "due", None)
    fleet.world.broker.door.opens_at = START + MINUTE

    assert [ask(fleet, one, START) for one in fleet.ids] == [0, 0, 0]
    assert fleet.world.clock() == START


def test_a_second_one_right_after_is_held_not_sent_away() -> None:
    fleet = stale(2)

    assert [ask(fleet, one, START) for one in fleet.ids] == [0, 0]
    assert START < fleet.world.clock() <= START + HELD


def test_a_fifth_of_a_high_rate_goes_at_once_in_each_second() -> None:
    fleet = stale(10)
    fleet.world.broker = replace(fleet.world.broker, door=Door(rate=20, one_in=5))

    for second, ids in enumerate((fleet.ids[:4], fleet.ids[4:8])):
        assert [ask(fleet, one, START + second) for one in ids] == [0] * 4
    assert not fleet.world.recorded("turn_given")

    ask(fleet, fleet.ids[8], START + 1)
    assert len(fleet.world.recorded("turn_given")) == 1


def test_who_asks_before_its_turn_is_told_the_same_turn_and_takes_no_other_place() -> None:
    fleet = stale(40)
    told = [ask(fleet, one, START) for one in fleet.ids]

    assert ask(fleet, fleet.ids[20], START + 5) == told[20] - 5
    assert len(fleet.world.recorded("turn_given")) == 39


def test_a_turn_comes_after_what_the_schedule_has_to_do_by_then() -> None:
    fleet = stale(100)
    for one in fleet.ids[:80]:
        fleet.table[one] = replace(fleet.table[one], due_at=START)
    told = [ask(fleet, one, START) for one in fleet.ids[80:]]

    assert min(told[1:]) >= 80 / RATE


def test_a_bearer_that_lives_is_served_while_its_turn_is_to_come() -> None:
    fleet = stale(20)
    last = fleet.ids[-1]
    fleet.table[last] = replace(fleet.table[last], expires_at=START + 30)
    for one in fleet.ids:
        ask(fleet, one, START)
    fleet.world.clock.now = float(START)

    assert fleet.world.hand_out(last).expires_at == START + 30
    assert (fleet.table[last].due_at or 0) < START + 30


def test_what_backs_off_takes_no_turn() -> None:
    fleet = stale(2)
    first, second = fleet.ids
    fleet.table[second] = replace(fleet.table[second], failures=1, due_at=START + 900)
    ask(fleet, first, START)
    with pytest.raises(UpstreamUnavailable) as told:
        fleet.world.hand_out(second)

    assert (told.value.retry_after, fleet.table[second].due_at) == (900, START + 900)


def test_a_place_is_found_without_reading_what_is_due_long_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large stack in use has thousands due within the hour, and a place free in some seconds."""
    fleet = stale(1_002)
    busy, asking = fleet.ids[2:], fleet.ids[:2]
    for place, one in enumerate(busy):
        fleet.table[one] = replace(fleet.table[one], due_at=START + 3 * place)
    due, read = fleet.world.broker.connections.due, list[int]()

    def counted(**of: Any) -> list[Due]:
        found = due(**of)
        read.append(len(found))
        return found

    monkeypatch.setattr(fleet.world.broker.connections, "due", counted)

    assert [ask(fleet, one, START) for one in asking] == [0, 0]
    assert sum(read) <= 120


@pytest.mark.parametrize("first", [1, 60, 10_000])
def test_a_place_does_not_depend_on_how_much_is_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(turn, "FIRST_READ", first)
    fleet = stale(102)
    for place, one in enumerate(fleet.ids[2:]):
        fleet.table[one] = replace(fleet.table[one], due_at=START + place // 4)

    assert ask(fleet, fleet.ids[0], START) == 0
    assert ask(fleet, fleet.ids[1], START) == 51  # 100 at two a second, from the next on
