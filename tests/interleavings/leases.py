"""What a killed holder costs, by the length of its lease."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.interleavings.cuts import Fault, cut
from tests.interleavings.endings import DIALECTS
from tests.interleavings.flows import CASES
from tests.world import World
from token_broker.domain.errors import TokenBrokerError

FLOWS = ("refresh by schedule", "refresh by hand-out")
LIVES = {"15 min": 900, "1 h": 3_600, "24 h": 86_400}
SHORT_LEASE = 95
WATCHED = 600
ASKED_EVERY = 5


@dataclass(frozen=True)
class Cost:
    """What one kill cost: seconds until the row was claimed again, and without a bearer."""

    idle: float
    without: float
    is_lost: bool


def costs(flow: str, dialect: str, life: int, lease: int | None) -> Iterator[Cost]:
    """Kill the holder after each step from its claim on; `lease`: seconds, None as deployed."""
    (case,) = (case for case in CASES if case.name == flow)
    place = 0
    while True:
        world = World.in_memory(dialect)
        world.provider.change_settings({"id_token_lifetime": life})
        prepared = case.prepare(world)
        cutter, _ = cut(world, prepared.flow, {place: Fault.KILLED_AFTER}, timeout=prepared.timeout)
        if not cutter.dead:
            return
        place += 1
        if "connections.claim" in cutter.steps:
            if lease is not None:
                _shorten(world, lease)
            yield _after(world)


def _shorten(world: World, lease: int) -> None:
    """Let the lease that was left behind last for so long; no time has passed since the claim."""
    for row in world.memory.values():
        if row.lease is not None:
            until = world.clock() + lease
            shorter = replace(row, lease=replace(row.lease, until=until), due_at=until)
            world.memory[row.id] = shorter


def _after(world: World) -> Cost:
    killed_at = world.clock.now
    (row,) = world.broker.connections.every()
    held, idle, without = row.lease, None, 0.0
    for second in range(0, WATCHED, ASKED_EVERY):
        world.clock.now = max(world.clock.now, killed_at + second)
        if second % 60 == 0:
            with suppress(TokenBrokerError):
                world.run_schedule()
        try:
            world.hand_out(row.id)
        except TokenBrokerError:
            without += ASKED_EVERY
        if idle is None and (held is None or world.row(row.id).lease != held):
            idle = second if held else 0
    return Cost(WATCHED if idle is None else idle, without, not world.is_alive(world.row(row.id)))


def table() -> Iterator[str]:
    """Print the worst and the sum over all kills, at a lease of 95 s and as deployed."""
    yield "| killed in | bearer | lease | claimed again after | without a bearer | in all | lost |"
    yield "|---" * 7 + "|"
    for flow in FLOWS:
        for name, life in LIVES.items():
            for lease in (SHORT_LEASE, None):
                found = [one for d in DIALECTS for one in costs(flow, d, life, lease)]
                kept = [one for one in found if not one.is_lost]
                idle = max(one.idle for one in kept)
                worst = max(one.without for one in kept)
                total = sum(one.without for one in kept)
                lost = sum(one.is_lost for one in found)
                said = "95 s" if lease else "as deployed"
                yield (
                    f"| {flow} | {name} | {said} | {idle:.0f} s | {worst:.0f} s "
                    f"| {total:.0f} s | {lost} of {len(found)} |"
                )
