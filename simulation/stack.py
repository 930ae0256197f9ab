"""A deployed stack in simulated time: its runs of the schedule, its callers, and its processes.

All of it is the broker's own code, wired as `runtime/bootstrap.py` wires it; only AWS, Akoya and
time are simulated.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from unittest.mock import patch

from simulation import clockwork
from simulation.akoya import Akoya, Endpoint, IdTokens, Seal, Trouble
from simulation.clockwork import Clockwork, Machine, Workers
from simulation.table import MINUTE, Table
from tests.fakes.rows import MemoryRows
from tests.fakes.vault import MemoryClientSecret, MemoryEscrow
from token_broker.domain.errors import RequestRejected, TokenBrokerError, TurnToCome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import SENDING_WINDOW, RefreshPolicy
from token_broker.domain.secret_text import SecretText
from token_broker.runtime.bootstrap import ONE_CALLER_IN
from token_broker.store.connections import Connections
from token_broker.store.control import Control
from token_broker.use_cases import schedule, token
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.door import Door
from token_broker.use_cases.lane import LANES_SHARE, Lane
from token_broker.use_cases.pace import Bucket
from token_broker.use_cases.schedule import THREADS

MIDNIGHT = 1_800_000_000 // 86_400 * 86_400
DAY = 86_400
RUN_LASTS, CALL_LASTS = 150.0, 105.0  # the functions' timeouts, seconds
QUICK = 0.02  # seconds a hand-out takes that waits for no refresh
WHOLE_PROCESSOR = 1_769  # MB at which Lambda gives one whole processor
KEY = SecretText("k" * 43)
RUN_BEGINS = 2.0  # seconds after the full minute; EventBridge promises the minute alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of the stack that decide how much it carries; the template's defaults."""

    rate: float = 2  # RateLimitPerSecond
    lanes: int = 1
    threads: int = THREADS
    memory: int = 512  # MB of the schedule's function
    margin: int = 3_600  # RefreshMarginSeconds
    keep_alive: int = 7 * DAY

    @property
    def policy(self) -> RefreshPolicy:
        """Return the policy of these parameters."""
        return RefreshPolicy(margin=self.margin, keep_alive=self.keep_alive)


@dataclass
class Seen:
    """What was counted while the stack ran, in all or by minute."""

    events: Counter[str] = field(default_factory=Counter)
    refreshed: Counter[int] = field(default_factory=Counter)  # by minute
    lag: dict[int, int] = field(default_factory=dict)  # by minute, the worst lane's
    busy: Counter[str] = field(default_factory=Counter)  # seconds of processes, by function
    invoked: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)  # processes, at most, by function
    asks: int = 0
    stale: Counter[str] = field(default_factory=Counter)  # asks that found one expired, by bank
    stale_at: Counter[int] = field(default_factory=Counter)  # by minute
    waited: int = 0  # asks that waited for a refresh of their own
    refused: int = 0  # asks that got no bearer


class Pool:
    """The processes of one function: the one that was free last is used first, as Lambda does."""

    def __init__(self, name: str, make: Callable[[], Broker], seen: Seen) -> None:
        self._name, self._make, self._seen = name, make, seen
        self._free: list[Broker] = []
        self._used = 0

    @contextmanager
    def process(self, clock: Clockwork) -> Iterator[Broker]:
        """Use a process, a new one if all are busy."""
        broker = self._free.pop() if self._free else self._make()
        self._used += 1
        began, seen = clock.ticks(), self._seen
        seen.at_once[self._name] = max(seen.at_once[self._name], self._used)
        yield broker
        self._used -= 1
        self._free.append(broker)
        seen.invoked[self._name] += 1
        seen.busy[self._name] += clock.ticks() - began  # type: ignore[assignment]


