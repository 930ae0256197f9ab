"""The ports of the use cases that talk to Akoya."""

from __future__ import annotations

from dataclasses import dataclass, field

from token_broker.domain.ports import (
    ClientSecret,
    Clock,
    EscrowedSets,
    IdTokens,
    NewId,
    Pause,
    Record,
    Seal,
    Ticks,
    TokenEndpoint,
)
from token_broker.domain.refresh_policy import RefreshPolicy
from token_broker.store.connections import Connections
from token_broker.store.control import Control
from token_broker.use_cases.door import Door
from token_broker.use_cases.pace import AT_ONCE, Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The ports a use case that talks to Akoya needs."""

    environment: str
    client_id: str
    provider: str  # base URL of the identity provider, as it is asked for tokens
    connections: Connections
    escrow: EscrowedSets
    control: Control
    seal: Seal
    client_secret: ClientSecret
    token_endpoint: TokenEndpoint
    id_tokens: IdTokens
    policy: RefreshPolicy
    clock: Clock
    ticks: Ticks
    pause: Pause
    new_id: NewId
    record: Record
    turns: Turns = AT_ONCE  # of the refreshes that callers wait for
    door: Door = field(default_factory=Door)
