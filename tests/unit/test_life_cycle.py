"""The main job from end to end, in one process: connect, keep fresh, hand out, let go."""

from __future__ import annotations

import pytest

from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import ConnectionGone


def test_a_confirmed_connection_hands_out_its_bearer(world: World) -> None:
    connection = world.connect()

    bearer = world.hand_out(connection.id)

    assert (connection.status, bearer.generation, bearer.connector) == (
        Status.ACTIVE,
        1,
        "mikomo",
    )
    assert bearer.expires_at > world.clock()


def test_the_schedule_refreshes_what_is_due_and_nothing_else(world: World) -> None:
    connection = world.connect()

    world.run_schedule()
    assert world.sends() == 0

    world.make_due(connection.id)
    world.run_schedule()
    assert world.sends() == 1
    assert world.hand_out(connection.id).generation == 2


def test_a_disconnected_connection_is_revoked_at_akoya_and_erased(world: World) -> None:
    connection = world.connect()

    world.broker.connections.ask_revoke(connection.id, now=world.clock())
    with pytest.raises(ConnectionGone):
        world.hand_out(connection.id)
    world.run_schedule()

    row = world.row(connection.id)
    assert (row.status, row.sealed, row.login, row.due_at) == (Status.REVOKED, None, None, None)
    assert [grant["ended"] for grant in world.provider.grants()] != [None]
