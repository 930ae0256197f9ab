"""Writes that make connections, and that say which of them a bank login is."""

from __future__ import annotations

from dataclasses import replace

from token_broker.domain.connection import Connection, Owner, Reason, Status
from token_broker.domain.errors import (
    AlreadyConnected,
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
)
from token_broker.domain.refresh_policy import CLOCK_SKEW
from token_broker.store.conditions import (
    as_seen,
    held_by,
    holds,
    is_confirmed_by,
    is_free,
    is_in,
    is_new,
    is_owned_by,
)
from token_broker.store.connection_row import PUBLIC, changes, row_of
from token_broker.store.reading import Reading, pointer_of
from token_broker.store.rows import SCHEMA, Row, Write


class Linking(Reading):
    """New rows, their confirmation, and the pointer row that names the owner of each login."""

    def create(self, connection: Connection) -> None:
        """Add a LINKING row; over an earlier one that never held a set; else StaleGeneration."""
        never_held = is_in(Status.LINKING) & holds(0)
        self._rows.put(row_of(connection), condition=is_new() | never_held)

    def confirm(
        self,
        connection_id: str,
        *,
        subject: str,
        confirmation_hash: str,
        owner: Owner | None,
        due_at: int,
        now: int,
    ) -> Connection:
        """Make a pending connection ACTIVE and the owner of its login; may be repeated.

        `owner` is who owned the login when it was looked up; it becomes SUPERSEDED in the same
        transaction and is due at once: the schedule erases its set. Returns the row without its
        token set. Raises ConfirmationInvalid, NotConfirmed (LINKING), AlreadyConnected,
        ConnectionNotFound (its time is over), ConnectionGone, StaleGeneration (the owner is another
        by now, has other tokens, or an attempt may be getting some).
        """
        row = self._read(connection_id, *PUBLIC, "confirmation_hash")
        if row.subject != subject or row.confirmation_hash != confirmation_hash:
            raise ConfirmationInvalid
        match row.status:
            case Status.ACTIVE:
                return replace(row, confirmation_hash=None)
            case Status.LINKING:
                raise NotConfirmed
            case Status.SUPERSEDED if row.superseded_by:
                raise AlreadyConnected(row.superseded_by)
            case Status.PENDING_CONFIRMATION:
                if row.keep_until is not None and row.keep_until - CLOCK_SKEW <= now:
                    raise ConnectionNotFound
                active = changes(
                    status=Status.ACTIVE,
                    due_at=due_at,
                    keep_until=None,
                    unsettled=0,
                    asked_at=now,
                    last_event="confirmed",
                    updated_at=now,
                )
                is_his = as_seen(row) & is_confirmed_by(confirmation_hash)
                confirmed = Write(connection_id, active, is_his)
                self._rows.transact(confirmed, *_ownership(row, owner, now=now))
                return self.look(connection_id)
            case _:
                raise ConnectionGone

    def bring_in(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Add an ACTIVE row that holds a set and owns its login, in one transaction.

        `owner` as in `confirm`. Raises StaleGeneration (it has moved on, or the id is taken).
        """
        row = row_of(connection)
        del row["id"]
        added = Write(connection.id, row, is_new())
        self._rows.transact(added, *_ownership(connection, owner, now=now))

    def own(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Make an ACTIVE connection the owner of its login, as `confirm` does; StaleGeneration."""
        if moves := _ownership(connection, owner, now=now):
            still = is_in(Status.ACTIVE) & holds(connection.generation)
            self._rows.transact(Write(connection.id, changes(updated_at=now), still), *moves)

    def supersede(
        self, seen: Connection, *, by: str | None = None, lease_id: str = "", now: int
    ) -> None:
        """Make a connection SUPERSEDED and due at once: its set is erased.

        `by`: its subject's connection that gets the set before. `lease_id`: the caller's, if it has
        one. Raises StaleGeneration: it has moved on, or another attempt may be getting it tokens.
        """
        still = as_seen(seen) & (is_free(now) | held_by(lease_id))
        superseded = _superseded(now) | changes(superseded_by=by)
        self._rows.transact(Write(seen.id, superseded, still))


def _ownership(winner: Connection, owner: Owner | None, *, now: int) -> list[Write]:
    """Return the writes that move a login's pointer and supersede who had it.

    Refused where the loser holds another set than it was judged by, or may be getting one.
    """
    if winner.login is None or (owner and owner.id == winner.id and not owner.is_going):
        return []
    pointer = Write(
        pointer_of(winner.login),
        {"owner": winner.id, "schema": SCHEMA, "gone_at": None},
        is_owned_by(owner.id if owner else None),
    )
    loser = owner.connection if owner and owner.id != winner.id else None
    if loser is None or loser.status not in {Status.ACTIVE, Status.REAUTH_REQUIRED}:
        return [pointer]
    return [pointer, Write(loser.id, _superseded(now), as_seen(loser) & is_free(now))]


def _superseded(now: int) -> Row:
    """Return what changes in a row whose login another one goes on with.

    Not the token set: whoever confirms has no right to it. The row is due at once, and the schedule
    looks into escrow and erases it.
    """
    return changes(
        status=Status.SUPERSEDED,
        reason=Reason.SUPERSEDED,
        due_at=now,
        keep_until=None,
        last_event="superseded",
        updated_at=now,
        lease=None,
        suspect=None,
        rejected=None,
        refused=None,
        proved_at=None,
        unreadable=None,
    )
