"""Every step of every flow, cut in every way: what is left is kept, or lost for a stated reason.

The oracle is the sandbox's ledger, never the broker's own record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interleavings.cuts import Fault, Flow, cut, steps_of
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import (
    ConnectionNotFound,
    RefreshInProgress,
    TokenBrokerError,
    UpstreamUnavailable,
)

DIALECTS = ("gen1", "gen1-reuse-window", "gen2-strict", "gen2-grace")


@dataclass(frozen=True)
class Case:
    """A flow to cut: `prepare` builds its world and returns the flow."""

    name: str
    prepare: Callable[[World], Flow]


def refresh_by_schedule(world: World) -> Flow:
    connection = world.connect()
    world.make_due(connection.id)
    return World.run_schedule


def refresh_by_hand_out(world: World) -> Flow:
    connection = world.connect()
    assert connection.expires_at is not None
    world.clock.now = float(connection.expires_at)
    return lambda process: process.hand_out(connection.id)


def refresh_of_rejected(world: World) -> Flow:
    connection = world.connect()
    return lambda process: process.hand_out(connection.id, rejected=1)


REFRESHES = [
    Case("refresh by schedule", refresh_by_schedule),
    Case("refresh by hand-out", refresh_by_hand_out),
    Case("refresh of a rejected bearer", refresh_of_rejected),
]

# Where nobody can know the answer any more: it came, and the only process that had it is gone.
UNRECOVERABLE = {
    ("token_endpoint.refresh", Fault.KILLED_AFTER),
    ("token_endpoint.refresh", Fault.LOST),
    ("connections.land", Fault.KILLED_BEFORE),
}


def cells(case: Case) -> Iterator[tuple[int, Fault]]:
    world = World.in_memory()
    for at in range(len(steps_of(world, case.prepare(world)))):
        for fault in Fault:
            yield at, fault


def live_on(world: World) -> None:
    """Let half an hour pass, and the schedule run whenever a connection of the subject is due."""
    end = world.clock.now + 1_800
    while True:
        found = [world.row(one.id) for one in world.on.connections.of_subject("ada")]
        due = [row.due_at for row in found if row.due_at is not None]
        if not due or min(due) > end:
            break
        world.clock.now = max(world.clock.now + 1, float(min(due)))
        world.run_schedule()
    world.clock.now = end


def refused(world: World) -> list[dict[str, Any]]:
    """Return the token requests Akoya refused."""
    requests = world.provider.ledger()["requests"]
    return [one for one in requests if one["endpoint"] == "token" and one["status"] != 200]


def overlapping(world: World) -> list[tuple[Any, Any]]:
    """Return pairs of requests with the same refresh token under way at the same time."""
    sent = [one for one in world.provider.ledger()["requests"] if one.get("presented")]
    return [
        (one, other)
        for place, one in enumerate(sent)
        for other in sent[place + 1 :]
        if one["presented"] == other["presented"] and other["received"] < one["answered"]
    ]


def only_connection(world: World) -> str:
    (found,) = world.on.connections.of_subject("ada")
    return found.id


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", REFRESHES, ids=lambda case: case.name)
def test_a_refresh_cut_anywhere_keeps_the_connection_unless_nobody_could(
    case: Case, dialect: str
) -> None:
    for at, fault in cells(case):
        world = World.in_memory()
        world.provider.change_settings({"dialect": dialect})
        flow = case.prepare(world)

        step = cut(world, flow, at, fault)
        live_on(world)

        where = f"{step} {fault} ({dialect})"
        row = world.row(only_connection(world))
        assert not overlapping(world), where
        assert row.due_at is not None, where
        assert row.due_at > world.clock(), where
        if row.status is Status.REAUTH_REQUIRED:
            assert (step, fault) in UNRECOVERABLE, where
            assert row.reason is Reason.ROTATION_LOST, where
            continue
        assert not refused(world), where
        assert world.hand_out(row.id).generation == row.generation >= 2, where
        assert row.unsettled == 0, where


def redirect(world: World) -> Flow:
    address = world.consent(world.open(world.begin()))
    world.address = address
    return lambda process: process.come_back(address)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_exchange_cut_anywhere_sends_the_code_once_and_ends_in_a_told_state(
    dialect: str,
) -> None:
    for at, fault in cells(Case("exchange", redirect)):
        world = World.in_memory()
        world.provider.change_settings({"dialect": dialect})
        flow = redirect(world)

        step = cut(world, flow, at, fault)
        went = None
        for _ in range(40):
            try:
                went = world.come_back(world.address)
                break
            except (UpstreamUnavailable, RefreshInProgress):
                world.clock.advance(15)

        where = f"{step} {fault} ({dialect})"
        assert went is not None, where
        exchanges = [
            one
            for one in world.provider.ledger()["requests"]
            if one.get("grant_type") == "authorization_code"
        ]
        assert len(exchanges) <= 1, where
        if went.result.status == "pending_confirmation":
            assert world.hand_out(world.confirm(went).id).generation == 1, where
            continue
        assert went.result.status == "failed", where
        live_on(world)
        with pytest.raises(ConnectionNotFound):
            world.row(went.result.connection_id)


def disconnect(world: World) -> Flow:
    connection = world.connect()

    def flow(process: World) -> None:
        process.on.connections.ask_revoke(connection.id, now=process.clock())
        process.run_schedule()

    return flow


def test_a_disconnect_cut_anywhere_ends_in_a_tombstone_and_no_live_consent() -> None:
    for at, fault in cells(Case("disconnect", disconnect)):
        world = World.in_memory()
        flow = disconnect(world)

        step = cut(world, flow, at, fault)
        connection_id = only_connection(world)
        world.on.connections.ask_revoke(connection_id, now=world.clock())
        live_on(world)

        where = f"{step} {fault}"
        row = world.row(connection_id)
        assert (row.status, row.sealed, row.due_at) == (Status.REVOKED, None, None), where
        assert all(grant.get("ended") for grant in world.provider.grants()), where


def test_a_set_the_table_does_not_take_is_found_in_escrow_before_anything_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = world.connect()
    world.make_due(connection.id)

    def away(*_: Any, **__: Any) -> None:
        world.time_left -= 30
        raise UpstreamUnavailable(detail="table away")

    monkeypatch.setattr(world.on.connections, "land", away)
    world.run_schedule()
    monkeypatch.undo()
    world.time_left = 90
    assert world.row(connection.id).generation == 1
    assert world.recorded("escrow_used")

    live_on(world)

    assert world.recorded("escrow_applied")
    assert world.row(connection.id).generation >= 2
    assert not refused(world)
    with pytest.raises(TokenBrokerError):
        world.hand_out(connection.id, rejected=99)
