"""A refused refresh token makes a connection suspect; only a witness, or a long time, ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from tests.acts import END_AFTER
from tests.clock import START
from tests.loopback import http_response
from tests.unit.refused import (
    end_at_the_bank,
    make_due,
    minutes_until_ended,
    pass_minutes,
    people,
    refused_sends,
    suspect_of,
    with_day_long_bearers,
)
from tests.world import World
from token_broker.domain.connection import Degraded, Reason, Status
from token_broker.domain.errors import ConsentSuspect, ReauthorizationRequired, UpstreamUnavailable
from token_broker.runtime.http_api import view

ANOTHER_BANK = "capital"


@pytest.fixture
def memory() -> World:
    return with_day_long_bearers()


# ── suspect ──────────────────────────────────────────────────────────────────────────────────────


def test_a_suspect_is_looked_at_after_1_5_and_15_minutes_and_then_each_hour(memory: World) -> None:
    suspect_of(memory)

    pass_minutes(memory, 190)

    first, one, five, fifteen, *hourly = refused_sends(memory)
    assert (first, one, five, fifteen) == (0, 60, 300, 900)
    gaps = [later - earlier for earlier, later in zip([fifteen, *hourly], hourly, strict=False)]
    assert gaps
    assert all(45 * 60 <= gap <= 56 * 60 for gap in gaps)


@pytest.mark.parametrize("healed_after", [1, 4, 14, 120])
def test_a_good_answer_at_any_look_heals(memory: World, healed_after: int) -> None:
    (one,) = people(memory, 1)
    memory.provider.arm({"fault": "grant_dead"})
    make_due(memory, one.id)
    memory.run_schedule()
    pass_minutes(memory, healed_after - 1)
    memory.provider.disarm()

    pass_minutes(memory, 60)

    row = memory.row(one.id)
    assert (row.status, row.degraded, row.generation) == (Status.ACTIVE, None, 2)
    assert memory.is_alive(row)
    assert memory.recorded("connection_healed")


def test_the_living_bearer_is_served_and_then_the_true_next_look_is_told(memory: World) -> None:
    one = suspect_of(memory)
    assert memory.hand_out(one, min_validity=80_000).generation == 1

    pass_minutes(memory, 6)
    memory.memory[one] = replace(memory.row(one), expires_at=memory.clock())
    sent = memory.sends()
    with pytest.raises(ConsentSuspect) as told:
        memory.hand_out(one)

    assert told.value.retry_after == (memory.row(one).due_at or 0) - memory.clock() > 60
    assert memory.sends() == sent  # a caller does not look


def test_callers_and_listing_are_told_at_once(world: World) -> None:
    one = world.connect()
    world.provider.expire("refresh_token")
    assert view(world.row(one.id))["health"] == "ok"
    with pytest.raises(ConsentSuspect):
        world.hand_out(one.id, rejected=1)

    (listed,) = world.broker.connections.of_subject("ada").connections
    for shown in (view(world.broker.connections.look(one.id)), view(listed)):
        assert (shown["status"], shown["health"], shown["degraded"]) == (
            "ACTIVE",
            "degraded",
            "suspect",
        )


def test_a_caller_who_meets_the_refusal_makes_it_suspect_and_never_ends_it(memory: World) -> None:
    (one,) = people(memory, 1)
    end_at_the_bank(memory, 1)
    for _ in range(40):
        with pytest.raises(UpstreamUnavailable):
            memory.hand_out(one.id, rejected=1)
        memory.clock.advance(END_AFTER // 20)

    row = memory.row(one.id)
    assert (row.status, row.degraded) == (Status.ACTIVE, Degraded.SUSPECT)
    assert memory.sends() == 1


def test_a_suspect_can_be_renewed_at_once_and_heals(world: World) -> None:
    one = world.connect()
    world.provider.expire("refresh_token")
    with pytest.raises(ConsentSuspect):
        world.hand_out(one.id, rejected=1)

    assert world.link(connection_id=one.id).result.status == "active"

    assert view(world.row(one.id))["health"] == "ok"
    assert world.hand_out(one.id).generation == 2


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_without_a_witness_it_ends_after_the_hours_of_the_parameter(memory: World) -> None:
    one = suspect_of(memory)

    row = memory.pass_refusals(one)

    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.GRANT_DEAD)
    assert END_AFTER <= refused_sends(memory)[-1] < END_AFTER + 3_600
    with pytest.raises(ReauthorizationRequired):
        memory.hand_out(one)


def test_with_a_witness_an_end_is_final_within_half_an_hour(memory: World) -> None:
    made = people(memory, 2)
    make_due(memory, made[1].id)
    memory.run_schedule()  # somebody was answered before: whom this process can ask again
    end_at_the_bank(memory, 1)
    make_due(memory, made[0].id)
    memory.run_schedule()

    took = minutes_until_ended(memory, made[0].id, within=30)

    assert took is not None
    assert took > 15
    assert memory.row(made[1].id).generation == 3  # asked once, in so many looks
    assert memory.row(made[1].id).degraded is None


def test_an_end_by_the_way_of_a_witness_needs_no_asking_where_there_is_one(memory: World) -> None:
    one = suspect_of(memory, of=2)
    pass_minutes(memory, 12)
    (other,) = (row.id for row in memory.active() if row.id != one)
    make_due(memory, other)
    memory.run_schedule()

    assert minutes_until_ended(memory, one, within=6) is not None
    assert memory.recorded("witness_asked") == []


def test_a_quarter_of_an_hour_of_refusals_is_the_least(memory: World) -> None:
    """A look in between must not end it sooner."""
    one = suspect_of(memory, of=2)
    (other,) = (row.id for row in memory.active() if row.id != one)
    pass_minutes(memory, 10)
    make_due(memory, other)
    pass_minutes(memory, 3)
    looked = len(memory.refused())
    memory.memory[one] = replace(memory.row(one), due_at=memory.clock())
    pass_minutes(memory, 1)

    assert len(memory.refused()) == looked + 1
    assert memory.row(one).status is Status.ACTIVE


@pytest.mark.parametrize("minute", [0, 2, 9])
def test_who_was_answered_sooner_than_ten_minutes_after_is_no_witness(
    memory: World, minute: int
) -> None:
    """A fault that comes and goes answers one and refuses another in the same minute."""
    one = suspect_of(memory, of=2)
    (other,) = (row.id for row in memory.active() if row.id != one)
    pass_minutes(memory, minute)
    make_due(memory, other)
    memory.run_schedule()
    memory.provider.arm({"fault": "grant_dead"})  # and then nobody is answered

    assert minutes_until_ended(memory, one, within=24 * 60) is None


def test_who_is_answered_just_before_a_look_is_no_witness_yet(memory: World) -> None:
    """A bank that comes back answers some before it answers others."""
    made = people(memory, 2)
    memory.provider.arm({"fault": "grant_dead"})
    make_due(memory, made[0].id)
    memory.run_schedule()
    pass_minutes(memory, 14)
    memory.provider.disarm()
    make_due(memory, made[1].id)
    memory.run_schedule()
    memory.provider.arm({"fault": "grant_dead", "times": 1})
    pass_minutes(memory, 1)
    assert memory.row(made[0].id).status is Status.ACTIVE

    pass_minutes(memory, 6)
    assert memory.row(made[0].id).degraded is None


def test_another_bank_bears_no_witness(memory: World) -> None:
    one = suspect_of(memory, of=2)
    (other,) = (row.id for row in memory.active() if row.id != one)
    rows = memory.memory
    row = rows[other]
    sealer = memory.broker.seal.prepare(other, subject=row.subject, connector=ANOTHER_BANK)
    sealed = sealer.seal(memory.broker.seal.open(row), generation=row.generation)
    rows[other] = replace(row, connector=ANOTHER_BANK, login=None, sealed=sealed)
    for _ in range(12):
        make_due(memory, other)
        pass_minutes(memory, 10)

    assert memory.row(other).generation > 10
    assert memory.row(one).status is Status.ACTIVE


def test_nobody_bears_witness_to_its_own_end(memory: World) -> None:
    """Its last good answer may be all that is known of its bank."""
    one = suspect_of(memory)
    memory.broker.control.rotation_met(connector="mikomo", by=one)  # late, of a process that hung
    pass_minutes(memory, 11)
    memory.broker.control.rotation_met(connector="mikomo", by=one)

    pass_minutes(memory, 120)

    assert memory.row(one).status is Status.ACTIVE
    assert memory.recorded("witness_asked") == []


def test_an_outage_between_two_refusals_breaks_the_streak(memory: World) -> None:
    one = suspect_of(memory, of=2)
    (other,) = (row.id for row in memory.active() if row.id != one)
    pass_minutes(memory, 10)
    make_due(memory, other)
    memory.run_schedule()

    def away(_: requests.PreparedRequest) -> requests.Response:
        return http_response(503)

    memory.http.before = away
    pass_minutes(memory, 6)  # the look of the fifteenth minute goes unanswered
    memory.http.before = None
    suspect = memory.row(one).suspected
    assert suspect is not None
    assert suspect.streak_since is None
    assert suspect.since == START

    pass_minutes(memory, 14)  # refused again, and not for a quarter of an hour
    assert memory.row(one).status is Status.ACTIVE
    make_due(memory, other)
    assert minutes_until_ended(memory, one, within=60) is not None


def test_a_witness_that_is_away_hastens_no_look(memory: World) -> None:
    """One that fails when it is asked is not on its way: the looks stay those of every suspect."""
    made = people(memory, 2)
    make_due(memory, made[1].id)
    memory.run_schedule()
    end_at_the_bank(memory, 1)
    make_due(memory, made[0].id)
    memory.run_schedule()
    theirs = memory.broker.seal.open(memory.row(made[1].id)).refresh_token.reveal()

    def away(request: requests.PreparedRequest) -> requests.Response | None:
        (sent,) = parse_qs(str(request.body)).get("refresh_token", [""])
        return http_response(503) if sent == theirs else None

    memory.http.before = away
    pass_minutes(memory, 190)

    assert memory.row(made[1].id).generation == 2
    assert memory.row(made[0].id).status is Status.ACTIVE
    assert len(refused_sends(memory)) <= 4 + 5


def test_the_refused_are_not_asked_to_bear_witness(memory: World) -> None:
    made = people(memory, 3)
    for one in made:
        make_due(memory, one.id)
    memory.run_schedule()
    memory.provider.arm({"fault": "grant_dead"})
    for one in made:
        make_due(memory, one.id)
    memory.run_schedule()

    pass_minutes(memory, 120)

    assert memory.recorded("witness_asked") == []
    assert len(memory.active()) == 3


def test_a_refusal_after_a_lost_answer_is_named_a_lost_rotation(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "lost_after_commit", "times": 3})
    world.run_schedule()

    row = world.pass_refusals(one.id)

    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.ROTATION_LOST)
    assert world.recorded("rotation_lost")


def test_a_control_table_that_is_away_ends_nobody_and_costs_no_refresh(
    memory: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> Any:
        raise UpstreamUnavailable

    one, other = people(memory, 2)
    for name in ("refusal_met", "rotation_met", "witness", "ask_witness"):
        monkeypatch.setattr(memory.broker.control, name, away)
    end_at_the_bank(memory, 1)
    for each in (one, other):
        make_due(memory, each.id)
    pass_minutes(memory, 60)

    assert memory.row(one.id).degraded is Degraded.SUSPECT
    assert memory.row(other.id).generation == 2


def test_a_refusal_documented_as_a_fault_of_ours_is_reported_and_suspect_all_the_same(
    memory: World,
) -> None:
    (one,) = people(memory, 1)
    memory.http.before = lambda _: http_response(400, b'{"error": "invalid_grant"}')
    make_due(memory, one.id)
    memory.run_schedule()

    assert memory.row(one.id).degraded is Degraded.SUSPECT
    assert [told["connection_id"] for told in memory.recorded("request_refused")] == [one.id]

    memory.http.before = lambda _: http_response(
        400, b'{"error": "invalid_grant", "error_description": "The refresh token is invalid."}'
    )
    pass_minutes(memory, 2)
    assert len(memory.recorded("request_refused")) == 1
