"""Tell Akoya that a consent is over (RFC 7009), and go on until Akoya has said that it is done.

A refusal proves nothing: Akoya answers a wrong secret in the same words as a token that is gone.
Where no proof comes for as long as an ended connection is kept, the set is erased as unproven.
"""

from __future__ import annotations

from token_broker.domain.connection import Connection
from token_broker.domain.errors import AkoyaUnreached, OutcomeUnknown, RowUnreadable
from token_broker.domain.outcome import UNREACHED, Answer, Grant, Reaction
from token_broker.domain.ports import ClientCredentials, Remaining
from token_broker.domain.refresh_policy import BREAKER_PAUSE, back_off, jitter
from token_broker.domain.suspicion import LOOKS_AFTER
from token_broker.domain.token_set import TokenSet
from token_broker.use_cases.attempt import Request, postpone, release, send, trip_breaker
from token_broker.use_cases.pace import AT_ONCE, Turns
from token_broker.use_cases.sending import Sending

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
        sent = send(on, _request(on, held, quarantine), remaining=remaining, turns=turns)
    except RowUnreadable as exc:
        if _is_over(on, held, quarantine):
            return _unproven(on, held, detail=exc.detail)
        raise
    answer = sent.answer
    match sent.reaction:
        case Reaction.ERASE:
            return REVOKED
        case Reaction.REREAD_SECRET:
            stopped = trip_breaker(on, answer, by=held.id)
            postpone(on, held, due_at=on.clock() + BREAKER_PAUSE, event="revoke_deferred")
            raise stopped
        case _ if _is_over(on, held, quarantine):
            return _unproven(on, held, detail=answer.detail)
        case Reaction.SUSPECT:
            on.record("revoke_refused", connection_id=held.id, detail=answer.detail)
            due_at = on.clock() + _until_next_look(held)
            postpone(on, held, due_at=due_at, event="revoke_refused", failed=True)
            return None
        case _:
            wait = max(back_off(held.id, held.failures), answer.retry_after or 0)
            due_at = on.clock() + wait
            postpone(on, held, due_at=due_at, event="revoke_deferred", failed=True)
            is_unreached = answer.outcome in UNREACHED
            raise (AkoyaUnreached if is_unreached else OutcomeUnknown)(detail=answer.detail)


def _request(on: Sending, held: Connection, quarantine: int) -> Request[TokenSet]:
    def transmit(tokens: TokenSet, credentials: ClientCredentials, _read_timeout: int) -> Answer:
        return on.token_endpoint.revoke(tokens.refresh_token, credentials=credentials)

    def call_off(why: Exception) -> None:
        if not (isinstance(why, RowUnreadable) and _is_over(on, held, quarantine)):
            release(on, held, event="revoke_deferred")

    return Request(
        grant=Grant.REVOKE,
        connection_id=held.id,
        lease=held.lease,
        prepare=lambda: on.seal.open(held),
        transmit=transmit,
        call_off=call_off,
    )


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
