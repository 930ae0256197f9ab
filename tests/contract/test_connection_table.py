"""What every connections table must do: which condition guards which write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.rows import (
    HOME,
    ID,
    NOW,
    OTHER,
    active,
    claim,
    landing,
    linking,
    owner_id,
    unrecorded,
)
from tests.wiring import LOGIN_KEY
from tests.world import World
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.connection import (
    Connection,
    Degraded,
    Lease,
    Owner,
    Reason,
    Status,
    Suspect,
)
from token_broker.domain.errors import (
    AlreadyConnected,
    ConfirmationInvalid,
    ConnectionGone,
    ConnectionNotFound,
    NotConfirmed,
    RefreshInProgress,
    StaleGeneration,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.refresh_policy import CLOCK_SKEW, CONFIRM_WITHIN
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.store.connections import Connections


@pytest.fixture
def table(any_world: World) -> Connections:
    return any_world.broker.connections


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

    found = table.of_subject("ada")

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
    assert table.of_subject("ada")[0].degraded is Degraded.SUSPECT

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
    assert table.of_subject("ada")[0].degraded is Degraded.DATA_ACCESS_REFUSED

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


def coming(connection_id: str = ID) -> Connection:
    """Return an active connection that was never here."""
    return linking(
        id=connection_id,
        status=Status.ACTIVE,
        generation=1,
        sealed=b"sealed",
        login="login",
        issued_at=NOW,
        iat=NOW,
        expires_at=NOW + 900,
        lease=None,
        unsettled=0,
        confirmation_hash=None,
    )


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


# ── the owner of a login ─────────────────────────────────────────────────────────────────────────


def two_links_of_one_login(table: Connections) -> Connection:
    """Let ID own the login, and OTHER await its confirmation."""
    first = active(table)
    table.own(first, owner=None, now=NOW)
    table.create(linking(id=OTHER))
    return table.land(
        landing(connection_id=OTHER),
        lease_id="first",
        status=Status.PENDING_CONFIRMATION,
        due_at=NOW + 900,
    )


def confirm_other(table: Connections, *, owner: Owner | None, now: int = NOW + 1) -> Connection:
    return table.confirm(
        OTHER, subject="ada", confirmation_hash="hash", owner=owner, due_at=NOW + 60, now=now
    )


def test_a_login_has_the_owner_that_is_written_last(table: Connections) -> None:
    assert table.owner_of("login") is None
    row = active(table)

    table.own(row, owner=None, now=NOW)
    table.own(row, owner=table.owner_of("login"), now=NOW)

    assert owner_id(table) == ID
    assert table.get(ID).status is Status.ACTIVE


def test_a_confirmation_takes_the_login_and_supersedes_its_owner(table: Connections) -> None:
    two_links_of_one_login(table)

    assert confirm_other(table, owner=table.owner_of("login")).status is Status.ACTIVE

    loser = table.get(ID)
    assert (loser.status, loser.reason, loser.lease) == (Status.SUPERSEDED, Reason.SUPERSEDED, None)
    assert loser.due_at == NOW + 1, "the schedule erases its set at once"
    assert owner_id(table) == OTHER
    assert confirm_other(table, owner=table.owner_of("login")).status is Status.ACTIVE


def test_an_owner_that_may_be_getting_tokens_is_not_superseded(table: Connections) -> None:
    two_links_of_one_login(table)
    claim(table)  # until NOW + 695

    with pytest.raises(StaleGeneration):
        confirm_other(table, owner=table.owner_of("login"), now=NOW + 694)

    assert table.get(ID).status is Status.ACTIVE
    assert table.get(OTHER).status is Status.PENDING_CONFIRMATION
    owner = table.owner_of("login")
    assert confirm_other(table, owner=owner, now=NOW + 695).status is Status.ACTIVE


def test_an_owner_with_other_tokens_than_it_was_judged_by_is_not_superseded(
    table: Connections,
) -> None:
    two_links_of_one_login(table)
    judged = table.owner_of("login")
    claim(table)
    table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 600)

    with pytest.raises(StaleGeneration):
        confirm_other(table, owner=judged)

    assert table.get(ID).sealed is not None


def test_only_an_idle_connection_is_superseded_as_it_was_seen(table: Connections) -> None:
    seen = active(table)
    claim(table)
    for stale in (seen, replace(seen, generation=2)):
        with pytest.raises(StaleGeneration):
            table.supersede(stale, now=NOW + 694)

    table.supersede(seen, now=NOW + 695)

    gone = table.get(ID)
    assert (gone.status, gone.due_at, gone.lease) == (Status.SUPERSEDED, NOW + 695, None)
    with pytest.raises(StaleGeneration):
        table.supersede(seen, now=NOW + 695)


def test_its_holder_may_supersede_a_link_by_the_connection_of_its_subject(
    table: Connections,
) -> None:
    pending = two_links_of_one_login(table)
    held = table.claim(
        OTHER,
        lease=Lease(id="run", until=NOW + 1_060),
        now=NOW + 900,
        due_at=NOW + 1_060,
        statuses={Status.PENDING_CONFIRMATION},
    )
    with pytest.raises(StaleGeneration):
        table.supersede(pending, by=ID, lease_id="another", now=NOW + 901)

    table.supersede(held, by=ID, lease_id="run", now=NOW + 901)

    row = table.get(OTHER)
    assert (row.status, row.superseded_by, row.keep_until) == (Status.SUPERSEDED, ID, None)
    assert row.sealed is not None
    assert owner_id(table) == ID


def test_a_link_whose_set_is_anothers_is_neither_confirmed_nor_revoked(table: Connections) -> None:
    pending = two_links_of_one_login(table)
    table.supersede(pending, by=ID, now=NOW + 1)

    with pytest.raises(AlreadyConnected) as answered:
        confirm_other(table, owner=table.owner_of("login"))
    assert answered.value.connection_id == ID
    assert table.ask_revoke(OTHER, now=NOW + 2).status is Status.SUPERSEDED


def test_nobody_is_confirmed_once_their_time_is_over(table: Connections) -> None:
    two_links_of_one_login(table)
    until = table.get(OTHER).keep_until
    assert until == NOW + 900 + CONFIRM_WITHIN

    with pytest.raises(ConnectionNotFound):
        confirm_other(table, owner=table.owner_of("login"), now=until - CLOCK_SKEW)

    assert table.get(OTHER).status is Status.PENDING_CONFIRMATION
    owner = table.owner_of("login")
    confirmed = confirm_other(table, owner=owner, now=until - CLOCK_SKEW - 1)
    assert (confirmed.status, confirmed.keep_until) == (Status.ACTIVE, None)


def test_nothing_moves_when_the_owner_is_another_by_now(table: Connections) -> None:
    two_links_of_one_login(table)

    with pytest.raises(StaleGeneration):
        confirm_other(table, owner=None)

    assert owner_id(table) == ID
    assert table.get(ID).status is Status.ACTIVE
    assert table.get(OTHER).status is Status.PENDING_CONFIRMATION


def test_a_set_that_lands_in_a_superseded_row_does_not_bring_it_back(
    table: Connections,
) -> None:
    two_links_of_one_login(table)
    claim(table)
    confirm_other(table, owner=table.owner_of("login"), now=NOW + 695)  # its lease is over

    landed = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW)

    assert (landed.status, landed.generation) == (Status.SUPERSEDED, 2)
    assert landed.due_at == landing(2).issued_at, "the schedule erases what came late, too"


def test_whoever_confirms_or_disconnects_gets_no_token_set_to_see(table: Connections) -> None:
    two_links_of_one_login(table)

    confirmed = confirm_other(table, owner=table.owner_of("login"))
    again = confirm_other(table, owner=table.owner_of("login"))

    assert table.get(OTHER).sealed is not None
    shown = (confirmed, again, table.ask_revoke(OTHER, now=NOW), table.ask_revoke(OTHER, now=NOW))
    assert {(one.sealed, one.confirmation_hash) for one in shown} == {(None, None)}


def test_a_rotation_keeps_the_name_of_its_consent(table: Connections) -> None:
    active(table)
    claim(table)
    rotated = table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 700)
    assert rotated.consent is None

    claim(table, "renewal", generation=2, ignore_back_off=True)
    table.land(
        landing(3, consent="renewal"), lease_id="renewal", status=Status.ACTIVE, due_at=NOW + 700
    )

    claim(table, "later", now=NOW + 700)
    later = table.land(landing(4), lease_id="later", status=Status.ACTIVE, due_at=NOW + 700)
    assert later.consent == "renewal"


def test_ending_twice_is_ending_once(table: Connections) -> None:
    active(table)
    held = claim(table)

    for _ in range(2):
        table.end(
            held, reason=Reason.GRANT_DEAD, due_at=NOW + 900, keep_until=NOW + 900, now=NOW + 600
        )

    assert table.get(ID).status is Status.REAUTH_REQUIRED


OTHERS = Identity(
    table_id="copy", environment="production", client_id="other", provider="https://idp.other"
)


def test_until_a_set_has_landed_the_table_is_whose_it_is_asked_for(table: Connections) -> None:
    assert table.recorded_identity(HOME) == replace(HOME, provider=None)
    assert table.recorded_identity(OTHERS) == replace(OTHERS, provider=None)
    table.create(linking())
    assert table.recorded_identity(HOME) == replace(HOME, provider=None)


@pytest.mark.parametrize("lands", ["a link", "an import"])
def test_the_first_set_that_lands_binds_the_table_and_everybody_else_is_told_so(
    table: Connections, lands: str
) -> None:
    table.recorded_identity(OTHERS)
    table.recorded_identity(HOME)
    if lands == "a link":
        active(table)
    else:
        table.bring_in(coming(), owner=None, now=NOW)

    assert table.recorded_identity(OTHERS) == HOME
    assert table.recorded_identity(HOME) == HOME
    claim(table, now=NOW + 900)
    table.land(landing(2), lease_id="second", status=Status.ACTIVE, due_at=NOW + 900)
    assert table.recorded_identity(HOME) == HOME


def test_a_set_that_does_not_land_binds_nothing(table: Connections) -> None:
    table.recorded_identity(HOME)
    table.create(linking())
    with pytest.raises(StaleGeneration):
        table.land(landing(7), lease_id="first", status=Status.ACTIVE, due_at=NOW)

    assert table.recorded_identity(OTHERS).provider is None


def test_an_operator_may_adopt_a_table_whosever_it_was(table: Connections) -> None:
    table.recorded_identity(HOME)
    active(table)

    table.adopt(OTHERS)

    assert table.recorded_identity(HOME) == OTHERS
    assert table.table_id() == table.table_id()


# ── the key of the logins ────────────────────────────────────────────────────────────────────────


def keyed(world: World, make: Callable[[], SecretText]) -> Connections:
    """Return the table as another process sees it, which would make this key."""
    rows = world.broker.connections._rows
    return Connections(rows, clock=world.clock, new_secret=make, record=unrecorded)


def test_two_first_writers_agree_on_one_key(any_world: World) -> None:
    first = keyed(any_world, lambda: SecretText("first"))

    def the_first_writes_in_between() -> SecretText:
        first.recorded_identity(HOME)
        return SecretText("second")

    second = keyed(any_world, the_first_writes_in_between)
    second.recorded_identity(HOME)

    assert second.login_key() == first.login_key() == SecretText("first")


def test_the_key_stays_through_correction_binding_and_adoption(any_world: World) -> None:
    keys = iter("abcdef")
    table = keyed(any_world, lambda: SecretText(next(keys)))
    table.recorded_identity(OTHERS)
    table.recorded_identity(HOME)
    active(table)
    table.adopt(OTHERS)

    assert table.recorded_identity(HOME) == OTHERS
    assert keyed(any_world, lambda: SecretText(next(keys))).login_key() == SecretText("a")


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
