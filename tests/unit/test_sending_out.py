"""Sending a browser out: how many attempts a subject may have, and who is not sent out at all."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.wiring import BROKER, RETURN_TO
from tests.world import World
from token_broker.domain.errors import (
    BrokerMisconfigured,
    RequestRejected,
    TicketInvalid,
    TooManyAttempts,
)
from token_broker.domain.secret_text import SecretText
from token_broker.use_cases import authorize


def begin_with(world: World, return_to: str) -> authorize.Begun:
    return authorize.begin(
        world.linking,
        subject="ada",
        connector="mikomo",
        return_to=return_to,
        connection_id=None,
        base_url=BROKER,
    )


# ── what a return_to may say ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "query",
    [
        "connection_id=1",
        "status=active",
        "x=1&error=",
        "previous_connection_id",
        "confirmation=guess",
        "%73tatus=active",
        "stat%75s=active&x",
    ],
)
def test_a_return_to_that_says_what_the_broker_says_is_refused(query: str) -> None:
    world = World.in_memory()

    with pytest.raises(RequestRejected) as told:
        begin_with(world, f"{RETURN_TO}?{query}")

    assert "status" in told.value.description
    assert not world.recorded("authorization_begun")


def test_a_return_to_may_say_anything_else(world: World) -> None:
    begin_with(world, f"{RETURN_TO}?step=2&my_status=new&Statuses")


# ── open attempts of one subject ─────────────────────────────────────────────────────────────────


def test_a_subject_may_have_ten_attempts_open(world: World) -> None:
    for _ in range(10):
        world.begin()
        world.clock.advance(1)

    with pytest.raises(TooManyAttempts) as told:
        world.begin()
    assert told.value.retry_after == 900 - 10
    world.begin("grace")  # another's are not counted


def test_an_attempt_that_expired_frees_its_place(world: World) -> None:
    for _ in range(10):
        world.begin()
    world.clock.advance(900)

    world.begin()


def test_an_attempt_that_ended_frees_its_place(world: World) -> None:
    for _ in range(9):
        world.begin()
    for _ in range(3):
        assert world.link().result.status == "pending_confirmation"

    world.begin()
    with pytest.raises(TooManyAttempts):
        world.begin()


def test_a_refused_attempt_takes_no_place() -> None:
    world = World.in_memory()
    for _ in range(20):
        with pytest.raises(RequestRejected):
            begin_with(world, "https://evil.example/")

    world.begin()


# ── no secret, no way out ────────────────────────────────────────────────────────────────────────


def test_nobody_is_sent_out_while_the_client_secret_is_not_set(world: World) -> None:
    name = f"{world.prefix}-client-secret"
    world.aws.secretsmanager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    world.aws.secretsmanager.create_secret(Name=name)

    with pytest.raises(BrokerMisconfigured) as told:
        world.begin()
    assert "no client secret yet" in told.value.description
    assert "put it into the stack's secret" in (told.value.detail or "")

    world.aws.secretsmanager.put_secret_value(SecretId=name, SecretString="{}")
    world.begin()


def test_a_secret_that_was_there_is_not_looked_for_each_time(world: World) -> None:
    world.begin()
    name = f"{world.prefix}-client-secret"
    world.aws.secretsmanager.delete_secret(SecretId=name)

    world.begin()
    world.clock.advance(300)
    with pytest.raises(BrokerMisconfigured):
        world.begin()


def test_a_secrets_manager_that_is_away_keeps_nobody_from_linking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://secretsmanager")

    monkeypatch.setattr(world.aws.secretsmanager, "describe_secret", away)

    world.begin()


# ── the way back from a link that is over ────────────────────────────────────────────────────────


def way_back_from(world: World, begun: authorize.Begun) -> str | None:
    with pytest.raises(TicketInvalid) as told:
        authorize.start(world.linking, ticket=begun.start_url.rpartition("/")[2])
    return told.value.way_back


def test_an_expired_link_offers_the_way_back(world: World) -> None:
    begun = world.begin()
    world.clock.advance(900)

    assert way_back_from(world, begun) == (
        f"{RETURN_TO}?connection_id={begun.connection_id}&status=failed&error=invalid_ticket"
    )


def test_a_link_that_was_used_offers_the_way_back_without_its_confirmation(world: World) -> None:
    begun = world.begin()
    world.come_back(world.consent(world.open(begun)))

    assert way_back_from(world, begun) == (
        f"{RETURN_TO}?connection_id={begun.connection_id}&status=pending_confirmation"
    )


def test_a_link_whose_code_is_being_exchanged_offers_none() -> None:
    world = World.in_memory()
    begun = world.begin()
    address = world.consent(world.open(begun))
    offered: list[str | None] = []

    def opened_again(_: object) -> None:
        if not offered:
            offered.append(way_back_from(world, begun))

    world.http.before = opened_again
    assert world.come_back(address).result.status == "pending_confirmation"
    assert offered == [None]


def test_an_unknown_link_offers_none() -> None:
    world = World.in_memory()
    with pytest.raises(TicketInvalid) as told:
        authorize.start(world.linking, ticket=SecretText("a" * 43).reveal())
    assert told.value.way_back is None
