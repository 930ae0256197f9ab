"""What is sent again at once, by whom and how often; and what a set remembers of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from tests.world import World, http_response
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.refresh_policy import REFRESH_BUDGET, REPEAT_BUDGET
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Claims

Before = Callable[[requests.PreparedRequest], requests.Response]


def no_answer(_: requests.PreparedRequest) -> requests.Response:
    raise requests.ReadTimeout("no answer in time")


def cut_off(_: requests.PreparedRequest) -> requests.Response:
    raise requests.ConnectionError("reset by peer")


def answered(status: int, body: bytes = b"", *, retry_after: str = "") -> Before:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return lambda _: http_response(status, body, headers)


@pytest.fixture
def world() -> World:
    return World.in_memory()


@pytest.fixture
def stale(world: World) -> Connection:
    connection = world.connect()
    world.clock.now = float(connection.expires_at or 0)
    return connection


@pytest.mark.parametrize(
    ("before", "sends"),
    [
        (no_answer, 2),
        (cut_off, 3),
        (answered(500), 3),
        (answered(200, b"<html>"), 3),
        (answered(503, retry_after="120"), 1),
        (answered(429, retry_after="120"), 1),
    ],
    ids=["timeout", "reset", "500", "page", "503 with Retry-After", "429"],
)
def test_a_refresh_is_repeated_at_once_as_often_as_its_failure_allows(
    world: World, stale: Connection, before: Before, sends: int
) -> None:
    world.http.before = before

    with pytest.raises(TokenBrokerError):
        world.hand_out(stale.id)

    assert world.sends() == sends


@pytest.mark.parametrize("status", [429, 503])
def test_akoyas_own_wait_is_kept(world: World, stale: Connection, status: int) -> None:
    world.http.before = answered(status, retry_after="600")

    with pytest.raises(TokenBrokerError):
        world.hand_out(stale.id)

    assert (world.row(stale.id).due_at or 0) >= world.clock() + 600


@pytest.mark.parametrize(("left", "sends"), [(REPEAT_BUDGET, 3), (REPEAT_BUDGET - 1, 1)])
def test_a_repeat_needs_a_budget_of_its_own_and_no_more(
    world: World, stale: Connection, left: int, sends: int
) -> None:
    def fails(_: requests.PreparedRequest) -> requests.Response:
        world.time_left = left
        return http_response(500)

    world.http.before = fails
    world.time_left = REFRESH_BUDGET

    with pytest.raises(TokenBrokerError):
        world.hand_out(stale.id)

    assert world.sends() == sends


def test_while_nothing_has_answered_in_a_run_its_canary_alone_repeats(world: World) -> None:
    for user in ("mikomo_1", "mikomo_2"):
        world.make_due(world.connect(user, user).id)
    world.http.before = cut_off

    world.run_schedule()

    tokens = [parse_qs(str(one.body)).get("refresh_token") for one in world.http.sent]
    assert sorted(Counter(token[0] for token in tokens if token).values()) == [1, 3]


def test_a_set_remembers_that_its_predecessor_was_sent_twice() -> None:
    world = World.in_memory("gen2-grace")
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "lost_after_commit", "times": 1})
    world.run_schedule()
    assert world.row(one.id).predecessor_resent

    world.make_due(one.id)
    world.provider.expire("refresh_token")
    world.run_schedule()
    row = world.pass_refusals(one.id)

    assert (row.status, row.reason) == (Status.REAUTH_REQUIRED, Reason.ROTATION_LOST)


def test_a_rotation_that_was_answered_at_once_clears_that_memory() -> None:
    world = World.in_memory("gen2-grace")
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "lost_after_commit", "times": 1})
    world.run_schedule()
    world.make_due(one.id)
    world.run_schedule()

    assert (world.row(one.id).generation, world.row(one.id).predecessor_resent) == (3, False)


class KeysThatBreak:
    """Signing keys whose preparation fails as nobody foresaw."""

    def __init__(self, keys: Any) -> None:
        self._keys = keys

    def prepare(self) -> None:
        raise KeyError("unforeseen")

    def claims(self, id_token: SecretText | None) -> Claims | None:
        claims: Claims | None = self._keys.claims(id_token)
        return claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)


def test_whatever_fails_before_the_send_releases_the_lease(world: World, stale: Connection) -> None:
    id_tokens: Any = KeysThatBreak(world.on.id_tokens)
    world.on = replace(world.on, id_tokens=id_tokens)

    with pytest.raises(KeyError):
        world.hand_out(stale.id)

    row = world.row(stale.id)
    assert (row.lease, row.unsettled, world.sends()) == (None, 0, 0)
