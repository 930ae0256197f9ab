"""People whose refresh token Akoya refuses, and the minutes that follow."""

from __future__ import annotations

from tests.world import World
from token_broker.domain.connection import Connection, Degraded, Status

DAY = 86_400


def with_day_long_bearers() -> World:
    """Return a world whose bearers live for a day, so that nobody is due by chance."""
    world = World.in_memory()
    world.provider.change_settings({"id_token_lifetime": DAY})
    return world


def people(world: World, count: int) -> list[Connection]:
    """Connect so many people, each with a login of their own."""
    return [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, count + 1)]


def make_due(world: World, connection_id: str) -> None:
    world.broker.connections.make_due(world.row(connection_id), due_at=world.clock())


def end_at_the_bank(world: World, number: int) -> None:
    """Let the bank end the consent of one person."""
    world.provider.expire("consent", f"mikomo/mikomo_{number}")


def suspect_of(world: World, number: int = 1, *, of: int = 1) -> str:
    """Connect people, and let Akoya refuse one of them for good; return who is suspect."""
    made = people(world, of)
    one = made[number - 1]
    end_at_the_bank(world, number)
    make_due(world, one.id)
    world.run_schedule()
    assert world.row(one.id).degraded is Degraded.SUSPECT
    return one.id


def pass_minutes(world: World, minutes: int) -> None:
    """Let the schedule run on each full minute."""
    for _ in range(minutes):
        world.clock.advance(60)
        world.run_schedule()


def minutes_until_ended(world: World, connection_id: str, *, within: int) -> int | None:
    for minute in range(1, within + 1):
        pass_minutes(world, 1)
        if world.row(connection_id).status is not Status.ACTIVE:
            return minute
    return None


def refused_sends(world: World) -> list[int]:
    """Return at which second after the first refusal each send was refused."""
    at = [int(one["received_at"]) for one in world.refused()]
    return [one - at[0] for one in at]
