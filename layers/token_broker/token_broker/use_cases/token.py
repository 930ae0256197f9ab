"""Hand out the bearer: the fresh one at once, a stale one after a refresh, else the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ConnectionGone,
    ConsentSuspect,
    NotConfirmed,
    ReauthorizationRequired,
    RefreshInProgress,
    RequestRejected,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Remaining, Sending
from token_broker.domain.refresh_policy import ASKED_AT_PRECISION, UNSETTLED_DELAY
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.use_cases.refresh import ensure_fresh, judged

SHORTEST_VALIDITY = 60  # seconds a bearer should still live where the caller names no wish
LOOK_IS_DUE = 30  # seconds, in the mean, until a run of the schedule begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """What a backend service calls the data API with (RFC 6750)."""

    id_token: SecretText
    expires_at: int
    generation: int
    connector: str


def hand_out(
    on: Sending,
    *,
    connection_id: str,
    min_validity: int | None,
    rejected: int | None,
    remaining: Remaining,
) -> Bearer:
    """Return a bearer that lives `min_validity` seconds if one can be had, else its true expiry.

    `rejected` is the generation whose bearer the data API refused (Akoya: 401/602); it is never
    handed out again. Raises NotConfirmed, ReauthorizationRequired, ConnectionGone,
    ConnectionNotFound, RequestRejected, RefreshInProgress, UpstreamUnavailable.
    """
    seen = on.connections.get(connection_id)
    _ensure_active(seen)
    if rejected is not None and rejected > seen.generation:
        raise RequestRejected("rejected names a generation this connection has never had.")
    seen = _note_asked(on, seen)
    if seen.remaining(on.clock()):
        seen = _checked(on, seen)
    refused = rejected == seen.generation
    if not refused and _fresh(on, seen, min_validity):
        return _bearer(on, seen)
    try:
        renewed = _renewed(on, seen, refused=refused, remaining=remaining)
        _ensure_active(renewed)  # Akoya took its time; a disconnect may have been asked for
        return _bearer(on, renewed)
    except StaleGeneration:
        moved = on.connections.get(connection_id)  # somebody else was faster
        _ensure_active(moved)
        if moved.generation > seen.generation and moved.remaining(on.clock()):
            return _bearer(on, moved)
        raise RefreshInProgress(retry_after=1) from None
    except (RefreshInProgress, UpstreamUnavailable, BrokerMisconfigured):
        if not refused and seen.remaining(on.clock()) and on.id_tokens.acceptable(seen.verdict):
            _ensure_active(on.connections.look(connection_id))
            return _bearer(on, seen)
        raise


def _ensure_active(connection: Connection) -> None:
    match connection.status:
        case Status.ACTIVE:
            return
        case Status.LINKING | Status.PENDING_CONFIRMATION:
            raise NotConfirmed
        case Status.REAUTH_REQUIRED | Status.SUPERSEDED:
            raise ReauthorizationRequired
        case Status.REVOKE_PENDING | Status.REVOKED:
            raise ConnectionGone


def _note_asked(on: Sending, seen: Connection) -> Connection:
    """Note at most once a day that this connection is in use, so that it is kept ready."""
    now = on.clock()
    if seen.asked_at is not None and now - seen.asked_at < ASKED_AT_PRECISION:
        return seen
    if seen.issued_at is None or seen.expires_at is None:
        return seen
    due_at = on.policy.due_at(
        connection_id=seen.id,
        generation=seen.generation,
        now=now,
        issued=seen.issued_at,
        expires_at=seen.expires_at,
        asked_at=now,
    )
    try:
        on.connections.note_asked(seen, now=now, due_at=due_at)
    except UpstreamUnavailable:
        on.record("asked_at_skipped", connection_id=seen.id)
        return seen
    return replace(seen, asked_at=now)


def _fresh(on: Sending, seen: Connection, min_validity: int | None) -> bool:
    life = (seen.expires_at or 0) - (seen.issued_at or 0)
    wanted = SHORTEST_VALIDITY if min_validity is None else min_validity
    wanted = min(wanted, on.policy.longest_min_validity(life))
    return seen.remaining(on.clock()) > wanted and on.id_tokens.acceptable(seen.verdict)


def _renewed(on: Sending, seen: Connection, *, refused: bool, remaining: Remaining) -> Connection:
    now = on.clock()
    resting = max(1, (seen.due_at or now) - now)
    if seen.suspected:
        look_in = (seen.due_at or now) - now
        raise ConsentSuspect(
            detail="the grant is suspect", retry_after=look_in if look_in > 0 else LOOK_IS_DUE
        )
    lives = seen.remaining(now) > 0  # an expired bearer is refused whatever the consent
    if refused and lives and seen.rejected is not None and seen.rejected == seen.generation - 1:
        on.connections.suspect(seen, reason=Reason.CONSENT_REVOKED, now=now)
        on.record("consent_suspected", connection_id=seen.id)
        raise UpstreamUnavailable(
            detail="two fresh bearers in a row were refused", retry_after=UNSETTLED_DELAY
        )
    if seen.verdict is Verdict.BAD:
        raise UpstreamUnavailable(detail="the bearer did not verify", retry_after=resting)
    if lives and not refused and not on.id_tokens.acceptable(seen.verdict):
        # Another one could not be checked either.
        raise UpstreamUnavailable(detail="no signing keys to check the bearer with")
    landed = ensure_fresh(
        on,
        connection_id=seen.id,
        generation=seen.generation,
        rejected=refused and lives,
        remaining=remaining,
    )
    return _checked(on, landed)


def _checked(on: Sending, connection: Connection) -> Connection:
    """Check a bearer nobody got round to checking, such as one out of escrow."""
    if connection.verdict is Verdict.UNVERIFIED and not on.id_tokens.acceptable(connection.verdict):
        return judged(on, connection, on.seal.open(connection), nonce=None)
    return connection


def _bearer(on: Sending, connection: Connection) -> Bearer:
    if not on.id_tokens.acceptable(connection.verdict):
        raise UpstreamUnavailable(detail="the bearer did not verify")
    id_token = on.seal.open(connection).id_token
    if id_token is None or connection.expires_at is None:
        raise UpstreamUnavailable(detail="the last answer carried no bearer")
    on.record("token_handed_out", connection_id=connection.id, generation=connection.generation)
    return Bearer(
        id_token=id_token,
        expires_at=connection.expires_at,
        generation=connection.generation,
        connector=connection.connector,
    )
