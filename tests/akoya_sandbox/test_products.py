"""Data calls beside accounts and balances, and what is asked of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.app import App, query_of
from tests.akoya_sandbox.in_process import connect, data

RANGE = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-12T00:00:00Z"}


@pytest.fixture
def id_token(provider: AkoyaProvider) -> str:
    return str(connect(provider)["id_token"])


@pytest.fixture
def account_ids(provider: AkoyaProvider, id_token: str) -> list[str]:
    accounts = data(provider, f"Bearer {id_token}").json()["accounts"]
    return [details["accountId"] for account in accounts for details in account.values()]


def transactions(
    provider: AkoyaProvider, id_token: str, about: str, query: dict[str, str] | None = None
) -> tuple[int, Any]:
    answer = data(provider, f"Bearer {id_token}", product="transactions", about=about, query=query)
    return answer.status, answer.json()


def days(body: Any) -> list[str]:
    return [
        details["postedTimestamp"][:10] for one in body["transactions"] for details in one.values()
    ]


@pytest.mark.parametrize("product", ["accounts-info", "balances"])
def test_only_the_accounts_asked_for_are_shown(
    provider: AkoyaProvider, id_token: str, account_ids: list[str], product: str
) -> None:
    query = {"accountIds": ",".join(account_ids[1:])}
    body = data(provider, f"Bearer {id_token}", product=product, query=query).json()

    assert [one["accountId"] for a in body["accounts"] for one in a.values()] == account_ids[1:]
    unknown = data(provider, f"Bearer {id_token}", product=product, query={"accountIds": "other"})
    assert (unknown.status, unknown.json()["code"]) == (404, 701)


def test_the_customer_is_the_one_who_consented(provider: AkoyaProvider, id_token: str) -> None:
    found = data(provider, f"Bearer {id_token}", product="customers", about="current").json()

    assert found["customer"]["email"] == ["mikomo_1@bank.example"]
    assert found["customer"].keys() == {"customerId", "name", "telephones", "addresses", "email"}


def test_transactions_of_a_range_come_the_latest_first_and_in_pages(
    provider: AkoyaProvider, id_token: str, account_ids: list[str]
) -> None:
    query: dict[str, str] | None = RANGE | {"limit": "5"}
    pages: list[list[str]] = []
    back: list[str | None] = []
    while query is not None:
        status, body = transactions(provider, id_token, account_ids[0], query)
        assert status == 200
        pages.append(days(body))
        links = body.get("links", {})
        back.append(links.get("prev", {}).get("href"))
        href = links.get("next", {}).get("href")
        assert href is None or urlsplit(href).path == f"/transactions/v3/mikomo/{account_ids[0]}"
        query = query_of(href) if href else None

    assert [len(page) for page in pages] == [5, 5, 2]
    assert [day for page in pages for day in page] == [
        f"2026-01-{day:02}" for day in range(12, 0, -1)
    ]
    assert back[0] is None
    assert [dict(parse_qsl(urlsplit(href or "").query))["offset"] for href in back[1:]] == [
        "0",
        "5",
    ]


def test_the_last_fifteen_days_are_shown_where_no_range_is_asked_for(
    provider: AkoyaProvider, id_token: str, account_ids: list[str]
) -> None:
    _, body = transactions(provider, id_token, account_ids[2])

    assert len(days(body)) == 16  # both ends
    assert all("locTransaction" in one for one in body["transactions"])
    assert "links" not in body


def test_a_transaction_stays_what_it_was(
    provider: AkoyaProvider, id_token: str, account_ids: list[str]
) -> None:
    first = transactions(provider, id_token, account_ids[0], RANGE)
    assert transactions(provider, id_token, account_ids[0], RANGE) == first
    assert transactions(provider, id_token, account_ids[1], RANGE) != first


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ({"startTime": RANGE["startTime"]}, (400, 702)),
        ({"endTime": RANGE["endTime"]}, (400, 702)),
        (RANGE | {"startTime": "yesterday"}, (400, 702)),
        (RANGE | {"startTime": "2026-01-01T00:00:00"}, (400, 702)),
        ({"startTime": RANGE["endTime"], "endTime": RANGE["startTime"]}, (400, 703)),
        (RANGE | {"limit": "0"}, (400, 400)),
        (RANGE | {"limit": "501"}, (400, 400)),
        (RANGE | {"offset": "-1"}, (400, 400)),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    provider: AkoyaProvider,
    id_token: str,
    account_ids: list[str],
    query: dict[str, str],
    refused: tuple[int, int],
) -> None:
    status, body = transactions(provider, id_token, account_ids[0], query)
    assert (status, body["code"]) == refused


def test_an_account_that_was_not_shared_is_not_found(
    provider: AkoyaProvider, id_token: str
) -> None:
    status, body = transactions(provider, id_token, "other")
    assert (status, body["code"]) == (404, 701)


@pytest.mark.parametrize(
    ("product", "about"),
    [("transactions", None), ("customers", None), ("customers", "other"), ("balances", "one")],
)
def test_a_path_that_is_none_is_forbidden(
    provider: AkoyaProvider, id_token: str, product: str, about: str | None
) -> None:
    answer = data(provider, f"Bearer {id_token}", product=product, about=about)
    assert answer.status == 403


def test_over_http_the_query_is_heeded_and_the_links_lead_on(app: App) -> None:
    bearer = app.connect()["id_token"]
    (account_id, *_) = [
        one["accountId"] for a in app.accounts(bearer).json()["accounts"] for one in a.values()
    ]
    path = f"transactions/v3/mikomo/{account_id}?limit=10"
    first = app.data(bearer, path).json()
    second = app.data(bearer, first["links"]["next"]["href"].lstrip("/")).json()

    assert (len(first["transactions"]), len(second["transactions"])) == (10, 6)
    assert app.data(bearer, "customers/v3/mikomo/current").status_code == 200
