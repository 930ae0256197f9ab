"""Connecting: who is let in, what a redirect leads to, and that its code is sent once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.interleavings.flows import sent_out
from tests.interruptions import attempted, before, before_akoya_acts, cut_at, table_away
from tests.loopback import http_response
from tests.wiring import CLIENT_SECRET, RETURN_TO
from tests.world import World
from token_broker.domain.authorization import CodeBinding
from token_broker.domain.connection import Status
from token_broker.domain.errors import (
    BrokerMisconfigured,
    ConfirmationInvalid,
    ConnectionNotFound,
    ExchangeInProgress,
    RequestRejected,
    StateInvalid,
    TicketInvalid,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.refresh_policy import SEND_BUDGET, SLOW_FOR
from token_broker.domain.secret_text import SecretText
from token_broker.runtime.observability import ALARMS
from token_broker.use_cases import authorize


def ticket_of(begun: authorize.Begun) -> str:
    return begun.start_url.rpartition("/")[2]


# ── sending out ──────────────────────────────────────────────────────────────────────────────────


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


def injected(world: World, *, send_pkce: bool = False) -> str:
    """Return a redirect with another's code; Akoya refuses it only by its code verifier."""
    world.linking = replace(world.linking, send_pkce=send_pkce)
    mine, theirs = sent_out(world).address, sent_out(world, "eve", user="mikomo_2").address
    code = parse_qs(urlsplit(theirs).query)["code"][0]
    state = parse_qs(urlsplit(mine).query)["state"][0]
    return f"https://broker.example/callback?state={state}&code={code}"


def without_nonce(world: World) -> World:
    """Let Akoya repeat no nonce from now on."""
    world.provider.arm({"fault": "nonce_missing"})
    return world


def nobody_is_connected(world: World) -> bool:
    """Return whether no consent lives at Akoya, and no connection here, once all is tidied up."""
    world.pass_minutes(2)
    left = {row.status for row in world.broker.connections.every()}
    return not world.living() and left <= {Status.REVOKED}


@pytest.mark.parametrize("send_pkce", [True, False])
def test_a_foreign_nonce_is_an_injected_code_and_connects_nobody(
    world: World, *, send_pkce: bool
) -> None:
    went = world.come_back(injected(world, send_pkce=send_pkce))

    assert went.result.status == "failed"
    assert nobody_is_connected(world)
    assert len(world.recorded("id_token_nonce_foreign")) == (0 if send_pkce else 1)
    assert not {name for name, _ in world.events} & ALARMS.keys()  # two sessions of one's own do it


@pytest.mark.parametrize("send_pkce", [True, False])
def test_an_injected_code_connects_nobody_where_the_nonce_is_not_repeated(
    world: World, *, send_pkce: bool
) -> None:
    without_nonce(world)

    went = world.come_back(injected(world, send_pkce=send_pkce))

    assert (went.result.status, went.confirmation) == ("failed", None)
    assert nobody_is_connected(world)


def test_a_link_without_a_nonce_fails_and_names_the_parameter_and_the_risk(world: World) -> None:
    went = without_nonce(world).link()

    assert (went.result.status, went.result.error) == ("failed", "code_unbound")
    assert nobody_is_connected(world)
    assert [one["connector"] for one in world.recorded("code_unbound")] == ["mikomo"]
    (told,) = world.recorded("broker_misconfigured")
    assert "CodeBinding" in told["detail"]
    assert "anybody" in told["detail"]
    assert not world.recorded("id_token_rejected")


def test_an_unbound_set_is_revoked_also_if_the_process_died_as_soon_as_it_was_durable() -> None:
    world = without_nonce(World.in_memory())
    address = sent_out(world).address
    with cut_at(world.finishing.authorizations, "finish"):
        world.come_back(address)

    assert nobody_is_connected(world)
    assert world.come_back(address).result.status == "failed"


def test_an_unbound_set_that_lay_in_escrow_connects_nobody() -> None:
    world = without_nonce(World.in_memory())
    person = sent_out(world)
    with table_away(world), suppress(TokenBrokerError):
        person.comes_back(world)
    world.clock.advance(170)

    assert world.come_back(person.address).result.status == "failed"
    assert nobody_is_connected(world)


def test_pkce_binds_a_code_by_the_operators_word(world: World) -> None:
    world.finishing = replace(without_nonce(world).finishing, code_binding=CodeBinding.PKCE)

    assert world.connect().status is Status.ACTIVE


