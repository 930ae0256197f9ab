"""The table is bound to its broker, part by part: with a wrong address nothing is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from operations.adopt import adopt
from tests.world import World
from token_broker.domain.connection import Connection
from token_broker.domain.errors import Reported

ELSEWHERE = "https://idp.example"
PARTS = {
    "provider": {"provider": ELSEWHERE},
    "environment": {"environment": "production"},
    "client_id": {"client_id": "another"},
}


def configured(world: World, **changes: Any) -> World:
    """Return the same broker as its operator configures it now."""
    return replace(world, broker=replace(world.broker, **changes))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_another_holds_all_sends_and_is_named(world: World, part: str) -> None:
    one = world.connect()
    other = configured(world, **PARTS[part])
    world.make_due(one.id)

    for send in (other.run_schedule, lambda: other.hand_out(one.id, rejected=1)):
        with pytest.raises(Reported, match=part):
            send()
    with pytest.raises(Reported, match=part):
        other.link("grace", user="mikomo_2")

    assert world.sends() == 0
    details = [str(event["detail"]) for name, event in world.events if name == "table_foreign"]
    assert len(details) == 3
    assert all(detail.startswith(f"{part}: ") and ";" not in detail for detail in details)


def test_every_part_that_differs_is_named(world: World) -> None:
    world.connect()
    other = configured(world, provider=ELSEWHERE, client_id="another")

    with pytest.raises(Reported) as told:
        other.run_schedule()

    assert "client_id: " in str(told.value.detail)
    assert f"{ELSEWHERE}" in str(told.value.detail)
    assert "environment: " not in str(told.value.detail)


@pytest.mark.parametrize("part", PARTS)
def test_while_no_set_has_landed_everything_may_be_corrected(world: World, part: str) -> None:
    wrong = configured(world, **PARTS[part])
    wrong.run_schedule()
    wrong.open(wrong.begin())

    one = world.connect()  # the operator has corrected it

    world.make_due(one.id)
    world.run_schedule()
    assert world.row(one.id).generation == 2
    assert not world.recorded("table_foreign")


def test_a_living_bearer_is_served_meanwhile(world: World) -> None:
    one: Connection = world.connect()
    assert configured(world, provider=ELSEWHERE).hand_out(one.id).generation == 1


def test_adopting_a_table_says_what_differed(world: World) -> None:
    one = world.connect()
    other = configured(world, provider=ELSEWHERE)

    (differed,) = adopt(other.broker)

    assert differed == f"provider: {world.broker.provider}, not {ELSEWHERE}"
    world.make_due(one.id)
    other.run_schedule()
    assert world.row(one.id).generation == 2
    assert adopt(other.broker) == []
