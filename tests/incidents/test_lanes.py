"""Lanes: runs side by side, each with its shards and its share; together they are one schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.acts import END_AFTER, TOMBSTONE, Inline
from tests.clock import START
from tests.incidents.fleet import DAY, HOUR, MINUTE, Fleet, fleet_due_at, is_away_for
from tests.loopback import http_response
from token_broker.domain.refresh_policy import ESCROW_SWEPT_EVERY, SENDING_WINDOW
from token_broker.store.connection_row import SHARDS, shard_of
from token_broker.store.control import Trouble
from token_broker.use_cases import schedule
from token_broker.use_cases.lane import Lane
from token_broker.use_cases.measure import LAG_ALLOWED, OF_ONE_LANE, OUTAGE, account_for_failure

LANES = (1, 2, 4, 8, 16)
RATE = 100
RUN_LASTS = 150


def fleet_due(number: int, *, at: int = START) -> Fleet:
    """Return a fleet with so many connections due; the next full minute is no quarter's."""
    fleet = fleet_due_at([at + place % MINUTE for place in range(number)])
    fleet.world.clock.now = float(START - START % ESCROW_SWEPT_EVERY + ESCROW_SWEPT_EVERY + MINUTE)
    return fleet


def run(
    fleet: Fleet, lane: Lane, *, rate: float = RATE, threads: int = schedule.THREADS
) -> schedule.Run:
    clock = fleet.world.clock
    began = clock.now
    return schedule.tend_due(
        fleet.world.broker,
        schedule.Tending(
            rate=rate,
            limit=int(rate * SENDING_WINDOW),
            quarantine=DAY,
            tombstone=TOMBSTONE,
            end_after=END_AFTER,
            threads=threads,
        ),
        workers=Inline(),
        remaining=lambda: RUN_LASTS - (clock.now - began),
        lane=lane,
    )


def of_lane(fleet: Fleet, lane: Lane) -> list[str]:
    return [one for one in fleet.ids if shard_of(one) in lane.shards]


def counted(fleet: Fleet, event: str) -> int:
    return len(fleet.world.recorded(event))


# ── the work ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("of", LANES)
def test_each_shard_is_one_lanes_however_many_there_are(of: int) -> None:
    shards = [shard for number in range(of) for shard in Lane(number, of).shards]
    assert sorted(shards) == list(range(SHARDS))


@pytest.mark.parametrize("of", LANES)
def test_the_lanes_tend_everything_and_nothing_twice(of: int) -> None:
    fleet = fleet_due(48)
    order = list(range(of))
    random.Random(of).shuffle(order)  # noqa: S311 - any order will do

    tended = [one for number in order for one in run(fleet, Lane(number, of)).tended]

    assert sorted(tended) == sorted(fleet.ids)
    assert fleet.world.sends() == 48


def test_a_row_is_found_whatever_the_number_of_lanes_was_when_it_was_written() -> None:
    fleet = fleet_due(24)
    for of in LANES:
        fleet.world.clock.advance(8 * DAY)  # longer than an idle connection is kept alive
        tended = [one for number in range(of) for one in run(fleet, Lane(number, of)).tended]
        assert sorted(tended) == sorted(fleet.ids), of


def test_two_numbers_of_lanes_at_once_harm_nothing() -> None:
    """While a stack is updated, each schedule changes at its own moment."""
    fleet = fleet_due(24)
    for lane in (Lane(0, 2), Lane(1, 4), Lane(3, 4), Lane(2, 4), Lane(1, 2)):
        run(fleet, lane)

    assert {fleet.table[one].generation for one in fleet.ids} == {2}
    assert fleet.world.sends() == 24


