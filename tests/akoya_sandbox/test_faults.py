"""What each fault does to a token and to its answer; the ledger is asked, not the answer."""

from __future__ import annotations

from collections.abc import Callable

import jwt
import pytest

from local.akoya_sandbox.answer import Answer
from local.akoya_sandbox.faults import FAULTS
from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.app import CLIENT_ID, refresh_form
from tests.akoya_sandbox.conftest import Clock, MakeProvider
from tests.akoya_sandbox.in_process import (
    LOGIN,
    claims_of,
    connect,
    consent,
    data_code,
    obtain,
    refresh,
    revoke,
)

Check = Callable[[Answer], bool]


def claim(name: str, value: object) -> Check:
    return lambda answer: bool(claims_of(answer.json())[name] == value)


def member(name: str, value: object) -> Check:
    return lambda answer: bool(answer.json().get(name) == value)


def error(status: int, code: str) -> Check:
    return lambda answer: (answer.status, answer.json().get("error")) == (status, code)


# Of a refresh: how many token sets the consent has had afterwards, and what the answer looks like.
ON_REFRESH: dict[str, tuple[int, Check]] = {
    "lost_before_commit": (1, lambda answer: answer.lost),
    "lost_after_commit": (2, lambda answer: answer.lost),
    "slow": (2, lambda answer: answer.status == 200),
    "slow_then_lost": (1, lambda answer: answer.lost),
    "slow_after_commit": (2, lambda answer: answer.status == 200),
    "slow_unless_hung_up": (2, lambda answer: answer.status == 200 and not answer.lost),
    "dripping_headers": (2, lambda answer: answer.drips == "headers"),
    "dripping_body": (2, lambda answer: answer.drips == "body"),
    "cut_behind_refresh_token": (2, lambda answer: answer.body[answer.cut_at :] == b"}"),
    "cut_before_id_token": (
        2,
        lambda answer: (
            answer.body[: answer.cut_at].startswith(b'{"refresh_token": "')
            and b"id_token" in answer.body[answer.cut_at :]
        ),
    ),
    "error_before_commit": (1, error(500, "server_error")),
    "error_after_commit": (2, error(500, "server_error")),
    "empty": (2, lambda answer: (answer.status, answer.body) == (200, b"")),
    "html": (2, lambda answer: answer.status == 200 and answer.body.startswith(b"<!doctype")),
    "redirect": (1, lambda answer: answer.status == 302 and answer.headers["Location"] == "/"),
    "too_many_requests": (1, lambda answer: answer.status == 429 and answer.json()["code"] == 1207),
    "wrong_secret": (1, error(401, "invalid_client")),
    "grant_dead": (1, error(400, "invalid_request")),
    "refresh_token_missing": (1, lambda answer: "refresh_token" not in answer.json()),
    "refresh_token_unchanged": (1, lambda answer: "refresh_token" in answer.json()),
    "id_token_missing": (2, lambda answer: "id_token" not in answer.json()),
    "expires_in_string": (2, member("expires_in", "899")),
    "expires_in_absurd": (2, member("expires_in", 10**30)),
    "expires_in_missing": (2, member("expires_in", None)),
    "content_type": (2, lambda answer: answer.headers["Content-Type"] == "text/plain"),
    "aud_string": (2, claim("aud", CLIENT_ID)),
    "aud_list": (2, claim("aud", [CLIENT_ID])),
    "aud_other": (2, claim("aud", "recipient")),
    "iss_without_slash": (2, claim("iss", "http://localhost")),
    "sub_changed": (2, lambda answer: len(claims_of(answer.json())["sub"]) == 32),
    "many_accounts": (2, lambda answer: len(claims_of(answer.json())["accounts"]) == 2000),
    "unknown_key": (
        2,
        lambda answer: jwt.get_unverified_header(answer.json()["id_token"])["kid"] == "unknown",
    ),
}


