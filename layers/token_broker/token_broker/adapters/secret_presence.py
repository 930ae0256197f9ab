"""Whether the client secret is set, without reading it: `authorize` may not.

A code that is brought back while there is no secret cannot be exchanged, so nobody is sent out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.domain.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CACHED_FOR = 300
CURRENT = "AWSCURRENT"


class SecretsManagerPresence:
    """The versions of one secret, as DescribeSecret names them."""

    def __init__(self, client: SecretsManagerClient, secret_id: str, *, clock: Clock) -> None:
        self._client = client
        self._secret_id = secret_id
        self._clock = clock
        self._seen_at: int | None = None

    def is_set(self) -> bool:
        """Return whether it has a current version; True for five minutes, and where unknown."""
        now = self._clock()
        if self._seen_at is not None and now - self._seen_at < CACHED_FOR:
            return True
        try:
            answer: dict[str, Any] = {**self._client.describe_secret(SecretId=self._secret_id)}
        except ClientError as exc:
            return exc.response["Error"]["Code"] != "ResourceNotFoundException"
        except BotoCoreError:
            return True  # Secrets Manager is away: the callback will see
        versions = answer.get("VersionIdsToStages", {})
        if not any(CURRENT in stages for stages in versions.values()) or "DeletedDate" in answer:
            return False
        self._seen_at = now
        return True
