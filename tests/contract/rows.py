"""Rows of the connections table as the contract tests make them."""

from __future__ import annotations

from typing import Any

from token_broker.domain.connection import Connection, Landing, Lease, Status
from token_broker.domain.identity import Identity
from token_broker.domain.token_set import Verdict
from token_broker.store.connections import Connections

NOW = 1_800_000_000
ID, OTHER = "c" * 32, "d" * 32
HOME = Identity(
    table_id="table", environment="sandbox", client_id="client", provider="https://idp.example"
)
LIVE = frozenset(Status) - {Status.REVOKED}


def linking(**changes: Any) -> Connection:
    fields: dict[str, Any] = {
        "id": ID,
        "subject": "ada",
        "connector": "mikomo",
        "status": Status.LINKING,
        "linked_at": NOW,
        "updated_at": NOW,
        "due_at": NOW + 900,
        "lease": Lease(id="first", until=NOW + 95),
        "unsettled": 1,
        "confirmation_hash": "hash",
    }
    return Connection(**fields | changes)


def landing(generation: int = 1, **changes: Any) -> Landing:
    fields: dict[str, Any] = {
        "connection_id": ID,
        "generation": generation,
        "attempt_id": f"attempt-{generation}",
        "sealed": b"sealed",
        "login": "login",
        "issued_at": NOW,
        "expires_at": NOW + 900,
        "verdict": Verdict.UNVERIFIED,
    }
    return Landing(**fields | changes)


def active(table: Connections, *, due_at: int = NOW + 600) -> Connection:
    """Add a connection of generation 1 that is due in ten minutes."""
    table.create(linking())
    return table.land(landing(), lease_id="first", status=Status.ACTIVE, due_at=due_at)


def claim(
    table: Connections,
    lease: str = "second",
    *,
    now: int = NOW + 600,
    generation: int | None = None,
    **how: Any,
) -> Connection:
    return table.claim(
        ID,
        lease=Lease(id=lease, until=now + 95),
        now=now,
        due_at=now + 155,
        statuses=how.pop("statuses", LIVE),
        generation=generation,
        **how,
    )


def owner_id(table: Connections) -> str | None:
    """Return the id of the connection that owns the login of these rows."""
    owner = table.owner_of("login")
    return owner.id if owner else None


def unrecorded(event: str, *, value: int = 1, **fields: str | int | None) -> None:
    """Record nothing."""


def coming(connection_id: str = ID) -> Connection:
    """Return an active connection that was never here."""
    return linking(
        id=connection_id,
        status=Status.ACTIVE,
        generation=1,
        sealed=b"sealed",
        login="login",
        issued_at=NOW,
        iat=NOW,
        expires_at=NOW + 900,
        lease=None,
        unsettled=0,
        confirmation_hash=None,
    )
