"""The audit trail: who asked for what of whose connection, and how it ended; refused ones too.

One line in the function's own log group for each request that begins, confirms or ends a connection
or asks for a bearer. It holds a hash of the subject, never the subject; `request_id` is the one
the API's access log holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from token_broker.runtime.observability import logger

DONE = "ok"


class Act(StrEnum):
    """What a caller asks for."""

    BEGIN = "begin"
    CONFIRM = "confirm"
    HAND_OUT = "hand_out"
    DISCONNECT = "disconnect"


@dataclass(slots=True, kw_only=True)
class Audit:
    """What is known so far of one request; the handler adds what it learns."""

    act: str
    caller: str | None  # the ARN that signed the request
    request_id: str | None
    connection_id: str | None = None
    subject: str | None = None  # as the caller names it, or as the connection says
    generation: int | None = None  # of the bearer that was handed out

    @classmethod
    def of(cls, act: Act, event: Mapping[str, Any]) -> Audit:
        """Begin with what API Gateway says of a request."""
        context = event["requestContext"]
        return cls(
            act=act,
            caller=context.get("identity", {}).get("userArn"),
            request_id=context.get("requestId"),
        )

    def entry(self, outcome: str) -> dict[str, str | int | bool]:
        """Return the line's fields; `outcome` is `ok` or the code of the error."""
        fields: dict[str, str | int | None] = {
            "event": "audit",
            "audit": True,
            "act": self.act,
            "caller": self.caller,
            "request_id": self.request_id,
            "connection_id": self.connection_id,
            "subject_hash": subject_hash(self.subject) if self.subject is not None else None,
            "generation": self.generation,
            "outcome": outcome,
        }
        return {name: field for name, field in fields.items() if field is not None}

    def write(self, outcome: str) -> None:
        """Write the line to the function's log group."""
        logger.info("audit", extra=self.entry(outcome))


def subject_hash(subject: str) -> str:
    """Return the SHA-256 of a subject in hex, as the query in docs/operations.md looks for it."""
    return hashlib.sha256(subject.encode(errors="backslashreplace")).hexdigest()
