"""Akoya refuses every refresh token, and then takes them again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.incidents.fleet import DAY, SIZES, Fleet, fleet_of
from tests.world import START
from token_broker.domain.connection import Status
from token_broker.domain.refresh_policy import GUARD_COUNT

GUARD = "GuardTrippedAlarm"


def ended(fleet: Fleet) -> list[str]:
    return [one for one in fleet.ids if fleet.table.rows[one].status is Status.REAUTH_REQUIRED]


def refuse_all(fleet: Fleet) -> None:
    fleet.world.provider.arm({"fault": "grant_dead"})


def heals(fleet: Fleet) -> None:
    """Let Akoya take the tokens again and time pass: longer than what was held back waits."""
    fleet.world.provider.disarm()
    fleet.hurry()
    fleet.pass_minutes(20)


@pytest.mark.parametrize("size", [300, 30_000])
def test_mass_refusals_trip_the_guard_and_all_it_held_comes_back_by_itself(size: int) -> None:
    fleet = fleet_of(size)
    fleet.pass_minutes(30)  # a healthy half hour must not hide what follows
    refuse_all(fleet)
    before = ended_before_the_guard(fleet, within=60)

    fleet.pass_minutes(60, ask=[*fleet.spent[:2], *fleet.living[:2]])

    # Where many are due a minute nobody is lost; where few are, five in an hour are single ends.
    assert len(before) <= (0 if size == max(SIZES) else 2 * GUARD_COUNT)
    assert ended(fleet) == before
    assert fleet.alarms.pages == [GUARD]

    heals(fleet)
    assert ended(fleet) == before
    is_back_but_for(fleet, before)

    operator_ends_it(fleet, before)
    fleet.pass_minutes(60)
    assert fleet.alarms.pages == [GUARD]


def ended_before_the_guard(fleet: Fleet, *, within: int) -> list[str]:
    for _ in range(within):
        fleet.pass_minutes(1)
        if fleet.world.recorded("guard_tripped"):
            return ended(fleet)
    pytest.fail("the guard has not tripped")


def is_back_but_for(fleet: Fleet, lost: list[str]) -> None:
    assert fleet.statuses()[Status.ACTIVE] == len(fleet.ids) - len(lost)
    assert list(fleet.without_living_token()) == []  # the fault took no token away
    assert not any(row.suspected for row in fleet.table.rows.values() if row.id not in lost)


def operator_ends_it(fleet: Fleet, lost: list[str]) -> None:
    """Lift the guard and bring back what ended before it tripped."""
    fleet.world.on.control.lift_guard()
    for one in lost:
        fleet.table.bring_back(fleet.table.rows[one], now=fleet.world.clock())
    fleet.pass_minutes(1)
    assert {fleet.table.rows[one].generation for one in lost} <= {2}
    assert fleet.statuses() == {Status.ACTIVE: len(fleet.ids)}
    assert list(fleet.without_living_token()) == []


def test_in_a_stack_too_small_for_the_guard_the_ended_keep_their_sets_to_be_brought_back() -> None:
    """Two refusals of three connections cannot be told from two people who ended their consent."""
    fleet = fleet_of(3)
    refuse_all(fleet)
    fleet.pass_minutes(60)

    assert ended(fleet) == [*fleet.spent, *fleet.running_out]
    assert fleet.world.sends() == 2 * 2
    assert fleet.alarms.pages == []

    heals(fleet)
    assert len(ended(fleet)) == 2
    operator_ends_it(fleet, ended(fleet))


@pytest.mark.parametrize("size", [30, 300])
def test_refusals_that_callers_meet_first_count_as_well(size: int) -> None:
    fleet = fleet_of(size)
    for one in fleet.ids:
        row = fleet.table.rows[one]
        fleet.table.rows[one] = replace(row, expires_at=START, due_at=START + DAY)
    refuse_all(fleet)

    fleet.pass_minutes(1, ask=fleet.ids)
    fleet.pass_minutes(60)

    assert ended(fleet) == []
    assert fleet.alarms.pages == [GUARD]
    heals(fleet)
    is_back_but_for(fleet, [])
