"""A row of moments by name, for what is counted while it is recent: written as a whole, in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from token_broker.domain.errors import StaleGeneration, UpstreamUnavailable
from token_broker.store.rows import Absent, Condition, Equals, Rows, Write, named, versioned

TRIES = 5
Moments = dict[str, int]


@named
def is_as_read(writes: int) -> Condition:
    """Nobody has written it since."""
    return Absent("id") | Equals("writes", writes)


@named
def has_moment(name: str) -> Condition:
    """It has a moment of that name."""
    return ~Absent(("moments", name))


def recount(
    rows: Rows, row_id: str, count: Callable[[Moments], Moments], *, kept_for: int = 0
) -> Moments:
    """Let `count` say what the moments become, and return them.

    The row goes `kept_for` seconds after the latest of them. Raises UpstreamUnavailable where
    others write it at the same moment again and again.
    """
    for _ in range(TRIES):
        row = rows.get(row_id) or {"moments": {}, "writes": 0}
        moments = count(row["moments"])
        if moments == row["moments"]:
            return moments
        counted = {
            "id": row_id,
            "moments": moments,
            "writes": row["writes"] + 1,
            "expires_at": max(moments.values()) + kept_for,
        }
        with suppress(StaleGeneration):
            rows.put(versioned(counted), condition=is_as_read(row["writes"]))
            return moments
    raise UpstreamUnavailable(detail="others count here at the same moment", retry_after=1)


def forget(rows: Rows, row_id: str, name: str) -> None:
    """Take a moment out."""
    with suppress(StaleGeneration):
        rows.transact(
            Write(row_id, {("moments", name): None}, has_moment(name), adds={"writes": 1})
        )
