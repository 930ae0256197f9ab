"""A whole broker in one process: its real code on in-memory AWS and the Akoya sandbox's own logic.

Nothing here stands in for our code: tables, seal, escrow and the token endpoint are the adapters a
deployed function has; only AWS, the network and time are replaced. How it is wired is in
`tests/wiring.py`, what the parties do with it in `tests/acts.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto import mock_aws

from local.akoya_sandbox.ledger import fingerprint
from tests.acts import Acts
from tests.clock import FixedClock
from tests.fakes.rows import MemoryRows
from tests.fakes.vault import MemoryClientSecret, MemoryEscrow, MemorySeal
from tests.memory_connections import MemoryConnections
from tests.tables import Aws, create_storage
from tests.wiring import CLIENT_ID, CLIENT_SECRET
from token_broker.adapters.client_credentials import (
    SecretsManagerClientSecret,
    SecretsManagerPresence,
)
from token_broker.adapters.dynamodb import DynamoRows
from token_broker.adapters.escrow import S3Escrow
from token_broker.adapters.seal import KmsSeal
from token_broker.domain.connection import Connection, Status
from token_broker.domain.ports import ClientCredentials
from token_broker.domain.secret_text import SecretText

_worlds = itertools.count(1)


@dataclass
class World(Acts):
    """Everything, with handles on what a test wants to turn or to see."""

    address: str = ""  # a redirect kept for redelivery
    _aws: Aws | None = None
    _memory: MemoryConnections | None = None
    prefix: str = ""

    @property
    def aws(self) -> Aws:
        """The in-memory AWS this world's storage is on."""
        assert self._aws is not None
        return self._aws

    @property
    def is_in_memory(self) -> bool:
        """Whether this world stands on fakes."""
        return self._aws is None

    @property
    def memory(self) -> MemoryConnections:
        """The connections of a world in memory."""
        assert self._memory is not None
        return self._memory

    @classmethod
    @contextmanager
    def created(cls) -> Iterator[World]:
        """Create a world on an AWS of its own."""
        with mock_aws():
            yield cls.on_aws(Aws.connect())

    @classmethod
    def on_aws(cls, aws: Aws) -> World:
        """Create a world with storage of its own on an AWS that others use too."""
        prefix = f"world{next(_worlds)}"
        create_storage(aws, prefix, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        clock = FixedClock()
        world = cls.over(
            clock,
            connections=DynamoRows(aws.dynamodb, f"{prefix}-connections"),
            authorizations=DynamoRows(aws.dynamodb, f"{prefix}-authorizations"),
            control=DynamoRows(aws.dynamodb, f"{prefix}-control"),
            escrow=S3Escrow(aws.s3, f"{prefix}-escrow"),
            seal=KmsSeal(aws.kms, aws.key_arn, environment="sandbox"),
            client_secret=SecretsManagerClientSecret(
                aws.secretsmanager, f"{prefix}-client-secret", client_id=CLIENT_ID, clock=clock
            ),
            secret_presence=SecretsManagerPresence(
                aws.secretsmanager, f"{prefix}-client-secret", clock=clock
            ),
        )
        world._aws, world.prefix = aws, prefix
        return world

    @classmethod
    def in_memory(cls, dialect: str | None = None, *, clock: FixedClock | None = None) -> World:
        """Create a world on fakes, fast enough to be made thousands of times."""
        clock = clock or FixedClock()
        client_secret = MemoryClientSecret(
            ClientCredentials(client_id=CLIENT_ID, client_secret=SecretText(CLIENT_SECRET))
        )
        connections = MemoryRows()
        world = cls.over(
            clock,
            connections=connections,
            authorizations=MemoryRows(),
            control=MemoryRows(),
            escrow=MemoryEscrow(),
            seal=MemorySeal(),
            client_secret=client_secret,
            secret_presence=client_secret,
        )
        world._memory = MemoryConnections(connections)
        if dialect:
            world.provider.change_settings({"dialect": dialect})
        return world

    # ── what a test looks at ────────────────────────────────────────────────────────────────────

    def active(self) -> list[Connection]:
        rows = [self.row(one.id) for one in self.broker.connections.every()]
        return [row for row in rows if row.status is Status.ACTIVE]

    def living(self) -> set[str]:
        """Return the fingerprints of the refresh tokens that Akoya would take."""
        return {
            token["fingerprint"]
            for grant in self.provider.grants()
            if not grant["ended"]
            for token in grant["refresh_tokens"]
        }

    def is_alive(self, row: Connection) -> bool:
        """Tell whether Akoya would take the refresh token of a row."""
        if row.sealed is None:
            return False
        return fingerprint(self.broker.seal.open(row).refresh_token.reveal()) in self.living()

    def refused(self) -> list[dict[str, Any]]:
        """Return the token requests that Akoya did not answer with a set."""
        requests = self.provider.ledger()["requests"]
        return [one for one in requests if one["endpoint"] == "token" and one["status"] != 200]

    def recorded(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def sends(self, grant_type: str = "refresh_token") -> int:
        """Count the token requests of a grant that left for Akoya."""
        return sum(f"grant_type={grant_type}" in str(request.body) for request in self.http.sent)
