"""The parts of `make simulate`, each a list of jobs, and how a line of their results reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from simulation import akoya, cost, sizing
from simulation.akoya import Trouble
from simulation.cells import grid_cell, over_time
from simulation.crowds import batch, full_lanes, nightly_job
from simulation.fleet import BANKS, HOT_EVERY, MIXES, NIGHT
from simulation.sizing import LANES, LARGER, Load, sized
from simulation.stack import DAY, Parameters

MINUTE, HOUR = 60, 3_600
LIVES = {15 * MINUTE: "15 min", HOUR: "1 h", DAY: "24 h"}
SIZES = (1_000, 10_000, 100_000, 1_000_000)
TROUBLED = Load(connections=1_000, life=15 * MINUTE, use="hot")
OUTAGE = (10 * MINUTE, 40 * MINUTE)
SHORT_LIVES = (120, 180, 240, 300, 360, 420, 480, 540)
ASKED_IN_A_LIFE = 3 / 5  # of a short life: at least once while each bearer is the newest

Job = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A job and about how long it takes; the heaviest begin first."""

    act: Job
    weight: float

    def __call__(self) -> dict[str, Any]:
        """Do it."""
        return self.act()


def short_life(life: int, *, rate: float = 20, connections: int = 2_000) -> Job:
    """Return the job of bearers that live for minutes only, asked for in each of their lives."""
    load = Load(
        connections=connections, life=life, use="hot", hot_every=int(life * ASKED_IN_A_LIFE)
    )
    return partial(over_time, load, Parameters(rate=rate), lasts=15 * MINUTE, warm_up=5 * MINUTE)


GRID = [
    Weighed(partial(grid_cell, load), 5 + 25_000 * load.connections / 1_000_000 / load.life)
    for use in MIXES
    for life in LIVES
    for connections in SIZES
    for load in [Load(connections=connections, life=life, use=use)]
]
DEFAULTS = [
    Weighed(
        partial(over_time, Load(connections=n, life=900, use="hot"), Parameters(), lasts=LONG), 9
    )
    for LONG in [2 * HOUR]
    for n in (600, 900, 1_200, 2_400)
]
TROUBLES = [
    Weighed(partial(over_time, TROUBLED, of, lasts=75 * MINUTE, troubles=[trouble]), 20)
    for of, trouble in [
        (sized(TROUBLED), Trouble(*OUTAGE)),
        (replace(sized(TROUBLED), rate=2 * sized(TROUBLED).rate), Trouble(*OUTAGE)),
        (sized(TROUBLED), Trouble(*OUTAGE, bank="bank-0", hangs=True)),
    ]
]
FULL = [
    Weighed(partial(full_lanes, Parameters(rate=10_000, lanes=lanes)), 2 * lanes) for lanes in LANES
] + [
    Weighed(
        partial(full_lanes, Parameters(rate=10_000, threads=threads, memory=memory), a_lane=12_000),
        4,
    )
    for threads, memory in [(16, 1_024), *LARGER]
]
CROWDS = [
    Weighed(partial(batch, connections, rate), connections / 100)
    for connections, rate in [(500, 2), (1_000, 10), (3_000, 50)]
]
NIGHTS = [
    Weighed(partial(nightly_job, 3_000, life, rate), 5)
    for life, rate in [(900, 22), (HOUR, 6), (DAY, 2)]
]
SHORT = [Weighed(short_life(life), 20) for life in SHORT_LIVES]

PARTS: dict[str, list[Weighed]] = {
    "grid": GRID,
    "defaults": DEFAULTS,
    "troubles": TROUBLES,
    "lanes": FULL,
    "batches": CROWDS,
    "nights": NIGHTS,
    "short lives": SHORT,
}


def line(part: str, of: dict[str, Any]) -> str:
    """Return one result as a line to print."""
    if part == "grid":
        return (
            f"{of['connections']:>9,} x {LIVES[of['life']]:>6} {of['use']:8} "
            f"rate {of['parameters']['rate']:5} lanes {of['parameters']['lanes']:2}: "
            f"{of['simulated_refreshes_a_second']:7.1f} refreshes/s, lag {of['lag']:4} s, "
            f"expired {of['stale_share']:.2%}, busiest partition {of['due_partition']:.0f}/s, "
            f"${of['kept']:,.0f} + ${of['handed_out']:,.0f}; {of['how']}; "
            f"first {of['first_limit']} ({of['filled']:.0%})"
        )
    shown = {name: one for name, one in of.items() if not isinstance(one, list | dict)}
    if "lag" in of:
        shown["worst lag"] = max(of["lag"])
    return f"{part}: " + ", ".join(
        f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}"
        for name, one in shown.items()
    )


def assumed() -> dict[str, Any]:
    """Return the assumptions behind the results: what was not measured on AWS or at Akoya."""
    return {
        "answer_median": akoya.MEDIAN,
        "answer_mean": sizing.ANSWER,
        "cpu_a_refresh": akoya.CPU,
        "aws_calls": akoya.AWS_CALLS,
        "hot_every": HOT_EVERY,
        "night": NIGHT,
        "banks": BANKS,
        "mixed": {use.value: share for use, share in MIXES["mixed"].items()},
        "row_units": cost.ROW_UNITS,
        "prices": cost.stated(),
    }
