"""The broker as one backend sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import requests
from botocore.credentials import Credentials as FixedCredentials
from requests.adapters import HTTPAdapter

from akoya_token_broker_client.auth import (
    ConnectionAuth,
    InteractionType,
    akoya_headers,
    ensure_zoned,
)
from akoya_token_broker_client.bearers import Bearer, Bearers
from akoya_token_broker_client.calls import Calls, Credentials, Waiting
from akoya_token_broker_client.connections import Begun, Connection, Listed, read

PATIENCE = 10.0  # seconds
MOST_SOCKETS = 64  # kept open between calls; more threads than that open one a call


class Broker:
    """Hands out bearers, and begins, confirms, shows and ends connections; any thread may use it.

    `api_url` is the stack's API, its stage included. `region` is read from that address, else from
    the AWS configuration; credentials come from the default chain. `patience`: how many seconds a
    call may wait in all where the broker says "ask again after".
    """

    def __init__(
        self,
        api_url: str,
        *,
        region: str | None = None,
        credentials: Credentials | None = None,
        patience: float = PATIENCE,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._calls = Calls(
            api_url,
            region=region,
            credentials=credentials,
            session=session or new_session(),
            waiting=Waiting(patience=patience, clock=clock, sleep=sleep),
        )
        self._bearers = Bearers(clock)
        self._clock = clock

    @classmethod
    def local(
        cls, stack: str | Path | Mapping[str, Any] = "local/.run/stack.json", **settings: Any
    ) -> Self:
        """Return the broker that `make up` started, by the file that names its addresses."""
        found = stack if isinstance(stack, Mapping) else json.loads(Path(stack).read_text())
        key = json.loads(Path(found["backend_credentials_file"]).read_text())
        credentials = FixedCredentials(key["aws_access_key_id"], key["aws_secret_access_key"])
        return cls(
            found["api_url"], **{"region": found["region"], "credentials": credentials, **settings}
        )

    # ── the data API ─────────────────────────────────────────────────────────────────────────────

    def auth(
        self,
        connection_id: str,
        *,
        subject: str | None = None,
        interaction_type: InteractionType | None = None,
        last_access: datetime | None = None,
        next_use: datetime | None = None,
    ) -> ConnectionAuth:
        """Return what authorizes calls of the data API: `requests.get(url, auth=…)`.

        `interaction_type` and `last_access` set the headers of the data API's version 3; `next_use`
        is when you will be back, so that the bearer is ready then. A request raises what `hand_out`
        raises.
        """
        ensure_zoned("next_use", next_use)
        bearer = partial(self.bearer, connection_id, subject=subject, next_use=next_use)
        return ConnectionAuth(
            lambda rejected: bearer(rejected=rejected),
            akoya_headers(interaction_type, last_access, now=self._clock()),
        )

    def bearer(
        self,
        connection_id: str,
        *,
        subject: str | None = None,
        rejected: int | None = None,
        next_use: datetime | None = None,
    ) -> Bearer:
        """Return the bearer out of memory, else of the broker: for other libraries than requests.

        Raises what `hand_out` raises.
        """
        ask = partial(
            self.hand_out, connection_id, subject=subject, rejected=rejected, next_use=next_use
        )
        return self._bearers.get((connection_id, subject), ask, rejected=rejected)

    def hand_out(
        self,
        connection_id: str,
        *,
        subject: str | None = None,
        min_validity: int | None = None,
        rejected: int | None = None,
        next_use: datetime | None = None,
    ) -> Bearer:
        """Ask the broker for the bearer, whatever is held; `auth` and `bearer` do it for you.

        `rejected` is the generation that the data API has refused; a `next_use` that has passed is
        not told. Raises NotConfirmed, AlreadyConnected, ReauthorizationRequired, Disconnected,
        ConnectionNotFound, Unavailable.
        """
        ensure_zoned("next_use", next_use)
        back_at = int(next_use.timestamp()) if next_use else 0
        wishes = {
            "subject": subject,
            "min_validity": min_validity,
            "rejected": rejected,
            "next_use": back_at if back_at > self._clock() else None,
        }
        path = f"{path_of(connection_id)}/token"
        return read(Bearer, self._calls.call("POST", path, wishes, connection_id=connection_id))

    # ── connections ──────────────────────────────────────────────────────────────────────────────

    def begin(
        self, *, subject: str, connector: str, return_to: str, connection_id: str | None = None
    ) -> Begun:
        """Begin a connection, or the renewal of one: send the person's browser to `start_url`.

        Raises RequestInvalid, ConnectionNotFound, TooManyAttempts.
        """
        wishes = {
            "subject": subject,
            "connector": connector,
            "return_to": return_to,
            "connection_id": connection_id,
        }
        return read(
            Begun, self._calls.call("POST", "/connections", wishes, connection_id=connection_id)
        )

    def confirm(self, connection_id: str, *, subject: str, confirmation: str) -> Connection:
        """Vouch that the person who came back is the subject who left; may be repeated.

        Raises ConfirmationInvalid, NotConfirmed, AlreadyConnected, ReauthorizationRequired,
        Disconnected.
        """
        body = {"subject": subject, "confirmation": confirmation}
        path = f"{path_of(connection_id)}/confirm"
        return read(Connection, self._calls.call("POST", path, body, connection_id=connection_id))

    def connections_of(self, subject: str) -> list[Connection]:
        """List a subject's connections, newest first, page by page."""
        found: list[Connection] = []
        query: dict[str, str | None] = {"subject": subject}
        while True:
            page = read(Listed, self._calls.call("GET", "/connections", query=query))
            found += [read(Connection, one) for one in page.connections]
            if page.next is None:
                return found
            query["cursor"] = page.next

    def show(self, connection_id: str, *, subject: str | None = None) -> Connection:
        """Show one connection; raises ConnectionNotFound if it is not `subject`'s."""
        return self._one("GET", connection_id, subject)

    def disconnect(self, connection_id: str, *, subject: str | None = None) -> Connection:
        """End a connection: nothing is handed out from now on, and Akoya is told within minutes.

        May be repeated. Raises ConnectionNotFound if it is not `subject`'s.
        """
        ended = self._one("DELETE", connection_id, subject)
        self._bearers.forget(connection_id)
        return ended

    def _one(self, method: str, connection_id: str, subject: str | None) -> Connection:
        content = self._calls.call(
            method,
            path_of(connection_id),
            query={"subject": subject},
            connection_id=connection_id,
        )
        return read(Connection, content)


def new_session() -> requests.Session:
    """Return a session that keeps a socket for each of many threads."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=MOST_SOCKETS))
    return session


def path_of(connection_id: str) -> str:
    """Return a connection's address within the API."""
    return f"/connections/{quote(connection_id, safe='')}"
