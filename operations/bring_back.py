"""Bring back: undo the ends of many connections at once, while their sealed sets are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from operations.many import Entry, for_each
from token_broker.domain.connection import Status
from token_broker.domain.errors import StaleGeneration, TokenBrokerError, UpstreamUnavailable
from token_broker.domain.ports import Sending
from token_broker.use_cases import connections


def ids_of(text: Iterable[str]) -> list[str]:
    """Return the connections a text names, one a line; blank lines and what follows a # go."""
    found = (line.partition("#")[0].strip() for line in text)
    return [one for one in found if one]


def chosen(on: Sending, *, subjects: Collection[str], reasons: Collection[str]) -> list[str]:
    """Return the ended connections of these subjects, ended for these reasons; none named: all."""
    return [
        one.id
        for one in on.connections.every()
        if one.status is Status.REAUTH_REQUIRED
        and (not subjects or one.subject in subjects)
        and (not reasons or one.reason in reasons)
    ]


def bring_back(
    on: Sending, connection_ids: Iterable[str], *, report: Callable[[Entry], None]
) -> Counter[str]:
    """Bring each back and report it; what is ACTIVE already, as after a first run, stays so."""

    def act(connection_id: str) -> Entry:
        entry: Entry = {"connection_id": connection_id}
        try:
            if on.connections.look(connection_id).status is Status.ACTIVE:
                return entry | {"outcome": "active"}
            connections.bring_back(on.connections, on.clock, on.record, connection_id=connection_id)
        except (StaleGeneration, UpstreamUnavailable) as exc:
            reason = f"{exc.detail or exc.error}: run the command again"
            return entry | {"outcome": "failed", "reason": reason}
        except TokenBrokerError as exc:
            return entry | {"outcome": "refused", "reason": exc.description}
        return entry | {"outcome": "brought_back"}

    wanted = list(dict.fromkeys(connection_ids))
    return for_each(wanted, act, report=report, total=len(wanted))
