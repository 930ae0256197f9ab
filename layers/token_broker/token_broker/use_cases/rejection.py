"""A bearer that the data API refuses (Akoya: 401 with code 602), and what its caller is told.

That is how a bearer ends whenever a newer one was issued: refresh once. A fresh one that is refused
right upon another says something about the data, or about the consent; only Akoya's token endpoint
knows which, so it is asked, once an hour at most. No rejection ends a connection.
"""

from __future__ import annotations

from contextlib import suppress

from token_broker.domain.connection import Connection
from token_broker.domain.errors import DataAccessRefused, UpstreamUnavailable
from token_broker.domain.refresh_policy import PROOF_INTERVAL, REJECTED_SOON
from token_broker.use_cases.broker import Broker


def is_second(seen: Connection, now: int) -> bool:
    """Return whether a rejection of the bearer held follows right upon the one before it.

    It does where the rejected predecessor forced its refresh, or was known to be refused, and this
    one was issued a moment ago; or where this one is known to be refused.
    """
    if seen.refused == seen.generation:
        return True
    if seen.generation - 1 not in (seen.rejected, seen.refused):
        return False
    if seen.issued_at is None or seen.expires_at is None:
        return False
    soon = min(REJECTED_SOON, (seen.expires_at - seen.issued_at) // 4)
    return now - seen.issued_at <= soon


def ensure_proof_is_due(broker: Broker, seen: Connection) -> None:
    """Raise DataAccessRefused, and note which bearer is refused, within an hour of a proof."""
    now = broker.clock()
    wait = (seen.proved_at or now - PROOF_INTERVAL) + PROOF_INTERVAL - now
    if wait > 0:
        if seen.refused != seen.generation:
            broker.connections.note_refused(seen)
        raise DataAccessRefused(retry_after=wait)


def note_proof(broker: Broker, landed: Connection) -> None:
    """Note that the consent lives: it was refreshed although its fresh bearers are refused."""
    with suppress(UpstreamUnavailable):  # the set has landed, and its bearer may serve
        broker.connections.note_proof(landed, now=broker.clock())
    broker.record("data_access_refused", connection_id=landed.id, generation=landed.generation)
