"""`make load`: a fleet of living connections in use on a stack of its own, judged by the bank.

Usage: python -m benchmarks.load CONNECTIONS MINUTES LIFE LANES RATE
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.load import page, plot, report, runs
from benchmarks.load.callers import Callers
from benchmarks.load.fleet import Bank, Member, bring_in
from benchmarks.load.report import Asked, Seen
from benchmarks.load.usage import Watch
from local.__main__ import ended
from local.build import ROOT
from local.stack import Stack

PORT_BASE = 8900
PORTIONS = 20  # the fleet arrives in so many, within one life of its bearers
ASKED_EVERY = 3 / 5  # of a life: at least once while each bearer is the newest
IDLE = 1 / 10  # so many more connections, which no caller asks for


def main(asked: Asked) -> None:
    """Run it, print what it came to, keep it under the version, and show it in docs."""
    parameters = {"RateLimitPerSecond": str(asked.rate), "Lanes": str(asked.lanes)}
    with ended(Stack("load", PORT_BASE)) as stack:
        description = stack.start(os.environ, with_demo=False, parameters=parameters)
        seen = watched(description, asked)
    found = report.of(seen, asked)
    report.keep("load", found)
    plot.draw(found)
    page.put(page.table(found))
    print(json.dumps({name: found[name] for name in found if name != "over_time"}, indent=1))


def watched(stack: Mapping[str, Any], asked: Asked) -> Seen:
    """Let a fleet arrive within one life and be in use for some minutes; return what was seen."""
    bank = Bank.of(stack)
    bank.set_life(asked.life)
    callers = Callers(stack, every=asked.life * ASKED_EVERY)
    began = time.time()
    members = _arrive(stack, bank, callers, asked)
    watch, whole_at = Watch(ROOT), time.time()
    print(f"all are here; {asked.minutes:g} minutes from now on", flush=True)
    time.sleep(asked.minutes * 60)
    used, busy, until = *watch.end(), time.time()
    ledger = bank.ledger()
    callers.end()
    return Seen(
        began=began,
        whole_at=whole_at,
        until=until,
        in_use=members[: asked.connections],
        idle=members[asked.connections :],
        asks=[one for one in callers.asks if one.ended <= until],
        ledger=ledger,
        said={name: runs.lines_of(stack, name, since=began) for name in ("refresh", "token")},
        used=used,
        busy=busy,
    )


def _arrive(stack: Mapping[str, Any], bank: Bank, callers: Callers, asked: Asked) -> list[Member]:
    """Bring the fleet in, portion by portion; its last part stays idle."""
    wanted = asked.connections + round(asked.connections * IDLE)
    began, here = time.time(), list[Member]()
    for portion in range(PORTIONS):
        numbers = range(wanted * portion // PORTIONS, wanted * (portion + 1) // PORTIONS)
        came = bring_in(stack, bank, [1 + number for number in numbers])
        callers.join(came[: max(0, asked.connections - len(here))])
        here += came
        print(f"{len(here)} of {wanted} after {time.time() - began:.0f} s", flush=True)
        time.sleep(max(0, began + asked.life * (portion + 1) / PORTIONS - time.time()))
    return here


if __name__ == "__main__":
    connections, minutes, life, lanes, rate = sys.argv[1:]
    main(
        Asked(
            connections=int(connections),
            minutes=float(minutes),
            life=int(life),
            lanes=int(lanes),
            rate=int(rate),
        )
    )
