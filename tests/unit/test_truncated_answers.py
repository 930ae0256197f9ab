"""An AWS answer that was cut on the way is that service being away, not an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clock import START
from tests.contract.rows import unrecorded
from tests.wiring import CLIENT_ID, LOGIN_KEY
from tests.world import World
from token_broker.adapters.client_credentials import SecretsManagerClientSecret
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.adapters.escrow import S3Escrow
from token_broker.adapters.seal import KmsSeal
from token_broker.domain.connection import Reason
from token_broker.domain.errors import ConsentSuspect, TokenBrokerError, UpstreamUnavailable
from token_broker.store.connections import Connections
from token_broker.store.control import Control


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
    table = Connections(
        DynamoRows(client, "connections"),
        clock=clock,
        new_secret=lambda: LOGIN_KEY,
        record=unrecorded,
    )
    row = world.row(world.connect().id)
    with pytest.raises(UpstreamUnavailable):
        table.due(now=START, limit=1)
    with pytest.raises(TokenBrokerError) as caught:
        table.reinstate(row, now=START)
    assert isinstance(caught.value, UpstreamUnavailable)


class CutPages(Cut):
    """A service whose one page carries what is given, and whose other answers carry that too."""

    def get_paginator(self, _: str) -> CutPages:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [self._members]


@pytest.mark.parametrize("page", [{}, {"KeyCount": 1, "Contents": [{"Key": "id/2/attempt"}]}])
def test_a_set_in_escrow_whose_answer_was_cut_is_not_taken_for_none(page: dict[str, Any]) -> None:
    client: Any = CutPages(**page)
    with pytest.raises(UpstreamUnavailable):
        S3Escrow(client, "bucket").find("id", 2)


@pytest.mark.parametrize("read", ["expiries", "of_subject", "every"])
def test_a_list_of_rows_that_was_cut_is_not_an_empty_one(read: str) -> None:
    client: Any = CutPages()
    table = Connections(
        DynamoRows(client, "connections"),
        clock=clock,
        new_secret=lambda: LOGIN_KEY,
        record=unrecorded,
    )
    reads: dict[str, Callable[[], object]] = {
        "expiries": lambda: table.expiries(due_until=START),
        "of_subject": lambda: table.of_subject("ada"),
        "every": lambda: list(table.every()),
    }
    with pytest.raises(UpstreamUnavailable):
        reads[read]()


def test_a_count_of_refusals_that_was_cut_is_no_count() -> None:
    client: Any = Cut()
    control = Control(DynamoRows(client, "control"), clock=clock, record=lambda *_, **__: None)
    with pytest.raises(UpstreamUnavailable):
        control.refusal_met(connector="c", earlier_at=None)


class Cutting:
    """A client whose answers to some requests lose all they carry, after those took effect."""

    def __init__(self, client: Any, operation: str, *, having: str) -> None:
        self._client, self._operation, self._having = client, operation, having

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name != self._operation:
            return call

        def cut(**request: Any) -> Any:
            answer = call(**request)
            return {} if self._having in request else answer

        return cut


def test_a_refusal_is_recorded_as_what_it_is_though_its_count_was_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.connect()
    world.provider.expire("refresh_token")
    world.clock.now = float(one.expires_at or 0)
    control: Any = world.broker.control
    with monkeypatch.context() as patch:
        client = Cutting(world.aws.dynamodb, "update_item", having="UpdateExpression")
        patch.setattr(control._rows, "_client", client)
        with pytest.raises(ConsentSuspect):
            world.hand_out(one.id)

    row = world.row(one.id)
    assert (row.lease, row.unsettled) == (None, 0)
    assert world.pass_refusals(one.id).reason is Reason.GRANT_DEAD


def test_a_run_sends_what_is_due_though_its_measurement_was_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.connect()
    world.make_due(one.id)
    client = Cutting(world.aws.dynamodb, "query", having="FilterExpression")
    connections: Any = world.broker.connections
    monkeypatch.setattr(connections._rows, "_client", client)

    world.run_schedule()

    answered = [
        request["status"]
        for request in world.provider.ledger()["requests"]
        if request["grant_type"] == "refresh_token"
    ]
    assert (answered, world.row(one.id).generation) == ([200], 2)
