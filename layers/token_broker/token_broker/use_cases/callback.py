"""The redirect comes in: its code is exchanged once, and the browser is told how it went.

However often the browser delivers the redirect, one delivery exchanges the code and all others
are told its outcome. RFC 6749 4.1.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from token_broker.domain import authorization
from token_broker.domain.authorization import (
    Authorization,
    CodeBinding,
    Progress,
    Redirect,
    Result,
    StoredOpening,
)
from token_broker.domain.connection import Lease
from token_broker.domain.errors import (
    ExchangeInProgress,
    IssuerForeign,
    OutcomeTold,
    RefreshInProgress,
    RequestRejected,
    StateInvalid,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.ports import Remaining
from token_broker.domain.secret_text import SecretText
from token_broker.store.authorizations import Authorizations
from token_broker.store.recent_subjects import RecentSubjects
from token_broker.use_cases.attempt import new_lease
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.exchange import Exchange, is_under_way, recovered
from token_broker.use_cases.front_channel import note_front_channel_error

# What Akoya and OAuth name (Akoya: authentication-errors); anything else is told as server_error.
TELLABLE_ERRORS = frozenset(
    {
        "access_denied",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_response_type",
        "server_error",
        "temporarily_unavailable",
    }
)
DECLINED_WITHIN = 10  # seconds in which no exchange begins beside a refusal
OUR_FAULTS = TELLABLE_ERRORS - {"access_denied", "server_error", "temporarily_unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationResponse:
    """What the redirect carries (RFC 6749 sections 4.1.2 and 4.1.2.1)."""

    state: SecretText | None
    code: SecretText | None
    error: str | None
    issuer: str | None = None  # RFC 9207 section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """What finishing a connection stands on beside what every send does."""

    authorizations: Authorizations
    recent_subjects: RecentSubjects
    code_binding: CodeBinding


def finish(
    broker: Broker,
    finishing: Finishing,
    *,
    response: AuthorizationResponse,
    cookies: Mapping[str, SecretText],
    remaining: Remaining,
) -> Redirect:
    """Turn an authorization response into a connection and return where the browser goes next.

    Raises StateInvalid and RequestRejected (nothing is consumed), ExchangeInProgress,
    UpstreamUnavailable and BrokerMisconfigured (the same redirect may be delivered again).
    """
    authorizations = finishing.authorizations
    row, opened_by = _row_of(authorizations, response)
    with _telling_about(row):
        opening = (row.openings or {})[opened_by]
        cookie_name, cookie = _cookie_of(row, opening, response, cookies)
        if row.result:
            return _redirect_for(row, row.result, opened_by, cookie_name, cookie)
        if response.issuer is not None and not broker.id_tokens.accepts_issuer(response.issuer):
            raise IssuerForeign
        if response.error is None and response.code is None:
            raise RequestRejected("The bank's answer carries neither a code nor an error.")
        if row.progress is Progress.SENT:
            result = recovered(broker, row)
            if not _is_finisher(broker, result, cookie):
                return Redirect(return_to=row.return_to, result=result, cookie_name=cookie_name)
        elif response.error is not None or response.code is None:
            result = _declined(broker, finishing, row, response.error or "server_error")
        elif row.expires_at <= broker.clock() and not is_under_way(broker, row):
            result = Result(status="failed", connection_id=row.visible_id, error="expired")
        else:
            result = Exchange(
                broker=broker,
                finishing=finishing,
                row=row,
                lease=new_lease(broker, remaining()),
                opening=opening,
                cookie=cookie,
                remaining=remaining,
            ).result(response.code)
        final = authorizations.finish(row.id, result=result, finished_by=opened_by)
        with suppress(TokenBrokerError):  # it counts until it expires
            authorizations.vacate(row)
        return _redirect_for(
            replace(row, finished_by=opened_by), final, opened_by, cookie_name, cookie
        )


@contextmanager
def _telling_about(row: Authorization) -> Iterator[None]:
    """Let an error name the connection to our log, and lead its person back to the front end."""
    try:
        yield
    except Exception as exc:
        exc.about = row.visible_id  # type: ignore[attr-defined] # whatever it is
        passes = isinstance(exc, UpstreamUnavailable | RefreshInProgress)
        if isinstance(exc, TokenBrokerError) and not passes:
            exc.way_back = row.way_back(error=exc.error)  # else the page loads itself again
        raise


def _row_of(
    authorizations: Authorizations, response: AuthorizationResponse
) -> tuple[Authorization, str]:
    """Find the attempt and the opening that a `state` was made for; raises StateInvalid."""
    if response.state is None:
        if response.error is not None:
            raise RequestRejected(
                "The bank connection was not completed. Go back to the app and start again.",
                error="access_denied",
            )
        raise StateInvalid
    row = authorizations.get(authorization.authorization_id_of(response.state))
    opened_by = authorization.fingerprint(response.state)
    if row is None or opened_by not in (row.openings or {}):
        raise StateInvalid
    return row, opened_by


def _cookie_of(
    row: Authorization,
    opening: StoredOpening,
    response: AuthorizationResponse,
    cookies: Mapping[str, SecretText],
) -> tuple[str, SecretText]:
    """Return the cookie this browser was sent out with; nothing is consumed if it was not."""
    name = authorization.cookie_name(response.state) if response.state else ""
    cookie = cookies.get(name)
    if cookie is None or not authorization.matches(cookie, opening.cookie_hash):
        raise OutcomeTold if row.result else StateInvalid
    return name, cookie


def _redirect_for(
    row: Authorization, result: Result, opened_by: str, cookie_name: str, cookie: SecretText
) -> Redirect:
    finisher = row.finished_by == opened_by and result.status == "pending_confirmation"
    return Redirect(
        return_to=row.return_to,
        result=result,
        confirmation=authorization.confirmation(cookie) if finisher else None,
        cookie_name=cookie_name,
    )


def _declined(broker: Broker, finishing: Finishing, row: Authorization, error: str) -> Result:
    """Tell that the bank said no; what another tab has brought under way goes on."""
    attempt = Lease(id=broker.new_id(), until=broker.clock() + DECLINED_WITHIN)
    won = finishing.authorizations.begin_exchange(row.id, attempt=attempt, now=broker.clock())
    if not won and (row.expires_at > broker.clock() or is_under_way(broker, row)):
        raise ExchangeInProgress(retry_after=3)
    public_error = error if error in TELLABLE_ERRORS else "server_error"
    if public_error in OUR_FAULTS:
        note_front_channel_error(broker, finishing.recent_subjects, row, error=public_error)
    else:
        broker.record("authorization_declined", connection_id=row.visible_id, error=public_error)
    status = "declined" if public_error == "access_denied" else "failed"
    return Result(status=status, connection_id=row.visible_id, error=public_error)


def _is_finisher(broker: Broker, result: Result, cookie: SecretText) -> bool:
    """Return whether the confirmation is for this browser; another tab may come back first."""
    if result.status != "pending_confirmation":
        return True
    expected = broker.connections.get(result.connection_id).confirmation_hash
    return expected is not None and authorization.matches(
        authorization.confirmation(cookie), expected
    )
