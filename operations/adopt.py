"""Adopt: let the broker send from a restored table."""

from __future__ import annotations

from token_broker.use_cases.home import home_of
from token_broker.use_cases.sending import Sending


def adopt(on: Sending) -> list[str]:
    """Belong to this table from now on, by the operator's word; returns what differed.

    Tokens that were used since a restored table's backup are refused.
    """
    home = home_of(on)
    differing = on.connections.recorded_identity(home).unlike(home)
    on.connections.adopt(home)
    on.record("table_adopted", detail="; ".join(differing))
    return differing
