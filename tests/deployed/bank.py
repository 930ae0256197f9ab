"""The sandbox as the oracle of a race: what its ledger says of one bank login."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import requests

from local.journey import Journey
from tests.deployed.until import until

HELD = 25  # seconds at the most: whoever waits at the bank gives up after 30


class Bank:
    """One login at the bank; nothing here asks the broker."""

    def __init__(self, journey: Journey, login: str) -> None:
        self._journey = journey
        self._login = login

    # ── what the bank is told ────────────────────────────────────────────────────────────────────

    def speaks(self, dialect: str, **settings: Any) -> None:
        """Answer in a dialect; only the newest bearer of a consent opens the data API."""
        settings |= {"dialect": dialect, "id_token_after_rotation": "revoked"}
        requests.put(
            f"{self._journey.bank}/admin/settings", json=settings, timeout=10
        ).raise_for_status()

    def holds_back(self, operation: str, fault: str = "slow") -> None:
        """Hold the next such request back until `lets_go`."""
        self._journey.misbehave(
            fault=fault, login=self._login, on=[operation], times=1, seconds=HELD
        )

    def answers_after(self, seconds: float) -> None:
        """Take so long for the next refresh."""
        self._journey.misbehave(
            fault="slow", login=self._login, on=["refresh"], times=1, seconds=seconds
        )

    def lets_go(self) -> None:
        """Go on with what is held back, and misbehave no more."""
        self._journey.behave()
        until(lambda: not any(self._open()), "the bank to answer what it held back")

    # ── what the bank has seen ───────────────────────────────────────────────────────────────────

    def sends(self, grant_type: str = "refresh_token") -> list[dict[str, Any]]:
        """Return the token requests of one grant in the order of their arrival."""
        return [one for one in self._requests() if one.get("grant_type") == grant_type]

    def statuses(self, grant_type: str = "refresh_token") -> list[int | None]:
        """Return what those were answered; None for one that still is at the bank."""
        return [one.get("status") for one in self.sends(grant_type)]

    def revoked(self) -> list[tuple[str, int]]:
        """Return each token a revoke was asked for, and the answer."""
        return [
            (one["presented"], one["status"])
            for one in self._requests()
            if one["endpoint"] == "revoke"
        ]

    def issued(self) -> list[str]:
        """Return the refresh tokens issued so far, the newest last."""
        return [one["fingerprint"] for one in self._events("refresh_token.issued")]

    def living(self) -> list[str]:
        """Return the refresh tokens the bank would take now, the newest last."""
        answer = requests.get(
            f"{self._journey.bank}/admin/grants", params={"login": self._login}, timeout=10
        ).json()
        return [
            token["fingerprint"]
            for consent in answer["grants"]
            if not consent.get("ended")
            for token in consent["refresh_tokens"]
        ]

    def wait_for(self, grant_type: str) -> None:
        """Wait until a request of that grant is at the bank."""
        until(lambda: None in self.statuses(grant_type), f"a {grant_type} at the bank")

    def wait_for_commit(self) -> None:
        """Wait until the bank has rotated a refresh token."""
        until(lambda: self._events("refresh_token.rotated"), "a rotation at the bank")

    def complaints(self) -> list[str]:
        """Name what must never be, whatever happened: the rules of every race."""
        return [*self._overlaps(), *self._steps_back()]

    def _overlaps(self) -> Iterator[str]:
        requests = self._requests()
        for place, one in enumerate(requests):
            for later in requests[place + 1 :]:
                same = "presented" in one and one["presented"] == later.get("presented")
                if same and one["endpoint"] != "data" and later["received"] < one["answered"]:
                    yield f"requests {one['number']} and {later['number']} sent one token at once"

    def _steps_back(self) -> Iterator[str]:
        order = {token: place for place, token in enumerate(self.issued())}
        sent = [one for one in self._requests() if one.get("presented") in order]
        for one, later in pairwise(sent):
            if order[later["presented"]] < order[one["presented"]]:
                yield f"request {later['number']} sent a token whose successor was in use"

    def _open(self) -> Iterator[dict[str, Any]]:
        return (one for one in self._requests() if "answered" not in one)

    def _requests(self) -> list[dict[str, Any]]:
        return list(self._ledger()["requests"])

    def _events(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self._ledger()["entries"] if one["event"] == event]

    def _ledger(self) -> dict[str, Any]:
        ledger: dict[str, Any] = requests.get(
            f"{self._journey.bank}/admin/ledger", params={"login": self._login}, timeout=10
        ).json()
        return ledger
