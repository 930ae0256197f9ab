"""What goes over the wire to Akoya's token and revocation endpoints, and what an answer means.

build → send → classify. Sent once: no redirects followed, no library retries, one deadline for
the whole exchange, a bounded body. A rotation is read even out of an answer that was cut behind its
refresh token. Akoya: token-akoya, revoke-akoya, token-errors.
"""

from __future__ import annotations

import base64
import json
import math
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import requests
import urllib3

from token_broker.adapters.cut_answer import whole_members
from token_broker.adapters.deadline import Deadline, StartTimer
from token_broker.domain.outcome import Answer, Dialect, Grant, Outcome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import CONNECT_TIMEOUT, READ_TIMEOUT
from token_broker.domain.secret_text import SecretText

LARGEST_BODY = 1_048_576
LONGEST_SECONDS = 999_999_999

# Akoya documents JSON, and its own sample asks for the other (Akoya: token-akoya).
ACCEPTED = "application/json, application/x-www-form-urlencoded;q=0.9"
_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
_FORM = re.compile(rb"[\w*.%+&=~-]+", re.ASCII)

Form = dict[str, str]
Headers = dict[str, str]


def client_secret_basic(credentials: ClientCredentials, headers: Headers, _form: Form) -> None:
    """Put the credentials into the Authorization header, form-encoded (RFC 6749 2.3.1)."""
    parts = (credentials.client_id, credentials.client_secret.reveal())
    pair = ":".join(quote(part, safe="") for part in parts)
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"


def client_secret_post(credentials: ClientCredentials, _headers: Headers, form: Form) -> None:
    """Put the credentials into the form (RFC 6749 2.3.1)."""
    form["client_id"] = credentials.client_id
    form["client_secret"] = credentials.client_secret.reveal()


