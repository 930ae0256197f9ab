"""The rate limit that can be switched on."""

from __future__ import annotations

import pytest

from local.akoya_sandbox.provider import AkoyaProvider
from tests.akoya_sandbox.conftest import Clock
from tests.akoya_sandbox.in_process import connect, data, refresh, revoke


def test_without_one_every_request_is_let_through(provider: AkoyaProvider) -> None:
    id_token = connect(provider)["id_token"]
    assert {data(provider, f"Bearer {id_token}").status for _ in range(99)} == {200}


def test_requests_above_it_get_429_with_retry_after_and_change_nothing(
    provider: AkoyaProvider, clock: Clock
) -> None:
    token_set = connect(provider)
    clock.advance(1)
    provider.change_settings({"requests_per_second": 2})
    first = refresh(provider, token_set["refresh_token"]).json()["refresh_token"]
    data(provider, f"Bearer {token_set['id_token']}")

    for answer in (
        refresh(provider, first),
        data(provider, f"Bearer {token_set['id_token']}"),
        revoke(provider, first),
    ):
        assert (answer.status, answer.json()["code"]) == (429, 1207)
        assert answer.headers["Retry-After"] == "1"

    clock.advance(1)
    assert refresh(provider, first).status == 200


def test_a_request_that_is_refused_for_it_uses_up_no_fault(
    provider: AkoyaProvider, clock: Clock
) -> None:
    refresh_token = connect(provider)["refresh_token"]
    provider.change_settings({"requests_per_second": 1})
    data(provider, "Bearer none")
    provider.arm({"fault": "grant_dead", "times": 1})
    assert refresh(provider, refresh_token).status == 429
    clock.advance(1)
    assert refresh(provider, refresh_token).status == 400


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "5", True])
def test_a_limit_is_a_whole_number_above_zero(provider: AkoyaProvider, wrong: object) -> None:
    with pytest.raises(ValueError, match="requests_per_second must be a whole number"):
        provider.change_settings({"requests_per_second": wrong})
