"""A person with a browser, the backend behind the app, and the bank, on a running stack."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from akoya_token_broker_client import Bearer, Broker, BrokerError
from local.embedded_aws import client

REDIRECTS = frozenset({302, 303})


class OffError(Exception):
    """Something else was seen than should be."""


class Browser:
    """A browser as far as the flow needs one: cookies, redirects one by one, forms by name."""

    def __init__(self) -> None:
        self._cookies: dict[str, str] = {}

    def get(self, url: str) -> requests.Response:
        """Fetch a page or redirect."""
        response = requests.get(url, headers=self._headers(), timeout=35, allow_redirects=False)
        return self._keep(response)

    def submit(self, page: requests.Response, **fields: str | list[str]) -> requests.Response:
        """Submit the page's first form."""
        found = re.search(r'<form[^>]*\baction="([^"]*)"', page.text)
        if found is None:
            raise OffError(f"{page.status_code} {urlsplit(page.url).path} where a form should be")
        url = urljoin(page.url, html.unescape(found.group(1)))
        response = requests.post(
            url, data=fields, headers=self._headers(), timeout=35, allow_redirects=False
        )
        return self._keep(response)

    def _headers(self) -> dict[str, str]:
        pairs = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return {"Cookie": pairs} if pairs else {}

    def _keep(self, response: requests.Response) -> requests.Response:
        for line in response.raw.headers.getlist("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
            if "Max-Age=0" in line:
                del self._cookies[name.strip()]
        return response


class Journey:
    """What people and the app's backend do with one stack."""

    def __init__(self, stack: Mapping[str, Any]) -> None:
        self.broker = Broker.local(stack, patience=0)
        self.bank = stack["identity_provider"]["url"]
        self._stack = stack
        self._connector = stack["identity_provider"]["connector"]
        self._return_to = f"{stack['demo_url']}/return"

    # ── the person ───────────────────────────────────────────────────────────────────────────────

    def at_consent(
        self, subject: str, user: str, connection_id: str | None = None
    ) -> tuple[Browser, requests.Response]:
        """Begin, sign in at the bank, and stop in front of the consent page."""
        begun = self.broker.begin(
            subject=subject,
            connector=self._connector,
            return_to=self._return_to,
            connection_id=connection_id,
        )
        browser = Browser()
        sign_in = browser.get(location(browser.get(begun.start_url)))
        while sign_in.is_redirect:
            sign_in = browser.get(location(sign_in))
        consent = browser.submit(sign_in, user_name=user, password=user)
        while consent.is_redirect:
            consent = browser.get(location(consent))
        return browser, consent

    def allows(
        self, subject: str, user: str, connection_id: str | None = None
    ) -> tuple[Browser, str]:
        """Consent to everything; return the browser and the redirect it is about to follow."""
        browser, consent = self.at_consent(subject, user, connection_id)
        accounts = re.findall(r'name="account"[^>]*value="([^"]+)"', consent.text)
        return browser, location(browser.submit(consent, decision="allow", account=accounts))

    def comes_back(
        self, subject: str, user: str, connection_id: str | None = None
    ) -> dict[str, str]:
        """Go all the way; return what the app is told."""
        browser, callback = self.allows(subject, user, connection_id)
        return query(location(browser.get(callback)))

    def confirms(self, subject: str, went: Mapping[str, str]) -> str:
        """Vouch, as the app's backend does; return the connection."""
        expect(went.get("status"), "pending_confirmation", "status of the return")
        confirmed = self.broker.confirm(
            went["connection_id"], subject=subject, confirmation=went["confirmation"]
        )
        expect(confirmed.status, "ACTIVE", "status after confirm")
        return went["connection_id"]

    def connects(self, subject: str = "ada", user: str = "mikomo_1") -> str:
        """Connect a bank from start to confirmation; return the connection."""
        return self.confirms(subject, self.comes_back(subject, user))

    # ── the bank ─────────────────────────────────────────────────────────────────────────────────

    def accounts_with(self, bearer: Bearer) -> int:
        """Call the data API with this very bearer; return the status."""
        answer = requests.get(
            f"{self.bank}/accounts-info/v3/{bearer.connector}",
            headers={
                "Authorization": f"Bearer {bearer.id_token}",
                "x-akoya-interaction-type": "USER",
                "x-akoya-last-access": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            timeout=10,
        )
        return answer.status_code

    def ledger(self) -> list[dict[str, Any]]:
        """Return every request the bank was sent."""
        ledger = requests.get(f"{self.bank}/admin/ledger", timeout=10).json()
        return list(ledger["requests"])

    def requests(self, grant_type: str) -> list[dict[str, Any]]:
        """Return the token requests of one grant."""
        return [one for one in self.ledger() if one.get("grant_type") == grant_type]

    def misbehave(self, **fault: Any) -> None:
        """Arm a fault at the bank."""
        requests.post(f"{self.bank}/admin/faults", json=fault, timeout=10).raise_for_status()

    def behave(self) -> None:
        """Switch all faults off."""
        requests.delete(f"{self.bank}/admin/faults", timeout=10).raise_for_status()

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    def make_due(self, connection_id: str, *, stale: bool = False) -> None:
        """Let the connection be due now, and its bearer expired if wanted."""
        now = str(int(time.time()))
        client("dynamodb", urlsplit(self._stack["aws_endpoint_url"]).port or 0).update_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": connection_id}},
            UpdateExpression="SET due_at = :now" + (", expires_at = :now" if stale else ""),
            ExpressionAttributeValues={":now": {"N": now}},
        )


def expect(seen: object, expected: object, what: str) -> None:
    """Raise OffError unless both are the same."""
    if seen != expected:
        raise OffError(f"{what}: {seen!r} where {expected!r} should be")


def refusal(ask: Callable[[], object], what: str) -> BrokerError:
    """Return what the broker refuses with; raise OffError if it does not."""
    try:
        seen = ask()
    except BrokerError as told:
        return told
    raise OffError(f"{what}: {seen!r} where a refusal should be")


def location(response: requests.Response) -> str:
    """Return where a redirect leads."""
    if response.status_code not in REDIRECTS or "Location" not in response.headers:
        raise OffError(f"{response.status_code} where a redirect should be: {response.text[:300]}")
    return urljoin(response.url, response.headers["Location"])


def query(url: str) -> dict[str, str]:
    """Return an address's parameters."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
