"""A connection as a row: which attributes there are, and how each is read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from token_broker.domain.connection import Connection, Lease, Reason, Status, Suspect
from token_broker.domain.errors import ConnectionNotFound, RowUnreadable, StaleGeneration
from token_broker.domain.token_set import Verdict
from token_broker.store.rows import Row, ensure_readable, versioned

SHARDS = 8


def shard_of(connection_id: str) -> int:
    """Return the part of the due index a connection lives in."""
    return zlib.crc32(connection_id.encode()) % SHARDS


def text(value: Any) -> str:
    """Read a text; raise ValueError if it is none."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def suspect(value: Any) -> Suspect:
    """Read the suspicion against a refresh token."""
    since = value["streak_since"]
    return Suspect(
        generation=int(value["generation"]),
        reason=Reason(value["reason"]),
        since=int(value["since"]),
        streak_since=int(since) if since is not None else None,
        looks=int(value["looks"]),
    )


# How each attribute is read. One that is not here is of no connection.
ATTRIBUTES: Mapping[str, Callable[[Any], Any]] = {
    "id": text,
    "subject": text,
    "connector": text,
    "status": Status,
    "reason": Reason,
    "generation": int,
    "token_set": bytes,
    "login": str,
    "issued_at": int,
    "iat": int,
    "expires_at": int,
    "verdict": Verdict,
    "linked_at": int,
    "updated_at": int,
    "due_at": int,
    "asked_at": int,
    "lease_id": str,
    "lease_until": int,
    "lease_since": int,
    "attempt_id": str,
    "consent": str,
    "unsettled": int,
    "predecessor_resent": bool,
    "failures": int,
    "suspect": suspect,
    "rejected": int,
    "refused": int,
    "proved_at": int,
    "unreadable": int,
    "confirmation_hash": str,
    "hold_until": int,
    "keep_until": int,
    "last_event": str,
}
NEEDED = ("id", "subject", "connector", "status", "generation", "linked_at", "updated_at")
PUBLIC = (
    "schema",
    *(name for name in ATTRIBUTES if name not in {"token_set", "confirmation_hash"}),
)
"""What a read that may not see the token set asks for."""

OF_THE_FACT = {*NEEDED, "unsettled", "failures", "last_event"}
"""What a tombstone keeps."""


def changes(**of: Any) -> Row:
    """Return what a write changes, from the fields of a Connection; None removes one."""
    row: Row = {}
    for name, value in of.items():
        match name:
            case "sealed":
                row["token_set"] = value
            case "lease":
                row["lease_id"] = value and value.id
                row["lease_until"] = value and value.until
                row["lease_since"] = value and value.since
            case "suspect":
                row[name] = value and asdict(value)
            case "predecessor_resent":
                row[name] = value or None
            case _:
                row[name] = value
    return row


def row_of(connection: Connection) -> Row:
    """Return a connection as a whole row."""
    of = {field.name: getattr(connection, field.name) for field in fields(connection)}
    row = versioned(changes(**of)) | {"shard": shard_of(connection.id)}
    return {name: value for name, value in row.items() if value is not None}


def connection_of(row: Row) -> Connection:
    """Read a row; raise RowUnreadable if it makes no sense."""
    ensure_readable(row)
    try:
        of = {name: read(row[name]) for name, read in ATTRIBUTES.items() if name in row}
        lease = {part: of.pop(f"lease_{part}", None) for part in ("id", "until", "since")}
        return Connection(
            **{name: row[name] for name in NEEDED}  # raises KeyError
            | {"sealed": of.pop("token_set", None)}
            | {"lease": Lease(**lease) if lease["id"] else None}
            | of
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
        raise RowUnreadable(
            detail=f"the row does not read as a connection ({type(exc).__name__})"
        ) from None


def found(refused: StaleGeneration) -> Connection:
    """Read the row that refused a write; raise ConnectionNotFound if there is none."""
    if not refused.row:
        raise ConnectionNotFound from None
    return connection_of(dict(refused.row))
