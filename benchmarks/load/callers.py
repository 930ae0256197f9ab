"""Backend services that ask for the bearer of each connection again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from threading import Event, Lock, Thread
from typing import Any

import jwt

from akoya_token_broker_client import Broker, BrokerError
from benchmarks.load.fleet import Member
from benchmarks.load.judge import Ask
from local.akoya_sandbox.ledger import fingerprint

THREADS = 6
LONGEST_NAP = 0.25  # seconds: a connection that joins is asked for so late at most
GOLDEN = 0.618_034  # spreads the first asks of any number of connections evenly


class Callers:
    """Threads that ask for every connection once in `every` seconds over the deployed API."""

    def __init__(self, stack: Mapping[str, Any], *, every: float) -> None:
        self.asks: list[Ask] = []
        self._every = every
        self._broker = Broker.local(stack, patience=0)
        self._turns: list[tuple[float, str]] = []  # a heap: when, for which connection
        self._joined = 0
        self._mutex = Lock()
        self._ended = Event()
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def join(self, members: Iterable[Member]) -> None:
        """Ask for these as well, the first time within `every` seconds from now."""
        with self._mutex:
            for member in members:
                self._joined += 1
                first = time.time() + self._joined * GOLDEN % 1 * self._every
                heappush(self._turns, (first, member.connection_id))

    def end(self) -> None:
        """Ask no more; return when the last answer is here."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._mutex:
                nap = self._turns[0][0] - time.time() if self._turns else LONGEST_NAP
                turn = heappop(self._turns) if nap <= 0 else None
            if turn is None:
                self._ended.wait(min(nap, LONGEST_NAP))
                continue
            at, connection_id = turn
            self.asks.append(self._ask(connection_id))
            with self._mutex:
                heappush(self._turns, (at + self._every, connection_id))

    def _ask(self, connection_id: str) -> Ask:
        began = time.time()
        try:
            bearer = self._broker.hand_out(connection_id)
        except BrokerError as told:
            return Ask(
                connection_id=connection_id,
                began=began,
                ended=time.time(),
                refusal=f"{told.status} {told.error}",
            )
        ended = time.time()
        claims = jwt.decode(bearer.id_token, options={"verify_signature": False})
        return Ask(
            connection_id=connection_id,
            began=began,
            ended=ended,
            generation=bearer.generation,
            expires_at=bearer.expires_at,
            dies_at=claims["exp"],
            fingerprint=fingerprint(bearer.id_token),
        )
