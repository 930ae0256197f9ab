"""`make mutants` finds every guard where it looks for it, and switches off nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.guard import Guard
from tests.mutants.guards import GUARDS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_once_where_it_is_looked_for_and_can_be_switched_off(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text()

    assert ast.dump(ast.parse(guard.switched_off(text))) != ast.dump(ast.parse(text))


def test_no_two_guards_have_one_name() -> None:
    names = [guard.name for guard in GUARDS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("text", "on", "off", "without"),
    [
        ("if a and b:\n    c()", "a and b", "a", "if a:\n    c()"),
        ("x = (\n    a  # why\n    and b\n)", "a and b", "a", "x = a"),
        ("a()\nb()\nc()", "b()\nc()", "c()", "a()\nc()"),
        ("if a:\n    b()", "b()", "if b:\n    c()", "if a:\n    if b:\n        c()"),
        ("f(a, b=1)", "b=1", "b=2", "f(a, b=2)"),
        ("x = {1: a, 2: b}", "2: b", "2: a", "x = {1: a, 2: a}"),
    ],
)
def test_a_guard_is_found_however_its_function_is_written(
    text: str, on: str, off: str, without: str
) -> None:
    text, without = (
        f"def act():\n    {of.replace(chr(10), chr(10) + '    ')}" for of in (text, without)
    )
    guard = Guard("one", "store/some.py::act", on, off)

    assert ast.unparse(ast.parse(guard.switched_off(text))) == ast.unparse(ast.parse(without))


@pytest.mark.parametrize("text", ["def act():\n    a()\n    a()", "def other():\n    a()"])
def test_a_guard_that_stands_twice_or_not_at_all_is_not_switched_off(text: str) -> None:
    with pytest.raises(ValueError, match="stands"):
        Guard("one", "store/some.py::act", "a()", "b()").switched_off(text)
