"""What every connections table must do when a token set lands and an attempt is settled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.rows import ID, NOW, active, claim, landing, linking, unrecorded
from tests.wiring import LOGIN_KEY
from tests.world import World
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.connection import Connection, Degraded, Lease, Reason, Status, Suspect
from token_broker.domain.errors import StaleGeneration, UpstreamUnavailable
from token_broker.domain.refresh_policy import CONFIRM_WITHIN
from token_broker.domain.token_set import Verdict
from token_broker.store.connections import Connections

# ── landing ──────────────────────────────────────────────────────────────────────────────────────


def test_a_set_that_lands_ends_the_lease_and_clears_every_counter(table: Connections) -> None:
    active(table)
    claim(table, generation=1, rejected=True)

    landed = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)

    assert landed == table.get(ID)
    assert (landed.generation, landed.lease, landed.unsettled, landed.failures) == (2, None, 0, 0)
    assert (landed.due_at, landed.rejected) == (NOW + 900, 1)


def test_a_set_of_another_generation_does_not_land(table: Connections) -> None:
    active(table)
    claim(table)

    for generation in (1, 3):
        stray = landing(generation, attempt_id="stray", sealed=b"stray")
        with pytest.raises(StaleGeneration):
            table.land(stray, lease_id="second", status=Status.ACTIVE, due_at=NOW)
    assert table.get(ID).sealed == b"sealed"


def test_landing_one_attempt_twice_is_landing_it_once(table: Connections) -> None:
    active(table)
    claim(table)
    first = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)

    again = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)

    assert again == first


def test_a_set_lands_without_its_lease_and_leaves_the_new_holders_alone(
    table: Connections,
) -> None:
    active(table)
    claim(table)
    claim(table, "third", now=NOW + 755)

    landed = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)

    assert (landed.generation, landed.lease) == (
        2,
        Lease(id="third", until=NOW + 850, since=NOW + 755),
    )


def test_a_link_waits_for_its_confirmation_however_late_its_set_lands(
    table: Connections,
) -> None:
    table.create(linking())
    claim(table, "schedule", now=NOW + 900)

    landed = table.land(
        landing(), lease_id="first", status=Status.PENDING_CONFIRMATION, due_at=NOW + 910
    )

    assert (landed.status, landed.due_at) == (Status.PENDING_CONFIRMATION, NOW + 910)
    assert landed.keep_until == NOW + 910 + CONFIRM_WITHIN
    assert landed.lease == Lease(id="schedule", until=NOW + 995, since=NOW + 900)


def test_a_set_that_lands_after_a_disconnect_is_kept_to_be_revoked(table: Connections) -> None:
    active(table)
    claim(table)
    table.ask_revoke(ID, now=NOW + 601)

    landed = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)

    assert (landed.status, landed.generation, landed.due_at) == (
        Status.REVOKE_PENDING,
        2,
        NOW + 601,
    )


def test_a_set_that_lands_after_the_end_makes_the_row_due_for_a_revoke(
    table: Connections,
) -> None:
    active(table)
    table.ask_revoke(ID, now=NOW)
    table.mark_revoked(claim(table), gone_at=NOW + 99_000, now=NOW + 600)

    landed = table.land(landing(2), lease_id="lost", status=Status.ACTIVE, due_at=NOW + 900)

    assert (landed.status, landed.generation) == (Status.REVOKE_PENDING, 2)
    assert table.due(now=NOW, limit=9) == [(ID, NOW, "mikomo")]


def test_a_landing_under_suspicion_carries_it(table: Connections) -> None:
    active(table)
    claim(table)
    suspect = Suspect(generation=2, reason=Reason.LOGIN_CHANGED, since=NOW, streak_since=NOW)
    other = landing(2, verdict=Verdict.BAD, suspect=suspect)

    landed = table.land(other, lease_id="second", status=Status.ACTIVE, due_at=NOW)

    assert (landed.suspected, landed.verdict) == (suspect, Verdict.BAD)


# ── settling ─────────────────────────────────────────────────────────────────────────────────────


def settle(table: Connections, held: Connection, *, settled: bool, **how: Any) -> None:
    fields: dict[str, Any] = {
        "due_at": NOW + 700,
        "failures": 1,
        "event": "refresh_deferred",
        "now": NOW + 601,
    }
    table.settle(held, settled=settled, **fields | how)


def test_settling_ends_the_lease_and_uncounts_an_attempt_that_changed_nothing(
    table: Connections,
) -> None:
    active(table)
    settle(table, claim(table), settled=True)

    row = table.get(ID)
    assert (row.lease, row.unsettled, row.failures, row.due_at) == (None, 0, 1, NOW + 700)


def test_an_attempt_of_unknown_outcome_stays_counted(table: Connections) -> None:
    active(table)
    settle(table, claim(table), settled=False)

    assert (table.get(ID).unsettled, table.get(ID).lease) == (1, None)


def test_nobody_settles_what_another_attempt_holds(table: Connections) -> None:
    active(table)
    held = claim(table)
    claim(table, "third", now=NOW + 755)
    before = table.get(ID)

    settle(table, held, settled=True)

    assert table.get(ID) == before


def test_settling_keeps_a_disconnect_due_at_once(table: Connections) -> None:
    active(table)
    held = claim(table)
    table.ask_revoke(ID, now=NOW + 601)

    settle(table, held, settled=True)

    row = table.get(ID)
    assert (row.status, row.due_at, row.lease) == (Status.REVOKE_PENDING, NOW + 601, None)


def test_a_suspicion_is_of_one_generation(table: Connections) -> None:
    active(table)
    suspect = Suspect(generation=1, reason=Reason.GRANT_DEAD, since=NOW, streak_since=None, looks=7)
    settle(table, claim(table), settled=True, suspect=suspect)
    assert table.get(ID).suspected == suspect
    assert table.get(ID).degraded is Degraded.SUSPECT
    assert table.of_subject("ada").connections[0].degraded is Degraded.SUSPECT

    claim(table, "third", now=NOW + 700)
    table.land(landing(2), lease_id="third", status=Status.ACTIVE, due_at=NOW + 900)

    assert (table.get(ID).suspected, table.get(ID).degraded) == (None, None)


def test_a_verdict_and_a_refused_bearer_are_noted_for_the_generation_seen_alone(
    table: Connections,
) -> None:
    seen = active(table)
    table.judge(seen, Verdict.OK)
    table.note_refused(seen)
    row = table.get(ID)
    assert (row.verdict, row.refused, row.proved_at) == (Verdict.OK, 1, None)

    claim(table)
    landed = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)
    table.judge(seen, Verdict.BAD)
    table.note_refused(seen)
    table.note_proof(seen, now=NOW)
    assert table.get(ID) == landed


def test_data_access_is_refused_until_a_generation_passes_that_nobody_refuses(
    table: Connections,
) -> None:
    table.note_proof(next_generation(table, active(table)), now=NOW + 7)
    row = table.get(ID)
    assert (row.refused, row.proved_at) == (1, NOW + 7)
    assert row.degraded is Degraded.DATA_ACCESS_REFUSED
    assert table.of_subject("ada").connections[0].degraded is Degraded.DATA_ACCESS_REFUSED

    assert next_generation(table, row).degraded is None


def next_generation(table: Connections, row: Connection) -> Connection:
    claim(table, f"lease-{row.generation}", generation=row.generation)
    return table.land(
        landing(row.generation + 1),
        lease_id=f"lease-{row.generation}",
        status=Status.ACTIVE,
        due_at=NOW + 900,
    )


def test_being_asked_for_brings_the_due_time_forward_never_back(table: Connections) -> None:
    seen = active(table)

    table.make_due(seen, due_at=NOW + 500, asked_at=NOW + 1)
    assert (table.get(ID).asked_at, table.get(ID).due_at) == (NOW + 1, NOW + 500)

    table.make_due(table.get(ID), due_at=NOW + 550, asked_at=NOW + 2)
    assert (table.get(ID).asked_at, table.get(ID).due_at) == (NOW + 1, NOW + 500)


def test_a_row_is_made_due_where_it_is_as_it_was_seen_and_nobody_claims_it(
    table: Connections,
) -> None:
    seen = active(table)
    table.make_due(seen, due_at=NOW + 700)
    assert table.get(ID) == seen  # it is due before that

    table.make_due(seen, due_at=NOW + 5)
    assert table.get(ID).due_at == NOW + 5

    held = claim(table)
    table.make_due(seen, due_at=NOW)
    assert table.get(ID) == held

    settle(table, held, settled=True)
    table.make_due(seen, due_at=NOW)
    assert table.get(ID).due_at == NOW + 700  # it backs off


# ── between the two writes of a late landing ─────────────────────────────────────────────────────


class Interrupted:
    """A client that lets something happen once, just before its n-th update."""

    def __init__(self, client: Any, *, before_update: int, act: Callable[[], object]) -> None:
        self._client, self._left, self._act = client, before_update, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **how: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._act()
        return self._client.update_item(**how)


def test_a_set_that_lands_late_does_not_land_over_one_that_came_in_between(world: World) -> None:
    table = world.broker.connections
    active(table)
    claim(table, "slow")
    claim(table, "quick", now=NOW + 755)

    def another_lands() -> None:
        quick = landing(2, attempt_id="quick", sealed=b"quick")
        table.land(quick, lease_id="quick", status=Status.ACTIVE, due_at=NOW + 900)

    client: Any = Interrupted(world.aws.dynamodb, before_update=2, act=another_lands)
    rows = DynamoRows(client, f"{world.prefix}-connections")
    interrupted = Connections(
        rows, clock=world.clock, new_secret=lambda: LOGIN_KEY, record=unrecorded
    )
    with pytest.raises(UpstreamUnavailable):
        interrupted.land(landing(2), lease_id="slow", status=Status.ACTIVE, due_at=NOW)

    assert table.get(ID).sealed == b"quick"