# Exactly one way of authenticating a request (RFC 6749 2.3): the one that Akoya wants for it
# (Akoya: token-akoya, revoke-akoya).
AUTHENTICATION: dict[Grant, Callable[[ClientCredentials, Headers, Form], None]] = {
    Grant.AUTHORIZATION_CODE: client_secret_basic,
    Grant.REFRESH_TOKEN: client_secret_post,
    Grant.REVOKE: client_secret_post,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One wire form of an error answer; `hint` must stand in its description, if given."""

    grant: Grant
    status: int
    error: str
    outcome: Outcome
    dialect: Dialect
    hint: str = ""


_CODE, _REFRESH, _REVOKE = Grant.AUTHORIZATION_CODE, Grant.REFRESH_TOKEN, Grant.REVOKE
_GEN1, _GEN2 = Dialect.GEN1, Dialect.GEN2

# First match counts. gen1 is documented (Akoya: token-errors); gen2 is what the newer identity
# provider's own software answers. A description is only ever a hint that narrows an error code.
REFUSALS: tuple[Refusal, ...] = (
    Refusal(_CODE, 400, "invalid_request", Outcome.OUR_BUG, _GEN1, hint="redirect_uri"),
    Refusal(_CODE, 400, "invalid_request", Outcome.CODE_DEAD, _GEN1),
    Refusal(_CODE, 400, "invalid_grant", Outcome.CODE_DEAD, _GEN2),
    Refusal(_CODE, 401, "token_inactive", Outcome.CODE_DEAD, _GEN2),
    Refusal(_CODE, 400, "unsupported_grant_type", Outcome.OUR_BUG, _GEN2),
    Refusal(_CODE, 400, "invalid_scope", Outcome.OUR_BUG, _GEN2),
    Refusal(_CODE, 401, "invalid_client", Outcome.CLIENT_AUTH, _GEN1),
    Refusal(_CODE, 401, "unauthorized_client", Outcome.CLIENT_AUTH, _GEN2),
    Refusal(_CODE, 403, "invalid_client", Outcome.CLIENT_AUTH, _GEN2),
    Refusal(_REFRESH, 400, "invalid_request", Outcome.OUR_BUG, _GEN1, hint="no refresh token"),
    Refusal(_REFRESH, 400, "invalid_request", Outcome.UPSTREAM, _GEN2, hint="concurrent"),
    Refusal(_REFRESH, 400, "invalid_request", Outcome.GRANT_DEAD, _GEN1),
    Refusal(_REFRESH, 400, "invalid_grant", Outcome.GRANT_DEAD, _GEN2),
    Refusal(_REFRESH, 400, "token_inactive", Outcome.GRANT_DEAD, _GEN2),
    Refusal(_REFRESH, 401, "token_inactive", Outcome.GRANT_DEAD, _GEN2),
    Refusal(_REFRESH, 400, "unsupported_grant_type", Outcome.OUR_BUG, _GEN2),
    Refusal(_REFRESH, 400, "invalid_scope", Outcome.OUR_BUG, _GEN2),
    Refusal(_REFRESH, 401, "invalid_client", Outcome.CLIENT_AUTH, _GEN1),
    Refusal(_REFRESH, 401, "unauthorized_client", Outcome.CLIENT_AUTH, _GEN2),
    Refusal(_REFRESH, 403, "invalid_client", Outcome.CLIENT_AUTH, _GEN2),
    Refusal(_REVOKE, 400, "invalid_request", Outcome.GRANT_DEAD, _GEN1),
    Refusal(_REVOKE, 400, "invalid_grant", Outcome.GRANT_DEAD, _GEN2),
    Refusal(_REVOKE, 400, "unsupported_token_type", Outcome.OUR_BUG, _GEN1),
    Refusal(_REVOKE, 400, "invalid_scope", Outcome.OUR_BUG, _GEN2),
    Refusal(_REVOKE, 401, "unauthorized_client", Outcome.CLIENT_AUTH, _GEN1),
    Refusal(_REVOKE, 401, "invalid_client", Outcome.CLIENT_AUTH, _GEN2),
    Refusal(_REVOKE, 403, "invalid_client", Outcome.CLIENT_AUTH, _GEN2),
)


LOGGABLE_ERRORS = frozenset({form.error for form in REFUSALS} | {"server_error"})


@dataclass(frozen=True, slots=True)
class Wire:
    """An answer as it came: enough to classify it, never logged."""

    status: int
    body: bytes
    retry_after: str | None = None
    cut: Outcome | None = None  # the body did not come whole: what that is, if it says nothing
    interaction_id: str | None = None  # Akoya: x-akoya-interaction-id
    is_measured: bool = False  # its headers say where it ends, so that one not cut is whole


class AkoyaTokenEndpoint:
    """The token and revocation endpoints of one environment."""

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        *,
        timer: StartTimer = threading.Timer,
    ) -> None:
        self._session = session
        self._token_endpoint = f"{base_url}/token"  # RFC 6749 section 3.2
        self._revocation_endpoint = f"{base_url}/revoke"  # RFC 7009
        self._timer = timer

    def exchange(
        self,
        code: SecretText,
        *,
        redirect_uri: str,
        code_verifier: SecretText | None,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Exchange an authorization code (RFC 6749 4.1.3, RFC 7636 4.5)."""
        form = {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "redirect_uri": redirect_uri,
        }
        if code_verifier:
            form["code_verifier"] = code_verifier.reveal()
        grant = Grant.AUTHORIZATION_CODE
        return self._ask(grant, self._token_endpoint, form, credentials, read_timeout)

    def refresh(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Trade a refresh token for the next pair (RFC 6749 section 6); seconds."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        return self._ask(Grant.REFRESH_TOKEN, self._token_endpoint, form, credentials, read_timeout)

    def revoke(
        self,
        refresh_token: SecretText,
        *,
        credentials: ClientCredentials,
        read_timeout: int = READ_TIMEOUT,
    ) -> Answer:
        """Revoke the consent behind a refresh token (RFC 7009 section 2.1)."""
        form = {"token": refresh_token.reveal(), "token_type_hint": "refresh_token"}
        return self._ask(Grant.REVOKE, self._revocation_endpoint, form, credentials, read_timeout)

    def _ask(
        self,
        grant: Grant,
        url: str,
        form: Form,
        credentials: ClientCredentials,
        read_timeout: int,
    ) -> Answer:
        # A kept-alive connection may be dead already, and then nobody could tell what was sent.
        headers: Headers = {"Accept": ACCEPTED, "Connection": "close"}
        AUTHENTICATION[grant](credentials, headers, form)
        sent = self._send(url, headers, form, read_timeout)
        if isinstance(sent, Answer):
            return sent
        return replace(classify(grant, sent), interaction_id=sent.interaction_id)

    def _send(self, url: str, headers: Headers, form: Form, read_timeout: int) -> Wire | Answer:
        """Post once and read the answer within the deadline; what came by then is kept."""
        request = requests.Request("POST", url, headers=headers, data=form).prepare()
        seconds = CONNECT_TIMEOUT + read_timeout
        with Deadline(seconds, timer=self._timer) as deadline:
            try:
                # The adapter itself: no redirects, cookies, proxies or .netrc of a session.
                with self._session.get_adapter(url).send(
                    request, stream=True, timeout=(CONNECT_TIMEOUT, read_timeout), verify=True
                ) as response:
                    body, cut = _read(response, deadline)
                    raw = response.raw
                    return Wire(
                        response.status_code,
                        body,
                        response.headers.get("Retry-After"),
                        cut,
                        interaction_id=_name(response.headers.get("x-akoya-interaction-id")),
                        is_measured=raw.chunked or raw.length_remaining is not None,
                    )
            except requests.ConnectTimeout:
                return Answer(outcome=Outcome.UNREACHABLE, detail="connect timeout")
            except requests.Timeout:
                return Answer(outcome=Outcome.TIMEOUT, detail="read timeout")
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
                if deadline.expired:
                    return Answer(outcome=Outcome.TIMEOUT, detail="deadline")
                if isinstance(exc, requests.ConnectionError) and _never_sent(exc):
                    return Answer(outcome=Outcome.UNREACHABLE, detail="no connection")
                return Answer(outcome=Outcome.UPSTREAM, detail=type(exc).__name__)


def _read(response: requests.Response, deadline: Deadline) -> tuple[bytes, Outcome | None]:
    """Return the body, and if it did not come whole, what cut it: time, the other side, its size.

    Each read takes what is there: one that waits for more would lose it where the rest never comes.
    """
    body = b""
    try:
        while len(body) <= LARGEST_BODY:
            read = response.raw.read1(16_384, decode_content=True)
            body += read
            if not read:  # its end; or ours
                return body, Outcome.TIMEOUT if deadline.expired else None
    except urllib3.exceptions.ReadTimeoutError:
        return body, Outcome.TIMEOUT
    except (urllib3.exceptions.HTTPError, OSError):
        return body, Outcome.TIMEOUT if deadline.expired else Outcome.UPSTREAM
    return body, Outcome.GARBLED


def _never_sent(exc: requests.ConnectionError) -> bool:
    """Return whether the failure came before any byte left: no name, no connection, no trust."""
    cause = exc.args[0] if exc.args else None
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, urllib3.exceptions.SSLError):
        return bool(reason.args) and isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(
        reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError)
    )


