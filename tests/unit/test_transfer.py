"""Moving in with tokens a backend already holds, and moving out again."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from operations import transfer
from tests.interruptions import before
from tests.world import World
from token_broker.domain.connection import Reason, Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ReauthorizationRequired,
    RefreshInProgress,
    RequestRejected,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet

QUARANTINE = 7 * 86_400


def elsewhere(world: World, subject: str = "ada", user: str = "mikomo_1") -> transfer.Held:
    """Return the tokens of a connection another backend has made at Akoya."""
    other = World.in_memory()
    other.provider, other.http.provider = world.provider, world.provider
    other.clock.now = world.clock.now
    row = other.row(other.connect(subject, user).id)
    tokens = other.broker.seal.open(row)
    assert tokens.id_token is not None
    return transfer.Held(
        subject=subject,
        connector="mikomo",
        refresh_token=tokens.refresh_token,
        id_token=tokens.id_token,
    )


def bring_in(world: World, held: transfer.Held) -> str:
    arrival = transfer.bring_in(world.broker, held, dry_run=False)
    assert arrival.connection_id is not None
    return arrival.connection_id


def take_out(world: World, connection_id: str) -> TokenSet:
    return transfer.take_out(world.broker, connection_id, quarantine=QUARANTINE)[1]


# ── in ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_what_comes_in_is_handed_out_at_once_and_refreshed_within_the_hour(
    world: World, dialect: str
) -> None:
    world.provider.change_settings({"dialect": dialect})
    connection_id = bring_in(world, elsewhere(world))
    sent = world.sends()

    assert world.hand_out(connection_id).generation == 1
    assert world.sends() == sent
    world.clock.advance(3_600)
    world.run_schedule()

    row = world.row(connection_id)
    assert (row.status, row.generation) == (Status.ACTIVE, 2)
    assert world.refused() == []


def test_one_whose_bearer_has_expired_is_refreshed_when_it_is_asked_for(world: World) -> None:
    held = elsewhere(world)
    world.clock.advance(2 * 86_400)

    connection_id = bring_in(world, held)

    assert world.hand_out(connection_id).generation == 2


def test_coming_in_twice_is_coming_in_once(world: World) -> None:
    held = elsewhere(world)
    first = transfer.bring_in(world.broker, held, dry_run=False)

    again = transfer.bring_in(world.broker, held, dry_run=False)

    assert again == transfer.Arrival(connection_id=first.connection_id, is_new=False)
    assert len(world.broker.connections.of_subject("ada").connections) == 1


def test_neither_token_stands_in_what_is_stored(world: World) -> None:
    held = elsewhere(world)
    connection_id = bring_in(world, held)

    stored = str(world.row(connection_id)) + str(world.row(connection_id).sealed)
    assert held.refresh_token.reveal() not in stored
    assert held.id_token.reveal() not in stored


def test_a_dry_run_writes_nothing(world: World) -> None:
    arrival = transfer.bring_in(world.broker, elsewhere(world), dry_run=True)

    assert arrival == transfer.Arrival(connection_id=None, is_new=True)
    assert world.broker.connections.of_subject("ada").connections == []


def test_a_login_of_another_subject_here_is_refused_by_name(world: World) -> None:
    one = world.connect("grace")
    held = elsewhere(world, "ada")

    with pytest.raises(RequestRejected, match=one.id):
        bring_in(world, held)
    assert world.row(one.id).status is Status.ACTIVE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"subject": "a b"}, "subject"),
        ({"connector": "-"}, "connector"),
        ({"id_token": SecretText("opaque")}, "id_token cannot be read"),
        (
            {
                "id_token": SecretText(
                    jwt.encode({"sub": "s", "aud": "x", "iat": 1, "exp": 2}, "k" * 32)
                )
            },
            "another client id",
        ),
    ],
)
def test_what_cannot_come_in_is_refused_with_the_reason(
    world: World, change: dict[str, Any], why: str
) -> None:
    fields = {name: getattr(elsewhere(world), name) for name in transfer.Held.__slots__}

    with pytest.raises(RequestRejected, match=why) as refusal:
        bring_in(world, transfer.Held(**fields | change))
    assert fields["refresh_token"].reveal() not in str(refusal.value)


def test_nothing_comes_into_or_goes_out_of_a_table_that_is_a_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.connect()
    held = elsewhere(world, "grace", "mikomo_2")
    monkeypatch.setattr(world.broker.connections, "table_id", lambda: "another")

    with pytest.raises(BrokerMisconfigured):
        bring_in(world, held)
    with pytest.raises(BrokerMisconfigured):
        take_out(world, one.id)


# ── out ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_taken_out_is_neither_handed_out_nor_sent_nor_revoked_any_more(
    world: World,
) -> None:
    one = world.connect()
    tokens = take_out(world, one.id)
    asked = len(world.provider.ledger()["requests"])

    with pytest.raises(ReauthorizationRequired):
        world.hand_out(one.id)
    for _ in range(20):
        world.clock.advance(86_400)
        world.run_schedule()
    world.broker.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert len(world.provider.ledger()["requests"]) == asked
    assert world.row(one.id).status is Status.REVOKED
    credentials = world.broker.client_secret.read()
    answer = world.broker.token_endpoint.refresh(tokens.refresh_token, credentials=credentials)
    assert answer.refresh_token is not None


def test_disconnecting_what_was_taken_out_sends_nothing_within_the_quarantine(
    world: World,
) -> None:
    one = world.connect()
    take_out(world, one.id)
    world.broker.connections.ask_revoke(one.id, now=world.clock())

    world.run_schedule()

    assert world.row(one.id).status is Status.REVOKED
    assert not [one for one in world.provider.ledger()["requests"] if one["endpoint"] == "revoke"]


def test_taking_out_may_be_repeated_until_the_sealed_set_is_erased(world: World) -> None:
    one = world.connect()
    first = take_out(world, one.id)

    assert take_out(world, one.id) == first
    assert world.row(one.id).reason is Reason.EXPORTED
    world.clock.advance(QUARANTINE)
    world.run_schedule()
    with pytest.raises(RequestRejected):
        take_out(world, one.id)


def test_nothing_is_taken_out_while_an_attempt_may_be_using_it(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "slow", "seconds": 40, "times": 1})
    tried: list[str] = []

    def meanwhile(seconds: float) -> None:
        world.clock.advance(seconds)
        with pytest.raises((RefreshInProgress, UpstreamUnavailable)):
            take_out(world, one.id)
        tried.append(one.id)

    world.provider._wait = meanwhile
    world.run_schedule()

    assert tried == [one.id]
    assert world.row(one.id).status is Status.ACTIVE


def test_an_export_that_is_refused_leaves_nothing_behind(world: World) -> None:
    """It is disconnected while it is taken out."""
    one = world.connect("ada")
    unsettled = world.row(one.id).unsettled
    disconnect = world.broker.connections.ask_revoke

    before(world.broker.connections, "end", lambda: disconnect(one.id, now=world.clock()))
    with pytest.raises(TokenBrokerError):
        take_out(world, one.id)

    row = world.row(one.id)
    assert (row.status, row.lease, row.unsettled) == (Status.REVOKE_PENDING, None, unsettled)


def test_what_was_taken_out_can_come_in_again(world: World) -> None:
    one = world.connect()
    tokens = take_out(world, one.id)
    assert tokens.id_token is not None

    again = bring_in(
        world,
        transfer.Held(
            subject="ada",
            connector="mikomo",
            refresh_token=tokens.refresh_token,
            id_token=tokens.id_token,
        ),
    )

    assert world.row(one.id).status is Status.SUPERSEDED
    world.clock.advance(3_600)
    world.run_schedule()
    assert world.hand_out(again).generation == 2
