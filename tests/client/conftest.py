"""A client between two servers of this machine: in the broker's place, and in the data API's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from akoya_token_broker_client import Broker
from tests.client.server import Answer, Asked, Server, serving
from tests.clock import FixedClock

ID = "3de4a1c09b1f4c0e8a6e5b7c2d1f0a9e"
LIFE = 900  # seconds of a bearer


class BrokerServer(Server):
    """Hands out the newest generation, and a newer one than was rejected."""

    def __init__(self, url: str, clock: FixedClock) -> None:
        super().__init__(url)
        self.generation = 1
        self.answering = self.hand_out
        self._clock = clock

    def hand_out(self, asked: Asked) -> Answer:
        self.generation = max(self.generation, asked.json.get("rejected", 0) + 1)
        bearer = {
            "token_type": "Bearer",
            "id_token": f"bearer-{self.generation}",
            "expires_at": self._clock() + LIFE,
            "generation": self.generation,
            "connector": "mikomo",
        }
        return Answer(200, bearer)

    def answers(self, *answers: Answer) -> None:
        super().answers(*answers)
        self.answering = lambda _: self.next()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def slept() -> list[float]:
    """How long the client waited, each time."""
    return []


@pytest.fixture
def api(clock: FixedClock) -> Iterator[BrokerServer]:
    with serving(lambda url: BrokerServer(url, clock)) as server:
        yield server


@pytest.fixture
def bank() -> Iterator[Server]:
    with serving(Server) as server:
        server.answers(Answer(200, {"accounts": []}))
        yield server


@pytest.fixture
def broker(api: BrokerServer, clock: FixedClock, slept: list[float]) -> Iterator[Broker]:
    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    with requests.Session() as session:
        yield Broker(
            api.url, region="us-east-1", patience=10, session=session, clock=clock, sleep=sleep
        )
