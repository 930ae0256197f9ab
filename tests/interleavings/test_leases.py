"""The table of what a killed holder costs stands in the decisions as it is measured."""

from __future__ import annotations

from pathlib import Path

from tests.interleavings.leases import table

DECISIONS = Path(__file__).parents[2] / "docs" / "decisions.md"


def test_what_a_longer_lease_costs_is_measured_as_the_decisions_say() -> None:
    assert "\n".join(table()) in DECISIONS.read_text()
