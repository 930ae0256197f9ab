"""docs/scaling.md shows what `make simulate` has kept, with figures that are in force."""

from __future__ import annotations

import pytest

from simulation import cost, sizing
from simulation.cells import simulate
from simulation.page import (
    PAGE,
    PLOT,
    TROUBLES,
    kept,
    real_run,
    tables,
    the_same_simulated,
)
from simulation.parts import GRID, LIVES
from simulation.sizing import Load
from simulation.stack import CALL_LASTS, RUN_LASTS, Parameters
from tests.readme.test_figures import README, default, timeout
from tests.readme.test_readme import TEMPLATE

TEXT, RESULTS = PAGE.read_text(), kept()
TABLES = tables(RESULTS)
PARAMETERS = {
    "rate": "RateLimitPerSecond",
    "lanes": "Lanes",
    "threads": "RefreshThreads",
    "memory": "RefreshMemory",
    "margin": "RefreshMarginSeconds",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_was_simulated_with_this_version(name: str) -> None:
    assert f"<!-- {name} -->\n{TABLES[name]}<!-- end -->" in TEXT


def test_every_cell_was_simulated() -> None:
    assert len(RESULTS["grid"]) == len(GRID)


def test_no_bearer_expires_in_use_on_a_stack_that_was_sized_for_its_load() -> None:
    assert [one for one in RESULTS["grid"] if one["stale_share"] > 0.001] == []


def test_the_plot_names_every_life_and_trouble() -> None:
    drawn = PLOT.read_text()

    for name in (*(f"{name} hot" for name in LIVES.values()), *TROUBLES):
        assert f">{name}<" in drawn


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_simulated_stack_has_the_templates_defaults(name: str) -> None:
    assert getattr(Parameters(), name) == default(PARAMETERS[name])


def test_functions_end_when_the_template_ends_them() -> None:
    assert (timeout("Refresh"), timeout("Token")) == (RUN_LASTS, CALL_LASTS)


def test_the_apis_throttle_is_the_templates() -> None:
    assert TEMPLATE["Parameters"]["ApiRateLimit"]["Default"] == sizing.API_THROTTLE


def test_the_highest_rate_is_the_templates() -> None:
    assert TEMPLATE["Parameters"]["RateLimitPerSecond"]["MaxValue"] == sizing.MOST_RATE


def test_a_fleet_in_use_on_the_local_stack_did_what_its_simulation_did() -> None:
    real, simulated = real_run(), the_same_simulated(RESULTS)

    assert simulated["refreshes a second"] == pytest.approx(real["refreshes a second"], rel=0.05)
    assert simulated["longest wait, s"] == pytest.approx(real["longest wait, s"], abs=2)
    assert simulated["callers who waited"] == pytest.approx(real["callers who waited"], abs=0.01)


def test_a_refresh_takes_so_many_units_of_the_due_index() -> None:
    each = simulate(Load(connections=200, life=900, use="hot"), Parameters(), lasts=1_800).each

    assert each.due_writes == pytest.approx(sizing.DUE_UNITS, rel=0.05)


def test_what_an_idle_stack_costs_is_what_readme_says() -> None:
    for dollars in ("KMS key $1.00", "secret $0.40", "8 alarms $0.80", "$0.22"):
        assert dollars in README
    assert pytest.approx(1.00 + 0.40 + 0.80 + 0.22) == cost.FIXED


def test_units_beyond_a_step_cost_what_that_step_says() -> None:
    api = cost.PRICES["api"]

    assert api.of(1_000_000_000) == pytest.approx(333 * 3.50 + 667 * 2.80)
