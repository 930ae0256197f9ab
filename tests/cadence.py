"""Days in the life of one connection: who asks when, and how many refresh tokens that spends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.world import World

MINUTE, HOUR, DAY = 60, 3_600, 86_400
LIVES = {"15 min": 900, "1 h": HOUR, "24 h": DAY}


@dataclass(frozen=True)
class Days:
    """What some days cost, and what callers met in them."""

    days: int
    rotations: int
    waits: int  # hand-outs that waited for a refresh of their own
    notes: int  # writes that noted an ask, beside those of the refreshes

    @property
    def a_day(self) -> float:
        return self.rotations / self.days


Asks = Callable[[int], list[int]]
"""When somebody asks on a day, in seconds after its midnight."""


def nightly(_: int) -> list[int]:
    return [2 * HOUR]


def idle(_: int) -> list[int]:
    return []


def every(seconds: int) -> Asks:
    return lambda _: list(range(0, DAY, seconds))


def live(life: int, asks: Asks, *, days: int, says_next_use: bool = False) -> Days:
    """Let a connection live; count from the midnight after it was linked."""
    world = World.in_memory()
    world.provider.change_settings({"id_token_lifetime": life})
    one = world.connect().id
    begins = (world.clock() // DAY + 1) * DAY
    _pass(world, one, until=begins)
    sent, waits, notes = world.sends(), 0, 0
    make_due = world.broker.connections.make_due

    def noted(*args: object, **of: object) -> None:
        nonlocal notes
        notes += 1
        make_due(*args, **of)  # type: ignore[arg-type]

    object.__setattr__(world.broker.connections, "make_due", noted)
    for day in range(days):
        for after in asks(day):
            _pass(world, one, until=begins + day * DAY + after)
            before = world.sends()
            next_use = world.clock() + DAY if says_next_use else None
            assert world.hand_out(one, next_use=next_use).expires_at > world.clock()
            waits += world.sends() - before
        _pass(world, one, until=begins + (day + 1) * DAY)
    return Days(days=days, rotations=world.sends() - sent, waits=waits, notes=notes)


def _pass(world: World, one: str, *, until: int) -> None:
    """Let the schedule run on each full minute on which the connection is due."""
    while (due_at := world.row(one).due_at or 0) <= until - MINUTE:
        world.clock.now = float(max(world.clock() + 1, -(-due_at // MINUTE) * MINUTE))
        world.run_schedule()
    world.clock.now = float(until)
