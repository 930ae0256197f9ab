"""A fault of ours or Akoya's lasts an hour and ends: one alarm, no state changed, back by itself.

Every incident is shown for stacks of 3 and 300 connections, and one of each mechanism (the breaker,
an outage) for 30,000, which take seconds each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests

from tests.fakes.vault import MemoryClientSecret
from tests.incidents.fleet import A_RUN, DAY, MINUTE, SIZES, Fleet, fleet_of
from tests.loopback import http_response
from tests.wiring import CLIENT_ID, CLIENT_SECRET
from tests.world import World
from token_broker.domain.connection import Status
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.refresh_policy import BACK_OFF_LONGEST, PROMPT_REPEATS
from token_broker.domain.secret_text import SecretText
from token_broker.runtime.http_api import status_code

AN_HOUR = 60  # minutes
ANSWER_TAKES = 2  # seconds, so that a run does not see the second it began in
NEW_SECRET = "the-one-the-hub-shows-now"
ATTEMPTS_AN_HOUR = 10  # of one connection: after 1, 2, 4, 8 and then some 15 minutes
Change = Callable[[World], None]


@dataclass(frozen=True)
class Incident:
    """What goes wrong, how it is put right, and what may be seen of it."""

    name: str
    begin: Change
    end: Change
    alarm: str
    canary: int = 1  # sends a minute, whatever is due; 0: as many as the rate allows
    caller_is_told: int = 503

    def __str__(self) -> str:
        return self.name


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


def secret_here(value: str | None, *, read: bool = False) -> Change:
    """Put another client secret, or none, into Secrets Manager; `read`: and let it be noticed."""

    def change(world: World) -> None:
        secret = world.broker.client_secret
        assert isinstance(secret, MemoryClientSecret)
        secret.credentials = (
            ClientCredentials(client_id=CLIENT_ID, client_secret=SecretText(value))
            if value
            else None
        )
        if read:
            secret.forget()

    return change


def secret_there(value: str) -> Change:
    return lambda world: world.provider.change_client_secret(value)


def both(*changes: Change) -> Change:
    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change


def armed(fault: str, **how: object) -> Change:
    return lambda world: world.provider.arm({"fault": fault, **how})


def disarmed(world: World) -> None:
    world.provider.disarm()


def answering(status: int, body: bytes = b"") -> Change:
    """Let something else answer in the token endpoint's place."""

    def change(world: World) -> None:
        world.http.before = lambda _: http_response(status, body)

    return change


def failing(error: type[Exception], *, after: int) -> Change:
    """Let every request fail in the network after so many seconds."""

    def change(world: World) -> None:
        def fail(_: requests.PreparedRequest) -> None:
            world.clock.advance(after)
            raise error

        world.http.before = fail

    return change


def nothing_in_between(world: World) -> None:
    world.http.before = None


PAGE = b"<!doctype html><title>Down for maintenance</title>"
FEW = 3 + 5  # of a run, and callers whose connections do not rest
OURS, BREAKER, AWAY = "OursToCorrectAlarm", "AtOddsWithAkoyaAlarm", "NoGoodRunAlarm"
INCIDENTS = (
    Incident(
        "wrong secret from the start",
        secret_here("not-this-one", read=True),
        secret_here(CLIENT_SECRET),
        BREAKER,
    ),
    Incident(
        "secret changed at Akoya first", secret_there(NEW_SECRET), secret_here(NEW_SECRET), BREAKER
    ),
    Incident(
        "secret changed here first",
        secret_here(NEW_SECRET, read=True),
        secret_there(NEW_SECRET),
        BREAKER,
    ),
    Incident(
        "no secret",
        secret_here(None, read=True),
        secret_here(CLIENT_SECRET),
        OURS,
        caller_is_told=500,
    ),
    Incident("302", armed("redirect"), disarmed, AWAY, canary=FEW),
    Incident("404 with a page", answering(404, PAGE), nothing_in_between, AWAY, canary=FEW),
    Incident("403 with a page", answering(403, PAGE), nothing_in_between, AWAY, canary=FEW),
    Incident("200 with a page", answering(200, PAGE), nothing_in_between, AWAY, canary=0),
    Incident("503 with a page", answering(503, PAGE), nothing_in_between, AWAY, canary=0),
    Incident("429", armed("too_many_requests"), disarmed, AWAY, canary=0),
    Incident(
        "no connection",
        failing(requests.ConnectTimeout, after=3),
        nothing_in_between,
        AWAY,
        canary=FEW,
    ),
    Incident(
        "no answer",
        failing(requests.ReadTimeout, after=30),
        nothing_in_between,
        AWAY,
        canary=0,
    ),
)
STORIES = [
    pytest.param(incident, size, id=f"{incident}-{size}")
    for incident in INCIDENTS
    for size in SIZES
]


