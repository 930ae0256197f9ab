"""Coming back: what a redirect leads to, that its code is sent once, and who is connected by it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.interruptions import attempted, before, before_akoya_acts, cut_at
from tests.loopback import http_response
from tests.wiring import CLIENT_SECRET, RETURN_TO
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ConfirmationInvalid,
    ConnectionNotFound,
    ExchangeInProgress,
    RequestRejected,
    StateInvalid,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.refresh_policy import SEND_BUDGET, SLOW_FOR
from token_broker.domain.secret_text import SecretText

# ── coming back ──────────────────────────────────────────────────────────────────────────────────


def test_the_finishing_browser_alone_gets_the_confirmation(world: World) -> None:
    begun = world.begin()
    address = world.consent(world.open(begun))
    elsewhere = world.open(begun)
    state = parse_qs(urlsplit(elsewhere).query)["state"][0]

    went = world.come_back(address)
    other = world.come_back(f"https://broker.example/callback?state={state}&code=another")

    assert went.confirmation is not None
    assert went.location().startswith(f"{RETURN_TO}?connection_id=")
    assert (other.result, other.confirmation) == (went.result, None)
    assert world.sends("authorization_code") == 1


def test_a_reloaded_redirect_is_told_the_same_outcome_and_sends_nothing(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    first = world.come_back(address)

    for _ in range(3):
        assert world.come_back(address).location() == first.location()
    assert world.sends("authorization_code") == 1


def test_a_redirect_delivered_while_it_is_being_exchanged_waits_for_the_outcome(
    world: World,
) -> None:
    address = world.consent(world.open(world.begin()))
    told: list[type[Exception]] = []

    def again(request: requests.PreparedRequest) -> None:
        if "grant_type=authorization_code" in str(request.body):
            with pytest.raises(ExchangeInProgress) as waiting:
                world.come_back(address)
            told.append(waiting.type)

    world.http.before = again
    assert world.come_back(address).result.status == "pending_confirmation"
    assert told == [ExchangeInProgress]
    assert world.sends("authorization_code") == 1


def test_a_redirect_delivered_while_an_exchange_is_prepared_touches_nothing(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    told: list[type[Exception]] = []

    def delivered_again() -> None:
        with pytest.raises(ExchangeInProgress) as waiting:
            world.come_back(address)
        told.append(waiting.type)
        assert list(world.broker.connections.every()) == []

    before(world.broker.seal, "prepare", delivered_again)

    assert world.come_back(address).result.status == "pending_confirmation"
    assert told == [ExchangeInProgress]


def two_tabs(world: World) -> tuple[str, str]:
    """Return the redirects of a tab that consented and of one that cancelled."""
    begun = world.begin()
    address = world.consent(world.open(begun))
    pending = world.provider.begin(urlsplit(world.open(begun)).query)
    assert world.provider.sign_in(pending.id, "mikomo_1", "mikomo_1")
    return address, world.provider.decline(pending.id, "changed my mind")


def test_an_error_in_another_tab_does_not_end_an_exchange_under_way() -> None:
    world = World.in_memory()
    address, cancelled = two_tabs(world)

    before_akoya_acts(world, "authorization_code", attempted(world.come_back, cancelled))
    went = world.come_back(address)

    assert went.result.status == "pending_confirmation"
    assert went.confirmation is not None


def test_an_exchange_that_begins_while_another_tab_declines_tells_its_own_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The declining one writes its outcome while the code of the other is on its way."""
    world = World.in_memory()
    address, cancelled = two_tabs(world)
    finish = world.finishing.authorizations.finish

    def raced(row_id: str, **how: Any) -> Any:
        monkeypatch.undo()
        told: list[Any] = []
        declined = partial(finish, row_id, **how)
        before_akoya_acts(world, "authorization_code", lambda: told.append(declined()))
        attempted(world.come_back, address)()
        world.http.before = None
        return told[0] if told else declined()

    monkeypatch.setattr(world.finishing.authorizations, "finish", raced)
    attempted(world.come_back, cancelled)()

    rows = [world.row(one.id) for one in world.broker.connections.every()]
    landed = sum(row.sealed is not None for row in rows)
    told = world.come_back(address).result.status
    assert (landed, told) in {(1, "pending_confirmation"), (0, "declined")}


