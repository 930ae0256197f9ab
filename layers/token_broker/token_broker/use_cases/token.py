"""Hand out the bearer: the fresh one at once, a stale one after a refresh, else the truth."""

from __future__ import annotations

from dataclasses import dataclass

from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    AlreadyConnected,
    BrokerMisconfigured,
    ConnectionGone,
    ConsentSuspect,
    NotConfirmed,
    ReauthorizationRequired,
    RecordUnreadable,
    RefreshInProgress,
    RequestRejected,
    SetUnreadable,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import NEXT_USE_WITHIN, Ask
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.landing import judged
from token_broker.use_cases.refresh import ensure_fresh
from token_broker.use_cases.rejection import ensure_proof_is_due, is_second, note_proof
from token_broker.use_cases.subject import ensure_subject
from token_broker.use_cases.wait import await_successor

SHORTEST_VALIDITY = 60  # seconds a bearer should still live where the caller names no wish
LOOK_IS_DUE = 30  # seconds, in the mean, until a run of the schedule begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """What a backend service calls the data API with (RFC 6750)."""

    id_token: SecretText
    expires_at: int
    generation: int
    connector: str
    subject: str  # whose it is


def hand_out(
    broker: Broker,
    *,
    connection_id: str,
    subject: str | None = None,
    min_validity: int | None,
    rejected: int | None,
    next_use: int | None = None,
    remaining: Remaining,
) -> Bearer:
    """Return a bearer that lives `min_validity` seconds if one can be had, else its true expiry.

    `rejected` is the generation whose bearer the data API refused (Akoya: 401/602); it is never
    handed out again. `next_use`: when the caller will ask again, in seconds since the epoch.
    `subject`: for whom the caller asks, if it says so. Raises NotConfirmed, AlreadyConnected,
    ReauthorizationRequired, ConnectionGone, ConnectionNotFound, RequestRejected,
    RefreshInProgress, UpstreamUnavailable.
    """
    ask = Ask(at=broker.clock(), next_use=next_use)
    _ensure_to_come(ask)
    try:
        return _hand_out(
            broker,
            connection_id=connection_id,
            subject=subject,
            min_validity=min_validity,
            rejected=rejected,
            ask=ask,
            remaining=remaining,
        )
    except SetUnreadable as exc:
        _note_unreadable(broker, connection_id)
        raise RecordUnreadable(detail=exc.detail) from None


def _ensure_to_come(ask: Ask) -> None:
    """Raise RequestRejected unless the moment a caller names is to come, and within a year."""
    if ask.next_use is not None and not ask.at < ask.next_use <= ask.at + NEXT_USE_WITHIN:
        raise RequestRejected(
            "next_use must be a moment of the coming year, in seconds since 1970."
        )


def _note_unreadable(broker: Broker, connection_id: str) -> None:
    """Note, and tell once, that the set now held does not open; StaleGeneration if a newer does."""
    leased = broker.connections.get(connection_id)
    try:
        _ensure_reads(leased)
        broker.seal.open(leased)
    except SetUnreadable as exc:
        if leased.unreadable != leased.generation and broker.connections.note_unreadable(leased):
            broker.record("row_unreadable", connection_id=connection_id, detail=exc.detail)
    else:
        raise StaleGeneration


def _ensure_reads(seen: Connection) -> None:
    """Raise SetUnreadable where not all of the row reads: its set may be a superseded one."""
    if seen.malformed:
        raise SetUnreadable(detail=f"these do not read: {', '.join(seen.malformed)}")


def _hand_out(
    broker: Broker,
    *,
    connection_id: str,
    subject: str | None,
    min_validity: int | None,
    rejected: int | None,
    ask: Ask,
    remaining: Remaining,
) -> Bearer:
    seen = broker.connections.get(connection_id)
    ensure_subject(seen, subject)
    _ensure_active(seen)
    _ensure_reads(seen)
    _ensure_known(seen, rejected)
    if seen.unreadable == seen.generation:
        broker.seal.open(seen)  # else it would be told to wait while it rests
    if seen.remaining(broker.clock()):
        seen = _checked(broker, seen)
    refused = rejected is not None and rejected >= seen.generation
    if not refused and _fresh(broker, seen, min_validity):
        bearer = _bearer(broker, seen)
        _note_asked(broker, seen, ask)
        return bearer
    try:
        renewed = _renewed(broker, seen, rejected=rejected, ask=ask, remaining=remaining)
        _ensure_active(renewed)  # Akoya took its time; a disconnect may have been asked for
        return _bearer(broker, renewed)
    except StaleGeneration:
        faster = broker.connections.get(connection_id)
        return _landed_elsewhere(broker, faster, above=seen, rejected=rejected)
    except (RefreshInProgress, UpstreamUnavailable, BrokerMisconfigured) as exc:
        if (
            not refused
            and seen.remaining(broker.clock())
            and broker.id_tokens.acceptable(seen.verdict)
        ):
            _ensure_active(broker.connections.look(connection_id))
            return _bearer(broker, seen)
        if isinstance(exc, RefreshInProgress) and (moved := await_successor(broker, seen)):
            return _landed_elsewhere(broker, moved, above=seen, rejected=rejected)
        raise


