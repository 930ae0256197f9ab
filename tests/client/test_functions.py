"""The client against the deployed functions' own code, and the sandbox's data API: no sockets."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from akoya_token_broker_client import (
    Broker,
    ConfirmationInvalid,
    Connection,
    ConnectionNotFound,
    ConsentSuspect,
    DataAccessRefused,
    Disconnected,
    NotConfirmed,
    RequestInvalid,
    TooManyAttempts,
    Unavailable,
)
from tests.handlers.deployed import BASE_URL, EVENTS, Context, Deployed, deployed
from tests.tables import Aws
from token_broker.runtime import http_api

DATA = "https://sandbox-products.ddp.akoya.com"
ACCOUNTS = f"{DATA}/accounts-info/v3/mikomo"
RETURN_TO = "https://app.example/return"

_numbers = itertools.count(1)


class ApiGateway(requests.adapters.BaseAdapter):
    """Hands a request to the function of its route, as API Gateway does."""

    def __init__(self, functions: Deployed) -> None:
        super().__init__()
        self._functions = functions

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        address = urlsplit(str(request.url))
        path = address.path.removeprefix("/v1")
        found = re.fullmatch(r"/connections(?:/(\w+)(/\w+)?)?", path)
        assert found is not None
        connection_id, act = found.groups()
        event = json.loads((EVENTS / "connections.list.json").read_text()) | {
            "httpMethod": request.method,
            "resource": f"/connections{'/{id}' if connection_id else ''}{act or ''}",
            "pathParameters": {"id": connection_id},
            "multiValueQueryStringParameters": parse_qs(address.query),
            "body": request.body.decode() if isinstance(request.body, bytes) else request.body,
        }
        function = {"/token": "token"}.get(str(act), "connections")
        if (request.method, path) == ("POST", "/connections"):
            function = "authorize"
        answer = self._functions.functions[function].lambda_handler(event, Context())
        return response(request, answer["statusCode"], answer["body"].encode(), answer["headers"])

    def close(self) -> None:
        pass


class DataApi(requests.adapters.HTTPAdapter):
    """Hands a request to the sandbox's own logic."""

    def __init__(self, functions: Deployed) -> None:
        super().__init__()
        self._provider = functions.provider

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        product, _version, connector = urlsplit(str(request.url)).path.lstrip("/").split("/")
        answer = self._provider.data(
            product=product,
            connector=connector,
            authorization=request.headers["Authorization"],
            interaction_type=request.headers.get("x-akoya-interaction-type"),
            last_access=request.headers.get("x-akoya-last-access"),
        )
        found = response(request, answer.status, answer.body, answer.headers)
        found.connection = self
        return found

    def close(self) -> None:
        pass


def response(
    request: requests.PreparedRequest, status: int, body: bytes, headers: Any
) -> requests.Response:
    found = requests.Response()
    found.status_code, found.raw = status, io.BytesIO(body)
    found.headers.update(headers)
    found.request, found.url = request, str(request.url)
    return found


