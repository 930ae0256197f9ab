"""The whole stack against a certified OpenID provider; its ledger, not the broker, is the oracle.

It knows nothing of Akoya's dialect, adds parameters of its own to the redirect (RFC 9207), trades a
refresh token once and ends the whole grant when one comes twice.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import jwt
import pytest
import requests

from akoya_token_broker_client import (
    Bearer,
    Broker,
    BrokerError,
    ConnectionNotFound,
    ConsentSuspect,
    Disconnected,
    Unavailable,
)
from local.embedded_aws import client
from local.journey import Browser
from tests.foreign_provider.conftest import Ledger

pytestmark = [pytest.mark.stack, pytest.mark.optional]

CALLERS = 8


class Fintech:
    """A backend and its users, in front of a broker whose schedule runs when it is told to."""

    def __init__(self, stack: dict[str, Any]) -> None:
        self.broker = Broker.local(stack, patience=0)
        self.return_to = f"{stack['demo_url']}/return"
        self.connector = stack["identity_provider"]["connector"]
        self._stack = stack
        self._port = urlsplit(stack["aws_endpoint_url"]).port or 0

    def sign_in(
        self, browser: Browser, user: str, connection_id: str | None = None
    ) -> requests.Response:
        """Send a user's browser to the provider and sign in; return its question for consent."""
        begun = self.broker.begin(
            subject=user,
            connector=self.connector,
            return_to=self.return_to,
            connection_id=connection_id,
        )
        page = self.walk(browser, browser.get(begun.start_url))
        return self.walk(browser, browser.submit(page, prompt="login", login=user, password="any"))

    def consent(self, browser: Browser, user: str, connection_id: str | None = None) -> str:
        """Sign in and consent; return the redirect's address, not yet followed."""
        asked = self.sign_in(browser, user, connection_id)
        return location(self.walk(browser, browser.submit(asked, prompt="consent")))

    def walk(self, browser: Browser, at: requests.Response) -> requests.Response:
        """Follow redirects, up to the one to the broker's callback."""
        while at.is_redirect and not location(at).startswith(self._stack["callback_url"]):
            at = browser.get(location(at))
        return at

    def connect(self, user: str, connection_id: str | None = None) -> str:
        """Connect from start to confirmation; returns the connection's id."""
        browser = Browser()
        went = query(location(browser.get(self.consent(browser, user, connection_id))))
        if "confirmation" in went:
            self.broker.confirm(
                went["connection_id"], subject=user, confirmation=went["confirmation"]
            )
        return went["connection_id"]

    def run_schedule(self) -> dict[str, int]:
        answer = client("lambda", self._port).invoke(
            FunctionName=self._stack["functions"]["refresh"], Payload=b"{}"
        )
        assert "FunctionError" not in answer
        run: dict[str, int] = json.load(answer["Payload"])
        return run

    def make_due(self, connection_id: str) -> None:
        self.set(connection_id, due_at=int(time.time()))

    def set(self, connection_id: str, **times: int) -> None:
        client("dynamodb", self._port).update_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": connection_id}},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in times),
            ExpressionAttributeValues={
                f":{name}": {"N": str(value)} for name, value in times.items()
            },
        )

    def state(self, connection_id: str) -> tuple[str, int]:
        shown = self.broker.show(connection_id)
        return shown.status, shown.generation

    def hand_out(self, connection_id: str, **wishes: Any) -> Bearer | BrokerError:
        """Ask for the bearer; return it, or why there is none."""
        try:
            return self.broker.hand_out(connection_id, **wishes)
        except BrokerError as told:
            return told


def location(response: requests.Response) -> str:
    assert response.is_redirect, (response.status_code, response.text[:300])
    return urljoin(response.url, response.headers["Location"])


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.fixture
def fintech(foreign_stack: dict[str, Any]) -> Fintech:
    return Fintech(foreign_stack)


def test_a_redirect_with_parameters_of_its_own_links_once_and_its_reload_says_so(
    fintech: Fintech, ledger: Ledger
) -> None:
    browser = Browser()
    redirect = fintech.consent(browser, "ada")
    assert query(redirect)["iss"] == ledger.url  # RFC 9207

    first = query(location(browser.get(redirect)))
    reloaded = browser.get(redirect)

    assert reloaded.status_code == 400
    assert "already_told" in reloaded.text
    assert first["confirmation"] not in reloaded.text
    assert first["status"] == "pending_confirmation"
    confirmed = fintech.broker.confirm(
        first["connection_id"], subject="ada", confirmation=first["confirmation"]
    )
    assert confirmed.status == "ACTIVE"
    assert ledger.events("grant.success") == [
        {"event": "grant.success", "grant_type": "authorization_code"}
    ]
    assert ledger.troubles() == []


