"""Every step of every flow, cut in every way: what is left is kept, or lost for a stated reason."""

from __future__ import annotations

import pytest

from tests.interleavings.endings import DIALECTS, Verdict, cells_of
from tests.interleavings.flows import CASES, Case


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost_that_could_be_kept(case: Case, dialect: str) -> None:
    wrong = [
        f"{cell.step} ({cell.place}) {cell.fault}: {cell.verdict} {cell.complaints}"
        for cell in cells_of(case, dialect)
        if cell.verdict is Verdict.RECOVERABLE or cell.complaints
    ]
    assert wrong == []