def _ensure_known(seen: Connection, rejected: int | None) -> None:
    """Raise RequestRejected unless this connection may have issued that generation.

    The next one may have been handed out of escrow while the row is unsettled.
    """
    newest = seen.generation + (1 if seen.unsettled else 0)
    if rejected is not None and rejected > newest:
        raise RequestRejected("rejected names a generation this connection has never had.")


def _landed_elsewhere(
    broker: Broker, moved: Connection, *, above: Connection, rejected: int | None
) -> Bearer:
    """Hand out what another attempt has landed meanwhile, unless it is what the caller rejects."""
    _ensure_active(moved)
    is_newer = moved.generation > above.generation and moved.generation != rejected
    if is_newer and moved.remaining(broker.clock()):
        return _bearer(broker, _checked(broker, moved))
    raise RefreshInProgress(retry_after=1)


def _ensure_active(connection: Connection) -> None:
    match connection.status:
        case Status.ACTIVE:
            return
        case Status.LINKING | Status.PENDING_CONFIRMATION:
            raise NotConfirmed
        case Status.SUPERSEDED if connection.superseded_by:
            raise AlreadyConnected(connection.superseded_by)
        case Status.REAUTH_REQUIRED | Status.SUPERSEDED:
            raise ReauthorizationRequired
        case Status.REVOKE_PENDING | Status.REVOKED:
            raise ConnectionGone


def _note_asked(broker: Broker, seen: Connection, ask: Ask) -> None:
    """Note the first ask of a token set: from then on it is due before it, or its bearer, is over.

    What a caller waits for lands as asked for; what rests or is under way is due soon by itself.
    """
    due_at = broker.policy.due_at(seen, now=ask.at, ask=ask)
    if seen.failures or seen.lease or seen.due_at is None or seen.due_at <= due_at:
        return
    try:
        asked_at = broker.policy.asked_at(seen, ask)
        broker.connections.make_due(seen, due_at=due_at, asked_at=asked_at)
    except UpstreamUnavailable:
        broker.record("asked_at_skipped", connection_id=seen.id)


def _fresh(broker: Broker, seen: Connection, min_validity: int | None) -> bool:
    life = (seen.expires_at or 0) - (seen.issued_at or 0)
    wanted = SHORTEST_VALIDITY if min_validity is None else min_validity
    wanted = max(0, min(wanted, broker.policy.longest_min_validity(life)))
    return seen.remaining(broker.clock()) > wanted and broker.id_tokens.acceptable(seen.verdict)


def _renewed(
    broker: Broker, seen: Connection, *, rejected: int | None, ask: Ask, remaining: Remaining
) -> Connection:
    now, refused = broker.clock(), rejected == seen.generation
    resting = max(1, (seen.due_at or now) - now)
    if seen.suspected:
        look_in = (seen.due_at or now) - now
        raise ConsentSuspect(
            detail="the grant is suspect", retry_after=look_in if look_in > 0 else LOOK_IS_DUE
        )
    if rejected == seen.generation + 1:
        return _renewed_ahead(broker, seen, ask=ask, remaining=remaining)
    lives = seen.remaining(now) > 0  # an expired bearer is refused whatever the consent
    is_proof = refused and lives and is_second(seen, now)
    if is_proof:
        ensure_proof_is_due(broker, seen)
    if seen.verdict is Verdict.BAD:
        raise UpstreamUnavailable(detail="the bearer did not verify", retry_after=resting)
    if lives and not refused and not broker.id_tokens.acceptable(seen.verdict):
        # Another one could not be checked either.
        raise UpstreamUnavailable(detail="no signing keys to check the bearer with")
    landed = ensure_fresh(
        broker,
        seen,
        rejected=refused and lives,
        ask=ask,
        remaining=remaining,
    )
    if is_proof:
        note_proof(broker, landed)
    return _checked(broker, landed)


def _renewed_ahead(
    broker: Broker, seen: Connection, *, ask: Ask, remaining: Remaining
) -> Connection:
    """Refresh where the rejected bearer came out of escrow; its set is landed first."""
    kept = broker.escrow.find(seen.id, seen.generation + 1)
    landed = ensure_fresh(
        broker,
        seen,
        rejected=False,
        ask=ask,
        remaining=remaining,
    )
    if kept is None or landed.attempt_id != kept.attempt_id:
        return _checked(broker, landed)  # of a send just now: another bearer than the rejected one
    return _renewed(broker, landed, rejected=landed.generation, ask=ask, remaining=remaining)


def _checked(broker: Broker, connection: Connection) -> Connection:
    """Check a bearer nobody got round to checking, such as one out of escrow."""
    if connection.verdict is Verdict.UNVERIFIED and not broker.id_tokens.acceptable(
        connection.verdict
    ):
        return judged(broker, connection, broker.seal.open(connection), nonce=None)
    return connection


def _bearer(broker: Broker, connection: Connection) -> Bearer:
    if not broker.id_tokens.acceptable(connection.verdict):
        raise UpstreamUnavailable(detail="the bearer did not verify")
    id_token = connection.id_token or broker.seal.open(connection).id_token
    if id_token is None or connection.expires_at is None:
        raise UpstreamUnavailable(detail="the last answer carried no bearer")
    broker.record("token_handed_out", connection_id=connection.id, generation=connection.generation)
    return Bearer(
        id_token=id_token,
        expires_at=connection.expires_at,
        generation=connection.generation,
        connector=connection.connector,
        subject=connection.subject,
    )
