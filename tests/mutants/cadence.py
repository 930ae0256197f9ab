"""The guards of when a set is due, and of whose turn it is."""

from __future__ import annotations

from tests.mutants.guard import Guard

DUE_AT = "domain/refresh_policy.py::RefreshPolicy.due_at"
AWAIT_TURN = "use_cases/turn.py::await_turn"
GUARDS = (
    Guard(
        "cadence: a bearer nobody asked for is only kept alive",
        DUE_AT,
        "return to_live",
        "return max(now + 1, expires_at - early)",
    ),
    Guard(
        "cadence: what a caller waited for lands as in use",
        "use_cases/landing.py::_sealed",
        "return replace(landing, asked_at=broker.policy.asked_at(landing, new.ask))",
        "return landing",
    ),
    Guard(
        "cadence: an ask is noted once a generation",
        "use_cases/token.py::_note_asked",
        "seen.due_at <= due_at",
        "due_at < 0",
    ),
    Guard(
        "cadence: an ask brings nothing forward that backs off",
        "store/connections.py::Connections.make_due",
        "is_in(Status.ACTIVE) & is_unclaimed() & is_rested()",
        "is_in(Status.ACTIVE) & is_unclaimed()",
    ),
    Guard(
        "cadence: those of one hour are spread",
        DUE_AT,
        "ask.next_use - early - jitter(key, spread)",
        "ask.next_use - early",
    ),
    Guard(
        "cadence: a next use far ahead lets no consent die",
        DUE_AT,
        "min(to_live, max(now + 1, ask.next_use - early - jitter(key, spread)))",
        "max(now + 1, ask.next_use - early - jitter(key, spread))",
    ),
    Guard(
        "requests: a next use is a moment to come",
        "use_cases/token.py::_ensure_to_come",
        "not ask.at < ask.next_use <= ask.at + NEXT_USE_WITHIN",
        "ask.next_use < 0",
    ),
    Guard(
        "turn: what is due goes at once",
        AWAIT_TURN,
        "seen.due_at <= now",
        "now < 0",
    ),
    Guard(
        "turn: a high rate lets more than one in each second",
        AWAIT_TURN,
        "int(door.opens_at) <= now",
        "door.opens_at <= now",
    ),
    Guard(
        "turn: the door closes behind who was let in",
        AWAIT_TURN,
        "door.opens_at = max(door.opens_at, now) + door.one_in / door.rate",
        "door.opens_at = 0",
    ),
    Guard(
        "turn: a place given is a place taken",
        AWAIT_TURN,
        "broker.connections.make_due(seen, due_at=turn)",
        "turn",
    ),
    Guard(
        "turn: it comes after all that is due by then",
        "use_cases/turn.py::_first_free",
        "waiting < rate",
        "rate",
    ),
    Guard(
        "turn: the door stays closed behind the places given",
        AWAIT_TURN,
        "door.opens_at = max(door.opens_at, turn) + 1 / door.rate",
        "door.opens_at = door.opens_at",
    ),
    Guard(
        "turn: who asks too early takes no second place",
        AWAIT_TURN,
        "turn < seen.due_at",
        "turn",
    ),
    Guard(
        "turn: a short one is waited for",
        AWAIT_TURN,
        "turn - now > HELD",
        "turn",
    ),
)
