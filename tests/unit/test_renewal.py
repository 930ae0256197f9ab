"""A renewed consent races a refresh: whoever comes first, the newest set stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from operations.reinstate import reinstate
from tests.interruptions import attempted, before, before_akoya_acts, cut_at
from tests.world import World
from token_broker.domain.connection import Lease, Status
from token_broker.domain.errors import (
    ExchangeInProgress,
    RefreshInProgress,
    RequestRejected,
    UpstreamUnavailable,
)
from token_broker.domain.ports import TokenEndpoint
from token_broker.use_cases import attempt
from token_broker.use_cases.landing import NewSet, land


class During:
    """A token endpoint at which something else happens while an exchange is under way."""

    def __init__(self, endpoint: TokenEndpoint, happens: Any) -> None:
        self._endpoint, self._happens = endpoint, happens

    def exchange(self, *code: Any, **how: Any) -> Any:
        answer = self._endpoint.exchange(*code, **how)
        self._happens()
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)


def renewing(world: World, connection_id: str, user: str = "mikomo_1") -> str:
    return world.consent(world.open(world.begin(connection_id=connection_id)), user)


def test_a_renewal_waits_for_the_refresh_that_holds_the_lease(world: World) -> None:
    one = world.connect()
    address = renewing(world, one.id)
    now = world.clock()
    world.broker.connections.claim(
        one.id,
        lease=Lease(id="refresh", until=now + 95),
        now=now,
        due_at=now + 155,
        statuses={Status.ACTIVE},
        generation=1,
    )

    with pytest.raises(ExchangeInProgress):
        world.come_back(address)
    assert world.sends("authorization_code") == 1  # the one that connected
    world.pass_a_lease()

    assert world.come_back(address).result.status == "active"
    assert world.row(one.id).generation == 2


def test_a_renewal_that_was_not_sent_releases_the_lease_of_its_connection(world: World) -> None:
    one = world.connect()
    address = renewing(world, one.id)

    def fail() -> None:
        raise UpstreamUnavailable(detail="away")

    before(world.finishing.authorizations, "mark_sent", fail)
    with pytest.raises(UpstreamUnavailable):
        world.come_back(address)

    row = world.row(one.id)
    assert (row.lease, row.unsettled, world.sends("authorization_code")) == (None, 0, 1)
    assert world.hand_out(one.id, rejected=1).generation == 2


def test_no_refresh_is_sent_while_a_renewal_holds_the_lease(world: World) -> None:
    one = world.connect()
    address = renewing(world, one.id)

    def a_caller_comes() -> None:
        with pytest.raises(RefreshInProgress):
            world.hand_out(one.id, rejected=1)
        world.run_schedule()

    racing = replace(
        world,
        broker=replace(
            world.broker, token_endpoint=During(world.broker.token_endpoint, a_caller_comes)
        ),
    )
    assert racing.come_back(address).result.status == "active"

    assert world.sends() == 0
    assert world.row(one.id).generation == 2


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_a_renewal_whose_lease_ran_out_seals_its_set_above_the_newer_one(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    one = world.connect()
    address = renewing(world, one.id)

    def a_refresh_gets_in_between() -> None:
        world.pass_a_lease()
        held = attempt.claim(
            world.broker,
            one.id,
            lease=Lease(id="refresh", until=world.clock() + 95),
            statuses=frozenset({Status.ACTIVE}),
            generation=1,
        )
        new = NewSet(
            tokens=world.broker.seal.open(held),
            attempt_id="refresh",
            sent_at=world.clock(),
            expires_in=899,
        )
        sealer = world.broker.seal.prepare(one.id, subject="ada", connector="mikomo")
        land(world.broker, held, new, sealer=sealer, remaining=world.remaining)

    racing = replace(
        world,
        broker=replace(
            world.broker,
            token_endpoint=During(world.broker.token_endpoint, a_refresh_gets_in_between),
        ),
    )
    assert racing.come_back(address).result.status == "active"

    assert world.row(one.id).generation == 3
    assert world.hand_out(one.id).generation == 3
    world.make_due(one.id)
    world.run_schedule()
    assert world.row(one.id).generation == 4
    assert world.refused() == []


def test_a_renewal_with_another_login_that_is_recovered_still_names_the_old_connection(
    world: World,
) -> None:
    one = world.connect()
    address = renewing(world, one.id, "mikomo_2")

    with cut_at(world.broker.connections, "settle"):
        world.come_back(address)
    world.pass_a_lease()

    went = world.come_back(address)

    assert went.result.status == "pending_confirmation"
    assert went.result.previous_connection_id == one.id
    assert went.result.connection_id != one.id
    assert went.confirmation is not None
    world.clock.advance(60)
    world.run_schedule()
    assert world.hand_out(one.id).generation >= 1


def test_a_renewal_whose_bearer_does_not_verify_does_not_revoke_the_connection() -> None:
    """Strict mode and an `aud` of another kind: its bearer is not handed out, no more."""
    world = World.in_memory()
    one = world.connect()
    world.clock.advance(5)
    world.provider.arm({"fault": "aud_other", "on": ["exchange"], "times": 1})

    world.link("ada", one.id)
    world.pass_minutes(30)

    assert world.row(one.id).status is Status.ACTIVE


def test_a_page_need_not_wait_for_a_lease_to_end_once_the_consent_has_landed() -> None:
    """Only the other connection's refresh was in the way of taking over, and that is over."""
    world = World.in_memory()
    first = world.connect("ada")
    world.clock.advance(5)
    second = world.confirm(world.link("grace"), "grace")
    assert world.row(first.id).status is Status.SUPERSEDED
    world.make_due(second.id)
    address = renewing(world, first.id)

    before_akoya_acts(world, "refresh_token", attempted(world.come_back, address))
    world.run_schedule()
    assert world.row(first.id).status is Status.ACTIVE
    world.clock.advance(5)

    assert world.come_back(address).result.status == "active"


