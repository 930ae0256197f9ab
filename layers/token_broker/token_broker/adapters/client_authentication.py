"""How we authenticate to the token endpoint: exactly one method a request (RFC 6749 2.3).

Akoya wants `client_secret_basic` for the code and `client_secret_post` for refresh and revoke.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

from token_broker.domain.ports import ClientCredentials

Form = dict[str, str]
Headers = dict[str, str]
ClientAuthentication = Callable[[ClientCredentials, Headers, Form], None]


def client_secret_basic(credentials: ClientCredentials, headers: Headers, form: Form) -> None:
    """Put the credentials into the Authorization header, form-encoded (RFC 6749 2.3.1)."""
    del form
    pair = ":".join(
        quote(part, safe="") for part in (credentials.client_id, credentials.client_secret.reveal())
    )
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"


def client_secret_post(credentials: ClientCredentials, headers: Headers, form: Form) -> None:
    """Put the credentials into the form (RFC 6749 2.3.1)."""
    del headers
    form["client_id"] = credentials.client_id
    form["client_secret"] = credentials.client_secret.reveal()