def test_a_link_recovered_by_another_tab_can_still_be_confirmed() -> None:
    world = World.in_memory()
    address, cancelled = two_tabs(world)
    with cut_at(world.finishing.authorizations, "finish"):
        world.come_back(address)
    world.pass_a_lease()

    tabs = [world.come_back(cancelled), world.come_back(address)]

    confirmed = []
    for went in tabs:
        if went.confirmation:
            with suppress(TokenBrokerError):
                confirmed.append(world.confirm(went))
    assert [one.status for one in confirmed] == [Status.ACTIVE]


def test_a_redirect_without_the_browsers_cookie_consumes_nothing(world: World) -> None:
    address = world.consent(world.open(world.begin()))

    for cookies in ({}, dict.fromkeys(world.browser, SecretText("guess"))):
        with pytest.raises(StateInvalid):
            world.come_back(address, cookies=cookies)

    assert world.sends("authorization_code") == 0
    assert world.come_back(address).result.status == "pending_confirmation"


@pytest.mark.parametrize(
    "query", ["code=c", "state=&code=c", "state=odd&code=c", f"state={'0' * 64}.x&code=c"]
)
def test_a_state_that_is_not_ours_is_refused(world: World, query: str) -> None:
    world.open(world.begin())

    with pytest.raises(StateInvalid):
        world.come_back(f"https://broker.example/callback?{query}")


def test_a_cancelled_consent_is_told_as_declined_and_leaves_nothing(world: World) -> None:
    url = world.open(world.begin())
    state = parse_qs(urlsplit(url).query)["state"][0]

    went = world.come_back(f"https://broker.example/callback?error=access_denied&state={state}")

    assert (went.result.status, went.result.error) == ("declined", "access_denied")
    assert went.confirmation is None
    with pytest.raises(ConnectionNotFound):
        world.row(went.result.connection_id)


def test_an_error_the_bank_made_up_is_not_passed_on(world: World) -> None:
    url = world.open(world.begin())
    state = parse_qs(urlsplit(url).query)["state"][0]

    went = world.come_back(f"https://broker.example/callback?error=<script>&state={state}")

    assert (went.result.status, went.result.error) == ("failed", "server_error")


def test_an_error_without_a_state_says_what_to_do(world: World) -> None:
    with pytest.raises(RequestRejected) as told:
        world.come_back("https://broker.example/callback?error=access_denied")
    assert "start again" in told.value.description


