"""The guards of a hand-out and of a run: who waits, and a row that does not read."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "hand-out: an expired bearer is not handed out, even where its row makes no sense",
        "use_cases/token.py::_fresh",
        "max(0, min(wanted, broker.policy.longest_min_validity(life)))",
        "min(wanted, broker.policy.longest_min_validity(life))",
    ),
    Guard(
        "waiting: who waits is told of a refusal",
        "use_cases/wait.py::await_successor",
        "row.suspected",
        "row.generation < 0",
    ),
    Guard(
        "waiting: who comes right behind a refusal is told of it",
        "store/connections.py::_why_unclaimed",
        "row.suspected",
        "row.generation < 0",
    ),
    Guard(
        "waiting: only for a young lease",
        "use_cases/wait.py::await_successor",
        "not _is_young(row, now)",
        "row.lease is None",
    ),
    Guard(
        "waiting: three seconds at the most",
        "use_cases/wait.py::PAUSES",
        "(0.25, 0.5, 1.0, 1.0)",
        "(0.25, 0.5, 1.0, 1.0) * 2",
    ),
    Guard(
        "waiting: nobody who can be served",
        "use_cases/token.py::_hand_out",
        (
            "not refused and seen.remaining(broker.clock()) and "
            "broker.id_tokens.acceptable(seen.verdict)"
        ),
        (
            "broker.clock() < 0 and seen.remaining(broker.clock()) and "
            "broker.id_tokens.acceptable(seen.verdict)"
        ),
    ),
    Guard(
        "subject: another's connection is not found",
        "use_cases/subject.py::ensure_subject",
        "subject != connection.subject",
        "not connection.subject",
    ),
    Guard(
        "unreadable: a set that landed meanwhile is not noted so",
        "use_cases/token.py::_note_unreadable",
        "raise StaleGeneration",
        "broker.connections.note_unreadable(leased)",
    ),
    Guard(
        "malformed: its bearer is not handed out",
        "use_cases/token.py::_ensure_reads",
        (
            "if seen.malformed:\n"
            "    raise SetUnreadable(detail=f\"these do not read: {', "
            "'.join(seen.malformed)}\")"
        ),
        (
            "if seen.generation < 0:\n"
            "    raise SetUnreadable(detail=f\"these do not read: {', "
            "'.join(seen.malformed)}\")"
        ),
    ),
    Guard(
        "malformed: nothing of it is sent",
        "use_cases/attempt.py::claim",
        "leased.malformed and leased.status is not Status.REVOKE_PENDING",
        "leased.generation < 0",
    ),
    Guard(
        "malformed: its consent is revoked all the same",
        "use_cases/attempt.py::claim",
        "leased.malformed and leased.status is not Status.REVOKE_PENDING",
        "leased.malformed",
    ),
    Guard(
        "malformed: what a claim asks for must read",
        "store/conditions.py::is_readable",
        "Absent(name) | IsA(name, int)",
        "Absent(name) | IsA(name, int) | exists()",
    ),
    Guard(
        "malformed: what does not say whose it is is not claimed",
        "store/conditions.py::is_readable",
        "reduce(and_, reads) & is_known & IsA('subject', str) & IsA('connector', str)",
        "reduce(and_, reads) & is_known & (IsA('subject', str) | IsA('connector', str))",
    ),
    Guard(
        "malformed: nothing of a later version's row is claimed",
        "store/conditions.py::is_readable",
        "Absent('schema') | AtMost('schema', SCHEMA)",
        "exists()",
    ),
    Guard(
        "malformed: a later version's row stops no run and stands in nobody's way",
        "use_cases/schedule.py::_tend",
        "RowNewer",
        "ZeroDivisionError",
    ),
    Guard(
        "malformed: what fails in a way nobody expected stands in nobody's way",
        "use_cases/schedule.py::_tend",
        (
            "broker.record('row_unreadable', connection_id=connection_id, "
            "detail=type(exc).__name__)\n"
            "_push_back(broker, connection_id, failures=0)"
        ),
        "broker.record('row_unreadable', connection_id=connection_id, detail=type(exc).__name__)",
    ),
    Guard(
        "malformed: a new consent removes what does not read",
        "use_cases/exchange.py::Exchange._lease_of",
        "seen.malformed",
        "seen.generation < 0",
    ),
    Guard(
        "malformed: its next generation is above any that was issued",
        "store/connections.py::Connections.mend",
        "'generation': now",
        "'generation': 0",
    ),
    Guard(
        "malformed: only what was seen not to read is removed",
        "store/conditions.py::reads_as",
        "Equals(name, row[name])",
        "exists()",
    ),
    Guard(
        "malformed: its callers page nobody",
        "domain/errors.py::RowUnreadable.event",
        "event = 'request_failed'",
        "event = 'row_unreadable'",
    ),
    Guard(
        "malformed: it is told once however often it is asked for",
        "use_cases/token.py::_note_unreadable",
        "leased.unreadable != leased.generation and broker.connections.note_unreadable(leased)",
        (
            "leased.unreadable != leased.generation or "
            "broker.connections.note_unreadable(leased) is not None"
        ),
    ),
    Guard(
        "malformed: it hides no other row of a list",
        "store/reading.py::Reading._readable",
        "(RowNewer, RowUnreadable)",
        "RowNewer",
    ),
    Guard(
        "malformed: as an owner it is left as it is",
        "store/reading.py::Reading.owner_of",
        "found.malformed",
        "found.generation < 0",
    ),
    Guard(
        "malformed: a consent its owner may need is not revoked",
        "use_cases/login.py::heir_of",
        "owner and owner.is_unreadable and (owner.id != leased.id)",
        "owner and owner.is_unreadable and (owner.id == leased.id)",
    ),
    Guard(
        "malformed: its set replaces no other's",
        "use_cases/login.py::transfer",
        "leased.malformed or is_earlier",
        "is_earlier",
    ),
    Guard(
        "malformed: it is not confirmed over a good connection",
        "use_cases/connections.py::confirm",
        "is_pending and seen.malformed",
        "is_pending and seen.generation < 0",
    ),
    Guard(
        "unreadable: it is told to renew, not to wait",
        "use_cases/token.py::_hand_out",
        "seen.unreadable == seen.generation",
        "seen.generation < 0",
    ),
)
