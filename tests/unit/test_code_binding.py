"""A code connects only the person it was issued to: the nonce, PKCE, and the operator's word."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.interleavings.flows import sent_out
from tests.interruptions import cut_at, table_away
from tests.world import World
from token_broker.domain.authorization import CodeBinding
from token_broker.domain.connection import Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.runtime.observability import ALARMS


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
