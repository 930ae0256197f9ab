"""Escrow, control, seal and client secret, in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from token_broker.domain.connection import Connection, Landing
from token_broker.domain.errors import BrokerMisconfigured, SetUnreadable
from token_broker.domain.ports import ClientCredentials, Clock, Trouble
from token_broker.domain.secret_text import SecretText
from token_broker.domain.suspicion import (
    NOTED_EVERY,
    SUSPECT_STANDS,
    WITNESS_ASKED_EVERY,
    Witness,
)
from token_broker.domain.token_set import TokenSet


class MemoryEscrow:
    """Sets by connection, generation and attempt."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, str], Landing] = {}

    def put(self, landing: Landing) -> None:
        self.kept[landing.connection_id, landing.generation, landing.attempt_id] = landing

    def find(self, connection_id: str, generation: int) -> Landing | None:
        wanted = (connection_id, generation)
        found = [landing for name, landing in self.kept.items() if name[:2] == wanted]
        return max(found, key=lambda one: (one.consent is not None, one.issued_at), default=None)

    def discard(self, connection_id: str, generation: int, attempt_id: str) -> None:
        self.kept.pop((connection_id, generation, attempt_id), None)

    def put_before(self, moment: int) -> Iterator[tuple[str, int, str]]:
        before = [name for name, landing in self.kept.items() if landing.issued_at < moment]
        yield from before


class MemoryControl:
    """The breaker, and by connector who was refused and answered."""

    def __init__(self, clock: Clock) -> None:
        self.open_until: int | None = None
        self._clock = clock
        self._once: dict[str, int] = {}
        self._trouble = Trouble()
        self._refused: Counter[tuple[str, int]] = Counter()
        self._refused_at: dict[str, int] = {}
        self._answered: dict[str, Witness] = {}  # as a process knows it
        self._noted: dict[str, Witness] = {}

    def breaker(self) -> int | None:
        return self.open_until

    def trouble(self) -> Trouble:
        return self._trouble

    def note_trouble(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def open_breaker(self, *, until: int) -> None:
        self.open_until = until

    def close_breaker(self) -> None:
        self.open_until = None

    def refusal_met(self, *, connector: str, earlier_at: int | None) -> int:
        now = self._clock()
        self._note(connector)
        self._refused_at[connector] = now
        hour = now // 3_600
        again = earlier_at is not None and earlier_at // 3_600 == hour
        self._refused[connector, hour] += 0 if again else 1
        return self._refused[connector, hour]

    def rotation_met(self, *, connector: str, by: str) -> None:
        now = self._clock()
        self._answered[connector] = Witness(connection_id=by, answered_at=now)
        if now - self._refused_at.get(connector, 0) < SUSPECT_STANDS:
            self._note(connector)

    def _note(self, connector: str) -> None:
        found, known = self._answered.get(connector), self._noted.get(connector)
        if found and (known is None or found.answered_at - known.answered_at >= NOTED_EVERY):
            self._noted[connector] = found

    def witness(self, connector: str) -> Witness | None:
        return self._noted.get(connector)

    def ask_witness(self, connector: str) -> bool:
        return self._first(f"witness#{connector}", WITNESS_ASKED_EVERY)

    def _first(self, name: str, seconds: int) -> bool:
        now = self._clock()
        if self._once.get(name, 0) > now:
            return False
        self._once[name] = now + seconds
        return True


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
            raise SetUnreadable
        bound_to, generation, refresh_token, id_token = json.loads(connection.sealed)
        its_own = [connection.id, connection.subject, connection.connector]
        if (bound_to, generation) != (its_own, connection.generation):
            raise SetUnreadable
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
