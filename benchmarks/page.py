"""The ratios as they are kept, and as docs/performance.md and its plot show them."""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import token_broker
from benchmarks.ratios import Ratios

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "performance.md", DOCS / "performance.svg"
HEAD = "| what | compared with | ratio | least to most |\n|---|---|---|---|\n"
Kept = list[dict[str, Any]]


def keep(ratios: Ratios, turns: int) -> None:
    """Keep the median and the spread of each ratio, in a file of this version."""
    rows: Kept = [
        {
            "what": what,
            "compared_with": other,
            "median": round(statistics.median(found), 3),
            "least": round(min(found), 3),
            "most": round(max(found), 3),
        }
        for (what, other), found in ratios.items()
    ]
    content = {"turns": turns, "python": sys.version.split()[0], "ratios": rows}
    RESULTS.mkdir(exist_ok=True)
    _file().write_text(json.dumps(content, indent=2) + "\n")


def kept() -> Kept:
    """Return what was kept of this version."""
    found: Kept = json.loads(_file().read_text())["ratios"]
    return found


def show(rows: Kept) -> None:
    """Put the table into the page, and draw it."""
    text = PAGE.read_text()
    PAGE.write_text(re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(rows), text))
    draw(rows)


def table(rows: Kept) -> str:
    """Return the ratios as the page has them."""
    return HEAD + "".join(
        f"| {row['what']} | {row['compared_with']} | {row['median']:.2f} "
        f"| {row['least']:.2f} to {row['most']:.2f} |\n"
        for row in rows
    )


def draw(rows: Kept) -> None:
    """Draw each median with its spread; the line at 1 is what it is compared with."""
    import matplotlib as mpl  # noqa: PLC0415 - a test of the table needs none of it

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 0.36 * len(rows) + 1), layout="constrained")
    for at, row in enumerate(reversed(rows)):
        axes.plot([row["least"], row["most"]], [at, at], color="#9ab", linewidth=4)
        axes.plot(row["median"], at, "o", color="#235")
        axes.annotate(
            f"{row['median']:.2f}", (row["most"], at), (6, -3), textcoords="offset points"
        )
    axes.set_yticks(range(len(rows)), [label(row) for row in reversed(rows)])
    axes.axvline(1, color="#b55", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.25, 0.5, 1, 2, 4, 8], ["0.1", "0.25", "0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set_xlabel("ours / the other side")
    figure.savefig(PLOT, metadata={"Date": None, "Creator": None})


def label(row: dict[str, Any]) -> str:
    """Return what a row is called in the plot."""
    return f"{row['what']} / {row['compared_with']}".replace("`", "")


def _file() -> Path:
    return RESULTS / f"{token_broker.__version__}.json"


if __name__ == "__main__":
    show(kept())