# ── the story of each ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("incident", "size"), STORIES)
def test_one_alarm_no_state_changed_and_service_is_back_by_itself(
    incident: Incident, size: int
) -> None:
    fleet = fleet_of(size)
    went = fleet.world.come_back(
        fleet.world.consent(fleet.world.open(fleet.world.begin()), "mikomo_900000")
    )
    incident.begin(fleet.world)
    answers_take(fleet.world, ANSWER_TAKES)

    confirmed = fleet.world.confirm(went)
    lasts_an_hour(fleet, incident)
    assert fleet.statuses() == {Status.ACTIVE: size}

    incident.end(fleet.world)
    answers_take(fleet.world, 0)
    drains(fleet)

    ask = [*fleet.spent, *fleet.running_out, *fleet.living[-1:], confirmed.id]
    fleet.pass_minutes(60, ask=ask[-5:])
    fleet.pass_minutes(1, ask=ask)
    assert fleet.asked.refused == {}
    assert min(fleet.asked.served.values()) > fleet.world.clock() + DAY // 2
    assert fleet.statuses() == {Status.ACTIVE: size}
    assert list(fleet.without_living_token()) == []
    assert fleet.alarms.pages == [incident.alarm]


@pytest.mark.parametrize("incident", INCIDENTS, ids=str)
def test_the_schedule_alone_raises_the_alarm_where_nobody_asks(incident: Incident) -> None:
    fleet = fleet_of(3)
    incident.begin(fleet.world)

    fleet.pass_minutes(AN_HOUR)

    assert fleet.alarms.pages == [incident.alarm]


def answers_take(world: World, seconds: int) -> None:
    def wait(answer: requests.Response) -> requests.Response:
        world.clock.advance(seconds)
        return answer

    world.http.after = wait if seconds else None


def lasts_an_hour(fleet: Fleet, incident: Incident) -> None:
    """Let callers ask each minute, and Akoya be bothered no more than it must be."""
    ask = [*fleet.spent[:2], *fleet.running_out[:2], fleet.living[-1]]
    runs_out = {one: fleet.table[one].expires_at or 0 for one in ask}
    for _ in range(AN_HOUR):
        before = fleet.world.sends()
        fleet.pass_minutes(1, ask=ask)
        sent = fleet.world.sends() - before
        assert sent <= (incident.canary or (A_RUN + len(ask)) * (1 + PROMPT_REPEATS))
        for one, expires_at in runs_out.items():
            if expires_at > fleet.asked.told_at[one]:
                assert fleet.asked.served[one] == expires_at
            elif expires_at <= fleet.asked.asked_at[one]:
                refused = fleet.asked.refused[one]
                assert status_code(refused) in {503, incident.caller_is_told}
                assert refused.retry_after or status_code(refused) != 503
    touched = sum(row.last_event is not None for row in fleet.table.values())
    assert fleet.world.sends() <= touched * ATTEMPTS_AN_HOUR * (1 + PROMPT_REPEATS)


def drains(fleet: Fleet) -> None:
    """Let the schedule work off what has become due: oldest first, at its pace, and no further."""
    waiting = [connection_id for connection_id, *_ in fleet.due()]
    since, first_run = len(fleet.world.events), len(fleet.runs)
    runs = len(waiting) // A_RUN + 2 + BACK_OFF_LONGEST // MINUTE

    fleet.pass_minutes(1)
    assert fleet.runs[first_run].answered or not waiting
    fleet.pass_minutes(runs - 1)

    its_turn = set(waiting)
    assert [one for one in fleet.refreshed(since=since) if one in its_turn] == waiting
    assert max(len(run.tended) for run in fleet.runs[first_run:]) <= A_RUN
    due = fleet.due()
    assert not due or fleet.world.clock() - due[0][1] < MINUTE
