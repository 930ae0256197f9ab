"""The stack as an operator deploys it first: required parameters given, defaults for the rest."""

from __future__ import annotations

import pytest

from tests.template.deployed import Deployed, deployed


@pytest.fixture(scope="session")
def stack() -> Deployed:
    return deployed()
