"""The tests Akoya publishes for its token endpoints, and its table of errors, over HTTP.

One test per published case; sources are Akoya's pages "Testing tokens", "Token errors" and
"id_token details".
"""

from __future__ import annotations

import jwt
import pytest
import requests

from tests.akoya_sandbox.app import CLIENT_ID, CLIENT_SECRET, App, code_form
from tests.akoya_sandbox.conftest import Clock

DAY = 86_400
CLAIMED = "Refresh token is invalid or has already been claimed by another client."


def refused(answer: requests.Response) -> tuple[int, dict[str, str]]:
    return answer.status_code, answer.json()


# -- obtain ----------------------------------------------------------------------------------------


def test_obtain_with_a_good_code_gives_exactly_the_documented_members(app: App) -> None:
    answer = app.post("token", code_form(app.link()), basic=True)

    body = answer.json()
    assert answer.status_code == 200
    assert sorted(body) == ["expires_in", "id_token", "refresh_token", "token_type"]
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 899
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["x-akoya-interaction-id"]


@pytest.mark.parametrize("code", ["", "no-such-code"])
def test_obtain_with_a_missing_or_wrong_code_is_refused(app: App, code: str) -> None:
    assert refused(app.post("token", code_form(code), basic=True)) == (
        400,
        {"error": "invalid_request", "error_description": "Invalid or expired code parameter."},
    )


def test_obtain_with_a_used_code_is_refused(app: App) -> None:
    code = app.link()
    assert app.post("token", code_form(code), basic=True).status_code == 200

    assert refused(app.post("token", code_form(code), basic=True)) == (
        400,
        {"error": "invalid_request", "error_description": "Invalid or expired code parameter."},
    )


def test_a_code_is_good_for_five_minutes_and_no_longer(app: App, clock: Clock) -> None:
    early, late = app.link("mikomo_1"), app.link("mikomo_2")

    clock.advance(299)
    assert app.post("token", code_form(early), basic=True).status_code == 200
    clock.advance(1)
    assert refused(app.post("token", code_form(late), basic=True)) == (
        400,
        {"error": "invalid_request", "error_description": "Invalid or expired code parameter."},
    )


@pytest.mark.parametrize("redirect_uri", [None, "http://localhost:9/callback/"])
def test_obtain_with_another_redirect_uri_is_refused(app: App, redirect_uri: str | None) -> None:
    form = code_form(app.link(), redirect_uri=redirect_uri)

    assert refused(app.post("token", form, basic=True)) == (
        400,
        {
            "error": "invalid_request",
            "error_description": "redirect_uri did not match URI from initial request.",
        },
    )


@pytest.mark.parametrize("grant_type", [None, "client_credentials"])
def test_obtain_with_a_missing_or_wrong_grant_type_is_refused(
    app: App, grant_type: str | None
) -> None:
    form = code_form(app.link(), grant_type=grant_type)

    assert refused(app.post("token", form, basic=True)) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(
    "credentials", [("another-app", CLIENT_SECRET), (CLIENT_ID, "wrong"), None]
)
def test_obtain_with_wrong_client_credentials_is_refused(
    app: App, credentials: tuple[str, str] | None
) -> None:
    answer = app.session.post(
        f"{app.issuer}token",
        data=code_form(app.link()),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        auth=credentials,
        timeout=10,
    )

    assert refused(answer) == (
        401,
        {"error": "invalid_client", "error_description": "Invalid client credentials."},
    )


# -- refresh ---------------------------------------------------------------------------------------


def test_refresh_replaces_both_tokens(app: App) -> None:
    first = app.connect()

    second = app.refresh(first["refresh_token"]).json()

    assert sorted(second) == ["expires_in", "id_token", "refresh_token", "token_type"]
    assert second["refresh_token"] != first["refresh_token"]
    assert second["id_token"] != first["id_token"]
    assert app.accounts(second["id_token"]).status_code == 200
    assert app.refresh(second["refresh_token"]).status_code == 200


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_refresh_without_a_refresh_token_is_refused(app: App, refresh_token: str | None) -> None:
    assert refused(app.refresh(refresh_token)) == (
        400,
        {"error": "invalid_request", "error_description": "No refresh token in request."},
    )


