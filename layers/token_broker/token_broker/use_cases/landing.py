"""A new token set on its way into its row: sealed, persisted or left to escrow, then checked.

Akoya has revoked the predecessor already, so a set is durable before anything else is done with it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from token_broker.domain.connection import (
    Connection,
    Landing,
    Reason,
    Status,
    Suspect,
    are_comparable,
    login_of,
)
from token_broker.domain.errors import (
    SetEscrowed,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Remaining, Sealer
from token_broker.domain.refresh_policy import Ask
from token_broker.domain.token_set import Claims, Terms, TokenSet, Verdict, lifetime, terms_of
from token_broker.use_cases.attempt import postpone, release
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.persist import discard, persist

CONSENTED = {  # what the set of a new consent makes of a row
    Status.LINKING: Status.PENDING_CONFIRMATION,
    Status.REAUTH_REQUIRED: Status.ACTIVE,
    Status.SUPERSEDED: Status.ACTIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSet:
    """What a good answer gave, and what is known of it."""

    tokens: TokenSet
    attempt_id: str
    sent_at: int  # the moment before the send: the bearer's life counts from it
    expires_in: int | None
    consent: str | None = None  # the exchange it came of; None: a rotation
    interaction_id: str | None = None
    nonce: str | None = None  # the one this exchange asked for
    verdict: Verdict | None = None  # None: to be checked; UNVERIFIED: once it is asked for
    is_bearer_kept: bool = False  # the answer had none, and the one before still lives
    ask: Ask | None = None  # of the caller who waits for it; None: there is none
    predecessor_resent: bool = False


def land(
    broker: Broker,
    target: Connection,
    new: NewSet,
    *,
    sealer: Sealer,
    remaining: Remaining,
    status: Status | None = None,
) -> Connection:
    """Make a set durable in its row, or else in escrow; then check its bearer.

    A consent that meets a newer set lands above that one, unless that descends from it. A transfer
    does not: who overtook it may have used its set, or have a later one. `status` is what the row
    becomes, if not what its own status and the set make of it. Raises StaleGeneration, SetEscrowed,
    OutcomeUnknown.
    """
    verdict = _verdict_at_hand(broker, target, new)
    landing = _sealed(broker, target, new, verdict, sealer)
    status = status or status_after(target.status, landing)
    due_at = due_after(broker, landing, status=status, ask=new.ask)
    while True:
        try:
            landed = persist(broker, landing, status=status, due_at=due_at, remaining=remaining)
            break
        except StaleGeneration:
            if new.consent != new.attempt_id:
                raise
            target = broker.connections.look(target.id)
            if target.consent == new.consent:
                return target
            landing = _sealed(broker, target, new, verdict, sealer)
    if landed is None:
        _leave_to_escrow(broker, target)
        raise SetEscrowed(_as_it_will_be(broker, target, landing, new, verdict))
    if landing.suspect:
        broker.record("subject_changed", connection_id=landed.id)
        return landed
    if target.terms and landing.terms not in (None, target.terms):
        broker.record("consent_changed", connection_id=landed.id)
    landed = replace(landed, id_token=new.tokens.id_token)
    return judged(broker, landed, new.tokens, nonce=new.nonce) if verdict is None else landed


def _verdict_at_hand(broker: Broker, target: Connection, new: NewSet) -> Verdict | None:
    """Return the verdict a set lands with; None: its bearer is checked once it is durable."""
    if new.tokens.id_token is None:
        return Verdict.BAD
    if new.verdict:
        return new.verdict
    if new.is_bearer_kept:
        return target.verdict
    verdict = broker.id_tokens.verify_at_hand(new.tokens.id_token, nonce=new.nonce, about=target.id)
    if verdict is Verdict.BAD:
        _record_rejected(broker, target.id, target.generation + 1)
    return verdict


def _sealed(
    broker: Broker, target: Connection, new: NewSet, verdict: Verdict | None, sealer: Sealer
) -> Landing:
    claims = broker.id_tokens.claims(new.tokens.id_token)
    known, iat = (None, None) if new.consent else (target.login, target.iat)
    found = login_named_by(broker, claims, target.connector) if claims else known
    if not are_comparable(known, found):
        known = None  # hashed anew, under the table's own key
    changed = known is not None and found != known
    generation = target.generation + 1
    is_bearer_kept = new.is_bearer_kept and target.issued_at is not None
    issued_at = (target.issued_at or 0) if is_bearer_kept else new.sent_at
    life = lifetime(claims, new.expires_in) if new.tokens.id_token else 0
    landing = Landing(
        connection_id=target.id,
        generation=generation,
        attempt_id=new.attempt_id,
        sealed=sealer.seal(new.tokens, generation=generation),
        login=known or found,
        issued_at=issued_at,
        expires_at=(target.expires_at or 0) if is_bearer_kept else issued_at + life,
        iat=iat if iat is not None else claims.iat if claims else None,
        verdict=Verdict.BAD if changed else verdict or Verdict.UNVERIFIED,
        consent=new.consent,
        grant_id=claims.grant_id if claims else None,
        interaction_id=new.interaction_id,
        terms=_terms(broker, claims, target, at=new.sent_at) if claims else None,
        suspect=Suspect(
            generation=generation,
            reason=Reason.LOGIN_CHANGED,
            since=new.sent_at,
            streak_since=new.sent_at,
        )
        if changed
        else None,
        predecessor_resent=new.predecessor_resent,
    )
    return replace(landing, asked_at=broker.policy.asked_at(landing, new.ask))


def _terms(broker: Broker, claims: Claims, target: Connection, *, at: int) -> Terms | None:
    return terms_of(claims, key=broker.connections.login_key(), now=at, before=target.terms)


def login_named_by(broker: Broker, claims: Claims, connector: str) -> str:
    """Return the login an id_token is about."""
    return login_of(
        broker.connections.login_key(),
        environment=broker.environment,
        client_id=broker.client_id,
        connector=connector,
        sub=claims.sub,
    )


def status_after(status: Status, landing: Landing) -> Status:
    """Return what a set makes of a row with this status.

    A new link whose set is not to be used never becomes a connection: the schedule gives the set
    to the connection that owns the login, or revokes it where nobody needs it.
    """
    if status is Status.LINKING and landing.verdict is Verdict.BAD:
        return Status.REVOKE_PENDING
    return CONSENTED.get(status, status) if landing.consent else status


def due_after(broker: Broker, landing: Landing, *, status: Status, ask: Ask | None = None) -> int:
    """Return when a row that becomes `status` is due: at once if the schedule has to go on."""
    now = broker.clock()
    if status is not Status.ACTIVE or landing.suspect:
        return now
    if landing.asked_at is not None:
        ask = ask or Ask(at=landing.asked_at)
    return broker.policy.due_at(landing, now=now, ask=ask)


# ── checking ─────────────────────────────────────────────────────────────────────────────────────


def judged(
    broker: Broker, landed: Connection, tokens: TokenSet, *, nonce: str | None
) -> Connection:
    """Check the bearer of a set that is already durable and note the verdict with it."""
    verdict = broker.id_tokens.verify(tokens.id_token, nonce=nonce, about=landed.id)
    if verdict is Verdict.UNVERIFIED:
        return landed
    if verdict is Verdict.BAD:
        _record_rejected(broker, landed.id, landed.generation)
    with suppress(UpstreamUnavailable):  # it is checked again when it is asked for
        broker.connections.judge(landed, verdict)
    return replace(landed, verdict=verdict)


def _record_rejected(broker: Broker, connection_id: str, generation: int) -> None:
    broker.record("id_token_rejected", connection_id=connection_id, generation=generation)


# ── escrow ───────────────────────────────────────────────────────────────────────────────────────


def _leave_to_escrow(broker: Broker, leased: Connection) -> None:
    """End the lease of a row whose new set is in escrow: who claims it next looks there first."""
    with suppress(TokenBrokerError):  # the table is away, most likely; its lease ends by itself
        postpone(broker, leased, due_at=broker.clock(), event="token_set_escrowed", settled=False)


def _as_it_will_be(
    broker: Broker, target: Connection, landing: Landing, new: NewSet, verdict: Verdict | None
) -> Connection:
    if verdict is None:
        verdict = broker.id_tokens.verify(new.tokens.id_token, nonce=new.nonce, about=target.id)
    return replace(
        target,
        generation=landing.generation,
        sealed=landing.sealed,
        id_token=new.tokens.id_token,
        login=landing.login,
        issued_at=landing.issued_at,
        expires_at=landing.expires_at,
        verdict=Verdict.BAD if landing.suspect else verdict,
        attempt_id=landing.attempt_id,
        lease=None,
    )


def recover(
    broker: Broker, leased: Connection, *, status: Status | None = None
) -> Connection | None:
    """Land the set an earlier attempt left in escrow, before its predecessor is sent again.

    Call this right after claiming a row. It looks into escrow if an earlier attempt is unsettled,
    or if `status`, what the row then becomes, is given. A new consent makes an ended connection
    ACTIVE and a new link pending. A rotation of a superseded connection is discarded.
    """
    if leased.unsettled <= 1 and status is None:
        return None
    try:
        landing = broker.escrow.find(leased.id, leased.generation + 1)
        if landing and leased.status is Status.SUPERSEDED and not landing.consent:
            broker.escrow.discard(leased.id, landing.generation, landing.attempt_id)
            landing = None
    except TokenBrokerError:
        release(broker, leased, event="refresh_deferred")
        raise
    return land_escrowed(broker, landing, leased, status=status) if landing else None


def land_escrowed(
    broker: Broker, landing: Landing, leased: Connection, *, status: Status | None = None
) -> Connection:
    """Land a set from escrow, then remove it there; one that stays behind is swept later."""
    status = status or status_after(leased.status, landing)
    due_at = due_after(broker, landing, status=status)
    lease_id = leased.lease.id if leased.lease else ""
    landed = broker.connections.land(landing, lease_id=lease_id, status=status, due_at=due_at)
    discard(broker, landing)
    broker.record("escrow_applied", connection_id=landed.id, generation=landing.generation)
    return landed
