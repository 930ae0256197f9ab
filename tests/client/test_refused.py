"""What happens when the data API refuses a bearer (Akoya: 401 with code 602)."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import IO

import pytest
import requests

from akoya_token_broker_client import Broker, ReauthorizationRequired, RequestInvalid
from tests.client.conftest import ID, BrokerServer
from tests.client.server import Answer, Asked, Server, serving
from tests.clock import FixedClock

DEAD = Answer(401, {"code": 602, "message": "Customer not authorized"})
FOUND = Answer(200, {"accounts": []})
BODY = b"from 2026-01-01 to 2026-12-31"


def only_takes(*bearers: str) -> Callable[[Asked], Answer]:
    """Return a data API that refuses every other bearer."""
    return lambda asked: (
        FOUND
        if asked.headers.get("Authorization") in {f"Bearer {one}" for one in bearers}
        else DEAD
    )


def rejected(api: BrokerServer) -> list[int | None]:
    return [one.json.get("rejected") for one in api.asked]


def test_a_refused_bearer_is_told_to_the_broker_once_and_the_request_repeated_with_the_next(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    bank.answering = only_takes("bearer-2")

    response = requests.get(bank.url, auth=broker.auth(ID, subject="ada"), timeout=5)

    assert response.status_code == 200
    assert [one.status_code for one in response.history] == [401]
    assert [one.json for one in api.asked] == [
        {"subject": "ada"},
        {"subject": "ada", "rejected": 1},
    ]
    assert len(bank.asked) == 2
    requests.get(bank.url, auth=broker.auth(ID, subject="ada"), timeout=5)
    assert (len(api.asked), len(bank.asked)) == (2, 3)  # the new one is the one that is kept


def test_a_bearer_that_is_refused_again_is_the_callers_to_see(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    bank.answers(DEAD)

    response = requests.get(bank.url, auth=broker.auth(ID), timeout=5)

    assert (response.status_code, response.json()["code"]) == (401, 602)
    assert rejected(api) == [None, 1]
    assert len(bank.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"code": 600}),
        Answer(401, "Unauthorized"),
        Answer(401, ["602"]),
        Answer(403, {"code": 602}),
        Answer(404, {"code": 601}),
    ],
    ids=str,
)
def test_no_other_answer_costs_a_bearer(
    broker: Broker, api: BrokerServer, bank: Server, answer: Answer
) -> None:
    bank.answers(answer)

    assert requests.get(bank.url, auth=broker.auth(ID), timeout=5).status_code == answer.status
    assert (rejected(api), len(bank.asked)) == ([None], 1)


def test_threads_whose_bearer_was_refused_at_once_tell_the_broker_once(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    all_were_sent = threading.Barrier(4)

    def refuse(asked: Asked) -> Answer:
        if asked.headers["Authorization"] == "Bearer bearer-1":
            all_were_sent.wait(5)
        return only_takes("bearer-2")(asked)

    bank.answering = refuse
    with ThreadPoolExecutor(4) as pool:
        responses = list(
            pool.map(lambda _: requests.get(bank.url, auth=broker.auth(ID), timeout=5), range(4))
        )

    assert {one.status_code for one in responses} == {200}
    assert rejected(api) == [None, 1]


def test_a_consent_that_is_over_comes_out_of_the_request_as_what_to_do(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    broker.bearer(ID)
    api.answers(Answer(409, {"error": "reauthorization_required", "error_description": "Over."}))
    bank.answers(DEAD)

    with pytest.raises(ReauthorizationRequired) as ended:
        requests.get(bank.url, auth=broker.auth(ID), timeout=5)

    assert ended.value.connection_id == ID
    assert f"begin(…, connection_id='{ID}')" in str(ended.value)


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────


def read_in_part() -> IO[bytes]:
    stream = io.BytesIO(b"a header of a file" + BODY)
    stream.seek(-len(BODY), io.SEEK_END)
    return stream


@pytest.mark.parametrize("body", [BODY, BODY.decode(), io.BytesIO(BODY), read_in_part()])
def test_a_body_is_sent_again_whole(
    broker: Broker, bank: Server, body: bytes | str | IO[bytes]
) -> None:
    bank.answering = only_takes("bearer-2")

    response = requests.post(bank.url, data=body, auth=broker.auth(ID), timeout=5)

    assert response.status_code == 200
    assert [one.body for one in bank.asked] == [BODY, BODY]


def test_a_body_that_can_be_read_once_is_not_sent_again_but_the_next_request_has_a_new_bearer(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    def once() -> Iterator[bytes]:
        yield BODY

    bank.answering = only_takes("bearer-2")

    response = requests.post(bank.url, data=once(), auth=broker.auth(ID), timeout=5)

    assert (response.status_code, response.json()["code"]) == (401, 602)
    assert (len(bank.asked), rejected(api)) == (1, [None, 1])
    assert requests.get(bank.url, auth=broker.auth(ID), timeout=5).status_code == 200
    assert rejected(api) == [None, 1]


def test_an_answer_that_is_read_piece_by_piece_is_no_exception(
    broker: Broker, bank: Server
) -> None:
    bank.answering = only_takes("bearer-2")

    with requests.get(bank.url, auth=broker.auth(ID), timeout=5, stream=True) as response:
        assert b"".join(response.iter_content(4)) == b'{"accounts": []}'


# ── where a bearer goes ──────────────────────────────────────────────────────────────────────────


def test_a_redirect_to_another_host_carries_no_bearer_and_what_it_answers_costs_none(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    with serving(Server) as other:
        other.answers(DEAD)
        bank.answers(Answer(302, headers={"Location": other.url}))

        response = requests.get(bank.url, auth=broker.auth(ID), timeout=5)

        assert response.status_code == 401
        assert ["Authorization" in one.headers for one in other.asked] == [False]
    assert rejected(api) == [None]


def test_a_request_is_repeated_once_even_if_its_repeat_is_redirected(
    broker: Broker, api: BrokerServer, bank: Server
) -> None:
    bank.answers(DEAD, Answer(302, headers={"Location": "/elsewhere"}), DEAD)

    response = requests.get(bank.url, auth=broker.auth(ID), timeout=5)

    assert response.status_code == 401
    assert [one.headers["Authorization"] for one in bank.asked] == [
        "Bearer bearer-1",
        "Bearer bearer-2",
        "Bearer bearer-2",
    ]
    assert rejected(api) == [None, 1]


@pytest.mark.parametrize(
    "url",
    ["http://products.ddp.akoya.com/accounts-info/v3/mikomo", "http://127.0.0.1.example.com/"],
)
def test_a_bearer_goes_to_no_address_that_is_not_encrypted(
    broker: Broker, api: BrokerServer, url: str
) -> None:
    with pytest.raises(RequestInvalid, match="https"):
        requests.Request("GET", url, auth=broker.auth(ID)).prepare()

    assert api.asked == []


@pytest.mark.parametrize(
    "url", ["https://products.ddp.akoya.com/", "http://localhost/", "http://[::1]/"]
)
def test_a_bearer_goes_to_encrypted_addresses_and_to_this_machine(broker: Broker, url: str) -> None:
    prepared = requests.Request("GET", url, auth=broker.auth(ID)).prepare()

    assert "Authorization" in prepared.headers


# ── Akoya's own headers ──────────────────────────────────────────────────────────────────────────


def test_a_batch_says_when_the_person_was_last_there(broker: Broker, bank: Server) -> None:
    last = datetime(2026, 11, 24, 17, 25, tzinfo=timezone(timedelta(hours=1)))
    auth = broker.auth(ID, interaction_type="BATCH", last_access=last)

    requests.get(bank.url, auth=auth, timeout=5)

    assert bank.asked[0].headers["x-akoya-interaction-type"] == "BATCH"
    assert bank.asked[0].headers["x-akoya-last-access"] == "2026-11-24T16:25:00Z"


def test_a_person_who_waits_is_there_now(broker: Broker, bank: Server, clock: FixedClock) -> None:
    requests.get(bank.url, auth=broker.auth(ID, interaction_type="USER"), timeout=5)

    now = datetime.fromtimestamp(clock(), UTC)
    assert bank.asked[0].headers["x-akoya-last-access"] == f"{now:%Y-%m-%dT%H:%M:%SZ}"


def test_what_the_caller_sets_itself_stands_and_nothing_is_set_unasked(
    broker: Broker, bank: Server
) -> None:
    own = {"x-akoya-interaction-type": "user"}
    auth = broker.auth(ID, interaction_type="USER")
    requests.get(bank.url, headers=own, auth=auth, timeout=5)
    requests.get(bank.url, auth=broker.auth(ID), timeout=5)

    assert bank.asked[0].headers["x-akoya-interaction-type"] == "user"
    assert not [name for name in bank.asked[1].headers if name.startswith("x-akoya")]


def test_a_batch_that_does_not_say_when_is_a_mistake_of_its_author(broker: Broker) -> None:
    with pytest.raises(ValueError, match="last_access="):
        broker.auth(ID, interaction_type="BATCH")
    with pytest.raises(ValueError, match="time zone"):
        broker.auth(ID, interaction_type="BATCH", last_access=datetime(2026, 11, 24))  # noqa: DTZ001
    with pytest.raises(ValueError, match="interaction_type"):
        broker.auth(ID, last_access=datetime(2026, 11, 24, tzinfo=UTC))
    with pytest.raises(ValueError, match="next_use"):
        broker.auth(ID, next_use=datetime(2026, 11, 25))  # noqa: DTZ001


def test_the_broker_is_told_when_its_caller_will_be_back_unless_that_has_passed(
    broker: Broker, api: BrokerServer, bank: Server, clock: FixedClock
) -> None:
    tomorrow = clock() + 86_400
    auth = broker.auth(ID, next_use=datetime.fromtimestamp(tomorrow, UTC))

    requests.get(bank.url, auth=auth, timeout=5)
    clock.advance(86_400)
    requests.get(bank.url, auth=auth, timeout=5)

    assert [one.json for one in api.asked] == [{"next_use": tomorrow}, {}]
