"""When the table does not take a new set for longer than a function lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.world import FUNCTION_TIMEOUT, World
from token_broker.domain.authorization import Redirect
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    ExchangeInProgress,
    OutcomeUnknown,
    UpstreamUnavailable,
)


@contextmanager
def away(world: World, *, bucket_too: bool = False) -> Iterator[None]:
    """Let the table take no set until the function's time is up."""

    def refuse(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.on.connections, "land", refuse)
        if bucket_too:
            patch.setattr(world.on.escrow, "put", refuse)
        yield
    world.time_left = FUNCTION_TIMEOUT


def escrowed(world: World, connection_id: str, generation: int) -> bool:
    return world.on.escrow.find(connection_id, generation) is not None


def refused(world: World) -> list[Any]:
    requests = world.provider.ledger()["requests"]
    return [one for one in requests if one["endpoint"] == "token" and one["status"] != 200]


def pass_a_lease(world: World) -> None:
    world.clock.advance(170)


def come_back(world: World, address: str) -> Redirect:
    """Deliver a redirect while the table is away, then again once it is back."""
    with away(world), pytest.raises(OutcomeUnknown):
        world.come_back(address)
    with pytest.raises(ExchangeInProgress):
        world.come_back(address)
    world.clock.advance(96)
    return world.come_back(address)


# ── a refresh ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_the_next_run_applies_the_set_before_it_sends_anything(world: World, dialect: str) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect()
    world.make_due(one.id)
    with away(world):
        world.run_schedule()
    assert world.row(one.id).generation == 1
    assert escrowed(world, one.id, 2)

    pass_a_lease(world)
    world.run_schedule()

    row = world.row(one.id)
    assert (row.generation, row.unsettled, row.lease) == (2, 0, None)
    assert not escrowed(world, one.id, 2)
    assert world.sends() == 1
    assert world.hand_out(one.id).generation == 2


def test_a_caller_applies_it_as_the_schedule_does(world: World) -> None:
    one = world.connect()
    world.clock.now = float(one.expires_at or 0)
    with away(world), pytest.raises(OutcomeUnknown):
        world.hand_out(one.id)

    pass_a_lease(world)
    bearer = world.hand_out(one.id)

    assert bearer.generation == 2
    assert world.sends() == 1


def test_after_a_disconnect_the_set_in_escrow_is_the_one_that_is_revoked(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    with away(world):
        world.run_schedule()
    world.on.connections.ask_revoke(one.id, now=world.clock())

    for _ in range(4):
        pass_a_lease(world)
        world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.sealed) == (Status.REVOKED, None)
    assert not escrowed(world, one.id, 2)
    assert world.sends() == 1
    assert all(grant.get("ended") for grant in world.provider.grants())


def test_a_set_that_nothing_took_is_said_so_once_with_connection_and_attempt(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    with away(world, bucket_too=True):
        world.run_schedule()

    (said,) = world.recorded("token_persist_failed")
    assert said["connection_id"] == one.id
    assert len(said["attempt_id"]) == 32
    assert said["generation"] == 2
    for _ in range(6):
        pass_a_lease(world)
        world.run_schedule()
    assert len(world.recorded("token_persist_failed")) == 1
    assert world.row(one.id).reason is Reason.ROTATION_LOST


# ── a new connection ─────────────────────────────────────────────────────────────────────────────


def test_a_person_whose_set_is_in_escrow_is_connected_by_the_reloaded_page(world: World) -> None:
    address = world.consent(world.open(world.begin()))

    went = come_back(world, address)

    assert went.result.status == "pending_confirmation"
    assert world.hand_out(world.confirm(went).id).generation == 1
    assert not escrowed(world, went.result.connection_id, 1)
    assert world.sends("authorization_code") == 1


def test_a_person_who_does_not_reload_leaves_no_consent_behind(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    with away(world), pytest.raises(OutcomeUnknown):
        world.come_back(address)

    for _ in range(8):
        world.clock.advance(300)
        world.run_schedule()

    (grant,) = world.provider.grants()
    assert grant["ended"]
    assert world.on.connections.of_subject("ada") == []
    late = world.come_back(address)
    assert late.result.status == "failed"
    with pytest.raises(ConnectionNotFound):
        world.row(late.result.connection_id)


# ── a renewed consent ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ended", [False, True], ids=["active", "ended"])
@pytest.mark.parametrize("reloads", [False, True], ids=["by the schedule", "by the reloaded page"])
def test_a_renewed_consent_in_escrow_is_kept(world: World, *, ended: bool, reloads: bool) -> None:
    one = world.connect()
    if ended:
        world.make_due(one.id)
        world.provider.expire("refresh_token")
        world.run_schedule()
        world.clock.advance(61)
        world.run_schedule()
        assert world.row(one.id).status is Status.REAUTH_REQUIRED
    address = world.consent(world.open(world.begin(connection_id=one.id)))
    with away(world), pytest.raises(OutcomeUnknown):
        world.come_back(address)
    before = len(refused(world))

    pass_a_lease(world)
    if reloads:
        assert world.come_back(address).result.status == "active"
    else:
        world.run_schedule()

    row = world.row(one.id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert world.hand_out(one.id).generation == 2
    world.make_due(one.id)
    world.run_schedule()
    assert world.row(one.id).generation == 3
    assert len(refused(world)) == before


def test_a_renewal_that_died_does_not_shorten_the_quarantine(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    world.provider.expire("refresh_token")
    world.run_schedule()
    world.clock.advance(61)
    world.run_schedule()
    kept_until = world.row(one.id).keep_until
    address = world.consent(world.open(world.begin(connection_id=one.id)))
    with away(world, bucket_too=True), pytest.raises(OutcomeUnknown):
        world.come_back(address)

    pass_a_lease(world)
    world.run_schedule()

    row = world.row(one.id)
    assert row.sealed is not None
    assert row.due_at == row.keep_until == kept_until


# ── what stays behind ────────────────────────────────────────────────────────────────────────────


def test_a_set_that_stayed_behind_after_landing_is_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with away(world):
        world.run_schedule()
    pass_a_lease(world)

    def refuse(*_: Any, **__: Any) -> None:
        raise UpstreamUnavailable(detail="away")

    with monkeypatch.context() as patch:
        patch.setattr(world.on.escrow, "discard", refuse)
        world.run_schedule()
    assert world.row(one.id).generation == 2
    assert escrowed(world, one.id, 2)

    world.clock.advance(3_700)
    world.run_schedule()

    assert not escrowed(world, one.id, 2)
    assert not world.recorded("escrow_stranded")


def test_a_set_nobody_came_for_within_an_hour_is_reported_by_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.in_memory()
    one = world.connect()
    world.make_due(one.id)
    with away(world):
        world.run_schedule()
    monkeypatch.setattr(world.on.connections, "due", lambda **_: [])

    world.clock.advance(3_500)
    world.run_schedule()
    assert not world.recorded("escrow_stranded")
    world.clock.advance(200)
    world.run_schedule()

    (said,) = world.recorded("escrow_stranded")
    assert (said["connection_id"], said["generation"]) == (one.id, 2)
    assert escrowed(world, one.id, 2)
