"""Coming back: the way back of every page, whose answer it is, and who may page the operator."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.interleavings.flows import sent_out
from tests.wiring import IDP, RETURN_TO
from tests.world import World
from token_broker.adapters.id_token import OpenIdTokens
from token_broker.domain.errors import (
    BrokerMisconfigured,
    IssuerForeign,
    OutcomeTold,
    RequestRejected,
    StateInvalid,
    TokenBrokerError,
)
from token_broker.runtime.observability import ALARMS


def callback(world: World, subject: str = "ada", **query: str) -> str:
    """Return a redirect to a browser that was sent out."""
    url = world.open(world.begin(subject))
    (state,) = parse_qs(urlsplit(url).query)["state"]
    told = "&".join(f"{name}={value}" for name, value in query.items())
    return f"https://broker.example/callback?state={state}&{told}"


def way_back(world: World, address: str, **how: dict[str, object]) -> dict[str, str]:
    """Return what the page offers to tell the app."""
    with pytest.raises(TokenBrokerError) as told:
        world.come_back(address, **how)  # type: ignore[arg-type]
    assert told.value.way_back is not None
    assert told.value.way_back.startswith(f"{RETURN_TO}?")
    query = parse_qs(urlsplit(told.value.way_back).query)
    return {name: values[0] for name, values in query.items()}


# ── the way back ─────────────────────────────────────────────────────────────────────────────────


def test_a_redirect_in_another_browser_offers_the_way_back_and_consumes_nothing(
    world: World,
) -> None:
    address = sent_out(world).address

    offered = way_back(world, address, cookies={})

    assert (offered["status"], offered["error"]) == ("failed", "invalid_state")
    assert not offered.keys() & {"code", "state", "confirmation"}
    assert world.come_back(address).result.status == "pending_confirmation"


def test_a_redirect_that_says_nothing_offers_the_way_back(world: World) -> None:
    offered = way_back(world, callback(world))
    assert (offered["status"], offered["error"]) == ("failed", "invalid_request")


def test_a_broker_that_is_misconfigured_offers_the_way_back(world: World) -> None:
    address = sent_out(world).address
    world.aws.secretsmanager.put_secret_value(
        SecretId=f"{world.prefix}-client-secret", SecretString="{}"
    )
    with pytest.raises(BrokerMisconfigured) as told:
        world.come_back(address)
    assert told.value.way_back is not None
    assert "status=failed&error=server_error" in told.value.way_back


def test_a_state_that_is_not_ours_offers_none(world: World) -> None:
    with pytest.raises(StateInvalid) as told:
        world.come_back(f"https://broker.example/callback?code=c&state={'0' * 64}.{'a' * 43}")
    assert told.value.way_back is None


def test_a_cookie_whose_work_is_done_is_cleared(world: World) -> None:
    address = sent_out(world).address

    went = world.come_back(address)

    assert went.cookie_name in world.browser
    assert world.come_back(callback(world, error="access_denied")).cookie_name in world.browser


def test_a_redirect_delivered_again_without_its_cookie_offers_the_outcome_and_sends_nothing(
    world: World,
) -> None:
    address = sent_out(world).address
    went = world.come_back(address)

    with pytest.raises(OutcomeTold):
        world.come_back(address, cookies={})
    offered = way_back(world, address, cookies={})

    assert offered == {"connection_id": went.result.connection_id, "status": went.result.status}
    assert world.sends("authorization_code") == 1


# ── whose answer it is ───────────────────────────────────────────────────────────────────────────


def test_an_answer_of_another_provider_is_refused_and_consumes_nothing(world: World) -> None:
    address = sent_out(world).address

    with pytest.raises(IssuerForeign):
        world.come_back(f"{address}&iss=https://evil.example")
    assert world.recorded("redirect_issuer_foreign")
    assert world.sends("authorization_code") == 0

    assert world.come_back(f"{address}&iss={IDP}/").result.status == "pending_confirmation"


def test_an_answer_of_another_provider_is_only_counted_where_verification_is_not_strict(
    world: World,
) -> None:
    assert isinstance(world.broker.id_tokens, OpenIdTokens)
    world.broker.id_tokens._strict = False

    went = world.come_back(f"{sent_out(world).address}&iss=https://evil.example")

    assert went.result.status == "pending_confirmation"
    assert world.recorded("redirect_issuer_foreign")


# ── who may page the operator ────────────────────────────────────────────────────────────────────


def alarms(world: World) -> set[str]:
    return {name for name, _ in world.events} & ALARMS.keys()


@pytest.mark.parametrize("error", ["invalid_scope", "invalid_request", "unauthorized_client"])
def test_one_person_pages_nobody_however_often_they_bring_an_error(
    world: World, error: str
) -> None:
    for _ in range(12):
        went = world.come_back(callback(world, error=error))
        assert (went.result.status, went.result.error) == ("failed", error)

    assert len(world.recorded("front_channel_error")) == 12
    assert not alarms(world)


def test_what_three_people_meet_within_a_quarter_of_an_hour_pages(world: World) -> None:
    for subject in ("ada", "grace"):
        world.come_back(callback(world, subject, error="invalid_scope"))
    assert not alarms(world)

    world.come_back(callback(world, "joan", error="invalid_scope"))

    assert alarms(world) == {"request_refused"}
    (told,) = world.recorded("request_refused")
    assert told["error"] == "invalid_scope"


def test_what_three_people_meet_in_an_hour_pages_nobody(world: World) -> None:
    for subject in ("ada", "grace", "joan", "barbara"):
        world.come_back(callback(world, subject, error="invalid_scope"))
        world.clock.advance(900)

    assert not alarms(world)


def test_an_error_without_the_browsers_cookie_counts_nowhere(world: World) -> None:
    for subject in ("ada", "grace", "joan"):
        with pytest.raises(StateInvalid):
            world.come_back(callback(world, subject, error="invalid_scope"), cookies={})

    assert not world.recorded("front_channel_error")


@pytest.mark.parametrize("code", ["\ud800", "\u00e9", "a\nb"])
def test_a_state_or_cookie_no_browser_was_given_raises_nothing_else(code: str) -> None:
    world = World.in_memory()
    with pytest.raises(RequestRejected):
        world.come_back(f"https://broker.example/callback?code=c&state={'0' * 64}.{code}")
