"""A bearer is kept in memory for its life, asked for once, and shown to nobody."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

import pytest
import requests

from akoya_token_broker_client import Bearer, Broker, BrokerFailed
from akoya_token_broker_client.bearers import MOST, Bearers
from akoya_token_broker_client.broker import new_session
from tests.client.conftest import ID, LIFE, BrokerServer
from tests.client.server import Answer, Asked, Server
from tests.clock import FixedClock


def test_a_bearer_is_asked_for_once_and_used_until_a_minute_before_its_end(
    broker: Broker, api: BrokerServer, bank: Server, clock: FixedClock
) -> None:
    def used() -> str:
        requests.get(bank.url, auth=broker.auth(ID), timeout=5)
        return bank.asked[-1].headers["Authorization"]

    assert used() == "Bearer bearer-1"
    clock.advance(LIFE - 61)
    assert used() == "Bearer bearer-1"
    assert len(api.asked) == 1
    assert (api.asked[0].method, api.asked[0].path) == ("POST", f"/connections/{ID}/token")
    api.generation = 2
    clock.advance(1)
    assert used() == "Bearer bearer-2"
    assert len(api.asked) == 2


def test_a_bearer_is_used_for_its_connection_and_subject_alone(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    for connection_id, subject in ((ID, "ada"), (ID, "grace"), (ID, None), ("0" * 32, "ada")):
        for _ in range(2):
            requests.get(bank.url, auth=broker.auth(connection_id, subject=subject), timeout=5)

    assert [(one.path, one.json) for one in api.asked] == [
        (f"/connections/{ID}/token", {"subject": "ada"}),
        (f"/connections/{ID}/token", {"subject": "grace"}),
        (f"/connections/{ID}/token", {}),
        (f"/connections/{'0' * 32}/token", {"subject": "ada"}),
    ]


def test_a_disconnected_connection_leaves_no_bearer_behind(
    broker: Broker, api: BrokerServer
) -> None:
    broker.bearer(ID)
    shown = {"connection_id": ID, "subject": "ada", "connector": "mikomo", "generation": 1}
    api.answers(Answer(202, shown | {"status": "REVOKE_PENDING", "health": "ok"}))
    assert broker.disconnect(ID).status == "REVOKE_PENDING"
    api.answers(Answer(410, {"error": "gone"}))

    with pytest.raises(Exception, match="gone"):
        broker.bearer(ID)


def test_of_threads_that_want_one_bearer_one_asks_and_the_others_wait(
    broker: Broker, api: BrokerServer
) -> None:
    others_are_there = threading.Barrier(8)
    arrived: list[int] = []

    def hand_out(asked: Asked) -> Answer:
        arrived.append(1)
        return api.hand_out(asked)

    def wants() -> Bearer:
        others_are_there.wait(5)
        return broker.bearer(ID)

    api.answering = hand_out
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(wants) for _ in range(8)]

    assert {one.result().generation for one in found} == {1}
    assert len(arrived) == 1


def test_threads_that_ask_for_different_connections_do_not_wait_for_each_other(
    broker: Broker, api: BrokerServer
) -> None:
    both_are_there = threading.Barrier(2)

    def hand_out(asked: Asked) -> Answer:
        both_are_there.wait(5)
        return api.hand_out(asked)

    api.answering = hand_out
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(broker.bearer, one) for one in (ID, "0" * 32)]

    assert [one.result().generation for one in found] == [1, 1]


def test_twenty_threads_keep_a_socket_each(
    api: BrokerServer, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    all_are_there = threading.Barrier(20)

    def hand_out(asked: Asked) -> Answer:
        all_are_there.wait(5)
        return api.hand_out(asked)

    api.answering = hand_out
    session = new_session()
    broker = Broker(api.url, region="us-east-1", clock=clock, session=session)
    with session, ThreadPoolExecutor(20) as pool:
        found = list(pool.map(broker.bearer, [f"{number:032}" for number in range(20)]))

    assert {one.generation for one in found} == {1}
    assert caplog.text == ""  # urllib3 warns of each socket it throws away


class Question(Future[Bearer]):
    """A question under way that knows who waits for its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)

    def result(self, timeout: float | None = None) -> Bearer:
        self.waits.release()
        return super().result(timeout)


def waiting(
    bearers: Bearers, ask: Callable[[], Bearer], end: Callable[[Question], object]
) -> list[object]:
    """Let three wait for another one's question, let that end; return what the three get."""
    question = bearers._asking[ID, None] = Question()
    with ThreadPoolExecutor(3) as pool:
        three = [pool.submit(bearers.get, (ID, None), ask) for _ in range(3)]
        for _ in three:
            assert question.waits.acquire(timeout=5)
        del bearers._asking[ID, None]
        end(question)
        return [one.exception(5) or one.result() for one in three]


