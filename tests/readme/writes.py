"""The table of writes and conditions in docs/architecture.md, read off the store itself.

Every public method of the store is called with made-up arguments on rows that record what they are
told. `python -m tests.readme.writes` writes the table.
"""

from __future__ import annotations

import inspect
import typing
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass, replace
from enum import Enum
from itertools import chain, product
from pathlib import Path
from types import ModuleType
from typing import Any

from token_broker.domain.connection import (
    Connection,
    Landing,
    Lease,
    Owner,
    Place,
    Reason,
    Status,
)
from token_broker.domain.errors import StaleGeneration, TokenBrokerError
from token_broker.domain.ports import Clock, NewSecret
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import Verdict
from token_broker.store import (
    authorizations,
    conditions,
    connections,
    control,
    identity,
    moments,
    recent_subjects,
)
from token_broker.store.connection_row import ATTRIBUTES, row_of
from token_broker.store.rows import (
    Absent,
    Both,
    Condition,
    Either,
    Named,
    Not,
    OneOf,
    Row,
    Write,
    versioned,
)

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN, END = "<!-- writes -->\n", "<!-- end of writes -->\n"
SEEN = "the status seen"
Said = tuple[str, ...]
NOW = 1_800_000_000
MOST_NAMED = 12  # attributes; of more a write removes, the first are named
STORES = (
    connections.Connections,
    authorizations.Authorizations,
    control.Control,
    recent_subjects.RecentSubjects,
)


def table() -> str:
    """Return the table: each write of the store, what it changes, and what must hold."""
    lines = ["| write | row | changes | if |", "|---|---|---|---|"]
    for store in STORES:
        for name, method in _methods(store):
            lines += [f"| {' | '.join(row)} |" for row in _rows(store, name, method)]
    return "\n".join(lines) + "\n"


# ── made-up arguments ────────────────────────────────────────────────────────────────────────────

ATTEMPT = Lease(id="attempt", until=NOW + 105, since=NOW)
CONNECTION = Connection(
    id="connection",
    subject="subject",
    connector="connector",
    status=Status.PENDING_CONFIRMATION,
    linked_at=NOW,
    updated_at=NOW,
    generation=3,
    sealed=b"sealed",
    login="login",
    due_at=NOW + 900,
    lease=ATTEMPT,
    confirmation_hash="confirmation_hash",
)
RIVAL = Connection(
    id="connection that owned the login",
    subject="subject",
    connector="connector",
    status=Status.ACTIVE,
    linked_at=NOW,
    updated_at=NOW,
    generation=7,
)
VALUES: Mapping[Any, Any] = {
    int: NOW,
    bool: True,
    Lease: ATTEMPT,
    Owner: Owner(id=RIVAL.id, connection=RIVAL),
    Place: Place(NOW, "connection"),
    Reason: Reason.GRANT_DEAD,
    Status: Status.ACTIVE,
    Verdict: Verdict.OK,
    Landing: Landing(
        connection_id="connection",
        generation=4,
        attempt_id="attempt",
        sealed=b"sealed",
        login="login",
        issued_at=NOW,
        expires_at=NOW + 900,
        verdict=Verdict.OK,
    ),
    Clock: lambda: NOW,
    NewSecret: lambda: SecretText("key"),
}


def _value(name: str, kind: Any) -> Any:
    """Return a value for a parameter, by its type; a text is its name."""
    with suppress(KeyError, TypeError):
        return VALUES[kind]
    if isinstance(kind, type) and is_dataclass(kind):
        named = {"id": kind.__name__.lower()} if "id" in kind.__annotations__ else {}
        return kind(**_arguments(kind, skip=named), **named)
    if name == "record":
        return lambda *_args, **_fields: None
    kinds = typing.get_args(kind)
    if typing.get_origin(kind) is Collection or Status in kinds:
        return (Status.ACTIVE,)
    return next((_value(name, one) for one in kinds), name)


@dataclass
class Recorder:
    """The port of rows: what is read fits what is asked for, what is written is noted."""

    connection: Connection
    refuses_first: bool = False
    calls: list[list[tuple[str, Write]]] = field(default_factory=list)

    @property
    def stored(self) -> Row:
        return versioned(row_of(self.connection)) | {"owner": RIVAL.id, "login_key": "key"}

    def get(self, row_id: str, *, only: Collection[str] = ()) -> Row | None:
        del only
        if row_id == identity.ID:
            return {"table_id": "another", "environment": "sandbox", "client_id": "client"}
        if row_id.partition("#")[0] in {"subject", "met"}:
            return None
        if row_id == control.SENDERS:
            return {"refused#connector": NOW} if self.connection.status is Status.ACTIVE else {}
        return self.stored

    def query(self, *_args: Any, **_kwargs: Any) -> list[Row]:
        return []

    def scan(self, **_kwargs: Any) -> Iterator[Row]:
        return iter(())

    def put(self, row: Row, *, condition: Condition | None = None) -> None:
        self._note("puts", Write(row["id"], row, condition))

    def update(self, write: Write) -> Row:
        self._note("sets", write)
        return self.stored | {"count": 1}

    def transact(self, *writes: Write) -> None:
        self._note("sets", *writes)

    def delete(self, row_id: str, *, condition: Condition) -> None:
        self._note("deletes", Write(row_id, {}, condition))

    def table_id(self) -> str:
        return "table"

    def _note(self, how: str, *writes: Write) -> None:
        if self.refuses_first:
            self.refuses_first = False
            raise StaleGeneration(row=self.stored)
        self.calls.append([(how, write) for write in writes])


# ── the store is called ──────────────────────────────────────────────────────────────────────────


