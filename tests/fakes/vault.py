"""Escrow, seal and client secret, in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from token_broker.domain.connection import Connection, Landing
from token_broker.domain.errors import BrokerMisconfigured, SetUnreadable
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.secret_text import SecretText
from token_broker.domain.token_set import TokenSet


class MemoryEscrow:
    """Sets by connection, generation and attempt."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, str], Landing] = {}

    def put(self, landing: Landing) -> None:
        self.kept[landing.connection_id, landing.generation, landing.attempt_id] = landing

    def find(self, connection_id: str, generation: int) -> Landing | None:
        found = [one for name, one in self.kept.items() if name[:2] == (connection_id, generation)]
        return max(found, key=lambda one: (one.consent is not None, one.issued_at), default=None)

    def discard(self, connection_id: str, generation: int, attempt_id: str) -> None:
        self.kept.pop((connection_id, generation, attempt_id), None)

    def put_before(self, moment: int) -> Iterator[tuple[str, int, str]]:
        return iter([name for name, one in self.kept.items() if one.issued_at < moment])


@dataclass(frozen=True)
class MemorySealer:
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
            raise SetUnreadable
        *bound_to, refresh_token, id_token = json.loads(connection.sealed)
        its_own = [connection.id, connection.subject, connection.connector]
        if bound_to != [its_own, connection.generation]:
            raise SetUnreadable
        id_token = id_token and SecretText(id_token)
        return TokenSet(refresh_token=SecretText(refresh_token), id_token=id_token)


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

    def is_set(self) -> bool:
        return self.credentials is not None

    def forget(self) -> None:
        self._cached = None
