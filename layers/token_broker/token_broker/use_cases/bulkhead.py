"""What keeps a bank that hangs from the others: how many threads of a run it may hold, who asks it.

Until a connector has answered in a run it holds UNHEARD of the run's threads at most, and half of
them afterwards. While it is known to hang, only the schedule sends for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

from token_broker.domain.connection import Due
from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable
from token_broker.use_cases.broker import Broker

UNHEARD = 2  # so that one connection alone that hangs does not keep its bank waiting
HANG_TRIED = 60  # seconds: each run tries a connector that hangs


class Bulkhead:
    """What is due in a run, and how many threads each connector holds."""

    def __init__(
        self, due: Iterable[Due], *, threads: int, hanging: Collection[str], heard: Collection[str]
    ) -> None:
        """`hanging`: connectors known to hang; `heard`: those that have answered in this run."""
        self._waiting: dict[str, deque[Due]] = {}
        for one in due:
            self._waiting.setdefault(one.connector, deque()).append(one)
        self._threads = threads
        self._hanging = hanging
        self._heard = heard
        self._held: Counter[str] = Counter()

    def begin(self) -> Due | None:
        """Give a thread to the oldest whose connector may hold one more; None: not now."""
        first = [
            rows[0]
            for connector, rows in self._waiting.items()
            if rows and self._held[connector] < self._most(connector)
        ]
        if not first or self._held.total() >= self._threads:
            return None
        connector = min(first, key=self._order).connector
        self._held[connector] += 1
        return self._waiting[connector].popleft()

    def end(self, one: Due) -> None:
        """Take its thread back."""
        self._held[one.connector] -= 1

    def _most(self, connector: str) -> int:
        half = max(1, self._threads // 2)
        return half if connector in self._heard else min(UNHEARD, half)

    def _order(self, one: Due) -> tuple[bool, int]:
        """Oldest first; until any connector has answered, those last that hang or hold a thread."""
        may_hang = one.connector in self._hanging or self._held[one.connector] > 0
        return not self._heard and may_hang, one.due_at


def ensure_not_hanging(broker: Broker, connector: str) -> None:
    """Raise UpstreamUnavailable where a caller would wait for a bank that is known to hang."""
    hang = broker.control.hangs().get(connector)
    if hang and hang.stands(broker.clock()):
        raise UpstreamUnavailable(detail=f"{connector} hangs", retry_after=HANG_TRIED)


def note_hang(broker: Broker, connector: str, *, sent_at: int) -> None:
    """Note that a connector did not answer in time."""
    try:
        if broker.control.hang_met(connector=connector, sent_at=sent_at):
            broker.record("connector_hangs", connector=connector)
    except TokenBrokerError as exc:
        broker.record("hang_unnoted", connector=connector, detail=exc.detail)
