"""The port of rows: in what words a write says what it changes, and when it may.

Conditions and writes are values of our own: they can be read aloud, held against a row in memory,
and compiled to what an engine understands. An attribute that is absent satisfies `Absent` and
`Not`, and no comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, Protocol

from token_broker.domain.errors import RowNewer

P = ParamSpec("P")

Row = dict[str, Any]
"""Attributes by name: text, whole numbers, bytes, truth, and maps of these."""

Path = str | tuple[str, str]
"""An attribute, or one entry of an attribute that is a map."""

# The version every row carries. An attribute may be added without a new one, if rows without it
# read as they should; a new one is for what an older broker would misread.
SCHEMA = 1


class Condition:
    """What must hold of a row for a write to be made."""

    def __and__(self, other: Condition) -> Both:
        return Both(self, other)

    def __or__(self, other: Condition) -> Either:
        return Either(self, other)

    def __invert__(self) -> Not:
        return Not(self)


@dataclass(frozen=True, slots=True)
class Equals(Condition):
    """The attribute has this value."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True)
class AtMost(Condition):
    """The attribute is a number no greater than this."""

    path: Path
    value: int


@dataclass(frozen=True, slots=True)
class Above(Condition):
    """The attribute is a number greater than this."""

    path: Path
    value: int


@dataclass(frozen=True, slots=True)
class OneOf(Condition):
    """The attribute has one of these values, of which there is at least one."""

    path: Path
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Absent(Condition):
    """The row has no such attribute, or there is no row."""

    path: Path


@dataclass(frozen=True, slots=True)
class IsA(Condition):
    """The attribute is there, and is a number (`int`) or a text (`str`)."""

    path: Path
    kind: type


@dataclass(frozen=True, slots=True)
class Fewer(Condition):
    """The attribute is a map of fewer entries than this."""

    path: Path
    than: int


@dataclass(frozen=True, slots=True)
class Both(Condition):
    """The one and the other hold."""

    one: Condition
    other: Condition


@dataclass(frozen=True, slots=True)
class Either(Condition):
    """The one or the other holds."""

    one: Condition
    other: Condition


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """It does not hold."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Named(Condition):
    """A condition under the name it has in the rules."""

    name: str
    condition: Condition


def named(make: Callable[P, Condition]) -> Callable[P, Named]:
    """Give the conditions a function makes the function's name."""

    @wraps(make)
    def condition(*args: P.args, **kwargs: P.kwargs) -> Named:
        return Named(make.__name__, make(*args, **kwargs))

    return condition


@dataclass(frozen=True, slots=True)
class Write:
    """A change of the named attributes of one row, and of no others; None removes one.

    `adds` are numbers to add to attributes; an absent one counts as 0. Without a condition, or
    where it holds of a row that is not there, the row is made.
    """

    id: str
    changes: Mapping[Any, Any] = field(repr=False)  # by path; one may be a key
    condition: Condition | None = None
    adds: Mapping[str, int] = field(default_factory=dict)


class Rows(Protocol):
    """One table. Reads are of the newest state, except where said.

    A write whose condition does not hold changes nothing and raises StaleGeneration; only `update`
    then tells the row as it stands. Every call raises UpstreamUnavailable when the table refuses or
    cannot be reached (for a write that means its effect is unknown), and BrokerMisconfigured where
    asking again cannot help.
    """

    def get(self, row_id: str, *, only: Collection[str] = ()) -> Row | None:
        """Read one row, or only these attributes of it."""

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
        """Read an index in the order of its second key; may lag.

        `where` speaks of the index's keys alone. With a limit: of the first so many only, of which
        those are returned that are `matching`. `after`: the keys of a row, which may have gone, and
        its id; what comes behind it is read.
        """

    def scan(self, *, matching: Condition, only: Collection[str]) -> Iterator[Row]:
        """Read all rows that are `matching`, in no order; may lag."""

    def put(self, row: Row, *, condition: Condition | None = None) -> None:
        """Write a whole row."""

    def update(self, write: Write) -> Row:
        """Change a row and return it whole, as it is then."""

    def transact(self, *writes: Write) -> None:
        """Change rows, all or none, and learn nothing of what they hold."""

    def delete(self, row_id: str, *, condition: Condition) -> None:
        """Remove a row."""

    def table_id(self) -> str:
        """Return what tells this very table from its copies and restores."""


def versioned(row: Row) -> Row:
    """Return a whole new row with the version it is written in."""
    return {**row, "schema": SCHEMA}


def ensure_readable(row: Row) -> Row:
    """Return the row, or raise RowNewer if a later version of the broker wrote it."""
    version = row.get("schema", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise RowNewer(detail="a later version of the broker wrote this row: deploy that one")
    return row
