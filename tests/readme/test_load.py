"""docs/performance.md shows what `make load` and `make lanes` have kept."""

from __future__ import annotations

from benchmarks.load import page, report

PAGE = page.PAGE.read_text()


def test_the_tables_are_what_was_measured_of_this_version() -> None:
    assert page.table(report.kept("load")) + "\n" in PAGE
    assert page.table_of_lanes(report.kept("lanes")) + "\n" in PAGE


def test_the_run_that_is_shown_kept_its_promises() -> None:
    seen = report.kept("load")["verdict"]

    assert seen["handed_out_expired"] == 0
    assert seen["refused"] == {}
    assert seen["bearers_expired_in_use"] == 0
    assert seen["idle_lives"] == 0
    assert seen["rotations_of_idle_bearers"] == 0
    assert seen["rotations_before_due"] == 0
    assert seen["refused_by_the_bank"] == 0
