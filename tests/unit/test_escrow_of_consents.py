"""When the table does not take the set of a new, a renewed or a superseded consent."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.interleavings.flows import Person, sent_out
from tests.interruptions import cut_at, table_away
from tests.unit.escrowed import escrowed
from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ExchangeInProgress,
    OutcomeUnknown,
    SetEscrowed,
    TokenBrokerError,
    UpstreamUnavailable,
)

in_both_dialects = pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])


def left_in_escrow(world: World, subject: str = "ada", connection_id: str | None = None) -> Person:
    """Have a person consent and come back while the table is away."""
    person = sent_out(world, subject, connection_id)
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(person.address)
    return person


def come_back(world: World, address: str) -> Redirect:
    """Deliver a redirect while the table is away, then again once it is back."""
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(address)
    with pytest.raises(ExchangeInProgress):
        world.come_back(address)
    world.pass_a_lease()
    return world.come_back(address)


# ── a new connection ─────────────────────────────────────────────────────────────────────────────


def test_a_person_whose_set_is_in_escrow_is_connected_by_the_reloaded_page(world: World) -> None:
    address = world.consent(world.open(world.begin()))

    went = come_back(world, address)

    assert went.result.status == "pending_confirmation"
    assert world.hand_out(world.confirm(went).id).generation == 1
    assert not escrowed(world, went.result.connection_id, 1)
    assert world.sends("authorization_code") == 1


def test_a_page_reloaded_after_a_hiccup_of_the_table_need_not_wait_for_a_lease_to_end() -> None:
    world = World.in_memory()
    person = left_in_escrow(world)
    world.pass_a_lease()
    with cut_at(world.broker.connections, "land", UpstreamUnavailable):
        world.come_back(person.address)
    world.clock.advance(5)

    assert world.come_back(person.address).result.status == "pending_confirmation"


def test_a_person_who_does_not_reload_leaves_no_consent_behind(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    with table_away(world), pytest.raises(SetEscrowed):
        world.come_back(address)

    for _ in range(8):
        world.clock.advance(300)
        world.run_schedule()

    (grant,) = world.provider.grants()
    assert grant["ended"]
    assert world.broker.connections.of_subject("ada").connections == []
    late = world.come_back(address)
    assert late.result.status == "failed"
    with pytest.raises(ConnectionNotFound):
        world.row(late.result.connection_id)


# ── a renewed consent ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ended", [False, True], ids=["active", "ended"])
@pytest.mark.parametrize("reloads", [False, True], ids=["by the schedule", "by the reloaded page"])
def test_a_renewed_consent_in_escrow_is_kept(memory: World, *, ended: bool, reloads: bool) -> None:
    one = memory.connect()
    if ended:
        memory.provider.expire("refresh_token")
        assert memory.pass_refusals(one.id).status is Status.REAUTH_REQUIRED
    address = memory.consent(memory.open(memory.begin(connection_id=one.id)))
    with table_away(memory), pytest.raises(SetEscrowed):
        memory.come_back(address)
    refused_so_far = len(memory.refused())

    memory.pass_a_lease()
    if reloads:
        assert memory.come_back(address).result.status == "active"
    else:
        memory.run_schedule()

    row = memory.row(one.id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert memory.hand_out(one.id).generation == 2
    memory.make_due(one.id)
    memory.run_schedule()
    assert memory.row(one.id).generation == 3
    assert len(memory.refused()) == refused_so_far


def test_a_renewal_that_died_does_not_shorten_the_quarantine(memory: World) -> None:
    one = memory.connect()
    memory.provider.expire("refresh_token")
    kept_until = memory.pass_refusals(one.id).keep_until or 0
    address = memory.consent(memory.open(memory.begin(connection_id=one.id)))
    with table_away(memory, bucket_too=True), pytest.raises(OutcomeUnknown):
        memory.come_back(address)

    memory.pass_a_lease()
    memory.run_schedule()

    row = memory.row(one.id)
    assert row.sealed is not None
    assert row.keep_until == kept_until
    assert memory.clock() < (row.due_at or 0) < kept_until


def test_a_renewal_in_escrow_is_not_lost_to_the_transfer_of_an_older_link() -> None:
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.clock.advance(5)
    world.link("grace")
    world.clock.advance(850)
    left_in_escrow(world, "ada", first.id)
    assert escrowed(world, first.id, 2)

    world.pass_a_lease()  # the attempt's lease is over; the unconfirmed link is due longer
    world.pass_minutes(30)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert world.is_alive(row)


@in_both_dialects
def test_a_renewal_in_escrow_is_not_lost_to_an_older_link_that_is_confirmed(dialect: str) -> None:
    world = World.in_memory(dialect)
    first = world.connect("ada")
    world.clock.advance(5)
    went = world.link("grace")
    world.clock.advance(5)
    left_in_escrow(world, "ada", first.id)
    assert escrowed(world, first.id, 2)

    world.pass_minutes(3)  # the attempt's lease ends; the schedule has had its chances
    with suppress(TokenBrokerError):
        world.confirm(went, "grace")
    world.pass_minutes(60)

    assert [world.is_alive(row) for row in world.active()] == [True]
    assert world.recorded("escrow_stranded") == []


@in_both_dialects
def test_a_renewal_in_escrow_does_not_stand_beside_a_later_consent_to_the_same_login(
    dialect: str,
) -> None:
    """Of two consents the later one is the one to keep: one login, one connection."""
    world = World.in_memory(dialect)
    first = world.connect("ada")
    world.clock.advance(5)
    second = world.confirm(world.link("grace"), "grace")
    world.clock.advance(5)
    left_in_escrow(world, "ada", first.id)
    world.clock.advance(5)
    world.link("grace", second.id)
    world.pass_minutes(60)

    assert [row.id for row in world.active()] == [second.id]
    assert world.recorded("reauthorization_required") == []


def test_an_older_connection_is_not_ended_while_the_set_of_a_new_link_is_in_escrow() -> None:
    """That link has ended its tokens, and the link's row is not looked at for a while."""
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.make_due(first.id)
    left_in_escrow(world, "grace")
    world.pass_minutes(30)

    assert world.recorded("reauthorization_required") == []
    assert world.is_alive(world.row(first.id))


