"""The simulated stack spends what the whole broker spends that every other test stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulation.cells import simulate
from simulation.sizing import Load
from simulation.stack import Parameters
from tests.clock import START
from tests.incidents.fleet import fleet_due_at

CONNECTIONS, LIFE, ASKED_EVERY = 200, 900, 300
MINUTE, HOUR = 60, 3_600


def rotations_of_the_whole_broker(*, hours: int) -> int:
    """Let 200 connections be asked for every five minutes, from half an hour on counted."""
    fleet = fleet_due_at([START + 60 + place * 3 for place in range(CONNECTIONS)])
    world = fleet.world
    world.provider.change_settings({"id_token_lifetime": LIFE})
    for one in fleet.ids:
        fleet.table[one] = replace(fleet.table[one], issued_at=START - 1, expires_at=START + LIFE)
    counted_from = 0
    for minute in range(30 + hours * 60):
        world.clock.now = float(START + minute * MINUTE)
        if minute == 30:
            counted_from = world.sends()
        world.run_schedule()
        for place, one in enumerate(fleet.ids):
            if (minute + place) % (ASKED_EVERY // MINUTE) == 0:
                world.hand_out(one)
    return world.sends() - counted_from


def test_two_hundred_connections_rotate_as_often_as_in_the_whole_broker() -> None:
    load = Load(connections=CONNECTIONS, life=LIFE, use="hot", hot_every=ASKED_EVERY)
    seen = simulate(load, Parameters(rate=4), lasts=3 * HOUR).seen

    assert seen.events["token_refreshed"] == pytest.approx(
        rotations_of_the_whole_broker(hours=3), rel=0.05
    )


def test_the_policy_says_beforehand_how_often_they_rotate() -> None:
    load = Load(connections=CONNECTIONS, life=LIFE, use="hot")
    of = Parameters(rate=4)
    seen = simulate(load, of, lasts=HOUR).seen

    assert seen.events["token_refreshed"] / HOUR == pytest.approx(
        load.refreshes(of.policy), rel=0.05
    )


def test_one_lane_of_four_does_a_quarter_of_what_all_four_do() -> None:
    load, of = Load(connections=2_000, life=LIFE, use="hot"), Parameters(rate=8, lanes=4)
    whole, part = (simulate(load, of, lasts=HOUR // 3, share=share).seen for share in (1, 4))

    assert 4 * part.events["token_refreshed"] == pytest.approx(
        whole.events["token_refreshed"], rel=0.1
    )
