"""How a cut flow ended, by the sandbox's ledger: kept, kept by a second way, or lost and why."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from local.akoya_sandbox.ledger import fingerprint
from tests.interleavings.cuts import Cutter, Fault, cut, is_send
from tests.interleavings.flows import Case, End, Person, Prepared, sent_out
from tests.world import World
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.refresh_policy import lease_end

DIALECTS = ("gen1", "gen1-reuse-window", "gen2-strict", "gen2-grace")
REVOKING = Status.REVOKE_PENDING
MOST_LOOKS = 60  # at a revoke, within the quarantine
MINUTES = 45  # for so long the world runs on: longer than every lease, back-off and expiry
TOKEN_ENDPOINT_ONLY = frozenset({Fault.CUT_OFF_BEFORE, Fault.CUT_OFF_AFTER})
BY_A_PERSON = frozenset({Fault.LINKED, Fault.RENEWED})  # who then goes on until it is done


# The process hears nothing once the code has left: it may have arrived.
UNTELLABLE = frozenset(
    {
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
class Cut:
    """One call of a flow, and what happens to it."""

    place: int
    step: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.step} ({self.place}) {self.fault}"


@dataclass(frozen=True)
class Cell:
    """One flow, cut once or twice, in one dialect."""

    case: str
    dialect: str
    cut: Cut
    verdict: Verdict
    complaints: tuple[str, ...]  # rules that were broken on the way, whatever the end
    then: Cut | None = None
    by_another: bool = False  # the second cut met the process that came after

    @property
    def is_lost(self) -> bool:
        return self.verdict.startswith("lost")

    @property
    def is_wrong(self) -> bool:
        return self.verdict is Verdict.RECOVERABLE or bool(self.complaints)

    def __str__(self) -> str:
        then = f", then{' another process' if self.by_another else ''} {self.then}"
        cuts = f"{self.cut}{then if self.then else ''}"
        return f"{self.case} ({self.dialect}): {cuts}: {self.verdict} {self.complaints}"


class Trial:
    """A flow in a world of its own, whose processes meet faults."""

    def __init__(self, case: Case, dialect: str) -> None:
        self.world = World.in_memory(dialect)
        self.watch = Watch(self.world)
        self.prepared = case.prepare(self.world)
        self.cutters: list[Cutter] = []
        self.came_through = True
        self._others: list[Person] = []
        self._before = len(self.world.events)

    def run(self, faults: Mapping[int, Fault]) -> list[str]:
        """Run the flow in one process; return the steps it made."""
        cutter, came_through = cut(
            self.world,
            self.prepared.flow,
            faults,
            timeout=self.prepared.timeout,
            rival=self._rival,
            while_late=self.watch.nothing_leaves,
        )
        self.cutters.append(cutter)
        self.came_through &= came_through
        return cutter.steps

    def run_again(self, faults: Mapping[int, Fault]) -> list[str]:
        """Run the flow in another process, once nothing holds of the first one's lease."""
        self.world.clock.advance(lease_end(0, self.prepared.timeout) + 1)
        return self.run(faults)

    def _rival(self, fault: Fault) -> None:
        if fault in BY_A_PERSON:
            self._others.extend(_consenting(self.world, fault))
            _go_on(self.world, self._others)
            return
        with suppress(TokenBrokerError):
            self.world.run_schedule()
        _callers(self.world)

    def ends(self, *met: Cut) -> tuple[Verdict, tuple[str, ...]]:
        """Let the world run on; return how it ended and which rules were broken."""
        settle(self.world, self.prepared, self._others)
        verdict = self._verdict(met)
        faults = {one.fault for one in met}
        return verdict, (*self.watch.complaints, *_complaints(self.world, verdict, faults))

    def _verdict(self, met: Iterable[Cut]) -> Verdict:
        if ended_well(self.world, self.prepared):
            if any(name == "escrow_applied" for name, _ in self.world.events[self._before :]):
                return Verdict.BY_ESCROW
            return Verdict.KEPT if self.came_through else Verdict.BY_RETRY
        # What the last rotation came to decides: earlier ones have been got over.
        heard = [cutter for cutter in self.cutters if cutter.had_answer]
        last = (heard or self.cutters)[-1]
        if last.answer_lost or (last.only_copy and last.ended_at_send):
            return Verdict.NEVER_ARRIVED
        if last.only_copy and not last.could_have_kept:
            return Verdict.ONLY_COPY
        if any((one.step, one.fault) in UNTELLABLE for one in met):
            return Verdict.NEVER_TWICE
        if any(cutter.code_may_be_sent for cutter in self.cutters):
            return Verdict.NEVER_TWICE
        return Verdict.RECOVERABLE


