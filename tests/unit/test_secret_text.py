"""A secret cannot be printed, whatever one tries, nor can a value that holds one."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from token_broker.domain.authorization import Opening, Redirect, Result
from token_broker.domain.outcome import Answer, Outcome
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet
from token_broker.store.rows import Write
from token_broker.use_cases.callback import AuthorizationResponse
from token_broker.use_cases.token import Bearer

TEXT = "rt-do-not-print"
SECRET = SecretText(TEXT)
HOLDERS: list[Any] = [
    SECRET,
    TokenSet(refresh_token=SECRET, id_token=SECRET),
    ClientCredentials(client_id="c", client_secret=SECRET),
    Answer(outcome=Outcome.SUCCESS, detail="200 -", refresh_token=SECRET, id_token=SECRET),
    AuthorizationResponse(state=SECRET, code=SECRET, error=None),
    Bearer(id_token=SECRET, expires_at=1, generation=1, connector="mikomo", subject="ada"),
    Redirect(
        return_to="https://app.example/",
        result=Result(status="active", connection_id="c"),
        confirmation=SECRET,
    ),
    Opening(authorization_url="https://idp.example/", cookie_name="n", cookie=SECRET),
]
WAYS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!r}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "exception": lambda value: str(ValueError(value)),
    "log": lambda value: logging.LogRecord(
        "n", logging.INFO, "p", 1, "%s", (value,), None
    ).getMessage(),
    "json default": lambda value: json.dumps(value, default=str),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "holder",
    [*HOLDERS, Write("identity", {"login_key": TEXT})],
    ids=lambda holder: type(holder).__name__,
)
def test_a_secret_is_masked_however_it_is_written(holder: Any, way: str) -> None:
    assert TEXT not in WAYS[way](holder)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_a_secret_is_not_pickled_copied_or_turned_into_json(holder: Any) -> None:
    for refused in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            refused(holder)


def test_a_secret_compares_and_reveals_and_is_never_empty() -> None:
    assert SecretText(TEXT) == SECRET
    assert SecretText("other") != SECRET
    assert SECRET.reveal() == TEXT
    with pytest.raises(ValueError, match="non-empty"):
        SecretText("")
