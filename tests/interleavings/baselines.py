"""What the same faults do to a loop around `/token`: a plain one, and one made with care.

Each keeps a row of its own in a table and refreshes it whenever it runs; the parties, the provider
and the faults are those of every other flow.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from oauthlib.oauth2 import InvalidClientError, MissingTokenError, OAuth2Error
from requests_oauthlib import OAuth2Session

from local.akoya_sandbox.ledger import fingerprint
from tests.interleavings.cuts import (
    OURS_TIMEOUT,
    OUTAGES,
    SLOWEST_ANSWER,
    TIMEOUTS,
    Cutter,
    Fault,
    KilledError,
)
from tests.interleavings.endings import BY_A_PERSON
from tests.loopback import as_json
from tests.wiring import CLIENT_ID, CLIENT_SECRET, IDP
from tests.world import World

TOKEN_URL = f"{IDP}/token".replace("http:", "https:")  # the library insists
TIMEOUT = 90.0
GRANT_REFUSED = frozenset({"invalid_grant", "invalid_request"})  # the latter is gen1's
Step = Callable[[str, Callable[[], Any]], Any]
Row = dict[str, Any]


class UnavailableError(Exception):
    """The table did not answer."""


class ConditionError(Exception):
    """The condition of a write did not hold."""


@dataclass
class Table:
    """One row, in a table that refuses a write whose condition does not hold."""

    row: Row = field(default_factory=dict)

    def get(self) -> Row:
        return dict(self.row)

    def put(self, row: Row, *, if_version: int | None = None) -> None:
        if if_version is not None and self.row["version"] != if_version:
            raise ConditionError
        self.row = dict(row)


# ── the two loops ────────────────────────────────────────────────────────────────────────────────


def plain(step: Step, table: Table, session: OAuth2Session) -> None:
    """Refresh with an OAuth library, then put what came."""
    row = step("table.get", table.get)
    if row["status"] != "active":
        return
    try:
        token = step("akoya.token", lambda: _refreshed(session, row["refresh_token"]))
    except OAuth2Error as refusal:
        if refusal.error in GRANT_REFUSED:
            step("table.put", lambda: table.put(row | {"status": "needs consent"}))
        return
    step("table.put", lambda: table.put(row | {"refresh_token": token["refresh_token"]}))


def careful(step: Step, table: Table, session: OAuth2Session) -> None:
    """Refresh with retries; write only over what was read; look again before giving up."""
    row = step("table.get", table.get)
    if row["status"] != "active":
        return
    try:
        token = _retried(
            lambda: step("akoya.token", lambda: _refreshed(session, row["refresh_token"])),
            requests.RequestException,
        )
        changed = {"refresh_token": token["refresh_token"]}
    except OAuth2Error as refusal:
        if refusal.error not in GRANT_REFUSED:
            return
        changed = {"status": "needs consent"}
    with suppress(ConditionError):
        _retried(lambda: step("table.put", lambda: _over(table, row, changed)), UnavailableError)


def _over(table: Table, row: Row, changed: Row) -> None:
    table.put(row | changed | {"version": row["version"] + 1}, if_version=row["version"])


def _retried(act: Callable[[], Any], passing: type[Exception]) -> Any:
    for _ in range(2):
        with suppress(passing):
            return act()
    return act()


def _refreshed(session: OAuth2Session, refresh_token: str) -> Row:
    token: Row = session.refresh_token(
        TOKEN_URL,
        refresh_token=refresh_token,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        timeout=30,
    )
    return token


BASELINES = {"a plain loop": plain, "a careful loop": careful}
Loop = Callable[[Step, Table, OAuth2Session], None]


# ── the same faults ──────────────────────────────────────────────────────────────────────────────


class LoopCutter(Cutter):
    """Cuts a loop: its failures are those of its library and its table."""

    def _seen(self, name: str, result: Any) -> Any:
        if name == "akoya.token":
            self.only_copy = True
        elif name == "table.put":
            self.only_copy = False
        return result

    def _cut(self, name: str, act: Callable[[], Any], fault: Fault) -> Any:
        if fault in {Fault.DUPLICATED, Fault.TIMED_OUT_AFTER, Fault.CUT_OFF_AFTER}:
            with suppress(OAuth2Error, ConditionError):
                act()
            if fault is Fault.DUPLICATED:
                return self._seen(name, act())
            return self._failure(name, fault)
        if name == "akoya.token" and fault is Fault.DEADLINE:
            self.clock.advance(SLOWEST_ANSWER)
            return self._seen(name, act())
        return super()._cut(name, act, fault)

    def _failure(self, name: str, fault: Fault) -> Any:
        self._go_on()
        if name != "akoya.token":
            self.clock.advance(OURS_TIMEOUT if fault in OUTAGES else 0)
            raise UnavailableError
        match fault:
            case Fault.REFUSED:
                raise InvalidClientError
            case Fault.THROTTLED:
                raise MissingTokenError  # what the library makes of a 429
            case _ if fault in TIMEOUTS:
                self.clock.advance(30)
                raise requests.ReadTimeout
            case _:
                raise requests.ConnectionError


def losses(loop: Loop, dialect: str) -> tuple[int, int]:
    """Return how many connections a loop loses, of how many cuts."""
    steps = _steps(loop, dialect)
    cuts = [
        (at, fault)
        for at, step in enumerate(steps)
        for fault in Fault
        if fault not in BY_A_PERSON  # the loops know nothing of consents
        if step == "akoya.token" or fault not in {Fault.CUT_OFF_BEFORE, Fault.CUT_OFF_AFTER}
    ]
    return sum(_is_lost(loop, dialect, at, fault) for at, fault in cuts), len(cuts)


def loses_when_sent(loop: Loop, fault: Fault, dialect: str) -> bool:
    """Return whether a loop loses its connection where its request to Akoya is cut."""
    return _is_lost(loop, dialect, _steps(loop, dialect).index("akoya.token"), fault)


def _connected(dialect: str) -> tuple[World, Table, OAuth2Session]:
    world = World.in_memory(dialect)
    tokens = world.broker.seal.open(world.row(world.connect().id))
    session = OAuth2Session(CLIENT_ID)
    session.mount("https://", world.http)
    session.register_compliance_hook("refresh_token_response", _with_access_token)
    row = {"refresh_token": tokens.refresh_token.reveal(), "status": "active", "version": 1}
    return world, Table(row), session


def _with_access_token(response: requests.Response) -> requests.Response:
    """Call the id_token an access token, too: Akoya sends none, and the library wants one."""
    content = response.json()
    if response.ok:
        response._content = as_json({**content, "access_token": content["id_token"]})
    return response


def _steps(loop: Loop, dialect: str) -> list[str]:
    world, table, session = _connected(dialect)
    cutter = LoopCutter(clock=world.clock, ends_at=world.clock.now + TIMEOUT)
    loop(cutter.call, table, session)
    return cutter.steps


def _is_lost(loop: Loop, dialect: str, at: int, fault: Fault) -> bool:
    world, table, session = _connected(dialect)

    def run(step: Step = lambda _, act: act()) -> None:
        failures = (OAuth2Error, requests.RequestException, UnavailableError, ConditionError)
        with suppress(*failures, KilledError):
            loop(step, table, session)

    cutter = LoopCutter(
        clock=world.clock,
        ends_at=world.clock.now + TIMEOUT,
        faults={at: fault},
        rival=lambda _: run(),
    )
    run(cutter.call)
    for late in cutter.late:
        with suppress(OAuth2Error, ConditionError):
            late()
    _live_on(world, run, minutes=30)
    return not _kept(world, table)


def loses_to(loop: Loop, fault: str, times: int | None, dialect: str) -> bool:
    """Tell whether a loop loses a connection to a misbehaviour of the sandbox."""
    world, table, session = _connected(dialect)

    def run() -> None:
        with suppress(OAuth2Error, requests.RequestException, ValueError, KeyError):
            loop(lambda _, act: act(), table, session)

    world.provider.arm({"fault": fault, "on": ["refresh"], "times": times})
    _live_on(world, run, minutes=60)
    world.provider.disarm()
    _live_on(world, run, minutes=60)
    return not _kept(world, table)


def _live_on(world: World, run: Callable[[], None], *, minutes: int) -> None:
    """Let the loop come by every ten minutes, well before a bearer ends."""
    for _ in range(minutes // 10):
        world.clock.advance(600)
        run()


def _kept(world: World, table: Table) -> bool:
    living = {
        token["fingerprint"]
        for grant in world.provider.grants()
        if not grant["ended"]
        for token in grant["refresh_tokens"]
    }
    return table.row["status"] == "active" and fingerprint(table.row["refresh_token"]) in living
