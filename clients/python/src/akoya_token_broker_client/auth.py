"""The bearer of one connection on requests of the data API, renewed once where it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

import requests
from requests.auth import AuthBase

from akoya_token_broker_client.addresses import ensure_private, origin
from akoya_token_broker_client.bearers import Bearer

InteractionType = Literal["USER", "BATCH"]
REFUSED, NOT_AUTHORIZED = 401, "602"  # Akoya: the bearer is dead, for a newer one or for good

Renew = Callable[[int | None], Bearer]  # with the generation that was refused


class Authorization(str):
    """A header that requests can send, and that neither repr, str, format nor pickle shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Authorization(***)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a bearer stays in the memory of one process")


class ConnectionAuth(AuthBase):
    """Puts a connection's bearer and Akoya's headers on a request; any thread may use it."""

    def __init__(self, bearer: Renew, headers: Mapping[str, str]) -> None:
        self._bearer = bearer
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Authorize; raises RequestInvalid for an open address, and what a hand-out raises."""
        ensure_private(str(request.url))
        bearer = self._bearer(None)
        for name, value in self._headers.items():
            request.headers.setdefault(name, value)
        authorize(request, bearer)
        repeat = Repeat(request, bearer, self._bearer)
        request.register_hook("response", repeat)  # type: ignore[no-untyped-call]
        return request


class Repeat:
    """One request: if the data API refuses its bearer, it is sent once more, with a newer one."""

    def __init__(self, request: requests.PreparedRequest, bearer: Bearer, renew: Renew) -> None:
        self._origin = origin(str(request.url))
        self._body_at = position(request.body)
        self._generation = bearer.generation
        self._renew = renew
        self._done = False

    def __call__(self, response: requests.Response, **how: Any) -> requests.Response:
        """Return the response to give to the caller; raises what a hand-out raises."""
        request = response.request
        if self._done or origin(str(request.url)) != self._origin or not is_dead(response):
            return response
        self._done = True
        bearer = self._renew(self._generation)
        if not self._rewound(request.body):
            return response
        authorize(request, bearer)
        again: requests.Response = response.connection.send(request, **how)
        again.history.append(response)
        return again

    def _rewound(self, body: Any) -> bool:
        """Return whether the body can be sent again; a stream is back where it began."""
        if body is None or isinstance(body, bytes | str):
            return True
        if self._body_at is None:
            return False
        body.seek(self._body_at)
        return True


def authorize(request: requests.PreparedRequest, bearer: Bearer) -> None:
    """Set the header that carries the bearer (RFC 6750 2.1)."""
    request.headers["Authorization"] = Authorization(f"Bearer {bearer.id_token}")


def is_dead(response: requests.Response) -> bool:
    """Return whether the data API says that it does not take this bearer, or not any more."""
    if response.status_code != REFUSED:
        return False
    try:
        content = response.json()
    except ValueError:
        return False
    return isinstance(content, dict) and str(content.get("code")) == NOT_AUTHORIZED


def position(body: Any) -> int | None:
    """Return where a stream begins, if it can be brought back there."""
    try:
        return int(body.tell()) if body.seekable() else None
    except (AttributeError, OSError):
        return None


def akoya_headers(
    interaction_type: InteractionType | None, last_access: datetime | None, *, now: float
) -> dict[str, str]:
    """Return what version 3 of the data API requires of each call, if it is asked for.

    A person who waits uses the product now. Raises ValueError for a batch that does not say when
    its person last did, or says so without a time zone.
    """
    if interaction_type is None:
        if last_access is not None:
            raise ValueError("last_access goes with an interaction_type")
        return {}
    if last_access is None:
        if interaction_type == "BATCH":
            raise ValueError("a batch says when the person last used the product: last_access=")
        last_access = datetime.fromtimestamp(now, UTC)
    ensure_zoned("last_access", last_access)
    return {
        "x-akoya-interaction-type": interaction_type,
        "x-akoya-last-access": last_access.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def ensure_zoned(name: str, moment: datetime | None) -> None:
    """Raise ValueError for a moment that is another one on another machine."""
    if moment is not None and moment.tzinfo is None:
        raise ValueError(f"{name} needs a time zone")
