"""What stays behind in escrow, and who sweeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.interruptions import table_away
from tests.unit.escrowed import escrowed
from tests.world import World
from token_broker.domain.errors import UpstreamUnavailable

A_QUARTER = 900


def sweep(world: World) -> None:
    """Let the next run come that sweeps."""
    world.clock.now += -world.clock.now % A_QUARTER
    world.run_schedule()


def sweep_after_an_hour(world: World) -> None:
    world.clock.advance(3_600)
    sweep(world)


def test_escrow_is_swept_by_one_run_of_each_quarter_of_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    looked: list[int] = []

    def look(moment: int) -> Iterator[Any]:
        looked.append(moment)
        return iter(())

    monkeypatch.setattr(world.broker.escrow, "put_before", look)
    for _ in range(60):
        world.clock.advance(60)
        world.run_schedule()

    assert len(looked) == 4


def test_a_set_whose_row_is_gone_is_reported_once_and_removed() -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    world.memory.clear()

    for _ in range(4):
        sweep_after_an_hour(world)

    assert len(world.recorded("escrow_stranded")) == 1
    assert not escrowed(world, one.id, 2)


def test_a_set_whose_row_does_not_read_is_kept_and_reported_and_hides_no_other() -> None:
    world = World.in_memory()
    both = [world.connect(), world.connect("bob", "mikomo_2")]
    for one in both:
        world.make_due(one.id)
        with table_away(world):
            world.run_schedule()
    for one in both:
        world.memory.spoil(one.id, {"status": "ODD"})

    sweep_after_an_hour(world)

    stranded = {said["connection_id"] for said in world.recorded("escrow_stranded")}
    assert stranded == {one.id for one in both}
    assert world.recorded("escrow_unswept") == []
    assert all(escrowed(world, one.id, 2) for one in both)


def test_a_set_that_stayed_behind_after_landing_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    world.pass_a_lease()

    def refuse(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.broker.escrow, "discard", refuse)
        world.run_schedule()
    assert world.row(one.id).generation == 2
    assert escrowed(world, one.id, 2)

    sweep_after_an_hour(world)

    assert not escrowed(world, one.id, 2)
    assert not world.recorded("escrow_stranded")


def test_a_set_nobody_came_for_within_an_hour_is_reported_by_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with table_away(world):
        world.run_schedule()
    monkeypatch.setattr(world.broker.connections, "due", lambda **_: [])

    world.clock.advance(A_QUARTER)
    sweep(world)
    assert not world.recorded("escrow_stranded")
    sweep_after_an_hour(world)

    (said,) = world.recorded("escrow_stranded")
    assert (said["connection_id"], said["generation"]) == (one.id, 2)
    assert escrowed(world, one.id, 2)
