"""Akoya refuses what it should take, for seconds or for a day, and nobody is asked to consent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Self

import pytest
import requests

from tests.clock import START
from tests.incidents.fleet import DAY, HOUR, MINUTE, Fleet, fleet_due_at, fleet_of
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Degraded, Reason, Status
from token_broker.domain.errors import ConsentSuspect

MASS = "MassRefusalsAlarm"
SIZES = (1, 4, 5, 6, 12, 24, 300)
LASTS = (50, 90, 30 * MINUTE, 20 * HOUR)
BEGINS = START + MINUTE


@dataclass
class Refusals:
    """Every refresh token is refused between two moments; `mixed`: at the edges every second one.

    The edges are the first and the last minute. `only` names the tokens that are refused at all.
    """

    world: World
    begins: int
    ends: int
    mixed: bool = False
    only: frozenset[str] = frozenset()
    refused: int = field(default=0, init=False)
    _count: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self.world.http.before = self._answer
        return self

    def __exit__(self, *_: object) -> None:
        self.world.http.before = None

    def _answer(self, request: requests.PreparedRequest) -> requests.Response | None:
        now, body = self.world.clock.now, str(request.body)
        if "grant_type=refresh_token" not in body or not self.begins <= now < self.ends:
            return None
        if self.only and body.partition("&refresh_token=")[2].partition("&")[0] not in self.only:
            return None
        at_the_edge = now < self.begins + MINUTE or now >= self.ends - MINUTE
        self._count += 1
        if self.mixed and at_the_edge and self._count % 2:
            return None
        self.refused += 1
        said = b'{"error": "invalid_request", "error_description": "Refresh token is invalid."}'
        return http_response(400, said)


def ended(fleet: Fleet) -> list[str]:
    return [one for one in fleet.ids if fleet.table[one].status is not Status.ACTIVE]


def pass_until(fleet: Fleet, moment: int) -> None:
    while fleet.world.clock.now < moment:
        fleet.pass_minutes(1)
        assert ended(fleet) == []


def all_is_well(fleet: Fleet, since: int) -> None:
    """Nobody has ended, all have healed untouched, and somebody was woken once at the most."""
    assert ended(fleet) == []
    assert not [row.id for row in fleet.table.values() if row.degraded]
    assert list(fleet.without_living_token()) == []
    assert {row.generation > 1 for row in fleet.table.values()} == {True}
    assert fleet.alarms.pages in ([], [MASS])
    assert since < fleet.world.clock.now


@pytest.mark.parametrize(
    ("size", "lasts", "mixed", "at_once"), list(product(SIZES, LASTS, (False, True), (True, False)))
)
def test_wrong_refusals_end_nobody_and_all_heal_untouched(
    size: int, lasts: int, *, mixed: bool, at_once: bool
) -> None:
    ends = BEGINS + lasts
    fleet = fleet_due_at(BEGINS + (0 if at_once else lasts * n // size) for n in range(size))
    with Refusals(fleet.world, BEGINS, ends, mixed=mixed) as refusals:
        pass_until(fleet, ends)
        assert refusals.refused or mixed
    pass_until(fleet, ends + HOUR + 5 * MINUTE)

    all_is_well(fleet, ends)


@pytest.mark.parametrize("size", [12, 300])
def test_refusals_in_mass_wake_somebody_once_and_name_the_bank(size: int) -> None:
    fleet = fleet_due_at(BEGINS + n for n in range(size))
    with Refusals(fleet.world, BEGINS, BEGINS + 20 * HOUR):
        pass_until(fleet, BEGINS + 20 * HOUR)

    assert fleet.alarms.pages == [MASS]
    counted = fleet.world.recorded("connections_refused")
    assert {told["connector"] for told in counted} == {"mikomo"}
    assert max(told["value"] for told in counted) == size


def test_callers_are_served_what_lives_and_then_told_the_next_look() -> None:
    fleet = fleet_due_at([BEGINS] * 5)
    with Refusals(fleet.world, BEGINS, BEGINS + 4 * HOUR):
        for _ in range(200):
            fleet.pass_minutes(1, ask=fleet.ids)
            for one in fleet.asked.served:
                assert fleet.asked.served[one] > fleet.asked.asked_at[one]
            for one, error in fleet.asked.refused.items():
                assert isinstance(error, ConsentSuspect)
                look_in = (fleet.table[one].due_at or 0) - fleet.world.clock()
                assert error.retry_after == (look_in if look_in > 0 else 30)
    assert fleet.asked.refused.keys() == set(fleet.ids)

    fleet.pass_minutes(60)
    fleet.pass_minutes(1, ask=fleet.ids)
    assert fleet.asked.served.keys() == set(fleet.ids)
    assert fleet.alarms.pages == []  # that callers are told to wait is no failure of the API


def tokens_of(fleet: Fleet, ids: Iterable[str]) -> frozenset[str]:
    held = (fleet.world.broker.seal.open(fleet.table[one]) for one in ids)
    return frozenset(tokens.refresh_token.reveal() for tokens in held)


@pytest.mark.slow
def test_one_bank_of_three_in_a_hundred_that_refuses_everybody_ends_nobody() -> None:
    size, hours = 10_000, 6
    connectors = ["small"] * 3 + ["mikomo"] * 97
    fleet = fleet_due_at((BEGINS + DAY * n // size for n in range(size)), connectors=connectors)
    small = [one for one in fleet.ids if fleet.table[one].connector == "small"]
    ends = BEGINS + hours * HOUR
    with Refusals(fleet.world, BEGINS, ends, only=tokens_of(fleet, small)):
        while fleet.world.clock.now < ends:
            fleet.pass_minutes(1)

    assert ended(fleet) == []
    suspects = [one for one in fleet.ids if fleet.table[one].degraded]
    assert len(suspects) == len(small) * hours // 24
    assert set(suspects) <= set(small)
    assert fleet.alarms.pages == [MASS]
    fleet.pass_minutes(65)
    assert not any(row.degraded for row in fleet.table.values())
    assert list(fleet.without_living_token(suspects)) == []


def test_two_hundred_idle_connections_refused_for_a_day_end_nobody() -> None:
    fleet = fleet_due_at(BEGINS + DAY * n // 200 for n in range(200))
    for one, row in fleet.table.items():
        fleet.table[one] = replace(row, asked_at=None)
    with Refusals(fleet.world, BEGINS, BEGINS + DAY):
        pass_until(fleet, BEGINS + DAY)
    pass_until(fleet, BEGINS + DAY + HOUR + 5 * MINUTE)

    all_is_well(fleet, BEGINS + DAY)


def test_one_that_is_refused_for_thirty_hours_ends_and_heals_untouched() -> None:
    fleet = fleet_due_at([BEGINS])
    (one,) = fleet.ids
    with Refusals(fleet.world, BEGINS, BEGINS + 30 * HOUR):
        fleet.pass_minutes(30 * 60)
    row = fleet.table[one]
    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.GRANT_DEAD)

    fleet.pass_minutes(24 * 60)

    assert fleet.table[one].status is Status.ACTIVE
    assert list(fleet.without_living_token()) == []
    assert fleet.alarms.pages == []


@pytest.mark.parametrize("size", [4, 24, 300])
@pytest.mark.parametrize("quiet", [False, True], ids=["in use", "quiet"])
def test_a_real_end_is_final_within_half_an_hour_where_a_witness_exists(
    size: int, *, quiet: bool
) -> None:
    """Quiet: one other was answered before, and nobody is due while the end is decided."""
    others = [START + 1, *(START + (DAY if quiet else 20 * MINUTE) for _ in range(size - 2))]
    fleet = fleet_due_at([*others, START + 5 * MINUTE])
    dead = fleet.ids[-1]
    fleet.world.provider.expire("consent", f"mikomo/mikomo_{size}")
    fleet.pass_minutes(5)
    assert fleet.table[dead].degraded is Degraded.SUSPECT

    fleet.pass_minutes(30)

    row = fleet.table[dead]
    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.GRANT_DEAD)
    assert ended(fleet) == [dead]
    sends = len(fleet.world.refused())
    assert sends <= 6
    fleet.pass_minutes(60)
    assert ended(fleet) == [dead]
    assert fleet.alarms.pages == []


def test_a_real_end_at_a_busy_bank_is_final_within_half_an_hour_as_well() -> None:
    """Somebody is answered in every minute: the last one always a moment ago."""
    fleet = fleet_due_at(START + 20 * n for n in range(300))
    dead = fleet.ids[30]
    fleet.world.provider.expire("consent", "mikomo/mikomo_31")
    fleet.pass_minutes(11)
    assert fleet.table[dead].degraded is Degraded.SUSPECT

    fleet.pass_minutes(30)

    assert ended(fleet) == [dead]
    assert fleet.world.recorded("witness_asked") == []


def test_a_bank_that_wrongly_refuses_a_part_of_its_people_ends_them_and_the_daily_try_heals() -> (
    None
):
    """What a witness cannot tell: here others of the bank are truly answered."""
    fleet = fleet_of(300)
    part = fleet.spent + fleet.running_out
    ends = BEGINS + 3 * HOUR
    with Refusals(fleet.world, START, ends, only=tokens_of(fleet, part)):
        fleet.pass_minutes(180)
    assert set(ended(fleet)) == set(part)

    fleet.pass_minutes(24 * 60)
    assert ended(fleet) == []
    assert list(fleet.without_living_token(part)) == []
