"""The conditions that guard a connection's row, by name.

A lease guards sends, the generation guards writes of a token set.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import and_

from token_broker.domain.connection import Connection, Status
from token_broker.store.rows import (
    SCHEMA,
    Above,
    Absent,
    AtMost,
    Condition,
    Equals,
    IsA,
    OneOf,
    Row,
    named,
)


@named
def exists() -> Condition:
    """There is such a row."""
    return ~Absent("id")


@named
def is_new() -> Condition:
    """There is no such row."""
    return Absent("id")


@named
def is_in(*statuses: Status) -> Condition:
    """Its status is one of these."""
    return OneOf("status", tuple(sorted(statuses)))


@named
def holds(generation: int) -> Condition:
    """It holds the token set of this generation."""
    return Equals("generation", generation)


@named
def has_token_set() -> Condition:
    """Its token set has not been erased."""
    return ~Absent("token_set")


@named
def is_free(now: int) -> Condition:
    """No attempt may be using its refresh token."""
    return Absent("lease_until") | AtMost("lease_until", now)


@named
def held_by(lease_id: str) -> Condition:
    """The latest lease is this one."""
    return Equals("lease_id", lease_id)


@named
def is_unclaimed() -> Condition:
    """No attempt has claimed it without settling it."""
    return Absent("lease_id")


@named
def is_due(now: int) -> Condition:
    """The schedule must look at it."""
    return AtMost("due_at", now)


@named
def is_due_after(moment: int) -> Condition:
    """It is due, but later than this."""
    return Above("due_at", moment)


@named
def is_due_before(moment: int) -> Condition:
    """It is due, and earlier than this."""
    return AtMost("due_at", moment - 1)


@named
def is_rested() -> Condition:
    """Its latest attempt did not fail."""
    return Equals("failures", 0) | Absent("failures")


@named
def names_no_other() -> Condition:
    """No other connection of its subject goes on with its login."""
    return Absent("superseded_by")


@named
def is_confirmed_by(confirmation_hash: str) -> Condition:
    """Its link was finished by the browser that was given this confirmation."""
    return Equals("confirmation_hash", confirmation_hash)


@named
def is_owned_by(connection_id: str | None) -> Condition:
    """The login is this connection's; None: nobody's."""
    return Equals("owner", connection_id) if connection_id else Absent("owner")


@named
def is_readable() -> Condition:
    """What a claim asks for reads, and no later version of the broker wrote it."""
    numbers = ("schema", "unsettled", "lease_until")
    reads = [Absent(name) | IsA(name, int) for name in numbers]
    is_known = Absent("schema") | AtMost("schema", SCHEMA)
    return reduce(and_, reads) & is_known & IsA("subject", str) & IsA("connector", str)


@named
def is_news(unreadable: int) -> Condition:
    """It has not been noted that the token set of this generation does not open."""
    return ~Equals("unreadable", unreadable)


@named
def reads_as(row: Row, names: Iterable[str]) -> Condition:
    """These attributes are as they were read, however odd."""
    same = [Equals(name, row[name]) if name in row else Absent(name) for name in names]
    return reduce(and_, same, exists())


def leased_as(leased: Connection) -> Condition:
    """Its latest lease is still the one it was claimed under."""
    return held_by(leased.lease.id if leased.lease else "")


def as_seen(seen: Connection) -> Condition:
    """It has the status and holds the token set it was seen with."""
    return is_in(seen.status) & holds(seen.generation)