def test_a_question_that_failed_has_failed_for_all_who_waited_and_the_next_one_asks_again(
    clock: FixedClock,
) -> None:
    bearers, failed, asked = Bearers(clock), BrokerFailed("The operator is told."), []

    def fails() -> NoReturn:
        asked.append(bearers._asking[ID, None])
        raise failed

    with pytest.raises(BrokerFailed):
        bearers.get((ID, None), fails)
    assert asked[0].exception() is failed
    told = waiting(bearers, fails, lambda question: question.set_exception(failed))
    assert told == [failed] * 3
    assert len(asked) == 1
    assert bearers.get((ID, None), lambda: bearer_of(clock)) == bearer_of(clock)


def test_a_question_that_was_cut_short_is_asked_by_one_of_those_who_waited(
    clock: FixedClock,
) -> None:
    bearers, asked = Bearers(clock), []

    def interrupted() -> NoReturn:
        asked.append(bearers._asking[ID, None])
        raise KeyboardInterrupt

    def ask() -> Bearer:
        asked.append(bearers._asking[ID, None])
        return bearer_of(clock)

    with pytest.raises(KeyboardInterrupt):
        bearers.get((ID, None), interrupted)
    assert asked[0].cancelled()
    assert waiting(bearers, ask, Question.cancel) == [bearer_of(clock)] * 3
    assert len(asked) == 2


def test_who_waited_for_a_bearer_that_is_no_newer_than_the_rejected_one_asks_for_one_that_is(
    clock: FixedClock,
) -> None:
    bearers = Bearers(clock)
    question = bearers._asking[ID, None] = Question()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(
            bearers.get, (ID, None), lambda: bearer_of(clock, generation=2), rejected=1
        )
        assert question.waits.acquire(timeout=5)
        del bearers._asking[ID, None]
        question.set_result(bearer_of(clock))

    assert waits.result().generation == 2


def test_no_more_bearers_are_held_than_there_is_room_for(clock: FixedClock) -> None:
    bearers = Bearers(clock)
    for number in range(MOST + 1):
        bearers.get((str(number), None), lambda: bearer_of(clock))

    assert len(bearers._held) == MOST
    assert ("0", None) not in bearers._held


def test_a_bearer_is_not_held_longer_than_it_can_be_used(clock: FixedClock) -> None:
    bearers = Bearers(clock)

    def want(connection_id: str) -> None:
        bearers.get((connection_id, None), lambda: bearer_of(clock))

    for connection_id in "123":
        want(connection_id)
    clock.advance(LIFE)
    want("1")  # anew: what was asked for before it goes, and it stays
    want("4")

    assert {connection_id for connection_id, _ in bearers._held} == {"1", "4"}


def bearer_of(clock: FixedClock, *, generation: int = 1) -> Bearer:
    return Bearer(
        id_token=f"bearer-{generation}",
        expires_at=clock() + LIFE,
        generation=generation,
        connector="mikomo",
    )


# ── shown to nobody ──────────────────────────────────────────────────────────────────────────────


def test_a_bearer_shows_itself_nowhere(
    broker: Broker, bank: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    auth = broker.auth(ID)
    response = requests.get(bank.url, auth=auth, timeout=5)
    held = broker.bearer(ID)
    header = response.request.headers["Authorization"]

    assert bank.asked[0].headers["Authorization"] == "Bearer bearer-1"
    for one in (held, header, auth, broker, response.request.headers, vars(response.request)):
        for text in (repr(one), str(one), f"{one}"):
            assert "bearer-1" not in text
    assert "bearer-1" not in f"{header:>1}"
    for kept in (held, header, response, response.request):
        with pytest.raises(TypeError, match="memory"):
            pickle.dumps(kept)
    for keeper in (auth, broker):
        with pytest.raises((TypeError, AttributeError)):
            pickle.dumps(keeper)
    for secret in (held, header):
        with pytest.raises(TypeError):
            copy.deepcopy(secret)
    with pytest.raises(TypeError):
        json.dumps(held)
    assert "bearer-1" not in caplog.text


def test_a_request_that_fails_holds_no_bearer_that_could_be_shown(
    broker: Broker, bank: Server
) -> None:
    bank.answering = lambda _: None

    with pytest.raises(requests.ConnectionError) as failed:
        requests.get(bank.url, auth=broker.auth(ID), timeout=5)

    assert failed.value.request is not None
    assert "bearer-1" not in f"{failed.value!r} {failed.value.request.headers}"
    with pytest.raises(TypeError):
        pickle.dumps(failed.value)
