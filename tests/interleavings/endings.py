"""How a cut flow ended, by the sandbox's ledger: kept, kept by a second way, or lost and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from local.akoya_sandbox.ledger import fingerprint
from tests.interleavings.cuts import Fault, cut, steps_of
from tests.interleavings.flows import Case, End, Person, Prepared, sent_out
from tests.world import World
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import TokenBrokerError

DIALECTS = ("gen1", "gen1-reuse-window", "gen2-strict", "gen2-grace")
REVOKING = Status.REVOKE_PENDING
MOST_LOOKS = 60  # at a revoke, within the quarantine
MINUTES = 45  # for so long the world runs on: longer than every lease, back-off and expiry
TOKEN_ENDPOINT_ONLY = frozenset({Fault.CUT_OFF_BEFORE, Fault.CUT_OFF_AFTER})
BY_A_PERSON = frozenset({Fault.LINKED, Fault.RENEWED})  # who then goes on until it is done


# The process dies, or hears nothing, around the moment the code leaves: it may have.
UNTELLABLE = frozenset(
    {
        ("authorizations.mark_sent", Fault.KILLED_AFTER),
        ("token_endpoint.exchange", Fault.KILLED_BEFORE),
        ("token_endpoint.exchange", Fault.TIMED_OUT_BEFORE),
        ("token_endpoint.exchange", Fault.CUT_OFF_BEFORE),
    }
)


class Verdict(StrEnum):
    """What became of the connection."""

    KEPT = "kept"
    BY_ESCROW = "kept by escrow"
    BY_RETRY = "kept by retry"
    NEVER_ARRIVED = "lost, no way: the answer reached nobody"
    ONLY_COPY = "lost, no way: the one process that had the answer is gone"
    NEVER_TWICE = "lost, no way: nobody can tell whether the code was sent, and it never is twice"
    RECOVERABLE = "lost though recoverable"


@dataclass(frozen=True)
class Cell:
    """One flow, cut once, in one dialect."""

    case: str
    place: int
    step: str
    fault: Fault
    dialect: str
    verdict: Verdict
    complaints: tuple[str, ...]  # rules that were broken on the way, whatever the end


def cells_of(case: Case, dialect: str) -> Iterator[Cell]:
    """Cut a flow at every step in every way that fits the step."""
    world = World.in_memory(dialect)
    prepared = case.prepare(world)
    steps = steps_of(world, prepared.flow, timeout=prepared.timeout)
    for at, step in enumerate(steps):
        for fault in Fault:
            if fault in TOKEN_ENDPOINT_ONLY and not step.startswith("token_endpoint."):
                continue
            if fault in BY_A_PERSON and prepared.end is not End.CONNECTED:
                continue
            yield _cell(case, dialect, at, step, fault)


def _cell(case: Case, dialect: str, at: int, step: str, fault: Fault) -> Cell:
    world = World.in_memory(dialect)
    watch = Watch(world)
    prepared = case.prepare(world)
    before = len(world.events)
    others: list[Person] = []

    def rival() -> None:
        if fault in BY_A_PERSON:
            others.extend(_consenting(world, fault))
            _go_on(world, others)
            return
        with suppress(TokenBrokerError):
            world.run_schedule()
        _callers(world)

    cutter, came_through = cut(
        world,
        prepared.flow,
        at,
        fault,
        timeout=prepared.timeout,
        rival=rival,
        while_late=watch.nothing_leaves,
    )
    settle(world, prepared, others)

    if ended_well(world, prepared):
        verdict = Verdict.KEPT if came_through else Verdict.BY_RETRY
        if any(name == "escrow_applied" for name, _ in world.events[before:]):
            verdict = Verdict.BY_ESCROW
    elif cutter.answer_lost or (step.startswith("token_endpoint.") and cutter.only_copy):
        verdict = Verdict.NEVER_ARRIVED
    elif cutter.only_copy and cutter.dead and not cutter.could_have_kept:
        verdict = Verdict.ONLY_COPY
    elif (step, fault) in UNTELLABLE:
        verdict = Verdict.NEVER_TWICE
    else:
        verdict = Verdict.RECOVERABLE
    complaints = (*watch.complaints, *_complaints(world, verdict, fault))
    return Cell(case.name, at, step, fault, dialect, verdict, complaints)


class Watch:
    """Sees every send and every durable write, of all processes, in their order."""

    def __init__(self, world: World) -> None:
        self.complaints: list[str] = []
        self.is_late = False  # what arrives now left long ago
        self._world = world
        self.durable: set[str] = set()
        self._instead_of(world.on.connections, "land", after=self._written)
        self._instead_of(world.on.escrow, "put", after=self._written)
        self._instead_of(world.on.token_endpoint, "refresh", before=self._sent)

    @contextmanager
    def nothing_leaves(self) -> Iterator[None]:
        """Let something arrive that left long ago."""
        self.is_late = True
        yield
        self.is_late = False

    def _instead_of(self, port: Any, name: str, *, before: Any = None, after: Any = None) -> None:
        act = getattr(port, name)

        def watched(*args: Any, **how: Any) -> Any:
            if before and not self.is_late:
                before(args[0])
            result = act(*args, **how)
            if after:
                after(args[0])
            return result

        object.__setattr__(port, name, watched)

    def _written(self, landing: Any) -> None:
        row = replace(
            self._world.row(landing.connection_id),
            generation=landing.generation,
            sealed=landing.sealed,
        )
        token = self._world.on.seal.open(row).refresh_token.reveal()
        self.durable.add(fingerprint(token))

    def _sent(self, refresh_token: Any) -> None:
        successors = {
            entry["predecessor"]: entry["fingerprint"]
            for entry in self._world.provider.ledger()["entries"]
            if entry["event"] == "refresh_token.issued" and "predecessor" in entry
        }
        newer = successors.get(fingerprint(refresh_token.reveal()))
        while newer:
            if newer in self.durable:
                self.complaints.append("a refresh token was sent once its successor was durable")
            newer = successors.get(newer)


# ── until it has settled ─────────────────────────────────────────────────────────────────────────


def settle(world: World, prepared: Prepared, others: Iterable[Person] = ()) -> None:
    """Let time pass: redirects come again, the schedule runs, callers ask."""
    for minute in range(MINUTES):
        world.clock.advance(60)
        with suppress(TokenBrokerError):
            prepared.goes_on(world)
        _go_on(world, others)
        with suppress(TokenBrokerError):
            world.run_schedule()
        if minute % 5 == 0:
            _callers(world)
    world.run_schedule()
    _wait_for_proof(world)


def _wait_for_proof(world: World) -> None:
    """Let a revoke that Akoya refuses to prove come to its end, days later."""
    for _ in range(MOST_LOOKS):
        dues = [row.due_at for row in world.on.connections.every() if row.status is REVOKING]
        if not dues:
            return
        world.clock.now = max(world.clock.now, *(float(due or 0) for due in dues))
        world.run_schedule()


def _consenting(world: World, fault: Fault) -> Iterator[Person]:
    """Send out whoever comes in between; no two consents are given in one second."""
    theirs = [row.id for row in world.on.connections.every() if row.subject == "ada"]
    world.clock.advance(1)
    with suppress(TokenBrokerError):
        if fault is Fault.LINKED:
            yield sent_out(world, "eve")
        elif theirs:
            yield sent_out(world, "ada", theirs[0])


def _go_on(world: World, others: Iterable[Person]) -> None:
    for person in others:
        with suppress(TokenBrokerError):
            person.comes_back(world)
        world.clock.advance(1)


def _callers(world: World) -> None:
    for row in list(world.on.connections.every()):
        if row.status is Status.ACTIVE:
            with suppress(TokenBrokerError):
                world.hand_out(row.id)


# ── the oracle ───────────────────────────────────────────────────────────────────────────────────


def ended_well(world: World, prepared: Prepared) -> bool:
    """Ask the sandbox, not the broker, how it ended."""
    rows = [world.row(one.id) for one in world.on.connections.every()]
    active, living = world.active(), world.living()
    match prepared.end:
        case End.CONNECTED:
            return [world.is_alive(row) for row in active] == [True]
        case End.LET_GO:
            return not living and not any(row.sealed for row in rows)
        case End.TAKEN_OUT:
            return (
                [fingerprint(token) for token in prepared.given_out] == sorted(living)
                and not active
                and not world.sends()
            )


def _complaints(world: World, verdict: Verdict, fault: Fault) -> Iterator[str]:
    """Name every rule that was broken, whatever the end."""
    is_lost = verdict.startswith("lost, no way")
    for row in world.on.connections.every():
        yield from left_stuck(row, world.clock())
        ended = row.status is Status.REAUTH_REQUIRED and row.reason is not Reason.EXPORTED
        if ended and not is_lost:
            yield f"asked to consent again ({row.reason}) though nothing was lost"
        if row.degraded and not is_lost:
            yield f"degraded ({row.degraded}) though nothing was lost"
    sent = [one for one in world.provider.ledger()["requests"] if one.get("presented")]
    for place, one in enumerate(sent):
        for other in sent[place + 1 :]:
            if one["presented"] != other["presented"]:
                continue
            if other["received"] < one["answered"]:
                yield "two sends of one code or token overlapped"
            is_code = one.get("grant_type") == "authorization_code"
            if is_code and one["status"] == 200 and fault is not Fault.DUPLICATED:
                yield "a code was sent again after it was answered"


def left_stuck(row: Connection, now: int) -> Iterator[str]:
    """Say what keeps a row from ever being tended again."""
    if row.status is Status.REVOKED:
        return
    if row.due_at is None or row.due_at <= now:
        yield f"stuck: {row.status} is due at {row.due_at}"
    if row.leased(now):
        yield "stuck: a lease outlives its attempt"