def _methods(store: type) -> list[tuple[str, Callable[..., Any]]]:
    """List the public methods of a store in the order of its pages."""
    found = [one for one in inspect.getmembers(store, inspect.isfunction) if one[0][0] != "_"]
    return sorted(found, key=lambda one: (one[1].__module__, one[1].__code__.co_firstlineno))


def _rows(store: type, name: str, method: Callable[..., Any]) -> Iterator[Said]:
    """Call a method on rows of every status; tell what it writes, and where that depends on it."""
    by_status = {status: [*_writes(store, name, method, status)] for status in Status}
    common = Counter(chain.from_iterable(by_status.values()))
    statuses: dict[Said, list[Status]] = {}
    for status, rows in by_status.items():
        for row in rows:
            *told, condition = row
            if common[row] == 1:  # it names the status of the very row that was seen
                condition = condition.replace(f"is_in({status})", f"is_in({SEEN})")
            statuses.setdefault((*told, condition), []).append(status)
    for (write, *told), found in statuses.items():
        is_some = store is connections.Connections and len(found) < len(Status)
        yield (f"{write} ({', '.join(found)})" if is_some else write, *told)


def _writes(store: type, name: str, method: Callable[..., Any], status: Status) -> Iterator[Said]:
    """Call a method plainly, then with its options; tell each write that differs."""
    module = method.__module__.rpartition(".")[2]
    seen: list[Said] = []
    for options, refuses in product(_options(method), (False, True)):
        recorder = Recorder(replace(CONNECTION, status=status), refuses_first=refuses)
        _call(store, name, method, recorder, options)
        said = f"`{module}.{name}`{''.join(f', `{one}`' for one in options)}"
        for call in recorder.calls:
            for place, (how, write) in enumerate(call):
                row = (_kind(write.id), _changes(how, write), _condition(write))
                if row not in seen:
                    seen.append(row)
                    failed = "; where that condition failed" if refuses else ""
                    yield (f"{said}{failed}{'; in the same transaction' if place else ''}", *row)


def _options(method: Callable[..., Any]) -> list[tuple[str, ...]]:
    """Return which optional parameters are given: none, the first, then each beside the first."""
    first, *others = [one.name for one in _parameters(method) if one.default is not one.empty] or [
        ""
    ]
    return [(), *([(first,)] if first else []), *((first, one) for one in others)]


def _call(
    store: type, name: str, method: Callable[..., Any], rows: Recorder, options: Collection[str]
) -> None:
    one = store(rows, **_arguments(vars(store)["__init__"], skip=("self", "rows")))
    if isinstance(one, control.Control):
        one.breaker()  # it reads first what every sender reads
    with suppress(TokenBrokerError):
        getattr(one, name)(
            **_arguments(method, skip=("self",), connection=rows.connection, options=options)
        )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [*inspect.signature(function).parameters.values()]


def _arguments(
    function: Callable[..., Any],
    *,
    skip: Collection[str],
    connection: Connection = CONNECTION,
    options: Collection[str] = (),
) -> dict[str, Any]:
    kinds = typing.get_type_hints(function)
    return {
        one.name: connection if kinds[one.name] is Connection else _value(one.name, kinds[one.name])
        for one in _parameters(function)
        if one.name not in skip and (one.default is one.empty or one.name in options)
    }


# ── in words ─────────────────────────────────────────────────────────────────────────────────────


def _kind(row_id: str) -> str:
    kind, mark, _ = row_id.partition("#")
    return f"`{kind}#…`" if mark else kind.removesuffix("_id")


def _condition(write: Write) -> str:
    return in_words(write.condition) if write.condition else "always"


def _changes(how: str, write: Write) -> str:
    if how == "deletes":
        return "deletes the row"
    if how == "puts" or set(write.changes) >= {"subject", "connector", "status"}:
        return "puts the whole row"
    given = [_set(path, value) for path, value in write.changes.items() if value is not None]
    gone = [f"`{_path(path)}`" for path, value in write.changes.items() if value is None]
    if len(gone) > MOST_NAMED:
        gone = [f"all but {', '.join(f'`{one}`' for one in _kept(write))}"]
    added = [f"`{name}`" for name in write.adds]
    parts = (("sets", given), ("removes", gone), ("adds to", added))
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


def _kept(write: Write) -> list[str]:
    return [name for name in {"schema": None, **ATTRIBUTES} if name not in write.changes]


def _set(path: Any, value: Any) -> str:
    return f"`{_path(path)}` = {value}" if isinstance(value, Enum) else f"`{_path(path)}`"


def _path(path: Any) -> str:
    return path if isinstance(path, str) else f"{path[0]}.…"


def in_words(condition: Condition) -> str:
    """Read a condition aloud, by the names it is made of."""
    match condition:
        case Named(name, inner):
            return f"`{name}({_of(name, inner)})`"
        case Both(one, other):
            return f"{in_words(one)} and {in_words(other)}"
        case Either(one, other):
            return f"({in_words(one)} or {in_words(other)})"
        case Not(Absent("id")):
            return "the row exists"
        case Absent("id"):
            return "there is no such row"
        case Not(inner):
            return f"not {in_words(inner)}"
    raise TypeError(f"name the condition {condition}")


def _of(name: str, inner: Condition) -> str:
    """Return what a named condition is made of: values that are words, else their names."""
    if isinstance(inner, OneOf):
        return ", ".join(inner.values)
    made_by = next(vars(one)[name] for one in _PAGES if name in vars(one))
    return ", ".join(inspect.signature(made_by).parameters)


_PAGES: tuple[ModuleType, ...] = (conditions, authorizations, control, identity, moments)


def main() -> None:
    """Write the table anew."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
