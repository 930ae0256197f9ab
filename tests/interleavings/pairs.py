"""Two faults in one flow: the second meets the same process later, or the one that comes after it.

The first is one that leaves something behind: it changes the steps that follow, or it is a fault
of a write or of a request to Akoya. The second meets each call that follows, the first time it is
made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tests.interleavings.cuts import Fault, is_send
from tests.interleavings.endings import (
    BY_A_PERSON,
    DIALECTS,
    TOKEN_ENDPOINT_ONLY,
    Cell,
    Cut,
    Trial,
    turn,
)
from tests.interleavings.flows import CASES, Case, End

FLOWS = (
    "exchange",
    "refresh by schedule",
    "refresh by hand-out",
    "refresh of a rejected bearer",
    "disconnect",
)
PAIRED = tuple(case for case in CASES if case.name in FLOWS)
READS = frozenset(  # calls that leave nothing behind; any other is taken for a write
    {
        "authorizations.get",
        "client_secret.read",
        "client_secret.reread",
        "connections.due",
        "connections.expiries",
        "connections.get",
        "connections.look",
        "connections.owner_of",
        "connections.recorded_identity",
        "connections.table_id",
        "control.breaker",
        "control.witness",
        "escrow.find",
        "escrow.put_before",
        "seal.open",
        "seal.prepare",
    }
)
OF_A_READ = frozenset({Fault.REFUSED, Fault.TIMED_OUT_BEFORE, Fault.RACED})
BY_OTHERS = BY_A_PERSON | {Fault.RACED}
SLOW = frozenset({Fault.DEADLINE, Fault.AWAY})
ENDS = frozenset({Fault.KILLED_AFTER, Fault.AWAY_KILLED})  # another process goes on
# Of a write, throttled is timed out without effect, and delivered twice is once.
OF_AWS = frozenset(Fault) - TOKEN_ENDPOINT_ONLY - {Fault.THROTTLED, Fault.DUPLICATED}


class Pair(NamedTuple):
    """Two faults of one flow."""

    first: Cut
    second: Cut
    by_another: bool  # the second one meets another process


def pairs_of(case: Case, *, sample: slice = slice(None)) -> Iterator[Cell]:
    """Cut a flow twice, in every pair of ways that says something, or in a sample of them."""
    for dialect, (first, second, by_another) in list(thinned(case))[sample]:
        trial = Trial(case, dialect)
        if by_another:
            trial.run({first.place: first.fault})
            trial.run_again({second.place: second.fault})
        else:
            trial.run({first.place: first.fault, second.place: second.fault})
        verdict, complaints = trial.ends(first, second)
        yield Cell(case.name, dialect, first, verdict, complaints, second, by_another)


def thinned(case: Case) -> Iterator[tuple[str, Pair]]:
    """List the pairs in which a request to Akoya fails in every dialect; any other in one.

    The dialects in which such a pair can happen take turns: they differ in what Akoya answers.
    """
    dialects: dict[Pair, list[str]] = defaultdict(list)
    for dialect in DIALECTS:
        for pair in pairs(case, dialect):
            dialects[pair].append(dialect)
    for pair, possible in dialects.items():
        is_sent = is_send(pair.first.step) or is_send(pair.second.step)
        its_turn = possible[turn(pair.first, pair.second) % len(possible)]
        yield from ((dialect, pair) for dialect in (possible if is_sent else [its_turn]))


def pairs(case: Case, dialect: str) -> Iterator[Pair]:
    """List the pairs of a dialect."""
    trial = Trial(case, dialect)
    plain = trial.run({})
    for place, step in enumerate(plain):
        for fault in filter(_first_faults(step, trial.prepared.end).__contains__, Fault):
            first, after = Cut(place, step, fault), Trial(case, dialect)
            steps = after.run({place: fault})
            if steps == plain and (step in READS or fault in BY_OTHERS):
                continue
            for second in _second_cuts(steps, place + 1):
                yield Pair(first, second, by_another=False)
            if fault in ENDS:
                for second in _second_cuts(after.run_again({}), 0):
                    yield Pair(first, second, by_another=True)


def _first_faults(step: str, end: End) -> frozenset[Fault]:
    if step in READS:
        return OF_A_READ | SLOW
    faults = frozenset(Fault) if is_send(step) else OF_AWS
    return faults - {Fault.KILLED_BEFORE} - (BY_A_PERSON if end is not End.CONNECTED else set())


def _second_cuts(steps: list[str], begin: int) -> Iterator[Cut]:
    for place, step in enumerate(steps):
        if place < begin or step in steps[begin:place]:
            continue
        faults = frozenset(Fault) if is_send(step) else OF_AWS
        for fault in Fault:
            if fault in BY_A_PERSON or fault not in (OF_A_READ if step in READS else faults):
                continue
            if fault is Fault.KILLED_BEFORE and place > begin and not is_send(step):
                continue  # as killed after the write before
            yield Cut(place, step, fault)
