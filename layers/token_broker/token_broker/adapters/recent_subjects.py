"""Which different people met something lately: one row of the control table, hashes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.dynamodb import (
    Row,
    from_wire,
    key,
    refused,
    to_wire,
    unavailable,
    versioned,
)
from token_broker.domain.authorization import subject_hash
from token_broker.domain.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_REMEMBERED = 50
TRIES = 5


class DynamoRecentSubjects:
    """Rows `met#<event>` of the control table."""

    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def met(self, event: str, *, subject: str, now: int, within: int) -> int:
        """Note that a subject met an event; return how many did within so many seconds."""
        for _ in range(TRIES):
            seen, writes = self._read(f"met#{event}")
            recent = {who: at for who, at in seen.items() if at > now - within}
            recent[subject_hash(subject)] = now
            newest = sorted(recent.items(), key=lambda one: one[1])[-MOST_REMEMBERED:]
            if self._write(f"met#{event}", dict(newest), writes, expires_at=now + within):
                return len(newest)
        raise UpstreamUnavailable(detail="others count at the same moment")

    def _read(self, row_id: str) -> tuple[dict[str, int], int]:
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(row_id), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        row: Row = {"subjects": {}, "writes": 0}
        if "Item" in answer:
            row = from_wire(answer["Item"])
        return {who: int(at) for who, at in row["subjects"].items()}, int(row["writes"])

    def _write(
        self, row_id: str, subjects: dict[str, int], writes: int, *, expires_at: int
    ) -> bool:
        row = {"id": row_id, "subjects": subjects, "writes": writes + 1, "expires_at": expires_at}
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned(row),
                ConditionExpression="attribute_not_exists(id) OR writes = :seen",
                ExpressionAttributeValues=to_wire({":seen": writes}),
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                return False
            raise unavailable(exc) from None
        return True
