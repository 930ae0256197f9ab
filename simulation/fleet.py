"""Connections in the midst of their life, and those who ask for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from simulation.stack import DAY, MIDNIGHT, Stack
from simulation.table import keep
from token_broker.domain.connection import Connection, Status
from token_broker.domain.refresh_policy import Ask
from token_broker.domain.token_set import Verdict
from token_broker.store.connection_row import row_of, shard_of
from token_broker.store.reading import pointer_of
from token_broker.store.rows import versioned

MINUTE, HOUR = 60, 3_600
HOT_EVERY = 5 * MINUTE
NIGHT_BEGINS, NIGHT = 2 * HOUR, 4 * HOUR  # a nightly job asks for one after the other
BANKS = 20  # the first has a quarter of all connections (Zipf)


class Use(StrEnum):
    """Who asks for a connection, and when."""

    HOT = "hot"  # every five minutes
    NIGHTLY = "nightly"  # once in the night's four hours, and says when it comes again
    IDLE = "idle"  # no caller


MIXES: dict[str, dict[Use, float]] = {
    "hot": {Use.HOT: 1},
    "nightly": {Use.NIGHTLY: 1},
    "mixed": {Use.HOT: 0.2, Use.NIGHTLY: 0.5, Use.IDLE: 0.3},
}


@dataclass(frozen=True, slots=True)
class Member:
    """One connection of a fleet."""

    id: str
    use: Use
    asks_at: int  # the first time
    asks_every: int


def ids(size: int, stack: Stack) -> Iterator[tuple[int, str]]:
    """Yield number and id of those of so many connections whose shard is simulated."""
    names, shards = random.Random(size), stack.shards  # noqa: S311 - no secret
    for number in range(size):
        name = f"{names.getrandbits(128):032x}"
        if shard_of(name) in shards:
            yield number, name


def fill(
    stack: Stack, size: int, mix: str, *, until: int | None = None, hot_every: int = HOT_EVERY
) -> None:
    """Put a fleet in use into a stack and let its callers ask, the busy ones every so often.

    `until`: leave out whatever is not due by then, nor asked for while it is not fresh. No run and
    no caller looks at such a row or changes it, however many there are.
    """
    uses, shares = list(MIXES[mix]), list(MIXES[mix].values())
    banks = [1 / place for place in range(1, BANKS + 1)]
    for number, name in ids(size, stack):
        use = stack.random.choices(uses, shares)[0]
        every = hot_every if use is Use.HOT else DAY
        member = Member(name, use, _first_ask(stack, use, every), every)
        held = _as_it_lives(stack, member, number)
        is_asked = use is Use.NIGHTLY and member.asks_at < (until or 0)
        if until is None or (held.due_at or 0) < until or is_asked:
            bank = f"bank-{stack.random.choices(range(BANKS), banks)[0]}"
            put(stack, replace(held, connector=bank, sealed=bank.encode()))
            _let_ask(stack, member)


def put(stack: Stack, connection: Connection) -> None:
    """Add a connection, which owns its login."""
    keep(stack.connections, row_of(connection))
    login = connection.login or ""
    keep(stack.connections, versioned({"id": pointer_of(login), "owner": connection.id}))


def connection(
    name: str, bank: str, number: int, *, issued_at: int, life: int, asked_at: int | None
) -> Connection:
    """Return an ACTIVE connection with a set that was issued then; it is not due."""
    return Connection(
        id=name,
        subject=f"person-{number}",
        connector=bank,
        status=Status.ACTIVE,
        linked_at=MIDNIGHT - 30 * DAY,
        updated_at=issued_at,
        generation=2,
        sealed=bank.encode(),
        login=f"login-{name}",
        issued_at=issued_at,
        expires_at=issued_at + life,
        verdict=Verdict.OK,
        asked_at=asked_at,
    )


def _first_ask(stack: Stack, use: Use, every: int) -> int:
    """Return when it is asked for first, or for the first time again."""
    match use:
        case Use.HOT:
            return stack.begins + stack.random.randrange(every)
        case Use.NIGHTLY:
            at = MIDNIGHT + NIGHT_BEGINS + stack.random.randrange(NIGHT)
            return at if at > stack.begins else at + DAY
        case Use.IDLE:
            return 0


def _as_it_lives(stack: Stack, member: Member, number: int) -> Connection:
    """Return a connection as it is at the begin: somewhere between two refreshes."""
    life, policy, now = stack.akoya.life, stack.policy, stack.begins

    def held(issued_at: int, asked_at: int | None = None) -> Connection:
        return connection(member.id, "", number, issued_at=issued_at, life=life, asked_at=asked_at)

    def lasts(ask: Ask | None) -> int:
        return policy.due_at(held(now), now=now, ask=ask) - now

    match member.use:
        case Use.HOT:
            whole = lasts(Ask(at=now))
            passed = stack.random.randrange(whole)
            asked_at = now - passed + min(passed, stack.random.randrange(member.asks_every))
            return replace(held(now - passed, asked_at), due_at=now - passed + whole)
        case Use.NIGHTLY:  # a day before its next ask it was asked for
            before = member.asks_at - DAY
            asked = held(before - life // 3)
            ask = Ask(at=before, next_use=member.asks_at)
            due_at = policy.due_at(asked, now=before, ask=ask)
            if due_at > now:
                return replace(asked, due_at=due_at)
            renewed = held(due_at)
            return replace(renewed, due_at=policy.due_at(renewed, now=due_at, ask=None))
        case Use.IDLE:
            whole = lasts(None)
            passed = stack.random.randrange(whole)
            return replace(held(now - passed), due_at=now - passed + whole)


def _let_ask(stack: Stack, member: Member) -> None:
    if member.use is Use.IDLE:
        return

    def ask() -> None:
        now = stack.clock()
        next_use = now + DAY if member.use is Use.NIGHTLY else None
        while wait := stack.ask(member.id, next_use=next_use):
            stack.clock.pause(wait)
        stack.clock.at(now + member.asks_every, ask)  # at once, if it is over already

    stack.clock.at(member.asks_at, ask)
