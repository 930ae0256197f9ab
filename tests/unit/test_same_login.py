"""One bank login under two connections: only one of them may use it, and none is lost by it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from operations import transfer
from operations.reinstate import reinstate
from tests.interleavings import endings
from tests.interleavings.flows import sent_out
from tests.interruptions import before_akoya_acts, cut_at
from tests.world import World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Connection, Degraded, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ReauthorizationRequired,
    RequestRejected,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.refresh_policy import BRIEFLY, CONFIRM_WITHIN, SEND_BUDGET
from token_broker.domain.suspicion import UNBROKEN_FOR
from token_broker.domain.token_set import TokenSet
from token_broker.use_cases import connections

DIALECTS = ("gen1", "gen2-strict")  # linking again ends the older tokens, or does not
in_all_dialects = pytest.mark.parametrize("dialect", endings.DIALECTS)
in_both_dialects = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(params=DIALECTS)
def linked(world: World, request: pytest.FixtureRequest) -> World:
    """A world in which ada's connection is linked again by grace, who has not confirmed."""
    world.provider.change_settings({"dialect": request.param})
    return world


def link_again(world: World) -> tuple[Connection, Redirect]:
    first = world.connect("ada")
    world.clock.advance(5)
    return first, world.link("grace")


def test_the_later_link_supersedes_the_earlier_once_it_is_confirmed(linked: World) -> None:
    first, went = link_again(linked)

    second = linked.confirm(went, "grace")

    assert linked.row(first.id).status is Status.SUPERSEDED
    with pytest.raises(ReauthorizationRequired):
        linked.hand_out(first.id)
    assert linked.hand_out(second.id).generation == 1
    linked.make_due(second.id)
    linked.run_schedule()
    assert linked.hand_out(second.id).generation == 2
    assert linked.refused() == []


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
    assert linked.refused() == []
    live = [grant for grant in linked.provider.grants() if not grant.get("ended")]
    assert live


def test_a_superseded_connection_comes_back_by_a_consent_of_its_own(linked: World) -> None:
    first, went = link_again(linked)
    second = linked.confirm(went, "grace")
    linked.clock.advance(5)

    again = linked.link("ada", first.id)

    assert again.result.status == "active"
    assert linked.row(first.id).status is Status.ACTIVE
    assert linked.row(second.id).status is Status.SUPERSEDED
    linked.make_due(first.id)
    linked.run_schedule()
    assert linked.row(first.id).status is Status.ACTIVE
    assert linked.refused() == []


def test_a_link_overtaken_by_a_later_consent_cannot_be_confirmed(linked: World) -> None:
    first, went = link_again(linked)
    linked.clock.advance(5)
    linked.link("ada", first.id)

    with pytest.raises(ReauthorizationRequired):
        linked.confirm(went, "grace")
    linked.clock.advance(900)
    linked.run_schedule()

    assert linked.hand_out(first.id).generation >= 2
    with pytest.raises(ConnectionNotFound):
        linked.row(went.result.connection_id)
    assert linked.refused() == []


def test_disconnecting_an_unconfirmed_link_leaves_the_older_connection_alive(
    linked: World,
) -> None:
    first, went = link_again(linked)
    connections.disconnect(
        linked.broker.connections,
        linked.clock,
        linked.broker.record,
        connection_id=went.result.connection_id,
    )
    linked.run_schedule()
    linked.clock.advance(900)
    linked.run_schedule()

    assert linked.row(went.result.connection_id).status is Status.REVOKED
    linked.clock.advance(600)
    assert linked.hand_out(first.id).generation >= 2
    assert linked.refused() == []


def test_a_superseded_set_is_erased_by_the_next_run_and_never_sent(linked: World) -> None:
    first, went = link_again(linked)
    linked.confirm(went, "grace")
    assert linked.row(first.id).sealed is not None, "who confirms has no right to erase it"

    linked.run_schedule()

    erased = linked.row(first.id)
    assert (erased.status, erased.sealed) == (Status.SUPERSEDED, None)
    assert linked.sends() == 0


@pytest.mark.parametrize("rejected", [None, 1])
def test_a_superseded_set_is_never_handed_out_before_it_is_erased(
    linked: World, rejected: int | None
) -> None:
    first, went = link_again(linked)
    linked.confirm(went, "grace")
    assert linked.row(first.id).remaining(linked.clock()) > 0

    with pytest.raises(ReauthorizationRequired):
        linked.hand_out(first.id, rejected=rejected)

    assert linked.sends() == 0


