"""What every engine of rows must do: conditions and writes mean the same on each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import DYNAMODB_LOCAL
from tests.fakes.rows import MemoryRows
from tests.tables import Aws, create_tables
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.domain.connection import Status
from token_broker.domain.errors import StaleGeneration
from token_broker.store.rows import (
    Above,
    Absent,
    AtMost,
    Condition,
    Equals,
    Fewer,
    OneOf,
    Row,
    Rows,
    Write,
    named,
)

ROW: Row = {
    "id": "a",
    "status": "ACTIVE",
    "generation": 3,
    "token_set": b"\x00\xff",
    "resent": True,
    "openings": {"x.y": {"hash": "h", "since": None}, "z": {"hash": "i", "since": 4}},
}
_names = itertools.count(1)


def memory(_: pytest.FixtureRequest) -> Rows:
    return MemoryRows()


def broker(fixture: str) -> Callable[[pytest.FixtureRequest], Rows]:
    def make(request: pytest.FixtureRequest) -> Rows:
        engine: Any = request.getfixturevalue(fixture)
        client = engine.dynamodb if isinstance(engine, Aws) else engine
        prefix = f"rows{next(_names)}"
        create_tables(client, prefix)
        return DynamoRows(client, f"{prefix}-connections")

    return make


@pytest.fixture(
    params=[
        pytest.param(memory, id="memory"),
        pytest.param(broker("aws"), id="dynamodb"),
        pytest.param(broker("real_dynamodb"), id="dynamodb-local", marks=DYNAMODB_LOCAL.marks),
        pytest.param(broker("embedded_dynamodb"), id="embedded-aws", marks=pytest.mark.stack),
    ]
)
def rows(request: pytest.FixtureRequest) -> Rows:
    make: Callable[[pytest.FixtureRequest], Rows] = request.param
    return make(request)


@named
def is_anything() -> Condition:
    return Equals("generation", 0) | ~Equals("generation", 0)


HOLDING: tuple[Condition, ...] = (
    Equals("status", Status.ACTIVE),
    Equals("token_set", b"\x00\xff"),
    Equals("resent", True),
    Equals(("openings", "x.y"), {"hash": "h", "since": None}),
    AtMost("generation", 3),
    Above("generation", 2),
    OneOf("status", (Status.LINKING, Status.ACTIVE)),
    Absent("lease_id"),
    Absent(("openings", "y")),
    Fewer("openings", 3),
    Equals("generation", 3) & Equals("status", "ACTIVE"),
    Equals("generation", 4) | Equals("status", "ACTIVE"),
    (Equals("generation", 4) | Equals("generation", 3)) & Absent("lease_id"),
    ~(Equals("generation", 4) & Absent("lease_id")),
    is_anything(),
)
FAILING: tuple[Condition, ...] = (
    Equals("status", Status.LINKING),
    Equals("token_set", b"\x00"),
    Equals("generation", "3"),
    AtMost("generation", 2),
    Above("generation", 3),
    OneOf("status", (Status.LINKING,)),
    Absent("id"),
    Absent(("openings", "x.y")),
    Fewer("openings", 2),
    Equals("generation", 3) & Equals("status", "LINKING"),
    Absent("lease_id") & (Equals("generation", 4) | Equals("generation", 5)),
    ~Absent("lease_id"),
    # An attribute that is absent satisfies no comparison.
    Equals("lease_id", ""),
    AtMost("due_at", 9),
    Above("due_at", 0),
    OneOf("due_at", (1, 2)),
    Equals(("attempts", "x"), 1),
)


def by_update(rows: Rows, condition: Condition) -> None:
    rows.update(Write("a", {"last": "update"}, condition))


def by_transaction(rows: Rows, condition: Condition) -> None:
    rows.transact(Write("b", {"last": "one"}), Write("a", {"last": "other"}, condition))


def by_one_alone(rows: Rows, condition: Condition) -> None:
    rows.transact(Write("a", {"last": "alone"}, condition))


def by_put(rows: Rows, condition: Condition) -> None:
    rows.put({"id": "a", "last": "put"}, condition=condition)


def by_delete(rows: Rows, condition: Condition) -> None:
    rows.delete("a", condition=condition)


WAYS = (by_update, by_transaction, by_one_alone, by_put, by_delete)


@pytest.mark.parametrize("condition", HOLDING, ids=str)
def test_a_write_is_made_where_its_condition_holds(rows: Rows, condition: Condition) -> None:
    for write in WAYS:
        rows.put(ROW)
        write(rows, condition)
        assert rows.get("a") != ROW


@pytest.mark.parametrize("condition", FAILING, ids=str)
def test_a_write_is_refused_where_it_does_not(rows: Rows, condition: Condition) -> None:
    rows.put(ROW)
    for write in WAYS:
        with pytest.raises(StaleGeneration):
            write(rows, condition)
    assert rows.get("a") == ROW
    assert rows.get("b") is None


def test_only_an_update_that_is_refused_tells_the_row_as_it_stands(rows: Rows) -> None:
    rows.put(ROW)
    for write in WAYS:
        with pytest.raises(StaleGeneration) as refused:
            write(rows, Equals("generation", 4))
        assert refused.value.row == (ROW if write is by_update else {})

    with pytest.raises(StaleGeneration) as refused:
        rows.update(Write("unknown", {"generation": 4}, Equals("generation", 3)))
    assert refused.value.row == {}


def test_a_row_reads_as_it_was_written_and_an_unknown_one_is_none(rows: Rows) -> None:
    rows.put(ROW)

    assert rows.get("a") == ROW
    assert rows.get("a", only=("id", "status", "lease_id")) == {"id": "a", "status": "ACTIVE"}
    assert rows.get("unknown") is None


def test_an_update_changes_what_it_names_and_nothing_else(rows: Rows) -> None:
    rows.put(ROW)
    changes = {"status": Status.REVOKED, "token_set": None, "lease_id": None}

    updated = rows.update(Write("a", changes, adds={"generation": 2, "unsettled": 1}))

    kept = {name: value for name, value in ROW.items() if name != "token_set"}
    assert updated == kept | {"status": "REVOKED", "generation": 5, "unsettled": 1}
    assert rows.get("a") == updated


def test_an_entry_of_a_map_is_set_and_removed(rows: Rows) -> None:
    rows.put(ROW)
    changes = {("openings", "z"): None, ("openings", "x.y"): {"hash": "j"}, ("openings", "v"): 1}

    rows.transact(Write("a", changes))

    assert rows.get("a") == ROW | {"openings": {"x.y": {"hash": "j"}, "v": 1}}


def test_a_write_without_a_condition_makes_the_row(rows: Rows) -> None:
    assert rows.update(Write("new", {"generation": 1}, adds={"count": 0})) == {
        "id": "new",
        "generation": 1,
        "count": 0,
    }
    rows.transact(Write("other", {"generation": 1}, Absent("id")))
    assert rows.get("other") == {"id": "other", "generation": 1}


def test_what_is_returned_is_the_callers_to_change(rows: Rows) -> None:
    rows.put(ROW)
    got, updated = rows.get("a"), rows.update(Write("a", {"generation": 3}))
    assert got is not None

    got.clear()
    updated.clear()

    assert rows.get("a") == ROW


def due(row_id: str, due_at: int, **more: Any) -> Row:
    return {"id": row_id, "shard": 1, "due_at": due_at, "status": "ACTIVE"} | more


def test_an_index_is_read_in_the_order_of_its_second_key(rows: Rows) -> None:
    for row in (due("b", 20), due("a", 10), due("d", 40), due("c", 30), due("x", 5, shard=2)):
        rows.put(row)
    rows.put({"id": "gone", "shard": 1, "status": "REVOKED"})
    where = Equals("shard", 1) & AtMost("due_at", 30)

    assert [row["id"] for row in rows.query("due", where)] == ["a", "b", "c"]
    assert [row["id"] for row in rows.query("due", where, newest_first=True)] == ["c", "b", "a"]
    assert [row["id"] for row in rows.query("due", where, limit=2)] == ["a", "b"]

    rows.update(Write("a", {"shard": None}))
    rows.delete("b", condition=Equals("shard", 1))
    assert [row["id"] for row in rows.query("due", where)] == ["c"]


def test_a_limit_is_of_what_is_looked_at_not_of_what_matches(rows: Rows) -> None:
    for row in (due("a", 10, asked_at=1), due("b", 20), due("c", 30, asked_at=1)):
        rows.put(row)

    found = rows.query(
        "due",
        Equals("shard", 1) & AtMost("due_at", 99),
        matching=Equals("asked_at", 1),
        only=("due_at",),
        limit=2,
    )

    assert found == [{"due_at": 10}]


def test_an_index_does_not_hold_the_token_set(rows: Rows) -> None:
    rows.put({"id": "a", "subject": "ada", "linked_at": 1, "token_set": b"x", "status": "ACTIVE"})

    (found,) = rows.query("subject", Equals("subject", "ada"))

    assert found == {"id": "a", "subject": "ada", "linked_at": 1}


def test_an_index_is_read_on_from_a_row_that_has_gone(rows: Rows) -> None:
    of_ada: Row = {"subject": "ada"}
    linked = {"a": 10, "b": 30, "c": 20, "d": 20, "e": 20}
    for row_id, linked_at in linked.items():
        rows.put({"id": row_id, "linked_at": linked_at} | of_ada)
    where = Equals("subject", "ada")

    found: list[str] = []
    page = rows.query("subject", where, newest_first=True, limit=2)
    while page:
        found += [row["id"] for row in page]
        rows.delete(page[-1]["id"], condition=where)
        page = rows.query("subject", where, newest_first=True, limit=2, after=page[-1])

    assert (found[0], sorted(found[1:4]), found[4:]) == ("b", ["c", "d", "e"], ["a"])


def test_a_scan_reads_what_matches(rows: Rows) -> None:
    rows.put(ROW)
    rows.put({"id": "pointer", "owner": "a"})

    assert list(rows.scan(matching=~Absent("status"), only=("id",))) == [{"id": "a"}]


def test_a_table_keeps_its_id(rows: Rows) -> None:
    assert rows.table_id() == rows.table_id() != ""
