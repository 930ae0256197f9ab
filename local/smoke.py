"""The main job over HTTP on a running stack, a line a step; the first step that is off ends it."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from local.broker_client import Answer, BrokerClient

SUBJECT = "ada"
USER = "mikomo_1"
A_RUN_OF_THE_SCHEDULE = 150  # seconds: one a minute, the first a little later


class OffError(Exception):
    """A step saw something else than it should."""


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
        return response


class Smoke:
    """The steps, in order."""

    def __init__(self, stack: Mapping[str, Any]) -> None:
        self._stack = stack
        self._broker = BrokerClient.of_stack(stack)
        self._sandbox = stack["identity_provider"]["url"]
        self._connector = stack["identity_provider"]["connector"]
        self._return_to = f"{stack['demo_url']}/return"

    def run(self) -> int:
        """Run every step; returns the exit status."""
        started = time.monotonic()
        try:
            connection_id = self._step("connect", self.connect)
            self._step("hand out", lambda: self._hand_out(connection_id, generation=1))
            self._step("rejected", lambda: self._rejected(connection_id))
            self._step("refresh", lambda: self._refreshed(connection_id, after=2))
            self._step("decline", self._decline)
            self._step("disconnect", lambda: self._disconnect(connection_id))
        except OffError as off:
            print(f"  OFF: {off}")
            return 1
        print(f"smoke: all steps as they should be, {time.monotonic() - started:.0f} s")
        return 0

    def _step(self, name: str, act: Callable[[], tuple[str, str]]) -> str:
        print(f"{name:11}", end="", flush=True)
        result, seen = act()
        print(seen, flush=True)
        return result

    # ── steps: each returns what the next ones need and what it saw ──────────────────────────────

    def connect(self) -> tuple[str, str]:
        """Connect a bank from start to confirmation; returns the connection's id."""
        browser, consent = self._at_consent()
        accounts = re.findall(r'name="account"[^>]*value="([^"]+)"', consent.text)
        back = browser.submit(consent, decision="allow", account=accounts)
        callback = _location(back)
        went = browser.get(callback)
        query = _query(_location(went, 303))
        _expect(query.get("status"), "pending_confirmation", "status of the return")
        again = _query(_location(browser.get(callback), 303))
        _expect(again, query, "outcome of a reloaded redirect")
        confirmed = self._broker.confirm(
            query["connection_id"], subject=SUBJECT, confirmation=query["confirmation"]
        )
        _expect(confirmed.status, 200, "confirm")
        _expect(confirmed.content["status"], "ACTIVE", "status after confirm")
        exchanges = self._requests("authorization_code")
        _expect(len(exchanges), 1, "times the code was sent")
        return query["connection_id"], (
            f"303 {query['status']}, reload told the same, confirmed ACTIVE, code sent once"
        )

    def _hand_out(self, connection_id: str, *, generation: int) -> tuple[str, str]:
        started = time.perf_counter()
        answer = self._token(connection_id)
        took = (time.perf_counter() - started) * 1000
        _expect(answer.content["generation"], generation, "generation")
        accounts = requests.get(
            f"{self._sandbox}/accounts-info/v3/{answer.content['connector']}",
            headers={
                "Authorization": f"Bearer {answer.content['id_token']}",
                "x-akoya-interaction-type": "USER",
            },
            timeout=10,
        )
        _expect(accounts.status_code, 200, "accounts with the bearer")
        return "", f"200 generation {generation} in {took:.0f} ms; the data API takes the bearer"

    def _rejected(self, connection_id: str) -> tuple[str, str]:
        answer = self._token(connection_id, rejected=1)
        _expect(answer.content["generation"], 2, "generation after a rejected one")
        return "", "rejected generation 1, handed out generation 2 after one refresh"

    def _refreshed(self, connection_id: str, *, after: int) -> tuple[str, str]:
        """Make the connection due in the table and wait for the real schedule to come by."""
        from local.embedded_aws import client  # noqa: PLC0415 - only this step reaches into it

        port = urlsplit(self._stack["aws_endpoint_url"]).port
        client("dynamodb", port or 0).update_item(
            TableName=self._stack["tables"]["connections"],
            Key={"id": {"S": connection_id}},
            UpdateExpression="SET due_at = :now",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
        )
        started = time.monotonic()
        while time.monotonic() - started < A_RUN_OF_THE_SCHEDULE:
            shown = self._broker.show(connection_id).content
            if shown["generation"] > after:
                _expect(len(self._requests("refresh_token")), 2, "refreshes so far")
                waited = time.monotonic() - started
                return "", f"the schedule made generation {shown['generation']} in {waited:.0f} s"
            time.sleep(2)
        raise OffError("the schedule did not refresh what was due")

    def _decline(self) -> tuple[str, str]:
        browser, consent = self._at_consent()
        went = browser.get(_location(browser.submit(consent, decision="deny")))
        query = _query(_location(went, 303))
        _expect((query["status"], query["error"]), ("declined", "access_denied"), "return")
        _expect(self._broker.show(query["connection_id"]).status, 404, "what is left of it")
        return "", "303 declined (access_denied), nothing left behind"

    def _disconnect(self, connection_id: str) -> tuple[str, str]:
        asked = self._broker.disconnect(connection_id)
        _expect((asked.status, asked.content["status"]), (202, "REVOKE_PENDING"), "disconnect")
        _expect(self._broker.token(connection_id).status, 410, "hand-out at once after")
        started = time.monotonic()
        while time.monotonic() - started < A_RUN_OF_THE_SCHEDULE:
            if self._broker.show(connection_id).content["status"] == "REVOKED":
                revokes = [one for one in self._ledger() if one["endpoint"] == "revoke"]
                _expect([one["status"] for one in revokes], [200], "revokes at Akoya")
                waited = time.monotonic() - started
                return "", f"202, handed out no more, revoked at Akoya after {waited:.0f} s"
            time.sleep(2)
        raise OffError("the schedule did not revoke")

    # ── what the steps share ─────────────────────────────────────────────────────────────────────

    def _at_consent(self) -> tuple[Browser, requests.Response]:
        begun = self._broker.begin(
            subject=SUBJECT, connector=self._connector, return_to=self._return_to
        )
        _expect(begun.status, 201, "begin")
        browser = Browser()
        sign_in = browser.get(_location(browser.get(begun.content["start_url"])))
        while sign_in.is_redirect:
            sign_in = browser.get(_location(sign_in))
        consent = browser.submit(sign_in, user_name=USER, password=USER)
        while consent.is_redirect:
            consent = browser.get(_location(consent))
        return browser, consent

    def _token(self, connection_id: str, **wishes: int) -> Answer:
        answer = self._broker.token(connection_id, **wishes)
        _expect(answer.status, 200, "hand-out")
        return answer

    def _ledger(self) -> list[dict[str, Any]]:
        ledger = requests.get(f"{self._sandbox}/admin/ledger", timeout=10).json()
        return list(ledger["requests"])

    def _requests(self, grant_type: str) -> list[dict[str, Any]]:
        return [one for one in self._ledger() if one.get("grant_type") == grant_type]


def run(stack: Mapping[str, Any]) -> int:
    """Run the smoke test against a running stack; returns the exit status."""
    return Smoke(stack).run()


def _expect(seen: object, expected: object, what: str) -> None:
    if seen != expected:
        raise OffError(f"{what}: {seen!r} where {expected!r} should be")


def _location(response: requests.Response, status: int = 302) -> str:
    if response.status_code not in {status, 302, 303} or "Location" not in response.headers:
        raise OffError(f"{response.status_code} where a redirect should be: {response.text[:300]}")
    return urljoin(response.url, response.headers["Location"])


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
