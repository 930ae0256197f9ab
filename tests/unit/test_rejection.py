"""A bearer that the data API refuses: when it is replaced, when Akoya is asked, and what never is.

The sandbox's data API is not asked here: a caller says what it refused, rightly or not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import requests

from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection, Degraded, Landing, Reason, Status
from token_broker.domain.errors import (
    ConsentSuspect,
    DataAccessRefused,
    RequestRejected,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.refresh_policy import PROOF_INTERVAL, REJECTED_SOON

LIFE = 899  # what the sandbox states of its id_tokens, a second less than they live


@pytest.fixture
def connection(world: World) -> Connection:
    return world.connect()


def away(_: requests.PreparedRequest) -> requests.Response:
    """Answer as a provider that is down."""
    return http_response(503)


def reject_what_is_held(world: World, connection_id: str) -> int:
    """Say that the bearer held is refused; return the generation handed out instead."""
    return world.hand_out(connection_id, rejected=world.row(connection_id).generation).generation


def proved(world: World, connection_id: str) -> int:
    """Let two fresh bearers in a row be refused; return the generation of the proof."""
    reject_what_is_held(world, connection_id)
    return reject_what_is_held(world, connection_id)


def test_a_rejected_bearer_is_replaced_once_and_never_served_again(
    world: World, connection: Connection
) -> None:
    assert world.hand_out(connection.id, rejected=1).generation == 2
    assert world.hand_out(connection.id, rejected=1).generation == 2
    assert world.sends() == 1

    world.http.before = away
    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id, rejected=2)


def test_two_rejections_do_not_end_a_living_consent_but_lead_to_one_proof(
    world: World, connection: Connection
) -> None:
    """Generation 1 was rejected, generation 2 used well for 90 seconds, then one 602."""
    world.hand_out(connection.id, rejected=1)
    world.clock.advance(90)

    bearer = world.hand_out(connection.id, rejected=2)

    assert bearer.generation == 3
    assert world.sends() == 2
    assert len(world.recorded("data_access_refused")) == 1
    assert world.row(connection.id).degraded is Degraded.DATA_ACCESS_REFUSED
    assert world.is_accepted(world.hand_out(connection.id))

    world.pass_minutes(60)
    row = world.row(connection.id)
    assert (row.status, row.reason, row.degraded) == (Status.ACTIVE, None, None)
    assert row.generation > 3
    assert world.is_alive(row)
    assert world.refused() == []
    assert world.recorded("reauthorization_required") == []


def test_a_second_rejection_after_the_window_is_the_normal_end_of_a_bearer(
    world: World, connection: Connection
) -> None:
    world.hand_out(connection.id, rejected=1)
    world.clock.advance(REJECTED_SOON + 1)

    assert world.hand_out(connection.id, rejected=2).generation == 3
    assert world.row(connection.id).degraded is None
    assert world.recorded("data_access_refused") == []


def test_the_window_of_a_short_lived_bearer_is_a_quarter_of_its_life(world: World) -> None:
    world.provider.change_settings({"id_token_lifetime": 300})
    connection = world.connect()
    world.hand_out(connection.id, rejected=1)
    world.clock.advance(76)

    assert world.hand_out(connection.id, rejected=2).generation == 3
    assert world.recorded("data_access_refused") == []


def test_a_proof_that_works_is_reported_and_serves_all_but_the_one_who_rejects_it(
    world: World, connection: Connection
) -> None:
    assert proved(world, connection.id) == 3

    assert len(world.recorded("data_access_refused")) == 1
    assert world.row(connection.id).degraded is Degraded.DATA_ACCESS_REFUSED
    assert world.hand_out(connection.id).generation == 3
    with pytest.raises(DataAccessRefused) as told:
        world.hand_out(connection.id, rejected=3)
    assert told.value.retry_after == PROOF_INTERVAL
    assert world.hand_out(connection.id).generation == 3
    assert world.sends() == 2
    assert world.row(connection.id).status is Status.ACTIVE


def test_whoever_rejects_without_end_costs_one_proof_an_hour(world: World) -> None:
    world.provider.change_settings({"id_token_lifetime": 86_400})
    connection = world.connect()
    proved(world, connection.id)
    sent = world.sends()
    told = []

    for _ in range(2 * PROOF_INTERVAL // 30):
        world.clock.advance(30)
        try:
            reject_what_is_held(world, connection.id)
        except DataAccessRefused as exc:
            told.append(exc.retry_after)

    assert world.sends() - sent == 2
    assert told[0] == PROOF_INTERVAL - 30
    assert world.row(connection.id).status is Status.ACTIVE


def test_a_proof_that_akoya_refuses_makes_the_consent_suspect(
    world: World, connection: Connection
) -> None:
    world.hand_out(connection.id, rejected=1)
    world.provider.arm({"fault": "grant_dead"})

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id, rejected=2)

    row = world.row(connection.id)
    assert row.suspected is not None
    assert row.suspected.reason is Reason.GRANT_DEAD
    assert row.degraded is Degraded.SUSPECT
    with pytest.raises(ConsentSuspect):
        world.hand_out(connection.id, rejected=2)


def test_a_proof_that_reaches_nobody_proves_nothing(world: World, connection: Connection) -> None:
    world.hand_out(connection.id, rejected=1)
    world.http.before = away
    with pytest.raises(UpstreamUnavailable) as told:
        world.hand_out(connection.id, rejected=2)

    assert not isinstance(told.value, DataAccessRefused)
    assert world.row(connection.id).degraded is None

    world.http.before = None
    world.make_due(connection.id)
    assert world.hand_out(connection.id, rejected=2).generation == 3


def test_data_access_is_no_longer_refused_once_a_bearer_passes_that_nobody_rejects(
    world: World, connection: Connection
) -> None:
    proved(world, connection.id)
    world.make_due(connection.id)
    world.run_schedule()

    assert world.row(connection.id).degraded is None


def test_a_rejection_long_after_another_is_not_in_a_row(
    world: World, connection: Connection
) -> None:
    world.hand_out(connection.id, rejected=1)
    world.clock.advance(LIFE)
    assert world.hand_out(connection.id).generation == 3

    assert world.hand_out(connection.id, rejected=3).generation == 4
    assert world.recorded("data_access_refused") == []


def test_a_rejection_before_a_new_consent_does_not_count_against_it(
    world: World, connection: Connection
) -> None:
    world.http.before = away
    with pytest.raises(UpstreamUnavailable):
        world.hand_out(connection.id, rejected=1)
    world.http.before = None
    world.link(connection_id=connection.id)

    assert world.hand_out(connection.id, rejected=2).generation == 3
    assert world.recorded("data_access_refused") == []


def test_a_new_consent_is_not_refused_for_what_was_refused_before_it(
    world: World, connection: Connection
) -> None:
    proved(world, connection.id)
    with pytest.raises(DataAccessRefused):
        world.hand_out(connection.id, rejected=3)
    world.link(connection_id=connection.id)

    assert world.row(connection.id).degraded is None
    assert world.hand_out(connection.id, rejected=4).generation == 5


def test_an_outage_makes_no_refused_access_of_an_expired_bearer() -> None:
    """What has expired is rejected whatever the consent: only the first rejection tells of it."""
    world = World.in_memory()
    one = world.connect()
    assert world.hand_out(one.id, rejected=1).generation == 2
    world.provider.arm({"fault": "error_before_commit", "on": ["refresh"]})
    world.clock.now = float(world.row(one.id).expires_at or 0) + 60
    world.run_schedule()

    with pytest.raises(TokenBrokerError):
        world.hand_out(one.id, rejected=2)
    world.provider.disarm()
    world.pass_minutes(20)

    row = world.row(one.id)
    assert (row.status, row.reason, row.degraded) == (Status.ACTIVE, None, None)


def test_a_proof_that_cannot_be_noted_is_handed_out_all_the_same(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise UpstreamUnavailable(detail="away")

    world.hand_out(connection.id, rejected=1)
    monkeypatch.setattr(world.broker.connections, "note_proof", away)

    assert world.is_accepted(world.hand_out(connection.id, rejected=2))


# ── a generation ahead of the row ────────────────────────────────────────────────────────────────


def test_a_generation_that_never_was_cannot_be_rejected(
    world: World, connection: Connection
) -> None:
    with pytest.raises(RequestRejected):
        world.hand_out(connection.id, rejected=2)
    assert world.sends() == 0


def escrowed(world: World, one: Connection) -> Landing:
    """Let the set of a rotation be in escrow and the table know of an unsettled attempt only."""
    before = world.row(one.id)
    world.clock.advance(LIFE)
    world.hand_out(one.id)
    landed = world.row(one.id)
    assert landed.sealed is not None
    assert landed.issued_at is not None
    assert landed.expires_at is not None
    kept = Landing(
        connection_id=one.id,
        generation=landed.generation,
        attempt_id=landed.attempt_id or "",
        sealed=landed.sealed,
        login=landed.login,
        issued_at=landed.issued_at,
        expires_at=landed.expires_at,
        verdict=landed.verdict,
        iat=landed.iat,
    )
    world.broker.escrow.put(kept)
    world.memory[one.id] = replace(before, unsettled=1, due_at=world.clock())
    return kept


def test_a_bearer_that_was_handed_out_of_escrow_may_be_rejected() -> None:
    """Its set is landed first, and the refresh token of that set is the one that is sent."""
    world = World.in_memory()
    one = world.connect()
    escrowed(world, one)
    world.clock.advance(REJECTED_SOON)
    sent = world.sends()

    assert world.hand_out(one.id, rejected=2).generation == 3

    assert world.sends() - sent == 1
    assert world.refused() == []
    assert world.is_alive(world.row(one.id))


def test_where_that_set_is_lost_the_old_one_is_refreshed_once() -> None:
    world = World.in_memory("gen2-grace")
    one = world.connect()
    kept = escrowed(world, one)
    world.broker.escrow.discard(one.id, kept.generation, kept.attempt_id)
    sent = world.sends()

    bearer = world.hand_out(one.id, rejected=2)

    assert world.sends() - sent == 1
    assert world.is_accepted(bearer)


def test_two_generations_ahead_of_an_unsettled_row_never_were() -> None:
    world = World.in_memory()
    one = world.connect()
    escrowed(world, one)

    with pytest.raises(RequestRejected):
        world.hand_out(one.id, rejected=3)
