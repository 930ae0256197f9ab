"""What holds for all connections at once: the breaker, and the guard against mass endings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.dynamodb import (
    SCHEMA,
    Row,
    from_wire,
    key,
    refused,
    to_wire,
    unavailable,
    versioned,
)
from token_broker.domain.ports import Clock
from token_broker.domain.refresh_policy import EDGE_REMEMBERED, mass_failure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CACHED_FOR = 10
HOUR = 3_600


class DynamoControl:
    """Rows of the control table: `breaker`, `guard` and the figures of the hour."""

    def __init__(self, client: DynamoDBClient, table_name: str, *, clock: Clock) -> None:
        self._client = client
        self._table = table_name
        self._clock = clock
        self._breaker: tuple[int, int | None] | None = None  # (read at, open until)

    def breaker(self) -> int | None:
        """Return until when all sends pause, or None; up to 10 s old."""
        now = self._clock()
        if self._breaker is None or now - self._breaker[0] >= CACHED_FOR:
            row = self._read("breaker")
            self._breaker = (now, int(row["open_until"]) if row else None)
        return self._breaker[1]

    def edge_met(self, *, by: str) -> bool:
        """Note which connection met something else than Akoya; tell whether that is news."""
        now = self._clock()
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned({"id": f"edge#{by}", "expires_at": now + EDGE_REMEMBERED}),
                ConditionExpression="attribute_not_exists(id) OR expires_at <= :now",
                ExpressionAttributeValues=to_wire({":now": now}),
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                return False
            raise unavailable(exc) from None
        return True

    def open_breaker(self, *, reason: str, until: int) -> None:
        """Pause all sends; after `until` the schedule's canary may try."""
        self._breaker = (self._clock(), until)
        self._put({"id": "breaker", "open_until": until, "reason": reason})

    def close_breaker(self) -> None:
        """Let sends go on."""
        self._breaker = (self._clock(), None)
        self._delete("breaker")

    def guard(self, *, attempts: int, refused: int, ending: int, now: int) -> bool:
        """Judge a run and the hour it adds to; return whether ends are held for the operator.

        The hour is judged, for an incident may trickle in, and the run, for the hour may have been
        a good one until now.
        """
        if attempts == 0:
            return False
        figures = self._add(now // HOUR, attempts=attempts, dead=ending)
        of_the_hour = {name: int(figures[name]) for name in ("attempts", "dead")}
        if mass_failure(**of_the_hour) or mass_failure(attempts=attempts, dead=refused):
            self._trip(now)
            return True
        return "tripped_at" in (self._read("guard") or {})

    def lift_guard(self) -> None:
        """Let what was held back until now end, by the operator's word; start counting afresh."""
        self._delete("figures")
        self._put({"id": "guard", "lifted_at": self._clock()})

    def lifted_at(self) -> int:
        """Return when the guard was lifted last; 0: never since it tripped."""
        return int((self._read("guard") or {}).get("lifted_at", 0))

    def _trip(self, now: int) -> None:
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned({"id": "guard", "tripped_at": now}),
                ConditionExpression="attribute_not_exists(tripped_at)",
            )
        except (ClientError, BotoCoreError) as exc:
            if not refused(exc):
                raise unavailable(exc) from None

    def _add(self, hour: int, *, attempts: int, dead: int) -> Row:
        """Count in one row that a new hour starts afresh."""
        for same_hour in (True, False):
            expression = "SET #schema = :schema ADD attempts :attempts, dead :dead"
            condition = "#hour = :hour"
            if not same_hour:
                expression = (
                    "SET #schema = :schema, #hour = :hour, attempts = :attempts, dead = :dead"
                )
                condition = "attribute_not_exists(id) OR #hour <> :hour"
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=key("figures"),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#hour": "hour", "#schema": "schema"},
                    ExpressionAttributeValues=to_wire(
                        {
                            ":attempts": attempts,
                            ":dead": dead,
                            ":hour": hour,
                            ":schema": SCHEMA,
                        }
                    ),
                    ReturnValues="ALL_NEW",
                )
            except (ClientError, BotoCoreError) as exc:
                if not refused(exc):
                    raise unavailable(exc) from None
            else:
                return from_wire(answer["Attributes"])
        return {"attempts": attempts, "dead": dead}  # another run turned the hour just now

    def _read(self, row_id: str) -> Row | None:
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(row_id), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        return from_wire(answer["Item"]) if "Item" in answer else None

    def _delete(self, row_id: str) -> None:
        try:
            self._client.delete_item(TableName=self._table, Key=key(row_id))
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None

    def _put(self, row: Row) -> None:
        try:
            self._client.put_item(TableName=self._table, Item=versioned(row))
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
