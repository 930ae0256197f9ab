"""What is over goes by the table's TTL; what holds a token set, or may get one, never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.contract.rows import ID, NOW, OTHER, active, claim, landing, linking, owner_id
from tests.world import World
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import StaleGeneration
from token_broker.store.connections import Connections
from token_broker.store.rows import Absent

GONE = NOW + 99_000


@pytest.fixture
def table(any_world: World) -> Connections:
    found = any_world.broker.connections
    assert isinstance(found, Connections)
    return found


def gone_at(table: Connections, row_id: str = ID) -> int | None:
    """Return when the table removes a row by itself; None: never."""
    found = table._rows.get(row_id)
    assert found
    when = found.get("gone_at")
    assert isinstance(when, int) or when is None
    return when


def erased(table: Connections) -> Connection:
    """Add an ended connection that owned its login and whose set is erased."""
    table.own(active(table), owner=None, now=NOW)
    held = claim(table)
    table.end(held, reason=Reason.GRANT_DEAD, due_at=NOW + 700, keep_until=NOW + 700, now=NOW + 600)
    table.erase_token_set(claim(table, "erases", now=NOW + 700), gone_at=GONE, now=NOW + 700)
    return table.get(ID)


def buried(table: Connections) -> Connection:
    """Add the tombstone of a connection that owned its login."""
    table.own(active(table), owner=None, now=NOW)
    table.ask_revoke(ID, now=NOW)
    table.mark_revoked(claim(table), gone_at=GONE, now=NOW + 600)
    return table.get(ID)


@pytest.mark.parametrize("over", [erased, buried])
def test_what_is_over_goes_by_itself_and_is_tended_no_more(
    table: Connections, over: Callable[[Connections], Connection]
) -> None:
    row = over(table)

    assert (row.sealed, row.due_at, gone_at(table)) == (None, None, GONE)
    assert table.due(now=GONE, limit=9) == []


@pytest.mark.parametrize("over", [erased, buried])
def test_a_set_that_lands_late_keeps_its_row_and_has_it_tended(
    table: Connections, over: Callable[[Connections], Connection]
) -> None:
    over(table)

    landed = table.land(landing(2), lease_id="lost", status=Status.ACTIVE, due_at=NOW + 900)

    assert (landed.sealed, gone_at(table)) == (b"sealed", None)
    assert table.due(now=NOW, limit=9) == [(ID, NOW, "mikomo")]


def test_a_row_that_is_claimed_does_not_go_under_whoever_awaits_a_set(table: Connections) -> None:
    erased(table)

    held = claim(table, "renewal", now=NOW + 800, generation=1, ignore_back_off=True)

    assert gone_at(table) is None
    assert table.due(now=held.due_at or 0, limit=9) == [(ID, held.due_at, "mikomo")]


def test_the_pointer_of_a_login_goes_with_the_row_it_names(table: Connections) -> None:
    erased(table)

    owner = table.owner_of("login")
    assert owner
    assert (owner.id, owner.is_going, gone_at(table, "login#login")) == (ID, True, GONE)


def test_a_connection_that_comes_back_keeps_the_pointer_of_its_login(table: Connections) -> None:
    erased(table)
    claim(table, "renewal", now=NOW + 800, generation=1, ignore_back_off=True)
    back = table.land(landing(2), lease_id="renewal", status=Status.ACTIVE, due_at=NOW + 900)

    table.own(back, owner=table.owner_of("login"), now=NOW + 800)

    owner = table.owner_of("login")
    assert owner
    assert (owner.id, owner.is_going, gone_at(table, "login#login")) == (ID, False, None)


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_pointer_that_is_still_there_keeps_nobody_from_the_login(
    table: Connections, *, is_gone: bool
) -> None:
    erased(table)
    if is_gone:
        table._rows.delete(ID, condition=~Absent("id"))
    table.create(linking(id=OTHER))
    other = table.land(
        landing(connection_id=OTHER), lease_id="first", status=Status.ACTIVE, due_at=NOW + 900
    )

    table.own(other, owner=table.owner_of("login"), now=NOW + 900)

    assert (owner_id(table), gone_at(table, "login#login")) == (OTHER, None)


def linked_again(table: Connections) -> None:
    """Let ID own the login, and OTHER have it as well."""
    table.own(active(table), owner=None, now=NOW)
    table.create(linking(id=OTHER))
    table.land(
        landing(connection_id=OTHER), lease_id="first", status=Status.ACTIVE, due_at=NOW + 900
    )


def test_what_is_erased_leaves_the_pointer_to_whom_the_login_is_by_now(table: Connections) -> None:
    linked_again(table)
    table.own(table.get(OTHER), owner=table.owner_of("login"), now=NOW + 1)

    table.erase_token_set(claim(table), gone_at=GONE, now=NOW + 600)

    assert (owner_id(table), gone_at(table, "login#login")) == (OTHER, None)


def test_what_is_revoked_takes_the_pointer_along_if_it_owns_the_login(table: Connections) -> None:
    linked_again(table)
    held = replace(claim(table), id=OTHER)
    with pytest.raises(StaleGeneration):
        table.mark_revoked(held, gone_at=GONE, now=NOW + 600)
    assert owner_id(table) == ID

    table.mark_revoked(replace(held, id=ID), gone_at=GONE, now=NOW + 600)

    assert table.owner_of("login") is None
