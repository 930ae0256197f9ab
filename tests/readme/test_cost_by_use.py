"""README's table of refresh tokens a day is what the policy does, by life and by use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cadence import LIVES, every, idle, live, nightly

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("name", LIVES)
def test_a_line_of_the_cost_table_is_what_the_policy_spends(name: str) -> None:
    life = LIVES[name]
    spent = [
        live(life, idle, days=280),
        live(life, nightly, days=28),
        live(life, nightly, days=28, says_next_use=True),
        live(life, every(300), days=14),
    ]

    assert f"| {name} | {' | '.join(stated(one.a_day) for one in spent)} |" in README


def stated(a_day: float) -> str:
    return f"{a_day:.0f}" if a_day >= 10 else f"{a_day:.2g}"