def test_a_person_who_declines_leaves_nothing_behind(fintech: Fintech, ledger: Ledger) -> None:
    browser = Browser()
    asked = fintech.sign_in(browser, "faye")
    declined = fintech.walk(browser, browser.get(f"{asked.url}/abort"))

    went = query(location(browser.get(location(declined))))

    assert (went["status"], went["error"]) == ("declined", "access_denied")
    with pytest.raises(ConnectionNotFound):
        fintech.broker.show(went["connection_id"])
    assert ledger.issued() == []


def test_the_bearer_is_the_providers_verified_id_token_and_ends_when_it_says(
    fintech: Fintech, ledger: Ledger
) -> None:
    connection_id = fintech.connect("bea")

    handed_out = fintech.broker.hand_out(connection_id)

    claims = jwt.decode(handed_out.id_token, options={"verify_signature": False})
    assert (claims["iss"], claims["sub"], claims["aud"]) == (ledger.url, "bea", "a-fintech")
    # The access token beside it lives four times as long; it is the bearer's end that counts.
    assert claims["exp"] - claims["iat"] == 900
    assert abs(handed_out.expires_at - claims["exp"]) <= 2


def test_every_refresh_token_is_used_once_whoever_asks(fintech: Fintech, ledger: Ledger) -> None:
    connection_id = fintech.connect("cleo")

    assert fintech.broker.hand_out(connection_id, rejected=1).generation == 2

    fintech.make_due(connection_id)
    fintech.run_schedule()
    assert fintech.state(connection_id) == ("ACTIVE", 3)

    now = int(time.time())
    fintech.set(connection_id, expires_at=now, due_at=now)
    with ThreadPoolExecutor(CALLERS + 2) as pool:
        asked = [pool.submit(fintech.hand_out, connection_id) for _ in range(CALLERS)]
        runs = [pool.submit(fintech.run_schedule) for _ in range(2)]
        assert all(isinstance(one.result(), Bearer | Unavailable) for one in asked)
        for run in runs:
            run.result()

    assert fintech.broker.hand_out(connection_id).generation == 4
    first, second, third, newest = ledger.issued()
    assert ledger.used() == [first, second, third]
    assert ledger.usable() == [newest]
    assert ledger.troubles() == []


def test_a_disconnect_ends_the_grant_at_the_provider(fintech: Fintech, ledger: Ledger) -> None:
    connection_id = fintech.connect("dora")
    fintech.broker.hand_out(connection_id, rejected=1)

    assert fintech.broker.disconnect(connection_id).status == "REVOKE_PENDING"
    assert isinstance(fintech.hand_out(connection_id), Disconnected)
    fintech.run_schedule()

    assert fintech.state(connection_id)[0] == "REVOKED"
    assert ledger.troubles() == [{"event": "grant.revoked", "route": "revocation"}]
    assert ledger.usable() == []


def test_a_grant_the_provider_has_lost_is_suspected_and_a_new_consent_heals_it(
    fintech: Fintech, ledger: Ledger
) -> None:
    connection_id = fintech.connect("edda")
    ledger.forget()

    suspected = fintech.hand_out(connection_id, rejected=1)
    assert isinstance(suspected, ConsentSuspect)
    assert 1 <= (suspected.retry_after or 0) <= 60  # the first look comes in a minute
    fintech.make_due(connection_id)
    fintech.run_schedule()

    assert [one["error"] for one in ledger.troubles()] == ["invalid_grant"] * 2
    assert fintech.state(connection_id) == ("ACTIVE", 1)
    assert fintech.broker.show(connection_id).degraded == "suspect"
    fintech.broker.hand_out(connection_id)  # its bearer lives, and is served

    assert fintech.connect("edda", connection_id) == connection_id
    assert fintech.state(connection_id) == ("ACTIVE", 2)
    assert fintech.broker.show(connection_id).health == "ok"
    assert fintech.broker.hand_out(connection_id, rejected=2).generation == 3
    lost, renewed, newest = ledger.issued()
    assert ledger.used() == [renewed]
    assert ledger.usable() == [newest]
    assert lost not in ledger.usable()
