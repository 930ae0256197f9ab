"""What lies in escrow."""

from __future__ import annotations

from tests.world import World


def escrowed(world: World, connection_id: str, generation: int) -> bool:
    return world.broker.escrow.find(connection_id, generation) is not None
