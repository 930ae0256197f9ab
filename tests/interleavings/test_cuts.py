"""Every step of every flow, cut in every way: what is left is kept, or lost for a stated reason.

A request to Akoya is cut in every dialect. Any other call is cut in one, and the dialects take
turns; `make faults` cuts it in all. Two cuts in one flow are tried in a sample here.
"""

from __future__ import annotations

import pytest

from tests.interleavings.endings import DIALECTS, cells_of
from tests.interleavings.flows import CASES, Case
from tests.interleavings.pairs import PAIRED, pairs_of

EVERY = 11  # of the pairs; `make faults` tries them all


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost_that_could_be_kept(case: Case, dialect: str) -> None:
    wrong = [str(cell) for cell in cells_of(case, dialect, in_turn=True) if cell.is_wrong]
    assert wrong == []


@pytest.mark.parametrize("case", PAIRED, ids=lambda case: case.name)
def test_nothing_is_lost_to_two_faults_that_could_be_kept(case: Case) -> None:
    pairs = list(pairs_of(case, sample=slice(0, None, EVERY)))

    assert [str(cell) for cell in pairs if cell.is_wrong] == []
    assert any(cell.by_another for cell in pairs)
