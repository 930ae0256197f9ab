"""The connections in a memory table, as a test looks at them and puts them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from tests.fakes.rows import MemoryRows
from token_broker.domain.connection import Connection
from token_broker.store.connection_row import connection_of, row_of
from token_broker.store.reading import pointer_of
from token_broker.store.rows import Row, versioned


class MemoryConnections(MutableMapping[str, Connection]):
    """Connections by id; a row that has not been replaced is read once."""

    def __init__(self, table: MemoryRows) -> None:
        self._table = table
        self._read: dict[str, tuple[Row, Connection]] = {}

    def __getitem__(self, connection_id: str) -> Connection:
        row = self._table.rows[connection_id]
        read = self._read.get(connection_id)
        if read is None or read[0] is not row:
            read = self._read[connection_id] = (row, connection_of(row))
        return read[1]

    def __setitem__(self, connection_id: str, connection: Connection) -> None:
        self._table.put(row_of(connection))

    def __delitem__(self, connection_id: str) -> None:
        self._table.remove(connection_id)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, row in self._table.rows.items() if "subject" in row])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def raw(self, connection_id: str) -> Row:
        """Return a row as the table holds it."""
        return self._table.rows[connection_id]

    def spoil(self, connection_id: str, odd: Row) -> None:
        """Let attributes of a row make no sense."""
        self._table.put(self.raw(connection_id) | odd)

    @property
    def going(self) -> dict[str, int]:
        """When the table removes each row that it removes by itself."""
        rows = self._table.rows.items()
        return {row_id: row["gone_at"] for row_id, row in rows if "gone_at" in row}

    def own(self, login: str, connection_id: str | None) -> None:
        """Make a connection the owner of a login, or nobody."""
        if connection_id is None:
            self._table.remove(pointer_of(login))
        else:
            self._table.put(versioned({"id": pointer_of(login), "owner": connection_id}))

    def restore(self, backup: dict[str, Connection]) -> None:
        """Become another table with the connections of a backup."""
        self.clear()
        self.update(backup)
        self._table.its_id = "restored"