def number_of_live_token(provider: AkoyaProvider) -> int:
    (token,) = provider.grants(LOGIN)[-1]["refresh_tokens"]
    number: int = token["number"]
    return number


def test_every_fault_on_refresh_has_its_case() -> None:
    assert set(ON_REFRESH) == {name for name, fault in FAULTS.items() if "refresh" in fault.on}


@pytest.mark.parametrize("fault", ON_REFRESH)
def test_a_fault_on_refresh_rotates_or_not_and_answers_as_the_table_says(
    provider: AkoyaProvider, fault: str
) -> None:
    number, looks_right = ON_REFRESH[fault]
    first = connect(provider)
    provider.arm({"fault": fault, "times": 1})

    answer = refresh(provider, first["refresh_token"])

    assert looks_right(answer)
    assert number_of_live_token(provider) == number
    struck = provider.ledger(LOGIN)["requests"][-1]
    assert (struck["fault"], struck["status"], struck["lost"]) == (
        fault,
        answer.status,
        answer.lost,
    )
    # The next request is served as if nothing had been: a rotated token is dead, another lives.
    assert refresh(provider, first["refresh_token"]).status == (200 if number == 1 else 400)


def test_a_changed_sub_is_another_one(provider: AkoyaProvider) -> None:
    first = connect(provider)
    provider.arm({"fault": "sub_changed"})

    second = refresh(provider, first["refresh_token"]).json()

    assert claims_of(second)["sub"] != claims_of(first)["sub"]


def test_an_unchanged_refresh_token_is_the_one_that_was_sent(provider: AkoyaProvider) -> None:
    first = connect(provider)
    provider.arm({"fault": "refresh_token_unchanged", "times": 1})

    second = refresh(provider, first["refresh_token"]).json()

    assert second["refresh_token"] == first["refresh_token"]
    assert second["id_token"] != first["id_token"]
    assert refresh(provider, first["refresh_token"]).json()["refresh_token"] not in (
        first["refresh_token"],
        None,
    )


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_other_than_500_is_a_gateways_page(provider: AkoyaProvider, status: int) -> None:
    first = connect(provider)
    provider.arm({"fault": "error_before_commit", "status": status})

    answer = refresh(provider, first["refresh_token"])

    assert answer.status == status
    is_json = answer.headers["Content-Type"] == "application/json"
    assert is_json == (status == 500)


def test_a_429_tells_how_long_to_wait_only_if_asked_to(provider: AkoyaProvider) -> None:
    first = connect(provider)
    provider.arm({"fault": "too_many_requests", "times": 1, "retry_after": 7})
    provider.arm({"fault": "too_many_requests", "times": 1})

    answers = [refresh(provider, first["refresh_token"]) for _ in range(2)]

    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", None]


@pytest.mark.parametrize(("fault", "waited"), [("slow", 45), ("slow_after_commit", 0)])
def test_a_slow_request_commits_after_its_wait_or_before_and_is_answered_at_the_end(
    provider: AkoyaProvider, clock: Clock, fault: str, waited: int
) -> None:
    first = connect(provider)
    provider.arm({"fault": fault, "seconds": 45})
    before = clock()

    refresh(provider, first["refresh_token"])

    request = provider.ledger(LOGIN)["requests"][-1]
    rotated = [e for e in provider.ledger(LOGIN)["entries"] if e["event"].endswith("rotated")]
    assert request["received_at"] == before
    assert rotated[0]["at"] == before + waited
    assert request["answered_at"] == before + 45


@pytest.mark.parametrize("has_gone", [False, True])
def test_hanging_up_cancels_the_work_where_the_server_heeds_it(
    provider: AkoyaProvider, clock: Clock, *, has_gone: bool
) -> None:
    token = connect(provider)["refresh_token"]
    provider.arm({"fault": "slow_unless_hung_up", "times": 1, "seconds": 45})
    hangs_up_at = clock() + 40 if has_gone else clock() + 46

    answer = provider.token(
        authorization=None, body=refresh_form(token), has_hung_up=lambda: clock() > hangs_up_at
    )

    assert answer.lost == has_gone
    assert number_of_live_token(provider) == (1 if has_gone else 2)
    assert provider.ledger(LOGIN)["requests"][-1]["lost"] == has_gone


