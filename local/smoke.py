"""A connection's life over HTTP on a running stack, a line a step; the first one off ends it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from akoya_token_broker_client import Bearer, BrokerError
from akoya_token_broker_client import Connection as Shown
from local.journey import Journey, OffError, expect, location, query, refusal
from local.operate import operate

SUBJECT, USER = "ada", "mikomo_1"
A_RUN_OF_THE_SCHEDULE = 150  # seconds: one a minute, the first a little later


class Smoke:
    """The steps, in order; each returns what it saw."""

    def __init__(self, stack: Mapping[str, Any]) -> None:
        self._stack = stack
        self._on = Journey(stack)
        self._broker = self._on.broker
        self._id = ""  # the connection the next step is about

    def run(self) -> int:
        """Run every step; returns the exit status."""
        started = time.monotonic()
        steps: Mapping[str, Callable[[], str]] = {
            "connect": self._connect,
            "hand out": self._hand_out,
            "rejected": self._rejected,
            "refresh": self._refresh,
            "decline": self._decline,
            "renew": self._renew,
            "other login": self._other_login,
            "same login": self._same_login,
            "outage": self._outage,
            "export": self._export_and_import,
            "disconnect": self._disconnect,
            "ledger": self._nothing_was_refused,
        }
        try:
            for name, act in steps.items():
                print(f"{name:12}", end="", flush=True)
                print(act(), flush=True)
        except (OffError, BrokerError) as off:
            print(f"  OFF: {off}")
            return 1
        print(f"smoke: all steps as they should be, {time.monotonic() - started:.0f} s")
        return 0

    def _connect(self) -> str:
        browser, callback = self._on.allows(SUBJECT, USER)
        went = query(location(browser.get(callback)))
        again = browser.get(callback)
        expect(again.status_code, 400, "status of a reloaded redirect")
        expect(went["connection_id"] in again.text, True, "way back on a reloaded redirect")
        self._id = self._on.confirms(SUBJECT, went)
        expect(len(self._on.requests("authorization_code")), 1, "times the code was sent")
        return f"303 {went['status']}, reload shows the way back, confirmed ACTIVE, code sent once"

    def _hand_out(self) -> str:
        started = time.perf_counter()
        bearer = self._token()
        took = (time.perf_counter() - started) * 1000
        expect(bearer.generation, 1, "generation")
        expect(self._on.accounts_with(bearer), 200, "accounts with the bearer")
        return f"200 generation 1 in {took:.0f} ms; the data API takes the bearer"

    def _rejected(self) -> str:
        expect(self._token(rejected=1).generation, 2, "generation after a rejected one")
        return "rejected generation 1, handed out generation 2 after one refresh"

    def _refresh(self) -> str:
        """Let the connection be due and wait for the real schedule to come by."""
        self._on.make_due(self._id)
        waited = self._until(lambda shown: shown.generation > 2, "refresh what was due")  # noqa: PLR2004
        expect(len(self._on.requests("refresh_token")), 2, "refreshes so far")
        return f"the schedule made generation 3 in {waited:.0f} s"

    def _decline(self) -> str:
        browser, consent = self._on.at_consent(SUBJECT, USER)
        went = query(location(browser.get(location(browser.submit(consent, decision="deny")))))
        expect((went["status"], went["error"]), ("declined", "access_denied"), "return")
        left = refusal(lambda: self._broker.show(went["connection_id"]), "what is left of it")
        expect(left.status, 404, "what is left of it")
        return "303 declined (access_denied), nothing left behind"

    def _renew(self) -> str:
        went = self._on.comes_back(SUBJECT, USER, self._id)
        expect(went, {"connection_id": self._id, "status": "active"}, "return of a renewal")
        bearer = self._token()
        expect(bearer.generation, 4, "generation after a renewal")
        expect(self._on.accounts_with(bearer), 200, "accounts with the bearer")
        return "303 active, same connection, generation 4, nothing to confirm"

    def _other_login(self) -> str:
        went = self._on.comes_back(SUBJECT, "mikomo_2", self._id)
        expect(went.get("previous_connection_id"), self._id, "the connection that was renewed")
        other = self._on.confirms(SUBJECT, went)
        expect(self._token().generation, 4, "generation of the old one")
        expect(self._broker.hand_out(other).generation, 1, "generation of the new one")
        return "a new connection, confirmed; the old one untouched, both hand out"

    def _same_login(self) -> str:
        went = self._on.comes_back("grace", USER)
        self._token()  # the older one, before the confirmation
        older, self._id = self._id, self._on.confirms("grace", went)
        expect(self._broker.show(older).status, "SUPERSEDED", "the older one")
        told = refusal(lambda: self._broker.hand_out(older), "hand-out of the older one")
        expect((told.status, told.error), (409, "reauthorization_required"), "it")
        expect(self._on.accounts_with(self._token()), 200, "accounts of the newer one")
        others = refusal(lambda: self._token(subject=SUBJECT), "hand-out of grace's to ada")
        expect(others.status, 404, "hand-out of grace's to ada")
        return "grace confirmed: ada's is SUPERSEDED (409), grace's hands out"

    def _outage(self) -> str:
        """Akoya answers 503: a living bearer is served, and the schedule mends the rest."""
        self._on.misbehave(fault="error_before_commit", status=503)
        self._token(min_validity=1)  # a living bearer
        away = refusal(lambda: self._token(rejected=1), "hand-out for a dead one")
        expect((away.status, away.error), (503, "temporarily_unavailable"), "a dead one")
        expect(bool(away.retry_after), True, "Retry-After")
        self._on.behave()
        self._on.make_due(self._id)
        waited = self._until(lambda shown: shown.generation > 1, "refresh after the outage")
        self._token()
        return f"living bearer served, dead one 503; back by itself after {waited:.0f} s"

    def _export_and_import(self) -> str:
        """Take a connection out, see that it is left alone, and bring it in again."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tokens.jsonl"
            self._operate("export", str(file), "--subject", "grace")
            taken_out = refusal(self._token, "hand-out of what was taken out")
            expect(taken_out.status, 409, "hand-out of what was taken out")
            (imported,) = self._operate("import", str(file))
            (again,) = self._operate("import", str(file))
        expect((imported["outcome"], again["outcome"]), ("imported", "present"), "import, twice")
        self._id = imported["connection_id"]
        expect(self._token(rejected=1).generation, 2, "generation after its first refresh")
        return (
            "taken out: 409; brought in: handed out and refreshed; a second import finds it there"
        )

    def _disconnect(self) -> str:
        asked = self._broker.disconnect(self._id)
        expect(asked.status, "REVOKE_PENDING", "disconnect")
        expect(refusal(self._token, "hand-out").status, 410, "hand-out at once after")
        waited = self._until(lambda shown: shown.status == "REVOKED", "revoke")
        revokes = [one["status"] for one in self._on.ledger() if one["endpoint"] == "revoke"]
        expect(revokes, [200], "revokes at Akoya")
        return f"202, handed out no more, revoked at Akoya after {waited:.0f} s"

    def _nothing_was_refused(self) -> str:
        """Ask the bank, not the broker: was ever a superseded refresh token sent?"""
        sent = self._on.requests("refresh_token")
        refused = [one for one in sent if one["status"] not in {200, 503}]
        expect(refused, [], "refreshes the bank refused")
        return f"{len(sent)} refreshes, none with a token that was not the newest"

    # ── what the steps share ─────────────────────────────────────────────────────────────────────

    def _token(self, **wishes: Any) -> Bearer:
        return self._broker.hand_out(self._id, **wishes)

    def _until(self, seen: Callable[[Shown], bool], what: str) -> float:
        """Wait for the schedule; return after how many seconds."""
        started = time.monotonic()
        while not seen(self._broker.show(self._id)):
            if time.monotonic() - started > A_RUN_OF_THE_SCHEDULE:
                raise OffError(f"the schedule did not {what}")
            time.sleep(2)
        return time.monotonic() - started

    def _operate(self, *command: str) -> list[dict[str, Any]]:
        """Run an operator's command; return its report."""
        done = operate(self._stack, *command)
        if done.returncode:
            raise OffError(f"{command[0]}: {done.stdout}{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def run(stack: Mapping[str, Any]) -> int:
    """Run the smoke test against a running stack; returns the exit status."""
    return Smoke(stack).run()
