"""What a consent covers is known of each token set, and a change of it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
import requests

from local.akoya_sandbox.answer import Answer
from tests.interruptions import table_away
from tests.unit.test_id_token import id_tokens, signed
from tests.world import World
from token_broker.domain.connection import Connection
from token_broker.runtime.http_api import view

NAMED = {"grant_id", "accounts", "products"}
MORE_ACCOUNTS = {"fault": "many_accounts", "on": ["refresh"], "times": 1}


@pytest.fixture
def world() -> World:
    return World.in_memory()


def answering(world: World, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let the id_token of each answer have other claims."""
    token = world.provider.token

    def changed(**request: Any) -> Answer:
        answer = token(**request)
        body = answer.json()
        told = jwt.decode(body["id_token"], options={"verify_signature": False})
        body["id_token"] = world.provider._signing_keys[-1].sign(change(told))
        return Answer(answer.status, answer.headers, json.dumps(body).encode())

    world.provider.token = changed  # type: ignore[method-assign]


def shown(world: World, one: Connection) -> dict[str, Any]:
    return view(world.broker.connections.look(one.id))


def refreshed(world: World, one: Connection) -> Connection:
    world.make_due(one.id)
    world.run_schedule()
    return world.row(one.id)


def test_a_linked_connection_shows_what_its_person_has_shared(world: World) -> None:
    one = world.connect()

    (grant,) = world.provider.grants()
    told = shown(world, one)
    assert told["grant_id"] == grant["grant_id"]
    assert told["accounts"] == len(grant["accounts"])
    assert told["products"] == ("account_info", "balances")
    assert told["terms_since"] == one.issued_at


def test_no_account_is_named_in_a_row(world: World) -> None:
    world.connect()

    (grant,) = world.provider.grants()
    kept = repr([world.memory.raw(one.id) for one in world.active()])
    assert grant["accounts"]
    assert not [account for account in grant["accounts"] if account in kept]


def test_a_change_of_what_is_shared_is_told_once(world: World) -> None:
    one = world.connect()
    assert refreshed(world, one).terms == one.terms
    assert world.recorded("consent_changed") == []

    world.clock.now += 60
    world.provider.arm(MORE_ACCOUNTS)
    changed = refreshed(world, one)

    assert [said["connection_id"] for said in world.recorded("consent_changed")] == [one.id]
    assert shown(world, one)["accounts"] == 2_000
    assert shown(world, one)["terms_since"] == changed.issued_at


@pytest.mark.parametrize("untold", ["accounts", "products"])
def test_what_an_id_token_does_not_tell_stays_as_it_was(world: World, untold: str) -> None:
    one = world.connect()
    answering(world, lambda claims: {k: v for k, v in claims.items() if k != untold})

    assert refreshed(world, one).terms == one.terms
    assert world.recorded("consent_changed") == []


def test_a_new_consent_that_names_no_grant_is_not_told_under_the_old_ones_name(
    world: World,
) -> None:
    one = world.connect()
    answering(world, lambda claims: {k: v for k, v in claims.items() if k not in NAMED})
    world.come_back(world.consent(world.open(world.begin(connection_id=one.id))))

    renewed = world.row(one.id)
    assert renewed.generation == 2
    assert (renewed.grant_id, renewed.terms) == (None, one.terms)


def test_a_set_that_lands_out_of_escrow_brings_what_it_covers(world: World) -> None:
    one = world.connect()
    world.provider.arm(MORE_ACCOUNTS)
    with table_away(world):
        refreshed(world, one)

    world.pass_a_lease()
    world.run_schedule()

    landed = world.row(one.id)
    assert landed.terms
    assert (landed.generation, landed.terms.accounts) == (2, 2_000)


@pytest.mark.parametrize("odd", [None, {"terms": "odd", "grant_id": 7}, {"terms": {"accounts": 1}}])
def test_a_connection_without_them_gains_them_at_its_next_refresh(
    world: World, odd: dict[str, Any] | None
) -> None:
    one = world.connect()
    world.memory[one.id] = replace(world.row(one.id), terms=None, grant_id=None)
    if odd:
        world.memory.spoil(one.id, odd)

    assert "accounts" not in shown(world, one)
    assert "degraded" not in shown(world, one)
    landed = refreshed(world, one)

    assert (landed.terms and landed.terms.accounts, landed.grant_id) == (3, one.grant_id)
    assert world.recorded("consent_changed") == []


@pytest.mark.parametrize("odd", [None, 7, "a", [], [7, None, "", "\ud800"], {"a": 1}, "\ud800"])
def test_claims_of_another_form_cover_nothing_and_stop_nothing(world: World, odd: object) -> None:
    claims = id_tokens(world).claims(signed(world, accounts=odd, products=odd, grant_id=odd))

    assert claims
    told = () if odd == [] else None
    assert (claims.accounts, claims.products) == (told, told)
    assert claims.grant_id == (odd if odd == "a" else None)


def test_products_spelled_in_capitals_are_the_same_and_what_is_endless_is_cut(world: World) -> None:
    names = ["BALANCES", "x" * 129, *(f"product-{number}" for number in range(99))]
    claims = id_tokens(world).claims(signed(world, products=names, grant_id="g" * 129))

    assert claims
    assert claims.products
    assert claims.products[:2] == ("balances", "product-0")
    assert (len(claims.products), claims.grant_id) == (64, None)


# ── what Akoya's support traces a request by ─────────────────────────────────────────────────────


def answers(world: World) -> list[str]:
    """What Akoya calls each of its answers from now on."""
    met: list[str] = []

    def note(response: requests.Response) -> requests.Response:
        met.append(response.headers["x-akoya-interaction-id"])
        return response

    world.http.after = note
    return met


def test_a_connection_shows_what_akoya_calls_the_answer_behind_its_set(world: World) -> None:
    met = answers(world)
    one = world.connect()
    assert shown(world, one)["interaction_id"] == met[0]

    refreshed(world, one)
    assert shown(world, one)["interaction_id"] == met[1]


def test_the_line_of_a_refused_refresh_says_what_akoya_calls_its_answer(world: World) -> None:
    one = world.connect()
    met = answers(world)
    world.provider.arm({"fault": "grant_dead", "on": ["refresh"]})
    refreshed(world, one)

    assert world.recorded("grant_refused")[-1]["interaction_id"] == met[-1]


def test_so_does_the_line_of_a_revoke(world: World) -> None:
    one = world.connect()
    met = answers(world)
    world.broker.connections.ask_revoke(one.id, now=world.clock())
    world.run_schedule()

    assert world.recorded("revoke_answered")[-1]["interaction_id"] == met[-1]


@pytest.mark.parametrize("odd", ["", "a b", "x" * 65, "é", "<script>"])
def test_what_is_no_id_is_not_kept(world: World, odd: str) -> None:
    def change(response: requests.Response) -> requests.Response:
        response.headers["x-akoya-interaction-id"] = odd
        return response

    world.http.after = change
    assert "interaction_id" not in shown(world, world.connect())
