"""The functions, loaded once a module: each test has storage of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.handlers.deployed import Deployed, deployed
from tests.tables import Aws

_numbers = itertools.count(1)


@pytest.fixture
def broker(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """The five functions of one stack."""
    with deployed(aws, f"handlers{next(_numbers)}", monkeypatch) as functions:
        yield functions
