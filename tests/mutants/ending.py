"""The guards of an end: no connection ends for a refusal that may pass."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "refusals: none ends before a quarter of an hour of them",
        "domain/suspicion.py::is_unbroken",
        "sent_at - suspect.streak_since >= UNBROKEN_FOR",
        "sent_at - suspect.streak_since >= 0",
    ),
    Guard(
        "refusals: a look that went unanswered breaks their streak",
        "use_cases/refresh.py::_postponed",
        "unanswered(leased.suspected)",
        "leased.suspected",
    ),
    Guard(
        "refusals: without a witness the hours of the parameter must have passed",
        "use_cases/refusal.py::end_or_suspect",
        "refused.sent_at - found.since >= end_after",
        "refused.sent_at - found.since >= 0",
    ),
    Guard(
        "refusals: only the schedule ends a connection",
        "use_cases/refresh.py::ensure_fresh",
        "raise record_suspicion(broker, refused) from None",
        (
            "broker.connections.end(leased, reason=refused.suspect.reason, due_at=0, "
            "keep_until=0, now=broker.clock())\n"
            "raise"
        ),
    ),
    Guard(
        "witness: answered at least ten minutes after the first refusal",
        "domain/suspicion.py::is_borne_out",
        "suspect.streak_since + WITNESS_AFTER",
        "suspect.streak_since",
    ),
    Guard(
        "witness: answered some time before the look",
        "domain/suspicion.py::is_borne_out",
        "sent_at - WITNESS_RIPE",
        "sent_at",
    ),
    Guard(
        "witness: of the same connector",
        "store/control.py::Control.witness",
        "found = self._read_known().get(f'answered#{connector}')",
        (
            "known = self._read_known()\n"
            "found = next((known[one] for one in known if one.startswith('answered#')), None)"
        ),
    ),
    Guard(
        "witness: nobody to its own end",
        "domain/suspicion.py::is_borne_out",
        (
            "witness is None or suspect.streak_since is None or witness.connection_id == "
            "connection_id"
        ),
        "witness is None or suspect.streak_since is None",
    ),
    Guard(
        "witness: whoever is refused itself is not asked",
        "use_cases/refusal.py::_is_on_its_way",
        "row.id == leased.id or row.status is not Status.ACTIVE or row.suspected",
        "row.id == leased.id or row.status is not Status.ACTIVE",
    ),
    Guard(
        "daily try: only where the login is nobody else's",
        "use_cases/daily_try.py::may_be_tried",
        "owner.id == leased.id",
        "owner.id is not None",
    ),
    Guard(
        "daily try: only of what ended by refusal",
        "use_cases/daily_try.py::may_be_tried",
        "leased.reason not in ENDED_BY_REFUSAL",
        "leased.reason is not None",
    ),
    Guard(
        "daily try: looks into escrow first",
        "use_cases/daily_try.py::try_again",
        (
            "recover(broker, leased, status=Status.ACTIVE) or refresh_held(broker, leased, "
            "remaining, turns=turns)"
        ),
        "refresh_held(broker, leased, remaining, turns=turns)",
    ),
    Guard(
        "daily try: counts nowhere",
        "use_cases/daily_try.py::try_again",
        "now = broker.clock()",
        (
            "broker.control.refusal_met(connector=leased.connector, earlier_at=None)\n"
            "broker.record('grant_refused', connection_id=leased.id)\n"
            "now = broker.clock()"
        ),
    ),
    Guard(
        "rejection: a second one counts only right after the issue",
        "use_cases/rejection.py::is_second",
        "now - seen.issued_at <= soon",
        "now - seen.issued_at <= soon * 1000",
    ),
    Guard(
        "rejection: right after is a quarter of a short life",
        "use_cases/rejection.py::is_second",
        "(seen.expires_at - seen.issued_at) // 4",
        "seen.expires_at - seen.issued_at",
    ),
    Guard(
        "rejection: one proof an hour",
        "use_cases/rejection.py::ensure_proof_is_due",
        "wait > 0",
        "wait > PROOF_INTERVAL",
    ),
    Guard(
        "rejection: who rejects the proof too is told apart, however late it comes back",
        "use_cases/rejection.py::ensure_proof_is_due",
        "broker.connections.note_refused(seen)",
        "pass",
    ),
    Guard(
        "rejection: it ends no connection",
        "use_cases/token.py::_renewed",
        "ensure_proof_is_due(broker, seen)",
        "raise ReauthorizationRequired",
    ),
    Guard(
        "rejection: the generation after an unsettled row's may be known",
        "use_cases/token.py::_ensure_known",
        "seen.generation + (1 if seen.unsettled else 0)",
        "seen.generation",
    ),
    Guard(
        "rejection: what was handed out of escrow is not handed out to the one who rejects it",
        "use_cases/token.py::_renewed_ahead",
        "landed.attempt_id != kept.attempt_id",
        "landed.attempt_id",
    ),
    Guard(
        "proof: one that cannot be noted serves",
        "use_cases/rejection.py::note_proof",
        "suppress(UpstreamUnavailable)",
        "suppress(ZeroDivisionError)",
    ),
    Guard(
        "witness: one that is away hastens no look",
        "use_cases/refusal.py::_is_on_its_way",
        "row.failures",
        "row.generation < 0",
    ),
)
