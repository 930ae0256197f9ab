"""What the demo asks of the sandbox: accounts with a bearer, its ledger, and to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from akoya_token_broker_client import ConnectionAuth

TIMEOUT = 10
FINGERPRINT_LENGTH = 16  # as the sandbox's ledger writes them
BAD_REQUEST = 400


def fingerprint(token: str) -> str:
    """Return what may be shown of a token: the start of its hash, as in the sandbox's ledger."""
    return hashlib.sha256(token.encode()).hexdigest()[:FINGERPRINT_LENGTH]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The data API's answer, and whether it had refused the bearer that was sent first."""

    accounts: list[dict[str, Any]]
    refused_before: bool


class SandboxRefusedError(ValueError):
    """The sandbox cannot follow; the message is its own and says what would be right."""


class SandboxClient:
    """The Akoya sandbox's data API and admin routes."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._lives = threading.Lock()

    def accounts(self, connector: str, auth: ConnectionAuth) -> Accounts:
        """Read the accounts of a connection; raises what the broker says."""
        answer = requests.get(
            f"{self._url}/accounts-info/v3/{connector}", auth=auth, timeout=TIMEOUT
        )
        found = answer.json()["accounts"] if answer.ok else []
        return Accounts([_flat(one) for one in found], refused_before=bool(answer.history))

    def login_of(self, id_token: str) -> str | None:
        """Return which of the sandbox's people a bearer was issued for."""
        wanted = fingerprint(id_token)
        entries = self._ledger()["entries"]
        return next((one["login"] for one in entries if one.get("fingerprint") == wanted), None)

    def ledger(self, login: str) -> list[dict[str, Any]]:
        """Return what the sandbox did for a person, newest first; fingerprints, never tokens."""
        entries: list[dict[str, Any]] = self._ledger(login)["entries"]
        return entries[::-1]

    def requests(self, login: str) -> list[dict[str, Any]]:
        """Return the requests made for a person, newest first, with the fault each one met."""
        received: list[dict[str, Any]] = self._ledger(login)["requests"]
        return received[::-1]

    def expire(self, login: str) -> None:
        """End a person's bearers now, as a bank may."""
        self._admin("POST", "expire", {"what": "id_tokens", "login": login})

    def settings(self) -> dict[str, Any]:
        """Return the settings now in force."""
        return self._admin("GET", "settings")

    def choose_dialect(self, name: str) -> None:
        """Answer as another identity provider from now on; raises SandboxRefusedError."""
        self._admin("PUT", "settings", {"dialect": name})

    @contextmanager
    def bearers_that_live(self, seconds: int) -> Iterator[None]:
        """Issue bearers of this life meanwhile; one caller at a time, as each puts back the old."""
        with self._lives:
            before = self.settings()["id_token_lifetime"]
            self._admin("PUT", "settings", {"id_token_lifetime": seconds})
            try:
                yield
            finally:
                self._admin("PUT", "settings", {"id_token_lifetime": before})

    def faults(self) -> dict[str, list[dict[str, Any]]]:
        """Return every fault there is, as `faults`, and those now `armed`."""
        return self._admin("GET", "faults")

    def arm(self, fault: Mapping[str, Any]) -> None:
        """Arm one more fault; raises SandboxRefusedError."""
        self._admin("POST", "faults", fault)

    def disarm(self) -> None:
        """Switch every fault off."""
        self._admin("DELETE", "faults")

    def _ledger(self, login: str | None = None) -> dict[str, Any]:
        return self._admin("GET", "ledger", login=login)

    def _admin(
        self,
        method: str,
        route: str,
        body: Mapping[str, Any] | None = None,
        *,
        login: str | None = None,
    ) -> dict[str, Any]:
        answer = requests.request(
            method,
            f"{self._url}/admin/{route}",
            params={"login": login} if login else {},
            json=body,
            timeout=TIMEOUT,
        )
        if answer.status_code == BAD_REQUEST:
            raise SandboxRefusedError(answer.json()["error_description"])
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content


def _flat(account: dict[str, Any]) -> dict[str, Any]:
    """Take an account out of the envelope named after its kind (FDX)."""
    if len(account) == 1 and isinstance(inner := next(iter(account.values())), dict):
        return inner
    return account
