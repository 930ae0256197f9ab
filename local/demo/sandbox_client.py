"""What the demo asks of the sandbox: accounts with a bearer, its ledger, and an early expiry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import requests

TIMEOUT = 10
FINGERPRINT_LENGTH = 16  # as the sandbox's ledger writes them


def fingerprint(token: str) -> str:
    """Return what may be shown of a token: the start of its hash, as in the sandbox's ledger."""
    return hashlib.sha256(token.encode()).hexdigest()[:FINGERPRINT_LENGTH]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The data API's answer: accounts, or why there are none."""

    status: int
    code: int | None
    accounts: list[dict[str, Any]]


class SandboxClient:
    """The Akoya sandbox's data API and admin routes."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def accounts(self, connector: str, id_token: str) -> Accounts:
        """Read the accounts a bearer gives access to."""
        answer = requests.get(
            f"{self._url}/accounts-info/v3/{connector}",
            headers={"Authorization": f"Bearer {id_token}", "x-akoya-interaction-type": "USER"},
            timeout=TIMEOUT,
        )
        content = answer.json()
        found = content.get("accounts", []) if answer.ok else []
        return Accounts(answer.status_code, content.get("code"), [_flat(one) for one in found])

    def login_of(self, id_token: str) -> str | None:
        """Return which of the sandbox's people a bearer was issued for."""
        wanted = fingerprint(id_token)
        entries = self._ledger()["entries"]
        return next((one["login"] for one in entries if one.get("fingerprint") == wanted), None)

    def ledger(self, login: str) -> list[dict[str, Any]]:
        """Return what the sandbox did for a person, newest first; fingerprints, never tokens."""
        entries: list[dict[str, Any]] = self._ledger(login)["entries"]
        return entries[::-1]

    def expire(self, login: str) -> None:
        """End a person's bearers now, as a bank may."""
        requests.post(
            f"{self._url}/admin/expire",
            json={"what": "id_tokens", "login": login},
            timeout=TIMEOUT,
        ).raise_for_status()

    def _ledger(self, login: str | None = None) -> dict[str, Any]:
        answer = requests.get(
            f"{self._url}/admin/ledger",
            params={"login": login} if login else {},
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content


def _flat(account: dict[str, Any]) -> dict[str, Any]:
    """Take an account out of the envelope named after its kind (FDX)."""
    if len(account) == 1 and isinstance(inner := next(iter(account.values())), dict):
        return inner
    return account
