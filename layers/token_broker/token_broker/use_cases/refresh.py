"""Keep a token set fresh: claim, send, land or postpone.

`ensure_fresh` is called for whoever needs a bearer now, `refresh_held` by the schedule.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    AkoyaUnreached,
    GrantRefused,
    OutcomeUnknown,
    Reported,
    SetEscrowed,
    SetUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import UNREACHED, Grant, Reaction
from token_broker.domain.ports import Remaining, Sealer
from token_broker.domain.refresh_policy import (
    BREAKER_PAUSE,
    UNSETTLED_DELAY,
    Ask,
    back_off,
)
from token_broker.domain.suspicion import next_try, unanswered
from token_broker.domain.token_set import TokenSet
from token_broker.use_cases.attempt import (
    Attempt,
    Sent,
    await_send,
    claim,
    ensure_sends_allowed,
    new_lease,
    postpone,
    release,
    send,
    trip_breaker,
)
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.bulkhead import ensure_not_hanging
from token_broker.use_cases.landing import NewSet, land, recover
from token_broker.use_cases.login import settle_login
from token_broker.use_cases.pace import AT_ONCE, Turns
from token_broker.use_cases.refusal import note_rotation, record_suspicion, refused
from token_broker.use_cases.turn import await_turn


def ensure_fresh(
    broker: Broker,
    seen: Connection,
    *,
    rejected: bool,
    ask: Ask,
    remaining: Remaining,
) -> Connection:
    """Refresh the generation the caller saw, at its turn, and return the row of its successor.

    Raises TurnToCome, RefreshInProgress, StaleGeneration, ConsentSuspect, UpstreamUnavailable,
    BrokerMisconfigured.
    """
    ensure_sends_allowed(broker)
    ensure_not_hanging(broker, seen.connector)
    await_turn(broker, seen)
    leased = claim(
        broker,
        seen.id,
        lease=new_lease(broker, remaining()),
        statuses=frozenset({Status.ACTIVE}),
        generation=seen.generation,
        rejected=rejected,
    )
    try:
        return recover(broker, leased) or refresh_held(
            broker, leased, remaining, turns=broker.turns, ask=ask
        )
    except SetEscrowed as kept:
        return kept.connection
    except GrantRefused as refused:
        raise record_suspicion(broker, refused) from None  # only the schedule ends a connection


def refresh_held(
    broker: Broker,
    leased: Connection,
    remaining: Remaining,
    *,
    turns: Turns = AT_ONCE,
    ask: Ask | None = None,
) -> Connection:
    """Refresh a connection claimed by us that has nothing in escrow; return it ACTIVE.

    `ask` is that of the caller who waits for it. Raises as `ensure_fresh`, SetEscrowed, and
    GrantRefused, with the lease still held, where Akoya refuses.
    """
    attempt = Attempt(Grant.REFRESH_TOKEN, leased, remaining, turns)
    try:
        credentials = broker.client_secret.read()
        before = broker.seal.open(leased)
        sealer = broker.seal.prepare(leased.id, subject=leased.subject, connector=leased.connector)
        broker.id_tokens.prepare()
        await_send(broker, attempt)
    except Exception as exc:
        with suppress(TokenBrokerError):  # the lease ends by itself
            _call_off(broker, leased, exc)
        raise
    post = partial(broker.token_endpoint.refresh, before.refresh_token)
    sent = send(broker, attempt, post, credentials)
    match sent.reaction:
        case Reaction.LAND:
            return _landed(broker, leased, sent, before, sealer, ask=ask, remaining=remaining)
        case Reaction.SUSPECT:
            raise refused(broker, leased, sent)
        case _:
            raise _postponed(broker, leased, sent)


def _call_off(broker: Broker, leased: Connection, why: Exception) -> None:
    if isinstance(why, SetUnreadable):
        broker.connections.note_unreadable(leased)
    release(broker, leased, event="refresh_deferred")


def _landed(
    broker: Broker,
    leased: Connection,
    sent: Sent,
    before: TokenSet,
    sealer: Sealer,
    *,
    ask: Ask | None,
    remaining: Remaining,
) -> Connection:
    """Land the new set; where no refresh token came, the old one stays (RFC 6749 section 6).

    So does a bearer that lives, unless the data API has rejected it.
    """
    answer = sent.answer
    if answer.refresh_token is None:
        broker.record("refresh_token_missing", connection_id=leased.id)
    if answer.is_type_foreign:
        broker.record("token_type_foreign", connection_id=leased.id)
    if answer.id_token is None:
        broker.record("id_token_missing", connection_id=leased.id)
    is_kept = answer.id_token is None and (
        leased.remaining(broker.clock()) > 0 and leased.rejected != leased.generation
    )
    if is_kept and leased.asked_at is not None:
        ask = ask or Ask(at=leased.asked_at)
    new = NewSet(
        tokens=TokenSet(
            refresh_token=answer.refresh_token or before.refresh_token,
            id_token=before.id_token if is_kept else answer.id_token,
        ),
        attempt_id=leased.lease.id if leased.lease else "",
        sent_at=sent.sent_at,
        expires_in=answer.expires_in,
        interaction_id=answer.interaction_id,
        is_bearer_kept=is_kept,
        ask=ask,
        predecessor_resent=_is_resent(leased, sent),
    )
    landed = land(broker, leased, new, sealer=sealer, remaining=remaining, status=Status.ACTIVE)
    if answer.refresh_token is not None:
        note_rotation(broker, landed)
    if leased.degraded and leased.suspected:
        broker.record("connection_healed", connection_id=leased.id, reason=leased.suspected.reason)
    broker.record("token_refreshed", connection_id=landed.id, generation=landed.generation)
    if landed.login != leased.login:  # hashed under another key: who owns it is yet to be settled
        with suppress(TokenBrokerError):  # else the schedule does with the next set
            settle_login(broker, landed)
    return landed


def _is_resent(leased: Connection, sent: Sent) -> bool:
    """Return whether the refresh token behind the set of an answer may have been used before."""
    is_same = sent.answer.refresh_token is None and leased.predecessor_resent
    return sent.ambiguous or leased.unsettled > 1 or is_same


def _postponed(broker: Broker, leased: Connection, sent: Sent) -> TokenBrokerError:
    """Record an attempt that brought no set; return the error that says so to the caller."""
    answer, now = sent.answer, broker.clock()
    wait = max(back_off(leased.id, leased.failures), answer.retry_after or 0)
    event, settled, is_paused = "refresh_deferred", not sent.ambiguous, False
    error: TokenBrokerError = UpstreamUnavailable(detail=answer.detail, retry_after=wait)
    match sent.reaction:
        case Reaction.REPEAT | Reaction.REPEAT_ONCE:
            if sent.reaction is Reaction.REPEAT_ONCE:
                wait = max(wait, UNSETTLED_DELAY)
            event, settled = "refresh_unanswered", False
            error = OutcomeUnknown(detail=answer.detail, retry_after=wait)
        case Reaction.REPORT:
            event = "request_refused"
            error = Reported(detail=f"Akoya calls our request malformed: {answer.detail}")
        case Reaction.REREAD_SECRET:
            error = trip_breaker(broker, answer, by=leased.id)
            wait, is_paused = BREAKER_PAUSE, True
        case _ if answer.outcome in UNREACHED:
            error = AkoyaUnreached(detail=answer.detail, retry_after=wait)
    broker.record(event, connection_id=leased.id, outcome=answer.outcome, **answer.traced)
    due_at = now + wait
    if leased.status is Status.REAUTH_REQUIRED and leased.keep_until and not is_paused:
        due_at = next_try(leased.id, now=now, keep_until=leased.keep_until)
    postpone(
        broker,
        leased,
        due_at=due_at,
        event=event,
        failed=not is_paused,
        settled=settled,
        suspect=unanswered(leased.suspected),
    )
    return error
