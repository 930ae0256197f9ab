"""The table of attempts to connect: single use is a conditional write, forgetting is a TTL."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from token_broker.domain.authorization import (
    Authorization,
    Progress,
    Result,
    StoredOpening,
    subject_hash,
)
from token_broker.domain.connection import Lease
from token_broker.domain.errors import RowUnreadable, StaleGeneration
from token_broker.store.moments import Moments, forget, recount
from token_broker.store.rows import (
    Above,
    Absent,
    AtMost,
    Condition,
    Equals,
    Fewer,
    OneOf,
    Row,
    Rows,
    Write,
    ensure_readable,
    named,
    versioned,
)

KEPT_AFTER_EXPIRY = 3_600  # so that a late redirect is still told what became of it


@named
def is_at(*progress: Progress) -> Condition:
    """It is that far."""
    return OneOf("progress", progress)


@named
def is_valid(now: int) -> Condition:
    """Its time is not over."""
    return Above("valid_until", now)


@named
def has_room(most: int) -> Condition:
    """It was opened less often than this."""
    return Fewer("openings", most)


@named
def is_of(attempt: Lease) -> Condition:
    """This attempt exchanges its code."""
    return Equals("attempt_id", attempt.id)


@named
def has_lapsed(now: int) -> Condition:
    """The time of the attempt that exchanges its code is over."""
    return AtMost("attempt_until", now)


class Authorizations:
    """The rows of attempts to connect; they disappear by themselves some time after their end."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def create(self, authorization: Authorization) -> None:
        """Add a row."""
        row: Row = {
            "id": authorization.id,
            "connection_id": authorization.connection_id,
            "subject": authorization.subject,
            "connector": authorization.connector,
            "return_to": authorization.return_to,
            "redirect_uri": authorization.redirect_uri,
            "valid_until": authorization.expires_at,
            "expires_at": authorization.expires_at + KEPT_AFTER_EXPIRY,
            "progress": authorization.progress,
            "openings": {},
        }
        if authorization.replaces:
            row["replaces"] = authorization.replaces
        with suppress(StaleGeneration):  # an earlier delivery of this very write
            self._rows.put(versioned(row), condition=Absent("id"))

    def get(self, authorization_id: str) -> Authorization | None:
        """Read one row, strongly consistent."""
        row = self._rows.get(authorization_id)
        return _authorization(row) if row else None

    def add_opening(
        self, authorization_id: str, *, state_hash: str, opening: StoredOpening, now: int, most: int
    ) -> bool:
        """Add an opening while OPEN, unexpired and below `most`; return whether it was."""
        added = {("openings", state_hash): asdict(opening)}
        may_open = is_at(Progress.OPEN) & is_valid(now) & has_room(most)
        return self._write(authorization_id, added, may_open)

    def begin_exchange(self, authorization_id: str, *, attempt: Lease, now: int) -> bool:
        """OPEN and unexpired → EXCHANGING; return whether this attempt won the row.

        An attempt whose time is over before it sent anything is followed by another.
        """
        exchanging = is_at(Progress.EXCHANGING)
        may_begin = is_valid(now) & (is_at(Progress.OPEN) | (exchanging & has_lapsed(now)))
        begun = {
            "progress": Progress.EXCHANGING,
            "attempt_id": attempt.id,
            "attempt_until": attempt.until,
        }
        return self._write(authorization_id, begun, may_begin | (exchanging & is_of(attempt)))

    def mark_sent(self, authorization_id: str, *, attempt: Lease) -> bool:
        """EXCHANGING by this attempt → SENT, before the code is; return whether it was."""
        return self._write(authorization_id, {"progress": Progress.SENT}, _exchanged_by(attempt))

    def reopen(self, authorization_id: str, *, attempt: Lease) -> None:
        """EXCHANGING or SENT by this attempt → OPEN: nothing was sent, or nothing used up."""
        opened = {"progress": Progress.OPEN, "attempt_id": None, "attempt_until": None}
        self._write(authorization_id, opened, _exchanged_by(attempt))

    def finish(self, authorization_id: str, *, result: Result, finished_by: str) -> Result:
        """→ DONE with the result; return the one that stands, which may be an earlier one."""
        outcome = {name: value for name, value in asdict(result).items() if value is not None}
        done = {"progress": Progress.DONE, "outcome": outcome, "finished_by": finished_by}
        if self._write(authorization_id, done, ~Absent("id") & ~is_at(Progress.DONE)):
            return result
        final = self.get(authorization_id)
        if final is None or final.result is None:
            raise StaleGeneration
        return final.result

    def reserve(self, authorization: Authorization, *, now: int, most: int) -> int | None:
        """Count an attempt among its subject's open ones, each until it expires.

        Return None, or the moment at which one of `most` open ones expires.
        """

        def count(attempts: Moments) -> Moments:
            still_open = {one: until for one, until in attempts.items() if until > now}
            if len(still_open) >= most:
                return still_open
            return still_open | {authorization.id: authorization.expires_at}

        counted = recount(self._rows, _attempts_of(authorization), count)
        return None if authorization.id in counted else min(counted.values())

    def vacate(self, authorization: Authorization) -> None:
        """Count an attempt that has ended no more."""
        forget(self._rows, _attempts_of(authorization), authorization.id)

    def _write(self, row_id: str, changes: dict[Any, Any], condition: Condition) -> bool:
        """Change a row; return whether the condition held."""
        with suppress(StaleGeneration):
            self._rows.transact(Write(row_id, changes, condition))
            return True
        return False


def _exchanged_by(attempt: Lease) -> Condition:
    return is_at(Progress.EXCHANGING, Progress.SENT) & is_of(attempt)


def _attempts_of(authorization: Authorization) -> str:
    return f"subject#{subject_hash(authorization.subject)}"


def _authorization(row: Row) -> Authorization:
    ensure_readable(row)
    attempt = None
    with suppress(KeyError):
        attempt = Lease(id=row["attempt_id"], until=row["attempt_until"])
    try:
        return Authorization(
            id=row["id"],
            connection_id=row["connection_id"],
            replaces=row.get("replaces"),
            subject=row["subject"],
            connector=row["connector"],
            return_to=row["return_to"],
            redirect_uri=row["redirect_uri"],
            expires_at=int(row["valid_until"]),
            progress=Progress(row["progress"]),
            openings={
                state_hash: StoredOpening(**opening)
                for state_hash, opening in row["openings"].items()
            },
            attempt=attempt,
            finished_by=row.get("finished_by"),
            result=Result(**row["outcome"]) if "outcome" in row else None,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise RowUnreadable(
            detail=f"the row does not read as an authorization ({type(exc).__name__})"
        ) from None
