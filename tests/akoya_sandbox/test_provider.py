"""What the provider decides, in process: PKCE, lives, dialects, many threads."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.akoya_sandbox.authorization import SentBack
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.settings import InvalidSettingError
from tests.akoya_sandbox.app import (
    CLIENT_ID,
    authorization_query,
    code_form,
    query_of,
    revoke_form,
)
from tests.akoya_sandbox.conftest import Clock
from tests.akoya_sandbox.in_process import (
    BASIC,
    basic,
    claims_of,
    connect,
    consent,
    data_code,
    events,
    obtain,
    refresh,
)

# -- PKCE, nonce, scope ----------------------------------------------------------------------------

VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


def test_a_code_asked_for_with_a_challenge_needs_its_verifier(provider: AkoyaProvider) -> None:
    code = consent(provider, **PKCE)["code"]

    for wrong in (None, "w" * 43):
        answer = obtain(provider, code, code_verifier=wrong)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")
    assert obtain(provider, code, code_verifier=VERIFIER).status == 200


def test_a_verifier_without_a_challenge_is_refused(provider: AkoyaProvider) -> None:
    code = consent(provider)["code"]

    assert obtain(provider, code, code_verifier=VERIFIER).status == 400


def test_the_nonce_comes_back_in_the_first_id_token(provider: AkoyaProvider) -> None:
    first = connect(provider, nonce="a-nonce")
    second = refresh(provider, first["refresh_token"]).json()

    assert claims_of(first)["nonce"] == "a-nonce"
    assert "nonce" not in claims_of(second)


def test_basic_credentials_are_form_decoded(provider: AkoyaProvider) -> None:
    provider.change_client_secret("50% + more")

    raw = provider.token(authorization=basic("50% + more"), body=code_form("any"))
    encoded = provider.token(authorization=basic("50%25+%2B+more"), body=code_form("any"))

    assert raw.json() == {
        "error": "invalid_request",
        "error_description": "client_secret improperly encoded",
    }
    assert encoded.json()["error_description"] == "Invalid or expired code parameter."


@pytest.mark.parametrize("authorization", ["Basic !", "Basic YWJj", "Bearer x", "", "Basic /w=="])
def test_an_unreadable_authorization_header_is_a_wrong_credential(
    provider: AkoyaProvider, authorization: str
) -> None:
    answer = provider.token(authorization=authorization, body=code_form("any"))

    assert (answer.status, answer.json()["error"]) == (401, "invalid_client")


def test_a_repeated_parameter_is_refused_and_nothing_is_used(provider: AkoyaProvider) -> None:
    code = consent(provider)["code"]

    twice = provider.token(authorization=BASIC, body=code_form(code) + f"&code={code}")

    assert (twice.status, twice.json()["error"]) == (400, "invalid_request")
    assert obtain(provider, code).status == 200


def test_revoke_with_an_authorization_header_or_a_repeated_field_is_refused(
    provider: AkoyaProvider,
) -> None:
    token = connect(provider)["refresh_token"]
    form = revoke_form(token)

    for answer in (
        provider.revoke(authorization=BASIC, body=form),
        provider.revoke(authorization=None, body=f"{form}&token={token}"),
    ):
        assert (answer.status, answer.json()) == (400, {"error": "invalid_request"})
    assert refresh(provider, token).status == 200


# -- lives -----------------------------------------------------------------------------------------


def test_a_rolling_refresh_token_lives_from_its_last_rotation(
    provider: AkoyaProvider, clock: Clock
) -> None:
    provider.change_settings({"refresh_token_lifetime": 100})
    token = connect(provider)["refresh_token"]

    for _ in range(3):
        clock.advance(99)
        token = refresh(provider, token).json()["refresh_token"]
    clock.advance(100)
    assert refresh(provider, token).status == 400


def test_a_fixed_refresh_token_lives_from_the_consent(
    provider: AkoyaProvider, clock: Clock
) -> None:
    provider.change_settings({"refresh_token_lifetime": 100, "refresh_token_expiry": "fixed"})
    token = connect(provider)["refresh_token"]

    clock.advance(99)
    token = refresh(provider, token).json()["refresh_token"]
    clock.advance(1)
    assert refresh(provider, token).status == 400


def test_an_older_id_token_outlives_rotation_or_not_as_chosen(provider: AkoyaProvider) -> None:
    first = connect(provider)
    second = refresh(provider, first["refresh_token"]).json()
    assert data_code(provider, first["id_token"]) == (200, None)

    provider.change_settings({"id_token_after_rotation": "revoked"})
    third = refresh(provider, second["refresh_token"]).json()
    assert data_code(provider, first["id_token"]) == (401, 602)
    assert data_code(provider, second["id_token"]) == (401, 602)
    assert data_code(provider, third["id_token"]) == (200, None)


def test_a_new_consent_ends_the_older_id_tokens_where_so_chosen(provider: AkoyaProvider) -> None:
    older = connect(provider)
    connect(provider)
    assert data_code(provider, older["id_token"]) == (200, None)

    provider.change_settings({"id_token_after_rotation": "revoked"})
    last = connect(provider)
    connect(provider)
    assert data_code(provider, last["id_token"]) == (401, 602)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dialect": "gen3"},
        {"id_token_lifetime": 0},
        {"id_token_lifetime": 86_401},
        {"id_token_lifetime": "900"},
        {"id_token_lifetime": True},
        {"refresh_token_lifetime": 0},
        {"refresh_token_expiry": None},
        {"no_such_setting": 1},
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(
    provider: AkoyaProvider, wrong: dict[str, Any]
) -> None:
    before = provider.settings

    with pytest.raises(InvalidSettingError, match=next(iter(wrong)).split("_")[-1]):
        provider.change_settings(wrong)
    assert provider.settings == before


# -- dialects --------------------------------------------------------------------------------------


def test_gen1_with_a_reuse_window_gives_the_same_successor_until_it_ends(
    provider: AkoyaProvider, clock: Clock
) -> None:
    provider.change_settings({"dialect": "gen1-reuse-window"})
    first = connect(provider)["refresh_token"]
    second = refresh(provider, first).json()["refresh_token"]

    clock.advance(2.9)
    assert refresh(provider, first).json()["refresh_token"] == second
    clock.advance(0.1)
    assert refresh(provider, first).json()["error"] == "invalid_request"
    assert refresh(provider, second).status == 200


def test_gen1_gives_no_successor_again_once_that_was_used_itself(provider: AkoyaProvider) -> None:
    provider.change_settings({"dialect": "gen1-reuse-window"})
    first = connect(provider)["refresh_token"]
    second = refresh(provider, first).json()["refresh_token"]
    assert refresh(provider, second).status == 200

    assert refresh(provider, first).status == 400


def test_gen2_strict_kills_the_family_when_a_refresh_token_is_used_again(
    provider: AkoyaProvider,
) -> None:
    provider.change_settings({"dialect": "gen2-strict"})
    first = connect(provider)
    second = refresh(provider, first["refresh_token"]).json()

    assert refresh(provider, first["refresh_token"]).json()["error"] == "invalid_grant"

    assert refresh(provider, second["refresh_token"]).json()["error"] == "invalid_grant"
    assert data_code(provider, second["id_token"]) == (401, 602)


def test_gen2_grace_gives_another_successor_and_then_kills_the_family(
    provider: AkoyaProvider, clock: Clock
) -> None:
    provider.change_settings({"dialect": "gen2-grace"})
    first = connect(provider)["refresh_token"]
    second = refresh(provider, first).json()["refresh_token"]
    clock.advance(59.9)
    branch = refresh(provider, first).json()["refresh_token"]

    assert branch != second
    third = refresh(provider, second).json()["refresh_token"]
    clock.advance(0.1)
    assert refresh(provider, first).status == 400
    assert [refresh(provider, token).status for token in (branch, third)] == [400, 400]


def test_gen2_kills_what_a_code_gave_when_the_code_comes_again(provider: AkoyaProvider) -> None:
    provider.change_settings({"dialect": "gen2-strict"})
    code = consent(provider)["code"]
    first = obtain(provider, code).json()

    assert obtain(provider, code).json()["error"] == "invalid_grant"
    assert refresh(provider, first["refresh_token"]).status == 400
    assert data_code(provider, first["id_token"]) == (401, 602)


def test_gen1_keeps_what_a_code_gave_when_the_code_comes_again(provider: AkoyaProvider) -> None:
    code = consent(provider)["code"]
    first = obtain(provider, code).json()

    assert obtain(provider, code).status == 400
    assert refresh(provider, first["refresh_token"]).status == 200


def test_gen2_lets_two_consents_of_one_login_live_side_by_side(provider: AkoyaProvider) -> None:
    provider.change_settings({"dialect": "gen2-strict"})
    older, newer = connect(provider), connect(provider)

    assert refresh(provider, older["refresh_token"]).status == 200
    assert refresh(provider, newer["refresh_token"]).status == 200


def test_gen2_looks_as_it_does_in_public(provider: AkoyaProvider) -> None:
    provider.change_settings({"dialect": "gen2-strict"})

    answer = consent(provider)
    token_set = obtain(provider, answer["code"]).json()
    claims = claims_of(token_set)

    assert answer["code"].startswith("ory_ac_")
    assert answer["scope"] == "openid profile offline_access"
    assert token_set["refresh_token"].startswith("ory_rt_")
    assert claims["aud"] == [CLIENT_ID]
    assert set(claims) >= {"auth_time", "connectorId", "jti", "rat", "sid"}
    with pytest.raises(SentBack) as refused:
        provider.begin(authorization_query(state="short"))
    assert query_of(refused.value.location)["error"] == "invalid_state"


@pytest.mark.parametrize(
    ("grant_type", "error"), [(None, "invalid_request"), ("password", "unsupported_grant_type")]
)
def test_gen2_names_a_wrong_grant_type_as_the_rfc_does(
    provider: AkoyaProvider, grant_type: str | None, error: str
) -> None:
    provider.change_settings({"dialect": "gen2-strict"})

    assert obtain(provider, "any", grant_type=grant_type).json()["error"] == error


# -- many threads ----------------------------------------------------------------------------------


def test_of_many_threads_with_one_refresh_token_exactly_one_wins(provider: AkoyaProvider) -> None:
    first = connect(provider)["refresh_token"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(provider, first), range(32)))

    assert sorted(answer.status for answer in answers) == [200] + [400] * 31
    assert events(provider).count("refresh_token.rotated") == 1
    order = [entry["seq"] for entry in provider.ledger()["entries"]]
    assert order == sorted(set(order))
