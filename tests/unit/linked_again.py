"""A login that is connected, and is linked again by its own subject."""

from __future__ import annotations

from tests.world import World
from token_broker.domain.authorization import Result
from token_broker.domain.connection import Connection
from token_broker.use_cases.attempt import claim_as_seen, postpone


def connected(dialect: str = "gen1") -> tuple[World, Connection]:
    world = World.in_memory(dialect)
    first = world.connect()
    world.clock.advance(5)
    return world, first


def told(first: Connection) -> Result:
    return Result(status="active", connection_id=first.id)


def linked_while_leased(world: World, first: Connection) -> str:
    """Link again while another process has the connection; return the id first given.

    Its row is left with the set, which is owed to the connection.
    """
    leased = claim_as_seen(world.broker, world.row(first.id))
    begun = world.begin()
    redirect = world.come_back(world.consent(world.open(begun)))
    assert redirect.result == told(first)
    assert world.row(first.id).generation == first.generation
    assert world.row(begun.connection_id).superseded_by == first.id
    postpone(world.broker, leased, due_at=first.due_at or 0, event="released")
    return begun.connection_id
