"""Which runs are missed: the alarm on runs is on after five minutes in which none was counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.loopback import http_response
from tests.world import World
from token_broker.domain.errors import Reported
from token_broker.domain.refresh_policy import BACK_OFF_LONGEST
from token_broker.use_cases.measure import (
    LAG_ALLOWED,
    OUTAGE,
    SPOKEN_FOR,
    account_for,
    account_for_failure,
)

HOUR = 3_600


@pytest.fixture
def world() -> World:
    """One connection, due now; its bearer lasts a day."""
    made = World.in_memory()
    made.provider.change_settings({"id_token_lifetime": 86_400})
    made.make_due(made.connect().id)
    return made


def is_accounted_for(world: World) -> bool:
    """Let a run pass and return whether it was counted."""
    before = len(world.recorded("run_accounted_for"))
    world.run_schedule()
    return len(world.recorded("run_accounted_for")) == before + 1


def nothing_answers(world: World) -> None:
    world.http.before = lambda _: http_response(503)


def test_a_run_that_is_answered_or_finds_nothing_due_is_accounted_for(world: World) -> None:
    assert is_accounted_for(world)
    assert world.sends() == 1
    assert is_accounted_for(world)


def test_idle_runs_between_two_in_vain_are_in_vain_until_something_answers(world: World) -> None:
    nothing_answers(world)
    counted = []
    for _ in range(8):
        counted.append(is_accounted_for(world))
        world.clock.advance(60)
    assert counted == [False] * 8
    assert 0 < world.sends() < 8 * 3, "some of the runs found nothing due"

    world.http.before = None
    world.clock.advance(BACK_OFF_LONGEST)
    assert is_accounted_for(world)


def test_a_breaker_that_is_open_has_an_alarm_of_its_own(world: World) -> None:
    world.provider.change_client_secret("another")
    assert is_accounted_for(world)
    assert world.recorded("breaker_opened")
    world.clock.advance(2 * LAG_ALLOWED)
    assert is_accounted_for(world), "the connection waits, and the alarm says why"


def account(world: World, *, lag: int = 0, alarmed: bool = False, in_vain: bool = False) -> bool:
    before = len(world.recorded("run_accounted_for"))
    account_for(world.broker, lag=lag, answered=False, in_vain=in_vain, alarmed=alarmed)
    return len(world.recorded("run_accounted_for")) == before + 1


def test_a_schedule_that_lags_for_no_known_cause_is_missed(world: World) -> None:
    assert account(world, lag=LAG_ALLOWED)
    assert not account(world, lag=LAG_ALLOWED + 1)


def test_an_alarm_speaks_for_the_lag_it_leaves_behind_for_an_hour(world: World) -> None:
    assert account(world, lag=2 * HOUR, alarmed=True)
    world.clock.advance(SPOKEN_FOR - 1)
    assert account(world, lag=2 * HOUR)
    world.clock.advance(1)
    assert not account(world, lag=2 * HOUR)


def test_an_outage_speaks_for_what_it_leaves_behind_only_once_it_is_an_alarm(world: World) -> None:
    assert not account(world, in_vain=True)
    assert world.broker.control.trouble().explained_until == 0
    world.clock.advance(OUTAGE)
    assert not account(world)
    assert world.broker.control.trouble().explained_until == world.clock() + SPOKEN_FOR


def test_a_run_that_failed_with_an_alarm_is_accounted_for_as_is_the_lag_after_it(
    world: World,
) -> None:
    world.broker.connections.adopt(
        replace(world.broker.connections.recorded_identity(None), client_id="another")  # type: ignore[arg-type]
    )
    with pytest.raises(Reported):
        world.run_schedule()
    account_for_failure(world.broker)
    assert len(world.recorded("run_accounted_for")) == 1
    assert account(world, lag=2 * HOUR)


def test_expired_bearers_are_not_counted_against_the_schedule_while_an_alarm_says_why(
    world: World,
) -> None:
    people = [world.connect(f"person-{n}", f"mikomo_{n}") for n in (2, 3)]
    for one in people:
        world.hand_out(one.id)
    world.clock.advance(86_400 + 1)
    world.provider.change_client_secret("another")
    world.run_schedule()
    assert world.recorded("bearers_expired_share")[-1]["value"] > 10
    counted = len(world.recorded("bearers_expired_share"))

    world.clock.advance(60)
    world.run_schedule()
    assert world.recorded("bearers_expired")[-1]["value"] > 1
    assert len(world.recorded("bearers_expired_share")) == counted
