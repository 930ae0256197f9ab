"""How faults are armed and disarmed, and what a struck client sees over HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import urllib3

from local.akoya_sandbox.faults import FAULTS
from local.akoya_sandbox.provider import AkoyaProvider
from local.akoya_sandbox.settings import InvalidSettingError
from tests.akoya_sandbox.app import App, code_form, refresh_form
from tests.akoya_sandbox.conftest import MakeProvider, serving
from tests.akoya_sandbox.in_process import (
    LOGIN,
    connect,
    refresh,
)

# -- arming ----------------------------------------------------------------------------------------


def test_a_fault_strikes_its_login_only_and_as_often_as_asked(provider: AkoyaProvider) -> None:
    mine = connect(provider, "mikomo_1")["refresh_token"]
    other = connect(provider, "mikomo_2")["refresh_token"]
    provider.arm({"fault": "grant_dead", "login": LOGIN, "times": 2})

    assert refresh(provider, other).status == 200
    assert [refresh(provider, mine).status for _ in range(3)] == [400, 400, 200]
    assert provider.armed() == []


def test_a_fault_without_times_strikes_until_it_is_disarmed(provider: AkoyaProvider) -> None:
    token = connect(provider)["refresh_token"]
    provider.arm({"fault": "wrong_secret"})
    assert [refresh(provider, token).status for _ in range(3)] == [401] * 3

    provider.disarm()

    assert refresh(provider, token).status == 200


def test_faults_strike_one_after_another_in_the_order_of_arming(provider: AkoyaProvider) -> None:
    token = connect(provider)["refresh_token"]
    provider.arm(
        {"fault": "error_before_commit", "times": 1, "status": 503},
        {"fault": "too_many_requests", "times": 1},
    )

    assert [refresh(provider, token).status for _ in range(3)] == [503, 429, 200]


def test_disarming_one_login_leaves_the_others_armed(provider: AkoyaProvider) -> None:
    provider.arm({"fault": "slow", "login": LOGIN}, {"fault": "slow"})

    provider.disarm(LOGIN)

    assert [armed["login"] for armed in provider.armed()] == [None]


@pytest.mark.parametrize("fault", ["slow", "slow_after_commit"])
@pytest.mark.parametrize("end", [AkoyaProvider.disarm, AkoyaProvider.reset])
def test_what_a_fault_holds_back_goes_on_once_it_is_disarmed(
    provider: AkoyaProvider, fault: str, end: Callable[[AkoyaProvider], None]
) -> None:
    provider._wait = None  # real time
    token = connect(provider)["refresh_token"]
    provider.arm({"fault": fault, "times": 1, "seconds": 3600})

    with ThreadPoolExecutor() as pool:
        held_back = pool.submit(refresh, provider, token)
        while provider.armed():  # until it has struck
            assert not held_back.done()
        end(provider)
        held_back.result(timeout=30)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "fault must be one of: lost_before_commit"),
        ({"fault": "explode"}, "fault must be one of"),
        ({"fault": "slow", "how": "very"}, "has no how"),
        ({"fault": "slow", "login": 1}, "login must be"),
        ({"fault": "slow", "on": "refresh"}, "on must be a list"),
        ({"fault": "slow", "on": []}, "on must be a list"),
        ({"fault": "grant_dead", "on": ["data"]}, "on must be a list of one or more of: refresh"),
        ({"fault": "slow", "times": 0}, "times must be"),
        ({"fault": "slow", "times": True}, "times must be"),
        ({"fault": "slow", "seconds": -1}, "seconds must be"),
        ({"fault": "error_before_commit", "status": 404}, "status must be"),
        ({"fault": "too_many_requests", "retry_after": "soon"}, "retry_after must be"),
    ],
)
def test_a_wrong_fault_is_refused_and_none_is_armed(
    provider: AkoyaProvider, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidSettingError, match=told):
        provider.arm({"fault": "slow"}, wrong)
    assert provider.armed() == []


# -- over HTTP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status"), [("lost_before_commit", 200), ("lost_after_commit", 400)]
)
def test_a_lost_answer_is_a_connection_cut_without_a_byte(
    app: App, fault: str, status: int
) -> None:
    first = app.connect()
    app.admin("PUT", "faults", {"faults": [{"fault": fault, "times": 1}]})

    with pytest.raises(requests.ConnectionError):
        app.refresh(first["refresh_token"])

    assert app.refresh(first["refresh_token"]).status_code == status


@pytest.mark.parametrize("fault", ["cut_behind_refresh_token", "cut_before_id_token"])
def test_a_cut_answer_promises_more_than_comes_and_its_refresh_token_has_come(
    app: App, fault: str
) -> None:
    first = app.connect()
    app.admin("PUT", "faults", {"faults": [{"fault": fault, "times": 1}]})

    read: list[bytes] = []
    with (
        app.streamed("token", refresh_form(first["refresh_token"])) as response,
        pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"),
    ):
        read.extend(iter(lambda: response.raw.read1(1024), b""))

    came = b"".join(read)
    token = re.search(rb'"refresh_token": ?"([^"]+)"', came)
    assert token
    assert came.endswith(token[0])
    assert app.refresh(token[1].decode()).status_code == 200


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_dripping_answer_comes_whole_to_who_waits(app: App, part: str) -> None:
    first = app.connect()
    app.admin("PUT", "faults", {"faults": [{"fault": f"dripping_{part}", "times": 1}]})

    answer = app.refresh(first["refresh_token"])

    assert answer.status_code == 200
    assert app.refresh(answer.json()["refresh_token"]).status_code == 200


def test_a_dripping_answer_ends_with_its_client(make_provider: MakeProvider) -> None:
    """Each byte comes when the test says so; the server goes no further than its client."""
    pauses = threading.Semaphore(0)
    with serving(make_provider, wait=lambda _: pauses.acquire(timeout=60)) as app:
        first = app.connect()
        app.admin("PUT", "faults", {"faults": [{"fault": "dripping_body", "times": 1}]})
        with app.streamed("token", refresh_form(first["refresh_token"])) as response:
            pauses.release()
            assert response.raw.read1(1) == b"{"
        pauses.release(100_000)
        assert app.refresh(first["refresh_token"]).status_code == 400  # it was rotated


@pytest.mark.parametrize("has_gone", [False, True])
def test_the_server_notices_that_its_client_has_hung_up(
    make_provider: MakeProvider, *, has_gone: bool
) -> None:
    struck, goes_on = threading.Event(), threading.Event()

    def wait(_seconds: float) -> None:
        struck.set()
        goes_on.wait(60)

    with serving(make_provider, wait=wait) as app:
        first = app.connect()
        app.admin("PUT", "faults", {"faults": [{"fault": "slow_unless_hung_up", "times": 1}]})
        client = app.begun("token", refresh_form(first["refresh_token"]))
        assert struck.wait(60)
        if has_gone:
            client.close()
        goes_on.set()
        request = next(
            request
            for _ in range(10_000)
            if "answered" in (request := app.admin("GET", "ledger")["requests"][-1])
        )
        client.close()

        assert request["lost"] == has_gone
        again = app.refresh(first["refresh_token"])
        assert again.status_code == (200 if has_gone else 400)


def test_faults_are_listed_armed_and_disarmed_over_the_admin_route(app: App) -> None:
    listed = app.admin("GET", "faults")
    assert [fault["fault"] for fault in listed["faults"]] == list(FAULTS)
    assert all(fault["meaning"] and fault["on"] for fault in listed["faults"])

    app.admin("POST", "faults", {"fault": "html", "on": ["exchange"], "login": LOGIN})
    answer = app.post("token", code_form(app.link()), basic=True)
    assert answer.headers["Content-Type"].startswith("text/html")

    assert app.admin("DELETE", f"faults?login={LOGIN}")["armed"] == []
    assert app.post("token", code_form(app.link()), basic=True).status_code == 200
