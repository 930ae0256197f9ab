"""Sending out: what a start link opens, how often, and where a person may return to."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.world import World
from token_broker.domain.errors import TicketInvalid
from token_broker.use_cases import authorize


def test_the_authorization_request_carries_what_akoya_wants(world: World) -> None:
    url = world.open(world.begin())

    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert query["connector"] == "mikomo"
    assert query["response_type"] == "code"
    assert query["scope"] == "openid profile offline_access"
    assert query["redirect_uri"] == "https://broker.example/callback"
    assert len(query["state"]) >= 64 + 1 + 43
    assert query["code_challenge_method"] == "S256"
    assert query["nonce"]


def test_each_opening_has_a_state_and_a_cookie_of_its_own(world: World) -> None:
    begun = world.begin()

    first, second = world.open(begun), world.open(begun)

    assert first != second
    assert len(world.browser) == 2


def test_a_start_link_ends_with_its_time_and_after_many_openings(world: World) -> None:
    begun = world.begin()
    for _ in range(20):
        world.open(begun)
    with pytest.raises(TicketInvalid):
        world.open(begun)

    late = world.begin()
    world.clock.advance(900)
    with pytest.raises(TicketInvalid):
        world.open(late)


@pytest.mark.parametrize("ticket", ["", "x", "a" * 43, "../../connections", "a" * 5000])
def test_an_unknown_ticket_opens_nothing(world: World, ticket: str) -> None:
    with pytest.raises(TicketInvalid):
        authorize.start(world.linking, ticket=ticket)


@pytest.mark.parametrize(
    "return_to",
    [
        "https://evil.example/return",
        "https://app.example.evil.example/return",
        "https://app.example@evil.example/return",
        "https://app.example/other",
        "https://app.example/return/below",
        "https://app.example/under/../other",
        "https://app.example/under/%2e%2e/other",
        "https://app.example/under/..",
        "https://app.example\\@evil.example/return",
        "https://app.example:8443/return",
        "http://app.example/return",
        "//app.example/return",
        "/return",
        "javascript:alert(1)",
        "https://app.example/return#fragment",
        "https://app.example/return\r\nSet-Cookie: a=b",
        "https://[app.example/return",
        "https://app.example/return?" + "a" * 2000,
        "",
    ],
)
def test_nobody_is_returned_to_an_address_that_is_not_listed(world: World, return_to: str) -> None:
    assert not authorize.listed(return_to, world.linking.return_to_allow_list)


@pytest.mark.parametrize(
    "return_to",
    [
        "https://app.example/return",
        "https://app.example/return?step=2",
        "https://app.example/under/",
        "https://app.example/under/the/bridge?x=1",
    ],
)
def test_a_listed_address_is_returned_to(world: World, return_to: str) -> None:
    assert authorize.listed(return_to, world.linking.return_to_allow_list)
