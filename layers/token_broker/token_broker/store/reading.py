"""Reads of the connections table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from heapq import merge
from itertools import islice

from token_broker.domain.connection import Connection, Due, Owner, Page, Place, Status
from token_broker.domain.errors import ConnectionNotFound, RowNewer, RowUnreadable
from token_broker.domain.ports import Record
from token_broker.store.conditions import is_in
from token_broker.store.connection_row import PUBLIC, SHARDS, connection_of
from token_broker.store.rows import Absent, AtMost, Equals, OneOf, Row, Rows

MOST_LISTED = 100  # connections of a subject in a page
MEASURED = 500  # rows of a shard whose expiry a run looks at
LOOKED_PAST = 5_000  # rows of a shard among which a run looks for other connectors'


def pointer_of(login: str) -> str:
    """Return the id of the row that says which connection owns a login."""
    return f"login#{login}"


class Reading:
    """What of the connections table can be read without changing it."""

    def __init__(self, rows: Rows, *, record: Record) -> None:
        self._rows = rows
        self._record = record

    def get(self, connection_id: str) -> Connection:
        """Read one connection.

        What makes no sense of it is read as absent, and named in `malformed`. Raises
        ConnectionNotFound, RowUnreadable (it does not say whose connection it is, or its status),
        RowNewer.
        """
        return self._read(connection_id)

    def look(self, connection_id: str) -> Connection:
        """Read one connection without its token set; raise ConnectionNotFound."""
        return self._read(connection_id, *PUBLIC)

    def _read(self, connection_id: str, *only: str) -> Connection:
        return connection_of(self._row(connection_id, *only))

    def _row(self, connection_id: str, *only: str) -> Row:
        row = self._rows.get(connection_id, only=only)
        if row is None:
            raise ConnectionNotFound
        return row

    def of_subject(
        self, subject: str, *, limit: int = MOST_LISTED, after: Place | None = None
    ) -> Page:
        """List a subject's connections without their token sets, newest first, those after one.

        Which there are may lag; how they stand does not. A row that does not say whose connection
        it is, or its status, is left out and counted.
        """
        found = self._rows.query(
            "subject",
            Equals("subject", subject),
            newest_first=True,
            limit=limit + 1,
            after={"subject": subject, **after._asdict()} if after else None,
        )
        places = [Place(row["linked_at"], row["id"]) for row in found]
        rows = (self._rows.get(place.id, only=PUBLIC) for place in places[:limit])
        there = [row for row in rows if row is not None]
        return Page(list(self._readable(there)), places[limit - 1] if len(places) > limit else None)

    def every(self) -> Iterator[Connection]:
        """Read all connections without their token sets, in no order; may lag.

        A row that does not say whose connection it is, or its status, is left out and counted.
        """
        return self._readable(self._rows.scan(matching=~Absent("subject"), only=PUBLIC))

    def _readable(self, rows: Iterable[Row]) -> Iterator[Connection]:
        for row in rows:
            try:
                yield connection_of(row)
            except (RowNewer, RowUnreadable) as exc:
                self._record("row_left_out", connection_id=str(row.get("id")), detail=exc.detail)

    def due(
        self,
        *,
        now: int,
        limit: int,
        beside: Collection[str] = (),
        shards: Collection[int] = range(SHARDS),
    ) -> list[Due]:
        """List what is due, oldest first, at most `limit`; may lag.

        With `beside`, of other connectors than these, among the LOOKED_PAST oldest of each shard.
        """
        found = [
            self._rows.query(
                "due",
                Equals("shard", shard) & AtMost("due_at", now),
                matching=~OneOf("connector", tuple(beside)) if beside else None,
                limit=LOOKED_PAST if beside else limit,
            )
            for shard in shards
        ]
        oldest = islice(merge(*found, key=lambda row: row["due_at"]), limit)
        return [Due(row["id"], row["due_at"], str(row.get("connector", ""))) for row in oldest]

    def expiries(self, *, due_until: int) -> list[int]:
        """List when bearers in use expire: those of ACTIVE connections that were asked for.

        Only of those that are due until then and not suspect, the longest due first; some thousands
        at most; may lag.
        """
        is_in_use = (
            is_in(Status.ACTIVE) & ~Absent("asked_at") & ~Absent("expires_at") & Absent("suspect")
        )
        return [
            row["expires_at"]
            for shard in range(SHARDS)
            for row in self._rows.query(
                "due",
                Equals("shard", shard) & AtMost("due_at", due_until),
                matching=is_in_use,
                only=("expires_at",),
                limit=MEASURED,
            )
        ]

    def owner_of(self, login: str, *, asking: str | None = None) -> Owner | None:
        """Return who owns a login, without the token set.

        An owner whose row does not read, or not all of it, comes without its connection; and so
        does the connection that is `asking`, for it has its row.
        """
        pointer = self._rows.get(pointer_of(login), only=("owner", "gone_at"))
        if not pointer:
            return None
        owner = Owner(id=str(pointer["owner"]), connection=None, is_going="gone_at" in pointer)
        if owner.id == asking:
            return owner
        try:
            found = self.look(owner.id)
        except ConnectionNotFound:
            return owner
        except RowUnreadable:
            return replace(owner, is_unreadable=True)
        if found.malformed:
            return replace(owner, is_unreadable=True)
        return replace(owner, connection=found)
