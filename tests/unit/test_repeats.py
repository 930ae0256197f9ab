"""What is sent again at once, by whom and how often; and what a set remembers of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from tests.acts import END_AFTER, FUNCTION_TIMEOUT, Inline
from tests.clock import START
from tests.interruptions import before, before_akoya_acts
from tests.loopback import http_response
from tests.world import World
from token_broker.domain.connection import Connection, Lease, Reason, Status
from token_broker.domain.errors import OutcomeUnknown, TokenBrokerError, UpstreamUnavailable
from token_broker.domain.refresh_policy import (
    CLOCK_SKEW,
    READ_TIMEOUT,
    REFRESH_BUDGET,
    REPEAT_BUDGET,
    SEND_BUDGET,
    SENDING_WINDOW,
    lease_end,
)
from token_broker.domain.secret_text import SecretText
from token_broker.use_cases import schedule

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
    ("fails", "sends"),
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
    world: World, stale: Connection, fails: Before, sends: int
) -> None:
    world.http.before = fails

    with pytest.raises(TokenBrokerError):
        world.hand_out(stale.id)

    assert world.sends() == sends


@pytest.mark.parametrize(
    "fails",
    [no_answer, cut_off, answered(500), answered(200, b"<html>"), answered(503, retry_after="1")],
    ids=["timeout", "reset", "500", "page", "503 with Retry-After"],
)
def test_a_code_is_never_sent_twice_whatever_comes_of_it(world: World, fails: Before) -> None:
    address = world.consent(world.open(world.begin()))
    world.http.before = fails

    with suppress(TokenBrokerError):
        world.come_back(address)

    assert world.sends("authorization_code") == 1


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


def test_whatever_fails_before_the_send_releases_the_lease(world: World, stale: Connection) -> None:
    def fail() -> None:
        raise KeyError("unforeseen")

    before(world.broker.seal, "prepare", fail)
    with pytest.raises(KeyError):
        world.hand_out(stale.id)

    row = world.row(stale.id)
    assert (row.lease, row.unsettled, world.sends()) == (None, 0, 0)


# ── with what time ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("slow", "generation"), [(24, 2), (30, 1)])
def test_a_repeat_is_read_for_as_long_as_its_own_budget_says(
    world: World, stale: Connection, slow: int, generation: int
) -> None:
    world.provider.arm({"fault": "slow_then_lost", "seconds": READ_TIMEOUT + 1, "times": 1})
    world.provider.arm({"fault": "slow", "seconds": slow, "times": 1})

    with suppress(OutcomeUnknown):
        world.hand_out(stale.id)

    assert len(refreshes(world)) == 2
    assert world.row(stale.id).generation == generation


def test_nothing_is_sent_under_a_lease_that_ends_before_its_answer_could_be_kept(
    world: World, stale: Connection
) -> None:
    """The process says that it has time left, and its clock that others may claim the row soon."""
    before(world.broker.seal, "open", lambda: world.clock.advance(FUNCTION_TIMEOUT - 60))

    with pytest.raises(UpstreamUnavailable):
        world.hand_out(stale.id)

    assert refreshes(world) == []
    assert (world.row(stale.id).lease, world.row(stale.id).unsettled) == (None, 0)


@pytest.mark.parametrize(
    ("left", "statuses"), [(SEND_BUDGET, [401, 200]), (SEND_BUDGET - 1, [401])]
)
def test_a_newer_secret_is_tried_only_with_the_time_of_a_whole_send(
    world: World, stale: Connection, left: int, statuses: list[int]
) -> None:
    secret: Any = world.broker.client_secret
    newer = SecretText("a newer one")
    world.provider.change_client_secret(newer.reveal())
    secret.credentials = replace(secret.credentials, client_secret=newer)

    def spend(_: requests.PreparedRequest) -> None:
        world.time_left = left

    world.http.before = spend
    world.time_left = REFRESH_BUDGET

    with suppress(TokenBrokerError):
        world.hand_out(stale.id)

    assert [one["status"] for one in refreshes(world)] == statuses


def test_a_lease_outlives_its_holder_also_by_a_clock_that_is_ahead(
    world: World, stale: Connection
) -> None:
    ends_at = world.clock() + FUNCTION_TIMEOUT
    held: list[Lease | None] = []
    before_akoya_acts(world, "refresh_token", lambda: held.append(world.row(stale.id).lease))

    world.hand_out(stale.id)

    (lease,) = held
    assert lease is not None
    assert lease.until >= ends_at + CLOCK_SKEW


def test_part_of_a_second_that_is_left_counts_as_a_whole_one_of_the_lease() -> None:
    assert lease_end(START, 0.1) == START + 1 + CLOCK_SKEW


# ── in what turn ─────────────────────────────────────────────────────────────────────────────────


def test_the_sends_of_a_run_are_as_far_apart_as_the_rate_says_repeats_too(world: World) -> None:
    for user in ("mikomo_1", "mikomo_2", "mikomo_3"):
        world.make_due(world.connect(user, user).id)
    world.provider.arm({"fault": "lost_before_commit", "times": 2})

    schedule.tend_due(
        world.broker,
        schedule.Tending(
            rate=2, limit=10, quarantine=86_400, tombstone=86_400, end_after=END_AFTER
        ),
        workers=Inline(),
        remaining=world.remaining,
    )

    sent_at = [one["received_at"] for one in refreshes(world)]
    assert len(sent_at) == 5
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(sent_at))


def test_a_run_sends_nothing_for_the_first_time_once_the_next_run_is_near(world: World) -> None:
    for user in ("mikomo_1", "mikomo_2", "mikomo_3"):
        world.make_due(world.connect(user, user).id)
    world.provider.arm({"fault": "slow", "seconds": 30})
    began = world.clock.now

    schedule.tend_due(
        world.broker,
        schedule.Tending(
            rate=1000, limit=10, quarantine=86_400, tombstone=86_400, end_after=END_AFTER
        ),
        workers=Inline(),
        remaining=lambda: began + 150 - world.clock.now,
    )

    sent_after = [one["received_at"] - began for one in refreshes(world)]
    assert len(sent_after) == 2
    assert max(sent_after) < SENDING_WINDOW


# ── what a set remembers, for longer ─────────────────────────────────────────────────────────────


def ended(world: World, connection_id: str) -> Reason | None:
    """Return as what a connection ends whose refresh token Akoya refuses from now on."""
    world.provider.expire("refresh_token")
    return world.pass_refusals(connection_id).reason


def test_a_set_remembers_an_attempt_before_its_own_that_went_unanswered(
    world: World, stale: Connection
) -> None:
    world.provider.arm({"fault": "lost_before_commit", "times": 3})
    world.run_schedule()
    world.make_due(stale.id)
    world.run_schedule()
    row = world.row(stale.id)
    assert (row.generation, row.predecessor_resent) == (2, True)

    assert ended(world, stale.id) is Reason.ROTATION_LOST


def test_a_set_that_keeps_its_refresh_token_keeps_that_memory() -> None:
    world = World.in_memory("gen2-grace")
    one = world.connect()
    world.make_due(one.id)
    world.provider.arm({"fault": "lost_after_commit", "times": 1})
    world.run_schedule()
    world.make_due(one.id)
    world.provider.arm({"fault": "refresh_token_missing", "times": 1})
    world.run_schedule()
    row = world.row(one.id)
    assert (row.generation, row.predecessor_resent) == (3, True)

    assert ended(world, one.id) is Reason.ROTATION_LOST


def refreshes(world: World) -> list[dict[str, Any]]:
    """Return the refreshes that reached Akoya."""
    requests_ = world.provider.ledger()["requests"]
    return [one for one in requests_ if one["grant_type"] == "refresh_token"]
