"""Each sentence of Akoya's token page, in our words, and the tests that prove it on both sides.

Source: Akoya, reference of the token endpoint (token-akoya-v2-2-0, API of 2024-11-21), as read on
2026-12-01; the copies at docs.akoya.com/docs/openapi-tokens say the same.
"""

from __future__ import annotations

import ast
import base64
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import pytest
import requests

from local.akoya_sandbox.ledger import fingerprint
from tests.wiring import BROKER, CLIENT_ID, CLIENT_SECRET
from tests.world import World

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "akoya-sandbox.md").read_text()


class Sentence(NamedTuple):
    """What the page says, and what proves that the broker heeds it and the sandbox is like it."""

    says: str
    broker: str
    sandbox: str


HERE = "unit/test_seed_page.py::"
SENT = f"{HERE}test_an_exchange_sends_exactly_what_the_page_asks_for"
REFRESHED = f"{HERE}test_a_refresh_sends_exactly_what_the_page_asks_for"
REPLACED = f"{HERE}test_each_answer_replaces_both_tokens_of_the_one_before"
AUTHENTICATED = "unit/test_outcomes.py::"
AUTHENTICATED += "test_a_code_goes_with_basic_and_a_refresh_token_with_body_credentials"
STALE = "unit/test_token.py::test_a_stale_bearer_is_refreshed_first"
TOLD = "akoya_sandbox/test_published_token_tests.py::"
DATA = "akoya_sandbox/test_data_api.py::"

SENTENCES = (
    Sentence(
        "Tokens are asked for by a POST of a form to `/token`.",
        f"{HERE}test_each_token_request_is_a_form_posted_to_slash_token",
        "akoya_sandbox/test_admin.py::test_a_body_of_another_media_type_has_no_parameters",
    ),
    Sentence(
        "The endpoint gives the first tokens after an authorization.",
        SENT,
        f"{TOLD}test_obtain_with_a_good_code_gives_exactly_the_documented_members",
    ),
    Sentence(
        "It refreshes tokens without another authorization.",
        STALE,
        f"{TOLD}test_refresh_replaces_both_tokens",
    ),
    Sentence(
        "Each good answer has a new id_token and a new refresh_token.",
        REPLACED,
        f"{TOLD}test_refresh_replaces_both_tokens",
    ),
    Sentence(
        "Obtain: grant_type is authorization_code.",
        SENT,
        f"{TOLD}test_obtain_with_a_missing_or_wrong_grant_type_is_refused",
    ),
    Sentence(
        "Obtain: redirect_uri is the registered one.",
        SENT,
        f"{TOLD}test_obtain_with_another_redirect_uri_is_refused",
    ),
    Sentence(
        "Obtain: code comes from the person's authorization, in the body.",
        SENT,
        f"{TOLD}test_obtain_with_a_missing_or_wrong_code_is_refused",
    ),
    Sentence(
        "Obtain: client_id and client_secret go by HTTP Basic.",
        AUTHENTICATED,
        f"{TOLD}test_obtain_with_credentials_in_the_body_is_refused",
    ),
    Sentence(
        "A code expires in 5 minutes.",
        "unit/test_callback.py::test_a_provider_that_does_not_take_the_code_ends_in_a_told_state",
        f"{TOLD}test_a_code_is_good_for_five_minutes_and_no_longer",
    ),
    Sentence(
        "The provider sets how long a refresh token lives.",
        "unit/test_cadence.py::test_an_idle_connection_spends_its_keep_alive_alone",
        "akoya_sandbox/test_provider.py::test_a_rolling_refresh_token_lives_from_its_last_rotation",
    ),
    Sentence(
        "Refresh: grant_type is refresh_token.",
        REFRESHED,
        f"{TOLD}test_refresh_with_a_missing_or_wrong_grant_type_is_refused",
    ),
    Sentence(
        "Refresh: refresh_token is that of the latest good answer for this person.",
        f"{HERE}test_each_refresh_sends_the_refresh_token_of_the_answer_before",
        f"{TOLD}test_refresh_with_a_used_refresh_token_is_refused_and_its_successor_lives",
    ),
    Sentence(
        "Refresh: client_id and client_secret go in the body.",
        REFRESHED,
        f"{TOLD}test_refresh_with_wrong_client_credentials_is_refused",
    ),
    Sentence(
        "Refresh: nothing goes by HTTP Basic.",
        AUTHENTICATED,
        f"{TOLD}test_refresh_with_basic_is_refused",
    ),
    Sentence(
        "Refreshed tokens replace those of the answer before.",
        REPLACED,
        f"{TOLD}test_refresh_with_a_used_refresh_token_is_refused_and_its_successor_lives",
    ),
    Sentence(
        "Tokens of a new authorization replace those of the answer before.",
        "unit/test_callback.py::"
        "test_a_renewed_consent_keeps_the_connection_and_needs_no_confirmation",
        f"{TOLD}test_linking_the_same_login_again_replaces_the_older_refresh_token",
    ),
    Sentence(
        "The id_token is a JWT.",
        "unit/test_id_token.py::test_a_good_id_token_is_good",
        f"{TOLD}test_the_id_token_verifies_against_the_published_keys_and_carries_the_documented_claims",
    ),
    Sentence(
        "It lives for a short time, which the provider sets.",
        "unit/test_cadence.py::test_a_caller_of_every_few_minutes_waits_for_no_refresh",
        f"{TOLD}test_an_id_token_older_than_its_life_gets_602",
    ),
    Sentence(
        "It is the bearer of data calls.",
        "handlers/test_events.py::test_a_bearer_is_handed_out_with_what_its_user_needs",
        f"{DATA}test_balances_come_with_their_amounts",
    ),
    Sentence(
        "It opens only what the person has permitted.",
        f"{HERE}test_the_bearer_handed_out_is_the_id_token_as_it_came",
        f"{DATA}test_a_data_call_shows_no_account_that_was_not_shared",
    ),
    Sentence(
        "It must be renewed regularly.",
        "unit/test_cadence.py::"
        "test_the_first_ask_of_a_living_bearer_makes_it_due_before_it_expires",
        f"{DATA}test_expired_id_tokens_get_602_until_the_next_refresh",
    ),
    Sentence(
        "A new one comes by a refresh.",
        STALE,
        f"{DATA}test_expired_id_tokens_get_602_until_the_next_refresh",
    ),
    Sentence(
        "An answer has id_token, refresh_token, token_type and a whole expires_in.",
        "unit/test_outcomes.py::test_expires_in_is_read_however_it_is_written_or_not_at_all",
        f"{TOLD}test_obtain_with_a_good_code_gives_exactly_the_documented_members",
    ),
    Sentence(
        "The page's own sample accepts application/x-www-form-urlencoded.",
        "unit/test_tolerant_reading.py::"
        "test_each_request_accepts_json_first_and_the_form_that_akoyas_own_sample_asks_for",
        f"{TOLD}test_obtain_with_a_good_code_gives_exactly_the_documented_members",
    ),
)


