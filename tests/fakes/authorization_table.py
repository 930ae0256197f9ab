"""The table of attempts to connect, in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from token_broker.domain.authorization import Authorization, Progress, Result, StoredOpening
from token_broker.domain.connection import Lease
from token_broker.domain.errors import StaleGeneration

EXCHANGING = Progress.EXCHANGING


class MemoryAuthorizationTable:
    """Rows in a dict, behind one mutex."""

    def __init__(self) -> None:
        self.rows: dict[str, Authorization] = {}
        self._attempts: dict[str, dict[str, int]] = {}
        self._mutex = threading.RLock()

    def create(self, authorization: Authorization) -> None:
        self.rows.setdefault(authorization.id, replace(authorization, openings={}))

    def get(self, authorization_id: str) -> Authorization | None:
        return self.rows.get(authorization_id)

    def add_opening(
        self,
        authorization_id: str,
        *,
        state_hash: str,
        opening: StoredOpening,
        now: int,
        most: int,
    ) -> bool:
        with self._mutex:
            row = self.rows.get(authorization_id)
            if row is None or row.progress is not Progress.OPEN or row.expires_at <= now:
                return False
            openings = dict(row.openings or {})
            if len(openings) >= most:
                return False
            return self._put(row, openings=openings | {state_hash: opening})

    def begin_exchange(self, authorization_id: str, *, attempt: Lease, now: int) -> bool:
        with self._mutex:
            row = self.rows.get(authorization_id)
            if row and self._may_begin(row, now) and row.expires_at > now:
                return self._put(row, progress=Progress.EXCHANGING, attempt=attempt)
            return self._is_of(row, attempt) and row is not None and row.progress is EXCHANGING

    def mark_sent(self, authorization_id: str, *, attempt: Lease) -> bool:
        with self._mutex:
            row = self.rows.get(authorization_id)
            if row and self._is_of(row, attempt):
                return self._put(row, progress=Progress.SENT)
            return False

    def reopen(self, authorization_id: str, *, attempt: Lease) -> None:
        with self._mutex:
            row = self.rows.get(authorization_id)
            if row and self._is_of(row, attempt):
                self._put(row, progress=Progress.OPEN, attempt=None)

    def finish(self, authorization_id: str, *, result: Result, finished_by: str) -> Result:
        with self._mutex:
            row = self.rows.get(authorization_id)
            if row is None:
                raise StaleGeneration
            if row.result is None:
                self._put(row, progress=Progress.DONE, result=result, finished_by=finished_by)
                return result
            return row.result

    def reserve(self, authorization: Authorization, *, now: int, most: int) -> int | None:
        with self._mutex:
            counted = self._attempts.get(authorization.subject, {})
            still_open = {one: until for one, until in counted.items() if until > now}
            if len(still_open) >= most and authorization.id not in still_open:
                return min(still_open.values())
            still_open[authorization.id] = authorization.expires_at
            self._attempts[authorization.subject] = still_open
            return None

    def vacate(self, authorization: Authorization) -> None:
        with self._mutex:
            self._attempts.get(authorization.subject, {}).pop(authorization.id, None)

    def _put(self, row: Authorization, **changes: Any) -> bool:
        self.rows[row.id] = replace(row, **changes)
        return True

    @staticmethod
    def _may_begin(row: Authorization, now: int) -> bool:
        lapsed = row.attempt is not None and row.attempt.until <= now
        return row.progress is Progress.OPEN or (row.progress is EXCHANGING and lapsed)

    @staticmethod
    def _is_of(row: Authorization | None, attempt: Lease) -> bool:
        return (
            row is not None
            and row.progress in {EXCHANGING, Progress.SENT}
            and row.attempt is not None
            and row.attempt.id == attempt.id
        )
