"""Export: take connections out with their living tokens; the broker does not send those again."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from operations import transfer
from operations.many import Entry, for_each
from token_broker.domain.connection import Connection, Reason, Status
from token_broker.domain.errors import TokenBrokerError
from token_broker.domain.token_set import TokenSet
from token_broker.use_cases.broker import Broker


def chosen(broker: Broker, subjects: Collection[str]) -> list[Connection]:
    """Return the connections of some subjects, or of all, that hold living tokens."""
    return [
        one
        for one in broker.connections.every()
        if (not subjects or one.subject in subjects)
        and (one.status is Status.ACTIVE or one.reason is Reason.EXPORTED)
    ]


def take_out(
    broker: Broker,
    connection_ids: list[str],
    *,
    file: Path,
    quarantine: int,
    report: Callable[[Entry], None],
) -> Counter[str]:
    """Write a line for each to a file that must not be there yet and only its owner reads.

    A connection is ended here before its line is written, and can be taken out again for
    `quarantine` seconds: a run that dies on the way loses nothing. Raises FileExistsError.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:

        def act(connection_id: str) -> Entry:
            entry: Entry = {"connection_id": connection_id}
            try:
                row, tokens = transfer.take_out(broker, connection_id, quarantine=quarantine)
            except TokenBrokerError as exc:
                return entry | {"outcome": "refused", "reason": f"{exc.error}: {exc.description}"}
            print(_line(row, tokens), file=out)
            return entry | {"outcome": "exported", "subject": row.subject}

        counts = for_each(connection_ids, act, report=report, total=len(connection_ids))
        out.flush()
        os.fsync(out.fileno())
    return counts


def _line(row: Connection, tokens: TokenSet) -> str:
    """Return what `import` takes, and the id the connection had here."""
    return json.dumps(
        {
            "subject": row.subject,
            "connector": row.connector,
            "refresh_token": tokens.refresh_token.reveal(),
            "id_token": tokens.id_token.reveal() if tokens.id_token else None,
            "connection_id": row.id,
        }
    )
