"""One bank login under two connections: only one of them may use it, and none is lost by it."""

from __future__ import annotations

import pytest

from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ReauthorizationRequired,
    UpstreamUnavailable,
)
from token_broker.use_cases import connections

DIALECTS = ("gen1", "gen2-strict")  # linking again ends the older tokens, or does not


@pytest.fixture(params=DIALECTS)
def linked(world: World, request: pytest.FixtureRequest) -> World:
    """A world in which ada's connection is linked again by grace, who has not confirmed."""
    world.provider.change_settings({"dialect": request.param})
    return world


def link_again(world: World, subject: str = "grace") -> tuple[Connection, Redirect]:
    first = world.connect("ada")
    world.clock.advance(5)
    return first, world.come_back(world.consent(world.open(world.begin(subject))))


def refused(world: World) -> int:
    requests = world.provider.ledger()["requests"]
    return sum(one["endpoint"] == "token" and one["status"] != 200 for one in requests)


@pytest.mark.parametrize("subject", ["ada", "grace"])
def test_the_later_link_supersedes_the_earlier_once_it_is_confirmed(
    linked: World, subject: str
) -> None:
    first, went = link_again(linked, subject)

    second = linked.confirm(went, subject)

    loser = linked.row(first.id)
    assert (loser.status, loser.sealed) == (Status.SUPERSEDED, None)
    with pytest.raises(ReauthorizationRequired):
        linked.hand_out(first.id)
    assert linked.hand_out(second.id).generation == 1
    linked.make_due(second.id)
    linked.run_schedule()
    assert linked.hand_out(second.id).generation == 2
    assert refused(linked) == 0


def test_between_link_and_confirmation_the_older_one_sends_nothing(linked: World) -> None:
    first, _ = link_again(linked)
    assert first.due_at is not None

    assert linked.hand_out(first.id).generation == 1  # still valid: served
    linked.clock.now = float(first.due_at)
    linked.run_schedule()
    linked.clock.now = float(first.expires_at or 0) - 1
    linked.run_schedule()
    with pytest.raises(UpstreamUnavailable):
        linked.hand_out(first.id, rejected=1)

    assert linked.sends() == 0


def test_an_unconfirmed_link_gives_its_set_to_the_connection_that_had_the_login(
    linked: World,
) -> None:
    first, went = link_again(linked)
    linked.clock.advance(900)
    linked.run_schedule()

    with pytest.raises(ConnectionNotFound):
        linked.row(went.result.connection_id)
    assert linked.hand_out(first.id).generation >= 2
    linked.clock.advance(700)
    linked.run_schedule()
    assert linked.row(first.id).status is Status.ACTIVE
    assert refused(linked) == 0
    live = [grant for grant in linked.provider.grants() if not grant.get("ended")]
    assert live


def test_a_superseded_connection_comes_back_by_a_consent_of_its_own(linked: World) -> None:
    first, went = link_again(linked)
    second = linked.confirm(went, "grace")
    linked.clock.advance(5)

    again = linked.come_back(
        linked.consent(linked.open(linked.begin("ada", connection_id=first.id)))
    )

    assert again.result.status == "active"
    assert linked.row(first.id).status is Status.ACTIVE
    assert linked.row(second.id).status is Status.SUPERSEDED
    linked.make_due(first.id)
    linked.run_schedule()
    assert linked.row(first.id).status is Status.ACTIVE
    assert refused(linked) == 0


def test_a_link_overtaken_by_a_later_consent_cannot_be_confirmed(linked: World) -> None:
    first, went = link_again(linked)
    linked.clock.advance(5)
    linked.come_back(linked.consent(linked.open(linked.begin("ada", connection_id=first.id))))

    with pytest.raises(ReauthorizationRequired):
        linked.confirm(went, "grace")
    linked.clock.advance(900)
    linked.run_schedule()

    assert linked.hand_out(first.id).generation >= 2
    with pytest.raises(ConnectionNotFound):
        linked.row(went.result.connection_id)
    assert refused(linked) == 0


def test_disconnecting_an_unconfirmed_link_leaves_the_older_connection_alive(
    linked: World,
) -> None:
    first, went = link_again(linked)
    connections.disconnect(
        linked.on.connections,
        linked.clock,
        linked.on.record,
        connection_id=went.result.connection_id,
    )
    linked.run_schedule()
    linked.clock.advance(900)
    linked.run_schedule()

    assert linked.row(went.result.connection_id).status is Status.REVOKED
    linked.clock.advance(600)
    assert linked.hand_out(first.id).generation >= 2
    assert refused(linked) == 0


def test_disconnecting_a_superseded_connection_does_not_touch_the_consent(linked: World) -> None:
    first, went = link_again(linked)
    second = linked.confirm(went, "grace")
    linked.on.connections.ask_revoke(first.id, now=linked.clock())
    linked.run_schedule()

    assert linked.row(first.id).status is Status.REVOKED
    linked.clock.now = float(second.expires_at or 0)
    assert linked.hand_out(second.id).generation == 2


def test_the_pointer_of_a_revoked_connection_is_forgotten(world: World) -> None:
    one = world.connect()
    login = world.row(one.id).login
    assert login is not None
    owner = world.on.connections.owner_of(login)
    assert owner is not None
    assert owner.id == one.id

    world.on.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert world.on.connections.owner_of(login) is None
