"""Tell Akoya that a consent is over (RFC 7009), and go on until Akoya has said that it is done.

A refusal proves nothing: Akoya answers a wrong secret in the same words as a token that is gone.
Where no proof comes for as long as an ended connection is kept, the set is erased as unproven.
"""

from __future__ import annotations

from token_broker.domain.connection import Connection
from token_broker.domain.errors import (
    AkoyaUnreached,
    OutcomeUnknown,
    RowUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import REACTIONS, UNREACHED, Answer, Grant, Reaction
from token_broker.domain.ports import ClientCredentials, Remaining, Sending
from token_broker.domain.refresh_policy import (
    BREAKER_PAUSE,
    SEND_BUDGET,
    back_off,
    jitter,
)
from token_broker.domain.secret_text import SecretText
from token_broker.domain.suspicion import LOOKS_AFTER
from token_broker.use_cases.pace import AT_ONCE, Turns
from token_broker.use_cases.refresh import newer_secret, release, trip_breaker

REVOKED = "revoked"
UNPROVEN = "revoke_unproven"


def revoke(
    on: Sending, held: Connection, *, quarantine: int, remaining: Remaining, turns: Turns = AT_ONCE
) -> str | None:
    """Return REVOKED or UNPROVEN once the consent counts as over; None if Akoya refuses so far.

    `quarantine` is for how many seconds since `keep_until` a proof is waited for. Raises
    TokenBrokerError, with the row postponed, where nothing was sent or nothing was answered.
    """
    try:
        refresh_token, credentials = _pre_flight(on, held, remaining, turns)
    except RowUnreadable as exc:
        if _is_over(on, held, quarantine):
            return _unproven(on, held, detail=exc.detail)
        release(on, held, event="revoke_deferred")
        raise
    except TokenBrokerError:
        release(on, held, event="revoke_deferred")
        raise
    answer = _send(on, refresh_token, credentials, remaining, turns)
    match REACTIONS[answer.outcome, Grant.REVOKE]:
        case Reaction.ERASE:
            return REVOKED
        case Reaction.REREAD_SECRET:
            stopped = trip_breaker(on, answer, by=held.id)
            _postpone(on, held, BREAKER_PAUSE, failures=held.failures)
            raise stopped
        case _ if _is_over(on, held, quarantine):
            return _unproven(on, held, detail=answer.detail)
        case Reaction.SUSPECT:
            on.record("revoke_refused", connection_id=held.id, detail=answer.detail)
            wait = _until_next_look(held)
            _postpone(on, held, wait, failures=held.failures + 1, event="revoke_refused")
            return None
        case _:
            wait = max(back_off(held.id, held.failures), answer.retry_after or 0)
            _postpone(on, held, wait, failures=held.failures + 1)
            is_unreached = answer.outcome in UNREACHED
            raise (AkoyaUnreached if is_unreached else OutcomeUnknown)(detail=answer.detail)


def _pre_flight(
    on: Sending, held: Connection, remaining: Remaining, turns: Turns
) -> tuple[SecretText, ClientCredentials]:
    refresh_token = on.seal.open(held).refresh_token
    credentials = on.client_secret.read()
    turns.first(held.id)
    if remaining() < SEND_BUDGET:
        raise UpstreamUnavailable(detail="too little time left to revoke")
    return refresh_token, credentials


def _send(
    on: Sending,
    refresh_token: SecretText,
    credentials: ClientCredentials,
    remaining: Remaining,
    turns: Turns,
) -> Answer:
    """Send, and once more if the secret that was refused is not the one of today."""
    answer = on.token_endpoint.revoke(refresh_token, credentials=credentials)
    is_refused = REACTIONS[answer.outcome, Grant.REVOKE] is Reaction.REREAD_SECRET
    if is_refused and remaining() >= SEND_BUDGET and (newer := newer_secret(on, credentials)):
        turns.again()
        return on.token_endpoint.revoke(refresh_token, credentials=newer)
    return answer


def _until_next_look(held: Connection) -> int:
    """Return the seconds until a refused revoke is tried again: soon at first, then rarely."""
    rarely = 3_600 * 2 ** min(max(0, held.failures - len(LOOKS_AFTER)), 3)
    wait = (*LOOKS_AFTER, rarely)[min(held.failures, len(LOOKS_AFTER))]
    return wait - jitter(f"{held.id}/{held.failures}", wait // 10)


def _is_over(on: Sending, held: Connection, quarantine: int) -> bool:
    """Return whether proof was waited for long enough, and by more than a look or two."""
    since = held.keep_until or held.linked_at
    return on.clock() >= since + quarantine and held.failures >= len(LOOKS_AFTER)


def _unproven(on: Sending, held: Connection, *, detail: str | None) -> str:
    on.record(UNPROVEN, connection_id=held.id, detail=detail)
    on.record("request_refused", connection_id=held.id, detail=UNPROVEN)
    return UNPROVEN


def _postpone(
    on: Sending, held: Connection, wait: int, *, failures: int, event: str = "revoke_deferred"
) -> None:
    now = on.clock()
    on.connections.settle(
        held, due_at=now + wait, settled=True, failures=failures, event=event, now=now
    )
