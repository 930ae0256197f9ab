"""What a refused refresh token leads to: suspect first, and an end only where a witness says so.

Whoever meets a refusal makes the connection suspect (`record_suspicion`); only the schedule, which
looks at a suspect again and again, may end it (`end_or_suspect`). Why: docs/decisions.md.
"""

from __future__ import annotations

from token_broker.domain import suspicion
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ConsentSuspect,
    GrantRefused,
    TokenBrokerError,
)
from token_broker.domain.suspicion import ENDED_BY_REFUSAL, Witness
from token_broker.use_cases.attempt import Sent, postpone
from token_broker.use_cases.broker import Broker


def refused(broker: Broker, leased: Connection, sent: Sent) -> GrantRefused:
    """Return what a refusal makes of a suspicion."""
    suspect = suspicion.refused(
        leased.suspected,
        generation=leased.generation,
        lost=sent.ambiguous or leased.unsettled > 1 or leased.predecessor_resent,
        now=broker.clock(),
    )
    return GrantRefused(leased, suspect, sent_at=sent.sent_at, answer=sent.answer)


def record_suspicion(broker: Broker, refused: GrantRefused) -> ConsentSuspect:
    """Record a refusal and release the lease; return the error that says so to the caller."""
    _tell(broker, refused)
    look_at = suspicion.next_look(refused.suspect, refused.leased.id, now=broker.clock())
    return _settle(broker, refused, due_at=look_at)


def end_or_suspect(
    broker: Broker, refused: GrantRefused, *, end_after: int, quarantine: int
) -> bool:
    """Record a refusal the schedule met; return whether the connection ended by it.

    `end_after`: seconds from the first refusal after which it ends without a witness. Raises
    StaleGeneration: it was disconnected or superseded meanwhile.
    """
    leased, found = refused.leased, refused.suspect
    _tell(broker, refused)
    now = broker.clock()
    look_at = suspicion.next_look(found, leased.id, now=now)
    if suspicion.is_unbroken(found, sent_at=refused.sent_at):
        witness = _witness(broker, leased)
        is_over = refused.sent_at - found.since >= end_after
        if is_over or suspicion.is_borne_out(found, leased.id, witness, sent_at=refused.sent_at):
            end(broker, leased, reason=found.reason, quarantine=quarantine)
            return True
        if witness and _is_on_its_way(broker, leased, witness):
            look_at = min(look_at, now + suspicion.WITNESS_AWAITED)
    _settle(broker, refused, due_at=look_at)
    return False


def end(broker: Broker, leased: Connection, *, reason: Reason, quarantine: int) -> None:
    """End a connection; its sealed set is kept for `quarantine` seconds. Raises StaleGeneration."""
    now = broker.clock()
    keep_until = now + quarantine
    is_tried = reason in ENDED_BY_REFUSAL
    broker.connections.end(
        leased,
        reason=reason,
        due_at=suspicion.next_try(leased.id, now=now, keep_until=keep_until)
        if is_tried
        else keep_until,
        keep_until=keep_until,
        now=now,
    )
    broker.record("reauthorization_required", connection_id=leased.id, reason=reason)
    if reason is Reason.ROTATION_LOST:
        broker.record("rotation_lost", connection_id=leased.id)


def note_rotation(broker: Broker, landed: Connection) -> None:
    """Note who was answered: its connector hangs no more, and a suspect may need a witness."""
    try:
        if broker.control.rotation_met(connector=landed.connector, by=landed.id):
            broker.record("connector_answers", connector=landed.connector)
    except TokenBrokerError as exc:
        broker.record("witness_unnoted", connection_id=landed.id, detail=exc.detail)


def _tell(broker: Broker, refused: GrantRefused) -> None:
    """Count a refusal: by connection, and by how many of the connector met one within the hour."""
    leased, found, detail = refused.leased, refused.suspect, refused.answer.detail
    broker.record(
        "grant_refused", connection_id=leased.id, reason=found.reason, **refused.answer.traced
    )
    if refused.answer.reported:
        broker.record("request_refused", connection_id=leased.id, detail=detail)
    try:
        count = broker.control.refusal_met(
            connector=leased.connector, earlier_at=leased.updated_at if leased.suspected else None
        )
    except TokenBrokerError as exc:
        broker.record("refusal_uncounted", connection_id=leased.id, detail=exc.detail)
    else:
        broker.record("connections_refused", value=count, connector=leased.connector)


def _settle(broker: Broker, refused: GrantRefused, *, due_at: int) -> ConsentSuspect:
    leased, now = refused.leased, broker.clock()
    postpone(
        broker, leased, due_at=due_at, event="grant_suspected", failed=True, suspect=refused.suspect
    )
    return ConsentSuspect(detail=refused.detail, retry_after=max(1, due_at - now))


def _witness(broker: Broker, leased: Connection) -> Witness | None:
    """Return who was answered last; a witness nobody can read is none."""
    try:
        return broker.control.witness(leased.connector)
    except TokenBrokerError as exc:
        broker.record("witness_unread", connection_id=leased.id, detail=exc.detail)
        return None


def _is_on_its_way(broker: Broker, leased: Connection, witness: Witness) -> bool:
    """Return whether a witness may be had soon: one too young, or one that is made due now.

    It is asked for by making the connection that was answered last due, at most once in a quarter
    of an hour, and never while it is refused itself or goes unanswered.
    """
    try:
        row = broker.connections.look(witness.connection_id)
        if row.id == leased.id or row.status is not Status.ACTIVE or row.suspected:
            return False
        if row.failures:  # it was asked in vain, and is tried again by itself
            return False
        if (
            broker.clock() - witness.answered_at > suspicion.WITNESS_RIPE
            and broker.control.ask_witness(leased.connector)
        ):
            broker.connections.make_due(row, due_at=broker.clock())
            broker.record("witness_asked", connection_id=row.id, connector=leased.connector)
    except ConnectionNotFound:
        return False
    except TokenBrokerError as exc:
        broker.record("witness_unread", connection_id=leased.id, detail=exc.detail)
        return False
    return True