def classify(grant: Grant, wire: Wire) -> Answer:
    """Return what an answer means for a well-formed request of this grant."""
    content = _json_object(wire.body)
    if content is None:
        content = _whole_form(wire)
    said = content.get("error") if content else None
    error = said if isinstance(said, str) else None
    detail = f"{wire.status} {error if error in LOGGABLE_ERRORS else '-'}"
    if wire.status // 100 == HTTPStatus.OK // 100:
        return _success(grant, content, wire, detail)
    asks_to_wait = wire.status == HTTPStatus.SERVICE_UNAVAILABLE and wire.retry_after is not None
    if wire.status == HTTPStatus.TOO_MANY_REQUESTS or asks_to_wait:
        wait = _seconds(wire.retry_after)
        return Answer(
            outcome=Outcome.THROTTLED,
            detail=detail,
            retry_after=wait,
            is_for_all=wire.status == HTTPStatus.TOO_MANY_REQUESTS,
        )
    if wire.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = _seconds(wire.retry_after)
        return Answer(outcome=Outcome.UPSTREAM, detail=detail, retry_after=wait)
    if content is None and wire.cut in (Outcome.TIMEOUT, Outcome.UPSTREAM):
        return Answer(outcome=wire.cut, detail=f"{detail} cut")
    if error is not None:
        hints = str((content or {}).get("error_description", "")).lower()
        # Without a description it is documented as "missing or wrong grant_type" (token-errors).
        is_ours = error == "invalid_grant" and not hints and grant is Grant.REFRESH_TOKEN
        for form in REFUSALS:
            if (form.grant, form.status, form.error) == (grant, wire.status, error) and (
                form.hint in hints
            ):
                return Answer(
                    outcome=form.outcome, detail=detail, dialect=form.dialect, reported=is_ours
                )
        if wire.status == HTTPStatus.BAD_REQUEST:
            return Answer(outcome=Outcome.OUR_BUG, detail=detail)
    return Answer(outcome=Outcome.EDGE, detail=detail)


