"""Which incidents are slow: those of a fleet of thousands."""

from __future__ import annotations

import pytest

SLOW_FROM = 1_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        size = item.callspec.params.get("size") if hasattr(item, "callspec") else None
        if isinstance(size, int) and size >= SLOW_FROM:
            item.add_marker("slow")
