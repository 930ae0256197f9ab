"""The port of rows in memory: the same conditions and writes, interpreted."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from operator import gt, itemgetter, lt
from typing import Any

from tests.tables import INDEXES
from token_broker.domain.errors import StaleGeneration
from token_broker.store import rows
from token_broker.store.rows import Condition, Path, Row, Write

Test = Callable[[Row], bool]
MISSING = object()
NUMBER = (int, Decimal)


class MemoryRows:
    """Rows in a dict, behind one mutex; a row that is kept is never changed, but replaced."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.its_id = "table-1"
        self._parts: dict[tuple[str, Any], dict[str, Row]] = defaultdict(dict)
        self._mutex = threading.RLock()

    def get(self, row_id: str, *, only: Collection[str] = ()) -> Row | None:
        row = self.rows.get(row_id)
        return None if row is None else _shown(row, only)

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
        keys = INDEXES[index]
        first = where.one if isinstance(where, rows.Both) else where
        assert isinstance(first, rows.Equals)
        with self._mutex:
            there = list(self._parts[keys.partition, first.value].values())
        found = [row for row in filter(_test(where), there) if keys.order in row]
        place = itemgetter(keys.order, "id")
        found.sort(key=place, reverse=newest_first)
        if after:
            is_behind = lt if newest_first else gt
            found = [row for row in found if is_behind(place(row), place(after))]
        matches = _test(matching) if matching else bool
        return [_shown(row, only or keys.attributes) for row in filter(matches, found[:limit])]

    def scan(self, *, matching: Condition, only: Collection[str]) -> Iterator[Row]:
        with self._mutex:
            there = list(self.rows.values())
        return (_shown(row, only) for row in filter(_test(matching), there))

    def put(self, row: Row, *, condition: Condition | None = None) -> None:
        with self._mutex:
            self._ensure(row["id"], condition)
            self._keep(row["id"], dict(row))

    def update(self, write: Write) -> Row:
        with self._mutex:
            try:
                self._ensure(write.id, write.condition)
            except StaleGeneration:
                raise StaleGeneration(row=self.rows.get(write.id)) from None
            self._keep(write.id, _changed(self.rows.get(write.id, {"id": write.id}), write))
            return dict(self.rows[write.id])

    def transact(self, *writes: Write) -> None:
        with self._mutex:
            for write in writes:
                self._ensure(write.id, write.condition)
            for write in writes:
                self.update(Write(write.id, write.changes, adds=write.adds))

    def delete(self, row_id: str, *, condition: Condition) -> None:
        with self._mutex:
            self._ensure(row_id, condition)
            self.remove(row_id)

    def remove(self, row_id: str) -> None:
        with self._mutex:
            self._keep(row_id, None)

    def table_id(self) -> str:
        return self.its_id

    def _ensure(self, row_id: str, condition: Condition | None) -> None:
        if condition and not _test(condition)(self.rows.get(row_id, {})):
            raise StaleGeneration

    def _keep(self, row_id: str, row: Row | None) -> None:
        """Put a row in the place of what there is, and into the indexes; None removes it."""
        before = self.rows.pop(row_id, {})
        for key in (index.partition for index in INDEXES.values()):
            self._parts[key, before.get(key)].pop(row_id, None)
            if row is not None:
                self._parts[key, row.get(key)][row_id] = row
        if row is not None:
            self.rows[row_id] = row


def _test(condition: Condition) -> Test:  # noqa: C901 - a list
    """Return how to tell of any row, or of an empty one, whether a condition holds."""
    match condition:
        case rows.Named(_, inner):
            return _test(inner)
        case rows.Both(one, other):
            this, that = _test(one), _test(other)
            return lambda row: this(row) and that(row)
        case rows.Either(one, other):
            this, that = _test(one), _test(other)
            return lambda row: this(row) or that(row)
        case rows.Not(inner):
            test = _test(inner)
            return lambda row: not test(row)
        case rows.Equals(path, value):
            return _at(path, lambda found: bool(found == value))
        case rows.AtMost(path, value):
            return _at(path, lambda found: isinstance(found, NUMBER) and bool(found <= value))
        case rows.Above(path, value):
            return _at(path, lambda found: isinstance(found, NUMBER) and bool(found > value))
        case rows.OneOf(path, values):
            return _at(path, lambda found: found in values)
        case rows.Absent(path):
            return _at(path, lambda found: found is MISSING)
        case rows.IsA(path, kind):
            return _at(path, lambda found: isinstance(found, NUMBER if kind is int else kind))
        case rows.Fewer(path, than):
            return _at(path, lambda found: isinstance(found, dict) and len(found) < than)
    raise TypeError(condition)


def _at(path: Path, test: Callable[[Any], bool]) -> Test:
    if isinstance(path, str):
        return lambda row: test(row.get(path, MISSING))
    return lambda row: test(row.get(path[0], {}).get(path[1], MISSING))


def _shown(row: Row, only: Collection[str]) -> Row:
    return {name: value for name, value in row.items() if not only or name in only}


def _changed(row: Row, write: Write) -> Row:
    row = dict(row)
    for path, value in write.changes.items():
        part, name = row, path
        if not isinstance(path, str):
            part = row[path[0]] = dict(row[path[0]])
            name = path[1]
        part[name] = value
        if value is None:
            del part[name]
    for name, by in write.adds.items():
        row[name] = row.get(name, 0) + by
    return row
