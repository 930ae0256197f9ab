"""What a person's browser meets between the app and the answer, over HTTP."""

from __future__ import annotations

import re

import pytest

from tests.akoya_sandbox.app import (
    REDIRECT_URI,
    STATE,
    App,
    authorization_query,
    code_form,
    query_of,
)
from tests.akoya_sandbox.conftest import Clock, MakeProvider, serving


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"connector": None}, 403),
        ({"connector": ""}, 403),
        ({"connector": "no-such-bank"}, 400),
        ({"connector": "Mikomo"}, 400),
        ({"client_id": None}, 400),
        ({"client_id": "another-app"}, 400),
        ({"redirect_uri": None}, 400),
        ({"redirect_uri": REDIRECT_URI + "/"}, 400),
    ],
)
def test_a_request_with_a_bad_connector_client_or_redirect_uri_is_a_page_and_never_a_redirect(
    app: App, wrong: dict[str, str | None], status: int
) -> None:
    answer = app.browse(f"auth?{authorization_query(**wrong)}")

    assert answer.status_code == status
    assert "Location" not in answer.headers
    assert "<h1" in answer.text


def test_a_repeated_redirect_uri_is_a_page(app: App) -> None:
    answer = app.browse(f"auth?{authorization_query()}&redirect_uri=http://elsewhere/")

    assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_another_repeated_parameter_goes_back_as_invalid_request(app: App) -> None:
    answer = app.browse(f"auth?{authorization_query()}&scope=openid")

    assert query_of(answer.headers["Location"])["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "invalid_request"),
        ({"scope": "profile offline_access"}, "invalid_scope"),
        ({"scope": "openid offline_access"}, "invalid_scope"),
        ({"scope": "openid profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": "x" * 43, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "x" * 43}, "invalid_request"),
    ],
)
def test_other_bad_requests_go_back_to_the_app_with_an_error_and_the_state(
    app: App, wrong: dict[str, str | None], error: str
) -> None:
    answer = app.browse(f"auth?{authorization_query(**wrong)}")

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(REDIRECT_URI + "?")
    query = query_of(answer.headers["Location"])
    assert (query["error"], query["state"]) == (error, STATE)
    assert query["error_description"]


def test_an_error_redirect_without_a_state_carries_an_empty_one(app: App) -> None:
    answer = app.browse(f"auth?{authorization_query(state=None, scope='profile')}")

    assert query_of(answer.headers["Location"])["state"] == ""


def test_unknown_parameters_are_ignored(app: App) -> None:
    assert app.sign_in_page(claims="{}", prompt="login")


def test_consent_answers_with_a_code_and_the_state(app: App) -> None:
    path = app.consent_page()
    account = re.findall(r'name="account"\s+value="([^"]+)"', app.browse(path).text)[1]

    answer = app.browse(f"{path}/consent", decision="allow", account=account)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(REDIRECT_URI + "?")
    query = query_of(answer.headers["Location"])
    assert sorted(query) == ["code", "state"]
    assert query["state"] == STATE
    assert re.fullmatch("[a-z2-7]{25}", query["code"])
    token_set = app.post("token", code_form(query["code"]), basic=True).json()
    shared = app.accounts(token_set["id_token"]).json()["accounts"]
    assert [details["accountId"] for entry in shared for details in entry.values()] == [account]


def test_a_wrong_password_is_said_and_may_be_corrected(app: App) -> None:
    path = app.sign_in_page()

    page = app.browse(f"{path}/sign-in", user_name="mikomo_1", password="mikomo_2")

    assert page.status_code == 200
    assert 'role="alert"' in page.text
    assert app.browse(f"{path}/sign-in", user_name="mikomo_1", password="mikomo_1").ok
    assert "Choose the accounts" in app.browse(path).text


@pytest.mark.parametrize("user_name", ["mikomo_0", "mikomo_01", "mikomo_", "summit_1", "mikomo"])
def test_an_unknown_user_cannot_sign_in(app: App, user_name: str) -> None:
    page = app.browse(f"{app.sign_in_page()}/sign-in", user_name=user_name, password=user_name)

    assert 'role="alert"' in page.text


def test_what_a_person_types_is_shown_escaped(app: App) -> None:
    typed = '"><script>alert(1)</script>'

    page = app.browse(f"{app.sign_in_page()}/sign-in", user_name=typed, password="x")

    assert typed not in page.text
    assert "&lt;script&gt;" in page.text


def test_cancelling_at_the_bank_shows_a_page_that_leads_back_with_access_denied(app: App) -> None:
    page = app.browse(f"{app.sign_in_page()}/cancel", _=True)

    assert page.status_code == 200
    assert "Connection issue" in page.text
    link = re.search(r'href="(http://localhost:9/callback[^"]+)"', page.text)
    assert link is not None
    query = query_of(link[1].replace("&amp;", "&"))
    assert (query["error"], query["state"]) == ("access_denied", STATE)


def test_pages_call_the_app_by_its_host_and_the_bank_by_its_name(app: App) -> None:
    path = app.sign_in_page()
    assert "localhost:9" in app.browse(path).text
    assert "Mikomo bank" in app.browse(path).text


@pytest.mark.parametrize("ending", ["", "/sign-in", "/cancel"])
def test_pages_call_a_named_app_by_its_registered_name(
    make_provider: MakeProvider, ending: str
) -> None:
    with serving(make_provider, app_name="Ledgerly <Ltd>") as app:
        path = app.consent_page() if ending == "/sign-in" else app.sign_in_page()
        page = app.browse(f"{path}/cancel", _=True) if ending == "/cancel" else app.browse(path)

    assert "Ledgerly &lt;Ltd&gt;" in page.text
    assert "localhost:9</strong>" not in page.text


def test_denying_goes_back_with_access_denied(app: App) -> None:
    answer = app.browse(f"{app.consent_page()}/consent", decision="deny")

    query = query_of(answer.headers["Location"])
    assert (query["error"], query["state"]) == ("access_denied", STATE)


def test_sharing_no_account_asks_again(app: App) -> None:
    path = app.consent_page()

    page = app.browse(f"{path}/consent", decision="allow", account="of-somebody-else")

    assert page.status_code == 200
    assert "Choose at least one account" in page.text
    assert app.browse(f"{path}/consent", decision="deny").status_code == 302


def test_leaving_without_an_answer_ends_on_a_page_and_the_sign_in_expires(
    app: App, clock: Clock
) -> None:
    path = app.consent_page()

    page = app.browse(f"{path}/abandoned")

    assert (page.status_code, "Location" in page.headers) == (200, False)
    assert REDIRECT_URI not in page.text
    clock.advance(900)
    assert app.browse(path).status_code == 400


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_an_answered_sign_in_cannot_be_answered_again(app: App, decision: str) -> None:
    path = app.consent_page()
    account = re.findall(r'name="account"\s+value="([^"]+)"', app.browse(path).text)
    first = app.browse(f"{path}/consent", decision=decision, account=account)
    assert first.status_code == 302

    again = app.browse(f"{path}/consent", decision=decision, account=account)

    assert (again.status_code, "Location" in again.headers) == (400, False)


def test_consent_without_signing_in_gives_no_code(app: App) -> None:
    answer = app.browse(f"{app.sign_in_page()}/consent", decision="allow", account="any")

    assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_pages_allow_no_script_no_frame_and_no_cache(app: App) -> None:
    page = app.browse(app.sign_in_page())

    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
