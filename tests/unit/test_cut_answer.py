"""A body cut on its way: a refresh token is read out of it whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.akoya_sandbox.dialects import DIALECTS
from tests.world import World
from token_broker.adapters.akoya import Wire, classify
from token_broker.adapters.cut_answer import whole_members
from token_broker.domain.outcome import Answer, Grant, Outcome

ISSUED = "rt-\u00fcber\\\"'/}{,:\u2603\U0001f511-issued"
ESCAPED = json.dumps({"refresh_token": ISSUED, "id_token": "i"}, ensure_ascii=True)
NOT_ESCAPED = json.dumps({"id_token": "i", "refresh_token": ISSUED}, ensure_ascii=False)
SOLIDUS = '{"refresh_token": "a\\/b\\u0041", "n": 1}'


def cut(body: bytes, *, by: Outcome = Outcome.UPSTREAM, status: int = 200) -> Answer:
    return classify(Grant.REFRESH_TOKEN, Wire(status, body, cut=by))


def cut_everywhere(body: bytes) -> Iterator[str | None]:
    """Read what is left of a body at each length; yield the refresh token, if any is taken."""
    for length in range(len(body) + 1):
        answer = cut(body[:length])
        assert answer.outcome in (Outcome.SUCCESS, Outcome.UPSTREAM)
        assert (answer.outcome is Outcome.SUCCESS) == (answer.refresh_token is not None)
        yield answer.refresh_token.reveal() if answer.refresh_token else None


def answers_of_the_sandbox(dialect: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the answers to an exchange and a refresh, each member in each place."""
    world = World.in_memory(dialect)
    bodies: list[bytes] = []

    def kept(response: Any) -> Any:
        if response.request.method == "POST":
            bodies.append(response.raw.read())
            response.raw._fp.seek(0)
            response.raw.length_remaining = len(bodies[-1])
            response.raw._fp_bytes_read = 0
        return response

    world.http.after = kept
    connection = world.connect()
    world.make_due(connection.id)
    world.run_schedule()
    assert len(bodies) == 2
    for body in bodies:
        members = json.loads(body)
        for first in members:
            ordered = {first: members[first], **members}
            yield json.dumps(ordered).encode(), members


@pytest.mark.parametrize("dialect", DIALECTS)
def test_of_an_answer_cut_anywhere_the_token_that_was_issued_is_read_or_none(dialect: str) -> None:
    for body, members in answers_of_the_sandbox(dialect):
        issued = members["refresh_token"]
        taken = list(cut_everywhere(body))
        whole_at = body.index(f'"{issued}"'.encode()) + len(issued) + 2
        assert set(taken[:whole_at]) == {None}
        assert set(taken[whole_at:]) == {issued}


@pytest.mark.parametrize("text", [ESCAPED, NOT_ESCAPED, SOLIDUS])
def test_escapes_are_read_by_json_itself_wherever_they_are_cut(text: str) -> None:
    issued = json.loads(text)["refresh_token"]

    taken = list(cut_everywhere(text.encode()))

    assert set(taken) == {None, issued}
    assert taken[-1] == issued


@pytest.mark.parametrize(
    "text",
    [
        '{"error": {"refresh_token": "another"}, "refresh_token": "issued", "x": 1}',
        '{"sets": [{"refresh_token": "another"}], "refresh_token": "issued"}',
        '{"a": "\\"refresh_token\\": \\"another\\"", "refresh_token": "issued"}',
        ' {"refresh_token" : 7, "refresh_token" : "issued" }',
        '{"refresh_token": null, "refresh_token": "issued"}',
    ],
)
def test_only_a_top_level_member_is_read(text: str) -> None:
    assert set(cut_everywhere(text.encode())) == {None, "issued"}


def test_of_doubled_names_the_last_that_came_counts_and_one_begun_makes_the_earlier_void() -> None:
    """Of one that stood whole in the part that never came, nothing can be known."""
    text = b'{"refresh_token": "first", "refresh_token": "issued"}'

    taken = list(cut_everywhere(text))

    second = text.index(b'"refresh_token"', 5)
    assert set(taken[:second]) == {None, "first"}
    assert set(taken[second + len('"refresh_token"') :]) == {None, "issued"}


@pytest.mark.parametrize(
    "body",
    [
        b'<!doctype html><script>{"refresh_token": "another"}</script>',
        b'[{"refresh_token": "another"}, ',
        b'"refresh_token": "another", ',
        b'x{"refresh_token": "another", ',
        b'{"refresh_token": "another" "',
        b'{"refresh_token": "another"]',
        b'{"refresh_token" "another", ',
        b'{, "refresh_token": "another", ',
        b'{"a": 1; "refresh_token": "another", ',
        b'{"refresh_token": "ano\xffther", ',
        b'{"refresh_token": "ano\nther", ',
        b'{"a": ' + b"[" * 100_000,
        b"",
        b"{",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_nothing_is_read_out_of_what_is_no_json_object(body: bytes) -> None:
    assert cut(body).outcome is Outcome.UPSTREAM
    assert "refresh_token" not in whole_members(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"refresh_token": "issued", "expires_in": 9, "id_token": "ey',  # its connection was closed
        '{"refresh_token": "issued"}x',
        '{"refresh_token": "issued", ',
    ],
)
def test_what_does_not_come_whole_keeps_its_refresh_token_though_nothing_says_so(
    body: str,
) -> None:
    answer = classify(Grant.REFRESH_TOKEN, Wire(200, body.encode()))

    assert answer.outcome is Outcome.SUCCESS
    assert answer.refresh_token
    assert (answer.refresh_token.reveal(), answer.id_token) == ("issued", None)


@pytest.mark.parametrize(
    "body", ["", "<html>", '{"id_token": "i", "refresh_tok', '{"id_token": "i"}x']
)
def test_a_body_without_a_refresh_token_that_is_not_whole_stays_garbled(body: str) -> None:
    answer = classify(Grant.REFRESH_TOKEN, Wire(200, body.encode()))

    assert (answer.outcome, answer.id_token) == (Outcome.GARBLED, None)


def test_where_the_refresh_token_was_cut_the_old_one_is_not_taken_for_the_one_that_stays() -> None:
    answer = cut(b'{"id_token": "i", "expires_in": 899, "refresh_tok')

    assert (answer.outcome, answer.id_token) == (Outcome.UPSTREAM, None)


def test_a_number_at_the_cut_may_go_on_and_is_not_read() -> None:
    assert whole_members(b'{"a": 1, "expires_in": 86') == {"a": 1}
    assert whole_members(b'{"a": 1, "expires_in": 86,') == {"a": 1, "expires_in": 86}


@pytest.mark.parametrize("status", [302, 400, 401, 403])
def test_a_refusal_whose_reason_was_cut_says_nothing_about_grant_or_provider(status: int) -> None:
    body = b'{"error": "invalid_grant", "error_desc'

    assert cut(body, by=Outcome.TIMEOUT, status=status).outcome is Outcome.TIMEOUT
