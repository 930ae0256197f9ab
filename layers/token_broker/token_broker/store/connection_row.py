"""A connection as a row: which attributes there are, and how each is read."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from token_broker.domain.connection import Connection, Lease, Reason, Status, Suspect
from token_broker.domain.errors import ConnectionNotFound, RowUnreadable, StaleGeneration
from token_broker.domain.token_set import Terms, Verdict
from token_broker.store.rows import Row, ensure_readable, versioned

SHARDS = 16  # of the due index: as many as there may be lanes


def shard_of(connection_id: str) -> int:
    """Return the part of the due index a connection lives in."""
    return zlib.crc32(connection_id.encode()) % SHARDS


def text(value: Any) -> str:
    """Read a text; raise ValueError if it is none."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def whole(value: Any) -> int:
    """Read a whole number; raise TypeError if it is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a whole number")
    return value


def flag(value: Any) -> bool:
    """Read a truth value; raise TypeError if it is none."""
    if not isinstance(value, bool):
        raise TypeError("not a truth value")
    return value


def suspect(value: Any) -> Suspect:
    """Read the suspicion against a refresh token."""
    since = value["streak_since"]
    return Suspect(
        generation=whole(value["generation"]),
        reason=Reason(value["reason"]),
        since=whole(value["since"]),
        streak_since=whole(since) if since is not None else None,
        looks=whole(value["looks"]),
    )


def terms(value: Any) -> Terms:
    """Read what a consent covers."""
    return Terms(
        accounts=whole(value["accounts"]),
        accounts_hash=text(value["accounts_hash"]),
        products=tuple(text(product) for product in value["products"]),
        since=whole(value["since"]),
    )


# How each attribute is read. One that is not here is of no connection.
ATTRIBUTES: Mapping[str, Callable[[Any], Any]] = {
    "schema": whole,
    "id": text,
    "subject": text,
    "connector": text,
    "status": Status,
    "reason": Reason,
    "generation": whole,
    "token_set": bytes,
    "login": text,
    "issued_at": whole,
    "iat": whole,
    "expires_at": whole,
    "verdict": Verdict,
    "linked_at": whole,
    "updated_at": whole,
    "due_at": whole,
    "asked_at": whole,
    "lease_id": text,
    "lease_until": whole,
    "lease_since": whole,
    "attempt_id": text,
    "consent": text,
    "grant_id": text,
    "interaction_id": text,
    "terms": terms,
    "unsettled": whole,
    "predecessor_resent": flag,
    "failures": whole,
    "suspect": suspect,
    "rejected": whole,
    "refused": whole,
    "proved_at": whole,
    "unreadable": whole,
    "confirmation_hash": text,
    "superseded_by": text,
    "keep_until": whole,
    "last_event": text,
}
TELLING = ("id", "subject", "connector", "status")
"""Without these nobody can tell whose connection it is, and how it stands."""

NEEDED = ("generation", "linked_at", "updated_at")
PUBLIC = tuple(name for name in ATTRIBUTES if name not in {"token_set", "confirmation_hash"})
"""What a read that may not see the token set asks for."""

INFORMATIVE = {"grant_id", "interaction_id", "terms"}
"""Where these do not read the connection is as good as without them."""

OF_THE_FACT = {"schema", *TELLING, *NEEDED, "unsettled", "failures", "last_event"}
"""What a tombstone keeps."""


def changes(**of: Any) -> Row:
    """Return what a write changes, from the fields of a Connection; None removes one.

    A row that is given a token set, or claimed, is not on its way out any more.
    """
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
            case "terms":
                row[name] = value and asdict(value) | {"products": list(value.products)}
            case "predecessor_resent":
                row[name] = value or None
            case _:
                row[name] = value
    if row.get("token_set") or row.get("lease_id"):
        row["gone_at"] = None
    return row


def going(gone_at: int) -> Row:
    """Return what leaves no token set and nothing due; the table's TTL takes it after `gone_at`."""
    over = changes(sealed=None, lease=None, due_at=None, keep_until=None, unsettled=0)
    return over | {"gone_at": gone_at}


def row_of(connection: Connection) -> Row:
    """Return a connection as a whole row."""
    of = {one.name: getattr(connection, one.name) for one in fields(connection)}
    del of["malformed"], of["id_token"]
    row = versioned(changes(**of)) | {"shard": shard_of(connection.id)}
    return {name: value for name, value in row.items() if value is not None}


def connection_of(row: Row) -> Connection:
    """Read a row; what makes no sense of it is read as absent, and named in `malformed`.

    Raises RowNewer, and RowUnreadable where it does not say whose connection it is, or its status.
    """
    ensure_readable(row)
    of: dict[str, Any] = dict.fromkeys(NEEDED, 0)
    malformed = [name for name in NEEDED if name not in row]
    for name, read in ATTRIBUTES.items():
        try:
            if name in row or name in TELLING:
                of[name] = read(row[name])
        except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
            if name in TELLING:
                raise RowUnreadable(
                    detail=f"the row does not read as a connection ({type(exc).__name__})"
                ) from None
            if name not in INFORMATIVE:
                malformed.append(name)
    of.pop("schema", None)
    lease_id, until, since = (of.pop(f"lease_{part}", None) for part in ("id", "until", "since"))
    return Connection(
        sealed=of.pop("token_set", None),
        lease=Lease(id=lease_id, until=until, since=since) if lease_id and until else None,
        malformed=tuple(malformed),
        **of,
    )


def found(refused: StaleGeneration) -> Connection:
    """Read the row that refused a write; raise ConnectionNotFound if there is none."""
    if not refused.row:
        raise ConnectionNotFound from None
    return connection_of(dict(refused.row))
