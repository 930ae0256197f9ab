"""What every connections table must do when it is read and when an attempt claims a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.rows import ID, NOW, active, claim, landing, linking
from token_broker.domain.connection import Lease, Reason, Status, Suspect
from token_broker.domain.errors import (
    ConnectionNotFound,
    RefreshInProgress,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.store.connections import Connections

# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_row_is_not_found(table: Connections) -> None:
    for read in (table.get, table.look):
        with pytest.raises(ConnectionNotFound):
            read(ID)


def test_a_row_reads_as_it_was_written(table: Connections) -> None:
    row = active(table)

    assert table.get(ID) == row
    assert (row.status, row.generation, row.sealed, row.due_at) == (
        Status.ACTIVE,
        1,
        b"sealed",
        NOW + 600,
    )


def test_a_look_shows_everything_but_the_token_set(table: Connections) -> None:
    row = active(table)

    assert table.look(ID) == replace(row, sealed=None, confirmation_hash=None)


def test_a_subjects_connections_are_listed_newest_first_without_token_sets(
    table: Connections,
) -> None:
    table.create(linking(id="a" * 32, linked_at=NOW))
    table.create(linking(id="b" * 32, linked_at=NOW + 1))
    table.create(linking(id="d" * 32, subject="grace"))

    found = table.of_subject("ada").connections

    assert [one.id[0] for one in found] == ["b", "a"]
    assert [one.sealed for one in found] == [None, None]


def test_due_lists_what_is_due_oldest_first_and_no_more_than_asked(table: Connections) -> None:
    for place, due_in in enumerate((50, 10, 30, 20, 40)):
        table.create(linking(id=str(place) * 32, due_at=NOW + due_in))

    assert [one.due_at - NOW for one in table.due(now=NOW + 40, limit=3)] == [10, 20, 30]
    assert table.due(now=NOW + 9, limit=3) == []


def test_due_finds_what_other_connectors_have_due_behind_any_number_of_those_named(
    table: Connections,
) -> None:
    for place, connector in enumerate(("a", "a", "b", "a", "c", "a", "b")):
        table.create(linking(id=str(place) * 32, due_at=NOW + place, connector=connector))

    found = table.due(now=NOW + 9, limit=2, beside=("a", "x"))

    assert [(one.connector, one.due_at - NOW) for one in found] == [("b", 2), ("c", 4)]


def test_expiries_are_of_bearers_in_use_whose_refresh_is_due_by_then(
    table: Connections,
) -> None:
    def connection(name: str, **how: Any) -> None:
        made: dict[str, Any] = {
            "id": name * 32,
            "status": Status.ACTIVE,
            "asked_at": NOW,
            "expires_at": NOW + int(name),
            "due_at": NOW + 900,
        }
        table.create(linking(**made | how))

    connection("1")
    connection("2")
    connection("3", due_at=NOW + 901)
    connection("4", asked_at=NOW - 30 * 86_400)
    connection("5", asked_at=None)
    connection("6", status=Status.REAUTH_REQUIRED)
    connection("7", expires_at=None)
    connection(
        "8", suspect=Suspect(generation=0, reason=Reason.GRANT_DEAD, since=NOW, streak_since=NOW)
    )

    found = table.expiries(due_until=NOW + 900)

    assert sorted(found) == [NOW + 1, NOW + 2, NOW + 4]


# ── linking ──────────────────────────────────────────────────────────────────────────────────────


def test_a_linking_row_may_be_added_again_until_it_holds_a_set(table: Connections) -> None:
    table.create(linking())
    table.create(linking(lease=Lease(id="again", until=NOW + 200)))
    table.land(landing(), lease_id="again", status=Status.ACTIVE, due_at=NOW)

    with pytest.raises(StaleGeneration):
        table.create(linking())


# ── the lease ────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_takes_the_lease_and_counts_an_unsettled_attempt(table: Connections) -> None:
    active(table)

    held = claim(table)

    assert held == table.get(ID)
    assert (held.lease, held.unsettled, held.due_at) == (
        Lease(id="second", until=NOW + 695, since=NOW + 600),
        1,
        NOW + 755,
    )


def test_a_leased_row_cannot_be_claimed_until_the_lease_ends(table: Connections) -> None:
    active(table)
    claim(table)

    with pytest.raises(RefreshInProgress):
        claim(table, "third", now=NOW + 694, generation=1)
    assert claim(table, "third", now=NOW + 755).unsettled == 2


def test_claiming_twice_with_one_lease_is_claiming_once(table: Connections) -> None:
    active(table)

    assert claim(table) == claim(table)
    assert table.get(ID).unsettled == 1


def test_a_row_that_is_not_due_is_claimed_only_for_the_generation_it_holds(
    table: Connections,
) -> None:
    active(table)

    with pytest.raises(StaleGeneration):
        claim(table, now=NOW)
    with pytest.raises(StaleGeneration):
        claim(table, now=NOW, generation=2)
    assert claim(table, now=NOW, generation=1).lease is not None


def test_a_row_of_another_status_is_not_claimed(table: Connections) -> None:
    active(table)

    with pytest.raises(StaleGeneration):
        claim(table, generation=1, statuses={Status.REVOKE_PENDING})


def test_a_row_rests_after_a_failure_unless_it_is_due_or_renewed(table: Connections) -> None:
    active(table)
    held = claim(table)
    later = {"event": "refresh_deferred", "now": NOW + 600}
    table.settle(held, due_at=NOW + 700, settled=True, failures=1, **later)  # type: ignore[arg-type]

    with pytest.raises(UpstreamUnavailable) as resting:
        claim(table, "third", now=NOW + 610, generation=1)
    assert resting.value.retry_after == 90
    assert claim(table, "third", now=NOW + 610, generation=1, ignore_back_off=True).unsettled == 1
    assert claim(table, "fourth", now=NOW + 765).unsettled == 2


def test_a_claim_may_note_the_generation_whose_bearer_was_refused(table: Connections) -> None:
    active(table)

    assert claim(table, generation=1, rejected=True).rejected == 1


def test_a_claim_for_a_new_consent_forgets_a_rejection_of_the_old_one(
    table: Connections,
) -> None:
    active(table)
    table.note_proof(claim(table, generation=1, rejected=True), now=NOW + 601)

    renewal = claim(table, "renewal", now=NOW + 695, generation=1, ignore_back_off=True)

    assert (renewal.rejected, renewal.refused, renewal.proved_at) == (None, None, None)


def test_nobody_claims_an_unknown_row_into_being(table: Connections) -> None:
    with pytest.raises(ConnectionNotFound):
        claim(table)
    with pytest.raises(ConnectionNotFound):
        table.get(ID)