@pytest.mark.parametrize(("of", "rate"), [(1, 4), (4, 4), (16, 1.6)])
def test_a_lane_sends_at_its_share_of_the_rate_and_no_more_than_its_share_of_a_minute(
    of: int, rate: float
) -> None:
    fleet, sent = fleet_due(300), list[float]()
    clock = fleet.world.clock
    began = clock.now

    def note(request: requests.PreparedRequest) -> None:
        if request.method == "POST":
            sent.append(clock.now - began)

    fleet.world.http.before = note
    tended = run(fleet, Lane(0, of), rate=rate).tended

    due = 300 if of == 1 else len(of_lane(fleet, Lane(0, of)))
    assert len(tended) == min(due, int(rate * SENDING_WINDOW) // of)
    assert sent[:4] == pytest.approx([place * of / rate for place in range(4)])


def test_each_lane_has_a_canary_of_its_own() -> None:
    fleet = fleet_due(48)
    fleet.world.http.before = lambda _: http_response(503)
    repeated = []
    for number in range(2):
        before = fleet.world.sends()
        lane = run(fleet, Lane(number, 2))
        repeated.append(fleet.world.sends() - before - len(lane.tended))

    assert repeated[0] == repeated[1] > 0


# ── what is done once, and what alarms are on ────────────────────────────────────────────────────


def test_the_first_lane_alone_sweeps_escrow_measures_the_whole_table_and_counts_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = fleet_due(24)
    fleet.world.clock.now -= MINUTE  # a full quarter of an hour
    swept: list[int] = []

    def look(moment: int) -> Iterator[Any]:
        swept.append(moment)
        return iter(())

    monkeypatch.setattr(fleet.world.broker.escrow, "put_before", look)
    once = ("oldest_due_seconds", "bearers_expired", "bearers_expired_share", "run_accounted_for")
    for number in (3, 1, 2):
        run(fleet, Lane(number, 4))
    assert (len(swept), [counted(fleet, one) for one in once]) == (0, [0, 0, 0, 0])

    run(fleet, Lane(0, 4))

    assert (len(swept), [counted(fleet, one) for one in once]) == (1, [1, 1, 1, 1])


def test_a_lane_that_does_not_run_is_seen_by_the_first() -> None:
    fleet = fleet_due(24)
    fleet.world.clock.advance(LAG_ALLOWED + MINUTE)
    oldest = min(fleet.table[one].due_at or 0 for one in of_lane(fleet, Lane(1, 2)))

    run(fleet, Lane(0, 2))
    run(fleet, Lane(0, 2))

    (_, lag) = (said["value"] for said in fleet.world.recorded("oldest_due_seconds"))
    assert lag == fleet.world.clock() - oldest
    assert counted(fleet, "run_accounted_for") == 0
    run(fleet, Lane(1, 2))
    run(fleet, Lane(0, 2))
    assert counted(fleet, "run_accounted_for") == 1


def test_a_lane_that_fails_counts_no_run_for_the_first() -> None:
    fleet = fleet_due(1)
    account_for_failure(fleet.world.broker, Lane(1, 2))
    assert counted(fleet, "run_accounted_for") == 0
    account_for_failure(fleet.world.broker, Lane(0, 2))
    assert counted(fleet, "run_accounted_for") == 1


def test_the_first_lane_begins_an_outage_at_once_and_an_answer_to_any_lane_ends_it() -> None:
    fleet = fleet_due(24)
    control, clock = fleet.world.broker.control, fleet.world.clock
    fleet.world.http.before = lambda _: http_response(503)
    run(fleet, Lane(1, 2))
    assert not control.trouble().is_in_vain(clock() + OF_ONE_LANE - MINUTE)
    run(fleet, Lane(0, 2))
    assert control.trouble().is_in_vain(clock())

    fleet.world.http.before = None
    clock.advance(OUTAGE)
    run(fleet, Lane(1, 2))

    assert control.trouble() == Trouble()


def fleet_in_lanes(of: int, *lanes: int) -> Fleet:
    """Return a fleet whose bearers have expired, with as many connections due in each lane."""
    fleet = fleet_due_at([START + place % MINUTE for place in range(24 * of)])
    fleet.lanes = of
    for one in fleet.living:
        expires_at = START if shard_of(one) % of in lanes else START + DAY
        due_at = START if shard_of(one) % of in lanes else START + DAY
        fleet.table[one] = replace(fleet.table[one], due_at=due_at, expires_at=expires_at)
    return fleet


def test_an_outage_pages_where_the_first_lane_has_nothing_due() -> None:
    fleet = fleet_in_lanes(4, 3)
    fleet.world.http.before = lambda _: http_response(503)

    fleet.pass_minutes((OUTAGE + OF_ONE_LANE) // MINUTE + 5)

    assert fleet.alarms.pages == ["NoGoodRunAlarm"]


def test_a_bank_away_in_one_lane_hides_no_expired_bearer_while_another_is_answered() -> None:
    fleet = fleet_in_lanes(4, 3)
    answered = of_lane(fleet, Lane(1, 4))
    for minute, one in enumerate(answered):
        fleet.table[one] = replace(fleet.table[one], due_at=START + minute * MINUTE)
    is_away_for(fleet, of_lane(fleet, Lane(3, 4)))

    fleet.pass_minutes(min(12, len(answered)))

    assert fleet.alarms.pages == ["BearersExpiredAlarm"]


def test_a_breaker_that_another_lane_opened_anew_stays_open() -> None:
    fleet = fleet_due(24)
    world = fleet.world
    now = world.clock()
    world.broker.control.open_breaker(until=now - 1)

    def another_lane_is_refused(_: requests.PreparedRequest) -> None:
        world.broker.control.open_breaker(until=now + HOUR)

    world.http.before = another_lane_is_refused
    run(fleet, Lane(1, 2))

    assert world.broker.control.breaker() == now + HOUR
    assert counted(fleet, "breaker_closed") == 0


# ── what is due, and what the lanes carry ────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, 1])
def test_each_lane_tells_how_much_of_its_minute_is_due(number: int) -> None:
    fleet, lane = fleet_due(24), Lane(number, 2)
    run(fleet, lane, rate=1)

    (said,) = fleet.world.recorded("due_over_capacity")
    assert said["value"] == 100 * len(of_lane(fleet, lane)) // (SENDING_WINDOW // 2)


def test_a_run_with_few_threads_carries_less_than_its_rate() -> None:
    fleet = fleet_due(24)
    run(fleet, Lane(0, 2), rate=40, threads=1)

    (said,) = fleet.world.recorded("due_over_capacity")
    carried = int(SENDING_WINDOW / schedule.SECONDS_A_CONNECTION)
    assert said["value"] == 100 * len(of_lane(fleet, Lane(0, 2))) // carried


def test_more_than_a_lane_carries_is_a_hundred_percent() -> None:
    fleet = fleet_due(24)
    run(fleet, Lane(0, 2), rate=0.1)

    assert [said["value"] for said in fleet.world.recorded("due_over_capacity")] == [100]


def test_what_is_due_for_a_cause_that_has_an_alarm_asks_for_no_more_lanes() -> None:
    fleet = fleet_due(24)
    account_for_failure(fleet.world.broker)

    run(fleet, Lane(1, 2), rate=0.1)

    assert counted(fleet, "due_over_capacity") == 0


def test_a_stack_that_is_too_small_pages_before_anything_expires() -> None:
    fleet = fleet_due_at([START + place // 2 for place in range(HOUR)])  # 30 a minute
    fleet.rate, fleet.a_run = 1, 27

    fleet.pass_minutes(20)

    assert fleet.alarms.pages == ["MoreDueThanCarriedAlarm"]
    assert max(said["value"] for said in fleet.world.recorded("bearers_expired")) == 0
