"""What others do in between: whoever is overtaken gives way, and no living set is lost by it.

Where a condition of a write decides, the tables are the real adapters'.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.interleavings.flows import sent_out
from tests.interruptions import (
    attempted,
    before,
    before_akoya_acts,
    before_akoya_is_heard,
    cut_at,
    table_away,
)
from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import SetEscrowed, TokenBrokerError

in_both_dialects = pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])


def linked_again(world: World, dialect: str) -> tuple[Connection, Redirect]:
    """Let grace link ada's login and not be confirmed yet."""
    world.provider.change_settings({"dialect": dialect})
    first = world.connect("ada")
    world.clock.advance(5)
    went = world.link("grace")
    return first, went


def holds_what_lives(world: World) -> bool:
    """Tell whether the login has one active connection and Akoya would take its token."""
    return [world.is_alive(row) for row in world.active()] == [True]


# ── by a later link ──────────────────────────────────────────────────────────────────────────────


@in_both_dialects
def test_a_refresh_overtaken_by_a_later_link_does_not_touch_it(dialect: str) -> None:
    world = World.in_memory(dialect)
    first = world.connect("ada")
    world.make_due(first.id)
    went: list[Redirect] = []

    def linked_and_confirmed() -> None:
        went.append(world.link("grace"))
        with suppress(TokenBrokerError):
            world.confirm(went[0], "grace")

    before_akoya_is_heard(world, "refresh_token", linked_and_confirmed)
    world.run_schedule()

    second = world.confirm(went[0], "grace")  # may be repeated

    assert world.row(first.id).status is Status.SUPERSEDED
    winner = world.row(second.id)
    assert winner.status is Status.ACTIVE
    world.clock.now = float(winner.expires_at or 0)
    assert world.hand_out(winner.id).generation == 2


@in_both_dialects
def test_a_renewal_in_flight_is_not_lost_to_an_older_link_that_is_confirmed(
    world: World, dialect: str
) -> None:
    first, went = linked_again(world, dialect)
    world.clock.advance(5)
    renewal = sent_out(world, "ada", first.id)

    before_akoya_acts(world, "authorization_code", attempted(world.confirm, went, "grace"))
    with suppress(TokenBrokerError):
        world.come_back(renewal.address)
    world.pass_minutes(30, lambda: world.come_back(renewal.address))

    assert holds_what_lives(world)
    (row,) = world.active()
    world.clock.now = max(world.clock.now, float(row.expires_at or 0))
    world.hand_out(row.id)


def test_a_renewal_that_lands_between_the_check_and_the_write_of_a_confirm_is_kept(
    world: World,
) -> None:
    first, went = linked_again(world, "gen1")
    world.clock.advance(5)

    before(world.broker.connections, "confirm", lambda: world.link("ada", first.id))
    with suppress(TokenBrokerError):
        world.confirm(went, "grace")

    assert holds_what_lives(world)


def test_a_token_is_not_sent_once_a_reloaded_page_has_landed_its_successor() -> None:
    """The person reloads between the schedule's claim and its look into escrow."""
    world = World.in_memory("gen1")
    one = world.connect()
    world.clock.advance(5)
    renewal = sent_out(world, "ada", one.id)
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(renewal.address)
    world.pass_a_lease()

    before(world.broker.escrow, "find", attempted(world.come_back, renewal.address))
    world.run_schedule()

    assert world.sends() == 0
    assert world.row(one.id).generation == 2


def test_a_confirm_that_meets_a_refresh_of_the_older_one_is_told_when_to_ask_again() -> None:
    """It is refused for as long as the older one is leased."""
    world = World.in_memory()
    first = world.connect("ada")
    world.make_due(first.id)
    told: list[int | None] = []

    def linked_and_confirmed() -> None:
        went = world.link("grace")
        with pytest.raises(TokenBrokerError) as refused:
            world.confirm(went, "grace")
        told.append(refused.value.retry_after)

    before_akoya_acts(world, "refresh_token", linked_and_confirmed)
    world.run_schedule()

    assert [seconds is not None for seconds in told] == [True]


# ── by a disconnect ──────────────────────────────────────────────────────────────────────────────


def test_a_renewal_overtaken_by_a_disconnect_is_told_in_the_words_of_the_readme() -> None:
    world = World.in_memory()
    one = world.connect()
    renewal = sent_out(world, "ada", one.id)

    def disconnected() -> None:
        world.broker.connections.ask_revoke(one.id, now=world.clock())

    before_akoya_acts(world, "authorization_code", disconnected)
    went = world.come_back(renewal.address)

    assert went.result.status in {"pending_confirmation", "active", "declined", "failed"}


# ── by a confirmation ────────────────────────────────────────────────────────────────────────────


def test_a_confirmed_connection_does_not_say_that_it_awaits_its_confirmation() -> None:
    """It is confirmed while a run looks whether it has been."""
    world = World.in_memory()
    went = world.link()

    before(world.broker.connections, "owner_of", lambda: world.confirm(went))
    world.pass_minutes()

    row = world.row(went.result.connection_id)
    assert (row.status, row.last_event) == (Status.ACTIVE, "confirmed")


# ── by a confirmation that comes late ────────────────────────────────────────────────────────────


def confirmed_while_let_go_of(world: World) -> list[Connection]:
    """Confirm a link while the schedule is revoking it; return what was told, if it was."""
    went = world.link()
    world.clock.advance(900)
    told: list[Connection] = []
    late = attempted(lambda: told.append(world.confirm(went)))
    before_akoya_is_heard(world, "/revoke", late)
    world.run_schedule()
    return told


def test_a_link_confirmed_while_the_schedule_lets_go_of_it_is_not_reported_active(
    world: World,
) -> None:
    for one in confirmed_while_let_go_of(world):
        assert world.is_alive(world.row(one.id))


def test_a_login_can_be_linked_again_after_a_late_confirm(world: World) -> None:
    confirmed_while_let_go_of(world)
    world.clock.advance(5)

    assert world.confirm(world.link()).status is Status.ACTIVE


def test_a_later_unconfirmed_link_of_that_login_is_let_go_of(world: World) -> None:
    confirmed_while_let_go_of(world)
    world.clock.advance(5)

    world.link()
    for _ in range(8):  # a quarter of an hour each
        world.clock.advance(901)
        world.run_schedule()

    assert world.living() == set()
    assert {row.status for row in world.broker.connections.every()} <= {Status.REVOKED}


@in_both_dialects
def test_a_transferred_set_is_not_lost_to_a_late_confirm(world: World, dialect: str) -> None:
    """It comes between the transfer and the deletion of the link's row."""
    _, went = linked_again(world, dialect)
    world.clock.advance(901)

    before(world.broker.connections, "delete", attempted(world.confirm, went, "grace"))
    world.run_schedule()

    assert any(world.is_alive(row) for row in world.active())


def test_a_link_whose_set_was_transferred_cannot_be_confirmed_once_that_was_refreshed(
    world: World,
) -> None:
    """The run dies between the transfer and the deletion; the confirm comes two minutes late."""
    _, went = linked_again(world, "gen2-strict")
    world.clock.advance(901)
    with cut_at(world.broker.connections, "delete"):
        world.run_schedule()
    world.pass_minutes()  # refreshes the set that was transferred

    with suppress(TokenBrokerError):
        world.confirm(went, "grace")
    world.pass_minutes(30)

    assert holds_what_lives(world)
    assert world.refused() == []  # no superseded refresh token was sent