class Stack:
    """The stack, or the part of it that some of its lanes make up."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        life: int,
        begins: int = MIDNIGHT,
        troubles: Collection[Trouble] = (),
        seed: int = 1,
        simulated_lanes: int | None = None,
    ) -> None:
        """`life`: of a bearer, in seconds. `begins`: the first moment, a full minute.

        `simulated_lanes`: so many of the lanes alone, with their connections; None: all.
        """
        self.parameters = parameters
        self.begins = begins
        self.clock = Clockwork(begins)
        self.connections, self._control = Table(self.clock), MemoryRows()
        self.akoya = Akoya(self.clock, life=life, seed=seed, troubles=troubles)
        self.policy = parameters.policy
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.seen = Seen()
        self.lanes = [
            Lane(number, parameters.lanes) for number in range(simulated_lanes or parameters.lanes)
        ]
        self._numbers = itertools.count(1)
        self._escrow = MemoryEscrow()
        self._secret = MemoryClientSecret(
            ClientCredentials(client_id="simulated", client_secret=KEY)
        )
        self._runs = {lane: Pool("refresh", self._process, self.seen) for lane in self.lanes}
        self._callers = Pool("token", self._for_callers, self.seen)

    @property
    def shards(self) -> frozenset[int]:
        """Return the shards of the due index that the simulated lanes tend."""
        return frozenset(shard for lane in self.lanes for shard in lane.shards)

    # ── what passes ──────────────────────────────────────────────────────────────────────────────

    def run(self, *, warm_up: int = 0, lasts: int) -> Seen:
        """Let the schedule run each minute, and time pass; return what was seen after a warm-up."""
        for lane in self.lanes:
            self._schedule(lane, self.begins)
        self.clock.at(self.begins + warm_up, self._count)
        gc.freeze()  # what has been made stays
        gc.disable()
        with patch.object(schedule, "wait", clockwork.wait):
            self.clock.run(until=self.begins + warm_up + lasts)
        gc.enable()
        return self.seen

    def _count(self) -> None:
        self.connections.is_counting = True
        fresh = Seen()
        for name in vars(fresh):
            setattr(self.seen, name, getattr(fresh, name))
        self.akoya.sends.clear()

    def _schedule(self, lane: Lane, minute: int) -> None:
        def begin() -> None:
            self._schedule(lane, minute + MINUTE)
            self._run(lane)

        self.clock.at(minute + RUN_BEGINS, begin)

    def _run(self, lane: Lane) -> None:
        of, began = self.parameters, self.clock.ticks()
        rate = LANES_SHARE * of.rate
        with self._runs[lane].process(self.clock) as broker:
            schedule.tend_due(
                broker,
                schedule.Tending(
                    rate=rate,
                    limit=int(rate * SENDING_WINDOW),
                    quarantine=7 * DAY,
                    tombstone=365 * DAY,
                    end_after=26 * 3_600,
                    threads=of.threads,
                ),
                workers=Workers(self.clock),
                remaining=lambda: RUN_LASTS - (self.clock.ticks() - began),
                lane=lane,
            )

    def ask(self, connection_id: str, *, next_use: int | None = None) -> int:
        """Ask for a bearer as a caller does; return in how many seconds to come again, or 0."""
        now, seen = self.clock(), self.seen
        row = self.connections.rows[connection_id]
        seen.asks += 1
        if row.get("asked_at") is not None and row["expires_at"] <= now:
            seen.stale[row["connector"]] += 1
            seen.stale_at[now // MINUTE] += 1
        began = self.clock.ticks()
        with self._callers.process(self.clock) as broker:
            try:
                token.hand_out(
                    broker,
                    connection_id=connection_id,
                    min_validity=None,
                    rejected=None,
                    next_use=next_use,
                    remaining=lambda: CALL_LASTS - (self.clock.ticks() - began),
                )
            except RequestRejected:
                raise
            except TokenBrokerError as told:
                seen.refused += not isinstance(told, TurnToCome)
                self.clock.pause(QUICK)
                return told.retry_after or 1
            seen.waited += self.clock.ticks() > began
            self.clock.pause(QUICK)
            return 0

    # ── who is wired to whom ─────────────────────────────────────────────────────────────────────

    def _record(self, event: str, *, value: int = 1, **fields: str | int | None) -> None:
        del fields
        self.seen.events[event] += 1
        minute = self.clock() // MINUTE
        if event == "token_refreshed":
            self.seen.refreshed[minute] += 1
        elif event == "oldest_due_seconds":
            self.seen.lag[minute] = max(value, self.seen.lag.get(minute, 0))

    def _process(self) -> Broker:
        machine = Machine(self.clock, share=self.parameters.memory / WHOLE_PROCESSOR)
        return Broker(
            environment="sandbox",
            client_id="simulated",
            provider="https://akoya.example",
            connections=Connections(
                self.connections, clock=self.clock, new_secret=lambda: KEY, record=self._record
            ),
            escrow=self._escrow,
            control=Control(self._control, clock=self.clock, record=self._record),
            seal=Seal(machine),
            client_secret=self._secret,
            token_endpoint=Endpoint(self.akoya, machine),
            id_tokens=IdTokens(),
            policy=self.policy,
            clock=self.clock,
            ticks=self.clock.ticks,
            pause=self.clock.pause,
            new_id=lambda: f"{next(self._numbers):x}",
            record=self._record,
        )

    def _for_callers(self) -> Broker:
        broker, rate = self._process(), self.parameters.rate
        return replace(
            broker,
            turns=Bucket(
                rate, ticks=broker.ticks, pause=broker.pause, slow_for=broker.control.slow_for
            ),
            door=Door(rate=int(rate), one_in=ONE_CALLER_IN),
        )
