"""One attempt: the right to send, all that can fail without Akoya, and the one way to send.

A code, a refresh token and a revoke go out through `send`, once all that can fail without Akoya is
done; what comes back is landed by `landing`, or the row is postponed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from token_broker.domain.connection import Connection, Lease, Status, Suspect
from token_broker.domain.errors import (
    Reported,
    RowUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.outcome import REACTIONS, Answer, Grant, Outcome, Reaction
from token_broker.domain.ports import ClientCredentials, Post, Remaining
from token_broker.domain.refresh_policy import (
    BREAKER_PAUSE,
    BRIEFLY,
    CANARY_PATIENCE,
    PROMPT_REPEATS,
    READ_TIMEOUT,
    REFRESH_BUDGET,
    REPEAT_BUDGET,
    REPEAT_READ_TIMEOUT,
    SEND_BUDGET,
    SLOW_AT_MOST,
    SLOW_FOR,
    back_off,
    lease_end,
)
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.bulkhead import note_hang
from token_broker.use_cases.home import ensure_home
from token_broker.use_cases.pace import AT_ONCE, Turns

REPEATS = {Reaction.REPEAT: PROMPT_REPEATS, Reaction.REPEAT_ONCE: 1}
FIRST_BUDGET = {
    Grant.AUTHORIZATION_CODE: SEND_BUDGET,
    Grant.REFRESH_TOKEN: REFRESH_BUDGET,  # one repeat included
    Grant.REVOKE: SEND_BUDGET,
}


# ── the right to send ────────────────────────────────────────────────────────────────────────────


def ensure_sends_allowed(broker: Broker) -> None:
    """Raise unless this is the table we belong to and the breaker is closed.

    If the schedule could have tried a canary but nothing was due, the breaker counts as closed.
    """
    ensure_home(broker)
    until, now = broker.control.breaker(), broker.clock()
    if until is not None and now < until + CANARY_PATIENCE:
        wait = until + CANARY_PATIENCE - now
        raise UpstreamUnavailable(detail="the breaker is open", retry_after=wait)
    if (slow_for := broker.control.slow_for()) > 0:
        raise UpstreamUnavailable(detail="Akoya asks to wait", retry_after=slow_for)


def new_lease(broker: Broker, ends_in: float) -> Lease:
    """Return the lease of a new attempt whose process is ended from outside in so many seconds."""
    return Lease(id=broker.new_id(), until=lease_end(broker.clock(), ends_in))


def claim(
    broker: Broker,
    connection_id: str,
    *,
    lease: Lease,
    statuses: frozenset[Status],
    generation: int | None = None,
    rejected: bool = False,
    ignore_back_off: bool = False,
) -> Connection:
    """Claim a row that is due, or that still holds the generation given.

    Raises RowUnreadable, with nothing sent, where not all of the row reads: it may be unsettled.
    """
    leased = broker.connections.claim(
        connection_id,
        lease=lease,
        now=broker.clock(),
        due_at=lease.until,  # should its holder die
        statuses=statuses,
        generation=generation,
        rejected=rejected,
        ignore_back_off=ignore_back_off,
    )
    # A revoke needs its token set alone.
    if leased.malformed and leased.status is not Status.REVOKE_PENDING:
        release(broker, leased, event="refresh_deferred")
        raise RowUnreadable(detail=f"these do not read: {', '.join(leased.malformed)}")
    return leased


def claim_as_seen(broker: Broker, seen: Connection) -> Connection:
    """Claim a row, for one who sends nothing, if it stands as it was seen; backing off, too."""
    return claim(
        broker,
        seen.id,
        lease=new_lease(broker, BRIEFLY),
        statuses=frozenset({seen.status}),
        generation=seen.generation,
        ignore_back_off=True,
    )


def postpone(
    broker: Broker,
    leased: Connection,
    *,
    due_at: int,
    event: str,
    failed: bool = False,
    settled: bool = True,
    suspect: Suspect | None = None,
) -> None:
    """End the lease; `settled`: the attempt is known to have changed nothing at Akoya."""
    broker.connections.settle(
        leased,
        due_at=due_at,
        settled=settled,
        failures=leased.failures + failed,
        event=event,
        now=broker.clock(),
        suspect=suspect,
    )


def release(broker: Broker, leased: Connection, *, event: str) -> None:
    """End the lease: nothing was sent."""
    broker.record(event, connection_id=leased.id)
    due_at = broker.clock() + back_off(leased.id, leased.failures)
    postpone(broker, leased, due_at=due_at, event=event, failed=True)


# ── the one way to send ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is to be sent, and for which connection: under its lease, at its turn."""

    grant: Grant
    leased: Connection
    remaining: Remaining
    turns: Turns = AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of it."""

    answer: Answer
    reaction: Reaction
    sent_at: int  # the moment before the first send
    ambiguous: bool  # a send before the last answer went unanswered


def await_send(broker: Broker, attempt: Attempt) -> None:
    """Wait for our turn, the last step before the send.

    Raises UpstreamUnavailable where Akoya asks to wait for long, or too little time is left.
    """
    attempt.turns.first(attempt.leased.id)
    if not _has_time(broker, attempt, FIRST_BUDGET[attempt.grant]):
        raise UpstreamUnavailable(detail="too little time left to send and persist")


def send(broker: Broker, attempt: Attempt, post: Post, credentials: ClientCredentials) -> Sent:
    """Send once; again only with a newer client secret, or the same refresh token to no answer.

    The same holder may repeat the same token: if Akoya never saw it nothing is lost, and if its
    answer was lost a repeat is the only thing that may still save the connection. Each send has a
    budget of its own.
    """
    sent_at, read_timeout, repeats = broker.clock(), READ_TIMEOUT, 0
    while True:
        answer = post(credentials=credentials, read_timeout=read_timeout)
        reaction = REACTIONS[answer.outcome, attempt.grant]
        if answer.outcome is Outcome.TIMEOUT:
            note_hang(broker, attempt.leased.connector, sent_at=sent_at)
        if answer.is_for_all:
            _slow_down(broker, answer)
        sent = Sent(answer=answer, reaction=reaction, sent_at=sent_at, ambiguous=repeats > 0)
        is_left = repeats < REPEATS.get(reaction, 0)
        if is_left and attempt.turns.may_repeat(attempt.leased.id):
            read_timeout, budget = REPEAT_READ_TIMEOUT, REPEAT_BUDGET
        elif reaction is Reaction.REREAD_SECRET and (newer := _newer_secret(broker, credentials)):
            credentials, budget = newer, SEND_BUDGET  # refused credentials leave all else unused
        else:
            return sent
        attempt.turns.again()
        if not _has_time(broker, attempt, budget):
            return sent
        repeats += reaction is not Reaction.REREAD_SECRET


def _has_time(broker: Broker, attempt: Attempt, budget: int) -> bool:
    """Return whether the process lives and the lease holds for a send with this budget."""
    lease = attempt.leased.lease
    leased_for = lease.until - broker.clock() if lease else 0
    return attempt.remaining() >= budget and leased_for >= budget


def _newer_secret(broker: Broker, refused: ClientCredentials) -> ClientCredentials | None:
    """Return the secret as it is now if it is not the one that was refused."""
    try:
        current = broker.client_secret.reread()
    except TokenBrokerError:
        return None
    return current if current != refused else None


def _slow_down(broker: Broker, answer: Answer) -> None:
    """Let all senders wait for as long as Akoya has said, within reason."""
    seconds = min(answer.retry_after or SLOW_FOR, SLOW_AT_MOST)
    broker.record("slowed_down", value=seconds)
    with suppress(TokenBrokerError):  # who meets it next says so again
        broker.control.slow_down(until=broker.clock() + seconds)


def trip_breaker(broker: Broker, answer: Answer, *, by: str) -> Reported:
    """Stop all sends: Akoya refuses our credentials, and no connection is to blame."""
    broker.control.open_breaker(until=broker.clock() + BREAKER_PAUSE)
    broker.record("breaker_opened", connection_id=by, outcome=answer.outcome, **answer.traced)
    return Reported(
        detail=f"Akoya refuses our client credentials ({answer.detail}): put the secret the "
        "Data Recipient Hub shows for this client id into Secrets Manager"
    )
