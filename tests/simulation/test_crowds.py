"""Many at once, in simulated time: a batch keeps its bound, a night does not stampede."""

from __future__ import annotations

import pytest

from simulation import cells
from simulation.cells import simulate
from simulation.crowds import batch, full_lanes, nightly_job
from simulation.sizing import Load
from simulation.stack import Parameters
from token_broker.use_cases.turn import HELD

HOUR = 3_600


def test_a_batch_of_stale_connections_is_served_at_the_rate_in_the_order_it_asked() -> None:
    found = batch(500, 2)

    assert found["finished"] <= found["allowed"]
    assert found["most_asks"] <= 2
    assert found["overtaken"] <= HELD


def test_a_job_that_said_when_it_comes_waits_for_nothing_and_is_prepared_for_evenly() -> None:
    rate = 6
    found = nightly_job(2_000, HOUR, rate)

    assert (found["waited"], found["rotations"], found["most_asks"]) == (0, 1, 1)
    assert max(found["refreshed"]) <= 1.3 * 2_000 / (HOUR / 4 / 60)


def test_two_full_lanes_refresh_twice_as_much_as_one() -> None:
    one, two = (
        full_lanes(Parameters(rate=10_000, lanes=lanes))["refreshes_a_second"] for lanes in (1, 2)
    )

    assert two == pytest.approx(2 * one, rel=0.05)


def test_what_is_neither_due_nor_asked_for_while_stale_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = Load(connections=1_000, life=HOUR, use="hot")
    whole = simulate(load, Parameters(), lasts=600).seen
    monkeypatch.setattr(cells, "WHOLE", 0)
    lively = simulate(load, Parameters(), lasts=600).seen

    assert lively.events["token_refreshed"] == pytest.approx(
        whole.events["token_refreshed"], rel=0.05
    )
