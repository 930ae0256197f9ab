"""The stack stands on a table that is not its own, or on its own as it was yesterday."""

from __future__ import annotations

from dataclasses import replace

import pytest

from operations.adopt import adopt
from tests.incidents.fleet import SIZES, Fleet, fleet_of
from token_broker.domain.connection import Status
from token_broker.domain.errors import Reported
from token_broker.domain.identity import Identity
from token_broker.use_cases.home import home_of

FOREIGN, MASS = "OursToCorrectAlarm", "MassRefusalsAlarm"
ANOTHERS = Identity(
    table_id="table-9",
    environment="production",
    client_id="another-client",
    provider="https://idp.example",
)


def nothing_is_sent_for_an_hour(fleet: Fleet) -> None:
    """Let callers ask meanwhile; whose bearer lives is served all the same."""
    sent, rows = len(fleet.world.http.sent), dict(fleet.table)
    ask = [*fleet.spent[:2], *fleet.living[-2:]]
    for _ in range(60):
        fleet.pass_minutes(1, ask=ask)
        now = fleet.world.clock()
        assert set(fleet.asked.served) == {one for one in ask if (rows[one].expires_at or 0) > now}
        assert all(isinstance(error, Reported) for error in fleet.asked.refused.values())
    assert len(fleet.world.http.sent) == sent
    assert dict(fleet.table) == rows
    assert fleet.alarms.pages == [FOREIGN]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_sent_from_anothers_table_and_at_home_all_goes_on_by_itself(size: int) -> None:
    fleet = fleet_of(size)
    home = home_of(fleet.world.broker)
    fleet.world.broker.connections.adopt(ANOTHERS)

    nothing_is_sent_for_an_hour(fleet)

    fleet.world.broker.connections.adopt(home)  # the operator corrects the configuration
    waiting = [one for one, *_ in fleet.due()]
    since = len(fleet.world.events)
    fleet.hurry()
    fleet.pass_minutes(5)
    assert fleet.refreshed(since=since)[: len(waiting)] == waiting
    assert fleet.statuses() == {Status.ACTIVE: size}
    assert list(fleet.without_living_token()) == []
    assert fleet.alarms.pages == [FOREIGN]


def test_a_wrong_provider_address_alone_holds_everything_and_ends_nobody() -> None:
    fleet = fleet_of(3)
    home = home_of(fleet.world.broker)
    fleet.world.broker.connections.adopt(replace(home, provider="https://idp.example"))

    nothing_is_sent_for_an_hour(fleet)

    said = {event["detail"] for name, event in fleet.world.events if name == "table_foreign"}
    assert said == {f"provider: https://idp.example, not {home.provider}"}
    fleet.world.broker.connections.adopt(home)
    fleet.hurry()
    fleet.pass_minutes(5)
    assert fleet.statuses() == {Status.ACTIVE: 3}
    assert list(fleet.without_living_token()) == []


@pytest.mark.parametrize(("size", "minutes"), [(3, 720), (300, 720), (30_000, 20)])
def test_a_restored_table_waits_for_the_operator_and_costs_only_what_moved_on_since(
    size: int, minutes: int
) -> None:
    fleet = fleet_of(size)
    backup = dict(fleet.table)
    fleet.pass_minutes(minutes)
    moved_on = set(fleet.refreshed())
    assert 0 < len(moved_on) < size

    fleet.table.restore(backup)
    nothing_is_sent_for_an_hour(fleet)

    fleet.hurry()
    adopt(fleet.world.broker)
    fleet.pass_minutes(5)
    assert fleet.statuses() == {Status.ACTIVE: size}
    rows = fleet.table
    for _ in range(27 * 60):  # at the longest, where nobody bears witness
        fleet.pass_minutes(1)
        ended = {one for one in fleet.ids if rows[one].status is Status.REAUTH_REQUIRED}
        if ended == moved_on:
            break
    assert ended == moved_on
    assert fleet.alarms.pages == ([FOREIGN] if size == min(SIZES) else [FOREIGN, MASS])

    go_on = [one for one in fleet.ids if one not in moved_on]
    assert {rows[one].status for one in go_on} == {Status.ACTIVE}
    assert list(fleet.without_living_token(go_on)) == []
    assert any(rows[one].generation > 1 for one in go_on)
