"""`make mutants` finds every guard where it looks for it."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.guards import GUARDS, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_once_where_it_is_looked_for_and_can_be_switched_off(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text()

    assert text.count(guard.on) == 1
    ast.parse(text.replace(guard.on, guard.off))
