"""Many at once: a job that asks for stale connections, one that says when it comes, full lanes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, replace
from typing import Any

from simulation.fleet import HOUR, connection, ids, put
from simulation.stack import DAY, MIDNIGHT, Parameters, Stack
from simulation.table import MINUTE
from token_broker.domain.refresh_policy import Ask

JOB_THREADS = 10  # a job asks for so many connections at once
WITHIN = 10  # seconds over which sends are counted
BANKS = 4
AT_TWO = MIDNIGHT + 2 * HOUR


class Job:
    """A job that asks for one connection after the other, and again when it is told to."""

    def __init__(self, stack: Stack, names: list[str], *, next_use: int | None = None) -> None:
        self._stack = stack
        self._waiting = deque(names)
        self._next_use = next_use
        self.asks: Counter[str] = Counter()
        self.served: dict[str, float] = {}

    def begin(self, at: float, *, threads: int = JOB_THREADS) -> None:
        """Let its threads begin at a moment."""
        for _ in range(threads):
            self._stack.clock.at(at, self._thread)

    def _thread(self) -> None:
        while self._waiting:
            self._ask(self._waiting.popleft())

    def _ask(self, name: str) -> None:
        clock = self._stack.clock
        self.asks[name] += 1
        if wait := self._stack.ask(name, next_use=self._next_use):
            clock.at(clock.ticks() + wait, lambda: self._ask(name))
        else:
            self.served[name] = clock.ticks()


def batch(connections: int, rate: int) -> dict[str, Any]:
    """Let a job ask for stale connections, all as fast as it can, and say nothing of the next."""
    of = Parameters(rate=rate)
    stack = Stack(of, life=HOUR)
    names = []
    for number, name in ids(connections, stack):
        issued_at = MIDNIGHT - 2 * DAY - number
        held = connection(
            name, f"bank-{number % BANKS}", number, issued_at=issued_at, life=HOUR, asked_at=None
        )
        put(stack, replace(held, due_at=MIDNIGHT + 3 * DAY + number))
        names.append(name)
    job, begins = Job(stack, names), MIDNIGHT + 30
    job.begin(begins, threads=max(JOB_THREADS, rate))
    stack.run(lasts=3 * connections // rate + 5 * MINUTE)
    served = [job.served[name] - begins for name in names]
    latest = 0.0
    overtaken = 0.0
    for moment in served:  # in the order of their first asks
        overtaken = max(overtaken, latest - moment)
        latest = max(latest, moment)
    return {
        "connections": connections,
        "rate": rate,
        "finished": latest,
        "allowed": 1.2 * connections / rate,
        "most_asks": max(job.asks.values()),
        "overtaken": overtaken,
        "most_sends": max(Counter(int(at) // WITHIN for at in stack.akoya.sends).values()) / WITHIN,
        "index_rows_an_ask": stack.connections.counted["index rows read"] / job.asks.total(),
    }


def nightly_job(connections: int, life: int, rate: int) -> dict[str, Any]:
    """Let a job come back at two for connections for all of which it named that moment."""
    of = Parameters(rate=rate)
    begins = AT_TWO - life // 2 - 2 * MINUTE
    stack = Stack(of, life=life, begins=begins)
    names, last = [], AT_TWO - DAY
    for number, name in ids(connections, stack):
        held = connection(
            name, f"bank-{number % BANKS}", number, issued_at=last, life=life, asked_at=None
        )
        due_at = stack.policy.due_at(held, now=last, ask=Ask(at=last, next_use=AT_TWO))
        put(stack, replace(held, due_at=due_at))
        names.append(name)
    job = Job(stack, names, next_use=AT_TWO + DAY)
    job.begin(AT_TWO)
    seen = stack.run(lasts=life // 2 + 10 * MINUTE)
    return {
        "connections": connections,
        "life": life,
        "rate": rate,
        "refreshed": [
            seen.refreshed[minute]
            for minute in range(begins // MINUTE, (AT_TWO + 8 * MINUTE) // MINUTE)
        ],
        "rotations": seen.events["token_refreshed"] / connections,
        "waited": seen.waited,
        "most_asks": max(job.asks.values()),
        "finished": max(job.served.values()) - AT_TWO,
    }


def full_lanes(of: Parameters, *, a_lane: int = 3_000) -> dict[str, Any]:
    """Let more be due than the lanes can refresh in a minute; return how much they do."""
    stack = Stack(of, life=DAY)
    for number, name in ids(a_lane * of.lanes, stack):
        bank = f"bank-{number % BANKS}"
        held = connection(name, bank, number, issued_at=MIDNIGHT - DAY, life=DAY, asked_at=None)
        put(stack, replace(held, due_at=MIDNIGHT - HOUR + number % HOUR))
    seen = stack.run(lasts=MINUTE)
    return {
        "parameters": asdict(of),
        "refreshes_a_second": seen.events["token_refreshed"] / MINUTE,
    }
