"""Bearers expire in use although something answers and little lags: that alone must page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tests.clock import START
from tests.incidents.fleet import DAY, MINUTE, Fleet, fleet_of, is_away_for
from tests.loopback import http_response
from token_broker.domain.connection import Reason, Suspect

EXPIRED, NO_GOOD_RUN = "BearersExpiredAlarm", "NoGoodRunAlarm"
MORE_DUE = "MoreDueThanCarriedAlarm"


def expire(fleet: Fleet, some: Collection[str]) -> None:
    """Let bearers in use have run out, and their connections be due over the next five minutes."""
    for number, one in enumerate(some):
        row = fleet.table[one]
        due_at = START + number % 5 * MINUTE
        fleet.table[one] = replace(row, expires_at=START, asked_at=START - 1, due_at=due_at)


def one_of_the_others_is_answered_each_minute(fleet: Fleet, others: Collection[str]) -> None:
    for number, one in enumerate(others):
        row = fleet.table[one]
        fleet.table[one] = replace(row, due_at=START + number * MINUTE, expires_at=START + DAY)


def test_nine_of_ten_bearers_expired_for_five_minutes_are_one_page() -> None:
    fleet = fleet_of(100)
    healthy = fleet.ids[:10]
    sick = [one for one in fleet.ids if one not in healthy]
    expire(fleet, sick)
    one_of_the_others_is_answered_each_minute(fleet, healthy)
    is_away_for(fleet, sick)

    fleet.pass_minutes(4)
    assert fleet.alarms.pages == []
    fleet.pass_minutes(5)

    assert fleet.alarms.pages == [EXPIRED]
    assert fleet.alarms.on == {EXPIRED}


def test_bearers_that_expire_because_the_schedule_is_too_slow_are_paged_with_their_cause() -> None:
    """A bearer of 15 minutes is due 4 minutes before its end; a lag of 15 is one too late."""
    fleet = fleet_of(24)
    fleet.world.provider.change_settings({"id_token_lifetime": 15 * MINUTE})
    expire(fleet, fleet.ids)
    fleet.hurry()
    fleet.pass_minutes(5)
    fleet.pass_minutes(1, ask=fleet.ids)
    fleet.rate, fleet.a_run = 2, 1
    assert fleet.world.recorded("bearers_expired")[-1]["value"] == 0

    for _ in range(60):
        fleet.pass_minutes(1)
        if EXPIRED in fleet.alarms.on:
            break

    assert sorted(fleet.alarms.pages) == [EXPIRED, MORE_DUE]
    assert fleet.alarms.on == {EXPIRED, MORE_DUE}


def test_where_akoya_is_away_for_all_the_cause_is_the_one_page() -> None:
    fleet = fleet_of(100)
    expire(fleet, fleet.ids)
    fleet.world.http.before = lambda _: http_response(503)

    fleet.pass_minutes(60)

    assert fleet.world.recorded("bearers_expired")[-1]["value"] == 100
    assert fleet.alarms.pages == [NO_GOOD_RUN]


def test_bearers_that_nobody_asks_for_may_expire() -> None:
    fleet = fleet_of(100)
    for one in fleet.ids:
        row = fleet.table[one]
        fleet.table[one] = replace(row, expires_at=START - DAY, asked_at=None, due_at=START + DAY)

    fleet.pass_minutes(60)

    assert fleet.alarms.pages == []
    assert {one["value"] for one in fleet.world.recorded("bearers_expired")} == {0}


def test_one_connection_that_cannot_be_renewed_wakes_nobody() -> None:
    fleet = fleet_of(100)
    fleet.pass_minutes(15)
    (sick,) = fleet.living[:1]
    expire(fleet, [sick])
    is_away_for(fleet, [sick])

    fleet.pass_minutes(60)

    assert fleet.world.recorded("bearers_expired")[-1]["value"] == 1
    assert EXPIRED not in fleet.alarms.pages


def test_consents_that_may_be_over_are_no_expired_bearers() -> None:
    fleet = fleet_of(100)
    expire(fleet, fleet.ids)
    for one in fleet.ids:
        row = fleet.table[one]
        suspect = Suspect(
            generation=row.generation, reason=Reason.GRANT_DEAD, since=START, streak_since=START
        )
        fleet.table[one] = replace(row, suspect=suspect, due_at=START + DAY)

    fleet.pass_minutes(10)

    assert {one["value"] for one in fleet.world.recorded("bearers_expired")} == {0}
