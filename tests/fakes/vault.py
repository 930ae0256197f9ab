"""Escrow, control, seal and client secret, in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass

from token_broker.domain.connection import Connection, Landing
from token_broker.domain.errors import BrokerMisconfigured, RowUnreadable
from token_broker.domain.ports import ClientCredentials, Clock
from token_broker.domain.refresh_policy import EDGE_REMEMBERED, mass_failure
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet


class MemoryEscrow:
    """Sets by connection and generation."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], Landing] = {}

    def put(self, landing: Landing) -> None:
        self.kept[landing.connection_id, landing.generation] = landing

    def find(self, connection_id: str, generation: int) -> Landing | None:
        return self.kept.get((connection_id, generation))

    def discard(self, connection_id: str, generation: int) -> None:
        self.kept.pop((connection_id, generation), None)

    def put_before(self, moment: int) -> list[tuple[str, int]]:
        return [name for name, landing in self.kept.items() if landing.issued_at < moment]


class MemoryControl:
    """Breaker, guard and the hour's figures."""

    def __init__(self, clock: Clock) -> None:
        self.open_until: int | None = None
        self.tripped = False
        self._clock = clock
        self._lifted_at = 0
        self._edges: dict[str, int] = {}
        self._hour = -1
        self._attempts = self._dead = 0

    def breaker(self) -> int | None:
        return self.open_until

    def edge_met(self, *, by: str) -> bool:
        if self._edges.get(by, 0) > self._clock():
            return False
        self._edges[by] = self._clock() + EDGE_REMEMBERED
        return True

    def open_breaker(self, *, reason: str, until: int) -> None:
        del reason
        self.open_until = until

    def close_breaker(self) -> None:
        self.open_until = None

    def guard(self, *, attempts: int, refused: int, ending: int, now: int) -> bool:
        if now // 3_600 != self._hour:
            self._hour, self._attempts, self._dead = now // 3_600, 0, 0
        self._attempts += attempts
        self._dead += ending
        of_the_hour = mass_failure(attempts=self._attempts, dead=self._dead)
        if of_the_hour or mass_failure(attempts=attempts, dead=refused):
            self.tripped, self._lifted_at = True, 0
        return self.tripped

    def lift_guard(self) -> None:
        self.tripped, self._hour = False, -1
        self._lifted_at = self._clock()

    def lifted_at(self) -> int:
        return self._lifted_at


@dataclass(frozen=True)
class MemorySealer:
    """Seals for one connection."""

    bound_to: tuple[str, str, str]

    def seal(self, tokens: TokenSet, *, generation: int) -> bytes:
        id_token = tokens.id_token.reveal() if tokens.id_token else None
        bound = [self.bound_to, generation, tokens.refresh_token.reveal(), id_token]
        return json.dumps(bound).encode()


class MemorySeal:
    """A seal that hides nothing but is bound as the real one."""

    def prepare(self, connection_id: str, *, subject: str, connector: str) -> MemorySealer:
        return MemorySealer((connection_id, subject, connector))

    def open(self, connection: Connection) -> TokenSet:
        if connection.sealed is None:
            raise RowUnreadable
        bound_to, generation, refresh_token, id_token = json.loads(connection.sealed)
        its_own = [connection.id, connection.subject, connection.connector]
        if (bound_to, generation) != (its_own, connection.generation):
            raise RowUnreadable
        return TokenSet(
            refresh_token=SecretText(refresh_token),
            id_token=SecretText(id_token) if id_token else None,
        )


class MemoryClientSecret:
    """A secret that is kept once read, and may not have been put yet."""

    def __init__(self, credentials: ClientCredentials) -> None:
        self.credentials: ClientCredentials | None = credentials
        self._cached: ClientCredentials | None = credentials

    def read(self) -> ClientCredentials:
        return self._cached or self.reread()

    def reread(self) -> ClientCredentials:
        if self.credentials is None:
            raise BrokerMisconfigured(detail="the client secret is not set")
        self._cached = self.credentials
        return self._cached

    def forget(self) -> None:
        """Let what was read be older than it is kept."""
        self._cached = None
