"""Make a token set durable: in its row, and in escrow as well while the row does not take it.

Akoya has revoked the predecessor already, so the process that holds a set may hold its only copy.
"""

from __future__ import annotations

from contextlib import suppress

from token_broker.domain.connection import Connection, Landing, Status
from token_broker.domain.errors import (
    OutcomeUnknown,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import PERSIST_BUDGET
from token_broker.use_cases.broker import Broker

# Seconds one try may take, as the clients of bootstrap are set: a first try on the table that hangs
# still leaves the set on its way to escrow 2 s after the answer.
TABLE_TRY = 2
ESCROW_TRY = 4
PERSIST_PAUSE = 0.2


def persist(
    broker: Broker, landing: Landing, *, status: Status, due_at: int, remaining: Remaining
) -> Connection | None:
    """Land a token set and return its row, or None if escrow alone has it.

    After the first failed try on the table every round tries escrow too, until one has the set; the
    table is tried for PERSIST_BUDGET seconds, and for as long as no place has it. Raises
    StaleGeneration (a newer set stands), OutcomeUnknown (neither place took it).
    """
    began = remaining()
    attempted = escrowed = False  # a try on escrow may take effect after it was given up
    while True:
        is_first = not attempted
        if is_first or remaining() > TABLE_TRY + (0 if escrowed else ESCROW_TRY):
            landed, passing = _try_table(broker, landing, status, due_at, tidy=attempted)
            if landed:
                return landed
        if not escrowed:
            attempted, escrowed = True, _try_escrow(broker, landing)
        if escrowed and (not passing or began - remaining() >= PERSIST_BUDGET):
            break
        if remaining() <= PERSIST_PAUSE + (TABLE_TRY if escrowed else ESCROW_TRY):
            break
        broker.pause(PERSIST_PAUSE)
    broker.record(
        "escrow_used" if escrowed else "token_persist_failed",
        connection_id=landing.connection_id,
        attempt_id=landing.attempt_id,
        generation=landing.generation,
    )
    if escrowed:
        return None
    raise OutcomeUnknown(detail="neither table nor escrow took the token set")


def _try_table(
    broker: Broker, landing: Landing, status: Status, due_at: int, *, tidy: bool
) -> tuple[Connection | None, bool]:
    """Return the row that holds the set now, if any; and whether another try may be luckier."""
    try:
        landed = broker.connections.land(
            landing, lease_id=landing.attempt_id, status=status, due_at=due_at
        )
    except StaleGeneration:
        if tidy:
            discard(broker, landing)
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, the only copy is in our hands
        detail = exc.detail if isinstance(exc, TokenBrokerError) else type(exc).__name__
        broker.record("persist_retried", connection_id=landing.connection_id, detail=detail)
        return None, isinstance(exc, UpstreamUnavailable)  # a missing permission will not mend
    if tidy:
        discard(broker, landing)
    return landed, True


def _try_escrow(broker: Broker, landing: Landing) -> bool:
    try:
        broker.escrow.put(landing)
    except Exception:  # noqa: BLE001 - as above; it is tried again
        return False
    return True


def discard(broker: Broker, landing: Landing) -> None:
    """Remove a set that has landed from escrow; one that stays behind is swept later."""
    with suppress(TokenBrokerError):
        broker.escrow.discard(landing.connection_id, landing.generation, landing.attempt_id)
