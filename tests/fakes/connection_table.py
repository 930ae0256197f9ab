"""The connections table in memory: each method one atomic step, as conditional writes are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

from token_broker.domain.connection import (
    MOVES,
    Connection,
    Landing,
    Lease,
    Owner,
    Reason,
    Status,
    Suspect,
)
from token_broker.domain.errors import (
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    RefreshInProgress,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.refresh_policy import CLOCK_SKEW, CONFIRM_WITHIN, FORGET_AFTER
from token_broker.domain.token_set import Verdict

NOT_SHOWN = {"sealed": None, "confirmation_hash": None}


class MemoryConnectionTable:
    """Rows in a dict, behind one mutex."""

    def __init__(self) -> None:
        self.rows: dict[str, Connection] = {}
        self.its_id = "table-1"
        self.owners: dict[str, str] = {}
        self._recorded: Identity | None = None
        self._unbound: Identity | None = None
        self._mutex = threading.RLock()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def create(self, connection: Connection) -> None:
        with self._mutex:
            there = self.rows.get(connection.id)
            if there and not (there.status is Status.LINKING and there.generation == 0):
                raise StaleGeneration
            self.rows[connection.id] = connection

    def get(self, connection_id: str) -> Connection:
        with self._mutex:
            if connection_id not in self.rows:
                raise ConnectionNotFound
            return self.rows[connection_id]

    def look(self, connection_id: str) -> Connection:
        return replace(self.get(connection_id), **NOT_SHOWN)  # type: ignore[arg-type]

    def of_subject(self, subject: str) -> list[Connection]:
        with self._mutex:
            found = [row for row in self.rows.values() if row.subject == subject]
        found.sort(key=lambda row: row.linked_at, reverse=True)
        return [replace(row, **NOT_SHOWN) for row in found]  # type: ignore[arg-type]

    def due(self, *, now: int, limit: int) -> list[tuple[str, int]]:
        with self._mutex:
            found = [
                (row.id, row.due_at)
                for row in self.rows.values()
                if row.due_at is not None and row.due_at <= now
            ]
        return sorted(found, key=lambda entry: entry[1])[:limit]

    def expiries(self, *, due_until: int, asked_since: int) -> list[int]:
        with self._mutex:
            return [
                row.expires_at
                for row in self.rows.values()
                if row.status is Status.ACTIVE
                and row.expires_at is not None
                and row.due_at is not None
                and row.due_at <= due_until
                and (row.asked_at or 0) >= asked_since
                and row.suspect is None
            ]

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
        even_resting: bool = False,
    ) -> Connection:
        with self._mutex:
            row = self.get(connection_id)
            is_due = row.due_at is not None and row.due_at <= now
            rested = row.failures == 0 or is_due or even_resting
            wanted = is_due if generation is None else row.generation == generation
            if row.lease and row.lease.id == lease.id:
                return row
            if row.leased(now):
                raise RefreshInProgress(retry_after=1)
            held = (row.hold_until or 0) > now and not even_resting
            if row.status not in statuses or not wanted or (held and generation is None):
                raise StaleGeneration
            if held:
                raise UpstreamUnavailable(retry_after=(row.hold_until or 0) - now)
            if generation is not None and not rested:
                raise UpstreamUnavailable(retry_after=max(1, (row.due_at or now) - now))
            forgotten = {"rejected": None, "refused": None, "proved_at": None}
            noted = {"rejected": generation} if rejected else {}
            return self._put(
                row,
                lease=replace(lease, since=now),
                due_at=due_at,
                unsettled=row.unsettled + 1,
                **(forgotten if even_resting else {}),
                **noted,
            )

    def land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        with self._mutex:
            landed = self._land(landing, lease_id=lease_id, status=status, due_at=due_at)
            self._bind()
            return landed

    def _land(self, landing: Landing, *, lease_id: str, status: Status, due_at: int) -> Connection:
        with self._mutex:
            row = self.get(landing.connection_id)
            if row.attempt_id == landing.attempt_id and row.generation >= landing.generation:
                return row
            if row.generation != landing.generation - 1:
                raise StaleGeneration
            the_set = {
                "sealed": landing.sealed,
                "login": landing.login,
                "issued_at": landing.issued_at,
                "iat": landing.iat,
                "expires_at": landing.expires_at,
                "verdict": landing.verdict,
                "attempt_id": landing.attempt_id,
                "consent": landing.consent or row.consent,
                "generation": landing.generation,
                "updated_at": landing.issued_at,
                "unsettled": 0,
                "predecessor_resent": landing.predecessor_resent,
                "failures": 0,
                "suspect": landing.suspect,
                "last_event": "token_refreshed" if landing.generation > 1 else "token_received",
            }
            may_move = row.status is status or status in MOVES[row.status]
            moved: dict[str, Any] = {"status": status, "due_at": due_at}
            if status is Status.ACTIVE:
                moved |= {"reason": None, "keep_until": None}
                moved |= {"hold_until": None} if landing.consent else {}
            if status is Status.PENDING_CONFIRMATION:
                moved |= {"keep_until": due_at + CONFIRM_WITHIN}
            if row.lease and row.lease.id == lease_id and may_move:
                return self._put(row, **the_set, **moved, lease=None)
            if row.status is Status.LINKING:
                return self._put(row, **the_set, **moved)
            if row.status is Status.SUPERSEDED:
                the_set |= {"due_at": landing.issued_at}
            if row.status is Status.REVOKED:
                the_set |= {
                    "status": Status.REVOKE_PENDING,
                    "due_at": landing.issued_at,
                    "keep_until": landing.issued_at,
                }
            return self._put(row, **the_set)

    def settle(
        self,
        held: Connection,
        *,
        due_at: int,
        settled: bool,
        failures: int,
        event: str,
        now: int,
        suspect: Suspect | None = None,
    ) -> None:
        def change(row: Connection) -> dict[str, Any]:
            said = {"due_at": due_at, "last_event": event, "updated_at": now}
            return (said if row.status is held.status else {}) | {
                "lease": None,
                "failures": failures,
                "unsettled": max(0, held.unsettled - 1) if settled else held.unsettled,
                "suspect": suspect or row.suspect,
            }

        with self._mutex:
            row = self.rows.get(held.id)
            if row and self._holds(held, row):
                self._put(row, **change(row))

    def judge(self, landed: Connection, verdict: Verdict) -> None:
        self._if_generation(landed, lambda _: {"verdict": verdict})

    def note_unreadable(self, seen: Connection) -> None:
        self._if_generation(seen, lambda row: {"unreadable": row.generation})

    def note_refused(self, seen: Connection) -> None:
        self._if_generation(seen, lambda row: {"refused": row.generation})

    def note_proof(self, landed: Connection, *, now: int) -> None:
        self._if_generation(landed, lambda row: {"refused": row.generation - 1, "proved_at": now})

    def note_asked(self, seen: Connection, *, now: int, due_at: int) -> None:
        def change(row: Connection) -> dict[str, Any]:
            brought_forward = (
                seen.due_at is not None
                and row.due_at is not None
                and due_at < row.due_at
                and row.lease is None
                and row.status is Status.ACTIVE
            )
            return {"asked_at": now} | ({"due_at": due_at} if brought_forward else {})

        self._if_generation(seen, change)

    def make_due(self, seen: Connection, *, due_at: int) -> None:
        def change(row: Connection) -> dict[str, Any]:
            is_later = row.due_at is not None and row.due_at > due_at
            is_free = row.lease is None and row.status is Status.ACTIVE
            return {"due_at": due_at} if is_later and is_free else {}

        self._if_generation(seen, change)

    # ── moves ────────────────────────────────────────────────────────────────────────────────────

    def end(
        self, held: Connection, *, reason: Reason, due_at: int, keep_until: int, now: int
    ) -> None:
        with self._mutex:
            there = self.get(held.id)
            ended = (Status.REAUTH_REQUIRED, reason, now)
            if (there.status, there.reason, there.updated_at) == ended:
                return
            row = self._held(held)
            if row.status is not Status.ACTIVE or row.generation != held.generation:
                raise StaleGeneration
            if (row.hold_until or 0) > now:
                raise StaleGeneration
            self._put(
                row,
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

    def bring_back(self, seen: Connection, *, now: int) -> Connection:
        with self._mutex:
            row = self.rows.get(seen.id)
            if (
                row is None
                or row.status is not Status.REAUTH_REQUIRED
                or row.generation != seen.generation
                or row.sealed is None
                or row.leased(now)
            ):
                raise StaleGeneration
            return self._put(
                row,
                status=Status.ACTIVE,
                reason=None,
                keep_until=None,
                suspect=None,
                due_at=now,
                updated_at=now,
                last_event="brought_back",
            )

    def bring_in(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        with self._mutex:
            if connection.id in self.rows:
                raise StaleGeneration
            self._own(connection, owner, now=now)
            self.rows[connection.id] = connection
            self._bind()

    def every(self) -> Iterator[Connection]:
        with self._mutex:
            rows = list(self.rows.values())
        return (replace(row, **NOT_SHOWN) for row in rows)  # type: ignore[arg-type]

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
        with self._mutex:
            row = self.get(connection_id)
            if row.subject != subject or row.confirmation_hash != confirmation_hash:
                raise ConfirmationInvalid
            match row.status:
                case Status.ACTIVE:
                    return self.look(connection_id)
                case Status.LINKING:
                    raise NotConfirmed
                case Status.PENDING_CONFIRMATION:
                    if row.keep_until is not None and row.keep_until - CLOCK_SKEW <= now:
                        raise ConnectionNotFound
                    self._own(row, owner, now=now)
                    self._put(
                        row,
                        status=Status.ACTIVE,
                        due_at=due_at,
                        keep_until=None,
                        unsettled=0,
                        asked_at=now,
                        last_event="confirmed",
                        updated_at=now,
                    )
                    return self.look(connection_id)
                case _:
                    raise ConnectionGone

    # ── the owner of a login ─────────────────────────────────────────────────────────────────────

    def owner_of(self, login: str) -> Owner | None:
        with self._mutex:
            if login not in self.owners:
                return None
            owner = self.owners[login]
            there = owner in self.rows
            return Owner(id=owner, connection=self.look(owner) if there else None)

    def hold(self, connection_id: str, *, until: int) -> None:
        with self._mutex:
            row = self.rows.get(connection_id)
            if row and row.status is Status.ACTIVE:
                self._put(row, hold_until=until, due_at=until)

    def take_over(self, connection: Connection, *, owner: Owner | None, now: int) -> None:
        with self._mutex:
            row = self.get(connection.id)
            if connection.login is None or (owner and owner.id == connection.id):
                return
            if row.status is not Status.ACTIVE or row.generation != connection.generation:
                raise StaleGeneration
            self._own(connection, owner, now=now)
            self._put(row, updated_at=now)

    def forget_login(self, connection: Connection) -> None:
        with self._mutex:
            if connection.login and self.owners.get(connection.login) == connection.id:
                del self.owners[connection.login]

    def _own(self, winner: Connection, owner: Owner | None, *, now: int) -> None:
        if winner.login is None or (owner and owner.id == winner.id):
            return
        if self.owners.get(winner.login) != (owner.id if owner else None):
            raise StaleGeneration
        seen = owner.connection if owner else None
        loses = seen and seen.status in {Status.ACTIVE, Status.REAUTH_REQUIRED}
        loser = self.rows.get(seen.id) if seen and loses else None
        if seen and loser:
            as_seen = (loser.status, loser.generation) == (seen.status, seen.generation)
            if not as_seen or loser.leased(now):
                raise StaleGeneration
        self.owners[winner.login] = winner.id
        if loser:
            self._supersede(loser, now)

    def give_way(self, connection: Connection, *, now: int) -> None:
        with self._mutex:
            row = self.rows.get(connection.id)
            if row is None or row.status is not Status.ACTIVE or row.leased(now):
                raise StaleGeneration
            if row.generation != connection.generation:
                raise StaleGeneration
            self._supersede(row, now)

    def _supersede(self, loser: Connection, now: int) -> None:
        self._put(
            loser,
            status=Status.SUPERSEDED,
            reason=Reason.SUPERSEDED,
            hold_until=None,
            lease=None,
            suspect=None,
            rejected=None,
            refused=None,
            proved_at=None,
            unreadable=None,
            due_at=now,
            keep_until=now + FORGET_AFTER,
            last_event="superseded",
            updated_at=now,
        )

    def ask_revoke(self, connection_id: str, *, now: int) -> Connection:
        with self._mutex:
            row = self.get(connection_id)
            if row.status not in {Status.REVOKE_PENDING, Status.REVOKED}:
                self._put(
                    row,
                    status=Status.REVOKE_PENDING,
                    due_at=now,
                    keep_until=now,
                    last_event="disconnect_asked",
                    updated_at=now,
                )
            return self.look(connection_id)

    def entomb(self, held: Connection, *, now: int, event: str = "revoked") -> None:
        with self._mutex:
            row = self._held(held)
            self.rows[held.id] = Connection(
                id=row.id,
                subject=row.subject,
                connector=row.connector,
                status=Status.REVOKED,
                generation=row.generation,
                linked_at=row.linked_at,
                updated_at=now,
                last_event=event,
            )

    def erase_token_set(self, held: Connection, *, due_at: int, now: int) -> None:
        with self._mutex:
            self._put(
                self._held(held),
                sealed=None,
                lease=None,
                due_at=due_at,
                keep_until=due_at,
                unsettled=0,
                last_event="token_set_erased",
                updated_at=now,
            )

    def delete(self, held: Connection) -> None:
        with self._mutex:
            row = self.rows.get(held.id)
            if row is None or not self._holds(held, row) or row.generation != held.generation:
                return
            if row.status in {Status.LINKING, Status.PENDING_CONFIRMATION}:
                del self.rows[held.id]

    def postpone(self, connection_id: str, *, due_at: int) -> None:
        with self._mutex:
            row = self.rows.get(connection_id)
            if row and row.due_at is not None and row.due_at < due_at:
                self._put(row, due_at=due_at)

    def table_id(self) -> str:
        return self.its_id

    def recorded_identity(self, home: Identity) -> Identity:
        with self._mutex:
            if self._recorded is None or self._recorded.provider is None:
                self._recorded, self._unbound = replace(home, provider=None), home
            return self._recorded

    def adopt(self, home: Identity) -> None:
        with self._mutex:
            self._recorded = home

    def _bind(self) -> None:
        if self._unbound and self._recorded and self._recorded.provider is None:
            self._recorded = self._unbound

    # ── how a write is made ──────────────────────────────────────────────────────────────────────

    def _put(self, row: Connection, **changes: Any) -> Connection:
        self.rows[row.id] = replace(row, **changes)
        return self.rows[row.id]

    def _held(self, held: Connection) -> Connection:
        row = self.rows.get(held.id)
        if row is None or not self._holds(held, row):
            raise StaleGeneration
        return row

    @staticmethod
    def _holds(held: Connection, row: Connection) -> bool:
        return row.lease is not None and held.lease is not None and row.lease.id == held.lease.id

    def _if_generation(
        self, seen: Connection, change: Callable[[Connection], dict[str, Any]]
    ) -> None:
        with self._mutex:
            row = self.rows.get(seen.id)
            if row and row.generation == seen.generation:
                self._put(row, **change(row))
