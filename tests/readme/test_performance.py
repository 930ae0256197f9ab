"""docs/performance.md shows what `make bench` has kept, and the calls that a test counts."""

from __future__ import annotations

import pytest

from benchmarks import page
from tests.handlers.test_calls import BY_A_CALLER, FIRST_ASK, FRESH, REFRESHED

PAGE = page.PAGE.read_text()


def test_the_table_is_what_was_measured_of_this_version() -> None:
    assert page.table(page.kept()) + "\n" in PAGE


def test_the_plot_shows_each_row_of_the_table() -> None:
    drawn = page.PLOT.read_text()

    for row in page.kept():
        assert f">{page.label(row)}<" in drawn
        assert f">{row['median']:.2f}<" in drawn


@pytest.mark.parametrize(
    ("act", "calls"),
    [
        ("refresh by the schedule, a connection", len(REFRESHED) + 1),
        ("refresh by a caller, its hand-out included", len(BY_A_CALLER)),
        ("hand-out of a fresh bearer", len(FRESH)),
        ("the first one of a token set", len(FIRST_ASK)),
    ],
)
def test_the_page_states_the_calls_that_are_counted_on_the_wire(act: str, calls: int) -> None:
    assert f"| {act} | {calls} | " in PAGE
