"""What a load asks of a stack, and the smallest stack that carries it.

Computed from the policy; the simulation then shows whether it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from simulation.akoya import AWS_CALLS, CPU, MEDIAN, SPREAD
from simulation.fleet import HOT_EVERY, MIXES, NIGHT, Use, connection
from simulation.stack import DAY, MIDNIGHT, WHOLE_PROCESSOR, Parameters
from simulation.table import MINUTE, PAGE
from token_broker.domain.refresh_policy import SENDING_WINDOW, Ask, RefreshPolicy
from token_broker.store.connection_row import SHARDS
from token_broker.use_cases.lane import LANES_SHARE
from token_broker.use_cases.schedule import RUN_EVERY, SECONDS_A_CONNECTION

LANES = (1, 2, 4, 8, 16)
LARGER = ((32, 1_024), (72, 1_769))  # threads and memory of a run, where 16 lanes are too few
SPARE = 1.3  # a stack is sized for so much more than it is asked for
FULL = 0.75  # beyond it what is due begins to queue; the alarm on more than is carried is at 0.8
ANSWER = MEDIAN * math.exp(SPREAD**2 / 2)  # seconds, in the mean
SAMPLE = 200

# Units of the due index a refresh writes: its row moves (out and in) when it is claimed, when it
# lands and when its bearer is asked for first.
DUE_UNITS = 6
PARTITION_UNITS = 1_000  # a second; AWS, bp-partition-key-design
MOST_RATE = 3_000  # of RateLimitPerSecond, by the template
API_THROTTLE = 100  # ApiRateLimit, requests a second
CONCURRENCY = 1_000  # Lambda's default for an account and region; AWS, gettingstarted-limits
QUICK = 0.02  # seconds a hand-out takes that waits for no refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many connections whose bearers live so long, used so."""

    connections: int
    life: int  # seconds
    use: str  # a key of MIXES
    hot_every: int = HOT_EVERY

    def of(self, use: Use) -> float:
        """Return how many of the connections are used like this."""
        return self.connections * MIXES[self.use].get(use, 0)

    def refreshes(self, policy: RefreshPolicy) -> float:
        """Return the refreshes a second while the nightly job runs."""
        night = self.of(Use.NIGHTLY) / max(NIGHT, self._spread(policy))
        return self._by_day(policy) + night

    def refreshes_in_the_mean(self, policy: RefreshPolicy) -> float:
        """Return the refreshes a second over a whole day."""
        return self._by_day(policy) + self.of(Use.NIGHTLY) / DAY

    @property
    def asks(self) -> float:
        """Return the asks a second while the nightly job runs."""
        return self.of(Use.HOT) / self.hot_every + self.of(Use.NIGHTLY) / NIGHT

    @property
    def asks_in_the_mean(self) -> float:
        """Return the asks a second over a whole day."""
        return self.of(Use.HOT) / self.hot_every + self.of(Use.NIGHTLY) / DAY

    def _by_day(self, policy: RefreshPolicy) -> float:
        hot = self.of(Use.HOT) / lasts(policy, self.life, Ask(at=MIDNIGHT))
        return hot + self.of(Use.IDLE) / lasts(policy, self.life, None)

    def _spread(self, policy: RefreshPolicy) -> int:
        return policy.longest_min_validity(self.life) - policy.early(self.life)


def lasts(policy: RefreshPolicy, life: int, ask: Ask | None) -> float:
    """Return how many seconds pass between two refreshes of a connection, in the mean."""
    due = [
        policy.due_at(held, now=MIDNIGHT, ask=ask) - MIDNIGHT
        for number in range(SAMPLE)
        for held in [
            connection(f"{number:x}", "", number, issued_at=MIDNIGHT, life=life, asked_at=None)
        ]
    ]
    return fmean(due) + RUN_EVERY / 2 + ANSWER


def size(load: Load) -> Parameters | None:
    """Return the smallest stack that carries a load; None: there is none."""
    of = Parameters()
    refreshes = load.refreshes(of.policy)
    window = SENDING_WINDOW / RUN_EVERY
    rate = max(of.rate, math.ceil(SPARE * refreshes / LANES_SHARE / window))
    for lanes in LANES:
        if fits(refreshes / lanes, of.threads, of.memory):
            return Parameters(rate=rate, lanes=lanes)
    for threads, memory in LARGER:
        if fits(refreshes / LANES[-1], threads, memory):
            return Parameters(rate=rate, lanes=LANES[-1], threads=threads, memory=memory)
    return None


def sized(load: Load) -> Parameters:
    """Return the smallest stack that carries a load; raise ValueError where there is none."""
    if of := size(load):
        return of
    raise ValueError(load)


def fits(refreshes: float, threads: int, memory: int) -> bool:
    """Return whether one lane refreshes so many a second with some threads and memory, in MB."""
    share = min(1, memory / WHOLE_PROCESSOR)
    within_the_run = refreshes * RUN_EVERY / SENDING_WINDOW
    takes = max(ANSWER + AWS_CALLS + CPU / share, SECONDS_A_CONNECTION)
    return within_the_run * takes <= FULL * threads and within_the_run * CPU <= FULL * share


def filled(load: Load, of: Parameters) -> dict[str, float]:
    """Return how full each limit is, by its name; above 1 it is in the way."""
    refreshes = load.refreshes(of.policy)
    a_lane = refreshes / of.lanes * RUN_EVERY / SENDING_WINDOW
    share = min(1, of.memory / WHOLE_PROCESSOR)
    return {
        "`RateLimitPerSecond`": of.rate / MOST_RATE,
        "threads of a run": a_lane * (ANSWER + AWS_CALLS + CPU / share) / of.threads,
        "processor of a run": a_lane * CPU / share,
        "one page of the due index a shard and run": refreshes / SHARDS * MINUTE / PAGE,
        "writes of one partition of the due index": refreshes
        * DUE_UNITS
        / SHARDS
        / PARTITION_UNITS,
        "the API's throttle": load.asks / API_THROTTLE,
        "Lambda's concurrency": load.asks * QUICK / CONCURRENCY,
    }


# What moves each limit.
MOVED_BY = {
    "`RateLimitPerSecond`": f"what Akoya allows; {MOST_RATE:,} by the template",
    "threads of a run": "`Lanes`, then `RefreshThreads`",
    "processor of a run": "`Lanes`, then `RefreshMemory`",
    "one page of the due index a shard and run": "more shards than 16: a change of the code",
    "writes of one partition of the due index": "more shards than 16: a change of the code",
    "the API's throttle": "`ApiRateLimit`",
    "Lambda's concurrency": "a quota of the account",
}