def test_a_redirect_that_comes_too_late_is_told_so_and_sends_nothing(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    world.clock.advance(900)

    went = world.come_back(address)

    assert (went.result.status, went.result.error) == ("failed", "expired")
    assert world.sends("authorization_code") == 0


def test_what_fails_before_the_send_leaves_the_code_good_for_another_delivery(
    world: World,
) -> None:
    address = world.consent(world.open(world.begin()))
    world.time_left = 5
    with pytest.raises(UpstreamUnavailable):
        world.come_back(address)

    world.time_left = 60
    assert world.come_back(address).result.status == "pending_confirmation"


@pytest.mark.parametrize("tidies", [True, False])
def test_an_unused_code_stays_good_although_the_table_fails_once(
    world: World, *, tidies: bool
) -> None:
    address = world.consent(world.open(world.begin()))
    failing = [UpstreamUnavailable, BrokerMisconfigured]

    def fail() -> None:
        if failing:
            raise failing.pop()(detail="away")

    world.http.before = lambda request: (
        http_response(429) if "authorization_code" in str(request.body) else None
    )
    if tidies:
        before(world.broker.connections, "delete", fail)
    else:
        before(world.finishing.authorizations, "reopen", fail)
    with pytest.raises(UpstreamUnavailable):
        world.come_back(address)

    world.http.before = None
    world.pass_a_lease()
    assert world.come_back(address).result.status == "pending_confirmation"


def test_whatever_fails_before_the_send_leaves_the_code_good(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    before(world.broker.connections, "create", _break)
    with pytest.raises(KeyError):
        world.come_back(address)

    assert world.come_back(address).result.status == "pending_confirmation"
    assert world.sends("authorization_code") == 1


def _break() -> None:
    raise KeyError("unforeseen")


def test_a_death_while_it_tidies_leaves_an_unused_code_good(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    world.http.before = lambda request: (
        http_response(429) if "authorization_code" in str(request.body) else None
    )
    with cut_at(world.broker.connections, "delete"):
        world.come_back(address)

    world.http.before = None
    world.pass_a_lease()
    assert world.come_back(address).result.status == "pending_confirmation"


def test_no_code_is_sent_without_time_to_persist_its_answer() -> None:
    """What is prepared first takes most of the time there is."""
    world = World.in_memory()
    world.time_left = 58.0

    def slow() -> None:
        world.time_left -= 40

    before(world.broker.connections, "create", slow)
    with suppress(TokenBrokerError):
        world.link()

    assert world.time_left < SEND_BUDGET
    assert world.sends("authorization_code") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_provider_that_does_not_take_the_code_ends_in_a_told_state(
    world: World, status: int
) -> None:
    address = world.consent(world.open(world.begin()))
    world.http.before = lambda request: (
        http_response(status) if "authorization_code" in str(request.body) else None
    )

    if status == 429:  # nothing was used up: the same redirect may come again
        with pytest.raises(UpstreamUnavailable):
            world.come_back(address)
        world.http.before = None
        world.clock.advance(SLOW_FOR)
        assert world.come_back(address).result.status == "pending_confirmation"
        return
    went = world.come_back(address)
    assert (went.result.status, went.result.error) == ("failed", "server_error")
    with pytest.raises(ConnectionNotFound):
        world.row(went.result.connection_id)


def test_a_first_connection_survives_a_wrong_secret_that_is_corrected_in_time(
    world: World,
) -> None:
    world.provider.change_client_secret("another")
    address = world.consent(world.open(world.begin()))
    with pytest.raises(UpstreamUnavailable):
        world.come_back(address)
    assert world.recorded("breaker_opened")
    with pytest.raises(UpstreamUnavailable):
        world.come_back(address)
    assert world.sends("authorization_code") == 1

    world.provider.change_client_secret(CLIENT_SECRET)
    world.clock.advance(121)
    world.run_schedule()  # nothing is due that could try it

    assert world.come_back(address).result.status == "pending_confirmation"


# ── confirming ───────────────────────────────────────────────────────────────────────────────────


def test_a_forwarded_link_does_not_connect_the_sender(world: World) -> None:
    went = world.link("eve")

    with pytest.raises(ConfirmationInvalid):
        world.confirm(went, "ada")
    assert world.row(went.result.connection_id).status is Status.PENDING_CONFIRMATION


def test_an_unconfirmed_connection_is_revoked_and_erased_after_its_time(world: World) -> None:
    went = world.link()
    world.clock.advance(900)
    world.run_schedule()

    with pytest.raises(ConnectionNotFound):
        world.row(went.result.connection_id)
    assert all(grant.get("ended") for grant in world.provider.grants())


# ── renewing ─────────────────────────────────────────────────────────────────────────────────────


def test_a_renewed_consent_keeps_the_connection_and_needs_no_confirmation(world: World) -> None:
    connection = world.connect()

    went = world.link(connection_id=connection.id)

    assert (went.result.status, went.result.connection_id) == ("active", connection.id)
    assert world.hand_out(connection.id).generation == 2
    assert [one.id for one in world.broker.connections.of_subject("ada").connections] == [
        connection.id
    ]


def test_a_renewal_with_another_login_leaves_the_old_one_alone_and_says_so(world: World) -> None:
    connection = world.connect()
    begun = world.begin(connection_id=connection.id)

    went = world.come_back(world.consent(world.open(begun), "mikomo_2"))

    assert went.result.status == "pending_confirmation"
    assert went.result.previous_connection_id == connection.id
    assert went.result.connection_id != connection.id
    row = world.row(connection.id)
    assert (row.status, row.generation, row.lease, row.due_at) == (
        Status.ACTIVE,
        1,
        None,
        connection.due_at,
    )
    assert world.hand_out(world.confirm(went).id).generation == 1


def test_only_its_own_subject_renews_a_connection(world: World) -> None:
    connection = world.connect()

    with pytest.raises(ConnectionNotFound):
        world.begin("eve", connection_id=connection.id)
