"""The connections table: what an attempt claims, lands and settles, and all that is noted.

Every write names the attributes it changes, so that no writer can overwrite another's. A write may
be delivered twice; each that must count once carries the attempt's id and recognises itself.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from token_broker.domain.connection import MOVES, Connection, Landing, Lease, Owner, Status, Suspect
from token_broker.domain.errors import (
    ConsentSuspect,
    RefreshInProgress,
    RowUnreadable,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.ports import Clock, NewSecret, Record
from token_broker.domain.refresh_policy import CONFIRM_WITHIN
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.store.conditions import (
    exists,
    held_by,
    holds,
    is_due,
    is_due_after,
    is_due_before,
    is_free,
    is_in,
    is_news,
    is_readable,
    is_rested,
    is_unclaimed,
    leased_as,
    reads_as,
)
from token_broker.store.connection_row import changes, connection_of, found
from token_broker.store.endings import Endings
from token_broker.store.identity import IdentityRow
from token_broker.store.linking import Linking
from token_broker.store.rows import SCHEMA, Condition, Row, Rows, Write


class Connections(Linking, Endings):
    """The rows of connections. Every write is conditional; a refused one changes nothing.

    Raises UpstreamUnavailable when the table refuses or cannot be reached (for a write that means
    its effect is unknown), RowUnreadable, ConnectionNotFound, and what each method names.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        clock: Clock,
        new_secret: NewSecret,
        record: Record,
        impatient: Rows | None = None,
    ) -> None:
        """Use `impatient`, the same rows without retries, where the caller retries by itself."""
        super().__init__(rows, record=record)
        self._impatient = impatient or rows
        self._identity = IdentityRow(
            rows, clock=clock, new_secret=new_secret, impatient=self._impatient
        )

    # ── one attempt ──────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        connection_id: str,
        *,
        lease: Lease,
        now: int,
        due_at: int,
        statuses: Collection[Status],
        generation: int | None = None,
        rejected: bool = False,
        ignore_back_off: bool = False,
    ) -> Connection:
        """Take the lease and count an unsettled attempt.

        The row must be in one of `statuses`, unleased and due. With `generation`, it need not be
        due, but must hold that generation and not be backing off. `ignore_back_off`: claim even
        then (for a new consent, which also clears earlier rejections). `rejected`: note that the
        data API refused this generation's bearer. Claiming twice with one lease id counts once.

        Raises RefreshInProgress (leased), UpstreamUnavailable (backing off), ConsentSuspect
        (backing off because Akoya refused it), StaleGeneration (not due, or moved on),
        RowUnreadable, RowNewer.
        """
        claimed = changes(lease=Lease(id=lease.id, until=lease.until, since=now), due_at=due_at)
        condition = is_readable() & is_in(*statuses) & is_free(now)
        condition &= is_due(now) if generation is None else holds(generation)
        if ignore_back_off:
            claimed |= changes(rejected=None, refused=None, proved_at=None)
        else:
            condition &= is_rested() | is_due(now)
        if rejected:
            claimed |= changes(rejected=generation)
        try:
            return self._update(Write(connection_id, claimed, condition, adds={"unsettled": 1}))
        except StaleGeneration as refused:
            row = found(refused)
        if row.lease and row.lease.id == lease.id:
            return row  # an earlier delivery of this very claim
        raise _why_unclaimed(row, now=now, statuses=statuses, generation=generation)

    def land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        """Store a token set as the generation it names, if the row holds the one before it.

        If `lease_id` still holds the lease, the lease ends, the counters are cleared, and the row
        becomes `status`, due at `due_at`. If not, only the set is written; a LINKING row still
        becomes `status`. A set that lands in a REVOKED row makes that row due for a revoke. Landing
        one attempt twice is landing it once. A row that awaits confirmation is kept until
        CONFIRM_WITHIN after `due_at`. Raises StaleGeneration.
        """
        landed = self._land(landing, lease_id=lease_id, status=status, due_at=due_at)
        self._identity.bind()
        return landed

    def _land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        the_set = _of_the_set(landing)
        moved = _of_the_move(status, due_at)
        follows = holds(landing.generation - 1)
        may_move = is_in(status, *(one for one, after in MOVES.items() if status in after))
        own = Write(
            landing.connection_id,
            the_set | moved | changes(lease=None),
            follows & held_by(lease_id) & may_move,
        )
        try:
            return connection_of(self._impatient.update(own))
        except StaleGeneration as refused:
            row = found(refused)
        if row.attempt_id == landing.attempt_id and row.generation >= landing.generation:
            return row  # an earlier delivery of this very write
        if row.generation != landing.generation - 1:
            raise StaleGeneration
        late = _of_a_late_one(landing, row) if row.status is not Status.LINKING else moved
        lost = Write(landing.connection_id, the_set | late, follows & is_in(row.status))
        try:
            return connection_of(self._impatient.update(lost))
        except StaleGeneration:
            raise UpstreamUnavailable(detail="the row moves; landing again") from None

    def settle(
        self,
        leased: Connection,
        *,
        due_at: int,
        settled: bool,
        failures: int,
        event: str,
        now: int,
        suspect: Suspect | None = None,
    ) -> None:
        """End the lease of `held`; `settled`: the attempt is known to have changed nothing.

        Does nothing where the lease is no longer held.
        """
        ended = changes(
            lease=None,
            failures=failures,
            unsettled=max(0, leased.unsettled - 1) if settled else leased.unsettled,
        )
        if suspect:
            ended |= changes(suspect=suspect)
        said = changes(due_at=due_at, last_event=event, updated_at=now)
        still = leased_as(leased)
        if not self._write(leased.id, ended | said, still & is_in(leased.status)):
            self._write(leased.id, ended, still)  # it moved: what that says of it stays

    def postpone(self, connection_id: str, *, due_at: int) -> None:
        """Push back a row that cannot be read, so that it does not block those behind it."""
        later = exists() & is_due_before(due_at)
        self._write(connection_id, changes(due_at=due_at), later)

    # ── what is noted ────────────────────────────────────────────────────────────────────────────

    def judge(self, landed: Connection, verdict: Verdict) -> None:
        """Note what checking the bearer came to, if that generation is still held."""
        self._note(landed, verdict=verdict)

    def note_unreadable(self, seen: Connection) -> bool:
        """Note that the set seen does not open, if it is still held; return whether that is new."""
        is_new = holds(seen.generation) & is_news(seen.generation)
        return self._write(seen.id, changes(unreadable=seen.generation), is_new)

    def mend(self, connection_id: str, *, now: int) -> None:
        """Remove what does not read of a row whose set a new consent is about to replace.

        A generation that does not read becomes `now`, above any that was issued; an attempt counts
        as unsettled, so that escrow is looked into. Raises StaleGeneration (it moves),
        ConnectionNotFound, RowUnreadable.
        """
        row = self._row(connection_id)
        names = connection_of(row).malformed
        if not names:
            return
        whole = {
            "schema": SCHEMA,
            "generation": now,
            "linked_at": now,
            "updated_at": now,
            "unsettled": 1,
        }
        mended = {name: whole.get(name) for name in names} | {"last_event": "mended"}
        self._rows.transact(Write(connection_id, mended, reads_as(row, (*names, "status"))))
        self._record("row_mended", connection_id=connection_id, detail=", ".join(names))

    def note_refused(self, seen: Connection) -> None:
        """Note a second rejection in a row, of the bearer seen, if the row still holds it."""
        self._note(seen, refused=seen.generation)

    def note_proof(self, landed: Connection, *, now: int) -> None:
        """Note that the predecessor was refused upon another, and that the consent lives."""
        self._note(landed, refused=landed.generation - 1, proved_at=now)

    def make_due(self, seen: Connection, *, due_at: int, asked_at: int | None = None) -> None:
        """Make a row due by then, if it still holds what was seen and no attempt is or was in vain.

        With `asked_at`, note since when its bearer is in use.
        """
        is_idle = is_in(Status.ACTIVE) & is_unclaimed() & is_rested()
        earlier = holds(seen.generation) & is_idle & is_due_after(due_at)
        noted = changes(asked_at=asked_at) if asked_at is not None else {}
        self._write(seen.id, noted | changes(due_at=due_at), earlier)

    def _note(self, seen: Connection, **of: Any) -> None:
        self._write(seen.id, changes(**of), holds(seen.generation))

    # ── identity ─────────────────────────────────────────────────────────────────────────────────

    def bring_in(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        """Add a connection as `Linking` does; the first set that lands binds the table."""
        super().bring_in(connection, owner=owner, now=now)
        self._identity.bind()

    def table_id(self) -> str:
        """Return what tells this very table from its copies and restores."""
        return self._identity.table_id()

    def recorded_identity(self, home: Identity) -> Identity:
        """Return the identity recorded in the table; call it before anything is sent.

        Until a token set has landed its provider is None, and it follows `home`; with the first
        set that lands the table is bound to `home` as it was named last.
        """
        return self._identity.recorded(home)

    def adopt(self, home: Identity) -> None:
        """Record another identity, by the operator's word; the key of the logins stays."""
        self._identity.adopt(home)

    def login_key(self) -> SecretText:
        """Return what keys the table's logins, as it was read with the identity."""
        return self._identity.login_key()

    # ── how a write is made ──────────────────────────────────────────────────────────────────────

    def _update(self, write: Write) -> Connection:
        return connection_of(self._rows.update(write))

    def _write(self, connection_id: str, changed: Row, condition: Condition) -> bool:
        """Change a row, unless it moved on: then what was seen of it no longer matters."""
        with suppress(StaleGeneration):
            self._rows.transact(Write(connection_id, changed, condition))
            return True
        return False


def _why_unclaimed(
    row: Connection, *, now: int, statuses: Collection[Status], generation: int | None
) -> TokenBrokerError:
    """Return what to say to whoever could not claim a row that stands like this."""
    if row.leased(now) and row.lease:
        return RefreshInProgress(retry_after=_soon(row.lease.until - now))
    if row.malformed:
        return RowUnreadable(detail=f"these do not read: {', '.join(row.malformed)}")
    if row.status in statuses and row.generation == generation and row.due_at:
        resting = max(1, row.due_at - now)
        if row.suspected:
            return ConsentSuspect(detail="refused meanwhile", retry_after=resting)
        return UpstreamUnavailable(detail="resting after a failed attempt", retry_after=resting)
    return StaleGeneration()


def _of_the_set(landing: Landing) -> Row:
    """Return what a landing changes wherever it lands."""
    return changes(
        sealed=landing.sealed,
        login=landing.login,
        issued_at=landing.issued_at,
        iat=landing.iat,
        expires_at=landing.expires_at,
        verdict=landing.verdict,
        attempt_id=landing.attempt_id,
        generation=landing.generation,
        updated_at=landing.issued_at,
        predecessor_resent=landing.predecessor_resent,
        asked_at=landing.asked_at,
        unsettled=0,
        failures=0,
        suspect=landing.suspect,
        interaction_id=landing.interaction_id,
        last_event="token_refreshed" if landing.generation > 1 else "token_received",
        **({"consent": landing.consent} if landing.consent else {}),
        **({"grant_id": landing.grant_id} if landing.grant_id or landing.consent else {}),
        **({"terms": landing.terms} if landing.terms or landing.consent else {}),
    )


def _of_the_move(status: Status, due_at: int) -> Row:
    """Return what a landing changes beside where it lands under its own lease, or as the first."""
    moved = changes(status=status, due_at=due_at)
    match status:
        case Status.ACTIVE:
            moved |= changes(reason=None, keep_until=None)
        case Status.PENDING_CONFIRMATION:
            moved |= changes(keep_until=due_at + CONFIRM_WITHIN)
    return moved


def _of_a_late_one(landing: Landing, row: Connection) -> Row:
    """Return what a landing changes besides the set where its own lease is over.

    Nothing, unless the connection ended before this set came: then the row is due again.
    """
    match row.status:
        case Status.SUPERSEDED | Status.REAUTH_REQUIRED:
            return changes(due_at=landing.issued_at)  # the schedule tries it, or erases it
        case Status.REVOKED:
            return changes(
                status=Status.REVOKE_PENDING, due_at=landing.issued_at, keep_until=landing.issued_at
            )
        case _:
            return {}


def _soon(seconds: int) -> int:
    """Return when asking again is worth it: a lease mostly ends long before its limit."""
    return min(max(1, seconds), 2)
