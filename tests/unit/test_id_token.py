"""Checking an id_token: its claims, whose keys check it, and what nobody may accept yet."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
import requests

from local.akoya_sandbox.answer import Answer
from tests.clock import START
from tests.loopback import as_json, http_response
from tests.wiring import CLIENT_ID, IDP
from tests.world import World
from token_broker.adapters.id_token import OpenIdTokens
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict

NONCE = "n" * 43


def signed(world: World, **claims: Any) -> SecretText:
    """Return an id_token of the sandbox's, with these claims changed."""
    now = world.clock()
    standard = {"iss": f"{IDP}/", "sub": "s", "aud": CLIENT_ID, "iat": now, "exp": now + 900}
    return SecretText(world.provider._signing_keys[-1].sign(standard | claims))


def id_tokens(world: World, *, strict: bool = True) -> OpenIdTokens:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, world.http)

    def record(event: str, *, value: int = 1, **fields: Any) -> None:
        world.events.append((event, fields | {"value": value}))

    return OpenIdTokens(
        session, issuer=IDP, client_id=CLIENT_ID, strict=strict, clock=world.clock, record=record
    )


def announcing(world: World, **members: str) -> None:
    """Let the discovery document say something else."""
    announced = dict(world.provider.discovery()) | members

    def answer(request: requests.PreparedRequest) -> requests.Response | None:
        if str(request.url).endswith("openid-configuration"):
            return http_response(200, as_json(announced))
        return None

    world.http.before = answer


@pytest.mark.parametrize("strict", [True, False])
def test_a_good_id_token_is_good(*, strict: bool) -> None:
    world = World.in_memory()
    token = signed(world, nonce=NONCE, nbf=world.clock())
    assert id_tokens(world, strict=strict).verify(token, nonce=NONCE) is Verdict.OK


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("nonce", ["other", "", "\ud800", "\u00e9", 7, ["n"], {"n": 1}, True])
def test_a_nonce_that_is_not_ours_is_refused_whatever_it_is(nonce: Any, *, strict: bool) -> None:
    world = World.in_memory()
    token = signed(world, nonce=nonce)

    assert id_tokens(world, strict=strict).verify(token, nonce=NONCE) is Verdict.BAD


@pytest.mark.parametrize("strict", [True, False])
def test_nobody_accepts_an_id_token_before_its_time(*, strict: bool) -> None:
    world = World.in_memory()
    tokens = id_tokens(world, strict=strict)

    early = signed(world, nbf=world.clock() + 121)

    assert tokens.verify(early, nonce=None) is Verdict.BAD
    world.clock.advance(1)  # within the skew that two clocks may have
    assert tokens.verify(early, nonce=None) is Verdict.OK


@pytest.mark.parametrize("has_keys", [True, False])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": ""},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": {"client": CLIENT_ID}},
        {"aud": None},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"iat": START + 121},
        {"iat": "now"},
        {"iat": None},
        {"exp": START - 121},
        {"exp": None},
    ],
    ids=str,
)
def test_a_claim_that_is_not_as_it_must_be_is_a_fault_whether_or_not_there_are_keys(
    claims: dict[str, Any], *, strict: bool, has_keys: bool
) -> None:
    world = World.in_memory()
    if not has_keys:
        announcing(world, jwks_uri="https://elsewhere.example/keys")
    tokens = id_tokens(world, strict=strict)
    expected = Verdict.BAD if strict else Verdict.UNVERIFIED

    assert tokens.verify(signed(world, **claims), nonce=None) is expected
    assert [one["fault"] for one in world.recorded("id_token_unverified")] != ["no_keys"]


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": IDP},
        {"iss": f"{IDP}/"},
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID},
        {"iat": START + 120},
        {"exp": START - 119},
    ],
    ids=str,
)
def test_what_a_claim_may_be_is_no_fault(claims: dict[str, Any]) -> None:
    world = World.in_memory()
    assert id_tokens(world).verify(signed(world, **claims), nonce=None) is Verdict.OK


def test_a_signature_of_another_key_is_a_fault(world: World) -> None:
    token = signed(world).reveal()
    head, _, signature = token.rpartition(".")
    forged = SecretText(f"{head}.{signature[:-8]}AAAAAAAA")
    assert id_tokens(world).verify(forged, nonce=None) is Verdict.BAD


@pytest.mark.parametrize("strict", [True, False])
def test_keys_that_would_come_in_the_clear_check_nothing(*, strict: bool) -> None:
    world = World.in_memory()
    announcing(world, jwks_uri=f"{IDP}/keys".replace("http:", "https:"))

    verdict = id_tokens(world, strict=strict).verify(signed(world), nonce=None)

    assert verdict is Verdict.UNVERIFIED
    assert [one["fault"] for one in world.recorded("id_token_unverified")] == ["no_keys"]
    assert not [one for one in world.http.sent if str(one.url).endswith("/keys")]


def test_keys_of_another_issuer_check_nothing_where_verification_is_strict() -> None:
    world = World.in_memory()
    announcing(world, issuer="https://evil.example")

    assert id_tokens(world).verify(signed(world), nonce=None) is Verdict.UNVERIFIED
    assert world.recorded("discovery_issuer_foreign")
    assert not [one for one in world.http.sent if str(one.url).endswith("/keys")]


def test_keys_of_another_issuer_are_counted_where_verification_is_not_strict() -> None:
    world = World.in_memory()
    announcing(world, issuer="https://evil.example")

    assert id_tokens(world, strict=False).verify(signed(world), nonce=None) is Verdict.OK
    assert world.recorded("discovery_issuer_foreign")


def test_a_link_whose_nonce_is_no_text_ends_in_a_told_state(world: World) -> None:
    address = world.consent(world.open(world.begin()))
    token = world.provider.token

    def garbling(**request: Any) -> Answer:
        answer = token(**request)
        body = answer.json()
        body["id_token"] = signed(world, sub="s", nonce="\ud800").reveal()
        return Answer(answer.status, answer.headers, json.dumps(body).encode())

    world.provider.token = garbling  # type: ignore[method-assign]
    assert world.come_back(address).result.status == "failed"


# ── whatever an id_token says ────────────────────────────────────────────────────────────────────

CLAIMS = ("sub", "iat", "exp", "nbf", "aud", "azp", "nonce", "grant_id", "accounts", "products")
ODD: tuple[Any, ...] = (
    *(None, True, 7, -1, 1e308, 10**30),
    *("", "\ud800", "\x00", "x" * 5_000),
    *({"a": 1}, ["\ud800"], [[]]),
)


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_set_lands_whatever_its_id_token_says(claim: str, odd: object) -> None:
    world = World.in_memory()
    one = world.connect()
    token = world.provider.token

    def garbling(**request: Any) -> Answer:
        answer = token(**request)
        body = answer.json()
        told = jwt.decode(body["id_token"], options={"verify_signature": False}) | {claim: odd}
        body["id_token"] = world.provider._signing_keys[-1].sign(told)
        return Answer(answer.status, answer.headers, json.dumps(body).encode())

    world.provider.token = garbling  # type: ignore[method-assign]
    world.make_due(one.id)
    world.run_schedule()
    landed = world.row(one.id)

    assert landed.generation == 2
    assert world.is_alive(landed)
    assert world.recorded("escrow_used") == []
