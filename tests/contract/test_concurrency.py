"""What conditional writes are for: many at once, and one of them counts.

On engines that keep their word under threads; the in-memory AWS of the other tests loses updates.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from tests.contract.conftest import DYNAMODB_LOCAL
from tests.contract.rows import (
    ID,
    NOW,
    OTHER,
    active,
    claim,
    landing,
    linking,
    owner_id,
    unrecorded,
)
from tests.tables import create_tables
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.authorization import Authorization
from token_broker.domain.connection import Connection, Landing, Lease, Status
from token_broker.domain.errors import (
    RefreshInProgress,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.runtime import bootstrap
from token_broker.store.authorizations import Authorizations
from token_broker.store.connections import Connections

T = TypeVar("T")
THREADS = 8
ROUNDS = range(5)  # a race is not lost every time


@pytest.fixture(params=[DYNAMODB_LOCAL, pytest.param("embedded-aws", marks=pytest.mark.stack)])
def engine(request: pytest.FixtureRequest) -> Any:
    engines = {"dynamodb-local": "real_dynamodb", "embedded-aws": "embedded_dynamodb"}
    return request.getfixturevalue(engines[request.param])


@pytest.fixture(params=ROUNDS)
def prefix(engine: Any) -> str:
    """Make tables nobody else uses, and tell what their names begin with."""
    prefix = f"race-{uuid.uuid4().hex}"
    create_tables(engine, prefix)
    return prefix


@pytest.fixture
def table(engine: Any, prefix: str) -> Connections:
    rows = DynamoRows(engine, f"{prefix}-connections")
    return Connections(rows, clock=lambda: NOW, new_secret=bootstrap.new_secret, record=unrecorded)


def at_once(act: Callable[[int], T]) -> list[T | TokenBrokerError]:
    """Let every thread act at the same moment; return what each got or was told."""
    gate = threading.Barrier(THREADS)

    def enter(number: int) -> T | TokenBrokerError:
        gate.wait()
        try:
            return act(number)
        except TokenBrokerError as told:
            return told

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(enter, range(THREADS)))


def winners(outcomes: list[T | TokenBrokerError]) -> list[T]:
    return [outcome for outcome in outcomes if not isinstance(outcome, TokenBrokerError)]


def told(outcomes: list[T | TokenBrokerError]) -> set[type[TokenBrokerError]]:
    return {type(outcome) for outcome in outcomes if isinstance(outcome, TokenBrokerError)}


def land(table: Connections, landing: Landing, *, lease_id: str) -> Connection:
    """Land as an attempt does: again, while nobody can tell what stands."""
    for _ in itertools.repeat(None, THREADS):
        try:
            return table.land(landing, lease_id=lease_id, status=Status.ACTIVE, due_at=NOW + 900)
        except UpstreamUnavailable:
            continue
    raise AssertionError("the row never came to rest")


@pytest.mark.parametrize("generation", [None, 1], ids=["schedule", "caller"])
def test_of_many_claims_one_gets_the_lease(table: Connections, generation: int | None) -> None:
    active(table)

    outcomes = at_once(lambda number: claim(table, f"lease-{number}", generation=generation))

    [holder] = winners(outcomes)
    assert told(outcomes) == {RefreshInProgress}
    assert table.get(ID) == holder
    assert holder.unsettled == 1


def test_of_many_attempts_at_the_next_generation_one_lands(table: Connections) -> None:
    active(table)
    claim(table, "attempt-0")  # the others held the lease before it

    def act(number: int) -> Connection:
        name = f"attempt-{number}"
        its_own = landing(2, attempt_id=name, sealed=name.encode())
        return land(table, its_own, lease_id=name)

    outcomes = at_once(act)

    [landed] = winners(outcomes)
    assert told(outcomes) == {StaleGeneration}
    row = table.get(ID)
    assert (row.generation, row.sealed) == (2, landed.sealed)


@pytest.mark.parametrize("lease_id", ["second", "lost"])
def test_an_attempt_whose_landing_is_delivered_many_times_lands_once(
    table: Connections, lease_id: str
) -> None:
    active(table)
    claim(table)

    outcomes = at_once(lambda _: land(table, landing(2), lease_id=lease_id))

    assert told(outcomes) == set()
    assert winners(outcomes) == [table.get(ID)] * THREADS
    assert table.get(ID).generation == 2


def test_a_login_claimed_by_two_connections_gets_one_owner(table: Connections) -> None:
    first = active(table)
    table.create(linking(id=OTHER))
    pending = landing(connection_id=OTHER)
    table.land(pending, lease_id="first", status=Status.PENDING_CONFIRMATION, due_at=NOW + 900)

    def act(number: int) -> str:
        if number % 2:
            table.own(first, owner=None, now=NOW)
            return ID
        return table.confirm(
            OTHER, subject="ada", confirmation_hash="hash", owner=None, due_at=NOW, now=NOW
        ).id

    outcomes = at_once(act)

    [owner] = set(winners(outcomes))
    assert told(outcomes) <= {StaleGeneration}
    assert owner_id(table) == owner
    confirmed = table.get(OTHER).status is Status.ACTIVE
    assert confirmed == (owner == OTHER)


def test_an_owner_superseded_by_many_at_once_is_superseded_by_one(table: Connections) -> None:
    table.own(active(table), owner=None, now=NOW)
    owned = table.owner_of("login")
    ids = [f"{number:032x}" for number in range(THREADS)]
    for pending in ids:
        table.create(linking(id=pending))
        table.land(
            landing(connection_id=pending),
            lease_id="first",
            status=Status.PENDING_CONFIRMATION,
            due_at=NOW + 900,
        )

    def act(number: int) -> str:
        return table.confirm(
            ids[number], subject="ada", confirmation_hash="hash", owner=owned, due_at=NOW, now=NOW
        ).id

    outcomes = at_once(act)

    [owner] = winners(outcomes)
    assert told(outcomes) == {StaleGeneration}
    assert owner_id(table) == owner
    assert table.get(ID).status is Status.SUPERSEDED
    statuses = [table.get(pending).status for pending in ids]
    assert statuses.count(Status.ACTIVE) == 1
    assert statuses.count(Status.PENDING_CONFIRMATION) == THREADS - 1


def test_of_many_deliveries_of_one_redirect_one_exchanges_the_code(
    engine: Any, prefix: str
) -> None:
    table = Authorizations(DynamoRows(engine, f"{prefix}-authorizations"))
    row = Authorization(
        id="f" * 64,
        connection_id=ID,
        subject="ada",
        connector="mikomo",
        return_to="https://app.example/return",
        redirect_uri="https://broker.example/callback",
        expires_at=NOW + 900,
        openings={},
    )
    table.create(row)

    def act(number: int) -> bool:
        lease = Lease(id=f"attempt-{number}", until=NOW + 95)
        return table.begin_exchange(row.id, attempt=lease, now=NOW)

    outcomes = at_once(act)

    assert sorted(winners(outcomes)) == [False] * (THREADS - 1) + [True]
