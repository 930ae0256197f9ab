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
    StaleGeneration,
    TokenBrokerError,
)
from token_broker.domain.suspicion import ENDED_BY_REFUSAL, Witness
from token_broker.use_cases.attempt import Ready, Sent, postpone
from token_broker.use_cases.sending import Sending


def refused(on: Sending, held: Connection, sent: Sent[Ready]) -> GrantRefused:
    """Return what a refusal makes of a suspicion."""
    suspect = suspicion.refused(
        held.suspected,
        generation=held.generation,
        lost=sent.ambiguous or held.unsettled > 1 or held.predecessor_resent,
        now=on.clock(),
    )
    return GrantRefused(held, suspect, sent_at=sent.sent_at, answer=sent.answer)


def record_suspicion(on: Sending, refused: GrantRefused) -> ConsentSuspect:
    """Record a refusal and release the lease; return the error that says so to the caller."""
    _tell(on, refused)
    look_at = suspicion.next_look(refused.suspect, refused.held.id, now=on.clock())
    return _settle(on, refused, due_at=look_at)


def end_or_suspect(on: Sending, refused: GrantRefused, *, end_after: int, quarantine: int) -> bool:
    """Record a refusal the schedule met; return whether the connection ended by it.

    `end_after`: seconds from the first refusal after which it ends without a witness.
    """
    held, found = refused.held, refused.suspect
    _tell(on, refused)
    now = on.clock()
    look_at = suspicion.next_look(found, held.id, now=now)
    if suspicion.is_unbroken(found, sent_at=refused.sent_at):
        witness = _witness(on, held)
        is_over = refused.sent_at - found.since >= end_after
        if is_over or suspicion.is_borne_out(found, held.id, witness, sent_at=refused.sent_at):
            try:
                end(on, held, reason=found.reason, quarantine=quarantine)
            except StaleGeneration:  # it moved on, or its login is being linked again
                pass
            else:
                return True
        elif witness and _is_on_its_way(on, held, witness):
            look_at = min(look_at, now + suspicion.WITNESS_AWAITED)
    _settle(on, refused, due_at=look_at)
    return False


def end(on: Sending, held: Connection, *, reason: Reason, quarantine: int) -> None:
    """End a connection; its sealed set is kept for `quarantine` seconds. Raises StaleGeneration."""
    now = on.clock()
    keep_until = now + quarantine
    is_tried = reason in ENDED_BY_REFUSAL
    on.connections.end(
        held,
        reason=reason,
        due_at=suspicion.next_try(held.id, now=now, keep_until=keep_until)
        if is_tried
        else keep_until,
        keep_until=keep_until,
        now=now,
    )
    on.record("reauthorization_required", connection_id=held.id, reason=reason)
    if reason is Reason.ROTATION_LOST:
        on.record("rotation_lost", connection_id=held.id)


def note_rotation(on: Sending, landed: Connection) -> None:
    """Note who was answered with a rotation, should one of the same connector need a witness."""
    try:
        on.control.rotation_met(connector=landed.connector, by=landed.id)
    except TokenBrokerError as exc:
        on.record("witness_unnoted", connection_id=landed.id, detail=exc.detail)


def _tell(on: Sending, refused: GrantRefused) -> None:
    """Count a refusal: by connection, and by how many of the connector met one within the hour."""
    held, found, detail = refused.held, refused.suspect, refused.answer.detail
    on.record("grant_refused", connection_id=held.id, reason=found.reason, detail=detail)
    if refused.answer.reported:
        on.record("request_refused", connection_id=held.id, detail=detail)
    try:
        count = on.control.refusal_met(
            connector=held.connector,
            earlier_at=held.updated_at if held.suspected else None,
        )
    except TokenBrokerError as exc:
        on.record("refusal_uncounted", connection_id=held.id, detail=exc.detail)
    else:
        on.record("connections_refused", value=count, connector=held.connector)


def _settle(on: Sending, refused: GrantRefused, *, due_at: int) -> ConsentSuspect:
    held, now = refused.held, on.clock()
    postpone(
        on,
        held,
        due_at=due_at,
        event="grant_suspected",
        failed=True,
        suspect=refused.suspect,
    )
    return ConsentSuspect(detail=refused.detail, retry_after=max(1, due_at - now))


def _witness(on: Sending, held: Connection) -> Witness | None:
    """Return who was answered last; a witness nobody can read is none."""
    try:
        return on.control.witness(held.connector)
    except TokenBrokerError as exc:
        on.record("witness_unread", connection_id=held.id, detail=exc.detail)
        return None


def _is_on_its_way(on: Sending, held: Connection, witness: Witness) -> bool:
    """Return whether a witness may be had soon: one too young, or one that is made due now.

    It is asked for by making the connection that was answered last due, at most once in a quarter
    of an hour, and never while it is refused itself or goes unanswered.
    """
    try:
        row = on.connections.look(witness.connection_id)
        if row.id == held.id or row.status is not Status.ACTIVE or row.suspected:
            return False
        if row.failures:  # it was asked in vain, and is tried again by itself
            return False
        if on.clock() - witness.answered_at > suspicion.WITNESS_RIPE and on.control.ask_witness(
            held.connector
        ):
            on.connections.make_due(row, due_at=on.clock())
            on.record("witness_asked", connection_id=row.id, connector=held.connector)
    except ConnectionNotFound:
        return False
    except TokenBrokerError as exc:
        on.record("witness_unread", connection_id=held.id, detail=exc.detail)
        return False
    return True