def test_a_superseded_set_is_never_taken_out_or_reinstated(linked: World) -> None:
    first, went = link_again(linked)
    linked.confirm(went, "grace")

    with pytest.raises(RequestRejected):
        transfer.take_out(linked.broker, first.id, quarantine=86_400)
    with pytest.raises(RequestRejected):
        reinstate(linked.broker, first.id)

    assert linked.row(first.id).status is Status.SUPERSEDED
    assert linked.sends() == 0


def test_a_superseded_set_that_was_disconnected_first_is_neither_revoked_nor_used_again(
    linked: World,
) -> None:
    first = linked.connect("ada")
    second = linked.confirm(linked.link("grace"), "grace")  # of the same second
    linked.broker.connections.ask_revoke(first.id, now=linked.clock())
    its_own = linked.row(second.id).sealed

    linked.run_schedule()

    gone = linked.row(first.id)
    assert (gone.status, gone.sealed) == (Status.REVOKED, None)
    assert linked.row(second.id).sealed == its_own, "the older set must not replace the newer"
    assert not any("revoke" in str(request.url) for request in linked.http.sent)
    assert linked.is_alive(linked.row(second.id))


def test_disconnecting_a_superseded_connection_does_not_touch_the_consent(linked: World) -> None:
    first, went = link_again(linked)
    second = linked.confirm(went, "grace")
    linked.broker.connections.ask_revoke(first.id, now=linked.clock())
    linked.run_schedule()

    assert linked.row(first.id).status is Status.REVOKED
    linked.clock.now = float(second.expires_at or 0)
    assert linked.hand_out(second.id).generation == 2


def test_the_pointer_of_a_revoked_connection_is_forgotten(world: World) -> None:
    one = world.connect()
    login = world.row(one.id).login
    assert login is not None
    owner = world.broker.connections.owner_of(login)
    assert owner is not None
    assert owner.id == one.id

    world.broker.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert world.broker.connections.owner_of(login) is None


# ── between a link and its confirmation ──────────────────────────────────────────────────────────


def states_over(world: World, connection_id: str, minutes: int = 30) -> set[Status]:
    """Run the schedule each minute; return the states that a connection was in."""
    seen = set()
    for _ in range(minutes):
        world.run_schedule()
        seen.add(world.row(connection_id).status)
        world.clock.advance(61)
    return seen


def test_an_abandoned_second_link_never_asks_the_first_one_to_consent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second thread, or run, tends the link while the older connection is being sent."""
    world = World.in_memory("gen1")
    first, _ = link_again(world)
    world.clock.advance(900)
    before_akoya_acts(world, "refresh_token", world.run_schedule)
    due = world.broker.connections.due
    monkeypatch.setattr(
        world.broker.connections,
        "due",
        lambda **how: sorted(due(**how), key=lambda entry: entry[0] != first.id),
    )

    assert states_over(world, first.id, minutes=10) == {Status.ACTIVE}
    assert world.recorded("reauthorization_required") == []


def test_a_hiccup_at_the_transfer_never_asks_the_first_one_to_consent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One answer of KMS is lost when the set is to be transferred."""
    world = World.in_memory("gen1")
    first, went = link_again(world)
    world.clock.advance(900)
    opened, failures = (
        world.broker.seal.open,
        [UpstreamUnavailable(detail="KMS: ThrottlingException")],
    )

    def hiccup(connection: Connection) -> TokenSet:
        if connection.id == went.result.connection_id and failures:
            raise failures.pop()
        return opened(connection)

    monkeypatch.setattr(world.broker.seal, "open", hiccup)

    assert states_over(world, first.id, minutes=10) == {Status.ACTIVE}


def test_a_link_whose_callback_died_never_asks_the_first_one_to_consent_again() -> None:
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.clock.now = float(first.due_at or 0) - 30
    second = sent_out(world, "grace")
    with cut_at(world.broker.connections, "owner_of"):
        world.come_back(second.address)
    world.clock.advance(61)

    assert states_over(world, first.id) == {Status.ACTIVE}


