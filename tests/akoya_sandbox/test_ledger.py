"""What the ledger and the administrator's other views tell, in process."""

from __future__ import annotations

import jwt

from local.akoya_sandbox.ledger import fingerprint
from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.app import (
    CLIENT_SECRET,
    STATE,
    refresh_form,
    revoke_form,
)
from tests.akoya_sandbox.in_process import (
    LOGIN,
    claims_of,
    connect,
    consent,
    data_code,
    events,
    obtain,
    refresh,
)


def test_the_ledger_tells_a_life_in_order_and_links_each_token_to_its_predecessor(
    provider: AkoyaProvider,
) -> None:
    code = consent(provider)["code"]
    first = obtain(provider, code).json()
    second = refresh(provider, first["refresh_token"]).json()
    provider.token(authorization=None, body=refresh_form(first["refresh_token"]))
    provider.revoke(authorization=None, body=revoke_form(second["refresh_token"]))

    ledger = provider.ledger(LOGIN)

    assert [entry["event"] for entry in ledger["entries"]] == [
        "consent.given",
        "code.issued",
        "code.redeemed",
        "refresh_token.issued",
        "id_token.issued",
        "refresh_token.issued",
        "refresh_token.rotated",
        "id_token.issued",
        "refresh_token.refused",
        "refresh_token.revoked",
        "id_tokens.revoked",
    ]
    rotated = ledger["entries"][6]
    assert rotated["fingerprint"] == fingerprint(first["refresh_token"])
    assert rotated["successor"] == fingerprint(second["refresh_token"])
    assert ledger["entries"][5]["predecessor"] == fingerprint(first["refresh_token"])
    assert ledger["entries"][8]["reason"] == "rotated"
    assert [
        (r["endpoint"], r.get("grant_type"), r["status"], r.get("error"))
        for r in ledger["requests"]
    ] == [
        ("token", "authorization_code", 200, None),
        ("token", "refresh_token", 200, None),
        ("token", "refresh_token", 400, "invalid_request"),
        ("revoke", None, 200, None),
    ]
    assert [r["presented"] for r in ledger["requests"]] == [
        fingerprint(value)
        for value in (code, first["refresh_token"], first["refresh_token"], second["refresh_token"])
    ]


def test_the_ledger_of_one_login_leaves_the_others_out(provider: AkoyaProvider) -> None:
    connect(provider, "mikomo_1")
    connect(provider, "mikomo_2")

    ledger = provider.ledger("mikomo/mikomo_2")

    records = ledger["entries"] + ledger["requests"]
    assert {record["login"] for record in records} == {"mikomo/mikomo_2"}


def test_the_ledger_holds_no_code_token_secret_or_state(provider: AkoyaProvider) -> None:
    code = consent(provider)["code"]
    token_set = obtain(provider, code).json()
    refreshed = refresh(provider, token_set["refresh_token"]).json()
    data_code(provider, refreshed["id_token"])

    told = str(provider.ledger()) + str(provider.grants()) + repr(provider.registration)

    secrets = (code, CLIENT_SECRET, STATE, *token_set.values(), *refreshed.values())
    for value in (text for text in secrets if isinstance(text, str) and text != "bearer"):
        assert value not in told


def test_grants_show_the_one_live_refresh_token(provider: AkoyaProvider) -> None:
    first = connect(provider)
    second = refresh(provider, first["refresh_token"]).json()

    (grant,) = provider.grants(LOGIN)

    assert grant["sub"] == claims_of(second)["sub"]
    assert grant["grant_id"] == claims_of(second)["grant_id"]
    assert grant["refresh_tokens"] == [
        {"fingerprint": fingerprint(second["refresh_token"]), "number": 2, "expires_at": None}
    ]


def test_reset_forgets_everything_and_restores_the_start(provider: AkoyaProvider) -> None:
    first = connect(provider)
    provider.change_settings({"dialect": "gen2-strict"})
    provider.change_client_secret("another")

    provider.reset()

    assert events(provider) == []
    assert provider.settings.dialect == "gen1"
    assert refresh(provider, first["refresh_token"]).json()["error"] == "invalid_request"


def test_a_changed_client_secret_cuts_over_at_once(provider: AkoyaProvider) -> None:
    first = connect(provider)

    provider.change_client_secret("another")

    assert refresh(provider, first["refresh_token"]).status == 401
    good = refresh_form(first["refresh_token"], client_secret="another")
    assert provider.token(authorization=None, body=good).status == 200


def test_a_changed_signing_key_is_published_beside_the_older(provider: AkoyaProvider) -> None:
    before = connect(provider)
    provider.change_signing_key()
    after = connect(provider)

    kids = [key["kid"] for key in provider.jwks()["keys"]]
    assert [jwt.get_unverified_header(t["id_token"])["kid"] for t in (before, after)] == kids