def test_a_challenge_that_was_not_sent_binds_nothing(world: World) -> None:
    """The parameter was changed between the start and the redirect back."""
    world.finishing = replace(without_nonce(world).finishing, code_binding=CodeBinding.PKCE)
    world.linking = replace(world.linking, send_pkce=False)

    assert world.link().result.error == "code_unbound"


def test_unbound_codes_are_accepted_by_the_operators_word(world: World) -> None:
    world.finishing = replace(without_nonce(world).finishing, code_binding=CodeBinding.UNBOUND)
    world.linking = replace(world.linking, send_pkce=False)

    assert world.connect().status is Status.ACTIVE


@pytest.mark.parametrize("code_binding", CodeBinding)
def test_a_foreign_nonce_is_refused_whatever_binds_the_code(code_binding: CodeBinding) -> None:
    world = World.in_memory()
    world.finishing = replace(world.finishing, code_binding=code_binding)

    assert world.come_back(injected(world)).result.status == "failed"
    assert nobody_is_connected(world)


@pytest.mark.parametrize("send_pkce", [True, False])
def test_the_verifier_goes_with_the_code_where_the_challenge_went_before(
    world: World, *, send_pkce: bool
) -> None:
    world.linking = replace(world.linking, send_pkce=send_pkce)
    address = sent_out(world).address
    world.linking = replace(world.linking, send_pkce=not send_pkce)  # deployed in between

    assert world.come_back(address).result.status == "pending_confirmation"
    (exchange,) = [one for one in world.http.sent if "authorization_code" in str(one.body)]
    assert ("code_verifier=" in str(exchange.body)) is send_pkce


def test_a_renewal_of_its_own_login_lands_without_a_nonce(world: World) -> None:
    connection = world.connect()

    went = without_nonce(world).link(connection_id=connection.id)

    assert (went.result.status, went.result.connection_id) == ("active", connection.id)
    assert world.is_alive(world.row(connection.id))


def test_a_renewal_without_a_nonce_connects_no_other_login(world: World) -> None:
    connection = world.connect()

    went = without_nonce(world).link(connection_id=connection.id, user="mikomo_2")
    world.pass_minutes(2)

    assert went.result.error == "code_unbound"
    assert [row.id for row in world.active()] == [connection.id]
    assert len(world.living()) == 1
    assert world.is_alive(world.row(connection.id))


@pytest.mark.parametrize("dialect", ["gen1", "gen2-strict"])
def test_an_unbound_set_goes_to_the_connection_that_has_the_login(dialect: str) -> None:
    """Linking may have ended that one's own tokens; revoking would end the person's consent."""
    world = World.in_memory(dialect)
    connection = world.connect()
    world.clock.advance(5)

    went = without_nonce(world).link("eve")
    world.run_schedule()

    assert went.result.error == "code_unbound"
    assert world.hand_out(connection.id).generation == 2  # at once: it is that login's bearer
    world.pass_minutes(2)
    assert [row.id for row in world.active()] == [connection.id]
    assert world.is_alive(world.row(connection.id))
    assert world.hand_out(connection.id).generation >= 2
    assert not [one for one in world.refused() if one["grant_type"] == "refresh_token"]


def test_a_foreign_nonce_is_refused_also_if_the_process_died_before_it_said_so() -> None:
    world = World.in_memory()
    address = injected(world)
    with cut_at(world.finishing.authorizations, "finish"):
        world.come_back(address)
    world.pass_a_lease()

    went = world.come_back(address)

    assert went.result.status == "failed"
    assert went.confirmation is None


def test_a_link_that_can_never_be_confirmed_harms_nobody() -> None:
    """The process died before it told of the injected code."""
    world = World.in_memory("gen2-strict")
    first = world.connect("grace", "mikomo_2")
    world.clock.advance(5)
    with cut_at(world.finishing.authorizations, "finish"):
        world.come_back(injected(world))
    world.pass_minutes()

    assert world.is_alive(world.row(first.id))


def test_an_answer_without_a_refresh_token_connects_nobody(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    world.provider.arm({"fault": "refresh_token_missing", "on": ["exchange"], "times": 1})

    went = world.come_back(address)

    assert (went.result.status, went.result.error) == ("failed", "invalid_scope")


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
    assert [one.id for one in world.broker.connections.of_subject("ada")] == [connection.id]


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
