"""What is over goes by itself, as DynamoDB's TTL removes it; what may get tokens stays."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.acts import TOMBSTONE
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import ConnectionNotFound, TokenBrokerError
from token_broker.domain.refresh_policy import ENDED_ROW_KEPT
from token_broker.store.reading import pointer_of
from token_broker.use_cases.connections import show


def erased(memory: World) -> str:
    """Connect, let Akoya refuse until the end, and let the quarantine pass; return the id."""
    one = memory.connect()
    memory.provider.expire("refresh_token")
    memory.pass_refusals(one.id)
    memory.clock.advance(7 * 86_400)
    memory.run_schedule()
    assert memory.row(one.id).sealed is None
    return one.id


def login_of(memory: World, connection_id: str) -> str:
    return memory.row(connection_id).login or ""


def test_an_erased_connection_is_tended_no_more_and_goes_a_year_later(memory: World) -> None:
    connection_id = erased(memory)

    memory.clock.advance(86_400)
    run = memory.run_schedule()

    year_over = memory.clock() - 86_400 + ENDED_ROW_KEPT
    assert run.tended == []
    assert memory.memory.going[connection_id] == year_over
    assert memory.memory.going[pointer_of(login_of(memory, connection_id))] == year_over


def test_a_tombstone_goes_when_its_days_are_over(memory: World) -> None:
    one = memory.connect()
    memory.broker.connections.ask_revoke(one.id, now=memory.clock())
    memory.run_schedule()

    assert memory.memory.going == {one.id: memory.clock() + TOMBSTONE}


def test_a_superseded_connection_is_erased_at_once_even_in_its_quarantine(memory: World) -> None:
    first = memory.connect()
    memory.provider.arm({"fault": "grant_dead"})
    assert memory.pass_refusals(first.id).sealed is not None
    memory.provider.disarm()
    memory.connect("eve")

    memory.run_schedule()

    row = memory.row(first.id)
    assert (row.status, row.reason, row.sealed) == (Status.SUPERSEDED, Reason.SUPERSEDED, None)
    assert first.id in memory.memory.going


def test_a_row_that_should_be_gone_is_shown_and_renewed_while_it_is_there(memory: World) -> None:
    connection_id = erased(memory)
    memory.clock.advance(ENDED_ROW_KEPT + 86_400)

    assert (
        show(memory.broker.connections, connection_id=connection_id).status
        is Status.REAUTH_REQUIRED
    )
    assert memory.link(connection_id=connection_id).result.status == "active"

    assert memory.memory.going == {}
    assert memory.hand_out(connection_id).generation == 2


def test_a_renewal_that_fails_lets_the_row_go_again(memory: World) -> None:
    connection_id = erased(memory)
    memory.provider.arm({"fault": "error_before_commit", "on": ["exchange"]})
    address = memory.consent(memory.open(memory.begin(connection_id=connection_id)))
    with suppress(TokenBrokerError):
        memory.come_back(address)

    memory.pass_a_lease()
    memory.run_schedule()

    row = memory.row(connection_id)
    assert (row.status, row.due_at) == (Status.REAUTH_REQUIRED, None)
    assert memory.memory.going[connection_id] == memory.clock() + ENDED_ROW_KEPT


def test_a_renewal_whose_row_is_gone_by_then_uses_up_no_code(memory: World) -> None:
    connection_id = erased(memory)
    address = memory.consent(memory.open(memory.begin(connection_id=connection_id)))
    del memory.memory[connection_id]

    with pytest.raises(ConnectionNotFound):
        memory.come_back(address)

    assert memory.sends("authorization_code") == 1  # of the first link


@pytest.mark.parametrize("goes_first", ["row", "pointer", "neither"])
def test_what_is_over_keeps_nobody_from_linking_its_login(memory: World, goes_first: str) -> None:
    connection_id = erased(memory)
    login = login_of(memory, connection_id)
    if goes_first == "row":
        del memory.memory[connection_id]
    if goes_first == "pointer":
        memory.memory.own(login, None)

    again = memory.connect("eve")

    owner = memory.broker.connections.owner_of(login)
    assert owner
    assert (owner.id, owner.is_going) == (again.id, False)
    assert memory.hand_out(again.id).generation == 1
