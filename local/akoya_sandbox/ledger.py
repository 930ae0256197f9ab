"""What the sandbox did, in order: the record tests compare an app's own account with.

It holds fingerprints, never a code or a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


def fingerprint(value: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a code or token."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a code, a token or a consent; times in seconds since 1970.

    `number` counts the token sets of one consent from 1. `predecessor` and `successor` are
    fingerprints, `request` is the number of the request that caused it.
    """

    seq: int
    at: float
    event: str
    fingerprint: str | None = None
    login: str | None = None
    grant_id: str | None = None
    number: int | None = None
    predecessor: str | None = None
    successor: str | None = None
    reason: str | None = None
    request: int | None = None


@dataclass(slots=True)
class Request:
    """One request to the token, revoke or data endpoint.

    `received` and `answered` are places in the ledger's one order, so that an overlap of two
    requests shows even when the clock stands still.
    """

    number: int
    endpoint: str
    received: int
    received_at: float
    grant_type: str | None = None
    presented: str | None = None
    login: str | None = None
    answered: int | None = None
    answered_at: float | None = None
    status: int | None = None
    error: str | None = None
    fault: str | None = None
    lost: bool = False


class Ledger:
    """Entries and requests in one order; not thread-safe, its owner is.

    `deciding` is the request whose effects are being recorded now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seq = 0
        self.deciding: Request | None = None
        self.entries: list[Entry] = []
        self.requests: list[Request] = []

    def record(self, event: str, **details: Any) -> None:
        """Add an entry; `details` are fields of Entry."""
        request = self.deciding.number if self.deciding else None
        self.entries.append(
            Entry(seq=self._next(), at=self._clock(), event=event, request=request, **details)
        )

    def received(
        self, endpoint: str, *, grant_type: str | None, presented: str | None, login: str | None
    ) -> Request:
        """Open a request; `presented` is the fingerprint of the code or token it carries."""
        request = Request(
            number=len(self.requests) + 1,
            endpoint=endpoint,
            received=self._next(),
            received_at=self._clock(),
            grant_type=grant_type,
            presented=presented,
            login=login,
        )
        self.requests.append(request)
        return request

    def answered(self, request: Request, *, status: int, error: str | None, lost: bool) -> None:
        """Close a request; a lost answer keeps the status it would have had."""
        request.answered = self._next()
        request.answered_at = self._clock()
        request.status = status
        request.error = error
        request.lost = lost

    def view(self, login: str | None = None) -> dict[str, Any]:
        """Return everything, or what concerns one login, as JSON-ready values without nulls."""
        return {
            "entries": [_filled(entry) for entry in self.entries if login in (None, entry.login)],
            "requests": [
                _filled(request) for request in self.requests if login in (None, request.login)
            ],
        }

    def _next(self) -> int:
        self._seq += 1
        return self._seq


def _filled(record: Entry | Request) -> dict[str, Any]:
    values = ((one.name, getattr(record, one.name)) for one in fields(record))
    return {name: value for name, value in values if value is not None}