def _success(grant: Grant, content: dict[str, Any] | None, wire: Wire, detail: str) -> Answer:
    """A 2xx: a rotation if a refresh token can be read, or at least a new bearer.

    Of a body that is not whole the refresh token must have come: where it is missing, it may be
    what is lost.
    """
    if grant is Grant.REVOKE:
        return _revoked(_json_object(wire.body), wire, detail)
    is_whole = content is not None
    if content is None:  # cut, though nothing need say so: the end of a connection looks whole
        content = whole_members(wire.body)
        if wire.cut and _secret(content, "refresh_token") is None:
            return Answer(outcome=wire.cut, detail=f"{detail} cut")
    refresh_token = _secret(content, "refresh_token")
    id_token = _secret(content, "id_token")
    if refresh_token is None and (id_token is None or not is_whole):
        return Answer(outcome=Outcome.GARBLED, detail=detail)
    return Answer(
        outcome=Outcome.SUCCESS,
        detail=detail,
        refresh_token=refresh_token,
        id_token=id_token,
        expires_in=_seconds((content or {}).get("expires_in")),
        is_type_foreign=_is_type_foreign(content),
    )


def _revoked(content: dict[str, Any] | None, wire: Wire, detail: str) -> Answer:
    """A 2xx to a revoke: done if it says nothing (RFC 7009 2.2), or no error in JSON."""
    if wire.cut and content is None:
        return Answer(outcome=wire.cut, detail=f"{detail} cut")
    is_done = not wire.body if content is None else "error" not in content
    return Answer(outcome=Outcome.SUCCESS if is_done else Outcome.GARBLED, detail=detail)


def _json_object(body: bytes) -> dict[str, Any] | None:
    """Parse by content, not by Content-Type: Akoya's own samples disagree about that header."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _whole_form(wire: Wire) -> dict[str, str] | None:
    """Parse a form that surely came whole: one that was cut would look no different."""
    if wire.cut or not wire.is_measured or not _FORM.fullmatch(wire.body.rstrip()):
        return None
    try:
        pairs = parse_qsl(wire.body.rstrip().decode(), strict_parsing=True)
    except ValueError:
        return None
    content = dict(pairs)
    return content if len(content) == len(pairs) else None


def _secret(content: dict[str, Any] | None, name: str) -> SecretText | None:
    value = (content or {}).get(name)
    return SecretText(value) if isinstance(value, str) and value else None


def _name(value: str | None) -> str | None:
    """Return an id that may stand in a log; None for anything else."""
    return value if value and _NAME.fullmatch(value) else None


def _is_type_foreign(content: dict[str, Any] | None) -> bool:
    """Return whether it says of the bearer that it is something else (RFC 6749 7.1)."""
    said = (content or {}).get("token_type") or "bearer"
    return str(said).lower() != "bearer"


def _seconds(value: object) -> int | None:
    """Read a number of seconds, however it is written; None if it makes no sense."""
    whole = int(value) if isinstance(value, float) and math.isfinite(value) else value
    text = str(whole).strip() if isinstance(whole, int | str) else ""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(LONGEST_SECONDS)):
        return None
    return int(text)
