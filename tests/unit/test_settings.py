"""A setting that cannot be right is refused at cold start, naming the variable and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from token_broker.domain.errors import BrokerMisconfigured
from token_broker.runtime import settings

GOOD = {
    "ENVIRONMENT": "production",
    "CLIENT_ID": "client",
    "IDENTITY_PROVIDER_URL": "",
    "IDENTITY_PROVIDER_ALLOWED_HOSTS": "",
    "ID_TOKEN_VERIFICATION": "warn",
    "SEND_PKCE": "true",
    "CODE_BINDING": "nonce",
    "PUBLIC_BASE_URL": "",
    "RETURN_TO_ALLOW_LIST": "https://app.example/return",
    "SCOPES": "openid profile offline_access",
    "REFRESH_MARGIN_SECONDS": "3600",
    "KEEP_ALIVE_DAYS": "7",
    "RATE_LIMIT_PER_SECOND": "2",
    "REFRESH_THREADS": "16",
}
READERS: list[Callable[[Mapping[str, str]], Any]] = [
    settings.IdentityProvider.from_env,
    settings.public_base_url,
    settings.return_to_allow_list,
    settings.scopes,
    settings.refresh_margin,
    settings.keep_alive,
    settings.rate_limit,
    settings.refresh_threads,
]


def read_all(environ: Mapping[str, str]) -> None:
    for read in READERS:
        read(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "staging"),
        ("CLIENT_ID", ""),
        ("CLIENT_ID", " client"),
        ("IDENTITY_PROVIDER_URL", "http://idp.example"),
        ("IDENTITY_PROVIDER_URL", "https://idp.example"),  # on no list
        ("IDENTITY_PROVIDER_URL", "https://user@idp.example"),
        ("ID_TOKEN_VERIFICATION", "maybe"),
        ("ID_TOKEN_VERIFICATION", "off"),
        ("SEND_PKCE", "yes"),
        ("CODE_BINDING", "none"),
        ("PUBLIC_BASE_URL", "http://broker.example"),
        ("PUBLIC_BASE_URL", "https://broker.example/?x=1"),
        ("RETURN_TO_ALLOW_LIST", ""),
        ("RETURN_TO_ALLOW_LIST", "app.example"),
        ("SCOPES", "openid"),
        ("SCOPES", "profile offline_access"),
        ("REFRESH_MARGIN_SECONDS", "0"),
        ("REFRESH_MARGIN_SECONDS", "1e3"),
        ("KEEP_ALIVE_DAYS", "-7"),
        ("RATE_LIMIT_PER_SECOND", "3001"),
        ("REFRESH_THREADS", "0"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BrokerMisconfigured) as refused:
        read_all(GOOD | {name: value})
    assert name in (refused.value.detail or "")


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_value_is_refused_by_name(name: str) -> None:
    with pytest.raises(BrokerMisconfigured) as refused:
        read_all({key: value for key, value in GOOD.items() if key != name})
    assert name in (refused.value.detail or "")


def test_each_environment_has_hosts_of_its_own_and_never_the_others() -> None:
    endpoints = {
        environment: settings.IdentityProvider.from_env(GOOD | {"ENVIRONMENT": environment})
        for environment in ("sandbox", "production")
    }
    assert endpoints["production"].base_url == "https://idp.ddp.akoya.com"
    assert endpoints["production"].authorization_endpoint == "https://idp.ddp.akoya.com/auth"
    assert endpoints["sandbox"].base_url == "https://sandbox-idp.ddp.akoya.com"


def test_a_white_label_host_needs_to_be_named_twice() -> None:
    listed = GOOD | {
        "IDENTITY_PROVIDER_URL": "https://idp.bank.example/",
        "IDENTITY_PROVIDER_ALLOWED_HOSTS": "other.example, idp.bank.example",
    }
    provider = settings.IdentityProvider.from_env(listed)
    assert provider.base_url == "https://idp.bank.example"


def test_plain_http_is_for_loopback_alone() -> None:
    provider = settings.IdentityProvider.from_env(
        GOOD | {"IDENTITY_PROVIDER_URL": "http://localhost:8702"}
    )
    assert provider.base_url == "http://localhost:8702"


def test_what_is_not_sent_binds_no_code() -> None:
    with pytest.raises(BrokerMisconfigured) as refused:
        read_all(GOOD | {"SEND_PKCE": "false", "CODE_BINDING": "pkce"})
    assert "CODE_BINDING" in (refused.value.detail or "")