def test_refresh_with_a_wrong_refresh_token_is_refused(app: App) -> None:
    assert refused(app.refresh("no-such-token")) == (
        400,
        {"error": "invalid_request", "error_description": CLAIMED},
    )


def test_refresh_with_a_used_refresh_token_is_refused_and_its_successor_lives(app: App) -> None:
    first = app.connect()
    second = app.refresh(first["refresh_token"]).json()

    assert refused(app.refresh(first["refresh_token"])) == (
        400,
        {"error": "invalid_request", "error_description": CLAIMED},
    )
    assert app.refresh(second["refresh_token"]).status_code == 200


def test_refresh_with_an_expired_refresh_token_is_refused(app: App, clock: Clock) -> None:
    app.admin("PUT", "settings", {"refresh_token_lifetime": DAY})
    first = app.connect()
    clock.advance(DAY)

    assert refused(app.refresh(first["refresh_token"])) == (
        400,
        {"error": "invalid_request", "error_description": CLAIMED},
    )


@pytest.mark.parametrize("grant_type", [None, "password"])
def test_refresh_with_a_missing_or_wrong_grant_type_is_refused(
    app: App, grant_type: str | None
) -> None:
    first = app.connect()

    answer = app.refresh(first["refresh_token"], grant_type=grant_type)

    assert refused(answer) == (400, {"error": "invalid_grant"})
    assert app.refresh(first["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    "wrong", [{"client_id": "another-app"}, {"client_secret": "wrong"}, {"client_secret": None}]
)
def test_refresh_with_wrong_client_credentials_is_refused(
    app: App, wrong: dict[str, str | None]
) -> None:
    first = app.connect()

    assert refused(app.refresh(first["refresh_token"], **wrong)) == (
        401,
        {"error": "invalid_client", "error_description": "Invalid client credentials."},
    )
    assert app.refresh(first["refresh_token"]).status_code == 200


def test_linking_the_same_login_again_replaces_the_older_refresh_token(app: App) -> None:
    older = app.connect("mikomo_1")
    other = app.connect("mikomo_2")
    newer = app.connect("mikomo_1")

    assert refused(app.refresh(older["refresh_token"])) == (
        400,
        {"error": "invalid_request", "error_description": CLAIMED},
    )
    assert app.refresh(newer["refresh_token"]).status_code == 200
    assert app.refresh(other["refresh_token"]).status_code == 200


# -- client authentication: one method per grant ---------------------------------------------------


def test_obtain_with_credentials_in_the_body_is_refused(app: App) -> None:
    form = code_form(app.link(), client_id=CLIENT_ID, client_secret=CLIENT_SECRET)

    assert refused(app.post("token", form)) == (
        401,
        {"error": "invalid_client", "error_description": "Invalid client credentials."},
    )


def test_refresh_with_basic_is_refused(app: App) -> None:
    first = app.connect()
    form = f"grant_type=refresh_token&refresh_token={first['refresh_token']}"

    assert refused(app.post("token", form, basic=True)) == (
        401,
        {"error": "invalid_client", "error_description": "Invalid client credentials."},
    )


def test_two_methods_in_one_request_are_refused(app: App) -> None:
    code = app.link("mikomo_1")
    first = app.connect("mikomo_2")
    both = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    refresh = f"grant_type=refresh_token&refresh_token={first['refresh_token']}&" + "&".join(
        f"{name}={value}" for name, value in both.items()
    )

    for form in (code_form(code, **both), refresh):
        answer = app.post("token", form, basic=True)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert app.post("token", code_form(code), basic=True).status_code == 200
    assert app.refresh(first["refresh_token"]).status_code == 200


# -- revoke ----------------------------------------------------------------------------------------


def test_revoke_ends_the_refresh_token_and_data_calls_at_once(app: App) -> None:
    first = app.connect()

    answer = app.revoke(first["refresh_token"])

    assert (answer.status_code, answer.content) == (200, b"")
    assert refused(app.refresh(first["refresh_token"])) == (
        400,
        {"error": "invalid_request", "error_description": CLAIMED},
    )
    data = app.accounts(first["id_token"])
    assert (data.status_code, data.json()["code"]) == (401, 602)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": None},
        {"token": "no-such-token"},
        {"client_id": None},
        {"client_id": "another-app"},
        {"client_secret": None},
        {"token_type_hint": None},
    ],
)
def test_revoke_with_a_missing_or_invalid_field_is_refused(
    app: App, wrong: dict[str, str | None]
) -> None:
    first = app.connect()

    assert refused(app.revoke(first["refresh_token"], **wrong)) == (
        400,
        {"error": "invalid_request"},
    )
    assert app.refresh(first["refresh_token"]).status_code == 200


