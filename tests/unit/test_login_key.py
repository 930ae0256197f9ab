"""A login is hashed under its table's own key; what is hashed under two keys is not compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interruptions import before
from tests.wiring import LOGIN_KEY
from tests.world import World
from token_broker.domain.connection import Connection, Status, are_comparable, login_of
from token_broker.domain.errors import UpstreamUnavailable
from token_broker.domain.secret_text import SecretText
from token_broker.store import identity

LIFE = 900
ANOTHER = "a" * 43
ONE = {"environment": "sandbox", "client_id": "client", "connector": "mikomo", "sub": "ada"}


def change_key(world: World) -> None:
    """Let the table have another key than the logins in it, as after rows came from elsewhere."""
    world.memory.spoil(identity.ID, {"login_key": ANOTHER})


def by_a_caller(world: World, connection_id: str) -> None:
    world.clock.advance(LIFE)
    world.hand_out(connection_id)


def by_the_schedule(world: World, connection_id: str) -> None:
    world.make_due(connection_id)
    world.run_schedule()


def owner_of(world: World, row: Connection) -> str | None:
    owner = world.broker.connections.owner_of(row.login or "")
    return owner.id if owner else None


def test_who_knows_a_persons_name_at_the_bank_cannot_hash_it_without_the_tables_key() -> None:
    assert login_of(LOGIN_KEY, **ONE) == login_of(SecretText(LOGIN_KEY.reveal()), **ONE)
    assert login_of(LOGIN_KEY, **ONE) != login_of(LOGIN_KEY, **ONE | {"sub": "grace"})
    assert login_of(LOGIN_KEY, **ONE)[9:] != login_of(SecretText(ANOTHER), **ONE)[9:]


def test_a_login_names_its_key_and_says_nothing_of_it() -> None:
    login = login_of(LOGIN_KEY, **ONE)
    other = login_of(SecretText(ANOTHER), **ONE)

    assert are_comparable(login, login_of(LOGIN_KEY, **ONE | {"sub": "grace"}))
    assert not are_comparable(login, other)
    assert not are_comparable(login, None)
    assert LOGIN_KEY.reveal()[:4] not in login


@pytest.mark.parametrize("refresh", [by_a_caller, by_the_schedule])
def test_a_row_hashed_under_another_key_is_hashed_anew_as_its_next_set_lands(
    memory: World, refresh: Callable[[World, str], None]
) -> None:
    one = memory.connect()
    change_key(memory)

    refresh(memory, one.id)

    row = memory.row(one.id)
    assert (row.status, row.generation, row.suspect) == (Status.ACTIVE, 2, None)
    assert row.login == login_of(SecretText(ANOTHER), **ONE | _named(memory, one))
    assert owner_of(memory, row) == one.id
    assert not memory.recorded("subject_changed")


def _named(world: World, one: Connection) -> dict[str, str]:
    row = world.broker.connections.get(one.id)
    claims = world.broker.id_tokens.claims(world.broker.seal.open(row).id_token)
    assert claims is not None
    return {"client_id": world.broker.client_id, "sub": claims.sub}


def test_from_then_on_the_tokens_of_another_login_are_noticed_again(memory: World) -> None:
    one = memory.connect()
    change_key(memory)
    by_the_schedule(memory, one.id)

    memory.provider.arm({"fault": "sub_changed", "times": 1})
    by_the_schedule(memory, one.id)

    assert len(memory.recorded("subject_changed")) == 1


@pytest.mark.parametrize("user", ["mikomo_1", "mikomo_2"])
def test_a_renewal_that_cannot_be_compared_is_confirmed_before_it_counts(
    memory: World, user: str
) -> None:
    """A start link can be forwarded: nobody's login lands in a connection on the word of a link."""
    one = memory.connect()
    change_key(memory)

    went = memory.come_back(memory.consent(memory.open(memory.begin(connection_id=one.id)), user))

    assert went.result.status == "pending_confirmation"
    assert went.result.previous_connection_id == one.id
    assert (memory.row(one.id).status, memory.row(one.id).generation) == (Status.ACTIVE, 1)
    assert not memory.recorded("login_changed")
    assert memory.hand_out(memory.confirm(went).id).generation == 1


def test_once_it_is_hashed_anew_the_earlier_of_two_links_to_a_login_gives_way(
    memory: World,
) -> None:
    memory.provider.change_settings({"dialect": "gen2-strict"})
    one = memory.connect()
    change_key(memory)
    memory.clock.advance(60)
    other = memory.connect("grace")
    assert memory.row(one.id).status is Status.ACTIVE

    by_a_caller(memory, one.id)

    assert memory.row(one.id).status is Status.SUPERSEDED
    assert owner_of(memory, memory.row(other.id)) == other.id


def test_a_renewal_of_a_row_that_was_hashed_anew_lands_in_it(memory: World) -> None:
    one = memory.connect()
    change_key(memory)
    by_the_schedule(memory, one.id)

    went = memory.come_back(memory.consent(memory.open(memory.begin(connection_id=one.id))))

    assert (went.result.status, went.result.connection_id) == ("active", one.id)


@pytest.mark.parametrize("odd", [None, "", 5, b"\xff", ["a"]])
def test_a_key_that_does_not_read_is_made_anew_and_holds_no_send(
    memory: World, odd: object
) -> None:
    one = memory.connect()
    memory.memory.spoil(identity.ID, {"login_key": odd})

    by_a_caller(memory, one.id)

    assert memory.memory.raw(identity.ID)["login_key"] == LOGIN_KEY.reveal()
    assert owner_of(memory, memory.row(one.id)) == one.id
    assert memory.row(one.id).generation == 2


def test_the_schedule_says_whose_a_login_is_where_a_caller_could_not(memory: World) -> None:
    one = memory.connect()
    change_key(memory)

    def away() -> None:
        raise UpstreamUnavailable(detail="away")

    before(memory.broker.connections, "owner_of", away)
    by_a_caller(memory, one.id)
    by_a_caller(memory, one.id)
    assert owner_of(memory, memory.row(one.id)) is None

    by_the_schedule(memory, one.id)

    assert owner_of(memory, memory.row(one.id)) == one.id


def test_no_event_speaks_of_the_key_or_of_a_login(memory: World) -> None:
    one = memory.connect()
    by_a_caller(memory, one.id)
    change_key(memory)
    by_the_schedule(memory, one.id)

    said = repr(memory.events)
    for secret in (LOGIN_KEY.reveal(), ANOTHER, memory.row(one.id).login or "none"):
        assert secret not in said
