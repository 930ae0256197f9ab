"""DynamoDB's wire form and its two kinds of failure: a condition said no, or nobody knows."""

from __future__ import annotations

from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from token_broker.domain.errors import BrokerMisconfigured, TokenBrokerError, UpstreamUnavailable

Row = dict[str, Any]

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
