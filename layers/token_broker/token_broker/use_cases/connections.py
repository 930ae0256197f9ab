"""Look at connections, confirm who came back, and let one go; nothing here can open a token set."""

from __future__ import annotations

from token_broker.domain import authorization
from token_broker.domain.connection import IN_USE, Connection, Page, Place, Status, is_later
from token_broker.domain.errors import (
    AlreadyConnected,
    ConfirmationInvalid,
    ReauthorizationRequired,
    RefreshInProgress,
)
from token_broker.domain.ports import Clock, Record
from token_broker.domain.refresh_policy import Ask, RefreshPolicy
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.store.connections import Connections
from token_broker.use_cases.subject import ensure_subject


def of_subject(connections: Connections, *, subject: str, limit: int, after: Place | None) -> Page:
    """List a subject's connections, newest first; which there are may lag by a moment."""
    return connections.of_subject(subject, limit=limit, after=after)


def show(connections: Connections, *, connection_id: str, subject: str | None = None) -> Connection:
    """Return one connection; raises ConnectionNotFound, for another subject's too."""
    found = connections.look(connection_id)
    ensure_subject(found, subject)
    return found


def confirm(
    connections: Connections,
    policy: RefreshPolicy,
    clock: Clock,
    record: Record,
    *,
    connection_id: str,
    subject: str,
    confirmation: SecretText,
) -> Connection:
    """Vouch that the person who came back is the subject who left; may be repeated.

    Another connection of the same bank login is superseded by it. Raises ConfirmationInvalid,
    AlreadyConnected, NotConfirmed, ConnectionNotFound, ConnectionGone, ReauthorizationRequired,
    StaleGeneration.
    """
    seen, now = connections.look(connection_id), clock()
    if seen.issued_at is None or seen.expires_at is None:
        raise ConfirmationInvalid
    is_pending = seen.status is Status.PENDING_CONFIRMATION
    if is_pending and seen.verdict is Verdict.BAD:  # another's code, or it does not verify
        raise ConfirmationInvalid
    if is_pending and seen.malformed:
        raise ReauthorizationRequired(
            "The broker cannot read this connection's record. Start again.",
            detail=f"these do not read: {', '.join(seen.malformed)}",
        )
    owner = connections.owner_of(seen.login) if is_pending and seen.login else None
    rival = owner.connection if owner and owner.id != seen.id else None
    if rival and is_later(rival, seen):
        raise ReauthorizationRequired(  # this one's tokens are dead
            "This bank login was connected again elsewhere meanwhile. Start again."
        )
    if rival and rival.status in IN_USE and rival.leased(now):
        raise RefreshInProgress(retry_after=5)  # it may be getting tokens: not in the middle of it
    confirmed = connections.confirm(
        connection_id,
        subject=subject,
        confirmation_hash=authorization.fingerprint(confirmation),
        owner=owner,
        due_at=policy.due_at(seen, now=now, ask=Ask(at=now)),
        now=now,
    )
    record("connection_confirmed", connection_id=connection_id)
    return confirmed


def disconnect(
    connections: Connections,
    clock: Clock,
    record: Record,
    *,
    connection_id: str,
    subject: str | None = None,
) -> Connection:
    """Stop handing out at once and make the schedule revoke at Akoya; may be repeated.

    Raises ConnectionNotFound, for another subject's too, and AlreadyConnected: disconnect that one.
    """
    if subject is not None:
        show(connections, connection_id=connection_id, subject=subject)
    asked = connections.ask_revoke(connection_id, now=clock())
    if asked.superseded_by:
        raise AlreadyConnected(asked.superseded_by)
    record("disconnect_asked", connection_id=connection_id)
    return asked
