"""GET /connections in pages: each connection once, and nothing of a person in what names a page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.handlers.deployed import NEWEST, Deployed
from tests.handlers.test_any_input import ask
from token_broker.domain.connection import Connection, Page, Place, Status
from token_broker.use_cases import connections


def page(broker: Deployed, cursor: str = NEWEST) -> dict[str, Any]:
    """Return a page of one, behind a cursor."""
    broker.values["cursor"] = cursor
    content: dict[str, Any] = json.loads(broker.handle("connections.list-page")["body"])
    return content


def link(broker: Deployed, *linked_at: int) -> list[str]:
    """Add connections of ada's that were linked then; return their ids."""
    links = [
        Connection(
            id=f"{number:032x}",
            subject="ada",
            connector="mikomo",
            status=Status.LINKING,
            linked_at=moment,
            updated_at=moment,
        )
        for number, moment in enumerate(linked_at)
    ]
    for one in links:
        broker.functions["connections"].table.create(one)
    return [one.id for one in links]


def test_pages_show_each_connection_once_newest_first(broker: Deployed) -> None:
    linked = link(broker, 10, 20, 20)

    first = page(broker)
    second = page(broker, first["next"])
    third = page(broker, second["next"])

    shown = [one for found in (first, second, third) for one in found["connections"]]
    assert sorted(one["connection_id"] for one in shown) == linked
    assert [one["linked_at"] for one in shown] == [20, 20, 10]
    assert "next" not in third


def test_a_list_that_is_whole_names_no_next_page(broker: Deployed) -> None:
    link(broker, 10)

    assert json.loads(broker.handle("connections.list")["body"]).keys() == {"connections"}


def test_a_page_is_named_by_a_time_and_an_id_not_by_whose_it_is(broker: Deployed) -> None:
    _, later = link(broker, 10, 20)

    assert page(broker)["next"] == f"20-{later}"


def test_a_page_behind_anothers_connection_shows_nothing_of_it(broker: Deployed) -> None:
    _, later = link(broker, 10, 20)

    found = connections.of_subject(
        broker.functions["connections"].table, subject="eve", limit=1, after=Place(20, later)
    )

    assert found == Page([], None)


@pytest.mark.parametrize(
    "given",
    [
        {"limit": ["0"]},
        {"limit": ["-1"]},
        {"limit": ["ten"]},
        {"limit": ["9" * 2_000]},
        {"limit": [""]},
        {"cursor": [""]},
        {"cursor": ["1"]},
        {"cursor": ["x-" + "0" * 32]},
        {"cursor": ["9" * 40 + "-" + "0" * 32]},
        {"cursor": ["1-" + "0" * 32, "2-" + "0" * 32]},
    ],
)
def test_a_page_nobody_can_mean_is_refused(broker: Deployed, given: dict[str, list[str]]) -> None:
    query = {"subject": ["ada"], **given}

    assert ask(broker, "connections.list", multiValueQueryStringParameters=query) == 400
