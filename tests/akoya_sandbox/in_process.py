"""An app that calls the provider in process."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import jwt

from local.akoya_sandbox.answer import Answer
from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.app import (
    CLIENT_ID,
    CLIENT_SECRET,
    LAST_ACCESS,
    authorization_query,
    code_form,
    query_of,
    refresh_form,
    revoke_form,
)

LOGIN = "mikomo/mikomo_1"


def basic(secret: str) -> str:
    return "Basic " + b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()


BASIC = basic(CLIENT_SECRET)


def consent(
    provider: AkoyaProvider, user_name: str = "mikomo_1", **changes: str | None
) -> dict[str, str]:
    pending = provider.begin(authorization_query(**changes))
    assert provider.sign_in(pending.id, user_name, user_name)
    assert pending.login is not None
    accounts = [account.account_id for account in pending.login.accounts]
    return query_of(provider.allow(pending.id, accounts))


def obtain(provider: AkoyaProvider, code: str, **changes: str | None) -> Answer:
    return provider.token(authorization=BASIC, body=code_form(code, **changes))


def connect(
    provider: AkoyaProvider, user_name: str = "mikomo_1", **changes: str | None
) -> dict[str, Any]:
    answer = obtain(provider, consent(provider, user_name, **changes)["code"])
    assert answer.status == 200
    token_set: dict[str, Any] = answer.json()
    return token_set


def refresh(provider: AkoyaProvider, refresh_token: str) -> Answer:
    return provider.token(authorization=None, body=refresh_form(refresh_token))


def data_code(
    provider: AkoyaProvider, id_token: str, product: str = "accounts-info"
) -> tuple[int, int | None]:
    answer = data(provider, f"Bearer {id_token}", product=product)
    return answer.status, answer.json().get("code")


def data(
    provider: AkoyaProvider,
    authorization: str | None,
    *,
    product: str = "accounts-info",
    connector: str = "mikomo",
    interaction_type: str | None = "USER",
    last_access: str | None = LAST_ACCESS,
    interaction_id: str | None = None,
    about: str | None = None,
    query: dict[str, str] | None = None,
) -> Answer:
    return provider.data(
        about=about,
        query=query,
        product=product,
        connector=connector,
        authorization=authorization,
        interaction_type=interaction_type,
        last_access=last_access,
        interaction_id=interaction_id,
    )


def claims_of(token_set: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token_set["id_token"], options={"verify_signature": False})
    return claims


def events(provider: AkoyaProvider, login: str | None = None) -> list[str]:
    return [entry["event"] for entry in provider.ledger(login)["entries"]]


def revoke(provider: AkoyaProvider, refresh_token: str) -> Answer:
    return provider.revoke(authorization=None, body=revoke_form(refresh_token))
