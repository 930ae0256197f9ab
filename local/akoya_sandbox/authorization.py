"""The authorization request: which are answered by a page, which by a redirect, which go on."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from .dialects import Dialect
from .form import Form, read_form
from .registration import Registration

# A repeat of one of these cannot be answered by a redirect: it says where to.
_ADDRESSING = ("connector", "client_id", "redirect_uri")
_KNOWN = (
    *_ADDRESSING,
    "response_type",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
)

REQUIRED_SCOPES = ("openid", "offline_access", "profile")  # all three (get-authorization-code)


class ShownAsPage(Exception):
    """The browser gets a page and the app hears nothing (Akoya, "Authentication errors")."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.text = text


class SentBack(Exception):
    """The browser goes back to the app's redirect_uri with an error (RFC 6749 4.1.2.1)."""

    def __init__(self, location: str) -> None:
        super().__init__("sent back")
        self.location = location


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A good request: what the person is asked, and what the answer must carry."""

    connector: str
    client_id: str
    redirect_uri: str
    scope: tuple[str, ...]
    state: str
    nonce: str | None
    code_challenge: str | None

    def with_error(self, error: str, description: str) -> str:
        """Return the address that takes an error back to the app; `state` may be empty."""
        return redirect_back(
            self.redirect_uri, error=error, error_description=description, state=self.state
        )


def redirect_back(redirect_uri: str, **parameters: str) -> str:
    """Return `redirect_uri` with `parameters` added to its query."""
    separator = "&" if urlsplit(redirect_uri).query else "?"
    return f"{redirect_uri}{separator}{urlencode(parameters)}"


def read_authorization_request(
    query: str, *, registration: Registration, connectors: Container[str], dialect: Dialect
) -> AuthorizationRequest:
    """Parse the query of `GET /auth`; unknown parameters are ignored (RFC 6749 3.1).

    Raises ShownAsPage or SentBack.
    """
    form = read_form(query)
    _check_addressing(form, registration, connectors)
    request = AuthorizationRequest(
        connector=form.values["connector"],
        client_id=form.values["client_id"],
        redirect_uri=form.values["redirect_uri"],
        scope=tuple((form.get("scope") or "").split()),
        state=form.get("state") or "",
        nonce=form.get("nonce"),
        code_challenge=form.get("code_challenge"),
    )
    problem = _problem(form, request, dialect)
    if problem is not None:
        raise SentBack(request.with_error(*problem))
    return request


def _check_addressing(form: Form, registration: Registration, connectors: Container[str]) -> None:
    connector = form.get("connector")
    if connector is None:
        raise ShownAsPage(403, "No bank was named", "The connector parameter is missing or empty.")
    for name in _ADDRESSING:
        if name in form.repeated:
            raise ShownAsPage(400, "Bad request", f"The {name} parameter appears more than once.")
    if connector not in connectors:
        raise ShownAsPage(400, "Unknown bank", "The connector parameter names no provider.")
    if form.get("client_id") != registration.client_id:
        raise ShownAsPage(400, "Unknown app", "The client_id parameter names no registered app.")
    if form.get("redirect_uri") not in registration.redirect_uris:
        raise ShownAsPage(
            400,
            "Unregistered redirect URI",
            "The redirect_uri parameter must equal one registered for this app, to the letter.",
        )


def _problem(form: Form, request: AuthorizationRequest, dialect: Dialect) -> tuple[str, str] | None:
    """Return the `error` and `error_description` to send back, or None."""
    repeated = next((name for name in _KNOWN if name in form.repeated), None)
    if repeated is not None:
        return "invalid_request", f"The {repeated} parameter appears more than once."
    if form.get("response_type") != "code":
        return "invalid_request", "The response_type parameter must be code."
    missing = [scope for scope in REQUIRED_SCOPES if scope not in request.scope]
    if missing:
        return "invalid_scope", f"Missing required scope: {', '.join(missing)}."
    if len(request.state) < dialect.shortest_state:
        return "invalid_state", f"The state must have {dialect.shortest_state} characters or more."
    if request.code_challenge is not None and form.get("code_challenge_method") != "S256":
        return "invalid_request", "The code_challenge_method parameter must be S256."
    return None
