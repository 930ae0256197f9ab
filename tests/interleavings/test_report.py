"""What `make faults` writes: the figures and what is lost first, every cell in a file beside it."""

from __future__ import annotations

import csv

import pytest

from tests.interleavings import report
from tests.interleavings.cuts import Fault
from tests.interleavings.endings import DIALECTS, Cell, Cut, Verdict
from tests.interleavings.report import OURS, PLAIN, Found, Losses

READ = Cut(0, "connections.claim", Fault.KILLED_BEFORE)
SENT = Cut(1, "token_endpoint.refresh", Fault.KILLED_AFTER)
CUT_OFF = Cut(1, "token_endpoint.refresh", Fault.CUT_OFF_AFTER)


def cell(cut: Cut, verdict: Verdict, *, case: str = "refresh", dialect: str = "gen1") -> Cell:
    return Cell(case, dialect, cut, verdict, ())


def found(cells: list[Cell], *, pairs: tuple[Cell, ...] = ()) -> Found:
    ends: dict[tuple[str, int | None, str], str] = {
        (fault, 1, dialect): "ACTIVE (13, 0)" for fault in ("slow", "html") for dialect in DIALECTS
    }
    ends["slow", 1, "gen1"] = "lost, and suspect (7, 6)"
    none = [Losses(0, 1, 0) for _ in DIALECTS]
    return Found(cells, [*pairs], ends, {PLAIN: none, OURS: none}, {})


def test_the_page_opens_with_its_figures_and_with_what_is_lost() -> None:
    page = report.page(found([cell(READ, Verdict.BY_RETRY), cell(SENT, Verdict.NEVER_ARRIVED)]))
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert "| calls cut, in four dialects | 2 |" in page.partition("## ")[0]
    assert headings[0] == "## What is lost, and why"


def test_a_lost_call_is_one_row_for_all_flows_and_faults_that_lose_it_alike() -> None:
    cells = [
        cell(cut, Verdict.NEVER_ARRIVED, case=case, dialect=dialect)
        for case in ("refresh", "renewal")
        for cut in (SENT, CUT_OFF)
        for dialect in DIALECTS
    ]
    rows = [line for line in report.page(found(cells)).splitlines() if "`token_endpoint" in line]
    cut = "killed after; cut off, with effect"
    assert rows == [f"| `token_endpoint.refresh` | {cut} | all | A | refresh; renewal |"]


def test_what_is_lost_in_one_dialect_names_it() -> None:
    page = report.page(
        found([cell(SENT, Verdict.NEVER_ARRIVED), cell(SENT, Verdict.KEPT, dialect="gen2-grace")])
    )
    assert "| `token_endpoint.refresh` | killed after | gen1 | A | refresh |" in page


def test_the_data_file_has_every_cell_once() -> None:
    cells = [cell(cut, Verdict.KEPT, dialect=one) for cut in (READ, SENT) for one in DIALECTS[:2]]
    first, second = csv.DictReader(report.grid(cells).splitlines())
    assert [first["call"], second["call"]] == ["connections.claim", "token_endpoint.refresh"]
    assert [first[one] for one in DIALECTS] == ["k", "k", "", ""]


def test_misbehaviours_that_end_nobody_stand_in_their_data_file_alone() -> None:
    some = found([cell(READ, Verdict.KEPT)])
    assert "| slow once |" in report.page(some)
    assert "html once" not in report.page(some)
    assert "html once" in report.misbehaviours(some.ends)


@pytest.mark.parametrize("verdict", [Verdict.KEPT, Verdict.RECOVERABLE])
def test_the_last_line_counts_what_was_lost_though_recoverable(verdict: Verdict) -> None:
    count = int(verdict is Verdict.RECOVERABLE)
    page = report.page(found([cell(READ, verdict)]))
    assert page.splitlines()[-1] == f"lost though recoverable: {count}"


def test_a_pair_of_faults_that_loses_what_the_first_alone_keeps_is_counted() -> None:
    pair = Cell("refresh", "gen1", READ, Verdict.ONLY_COPY, (), SENT)
    page = report.page(found([cell(READ, Verdict.BY_RETRY)], pairs=(pair,)))
    assert "| refresh | 1 | 1 | 1 |" in page
    assert "| lost to a pair of faults | 1 |" in page
