"""The admin routes, over HTTP."""

from __future__ import annotations

import pytest

from tests.akoya_sandbox.app import App
from tests.akoya_sandbox.in_process import LOGIN


def test_the_ledger_and_the_grants_can_be_read_for_one_login(app: App) -> None:
    app.connect("mikomo_1")
    app.connect("mikomo_2")

    assert {e["login"] for e in app.admin("GET", f"ledger?login={LOGIN}")["entries"]} == {LOGIN}
    assert [g["login"] for g in app.admin("GET", f"grants?login={LOGIN}")["grants"]] == [LOGIN]
    assert len(app.admin("GET", "grants")["grants"]) == 2


def test_expiry_secret_signing_key_and_reset_are_reachable(app: App) -> None:
    first = app.connect()

    assert app.admin("POST", "expire", {"what": "id_tokens", "login": LOGIN}) == {"consents": 1}
    assert app.accounts(first["id_token"]).json()["code"] == 602
    app.admin("PUT", "client-secret", {"client_secret": "another"})
    assert app.refresh(first["refresh_token"]).status_code == 401
    app.admin("POST", "signing-key")
    assert len(app.browse("keys").json()["keys"]) == 2
    app.admin("POST", "reset")
    assert app.admin("GET", "ledger") == {"entries": [], "requests": []}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "settings", {"dialect": "gen3"}),
        ("PUT", "settings", ["dialect"]),
        ("PUT", "client-secret", {"client_secret": ""}),
        ("POST", "expire", {"what": "everything"}),
        ("POST", "expire", {"what": "consent", "login": 1}),
        ("POST", "faults", {"fault": "explode"}),
        ("PUT", "faults", {"fault": "slow"}),
    ],
)
def test_a_bad_admin_request_is_told_what_is_right(
    app: App, method: str, path: str, body: object
) -> None:
    answer = app.session.request(method, f"{app.issuer}admin/{path}", json=body, timeout=10)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "must" in answer.json()["error_description"]


def test_a_body_that_is_not_json_is_refused(app: App) -> None:
    answer = app.session.put(f"{app.issuer}admin/settings", data="dialect=gen1", timeout=10)

    assert (answer.status_code, answer.json()["error"]) == (415, "invalid_request")


def test_a_name_that_is_not_loopback_is_not_served(app: App) -> None:
    answer = app.session.get(
        f"{app.issuer}admin/ledger", headers={"Host": "rebound.example"}, timeout=10
    )

    assert answer.status_code == 400


def test_an_oversized_form_is_refused(app: App) -> None:
    answer = app.post("token", "a=" + "x" * 70_000)

    assert answer.status_code == 413


def test_a_body_of_another_media_type_has_no_parameters(app: App) -> None:
    answer = app.session.post(
        f"{app.issuer}token", json={"grant_type": "refresh_token"}, timeout=10
    )

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_the_start_page_never_shows_the_secret(app: App) -> None:
    page = app.browse("")

    assert page.status_code == 200
    assert "its-secret" not in page.text
    assert app.issuer in page.text
