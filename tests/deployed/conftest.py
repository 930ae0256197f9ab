"""One person, one connection and the bank's ledger on the deployed stack, for tests of races."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
import requests

from local.journey import Journey
from tests.deployed.bank import Bank
from tests.deployed.functions import Functions
from tests.deployed.scene import Scene

FIRST_USER = 1000
USERS = count(FIRST_USER)  # a bank login of its own for each scene


@pytest.fixture
def journey(stack: dict[str, Any]) -> Journey:
    """A person and a backend in front of the stack; the sandbox as at the start."""
    requests.post(f"{stack['identity_provider']['url']}/admin/reset", timeout=10)
    return Journey(stack)


@pytest.fixture(scope="session")
def functions(stack: dict[str, Any]) -> Functions:
    """The deployed functions, to be run by hand and killed."""
    return Functions(stack)


@pytest.fixture
def by_hand(functions: Functions) -> Iterator[None]:
    """The schedule only runs when the test says so."""
    with functions.schedule_off():
        yield


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Whoever does something in the background."""
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def scene(
    stack: dict[str, Any],
    journey: Journey,
    functions: Functions,
    pool: ThreadPoolExecutor,
    by_hand: None,
) -> Iterator[Scene]:
    """A confirmed connection; at the end the bank must have seen no rule broken."""
    del by_hand
    user = f"mikomo_{next(USERS)}"
    bank = Bank(journey, f"{stack['identity_provider']['connector']}/{user}")
    yield Scene(stack=stack, journey=journey, functions=functions, bank=bank, pool=pool, user=user)
    bank.lets_go()
    assert bank.complaints() == []
