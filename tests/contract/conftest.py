"""The engines a contract is held to: in-memory AWS, our fakes, and Amazon's own DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.embedded_aws import client
from tests.contract import dynamodb_local
from tests.tables import Aws
from tests.world import World
from token_broker.store.connections import Connections

DYNAMODB_LOCAL = pytest.param("dynamodb-local", marks=pytest.mark.optional)


@pytest.fixture(scope="session")
def real_dynamodb() -> Iterator[Any]:
    """A client of Amazon's engine."""
    with dynamodb_local.running() as address:
        yield dynamodb_local.connect(address)


@pytest.fixture
def embedded_dynamodb(stack: dict[str, Any]) -> Any:
    """A client of the embedded AWS that the local stack runs on."""
    return client("dynamodb", urlsplit(stack["aws_endpoint_url"]).port or 0)


@pytest.fixture
def world_on_dynamodb_local(aws: Aws, real_dynamodb: Any) -> World:
    """A broker whose tables are on Amazon's engine; keys, secret and escrow on in-memory AWS."""
    return World.on_aws(replace(aws, dynamodb=real_dynamodb))


@pytest.fixture(params=["dynamodb", "memory", DYNAMODB_LOCAL])
def any_world(request: pytest.FixtureRequest) -> World:
    """One broker on each engine."""
    match request.param:
        case "memory":
            return World.in_memory()
        case "dynamodb":
            world: World = request.getfixturevalue("world")
        case _:
            world = request.getfixturevalue("world_on_dynamodb_local")
    return world


@pytest.fixture
def table(any_world: World) -> Connections:
    return any_world.broker.connections
