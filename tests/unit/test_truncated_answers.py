"""An AWS answer that was cut on the way is that service being away, not an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.world import CLIENT_ID, START, World
from token_broker.adapters.client_credentials import SecretsManagerClientSecret
from token_broker.adapters.connection_table import DynamoConnectionTable
from token_broker.adapters.escrow import S3Escrow
from token_broker.adapters.seal import KmsSeal
from token_broker.domain.errors import TokenBrokerError, UpstreamUnavailable


class Cut:
    """A client of any AWS service whose answers carry nothing but what is given."""

    def __init__(self, **members: Any) -> None:
        self._members = members

    def __getattr__(self, _: str) -> Callable[..., dict[str, Any]]:
        return lambda **_: dict(self._members)


def clock() -> int:
    return START


@pytest.mark.parametrize("members", [{}, {"Plaintext": bytes(32)}, {"CiphertextBlob": b"key"}])
def test_a_data_key_that_lacks_a_part_is_no_key(members: dict[str, bytes]) -> None:
    client: Any = Cut(**members)
    with pytest.raises(UpstreamUnavailable):
        KmsSeal(client, "key", environment="sandbox").prepare("id", subject="a", connector="b")


def test_a_decrypt_without_its_plaintext_opens_nothing_and_blames_no_row(world: World) -> None:
    row = world.row(world.connect().id)
    client: Any = Cut()
    with pytest.raises(UpstreamUnavailable):
        KmsSeal(client, "key", environment="sandbox").open(row)


def test_a_secret_without_its_text_is_not_a_secret_that_is_not_set() -> None:
    client: Any = Cut()
    secret = SecretsManagerClientSecret(client, "secret", client_id=CLIENT_ID, clock=clock)
    with pytest.raises(UpstreamUnavailable):
        secret.read()


def test_a_write_whose_answer_was_cut_has_an_unknown_effect(world: World) -> None:
    client: Any = Cut()
    table = DynamoConnectionTable(client, "connections", clock=clock)
    row = world.row(world.connect().id)
    with pytest.raises(UpstreamUnavailable):
        table.due(now=START, limit=1)
    with pytest.raises(TokenBrokerError) as caught:
        table.bring_back(row, now=START)
    assert isinstance(caught.value, UpstreamUnavailable)


class CutS3(Cut):
    """S3 whose list says what is given, and whose objects have lost their bodies."""

    def get_paginator(self, _: str) -> CutS3:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [self._members]


@pytest.mark.parametrize("page", [{}, {"KeyCount": 1, "Contents": [{"Key": "id/2/attempt"}]}])
def test_a_set_in_escrow_whose_answer_was_cut_is_not_taken_for_none(page: dict[str, Any]) -> None:
    client: Any = CutS3(**page)
    with pytest.raises(UpstreamUnavailable):
        S3Escrow(client, "bucket").find("id", 2)
