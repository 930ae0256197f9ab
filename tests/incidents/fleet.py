"""A stack of any size in the midst of its life, and the minutes that pass over it.

The rows are written as landings would have left them, and the sandbox's store gives each its own
consent; only the bearer they hold is one for all, for nobody looks into a bearer of the past.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs

import requests

from local.akoya_sandbox.grants import Grant
from local.akoya_sandbox.people import Login
from tests.acts import END_AFTER, TOMBSTONE, Inline
from tests.clock import START, FixedClock
from tests.incidents.alarms import Alarms
from tests.interleavings.flows import REFRESH_TIMEOUT
from tests.loopback import http_response
from tests.memory_connections import MemoryConnections
from tests.wiring import CLIENT_ID, LOGIN_KEY
from tests.world import World
from token_broker.domain.connection import Connection, Due, Status, login_of
from token_broker.domain.errors import Reported, TokenBrokerError
from token_broker.domain.refresh_policy import SENDING_WINDOW
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet, Verdict
from token_broker.use_cases import schedule
from token_broker.use_cases.lane import ALONE, Lane
from token_broker.use_cases.measure import account_for_failure

MINUTE, HOUR, DAY = 60, 3_600, 86_400
SIZES = (3, 300, 30_000)
RATE = 2  # RateLimitPerSecond's default
A_RUN = RATE * SENDING_WINDOW
QUARANTINE = 7 * DAY
SOON = 5 * MINUTE
OLD_BEARER = SecretText("a bearer of the past")


@dataclass
class Asked:
    """What callers were answered in one minute: a bearer's expiry, or an error."""

    served: dict[str, int] = field(default_factory=dict)
    refused: dict[str, TokenBrokerError] = field(default_factory=dict)
    asked_at: dict[str, int] = field(default_factory=dict)
    told_at: dict[str, int] = field(default_factory=dict)  # later where Akoya took its time


@dataclass
class Fleet:
    """A world with many connections, its minutes and its alarms."""

    world: World
    spent: list[str] = field(default_factory=list)  # their bearers have run out already
    running_out: list[str] = field(default_factory=list)  # in the middle of the hour to come
    living: list[str] = field(default_factory=list)  # for longer than an hour
    alarms: Alarms = field(default_factory=Alarms)
    runs: list[schedule.Run] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)
    rate: int = RATE
    a_run: int = A_RUN
    lanes: int = 1
    _minutes: int = 0
    _seen: int = 0

    @property
    def ids(self) -> list[str]:
        return [*self.spent, *self.running_out, *self.living]

    @property
    def table(self) -> MemoryConnections:
        return self.world.memory

    # ── what passes ──────────────────────────────────────────────────────────────────────────────

    def pass_minutes(self, minutes: int, *, ask: Iterable[str] = ()) -> None:
        """Let the schedule run on each full minute; callers ask in its second half."""
        for _ in range(minutes):
            self._minutes += 1
            clock = self.world.clock
            clock.now = max(clock.now, float(START + self._minutes * MINUTE))
            for number in range(self.lanes):
                self._run(Lane(number, self.lanes))
            clock.now = max(clock.now, float(START + self._minutes * MINUTE + 45))
            self.asked = Asked()
            for connection_id in ask:
                self._ask(connection_id)
            self._tell_alarms()

    def _run(self, lane: Lane = ALONE) -> None:
        began = self.world.clock.now
        try:
            run = schedule.tend_due(
                self.world.broker,
                schedule.Tending(
                    rate=self.rate,
                    limit=self.a_run,
                    quarantine=QUARANTINE,
                    tombstone=TOMBSTONE,
                    end_after=END_AFTER,
                ),
                workers=Inline(),
                remaining=lambda: REFRESH_TIMEOUT - (self.world.clock.now - began),
                lane=lane,
            )
        except Reported as exc:
            self.alarms.count(exc.event)
            account_for_failure(self.world.broker, lane)
        else:
            self.runs.append(run)

    def _ask(self, connection_id: str) -> None:
        self.asked.asked_at[connection_id] = self.world.clock()
        try:
            bearer = self.world.hand_out(connection_id)
        except TokenBrokerError as exc:
            self.asked.refused[connection_id] = exc
            self.alarms.count(exc.event)
        else:
            self.asked.served[connection_id] = bearer.expires_at
        self.asked.told_at[connection_id] = self.world.clock()

    def _tell_alarms(self) -> None:
        for name, fields in self.world.events[self._seen :]:
            self.alarms.count(name, fields["value"])
        self._seen = len(self.world.events)
        self.alarms.minute_is_over()

    def hurry(self) -> None:
        """Let the schedule tend all that is due in one run: only how it ends matters now."""
        self.rate = self.a_run = 100_000

    # ── what is there ────────────────────────────────────────────────────────────────────────────

    def statuses(self) -> Counter[Status]:
        return Counter(self.table[one].status for one in self.ids)

    def due(self) -> list[Due]:
        """List what is due now, oldest first."""
        return self.world.broker.connections.due(now=self.world.clock(), limit=len(self.ids))

    def refreshed(self, *, since: int = 0) -> list[str]:
        """List the connections that got a new set, in order, from the event numbered `since` on."""
        return [
            str(fields["connection_id"])
            for name, fields in self.world.events[since:]
            if name == "token_refreshed"
        ]

    def without_living_token(self, ids: Iterable[str] | None = None) -> Iterator[str]:
        """Yield the connections whose stored refresh token the sandbox would not take."""
        living = {
            token.value for grant in self.world.provider._store.linked() for token in grant.live
        }
        for one in self.ids if ids is None else ids:
            stored = self.world.broker.seal.open(self.table[one]).refresh_token
            if stored.reveal() not in living:
                yield one


