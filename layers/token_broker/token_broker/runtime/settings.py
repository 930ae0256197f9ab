"""Every environment variable the functions read, checked once at cold start.

One table of name, variable and parser. `bootstrap` reads just those a function needs, and the
template sets just those. A bad value raises BrokerMisconfigured naming the variable and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar
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


# ── parsers: ValueError says what a value must be ────────────────────────────────────────────────


def _text(value: str) -> str:
    if value != value.strip():
        raise ValueError("must be a text without surrounding blanks")
    return value


def _flag(value: str) -> bool:
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def _between(low: int, high: int, *, unit: int = 1) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`; the result is times `unit`."""

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value) * unit

    return parse


def _one_of(words: Iterable[str]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return value

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


def _base_url(value: str) -> str:
    return web_url(value).rstrip("/") if value else ""


def _web_urls(value: str) -> tuple[str, ...]:
    urls = tuple(web_url(item) for item in _items(value))
    if not urls:
        raise ValueError("must list at least one URL")
    return urls


def _scopes(value: str) -> tuple[str, ...]:
    scopes = tuple(value.split())
    if not {"openid", "offline_access"} <= set(scopes):
        raise ValueError(
            "needs openid and offline_access: without them Akoya gives no id_token or no "
            "refresh token"
        )
    return scopes


# ── the table ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One environment variable; call it with an environment to read it.

    The variable must be set; only one that is not `required` may be empty.
    """

    variable: str
    parse: Callable[[str], T]
    required: bool = True

    def __call__(self, environ: Mapping[str, str]) -> T:
        """Return the parsed value; raises BrokerMisconfigured."""
        value = environ.get(self.variable)
        if value is None or (self.required and not value):
            raise BrokerMisconfigured(
                detail=f"environment variable {self.variable} is missing: deploy with the stack's "
                "template.yaml, with a value for the parameter behind it"
            )
        try:
            return self.parse(value)
        except ValueError as exc:
            raise BrokerMisconfigured(
                detail=f"environment variable {self.variable}: {exc}; correct the stack parameter "
                "behind it"
            ) from None


HOUR, DAY = 3_600, 86_400  # what is told in hours or days is read in seconds

environment = Setting("ENVIRONMENT", _one_of(IDENTITY_PROVIDER_URLS))
client_id = Setting("CLIENT_ID", _text)
identity_provider_url = Setting("IDENTITY_PROVIDER_URL", _base_url, required=False)
identity_provider_allowed_hosts = Setting("IDENTITY_PROVIDER_ALLOWED_HOSTS", _items, required=False)
id_token_verification = Setting("ID_TOKEN_VERIFICATION", IdTokenVerification)
send_pkce = Setting("SEND_PKCE", _flag)
code_binding = Setting("CODE_BINDING", CodeBinding)
# Empty: the API's own address, from the request context.
public_base_url = Setting("PUBLIC_BASE_URL", _base_url, required=False)
return_to_allow_list = Setting("RETURN_TO_ALLOW_LIST", _web_urls)
scopes = Setting("SCOPES", _scopes)
require_subject = Setting("REQUIRE_SUBJECT", _flag)
refresh_margin = Setting("REFRESH_MARGIN_SECONDS", _between(60, 12 * HOUR))
keep_alive = Setting("KEEP_ALIVE_DAYS", _between(1, 90, unit=DAY))
end_after = Setting("END_AFTER_HOURS", _between(1, 168, unit=HOUR))
quarantine = Setting("QUARANTINE_DAYS", _between(1, 90, unit=DAY))
tombstone = Setting("TOMBSTONE_DAYS", _between(30, 3_653, unit=DAY))
rate_limit = Setting("RATE_LIMIT_PER_SECOND", _between(1, 3_000))
refresh_threads = Setting("REFRESH_THREADS", _between(4, 96))
client_secret_id = Setting("CLIENT_SECRET_ID", _text)
token_key_arn = Setting("TOKEN_KEY_ARN", _text)
escrow_bucket_name = Setting("ESCROW_BUCKET_NAME", _text)
connections_table_name = Setting("CONNECTIONS_TABLE_NAME", _text)
authorizations_table_name = Setting("AUTHORIZATIONS_TABLE_NAME", _text)
control_table_name = Setting("CONTROL_TABLE_NAME", _text)


# ── what several of them say together ────────────────────────────────────────────────────────────


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
        override = identity_provider_url(environ)
        allowed = identity_provider_allowed_hosts(environ)
        if override and urlsplit(override).hostname not in {*allowed, *LOOPBACK_HOSTS}:
            raise BrokerMisconfigured(
                detail="IDENTITY_PROVIDER_URL names a host that IDENTITY_PROVIDER_ALLOWED_HOSTS "
                "does not list: correct the one or the other"
            )
        provider = cls(
            environment=environment(environ),
            client_id=client_id(environ),
            base_url=override or IDENTITY_PROVIDER_URLS[environment(environ)],
            verification=id_token_verification(environ),
            send_pkce=send_pkce(environ),
            code_binding=code_binding(environ),
        )
        if provider.code_binding is CodeBinding.PKCE and not provider.send_pkce:
            raise BrokerMisconfigured(
                detail="CODE_BINDING is pkce and SEND_PKCE is false: what is not sent binds "
                "nothing; correct the parameter CodeBinding or SendPkce"
            )
        return provider

    @property
    def authorization_endpoint(self) -> str:
        """Where the browser is sent (RFC 6749 section 3.1)."""
        return f"{self.base_url}/auth"
