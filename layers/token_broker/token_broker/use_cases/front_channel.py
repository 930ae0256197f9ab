"""Errors a browser brings back: anybody can make one up; what many people meet is ours.

A wrong scope or redirect URI comes back through the person's browser (RFC 6749 section 4.1.2.1), so
one person alone must not be able to page the operator with it.
"""

from __future__ import annotations

from contextlib import suppress

from token_broker.domain.authorization import Authorization
from token_broker.domain.errors import TokenBrokerError
from token_broker.store.recent_subjects import RecentSubjects
from token_broker.use_cases.broker import Broker

WINDOW = 900  # seconds within which they are counted together
SUBJECTS = 3  # so many different people do not make it up


def note_front_channel_error(
    broker: Broker, recent_subjects: RecentSubjects, row: Authorization, *, error: str
) -> None:
    """Count an error that speaks about our request; page once enough different subjects met it."""
    broker.record("front_channel_error", connection_id=row.visible_id, error=error)
    met = 0
    with suppress(TokenBrokerError):  # who cannot be counted now is not held up
        met = recent_subjects.met(
            "front_channel_error", subject=row.subject, now=broker.clock(), within=WINDOW
        )
    if met >= SUBJECTS:
        broker.record(
            "request_refused",
            connection_id=row.visible_id,
            error=error,
            detail=f"Akoya sent {met} people back with an error about our authorization request",
        )
