"""Rows in DynamoDB: conditions and writes as expressions, its failures as the domain's errors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer

from token_broker.adapters.aws import member, translated
from token_broker.domain.errors import (
    BrokerMisconfigured,
    StaleGeneration,
    TokenBrokerError,
)
from token_broker.store.rows import (
    Above,
    Absent,
    AtMost,
    Both,
    Condition,
    Either,
    Equals,
    Fewer,
    IsA,
    Named,
    Not,
    OneOf,
    Path,
    Row,
    Write,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Failures that asking again cannot mend (IAM, wrong name, wrong request).
LASTING = frozenset(
    {
        "AccessDeniedException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
SERVICE = "DynamoDB"
KINDS = {int: "N", str: "S"}
MOVED = frozenset({"ConditionalCheckFailed", "TransactionConflict"})

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class DynamoRows:
    """One table, its primary key `id`."""

    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client: Any = client  # requests are put together of parts
        self._table = table_name

    def get(self, row_id: str, *, only: Collection[str] = ()) -> Row | None:
        """Read one row, or only these attributes of it, strongly consistent."""
        expressions = Expressions()
        request = self._of(row_id) | expressions.only(only) | {"ConsistentRead": True}
        with translated(SERVICE, _known):
            answer = self._client.get_item(**request | expressions.terms())
        return from_wire(answer["Item"]) if "Item" in answer else None

    def query(
        self,
        index: str,
        where: Condition,
        *,
        matching: Condition | None = None,
        only: Collection[str] = (),
        newest_first: bool = False,
        limit: int | None = None,
        after: Row | None = None,
    ) -> list[Row]:
        """Read an index; with a limit one page of so many rows, else all pages."""
        expressions = Expressions()
        request = {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": expressions.condition(where),
            "ScanIndexForward": not newest_first,
            **expressions.only(only),
            **({"FilterExpression": expressions.condition(matching)} if matching else {}),
            **({"ExclusiveStartKey": to_wire(after)} if after else {}),
            **expressions.terms(),
        }
        with translated(SERVICE, _known):
            if limit is None:
                pages = self._client.get_paginator("query").paginate(**request)
                return [row for page in pages for row in _rows(page)]
            return _rows(self._client.query(**request, Limit=limit))

    def scan(self, *, matching: Condition, only: Collection[str]) -> Iterator[Row]:
        """Read all rows, page by page."""
        expressions = Expressions()
        request = {
            "TableName": self._table,
            "FilterExpression": expressions.condition(matching),
            **expressions.only(only),
            **expressions.terms(),
        }
        with translated(SERVICE, _known):
            for page in self._client.get_paginator("scan").paginate(**request):
                yield from _rows(page)

    def put(self, row: Row, *, condition: Condition | None = None) -> None:
        """Write a whole row."""
        expressions = Expressions()
        request = {"TableName": self._table, "Item": to_wire(row), **expressions.guard(condition)}
        with translated(SERVICE, _known):
            self._client.put_item(**request, **expressions.terms())

    def update(self, write: Write) -> Row:
        """Change a row and return it; StaleGeneration carries the row as it stands."""
        with translated(SERVICE, _known):
            answer = self._client.update_item(
                **self._change(write),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
            return from_wire(member(answer, "Attributes", of=SERVICE))

    def transact(self, *writes: Write) -> None:
        """Change rows, all or none; of one row it costs half."""
        changes = [self._change(write) for write in writes]
        with translated(SERVICE, _known):
            if len(changes) == 1:
                self._client.update_item(**changes[0])
            else:
                self._client.transact_write_items(
                    TransactItems=[{"Update": change} for change in changes]
                )

    def delete(self, row_id: str, *, condition: Condition) -> None:
        """Remove a row."""
        expressions = Expressions()
        request = self._of(row_id) | expressions.guard(condition)
        with translated(SERVICE, _known):
            self._client.delete_item(**request | expressions.terms())

    def table_id(self) -> str:
        """Return the TableId."""
        with translated(SERVICE, _known):
            answer = self._client.describe_table(TableName=self._table)
        table = member(answer, "Table", of=SERVICE)
        return str(member(table, "TableId", of=SERVICE))

    def _of(self, row_id: str) -> dict[str, Any]:
        return {"TableName": self._table, "Key": to_wire({"id": row_id})}

    def _change(self, write: Write) -> dict[str, Any]:
        expressions = Expressions()
        return {
            **self._of(write.id),
            "UpdateExpression": expressions.update(write),
            **expressions.guard(write.condition),
            **expressions.terms(),
        }


class Expressions:
    """The expressions of one request, and the names and values they stand for."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # alias by attribute
        self._values: Row = {}

    def terms(self) -> dict[str, Any]:
        """Return what the expressions made so far stand for."""
        names = {alias: name for name, alias in self._names.items()}
        return ({"ExpressionAttributeNames": names} if names else {}) | (
            {"ExpressionAttributeValues": to_wire(self._values)} if self._values else {}
        )

    def only(self, attributes: Collection[str]) -> dict[str, Any]:
        """Return how a read names what it wants; a policy may allow it nothing else."""
        if not attributes:
            return {}
        return {"ProjectionExpression": ", ".join(self._name(name) for name in attributes)}

    def guard(self, condition: Condition | None) -> dict[str, Any]:
        """Return under which condition a write is made."""
        return {"ConditionExpression": self.condition(condition)} if condition else {}

    def update(self, write: Write) -> str:
        """Return what a write changes."""
        kept = {path: value for path, value in write.changes.items() if value is not None}
        gone = [path for path, value in write.changes.items() if value is None]
        clauses = {
            "SET": [f"{self._name(path)} = {self._value(value)}" for path, value in kept.items()],
            "REMOVE": [self._name(path) for path in gone],
            "ADD": [f"{self._name(name)} {self._value(by)}" for name, by in write.adds.items()],
        }
        return " ".join(f"{verb} {', '.join(what)}" for verb, what in clauses.items() if what)

    def condition(self, condition: Condition) -> str:  # noqa: C901 - a list
        """Return a condition as an expression."""
        match condition:
            case Named(_, inner):
                return self.condition(inner)
            case Equals(path, value):
                return f"{self._name(path)} = {self._value(value)}"
            case AtMost(path, value):
                return f"{self._name(path)} <= {self._value(value)}"
            case Above(path, value):
                return f"{self._name(path)} > {self._value(value)}"
            case OneOf(path, values):
                return f"{self._name(path)} IN ({', '.join(map(self._value, values))})"
            case Absent(path):
                return f"attribute_not_exists({self._name(path)})"
            case IsA(path, kind):
                return f"attribute_type({self._name(path)}, {self._value(KINDS[kind])})"
            case Fewer(path, than):
                return f"size({self._name(path)}) < {self._value(than)}"
            case Both(one, other):
                return f"{self.condition(one)} AND {self.condition(other)}"
            case Either(one, other):
                return f"({self.condition(one)} OR {self.condition(other)})"
            case Not(inner):
                return f"NOT ({self.condition(inner)})"
        raise TypeError(condition)

    def _name(self, path: Path) -> str:
        names = (path,) if isinstance(path, str) else path
        return ".".join(self._names.setdefault(name, f"#n{len(self._names)}") for name in names)

    def _value(self, value: Any) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = value
        return placeholder


def to_wire(row: Row) -> dict[str, Any]:
    """Return a row in DynamoDB's typed form."""
    return {name: _serialize(value) for name, value in row.items()}


def from_wire(item: dict[str, Any]) -> Row:
    """Return a row from DynamoDB's typed form."""
    return {name: _plain(_deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    match value:
        case Decimal() if value == value.to_integral_value():
            return int(value)
        case Binary():
            return bytes(value)  # type: ignore[call-overload]
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case _:
            return value


def _rows(page: dict[str, Any]) -> list[Row]:
    return [from_wire(item) for item in member(page, "Items", of=SERVICE)]


def _known(code: str, response: Mapping[str, Any]) -> TokenBrokerError | None:
    reasons = {reason.get("Code") for reason in response.get("CancellationReasons", [])}
    if code == "ConditionalCheckFailedException" or reasons & MOVED:
        return StaleGeneration(row=from_wire(response.get("Item", {})))
    if code in LASTING:
        return BrokerMisconfigured(detail=f"{SERVICE}: {code}")
    return None
