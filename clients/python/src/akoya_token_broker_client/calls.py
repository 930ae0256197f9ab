"""Signed calls of the broker: sent, waited for within a bound, and read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from requests.auth import AuthBase

from akoya_token_broker_client.addresses import ensure_private
from akoya_token_broker_client.errors import NotAllowed, RequestInvalid, Unavailable, error_of

TIMEOUT = (5, 35)  # seconds to connect and to read; the API itself gives up after 29
UNREACHED = 1  # seconds until the broker is tried again where it was not reached
OK = range(200, 300)
API_GATEWAY = re.compile(r"//[^/]*\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


class Credentials(Protocol):
    """AWS credentials of botocore, fixed or refreshed by themselves."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the ones to sign with now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long a call may wait for the broker, and the time it goes by."""

    patience: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Calls:
    """The broker's API: each call is signed for execute-api with the caller's AWS credentials."""

    def __init__(
        self,
        api_url: str,
        *,
        region: str | None,
        credentials: Credentials | None,
        session: requests.Session,
        waiting: Waiting,
    ) -> None:
        ensure_private(api_url)
        self._api_url = api_url.rstrip("/")
        self._signature = Signature(api_url, region, credentials)
        self._session = session
        self._waiting = waiting

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        connection_id: str | None = None,
    ) -> dict[str, Any]:
        """Return the JSON of a good answer; a `body` or `query` leaves out what is None.

        Waits as the broker says, `patience` seconds in all. Raises the errors of `errors`.
        """
        waiting = self._waiting
        until = waiting.clock() + waiting.patience
        url = f"{self._api_url}{path}{encoded(query or {})}"
        content = None if body is None else given(body)
        while True:
            try:
                return self._send(method, url, content, connection_id)
            except Unavailable as error:
                wait = error.retry_after
                if wait is None or waiting.clock() + wait > until:
                    raise
            waiting.sleep(wait)

    def _send(
        self, method: str, url: str, body: Mapping[str, Any] | None, connection_id: str | None
    ) -> dict[str, Any]:
        try:
            response = self._session.request(
                method, url, json=body, auth=self._signature, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as exc:
            raise Unavailable(
                f"The broker was not reached ({type(exc).__name__}).",
                connection_id=connection_id,
                retry_after=UNREACHED,
            ) from None
        content = members(response)
        if response.status_code in OK:
            return content
        raise error_of(
            response.status_code,
            content,
            connection_id=connection_id,
            retry_after=seconds(response.headers.get("Retry-After")),
        )


class Signature(AuthBase):
    """Signs a request for execute-api (SigV4); as `auth`, it also keeps a .netrc out."""

    def __init__(self, api_url: str, region: str | None, credentials: Credentials | None) -> None:
        found = API_GATEWAY.search(api_url)
        self._region = region or (found.group(1) if found else None)
        self._credentials = credentials
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign; raises NotAllowed where there is nothing to sign with."""
        try:
            credentials, region = self._found()
            key = credentials.get_frozen_credentials()
        except BotoCoreError as exc:
            raise NotAllowed(f"There are no AWS credentials to sign with: {exc}") from exc
        signed = AWSRequest(
            method=request.method,
            url=request.url,
            data=request.body,
            headers={
                name: value for name, value in request.headers.items() if name == "Content-Type"
            },
        )
        SigV4Auth(key, "execute-api", region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request

    def _found(self) -> tuple[Credentials, str]:
        """Return credentials and region, looked for at the first call only."""
        with self._lock:
            if self._credentials is None or self._region is None:
                session = Session()
                self._credentials = self._credentials or session.get_credentials()
                self._region = self._region or session.get_config_variable("region")
            if self._credentials is None:
                raise NotAllowed("There are no AWS credentials to sign with.")
            if self._region is None:
                raise RequestInvalid("The address names no AWS region: give region=.")
            return self._credentials, self._region


def members(response: requests.Response) -> dict[str, Any]:
    """Return the members of a JSON object, or none if it is something else."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def given(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wishes that were uttered."""
    return {name: value for name, value in wishes.items() if value is not None}


def encoded(query: Mapping[str, Any]) -> str:
    """Return the query as it is signed: a space is %20 there, not a plus."""
    found = urlencode(given(query), quote_via=quote)
    return f"?{found}" if found else ""


def seconds(retry_after: str | None) -> int | None:
    """Return how long to wait, one second at least; None where that is no number of seconds."""
    return max(1, int(retry_after)) if retry_after and retry_after.isdecimal() else None
