"""What every connections table must do about whose a login is, whose the table, and their key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.contract.rows import (
    HOME,
    ID,
    NOW,
    OTHER,
    active,
    claim,
    coming,
    landing,
    linking,
    owner_id,
    unrecorded,
)
from tests.world import World
from token_broker.domain.connection import Connection, Lease, Owner, Reason, Status
from token_broker.domain.errors import AlreadyConnected, ConnectionNotFound, StaleGeneration
from token_broker.domain.identity import Identity
from token_broker.domain.refresh_policy import CLOCK_SKEW, CONFIRM_WITHIN
from token_broker.domain.secret_text import SecretText
from token_broker.store.connections import Connections

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
