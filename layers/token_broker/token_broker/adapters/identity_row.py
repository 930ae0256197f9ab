"""The row that says whose the connections table is; a copy or restore carries its original's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from token_broker.adapters.answers import member
from token_broker.adapters.dynamodb import (
    Row,
    ensure_readable,
    from_wire,
    key,
    refused,
    unavailable,
    versioned,
)
from token_broker.domain.errors import RowUnreadable, UpstreamUnavailable
from token_broker.domain.identity import Identity
from token_broker.domain.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ID = "identity"
CACHED_FOR = 60
IS_UNBOUND = "attribute_not_exists(#provider)"


class IdentityRow:
    """Reads it before every send, and binds it to the provider once the first set has landed."""

    def __init__(
        self, client: DynamoDBClient, table: str, *, clock: Clock, impatient: DynamoDBClient
    ) -> None:
        self._client = client
        self._impatient = impatient
        self._table = table
        self._clock = clock
        self._table_id: tuple[int, str] | None = None  # (read at, TableId)
        self._unbound: Identity | None = None  # what the next landing binds the table to

    def table_id(self) -> str:
        """Return the TableId; read again each minute, for a restore may take the table's name."""
        now = self._clock()
        if self._table_id is None or now - self._table_id[0] >= CACHED_FOR:
            try:
                answer = self._client.describe_table(TableName=self._table)
            except (ClientError, BotoCoreError) as exc:
                raise unavailable(exc) from None
            table = member(answer, "Table", of="DynamoDB")
            self._table_id = (now, member(table, "TableId", of="DynamoDB"))
        return self._table_id[1]

    def recorded(self, home: Identity) -> Identity:
        """Return what is recorded; record `home`, but for its provider, while nothing is bound."""
        row = self._read()
        if row and "provider" in row:
            self._unbound = None
            return _identity(row)
        unbound = replace(home, provider=None)
        if row is None or _identity(row) != unbound:
            try:
                self._put(self._client, unbound, if_unbound=True)
            except (ClientError, BotoCoreError) as exc:
                if refused(exc):
                    raise UpstreamUnavailable(detail="the table is being bound") from None
                raise unavailable(exc) from None
        self._unbound = home
        return unbound

    def bind(self) -> None:
        """Record the provider, for a set has landed; what fails is made up for by the next one."""
        if home := self._unbound:
            with suppress(ClientError, BotoCoreError):
                self._put(self._impatient, home, if_unbound=True)

    def adopt(self, home: Identity) -> None:
        """Record another identity, whatever is recorded."""
        try:
            self._put(self._client, home, if_unbound=False)
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None

    def _read(self) -> Row | None:
        try:
            answer = self._client.get_item(TableName=self._table, Key=key(ID), ConsistentRead=True)
        except (ClientError, BotoCoreError) as exc:
            raise unavailable(exc) from None
        return ensure_readable(from_wire(answer["Item"])) if "Item" in answer else None

    def _put(self, client: DynamoDBClient, identity: Identity, *, if_unbound: bool) -> None:
        known = {part: value for part, value in asdict(identity).items() if value is not None}
        item = versioned({"id": ID, **known})
        if if_unbound:
            client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=IS_UNBOUND,
                ExpressionAttributeNames={"#provider": "provider"},
            )
        else:
            client.put_item(TableName=self._table, Item=item)


def _identity(row: Row) -> Identity:
    try:
        return Identity(
            table_id=row["table_id"],
            environment=row["environment"],
            client_id=row["client_id"],
            provider=row.get("provider"),
        )
    except KeyError:
        raise RowUnreadable(detail="the row identity does not say whose the table is") from None
