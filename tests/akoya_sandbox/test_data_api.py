"""What the data API answers, up to the end of a consent."""

from __future__ import annotations

from typing import Any

import pytest

from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.app import (
    LAST_ACCESS,
    App,
    authorization_query,
    query_of,
)
from tests.akoya_sandbox.in_process import (
    LOGIN,
    connect,
    data,
    data_code,
    obtain,
    refresh,
)

# -- the end of a consent --------------------------------------------------------------------------


def test_expired_id_tokens_get_602_until_the_next_refresh(provider: AkoyaProvider) -> None:
    first, other = connect(provider), connect(provider, "mikomo_2")

    assert provider.expire("id_tokens", LOGIN) == 1

    assert data_code(provider, first["id_token"]) == (401, 602)
    assert data_code(provider, other["id_token"]) == (200, None)
    second = refresh(provider, first["refresh_token"]).json()
    assert data_code(provider, second["id_token"]) == (200, None)


def test_a_killed_refresh_token_leaves_the_id_token_to_its_end(provider: AkoyaProvider) -> None:
    first = connect(provider)

    assert provider.expire("refresh_token") == 1

    assert refresh(provider, first["refresh_token"]).status == 400
    assert data_code(provider, first["id_token"]) == (200, None)


def test_a_consent_ended_at_the_bank_gets_601_and_no_refresh(provider: AkoyaProvider) -> None:
    first = connect(provider)

    provider.expire("consent", LOGIN)

    assert data_code(provider, first["id_token"]) == (404, 601)
    assert refresh(provider, first["refresh_token"]).status == 400
    assert data_code(provider, connect(provider)["id_token"]) == (200, None)


def test_withdrawn_data_access_gets_602_with_every_fresh_token(provider: AkoyaProvider) -> None:
    first = connect(provider)

    provider.expire("data_access", LOGIN)

    second = refresh(provider, first["refresh_token"]).json()
    assert data_code(provider, second["id_token"]) == (401, 602)


# -- the data API ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [500, 501, 601, 602, 701, 702, 703, 704])
def test_error_users_get_their_error_on_every_data_call(provider: AkoyaProvider, code: int) -> None:
    token_set = connect(provider, f"mikomo_{code}")

    assert data_code(provider, token_set["id_token"])[1] == code


def test_balances_come_with_their_amounts(provider: AkoyaProvider) -> None:
    token_set = connect(provider)

    answer = data(
        provider,
        f"bearer {token_set['id_token']}",
        product="balances",
        interaction_id="an-interaction",
    )

    accounts = [details for a in answer.json()["accounts"] for details in a.values()]
    assert [sorted(a) for a in accounts] == [sorted(accounts[0])] * 3
    assert accounts[0]["currentBalance"] >= 0
    assert answer.headers["x-akoya-interaction-id"] == "an-interaction"


def test_a_data_call_shows_no_account_that_was_not_shared(provider: AkoyaProvider) -> None:
    pending = provider.begin(authorization_query())
    assert provider.sign_in(pending.id, "mikomo_1", "mikomo_1")
    assert pending.login is not None
    shared = pending.login.accounts[1].account_id
    code = query_of(provider.allow(pending.id, [shared]))["code"]
    id_token = obtain(provider, code).json()["id_token"]

    for product in ("accounts-info", "balances"):
        accounts = data(provider, f"Bearer {id_token}", product=product).json()["accounts"]
        assert [one["accountId"] for a in accounts for one in a.values()] == [shared]


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Bearer x.y.z", "Basic x"])
def test_a_data_call_without_a_known_id_token_gets_602(
    provider: AkoyaProvider, authorization: str | None
) -> None:
    answer = data(provider, authorization)

    assert (answer.status, answer.json()["code"]) == (401, 602)


def test_a_data_call_to_another_connector_or_product_is_forbidden(
    provider: AkoyaProvider,
) -> None:
    bearer = f"Bearer {connect(provider)['id_token']}"

    for product, connector in (("accounts-info", "summit"), ("no-such-product", "mikomo")):
        answer = data(provider, bearer, product=product, connector=connector)
        assert answer.status == 403


@pytest.mark.parametrize("interaction_type", ["USER", "BATCH", "user", "batch"])
@pytest.mark.parametrize("last_access", [LAST_ACCESS, "2026-11-24T00:00:00.5+00:00"])
def test_a_data_call_says_who_waits_and_when_the_person_was_last_active(
    provider: AkoyaProvider, interaction_type: str, last_access: str
) -> None:
    bearer = f"Bearer {connect(provider)['id_token']}"

    answer = data(provider, bearer, interaction_type=interaction_type, last_access=last_access)

    assert answer.status == 200


@pytest.mark.parametrize(
    ("interaction_type", "last_access"),
    [
        (None, LAST_ACCESS),
        ("", LAST_ACCESS),
        ("PERSON", LAST_ACCESS),
        ("USER", None),
        ("USER", ""),
        ("USER", "yesterday"),
        ("USER", "1800000000"),
        ("USER", "2026-11-24"),
        ("USER", "2026-11-24T00:00:00"),
        ("USER", "2026-11-24T00:00:00+01:00"),
        (None, None),
    ],
)
def test_a_data_call_that_does_not_say_so_is_refused_in_akoyas_form(
    provider: AkoyaProvider, interaction_type: str | None, last_access: str | None
) -> None:
    """Akoya: headers, coming-soon; both are mandatory in version 3."""
    bearer = f"Bearer {connect(provider)['id_token']}"

    answer = data(provider, bearer, interaction_type=interaction_type, last_access=last_access)

    assert answer.status == 400
    assert set(answer.json()) == {"code", "message", "debugMessage"}
    assert answer.headers["x-akoya-interaction-id"]


@pytest.mark.parametrize("header", ["x-akoya-interaction-type", "x-akoya-last-access"])
def test_over_http_a_data_call_without_a_header_is_refused_as_well(app: App, header: str) -> None:
    id_token = app.connect()["id_token"]

    assert app.accounts(id_token).status_code == 200
    without: dict[str, Any] = {header: None}
    assert app.accounts(id_token, **without).status_code == 400