def cells_of(case: Case, dialect: str, *, in_turn: bool = False) -> Iterator[Cell]:
    """Cut a flow at every step in every way that fits the step, or only those whose turn it is."""
    for one in _cuts(case, dialect):
        if not in_turn or is_send(one.step) or DIALECTS[turn(one) % len(DIALECTS)] == dialect:
            yield _cut_once(case, dialect, one)


def turn(*cuts: Cut) -> int:
    """Number cuts, so that dialects that differ only in what Akoya answers can take turns."""
    return sum(one.place + [*Fault].index(one.fault) for one in cuts)


def _cuts(case: Case, dialect: str) -> Iterator[Cut]:
    trial = Trial(case, dialect)
    for place, step in enumerate(trial.run({})):
        for fault in Fault:
            if fault in TOKEN_ENDPOINT_ONLY and not is_send(step):
                continue
            if fault in BY_A_PERSON and trial.prepared.end is not End.CONNECTED:
                continue
            yield Cut(place, step, fault)


def _cut_once(case: Case, dialect: str, one: Cut) -> Cell:
    trial = Trial(case, dialect)
    trial.run({one.place: one.fault})
    return Cell(case.name, dialect, one, *trial.ends(one))


class Watch:
    """Sees every send and every durable write, of all processes, in their order."""

    def __init__(self, world: World) -> None:
        self.complaints: list[str] = []
        self.is_late = False  # what arrives now left long ago
        self._world = world
        self.durable: set[str] = set()
        self._instead_of(world.broker.connections, "land", after=self._written)
        self._instead_of(world.broker.escrow, "put", after=self._written)
        self._instead_of(world.broker.token_endpoint, "refresh", before=self._sent)

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
        token = self._world.broker.seal.open(row).refresh_token.reveal()
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
        dues = [row.due_at for row in world.broker.connections.every() if row.status is REVOKING]
        if not dues:
            return
        world.clock.now = max(world.clock.now, *(float(due or 0) for due in dues))
        world.run_schedule()


def _consenting(world: World, fault: Fault) -> Iterator[Person]:
    """Send out whoever comes in between; no two consents are given in one second."""
    theirs = [row.id for row in world.broker.connections.every() if row.subject == "ada"]
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
    for row in list(world.broker.connections.every()):
        if row.status is Status.ACTIVE:
            with suppress(TokenBrokerError):
                world.hand_out(row.id)


# ── the oracle ───────────────────────────────────────────────────────────────────────────────────


def ended_well(world: World, prepared: Prepared) -> bool:
    """Ask the sandbox, not the broker, how it ended."""
    rows = [world.row(one.id) for one in world.broker.connections.every()]
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


def _complaints(world: World, verdict: Verdict, faults: Container[Fault]) -> Iterator[str]:
    """Name every rule that was broken, whatever the end."""
    is_lost = verdict.startswith("lost, no way")
    for row in world.broker.connections.every():
        yield from left_stuck(world, row)
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
            if is_code and one["status"] == 200 and Fault.DUPLICATED not in faults:
                yield "a code was sent again after it was answered"


def left_stuck(world: World, row: Connection) -> Iterator[str]:
    """Say what keeps a row from ever being tended again, or from going."""
    now = world.clock()
    if row.id in world.memory.going:
        return
    if row.due_at is None or row.due_at <= now:
        yield f"stuck: {row.status} is due at {row.due_at}"
    if row.leased(now):
        yield "stuck: a lease outlives its attempt"
