"""The row that says whose the connections table is; a copy or restore carries its original's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace

from token_broker.domain.errors import (
    BrokerMisconfigured,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.domain.identity import Identity
from token_broker.domain.ports import Clock
from token_broker.store.rows import Absent, Condition, Row, Rows, ensure_readable, named, versioned

ID = "identity"
CACHED_FOR = 60


@named
def is_unbound() -> Condition:
    """No token set has landed yet."""
    return Absent("provider")


class IdentityRow:
    """Reads it before every send, and binds it to the provider once the first set has landed."""

    def __init__(self, rows: Rows, *, clock: Clock, impatient: Rows) -> None:
        self._rows = rows
        self._impatient = impatient
        self._clock = clock
        self._table_id: tuple[int, str] | None = None  # (read at, TableId)
        self._unbound: Identity | None = None  # what the next landing binds the table to

    def table_id(self) -> str:
        """Return the TableId; read again each minute, for a restore may take the table's name."""
        now = self._clock()
        if self._table_id is None or now - self._table_id[0] >= CACHED_FOR:
            self._table_id = (now, self._rows.table_id())
        return self._table_id[1]

    def recorded(self, home: Identity) -> Identity:
        """Return the recorded identity; until one is bound, record `home` without its provider."""
        row = self._rows.get(ID)
        if row and "provider" in row:
            self._unbound = None
            return _identity(row)
        unbound = replace(home, provider=None)
        if row is None or _identity(row) != unbound:
            try:
                self._rows.put(_row(unbound), condition=is_unbound())
            except StaleGeneration:
                raise UpstreamUnavailable(detail="the table is being bound") from None
        self._unbound = home
        return unbound

    def bind(self) -> None:
        """Record the provider, for a set has landed; what fails is made up for by the next one."""
        if home := self._unbound:
            with suppress(TokenBrokerError):
                self._impatient.put(_row(home), condition=is_unbound())

    def adopt(self, home: Identity) -> None:
        """Record another identity, whatever is recorded."""
        self._rows.put(_row(home))


def _row(identity: Identity) -> Row:
    known = {part: value for part, value in asdict(identity).items() if value is not None}
    return versioned({"id": ID, **known})


def _identity(row: Row) -> Identity:
    ensure_readable(row)
    try:
        return Identity(
            table_id=row["table_id"],
            environment=row["environment"],
            client_id=row["client_id"],
            provider=row.get("provider"),
        )
    except KeyError:
        raise BrokerMisconfigured(
            detail="the row identity does not say whose the table is"
        ) from None
