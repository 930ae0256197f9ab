"""Writes that end connections, erase what they held, and undo an end."""

from __future__ import annotations

from contextlib import suppress

from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import StaleGeneration
from token_broker.store.conditions import (
    exists,
    has_token_set,
    holds,
    is_free,
    is_in,
    is_owned_by,
    leased_as,
    names_no_other,
)
from token_broker.store.connection_row import (
    ATTRIBUTES,
    OF_THE_FACT,
    changes,
    connection_of,
    found,
    going,
)
from token_broker.store.reading import Reading, pointer_of
from token_broker.store.rows import Write


class Endings(Reading):
    """From ACTIVE to the tombstone, each step under the lease of who makes it."""

    def end(
        self, leased: Connection, *, reason: Reason, due_at: int, keep_until: int, now: int
    ) -> None:
        """Make an ACTIVE connection REAUTH_REQUIRED, under its lease.

        Its sealed set is kept until `keep_until`. Ending it twice is ending it once. Raises
        StaleGeneration.
        """
        ended = changes(
            status=Status.REAUTH_REQUIRED,
            reason=reason,
            due_at=due_at,
            keep_until=keep_until,
            lease=None,
            unsettled=0,
            failures=0,
            last_event="reauthorization_required",
            updated_at=now,
        )
        condition = leased_as(leased) & is_in(Status.ACTIVE) & holds(leased.generation)
        try:
            self._rows.update(Write(leased.id, ended, condition))
        except StaleGeneration as refused:
            row = found(refused)
            if (row.status, row.reason, row.updated_at) != (Status.REAUTH_REQUIRED, reason, now):
                raise StaleGeneration from None  # else an earlier delivery of this very write

    def reinstate(self, seen: Connection, *, now: int) -> Connection:
        """Make a REAUTH_REQUIRED connection that still has its set ACTIVE and due now.

        Raises StaleGeneration if it moved on since it was seen.
        """
        back = changes(
            status=Status.ACTIVE,
            reason=None,
            keep_until=None,
            suspect=None,
            due_at=now,
            updated_at=now,
            last_event="reinstated",
        )
        condition = (
            is_in(Status.REAUTH_REQUIRED) & holds(seen.generation) & has_token_set() & is_free(now)
        )
        return connection_of(self._rows.update(Write(seen.id, back, condition)))

    def ask_revoke(self, connection_id: str, *, now: int) -> Connection:
        """Make the row REVOKE_PENDING and due now, and return it without its token set.

        A tombstone stays one, and so does a link whose set another connection gets.
        """
        pending = changes(
            status=Status.REVOKE_PENDING,
            due_at=now,
            keep_until=now,
            updated_at=now,
            last_event="disconnect_asked",
        )
        is_over = is_in(Status.REVOKE_PENDING, Status.REVOKED)
        with suppress(StaleGeneration):
            self._rows.transact(
                Write(connection_id, pending, exists() & ~is_over & names_no_other())
            )
        return self.look(connection_id)

    def mark_revoked(
        self, leased: Connection, *, gone_at: int, now: int, event: str = "revoked"
    ) -> None:
        """Leave but the fact that it was, REVOKED by `event`, until `gone_at`; under its lease."""
        erased = dict.fromkeys(name for name in ATTRIBUTES if name not in OF_THE_FACT)
        tombstone = changes(status=Status.REVOKED, failures=0, last_event=event, updated_at=now)
        if leased.login:
            with suppress(StaleGeneration):  # it is another connection's
                self._rows.delete(pointer_of(leased.login), condition=is_owned_by(leased.id))
        self._rows.transact(
            Write(leased.id, erased | tombstone | going(gone_at), leased_as(leased))
        )

    def erase_token_set(self, leased: Connection, *, gone_at: int, now: int) -> None:
        """Erase the token set; under its lease.

        After `gone_at` the row goes, and the pointer of a login it owns.
        """
        erased = changes(last_event="token_set_erased", updated_at=now) | going(gone_at)
        if leased.login:
            pointer = Write(pointer_of(leased.login), {"gone_at": gone_at}, is_owned_by(leased.id))
            with suppress(StaleGeneration):  # it is another connection's
                self._rows.transact(pointer)
        self._rows.transact(Write(leased.id, erased, leased_as(leased)))

    def delete(self, leased: Connection) -> None:
        """Remove a row that never became a connection; under its lease."""
        unfinished = is_in(Status.LINKING, Status.PENDING_CONFIRMATION)
        with suppress(StaleGeneration):  # a set landed, or somebody else holds the row
            self._rows.delete(
                leased.id, condition=leased_as(leased) & holds(leased.generation) & unfinished
            )
