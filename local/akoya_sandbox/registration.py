"""The app as registered with the provider, and how it proves who it is."""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_plus

from .dialects import Situation
from .form import Form

Method = Literal["client_secret_basic", "client_secret_post"]


class Refused(Exception):
    """The token endpoint refuses; `why` is for the ledger only."""

    def __init__(self, situation: Situation, why: str | None = None) -> None:
        super().__init__(situation.value)
        self.situation = situation
        self.why = why or situation.value


@dataclass(frozen=True, slots=True)
class Registration:
    """One app: its credentials and its exact redirect URIs."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    app_name: str = ""  # as registered; its pages call a nameless app by its host

    def knows(self, credentials: ClientCredentials) -> bool:
        """Say whether id and secret are this app's."""
        return same(self.client_id, credentials.client_id) and same(
            self.client_secret, credentials.client_secret
        )


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An id and a secret, and the way they came."""

    method: Method
    client_id: str
    client_secret: str = field(repr=False)


def read_client_credentials(authorization: str | None, form: Form) -> ClientCredentials:
    """Return the one pair of credentials in a request (RFC 6749 section 2.3).

    Raises Refused: none, two methods at once, or Basic parts that are not form-encoded.
    """
    in_body = form.get("client_secret") is not None
    if authorization is not None and in_body:
        raise Refused(Situation.CLIENT_TWO_METHODS)
    if authorization is not None:
        return _read_basic(authorization)
    client_id, client_secret = form.get("client_id"), form.get("client_secret")
    if client_id is None or client_secret is None:
        raise Refused(Situation.CLIENT_INVALID)
    return ClientCredentials("client_secret_post", client_id, client_secret)


def same(expected: str, given: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode())


def _read_basic(authorization: str) -> ClientCredentials:
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise Refused(Situation.CLIENT_INVALID) from None
    client_id, colon, client_secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Refused(Situation.CLIENT_INVALID)
    if re.search(r"%(?![0-9A-Fa-f]{2})", pair):
        raise Refused(Situation.CLIENT_BADLY_ENCODED)
    return ClientCredentials(
        "client_secret_basic", unquote_plus(client_id), unquote_plus(client_secret)
    )
