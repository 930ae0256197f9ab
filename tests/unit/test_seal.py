"""A sealed token set opens nowhere but in its own row, as it was, with its own key."""

from __future__ import annotations

import dataclasses

import pytest

from tests.world import World
from token_broker.adapters.seal import KmsSeal
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import BrokerMisconfigured, RowUnreadable
from token_broker.domain.ports import Sealer
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet

TOKENS = TokenSet(refresh_token=SecretText("rt"), id_token=SecretText("it"))


def of_ada(world: World, connection_id: str) -> Sealer:
    return world.broker.seal.prepare(connection_id, subject="ada", connector="mikomo")


@pytest.fixture
def row(world: World) -> Connection:
    connection = Connection(
        id="c" * 32,
        subject="ada",
        connector="mikomo",
        status=Status.ACTIVE,
        linked_at=1,
        updated_at=1,
        generation=3,
    )
    sealed = world.broker.seal.prepare(connection.id, subject="ada", connector="mikomo").seal(
        TOKENS, generation=3
    )
    return dataclasses.replace(connection, sealed=sealed)


def test_a_set_that_was_altered_or_cut_anywhere_does_not_open(
    world: World, row: Connection
) -> None:
    assert row.sealed is not None
    for place in range(0, len(row.sealed), 7):
        altered = bytearray(row.sealed)
        altered[place] ^= 1
        with pytest.raises(BrokerMisconfigured):  # the row's fault, or a key nobody may use
            world.broker.seal.open(dataclasses.replace(row, sealed=bytes(altered)))
        with pytest.raises(RowUnreadable):
            world.broker.seal.open(dataclasses.replace(row, sealed=row.sealed[:place]))


def test_a_set_of_another_environment_does_not_open(world: World, row: Connection) -> None:
    production = KmsSeal(world.aws.kms, world.aws.key_arn, environment="production")
    with pytest.raises(RowUnreadable):
        production.open(row)


def test_every_write_has_a_key_and_a_nonce_of_its_own(world: World, row: Connection) -> None:
    again = of_ada(world, row.id).seal(TOKENS, generation=3)
    assert row.sealed is not None
    assert again[:200] != row.sealed[:200]
    sealer = of_ada(world, row.id)
    assert sealer.seal(TOKENS, generation=3) != sealer.seal(TOKENS, generation=3)


def test_neither_token_stands_in_what_is_stored(world: World) -> None:
    long = TokenSet(refresh_token=SecretText("rt-" + "x" * 40), id_token=SecretText("y" * 40))
    sealed = of_ada(world, "c" * 32).seal(long, generation=1)
    assert b"xxxx" not in sealed
    assert b"yyyy" not in sealed


def test_no_two_owners_of_a_set_are_bound_to_the_same_text(world: World, row: Connection) -> None:
    sealer = world.broker.seal.prepare(row.id, subject="ada/mi", connector="komo")
    row = dataclasses.replace(row, sealed=sealer.seal(TOKENS, generation=3))
    with pytest.raises(RowUnreadable):
        world.broker.seal.open(dataclasses.replace(row, subject="ada", connector="mi/komo"))
