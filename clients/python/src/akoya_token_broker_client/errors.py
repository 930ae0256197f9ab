"""What the broker refuses, by what the caller does next.

BrokerError                     catch this to catch all
├ RequestInvalid                correct the request                                        400
├ NotAllowed                    AWS refused the caller: credentials, region, policy        403
├ ConfirmationInvalid           do not retry: not this person, or not this connection      403
├ ConnectionNotFound            it is not there, or another subject's: begin a new one     404
├ NotConfirmed                  confirm first                                              409
├ AlreadyConnected              use its `connection_id`: that bank login was connected      409
├ ReauthorizationRequired       the person consents again: begin with this connection_id   409
├ Disconnected                  it is over                                                 410
├ Unavailable                   ask again after `retry_after` seconds                 429, 503
│  ├ ConsentSuspect             the consent may be over; offer a renewal, do not push it   503
│  ├ DataAccessRefused          the data API refuses fresh bearers: look at what it says   503
│  └ TooManyAttempts            this subject has too many attempts to connect open         429
└ BrokerFailed                  the broker's operator is told                              500
   └ RecordUnreadable           begin a new connection without connection_id               500

Each carries the broker's `error` code and `description`, the HTTP `status` where there was an
answer, the `connection_id` where the call named one, and `retry_after` where the broker said so.
None holds a bearer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORBIDDEN = 403


class BrokerError(Exception):
    """Base of every error of this client."""

    error = "server_error"

    def __init__(
        self,
        description: str,
        *,
        error: str | None = None,
        status: int | None = None,
        connection_id: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.error = error or type(self).error
        self.description = description
        self.status = status
        self.connection_id = connection_id
        self.retry_after = retry_after
        super().__init__(description)

    def __str__(self) -> str:
        about = f" (connection {self.connection_id})" if self.connection_id else ""
        wait = f" Retry after {self.retry_after} s." if self.retry_after else ""
        return f"{self.error}: {self.description}{wait}{about}"


class RequestInvalid(BrokerError):
    """The request is wrong; the same request will never succeed."""

    error = "invalid_request"


class NotAllowed(BrokerError):
    """AWS did not let the caller in: no credentials, a wrong region, a policy that is missing."""

    error = "not_allowed"


class ConfirmationInvalid(BrokerError):
    """Subject or confirmation are not this connection's; another person may have come back."""

    error = "invalid_confirmation"


class ConnectionNotFound(BrokerError):
    """No connection of this subject has this id."""

    error = "connection_not_found"


class NotConfirmed(BrokerError):
    """The person who came back was not vouched for yet."""

    error = "not_confirmed"


class AlreadyConnected(BrokerError):
    """The subject had this bank login connected already; `connection_id` is the one to use."""

    error = "already_connected"


class ReauthorizationRequired(BrokerError):
    """The person has to consent again; the connection keeps its id.

    Call `broker.begin(subject=…, connector=…, return_to=…, connection_id=error.connection_id)`, and
    send the person's browser to the answer's `start_url`.
    """

    error = "reauthorization_required"

    def __str__(self) -> str:
        renewal = f"begin(…, connection_id={self.connection_id!r})"
        return f"{super().__str__()} Renew: {renewal}, and send the person to its start_url."


class Disconnected(BrokerError):
    """The connection was disconnected; it hands out nothing any more."""

    error = "gone"


class Unavailable(BrokerError):
    """There is no answer now; nothing is lost. Ask again after `retry_after` seconds."""

    error = "temporarily_unavailable"


class ConsentSuspect(Unavailable):
    """Akoya refuses the refresh token and is asked again by itself; a renewal may be offered."""

    error = "consent_suspect"


class DataAccessRefused(Unavailable):
    """The data API refuses fresh bearers though the consent lives; look at what it says."""

    error = "data_access_refused"


class TooManyAttempts(Unavailable):
    """The subject has too many attempts to connect open; an abandoned one ends by itself."""

    error = "too_many_attempts"


class BrokerFailed(BrokerError):
    """The broker could not answer, and its operator is told; or something else answered."""

    error = "server_error"


class RecordUnreadable(BrokerFailed):
    """The connection's record does not read; begin a new one, or wait for the operator."""

    error = "record_unreadable"


OWN: tuple[type[BrokerError], ...] = (
    RequestInvalid,
    ConfirmationInvalid,
    ConnectionNotFound,
    NotConfirmed,
    AlreadyConnected,
    ReauthorizationRequired,
    Disconnected,
    Unavailable,
    ConsentSuspect,
    DataAccessRefused,
    TooManyAttempts,
    BrokerFailed,
    RecordUnreadable,
)
PASSING = ("refresh_in_progress", "exchange_in_progress", "stale_generation", "too_many_requests")
KINDS = {kind.error: kind for kind in OWN} | dict.fromkeys(PASSING, Unavailable)
BY_STATUS: dict[int, type[BrokerError]] = {
    400: RequestInvalid,
    410: Disconnected,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(
    status: int,
    content: Mapping[str, Any],
    *,
    connection_id: str | None,
    retry_after: int | None,
) -> BrokerError:
    """Return the error that an answer of the broker, or of the gateway before it, stands for."""
    code = content.get("error")
    kind = KINDS.get(str(code)) or BY_STATUS.get(status, BrokerFailed)
    if status == FORBIDDEN and kind is not ConfirmationInvalid:
        kind, code = NotAllowed, None  # the gateway's own answer
    if code == "stale_generation":
        retry_after = retry_after or 1
    return kind(
        str(content.get("error_description") or f"The broker answered {status}."),
        error=str(code) if code else None,
        status=status,
        connection_id=content.get("connection_id", connection_id),
        retry_after=retry_after,
    )