def test_a_link_confirmed_while_a_later_one_is_unconfirmed_is_not_ended() -> None:
    world = World.in_memory("gen1")
    went = world.link("ada")
    world.clock.advance(5)
    world.link("grace")
    first = world.confirm(went, "ada")
    world.clock.advance(61)

    assert states_over(world, first.id) == {Status.ACTIVE}


def test_a_redirect_delivered_again_does_not_supersede_who_was_confirmed_since() -> None:
    world = World.in_memory()
    first = world.connect("ada")
    world.clock.advance(5)
    renewal = sent_out(world, "ada", first.id)
    with cut_at(world.finishing.authorizations, "finish", UpstreamUnavailable):
        world.come_back(renewal.address)
    world.clock.advance(5)
    second = world.confirm(world.link("grace"), "grace")
    world.pass_a_lease()

    with suppress(TokenBrokerError):
        world.come_back(renewal.address)  # the browser reloads

    assert world.row(second.id).status is Status.ACTIVE


def test_the_set_of_an_unconfirmed_link_of_the_same_second_is_transferred() -> None:
    """`iat` has whole seconds: equal ones do not mean one and the same consent."""
    world = World.in_memory("gen1")
    first = world.connect("ada")
    world.link("grace")
    world.pass_minutes(45)

    row = world.row(first.id)
    assert row.status is Status.ACTIVE
    assert world.is_alive(row)


@in_both_dialects
def test_a_link_that_was_left_does_not_harm_the_one_made_and_confirmed_after_it(
    dialect: str,
) -> None:
    """A person closes the tab before the app sees them back, starts again, and is confirmed."""
    world = World.in_memory(dialect)
    world.link()
    world.clock.advance(120)
    one = world.connect()

    for _ in range(22):  # minutes
        world.pass_minutes()
        world.hand_out(one.id)


@in_both_dialects
def test_a_renewed_connection_is_not_harmed_by_an_older_unconfirmed_link(
    dialect: str,
) -> None:
    """The renewal is the latest consent: in gen1 nobody else's tokens live."""
    world = World.in_memory(dialect)
    one, _ = link_again(world)
    world.clock.advance(5)
    world.link("ada", one.id)

    for _ in range(22):  # minutes
        world.pass_minutes()
        world.hand_out(one.id)


@in_all_dialects
def test_what_a_link_ends_is_suspect_until_the_set_of_the_link_is_transferred(
    dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the worst moment: it is due at once and asked for, and its bank answers another one."""
    world = World.in_memory(dialect)
    witness = world.connect("mary", "mikomo_2")
    first, went = link_again(world)
    due = world.broker.connections.due
    monkeypatch.setattr(
        world.broker.connections,
        "due",
        lambda **how: sorted(due(**how), key=lambda entry: entry[0] != first.id),
    )
    seen, degraded = set(), set()

    for _ in range(25):  # minutes
        for one in (first, witness):
            with suppress(TokenBrokerError):
                world.hand_out(one.id, rejected=world.row(one.id).generation)
        world.run_schedule()
        seen.add(world.row(first.id).status)
        degraded.add(world.row(first.id).degraded)
        world.clock.advance(60)

    is_ended_by_a_link = dialect.startswith("gen1")
    assert (Degraded.SUSPECT in degraded) == is_ended_by_a_link
    assert seen == {Status.ACTIVE}
    assert world.is_alive(world.row(first.id))
    assert not [
        one for one in world.broker.connections.every() if one.id == went.result.connection_id
    ]
    assert bool(world.refused()) == is_ended_by_a_link


@in_all_dialects
def test_what_a_link_ends_is_superseded_once_the_link_is_confirmed(dialect: str) -> None:
    world = World.in_memory(dialect)
    first, went = link_again(world)
    for _ in range(9):  # minutes
        with suppress(TokenBrokerError):
            world.hand_out(first.id, rejected=world.row(first.id).generation)
        world.pass_minutes()
    assert world.row(first.id).status is Status.ACTIVE

    second = world.confirm(went, "grace")

    world.pass_minutes()
    row = world.row(first.id)
    assert (row.status, row.sealed, row.degraded) == (Status.SUPERSEDED, None, None)
    assert [one.id for one in world.active()] == [second.id]
    assert world.is_alive(world.row(second.id))


def test_a_link_is_transferred_runs_before_what_it_ended_could_end() -> None:
    assert CONFIRM_WITHIN + 3 * BRIEFLY <= UNBROKEN_FOR - SEND_BUDGET
