"""A subject links the login it has connected already: the consent is that connection's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.interleavings.endings import DIALECTS
from tests.interleavings.flows import ended
from tests.interruptions import before, cut_at, table_away
from tests.spoiled import spoil
from tests.unit.linked_again import connected, linked_while_leased, told
from tests.world import World
from token_broker.domain import authorization
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    AlreadyConnected,
    ConfirmationInvalid,
    ConnectionNotFound,
    ReauthorizationRequired,
    UpstreamUnavailable,
)
from token_broker.use_cases import connections
from token_broker.use_cases.attempt import claim_as_seen

in_all_dialects = pytest.mark.parametrize("dialect", DIALECTS)


def assert_renewed(world: World, first: Connection, begun_id: str) -> None:
    """Let the schedule run, and look who holds what."""
    world.pass_minutes(2)
    row, own = world.row(first.id), world.row(begun_id)
    assert [one.id for one in world.active()] == [first.id]
    assert world.is_alive(row)
    assert (own.status, own.superseded_by, own.sealed) == (Status.SUPERSEDED, first.id, None)
    assert world.is_accepted(world.hand_out(first.id))
    assert world.recorded("reauthorization_required") == []


@in_all_dialects
def test_a_link_of_the_subjects_own_login_renews_the_connection_that_exists(dialect: str) -> None:
    world, first = connected(dialect)

    begun = world.begin()
    redirect = world.come_back(world.consent(world.open(begun)))

    assert (redirect.result, redirect.confirmation) == (told(first), None)
    row = world.row(first.id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert world.is_accepted(world.hand_out(first.id))
    assert_renewed(world, first, begun.connection_id)
    assert world.refused() == []


@in_all_dialects
def test_a_link_heals_the_subjects_own_connection_that_had_ended(dialect: str) -> None:
    world = World.in_memory(dialect)
    first = ended(world)

    redirect = world.link()

    assert redirect.result == told(first)
    row = world.row(first.id)
    assert (row.status, row.reason, row.keep_until) == (Status.ACTIVE, None, None)
    assert world.is_accepted(world.hand_out(first.id))


def test_another_subjects_link_of_that_login_is_a_connection_of_its_own() -> None:
    world, first = connected("gen2-strict")

    redirect = world.link("grace")

    assert redirect.result.status == "pending_confirmation"
    assert world.row(redirect.result.connection_id).superseded_by is None
    assert world.row(first.id).generation == 1
    assert world.confirm(redirect, "grace").id != first.id


def test_a_link_with_another_login_is_a_connection_of_its_own() -> None:
    world, first = connected()

    redirect = world.link(user="mikomo_2")

    assert redirect.result.status == "pending_confirmation"
    assert world.row(first.id).generation == 1


def test_a_renewal_that_comes_back_with_a_login_the_subject_has_renews_that_one() -> None:
    world, first = connected()
    second = world.connect(user="mikomo_2")

    redirect = world.link(connection_id=first.id, user="mikomo_2")

    assert redirect.result == replace(told(second), previous_connection_id=first.id)
    assert (world.row(first.id).generation, world.row(second.id).generation) == (1, 2)


def test_a_link_whose_owner_does_not_read_is_a_connection_of_its_own() -> None:
    world, first = connected()
    spoil(world, first.id, "issued_at")

    redirect = world.link()

    assert redirect.result.status == "pending_confirmation"
    assert world.confirm(redirect).status is Status.ACTIVE


def test_a_link_whose_bearer_does_not_verify_is_told_as_failed_and_loses_nothing() -> None:
    world, first = connected()
    world.provider.arm({"fault": "aud_other", "on": ["exchange"], "times": 1})

    redirect = world.link()
    world.pass_minutes(2)

    assert redirect.result.status == "failed"
    assert [one.id for one in world.active()] == [first.id]
    assert world.is_alive(world.row(first.id))


# ── the id first given ───────────────────────────────────────────────────────────────────────────


def linked_again(world: World) -> str:
    begun = world.begin()
    world.come_back(world.consent(world.open(begun)))
    return begun.connection_id


@pytest.mark.parametrize("runs", [0, 2])
def test_the_id_first_given_is_answered_with_the_connection_that_exists(runs: int) -> None:
    world, first = connected()
    own = linked_again(world)
    world.pass_minutes(runs)
    (cookie,) = list(world.browser.values())[-1:]
    confirmation = authorization.confirmation(cookie)
    table, clock, record = world.broker.connections, world.clock, world.broker.record

    def confirm(subject: str) -> object:
        return connections.confirm(
            table,
            world.broker.policy,
            clock,
            record,
            connection_id=own,
            subject=subject,
            confirmation=confirmation,
        )

    requests: tuple[Callable[[], object], ...] = (
        lambda: world.hand_out(own),
        lambda: world.begin(connection_id=own),
        lambda: confirm("ada"),
        lambda: connections.disconnect(table, clock, record, connection_id=own),
    )
    for ask in requests:
        with pytest.raises(AlreadyConnected) as answered:
            ask()
        assert answered.value.connection_id == first.id
    with pytest.raises(ConfirmationInvalid):
        confirm("grace")
    with pytest.raises(ConnectionNotFound):
        connections.disconnect(table, clock, record, connection_id=own, subject="grace")
    assert connections.show(table, connection_id=own).superseded_by == first.id
    assert_renewed(world, first, own)
    assert world.recorded("disconnect_asked") == []


def test_the_row_of_the_id_first_given_goes_like_any_ended_one() -> None:
    world, _ = connected()
    own = linked_again(world)
    world.pass_minutes()

    assert own in world.memory.going


# ── left to the schedule ─────────────────────────────────────────────────────────────────────────


@in_all_dialects
def test_a_transfer_that_meets_a_lease_is_left_to_the_schedule(dialect: str) -> None:
    world, first = connected(dialect)

    own = linked_while_leased(world, first)

    assert_renewed(world, first, own)
    assert world.row(first.id).generation == 2


def test_a_transfer_waits_for_a_lease_and_is_due_all_the_while() -> None:
    world, first = connected()
    own = linked_while_leased(world, first)
    claim_as_seen(world.broker, world.row(first.id))

    world.run_schedule()

    row = world.row(own)
    assert row.sealed is not None
    assert row.due_at is not None
    assert row.due_at <= world.clock() + 60
    world.clock.advance(61)
    assert_renewed(world, first, own)


def test_a_transfer_is_made_later_where_its_connection_moves_meanwhile() -> None:
    world, first = connected("gen2-strict")
    own = linked_while_leased(world, first)
    at_work = world.broker.connections
    before(at_work, "claim", lambda: before(at_work, "claim", lambda: rotate(world, first)))

    world.run_schedule()

    assert world.row(first.id).generation == 2, "the refresh of a caller came in between"
    assert world.row(own).sealed is not None
    assert_renewed(world, first, own)
    assert (world.row(first.id).generation, world.row(first.id).consent) == (
        3,
        world.row(own).consent,
    )


def rotate(world: World, first: Connection) -> None:
    world.hand_out(first.id, rejected=1)


@pytest.mark.parametrize("step", ["owner_of", "supersede", "claim", "finish"])
@in_all_dialects
def test_a_page_loaded_again_is_told_the_same_wherever_the_first_one_died(
    step: str, dialect: str
) -> None:
    world, first = connected(dialect)
    begun = world.begin()
    address = world.consent(world.open(begun))
    table, authorizations = world.broker.connections, world.finishing.authorizations
    with cut_at(authorizations if step == "finish" else table, step):
        world.come_back(address)

    assert world.come_back(address).result == told(first)
    world.pass_a_lease()
    assert_renewed(world, first, begun.connection_id)


@in_all_dialects
def test_a_link_whose_callback_died_is_a_re_consent_within_two_runs(dialect: str) -> None:
    """Its person does not come back."""
    world, first = connected(dialect)
    begun = world.begin()
    with cut_at(world.broker.connections, "owner_of"):
        world.come_back(world.consent(world.open(begun)))

    assert_renewed(world, first, begun.connection_id)


def test_a_link_whose_set_waits_in_escrow_is_a_re_consent_once_it_lands() -> None:
    world, first = connected()
    begun = world.begin()
    address = world.consent(world.open(begun))
    with table_away(world), pytest.raises(UpstreamUnavailable):
        world.come_back(address)
    world.pass_a_lease()

    assert world.come_back(address).result == told(first)
    assert_renewed(world, first, begun.connection_id)


# ── of two consents the later one ────────────────────────────────────────────────────────────────


def test_a_set_is_transferred_once() -> None:
    """The run dies before it erases the set; the connection has refreshed it since."""
    world, first = connected("gen2-strict")
    own = linked_while_leased(world, first)
    with cut_at(world.broker.connections, "erase_token_set"):
        world.run_schedule()
    assert world.row(first.id).generation == 2
    assert world.hand_out(first.id, rejected=2).generation == 3

    world.pass_a_lease()
    assert_renewed(world, first, own)
    assert world.row(first.id).generation == 3
    assert world.refused() == []


def test_a_transfer_does_not_replace_the_set_of_a_later_consent() -> None:
    world, first = connected()
    own = linked_while_leased(world, first)
    world.clock.advance(5)
    world.link(connection_id=first.id)
    renewed = world.row(first.id)

    assert_renewed(world, first, own)
    assert world.row(first.id).consent == renewed.consent


def test_a_re_consent_wins_over_an_earlier_link_that_is_confirmed_before_its_transfer() -> None:
    world, first = connected()
    earlier = world.link("grace")
    world.clock.advance(5)
    own = linked_while_leased(world, first)
    second = world.confirm(earlier, "grace")
    assert world.row(first.id).status is Status.SUPERSEDED

    assert_renewed(world, first, own)
    assert world.row(second.id).status is Status.SUPERSEDED


def test_a_re_consent_gives_way_to_a_later_link_that_is_confirmed_before_its_transfer() -> None:
    world, first = connected()
    own = linked_while_leased(world, first)
    world.clock.advance(5)
    second = world.confirm(world.link("grace"), "grace")

    world.pass_minutes(2)

    assert [one.id for one in world.active()] == [second.id]
    assert world.is_alive(world.row(second.id))
    assert world.row(own).sealed is None
    assert world.recorded("token_set_transferred") == []  # nor is it ACTIVE for a moment
    with pytest.raises(ReauthorizationRequired):
        world.hand_out(first.id)


def test_the_set_of_a_link_is_revoked_where_its_connection_was_disconnected_meanwhile() -> None:
    world, first = connected("gen2-strict")
    own = linked_while_leased(world, first)
    world.broker.connections.ask_revoke(first.id, now=world.clock())

    world.pass_minutes(3)

    assert world.living() == set()
    assert [world.row(one).sealed for one in (first.id, own)] == [None, None]


def test_a_bearer_that_came_by_a_transfer_is_renewed_before_it_expires() -> None:
    """As that of any link: its backend is about to ask."""
    world, first = connected()
    world.link()

    row = world.row(first.id)
    assert row.generation == 2
    assert (row.due_at or 0) < (row.expires_at or 0)