def row(number: int, sentence: Sentence) -> str:
    """Return what the sandbox's page says of a sentence."""
    names = (node.replace("::", " ").split()[1] for node in sentence[1:])
    broker, sandbox = (name.removeprefix("test_").replace("_", " ") for name in names)
    return f"| {number} | {sentence.says} | {broker} | {sandbox} |"


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.says)
def test_each_sentence_names_a_test_that_exists(sentence: Sentence) -> None:
    for node in sentence[1:]:
        file, _, name = node.partition("::")
        tests = ast.parse((ROOT / "tests" / file).read_text()).body
        assert name in [one.name for one in tests if isinstance(one, ast.FunctionDef)], node


def test_the_sandboxs_page_begins_with_them() -> None:
    rows = [row(number, sentence) for number, sentence in enumerate(SENTENCES, 1)]
    first_heading, _, rest = PAGE.partition("\n## ")[2].partition("\n## ")
    assert [line for line in first_heading.splitlines() if line[2:3].isdigit()] == rows
    assert rest


# ── what no other test says of the wire ──────────────────────────────────────────────────────────


@pytest.fixture
def world() -> World:
    return World.in_memory()


def token_requests(world: World) -> list[requests.PreparedRequest]:
    return [one for one in world.http.sent if str(one.url).endswith("/token")]


def form(request: requests.PreparedRequest) -> list[tuple[str, str]]:
    return parse_qsl(str(request.body), keep_blank_values=True, strict_parsing=True)


def test_each_token_request_is_a_form_posted_to_slash_token(world: World) -> None:
    one = world.connect()
    world.make_due(one.id)
    world.run_schedule()

    assert len(token_requests(world)) == 2
    for request in token_requests(world):
        assert request.method == "POST"
        assert str(request.url) == f"{world.provider.issuer}token"
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_an_exchange_sends_exactly_what_the_page_asks_for(world: World) -> None:
    world.connect()

    (request,) = token_requests(world)
    sent = form(request)
    asked = dict(sent)
    assert asked.pop("code_verifier")  # PKCE, which Akoya's page does not speak of (RFC 7636)
    assert asked.pop("code")
    assert asked == {
        "grant_type": "authorization_code",
        "redirect_uri": f"{BROKER}/callback",
    }
    assert len(sent) == 4
    scheme, _, encoded = str(request.headers["Authorization"]).partition(" ")
    pair = [unquote(part) for part in base64.b64decode(encoded).decode().split(":")]
    assert (scheme, pair) == ("Basic", [CLIENT_ID, CLIENT_SECRET])


def test_a_refresh_sends_exactly_what_the_page_asks_for(world: World) -> None:
    one = world.connect()
    kept = world.broker.seal.open(world.row(one.id)).refresh_token.reveal()
    world.make_due(one.id)
    world.run_schedule()

    request = token_requests(world)[-1]
    assert sorted(form(request)) == [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", kept),
    ]
    assert "Authorization" not in request.headers


def test_each_refresh_sends_the_refresh_token_of_the_answer_before(world: World) -> None:
    one = world.connect()
    kept = []
    for _ in range(3):
        kept.append(world.broker.seal.open(world.row(one.id)).refresh_token.reveal())
        world.make_due(one.id)
        world.run_schedule()

    refreshes = token_requests(world)[1:]
    assert [dict(form(request))["refresh_token"] for request in refreshes] == kept
    assert len(set(kept)) == 3


def test_each_answer_replaces_both_tokens_of_the_one_before(world: World) -> None:
    one = world.connect()
    before = world.broker.seal.open(world.row(one.id))
    world.make_due(one.id)
    world.run_schedule()

    after = world.broker.seal.open(world.row(one.id))
    assert after.refresh_token != before.refresh_token
    assert after.id_token != before.id_token
    assert world.is_alive(world.row(one.id))


def test_the_bearer_handed_out_is_the_id_token_as_it_came(world: World) -> None:
    one = world.connect()

    bearer = world.hand_out(one.id)

    issued = [
        entry["fingerprint"]
        for entry in world.provider.ledger()["entries"]
        if entry["event"] == "id_token.issued"
    ]
    assert issued == [fingerprint(bearer.id_token.reveal())]
