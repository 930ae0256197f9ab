"""What holds for many connections at once: the breaker, and whom each connector answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.answers import member
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
from token_broker.domain.ports import Clock, Trouble
from token_broker.domain.suspicion import (
    NOTED_EVERY,
    SUSPECT_STANDS,
    WITNESS_ASKED_EVERY,
    Witness,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SENDERS = "senders"
CACHED_FOR = 10
HOUR = 3_600
REFUSAL_NOTED_EVERY = 600


class DynamoControl:
    """Rows of the control table; what every sender reads stands in one of them.

    That one holds the breaker and, by connector, when it refused somebody last (`refused#…`) and
    whom it answered since (`answered#…`).
    """

    def __init__(self, client: DynamoDBClient, table_name: str, *, clock: Clock) -> None:
        self._client = client
        self._table = table_name
        self._clock = clock
        self._known: Row | None = None  # what every sender reads, as this process knows it
        self._read_at = 0
        self._answered: dict[str, Row] = {}  # by connector, in this process

    def breaker(self) -> int | None:
        """Return until when all sends pause, or None; up to 10 s old."""
        until = self._known_lately().get("open_until")
        return int(until) if until is not None else None

    def trouble(self) -> Trouble:
        """Return what the runs before have met; up to 10 s old."""
        known = self._known_lately()
        since = known.get("in_vain_since")
        return Trouble(
            in_vain_since=int(since) if since is not None else None,
            explained_until=int(known.get("explained_until", 0)),
        )

    def note_trouble(self, trouble: Trouble) -> None:
        """Leave to the runs that follow what they have to know."""
        self._set(asdict(trouble))

    def open_breaker(self, *, until: int) -> None:
        """Pause all sends: our credentials are refused. After `until` a canary may try."""
        self._set({"open_until": until})

    def close_breaker(self) -> None:
        """Let sends go on."""
        self._set({"open_until": None})

    def refusal_met(self, *, connector: str, earlier_at: int | None) -> int:
        """Note a refusal; return how many of the connector were refused within the hour."""
        now = self._clock()
        known = self._known if self._known is not None else self._read_known()
        if now - int(known.get(f"refused#{connector}", 0)) >= REFUSAL_NOTED_EVERY:
            stale = {
                name: None
                for name, at in known.items()
                if name.startswith("refused#") and now - int(at) >= 2 * SUSPECT_STANDS
            }
            self._set(stale | {f"refused#{connector}": now} | self._to_be_noted(connector))
        return self._count(connector, now, again=_same_hour(earlier_at, now))

    def rotation_met(self, *, connector: str, by: str) -> None:
        """Note who was answered with a rotation, where a suspect of its connector stands."""
        now = self._clock()
        self._answered[connector] = {"id": by, "at": now}
        refused_at = int((self._known or {}).get(f"refused#{connector}", 0))
        if now - refused_at < SUSPECT_STANDS and (changes := self._to_be_noted(connector)):
            self._set(changes)

    def witness(self, connector: str) -> Witness | None:
        """Return which connection of a connector was answered last, as far as it was noted."""
        found = self._read_known().get(f"answered#{connector}")
        return Witness(connection_id=found["id"], answered_at=int(found["at"])) if found else None

    def ask_witness(self, connector: str) -> bool:
        """Return whether a witness may be asked for: once in WITNESS_ASKED_EVERY seconds."""
        return self._once(f"witness#{connector}", WITNESS_ASKED_EVERY)

    def _to_be_noted(self, connector: str) -> Row:
        """Return whom this process saw answered last, if that is due to be noted."""
        found = self._answered.get(connector)
        known = (self._known or {}).get(f"answered#{connector}")
        is_due = found and (known is None or found["at"] - known["at"] >= NOTED_EVERY)
        return {f"answered#{connector}": found} if is_due else {}

    def _count(self, connector: str, now: int, *, again: bool) -> int:
        """Count in a row of the clock hour, which goes by itself."""
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=key(f"refused#{connector}#{now // HOUR}"),
                UpdateExpression="SET #schema = :schema, expires_at = :expires_at ADD #count :one",
                ExpressionAttributeNames={"#schema": "schema", "#count": "count"},
                ExpressionAttributeValues=to_wire(
                    {":schema": SCHEMA, ":expires_at": now + 2 * HOUR, ":one": 0 if again else 1}
                ),
                ReturnValues="ALL_NEW",
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        return int(from_wire(member(answer, "Attributes", of="DynamoDB"))["count"])

    def _once(self, row_id: str, seconds: int) -> bool:
        """Return whether nobody has asked this within so many seconds."""
        now = self._clock()
        try:
            self._client.put_item(
                TableName=self._table,
                Item=versioned({"id": row_id, "expires_at": now + seconds}),
                ConditionExpression="attribute_not_exists(id) OR expires_at <= :now",
                ExpressionAttributeValues=to_wire({":now": now}),
            )
        except (ClientError, BotoCoreError) as exc:
            if refused(exc):
                return False
            raise unavailable(exc) from None
        return True

    def _known_lately(self) -> Row:
        """Return what holds for all senders, up to 10 s old."""
        if self._known is None or self._clock() - self._read_at >= CACHED_FOR:
            return self._read_known()
        return self._known

    def _read_known(self) -> Row:
        """Read what holds for all senders, as it is now."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=key(SENDERS), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        self._known = from_wire(answer.get("Item", {}))
        self._read_at = self._clock()
        return self._known

    def _set(self, changes: Row) -> None:
        """Set attributes of what holds for all senders; None removes one."""
        named = {f"a{place}": name for place, name in enumerate(changes)}
        kept = {one: changes[name] for one, name in named.items() if changes[name] is not None}
        gone = ", ".join(f"#{one}" for one in named if one not in kept)
        sets = ", ".join(["#schema = :schema", *(f"#{one} = :{one}" for one in kept)])
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key(SENDERS),
                UpdateExpression=f"SET {sets}" + (f" REMOVE {gone}" if gone else ""),
                ExpressionAttributeNames={"#schema": "schema"}
                | {f"#{one}": name for one, name in named.items()},
                ExpressionAttributeValues=to_wire(
                    {":schema": SCHEMA} | {f":{one}": value for one, value in kept.items()}
                ),
            )
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        merged = (self._known or {}) | changes
        self._known = {name: value for name, value in merged.items() if value is not None}


def _same_hour(earlier_at: int | None, now: int) -> bool:
    return earlier_at is not None and earlier_at // HOUR == now // HOUR