def fleet_of(size: int) -> Fleet:
    """Make a stack of so many connections with Akoya's own lives: a bearer lasts a day.

    One in a hundred has a bearer that has run out and one in a hundred has one that will within
    the hour; the others are due spread over a day, as those that have been in use for long are.
    """
    world = World.in_memory()
    world.provider.change_settings({"id_token_lifetime": DAY})
    fleet = Fleet(world)
    few = max(1, size // 100)
    for number in range(1, few + 1):
        expired = START - number
        fleet.spent.append(connect(fleet, due_at=START + number % MINUTE, expires_at=expired))
    for number in range(1, few + 1):
        runs_out = START + HOUR // 2 + number * MINUTE // few
        fleet.running_out.append(
            connect(fleet, due_at=START + SOON * number // few, expires_at=runs_out)
        )
    rest = size - 2 * few
    for number in range(1, rest + 1):
        due_at = START + DAY * number // rest
        fleet.living.append(connect(fleet, due_at=due_at, expires_at=due_at + 2 * HOUR))
    return fleet


def fleet_due_at(
    moments: Iterable[int],
    *,
    connectors: Sequence[str] = ("mikomo",),
    clock: FixedClock | None = None,
) -> Fleet:
    """Make a stack of one connection for each moment, due then; its bearer lives two hours more.

    The connectors take turns.
    """
    world = World.in_memory(clock=clock)
    world.provider.change_settings({"id_token_lifetime": DAY})
    fleet = Fleet(world)
    for place, moment in enumerate(moments):
        connector = connectors[place % len(connectors)]
        expires_at = moment + 2 * HOUR
        fleet.living.append(
            connect(fleet, due_at=moment, expires_at=expires_at, connector=connector)
        )
    return fleet


def connect(fleet: Fleet, *, due_at: int, expires_at: int, connector: str = "mikomo") -> str:
    """Add a connection that holds the first refresh token of a consent of its own."""
    world = fleet.world
    number = len(fleet.spent) + len(fleet.running_out) + len(fleet.living) + 1
    connection_id, login = world.broker.new_id(), _login(number)
    grant = _consent(login)
    store = world.provider._store
    store._grants[login.id] = [grant]
    tokens = TokenSet(
        refresh_token=SecretText(store.issue_refresh_token(grant).value), id_token=OLD_BEARER
    )
    name, subject = _name(number, connector), f"person-{number}"
    sealer = world.broker.seal.prepare(connection_id, subject=subject, connector=connector)
    fleet.table[connection_id] = Connection(
        id=connection_id,
        subject=subject,
        connector=connector,
        status=Status.ACTIVE,
        linked_at=START - DAY,
        updated_at=START - DAY,
        generation=1,
        sealed=sealer.seal(tokens, generation=1),
        login=name,
        issued_at=expires_at - DAY,
        iat=START - DAY,
        expires_at=expires_at,
        verdict=Verdict.OK,
        due_at=due_at,
        asked_at=START,
    )
    fleet.table.own(name, connection_id)
    return connection_id


def is_away_for(fleet: Fleet, some: Collection[str]) -> None:
    """Let Akoya answer 503 for these and well for the others."""
    theirs = {fleet.world.broker.seal.open(fleet.table[one]).refresh_token.reveal() for one in some}

    def answer(request: requests.PreparedRequest) -> requests.Response | None:
        (sent,) = parse_qs(str(request.body))["refresh_token"]
        return http_response(503) if sent in theirs else None

    fleet.world.http.before = answer


def _consent(login: Login) -> Grant:
    """Return a consent as the store keeps one whose code was redeemed a day ago."""
    return Grant(
        id=f"grant of {login.id}",
        login=login,
        account_ids=("account",),
        scope=("openid", "offline_access"),
        auth_time=START - DAY,
        linked_at=START - DAY,
    )


@cache
def _login(number: int) -> Login:
    return Login("mikomo", f"mikomo_{number}")


@cache
def _name(number: int, connector: str) -> str:
    """Return how the broker calls the bank login of that number."""
    return login_of(
        LOGIN_KEY,
        environment="sandbox",
        client_id=CLIENT_ID,
        connector=connector,
        sub=_login(number).sub,
    )
