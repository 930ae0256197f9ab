"""What an answer may be beside the documented one, and still is read, kept and told."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import requests

from tests.loopback import as_json, http_response
from tests.world import World
from token_broker.adapters.akoya import Wire, classify
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import BrokerMisconfigured
from token_broker.domain.outcome import Grant, Outcome

CODE, REFRESH, REVOKE = Grant.AUTHORIZATION_CODE, Grant.REFRESH_TOKEN, Grant.REVOKE
FORM = b"token_type=bearer&expires_in=86399&id_token=h.p.s_-&refresh_token=r%2Bt"
CLAIMED = b"error=invalid_request&error_description=Refresh+token+is+invalid+or+has+already+been"


@pytest.fixture
def world() -> World:
    return World.in_memory()


@pytest.fixture
def stale(world: World) -> Connection:
    one = world.connect()
    world.make_due(one.id)
    return one


def changed(world: World, *, length: int = 0, **members: Any) -> None:
    """Let the next answer to a refresh come as a form, or as JSON with other members."""

    def on_answer(response: requests.Response) -> requests.Response:
        if "grant_type=refresh_token" not in str(response.request.body):
            return response
        world.http.after = None
        content = response.json() | members
        if length:
            body = urlencode(content).encode()
            return http_response(200, body, length=len(body) + length - 1)
        return http_response(200, as_json(content))

    world.http.after = on_answer


def test_each_request_accepts_json_first_and_the_form_that_akoyas_own_sample_asks_for(
    world: World, stale: Connection
) -> None:
    world.run_schedule()

    accepted = {request.headers["Accept"] for request in world.http.sent if request.body}
    assert accepted == {"application/json, application/x-www-form-urlencoded;q=0.9"}


# ── a form ───────────────────────────────────────────────────────────────────────────────────────


def test_a_rotation_that_comes_as_a_form_is_landed(world: World, stale: Connection) -> None:
    changed(world, length=1)
    world.run_schedule()

    row = world.row(stale.id)
    assert row.generation == 2
    assert world.is_alive(row)
    assert world.is_accepted(world.hand_out(stale.id))


@pytest.mark.parametrize("grant", [CODE, REFRESH])
def test_a_whole_form_says_what_json_would(grant: Grant) -> None:
    answer = classify(grant, Wire(200, FORM, is_measured=True))

    assert answer.outcome is Outcome.SUCCESS
    assert answer.refresh_token
    assert answer.refresh_token.reveal() == parse_qs(FORM.decode())["refresh_token"][0]
    assert answer.id_token
    assert answer.expires_in == 86399
    refused = classify(REFRESH, Wire(400, CLAIMED, is_measured=True))
    assert refused.outcome is Outcome.GRANT_DEAD


@pytest.mark.parametrize(
    "wire",
    [
        Wire(200, FORM[:-1], cut=Outcome.UPSTREAM, is_measured=True),
        Wire(200, FORM, is_measured=False),
    ],
    ids=["cut", "of-unknown-length"],
)
def test_a_form_that_may_have_been_cut_is_no_answer(wire: Wire) -> None:
    assert classify(REFRESH, wire).outcome is (wire.cut or Outcome.GARBLED)


def test_a_form_that_was_cut_on_its_way_is_repeated_and_lands_nothing(
    world: World, stale: Connection
) -> None:
    before = world.row(stale.id).sealed
    changed(world, length=2)
    world.run_schedule()

    assert world.sends() == 2
    assert world.row(stale.id).sealed == before


def test_a_form_whose_headers_do_not_say_where_it_ends_lands_nothing(
    world: World, stale: Connection
) -> None:
    before = world.row(stale.id).sealed
    world.http.after = lambda _: http_response(200, FORM)
    world.run_schedule()

    assert world.row(stale.id).sealed == before


@pytest.mark.parametrize(
    "body",
    [
        b"<html>id_token=h.p.s&refresh_token=r</html>",
        FORM + b"&refresh_token=other",
        b"id_token=h.p.s&refresh_token",
        b"id_token=%FF&refresh_token=r\n\n<p>",
    ],
    ids=["page", "doubled", "no-value", "trailer"],
)
def test_what_only_looks_like_a_form_of_tokens_is_none(body: bytes) -> None:
    assert classify(REFRESH, Wire(200, body, is_measured=True)).outcome is Outcome.GARBLED


def test_a_form_is_no_word_that_a_consent_was_revoked() -> None:
    assert classify(REVOKE, Wire(200, b"a=b", is_measured=True)).outcome is Outcome.GARBLED


# ── its members ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token_type", ["DPoP", "mac", 7])
def test_a_token_type_other_than_bearer_is_told_and_its_set_kept(
    world: World, stale: Connection, token_type: object
) -> None:
    changed(world, token_type=token_type)
    world.run_schedule()

    assert world.recorded("token_type_foreign") == [{"connection_id": stale.id, "value": 1}]
    assert world.is_alive(world.row(stale.id))


@pytest.mark.parametrize("token_type", ["bearer", "Bearer", "BEARER"])
def test_bearer_is_a_bearer_in_any_case(world: World, stale: Connection, token_type: str) -> None:
    changed(world, token_type=token_type)
    world.run_schedule()

    assert world.row(stale.id).generation == 2
    assert not world.recorded("token_type_foreign")


def test_no_token_type_is_told_of_nobody() -> None:
    assert not classify(REFRESH, Wire(200, b'{"refresh_token":"r"}')).is_type_foreign


def test_a_set_without_a_refresh_token_keeps_the_old_one_and_is_counted(
    world: World, stale: Connection
) -> None:
    before = world.broker.seal.open(world.row(stale.id))
    world.provider.arm({"fault": "refresh_token_missing", "times": 1})
    world.run_schedule()

    row = world.row(stale.id)
    after = world.broker.seal.open(row)
    assert row.generation == 2
    assert after.refresh_token == before.refresh_token
    assert after.id_token != before.id_token
    assert world.recorded("refresh_token_missing") == [{"connection_id": stale.id, "value": 1}]
    world.make_due(stale.id)
    world.run_schedule()
    assert (world.row(stale.id).status, world.row(stale.id).generation) == (Status.ACTIVE, 3)


def test_403_invalid_client_stops_all_sends_and_touches_no_connection(
    world: World, stale: Connection
) -> None:
    def refuse(request: requests.PreparedRequest) -> requests.Response | None:
        return http_response(403, b'{"error":"invalid_client"}')

    world.http.before = refuse
    with pytest.raises(BrokerMisconfigured):
        world.hand_out(stale.id, rejected=1)

    assert world.recorded("breaker_opened")
    assert world.row(stale.id).suspected is None