def test_revoke_of_a_claimed_or_revoked_token_is_refused(app: App) -> None:
    first = app.connect()
    second = app.refresh(first["refresh_token"]).json()

    assert refused(app.revoke(first["refresh_token"])) == (400, {"error": "invalid_request"})
    assert app.revoke(second["refresh_token"]).status_code == 200
    assert refused(app.revoke(second["refresh_token"])) == (400, {"error": "invalid_request"})


def test_revoke_with_another_hint_is_refused(app: App) -> None:
    first = app.connect()

    assert refused(app.revoke(first["refresh_token"], token_type_hint="access_token")) == (
        400,
        {"error": "unsupported_token_type"},
    )


def test_revoke_with_a_wrong_secret_is_refused(app: App) -> None:
    first = app.connect()

    assert refused(app.revoke(first["refresh_token"], client_secret="wrong")) == (
        401,
        {"error": "unauthorized_client"},
    )


# -- id_token --------------------------------------------------------------------------------------


def test_the_id_token_verifies_against_the_published_keys_and_carries_the_documented_claims(
    app: App, clock: Clock
) -> None:
    token_set = app.connect("mikomo_7")
    metadata = app.browse(".well-known/openid-configuration").json()
    keys = jwt.PyJWKSet.from_dict(app.session.get(metadata["jwks_uri"], timeout=10).json())
    header = jwt.get_unverified_header(token_set["id_token"])

    claims = jwt.decode(
        token_set["id_token"],
        keys[header["kid"]],
        algorithms=["RS256"],
        audience=CLIENT_ID,
        issuer=metadata["issuer"],
        options={"verify_exp": False, "verify_iat": False},
    )

    assert metadata["token_endpoint_auth_methods_supported"] == ["client_secret_basic"]
    assert claims["iss"] == app.issuer
    assert claims["iss"].endswith("/")
    assert claims["aud"] == CLIENT_ID
    assert claims["email"] == "mikomo_7"
    assert claims["iat"] == int(clock())
    assert claims["exp"] - claims["iat"] == 900
    assert set(claims) >= {"sub", "grant_id", "accounts", "products", "name", "at_hash"}


def test_an_id_token_older_than_its_life_gets_602(app: App, clock: Clock) -> None:
    app.admin("PUT", "settings", {"id_token_lifetime": DAY})
    token_set = app.connect()

    clock.advance(DAY - 1)
    assert app.accounts(token_set["id_token"]).status_code == 200
    clock.advance(1)
    answer = app.accounts(token_set["id_token"])
    assert answer.status_code == 401
    assert answer.json() | {"debugMessage": ""} == {
        "code": 602,
        "message": "Customer not authorized",
        "debugMessage": "",
    }


def test_sub_stays_through_refresh_and_re_link_and_differs_between_logins(app: App) -> None:
    def sub(token_set: dict[str, str]) -> str:
        claims = jwt.decode(token_set["id_token"], options={"verify_signature": False})
        return str(claims["sub"])

    first = app.connect("mikomo_1")
    refreshed = app.refresh(first["refresh_token"]).json()
    again = app.connect("mikomo_1")
    other = app.connect("mikomo_2")

    assert sub(first) == sub(refreshed) == sub(again) != sub(other)
