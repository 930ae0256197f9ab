"""The tables of a simulated stack: the memory rows that the contract tests hold to DynamoDB.

Beside them, the due index in order, so that a large one is read quickly, and what DynamoDB would
count: the units of each table, and of each partition of the due index.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from sortedcontainers import SortedList

from tests.fakes.rows import MemoryRows, _shown, _test
from tests.tables import INDEXES
from token_broker.store import rows
from token_broker.store.rows import Condition, Row

DUE, SUBJECT = INDEXES["due"], INDEXES["subject"]
SHOWN_DUE, SHOWN_SUBJECT = DUE.attributes, SUBJECT.attributes
MINUTE = 60
PAGE = 8_000  # rows: one query reads 1 MB at most, and a row of the due index has some 120 bytes


class Table(MemoryRows):
    """Rows, counted: item writes and reads, and index writes by shard and minute."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__()
        self._clock = clock
        self._due: dict[int, SortedList[tuple[int, str]]] = defaultdict(SortedList)
        self.is_counting = False
        self.counted: Counter[str] = Counter()
        self.due_writes: Counter[tuple[int, int]] = Counter()  # by minute and shard

    def get(self, row_id: str, *, only: Collection[str] = ()) -> Row | None:
        """Read one row."""
        self.counted["reads"] += self.is_counting
        return super().get(row_id, only=only)

    def query(
        self,
        index: str,
        where: Condition,
        *,
        matching: Condition | None = None,
        only: Collection[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
        after: Row | None = None,
    ) -> list[Row]:
        """Read an index; that of what is due from its beginning."""
        if index != "due":
            return super().query(
                index,
                where,
                matching=matching,
                only=only,
                newest_first=newest_first,
                limit=limit,
                after=after,
            )
        shard, until = _shard_and_end(where)
        first = islice(self._due[shard].irange(maximum=(until + 1, "")), min(limit or PAGE, PAGE))
        found = [self.rows[row_id] for _, row_id in first]
        self.counted["index rows read"] += len(found) * self.is_counting
        matches = _test(matching) if matching else bool
        return [_shown(row, only or SHOWN_DUE) for row in filter(matches, found)]

    def _keep(self, row_id: str, row: Row | None) -> None:
        before, after = self.rows.get(row_id, {}), row or {}
        super()._keep(row_id, row)
        was, now = _place(before), _place(after)
        if was != now:
            if was:
                self._due[was[0]].remove(was[1])
            if now:
                self._due[now[0]].add(now[1])
        if not self.is_counting:
            return
        self.counted["writes"] += 1
        if was != now or _differ(before, after, SHOWN_DUE):
            moved = (was is not None) + (now is not None) if was != now else 1
            shard = (now or was or (0,))[0]
            self.due_writes[self._clock() // MINUTE, shard] += moved
            self.counted["due index writes"] += moved
        if _differ(before, after, SHOWN_SUBJECT):
            self.counted["subject index writes"] += 1


def _place(row: Row) -> tuple[int, tuple[int, str]] | None:
    due_at = row.get("due_at")
    return None if due_at is None else (row["shard"], (due_at, row["id"]))


def _differ(one: Row, other: Row, names: Collection[str]) -> bool:
    return any(one.get(name) != other.get(name) for name in names)


def _shard_and_end(where: Condition) -> tuple[int, int]:
    match where:
        case rows.Both(rows.Equals("shard", shard), rows.AtMost("due_at", until)):
            return shard, until
    raise TypeError(where)


def keep(table: Table, row: dict[str, Any]) -> None:
    """Put a row that was there before the simulated time began."""
    table._keep(row["id"], row)  # noqa: SLF001 - of our own table
