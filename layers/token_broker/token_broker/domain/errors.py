"""Errors by whom they concern, so that a caller reacts to the family and a log to the leaf.

TokenBrokerError
├ RequestRejected              the caller: correct the request             4xx
│  ├ StateInvalid              the redirect is not of this browser
│  ├ IssuerForeign             the redirect is another provider's
│  ├ OutcomeTold               the redirect has done its work
│  ├ TooManyAttempts           this subject has too many open
│  ├ TicketInvalid             the start link is unknown or over
│  ├ ConnectionNotFound        no such connection of this subject
│  ├ NotConfirmed              the person was not vouched for yet
│  ├ ConfirmationInvalid       vouched for with the wrong value
│  ├ AlreadyConnected          another connection of the subject has that login
│  └ ConnectionGone            it was disconnected
├ ReauthorizationRequired      one connection: its person consents again   409
│  └ RecordUnreadable          its tokens cannot be read: the same         409
├ BrokerMisconfigured          us: stop, page a human, touch nothing       500
│  ├ Reported                  the same, and an event of its own says it   500
│  ├ RowNewer                  one row is of a later version: go on        500
│  └ RowUnreadable             one row makes no sense: report, go on       500
│     └ SetUnreadable          not all of it reads: a new consent heals it
├ UpstreamUnavailable          the weather: ask again later                503
│  ├ OutcomeUnknown            sent, and nobody knows what became of it    503
│  ├ AkoyaUnreached            no connection, or a page in Akoya's place   503
│  ├ TurnToCome                many ask at once, and this one's turn comes 503
│  ├ SetEscrowed               a new set is durable in escrow alone        503
│  ├ ConsentSuspect            refused, and it may be Akoya's own fault    503
│  │  └ GrantRefused           the same, with the lease still held
│  ├ DataAccessRefused         the consent lives, its fresh bearers do not 503
│  └ ExchangeInProgress        another delivery exchanges the code         503
├ RefreshInProgress            another attempt holds the lease             503
├ StaleGeneration              someone moved the row: read it again        503
└ RunFailed                    a run of the schedule could not begin

Each carries `error` (a stable code in OAuth's form), `description` (what the caller can do; public)
and `detail` (for our log only). None of the three may hold a secret, code, token or state. `event`
is the metric counted when the error reaches a handler. `way_back` is where a page that ends an
attempt sends its person, if the attempt is known. `about` names the connection, for our log, where
the request does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from token_broker.domain.refresh_policy import UNSETTLED_DELAY

if TYPE_CHECKING:
    from token_broker.domain.connection import Connection, Suspect
    from token_broker.domain.outcome import Answer


class TokenBrokerError(Exception):
    """Base of every error the broker raises on purpose."""

    event = "request_failed"
    error = "server_error"
    description = "The broker could not answer. Try again; if it persists, tell its operator."
    way_back: str | None = None
    about: str | None = None

    def __init__(
        self,
        description: str | None = None,
        *,
        error: str | None = None,
        detail: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.error = error or type(self).error
        self.description = description or type(self).description
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(detail or self.description)


class RequestRejected(TokenBrokerError):
    """The request itself is wrong; the same request will never succeed."""

    error = "invalid_request"
    description = "The request is malformed."


class StateInvalid(RequestRejected):
    """The redirect does not belong to a browser we sent out (RFC 6749 section 10.12)."""

    error = "invalid_state"
    description = (
        "This page does not belong to a connection started in this browser. "
        "Go back to the app and start again."
    )


class IssuerForeign(RequestRejected):
    """The redirect says that another authorization server sent it (RFC 9207 section 2.4)."""

    error = "invalid_issuer"
    description = (
        "This answer comes from another provider than the one you were sent to. "
        "Go back to the app and start again."
    )


class OutcomeTold(RequestRejected):
    """The redirect was delivered again after its browser was told the outcome."""

    error = "already_told"
    description = "This page has done its work, and the app knows how it went. Go back to the app."


class TooManyAttempts(RequestRejected):
    """The subject has as many attempts to connect open as one may have."""

    error = "too_many_attempts"
    description = (
        "This subject has too many attempts to connect open. One has to end first; an abandoned "
        "one ends after 15 minutes."
    )


class TicketInvalid(RequestRejected):
    """The start link is unknown, used or expired."""

    error = "invalid_ticket"
    description = "This link is unknown or has expired. Go back to the app and start again."


class ConnectionNotFound(RequestRejected):
    """No connection has this id (one that was never finished has none)."""

    error = "connection_not_found"
    description = "No connection has this id. One that was never completed leaves nothing behind."


class NotConfirmed(RequestRejected):
    """The person who came back has not been vouched for yet."""

    error = "not_confirmed"
    description = "The connection awaits POST /connections/{id}/confirm by your backend."


class ConfirmationInvalid(RequestRejected):
    """Subject or confirmation do not match what the finishing browser was given."""

    error = "invalid_confirmation"
    description = (
        "Subject or confirmation do not match this connection. Confirm only with the value the "
        "redirect carried, for the user who is signed in."
    )


class AlreadyConnected(RequestRejected):
    """The subject had this bank login connected already; `connection_id` is that connection."""

    error = "already_connected"
    description = (
        "This bank login was connected already, and the new consent went to that connection. Use "
        "its connection_id, which stands beside this."
    )

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        super().__init__()


class ConnectionGone(RequestRejected):
    """The connection was disconnected."""

    error = "gone"
    description = "The connection was disconnected. Start a new one with POST /connections."


class ReauthorizationRequired(TokenBrokerError):
    """Only a new consent of its person brings this connection back."""

    error = "reauthorization_required"
    description = (
        "The bank's consent has ended. Send the user through POST /connections with this "
        "connection_id."
    )


class BrokerMisconfigured(TokenBrokerError):
    """Our configuration is wrong; no connection is to blame and none is touched."""

    event = "broker_misconfigured"
    error = "server_error"
    description = "The broker is misconfigured; its operator has been alerted."


class Reported(BrokerMisconfigured):
    """An event of its own has alerted the operator already, and says more."""

    event = "request_failed"


class RowNewer(BrokerMisconfigured):
    """A later version of the broker wrote a row: this deployment is behind; nothing of it is used.

    The others are not concerned.
    """

    description = (
        "This record was written by a later version of the broker; its operator has been alerted."
    )


class RowUnreadable(BrokerMisconfigured):
    """A row makes no sense; the others are not concerned.

    The schedule reports it (row_unreadable) at each of its looks, so no caller's request does.
    """

    event = "request_failed"
    error = "record_unreadable"
    description = (
        "This connection's record cannot be read; the broker's operator is told. A new consent, "
        "begun without connection_id, makes a connection of its own."
    )


class SetUnreadable(RowUnreadable):
    """The token set of a row does not open, or not all of the row reads; a new consent heals it."""


class RecordUnreadable(ReauthorizationRequired):
    """What a caller is told of SetUnreadable."""

    description = (
        "The broker cannot read this connection's tokens. Send the user through POST /connections "
        "with this connection_id: a new consent heals it."
    )


class UpstreamUnavailable(TokenBrokerError):
    """Akoya, or a part we stand on, cannot be reached now; nothing is lost."""

    error = "temporarily_unavailable"
    description = "No fresh token can be had right now. Ask again after Retry-After seconds."

    def __init__(
        self,
        description: str | None = None,
        *,
        error: str | None = None,
        detail: str | None = None,
        retry_after: int | None = 30,
    ) -> None:
        super().__init__(description, error=error, detail=detail, retry_after=retry_after)


class OutcomeUnknown(UpstreamUnavailable):
    """A request went out and no answer tells what became of it."""


class TurnToCome(UpstreamUnavailable):
    """Many stale connections are asked for at once; the caller's turn is after Retry-After."""

    event = "turn_told"
    description = "Many are refreshed before this one. Ask again after Retry-After seconds."


