"""What every table of attempts to connect must do: single use is a conditional write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.world import World
from token_broker.domain.authorization import Authorization, Progress, Result, StoredOpening
from token_broker.domain.connection import Lease
from token_broker.store.authorizations import Authorizations

NOW = 1_800_000_000
ROW = Authorization(
    id="f" * 64,
    connection_id="c" * 32,
    subject="ada",
    connector="mikomo",
    return_to="https://app.example/return",
    redirect_uri="https://broker.example/callback",
    expires_at=NOW + 900,
    openings={},
)
OPENING = StoredOpening(cookie_hash="c", sent_pkce=True)
FIRST, SECOND = Lease(id="first", until=NOW + 95), Lease(id="second", until=NOW + 95)
DECLINED = Result(status="declined", connection_id="c" * 32, error="access_denied")


@pytest.fixture
def table(any_world: World) -> Authorizations:
    table = any_world.finishing.authorizations
    table.create(ROW)
    return table


def test_a_row_reads_as_it_was_written(table: Authorizations) -> None:
    assert table.get(ROW.id) == ROW
    assert table.get("0" * 64) is None


def test_openings_are_added_while_open_in_time_and_below_the_most(
    table: Authorizations,
) -> None:
    def opened(state: str, *, now: int = NOW) -> bool:
        return table.add_opening(ROW.id, state_hash=state, opening=OPENING, now=now, most=2)

    assert not opened("late", now=NOW + 900)
    assert opened("one")
    assert opened("two")
    assert not opened("three")
    row = table.get(ROW.id)
    assert row is not None
    assert row.openings == {"one": OPENING, "two": OPENING}


def test_an_unknown_row_is_not_opened_into_being(table: Authorizations) -> None:
    assert not table.add_opening("0" * 64, state_hash="s", opening=OPENING, now=NOW, most=2)
    assert table.get("0" * 64) is None


def test_one_attempt_wins_the_exchange(table: Authorizations) -> None:
    assert table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)
    assert not table.begin_exchange(ROW.id, attempt=SECOND, now=NOW)
    assert table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)  # the same, delivered twice
    assert not table.add_opening(ROW.id, state_hash="s", opening=OPENING, now=NOW, most=2)


def test_nobody_exchanges_when_the_time_is_over(table: Authorizations) -> None:
    assert not table.begin_exchange(ROW.id, attempt=FIRST, now=NOW + 900)


def test_only_the_winner_reopens(table: Authorizations) -> None:
    table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)

    table.reopen(ROW.id, attempt=SECOND)
    assert not table.begin_exchange(ROW.id, attempt=SECOND, now=NOW)

    table.reopen(ROW.id, attempt=FIRST)
    assert table.begin_exchange(ROW.id, attempt=SECOND, now=NOW)


def test_an_attempt_that_died_before_it_sent_anything_is_followed_by_another(
    table: Authorizations,
) -> None:
    table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)

    assert not table.begin_exchange(ROW.id, attempt=SECOND, now=NOW + 94)
    assert table.begin_exchange(ROW.id, attempt=SECOND, now=NOW + 95)
    assert not table.mark_sent(ROW.id, attempt=FIRST)


def test_an_attempt_that_may_have_sent_the_code_is_followed_by_none(
    table: Authorizations,
) -> None:
    table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)

    assert not table.mark_sent(ROW.id, attempt=SECOND)
    assert table.mark_sent(ROW.id, attempt=FIRST)
    assert table.mark_sent(ROW.id, attempt=FIRST)  # the same, delivered twice
    for attempt in (FIRST, SECOND):
        assert not table.begin_exchange(ROW.id, attempt=attempt, now=NOW + 95)

    table.reopen(ROW.id, attempt=FIRST)
    assert table.begin_exchange(ROW.id, attempt=SECOND, now=NOW)


def test_the_first_result_stands(table: Authorizations) -> None:
    table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)
    active = Result(status="active", connection_id="c" * 32, previous_connection_id="d" * 32)

    assert table.finish(ROW.id, result=active, finished_by="one") == active
    assert table.finish(ROW.id, result=DECLINED, finished_by="two") == active

    row = table.get(ROW.id)
    assert row is not None
    assert (row.progress, row.result, row.finished_by) == (Progress.DONE, active, "one")
    assert not table.begin_exchange(ROW.id, attempt=FIRST, now=NOW)


def test_a_subject_has_so_many_open_attempts_each_until_it_expires_or_ends(
    table: Authorizations,
) -> None:
    def attempt(number: int, *, subject: str = "ada", at: int = NOW) -> int | None:
        row = replace(ROW, id=f"{number:064x}", subject=subject, expires_at=at + 900)
        return table.reserve(row, now=at, most=2)

    assert attempt(1) is None
    assert attempt(2, at=NOW + 5) is None
    assert attempt(2, at=NOW + 5) is None  # the same, delivered twice
    assert attempt(3, at=NOW + 6) == NOW + 900
    assert attempt(3, subject="grace", at=NOW + 6) is None

    table.vacate(replace(ROW, id=f"{1:064x}"))
    table.vacate(replace(ROW, id=f"{1:064x}"))  # the same, delivered twice
    assert attempt(4, at=NOW + 7) is None
    assert attempt(5, at=NOW + 8) == NOW + 905
    assert attempt(5, at=NOW + 905) is None


def test_an_attempt_nobody_counted_is_vacated_without_a_trace(table: Authorizations) -> None:
    table.vacate(replace(ROW, subject="nobody"))
    assert table.reserve(replace(ROW, subject="nobody"), now=NOW, most=1) is None
