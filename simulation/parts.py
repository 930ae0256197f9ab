"""The parts of `make simulate`, each a list of jobs, and how a line of their results reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulation import akoya, cost, sizing
from simulation.cells import grid_cell
from simulation.fleet import BANKS, HOT_EVERY, MIXES, NIGHT
from simulation.sizing import Load

MINUTE, HOUR, DAY = 60, 3_600, 86_400
LIVES = {15 * MINUTE: "15 min", HOUR: "1 h", DAY: "24 h"}
SIZES = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to simulate; the heaviest begin first."""

    act: Callable[[], Any]
    weight: float

    def __call__(self) -> Any:
        """Simulate it."""
        return self.act()


@dataclass(frozen=True, slots=True)
class Grid:
    """One cell of the grid."""

    load: Load

    def __call__(self) -> dict[str, Any]:
        """Simulate it."""
        return grid_cell(self.load)


GRID = [
    Job(Grid(load), load.connections / load.life)
    for use in MIXES
    for life in LIVES
    for connections in SIZES
    for load in [Load(connections=connections, life=life, use=use)]
]

PARTS: dict[str, list[Job]] = {"grid": GRID}


def line(part: str, of: dict[str, Any]) -> str:
    """Return one result as a line to print."""
    match part:
        case "grid":
            return (
                f"{of['connections']:>9,} x {LIVES[of['life']]:>6} {of['use']:8} "
                f"rate {of['parameters']['rate']:5} lanes {of['parameters']['lanes']:2}: "
                f"{of['simulated_refreshes_a_second']:7.1f} refreshes/s, lag {of['lag']:4} s, "
                f"expired {of['stale_share']:.2%}, busiest partition {of['due_partition']:.0f}/s, "
                f"${of['kept']:,.0f} + ${of['handed_out']:,.0f}; {of['how']}; "
                f"first {of['first_limit']} ({of['filled']:.0%})"
            )
    return f"{part}: {of}"


def assumed() -> dict[str, Any]:
    """Return what the results stand on that nobody measured on AWS or at Akoya."""
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