def test_a_transfer_is_not_overtaken_by_the_dead_tokens_of_an_older_renewal_in_escrow() -> None:
    """The link has ended what the renewal brings."""
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.clock.advance(600)
    left_in_escrow(world, "ada", first.id)
    world.pass_a_lease()
    world.link("grace")
    world.pass_minutes(60)

    assert world.recorded("reauthorization_required") == []
    assert world.is_alive(world.row(first.id))


# ── of a connection that was superseded ──────────────────────────────────────────────────────────


def superseded(world: World) -> Connection:
    """Leave a rotation in escrow, then let a later link of the login take over."""
    first = world.connect("ada")
    world.make_due(first.id)
    with table_away(world):
        world.run_schedule()
    world.pass_a_lease()  # until then the older one may be getting tokens
    world.confirm(world.link("grace"), "grace")
    assert world.row(first.id).status is Status.SUPERSEDED
    return first


def test_a_set_in_escrow_of_a_superseded_connection_does_not_make_it_active_again() -> None:
    """A renewal is prepared for and given up; no consent has come of it."""
    world = World.in_memory("gen1")
    first = superseded(world)
    renewal = sent_out(world, "ada", first.id)
    sent = world.sends("authorization_code")
    with cut_at(world.finishing.authorizations, "mark_sent", UpstreamUnavailable):
        world.come_back(renewal.address)
    assert world.sends("authorization_code") == sent
    world.pass_minutes(10)

    assert world.row(first.id).status is Status.SUPERSEDED


def test_a_set_in_escrow_of_a_superseded_connection_is_let_go_of() -> None:
    world = World.in_memory()
    first = superseded(world)
    world.clock.advance(2 * 86_400)
    world.pass_minutes(5)

    stranded = [said["connection_id"] for said in world.recorded("escrow_stranded")]
    assert stranded.count(first.id) <= 1
