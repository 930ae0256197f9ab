"""DynamoDB's wire form and its two kinds of failure: a condition said no, or nobody knows."""

from __future__ import annotations

from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from token_broker.domain.errors import (
    BrokerMisconfigured,
    RowUnreadable,
    TokenBrokerError,
    UpstreamUnavailable,
)

Row = dict[str, Any]

# The version every row carries. An attribute may be added without a new one, if rows without it
# read as they should; a new one is for what an older broker would misread.
SCHEMA = 1

# Failures that asking again cannot mend (IAM, wrong name, wrong request).
LASTING = frozenset(
    {
        "AccessDeniedException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Refused(Exception):
    """A conditional write was refused; `row` is what stands, empty if there is none."""

    def __init__(self, row: Row) -> None:
        self.row = row
        super().__init__("condition refused")


def to_wire(row: Row) -> dict[str, Any]:
    """Return a row in DynamoDB's typed form."""
    return {name: _serialize(value) for name, value in row.items()}


def from_wire(item: dict[str, Any]) -> Row:
    """Return a row from DynamoDB's typed form."""
    return {name: _deserialize(value) for name, value in item.items()}


def versioned(row: Row) -> dict[str, Any]:
    """Return a whole new row in DynamoDB's typed form, with the version it is written in."""
    return to_wire({**row, "schema": SCHEMA})


def ensure_readable(row: Row) -> Row:
    """Return the row, or raise RowUnreadable if a later version of the broker wrote it."""
    if int(row.get("schema", SCHEMA)) > SCHEMA:
        raise RowUnreadable(detail="a newer version of the broker wrote this row: deploy that one")
    return row


def key(row_id: str) -> dict[str, Any]:
    """Return the primary key of a row."""
    return to_wire({"id": row_id})


def refused(exc: Exception) -> bool:
    """Tell whether a condition said no."""
    return (
        isinstance(exc, ClientError)
        and exc.response["Error"]["Code"] == "ConditionalCheckFailedException"
    )


def unavailable(exc: ClientError | BotoCoreError) -> TokenBrokerError:
    """Return the domain's error for a call whose effect is unknown or that can never work."""
    code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
    detail = f"DynamoDB: {code}"
    if code in LASTING:
        return BrokerMisconfigured(detail=detail)
    return UpstreamUnavailable(detail=detail, retry_after=5)
