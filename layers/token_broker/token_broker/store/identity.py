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
from token_broker.domain.ports import Clock, NewSecret
from token_broker.domain.secret_text import SecretText
from token_broker.store.rows import (
    Absent,
    Condition,
    Equals,
    IsA,
    Row,
    Rows,
    Write,
    ensure_readable,
    named,
    versioned,
)

ID = "identity"
CACHED_FOR = 60


@named
def is_unbound() -> Condition:
    """No token set has landed yet."""
    return Absent("provider")


@named
def is_unkeyed() -> Condition:
    """The table has no key for its logins yet, or none that reads."""
    return ~IsA("login_key", str) | Equals("login_key", "")


class IdentityRow:
    """Reads it before every send, and binds it to the provider once the first set has landed.

    It holds what keys the table's logins, too: of all processes the first one's key counts.
    """

    def __init__(self, rows: Rows, *, clock: Clock, new_secret: NewSecret, impatient: Rows) -> None:
        self._rows = rows
        self._impatient = impatient
        self._clock = clock
        self._new_secret = new_secret
        self._login_key: SecretText | None = None  # as last read
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
        row = self._read()
        self._login_key = _login_key(row)
        if "provider" in row:
            self._unbound = None
            return _identity(row)
        unbound = replace(home, provider=None)
        if any(row.get(part) != value for part, value in asdict(unbound).items()):
            try:
                self._rows.transact(_belongs_to(unbound, is_unbound()))
            except StaleGeneration:
                raise UpstreamUnavailable(detail="the table is being bound") from None
        self._unbound = home
        return unbound

    def bind(self) -> None:
        """Record the provider, for a set has landed; what fails is made up for by the next one."""
        if home := self._unbound:
            with suppress(TokenBrokerError):
                self._impatient.transact(_belongs_to(home, is_unbound()))

    def adopt(self, home: Identity) -> None:
        """Record another identity, whatever is recorded; the key of the logins stays."""
        self._rows.transact(_belongs_to(home))

    def login_key(self) -> SecretText:
        """Return what keys the table's logins; read with the identity, so before every send."""
        if self._login_key is None:
            self._login_key = _login_key(self._read())
        return self._login_key

    def _read(self) -> Row:
        """Read the row, with a key that is made where there is none that reads."""
        row = ensure_readable(self._rows.get(ID) or {})
        key = row.get("login_key")
        if not (key and isinstance(key, str)):
            keyed = versioned({"login_key": self._new_secret().reveal()})
            try:
                row = self._rows.update(Write(ID, keyed, is_unkeyed()))
            except StaleGeneration as another:
                row = dict(another.row)
        return row


def _belongs_to(identity: Identity, condition: Condition | None = None) -> Write:
    return Write(ID, versioned(asdict(identity)), condition)


def _login_key(row: Row) -> SecretText:
    return SecretText(row["login_key"])


def _identity(row: Row) -> Identity:
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
