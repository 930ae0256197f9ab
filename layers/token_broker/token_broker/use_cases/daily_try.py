"""Try what ended by refusal once a day while its sealed set is kept: Akoya may have been wrong.

A try that is refused counts nowhere: it suspects nobody, bears witness to nothing and is no sign
of an incident.
"""

from __future__ import annotations

from token_broker.domain.connection import Connection, Status
from token_broker.domain.errors import GrantRefused
from token_broker.domain.ports import Remaining
from token_broker.domain.suspicion import ENDED_BY_REFUSAL, next_try
from token_broker.use_cases.attempt import postpone
from token_broker.use_cases.broker import Broker
from token_broker.use_cases.landing import recover
from token_broker.use_cases.login import owner_of
from token_broker.use_cases.pace import Turns
from token_broker.use_cases.refresh import refresh_held


def may_be_tried(broker: Broker, leased: Connection) -> bool:
    """Return whether an ended connection may send what it holds: nobody else has its login."""
    if leased.reason not in ENDED_BY_REFUSAL:
        return False
    owner = owner_of(broker, leased)
    return owner is None or owner.id == leased.id


def try_again(
    broker: Broker, leased: Connection, remaining: Remaining, turns: Turns
) -> Connection | None:
    """Refresh an ended connection claimed by us; return it if it is ACTIVE again.

    A set in escrow lands in place of a send. Raises as `refresh_held`.
    """
    try:
        back = recover(broker, leased, status=Status.ACTIVE) or refresh_held(
            broker, leased, remaining, turns=turns
        )
    except GrantRefused:
        now = broker.clock()
        due_at = next_try(leased.id, now=now, keep_until=leased.keep_until or now)
        postpone(broker, leased, due_at=due_at, event="ended_tried")
        return None
    broker.record("connection_healed", connection_id=back.id, reason=leased.reason)
    return back
