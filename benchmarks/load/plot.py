"""The lag, the pace and the shortest life handed out, over the time of a run under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.load import report

PLOT = Path(__file__).parents[2] / "docs" / "load.svg"


def draw(found: dict[str, Any]) -> None:
    """Draw what was kept of a run."""
    import matplotlib as mpl  # noqa: PLC0415 - what judges a run needs none of it

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "load", "font.size": 9}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    over, life = found["over_time"], found["asked"]["life"]
    early = report.SHIPPED.early(life)
    figure, (lag, pace, left) = plt.subplots(3, sharex=True, figsize=(9, 6.5), layout="constrained")
    lag.plot(*_columns(over["lag"]), "o-", color="#235", markersize=4)
    lag.axhline(early, color="#b55", linewidth=1)
    lag.annotate("a bearer expires in use from here on", (0, early), (4, -11), **_POINTS)
    lag.set_ylabel("lag, s")
    lag.set_ylim(0, early * 1.15)
    pace.step(*_columns(over["rotations_a_second"]), where="post", color="#235", label="refreshes")
    pace.step(*_columns(over["hand_outs_a_second"]), where="post", color="#9ab", label="hand-outs")
    pace.set_ylabel("a second")
    pace.set_ylim(bottom=0)
    pace.legend(loc="upper left")
    left.plot(*_columns(over["least_seconds_left"]), color="#235")
    left.axhline(0, color="#b55", linewidth=1)
    left.set_ylabel("shortest life\nhanded out, s")
    left.set_ylim(-10, life)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("minutes since the first connection came")
    for axes in (lag, pace, left):
        axes.axvline(over["whole_at"] / 60, color="#999", linewidth=1, linestyle=":")
        axes.margins(x=0)
    left.annotate("all are there", (over["whole_at"] / 60, life), (4, -11), **_POINTS)
    figure.savefig(PLOT, metadata={"Date": None, "Creator": None})


_POINTS: dict[str, Any] = {"textcoords": "offset points", "color": "#666"}


def _columns(pairs: list[list[float]]) -> tuple[list[float], list[float]]:
    return [at / 60 for at, _ in pairs], [value for _, value in pairs]


if __name__ == "__main__":
    draw(report.kept("load"))
