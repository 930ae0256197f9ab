"""Whose connection it is, where the caller says for whom it asks."""

from __future__ import annotations

from token_broker.domain.connection import Connection
from token_broker.domain.errors import ConnectionNotFound


def ensure_subject(connection: Connection, subject: str | None) -> None:
    """Raise ConnectionNotFound if the caller asks for another subject than the connection's.

    Another's connection looks like one that does not exist; None: the caller does not say.
    """
    if subject is not None and subject != connection.subject:
        raise ConnectionNotFound
