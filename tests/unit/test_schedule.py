"""The schedule: what is due, what an incident is, and what ends a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.interruptions import before, cut_at
from tests.loopback import http_response
from tests.wiring import BROKER
from tests.world import World
from token_broker.domain.connection import Connection, Degraded, Reason, Status
from token_broker.domain.errors import TokenBrokerError


def people(world: World, count: int) -> list[Connection]:
    """Connect so many people, each with a login of their own."""
    return [world.connect(f"person-{n}", f"mikomo_{n}") for n in range(1, count + 1)]


def several(world: World, count: int) -> list[Connection]:
    """Connect so many people and make them all due; the oldest due comes first."""
    made = sorted(people(world, count), key=lambda one: one.due_at or 0)
    world.clock.now = float(max(one.due_at or 0 for one in made))
    return made


def make_due_now(world: World, made: list[Connection]) -> None:
    """Have somebody ask for these, which brings them forward."""
    for one in made:
        row, now = world.row(one.id), world.clock()
        world.broker.connections.make_due(row, due_at=now, asked_at=now)
        assert world.row(one.id).due_at == now


def refuse_all(world: World) -> None:
    """Kill every refresh token at Akoya."""
    world.provider.expire("refresh_token")


# ── one grant ends ───────────────────────────────────────────────────────────────────────────────


def test_a_run_that_died_over_an_unconfirmed_link_does_not_make_a_lost_rotation_of_it() -> None:
    """A run claims it, which counts as an attempt; nothing was sent."""
    world = World.in_memory()
    went = world.link()
    world.clock.advance(61)
    with cut_at(world.broker.connections, "settle"):
        world.run_schedule()
    one = world.confirm(went)
    world.make_due(one.id)
    refuse_all(world)

    assert world.pass_refusals(one.id).reason is Reason.GRANT_DEAD


def test_an_ended_connection_keeps_its_sealed_set_for_the_quarantine_and_then_erases_it(
    memory: World,
) -> None:
    (one,) = several(memory, 1)
    refuse_all(memory)
    assert memory.pass_refusals(one.id).sealed is not None

    memory.clock.advance(7 * 86_400)
    memory.run_schedule()

    row = memory.row(one.id)
    assert (row.status, row.sealed) == (Status.REAUTH_REQUIRED, None)


def test_a_new_consent_brings_an_ended_connection_back(memory: World) -> None:
    one = memory.connect()
    refuse_all(memory)
    memory.pass_refusals(one.id)

    went = memory.link(connection_id=one.id)

    row = memory.row(one.id)
    assert (went.result.status, row.status, row.reason) == ("active", Status.ACTIVE, None)
    assert memory.hand_out(one.id).generation == 2


# ── incidents ────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_secret_stops_the_run_at_the_canary_and_touches_no_connection(
    world: World,
) -> None:
    made = several(world, 6)
    world.provider.change_client_secret("another")

    world.run_schedule()

    assert world.sends() == 1
    assert {world.row(one.id).failures for one in made} == {0}
    assert len(world.recorded("breaker_opened")) == 1


def test_service_is_back_by_itself_once_the_secret_is_right(world: World) -> None:
    made = several(world, 6)
    world.provider.change_client_secret("another")
    world.run_schedule()
    world.pass_minutes(3)
    assert world.sends() == 4  # one canary a minute
    world.provider.change_client_secret(world.broker.client_secret.read().client_secret.reveal())

    world.pass_minutes(3)

    assert {world.row(one.id).generation for one in made} == {2}
    assert world.recorded("breaker_closed")


def never_connected(_: requests.PreparedRequest) -> None:
    raise requests.ConnectTimeout


def page_instead(_: requests.PreparedRequest) -> requests.Response:
    return http_response(302, b"<html>", {"Location": "https://x.example"})


@pytest.mark.parametrize("something_else", [page_instead, never_connected])
def test_a_run_that_meets_nothing_of_akoya_stops_after_three_and_the_next_goes_on_behind_them(
    something_else: Callable[[requests.PreparedRequest], requests.Response | None],
) -> None:
    world = World.in_memory()
    made = several(world, 7)
    world.http.before = something_else

    world.run_schedule()
    assert [world.row(one.id).failures for one in made] == [1, 1, 1, 0, 0, 0, 0]
    assert world.broker.control.breaker() is None
    assert world.recorded("nothing_answered") == [{"value": 3}]

    world.pass_minutes()
    assert [world.row(one.id).failures for one in made] == [1, 1, 1, 1, 1, 1, 0]


def test_a_run_goes_on_past_those_a_firewall_dislikes_once_akoya_has_answered_somebody() -> None:
    world = World.in_memory()
    answered, *disliked, last = several(world, 5)
    opened = [world.broker.seal.open(world.row(one.id)) for one in disliked]
    answer_with_403(world, *(tokens.refresh_token.reveal() for tokens in opened))

    world.run_schedule()

    assert {world.row(one.id).generation for one in (answered, last)} == {2}
    assert {world.row(one.id).failures for one in disliked} == {1}


def test_a_bank_that_is_away_does_not_stop_the_run_for_the_others() -> None:
    world = World.in_memory()
    *away, other = several(world, 6)
    opened = [world.broker.seal.open(world.row(one.id)).refresh_token.reveal() for one in away]

    def bank_is_away(request: requests.PreparedRequest) -> requests.Response | None:
        is_theirs = any(token in str(request.body) for token in opened)
        return http_response(502, b"<html>bad gateway</html>") if is_theirs else None

    world.http.before = bank_is_away
    world.run_schedule()

    assert world.row(other.id).generation == 2


def test_a_run_does_not_close_the_breaker_it_has_just_opened() -> None:
    world = World.in_memory()
    several(world, 3)
    world.broker.control.open_breaker(until=world.clock() - 1)  # tried again now
    canary = [True]

    def second_one_fails(request: requests.PreparedRequest) -> requests.Response | None:
        if "grant_type=refresh_token" not in str(request.body):
            return None
        if canary:
            canary.pop()
            return None
        return http_response(401, b'{"error":"invalid_client"}')

    world.http.before = second_one_fails
    world.run_schedule()

    until = world.broker.control.breaker()
    assert until is not None
    assert until > world.clock()


def answer_with_403(world: World, *marks: str, body: bytes = b"<html>blocked</html>") -> None:
    """Let a firewall in front of Akoya refuse every request with one of these in its body."""

    def forbidden(request: requests.PreparedRequest) -> requests.Response | None:
        return (
            http_response(403, body) if any(mark in str(request.body) for mark in marks) else None
        )

    world.http.before = forbidden


def minutes_refused(
    world: World, connection_id: str, goes_on: Callable[[], object] = lambda: None
) -> int:
    """Return for how many of 30 minutes a caller, while others go on, gets no new bearer."""
    for minute in range(30):
        world.pass_minutes(1, goes_on)
        try:
            world.hand_out(connection_id, rejected=world.row(connection_id).generation)
        except TokenBrokerError:
            continue
        return minute
    return 30


@pytest.mark.parametrize("body", [b'{"error":"access_denied"}', b"<html>blocked</html>"])
@pytest.mark.parametrize("poisoned", [1, 2])
def test_connections_that_are_answered_with_403_do_not_stop_all_callers(
    poisoned: int, body: bytes
) -> None:
    world = World.in_memory()
    poison = people(world, poisoned)
    world.provider.change_settings({"id_token_lifetime": 86_400})
    other = world.connect("person-3", "mikomo_3")
    opened = [world.broker.seal.open(world.row(one.id)) for one in poison]
    answer_with_403(world, *(tokens.refresh_token.reveal() for tokens in opened), body=body)
    for one in poison:
        world.make_due(one.id)
    world.pass_minutes(10)

    assert minutes_refused(world, other.id) <= 5


def test_a_code_made_up_to_offend_akoyas_firewall_does_not_stop_all_callers() -> None:
    """Whoever may link can put into the redirect what a firewall blocks, as often as they like."""
    world = World.in_memory()
    world.provider.change_settings({"id_token_lifetime": 86_400})
    other = world.connect("person-2", "mikomo_2")
    answer_with_403(world, "union")

    def offend() -> None:
        url = world.open(world.begin("mallory"))
        state = parse_qs(urlsplit(url).query)["state"][0]
        world.come_back(f"{BROKER}/callback?state={state}&code=%27union+select")

    assert minutes_refused(world, other.id, offend) <= 5


def test_a_provider_away_for_an_hour_costs_no_connection() -> None:
    world = World.in_memory()
    made = several(world, 4)

    def away(_: requests.PreparedRequest) -> None:
        raise requests.ConnectTimeout

    world.http.before = away
    world.pass_minutes(60)
    world.http.before = None
    world.pass_minutes(16)

    assert {world.row(one.id).status for one in made} == {Status.ACTIVE}
    assert all(world.hand_out(one.id).generation > 1 for one in made)


# ── rows that make no sense ──────────────────────────────────────────────────────────────────────


def test_a_row_that_makes_no_sense_is_reported_and_does_not_block_the_others(
    world: World,
) -> None:
    broken, *others = several(world, 3)
    world.aws.dynamodb.update_item(
        TableName=f"{world.prefix}-connections",
        Key={"id": {"S": broken.id}},
        UpdateExpression="SET #status = :odd, due_at = :long_ago",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":odd": {"S": "ODD"}, ":long_ago": {"N": "1"}},
    )

    for _ in range(2):
        world.run_schedule()
        world.clock.advance(61)

    assert {world.row(one.id).generation for one in others} == {2}
    assert world.recorded("row_unreadable")


@pytest.mark.parametrize(("count", "share"), [(1, 0), (2, 100)])
def test_one_expired_bearer_alone_is_no_share(world: World, count: int, share: int) -> None:
    made = several(world, count)
    world.clock.now = float(max(one.expires_at or 0 for one in made))

    world.run_schedule()

    assert [said["value"] for said in world.recorded("bearers_expired")] == [count]
    assert [said["value"] for said in world.recorded("bearers_expired_share")] == [share]


def test_the_failed_share_of_a_run_is_measured_where_anything_was_due(world: World) -> None:
    world.run_schedule()
    assert world.recorded("failed_share") == []

    several(world, 3)
    world.provider.arm({"fault": "too_many_requests", "on": ["refresh"], "times": 1})
    world.run_schedule()

    assert [said["value"] for said in world.recorded("failed_share")] == [33]


def test_a_row_that_fails_in_a_way_nobody_expected_has_the_others_go_first_next_time(
    world: World,
) -> None:
    both = {one.id for one in several(world, 2)}
    before(world.broker.connections, "claim", lambda: 1 // 0)

    for _ in range(2):
        world.run_schedule(limit=1)

    (odd,) = {said["connection_id"] for said in world.recorded("row_unreadable")}
    (other,) = both - {odd}
    assert world.row(other).generation == 2


def test_a_token_set_moved_to_another_row_is_reported_and_not_sent(world: World) -> None:
    one, other = several(world, 2)
    stolen = world.row(one.id).sealed
    world.aws.dynamodb.update_item(
        TableName=f"{world.prefix}-connections",
        Key={"id": {"S": other.id}},
        UpdateExpression="SET token_set = :stolen",
        ExpressionAttributeValues={":stolen": {"B": stolen}},
    )

    world.run_schedule()

    assert [fields["connection_id"] for fields in world.recorded("row_unreadable")] == [other.id]
    assert world.row(other.id).degraded is Degraded.UNREADABLE
    assert world.sends() == 1


# ── due ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_ends_before_its_deadline_and_leaves_the_rest_to_the_next(world: World) -> None:
    made = several(world, 3)
    world.time_left = 30

    world.run_schedule()

    assert world.sends() == 0
    assert all((world.row(one.id).lease, world.row(one.id).failures) == (None, 0) for one in made)


def test_links_that_wait_for_a_confirmation_do_not_take_the_places_of_others() -> None:
    """Nothing is sent for them, yet each takes a place and a pause of the run that looks at it.

    Nine connections fall due a minute, a run has ten places, ten people came back unconfirmed.
    """
    world = World.in_memory()
    world.provider.change_settings({"id_token_lifetime": 86_400})
    model, now = world.row(world.connect().id), world.clock()
    ended = replace(model, status=Status.REAUTH_REQUIRED, keep_until=now + 10 * 86_400)
    waiting = replace(model, status=Status.PENDING_CONFIRMATION, keep_until=now + 900)
    for n in range(9 * 12):  # plain rows: what is asked is how many of them get a turn
        due_at = now + 60 * (n // 9) + 1
        world.broker.connections.create(replace(ended, id=f"c{n}", login=f"l{n}", due_at=due_at))
    for n in range(10):
        world.broker.connections.create(replace(waiting, id=f"p{n}", login=f"p{n}", due_at=now))

    for _ in range(12):
        world.clock.advance(60)
        world.run_schedule(limit=10)

    lag = [one["value"] for one in world.recorded("oldest_due_seconds")]
    assert lag[-1] <= 120, f"it falls ever further behind: {lag}"
