"""Tell Akoya that a consent is over (RFC 7009), and go on until Akoya has said that it is done.

A refusal proves nothing: Akoya answers a wrong secret in the same words as a token that is gone.
Where no proof comes for as long as an ended connection is kept, the set is erased as unproven.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from token_broker.domain.connection import Connection
from token_broker.domain.errors import (
    AkoyaUnreached,
    OutcomeUnknown,
    RowUnreadable,
    TokenBrokerError,
)
from token_broker.domain.outcome import UNREACHED, Grant, Reaction
from token_broker.domain.ports import Remaining
from token_broker.domain.refresh_policy import BREAKER_PAUSE, back_off, jitter
from token_broker.domain.suspicion import LOOKS_AFTER
from token_broker.use_cases.attempt import (
    Attempt,
    await_send,
    postpone,
    release,
    send,
    trip_breaker,
)
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.pace import AT_ONCE, Turns

REVOKED = "revoked"
UNPROVEN = "revoke_unproven"


def revoke(
    broker: Broker,
    leased: Connection,
    *,
    quarantine: int,
    remaining: Remaining,
    turns: Turns = AT_ONCE,
) -> str | None:
    """Return REVOKED or UNPROVEN once the consent counts as over; None if Akoya refuses so far.

    `quarantine` is for how many seconds since `keep_until` a proof is waited for. Raises
    TokenBrokerError, with the row postponed, where nothing was sent or nothing was answered.
    """
    attempt = Attempt(Grant.REVOKE, leased, remaining, turns)
    try:
        credentials = broker.client_secret.read()
        tokens = broker.seal.open(leased)
        await_send(broker, attempt)
    except Exception as exc:
        if isinstance(exc, RowUnreadable) and _is_over(broker, leased, quarantine):
            return _unproven(broker, leased, detail=exc.detail)
        with suppress(TokenBrokerError):  # the lease ends by itself
            release(broker, leased, event="revoke_deferred")
        raise
    post = partial(broker.token_endpoint.revoke, tokens.refresh_token)
    sent = send(broker, attempt, post, credentials)
    answer = sent.answer
    match sent.reaction:
        case Reaction.ERASE:
            broker.record("revoke_answered", connection_id=leased.id, **answer.traced)
            return REVOKED
        case Reaction.REREAD_SECRET:
            stopped = trip_breaker(broker, answer, by=leased.id)
            postpone(broker, leased, due_at=broker.clock() + BREAKER_PAUSE, event="revoke_deferred")
            raise stopped
        case _ if _is_over(broker, leased, quarantine):
            return _unproven(broker, leased, detail=answer.detail)
        case Reaction.SUSPECT:
            broker.record("revoke_refused", connection_id=leased.id, **answer.traced)
            due_at = broker.clock() + _until_next_look(leased)
            postpone(broker, leased, due_at=due_at, event="revoke_refused", failed=True)
            return None
        case _:
            wait = max(back_off(leased.id, leased.failures), answer.retry_after or 0)
            due_at = broker.clock() + wait
            postpone(broker, leased, due_at=due_at, event="revoke_deferred", failed=True)
            is_unreached = answer.outcome in UNREACHED
            raise (AkoyaUnreached if is_unreached else OutcomeUnknown)(detail=answer.detail)


def _until_next_look(leased: Connection) -> int:
    """Return the seconds until a refused revoke is tried again: soon at first, then rarely."""
    rarely = 3_600 * 2 ** min(max(0, leased.failures - len(LOOKS_AFTER)), 3)
    wait = (*LOOKS_AFTER, rarely)[min(leased.failures, len(LOOKS_AFTER))]
    return wait - jitter(f"{leased.id}/{leased.failures}", wait // 10)


def _is_over(broker: Broker, leased: Connection, quarantine: int) -> bool:
    """Return whether proof was waited for long enough, and by more than a look or two."""
    since = leased.keep_until or leased.linked_at
    return broker.clock() >= since + quarantine and leased.failures >= len(LOOKS_AFTER)


def _unproven(broker: Broker, leased: Connection, *, detail: str | None) -> str:
    broker.record(UNPROVEN, connection_id=leased.id, detail=detail)
    broker.record("request_refused", connection_id=leased.id, detail=UNPROVEN)
    return UNPROVEN
