"""Begin a connection: a start link for the front end, then the browser on its way to Akoya."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from token_broker.domain import authorization
from token_broker.domain.authorization import Authorization, Opening, Progress, StoredOpening
from token_broker.domain.connection import RENEWABLE
from token_broker.domain.errors import (
    AlreadyConnected,
    BrokerMisconfigured,
    ConnectionNotFound,
    RequestRejected,
    TicketInvalid,
    TooManyAttempts,
)
from token_broker.domain.names import ensure_named
from token_broker.domain.ports import Clock, NewId, NewSecret, Record, SecretPresence
from token_broker.domain.secret_text import SecretText
from token_broker.store.authorizations import Authorizations
from token_broker.store.connections import Connections

LONGEST_RETURN_TO = 1024
TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeBroker:
    """What sending a browser out stands on."""

    authorizations: Authorizations
    connections: Connections
    secret_presence: SecretPresence
    authorization_endpoint: str
    client_id: str
    scopes: Sequence[str]
    return_to_allow_list: Sequence[str]
    send_pkce: bool
    clock: Clock
    new_secret: NewSecret
    new_id: NewId
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the front end gets to send its user out with."""

    connection_id: str
    start_url: str
    expires_at: int


def begin(
    broker: AuthorizeBroker,
    *,
    subject: str,
    connector: str,
    return_to: str,
    connection_id: str | None,
    base_url: str,
) -> Begun:
    """Store an attempt to connect and return its start link, good for 15 minutes.

    Raises RequestRejected, ConnectionNotFound, AlreadyConnected, TooManyAttempts, and
    BrokerMisconfigured where its code could not be exchanged for want of a client secret.
    """
    ensure_named(subject=subject, connector=connector)
    if not listed(return_to, broker.return_to_allow_list):
        raise RequestRejected("return_to is not on the stack's ReturnToAllowList.")
    if authorization.carries_own_parameters(return_to):
        names = ", ".join(sorted(authorization.OWN_PARAMETERS))
        raise RequestRejected(f"return_to must not carry what the broker adds to it: {names}.")
    if connection_id is not None:
        _ensure_renewable(broker, connection_id, subject=subject, connector=connector)
    if not broker.secret_presence.is_set():
        raise BrokerMisconfigured(
            "The broker has no client secret yet, so no bank can be connected. Its operator puts "
            "the secret into Secrets Manager (README: Deploy to AWS, step 3).",
            detail="the client secret is not set: put it into the stack's secret (README: deploy)",
        )
    ticket, now = broker.new_secret(), broker.clock()
    row = Authorization(
        id=authorization.fingerprint(ticket),
        connection_id=broker.new_id(),
        subject=subject,
        connector=connector,
        return_to=return_to,
        redirect_uri=f"{base_url}/callback",
        expires_at=now + authorization.LIFE,
        replaces=connection_id,
    )
    until = broker.authorizations.reserve(row, now=now, most=authorization.MOST_ATTEMPTS)
    if until is not None:
        raise TooManyAttempts(retry_after=max(1, until - now))
    broker.authorizations.create(row)
    broker.record("authorization_begun", connection_id=row.visible_id, connector=connector)
    return Begun(
        connection_id=row.visible_id,
        start_url=f"{base_url}/start/{ticket.reveal()}",
        expires_at=row.expires_at,
    )


def listed(return_to: str, allow_list: Sequence[str]) -> bool:
    """Return whether a URL is an entry of the list, or lies under one that ends in a slash."""
    if len(return_to) > LONGEST_RETURN_TO or not return_to.isascii() or not return_to.isprintable():
        return False
    if "\\" in return_to or "#" in return_to or " " in return_to:
        return False
    try:
        wanted = urlsplit(return_to)
    except ValueError:
        return False
    if wanted.username is not None or "/../" in f"{wanted.path}/" or "%2e" in return_to.lower():
        return False
    for entry in map(urlsplit, allow_list):
        if (wanted.scheme, wanted.netloc) != (entry.scheme, entry.netloc):
            continue
        if wanted.path == entry.path or (
            entry.path.endswith("/") and wanted.path.startswith(entry.path)
        ):
            return True
    return False


def _ensure_renewable(
    broker: AuthorizeBroker, connection_id: str, *, subject: str, connector: str
) -> None:
    found = broker.connections.look(connection_id)
    if found.subject != subject or found.connector != connector:
        raise ConnectionNotFound
    if found.superseded_by:
        raise AlreadyConnected(found.superseded_by)
    if found.status not in RENEWABLE:
        raise RequestRejected(
            f"A connection that is {found.status} cannot be renewed; start a new one without "
            "connection_id."
        )


def start(broker: AuthorizeBroker, *, ticket: str) -> Opening:
    """Bind this browser to the attempt and return where to send it (RFC 6749 section 4.1.1).

    May be called again until the code is exchanged, as link previews do; raises TicketInvalid.
    """
    if not TICKET.fullmatch(ticket):
        raise TicketInvalid
    row = broker.authorizations.get(authorization.fingerprint(SecretText(ticket)))
    now = broker.clock()
    if row is None:
        raise TicketInvalid
    if row.expires_at <= now or row.progress is not Progress.OPEN:
        raise _closed(row, now=now)
    state = authorization.compose_state(row.id, broker.new_secret())
    cookie = broker.new_secret()
    if not broker.authorizations.add_opening(
        row.id,
        state_hash=authorization.fingerprint(state),
        opening=StoredOpening(
            cookie_hash=authorization.fingerprint(cookie), sent_pkce=broker.send_pkce
        ),
        now=now,
        most=authorization.MOST_OPENINGS,
    ):
        raise _closed(row, now=now)
    return Opening(
        authorization_url=_authorization_url(broker, row, state=state, cookie=cookie),
        cookie_name=authorization.cookie_name(state),
        cookie=cookie,
    )


def _closed(row: Authorization, *, now: int) -> TicketInvalid:
    """Return the error of a link that is over; while its code is exchanged there is no way back."""
    error = TicketInvalid()
    is_under_way = row.progress in {Progress.EXCHANGING, Progress.SENT} and row.expires_at > now
    if not is_under_way:
        error.way_back = row.way_back(error=error.error)
    return error


def _authorization_url(
    broker: AuthorizeBroker, row: Authorization, *, state: SecretText, cookie: SecretText
) -> str:
    query = {
        "connector": row.connector,
        "client_id": broker.client_id,
        "redirect_uri": row.redirect_uri,
        "response_type": "code",
        "scope": " ".join(broker.scopes),
        "state": state.reveal(),
        "nonce": authorization.nonce(cookie),
    }
    if broker.send_pkce:
        query["code_challenge"] = authorization.code_challenge(authorization.code_verifier(cookie))
        query["code_challenge_method"] = "S256"
    return f"{broker.authorization_endpoint}?{urlencode(query)}"
