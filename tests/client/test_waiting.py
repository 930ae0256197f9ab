"""How long a call waits for the broker: as long as it says, within what the caller allows."""

from __future__ import annotations

import socket

import pytest

from akoya_token_broker_client import Broker, ConsentSuspect, Unavailable
from tests.client.conftest import ID, BrokerServer
from tests.client.server import Answer
from tests.clock import FixedClock

PATIENCE = 10  # seconds, of the fixture's client


def busy(retry_after: object, *, status: int = 503, error: str = "refresh_in_progress") -> Answer:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status, {"error": error, "error_description": "Ask again."}, headers)


def good(clock: FixedClock) -> Answer:
    bearer = {"id_token": "x", "expires_at": clock() + 900, "generation": 1, "connector": "mikomo"}
    return Answer(200, bearer)


@pytest.mark.parametrize(
    "again",
    [
        busy(4),
        busy(4, error="temporarily_unavailable"),
        busy(4, error="consent_suspect"),
        busy(4, status=504, error="temporarily_unavailable"),
        busy(4, status=429, error="too_many_requests"),
        busy(4, status=429, error="too_many_attempts"),
    ],
    ids=str,
)
def test_a_call_is_repeated_after_the_seconds_the_broker_names(
    broker: Broker, api: BrokerServer, clock: FixedClock, slept: list[float], again: Answer
) -> None:
    api.answers(again, again, good(clock))

    assert broker.hand_out(ID).generation == 1
    assert slept == [4, 4]


def test_nobody_waits_beyond_the_callers_patience(
    broker: Broker, api: BrokerServer, slept: list[float]
) -> None:
    api.answers(busy(4))

    with pytest.raises(Unavailable) as told:
        broker.hand_out(ID)

    assert slept == [4, 4]
    assert len(api.asked) == 3
    assert (told.value.retry_after, told.value.connection_id) == (4, ID)


def test_a_wait_longer_than_the_patience_is_told_at_once(
    broker: Broker, api: BrokerServer, slept: list[float]
) -> None:
    api.answers(busy(PATIENCE + 1, error="consent_suspect"))

    with pytest.raises(ConsentSuspect) as told:
        broker.hand_out(ID)

    assert (slept, told.value.retry_after) == ([], PATIENCE + 1)


@pytest.mark.parametrize("said", [None, "soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_where_no_seconds_are_named_nobody_waits(
    broker: Broker, api: BrokerServer, slept: list[float], said: str | None
) -> None:
    api.answers(busy(said))

    with pytest.raises(Unavailable) as told:
        broker.hand_out(ID)

    assert (slept, told.value.retry_after) == ([], None)


def test_a_wait_of_no_time_is_a_second(
    broker: Broker, api: BrokerServer, clock: FixedClock, slept: list[float]
) -> None:
    api.answers(busy(0), good(clock))

    assert broker.hand_out(ID).generation == 1
    assert slept == [1]


def test_a_row_that_moved_on_is_asked_for_again_in_a_second(
    broker: Broker, api: BrokerServer, clock: FixedClock, slept: list[float]
) -> None:
    api.answers(busy(None, status=409, error="stale_generation"), good(clock))

    assert broker.hand_out(ID).generation == 1
    assert slept == [1]


def test_an_answer_that_got_lost_is_asked_for_again(
    broker: Broker, api: BrokerServer, clock: FixedClock, slept: list[float]
) -> None:
    answers = [None, good(clock)]
    api.answering = lambda _: answers.pop(0)

    assert broker.hand_out(ID).generation == 1
    assert slept == [1]


def test_a_broker_that_is_not_reached_is_unavailable(clock: FixedClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    broker = Broker(f"http://127.0.0.1:{port}", region="us-east-1", patience=0, clock=clock)

    with pytest.raises(Unavailable, match="not reached") as told:
        broker.hand_out(ID)

    assert (told.value.status, told.value.retry_after) == (None, 1)
