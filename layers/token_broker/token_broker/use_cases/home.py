"""The table we belong to: nothing is sent from any other, for its tokens may be superseded ones."""

from __future__ import annotations

from token_broker.domain.errors import Reported
from token_broker.domain.identity import Identity
from token_broker.use_cases.broker import Broker


def ensure_home(broker: Broker) -> None:
    """Raise Reported on a table that is not ours.

    It is a copy or restore, or its tokens are another environment's, client's or provider's. While
    no token set has landed everything may still be corrected.
    """
    home = home_of(broker)
    recorded = broker.connections.recorded_identity(home)
    if recorded.provider is None:
        return
    if differing := recorded.unlike(home):
        broker.record("table_foreign", detail="; ".join(differing))
        raise Reported(
            detail="the connections table is not ours: it is recorded for "
            f"{'; '.join(differing)}. Nothing is sent until the configuration is corrected, or the "
            "operator adopts the table (operations, after a restore)"
        )


def home_of(broker: Broker) -> Identity:
    """Return whose tokens the table should hold as this stack is configured."""
    return Identity(
        table_id=broker.connections.table_id(),
        environment=broker.environment,
        client_id=broker.client_id,
        provider=broker.provider,
    )
