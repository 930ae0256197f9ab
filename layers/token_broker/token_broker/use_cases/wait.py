"""Wait a moment for a refresh that is under way elsewhere, where nothing else can be served."""

from __future__ import annotations

from token_broker.domain.connection import Connection
from token_broker.domain.errors import ConsentSuspect, UpstreamUnavailable
from token_broker.domain.refresh_policy import jitter
from token_broker.use_cases.broker import Broker

PAUSES = (0.25, 0.5, 1.0, 1.0)  # seconds before each further look: 3 s at most with their jitter
YOUNG = 10  # seconds: an older attempt hangs, and its end is not worth waiting for


def await_successor(broker: Broker, seen: Connection) -> Connection | None:
    """Return the row once it holds a newer generation than `seen`; None: not in a moment.

    Looks at once, and again only while the lease that stands in the way is young. Raises
    ConsentSuspect or UpstreamUnavailable where the attempt waited for has ended without a new set.
    """
    key, now = broker.new_id(), broker.clock()
    row = broker.connections.get(seen.id)
    for number, pause in enumerate(PAUSES):
        if row.generation > seen.generation or row.status is not seen.status:
            return row
        if not row.leased(now):
            resting = max(1, (row.due_at or now) - now)
            if row.suspected:
                raise ConsentSuspect(detail="the other attempt was refused", retry_after=resting)
            raise UpstreamUnavailable(detail="the other attempt brought none", retry_after=resting)
        if not _is_young(row, now):
            return None
        broker.pause(pause * (0.9 + jitter(f"{key}/{number}", 180) / 1_000))
        row, now = broker.connections.get(seen.id), broker.clock()
    return row if row.generation > seen.generation or row.status is not seen.status else None


def _is_young(row: Connection, now: int) -> bool:
    since = row.lease.since if row.lease else None
    return since is not None and now - since < YOUNG
