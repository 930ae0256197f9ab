"""The tables and plots of docs/scaling.md, from the results that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import token_broker
from simulation.cells import described
from simulation.cost import PRICES, PerRefresh
from simulation.parts import LIVES, MINUTE
from simulation.sizing import LANES, LARGER, MOST_RATE, MOVED_BY, SPARE, Load, filled, size
from simulation.stack import Parameters
from token_broker.domain.refresh_policy import SENDING_WINDOW
from token_broker.use_cases.lane import LANES_SHARE
from token_broker.use_cases.schedule import RUN_EVERY

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "scaling.md", DOCS / "scaling.svg"
TEN_MILLION = 10_000_000
Results = dict[str, Any]


def kept() -> Results:
    """Return the results of this version."""
    found: Results = json.loads((RESULTS / f"{token_broker.__version__}.json").read_text())
    return found


def show(results: Results) -> None:
    """Put the tables into the page, and draw the plots."""
    text = PAGE.read_text()
    for name, table in tables(results).items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = between.sub(partial(_put, table), text)
    PAGE.write_text(text)
    draw(results)


def _put(table: str, found: re.Match[str]) -> str:
    return found[1] + table + found[2]


def tables(results: Results) -> dict[str, str]:
    """Return each table of the page by its name."""
    return {
        "sizes": _table(
            "| connections | a bearer lives | use | `RateLimitPerSecond` | `Lanes` "
            "| `RefreshThreads` | `RefreshMemory` | refreshes a second "
            "| $ a month: kept | handed out | how |",
            [_size(one) for one in results["grid"]] + [_computed(one) for one in _largest(results)],
        ),
        "seen": _table(
            "| connections | a bearer lives | use | refreshes a second | longest wait, s "
            "| asked for while expired | runs at once | busiest partition, units a second "
            "| first limit | how full | moved by |",
            [_seen(one) for one in results["grid"]],
        ),
        "limits": _table(
            "| connections | a bearer lives | use | first limit | how full |",
            [_limit(one) for one in _largest(results)],
        ),
        "defaults": _table(
            "| connections | longest wait, s | asked for while expired |",
            [
                (f"{one['connections']:,}", max(one["lag"]), _percent(one["stale_share"]))
                for one in results["defaults"]
            ],
        ),
        "lanes": _table(
            "| `Lanes` | `RefreshThreads` | `RefreshMemory` | refreshes a second at most |",
            [
                (of["lanes"], of["threads"], of["memory"], f"{one['refreshes_a_second']:.0f}")
                for one in results["lanes"]
                for of in [one["parameters"]]
            ],
        ),
        "batches": _table(
            "| stale connections | rate | finished after, s | allowed, s "
            "| most asks for one connection "
            "| served after a later ask, by at most, s | most sends a second "
            "| index rows read for each ask |",
            [
                (
                    f"{one['connections']:,}",
                    one["rate"],
                    f"{one['finished']:.0f}",
                    f"{one['allowed']:.0f}",
                    one["most_asks"],
                    f"{one['overtaken']:.1f}",
                    _figure(one["most_sends"]),
                    f"{one['index_rows_an_ask']:.0f}",
                )
                for one in results["batches"]
            ],
        ),
        "nights": _table(
            "| a bearer lives | rate | most refreshes in a minute | callers who waited "
            "| rotations a connection | the job took, s |",
            [
                (
                    LIVES[one["life"]],
                    one["rate"],
                    max(one["refreshed"]),
                    one["waited"],
                    f"{one['rotations']:.2g}",
                    f"{one['finished']:.0f}",
                )
                for one in results["nights"]
            ],
        ),
        "short": _table(
            "| a bearer lives, s | callers who waited for a refresh | asked for while expired "
            "| longest wait, s |",
            [
                (
                    one["life"],
                    _percent(one["waited_share"]),
                    _percent(one["stale_share"]),
                    max(one["lag"]),
                )
                for one in results["short lives"]
            ],
        ),
        "troubles": _table(
            "| what | rate | longest wait, s | minutes until no bearer is expired "
            "| share of asks for an expired bearer that were for the largest bank |",
            [
                (
                    what,
                    one["parameters"]["rate"],
                    max(one["lag"]),
                    _minutes_after(one["stale"]),
                    _percent(one["stale_of_the_first_bank"]),
                )
                for what, one in zip(TROUBLES, results["troubles"], strict=True)
            ],
        ),
        "checked": _table("| what | `make load` | simulated |", _checked(results)),
        "prices": _table(
            "| what | $ | from | in force in |",
            [
                (one.what, " · ".join(_dollars(*step) for step in one.steps), one.source, one.since)
                for one in PRICES.values()
            ],
        ),
    }


TROUBLES = ("Akoya answers nobody", "the same, with twice the rate", "one bank hangs")
SMALL = 10  # a figure below has two digits
LOADS = Path(__file__).parents[1] / "benchmarks/results"
FIVE_MINUTES = 300
TROUBLE_ENDS = 40  # minutes after the begin


def real_run() -> dict[str, float]:
    """Return what `make load` saw of 2,000 connections with bearers of five minutes."""
    load = json.loads((LOADS / f"load-{token_broker.__version__}.json").read_text())
    lags = [lag for at, lag in load["over_time"]["lag"] if at >= load["over_time"]["whole_at"]]
    return {
        "refreshes a second": load["while_all_were_there"]["rotations_a_second"],
        "longest wait, s": max(lags),
        "callers who waited": load["verdict"]["rotations_by_callers"]
        / load["verdict"]["hand_outs"],
    }


def the_same_simulated(results: Results) -> dict[str, float]:
    """Return what was seen of the same fleet in simulated time."""
    (one,) = (one for one in results["short lives"] if one["life"] == FIVE_MINUTES)
    return {
        "refreshes a second": one["sends_a_second"],
        "longest wait, s": max(one["lag"]),
        "callers who waited": one["waited_share"],
    }


def _checked(results: Results) -> list[Sequence[object]]:
    real, simulated = real_run(), the_same_simulated(results)
    return [
        (name, *(_percent(of) if of < 1 else f"{of:.3g}" for of in (real[name], simulated[name])))
        for name in real
    ]


def _largest(results: Results) -> list[dict[str, Any]]:
    """Return what is computed of ten million, from what one million was seen to take."""
    found = []
    for one in results["grid"]:
        if one["connections"] == TEN_MILLION // 10:
            load = Load(connections=TEN_MILLION, life=one["life"], use=one["use"])
            of = size(load) or _beyond(load)
            each = PerRefresh(**one["each"])
            line = described(load, of, each, metrics=round(one["parts"]["metrics"] / 0.3))
            found.append(line | {"fits": size(load) is not None, "limits": filled(load, of)})
    return found


def _beyond(load: Load) -> Parameters:
    """Return the largest stack, with the rate that would be needed."""
    threads, memory = LARGER[-1]
    refreshes = load.refreshes(Parameters().policy)
    rate = -(-SPARE * refreshes * RUN_EVERY // (LANES_SHARE * SENDING_WINDOW))
    return Parameters(rate=int(rate), lanes=LANES[-1], threads=threads, memory=memory)


def _load(one: dict[str, Any]) -> tuple[str, str, str]:
    return f"{one['connections']:,}", LIVES[one["life"]], one["use"]


def _size(one: dict[str, Any]) -> Sequence[object]:
    of = one["parameters"]
    return (
        *_load(one),
        f"{of['rate']:,}" + ("" if of["rate"] <= MOST_RATE else f" ({MOST_RATE:,} at most)"),
        of["lanes"],
        of["threads"],
        f"{of['memory']:,}",
        _figure(one["refreshes_a_second"]),
        _figure(one["kept"]),
        _figure(one["handed_out"]),
        one["how"],
    )


def _computed(one: dict[str, Any]) -> Sequence[object]:
    if one["fits"]:
        return _size(one | {"how": "computed"})
    *of_it, _ = _size(one | {"how": ""})
    of_it[4:7] = ["beyond the largest"] * 3
    return (*of_it, "computed")


def _seen(one: dict[str, Any]) -> Sequence[object]:
    return (
        *_load(one),
        _figure(one["simulated_refreshes_a_second"]),
        one["lag"],
        _percent(one["stale_share"]),
        one["runs_at_once"],
        _figure(one["due_partition"]),
        one["first_limit"],
        _percent(one["filled"]),
        MOVED_BY[one["first_limit"]],
    )


def _limit(one: dict[str, Any]) -> Sequence[object]:
    over = {name: full for name, full in one["limits"].items() if full > 1}
    named = "; ".join(f"{name} {_percent(full)}" for name, full in over.items())
    return (*_load(one), one["first_limit"], named or _percent(one["filled"]))


def _minutes_after(stale: Sequence[int]) -> int:
    """Return how many minutes after the trouble the last expired bearer was asked for."""
    last = max((minute for minute, found in enumerate(stale) if found), default=0)
    return max(0, last + 1 - TROUBLE_ENDS)


def _table(head: str, rows: Iterable[Sequence[object]]) -> str:
    rule = "|" + "---|" * head.strip("| ").count("|") + "---|"
    lines = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join([head, rule, *lines]) + "\n"


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:,.0f} %"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= SMALL else f"{value:.2g}"


def _dollars(start: float, each: float) -> str:
    least = f"{each:.10f}".rstrip("0")
    return f"{least} from {start:,.0f} on" if start else least


def draw(results: Results) -> None:
    """Draw four plots into one file."""
    import matplotlib as mpl  # noqa: PLC0415 - a test of the tables needs none of it

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "scaling", "font.size": 9}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, ((load, trouble), (lanes, cost)) = plt.subplots(
        2, 2, figsize=(10, 7), layout="constrained"
    )
    load.set_title("At the defaults: the oldest due waits")
    for one in results["defaults"]:
        load.plot(one["lag"], label=f"{one['connections']:,} connections")
    load.set(xlabel="minutes", ylabel="seconds", ylim=(0, 650))  # room for the legend
    trouble.set_title("No answers: asks for an expired bearer")
    for what, one in zip(TROUBLES, results["troubles"], strict=True):
        trouble.plot([found / MINUTE for found in one["stale"]], label=what)
    trouble.axvspan(10, TROUBLE_ENDS, color="#eee")
    trouble.set(xlabel="minutes", ylabel="a second", ylim=(-0.2, 7))
    lanes.set_title("Refreshes a second at most")
    by_lanes = results["lanes"][: len(LANES)]
    lanes.plot(LANES, [one["refreshes_a_second"] for one in by_lanes], "o-", label="16 threads")
    lanes.set(xlabel="lanes", xticks=LANES)
    cost.set_title("Dollars a month, kept and handed out")
    for life, name in LIVES.items():
        for use, style in [("hot", "-"), ("nightly", ":")]:
            of = [one for one in results["grid"] if (one["life"], one["use"]) == (life, use)]
            dollars = [one["kept"] + one["handed_out"] for one in of]
            cost.loglog([one["connections"] for one in of], dollars, style, label=f"{name} {use}")
    cost.set(xlabel="connections")
    for axes in (load, trouble, lanes, cost):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, metadata={"Date": None})
    PLOT.write_text("\n".join(one.rstrip() for one in PLOT.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    show(kept())
