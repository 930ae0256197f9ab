"""Sweep escrow: remove what has landed or can land nowhere, report what nobody has come for."""

from __future__ import annotations

from token_broker.domain.connection import Status
from token_broker.domain.errors import ConnectionNotFound, RowNewer, RowUnreadable, TokenBrokerError
from token_broker.domain.refresh_policy import ESCROW_PATIENCE
from token_broker.use_cases.broker import Broker


def sweep(broker: Broker) -> None:
    """Look at every set that has been in escrow for ESCROW_PATIENCE seconds."""
    try:
        for connection_id, generation, attempt_id in broker.escrow.put_before(
            broker.clock() - ESCROW_PATIENCE
        ):
            try:
                _look_at(broker, connection_id, generation, attempt_id)
            except (RowUnreadable, RowNewer) as exc:  # kept; and those behind it are looked at
                _report(broker, connection_id, generation, detail=exc.detail)
    except TokenBrokerError as exc:
        broker.record("escrow_unswept", detail=exc.detail)


def _look_at(broker: Broker, connection_id: str, generation: int, attempt_id: str) -> None:
    try:
        row = broker.connections.look(connection_id)
    except ConnectionNotFound:  # no row will ever take it: rows are added before anything is sent
        _report(broker, connection_id, generation, detail="its row is gone; removed")
        broker.escrow.discard(connection_id, generation, attempt_id)
        return
    is_needed = row.generation < generation
    if is_needed and row.status is Status.SUPERSEDED:  # of it a new consent alone is worth keeping
        found = broker.escrow.find(connection_id, generation)
        is_needed = found is not None and found.consent is not None
    if is_needed:
        _report(broker, connection_id, generation, detail="its row has not taken it")
    else:
        broker.escrow.discard(connection_id, generation, attempt_id)


def _report(broker: Broker, connection_id: str, generation: int, *, detail: str | None) -> None:
    broker.record(
        "escrow_stranded", connection_id=connection_id, generation=generation, detail=detail
    )
