"""Connections by the thousand: people consent at the sandbox, the operator imports their tokens."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from local.akoya_sandbox.authorization import REQUIRED_SCOPES
from local.embedded_aws import client
from local.operate import operate

MINTED_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Member:
    """One connection of the fleet, and the login it has at the bank."""

    connection_id: str
    subject: str
    login: str  # as the sandbox's ledger calls it


class Bank:
    """The sandbox as a person and as another app's backend meet it."""

    def __init__(
        self, *, url: str, client_id: str, client_secret: str, connector: str, redirect_uri: str
    ) -> None:
        self.url = url
        self._app = (client_id, client_secret)
        self._connector = connector
        self._redirect_uri = redirect_uri
        self._of_thread = local()

    @classmethod
    def of(cls, stack: Mapping[str, Any]) -> Bank:
        """Return the bank of a running stack, met as the stack's own app."""
        secrets = client("secretsmanager", urlsplit(stack["aws_endpoint_url"]).port or 0)
        kept = secrets.get_secret_value(SecretId=stack["client_secret_id"])
        return cls(
            url=stack["identity_provider"]["url"],
            client_id=stack["identity_provider"]["client_id"],
            client_secret=json.loads(kept["SecretString"])["client_secret"],
            connector=stack["identity_provider"]["connector"],
            redirect_uri=stack["callback_url"],
        )

    def set_life(self, seconds: int) -> None:
        """Let bearers live so many seconds from now on."""
        requests.put(
            f"{self.url}/admin/settings", json={"id_token_lifetime": seconds}, timeout=10
        ).raise_for_status()

    def ledger(self) -> dict[str, Any]:
        """Return everything the sandbox did."""
        ledger: dict[str, Any] = requests.get(f"{self.url}/admin/ledger", timeout=120).json()
        return ledger

    def tokens_of(self, number: int) -> dict[str, str]:
        """Consent as one of the bank's customers; return a line of the file that import reads."""
        user = f"{self._connector}_{number}"
        callback = self._consents(user)
        issued = self._session.post(
            f"{self.url}/token",
            data={
                "grant_type": "authorization_code",
                "code": parse_qs(urlsplit(callback).query)["code"][0],
                "redirect_uri": self._redirect_uri,
            },
            auth=self._app,
            timeout=30,
        )
        issued.raise_for_status()
        tokens = {name: issued.json()[name] for name in ("refresh_token", "id_token")}
        return {"subject": f"person-{number}", "connector": self._connector} | tokens

    def _consents(self, user: str) -> str:
        """Sign in and allow everything; return where the browser is sent then."""
        at = self._session.get(
            f"{self.url}/auth",
            params={
                "connector": self._connector,
                "client_id": self._app[0],
                "redirect_uri": self._redirect_uri,
                "response_type": "code",
                "scope": " ".join(REQUIRED_SCOPES),
                "state": "s" * 32,
            },
            timeout=30,
            allow_redirects=False,
        )
        step = urljoin(at.url, at.headers["Location"])
        person = {"user_name": user, "password": user}
        consent = self._session.post(f"{step}/sign-in", data=person, timeout=30)
        accounts = re.findall(r'name="account"[^>]*value="([^"]+)"', consent.text)
        allowed = self._session.post(
            f"{step}/consent",
            data={"decision": "allow", "account": [html.unescape(one) for one in accounts]},
            timeout=30,
            allow_redirects=False,
        )
        return allowed.headers["Location"]

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = requests.Session()
        session: requests.Session = self._of_thread.session
        return session


def bring_in(stack: Mapping[str, Any], bank: Bank, numbers: Iterable[int]) -> list[Member]:
    """Let these customers consent, and import what they got; return their connections."""
    with ThreadPoolExecutor(MINTED_AT_ONCE) as pool:
        lines = list(pool.map(bank.tokens_of, numbers))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = operate(stack, "import", "-", text=text)
    if done.returncode:
        raise SystemExit(f"import: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    reported = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Member(
            connection_id=one["connection_id"],
            subject=one["subject"],
            login=f"{one['connector']}/{one['connector']}_{one['subject'].rpartition('-')[2]}",
        )
        for one in reported
    ]