class AkoyaUnreached(UpstreamUnavailable):
    """No connection was had, or something else answered in the token endpoint's place."""


class SetEscrowed(UpstreamUnavailable):
    """A new set is durable in escrow alone; `connection` is the row as it will be."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        super().__init__(detail="the token set is in escrow", retry_after=UNSETTLED_DELAY)


class ConsentSuspect(UpstreamUnavailable):
    """Akoya refuses the refresh token; it is tried again until it is taken or the consent ends."""

    error = "consent_suspect"
    description = (
        "The bank's consent may have ended. It is tried again by itself: ask again after "
        "Retry-After seconds. You may offer the user a renewal with this connection_id."
    )


class GrantRefused(ConsentSuspect):
    """Akoya refused a refresh token: the lease is still held and nothing is recorded yet."""

    def __init__(
        self, leased: Connection, suspect: Suspect, *, sent_at: int, answer: Answer
    ) -> None:
        self.leased, self.suspect, self.sent_at, self.answer = leased, suspect, sent_at, answer
        super().__init__(detail=answer.detail)


class DataAccessRefused(UpstreamUnavailable):
    """The data API refuses fresh bearers of a consent that Akoya's token endpoint renews."""

    error = "data_access_refused"
    description = (
        "The data API refuses fresh bearers of this connection, though its consent lives. A newer "
        "one is fetched after Retry-After seconds; ask without rejected for the one that is held."
    )


class ExchangeInProgress(UpstreamUnavailable):
    """Another delivery of the same redirect is exchanging the code."""

    error = "exchange_in_progress"
    description = "Your bank connection is being completed. Reload this page in a moment."


class RefreshInProgress(TokenBrokerError):
    """Another attempt holds this connection's lease."""

    error = "refresh_in_progress"
    description = "A refresh is under way. Ask again after Retry-After seconds."


class StaleGeneration(TokenBrokerError):
    """The row moved on since it was read; read it again. `row` is what stands, where it is told."""

    error = "stale_generation"
    description = "The connection changed meanwhile. Repeat the request."

    def __init__(self, *, row: Mapping[str, Any] | None = None) -> None:
        self.row = row or {}
        super().__init__()


class RunFailed(TokenBrokerError):
    """A run of the schedule could not begin; the log says why."""
