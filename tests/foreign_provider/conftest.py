"""A whole stack in front of a certified OpenID provider that was not made by us."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from local import processes
from local.build import EMBEDDED_PYTHON, SAM
from local.stack import Stack
from tests.from_npm import folder_of, need, npm

PACKAGE = "oidc-provider@9.13.3"
STACK_PORTS = int(os.environ.get("TEST_PORT_BASE", "9100")) + 800
PROVIDER_PORT = STACK_PORTS + 4


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the provider itself says has happened since the test began."""

    url: str
    seen_before: int

    @classmethod
    def of(cls, url: str) -> Ledger:
        return cls(url, len(cls._read(url)["events"]))

    @staticmethod
    def _read(url: str) -> dict[str, Any]:
        content: dict[str, Any] = requests.get(f"{url}/ledger", timeout=10).json()
        return content

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Tell the events of these names, in order."""
        events = self._read(self.url)["events"][self.seen_before :]
        return [event for event in events if event["event"] in names]

    def issued(self) -> list[int]:
        """Tell the refresh tokens that were issued, by number."""
        return [event["token"] for event in self.events("refresh_token.saved")]

    def used(self) -> list[int]:
        """Tell the refresh tokens that were traded, by number."""
        return [event["token"] for event in self.events("refresh_token.consumed")]

    def usable(self) -> list[int]:
        """Tell which of the test's refresh tokens the provider would still take."""
        return sorted(set(self._read(self.url)["usable"]) & set(self.issued()))

    def troubles(self) -> list[dict[str, Any]]:
        """Tell everything the provider refused, or ended."""
        return self.events(
            "grant.error",
            "revocation.error",
            "authorization.error",
            "server_error",
            "grant.revoked",
        )

    def forget(self) -> None:
        """Make the provider lose every grant."""
        requests.post(f"{self.url}/forget", timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def foreign_stack() -> Iterator[dict[str, Any]]:
    """The deployed stack with the foreign provider in Akoya's place; its schedule by hand only."""
    if not (SAM.exists() and EMBEDDED_PYTHON.exists()):
        pytest.skip("needs the local stack's environments: make setup")
    need("node", "npm")
    folder = folder_of("foreign-provider")
    install = ("install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund")
    npm(*install, "--prefix", str(folder), PACKAGE, folder=folder)
    client_secret = secrets.token_urlsafe(24)
    provider = _start(folder, client_secret)
    stack = Stack("foreign", STACK_PORTS)
    try:
        yield stack.start(
            {
                "AKOYA_IDP_URL": f"http://localhost:{PROVIDER_PORT}",
                "AKOYA_CLIENT_ID": "a-fintech",
                "AKOYA_CLIENT_SECRET": client_secret,
                "AKOYA_CONNECTOR": "a-bank",
            },
            say=lambda _: None,
            with_demo=False,
            parameters={
                "IdTokenVerification": "strict",
                "ScheduleState": "DISABLED",
            },
        )
    finally:
        stack.stop()
        processes.end([provider])


def _start(folder: Path, client_secret: str) -> int:
    """Start the provider beside its packages, where node looks for them."""
    processes.ensure_free(PROVIDER_PORT, "foreign provider")
    server = shutil.copy(Path(__file__).with_name("server.mjs"), folder)
    callback = f"http://localhost:{STACK_PORTS + 1}/callback"
    return processes.start(
        ["node", server, str(PROVIDER_PORT), callback],
        log=folder / "server.log",
        port=PROVIDER_PORT,
        environment={"PATH": os.environ["PATH"], "CLIENT_SECRET": client_secret},
    )


@pytest.fixture
def ledger(foreign_stack: dict[str, Any]) -> Ledger:
    """The provider's word, from here on."""
    return Ledger.of(foreign_stack["identity_provider"]["url"])