@pytest.fixture
def functions(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    with deployed(aws, f"client{next(_numbers)}", monkeypatch) as found:
        yield found


@pytest.fixture
def session(functions: Deployed) -> requests.Session:
    session = requests.Session()
    session.mount(BASE_URL, ApiGateway(functions))
    session.mount(DATA, DataApi(functions))
    return session


@pytest.fixture
def broker(session: requests.Session) -> Broker:
    return Broker(BASE_URL, session=session, patience=0)


def accounts(session: requests.Session, broker: Broker, connection_id: str) -> requests.Response:
    auth = broker.auth(connection_id, subject="ada", interaction_type="USER")
    return session.get(ACCOUNTS, auth=auth)


def test_a_connections_life_is_told_in_the_clients_types(
    functions: Deployed, broker: Broker
) -> None:
    begun = broker.begin(subject="ada", connector="mikomo", return_to=RETURN_TO)
    assert begun.start_url.startswith(f"{BASE_URL}/start/")
    assert begun.start_url not in repr(begun)

    went = functions.come_back()
    (connection_id,), (confirmation,) = went["connection_id"], went["confirmation"]
    with pytest.raises(NotConfirmed):
        broker.hand_out(connection_id)
    with pytest.raises(ConfirmationInvalid):
        broker.confirm(connection_id, subject="ada", confirmation="another")
    confirmed = broker.confirm(connection_id, subject="ada", confirmation=confirmation)
    assert (confirmed.status, confirmed.health, confirmed.subject) == ("ACTIVE", "ok", "ada")

    bearer = broker.hand_out(connection_id, subject="ada", min_validity=60)
    assert (bearer.generation, bearer.connector) == (1, "mikomo")
    shown = broker.show(connection_id, subject="ada")
    assert (shown.generation, shown.expires_at) == (1, bearer.expires_at)
    assert [one.connection_id for one in broker.connections_of("ada")] == [connection_id]
    renewal = broker.begin(
        subject="ada", connector="mikomo", return_to=RETURN_TO, connection_id=connection_id
    )
    assert renewal.connection_id == connection_id

    ended = broker.disconnect(connection_id, subject="ada")
    assert ended.status == "REVOKE_PENDING"
    assert broker.disconnect(connection_id).status == "REVOKE_PENDING"
    with pytest.raises(Disconnected):
        broker.hand_out(connection_id)


def test_the_client_knows_every_member_that_a_connection_is_shown_with() -> None:
    shown = re.findall(r'^ +"(\w+)":', inspect.getsource(http_api.view), re.MULTILINE)

    assert set(shown) == {one.name for one in fields(Connection)}


def test_what_the_functions_refuse_has_a_type(functions: Deployed, broker: Broker) -> None:
    connection_id = functions.connect()

    for ask in (broker.hand_out, broker.show, broker.disconnect):
        with pytest.raises(ConnectionNotFound):
            ask(connection_id, subject="grace")
    with pytest.raises(RequestInvalid):
        broker.begin(subject="ada", connector="mikomo", return_to="https://elsewhere.example/")
    with pytest.raises(RequestInvalid):
        broker.hand_out(connection_id, rejected=9)

    def begins_again_and_again() -> None:
        for _ in range(20):
            broker.begin(subject="ada", connector="mikomo", return_to=RETURN_TO)

    with pytest.raises(TooManyAttempts) as told:
        begins_again_and_again()
    assert told.value.retry_after


def test_a_refused_bearer_is_exchanged_for_the_next_generation(
    functions: Deployed, broker: Broker, session: requests.Session
) -> None:
    connection_id = functions.connect()
    assert accounts(session, broker, connection_id).status_code == 200

    functions.provider.expire("id_tokens")
    again = accounts(session, broker, connection_id)

    assert (again.status_code, len(again.history)) == (200, 1)
    assert broker.show(connection_id).generation == 2


def test_an_outage_comes_out_of_the_request_as_a_time_to_wait(
    functions: Deployed, broker: Broker, session: requests.Session
) -> None:
    connection_id = functions.connect()
    functions.provider.expire("id_tokens")
    functions.provider.arm({"fault": "error_before_commit", "status": 503})

    with pytest.raises(Unavailable) as away:
        accounts(session, broker, connection_id)

    assert type(away.value) is Unavailable
    assert away.value.retry_after


def test_a_refused_consent_comes_out_of_the_request_as_suspect(
    functions: Deployed, broker: Broker, session: requests.Session
) -> None:
    connection_id = functions.connect()
    functions.provider.expire("id_tokens")
    functions.provider.expire("refresh_token")

    with pytest.raises(ConsentSuspect) as told:
        accounts(session, broker, connection_id)

    assert told.value.connection_id == connection_id


def test_data_that_no_bearer_opens_is_told_as_that(
    functions: Deployed, broker: Broker, session: requests.Session
) -> None:
    connection_id = functions.connect()
    functions.provider.expire("data_access")

    def reads_until_told() -> None:
        for _ in range(4):  # each with a newer bearer, and refused
            assert accounts(session, broker, connection_id).status_code == 401

    with pytest.raises(DataAccessRefused) as told:
        reads_until_told()
    assert told.value.retry_after
