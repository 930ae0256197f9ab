"""The cells of the simulation: a load on the stack that was sized for it, and what came of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from simulation.akoya import Trouble
from simulation.cost import PerRefresh, bill
from simulation.fleet import HOUR, NIGHT_BEGINS, fill
from simulation.sizing import Load, filled, sized
from simulation.stack import MIDNIGHT, Parameters, Seen, Stack
from simulation.table import MINUTE

WARM_UP = 2 * MINUTE
IN_THE_NIGHT = MIDNIGHT + NIGHT_BEGINS + HOUR // 2
LASTS = {1_000: HOUR // 2, 10_000: HOUR // 6, 100_000: HOUR // 10, 1_000_000: 4 * MINUTE}
WHOLE = 10_000  # connections: a larger stack is simulated by one of its lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One simulated stretch of time, as numbers."""

    seconds: int
    share: int  # one of so many lanes was simulated
    sends: int  # repeats included
    seen: Seen
    due_partition: float  # units a second of the busiest partition, in its busiest minute
    each: PerRefresh
    lag: list[int]  # by minute
    refreshed: list[int]
    stale: list[int]


def simulate(
    load: Load,
    of: Parameters,
    *,
    lasts: int,
    warm_up: int = WARM_UP,
    share: int = 1,
    troubles: Collection[Trouble] = (),
    seed: int = 1,
) -> Outcome:
    """Let a load live on a stack for a while. `troubles` count from the end of the warm-up."""
    begins = IN_THE_NIGHT if load.use != "hot" else MIDNIGHT
    counted = begins + warm_up
    stack = Stack(
        of,
        life=load.life,
        begins=begins,
        seed=seed,
        simulated_lanes=of.lanes // share,
        troubles=[
            Trouble(counted + one.begins, counted + one.ends, one.bank, one.hangs)
            for one in troubles
        ],
    )
    ends = counted + lasts if load.connections > WHOLE else None
    fill(stack, load.connections, load.use, until=ends, hot_every=load.hot_every)
    seen = stack.run(warm_up=warm_up, lasts=lasts)
    minutes = range(counted // MINUTE, (counted + lasts) // MINUTE)
    table, refreshes = stack.connections, max(1, seen.events["token_refreshed"])
    own_reads = max(0, table.counted["reads"] - seen.asks)
    if ends:  # asks of what was left out find it fresh
        seen.asks = max(seen.asks, int(load.asks * lasts / share))
    lines = seen.events.total() - seen.events["token_handed_out"]
    return Outcome(
        seconds=lasts,
        share=share,
        sends=len(stack.akoya.sends),
        seen=seen,
        due_partition=max(table.due_writes.values(), default=0) / MINUTE,
        each=PerRefresh(
            busy=seen.busy["refresh"] / refreshes,
            writes=table.counted["writes"] / refreshes,
            due_writes=table.counted["due index writes"] / refreshes,
            subject_writes=table.counted["subject index writes"] / refreshes,
            reads=own_reads / refreshes,
            index_rows=table.counted["index rows read"] / refreshes,
            lines=lines / refreshes,
        ),
        lag=[seen.lag.get(minute, 0) for minute in minutes],
        refreshed=[seen.refreshed[minute] for minute in minutes],
        stale=[seen.stale_at[minute] for minute in minutes],
    )


def grid_cell(load: Load) -> dict[str, Any]:
    """Simulate a load on the stack sized for it; return it as a line of the results."""
    of = sized(load)
    share = of.lanes if load.connections > WHOLE else 1
    outcome = simulate(load, of, lasts=LASTS[load.connections], share=share)
    seen, seconds = outcome.seen, outcome.seconds
    how = "simulated" if share == 1 else f"one lane of {of.lanes} simulated"
    return {
        **described(load, of, outcome.each, metrics=len(seen.events)),
        "how": how,
        "simulated_refreshes_a_second": seen.events["token_refreshed"] * share / seconds,
        "lag": max(outcome.lag),
        "stale_share": seen.stale.total() / max(1, seen.asks),
        "waited_share": seen.waited / max(1, seen.asks),
        "refused_share": seen.refused / max(1, seen.asks),
        "runs_at_once": seen.at_once["refresh"] * share,
        "due_partition": outcome.due_partition,
    }


def over_time(
    load: Load,
    of: Parameters,
    *,
    lasts: int,
    warm_up: int = WARM_UP,
    troubles: Collection[Trouble] = (),
) -> dict[str, Any]:
    """Simulate a load on a stack; return what it met minute by minute."""
    outcome = simulate(load, of, lasts=lasts, warm_up=warm_up, troubles=troubles)
    seen = outcome.seen
    return {
        **asdict(load),
        "parameters": asdict(of),
        "minutes": lasts // MINUTE,
        "lag": outcome.lag,
        "refreshed": outcome.refreshed,
        "stale": outcome.stale,
        "asks": seen.asks,
        "refused": seen.refused,
        "stale_share": seen.stale.total() / max(1, seen.asks),
        "waited_share": seen.waited / max(1, seen.asks),
        "stale_of_the_first_bank": seen.stale["bank-0"] / max(1, seen.stale.total()),
        "sends_a_second": outcome.sends / lasts,
    }


def described(load: Load, of: Parameters, each: PerRefresh, *, metrics: int) -> dict[str, Any]:
    """Return what is computed of a load on a stack."""
    costs = bill(
        of,
        each,
        connections=load.connections,
        refreshes=load.refreshes_in_the_mean(of.policy),
        asks=load.asks_in_the_mean,
        metrics=metrics,
    )
    limits = filled(load, of)
    first = max(limits, key=lambda name: limits[name])
    return {
        **asdict(load),
        "parameters": asdict(of),
        "refreshes_a_second": load.refreshes(of.policy),
        "asks_a_second": load.asks,
        "each": asdict(each),
        "kept": costs.kept,
        "handed_out": costs.handed_out,
        "parts": dict(costs.parts),
        "first_limit": first,
        "filled": limits[first],
    }
