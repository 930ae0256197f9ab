"""What comes in between a link of a login that is connected already and the transfer of its set.

Judged by Akoya's own ledger, in each dialect.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest

from operations import transfer
from tests.interleavings.cuts import KilledError
from tests.interleavings.endings import DIALECTS
from tests.interruptions import before, before_akoya_acts, table_away
from tests.spoiled import spoil
from tests.unit.linked_again import connected, linked_while_leased
from tests.world import World
from token_broker.domain.connection import Connection
from token_broker.domain.errors import UpstreamUnavailable
from token_broker.use_cases.attempt import claim_as_seen, postpone

in_all_dialects = pytest.mark.parametrize("dialect", DIALECTS)
LEASE_OF_A_TRANSFER = 60 + 10 + 1


def assert_goes_on(world: World, connection_id: str) -> None:
    """Let the schedule run, and see that Akoya takes what the connection holds."""
    world.pass_minutes(3)
    assert_lives(world, connection_id)
    world.hand_out(connection_id, rejected=world.row(connection_id).generation)
    assert world.refused() == []


def assert_lives(world: World, connection_id: str) -> None:
    assert [one.id for one in world.active()] == [connection_id]
    assert world.is_alive(world.row(connection_id))
    assert world.recorded("reauthorization_required") == []


def revokes(world: World, link: Connection) -> int:
    """Count how often Akoya was asked to revoke the set a link held."""
    token = quote(world.broker.seal.open(link).refresh_token.reveal(), safe="")
    sent = [one for one in world.http.sent if str(one.url).endswith("/revoke")]
    return sum(f"token={token}" in str(one.body) for one in sent)


@in_all_dialects
def test_a_transfer_that_lasts_longer_than_its_lease_replaces_no_set_that_came_of_it(
    dialect: str,
) -> None:
    """The callback hangs; a run makes the transfer, and a caller has the set refreshed."""
    world, first = connected(dialect)
    begun = world.begin()
    address = world.consent(world.open(begun))

    def transferred_and_refreshed() -> None:
        world.clock.advance(LEASE_OF_A_TRANSFER)
        world.run_schedule()
        assert world.row(first.id).generation == 2
        world.hand_out(first.id, rejected=2)
        assert world.row(first.id).generation == 3

    table = world.broker.connections
    before(table, "land", lambda: before(table, "land", transferred_and_refreshed))
    world.come_back(address)

    assert_goes_on(world, first.id)


@in_all_dialects
def test_of_two_links_the_later_one_wins_though_the_earlier_ones_transfer_hangs(
    dialect: str,
) -> None:
    world, first = connected(dialect)
    begun = world.begin()
    address = world.consent(world.open(begun))

    def linked_once_more() -> None:
        world.clock.advance(LEASE_OF_A_TRANSFER)
        world.link()
        world.run_schedule()
        world.hand_out(first.id, rejected=world.row(first.id).generation)

    table = world.broker.connections
    before(table, "land", lambda: before(table, "land", linked_once_more))
    world.come_back(address)

    assert_goes_on(world, first.id)


@in_all_dialects
def test_a_renewal_whose_landing_was_not_heard_of_replaces_no_set_that_came_of_it(
    dialect: str,
) -> None:
    world, first = connected(dialect)
    table = world.broker.connections
    land, left = table.land, [1]

    def unheard(*args: Any, **how: Any) -> Connection:
        landed = land(*args, **how)
        if left:
            left.pop()
            world.hand_out(first.id, rejected=2)
            raise UpstreamUnavailable(detail="its answer was lost")
        return landed

    object.__setattr__(table, "land", unheard)
    world.link(connection_id=first.id)
    assert_goes_on(world, first.id)


@pytest.mark.parametrize("last", [0, 1])
@in_all_dialects
def test_of_two_links_that_wait_the_later_one_goes_on_in_either_order(
    dialect: str, last: int
) -> None:
    world, first = connected(dialect)
    leased = claim_as_seen(world.broker, world.row(first.id))
    links = []
    for _ in range(2):
        begun = world.begin()
        world.come_back(world.consent(world.open(begun)))
        links.append(begun.connection_id)
        world.clock.advance(2)
    later = world.row(links[1]).consent
    postpone(world.broker, leased, due_at=first.due_at or 0, event="released")
    world.memory.spoil(links[last], {"due_at": world.clock() + 200})

    world.pass_minutes(6)

    assert_lives(world, first.id)
    assert world.row(first.id).consent == later
    assert [world.row(one).sealed for one in links] == [None, None]
    assert world.refused() == []


# ── a disconnect ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", ["before", "claim", "land"])
@in_all_dialects
def test_a_disconnect_before_or_amid_the_transfer_revokes_the_set_of_the_link_once(
    step: str, dialect: str
) -> None:
    world, first = connected(dialect)
    own = linked_while_leased(world, first)
    link, table = world.row(own), world.broker.connections

    def disconnect() -> None:
        table.ask_revoke(first.id, now=world.clock())

    if step == "before":
        disconnect()
    elif step == "claim":  # the first claim is the link's own
        before(table, "claim", lambda: before(table, "claim", disconnect))
    else:
        before(table, "land", disconnect)
    world.pass_minutes(5)

    assert not world.is_alive(link)
    assert revokes(world, link) == 1
    assert world.row(own).sealed is None
    assert world.active() == []


@in_all_dialects
def test_the_set_of_a_link_is_revoked_where_the_row_of_its_connection_is_gone(
    dialect: str,
) -> None:
    world, first = connected(dialect)
    own = linked_while_leased(world, first)
    link = world.row(own)
    world.memory.spoil(own, {"due_at": world.clock() + 500})
    world.broker.connections.ask_revoke(first.id, now=world.clock())
    world.pass_minutes(2)
    del world.memory[first.id]
    world.clock.advance(500)

    world.pass_minutes(3)

    assert not world.is_alive(link)
    assert world.row(own).sealed is None


# ── a refresh, escrow, an export, a death ────────────────────────────────────────────────────────


@in_all_dialects
def test_a_rotation_in_escrow_lands_below_the_set_of_the_link(dialect: str) -> None:
    world, first = connected(dialect)
    world.make_due(first.id)
    with table_away(world):
        world.run_schedule()
    assert world.broker.escrow.find(first.id, 2) is not None
    begun = world.begin()
    world.come_back(world.consent(world.open(begun)))
    world.pass_a_lease()

    assert_goes_on(world, first.id)
    own = world.row(begun.connection_id)
    assert (world.row(first.id).consent, own.sealed) == (own.consent, None)


@in_all_dialects
def test_a_refresh_that_is_out_does_not_replace_the_set_of_the_link(dialect: str) -> None:
    world, first = connected(dialect)
    world.make_due(first.id)
    links: list[str] = []

    def link_again() -> None:
        begun = world.begin()
        links.append(begun.connection_id)
        world.come_back(world.consent(world.open(begun)))

    before_akoya_acts(world, "refresh_token", link_again)
    world.run_schedule()
    world.pass_minutes(3)

    assert_lives(world, first.id)
    assert world.row(first.id).consent == world.row(links[0]).consent


@pytest.mark.parametrize("bucket_too", [False, True])
@in_all_dialects
def test_a_transfer_that_the_table_does_not_take_is_made_when_it_does(
    dialect: str, *, bucket_too: bool
) -> None:
    world, first = connected(dialect)
    own = world.row(linked_while_leased(world, first))
    with table_away(world, bucket_too=bucket_too):
        world.clock.advance(61)
        world.run_schedule()
    world.pass_a_lease()
    world.pass_minutes(4)

    assert_lives(world, first.id)
    assert world.row(first.id).consent == own.consent
    assert world.row(own.id).sealed is None


@in_all_dialects
def test_the_link_of_a_connection_that_was_exported_is_its_re_consent(dialect: str) -> None:
    world, first = connected(dialect)
    own = linked_while_leased(world, first)
    transfer.take_out(world.broker, first.id, quarantine=86_400)

    assert_goes_on(world, first.id)
    assert world.row(first.id).consent == world.row(own).consent


@in_all_dialects
def test_a_link_waits_for_a_connection_that_does_not_read_until_that_is_renewed(
    dialect: str,
) -> None:
    world, first = connected(dialect)
    own = linked_while_leased(world, first)
    spoil(world, first.id, "iat")
    world.pass_minutes(3)
    assert world.is_alive(world.row(own))
    world.link(connection_id=first.id)
    world.pass_minutes(40)

    assert_lives(world, first.id)
    assert world.row(own).sealed is None


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("step", ["owner_of", "claim", "land", "erase_token_set", "look"])
@in_all_dialects
def test_a_run_that_dies_at_any_step_of_the_transfer_loses_nothing(
    dialect: str, step: str, nth: int
) -> None:
    world, first = connected(dialect)
    own = world.row(linked_while_leased(world, first))

    def die() -> None:
        raise KilledError

    def die_at(left: int) -> None:
        if left:
            before(world.broker.connections, step, lambda: die_at(left - 1))
        else:
            die()

    die_at(nth)
    world.clock.advance(61)
    with suppress(KilledError):
        world.run_schedule()
    world.pass_a_lease()
    with suppress(KilledError):
        world.run_schedule()
    world.pass_minutes(4)

    assert_lives(world, first.id)
    assert world.row(first.id).consent == own.consent
    assert world.row(own.id).sealed is None
