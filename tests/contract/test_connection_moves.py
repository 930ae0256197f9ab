"""What every connections table must do when a connection moves from one state to another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.rows import HOME, ID, NOW, active, claim, coming, landing, linking, owner_id
from token_broker.domain.connection import Connection, Lease, Reason, Status
from token_broker.domain.errors import (
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    StaleGeneration,
)
from token_broker.store.connections import Connections

# ── moves ────────────────────────────────────────────────────────────────────────────────────────


def test_only_its_subject_with_its_confirmation_confirms_a_connection(
    table: Connections,
) -> None:
    def confirm(**wrong: str) -> Connection:
        right = {"subject": "ada", "confirmation_hash": "hash"}
        return table.confirm(ID, owner=None, due_at=NOW + 60, now=NOW + 1, **right | wrong)

    table.create(linking())
    with pytest.raises(NotConfirmed):
        confirm()
    table.land(landing(), lease_id="first", status=Status.PENDING_CONFIRMATION, due_at=NOW + 900)
    for wrong in ({"subject": "eve"}, {"confirmation_hash": "guess"}):
        with pytest.raises(ConfirmationInvalid):
            confirm(**wrong)
    assert table.get(ID).status is Status.PENDING_CONFIRMATION

    first = confirm()
    assert (first.status, first.due_at) == (Status.ACTIVE, NOW + 60)
    assert confirm() == first

    table.ask_revoke(ID, now=NOW)
    with pytest.raises(ConnectionGone):
        confirm()


def test_an_end_needs_the_lease_and_the_generation(table: Connections) -> None:
    row = active(table)
    with pytest.raises(StaleGeneration):
        table.end(
            row, reason=Reason.GRANT_DEAD, due_at=NOW + 9_000, keep_until=NOW + 9_000, now=NOW
        )

    held = claim(table)
    table.end(
        held, reason=Reason.GRANT_DEAD, due_at=NOW + 700, keep_until=NOW + 9_000, now=NOW + 600
    )

    ended = table.get(ID)
    assert (ended.status, ended.reason, ended.lease, ended.sealed) == (
        Status.REAUTH_REQUIRED,
        Reason.GRANT_DEAD,
        None,
        b"sealed",
    )
    assert (ended.due_at, ended.keep_until) == (NOW + 700, NOW + 9_000)


def test_a_disconnect_may_be_asked_for_again_and_a_tombstone_stays_one(
    table: Connections,
) -> None:
    active(table)
    first = table.ask_revoke(ID, now=NOW + 1)
    assert (first.status, first.due_at) == (Status.REVOKE_PENDING, NOW + 1)
    assert first.keep_until == NOW + 1
    assert table.ask_revoke(ID, now=NOW + 2) == first

    table.mark_revoked(claim(table), gone_at=NOW + 99_000, now=NOW + 600, event="revoke_unproven")
    tombstone = table.ask_revoke(ID, now=NOW + 700)
    assert (tombstone.status, tombstone.last_event) == (Status.REVOKED, "revoke_unproven")


def test_a_tombstone_holds_nothing_but_the_fact(table: Connections) -> None:
    active(table)
    table.mark_revoked(claim(table), gone_at=NOW + 99_000, now=NOW + 600)

    row = table.get(ID)
    assert row == Connection(
        id=ID,
        subject="ada",
        connector="mikomo",
        status=Status.REVOKED,
        generation=1,
        linked_at=NOW,
        updated_at=NOW + 600,
        last_event="revoked",
    )
    assert table.due(now=NOW + 10_000, limit=9) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda table, row: table.mark_revoked(row, gone_at=NOW + 99_000, now=NOW),
        lambda table, row: table.erase_token_set(row, gone_at=NOW + 99_000, now=NOW),
        lambda table, row: table.end(
            row, reason=Reason.GRANT_DEAD, due_at=NOW, keep_until=NOW, now=NOW
        ),
    ],
)
def test_nothing_is_erased_without_the_lease(
    table: Connections, act: Callable[[Connections, Connection], None]
) -> None:
    active(table)
    old = claim(table)
    claim(table, "third", now=NOW + 755)
    before = table.get(ID)

    with pytest.raises(StaleGeneration):
        act(table, old)
    assert table.get(ID) == before


def test_erasing_the_set_keeps_the_row(table: Connections) -> None:
    active(table)
    table.erase_token_set(claim(table), gone_at=NOW + 99_000, now=NOW + 600)

    row = table.get(ID)
    assert (row.sealed, row.lease, row.due_at, row.status) == (None, None, None, Status.ACTIVE)
    assert table.due(now=NOW + 99_000, limit=9) == []


def test_a_row_is_deleted_only_under_its_lease_and_before_a_set_has_landed(
    table: Connections,
) -> None:
    table.create(linking())
    table.delete(linking(lease=Lease(id="other", until=NOW)))
    assert table.get(ID).generation == 0

    table.land(landing(), lease_id="lost", status=Status.PENDING_CONFIRMATION, due_at=NOW)
    table.delete(linking())
    assert table.get(ID).generation == 1


def test_what_was_confirmed_meanwhile_is_not_deleted(table: Connections) -> None:
    table.create(linking())
    table.land(landing(), lease_id="first", status=Status.PENDING_CONFIRMATION, due_at=NOW)
    held = claim(table)
    table.confirm(
        ID, subject="ada", confirmation_hash="hash", owner=None, due_at=NOW + 900, now=NOW + 1
    )

    table.delete(held)

    assert table.get(ID).status is Status.ACTIVE


def test_a_deleted_row_is_gone(table: Connections) -> None:
    table.create(linking())
    table.delete(linking())

    with pytest.raises(ConnectionNotFound):
        table.get(ID)


def ended(table: Connections) -> Connection:
    """Add a connection that was ended; its set is kept for a while."""
    active(table)
    table.end(
        claim(table),
        reason=Reason.GRANT_DEAD,
        due_at=NOW + 9_000,
        keep_until=NOW + 9_000,
        now=NOW + 600,
    )
    return table.get(ID)


def test_an_end_says_until_when_the_set_is_kept_and_a_new_one_forgets_it(
    table: Connections,
) -> None:
    assert ended(table).keep_until == NOW + 9_000

    claim(table, "renewal", generation=1, ignore_back_off=True)
    renewed = table.land(landing(2), lease_id="renewal", status=Status.ACTIVE, due_at=NOW + 900)

    assert (renewed.status, renewed.reason, renewed.keep_until) == (Status.ACTIVE, None, None)


def test_an_end_is_undone_while_the_set_is_there_and_nobody_renews_it(
    table: Connections,
) -> None:
    seen = ended(table)
    claim(table, "renewal", generation=1, ignore_back_off=True)
    with pytest.raises(StaleGeneration):
        table.reinstate(seen, now=NOW + 600)

    back = table.reinstate(seen, now=NOW + 695)

    assert back == table.get(ID)
    assert (back.status, back.reason, back.suspect, back.due_at, back.keep_until) == (
        Status.ACTIVE,
        None,
        None,
        NOW + 695,
        None,
    )
    with pytest.raises(StaleGeneration):
        table.reinstate(seen, now=NOW + 695)


def test_an_end_is_not_undone_once_the_set_is_erased(table: Connections) -> None:
    seen = ended(table)
    held = claim(table, "erases", now=NOW + 9_000)
    table.erase_token_set(held, gone_at=NOW + 99_000, now=NOW + 9_000)

    with pytest.raises(StaleGeneration):
        table.reinstate(seen, now=NOW + 9_100)


def test_what_comes_in_owns_its_login_from_the_start(table: Connections) -> None:
    table.bring_in(coming(), owner=None, now=NOW)

    assert table.get(ID) == coming()
    assert owner_id(table) == ID
    assert table.due(now=NOW + 900, limit=9) == [(ID, NOW + 900, "mikomo")]
    for other in (coming(), coming("d" * 32)):
        with pytest.raises(StaleGeneration):
            table.bring_in(other, owner=None, now=NOW)
    with pytest.raises(ConnectionNotFound):
        table.get("d" * 32)


def test_what_comes_in_supersedes_the_owner_it_was_told_of(table: Connections) -> None:
    table.bring_in(coming(), owner=None, now=NOW)

    table.bring_in(coming("d" * 32), owner=table.owner_of("login"), now=NOW)

    assert owner_id(table) == "d" * 32
    assert (table.get(ID).status, table.get(ID).due_at) == (Status.SUPERSEDED, NOW)


def test_every_row_of_a_connection_is_read_without_its_token_set(table: Connections) -> None:
    table.recorded_identity(HOME)
    table.bring_in(coming(), owner=None, now=NOW)
    table.create(linking(id="e" * 32))

    assert {(one.id, one.sealed) for one in table.every()} == {(ID, None), ("e" * 32, None)}