# ── an end that is undone ────────────────────────────────────────────────────────────────────────


def ended_by_mistake(world: World) -> str:
    """Have Akoya refuse a living refresh token until the connection is ended."""
    one = world.connect()
    world.provider.arm({"fault": "grant_dead"})
    assert world.pass_refusals(one.id).status is Status.REAUTH_REQUIRED
    return one.id


def test_the_operator_brings_a_connection_back_within_the_quarantine(memory: World) -> None:
    connection_id = ended_by_mistake(memory)
    memory.clock.advance(6 * 86_400)
    memory.run_schedule()

    reinstate(memory.broker, connection_id)
    memory.provider.disarm()
    memory.run_schedule()

    row = memory.row(connection_id)
    assert (row.status, row.reason, row.generation) == (Status.ACTIVE, None, 2)
    assert memory.hand_out(connection_id).generation == 2


def test_one_that_is_truly_dead_is_suspect_again_and_ends_again(memory: World) -> None:
    connection_id = ended_by_mistake(memory)
    memory.provider.expire("refresh_token")

    reinstate(memory.broker, connection_id)
    memory.run_schedule()
    assert memory.row(connection_id).degraded

    assert memory.pass_refusals(connection_id).status is Status.REAUTH_REQUIRED


def test_after_the_quarantine_nothing_is_left_to_reinstate(memory: World) -> None:
    connection_id = ended_by_mistake(memory)
    memory.clock.advance(7 * 86_400)
    memory.run_schedule()
    assert memory.row(connection_id).sealed is None

    with pytest.raises(RequestRejected, match="erased"):
        reinstate(memory.broker, connection_id)


def test_a_living_connection_cannot_be_reinstated(world: World) -> None:
    one = world.connect()

    with pytest.raises(RequestRejected, match="ACTIVE"):
        reinstate(world.broker, one.id)
