"""Every environment variable the functions read, checked once at cold start.

One small dataclass a concern; `bootstrap` reads just those a function needs, and the template sets
just those. A bad value raises BrokerMisconfigured naming the variable and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from token_broker.domain.authorization import CodeBinding
from token_broker.domain.errors import BrokerMisconfigured

T = TypeVar("T")

# Akoya's two environments, hosts never mixed (Akoya: get-authorization-code, openapi-tokens).
IDENTITY_PROVIDER_URLS = {
    "sandbox": "https://sandbox-idp.ddp.akoya.com",
    "production": "https://idp.ddp.akoya.com",
}
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class IdTokenVerification(StrEnum):
    """What an id_token that cannot be verified leads to."""

    WARN = "warn"
    STRICT = "strict"


def _read(environ: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(environ[name])
    except KeyError:
        raise BrokerMisconfigured(
            detail=f"environment variable {name} is missing: deploy with the stack's template.yaml"
        ) from None
    except ValueError as exc:
        raise BrokerMisconfigured(
            detail=f"environment variable {name}: {exc}; correct the stack parameter behind it"
        ) from None


def _text(value: str) -> str:
    if not value or value != value.strip():
        raise ValueError("must be a non-empty text without surrounding blanks")
    return value


def _flag(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _items(value: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def web_url(value: str) -> str:
    """Return an absolute https URL (http on loopback only) without query, fragment or user."""
    parts = urlsplit(value)
    secure = parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    )
    if not secure or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an https:// URL (http:// on loopback only) without query")
    return value


def _optional_url(value: str) -> str:
    return web_url(value).rstrip("/") if value else ""


def _web_urls(value: str) -> tuple[str, ...]:
    urls = tuple(web_url(item) for item in _items(value))
    if not urls:
        raise ValueError("must list at least one URL")
    return urls


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """Where Akoya's endpoints are and who we are to it: one profile, never mixed."""

    environment: str
    client_id: str
    base_url: str
    verification: IdTokenVerification
    send_pkce: bool
    code_binding: CodeBinding

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> IdentityProvider:
        """Read the profile of ENVIRONMENT, or the white-label host that is on the allow-list."""
        environment = _read(environ, "ENVIRONMENT", _text)
        if environment not in IDENTITY_PROVIDER_URLS:
            raise BrokerMisconfigured(detail="ENVIRONMENT must be sandbox or production")
        override = _read(environ, "IDENTITY_PROVIDER_URL", _optional_url)
        allowed = _read(environ, "IDENTITY_PROVIDER_ALLOWED_HOSTS", _items)
        host = urlsplit(override).hostname
        if override and host not in {*allowed, *LOOPBACK_HOSTS}:
            raise BrokerMisconfigured(
                detail="IDENTITY_PROVIDER_URL names a host that IDENTITY_PROVIDER_ALLOWED_HOSTS "
                "does not list: correct the one or the other"
            )
        send_pkce = _read(environ, "SEND_PKCE", _flag)
        code_binding = _read(environ, "CODE_BINDING", CodeBinding)
        if code_binding is CodeBinding.PKCE and not send_pkce:
            raise BrokerMisconfigured(
                detail="CODE_BINDING is pkce and SEND_PKCE is false: what is not sent binds "
                "nothing; correct the parameter CodeBinding or SendPkce"
            )
        return cls(
            environment=environment,
            client_id=_read(environ, "CLIENT_ID", _text),
            base_url=override or IDENTITY_PROVIDER_URLS[environment],
            verification=_read(environ, "ID_TOKEN_VERIFICATION", IdTokenVerification),
            send_pkce=send_pkce,
            code_binding=code_binding,
        )

    @property
    def authorization_endpoint(self) -> str:
        """Where the browser is sent (RFC 6749 section 3.1)."""
        return f"{self.base_url}/auth"

    @property
    def token_endpoint(self) -> str:
        """Where codes and refresh tokens are posted (RFC 6749 section 3.2)."""
        return f"{self.base_url}/token"

    @property
    def revocation_endpoint(self) -> str:
        """Where refresh tokens are revoked (RFC 7009)."""
        return f"{self.base_url}/revoke"

    @property
    def discovery_url(self) -> str:
        """Where signing keys are announced (OpenID Connect Discovery section 4)."""
        return f"{self.base_url}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a front end may ask for and where the browser comes back."""

    public_base_url: str  # empty: the API's own address, from the request context
    return_to_allow_list: tuple[str, ...]
    scopes: tuple[str, ...]

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Front:
        """Read the addresses and scopes of the authorization request."""
        scopes = tuple(_read(environ, "SCOPES", _text).split())
        if not {"openid", "offline_access"} <= set(scopes):
            raise BrokerMisconfigured(
                detail="SCOPES needs openid and offline_access: without them Akoya gives no "
                "id_token or no refresh token"
            )
        return cls(
            public_base_url=_read(environ, "PUBLIC_BASE_URL", _optional_url),
            return_to_allow_list=_read(environ, "RETURN_TO_ALLOW_LIST", _web_urls),
            scopes=scopes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where token sets are sealed, kept, and kept once more if the table will not take them."""

    token_key_arn: str
    escrow_bucket_name: str
    client_secret_id: str
    control_table_name: str

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Vault:
        """Read the names of what a function that talks to Akoya stands on."""
        return cls(
            token_key_arn=_read(environ, "TOKEN_KEY_ARN", _text),
            escrow_bucket_name=_read(environ, "ESCROW_BUCKET_NAME", _text),
            client_secret_id=client_secret_id(environ),
            control_table_name=control_table_name(environ),
        )


def client_secret_id(environ: Mapping[str, str]) -> str:
    """Read the secret that holds the client credentials."""
    return _read(environ, "CLIENT_SECRET_ID", _text)


def control_table_name(environ: Mapping[str, str]) -> str:
    """Read the table of what holds for all connections at once."""
    return _read(environ, "CONTROL_TABLE_NAME", _text)


def connections_table_name(environ: Mapping[str, str]) -> str:
    """Read the table of connections."""
    return _read(environ, "CONNECTIONS_TABLE_NAME", _text)


def require_subject(environ: Mapping[str, str]) -> bool:
    """Read whether a caller must say for whom it asks."""
    return _read(environ, "REQUIRE_SUBJECT", _flag)


def authorizations_table_name(environ: Mapping[str, str]) -> str:
    """Read the table of authorization requests under way."""
    return _read(environ, "AUTHORIZATIONS_TABLE_NAME", _text)


def refresh_margin(environ: Mapping[str, str]) -> int:
    """Read how many seconds before its expiry a token is renewed at the latest."""
    return _read(environ, "REFRESH_MARGIN_SECONDS", _between(60, 43_200))


def keep_alive(environ: Mapping[str, str]) -> int:
    """Read after how long, in seconds, an idle connection is refreshed all the same."""
    return _read(environ, "KEEP_ALIVE_DAYS", _between(1, 90)) * 86_400


def quarantine(environ: Mapping[str, str]) -> int:
    """Read how long, in seconds, the token set of an ended connection is kept sealed."""
    return _read(environ, "QUARANTINE_DAYS", _between(1, 90)) * 86_400


def end_after(environ: Mapping[str, str]) -> int:
    """Read after how long, in seconds, what Akoya refuses ends where nobody bears witness."""
    return _read(environ, "END_AFTER_HOURS", _between(1, 168)) * 3_600


def rate_limit(environ: Mapping[str, str]) -> int:
    """Read how many requests a second one scheduled run may send to Akoya."""
    return _read(environ, "RATE_LIMIT_PER_SECOND", _between(1, 100))
