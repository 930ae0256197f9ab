"""docs/akoya-sandbox.md names everything the sandbox offers."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from local.akoya_sandbox.dialects import DIALECTS
from local.akoya_sandbox.faults import FAULTS, Fault
from local.akoya_sandbox.provider import EXPIRIES, AkoyaProvider
from local.akoya_sandbox.server import create_app
from local.akoya_sandbox.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "akoya-sandbox.md").read_text()


@pytest.mark.parametrize(
    "name", [*DIALECTS, *EXPIRIES, *(setting.name for setting in fields(Settings))]
)
def test_dialects_expiries_and_settings_are_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_each_fault_is_on_the_page_as_in_the_table(fault: Fault) -> None:
    row = f"| `{fault.name}` | {fault.meaning} | {', '.join(fault.on)} |"
    assert row in PAGE


def test_each_route_of_an_app_is_on_the_page(provider: AkoyaProvider) -> None:
    data = {"<product>": "balances", "<connector>": "{connector}", "/<about>": "/{accountId}"}
    for rule in create_app(provider).url_map.iter_rules():
        path = rule.rule
        if "<product>" in path and "<about>" in path:
            path = path.replace("<product>", "transactions")
        for name, value in data.items():
            path = path.replace(name, value)
        if not path.startswith(("/admin/", "/static/", "/auth/")):
            assert path in PAGE, path


def test_each_admin_route_is_on_the_page(provider: AkoyaProvider) -> None:
    rules = [rule.rule for rule in create_app(provider).url_map.iter_rules()]

    admin = {rule for rule in rules if rule.startswith("/admin/")}
    assert admin
    assert [rule for rule in admin if rule not in PAGE] == []
