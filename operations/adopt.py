"""Adopt: let the broker send from a restored table."""

from __future__ import annotations

from token_broker.use_cases.broker import Broker
from token_broker.use_cases.home import home_of


def adopt(broker: Broker) -> list[str]:
    """Belong to this table from now on, by the operator's word; returns what differed.

    Tokens that were used since a restored table's backup are refused.
    """
    home = home_of(broker)
    differing = broker.connections.recorded_identity(home).unlike(home)
    broker.connections.adopt(home)
    broker.record("table_adopted", detail="; ".join(differing))
    return differing
