"""Bring back: undo the ends of many connections at once, while their sealed sets are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from operations.many import Entry, for_each
from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import (
    RequestRejected,
    StaleGeneration,
    TokenBrokerError,
    UpstreamUnavailable,
)
from token_broker.use_cases.broker import Broker


def ids_of(text: Iterable[str]) -> list[str]:
    """Return the connections a text names, one a line; blank lines and what follows a # go."""
    found = (line.partition("#")[0].strip() for line in text)
    return [one for one in found if one]


def chosen(broker: Broker, *, subjects: Collection[str], reasons: Collection[str]) -> list[str]:
    """Return the ended connections of these subjects, ended for these reasons; none named: all."""
    return [
        one.id
        for one in broker.connections.every()
        if one.status is Status.REAUTH_REQUIRED
        and (not subjects or one.subject in subjects)
        and (not reasons or one.reason in reasons)
    ]


def reinstate_all(
    broker: Broker, connection_ids: Iterable[str], *, report: Callable[[Entry], None]
) -> Counter[str]:
    """Reinstate each and report it; what is ACTIVE already, as after a first run, stays so."""

    def act(connection_id: str) -> Entry:
        entry: Entry = {"connection_id": connection_id}
        try:
            if broker.connections.look(connection_id).status is Status.ACTIVE:
                return entry | {"outcome": "active"}
            reinstate(broker, connection_id)
        except (StaleGeneration, UpstreamUnavailable) as exc:
            reason = f"{exc.detail or exc.error}: run the command again"
            return entry | {"outcome": "failed", "reason": reason}
        except TokenBrokerError as exc:
            return entry | {"outcome": "refused", "reason": exc.description}
        return entry | {"outcome": "reinstated"}

    wanted = list(dict.fromkeys(connection_ids))
    return for_each(wanted, act, report=report, total=len(wanted))


def reinstate(broker: Broker, connection_id: str) -> Connection:
    """Undo an end while the sealed set is still kept; the next run shows whether it lives.

    For what was refused by mistake, or taken out and not used elsewhere. Raises
    ConnectionNotFound, RequestRejected, StaleGeneration (try again).
    """
    seen = broker.connections.get(connection_id)
    if seen.status is not Status.REAUTH_REQUIRED:
        raise RequestRejected(f"It is {seen.status}; only what is REAUTH_REQUIRED can be undone.")
    if seen.sealed is None:
        raise RequestRejected(
            "Its token set is erased; only a new consent can restore the connection."
        )
    back = broker.connections.reinstate(seen, now=broker.clock())
    broker.record("connection_reinstated", connection_id=connection_id, reason=seen.reason)
    return back
