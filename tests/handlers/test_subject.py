"""A caller that says for whom it asks gets nothing of anybody else; a stack may require that."""

from __future__ import annotations

import json

import pytest

from tests.handlers.deployed import Deployed

BY_ID = {
    "token": "token.hand-out",
    "show": "connections.show",
    "disconnect": "connections.disconnect",
}
NAMED = {
    "token": "token.subject",
    "show": "connections.show-subject",
    "disconnect": "connections.disconnect-subject",
}


@pytest.mark.parametrize("act", BY_ID)
def test_anothers_connection_is_answered_to_the_letter_as_an_unknown_one(
    broker: Deployed, act: str
) -> None:
    broker.connect()
    others = broker.handle(f"{NAMED[act]}-other")
    broker.values["connection_id"] = "0" * 32

    assert broker.handle(NAMED[act]) == others
    assert others["statusCode"] == 404


@pytest.mark.parametrize("act", BY_ID)
def test_a_stack_that_requires_the_subject_refuses_an_id_alone_in_words(
    broker: Deployed, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    broker.connect()
    for function in ("token", "connections"):
        monkeypatch.setattr(broker.functions[function], "require_subject", True)
    before = broker.rows()

    refused = broker.handle(BY_ID[act])

    assert refused["statusCode"] == 400
    assert "requires subject" in json.loads(refused["body"])["error_description"]
    assert broker.rows() == before
    assert broker.handle(NAMED[act])["statusCode"] in {200, 202}