def test_hanging_up_on_any_other_slow_request_changes_nothing(provider: AkoyaProvider) -> None:
    token = connect(provider)["refresh_token"]
    provider.arm({"fault": "slow", "times": 1})

    provider.token(authorization=None, body=refresh_form(token), has_hung_up=lambda: True)

    assert number_of_live_token(provider) == 2


def test_a_cut_or_dripping_fault_leaves_a_refusal_whole(provider: AkoyaProvider) -> None:
    token = connect(provider)["refresh_token"]
    refresh(provider, token)
    provider.arm({"fault": "cut_behind_refresh_token"})

    answer = refresh(provider, token)

    assert (answer.status, answer.cut_at) == (400, None)


def test_a_slow_request_holds_no_other_up_and_their_overlap_is_in_the_ledger(
    make_provider: MakeProvider,
) -> None:
    def wait(_seconds: float) -> None:
        held.append(provider._mutex.locked())
        if not held[-1]:
            refresh(provider, first["refresh_token"])

    held: list[bool] = []
    provider = make_provider(wait=wait)
    first = connect(provider)
    provider.arm({"fault": "slow", "times": 1})

    late = refresh(provider, first["refresh_token"])

    assert held == [False]
    slow, quick = provider.ledger(LOGIN)["requests"][-2:]
    assert slow["presented"] == quick["presented"]
    assert slow["received"] < quick["received"] < quick["answered"] < slow["answered"]
    assert (quick["status"], late.status) == (200, 400)


@pytest.mark.parametrize(
    ("fault", "used"), [("code_dead", False), ("lost_before_commit", False), ("empty", True)]
)
def test_a_fault_on_an_exchange_uses_the_code_or_not(
    provider: AkoyaProvider, fault: str, used: bool
) -> None:
    code = consent(provider)["code"]
    provider.arm({"fault": fault, "on": ["exchange"], "times": 1})

    obtain(provider, code)

    assert obtain(provider, code).status == (400 if used else 200)


def test_an_exchange_may_be_answered_without_the_nonce(provider: AkoyaProvider) -> None:
    provider.arm({"fault": "nonce_missing", "times": 1})

    first = obtain(provider, consent(provider, nonce="n-1")["code"]).json()
    second = obtain(provider, consent(provider, nonce="n-2")["code"]).json()

    assert "nonce" not in claims_of(first)
    assert claims_of(second)["nonce"] == "n-2"


@pytest.mark.parametrize(
    ("fault", "status", "revoked"),
    [
        ("lost_before_commit", 200, False),
        ("lost_after_commit", 200, True),
        ("error_after_commit", 500, True),
        ("wrong_secret", 401, False),
        ("slow_unless_hung_up", 200, True),
        ("revoke_refused", 400, False),
        ("revoke_html", 200, False),
        ("revoke_error", 200, False),
    ],
)
def test_a_fault_on_revoke_revokes_or_not(
    provider: AkoyaProvider, fault: str, status: int, revoked: bool
) -> None:
    first = connect(provider)
    provider.arm({"fault": fault, "on": ["revoke"], "times": 1})

    assert revoke(provider, first["refresh_token"]).status == status

    assert refresh(provider, first["refresh_token"]).status == (400 if revoked else 200)


def test_a_fault_on_data_leaves_the_token_endpoint_alone(provider: AkoyaProvider) -> None:
    first = connect(provider)
    provider.arm({"fault": "too_many_requests", "on": ["data"]})

    assert data_code(provider, first["id_token"]) == (429, 1207)
    assert refresh(provider, first["refresh_token"]).status == 200
